//! The prober: the same binary beside a worldd, asking as a client would.

mod acme;
mod names;
mod registries;
mod stage;
mod token;
mod transfer;
mod web;

use std::{
    net::UdpSocket,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use netengine_proto::control::{ControlReply, ControlRequest, Probe, ProbeRequest, ProbeResult, TimedProbe};
use netengine_worldd::ntp::packet::Packet;

use crate::harness::{BINARY, Control, PATIENCE, WORLD, World, connect, ntp_on, wait};

/// Makes one thing of an answer wrong.
type Fault = fn(&mut Packet);

/// A prober in the world's namespace and directory.
fn start(world: &World) -> (Child, Control) {
    let dir = world.dir.path().to_str().expect("text");
    let mut child = Command::new("nsenter")
        .args(["-t", &world.pid().to_string(), "-n", "setpriv", "--reuid", "61234", "--regid", "61234"])
        .args(["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", BINARY, "--role", "prober"])
        .args(["--host", "core-2", "--world", WORLD, "--dir", dir, "--peer-uid", "0"])
        .stdin(Stdio::null())
        .spawn()
        .expect("starts");
    let path: PathBuf = world.dir.path().join("prober-core-2.sock");
    let control = Control(connect(&path, &mut child));
    (child, control)
}

fn probe(address: &str, port: u16) -> TimedProbe {
    let probe = Probe::Ntp { address: address.parse().expect("an address"), port };
    TimedProbe { timeout_ms: 1500, probe }
}

fn probed(control: &mut Control, probes: Vec<TimedProbe>) -> Vec<ProbeResult> {
    let request = ProbeRequest { probes, ..ProbeRequest::default() };
    match control.ask(&ControlRequest::Probe(request)) {
        ControlReply::Probed(results) => results,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_tells_who_serves_and_ends_with_its_last_connection() {
    let mut world = World::start();
    world.control().apply(Some(ntp_on(123)));
    let (mut child, mut control) = start(&world);
    let results = probed(&mut control, vec![probe("127.0.0.1", 123), probe("::1", 123), probe("127.0.0.1", 124)]);
    println!("{results:?}");
    assert!(results[0].passed && results[0].detail.starts_with("stratum 1, offset "), "{results:?}");
    assert!(results[1].passed && results[1].micros < 1_000_000, "{results:?}");
    assert!(!results[2].passed && results[2].detail.contains("refused"), "{results:?}");

    let unreachable = probed(&mut control, vec![probe("203.0.113.9", 123)]);
    assert!(!unreachable[0].passed && unreachable[0].detail.contains("unreachable"), "{unreachable:?}");
    let reply = control.ask(&ControlRequest::Apply(Default::default()));
    assert!(matches!(reply, ControlReply::Refused(_)), "{reply:?}");

    drop(control);
    assert_eq!(wait(&mut child).code(), Some(0));
    assert!(!world.dir.path().join("prober-core-2.sock").exists());
    assert!(world.log().contains("service=prober no longer used"), "{}", world.log());
}

#[test]
fn it_believes_no_answer_that_a_strict_client_would_not() {
    let world = World::start();
    let (_child, mut control) = start(&world);
    let faults: [(u16, Fault, &str); 5] = [
        (2001, |packet| packet.origin.0 ^= 1, "do not answer our request"),
        (2002, |packet| packet.mode = 3, "do not answer our request"),
        (2003, |packet| packet.stratum = 16, "stratum 16"),
        (2004, |packet| packet.stratum = 0, "kiss-o'-death"),
        (2005, |packet| packet.leap = 3, "not synchronised"),
    ];
    let bind = |port| world.inside(|| UdpSocket::bind(("127.0.0.1", port)).expect("binds"));
    let sockets = faults.map(|(port, ..)| bind(port));
    thread::scope(|scope| {
        for (socket, (_, fault, _)) in sockets.iter().zip(faults) {
            scope.spawn(move || false_server(socket, fault));
        }
        let results = probed(&mut control, faults.iter().map(|(port, ..)| probe("127.0.0.1", *port)).collect());
        for (result, (port, _, why)) in results.iter().zip(faults) {
            assert!(!result.passed && result.detail.contains(why), "port {port}: {result:?}");
        }
    });
}

/// Answers one request with an otherwise right packet that has one fault.
fn false_server(socket: &UdpSocket, fault: Fault) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let mut buffer = [0; 64];
    let (_, client) = socket.recv_from(&mut buffer).expect("a request");
    let request = Packet::read(&buffer).expect("a packet");
    let now = netengine_worldd::ntp::clock::now();
    let mut answer = Packet {
        version: 4,
        mode: 4,
        stratum: 1,
        origin: request.transmit,
        reference: now,
        receive: now,
        transmit: now,
        ..Packet::default()
    };
    fault(&mut answer);
    socket.send_to(&answer.write(), client).expect("sends");
}
