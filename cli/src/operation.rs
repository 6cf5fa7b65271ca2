//! Follows an operation to its end, and cancels it when the user interrupts.

use std::{future::Future, pin::pin};

use netengine_proto::api::{Accepted, OperationState, OperationStatus, ProblemKind};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{client::Client, failure::Failure, progress::Progress, ui::Ui};

/// Streams that may end without an event, one after the other, before the daemon counts as gone.
const FRUITLESS_STREAMS: u32 = 5;

/// Interrupts (SIGINT, SIGTERM) of this process. The first cancels the operation, the second leaves at once.
struct Interrupts {
    int: Signal,
    term: Signal,
    seen: u32,
}

/// The user does not want to wait for the undo.
struct Left;

impl Interrupts {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    ProblemKind::Failed,
                    "cannot listen for signals",
                    error,
                    "raise the limits of this session",
                )
            })
        };
        Ok(Self { int: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())?, seen: 0 })
    }

    async fn next(&mut self) -> Result<(), Left> {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
        self.seen += 1;
        if self.seen > 1 { Err(Left) } else { Ok(()) }
    }

    /// Waits for `work`; a second interrupt ends the wait.
    async fn unless_left<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Left> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                next = self.next() => next?,
            }
        }
    }
}

/// Begins an operation by `begin` and waits for its end, with progress on standard error.
///
/// # Errors
/// The operation's problem; class `failed` when it was cancelled or left; class `engine` when the daemon went away.
pub async fn run(
    ui: &Ui,
    client: &Client,
    title: &str,
    begin: impl Future<Output = Result<Accepted, Failure>>,
) -> Result<OperationStatus, Failure> {
    let mut interrupts = Interrupts::new()?;
    let mut progress = Progress::new(ui, title);
    let accepted = match interrupts.unless_left(begin).await {
        Ok(accepted) => accepted?,
        Err(Left) => {
            let cause = "interrupted before the daemon answered";
            return Err(Failure::new(ProblemKind::Failed, format!("cannot {title}"), cause, "see `netengine list`"));
        }
    };
    match follow(client, &accepted, &mut interrupts, &mut progress).await {
        Ok(status) => finished(title, status?),
        Err(Left) => {
            let cause = format!("left by a second interrupt; operation {} goes on", accepted.operation);
            let help = format!("see `netengine status {0}` and `netengine events {0} --follow`", accepted.world);
            Err(Failure::new(ProblemKind::Failed, format!("cannot wait for the end of {title}"), cause, help))
        }
    }
}

/// The outer error is the user leaving, the inner one the daemon's.
async fn follow(
    client: &Client,
    accepted: &Accepted,
    interrupts: &mut Interrupts,
    progress: &mut Progress<'_>,
) -> Result<Result<OperationStatus, Failure>, Left> {
    let path = format!("/operations/{}", accepted.operation);
    let mut is_cancelled = false;
    let (mut after, mut fruitless) = (0i64, 0);
    while fruitless < FRUITLESS_STREAMS {
        let cursor = after.to_string();
        let query = [("operation", accepted.operation.as_str()), ("after", cursor.as_str())];
        let mut stream = match interrupts.unless_left(client.events(&query)).await? {
            Ok(stream) => stream,
            Err(failure) => return Ok(Err(failure)),
        };
        fruitless += 1;
        loop {
            if interrupts.seen > 0 && !is_cancelled {
                is_cancelled = true;
                progress.note("cancelling; what was made is being undone (interrupt again to leave it to the daemon)");
                let cancel = client.delete::<OperationStatus>(&path, &[]);
                // An operation that ended in the meantime cannot be cancelled; its end is reported below.
                if let Err(failure) = interrupts.unless_left(cancel).await? {
                    progress.note(&format!("cannot cancel: {}", failure.problem.cause));
                }
            }
            let event = tokio::select! {
                event = stream.next() => event,
                next = interrupts.next() => { next?; continue }
            };
            let has_ended = match event {
                Ok(Some(event)) => {
                    (after, fruitless) = (after.max(event.seq), 0);
                    progress.event(&event);
                    if !event.kind.starts_with("operation.") {
                        continue;
                    }
                    false
                }
                Ok(None) => true,
                Err(failure) => return Ok(Err(failure)),
            };
            // The operation changed, or the stream ended: its record decides.
            let status = match interrupts.unless_left(client.get::<OperationStatus>(&path, &[])).await? {
                Ok(status) => status,
                Err(failure) => return Ok(Err(failure)),
            };
            if !matches!(status.state, OperationState::Running | OperationState::Undoing) {
                return Ok(Ok(status));
            }
            if has_ended {
                break;
            }
        }
    }
    let cause = "the daemon ends every stream of events at once";
    let help = format!("the operation goes on; see `netengine status {}`", accepted.world);
    Ok(Err(Failure::new(ProblemKind::Engine, "cannot follow the operation", cause, help)))
}

/// Turns the end of an operation into a result.
fn finished(title: &str, status: OperationStatus) -> Result<OperationStatus, Failure> {
    let what = format!("cannot {title}");
    match (status.state, status.problem) {
        (OperationState::Done, problem) => Ok(OperationStatus { problem, ..status }),
        (OperationState::Cancelled, _) => {
            let help = "what it made is undone; run the same command to try again";
            Err(Failure::new(ProblemKind::Failed, what, "it was cancelled", help))
        }
        (_, Some(problem)) => Err(problem.into()),
        (state, None) => {
            let cause = format!("the operation is {state} without an explanation");
            Err(Failure::new(ProblemKind::Failed, what, cause, "see `netengine events`"))
        }
    }
}
