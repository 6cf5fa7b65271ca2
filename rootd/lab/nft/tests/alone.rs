//! The program without a worker.

use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netengine-nft"));
    command.env_clear().stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn it_ends_with_its_socket_and_refuses_anything_else() {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let mut child = program().stdin(OwnedFd::from(theirs)).spawn().expect("runs");
    let mut word = [0];
    ours.read_exact(&mut word).expect("says that it runs");
    assert_eq!(&word, b"r");
    drop(ours);
    assert!(child.wait().expect("ends").success());
    assert!(!program().stdin(Stdio::null()).status().expect("ends").success());
}

#[test]
fn a_request_without_a_namespace_ends_it() {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let mut child = program().stdin(OwnedFd::from(theirs)).spawn().expect("runs");
    ours.write_all(b"g").expect("go");
    let mut words = [0; 2];
    ours.read_exact(&mut words).expect("limited");
    assert_eq!(&words, b"rl");
    ours.write_all(&[1, 0, 0, 0, 0]).expect("a request");
    assert!(!child.wait().expect("ends").success());
}
