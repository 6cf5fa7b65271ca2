//! The store on both databases.

mod damage;
mod leases;
mod postgres;
mod services;

use netengine_proto::{ids::Uid, names::WorldName};
use netengine_spec::Spec;
use sqlx::Row;

use super::{
    operations::{Failure, Kind, Operation},
    quota::Size,
    *,
};
use crate::{
    decide::{AllOf, Principal, WorldRef, WorldSlot, act, decide},
    events::Filter,
    ids,
    start::config::Quotas,
    time,
};

const ALICE: Uid = Uid(1000);
const SIZE: Size = Size { worlds: 1, nodes: 4, links: 10 };

/// A database of one of both kinds; the directory or cluster goes away with it.
struct Database {
    url: String,
    _directory: Option<tempfile::TempDir>,
    _cluster: Option<postgres::Cluster>,
}

fn sqlite() -> Database {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("state.db").display());
    Database { url, _directory: Some(directory), _cluster: None }
}

/// Both databases. Without PostgreSQL's programs only SQLite, unless `NETENGINE_TEST_POSTGRES=required`.
fn databases() -> Vec<Database> {
    let mut found = vec![sqlite()];
    match postgres::Cluster::start() {
        Ok(cluster) => found.push(Database { url: cluster.url(), _directory: None, _cluster: Some(cluster) }),
        Err(why) if std::env::var("NETENGINE_TEST_POSTGRES").is_ok_and(|value| value == "required") => panic!("{why}"),
        Err(why) => eprintln!("PostgreSQL is not tested here: {why}"),
    }
    found
}

async fn open(database: &Database) -> Store {
    Store::open(&database.url, Arc::default()).await.expect("opened")
}

fn spec() -> Spec {
    crate::orchestrator::tests::spec("w")
}

fn operation(owner: Uid, name: &str) -> Operation {
    Operation {
        id: ids::operation(),
        kind: Kind::Up,
        world: WorldRef { id: ids::world(), owner, name: WorldName::parse(name).expect("a name") },
        spec: Some(spec()),
        up_to: 9,
        deadline: None,
        begun_at: time::now_ms(),
        undoing: false,
        resumed: false,
        heal: None,
    }
}

fn quotas(worlds: i64) -> Quotas {
    Quotas { worlds, nodes: 10_000, links: 100_000, operations: 1000 }
}

fn failure() -> Failure {
    let problem = StoreError::Gone.problem("cannot start world \"w\"");
    let state = netengine_proto::api::OperationState::Failed;
    Failure { state, problem, phase: 0, phases: Vec::new(), world: None, size: SIZE }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_parallel_creates_at_one_below_the_limit_exactly_one_wins() {
    for database in databases() {
        let store = open(&database).await;
        store.begin_up(&operation(ALICE, "first"), false, SIZE, SIZE, Some(&quotas(2))).await.expect("below the limit");
        // A second daemon on the same database: the limit must hold in the database, not only in this process.
        let other = open(&database).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..200 {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            tasks.spawn(async move {
                store.begin_up(&operation(ALICE, &format!("w{n}")), false, SIZE, SIZE, Some(&quotas(2))).await
            });
        }
        let (mut won, mut refused) = (0, 0);
        for result in tasks.join_all().await {
            match result {
                Ok(_) => won += 1,
                Err(StoreError::Quota { what: "world", used: 3, limit: 2 }) => refused += 1,
                Err(error) => panic!("{}: {error:?}", database.url),
            }
        }
        assert_eq!((won, refused), (1, 199), "{}", database.url);
        assert_eq!(store.held(ALICE).await.expect("counted"), Size { worlds: 2, nodes: 8, links: 20 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bound_is_named_and_given_back() {
    for database in databases() {
        let store = open(&database).await;
        let tight = Quotas { worlds: 5, nodes: 5, links: 100, operations: 1000 };
        let first = operation(ALICE, "w");
        store.begin_up(&first, false, SIZE, SIZE, Some(&tight)).await.expect("fits");
        let refused = store.begin_up(&operation(ALICE, "v"), false, SIZE, SIZE, Some(&tight)).await;
        assert!(matches!(refused, Err(StoreError::Quota { what: "namespace", used: 8, limit: 5 })), "{refused:?}");
        // Nothing of the refused one is there, and another owner has quotas of their own.
        assert_eq!(store.held(ALICE).await.expect("counted"), SIZE);
        store.begin_up(&operation(Uid(1), "w"), false, SIZE, SIZE, Some(&tight)).await.expect("fits");
        // No quota binds the administrator, and what is made so still counts.
        store.begin_up(&operation(ALICE, "v"), false, SIZE, SIZE, None).await.expect("not bound");
        assert_eq!(store.held(ALICE).await.expect("counted"), Size { worlds: 2, nodes: 8, links: 20 });
        store.finish_failed(&first, &failure()).await.expect("ended");
        assert_eq!(store.held(ALICE).await.expect("counted"), SIZE);
        let many = Quotas { operations: 1, ..quotas(10) };
        let refused = store.begin_up(&operation(ALICE, "u"), false, SIZE, SIZE, Some(&many)).await;
        assert!(matches!(refused, Err(StoreError::Quota { what: "operation", .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_per_owner_and_a_world_has_one_operation() {
    for database in databases() {
        let store = open(&database).await;
        let first = operation(ALICE, "w");
        store.begin_up(&first, false, SIZE, SIZE, None).await.expect("begun");
        let again = store.begin_up(&operation(ALICE, "w"), false, SIZE, SIZE, None).await;
        assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
        let second = Operation { id: ids::operation(), ..first.clone() };
        let again = store.begin_up(&second, true, Size::default(), SIZE, None).await;
        assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
        store.begin_up(&operation(Uid(1), "w"), false, SIZE, SIZE, None).await.expect("another owner's");
        store.finish_failed(&first, &failure()).await.expect("ended");
        // Written twice is written once.
        store.finish_failed(&first, &failure()).await.expect("ended again");
        assert_eq!(store.held(ALICE).await.expect("counted"), Size::default());
        store.begin_up(&operation(ALICE, "w"), false, SIZE, SIZE, None).await.expect("free again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_on_a_world_that_was_removed_after_it_was_read() {
    for database in databases() {
        let store = open(&database).await;
        let up = operation(ALICE, "w");
        store.begin_up(&up, false, SIZE, SIZE, None).await.expect("begun");
        store.finish_failed(&up, &failure()).await.expect("removed");
        let verdict = decide(Principal::daemon(), act::Repair, up.world.clone()).expect("allowed");
        let next = |kind| Operation { id: ids::operation(), kind, ..up.clone() };
        let repair = store.begin_repair(&verdict, &next(Kind::Repair), "its worldd ended").await;
        assert!(matches!(repair, Err(StoreError::Gone)), "{repair:?}");
        let again = store.begin_up(&next(Kind::Up), true, Size::default(), SIZE, None).await;
        assert!(matches!(again, Err(StoreError::Gone)), "{again:?}");
        let down = store.begin_down(&next(Kind::Down), None).await;
        assert!(matches!(down, Err(StoreError::Gone)), "{down:?}");
        assert!(store.interrupted().await.expect("read").is_empty(), "no operation was left at work");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_keep_their_keys_and_events_their_order() {
    use crate::plan::steps::StepKind;
    for database in databases() {
        let store = open(&database).await;
        let operation = operation(ALICE, "w");
        store.begin_up(&operation, false, SIZE, SIZE, None).await.expect("begun");
        let steps = [(StepKind::Network, 3), (StepKind::Worldd, 1)];
        let keys = store.plan_steps(&operation, &steps).await.expect("planned");
        assert_eq!(store.plan_steps(&operation, &steps).await.expect("planned again"), keys);
        store.step_done(&operation, StepKind::Network, 3).await.expect("done");

        // The same step, driven again after a restart, is counted once.
        assert_eq!(store.plan_steps(&operation, &steps).await.expect("planned again"), keys);
        store.step_done(&operation, StepKind::Network, 3).await.expect("done again");
        let id = crate::decide::OperationRef { id: operation.id, owner: ALICE };
        let shown = decide(Principal::user(ALICE), act::ViewOperation, id).expect("her own");
        assert_eq!(store.operation(&shown).await.expect("shown").changes, 3);

        let interrupted = store.interrupted().await.expect("read");
        assert_eq!(interrupted.len(), 1);
        assert_eq!((interrupted[0].id, interrupted[0].world.clone()), (operation.id, operation.world.clone()));
        assert_eq!(interrupted[0].spec, operation.spec);

        let verdict = decide(Principal::user(ALICE), act::ViewEvents, AllOf(Some(ALICE))).expect("her own");
        let events = store.events(&verdict, &Filter::default(), 0).await.expect("read");
        let seqs: Vec<_> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=i64::try_from(events.len()).expect("fits")).collect::<Vec<_>>());
        assert_eq!(store.events(&verdict, &Filter::default(), 3).await.expect("read")[0].seq, 4);
        let other = Filter { operation: Some("0".to_owned()), ..Filter::default() };
        assert!(store.events(&verdict, &other, 0).await.expect("read").is_empty());
        let wildcard = Filter { world: Some("%".to_owned()), ..Filter::default() };
        assert!(store.events(&verdict, &wildcard, 0).await.expect("read").is_empty(), "a wildcard matched");
        assert!(store.knows_world(&verdict, "w").await.expect("answers"));
        assert!(!store.knows_world(&verdict, "%").await.expect("answers"));
        let slot = WorldSlot { owner: ALICE, name: operation.world.name.clone() };
        assert_eq!(store.find(&slot).await.expect("found"), Some(operation.world.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_not_committed_is_not_told() {
    let database = sqlite();
    let bus = Arc::new(Bus::default());
    let store = Store::open(&database.url, bus.clone()).await.expect("opened");
    let mut events = bus.subscribe(Filter::default());
    let refused = store.begin_up(&operation(ALICE, "w"), false, SIZE, SIZE, Some(&quotas(0))).await;
    assert!(refused.is_err());
    assert!(events.try_recv().is_err());
    let row = sqlx::query("SELECT COUNT(*) FROM events")
        .fetch_one(&mut *store.connection().await.expect("open"))
        .await
        .expect("counted");
    assert_eq!(row.get::<i64, _>(0), 0);
}

#[tokio::test]
async fn secrets_are_kept_as_they_are_and_go_with_their_world() {
    use netengine_proto::trust::CredentialKind::{Password, Tsig};
    for database in databases() {
        let store = open(&database).await;
        let operation = operation(ALICE, "w");
        let world = &operation.world;
        let slot = |kind, name: &str| (kind, "https://auth".to_owned(), name.to_owned());
        let first = [(slot(Tsig, "update"), "1".to_owned()), (slot(Password, "bob"), "2".to_owned())];
        assert!(matches!(store.keep_sealed(world, &first).await, Err(StoreError::Gone)), "no world, no secrets");
        store.begin_up(&operation, false, SIZE, SIZE, None).await.expect("begun");
        store.keep_sealed(world, &first).await.expect("kept");
        let second = [(slot(Password, "bob"), "3".to_owned()), (slot(Password, "alice"), "4".to_owned())];
        store.keep_sealed(world, &second).await.expect("kept");
        let held: Vec<_> = store.sealed(world.id).await.expect("read").into_iter().map(|(_, text)| text).collect();
        assert_eq!(held, ["4", "2", "1"], "in order, and none made anew");

        assert_eq!(store.trust(world.id).await.expect("read"), Default::default());
        let trust = crate::fake::trust();
        let (phases, services, peers) = (Vec::new(), Vec::new(), Vec::new());
        let (zones, issuers) = (Vec::new(), Vec::new());
        let success = super::operations::Success { phases, services, trust: trust.clone(), peers, zones, issuers };
        store.finish_up(&operation, &success).await.expect("done");
        assert_eq!(store.trust(world.id).await.expect("read"), trust);

        let down = Operation { id: ids::operation(), kind: Kind::Down, ..operation.clone() };
        store.begin_down(&down, None).await.expect("begun");
        store.finish_down(&down, 0).await.expect("gone");
        assert!(store.sealed(world.id).await.expect("read").is_empty());
    }
}
