//! What leaves and enters a world, as clients in its vantage hosts and servers outside see it.

mod judge;
mod outside;
mod world;

use judge::{Ran, run, sh};
use netengine_proto::{
    bounded::Bounded,
    ids::Uid,
    net::{IfAddr, IfName, Mac},
    plan::{CableEnd, CablePlan, NetworkPlan, Node, NodePlan, UplinkPolicy, UplinkPort},
    root::{PlanFault, Program, RootError},
};
use netengine_tests::{ALICE, BOB, EXAMPLES, ROOT, root};
use nix::sys::signal::{Signal, kill};
use outside::{forwarders, host, network};
use world::World;

const DIG: &str = "dig +tries=1 +time=5";
const PORTAL: &str = "gateway_portal.real_internet";
const CURL: &str = "curl -sS --max-time 3";

fn minimal() -> String {
    format!("{EXAMPLES}/minimal.yaml")
}

#[track_caller]
fn refused(ran: &Ran) {
    assert!(ran.code != 0 && ran.out.is_empty(), "{ran:?}");
}

#[test]
fn mirrored_names_lead_to_services_of_the_world_with_its_own_certificates() {
    let mirror = |host: &str, address: &str| format!("{{real_hostname: {host}, in_world_service: {address}}}");
    let own = mirror("pki.example.com", "10.0.0.6");
    let theirs = mirror("www.example.org", "10.0.0.254");
    let set = format!("{PORTAL}={{mode: mirrored, service_mirrors: [{own}, {theirs}]}}");
    let world = World::up("minimal", &[&set]);
    let core = world.says("hostname -I").trim().to_owned();
    let again = set.replace("10.0.0.254", &core);
    run(&world.host, ALICE, &["up", "/run/netengine-examples/minimal.yaml", "--set", &again]).ok();

    // A service of the world's own answers under the real name, with a certificate that curl trusts as it stands.
    assert_eq!(world.says(&format!("{DIG} +short pki.example.com")), "10.0.0.6\n");
    let found = world.says("curl -sS https://pki.example.com/acme/acme/directory");
    assert!(found.contains("newNonce"), "{found}");
    // A server in a vantage host gets one for its mirrored name as for any other.
    let directory = "https://ca.platform.internal/acme/acme/directory";
    let issue = "--standalone --non-interactive --agree-tos --register-unsafely-without-email";
    let places = "--config-dir mirror --work-dir mirror/work --logs-dir mirror/logs";
    world.says(&format!("certbot certonly {issue} --server {directory} {places} -d www.example.org 2>&1"));
    let key = "-cert mirror/live/www.example.org/fullchain.pem -key mirror/live/www.example.org/privkey.pem";
    let serving = world.background(&format!("exec openssl s_server -accept 443 -www -quiet {key}"));
    let ask = "curl -sS --retry 20 --retry-delay 1 --retry-connrefused https://www.example.org/";
    assert!(world.says(ask).contains("Cipher"), "the server's page");
    drop(serving);
    // Nothing else of the real names exists, and nothing else is certified.
    for name in ["example.net", "www.example.com", "mail.example.org"] {
        let said = world.says(&format!("{DIG} {name} A"));
        assert!(said.contains("status: NXDOMAIN"), "{name}: {said}");
    }
    let refused = world.attempt(&format!("certbot certonly {issue} --server {directory} {places} -d example.org 2>&1"));
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(world.says("cat mirror/logs/letsencrypt.log").contains("rejectedIdentifier"), "{refused:?}");
}

#[test]
fn a_shadowed_world_reaches_the_web_outside_and_nothing_else() {
    let (host, before) = host();
    let set = format!("{PORTAL}={{mode: shadowed}}");
    // Whom no administrator allows one has none, and nothing was touched.
    let bob = run(&host, BOB, &["up", &minimal(), "--set", &set]);
    let [what, cause, help] = bob.three_lines();
    assert!(what.contains("cannot start") && cause.contains("no administrator"), "{what} {cause}");
    assert!(help.contains("uplink.conf"), "{help}");
    assert_eq!(run(&host, BOB, &["list", "--json"]).ok().json(), serde_json::json!([]));
    assert!(forwarders(&host).is_empty());

    let world = World::of(host, &minimal(), "minimal", &[&set]);
    for vantage in ["core", "platform"] {
        assert_eq!(world.says_at(vantage, &format!("{CURL} http://203.0.113.1/")), "outside\n");
    }
    // Not another port, another protocol, or another way to the web.
    refused(&world.attempt(&format!("{CURL} http://203.0.113.1:8080/")));
    refused(&world.attempt(&format!("{DIG} +time=2 +short @203.0.113.1 www.outside.test | grep -v '^;;'")));
    // Names of outside do not exist, because nobody asked for a resolver there.
    assert!(world.says(&format!("{DIG} www.outside.test")).contains("status: NXDOMAIN"));
    // The host itself is not outside, by none of its addresses.
    for own in ["203.0.113.2", "192.0.0.1", "192.0.0.2", "127.0.0.1", "169.254.169.254"] {
        refused(&world.attempt(&format!("{CURL} http://{own}/")));
    }
    // What stands is told, and the host is as it was.
    let status = run(&world.host, ALICE, &["status", "minimal", "--json"]).ok().json();
    let services = status["services"].as_array().expect("services");
    let uplink = services.iter().find(|one| one["name"] == "uplink").expect("an uplink");
    assert_eq!(uplink["detail"], "shadowed: out to TCP ports 80 and 443");
    let diagnosed = run(&world.host, ALICE, &["diagnose", "minimal", "--json"]).ok().json();
    let checks = diagnosed["checks"].as_array().expect("checks");
    assert!(checks.iter().any(|one| one["name"] == "process: uplink" && one["passed"] == true), "{diagnosed}");
    assert_eq!(network(&world.host), before);
    run(&world.host, ALICE, &["prove", "minimal"]).ok();

    // A forwarder that ends is started again.
    for pid in forwarders(&world.host) {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let again = format!("until {CURL} http://203.0.113.1/; do sleep 0.2; done 2>/dev/null");
    assert_eq!(world.says(&again), "outside\n");
    // Without a way out there is none, and no process is left.
    run(&world.host, ALICE, &["up", &minimal()]).ok();
    judge::until("no process is left", || forwarders(&world.host).len(), |left| *left == 0);
    refused(&world.attempt(&format!("{CURL} http://203.0.113.1/")));
    assert_eq!(network(&world.host), before);
}

#[test]
fn an_exposed_world_reaches_outside_and_is_reached_at_its_published_ports() {
    let (host, before) = host();
    // The host's own ports 80 and 443 are not within what the administrator allows.
    let own = format!("{PORTAL}={{mode: exposed}}");
    let [_, cause, help] = run(&host, ALICE, &["up", &minimal(), "--set", &own]).three_lines();
    assert!(cause.contains("port 80") && help.contains("20000"), "{cause} {help}");
    let resolver = "upstream_resolver_enabled: yes, upstream_resolver_ip: 203.0.113.1";
    let set = format!("{PORTAL}={{mode: exposed, publish: [{{host_port: 20080, port: 80}}], {resolver}}}");
    let world = World::of(host, &minimal(), "minimal", &[&set]);
    // Names that the world does not know are asked outside, and its own still inside.
    assert_eq!(world.says(&format!("{DIG} +short www.outside.test")), "203.0.113.1\n");
    assert!(world.says(&format!("{DIG} nothing.outside.test")).contains("status: NXDOMAIN"));
    assert_eq!(world.says(&format!("{DIG} +short ca.platform.internal")), "10.0.0.6\n");
    assert_eq!(world.says(&format!("{CURL} http://www.outside.test:8080/")), "outside\n");
    assert_eq!(world.says(&format!("{DIG} +short @203.0.113.1 www.outside.test")), "203.0.113.1\n");
    for own in ["203.0.113.2", "192.0.0.1"] {
        refused(&world.attempt(&format!("{CURL} http://{own}/")));
    }
    // From outside: the published port leads to the vantage host, with the sender's own address; no other port does.
    let serving = world.background("mkdir -p www; echo inside >www/index.html; exec python3 -m http.server -d www 80");
    let ask = "ip netns exec internet curl -sS --retry 30 --retry-delay 1 --retry-all-errors --max-time 60";
    assert_eq!(world.host.shell(ROOT, &format!("{ask} http://203.0.113.2:20080/")), "inside\n");
    refused(&sh(&world.host, ROOT, "ip netns exec internet curl -sS --max-time 2 http://203.0.113.2:20443/"));
    drop(serving);
    assert_eq!(network(&world.host), before);
    // The end of everything leaves nothing of it.
    let mut host = world.host;
    host.stop_daemons();
    assert!(!forwarders(&host).is_empty(), "uplinks outlive the daemons");
    for (pid, _) in host.processes() {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if comm == "ne-holder\n" {
            kill(pid, Signal::SIGKILL).expect("killed");
        }
    }
    judge::until("no forwarder is left", || forwarders(&host).len(), |left| *left == 0);
    assert_eq!(network(&host), before);
}

#[test]
fn a_custom_world_does_what_its_rules_say() {
    let (host, before) = host();
    let rules = "rules: [{proto: tcp, ports: [8080], from: 10.0.0.0/24, to: 203.0.113.0/24}]";
    let world = World::of(host, &minimal(), "minimal", &[&format!("{PORTAL}={{mode: custom, {rules}}}")]);
    assert_eq!(world.says(&format!("{CURL} http://203.0.113.1:8080/")), "outside\n");
    refused(&world.attempt(&format!("{CURL} http://203.0.113.1/")));
    let platform = judge::inside(&world.host, ALICE, "minimal/platform", &format!("{CURL} http://203.0.113.1:8080/"));
    refused(&platform);
    // A port of the host that is taken is told, and what was before stands.
    world.host.shell(
        ROOT,
        "setsid python3 -m http.server --bind 203.0.113.2 20001 >/dev/null 2>&1 </dev/null &
        curl -sS --retry 60 --retry-delay 1 --retry-connrefused -o /dev/null http://203.0.113.2:20001/",
    );
    let taken = format!("{PORTAL}={{mode: custom, {rules}, publish: [{{host_port: 20001, port: 22}}]}}");
    let failed = run(&world.host, ALICE, &["up", &minimal(), "--set", &taken]);
    assert!(failed.code != 0 && failed.err.contains("in use"), "{failed:?}");
    assert_eq!(world.says(&format!("{CURL} http://203.0.113.1:8080/")), "outside\n");
    assert_eq!(network(&world.host), before);
}

/// A world with an uplink whose host ports are these.
fn plan(owner: Uid, ports: &[u16]) -> NetworkPlan {
    let mut plan = root::world_plan(root::world_id(), owner, 1, 1);
    let link = IfName::numbered("up", 0);
    let end = |node, last, addresses| CableEnd {
        node,
        name: link.clone(),
        mac: Mac::local([2, 9, 0, 0, 0, last]),
        bridge: None,
        addresses,
    };
    let own = IfAddr::new("192.0.0.2/29".parse().expect("an address")).expect("fit for a host");
    let a = end(Node::Gateway, 1, Bounded::new(vec![own]).expect("one"));
    let cable = CablePlan { a, b: end(Node::Uplink, 2, Bounded::default()) };
    let far = NodePlan {
        node: Node::Uplink,
        forward: false,
        low_ports: false,
        routes: Bounded::default(),
        source_routes: Bounded::default(),
        policy: None,
        resolver: None,
    };
    let led = |(host, port): (&u16, u16)| UplinkPort {
        host: (*host).try_into().expect("not zero"),
        port: port.try_into().expect("not zero"),
        to: [10, 0, 0, 10].into(),
        from: None,
    };
    let ports = Bounded::new(ports.iter().zip(80..).map(led).collect()).expect("few");
    let policy = UplinkPolicy { link: link.clone(), out: Bounded::default(), ports, resolver: None };
    let mut nodes = plan.nodes.to_vec();
    nodes[0].policy.as_mut().expect("the router's").uplink = Some(policy);
    nodes.push(far);
    plan.nodes = Bounded::new(nodes).expect("few");
    let mut cables = plan.cables.to_vec();
    cables.push(cable);
    plan.cables = Bounded::new(cables).expect("few");
    plan
}

#[tokio::test]
async fn a_controlled_userd_gets_no_uplink_that_no_administrator_allows() {
    let (host, before) = outside::without_userd();
    let root = root::client(&host).await;
    let (alice, bob) = (Uid(ALICE.uid), Uid(BOB.uid));
    let apply =
        async |plan: NetworkPlan| root.apply_network(root::patient(), root::key(), plan).await.expect("answered");
    let fault = |fault| Err(RootError::InvalidPlan(fault));
    assert_eq!(apply(plan(bob, &[])).await, fault(PlanFault::UplinkNotAllowed));
    assert_eq!(apply(plan(alice, &[80])).await, fault(PlanFault::UplinkPort(80)));
    assert_eq!(apply(plan(alice, &[20_001, 20_001])).await, fault(PlanFault::UplinkPort(20_001)));
    // A part of an uplink is none, and its node is no place for anything else.
    let mut bare = plan(alice, &[]);
    bare.cables =
        Bounded::new(bare.cables.iter().filter(|one| one.b.node != Node::Uplink).cloned().collect()).expect("few");
    assert_eq!(apply(bare).await, fault(PlanFault::Uplink));
    let mut routing = plan(alice, &[]);
    let mut nodes = routing.nodes.to_vec();
    nodes.last_mut().expect("the uplink").forward = true;
    routing.nodes = Bounded::new(nodes).expect("few");
    assert_eq!(apply(routing).await, fault(PlanFault::Uplink));
    // Another's world is absent, and one without an uplink has none to start.
    let (mine, without) = (plan(alice, &[]), root::world_plan(root::world_id(), bob, 1, 1));
    let (mine_id, without_id) = (mine.world, without.world);
    apply(mine).await.expect("applied");
    apply(without).await.expect("applied");
    let start = async |world, owner| {
        root.start_program(root::patient(), root::key(), world, owner, Program::Uplink).await.expect("answered")
    };
    assert_eq!(start(mine_id, bob).await, Err(RootError::NotFound));
    assert_eq!(start(without_id, bob).await, Err(RootError::NotFound));
    assert!(forwarders(&host).is_empty());
    start(mine_id, alice).await.expect("started");
    start(mine_id, alice).await.expect("the same");
    // Each has its name once its program runs.
    judge::until("a relay and its forwarder run", || forwarders(&host).len(), |running| *running == 2);
    let offer = async |owner| root.uplink_offer(root::patient(), owner).await.expect("answered").expect("told");
    assert!(offer(alice).await.allowed && !offer(bob).await.allowed && offer(bob).await.ports.is_none());
    // The service itself hears rootd alone.
    for person in [ALICE, netengine_tests::USERD, netengine_tests::WORLDD] {
        assert!(root::connect_as(&host, person, "/run/netengine/uplink.sock").is_err(), "{person:?}");
    }
    root.delete_world(root::patient(), root::key(), mine_id, alice).await.expect("answered").expect("gone");
    // They were killed; the kernel takes them away in its own time.
    judge::until("the forwarders are gone", || forwarders(&host).len(), |left| *left == 0);
    assert_eq!(network(&host), before);
}
