//! Live checks: a phase is done when the kernel equals the plan, worldd is healthy, and a client inside the world was
//! served.

use std::{path::Path, time::Duration};

use netengine_proto::{
    api::{PhaseState, PhaseStatus, Problem, ProblemKind, ServiceState, ServiceStatus},
    control::{Health, Probe, ProbeRequest, ProbeResult, TimedProbe},
    root::{Change, Program},
};
use tokio::time::{Instant, sleep};

use super::{Orchestrator, attempt::AttemptError};
use crate::{
    control::{self, Control, ControlError},
    decide::WorldRef,
    ids,
    plan::{
        NTP_PORT, Target,
        diff::describe,
        phases,
        steps::{self, Observed},
    },
    problem::problem,
};

/// One NTP question waits this long for its answer.
const PROBE_TIME: Duration = Duration::from_millis(500);
/// Services and probes that are not right at once are asked again until this is over: a first packet may meet an
/// address that is still being resolved.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// What the checks saw.
#[derive(Debug)]
pub(super) struct Checked {
    pub detail: String,
    pub services: Vec<ServiceStatus>,
}

/// Phase 0, done.
pub(super) fn phase_done(detail: String, millis: u64) -> PhaseStatus {
    PhaseStatus { id: 0, name: phases::NAMES[0].to_owned(), state: PhaseState::Done, millis: Some(millis), detail }
}

/// Tells worldd what to serve and waits until it does.
pub(super) async fn apply_services(path: &Path, target: &Target) -> Result<(), AttemptError> {
    let mut worldd = Control::connect_started(path).await.map_err(|error| of_worldd(&error))?;
    let until = Instant::now() + SETTLE_TIME;
    let mut pause = Duration::from_millis(4);
    loop {
        let health = worldd.apply(&target.desired).await.map_err(|error| of_worldd(&error))?;
        if steps::serves(target, &health) {
            return Ok(());
        }
        if Instant::now() + pause > until {
            return Err(not_serving(&health).into());
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Checks a world. `seen` is an observation that nothing has changed since.
pub(super) async fn check(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    target: &Target,
    seen: Option<Observed>,
) -> Result<Checked, AttemptError> {
    let observing = async {
        match seen {
            Some(seen) => Ok(seen),
            None => super::attempt::observe(orchestrator, world, Some(target)).await,
        }
    };
    // The prober first: rootd does one thing at a time to a world, and the prober starts up while rootd looks.
    let (probed, observed) = tokio::join!(probe(orchestrator, world, target), observing);
    let observed = observed?;
    if let Some(first) = observed.drift.first() {
        return Err(drifted(&observed.drift, first).into());
    }
    let health = observed.health.as_ref().ok_or_else(|| no_worldd("it is not healthy"))?;
    if !steps::serves(target, health) {
        return Err(not_serving(health).into());
    }
    let probed = probed?;
    let services = target.ntp_addresses.iter().zip(&probed).map(|(address, result)| ServiceStatus {
        name: "ntp".to_owned(),
        address: address.to_string(),
        port: NTP_PORT,
        state: ServiceState::Ready,
        detail: format!("answered {} in {} us: {}", target.prober, result.micros, result.detail),
    });
    let answered = target.ntp_addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let detail = match probed.len() {
        0 => "network as planned; no time service asked for".to_owned(),
        _ => format!("network as planned; NTP answered on {answered}"),
    };
    Ok(Checked { detail, services: services.collect() })
}

/// Asks the world's services from its vantage host on `core`. Every result passed.
async fn probe(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    target: &Target,
) -> Result<Vec<ProbeResult>, AttemptError> {
    if target.ntp_addresses.is_empty() {
        return Ok(Vec::new());
    }
    let root = orchestrator.root();
    let program = Program::Prober(target.prober.clone());
    let started = root.start_program(ids::call_key(), world.id, world.owner, &program).await;
    let process = started.map_err(|error| error.problem(""))?;
    let path = control::prober_socket(orchestrator.worlds_dir(), world.id, &target.prober);
    let results = ask(&path, target).await;
    // Whatever came of it, the prober is gone before the check is over.
    let stopped = root.stop_process(world.id, world.owner, process).await;
    let results = results?;
    stopped.map_err(|error| error.problem(""))?;
    Ok(results)
}

async fn ask(path: &Path, target: &Target) -> Result<Vec<ProbeResult>, Problem> {
    let broken = |error: ControlError| {
        let help = "run `netengine doctor`; see the log of netengine-rootd";
        problem(ProblemKind::Failed, "", format!("the live check in {} failed: {error}", target.prober), help)
    };
    let mut prober = Control::connect_started(path).await.map_err(broken)?;
    let until = Instant::now() + SETTLE_TIME;
    let results = loop {
        let timeout_ms = u32::try_from(PROBE_TIME.as_millis()).unwrap_or(u32::MAX);
        let question = |address: &std::net::IpAddr| TimedProbe {
            timeout_ms,
            probe: Probe::Ntp { address: *address, port: NTP_PORT },
        };
        let questions: Vec<_> = target.ntp_addresses.iter().map(question).collect();
        let time = PROBE_TIME * u32::try_from(questions.len()).unwrap_or(u32::MAX);
        let results =
            prober.probe(ProbeRequest { probes: questions, ..ProbeRequest::default() }, time).await.map_err(broken)?;
        let failed = results.iter().zip(&target.ntp_addresses).find(|(result, _)| !result.passed);
        match failed {
            None => break results,
            Some((result, address)) if Instant::now() > until => {
                let cause = format!("NTP on {address} did not serve {}: {}", target.prober, result.detail);
                let help = "see `netengine logs WORLD ntp`";
                return Err(problem(ProblemKind::Failed, "", cause, help));
            }
            // A question that was not answered has waited by itself; one that was refused has not.
            Some(_) => sleep(Duration::from_millis(20)).await,
        }
    };
    prober.stop().await;
    Ok(results)
}

fn drifted(drift: &[Change], first: &Change) -> Problem {
    let first = describe(0, first);
    let more = if drift.len() > 1 { format!(" and {} more", drift.len() - 1) } else { String::new() };
    let cause = format!("the kernel differs from the plan: {} {} {}{more}", first.action, first.kind, first.object);
    problem(ProblemKind::Failed, "", cause, "run `netengine up` again; the log of netengine-rootd has the details")
}

fn no_worldd(why: &str) -> Problem {
    problem(ProblemKind::Failed, "", format!("worldd: {why}"), "see `netengine logs WORLD`")
}

fn of_worldd(error: &ControlError) -> Problem {
    no_worldd(&error.to_string())
}

fn not_serving(health: &Health) -> Problem {
    match health.services.iter().find(|service| !service.serving) {
        Some(bad) => {
            no_worldd(&format!("{} on {} port {} does not serve: {}", bad.name, bad.address, bad.port, bad.detail))
        }
        None => no_worldd("it serves something else than asked"),
    }
}
