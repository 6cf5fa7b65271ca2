//! The recursive resolver of a world: begins at the world's root, follows its delegations, and asks nobody else unless it is
//! told to [`Forward`]. With trust anchors it validates (RFC 4035, section 5).

mod ask;
mod cache;
mod forward;
mod iterate;
mod message;
mod security;
mod trust;
mod validate;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

pub use self::{
    ask::{Network, Upstream},
    cache::{Cache, Denial, Link},
    forward::Forward,
    security::{ExtendedError, Security},
};
use crate::{
    authority::Clock,
    dnssec::Anchor,
    name::Name,
    record::Rtype,
    serve::{Handler, Limiter, Peer, Reply, Transport, Verdict},
    wire::{
        CLASS_IN, HEADER, MESSAGE_MAX, Opcode, Rcode, UDP_EDNS, UDP_PLAIN,
        edns::{self, Edns},
        flag,
        read::{Header, Parsed, Question},
        write::{Full, Section, Writer},
    },
    zone::Delta,
};

/// Where resolution begins: a zone and the addresses of its servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The zone, most often the root.
    pub zone: Name,
    /// Its servers.
    pub servers: Vec<IpAddr>,
}

/// What a resolution found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The outcome.
    pub rcode: Rcode,
    /// The chain of aliases and at its end the answer, each with the remaining time to live in its set.
    pub answers: Vec<Link>,
    /// The records of a denial.
    pub denial: Denial,
    /// How far it is proven as a whole. Bogus data is here for those who check it themselves.
    pub security: Security,
    /// Why it failed.
    pub error: Option<ExtendedError>,
}

impl Outcome {
    fn failure(rcode: Rcode) -> Self {
        Self { rcode, answers: Vec::new(), denial: Vec::new(), security: Security::Indeterminate, error: None }
    }

    fn broken(error: ExtendedError) -> Self {
        Self { error: Some(error), ..Self::failure(Rcode::SERVFAIL) }
    }

    /// Without what is bogus: that is SERVFAIL (RFC 4035, section 5.5).
    #[must_use]
    pub fn checked(self) -> Self {
        match self.security.error() {
            Some(error) => Self::broken(error),
            None => self,
        }
    }
}

/// What all resolutions share.
struct Shared<U, C> {
    upstream: U,
    clock: C,
    hints: ArcSwap<Vec<Hint>>,
    /// Where chains of trust begin; none: nothing is checked.
    anchors: ArcSwap<Vec<Anchor>>,
    forward: ArcSwap<Forward>,
    cache: Mutex<Cache>,
}

/// Resolves names for the hosts of a world.
pub struct Resolver<U, C> {
    shared: Arc<Shared<U, C>>,
    limiter: Mutex<Limiter>,
}

impl<U: Upstream, C: Clock> Resolver<U, C> {
    /// A resolver that begins at `hints` and keeps what it learns in `cache`. It neither validates nor forwards until
    /// [`Resolver::set_anchors`] and [`Resolver::set_forward`] say so.
    pub fn new(upstream: U, clock: C, hints: Vec<Hint>, cache: Cache, limiter: Limiter) -> Self {
        let shared = Shared {
            upstream,
            clock,
            hints: ArcSwap::from_pointee(hints),
            anchors: ArcSwap::default(),
            forward: ArcSwap::default(),
            cache: Mutex::new(cache),
        };
        Self { shared: Arc::new(shared), limiter: Mutex::new(limiter) }
    }

    /// Begins elsewhere from now on; what was learnt is forgotten.
    pub fn set_hints(&self, hints: Vec<Hint>) {
        self.shared.hints.store(Arc::new(hints));
        self.shared.cache().clear();
    }

    /// Validates from these trust anchors on from now on, with several for a zone while its key rolls over; with none it
    /// checks nothing. Answers in the making are finished. The same anchors again change nothing.
    pub fn set_anchors(&self, anchors: Vec<Anchor>) {
        let old = self.shared.anchors.swap(Arc::new(anchors.clone()));
        let same = old.len() == anchors.len() && anchors.iter().all(|anchor| old.contains(anchor));
        if !same {
            self.shared.cache().clear();
        }
    }

    /// Forwards names outside the world from now on, or no longer; what was learnt is forgotten.
    pub fn set_forward(&self, forward: Forward) {
        self.shared.forward.store(Arc::new(forward));
        self.shared.cache().clear();
    }

    /// Forgets what a change to a zone of this world made untrue, so that it is seen at once.
    pub fn forget(&self, delta: &Delta) {
        let mut cache = self.shared.cache();
        let mut records = delta.added.iter().chain(&delta.removed);
        if records.any(|record| matches!(record.rtype, Rtype::DS | Rtype::DNSKEY)) {
            cache.forget_trust();
        }
        for record in delta.added.iter().chain(&delta.removed) {
            cache.forget(&record.owner, &delta.zone);
        }
    }

    /// Forgets a zone of which is only known that it has changed (RFC 1996), and everything below it.
    pub fn forget_zone(&self, zone: &Name) {
        self.shared.cache().forget_zone(zone);
    }

    /// Resolves one name; what is bogus is SERVFAIL.
    pub async fn resolve(&self, name: &Name, rtype: Rtype) -> Outcome {
        iterate::resolve(&self.shared, name, rtype).await.checked()
    }
}

impl<U, C> Shared<U, C> {
    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<U: Upstream, C: Clock> Handler for Resolver<U, C> {
    fn handle(&self, request: &[u8], peer: &Peer) -> Reply {
        let Some(header) = Header::read(request).filter(|header| !header.is_response()) else { return Reply::Silence };
        let mut verdict = Verdict::Serve;
        if peer.transport == Transport::Udp {
            let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
            verdict = limiter.judge(peer.remote.ip(), self.shared.clock.monotonic());
        }
        if verdict == Verdict::Drop {
            return Reply::Silence;
        }
        let bare = |rcode: Rcode| {
            let flags = flag::QR | flag::RA | header.flags & (15 << 11 | flag::RD) | rcode.0;
            Reply::Message(Writer::new(header.id, flags, HEADER).finish())
        };
        let Ok(parsed) = Parsed::read(request) else { return bare(Rcode::FORMERR) };
        if header.opcode() != Opcode::QUERY {
            return bare(Rcode::NOTIMP);
        }
        let mut options = parsed.records.iter().filter(|record| record.rtype == Rtype::OPT);
        let edns = match (options.next().map(Edns::read), options.next()) {
            (None, _) => None,
            (Some(Ok(edns)), None) => Some(edns),
            _ => return bare(Rcode::FORMERR),
        };
        let Some(question) = parsed.question else { return bare(Rcode::FORMERR) };
        let asked = Client { header, question, edns, transport: peer.transport };
        let refused = |rcode| Reply::Message(asked.answer(&Outcome::failure(rcode)));
        if verdict == Verdict::Slip {
            let mut message = asked.answer(&Outcome::failure(Rcode::NOERROR));
            message[2] |= (flag::TC >> 8) as u8;
            return Reply::Message(message);
        }
        if asked.edns.as_ref().is_some_and(|edns| edns.version > 0) {
            return refused(Rcode::BADVERS);
        }
        // Whoever does not desire recursion could only look what others have asked.
        let meta = matches!(asked.question.rtype, Rtype::AXFR | Rtype::IXFR | Rtype::OPT | Rtype::TSIG);
        if meta || !header.has(flag::RD) || asked.question.class != CLASS_IN {
            return refused(Rcode::REFUSED);
        }
        let key = (&asked.question.name, asked.question.rtype);
        if let Some(outcome) = iterate::cached(&self.shared, key.0, key.1) {
            return Reply::Message(asked.answer(&asked.check(outcome)));
        }
        let shared = self.shared.clone();
        Reply::Later(Box::pin(async move {
            let outcome = iterate::resolve(&shared, &asked.question.name, asked.question.rtype).await;
            Some(asked.answer(&asked.check(outcome)))
        }))
    }
}

/// A question of a client, with what its answer needs.
struct Client {
    header: Header,
    question: Question,
    edns: Option<Edns>,
    transport: Transport,
}

impl Client {
    /// Whoever disables checking gets what there is (RFC 4035, section 3.2.2).
    fn check(&self, outcome: Outcome) -> Outcome {
        if self.header.has(flag::CD) { outcome } else { outcome.checked() }
    }

    fn answer(&self, outcome: &Outcome) -> Vec<u8> {
        let limit = match (self.transport, &self.edns) {
            (Transport::Tcp, _) => MESSAGE_MAX,
            (Transport::Udp, None) => UDP_PLAIN,
            (Transport::Udp, Some(edns)) => usize::from(edns.size).min(UDP_EDNS),
        };
        let flags = flag::QR | flag::RA | self.header.flags & (flag::RD | flag::CD) | outcome.rcode.0 & 15;
        let dnssec_ok = self.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
        // Said to those who ask for it only (RFC 6840, section 5.8).
        let authentic = outcome.security == Security::Secure && (dnssec_ok || self.header.has(flag::AD));
        let mut writer = Writer::new(self.header.id, flags | if authentic { flag::AD } else { 0 }, limit);
        // A question of at most 259 bytes fits into the smallest limit.
        let _ = writer.question(&self.question.name, self.question.rtype, self.question.class);
        let opt = self.edns.as_ref().map(|edns| edns::Reply {
            extended_rcode: (outcome.rcode.0 >> 4) as u8,
            dnssec_ok: edns.dnssec_ok,
            error: outcome.error.map(|error| (error.0, error.text())),
            ..edns::Reply::default()
        });
        let tail = opt.as_ref().map_or(0, edns::Reply::len);
        writer.reserve(tail);
        let length = writer.len();
        if write(&mut writer, outcome, dnssec_ok).is_err() {
            writer.truncate_to(length);
        }
        writer.release(tail);
        if let Some(opt) = opt {
            // Room was reserved for it.
            let _ = opt.write(&mut writer);
        }
        writer.finish()
    }
}

/// Writes what was found; what proves it only for those who want that.
fn write(writer: &mut Writer, outcome: &Outcome, dnssec_ok: bool) -> Result<(), Full> {
    for link in &outcome.answers {
        writer.set_of(Section::Answer, &link.owner, &link.set, link.set.ttl)?;
        if let Some(signature) = link.signature.as_ref().filter(|_| dnssec_ok) {
            writer.set_of(Section::Answer, &link.owner, signature, signature.ttl)?;
        }
    }
    let proofs: Vec<_> = outcome.denial.iter().chain(outcome.answers.iter().flat_map(|link| &link.proofs)).collect();
    for (index, (owner, set)) in proofs.iter().enumerate() {
        // One record may prove something of several names of a chain.
        let is_there = proofs[..index].iter().any(|(of, other)| of == owner && other.data == set.data);
        if (dnssec_ok || set.rtype == Rtype::SOA) && !is_there {
            writer.set_of(Section::Authority, owner, set, set.ttl)?;
        }
    }
    Ok(())
}
