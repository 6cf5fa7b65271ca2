//! `--diff`: the same packets with another ruleset.

use std::path::Path;

use netengine_lab_proto::{Delivery, PacketOutcome, Reply, RuleInfo, Verdict};
use netengine_proto::api::ProblemKind;
use netengine_suite::{Case, Judged, Outcome, case::Origin, judge::JudgedPacket, verdict::word};
use serde_json::{Value, json};

use super::{
    boundary::{Ruleset, cases as boundary_cases},
    jobs::Jobs,
};
use crate::{args::Report, escape, failure::Failure, ui::Ui};

/// Runs every case with its own ruleset and with that of `file`, and the boundary packets of both; tells of packets that fare otherwise.
///
/// # Errors
/// As a run, and class `usage` when the file cannot be read.
pub fn run(ui: &Ui, cases: &[&Case], file: &Path, jobs: &Jobs, format: Report) -> Result<u8, Failure> {
    let other = Ruleset::read(file, jobs)?;
    let mut all: Vec<Case> = cases.iter().copied().cloned().collect();
    all.extend(derived(cases, &other, jobs)?);
    let refused = |error: netengine_lab_proto::TooLong| {
        let what = format!("cannot use the ruleset {}", other.name);
        Failure::new(ProblemKind::Usage, what, error, "make it shorter")
    };
    let ruleset = netengine_lab_proto::RulesetText::new(other.text.clone()).map_err(refused)?;
    let others: Vec<Case> = all
        .iter()
        .map(|case| {
            let rules = Origin::file(other.name.clone());
            let mut other = Case { rules, load_error: None, ..case.clone() };
            other.request.ruleset = ruleset.clone();
            other
        })
        .collect();
    let first = jobs.run(&all.iter().collect::<Vec<_>>(), &|_| Ok(()))?;
    let second = jobs.run(&others.iter().collect::<Vec<_>>(), &|_| Ok(()))?;
    let found: Vec<_> = first.iter().zip(&second).flat_map(|(a, b)| differences(a, b)).collect();
    let (doubts, differing): (Vec<_>, Vec<_>) = found.into_iter().partition(|difference| difference.is_doubt);
    if format == Report::Json {
        let list = |list: &[Difference]| list.iter().map(Difference::json).collect::<Vec<_>>();
        ui.print_json(&json!({
            "version": 1, "differences": list(&differing), "inconclusive": list(&doubts), "packets": packets(&first),
        }))?;
    } else {
        for difference in differing.iter().chain(&doubts) {
            ui.print(&difference.line())?;
        }
        let doubt = if doubts.is_empty() { String::new() } else { format!(", {} not observed", doubts.len()) };
        let count = crate::commands::count(differing.len(), "difference");
        ui.print(&format!("{count}{doubt} in {} packets\n", packets(&first)))?;
    }
    Ok(match (differing.is_empty(), doubts.is_empty()) {
        (false, _) => 1,
        (true, false) => 3,
        (true, true) => 0,
    })
}

fn packets(judged: &[Judged<'_>]) -> usize {
    judged.iter().map(|judged| judged.packets.len().max(1)).sum()
}

/// A case for each boundary packet of the other ruleset and of each that the cases have, with the latter.
fn derived(cases: &[&Case], other: &Ruleset, jobs: &Jobs) -> Result<Vec<Case>, Failure> {
    let mut known: Vec<&Case> = Vec::new();
    let mut all = Vec::new();
    for case in cases.iter().filter(|case| case.load_error.is_none()) {
        if known.iter().any(|known| known.request.ruleset == case.request.ruleset) {
            continue;
        }
        known.push(case);
        let text = case.request.ruleset.as_str();
        // One that does not load is told of by its cases.
        let Ok(own) = Ruleset::of(case.rules.file.clone(), text.to_owned(), jobs) else { continue };
        let hooks = own.hooks().and(other.hooks());
        let mut seen: Vec<Vec<netengine_lab_proto::InjectedPacket>> = Vec::new();
        for ruleset in [&own, other] {
            for mut boundary in boundary_cases(&case.rules.file, text, hooks, &ruleset.proposals(hooks))?.cases {
                let packets: Vec<_> = boundary.request.packets.iter().cloned().collect();
                if !seen.contains(&packets) {
                    boundary.name = "boundary packet".to_owned();
                    boundary.rules = case.rules.clone();
                    boundary.request.beside = case.request.beside.clone();
                    all.push(boundary);
                    seen.push(packets);
                }
            }
        }
    }
    Ok(all)
}

struct Difference {
    case: String,
    packet: u32,
    title: String,
    before: Side,
    after: Side,
    is_doubt: bool,
}

/// What became of a packet with one of the rulesets.
struct Side {
    said: String,
    rule: Option<(RuleInfo, Option<String>)>,
}

impl Side {
    fn of(judged: &Judged<'_>, packet: &JudgedPacket<'_>, said: String) -> Self {
        let place = packet.place.map(|(line, column)| format!("{}:{line}:{column}", judged.case.rules.file));
        Self { said, rule: packet.rule.clone().map(|rule| (rule, place)) }
    }

    fn by(&self) -> String {
        let Some((rule, place)) = &self.rule else { return String::new() };
        let place = place.as_ref().map(|place| format!(" ({})", escape::line(place))).unwrap_or_default();
        format!("  by `{}`{place}", escape::line(&rule.text))
    }
}

impl Difference {
    fn line(&self) -> String {
        let (case, title) = (escape::line(&self.case), escape::line(&self.title));
        let (before, after) = (escape::line(&self.before.said), escape::line(&self.after.said));
        let became = match self.is_doubt {
            true => format!("could not be compared: {before}, {after}"),
            false => format!("{before} became {after}"),
        };
        // The rule that decides now; where none does, the one that did.
        let by = if self.after.rule.is_some() {
            self.after.by()
        } else {
            self.before.by().replacen("  by", "  before by", 1)
        };
        format!("{case}: {}. {title}: {became}{by}\n", self.packet)
    }

    fn json(&self) -> Value {
        let rule = |side: &Side| side.rule.as_ref().map(|(rule, _)| rule.text.clone());
        let place = |side: &Side| side.rule.as_ref().and_then(|(_, place)| place.clone());
        json!({
            "test": self.case, "packet": self.packet, "title": self.title,
            "before": self.before.said, "after": self.after.said,
            "rule": rule(&self.after), "place": place(&self.after),
            "rule_before": rule(&self.before), "place_before": place(&self.before),
        })
    }
}

fn differences(a: &Judged<'_>, b: &Judged<'_>) -> Vec<Difference> {
    if a.packets.len() != b.packets.len() || a.packets.is_empty() {
        let said = |judged: &Judged<'_>| Side {
            said: judged.message.clone().unwrap_or_else(|| {
                let loaded = judged.case.load_error.is_none();
                if loaded { "loaded" } else { "did not load" }.to_owned()
            }),
            rule: None,
        };
        let (before, after) = (said(a), said(b));
        let unseen = |judged: &Judged<'_>| judged.outcome == Outcome::Inconclusive && judged.packets.is_empty();
        let is_doubt = unseen(a) || unseen(b);
        if a.packets.is_empty() && b.packets.is_empty() && before.said == after.said && !is_doubt {
            return Vec::new();
        }
        let (case, title) = (a.case.name.clone(), "the ruleset".to_owned());
        return vec![Difference { case, packet: 0, title, before, after, is_doubt }];
    }
    let mut found = Vec::new();
    for (one, other) in a.packets.iter().zip(&b.packets) {
        let is_doubt = [one, other].iter().any(|packet| packet.seen.verdict == Verdict::Inconclusive);
        let details = one.seen.verdict == other.seen.verdict;
        let (before, after) = (said(&one.seen, details), said(&other.seen, details));
        if before == after && !is_doubt {
            continue;
        }
        found.push(Difference {
            case: a.case.name.clone(),
            packet: one.expected.number,
            title: one.expected.title.clone(),
            before: Side::of(a, one, before),
            after: Side::of(b, other, after),
            is_doubt,
        });
    }
    found
}

/// The verdict, and with details what a sender or receiver would see besides: where it arrived, how it was refused.
fn said(seen: &PacketOutcome, details: bool) -> String {
    let verdict = word(seen.verdict);
    match (seen.verdict, &seen.delivered) {
        (Verdict::Inconclusive, _) => format!("{verdict} ({})", seen.reason.as_deref().unwrap_or("not observed")),
        (Verdict::Reject, _) if details => {
            let with = match seen.reply {
                Some(Reply::Reset) => " with a reset".to_owned(),
                Some(Reply::IcmpError { kind, code }) => format!(" with an ICMP error, type {kind} code {code}"),
                _ => String::new(),
            };
            format!("{verdict}{with}")
        }
        (Verdict::Accept, Some(at)) if details => format!("{verdict}{}", arrived(at)),
        _ => verdict.to_owned(),
    }
}

fn arrived(at: &Delivery) -> String {
    let dst = at.dst.map(|dst| format!(" at {dst}")).unwrap_or_default();
    let port = at.dport.map(|port| format!(" port {port}")).unwrap_or_default();
    let src = at.src.map(|src| format!(" from {src}")).unwrap_or_default();
    format!(" to {}{dst}{port}{src}", at.node)
}
