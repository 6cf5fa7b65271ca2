//! `--derive`: a suite of boundary packets for a ruleset, with the verdicts that were found.

use std::path::Path;

use netengine_lab_proto::{Content, Delivery, InjectedPacket, RuleInfo, RuleRef, Transport};
use netengine_suite::{
    Case, Judged,
    derive::{Found, suite},
    judge::JudgedPacket,
};

use super::{
    boundary::{Ruleset, cases},
    jobs::Jobs,
};
use crate::{failure::Failure, ui::Ui};

/// Prints the suite. One packet tells the rules as the kernel has them, then each proposed packet meets a fresh ruleset, twice: what is not the same
/// both times is left out, with the reason.
///
/// # Errors
/// Class `usage` when the ruleset cannot be read or does not load, class `engine` when no worker can be started.
pub fn run(ui: &Ui, file: &Path, jobs: &Jobs) -> Result<u8, Failure> {
    let ruleset = Ruleset::read(file, jobs)?;
    let hooks = ruleset.hooks();
    let proposals = ruleset.proposals(hooks);
    let all = cases(&ruleset.name, &ruleset.text, hooks, &proposals)?;
    let list: Vec<&Case> = all.cases.iter().collect();
    let (once, again) = (jobs.run(&list, &|_| Ok(()))?, jobs.run(&list, &|_| Ok(()))?);
    let found: Vec<Vec<Found>> = once.iter().zip(&again).map(|(a, b)| of_case(a, b)).collect();
    let unseen = found
        .iter()
        .zip(&list)
        .filter(|(found, case)| found.len() != case.packets.len() || found.iter().any(|found| found.doubt.is_some()));
    let unseen = unseen.count();
    let unreached: Vec<&RuleInfo> = ruleset.rules.iter().filter(|rule| !is_reached(&rule.rule, &once)).collect();
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ui.print(&suite(&name, hooks, &proposals, Some(&found), &unreached))?;
    let rules = ruleset.rules.len();
    ui.remark(&format!(
        "{} cases, {unseen} of them left out; {} of {rules} rules were matched",
        list.len(),
        rules - unreached.len()
    ));
    Ok(if unseen == 0 { 0 } else { 3 })
}

fn is_reached(rule: &RuleRef, judged: &[Judged<'_>]) -> bool {
    let mut hops = judged.iter().flat_map(|judged| &judged.packets).flat_map(|packet| packet.seen.path.iter());
    hops.any(|hop| {
        hop.rule == rule.handle && hop.family == rule.family && hop.table == rule.table && hop.chain == rule.chain
    })
}

fn of_case(once: &Judged<'_>, again: &Judged<'_>) -> Vec<Found> {
    let sent = once.case.request.packets.iter();
    once.packets
        .iter()
        .zip(&again.packets)
        .zip(sent)
        .map(|((once, again), sent)| of_packet(once, again, sent))
        .collect()
}

fn of_packet(once: &JudgedPacket<'_>, again: &JudgedPacket<'_>, sent: &InjectedPacket) -> Found {
    let [first, second] = [once, again].map(|judged| translated(judged.seen.delivered.as_ref(), sent));
    let verdict = once.seen.verdict;
    let doubt = if verdict == netengine_lab_proto::Verdict::Inconclusive {
        Some(once.seen.reason.clone().unwrap_or_else(|| "it was not observed".to_owned()))
    } else if verdict != again.seen.verdict || first != second {
        Some("it was not the same twice".to_owned())
    } else {
        None
    };
    Found { verdict, doubt, src: first.0, dst: first.1, dport: first.2 }
}

/// Source, destination and destination port on arrival, where they are others than were sent.
fn translated(
    delivered: Option<&Delivery>,
    sent: &InjectedPacket,
) -> (Option<std::net::IpAddr>, Option<std::net::IpAddr>, Option<u16>) {
    let (Some(at), Content::Typed(spec)) = (delivered, &sent.content) else { return (None, None, None) };
    // The packets of a flow have their addresses from what was seen of it.
    if sent.flow.is_some() {
        return (None, None, None);
    }
    let port = match spec.transport {
        Transport::Tcp { dst_port, .. } | Transport::Udp { dst_port, .. } => Some(dst_port),
        _ => None,
    };
    let src = at.src.filter(|src| *src != spec.src);
    let dst = at.dst.filter(|dst| *dst != spec.dst);
    (src, dst, at.dport.filter(|dport| port.is_some_and(|port| port != *dport)))
}
