//! What this kernel can do: tried, not looked up. A trial world of two nodes is made and removed.

use std::sync::Arc;

use netengine_proto::{
    bounded::Bounded,
    ids::{CallKey, Uid, WorldId},
    net::{IfAddr, IfName, Mac, Port, Transport},
    plan::{BridgePlan, CableEnd, CablePlan, ForwardPair, InputPort, NetworkPlan, Node, NodePlan, Policy},
    root::{Feature, RootError},
};

use super::state::{Broker, random};

/// One trial: its name, what it adds to the plan, and what to do when it fails.
struct Trial {
    name: &'static str,
    required: bool,
    help: &'static str,
    plan: fn(&mut NetworkPlan),
}

const TRIALS: [Trial; 5] = [
    Trial {
        name: "network namespaces",
        required: true,
        help: "the kernel needs CONFIG_NET_NS, and user.max_net_namespaces must not be exhausted",
        plan: |_| {},
    },
    Trial { name: "bridges", required: true, help: "load the kernel module bridge (CONFIG_BRIDGE)", plan: add_bridge },
    Trial { name: "veth pairs", required: true, help: "load the kernel module veth (CONFIG_VETH)", plan: add_cable },
    Trial {
        name: "nf_tables with connection tracking",
        required: true,
        help: "load the kernel modules nf_tables and nf_conntrack (CONFIG_NF_TABLES_INET, CONFIG_NFT_CT)",
        plan: add_policy,
    },
    Trial { name: "IPv6", required: false, help: "boot without ipv6.disable=1 for worlds with IPv6", plan: add_ipv6 },
];

impl Broker {
    /// Tries each feature in a world of its own.
    ///
    /// # Errors
    /// Only when rootd itself cannot go on.
    pub async fn features(self: &Arc<Self>) -> Result<Vec<Feature>, RootError> {
        let mut features = Vec::new();
        for trial in &TRIALS {
            let mut plan = empty_plan(WorldId::from_bytes(random()));
            (trial.plan)(&mut plan);
            let world = self.world_or_new(plan.world, plan.owner)?;
            let mut held = world.held.lock().await;
            let applied = self.apply(CallKey::from_bytes(random()), &world, &mut held, plan).await;
            let works = match applied {
                Ok(_) => {
                    self.delete_world(&world, &mut held).await?;
                    true
                }
                Err(RootError::Kernel { .. }) => false,
                Err(other) => return Err(other),
            };
            let help = if works { String::new() } else { trial.help.to_owned() };
            features.push(Feature { name: trial.name.to_owned(), works, required: trial.required, help });
        }
        Ok(features)
    }
}

fn bounded<T: Clone, const MAX: usize>(entries: &[T]) -> Bounded<T, MAX> {
    Bounded::new(entries.to_vec()).expect("a trial has few entries")
}

fn empty_plan(world: WorldId) -> NetworkPlan {
    let node = |node| NodePlan {
        node,
        forward: false,
        low_ports: true,
        routes: Bounded::default(),
        source_routes: Bounded::default(),
        policy: None,
        resolver: None,
    };
    NetworkPlan {
        world,
        owner: Uid::ROOT,
        nodes: bounded(&[node(Node::Gateway), node(Node::Services)]),
        bridges: Bounded::default(),
        cables: Bounded::default(),
        peers: Bounded::default(),
    }
}

fn address(text: &str) -> IfAddr {
    IfAddr::new(text.parse().expect("a constant address")).expect("a constant address fit for a host")
}

fn bridge(addresses: &[IfAddr]) -> BridgePlan {
    BridgePlan {
        node: Node::Gateway,
        name: IfName::numbered("br", 0),
        mac: Mac::local([2, 0, 0, 0, 0, 1]),
        addresses: bounded(addresses),
    }
}

fn add_bridge(plan: &mut NetworkPlan) {
    plan.bridges = bounded(&[bridge(&[address("10.0.0.1/24")])]);
}

fn add_cable(plan: &mut NetworkPlan) {
    let end = |node, name, last| CableEnd {
        node,
        name,
        mac: Mac::local([2, 0, 0, 0, 0, last]),
        bridge: None,
        addresses: Bounded::default(),
    };
    let a = end(Node::Gateway, IfName::numbered("p", 0), 2);
    let b = end(Node::Services, IfName::numbered("th", 0), 3);
    plan.cables = bounded(&[CablePlan { a, b }]);
}

fn add_policy(plan: &mut NetworkPlan) {
    add_bridge(plan);
    let name = IfName::numbered("br", 0);
    let policy = Policy {
        input: bounded(&[InputPort { transport: Transport::Udp, port: Port::MIN }]),
        forward: bounded(&[ForwardPair { from: name.clone(), to: name }]),
        ..Policy::default()
    };
    let mut nodes = plan.nodes.to_vec();
    nodes[0].policy = Some(policy);
    plan.nodes = bounded(&nodes);
}

fn add_ipv6(plan: &mut NetworkPlan) {
    plan.bridges = bounded(&[bridge(&[address("fd00::1/64")])]);
}
