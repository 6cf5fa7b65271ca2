//! Faults that are planted in real worlds: `netengine diagnose` finds each by its name, with its cause and what to do.
//!
//! The product heals itself: what it would mend is planted again and again until it was looked for, and afterwards the world
//! is right again by itself.

mod judge;
mod world;

use std::{collections::BTreeSet, fs, path::Path};

use judge::{in_namespace_of, run, until};
use netengine_tests::{ALICE, EXAMPLES, Host, ROOT, crash::WORLDD};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use world::World;

const FRONT: &str = include_str!("scripts/world_diagnose.py");
const PYTHON: &str = "/usr/bin/python3";
/// Where a front listens.
const FRONT_PORT: u16 = 4443;
/// Services of the minimal example: the certificate authority, the world registry, the in-world OpenID provider.
const CA: &str = "10.0.0.6";
const REGISTRY: &str = "10.0.0.8";
const PROVIDER: &str = "10.0.0.12";

/// The failed checks, by name and fault; whatever is found has a cause, a remedy of this world, and a time.
#[track_caller]
fn failed(diagnosis: &Value) -> Vec<(String, String)> {
    let checks = diagnosis["checks"].as_array().expect("checks");
    let failed: Vec<_> = checks.iter().filter(|check| check["passed"] == false).collect();
    assert_eq!(diagnosis["passed"], Value::Bool(failed.is_empty()));
    let text = |check: &Value, key: &str| check[key].as_str().expect(key).to_owned();
    for check in &failed {
        assert!(!text(check, "detail").is_empty() && !text(check, "remedy").is_empty(), "{check}");
        assert!(!text(check, "remedy").contains("WORLD") && check["micros"].is_u64(), "{check}");
    }
    failed.into_iter().map(|check| (text(check, "name"), text(check, "fault"))).collect()
}

/// Looks until a check whose name begins so fails with that fault; what all failed. It is told to people as well.
#[track_caller]
fn finds(world: &World, name: &str, fault: &str) -> Vec<(String, String)> {
    let is_it = |found: &(String, String)| found.0.starts_with(name) && found.1 == fault;
    let look = || {
        let ran = run(&world.host, ALICE, &["diagnose", &world.name, "--json"]);
        // While the world's own live checks are at work it is asked again.
        if ran.code == 1 && !ran.out.is_empty() { failed(&ran.exits(1).json()) } else { Vec::new() }
    };
    let found = until(&format!("{name} is {fault}"), look, |found| found.iter().any(is_it));
    let told = || run(&world.host, ALICE, &["diagnose", &world.name]);
    let is_told = |out: &str| {
        let mut lines =
            out.lines().skip_while(|line| !(line.starts_with("FAILED") && line.contains(&format!(": {fault}: "))));
        lines.next().is_some() && lines.next().is_some_and(|line| line.trim_start().starts_with("help: "))
    };
    until("people are told", told, |ran| ran.code == 1 && is_told(&ran.out));
    println!("{fault}: {found:?}");
    found
}

/// Nothing is wrong, in the end.
#[track_caller]
fn is_sound(world: &World) {
    until("it is sound", || run(&world.host, ALICE, &["diagnose", &world.name, "--json"]), |ran| ran.code == 0);
}

/// A process of the world: its services (`worldd`) or its router's (`gateway`).
fn process(host: &Host, role: &str) -> Option<Pid> {
    let is_it = |pid: &Pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == role.as_bytes())
    };
    host.named(WORLDD).into_iter().find(is_it)
}

/// A script of root's that runs again and again in the namespace of an address, until it is dropped.
struct Planted<'h>(&'h Host, String);

impl<'h> Planted<'h> {
    fn again_and_again(host: &'h Host, address: &str, script: &str) -> Self {
        let forever = format!("(while :; do {script}; sleep 0.02; done) >/dev/null 2>&1 & echo $!");
        Self(host, in_namespace_of(host, address, &forever).trim().to_owned())
    }
}

impl Drop for Planted<'_> {
    fn drop(&mut self) {
        self.0.shell(ROOT, &format!("kill {}", self.1));
    }
}

#[test]
fn a_stopped_service_is_found() {
    let world = World::up("minimal", &[]);
    is_sound(&world);
    for (role, what) in [("worldd", "process: worldd"), ("gateway", "process: gateway")] {
        let stopped = process(&world.host, role).expect("it runs");
        kill(stopped, Signal::SIGSTOP).expect("signalled");
        let found = finds(&world, what, "service_stopped");
        let asked = if role == "worldd" { "ntp: " } else { "dns: " };
        assert!(
            found.iter().any(|(name, fault)| name.starts_with(asked) && fault == "service_stopped") || found.len() == 1
        );
        // Whoever waits for userd to mend it is not let down: it is ended and started again.
        is_sound(&world);
        assert_ne!(process(&world.host, role), Some(stopped));
    }
}

#[test]
fn live_checks_use_one_account_however_often_and_leave_no_certificate_valid() {
    let world = World::up("minimal", &[]);
    let checked = || world.certificates().into_iter().filter(|one| one["account"] != "world").collect::<Vec<_>>();
    let before = checked();
    assert!(!before.is_empty(), "`up` has checked the authority");
    (0..3).for_each(|_| is_sound(&world));
    let after = checked();
    assert!(after.len() >= before.len() + 3, "each has got one of its own: {after:?}");
    // More than a few hundred new accounts in an hour would be refused to an address.
    let accounts: BTreeSet<&str> = after.iter().map(|one| one["account"].as_str().expect("text")).collect();
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    assert!(after.iter().all(|one| one["state"] == "revoked"), "{after:?}");
}

#[test]
fn a_wrong_record_is_found() {
    let world = World::up("minimal", &[]);
    let key = world.tsig("update");
    let update = |address: &str| {
        let lines = format!(
            "server 10.0.0.3\\nzone platform.internal\\nupdate delete registry.platform.internal A\\n\
             update add registry.platform.internal 60 A {address}\\nsend\\n"
        );
        world.says(&format!("printf '{lines}' | nsupdate -y {key} 2>&1"));
    };
    update("10.0.0.99");
    let found = finds(&world, "dns: A registry.platform.internal", "wrong_record");
    assert!(found.iter().all(|(name, _)| name.contains("registry.platform.internal")), "{found:?}");
    update(REGISTRY);
    is_sound(&world);
}

/// The database of the authority of the only world, inside the host.
fn authority(host: &Host) -> String {
    host.shell(ROOT, "ls /run/netengine-worlds/*/pki.db").trim().to_owned()
}

/// Puts a front before a service: packets that come by a network reach it instead.
fn plant_front(world: &World, name: &str, address: &str, mut more: Value) {
    let script = world.host.file("front.py", FRONT);
    let told = json!({"database": authority(&world.host), "name": name, "address": address, "port": FRONT_PORT});
    more.as_object_mut().expect("an object").extend(told.as_object().expect("an object").clone());
    let arguments = world.host.file("front.json", &more.to_string());
    let output = "/run/front.out";
    let begin = format!("{PYTHON} {script} \"$(cat {arguments})\" >{output} 2>&1 &");
    in_namespace_of(&world.host, address, &begin);
    let said = || fs::read_to_string(world.host.path(output)).unwrap_or_default();
    until("the front listens", said, |said| said.starts_with("ready"));
    let divert = format!(
        "nft add table ip planted && \
         nft add chain ip planted prerouting '{{ type nat hook prerouting priority -100; }}' && \
         nft add rule ip planted prerouting ip daddr {address} tcp dport 443 dnat to {address}:{FRONT_PORT}"
    );
    in_namespace_of(&world.host, address, &divert);
}

fn remove_front(world: &World, address: &str) {
    in_namespace_of(&world.host, address, "nft delete table ip planted");
    let pid = fs::read_to_string(world.host.path("/run/front.out")).expect("it said so");
    let pid = pid.split_whitespace().nth(1).expect("its pid");
    world.host.shell(ROOT, &format!("kill {pid}"));
}

#[test]
fn an_expired_certificate_is_found() {
    let world = World::up("minimal", &[]);
    plant_front(&world, "registry.platform.internal", REGISTRY, json!({"expired": true}));
    let found = finds(&world, "https: registry.platform.internal/health", "certificate_expired");
    assert_eq!(found.len(), 1, "{found:?}");
    remove_front(&world, REGISTRY);
    is_sound(&world);
}

#[test]
fn a_rotated_key_that_is_not_served_is_found() {
    let world = World::up("minimal", &[]);
    let (issuer, certs) = ("https://auth.internal/realms/inworld", "/realms/inworld/protocol/openid-connect/certs");
    let before: Value =
        serde_json::from_str(&world.says(&format!("curl -sSf https://auth.internal{certs}"))).expect("JSON");
    // Somebody's cache, which is right until the keys are rotated.
    plant_front(&world, "auth.internal", PROVIDER, json!({"certs": certs, "keys": before}));
    is_sound(&world);
    let secret = world.secret("client_secret", "netengine-api", "/realms/inworld");
    world.says(&format!(
        "token=$(curl -sSf -u 'netengine-api:{secret}' -d 'grant_type=client_credentials&scope=openid' \
         {issuer}/protocol/openid-connect/token | {PYTHON} -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])') && \
         curl -sSf -X POST -H \"authorization: Bearer $token\" 'https://auth.internal/admin/realms/inworld/keys/rotate?notice=0'"
    ));
    let found = finds(&world, &format!("token: {issuer}"), "key_not_served");
    assert_eq!(found.len(), 1, "{found:?}");
    remove_front(&world, PROVIDER);
    is_sound(&world);
}

#[test]
fn a_full_disk_is_found() {
    let mut host = Host::bare();
    host.shell(ROOT, "mkdir -p /run/netengine-worlds && mount -t tmpfs -o size=4m tmpfs /run/netengine-worlds");
    let units = host.copy_units(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd"));
    host.start_daemons(&units, &["netengine-spawn", "netengine-rootd", "netengine-userd"]);
    let world = World::of(host, &format!("{EXAMPLES}/minimal.yaml"), "minimal", &[]);
    is_sound(&world);
    // dd(1) fails when there is no room any more.
    world.host.shell(ROOT, "! dd if=/dev/zero of=/run/netengine-worlds/planted bs=4k 2>/dev/null");
    let found = finds(&world, "disk: run directory", "disk_full");
    // An order cannot be kept.
    assert!(found.iter().any(|(name, fault)| name.starts_with("acme: ") && fault == "disk_full"), "{found:?}");
    // With room again, everything that was refused is done again.
    world.host.shell(ROOT, "rm /run/netengine-worlds/planted");
    is_sound(&world);
}

/// What is missing in the kernel, by what it is: where it is planted, how, and what is found.
const MISSING: [(&str, &str, &str, &str); 5] = [
    ("172.28.0.1", "ip link del nebr1", "network: bridge gw nebr1", "link_removed"),
    (
        "172.28.0.1",
        "ip address del 172.28.0.1/16 dev nebr1",
        "network: address gw nebr1 172.28.0.1/16",
        "address_removed",
    ),
    (CA, "ip route del default", "network: route svc", "route_removed"),
    (
        "10.0.0.1",
        "nft list tables | while read table; do nft delete $table; done",
        "network: table gw",
        "table_removed",
    ),
    ("10.0.0.1", "echo 0 >/proc/sys/net/ipv4/ip_forward", "network: sysctl gw", "sysctl_changed"),
];

#[test]
fn what_is_missing_from_the_network_is_found_by_what_it_is() {
    let world = World::up("minimal", &[]);
    for (address, script, name, fault) in MISSING {
        let planted = Planted::again_and_again(&world.host, address, script);
        finds(&world, name, fault);
        drop(planted);
        // As the remedy says.
        judge::up(&world.host, &judge::minimal());
        is_sound(&world);
    }
}
