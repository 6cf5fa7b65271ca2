//! The control socket: who may speak, and what a peer can break by speaking badly (only its own connection).

use std::{io::Write, os::unix::net::UnixStream, time::Instant};

use netengine_proto::{
    control::{CONTROL_VERSION, ControlReply, ControlRequest},
    limits,
};

use crate::harness::{Control, PATIENCE, World, ntp_on, run_dir, wait};

#[test]
fn hello_tells_version_and_role() {
    let mut world = World::start();
    let ControlReply::Hello { version, role, .. } = world.control().ask(&ControlRequest::Hello) else {
        panic!("not a hello")
    };
    assert_eq!((version, role.as_str()), (CONTROL_VERSION, "worldd"));
    let reply = world.control().ask(&ControlRequest::Probe(Default::default()));
    assert!(matches!(reply, ControlReply::Refused(_)), "{reply:?}");
}

#[test]
fn another_uid_is_closed_unread() {
    // The tests run as uid 0; this worldd listens to uid 4242 only.
    let mut world = World::start_in(run_dir(), 4242);
    for _ in 0..20 {
        let mut control = world.control();
        // The write may fail already: the other side closes at once.
        let _ = control.0.write_all(b"\0\0\0\x13{\"request\":\"hello\"}");
        assert!(control.is_closed());
    }
    assert!(world.log().contains("closed a control connection of uid 0 unread"), "{}", world.log());
    assert!(world.terminate().success());
}

#[test]
fn malformed_frames_close_only_their_connection() {
    let mut world = World::start();
    let mut good = world.control();
    good.apply(Some(ntp_on(123)));
    let before = world.rss_kib();
    for bad in [
        &b"\xff\xff\xff\xff"[..],
        b"\0\x10\0\x01",
        b"\0\0\0\0",
        b"\0\0\0\x04junk",
        b"\0\0\0\x02{}",
        b"\0\0\0\x14{\"request\":\"launch\"}",
        b"\0\0\0\x06[[[[[[",
        b"\0\0\0\x01\xff",
    ] {
        let mut control = world.control();
        control.0.write_all(bad).expect("writes");
        assert!(control.is_closed(), "{bad:?} was answered");
        assert_eq!(good.health().len(), 2);
    }
    // Half a frame, then the end; and half a frame that just stays: nobody else waits for it.
    let mut half = world.control();
    half.0.write_all(b"\0\0\0\x13{\"req").expect("writes");
    half.0.shutdown(std::net::Shutdown::Write).expect("shuts down");
    assert!(half.is_closed());
    let mut stalled: Vec<_> = (0..4).map(|_| world.control()).collect();
    for control in &mut stalled {
        control.0.write_all(b"\0\x10\0\0{").expect("writes");
    }
    assert!(good.health().iter().all(|one| one.serving));
    let after = world.rss_kib();
    assert!(after < before + 2048, "a claimed length cost memory: {before} KiB, then {after} KiB");
}

#[test]
fn a_stalled_frame_is_closed_in_time() {
    let mut world = World::start();
    let mut stalled = world.control();
    let began = Instant::now();
    stalled.0.write_all(b"\0\0\0\x13{").expect("writes");
    assert!(stalled.is_closed());
    assert!(began.elapsed() >= limits::CONTROL_FRAME_TIME && began.elapsed() < limits::CONTROL_FRAME_TIME * 2);
}

#[test]
fn connections_past_the_bound_are_closed_and_room_returns() {
    let mut world = World::start();
    let mut open: Vec<_> = (0..limits::CONTROL_CONNECTIONS).map(|_| admitted(&mut world)).collect();
    for _ in 0..20 {
        assert!(world.control().is_closed());
    }
    assert!(open.iter_mut().all(|control| control.health().is_empty()), "a connection within the bound suffered");
    open.pop();
    open.push(admitted(&mut world));
    assert!(world.control().is_closed());
}

/// A connection that is served, as soon as worldd has seen the end of an earlier one.
fn admitted(world: &mut World) -> Control {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut control = world.control();
        match control.try_ask(&ControlRequest::Health) {
            Ok(_) => return control,
            Err(error) => assert!(Instant::now() < end, "no room returns: {error}"),
        }
    }
}

#[test]
fn running_out_of_descriptors_is_rested_out_not_fatal() {
    let mut world = World::start();
    let mut good = world.control();
    good.apply(Some(ntp_on(123)));
    // The soft limit, changed as the user it runs as (prlimit(2)).
    let limit = |files: &str| {
        let (pid, files) = (world.pid().to_string(), format!("--nofile={files}:"));
        let user = ["--reuid", "61234", "--regid", "61234", "--clear-groups"];
        let output = world.run("setpriv", &[&user[..], &["prlimit", "--pid", &pid, &files]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    limit("3");
    let path = world.dir.path().join("control.sock");
    let waiting = UnixStream::connect(path).expect("the kernel's queue takes it");
    waiting.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    assert!(good.health().iter().all(|one| one.serving), "the connection that is open suffers");
    while !world.log().contains("cannot accept a control connection now") {
        good.health();
    }
    limit("100");
    assert_eq!(Control(waiting).health().len(), 2);
    assert!(world.log().matches("cannot accept").count() < 20, "it spins");
}

#[test]
fn stop_and_sigterm_end_it_in_order() {
    let mut world = World::start();
    let mut control = world.control();
    control.apply(Some(ntp_on(123)));
    assert_eq!(control.ask(&ControlRequest::Stop), ControlReply::Stopping);
    assert_eq!(wait(&mut world.child).code(), Some(0));
    assert!(control.is_closed());
    assert!(!world.dir.path().join("control.sock").exists());
    assert!(world.log().contains("closed 127.0.0.1 port 123") && world.log().contains("stopped by userd"));

    let mut world = World::start();
    world.control().apply(Some(ntp_on(123)));
    assert_eq!(world.terminate().code(), Some(0));
    assert!(!world.dir.path().join("control.sock").exists());
}
