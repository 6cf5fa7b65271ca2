//! Names outside the world: unknown unless a resolver outside is named, and never mixed with the world's own.

use std::sync::atomic::Ordering;

use netengine_dns::{plan::KeyLifetimes, record::Rtype, resolve::Forward};

use crate::world::{OUTSIDE, World, name};

const YEAR: KeyLifetimes = KeyLifetimes { ksk_days: 365, zsk_days: 30 };

async fn addresses(world: &World, owner: &str) -> Vec<Vec<u8>> {
    let found = world.resolver.resolve(&name(owner), Rtype::A).await;
    let sets = found.answers.iter().filter(|link| link.set.rtype == Rtype::A);
    sets.flat_map(|link| link.set.data.iter().map(|data| data.as_wire().to_vec())).collect()
}

#[tokio::test]
async fn nothing_is_forwarded_unless_told() {
    let world = World::new(1_800_000_000, YEAR);
    for owner in ["www.example.com", "com", "a.b.c.d.e", "1.2.0.192.in-addr.arpa"] {
        let seen = world.validated(owner, Rtype::A).await;
        assert_eq!(seen.rcode, "NXDOMAIN", "{owner}");
    }
    assert_eq!(world.asked_outside.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_resolver_outside_answers_for_what_the_root_denies_and_for_nothing_else() {
    let world = World::new(1_800_000_000, YEAR);
    world.resolver.set_forward(Forward { servers: vec![OUTSIDE.into()] });
    let seen = world.validated("www.example.com", Rtype::A).await;
    assert_eq!((seen.rcode.as_str(), seen.authentic, seen.error), ("NOERROR", false, None));
    assert_eq!(addresses(&world, "www.example.com").await, [[192, 0, 2, 80]]);
    assert_eq!(addresses(&world, "alias.example.com").await, [[192, 0, 2, 80]]);
    assert_eq!(world.validated("no.example.com", Rtype::A).await.rcode, "NXDOMAIN");
    assert_eq!(world.validated("www.example.com", Rtype::MX).await.rcode, "NOERROR");
    let before = world.asked_outside.load(Ordering::SeqCst);
    assert_eq!(addresses(&world, "mail.acme.corp").await, [[10, 0, 0, 13]], "the world's own name");
    assert!(world.validated("nothing.corp", Rtype::A).await.authentic, "denied by the world");
    assert_eq!(world.asked_outside.load(Ordering::SeqCst), before);
    // An alias from outside into the world leads to what the world says, whatever came along with it.
    assert_eq!(addresses(&world, "trap.example.com").await, [[10, 0, 0, 13]]);
    world.resolver.set_forward(Forward::default());
    assert_eq!(world.validated("www.example.com", Rtype::A).await.rcode, "NXDOMAIN", "off again");
}

#[tokio::test]
async fn a_resolver_outside_that_is_gone_is_a_failure_with_its_reason() {
    let world = World::new(1_800_000_000, YEAR);
    world.resolver.set_forward(Forward { servers: vec![[192, 0, 2, 54].into()] });
    let seen = world.validated("www.example.com", Rtype::A).await;
    assert_eq!((seen.rcode.as_str(), seen.error), ("SERVFAIL", Some(22)));
    assert!(world.validated("mail.acme.corp", Rtype::A).await.authentic, "the world goes on");
    // The next in the list is asked.
    world.resolver.set_forward(Forward { servers: vec![[192, 0, 2, 54].into(), OUTSIDE.into()] });
    assert_eq!(addresses(&world, "www.example.com").await, [[192, 0, 2, 80]]);
}
