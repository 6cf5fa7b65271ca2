//! Who may reach whom, by the spec's words alone: the expectation that a proof holds the kernel against. Nothing here knows
//! of links, chains or rules; it shares no code with what makes the policy.

use std::net::IpAddr;

use netengine_proto::{control::AndNetwork, names::HostName, net::Port, root::ProbeKind};
use netengine_spec::{
    Spec,
    model::{AllowProto, AndAllow, Inbound},
};

/// A network with the host that speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vantage {
    /// The network's name, or the AND's.
    pub network: String,
    /// Its vantage host.
    pub host: HostName,
    /// The host's addresses.
    pub addresses: Vec<IpAddr>,
    /// The router's addresses in this network.
    pub router: Vec<IpAddr>,
}

/// What the spec says of one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The network it comes from.
    pub from: String,
    /// The network it goes to.
    pub to: String,
    /// Its source address at its begin.
    pub source: IpAddr,
    /// Its destination.
    pub target: IpAddr,
    /// What it is.
    pub kind: ProbeKind,
    /// The source address with which it arrives; `None` when it is blocked.
    pub arrives_from: Option<IpAddr>,
}

/// What a network lets its hosts do. Networks of the substrate are open.
#[derive(Debug, Clone, Copy)]
struct Fields {
    closed: bool,
    inbound: bool,
    nat: bool,
}

const OPEN: Fields = Fields { closed: false, inbound: true, nat: false };

/// Each network's vantage host to each other's, by TCP, UDP and ICMP, over every family that both have.
pub fn matrix(spec: &Spec, ands: &[AndNetwork], all: &[Vantage], port: Port) -> Vec<Expectation> {
    let fields = |name: &str| {
        let Some(and) = ands.iter().find(|and| and.name.as_str() == name) else { return OPEN };
        let profile = spec.and_profile(&and.profile).unwrap_or_default();
        let inbound = profile.inbound == Inbound::Allowed;
        Fields { closed: and.profile == "airgapped", inbound, nat: profile.nat }
    };
    let mut found = Vec::new();
    for from in all {
        for to in all.iter().filter(|to| to.network != from.network) {
            let (sender, receiver) = (fields(&from.network), fields(&to.network));
            let by_profile = !sender.closed && !receiver.closed && receiver.inbound;
            for source in &from.addresses {
                let Some(target) = of_family(&to.addresses, *source) else { continue };
                for kind in [ProbeKind::Tcp(port), ProbeKind::Udp(port), ProbeKind::Icmp] {
                    let named = |rule: &&AndAllow| {
                        rule.from.as_str() == from.network && rule.to.as_str() == to.network && names(rule, kind)
                    };
                    let passes = by_profile || spec.ands.allow.iter().any(|rule| named(&rule));
                    // Translated to the router's address on the network that the flow leaves by.
                    let translated = (sender.nat && !sender.closed).then(|| of_family(&to.router, *source)).flatten();
                    found.push(Expectation {
                        from: from.network.clone(),
                        to: to.network.clone(),
                        source: *source,
                        target,
                        kind,
                        arrives_from: passes.then_some(translated.unwrap_or(*source)),
                    });
                }
            }
        }
    }
    found
}

fn of_family(addresses: &[IpAddr], like: IpAddr) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| address.is_ipv4() == like.is_ipv4())
}

/// Whether a rule of the spec is about this kind of flow; no ports are all ports.
fn names(rule: &AndAllow, kind: ProbeKind) -> bool {
    let in_ports = |port: Port| {
        rule.ports.is_empty() || rule.ports.iter().any(|range| (range.first..=range.last).contains(&port.get()))
    };
    match (rule.proto, kind) {
        (AllowProto::Any, _) | (AllowProto::Icmp, ProbeKind::Icmp) => true,
        (AllowProto::Tcp, ProbeKind::Tcp(port)) | (AllowProto::Udp, ProbeKind::Udp(port)) => in_ports(port),
        _ => false,
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
