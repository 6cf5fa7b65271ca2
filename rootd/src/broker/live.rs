//! What of the journal still matters: the shortest list of records that is remembered as the long one is. Pure.

use std::collections::BTreeMap;

use netengine_proto::ids::{ProcessId, WorldId};

use super::journal::Record;

/// The records that still matter, by world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live(BTreeMap<WorldId, World>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct World {
    plan: Option<Record>,
    applied: Option<Record>,
    deleting: Option<Record>,
    tries: u32,
    processes: BTreeMap<ProcessId, Record>,
}

impl Live {
    /// Takes one more record into account.
    pub fn fold(&mut self, record: &Record) {
        let kept = || Some(record.clone());
        match record {
            Record::Plan { plan, .. } => {
                let world = self.0.entry(plan.world).or_default();
                (world.plan, world.tries) = (kept(), 0);
            }
            Record::Applied { world, .. } => {
                let world = self.0.entry(*world).or_default();
                (world.applied, world.tries) = (kept(), 0);
            }
            Record::Trying { world } => self.0.entry(*world).or_default().tries += 1,
            Record::Deleting { world, .. } => self.0.entry(*world).or_default().deleting = kept(),
            Record::Deleted { world } => drop(self.0.remove(world)),
            Record::Starting { world, process, .. } => {
                self.0.entry(*world).or_default().processes.insert(*process, record.clone());
            }
            // A process may be reported after its world's end; that brings nothing back.
            Record::Ended { world, process, .. } => {
                if let Some(world) = self.0.get_mut(world) {
                    world.processes.remove(process);
                }
            }
            Record::Namespaces { .. } | Record::Changes { .. } => {}
        }
    }

    /// The records, in an order in which they may be read back.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (id, world) in &self.0 {
            records.extend(world.plan.clone());
            records.extend(world.applied.clone());
            records.extend((0..world.tries).map(|_| Record::Trying { world: *id }));
            records.extend(world.deleting.clone());
            records.extend(world.processes.values().cloned());
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use netengine_proto::{
        bounded::Bounded,
        ended::Ended,
        ids::{CallKey, Uid},
        plan::{NetworkPlan, Node},
        root::{Applied, ProcessKind},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::broker::reconcile::remember;

    fn record() -> impl Strategy<Value = Record> {
        (0u8..8, 0u8..3, 0u8..4).prop_map(|(kind, world, other)| {
            let (id, owner) = (WorldId::from_bytes([world; 8]), Uid(1000));
            let (key, process) = (CallKey::from_bytes([other; 16]), ProcessId::from_bytes([other; 8]));
            match kind {
                0 => {
                    let (nodes, bridges, cables, peers) = Default::default();
                    Record::Plan { key, plan: NetworkPlan { world: id, owner, nodes, bridges, cables, peers } }
                }
                1 => Record::Applied { world: id, key, applied: Applied { changes: vec![] } },
                2 => Record::Trying { world: id },
                3 => Record::Deleting { world: id, owner },
                4 => Record::Deleted { world: id },
                5 => Record::Namespaces { world: id, nodes: vec![Node::Gateway] },
                6 => Record::Starting {
                    world: id,
                    process,
                    kind: ProcessKind::Worldd,
                    node: Node::Services,
                    user: owner,
                    key: Some(key),
                },
                _ => Record::Ended { world: id, process, ended: Ended::Vanished },
            }
        })
    }

    proptest! {
        #[test]
        fn the_short_list_is_remembered_as_the_long_one(records in prop::collection::vec(record(), 0..60)) {
            let mut live = Live::default();
            records.iter().for_each(|record| live.fold(record));
            prop_assert!(live.records().len() <= 3 * 12 + 60);
            prop_assert_eq!(remember(live.records()), remember(records));
        }
    }

    #[test]
    fn a_life_that_is_over_leaves_no_record() {
        let (world, owner) = (WorldId::from_bytes([1; 8]), Uid(1000));
        let plan = NetworkPlan {
            world,
            owner,
            nodes: Bounded::default(),
            bridges: Bounded::default(),
            cables: Bounded::default(),
            peers: Bounded::default(),
        };
        let mut live = Live::default();
        for record in [
            Record::Plan { key: CallKey::from_bytes([1; 16]), plan },
            Record::Deleting { world, owner },
            Record::Deleted { world },
        ] {
            live.fold(&record);
        }
        assert_eq!(live.records(), []);
    }
}
