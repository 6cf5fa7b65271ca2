//! `up`, `plan` and `down`: converging, repairing, changing, refusing, undoing.

mod judge;

use std::time::Instant;

use judge::{GATEWAY, Stream, in_namespace_of, inside, minimal, netengine, pids, run, sh, spec, until, up, worldds};
use netengine_tests::{ALICE, Host, ROOT, SCRATCH, Snapshot, signal};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn changes(done: &Value) -> u64 {
    done["changes"].as_u64().expect("a number")
}

fn plan(host: &Host, spec: &[&str], code: i32) -> Vec<String> {
    let mut args = vec!["plan", "--json"];
    args.extend(spec);
    let report = run(host, ALICE, &args).exits(code).json();
    let word = |change: &Value, key: &str| change[key].as_str().unwrap_or_default().to_owned();
    let changes = report["changes"].as_array().expect("changes").iter();
    changes.map(|c| format!("{} {} {}", word(c, "action"), word(c, "kind"), word(c, "object"))).collect()
}

/// What does not move by itself while a world stands.
fn still(host: &Host) -> Snapshot {
    host.snapshot().without(&["processes", "namespaces"])
}

#[test]
fn up_twice_changes_nothing_the_second_time() {
    let host = Host::new();
    assert!(changes(&up(&host, &minimal())) > 20);
    let (worldd, standing) = (pids(&host, "netengine-world"), still(&host));
    let gateway = in_namespace_of(
        &host,
        "10.0.0.1",
        "ip -oneline link; ip -oneline address; ip route; nft list ruleset | sed 's/packets.*//'",
    );
    for _ in 0..2 {
        assert_eq!(changes(&up(&host, &minimal())), 0);
    }
    assert_eq!(pids(&host, "netengine-world"), worldd, "worldd was left alone");
    assert_eq!(
        in_namespace_of(
            &host,
            "10.0.0.1",
            "ip -oneline link; ip -oneline address; ip route; nft list ruleset | sed 's/packets.*//'"
        ),
        gateway
    );
    standing.assert_unchanged(&still(&host));
    assert!(run(&host, ALICE, &["up", &minimal()]).ok().out.contains(": 0 changes, "));
}

#[test]
fn up_repairs_only_what_is_missing_and_says_so() {
    let host = Host::new();
    // Nobody else is to put right what is damaged here.
    let up = || run(&host, ALICE, &["up", &minimal(), "--no-heal", "--json"]).ok().json();
    up();
    let worldd = pids(&host, "netengine-world");
    // (where, damage, what the plan must name)
    for (address, damage, named) in [
        ("10.0.0.1", "ip link delete nep0", "link"),
        ("10.0.0.1", "nft flush ruleset", "table"),
        (
            "10.0.0.1",
            "nft flush chain $(nft list tables | head -1 | cut -d' ' -f2-) $(nft list chains | awk '/chain/ {print $2; exit}')",
            "table",
        ),
        ("10.0.0.1", "ip link delete nebr0", "bridge"),
        ("10.0.0.1", "ip link set nebr1 down", "nebr1"),
        ("10.0.0.1", "ip address delete 172.28.0.1/16 dev $(ip -o addr | awk '/172.28.0.1/ {print $2}')", "address"),
        ("10.0.0.1", "sysctl -qw net.ipv4.ip_forward=0", "sysctl"),
        ("10.0.0.254", "ip route flush default 2>/dev/null; ip route delete default", "route"),
        ("10.0.0.253", "ip route delete default", "route"),
        ("10.0.0.253", "ip link delete neth0", "link"),
        ("10.0.0.253", "ip address add 10.0.0.77/24 dev neth0", "address"),
    ] {
        let broken = in_namespace_of(&host, address, &format!("{damage}; true"));
        let planned = plan(&host, &[&minimal()], 5);
        assert!(planned.iter().any(|change| change.contains(named)), "{damage}: {named} in {planned:?} {broken}");
        let whole = changes(&up());
        assert_eq!(whole, planned.len() as u64, "{damage}: as planned, {planned:?}");
        assert!((1..=20).contains(&whole), "{damage}: only what is missing: {planned:?}");
        assert_eq!(plan(&host, &[&minimal()], 0), Vec::<String>::new(), "{damage}");
        assert_eq!(changes(&up()), 0, "{damage}");
        inside(&host, ALICE, "minimal/platform", "/usr/sbin/ntpdate -q 10.0.0.254").ok();
    }
    assert_eq!(pids(&host, "netengine-world"), worldd, "worldd was left alone");
}

#[test]
fn up_after_worldd_was_killed_makes_it_serve_again() {
    let host = Host::new();
    up(&host, &minimal());
    let first = worldds(&host);
    host.shell(ROOT, &format!("kill -9 {}", first[0]));
    // The daemon may be at work on it by itself already; the user need not know.
    up(&host, &minimal());
    let second = worldds(&host);
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    inside(&host, ALICE, "minimal", "/usr/sbin/ntpdate -q 10.0.0.254").ok();
    assert_eq!(changes(&up(&host, &minimal())), 0);
}

#[test]
fn a_changed_spec_is_planned_and_applied() {
    let host = Host::new();
    let spec = minimal();
    up(&host, &spec);
    let counts = "substrate.networks.core.vantage_hosts=3";
    let networks = "substrate.networks.core.subnet=10.0.0.0/24";
    let platform = "substrate.networks.platform.subnet=172.28.0.0/16";
    let more = ["--set", networks, "--set", platform, "--set", counts];
    let args: Vec<&str> = [spec.as_str()].into_iter().chain(more).collect();
    let standing = still(&host);
    let planned = plan(&host, &args, 5);
    assert!(planned.iter().any(|c| c.starts_with("create namespace") && c.contains("core-3")), "{planned:?}");
    // The new hosts have names, so the services are told, and ports, which the policy guards; nothing else is touched.
    let is_told = |change: &String| {
        change.starts_with("change process ") && change.ends_with(" services") || change == "change table gw policy"
    };
    assert!(planned.iter().all(|c| c.starts_with("create") || is_told(c)), "{planned:?}");
    let mut dry = vec!["up", "--dry-run"];
    dry.extend(&args);
    assert!(run(&host, ALICE, &dry).ok().out.contains("core-3"));
    standing.assert_unchanged(&still(&host));
    let mut go = vec!["up", "--json"];
    go.extend(&args);
    assert_eq!(changes(&run(&host, ALICE, &go).ok().json()), planned.len() as u64);
    assert_eq!(plan(&host, &args, 0), Vec::<String>::new());
    for name in ["core", "core-2", "core-3", "platform"] {
        inside(&host, ALICE, &format!("minimal/{name}"), "/usr/sbin/ntpdate -q 10.0.0.254").ok();
    }
    // And down again.
    let planned = plan(&host, &[&spec], 5);
    assert!(
        planned.iter().all(|c| c.starts_with("delete") || is_told(c)) && planned.iter().any(|c| c.contains("core-2")),
        "{planned:?}"
    );
    assert!(changes(&up(&host, &spec)) > 0);
    assert_eq!(plan(&host, &[&spec], 0), Vec::<String>::new());
    run(&host, ALICE, &["exec", "minimal/core-2", "--", "true"]).exits(1).three_lines();
    standing.assert_unchanged(&still(&host));
    // A service's address moves: the new one is there, the old one is not.
    let mut moved = vec!["up", &spec, "--json", "--set", "dns.platform_zone.listen_ip=10.0.0.33"];
    assert!(changes(&run(&host, ALICE, &moved).ok().json()) > 0);
    inside(&host, ALICE, "minimal", "/usr/sbin/ntpdate -q 10.0.0.33").ok();
    inside(&host, ALICE, "minimal", &judge::ask_time("10.0.0.33")).ok();
    inside(&host, ALICE, "minimal", &judge::ask_time("10.0.0.3")).exits(1);
    // The time service off and on.
    moved.extend(["--set", "substrate.ntp.enabled=false"]);
    run(&host, ALICE, &moved).ok();
    let services = run(&host, ALICE, &["status", "minimal", "--json"]).ok().json()["services"].clone();
    let services = services.as_array().expect("services");
    assert!(services.len() > 10 && services.iter().all(|service| service["name"] != "ntp"), "{services:?}");
    inside(&host, ALICE, "minimal", &judge::ask_time("10.0.0.254")).exits(1);
    up(&host, &spec);
    inside(&host, ALICE, "minimal", "/usr/sbin/ntpdate -q 10.0.0.254").ok();
    standing.assert_unchanged(&still(&host));
}

#[test]
fn immutable_paths_are_refused_before_anything_is_touched() {
    let host = Host::new();
    up(&host, &minimal());
    let (standing, status) = (still(&host), run(&host, ALICE, &["status", "--json"]).ok().out);
    let core = "substrate.networks.core.subnet=10.0.0.0/24";
    let platform = "substrate.networks.platform.subnet=172.28.0.0/16";
    let shift = "substrate.networks.platform.subnet=172.29.0.0/16";
    let cases: &[(&[&str], &str)] = &[
        (&["metadata.lifecycle=persistent"], "metadata.lifecycle"),
        (&["substrate.gateway.core_ip=10.0.0.99"], "substrate.gateway.core_ip"),
        (&["substrate.gateway.platform_ip=172.28.0.9"], "substrate.gateway.platform_ip"),
        (&["dns.root.listen_ip=10.0.0.44"], "dns.root.listen_ip"),
        (&["pki.acme.listen_ip=10.0.0.45"], "pki.acme.listen_ip"),
        (
            &[core, shift, "substrate.gateway.platform_ip=172.29.0.1", "operator.api.listen_ip=172.29.0.11"],
            "substrate.networks.platform.subnet",
        ),
        (&[core, platform, "substrate.networks.extra.subnet=10.66.0.0/24"], "substrate.networks.extra.subnet"),
        (&["substrate.networks.core.subnet6=fd00:1::/64", core, platform], "substrate.networks.core.subnet6"),
    ];
    for (sets, path) in cases {
        for command in ["up", "plan"] {
            let (spec, mut args) = (minimal(), vec![command]);
            args.push(&spec);
            sets.iter().for_each(|set| args.extend(["--set", set]));
            let ran = run(&host, ALICE, &args).exits(3);
            let [_, cause, help] = ran.three_lines();
            assert!(format!("{}{cause}{help}", ran.err).contains(path), "{path} is named: {ran:?}");
        }
    }
    standing.assert_unchanged(&still(&host));
    let now = run(&host, ALICE, &["status", "--json"]).ok().out;
    assert_eq!(now, status, "no trace of the refused ones");
}

#[test]
fn two_worlds_with_the_same_subnets_do_not_see_each_other() {
    let host = Host::new();
    let specs = ["red", "blue"].map(|name| spec(&host, name, GATEWAY));
    let before = host.snapshot();
    specs.iter().for_each(|spec| drop(up(&host, spec)));
    assert_eq!(run(&host, ALICE, &["list", "--json"]).ok().json().as_array().map(Vec::len), Some(2));
    // An address that only red has is not reached from blue, although blue has its subnet.
    let host_of = |world: &str| {
        inside(&host, ALICE, world, "cat /sys/class/net/neth0/address; readlink /proc/self/ns/net").ok().out
    };
    assert_ne!(host_of("red"), host_of("blue"));
    let mut red = Stream::start(
        &host,
        ALICE,
        &[
            "exec",
            "red",
            "--",
            "python3",
            "-c",
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 5555)); print('ready', flush=True)\n\
         while True: d, a = s.recvfrom(99); s.sendto(d, a); print('got', d.decode(), flush=True)",
        ],
    );
    red.find("ready", |line| line == "ready");
    let ask = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3); s.sendto(sys.argv[1].encode(), ('10.0.0.253', 5555))\n\
         print(s.recv(99).decode())";
    run(&host, ALICE, &["exec", "blue/platform", "--", "python3", "-c", ask, "from-blue"]).exits(1);
    assert_eq!(
        run(&host, ALICE, &["exec", "red/platform", "--", "python3", "-c", ask, "from-red"]).ok().out,
        "from-red\n"
    );
    assert_eq!(red.find("got", |line| line.starts_with("got")), "got from-red", "nothing of blue's arrived");
    signal(&red.child, Signal::SIGTERM);
    red.child.wait().expect("waited");
    // Taking one away leaves the other as it was, and a new one begins from nothing.
    run(&host, ALICE, &["down", "red"]).ok();
    inside(&host, ALICE, "blue", "/usr/sbin/ntpdate -q 10.0.0.254").ok();
    let fresh = up(&host, &specs[0]);
    assert!(changes(&fresh) > 20, "a removed world leaves no state for its successor: {fresh}");
    run(&host, ALICE, &["down", "red"]).ok();
    run(&host, ALICE, &["down", "blue"]).ok();
    before.assert_unchanged(&host.snapshot());
}

#[test]
fn a_persistent_world_needs_its_name_to_be_removed() {
    let host = Host::new();
    let before = host.snapshot();
    let spec = minimal();
    run(&host, ALICE, &["up", &spec, "--set", "metadata.lifecycle=persistent"]).ok();
    let removal = run(&host, ALICE, &["down", "--dry-run", "--json"]).ok().json();
    assert_eq!(removal["needs_confirmation"], true);
    for args in [
        &["down", "minimal"][..],
        &["down", "minimal", "--yes"],
        &["down", "--yes"],
        &["down", "minimal", "--confirm", "other"],
        &["down", "minimal", "--confirm", ""],
    ] {
        let [_, _, help] = run(&host, ALICE, args).exits(3).three_lines();
        assert!(help.contains("--confirm minimal"), "{help}");
    }
    // Without the CLI's own check.
    let raw = sh(
        &host,
        ALICE,
        "curl -s -w '%{http_code}' -X DELETE --unix-socket /run/netengine/user.sock http://x/api/v1/worlds/minimal",
    )
    .ok();
    assert!(raw.out.ends_with("412"), "{raw:?}");
    assert_eq!(run(&host, ALICE, &["status", "--json"]).ok().json()["state"], "ready");
    run(&host, ALICE, &["down", "minimal", "--confirm", "minimal"]).ok();
    before.assert_unchanged(&host.snapshot());
}

#[test]
fn down_dry_run_lists_exactly_what_down_removes() {
    let host = Host::new();
    let before = host.snapshot();
    up(&host, &minimal());
    let standing = host.snapshot();
    let removal = run(&host, ALICE, &["down", "--dry-run", "--json"]).ok().json();
    host.snapshot().assert_unchanged(&standing);
    let listed: Vec<(String, String)> = removal["objects"]
        .as_array()
        .expect("objects")
        .iter()
        .map(|o| {
            (o["kind"].as_str().unwrap_or_default().to_owned(), o["object"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let of = |kind: &str| listed.iter().filter(|(k, _)| k == kind).map(|(_, o)| o.clone()).collect::<Vec<_>>();
    // Against the kernel, asked without the product.
    let namespaces = standing.section("held namespaces").len() - before.section("held namespaces").len();
    assert_eq!(of("namespace").len(), namespaces, "{:?}", of("namespace"));
    let gateway = in_namespace_of(&host, "10.0.0.1", "ip -br link show type bridge | awk '{print $1}'");
    assert_eq!(of("bridge").len(), gateway.lines().count(), "{gateway}");
    for (name, address) in [("gw", "10.0.0.1"), ("svc", "10.0.0.254"), ("host:core", "10.0.0.253")] {
        let links = in_namespace_of(&host, address, "ip -br link show type veth | sed 's/@.*//'");
        let links: Vec<String> = links.lines().map(|link| format!("{name} {link}")).collect();
        let mut told: Vec<String> = of("link").into_iter().filter(|o| o.starts_with(&format!("{name} "))).collect();
        told.sort();
        assert_eq!(told, links, "{listed:?}");
        let tables = in_namespace_of(&host, address, "nft list tables").lines().count();
        assert_eq!(
            of("table").iter().filter(|o| o.starts_with(&format!("{name} ")) || *o == name).count(),
            tables,
            "{name}: {listed:?}"
        );
        let addresses = in_namespace_of(&host, address, "ip -oneline address show scope global").lines().count();
        assert_eq!(
            of("address").iter().filter(|o| o.starts_with(&format!("{name} "))).count(),
            addresses,
            "{name}: {listed:?}"
        );
    }
    assert!(of("process").iter().any(|o| o.contains("worldd")), "{listed:?}");
    assert_eq!(of("directory").len(), 1, "{listed:?}");
    let down = run(&host, ALICE, &["down", "minimal"]).ok().out;
    assert!(down.starts_with(&format!("world minimal is gone: {} objects removed", listed.len())), "{down}");
    before.assert_unchanged(&host.snapshot());
    run(&host, ALICE, &["down", "minimal"]).exits(1).three_lines();
}

#[test]
fn ctrl_c_during_up_undoes() {
    let host = Host::new();
    let before = host.snapshot();
    // The net worker stands still, so the up cannot be done before the key is pressed.
    let workers = pids(&host, "ne-rootd-net");
    assert_eq!(workers.len(), 1);
    host.shell(ROOT, &format!("kill -STOP {}", workers[0]));
    let mut stream = Stream::start(&host, ALICE, &["up", &minimal()]);
    until("the up has begun", || run(&host, ALICE, &["list", "--json"]).ok().out, |list| list.contains("booting"));
    signal(&stream.child, Signal::SIGINT);
    host.shell(ROOT, &format!("kill -CONT {}", workers[0]));
    let end = stream.child.wait().expect("ends");
    let mut said = String::new();
    std::io::Read::read_to_string(stream.child.stderr.as_mut().expect("piped"), &mut said).expect("text");
    assert_eq!(end.code(), Some(1), "{said}");
    assert!(said.contains("cancel"), "{said}");
    before.assert_unchanged(&host.snapshot());
    let world = run(&host, ALICE, &["list", "--json"]).ok().json();
    assert!(world == json!([]) || world[0]["state"] == "failed", "{world}");
    // It comes up afterwards as if nothing had been.
    up(&host, &minimal());
    run(&host, ALICE, &["down", "minimal"]).ok();
    before.assert_unchanged(&host.snapshot());
}

#[test]
fn a_timeout_ends_and_undoes() {
    let host = Host::new();
    let before = host.snapshot();
    let workers = pids(&host, "ne-rootd-net");
    host.shell(ROOT, &format!("kill -STOP {}; (sleep 2; kill -CONT {}) >/dev/null 2>&1 &", workers[0], workers[0]));
    let began = Instant::now();
    let ran = run(&host, ALICE, &["up", &minimal(), "--timeout", "1"]).exits(1);
    let [_, cause, help] = ran.three_lines();
    assert!(cause.contains("time") && help.contains("--timeout"), "{cause}; {help}");
    assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
    until("everything is undone", || before.difference(&host.snapshot()), Vec::is_empty);
}

#[test]
fn up_to_and_the_ways_of_setting_values_reach_the_daemon() {
    let host = Host::new();
    run(&host, ALICE, &["up", &minimal(), "--up-to", "0"]).ok();
    let status = run(&host, ALICE, &["status", "--json"]).ok().json();
    assert_eq!(status["phases"][0]["state"], "done");
    for phase in &status["phases"].as_array().expect("phases")[1..] {
        assert!(phase["detail"].as_str().is_some_and(|detail| detail.contains("not asked for")), "{phase}");
    }
    run(&host, ALICE, &["up", &minimal(), "--up-to", "3"]).ok();
    let status = run(&host, ALICE, &["status", "--json"]).ok().json();
    assert!(!status["phases"][3]["detail"].as_str().is_some_and(|d| d.contains("not asked")), "{status}");
    assert!(status["phases"][4]["detail"].as_str().is_some_and(|d| d.contains("not asked")), "{status}");
    run(&host, ALICE, &["down", "--yes"]).ok();
    // ${env:}, an overlay, and --set over both.
    let base = host.file("site.yaml", &format!("metadata: {{name: '${{env:SITE}}', organization: base}}\nsubstrate:\n{GATEWAY}\ndns: {{}}\npki: {{}}\nidentity_platform: {{}}\nworld_registry: {{}}\ndomain_registry: {{}}\nidentity_inworld: {{}}\nands: {{}}\nworld_services: {{}}\norg_apps: {{}}\ngateway_portal: {{}}\noperator: {{}}\n"));
    host.file("site.lab.yaml", "metadata: {organization: overlay, environment: lab}\n");
    let unset = run(&host, ALICE, &["up", &base]).exits(2);
    assert!(unset.err.contains("SITE"), "{unset:?}");
    let command = format!("SITE=harbour {} up {base} --env lab --set metadata.organization=set", netengine());
    sh(&host, ALICE, &command).ok();
    let status = run(&host, ALICE, &["status", "harbour", "--json"]).ok().json();
    assert!(
        status["notes"].to_string().contains("organization: set")
            && status["notes"].to_string().contains("environment: lab"),
        "{status}"
    );
    let missing = run(&host, ALICE, &["up", &base, "--env", "nosuch"]).exits(2);
    assert!(missing.err.contains(&format!("{SCRATCH}/site.nosuch.yaml")), "{missing:?}");
}

#[test]
fn every_shipped_example_comes_up_and_goes() {
    let host = Host::new();
    let before = host.snapshot();
    for (file, name, args) in [
        ("single-org", "single-org", &[][..]),
        ("dev-sandbox", "dev-sandbox", &[]),
        ("spec.base", "acme", &["--env", "dev"]),
        ("spec.base", "acme", &["--env", "prod"]),
    ] {
        let path = format!("{}/{file}.yaml", netengine_tests::EXAMPLES);
        let mut command = vec!["up", &path];
        command.extend(args);
        run(&host, ALICE, &command).ok();
        inside(&host, ALICE, name, "/usr/sbin/ntpdate -q 10.0.0.254").ok();
        run(&host, ALICE, &["down", name, "--confirm", name]).ok();
    }
    before.assert_unchanged(&host.snapshot());
}
