//! Services: what is told is what is stored, and what is stored already is not written again.

use netengine_proto::api::{ServiceState, ServiceStatus};

use super::*;

fn service(n: u16, detail: &str) -> ServiceStatus {
    let (name, address) = (["dhcp", "resolver"][usize::from(n % 2)].to_owned(), format!("10.64.{}.1", n / 2));
    ServiceStatus { name, address, port: 67, state: ServiceState::Ready, detail: detail.to_owned() }
}

fn sorted(mut services: Vec<ServiceStatus>) -> Vec<ServiceStatus> {
    services.sort_by(|a, b| (&a.name, &a.address, a.port).cmp(&(&b.name, &b.address, b.port)));
    services
}

/// Rows that this connection wrote so far; of SQLite alone.
async fn written(change: &mut Change<'_>, database: &Database) -> i64 {
    if !database.url.starts_with("sqlite") {
        return 0;
    }
    let row = sqlx::query("SELECT total_changes()").fetch_one(change.sql()).await.expect("counted");
    row.try_get(0).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn services_become_what_is_told_and_only_differences_are_written() {
    for database in databases() {
        let store = open(&database).await;
        let first = operation(ALICE, "w");
        let world = first.world.clone();
        store.begin_up(&first, false, SIZE, SIZE, None).await.expect("begun");
        let other = operation(Uid(1), "w");
        store.begin_up(&other, false, SIZE, SIZE, None).await.expect("begun");
        let many: Vec<_> = (0..250).map(|n| service(n, "")).collect();
        let failed = ServiceStatus { state: ServiceState::Failed, ..service(3, "") };
        let changed: Vec<_> = [service(1, "what is new"), failed, service(300, "")]
            .into_iter()
            .chain((5..250).map(|n| service(n, "")))
            .collect();
        // What is told, what is there after it, and the rows that are written.
        let twice = vec![service(1, "the first"), service(1, "the second")];
        let rounds = [
            (&many, sorted(many.clone()), 250),
            (&many, sorted(many.clone()), 0),
            // Two were changed, each a row gone and a row new; three others are gone; one is new.
            (&changed, sorted(changed.clone()), 2 * 2 + 3 + 1),
            (&twice, vec![service(1, "the first")], 1 + 1 + 247),
            (&Vec::new(), Vec::new(), 1),
        ];
        for (round, (told, expected, rows)) in rounds.into_iter().enumerate() {
            let mut change = store.begin().await.expect("begun");
            let before = written(&mut change, &database).await;
            change.set_services(world.id, told).await.expect("set");
            let wrote = written(&mut change, &database).await - before;
            change.set_services(other.world.id, &[service(9, "another's")]).await.expect("set");
            change.commit().await.expect("committed");
            let rows = if database.url.starts_with("sqlite") { rows } else { 0 };
            assert_eq!(wrote, rows, "round {round} of {}", database.url);
            let verdict = |world: &WorldRef| {
                decide(Principal::user(world.owner), act::ViewWorld, world.clone()).expect("its owner")
            };
            let found = store.services(&verdict(&world)).await.expect("read");
            assert_eq!(format!("{:?}", sorted(found)), format!("{expected:?}"), "round {round} of {}", database.url);
            let others = store.services(&verdict(&other.world)).await.expect("read");
            assert_eq!(others.len(), 1, "round {round} of {}", database.url);
        }
    }
}
