//! What is proven, and what is proven not to be signed.

use std::sync::atomic::Ordering;

use netengine_dns::{plan::KeyLifetimes, record::Rtype, wire::flag};

use crate::world::World;

const YEAR: KeyLifetimes = KeyLifetimes { ksk_days: 365, zsk_days: 30 };
const NOW: u64 = 1_800_000_000;

#[tokio::test]
async fn answers_and_denials_of_signed_zones_are_authentic() {
    let world = World::new(NOW, YEAR);
    for round in 0..2 {
        for (owner, rtype, rcode, answers) in [
            ("ca.platform.internal", Rtype::A, "NOERROR", &["A", "RRSIG"][..]),
            ("auth.internal", Rtype::A, "NOERROR", &["A", "RRSIG"]),
            ("acme.corp", Rtype::MX, "NOERROR", &["MX", "RRSIG"]),
            ("acme.corp", Rtype::DS, "NOERROR", &["DS", "RRSIG"]),
            ("acme.corp", Rtype::DNSKEY, "NOERROR", &["DNSKEY", "DNSKEY", "RRSIG"]),
            (".", Rtype::DNSKEY, "NOERROR", &["DNSKEY", "DNSKEY", "RRSIG"]),
            (".", Rtype::NS, "NOERROR", &["NS", "RRSIG"]),
            ("www.acme.corp", Rtype::A, "NOERROR", &["CNAME", "RRSIG", "A", "RRSIG"]),
            ("x.y.acme.corp", Rtype::TXT, "NOERROR", &["TXT", "RRSIG"]),
            ("x.alias.acme.corp", Rtype::A, "NOERROR", &["CNAME", "RRSIG", "A", "RRSIG"]),
            ("6.0.0.10.in-addr.arpa", Rtype::PTR, "NOERROR", &["PTR", "RRSIG"]),
            ("acme.corp", Rtype::AAAA, "NOERROR", &[]),
            ("b.acme.corp", Rtype::A, "NOERROR", &[]),
            ("x.acme.corp", Rtype::A, "NOERROR", &[]),
            ("sub.acme.corp", Rtype::DS, "NOERROR", &[]),
            ("mail.acme.corp", Rtype::DS, "NOERROR", &[]),
            (".", Rtype::DS, "NOERROR", &[]),
            ("nothing.corp", Rtype::A, "NXDOMAIN", &[]),
            ("below.nothing.corp", Rtype::A, "NXDOMAIN", &[]),
            ("example.com", Rtype::A, "NXDOMAIN", &[]),
            ("4.3.2.1.in-addr.arpa", Rtype::PTR, "NXDOMAIN", &[]),
        ] {
            let seen = world.validated(owner, rtype).await;
            assert_eq!(
                (seen.rcode.as_str(), seen.authentic, seen.error),
                (rcode, true, None),
                "{owner} {rtype} in round {round}: {seen:?}"
            );
            assert_eq!(seen.answers, answers, "{owner} {rtype}");
            if answers.is_empty() {
                assert!(seen.authority.contains(&"NSEC".to_owned()), "{owner} {rtype}: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_wildcard_comes_with_the_proof_that_nothing_is_nearer() {
    let world = World::new(NOW, YEAR);
    for _ in 0..2 {
        let seen = world.validated("x.alias.acme.corp", Rtype::A).await;
        assert_eq!(seen.authority, ["NSEC", "RRSIG"], "{seen:?}");
    }
}

#[tokio::test]
async fn what_lies_in_a_zone_that_is_not_signed_is_answered_but_not_called_authentic() {
    let world = World::new(NOW, YEAR);
    for _ in 0..2 {
        for (owner, rtype, rcode, count) in [
            ("www.sub.acme.corp", Rtype::A, "NOERROR", 1),
            ("sub.acme.corp", Rtype::NS, "NOERROR", 1),
            ("www.sub.acme.corp", Rtype::TXT, "NOERROR", 0),
            ("nothing.sub.acme.corp", Rtype::A, "NXDOMAIN", 0),
            // The chain is as good as its worst link.
            ("out.acme.corp", Rtype::A, "NOERROR", 3),
            ("in.sub.acme.corp", Rtype::A, "NOERROR", 3),
        ] {
            let seen = world.validated(owner, rtype).await;
            assert_eq!(
                (seen.rcode.as_str(), seen.authentic, seen.answers.len()),
                (rcode, false, count),
                "{owner}: {seen:?}"
            );
        }
    }
}

#[tokio::test]
async fn whoever_does_not_ask_is_not_told_and_gets_no_signatures() {
    let world = World::new(NOW, YEAR);
    for (flags, dnssec_ok, authentic, count) in
        [(0, false, false, 1), (flag::AD, false, true, 1), (0, true, true, 2), (flag::CD, true, true, 2)]
    {
        let seen = world.ask("mail.acme.corp", Rtype::A, flags, dnssec_ok).await;
        assert_eq!((seen.authentic, seen.answers.len()), (authentic, count), "{flags:x} {dnssec_ok}");
    }
}

#[tokio::test]
async fn without_anchors_nothing_is_checked_and_with_others_everything_anew() {
    let world = World::new(NOW, YEAR);
    assert!(world.validated("mail.acme.corp", Rtype::A).await.authentic);
    world.resolver.set_anchors(Vec::new());
    let plain = world.validated("mail.acme.corp", Rtype::A).await;
    assert_eq!((plain.rcode.as_str(), plain.authentic, plain.answers.len()), ("NOERROR", false, 2));
    // The key of another world.
    let other = netengine_dns::dnssec::Signing::new(
        netengine_dns::dnssec::Secret::new(&[8; 32]),
        netengine_dns::dnssec::Schedule { epoch: NOW, lifetimes: YEAR.into() },
    );
    world.resolver.set_anchors(other.anchors(&crate::world::name("."), NOW).expect("anchors"));
    let seen = world.validated("mail.acme.corp", Rtype::A).await;
    assert_eq!((seen.rcode.as_str(), seen.error), ("SERVFAIL", Some(9)));
    let both = [world.anchors(), other.anchors(&crate::world::name("."), NOW).expect("anchors")].concat();
    world.resolver.set_anchors(both);
    assert!(world.validated("mail.acme.corp", Rtype::A).await.authentic);
    // An anchor for a part of the world says nothing of the rest.
    let corp = world.signing.anchors(&crate::world::name("corp"), NOW).expect("anchors");
    world.resolver.set_anchors(corp);
    assert!(world.validated("mail.acme.corp", Rtype::A).await.authentic);
    let rest = world.validated("ca.platform.internal", Rtype::A).await;
    assert_eq!((rest.rcode.as_str(), rest.authentic), ("NOERROR", false));
}

#[tokio::test]
async fn a_chain_of_trust_is_followed_once() {
    let world = World::new(NOW, YEAR);
    assert!(world.validated("mail.acme.corp", Rtype::A).await.authentic);
    let before = world.asked.load(Ordering::SeqCst);
    assert!(world.validated("a.b.acme.corp", Rtype::A).await.authentic);
    assert_eq!(world.asked.load(Ordering::SeqCst) - before, 1, "keys and delegations are known");
    assert!(world.validated("a.b.acme.corp", Rtype::A).await.authentic);
    assert_eq!(world.asked.load(Ordering::SeqCst) - before, 1, "the answer and its signature are known");
}
