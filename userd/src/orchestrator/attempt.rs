//! One attempt to make a world equal to a target: observe, plan, run the steps of the graph, check.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, PoisonError},
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use netengine_proto::{
    api::{Problem, ProblemKind},
    ids::CallKey,
    trust::Trust,
};
use tokio_util::sync::CancellationToken;

use super::{
    Orchestrator, check,
    failure::AttemptError,
    processes::{self, Part},
};
use crate::{
    decide::WorldRef,
    ids,
    plan::{
        Target,
        steps::{self, Observed, Step, StepKind},
    },
    problem::problem,
    store::operations::{Operation, Success},
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

    fn left(&self) -> Option<std::time::Duration> {
        self.deadline.map(|at| std::time::Duration::from_millis(u64::try_from(at - time::now_ms()).unwrap_or(0)))
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
    /// See [`Attempt::trust`].
    pub trust: Mutex<Trust>,
}

impl Attempt<'_> {
    fn world(&self) -> &WorldRef {
        &self.operation.world
    }

    /// Runs the attempt. On success the world is, by live checks, what the target says.
    pub(super) async fn run(&self) -> Result<Success, AttemptError> {
        let begun = std::time::Instant::now();
        self.stop.check()?;
        let observed = observe(self.orchestrator, self.world(), self.before).await?;
        if let Some(health) = &observed.worldd.health {
            self.learn(&health.trust);
        }
        let steps = steps::plan(self.target, &observed, self.is_unsure);
        let is_changing = steps.iter().any(|step| step.kind != StepKind::Check);
        let keys = if is_changing { self.keys(&steps).await? } else { BTreeMap::new() };
        let seen = (!is_changing).then_some(observed);
        let checked = self.run_graph(&steps, &keys, seen).await?;
        let mut checked = checked.ok_or_else(|| internal("the check did not run"))?;
        // The network and the processes belong to phase 0, and with them the time that is not a check of another phase.
        if let Some(substrate) = checked.phases.iter_mut().find(|phase| phase.id == 0) {
            substrate.millis = Some(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
        Ok(Success { phases: checked.phases, services: checked.services, trust: self.trust() })
    }

    /// What worldd said last that its clients are to trust.
    fn trust(&self) -> Trust {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, trust: &Trust) {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) = trust.clone();
    }

    async fn keys(&self, steps: &[Step]) -> Result<BTreeMap<StepKind, CallKey>, AttemptError> {
        let steps = steps.iter().filter(|step| step.kind != StepKind::Check);
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
        seen: Option<Observed>,
    ) -> Result<Option<check::Checked>, AttemptError> {
        let mut waiting: Vec<&Step> = steps.iter().collect();
        let mut done: Vec<StepKind> = Vec::new();
        let mut running: FuturesUnordered<BoxFuture<'_, (StepKind, Result<StepResult, AttemptError>)>> =
            FuturesUnordered::new();
        let (mut checked, mut failed) = (None, None);
        loop {
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
                    let (key, seen) = (keys.get(&step.kind).copied(), seen.clone());
                    running.push(Box::pin(async move { (step.kind, self.run_step(step, key, seen).await) }));
                }
            }
            match running.next().await {
                None => break,
                Some((kind, Ok(result))) => {
                    if kind != StepKind::Check && self.is_recorded && failed.is_none() {
                        let stored = self.orchestrator.store().step_done(self.operation, kind, result.changes).await;
                        if let Err(error) = stored {
                            failed = Some(AttemptError::Engine(error.problem("cannot write the steps")));
                        }
                    }
                    checked = result.checked.or(checked);
                    done.push(kind);
                }
                Some((_, Err(error))) => failed = failed.or(Some(error)),
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
        seen: Option<Observed>,
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
                processes::start(orchestrator, world, Part::Worldd, key).await?;
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Gateway if self.target.has_gateway() => {
                processes::start(orchestrator, world, Part::Gateway, key).await?;
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Gateway => {
                processes::stop(orchestrator, world, Part::Gateway).await?;
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Services => {
                let applied = processes::apply(orchestrator, world, Part::Worldd, &self.target.desired);
                self.learn(&self.stop.interrupt(applied).await?.trust);
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Resolver => {
                let desired = self.target.gateway_desired(self.trust());
                let applied = processes::apply(orchestrator, world, Part::Gateway, &desired);
                self.stop.interrupt(applied).await?;
                Ok(StepResult { changes: planned, checked: None })
            }
            StepKind::Check => {
                let checked = check::check(orchestrator, world, self.target, self.trust(), seen);
                // The prober it starts is ended by rootd with the world, or by the next check; nothing else is changed.
                Ok(StepResult { changes: 0, checked: Some(self.stop.interrupt(checked).await?) })
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

/// Looks at a world: its kernel objects, its worldd and its router's services.
pub(super) async fn observe(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    before: Option<&Target>,
) -> Result<Observed, Problem> {
    let root = orchestrator.root();
    let (network, processes) =
        tokio::join!(root.observe_network(world.id, world.owner), root.list_processes(world.id, world.owner));
    let Some(network) = network.map_err(|error| error.problem(""))? else { return Ok(Observed::default()) };
    let processes = processes.map_err(|error| error.problem(""))?;
    let (worldd, gateway) = tokio::join!(
        processes::see(orchestrator, world, Part::Worldd, &processes),
        processes::see(orchestrator, world, Part::Gateway, &processes)
    );
    let applied = before.map(|target| target.network.clone());
    Ok(Observed { applied, drift: network.drift, worldd, gateway })
}
