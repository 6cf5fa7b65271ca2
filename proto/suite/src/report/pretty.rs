//! The report for people, with the path drawn.

use std::fmt::Write;

use netengine_lab_proto::{HopKind, HopVerdict};

use super::{Run, Summary, clean};
use crate::{
    judge::{Judged, JudgedPacket, Outcome},
    verdict::word,
};

/// How much is told, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// With colours.
    pub is_coloured: bool,
    /// The path of every packet, not only of those that did not pass.
    pub all_paths: bool,
}

impl Style {
    fn paint(self, outcome: Outcome, text: &str) -> String {
        let code = match outcome {
            Outcome::Passed => 32,
            Outcome::Inconclusive => 33,
            Outcome::Failed => 31,
        };
        if self.is_coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// One case.
pub fn pretty(judged: &Judged<'_>, style: Style) -> String {
    let mark = match judged.outcome {
        Outcome::Passed => "ok",
        Outcome::Inconclusive => "??",
        Outcome::Failed => "NO",
    };
    let mut out = format!("{} {}\n", style.paint(judged.outcome, mark), clean(&judged.case.name).replace('\n', " "));
    if let Some(message) = &judged.message {
        for line in message.lines() {
            let _ = writeln!(out, "     {}", clean(line));
        }
    }
    for packet in &judged.packets {
        if style.all_paths || packet.outcome != Outcome::Passed {
            one(&mut out, judged, packet, style);
        }
    }
    out
}

fn one(out: &mut String, judged: &Judged<'_>, packet: &JudgedPacket<'_>, style: Style) {
    let seen = &packet.seen;
    let verdict = style.paint(packet.outcome, word(seen.verdict));
    let _ = writeln!(out, "   {}. {}  {verdict}", packet.expected.number, clean(&packet.expected.title));
    for line in &packet.differences {
        let _ = writeln!(out, "      {}", style.paint(packet.outcome, &clean(line)));
    }
    if let Some(reason) = &seen.reason {
        let _ = writeln!(out, "      because {}", clean(reason));
    }
    for hop in seen.path.iter() {
        let hook = hop.hook.map(|hook| format!("{} ", hook.as_str())).unwrap_or_default();
        let family = hop.family.as_str();
        let said = match &hop.verdict {
            HopVerdict::Jump(to) => format!("jump {to}"),
            HopVerdict::Goto(to) => format!("goto {to}"),
            HopVerdict::Unknown(code) => format!("unknown verdict {code}"),
            other => format!("{other:?}").to_lowercase(),
        };
        let what = match (hop.kind, hop.rule) {
            (HopKind::Policy, _) => "policy".to_owned(),
            (HopKind::Return, _) => "end of chain".to_owned(),
            (HopKind::Rule, handle) => format!("rule {}", handle.map_or("?".to_owned(), |handle| handle.to_string())),
        };
        let _ = writeln!(out, "      | {hook}{family} {} {}: {what} -> {said}", clean(&hop.table), clean(&hop.chain));
    }
    if let Some(at) = &seen.delivered {
        let interface = at.interface.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let _ = writeln!(out, "      > delivered to {}{interface}", at.node);
    }
    if let Some(rule) = &packet.rule {
        let place = packet.place.map(|(line, column)| format!("  ({}:{line}:{column})", judged.case.rules.file));
        let _ = writeln!(out, "      = decided by `{}`{}", clean(&rule.text), place.unwrap_or_default());
    } else if let Some(rule) = seen.deciding.as_ref().filter(|rule| rule.handle.is_none()) {
        let _ = writeln!(out, "      = decided by the policy of chain {}", clean(&rule.chain));
    }
}

/// The last line.
pub fn summary_line(run: &Run<'_>, style: Style) -> String {
    let Summary { passed, failed, inconclusive } = run.summary();
    let worst = run.cases().map(|case| case.outcome).max().unwrap_or(Outcome::Passed);
    let text = format!("{passed} passed, {failed} failed, {inconclusive} inconclusive");
    format!("{} in {:.0} ms", style.paint(worst, &text), run.millis)
}
