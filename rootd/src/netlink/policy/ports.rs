//! What the ports of a router's bridges may say: the table of family bridge.
//!
//! A port speaks for the MAC address and the addresses of the other end of its cable, in Ethernet's header, in ARP, in
//! neighbour discovery, in IP and in DHCP, and for nothing else; what routers and DHCP servers say is heard from none. It
//! sees frames before the bridge learns from them. Only the kernel's base of the family is used: matches of bridges' own
//! (`meta ibrname`), bridge conntrack and reject are options that kernels lack.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use super::{
    Port,
    model::{Base, Chain, Elements, Expr, Family, Hook, Kind, Load, Rule, Set, Table, Verdict, if_name_key, key},
};

/// The first of all (linux/netfilter_bridge.h: `NF_BR_PRI_NAT_DST_BRIDGED` is -300).
const PRIORITY_FIRST: i32 = -300;

const IP: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IP6: [u8; 2] = [0x86, 0xdd];
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const SOURCE_MAC: &[Load] = &[Load::Iifname, Load::EtherSource];
const SOURCE_IP: &[Load] = &[Load::Iifname, Load::IpSource];
const SOURCE_IP6: &[Load] = &[Load::Iifname, Load::Ip6Source];
const TARGET: &[Load] = &[Load::Iifname, Load::NdTarget];
const CLIENT: &[Load] = &[Load::Iifname, Load::DhcpClient];
const OPTION_MAC: &[Load] = &[Load::Iifname, Load::NdOptionMac];

/// The table that guards these ports.
pub fn table(ports: &[Port]) -> Table {
    let chain = |name: &str, rules| Chain { name: name.into(), base: None, rules };
    let base = Base { kind: Kind::Filter, hook: Hook::Prerouting, priority: PRIORITY_FIRST, drops: true };
    let prerouting = vec![
        vec![Expr::NotIn(SOURCE_MAC, "macs"), Expr::Counter, drop()],
        // A frame with a tag has the tag's type, so it ends at the next rule, whatever is inside.
        vec![Expr::Vmap(&[Load::EtherType], "kinds")],
        refused(),
    ];
    Table {
        family: Family::Bridge,
        sets: sets(ports),
        chains: vec![
            chain("solicitation", solicitation()),
            chain("advertisement", advertisement()),
            chain("from_arp", arp()),
            chain("from_ip", ip()),
            chain("from_ip6", ip6()),
            Chain { name: "prerouting".into(), base: Some(base), rules: prerouting },
        ],
    }
}

/// The link-local address that the kernel gives to a link with this MAC address (RFC 4291, appendix A).
pub fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let half = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, half(a ^ 2, b), half(c, 0xff), half(0xfe, d), half(e, f))
}

fn sets(ports: &[Port]) -> Vec<Set> {
    let mut keys: BTreeMap<&str, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut add = |set: &'static str, port: &[u8], own: &[u8]| {
        keys.entry(set).or_default().insert(key(&[port, own]));
    };
    for port in ports {
        let name = if_name_key(port.name.as_str());
        let mac = port.mac.octets();
        add("macs", &name, &mac);
        add("clients", &name, &mac);
        for address in port.addresses.iter().copied().chain([link_local(mac).into()]) {
            match address {
                IpAddr::V4(v4) => add("addresses", &name, &v4.octets()),
                IpAddr::V6(v6) => {
                    add("addresses6", &name, &v6.octets());
                    add("targets", &name, &v6.octets());
                }
            }
        }
    }
    let mut set = |name, key| Set { name, key, elements: Elements::Keys(keys.remove(name).unwrap_or_default()) };
    let jump = |chain: &str| Verdict::Jump(chain.into());
    let kinds = [(IP, "from_ip"), (IP6, "from_ip6"), (ARP, "from_arp")];
    // RFC 4861: router advertisements and redirects are for routers to say; RFC 3810: so are queries.
    let messages = [(130, Verdict::Drop), (134, Verdict::Drop), (137, Verdict::Drop)];
    let discovery = [(135, jump("solicitation")), (136, jump("advertisement"))];
    vec![
        set("macs", SOURCE_MAC),
        set("clients", CLIENT),
        set("addresses", SOURCE_IP),
        set("addresses6", SOURCE_IP6),
        set("targets", TARGET),
        Set {
            name: "kinds",
            key: &[Load::EtherType],
            elements: Elements::Verdicts(kinds.map(|(kind, chain)| (kind.to_vec(), jump(chain))).into()),
        },
        Set {
            name: "messages",
            key: &[Load::Icmp6Type],
            elements: Elements::Verdicts(
                messages.into_iter().chain(discovery).map(|(kind, verdict)| (vec![kind], verdict)).collect(),
            ),
        },
    ]
}

fn drop() -> Expr {
    Expr::Verdict(Verdict::Drop)
}

fn refused() -> Rule {
    vec![Expr::Counter, drop()]
}

/// A rule about frames of a type. Each names it again, because nft(8) cannot read a rule back without.
fn about(kind: [u8; 2], rest: impl IntoIterator<Item = Expr>) -> Rule {
    [Expr::Is(Load::EtherType, kind.to_vec())].into_iter().chain(rest).collect()
}

fn udp(kind: [u8; 2], port: Load, number: u16, rest: impl IntoIterator<Item = Expr>) -> Rule {
    let ports = [Expr::Is(Load::L4Proto, vec![UDP]), Expr::Is(port, number.to_be_bytes().to_vec())];
    about(kind, ports.into_iter().chain(rest))
}

fn accept() -> Expr {
    Expr::Verdict(Verdict::Accept)
}

fn arp() -> Vec<Rule> {
    // Ethernet and IPv4 (RFC 826): with other lengths the addresses would lie elsewhere.
    let ethernet = || [Expr::Is(Load::ArpTypes, vec![0, 1, 8, 0]), Expr::Is(Load::ArpLengths, vec![6, 4])];
    let request = Expr::Is(Load::ArpOperation, vec![0, 1]);
    let none = Expr::Is(Load::ArpSourceIp, vec![0; 4]);
    vec![
        about(ARP, [Expr::NotIn(&[Load::Iifname, Load::ArpSourceMac], "macs"), Expr::Counter, drop()]),
        about(
            ARP,
            ethernet().into_iter().chain([Expr::In(&[Load::Iifname, Load::ArpSourceIp], "addresses"), accept()]),
        ),
        // A probe (RFC 5227) says nothing of anybody.
        about(ARP, ethernet().into_iter().chain([request, none, accept()])),
        refused(),
    ]
}

fn ip() -> Vec<Rule> {
    let unspecified = Expr::Is(Load::IpSource, vec![0; 4]);
    vec![
        // RFC 2131: a server speaks from port 67, a client listens on 68.
        udp(IP, Load::SourcePort, 67, refused()),
        udp(IP, Load::DestinationPort, 68, refused()),
        udp(IP, Load::DestinationPort, 67, [Expr::NotIn(CLIENT, "clients"), Expr::Counter, drop()]),
        about(IP, [Expr::In(SOURCE_IP, "addresses"), accept()]),
        // A client that has no address yet.
        udp(IP, Load::DestinationPort, 67, [unspecified, accept()]),
        refused(),
    ]
}

fn ip6() -> Vec<Rule> {
    let icmp = |rest: Vec<Expr>| about(IP6, [Expr::Is(Load::L4Proto, vec![ICMPV6])].into_iter().chain(rest));
    vec![
        icmp(vec![Expr::Vmap(&[Load::Icmp6Type], "messages")]),
        // RFC 8415: a server speaks from port 547, a client listens on 546.
        udp(IP6, Load::SourcePort, 547, refused()),
        udp(IP6, Load::DestinationPort, 546, refused()),
        about(IP6, [Expr::In(SOURCE_IP6, "addresses6"), accept()]),
        // Reports of group members that have no address yet (RFC 3810, 5.2.13).
        icmp(vec![Expr::Is(Load::Icmp6Type, vec![143]), Expr::Is(Load::Ip6Source, vec![0; 16]), accept()]),
        refused(),
    ]
}

/// Of whom a message about neighbours speaks, if its first option tells a link-layer address (RFC 4861, 4.6.1).
fn option_mac(kind: u8) -> Rule {
    vec![
        Expr::Is(Load::L4Proto, vec![ICMPV6]),
        Expr::Is(Load::NdOption, vec![kind, 1]),
        Expr::NotIn(OPTION_MAC, "clients"),
        Expr::Counter,
        drop(),
    ]
}

fn solicitation() -> Vec<Rule> {
    // Who has no address yet asks for one of its own (RFC 4862, 5.4).
    let detection = [
        Expr::Is(Load::L4Proto, vec![ICMPV6]),
        Expr::Is(Load::Ip6Source, vec![0; 16]),
        Expr::In(TARGET, "targets"),
        accept(),
    ];
    vec![option_mac(1), about(IP6, detection)]
}

fn advertisement() -> Vec<Rule> {
    vec![
        vec![Expr::Is(Load::L4Proto, vec![ICMPV6]), Expr::NotIn(TARGET, "targets"), Expr::Counter, drop()],
        option_mac(2),
    ]
}
