//! An in-process rootd with its worldds and probers, for tests: a model of worlds behind the real wire, real sockets,
//! and a fault at any call.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use futures::StreamExt;
use netengine_proto::{
    bounded::Bounded,
    control::{self as wire_control, Desired, Probe},
    ended::Ended,
    ids::{CallKey, InstanceId, ProcessId, Ticket, Uid, WorldId},
    limits,
    names::HostName,
    net::Port,
    plan::NetworkPlan,
    root::{
        Applied, Change, ChangeAction, Deleted, Feature, FlowProbe, FlowSeen, HeldProcess, HeldWorld, Hello,
        ObjectKind, ObjectName, Observed, Operation, ProcessKind, Program, ROOT_VERSION, Root, RootError, RootEvent,
        RootEvents, UplinkOffer,
    },
    trust::Trust,
    wire,
};
use tarpc::{
    context::Context,
    server::{BaseChannel, Channel},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::plan::diff;

mod control;
mod lab;

pub use self::control::trust;
pub(crate) use self::lab::lab_role;

/// What goes wrong at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The kernel refuses before anything was done.
    Before,
    /// The kernel refuses after the effect.
    After,
    /// The effect happens and the answer is lost: rootd dies and is restarted.
    Lost,
    /// The effect happens and no answer comes: the caller waits until it is dropped itself.
    Hangs,
}

struct FakeWorld {
    owner: Uid,
    plan: NetworkPlan,
    drift: Vec<Change>,
    processes: Vec<HeldProcess>,
    tasks: HashMap<ProcessId, (JoinHandle<()>, PathBuf)>,
}

#[derive(Default)]
struct State {
    worlds: HashMap<WorldId, FakeWorld>,
    started: HashMap<CallKey, ProcessId>,
    /// Mutating calls so far, by verb.
    calls: Vec<&'static str>,
    fault: Option<(usize, Fault)>,
    events: Vec<RootEvent>,
    next_process: u64,
    broken: Option<Broken>,
    /// Names of services that do not serve.
    stopped: Vec<String>,
    /// The vantage host's port for challenges is taken.
    hindered: bool,
    /// What the last command in a vantage host was granted to trust.
    granted: Option<Trust>,
    /// What was applied last, by process.
    applied: HashMap<(WorldId, ProcessKind), Desired>,
}

/// Which live checks fail, and how.
type Broken = Arc<dyn Fn(&Probe) -> Option<wire_control::Fault> + Send + Sync>;

/// The fake.
#[derive(Clone)]
pub struct FakeRoot {
    state: Arc<Mutex<State>>,
    worlds_dir: PathBuf,
    life: Arc<watch::Sender<u64>>,
    told: Arc<Notify>,
    /// Told when a call hangs.
    pub hung: Arc<Notify>,
}

impl FakeRoot {
    /// Listens at `socket`; worlds' sockets go to `worlds_dir`.
    pub fn start(socket: &Path, worlds_dir: &Path) -> Self {
        let fake = Self {
            state: Arc::default(),
            worlds_dir: worlds_dir.to_owned(),
            life: Arc::new(watch::channel(0).0),
            told: Arc::default(),
            hung: Arc::default(),
        };
        let listener = UnixListener::bind(socket).expect("bound");
        let server = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve_connection(stream));
            }
        });
        fake
    }

    async fn serve_connection(self, stream: UnixStream) {
        let mut life = self.life.subscribe();
        life.mark_unchanged();
        let channel = BaseChannel::with_defaults(wire::server_transport(stream));
        let mut calls = Box::pin(channel.execute(self.serve()));
        loop {
            tokio::select! {
                _ = life.changed() => return,
                call = calls.next() => match call {
                    Some(call) => drop(tokio::spawn(call)),
                    None => return,
                },
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// Ends all connections, as a restart of rootd does.
    pub fn restart(&self) {
        self.life.send_modify(|life| *life += 1);
    }

    /// The `n`th mutating call from now, counted from 1, meets `fault`.
    pub fn fail_at(&self, n: usize, fault: Fault) {
        let mut state = self.lock();
        let at = state.calls.len() + n;
        state.fault = Some((at, fault));
    }

    /// Whether the fault was met; it is cleared.
    pub fn take_fault(&self) -> bool {
        let mut state = self.lock();
        let pending = state.fault.take();
        pending.is_none()
    }

    /// Verbs of the mutating calls so far.
    pub fn calls(&self) -> Vec<&'static str> {
        self.lock().calls.clone()
    }

    /// Worlds it holds.
    pub fn worlds(&self) -> Vec<WorldId> {
        self.lock().worlds.keys().copied().collect()
    }

    /// The plan it holds for a world.
    pub fn plan_of(&self, world: WorldId) -> Option<NetworkPlan> {
        self.lock().worlds.get(&world).map(|world| world.plan.clone())
    }

    /// Processes alive, over all worlds.
    pub fn processes(&self) -> Vec<ProcessKind> {
        let state = self.lock();
        let all = state.worlds.values().flat_map(|world| &world.processes);
        all.filter(|process| process.ended.is_none()).map(|process| process.kind).collect()
    }

    /// From now on nothing answers a live check.
    pub fn break_probes(&self, broken: bool) {
        let all: Broken = Arc::new(|_| Some(wire_control::Fault::ServiceStopped));
        self.lock().broken = broken.then_some(all);
    }

    /// From now on the live checks that this names fail.
    pub fn break_some(&self, broken: impl Fn(&Probe) -> Option<wire_control::Fault> + Send + Sync + 'static) {
        self.lock().broken = Some(Arc::new(broken));
    }

    /// The services of this name do not serve.
    pub fn stop_service(&self, name: &str) {
        self.lock().stopped.push(name.to_owned());
    }

    /// From now on no order can be placed by a live check: somebody has its port in the vantage host.
    pub fn hinder_orders(&self) {
        self.lock().hindered = true;
    }

    /// What the last command was granted to trust.
    pub fn granted(&self) -> Option<Trust> {
        self.lock().granted.clone()
    }

    /// What a world's process was told to serve last.
    pub fn applied(&self, world: WorldId, kind: ProcessKind) -> Option<Desired> {
        self.lock().applied.get(&(world, kind)).cloned()
    }

    /// Somebody removed a link by hand.
    pub fn break_network(&self, world: WorldId) {
        let mut state = self.lock();
        let held = state.worlds.get_mut(&world).expect("held");
        let object = ObjectName { node: "gw".to_owned(), kind: ObjectKind::Bridge, name: "nebr0".to_owned() };
        held.drift.push(Change { action: ChangeAction::Create, object });
    }

    /// A reboot: everything is gone, without an event.
    pub fn forget_all(&self) {
        for (_, world) in self.lock().worlds.drain() {
            world.end_all();
        }
        self.lock().started.clear();
        self.restart();
    }

    /// Adds a world nobody asked for.
    pub fn plant(&self, plan: NetworkPlan) {
        let world = FakeWorld::new(plan.clone());
        self.lock().worlds.insert(plan.world, world);
    }

    /// The world's worldd is killed.
    pub fn kill_worldd(&self, world: WorldId) {
        self.kill(world, ProcessKind::Worldd);
    }

    /// A process of the world is killed.
    pub fn kill(&self, world: WorldId, kind: ProcessKind) {
        let mut state = self.lock();
        let held = state.worlds.get_mut(&world).expect("held");
        let live = held.processes.iter_mut().find(|process| process.kind == kind && process.ended.is_none());
        let process = live.expect("it runs");
        process.ended = Some(Ended::Signaled(9));
        let (id, kind) = (process.id, process.kind);
        held.end(id);
        state.events.push(RootEvent::ProcessEnded { world, process: id, kind, ended: Ended::Signaled(9) });
        drop(state);
        self.told.notify_waiters();
    }

    /// Counts a mutating call; its fault, if it has one.
    fn count(&self, verb: &'static str) -> Option<Fault> {
        let mut state = self.lock();
        state.calls.push(verb);
        let count = state.calls.len();
        state.fault.take_if(|(at, _)| *at == count).map(|(_, fault)| fault)
    }

    /// What the caller gets, after the effect.
    async fn answer<T>(&self, fault: Option<Fault>, answer: Result<T, RootError>) -> Result<T, RootError> {
        match fault {
            None | Some(Fault::Before) => answer,
            Some(Fault::After) => Err(refusal()),
            Some(Fault::Lost) => {
                self.restart();
                std::future::pending().await
            }
            Some(Fault::Hangs) => {
                self.hung.notify_one();
                std::future::pending().await
            }
        }
    }
}

fn refusal() -> RootError {
    RootError::Kernel { operation: Operation::CreateLink, object: "nebr0".to_owned(), errno: 105 }
}

impl FakeWorld {
    fn new(plan: NetworkPlan) -> Self {
        Self { owner: plan.owner, plan, drift: Vec::new(), processes: Vec::new(), tasks: HashMap::new() }
    }

    fn end(&mut self, process: ProcessId) {
        if let Some((task, socket)) = self.tasks.remove(&process) {
            task.abort();
            let _ = std::fs::remove_file(socket);
        }
    }

    fn end_all(mut self) {
        for process in self.processes.clone() {
            self.end(process.id);
        }
    }
}

impl Root for FakeRoot {
    async fn hello(self, _: Context, version: u16) -> Result<Hello, RootError> {
        assert_eq!(version, ROOT_VERSION);
        let cursor = u64::try_from(self.lock().events.len()).expect("fits");
        let instance = InstanceId::from_bytes([7; 8]);
        Ok(Hello { version, release: "0.0.0-fake".to_owned(), instance, cursor })
    }

    async fn apply_network(self, _: Context, _: CallKey, plan: NetworkPlan) -> Result<Applied, RootError> {
        let fault = self.count("apply_network");
        if fault == Some(Fault::Before) {
            return Err(refusal());
        }
        let changes = {
            let mut state = self.lock();
            let held = state.worlds.entry(plan.world).or_insert_with(|| {
                let mut empty = plan.clone();
                (empty.nodes, empty.bridges, empty.cables) = Default::default();
                FakeWorld::new(empty)
            });
            assert_eq!(held.owner, plan.owner, "userd mixed up owners");
            let mut changes = diff::diff(Some(&held.plan), &plan);
            changes.append(&mut held.drift);
            held.plan = plan;
            changes
        };
        self.answer(fault, Ok(Applied { changes })).await
    }

    async fn observe_network(self, _: Context, world: WorldId, owner: Uid, lists: bool) -> Result<Observed, RootError> {
        let state = self.lock();
        let held = state.worlds.get(&world).filter(|held| held.owner == owner).ok_or(RootError::NotFound)?;
        let listed = if lists { diff::objects(&held.plan) } else { Vec::new() };
        let objects = listed.into_iter().map(|(name, _)| name).collect();
        Ok(Observed { drift: held.drift.clone(), foreign: Vec::new(), objects })
    }

    async fn delete_world(self, _: Context, _: CallKey, world: WorldId, owner: Uid) -> Result<Deleted, RootError> {
        let fault = self.count("delete_world");
        if fault == Some(Fault::Before) {
            return Err(refusal());
        }
        let removed = {
            let mut state = self.lock();
            match state.worlds.remove(&world) {
                None => Vec::new(),
                Some(held) => {
                    assert_eq!(held.owner, owner, "userd mixed up owners");
                    let objects = diff::objects(&held.plan).into_iter().map(|(name, _)| name).collect();
                    held.end_all();
                    objects
                }
            }
        };
        self.answer(fault, Ok(Deleted { removed })).await
    }

    async fn list_worlds(self, _: Context) -> Result<Vec<HeldWorld>, RootError> {
        let state = self.lock();
        let held = state.worlds.iter().map(|(world, held)| HeldWorld {
            world: *world,
            owner: held.owner,
            nodes: u32::try_from(held.plan.nodes.len()).expect("fits"),
            processes: u32::try_from(held.tasks.len()).expect("fits"),
            degraded: None,
        });
        Ok(held.collect())
    }

    async fn start_program(
        self,
        _: Context,
        key: CallKey,
        world: WorldId,
        owner: Uid,
        program: Program,
    ) -> Result<ProcessId, RootError> {
        let fault = self.count("start_program");
        if fault == Some(Fault::Before) {
            return Err(refusal());
        }
        let started = self.start_process(key, world, owner, &program);
        self.answer(fault, started).await
    }

    async fn stop_process(self, _: Context, world: WorldId, _: Uid, process: ProcessId) -> Result<(), RootError> {
        let fault = self.count("stop_process");
        if fault == Some(Fault::Before) {
            return Err(refusal());
        }
        if let Some(held) = self.lock().worlds.get_mut(&world) {
            held.end(process);
            let ended = held.processes.iter_mut().find(|held| held.id == process);
            ended.into_iter().for_each(|held| held.ended = Some(Ended::Exited(0)));
        }
        self.answer(fault, Ok(())).await
    }

    async fn list_processes(self, _: Context, world: WorldId, owner: Uid) -> Result<Vec<HeldProcess>, RootError> {
        let state = self.lock();
        let held = state.worlds.get(&world).filter(|held| held.owner == owner).ok_or(RootError::NotFound)?;
        Ok(held.processes.clone())
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
        if user == Uid::ROOT {
            return Err(RootError::Refused);
        }
        let mut state = self.lock();
        state.granted = Some(trust);
        let held = state.worlds.get(&world).filter(|held| held.owner == owner).ok_or(RootError::NotFound)?;
        let node = netengine_proto::plan::Node::Host(host);
        let known = held.plan.nodes.iter().any(|held| held.node == node);
        if known { Ok(Ticket::from_bytes([9; 16])) } else { Err(RootError::NotFound) }
    }

    async fn next_events(self, _: Context, cursor: u64, _: u32) -> Result<RootEvents, RootError> {
        let cursor = usize::try_from(cursor).expect("fits");
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let events: Vec<_> = self.lock().events.get(cursor..).unwrap_or_default().to_vec();
            if !events.is_empty() {
                let cursor = u64::try_from(cursor + events.len()).expect("fits");
                return Ok(RootEvents { cursor, lagged: false, events });
            }
            told.await;
        }
    }

    async fn features(self, _: Context) -> Result<Vec<Feature>, RootError> {
        Ok(vec![Feature { name: "bridge".to_owned(), works: true, required: true, help: String::new() }])
    }

    async fn uplink_offer(self, _: Context, _: Uid) -> Result<UplinkOffer, RootError> {
        Ok(UplinkOffer { allowed: true, ports: Port::new(80).zip(Port::new(443)), address: [0, 0, 0, 0].into() })
    }

    /// The model has no packets, so nothing is seen.
    async fn prove_flows(
        self,
        _: Context,
        world: WorldId,
        owner: Uid,
        flows: Bounded<FlowProbe, { limits::FLOW_PROBES }>,
    ) -> Result<Vec<FlowSeen>, RootError> {
        self.lock().worlds.get(&world).filter(|held| held.owner == owner).ok_or(RootError::NotFound)?;
        Ok(vec![FlowSeen { doubt: "the model has no packets".to_owned(), ..FlowSeen::default() }; flows.len()])
    }
}

impl FakeRoot {
    fn start_process(
        &self,
        key: CallKey,
        world: WorldId,
        owner: Uid,
        program: &Program,
    ) -> Result<ProcessId, RootError> {
        let mut state = self.lock();
        if let Some(process) = state.started.get(&key) {
            return Ok(*process);
        }
        state.next_process += 1;
        let id = ProcessId::from_bytes(state.next_process.to_be_bytes());
        let held = state.worlds.get_mut(&world).filter(|held| held.owner == owner).ok_or(RootError::NotFound)?;
        let (kind, name) = match program {
            Program::Worldd => (ProcessKind::Worldd, "control.sock".to_owned()),
            Program::Gateway => (ProcessKind::Gateway, "gateway.sock".to_owned()),
            Program::Prober(host) => (ProcessKind::Prober, format!("prober-{host}.sock")),
            Program::Uplink => (ProcessKind::Uplink, "uplink.sock".to_owned()),
        };
        let is_running = |process: &HeldProcess| process.kind == kind && process.ended.is_none();
        assert!(kind == ProcessKind::Prober || !held.processes.iter().any(is_running), "a second {kind:?}");
        let directory = self.worlds_dir.join(world.to_string());
        std::fs::create_dir_all(&directory).expect("made");
        let socket = directory.join(name);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("bound");
        let task = tokio::spawn(control::serve(listener, world, kind, self.clone()));
        held.tasks.insert(id, (task, socket));
        held.processes.push(HeldProcess { id, kind, node: program.node(), ended: None });
        state.started.insert(key, id);
        Ok(id)
    }
}
