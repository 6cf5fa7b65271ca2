//! What changes while a world runs: its spec, its zones, its signatures; seen by clients of its resolver.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use netengine_proto::control::{Desired, NamedHost};
use netengine_spec::Spec;

use crate::{
    harness::{PATIENCE, World},
    names::{dig, update},
    spec::{assert_serving, desired, example, example_with},
};

const SIGNED: &str = "pki.dnssec_enabled=true";

/// As a client of the world's resolver asks.
fn ask(world: &World, arguments: &[&str]) -> String {
    dig(world, &[&["@10.0.0.1", "-b", "10.0.0.1"], arguments].concat())
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} in time");
    }
}

/// single-org with one organisation and its domain more.
fn grown(sets: &[&str]) -> Spec {
    let beta = "    - {name: beta, description: Another, capabilities: [register_domains], and_profile: business}\n";
    example_with("single-org", sets, |text| {
        let text = text.replace("  operators:\n", &format!("{beta}  operators:\n"));
        let domain = "    - {domain: acme.corp, org: acme-corp}\n";
        text.replace(domain, &format!("{domain}    - {{domain: beta.corp, org: beta}}\n"))
    })
}

/// Those of what is new beside those that are, as userd does.
fn give_credentials(wish: &mut Desired, spec: &Spec) {
    for new in desired(spec).credentials {
        if !wish.credentials.iter().any(|old| (&old.issuer, &old.name, old.kind) == (&new.issuer, &new.name, new.kind))
        {
            wish.credentials.push(new);
        }
    }
}

#[test]
fn a_signed_world_is_validated_by_its_resolver_and_what_is_new_in_its_spec_is_signed() {
    let spec = example("single-org", &[SIGNED]);
    let mut world = World::start();
    world.give_addresses(&spec);
    let mut wish = desired(&spec);
    let mut control = world.control();
    let health = control.desire(&wish);
    assert_serving(&health);
    assert!(!health.trust.dns_root.is_empty(), "a signed world tells its anchors");
    let mut gateway = world.gateway();
    assert_serving(&gateway.desire(&wish, &health.trust));
    let is_authentic = |name: &str, rtype: &str| {
        let said = ask(&world, &["+dnssec", name, rtype]);
        let flags = said.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
        said.contains("status: NOERROR") && flags.contains(" ad;") && said.contains("RRSIG")
    };
    for (name, rtype) in [(".", "DNSKEY"), ("corp", "DS"), ("ca.platform.internal", "A"), ("acme.corp", "SOA")] {
        until(&format!("{name} {rtype} is validated"), || is_authentic(name, rtype));
    }
    let denied = ask(&world, &["+dnssec", "nobody.platform.internal"]);
    assert!(denied.contains("NXDOMAIN") && denied.contains(" ad;") && denied.contains("NSEC"), "{denied}");
    // An anchor of somebody else: everything is bogus, so what is above is no flag that is always there.
    let mut wrong = health.trust.clone();
    let mut anchors = wrong.dns_root.to_vec();
    for anchor in &mut anchors {
        let mut digest = anchor.digest.to_vec();
        digest[0] ^= 1;
        anchor.digest = netengine_proto::bounded::Bounded::new(digest).expect("as long as before");
    }
    wrong.dns_root = netengine_proto::bounded::Bounded::new(anchors).expect("as many as before");
    gateway.desire(&wish, &wrong);
    assert!(ask(&world, &["ca.platform.internal"]).contains("SERVFAIL"));
    gateway.desire(&wish, &health.trust);

    // The same again does nothing.
    let serial = || dig(&world, &["@10.0.0.5", "+short", "corp", "SOA"]);
    let before = serial();
    control.desire(&wish);
    assert_eq!(serial(), before);
    wish.spec = Some(serde_json::to_string(&grown(&[SIGNED])).expect("JSON"));
    give_credentials(&mut wish, &grown(&[SIGNED]));
    let after = control.desire(&wish);
    assert_serving(&after);
    assert_eq!(after.trust, health.trust, "the world's trust is the same");
    for (name, rtype) in [("beta.corp", "SOA"), ("beta.corp", "DS"), ("acme.corp", "SOA")] {
        until(&format!("{name} {rtype} is validated"), || is_authentic(name, rtype));
    }
}

/// A connection over TLS to a name of the world.
struct Secured(Child, ChildStdout);

impl Secured {
    fn open(world: &World, address: Ipv4Addr, name: &str) -> Self {
        let connect = format!("{address}:443");
        let mut child = Command::new("nsenter")
            .args(["-t", &world.pid().to_string(), "-n", "openssl", "s_client", "-quiet", "-connect", &connect])
            .args(["-servername", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let says = child.stdout.take().expect("piped");
        Self(child, says)
    }

    /// One request; the first line of its answer, which is read whole.
    fn get(&mut self, name: &str, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n");
        self.0.stdin.as_mut().expect("piped").write_all(request.as_bytes()).expect("open");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.1.read_exact(&mut byte).expect("the connection is open");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        self.1.read_exact(&mut body).expect("a body");
        head.lines().next().expect("a status").to_owned()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_changed_spec_is_applied_under_open_connections_and_reaches_clients() {
    let spec = example("single-org", &[]);
    let mut world = World::start();
    world.give_addresses(&spec);
    let mut wish = desired(&spec);
    let host = |last| NamedHost { name: "core-1".to_owned(), address: [10, 0, 0, last].into() };
    wish.hosts = vec![host(253)];
    let mut control = world.control();
    let health = control.desire(&wish);
    assert_serving(&health);
    let mut gateway = world.gateway();
    assert_serving(&gateway.desire(&wish, &health.trust));

    let secured = [("ca.platform.internal", "/acme/acme/directory"), ("registry.platform.internal", "/health")];
    let address = |name: &str| spec.listen_addresses().iter().find(|one| one.name == name).expect("a service").v4;
    let mut open = secured.map(|(name, _)| Secured::open(&world, address(name), name));
    let mut names = world.inside(|| TcpStream::connect(("10.0.0.3", 53)).expect("connects"));
    names.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let mut speak = || {
        for (connection, (name, path)) in open.iter_mut().zip(secured) {
            assert!(connection.get(name, path).contains(" 200"), "{name}");
        }
        let mut question = vec![0, 36, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend_from_slice(b"\x08platform\x08internal\0\0\x06\0\x01");
        question[1] = u8::try_from(question.len() - 2).expect("short");
        names.write_all(&question).expect("open");
        let mut length = [0; 2];
        names.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        names.read_exact(&mut answer).expect("an answer");
        assert_eq!((&answer[..2], answer[3] & 15), (&[1, 2][..], 0));
    };
    speak();
    let found = |name: &str| ask(&world, &["+short", name]).trim().to_owned();
    assert_eq!(found("core-1.platform.internal"), "10.0.0.253");
    assert_eq!(ask(&world, &["+short", "beta.corp", "NS"]), "");

    wish.hosts = vec![host(254)];
    wish.spec = Some(serde_json::to_string(&grown(&[])).expect("JSON"));
    give_credentials(&mut wish, &grown(&[]));
    assert_serving(&control.desire(&wish));
    speak();
    // The resolver itself was told nothing by userd yet; it remembers records of an hour.
    until("the new address is seen", || found("core-1.platform.internal") == "10.0.0.254");
    until("the new domain is seen", || ask(&world, &["+short", "beta.corp", "NS"]).contains("ns.corp."));
    assert!(!world.log().contains("closed 10.0.0."), "a listener was bound again: {}", world.log());
}

#[test]
fn an_update_reaches_clients_of_the_resolver_at_once() {
    let spec = example("minimal", &[]);
    let mut world = World::start();
    world.give_addresses(&spec);
    let wish = desired(&spec);
    let health = world.control().desire(&wish);
    assert_serving(&health);
    let mut gateway = world.gateway();
    assert_serving(&gateway.desire(&wish, &health.trust));
    let text = |name: &str| ask(&world, &["+short", name, "TXT"]).trim().to_owned();
    // Each is asked for first, so that the resolver remembers it: for an hour.
    for turn in 0..5 {
        let wanted = format!("\"turn {turn}\"");
        let script =
            format!("update delete x.platform.internal TXT\\nupdate add x.platform.internal 3600 TXT \"turn {turn}\"");
        assert_ne!(text("x.platform.internal"), wanted);
        assert!(update(&world, "update", &script));
        until("the change is seen", || text("x.platform.internal") == wanted);
        let left = ask(&world, &["+noall", "+answer", "x.platform.internal", "TXT"]);
        let ttl: u32 = left.split_whitespace().nth(1).expect("a TTL").parse().expect("a number");
        assert!(ttl > 3000, "{left}");
    }
    // Who is no name server of the world is not believed (RFC 1996, section 3.10).
    let opcode = dig(&world, &["@10.0.0.1", "-b", "172.28.0.1", "+opcode=notify", "platform.internal", "SOA"]);
    assert!(opcode.contains("NOTIMP"), "{opcode}");
    let believed = dig(&world, &["@10.0.0.1", "-b", "10.0.0.3", "+opcode=notify", "platform.internal", "SOA"]);
    assert!(believed.contains("NOERROR") && believed.contains("NOTIFY"), "{believed}");
}
