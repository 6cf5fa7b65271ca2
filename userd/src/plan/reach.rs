//! Who may reach whom, by the spec's words alone: the expectation that a proof holds the kernel against. Nothing here knows
//! of links, chains or rules; it shares no code with what makes the policy.

use std::{collections::BTreeSet, net::IpAddr};

use netengine_proto::{
    control::AndNetwork,
    names::HostName,
    net::Port,
    root::{Claim, ProbeKind},
};
use netengine_spec::{
    Spec,
    model::{AllowProto, AndAllow, Inbound, InternetMode},
};

/// A network, with the host and the services' addresses that speak for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vantage {
    /// The network's name, or the AND's.
    pub network: String,
    /// Its vantage host and that host's addresses, one of each family; `None` when it has none.
    pub host: Option<(HostName, Vec<IpAddr>)>,
    /// Every address of the services in it.
    pub services: Vec<IpAddr>,
    /// The router's addresses in this network.
    pub router: Vec<IpAddr>,
}

/// A world that this one is joined with, by its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerWorld {
    /// How the spec names it: `world:NAME`.
    pub name: String,
    /// An address in each of its networks.
    pub addresses: Vec<IpAddr>,
}

/// Who sends a packet, or where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A vantage host.
    Host,
    /// The services.
    Services,
    /// The router, by its address on the sender's own network.
    Router,
    /// An address that no world has.
    Outside,
    /// Another world that this one is joined with.
    Peer,
}

impl Role {
    /// Its word, for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Services => "services",
            Self::Router => "router",
            Self::Outside => "outside",
            Self::Peer => "peer",
        }
    }
}

/// What the spec says becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes nowhere.
    Blocked,
    /// It arrives with this source address.
    Arrives(IpAddr),
    /// The router takes it, or lets it leave the world: its verdict is all there is to see.
    Taken,
}

/// What the spec says of one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The network it comes from.
    pub from: String,
    /// Who sends it.
    pub sender: Role,
    /// The network it goes to; the sender's own for its router, `outside`, and a peer as the spec names it.
    pub to: String,
    /// Where it goes there.
    pub receiver: Role,
    /// Its source address at its begin.
    pub source: IpAddr,
    /// Its destination.
    pub target: IpAddr,
    /// What it is.
    pub kind: ProbeKind,
    /// What becomes of it.
    pub fate: Fate,
}

/// What a network lets its hosts do. Networks of the substrate are open.
#[derive(Debug, Clone, Copy)]
struct Fields {
    closed: bool,
    inbound: bool,
    nat: bool,
}

const OPEN: Fields = Fields { closed: false, inbound: true, nat: false };

/// The name of what is no world's.
pub const OUTSIDE: &str = "outside";
/// Addresses for documentation, which nobody has (RFC 5737, RFC 3849).
const NOBODYS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

/// Ports of the router's resolver: DNS over UDP and TCP (RFC 1035), TLS (RFC 7858) and HTTPS (RFC 8484).
const RESOLVER: [(bool, u16); 4] = [(true, 53), (false, 53), (false, 853), (false, 443)];
/// DHCP servers' port (RFC 2131, section 4.1).
const DHCP: u16 = 67;
/// The port of time servers (RFC 5905, section 7.2).
const TIME: u16 = 123;
/// The ports of the web.
const WEB: [u16; 2] = [80, 443];

/// What the router answers in this world.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers {
    /// Names, in every network.
    pub names: bool,
}

/// All that is to be proven: each network's vantage host to each other's, to every address of the services, to its router, to
/// the worlds that this one is joined with and out of the world; the services to every other network's host; and what each vantage host claims on its own link. By
/// TCP and UDP to `port` and ICMP, and to the ports that typed rules name, over every family that both have.
pub fn matrix(
    spec: &Spec,
    ands: &[AndNetwork],
    all: &[Vantage],
    peers: &[PeerWorld],
    port: Port,
    answers: Answers,
) -> Vec<Expectation> {
    let world = World { spec, ands, port, answers };
    let mut found = Vec::new();
    for from in all {
        let hosts = from.host.iter().flat_map(|(_, addresses)| addresses).map(|source| (Role::Host, *source));
        let own = [true, false].map(|is_v4| from.services.iter().copied().find(|own| own.is_ipv4() == is_v4));
        let own = own.into_iter().flatten().map(|source| (Role::Services, source));
        for (sender, source) in hosts.chain(own) {
            for to in all {
                let others = to.network != from.network;
                let to_host = to.host.iter().filter(|_| others).filter_map(|(_, held)| of_family(held, source));
                let to_services = to.services.iter().copied().filter(|to| to.is_ipv4() == source.is_ipv4());
                let to_services = to_services.filter(|_| sender == Role::Host);
                let targets = to_host.map(|target| (Role::Host, target));
                for (receiver, target) in targets.chain(to_services.map(|target| (Role::Services, target))) {
                    for kind in world.kinds(from, to) {
                        let fate = if others { world.between(from, to, source, kind) } else { Fate::Arrives(source) };
                        found.push(expectation((from, sender, source), (&to.network, receiver, target), kind, fate));
                    }
                }
            }
            if sender == Role::Host {
                found.extend(world.own_link(from, source));
                found.extend(world.outside(from, source));
            }
            found.extend(peers.iter().flat_map(|peer| world.peer((from, sender, source), peer)));
        }
    }
    found
}

fn expectation(
    (from, sender, source): (&Vantage, Role, IpAddr),
    (to, receiver, target): (&str, Role, IpAddr),
    kind: ProbeKind,
    fate: Fate,
) -> Expectation {
    let (from, to) = (from.network.clone(), to.to_owned());
    Expectation { from, sender, to, receiver, source, target, kind, fate }
}

struct World<'a> {
    spec: &'a Spec,
    ands: &'a [AndNetwork],
    port: Port,
    answers: Answers,
}

impl World<'_> {
    fn fields(&self, name: &str) -> Fields {
        let Some(and) = self.ands.iter().find(|and| and.name.as_str() == name) else { return OPEN };
        let profile = self.spec.and_profile(&and.profile).unwrap_or_default();
        let inbound = profile.inbound == Inbound::Allowed;
        Fields { closed: and.profile == "airgapped", inbound, nat: profile.nat }
    }

    fn rules<'b>(&'b self, from: &'b Vantage, to: &'b Vantage) -> impl Iterator<Item = &'b AndAllow> + Clone {
        let all = self.spec.ands.allow.iter();
        all.filter(|rule| rule.from.as_str() == from.network && rule.to.as_str() == to.network)
    }

    /// The port of nobody, the ends of every range that a rule names, and what is next to them.
    fn kinds(&self, from: &Vantage, to: &Vantage) -> Vec<ProbeKind> {
        let mut kinds = vec![ProbeKind::Tcp(self.port), ProbeKind::Udp(self.port), ProbeKind::Icmp];
        let ranges = self.rules(from, to).flat_map(|rule| &rule.ports);
        let ports: BTreeSet<u16> =
            ranges.flat_map(|range| [range.first, range.last, range.last.saturating_add(1)]).collect();
        for port in ports.into_iter().filter_map(Port::new).filter(|port| *port != self.port) {
            kinds.extend([ProbeKind::Tcp(port), ProbeKind::Udp(port)]);
        }
        kinds
    }

    /// Between networks.
    fn between(&self, from: &Vantage, to: &Vantage, source: IpAddr, kind: ProbeKind) -> Fate {
        let (sender, receiver) = (self.fields(&from.network), self.fields(&to.network));
        let by_profile = !sender.closed && !receiver.closed && receiver.inbound;
        if !by_profile && !self.rules(from, to).any(|rule| names(rule, kind)) {
            return Fate::Blocked;
        }
        // Translated to the router's address on the network that the flow leaves by.
        let translated = (sender.nat && !sender.closed).then(|| of_family(&to.router, source)).flatten();
        Fate::Arrives(translated.unwrap_or(source))
    }

    /// To the router, and what a host says of itself and of others.
    fn own_link(&self, from: &Vantage, source: IpAddr) -> Vec<Expectation> {
        let Some(router) = of_family(&from.router, source) else { return Vec::new() };
        let to =
            |kind, fate| expectation((from, Role::Host, source), (&from.network, Role::Router, router), kind, fate);
        let mut found = vec![
            to(ProbeKind::Tcp(self.port), Fate::Blocked),
            to(ProbeKind::Udp(self.port), Fate::Blocked),
            to(ProbeKind::Icmp, Fate::Taken),
        ];
        let mut asked = |is_udp: bool, number: u16, is_answered: bool| {
            let Some(port) = Port::new(number) else { return };
            let kind = if is_udp { ProbeKind::Udp(port) } else { ProbeKind::Tcp(port) };
            found.push(to(kind, if is_answered { Fate::Taken } else { Fate::Blocked }));
        };
        for (is_udp, number) in RESOLVER {
            asked(is_udp, number, self.answers.names);
        }
        asked(true, TIME, self.spec.substrate.ntp.enabled && !self.ands.is_empty());
        if source.is_ipv4() {
            asked(true, DHCP, self.ands.iter().any(|and| and.dhcp.is_some()));
        }
        for claim in Claim::ALL.into_iter().filter(|claim| claim.is_of(source.is_ipv4())) {
            let none: IpAddr = if source.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            let fate = match (claim.is_true(), claim) {
                (false, _) => Fate::Blocked,
                (true, Claim::Arp) => Fate::Arrives(source),
                (true, _) => Fate::Arrives(none),
            };
            found.push(to(ProbeKind::Claim(claim), fate));
        }
        found
    }

    /// To another world: whoever may open flows does. What it lets in is its own to say, and to prove.
    fn peer(&self, from: (&Vantage, Role, IpAddr), peer: &PeerWorld) -> Vec<Expectation> {
        let fate = if self.fields(&from.0.network).closed { Fate::Blocked } else { Fate::Taken };
        let kinds = [ProbeKind::Tcp(self.port), ProbeKind::Udp(self.port), ProbeKind::Icmp];
        let targets = peer.addresses.iter().copied().filter(|to| to.is_ipv4() == from.2.is_ipv4());
        let to = |target| kinds.map(|kind| expectation(from, (&peer.name, Role::Peer, target), kind, fate));
        targets.flat_map(to).collect()
    }

    /// Out of the world, by the words of the mode. What an administrator's own rules let out is theirs to say.
    fn outside(&self, from: &Vantage, source: IpAddr) -> Vec<Expectation> {
        let mode = self.spec.gateway_portal.mode();
        if mode == InternetMode::Custom {
            return Vec::new();
        }
        let Some(target) = NOBODYS
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .find(|to: &IpAddr| to.is_ipv4() == source.is_ipv4())
        else {
            return Vec::new();
        };
        let web = WEB.into_iter().filter_map(Port::new).map(ProbeKind::Tcp);
        let kinds = web.chain([ProbeKind::Tcp(self.port), ProbeKind::Udp(self.port), ProbeKind::Icmp]);
        let leaves = |kind| leaves(mode, kind) && !self.fields(&from.network).closed;
        let fate = |kind| if leaves(kind) { Fate::Taken } else { Fate::Blocked };
        kinds
            .map(|kind| expectation((from, Role::Host, source), (OUTSIDE, Role::Outside, target), kind, fate(kind)))
            .collect()
    }
}

/// What a mode of the gateway portal lets out. isolated: nothing leaves; shadowed: web only; mirrored: names lead to services
/// of the world, and nothing leaves; exposed: out freely.
fn leaves(mode: InternetMode, kind: ProbeKind) -> bool {
    match mode {
        InternetMode::Isolated | InternetMode::Mirrored | InternetMode::Custom => false,
        InternetMode::Shadowed => matches!(kind, ProbeKind::Tcp(port) if WEB.contains(&port.get())),
        InternetMode::Exposed => true,
    }
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
