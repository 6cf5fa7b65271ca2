//! `diagnose`: everything that can be looked at, each with its fault and what to do about it. It changes nothing.

use std::{path::Path, time::Instant};

use netengine_proto::{
    api::{Diagnosis, DiagnosisCheck, Problem, ProblemKind},
    control::{AndNetwork, Fault, Health},
    names::HostName,
    root::{Change, ChangeAction, ObjectKind},
    trust::Trust,
};

use tokio::sync::watch;

use super::{
    Orchestrator, attempt,
    prober::{self, Asking, At, NOT_MADE, Outcome, fault_word, remedy},
    processes::Part,
};
use crate::{
    decide::{Verdict, WorldRef, act},
    plan::{
        Target, ands,
        diff::describe,
        phases,
        probes::{self, Extent},
        steps::{Observed, Seen},
    },
    problem::{about, problem},
};

/// What does not pass at once is asked once more: a first packet may meet an address that is still being resolved.
const SETTLE_TIME: std::time::Duration = std::time::Duration::from_millis(500);
/// A disk with less room than this is full: a database's log and a certificate do not fit any more.
const ROOM: u64 = 1 << 20;

/// ANDs in which a client asks as well; each is a process that starts and ends.
const ASKED_ANDS: usize = 64;

/// Requests that the checks by clients are divided into, about.
const STEPS: usize = 16;

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Checks by clients that were answered.
    pub done: usize,
    /// All of them; 0 before they are known.
    pub all: usize,
}

impl Orchestrator {
    /// Looks at all of a world. `progress` is told how far it is.
    ///
    /// # Errors
    /// A [`Problem`] when it was never up, or when the engine itself cannot look.
    pub async fn diagnose(
        &self,
        verdict: Verdict<act::Diagnose, WorldRef>,
        progress: &watch::Sender<Progress>,
    ) -> Result<Diagnosis, Problem> {
        let began = Instant::now();
        let world = verdict.object();
        let what = format!("cannot diagnose world \"{}\"", world.name);
        let stored = self.store().world(&verdict).await.map_err(|error| error.problem(&what))?;
        let Some(spec) = stored.spec else {
            return Err(problem(ProblemKind::Failed, what, "it was never up", "bring it up with `netengine up`"));
        };
        let turn = self.probing(world.id);
        let Ok(_turn) = turn.try_lock() else {
            let cause = "live checks are at work on this world";
            return Err(problem(ProblemKind::Conflict, what, cause, "wait for them, then try again"));
        };
        let looking = async {
            let target = self.held_target(world, spec, stored.up_to, stored.peers).await?;
            let trust = self.store().trust(world.id).await.map_err(|error| error.problem(""))?;
            let asked = Instant::now();
            let observed = attempt::observe(self, world, Some(&target)).await?;
            let micros = micros_since(asked);
            let mut checks = looked_at(&target, &observed, &trust, micros);
            let run = self.worlds_dir().join(world.id.to_string());
            checks.extend(disks(&[("run", &run), ("state", self.worlds_state_dir())]));
            let planned = probes::probes(&target, None, Extent::All);
            // So many requests that progress is seen, and no check waits long for others.
            let at_once = planned.len().div_ceil(STEPS).clamp(8, 32);
            let of_and = |and: &AndNetwork| {
                let host = HostName::parse(and.hosts.first()?.name.as_str()).ok()?;
                let at = At { host, resolvers: ands::router_addresses(and) };
                Some((phases::ANDS, at, probes::of_and(&target, and)))
            };
            let mut rounds = vec![(0, At::core(&target), planned)];
            rounds.extend(target.desired.ands.iter().take(ASKED_ANDS).filter_map(of_and));
            let all = rounds.iter().map(|(_, _, planned)| planned.len()).sum();
            progress.send_replace(Progress { done: 0, all });
            let told = |more: usize| progress.send_modify(|told| told.done = (told.done + more).min(told.all));
            let asking = || Asking { settle: SETTLE_TIME, at_once, told: &told };
            for (phase, at, planned) in rounds {
                match prober::run(self, world, &at, trust.clone(), planned, asking()).await {
                    Ok(outcomes) => checks.extend(outcomes.iter().map(asked_by_client)),
                    // Without its vantage host nobody can ask: that is a finding of its own, beside what was seen above.
                    Err(cannot) => checks.push(DiagnosisCheck {
                        remedy: cannot.help,
                        ..check(
                            phase,
                            format!("vantage host: {}", at.host),
                            Some(Fault::ServiceStopped),
                            cannot.cause,
                            0,
                        )
                    }),
                }
            }
            Ok(checks)
        };
        let mut checks: Vec<DiagnosisCheck> = looking.await.map_err(|inner| about(inner, what))?;
        for check in &mut checks {
            check.remedy = check.remedy.replace("WORLD", world.name.as_str());
        }
        checks.sort_by_key(|check| check.phase);
        let passed = checks.iter().all(|check| check.passed);
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Diagnosis { world: world.name.to_string(), passed, checks, millis })
    }
}

fn micros_since(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn check(phase: u8, name: String, fault: Option<Fault>, detail: String, micros: u64) -> DiagnosisCheck {
    let (word, help) = fault.map_or(("", ""), |fault| (fault_word(fault), remedy(Some(fault))));
    let (fault, remedy) = (word.to_owned(), help.to_owned());
    DiagnosisCheck { name, phase, passed: fault.is_empty(), fault, detail, remedy, micros }
}

/// The kernel, the processes and what they say of themselves.
fn looked_at(target: &Target, observed: &Observed, trust: &Trust, micros: u64) -> Vec<DiagnosisCheck> {
    let mut checks: Vec<_> = observed.drift.iter().map(|change| drifted(change, micros)).collect();
    if checks.is_empty() {
        checks.push(check(0, "network".to_owned(), None, "as planned".to_owned(), micros));
    }
    let parts = [
        (Part::Worldd, true, &observed.worldd),
        (Part::Gateway, target.has_gateway(), &observed.gateway),
        (Part::Uplink, target.has_uplink(), &observed.uplink),
    ];
    for (part, is_had, seen) in parts {
        let phase = part.phase();
        if !is_had {
            continue;
        }
        checks.push(process(part, phase, seen, micros));
        checks.extend(seen.health.iter().flat_map(|health| services(health, micros)));
    }
    if let Some(health) = &observed.worldd.health
        && health.trust != *trust
    {
        let detail = "the services have other keys than vantage hosts trust".to_owned();
        checks.push(check(phases::PKI, "trust".to_owned(), Some(Fault::CertificateUntrusted), detail, micros));
    }
    checks
}

fn drifted(change: &Change, micros: u64) -> DiagnosisCheck {
    let told = describe(0, change);
    // Said from the kernel's side: what `up` would create is missing now.
    let (word, detail) = match change.action {
        ChangeAction::Create => ("removed", "it is missing"),
        ChangeAction::Change => ("changed", "it differs from the plan"),
        ChangeAction::Delete => ("foreign", "it is not in the plan"),
    };
    // A bridge is a link to the kernel.
    let kind = if change.object.kind == ObjectKind::Bridge { "link" } else { told.kind.as_str() };
    DiagnosisCheck {
        fault: format!("{kind}_{word}"),
        ..check(
            0,
            format!("network: {} {}", told.kind, told.object),
            Some(Fault::LinkRemoved),
            detail.to_owned(),
            micros,
        )
    }
}

fn process(part: Part, phase: u8, seen: &Seen, micros: u64) -> DiagnosisCheck {
    let (fault, detail) = match (&seen.health, seen.is_stale) {
        (Some(_), _) if part == Part::Uplink => (None, "runs"),
        (Some(_), _) => (None, "answers"),
        (None, true) => (Some(Fault::ServiceStopped), "it runs and does not answer"),
        (None, false) => (Some(Fault::ServiceStopped), "it does not run"),
    };
    check(phase, format!("process: {}", part.word()), fault, detail.to_owned(), micros)
}

fn services(health: &Health, micros: u64) -> Vec<DiagnosisCheck> {
    let one = |service: &netengine_proto::control::ServiceHealth| {
        let name = format!("service: {} at {}", service.name, std::net::SocketAddr::new(service.address, service.port));
        let fault = (!service.serving).then(|| fault_of(&service.detail));
        let detail = if service.detail.is_empty() { "serves".to_owned() } else { service.detail.clone() };
        check(service.phase, name, fault, detail, micros)
    };
    health.services.iter().map(one).collect()
}

/// A service that cannot write says so in the kernel's words (errno(3), ENOSPC) or SQLite's (SQLITE_FULL).
fn fault_of(detail: &str) -> Fault {
    let is_full = ["No space left on device", "disk is full", "Disk quota exceeded"].iter().any(|s| detail.contains(s));
    if is_full { Fault::DiskFull } else { Fault::ServiceStopped }
}

/// The room on the disks of a world's directories.
fn disks(directories: &[(&str, &Path)]) -> Vec<DiagnosisCheck> {
    let one = |(word, path): &(&str, &Path)| {
        let began = Instant::now();
        let seen = nix::sys::statvfs::statvfs(*path);
        let micros = micros_since(began);
        let name = format!("disk: {word} directory");
        match seen {
            Ok(seen) => {
                let free = seen.blocks_available().saturating_mul(seen.fragment_size());
                let no_files = seen.files() > 0 && seen.files_available() == 0;
                let fault = (free < ROOM || no_files).then_some(Fault::DiskFull);
                let files = if no_files { ", and no file more" } else { "" };
                check(0, name, fault, format!("{} MiB free{files}", free >> 20), micros)
            }
            Err(errno) => check(0, name, Some(Fault::WrongAnswer), format!("cannot look at it: {errno}"), micros),
        }
    };
    directories.iter().map(one).collect()
}

fn asked_by_client(outcome: &Outcome) -> DiagnosisCheck {
    let (planned, result) = (&outcome.planned, &outcome.result);
    let seen = |fault| check(planned.phase, planned.name.clone(), fault, result.detail.clone(), result.micros);
    match result.fault {
        _ if result.passed => seen(None),
        Some(fault) => seen(Some(fault)),
        None => {
            let (fault, remedy) = (NOT_MADE.0.to_owned(), NOT_MADE.1.to_owned());
            DiagnosisCheck { passed: false, fault, remedy, ..seen(None) }
        }
    }
}

#[cfg(test)]
mod tests {
    use netengine_proto::root::ObjectName;

    use super::*;

    #[test]
    fn what_differs_in_the_kernel_is_named_by_what_it_is() {
        let fault = |kind, action| {
            let object = ObjectName { node: "gw".to_owned(), kind, name: "x".to_owned() };
            let check = drifted(&Change { action, object }, 1);
            assert!(!check.passed && !check.remedy.is_empty(), "{check:?}");
            check.fault
        };
        use ChangeAction::{Change as Changed, Create, Delete};
        assert_eq!(fault(ObjectKind::Link, Create), "link_removed");
        assert_eq!(fault(ObjectKind::Bridge, Changed), "link_changed");
        assert_eq!(fault(ObjectKind::Address, Delete), "address_foreign");
        assert_eq!(fault(ObjectKind::Route, Create), "route_removed");
        assert_eq!(fault(ObjectKind::Table, Changed), "table_changed");
        assert_eq!(fault(ObjectKind::Sysctl, Changed), "sysctl_changed");
    }

    #[test]
    fn a_full_disk_is_told_by_whoever_meets_it_first() {
        assert_eq!(fault_of("cannot keep an order: No space left on device (os error 28)"), Fault::DiskFull);
        assert_eq!(fault_of("address in use"), Fault::ServiceStopped);
        let checks = disks(&[("a", Path::new("/dev/shm")), ("b", Path::new("/nonexistent"))]);
        assert!(!checks[1].passed && checks[1].fault == "wrong_answer");
    }
}
