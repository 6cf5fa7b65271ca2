//! A way out stands as long as an administrator allows it, and is proven as the rest of a world is, over both families.

mod judge;
mod outside;
mod world;

use judge::{Ran, run, until};
use netengine_tests::{ALICE, EXAMPLES, Host, ROOT};
use nix::sys::signal::Signal;
use outside::{ALLOWED, TERMS, forwarders, host, network};
use serde_json::Value;
use world::World;

const PORTAL: &str = "gateway_portal.real_internet";
const CURL: &str = "curl -sS --max-time 3";
/// Core has IPv6 beside IPv4.
const CORE6: &str =
    "substrate.networks={platform: {subnet: 172.28.0.0/16}, core: {subnet: 10.0.0.0/24, subnet6: 'fd00:10::/64'}}";

#[track_caller]
fn refused(ran: &Ran) {
    assert!(ran.code != 0 && ran.out.is_empty(), "{ran:?}");
}

fn status(host: &Host) -> Value {
    run(host, ALICE, &["status", "minimal", "--json"]).ok().json()
}

/// Writes what an administrator allows, as an editor does: beside it, and then in its place.
fn allow(host: &Host, text: &str) {
    host.shell(ROOT, &format!("printf '{}' >{ALLOWED}.new; mv {ALLOWED}.new {ALLOWED}", text.replace('\n', "\\n")));
}

/// Flows of a proof that leave the world, by family and port.
fn out(proof: &Value, is_v4: bool) -> Vec<(String, bool)> {
    let flows = proof["flows"].as_array().expect("flows");
    let is_it = |flow: &&Value| {
        let of_family = flow["target"].as_str().is_some_and(|target| target.contains('.') == is_v4);
        flow["from"] == "core" && flow["receiver"] == "outside" && of_family
    };
    let told = |flow: &Value| {
        let kind = format!("{}{}", flow["protocol"].as_str().expect("text"), flow["port"].as_u64().unwrap_or_default());
        (kind, flow["reaches"] == true)
    };
    flows.iter().filter(is_it).map(told).collect()
}

#[test]
fn a_way_out_is_used_and_proven_over_both_families() {
    let (host, before) = host();
    let spec = format!("{EXAMPLES}/minimal.yaml");
    let world = World::of(host, &spec, "minimal", &[CORE6, &format!("{PORTAL}={{mode: shadowed}}")]);
    for at in ["203.0.113.1", "[2001:db8:113::1]"] {
        assert_eq!(world.says(&format!("{CURL} http://{at}/")), "outside\n");
        refused(&world.attempt(&format!("{CURL} http://{at}:8080/")));
    }
    // The host itself is not outside.
    for own in ["[2001:db8:113::2]", "[::1]", "[::ffff:203.0.113.2]", "[64:ff9b::203.0.113.2]"] {
        refused(&world.attempt(&format!("{CURL} http://{own}/")));
    }
    // Every packet of the proof goes as the mode says, those through the uplink with it.
    let web = [("tcp80", true), ("tcp443", true), ("tcp9", false), ("udp9", false), ("icmp0", false)];
    let shadowed = web.map(|(kind, leaves)| (kind.to_owned(), leaves));
    let proof = run(&world.host, ALICE, &["prove", "minimal", "--json"]).ok().json();
    for is_v4 in [true, false] {
        assert_eq!(out(&proof, is_v4), shadowed, "{proof:#}");
    }
    let exposed = format!("{PORTAL}={{mode: exposed, publish: [{{host_port: 20080, port: 80}}]}}");
    run(&world.host, ALICE, &["up", &spec, "--set", CORE6, "--set", &exposed, "--prove", "--no-heal"]).ok();
    let proof = run(&world.host, ALICE, &["prove", "minimal", "--json"]).ok().json();
    for is_v4 in [true, false] {
        assert_eq!(out(&proof, is_v4), web.map(|(kind, _)| (kind.to_owned(), true)), "{proof:#}");
    }
    assert_eq!(world.says(&format!("{CURL} http://[2001:db8:113::1]:8080/")), "outside\n");
    // The rules of the way out are missing: red, by name.
    let own = "$(nft list tables inet | sed 's/^table //')";
    judge::in_namespace_of(&world.host, "10.0.0.1", &format!("nft flush chain {own} uplink_out"));
    let red = run(&world.host, ALICE, &["prove", "minimal", "--json"]).exits(1);
    let red: Value = serde_json::from_str(&red.out).expect("JSON");
    let is_named = |flow: &Value| flow["to"] == "outside" && flow["outcome"] == "failed" && flow["rule"].is_string();
    assert!(red["flows"].as_array().expect("flows").iter().any(is_named), "{red:#}");
    assert_eq!(network(&world.host), before);
}

#[test]
fn an_allowance_that_is_withdrawn_ends_what_it_allowed_and_one_that_comes_back_brings_it() {
    let (host, before) = host();
    let set = format!("{PORTAL}={{mode: shadowed}}");
    let world = World::of(host, &format!("{EXAMPLES}/minimal.yaml"), "minimal", &[&set]);
    let ask = format!("{CURL} http://203.0.113.1/");
    assert_eq!(world.says(&ask), "outside\n");
    let ended = |why: &str| {
        until(why, || forwarders(&world.host).len(), |running| *running == 0);
        refused(&world.attempt(&ask));
        until(
            "the owner is told",
            || status(&world.host),
            |status| {
                let text = status.to_string();
                status["state"] == "degraded" && text.contains("no administrator allows")
            },
        );
    };
    let back = || {
        allow(&world.host, TERMS);
        let serves = |status: &Value| status["state"] == "ready";
        until("it is back", || status(&world.host), serves);
        assert_eq!(world.says(&ask), "outside\n");
    };
    for (why, text) in [
        ("another user alone is allowed", "allow user bob\\ninbound 203.0.113.2 20000-20999\\n"),
        ("a line that means nothing allows nobody", "allow user alice\\nallow alice\\n"),
    ] {
        allow(&world.host, &text.replace("\\n", "\n"));
        ended(why);
        back();
    }
    // What is not about it does not touch it.
    let same = forwarders(&world.host);
    allow(&world.host, &format!("# a comment\n{TERMS}allow user bob\n"));
    world.host.shell(ROOT, &format!("touch {ALLOWED}"));
    assert_eq!(world.says(&ask), "outside\n");
    assert_eq!(forwarders(&world.host), same);
    // A file that others may write is no administrator's.
    world.host.shell(ROOT, &format!("chmod 666 {ALLOWED}"));
    ended("anybody may have written it");
    world.host.shell(ROOT, &format!("rm {ALLOWED}"));
    back();
    // What changes while rootd is away is judged when it is back.
    let kinds = run(&world.host, ALICE, &["events", "minimal", "--json"]).ok().json();
    let told = |kind: &str| kinds.as_array().expect("events").iter().any(|event| event["kind"] == kind);
    assert!(told("process.ended"), "{kinds}");
    world.host.shell(ROOT, &format!("rm {ALLOWED}"));
    world.host.restart("netengine-rootd", Signal::SIGKILL);
    ended("nobody is allowed after a restart");
    assert_eq!(network(&world.host), before);
}
