//! Keys roll over, several times each; neither the validating resolver nor a validator that asks through its cache ever sees
//! anything bogus.

use std::collections::BTreeSet;

use netengine_dns::{name::Name, plan::KeyLifetimes, record::Rtype, resolve::Security};

use crate::world::{World, name};

const EPOCH: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

/// Data and signatures of a set as the resolver has it.
async fn held(world: &World, owner: &Name, rtype: Rtype) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let found = world.resolver.resolve(owner, rtype).await;
    assert_eq!(found.security, Security::Secure, "{owner} {rtype} at {}", world.now());
    let link = found.answers.into_iter().find(|link| link.set.rtype == rtype).expect("the set");
    let wires = |set: &netengine_dns::record::RrSet| set.data.iter().map(|data| data.as_wire().to_vec()).collect();
    (wires(&link.set), link.signature.as_ref().map_or_else(Vec::new, wires))
}

fn number(wire: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([wire[at], wire[at + 1]])
}

/// The tag of DNSKEY data (RFC 4034, appendix B).
fn tag(wire: &[u8]) -> u16 {
    let sum: u32 = wire.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    (sum + (sum >> 16)) as u16
}

/// What a validator behind the resolver puts together: sets of different ages from one cache. Each signature must be of a key
/// that the DNSKEY set has, and each DS record of one that signs that set.
async fn fits_together(world: &World, owner: &str, rtype: Rtype) {
    let (_, signatures) = held(world, &name(owner), rtype).await;
    let signature = signatures.first().expect("signed");
    let zone = Name::from_wire(&signature[18..signature.len() - 64]).expect("a signer");
    let (keys, of_keys) = held(world, &zone, Rtype::DNSKEY).await;
    let tags: BTreeSet<u16> = keys.iter().map(|key| tag(key)).collect();
    assert!(tags.contains(&number(signature, 16)), "{owner} {rtype} is of no key at {}", world.now());
    if !zone.is_root() {
        let (digests, _) = held(world, &zone, Rtype::DS).await;
        let signers: BTreeSet<u16> = of_keys.iter().map(|signature| number(signature, 16)).collect();
        let leads = digests.iter().any(|ds| signers.contains(&number(ds, 0)));
        assert!(leads, "no DS record of {zone} leads to a key at {}", world.now());
    }
}

/// Through some days in steps of 5 to 45 minutes; the resolver hears of no change but by what expires in its cache, and gets
/// the anchors of the moment once a day, as a host that fetches them daily would.
async fn walk(lifetimes: KeyLifetimes, days: u64) {
    let world = World::new(EPOCH, lifetimes);
    let (mut now, mut next, mut anchored) = (EPOCH, EPOCH, 0);
    let mut anchors_seen = BTreeSet::new();
    for step in 0_u64.. {
        now += 300 + step * 977 % 2400;
        if now > EPOCH + days * DAY {
            break;
        }
        // Everything that was due since is done at its own moment, not at ours.
        while next <= now {
            world.set(next.max(EPOCH));
            next = world.refresh();
        }
        world.set(now);
        if now - anchored > DAY {
            anchored = now;
            world.resolver.set_anchors(world.anchors());
        }
        // Not everything at each step: some of it is to be old in the cache when the rest is asked.
        for (index, (owner, rtype)) in [
            ("acme.corp", Rtype::DS),
            ("mail.acme.corp", Rtype::A),
            ("acme.corp", Rtype::DNSKEY),
            ("x.y.acme.corp", Rtype::TXT),
            ("corp", Rtype::DS),
            ("acme.corp", Rtype::MX),
            ("ca.platform.internal", Rtype::A),
            (".", Rtype::NS),
        ]
        .into_iter()
        .enumerate()
        {
            if (step + index as u64).is_multiple_of(3) {
                fits_together(&world, owner, rtype).await;
            }
        }
        for (owner, rtype) in [("nothing.corp", Rtype::A), ("acme.corp", Rtype::AAAA)] {
            let seen = world.validated(owner, rtype).await;
            assert!(seen.authentic && seen.error.is_none(), "{owner} {rtype} at {now}: {seen:?}");
        }
        let insecure = world.validated("www.sub.acme.corp", Rtype::A).await;
        assert_eq!((insecure.rcode.as_str(), insecure.authentic), ("NOERROR", false), "at {now}");
        anchors_seen.extend(world.anchors().into_iter().map(|anchor| anchor.ds.as_wire().to_vec()));
    }
    let turns = days / u64::from(lifetimes.ksk_days);
    assert!(anchors_seen.len() as u64 >= turns, "{} key-signing keys in {turns} lifetimes", anchors_seen.len());
}

#[tokio::test]
async fn short_lifetimes_never_show_anything_bogus() {
    walk(KeyLifetimes { ksk_days: 7, zsk_days: 2 }, 30).await;
}

#[tokio::test]
async fn the_shortest_lifetimes_never_show_anything_bogus() {
    walk(KeyLifetimes { ksk_days: 1, zsk_days: 1 }, 12).await;
}
