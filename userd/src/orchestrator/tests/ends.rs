//! A process that ends while an operation relies on it is heard and started again; one that always ends rests; a repair that
//! failed is tried again.

use tokio::task::JoinHandle;

use super::*;

/// A lab whose orchestrator follows rootd; it hears events from the end of the first `up` on.
async fn following(name: &str) -> (Lab, CancellationToken, JoinHandle<()>) {
    let lab = Lab::new().await;
    let stop = CancellationToken::new();
    let following = tokio::spawn(follow_root(lab.orchestrator.clone(), stop.clone()));
    assert_eq!(lab.up(ALICE, spec(name)).await.0, OperationState::Done);
    (lab, stop, following)
}

fn worldds_started(events: &[Event]) -> usize {
    events.iter().filter(|event| event.message == "worldd done").count()
}

#[tokio::test]
async fn an_up_that_waits_for_a_process_that_ends_starts_it_again() {
    for kind in [ProcessKind::Worldd, ProcessKind::Gateway] {
        let (lab, stop, following) = following("first").await;
        lab.fake.break_probes(true);
        let (accepted, mut ends) = lab.begin_up(ALICE, spec("blue")).await.expect("accepted");
        while ends.kind("step.done").await.message != "resolver done" {}
        let world = lab.world(ALICE, "blue").await.expect("exists").id;
        // Its live checks wait for what is not served; they would do so for five seconds and then fail the operation.
        lab.fake.kill(world, kind);
        while ends.kind("process.ended").await.world != "blue" {}
        lab.fake.break_probes(false);
        let (state, events) = ends.of(&accepted.operation).await;
        assert_eq!(state, OperationState::Done, "{kind:?}: {events:#?}");
        let again = if kind == ProcessKind::Worldd { "worldd done" } else { "gateway done" };
        assert!(events.iter().any(|event| event.message == again), "{kind:?}: {events:#?}");
        let mut running = lab.fake.processes();
        running.sort_by_key(|kind| *kind == ProcessKind::Gateway);
        let (worldd, gateway) = (ProcessKind::Worldd, ProcessKind::Gateway);
        assert_eq!(running, [worldd, worldd, gateway, gateway], "of two worlds, and no prober");
        stop.cancel();
        following.await.expect("ended");
    }
}

#[tokio::test]
async fn a_process_that_always_ends_fails_the_operation() {
    let (lab, stop, following) = following("first").await;
    lab.fake.break_probes(true);
    let (accepted, mut ends) = lab.begin_up(ALICE, spec("blue")).await.expect("accepted");
    let world = loop {
        match lab.world(ALICE, "blue").await {
            Some(world) => break world.id,
            None => tokio::task::yield_now().await,
        }
    };
    let mut seen = Vec::new();
    let problem = loop {
        let event = ends.next().await;
        match event.kind.as_str() {
            "step.done" if event.message == "resolver done" => lab.fake.kill_worldd(world),
            "operation.failed" if event.operation.as_deref() == Some(accepted.operation.as_str()) => break event,
            _ => {}
        }
        seen.push(event);
    };
    assert!(problem.message.contains("worldd: it ended 6 times while it was waited for"), "{problem:#?}");
    assert_eq!(worldds_started(&seen), 6);
    stop.cancel();
    following.await.expect("ended");
}

#[tokio::test]
async fn a_repair_that_failed_is_tried_again() {
    let (lab, stop, following) = following("blue").await;
    let world = lab.world(ALICE, "blue").await.expect("exists").id;
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    // The first call of the repair is refused, and nothing is wrong after that.
    lab.fake.fail_at(1, crate::fake::Fault::Before);
    lab.fake.kill_worldd(world);
    let failed = ends.kind("operation.failed").await;
    assert!(lab.fake.take_fault());
    let again = ends.kind("world.degraded").await;
    assert_ne!(again.operation, failed.operation, "another repair");
    assert_eq!(ends.of(&again.operation.expect("a repair")).await.0, OperationState::Done);
    assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Ready);
    stop.cancel();
    following.await.expect("ended");
}

#[tokio::test]
async fn a_world_whose_process_ended_too_often_is_degraded_and_brought_back_after_a_rest() {
    let (lab, stop, following) = following("blue").await;
    let world = lab.world(ALICE, "blue").await.expect("exists").id;
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    for _ in 0..10 {
        lab.fake.kill_worldd(world);
        let began = ends.kind("world.degraded").await;
        assert_eq!(ends.of(&began.operation.expect("a repair")).await.0, OperationState::Done);
    }
    lab.fake.kill_worldd(world);
    while ends.kind("world.degraded").await.message != "worldd ended again and again; it is started again in 60 s" {}
    assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Degraded);
    let left = lab.orchestrator.0.tended.left(world).expect("in somebody's hands");
    assert!(left > Duration::from_secs(30) && left <= Duration::from_secs(60), "{left:?}");
    // The rest is over.
    lab.orchestrator.tend(lab.world(ALICE, "blue").await.expect("exists"), Duration::ZERO, "");
    let began = ends.kind("world.degraded").await;
    assert_eq!(ends.of(&began.operation.expect("a repair")).await.0, OperationState::Done);
    assert_eq!(lab.status(ALICE, "blue").await.state, WorldState::Ready);
    stop.cancel();
    following.await.expect("ended");
}
