//! `netengine test`: firewall suites, judged by the real kernel.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Instant, SystemTime},
};

use netengine_proto::api::ProblemKind;
use netengine_suite::{
    Case, Judged, Outcome, Suite, coverage,
    report::{self, Run, Style},
};

use crate::{
    args::{Report, TestArgs},
    failure::Failure,
    suite::{beside, captures, compare, derive, filter::Filter, jobs, mutate, read, watch},
    ui::Ui,
};

/// Runs suites, once or whenever they change.
///
/// # Errors
/// Class `usage` or `spec` for suites that cannot be read or are wrong, class `engine` when no worker can be started.
pub fn run(ui: &Ui, args: &TestArgs) -> Result<u8, Failure> {
    if let Some(ruleset) = &args.derive {
        let jobs = jobs::Jobs { most: args.jobs.map(usize::from), fail_fast: false, seed: args.seed };
        return derive::run(ui, ruleset, &jobs);
    }
    if !args.watch {
        return once(ui, args);
    }
    let mut watch = watch::Watch::new()?;
    loop {
        // Before they are read, so that a change while a run is on is not missed.
        watch.follow(&watched(args))?;
        if let Err(failure) = once(ui, args) {
            ui.failure(&failure);
        }
        ui.remark("waiting for a change; Ctrl-C ends");
        watch.wait()?;
    }
}

/// The files that a run reads; of a suite that is broken only itself.
fn watched(args: &TestArgs) -> Vec<PathBuf> {
    let mut files = args.suites.clone();
    files.extend(args.diff.clone());
    files.extend(args.beside.iter().map(PathBuf::from));
    for suite in &args.suites {
        let known = read::all(std::slice::from_ref(suite)).unwrap_or_default();
        let named = known.iter().flat_map(|suite| &suite.cases).map(|case| PathBuf::from(&case.rules.file));
        files.extend(named.filter(|file| file != suite).collect::<BTreeSet<_>>());
    }
    files
}

fn once(ui: &Ui, args: &TestArgs) -> Result<u8, Failure> {
    let (begun, began_at) = (Instant::now(), SystemTime::now());
    let mut suites = read::all(&args.suites)?;
    let filter = args.filter.as_deref().map(Filter::parse).transpose().map_err(|why| {
        let help = "`name:TEXT`, `tag:WORD`, a text, joined by `and`, `or`, `not`, with parentheses";
        Failure::new(ProblemKind::Usage, "cannot understand the filter", why, help)
    })?;
    for suite in &mut suites {
        suite.cases.retain(|case| filter.as_ref().is_none_or(|filter| filter.takes(case)));
        for case in &mut suite.cases {
            case.request.limits.all_rules |= args.coverage || args.mutate;
            case.request.limits.capture |= args.pcap.is_some();
        }
    }
    beside::add(&args.beside, suites.iter_mut().flat_map(|suite| &mut suite.cases))?;
    let cases: Vec<&Case> = suites.iter().flat_map(|suite| &suite.cases).collect();
    let jobs = jobs::Jobs { most: args.jobs.map(usize::from), fail_fast: args.fail_fast, seed: args.seed };
    let format = if ui.json { Report::Json } else { args.format };
    if matches!(format, Report::Junit | Report::Tap) && (args.diff.is_some() || args.mutate) {
        let help = "leave `--format` away, or write `--format json`";
        let cause = "what `--mutate` and `--diff` find is no list of cases";
        return Err(Failure::new(ProblemKind::Usage, "cannot report that as JUnit or TAP", cause, help));
    }
    if let Some(other) = &args.diff {
        return compare::run(ui, &cases, other, &jobs, format);
    }
    let style = Style { is_coloured: ui.color, all_paths: args.trace };
    // What passed is told in full by these alone; the other reports need of it no more than its case.
    let keeps = format == Report::Json || args.mutate || args.coverage || args.pcap.is_some();
    let tell = |judged: &mut Judged<'_>| {
        if format == Report::Pretty && !args.mutate {
            ui.print(&report::pretty(judged, style))?;
        }
        if !keeps {
            judged.packets.retain(|packet| packet.outcome != Outcome::Passed);
            judged.packets.shrink_to_fit();
        }
        Ok(())
    };
    let results = jobs.run(&cases, &tell)?;
    if results.len() < cases.len() {
        ui.remark(&format!("stopped: {} of {} cases were run", results.len(), cases.len()));
    }
    let run = collect(&suites, results, begun.elapsed().as_secs_f64() * 1000.0);
    if args.mutate {
        return mutate::run(ui, &run, &jobs, format, style);
    }
    if let Some(dir) = &args.pcap {
        captures::write(&run, dir, began_at)?;
    }
    let covered = args.coverage.then(|| coverage::coverage(&run));
    match format {
        Report::Pretty => {
            ui.print(&covered.as_deref().map(coverage::pretty).unwrap_or_default())?;
            ui.print(&format!("{}\n", report::summary_line(&run, style)))?;
        }
        Report::Json => {
            let mut document = report::json(&run);
            if let Some(covered) = &covered {
                document["coverage"] = coverage::json(covered);
            }
            ui.print_json(&document)?;
        }
        Report::Junit => ui.print(&report::junit(&run))?,
        Report::Tap => ui.print(&report::tap(&run))?,
    }
    let (reached, total) = covered.as_deref().map(coverage::counts).unwrap_or_default();
    let is_short = args.coverage_min.is_some_and(|least| reached * 100 < total * usize::from(least));
    Ok(if is_short { 1 } else { run.exit_code() })
}

/// The results by suite, in the order of the files.
fn collect<'a>(suites: &'a [Suite], results: Vec<Judged<'a>>, millis: f64) -> Run<'a> {
    let mut results = results.into_iter().peekable();
    let of = |suite: &'a Suite| {
        let mut judged = Vec::new();
        while let Some(next) = results.next_if(|next| suite.cases.iter().any(|case| std::ptr::eq(case, next.case))) {
            judged.push(next);
        }
        (suite.file.as_str(), judged)
    };
    Run { suites: suites.iter().map(of).collect(), millis }
}
