//! The live check: nothing here changes anything. What is reported was just seen, by the same questions a user of the
//! world would ask.

use std::time::Duration;

use netengine_proto::{
    api::{PhaseState, PhaseStatus, Problem, ProblemKind, ServiceState, ServiceStatus},
    control::{Delegation, Health, IssuerKeys},
    limits,
    root::Change,
    trust::Trust,
};
use tokio::sync::OwnedMutexGuard;

use super::{
    Orchestrator,
    attempt::look,
    failure::{AttemptError, Failed},
    prober::{self, Asking, At, Outcome, Prober},
    processes::{self, Depth, Part},
};
use crate::{
    decide::WorldRef,
    plan::{
        Target,
        diff::describe,
        phases, portal,
        probes::{self, Extent, Planned},
        steps,
    },
    problem::problem,
};

/// What does not pass at once is asked again until this is over.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// What the checks saw.
#[derive(Debug)]
pub(super) struct Checked {
    /// All phases, each done or skipped.
    pub phases: Vec<PhaseStatus>,
    pub services: Vec<ServiceStatus>,
    /// What other worlds may use.
    pub zones: Vec<Delegation>,
    pub issuers: Vec<IssuerKeys>,
}

/// The client of a check that is to come, and the turn to make it.
pub(super) struct Client {
    _turn: OwnedMutexGuard<()>,
    /// None where nothing is to be asked.
    prober: Option<Prober>,
    planned: Vec<Planned>,
}

impl Client {
    /// Starts what the check of this target needs, `before` being what the world was when it was last up.
    pub(super) async fn start(
        orchestrator: &Orchestrator,
        world: &WorldRef,
        (target, before): (&Target, Option<&Target>),
        extent: Extent,
    ) -> Result<Self, Problem> {
        let turn = orchestrator.probing(world.id).lock_owned().await;
        let planned = probes::probes(target, before, extent);
        let prober = match planned.is_empty() {
            true => None,
            false => Some(Prober::start(orchestrator, world, &At::core(target)).await?),
        };
        Ok(Self { _turn: turn, prober, planned })
    }

    /// Ends it unasked.
    pub(super) async fn end(self, orchestrator: &Orchestrator, world: &WorldRef) -> Result<(), Problem> {
        match self.prober {
            Some(prober) => prober.end(orchestrator, world).await,
            None => Ok(()),
        }
    }
}

/// Checks a world. `drift` is what rootd saw of its network since anything was changed there; without it, rootd is asked.
pub(super) async fn check(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    target: &Target,
    trust: Trust,
    client: Client,
    drift: Option<Vec<Change>>,
) -> Result<Checked, AttemptError> {
    let observing = look(orchestrator, world, Depth::Whole, drift);
    let asking = Asking { settle: SETTLE_TIME, at_once: limits::PROBES, told: &|_| {} };
    let Client { _turn, prober, planned } = client;
    let probing = async {
        match prober {
            Some(prober) => prober.run(orchestrator, world, trust.clone(), planned, asking).await,
            None => Ok(Vec::new()),
        }
    };
    let (probed, observed) = tokio::join!(probing, observing);
    let (observed, _) = observed?.beside(None);
    if let Some(first) = observed.drift.first() {
        return Err(drifted(&observed.drift, first).into());
    }
    let worldd = observed.worldd.health;
    let mut worldd = worldd.ok_or_else(|| processes::not_there(Part::Worldd, "it is not healthy"))?;
    if !steps::serves(&target.desired.revision, &worldd) {
        return Err(processes::not_serving(Part::Worldd, &worldd));
    }
    let (zones, issuers) = (std::mem::take(&mut worldd.zones), std::mem::take(&mut worldd.issuers));
    let mut health = vec![worldd];
    if target.has_gateway() {
        let gateway = observed.gateway.health.ok_or_else(|| {
            let missing = processes::not_there(Part::Gateway, "it is not healthy");
            AttemptError::failed(missing, phases::NAMES_RESOLVE)
        })?;
        if !steps::serves(&target.gateway_revision(&trust), &gateway) {
            return Err(processes::not_serving(Part::Gateway, &gateway));
        }
        health.push(gateway);
    }
    if target.has_uplink() && observed.uplink.health.is_none() {
        return Err(AttemptError::failed(processes::not_there(Part::Uplink, "it does not run"), phases::ANDS));
    }
    let outcomes = probed?;
    let phases = judge(target, &outcomes);
    if let Some(failed) = outcomes.iter().find(|outcome| !outcome.result.passed && !outcome.was_not_made()) {
        let (planned, result) = (&failed.planned, &failed.result);
        let cause = format!("{} did not serve {}: {}", planned.name, target.prober, result.detail);
        let problem = problem(ProblemKind::Failed, "", cause, prober::remedy(result.fault));
        return Err(AttemptError::Failed(Box::new(Failed { problem, phase: planned.phase, seen: phases })));
    }
    let mut services = services(&health);
    services.extend(uplink(target));
    Ok(Checked { phases, services, zones, issuers })
}

/// Each phase by what its checks saw.
fn judge(target: &Target, outcomes: &[Outcome]) -> Vec<PhaseStatus> {
    let status = |(id, name): (u8, &&str)| {
        let name = (*name).to_owned();
        let (state, detail) = phases::initial(&target.spec, id, target.up_to);
        if state != PhaseState::Pending {
            return PhaseStatus { id, name, state, millis: None, detail };
        }
        let own: Vec<_> = outcomes.iter().filter(|outcome| outcome.planned.phase == id).collect();
        let millis = own.iter().map(|outcome| outcome.result.micros.div_ceil(1000)).max();
        let (not_made, made): (Vec<&Outcome>, Vec<&Outcome>) = own.iter().partition(|outcome| outcome.was_not_made());
        let failed: Vec<_> = made.iter().filter(|outcome| !outcome.result.passed).collect();
        let (state, detail) = match failed.first() {
            None => {
                let left: String = not_made
                    .iter()
                    .map(|one| format!("; not made: {}: {}", one.planned.name, one.result.detail))
                    .collect();
                (PhaseState::Done, passed(id, made.len()) + &left)
            }
            Some(first) => {
                let more = if failed.len() > 1 { format!(" and {} more", failed.len() - 1) } else { String::new() };
                (PhaseState::Failed, format!("{}: {}{more}", first.planned.name, first.result.detail))
            }
        };
        PhaseStatus { id, name, state, millis, detail }
    };
    (0..).zip(&phases::NAMES).map(status).collect()
}

fn passed(phase: u8, count: usize) -> String {
    let checks = match count {
        0 => "no live check asked for".to_owned(),
        1 => "1 live check passed".to_owned(),
        _ => format!("{count} live checks passed"),
    };
    if phase == 0 { format!("network as planned; {checks}") } else { checks }
}

/// What the processes say of each service; they are asked only when all of it serves.
fn services(health: &[Health]) -> Vec<ServiceStatus> {
    let services = health.iter().flat_map(|health| &health.services);
    let status = |service: &netengine_proto::control::ServiceHealth| ServiceStatus {
        name: service.name.clone(),
        address: service.address.to_string(),
        port: service.port,
        state: if service.serving { ServiceState::Ready } else { ServiceState::Failed },
        detail: service.detail.clone(),
    };
    services.map(status).collect()
}

/// The way out, once its link and its forwarder were seen, and the ports of the host that lead into the world.
fn uplink(target: &Target) -> Vec<ServiceStatus> {
    let policy = target.network.nodes.iter().find_map(|node| node.policy.as_ref()?.uplink.as_ref());
    let Some(policy) = policy else { return Vec::new() };
    let one = |name: &str, address: String, port, detail| ServiceStatus {
        name: name.to_owned(),
        address,
        port,
        state: ServiceState::Ready,
        detail,
    };
    let way = one("uplink", policy.link.to_string(), 0, portal::told(&target.spec).unwrap_or_default());
    let ports = policy.ports.iter().map(|port| {
        one("published", "host".to_owned(), port.host.get(), format!("leads to {} port {}", port.to, port.port.get()))
    });
    [way].into_iter().chain(ports).collect()
}

fn drifted(drift: &[Change], first: &Change) -> Problem {
    let first = describe(0, first);
    let more = if drift.len() > 1 { format!(" and {} more", drift.len() - 1) } else { String::new() };
    let cause = format!("the kernel differs from the plan: {} {} {}{more}", first.action, first.kind, first.object);
    problem(ProblemKind::Failed, "", cause, "run `netengine up` again; the log of netengine-rootd has the details")
}
