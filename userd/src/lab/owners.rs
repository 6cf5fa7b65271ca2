//! The sandboxes of each user. They are used again for the same user's cases, never for another's, and all of them end with the last
//! connection or run that uses them.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use netengine_proto::{ids::Uid, limits};
use tokio::sync::Semaphore;

use super::sandbox::{LabError, Sandbox};

/// All users that have something at work.
#[derive(Debug)]
pub struct Owners {
    socket: PathBuf,
    known: Mutex<HashMap<Uid, Weak<Owner>>>,
}

#[derive(Debug)]
struct Owner {
    uid: Uid,
    socket: PathBuf,
    at_work: Semaphore,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    leases: usize,
    sandboxes: Vec<Sandbox>,
}

/// The right to use sandboxes of one user.
#[derive(Debug)]
pub struct Lease(Arc<Owner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Owners {
    /// Over the lab role at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, known: Mutex::default() }
    }

    /// A lease for `uid`.
    pub fn lease(&self, uid: Uid) -> Lease {
        let mut known = lock(&self.known);
        known.retain(|_, owner| owner.strong_count() > 0);
        let owner = known.get(&uid).and_then(Weak::upgrade).unwrap_or_else(|| {
            let at_work = Semaphore::new(limits::SANDBOXES_PER_OWNER);
            let owner = Arc::new(Owner { uid, socket: self.socket.clone(), at_work, idle: Mutex::default() });
            known.insert(uid, Arc::downgrade(&owner));
            owner
        });
        lock(&owner.idle).leases += 1;
        Lease(owner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut idle = lock(&self.0.idle);
        idle.leases -= 1;
        let kept = idle.leases;
        idle.sandboxes.truncate(kept);
    }
}

impl Lease {
    /// Runs a case in a sandbox of this user; waits while as many as one may have are at work.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn run(&self, request: &[u8]) -> Result<Vec<u8>, LabError> {
        let owner = &self.0;
        let closed = || LabError::Refused(netengine_proto::sandbox::SandboxAnswer::Failed);
        let _at_work = owner.at_work.acquire().await.map_err(|_| closed())?;
        let used = lock(&owner.idle).sandboxes.pop();
        if let Some(mut sandbox) = used {
            match sandbox.run(request).await {
                Ok(answer) => {
                    owner.keep(sandbox);
                    return Ok(answer);
                }
                // It may have ended while nobody used it; whether this case ends one is for a new one to tell.
                Err(LabError::Ended(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut again = true;
        loop {
            let mut sandbox = Sandbox::open(&owner.socket, owner.uid).await?;
            match sandbox.run(request).await {
                Ok(answer) => {
                    owner.keep(sandbox);
                    return Ok(answer);
                }
                // Somebody may have ended it. A case changes nothing, so it can be run again; one that ends two sandboxes is told.
                Err(LabError::Ended(_)) if again => again = false,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Owner {
    /// Keeps a sandbox for the next case, one for each lease at most.
    fn keep(&self, sandbox: Sandbox) {
        let mut idle = lock(&self.idle);
        if idle.sandboxes.len() < idle.leases {
            idle.sandboxes.push(sandbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::fake::lab_role;

    #[tokio::test]
    async fn sandboxes_are_used_again_by_their_user_alone_and_end_with_the_last_lease() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, open) =
            lab_role(directory.path(), |case, number, owner| (case != b"end").then(|| vec![number, owner]));
        let owners = Owners::new(path);
        let (alice, bob) = (owners.lease(Uid(1)), owners.lease(Uid(2)));
        assert_eq!(alice.run(b"a").await.expect("runs"), [0, 1]);
        assert_eq!(alice.run(b"a").await.expect("runs"), [0, 1], "the same again");
        assert_eq!(bob.run(b"a").await.expect("runs"), [1, 2], "another's own");
        assert!(matches!(alice.run(b"end").await, Err(LabError::Ended(_))), "a case that ends every sandbox");
        assert_eq!(alice.run(b"a").await.expect("runs"), [4, 1], "a new one takes its place");
        drop((alice, bob));
        let gone = async {
            while open.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("all end");
    }
}
