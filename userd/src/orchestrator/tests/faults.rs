//! A fault at each call of an `up` or `down`: afterwards the world is complete, or as before, and nothing is left.

use netengine_proto::root::ProcessKind;

use super::*;
use crate::fake::Fault;

/// More calls than any operation here makes.
const CALLS: usize = 20;

#[tokio::test]
async fn a_first_up_that_fails_at_any_call_leaves_nothing() {
    for fault in [Fault::Before, Fault::After] {
        let mut met = 0;
        for n in 1..=CALLS {
            let lab = Lab::new().await;
            lab.fake.fail_at(n, fault);
            let (state, events) = lab.up(ALICE, spec("blue")).await;
            if !lab.fake.take_fault() {
                assert_eq!(state, OperationState::Done);
                break;
            }
            met += 1;
            assert_eq!(state, OperationState::Failed, "call {n}");
            let last = events.last().expect("an end");
            assert!(
                last.message.starts_with("cannot start world \"blue\": rootd: cannot create link"),
                "{}",
                last.message
            );
            lab.assert_nothing_left(ALICE).await;
        }
        assert!(met >= 4, "an up makes more calls than {met}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_at_any_call_does_not_matter() {
    for n in 1..=CALLS {
        let lab = Lab::new().await;
        lab.fake.fail_at(n, Fault::Lost);
        let (state, events) = lab.up(ALICE, spec("blue")).await;
        assert_eq!(state, OperationState::Done, "call {n}: {events:#?}");
        assert_eq!(lab.fake.processes().iter().filter(|kind| **kind == ProcessKind::Worldd).count(), 1);
        if !lab.fake.take_fault() {
            return;
        }
    }
    panic!("an up does not end");
}

#[tokio::test]
async fn a_later_up_that_fails_at_any_call_brings_back_what_was() {
    for n in 1..=CALLS {
        let lab = Lab::new().await;
        assert_eq!(lab.up(ALICE, spec("blue")).await.0, OperationState::Done);
        let world = lab.world(ALICE, "blue").await.expect("exists").id;
        let (before, size) = (lab.fake.plan_of(world), lab.orchestrator.store().held(ALICE).await.expect("counted"));
        lab.fake.fail_at(n, Fault::After);
        let (state, _) = lab.up(ALICE, wider("blue")).await;
        if !lab.fake.take_fault() {
            assert_eq!(state, OperationState::Done);
            assert_ne!(lab.fake.plan_of(world), before);
            return;
        }
        assert_eq!(state, OperationState::Failed, "call {n}");
        assert_eq!(lab.fake.plan_of(world), before, "call {n}");
        assert_eq!(lab.orchestrator.store().held(ALICE).await.expect("counted"), size);
        assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Ready);
    }
    panic!("an up does not end");
}

#[tokio::test]
async fn what_could_not_be_undone_is_told_and_down_removes_it() {
    let lab = Lab::new().await;
    lab.fake.break_probes(true);
    let (accepted, mut ends) = lab.begin_up(ALICE, spec("blue")).await.expect("accepted");
    // The undo is the first `delete_world`; network, worldd, gateway, prober and its stop come before.
    lab.fake.fail_at(6, Fault::Before);
    let (state, events) = ends.of(&accepted.operation).await;
    assert_eq!(state, OperationState::Failed, "{events:#?}");
    assert!(events.last().expect("an end").message.contains("ntp: 10.0.0.254 did not serve core"), "{events:#?}");
    assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Failed);
    assert_eq!(lab.down(ALICE, "blue").await.expect("accepted").0, OperationState::Done);
    lab.assert_nothing_left(ALICE).await;
}

#[tokio::test]
async fn a_down_that_fails_keeps_the_world_and_can_be_repeated() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    lab.fake.fail_at(1, Fault::After);
    assert_eq!(lab.down(ALICE, "blue").await.expect("accepted").0, OperationState::Failed);
    assert!(lab.world(ALICE, "blue").await.is_some());
    assert_eq!(lab.down(ALICE, "blue").await.expect("accepted").0, OperationState::Done);
    lab.assert_nothing_left(ALICE).await;
}

#[tokio::test]
async fn a_cancelled_up_leaves_nothing() {
    let lab = Lab::new().await;
    lab.fake.break_probes(true);
    let (accepted, mut ends) = lab.begin_up(ALICE, spec("blue")).await.expect("accepted");
    ends.kind("operation.planned").await;
    let id = OperationId::parse(&accepted.operation).expect("an id");
    let operation = lab.orchestrator.store().find_operation(id).await.expect("answers").expect("exists");
    let verdict = decide(Principal::user(ALICE), act::CancelOperation, operation).expect("her own");
    lab.orchestrator.cancel(verdict).await.expect("cancelled");
    assert_eq!(ends.of(&accepted.operation).await.0, OperationState::Cancelled);
    lab.assert_nothing_left(ALICE).await;
}

#[tokio::test]
async fn an_up_without_time_leaves_nothing() {
    let lab = Lab::new().await;
    lab.fake.break_probes(true);
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    let slot = WorldSlot { owner: ALICE, name: WorldName::parse("blue").expect("a name") };
    let verdict = decide(Principal::user(ALICE), act::Up, slot).expect("her own");
    let order = UpOrder { spec: spec("blue"), up_to: 9, timeout: Some(Duration::from_millis(200)), heal: true };
    let accepted = lab.orchestrator.up(verdict, order).await.expect("accepted");
    let (state, events) = ends.of(&accepted.operation).await;
    assert_eq!(state, OperationState::Failed);
    assert!(events.last().expect("an end").message.contains("not done in the time given"));
    lab.assert_nothing_left(ALICE).await;
}

#[tokio::test]
async fn what_must_not_happen_is_refused_before_anything_is_touched() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let calls = lab.fake.calls().len();
    let mut moved = serde_json::to_value(spec("blue")).expect("a value");
    moved["substrate"]["networks"]["core"]["subnet"] = json!("10.0.0.0/16");
    let moved = serde_json::from_value(moved).expect("a spec");
    let refused = lab.begin_up(ALICE, moved).await.err().expect("refused");
    assert_eq!(refused.kind, ProblemKind::Refused);
    assert!(refused.cause.contains("substrate.networks.core.subnet"), "{}", refused.cause);

    // Another owner's world of the same name is another world.
    lab.up(BOB, spec("blue")).await;
    assert_eq!(lab.fake.worlds().len(), 2);
    let (alice, bob) = (lab.world(ALICE, "blue").await.expect("hers"), lab.world(BOB, "blue").await.expect("his"));
    assert_ne!(alice.id, bob.id);
    assert!(lab.fake.calls().len() > calls);
}

#[tokio::test]
async fn a_persistent_world_is_removed_only_by_its_confirmed_name() {
    let lab = Lab::new().await;
    let mut persistent = serde_json::to_value(spec("blue")).expect("a value");
    persistent["metadata"]["lifecycle"] = json!("persistent");
    lab.up(ALICE, serde_json::from_value(persistent).expect("a spec")).await;
    for confirm in [None, Some("other")] {
        let world = lab.world(ALICE, "blue").await.expect("exists");
        let verdict = decide(Principal::user(ALICE), act::Down, world).expect("hers");
        let refused = lab.orchestrator.down(verdict, confirm).await.expect_err("refused");
        assert_eq!(refused.kind, ProblemKind::Confirmation);
    }
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let verdict = decide(Principal::user(ALICE), act::Down, world).expect("hers");
    let accepted = lab.orchestrator.down(verdict, Some("blue")).await.expect("accepted");
    assert_eq!(ends.of(&accepted.operation).await.0, OperationState::Done);
    lab.assert_nothing_left(ALICE).await;
}

#[tokio::test]
async fn one_operation_is_at_work_on_a_world_at_a_time() {
    let lab = Lab::new().await;
    lab.fake.fail_at(1, Fault::Hangs);
    let _at_work = lab.begin_up(ALICE, spec("blue")).await.expect("accepted");
    let second = lab.begin_up(ALICE, spec("blue")).await.err().expect("refused");
    assert_eq!(second.kind, ProblemKind::Conflict);
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let verdict = decide(Principal::user(ALICE), act::Down, world).expect("hers");
    assert_eq!(lab.orchestrator.down(verdict, None).await.expect_err("refused").kind, ProblemKind::Conflict);
}

#[tokio::test]
async fn the_spec_that_runs_is_the_one_that_was_judged() {
    let lab = Lab::new().await;
    let slot = WorldSlot { owner: ALICE, name: WorldName::parse("green").expect("a name") };
    let verdict = decide(Principal::user(ALICE), act::Up, slot).expect("her own");
    let order = UpOrder { spec: spec("blue"), up_to: 9, timeout: None, heal: true };
    let refused = lab.orchestrator.up(verdict, order).await.expect_err("another world's spec");
    assert_eq!(refused.kind, ProblemKind::Usage);
    lab.assert_nothing_left(ALICE).await;
}
