//! The verbs. Each that changes something runs in a task of its own, so that a caller that goes away, or a deadline that
//! passes, never leaves it half done.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use netengine_proto::{
    bounded::Bounded,
    ids::{CallKey, ProcessId, Ticket, Uid, WorldId},
    limits,
    names::HostName,
    plan::NetworkPlan,
    root::{
        Applied, Deleted, Feature, FlowProbe, FlowSeen, HeldProcess, HeldWorld, Hello, NoticedBy, Observed, Program,
        ROOT_VERSION, Root, RootError, RootEvents, UplinkOffer,
    },
    trust::Trust,
};
use tarpc::context::Context;

use super::{converge::Extent, delete::is_principal, state::Broker, uplink::check_allowed};
use crate::plan::{check::check, uplink::uplink_of};

/// The service behind one connection.
#[derive(Clone)]
pub struct Service {
    broker: Arc<Broker>,
}

impl Service {
    /// A service for one connection.
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

/// Runs to the end whatever happens to the caller. It is counted until then, because its caller is not: a call whose
/// time is over makes room for the next one on its connection.
async fn detached<T: Send + 'static>(
    broker: &Broker,
    work: impl Future<Output = Result<T, RootError>> + Send + 'static,
) -> Result<T, RootError> {
    let counted = broker.effects.clone().try_acquire_owned().map_err(|_| RootError::Busy)?;
    let counted_work = async move {
        let _counted = counted;
        work.await
    };
    tokio::spawn(counted_work).await.unwrap_or(Err(RootError::Restarting))
}

impl Root for Service {
    async fn hello(self, _: Context, version: u16) -> Result<Hello, RootError> {
        if version != ROOT_VERSION {
            return Err(RootError::Version { rootd: ROOT_VERSION, userd: version });
        }
        Ok(Hello {
            version: ROOT_VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.broker.instance,
            cursor: self.broker.events.cursor(),
        })
    }

    async fn apply_network(self, _: Context, key: CallKey, plan: NetworkPlan) -> Result<Applied, RootError> {
        if !is_principal(plan.owner) {
            return Err(RootError::Refused);
        }
        check(&plan).map_err(RootError::InvalidPlan)?;
        if uplink_of(&plan).is_some() {
            check_allowed(&plan, &*self.broker.allowance().await?).map_err(RootError::InvalidPlan)?;
        }
        detached(&self.broker.clone(), async move {
            let world = self.broker.world_or_new(plan.world, plan.owner)?;
            let (turn, mut held) = self.broker.hold(&world, !plan.peers.is_empty()).await;
            if held.gone {
                return Err(RootError::Busy);
            }
            let named = plan.peers.iter().map(|peer| peer.world).chain(world.named()).collect();
            let applied = self.broker.apply(key, &world, &mut held, plan).await;
            drop(held);
            if let Some(turn) = turn {
                self.broker.settle_joined(&turn, &world, named).await;
            }
            applied
        })
        .await
    }

    async fn observe_network(self, _: Context, world: WorldId, owner: Uid, lists: bool) -> Result<Observed, RootError> {
        let world = self.broker.world(world, owner)?;
        let (_turn, mut held) = self.broker.hold(&world, false).await;
        let observed = self.broker.observe_world(&world, &mut held, Extent::All, lists).await?;
        self.broker.tell_drift(&world, &mut held, observed.drift.clone(), NoticedBy::Look);
        Ok(observed)
    }

    async fn delete_world(self, _: Context, _key: CallKey, world: WorldId, owner: Uid) -> Result<Deleted, RootError> {
        detached(&self.broker.clone(), async move {
            // Absent is done, and so is a second call with the same or another key.
            let Ok(world) = self.broker.world(world, owner) else { return Ok(Deleted { removed: Vec::new() }) };
            self.broker.part(&world).await;
            let mut held = world.held.lock().await;
            if held.gone {
                return Ok(Deleted { removed: Vec::new() });
            }
            self.broker.delete_world(&world, &mut held).await
        })
        .await
    }

    async fn list_worlds(self, _: Context) -> Result<Vec<HeldWorld>, RootError> {
        let alive = |id| self.broker.processes().values().filter(|p| p.world == id && p.ended().is_none()).count();
        let worlds = self.broker.worlds();
        Ok(worlds
            .iter()
            .map(|world| HeldWorld {
                world: world.id,
                owner: world.owner,
                nodes: world.node_count.load(Ordering::Relaxed),
                processes: u32::try_from(alive(world.id)).unwrap_or(u32::MAX),
                degraded: world.degraded.lock().expect("no panic while held").clone(),
            })
            .collect())
    }

    async fn start_program(
        self,
        _: Context,
        key: CallKey,
        world: WorldId,
        owner: Uid,
        program: Program,
    ) -> Result<ProcessId, RootError> {
        detached(&self.broker.clone(), async move {
            let world = self.broker.world(world, owner)?;
            let held = world.held.lock().await;
            self.broker.start_program(key, &world, &held, program).await
        })
        .await
    }

    async fn stop_process(self, _: Context, world: WorldId, owner: Uid, process: ProcessId) -> Result<(), RootError> {
        let world = self.broker.world(world, owner)?;
        let found = self.broker.processes().get(&process).filter(|p| p.world == world.id).cloned();
        match found {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    async fn list_processes(self, _: Context, world: WorldId, owner: Uid) -> Result<Vec<HeldProcess>, RootError> {
        let world = self.broker.world(world, owner)?;
        Ok(self.broker.processes().values().filter(|p| p.world == world.id).map(|p| p.report()).collect())
    }

    async fn grant_exec(
        self,
        _: Context,
        world: WorldId,
        owner: Uid,
        host: HostName,
        user: Uid,
        trust: Trust,
    ) -> Result<Ticket, RootError> {
        let world = self.broker.world(world, owner)?;
        self.broker.grant_exec(&world, host, user, trust).await
    }

    async fn next_events(self, _: Context, cursor: u64, wait_ms: u32) -> Result<RootEvents, RootError> {
        Ok(self.broker.events.next(cursor, Duration::from_millis(wait_ms.into())).await)
    }

    async fn features(self, _: Context) -> Result<Vec<Feature>, RootError> {
        detached(&self.broker.clone(), async move { self.broker.features().await }).await
    }

    async fn uplink_offer(self, _: Context, owner: Uid) -> Result<UplinkOffer, RootError> {
        self.broker.uplink_offer(owner).await
    }

    async fn prove_flows(
        self,
        _: Context,
        world: WorldId,
        owner: Uid,
        flows: Bounded<FlowProbe, { limits::FLOW_PROBES }>,
    ) -> Result<Vec<FlowSeen>, RootError> {
        detached(&self.broker.clone(), async move {
            let world = self.broker.world(world, owner)?;
            let held = world.held.lock().await;
            if held.gone {
                return Err(RootError::NotFound);
            }
            self.broker.prove_flows(&world, &held, &flows).await
        })
        .await
    }
}
