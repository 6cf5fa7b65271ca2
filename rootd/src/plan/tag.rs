//! The tag on every link we make, for people and for reconciliation.

use netengine_proto::ids::{InstanceId, Uid, WorldId};

/// `netengine:<instance>:<owner>:<world>`: ids only, never user text (an alias may hold anything and is printed raw).
pub fn alias(instance: InstanceId, owner: Uid, world: WorldId) -> String {
    format!("netengine:{instance}:{owner}:{world}")
}
