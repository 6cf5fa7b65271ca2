//! A proof as a matrix: who sends in rows, where it goes in columns.

use std::{collections::BTreeMap, fmt::Write};

use netengine_proto::api::{Proof, ProvenFlow};

use crate::table::{Table, Tint};

/// More columns than these are numbered, and their cells are marks.
const WORDS: usize = 9;

/// What the flows of a cell say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    None,
    Reaches,
    Partly,
    Blocked,
    Failed,
    Unseen,
}

impl Cell {
    fn of(flows: &[&ProvenFlow]) -> Self {
        let any = |outcome: &str| flows.iter().any(|flow| flow.outcome == outcome);
        if flows.is_empty() {
            Self::None
        } else if any("failed") {
            Self::Failed
        } else if flows.iter().any(|flow| flow.outcome != "passed") {
            Self::Unseen
        } else if flows.iter().all(|flow| flow.reaches) {
            Self::Reaches
        } else if flows.iter().any(|flow| flow.reaches) {
            Self::Partly
        } else {
            Self::Blocked
        }
    }

    /// Word, mark and colour.
    fn shown(self) -> (&'static str, &'static str, Tint) {
        match self {
            Self::None => ("", "", Tint::Plain),
            Self::Reaches => ("reaches", "+", Tint::Good),
            Self::Partly => ("partly", "~", Tint::Good),
            Self::Blocked => ("blocked", ".", Tint::Dim),
            Self::Failed => ("FAILED", "!", Tint::Bad),
            Self::Unseen => ("NOT SEEN", "?", Tint::Bad),
        }
    }
}

/// What a host must not say on its own link.
fn is_forged(flow: &ProvenFlow) -> bool {
    !matches!(flow.protocol.as_str(), "tcp" | "udp" | "icmp") && !flow.reaches
}

fn row(flow: &ProvenFlow) -> String {
    if flow.sender == "host" { flow.from.clone() } else { format!("{} ({})", flow.from, flow.sender) }
}

fn column(flow: &ProvenFlow) -> String {
    match flow.receiver.as_str() {
        "host" => flow.to.clone(),
        "router" if is_forged(flow) => "forged".to_owned(),
        other => other.to_owned(),
    }
}

/// The lines of the matrix.
pub(super) fn render(proof: &Proof, color: bool) -> String {
    let (mut rows, mut columns): (Vec<String>, Vec<String>) = Default::default();
    let mut cells: BTreeMap<(usize, usize), Vec<&ProvenFlow>> = BTreeMap::new();
    let place = |names: &mut Vec<String>, name: String| {
        names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        })
    };
    // Networks in the order in which they send, so that a network's column has the number of its row.
    for flow in proof.flows.iter().filter(|flow| flow.sender == "host") {
        place(&mut columns, flow.from.clone());
    }
    for flow in &proof.flows {
        let key = (place(&mut rows, row(flow)), place(&mut columns, column(flow)));
        cells.entry(key).or_default().push(flow);
    }
    let numbered = columns.len() > WORDS;
    let numbers: Vec<String> = (1..=columns.len()).map(|number| number.to_string()).collect();
    let mut headings = vec![if numbered { "FROM, TO" } else { "FROM \\ TO" }];
    headings.extend(if numbered { &numbers } else { &columns }.iter().map(String::as_str));
    let mut table = Table::new(&headings);
    for (at, name) in rows.iter().enumerate() {
        let cell = |to: usize| {
            let (word, mark, tint) = Cell::of(cells.get(&(at, to)).map_or(&[][..], Vec::as_slice)).shown();
            (if numbered { mark } else { word }, tint)
        };
        let of = (0..columns.len()).map(cell);
        table.cells([(name.as_str(), Tint::Plain)].into_iter().chain(of));
    }
    let mut text = table.render(color);
    if numbered {
        let named: Vec<_> = columns.iter().zip(&numbers).map(|(name, number)| format!("{number} {name}")).collect();
        let _ = writeln!(text, "to: {}", crate::escape::line(&named.join(", ")));
        text.push_str("+ reaches, ~ partly, . blocked, ! failed, ? not seen\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{flow, proof},
        *,
    };

    #[test]
    fn each_pair_is_one_cell() {
        let to = |to: &str, outcome, reaches| ProvenFlow { to: to.into(), ..flow(outcome, reaches) };
        let mut forged = to("core", "passed", false);
        (forged.receiver, forged.protocol) = ("router".into(), "spoofed-mac".into());
        let mut router = to("core", "passed", true);
        router.receiver = "router".into();
        let all =
            vec![to("a", "passed", true), to("a", "passed", false), to("b", "inconclusive", true), forged, router];
        let text = render(&proof(all), false);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").filter(|t| !t.is_empty()).collect()).collect();
        assert_eq!(lines[0][1..].iter().map(|t| t.trim()).collect::<Vec<_>>(), ["core", "a", "b", "forged", "router"]);
        assert_eq!(
            lines[1].iter().map(|t| t.trim()).collect::<Vec<_>>(),
            ["core", "partly", "NOT SEEN", "blocked", "reaches"]
        );
    }

    #[test]
    fn many_networks_are_marks_below_numbers() {
        let all = (0..20).map(|n| ProvenFlow { to: format!("n{n}"), ..flow("passed", n % 2 == 0) }).collect();
        let text = render(&proof(all), false);
        assert!(text.contains("to: 1 core, 2 n0,") && text.contains("+ reaches"), "{text}");
        assert!(text.lines().all(|line| line.len() < 200), "{text}");
    }
}
