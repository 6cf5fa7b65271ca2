//! The live checks' client in a vantage host: started, asked, ended. What it reports is what a client there saw.

use std::{net::IpAddr, time::Duration};

use netengine_proto::{
    api::{Problem, ProblemKind},
    control::{Fault, Probe, ProbeRequest, ProbeResult},
    ids::ProcessId,
    names::HostName,
    root::{ProcessKind, Program},
    trust::Trust,
};
use tokio::time::{Instant, sleep};

use super::Orchestrator;
use crate::{
    control::{self, Control, ControlError},
    decide::WorldRef,
    ids,
    plan::{Target, probes::Planned},
    problem::problem,
};

/// First and longest pause before what did not pass is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(320));

/// Checks that the prober makes at the same time; the time of a further one begins when it has a place.
const PLACES: usize = 32;

/// How live checks are asked for.
pub(super) struct Asking<'a> {
    /// What does not pass at once is asked again until this is over.
    pub settle: Duration,
    /// Asked for in one request at most; 1 or more.
    pub at_once: usize,
    /// Told how many more were answered, after each request.
    pub told: &'a (dyn Fn(usize) + Send + Sync),
}

/// Where live checks are made.
pub(super) struct At {
    /// The vantage host.
    pub host: HostName,
    /// Where names are looked up there.
    pub resolvers: Vec<IpAddr>,
}

impl At {
    /// In network `core`.
    pub fn core(target: &Target) -> Self {
        Self { host: target.prober.clone(), resolvers: target.resolvers.clone() }
    }
}

/// A live check and what it saw.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub planned: Planned,
    pub result: ProbeResult,
}

impl Outcome {
    /// The ACME order could not be placed, and the authority is not at fault: a program of the world's users has port 80 of
    /// the vantage host, where the challenge would be answered. What it would have proven is not known then.
    pub fn was_not_made(&self) -> bool {
        !self.result.passed && self.result.fault.is_none() && matches!(self.planned.probe.probe, Probe::Acme { .. })
    }
}

/// Runs live checks, all at the same time. What does not pass is asked again until `settle` is over: a first packet may meet an
/// address that is still being resolved, a zone may still be signed.
pub(super) async fn run(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    at: &At,
    trust: Trust,
    planned: Vec<Planned>,
    asking: Asking<'_>,
) -> Result<Vec<Outcome>, Problem> {
    if planned.is_empty() {
        return Ok(Vec::new());
    }
    Prober::start(orchestrator, world, at).await?.run(orchestrator, world, trust, planned, asking).await
}

/// A client of live checks that runs.
pub(super) struct Prober {
    process: ProcessId,
    host: HostName,
    resolvers: Vec<IpAddr>,
    /// It lives as long as this is open.
    control: Control,
}

impl Prober {
    /// Starts one; it listens when this returns. To be ended by [`Self::run`] or [`Self::end`].
    pub(super) async fn start(orchestrator: &Orchestrator, world: &WorldRef, at: &At) -> Result<Self, Problem> {
        let At { host, resolvers } = at;
        let program = Program::Prober(host.clone());
        let root = orchestrator.root();
        let started = root.start_program(ids::call_key(), world.id, world.owner, &program).await;
        let process = started.map_err(|error| error.problem(""))?;
        let path = control::prober_socket(orchestrator.worlds_dir(), world.id, host);
        match Control::connect_started(&path).await {
            Ok(control) => Ok(Self { process, host: host.clone(), resolvers: resolvers.clone(), control }),
            Err(error) => {
                let stopped = root.stop_process(world.id, world.owner, process).await;
                stopped.map_err(|error| error.problem(""))?;
                Err(broken(host, &error))
            }
        }
    }

    /// Has it make live checks, and ends it.
    pub(super) async fn run(
        mut self,
        orchestrator: &Orchestrator,
        world: &WorldRef,
        trust: Trust,
        planned: Vec<Planned>,
        asking: Asking<'_>,
    ) -> Result<Vec<Outcome>, Problem> {
        let outcomes = self.ask(trust, planned, asking).await;
        if outcomes.is_ok() {
            self.control.stop().await;
        }
        // Whatever came of it, the prober is gone before the check is over.
        let ended = self.end(orchestrator, world).await;
        let outcomes = outcomes?;
        ended?;
        Ok(outcomes)
    }

    /// Ends it, whatever it does.
    pub(super) async fn end(self, orchestrator: &Orchestrator, world: &WorldRef) -> Result<(), Problem> {
        let stopped = orchestrator.root().stop_process(world.id, world.owner, self.process).await;
        stopped.map_err(|error| error.problem(""))
    }

    async fn ask(
        &mut self,
        trust: Trust,
        planned: Vec<Planned>,
        Asking { settle, at_once, told }: Asking<'_>,
    ) -> Result<Vec<Outcome>, Problem> {
        let until = Instant::now() + settle;
        let none = ProbeResult { passed: false, fault: None, detail: String::new(), micros: 0 };
        let new = |planned| Outcome { planned, result: none.clone() };
        let mut outcomes: Vec<_> = planned.into_iter().map(new).collect();
        let mut pause = PAUSE.0;
        loop {
            let mut open: Vec<&mut Outcome> = outcomes.iter_mut().filter(|outcome| !outcome.result.passed).collect();
            for part in open.chunks_mut(at_once) {
                let probes: Vec<_> = part.iter().map(|outcome| outcome.planned.probe.clone()).collect();
                let longest = probes.iter().map(|probe| probe.timeout_ms).max().unwrap_or(0);
                let rounds = u32::try_from(probes.len().div_ceil(PLACES)).unwrap_or(u32::MAX);
                let time = Duration::from_millis(longest.into()).saturating_mul(rounds);
                let request = ProbeRequest { trust: trust.clone(), resolvers: self.resolvers.clone(), probes };
                let results = self.control.probe(request, time).await.map_err(|error| broken(&self.host, &error))?;
                part.iter_mut().zip(results).for_each(|(outcome, result)| outcome.result = result);
                told(part.len());
            }
            let is_settled = |outcome: &Outcome| outcome.result.passed || outcome.was_not_made();
            if outcomes.iter().all(is_settled) || Instant::now() + pause > until {
                return Ok(outcomes);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

fn broken(host: &HostName, error: &ControlError) -> Problem {
    let help = "run `netengine doctor`; see the log of netengine-rootd";
    problem(ProblemKind::Failed, "", format!("the live check in {host} failed: {error}"), help)
}

/// Ends a prober that an interrupted check has left. One that is at work for somebody stays.
pub(super) async fn end_left(orchestrator: &Orchestrator, world: &WorldRef) -> Result<(), Problem> {
    let turn = orchestrator.probing(world.id);
    let Ok(_turn) = turn.try_lock() else { return Ok(()) };
    let root = orchestrator.root();
    let processes = root.list_processes(world.id, world.owner).await.map_err(|error| error.problem(""))?;
    for left in processes.iter().filter(|process| process.kind == ProcessKind::Prober && process.ended.is_none()) {
        root.stop_process(world.id, world.owner, left.id).await.map_err(|error| error.problem(""))?;
    }
    Ok(())
}

/// The word for a check that could not be made: nothing is known of the service.
pub(super) const NOT_MADE: (&str, &str) = ("not_checked", "see what hinders it, and look again");

/// What to do about a fault.
pub(super) fn remedy(fault: Option<Fault>) -> &'static str {
    match fault {
        Some(Fault::ServiceStopped) => "run `netengine up` again to start it; see `netengine logs WORLD`",
        Some(Fault::WrongAnswer) => "see `netengine logs WORLD`; run `netengine up` again",
        Some(Fault::WrongRecord) => "correct the record, or run `netengine up` again to set what the spec says",
        Some(Fault::NotValidated) => "see `netengine logs WORLD dns`; look from a vantage host with delv(1)",
        Some(Fault::CertificateExpired) => "look with `netengine pki list WORLD`; run `netengine up` again to renew it",
        Some(Fault::CertificateUntrusted) => "compare it with `netengine pki root WORLD`; run `netengine up` again",
        Some(Fault::KeyNotServed) => "compare the issuer's keys with the token's; run `netengine up` again",
        Some(Fault::DiskFull) => "make room on the disk of the worlds' directories",
        Some(Fault::LinkRemoved) => "run `netengine up` again to make it anew",
        Some(Fault::Refused) | None => "see `netengine logs WORLD`",
    }
}

/// The fault's word, as in JSON.
pub(super) fn fault_word(fault: Fault) -> &'static str {
    match fault {
        Fault::ServiceStopped => "service_stopped",
        Fault::WrongAnswer => "wrong_answer",
        Fault::WrongRecord => "wrong_record",
        Fault::NotValidated => "not_validated",
        Fault::CertificateExpired => "certificate_expired",
        Fault::CertificateUntrusted => "certificate_untrusted",
        Fault::KeyNotServed => "key_not_served",
        Fault::DiskFull => "disk_full",
        Fault::LinkRemoved => "link_removed",
        Fault::Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_the_word_that_the_wire_has() {
        for fault in [Fault::ServiceStopped, Fault::KeyNotServed, Fault::DiskFull, Fault::Refused, Fault::WrongRecord] {
            assert_eq!(serde_json::to_value(fault).expect("encodes"), fault_word(fault));
        }
    }
}
