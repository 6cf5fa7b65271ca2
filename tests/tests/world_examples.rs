//! The shipped examples reach phase 7, and what comes after it says why it is not there.

mod judge;
mod world;

use judge::{keys, run};
use netengine_tests::ALICE;
use world::World;

/// `up EXAMPLE`, then its phases, its services and every live check. `ands` says whether it has ANDs.
#[track_caller]
fn reaches_phase_seven(example: &str, ands: bool) {
    let world = World::up(example, &[]);
    let status = run(&world.host, ALICE, &["status", example, "--json"]).ok().json();
    assert_eq!(status["state"], "ready", "{status:#}");
    let phases = status["phases"].as_array().expect("phases");
    assert_eq!(phases.len(), 10, "{status:#}");
    let last = if ands { 7 } else { 6 };
    for phase in &phases[..=last] {
        assert_eq!(phase["state"], "done", "{phase}");
        assert!(phase["millis"].is_u64(), "{phase}");
    }
    for phase in &phases[last + 1..] {
        assert_eq!(phase["state"], "skipped", "{phase}");
        assert!(phase["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "the reason: {phase}");
    }
    let services = status["services"].as_array().expect("services");
    for name in [
        "ntp",
        "dns",
        "resolver",
        "acme",
        "oidc-platform",
        "oidc-inworld",
        "registry",
        "domainreg",
        "registrar",
        "whois",
    ] {
        let found: Vec<_> = services.iter().filter(|service| service["name"] == name).collect();
        assert!(!found.is_empty() && found.iter().all(|service| service["state"] == "ready"), "{name}: {services:#?}");
    }
    // The same in words for people.
    let shown = run(&world.host, ALICE, &["status", example]).ok().out;
    for name in ["dns root", "dns tlds", "pki", "platform identity", "registries", "in-world identity"] {
        let line = shown.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} in {shown}"));
        assert!(line.contains("done"), "{line}");
    }
    // Every check of every phase passes now.
    let diagnosis = run(&world.host, ALICE, &["diagnose", example, "--json"]).ok().json();
    let checks = diagnosis["checks"].as_array().expect("checks");
    assert_eq!(keys(&diagnosis), ["checks", "millis", "passed", "world"]);
    assert_eq!(keys(&checks[0]), ["detail", "fault", "micros", "name", "passed", "phase", "remedy"]);
    for phase in 0..=last {
        assert!(checks.iter().any(|check| check["phase"] == phase), "phase {phase} is checked: {diagnosis:#}");
    }
    assert!(checks.iter().all(|check| check["passed"] == true && check["fault"] == ""), "{diagnosis:#}");
    let text = run(&world.host, ALICE, &["diagnose", example]).ok().out;
    assert!(
        text.lines().count() == checks.len() + 1 && text.lines().rev().skip(1).all(|line| line.starts_with("ok ")),
        "{text}"
    );
    // `up` again finds nothing to do.
    let spec = format!("{}/{example}.yaml", netengine_tests::EXAMPLES);
    let again = run(&world.host, ALICE, &["up", &spec, "--json"]).ok().json();
    assert_eq!(again["changes"], 0, "{again}");
    let before = world.certificates().len();
    run(&world.host, ALICE, &["up", &spec]).ok();
    assert_eq!(world.certificates().len(), before, "no certificate is made anew for a world that has them");
}

#[test]
fn minimal_has_no_ands_and_reaches_phase_six() {
    reaches_phase_seven("minimal", false);
}

#[test]
fn single_org_reaches_phase_seven() {
    reaches_phase_seven("single-org", true);
}

#[test]
fn dev_sandbox_reaches_phase_seven() {
    reaches_phase_seven("dev-sandbox", true);
}
