//! Being somebody else in one thread.
#![allow(unsafe_code)]

use std::io;

use nix::libc;

use crate::Person;

/// Gives the calling thread, and it alone, a person's effective and file system ids and groups.
///
/// The raw system calls are per thread; the wrappers of libc would change the whole process.
///
/// # Errors
/// The caller is not root.
pub fn become_thread(person: Person) -> io::Result<()> {
    let groups: Vec<u32> = person.groups.to_vec();
    let keep = u32::MAX;
    // SAFETY: the calls take integers and a pointer to `groups` with its length.
    let done = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
            libc::syscall(libc::SYS_setresgid, keep, person.gid, keep),
            libc::syscall(libc::SYS_setresuid, keep, person.uid, keep),
        ]
    };
    if done.iter().all(|result| *result == 0) { Ok(()) } else { Err(io::Error::last_os_error()) }
}
