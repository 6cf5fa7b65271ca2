//! From `main` to serving, in order:
//!
//! 1. read flags and environment ([`config`]), take the inherited sockets ([`sockets`]), empty the environment;
//! 2. no dump, no core, no capability, Landlock ([`sandbox`]), all before the first thread;
//! 3. start the runtime, serve both sockets and tell the service manager READY=1 ([`notify`]);
//! 4. open the database and migrate it, again and again while it refuses; requests are told why meanwhile ([`database`]);
//! 5. take up what an earlier run left and begin to follow rootd: adopt, finish or remove worlds;
//! 6. on SIGTERM or SIGINT stop accepting, finish responses, exit 0.

pub mod config;
mod database;
pub mod notify;
pub mod sandbox;
pub mod sockets;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::config::Config;
use crate::{events::Bus, http, lab::Lab, orchestrator::Orchestrator, root_link::RootLink, store::Store};

/// Responses under way at SIGTERM get this long.
const FINISH_TIME: Duration = Duration::from_secs(5);

/// The program.
pub fn main() -> ExitCode {
    let config = match Config::from_process() {
        Ok(config) => config,
        Err(config::ConfigError::Asked(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("netengine-userd: {error}");
            return ExitCode::from(2);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netengine-userd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let sockets = sockets::take()?;
    let notify = notify::Notify::from_environment();
    crate::sys::clear_environment();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(&config.log))
        .with_ansi(false)
        .without_time()
        .with_writer(std::io::stderr)
        .init();
    sandbox::enter(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(serve(config, sockets, notify));
    // Threads that still wait for a name service or a disk are not waited for: all state is in the database.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(config: Config, sockets: sockets::Sockets, mut notify: notify::Notify) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let bus = Arc::new(Bus::default());
    let root = RootLink::new(config.rootd_socket.clone());
    let orchestrator = Orchestrator::new(Store::shut(bus.clone()), root, bus, &config);
    tasks.spawn(database::open_and_follow(orchestrator.clone(), config.database.clone(), stop.clone()));

    let lab = Lab::new(config.lab_socket.clone());
    let app = http::App::new(orchestrator.clone(), lab.clone(), sockets.described());
    for (listener, role) in sockets.listeners()? {
        let accept = http::accept_loop(listener, role, app.clone(), stop.clone());
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = accept.await {
                tracing::error!(%error, "cannot accept connections any more");
            }
            stop.cancel();
        });
    }
    notify.ready();
    tracing::info!(release = env!("CARGO_PKG_VERSION"), "ready");

    let was_asked = tokio::select! {
        _ = term.recv() => true,
        _ = int.recv() => true,
        () = stop.cancelled() => false,
    };
    notify.stopping();
    stop.cancel();
    lab.runs().stop_all();
    tasks.close();
    let _ = tokio::time::timeout(FINISH_TIME, tasks.wait()).await;
    // Operations at work are durable; the next start finishes them.
    orchestrator.close().await;
    if was_asked { Ok(()) } else { anyhow::bail!("a listening socket failed") }
}
