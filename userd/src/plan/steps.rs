//! The steps of an `up`: shared by `--dry-run`, `plan` and `up` itself.

use netengine_proto::{
    api::PlannedChange,
    control::Health,
    plan::{NetworkPlan, Node},
    root::{Change, ChangeAction, ObjectKind, ObjectName},
};

use super::{
    Target,
    diff::{describe, diff},
    phases,
};

/// What is known of a world before anything is done.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The plan that was last applied, when rootd holds the world.
    pub applied: Option<NetworkPlan>,
    /// How the kernel differs from that plan.
    pub drift: Vec<Change>,
    /// The world's worldd.
    pub worldd: Seen,
    /// The router's own services.
    pub gateway: Seen,
    /// The forwarder behind its uplink.
    pub uplink: Seen,
}

/// What is known of a process.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// It is alive and answers; what it serves.
    pub health: Option<Health>,
    /// A process that is there and does not answer, and must end before another can start.
    pub is_stale: bool,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepKind {
    /// Make the kernel equal to the plan. Undo: apply the plan before, or remove the world.
    Network,
    /// Start worldd. Undo: stop it, when this step started it.
    Worldd,
    /// Start the router's own services, or end those that are wanted no more. Undo: the other.
    Gateway,
    /// Tell worldd what to serve. Undo: tell it what it served before.
    Services,
    /// Tell the router's services what to serve, and whom to trust. Undo: tell them what they served before.
    Resolver,
    /// Start the forwarder behind the uplink, or end it. Undo: the other.
    Uplink,
    /// Start the client of the live checks. Nothing is recorded of it: the check ends it.
    Prober,
    /// Observe everything and ask the services as their clients would. Changes nothing, so it has no undo.
    Check,
}

impl StepKind {
    /// The word in the database and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Network => "network",
            StepKind::Worldd => "worldd",
            StepKind::Gateway => "gateway",
            StepKind::Services => "services",
            StepKind::Resolver => "resolver",
            StepKind::Uplink => "uplink",
            StepKind::Prober => "prober",
            StepKind::Check => "check",
        }
    }

    /// Whether it changes the world: such a step is written down, with a key of its own.
    pub fn is_change(self) -> bool {
        !matches!(self, StepKind::Prober | StepKind::Check)
    }

    /// The phase it is counted to. worldd and what it serves belong to all phases; its first is 0.
    pub fn phase(self) -> u8 {
        match self {
            StepKind::Gateway | StepKind::Resolver => phases::NAMES_RESOLVE,
            StepKind::Uplink => phases::ANDS,
            StepKind::Network | StepKind::Worldd | StepKind::Services | StepKind::Prober | StepKind::Check => 0,
        }
    }

    /// What must be done before, when it is to be done at all.
    fn waits_for(self) -> &'static [StepKind] {
        use StepKind::{Gateway, Network, Prober, Resolver, Services, Uplink, Worldd};
        match self {
            Network => &[],
            Worldd | Gateway | Uplink => &[Network],
            Services => &[Network, Worldd],
            // The resolver trusts the keys that worldd makes; one that runs has them already.
            Resolver => &[Network, Gateway, Services],
            // Beside the services, which are told what to serve meanwhile.
            Prober => &[Network, Worldd, Gateway],
            StepKind::Check => &[Network, Worldd, Gateway, Services, Resolver, Uplink, Prober],
        }
    }
}

/// worldd's own node, as changes name it (`Node::Services`).
const SERVICES: &str = "svc";

/// One step of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// Steps that must be done before. Steps that do not wait for each other run at the same time.
    pub after: Vec<StepKind>,
    /// The changes it will make.
    pub changes: Vec<PlannedChange>,
}

/// The steps that lead from what was observed to the target. The check is always there: what is reported was seen.
///
/// `is_unsure`: the kernel may hold anything, so the network is applied even without a visible difference.
pub fn plan(target: &Target, observed: &Observed, is_unsure: bool) -> Vec<Step> {
    let mut wanted: Vec<(StepKind, Vec<PlannedChange>)> = Vec::new();
    let mut network = diff(observed.applied.as_ref(), &target.network);
    for change in &observed.drift {
        if network.iter().all(|known| known.object != change.object) {
            network.push(change.clone());
        }
    }
    if !network.is_empty() || is_unsure {
        wanted.push((StepKind::Network, network.iter().map(|change| describe(0, change)).collect()));
    }
    let worldd = &observed.worldd;
    let process = |kind: StepKind, node: &str, name: &str, action| {
        let object = ObjectName { node: node.to_owned(), kind: ObjectKind::Process, name: name.to_owned() };
        (kind, vec![describe(kind.phase(), &Change { action, object })])
    };
    match &worldd.health {
        None => {
            let action = if worldd.is_stale { ChangeAction::Change } else { ChangeAction::Create };
            wanted.push(process(StepKind::Worldd, "svc", "worldd", action));
            wanted.push((StepKind::Services, Vec::new()));
        }
        Some(health) if !serves(&target.desired.revision, health) => {
            wanted.push(process(StepKind::Services, "svc", "worldd services", ChangeAction::Change));
        }
        Some(_) => {}
    }
    let tells_worldd = wanted.iter().any(|(kind, _)| *kind == StepKind::Services);
    let gateway = &observed.gateway;
    let is_there = gateway.health.is_some() || gateway.is_stale;
    match (&gateway.health, target.has_gateway()) {
        (None, true) => {
            let action = if gateway.is_stale { ChangeAction::Change } else { ChangeAction::Create };
            wanted.push(process(StepKind::Gateway, "gw", "gateway", action));
            wanted.push((StepKind::Resolver, Vec::new()));
        }
        (Some(health), true) => {
            let trust = worldd.health.as_ref().map(|health| health.trust.clone()).unwrap_or_default();
            if !serves(&target.gateway_revision(&trust), health) {
                wanted.push(process(StepKind::Resolver, "gw", "gateway services", ChangeAction::Change));
            } else if tells_worldd {
                // Its keys may be others afterwards; the same state again is nothing to the resolver.
                wanted.push((StepKind::Resolver, Vec::new()));
            }
        }
        (_, false) if is_there => wanted.push(process(StepKind::Gateway, "gw", "gateway", ChangeAction::Delete)),
        (_, false) => {}
    }
    let runs = observed.uplink.health.is_some();
    let uplink = |action| process(StepKind::Uplink, "uplink", "uplink", action);
    match (runs, target.has_uplink()) {
        (false, true) => wanted.push(uplink(ChangeAction::Create)),
        // Its ports are told when it starts.
        (true, true) if is_told_otherwise(observed.applied.as_ref(), &target.network) => {
            wanted.push(uplink(ChangeAction::Change));
        }
        (true, false) => wanted.push(uplink(ChangeAction::Delete)),
        (_, _) => {}
    }
    wanted.push((StepKind::Prober, Vec::new()));
    wanted.push((StepKind::Check, Vec::new()));
    let kinds: Vec<StepKind> = wanted.iter().map(|(kind, _)| *kind).collect();
    // A worldd that runs needs of the network only what is its own, and what it knows it tells before it is told.
    let runs = worldd.health.is_some();
    let keeps_its_links = runs && !is_unsure && network.iter().all(|change| change.object.node != SERVICES);
    let is_free = |kind: StepKind, before: StepKind| match (kind, before) {
        (StepKind::Services, StepKind::Network) => keeps_its_links,
        (StepKind::Resolver, StepKind::Services) => runs,
        _ => false,
    };
    let step = |(kind, changes): (StepKind, Vec<PlannedChange>)| {
        let before = kind.waits_for().iter().copied();
        let after = before.filter(|before| kinds.contains(before) && !is_free(kind, *before)).collect();
        Step { kind, after, changes }
    };
    wanted.into_iter().map(step).collect()
}

/// Whether a forwarder that runs was told something else than the plan says.
fn is_told_otherwise(before: Option<&NetworkPlan>, after: &NetworkPlan) -> bool {
    let told = |plan: &NetworkPlan| {
        let mut policies = plan.nodes.iter().filter_map(|node| node.policy.as_ref()?.uplink.as_ref());
        let ports =
            policies.next().map(|uplink| uplink.ports.iter().map(|one| (one.host, one.port)).collect::<Vec<_>>());
        let mut ends = plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b]);
        (ports, ends.find(|end| end.node == Node::Uplink).cloned())
    };
    before.is_none_or(|before| told(before) != told(after))
}

/// Whether a worldd, or a router's services, serve exactly what is desired: the state of this name, all of it.
pub fn serves(revision: &str, health: &Health) -> bool {
    health.revision == revision && health.services.iter().all(|service| service.serving)
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
