//! Runs operations: observes, plans, runs the steps, checks by live clients, and undoes what an operation made that
//! cannot be completed.
//!
//! An operation is a row before it is anything else; each of its steps is idempotent and carries a stored key. So an
//! operation that a crash interrupted is simply run again: it completes, or fails and is undone.

mod attempt;
mod check;
mod diagnose;
mod drift;
mod drive;
mod ends;
mod failure;
mod follow;
mod peers;
mod portal;
mod prober;
mod processes;
mod prove;
mod queries;
mod restarts;
mod secrets;
mod tend;
mod trusted;
mod turn;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use netengine_proto::{
    api::{Accepted, OperationStatus, Problem, ProblemKind},
    ids::{OperationId, WorldId},
};
use netengine_spec::{Spec, immutable_violations, model::Lifecycle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{diagnose::Progress, follow::follow_root};
use self::{drive::Prepared, turn::Refusal};
use crate::{
    decide::{OperationRef, Verdict, WorldRef, WorldSlot, act},
    events::Bus,
    ids,
    plan::{
        PlanError, Target,
        leases::{self, Choice},
        phases,
    },
    problem::problem,
    root_link::RootLink,
    seal::{Seal, SealError},
    start::config::{Config, Quotas},
    store::{
        Store, StoreError,
        operations::{Kind, Operation},
        quota::Size,
    },
    time,
};

/// An `up` without `--timeout` gives up after this.
const UP_TIME: Duration = Duration::from_secs(120);
/// Longest `--timeout`.
const UP_TIME_MAX: Duration = Duration::from_secs(3600);

struct Inner {
    store: Store,
    root: RootLink,
    bus: Arc<Bus>,
    seal: Seal,
    worlds_dir: PathBuf,
    worlds_state_dir: PathBuf,
    quotas: Quotas,
    tasks: TaskTracker,
    at_work: Mutex<HashMap<OperationId, turn::AtWork>>,
    /// A world has one prober at a time.
    probing: Mutex<HashMap<WorldId, Arc<tokio::sync::Mutex<()>>>>,
    /// Ends of processes, for attempts that rely on one.
    ends: ends::Ends,
    /// Worlds that are being made right again.
    tended: tend::Tended,
    closing: CancellationToken,
}

/// All operations on worlds.
#[derive(Clone)]
pub struct Orchestrator(Arc<Inner>);

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub struct UpOrder {
    /// The merged and checked spec.
    pub spec: Spec,
    /// The last phase to bring up.
    pub up_to: u8,
    /// Give up and undo after this.
    pub timeout: Option<Duration>,
    /// Whether what others change in the world is put right.
    pub heal: bool,
}

impl Orchestrator {
    /// Over this store and this rootd.
    pub fn new(store: Store, root: RootLink, bus: Arc<Bus>, config: &Config) -> Self {
        Self(Arc::new(Inner {
            store,
            root,
            bus,
            seal: Seal::in_directory(&config.state_dir),
            worlds_dir: config.worlds_dir.clone(),
            worlds_state_dir: config.worlds_state_dir.clone(),
            quotas: config.quotas,
            tasks: TaskTracker::new(),
            at_work: Mutex::default(),
            probing: Mutex::default(),
            ends: ends::Ends::default(),
            tended: tend::Tended::default(),
            closing: CancellationToken::new(),
        }))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The link to rootd.
    pub fn root(&self) -> &RootLink {
        &self.0.root
    }

    /// The stream of events.
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// Where worlds' sockets and logs are.
    pub fn worlds_dir(&self) -> &std::path::Path {
        &self.0.worlds_dir
    }

    /// Reads or makes the key that secrets are sealed with, so that a fault shows at start and not in the first `up`.
    ///
    /// # Errors
    /// [`SealError`]; tried again when the key is needed.
    pub async fn ready_seal(&self) -> Result<(), SealError> {
        self.0.seal.ready().await
    }

    /// Where worlds keep what must survive them; not readable, but on some disk.
    pub(super) fn worlds_state_dir(&self) -> &std::path::Path {
        &self.0.worlds_state_dir
    }

    /// Begins to make a world equal to a spec. Quotas and immutable paths are checked before anything is touched.
    ///
    /// # Errors
    /// A [`Problem`]; nothing was done then.
    pub async fn up(&self, verdict: Verdict<act::Up, WorldSlot>, order: UpOrder) -> Result<Accepted, Problem> {
        let name = &verdict.object().name;
        let what = format!("cannot start world \"{name}\"");
        if order.spec.name() != name {
            let help = "pass the spec of this world";
            return Err(problem(ProblemKind::Usage, what, "the spec names another world", help));
        }
        let limit = order.timeout.unwrap_or(UP_TIME).min(UP_TIME_MAX);
        let deadline = time::now_ms().saturating_add(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
        self.in_turn(&what, limit, || self.try_up(&verdict, &order, &what, deadline)).await
    }

    /// One try of [`Self::up`].
    async fn try_up(
        &self,
        verdict: &Verdict<act::Up, WorldSlot>,
        order: &UpOrder,
        what: &str,
        deadline: i64,
    ) -> Result<Accepted, Refusal> {
        let slot = verdict.object();
        let store = &self.0.store;
        let found = store.find(slot).await.map_err(|error| error.problem(what))?;
        // Whoever was at work on the world when the look began has ended by the time this one begins, or it does not begin.
        let ends = store.ends();
        let looking = found.as_ref().map(|world| drive::begin_look(self, world));
        let known = match &found {
            Some(reference) => store.load(reference).await.map_err(|error| error.problem(what))?,
            None => None,
        };
        if let Some(old) = known.as_ref().and_then(|world| world.spec.as_ref()) {
            refuse_immutable(what, old, &order.spec)?;
        }
        self.refuse_way_out(what, slot.owner, &order.spec, order.up_to).await?;
        let id = known.as_ref().map_or_else(ids::world, |world| world.reference.id);
        let world = WorldRef { id, owner: slot.owner, name: slot.name.clone() };
        // Chosen for good in the transaction that begins it; of these only the number counts.
        let held = store.held_leases(slot.owner, &slot.name).await.map_err(|error| error.problem(what))?;
        let in_force = known.as_ref().and_then(|world| world.spec.as_ref());
        let leases = match order.up_to >= phases::ANDS {
            true => {
                leases::choose(&order.spec, in_force, &held).map_err(|error| StoreError::from(error).problem(what))?
            }
            false => Choice::default(),
        };
        let target = Target::draft(order.spec.clone(), order.up_to, id, slot.owner, &leases.leases);
        let target = target.map_err(|error| too_large(what, &error))?;
        self.refuse_overlap(what, &world, &target).await?;
        let (nodes, links) = target.size();
        let held = known.as_ref().map_or(Size::default(), |world| world.size);
        let size = Size { worlds: 1, nodes, links };
        let more = Size { worlds: 1 - held.worlds, nodes: nodes - held.nodes, links: links - held.links };

        let operation = self.new_operation(Kind::Up, world, Some(target.spec.clone()), order.up_to, Some(deadline));
        let operation = Operation { heal: Some(order.heal), ..operation };
        // An administrator sets the quotas, so `admin.sock` is not bound by them; what it makes still counts.
        let quotas = (!verdict.principal().is_admin()).then_some(&self.0.quotas);
        match store.begin_up(&operation, known.is_some(), more, size, quotas).await {
            Ok(chosen) => {
                let draft = (chosen == leases.leases).then_some(target);
                Ok(self.spawn(operation, Prepared { draft, looking: looking.filter(|_| store.ends() == ends) }))
            }
            Err(StoreError::Conflict) => Err(Refusal::Conflict(id)),
            Err(error) => Err(error.problem(what).into()),
        }
    }

    /// Begins to remove a world with everything it has.
    ///
    /// # Errors
    /// A [`Problem`]; nothing was done then.
    pub async fn down(
        &self,
        verdict: Verdict<act::Down, WorldRef>,
        confirm: Option<&str>,
    ) -> Result<Accepted, Problem> {
        let what = format!("cannot remove world \"{}\"", verdict.object().name);
        self.in_turn(&what, UP_TIME, || self.try_down(&verdict, confirm, &what)).await
    }

    /// One try of [`Self::down`].
    async fn try_down(
        &self,
        verdict: &Verdict<act::Down, WorldRef>,
        confirm: Option<&str>,
        what: &str,
    ) -> Result<Accepted, Refusal> {
        let name = &verdict.object().name;
        let world = self.0.store.world(verdict).await.map_err(|error| error.problem(what))?;
        let persistent = world.spec.as_ref().is_some_and(|spec| spec.lifecycle() == Lifecycle::Persistent);
        if persistent && confirm != Some(name.as_str()) {
            let help = format!("repeat it with `--confirm {name}`; its data cannot be restored");
            return Err(problem(ProblemKind::Confirmation, what, "it is persistent and was not confirmed", help).into());
        }
        let operation = self.new_operation(Kind::Down, verdict.object().clone(), None, phases::LAST, None);
        let quotas = (!verdict.principal().is_admin()).then_some(&self.0.quotas);
        match self.0.store.begin_down(&operation, quotas).await {
            Ok(()) => Ok(self.spawn(operation, Prepared::default())),
            Err(StoreError::Conflict) => Err(Refusal::Conflict(operation.world.id)),
            Err(error) => Err(error.problem(what).into()),
        }
    }

    /// Cancels an `up`: what it made is undone. One that has ended stays as it is.
    ///
    /// # Errors
    /// A [`Problem`] for a removal, which can only be completed.
    pub async fn cancel(
        &self,
        verdict: Verdict<act::CancelOperation, OperationRef>,
    ) -> Result<OperationStatus, Problem> {
        let what = format!("cannot cancel operation {}", verdict.object().id);
        let status = self.0.store.operation(&verdict).await.map_err(|error| error.problem(&what))?;
        if status.kind == Kind::Down.as_str() && status.problem.is_none() {
            let cause = "a removal cannot be stopped half-way";
            return Err(problem(ProblemKind::Refused, what, cause, "wait for it, then bring the world up again"));
        }
        if let Some(work) = self.at_work().get(&verdict.object().id) {
            work.cancel.cancel();
        }
        Ok(status)
    }

    /// Takes up the operations that an earlier run left at work.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn finish_interrupted(&self) -> Result<(), StoreError> {
        self.take_up(self.0.store.interrupted().await?);
        Ok(())
    }

    /// Tries to open the database of a store that is shut, and takes up what an earlier run left at work.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be used; try again.
    pub async fn open(&self, url: &str) -> Result<(), Arc<StoreError>> {
        self.take_up(self.0.store.try_open(url).await?);
        Ok(())
    }

    fn take_up(&self, interrupted: Vec<Operation>) {
        for operation in interrupted {
            tracing::info!(operation = %operation.id, world = %operation.world.id, "taking up an interrupted operation");
            self.spawn(operation, Prepared::default());
        }
    }

    /// Stops driving operations. They stay in the database as they are and are taken up by the next start.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.0.tasks.wait()).await;
        self.0.store.close().await;
    }

    fn new_operation(
        &self,
        kind: Kind,
        world: WorldRef,
        spec: Option<Spec>,
        up_to: u8,
        deadline: Option<i64>,
    ) -> Operation {
        let begun_at = time::now_ms();
        let (undoing, resumed, heal) = (false, false, None);
        Operation { id: ids::operation(), kind, world, spec, up_to, deadline, begun_at, undoing, resumed, heal }
    }

    fn spawn(&self, operation: Operation, prepared: Prepared) -> Accepted {
        let accepted = Accepted { operation: operation.id.to_string(), world: operation.world.name.to_string() };
        let (cancel, ended) = (CancellationToken::new(), CancellationToken::new());
        self.at_work().insert(operation.id, turn::AtWork { cancel: cancel.clone(), ended: ended.clone() });
        let orchestrator = self.clone();
        self.0.tasks.spawn(async move {
            let _ended = ended.drop_guard();
            let id = operation.id;
            let closing = orchestrator.0.closing.clone();
            tokio::select! {
                () = closing.cancelled() => {}
                () = drive::drive(&orchestrator, operation, prepared, cancel) => {}
            }
            orchestrator.at_work().remove(&id);
        });
        accepted
    }

    /// Who holds this may run live checks in the world.
    fn probing(&self, world: WorldId) -> Arc<tokio::sync::Mutex<()>> {
        let mut probing = self.0.probing.lock().unwrap_or_else(PoisonError::into_inner);
        probing.retain(|_, turn| Arc::strong_count(turn) > 1);
        probing.entry(world).or_default().clone()
    }

    fn at_work(&self) -> std::sync::MutexGuard<'_, HashMap<OperationId, turn::AtWork>> {
        self.0.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse_immutable(what: &str, old: &Spec, new: &Spec) -> Result<(), Problem> {
    let violations = immutable_violations(old, new);
    let Some(first) = violations.first() else { return Ok(()) };
    let cause = format!("{} cannot change while the world exists: {}", first.path, first.reason);
    let help = "take the old value back, or remove the world with `netengine down` first";
    let mut refused = problem(ProblemKind::Refused, what, cause, help);
    refused.diagnostics = violations.iter().filter_map(|violation| serde_json::to_value(violation).ok()).collect();
    Err(refused)
}

fn too_large(what: &str, error: &PlanError) -> Problem {
    problem(ProblemKind::Spec, what, error.to_string(), "give the network a larger subnet or fewer vantage hosts")
}

#[cfg(test)]
pub(crate) mod tests;
