//! Capabilities (capabilities(7)). Per thread: call while the process has one.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

/// Keeps exactly these capabilities in the effective, permitted and bounding sets, and none in the others.
///
/// # Errors
/// `EPERM` when one is not there to keep, or when CAP_SETPCAP is missing to narrow the bounding set.
pub fn keep(kept: &[Capability]) -> io::Result<()> {
    let kept: CapsHashSet = kept.iter().copied().collect();
    let none = CapsHashSet::new();
    let bounding = caps::read(None, CapSet::Bounding).map_err(io::Error::other)?;
    for capability in bounding.difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(io::Error::other)?;
    }
    caps::set(None, CapSet::Ambient, &none).map_err(io::Error::other)?;
    caps::set(None, CapSet::Inheritable, &none).map_err(io::Error::other)?;
    caps::set(None, CapSet::Effective, &kept).map_err(io::Error::other)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(io::Error::other)
}
