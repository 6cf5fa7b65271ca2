//! Links between the routers of two worlds. They exist while the plans of both say so (`plan::join`), and each world's
//! converging makes them or takes them away; here is what two worlds have in common: the turn, and what each may know of the
//! other.

use std::{collections::BTreeSet, sync::Arc};

use netengine_proto::{
    ids::WorldId,
    plan::{NetworkPlan, Node},
    root::RootError,
};
use tokio::sync::MutexGuard;

use super::state::{Broker, HeldWorld, World};
use crate::{
    plan::{
        diff::{Action, Difference},
        join::{Joined, Side, Stance, joined},
    },
    worker::message::{NetOperation, NetRequest, Slot},
};

/// Whoever has it is the only one at work on links between worlds.
pub type Turn<'a> = MutexGuard<'a, ()>;

impl World {
    /// Lets other worlds know what its plan says, once it has a router.
    pub fn take_stance(&self, held: &HeldWorld, plan: &NetworkPlan) {
        let router = held.nodes.get(&Node::Gateway).map(|node| node.slot);
        *self.stance() = router.map(|router| (Arc::new(Stance::of(plan)), router));
    }

    /// Other worlds see it no more.
    pub fn forget_stance(&self) {
        *self.stance() = None;
    }

    /// The worlds that it names.
    pub fn named(&self) -> Vec<WorldId> {
        let stance = self.stance();
        stance.iter().flat_map(|(stance, _)| stance.peers.iter().map(|peer| peer.world)).collect()
    }

    fn stance(&self) -> std::sync::MutexGuard<'_, Option<(Arc<Stance>, Slot)>> {
        self.stance.lock().expect("no panic while held")
    }
}

impl Broker {
    /// Takes a world in hand; with the turn when it names others, or is about to (`joins`).
    pub async fn hold<'a>(&'a self, world: &'a World, joins: bool) -> (Option<Turn<'a>>, MutexGuard<'a, HeldWorld>) {
        loop {
            let turn = if joins || !world.named().is_empty() { Some(self.joining.lock().await) } else { None };
            let held = world.held.lock().await;
            // It may have named others while its lock was waited for.
            if turn.is_some() || world.named().is_empty() {
                return (turn, held);
            }
        }
    }

    /// The handle of a world's router.
    pub fn router(&self, world: WorldId) -> Option<Slot> {
        self.find_world(world)?.stance().as_ref().map(|(_, slot)| *slot)
    }

    /// The worlds that this one is joined with, by its plan and theirs, with what there is of the far ends of the links.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn joined(&self, world: &World, plan: &NetworkPlan) -> Result<Vec<Joined>, RootError> {
        if plan.peers.is_empty() || world.stance().is_none() {
            return Ok(Vec::new());
        }
        let own = Stance::of(plan);
        let mut found = Vec::new();
        for peer in plan.peers.iter() {
            let Ok(other) = self.world(peer.world, peer.owner) else { continue };
            let Some((stance, slot)) = other.stance().clone() else { continue };
            let own = Side { world: world.id, owner: world.owner, stance: &own };
            let far = Side { world: other.id, owner: other.owner, stance: &stance };
            if let Some(mut joined) = joined(own, far) {
                joined.far = self.far_end(&joined, slot).await?;
                found.push(joined);
            }
        }
        Ok(found)
    }

    async fn far_end(&self, joined: &Joined, slot: Slot) -> Result<Option<(u32, u32)>, RootError> {
        let request = NetRequest::Observe { slot, world: joined.world, policy: None, rules: false };
        let (observed, _) = self.workers.observe(&request).await?;
        let link = observed.links.iter().find(|link| link.name == joined.far_link.as_str());
        Ok(link.map(|link| (link.index, link.peer)))
    }

    /// Removes what is left of broken cables in other worlds' routers.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn clear_far(&self, difference: &Difference) -> Result<(), RootError> {
        for action in difference.actions.values().flatten() {
            let Action::DeleteFar { world, index, name } = action else { continue };
            let Some(slot) = self.router(*world) else { continue };
            let operations = vec![NetOperation::DeleteLink { index: *index, name: name.clone() }];
            self.workers.net(&NetRequest::Run { slot, operations }, &[]).await?;
        }
        Ok(())
    }

    /// Has the other ends follow after `world` was changed: each of `named` that names it is made equal to its plan again.
    pub async fn settle_joined(&self, _turn: &Turn<'_>, world: &World, named: BTreeSet<WorldId>) {
        for other in named.iter().filter_map(|id| self.find_world(*id)) {
            if !other.named().contains(&world.id) {
                continue;
            }
            self.settle_one(&other).await;
        }
    }

    /// After a start: ends of links that were made before both worlds were settled.
    pub async fn settle_all_joined(&self) {
        let _turn = self.joining.lock().await;
        for world in self.worlds().into_iter().filter(|world| !world.named().is_empty()) {
            self.settle_one(&world).await;
        }
    }

    async fn settle_one(&self, world: &World) {
        let mut held = world.held.lock().await;
        let Some((_, plan)) = held.plan.clone().filter(|_| !held.gone) else { return };
        // Its own look finds what is left, and userd is told.
        if let Err(error) = self.converge(world, &mut held, &plan).await {
            tracing::warn!(world = %world.id, %error, "cannot follow a joined world");
        }
    }

    /// Before a world is removed: the others take their ends away, while there is something to take away.
    pub async fn part(&self, world: &World) {
        if world.named().is_empty() {
            return;
        }
        let turn = self.joining.lock().await;
        let named = world.named().into_iter().collect();
        world.forget_stance();
        self.settle_joined(&turn, world, named).await;
    }
}
