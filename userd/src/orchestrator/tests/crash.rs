//! userd or rootd ends at any call: after the restart the world is complete or gone.

use netengine_proto::root::ProcessKind;

use super::*;
use crate::fake::Fault;

const CALLS: usize = 20;

/// Waits until no operation is at work.
async fn settle(lab: &Lab, ends: &mut Ends) {
    while !lab.orchestrator.store().interrupted().await.expect("read").is_empty() {
        ends.next().await;
    }
}

#[tokio::test]
async fn an_up_that_was_interrupted_at_any_call_is_completed_by_the_next_start() {
    for n in 1..=CALLS {
        let mut lab = Lab::new().await;
        lab.fake.fail_at(n, Fault::Hangs);
        let hung = lab.fake.hung.clone();
        let (accepted, mut ends) = lab.begin_up(ALICE, spec("blue")).await.expect("accepted");
        let has_ended = tokio::select! {
            () = hung.notified() => false,
            (state, _) = ends.of(&accepted.operation) => { assert_eq!(state, OperationState::Done); true }
        };
        if has_ended {
            assert!(n > 4, "an up makes more calls than {n}");
            return;
        }
        lab.restart_userd().await;
        let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
        lab.orchestrator.finish_interrupted().await.expect("taken up");
        assert_eq!(ends.of(&accepted.operation).await.0, OperationState::Done, "call {n}");
        assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Ready);
        let worldds = lab.fake.processes().into_iter().filter(|kind| *kind == ProcessKind::Worldd);
        assert_eq!(worldds.count(), 1, "call {n}");
        lab.down(ALICE, "blue").await.expect("accepted");
        lab.assert_nothing_left(ALICE).await;
    }
    panic!("an up does not end");
}

#[tokio::test]
async fn a_down_that_was_interrupted_is_completed_by_the_next_start() {
    let mut lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    lab.fake.fail_at(1, Fault::Hangs);
    let hung = lab.fake.hung.clone();
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let verdict = decide(Principal::user(ALICE), act::Down, world).expect("hers");
    let accepted = lab.orchestrator.down(verdict, None).await.expect("accepted");
    hung.notified().await;
    lab.restart_userd().await;
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    lab.orchestrator.finish_interrupted().await.expect("taken up");
    assert_eq!(ends.of(&accepted.operation).await.0, OperationState::Done);
    lab.assert_nothing_left(ALICE).await;
}

#[tokio::test]
async fn after_a_reboot_worlds_are_made_again_and_what_is_in_nobodys_name_is_removed() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    lab.fake.forget_all();
    let stray = ids::world();
    lab.fake
        .plant(Target::new(spec("stray"), 9, stray, BOB, Vec::new(), &Default::default()).expect("a target").network);

    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    let stop = CancellationToken::new();
    let following = tokio::spawn(follow_root(lab.orchestrator.clone(), stop.clone()));
    let began = ends.kind("world.degraded").await;
    assert_eq!(began.message, "its network was gone after a restart");
    assert_eq!(ends.of(&began.operation.expect("a repair")).await.0, OperationState::Done);
    assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Ready);
    assert_eq!(lab.fake.worlds(), [lab.world(ALICE, "blue").await.expect("exists").id]);

    // rootd restarts and adopts: nothing is done to a world that is as it should be.
    let calls = lab.fake.calls();
    lab.fake.restart();
    lab.fake.kill_worldd(lab.fake.worlds()[0]);
    let ended = ends.next().await;
    assert!(matches!(ended.kind.as_str(), "process.ended" | "operation.running"), "{}", ended.kind);
    settle(&lab, &mut ends).await;
    assert!(lab.fake.calls().len() > calls.len());
    stop.cancel();
    following.await.expect("ended");
}

#[tokio::test]
async fn a_worldd_that_ends_is_restarted_and_a_network_that_was_broken_is_mended() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let world = lab.world(ALICE, "blue").await.expect("exists").id;
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    let stop = CancellationToken::new();
    let following = tokio::spawn(follow_root(lab.orchestrator.clone(), stop.clone()));
    // An operation that ends after it shows that rootd is being followed.
    assert_eq!(lab.up(BOB, spec("other")).await.0, OperationState::Done);
    lab.fake.kill_worldd(world);
    let began = ends.kind("world.degraded").await;
    assert_eq!(ends.of(&began.operation.expect("a repair")).await.0, OperationState::Done);
    assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Ready);

    lab.fake.break_network(world);
    let (state, events) = lab.up(ALICE, spec("blue")).await;
    assert_eq!(state, OperationState::Done);
    assert!(events.iter().any(|event| event.message == "network done"), "{events:#?}");
    stop.cancel();
    following.await.expect("ended");
}

#[tokio::test]
async fn an_undo_that_was_interrupted_is_completed_by_the_next_start() {
    let mut lab = Lab::new().await;
    lab.fake.break_probes(true);
    // Network, worldd, gateway, prober and its stop come before the undo's `delete_world`.
    lab.fake.fail_at(6, Fault::Hangs);
    let hung = lab.fake.hung.clone();
    let (accepted, _ends) = lab.begin_up(ALICE, spec("blue")).await.expect("accepted");
    hung.notified().await;
    lab.restart_userd().await;
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    lab.orchestrator.finish_interrupted().await.expect("taken up");
    assert_eq!(ends.of(&accepted.operation).await.0, OperationState::Failed);
    assert_eq!(lab.fake.calls().iter().filter(|verb| **verb == "delete_world").count(), 2, "the undo ran twice");
    lab.assert_nothing_left(ALICE).await;
}

#[tokio::test]
async fn what_could_not_be_undone_is_removed_when_rootd_is_back() {
    let lab = Lab::new().await;
    lab.fake.break_probes(true);
    lab.fake.fail_at(6, Fault::Before);
    assert_eq!(lab.up(ALICE, spec("blue")).await.0, OperationState::Failed);
    assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Failed);
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    let stop = CancellationToken::new();
    let following = tokio::spawn(follow_root(lab.orchestrator.clone(), stop.clone()));
    ends.kind("operation.done").await;
    lab.assert_nothing_left(ALICE).await;
    stop.cancel();
    following.await.expect("ended");
}

#[tokio::test]
async fn every_step_of_an_operation_run_again_changes_nothing() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let (before, size) = (lab.fake.plan_of(world.id), lab.orchestrator.store().held(ALICE).await.expect("counted"));
    let mut operation = lab.orchestrator.new_operation(Kind::Up, world.clone(), Some(spec("blue")), 9, None);
    operation.resumed = true;
    let store = lab.orchestrator.store();
    store.begin_up(&operation, true, Size::default(), Size { worlds: 1, ..size }, None).await.expect("begun");
    for _ in 0..2 {
        drive::drive(&lab.orchestrator, operation.clone(), drive::Prepared::default(), CancellationToken::new()).await;
        assert_eq!(lab.fake.plan_of(world.id), before);
        assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Ready);
        assert_eq!(lab.fake.processes(), [ProcessKind::Worldd, ProcessKind::Gateway]);
    }
    assert_eq!(lab.orchestrator.store().held(ALICE).await.expect("counted"), size);
}

#[tokio::test]
async fn a_resolver_that_ends_is_restarted_and_told_whom_to_trust() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let world = lab.world(ALICE, "blue").await.expect("exists").id;
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    let stop = CancellationToken::new();
    let following = tokio::spawn(follow_root(lab.orchestrator.clone(), stop.clone()));
    assert_eq!(lab.up(BOB, spec("other")).await.0, OperationState::Done);
    let before = lab.fake.applied(world, ProcessKind::Gateway).expect("told");
    lab.fake.kill(world, ProcessKind::Gateway);
    let began = ends.kind("world.degraded").await;
    assert_eq!(began.message, "its gateway ended");
    let (state, events) = ends.of(&began.operation.expect("a repair")).await;
    assert_eq!(state, OperationState::Done);
    assert!(!events.iter().any(|event| event.message == "worldd done"), "worldd was left alone");
    assert_eq!(lab.fake.applied(world, ProcessKind::Gateway), Some(before));
    stop.cancel();
    following.await.expect("ended");
}
