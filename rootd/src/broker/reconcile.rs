//! After a start: what the journal says, what the holder kept; each world becomes complete or gone.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    sync::Arc,
};

use netengine_proto::{
    ended::Ended,
    ids::{CallKey, ProcessId, Uid, WorldId},
    plan::{NetworkPlan, Node},
    root::{Applied, ProcessKind, RootError},
};

use super::{
    journal::Record,
    processes::About,
    state::{Broker, World},
    workers::MadeNode,
};
use crate::worker::message::{HeldKey, NetRequest};

/// Starts that may fail to complete a world before it is left alone.
const TRIES: u32 = 3;

/// What the journal says of one world.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Remembered {
    /// Its owner, from its plan or its deletion.
    pub owner: Option<Uid>,
    /// The plan it shall equal.
    pub plan: Option<(CallKey, NetworkPlan)>,
    /// The last call that was completed.
    pub last: Option<(CallKey, Applied)>,
    /// It shall be gone.
    pub deleting: bool,
    /// Starts that tried to complete it since it was last complete.
    pub tries: u32,
    /// Its processes that were started and did not end, as far as was recorded.
    pub processes: HashMap<ProcessId, (ProcessKind, Node, Uid, Option<CallKey>)>,
}

impl Remembered {
    /// It shall be gone: a deletion, or a first apply that was never answered.
    fn is_unfinished(&self) -> bool {
        self.deleting || self.last.is_none()
    }
}

/// Folds the records into what is remembered. Pure.
pub fn remember(records: Vec<Record>) -> BTreeMap<WorldId, Remembered> {
    let mut worlds: BTreeMap<WorldId, Remembered> = BTreeMap::new();
    for record in records {
        match record {
            Record::Plan { key, plan } => {
                let world = worlds.entry(plan.world).or_default();
                world.owner = Some(plan.owner);
                world.plan = Some((key, plan));
                world.tries = 0;
            }
            Record::Applied { world, key, applied } => {
                let world = worlds.entry(world).or_default();
                world.last = Some((key, applied));
                world.tries = 0;
            }
            Record::Trying { world } => worlds.entry(world).or_default().tries += 1,
            Record::Deleting { world, owner } => {
                let world = worlds.entry(world).or_default();
                world.owner = Some(owner);
                world.deleting = true;
            }
            Record::Deleted { world } => drop(worlds.remove(&world)),
            Record::Starting { world, process, kind, node, user, key } => {
                worlds.entry(world).or_default().processes.insert(process, (kind, node, user, key));
            }
            Record::Ended { world, process, .. } => {
                worlds.entry(world).or_default().processes.remove(&process);
            }
            Record::Namespaces { .. } | Record::Changes { .. } => {}
        }
    }
    // A world known only by its processes was deleted while one of them was still reported.
    worlds.retain(|_, world| world.owner.is_some());
    worlds
}

impl Broker {
    /// Takes back what the holder kept, then completes or removes each world.
    ///
    /// # Errors
    /// Only when a worker is gone; a world that cannot be completed is degraded, and the others are served.
    pub async fn reconcile(
        self: &Arc<Self>,
        records: Vec<Record>,
        kept: Vec<(HeldKey, OwnedFd)>,
    ) -> Result<(), RootError> {
        let mut worlds = remember(records);
        for (key, fd) in kept {
            let known = match &key {
                HeldKey::Namespace(world, node) => match worlds.get(world) {
                    Some(remembered) => self.adopt_namespace(*world, remembered, node, fd).await?,
                    None => false,
                },
                HeldKey::Leash(world, id) => match worlds.get_mut(world) {
                    Some(remembered) => self.adopt_process(*world, remembered, *id, fd),
                    None => false,
                },
            };
            if !known {
                // Nobody remembers it: its last other descriptor closes, and with it what it stands for.
                let _ = self.holder.drop_key(key).await;
            }
        }
        // Before any world is settled: a link to another world that is still to be settled stays.
        for (id, remembered) in worlds.iter().filter(|(_, remembered)| !remembered.is_unfinished()) {
            if let (Some((_, plan)), Some(world)) = (&remembered.plan, self.find_world(*id)) {
                world.take_stance(&*world.held.lock().await, plan);
            }
        }
        for (id, remembered) in worlds {
            self.settle(id, remembered).await?;
        }
        self.settle_all_joined().await;
        Ok(())
    }

    async fn adopt_namespace(
        &self,
        id: WorldId,
        remembered: &Remembered,
        node: &Node,
        ns: OwnedFd,
    ) -> Result<bool, RootError> {
        let Some(owner) = remembered.owner else { return Ok(false) };
        let world = self.world_or_new(id, owner)?;
        let made = self.workers.open_node(&ns).await?;
        // The kept descriptor, not the one just found by the socket: it is what the holder has.
        let made = MadeNode { ns, ..made };
        let plan = remembered.plan.as_ref().map(|(_, plan)| plan);
        let has_policy = plan.is_some_and(|plan| plan.nodes.iter().any(|n| n.node == *node && n.policy.is_some()));
        let adopted = self.take_up(id, made, has_policy).await?;
        if *node == Node::Gateway {
            // A proof that was interrupted left its table.
            self.workers.net(&NetRequest::Trace { slot: adopted.slot, world: id, on: false }, &[]).await?;
        }
        self.reserve_nodes(1)?;
        let mut held = world.held.lock().await;
        held.nodes.insert(node.clone(), adopted);
        let count = u32::try_from(held.nodes.len()).unwrap_or(u32::MAX);
        world.node_count.store(count, std::sync::atomic::Ordering::Relaxed);
        Ok(true)
    }

    fn adopt_process(
        self: &Arc<Self>,
        world: WorldId,
        remembered: &mut Remembered,
        id: ProcessId,
        leash: OwnedFd,
    ) -> bool {
        let Some((kind, node, user, key)) = remembered.processes.remove(&id) else { return false };
        self.adopt(About { id, world, kind, node, user, key }, leash).is_ok()
    }

    /// Gives a new holder everything that the former one kept.
    ///
    /// # Errors
    /// When the new one is gone as well.
    pub async fn hold_everything(&self) -> std::io::Result<()> {
        for world in self.worlds() {
            let held = world.held.lock().await;
            for (node, held_node) in &held.nodes {
                self.holder.keep(HeldKey::Namespace(world.id, node.clone()), &held_node.ns).await?;
            }
        }
        let processes: Vec<_> =
            self.processes().values().filter(|process| process.ended().is_none()).cloned().collect();
        for process in processes {
            self.holder.keep(HeldKey::Leash(process.world, process.id), process.leash()).await?;
        }
        Ok(())
    }

    async fn settle(self: &Arc<Self>, id: WorldId, remembered: Remembered) -> Result<(), RootError> {
        let Some(owner) = remembered.owner else { return Ok(()) };
        let world = self.world_or_new(id, owner)?;
        for process in remembered.processes.keys() {
            // Started by record, but no leash was kept: it never ran, or it ended together with the holder.
            let _ = self.record(&[Record::Ended { world: id, process: *process, ended: Ended::Vanished }]);
        }
        let mut held = world.held.lock().await;
        held.last = remembered.last.clone();
        held.plan = remembered.plan.clone();
        let unfinished = remembered.is_unfinished();
        if remembered.tries >= TRIES {
            self.degrade(&world, "left alone after three starts that could not complete it; take it down");
            return Ok(());
        }
        self.record(&[Record::Trying { world: id }])?;
        let outcome = match &remembered.plan {
            Some((key, plan)) if !unfinished => {
                let applied = self.converge(&world, &mut held, plan).await.map(|changes| Applied { changes });
                applied.and_then(|applied| {
                    let last = remembered.last.as_ref().map_or(*key, |(last, _)| *last);
                    if !applied.changes.is_empty() {
                        tracing::info!(world = %id, changes = applied.changes.len(), "world completed after a restart");
                    }
                    let applied = remembered.last.clone().map_or(applied, |(_, answered)| answered);
                    self.record(&[Record::Applied { world: id, key: last, applied }])
                })
            }
            // A first apply that was never answered, or a deletion: gone.
            _ => self.delete_world(&world, &mut held).await.map(drop),
        };
        match outcome {
            Err(RootError::Restarting) => Err(RootError::Restarting),
            Err(error) => {
                self.degrade(&world, &error.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn degrade(&self, world: &World, why: &str) {
        tracing::error!(world = %world.id, why, "world is degraded");
        *world.degraded.lock().expect("no panic while held") = Some(why.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use netengine_proto::bounded::Bounded;

    use super::*;

    fn world(n: u8) -> WorldId {
        WorldId::from_bytes([n; 8])
    }

    fn plan(n: u8) -> Record {
        let plan = NetworkPlan {
            world: world(n),
            owner: Uid(1000),
            nodes: Bounded::default(),
            bridges: Bounded::default(),
            cables: Bounded::default(),
            peers: Bounded::default(),
        };
        Record::Plan { key: CallKey::from_bytes([n; 16]), plan }
    }

    #[test]
    fn every_prefix_of_a_life_is_remembered_as_complete_to_be_removed_or_gone() {
        let key = CallKey::from_bytes([1; 16]);
        let applied = Record::Applied { world: world(1), key, applied: Applied { changes: vec![] } };
        let life = [
            plan(1),
            applied,
            Record::Deleting { world: world(1), owner: Uid(1000) },
            Record::Deleted { world: world(1) },
        ];
        let at = |n: usize| remember(life[..n].to_vec()).get(&world(1)).cloned();
        assert_eq!(at(0), None);
        assert!(at(1).is_some_and(|w| w.plan.is_some() && w.last.is_none() && !w.deleting), "to be removed");
        assert!(at(2).is_some_and(|w| w.last.is_some() && !w.deleting), "to be completed");
        assert!(at(3).is_some_and(|w| w.deleting), "to be removed");
        assert_eq!(at(4), None);
    }

    #[test]
    fn a_process_reported_after_its_worlds_end_does_not_bring_the_world_back() {
        let ended = Record::Ended { world: world(1), process: ProcessId::from_bytes([2; 8]), ended: Ended::Vanished };
        assert!(remember(vec![plan(1), Record::Deleted { world: world(1) }, ended]).is_empty());
    }

    #[test]
    fn tries_count_until_a_success() {
        let trying = Record::Trying { world: world(1) };
        let worlds = remember(vec![plan(1), trying.clone(), trying.clone(), trying]);
        assert_eq!(worlds[&world(1)].tries, 3);
    }
}
