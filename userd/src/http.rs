//! The HTTP API over Unix sockets.

mod accept;
mod answer;
mod drift;
mod firewall;
pub mod openapi;
mod routes;
mod stream;
mod trusted;
mod websocket;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use netengine_proto::{ids::Uid, limits};

pub use self::{
    accept::accept_loop,
    routes::{ROUTES, Route, router},
};
use crate::{lab::Lab, orchestrator::Orchestrator, start::sockets::SocketRole};

/// What every request can reach.
#[derive(Clone)]
pub struct App {
    orchestrator: Orchestrator,
    lab: Lab,
    sockets: Arc<Vec<(SocketRole, String)>>,
    connections: Arc<Mutex<HashMap<Uid, usize>>>,
}

impl App {
    /// Over this orchestrator and this lab; `sockets` are shown by `doctor`.
    pub fn new(orchestrator: Orchestrator, lab: Lab, sockets: Vec<(SocketRole, String)>) -> Self {
        Self { orchestrator, lab, sockets: Arc::new(sockets), connections: Arc::default() }
    }

    /// Counts one more connection of `uid`; `None` when it has as many as it may. Uncounted when dropped.
    fn admit(&self, uid: Uid) -> Option<Admitted> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(uid).or_default();
        if *count >= limits::API_CONNECTIONS_PER_USER {
            return None;
        }
        *count += 1;
        Some(Admitted { connections: self.connections.clone(), uid })
    }
}

/// One counted connection.
struct Admitted {
    connections: Arc<Mutex<HashMap<Uid, usize>>>,
    uid: Uid,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests;
