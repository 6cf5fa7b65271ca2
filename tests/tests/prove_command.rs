//! `netengine prove`: green where the kernel does what the spec says, red for each kind of fault, never green for what was not seen.

mod judge;

use std::fs;

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
    let between_hosts = |flow: &&Value| flow["sender"] == "host" && flow["receiver"] == "host";
    let is_it = |flow: &&Value| flow["from"] == from && flow["to"] == to && flow["protocol"] == protocol;
    let found = flows.iter().filter(between_hosts).find(is_it);
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
    // Services are reached by who may, under the router's address from behind NAT; nothing leaves the world.
    let all = |of: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        let found: Vec<_> = proof["flows"].as_array().expect("flows").iter().filter(|flow| of(flow)).cloned().collect();
        assert!(!found.is_empty());
        found
    };
    for (from, reached) in [("core", true), ("acme-hq", true), ("bob-lan", true), ("vault", false)] {
        let to_services =
            all(&|flow| flow["from"] == from && flow["sender"] == "host" && flow["receiver"] == "services");
        assert!(to_services.iter().all(|flow| flow["reaches"] == reached), "{from}: {to_services:#?}");
        let is_own = |flow: &Value| flow["delivered_from"] == flow["source"];
        assert!(!reached || to_services.iter().all(|flow| is_own(flow) == (from != "bob-lan")), "{from}");
        let out = all(&|flow| flow["from"] == from && flow["receiver"] == "outside");
        assert!(out.iter().all(|flow| flow["reaches"] == false && flow["rule"] == "no route"), "{from}: {out:#?}");
        for forged in
            ["spoofed-address", "spoofed-mac", "spoofed-arp", "spoofed-arp-mac", "dhcp-server", "other-protocol"]
        {
            let said = all(&|flow| flow["from"] == from && flow["protocol"] == forged);
            let dropped = |flow: &Value| flow["verdict"] == "drop" && flow["delivered_to"].is_null();
            let is_bridge = |flow: &Value| flow["chain"].as_str().is_some_and(|chain| chain.starts_with("bridge "));
            assert!(said.iter().all(|flow| dropped(flow) && is_bridge(flow)), "{from}: {said:#?}");
        }
    }
    let from_services = all(&|flow| flow["sender"] == "services" && flow["to"] == "bob-lan");
    assert!(from_services.iter().all(|flow| flow["reaches"] == false), "{from_services:#?}");
    let text = prove(&host, &[]).ok().out;
    for word in ["as the spec says", "blocked", "reaches", "bob-lan", "services", "outside", "forged"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    let xml = prove(&host, &["--junit"]).ok().out;
    assert!(xml.starts_with("<?xml") && xml.contains("failures=\"0\" errors=\"0\""), "{xml}");
    let dir = "/tmp/captures";
    let said = prove(&host, &["--pcap", dir]).ok();
    assert!(said.err.contains("captures"), "{said:?}");
    let capture = fs::read(host.path(&format!("{dir}/core-to-bob-lan.pcapng"))).expect("a capture");
    assert!(capture.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
    let comments = String::from_utf8_lossy(&capture);
    assert!(
        comments.contains("expected: blocked; passed; verdict: drop; rule: counter drop in chain in_"),
        "{comments}"
    );
    assert_ne!(run(&host, BOB, &["prove", "dev-sandbox"]).code, 0, "another user's world is not there");
}

/// A fault planted in the router's network namespace, `T` being its table of family inet, and what the proof must say of one flow.
struct Planted {
    damage: &'static str,
    outcome: &'static str,
    /// From, to, and the chain and rule that decided, where one did.
    flow: (&'static str, &'static str),
    decided: Option<(&'static str, &'static str)>,
    /// The generated tables are not what they were.
    differs: bool,
}

/// The shell's word for the handle of the rule of a chain that has this text.
const HANDLE: &str = "handle() { nft -a list chain T $1 | grep -F -- \"$2\" | sed 's/.*# handle //' | tail -1; };";

const PLANTED: [Planted; 7] = [
    // A wrong rule: what is dropped there is let through.
    Planted {
        damage: "nft replace rule T in_neand1 handle $(handle in_neand1 drop) counter accept",
        outcome: "failed",
        flow: ("core", "bob-lan"),
        decided: Some(("in_neand1", "rule 1 of in_neand1")),
        differs: true,
    },
    // A missing rule: who may be entered is not asked.
    Planted {
        damage: "nft delete rule T forward handle $(handle forward 'oifname vmap')",
        outcome: "failed",
        flow: ("core", "acme-hq"),
        decided: Some(("forward", "of forward")),
        differs: true,
    },
    // A rule in the wrong order: who leaves an AND is let through before it is asked who may be entered.
    Planted {
        damage: "old=$(handle forward 'iifname @'); text=$(nft list chain T forward | grep -F 'iifname @'); \
                 nft insert rule T forward handle $(handle forward 'oifname vmap') $text; nft delete rule T forward handle $old",
        outcome: "failed",
        flow: ("acme-hq", "bob-lan"),
        decided: Some(("forward", "rule 6 of forward")),
        differs: true,
    },
    // What hosts may say is not looked at any more.
    Planted {
        damage: "nft delete table $(echo T | sed s/inet/bridge/)",
        outcome: "failed",
        flow: ("core", "core"),
        decided: None,
        differs: true,
    },
    // A trace that is disabled: nothing was seen, and nothing is concluded.
    Planted {
        damage: "nft 'add table inet blind; add chain inet blind p { type filter hook prerouting priority -399; }; \
                 add rule inet blind p meta nftrace set 0'",
        outcome: "inconclusive",
        flow: ("core", "acme-hq"),
        decided: None,
        differs: false,
    },
    // A rule of somebody else's beside the policy.
    Planted {
        damage: "nft 'add table inet blind; add chain inet blind f { type filter hook forward priority -1; }; \
                 add rule inet blind f counter drop'",
        outcome: "failed",
        flow: ("core", "acme-hq"),
        decided: Some(("f", "of table blind")),
        differs: false,
    },
    // A policy that is gone, and with it the trace: nothing passes, and why is not seen.
    Planted {
        damage: "nft delete table T",
        outcome: "inconclusive",
        flow: ("core", "acme-hq"),
        decided: None,
        differs: true,
    },
];

#[test]
fn a_planted_fault_turns_the_proof_red() {
    let host = sandbox();
    let spec = format!("{EXAMPLES}/dev-sandbox.yaml");
    let gateway = "10.0.0.1";
    // The router's table: its name, for the damage.
    let table = in_namespace_of(&host, gateway, "nft list tables inet").trim().replace("table ", "");
    assert!(table.starts_with("inet ne"), "{table}");
    for Planted { damage, outcome, flow: (from, to), decided, differs } in PLANTED {
        let script = format!("set -e; {HANDLE} {damage}").replace(" T", &format!(" {table}"));
        in_namespace_of(&host, gateway, &script);
        let ran = prove(&host, &["--json"]);
        assert_eq!(ran.code, 1, "{damage}: {}", ran.out);
        let proof: Value = serde_json::from_str(&ran.out).expect("JSON");
        let drift = proof["drift"].as_array().expect("drift");
        // What others add beside the policy is no part of it, so that packets alone tell.
        assert_eq!((proof["passed"].as_bool(), !drift.is_empty()), (Some(false), differs), "{damage}: {drift:?}");
        let flows = proof["flows"].as_array().expect("flows");
        let wrong: Vec<&Value> = flows.iter().filter(|flow| flow["outcome"] != "passed").collect();
        let other = wrong.iter().filter(|flow| flow["outcome"] != outcome).count();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = wrong.iter().filter(|flow| flow["from"] == from && flow["to"] == to && flow["outcome"] == outcome);
        let told: Vec<_> = told.filter(|flow| !text(&flow["cause"]).is_empty()).collect();
        assert!((outcome == "failed" || other == 0) && !told.is_empty(), "{damage}: {other} others: {wrong:#?}");
        if let Some((chain, rule)) = decided {
            let names = |flow: &&&&Value| text(&flow["chain"]).starts_with(chain) && text(&flow["rule"]).contains(rule);
            assert!(told.iter().any(|flow| names(&flow)), "{damage}: no rule {rule} of {chain}: {told:#?}");
        }
        let said = prove(&host, &[]);
        let last = said.out.lines().last().unwrap_or_default().to_owned();
        let word = if outcome == "failed" { "not as the spec says" } else { "inconclusive" };
        assert!(said.code == 1 && last.contains(word), "{damage}: {last}");
        in_namespace_of(&host, gateway, "nft delete table inet blind 2>/dev/null || true");
        run(&host, ALICE, &["up", &spec, "--set", POOLS, "--set", ANDS, "--no-heal"]).ok();
        prove(&host, &[]).ok();
    }
}

#[test]
fn up_with_a_proof_says_ready_only_when_it_is_proven() {
    let host = sandbox();
    let spec = format!("{EXAMPLES}/dev-sandbox.yaml");
    let up = || run(&host, ALICE, &["up", &spec, "--set", POOLS, "--set", ANDS, "--prove"]);
    assert!(up().ok().out.contains("is ready"));
    // Another's table is not ours to remove, so `up` finds nothing to do.
    let foreign = "nft 'add table inet other; add chain inet other f { type filter hook forward priority 10; }; \
                   add rule inet other f udp dport 9 drop'";
    in_namespace_of(&host, "10.0.0.1", foreign);
    let ran = up().exits(1);
    let [what, cause, _] = ran.three_lines();
    assert!(what.contains("does not do what its spec says"), "{what}");
    assert!(cause.contains(" to ") && cause.contains("the router dropped it") && cause.contains("(rule: "), "{cause}");
    in_namespace_of(&host, "10.0.0.1", "nft delete table inet other");
    up().ok();
}
