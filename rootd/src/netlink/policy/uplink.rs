//! What passes a router's uplink: chains of the table of family inet.
//!
//! Each direction has a chain of its own that ends in a drop, so that nothing else of the policy speaks of the uplink.

use std::net::IpAddr;

use ipnet::IpNet;
use netengine_proto::plan::{FlowKind, UplinkPolicy, UplinkPort, UplinkRule};

use super::{
    model::{Chain, CtState, Expr, Load, Rule, Verdict, if_name_key},
    router::{ICMPV6, NFPROTO_IPV4, NFPROTO_IPV6, accept, allow_rules, jumped, rest},
};

/// New flows that leave.
pub const OUT: &str = "uplink_out";
/// New flows that enter.
pub const IN: &str = "uplink_in";
/// What the router itself says there.
pub const OWN: &str = "uplink_own";

const TCP: u8 = 6;
const UDP: u8 = 17;
const DNS: u16 = 53;

/// The chains that the router's base chains jump to.
pub fn chains(uplink: &UplinkPolicy) -> Vec<Chain> {
    let mut out: Vec<Rule> = uplink.out.iter().flat_map(leaves).collect();
    out.push(rest());
    let mut enters: Vec<Rule> = uplink.ports.iter().flat_map(enters).collect();
    enters.push(rest());
    vec![jumped(OUT.into(), out), jumped(IN.into(), enters), jumped(OWN.into(), own(uplink))]
}

/// A rule about what leaves or comes by the uplink.
pub fn jump(load: Load, uplink: &UplinkPolicy, chain: &str) -> Rule {
    about(load, uplink, [Expr::Verdict(Verdict::Jump(chain.into()))])
}

/// A rule about what came by it.
pub fn from<const N: usize>(uplink: &UplinkPolicy, rest: [Expr; N]) -> Rule {
    about(Load::Iifname, uplink, rest)
}

/// A rule about what leaves by it.
pub fn by<const N: usize>(uplink: &UplinkPolicy, rest: [Expr; N]) -> Rule {
    about(Load::Oifname, uplink, rest)
}

fn about<const N: usize>(load: Load, uplink: &UplinkPolicy, rest: [Expr; N]) -> Rule {
    [Expr::Is(load, if_name_key(uplink.link.as_str()))].into_iter().chain(rest).collect()
}

/// Where flows from outside go: the table's chain of destination translation.
pub fn arrival(uplink: &UplinkPolicy) -> Vec<Rule> {
    let rule = |port: &UplinkPort| {
        let mut rule = from(uplink, [Expr::Is(Load::NfProto, vec![NFPROTO_IPV4])]);
        rule.extend(port.from.and_then(|net| within(Load::IpSource, net.into())));
        rule.extend([
            Expr::Is(Load::L4Proto, vec![TCP]),
            Expr::Is(Load::DestinationPort, port.port.get().to_be_bytes().into()),
            Expr::DestinationNat(port.to),
        ]);
        rule
    };
    uplink.ports.iter().map(rule).collect()
}

/// Addresses in a network, as a range; a network of everything needs no match.
fn within(load: Load, net: IpNet) -> Option<Expr> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (first, last) = (octets(net.network()), octets(net.broadcast()));
    match (net.prefix_len() == 0, first == last) {
        (true, _) => None,
        (false, true) => Some(Expr::Is(load, first)),
        (false, false) => Some(Expr::Between(load, first, last)),
    }
}

fn leaves(rule: &UplinkRule) -> Vec<Rule> {
    let mut nets = Vec::new();
    if let Some(net) = rule.from.or(rule.to) {
        nets.push(Expr::Is(Load::NfProto, vec![if net.addr().is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 }]));
    }
    let side = |net: Option<IpNet>, v4, v6| net.and_then(|net| within(if net.addr().is_ipv4() { v4 } else { v6 }, net));
    nets.extend(side(rule.from, Load::IpSource, Load::Ip6Source));
    nets.extend(side(rule.to, Load::IpDestination, Load::Ip6Destination));
    let is_icmp = rule.kind == FlowKind::Icmp;
    // Each rule about ICMP names its family by itself; with networks only the one of theirs can match.
    let fits = |kind: &Rule| !is_icmp || nets.is_empty() || kind.first() == nets.first();
    let join = |kind: Rule| nets.iter().cloned().chain(kind.into_iter().skip(usize::from(is_icmp && !nets.is_empty())));
    allow_rules(&rule.kind).into_iter().filter(fits).map(|kind| join(kind).collect()).collect()
}

/// A domain lets it in or not; what is no domain's does.
fn enters(port: &UplinkPort) -> [Rule; 2] {
    let mut matches = vec![Expr::Is(Load::NfProto, vec![NFPROTO_IPV4])];
    matches.extend(port.from.and_then(|net| within(Load::IpSource, net.into())));
    matches.extend([
        Expr::Is(Load::IpDestination, port.to.octets().into()),
        Expr::Is(Load::L4Proto, vec![TCP]),
        Expr::Is(Load::DestinationPort, port.port.get().to_be_bytes().into()),
    ]);
    let by_domain = matches.iter().cloned().chain([Expr::Vmap(&[Load::Oifname], "enter")]).collect();
    [by_domain, matches.into_iter().chain([accept()]).collect()]
}

/// Answers, whom its neighbour is, and questions to the one resolver.
fn own(uplink: &UplinkPolicy) -> Vec<Rule> {
    let mut rules = vec![vec![Expr::CtState(CtState::EstablishedRelated), accept()]];
    rules.extend([135, 136].map(|kind: u8| {
        let discovery = [(Load::NfProto, NFPROTO_IPV6), (Load::L4Proto, ICMPV6), (Load::Icmp6Type, kind)];
        discovery.map(|(load, value)| Expr::Is(load, vec![value])).into_iter().chain([accept()]).collect()
    }));
    if let Some(resolver) = uplink.resolver {
        let family = if resolver.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
        let to = if resolver.is_ipv4() { Load::IpDestination } else { Load::Ip6Destination };
        for transport in [UDP, TCP] {
            let mut rule = vec![Expr::Is(Load::NfProto, vec![family])];
            rule.extend(within(to, resolver.into()));
            rule.push(Expr::Is(Load::L4Proto, vec![transport]));
            rule.push(Expr::Is(Load::DestinationPort, DNS.to_be_bytes().into()));
            rule.push(accept());
            rules.push(rule);
        }
    }
    rules.push(rest());
    rules
}
