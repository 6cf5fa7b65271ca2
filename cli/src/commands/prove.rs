//! `netengine prove`: what a world's spec says of every flow, and what the kernel did.

use std::{fmt::Write, path::PathBuf, time::Duration};

use netengine_proto::api::{ProblemKind, Proof, ProvenFlow};

use super::{count, duration};
use crate::{
    client::{Client, Done, Told},
    escape,
    failure::Failure,
    progress::Progress,
    table::Tint,
    ui::Ui,
};

mod capture;
mod junit;
mod matrix;

/// Batches have deadlines of their own in the daemon; all of them end within this.
const LONGEST: Duration = Duration::from_secs(300);
/// Flows that a failed `up` names; `prove` shows all.
const NAMED: usize = 5;

/// What is proven, and how it is shown.
pub struct Options {
    /// Which world; none is the only one.
    pub world: Option<String>,
    /// As JUnit's XML.
    pub junit: bool,
    /// Where to write the packets.
    pub pcap: Option<PathBuf>,
}

/// Proves and shows. Exits 0 when all went as the spec says.
///
/// # Errors
/// Never for a flow that went otherwise: that is the result. The daemon's problem when it cannot prove; class `failed`
/// when the packets cannot be written.
pub async fn run(ui: &Ui, client: &Client, options: &Options) -> Result<u8, Failure> {
    let world = client.world(options.world.as_deref()).await?;
    let proof = prove(ui, client, world.as_str(), options.pcap.is_some()).await?;
    if let Some(dir) = &options.pcap {
        let files = capture::write(&proof, dir)?;
        ui.remark(&format!("wrote {} to {}", count(files, "capture"), dir.display()));
    }
    match (ui.json, options.junit) {
        (true, _) => ui.print_json(&proof)?,
        (false, true) => ui.print(&junit::xml(&proof))?,
        (false, false) => ui.print(&render(&proof, ui.color))?,
    }
    Ok(if is_sound(&proof) { 0 } else { 1 })
}

/// Proves a world that came up.
///
/// # Errors
/// Class `failed` with the flows that go otherwise than the spec says; the daemon's problem when it cannot prove.
pub async fn after_up(ui: &Ui, client: &Client, world: &str) -> Result<(), Failure> {
    let proof = prove(ui, client, world, false).await?;
    if is_sound(&proof) {
        return Ok(());
    }
    let what = format!("cannot start world \"{world}\": it is up, and does not do what its spec says");
    let help = format!("`netengine prove {world}` shows every flow; `netengine down {world}` removes it");
    Err(Failure::new(ProblemKind::Failed, what, differing(&proof), help))
}

async fn prove(ui: &Ui, client: &Client, world: &str, frames: bool) -> Result<Proof, Failure> {
    let title = format!("prove world \"{world}\"");
    let mut progress = Progress::new(ui, &title);
    let mut flows: Vec<ProvenFlow> = Vec::new();
    let told = |told: Told<'_>| {
        match told {
            Told::Progress(Done { done, all }) => progress.count(&title, done, all, "flows"),
            Told::Part("flows", json) => flows.append(&mut serde_json::from_str(json)?),
            Told::Part(..) => {}
        }
        Ok(())
    };
    let query: &[(&str, &str)] = if frames { &[("frames", "true")] } else { &[] };
    let path = format!("/worlds/{world}/prove");
    let proof = client.post_followed::<Proof>(&path, query, "proof", LONGEST, told).await?;
    Ok(Proof { flows, ..proof })
}

fn is_sound(proof: &Proof) -> bool {
    proof.passed && proof.drift.is_empty() && proof.flows.iter().all(|flow| flow.outcome == "passed")
}

/// What is not as it should be, in one line.
fn differing(proof: &Proof) -> String {
    let wrong: Vec<_> = proof.flows.iter().filter(|flow| flow.outcome != "passed").collect();
    let mut named: Vec<String> = wrong
        .iter()
        .take(NAMED)
        .map(|flow| {
            let rule = flow.rule.as_ref().map(|rule| format!(" (rule: {rule})")).unwrap_or_default();
            format!("{}: {}{rule}", title(flow), flow.cause)
        })
        .collect();
    if wrong.len() > NAMED {
        named.push(format!("and {} flows more", wrong.len() - NAMED));
    }
    named.extend(proof.drift.iter().map(|change| format!("to {} {} {}", change.action, change.kind, change.object)));
    if named.is_empty() { "the proof is not sound".to_owned() } else { named.join("; ") }
}

/// The matrix, then every flow that did not pass.
fn render(proof: &Proof, color: bool) -> String {
    let mut text = matrix::render(proof, color);
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
    let of = |outcome: &str| proof.flows.iter().filter(|flow| flow.outcome == outcome).count();
    let (failed, unseen) = (of("failed"), of("inconclusive"));
    let world = escape::line(&proof.world);
    let _ = match (is_sound(proof), failed, unseen) {
        (true, ..) => writeln!(text, "world {world}: {all} as the spec says, {time}"),
        (false, 0, 0) => writeln!(text, "world {world}: {all} as the spec says, but it is not sound, {time}"),
        (false, _, 0) => writeln!(text, "world {world}: {failed} of {all} not as the spec says, {time}"),
        (false, 0, _) => writeln!(text, "world {world}: {unseen} of {all} inconclusive, {time}"),
        (false, ..) => {
            writeln!(text, "world {world}: {failed} of {all} not as the spec says, {unseen} inconclusive, {time}")
        }
    };
    text
}

fn title(flow: &ProvenFlow) -> String {
    let port = flow.port.map(|port| format!(" port {port}")).unwrap_or_default();
    let end = |network: &str, role: &str| match role {
        "host" => network.to_owned(),
        "outside" => role.to_owned(),
        "peer" => network.to_owned(),
        role => format!("{network}'s {role}"),
    };
    let (from, to) = (end(&flow.from, &flow.sender), end(&flow.to, &flow.receiver));
    format!("{from} to {to}: {}{port} {} > {}", flow.protocol, flow.source, flow.target)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn flow(outcome: &str, reaches: bool) -> ProvenFlow {
        ProvenFlow {
            from: "core".into(),
            sender: "host".into(),
            to: "home".into(),
            receiver: "host".into(),
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
            sent: None,
            arrived: None,
        }
    }

    pub(super) fn proof(flows: Vec<ProvenFlow>) -> Proof {
        let passed = flows.iter().all(|flow| flow.outcome == "passed");
        Proof { world: "w".into(), passed, flows, drift: Vec::new(), millis: 1234 }
    }

    #[test]
    fn what_did_not_pass_names_its_rule() {
        let text = render(&proof(vec![flow("passed", false), flow("failed", true)]), false);
        assert!(text.contains("core") && text.contains("FAILED"), "{text}");
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
    fn a_failed_up_names_the_flows_and_their_rules() {
        let all = proof((0..7).map(|_| flow("failed", true)).collect());
        let text = differing(&all);
        assert!(
            text.starts_with("core to home: tcp port 9 10.0.0.2 > 10.9.0.2: it <did> not (rule: counter drop); "),
            "{text}"
        );
        assert!(text.ends_with("; and 2 flows more"), "{text}");
    }
}
