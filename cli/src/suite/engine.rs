//! Who judges cases: a sandbox that the daemon has made for the caller, or a worker of the caller's own, in user and network namespaces of
//! its own. Both are the same program.

use std::{
    env,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use netengine_lab::client::{Rootless, refused};
use netengine_lab_proto::{CaseRequest, CaseResult};
use netengine_proto::api::ProblemKind;

use super::daemon::Lab;
use crate::{client::unreachable_socket, failure::Failure, ui::Ui};

/// Where packages put the worker and its reader of rulesets.
const LIBRARY: &str = "/usr/lib/netengine";

/// The next worker's processor, counted around by the worker.
static PROCESSOR: AtomicUsize = AtomicUsize::new(0);

/// The daemon's socket, when the daemon judges.
static DAEMON: OnceLock<PathBuf> = OnceLock::new();

/// Where the daemon listens, and whether that was said for this call rather than assumed.
pub struct Place<'a> {
    /// Its socket.
    pub socket: &'a Path,
    /// By an option or the environment.
    pub is_given: bool,
}

/// Chooses the daemon, for all engines of this process, when it can be reached; else tells why not, and each engine is a worker of the
/// caller's own.
///
/// # Errors
/// When a daemon that was named cannot be reached.
pub fn choose(ui: &Ui, place: &Place<'_>) -> Result<(), Failure> {
    match UnixStream::connect(place.socket) {
        Ok(_) => {
            DAEMON.get_or_init(|| place.socket.to_owned());
            Ok(())
        }
        Err(error) if place.is_given => Err(unreachable_socket(place.socket, &error, "netengine")),
        Err(error) => {
            let socket = place.socket.display();
            ui.remark(&format!(
                "cannot use the daemon ({socket}: {error}): running in sandboxes of your own, as with --rootless"
            ));
            Ok(())
        }
    }
}

/// Why a case was not judged.
pub enum Unjudged {
    /// Only this case; for people.
    Case(String),
    /// No case will be.
    Run(Failure),
}

/// Judges cases.
pub enum Engine {
    /// By the daemon.
    Daemon(Box<Lab>),
    /// By a worker, started anew when it ends.
    Own(Own),
}

/// A worker of the caller's own.
pub struct Own {
    lab: PathBuf,
    nft: PathBuf,
    processor: usize,
    worker: Option<Rootless>,
}

impl Engine {
    /// Connects to the daemon that was chosen, or starts a worker.
    ///
    /// # Errors
    /// Class `engine` when its program cannot be run, or as [`Lab::connect`].
    pub fn start() -> Result<Self, Failure> {
        match DAEMON.get() {
            Some(socket) => Lab::connect(socket).map(Box::new).map(Self::Daemon),
            None => Own::start().map(Self::Own),
        }
    }

    /// Runs a case.
    ///
    /// # Errors
    /// Why it was not judged.
    pub fn run(&mut self, request: &CaseRequest) -> Result<CaseResult, Unjudged> {
        match self {
            Self::Daemon(lab) => lab.run_case(request).map_err(|failure| match failure.problem.kind {
                // The daemons are at fault, or the caller has too much at work: no case fares better.
                ProblemKind::Engine | ProblemKind::Quota => Unjudged::Run(failure),
                _ => Unjudged::Case(failure.problem.cause.clone()),
            }),
            Self::Own(own) => own.run(request),
        }
    }
}

impl Own {
    fn start() -> Result<Self, Failure> {
        let (lab, nft) = (program("netengine-lab"), program("netengine-nft"));
        let processor = PROCESSOR.fetch_add(1, Ordering::Relaxed);
        let worker = Rootless::start(&lab, &nft, processor).map_err(|error| {
            let help = "install the package netengine, or build with `make build`";
            Failure::new(ProblemKind::Engine, format!("cannot start {}", lab.display()), error, help)
        })?;
        Ok(Self { lab, nft, processor, worker: Some(worker) })
    }

    /// Runs a case. When the worker has ended, perhaps with the case before, another one gets the case: a case changes nothing.
    fn run(&mut self, request: &CaseRequest) -> Result<CaseResult, Unjudged> {
        let done = self.worker.take().and_then(|mut worker| Some((worker.run(request).ok()?, worker)));
        let (result, worker) = match done {
            Some(done) => done,
            None => {
                let mut worker = Rootless::start(&self.lab, &self.nft, self.processor)
                    .map_err(|error| Unjudged::Case(format!("cannot start another worker: {error}")))?;
                let ended = |error| Unjudged::Case(format!("the worker ended: {error}"));
                (worker.run(request).map_err(ended)?, worker)
            }
        };
        if let Some(why) = refused(&result) {
            let help = "have an administrator start the daemon, which needs none (`systemctl enable --now netengine.target`), and add you to the \
                        group netengine; or raise `user.max_user_namespaces`, or let users make user namespaces";
            return Err(Unjudged::Run(Failure::new(ProblemKind::Engine, "cannot make a sandbox", why, help)));
        }
        self.worker = Some(worker);
        Ok(result)
    }
}

/// A program of ours: beside this one when it is there, as in a build, else where packages put it.
fn program(name: &str) -> PathBuf {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(LIBRARY).join(name))
}
