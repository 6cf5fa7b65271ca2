//! The secrets of a world: made once, sealed in the database, opened to be told to the world's services or its owner.

use std::collections::BTreeSet;

use netengine_oidc::secret::Kernel;
use netengine_proto::{api::Problem, trust::Credential};
use netengine_spec::Spec;

use super::Orchestrator;
use crate::{
    decide::WorldRef,
    plan::{Target, peers::HeldPeer, secrets},
};

impl Orchestrator {
    /// The secrets that a world has.
    pub(super) async fn held_secrets(&self, world: &WorldRef) -> Result<Vec<Credential>, Problem> {
        let sealed = self.store().sealed(world.id).await.map_err(|error| error.problem(""))?;
        let mut held = Vec::with_capacity(sealed.len());
        for (slot, sealed) in sealed {
            let secret = self.0.seal.open(world.id, &slot, &sealed).await.map_err(|error| error.problem(""))?;
            let (kind, issuer, name) = slot;
            held.push(Credential { kind, issuer, name, secret });
        }
        Ok(held)
    }

    /// What a world is to be with the secrets and leases it has, beside these worlds; none are made.
    pub(super) async fn held_target(
        &self,
        world: &WorldRef,
        spec: Spec,
        up_to: u8,
        peers: Vec<HeldPeer>,
    ) -> Result<Target, Problem> {
        let secrets = self.held_secrets(world).await?;
        let leases = self.store().leases(world).await.map_err(|error| error.problem(""))?;
        let draft = Target::draft(spec, up_to, world.id, world.owner, &leases).and_then(|draft| draft.beside(peers));
        draft.map(|draft| draft.with(secrets)).map_err(|error| super::too_large("", &error))
    }

    /// The secrets that a world needs up to phase `up_to`, those that it lacks made and kept first.
    pub(super) async fn complete_secrets(
        &self,
        world: &WorldRef,
        spec: &Spec,
        up_to: u8,
    ) -> Result<Vec<Credential>, Problem> {
        let mut held = self.held_secrets(world).await?;
        let slots: BTreeSet<_> = held.iter().map(secrets::slot_of).collect();
        let made = secrets::make_missing(spec, up_to, &slots, &mut Kernel);
        if made.is_empty() {
            return Ok(held);
        }
        let mut sealed = Vec::with_capacity(made.len());
        for credential in &made {
            let slot = secrets::slot_of(credential);
            let text = self.0.seal.seal(world.id, &slot, &credential.secret).await;
            sealed.push((slot, text.map_err(|error| error.problem(""))?));
        }
        let kept = self.store().keep_sealed(world, &sealed).await;
        kept.map_err(|error| error.problem(""))?;
        held.extend(made);
        held.sort_by_key(secrets::slot_of);
        Ok(held)
    }
}
