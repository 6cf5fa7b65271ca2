//! Memory at rest, from /proc/PID/smaps_rollup (proc_pid_smaps(5)).
//!
//! RSS counts a page shared by several processes in each of them; PSS divides it among them. The promise is about RSS.

use std::{collections::BTreeMap, fs};

use anyhow::{Result, ensure};
use netengine_tests::Host;

use crate::figures::{Figure, Report, Target};

/// Who is counted where: the name of the process (proc(5), `comm`) and the figure it goes into.
const PROCESSES: [(&str, &str); 8] = [
    ("netengine-rootd", "rootd"),
    ("ne-rootd-net", "rootd"),
    ("ne-rootd-ns", "rootd"),
    ("ne-rootd-spawn", "rootd"),
    ("ne-holder", "rootd"),
    ("ne-attendant", "attendants"),
    ("netengine-userd", "userd"),
    ("netengine-world", "worldd"),
];

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
        let Some((_, part)) = PROCESSES.iter().find(|(known, _)| *known == name.trim_end()) else { continue };
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

/// Adds the figures for what runs in the host now. `promised`: whether the targets are for this state.
///
/// # Errors
/// A part does not run.
pub fn measure(report: &mut Report, host: &Host, state: &str, promised: bool) -> Result<()> {
    let held = held(host);
    report.heading(&format!("Memory at rest, {state}"));
    for (part, target) in [("rootd", Some(24.0)), ("userd", Some(40.0)), ("worldd", Some(15.0)), ("attendants", None)] {
        let found = held.get(part).cloned().unwrap_or_default();
        ensure!(found.processes > 0, "no process of {part} runs");
        let mib = |kib: u64| kib as f64 / 1024.0;
        // One worldd per world (and its live checks' client, the same program): the promise is about each.
        let rss = if part == "worldd" { found.largest_rss } else { found.rss };
        let target = target.filter(|_| promised).map_or(Target::None, Target::AtMost);
        report.add(Figure::single(format!("memory.{state}.{part}.rss"), mib(rss), "MiB", target));
        for (name, rss) in found.names.iter().filter(|_| found.names.len() > 1) {
            report.add(Figure::single(format!("memory.{state}.{part}.rss.{name}"), mib(*rss), "MiB", Target::None));
        }
        let pss = format!("memory.{state}.{part}.pss ({} processes)", found.processes);
        report.add(Figure::single(pss, mib(found.pss), "MiB", Target::None));
    }
    Ok(())
}
