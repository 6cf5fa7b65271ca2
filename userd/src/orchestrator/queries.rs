//! What is asked about worlds without changing them: plan, removal, status, list, the right to run a command.

use std::collections::BTreeSet;

use netengine_proto::{
    api::{
        ExecGrant, HostStatus, NetworkStatus, PlanReport, PlannedChange, Problem, ProblemKind, Removal, RemovedObject,
        WorldStatus, WorldSummary,
    },
    control::{AndHost, AndNetwork},
    ids::Uid,
    names::HostName,
    plan::{NetworkPlan, Node},
    root::{ObjectKind, ObjectName, ProcessKind},
};
use netengine_spec::{
    Spec,
    model::{Lifecycle, Orchestrator as Family},
};

use super::{Orchestrator, attempt, too_large};
use crate::{
    decide::{AllOf, Verdict, WorldRef, WorldSlot, act},
    ids,
    plan::{
        self, Target,
        ands::{ands, router_addresses},
        diff,
        leases::{self, Choice, Leases},
        network_plan, phases, steps,
    },
    problem::{about, problem},
    store::StoreError,
    time,
};

impl Orchestrator {
    /// What `up` with this spec would do now.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn plan(
        &self,
        verdict: Verdict<act::Plan, WorldSlot>,
        spec: Spec,
        up_to: u8,
    ) -> Result<PlanReport, Problem> {
        let slot = verdict.object();
        let what = format!("cannot plan world \"{}\"", slot.name);
        let found = self.store().find(slot).await.map_err(|error| error.problem(&what))?;
        let stored = match &found {
            Some(reference) => self.store().load(reference).await.map_err(|error| error.problem(&what))?,
            None => None,
        };
        let id = found.as_ref().map_or_else(ids::world, |world| world.id);
        let before = stored.and_then(|world| Some((world.spec?, world.up_to, world.peers)));
        if let Some((old, ..)) = &before {
            super::refuse_immutable(&what, old, &spec)?;
        }
        let secrets = match &found {
            Some(world) => self.held_secrets(world).await.map_err(|inner| about(inner, &what))?,
            None => Vec::new(),
        };
        let held = self.store().held_leases(slot.owner, &slot.name).await.map_err(|error| error.problem(&what))?;
        let leases = match up_to >= phases::ANDS {
            true => leases::choose(&spec, before.as_ref().map(|(spec, ..)| spec), &held),
            false => Ok(Choice::default()),
        };
        let leases = leases.map_err(|error| StoreError::from(error).problem(&what))?.leases;
        self.refuse_way_out(&what, slot.owner, &spec, up_to).await?;
        let target = Target::draft(spec, up_to, id, slot.owner, &leases);
        let target = target.map_err(|error| too_large(&what, &error))?;
        let place = WorldRef { id, owner: slot.owner, name: slot.name.clone() };
        self.refuse_overlap(&what, &place, &target).await?;
        let peers = self.stand(&place, &target).await.map_err(|error| error.problem(&what))?;
        let target = target.beside(peers).map_err(|error| too_large(&what, &error))?.with(secrets);
        let observed = match &found {
            None => steps::Observed::default(),
            Some(world) => {
                let leases: Leases = held.into_iter().map(|held| (held.and, held.lease)).collect();
                let target = |(spec, up_to, peers)| {
                    let target = Target::draft(spec, up_to, id, slot.owner, &leases);
                    target.and_then(|target| target.beside(peers)).ok()
                };
                let observed = attempt::observe(self, world, before.and_then(target).as_ref()).await;
                observed.map_err(|inner| about(inner, &what))?
            }
        };
        let mut changes: Vec<PlannedChange> = Vec::new();
        for step in steps::plan(&target, &observed, false) {
            changes.extend(step.changes);
        }
        Ok(PlanReport { world: slot.name.to_string(), exists: found.is_some(), changes })
    }

    /// What `down` would remove: what rootd sees of the world now.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn removal(&self, verdict: Verdict<act::ViewWorld, WorldRef>) -> Result<Removal, Problem> {
        let world = verdict.object();
        let what = format!("cannot list what removing world \"{}\" removes", world.name);
        let stored = self.store().world(&verdict).await.map_err(|error| error.problem(&what))?;
        let seen = tokio::join!(
            self.root().observe_network(world.id, world.owner, true),
            self.root().list_processes(world.id, world.owner)
        );
        let observed = seen.0.map_err(|error| error.problem(&what))?;
        let processes = seen.1.map_err(|error| error.problem(&what))?;
        let mut objects = observed.map(|observed| observed.objects).unwrap_or_default();
        if objects.iter().all(|object| object.kind != ObjectKind::Process) {
            objects.extend(processes.iter().filter(|process| process.ended.is_none()).map(|process| ObjectName {
                node: process.node.to_string(),
                kind: ObjectKind::Process,
                name: process_word(process.kind).to_owned(),
            }));
        }
        // The world's run directory is made with its first process, and goes with the world.
        if objects.iter().all(|object| object.kind != ObjectKind::Directory)
            && tokio::fs::try_exists(self.worlds_dir().join(world.id.to_string())).await.unwrap_or(false)
        {
            let (node, name) = (Node::Services.to_string(), world.id.to_string());
            objects.push(ObjectName { node, kind: ObjectKind::Directory, name });
        }
        objects.sort_by_key(|object| (removal_rank(object.kind), object.clone()));
        let describe = |object: &ObjectName| RemovedObject {
            kind: diff::kind_word(object.kind).to_owned(),
            object: diff::describe_object(object),
        };
        Ok(Removal {
            world: world.name.to_string(),
            needs_confirmation: stored.spec.as_ref().is_some_and(|spec| spec.lifecycle() == Lifecycle::Persistent),
            objects: objects.iter().map(describe).collect(),
        })
    }

    /// All about a world.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn status(&self, verdict: Verdict<act::ViewWorld, WorldRef>) -> Result<WorldStatus, Problem> {
        let reference = verdict.object();
        let what = format!("cannot show world \"{}\"", reference.name);
        let world = self.store().world(&verdict).await.map_err(|error| error.problem(&what))?;
        let services = self.store().services(&verdict).await.map_err(|error| error.problem(&what))?;
        let leases = self.store().leases(reference).await.map_err(|error| error.problem(&what))?;
        let peers = self.peers_told(&world).await.map_err(|error| error.problem(&what))?;
        let mut notes = world.spec.as_ref().map(notes).unwrap_or_default();
        if !world.detail.is_empty() {
            notes.insert(0, world.detail);
        }
        Ok(WorldStatus {
            world: reference.name.to_string(),
            owner: user_name(reference.owner).await,
            state: world.state,
            phases: world.phases,
            services,
            networks: world.spec.map(|spec| networks(&spec, world.up_to, reference, &leases)).unwrap_or_default(),
            started_at: world.started_at.map(time::rfc3339),
            notes,
            peers,
        })
    }

    /// The worlds of an owner, or of all.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn list(&self, verdict: Verdict<act::ListWorlds, AllOf>) -> Result<Vec<WorldSummary>, Problem> {
        let listed = self.store().worlds(&verdict).await.map_err(|error| error.problem("cannot list worlds"))?;
        let mut summaries = Vec::new();
        for world in listed {
            let networks = world.spec.as_ref().map_or(0, |spec| spec.substrate.networks.len());
            summaries.push(WorldSummary {
                world: world.reference.name.to_string(),
                owner: user_name(world.reference.owner).await,
                state: world.state,
                networks: u32::try_from(networks).unwrap_or(u32::MAX),
                started_at: world.started_at.map(time::rfc3339),
            });
        }
        Ok(summaries)
    }

    /// Grants the caller the right to run one command in a vantage host.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn grant_exec(
        &self,
        verdict: Verdict<act::Exec, WorldRef>,
        host: Option<&str>,
    ) -> Result<ExecGrant, Problem> {
        let world = verdict.object();
        let host = host.unwrap_or(crate::plan::network::CORE);
        let what = format!("cannot run a command in {}/{host}", world.name);
        let stored = self.store().world(&verdict).await.map_err(|error| error.problem(&what))?;
        let leases = self.store().leases(world).await.map_err(|error| error.problem(&what))?;
        let plan = |spec| network_plan(spec, stored.up_to, world.id, world.owner, &leases).ok();
        let network = stored.spec.as_ref().and_then(plan);
        let hosts: BTreeSet<HostName> = network.iter().flat_map(plan::hosts).cloned().collect();
        let known = HostName::parse(host).ok().filter(|name| hosts.contains(name));
        let Some(known) = known else {
            let names = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let help = if names.is_empty() { "bring it up first".to_owned() } else { format!("it has {names}") };
            return Err(problem(ProblemKind::NotFound, what, "the world has no such vantage host", help));
        };
        let user = verdict.principal().uid();
        let trust = self.trust_beside(&stored).await.map_err(|error| error.problem(&what))?;
        let granted = self.root().grant_exec(world.id, world.owner, &known, user, &trust).await;
        let ticket = granted.map_err(|error| error.problem(what))?;
        Ok(ExecGrant { ticket: ticket.to_string(), host: known.to_string() })
    }
}

/// Order in which `down` removes: users of an object before the object.
fn removal_rank(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::Process => 0,
        ObjectKind::Table => 1,
        ObjectKind::Route => 2,
        ObjectKind::Address => 3,
        ObjectKind::Link => 4,
        ObjectKind::Bridge => 5,
        ObjectKind::Sysctl => 6,
        ObjectKind::Namespace => 7,
        ObjectKind::Directory => 8,
    }
}

fn process_word(kind: ProcessKind) -> &'static str {
    match kind {
        ProcessKind::Worldd => "worldd",
        ProcessKind::Prober => "prober",
        ProcessKind::Gateway => "gateway",
        ProcessKind::Uplink => "uplink",
        ProcessKind::Command => "command",
    }
}

fn notes(spec: &Spec) -> Vec<String> {
    let metadata = &spec.metadata;
    let label =
        |name: &str, value: &Option<netengine_spec::text::Text>| value.as_ref().map(|value| format!("{name}: {value}"));
    let mut notes: Vec<String> = Vec::new();
    notes.extend(label("organization", &metadata.organization));
    notes.extend(label("environment", &metadata.environment));
    if spec.lifecycle() == Lifecycle::Persistent {
        notes.push("persistent: removal needs confirmation".to_owned());
    }
    if spec.substrate.orchestrator == Family::K3s {
        notes.push("orchestrator k3s has no effect on one host".to_owned());
    }
    notes
}

fn networks(spec: &Spec, up_to: u8, world: &WorldRef, leases: &Leases) -> Vec<NetworkStatus> {
    let views = spec.networks();
    let Ok(network) = network_plan(spec, up_to, world.id, world.owner, leases) else { return Vec::new() };
    let status = |view: &netengine_spec::model::NetworkView| {
        let gateway: Vec<String> =
            [Some(view.gateway.to_string()), view.gateway6.map(|v6| v6.to_string())].into_iter().flatten().collect();
        let prefix = format!("{}-", view.name);
        let is_here = |name: &HostName| {
            name.as_str() == view.name.as_str()
                || name.as_str().strip_prefix(&prefix).is_some_and(|rest| rest.parse::<u16>().is_ok())
        };
        let hosts = plan::hosts(&network).filter(|name| is_here(name));
        let hosts = hosts.map(|name| HostStatus { name: name.to_string(), addresses: addresses_of(&network, name) });
        NetworkStatus {
            name: view.name.to_string(),
            subnet: view.subnet.to_string(),
            subnet6: view.subnet6.map(|subnet| subnet.to_string()),
            gateway,
            hosts: hosts.collect(),
        }
    };
    let ands = ands(spec, up_to, world.id, leases).unwrap_or_default();
    views.iter().map(status).chain(ands.iter().map(domain)).collect()
}

/// An AND as a network of its world.
fn domain(and: &AndNetwork) -> NetworkStatus {
    let host = |host: &AndHost| {
        let addresses = host.addresses.iter().map(ToString::to_string).collect();
        HostStatus { name: host.name.clone(), addresses }
    };
    NetworkStatus {
        name: and.name.to_string(),
        subnet: and.subnet.to_string(),
        subnet6: and.v6.map(|(subnet, _)| subnet.to_string()),
        gateway: router_addresses(and).iter().map(ToString::to_string).collect(),
        hosts: and.hosts.iter().map(host).collect(),
    }
}

fn addresses_of(plan: &NetworkPlan, host: &HostName) -> Vec<String> {
    let ends = plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b]);
    let ends = ends.filter(|end| end.node == Node::Host(host.clone()));
    ends.flat_map(|end| end.addresses.iter().map(|address| address.addr().to_string())).collect()
}

/// A user's name, or the uid as text. Name services may be slow, so they are asked off the runtime and not for long.
async fn user_name(uid: Uid) -> String {
    let asked = tokio::task::spawn_blocking(move || uzers::get_user_by_uid(uid.0));
    match tokio::time::timeout(std::time::Duration::from_millis(500), asked).await {
        Ok(Ok(Some(user))) => user.name().to_string_lossy().into_owned(),
        _ => uid.to_string(),
    }
}
