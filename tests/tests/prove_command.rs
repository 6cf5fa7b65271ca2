//! `netengine prove`: green where the kernel does what the spec says, red for each kind of fault, never green for what was not seen.

mod judge;

use judge::{Ran, in_namespace_of, run};
use netengine_tests::{ALICE, BOB, EXAMPLES, Host};
use serde_json::Value;

const POOLS: &str = "domain_registry.address_space=[{cidr: 10.20.0.0/16, label: business-pool}, {cidr: 10.30.0.0/16, label: residential-pool}, {cidr: 10.40.0.0/26, label: airgapped-pool}]";
const ANDS: &str = "ands.instances=[{name: acme-hq, org: acme-corp, profile: business, dns_suffix: hq.acme.corp}, {name: bob-lan, org: bob-home, profile: residential, dns_suffix: lan.bob.home}, {name: vault, org: acme-corp, profile: airgapped}]";

/// dev-sandbox with an AND that is closed both ways, brought up so that nobody puts right what is damaged here.
fn sandbox() -> Host {
    let host = Host::new();
    let spec = format!("{EXAMPLES}/dev-sandbox.yaml");
    run(&host, ALICE, &["up", &spec, "--set", POOLS, "--set", ANDS, "--no-heal"]).ok();
    host
}

fn prove(host: &Host, words: &[&str]) -> Ran {
    run(host, ALICE, &[&["prove", "dev-sandbox"], words].concat())
}

fn flow<'a>(proof: &'a Value, from: &str, to: &str, protocol: &str) -> &'a Value {
    let flows = proof["flows"].as_array().expect("flows");
    let found = flows.iter().find(|flow| flow["from"] == from && flow["to"] == to && flow["protocol"] == protocol);
    found.unwrap_or_else(|| panic!("no {protocol} from {from} to {to}: {proof:#}"))
}

#[test]
fn a_sound_world_is_proven_flow_by_flow() {
    let host = sandbox();
    let proof = prove(&host, &["--json"]).ok().json();
    assert_eq!(proof["passed"], true, "{proof:#}");
    let reaches = |from: &str, to: &str| flow(&proof, from, to, "tcp")["reaches"] == true;
    assert!(reaches("core", "acme-hq") && reaches("bob-lan", "core") && reaches("bob-lan", "acme-hq"));
    assert!(!reaches("acme-hq", "bob-lan") && !reaches("core", "bob-lan"));
    assert!(!reaches("vault", "core") && !reaches("core", "vault") && !reaches("vault", "acme-hq"));
    let translated = flow(&proof, "bob-lan", "core", "udp");
    assert_ne!(translated["delivered_from"], translated["source"], "{translated}");
    let blocked = flow(&proof, "core", "bob-lan", "icmp");
    assert!(blocked["rule"].as_str().is_some_and(|rule| rule.contains("drop")), "{blocked}");
    let text = prove(&host, &[]).ok().out;
    assert!(text.contains("as the spec says") && text.contains("blocked") && text.contains("reaches"), "{text}");
    let xml = prove(&host, &["--junit"]).ok().out;
    assert!(xml.starts_with("<?xml") && xml.contains("failures=\"0\" errors=\"0\""), "{xml}");
    assert_ne!(run(&host, BOB, &["prove", "dev-sandbox"]).code, 0, "another user's world is not there");
}

#[test]
fn a_planted_fault_turns_the_proof_red() {
    let host = sandbox();
    let spec = format!("{EXAMPLES}/dev-sandbox.yaml");
    let gateway = "10.0.0.1";
    // The router's table: its name, for the damage.
    let table = in_namespace_of(&host, gateway, "nft list tables inet").trim().replace("table ", "");
    assert!(table.starts_with("inet ne"), "{table}");
    for (damage, red) in [
        // A wrong rule: all that is new is let through.
        (format!("nft insert rule {table} forward accept"), "failed"),
        // A missing rule.
        (
            format!(
                "nft delete rule {table} forward handle $(nft -a list chain {table} forward | sed -n 's/.*vmap.*handle //p' | head -1)"
            ),
            "differs",
        ),
        // A policy that is gone: nothing passes.
        (format!("nft delete table {table}"), "failed"),
    ] {
        in_namespace_of(&host, gateway, &damage);
        let ran = prove(&host, &["--json"]);
        assert_eq!(ran.code, 1, "{damage}: {}", ran.out);
        let proof: Value = serde_json::from_str(&ran.out).expect("JSON");
        let is_failed = proof["flows"].as_array().expect("flows").iter().any(|flow| flow["outcome"] != "passed");
        let is_different = !proof["drift"].as_array().expect("drift").is_empty();
        assert!(is_different && (red != "failed" || is_failed), "{damage}: {proof:#}");
        run(&host, ALICE, &["up", &spec, "--set", POOLS, "--set", ANDS, "--no-heal"]).ok();
        prove(&host, &[]).ok();
    }
}
