//! What an administrator allows, as it is now: read again when its files change, and what is no longer allowed is ended.
//!
//! The broker may open no file but its own, and names of users and groups come from the host's databases. So it looks at
//! the files' times alone (stat(2) needs no more than a path), and a child of the spawn worker without any capability reads.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use ipnet::IpNet;
use netengine_proto::{
    ids::ProcessId,
    root::{Operation, ProcessKind, RootError},
};

use super::{
    client::{receive, register},
    converge::hold_error,
    processes::Process,
    state::Broker,
    uplink::check_allowed,
};
use crate::{
    sys::fds,
    uplink::allowance::Allowance,
    worker::{
        channel::{MESSAGE_BYTES, decode, encode},
        message::{AllowanceRead, SpawnRequest},
    },
};

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Who is a member of a group stands here, beside the allowance itself.
const ACCOUNTS: [&str; 2] = ["/etc/group", "/etc/passwd"];
/// In rootd's run directory: what the uplinks that run were judged by, for a rootd that starts beside them.
const JUDGED: &str = "allowance";

/// Device, inode, size, and the time of the last change; nothing for a file that does not exist.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.dev(), about.ino(), about.size(), about.ctime(), about.ctime_nsec()))
}

/// What was read last, and what uplinks were started by.
#[derive(Debug, Default)]
pub struct Allowed {
    read: tokio::sync::Mutex<Option<Read>>,
    /// By process. Adopted ones are in no list: they were started by what was judged last.
    started: Mutex<HashMap<ProcessId, Terms>>,
}

#[derive(Debug)]
struct Read {
    /// The files as they were before.
    stamps: [Stamp; 3],
    /// How many reads there were before this one.
    number: u64,
    allowance: Arc<Allowance>,
}

/// What an uplink is told of the allowance once, when it starts: where it listens, which private networks it reaches.
type Terms = (Option<Ipv4Addr>, Vec<IpNet>);

fn terms(allowance: &Allowance) -> Terms {
    (allowance.inbound.map(|inbound| inbound.address), allowance.reach.clone())
}

impl Broker {
    /// What is allowed now. A file that cannot be understood allows nobody.
    ///
    /// # Errors
    /// [`RootError`] when nobody could read it.
    pub async fn allowance(&self) -> Result<Arc<Allowance>, RootError> {
        self.numbered_allowance().await.map(|(_, allowance)| allowance)
    }

    async fn numbered_allowance(&self) -> Result<(u64, Arc<Allowance>), RootError> {
        let path = &self.config.uplink_config;
        let mut last = self.allowed.read.lock().await;
        // Before it is read: what changes in between is seen by the next look.
        let [group, passwd] = ACCOUNTS.map(|path| stamp(Path::new(path)));
        let stamps = [stamp(path), group, passwd];
        if let Some(read) = last.as_ref().filter(|read| read.stamps == stamps) {
            return Ok((read.number, read.allowance.clone()));
        }
        let allowance = match stamps[0] {
            None => Arc::default(),
            Some(_) => Arc::new(self.read_allowance().await?),
        };
        let number = last.as_ref().map_or(0, |read| read.number + 1);
        *last = Some(Read { stamps, number, allowance: allowance.clone() });
        Ok((number, allowance))
    }

    /// An uplink is about to be started by these terms.
    pub(super) fn starts_uplink(&self, process: ProcessId, allowance: &Allowance) {
        let mut started = self.allowed.started.lock().expect("no panic while held");
        started.retain(|id, _| self.processes().contains_key(id));
        started.insert(process, terms(allowance));
    }

    async fn read_allowance(&self) -> Result<Allowance, RootError> {
        let (near, far) = fds::pair(MESSAGE_BYTES).map_err(hold_error)?;
        let near = register(near).map_err(hold_error)?;
        self.workers.spawn(&SpawnRequest::Allowance, &[far.as_fd()]).await?;
        drop(far);
        let mut buffer = Vec::new();
        let read = receive(&near, &mut buffer).await.and_then(|received| decode(&buffer[..received.bytes]));
        match read {
            Ok(AllowanceRead::Allows(allowance)) => Ok(allowance),
            Ok(AllowanceRead::Unreadable(why)) => {
                tracing::error!(why, "nobody is allowed an uplink");
                Ok(Allowance::default())
            }
            // It ended before it could say anything.
            Err(error) => Err(RootError::Kernel {
                operation: Operation::StartProgram,
                object: "allowance".into(),
                errno: error.raw_os_error().unwrap_or(nix::libc::EIO),
            }),
        }
    }

    /// For ever: ends uplinks that are no longer allowed, or would be started by other terms.
    pub async fn keep_to_allowance(self: Arc<Self>) {
        let judged = self.config.run_directory.join(JUDGED);
        let stored: Option<Allowance> = std::fs::read(&judged).ok().and_then(|bytes| decode(&bytes).ok());
        let adopted = terms(&stored.unwrap_or_default());
        let mut last = None;
        loop {
            // By the number of the read and not by what it says: what was allowed in between may have started something.
            if let Ok((number, now)) = self.numbered_allowance().await
                && last != Some(number)
            {
                self.judge_uplinks(&adopted, &now).await;
                last = Some(number);
                if let Err(error) = encode(&*now).and_then(|bytes| std::fs::write(&judged, bytes)) {
                    tracing::warn!(%error, "cannot remember who may have an uplink");
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn judge_uplinks(&self, adopted: &Terms, now: &Allowance) {
        let is_uplink = |process: &&Arc<Process>| process.kind == ProcessKind::Uplink && process.ended().is_none();
        let running: Vec<_> = self.processes().values().filter(is_uplink).cloned().collect();
        for process in running {
            let Some(world) = self.find_world(process.world) else { continue };
            let held = world.held.lock().await;
            let Some((_, plan)) = &held.plan else { continue };
            let refused = check_allowed(plan, now).err();
            let started = self.allowed.started.lock().expect("no panic while held").get(&process.id).cloned();
            if refused.is_none() && started.as_ref().unwrap_or(adopted) == &terms(now) {
                continue;
            }
            tracing::warn!(world = %world.id, ?refused, "an uplink is ended: what an administrator allows has changed");
            if let Err(error) = process.stop().await {
                tracing::error!(world = %world.id, %error, "cannot end an uplink");
            }
        }
    }
}
