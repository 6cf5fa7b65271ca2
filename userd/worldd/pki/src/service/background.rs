//! What runs beside the requests: the way to the store, and looking at challenges.

use std::sync::Arc;

use tokio::{sync::mpsc, task::JoinSet};

use super::Service;
use crate::{
    acme::{self, Probe, State},
    store::{Store, Writer},
    validate::Connect,
};

/// How many challenges are looked at at the same time.
const AT_ONCE: usize = 64;

/// Must be run for as long as the service is used. Dropping it ends everything that it has begun.
pub struct Background<S, C> {
    service: Arc<Service<S>>,
    writer: Writer<S>,
    queue: mpsc::Receiver<Probe>,
    unfinished: Vec<Probe>,
    connect: Arc<C>,
}

impl<S: Store, C: Connect> Background<S, C> {
    pub(super) fn new(
        service: Arc<Service<S>>,
        writer: Writer<S>,
        queue: mpsc::Receiver<Probe>,
        unfinished: Vec<Probe>,
        connect: C,
    ) -> Self {
        Self { service, writer, queue, unfinished, connect: Arc::new(connect) }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let Self { service, mut writer, queue, unfinished, connect } = self;
        let (again, more) = mpsc::unbounded_channel();
        unfinished.into_iter().for_each(|probe| drop(again.send(probe)));
        let write = async {
            while let Some(kept) = writer.run(|why| service.machine().halted = Some(why)).await {
                let state = State::from_changes(kept);
                let unfinished = acme::resume(&state, &service.urls);
                let mut machine = service.machine();
                machine.state = state;
                machine.halted = None;
                drop(machine);
                unfinished.into_iter().for_each(|probe| drop(again.send(probe)));
            }
        };
        tokio::join!(write, look_at_all(&service, queue, more, connect));
    }
}

/// Looks at challenges as they come. `more` are those found in the state: bounded by the state.
async fn look_at_all<S: Store, C: Connect>(
    service: &Arc<Service<S>>,
    mut queue: mpsc::Receiver<Probe>,
    mut more: mpsc::UnboundedReceiver<Probe>,
    connect: Arc<C>,
) {
    let mut running = JoinSet::new();
    loop {
        let probe = tokio::select! {
            Some(ended) = running.join_next(), if !running.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(service = "pki", "a challenge was not looked at: {error}");
                }
                continue;
            }
            Some(probe) = more.recv(), if running.len() < AT_ONCE => probe,
            Some(probe) = queue.recv(), if running.len() < AT_ONCE => probe,
            else => return,
        };
        let (service, connect) = (service.clone(), connect.clone());
        running.spawn(async move {
            let verdict = connect.check(&probe).await;
            service.conclude(&probe, verdict).await;
        });
    }
}
