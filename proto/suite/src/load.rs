//! A text to a suite. Errors have the place they are about.

use std::{fmt, path::Path};

use netengine_lab_proto::{CaseLimits, CaseRequest, Listeners, RulesetText, Topology};
use netengine_proto::bounded::Bounded;
use serde_saphyr::{Location, Spanned};

use crate::{
    case::{CT_STATES, Case, Exactly, Expectation, Origin, ReplyKind, Suite},
    file::{self, File},
    flow::Flows,
    packet::packets,
    topology::{chosen, listed, settings},
    verdict::{Expected, expectable},
};

/// Bytes of a suite's file: one ruleset of the largest size, and room for its cases.
pub const SUITE_BYTES: usize = 24 << 20;

/// What is wrong with a suite, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}

/// Reads a suite. `read` gives the text of a file that the suite names with `rules_file`, or words why not.
///
/// # Errors
/// Everything that is wrong; only the first thing when the file is no YAML or JSON of the right shape.
pub fn load(
    name: &str,
    text: &str,
    read: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Suite, Vec<Mistake>> {
    let whole = |message: String| vec![Mistake { file: name.to_owned(), line: 0, column: 0, message }];
    if text.len() > SUITE_BYTES {
        return Err(whole(format!("the file holds {} bytes; at most {SUITE_BYTES} are allowed", text.len())));
    }
    let file: File = serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location();
        let message = error.without_snippet().to_string();
        let (line, column) = at.map(place).unwrap_or((0, 0));
        vec![Mistake { file: name.to_owned(), line, column, message: short(&message) }]
    })?;
    if file.tests.is_empty() {
        return Err(whole("the suite has no cases".to_owned()));
    }
    let mut reader = Reader { name, lines: text.lines().collect(), file: &file, read, mistakes: Vec::new() };
    let cases: Vec<_> = (1..).zip(&file.tests).filter_map(|(number, case)| reader.case(number, case)).collect();
    if reader.mistakes.is_empty() { Ok(Suite { file: name.to_owned(), cases }) } else { Err(reader.mistakes) }
}

/// The parser's own message, without the place, which stands before it.
fn short(message: &str) -> String {
    let end = message.find(" at line ").unwrap_or(message.len());
    message[..end].trim_end_matches([',', ':']).to_owned()
}

fn place(at: Location) -> (u32, u32) {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    (number(at.line()), number(at.column()))
}

/// The name of a file that a suite names: it lies beside the suite.
fn beside(suite: &str, file: &str) -> String {
    let directory = Path::new(suite).parent().unwrap_or(Path::new(""));
    directory.join(file).display().to_string()
}

struct Reader<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
    file: &'a File,
    read: &'a mut dyn FnMut(&str) -> Result<String, String>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    /// Notes a mistake.
    fn wrong<T>(&mut self, at: Location, message: impl Into<String>) -> Option<T> {
        let (line, column) = place(at);
        self.mistakes.push(Mistake { file: self.name.to_owned(), line, column, message: message.into() });
        None
    }

    /// A value, or its mistake noted.
    fn sound<T>(&mut self, at: Location, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(message) => self.wrong(at, message),
        }
    }

    fn case(&mut self, number: usize, written: &Spanned<file::Case>) -> Option<Case> {
        let (at, case) = (written.referenced, &written.value);
        let name = case.name.clone().unwrap_or_else(|| format!("case {number}"));
        let file = self.file;
        let simple = file::TopologyChoice::Named("simple".to_owned());
        let chosen_at = case.topology.as_ref().or(file.defaults.topology.as_ref());
        let (choice, choice_at) = chosen_at.map_or((&simple, at), |choice| (&choice.value, choice.referenced));
        let topology = self.sound(choice_at, chosen(choice, &file.topologies));
        let rules = self.rules(case, at);
        let mut topology = topology?;
        self.tune(case, at, &mut topology);
        let before = self.mistakes.len();
        let whole = self.whole(case)?;
        let (mut injected, mut expected, mut flows) = (Vec::new(), Vec::new(), Flows::default());
        for (number, packet) in (1..).zip(&case.packets) {
            let Some(made) = self.sound(packet.referenced, packets(&packet.value, &topology, &mut flows)) else {
                continue;
            };
            let Some((verdict, exactly)) = self.expectation(packet, whole.1) else { continue };
            let (line, _) = place(packet.referenced);
            let number_made = made.len();
            for (nth, (packet, mut title)) in (1_u32..).zip(made) {
                if number_made > 1 {
                    title += &format!(", {nth} of {number_made}");
                }
                injected.push(packet);
                expected.push(Expectation { number, line, title, verdict, exactly: exactly.clone() });
            }
        }
        if case.packets.is_empty() && whole.0.is_none() {
            return self.wrong(at, format!("{name}: it sends no packets"));
        }
        let (ruleset, rules) = rules?;
        let packets = self.sound(at, Bounded::new(injected).map_err(|error| format!("packets: {error}")))?;
        let timeout_ms = case.timeout_ms.or(file.defaults.timeout_ms).unwrap_or(CaseLimits::default().timeout_ms);
        let limits = CaseLimits { timeout_ms, ..CaseLimits::default() };
        let request = CaseRequest { topology, ruleset, beside: Bounded::default(), packets, limits };
        if self.mistakes.len() == before
            && let Err(error) = request.check()
        {
            return self.wrong(at, format!("{name}: {error}"));
        }
        let (line, _) = place(at);
        let tags = case.tags.clone();
        Some(Case { name, line, tags, request, rules, load_error: whole.0, packets: expected })
    }

    /// Listeners, peers and settings of the case.
    fn tune(&mut self, case: &file::Case, at: Location, topology: &mut Topology) {
        let defaults = &self.file.defaults;
        let listeners = case.listeners.as_ref().or(defaults.listeners.as_ref());
        let silent = case.peers.or(defaults.peers).unwrap_or_default() == file::Peers::Silent;
        let listeners = match listeners {
            None => None,
            Some(Spanned { value: file::Listeners::Auto, .. }) => Some(Listeners::Auto),
            Some(Spanned { value: file::Listeners::None, .. }) => Some(Listeners::Listed(Bounded::default())),
            Some(Spanned { value: file::Listeners::These(these), referenced, .. }) => {
                let (these, referenced) = (listed(these), *referenced);
                self.sound(referenced, these)
            }
        };
        let settings = self.sound(at, settings(&case.sysctls)).unwrap_or_default();
        let tested = topology.tested.clone();
        let nodes = topology.nodes.clone().into_inner().into_iter().map(|mut node| {
            if let Some(listeners) = &listeners {
                node.listeners = listeners.clone();
            }
            if node.name == tested && !settings.is_empty() {
                node.settings = settings.clone();
            }
            node.silent |= silent && node.name != tested;
            node
        });
        // As many as before, so within the bound.
        topology.nodes = Bounded::new(nodes.collect()).unwrap_or_default();
    }

    /// The ruleset of a case, its own before the file's, and where it stands.
    fn rules(&mut self, case: &file::Case, at: Location) -> Option<(RulesetText, Origin)> {
        let file = self.file;
        let own = case.rules.is_some() || case.rules_file.is_some();
        let (text, named) = if own { (&case.rules, &case.rules_file) } else { (&file.rules, &file.rules_file) };
        let (text, origin) = match (text, named) {
            (Some(text), Some(_)) => {
                return self.wrong(text.referenced, "it has `rules` and `rules_file`; one is enough");
            }
            (Some(text), None) => (text.value.clone(), self.origin(text)),
            (None, Some(named)) => {
                let read = (self.read)(&named.value);
                let text = self.sound(named.referenced, read)?;
                (text, Origin::file(beside(self.name, &named.value)))
            }
            (None, None) => return self.wrong(at, "it has no `rules`, and the suite has none for all"),
        };
        let at = at.to_owned();
        let text = self.sound(at, RulesetText::new(text).map_err(|error| format!("`rules` {error}")))?;
        Some((text, origin))
    }

    /// Where a text stands: that of a block scalar begins on the line after its `|`, indented; one in quotes behind the quote.
    fn origin(&self, text: &Spanned<String>) -> Origin {
        let (line, column) = place(text.defined);
        let source = |line: u32| self.lines.get((line as usize).wrapping_sub(1)).copied().unwrap_or_default();
        let before = column.saturating_sub(1) as usize;
        let start = source(line).char_indices().nth(before).map_or(source(line).len(), |(at, _)| at);
        let here = &source(line)[start..];
        // The place is that of the `|`, or of the block's first character.
        let is_indicator = here.starts_with(['|', '>']);
        let first = if is_indicator { line + 1 } else { line };
        let blank = |line: u32| {
            let written =
                self.lines.iter().skip((line as usize).saturating_sub(1)).find(|line| !line.trim().is_empty());
            written.map_or(0, |line| line.chars().take_while(|c| *c == ' ').count())
        };
        let indent = match here.starts_with(['"', '\'']) {
            _ if is_indicator => blank(first),
            true => start + 1,
            false => start,
        };
        let stands = |(number, written): (u32, &str)| {
            let there = source(first + number).get(indent..).unwrap_or_default();
            there == written || number == 0 && !is_indicator && there.starts_with(written)
        };
        let is_verbatim = (0..).zip(text.value.lines()).all(stands);
        let indent = if is_verbatim || is_indicator { indent } else { before };
        Origin { file: self.name.to_owned(), line: first, indent: u32::try_from(indent).unwrap_or(0), is_verbatim }
    }

    /// What is expected of the case as a whole: a load error's text, or the verdict of packets that say nothing.
    fn whole(&mut self, case: &file::Case) -> Option<(Option<String>, Option<Expected>)> {
        let Some(expect) = &case.expect else { return Some((None, None)) };
        let at = expect.referenced;
        match (&expect.value.load_error, &expect.value.verdict) {
            (Some(_), Some(_)) => self.wrong(at, "a ruleset that does not load gives no verdict"),
            (Some(text), None) => Some((Some(text.clone()), None)),
            (None, Some(word)) => Some((None, Some(Expected::Exactly(self.verdict(at, word)?)))),
            (None, None) => self.wrong(at, "`expect` is empty"),
        }
    }

    fn verdict(&mut self, at: Location, word: &str) -> Option<netengine_lab_proto::Verdict> {
        let known = "ACCEPT, DROP, REJECT, STOLEN, HELD, LOST";
        self.sound(at, expectable(word).ok_or_else(|| format!("unknown verdict {word:?}; there are {known}")))
    }

    fn expectation(&mut self, packet: &Spanned<file::Packet>, whole: Option<Expected>) -> Option<(Expected, Exactly)> {
        let at = packet.referenced;
        let entry = &packet.value;
        let exact = entry.expect.clone().unwrap_or_default();
        let verdict = match (&exact.verdict, &entry.expected_verdict) {
            (Some(_), Some(_)) => return self.wrong(at, "it has `expected_verdict` and `expect.verdict`"),
            (Some(word), None) => Expected::Exactly(self.verdict(at, word)?),
            (None, Some(word)) => Expected::lenient(self.verdict(at, word)?),
            (None, None) => whole.unwrap_or(Expected::lenient(netengine_lab_proto::Verdict::Accept)),
        };
        let ct_state = match exact.ct_state.as_deref() {
            None => None,
            Some(word) => Some(self.word(at, "conntrack state", word, &CT_STATES)?),
        };
        let reply = match exact.reply.as_deref() {
            None => None,
            Some(word) => Some(self.word(at, "reply", word, &ReplyKind::WORDS)?),
        };
        let file::Expect { rule, chain, delivered_to, src, dst, sport, dport, log, counter, .. } = exact;
        let exactly = Exactly { rule, chain, delivered_to, src, dst, sport, dport, ct_state, reply, log, counter };
        Some((verdict, exactly))
    }

    fn word<T: Copy>(&mut self, at: Location, what: &str, word: &str, known: &[(&str, T)]) -> Option<T> {
        let found = known.iter().find(|(text, _)| text.eq_ignore_ascii_case(word)).map(|(_, value)| *value);
        let words: Vec<&str> = known.iter().map(|(text, _)| *text).collect();
        self.sound(at, found.ok_or_else(|| format!("unknown {what} {word:?}; there are {}", words.join(", "))))
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
