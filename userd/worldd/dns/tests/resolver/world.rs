//! A world's name servers without a network: questions go from the resolver to the handlers, the clock is set by hand, and
//! what servers say can be forged on the way.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use netengine_dns::{
    authority::{Authority, Clock},
    dnssec::{Anchor, Schedule, Secret, Signing},
    name::Name,
    plan::{KeyLifetimes, Plan},
    record::{Record, Rtype, Soa},
    resolve::{Cache, Hint, Resolver, Upstream},
    serve::{Handler, Limiter, Peer, Reply, Transport},
    zone::{Catalog, NoJournal, SerialPolicy, Store, View, Zone},
};

/// Seconds since 1970, and since a fixed instant.
#[derive(Clone)]
pub struct Hand(pub Arc<AtomicU64>);

impl Clock for Hand {
    fn unix(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.unix())
    }
}

/// Changes an answer on its way: the server, the question, the answer.
pub type Forgery = dyn Fn(IpAddr, &[u8], Vec<u8>) -> Vec<u8> + Send + Sync;

/// Where the resolver's questions go.
pub struct Wire {
    servers: HashMap<IpAddr, Arc<Authority<Hand>>>,
    pub forgery: Arc<Mutex<Option<Box<Forgery>>>>,
    /// Questions asked.
    pub asked: Arc<AtomicU64>,
    /// Of these, of the resolver outside.
    pub asked_outside: Arc<AtomicU64>,
}

impl Upstream for Wire {
    async fn ask(&self, server: IpAddr, query: Vec<u8>, stream: bool) -> io::Result<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if server == IpAddr::from(OUTSIDE) {
            self.asked_outside.fetch_add(1, Ordering::SeqCst);
        }
        let authority = self.servers.get(&server).ok_or(io::ErrorKind::TimedOut)?;
        let transport = if stream { Transport::Tcp } else { Transport::Udp };
        let peer = Peer { local: server, remote: ([10, 0, 0, 1], 4000).into(), transport };
        match authority.handle(&query, &peer) {
            Reply::Message(answer) => match self.forgery.lock().expect("not poisoned").as_ref() {
                Some(forge) => Ok(forge(server, &query, answer)),
                None => Ok(answer),
            },
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

pub struct World {
    /// The world's own servers.
    pub authority: Arc<Authority<Hand>>,
    pub store: Arc<Store>,
    pub signing: Signing,
    pub clock: Hand,
    pub resolver: Resolver<Wire, Hand>,
    pub forgery: Arc<Mutex<Option<Box<Forgery>>>>,
    pub asked: Arc<AtomicU64>,
    pub asked_outside: Arc<AtomicU64>,
}

/// Where a resolver outside the world answers.
pub const OUTSIDE: [u8; 4] = [192, 0, 2, 53];

pub fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// The single-org example with DNSSEC and a domain that has records, a wildcard, and two zones below it that others serve:
/// one that is not signed at 10.0.0.77, and one at an address where nobody answers.
pub fn plan() -> Plan {
    let yaml = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/single-org.yaml"));
    let yaml = yaml.expect("the example").replace("\npki:\n", "\npki:\n  dnssec_enabled: true\n").replace(
        "- {domain: acme.corp, org: acme-corp}",
        "- {domain: acme.corp, org: acme-corp, records: [{type: MX, value: '10 mail.acme.corp'}, \
         {name: mail, type: A, value: 10.0.0.13}, {name: www, type: CNAME, value: mail.acme.corp}, \
         {name: '*', type: TXT, value: any}, {name: '*.alias', type: CNAME, value: mail.acme.corp}, \
         {name: a.b, type: A, value: 10.0.0.9}, {name: out, type: CNAME, value: www.sub.acme.corp}, \
         {name: sub, type: NS, value: ns.sub.acme.corp}, {name: ns.sub, type: A, value: 10.0.0.77}, \
         {name: dead, type: NS, value: ns.dead.acme.corp}, {name: ns.dead, type: A, value: 10.0.0.78}]}",
    );
    let base = netengine_spec::Source { name: "spec".to_owned(), text: yaml };
    let sources = netengine_spec::Sources { base, overlay: None, sets: Vec::new() };
    Plan::of(&netengine_spec::load(&sources, &|_: &str| None).expect("a spec").spec, &[])
}

/// One zone at one address.
fn one_zone(address: [u8; 4], apex: &str, records: &[(&str, Rtype, &str)]) -> Catalog {
    let (primary, mailbox) = (name("ns").clone(), name("a").clone());
    let soa = Soa { primary, mailbox, serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 5 };
    let mut draft = Zone::new(name(apex), soa, 60).edit();
    for &(owner, rtype, data) in records {
        let _ = draft.add(Record::parse(owner, 60, rtype, data).expect("a record")).expect("fits");
    }
    let mut catalog = Catalog::default();
    catalog.insert_view(address.into(), View::new([&name(apex)]));
    catalog.insert_zone(draft.into_zone());
    catalog
}

fn unsigned() -> Catalog {
    let records = [
        ("sub.acme.corp", Rtype::NS, "ns.sub.acme.corp"),
        ("ns.sub.acme.corp", Rtype::A, "10.0.0.77"),
        ("www.sub.acme.corp", Rtype::A, "10.0.0.70"),
        ("in.sub.acme.corp", Rtype::CNAME, "mail.acme.corp"),
    ];
    one_zone([10, 0, 0, 77], "sub.acme.corp", &records)
}

/// What is known outside the world, where its names are others.
fn outside() -> Catalog {
    let records = [
        ("www.example.com", Rtype::A, "192.0.2.80"),
        ("alias.example.com", Rtype::CNAME, "www.example.com"),
        ("trap.example.com", Rtype::CNAME, "mail.acme.corp"),
        ("mail.acme.corp", Rtype::A, "192.0.2.66"),
        ("nothing.corp", Rtype::A, "192.0.2.66"),
    ];
    one_zone(OUTSIDE, ".", &records)
}

impl World {
    /// A world that began at `epoch`; the resolver has the anchors of that moment.
    pub fn new(epoch: u64, lifetimes: KeyLifetimes) -> Self {
        let plan = plan();
        let clock = Hand(Arc::new(AtomicU64::new(epoch)));
        let catalog = plan.catalog(1_000).expect("zones");
        let store = Arc::new(Store::new(catalog, SerialPolicy::Counted, NoJournal));
        let authority =
            |store| Arc::new(Authority::new(store, clock.clone(), Limiter::new(0, 2), "of-a-test", &[7; 32]));
        let ours = authority(store.clone());
        let mut servers: HashMap<_, _> = store.snapshot().addresses().map(|address| (address, ours.clone())).collect();
        let theirs = authority(Arc::new(Store::new(unsigned(), SerialPolicy::Counted, NoJournal)));
        servers.insert([10, 0, 0, 77].into(), theirs);
        let outside = authority(Arc::new(Store::new(outside(), SerialPolicy::Counted, NoJournal)));
        servers.insert(OUTSIDE.into(), outside);
        let forgery = Arc::new(Mutex::new(None));
        let asked = Arc::new(AtomicU64::new(0));
        let asked_outside = Arc::new(AtomicU64::new(0));
        let wire =
            Wire { servers, forgery: forgery.clone(), asked: asked.clone(), asked_outside: asked_outside.clone() };
        let hints =
            plan.hints.iter().map(|(zone, servers)| Hint { zone: name(zone), servers: servers.clone() }).collect();
        let resolver = Resolver::new(wire, clock.clone(), hints, Cache::new(10_000), Limiter::new(0, 2));
        let signing = Signing::new(Secret::new(&[9; 32]), Schedule { epoch, lifetimes: lifetimes.into() });
        let world = Self { authority: ours, store, signing, clock, resolver, forgery, asked, asked_outside };
        world.refresh();
        world.resolver.set_anchors(world.anchors());
        world
    }

    pub fn now(&self) -> u64 {
        self.clock.unix()
    }

    pub fn set(&self, now: u64) {
        self.clock.0.store(now, Ordering::SeqCst);
    }

    /// Puts the keys of now into the zones; returns when to do so again.
    pub fn refresh(&self) -> u64 {
        self.signing.refresh(&self.store, self.now()).expect("signed")
    }

    pub fn anchors(&self) -> Vec<Anchor> {
        self.signing.anchors(&Name::root(), self.now()).expect("anchors")
    }

    pub fn forge(&self, forge: impl Fn(IpAddr, &[u8], Vec<u8>) -> Vec<u8> + Send + Sync + 'static) {
        *self.forgery.lock().expect("not poisoned") = Some(Box::new(forge));
    }

    /// Forgets everything that was learnt, forgeries included.
    pub fn forget(&self) {
        self.resolver.set_anchors(Vec::new());
        self.resolver.set_anchors(self.anchors());
    }
}
