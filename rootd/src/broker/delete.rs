//! Removing a world: processes, namespaces with all they hold, directories.

use std::os::fd::AsFd;

use netengine_proto::{
    ids::{CallKey, Uid, WorldId},
    plan::{NetworkPlan, Node},
    root::{Applied, Deleted, HeldProcess, ObjectKind, ObjectName, Operation, RootError},
};

use super::{
    client::{receive, register},
    converge::{Extent, hold_error, namespace_name},
    journal::Record,
    state::{Broker, HeldWorld, World},
};
use crate::{
    sys::fds,
    worker::{
        channel::decode,
        message::{Erased, SpawnRequest},
    },
};

impl Broker {
    /// Removes everything of a world. Each part is idempotent; the journal says "deleted" only when all is gone.
    ///
    /// # Errors
    /// The first [`RootError`]; the rest is tried all the same, and a later call goes on from there.
    pub async fn delete_world(&self, world: &World, held: &mut HeldWorld) -> Result<Deleted, RootError> {
        self.record(&[Record::Deleting { world: world.id, owner: world.owner }])?;
        world.forget_stance();
        // What there is, seen before it goes: the report says what was removed, not what was planned.
        let mut removed = match self.observe_world(world, held, Extent::All, true).await {
            Ok(observed) => observed.objects,
            Err(_) => held.nodes.keys().map(namespace_name).collect(),
        };
        let ended = self.end_processes_in(world.id, None).await?;
        removed.extend(ended.iter().map(process_name));
        let nodes: Vec<_> = held.nodes.keys().cloned().collect();
        let mut first_error = None;
        for node in &nodes {
            match self.release_node(world, held, node).await {
                Ok(()) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match self.erase(world.id).await {
            Ok(true) => removed.push(directory_name(world.id)),
            Ok(false) => {}
            Err(error) => first_error = first_error.or(Some(error)),
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        self.record(&[Record::Deleted { world: world.id }])?;
        self.processes().retain(|_, process| process.world != world.id);
        held.plan = None;
        held.gone = true;
        self.forget_world(world.id);
        Ok(Deleted { removed })
    }

    /// Removes a world's directories, in a process of its own; `true` when anything was there.
    async fn erase(&self, world: WorldId) -> Result<bool, RootError> {
        let (near, far) = fds::pair(4096).map_err(hold_error)?;
        let near = register(near).map_err(hold_error)?;
        self.workers.spawn(&SpawnRequest::Erase(world), &[far.as_fd()]).await?;
        drop(far);
        let mut buffer = Vec::new();
        let errno = match receive(&near, &mut buffer).await.and_then(|received| decode(&buffer[..received.bytes])) {
            Ok(Erased::Done { present }) => return Ok(present),
            Ok(Erased::Failed { errno }) => errno,
            // It was ended because its time was over.
            Err(_) => nix::libc::ETIMEDOUT,
        };
        Err(RootError::Kernel { operation: Operation::DeleteDirectory, object: world.to_string(), errno })
    }

    /// Applies a plan to a new or existing world; what a failed first apply made is removed.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn apply(
        &self,
        key: CallKey,
        world: &World,
        held: &mut HeldWorld,
        plan: NetworkPlan,
    ) -> Result<Applied, RootError> {
        if let Some((last, applied)) = &held.last
            && *last == key
        {
            return Ok(applied.clone());
        }
        let first = held.plan.is_none();
        let outcome = match self.record(&[Record::Plan { key, plan: plan.clone() }]) {
            Ok(()) => {
                held.plan = Some((key, plan.clone()));
                self.converge(world, held, &plan).await.map(|changes| Applied { changes })
            }
            Err(error) => Err(error),
        };
        let recorded = outcome.and_then(|applied| {
            self.record(&[Record::Applied { world: world.id, key, applied: applied.clone() }])?;
            Ok(applied)
        });
        match recorded {
            Ok(applied) => {
                held.last = Some((key, applied.clone()));
                *world.degraded.lock().expect("no panic while held") = None;
                Ok(applied)
            }
            Err(error) => {
                tracing::warn!(world = %world.id, %error, "cannot apply a plan");
                if first && let Err(undo) = self.delete_world(world, held).await {
                    tracing::error!(world = %world.id, error = %undo, "cannot undo a failed plan");
                    *world.degraded.lock().expect("no panic while held") = Some(undo.to_string());
                }
                Err(error)
            }
        }
    }
}

fn process_name(process: &HeldProcess) -> ObjectName {
    let name = format!("{:?}", process.kind).to_lowercase();
    ObjectName { node: process.node.to_string(), kind: ObjectKind::Process, name }
}

fn directory_name(world: WorldId) -> ObjectName {
    ObjectName { node: Node::Services.to_string(), kind: ObjectKind::Directory, name: world.to_string() }
}

/// Whether `owner` may be an owner at all.
pub fn is_principal(owner: Uid) -> bool {
    owner != Uid::OVERFLOW
}
