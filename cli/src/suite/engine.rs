//! Who judges cases: a worker of the caller's own, in user and network namespaces of its own.

use std::{
    env,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use netengine_lab::client::Rootless;
use netengine_lab_proto::{CaseRequest, CaseResult};
use netengine_proto::api::ProblemKind;

use crate::failure::Failure;

/// Where packages put the worker and its reader of rulesets.
const LIBRARY: &str = "/usr/lib/netengine";

/// The next worker's processor, counted around by the worker.
static PROCESSOR: AtomicUsize = AtomicUsize::new(0);

/// A worker, started anew when it ends.
pub struct Engine {
    lab: PathBuf,
    nft: PathBuf,
    processor: usize,
    worker: Option<Rootless>,
}

impl Engine {
    /// Starts a worker.
    ///
    /// # Errors
    /// Class `engine` when its program cannot be run.
    pub fn start() -> Result<Self, Failure> {
        let (lab, nft) = (program("netengine-lab"), program("netengine-nft"));
        let processor = PROCESSOR.fetch_add(1, Ordering::Relaxed);
        let worker = Rootless::start(&lab, &nft, processor).map_err(|error| {
            let help = "install the package netengine, or build with `make build`";
            Failure::new(ProblemKind::Engine, format!("cannot start {}", lab.display()), error, help)
        })?;
        Ok(Self { lab, nft, processor, worker: Some(worker) })
    }

    /// Runs a case; a worker that ends with it is replaced for the next.
    ///
    /// # Errors
    /// Why it was not judged, for people.
    pub fn run(&mut self, request: &CaseRequest) -> Result<CaseResult, String> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => Rootless::start(&self.lab, &self.nft, self.processor)
                .map_err(|error| format!("cannot start another worker: {error}"))?,
        };
        let result = worker.run(request).map_err(|error| format!("the worker ended: {error}"))?;
        // One that could not make its namespaces has ended.
        if !matches!(result, CaseResult::Unsupported { .. }) {
            self.worker = Some(worker);
        }
        Ok(result)
    }
}

/// A program of ours: beside this one when it is there, as in a build, else where packages put it.
fn program(name: &str) -> PathBuf {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(LIBRARY).join(name))
}
