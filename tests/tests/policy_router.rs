//! The packet policy of a world's router, on the real kernel: what domains may, what their hosts cannot pretend, and what
//! happens when the policy is taken away. Rows 35, 36, 49.

use std::process::{Child, Command, Stdio};

use netengine_proto::{
    bounded::Bounded,
    ids::Uid,
    net::{IfName, Transport},
    plan::{AllowRule, DomainPolicy, FlowKind, ForwardPair, NetworkPlan, Node, Policy, PortRange},
    root::{ObjectKind, RootClient},
};
use netengine_tests::{
    ALICE, Host,
    attack::{rootd_only, the},
    root::{self, key, patient, world_plan},
};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

fn bounded<T, const MAX: usize>(entries: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(entries).unwrap_or_else(|_| panic!("few entries"))
}

fn bridge(n: u16) -> IfName {
    IfName::numbered("br", n)
}

/// What a network may: nothing for a network of the substrate, else opens, admits, masquerades.
type Fields = Option<(bool, bool, bool)>;

const SUBSTRATE: Fields = None;
const RESIDENTIAL: Fields = Some((true, false, true));
const BUSINESS: Fields = Some((true, true, false));
const RESERVED: Fields = Some((true, false, false));
const AIRGAPPED: Fields = Some((false, false, false));

fn policy(networks: &[Fields], flows: u32) -> Policy {
    let substrate = || (0u16..).zip(networks).filter(|(_, fields)| fields.is_none()).map(|(n, _)| n);
    let pairs = substrate().flat_map(|a| substrate().filter(move |b| a != *b).map(move |b| (a, b)));
    let domains = (0u16..).zip(networks).filter_map(|(n, fields)| {
        let (opens, admits, masquerades) = (*fields)?;
        Some(DomainPolicy { link: bridge(n), opens, admits, masquerades, flows })
    });
    Policy {
        forward: bounded(pairs.map(|(a, b)| ForwardPair { from: bridge(a), to: bridge(b) }).collect()),
        domains: bounded(domains.collect()),
        ..Policy::default()
    }
}

/// rootd with one world.
struct World {
    client: RootClient,
    plan: NetworkPlan,
    host: Host,
}

impl World {
    async fn of(networks: &[Fields], flows: u32) -> Self {
        let host = rootd_only();
        let client = root::client(&host).await;
        let count = u16::try_from(networks.len()).expect("few");
        let plan = world_plan(root::world_id(), Uid(ALICE.uid), count, 2);
        let mut world = Self { client, plan, host };
        world.apply(policy(networks, flows)).await;
        world
    }

    async fn apply(&mut self, policy: Policy) {
        let mut nodes = self.plan.nodes.clone().into_inner();
        nodes.iter_mut().find(|node| node.node == Node::Gateway).expect("a router").policy = Some(policy);
        self.plan.nodes = bounded(nodes);
        self.again().await;
        let seen = self.client.observe_network(patient(), self.plan.world, self.plan.owner, true).await;
        assert_eq!(seen.expect("answers").expect("observes").drift, []);
    }

    async fn again(&self) {
        let applied = self.client.apply_network(patient(), key(), self.plan.clone()).await;
        applied.expect("answers").expect("applies");
    }

    fn table(&self) -> String {
        format!("ne{}", self.plan.world)
    }

    fn script(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command.args(["-B", &format!("{SCRIPTS}/{name}.py"), &the(&self.host, "ne-holder").to_string()]).args(args);
        command
    }

    /// Runs a script to its end; it says that all was as planned.
    #[track_caller]
    fn judged(&self, name: &str, args: &[&str]) {
        let output = self.script(name, args).output().expect("python3 starts");
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(output.status.success() && out.ends_with("all as planned\n"), "{out}{err}");
    }

    /// Starts a script that says what it is about to do, and goes on when it is told to.
    fn scene(&self, name: &str, args: &[&str]) -> Scene {
        let child = self.script(name, args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("python3 starts");
        let out = std::io::BufReader::new(child.stdout.take().expect("piped"));
        Scene { child, out }
    }
}

struct Scene {
    child: Child,
    out: std::io::BufReader<std::process::ChildStdout>,
}

impl Scene {
    #[track_caller]
    fn says(&mut self, wanted: &str) {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut self.out, &mut line).expect("readable");
        assert_eq!(line.trim_end(), wanted);
    }

    fn go_on(&mut self) {
        std::io::Write::write_all(self.child.stdin.as_mut().expect("piped"), b"\n").expect("it listens");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let ended = self.child.wait().expect("ends");
        assert!(std::thread::panicking() || ended.success(), "{ended}");
    }
}

fn fields(networks: &[Fields]) -> String {
    serde_json::to_string(networks).expect("JSON")
}

#[tokio::test]
async fn domains_may_what_their_fields_say_and_do_not_block_each_other() {
    let networks = [SUBSTRATE, SUBSTRATE, RESIDENTIAL, BUSINESS, RESERVED, AIRGAPPED, RESIDENTIAL];
    let world = World::of(&networks, 1000).await;
    world.judged("policy_matrix", &[&fields(&networks)]);
}

// Row 35: whatever the rules allow, a host speaks for itself alone.
#[tokio::test]
async fn what_a_host_pretends_leaves_its_port_nowhere() {
    let networks = [BUSINESS, BUSINESS];
    let world = World::of(&networks, 1000).await;
    let mac = |host: &str| {
        let node = Node::Host(root::host_name(host));
        let ends = world.plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b]);
        ends.filter(|end| end.node == node).map(|end| end.mac.to_string()).next().expect("a host")
    };
    let router = world.plan.bridges.iter().find(|b| b.name == bridge(0)).expect("a bridge").mac.to_string();
    world.judged("policy_spoof", &[&world.table(), &mac("n0h0"), &mac("n0h1"), &router]);
}

// Row 36: the tables are gone, and with them the mark that lets packets find a route.
#[tokio::test]
async fn a_router_without_its_tables_forwards_nothing() {
    let world = World::of(&[SUBSTRATE, BUSINESS], 1000).await;
    let mut scene = world.scene("policy_flush", &[&world.table()]);
    scene.says("nothing passes");
    world.again().await;
    scene.go_on();
    scene.says("it passes again");
}

// Row 49.
#[tokio::test]
async fn one_domains_flows_do_not_use_up_anothers() {
    let world = World::of(&[SUBSTRATE, BUSINESS, BUSINESS], 10).await;
    world.judged("policy_flows", &["10"]);
}

#[tokio::test]
async fn a_flow_goes_on_while_its_domain_is_closed_to_new_ones() {
    let networks = [SUBSTRATE, BUSINESS, BUSINESS];
    let mut world = World::of(&networks, 1000).await;
    let mut scene = world.scene("policy_change", &[&world.table()]);
    scene.says("both pass");
    world.apply(policy(&[SUBSTRATE, BUSINESS, RESERVED], 1000)).await;
    scene.go_on();
    scene.says("the old passes, the new does not");
}

#[tokio::test]
async fn a_domain_is_added_without_touching_the_others_and_what_somebody_does_to_it_is_seen() {
    let mut world = World::of(&[SUBSTRATE, BUSINESS], 1000).await;
    let mut scene = world.scene("policy_grow", &[&world.table()]);
    scene.says("it passes");
    world.plan = world_plan(world.plan.world, world.plan.owner, 3, 2);
    world.apply(policy(&[SUBSTRATE, BUSINESS, BUSINESS], 1000)).await;
    scene.go_on();
    scene.says("somebody changed it");
    let seen = world.client.observe_network(patient(), world.plan.world, world.plan.owner, true).await;
    let drift = seen.expect("answers").expect("observes").drift;
    assert!(matches!(drift.as_slice(), [one] if one.object.kind == ObjectKind::Table), "{drift:?}");
    world.again().await;
    scene.go_on();
    scene.says("it is as it was");
}

#[tokio::test]
async fn rules_between_links_let_through_what_they_name_and_nothing_else() {
    let networks = [SUBSTRATE, RESERVED];
    let mut world = World::of(&networks, 1000).await;
    let range = |first: u16, last: u16| PortRange {
        first: first.try_into().expect("a port"),
        last: last.try_into().expect("a port"),
    };
    let kinds = [FlowKind::Ports(Transport::Udp, bounded(vec![range(4100, 4100), range(4200, 4202)])), FlowKind::Icmp];
    let allow = kinds.map(|kind| AllowRule { from: bridge(0), to: bridge(1), kind });
    world.apply(Policy { allow: bounded(allow.into()), ..policy(&networks, 1000) }).await;
    world.judged("policy_allow", &[&world.table()]);
}
