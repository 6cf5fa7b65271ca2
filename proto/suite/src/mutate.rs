//! Rulesets with one rule changed: would any case notice?

use netengine_lab_proto::RuleInfo;

/// A ruleset with one rule changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// What was done, for people: `removed`, `accept became drop`, `drop became accept`.
    pub change: &'static str,
    /// The rule.
    pub rule: RuleInfo,
    /// The whole text, with every other rule at its place.
    pub text: String,
}

/// Every rule removed, and every `accept` and `drop` at a rule's end turned into the other, one at a time. Rules whose place in the text is
/// not known give none; they are counted in the second value.
pub fn mutants(text: &str, rules: &[RuleInfo]) -> (Vec<Mutant>, usize) {
    let (mut made, mut unknown) = (Vec::new(), 0);
    for rule in rules {
        let Some(span) = span(text, rule) else {
            unknown += 1;
            continue;
        };
        let written = &text[span.clone()];
        let mut with = |change, replacement: &str| {
            let text = format!("{}{replacement}{}", &text[..span.start], &text[span.end..]);
            made.push(Mutant { change, rule: rule.clone(), text });
        };
        with("removed", &blank(written));
        for (word, other, change) in
            [("accept", "drop  ", "accept became drop"), ("drop", "accept", "drop became accept")]
        {
            if let Some(rest) = written.trim_end().strip_suffix(word)
                && rest.is_empty() | rest.ends_with([' ', '\t', '\n'])
            {
                with(change, &format!("{rest}{other}{}", &written[written.trim_end().len()..]));
            }
        }
    }
    (made, unknown)
}

/// Spaces in place of everything but line ends, so that other places stay.
fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// The bytes of a rule: from its place to the `;`, the line end or the `}` that ends it, outside of quotes and braces.
fn span(text: &str, rule: &RuleInfo) -> Option<std::ops::Range<usize>> {
    let (line, column) = (rule.line?.checked_sub(1)?, rule.column?.checked_sub(1)?);
    let line_start: usize = text.split_inclusive('\n').take(line as usize).map(str::len).sum();
    let start = line_start + column as usize;
    let rest = text.get(start..)?;
    let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
    for (at, c) in rest.char_indices() {
        match c {
            _ if quoted => quoted = c != '"',
            '"' => quoted = true,
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ';' | '}' if depth == 0 => return Some(start..start + at),
            '#' if depth == 0 => return Some(start..start + at),
            '\n' if depth == 0 && !escaped => return Some(start..start + at),
            _ => {}
        }
        escaped = c == '\\';
    }
    Some(start..text.len())
}

#[cfg(test)]
mod tests {
    use netengine_lab_proto::{Family, NodeName, RuleRef};

    use super::*;

    fn rule(line: u32, column: u32) -> RuleInfo {
        let node = NodeName::parse("fw").expect("a name");
        let rule = RuleRef { node, family: Family::Ip, table: "t".into(), chain: "c".into(), handle: Some(1) };
        RuleInfo { rule, text: String::new(), line: Some(line), column: Some(column) }
    }

    #[test]
    fn each_rule_is_removed_and_turned_at_its_place() {
        let text = "table ip t {\n  chain c {\n    tcp dport { 22, 80 } accept # web\n    counter; drop\n  }\n}\n";
        let (made, unknown) = mutants(text, &[rule(3, 5), rule(4, 14)]);
        assert_eq!(unknown, 0);
        let changes: Vec<_> = made.iter().map(|mutant| mutant.change).collect();
        assert_eq!(changes, ["removed", "accept became drop", "removed", "drop became accept"]);
        assert!(!made[0].text.contains("dport") && made[0].text.contains("# web"), "{}", made[0].text);
        assert!(made[1].text.contains("{ 22, 80 } drop"), "{}", made[1].text);
        assert!(made[2].text.contains("counter;     \n"), "{}", made[2].text);
        assert!(made[3].text.contains("counter; accept\n"), "{}", made[3].text);
        for mutant in &made {
            assert_eq!(mutant.text.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn what_ends_a_rule_does_not_do_so_in_quotes_or_braces() {
        let text = "x comment \"a;b}\" accept }";
        let (made, _) = mutants(text, &[rule(1, 1)]);
        assert!(made[1].text.starts_with("x comment \"a;b}\" drop"), "{}", made[1].text);
        let mut lost = rule(1, 1);
        lost.line = None;
        assert_eq!(mutants(text, &[lost, rule(9, 9)]).1, 2);
    }
}
