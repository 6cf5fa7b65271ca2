//! Processes of a host: which one, on which core, and how long it worked.

use std::fs;

use anyhow::{Context, Result};
use netengine_tests::Host;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::{Pid, SysconfVar, sysconf},
};

/// The core that a measured server has for itself; its clients are put on [`CLIENTS`].
pub const SERVER: usize = 0;
/// The core of the clients.
pub const CLIENTS: usize = 1;

/// The one process of the host with this name (proc(5), `comm`) and this text in its arguments.
///
/// # Errors
/// There is none.
pub fn find(host: &Host, comm: &str, argument: &str) -> Result<Pid> {
    let read = |pid: Pid, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let is_it = |pid: Pid| {
        read(pid, "comm").trim_end() == comm && read(pid, "cmdline").split('\0').any(|given| given == argument)
    };
    let mut all = host.processes().into_iter().map(|(pid, _)| pid);
    all.find(|pid| is_it(*pid)).with_context(|| format!("no process {comm} with {argument}"))
}

/// Lets all threads of a process run on one core only.
///
/// # Errors
/// It is gone, or there is no such core.
pub fn pin(pid: Pid, core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread: i32 = thread?.file_name().to_str().context("a number")?.parse()?;
        sched_setaffinity(Pid::from_raw(thread), &set).context("this needs two cores")?;
    }
    Ok(())
}

/// Seconds of a core that a process has used (proc_pid_stat(5), `utime` and `stime`).
///
/// # Errors
/// It is gone.
pub fn worked(pid: Pid) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; `utime` is the twelfth field after it.
    let (_, rest) = text.rsplit_once(')').context("a name")?;
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("a clock")?;
    Ok(ticks / per_second as f64)
}
