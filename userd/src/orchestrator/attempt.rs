//! One attempt to make a world equal to a target: observe, plan, run the steps of the graph, check.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use netengine_proto::{
    api::{Problem, ProblemKind},
    ids::CallKey,
    root::{Change, HeldProcess},
    trust::Trust,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Orchestrator,
    check::{self, Client},
    ends::Relied,
    failure::AttemptError,
    prober,
    processes::{self, Depth, Part},
};
use crate::{
    decide::WorldRef,
    ids,
    plan::{
        Target,
        probes::Extent,
        steps::{self, Observed, Step, StepKind},
    },
    problem::problem,
    root_link::RootLinkError,
    store::{
        StoreError,
        operations::{Operation, Success},
    },
    time,
};

/// When an attempt must stop: the caller cancelled it, or its time is over.
#[derive(Clone)]
pub(super) struct Stop {
    pub cancel: CancellationToken,
    /// Milliseconds since 1970.
    pub deadline: Option<i64>,
}

impl Stop {
    /// A stop that never comes.
    pub(super) fn never() -> Self {
        Self { cancel: CancellationToken::new(), deadline: None }
    }

    fn left(&self) -> Option<Duration> {
        self.deadline.map(|at| Duration::from_millis(u64::try_from(at - time::now_ms()).unwrap_or(0)))
    }

    fn late() -> AttemptError {
        let help = "give it more time with `--timeout`, or look what it waits for with `netengine events`";
        problem(ProblemKind::Failed, "", "it was not done in the time given", help).into()
    }

    /// Err when the attempt must not begin another step.
    fn check(&self) -> Result<(), AttemptError> {
        if self.cancel.is_cancelled() {
            Err(AttemptError::Cancelled)
        } else if self.left().is_some_and(|left| left.is_zero()) {
            Err(Self::late())
        } else {
            Ok(())
        }
    }

    async fn sleep(&self, time: Duration) -> Result<(), AttemptError> {
        let sleeping = async {
            tokio::time::sleep(time).await;
            Ok(())
        };
        self.interrupt(sleeping).await
    }

    /// Runs what changes nothing and may therefore be dropped at any point.
    async fn interrupt<T>(&self, work: impl Future<Output = Result<T, AttemptError>>) -> Result<T, AttemptError> {
        let left = self.left();
        let late = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(AttemptError::Cancelled),
            result = work => result,
            () = late => Err(Self::late()),
        }
    }
}

/// One attempt.
pub(super) struct Attempt<'a> {
    pub orchestrator: &'a Orchestrator,
    pub operation: &'a Operation,
    pub target: &'a Target,
    /// The target before this one, when the world was up with another.
    pub before: Option<&'a Target>,
    /// The kernel may hold anything between the two (an interrupted attempt, or an undo): apply even without a
    /// visible difference.
    pub is_unsure: bool,
    /// Write steps down, with stored keys. An undo does not: its calls are idempotent by themselves.
    pub is_recorded: bool,
    pub stop: Stop,
    /// The processes it relies on.
    pub relied: Relied,
    pub notes: Notes,
}

/// What steps of an attempt leave to others.
#[derive(Default)]
pub(super) struct Notes {
    /// A look at the world that was begun while the target was drawn up.
    looking: Mutex<Option<Looking>>,
    /// What worldd said last that its clients are to trust.
    said: Mutex<Trust>,
    /// The keys that the router's services were told, once they were.
    told: Mutex<Option<Trust>>,
    /// What will ask in the check, as soon as it runs.
    client: Mutex<Option<Client>>,
}

impl Notes {
    /// None but a look that was begun.
    pub(super) fn with(looking: Option<Looking>) -> Self {
        Self { looking: Mutex::new(looking), ..Self::default() }
    }
}

/// A look that goes on by itself; it changes nothing, so it may be left alone.
pub(super) type Looking = JoinHandle<Result<Look, Problem>>;

/// How often an attempt is made again after a process it relied on has ended, and the pause before; it doubles.
const AGAIN: (u32, Duration) = (5, Duration::from_millis(25));

impl Attempt<'_> {
    fn world(&self) -> &WorldRef {
        &self.operation.world
    }

    /// Runs the attempt. On success the world is, by live checks, what the target says.
    ///
    /// A process that ends while it is relied on is heard at once, and everything is looked at again: what ended is started
    /// anew, as it would be had it ended before.
    pub(super) async fn run(&self) -> Result<Success, AttemptError> {
        let begun = std::time::Instant::now();
        let (mut left, mut pause) = AGAIN;
        let mut checked = loop {
            let error = match self.once(left < AGAIN.0).await {
                Ok(checked) => break checked,
                Err(error) => error,
            };
            let Some(part) = self.missing(&error).await else { return Err(error) };
            if left == 0 {
                let why = format!("it ended {} times while it was waited for", AGAIN.0 + 1);
                return Err(AttemptError::failed(processes::not_there(part, &why), part.phase()));
            }
            tracing::info!(operation = %self.operation.id, process = part.word(), "ended; making the attempt again");
            left -= 1;
            self.stop.sleep(pause).await?;
            pause *= 2;
        };
        // The network and the processes belong to phase 0, and with them the time that is not a check of another phase.
        if let Some(substrate) = checked.phases.iter_mut().find(|phase| phase.id == 0) {
            substrate.millis = Some(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
        let peers = self.target.peers.clone();
        let check::Checked { phases, services, zones, issuers } = checked;
        Ok(Success { phases, services, trust: self.trust(), peers, zones, issuers })
    }

    async fn once(&self, is_again: bool) -> Result<check::Checked, AttemptError> {
        self.stop.check()?;
        self.relied.clear();
        if is_again {
            prober::end_left(self.orchestrator, self.world()).await?;
        }
        let looking = self.notes.looking.lock().unwrap_or_else(PoisonError::into_inner).take();
        let seen = match looking {
            Some(looking) => looking.await.map_err(|_| internal("the look at the world failed"))??,
            None => look(self.orchestrator, self.world(), Depth::Summary, None).await?,
        };
        let (observed, processes) = seen.beside(self.before);
        let parts = [
            (Part::Worldd, true, &observed.worldd),
            (Part::Gateway, self.target.has_gateway(), &observed.gateway),
            (Part::Uplink, self.target.has_uplink(), &observed.uplink),
        ];
        for (part, is_had, seen) in parts {
            let is_wanted = seen.health.is_some() && is_had;
            if let Some(process) = processes.iter().find(|process| is_wanted && part.is(process)) {
                self.relied.rely(part, process.id);
            }
        }
        if let Some(health) = &observed.worldd.health {
            self.learn(&health.trust);
        }
        let steps = steps::plan(self.target, &observed, self.is_unsure || is_again);
        let is_changing = steps.iter().any(|step| step.kind.is_change());
        let keys = if is_changing { self.keys(&steps).await? } else { BTreeMap::new() };
        let is_started = steps.iter().any(|step| step.kind == StepKind::Worldd);
        let same = !is_started && self.before.is_some_and(|before| self.target.differs_in_ands_only(before));
        let extent = if is_changing && !same { Extent::Up } else { Extent::Again };
        let seen = (!is_changing).then_some(observed.drift);
        let checked = self.run_graph(&steps, &keys, extent, seen).await;
        let left = self.notes.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(client) = left
            && let Err(problem) = client.end(self.orchestrator, self.world()).await
        {
            tracing::warn!(operation = %self.operation.id, cause = problem.cause, "cannot end a prober");
        }
        checked?.ok_or_else(|| internal("the check did not run").into())
    }

    /// After a failure: a process that was relied on and is not there, which may be the reason.
    async fn missing(&self, error: &AttemptError) -> Option<Part> {
        if !matches!(error, AttemptError::Failed(_)) || self.stop.check().is_err() {
            return None;
        }
        if let Some(part) = self.relied.ended() {
            return Some(part);
        }
        // Its sockets close before rootd hears of its end.
        let (root, world) = (self.orchestrator.root(), self.world());
        let processes = root.list_processes(world.id, world.owner).await.ok()?;
        for part in self.relied.parts() {
            if processes::see(self.orchestrator, world, part, &processes, Depth::Summary).await.health.is_none() {
                return Some(part);
            }
        }
        None
    }

    /// Runs what changes nothing until it is done, the attempt must stop, or a process that is relied on has ended.
    async fn interrupt<T>(&self, work: impl Future<Output = Result<T, AttemptError>>) -> Result<T, AttemptError> {
        let relying = async {
            tokio::select! {
                biased;
                result = work => result,
                part = self.relied.wait_ended() => {
                    Err(AttemptError::failed(processes::not_there(part, "it ended"), part.phase()))
                }
            }
        };
        self.stop.interrupt(relying).await
    }

    /// What worldd said last that its clients are to trust.
    fn trust(&self) -> Trust {
        self.notes.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, trust: &Trust) {
        *self.notes.said.lock().unwrap_or_else(PoisonError::into_inner) = trust.clone();
    }

    /// Tells the router's services what to serve, and whom to trust as far as is known.
    async fn tell_resolver(&self) -> Result<(), AttemptError> {
        let trust = self.trust();
        let desired = self.target.gateway_desired(trust.clone());
        self.interrupt(processes::apply(self.orchestrator, self.world(), Part::Gateway, &desired)).await?;
        *self.notes.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(trust);
        Ok(())
    }

    async fn keys(&self, steps: &[Step]) -> Result<BTreeMap<StepKind, CallKey>, AttemptError> {
        let steps = steps.iter().filter(|step| step.kind.is_change());
        if !self.is_recorded {
            return Ok(steps.map(|step| (step.kind, ids::call_key())).collect());
        }
        let listed: Vec<_> = steps.map(|step| (step.kind, step.changes.len())).collect();
        let planned = self.orchestrator.store().plan_steps(self.operation, &listed).await;
        Ok(planned
            .map_err(|error| AttemptError::Engine(error.problem("cannot write the steps")))?
            .into_iter()
            .collect())
    }

    /// Runs each step when those it waits for are done. After the first failure no further step begins, and those at
    /// work are awaited: a call to rootd is never left half-heard.
    async fn run_graph(
        &self,
        steps: &[Step],
        keys: &BTreeMap<StepKind, CallKey>,
        extent: Extent,
        mut drift: Option<Vec<Change>>,
    ) -> Result<Option<check::Checked>, AttemptError> {
        let mut waiting: Vec<&Step> = steps.iter().collect();
        let mut done: Vec<StepKind> = Vec::new();
        let mut running: FuturesUnordered<BoxFuture<'_, (StepKind, Result<StepResult, AttemptError>)>> =
            FuturesUnordered::new();
        let (mut checked, mut failed) = (None, None);
        // What is done is written beside what comes next, in the order in which it was done. A step that is done and not written
        // is done again after a crash, under the same key.
        let mut unwritten: VecDeque<(StepKind, u64)> = VecDeque::new();
        let mut writing: Option<BoxFuture<'_, Result<(), StoreError>>> = None;
        loop {
            if writing.is_none() {
                let next = unwritten.pop_front();
                let write =
                    |(kind, changes)| self.orchestrator.store().step_done(self.operation, kind, changes).boxed();
                writing = next.map(write);
            }
            if failed.is_none()
                && let Err(stop) = self.stop.check()
            {
                failed = Some(stop);
            }
            if failed.is_none() {
                let (ready, rest) =
                    waiting.into_iter().partition(|step| step.after.iter().all(|kind| done.contains(kind)));
                waiting = rest;
                let ready: Vec<&Step> = ready;
                for step in ready {
                    let (key, drift) = (keys.get(&step.kind).copied(), drift.clone());
                    running.push(Box::pin(async move { (step.kind, self.run_step(step, key, extent, drift).await) }));
                }
            }
            tokio::select! {
                biased;
                Some(written) = async { Some(writing.as_mut()?.await) }, if writing.is_some() => {
                    if let Err(error) = written {
                        failed = failed.or(Some(AttemptError::Engine(error.problem("cannot write the steps"))));
                    }
                    writing = None;
                }
                ended = running.next(), if !running.is_empty() => match ended {
                    None => {}
                    Some((kind, Ok(result))) => {
                        if kind == StepKind::Network {
                            // rootd answers when it sees no difference any more.
                            drift = Some(Vec::new());
                        }
                        if kind.is_change() && self.is_recorded && failed.is_none() {
                            unwritten.push_back((kind, result.changes));
                        }
                        checked = result.checked.or(checked);
                        done.push(kind);
                    }
                    Some((_, Err(error))) => failed = failed.or(Some(error)),
                },
                else => break,
            }
        }
        match failed {
            Some(error) => Err(error),
            None if waiting.is_empty() => Ok(checked),
            None => Err(internal("steps wait for each other").into()),
        }
    }

    async fn run_step(
        &self,
        step: &Step,
        key: Option<CallKey>,
        extent: Extent,
        drift: Option<Vec<Change>>,
    ) -> Result<StepResult, AttemptError> {
        let key = key.unwrap_or_else(ids::call_key);
        let (orchestrator, world) = (self.orchestrator, self.world());
        let planned = u64::try_from(step.changes.len()).unwrap_or(u64::MAX);
        match step.kind {
            StepKind::Network => {
                let applied = orchestrator.root().apply_network(key, &self.target.network).await;
                let changes = applied.map_err(|error| error.problem(""))?.changes.len();
                Ok(StepResult { changes: u64::try_from(changes).unwrap_or(u64::MAX), checked: None })
            }
            StepKind::Worldd => {
                let process = processes::start(orchestrator, world, Part::Worldd, key).await?;
                self.relied.rely(Part::Worldd, process);
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Gateway if self.target.has_gateway() => {
                let process = processes::start(orchestrator, world, Part::Gateway, key).await?;
                self.relied.rely(Part::Gateway, process);
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Gateway => {
                processes::stop(orchestrator, world, Part::Gateway).await?;
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Uplink if self.target.has_uplink() => {
                self.relied.release(Part::Uplink);
                let process = processes::start(orchestrator, world, Part::Uplink, key).await?;
                self.relied.rely(Part::Uplink, process);
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Uplink => {
                processes::stop(orchestrator, world, Part::Uplink).await?;
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Services => {
                let applied = processes::apply(orchestrator, world, Part::Worldd, &self.target.desired);
                self.learn(&self.interrupt(applied).await?.trust);
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Resolver => {
                self.tell_resolver().await?;
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Prober => {
                let client = Client::start(orchestrator, world, (self.target, self.before), extent);
                let client = self.interrupt(async { Ok(client.await?) }).await?;
                *self.notes.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
                Ok(StepResult { changes: 0, checked: None })
            }
            StepKind::Check => {
                // worldd's keys may be others now than when the resolver was told.
                let told = self.notes.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if told.is_some_and(|told| told != self.trust()) {
                    self.tell_resolver().await?;
                }
                let client = self.notes.client.lock().unwrap_or_else(PoisonError::into_inner).take();
                let client = client.ok_or_else(|| internal("the client of the live checks is missing"))?;
                let checked = check::check(orchestrator, world, self.target, self.trust(), client, drift);
                // Its prober is ended by rootd with the world, or by the next attempt; nothing else is changed.
                Ok(StepResult { changes: 0, checked: Some(self.interrupt(checked).await?) })
            }
        }
    }
}

struct StepResult {
    changes: u64,
    checked: Option<check::Checked>,
}

fn internal(cause: &str) -> Problem {
    problem(ProblemKind::Failed, "", cause, "this is a defect of NetEngine; please report it")
}

/// Looks at a world: its kernel objects, its worldd and all that its services tell, its router's services. `before` is its target, when it was up.
pub(super) async fn observe(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    before: Option<&Target>,
) -> Result<Observed, Problem> {
    Ok(look(orchestrator, world, Depth::Whole, None).await?.beside(before).0)
}

/// What was seen of a world, whatever it should be.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Without the plan that was applied.
    observed: Observed,
    processes: Vec<HeldProcess>,
    /// rootd holds the world.
    is_held: bool,
}

impl Look {
    /// The same of a world whose target was `before`, and its processes.
    pub(super) fn beside(self, before: Option<&Target>) -> (Observed, Vec<HeldProcess>) {
        let applied = before.filter(|_| self.is_held).map(|target| target.network.clone());
        (Observed { applied, ..self.observed }, self.processes)
    }
}

/// Looks at a world. With `drift`, its network was seen already and differs by that.
pub(super) async fn look(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    depth: Depth,
    drift: Option<Vec<Change>>,
) -> Result<Look, Problem> {
    let root = orchestrator.root();
    let observing = async {
        match drift {
            Some(drift) => Ok(Some(drift)),
            None => Ok(root.observe_network(world.id, world.owner, false).await?.map(|network| network.drift)),
        }
    };
    let (drift, processes) = tokio::join!(observing, root.list_processes(world.id, world.owner));
    let drift = drift.map_err(|error: RootLinkError| error.problem(""))?;
    let Some(drift) = drift else { return Ok(Look::default()) };
    let processes = processes.map_err(|error| error.problem(""))?;
    let (worldd, gateway, uplink) = tokio::join!(
        processes::see(orchestrator, world, Part::Worldd, &processes, depth),
        processes::see(orchestrator, world, Part::Gateway, &processes, depth),
        processes::see(orchestrator, world, Part::Uplink, &processes, depth)
    );
    let observed = Observed { applied: None, drift, worldd, gateway, uplink };
    Ok(Look { observed, processes, is_held: true })
}
