//! The authoritative servers of a world: one for each address, all in one.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;

use crate::{
    answer::{self, Asked},
    dnssec::{SignatureCache, Signatures},
    name::Name,
    record::Rtype,
    serve::{Handler, Limiter, Peer, Reply, Transport, Verdict},
    transfer::Transfer,
    update,
    wire::{
        CLASS_ANY, CLASS_IN, HEADER, MESSAGE_MAX, Opcode, Rcode, UDP_EDNS, UDP_PLAIN,
        edns::{self, Edns},
        flag,
        read::{Header, Parsed},
        tsig::{self, Checked, Keyring, Signer},
        write::Writer,
    },
    zone::Store,
};

/// Signatures kept for who asks next; about 3 MiB.
const SIGNATURES: usize = 20_000;

/// Which key may do what.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The keys.
    pub keys: Keyring,
    /// Key and zone: who may take the zone as a whole.
    pub transfer: HashSet<(Name, Name)>,
    /// Key and zone: who may change the zone.
    pub update: HashSet<(Name, Name)>,
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Seconds since 1970.
    fn unix(&self) -> u64;
    /// Time since any fixed instant, never going back.
    fn monotonic(&self) -> Duration;
}

/// Answers for every zone of the store at the addresses of its views.
pub struct Authority<C> {
    store: Arc<Store>,
    access: ArcSwap<Access>,
    clock: C,
    limiter: Mutex<Limiter>,
    nsid: Vec<u8>,
    cookies: hmac::Key,
    signatures: Arc<SignatureCache>,
}

impl<C: Clock> Authority<C> {
    /// Serves `store`. `nsid` names this server (RFC 5001); `cookie_secret` is random and private.
    pub fn new(store: Arc<Store>, clock: C, limiter: Limiter, nsid: &str, cookie_secret: &[u8; 32]) -> Self {
        Self {
            store,
            access: ArcSwap::default(),
            clock,
            limiter: Mutex::new(limiter),
            nsid: nsid.as_bytes().iter().copied().take(64).collect(),
            cookies: hmac::Key::new(hmac::HMAC_SHA256, cookie_secret),
            signatures: Arc::new(SignatureCache::new(SIGNATURES)),
        }
    }

    /// Replaces who may do what, from the next request on.
    pub fn set_access(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    /// The store that is served.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn signatures(&self) -> Signatures {
        Signatures { cache: self.signatures.clone(), now: self.clock.unix() }
    }

    fn judge(&self, request: &[u8], peer: &Peer) -> Reply {
        let Some(header) = Header::read(request) else { return Reply::Silence };
        // An answer to an answer could go on for ever.
        if header.is_response() {
            return Reply::Silence;
        }
        let verdict = match peer.transport {
            Transport::Tcp => Verdict::Serve,
            Transport::Udp => {
                let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
                limiter.judge(peer.remote.ip(), self.clock.monotonic())
            }
        };
        if verdict == Verdict::Drop {
            return Reply::Silence;
        }
        let Ok(parsed) = Parsed::read(request) else { return Reply::Message(bare(&header, Rcode::FORMERR)) };
        let mut context = match Context::read(&parsed) {
            Ok(context) => context,
            Err(rcode) => return Reply::Message(bare(&header, rcode)),
        };
        if verdict == Verdict::Slip {
            let mut writer = self.begin(&parsed, peer, &context, flag::TC);
            self.end(&mut writer, &context, Rcode::NOERROR);
            return Reply::Message(writer.finish());
        }
        if context.edns.as_ref().is_some_and(|edns| edns.version > 0) {
            return self.plain(&parsed, peer, context, Rcode::BADVERS);
        }
        context.cookie = context.edns.as_ref().and_then(|edns| edns.cookie).map(|client| self.cookie(client, peer));
        let access = self.access.load();
        let signature = match tsig::check(request, &parsed, &access.keys, self.clock.unix()) {
            Ok(Checked::Faulty(fault, signer)) => {
                tracing::debug!(service = "dns", "refused a signature of {}: {fault:?}", peer.remote);
                context.signer = Some(signer);
                return self.plain(&parsed, peer, context, Rcode::NOTAUTH);
            }
            Ok(checked) => checked,
            Err(_) => return Reply::Message(bare(&header, Rcode::FORMERR)),
        };
        let key = signature.key().map(|key| key.name().clone());
        context.signer = signature.into_signer();
        match header.opcode() {
            Opcode::QUERY => self.query(&parsed, peer, context, key.as_ref(), &access),
            Opcode::UPDATE => {
                let outcome = update::Request::read(request, &parsed)
                    .and_then(|update| self.update(&update, peer, key.as_ref(), &access));
                let rcode = outcome.err().unwrap_or(Rcode::NOERROR);
                self.plain(&parsed, peer, context, rcode)
            }
            Opcode::NOTIFY => self.plain(&parsed, peer, context, Rcode::REFUSED),
            _ => self.plain(&parsed, peer, context, Rcode::NOTIMP),
        }
    }

    fn query(&self, parsed: &Parsed<'_>, peer: &Peer, context: Context, key: Option<&Name>, access: &Access) -> Reply {
        let Some(question) = &parsed.question else { return self.plain(parsed, peer, context, Rcode::FORMERR) };
        if question.class != CLASS_IN && question.class != CLASS_ANY {
            return self.plain(parsed, peer, context, Rcode::REFUSED);
        }
        let catalog = self.store.look();
        let Some(view) = answer::view_at(&catalog, peer.local) else {
            return self.plain(parsed, peer, context, Rcode::REFUSED);
        };
        if matches!(question.rtype, Rtype::AXFR | Rtype::IXFR) {
            let zone = catalog.zone(&question.name).filter(|_| view.holds(&question.name));
            let Some(zone) = zone else { return self.plain(parsed, peer, context, Rcode::NOTAUTH) };
            let granted = key.is_some_and(|key| access.transfer.contains(&(key.clone(), question.name.clone())));
            if !granted {
                return self.plain(parsed, peer, context, Rcode::REFUSED);
            }
            if peer.transport == Transport::Udp && question.rtype == Rtype::AXFR {
                return self.plain(parsed, peer, context, Rcode::FORMERR);
            }
            if peer.transport == Transport::Tcp {
                let (id, question) = (parsed.header.id, question.clone());
                let transfer = Transfer::new(zone.clone(), id, question, context.signer, self.signatures());
                return Reply::Messages(Box::new(transfer));
            }
            // IXFR by UDP: the SOA record alone says "come by TCP" (RFC 1995, section 2); the question is answered as such.
        }
        let rtype = if question.rtype == Rtype::IXFR { Rtype::SOA } else { question.rtype };
        let mut writer = self.begin(parsed, peer, &context, 0);
        let dnssec_ok = context.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
        let signatures = dnssec_ok.then(|| self.signatures());
        let asked = Asked { name: &question.name, rtype, signatures: signatures.as_ref() };
        let rcode = answer::answer(&catalog, view, &asked, &mut writer);
        self.end(&mut writer, &context, rcode);
        self.sign(writer.finish(), context)
    }

    fn update(&self, update: &update::Request, peer: &Peer, key: Option<&Name>, access: &Access) -> Result<(), Rcode> {
        let zone = update.zone();
        let catalog = self.store.snapshot();
        let ours = answer::view_at(&catalog, peer.local).is_some_and(|view| view.holds(zone));
        if !ours || catalog.zone(zone).is_none() {
            return Err(Rcode::NOTAUTH);
        }
        if !key.is_some_and(|key| access.update.contains(&(key.clone(), zone.clone()))) {
            return Err(Rcode::REFUSED);
        }
        drop(catalog);
        // Serials are 32 bits and compared by RFC 1982, so the wrap in 2106 is one.
        let now = self.clock.unix() as u32;
        self.store.change(zone, now, |draft| update.apply(draft)).map(drop).map_err(|update::Refusal(rcode)| rcode)
    }

    /// A response without records.
    fn plain(&self, parsed: &Parsed<'_>, peer: &Peer, context: Context, rcode: Rcode) -> Reply {
        let mut writer = self.begin(parsed, peer, &context, 0);
        self.end(&mut writer, &context, rcode);
        self.sign(writer.finish(), context)
    }

    fn begin(&self, parsed: &Parsed<'_>, peer: &Peer, context: &Context, flags: u16) -> Writer {
        let limit = match (peer.transport, &context.edns) {
            (Transport::Tcp, _) => MESSAGE_MAX,
            (Transport::Udp, None) => UDP_PLAIN,
            (Transport::Udp, Some(edns)) => usize::from(edns.size).min(UDP_EDNS),
        };
        let echoed = parsed.header.flags & (15 << 11 | flag::RD | flag::CD);
        let mut writer = Writer::new(parsed.header.id, flag::QR | flags | echoed, limit);
        if let Some(question) = &parsed.question {
            // A question of at most 259 bytes fits into the smallest limit.
            let _ = writer.question(&question.name, question.rtype, question.class);
        }
        writer.reserve(self.tail(context));
        writer
    }

    /// Bytes kept for the OPT and TSIG records.
    fn tail(&self, context: &Context) -> usize {
        let opt = context.edns.as_ref().map_or(0, |edns| self.opt(edns, context, 0).len());
        opt + context.signer.as_ref().map_or(0, Signer::len)
    }

    fn opt(&self, edns: &Edns, context: &Context, extended_rcode: u8) -> edns::Reply<'_> {
        edns::Reply {
            extended_rcode,
            dnssec_ok: edns.dnssec_ok,
            nsid: edns.nsid.then_some(self.nsid.as_slice()),
            cookie: context.cookie,
            error: None,
        }
    }

    fn end(&self, writer: &mut Writer, context: &Context, rcode: Rcode) {
        writer.release(self.tail(context));
        writer.set(rcode.0 & 15);
        if let Some(edns) = &context.edns {
            // Room was reserved for it.
            let _ = self.opt(edns, context, (rcode.0 >> 4) as u8).write(writer);
        }
    }

    fn sign(&self, mut message: Vec<u8>, context: Context) -> Reply {
        if let Some(mut signer) = context.signer {
            signer.sign(&mut message, self.clock.unix());
        }
        Reply::Message(message)
    }

    /// Client part, and a MAC of it and the client's address (RFC 7873, section 4.2).
    fn cookie(&self, client: [u8; 8], peer: &Peer) -> [u8; 16] {
        let mut input = client.to_vec();
        match peer.remote.ip() {
            std::net::IpAddr::V4(v4) => input.extend_from_slice(&v4.octets()),
            std::net::IpAddr::V6(v6) => input.extend_from_slice(&v6.octets()),
        }
        let mac = hmac::sign(&self.cookies, &input);
        let mut cookie = [0; 16];
        cookie[..8].copy_from_slice(&client);
        cookie[8..].copy_from_slice(&mac.as_ref()[..8]);
        cookie
    }
}

impl<C: Clock> Handler for Authority<C> {
    fn handle(&self, request: &[u8], peer: &Peer) -> Reply {
        self.judge(request, peer)
    }
}

/// What a request says beside its question.
#[derive(Debug)]
struct Context {
    edns: Option<Edns>,
    cookie: Option<[u8; 16]>,
    signer: Option<Signer>,
}

impl Context {
    fn read(parsed: &Parsed<'_>) -> Result<Self, Rcode> {
        let mut options = parsed.records.iter().filter(|record| record.rtype == Rtype::OPT);
        let edns = match (options.next(), options.next()) {
            (None, _) => None,
            (Some(record), None) if record.section == 3 => Some(Edns::read(record).map_err(|_| Rcode::FORMERR)?),
            _ => return Err(Rcode::FORMERR),
        };
        Ok(Self { edns, cookie: None, signer: None })
    }
}

/// A header alone: all that can be said of a message that could not be read.
fn bare(header: &Header, rcode: Rcode) -> Vec<u8> {
    let flags = flag::QR | header.flags & (15 << 11 | flag::RD) | rcode.0 & 15;
    Writer::new(header.id, flags, HEADER).finish()
}
