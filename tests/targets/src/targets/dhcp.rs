//! Messages of DHCP clients and router solicitations: answers are bounded and well formed, no address goes to two hosts, and a
//! planned one goes to its host alone.
//!
//! The input is several datagrams, each behind a byte of length, times two.

use std::{collections::BTreeMap, net::Ipv4Addr};

use netengine_dhcp::{
    Mac, advert,
    server::{Answer, Host, Link, Server},
};

const PLANNED: (Mac, Ipv4Addr) = ([2, 0, 0, 0, 0, 1], Ipv4Addr::new(192, 0, 2, 10));
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Between two datagrams.
const PAUSE_MS: u64 = 700;
const LEASE_S: u32 = 60;

fn link() -> Link {
    Link {
        subnet: "192.0.2.0/28".parse().expect("a network"),
        router: ROUTER,
        lease_s: LEASE_S,
        name_servers: vec![ROUTER],
        ntp_servers: Vec::new(),
        domain: Some("blue.internal".to_owned()),
        hosts: vec![Host { name: "web1".to_owned(), mac: PLANNED.0, address: PLANNED.1 }],
    }
}

fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = message.get(240..)?;
    while let [code, length, after @ ..] = rest
        && *code != 255
    {
        let (value, next) = after.split_at_checked(usize::from(*length))?;
        if *code == wanted {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// What a server of a small network answers; what must hold of it is checked.
pub fn answers(input: &[u8]) -> Vec<Answer> {
    let mut server = Server::new(link());
    let (mut rest, mut now_ms, mut said) = (input, 0, Vec::new());
    // Until when an address is somebody's, by what that host was told.
    let mut given: BTreeMap<Ipv4Addr, (Mac, u64)> = BTreeMap::new();
    while let Some((&length, after)) = rest.split_first() {
        let (datagram, next) = after.split_at(after.len().min(usize::from(length) * 2));
        rest = next;
        now_ms += PAUSE_MS;
        let _ = advert::is_solicitation(datagram, advert::HOP_LIMIT);
        let bound: BTreeMap<Ipv4Addr, Mac> = server.bound().map(|(mac, address)| (address, mac)).collect();
        let decision = server.decide(datagram, Ipv4Addr::UNSPECIFIED, now_ms);
        let after: BTreeMap<Ipv4Addr, Mac> = server.bound().map(|(mac, address)| (address, mac)).collect();
        // A binding that went was released or declined by its own host.
        let sender = datagram.get(28..34);
        for (address, mac) in bound.iter().filter(|(address, _)| !after.contains_key(address)) {
            if given.get(address).is_some_and(|(_, until)| *until > now_ms) {
                assert_eq!(sender, Some(&mac[..]), "{address} was taken from its host");
            }
            given.remove(address);
        }
        let Some(answer) = decision.answer else { continue };
        let bytes = &answer.bytes;
        assert!((300..=1472).contains(&bytes.len()), "an answer of {} bytes", bytes.len());
        assert_eq!((bytes[0], &bytes[28..34]), (2, &datagram[28..34]), "to who asked");
        let octets: [u8; 4] = bytes[16..20].try_into().expect("four bytes");
        let (address, mac): (Ipv4Addr, Mac) = (octets.into(), bytes[28..34].try_into().expect("six bytes"));
        if !address.is_unspecified() {
            assert!(link().subnet.contains(&address) && address != ROUTER, "{address} is none of a host");
            assert!(address != PLANNED.1 || mac == PLANNED.0, "the planned address went to another host");
        }
        let kind = option(bytes, 53).and_then(|kind| kind.first().copied());
        assert!(matches!(kind, Some(2 | 5 | 6)), "an offer, an acknowledgement or a refusal: {kind:?}");
        if kind == Some(5) && !address.is_unspecified() {
            let until = now_ms + u64::from(LEASE_S) * 1000;
            let before = given.insert(address, (mac, until));
            let is_anothers = before.is_some_and(|(other, until)| other != mac && until > now_ms);
            assert!(!is_anothers, "{address} has two hosts");
        }
        said.push(answer);
    }
    said
}

/// One input.
pub fn target(input: &[u8]) {
    answers(input);
}
