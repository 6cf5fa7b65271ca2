//! NOTIFY as dnspython, which checks its signature, takes it.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use netengine_dns::{
    name::Name,
    notify::{Secondary, inform},
    record::{Record, Rtype},
    resolve::Network,
    wire::tsig::{Algorithm, Key},
    zone::StoreError,
};

use crate::{
    example,
    harness::{System, python},
    start,
};

const LISTENER: &str = r#"
import socket, dns.message, dns.tsigkeyring, dns.opcode, dns.rdatatype
keys = dns.tsigkeyring.from_text({"test.": "dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHQ="})
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("127.0.0.9", 53))
print("listening", flush=True)
while True:
    wire, peer = listener.recvfrom(65535)
    message = dns.message.from_wire(wire, keyring=keys)
    assert message.had_tsig and message.opcode() == dns.opcode.NOTIFY
    soa = message.answer[0][0]
    print(message.question[0].name, soa.serial, flush=True)
    listener.sendto(dns.message.make_response(message).to_wire(), peer)
"#;

#[test]
fn each_change_of_a_zone_is_told_to_its_secondaries_with_a_signature() {
    let (_directory, python) = python();
    let service = start(&example("single-org.yaml"));
    let mut child = Command::new(python)
        .args(["-c", LISTENER])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("python runs");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("a line"));
    assert_eq!(said.next().as_deref(), Some("listening"));

    let key = Arc::new(Key::new(Name::parse("test").expect("a name"), Algorithm::Sha256, &[b't'; 32]));
    let zone = Name::parse("acme.corp").expect("a name");
    let of = zone.clone();
    let secondaries = move |changed: &Name| {
        let told = Secondary { address: [127, 0, 0, 9].into(), key: Some(key.clone()) };
        if *changed == of { vec![told] } else { Vec::new() }
    };
    let network = Arc::new(Network { patience: Duration::from_secs(3), ..Network::default() });
    let informing = inform(service.store.clone(), network, Arc::new(System(Instant::now())), secondaries);
    // A thread is in the namespace of the thread that made it; this one ends with the test's process.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(informing);
    });
    let change = |zone: &Name, n: u8| {
        let record = Record::parse(&format!("n{n}.{zone}"), 60, Rtype::A, "10.0.0.9").expect("a record");
        let made = service.store.change(zone, 0, |draft| draft.add(record).map(drop).map_err(StoreError::from));
        made.expect("made").expect("a change").to
    };
    // Until it follows it cannot know; then each change is told of, a later one for an earlier one where they come fast.
    let begun = Instant::now();
    while service.store.followers() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody follows");
        std::thread::yield_now();
    }
    change(&Name::parse("platform.internal").expect("a name"), 0);
    let serial = change(&zone, 1);
    assert_eq!(said.next(), Some(format!("acme.corp. {serial}")));
    for n in 2..20 {
        let serial = change(&zone, n);
        if n == 19 {
            let newest = said.find(|line| line.ends_with(&format!(" {serial}")));
            assert_eq!(newest, Some(format!("acme.corp. {serial}")));
        }
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
}
