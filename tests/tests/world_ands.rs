//! ANDs of a world, as clients in their vantage hosts see them: their networks, names, and what they may do.

mod judge;
mod world;

use judge::{GATEWAY, in_namespace_of, inside, run, spec, until, worldds};
use netengine_tests::{ALICE, EXAMPLES, Host};
use serde_json::Value;
use world::{Background, World};

const DIG: &str = "dig +tries=1 +time=5 +short";
/// dev-sandbox with an AND that is closed both ways.
const VAULT: [&str; 2] = [
    "domain_registry.address_space=[{cidr: 10.20.0.0/16, label: business-pool}, {cidr: 10.30.0.0/16, label: residential-pool}, {cidr: 10.40.0.0/26, label: airgapped-pool}]",
    "ands.instances=[{name: acme-hq, org: acme-corp, profile: business, dns_suffix: hq.acme.corp}, {name: bob-lan, org: bob-home, profile: residential, dns_suffix: lan.bob.home}, {name: vault, org: acme-corp, profile: airgapped}]",
];
/// The same with the company behind NAT.
const MOVED: [&str; 2] = [
    VAULT[0],
    "ands.instances=[{name: acme-hq, org: acme-corp, profile: residential, dns_suffix: hq.acme.corp}, {name: bob-lan, org: bob-home, profile: residential, dns_suffix: lan.bob.home}, {name: vault, org: acme-corp, profile: airgapped}]",
];

/// The subnet and the address of the vantage host of each AND and network, by name.
fn networks(host: &Host, world: &str) -> Vec<(String, String, String)> {
    let status = run(host, ALICE, &["status", world, "--json"]).ok().json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let networks = status["networks"].as_array().expect("networks");
    networks
        .iter()
        .map(|one| (text(&one["name"]), text(&one["subnet"]), text(&one["hosts"][0]["addresses"][0])))
        .collect()
}

fn network(host: &Host, world: &str, name: &str) -> (String, String) {
    let found = networks(host, world).into_iter().find(|(known, ..)| known == name);
    found.map(|(_, subnet, address)| (subnet, address)).unwrap_or_else(|| panic!("no network {name}"))
}

/// A TCP server in a vantage host that answers each client with the address it sees it at, or with its own word.
fn server(world: &World, vantage: &str, port: u16) -> Background {
    let script = format!("exec python3 -c '{SERVER}' {port}");
    let target = format!("{}/{vantage}", world.name);
    let server = world.background_at(vantage, &script);
    until(
        "the server listens",
        || inside(&world.host, ALICE, &target, &format!("ss --no-header -ltn sport = :{port}")).out,
        |listed| listed.contains(&format!(":{port}")),
    );
    server
}

const SERVER: &str = "import socket,sys\ns=socket.create_server((\"\",int(sys.argv[1])))\nwhile True:\n  c,a=s.accept()\n  c.sendall(a[0].encode())\n  c.close()";

/// What a client in a vantage host gets from a server: the address it is seen at; nothing when it does not get through.
fn reach(world: &World, from: &str, to: &str, port: u16) -> Option<String> {
    let client = format!(
        "python3 -c 'import socket; c=socket.create_connection((\"{to}\",{port}),1); print(c.recv(64).decode())' 2>/dev/null"
    );
    let ran = inside(&world.host, ALICE, &format!("{}/{from}", world.name), &client);
    (ran.code == 0).then(|| ran.out.trim().to_owned())
}

/// Whether a host, by its address, gets an answer to its ping; as root, for users have no ICMP sockets.
fn pings(world: &World, from: &str, to: &str) -> bool {
    let said = in_namespace_of(&world.host, from, &format!("nping --icmp -c 1 {to}"));
    assert!(said.contains("Raw packets sent: 1 "), "{said}");
    said.contains("Rcvd: 1 ")
}

/// Packets that were dropped on their way into or out of domains, by the counters of the router's own rules.
fn refused(host: &Host) -> u64 {
    let listed =
        in_namespace_of(host, "10.0.0.1", "nft list tables inet | sed 's/^table //' | xargs -n2 nft list table");
    let mut is_domain = false;
    let mut packets = 0;
    for line in listed.lines().map(str::trim) {
        if let Some(chain) = line.strip_prefix("chain ") {
            is_domain = chain.starts_with("in_") || chain.starts_with("out_");
        } else if let Some(counted) = line.strip_prefix("counter packets ").filter(|_| is_domain) {
            packets += counted.split(' ').next().and_then(|number| number.parse::<u64>().ok()).expect("a number");
        }
    }
    packets
}

#[test]
fn each_profile_lets_through_what_it_says_and_nothing_else() {
    let world = World::up("dev-sandbox", &VAULT);
    let address = |name: &str| network(&world.host, &world.name, name).1;
    let (hq, lan, vault, core) = (address("acme-hq"), address("bob-lan"), address("vault"), address("core"));
    assert_eq!((hq.as_str(), lan.as_str(), vault.as_str()), ("10.20.0.254", "10.30.0.254", "10.40.0.62"));
    let _servers: Vec<_> =
        ["acme-hq", "bob-lan", "vault", "core"].iter().map(|vantage| server(&world, vantage, 8080)).collect();
    // Each server is there: its own host reaches it.
    for (vantage, own) in [("acme-hq", &hq), ("bob-lan", &lan), ("vault", &vault), ("core", &core)] {
        assert_eq!(reach(&world, vantage, own, 8080).as_deref(), Some(own.as_str()), "{vantage}");
    }
    assert_eq!(reach(&world, "core", &hq, 8080), Some(core.clone()), "business is reached from core");
    assert_eq!(reach(&world, "acme-hq", &core, 8080), Some(hq.clone()), "and reaches it under its own address");
    let seen = reach(&world, "bob-lan", &core, 8080).expect("residential reaches core");
    assert_eq!(seen, "10.0.0.1", "with the router's address");
    assert!(reach(&world, "bob-lan", &hq, 8080).is_some(), "residential reaches what the business lets in");
    let refused = || refused(&world.host);
    for from in ["core", "acme-hq", "vault"] {
        let before = refused();
        assert_eq!(reach(&world, from, &lan, 8080), None, "{from} opens a flow to residential");
        assert!(refused() > before, "what is unsolicited is counted");
        assert!(!pings(&world, &address(from), &lan), "{from} pings residential");
    }
    for (name, other) in [("core", &core), ("acme-hq", &hq), ("bob-lan", &lan)] {
        assert_eq!(reach(&world, name, &vault, 8080), None, "{name} reaches the airgapped");
        assert_eq!(reach(&world, "vault", other, 8080), None, "the airgapped reaches {name}");
        assert!(!pings(&world, other, &vault) && !pings(&world, &vault, other), "{name} and the airgapped");
    }
    // Its router is all that the airgapped one has.
    assert!(pings(&world, &vault, "10.40.0.1"));
    assert!(pings(&world, &core, &hq) && pings(&world, &lan, &core), "what is let through is answered");
    assert_eq!(world.says_at("vault", &format!("{DIG} ca.platform.internal")), "10.0.0.6\n");
}

#[test]
fn hosts_of_ands_have_names_that_lead_to_them_and_back() {
    let world = World::up("dev-sandbox", &["pki.dnssec_enabled=true"]);
    for from in ["core", "acme-hq", "bob-lan"] {
        let ask = |question: &str| world.says_at(from, &format!("{DIG} {question}"));
        assert_eq!(ask("acme-hq.hq.acme.corp"), "10.20.0.254\n", "from {from}");
        assert_eq!(ask("gateway.lan.bob.home"), "10.30.0.1\n", "from {from}");
        assert_eq!(ask("-x 10.20.0.254"), "acme-hq.hq.acme.corp.\n", "from {from}");
        assert_eq!(ask("-x 10.30.0.254"), "", "residential has no reverse zone");
        assert_eq!(ask("hq.acme.corp NS"), "ns.corp.\n", "from {from}");
    }
    let validated = world.says_at("core", "dig +tries=1 +time=5 +dnssec acme-hq.hq.acme.corp");
    assert!(validated.lines().any(|line| line.starts_with(";; flags:") && line.contains(" ad")), "{validated}");
}

#[test]
fn an_and_has_its_network_again_after_down_and_up_and_another_never_gets_it() {
    let World { host, name } = World::up("dev-sandbox", &[]);
    let before = [network(&host, &name, "acme-hq").0, network(&host, &name, "bob-lan").0];
    run(&host, ALICE, &["down", &name]).ok();
    // A further AND, before the others in the spec: it takes nothing of theirs.
    let further = "ands.instances=[{name: new, org: acme-corp, profile: business}, {name: acme-hq, org: acme-corp, \
                   profile: business}, {name: bob-lan, org: bob-home, profile: residential}]";
    let example = format!("{EXAMPLES}/dev-sandbox.yaml");
    run(&host, ALICE, &["up", &example, "--set", further]).ok();
    assert_eq!([network(&host, &name, "acme-hq").0, network(&host, &name, "bob-lan").0], before);
    assert_eq!(network(&host, &name, "new").0, "10.20.1.0/24");
    // One that goes and comes back, while the world is up.
    run(&host, ALICE, &["up", &example, "--set", "ands.instances=[{name: new, org: acme-corp, profile: business}]"])
        .ok();
    assert!(networks(&host, &name).iter().all(|(known, ..)| known != "acme-hq"));
    run(&host, ALICE, &["up", &example]).ok();
    assert_eq!([network(&host, &name, "acme-hq").0, network(&host, &name, "bob-lan").0], before);
    let again = run(&host, ALICE, &["up", &example, "--json"]).ok().json();
    assert_eq!(again["changes"], 0, "{again}");
}

#[test]
fn a_profile_that_changes_is_live_and_keeps_what_is_open() {
    let world = World::up("dev-sandbox", &VAULT);
    let (subnet, hq) = network(&world.host, &world.name, "acme-hq");
    let _server = server(&world, "acme-hq", 8080);
    assert!(reach(&world, "core", &hq, 8080).is_some());
    let worldd = worldds(&world.host);
    let example = format!("{EXAMPLES}/dev-sandbox.yaml");
    run(&world.host, ALICE, &["up", &example, "--set", MOVED[0], "--set", MOVED[1]]).ok();
    assert_eq!(network(&world.host, &world.name, "acme-hq"), (subnet, hq.clone()), "its lease stays");
    assert_eq!(reach(&world, "core", &hq, 8080), None, "nothing unsolicited is let in");
    // Two that let nothing in, side by side: what each may do, it does.
    let core = network(&world.host, &world.name, "core").1;
    let _core = server(&world, "core", 8081);
    for name in ["acme-hq", "bob-lan"] {
        assert_eq!(reach(&world, name, &core, 8081).as_deref(), Some("10.0.0.1"), "{name}");
    }
    assert_eq!(worldds(&world.host), worldd, "no process was started anew");
    run(&world.host, ALICE, &["up", &example, "--set", VAULT[0], "--set", VAULT[1]]).ok();
    assert!(reach(&world, "core", &hq, 8080).is_some());
}

#[test]
fn typed_rules_let_in_what_they_name_and_no_more() {
    let allow = "ands.allow=[{from: core, to: bob-lan, proto: tcp, ports: [8080]}]";
    let world = World::up("dev-sandbox", &[allow]);
    let lan = network(&world.host, &world.name, "bob-lan").1;
    let _servers = [server(&world, "bob-lan", 8080), server(&world, "bob-lan", 8081)];
    assert!(reach(&world, "core", &lan, 8080).is_some());
    assert_eq!(reach(&world, "core", &lan, 8081), None);
    assert_eq!(reach(&world, "acme-hq", &lan, 8080), None);
}

#[test]
fn a_pool_that_does_not_suffice_is_an_error_before_anything_is_made() {
    let host = Host::new();
    let path = spec(&host, "w", GATEWAY);
    let organisations = "world_registry.organizations=[{name: acme}]";
    let ands = "ands.instances=[{name: a, org: acme, profile: business}, {name: b, org: acme, profile: business}]";
    for (pools, wanted) in [
        ("[{cidr: 10.20.0.0/24, label: business}]", "no network is left for this AND"),
        ("[]", "no network is left for this AND"),
        ("[{cidr: 10.20.0.0/31, label: business}]", "is too small"),
        ("[{cidr: 10.20.0.0/16, label: business}, {cidr: 10.20.4.0/24, label: business}]", "overlaps"),
    ] {
        let pools = format!("domain_registry.address_space={pools}");
        let ran = run(&host, ALICE, &["up", &path, "--set", organisations, "--set", ands, "--set", &pools]).exits(2);
        assert!(ran.err.contains(wanted), "{ran:?}");
    }
    assert_eq!(run(&host, ALICE, &["list", "--json"]).ok().json(), Value::Array(Vec::new()));
    // Pools that serve two profiles: only the choice itself sees that they do not suffice.
    let shared = "domain_registry.address_space=[{cidr: 10.20.0.0/24, label: business, allocated_to: residential}]";
    let both = "ands.instances=[{name: a, org: acme, profile: business}, {name: b, org: acme, profile: residential}]";
    let ran = run(&host, ALICE, &["up", &path, "--set", organisations, "--set", both, "--set", shared]).exits(2);
    let [_, cause, help] = ran.three_lines();
    assert!(cause.contains("ands.instances[1] (b): the pools of the profile residential are used up"), "{ran:?}");
    assert!(help.contains("label: residential-pool"), "{help}");
    assert_eq!(run(&host, ALICE, &["list", "--json"]).ok().json(), Value::Array(Vec::new()));
}
