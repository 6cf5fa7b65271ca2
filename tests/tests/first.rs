//! The thin path: a user brings the minimal world up, looks, runs a command, takes it down.
use netengine_tests::{ALICE, EXAMPLES, Host};

#[test]
fn alice_brings_the_minimal_world_up_and_down() {
    let host = Host::new();
    let before = host.snapshot();
    for args in [
        vec!["up", &format!("{EXAMPLES}/minimal.yaml")],
        vec!["up", &format!("{EXAMPLES}/minimal.yaml")],
        vec!["status"],
        vec!["exec", "minimal", "--", "ip", "-br", "addr"],
        vec!["exec", "minimal", "--", "cat", "/etc/resolv.conf"],
        vec!["exec", "minimal", "--", "id"],
        vec!["down", "--yes"],
    ] {
        let output = host.cli(ALICE, &args);
        eprintln!(
            "$ {args:?} -> {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success());
    }
    before.assert_unchanged(&host.snapshot());
}
