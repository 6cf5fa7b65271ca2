//! A proof as JUnit's XML.

use std::fmt::Write;

use netengine_proto::api::Proof;
use netengine_suite::report::escaped as quoted;

use super::title;

/// JUnit's XML: a test for each flow, and one for the network being as planned.
pub(super) fn xml(proof: &Proof) -> String {
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

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{flow, proof},
        *,
    };

    #[test]
    fn failures_and_what_was_not_seen_are_counted() {
        let text = xml(&proof(vec![flow("passed", true), flow("failed", true), flow("inconclusive", true)]));
        assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"1\" time=\"1.234\""), "{text}");
        assert!(text.contains("<failure message=\"it &lt;did&gt; not (rule: counter drop)\"/>"), "{text}");
    }
}
