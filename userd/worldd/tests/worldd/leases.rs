//! DHCPv4 and router advertisements of a gateway, asked by dhclient, udhcpc, nmap, rdisc6 and the kernel itself.
//!
//! A namespace with a bridge is the router, one more for each host. Needs root, iproute2, isc-dhcp-client, udhcpc, nmap and
//! ndisc6.

use std::{
    fs::File,
    net::Ipv6Addr,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Instant,
};

use netengine_proto::{
    control::{AndHost, AndNetwork, ControlReply, ControlRequest, Desired, DhcpService, ServiceHealth},
    names::{AndName, OrgName},
    net::{IfName, Mac},
};
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
};
use tempfile::TempDir;

use crate::harness::{BINARY, Control, PATIENCE, WORLD, connect, run_dir};

/// The host of the plan.
const WEB: &str = "02:00:00:00:00:01";
/// Hosts outside the plan.
const GUEST: &str = "02:00:00:00:00:99";
const OTHER: &str = "02:00:00:00:00:9a";

/// A network namespace, as long as this lives.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut child = Command::new("unshare");
        child.args(["-n", "--", "sh", "-c", "ip link set lo up; echo up; exec sleep 1000"]);
        let mut child = child.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("unshare runs");
        let mut line = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut line).expect("it is up");
        Self(child)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.0.id().to_string(), "-n", program]);
        command
    }

    fn run(&self, line: &str) -> String {
        let Output { status, stdout, stderr } = self.command("sh").args(["-c", line]).output().expect("nsenter runs");
        assert!(status.success(), "{line}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it never was so: {what}");
        thread::yield_now();
    }
}

/// The raw socket, as rootd opens it in the router's namespace, but for its filter.
fn raw_icmpv6(namespace: &Namespace) -> OwnedFd {
    let entered = File::open(format!("/proc/{}/ns/net", namespace.0.id())).expect("the namespace");
    let opened = thread::spawn(move || {
        setns(entered, CloneFlags::CLONE_NEWNET).expect("setns");
        socket(AddressFamily::Inet6, SockType::Raw, SockFlag::empty(), SockProtocol::IcmpV6).expect("a raw socket")
    });
    opened.join().expect("no panic inside")
}

struct Router {
    namespace: Namespace,
    dir: TempDir,
    child: Child,
}

impl Router {
    fn new() -> Self {
        let namespace = Namespace::new();
        namespace.run("echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start");
        namespace.run(
            "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad",
        );
        let dir = run_dir();
        let child = Self::start(&namespace, dir.path());
        let router = Self { namespace, dir, child };
        router.link("neand1", "10.7.0.1/24", "fd00:7::1/64");
        router
    }

    fn start(namespace: &Namespace, dir: &Path) -> Child {
        let mut command = namespace.command("setpriv");
        command.args([
            "--reuid",
            "61234",
            "--regid",
            "61234",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ]);
        command.args([BINARY, "--role", "gateway", "--world", WORLD, "--peer-uid", "0", "--dir"]).arg(dir);
        command.stdin(Stdio::from(raw_icmpv6(namespace))).spawn().expect("starts")
    }

    /// Ends the program by force and starts its successor.
    fn restart(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.child = Self::start(&self.namespace, self.dir.path());
    }

    fn link(&self, name: &str, v4: &str, v6: &str) {
        self.namespace.run(&format!(
            "ip link add {name} type bridge && ip link set {name} up && ip addr add {v4} dev {name} && \
             ip addr add {v6} dev {name}"
        ));
    }

    fn ask(&mut self, request: &ControlRequest) -> Vec<ServiceHealth> {
        let stream = connect(&self.dir.path().join("gateway.sock"), &mut self.child);
        match Control(stream).ask(request) {
            ControlReply::Health(health) => health.services,
            other => panic!("{other:?}"),
        }
    }

    fn apply(&mut self, up_to: u8, ands: Vec<AndNetwork>) -> Vec<ServiceHealth> {
        let desired = Desired { world: "blue".to_owned(), up_to, ands, ..Desired::default() };
        self.ask(&ControlRequest::Apply(Box::new(desired)));
        self.health()
    }

    fn health(&mut self) -> Vec<ServiceHealth> {
        self.ask(&ControlRequest::Health)
    }

    /// A host on a link, with this address of its own.
    fn host(&self, link: &str, mac: &str) -> Namespace {
        let host = Namespace::new();
        host.run(
            "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo 1 > /proc/sys/net/ipv6/conf/default/accept_ra",
        );
        let (port, pid) = (format!("p{}", host.0.id()), host.0.id());
        self.namespace.run(&format!(
            "ip link add {port} type veth peer name eth0 address {mac} netns {pid} && ip link set {port} master {link} up"
        ));
        host.run("ip link set eth0 up");
        host
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mac(text: &str) -> Mac {
    let octets: Vec<_> = text.split(':').map(|part| u8::from_str_radix(part, 16).expect("hexadecimal")).collect();
    Mac::local(octets.try_into().expect("six"))
}

fn and() -> AndNetwork {
    AndNetwork {
        name: AndName::parse("shop").expect("a name"),
        org: OrgName::parse("acme").expect("a name"),
        profile: "business".to_owned(),
        link: IfName::parse("neand1").expect("a link"),
        subnet: "10.7.0.0/24".parse().expect("a network"),
        router: "10.7.0.1".parse().expect("an address"),
        v6: Some(("fd00:7::/64".parse().expect("a network"), "fd00:7::1".parse().expect("an address"))),
        suffix: Some("shop.internal".to_owned()),
        has_reverse: true,
        dhcp: Some(DhcpService {
            lease_s: 600,
            name_servers: vec!["10.0.0.2".parse().expect("an address"), "10.0.0.3".parse().expect("an address")],
            ntp_servers: vec!["10.0.0.4".parse().expect("an address")],
        }),
        hosts: vec![AndHost {
            name: "web1".to_owned(),
            mac: mac(WEB),
            addresses: vec!["10.7.0.10".parse().expect("an address"), "fd00:7::10".parse().expect("an address")],
        }],
    }
}

fn another() -> AndNetwork {
    AndNetwork {
        name: AndName::parse("office").expect("a name"),
        link: IfName::parse("neand2").expect("a link"),
        subnet: "10.8.0.0/24".parse().expect("a network"),
        router: "10.8.0.1".parse().expect("an address"),
        v6: Some(("fd00:8::/64".parse().expect("a network"), "fd00:8::1".parse().expect("an address"))),
        hosts: vec![],
        ..and()
    }
}

/// The script that a DHCP client runs, which only writes down what it is told; and where to.
fn script() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("script");
    let text = format!("#!/bin/sh\n{{ echo event=$1; env; }} >> {}\n", dir.path().join("told").display());
    std::fs::write(&path, text).expect("writes");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its mode");
    dir
}

/// What udhcpc was told in its one lease.
fn udhcpc(host: &Namespace, more: &[&str]) -> String {
    let dir = script();
    let mut command = host.command("udhcpc");
    command.args(["-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "2", "-O", "search", "-O", "ntpsrv", "-s"]);
    let output = command.arg(dir.path().join("script")).args(more).output().expect("udhcpc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(dir.path().join("told")).expect("it was told")
}

fn value<'a>(told: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}=");
    told.lines().rev().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_else(|| panic!("no {name} in {told}"))
}

#[test]
fn dhclient_and_udhcpc_get_their_planned_address_with_every_option() {
    let mut router = Router::new();
    let health = router.apply(7, vec![and()]);
    let told: Vec<_> = health.iter().map(|one| (one.name.as_str(), one.phase, one.port, one.serving)).collect();
    assert_eq!(told, [("dhcp", 7, 67, true), ("router-advertisement", 7, 0, true)], "{health:?}");
    let host = router.host("neand1", WEB);

    let told = udhcpc(&host, &[]);
    for (name, expected) in [
        ("ip", "10.7.0.10"),
        ("mask", "24"),
        ("router", "10.7.0.1"),
        ("dns", "10.0.0.2 10.0.0.3"),
        ("domain", "shop.internal"),
        ("search", "shop.internal"),
        ("ntpsrv", "10.0.0.4"),
        ("lease", "600"),
        ("serverid", "10.7.0.1"),
        ("broadcast", "10.7.0.255"),
    ] {
        assert_eq!(value(&told, name), expected, "{name}");
    }

    let dir = script();
    let config = "request subnet-mask, routers, domain-name-servers, host-name, domain-name, domain-search, \
                  broadcast-address, ntp-servers, dhcp-lease-time, dhcp-renewal-time, dhcp-rebinding-time;\n";
    std::fs::write(dir.path().join("conf"), config).expect("writes");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut command = host.command("dhclient");
    command.args(["-4", "-d", "-1", "--no-pid", "-sf", &path("script"), "-lf", &path("leases"), "-cf", &path("conf")]);
    let mut client = command.arg("eth0").stderr(Stdio::null()).stdin(Stdio::null()).spawn().expect("dhclient runs");
    let told = || std::fs::read_to_string(path("told")).unwrap_or_default();
    until("dhclient is bound", || told().contains("reason=BOUND") && told().contains("new_ip_address="));
    let told = told();
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    for (name, expected) in [
        ("new_ip_address", "10.7.0.10"),
        ("new_subnet_mask", "255.255.255.0"),
        ("new_routers", "10.7.0.1"),
        ("new_domain_name_servers", "10.0.0.2 10.0.0.3"),
        ("new_host_name", "web1"),
        ("new_domain_name", "shop.internal"),
        ("new_domain_search", "shop.internal."),
        ("new_ntp_servers", "10.0.0.4"),
        ("new_dhcp_lease_time", "600"),
        ("new_dhcp_renewal_time", "300"),
        ("new_dhcp_rebinding_time", "525"),
        ("new_dhcp_server_identifier", "10.7.0.1"),
    ] {
        assert_eq!(value(&told, name), expected, "{name}");
    }
    let detail = &router.health()[0].detail;
    assert!(detail.contains("4 answered") && detail.contains("1 hosts planned, 0 others"), "{detail}");
}

#[test]
fn hosts_outside_the_plan_get_the_rest_and_a_successor_gives_nobody_anothers() {
    let mut router = Router::new();
    router.apply(7, vec![and()]);
    let (guest, other) = (router.host("neand1", GUEST), router.host("neand1", OTHER));
    let first = value(&udhcpc(&guest, &[]), "ip").to_owned();
    assert!(first.starts_with("10.7.0.") && first != "10.7.0.10" && first != "10.7.0.1", "{first}");

    router.restart();
    let health = router.apply(7, vec![and()]);
    assert!(health[0].serving && health[0].detail.contains("1 others"), "{health:?}");
    // The other asks for the very address that the guest has.
    let second = value(&udhcpc(&other, &["-r", &first]), "ip").to_owned();
    assert_ne!(first, second);
    assert_eq!(value(&udhcpc(&guest, &[]), "ip"), first);

    // nmap looks at links with an address alone.
    guest.run(&format!("ip addr add {first}/24 dev eth0"));
    let nmap = guest.run("nmap --script broadcast-dhcp-discover -e eth0");
    assert!(nmap.contains("DHCP Message Type: DHCPOFFER"), "{nmap}");
    assert!(nmap.contains("Server Identifier: 10.7.0.1") && nmap.contains("Router: 10.7.0.1"), "{nmap}");
}

#[test]
fn the_kernel_and_rdisc6_learn_prefix_router_and_names() {
    let mut router = Router::new();
    router.apply(7, vec![and()]);
    let host = router.host("neand1", GUEST);
    until("the kernel has an address and a default route", || {
        let addresses = host.run("ip -6 -o addr show dev eth0 scope global");
        let routes = host.run("ip -6 route show default");
        addresses.contains("fd00:7::") && routes.contains("via fe80::") && routes.contains("proto ra")
    });
    let rdisc6 = host.run("rdisc6 -1 -r 3 -w 5000 eth0");
    for expected in [
        "Prefix                   : fd00:7::/64",
        "DNS search list          : shop.internal",
        "600 (0x00000258) seconds",
    ] {
        assert!(rdisc6.contains(expected), "{rdisc6}");
    }
    assert!(rdisc6.contains(" from fe80::"), "{rdisc6}");
    let health = router.health();
    assert!(!health[1].detail.contains(" 0 solicitations answered"), "{health:?}");

    // Taken back: the router is no default route any more once the program ends in order.
    router.ask_to_stop();
    until("the default route has gone", || !host.run("ip -6 route show default").contains("fe80::"));
}

impl Router {
    fn ask_to_stop(&mut self) {
        let stream = connect(&self.dir.path().join("gateway.sock"), &mut self.child);
        assert_eq!(Control(stream).ask(&ControlRequest::Stop), ControlReply::Stopping);
        assert!(crate::harness::wait(&mut self.child).success());
    }
}

#[test]
fn links_that_come_go_and_are_made_anew_are_followed() {
    let mut router = Router::new();
    // One that is not there yet is told, not hidden, and served as soon as it comes.
    let health = router.apply(7, vec![and(), another()]);
    let serving = |health: &[ServiceHealth]| -> Vec<_> {
        health.iter().map(|one| (one.name.clone(), one.address.to_string(), one.serving)).collect()
    };
    let both = |is: bool| {
        [
            ("dhcp", "10.7.0.1", true),
            ("dhcp", "10.8.0.1", is),
            ("router-advertisement", "fd00:7::1", true),
            ("router-advertisement", "fd00:8::1", is),
        ]
        .map(|(name, address, is)| (name.to_owned(), address.to_owned(), is))
        .to_vec()
    };
    assert_eq!(serving(&health), both(false), "{health:?}");
    router.link("neand2", "10.8.0.1/24", "fd00:8::1/64");
    until("both serve", || serving(&router.health()) == both(true));
    let host = router.host("neand2", GUEST);
    assert!(value(&udhcpc(&host, &[]), "ip").starts_with("10.8.0."));

    // Deleted and made anew under the same name: another link to the kernel.
    router.namespace.run("ip link del neand2");
    until("its end is seen", || serving(&router.health()) == both(false));
    router.link("neand2", "10.8.0.1/24", "fd00:8::1/64");
    let health = router.apply(7, vec![and(), another()]);
    assert_eq!(serving(&health), both(true), "{health:?}");
    let host = router.host("neand2", OTHER);
    assert!(value(&udhcpc(&host, &[]), "ip").starts_with("10.8.0."));
    assert!(host.run("rdisc6 -1 -r 3 -w 5000 eth0").contains("fd00:8::/64"));

    // Not desired, or of a later phase than wanted: nothing is served, and the bindings go.
    let kept = router.dir.path().join("dhcp-neand2.leases");
    assert!(kept.exists());
    assert_eq!(serving(&router.apply(7, vec![AndNetwork { dhcp: None, v6: None, ..and() }])), []);
    assert!(!kept.exists());
    assert_eq!(router.apply(6, vec![and()]), []);
    let asked =
        host.command("udhcpc").args(["-i", "eth0", "-f", "-q", "-n", "-t", "1", "-T", "1", "-s", "/bin/true"]).output();
    assert!(!asked.expect("udhcpc runs").status.success(), "nobody answers");
}

#[test]
fn without_the_raw_socket_leases_are_served_and_the_lack_is_told() {
    let mut router = Router::new();
    router.child.kill().expect("it runs");
    router.child.wait().expect("it ends");
    let mut command = router.namespace.command("setpriv");
    command.args(["--reuid", "61234", "--regid", "61234", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
    command.args([BINARY, "--role", "gateway", "--world", WORLD, "--peer-uid", "0", "--dir"]).arg(router.dir.path());
    router.child = command.stdin(Stdio::null()).spawn().expect("starts");
    let health = router.apply(7, vec![and()]);
    assert!(health[0].serving && !health[1].serving, "{health:?}");
    assert!(health[1].detail.contains("no raw ICMPv6 socket"), "{health:?}");
    let host = router.host("neand1", WEB);
    assert_eq!(value(&udhcpc(&host, &[]), "ip"), "10.7.0.10");
}

#[test]
fn a_flood_of_garbage_and_of_solicitations_stops_nothing() {
    let mut router = Router::new();
    router.apply(7, vec![and()]);
    let host = router.host("neand1", GUEST);
    until("the kernel has an address", || host.run("ip -6 -o addr show dev eth0 scope global").contains("fd00:7::"));
    let entered = File::open(format!("/proc/{}/ns/net", host.0.id())).expect("the namespace");
    let flood = thread::spawn(move || {
        setns(entered, CloneFlags::CLONE_NEWNET).expect("setns");
        let raw =
            socket(AddressFamily::Inet6, SockType::Raw, SockFlag::empty(), SockProtocol::IcmpV6).expect("a socket");
        let index = nix::net::if_::if_nametoindex("eth0").expect("a link");
        let all_routers = std::net::SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2), 0, 0, index);
        let to = nix::sys::socket::SockaddrIn6::from(all_routers);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&raw);
        let udp = std::net::UdpSocket::bind("0.0.0.0:0").expect("binds");
        for round in 0..20_000_usize {
            let mut bytes = vec![133, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend((0..round % 300).map(|at| (at * round) as u8));
            let _ = nix::sys::socket::sendto(fd, &bytes, &to, nix::sys::socket::MsgFlags::empty());
            let _ = udp.send_to(&bytes, "10.7.0.1:67");
        }
    });
    flood.join().expect("no panic inside");
    let web = router.host("neand1", WEB);
    assert_eq!(value(&udhcpc(&web, &[]), "ip"), "10.7.0.10");
    assert!(web.run("rdisc6 -1 -r 5 -w 3000 eth0").contains("fd00:7::/64"));
    assert!(router.health().iter().all(|one| one.serving));
}
