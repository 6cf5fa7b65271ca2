//! Other people's tools say the same: real programs in namespaces made by iproute2, rules loaded by nft.

use std::process::Command;

use std::net::IpAddr;

use netengine_lab_proto::{Topology, Verdict};

use crate::case::{case, from, judged, simple, tcp, udp, worker};

/// Loads the ruleset in a namespace of its own, tries each (protocol, address, port) with Python's own sockets from another, and prints what
/// each got: a connection or an echo, a refusal, or nothing
/// within 2.5 s: an ICMPv6 error that comes while connect() still holds the socket is only acted on with the next SYN, a second later.
const SCRIPT: &str = r#"
import os, socket, subprocess, sys, time
sh = lambda *a, **k: subprocess.run(a, check=True, **k)
fw = os.getpid()
client = subprocess.Popen(["unshare", "-n", "sleep", "20"])
while os.readlink(f"/proc/{client.pid}/ns/net") == os.readlink("/proc/self/ns/net"): time.sleep(0.01)
sh("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(client.pid))
enter = ["nsenter", "-t", str(client.pid), "-n"]
for prefix, v4, v6 in [([], "10.0.0.2/24", "fd00::2/64"), (enter, "10.0.0.1/24", "fd00::1/64")]:
    sh(*prefix, "ip", "link", "set", "lo", "up"); sh(*prefix, "ip", "link", "set", "eth0", "up")
    sh(*prefix, "ip", "addr", "add", v4, "dev", "eth0"); sh(*prefix, "ip", "addr", "add", v6, "dev", "eth0", "nodad")
tries = [t.split(",") for t in sys.argv[2:]]
keep = []
for proto, port in sorted({(proto, port) for proto, addr, port in tries}):
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::", int(port)))
    if proto == "tcp": s.listen()
    keep.append((proto, s))
pid = os.fork()
if pid == 0:
    import select
    while True:
        for r in select.select([s for p, s in keep if p == "udp"] or [sys.stdin], [], [])[0]:
            try:
                data, who = r.recvfrom(100); r.sendto(data, who)
            except OSError: pass
sh("nft", "-f", "-", input=sys.argv[1].encode())
TRY = '''
import socket, sys
proto, addr, port = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
s.settimeout(2.5)
try:
    s.connect((addr, int(port)))
    if proto == "udp": s.send(b"x"); s.recv(10)
    print("accept")
except TimeoutError: print("drop")
except OSError as e: print("reject")
'''
runs = [subprocess.Popen([*enter, sys.executable, "-c", TRY, *t], stdout=subprocess.PIPE, text=True) for t in tries]
print(" ".join(r.communicate()[0].strip() for r in runs))
os.kill(pid, 9); client.kill()
"#;

fn real_programs(ruleset: &str, tries: &[(&str, &str, u16)]) -> Vec<Verdict> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "python3", "-c", SCRIPT, ruleset]);
    command.args(tries.iter().map(|(protocol, address, port)| format!("{protocol},{address},{port}")));
    let output = command.output().expect("unshare and python3 run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.split_whitespace()
        .map(|word| match word {
            "accept" => Verdict::Accept,
            "drop" => Verdict::Drop,
            "reject" => Verdict::Reject,
            other => panic!("{other}"),
        })
        .collect()
}

const RULESETS: [&str; 6] = [
    "table inet t {\n chain i {\n type filter hook input priority 0; policy accept;\n tcp dport 1001 drop\n tcp dport 1002 reject with tcp reset\n udp dport 1003 reject\n udp dport 1004 drop\n }\n}\n",
    "table ip t {\n chain i {\n type filter hook input priority 0; policy drop;\n tcp dport 1005 accept\n }\n}\n",
    "table ip r {\n chain p {\n type filter hook prerouting priority raw;\n tcp dport { 1001, 1005 } drop\n }\n}\ntable inet f {\n chain i {\n type filter hook input priority 0;\n tcp dport 1005 accept\n }\n}\n",
    "table inet t {\n set s {\n type inet_service; flags interval; elements = { 1002-1003 }\n }\n chain sub {\n th dport @s return\n drop\n }\n chain i {\n type filter hook input priority 0;\n meta l4proto { tcp, udp } jump sub\n }\n}\n",
    "table inet t {\n chain i {\n type filter hook input priority 0;\n tcp dport vmap { 1001 : drop, 1002 : accept, 1005 : goto away }\n }\n chain away {\n reject with icmpx admin-prohibited\n }\n}\n",
    "table inet t {\n chain a {\n type filter hook input priority 0;\n accept\n }\n chain b {\n type filter hook input priority 10;\n th dport 1004-1005 drop\n }\n}\n",
];

#[test]
fn real_programs_meet_the_verdicts_that_the_engine_tells() {
    let mut worker = worker();
    let ports = [("tcp", 1001), ("tcp", 1002), ("udp", 1003), ("udp", 1004), ("tcp", 1005)];
    for ruleset in RULESETS {
        let tries: Vec<_> =
            ["10.0.0.2", "fd00::2"].iter().flat_map(|to| ports.map(|(protocol, port)| (protocol, *to, port))).collect();
        let packets = tries.iter().map(|(protocol, to, port)| {
            let from = if to.contains(':') { "fd00::1" } else { "10.0.0.1" };
            if *protocol == "tcp" { tcp(from, to, *port) } else { udp(from, to, *port) }
        });
        let ours: Vec<_> =
            simple(&mut worker, ruleset, packets.collect()).iter().map(|outcome| outcome.verdict).collect();
        assert_eq!(ours, real_programs(ruleset, &tries), "{ruleset}");
    }
}

/// Three namespaces in a row, the middle one with the ruleset; a program on the server says whom it sees and at which of its ports.
const GATEWAY: &str = r#"
import os, socket, subprocess, sys, time
sh = lambda *a, **k: subprocess.run(a, check=True, **k)
ends = [subprocess.Popen(["unshare", "-n", "sleep", "20"]) for _ in range(2)]
for end in ends:
    while os.readlink(f"/proc/{end.pid}/ns/net") == os.readlink("/proc/self/ns/net"): time.sleep(0.01)
enter = [["nsenter", "-t", str(end.pid), "-n"] for end in ends]
for n, (ours, theirs) in enumerate([("10.0.1.2", "10.0.1.1"), ("10.0.2.1", "10.0.2.2")]):
    sh("ip", "link", "add", f"eth{n}", "type", "veth", "peer", "name", "eth0", "netns", str(ends[n].pid))
    sh("ip", "addr", "add", ours + "/24", "dev", f"eth{n}"); sh("ip", "link", "set", f"eth{n}", "up")
    sh(*enter[n], "ip", "addr", "add", theirs + "/24", "dev", "eth0"); sh(*enter[n], "ip", "link", "set", "eth0", "up")
    sh(*enter[n], "ip", "route", "add", "default", "via", ours)
open("/proc/sys/net/ipv4/ip_forward", "w").write("1")
sh("nft", "-f", "-", input=sys.argv[1].encode())
SERVE = """
import socket, sys, select
listeners = [socket.create_server(("0.0.0.0", int(port))) for port in sys.argv[1:]]
print("ready", flush=True)
while True:
    for listener in select.select(listeners, [], [])[0]:
        s, who = listener.accept()
        s.send(f"{who[0]},{s.getsockname()[0]},{s.getsockname()[1]}".encode()); s.close()
"""
server = subprocess.Popen([*enter[1], sys.executable, "-c", SERVE, "80", "81", "8080"], stdout=subprocess.PIPE, text=True)
server.stdout.readline()
TRY = """
import socket, sys
s = socket.socket(); s.settimeout(1.5)
try:
    s.connect((sys.argv[1], int(sys.argv[2]))); print(s.recv(100).decode())
except OSError: print("none")
"""
for t in sys.argv[2:]:
    print(subprocess.run([*enter[0], sys.executable, "-c", TRY, *t.split(",")], stdout=subprocess.PIPE, text=True).stdout.strip())
server.kill()
for end in ends: end.kill()
"#;

#[test]
fn a_real_server_sees_the_translated_addresses_that_the_engine_tells() {
    let ruleset = "table ip n {
 chain pre { type nat hook prerouting priority dstnat
 tcp dport 8080 dnat to 10.0.2.2:80
 }
 chain post { type nat hook postrouting priority srcnat
 oifname \"eth1\" masquerade
 }
}
table inet f {
 chain f { type filter hook forward priority 0
 policy drop
 ct state established,related accept
 ip daddr 10.0.2.2 tcp dport 80 accept
 iifname \"eth0\" oifname \"eth1\" tcp dport 8081 accept
 }
}
";
    let tries = [("10.0.1.2", 8080), ("10.0.2.2", 80), ("10.0.2.2", 81)];
    let packets = tries.map(|(to, port)| from("client", tcp("10.0.1.1", to, port)));
    let answer = judged(&mut worker(), &case(Topology::gateway(), ruleset, packets.into()));
    let ours: Vec<Option<(IpAddr, IpAddr, u16)>> = answer
        .packets
        .iter()
        .map(|outcome| outcome.delivered.as_ref().and_then(|to| Some((to.src?, to.dst?, to.dport?))))
        .collect();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "python3", "-c", GATEWAY, ruleset]);
    let output =
        command.args(tries.map(|(to, port)| format!("{to},{port}"))).output().expect("unshare and python3 run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<_> = text
        .lines()
        .map(|line| {
            let mut parts = line.split(',');
            let mut address = || parts.next()?.parse().ok();
            let (src, dst) = (address()?, address()?);
            Some((src, dst, parts.next()?.parse().ok()?))
        })
        .collect();
    assert_eq!(theirs.len(), tries.len(), "{text}");
    assert_eq!(ours, theirs);
    assert!(ours[0].is_some() && ours[2].is_none(), "both kinds were tried: {ours:?}");
}
