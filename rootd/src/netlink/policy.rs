//! A router's policy as tables of nf_tables (linux/netfilter/nf_tables.h): one of family inet for what is routed, one of
//! family bridge for what its ports may say.
//!
//! Names come from ids, never from user text: text kept in the kernel is code once somebody saves and reloads a ruleset.
//! A replacement of both tables is one transaction.

use std::net::IpAddr;

use netengine_proto::{
    ids::WorldId,
    net::{IfName, Mac},
    plan::{NetworkPlan, NodePlan, Policy},
};
use serde::{Deserialize, Serialize};

use super::socket::{Netlink, NetlinkError};
use model::{Family, Table};

mod compare;
mod delta;
mod encode;
mod held;
pub mod model;
mod ports;
mod raw;
mod router;
#[cfg(test)]
mod tests;
mod text;
pub mod trace;
mod uplink;

pub use held::Held;
pub use ports::link_local;
pub use router::MARK;
pub use text::RuleText;

/// What a node with a policy needs to know of its world's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePolicy {
    /// The policy.
    pub policy: Policy,
    /// The ports of its bridges.
    pub ports: Vec<Port>,
}

/// A port of a bridge, and who is at the other end of its cable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The port's link name.
    pub name: IfName,
    /// The MAC address of the other end.
    pub mac: Mac,
    /// The addresses of the other end, without the link-local one.
    pub addresses: Vec<IpAddr>,
}

impl NodePolicy {
    /// What `plan` says of `node`; `None` when it has no policy.
    pub fn of(plan: &NetworkPlan, node: &NodePlan) -> Option<Self> {
        let policy = node.policy.clone()?;
        let node = &node.node;
        let ends = plan.cables.iter().flat_map(|cable| [(&cable.a, &cable.b), (&cable.b, &cable.a)]);
        let ports = ends.filter(|(end, _)| end.node == *node && end.bridge.is_some()).map(|(end, other)| Port {
            name: end.name.clone(),
            mac: other.mac,
            addresses: other.addresses.iter().map(|address| address.addr()).collect(),
        });
        Some(Self { ports: ports.collect(), policy })
    }

    /// The tables that say it.
    pub fn tables(&self) -> [Table; 2] {
        [router::table(&self.policy), ports::table(&self.ports)]
    }
}

/// The name of a world's tables.
pub fn table_name(world: WorldId) -> String {
    format!("ne{world}")
}

/// Replaces the tables by those that say `policy`, in one transaction.
///
/// # Errors
/// [`NetlinkError`]; on a refusal the former tables are still in force.
pub fn replace(socket: &mut Netlink, world: WorldId, policy: &NodePolicy) -> Result<(), NetlinkError> {
    socket.transaction(encode::transaction(&table_name(world), &policy.tables()))
}

/// A rule as the kernel holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRule {
    /// The family of its table.
    pub family: Family,
    /// Its chain.
    pub chain: String,
    /// Its place in the chain, from 0.
    pub place: usize,
    /// Its handle, as traces name it.
    pub handle: u64,
    /// In nft(8)'s words; `None` for a rule that is not the policy's at this place.
    pub text: Option<String>,
}

/// The rules of a world's tables, to tell which one a trace names.
///
/// # Errors
/// [`NetlinkError`].
pub fn rules(socket: &mut Netlink, world: WorldId, policy: &NodePolicy) -> Result<Vec<HeldRule>, NetlinkError> {
    let mut held = Vec::new();
    for table in policy.tables() {
        let mut places = std::collections::HashMap::new();
        for seen in compare::rules(socket, &table_name(world), table.family)? {
            let next: &mut usize = places.entry(seen.chain.clone()).or_default();
            let place = *next;
            *next += 1;
            let chain = table.chains.iter().find(|chain| chain.name == seen.chain);
            let planned = chain.and_then(|chain| chain.rules.get(place));
            let planned = planned.filter(|rule| compare::rule_equal(rule, &seen.expressions));
            let text = planned.map(|rule| RuleText(rule).to_string());
            held.push(HeldRule { family: table.family, chain: seen.chain, place, handle: seen.handle, text });
        }
    }
    Ok(held)
}

/// Removes the tables, if they are there.
///
/// # Errors
/// [`NetlinkError`].
pub fn delete(socket: &mut Netlink, world: WorldId) -> Result<(), NetlinkError> {
    socket.transaction(encode::transaction(&table_name(world), &[]))
}

/// What a namespace holds in place of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableState {
    /// There is no table of this world.
    Absent,
    /// The tables say exactly what the policy says.
    Equal,
    /// The tables say something else.
    Differs,
}

/// Reads the tables back and compares them with `policy`: every chain, set, element and rule.
///
/// # Errors
/// [`NetlinkError`].
pub fn compare_with(
    socket: &mut Netlink,
    world: WorldId,
    policy: Option<&NodePolicy>,
) -> Result<TableState, NetlinkError> {
    let name = table_name(world);
    let mut present = 0;
    for family in [Family::Inet, Family::Bridge] {
        present += usize::from(compare::present(socket, family, &name)?);
    }
    let Some(policy) = policy else {
        return Ok(if present > 0 { TableState::Differs } else { TableState::Absent });
    };
    if present == 0 {
        return Ok(TableState::Absent);
    }
    let tables = policy.tables();
    if present != tables.len() {
        return Ok(TableState::Differs);
    }
    for table in &tables {
        if !compare::equal(socket, &name, table)? {
            return Ok(TableState::Differs);
        }
    }
    Ok(TableState::Equal)
}
