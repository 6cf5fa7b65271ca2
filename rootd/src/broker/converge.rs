//! Making the kernel equal to a plan: see, compare, journal, do, see again.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    sync::atomic::Ordering,
};

use futures::future::{join_all, try_join_all};
use netengine_proto::{
    ids::WorldId,
    plan::{NetworkPlan, Node, NodePlan},
    root::{Change, ChangeAction, NoticedBy, ObjectKind, ObjectName, Observed, Operation, RootError, RootEvent},
};

use super::{
    journal::Record,
    known::{Known, settings},
    state::{Broker, HeldNode, HeldWorld, World},
    workers::MadeNode,
};
use crate::{
    netlink::policy::NodePolicy,
    plan::{
        diff::{Action, Difference, Seen, diff, objects},
        tag,
    },
    worker::message::{HeldKey, NetOperation, NetRequest, Slot},
};

/// See, compare and do this often at most: a removal may take more with it than was seen before.
const ROUNDS: usize = 4;
/// Differences that one event tells; the rest is counted.
const DRIFT_TOLD: usize = 64;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What is not known, and what changed since it was seen, by what the kernel told.
    Changed,
    /// That, and of every namespace what the kernel tells nothing of when it changes: its settings.
    All,
}

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
        world.take_stance(held, plan);
        let mut changes: Vec<_> = fresh.iter().map(|node| namespace_change(ChangeAction::Create, node)).collect();
        let alias = tag::alias(self.instance, world.owner, world.id);
        for round in 0.. {
            let unbuilt = if round == 0 { &fresh } else { &BTreeSet::new() };
            self.see(world.id, &mut held.nodes, &mut held.known, plan, Extent::Changed, unbuilt).await?;
            let joined = self.joined(world, plan).await?;
            let difference = diff(plan, &joined, &alias, held.known.seen());
            if let Some(conflict) = &difference.conflict {
                let object = format!("{} in {}", conflict.name, conflict.node);
                return Err(RootError::Kernel { operation: Operation::CreateLink, object, errno: nix::libc::EEXIST });
            }
            let untouched = round == 0 && !fresh.is_empty();
            if difference.is_empty() && !untouched {
                if joined.is_empty()
                    && difference.finds_nothing()
                    && let Some((key, _)) = &held.plan
                {
                    held.known.learn_equal(*key);
                }
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
            for (node, actions) in &difference.actions {
                if !actions.is_empty() {
                    held.known.forget(node);
                }
            }
            self.perform(world, held, plan, &difference, unbuilt).await?;
            changes.extend(step);
        }
        changes.extend(self.delete_namespaces(world, held, plan).await?);
        self.tell_drift(world, held, Vec::new(), NoticedBy::Look);
        Ok(changes)
    }

    /// Compares without doing anything. What was seen is still so where the kernel told of no change; settings of which it
    /// tells nothing are seen by [`Extent::All`] alone. Without `lists`, what exists is not listed.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn observe_world(
        &self,
        world: &World,
        held: &mut HeldWorld,
        extent: Extent,
        lists: bool,
    ) -> Result<Observed, RootError> {
        let HeldWorld { plan, nodes, known, .. } = held;
        let Some((key, plan)) = plan else { return Err(RootError::NotFound) };
        self.see(world.id, nodes, known, plan, extent, &BTreeSet::new()).await?;
        let alias = tag::alias(self.instance, world.owner, world.id);
        let absent = plan.nodes.iter().filter(|node| !nodes.contains_key(&node.node));
        let mut drift: Vec<_> = absent.map(|node| namespace_change(ChangeAction::Create, &node.node)).collect();
        let joined = self.joined(world, plan).await?;
        // The ends of cables in other worlds are known to nobody.
        let is_alone = joined.is_empty() && drift.is_empty();
        if is_alone && !lists && known.is_equal_to(*key) {
            return Ok(Observed { drift, foreign: Vec::new(), objects: Vec::new() });
        }
        let difference = diff(plan, &joined, &alias, known.seen());
        if is_alone && difference.finds_nothing() {
            known.learn_equal(*key);
        }
        drift.extend(difference.changes());
        let objects = if lists { objects(plan, &joined, &alias, known.seen()) } else { Vec::new() };
        Ok(Observed { drift, foreign: difference.foreign, objects })
    }

    /// Brings what is `known` of the nodes of `plan` up to date, but for those that are `unbuilt`. Whoever drops this future
    /// leaves less known, never something wrong.
    async fn see(
        &self,
        world: WorldId,
        nodes: &mut BTreeMap<Node, HeldNode>,
        known: &mut Known,
        plan: &NetworkPlan,
        extent: Extent,
        unbuilt: &BTreeSet<Node>,
    ) -> Result<(), RootError> {
        self.workers.watch.look().await?;
        let (mut stale, mut silent) = (Vec::new(), Vec::new());
        for node_plan in plan.nodes.iter().filter(|node| !unbuilt.contains(&node.node)) {
            let Some(node) = nodes.get_mut(&node_plan.node) else { continue };
            if node_plan.policy.is_some() && !node.hears_policy {
                self.listen(world, node, true).await?;
            }
            let question = question(world, node.slot, plan, node_plan);
            let heard = self.workers.watch.take_facts(node.slot);
            if !known.is_current(node_plan, &question, &heard) {
                known.forget(&node_plan.node);
                stale.push((node_plan, node.slot, question));
            } else if extent == Extent::All {
                silent.push(node_plan);
            }
        }
        self.see_settings(nodes, known, &silent).await?;
        if stale.is_empty() {
            return Ok(());
        }
        // First deaf to what was, then the look: a change in between is heard.
        self.workers.watch.settle(stale.iter().map(|(_, slot, _)| *slot).collect()).await?;
        let nodes = &*nodes;
        let observed = try_join_all(stale.iter().map(|(node_plan, _, question)| async move {
            let node = nodes.get(&node_plan.node).ok_or(RootError::NotFound)?;
            let (observed, equal) = futures::try_join!(
                self.workers.observe(question),
                self.workers.settings_equal(&node.ns, node.slot, settings(node_plan))
            )?;
            let (observed, table) = observed;
            Ok::<_, RootError>(Seen { node: observed, table, settings_differ: !equal })
        }))
        .await?;
        for ((node_plan, _, question), seen) in stale.iter().zip(observed) {
            known.learn(node_plan, question, seen);
        }
        Ok(())
    }

    /// Reads the settings of namespaces of which nothing else is to be seen: all in one request, by what is kept open of each.
    async fn see_settings(
        &self,
        nodes: &BTreeMap<Node, HeldNode>,
        known: &mut Known,
        silent: &[&NodePlan],
    ) -> Result<(), RootError> {
        if silent.is_empty() {
            return Ok(());
        }
        let held = |node: &Node| nodes.get(node).ok_or(RootError::NotFound);
        let asked = silent.iter().map(|plan| Ok((held(&plan.node)?.slot, settings(plan))));
        let kept = self.workers.kept_settings_equal(asked.collect::<Result<_, RootError>>()?).await?;
        let equal = try_join_all(silent.iter().zip(kept).map(|(plan, kept)| async move {
            let node = held(&plan.node)?;
            match kept {
                Some(equal) => Ok(equal),
                None => self.workers.settings_equal(&node.ns, node.slot, settings(plan)).await,
            }
        }))
        .await?;
        for (plan, equal) in silent.iter().zip(equal) {
            known.learn_settings(&plan.node, equal);
        }
        Ok(())
    }

    /// Has the watch worker listen in a namespace.
    async fn listen(&self, world: WorldId, node: &mut HeldNode, policy: bool) -> Result<(), RootError> {
        let sockets = self.workers.open_watch(&node.ns, policy).await?;
        self.workers.watch.adopt(node.slot, world, &sockets).await?;
        node.hears_policy = policy;
        Ok(())
    }

    /// Takes up a namespace that was made or kept: from here on the workers know it.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn take_up(&self, world: WorldId, made: MadeNode, policy: bool) -> Result<HeldNode, RootError> {
        let slot = self.slot();
        let fds = [made.ns.as_fd(), made.route.as_fd(), made.netfilter.as_fd()];
        self.workers.net(&NetRequest::Adopt(slot), &fds).await?;
        let mut node = HeldNode { slot, ns: made.ns, hears_policy: policy };
        match self.listen(world, &mut node, policy).await {
            Ok(()) => Ok(node),
            Err(error) => {
                self.give_up(slot).await;
                Err(error)
            }
        }
    }

    /// Has the workers close what they hold of a namespace: their sockets would keep it alive. A worker that is gone holds nothing.
    async fn give_up(&self, slot: Slot) {
        let _ = self.workers.watch.forget(slot).await;
        let _ = self.workers.forget_settings(slot).await;
        let _ = self.workers.net(&NetRequest::Forget(slot), &[]).await;
    }

    /// Looks at a world of which something was heard, and tells userd when its network differs from the plan.
    pub async fn look_at_changes(&self, world: &World) {
        let (_turn, mut held) = self.hold(world, false).await;
        self.workers.watch.begin_look(world.id);
        if held.gone || held.plan.is_none() {
            return;
        }
        match self.observe_world(world, &mut held, Extent::Changed, false).await {
            Ok(observed) => self.tell_drift(world, &mut held, observed.drift, NoticedBy::Kernel),
            Err(error) if self.gate.open("look") => {
                tracing::warn!(world = %world.id, %error, "cannot look at what changed");
            }
            Err(_) => {}
        }
    }

    /// Tells userd how a world's network differs from its plan, when it was last told something else.
    pub fn tell_drift(&self, world: &World, held: &mut HeldWorld, drift: Vec<Change>, noticed: NoticedBy) {
        if held.known.told == drift {
            return;
        }
        if !drift.is_empty() && self.gate.open("drift") {
            tracing::warn!(world = %world.id, differences = drift.len(), "a world's network differs from its plan");
        }
        let told = drift.iter().take(DRIFT_TOLD).cloned().collect();
        let more = u32::try_from(drift.len().saturating_sub(DRIFT_TOLD)).unwrap_or(u32::MAX);
        self.events.push(RootEvent::NetworkChanged { world: world.id, drift: told, more, noticed });
        held.known.told = drift;
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
            let made = made.into_iter().zip(&missing);
            // All are awaited: of those that succeed beside one that does not, something must be taken back.
            let taken = join_all(made.map(|(made, node)| self.take_up(world.id, made, node.policy.is_some()))).await;
            if taken.iter().any(Result::is_err) {
                for node in taken.iter().flatten() {
                    self.give_up(node.slot).await;
                }
            }
            taken.into_iter().collect::<Result<Vec<_>, _>>()
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
        let planned: BTreeSet<_> = plan.nodes.iter().map(|planned| &planned.node).collect();
        let extra: Vec<_> = held.nodes.keys().filter(|node| !planned.contains(node)).cloned().collect();
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
        held.known.forget(node);
        world.node_count.store(u32::try_from(held.nodes.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.release_nodes(1);
        // A holder that is gone keeps nothing, and the next one is given only what is still in `held`.
        let _ = self.holder.drop_key(HeldKey::Namespace(world.id, node.clone())).await;
        self.workers.watch.forget(released.slot).await?;
        self.workers.forget_settings(released.slot).await?;
        self.workers.net(&NetRequest::Forget(released.slot), &[]).await
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
        self.clear_far(difference).await?;
        let actions = |node: &Node| difference.actions.get(node).map(Vec::as_slice).unwrap_or_default();
        let is_touched = |node: &&NodePlan| fresh.contains(&node.node) || !actions(&node.node).is_empty();
        let touched: Vec<&NodePlan> = plan.nodes.iter().filter(is_touched).collect();
        for step in [Step::Clear, Step::Make, Step::Set] {
            try_join_all(touched.iter().map(|node_plan| async {
                let held_node = held.nodes.get(&node_plan.node).ok_or(RootError::NotFound)?;
                let actions = actions(&node_plan.node);
                if step == Step::Clear {
                    self.prepare(world.id, held_node, plan, node_plan, actions).await?;
                }
                let mut operations: Vec<_> = actions
                    .iter()
                    .filter_map(|action| {
                        let slot = |node: &Node| held.nodes.get(node).map(|held| held.slot);
                        operation(action, &alias, slot, |world| self.router(world))
                    })
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
        whole: &NetworkPlan,
        plan: &NodePlan,
        actions: &[Action],
    ) -> Result<(), RootError> {
        for action in actions {
            match action {
                Action::Settings(settings) => self.workers.set_settings(&held.ns, *settings).await?,
                Action::Policy | Action::DeletePolicy => {
                    let policy = NodePolicy::of(whole, plan);
                    let request = NetRequest::Policy { slot: held.slot, world, policy };
                    self.workers.net(&request, &[]).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the net worker is asked of a node.
fn question(world: WorldId, slot: Slot, whole: &NetworkPlan, plan: &NodePlan) -> NetRequest {
    // One question less for the many nodes that have one link.
    let rules = !plan.source_routes.is_empty() || !matches!(plan.node, Node::Host(_));
    NetRequest::Observe { slot, world, policy: NodePolicy::of(whole, plan), rules }
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
fn operation(
    action: &Action,
    alias: &str,
    slot: impl Fn(&Node) -> Option<Slot>,
    router: impl Fn(WorldId) -> Option<Slot>,
) -> Option<(Step, NetOperation)> {
    Some(match action.clone() {
        Action::Settings(_) | Action::Policy | Action::DeletePolicy | Action::DeleteFar { .. } => return None,
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
        Action::CreateFar { index, name, mac, world, far_name, far_mac } => {
            // Index 0: the kernel chooses one that is free there.
            let (peer, peer_index) = (router(world)?, 0);
            let (peer_name, peer_mac) = (far_name, far_mac);
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
