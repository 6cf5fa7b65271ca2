//! What a proof says of a world, other people's scanners find too; a host of an AND that floods, starves or forges harms itself alone; and
//! two worlds with the same subnets know nothing of each other.

mod judge;
mod world;

use judge::{in_namespace_of, inside, run, until};
use netengine_tests::{ALICE, BOB, EXAMPLES, Host};
use serde_json::Value;
use world::{Background, World};

/// dev-sandbox with an AND that is closed both ways.
const VAULT: [&str; 2] = [
    "domain_registry.address_space=[{cidr: 10.20.0.0/16, label: business-pool}, {cidr: 10.30.0.0/16, label: residential-pool}, {cidr: 10.40.0.0/26, label: airgapped-pool}]",
    "ands.instances=[{name: acme-hq, org: acme-corp, profile: business, dns_suffix: hq.acme.corp}, {name: bob-lan, org: bob-home, profile: residential, dns_suffix: lan.bob.home}, {name: vault, org: acme-corp, profile: airgapped}]",
];
/// Vantage hosts with networks of their own; the last address of each that is nobody's.
const ANDS: [(&str, &str); 3] = [("acme-hq", "10.20.0.254"), ("bob-lan", "10.30.0.254"), ("vault", "10.40.0.62")];
const PORT: u16 = 8080;

/// A TCP server in a vantage host that answers every client with this word.
fn server(host: &Host, person: netengine_tests::Person, target: &str, word: &str) -> Background {
    let program = format!(
        "import socket\ns=socket.create_server((\"\",{PORT}))\nwhile True:\n  c,_=s.accept()\n  c.sendall(b\"{word}\")\n  c.close()"
    );
    let server = Background::of(host, person, target, &format!("exec python3 -c '{program}'"));
    until(
        "the server listens",
        || inside(host, person, target, &format!("ss --no-header -ltn sport = :{PORT}")).out,
        |listed| listed.contains(&format!(":{PORT}")),
    );
    server
}

/// The word of the server at an address, as a vantage host gets it.
fn word(host: &Host, person: netengine_tests::Person, target: &str, to: &str) -> Option<String> {
    let client = format!(
        "python3 -c 'import socket; c=socket.create_connection((\"{to}\",{PORT}),2); print(c.recv(64).decode())' 2>/dev/null"
    );
    let ran = inside(host, person, target, &client);
    (ran.code == 0).then(|| ran.out.trim().to_owned())
}

/// The address of the vantage host `core`.
fn core(host: &Host, person: netengine_tests::Person) -> String {
    let status = run(host, person, &["status", "dev-sandbox", "--json"]).ok().json();
    let networks = status["networks"].as_array().expect("networks");
    let core = networks.iter().find(|network| network["name"] == "core").expect("the network");
    core["hosts"][0]["addresses"][0].as_str().expect("an address").to_owned()
}

fn reaches(proof: &Value, from: &str, to: &str, protocol: &str) -> bool {
    let flows = proof["flows"].as_array().expect("flows");
    let found = flows.iter().find(|flow| flow["from"] == from && flow["to"] == to && flow["protocol"] == protocol);
    found.unwrap_or_else(|| panic!("no {protocol} from {from} to {to}"))["reaches"] == true
}

#[test]
fn scanners_find_what_the_proof_says() {
    let world = World::up("dev-sandbox", &VAULT);
    let proof = run(&world.host, ALICE, &["prove", &world.name, "--json"]).ok().json();
    assert_eq!(proof["passed"], true, "{proof:#}");
    let core = core(&world.host, ALICE);
    let hosts: Vec<(&str, &str)> = [("core", core.as_str())].into_iter().chain(ANDS).collect();
    let _servers: Vec<_> =
        hosts.iter().map(|(name, _)| server(&world.host, ALICE, &format!("{}/{name}", world.name), name)).collect();
    let (mut open, mut closed) = (0, 0);
    for (from, source) in hosts.clone() {
        let others: Vec<&str> = hosts.iter().filter(|(name, _)| *name != from).map(|(_, address)| *address).collect();
        let scan = in_namespace_of(
            &world.host,
            source,
            &format!("nmap -n -Pn -sS -p {PORT} --max-retries 1 --host-timeout 20s -oG - {}", others.join(" ")),
        );
        let pinged = in_namespace_of(
            &world.host,
            source,
            &format!(
                "for to in {}; do hping3 --icmp -c 1 $to >/dev/null 2>&1 && echo answered $to; done; true",
                others.join(" ")
            ),
        );
        for (to, address) in hosts.iter().filter(|(name, _)| *name != from) {
            let state = if reaches(&proof, from, to, "tcp") { "open" } else { "filtered" };
            let line = scan.lines().find(|line| line.contains(&format!("Host: {address} ")) && line.contains("Ports:"));
            assert!(
                line.is_some_and(|line| line.contains(&format!("{PORT}/{state}/tcp"))),
                "{from} to {to}: {state}: {scan}"
            );
            let answered = pinged.lines().any(|line| line == format!("answered {address}"));
            assert_eq!(answered, reaches(&proof, from, to, "icmp"), "{from} pings {to}: {pinged}");
            *(if state == "open" { &mut open } else { &mut closed }) += 1;
        }
    }
    assert!(open >= 4 && closed >= 6, "both kinds were met: {open} open, {closed} filtered");
}

#[test]
fn a_router_is_all_that_a_link_shows() {
    let world = World::up("dev-sandbox", &VAULT);
    let link = "link=$(ip -oneline -4 address show scope global | awk '{print $2; exit}')";
    let asked = |to: &str| {
        in_namespace_of(&world.host, "10.20.0.254", &format!("{link}; arping -c 2 -w 3 -i $link {to} 2>&1 || true"))
    };
    assert!(asked("10.20.0.1").contains("bytes from"), "{}", asked("10.20.0.1"));
    for other in ["10.20.0.9", "10.30.0.1", "10.30.0.254", "10.0.0.1"] {
        assert!(!asked(other).contains("bytes from"), "{other}: {}", asked(other));
    }
    // What the router offers its hosts, and nothing beside it.
    let scan = in_namespace_of(
        &world.host,
        "10.20.0.254",
        "nmap -n -Pn -sS -p 1-1000,8080 --max-retries 1 --min-rate 500 -oG - 10.20.0.1",
    );
    let open: Vec<_> =
        scan.split("Ports: ").nth(1).unwrap_or_default().split(", ").filter(|p| p.contains("/open/")).collect();
    let ports: Vec<_> = open.iter().filter_map(|port| port.split('/').next()).collect();
    assert_eq!(ports, ["53", "443", "853"].iter().copied().filter(|p| ports.contains(p)).collect::<Vec<_>>(), "{scan}");
    assert!(ports.contains(&"53"), "{scan}");
}

#[test]
fn who_floods_starves_and_forges_harms_nobody_else() {
    let world = World::up("dev-sandbox", &VAULT);
    let flood = r#"
import os, random, socket, struct, subprocess
link = subprocess.check_output("ip -oneline -4 address show scope global | awk '{print $2; exit}'", shell=True, text=True).strip()
own = bytes.fromhex(open(f"/sys/class/net/{link}/address").read().strip().replace(":", "")) if os.path.exists(f"/sys/class/net/{link}") else None
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((link, 0))
own = own or s.getsockname()[4]
def checksum(data):
    if len(data) % 2: data += b"\0"
    total = sum(struct.unpack(f"!{len(data)//2}H", data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def udp(src, dst, sport, dport, payload):
    head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst))
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + head + payload
def bootp(op, chaddr, kind, more=b""):
    return struct.pack("!BBBBIHH4s4s4s4s16s192s4s", op, 1, 6, 0, random.getrandbits(32), 0, 0x8000, b"\0"*4, socket.inet_aton("10.20.0.66") if op == 2 else b"\0"*4,
        b"\0"*4, b"\0"*4, chaddr + b"\0"*10, b"\0"*192, b"\x63\x82\x53\x63") + bytes([53, 1, kind]) + more + b"\xff"
everyone = b"\xff" * 6
sent = 0
for n in range(3000):
    other = bytes([2]) + random.randbytes(5)
    for mac, hardware in ((own, other), (other, other)):
        s.send(everyone + mac + b"\x08\x00" + udp("0.0.0.0", "255.255.255.255", 68, 67, bootp(1, hardware, 1)))
    s.send(everyone + own + b"\x08\x00" + udp("10.20.0.1", "255.255.255.255", 67, 68, bootp(2, other, 2)))
    s.send(everyone + own + b"\x08\x06" + struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, own, socket.inet_aton("10.20.0.1"), everyone, socket.inet_aton("10.20.0.1")))
    s.send(everyone + other + b"\x08\x06" + struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, other, random.randbytes(4), b"\0"*6, socket.inet_aton("10.20.0.1")))
    ra = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    s.send(bytes.fromhex("333300000001") + own + b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(ra), 58, 255) + bytes.fromhex("fe80000000000000" + "00000000000000aa" + "ff020000000000000000000000000001") + ra)
    sent += 6
print(sent)
"#;
    let script = format!("cat >/tmp/flood.py <<'EOF'\n{flood}\nEOF\npython3 /tmp/flood.py; rm /tmp/flood.py");
    let said = in_namespace_of(&world.host, "10.20.0.254", &script);
    assert_eq!(said.trim(), "18000", "all frames were sent");
    let core = core(&world.host, ALICE);
    // Connections without number, each with a port of its own.
    let opened = in_namespace_of(
        &world.host,
        "10.20.0.254",
        &format!("timeout 20 hping3 -S -p ++1 -i u50 -c 60000 -q {core} 2>&1 | tail -3 || true"),
    );
    assert!(opened.contains("packets transmitted"), "{opened}");
    // The others: a lease, a name, a flow.
    let lease = in_namespace_of(
        &world.host,
        "10.30.0.254",
        "link=$(ip -oneline -4 address show scope global | awk '{print $2; exit}'); udhcpc -i $link -f -q -n -t 5 -T 2 -s /bin/true 2>&1",
    );
    assert!(lease.contains("10.30.0.254"), "{lease}");
    let _server = server(&world.host, ALICE, &format!("{}/core", world.name), "core");
    assert_eq!(word(&world.host, ALICE, &format!("{}/bob-lan", world.name), &core).as_deref(), Some("core"));
    assert_eq!(world.says_at("bob-lan", "dig +tries=1 +time=5 +short ca.platform.internal"), "10.0.0.6\n");
    // And the host itself still has its lease.
    let lease = in_namespace_of(
        &world.host,
        "10.20.0.254",
        "link=$(ip -oneline -4 address show scope global | awk '{print $2; exit}'); udhcpc -i $link -f -q -n -t 5 -T 2 -s /bin/true 2>&1",
    );
    assert!(lease.contains("10.20.0.254"), "{lease}");
    run(&world.host, ALICE, &["diagnose", &world.name]).ok();
}

#[test]
fn two_worlds_with_the_same_subnets_know_nothing_of_each_other() {
    let host = Host::new();
    let before = host.snapshot().without(&["processes", "files", "namespaces", "held namespaces"]);
    let spec = format!("{EXAMPLES}/dev-sandbox.yaml");
    for person in [ALICE, BOB] {
        run(&host, person, &["up", &spec, "--set", VAULT[0], "--set", VAULT[1]]).ok();
    }
    let after = host.snapshot().without(&["processes", "files", "namespaces", "held namespaces"]);
    assert_eq!(before.difference(&after), Vec::<String>::new(), "the host is what it was");
    let servers =
        [(ALICE, "alice"), (BOB, "bob")].map(|(person, word)| server(&host, person, "dev-sandbox/acme-hq", word));
    for (person, own) in [(ALICE, "alice"), (BOB, "bob")] {
        for from in ["core", "bob-lan"] {
            let target = format!("dev-sandbox/{from}");
            assert_eq!(word(&host, person, &target, "10.20.0.254").as_deref(), Some(own), "{own} from {from}");
        }
        let proof = run(&host, person, &["prove", "dev-sandbox", "--json"]).ok().json();
        assert_eq!(proof["passed"], true, "{proof:#}");
    }
    drop(servers);
    run(&host, BOB, &["down", "--yes", "dev-sandbox"]).ok();
    let _server = server(&host, ALICE, "dev-sandbox/core", "alice");
    assert_eq!(
        word(&host, ALICE, "dev-sandbox/bob-lan", &core(&host, ALICE)).as_deref(),
        Some("alice"),
        "one goes, the other stays"
    );
    let after = host.snapshot().without(&["processes", "files", "namespaces", "held namespaces"]);
    assert_eq!(before.difference(&after), Vec::<String>::new(), "the host is what it was");
}
