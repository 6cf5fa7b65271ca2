//! What a world's tables were read to say, by the number of the ruleset's generation.
//!
//! The kernel counts the transactions of each namespace (net/netfilter/nf_tables_api.c, `base_seq`): while the number is the
//! one at which the tables were read, nobody changed anything and they need not be read again. A transaction that names a
//! number is refused when another came before it, so a change of what was read cannot meet something else.

use netengine_proto::ids::WorldId;
use netlink_packet_netfilter::{
    NetfilterMessageInner,
    nftables::{GenAttribute, GenMessage, NfTablesMessage},
};

use super::{NodePolicy, TableState, compare, compare_with, delta::Delta, encode, model::Family, replace, table_name};
use crate::netlink::socket::{Netlink, NetlinkError};

/// What is known of the tables of one namespace.
#[derive(Debug, Default)]
pub struct Held(Option<Known>);

#[derive(Debug)]
struct Known {
    generation: u32,
    world: WorldId,
    policy: NodePolicy,
}

impl Held {
    /// Compares the tables with `policy`, as [`compare_with`]; reads them only when something changed since they were read.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn compare(
        &mut self,
        socket: &mut Netlink,
        world: WorldId,
        policy: Option<&NodePolicy>,
    ) -> Result<TableState, NetlinkError> {
        let Some(policy) = policy else { return compare_with(socket, world, None) };
        let before = generation(socket)?;
        if let Some(known) = self.0.as_ref().filter(|known| known.generation == before && known.world == world) {
            return Ok(if known.policy == *policy { TableState::Equal } else { TableState::Differs });
        }
        self.0 = None;
        let state = compare_with(socket, world, Some(policy))?;
        if state == TableState::Equal && generation(socket)? == before {
            self.0 = Some(Known { generation: before, world, policy: policy.clone() });
        }
        Ok(state)
    }

    /// Makes the tables say `policy`, in one transaction: what differs alone, when it is known what they say, else all.
    ///
    /// # Errors
    /// [`NetlinkError`]; on a refusal the former tables are still in force.
    pub fn put(&mut self, socket: &mut Netlink, world: WorldId, policy: &NodePolicy) -> Result<(), NetlinkError> {
        if let Some(known) = self.0.take().filter(|known| known.world == world) {
            match change(socket, &known, policy) {
                Ok(Some(generation)) => {
                    self.0 = Some(Known { generation, world, policy: policy.clone() });
                    return Ok(());
                }
                // Another transaction came between, a set is full, or what was read back is not what was said.
                Ok(None) | Err(NetlinkError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        replace(socket, world, policy)
    }
}

/// Says what differs between what is `known` and `policy`, and reads it back; the generation at which the tables say
/// `policy`, or `None` when that is not certain.
fn change(socket: &mut Netlink, known: &Known, policy: &NodePolicy) -> Result<Option<u32>, NetlinkError> {
    let (old, new, name) = (known.policy.tables(), policy.tables(), table_name(known.world));
    let Some(deltas) = old.iter().zip(&new).map(|(old, new)| Delta::between(old, new)).collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let mut expected = known.generation;
    if deltas.iter().any(|delta| !delta.is_empty()) {
        socket.transaction(encode::change(&name, known.generation, &deltas))?;
        expected = next(known.generation);
    }
    for (delta, table) in deltas.iter().zip(&new) {
        if !compare::touched_equal(socket, &name, table, delta)? {
            return Ok(None);
        }
    }
    Ok(Some(expected).filter(|expected| generation(socket).is_ok_and(|now| now == *expected)))
}

/// The number after this one; 0 is never one.
fn next(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

/// The number of the ruleset's generation.
pub(super) fn generation(socket: &mut Netlink) -> Result<u32, NetlinkError> {
    let mut number = None;
    let question = NfTablesMessage::GetGen(GenMessage { attributes: vec![] });
    socket.ask(encode::message(Family::Inet, question, 0), |answer| {
        if let NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(told)) = answer.inner {
            number = told.attributes.iter().find_map(|attribute| match attribute {
                GenAttribute::Id(number) => Some(*number),
                _ => None,
            });
        }
    })?;
    number.ok_or_else(|| NetlinkError::Decode("the ruleset has no generation".into()))
}
