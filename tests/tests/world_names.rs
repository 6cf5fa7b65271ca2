//! A world's names as dig, delv, drill, kdig, nsupdate and dnspython see them from its vantage hosts.

mod judge;
mod world;

use std::fmt::Write;

use judge::{GATEWAY, inside, run, sh, spec, until};
use netengine_tests::{ALICE, Host};
use world::{PYTHON, World, sorted};

/// Services of single-org and where their names lead.
const SERVICES: [(&str, &str); 13] = [
    ("root.internal", "10.0.0.2"),
    ("ns.platform.internal", "10.0.0.3"),
    ("ns.corp", "10.0.0.5"),
    ("ca.platform.internal", "10.0.0.6"),
    ("auth.platform.internal", "10.0.0.7"),
    ("registry.platform.internal", "10.0.0.8"),
    ("whois.platform.internal", "10.0.0.9"),
    ("domainreg.platform.internal", "10.0.0.10"),
    ("registrar.platform.internal", "10.0.0.11"),
    ("auth.internal", "10.0.0.12"),
    ("mail.internal", "10.0.0.13"),
    ("storage.platform.internal", "10.0.0.14"),
    ("api.platform.internal", "172.28.0.11"),
];
const SIGNED: &str = "pki.dnssec_enabled=true";
const DIG: &str = "dig +tries=1 +time=5";

#[test]
fn dig_finds_every_service_forward_and_reverse_and_denies_the_rest() {
    let world = World::up("single-org", &[]);
    // All names in one run of dig for each direction: the point is the answers, not the processes.
    let names: Vec<&str> = SERVICES.iter().map(|(name, _)| *name).collect();
    let forward = world.says(&format!("for name in {}; do {DIG} +short $name A; done", names.join(" ")));
    assert_eq!(forward.lines().collect::<Vec<_>>(), SERVICES.map(|(_, address)| address), "{names:?}");
    let reverse = SERVICES.map(|(_, address)| address).join(" ");
    let back = world.says_at("platform", &format!("for ip in {reverse}; do {DIG} +short -x $ip; done"));
    assert_eq!(back.lines().collect::<Vec<_>>(), SERVICES.map(|(name, _)| format!("{name}.")));
    // Vantage hosts have names as well, and getaddrinfo(3) of any program finds them.
    assert!(world.says("getent ahostsv4 core.platform.internal").contains(" STREAM"));
    // From the root down, by dig's own walk along the delegations.
    let trace = world.says(&format!("{DIG} +trace +nodnssec acme.corp SOA"));
    for line in ["root.internal.", "ns.corp.", "acme.corp."] {
        assert!(trace.contains(line), "{line} in {trace}");
    }
    assert!(trace.lines().any(|line| line.starts_with("acme.corp.") && line.contains("SOA")), "{trace}");
    // Unknown names do not exist; that is an answer, with a SOA, and never a failure, inside the world or outside.
    for name in ["nothing.corp", "nothing.platform.internal", "www.example.com", "no-such-tld", "9.0.0.1.in-addr.arpa"]
    {
        let said = world.says(&format!("{DIG} {name} A"));
        assert!(said.contains("status: NXDOMAIN") && said.contains("\tSOA\t"), "{name}: {said}");
    }
    let nodata = world.says(&format!("{DIG} ca.platform.internal TXT"));
    assert!(
        nodata.contains("status: NOERROR") && nodata.contains("ANSWER: 0") && nodata.contains("\tSOA\t"),
        "{nodata}"
    );
    // The same over TCP, and the name server's identity (RFC 5001).
    let said = world.says(&format!("{DIG} +tcp +nsid @10.0.0.2 . NS +norecurse"));
    assert!(said.contains("root.internal.") && said.contains("NSID: "), "{said}");
    // A resolver that anybody could use would be a way out of the world and a weapon: only its own networks are served.
    let outside = sh(&world.host, ALICE, "dig +tries=1 +time=1 @10.0.0.1 ca.platform.internal");
    assert_ne!(outside.code, 0, "{outside:?}");
}

#[test]
fn worlds_do_not_learn_each_others_names() {
    let host = Host::new();
    for name in ["red", "blue"] {
        let path = spec(&host, name, GATEWAY);
        let text = host
            .shell(ALICE, &format!("cat {path}"))
            .replace("dns: {}\n", &format!("dns:\n  tlds: [{{name: {name}, listen_ip: 10.0.0.5}}]\n"));
        host.file(&format!("{name}.yaml"), &text);
        run(&host, ALICE, &["up", &path]).ok();
    }
    for (own, others) in [("red", "blue"), ("blue", "red")] {
        let ask = |name: &str| inside(&host, ALICE, own, &format!("{DIG} {name} NS")).ok().out;
        assert!(ask(own).contains(&format!("ns.{own}.")), "{}", ask(own));
        let said = ask(others);
        assert!(said.contains("status: NXDOMAIN") && !said.contains(&format!("ns.{others}.")), "{said}");
    }
}

#[test]
fn delv_and_drill_validate_from_the_root_down() {
    let world = World::up("single-org", &[SIGNED]);
    let anchor = run(&world.host, ALICE, &["pki", "root", &world.name, "--dns"]).ok().out;
    assert!(anchor.starts_with(". IN DS ") && anchor.contains(" 13 2 "), "{anchor}");
    assert_eq!(world.says("cat /etc/ssl/certs/dns-root.ds"), anchor, "vantage hosts have what the owner is shown");
    let delv = "delv -a /etc/ssl/certs/dns-root.key +root=.";
    for (name, rtype) in [("ca.platform.internal", "A"), ("acme.corp", "SOA"), ("mail.internal", "A"), (".", "NS")] {
        let said = world.says(&format!("{delv} {name} {rtype}"));
        assert!(said.contains("; fully validated") && said.contains("RRSIG"), "{name}: {said}");
    }
    for name in ["nothing.corp", "nothing.acme.corp", "www.example.com"] {
        let said = world.says(&format!("{delv} {name} A 2>&1"));
        assert!(said.contains("negative response, fully validated"), "{name}: {said}");
    }
    // The resolver validates by itself, and says so.
    let said = world.says(&format!("{DIG} +adflag acme.corp SOA"));
    assert!(
        said.split(";; flags: ").nth(1).is_some_and(|rest| rest.split(';').next().is_some_and(|f| f.contains(" ad"))),
        "{said}"
    );
    world.host.file("hints", ". 3600000 NS root.internal.\nroot.internal. 3600000 A 10.0.0.2\n");
    let hints = format!("{}/hints", netengine_tests::SCRATCH);
    for name in ["ca.platform.internal", "acme.corp"] {
        let down = world.says(&format!("drill -T -D -k /etc/ssl/certs/dns-root.ds -r {hints} {name} SOA"));
        // The last line explains the marks.
        let down: String = down.lines().filter(|line| !line.starts_with(";;[S]")).collect::<Vec<_>>().join("\n");
        assert!(down.contains("[T]") && !down.contains("[B]") && !down.contains("[S]"), "{down}");
        let up = world.says(&format!("drill -S -k /etc/ssl/certs/dns-root.ds {name} SOA"));
        assert!(up.contains("Chase successful"), "{up}");
    }
    // With the key of another root, nothing is believed.
    let forged = anchor.trim().rsplit_once(' ').map(|(head, digest)| (head.to_owned(), "0".repeat(digest.len())));
    let (head, digest) = forged.expect("a record");
    let numbers = head.strip_prefix(". IN DS ").expect("a record").to_owned();
    world.host.file("wrong.key", &format!("trust-anchors {{ . static-ds {numbers} \"{digest}\"; }};\n"));
    let said = world.attempt(&format!("delv -a {}/wrong.key +root=. acme.corp SOA 2>&1", netengine_tests::SCRATCH));
    assert!(!said.out.contains("fully validated"), "{said:?}");
}

#[test]
fn kdig_resolves_over_tls_and_https_with_the_worlds_trust() {
    let world = World::up("single-org", &[]);
    let name = "resolver.platform.internal";
    for (vantage, gateway) in [("core", "10.0.0.1"), ("platform", "172.28.0.1")] {
        for (way, seen) in [("+tls", "(TLS"), ("+https", "(HTTP/2")] {
            // Bare +tls-ca means the system's authorities, which are the world's; the name is checked as well.
            let ask = |server: &str| format!("kdig @{server} +retry=0 +time=5 +tls-ca +tls-hostname={name} {way}");
            let said = world.says_at(vantage, &format!("{} ca.platform.internal A 2>&1", ask(gateway)));
            assert!(said.contains("10.0.0.6") && said.contains(seen), "{said}");
            let said = world.says_at(vantage, &format!("{} nothing.corp A", ask(gateway)));
            assert!(said.contains("NXDOMAIN"), "{said}");
        }
        let wrong =
            format!("kdig @{gateway} +retry=0 +time=5 +tls-ca +tls-hostname=ca.platform.internal +tls corp NS 2>&1");
        let said = inside(&world.host, ALICE, &format!("{}/{vantage}", world.name), &wrong);
        assert!(!said.out.contains("ns.corp"), "{said:?}");
    }
}

#[test]
fn nsupdate_changes_a_zone_with_the_worlds_key_and_only_so() {
    let world = World::up("single-org", &[]);
    let update = |key: &str, zone: &str, lines: &str| {
        let key = if key.is_empty() { String::new() } else { format!("-y '{key}'") };
        world.attempt(&format!("printf 'server 10.0.0.5\\nzone {zone}\\n{lines}\\nsend\\n' | nsupdate {key} 2>&1"))
    };
    let key = world.tsig("update");
    assert_eq!(world.says(&format!("{DIG} +short www.acme.corp")), "", "and the denial is cached");
    update(&key, "acme.corp", "update add www.acme.corp 60 A 10.0.0.99").ok();
    // The denial that was cached does not outlive the change by more than its time to live.
    until(
        "the new record is seen",
        || world.says(&format!("{DIG} +short www.acme.corp")),
        |said| said == "10.0.0.99\n",
    );
    let serial = || world.says(&format!("{DIG} +short @10.0.0.5 acme.corp SOA | cut -d' ' -f3")).trim().parse::<u32>();
    let before = serial().expect("a number");
    for wrong in [
        String::new(),
        format!("hmac-sha256:update:{}", "d3Jvbmc="),
        world.tsig("transfer").replace(":transfer:", ":nobody:"),
    ] {
        let refused = update(&wrong, "acme.corp", "update delete www.acme.corp A");
        assert!(refused.code != 0, "{refused:?}");
        assert!(refused.out.contains("REFUSED") || refused.out.contains("NOTAUTH"), "{refused:?}");
    }
    let outside = update(&key, "acme.corp", "update add www.other.corp 60 A 10.0.0.1");
    assert!(outside.code != 0 && outside.out.contains("NOTZONE"), "{outside:?}");
    assert_eq!(serial().expect("a number"), before, "nothing that was refused has changed anything");
    update(&key, "acme.corp", "update delete www.acme.corp A").ok();
    assert!(serial().expect("a number") > before, "serials rise");
    assert!(world.says(&format!("{DIG} @10.0.0.5 www.acme.corp")).contains("NXDOMAIN"));
}

#[test]
fn a_zone_of_ten_thousand_names_is_transferred_whole() {
    const NAMES: usize = 10_000;
    let host = Host::new();
    let mut records = String::new();
    for number in 0..NAMES {
        let _ = writeln!(
            records,
            "        - {{name: h{number}, type: A, value: 10.{}.{}.{}}}",
            number >> 16,
            number >> 8 & 255,
            number & 255
        );
    }
    let path = format!("{}/single-org.yaml", netengine_tests::EXAMPLES);
    let plain = host.shell(ALICE, &format!("cat {path}"));
    let wide = "    - {domain: acme.corp, org: acme-corp}\n";
    assert!(plain.contains(wide), "{plain}");
    let big =
        plain.replace(wide, &format!("{wide}    - domain: big.corp\n      org: acme-corp\n      records:\n{records}"));
    let path = host.file("big.yaml", &big);
    let world = World::of(host, &path, "single-org", &[]).with_clients();
    let key = world.tsig("transfer");
    let (_, secret) = key.rsplit_once(':').expect("a key");
    let by_dig =
        world.says(&format!("{DIG} @10.0.0.5 -y '{key}' big.corp AXFR +noall +answer | tr '\\t' ' ' | tr -s ' '"));
    let by_kdig =
        world.says(&format!("kdig @10.0.0.5 -y '{key}' big.corp AXFR +noall +answer | tr '\\t' ' ' | tr -s ' '"));
    let script = format!(
        "import dns.query, dns.zone, dns.tsigkeyring\n\
         keys = dns.tsigkeyring.from_text({{'transfer.': '{secret}'}})\n\
         zone = dns.zone.Zone('big.corp.', relativize=False)\n\
         dns.query.inbound_xfr('10.0.0.5', zone, query=dns.xfr.make_query(zone, keyring=keys, keyalgorithm='hmac-sha256')[0])\n\
         for name, ttl, data in zone.iterate_rdatas(): print(name, ttl, 'IN', dns.rdatatype.to_text(data.rdtype), data)\n"
    );
    world.host.file("axfr.py", &format!("import dns.rdatatype, dns.xfr\n{script}"));
    let by_python = world.says(&format!("{PYTHON} {}/axfr.py", netengine_tests::SCRATCH));
    // A transfer ends with the SOA that it began with (RFC 5936, section 2.2).
    let unique = |text: &str| {
        let mut lines: Vec<String> = sorted(text).iter().map(|line| (*line).to_owned()).collect();
        lines.dedup();
        lines
    };
    let expected = unique(&by_dig);
    assert_eq!(by_dig.lines().count(), expected.len() + 1, "the SOA twice, all else once");
    let owners: std::collections::HashSet<&str> = by_dig.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!((0..NAMES).all(|n| owners.contains(format!("h{n}.big.corp.").as_str())), "complete");
    assert_eq!(expected.iter().filter(|line| line.contains(" A ")).count(), NAMES);
    assert_eq!(unique(&by_kdig), expected, "kdig");
    assert_eq!(unique(&by_python), expected, "dnspython");
    // Without the key there is no transfer.
    let refused = world.says(&format!("{DIG} @10.0.0.5 big.corp AXFR"));
    assert!(refused.contains("Transfer failed") && !refused.contains("h1.big.corp"), "{refused}");
}
