//! The report as JUnit's XML, as CI servers read it.

use std::fmt::Write;

use super::{Run, Summary, clean};
use crate::judge::{Judged, Outcome};

/// The whole run.
pub fn junit(run: &Run<'_>) -> String {
    let Summary { passed, failed, inconclusive } = run.summary();
    let tests = passed + failed + inconclusive;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = format!("tests=\"{tests}\" failures=\"{failed}\" errors=\"{inconclusive}\"");
    let _ = writeln!(out, "<testsuites {counts} time=\"{:.3}\">", run.millis / 1000.0);
    for (file, cases) in &run.suites {
        let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
        let (failed, errors) = (count(Outcome::Failed), count(Outcome::Inconclusive));
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"{errors}\">",
            escaped(file),
            cases.len()
        );
        for case in cases {
            one(&mut out, file, case);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn one(out: &mut String, file: &str, judged: &Judged<'_>) {
    let (name, class) = (escaped(&judged.case.name), escaped(file));
    let time = judged.millis / 1000.0;
    let head = format!("    <testcase name=\"{name}\" classname=\"{class}\" time=\"{time:.4}\"");
    let element = match judged.outcome {
        Outcome::Passed => {
            let _ = writeln!(out, "{head}/>");
            return;
        }
        Outcome::Failed => "failure",
        Outcome::Inconclusive => "error",
    };
    let lines = lines(judged);
    let first = lines.first().map_or("", String::as_str);
    let _ = writeln!(out, "{head}>");
    let _ = writeln!(out, "      <{element} message=\"{}\">{}</{element}>", escaped(first), escaped(&lines.join("\n")));
    out.push_str("    </testcase>\n");
}

/// What is to be said of a case that did not pass.
pub(super) fn lines(judged: &Judged<'_>) -> Vec<String> {
    let mut lines: Vec<String> = judged.message.iter().cloned().collect();
    for packet in judged.packets.iter().filter(|packet| packet.outcome != Outcome::Passed) {
        let why = packet.seen.reason.iter().map(|reason| format!(" ({reason})")).collect::<String>();
        let told =
            if packet.differences.is_empty() { "not observed".to_owned() } else { packet.differences.join("; ") };
        lines.push(format!("packet {} (line {}): {told}{why}", packet.expected.number, packet.expected.line));
        if let Some(rule) = &packet.rule {
            let place = packet.place.map(|(line, column)| format!(" at {}:{line}:{column}", judged.case.rules.file));
            lines.push(format!("  decided by: {}{}", rule.text, place.unwrap_or_default()));
        }
    }
    lines
}

/// Text as it stands in an attribute or an element of XML (XML 1.0, section 2.4); what is no character of it, or a command to a terminal, is
/// replaced.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            // Not characters of XML.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
