//! Starting a program inside a test host, as one of its users. The one place with `unsafe`.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::Arc,
};

use nix::{
    libc,
    sched::{CloneFlags, setns},
    sys::{
        signal::{Signal, raise},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Gid, Pid, Uid, fork, setgroups, setresgid, setresuid},
};

use crate::{people, people::Person};

/// The namespaces of a host, held open.
#[derive(Debug)]
pub struct Doors {
    pid: File,
    net: File,
    mnt: File,
}

impl Doors {
    /// Opens the namespaces of a process.
    ///
    /// # Errors
    /// It is gone.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
        Ok(Self { pid: open("pid")?, net: open("net")?, mnt: open("mnt")? })
    }

    /// A command that will run inside, as `person`, in an environment with nothing of this machine's.
    pub fn command(self: &Arc<Self>, person: Person, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", crate::BIN));
        command.env("HOME", people::home(&person)).env("USER", person.name).env("LOGNAME", person.name);
        command.env("LANG", "C.UTF-8");
        let doors = Arc::clone(self);
        let groups: Vec<Gid> = [person.gid].iter().chain(person.groups).map(|gid| Gid::from_raw(*gid)).collect();
        // SAFETY: the closure makes system calls only; it allocates nothing.
        unsafe { command.pre_exec(move || doors.enter(&groups, person)) };
        command
    }

    fn enter(&self, groups: &[Gid], person: Person) -> io::Result<()> {
        setns(&self.pid, CloneFlags::CLONE_NEWPID)?;
        setns(&self.net, CloneFlags::CLONE_NEWNET)?;
        setns(&self.mnt, CloneFlags::CLONE_NEWNS)?;
        // A pid namespace is entered by children only (setns(2)).
        // SAFETY: the child goes on to exec; the parent only waits and ends like it.
        if let ForkResult::Parent { child } = unsafe { fork() }? {
            wait_and_end_alike(child);
        }
        let (uid, gid) = (Uid::from_raw(person.uid), Gid::from_raw(person.gid));
        setgroups(groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        Ok(())
    }
}

fn wait_and_end_alike(child: Pid) -> ! {
    // SAFETY: integers only. Closes the pipe on which the spawning process waits for the exec.
    unsafe { libc::close_range(0, u32::MAX, 0) };
    let code = loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => break code,
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                // SAFETY: SIG_DFL is a valid disposition.
                let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
                let _ = raise(signal);
                break 128 + signal as i32;
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => break 127,
        }
    };
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// The process inside the host behind a child that was spawned with [`Doors::command`].
///
/// # Panics
/// It has ended.
pub fn inner_pid(child: &Child) -> Pid {
    let path = format!("/proc/{0}/task/{0}/children", child.id());
    let deadline = std::time::Instant::now() + crate::DEADLINE;
    // The kernel may leave one out while others come and go (proc_pid_children(5)).
    loop {
        let text = std::fs::read_to_string(&path).expect("a running child");
        if let Some(first) = text.split_whitespace().next() {
            return Pid::from_raw(first.parse().expect("a pid"));
        }
        assert!(std::time::Instant::now() < deadline, "a process inside");
    }
}

/// Sends a signal to the process inside the host behind a child.
///
/// # Panics
/// It has ended.
pub fn signal(child: &Child, signal: Signal) {
    nix::sys::signal::kill(inner_pid(child), signal).expect("signalled");
}
