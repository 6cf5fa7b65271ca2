//! What a router does with packets: the table of family inet.
//!
//! The cost of a packet does not grow with the number of domains: sources are checked by the routing table, and links are
//! looked up in maps. A domain has one or two chains of its own with one rule each, and an element in each map.

use std::collections::{BTreeMap, BTreeSet};

use netengine_proto::{
    net::{IfName, Transport},
    plan::{AllowRule, FlowKind, Policy},
};

use super::{
    model::{
        Base, Chain, CtState, Elements, Expr, Family, Hook, Kind, Load, Rule, Set, Table, Verdict, if_name_key, key,
    },
    uplink,
};

/// The mark of packets that passed the table's first chain. Only these find a route (`plan::observed::RoutingRule`), so a
/// router whose table is gone forwards nothing.
pub const MARK: u32 = 0x4e45;

/// Before connections are tracked (linux/netfilter_ipv4.h, `NF_IP_PRI_RAW`): what is spoofed leaves no entry.
const PRIORITY_RAW: i32 = -300;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SRCNAT: i32 = 100;
const PRIORITY_DSTNAT: i32 = -100;

pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;
const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

/// The table of a router with this policy.
pub fn table(policy: &Policy) -> Table {
    let allowed = allowed(policy);
    let mut chains = Vec::new();
    for domain in policy.domains.iter() {
        chains.push(jumped(flows(&domain.link), vec![vec![Expr::FlowsOver(domain.flows), Expr::Counter, drop()]]));
        if !domain.opens {
            chains.push(jumped(format!("out_{}", domain.link), vec![vec![Expr::Counter, drop()]]));
        }
        if !domain.admits {
            chains.push(jumped(format!("in_{}", domain.link), vec![vec![Expr::Counter, drop()]]));
        }
    }
    chains.extend(policy.uplink.iter().flat_map(uplink::chains));
    for ((from, to), rules) in &allowed {
        chains.push(jumped(allow(from, to), rules.iter().flat_map(|rule| allow_rules(&rule.kind)).collect()));
    }
    chains.extend([
        base("prerouting", Kind::Filter, Hook::Prerouting, PRIORITY_RAW, false, prerouting()),
        base("input", Kind::Filter, Hook::Input, PRIORITY_FILTER, true, input(policy)),
        base("forward", Kind::Filter, Hook::Forward, PRIORITY_FILTER, true, forward(policy)),
        base("postrouting", Kind::Nat, Hook::Postrouting, PRIORITY_SRCNAT, false, postrouting(policy)),
    ]);
    if let Some(uplink) = &policy.uplink {
        let output = vec![uplink::jump(Load::Oifname, uplink, uplink::OWN)];
        chains.push(base("output", Kind::Filter, Hook::Output, PRIORITY_FILTER, false, output));
        chains.push(base("arrival", Kind::Nat, Hook::Prerouting, PRIORITY_DSTNAT, false, uplink::arrival(uplink)));
    }
    Table { family: Family::Inet, sets: sets(policy, &allowed), chains }
}

pub(super) fn jumped(name: String, rules: Vec<Rule>) -> Chain {
    Chain { name, base: None, rules }
}

fn base(name: &str, kind: Kind, hook: Hook, priority: i32, drops: bool, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), base: Some(Base { kind, hook, priority, drops }), rules }
}

fn flows(link: &IfName) -> String {
    format!("flows_{link}")
}

fn allow(from: &IfName, to: &IfName) -> String {
    format!("allow_{from}_{to}")
}

pub(super) fn accept() -> Expr {
    Expr::Verdict(Verdict::Accept)
}

fn drop() -> Expr {
    Expr::Verdict(Verdict::Drop)
}

type Allowed<'a> = BTreeMap<(&'a IfName, &'a IfName), Vec<&'a AllowRule>>;

/// The further rules, by pair of links. A pair that may everything needs none.
fn allowed(policy: &Policy) -> Allowed<'_> {
    let whole: BTreeSet<_> = policy.forward.iter().map(|pair| (&pair.from, &pair.to)).collect();
    let mut allowed = Allowed::new();
    for rule in policy.allow.iter().filter(|rule| !whole.contains(&(&rule.from, &rule.to))) {
        allowed.entry((&rule.from, &rule.to)).or_default().push(rule);
    }
    allowed
}

fn sets(policy: &Policy, allowed: &Allowed<'_>) -> Vec<Set> {
    let name = |link: &IfName| if_name_key(link.as_str());
    let pair = |from: &IfName, to: &IfName| key(&[&name(from), &name(to)]);
    let mut pairs: BTreeMap<_, _> =
        policy.forward.iter().map(|entry| (pair(&entry.from, &entry.to), Verdict::Accept)).collect();
    pairs.extend(allowed.keys().map(|(from, to)| (pair(from, to), Verdict::Jump(allow(from, to)))));
    let domains = || policy.domains.iter();
    let refused = domains().filter(|domain| !domain.opens);
    let verdicts = |name, key, map| Set { name, key, elements: Elements::Verdicts(map) };
    let keys = |name, keys| Set { name, key: &[Load::Iifname], elements: Elements::Keys(keys) };
    vec![
        verdicts("pairs", &[Load::Iifname, Load::Oifname], pairs),
        verdicts(
            "flows",
            &[Load::Iifname],
            domains().map(|d| (name(&d.link), Verdict::Jump(flows(&d.link)))).collect(),
        ),
        verdicts(
            "leave",
            &[Load::Iifname],
            refused.map(|d| (name(&d.link), Verdict::Jump(format!("out_{}", d.link)))).collect(),
        ),
        verdicts(
            "enter",
            &[Load::Oifname],
            domains()
                .map(|domain| {
                    let chain = || Verdict::Jump(format!("in_{}", domain.link));
                    (name(&domain.link), if domain.admits { Verdict::Accept } else { chain() })
                })
                .collect(),
        ),
        keys("domains", domains().map(|domain| name(&domain.link)).collect()),
        keys("masquerades", domains().filter(|d| d.masquerades).map(|domain| name(&domain.link)).collect()),
    ]
}

fn prerouting() -> Vec<Rule> {
    vec![vec![Expr::SourceElsewhere, Expr::Counter, drop()], vec![Expr::SetMark(MARK)]]
}

/// What is known goes on, what belongs to nothing is dropped, and a domain's new flows are counted.
fn head() -> Vec<Rule> {
    vec![
        vec![Expr::CtState(CtState::EstablishedRelated), accept()],
        vec![Expr::CtState(CtState::Invalid), Expr::Counter, drop()],
    ]
}

fn count_flows() -> Rule {
    vec![Expr::Vmap(&[Load::Iifname], "flows")]
}

pub(super) fn rest() -> Rule {
    vec![Expr::Counter, drop()]
}

fn input(policy: &Policy) -> Vec<Rule> {
    let icmp = |family: u8, protocol: u8, load: Load, kind: u8| {
        vec![
            Expr::Is(Load::NfProto, vec![family]),
            Expr::Is(Load::L4Proto, vec![protocol]),
            Expr::Is(load, vec![kind]),
            accept(),
        ]
    };
    let mut rules = head();
    rules.push(vec![Expr::Is(Load::Iifname, if_name_key("lo")), accept()]);
    rules.push(count_flows());
    // Echo requests (RFC 792, 4443); solicitations of routers and neighbours, and neighbours' advertisements (RFC 4861).
    rules.push(icmp(NFPROTO_IPV4, ICMP, Load::IcmpType, 8));
    rules.extend([128, 133, 135, 136].map(|kind| icmp(NFPROTO_IPV6, ICMPV6, Load::Icmp6Type, kind)));
    // Nothing outside has anything to ask of the router.
    rules.extend(policy.uplink.iter().map(|uplink| uplink::from(uplink, [Expr::Counter, drop()])));
    for port in policy.input.iter() {
        rules.push(vec![
            Expr::Is(Load::L4Proto, vec![number(port.transport)]),
            Expr::Is(Load::DestinationPort, port.port.get().to_be_bytes().to_vec()),
            accept(),
        ]);
    }
    rules.push(rest());
    rules
}

fn forward(policy: &Policy) -> Vec<Rule> {
    let mut rules = head();
    rules.push(count_flows());
    rules.extend(policy.uplink.iter().map(|uplink| uplink::jump(Load::Iifname, uplink, uplink::IN)));
    rules.push(vec![Expr::Vmap(&[Load::Iifname, Load::Oifname], "pairs")]);
    rules.push(vec![Expr::Vmap(&[Load::Iifname], "leave")]);
    rules.extend(policy.uplink.iter().map(|uplink| uplink::jump(Load::Oifname, uplink, uplink::OUT)));
    rules.push(vec![Expr::Vmap(&[Load::Oifname], "enter")]);
    // From a domain that may open flows to a link that is no domain's.
    rules.push(vec![Expr::In(&[Load::Iifname], "domains"), accept()]);
    rules.push(rest());
    rules
}

fn postrouting(policy: &Policy) -> Vec<Rule> {
    let mut rules = vec![vec![Expr::In(&[Load::Iifname], "masquerades"), Expr::Masquerade]];
    rules.extend(policy.uplink.iter().map(|uplink| uplink::by(uplink, [Expr::Masquerade])));
    rules
}

fn number(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

pub(super) fn allow_rules(kind: &FlowKind) -> Vec<Rule> {
    match kind {
        FlowKind::Any => vec![vec![accept()]],
        FlowKind::Icmp => [(NFPROTO_IPV4, ICMP), (NFPROTO_IPV6, ICMPV6)]
            .map(|(family, icmp)| {
                vec![Expr::Is(Load::NfProto, vec![family]), Expr::Is(Load::L4Proto, vec![icmp]), accept()]
            })
            .into(),
        FlowKind::Ports(transport, ranges) if ranges.is_empty() => {
            vec![vec![Expr::Is(Load::L4Proto, vec![number(*transport)]), accept()]]
        }
        FlowKind::Ports(transport, ranges) => ranges
            .iter()
            .map(|range| {
                let [first, last] = [range.first, range.last].map(|port| port.get().to_be_bytes().to_vec());
                let port = if first == last {
                    Expr::Is(Load::DestinationPort, first)
                } else {
                    Expr::Between(Load::DestinationPort, first, last)
                };
                vec![Expr::Is(Load::L4Proto, vec![number(*transport)]), port, accept()]
            })
            .collect(),
    }
}
