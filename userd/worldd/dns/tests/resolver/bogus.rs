//! What is forged becomes SERVFAIL with the reason, at once and from the cache, and is right again soon after.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use netengine_dns::{
    plan::KeyLifetimes,
    record::Rtype,
    serve::{Handler, Peer, Reply, Transport},
    wire::{flag, read::Parsed},
};

use crate::world::World;

const YEAR: KeyLifetimes = KeyLifetimes { ksk_days: 365, zsk_days: 30 };
const NOW: u64 = 1_800_000_000;

/// Replaces bytes wherever they are.
fn replace(mut message: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    for at in 0..message.len().saturating_sub(old.len() - 1) {
        if message[at..].starts_with(old) {
            message[at..at + old.len()].copy_from_slice(new);
        }
    }
    message
}

/// Makes records of a type into such of a type that nobody knows.
fn without(mut message: Vec<u8>, rtype: Rtype) -> Vec<u8> {
    let read = message.clone();
    for record in Parsed::read(&read).expect("a message").records {
        if record.rtype == rtype {
            let head = record.end - record.data.len() - 10;
            message[head..head + 2].copy_from_slice(&[0xff, 0x12]);
        }
    }
    message
}

async fn is_bogus(world: &World, owner: &str, rtype: Rtype, error: u16) {
    for _ in 0..2 {
        let seen = world.validated(owner, rtype).await;
        assert_eq!(
            (seen.rcode.as_str(), seen.error, seen.answers.len()),
            ("SERVFAIL", Some(error), 0),
            "{owner} {rtype}"
        );
    }
    let checked_by_themselves = world.ask(owner, rtype, flag::CD, true).await;
    assert_ne!(checked_by_themselves.rcode, "SERVFAIL", "{owner} {rtype}");
    assert!(!checked_by_themselves.authentic);
    assert!(world.resolver.resolve(&crate::world::name(owner), rtype).await.answers.is_empty());
}

#[tokio::test]
async fn a_changed_record_is_bogus_until_it_is_right_again() {
    let world = World::new(NOW, YEAR);
    world.forge(|_, _, answer| replace(answer, &[10, 0, 0, 13], &[10, 6, 6, 6]));
    is_bogus(&world, "mail.acme.corp", Rtype::A, 6).await;
    is_bogus(&world, "www.acme.corp", Rtype::A, 6).await;
    *world.forgery.lock().expect("not poisoned") = None;
    assert_eq!(
        world.validated("mail.acme.corp", Rtype::A).await.rcode,
        "SERVFAIL",
        "a failure is believed for seconds"
    );
    world.set(NOW + 6);
    let seen = world.validated("mail.acme.corp", Rtype::A).await;
    assert!(seen.authentic, "{seen:?}");
}

#[tokio::test]
async fn a_record_without_its_signature_is_bogus() {
    let world = World::new(NOW, YEAR);
    world.forge(|_, _, answer| without(answer, Rtype::RRSIG));
    is_bogus(&world, "mail.acme.corp", Rtype::A, 10).await;
    // An attacker who says that the zone is not signed must say so with the parent's signature.
    world.forget();
    world.forge(|_, question, answer| {
        let for_mail = question.windows(5).any(|bytes| bytes == b"\x04mail");
        if for_mail { without(answer, Rtype::RRSIG) } else { without(answer, Rtype::DS) }
    });
    is_bogus(&world, "mail.acme.corp", Rtype::A, 10).await;
}

#[tokio::test]
async fn a_denial_without_its_proof_is_bogus() {
    for (owner, rtype) in [("nothing.corp", Rtype::A), ("acme.corp", Rtype::AAAA), ("x.acme.corp", Rtype::A)] {
        let world = World::new(NOW, YEAR);
        world.forge(|_, _, answer| without(answer, Rtype::NSEC));
        is_bogus(&world, owner, rtype, 12).await;
        let world = World::new(NOW, YEAR);
        world.forge(|_, _, answer| without(without(answer, Rtype::RRSIG), Rtype::NSEC));
        is_bogus(&world, owner, rtype, 12).await;
    }
}

/// Answers questions for one name with what the servers truly say of another, whose wire form is as long; only the name in
/// question is written over.
fn replay(world: &World, asked: &'static [u8], other: &'static [u8]) {
    let servers = world.authority.clone();
    world.forge(move |server, question, answer| {
        if !question.windows(asked.len()).any(|bytes| bytes == asked) {
            return answer;
        }
        let peer = Peer { local: server, remote: ([10, 0, 0, 1], 4000).into(), transport: Transport::Tcp };
        match servers.handle(&replace(question.to_vec(), asked, other), &peer) {
            Reply::Message(mut truth) => {
                truth[12..12 + asked.len()].copy_from_slice(asked);
                truth
            }
            _ => answer,
        }
    });
}

#[tokio::test]
async fn a_true_denial_of_another_name_proves_nothing() {
    let world = World::new(NOW, YEAR);
    // `kail` lies right before `mail`, `nail` right behind; neither exists.
    for other in [b"\x04kail", b"\x04nail"] {
        replay(&world, b"\x04mail", other);
        is_bogus(&world, "mail.acme.corp", Rtype::A, 12).await;
        world.forget();
    }
    // Of the whole name: `bcme` and `zzzz` do not exist in `corp`.
    for other in [b"\x04aaaa", b"\x04zzzz"] {
        replay(&world, b"\x04acme", other);
        is_bogus(&world, "acme.corp", Rtype::A, 12).await;
        world.forget();
    }
}

#[tokio::test]
async fn a_wildcard_without_or_with_the_wrong_proof_is_bogus() {
    let world = World::new(NOW, YEAR);
    world.forge(|_, _, answer| {
        let is_wild = answer.windows(3).any(|bytes| bytes == b"any");
        if is_wild { without(answer, Rtype::NSEC) } else { answer }
    });
    is_bogus(&world, "x.y.acme.corp", Rtype::TXT, 12).await;
    // The wildcard truly answers for `x.y`; but `a.b` exists, so it must not for that.
    world.forget();
    replay(&world, b"\x01a\x01b\x04acme", b"\x01x\x01y\x04acme");
    is_bogus(&world, "a.b.acme.corp", Rtype::TXT, 12).await;
}

#[tokio::test]
async fn a_signature_out_of_its_time_is_bogus() {
    let world = World::new(NOW, YEAR);
    // Answers of another time, from a world whose clock is wrong.
    for (offset, error) in [(30_i64 * 86_400, 8), (-30 * 86_400, 7)] {
        let other = World::new(NOW.wrapping_add_signed(offset.min(0)), YEAR);
        other.set(NOW.wrapping_add_signed(offset));
        let clock = other.clock.clone();
        assert_ne!(clock.0.load(Ordering::SeqCst), world.now());
        // Its resolver is asked at the time of the first.
        let answers = std::sync::Arc::new(other);
        let stale = answers.clone();
        stale.resolver.set_anchors(stale.anchors());
        let seen = with_clock(&stale, NOW).await;
        assert_eq!((seen.rcode.as_str(), seen.error), ("SERVFAIL", Some(error)));
    }
}

/// Answers are made with the clock as it is, and checked after it was set to `now`.
async fn with_clock(world: &World, now: u64) -> crate::ask::Seen {
    let (clock, then) = (world.clock.clone(), world.now());
    world.forge(move |_, _, answer| {
        clock.0.store(now, Ordering::SeqCst);
        answer
    });
    // The first question is answered at `then`; the answer arrives at `now`.
    world.set(then);
    world.validated(".", Rtype::NS).await
}

#[tokio::test]
async fn a_zone_that_makes_checking_expensive_fails_alone_and_soon() {
    let world = World::new(NOW, YEAR);
    let tries = std::sync::Arc::new(AtomicU64::new(0));
    let counted = tries.clone();
    // Every answer of the zone's server brings a hundred signatures that all fit by tag and none by bytes.
    let corp: IpAddr = [10, 0, 0, 5].into();
    world.forge(move |server, _, answer| {
        if server != corp {
            return answer;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        multiplied(&answer, 100)
    });
    let seen = world.validated("mail.acme.corp", Rtype::A).await;
    assert_eq!(seen.rcode, "SERVFAIL");
    assert!(tries.load(Ordering::SeqCst) < 30, "{tries:?} questions");
    assert!(world.validated("ca.platform.internal", Rtype::A).await.authentic, "others do not notice");
}

/// The answer section's signatures, each as often as told with another last byte.
fn multiplied(message: &[u8], times: u16) -> Vec<u8> {
    let parsed = Parsed::read(message).expect("a message");
    let mut out = message[..parsed.records.first().map_or(message.len(), |record| record.start)].to_vec();
    let mut count = u16::from_be_bytes([message[6], message[7]]);
    for record in &parsed.records {
        let bytes = &message[record.start..record.end];
        if record.section == 1 && record.rtype == Rtype::RRSIG {
            for n in 0..times {
                let mut copy = bytes.to_vec();
                let last = copy.len() - 1 - usize::from(n % 8);
                copy[last] = copy[last].wrapping_add(1 + (n / 8) as u8);
                out.extend_from_slice(&copy);
            }
            count += times - 1;
        } else {
            out.extend_from_slice(bytes);
        }
    }
    out[6..8].copy_from_slice(&count.to_be_bytes());
    out
}
