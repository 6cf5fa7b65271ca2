//! The proof of isolation: what rootd sees of real packets, and that whatever is wrong in the router's table shows.
//! Rows 46, 47.

use std::{fs, net::IpAddr, process::Command};

use netengine_proto::{
    bounded::Bounded,
    ids::Uid,
    net::IfName,
    plan::{DomainPolicy, ForwardPair, NetworkPlan, Node, Policy},
    root::{FlowProbe, FlowSeen, ProbeKind, RootClient, RootError},
};
use netengine_tests::{
    ALICE, BOB, Host,
    attack::{rootd_only, the},
    root::{self, host_name, key, patient, world_plan},
};

type Fields = Option<(bool, bool, bool)>;

/// A network of the substrate twice, then each of the built-in profiles by its fields: opens, admits, masquerades.
const NETWORKS: [Fields; 6] = [
    None,
    None,
    Some((true, false, true)),
    Some((true, true, false)),
    Some((true, false, false)),
    Some((false, false, false)),
];

/// Two networks of the substrate, of which the policy allows nothing, so that its last rule decides something too.
const CLOSED: (usize, usize) = (1, 0);

fn bounded<T, const MAX: usize>(entries: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(entries).unwrap_or_else(|_| panic!("few entries"))
}

fn policy() -> Policy {
    let bridge = |n: usize| IfName::numbered("br", n as u16);
    let substrate = || (0..NETWORKS.len()).filter(|n| NETWORKS[*n].is_none());
    let pairs =
        substrate().flat_map(|a| substrate().filter(move |b| a != *b && (a, *b) != CLOSED).map(move |b| (a, b)));
    let domains = (0..NETWORKS.len()).filter_map(|n| {
        let (opens, admits, masquerades) = NETWORKS[n]?;
        Some(DomainPolicy { link: bridge(n), opens, admits, masquerades, flows: 1000 })
    });
    Policy {
        forward: bounded(pairs.map(|(a, b)| ForwardPair { from: bridge(a), to: bridge(b) }).collect()),
        domains: bounded(domains.collect()),
        ..Policy::default()
    }
}

fn address(network: usize, last: u16, v6: bool) -> IpAddr {
    let text = if v6 { format!("fd00:{network:x}::{last:x}") } else { format!("10.{network}.0.{last}") };
    text.parse().expect("an address")
}

/// What the fields say: whether it arrives, and with which source.
fn expected(from: usize, to: usize, v6: bool) -> Option<IpAddr> {
    let (a, b) = (NETWORKS[from], NETWORKS[to]);
    let may = (a.is_none() && b.is_none() && (from, to) != CLOSED)
        || ((a.is_some() || b.is_some()) && a.is_none_or(|a| a.0) && b.is_none_or(|b| b.1));
    let own = if a.is_some_and(|a| a.2) { address(to, 1, v6) } else { address(from, 10, v6) };
    may.then_some(own)
}

struct World {
    client: RootClient,
    plan: NetworkPlan,
    host: Host,
}

impl World {
    async fn new() -> Self {
        let host = rootd_only();
        let client = root::client(&host).await;
        let mut plan = world_plan(root::world_id(), Uid(ALICE.uid), NETWORKS.len() as u16, 1);
        let mut nodes = plan.nodes.clone().into_inner();
        nodes.iter_mut().find(|node| node.node == Node::Gateway).expect("a router").policy = Some(policy());
        plan.nodes = bounded(nodes);
        let world = Self { client, plan, host };
        world.apply().await;
        world
    }

    async fn apply(&self) {
        self.client.apply_network(patient(), key(), self.plan.clone()).await.expect("answers").expect("applies");
    }

    async fn prove(&self, owner: Uid, flows: Vec<FlowProbe>) -> Result<Vec<FlowSeen>, RootError> {
        self.client.prove_flows(patient(), self.plan.world, owner, bounded(flows)).await.expect("answers")
    }

    /// A program of root's in the router.
    fn in_router(&self, command: &[&str]) -> String {
        let holder = the(&self.host, "ne-holder");
        let spaces = fs::read_dir(format!("/proc/{holder}/fd")).expect("it runs").flatten();
        let mut spaces =
            spaces.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("net:")));
        let enter = |path: &std::path::Path, command: &[&str]| {
            let output = Command::new("nsenter").arg(format!("--net={}", path.display())).args(command).output();
            let output = output.expect("nsenter starts");
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let router = spaces.find(|fd| enter(&fd.path(), &["ip", "address"]).1.contains("inet 10.0.0.1/"));
        let (done, out) = enter(&router.expect("a router").path(), command);
        assert!(done, "{command:?}: {out}");
        out
    }
}

/// Every network to every other by each protocol and family, and to every router address.
fn matrix() -> Vec<(FlowProbe, Option<Option<IpAddr>>)> {
    let port = 4000.try_into().expect("a port");
    let mut all = Vec::new();
    for from in 0..NETWORKS.len() {
        for v6 in [false, true] {
            let probe = |to, kind| {
                let from_host = host_name(&format!("n{from}h0"));
                FlowProbe { from: from_host, source: address(from, 10, v6), to, kind }
            };
            for kind in [ProbeKind::Tcp(port), ProbeKind::Udp(port), ProbeKind::Icmp] {
                for to in (0..NETWORKS.len()).filter(|to| *to != from) {
                    all.push((probe(address(to, 10, v6), kind), Some(expected(from, to, v6))));
                }
                all.push((probe(address(from, 1, v6), kind), None));
            }
        }
    }
    all
}

/// What differs from what the fields say.
fn differences(asked: &[(FlowProbe, Option<Option<IpAddr>>)], seen: &[FlowSeen]) -> Vec<String> {
    assert_eq!(asked.len(), seen.len());
    let mut wrong = Vec::new();
    for ((flow, wanted), seen) in asked.iter().zip(seen) {
        let accepted = seen.verdict.as_ref().is_some_and(|verdict| verdict.accepted);
        let right = seen.doubt.is_empty()
            && match wanted {
                // To the router itself: echoes alone are answered.
                None => accepted == (flow.kind == ProbeKind::Icmp) && seen.verdict.is_some(),
                Some(Some(source)) => accepted && seen.delivered.as_ref().is_some_and(|(_, own)| own == source),
                Some(None) => !accepted && seen.verdict.is_some() && seen.delivered.is_none(),
            };
        if !right {
            let FlowSeen { verdict, delivered, doubt, .. } = seen;
            wrong.push(format!(
                "{} to {} {:?}: wanted {wanted:?}; {verdict:?} {delivered:?} {doubt}",
                flow.source, flow.to, flow.kind
            ));
        }
    }
    wrong
}

fn flows(asked: &[(FlowProbe, Option<Option<IpAddr>>)]) -> Vec<FlowProbe> {
    asked.iter().map(|(flow, _)| flow.clone()).collect()
}

#[tokio::test]
async fn what_the_kernel_does_is_what_the_fields_say() {
    let world = World::new().await;
    let asked = matrix();
    let owner = world.plan.owner;
    let seen = world.prove(owner, flows(&asked)).await.expect("proves");
    assert_eq!(differences(&asked, &seen), Vec::<String>::new());
    let blocked = seen.iter().filter_map(|seen| seen.verdict.as_ref()).filter(|verdict| !verdict.accepted);
    for verdict in blocked {
        assert!(verdict.rule.contains("drop"), "{verdict:?} names no rule");
    }
    // Nothing of the proof stays, and nothing differs.
    assert!(!world.in_router(&["nft", "list", "tables"]).contains(&format!("ne{}t", world.plan.world)));
    let seen = world.client.observe_network(patient(), world.plan.world, owner).await.expect("answers");
    assert_eq!(seen.expect("observes").drift, []);
    // The same flows again are the first of new flows.
    let seen = world.prove(owner, flows(&asked)).await.expect("proves");
    assert_eq!(differences(&asked, &seen), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_proves_in_anothers_world_or_with_anothers_address() {
    let world = World::new().await;
    let flow = FlowProbe {
        from: host_name("n0h0"),
        source: address(0, 10, false),
        to: address(1, 10, false),
        kind: ProbeKind::Icmp,
    };
    let owner = world.plan.owner;
    let refused = |result: Result<Vec<FlowSeen>, RootError>| result.expect_err("refused");
    assert_eq!(refused(world.prove(Uid(BOB.uid), vec![flow.clone()]).await), RootError::NotFound);
    let unknown = FlowProbe { from: host_name("nobody"), ..flow.clone() };
    assert_eq!(refused(world.prove(owner, vec![unknown]).await), RootError::NotFound);
    for source in ["10.1.0.10", "10.0.0.1", "127.0.0.1", "fd00::a"] {
        let foreign = FlowProbe { source: source.parse().expect("an address"), ..flow.clone() };
        assert_eq!(refused(world.prove(owner, vec![foreign]).await), RootError::Refused, "{source}");
    }
    for to in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "fd00::a"] {
        let odd = FlowProbe { to: to.parse().expect("an address"), ..flow.clone() };
        assert_eq!(refused(world.prove(owner, vec![odd]).await), RootError::Refused, "{to}");
    }
    // An address that nobody has, here and outside, hinders nobody else's proof.
    let nobody = [address(0, 99, false), "192.0.2.1".parse().expect("an address")];
    let mut asked: Vec<_> = nobody.map(|to| FlowProbe { to, ..flow.clone() }).into();
    asked.push(flow);
    let seen = world.prove(owner, asked).await.expect("proves");
    assert!(seen[0].delivered.is_none() && !seen[0].doubt.is_empty(), "{:?}", seen[0]);
    assert!(seen[1].delivered.is_none() && seen[1].doubt.is_empty(), "{:?}", seen[1]);
    assert!(seen[2].delivered.is_some() && seen[2].doubt.is_empty(), "{:?}", seen[2]);
}

/// The rules of chain `chain` with their handles.
fn rules(listing: &str) -> Vec<(String, String, String)> {
    let mut chain = String::new();
    let mut found = Vec::new();
    for line in listing.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ") {
            chain = name.split_whitespace().next().expect("a name").to_owned();
        } else if !line.starts_with("type ")
            && !chain.is_empty()
            && let Some((rule, handle)) = line.split_once(" # handle ")
        {
            found.push((chain.clone(), rule.to_owned(), handle.to_owned()));
        }
    }
    found
}

/// A rule that no first packet of an honest host's flow meets: its absence shows in a comparison, not in a proof.
fn is_not_met(rule: &str) -> bool {
    rule.contains("ct state")
        || rule.contains("ct count")
        || rule.contains("fib saddr")
        || rule.contains("iifname \"lo\"")
        || rule.contains("vmap @flows")
        || rule.contains("nd-")
        || rule.contains("icmpv6 type")
}

#[tokio::test]
async fn every_rule_deleted_or_turned_round_shows() {
    let world = World::new().await;
    let asked = matrix();
    let owner = world.plan.owner;
    let table = format!("ne{}", world.plan.world);
    let listing = world.in_router(&["nft", "-a", "list", "table", "inet", &table]);
    let count = rules(&listing).len();
    let mut shown = 0;
    for place in 0..count {
        for turn in [false, true] {
            world.apply().await;
            let listing = world.in_router(&["nft", "-a", "list", "table", "inet", &table]);
            let (chain, rule, handle) = rules(&listing).swap_remove(place);
            if turn {
                let words: Vec<_> = rule.split_whitespace().collect();
                let Some((verdict @ &("accept" | "drop"), before)) = words.split_last() else { continue };
                // What a counter counted is no part of a rule.
                let keep = |place: &usize| !(0..5).any(|back| *place >= back && before[*place - back] == "counter");
                let mut other: Vec<_> = (0..before.len()).filter(keep).map(|place| before[place]).collect();
                other.push(if *verdict == "accept" { "drop" } else { "accept" });
                let other = other.join(" ");
                world.in_router(&["nft", &format!("replace rule inet {table} {chain} handle {handle} {other}")]);
            } else {
                world.in_router(&["nft", "delete", "rule", "inet", &table, &chain, "handle", &handle]);
            }
            let seen = world.prove(owner, flows(&asked)).await.expect("proves");
            let wrong = differences(&asked, &seen);
            // What a proof cannot meet, a comparison with the plan sees.
            let observed = world.client.observe_network(patient(), world.plan.world, owner).await.expect("answers");
            assert!(!observed.expect("observes").drift.is_empty(), "{chain}: {rule}");
            shown += usize::from(!wrong.is_empty());
            let is_rest = rule.starts_with("counter") && !turn;
            assert!(!wrong.is_empty() || is_not_met(&rule) || is_rest, "{chain}: {rule}, turned round {turn}");
        }
    }
    assert!(shown >= 8, "only {shown} of {count} rules showed");
}

#[tokio::test]
async fn what_cannot_be_traced_is_in_doubt() {
    let world = World::new().await;
    let asked: Vec<_> = matrix().into_iter().take(4).collect();
    // A chain before all others takes the bit away again.
    let rule = "add table inet blind; add chain inet blind p { type filter hook prerouting priority -399; }; \
                add rule inet blind p meta nftrace set 0";
    world.in_router(&["nft", rule]);
    let seen = world.prove(world.plan.owner, flows(&asked)).await.expect("answers");
    assert_eq!(differences(&asked, &seen).len(), asked.len(), "{seen:?}");
}
