//! Opens the database, however long that takes, and then begins the daemon's own work.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    orchestrator::{Orchestrator, follow_root},
    store::Chain,
};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the database at `url`, takes up what an earlier run left at work, and follows rootd until `stop`.
pub(super) async fn open_and_follow(orchestrator: Orchestrator, url: String, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = open(&orchestrator, &url) => {}
    }
    follow_root(orchestrator, stop).await;
}

async fn open(orchestrator: &Orchestrator, url: &str) {
    let mut told = String::new();
    while let Err(error) = orchestrator.open(url).await {
        // The same reason is told once, not once a second.
        let reason = Chain(&*error).to_string();
        if reason != told {
            tracing::error!(reason, "cannot open the database; trying again every second");
            told = reason;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if !told.is_empty() {
        tracing::info!("the database is open");
    }
    if let Err(error) = orchestrator.ready_seal().await {
        tracing::error!(reason = %Chain(&error), "secrets cannot be sealed");
    }
}
