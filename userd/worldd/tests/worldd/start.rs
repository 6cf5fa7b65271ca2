//! The start order's promises, seen from outside.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    process::Output,
};

use tempfile::TempDir;

use crate::harness::{BINARY, UID, WORLD, World, isolated, run_dir};

/// A start that must fail.
fn refused(dir: &TempDir) -> String {
    let path = dir.path().to_str().expect("text");
    let arguments = ["--role", "worldd", "--world", WORLD, "--dir", path, "--peer-uid", "0"];
    let Output { status, stderr, .. } = isolated(BINARY, &arguments).output().expect("runs");
    assert_eq!(status.code(), Some(1));
    String::from_utf8_lossy(&stderr).into_owned()
}

#[test]
fn the_process_has_nothing_to_leak_and_nothing_to_gain() {
    let world = World::start();
    let proc = format!("/proc/{}", world.pid());
    assert_eq!(fs::read(format!("{proc}/environ")).expect("as root"), b"");
    // proc(5): the files of a process that is not dumpable belong to root.
    assert_eq!(fs::metadata(format!("{proc}/environ")).expect("exists").uid(), 0);
    assert_eq!(fs::metadata(format!("{proc}/task")).expect("exists").nlink(), 3, "more than one thread");
    let limits = fs::read_to_string(format!("{proc}/limits")).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert_eq!(world.status("NoNewPrivs"), "1");
    assert_eq!(world.status("Seccomp"), "2");
    assert!(["CapEff", "CapPrm", "CapBnd", "CapAmb"].iter().all(|set| world.status(set) == "0000000000000000"));
    assert!(world.log().contains("landlock "), "{}", world.log());
    println!("worldd at rest: {} KiB resident", world.rss_kib());
    assert!(world.rss_kib() < 15 * 1024);
}

#[test]
fn socket_and_log_have_the_promised_modes() {
    let world = World::start();
    let mode = |name: &str| fs::metadata(world.dir.path().join(name)).expect("exists").permissions().mode() & 0o7777;
    assert_eq!((mode("control.sock"), mode("worldd.log")), (0o660, 0o640));
}

#[test]
fn a_dead_predecessors_socket_is_replaced() {
    let dir = run_dir();
    let path = dir.path().join("control.sock");
    drop(UnixListener::bind(&path).expect("binds"));
    chown(&path, Some(UID), Some(UID)).expect("chown");
    let mut world = World::start_in(dir, 0);
    assert!(world.control().health().is_empty());
}

#[test]
fn nothing_else_at_the_sockets_name_is_touched() {
    let dir = run_dir();
    let path = dir.path().join("control.sock");
    fs::write(&path, "precious").expect("writes");
    assert!(refused(&dir).contains("not our socket"));
    assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");

    let dir = run_dir();
    drop(UnixListener::bind(dir.path().join("control.sock")).expect("binds"));
    assert!(refused(&dir).contains("not our socket"), "root's socket was removed");
    assert!(dir.path().join("control.sock").exists());

    let dir = run_dir();
    symlink("elsewhere", dir.path().join("control.sock")).expect("links");
    assert!(refused(&dir).contains("not our socket"));
    assert!(!dir.path().join("elsewhere").exists());

    let mut world = World::start();
    assert!(refused(&world.dir).contains("another process listens"));
    assert!(world.control().health().is_empty());
}

#[test]
fn the_log_is_never_written_through_a_link() {
    let target = run_dir();
    let victim = target.path().join("victim");
    fs::write(&victim, "precious").expect("writes");
    chown(&victim, Some(UID), Some(UID)).expect("chown");
    let links: [fn(&std::path::Path, &std::path::Path) -> std::io::Result<()>; 2] =
        [|from, to| symlink(from, to), |from, to| fs::hard_link(from, to)];
    for link in links {
        let dir = run_dir();
        link(&victim, &dir.path().join("worldd.log")).expect("links");
        assert!(refused(&dir).contains("cannot open worldd.log"));
        assert_eq!(fs::read_to_string(&victim).expect("still there"), "precious");
    }
}

#[test]
fn the_log_is_bounded_by_rotation() {
    let bound = usize::try_from(netengine_proto::limits::LOG_BYTES / 2).expect("fits");
    let dir = run_dir();
    let log = dir.path().join("worldd.log");
    fs::write(&log, vec![b'x'; bound - 100]).expect("writes");
    chown(&log, Some(UID), Some(UID)).expect("chown");
    // Its first lines do not fit any more. Rotation runs with Landlock and seccomp on.
    let mut world = World::start_in(dir, 0);
    assert!(world.control().health().is_empty());
    let old = fs::metadata(world.dir.path().join("worldd.log.1")).expect("rotated");
    assert!(old.len() <= bound as u64);
    assert!(world.log().len() < 4096 && world.log().contains("release "), "{}", world.log());
}

#[test]
fn a_bad_command_line_is_status_2() {
    let output = std::process::Command::new(BINARY).args(["--role", "worldd"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read the arguments"));
}
