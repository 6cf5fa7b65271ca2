//! What hosts of a link are told about it: DHCPv4 (RFC 2131) and IPv6 router advertisements (RFC 4861).
//!
//! Pure: bytes and the time go in, bytes and whom to send them to come out. Sockets, clocks and files are the caller's.
//!
//! | module | what it holds |
//! |---|---|
//! | [`message`] | a client's message read, a server's written |
//! | [`leases`] | which host has which address |
//! | [`server`] | what a message is answered with |
//! | [`limit`] | how often one host is answered |
//! | [`advert`] | router solicitations read, router advertisements written |
#![forbid(unsafe_code)]

pub mod advert;
pub mod leases;
pub mod limit;
pub mod message;
pub mod server;

use std::net::Ipv4Addr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Hostile bytes through every reader and a server with a small pool, for fuzzing: nothing here panics, answers are
/// bounded and well formed, and a planned address goes to its host alone.
///
/// # Panics
/// When one of these does not hold.
pub fn fuzz(bytes: &[u8]) {
    let _ = advert::is_solicitation(bytes, 255);
    let planned = Ipv4Addr::new(192, 0, 2, 10);
    let mut server = server::Server::new(server::Link {
        subnet: "192.0.2.0/28".parse().expect("a network"),
        router: Ipv4Addr::new(192, 0, 2, 1),
        lease_s: 60,
        name_servers: vec![Ipv4Addr::new(192, 0, 2, 1)],
        ntp_servers: Vec::new(),
        domain: Some("blue.internal".to_owned()),
        hosts: vec![server::Host { name: "web1".to_owned(), mac: [2, 0, 0, 0, 0, 1], address: planned }],
    });
    // Several datagrams in one input: a byte of length (times two) before each.
    let mut rest = bytes;
    let mut now_ms = 0;
    while let Some((&length, after)) = rest.split_first() {
        let (one, next) = after.split_at(after.len().min(usize::from(length) * 2));
        rest = next;
        now_ms += 700;
        let decision = server.decide(one, Ipv4Addr::UNSPECIFIED, now_ms);
        let Some(answer) = decision.answer else { continue };
        assert!((300..=1472).contains(&answer.bytes.len()), "an answer of {} bytes", answer.bytes.len());
        let given: [u8; 4] = answer.bytes[16..20].try_into().expect("four bytes");
        let is_planned_host = answer.bytes[28..34] == [2, 0, 0, 0, 0, 1];
        assert!(Ipv4Addr::from(given) != planned || is_planned_host, "the planned address went to another host");
    }
}
