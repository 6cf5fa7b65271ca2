//! A world's own processes: worldd and the router's services. Started, told what to serve, ended.

use std::{path::PathBuf, time::Duration};

use netengine_proto::{
    api::{Problem, ProblemKind},
    control::{Desired, Health},
    ids::{CallKey, ProcessId},
    root::{HeldProcess, ProcessKind, Program},
};
use tokio::time::{Instant, sleep};

use super::{Orchestrator, failure::AttemptError};
use crate::{
    control::{self, Control, ControlError},
    decide::WorldRef,
    ids,
    plan::{
        phases,
        steps::{self, Seen},
    },
    problem::problem,
    root_link::RootLinkError,
};

/// Services that do not serve at once are told again until this is over.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Worldd,
    Gateway,
    Uplink,
}

impl Part {
    fn program(self) -> Program {
        match self {
            Part::Worldd => Program::Worldd,
            Part::Gateway => Program::Gateway,
            Part::Uplink => Program::Uplink,
        }
    }

    /// The phase whose fault it is when it does not run.
    pub(super) fn phase(self) -> u8 {
        match self {
            Part::Worldd => 0,
            Part::Gateway => phases::NAMES_RESOLVE,
            Part::Uplink => phases::ANDS,
        }
    }

    /// Whether this is its process, running.
    pub(super) fn is(self, process: &HeldProcess) -> bool {
        let kind = match self {
            Part::Worldd => ProcessKind::Worldd,
            Part::Gateway => ProcessKind::Gateway,
            Part::Uplink => ProcessKind::Uplink,
        };
        process.kind == kind && process.ended.is_none()
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Part::Worldd => "worldd",
            Part::Gateway => "gateway",
            Part::Uplink => "uplink",
        }
    }

    /// Its control socket; the forwarder of an uplink has none: it is told everything when it starts, and what ends it is
    /// all that can be wrong with it.
    pub(super) fn socket(self, orchestrator: &Orchestrator, world: &WorldRef) -> Option<PathBuf> {
        match self {
            Part::Worldd => Some(control::worldd_socket(orchestrator.worlds_dir(), world.id)),
            Part::Gateway => Some(control::gateway_socket(orchestrator.worlds_dir(), world.id)),
            Part::Uplink => None,
        }
    }
}

/// Starts it, after ending one that does not answer. Gives its process.
pub(super) async fn start(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    part: Part,
    key: CallKey,
) -> Result<ProcessId, Problem> {
    let root = orchestrator.root();
    let problem = |error: RootLinkError| error.problem("");
    let processes = stop_all(orchestrator, world, part).await?;
    let program = part.program();
    let started = root.start_program(key, world.id, world.owner, &program).await.map_err(problem)?;
    // A key that was used by an interrupted attempt names the process of then; that one was ended above.
    if processes.iter().any(|process| process.id == started) {
        return root.start_program(ids::call_key(), world.id, world.owner, &program).await.map_err(problem);
    }
    Ok(started)
}

/// Ends it. Absent is done.
pub(super) async fn stop(orchestrator: &Orchestrator, world: &WorldRef, part: Part) -> Result<(), Problem> {
    stop_all(orchestrator, world, part).await.map(drop)
}

async fn stop_all(orchestrator: &Orchestrator, world: &WorldRef, part: Part) -> Result<Vec<HeldProcess>, Problem> {
    let root = orchestrator.root();
    let processes = root.list_processes(world.id, world.owner).await.map_err(|error| error.problem(""))?;
    for live in processes.iter().filter(|process| part.is(process)) {
        root.stop_process(world.id, world.owner, live.id).await.map_err(|error| error.problem(""))?;
    }
    Ok(processes)
}

/// Tells it what to serve and waits until it does.
pub(super) async fn apply(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    part: Part,
    desired: &Desired,
) -> Result<Health, AttemptError> {
    let broken = |error: ControlError| not_there(part, &error.to_string());
    let socket = part.socket(orchestrator, world).ok_or_else(|| not_there(part, "it is told nothing"))?;
    let mut control = Control::connect_started(&socket).await.map_err(broken)?;
    let until = Instant::now() + SETTLE_TIME;
    let mut pause = Duration::from_millis(4);
    loop {
        let health = control.apply(desired).await.map_err(broken)?;
        if steps::serves(&desired.revision, &health) {
            return Ok(health);
        }
        if Instant::now() + pause > until {
            return Err(not_serving(part, &health));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// How much a process is asked to tell of its services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Whether all of them serve.
    Summary,
    /// How each is, and what other worlds may use.
    Whole,
}

/// What is seen of it, `processes` being those of the world.
pub(super) async fn see(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    part: Part,
    processes: &[HeldProcess],
    depth: Depth,
) -> Seen {
    if !processes.iter().any(|process| part.is(process)) {
        return Seen::default();
    }
    let Some(socket) = part.socket(orchestrator, world) else {
        return Seen { is_stale: false, health: Some(Health::default()) };
    };
    let asked = async {
        let mut control = Control::connect(&socket).await?;
        match depth {
            Depth::Summary => control.summary().await,
            Depth::Whole => control.health().await,
        }
    };
    let health = asked.await.ok();
    Seen { is_stale: health.is_none(), health }
}

pub(super) fn not_there(part: Part, why: &str) -> Problem {
    problem(ProblemKind::Failed, "", format!("{}: {why}", part.word()), "see `netengine logs WORLD`")
}

pub(super) fn not_serving(part: Part, health: &Health) -> AttemptError {
    let Some(bad) = health.services.iter().find(|service| !service.serving) else {
        return not_there(part, "it serves something else than asked").into();
    };
    let why = format!("{} on {} port {} does not serve: {}", bad.name, bad.address, bad.port, bad.detail);
    AttemptError::failed(not_there(part, &why), bad.phase)
}
