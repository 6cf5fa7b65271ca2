//! Row 40: what others change in a world's network is noticed by rootd, told, and put right; what rootd itself does is not
//! told. Changes are made by ip(8), nft(8) and sysctl(8) in the world's namespaces.

mod judge;

use judge::in_namespace_of;
use netengine_proto::{
    ids::Uid,
    plan::{NetworkPlan, Node},
    root::{Change, ObjectKind, RootClient, RootEvent},
};
use netengine_tests::{
    ALICE, DEADLINE, Host,
    attack::{rootd_only, rss_kib, the},
    root::{self, key, patient, world_plan},
};

/// rootd with one world of two networks, asked as userd would.
struct Held {
    client: RootClient,
    plan: NetworkPlan,
    cursor: u64,
    host: Host,
}

impl Held {
    async fn new(networks: u16, hosts: u16) -> Self {
        let host = rootd_only();
        let client = root::client(&host).await;
        let plan = world_plan(root::world_id(), Uid(ALICE.uid), networks, hosts);
        let mut held = Self { client, plan, cursor: 0, host };
        assert!(!held.apply().await.is_empty());
        held
    }

    async fn apply(&mut self) -> Vec<Change> {
        let applied = self.client.apply_network(patient(), key(), self.plan.clone()).await;
        applied.expect("answers").expect("applies").changes
    }

    async fn drift(&self) -> Vec<Change> {
        let observed = self.client.observe_network(patient(), self.plan.world, self.plan.owner).await;
        observed.expect("answers").expect("observes").drift
    }

    /// The next events that rootd tells.
    async fn told(&mut self) -> Vec<RootEvent> {
        loop {
            let events = self.client.next_events(patient(), self.cursor, 20_000).await.expect("answers").expect("told");
            self.cursor = events.cursor;
            assert!(!events.lagged);
            if !events.events.is_empty() {
                return events.events;
            }
        }
    }

    /// Nothing is told for a moment: what the kernel says late of what was made (carrier, addresses) is no difference.
    async fn told_nothing(&self) {
        let quiet = self.client.next_events(patient(), self.cursor, 500).await.expect("answers").expect("told");
        assert_eq!(quiet.events, []);
    }

    /// Waits for a difference that fits; those before it (half of a change) are passed over.
    async fn told_drift(&mut self, fits: impl Fn(&[Change]) -> bool) -> Vec<Change> {
        let until = std::time::Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while std::time::Instant::now() < until {
            for event in self.told().await {
                let RootEvent::NetworkChanged { world, drift, more, .. } = event else { continue };
                assert_eq!((world, more), (self.plan.world, 0));
                if fits(&drift) {
                    return drift;
                }
                seen.push(drift);
            }
        }
        panic!("nothing of the kind was told: {seen:#?}");
    }
}

fn has(drift: &[Change], node: &str, kind: ObjectKind, name: &str) -> bool {
    drift.iter().any(|change| {
        let object = &change.object;
        object.node == node && object.kind == kind && object.name.contains(name)
    })
}

/// Where (by an address of the node), what is done there, and the object that then differs.
const CHANGES: [(&str, &str, &str, ObjectKind, &str); 10] = [
    ("10.0.0.1", "nft flush ruleset", "gw", ObjectKind::Table, "policy"),
    (
        "10.0.0.1",
        "nft insert rule $(nft list tables | sed 's/^table //') forward accept",
        "gw",
        ObjectKind::Table,
        "policy",
    ),
    ("10.0.0.1", "ip link delete nebr1", "gw", ObjectKind::Bridge, "nebr1"),
    ("10.0.0.1", "ip link delete nep0", "gw", ObjectKind::Link, "nep0"),
    ("10.0.0.1", "ip link set nep1 nomaster", "gw", ObjectKind::Link, "nep1"),
    ("10.0.0.1", "ip address delete 10.1.0.1/24 dev nebr1", "gw", ObjectKind::Address, "nebr1 10.1.0.1"),
    ("10.0.0.2", "ip route delete default via 10.0.0.1", "svc", ObjectKind::Route, "0.0.0.0/0"),
    ("10.0.0.2", "ip rule delete from 10.1.0.0/24", "svc", ObjectKind::Route, "from 10.1.0.0/24"),
    ("10.1.0.10", "ip link set neth0 down", "host:n1h0", ObjectKind::Link, "neth0"),
    ("10.1.0.10", "ip address add 10.1.0.99/24 dev neth0", "host:n1h0", ObjectKind::Address, "10.1.0.99"),
];

#[tokio::test]
async fn what_others_change_is_told_and_what_rootd_does_itself_is_not() {
    let mut held = Held::new(2, 1).await;
    // A larger world is rootd's own change; it is the kernel's last word as well, so no drift follows it.
    held.plan = world_plan(held.plan.world, held.plan.owner, 2, 2);
    held.apply().await;
    for (address, script, node, kind, name) in CHANGES {
        in_namespace_of(&held.host, address, script);
        let told = held.told_drift(|drift| has(drift, node, kind, name)).await;
        assert!(!told.is_empty());
        assert!(!held.apply().await.is_empty(), "{script}: it is put right");
        held.told_drift(<[Change]>::is_empty).await;
        assert_eq!(held.drift().await, [], "{script}");
    }
    // Every event so far was one of the changes above: nothing else is told.
    held.told_nothing().await;
}

// Row 70: who floods a namespace with changes, root in it alone could, costs no other world its service nor rootd memory.
#[tokio::test]
async fn a_flood_of_changes_is_a_few_looks_and_others_are_served() {
    let mut held = Held::new(1, 1).await;
    let memory = |held: &Held| {
        let of = |name| rss_kib(the(&held.host, name));
        (of("netengine-rootd"), of("ne-rootd-watch"))
    };
    let before = memory(&held);
    let flip = "for n in $(seq 10000); do echo address add 10.9.9.9/32 dev neth0; echo address del 10.9.9.9/32 dev neth0; done";
    let flood = tokio::task::spawn_blocking({
        let script = format!("({flip}; echo address add 10.9.9.9/32 dev neth0) | ip -batch -");
        let host = held.host;
        move || {
            in_namespace_of(&host, "10.0.0.10", &script);
            host
        }
    });
    // Another world comes and goes meanwhile.
    let mut others = 0;
    while !flood.is_finished() || others == 0 {
        let other = world_plan(root::world_id(), held.plan.owner, 1, 1);
        held.client.apply_network(patient(), key(), other.clone()).await.expect("answers").expect("applies");
        held.client.delete_world(patient(), key(), other.world, other.owner).await.expect("answers").expect("deletes");
        others += 1;
    }
    held.host = flood.await.expect("done");
    let last = |drift: &[Change]| has(drift, "host:n0h0", ObjectKind::Address, "10.9.9.9");
    let mut told = 0;
    loop {
        let events = held.told().await;
        told += events.len();
        // The last word is what is: one address too much.
        if held.drift().await.len() == 1
            && matches!(events.last(), Some(RootEvent::NetworkChanged { drift, .. }) if last(drift))
        {
            break;
        }
    }
    println!("{told} events, {others} other worlds");
    assert!(told < 5_000, "{told} events of 20,001 changes");
    let after = memory(&held);
    assert!(after.0 < before.0 + 16 * 1024 && after.1 < before.1 + 4 * 1024, "{before:?} KiB before, {after:?} after");
    assert_eq!(held.apply().await.len(), 1);
    assert_eq!(held.drift().await, []);
}

// What is known is not looked at again: an apply costs what it changes.
#[tokio::test]
async fn an_apply_looks_at_what_changed_alone_and_an_observation_at_everything() {
    let mut held = Held::new(1, 40).await;
    held.told_nothing().await;
    let entered = |held: &Held, trace: std::process::Child| {
        drop(nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(trace.id()).expect("a pid")),
            nix::sys::signal::Signal::SIGINT,
        ));
        let said = String::from_utf8(trace.wait_with_output().expect("ends").stderr).expect("text");
        assert!(the(&held.host, "ne-rootd-ns").as_raw() > 0);
        said.matches("setns(").count()
    };
    let traced = |held: &Held| {
        let ns = the(&held.host, "ne-rootd-ns").to_string();
        let mut strace = std::process::Command::new("strace");
        strace.args(["-e", "trace=setns", "-p", &ns]).stdout(std::process::Stdio::null());
        let mut trace = strace.stderr(std::process::Stdio::piped()).spawn().expect("strace starts");
        let mut line = [0; 1];
        std::io::Read::read_exact(trace.stderr.as_mut().expect("piped"), &mut line).expect("it attached");
        trace
    };
    // The worker enters a namespace to compare its settings, once for each look at it, and leaves it.
    let trace = traced(&held);
    assert_eq!(held.apply().await, []);
    assert_eq!(entered(&held, trace), 0, "nothing changed");

    let trace = traced(&held);
    held.plan = world_plan(held.plan.world, held.plan.owner, 1, 41);
    assert!(!held.apply().await.is_empty());
    let one = entered(&held, trace);
    assert!((4..20).contains(&one), "{one}: one node is made and listened to, and it and the router are looked at");

    let trace = traced(&held);
    assert_eq!(held.drift().await, []);
    let all = entered(&held, trace);
    assert!(all >= 2 * held.plan.nodes.len(), "{all}: a full look is a full look");
    assert!(held.plan.nodes.iter().any(|node| node.node == Node::Gateway));
}

// What the kernel does not tell of is found by a full look, and then put right by an apply.
#[tokio::test]
async fn a_setting_that_nobody_tells_of_is_found_by_a_full_look() {
    let mut held = Held::new(1, 1).await;
    for (setting, value) in [("net.ipv4.ip_forward", "0"), ("net.ipv4.conf.default.arp_ignore", "0")] {
        in_namespace_of(&held.host, "10.0.0.1", &format!("sysctl -qw {setting}={value}"));
        let drift = held.drift().await;
        assert!(has(&drift, "gw", ObjectKind::Sysctl, ""), "{setting}: {drift:?}");
        held.told_drift(|drift| has(drift, "gw", ObjectKind::Sysctl, "")).await;
        assert_eq!(held.apply().await.len(), 1, "{setting}");
        assert_eq!(held.drift().await, []);
        held.told_drift(<[Change]>::is_empty).await;
    }
    // Forwarding is told without asking.
    in_namespace_of(&held.host, "10.0.0.1", "sysctl -qw net.ipv4.ip_forward=0");
    held.told_drift(|drift| has(drift, "gw", ObjectKind::Sysctl, "")).await;
}
