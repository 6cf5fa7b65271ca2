//! Worlds beside others: how the worlds stand that a spec names, and that they follow when one of them changes.
//!
//! Nothing is done to another owner's world on anybody's word: a world follows by an operation of its own, which asks its own
//! spec in force and the other's. Until both have followed there is no link (rootd), so what is late is apart.

use std::time::Duration;

use netengine_proto::{
    api::{PeerState, PeerStatus, Problem, ProblemKind, WorldState},
    bounded::Bounded,
    ids::Uid,
    limits,
    trust::Trust,
};
use netengine_spec::{Spec, model::PeerMode};

use super::Orchestrator;
use crate::{
    decide::{WorldRef, WorldSlot},
    plan::{
        Target,
        peers::{self, HeldPeer, JoinedPeer, Side, Standing, Users},
    },
    problem::problem,
    store::{
        StoreError,
        worlds::{Offered, World},
    },
};

/// Longest wait for the host's name services.
const NAMES_TIME: Duration = Duration::from_secs(5);

/// Another world that is up, with what its own spec makes of it.
struct Other {
    target: Target,
    stored: World,
    offered: Offered,
    authority: Option<Vec<u8>>,
}

impl Other {
    fn side(&self) -> Side<'_> {
        let WorldRef { id, owner, name } = &self.stored.reference;
        let Target { spec, network, .. } = &self.target;
        let (authority, zones) = (self.authority.as_deref(), self.offered.zones.as_slice());
        let issuers = self.offered.issuers.as_slice();
        Side { world: *id, owner: *owner, name, spec, network, authority, zones, issuers }
    }
}

impl Orchestrator {
    /// How the worlds stand that the spec of `target` names. What it says of the world's own certificates and peers is not asked.
    pub(super) async fn stand(&self, world: &WorldRef, target: &Target) -> Result<Vec<HeldPeer>, StoreError> {
        if target.spec.gateway_portal.cross_world.joins().next().is_none() {
            return Ok(Vec::new());
        }
        let mut users = Users::new();
        look_up(&mut users, &target.spec).await;
        let mut others = Vec::new();
        for (owner, name) in peers::named(&target.spec, world.owner, &users) {
            let Ok(name) = netengine_proto::names::WorldName::parse(name) else { continue };
            if let Some(other) = self.other(&WorldSlot { owner, name }).await? {
                others.push(other);
            }
        }
        for other in &others {
            look_up(&mut users, &other.target.spec).await;
        }
        let Target { spec, network, .. } = target;
        let (name, authority, zones, issuers) = (&world.name, None, &[][..], &[][..]);
        let own = Side { world: world.id, owner: world.owner, name, spec, network, authority, zones, issuers };
        let sides: Vec<_> = others.iter().map(Other::side).collect();
        Ok(peers::resolve(&own, &users, &sides))
    }

    /// A world that is up, with a spec in force.
    async fn other(&self, slot: &WorldSlot) -> Result<Option<Other>, StoreError> {
        let Some(reference) = self.store().find(slot).await? else { return Ok(None) };
        let Some(stored) = self.store().load(&reference).await? else { return Ok(None) };
        // One that is being brought up anew is what it was until it is done.
        let is_up = matches!(stored.state, WorldState::Ready | WorldState::Degraded | WorldState::Booting);
        let Some(spec) = stored.spec.clone().filter(|_| is_up) else { return Ok(None) };
        let leases = self.store().leases(&reference).await?;
        let target = Target::draft(spec, stored.up_to, reference.id, reference.owner, &leases);
        let Ok(target) = target else { return Ok(None) };
        let authority = self.store().trust(reference.id).await?.certificates.first().map(|der| der.to_vec());
        let offered = self.store().offered(&reference).await?;
        Ok(Some(Other { target, stored, offered, authority }))
    }

    /// Refuses a spec whose networks overlap those of a world that consents to be joined with it.
    pub(super) async fn refuse_overlap(&self, what: &str, world: &WorldRef, target: &Target) -> Result<(), Problem> {
        let stand = self.stand(world, target).await.map_err(|error| error.problem(what))?;
        for peer in stand {
            if let Standing::Overlap { own, theirs } = peer.standing {
                let cause = format!("the network {theirs} of {} overlaps {own}, which is here", peer.endpoint);
                let help =
                    "give one of the two worlds other subnets, or take the peer out of gateway_portal.cross_world";
                return Err(problem(ProblemKind::Refused, what, cause, help));
            }
        }
        Ok(())
    }

    /// How the worlds stand now that the spec in force names, when that is not how this world was brought up beside them.
    pub(super) async fn stands_otherwise(&self, stored: &World) -> Result<Option<Vec<HeldPeer>>, StoreError> {
        let Some(spec) = stored.spec.clone() else { return Ok(None) };
        // Most worlds are for themselves.
        if spec.gateway_portal.cross_world.joins().next().is_none() {
            return Ok((!stored.peers.is_empty()).then(Vec::new));
        }
        let world = &stored.reference;
        let leases = self.store().leases(world).await?;
        let target = Target::draft(spec, stored.up_to, world.id, world.owner, &leases);
        let Ok(target) = target else { return Ok(None) };
        let now = self.stand(world, &target).await?;
        Ok((now != stored.peers).then_some(now))
    }

    /// After an operation on a world has ended: those that name it follow. One that is missed here (userd ended in between) is
    /// found by the look at all worlds.
    pub(super) async fn settle_peers(&self, of: &WorldRef) {
        if let Err(error) = self.try_settle(of).await {
            tracing::warn!(world = %of.id, %error, "cannot tell other worlds of a change; they are looked at later");
        }
    }

    async fn try_settle(&self, of: &WorldRef) -> Result<(), StoreError> {
        for world in self.store().naming_worlds().await? {
            let Some(stored) = self.store().load(&world).await? else { continue };
            // The world itself as well: another may have changed while the operation was at work.
            let names = |spec: &Spec| {
                let mut joins = spec.gateway_portal.cross_world.joins();
                world.id == of.id || joins.any(|(peer, _)| peer.endpoint.world() == of.name.as_str())
            };
            if stored.spec.as_ref().is_some_and(names) && self.stands_otherwise(&stored).await?.is_some() {
                self.tend_beside(world, Duration::ZERO);
            }
        }
        Ok(())
    }

    /// The worlds that a world's spec names, for its owner.
    pub(super) async fn peers_told(&self, world: &World) -> Result<Vec<PeerStatus>, StoreError> {
        let mut told = Vec::new();
        for peer in &world.peers {
            let mut detail = peer.standing.told();
            let mut state = PeerState::Pending;
            let mut mode = peer.mode;
            if let Some(joined) = peer.standing.joined() {
                mode = joined.mode;
                // The other one may not have followed yet, or may be about to part.
                (state, detail) = match self.back(world, joined).await?.is_some() {
                    true => (PeerState::Joined, detail),
                    false => (PeerState::Pending, "the other world has not followed yet".to_owned()),
                };
            }
            told.push(PeerStatus {
                endpoint: peer.endpoint.clone(),
                mode: peers::word(mode).to_owned(),
                state,
                detail,
            });
        }
        Ok(told)
    }

    /// How the other world was brought up beside this one, if it was.
    async fn back(&self, world: &World, peer: &JoinedPeer) -> Result<Option<PeerMode>, StoreError> {
        let all = self.store().naming_worlds().await?;
        let reference = all.into_iter().find(|one| one.id == peer.world && one.owner == peer.owner);
        let Some(reference) = reference else { return Ok(None) };
        let Some(stored) = self.store().load(&reference).await? else { return Ok(None) };
        let mut back = stored.peers.iter().filter_map(|peer| peer.standing.joined());
        let back = back.find(|back| back.world == world.reference.id).map(|back| back.mode);
        Ok(back.filter(|_| stored.state != WorldState::Stopping))
    }

    /// What commands of a world trust: its own authority first, then those of the worlds that it is federated with on both
    /// sides.
    pub(super) async fn trust_beside(&self, world: &World) -> Result<Trust, StoreError> {
        let Trust { certificates, dns_root } = self.store().trust(world.reference.id).await?;
        let mut certificates = certificates.into_inner();
        for peer in world.peers.iter().filter_map(|peer| peer.standing.joined()) {
            let Some(authority) = peer.authority.clone().filter(|_| certificates.len() < limits::TRUST_ANCHORS) else {
                continue;
            };
            if self.back(world, peer).await? == Some(PeerMode::Federated) {
                certificates.extend(Bounded::new(authority).ok());
            }
        }
        Ok(Trust { certificates: Bounded::new(certificates).unwrap_or_default(), dns_root })
    }
}

/// Adds the users that a spec's peers name. A login name counts before a uid; name services may be slow.
async fn look_up(users: &mut Users, spec: &Spec) {
    for name in peers::users_of(spec) {
        if users.contains_key(name) {
            continue;
        }
        let text = name.to_owned();
        let asked = tokio::task::spawn_blocking(move || uzers::get_user_by_name(&text).map(|user| user.uid()));
        let known = tokio::time::timeout(NAMES_TIME, asked).await;
        let known = known.ok().and_then(Result::ok).flatten().or_else(|| name.parse().ok());
        if let Some(uid) = known {
            users.insert(name.to_owned(), Uid(uid));
        }
    }
}
