//! Random interleavings of operations and restarts: at the end, after `down`, nothing is left.

use proptest::prelude::*;

use super::*;
use crate::fake::Fault;

#[derive(Debug, Clone)]
enum Move {
    Up { name: u8, wide: bool },
    Down { name: u8 },
    Fault { at: usize, fault: Fault },
    RestartRootd,
    Reboot,
    RestartUserd,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let fault = prop_oneof![Just(Fault::Before), Just(Fault::After), Just(Fault::Lost)];
    let one = prop_oneof![
        4 => (0u8..2, any::<bool>()).prop_map(|(name, wide)| Move::Up { name, wide }),
        2 => (0u8..2).prop_map(|name| Move::Down { name }),
        3 => (1usize..8, fault).prop_map(|(at, fault)| Move::Fault { at, fault }),
        1 => Just(Move::RestartRootd),
        1 => Just(Move::Reboot),
        1 => Just(Move::RestartUserd),
    ];
    prop::collection::vec(one, 1..12)
}

const NAMES: [&str; 2] = ["blue", "green"];

async fn play(moves: Vec<Move>) {
    let mut lab = Lab::new().await;
    for step in moves {
        match step {
            // Begun and not awaited: the next moves meet it at work.
            Move::Up { name, wide } => {
                let name = NAMES[usize::from(name)];
                let _ = lab.begin_up(ALICE, if wide { wider(name) } else { spec(name) }).await;
            }
            Move::Down { name } => {
                if let Some(world) = lab.world(ALICE, NAMES[usize::from(name)]).await {
                    let verdict = decide(Principal::user(ALICE), act::Down, world).expect("hers");
                    let _ = lab.orchestrator.down(verdict, None).await;
                }
            }
            Move::Fault { at, fault } => lab.fake.fail_at(at, fault),
            Move::RestartRootd => lab.fake.restart(),
            Move::Reboot => lab.fake.forget_all(),
            Move::RestartUserd => {
                lab.restart_userd().await;
                lab.orchestrator.finish_interrupted().await.expect("taken up");
            }
        }
    }
    let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
    while !lab.orchestrator.store().interrupted().await.expect("read").is_empty() {
        ends.next().await;
    }
    lab.fake.take_fault();
    for name in NAMES {
        if lab.world(ALICE, name).await.is_some() {
            assert_eq!(lab.down(ALICE, name).await.expect("accepted").0, OperationState::Done);
        }
    }
    lab.assert_nothing_left(ALICE).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_down_leaves_nothing(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(play(moves));
    }
}
