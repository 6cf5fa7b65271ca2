//! The recursive resolver of a world: begins at the world's root, follows its delegations, and asks nobody else.

mod ask;
mod cache;
mod iterate;
mod message;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

pub use self::{
    ask::{Network, Upstream},
    cache::{Cache, Denial, Link},
};
use crate::{
    authority::Clock,
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
}

impl Outcome {
    fn failure(rcode: Rcode) -> Self {
        Self { rcode, answers: Vec::new(), denial: Vec::new() }
    }
}

/// What all resolutions share.
struct Shared<U, C> {
    upstream: U,
    clock: C,
    hints: ArcSwap<Vec<Hint>>,
    cache: Mutex<Cache>,
}

/// Resolves names for the hosts of a world.
pub struct Resolver<U, C> {
    shared: Arc<Shared<U, C>>,
    limiter: Mutex<Limiter>,
}

impl<U: Upstream, C: Clock> Resolver<U, C> {
    /// A resolver that begins at `hints` and keeps what it learns in `cache`.
    pub fn new(upstream: U, clock: C, hints: Vec<Hint>, cache: Cache, limiter: Limiter) -> Self {
        let shared = Shared { upstream, clock, hints: ArcSwap::from_pointee(hints), cache: Mutex::new(cache) };
        Self { shared: Arc::new(shared), limiter: Mutex::new(limiter) }
    }

    /// Begins elsewhere from now on; what was learnt is forgotten.
    pub fn set_hints(&self, hints: Vec<Hint>) {
        self.shared.hints.store(Arc::new(hints));
        self.shared.cache().clear();
    }

    /// Forgets what a change to a zone of this world made untrue, so that it is seen at once.
    pub fn forget(&self, delta: &Delta) {
        let mut cache = self.shared.cache();
        for record in delta.added.iter().chain(&delta.removed) {
            cache.forget(&record.owner, &delta.zone);
        }
    }

    /// Resolves one name.
    pub async fn resolve(&self, name: &Name, rtype: Rtype) -> Outcome {
        iterate::resolve(&self.shared, name, rtype).await
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
            return Reply::Message(asked.answer(&outcome));
        }
        let shared = self.shared.clone();
        Reply::Later(Box::pin(async move {
            let outcome = iterate::resolve(&shared, &asked.question.name, asked.question.rtype).await;
            Some(asked.answer(&outcome))
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
    fn answer(&self, outcome: &Outcome) -> Vec<u8> {
        let limit = match (self.transport, &self.edns) {
            (Transport::Tcp, _) => MESSAGE_MAX,
            (Transport::Udp, None) => UDP_PLAIN,
            (Transport::Udp, Some(edns)) => usize::from(edns.size).min(UDP_EDNS),
        };
        let flags = flag::QR | flag::RA | self.header.flags & (flag::RD | flag::CD) | outcome.rcode.0 & 15;
        let mut writer = Writer::new(self.header.id, flags, limit);
        // A question of at most 259 bytes fits into the smallest limit.
        let _ = writer.question(&self.question.name, self.question.rtype, self.question.class);
        let opt = self.edns.as_ref().map(|edns| edns::Reply {
            extended_rcode: (outcome.rcode.0 >> 4) as u8,
            dnssec_ok: edns.dnssec_ok,
            ..edns::Reply::default()
        });
        let tail = opt.as_ref().map_or(0, edns::Reply::len);
        writer.reserve(tail);
        let length = writer.len();
        let dnssec_ok = self.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
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
    let proofs = outcome.answers.iter().flat_map(|link| &link.proofs);
    for (owner, set) in outcome.denial.iter().chain(proofs) {
        if dnssec_ok || set.rtype == Rtype::SOA {
            writer.set_of(Section::Authority, owner, set, set.ttl)?;
        }
    }
    Ok(())
}
