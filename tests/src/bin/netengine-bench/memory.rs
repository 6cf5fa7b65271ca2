//! Memory at rest, from /proc/PID/smaps_rollup (proc_pid_smaps(5)).
//!
//! RSS counts a page shared by several processes in each of them; PSS divides it among them. The promise is about RSS.
//! A world's services and its router's are the same program: the role in the command line tells them apart.

use std::{collections::BTreeMap, fs};

use anyhow::{Result, ensure};
use netengine_tests::Host;

use crate::figures::{Figure, Report, Target};

/// Who is counted where: the name of the process (proc(5), `comm`) and the figure it goes into.
const PROCESSES: [(&str, &str); 7] = [
    ("netengine-rootd", "rootd"),
    ("ne-rootd-net", "rootd"),
    ("ne-rootd-ns", "rootd"),
    ("ne-rootd-spawn", "rootd"),
    ("ne-holder", "rootd"),
    ("ne-attendant", "attendants"),
    ("netengine-userd", "userd"),
];
/// The one that is counted by its role.
const BY_ROLE: &str = "netengine-world";

/// What a process, or several, hold, in KiB.
#[derive(Debug, Clone, Default)]
struct Held {
    processes: usize,
    rss: u64,
    pss: u64,
    largest_rss: u64,
    /// RSS by name.
    names: BTreeMap<String, u64>,
}

fn held(host: &Host) -> BTreeMap<&'static str, Held> {
    let mut sum: BTreeMap<&'static str, Held> = BTreeMap::new();
    for (pid, _) in host.processes() {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let name = read("comm");
        let known = PROCESSES.iter().find(|(known, _)| *known == name.trim_end()).map(|(_, part)| *part);
        let role = || if name.trim_end() == BY_ROLE { role(&read("cmdline")) } else { None };
        let Some(part) = known.or_else(role) else { continue };
        let rollup = read("smaps_rollup");
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
        };
        let (rss, entry) = (field("Rss:"), sum.entry(part).or_default());
        entry.processes += 1;
        entry.rss += rss;
        entry.pss += field("Pss:");
        entry.largest_rss = entry.largest_rss.max(rss);
        *entry.names.entry(name.trim_end().to_owned()).or_default() += rss;
    }
    sum
}

/// Which of the program's roles a command line asks for; live checks come and go and are not counted.
fn role(arguments: &str) -> Option<&'static str> {
    let mut arguments = arguments.split('\0').skip_while(|argument| *argument != "--role");
    match arguments.nth(1)? {
        "worldd" => Some("worldd"),
        "gateway" => Some("gateway"),
        _ => None,
    }
}

/// What each state must hold: rootd and userd have one promise, a world's services another for each.
#[derive(Debug, Clone, Copy)]
pub struct Promised {
    /// Whether rootd's and userd's are for this state.
    pub daemons: bool,
    /// The promise about worldd, MiB.
    pub worldd: Option<f64>,
}

/// worldd with its time service alone, phase 0.
pub const WORLDD_OF_NETWORK: f64 = 15.0;
/// worldd with everything.
pub const WORLDD: f64 = 64.0;

/// Adds the figures for what runs in the host now.
///
/// # Errors
/// A part does not run.
pub fn measure(report: &mut Report, host: &Host, state: &str, promised: Promised) -> Result<()> {
    let held = held(host);
    report.heading(&format!("Memory at rest, {state}"));
    let of_daemons = |most: f64| Some(most).filter(|_| promised.daemons);
    let parts = [
        ("rootd", of_daemons(24.0)),
        ("userd", of_daemons(40.0)),
        ("worldd", promised.worldd),
        ("gateway", None),
        ("attendants", None),
    ];
    for (part, target) in parts {
        let Some(found) = held.get(part) else {
            ensure!(part == "gateway", "no process of {part} runs");
            continue;
        };
        let mib = |kib: u64| kib as f64 / 1024.0;
        // One of each per world: the promise is about each.
        let rss = if ["worldd", "gateway"].contains(&part) { found.largest_rss } else { found.rss };
        let target = target.map_or(Target::None, Target::AtMost);
        report.add(Figure::single(format!("memory.{state}.{part}.rss"), mib(rss), "MiB", target));
        for (name, rss) in found.names.iter().filter(|_| found.names.len() > 1) {
            report.add(Figure::single(format!("memory.{state}.{part}.rss.{name}"), mib(*rss), "MiB", Target::None));
        }
        let pss = format!("memory.{state}.{part}.pss ({} processes)", found.processes);
        report.add(Figure::single(pss, mib(found.pss), "MiB", Target::None));
    }
    Ok(())
}
