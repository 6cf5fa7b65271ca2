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

use super::engine::{Engine, Unjudged};
use crate::failure::Failure;

/// How cases are run.
pub struct Jobs {
    /// Workers at most; one for each processor when absent.
    pub most: Option<usize>,
    /// No further case after one that did not pass.
    pub fail_fast: bool,
    /// Cases are begun in an order that this number makes, the same each time; as they are listed when absent.
    pub seed: Option<u64>,
}

impl Jobs {
    /// Runs cases, tells of each in their order, and gives what was judged, in that order. `tell` may forget of a case what is not needed
    /// any more.
    ///
    /// # Errors
    /// When no worker can be started, or what `tell` says.
    pub fn run<'a>(
        &self,
        cases: &[&'a Case],
        tell: &(dyn Fn(&mut Judged<'_>) -> Result<(), Failure> + Sync),
    ) -> Result<Vec<Judged<'a>>, Failure> {
        let most = self.most.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let shared = Mutex::new(Shared { done: (0..cases.len()).map(|_| None).collect(), told: 0, failure: None });
        let order = order(cases.len(), self.seed);
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
                let Some((index, case)) = order.get(index).and_then(|at| Some((*at, cases.get(*at)?))) else { break };
                let result = match engine.run(&case.request) {
                    Ok(result) => result,
                    Err(Unjudged::Case(why)) => CaseResult::Failed { message: why },
                    Err(Unjudged::Run(failure)) => return fail(failure),
                };
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

/// The numbers below `count`, in the order that a seed makes (Fisher-Yates, with numbers of SplitMix64).
fn order(count: usize, seed: Option<u64>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let Some(mut state) = seed else { return order };
    for last in (1..count).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(last, ((mixed ^ mixed >> 31) % (last as u64 + 1)) as usize);
    }
    order
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
        tell: &dyn Fn(&mut Judged<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.done[index] = Some(judged);
        while let Some(Some(judged)) = self.done.get_mut(self.told) {
            self.told += 1;
            tell(judged)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn a_seed_makes_one_order_of_all_cases() {
        let shuffled = order(100, Some(7));
        assert_eq!(shuffled, order(100, Some(7)));
        assert_ne!(shuffled, order(100, Some(8)));
        assert_ne!(shuffled, order(100, None));
        let mut sorted = shuffled;
        sorted.sort_unstable();
        assert_eq!(sorted, order(100, None));
        assert_eq!((order(0, Some(1)), order(1, Some(1))), (vec![], vec![0]));
    }
}
