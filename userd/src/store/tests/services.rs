//! Services: what is told is what is stored, in place of what was.

use netengine_proto::api::{ServiceState, ServiceStatus};

use super::*;
use crate::store::operations::Success;

fn service(n: u16, detail: &str) -> ServiceStatus {
    let (name, address) = (["dhcp", "resolver"][usize::from(n % 2)].to_owned(), format!("10.64.{}.1", n / 2));
    ServiceStatus { name, address, port: 67, state: ServiceState::Ready, detail: detail.to_owned() }
}

fn sorted(mut services: Vec<ServiceStatus>) -> Vec<ServiceStatus> {
    services.sort_by(|a, b| (&a.name, &a.address, a.port).cmp(&(&b.name, &b.address, b.port)));
    services
}

/// Brings a world up with these services.
async fn up(store: &Store, begun: &Operation, services: &[ServiceStatus], exists: bool) {
    let (phases, trust, peers) = (Vec::new(), crate::fake::trust(), Vec::new());
    let (services, zones, issuers) = (services.to_vec(), Vec::new(), Vec::new());
    let operation = Operation { id: ids::operation(), ..begun.clone() };
    store.begin_up(&operation, exists, Size::default(), SIZE, None).await.expect("begun");
    let success = Success { phases, services, trust, peers, zones, issuers };
    store.finish_up(&operation, &success).await.expect("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_become_what_is_told() {
    for database in databases() {
        let store = open(&database).await;
        let (hers, others) = (operation(ALICE, "w"), operation(Uid(1), "w"));
        up(&store, &others, &[service(9, "another's")], false).await;
        let many: Vec<_> = (0..250).map(|n| service(n, "")).collect();
        let failed = ServiceStatus { state: ServiceState::Failed, ..service(3, "") };
        let changed: Vec<_> = [service(1, "a \"new\" \\ one"), failed, service(300, "")]
            .into_iter()
            .chain((5..250).map(|n| service(n, "")))
            .collect();
        let rounds = [
            (many.clone(), sorted(many)),
            (changed.clone(), sorted(changed)),
            // Of several at one place the first is kept.
            (vec![service(1, "the first"), service(1, "the second")], vec![service(1, "the first")]),
            (Vec::new(), Vec::new()),
        ];
        for (round, (told, expected)) in rounds.into_iter().enumerate() {
            up(&store, &hers, &told, round > 0).await;
            let verdict = |world: &WorldRef| {
                decide(Principal::user(world.owner), act::ViewWorld, world.clone()).expect("its owner")
            };
            let found = store.services(&verdict(&hers.world)).await.expect("read");
            assert_eq!(found, expected, "round {round} of {}", database.url);
            let found = store.services(&verdict(&others.world)).await.expect("read");
            assert_eq!(found, [service(9, "another's")], "round {round} of {}", database.url);
        }
    }
}
