//! NOTIFY (RFC 1996): telling secondary servers and resolvers that a zone has changed, and being told.

use std::{collections::BTreeSet, future::Future, net::IpAddr, sync::Arc};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
};

use crate::{
    authority::Clock,
    name::Name,
    record::Rtype,
    resolve::Upstream,
    wire::{
        CLASS_IN, Opcode, Rcode, flag,
        read::{Header, Parsed},
        tsig::{Key, Signer},
        write::{Section, Writer},
    },
    zone::{Delta, Store, Zone},
};

/// Zones told of at once.
pub const AT_ONCE: usize = 32;

/// Tries per secondary; each waits as long as the [`Upstream`] does.
const TRIES: u32 = 3;

/// Somebody who keeps a copy of a zone.
#[derive(Debug, Clone)]
pub struct Secondary {
    /// Where it listens.
    pub address: IpAddr,
    /// What the message is signed with; unsigned without.
    pub key: Option<Arc<Key>>,
}

/// A zone is said to have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The zone.
    pub zone: Name,
    /// What whoever says so is answered: that notice is taken.
    pub answer: Vec<u8>,
}

/// Reads a notice (RFC 1996, section 4); `None` for everything else. Who sent it is for the caller to judge.
pub fn receive(request: &[u8]) -> Option<Notice> {
    let header = Header::read(request).filter(|header| !header.is_response() && header.opcode() == Opcode::NOTIFY)?;
    let question = Parsed::read(request).ok()?.question?;
    if question.rtype != Rtype::SOA || question.class != CLASS_IN {
        return None;
    }
    let mut writer = Writer::new(header.id, flag::QR | flag::AA | u16::from(Opcode::NOTIFY.0) << 11, 512);
    // A question of at most 259 bytes fits.
    let _ = writer.question(&question.name, question.rtype, question.class);
    Some(Notice { zone: question.name, answer: writer.finish() })
}

/// The message that tells of a zone as it is now. `now` is in seconds since 1970.
pub fn message(id: u16, zone: &Zone, key: Option<&Arc<Key>>, now: u64) -> Vec<u8> {
    let flags = u16::from(Opcode::NOTIFY.0) << 11 | flag::AA;
    let mut writer = Writer::new(id, flags, 512);
    // A name and its SOA record with names compressed may not fit; the record is a hint only (section 3.7).
    let _ = writer.question(zone.apex(), Rtype::SOA, CLASS_IN);
    if let Some(soa) = zone.apex_node().and_then(|node| node.get(Rtype::SOA)) {
        let _ = writer.set_of(Section::Answer, zone.apex(), soa, soa.ttl);
    }
    let mut message = writer.finish();
    if let Some(key) = key {
        Signer::request(key.clone()).sign(&mut message, now);
    }
    message
}

/// Tells one secondary; true when it has taken notice.
pub async fn tell<U: Upstream>(upstream: &U, zone: &Zone, secondary: &Secondary, now: u64) -> bool {
    for _ in 0..TRIES {
        let mut id = [0; 2];
        if getrandom::fill(&mut id).is_err() {
            return false;
        }
        let id = u16::from_be_bytes(id);
        let message = message(id, zone, secondary.key.as_ref(), now);
        let Ok(answer) = upstream.ask(secondary.address, message, false).await else { continue };
        let Some(header) = Header::read(&answer) else { continue };
        if header.id == id && header.is_response() && header.opcode() == Opcode::NOTIFY {
            return header.rcode() == Rcode::NOERROR;
        }
    }
    tracing::warn!(service = "dns", "{} does not take notice of {}", secondary.address, zone.apex());
    false
}

/// Tells the secondaries of each zone that changes from this call on, until it is dropped. `secondaries` says who they are at that
/// moment. Zones are told of at the same time, at most [`AT_ONCE`] messages; a zone that changes while it is told of is told of
/// again after.
pub fn inform<U: Upstream, C: Clock>(
    store: Arc<Store>,
    upstream: Arc<U>,
    clock: Arc<C>,
    secondaries: impl Fn(&Name) -> Vec<Secondary>,
) -> impl Future<Output = ()> {
    let deltas = store.follow();
    inform_of(deltas, store, upstream, clock, secondaries)
}

async fn inform_of<U: Upstream, C: Clock>(
    mut deltas: Receiver<Arc<Delta>>,
    store: Arc<Store>,
    upstream: Arc<U>,
    clock: Arc<C>,
    secondaries: impl Fn(&Name) -> Vec<Secondary>,
) {
    let mut due: BTreeSet<Name> = BTreeSet::new();
    let mut telling: JoinSet<Name> = JoinSet::new();
    let mut busy: BTreeSet<Name> = BTreeSet::new();
    loop {
        tokio::select! {
            delta = deltas.recv() => match delta {
                Ok(delta) => drop(due.insert(delta.zone.clone())),
                // Too many to keep: whatever changed, everybody is told of everything.
                Err(RecvError::Lagged(_)) => due.extend(store.snapshot().zones().map(|zone| zone.apex().clone())),
                Err(RecvError::Closed) => return,
            },
            Some(told) = telling.join_next() => {
                // None of these tasks panics or is aborted.
                busy.retain(|zone| !told.as_ref().is_ok_and(|told| told == zone));
            }
        }
        while telling.len() < AT_ONCE {
            let Some(zone) = due.iter().find(|zone| !busy.contains(*zone)).cloned() else { break };
            due.remove(&zone);
            let Some(current) = store.snapshot().zone(&zone).cloned() else { continue };
            let (all, upstream, clock) = (secondaries(&zone), upstream.clone(), clock.clone());
            busy.insert(zone.clone());
            telling.spawn(async move {
                for secondary in &all {
                    // One that does not listen was written of in the log; it looks at the serial by itself.
                    let _ = tell(upstream.as_ref(), &current, secondary, clock.unix()).await;
                }
                zone
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Mutex};

    use super::*;
    use crate::{
        name::Name,
        record::Soa,
        wire::tsig::{Algorithm, Checked, Keyring, check},
    };

    struct Recording(Mutex<Vec<Vec<u8>>>);

    impl Upstream for Recording {
        async fn ask(&self, _: IpAddr, query: Vec<u8>, _: bool) -> io::Result<Vec<u8>> {
            let mut answer = query[..12].to_vec();
            answer[2] |= 0x80;
            let mut asked = self.0.lock().expect("not poisoned");
            asked.push(query);
            // The first try is lost.
            if asked.len() == 1 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(answer) }
        }
    }

    #[tokio::test]
    async fn a_secondary_is_told_until_it_answers_and_can_check_who_told() {
        let name = |text: &str| Name::parse(text).expect("a name");
        let soa =
            Soa { primary: name("ns.x"), mailbox: name("a.x"), serial: 7, refresh: 1, retry: 1, expire: 1, minimum: 1 };
        let zone = Zone::new(name("x"), soa.clone(), 60);
        let key = Key::new(name("key"), Algorithm::Sha384, b"secret");
        let secondary = Secondary { address: IpAddr::from([10, 0, 0, 1]), key: Some(Arc::new(key.clone())) };
        let upstream = Recording(Mutex::default());
        assert!(tell(&upstream, &zone, &secondary, 1000).await);
        let asked = upstream.0.into_inner().expect("not poisoned");
        assert_eq!(asked.len(), 2);
        let parsed = Parsed::read(&asked[1]).expect("a message");
        assert_eq!(parsed.header.opcode(), Opcode::NOTIFY);
        assert_eq!(parsed.question.as_ref().map(|question| &question.name), Some(&name("x")));
        let notice = receive(&asked[1]).expect("a notice");
        assert_eq!((&notice.zone, &notice.answer[..2], notice.answer[3] & 15), (&name("x"), &asked[1][..2], 0));
        assert_eq!(receive(&notice.answer), None, "an answer is no notice");
        assert!((0..asked[1].len()).all(|length| receive(&asked[1][..length]).is_none()), "nor is a part of one");
        let mut keys = Keyring::default();
        keys.insert(key);
        assert!(matches!(check(&asked[1], &parsed, &keys, 1100), Ok(Checked::Signed(_))));
        assert!(matches!(check(&asked[1], &parsed, &keys, 2000), Ok(Checked::Faulty(..))), "an old message");
    }
}
