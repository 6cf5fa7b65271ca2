//! The proof of isolation: what rootd sees of real packets, and that whatever is wrong in the router's table shows.
//! Rows 46, 47.

use std::{fs, net::IpAddr, path::PathBuf, process::Command};

use netengine_proto::{
    bounded::Bounded,
    ids::Uid,
    net::{IfName, Transport},
    plan::{AllowRule, DomainPolicy, FlowKind, ForwardPair, InputPort, NetworkPlan, Node, Policy, PortRange},
    root::{Claim, FlowProbe, FlowSeen, ProbeKind, RootClient, RootError},
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
/// Who may besides, by rules of each kind: ICMP, a port, a range of ports.
const ALLOWED: [(usize, usize); 3] = [(0, 2), (0, 4), (5, 0)];
/// What those rules name, and what the router answers on.
const PORT: u16 = 4000;
const RANGE: (u16, u16) = (4100, 4200);
const ANSWERED: u16 = 53;

fn allows(from: usize, to: usize, kind: ProbeKind) -> bool {
    match (ALLOWED.iter().position(|pair| *pair == (from, to)), kind) {
        (Some(0), ProbeKind::Icmp) => true,
        (Some(1), ProbeKind::Tcp(port)) => port.get() == PORT,
        (Some(2), ProbeKind::Udp(port)) => (RANGE.0..=RANGE.1).contains(&port.get()),
        _ => false,
    }
}

fn port(number: u16) -> netengine_proto::net::Port {
    number.try_into().expect("a port")
}

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
    let range = |first, last| bounded(vec![PortRange { first: port(first), last: port(last) }]);
    let kinds = [
        FlowKind::Icmp,
        FlowKind::Ports(Transport::Tcp, range(PORT, PORT)),
        FlowKind::Ports(Transport::Udp, range(RANGE.0, RANGE.1)),
    ];
    let allow =
        ALLOWED.iter().zip(kinds).map(|((from, to), kind)| AllowRule { from: bridge(*from), to: bridge(*to), kind });
    let input = [Transport::Udp, Transport::Tcp].map(|transport| InputPort { transport, port: port(ANSWERED) });
    Policy {
        input: bounded(input.into()),
        allow: bounded(allow.collect()),
        forward: bounded(pairs.map(|(a, b)| ForwardPair { from: bridge(a), to: bridge(b) }).collect()),
        domains: bounded(domains.collect()),
        ..Policy::default()
    }
}

fn address(network: usize, last: u16, v6: bool) -> IpAddr {
    let text = if v6 { format!("fd00:{network:x}::{last:x}") } else { format!("10.{network}.0.{last}") };
    text.parse().expect("an address")
}

/// What the fields and the rules say: whether it arrives, and with which source.
fn expected(from: usize, to: usize, v6: bool, kind: ProbeKind) -> Option<IpAddr> {
    let (a, b) = (NETWORKS[from], NETWORKS[to]);
    let may = (a.is_none() && b.is_none() && (from, to) != CLOSED)
        || ((a.is_some() || b.is_some()) && a.is_none_or(|a| a.0) && b.is_none_or(|b| b.1));
    let own = if a.is_some_and(|a| a.2) { address(to, 1, v6) } else { address(from, 10, v6) };
    (may || allows(from, to, kind)).then_some(own)
}

struct World {
    router: PathBuf,
    client: RootClient,
    plan: NetworkPlan,
    _host: Host,
}

/// Runs a program of root's in a network namespace.
fn enter(space: &std::path::Path, command: &[&str]) -> (bool, String) {
    let output = Command::new("nsenter").arg(format!("--net={}", space.display())).args(command).output();
    let output = output.expect("nsenter starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The router's namespace, by what holds it.
fn router(host: &Host) -> PathBuf {
    let holder = the(host, "ne-holder");
    let held = fs::read_dir(format!("/proc/{holder}/fd")).expect("it runs").flatten().map(|fd| fd.path());
    let mut spaces = held.filter(|fd| fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().starts_with("net:")));
    spaces.find(|fd| enter(fd, &["ip", "address"]).1.contains("inet 10.0.0.1/")).expect("a router")
}

impl World {
    async fn new() -> Self {
        let host = rootd_only();
        let client = root::client(&host).await;
        let mut plan = world_plan(root::world_id(), Uid(ALICE.uid), NETWORKS.len() as u16, 1);
        let mut nodes = plan.nodes.clone().into_inner();
        nodes.iter_mut().find(|node| node.node == Node::Gateway).expect("a router").policy = Some(policy());
        plan.nodes = bounded(nodes);
        let applied = client.apply_network(patient(), key(), plan.clone()).await;
        applied.expect("answers").expect("applies");
        let router = router(&host);
        Self { router, client, plan, _host: host }
    }

    async fn apply(&self) {
        self.client.apply_network(patient(), key(), self.plan.clone()).await.expect("answers").expect("applies");
    }

    async fn prove(&self, owner: Uid, flows: Vec<FlowProbe>) -> Result<Vec<FlowSeen>, RootError> {
        self.client.prove_flows(patient(), self.plan.world, owner, bounded(flows)).await.expect("answers")
    }

    /// A program of root's in the router.
    fn in_router(&self, command: &[&str]) -> String {
        let (done, out) = enter(&self.router, command);
        assert!(done, "{command:?}: {out}");
        out
    }
}

/// What is to be seen of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// It arrives with this source.
    Arrives(IpAddr),
    /// It is dropped.
    Dropped,
    /// The router takes it.
    Taken,
}

type Asked = (FlowProbe, Wanted);

/// Every network to every other by each protocol and family, to its services and router, out, and every claim.
fn matrix() -> Vec<Asked> {
    let mut all = Vec::new();
    for from in 0..NETWORKS.len() {
        for v6 in [false, true] {
            let own = address(from, 10, v6);
            let mut add = |to, kind, wanted| {
                let from = Node::Host(host_name(&format!("n{from}h0")));
                all.push((FlowProbe { from, source: own, to, kind }, wanted));
            };
            let ports = [PORT, RANGE.0, RANGE.1, RANGE.1 + 1].map(port);
            let kinds = ports.into_iter().flat_map(|port| [ProbeKind::Tcp(port), ProbeKind::Udp(port)]);
            let kinds: Vec<_> = kinds.chain([ProbeKind::Icmp]).collect();
            for to in (0..NETWORKS.len()).filter(|to| *to != from) {
                // A port of nobody, and all that a rule names, with what is next to it.
                let every = if ALLOWED.contains(&(from, to)) { kinds.len() } else { 2 };
                for kind in kinds[..every].iter().copied().chain([ProbeKind::Icmp]) {
                    let wanted = expected(from, to, v6, kind).map_or(Wanted::Dropped, Wanted::Arrives);
                    add(address(to, 10, v6), kind, wanted);
                }
                let wanted = expected(from, to, v6, ProbeKind::Tcp(port(RANGE.1 + 1)));
                let wanted = wanted.map_or(Wanted::Dropped, Wanted::Arrives);
                add(address(to, 2, v6), ProbeKind::Tcp(port(RANGE.1 + 1)), wanted);
            }
            // The services on its own network: bridged, not routed.
            add(address(from, 2, v6), ProbeKind::Udp(port(PORT)), Wanted::Arrives(own));
            let router = address(from, 1, v6);
            for (kind, taken) in [
                (ProbeKind::Icmp, true),
                (ProbeKind::Tcp(port(ANSWERED)), true),
                (ProbeKind::Udp(port(ANSWERED)), true),
                (ProbeKind::Tcp(port(PORT)), false),
                (ProbeKind::Udp(port(PORT)), false),
            ] {
                add(router, kind, if taken { Wanted::Taken } else { Wanted::Dropped });
            }
            let outside = if v6 { "2001:db8::1" } else { "192.0.2.1" };
            add(outside.parse().expect("an address"), ProbeKind::Tcp(port(PORT)), Wanted::Dropped);
            let none: IpAddr = if v6 { [0; 16].into() } else { [0; 4].into() };
            for claim in Claim::ALL.into_iter().filter(|claim| claim.is_of(!v6)) {
                let said_by = if claim == Claim::Arp { own } else { none };
                let wanted = if claim.is_true() { Wanted::Arrives(said_by) } else { Wanted::Dropped };
                add(router, ProbeKind::Claim(claim), wanted);
            }
        }
    }
    // The services open flows too.
    for to in 1..NETWORKS.len() {
        let (source, to, kind) = (address(0, 2, false), address(to, 10, false), ProbeKind::Udp(port(PORT)));
        let wanted = expected(0, usize::from(to_network(to)), false, kind).map_or(Wanted::Dropped, Wanted::Arrives);
        let wanted = if wanted == Wanted::Arrives(address(0, 10, false)) { Wanted::Arrives(source) } else { wanted };
        all.push((FlowProbe { from: Node::Services, source, to, kind }, wanted));
    }
    all
}

/// The number of the network of an IPv4 address.
fn to_network(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) => v4.octets()[1],
        IpAddr::V6(_) => panic!("{address}"),
    }
}

/// What differs from what the fields say.
fn differences(asked: &[Asked], seen: &[FlowSeen]) -> Vec<String> {
    assert_eq!(asked.len(), seen.len());
    let mut wrong = Vec::new();
    for ((flow, wanted), seen) in asked.iter().zip(seen) {
        let accepted = seen.verdict.as_ref().map(|verdict| verdict.accepted);
        let right = seen.doubt.is_empty()
            && match wanted {
                Wanted::Taken => accepted == Some(true),
                Wanted::Arrives(source) => {
                    accepted == Some(true) && seen.delivered.as_ref().is_some_and(|(_, own)| own == source)
                }
                Wanted::Dropped => accepted == Some(false) && seen.delivered.is_none(),
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

fn flows(asked: &[Asked]) -> Vec<FlowProbe> {
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
        let unrouted = (verdict.chain.as_str(), verdict.rule.as_str()) == ("routing", "no route");
        assert!(
            ["drop", "vmap"].iter().any(|word| verdict.rule.contains(word)) || unrouted,
            "{verdict:?} names no rule"
        );
    }
    // Nothing of the proof stays, and nothing differs.
    assert!(!world.in_router(&["nft", "list", "tables"]).contains(&format!("ne{}t", world.plan.world)));
    let seen = world.client.observe_network(patient(), world.plan.world, owner, true).await.expect("answers");
    assert_eq!(seen.expect("observes").drift, []);
    // The same flows again are the first of new flows.
    let seen = world.prove(owner, flows(&asked)).await.expect("proves");
    assert_eq!(differences(&asked, &seen), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_proves_in_anothers_world_or_with_anothers_address() {
    let world = World::new().await;
    let node = |name: &str| Node::Host(host_name(name));
    let flow = FlowProbe {
        from: node("n0h0"),
        source: address(0, 10, false),
        to: address(1, 10, false),
        kind: ProbeKind::Icmp,
    };
    let owner = world.plan.owner;
    let refused = |result: Result<Vec<FlowSeen>, RootError>| result.expect_err("refused");
    assert_eq!(refused(world.prove(Uid(BOB.uid), vec![flow.clone()]).await), RootError::NotFound);
    let unknown = FlowProbe { from: node("nobody"), ..flow.clone() };
    assert_eq!(refused(world.prove(owner, vec![unknown]).await), RootError::NotFound);
    // The router's links are nobody's to send by, and a claim goes to the router alone.
    let router = FlowProbe { from: Node::Gateway, source: address(0, 1, false), ..flow.clone() };
    assert_eq!(refused(world.prove(owner, vec![router]).await), RootError::Refused);
    for to in [address(0, 2, false), address(1, 1, false), address(1, 10, false), address(0, 99, false)] {
        let claim = FlowProbe { to, kind: ProbeKind::Claim(Claim::RouterArp), ..flow.clone() };
        assert_eq!(refused(world.prove(owner, vec![claim]).await), RootError::Refused, "{to}");
    }
    let no_such = FlowProbe { to: address(0, 1, false), kind: ProbeKind::Claim(Claim::Redirect), ..flow.clone() };
    assert_eq!(refused(world.prove(owner, vec![no_such]).await), RootError::Refused, "a claim of another family");
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

/// A rule as nft(8) lists it.
#[derive(Debug, Clone)]
struct Listed {
    chain: String,
    /// Without what its counter counted, which is no part of it.
    rule: String,
    handle: String,
}

impl Listed {
    /// Its verdict, when it is one that can be turned round.
    fn verdict(&self) -> Option<&str> {
        self.rule.rsplit(' ').next().filter(|word| matches!(*word, "accept" | "drop"))
    }
}

/// The rules of a table, in order.
fn rules(listing: &str) -> Vec<Listed> {
    let mut chain = String::new();
    let mut found = Vec::new();
    for line in listing.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ") {
            chain = name.split_whitespace().next().expect("a name").to_owned();
        } else if !line.starts_with("type ")
            && !chain.is_empty()
            && let Some((rule, handle)) = line.split_once(" # handle ")
        {
            let words: Vec<_> = rule.split_whitespace().collect();
            let keep = |place: &usize| !(1..5).any(|back| *place >= back && words[*place - back] == "counter");
            let rule: Vec<_> = (0..words.len()).filter(keep).map(|place| words[place]).collect();
            found.push(Listed { chain: chain.clone(), rule: rule.join(" "), handle: handle.to_owned() });
        }
    }
    found
}

/// One thing that may be wrong with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    /// The rule is not there.
    Deleted,
    /// It accepts what it dropped, or the reverse.
    Turned,
    /// It stands behind the next one of its chain.
    Swapped,
}

const MUTATIONS: [Mutation; 3] = [Mutation::Deleted, Mutation::Turned, Mutation::Swapped];

/// What makes a mutation of `rules[place]` in nft's words; `None` when there is none of this kind.
fn damage(table: &str, rules: &[Listed], place: usize, mutation: Mutation) -> Option<String> {
    let Listed { chain, rule, handle } = &rules[place];
    let delete = format!("delete rule {table} {chain} handle {handle}");
    match mutation {
        Mutation::Deleted => Some(delete),
        Mutation::Turned => {
            let verdict = rules[place].verdict()?;
            let other = if verdict == "accept" { "drop" } else { "accept" };
            let rest = rule.strip_suffix(verdict)?;
            Some(format!("replace rule {table} {chain} handle {handle} {rest}{other}"))
        }
        Mutation::Swapped => {
            let next = rules.get(place + 1).filter(|next| next.chain == *chain)?;
            Some(format!("add rule {table} {chain} handle {} {rule}; {delete}", next.handle))
        }
    }
}

/// Why no packet that a proof may send is treated otherwise with this mutation; the comparison with the plan sees it. Each
/// reason is held against the kernel too: what has one must not show, so that the list says no more than is so.
fn unmet(bridge: bool, rules: &[Listed], place: usize, mutation: Mutation) -> Option<&'static str> {
    let Listed { chain, rule, .. } = &rules[place];
    let is_last = rules.get(place + 1).is_none_or(|next| next.chain != *chain);
    let is_any = |rule: &str, words: &[&str]| words.iter().any(|word| rule.contains(word));
    const LATER: [&str; 2] = ["ct state established", "ct state invalid"];
    const FULL: [&str; 2] = ["ct count", "@flows"];
    const SOLICITED: [&str; 2] = ["nd-", "icmpv6 type"];
    if mutation == Mutation::Swapped {
        let next = &rules[place + 1];
        if rules[place].verdict().is_some() && rules[place].verdict() == next.verdict() {
            return Some("both end alike, so that their order decides nothing");
        }
        let pair = [rule, &next.rule];
        if pair.iter().any(|rule| is_any(rule, &LATER)) && !pair.iter().any(|rule| rule.as_str() == "counter drop") {
            return Some("a first packet is of neither state");
        }
        if pair.iter().any(|rule| rule.contains("fib saddr")) {
            return Some("the bridge drops such sources before");
        }
        if rule.contains("vmap @messages") && next.rule.contains("udp sport 547") {
            return Some("no packet is of ICMP and of UDP");
        }
        if pair.iter().any(|rule| is_any(rule, &FULL) || rule.contains("iifname \"lo\"")) {
            return Some("it decides about none of these packets");
        }
        return None;
    }
    if is_any(rule, &LATER) {
        return Some("a first packet is of neither state");
    }
    if is_any(rule, &FULL) {
        return Some("a domain's share of the connection table is not used up");
    }
    if rule.contains("fib saddr") {
        return Some("the bridge drops such sources before");
    }
    if rule.contains("iifname \"lo\"") {
        return Some("the router sends nothing to itself");
    }
    if !bridge && chain == "input" && is_any(rule, &SOLICITED) && !rule.contains("echo-request") {
        return Some("of neighbours' messages the bridge's decision alone is looked at");
    }
    let is_jumped = ["in_", "out_"].iter().any(|word| chain.starts_with(word));
    if is_last && !is_jumped && rule == "counter drop" && mutation == Mutation::Deleted {
        return Some("what no rule takes is dropped by the policy, or by the rule behind the jump");
    }
    None
}

/// Every mutation of a table: shown by a proof, or unmet for a reason; and always by the comparison with the plan.
async fn each_mutation_shows(family: &str) {
    let world = World::new().await;
    let asked = matrix();
    let owner = world.plan.owner;
    let table = format!("{family} ne{}", world.plan.world);
    let list = || rules(&world.in_router(&["nft", "-a", "list", "table", family, &format!("ne{}", world.plan.world)]));
    let count = list().len();
    let (mut shown, mut wrong) = (0, Vec::new());
    for place in 0..count {
        for mutation in MUTATIONS {
            let rules = list();
            let Some(damage) = damage(&table, &rules, place, mutation) else { continue };
            world.in_router(&["nft", &damage]);
            let seen = world.prove(owner, flows(&asked)).await.expect("proves");
            let mut differing = differences(&asked, &seen);
            let reason = unmet(family == "bridge", &rules, place, mutation);
            if reason.is_some() && !differing.is_empty() {
                // A neighbour that could not answer the router under the mutation before may be given up just now, with what waits
                // for it. What this mutation does, it does again.
                world.in_router(&["ip", "neighbour", "flush", "all"]);
                let again = world.prove(owner, flows(&asked)).await.expect("proves");
                differing = differences(&asked, &again);
            }
            let observed =
                world.client.observe_network(patient(), world.plan.world, owner, true).await.expect("answers");
            let what = format!("{} {:?} {mutation:?}", rules[place].chain, rules[place].rule);
            assert!(!observed.expect("observes").drift.is_empty(), "no drift: {what}");
            shown += usize::from(!differing.is_empty());
            match (reason, differing.first()) {
                (None, None) => wrong.push(format!("{what} does not show")),
                (Some(reason), Some(first)) => wrong.push(format!("{what} shows, against \"{reason}\": {first}")),
                _ => {}
            }
            world.apply().await;
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(shown >= count / 2, "only {shown} mutations of {count} rules showed");
}

#[tokio::test]
async fn every_wrong_rule_of_the_router_shows() {
    each_mutation_shows("inet").await;
}

#[tokio::test]
async fn every_wrong_rule_of_the_bridge_shows() {
    each_mutation_shows("bridge").await;
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
