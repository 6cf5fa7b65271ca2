//! `netengine exec` on a terminal, driven by Python's pty as by a person.

mod judge;

use judge::{Ran, minimal, netengine, up};
use netengine_tests::{ALICE, Host};

#[test]
fn a_person_at_a_terminal_is_served_as_by_ssh() {
    let host = Host::new();
    up(&host, &minimal());
    let script = host.file("terminal.py", include_str!("../data/terminal.py"));
    let mut command = host.command(ALICE, "/usr/bin/python3");
    let output =
        command.env("TERM", "xterm").args([&script, &netengine(), "minimal"]).output().expect("python3 starts");
    let ran = Ran::of("terminal.py".into(), &output).ok();
    assert!(ran.out.contains("all as it should be"), "{ran:?}");
}
