//! Programs and commands: each is known by its leash, never by a pid.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use netengine_proto::{
    ended::Ended,
    ids::{CallKey, ProcessId, Uid, WorldId},
    limits,
    plan::Node,
    root::{HeldProcess, LimitKind, Operation, ProcessKind, Program, RootError, RootEvent},
    trust::Trust,
};
use tokio::{io::unix::AsyncFd, sync::watch};

use super::{
    client::{receive, register, send},
    converge::hold_error,
    journal::Record,
    state::{Broker, HeldWorld, World, random},
};
use crate::{
    sys::fds,
    worker::{
        channel::decode,
        message::{HeldKey, OurProgram, Report, SpawnRequest, WorldFiles},
    },
};

/// A program reports that it runs within this, or is ended.
const START_TIME: Duration = Duration::from_secs(10);
/// An attendant ends its process within a second; this is for a host that is out of breath.
const STOP_TIME: Duration = Duration::from_secs(10);
/// Ended processes of a world that are remembered.
const ENDED_KEPT: usize = 32;

/// A process under a leash.
pub struct Process {
    /// Its id.
    pub id: ProcessId,
    /// Its world.
    pub world: WorldId,
    /// What it is.
    pub kind: ProcessKind,
    /// Where it runs.
    pub node: Node,
    /// For whom.
    pub user: Uid,
    /// The call that asked for it, for programs.
    pub key: Option<CallKey>,
    leash: AsyncFd<OwnedFd>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Starting,
    Running,
    Failed(i32),
    Ended(Ended),
}

impl Process {
    fn new(about: About, leash: OwnedFd) -> std::io::Result<Arc<Self>> {
        let About { id, world, kind, node, user, key } = about;
        let (state, _) = watch::channel(State::Starting);
        Ok(Arc::new(Self { id, world, kind, node, user, key, leash: register(leash)?, state }))
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<Ended> {
        match &*self.state.borrow() {
            State::Ended(ended) => Some(*ended),
            State::Failed(_) => Some(Ended::Vanished),
            State::Starting | State::Running => None,
        }
    }

    /// The broker's end of its leash.
    pub fn leash(&self) -> &OwnedFd {
        self.leash.get_ref()
    }

    /// As userd sees it.
    pub fn report(&self) -> HeldProcess {
        HeldProcess { id: self.id, kind: self.kind, node: self.node.clone(), ended: self.ended() }
    }

    fn starting(&self) -> Record {
        let (world, process, kind, node) = (self.world, self.id, self.kind, self.node.clone());
        Record::Starting { world, process, kind, node, user: self.user, key: self.key }
    }

    async fn wait(&self, done: impl Fn(&State) -> bool, time: Duration) -> Option<State> {
        let mut state = self.state.subscribe();
        let waited = tokio::time::timeout(time, state.wait_for(|state| done(state))).await;
        waited.ok().and_then(Result::ok).map(|state| state.clone())
    }

    /// Asks the attendant to end it and waits until all of it is gone.
    ///
    /// # Errors
    /// [`RootError::Busy`] when it does not end in time.
    pub async fn stop(&self) -> Result<(), RootError> {
        // A closed leash means that it has ended already; the state will say so.
        let _ = send(&self.leash, &[1], &[]).await;
        let ended = |state: &State| matches!(state, State::Ended(_) | State::Failed(_));
        self.wait(ended, STOP_TIME).await.map(drop).ok_or(RootError::Busy)
    }
}

/// What a process is, before it exists.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are those of Process")]
pub struct About {
    pub id: ProcessId,
    pub world: WorldId,
    pub kind: ProcessKind,
    pub node: Node,
    pub user: Uid,
    pub key: Option<CallKey>,
}

impl Broker {
    /// Starts a program of ours; one that runs already is returned instead.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn start_program(
        self: &Arc<Self>,
        key: CallKey,
        world: &World,
        held: &HeldWorld,
        program: Program,
    ) -> Result<ProcessId, RootError> {
        let (kind, node) = (kind_of(&program), program.node());
        let running = self
            .processes()
            .values()
            .find(|process| {
                process.world == world.id && process.kind == kind && process.node == node && process.ended().is_none()
            })
            .cloned();
        if let Some(running) = running {
            return Ok(running.id);
        }
        if program == Program::Uplink {
            return self.start_uplink(key, world, held).await;
        }
        let held_node = held.nodes.get(&node).ok_or(RootError::NotFound)?;
        let files = resolver_files(held, &node, &Trust::default());
        let id = ProcessId::from_bytes(random());
        let about = About { id, world: world.id, kind, node, user: world.owner, key: Some(key) };
        let program = match program {
            Program::Worldd => OurProgram::Worldd,
            Program::Gateway => OurProgram::Gateway,
            Program::Prober(host) => OurProgram::Prober(host),
            // It runs in no namespace of the world.
            Program::Uplink => return Err(RootError::NotFound),
        };
        // Router advertisements take a raw socket, and the program that sends them has no capability to open one.
        let input = match program {
            OurProgram::Gateway => self.workers.open_solicitations(&held_node.ns).await?,
            OurProgram::Worldd | OurProgram::Prober(_) => None,
        };
        let handed: Vec<_> = input.iter().map(AsFd::as_fd).collect();
        let request = SpawnRequest::Program { world: world.id, program, files };
        let process = self.spawn(about, &request, &held_node.ns, &handed).await?;
        self.settled(&process).await
    }

    /// Waits until a process reports that it runs.
    ///
    /// # Errors
    /// [`RootError::Kernel`]: it does not.
    pub(super) async fn settled(&self, process: &Process) -> Result<ProcessId, RootError> {
        let settled = process.wait(|state| *state != State::Starting, START_TIME).await;
        let errno = match settled {
            Some(State::Running) => return Ok(process.id),
            Some(State::Failed(errno)) => errno,
            // Its attendant was ended before it could report.
            Some(State::Ended(_)) => nix::libc::ECHILD,
            Some(State::Starting) | None => {
                let _ = process.stop().await;
                nix::libc::ETIMEDOUT
            }
        };
        let object = format!("{:?}", process.kind).to_lowercase();
        Err(RootError::Kernel { operation: Operation::StartProgram, object, errno })
    }

    /// Journals, has the holder keep the leash, and has the spawn worker start an attendant.
    ///
    /// # Errors
    /// [`RootError`]; then nothing runs: an attendant whose leash is closed ends by itself.
    pub async fn spawn(
        self: &Arc<Self>,
        about: About,
        request: &SpawnRequest,
        ns: &OwnedFd,
        more: &[BorrowedFd<'_>],
    ) -> Result<Arc<Process>, RootError> {
        let (process, far) = self.begin(about).await?;
        let mut descriptors = vec![ns.as_fd(), far.as_fd()];
        descriptors.extend_from_slice(more);
        let spawned = self.workers.spawn(request, &descriptors).await;
        drop(far);
        // On failure the far end is closed everywhere, so the watcher sees the end and clears up.
        spawned.map(|_| process)
    }

    /// Journals, and has the holder keep the leash. What comes back is for whoever starts the process: its end of the leash.
    ///
    /// # Errors
    /// [`RootError`].
    pub(super) async fn begin(self: &Arc<Self>, about: About) -> Result<(Arc<Process>, OwnedFd), RootError> {
        self.check_process_limits(&about)?;
        let key = HeldKey::Leash(about.world, about.id);
        let (near, far) = fds::pair(4096).map_err(hold_error)?;
        let process = Process::new(about, near).map_err(hold_error)?;
        self.record(&[process.starting()])?;
        self.holder.keep(key.clone(), process.leash.get_ref()).await.map_err(hold_error)?;
        self.processes().insert(process.id, process.clone());
        self.watch(process.clone());
        Ok((process, far))
    }

    fn check_process_limits(&self, about: &About) -> Result<(), RootError> {
        let processes = self.processes();
        let alive = processes.values().filter(|process| process.ended().is_none());
        let (mut all, mut own) = (0, 0);
        for process in alive {
            all += 1;
            own += usize::from(process.kind == ProcessKind::Command && process.user == about.user);
        }
        let too_many =
            all >= limits::PROCESSES_TOTAL || (about.kind == ProcessKind::Command && own >= limits::COMMANDS_PER_OWNER);
        if too_many { Err(RootError::Limit(LimitKind::Processes)) } else { Ok(()) }
    }

    /// Takes a leash back that the holder kept while rootd was away.
    ///
    /// # Errors
    /// When it cannot be registered with the event loop.
    pub fn adopt(self: &Arc<Self>, about: About, leash: OwnedFd) -> std::io::Result<()> {
        let process = Process::new(about, leash)?;
        process.state.send_replace(State::Running);
        self.processes().insert(process.id, process.clone());
        self.watch(process);
        Ok(())
    }

    /// Reads an attendant's reports until the end.
    fn watch(self: &Arc<Self>, process: Arc<Process>) {
        let broker = self.clone();
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            let last = loop {
                let Ok(received) = receive(&process.leash, &mut buffer).await else {
                    break State::Ended(Ended::Vanished);
                };
                match decode(&buffer[..received.bytes]) {
                    Ok(Report::Running) => drop(process.state.send_replace(State::Running)),
                    Ok(Report::Failed { step, errno }) => {
                        tracing::warn!(?step, errno, kind = ?process.kind, world = %process.world, "cannot start");
                        break State::Failed(errno);
                    }
                    Ok(Report::Ended(ended)) => break State::Ended(ended),
                    Err(_) => break State::Ended(Ended::Vanished),
                }
            };
            broker.process_ended(&process, last).await;
        });
    }

    async fn process_ended(&self, process: &Process, last: State) {
        let ended = if let State::Ended(ended) = last { ended } else { Ended::Vanished };
        let _ = self.record(&[Record::Ended { world: process.world, process: process.id, ended }]);
        let _ = self.holder.drop_key(HeldKey::Leash(process.world, process.id)).await;
        process.state.send_replace(last);
        self.prune(process);
        self.events.push(RootEvent::ProcessEnded {
            world: process.world,
            process: process.id,
            kind: process.kind,
            ended,
        });
    }

    /// Commands are forgotten when they end; of programs the last few are remembered.
    fn prune(&self, process: &Process) {
        let mut processes = self.processes();
        if process.kind == ProcessKind::Command {
            processes.remove(&process.id);
            return;
        }
        let of_world = |p: &&Arc<Process>| p.world == process.world && p.ended().is_some();
        let ended: Vec<_> = processes.values().filter(of_world).map(|p| p.id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(ENDED_KEPT)) {
            processes.remove(id);
        }
    }

    /// Ends the processes of a world (in one node, or all) and waits until they are gone; how many there were.
    ///
    /// # Errors
    /// [`RootError::Busy`] when one does not end in time.
    pub async fn end_processes_in(&self, world: WorldId, node: Option<&Node>) -> Result<Vec<HeldProcess>, RootError> {
        let alive: Vec<_> = self
            .processes()
            .values()
            .filter(|p| p.world == world && node.is_none_or(|node| p.node == *node) && p.ended().is_none())
            .cloned()
            .collect();
        futures::future::try_join_all(alive.iter().map(|process| process.stop())).await?;
        Ok(alive.iter().map(|process| process.report()).collect())
    }
}

/// What commands and programs in a node see as resolv.conf and trust store.
pub fn resolver_files(held: &HeldWorld, node: &Node, trust: &Trust) -> Option<WorldFiles> {
    let (_, plan) = held.plan.as_ref()?;
    let node_plan = plan.nodes.iter().find(|planned| planned.node == *node)?;
    node_plan.resolver.as_ref().map(|resolver| WorldFiles::of(resolver, trust))
}

fn kind_of(program: &Program) -> ProcessKind {
    match program {
        Program::Worldd => ProcessKind::Worldd,
        Program::Gateway => ProcessKind::Gateway,
        Program::Prober(_) => ProcessKind::Prober,
        Program::Uplink => ProcessKind::Uplink,
    }
}
