//! Names of a world: its servers and its resolver, asked by dig and by updates.

use crate::{
    harness::World,
    spec::{assert_serving, desired, example},
};

pub fn dig(world: &World, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["+time=2", "+tries=1"].iter().chain(arguments).copied().collect();
    let output = world.run("dig", &arguments);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The key `update` or `transfer` of the test.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// Sends commands of nsupdate to the platform zone's server, in the notation of printf(1), with this key.
pub fn update(world: &World, key: &str, commands: &str) -> bool {
    let script = format!("server 10.0.0.3\\nkey hmac-sha256:{key} {KEY}\\n{commands}\\nsend\\n");
    world.run("sh", &["-c", &format!("printf '{script}' | nsupdate")]).status.success()
}

#[test]
fn every_name_resolves_from_the_root_down_and_back() {
    let spec = example("minimal", &[]);
    let mut world = World::start();
    world.give_addresses(&spec);
    let desired = desired(&spec);
    let health = world.control().desire(&desired);
    assert_serving(&health);
    assert_eq!(health.revision, "1");
    let mut gateway = world.gateway();
    assert_serving(&gateway.desire(&desired, &health.trust));
    for listen in spec.listen_addresses() {
        for resolver in ["@10.0.0.1", "@172.28.0.1"] {
            let found = dig(&world, &[resolver, "+short", "-b", "10.0.0.1", &listen.name, "A"]);
            assert_eq!(found.trim(), listen.v4.to_string(), "{}", listen.name);
        }
        let found = dig(&world, &["@10.0.0.1", "-b", "10.0.0.1", "+short", "-x", &listen.v4.to_string()]);
        assert!(found.lines().any(|name| name.trim_end_matches('.') == listen.name), "{found}");
    }
    let absent = dig(&world, &["@10.0.0.1", "-b", "10.0.0.1", "nobody.platform.internal"]);
    assert!(absent.contains("NXDOMAIN") && absent.contains("SOA"), "{absent}");
    let stream = dig(&world, &["@10.0.0.2", "+tcp", "+norecurse", "ca.platform.internal"]);
    assert!(stream.contains("AUTHORITY") && stream.contains("10.0.0.3"), "{stream}");
    // From an address that is not one of the world's there is no answer at all.
    let outside = dig(&world, &["@10.0.0.1", "-b", "127.0.0.1", "ca.platform.internal"]);
    assert!(outside.contains("no servers could be reached") || outside.contains("timed out"), "{outside}");
}

#[test]
fn the_same_again_changes_nothing_and_a_change_costs_its_records() {
    let spec = example("minimal", &[]);
    let mut world = World::start();
    world.give_addresses(&spec);
    let mut wish = desired(&spec);
    let mut control = world.control();
    assert_serving(&control.desire(&wish));
    let serial = |world: &World| {
        let soa = dig(world, &["@10.0.0.3", "+short", "platform.internal", "SOA"]);
        soa.split_whitespace().nth(2).expect("a serial").parse::<u64>().expect("a number")
    };
    let before = serial(&world);
    control.desire(&wish);
    assert_eq!(serial(&world), before);
    wish.hosts.push(netengine_proto::control::NamedHost { name: "core-1".to_owned(), address: [10, 0, 0, 254].into() });
    assert_serving(&control.desire(&wish));
    assert!(serial(&world) > before);
    assert_eq!(dig(&world, &["@10.0.0.3", "+short", "core-1.platform.internal"]).trim(), "10.0.0.254");
    assert!(!world.log().contains("closed 10.0.0."), "a listener was bound again: {}", world.log());

    // Less is wanted: what is not is closed.
    wish.up_to = 1;
    let health = control.desire(&wish);
    assert!(health.services.iter().all(|one| one.phase <= 1 && one.serving), "{health:#?}");
    assert!(!health.services.is_empty());
}

#[test]
fn transfers_and_updates_want_their_own_key() {
    let spec = example("minimal", &[]);
    let mut world = World::start();
    world.give_addresses(&spec);
    assert_serving(&world.control().desire(&desired(&spec)));
    let transfer = |key: &str| {
        let key = format!("hmac-sha256:{key}:{KEY}");
        dig(&world, &["@10.0.0.3", "-y", &key, "platform.internal", "AXFR"])
    };
    assert!(transfer("transfer").contains("ca.platform.internal."));
    assert!(!transfer("update").contains("ca.platform.internal."));
    let update = |key: &str, owner: &str| self::update(&world, key, &format!("update add {owner} 60 TXT hello"));
    assert!(!update("transfer", "x.platform.internal"));
    assert!(update("update", "x.platform.internal"));
    assert!(!update("update", "x.example.com"));
    assert_eq!(dig(&world, &["@10.0.0.3", "+short", "x.platform.internal", "TXT"]).trim(), "\"hello\"");
}
