//! An internet behind a host, and what a host lets its worlds have of it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use netengine_tests::{Host, ROOT};

/// Inside a host: who may have an uplink.
pub const ALLOWED: &str = "/run/netengine-test/uplink.conf";
/// What stands there: alice may have uplinks, and ports from 20000 to 20999 may lead into her worlds.
pub const TERMS: &str = "allow user alice\ninbound 203.0.113.2 20000-20999\n";

/// An internet behind the host: 203.0.113.1 with a web server on ports 80 and 8080 and a name server that knows one name.
/// The host is 203.0.113.2 there, and serves something on every address of its own, which no world may reach.
pub const INTERNET: &str = r#"set -e
ip netns add internet
ip link add out0 type veth peer name out1 netns internet
ip link set out0 addrgenmode none
ip -n internet link set out1 addrgenmode none
ip address add 203.0.113.2/24 dev out0
ip address add 2001:db8:113::2/64 dev out0 nodad
# passt does without IPv6 where the link to outside has no such address.
ip address add fe80::2/64 dev out0 nodad
ip link set out0 up
ip -n internet address add 203.0.113.1/24 dev out1
ip -n internet address add 2001:db8:113::1/64 dev out1 nodad
ip -n internet link set out1 up
ip -n internet link set lo up
ip route add default via 203.0.113.1
ip route add default via 2001:db8:113::1
cd /run/netengine-test
mkdir outside own
echo outside >outside/index.html
echo own >own/index.html
serve() { setsid $1 python3 -m http.server --bind $2 --directory $3 $4 >/dev/null 2>&1 </dev/null & }
for port in 80 8080; do
    serve "ip netns exec internet" 203.0.113.1 outside $port
    serve "ip netns exec internet" 2001:db8:113::1 outside $port
done
serve "" :: own 80
cat >names.py <<'END'
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("203.0.113.1", 53))
while True:
    asked, peer = server.recvfrom(4096)
    end = asked.index(0, 12) + 5
    known = asked[12:end - 4] == b"\3www\7outside\4test\0" and asked[end - 4:end] == b"\0\1\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\1" if known else b""
    head = asked[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" + (b"\0\1" if known else b"\0\0") + b"\0\0\0\0"
    server.sendto(head + asked[12:end] + answer, peer)
END
setsid ip netns exec internet python3 names.py >/dev/null 2>&1 </dev/null &
for at in 203.0.113.1 203.0.113.1:8080 203.0.113.2 127.0.0.1 '[2001:db8:113::1]' '[2001:db8:113::2]'; do
    curl -sS --retry 60 --retry-delay 1 --retry-connrefused -o /dev/null "http://$at/"
done
dig +tries=20 +time=1 +short @203.0.113.1 www.outside.test | grep -q 203.0.113.1
"#;

/// Links, addresses, routes, rules, firewall and settings of a host, as tools of others tell them.
pub type Network = Vec<Vec<String>>;

pub fn network(host: &Host) -> Network {
    let seen = host.snapshot();
    ["links", "addresses", "routes", "rules", "firewall", "sysctls"].map(|name| seen.section(name).to_vec()).into()
}

/// A host with an internet, where alice may have uplinks.
pub fn host() -> (Host, Network) {
    let host = Host::bare();
    let units = host.copy_units(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd"));
    started(host, &units, &["netengine-spawn", "netengine-uplink", "netengine-rootd", "netengine-userd"])
}

/// The same without userd, which would take worlds that it does not know for left over.
pub fn without_userd() -> (Host, Network) {
    let host = Host::bare();
    let units = netengine_tests::attack::rootd_units(&host);
    started(host, &units, &["netengine-spawn", "netengine-uplink", "netengine-rootd"])
}

fn started(mut host: Host, units: &str, daemons: &[&str]) -> (Host, Network) {
    host.file("uplink.conf", TERMS);
    let start = format!("ExecStart=\nExecStart=/usr/lib/netengine/netengine-rootd --uplink-config {ALLOWED}\n");
    host.file("units/netengine-rootd.service.d/test.conf", &format!("[Service]\n{start}"));
    let options = "--role spawn --worldd /usr/lib/netengine/netengine-worldd";
    let start =
        format!("ExecStart=\nExecStart=/usr/lib/netengine/netengine-rootd {options} --uplink-config {ALLOWED}\n");
    host.file("units/netengine-spawn.service.d/test.conf", &format!("[Service]\n{start}"));
    host.shell(ROOT, INTERNET);
    let before = network(&host);
    host.start_daemons(units, daemons);
    (host, before)
}

/// Processes of uplinks: relays and forwarders, in any pid namespace of the host.
pub fn forwarders(host: &Host) -> Vec<nix::unistd::Pid> {
    let name = |pid: &nix::unistd::Pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let ours = |pid: &nix::unistd::Pid| name(pid).starts_with("passt") || name(pid) == "ne-uplink\n";
    host.processes().into_iter().map(|(pid, _)| pid).filter(ours).collect()
}
