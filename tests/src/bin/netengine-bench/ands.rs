//! Administrative Network Domains: a world of 50 and one of 500, what one more costs, and what the policy costs a packet.
//!
//! Two vantage hosts talk through the router, each in a domain that lets flows in. The path without any table is the same router with
//! its ruleset flushed and with the routing rules gone that want the policy's mark. With and without take turns.

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netengine_proto::{
    bounded::Bounded,
    ids::Uid,
    limits,
    net::{IfAddr, IfName, Mac},
    plan::{BridgePlan, CableEnd, CablePlan, DomainPolicy, NetworkPlan, Node, NodePlan, Route},
    root::RootClient,
};
use netengine_tests::{
    ALICE, BIN, Host,
    root::{host_name, key, patient, world_id, world_plan},
};
use nix::{
    sys::resource::{UsageWho, getrusage},
    unistd::Pid,
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    cores,
    figures::{Figure, Report, Samples, Target},
    inside::User,
    memory::{self, Promised},
    settle::Settle,
};

/// The argument that makes this program a sender of small datagrams: to whom, and how many.
pub const SEND: &str = "--send";
/// The argument that makes it hear them.
pub const HEAR: &str = "--hear";

const FEW: u16 = 50;
const MANY: u16 = 500;
/// Where datagrams are heard.
const PORT: u16 = 4000;
/// Bytes in one: the header costs, not the payload.
const PAYLOAD: usize = 16;
/// A server is not given up before this.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Worlds brought up, domains added, policies replaced.
    pub rounds: usize,
    /// Turns of the two paths, and of the two worlds.
    pub turns: usize,
    /// Seconds of a stream.
    pub seconds: u32,
    /// Datagrams of a turn.
    pub datagrams: u32,
}

fn spec(name: &str, ands: u16) -> String {
    let mut text = format!(
        "metadata: {{name: {name}}}\nsubstrate: {{gateway: {{platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}}}\ndns: {{}}\npki: {{}}\n\
         identity_platform: {{}}\nworld_registry: {{organizations: [{{name: acme}}]}}\ndomain_registry:\n  address_space:\n    \
         - {{cidr: 10.64.0.0/10, label: business-pool}}\nidentity_inworld: {{}}\n\
         world_services: {{mail: {{enabled: false}}, storage: {{enabled: false}}}}\norg_apps: {{}}\ngateway_portal: {{}}\n\
         operator: {{}}\nands:\n  instances:\n"
    );
    for n in 0..ands {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    - {{name: and{n}, org: acme, profile: business, dns_suffix: and{n}.corp}}");
    }
    text
}

fn bounded<T, const MAX: usize>(entries: Vec<T>) -> Result<Bounded<T, MAX>> {
    Bounded::new(entries).map_err(|error| anyhow::anyhow!("{error}"))
}

/// A world of two networks and `domains` domains with a host each, as userd would ask for it; `admits` is their profile.
fn plan(base: &NetworkPlan, domains: u16, admits: bool) -> Result<NetworkPlan> {
    let mut plan = base.clone();
    let (mut nodes, mut bridges, mut cables, mut policies) =
        (plan.nodes.into_inner(), plan.bridges.into_inner(), plan.cables.into_inner(), Vec::new());
    for n in 0..domains {
        let [high, low] = n.to_be_bytes();
        let mac = |kind: u8| Mac::local([3, kind, 0, 0, high, low]);
        let address =
            |last: u8| IfAddr::new(format!("10.{}.{low}.{last}/24", 64 + high).parse()?).context("an address");
        let (link, node) = (IfName::numbered("and", n), Node::Host(host_name(&format!("and{n}"))));
        bridges.push(BridgePlan {
            node: Node::Gateway,
            name: link.clone(),
            mac: mac(0),
            addresses: bounded(vec![address(1)?])?,
        });
        let end = |node, name, kind, bridge, addresses| CableEnd { node, name, mac: mac(kind), bridge, addresses };
        let held = bounded(vec![address(254)?])?;
        cables.push(CablePlan {
            a: end(Node::Gateway, IfName::numbered("ap", n), 1, Some(link.clone()), Bounded::default()),
            b: end(node.clone(), IfName::numbered("th", 0), 2, None, held),
        });
        let default = Route { to: "0.0.0.0/0".parse()?, via: address(1)?.addr() };
        nodes.push(NodePlan {
            node,
            forward: false,
            low_ports: true,
            routes: bounded(vec![default])?,
            source_routes: Bounded::default(),
            policy: None,
            resolver: None,
        });
        policies.push(DomainPolicy { link, opens: true, admits, masquerades: !admits, flows: limits::DOMAIN_FLOWS });
    }
    let router = nodes.iter_mut().find_map(|node| node.policy.as_mut()).context("a router")?;
    router.domains = bounded(policies)?;
    (plan.nodes, plan.bridges, plan.cables) = (bounded(nodes)?, bounded(bridges)?, bounded(cables)?);
    Ok(plan)
}

/// Seconds of a core that rootd's processes have used; the clock counts hundredths.
fn worked(host: &Host) -> Result<f64> {
    let is_rootd = |pid: &Pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with("ne-rootd") || name.trim_end() == "netengine-rootd"
    };
    host.processes().into_iter().map(|(pid, _)| pid).filter(is_rootd).map(cores::worked).sum()
}

/// rootd's calls alone: one domain more, and the profile of all.
///
/// # Errors
/// rootd refuses a plan.
pub fn calls(report: &mut Report, effort: Effort, runtime: &Runtime, host: &Host, client: &RootClient) -> Result<()> {
    let base = world_plan(world_id(), Uid(ALICE.uid), 2, 1);
    let apply = |plan: &NetworkPlan| {
        let (asked, start) = (plan.clone(), Instant::now());
        let applied = runtime.block_on(client.apply_network(patient(), key(), asked))??;
        ensure!(!applied.changes.is_empty(), "nothing was to be done");
        Ok::<_, anyhow::Error>(start.elapsed())
    };
    let (many, more, closed) = (plan(&base, MANY, true)?, plan(&base, MANY + 1, true)?, plan(&base, MANY, false)?);
    let (few, third) = (plan(&base, 2, true)?, plan(&base, 3, true)?);
    let [mut first, mut add, mut remove, mut replace] = [const { Vec::new() }; 4];
    apply(&few)?;
    for _ in 0..effort.rounds {
        first.push(apply(&third)?);
        apply(&few)?;
    }
    let whole = apply(&many)?;
    let mut core = Samples::default();
    for _ in 0..effort.rounds {
        let before = worked(host)?;
        add.push(apply(&more)?);
        core.add_number((worked(host)? - before) * 1e3);
        remove.push(apply(&many)?);
        replace.push(apply(&closed)?);
        replace.push(apply(&many)?);
    }
    let half = apply(&plan(&base, MANY / 2, true)?)?;
    let observed = runtime.block_on(client.observe_network(patient(), base.world, base.owner, true))??;
    ensure!(observed.drift.is_empty(), "rootd's world does not equal its plan: {:?}", observed.drift);
    runtime.block_on(client.delete_world(patient(), key(), base.world, base.owner))??;
    report.heading(&format!("{MANY} domains, rootd's calls"));
    let median = |id: &str, times: &[Duration], target| {
        let mut samples = Samples::default();
        times.iter().for_each(|taken| samples.add(*taken));
        Figure::median(id, &samples, "ms", target)
    };
    report.add(median("ands.up500.rootd", &[whole], Target::None));
    report.add(median("ands.add.rootd.to2", &first, Target::None));
    report.add(median("ands.add.rootd", &add, Target::AtMost(50.0)));
    report.add(Figure::median("ands.add.rootd.core", &core, "ms", Target::None));
    report.add(median("ands.remove.rootd", &remove, Target::None));
    report.add(median("ands.half.rootd", &[half], Target::None));
    report.add(median("ands.replace", &replace, Target::AtMost(200.0)));
    Ok(())
}

/// The whole program: up, one more, and packets.
///
/// # Errors
/// A command fails.
pub fn measure(report: &mut Report, effort: Effort, home: &OwnedFd, host: &Host, user: &mut User) -> Result<()> {
    let file = |name: &str, ands: u16| host.file(&format!("{name}-{ands}.yaml"), &spec(name, ands));
    let (mut up, mut add) = (Samples::default(), Samples::default());
    let few = file("fifty", FEW);
    for _ in 0..effort.rounds {
        up.add(user.run(&["up", &few])?);
        let settle = Settle::prepare(home)?;
        user.run(&["down", "--yes", "fifty"])?;
        settle.wait()?;
    }
    report.heading("ANDs with DHCP and names, the whole program");
    report.add(Figure::median("ands.up50", &up, "ms", Target::AtMost(3000.0)));
    let (many, more) = (file("many", MANY), file("many", MANY + 1));
    report.add(Figure::single("ands.up500", user.run(&["up", &many])?.as_secs_f64() * 1e3, "ms", Target::None));
    for _ in 0..effort.rounds {
        add.add(user.run(&["up", &more])?);
        user.run(&["up", &many])?;
    }
    report.add(Figure::median("ands.add", &add, "ms", Target::AtMost(50.0)));
    memory::measure(report, host, "ands500", Promised { daemons: false, worldd: None })?;
    user.run(&["up", &file("two", 2)])?;
    packets(report, effort, host, user)?;
    user.run(&["down", "--yes", "many"])?;
    forwarding(report, effort, host, user)
}

/// The address of a vantage host.
fn address(user: &mut User, world: &str, name: &str) -> Result<Ipv4Addr> {
    let status: Value = serde_json::from_str(&user.ask(&["status", world, "--json"])?)?;
    let networks = status["networks"].as_array().context("networks")?;
    let network = networks.iter().find(|network| network["name"] == name).context("a network of this name")?;
    Ok(network["hosts"][0]["addresses"][0].as_str().context("an address")?.parse()?)
}

/// Something that runs in a vantage host until it is dropped.
struct Running(Child);

impl Running {
    /// Started, and waited for until it has this port.
    fn start(host: &Host, user: &mut User, target: &str, program: &[&str], listens: &str) -> Result<Self> {
        let mut command = host.command(ALICE, &format!("{BIN}/netengine"));
        command.args(["exec", target, "--"]).args(program).stdin(Stdio::null()).stdout(Stdio::null());
        let mut running = Self(command.spawn()?);
        let begun = Instant::now();
        while user.ask(&["exec", target, "--", "sh", "-c", &format!("ss --no-header {listens}")])?.is_empty() {
            ensure!(running.0.try_wait()?.is_none(), "{program:?} has ended");
            ensure!(begun.elapsed() < PATIENCE, "{program:?} does not listen");
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ending the CLI ends the command in the world.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Hears datagrams, and keeps them from being answered.
///
/// # Errors
/// The port is taken.
pub fn hear() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    let mut bytes = [0; PAYLOAD];
    loop {
        socket.recv(&mut bytes)?;
    }
}

/// Sends datagrams, and prints the nanoseconds of a core that each took. The way to the other host is in it: the kernel carries a
/// packet over virtual cables and through a router on behalf of who sent it.
///
/// # Errors
/// They cannot be sent.
pub fn send(to: &str, count: &str) -> Result<()> {
    let (to, count): (Ipv4Addr, u32) = (to.parse()?, count.parse()?);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(SocketAddr::from((to, PORT)))?;
    let worked = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let times = [usage.user_time(), usage.system_time()];
        let micros = times.iter().map(|time| time.tv_sec() * 1_000_000 + time.tv_usec()).sum::<i64>();
        Ok::<_, nix::errno::Errno>(micros)
    };
    let before = worked()?;
    for _ in 0..count {
        socket.send(&[0; PAYLOAD])?;
    }
    println!("{}", (worked()? - before) as f64 * 1e3 / f64::from(count));
    Ok(())
}

/// What a packet costs among 500 domains and among 2.
fn packets(report: &mut Report, effort: Effort, host: &Host, user: &mut User) -> Result<()> {
    let program = format!("{BIN}/netengine-bench");
    let count = effort.datagrams.to_string();
    let mut sides = Vec::new();
    for world in ["two", "many"] {
        let target = format!("{world}/and1");
        let listens = format!("-lun sport = :{PORT}");
        let hearing = Running::start(host, user, &target, &[&program, HEAR], &listens)?;
        sides.push((world, address(user, world, "and1")?.to_string(), Samples::default(), hearing));
    }
    let mut ratios = Samples::default();
    // Many short turns: what a packet costs varies by a tenth from one to the next, in either world.
    for _ in 0..3 * effort.turns {
        let mut turn = [0.0; 2];
        for ((world, to, costs, _), cost) in sides.iter_mut().zip(&mut turn) {
            let from = format!("{world}/and0");
            let pinned = cores::CLIENTS.to_string();
            let said =
                user.ask(&["exec", &from, "--", "taskset", "-c", &pinned, &program, SEND, to.as_str(), &count])?;
            *cost = said.trim().parse().with_context(|| format!("the sender says {said:?}"))?;
            costs.add_number(*cost);
        }
        // One beside the other: what the machine does meanwhile is in both.
        ratios.add_number(turn[1] / turn[0]);
    }
    report.heading(&format!("One packet of {PAYLOAD} bytes from domain to domain, nanoseconds of a core"));
    let [(_, _, few, _), (_, _, many, _)] = sides.as_slice() else { unreachable!("two worlds") };
    report.add(Figure::median("ands.packet.2", few, "ns", Target::None));
    report.add(Figure::median("ands.packet.500", many, "ns", Target::None));
    report.add(Figure::median("ands.packet.ratio", &ratios, "x", Target::AtMost(1.05)));
    Ok(())
}

/// In a world's router, as root.
fn in_router(router: Pid, script: &str) -> Result<()> {
    let ns = format!("--net=/proc/{router}/ns/net");
    let output = Command::new("nsenter").args([&ns, "--", "sh", "-ec", script]).output()?;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A TCP stream between two domains: through the policy, and through the same router without.
fn forwarding(report: &mut Report, effort: Effort, host: &Host, user: &mut User) -> Result<()> {
    // The rule for what is for the router itself, number 0, is not flushed.
    const BARE: &str = "nft flush ruleset
        for family in -4 -6; do ip $family rule flush; ip $family rule add lookup main pref 1; done";
    let spec = host.file("bare.yaml", &spec("bare", 2));
    // What is taken away here stays away until `up` puts it back.
    let up = ["up", &spec, "--no-heal"];
    user.run(&["down", "--yes", "two"])?;
    user.run(&up)?;
    let (to, seconds) = (address(user, "bare", "and1")?.to_string(), effort.seconds.to_string());
    let _server = Running::start(host, user, "bare/and1", &["iperf3", "--server"], "-ltn sport = :5201")?;
    let stream = |user: &mut User| {
        let said = user.ask(&["exec", "bare/and0", "--", "iperf3", "--json", "--client", &to, "--time", &seconds])?;
        let said: Value = serde_json::from_str(&said)?;
        said["end"]["sum_received"]["bits_per_second"].as_f64().context("a rate").map(|rate| rate / 1e9)
    };
    let (mut whole, mut bare) = (Samples::default(), Samples::default());
    let mut ratios = Samples::default();
    for _ in 0..effort.turns {
        let with = stream(user)?;
        in_router(cores::find(host, "netengine-world", "gateway")?, BARE)?;
        let without = stream(user)?;
        user.run(&up)?;
        whole.add_number(with);
        bare.add_number(without);
        ratios.add_number(with / without);
    }
    report.heading("One TCP stream from domain to domain (iperf3)");
    report.add(Figure::median("ands.forward.policy", &whole, "Gbit/s", Target::None));
    report.add(Figure::median("ands.forward.bare", &bare, "Gbit/s", Target::None));
    report.add(Figure::median("ands.forward.ratio", &ratios, "x", Target::AtLeast(0.9)));
    user.run(&["down", "--yes", "bare"]).map(drop)
}
