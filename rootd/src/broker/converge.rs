//! Making the kernel equal to a plan: see, compare, journal, do, see again.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    sync::atomic::Ordering,
};

use futures::future::try_join_all;
use netengine_proto::{
    ids::WorldId,
    plan::{NetworkPlan, Node, NodePlan},
    root::{Change, ChangeAction, ObjectKind, ObjectName, Observed, Operation, RootError},
};

use super::{
    journal::Record,
    state::{Broker, HeldNode, HeldWorld, World},
};
use crate::{
    plan::{
        diff::{Action, Difference, Seen, diff},
        settings::Settings,
        tag,
    },
    worker::message::{HeldKey, NetOperation, NetRequest, Slot},
};

/// See, compare and do this often at most: a removal may take more with it than was seen before.
const ROUNDS: usize = 4;

impl Broker {
    /// Makes the kernel equal to `plan` and reports what was done.
    ///
    /// # Errors
    /// [`RootError`]; what was made so far stays and is found again by the next call.
    pub async fn converge(
        &self,
        world: &World,
        held: &mut HeldWorld,
        plan: &NetworkPlan,
    ) -> Result<Vec<Change>, RootError> {
        let fresh = self.create_namespaces(world, held, plan).await?;
        let mut changes: Vec<_> = fresh.iter().map(|node| namespace_change(ChangeAction::Create, node)).collect();
        let alias = tag::alias(self.instance, world.owner, world.id);
        let mut seen = BTreeMap::new();
        let mut stale: Vec<&NodePlan> = plan.nodes.iter().filter(|node| !fresh.contains(&node.node)).collect();
        for round in 0.. {
            for (node, found) in self.observe_nodes(world.id, held, &stale).await? {
                seen.insert(node, found);
            }
            let difference = diff(plan, &alias, &seen);
            if let Some(conflict) = &difference.conflict {
                let object = format!("{} in {}", conflict.name, conflict.node);
                return Err(RootError::Kernel { operation: Operation::CreateLink, object, errno: nix::libc::EEXIST });
            }
            let untouched = round == 0 && !fresh.is_empty();
            if difference.is_empty() && !untouched {
                break;
            }
            if round == ROUNDS {
                return Err(RootError::Kernel {
                    operation: Operation::Observe,
                    object: "world".into(),
                    errno: nix::libc::EAGAIN,
                });
            }
            let step = difference.changes();
            self.record(&[Record::Changes { world: world.id, changes: step.clone() }])?;
            let fresh = if round == 0 { &fresh } else { &BTreeSet::new() };
            self.perform(world, held, plan, &difference, fresh).await?;
            changes.extend(step);
            let touched =
                |node: &&NodePlan| difference.actions.get(&node.node).is_some_and(|actions| !actions.is_empty());
            stale = plan.nodes.iter().filter(touched).collect();
        }
        changes.extend(self.delete_namespaces(world, held, plan).await?);
        Ok(changes)
    }

    /// Compares without doing anything.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn observe_world(&self, world: &World, held: &HeldWorld) -> Result<Observed, RootError> {
        let Some((_, plan)) = &held.plan else { return Err(RootError::NotFound) };
        let alias = tag::alias(self.instance, world.owner, world.id);
        let (present, absent): (Vec<_>, Vec<_>) =
            plan.nodes.iter().partition(|node| held.nodes.contains_key(&node.node));
        let seen = self.observe_nodes(world.id, held, &present).await?.into_iter().collect();
        let difference = diff(plan, &alias, &seen);
        let mut drift: Vec<_> = absent.iter().map(|node| namespace_change(ChangeAction::Create, &node.node)).collect();
        drift.extend(difference.changes());
        Ok(Observed { drift, foreign: difference.foreign, objects: difference.objects })
    }

    async fn create_namespaces(
        &self,
        world: &World,
        held: &mut HeldWorld,
        plan: &NetworkPlan,
    ) -> Result<BTreeSet<Node>, RootError> {
        let missing: Vec<_> = plan.nodes.iter().filter(|node| !held.nodes.contains_key(&node.node)).collect();
        if missing.is_empty() {
            return Ok(BTreeSet::new());
        }
        let nodes: Vec<_> = missing.iter().map(|node| node.node.clone()).collect();
        let count = u32::try_from(nodes.len()).expect("bounded by the plan");
        self.reserve_nodes(count)?;
        let made = async {
            self.record(&[Record::Namespaces { world: world.id, nodes: nodes.clone() }])?;
            let made = try_join_all(missing.iter().map(|node| self.workers.create_node(settings(node)))).await?;
            // Kept by the holder before anything is built in them: from here on they survive this process.
            for (node, made) in nodes.iter().zip(&made) {
                self.holder.keep(HeldKey::Namespace(world.id, node.clone()), &made.ns).await.map_err(hold_error)?;
            }
            try_join_all(made.into_iter().map(|made| async move {
                let slot = self.slot();
                let fds = [made.ns.as_fd(), made.route.as_fd(), made.netfilter.as_fd()];
                self.workers.net(&NetRequest::Adopt(slot), &fds).await?;
                Ok::<_, RootError>(HeldNode { slot, ns: made.ns })
            }))
            .await
        };
        match made.await {
            Ok(made) => {
                held.nodes.extend(nodes.iter().cloned().zip(made));
                world.node_count.store(u32::try_from(held.nodes.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
                Ok(nodes.into_iter().collect())
            }
            Err(error) => {
                self.release_nodes(count);
                for node in nodes {
                    let _ = self.holder.drop_key(HeldKey::Namespace(world.id, node)).await;
                }
                Err(error)
            }
        }
    }

    /// Removes namespaces that the plan no longer has.
    async fn delete_namespaces(
        &self,
        world: &World,
        held: &mut HeldWorld,
        plan: &NetworkPlan,
    ) -> Result<Vec<Change>, RootError> {
        let extra: Vec<_> = held
            .nodes
            .keys()
            .filter(|node| !plan.nodes.iter().any(|planned| planned.node == **node))
            .cloned()
            .collect();
        for node in &extra {
            self.end_processes_in(world.id, Some(node)).await?;
            self.release_node(world, held, node).await?;
        }
        Ok(extra.iter().map(|node| namespace_change(ChangeAction::Delete, node)).collect())
    }

    /// Gives a namespace up everywhere; the kernel removes it with all it holds.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn release_node(&self, world: &World, held: &mut HeldWorld, node: &Node) -> Result<(), RootError> {
        let Some(released) = held.nodes.remove(node) else { return Ok(()) };
        world.node_count.store(u32::try_from(held.nodes.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.release_nodes(1);
        // A holder that is gone keeps nothing, and the next one is given only what is still in `held`.
        let _ = self.holder.drop_key(HeldKey::Namespace(world.id, node.clone())).await;
        self.workers.net(&NetRequest::Forget(released.slot), &[]).await
    }

    async fn observe_nodes(
        &self,
        world: WorldId,
        held: &HeldWorld,
        nodes: &[&NodePlan],
    ) -> Result<Vec<(Node, Seen)>, RootError> {
        try_join_all(nodes.iter().map(|plan| async {
            let node = held.nodes.get(&plan.node).ok_or(RootError::NotFound)?;
            // One question less for the many nodes that have one link.
            let rules = !plan.source_routes.is_empty() || !matches!(plan.node, Node::Host(_));
            let request = NetRequest::Observe { slot: node.slot, world, policy: plan.policy.clone(), rules };
            let (observed, equal) = futures::try_join!(
                self.workers.observe(&request),
                self.workers.settings_equal(&node.ns, settings(plan))
            )?;
            let (observed, table) = observed;
            Ok((plan.node.clone(), Seen { node: observed, table, settings_differ: !equal }))
        }))
        .await
    }

    /// Three steps over all nodes: policy and removals; new links; settings of links, addresses, routes.
    async fn perform(
        &self,
        world: &World,
        held: &HeldWorld,
        plan: &NetworkPlan,
        difference: &Difference,
        fresh: &BTreeSet<Node>,
    ) -> Result<(), RootError> {
        let alias = tag::alias(self.instance, world.owner, world.id);
        for step in [Step::Clear, Step::Make, Step::Set] {
            try_join_all(plan.nodes.iter().map(|node_plan| async {
                let held_node = held.nodes.get(&node_plan.node).ok_or(RootError::NotFound)?;
                let actions = difference.actions.get(&node_plan.node).map(Vec::as_slice).unwrap_or_default();
                if step == Step::Clear {
                    self.prepare(world.id, held_node, node_plan, actions).await?;
                }
                let mut operations: Vec<_> = actions
                    .iter()
                    .filter_map(|action| operation(action, &alias, |node| held.nodes.get(node).map(|held| held.slot)))
                    .filter(|(of, _)| *of == step)
                    .map(|(_, operation)| operation)
                    .collect();
                if step == Step::Make && fresh.contains(&node_plan.node) {
                    operations.insert(0, NetOperation::LoopbackUp);
                }
                if operations.is_empty() {
                    return Ok(());
                }
                self.workers.net(&NetRequest::Run { slot: held_node.slot, operations }, &[]).await
            }))
            .await?;
        }
        Ok(())
    }

    async fn prepare(
        &self,
        world: WorldId,
        held: &HeldNode,
        plan: &NodePlan,
        actions: &[Action],
    ) -> Result<(), RootError> {
        for action in actions {
            match action {
                Action::Settings(settings) => self.workers.set_settings(&held.ns, *settings).await?,
                Action::Policy | Action::DeletePolicy => {
                    let request = NetRequest::Policy { slot: held.slot, world, policy: plan.policy.clone() };
                    self.workers.net(&request, &[]).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn settings(node: &NodePlan) -> Settings {
    Settings { forward: node.forward, low_ports: node.low_ports }
}

/// A failure to talk to the holder.
pub fn hold_error(error: std::io::Error) -> RootError {
    let errno = error.raw_os_error().unwrap_or(nix::libc::EPIPE);
    RootError::Kernel { operation: Operation::Hold, object: "descriptor".into(), errno }
}

fn namespace_change(action: ChangeAction, node: &Node) -> Change {
    Change { action, object: namespace_name(node) }
}

/// A namespace in reports.
pub fn namespace_name(node: &Node) -> ObjectName {
    ObjectName { node: node.to_string(), kind: ObjectKind::Namespace, name: node.to_string() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Clear,
    Make,
    Set,
}

/// The rtnetlink operation of an action, and the step it belongs to.
fn operation(action: &Action, alias: &str, slot: impl Fn(&Node) -> Option<Slot>) -> Option<(Step, NetOperation)> {
    Some(match action.clone() {
        Action::Settings(_) | Action::Policy | Action::DeletePolicy => return None,
        Action::DeleteRoute(route) => (Step::Clear, NetOperation::DeleteRoute(route)),
        Action::DeleteRule(rule) => (Step::Clear, NetOperation::DeleteRule(rule)),
        Action::DeleteLink { index, name } => (Step::Clear, NetOperation::DeleteLink { index, name }),
        Action::DeleteAddress { index, name, address } => {
            (Step::Clear, NetOperation::DeleteAddress { index, name, address })
        }
        Action::CreateBridge { index, name, mac } => (Step::Make, NetOperation::CreateBridge { index, name, mac }),
        Action::CreateCable { index, name, mac, peer, peer_index, peer_name, peer_mac } => {
            let peer = slot(&peer)?;
            (Step::Make, NetOperation::CreateCable { index, name, mac, peer, peer_index, peer_name, peer_mac })
        }
        Action::SetLink { index, name, alias: set_alias, master, mac, up, .. } => {
            let alias = set_alias.then(|| alias.to_owned());
            (Step::Set, NetOperation::SetLink { index, name, alias, master, mac, up })
        }
        Action::AddAddress { index, name, address } => (Step::Set, NetOperation::AddAddress { index, name, address }),
        Action::AddRoute(route) => (Step::Set, NetOperation::AddRoute(route)),
        Action::AddRule(rule) => (Step::Set, NetOperation::AddRule(rule)),
    })
}
