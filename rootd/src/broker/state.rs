//! What the broker holds.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use netengine_proto::{
    ids::{CallKey, InstanceId, ProcessId, Ticket, Uid, WorldId},
    limits,
    plan::{NetworkPlan, Node},
    root::{Applied, LimitKind, RootError},
};

use super::{
    allowed::Allowed,
    events::Events,
    exec::Grant,
    gate::Gate,
    holder::Holder,
    journal::{Journal, Record},
    known::Known,
    processes::Process,
    workers::Workers,
};
use crate::{config::Config, plan::join::Stance, worker::message::Slot};

/// All of it. Shared by every task of the broker.
pub struct Broker {
    /// What root configured.
    pub config: Config,
    /// The tag of our objects.
    pub instance: InstanceId,
    /// The workers.
    pub workers: Workers,
    /// The holder.
    pub holder: Holder,
    /// Who may have an uplink.
    pub allowed: Allowed,
    /// Events for userd.
    pub events: Events,
    /// Bounded logging.
    pub gate: Gate,
    /// Room for work that goes on when its caller is gone ([`limits::ROOT_EFFECTS`]).
    pub effects: Arc<tokio::sync::Semaphore>,
    /// Whoever holds this is the only one at work on links between worlds. Taken before any world's own lock.
    pub joining: tokio::sync::Mutex<()>,
    journal: Mutex<Journal>,
    worlds: Mutex<HashMap<WorldId, Arc<World>>>,
    processes: Mutex<HashMap<ProcessId, Arc<Process>>>,
    /// Rights to run a command, not yet used.
    pub tickets: Mutex<HashMap<Ticket, Grant>>,
    next_slot: AtomicU32,
    nodes: AtomicU32,
}

/// A world. What never changes is outside the lock, so that lists never wait for an apply.
pub struct World {
    /// Its id.
    pub id: WorldId,
    /// Its owner.
    pub owner: Uid,
    /// Namespaces held.
    pub node_count: AtomicU32,
    /// What other worlds may know of it, and its router's handle; nothing once it is being removed.
    pub stance: Mutex<Option<(Arc<Stance>, Slot)>>,
    /// Why it does not equal its plan, if so.
    pub degraded: Mutex<Option<String>>,
    /// Everything else; whoever holds this lock is the only one at work on the world.
    pub held: tokio::sync::Mutex<HeldWorld>,
}

/// What is held of a world.
#[derive(Debug, Default)]
pub struct HeldWorld {
    /// The plan last asked for.
    pub plan: Option<(CallKey, NetworkPlan)>,
    /// The last call that was applied, and its answer.
    pub last: Option<(CallKey, Applied)>,
    /// Its namespaces.
    pub nodes: BTreeMap<Node, HeldNode>,
    /// What is known of them.
    pub known: Known,
    /// It was deleted while somebody waited for the lock.
    pub gone: bool,
}

/// A namespace that is held.
#[derive(Debug)]
pub struct HeldNode {
    /// Its handle in the workers.
    pub slot: Slot,
    /// Its descriptor.
    pub ns: OwnedFd,
    /// Whether changes of its tables are heard as well.
    pub hears_policy: bool,
}

impl Broker {
    /// A broker that holds nothing yet.
    pub fn new(config: Config, workers: Workers, holder: Holder, journal: Journal) -> Self {
        Self {
            config,
            instance: journal.instance(),
            workers,
            holder,
            allowed: Allowed::default(),
            events: Events::default(),
            gate: Gate::default(),
            effects: Arc::new(tokio::sync::Semaphore::new(limits::ROOT_EFFECTS)),
            joining: tokio::sync::Mutex::default(),
            journal: Mutex::new(journal),
            worlds: Mutex::default(),
            processes: Mutex::default(),
            tickets: Mutex::default(),
            next_slot: AtomicU32::new(1),
            nodes: AtomicU32::new(0),
        }
    }

    /// Appends to the journal; nothing may be done before this returns.
    ///
    /// # Errors
    /// [`RootError::Journal`].
    pub fn record(&self, records: &[Record]) -> Result<(), RootError> {
        let mut journal = self.journal.lock().expect("no panic while held");
        journal.append(records).map_err(|error| RootError::Journal(error.raw_os_error().unwrap_or(nix::libc::EIO)))
    }

    /// The world, if it exists and is `owner`'s. Absent and foreign answer alike.
    ///
    /// # Errors
    /// [`RootError::NotFound`].
    pub fn world(&self, id: WorldId, owner: Uid) -> Result<Arc<World>, RootError> {
        let worlds = self.worlds.lock().expect("no panic while held");
        worlds.get(&id).filter(|world| world.owner == owner).cloned().ok_or(RootError::NotFound)
    }

    /// The world, whoever owns it: for what rootd does by itself.
    pub fn find_world(&self, id: WorldId) -> Option<Arc<World>> {
        self.worlds.lock().expect("no panic while held").get(&id).cloned()
    }

    /// The world, made if it does not exist.
    ///
    /// # Errors
    /// [`RootError::NotFound`] when it is another owner's, [`RootError::Limit`] when there are too many.
    pub fn world_or_new(&self, id: WorldId, owner: Uid) -> Result<Arc<World>, RootError> {
        let mut worlds = self.worlds.lock().expect("no panic while held");
        if let Some(world) = worlds.get(&id) {
            return if world.owner == owner { Ok(world.clone()) } else { Err(RootError::NotFound) };
        }
        if worlds.len() >= limits::WORLDS {
            return Err(RootError::Limit(LimitKind::Worlds));
        }
        let world = Arc::new(World {
            id,
            owner,
            node_count: AtomicU32::new(0),
            stance: Mutex::new(None),
            degraded: Mutex::new(None),
            held: tokio::sync::Mutex::default(),
        });
        worlds.insert(id, world.clone());
        Ok(world)
    }

    /// Every world.
    pub fn worlds(&self) -> Vec<Arc<World>> {
        self.worlds.lock().expect("no panic while held").values().cloned().collect()
    }

    /// Forgets a world that was deleted.
    pub fn forget_world(&self, id: WorldId) {
        self.worlds.lock().expect("no panic while held").remove(&id);
    }

    /// A handle for a namespace, after counting it against the bound.
    ///
    /// # Errors
    /// [`RootError::Limit`].
    pub fn reserve_nodes(&self, count: u32) -> Result<(), RootError> {
        let within = |now: u32| {
            let next = now.checked_add(count)?;
            (next as usize <= limits::NODES_TOTAL).then_some(next)
        };
        let reserved = self.nodes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        reserved.map(drop).map_err(|_| RootError::Limit(LimitKind::Nodes))
    }

    /// Gives back what [`Broker::reserve_nodes`] took.
    pub fn release_nodes(&self, count: u32) {
        self.nodes.fetch_sub(count, Ordering::Relaxed);
    }

    /// A fresh handle for a namespace.
    pub fn slot(&self) -> Slot {
        self.next_slot.fetch_add(1, Ordering::Relaxed)
    }

    /// The processes table.
    pub fn processes(&self) -> std::sync::MutexGuard<'_, HashMap<ProcessId, Arc<Process>>> {
        self.processes.lock().expect("no panic while held")
    }
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the kernel's random numbers never fail after boot (getrandom(2))");
    bytes
}
