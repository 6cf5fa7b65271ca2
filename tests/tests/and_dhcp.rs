//! Leases and router advertisements in ANDs of a real world, asked by clients that others wrote, and who holds the raw
//! socket that the advertisements take.

mod judge;
mod world;

use std::collections::BTreeSet;

use judge::{in_namespace_of, run};
use netengine_tests::{ALICE, ROOT};
use serde_json::Value;
use world::World;

/// dev-sandbox with an AND that is closed both ways.
const VAULT: [&str; 2] = [
    "domain_registry.address_space=[{cidr: 10.20.0.0/16, label: business-pool}, {cidr: 10.30.0.0/16, label: residential-pool}, {cidr: 10.40.0.0/26, label: airgapped-pool}]",
    "ands.instances=[{name: acme-hq, org: acme-corp, profile: business, dns_suffix: hq.acme.corp}, {name: bob-lan, org: bob-home, profile: residential, dns_suffix: lan.bob.home}, {name: vault, org: acme-corp, profile: airgapped}]",
];

/// The address of the vantage host of an AND, and the router's.
fn addresses(world: &World, and: &str) -> (String, String) {
    let status = run(&world.host, ALICE, &["status", &world.name, "--json"]).ok().json();
    let networks = status["networks"].as_array().expect("networks").clone();
    let network = networks.iter().find(|one| one["name"] == and).unwrap_or_else(|| panic!("no {and} in {networks:?}"));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let host = text(&network["hosts"][0]["addresses"][0]);
    let host = host.split('/').next().expect("an address").to_owned();
    let subnet: String = text(&network["subnet"]);
    let base: std::net::Ipv4Addr = subnet.split('/').next().expect("a network").parse().expect("an address");
    (host, std::net::Ipv4Addr::from(u32::from(base) + 1).to_string())
}

#[test]
fn udhcpc_and_dhclient_get_the_planned_lease_in_an_ands_own_network() {
    let world = World::up("dev-sandbox", &[]);
    let (host, router) = addresses(&world, "acme-hq");
    let asked = in_namespace_of(
        &world.host,
        &host,
        "dir=$(mktemp -d); printf '#!/bin/sh\\nenv >> %s/told\\n' $dir > $dir/script; chmod 755 $dir/script
         link=$(ip -oneline -4 address show scope global | awk '{print $2; exit}')
         udhcpc -i $link -f -q -n -t 5 -T 2 -O search -O ntpsrv -s $dir/script >&2
         timeout 20 dhclient -4 -d -1 --no-pid -sf $dir/script -lf $dir/leases -cf /dev/null $link >$dir/log 2>&1 &
         for i in $(seq 100); do grep -qx reason=BOUND $dir/told && break; sleep 0.1; done; kill $!
         cat $dir/told; rm -r $dir",
    );
    for expected in [
        format!("ip={host}"),
        format!("router={router}"),
        format!("serverid={router}"),
        "domain=hq.acme.corp".to_owned(),
        "search=hq.acme.corp".to_owned(),
        format!("new_ip_address={host}"),
        format!("new_routers={router}"),
        "new_domain_name=hq.acme.corp".to_owned(),
    ] {
        assert!(asked.lines().any(|line| line == expected), "no {expected} in {asked}");
    }
    for option in ["dns=", "lease="] {
        assert!(asked.lines().any(|line| line.starts_with(option) && line != option), "no {option} in {asked}");
    }
    let servers: Vec<&str> = asked.lines().filter_map(|line| line.strip_prefix("ntpsrv=")).collect();
    assert_eq!(servers, [router.as_str()], "{asked}");
}

#[test]
fn the_time_server_of_a_lease_answers_in_every_domain_also_in_one_that_is_closed() {
    let world = World::up("dev-sandbox", &VAULT);
    for and in ["acme-hq", "bob-lan", "vault"] {
        let (host, router) = addresses(&world, and);
        // It ends with 0 once it has a sample, and with 1 when the time is over.
        let ask = format!("chronyd -Q -t 20 -U -f /dev/null 'server {router} iburst maxsamples 1' 2>&1");
        let said = in_namespace_of(&world.host, &host, &ask);
        assert!(said.contains("System clock wrong by"), "{and}: {said}");
    }
    // Each host sees it with its own eyes when the world is looked at.
    let diagnosed = run(&world.host, ALICE, &["diagnose", &world.name, "--json"]).ok().json();
    let checks = diagnosed["checks"].as_array().expect("checks");
    let from = |and: &str| {
        let of = checks.iter().filter(|check| check["name"].as_str().is_some_and(|name| name.starts_with(and)));
        of.map(|check| check["passed"] == true).collect::<Vec<_>>()
    };
    assert_eq!(from("from acme-hq: "), [true; 3], "time, names, a service");
    assert_eq!(from("from bob-lan: "), [true; 3]);
    assert_eq!(from("from vault: "), [true; 2], "it reaches its router alone");
}

#[test]
fn rdisc6_and_ndisc6_find_the_router_of_a_domain_and_nobody_else() {
    let core6 =
        "substrate.networks={platform: {subnet: 172.28.0.0/16}, core: {subnet: 10.0.0.0/24, subnet6: 'fd00:10::/64'}}";
    let world = World::up("dev-sandbox", &[core6]);
    let (host, _) = addresses(&world, "acme-hq");
    let asked = |script: &str| {
        let link = "link=$(ip -oneline -4 address show scope global | awk '{print $2; exit}')";
        in_namespace_of(&world.host, &host, &format!("{link}; {script}"))
    };
    let own = asked("ip -oneline -6 address show dev $link scope global | awk '{print $4}'");
    let own: std::net::Ipv6Addr = own.trim().strip_suffix("/64").expect("a /64").parse().expect("an address");
    let sibling = |last: u128| std::net::Ipv6Addr::from(u128::from(own) & !0xff | last).to_string();
    let advertised = asked("rdisc6 -1 -r 3 -w 3000 $link 2>&1 || true");
    let prefix = format!("{}/64", std::net::Ipv6Addr::from(u128::from(own) >> 64 << 64));
    assert!(advertised.contains(&prefix) && advertised.contains("from fe80::"), "{prefix}: {advertised}");
    let found = |address: &str| asked(&format!("ndisc6 -1 -q -r 2 -w 500 {address} $link 2>/dev/null || true"));
    let of_router = found(&sibling(1));
    assert_eq!(of_router.trim().split(':').count(), 6, "the router's MAC address: {of_router:?}");
    // What is elsewhere in the world is no neighbour.
    for other in ["fd00:10::a00:1", &sibling(9)] {
        assert_eq!(found(other), "", "{other}");
    }
    // The proof agrees, over both families.
    let proof = run(&world.host, ALICE, &["prove", &world.name, "--json"]).ok().json();
    let flows = proof["flows"].as_array().expect("flows");
    let of_v6 = |flow: &&Value| flow["target"].as_str().is_some_and(|target| target.contains(':'));
    assert!(flows.iter().filter(of_v6).filter(|flow| flow["from"] == "acme-hq").count() > 20, "{proof:#}");
}

#[test]
fn the_raw_socket_is_of_the_router_and_of_its_program_alone() {
    let world = World::up("dev-sandbox", &[]);
    let pids = world.host.shell(ROOT, "pgrep --full -- '--role [g]ateway'");
    let [gateway] = pids.split_whitespace().collect::<Vec<_>>()[..] else { panic!("one process: {pids}") };
    let asked = world.host.shell(
        ROOT,
        &format!(
            "cat /proc/{gateway}/net/raw6; echo holders; for fd in /proc/[0-9]*/fd/*; do \
             l=$(readlink $fd 2>/dev/null) && echo $fd $l; done | grep socket: ; echo own; cat /proc/net/raw6"
        ),
    );
    let (router, rest) = asked.split_once("holders\n").expect("two parts");
    let (holders, own) = rest.split_once("own\n").expect("three parts");
    let inodes: Vec<_> = router.lines().skip(1).map(|line| line.split_whitespace().nth(9).expect("an inode")).collect();
    // Protocol 58 is ICMPv6; it stands as the port of the local address.
    assert!(inodes.len() == 1 && router.contains(":003A "), "one raw socket in the router's namespace: {router}");
    let held: BTreeSet<_> = holders
        .lines()
        .filter(|line| line.ends_with(&format!("socket:[{}]", inodes[0])))
        .map(|line| line.split('/').nth(2).expect("a pid").to_owned())
        .collect();
    assert_eq!(held, BTreeSet::from([gateway.to_owned()]), "who holds it");
    assert!(own.lines().count() <= 1 || !own.contains(inodes[0]), "not of the namespace of the host: {own}");
    let status = world.host.shell(ROOT, &format!("cat /proc/{gateway}/status"));
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    // What it was not given it cannot open: its filter ends it (`every_permission_altered_ends_the_process`), and a worldd or a
    // command has no such socket at all.
    let of_others = world.says_at("acme-hq", "python3 -c 'import socket; socket.socket(10,3,58)' 2>&1 || true");
    assert!(of_others.contains("PermissionError"), "{of_others}");
}
