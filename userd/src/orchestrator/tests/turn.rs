//! Turns: what a user asks for while the daemon repairs the world.

use super::*;

/// Has the daemon repair a world; it is not done before `lab.fake.break_probes(false)`.
async fn begin_repair(lab: &Lab) -> OperationId {
    lab.fake.break_probes(true);
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let verdict = decide(Principal::daemon(), act::Repair, world.clone()).expect("allowed");
    let operation = lab.orchestrator.new_operation(Kind::Repair, world, Some(spec("blue")), 9, None);
    lab.orchestrator.store().begin_repair(&verdict, &operation, "its worldd ended").await.expect("begun");
    let id = operation.id;
    lab.orchestrator.spawn(operation, Prepared::default());
    id
}

async fn try_up(lab: &Lab, timeout: Option<Duration>) -> Result<Accepted, Problem> {
    let slot = WorldSlot { owner: ALICE, name: WorldName::parse("blue").expect("a name") };
    let verdict = decide(Principal::user(ALICE), act::Up, slot).expect("her own");
    lab.orchestrator.up(verdict, UpOrder { spec: spec("blue"), up_to: 9, timeout, heal: true }).await
}

#[tokio::test]
async fn up_and_down_wait_for_a_repair() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    let repair = begin_repair(&lab).await;
    let (accepted, ()) = tokio::join!(try_up(&lab, None), async {
        ends.kind("operation.planned").await;
        lab.fake.break_probes(false);
    });
    let accepted = accepted.expect("accepted after the repair");
    assert_eq!(ends.of(&repair.to_string()).await.0, OperationState::Done, "the repair ended first");
    assert_eq!(ends.of(&accepted.operation).await.0, OperationState::Done);

    let mut planned = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    begin_repair(&lab).await;
    let (ended, ()) = tokio::join!(lab.down(ALICE, "blue"), async {
        planned.kind("operation.planned").await;
        lab.fake.break_probes(false);
    });
    assert_eq!(ended.expect("accepted after the repair").0, OperationState::Done);
    lab.assert_nothing_left(ALICE).await;
}

#[tokio::test]
async fn an_up_waits_for_a_repair_no_longer_than_its_own_time() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    begin_repair(&lab).await;
    let refused = try_up(&lab, Some(Duration::from_millis(100))).await.expect_err("the repair goes on");
    assert_eq!(refused.kind, ProblemKind::Conflict);
}
