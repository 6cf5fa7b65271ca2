//! The NTP server, asked by chrony, ntpdate and hand-made packets.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
};

use netengine_proto::control::NtpService;
use netengine_worldd::ntp::{check, packet::Packet};

use crate::harness::{PATIENCE, World, ntp_on};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Sends a strict client's request and gives the answer.
fn ask(socket: &UdpSocket, nonce: u64) -> Packet {
    socket.send(&check::request(nonce).write()).expect("sends");
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).expect("an answer");
    assert_eq!(length, 48);
    Packet::read(&buffer[..length]).expect("a packet")
}

#[test]
fn chronyd_and_ntpdate_accept_it_over_both_families() {
    let mut world = World::start();
    let health = world.control().apply(Some(ntp_on(123)));
    assert!(health.len() == 2 && health.iter().all(|health| health.serving), "{health:?}");
    for server in ["127.0.0.1", "::1"] {
        let source = format!("server {server} iburst maxsamples 1");
        let chronyd = world.run("chronyd", &["-Q", "-t", "3", &source]);
        let said = String::from_utf8_lossy(&chronyd.stderr);
        assert!(chronyd.status.success() && said.contains("System clock wrong by"), "{server}: {said}");

        let ntpdate = world.run("ntpdate", &["-q", server]);
        let said = String::from_utf8_lossy(&ntpdate.stdout);
        assert!(ntpdate.status.success() && said.contains(" s1 no-leap"), "{server}: {said}");
    }
    let health = world.control().health();
    assert!(health.iter().all(|health| !health.detail.contains(" 0 answered")), "{health:?}");
    println!("worldd: {} KiB resident", world.rss_kib());
    assert!(world.rss_kib() < 15 * 1024);
}

#[test]
fn chronyd_accepts_it_on_a_high_port() {
    let mut world = World::start();
    world.control().apply(Some(NtpService { stratum: 7, ..ntp_on(11_123) }));
    let chronyd = world.run("chronyd", &["-Q", "-t", "3", "server 127.0.0.1 port 11123 iburst maxsamples 1"]);
    assert!(chronyd.status.success(), "{}", String::from_utf8_lossy(&chronyd.stderr));
    assert_eq!(ask(&world.udp(address("[::1]:11123")), 9).stratum, 7);
}

#[test]
fn apply_twice_is_the_same_and_what_is_not_desired_is_closed() {
    let mut world = World::start();
    let mut control = world.control();
    let first = control.apply(Some(ntp_on(123)));
    let socket = world.udp(address("127.0.0.1:123"));
    assert_eq!(ask(&socket, 1).stratum, 1);
    let second = control.apply(Some(ntp_on(123)));
    let places = |health: &[netengine_proto::control::ServiceHealth]| -> Vec<_> {
        health.iter().map(|one| (one.address, one.port, one.serving)).collect()
    };
    assert_eq!(places(&first), places(&second));
    assert!(second[0].detail.contains(" 1 answered"), "the socket was bound again: {second:?}");

    // Another stratum changes no socket; an address less closes one.
    let mut less = NtpService { stratum: 4, ..ntp_on(123) };
    less.addresses.truncate(1);
    let health = control.apply(Some(less));
    assert!(health.len() == 1 && health[0].detail.contains("stratum 4, 1 answered"), "{health:?}");
    assert_eq!(ask(&socket, 2).stratum, 4);
    refused(&world, address("[::1]:123"));

    // Another port is another socket, and an address that is not there is told, not hidden.
    let mut absent = ntp_on(124);
    absent.addresses.push("192.0.2.1".parse().expect("an address"));
    let health = control.apply(Some(absent));
    assert_eq!(health.iter().filter(|one| one.serving).count(), 2, "{health:?}");
    assert!(health.iter().any(|one| !one.serving && one.detail.contains("cannot listen")), "{health:?}");
    refused(&world, address("127.0.0.1:123"));
    // A summary has that one alone, and the state's name.
    let summary = control.summary();
    assert_eq!(summary.services, health.into_iter().filter(|one| !one.serving).collect::<Vec<_>>());
    assert_eq!(summary.services.len(), 1);

    assert_eq!(control.apply(None), []);
    refused(&world, address("127.0.0.1:124"));
}

fn refused(world: &World, server: SocketAddr) {
    let socket = world.udp(server);
    socket.send(&[0]).expect("sends");
    let error = socket.recv(&mut [0; 64]).expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{server}");
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let mut world = World::start();
    let add = |address: &str| assert!(world.run("ip", &["addr", "add", address, "dev", "lo"]).status.success());
    ["10.7.0.3/24", "10.7.0.4/24", "10.7.0.5/24"].into_iter().for_each(add);
    let addresses = ["10.7.0.3", "10.7.0.4"].map(|text| text.parse().expect("an address")).to_vec();
    world.control().apply(Some(NtpService { addresses, ..ntp_on(123) }));
    // A connected socket hears only the address it asked.
    assert_eq!(ask(&world.udp(address("10.7.0.3:123")), 1).origin.0, 1);
    assert_eq!(ask(&world.udp(address("10.7.0.4:123")), 2).origin.0, 2);
    refused(&world, address("10.7.0.5:123"));
}

#[test]
fn ten_thousand_garbage_datagrams_do_not_stop_it() {
    let mut world = World::start();
    world.control().apply(Some(ntp_on(123)));
    let socket = world.udp(address("127.0.0.1:123"));
    let before = world.rss_kib();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..10_000_usize {
        let garbage: Vec<u8> = (0..round % 1400)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        socket.send(&garbage).expect("sends");
        if round % 50 == 0 {
            // A real request in between is answered, so the queue is read while garbage arrives. Answers to garbage
            // that happens to be a request may come first.
            socket.send(&check::request(round as u64 + 1).write()).expect("sends");
            let mut buffer = [0; 512];
            loop {
                let length = socket.recv(&mut buffer).expect("it answers");
                assert_eq!(length, 48);
                if Packet::read(&buffer).expect("a packet").origin.0 == round as u64 + 1 {
                    break;
                }
            }
        }
    }
    let (after, health) = (world.rss_kib(), world.control().health());
    println!("resident: {before} KiB before, {after} KiB after; {}", health[0].detail);
    assert!(after < 15 * 1024 && health.iter().all(|one| one.serving));
}

#[test]
fn a_source_over_its_rate_gets_one_kiss_and_then_silence() {
    let mut world = World::start();
    world.control().apply(Some(NtpService { rate_per_source: 1, ..ntp_on(123) }));
    let socket = world.udp(address("127.0.0.1:123"));
    for nonce in 1..=8 {
        assert_eq!(ask(&socket, nonce).stratum, 1, "request {nonce} of the burst");
    }
    let kiss = ask(&socket, 9);
    assert_eq!((kiss.stratum, &kiss.reference_id, kiss.leap, kiss.origin.0), (0, b"RATE", 3, 9));
    for nonce in 10..30 {
        socket.send(&check::request(nonce).write()).expect("sends");
    }
    // Another source is served at once, so what it gets was decided after all of the above.
    assert_eq!(ask(&world.udp(address("[::1]:123")), 1).stratum, 1);
    socket.set_nonblocking(true).expect("non-blocking");
    let mut answers = 0;
    while socket.recv(&mut [0; 64]).is_ok() {
        answers += 1;
    }
    assert!(answers <= 2, "{answers} answers to 20 requests over the rate");
}

#[test]
fn more_sources_than_it_remembers_cost_no_more_memory() {
    let mut world = World::start();
    world.control().apply(Some(NtpService { rate_per_source: 1, ..ntp_on(123) }));
    let sources = u32::try_from(netengine_proto::limits::NTP_SOURCES).expect("fits") + 2000;
    world.inside(|| {
        for source in 0..sources {
            let socket = UdpSocket::bind((Ipv4Addr::from_bits(0x7f40_0000 + source), 0)).expect("binds");
            socket.connect("127.0.0.1:123").expect("connects");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
            assert_eq!(ask(&socket, source.into()).stratum, 1, "source {source}");
        }
    });
    println!("{sources} sources: {} KiB resident", world.rss_kib());
    assert!(world.rss_kib() < 15 * 1024);
}

#[test]
fn thousands_of_addresses_are_served_by_one_small_process() {
    let mut world = World::start();
    let addresses: Vec<IpAddr> = (0..3000).map(|n| Ipv4Addr::from_bits(0x7f20_0001 + n).into()).collect();
    let desired = NtpService { addresses, ..ntp_on(123) };
    let health = world.control().apply(Some(desired.clone()));
    assert!(health.len() == 3000 && health.iter().all(|one| one.serving), "{:?}", health.last());
    for address in desired.addresses.iter().step_by(599) {
        assert_eq!(ask(&world.udp((*address, 123).into()), 5).stratum, 1);
    }
    println!("3000 addresses: {} KiB resident", world.rss_kib());
    assert!(world.rss_kib() < 15 * 1024);
    assert_eq!(world.control().apply(None), []);
}
