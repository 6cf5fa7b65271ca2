//! The name service as other people's clients see it: dig, drill, kdig, nsupdate, dnspython.

mod encrypted;
mod harness;
mod notify;
mod signed;

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use harness::{KEY, Service, attempt, dig, example, plan, python, run, short, status};
use netengine_dns::{
    name::Name,
    plan::Plan,
    record::{Record, Rtype, Soa},
    zone::{Catalog, View, Zone},
};

const ROOT: &str = "10.0.0.2";
const PLATFORM: &str = "10.0.0.3";
const GATEWAY: &str = "172.28.0.1";

fn start(plan: &Plan) -> Service {
    Service::start(plan, plan.catalog(1_000_000_000).expect("the plan makes zones"))
}

fn strings(of: &[&str]) -> Vec<String> {
    of.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn every_service_name_resolves_at_every_gateway_forward_and_reverse() {
    let plan = example("single-org.yaml");
    start(&plan);
    for gateway in ["172.28.0.1", "10.0.0.1"] {
        for (name, address) in [
            ("root.internal", "10.0.0.2"),
            ("ns.platform.internal", "10.0.0.3"),
            ("ns.internal", "10.0.0.4"),
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
            ("gateway.core.platform.internal", "10.0.0.1"),
        ] {
            assert_eq!(short(gateway, &[name]), [address], "{name} at {gateway}");
            assert_eq!(short(gateway, &["-x", address]), [format!("{name}.")], "{address} at {gateway}");
        }
        assert_eq!(status(gateway, &["acme.corp", "SOA"]), ("NOERROR".into(), "qr rd ra".into()));
        for unknown in ["nothing.corp", "nothing.internal", "example.com", "x.y.z", "4.3.2.1.in-addr.arpa"] {
            assert_eq!(status(gateway, &[unknown]).0, "NXDOMAIN", "{unknown}");
        }
        assert_eq!(status(gateway, &["ca.platform.internal", "MX"]).0, "NOERROR");
        assert_eq!(status(gateway, &["ca.platform.internal", "+norecurse"]).0, "REFUSED");
    }
}

#[test]
fn drill_walks_the_delegations_from_the_root_down() {
    start(&example("single-org.yaml"));
    let hints = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(hints.path(), ". 3600000 NS root.internal.\nroot.internal. 3600000 A 10.0.0.2\n").expect("written");
    let trace = run("drill", &["-T", "-r", &hints.path().to_string_lossy(), "registry.platform.internal"]);
    for line in ["internal.\t3600\tIN\tNS\tns.internal.", "platform.internal.\t3600\tIN\tNS\tns.platform.internal."] {
        assert!(trace.contains(line), "{line} is not in\n{trace}");
    }
    assert!(trace.contains("registry.platform.internal.\t3600\tIN\tA\t10.0.0.8"), "{trace}");
}

#[test]
fn a_server_answers_for_its_own_zones_only() {
    start(&example("single-org.yaml"));
    assert_eq!(status(PLATFORM, &["platform.internal", "SOA"]), ("NOERROR".into(), "qr aa rd".into()));
    assert_eq!(status(PLATFORM, &["acme.corp", "SOA"]).0, "REFUSED");
    assert_eq!(status("10.0.0.5", &["platform.internal", "SOA"]).0, "REFUSED");
    let referral = dig(&["@10.0.0.2", "+norecurse", "www.acme.corp"]);
    assert!(referral.contains("flags: qr;") && referral.contains("ns.corp.\t\t3600\tIN\tA\t10.0.0.5"), "{referral}");
}

#[test]
fn records_are_exactly_what_the_spec_says() {
    let records = [
        ("@", "MX", "10 mail.acme.corp", &["10 mail.acme.corp."][..]),
        ("@", "TXT", "v=spf1 mx -all", &["\"v=spf1 mx -all\""]),
        ("@", "CAA", "0 issue \"ca.platform.internal\"", &["0 issue \"ca.platform.internal\""]),
        ("_sip._tcp", "SRV", "1 2 5060 mail.acme.corp", &["1 2 5060 mail.acme.corp."]),
        ("mail", "A", "10.0.0.13", &["10.0.0.13"]),
        ("mail", "AAAA", "fd00::13", &["fd00::13"]),
        ("www", "CNAME", "mail.acme.corp", &["mail.acme.corp."]),
        ("*", "TXT", "wild", &["\"wild\""]),
    ];
    let mut yaml = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/single-org.yaml"))
        .expect("the example");
    let list: Vec<_> = records
        .iter()
        .map(|(name, kind, value, _)| format!("{{name: '{name}', type: {kind}, value: '{value}'}}"))
        .collect();
    yaml = yaml.replace(
        "{domain: acme.corp, org: acme-corp}",
        &format!("{{domain: acme.corp, org: acme-corp, records: [{}]}}", list.join(", ")),
    );
    start(&plan(&yaml));
    for (name, kind, _, expected) in records {
        let owner = match name {
            "@" => "acme.corp".to_owned(),
            "*" => "any.thing.acme.corp".to_owned(),
            name => format!("{name}.acme.corp"),
        };
        for server in ["10.0.0.5", GATEWAY] {
            assert_eq!(short(server, &[&owner, kind]), strings(expected), "{owner} {kind} at {server}");
        }
    }
    let www = dig(&["@172.28.0.1", "WWW.acme.corp", "AAAA"]);
    assert!(www.contains("WWW.acme.corp.\t\t300\tIN\tCNAME\tmail.acme.corp."), "the case asked for: {www}");
    assert!(www.contains("fd00::13"), "{www}");
    let denial = dig(&["@10.0.0.5", "mail.acme.corp", "SRV"]);
    assert!(denial.contains("ANSWER: 0, AUTHORITY: 1") && denial.contains("acme.corp.\t\t5\tIN\tSOA"), "{denial}");
    assert_eq!(short("10.0.0.5", &["+notcp", "acme.corp", "ANY"]).len(), 1, "one set is enough for ANY (RFC 8482)");
}

#[test]
fn edns_is_spoken_and_what_is_too_long_comes_by_tcp() {
    let plan = example("single-org.yaml");
    let service = start(&plan);
    let zone = Name::parse("platform.internal").expect("a name");
    let change = service.store.change(&zone, 2_000_000_000, |draft| {
        for n in 0..40 {
            let text = format!("{n} {}", "x".repeat(100));
            let record = Record::parse("long.platform.internal", 60, Rtype::TXT, &text).expect("a record");
            let _ = draft.add(record).map_err(netengine_dns::zone::StoreError::from)?;
        }
        Ok::<_, netengine_dns::zone::StoreError>(())
    });
    change.expect("the change is made");
    for server in [PLATFORM, GATEWAY] {
        let cut = status(server, &["long.platform.internal", "TXT", "+ignore"]).1;
        assert!(cut.split(' ').any(|flag| flag == "tc"), "{cut}");
        assert_eq!(short(server, &["long.platform.internal", "TXT"]).len(), 40, "{server}");
        assert_eq!(status(server, &["platform.internal", "SOA", "+edns=1", "+noednsneg"]).0, "BADVERS");
        assert_eq!(status(server, &["platform.internal", "SOA", "+noedns"]).0, "NOERROR");
        assert_eq!(status(server, &["platform.internal", "SOA", "+ednsopt=100:010203"]).0, "NOERROR");
    }
    assert!(dig(&["@10.0.0.3", "+nsid", "platform.internal", "SOA"]).contains("(\"ns-of-a-test\")"));
    assert!(dig(&["@10.0.0.3", "+cookie", "platform.internal", "SOA"]).contains("(good)"));
    let kdig =
        run("kdig", &["@10.0.0.3", "+tcp", "+keepopen", "platform.internal", "SOA", "ca.platform.internal", "A"]);
    assert!(kdig.contains("10.0.0.6") && kdig.contains("ns.platform.internal."), "{kdig}");
}

#[test]
fn nsupdate_changes_a_zone_with_the_key_and_only_so() {
    let plan = example("single-org.yaml");
    let service = start(&plan);
    let zone = Name::parse("acme.corp").expect("a name");
    let serial = || service.store.snapshot().zone(&zone).expect("the zone").soa().serial;
    let update = |key: Option<&str>, lines: &str| {
        let input = format!("server 10.0.0.5\nzone acme.corp\n{lines}\nsend\n");
        let arguments: Vec<&str> = key.iter().flat_map(|key| ["-y", key]).collect();
        let output = attempt("nsupdate", &arguments, &input);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let before = serial();
    assert_eq!(short(GATEWAY, &["www.acme.corp"]), strings(&[]), "denied, and the denial cached");
    let add = "prereq nxdomain www.acme.corp\nupdate add www.acme.corp 60 A 10.0.0.99\nupdate add www.acme.corp 60 A 10.0.0.98";
    let (done, said) = update(Some(KEY), add);
    assert!(done, "{said}");
    assert_eq!(short("10.0.0.5", &["www.acme.corp"]), ["10.0.0.98", "10.0.0.99"]);
    assert_eq!(short(GATEWAY, &["www.acme.corp"]), ["10.0.0.98", "10.0.0.99"], "the resolver forgot the denial");
    let after = serial();
    assert!(after > before);

    for (key, lines, why) in [
        (Some(KEY), add, "YXDOMAIN"),
        (Some(KEY), "prereq yxrrset www.acme.corp TXT\nupdate delete www.acme.corp", "NXRRSET"),
        (Some(KEY), "prereq yxrrset www.acme.corp A 10.0.0.98\nupdate delete www.acme.corp", "NXRRSET"),
        (None, "update delete www.acme.corp", "REFUSED"),
        (Some("hmac-sha256:test.:AAAA"), "update delete www.acme.corp", "BADSIG"),
        (Some("hmac-sha256:other.:AAAA"), "update delete www.acme.corp", "BADKEY"),
    ] {
        let (done, said) = update(key, lines);
        assert!(!done && said.contains(why), "{lines}: {said}");
    }
    assert_eq!(serial(), after, "nothing that was refused changed anything");
    let outside = attempt(
        "nsupdate",
        &["-y", KEY],
        "server 10.0.0.5\nzone acme.corp\nupdate add www.other.corp 60 A 10.0.0.1\nsend\n",
    );
    assert!(!outside.status.success() && String::from_utf8_lossy(&outside.stderr).contains("NOTZONE"));
    let (done, said) = update(
        Some(KEY),
        "update delete www.acme.corp A 10.0.0.98\nupdate delete acme.corp NS\nupdate delete acme.corp SOA",
    );
    assert!(done, "{said}");
    assert_eq!(short("10.0.0.5", &["www.acme.corp"]), ["10.0.0.99"]);
    assert_eq!(short("10.0.0.5", &["acme.corp", "NS"]), ["ns.corp."], "the apex keeps its name servers");
}

/// One zone `big.` of 10,000 names at the root server's address.
fn big() -> (Plan, Catalog, Vec<String>) {
    let name = |text: &str| Name::parse(text).expect("a name");
    let soa = Soa {
        primary: name("ns.big"),
        mailbox: name("admin.big"),
        serial: 42,
        refresh: 3600,
        retry: 600,
        expire: 86400,
        minimum: 5,
    };
    let mut draft = Zone::new(name("big"), soa, 300).edit();
    let _ = draft.add(Record::parse("big", 300, Rtype::NS, "ns.big").expect("a record")).expect("fits");
    let mut expected = vec!["big. NS ns.big.".to_owned()];
    for n in 0..10_000_u32 {
        let owner = format!("Host{n}.part{}.big.", n % 7);
        let (rtype, data) = match n % 3 {
            0 => (Rtype::A, IpAddr::from(n.to_be_bytes()).to_string()),
            1 => (Rtype::TXT, format!("\"text of {n}\"")),
            _ => (Rtype::MX, format!("{} mail{n}.Elsewhere.", n % 100)),
        };
        let _ = draft.add(Record::parse(&owner, 300, rtype, &data).expect("a record")).expect("fits");
        expected.push(format!("{owner} {rtype} {data}"));
    }
    expected.sort();
    let mut catalog = Catalog::default();
    catalog.insert_view(ROOT.parse().expect("an address"), View::new([&name("big")]));
    catalog.insert_zone(draft.into_zone());
    (example("minimal.yaml"), catalog, expected)
}

#[test]
fn a_zone_of_ten_thousand_names_is_transferred_complete_and_equal() {
    let (_directory, python) = python();
    let (plan, catalog, expected) = big();
    Service::start(&plan, catalog);

    let without_key = attempt("dig", &["@10.0.0.2", "big", "AXFR"], "");
    assert!(String::from_utf8_lossy(&without_key.stdout).contains("Transfer failed"));

    let lines = |said: &str| {
        let records = said.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
        let mut all: Vec<String> = records
            .filter_map(|line| {
                let mut fields = line.splitn(5, char::is_whitespace).collect::<Vec<_>>();
                fields.retain(|field| !field.is_empty());
                let mut fields = line.split_whitespace();
                let (owner, _, _, rtype) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
                let data = line.split_once(&format!("IN\t{rtype}\t")).map(|(_, data)| data)?;
                (!matches!(rtype, "SOA" | "TSIG")).then(|| format!("{owner} {rtype} {data}"))
            })
            .collect();
        all.sort();
        all
    };
    let by_dig = dig(&["@10.0.0.2", "-y", KEY, "big", "AXFR", "+noall", "+answer"]);
    assert_eq!(by_dig.matches("SOA\t").count(), 2, "begins and ends with the SOA record");
    assert!(lines(&by_dig) == expected, "dig: {} of {}", lines(&by_dig).len(), expected.len());
    let by_kdig = run("kdig", &["@10.0.0.2", "-y", KEY, "big", "AXFR", "+noall", "+answer"]);
    assert_eq!(lines(&by_kdig).len(), expected.len(), "kdig");

    let script = r#"
import dns.query, dns.zone, dns.tsigkeyring, dns.rdatatype
keys = dns.tsigkeyring.from_text({"test.": "dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHQ="})
messages = list(dns.query.xfr("10.0.0.2", "big.", keyring=keys, relativize=False))
zone = dns.zone.from_xfr(messages, relativize=False)
for owner, ttl, data in zone.iterate_rdatas():
    if data.rdtype != dns.rdatatype.SOA:
        print(owner, dns.rdatatype.to_text(data.rdtype), data)
"#;
    let said = run(&python, &["-c", script]);
    let mut by_dnspython: Vec<&str> = said.lines().collect();
    by_dnspython.sort_unstable();
    assert!(by_dnspython == expected, "dnspython: {} of {}", by_dnspython.len(), expected.len());
}

#[test]
fn slow_idle_and_broken_connections_hold_nobody_else_up() {
    let plan = example("minimal.yaml");
    start(&plan);
    let connect = || TcpStream::connect((PLATFORM, 53)).expect("connects");
    let mut idle: Vec<TcpStream> = (0..1000).map(|_| connect()).collect();
    // Half a length, half a message, a message of no bytes, one of rubbish.
    for (stream, bytes) in idle.iter_mut().zip([&b"\0"[..], b"\0\x20abc", b"\0\0", b"\0\x0crubbishrubbi"]) {
        stream.write_all(bytes).expect("written");
    }
    for arguments in [&["+notcp"][..], &["+tcp"]] {
        let begun = Instant::now();
        let mut stream = (arguments[0] == "+tcp").then(connect);
        let question = b"\0\x07\0\0\0\x01\0\0\0\0\0\0\x08platform\x08internal\0\0\x06\0\x01";
        let mut answer = [0; 512];
        let length = match &mut stream {
            Some(stream) => {
                let whole = [&(question.len() as u16).to_be_bytes()[..], question].concat();
                stream.write_all(&whole).expect("written");
                stream.read(&mut answer).expect("answered") - 2
            }
            None => {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("binds");
                socket.send_to(question, (PLATFORM, 53)).expect("sent");
                socket.recv(&mut answer).expect("answered")
            }
        };
        assert!(length > question.len());
        assert!(begun.elapsed() < Duration::from_millis(50), "{arguments:?}: {:?}", begun.elapsed());
    }
    // A half message ends its own connection after its deadline; the silent ones live on until theirs.
    let mut rest = Vec::new();
    idle[1].set_read_timeout(Some(Duration::from_secs(8))).expect("set");
    let ended = idle[1].read_to_end(&mut rest);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert!(rest.is_empty());
}

#[test]
fn pipelined_questions_are_all_answered() {
    start(&example("minimal.yaml"));
    let mut stream = TcpStream::connect((GATEWAY, 53)).expect("connects");
    let question = |id: u8| {
        let message =
            [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x02ca\x08platform\x08internal\0\0\x01\0\x01"].concat();
        [&(message.len() as u16).to_be_bytes()[..], &message].concat()
    };
    let all: Vec<u8> = (0..100).flat_map(question).collect();
    stream.write_all(&all).expect("written");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a length");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).expect("an answer");
        assert!(answer.ends_with(&[10, 0, 0, 6]), "{answer:?}");
        seen.insert(answer[1]);
    }
    assert_eq!(seen.len(), 100);
}
