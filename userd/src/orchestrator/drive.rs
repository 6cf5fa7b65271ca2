//! Drives one operation to its end: done, or failed with everything undone.

use std::time::Duration;

use netengine_proto::api::{OperationState, Problem, ProblemKind, WorldState};
use netengine_spec::Spec;
use tokio_util::sync::CancellationToken;

use super::{
    Orchestrator,
    attempt::{Attempt, Looking, Notes, Stop, look},
    ends::Relied,
    failure::{AttemptError, Failed, broken_phases},
    processes::Depth,
};
use crate::{
    decide::WorldRef,
    ids,
    plan::{PlanError, Target, peers::HeldPeer},
    problem::{about, problem},
    store::{
        StoreError,
        operations::{Failure, Kind, Operation, Success},
        quota::Size,
        worlds::World,
    },
};

/// Tries to write the end of an operation while the database is away, and the wait between them.
const WRITE_TRIES: (u32, Duration) = (5, Duration::from_secs(2));

/// First and longest wait before an operation is driven again that the database kept from its end.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// What was begun for an operation before it was written down.
#[derive(Default)]
pub(super) struct Prepared {
    /// Its target, with the leases that the world has.
    pub draft: Option<Target>,
    /// A look at its world that no other operation has changed since.
    pub looking: Option<Looking>,
}

/// Begins to look at a world. It takes its time in rootd, and changes nothing.
pub(super) fn begin_look(orchestrator: &Orchestrator, world: &WorldRef) -> Looking {
    let (orchestrator, world) = (orchestrator.clone(), world.clone());
    tokio::spawn(async move { look(&orchestrator, &world, Depth::Summary, None).await })
}

/// Drives `operation` to its end. While the database does not let it, it is taken up again, as after a restart.
///
pub(super) async fn drive(
    orchestrator: &Orchestrator,
    mut operation: Operation,
    mut prepared: Prepared,
    cancel: CancellationToken,
) {
    let (mut pause, mut removed) = (AGAIN.0, 0);
    loop {
        let ended = match operation.kind {
            Kind::Down => drive_down(orchestrator, &operation, &mut removed).await,
            Kind::Up | Kind::Repair => {
                drive_up(orchestrator, &operation, std::mem::take(&mut prepared), cancel.clone()).await
            }
        };
        let Err(error) = ended else {
            return orchestrator.settle_peers(&operation.world).await;
        };
        tracing::error!(operation = %operation.id, %error, "cannot bring an operation to its end; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
        operation.resumed = true;
    }
}

/// `removed` counts objects over all tries: what one try removed is not there for the next.
async fn drive_down(orchestrator: &Orchestrator, operation: &Operation, removed: &mut u64) -> Result<(), StoreError> {
    let world = &operation.world;
    match orchestrator.root().delete_world(ids::call_key(), world.id, world.owner).await {
        Ok(deleted) => {
            *removed = removed.saturating_add(u64::try_from(deleted.removed.len()).unwrap_or(u64::MAX));
            written(|| orchestrator.store().finish_down(operation, *removed)).await
        }
        Err(error) => {
            let problem = error.problem(format!("cannot remove world \"{}\"", world.name));
            let size = match orchestrator.store().load(world).await? {
                Some(stored) => stored.size,
                None => Size::default(),
            };
            let left = (WorldState::Failed, format!("removal failed: {}", problem.cause));
            let (state, world) = (OperationState::Failed, Some(left));
            let failure = Failure { state, problem, phase: 0, phases: Vec::new(), world, size };
            written(|| orchestrator.store().finish_failed(operation, &failure)).await
        }
    }
}

async fn drive_up(
    orchestrator: &Orchestrator,
    operation: &Operation,
    Prepared { draft, looking }: Prepared,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    let look = || begin_look(orchestrator, &operation.world);
    let looking = looking.or_else(|| (!operation.undoing).then(look));
    let stored = orchestrator.store().load(&operation.world).await?;
    let verb = if operation.kind == Kind::Repair { "repair" } else { "start" };
    let what = format!("cannot {verb} world \"{}\"", operation.world.name);
    // Its secrets do not matter for what is there; they are read when it has to be told again.
    let (id, owner) = (operation.world.id, operation.world.owner);
    let before = stored.as_ref().and_then(|world| Some((world.spec.clone()?, world.up_to, world.peers.clone())));
    let leases = orchestrator.store().leases(&operation.world).await?;
    let before = before.and_then(|(spec, up_to, peers)| {
        Target::draft(spec, up_to, id, owner, &leases).and_then(|draft| draft.beside(peers)).ok()
    });
    let error = if operation.undoing {
        let help = "run `netengine up` again";
        problem(ProblemKind::Failed, "", "it was interrupted while it was being undone", help).into()
    } else {
        match attempt(orchestrator, operation, draft, before.as_ref(), looking, cancel).await {
            Ok(success) => return written(|| orchestrator.store().finish_up(operation, &success)).await,
            Err(error) => error,
        }
    };
    let nothing_seen = |problem| Failed { problem, phase: 0, seen: Vec::new() };
    let (state, failed) = match error {
        AttemptError::Failed(failed) => {
            (OperationState::Failed, Failed { problem: about(failed.problem, what), ..*failed })
        }
        AttemptError::Cancelled => {
            let cause = "it was cancelled; what it made is undone";
            let problem = problem(ProblemKind::Failed, what, cause, "run `netengine up` again");
            (OperationState::Cancelled, nothing_seen(problem))
        }
        AttemptError::Engine(problem) => (OperationState::Failed, nothing_seen(about(problem, what))),
    };
    tracing::warn!(operation = %operation.id, cause = failed.problem.cause, "undoing");
    written(|| orchestrator.store().begin_undo(operation, &failed.problem)).await?;
    let failure = undo(orchestrator, operation, stored, before, state, failed).await;
    written(|| orchestrator.store().finish_failed(operation, &failure)).await
}

async fn attempt(
    orchestrator: &Orchestrator,
    operation: &Operation,
    draft: Option<Target>,
    before: Option<&Target>,
    looking: Option<Looking>,
    cancel: CancellationToken,
) -> Result<Success, AttemptError> {
    let missing = || problem(ProblemKind::Failed, "", "the operation has no spec", "run `netengine up` again");
    let draft = match draft {
        Some(draft) => draft,
        None => draft_of(orchestrator, operation, operation.spec.clone().ok_or_else(missing)?, operation.up_to).await?,
    };
    let target = complete(orchestrator, operation, draft, None).await?;
    let stop = Stop { cancel, deadline: operation.deadline };
    let (target, is_unsure) = (&target, operation.kind == Kind::Repair || operation.resumed);
    let notes = Notes::with(looking);
    let relied = Relied::new(orchestrator.0.ends.listen(operation.world.id));
    let is_recorded = true;
    let attempt = Attempt { orchestrator, operation, target, before, is_unsure, is_recorded, stop, relied, notes };
    attempt.run().await
}

/// A spec with the networks of its ANDs, those that lack leased first.
async fn draft_of(
    orchestrator: &Orchestrator,
    operation: &Operation,
    spec: Spec,
    up_to: u8,
) -> Result<Target, Problem> {
    let world = &operation.world;
    let leases = orchestrator.store().complete_leases(world, &spec, up_to).await;
    let leases = leases.map_err(|error| error.problem(""))?;
    Target::draft(spec, up_to, world.id, world.owner, &leases).map_err(too_large)
}

/// The target with the world's secrets, those that lack made first, beside other worlds as they stood or, for `None`, stand now.
async fn complete(
    orchestrator: &Orchestrator,
    operation: &Operation,
    draft: Target,
    peers: Option<Vec<HeldPeer>>,
) -> Result<Target, Problem> {
    let world = &operation.world;
    let secrets = orchestrator.complete_secrets(world, &draft.spec, draft.up_to).await?;
    let peers = match peers {
        Some(peers) => peers,
        None => orchestrator.stand(world, &draft).await.map_err(|error| error.problem(""))?,
    };
    Ok(draft.beside(peers).map_err(too_large)?.with(secrets))
}

fn too_large(error: PlanError) -> Problem {
    problem(ProblemKind::Spec, "", error.to_string(), "change the spec")
}

/// Undoes an `up`: a world that was never up is removed, another is brought back to what it was.
///
/// What cannot be undone now is not forgotten: the world stays with the reason, and `down` or `up` or the next start
/// goes on from there.
async fn undo(
    orchestrator: &Orchestrator,
    operation: &Operation,
    stored: Option<World>,
    before: Option<Target>,
    state: OperationState,
    failed: Failed,
) -> Failure {
    let Failed { mut problem, phase, seen } = failed;
    let Some(before) = before else {
        let world = &operation.world;
        let deleted = orchestrator.root().delete_world(ids::call_key(), world.id, world.owner).await;
        let size = stored.map_or(Size::default(), |world| world.size);
        let left = deleted.err().map(|error| (WorldState::Failed, format!("undoing failed: {error}")));
        if left.is_some() {
            problem.help = format!("remove the rest with `netengine down {}`", world.name);
        }
        return Failure { state, problem, phase, phases: Vec::new(), world: left, size };
    };
    let (nodes, links) = before.size();
    let size = Size { worlds: 1, nodes, links };
    let restored = if operation.kind == Kind::Repair {
        // There is nothing else to go back to.
        Err(AttemptError::Failed(Box::new(Failed { problem: problem.clone(), phase, seen })))
    } else {
        restore(orchestrator, operation, &before).await
    };
    let (world, phases) = match restored {
        Ok(success) => {
            ((WorldState::Ready, format!("the last up failed and was undone: {}", problem.cause)), success.phases)
        }
        Err(AttemptError::Failed(failed)) => {
            let cause = failed.problem.cause;
            let phases = broken_phases(&before, failed.phase, &cause, failed.seen);
            ((WorldState::Degraded, cause), phases)
        }
        Err(AttemptError::Engine(Problem { cause, .. })) => {
            let phases = broken_phases(&before, 0, &cause, Vec::new());
            ((WorldState::Degraded, cause), phases)
        }
        Err(AttemptError::Cancelled) => {
            let phases = broken_phases(&before, 0, &problem.cause, Vec::new());
            ((WorldState::Degraded, problem.cause.clone()), phases)
        }
    };
    Failure { state, problem, phase, phases, world: Some(world), size }
}

/// Makes a world again what it was.
async fn restore(orchestrator: &Orchestrator, operation: &Operation, before: &Target) -> Result<Success, AttemptError> {
    let (spec, peers) = (before.spec.clone(), Some(before.peers.clone()));
    let draft = draft_of(orchestrator, operation, spec, before.up_to).await?;
    let target = &complete(orchestrator, operation, draft, peers).await?;
    let (stop, notes) = (Stop::never(), Notes::default());
    let relied = Relied::new(orchestrator.0.ends.listen(operation.world.id));
    let (before, is_unsure, is_recorded) = (None, true, false);
    let attempt = Attempt { orchestrator, operation, target, before, is_unsure, is_recorded, stop, relied, notes };
    attempt.run().await
}

/// Writes the end of something that has happened, again while the database is away.
async fn written<F>(write: impl Fn() -> F) -> Result<(), StoreError>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let (tries, pause) = WRITE_TRIES;
    for left in (0..tries).rev() {
        match write().await {
            Err(error) if left > 0 => {
                tracing::error!(%error, "cannot write to the database; trying again");
                tokio::time::sleep(pause).await;
            }
            other => return other,
        }
    }
    Ok(())
}
