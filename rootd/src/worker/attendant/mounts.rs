//! What a command sees differently from its caller: resolv.conf, trust store, /proc, /sys. All in its own mount
//! namespace, which vanishes with it.

use std::{fs, io};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::worker::message::WorldFiles;

const NONE: Option<&str> = None;
const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Nothing mounted from here on is seen outside.
pub fn make_private() -> io::Result<()> {
    Ok(mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?)
}

/// Lays the world's resolv.conf and trust store over the caller's, read-only.
///
/// The files live in a tmpfs that is first mounted on /proc, because that directory surely exists, and is detached
/// again before [`proc_and_sys`] mounts the real one.
pub fn world_files(files: &WorldFiles) -> io::Result<()> {
    mount(Some("netengine"), "/proc", Some("tmpfs"), QUIET, Some("size=1m,mode=0755"))?;
    let laid = (|| {
        fs::write("/proc/resolv.conf", &files.resolv_conf)?;
        fs::create_dir("/proc/certs")?;
        fs::write("/proc/certs/ca-certificates.crt", &files.trust_store)?;
        lay("/proc/resolv.conf", "/etc/resolv.conf")?;
        match lay("/proc/certs", "/etc/ssl/certs") {
            // A host without a trust store has nothing to hide.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    })();
    umount2("/proc", MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    laid
}

fn lay(from: &str, over: &str) -> io::Result<()> {
    mount(Some(from), over, NONE, MsFlags::MS_BIND, NONE)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | QUIET;
    Ok(mount(NONE, over, NONE, read_only, NONE)?)
}

/// /proc of the command's own pid namespace, and /sys of the vantage host's network namespace, read-only.
pub fn proc_and_sys() -> io::Result<()> {
    mount(Some("proc"), "/proc", Some("proc"), QUIET, NONE)?;
    Ok(mount(Some("sysfs"), "/sys", Some("sysfs"), QUIET | MsFlags::MS_RDONLY, NONE)?)
}
