//! The floor: the same kernel objects as a world's network, made by a bare loop in one thread of one process.
//!
//! It knows beforehand what to make (the same typed plan and the same messages that rootd uses), sends all messages of a
//! namespace at once, keeps no journal, reads nothing back, and talks to nobody. What a daemon costs is what it costs
//! beyond this.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result, bail};
use netengine_proto::{
    ids::{InstanceId, WorldId},
    plan::{NetworkPlan, Node},
};
use netengine_rootd::{
    netlink::{
        policy::{self, NodePolicy},
        request::{self, End, LinkSettings, Request},
        socket::Netlink as Socket,
    },
    plan::{
        diff::{Action, diff},
        settings::Settings,
        tag,
    },
    sys::netns::{self, Netlink},
};

/// The namespaces of a world made by the loop. They end when it is dropped.
pub struct FloorWorld(BTreeMap<Node, FloorNode>);

struct FloorNode {
    ns: OwnedFd,
    route: Socket,
    netfilter: Socket,
}

/// All that must be done for a plan, worked out before the clock starts.
pub struct Recipe {
    world: WorldId,
    alias: String,
    nodes: Vec<(Node, Settings, Option<NodePolicy>, Vec<Action>)>,
}

impl Recipe {
    /// Works it out.
    pub fn of(plan: &NetworkPlan) -> Self {
        let alias = tag::alias(InstanceId::from_bytes([0; 8]), plan.owner, plan.world);
        let mut actions = diff(plan, &[], &alias, &BTreeMap::new()).actions;
        let nodes = plan.nodes.iter().map(|node| {
            let settings = Settings { forward: node.forward, low_ports: node.low_ports };
            (node.node.clone(), settings, NodePolicy::of(plan, node), actions.remove(&node.node).unwrap_or_default())
        });
        Self { world: plan.world, alias, nodes: nodes.collect() }
    }

    /// Makes everything. `home` is the calling thread's namespace; it stands there again afterwards.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn make(&self, home: &OwnedFd) -> Result<FloorWorld> {
        let mut made = BTreeMap::new();
        for (node, settings, _, _) in &self.nodes {
            made.insert(node.clone(), make_node(*settings).with_context(|| format!("cannot make {node}"))?);
        }
        netns::enter(home)?;
        for (node, _, policy, _) in &self.nodes {
            if let Some(policy) = policy {
                let netfilter = &mut made.get_mut(node).context("a node")?.netfilter;
                policy::replace(netfilter, self.world, policy)?;
            }
        }
        for last in [false, true] {
            for (node, _, _, actions) in &self.nodes {
                let mut batch = if last { Vec::new() } else { vec![request::loopback_up()] };
                for action in actions.iter().filter(|action| needs_links(action) == last) {
                    batch.extend(self.encode(&made, action)?);
                }
                made.get_mut(node)
                    .context("a node")?
                    .route
                    .batch(batch)
                    .with_context(|| format!("cannot fill {node}"))?;
            }
        }
        Ok(FloorWorld(made))
    }

    fn encode(&self, made: &BTreeMap<Node, FloorNode>, action: &Action) -> Result<Option<Request>> {
        Ok(Some(match action {
            Action::Settings(_) | Action::Policy => return Ok(None),
            Action::CreateBridge { index, name, mac } => request::create_bridge(*index, name, *mac),
            Action::CreateCable { index, name, mac, peer, peer_index, peer_name, peer_mac } => {
                let here = End { index: *index, name, mac: *mac };
                let there = End { index: *peer_index, name: peer_name, mac: *peer_mac };
                request::create_cable(here, there, made.get(peer).context("a peer")?.ns.as_raw_fd())
            }
            Action::SetLink { index, alias, master, mac, up, .. } => {
                let alias = alias.then(|| self.alias.clone());
                request::set_link(*index, &LinkSettings { alias, master: *master, mac: *mac, up: *up })
            }
            Action::AddAddress { index, address, .. } => request::add_address(*index, *address),
            Action::AddRoute(route) => request::add_route(route),
            Action::AddRule(rule) => request::add_rule(rule),
            other => bail!("a new world needs no {other:?}"),
        }))
    }
}

/// Whether an action needs links that other nodes' actions make.
fn needs_links(action: &Action) -> bool {
    !matches!(action, Action::CreateBridge { .. } | Action::CreateCable { .. })
}

fn make_node(settings: Settings) -> Result<FloorNode> {
    netns::unshare_net()?;
    for (place, value) in settings.all() {
        match File::options().write(true).open(format!("/proc/sys/net/{place}")) {
            Ok(mut file) => file.write_all(value.as_bytes())?,
            // A kernel without IPv6 or bridge netfilter has no such setting; rootd skips it too.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot set {place}")),
        }
    }
    let route = netns::netlink(Netlink::Route)?;
    let netfilter = netns::netlink(Netlink::Netfilter)?;
    let ns = netns::of_socket(&route)?;
    Ok(FloorNode { ns, route: Socket::new(route), netfilter: Socket::new(netfilter) })
}

impl FloorWorld {
    /// What it holds: links and addresses, to prove that both sides made as much.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn count(&mut self) -> Result<(usize, usize)> {
        let mut sum = (0, 0);
        for node in self.0.values_mut() {
            let observed = netengine_rootd::netlink::dump::observe(&mut node.route, false)?;
            sum.0 += observed.links.iter().filter(|link| link.alias.is_some()).count();
            sum.1 += observed.addresses.len();
        }
        Ok(sum)
    }
}
