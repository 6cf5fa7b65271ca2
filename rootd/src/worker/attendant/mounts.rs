//! What a command sees differently from its caller: resolv.conf, trust store, /proc, /sys. All in its own mount
//! namespace, which vanishes with it.

use std::{collections::HashMap, fs, io};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, umask},
};

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
    // Who makes these files is not always who reads them.
    let former = umask(Mode::from_bits_truncate(0o022));
    let laid = write_all(files).and_then(|()| lay_all());
    umask(former);
    umount2("/proc", MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    laid
}

/// The directory is read in three ways: the bundle (curl, Python, Go), one file for each name (OpenSSL's CApath), and
/// the DNS root's keys by their file names.
fn write_all(files: &WorldFiles) -> io::Result<()> {
    fs::write("/proc/resolv.conf", &files.resolv_conf)?;
    fs::create_dir("/proc/certs")?;
    let mut bundle: String = files.authorities.iter().map(|authority| authority.pem.as_str()).collect();
    if bundle.is_empty() {
        bundle.push_str("# This world has no certificate authority.\n");
    }
    fs::write("/proc/certs/ca-certificates.crt", bundle)?;
    // Authorities of one name are told apart by a number (openssl-rehash(1)).
    let mut of_name: HashMap<u32, u32> = HashMap::new();
    for authority in &files.authorities {
        let Some(hash) = authority.subject_hash else { continue };
        let number = of_name.entry(hash).or_default();
        fs::write(format!("/proc/certs/{hash:08x}.{number}"), &authority.pem)?;
        *number += 1;
    }
    if let Some(root) = &files.dns_root {
        fs::write("/proc/certs/dns-root.key", &root.statement)?;
        fs::write("/proc/certs/dns-root.ds", &root.records)?;
    }
    Ok(())
}

fn lay_all() -> io::Result<()> {
    lay("/proc/resolv.conf", "/etc/resolv.conf")?;
    // Without keys of the DNS root the first does not exist; a host that lacks the place has nothing to hide.
    for (from, over) in [("/proc/certs/dns-root.key", "/etc/bind/bind.keys"), ("/proc/certs", "/etc/ssl/certs")] {
        match lay(from, over) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn lay(from: &str, over: &str) -> io::Result<()> {
    mount(Some(from), over, NONE, MsFlags::MS_BIND, NONE)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | QUIET;
    Ok(mount(NONE, over, NONE, read_only, NONE)?)
}

/// /proc of the attendant's own pid namespace.
pub fn proc_alone() -> io::Result<()> {
    Ok(mount(Some("proc"), "/proc", Some("proc"), QUIET, NONE)?)
}

/// /proc of the command's own pid namespace, and /sys of the vantage host's network namespace, read-only.
pub fn proc_and_sys() -> io::Result<()> {
    proc_alone()?;
    Ok(mount(Some("sysfs"), "/sys", Some("sysfs"), QUIET | MsFlags::MS_RDONLY, NONE)?)
}
