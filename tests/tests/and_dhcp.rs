//! Leases and router advertisements in ANDs of a real world, asked by clients that others wrote, and who holds the raw
//! socket that the advertisements take.

mod judge;
mod world;

use std::collections::BTreeSet;

use judge::{in_namespace_of, run};
use netengine_tests::{ALICE, ROOT};
use serde_json::Value;
use world::World;

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
    for option in ["dns=", "ntpsrv=", "lease="] {
        assert!(asked.lines().any(|line| line.starts_with(option) && line != option), "no {option} in {asked}");
    }
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
