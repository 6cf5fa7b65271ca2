//! Keys roll over, several times each, and a validator with a cache never sees anything bogus.

use netengine_dns::{plan::KeyLifetimes, record::Rtype};

use crate::world::World;

const EPOCH: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

/// Hour by hour; the resolver hears of no change but by what expires in its cache, and gets the anchors of the moment once a
/// day, as a host that fetches them daily would.
async fn walk(lifetimes: KeyLifetimes, days: u64) {
    let world = World::new(EPOCH, lifetimes);
    let mut next = EPOCH;
    let mut keys_seen = std::collections::BTreeSet::new();
    let mut hour = 0;
    while hour < days * 24 {
        let now = EPOCH + hour * 3600 + (hour * 977) % 3600;
        // Everything that was due since is done at its own moment, not at ours.
        while next <= now {
            world.set(next.max(EPOCH));
            next = world.refresh();
        }
        world.set(now);
        if hour % 24 == 0 {
            world.resolver.set_anchors(world.anchors());
        }
        for (owner, rtype) in [
            ("mail.acme.corp", Rtype::A),
            ("x.y.acme.corp", Rtype::TXT),
            ("acme.corp", Rtype::MX),
            ("ca.platform.internal", Rtype::A),
            ("nothing.corp", Rtype::A),
            ("acme.corp", Rtype::AAAA),
            (".", Rtype::NS),
        ] {
            // Not everything every hour: some of it is to be old in the cache when the rest is asked.
            if (hour + u64::from(rtype.to_int())) % 5 < 3 {
                let seen = world.validated(owner, rtype).await;
                assert!(seen.authentic && seen.error.is_none(), "{owner} {rtype} at hour {hour}: {seen:?}");
            }
        }
        let insecure = world.validated("www.sub.acme.corp", Rtype::A).await;
        assert_eq!((insecure.rcode.as_str(), insecure.authentic), ("NOERROR", false), "hour {hour}");
        for anchor in world.anchors() {
            keys_seen.insert(anchor.ds.as_wire().to_vec());
        }
        hour += 1;
    }
    let turns = days / u64::from(lifetimes.ksk_days);
    assert!(keys_seen.len() as u64 >= turns, "{} key-signing keys in {turns} lifetimes", keys_seen.len());
    assert!(next > EPOCH + (days - 1) * DAY);
}

#[tokio::test]
async fn short_lifetimes_never_show_anything_bogus() {
    walk(KeyLifetimes { ksk_days: 7, zsk_days: 2 }, 40).await;
}

#[tokio::test]
async fn the_shortest_lifetimes_never_show_anything_bogus() {
    walk(KeyLifetimes { ksk_days: 1, zsk_days: 1 }, 15).await;
}
