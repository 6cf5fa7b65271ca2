//! What was expected against what was observed. Nothing that was not observed passes.

use netengine_lab_proto::{CapturedFrame, CaseAnswer, CaseResult, Hop, PacketOutcome, Reply, RuleInfo, Verdict};

use crate::{
    case::{CT_STATES, Case, Exactly, Expectation, ReplyKind},
    file::Counter,
    verdict::word,
};

/// How a case, or one of its packets, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// It could not be observed.
    Inconclusive,
    /// Observed, and not as expected.
    Failed,
}

impl Outcome {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Inconclusive => "inconclusive",
            Self::Failed => "failed",
        }
    }
}

/// A case that was run.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged<'a> {
    /// The case.
    pub case: &'a Case,
    /// The worst of its packets'.
    pub outcome: Outcome,
    /// Why, when it is about the case as a whole: a ruleset that did not load, an engine that failed.
    pub message: Option<String>,
    /// Its packets, in order; empty when none was sent.
    pub packets: Vec<JudgedPacket<'a>>,
    /// The rules that outcomes name, or all of them when that was asked for.
    pub rules: Vec<RuleInfo>,
    /// Milliseconds in all, on the engine's side.
    pub millis: f64,
    /// The frames that were sent and seen, where that was asked for.
    pub frames: Vec<CapturedFrame>,
    /// Frames beyond the engine's bounds.
    pub frames_missed: u64,
}

/// A packet that was judged.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedPacket<'a> {
    /// What was expected.
    pub expected: &'a Expectation,
    /// What was observed.
    pub seen: PacketOutcome,
    /// The rule that decided it, where it is known.
    pub rule: Option<RuleInfo>,
    /// The place of that rule in the file it came from: line and column.
    pub place: Option<(u32, u32)>,
    /// Whether all was as expected.
    pub outcome: Outcome,
    /// What was not, one line each.
    pub differences: Vec<String>,
}

/// Judges a case by what the engine answered.
pub fn judge<'a>(case: &'a Case, result: CaseResult) -> Judged<'a> {
    let whole = |outcome, message: String| Judged {
        case,
        outcome,
        message: Some(message),
        packets: Vec::new(),
        rules: Vec::new(),
        millis: 0.0,
        frames: Vec::new(),
        frames_missed: 0,
    };
    match (result, &case.load_error) {
        (CaseResult::LoadFailed(errors), wanted) => {
            let place = |error: &netengine_lab_proto::LoadError| match error.line {
                Some(line) => {
                    let (line, column) = case.rules.place(line, error.column.unwrap_or(1));
                    format!("{}:{line}:{column}: {}", case.rules.file, error.message)
                }
                None => format!("{}: {}", case.rules.file, error.message),
            };
            let text = errors.iter().map(place).collect::<Vec<_>>().join("\n");
            match wanted {
                Some(wanted) if errors.iter().any(|error| error.message.contains(wanted.as_str())) => {
                    Judged { message: None, ..whole(Outcome::Passed, String::new()) }
                }
                Some(wanted) => whole(Outcome::Failed, format!("expected a load error with {wanted:?}, but: {text}")),
                None => whole(Outcome::Failed, format!("cannot load the ruleset: {text}")),
            }
        }
        (CaseResult::Judged(_), Some(wanted)) => {
            whole(Outcome::Failed, format!("expected a load error with {wanted:?}, but the ruleset loaded"))
        }
        (CaseResult::Unsupported { message } | CaseResult::Failed { message }, _) => {
            whole(Outcome::Inconclusive, message)
        }
        (CaseResult::Judged(answer), None) if answer.packets.len() != case.packets.len() => {
            let message = format!("{} packets were sent, {} judged", case.packets.len(), answer.packets.len());
            whole(Outcome::Inconclusive, message)
        }
        (CaseResult::Judged(answer), None) => packets(case, *answer),
    }
}

fn packets(case: &Case, answer: CaseAnswer) -> Judged<'_> {
    let CaseAnswer { packets: seen, rules, setup_micros, run_micros, frames, frames_missed, .. } = answer;
    let mut judged = Vec::with_capacity(seen.len());
    for (expected, seen) in case.packets.iter().zip(seen.into_inner()) {
        let rule = seen.deciding.as_ref().and_then(|of| rules.iter().find(|rule| rule.rule == *of)).cloned();
        let tested = |rule: &&RuleInfo| rule.rule.node == case.request.topology.tested;
        let place =
            rule.as_ref().filter(tested).and_then(|rule| Some(case.rules.place(rule.line?, rule.column.unwrap_or(1))));
        let differences = differences(expected, &seen, rule.as_ref(), &rules);
        let outcome = match (seen.verdict, differences.is_empty()) {
            (Verdict::Inconclusive, _) => Outcome::Inconclusive,
            (_, true) => Outcome::Passed,
            (_, false) => Outcome::Failed,
        };
        judged.push(JudgedPacket { expected, seen, rule, place, outcome, differences });
    }
    let outcome = judged.iter().map(|packet| packet.outcome).max().unwrap_or(Outcome::Passed);
    let millis = (setup_micros + run_micros) as f64 / 1000.0;
    let frames = frames.into_inner();
    Judged { case, outcome, message: None, packets: judged, rules: rules.into_inner(), millis, frames, frames_missed }
}

/// What differs, one line each.
fn differences(
    expected: &Expectation,
    seen: &PacketOutcome,
    rule: Option<&RuleInfo>,
    rules: &[RuleInfo],
) -> Vec<String> {
    let mut found = Vec::new();
    if !expected.verdict.is_met_by(seen.verdict) {
        found.push(format!("expected {}, got {}", word(expected.verdict.verdict()), word(seen.verdict)));
    }
    let Exactly { rule: text, chain, delivered_to, src, dst, sport, dport, ct_state, reply, log, counter } =
        &expected.exactly;
    let mut differ = |what: &str, wanted: Option<String>, got: Option<String>| {
        if let Some(wanted) = wanted
            && got.as_ref() != Some(&wanted)
        {
            found.push(format!("expected {what} {wanted}, got {}", got.as_deref().unwrap_or("none")));
        }
    };
    fn shown<T: ToString>(value: &Option<T>) -> Option<String> {
        value.as_ref().map(ToString::to_string)
    }
    let delivered = seen.delivered.as_ref();
    differ("chain", shown(chain), seen.deciding.as_ref().map(|rule| rule.chain.clone()));
    differ("delivery to", shown(delivered_to), delivered.map(|at| at.node.to_string()));
    differ("source", shown(src), delivered.and_then(|at| at.src).map(|a| a.to_string()));
    differ("destination", shown(dst), delivered.and_then(|at| at.dst).map(|a| a.to_string()));
    differ("source port", shown(sport), delivered.and_then(|at| at.sport).map(|p| p.to_string()));
    differ("destination port", shown(dport), delivered.and_then(|at| at.dport).map(|p| p.to_string()));
    let state = |state| CT_STATES.iter().find(|(_, of)| *of == state).map(|(word, _)| (*word).to_owned());
    differ("conntrack state", ct_state.and_then(state), seen.ct_state.and_then(state));
    differ("reply", reply.map(reply_word), Some(reply_word(reply_kind(seen.reply))));
    if let Some(text) = text {
        let got = rule.map(|rule| rule.text.as_str());
        if !got.is_some_and(|got| got.contains(text.as_str())) {
            found.push(format!("expected a rule with {text:?}, got {}", got.unwrap_or("none")));
        }
    }
    if let Some(text) = log {
        let prefixes: Vec<&str> = met(seen, rules).filter_map(|rule| log_prefix(&rule.text)).collect();
        if !prefixes.iter().any(|prefix| prefix.contains(text.as_str())) {
            let got = if prefixes.is_empty() { "none".to_owned() } else { format!("{prefixes:?}") };
            found.push(format!("expected a log with {text:?}, got {got}"));
        }
    }
    found.extend(counter.iter().flat_map(|wanted| miscounted(wanted, seen)));
    found
}

/// The rules that a packet met, in the order of its path.
fn met<'a>(seen: &'a PacketOutcome, rules: &'a [RuleInfo]) -> impl Iterator<Item = &'a RuleInfo> {
    let is_of = |rule: &RuleInfo, hop: &Hop| {
        let of = &rule.rule;
        of.handle == hop.rule && of.node == hop.node && of.family == hop.family && of.table == hop.table
    };
    let hops = seen.path.iter().filter(|hop| hop.rule.is_some());
    hops.filter_map(move |hop| rules.iter().find(|rule| is_of(rule, hop)))
}

/// The prefix of a rule's log statement, which may be empty; none without such a statement.
fn log_prefix(text: &str) -> Option<&str> {
    // Every other piece stands in quotes: a comment or a prefix may hold the word itself.
    let mut pieces = text.split('"');
    while let Some(piece) = pieces.next() {
        if let Some((_, rest)) = piece.split_once("log").filter(|(before, rest)| {
            (before.is_empty() || before.ends_with(' ')) && (rest.is_empty() || rest.starts_with(' '))
        }) {
            let is_prefix = rest.trim_end().ends_with("prefix");
            return Some(if is_prefix { pieces.next().unwrap_or("") } else { "" });
        }
        pieces.next();
    }
    None
}

/// Counters that show something else, one line each.
fn miscounted(wanted: &Counter, seen: &PacketOutcome) -> Vec<String> {
    let line = |what: &str, wanted: u64, got: Option<u64>| {
        let got = got.map_or_else(|| "none".to_owned(), |packets| packets.to_string());
        format!("expected {what} at {wanted} packets, got {got}")
    };
    match wanted {
        Counter::OfRule(packets) => {
            let mut of_rules = seen.counters.iter().filter(|counter| counter.rule.is_some());
            let decided = of_rules.clone().find(|counter| counter.rule == seen.deciding);
            let got = decided.or_else(|| of_rules.next_back()).map(|counter| counter.packets);
            if got == Some(*packets) { Vec::new() } else { vec![line("the rule's counter", *packets, got)] }
        }
        Counter::Named(all) => {
            let got = |name: &str| {
                seen.counters
                    .iter()
                    .find(|counter| counter.name.as_deref() == Some(name))
                    .map(|counter| counter.packets)
            };
            let wrong = all.iter().filter(|(name, packets)| got(name) != Some(**packets));
            wrong.map(|(name, packets)| line(&format!("counter {name:?}"), *packets, got(name))).collect()
        }
    }
}

fn reply_kind(reply: Option<Reply>) -> ReplyKind {
    match reply {
        None => ReplyKind::None,
        Some(Reply::SynAck) => ReplyKind::SynAck,
        Some(Reply::Reset) => ReplyKind::Reset,
        Some(Reply::Tcp) => ReplyKind::Tcp,
        Some(Reply::Udp) => ReplyKind::Udp,
        Some(Reply::EchoReply) => ReplyKind::Echo,
        Some(Reply::IcmpError { .. }) => ReplyKind::Icmp,
        Some(Reply::Neighbour) => ReplyKind::Neighbour,
    }
}

fn reply_word(kind: ReplyKind) -> String {
    ReplyKind::WORDS.iter().find(|(_, of)| *of == kind).map_or_else(String::new, |(word, _)| (*word).to_owned())
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
