//! The steps of an `up`: shared by `--dry-run`, `plan` and `up` itself.

use netengine_proto::{
    api::PlannedChange,
    control::Health,
    plan::NetworkPlan,
    root::{Change, ChangeAction, ObjectKind, ObjectName},
};

use super::{
    Target,
    diff::{describe, diff},
};

/// What is known of a world before anything is done.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The plan that was last applied, when rootd holds the world.
    pub applied: Option<NetworkPlan>,
    /// How the kernel differs from that plan.
    pub drift: Vec<Change>,
    /// The world's worldd is alive and answers; what it serves.
    pub health: Option<Health>,
    /// A process that is or was the world's worldd, and must end before another can start.
    pub stale_worldd: bool,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepKind {
    /// Make the kernel equal to the plan. Undo: apply the plan before, or remove the world.
    Network,
    /// Start worldd. Undo: stop it, when this step started it.
    Worldd,
    /// Tell worldd what to serve. Undo: tell it what it served before.
    Services,
    /// Observe everything and ask the services as their clients would. Changes nothing, so it has no undo.
    Check,
}

impl StepKind {
    /// The word in the database and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Network => "network",
            StepKind::Worldd => "worldd",
            StepKind::Services => "services",
            StepKind::Check => "check",
        }
    }
}

/// One step of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// The phase it belongs to.
    pub phase: u8,
    /// Steps that must be done before. Steps that do not wait for each other run at the same time.
    pub after: Vec<StepKind>,
    /// The changes it will make.
    pub changes: Vec<PlannedChange>,
}

/// The steps that lead from what was observed to the target. The check is always there: what is reported was seen.
pub fn plan(target: &Target, observed: &Observed) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut add = |kind: StepKind, changes: Vec<PlannedChange>| {
        let after = steps.last().map(|step| step.kind).into_iter().collect();
        steps.push(Step { kind, phase: 0, after, changes });
    };
    let mut network = diff(observed.applied.as_ref(), &target.network);
    for change in &observed.drift {
        if network.iter().all(|known| known.object != change.object) {
            network.push(change.clone());
        }
    }
    let of = |object: ObjectKind, node: &str, name: &str, action| {
        let object = ObjectName { node: node.to_owned(), kind: object, name: name.to_owned() };
        vec![describe(0, &Change { action, object })]
    };
    if !network.is_empty() {
        add(StepKind::Network, network.iter().map(|change| describe(0, change)).collect());
    }
    match &observed.health {
        None => {
            let action = if observed.stale_worldd { ChangeAction::Change } else { ChangeAction::Create };
            add(StepKind::Worldd, of(ObjectKind::Process, "svc", "worldd", action));
            add(StepKind::Services, Vec::new());
        }
        Some(health) if !serves(target, health) => {
            add(StepKind::Services, of(ObjectKind::Process, "svc", "worldd services", ChangeAction::Change));
        }
        Some(_) => {}
    }
    add(StepKind::Check, Vec::new());
    steps
}

/// Whether a worldd serves exactly what is desired.
pub fn serves(target: &Target, health: &Health) -> bool {
    let wanted = target.desired.ntp.as_ref();
    let wanted = wanted.map(|ntp| (ntp.addresses.as_slice(), ntp.port));
    let (addresses, port) = wanted.unwrap_or((&[], super::NTP_PORT));
    let serving = |address| {
        health.services.iter().any(|h| h.name == "ntp" && h.address == address && h.port == port && h.serving)
    };
    health.revision == target.desired.revision
        && health.services.len() == addresses.len()
        && addresses.iter().all(|address| serving(*address))
}
