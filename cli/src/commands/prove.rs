//! `netengine prove`: what a world's spec says of every flow, and what the kernel did.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use netengine_proto::api::{Proof, ProvenFlow};

use super::{count, duration};
use crate::{
    client::Client,
    escape,
    failure::Failure,
    progress::Progress,
    table::{Table, Tint},
    ui::Ui,
};

/// Batches have deadlines of their own in the daemon; all of them end within this.
const LONGEST: Duration = Duration::from_secs(300);

/// Proves and shows. Exits 0 when all went as the spec says.
///
/// # Errors
/// Never for a flow that went otherwise: that is the result. The daemon's problem when it cannot prove.
pub async fn run(ui: &Ui, client: &Client, world: Option<&str>, junit: bool) -> Result<u8, Failure> {
    let world = client.world(world).await?;
    let progress = Progress::new(ui, &format!("prove world \"{world}\""));
    let proof: Result<Proof, _> = client.post_within(&format!("/worlds/{world}/prove"), LONGEST).await;
    drop(progress);
    let proof = proof?;
    match (ui.json, junit) {
        (true, _) => ui.print_json(&proof)?,
        (false, true) => ui.print(&xml(&proof))?,
        (false, false) => ui.print(&render(&proof, ui.color))?,
    }
    Ok(if is_sound(&proof) { 0 } else { 1 })
}

fn is_sound(proof: &Proof) -> bool {
    proof.passed && proof.drift.is_empty() && proof.flows.iter().all(|flow| flow.outcome == "passed")
}

/// The flows of one cell of the matrix in a word.
fn cell<'a>(flows: impl Iterator<Item = &'a ProvenFlow> + Clone) -> (&'static str, Tint) {
    let any = |outcome: &str| flows.clone().any(|flow| flow.outcome == outcome);
    if any("failed") {
        ("FAILED", Tint::Bad)
    } else if flows.clone().any(|flow| flow.outcome != "passed") {
        ("NOT SEEN", Tint::Bad)
    } else if flows.clone().all(|flow| flow.reaches) {
        ("reaches", Tint::Good)
    } else if flows.clone().any(|flow| flow.reaches) {
        ("partly", Tint::Good)
    } else {
        ("blocked", Tint::Dim)
    }
}

/// A line for each pair of networks, then every flow that did not pass.
fn render(proof: &Proof, color: bool) -> String {
    let mut table = Table::new(&["FROM", "TO", "FLOWS", "SEEN"]);
    let pairs: BTreeSet<(&str, &str)> = proof.flows.iter().map(|flow| (flow.from.as_str(), flow.to.as_str())).collect();
    for (from, to) in pairs {
        let of = proof.flows.iter().filter(|flow| flow.from == from && flow.to == to);
        let (word, tint) = cell(of.clone());
        let number = of.count().to_string();
        table.tinted([(from, Tint::Plain), (to, Tint::Plain), (number.as_str(), Tint::Dim), (word, tint)]);
    }
    let mut text = table.render(color);
    for flow in proof.flows.iter().filter(|flow| flow.outcome != "passed") {
        let _ = writeln!(text, "{}  {}", Tint::Bad.paint(&flow.outcome, color), escape::line(&title(flow)));
        let _ = writeln!(text, "  cause: {}", escape::line(&flow.cause));
        if let Some(rule) = &flow.rule {
            let chain = flow.chain.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  rule:  {} in chain {}", escape::line(rule), escape::line(chain));
        }
    }
    for change in &proof.drift {
        let line = format!("{} {} {}", change.action, change.kind, change.object);
        let _ = writeln!(text, "{}  {}", Tint::Bad.paint("differs", color), escape::line(&line));
    }
    let (all, time) = (count(proof.flows.len(), "flow"), duration(proof.millis));
    let wrong = proof.flows.iter().filter(|flow| flow.outcome != "passed").count();
    let world = escape::line(&proof.world);
    let _ = match (is_sound(proof), wrong) {
        (true, _) => writeln!(text, "world {world}: {all} as the spec says, {time}"),
        (false, 0) => writeln!(text, "world {world}: {all} as the spec says, but it is not sound, {time}"),
        (false, _) => writeln!(text, "world {world}: {wrong} of {all} not as the spec says, {time}"),
    };
    text
}

fn title(flow: &ProvenFlow) -> String {
    let port = flow.port.map(|port| format!(" port {port}")).unwrap_or_default();
    format!("{} to {}: {}{port} {} > {}", flow.from, flow.to, flow.protocol, flow.source, flow.target)
}

/// JUnit's XML: a test for each flow, and one for the network being as planned.
fn xml(proof: &Proof) -> String {
    let failed =
        proof.flows.iter().filter(|flow| flow.outcome == "failed").count() + usize::from(!proof.drift.is_empty());
    let unseen = proof.flows.iter().filter(|flow| !matches!(flow.outcome.as_str(), "failed" | "passed")).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (name, tests) = (quoted(&proof.world), proof.flows.len() + 1);
    let _ = writeln!(
        out,
        "<testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"{unseen}\" time=\"{}.{:03}\">",
        proof.millis / 1000,
        proof.millis % 1000
    );
    let mut case = |title: &str, wrong: Option<(&str, String)>| {
        let head = format!("  <testcase name=\"{}\" classname=\"{name}\"", quoted(title));
        let _ = match wrong {
            None => writeln!(out, "{head}/>"),
            Some((element, why)) => writeln!(out, "{head}><{element} message=\"{}\"/></testcase>", quoted(&why)),
        };
    };
    for flow in &proof.flows {
        let rule = flow.rule.as_ref().map(|rule| format!(" (rule: {rule})")).unwrap_or_default();
        let why = format!("{}{rule}", flow.cause);
        let wrong = match flow.outcome.as_str() {
            "passed" => None,
            "failed" => Some(("failure", why)),
            _ => Some(("error", why)),
        };
        case(&title(flow), wrong);
    }
    let drift = proof.drift.iter().map(|change| format!("{} {} {}", change.action, change.kind, change.object));
    let drift: Vec<String> = drift.collect();
    case("the network is as planned", (!drift.is_empty()).then(|| ("failure", drift.join("; "))));
    out.push_str("</testsuite>\n");
    out
}

fn quoted(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    clean.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(outcome: &str, reaches: bool) -> ProvenFlow {
        ProvenFlow {
            from: "core".into(),
            to: "home".into(),
            protocol: "tcp".into(),
            port: Some(9),
            source: "10.0.0.2".into(),
            target: "10.9.0.2".into(),
            reaches,
            arrives_from: None,
            outcome: outcome.into(),
            verdict: Some("drop".into()),
            chain: Some("in_neand1".into()),
            rule: Some("counter drop".into()),
            delivered_to: None,
            delivered_from: None,
            cause: if outcome == "passed" { String::new() } else { "it <did> not".into() },
        }
    }

    fn proof(flows: Vec<ProvenFlow>) -> Proof {
        let passed = flows.iter().all(|flow| flow.outcome == "passed");
        Proof { world: "w".into(), passed, flows, drift: Vec::new(), millis: 1234 }
    }

    #[test]
    fn what_did_not_pass_names_its_rule() {
        let text = render(&proof(vec![flow("passed", false), flow("failed", true)]), false);
        assert!(text.contains("core  home  2      FAILED"), "{text}");
        assert!(text.contains("rule:  counter drop in chain in_neand1") && text.contains("1 of 2 flows not"), "{text}");
    }

    #[test]
    fn nothing_unsound_is_shown_as_sound() {
        assert!(is_sound(&proof(vec![flow("passed", true)])));
        assert!(!is_sound(&proof(vec![flow("inconclusive", true)])));
        let mut odd = proof(vec![flow("inconclusive", true)]);
        odd.passed = true;
        assert!(!is_sound(&odd) && render(&odd, false).contains("NOT SEEN"));
    }

    #[test]
    fn junit_counts_failures_and_what_was_not_seen() {
        let text = xml(&proof(vec![flow("passed", true), flow("failed", true), flow("inconclusive", true)]));
        assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"1\" time=\"1.234\""), "{text}");
        assert!(text.contains("<failure message=\"it &lt;did&gt; not (rule: counter drop)\"/>"), "{text}");
    }
}
