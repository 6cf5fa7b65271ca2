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
        let observed = self.client.observe_network(patient(), self.plan.world, self.plan.owner, true).await;
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
        "nft insert rule $(nft list tables inet | sed 's/^table //') forward accept",
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
    /// Namespaces that the worker entered or left, and settings that it read.
    struct Work {
        moves: usize,
        reads: usize,
    }
    let done = |held: &Held, trace: std::process::Child| {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(trace.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
        let said = String::from_utf8(trace.wait_with_output().expect("ends").stderr).expect("text");
        assert!(the(&held.host, "ne-rootd-ns").as_raw() > 0);
        Work { moves: said.matches("setns(").count(), reads: said.matches("pread64(").count() }
    };
    let traced = |held: &Held| {
        let ns = the(&held.host, "ne-rootd-ns").to_string();
        let mut strace = std::process::Command::new("strace");
        strace.args(["-e", "trace=setns,pread64", "-p", &ns]).stdout(std::process::Stdio::null());
        let mut trace = strace.stderr(std::process::Stdio::piped()).spawn().expect("strace starts");
        let mut line = [0; 1];
        std::io::Read::read_exact(trace.stderr.as_mut().expect("piped"), &mut line).expect("it attached");
        trace
    };
    // The worker reads a namespace's settings once for each look at it; it enters it for what it does not keep open.
    let trace = traced(&held);
    assert_eq!(held.apply().await, []);
    let none = done(&held, trace);
    assert_eq!((none.moves, none.reads), (0, 0), "nothing changed");

    let trace = traced(&held);
    held.plan = world_plan(held.plan.world, held.plan.owner, 1, 41);
    assert!(!held.apply().await.is_empty());
    let one = done(&held, trace);
    assert!(
        (4..20).contains(&one.moves),
        "{}: one node is made and listened to, and it and the router seen",
        one.moves
    );
    assert!((4..=30).contains(&one.reads), "{}: settings of two nodes, one of them seen twice at most", one.reads);

    let trace = traced(&held);
    assert_eq!(held.drift().await, []);
    let all = done(&held, trace);
    // Four settings are of IPv4, which every kernel has.
    assert!(all.reads >= 4 * held.plan.nodes.len(), "{}: a full look is a full look", all.reads);
    assert!(all.moves <= 4, "{}: what is kept open is read from anywhere", all.moves);
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

/// Sends to an address every millisecond, until it is ended.
const SEND: &str = "import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try: s.sendto(b'probe', (sys.argv[1], 4711))
    except OSError: pass
    time.sleep(0.001)";
/// Counts what arrives until it is ended, and prints the count when anything came.
const COUNT: &str = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 4711))
print('listening', flush=True)
n = 0
while True:
    s.recv(64); n += 1; print(n, flush=True)";

/// A program in the namespace of an address; it ends with the guard.
struct Inside {
    child: std::process::Child,
    lines: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Inside {
    fn start(host: &Host, address: &str, program: &str, argument: &str) -> Self {
        // The door is found by the same search as everywhere, and handed on as a link that stays.
        let door = in_namespace_of(host, address, "readlink /proc/self/ns/net");
        let holder = the(host, "ne-holder");
        let fds = std::fs::read_dir(format!("/proc/{holder}/fd")).expect("it runs").flatten().map(|fd| fd.path());
        let wanted = |path: &std::path::PathBuf| {
            std::fs::read_link(path).is_ok_and(|to| to.as_os_str().to_string_lossy() == door.trim())
        };
        let path = fds.into_iter().find(wanted).expect("the holder keeps it");
        let mut command = std::process::Command::new("nsenter");
        command.args([&format!("--net={}", path.display()), "python3", "-c", program, argument]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("nsenter starts");
        let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let (out, said) = (child.stdout.take().expect("piped"), lines.clone());
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok) {
                said.lock().expect("no panic").push(line);
            }
        });
        Self { child, lines }
    }

    fn said(&self) -> usize {
        self.lines.lock().expect("no panic").len()
    }

    /// Waits until it has said more than `before`.
    fn says_more(&self, before: usize) {
        judge::until("it says more", || self.said(), |said| *said > before);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// Row 40: while the router lacks what decides, nothing is forwarded: what is forbidden never passes.
#[tokio::test]
async fn while_the_routers_table_is_gone_nothing_passes() {
    let mut held = Held::new(2, 1).await;
    // From the first network to the second alone.
    let mut nodes = held.plan.nodes.clone().into_inner();
    let policy = nodes[0].policy.as_mut().expect("the router has one");
    let pairs: Vec<_> = policy.forward.iter().filter(|pair| pair.from.as_str() == "nebr0").cloned().collect();
    assert_eq!(pairs.len(), 1);
    policy.forward = netengine_proto::bounded::Bounded::new(pairs).expect("few");
    held.plan.nodes = netengine_proto::bounded::Bounded::new(nodes).expect("few");
    held.apply().await;

    let (here, there) = ("10.0.0.10", "10.1.0.10");
    let (allowed, forbidden) =
        (Inside::start(&held.host, there, COUNT, ""), Inside::start(&held.host, here, COUNT, ""));
    allowed.says_more(0);
    forbidden.says_more(0);
    let _senders = [(here, there), (there, here)].map(|(from, to)| Inside::start(&held.host, from, SEND, to));
    for script in ["nft flush ruleset", "nft delete table $(nft list tables inet | sed 's/^table //')"] {
        allowed.says_more(allowed.said());
        // The flow that is known stays known to the kernel, so it is the harder case.
        in_namespace_of(&held.host, "10.0.0.1", script);
        held.told_drift(|drift| has(drift, "gw", ObjectKind::Table, "policy")).await;
        // Not put right yet: what comes now was let through by nobody.
        let before = allowed.said();
        in_namespace_of(&held.host, "10.0.0.1", "ip -statistics link show nebr0 > /dev/null; sleep 0.1");
        assert!(
            allowed.said() <= before + 1,
            "{script}: {} packets passed a router without a table",
            allowed.said() - before
        );
        held.apply().await;
        held.told_drift(<[Change]>::is_empty).await;
        allowed.says_more(allowed.said());
    }
    // It says once that it listens. A packet that is between the router's hooks in the very instant in which the kernel takes
    // the table's hooks away passes those that are gone: one on each CPU at most, where hundreds would pass an open router.
    let cpus = std::thread::available_parallelism().expect("known").get();
    assert!(forbidden.said() <= 1 + 2 * cpus, "{} forbidden packets passed", forbidden.said() - 1);
}

/// What `netengine drift` reports of a world.
fn report(host: &Host, world: &str) -> serde_json::Value {
    let output = host.cli(ALICE, &["drift", world, "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn state(host: &Host, world: &str) -> String {
    let output = host.cli(ALICE, &["status", world, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    status["state"].as_str().expect("text").to_owned()
}

fn kinds(host: &Host, world: &str) -> Vec<String> {
    let output = host.cli(ALICE, &["events", world, "--json"]);
    let events: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    events.iter().map(|event| event["kind"].as_str().expect("text").to_owned()).collect()
}

/// Whether a record's differences name this object.
fn names(record: &serde_json::Value, kind: &str, object: &str) -> bool {
    let changes = record["changes"].as_array().expect("an array");
    changes.iter().any(|change| change["kind"] == kind && change["object"].as_str().expect("text").contains(object))
}

#[test]
fn what_others_break_in_a_world_is_put_right_and_recorded() {
    let host = Host::new();
    judge::run(&host, ALICE, &["up", &format!("{}/minimal.yaml", netengine_tests::EXAMPLES)]).ok();
    assert_eq!(report(&host, "minimal")["history"], serde_json::json!([]));
    let scripts = [
        ("nft flush ruleset", "table", "gw policy"),
        ("ip link delete nep0", "link", "nep0"),
        ("ip address delete 10.0.0.1/24 dev $(ip -o address show to 10.0.0.1 | cut -d' ' -f2)", "address", "10.0.0.1"),
    ];
    let settled = |count: usize| {
        judge::until(
            "it is put right",
            || (report(&host, "minimal"), state(&host, "minimal")),
            |(report, state)| {
                let history = report["history"].as_array().expect("an array");
                let healed = history.iter().all(|record| !record["healed_at"].is_null());
                history.len() >= count && healed && report["now"] == serde_json::json!([]) && state == "ready"
            },
        )
        .0
    };
    for (count, (script, kind, object)) in (1..).zip(scripts) {
        in_namespace_of(&host, "10.0.0.1", script);
        let report = settled(count);
        let newest = &report["history"][0];
        assert!(names(newest, kind, object), "{script}: {report:#}");
        assert!(newest["tries"].as_u64() >= Some(1) && newest["noticed_by"] == "kernel", "{report:#}");
        println!("{script}: right after {} ms", newest["millis"]);
    }
    // A process of the router.
    let gateway = host.shell(netengine_tests::ROOT, "pgrep --full -- '--role [g]ateway'");
    host.shell(netengine_tests::ROOT, &format!("kill -9 {}", gateway.trim()));
    let report = settled(scripts.len() + 1);
    assert!(names(&report["history"][0], "process", "gw gateway"), "{report:#}");
    let kinds = kinds(&host, "minimal");
    for kind in ["network.drifted", "network.restored", "process.ended"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind} in {kinds:?}");
    }
    let shown = host.cli(ALICE, &["drift", "minimal"]);
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("gw policy: missing"));
}

#[test]
fn a_world_that_is_not_to_be_healed_is_only_told_of() {
    let host = Host::new();
    let spec = format!("{}/minimal.yaml", netengine_tests::EXAMPLES);
    judge::run(&host, ALICE, &["up", &spec, "--no-heal"]).ok();
    in_namespace_of(&host, "10.0.0.1", "nft flush ruleset");
    judge::until("it is degraded", || state(&host, "minimal"), |state| state == "degraded");
    let told = report(&host, "minimal");
    assert_eq!((told["heals"].as_bool(), &told["history"][0]["healed_at"]), (Some(false), &serde_json::Value::Null));
    assert!(told["now"].as_array().is_some_and(|now| !now.is_empty()), "{told:#}");
    assert_eq!(host.cli(ALICE, &["drift", "minimal"]).status.code(), Some(1));
    // A daemon that starts anew leaves it as well.
    host.restart("netengine-userd", nix::sys::signal::Signal::SIGKILL);
    judge::until(
        "it looked again",
        || kinds(&host, "minimal"),
        |kinds| kinds.iter().any(|kind| kind == "network.drifted"),
    );
    assert_eq!(in_namespace_of(&host, "10.0.0.1", "nft list ruleset"), "");
    // The owner has it put right.
    judge::run(&host, ALICE, &["up", &spec]).ok();
    judge::until(
        "right",
        || report(&host, "minimal"),
        |report| {
            report["heals"] == true
                && report["now"] == serde_json::json!([])
                && !report["history"][0]["healed_at"].is_null()
        },
    );
    assert_eq!(state(&host, "minimal"), "ready");
}
