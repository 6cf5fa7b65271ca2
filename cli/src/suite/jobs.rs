//! Cases on several workers at once.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use netengine_lab_proto::CaseResult;
use netengine_suite::{Case, Judged, Outcome, judge};

use super::engine::Engine;
use crate::failure::Failure;

/// How cases are run.
pub struct Jobs {
    /// Workers at most; one for each processor when absent.
    pub most: Option<usize>,
    /// No further case after one that did not pass.
    pub fail_fast: bool,
}

impl Jobs {
    /// Runs cases, tells of each in their order, and gives what was judged, in that order.
    ///
    /// # Errors
    /// When no worker can be started, or what `tell` says.
    pub fn run<'a>(
        &self,
        cases: &[&'a Case],
        tell: &(dyn Fn(&Judged<'_>) -> Result<(), Failure> + Sync),
    ) -> Result<Vec<Judged<'a>>, Failure> {
        let most = self.most.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let shared = Mutex::new(Shared { done: (0..cases.len()).map(|_| None).collect(), told: 0, failure: None });
        let fail = |failure| {
            stop.store(true, Ordering::Relaxed);
            lock(&shared).failure.get_or_insert(failure);
        };
        let work = || {
            let mut engine = match Engine::start() {
                Ok(engine) => engine,
                Err(failure) => return fail(failure),
            };
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(index) else { break };
                let result = engine.run(&case.request).unwrap_or_else(|why| CaseResult::Failed { message: why });
                let judged = judge(case, result);
                if self.fail_fast && judged.outcome != Outcome::Passed {
                    stop.store(true, Ordering::Relaxed);
                }
                let told = lock(&shared).add(index, judged, tell);
                if let Err(failure) = told {
                    return fail(failure);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..most.clamp(1, cases.len().max(1)) {
                scope.spawn(work);
            }
        });
        let Shared { done, failure, .. } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or_else(|| Ok(done.into_iter().flatten().collect()), Err)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the workers share.
struct Shared<'a> {
    done: Vec<Option<Judged<'a>>>,
    told: usize,
    failure: Option<Failure>,
}

impl<'a> Shared<'a> {
    /// Keeps a result, and tells of those whose predecessors were told of.
    fn add(
        &mut self,
        index: usize,
        judged: Judged<'a>,
        tell: &dyn Fn(&Judged<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.done[index] = Some(judged);
        while let Some(Some(judged)) = self.done.get(self.told) {
            self.told += 1;
            tell(judged)?;
        }
        Ok(())
    }
}
