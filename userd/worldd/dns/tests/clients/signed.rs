//! Signed zones as validators that others wrote see them.

use std::time::{SystemTime, UNIX_EPOCH};

use netengine_dns::{
    dnssec::{Schedule, Secret, Signing},
    name::Name,
    plan::Plan,
    record::{Record, Rtype},
    zone::Zone,
};

use crate::{
    GATEWAY,
    harness::{KEY, Service, attempt, dig, plan, run, short, status},
};

/// The single-org example with DNSSEC and a domain that has records, a wildcard and a name server of its own below it.
fn signed() -> Plan {
    let yaml = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/single-org.yaml"));
    let yaml = yaml.expect("the example").replace("\npki:\n", "\npki:\n  dnssec_enabled: true\n").replace(
        "- {domain: acme.corp, org: acme-corp}",
        "- {domain: acme.corp, org: acme-corp, records: [{type: MX, value: '10 mail.acme.corp'}, \
         {name: mail, type: A, value: 10.0.0.13}, {name: www, type: CNAME, value: mail.acme.corp}, \
         {name: '*', type: TXT, value: any}, {name: a.b, type: A, value: 10.0.0.9}, \
         {name: sub, type: NS, value: ns.sub.acme.corp}, {name: ns.sub, type: A, value: 10.0.0.77}]}",
    );
    plan(&yaml)
}

struct Signed {
    service: Service,
    anchor: tempfile::NamedTempFile,
    hints: tempfile::NamedTempFile,
    delv: tempfile::NamedTempFile,
}

fn start() -> Signed {
    let plan = signed();
    let catalog = plan.catalog(1_000_000_000).expect("the plan makes zones");
    let service = Service::start(&plan, catalog);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let lifetimes = plan.dnssec.expect("signed").into();
    // In the middle of a roll-over of both kinds of keys.
    let schedule = Schedule { epoch: now - 365 * 86_400 - 3600, lifetimes };
    let signing = Signing::new(Secret::new(&[9; 32]), schedule);
    signing.refresh(&service.store, now).expect("signed");
    let file = |text: String| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    };
    let anchors = signing.anchors(&Name::root(), now).expect("anchors");
    service.resolver.set_anchors(anchors.clone());
    let ds: Vec<String> = anchors
        .iter()
        .map(|anchor| {
            let wire = anchor.ds.as_wire();
            let hex: String = wire[4..].iter().map(|byte| format!("{byte:02X}")).collect();
            format!("{} {} {} {hex}", u16::from_be_bytes([wire[0], wire[1]]), wire[2], wire[3])
        })
        .collect();
    let of_delv: Vec<String> = ds
        .iter()
        .map(|ds| {
            let (numbers, hex) = ds.rsplit_once(' ').expect("four fields");
            format!(". static-ds {numbers} \"{hex}\";")
        })
        .collect();
    Signed {
        service,
        anchor: file(ds.iter().map(|ds| format!(". 3600 IN DS {ds}\n")).collect()),
        hints: file(". 3600000 NS root.internal.\nroot.internal. 3600000 A 10.0.0.2\n".to_owned()),
        delv: file(format!("trust-anchors {{ {} }};\n", of_delv.join(" "))),
    }
}

#[test]
fn drill_validates_from_the_root_down() {
    let world = start();
    let (anchor, hints) = (world.anchor.path().to_string_lossy(), world.hints.path().to_string_lossy());
    for (name, rtype) in [("ca.platform.internal", "A"), ("mail.acme.corp", "A"), ("acme.corp", "MX")] {
        let trace = run("drill", &["-T", "-D", "-k", &anchor, "-r", &hints, name, rtype]);
        // The last line explains the marks.
        let trace: String =
            trace.lines().filter(|line| !line.starts_with(";;[S]")).map(|line| format!("{line}\n")).collect();
        assert!(trace.contains("[T]") && !trace.contains("[B]") && !trace.contains("[S]"), "{name}: {trace}");
    }
}

#[test]
fn every_zone_verifies_as_a_whole() {
    let _world = start();
    for (server, zone) in [
        ("10.0.0.2", "."),
        ("10.0.0.4", "internal"),
        ("10.0.0.3", "platform.internal"),
        ("10.0.0.5", "corp"),
        ("10.0.0.5", "acme.corp"),
        ("10.0.0.3", "28.172.in-addr.arpa"),
    ] {
        let text = dig(&[&format!("@{server}"), "-y", KEY, zone, "AXFR", "+noall", "+answer", "+onesoa"]);
        let text: String = text.lines().filter(|line| !line.contains("TSIG")).map(|line| format!("{line}\n")).collect();
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &text).expect("written");
        let verified = attempt("ldns-verify-zone", &[&file.path().to_string_lossy()], "");
        let said = String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && said.contains("Zone is verified and complete"), "{zone}: {said}\n{text}");
    }
}

#[test]
fn delv_validates_answers_and_denials_through_the_resolver() {
    let world = start();
    let anchor = world.delv.path().to_string_lossy();
    for (name, rtype, expected) in [
        ("ca.platform.internal", "A", "; fully validated"),
        ("auth.internal", "A", "; fully validated"),
        ("acme.corp", "MX", "; fully validated"),
        ("www.acme.corp", "A", "; fully validated"),
        ("x.y.acme.corp", "TXT", "; fully validated"),
        ("6.0.0.10.in-addr.arpa", "PTR", "; fully validated"),
        ("acme.corp", "AAAA", "; negative response, fully validated"),
        ("b.acme.corp", "A", "; negative response, fully validated"),
        ("x.acme.corp", "A", "; negative response, fully validated"),
        ("nothing.corp", "A", "; negative response, fully validated"),
        ("example.com", "A", "; negative response, fully validated"),
    ] {
        for root in ["+root", "+root=."] {
            let output = attempt("delv", &["@172.28.0.1", "-a", &anchor, root, "+multiline", name, rtype], "");
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(expected), "{root} {name} {rtype}: {said}");
        }
    }
}

#[test]
fn dig_sees_the_authentic_data_bit_and_the_reason_of_a_failure() {
    let world = start();
    for (arguments, expected) in [
        (&["mail.acme.corp", "A", "+dnssec"][..], ("NOERROR", "qr rd ra ad")),
        (&["mail.acme.corp", "A", "+adflag"], ("NOERROR", "qr rd ra ad")),
        (&["mail.acme.corp", "A", "+noadflag"], ("NOERROR", "qr rd ra")),
        (&["x.y.acme.corp", "TXT", "+dnssec"], ("NOERROR", "qr rd ra ad")),
        (&["nothing.corp", "A", "+dnssec"], ("NXDOMAIN", "qr rd ra ad")),
        (&["example.com", "A", "+dnssec"], ("NXDOMAIN", "qr rd ra ad")),
        (&["acme.corp", "AAAA", "+dnssec"], ("NOERROR", "qr rd ra ad")),
        (&["sub.acme.corp", "DS", "+dnssec"], ("NOERROR", "qr rd ra ad")),
    ] {
        assert_eq!(status(GATEWAY, arguments), (expected.0.into(), expected.1.into()), "{arguments:?}");
    }
    let drill = run("drill", &["-D", "@172.28.0.1", "mail.acme.corp", "A"]);
    assert!(drill.contains("flags: qr rd ra ad") && drill.contains("10.0.0.13"), "{drill}");
    // The anchor of another world: nothing of this one is right any more.
    let other =
        Signing::new(Secret::new(&[1; 32]), Schedule { epoch: 0, lifetimes: signed().dnssec.expect("signed").into() });
    world.service.resolver.set_anchors(other.anchors(&Name::root(), 0).expect("anchors"));
    let failed = dig(&["@172.28.0.1", "mail.acme.corp", "A"]);
    assert!(failed.contains("SERVFAIL") && failed.contains("EDE: 9 (DNSKEY Missing)"), "{failed}");
    assert_eq!(
        status(GATEWAY, &["mail.acme.corp", "A", "+cdflag", "+dnssec"]),
        ("NOERROR".into(), "qr rd ra cd".into())
    );
}

#[test]
fn a_forged_record_is_refused_by_the_resolver_itself() {
    let world = start();
    assert_eq!(short(GATEWAY, &["mail.acme.corp"]), ["10.0.0.13"]);
    // The world's servers begin to lie: a zone with a record that its key never signed stands in their place.
    let apex = Name::parse("acme.corp").expect("a name");
    let lie = Record::parse("lie.acme.corp", 60, Rtype::A, "10.6.6.6").expect("a record");
    let catalog = world.service.store.snapshot();
    let soa = catalog.zone(&apex).expect("the zone").soa().clone();
    world.service.store.arrange(|catalog| {
        let mut draft = Zone::new(apex.clone(), soa, 60).edit();
        let _ = draft.add(Record::parse("acme.corp", 60, Rtype::NS, "ns.corp").expect("a record")).expect("fits");
        let _ = draft.add(lie).expect("fits");
        catalog.insert_zone(draft.into_zone());
    });
    let forged = dig(&["@172.28.0.1", "lie.acme.corp", "A"]);
    assert!(forged.contains("SERVFAIL") && forged.contains("EDE: "), "{forged}");
    assert!(!forged.contains("10.6.6.6"));
    assert_eq!(short("10.0.0.5", &["lie.acme.corp"]), ["10.6.6.6"], "the server does lie");
}
