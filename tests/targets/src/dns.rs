//! An authoritative server of two zones, one of them signed, and a second reader of its answers.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use domain::{base::Message, rdata::AllRecordData};
use netengine_dns::{
    authority::{Access, Authority, Clock},
    dnssec::{Lifetimes, Schedule, Secret, Signing},
    name::Name,
    record::{Record, Rtype, Soa},
    serve::{Handler, Limiter, Peer, Reply, Transport},
    wire::tsig::{Algorithm, Key, Signer},
    zone::{Catalog, NoJournal, SerialPolicy, Store, View, Zone},
};

/// Seconds since 1970, always.
pub const NOW: u64 = 1_000_000;
/// Most messages of one transfer that are looked at; the zones here need one.
const MESSAGES: usize = 64;

/// A clock that stands still.
pub struct Still;

impl Clock for Still {
    fn unix(&self) -> u64 {
        NOW
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A name that is one.
pub fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn soa(serial: u32) -> Soa {
    Soa { primary: name("ns.x"), mailbox: name("admin.x"), serial, refresh: 1, retry: 1, expire: 1, minimum: 1 }
}

fn zone(apex: &str, records: &[(&str, Rtype, &str)]) -> Zone {
    let mut draft = Zone::new(name(apex), soa(1), 60).edit();
    for (owner, rtype, data) in records {
        let owner = format!("{owner}{apex}");
        let _ = draft.add(Record::parse(&owner, 60, *rtype, data).expect("a record")).expect("fits");
    }
    draft.into_zone()
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let records = [
        ("", Rtype::NS, "ns.x"),
        ("ns.", Rtype::A, "10.0.0.1"),
        ("a.b.", Rtype::TXT, "text"),
        ("a.b.", Rtype::MX, "10 ns.x"),
        ("_s._tcp.", Rtype::SRV, "1 2 3 ns.x"),
        ("*.w.", Rtype::A, "10.0.0.2"),
        ("one.", Rtype::CNAME, "two.x"),
        ("two.", Rtype::CNAME, "one.x"),
        ("out.", Rtype::CNAME, "ns.s"),
        ("cut.", Rtype::NS, "ns.cut.x"),
        ("ns.cut.", Rtype::AAAA, "fd00::3"),
    ];
    let mut catalog = Catalog::default();
    catalog.insert_zone(zone("x", &records));
    catalog.insert_zone(zone("s", &records));
    catalog.insert_view(local(), View::new([&name("x"), &name("s")]));
    // The keys of one zone only: a catalog of its own is signed, and the zone goes back.
    let mut signed = Catalog::default();
    signed.insert_zone(zone("s", &records));
    let store = Store::new(signed, SerialPolicy::Counted, NoJournal);
    let lifetimes = Lifetimes { ksk: 365 * 86_400, zsk: 30 * 86_400 };
    Signing::new(Secret::new(&[7; 32]), Schedule { epoch: NOW, lifetimes }).refresh(&store, NOW).expect("signed");
    catalog.insert_zone(Zone::clone(store.snapshot().zone(&name("s")).expect("the zone")));
    catalog
});

/// The address that is served.
pub fn local() -> IpAddr {
    IpAddr::from([10, 0, 0, 1])
}

/// Somebody who asks.
pub fn peer(transport: Transport) -> Peer {
    Peer { local: local(), remote: ([10, 0, 0, 9], 999).into(), transport }
}

/// The key that may do everything. Nobody who only sends bytes has it.
pub fn key() -> Key {
    Key::new(name("test"), Algorithm::Sha256, b"a secret of thirty-two bytes, no")
}

/// The request, signed by [`key`].
pub fn signed(request: &[u8]) -> Vec<u8> {
    let mut request = request.to_vec();
    Signer::request(Arc::new(key())).sign(&mut request, NOW);
    request
}

/// A server of `x` and of `s`, which is signed; [`key`] may transfer and update both.
pub fn authority() -> Authority<Still> {
    let store = Arc::new(Store::new(CATALOG.clone(), SerialPolicy::Counted, NoJournal));
    let authority = Authority::new(store, Still, Limiter::new(0, 1), "id", &[1; 32]);
    let mut access = Access::default();
    access.keys.insert(key());
    for zone in ["x", "s"] {
        access.transfer.insert((name("test"), name(zone)));
        access.update.insert((name("test"), name(zone)));
    }
    authority.set_access(access);
    authority
}

/// All messages of an answer; none for silence.
pub fn ask(authority: &Authority<Still>, request: &[u8], transport: Transport) -> Vec<Vec<u8>> {
    match authority.handle(request, &peer(transport)) {
        Reply::Silence => Vec::new(),
        Reply::Message(message) => vec![message],
        Reply::Messages(messages) => {
            let messages: Vec<_> = messages.take(MESSAGES + 1).collect();
            assert!(messages.len() <= MESSAGES, "a transfer does not end");
            messages
        }
        Reply::Later(_) => panic!("an authority has its answers at once"),
    }
}

/// An answer is a response to the request within its transport's bound, and crate `domain` can read all of it.
pub fn check(request: &[u8], answer: &[u8], transport: Transport) {
    let message = Message::from_slice(answer).expect("an answer has a header");
    assert!(message.header().qr(), "an answer is marked as one");
    assert_eq!(answer[..2], request[..2], "the id");
    assert!(answer.len() <= if transport == Transport::Udp { 1232 } else { 65_535 }, "{} bytes", answer.len());
    let mut records = 0;
    let (_, answers, authorities, additionals) = message.sections().expect("the sections can be read");
    for section in [answers, authorities, additionals] {
        for record in section {
            let record = record.expect("the record can be read");
            record.to_any_record::<AllRecordData<_, _>>().expect("its data can be read");
            records += 1;
        }
    }
    let counts = message.header_counts();
    let counted = counts.ancount() + counts.nscount() + counts.arcount();
    assert_eq!(records, usize::from(counted), "the counts of the header");
}
