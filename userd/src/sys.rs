//! The two things userd asks of the operating system that have no safe form. Called once, before any thread exists.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of the `count` descriptors that the service manager passed, beginning with 3 (sd_listen_fds(3)).
///
/// Returns `None` for a number that is not an open descriptor or past a sane bound.
///
/// # Safety contract
/// Only called once, at start, before anything else of this process could have opened a descriptor in that range.
pub fn adopt_descriptors(count: RawFd) -> Option<Vec<OwnedFd>> {
    const FIRST: RawFd = 3;
    if !(0..=16).contains(&count) {
        return None;
    }
    (FIRST..FIRST + count)
        .map(|number| {
            // SAFETY: borrowed only for this call; F_GETFD answers EBADF for a number that is not open.
            let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
            nix::fcntl::fcntl(borrowed, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).ok()?;
            // SAFETY: the descriptor is open (checked above) and nothing else in this process owns it: the service
            // manager passed it and this function runs once.
            Some(unsafe { OwnedFd::from_raw_fd(number) })
        })
        .collect()
}

/// Empties the environment, so that no library and no later code reads what the caller of this process set.
pub fn clear_environment() {
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names {
        // SAFETY: called at start while this process has one thread, so nobody reads the environment at the same time.
        unsafe { std::env::remove_var(name) };
    }
}
