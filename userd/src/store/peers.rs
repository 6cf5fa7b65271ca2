//! Worlds beside others: that one follows, and how those stand that it names.

use serde_json::json;

use super::{Change, Store, StoreError, events::NewEvent, operations::Operation};
use crate::{
    decide::{Verdict, WorldRef, act},
    plan::{
        peers::{self, HeldPeer, Standing},
        phases,
    },
};

impl Store {
    /// Writes that the daemon brings a world up anew beside others that changed. There is nothing wrong with it.
    pub(crate) async fn begin_follow(
        &self,
        verdict: &Verdict<act::Repair, WorldRef>,
        operation: &Operation,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        change.create_operation(operation, None).await?;
        let event = NewEvent::new("peers.changed", Some(operation.id), reason.to_owned());
        change.event(verdict.object(), event).await?;
        change.commit().await
    }
}

impl Change<'_> {
    /// Tells of every world that stands otherwise than before.
    pub(super) async fn tell_of_peers(
        &mut self,
        operation: &Operation,
        before: &[HeldPeer],
        after: &[HeldPeer],
    ) -> Result<(), StoreError> {
        for peer in after.iter().filter(|peer| !before.contains(peer)) {
            let kind = match peer.standing {
                Standing::Joined(_) => "peer.joined",
                Standing::Absent | Standing::Overlap { .. } | Standing::Authority => "peer.pending",
            };
            let message = format!("{}: {}", peer.endpoint, peer.standing.told());
            let data = json!({ "peer": peer.endpoint, "mode": peers::word(peer.mode) });
            let event = NewEvent::new(kind, Some(operation.id), message).phase(phases::ANDS).data(data);
            self.event(&operation.world, event).await?;
        }
        for peer in before.iter().filter(|old| after.iter().all(|new| new.endpoint != old.endpoint)) {
            let message = format!("{} is named no more", peer.endpoint);
            let event = NewEvent::new("peer.removed", Some(operation.id), message).phase(phases::ANDS);
            self.event(&operation.world, event.data(json!({ "peer": peer.endpoint }))).await?;
        }
        Ok(())
    }
}
