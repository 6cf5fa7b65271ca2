//! The firewall lab: sandboxes from rootd's lab role, shared by nobody; single cases, and runs of whole suites.
//!
//! | module | what |
//! |---|---|
//! | [`sandbox`] | one sandbox: a connection that cases go by and results come by |
//! | [`owners`] | the sandboxes of one user |
//! | [`suites`] | the suites of a request, read and judged; pure |
//! | [`runs`] | runs of suites, and what is kept of them |
//! | [`told`] | a judged case as events; pure |
//! | [`validate`] | the rulesets of suites, loaded by a kernel without any packet |
//!
//! Nothing here is durable: a run ends with userd, and its sandboxes with it.

pub mod owners;
pub mod runs;
pub mod sandbox;
pub mod suites;
pub mod told;
pub mod validate;

use std::{path::PathBuf, sync::Arc};

use netengine_proto::{ids::Uid, limits};
use tokio::sync::Semaphore;

use self::{
    owners::{Lease, Owners},
    runs::Runs,
};
use crate::decide::{Act, AllOf, Verdict, act};

/// The actions that sandboxes are for.
pub trait UsesSandboxes: Act {}
impl UsesSandboxes for act::RunFirewallTests {}
impl UsesSandboxes for act::RunFirewallCase {}
impl UsesSandboxes for act::ValidateFirewallSuites {}

/// The lab.
#[derive(Clone)]
pub struct Lab {
    owners: Arc<Owners>,
    runs: Arc<Runs>,
    large: Arc<Semaphore>,
}

impl Lab {
    /// Over the lab role that listens at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            owners: Arc::new(Owners::new(socket)),
            runs: Arc::default(),
            large: Arc::new(Semaphore::new(limits::LAB_LARGE_BODIES)),
        }
    }

    /// Sandboxes for whom the verdict is about, for as long as the lease lives.
    pub fn lease<A: UsesSandboxes>(&self, verdict: &Verdict<A, AllOf>) -> Lease {
        self.owners.lease(verdict.object().0.unwrap_or(Uid::OVERFLOW))
    }

    /// Runs of suites.
    pub fn runs(&self) -> &Arc<Runs> {
        &self.runs
    }

    /// Who reads a body of more than [`limits::API_BODY_BYTES`] holds one of these.
    pub fn large_bodies(&self) -> &Arc<Semaphore> {
        &self.large
    }
}
