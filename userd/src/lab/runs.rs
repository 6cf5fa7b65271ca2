//! Runs of suites: at work in the background, kept for a while after their end, gone with userd.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use netengine_lab_proto::CaseResult;
use netengine_proto::{
    api::{FirewallRunState, FirewallTest, Problem, ProblemKind},
    ids::{FirewallTestId, Uid},
    limits,
};
use netengine_suite::{
    Case, Judged, Outcome, Suite, judge,
    report::{self, Run as Report},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{owners::Lease, sandbox::LabError};
use crate::problem::problem;

/// All runs that are known, by id.
#[derive(Default)]
pub struct Runs(Mutex<HashMap<FirewallTestId, Arc<Run>>>);

/// How a run is to be done.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Sandboxes at most.
    pub jobs: usize,
    /// No further case after one that did not pass.
    pub fail_fast: bool,
}

/// One run.
pub struct Run {
    /// Its id.
    pub id: FirewallTestId,
    /// Whose it is.
    pub owner: Uid,
    suites: Vec<Suite>,
    begun: Instant,
    stop: CancellationToken,
    enough: AtomicBool,
    done: Mutex<Done>,
    changed: watch::Sender<usize>,
}

#[derive(Default)]
struct Done {
    /// By the case's number over all suites; absent those that are not over.
    results: BTreeMap<usize, CaseResult>,
    bytes: usize,
    ended: Option<(FirewallRunState, f64)>,
    problem: Option<Problem>,
    order: Vec<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runs {
    /// Begins a run of `owner`; it goes on whoever waits for it.
    ///
    /// # Errors
    /// Class `quota` when all runs of this owner that are known are still at work, class `usage` for more cases than a run may have.
    pub fn begin(
        self: &Arc<Self>,
        id: FirewallTestId,
        lease: Lease,
        owner: Uid,
        suites: Vec<Suite>,
        how: How,
    ) -> Result<Arc<Run>, Problem> {
        let what = "cannot run the suites";
        let cases: usize = suites.iter().map(|suite| suite.cases.len()).sum();
        if cases > limits::LAB_RUN_CASES {
            let cause = format!("they have {cases} cases; at most {} are taken", limits::LAB_RUN_CASES);
            return Err(problem(ProblemKind::Usage, what, cause, "send them in parts"));
        }
        let run = Arc::new(Run {
            id,
            owner,
            suites,
            begun: Instant::now(),
            stop: CancellationToken::new(),
            enough: AtomicBool::new(false),
            done: Mutex::default(),
            changed: watch::channel(0).0,
        });
        let mut known = lock(&self.0);
        let own: Vec<_> = known.values().filter(|run| run.owner == owner).cloned().collect();
        if own.len() >= limits::LAB_RUNS_PER_OWNER {
            let over = own.iter().filter(|run| run.has_ended()).min_by_key(|run| run.begun);
            let Some(oldest) = over else {
                let cause = format!("{} of them are at work already", own.len());
                return Err(problem(ProblemKind::Quota, what, cause, "wait for one, or DELETE one"));
            };
            known.remove(&oldest.id);
        }
        known.insert(id, run.clone());
        drop(known);
        tokio::spawn(run.clone().work(lease, how));
        Ok(run)
    }

    /// The run of this id.
    pub fn find(&self, id: FirewallTestId) -> Option<Arc<Run>> {
        lock(&self.0).get(&id).cloned()
    }

    /// Ends a run that is at work, forgets one that is over.
    pub fn cancel(&self, run: &Run) {
        if run.has_ended() {
            lock(&self.0).remove(&run.id);
        }
        run.stop.cancel();
    }

    /// Ends all.
    pub fn stop_all(&self) {
        lock(&self.0).values().for_each(|run| run.stop.cancel());
    }
}

impl Run {
    async fn work(self: Arc<Self>, lease: Lease, how: How) {
        let (next, lease) = (Arc::new(AtomicUsize::new(0)), Arc::new(lease));
        let mut workers = JoinSet::new();
        for _ in 0..how.jobs.clamp(1, limits::LAB_RUN_JOBS).min(self.cases().count()) {
            let (run, next, lease) = (self.clone(), next.clone(), lease.clone());
            workers.spawn(async move {
                while !run.enough.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = run.cases().nth(number) else { return };
                    if !run.one(&lease, number, case, how.fail_fast).await {
                        run.enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
        tokio::select! {
            () = self.stop.cancelled() => workers.shutdown().await,
            () = async { while workers.join_next().await.is_some() {} } => {}
        }
        // The sandboxes go before the end is told.
        drop(lease);
        let mut done = lock(&self.done);
        let state = match &done.problem {
            Some(_) => FirewallRunState::Failed,
            None if self.stop.is_cancelled() => FirewallRunState::Cancelled,
            None => FirewallRunState::Done,
        };
        done.ended = Some((state, self.begun.elapsed().as_secs_f64() * 1000.0));
        drop(done);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Runs one case; false when no further one is to be begun.
    async fn one(&self, lease: &Lease, number: usize, case: &Case, fail_fast: bool) -> bool {
        let answered = match postcard::to_stdvec(&case.request) {
            Ok(request) => lease.run(&request).await,
            Err(_) => Err(LabError::TooLong),
        };
        let (bytes, result) = match answered {
            Ok(answer) => match postcard::from_bytes::<CaseResult>(&answer) {
                Ok(result) => (answer.len(), result),
                Err(error) => (0, CaseResult::Failed { message: format!("the sandbox spoke nonsense: {error}") }),
            },
            Err(error @ LabError::Ended(_)) => (0, CaseResult::Failed { message: error.to_string() }),
            Err(error) => {
                lock(&self.done).problem.get_or_insert(error.problem());
                return false;
            }
        };
        let passed = judge(case, result.clone()).outcome == Outcome::Passed;
        let mut done = lock(&self.done);
        done.bytes += bytes;
        done.results.insert(number, result);
        done.order.push(number);
        let too_much = done.bytes > limits::LAB_RUN_BYTES;
        if too_much {
            let cause = format!("its results are longer than {} bytes", limits::LAB_RUN_BYTES);
            let help = "send the suites in parts, or use `netengine test`";
            done.problem.get_or_insert(problem(ProblemKind::Quota, "cannot go on with the run", cause, help));
        }
        drop(done);
        self.changed.send_modify(|count| *count += 1);
        !too_much && (passed || !fail_fast)
    }

    fn cases(&self) -> impl Iterator<Item = &Case> {
        self.suites.iter().flat_map(|suite| &suite.cases)
    }

    /// Whether it is over, and its sandboxes gone.
    pub fn has_ended(&self) -> bool {
        lock(&self.done).ended.is_some()
    }

    /// Signals each change.
    pub fn subscribe(&self) -> watch::Receiver<usize> {
        self.changed.subscribe()
    }

    /// How far it is; with the report when it is over.
    pub fn status(&self) -> FirewallTest {
        let done = lock(&self.done);
        let (state, millis) =
            done.ended.unwrap_or((FirewallRunState::Running, self.begun.elapsed().as_secs_f64() * 1000.0));
        let report = done.ended.is_some().then(|| report::json(&self.report(&done, millis)));
        FirewallTest {
            id: self.id.to_string(),
            state,
            cases: self.cases().count() as u64,
            done: done.results.len() as u64,
            problem: done.problem.clone(),
            report,
        }
    }

    fn report(&self, done: &Done, millis: f64) -> Report<'_> {
        let mut number = 0;
        let of = |suite| {
            let suite: &Suite = suite;
            let first = number;
            number += suite.cases.len();
            let judged = suite.cases.iter().zip(first..);
            let judged: Vec<Judged<'_>> =
                judged.filter_map(|(case, number)| Some(judge(case, done.results.get(&number)?.clone()))).collect();
            (suite.file.as_str(), judged)
        };
        Report { suites: self.suites.iter().map(of).collect(), millis }
    }

    /// The events of the case that was the `place`th to be over; none when there is no such yet.
    pub fn told(&self, place: usize) -> Option<Vec<(&'static str, serde_json::Value)>> {
        let done = lock(&self.done);
        let number = *done.order.get(place)?;
        let result = done.results.get(&number)?.clone();
        drop(done);
        let mut before = 0;
        for suite in &self.suites {
            if let Some(case) = suite.cases.get(number - before) {
                return Some(super::told::events(&suite.file, number, &judge(case, result)));
            }
            before += suite.cases.len();
        }
        None
    }
}
