//! One packet's evidence to its verdict.

use netengine_lab_proto::{
    CtState, Delivery, Hook, HopKind, HopVerdict, PacketOutcome, Reply, Verdict, limits::PATH_HOPS,
};
use netengine_proto::bounded::Bounded;

use super::{Evidence, Facts, Sent, reference};

/// Says whether the rule that stopped the packet is one that answers.
pub fn refusing_rule(own: &Evidence, facts: &Facts) -> bool {
    stop(own).is_some_and(|at| words(own, facts, at, &["reject"]))
}

/// The hop that took the packet from its way.
fn stop(own: &Evidence) -> Option<usize> {
    own.hops.iter().position(|(_, hop)| {
        matches!(hop.verdict, HopVerdict::Drop | HopVerdict::Stolen | HopVerdict::Queue) && hop.kind != HopKind::Return
    })
}

fn words(own: &Evidence, facts: &Facts, at: usize, wanted: &[&str]) -> bool {
    let Some((node, hop)) = own.hops.get(at) else { return false };
    facts.text(*node, hop).is_some_and(|text| text.split_whitespace().any(|word| wanted.contains(&word)))
}

/// The verdict and all that goes with it.
pub fn decide(sent: &Sent, mut own: Evidence, settled: bool, missed: u64, facts: &Facts) -> PacketOutcome {
    let stopped = stop(&own);
    own.ct_state = own.ct_state.or_else(|| invalid(sent, &own, facts));
    // A copy made by `dup` carries the same bytes; that it arrived says nothing of the original.
    let copied = (0..own.hops.len()).any(|at| words(&own, facts, at, &["dup"]));
    let delivered =
        if copied && stopped.is_some() { None } else { own.deliveries.pop().or_else(|| answered(sent, &own, facts)) };
    let (verdict, reason) = if missed > 0 {
        (Verdict::Inconclusive, Some(format!("{missed} trace messages were lost or not understood")))
    } else if own.unknown > 0 {
        (Verdict::Inconclusive, Some("a trace message of no known kind".to_owned()))
    } else if !settled {
        (Verdict::Inconclusive, Some("the deadline passed before the kernel was done".to_owned()))
    } else if let Some(at) = stopped {
        stopped_verdict(sent, &own, facts, at, delivered.is_some() && !copied)
    } else if delivered.is_some() {
        delivered_verdict(&own, facts)
    } else {
        undelivered_verdict(sent, &own, facts)
    };
    let deciding = match (verdict, stopped) {
        (Verdict::Inconclusive | Verdict::Held | Verdict::Lost, _) => None,
        (Verdict::Accept, _) => accepting(&own).map(|at| reference(&own.hops[at].1)),
        (_, Some(at)) => Some(reference(&own.hops[at].1)),
        (_, None) => proxying(&own, facts).map(|at| reference(&own.hops[at].1)),
    };
    let mut path: Vec<_> = own.hops.into_iter().map(|(_, hop)| hop).collect();
    path.truncate(PATH_HOPS);
    PacketOutcome {
        verdict,
        reason,
        deciding,
        path: Bounded::new(path).unwrap_or_default(),
        delivered,
        ct_state: own.ct_state,
        ct_direction: own.ct_direction,
        reply: own.reply,
        errno: sent.errno,
        untraced: own.traces == 0,
        millis: 0,
        connection: own.connection,
        counters: Bounded::default(),
    }
}

/// Of a packet that conntrack looked at and made nothing of, the trace tells no state.
fn invalid(sent: &Sent, own: &Evidence, facts: &Facts) -> Option<CtState> {
    let late = |hook: &Hook| matches!(hook, Hook::Input | Hook::Forward | Hook::Postrouting);
    let is_tracked = sent.packet.as_ref().is_some_and(|packet| facts.tracks[usize::from(packet.src.is_ipv6())]);
    (facts.tells_states && is_tracked && own.reached.iter().any(late)).then_some(CtState::Invalid)
}

/// Of ARP no socket tells that it was received; that it was answered does.
fn answered(sent: &Sent, own: &Evidence, facts: &Facts) -> Option<Delivery> {
    let heard = sent.packet.is_none() && own.reply == Some(Reply::Neighbour);
    heard.then(|| super::delivery(facts, facts.tested, None, None)).flatten()
}

/// The last rule that accepted, or the last policy.
fn accepting(own: &Evidence) -> Option<usize> {
    let accepts = |kind| {
        move |(_, hop): &(usize, netengine_lab_proto::Hop)| hop.kind == kind && hop.verdict == HopVerdict::Accept
    };
    own.hops.iter().rposition(accepts(HopKind::Rule)).or_else(|| own.hops.iter().rposition(accepts(HopKind::Policy)))
}

fn stopped_verdict(sent: &Sent, own: &Evidence, facts: &Facts, at: usize, arrived: bool) -> (Verdict, Option<String>) {
    let hop = &own.hops[at].1;
    let place = format!("{} {} {}", hop.family.as_str(), hop.table, hop.chain);
    let said = match hop.kind {
        HopKind::Policy => format!("the policy of chain {place}"),
        _ => format!("a rule of chain {place}"),
    };
    // What was taken goes on by another way, `fwd` to another link, and may meet other hooks there.
    let ends = hop.verdict == HopVerdict::Drop;
    if ends && arrived {
        return (Verdict::Inconclusive, Some(format!("{said} stopped it, and yet it arrived")));
    }
    // Of a packet in pieces the others go on.
    if ends
        && !sent.fragment
        && own.hops.len() > at + 1
        && own.hops[at + 1..].iter().any(|(_, later)| later.kind != HopKind::Return)
    {
        return (Verdict::Inconclusive, Some(format!("{said} stopped it, and yet later rules saw it")));
    }
    match hop.verdict {
        HopVerdict::Stolen => (Verdict::Stolen, Some(format!("{said} took it"))),
        HopVerdict::Queue => (Verdict::Stolen, Some(format!("{said} queued it to a program"))),
        _ if words(own, facts, at, &["reject"]) => match own.reply {
            Some(Reply::Reset) => (Verdict::Reject, Some(format!("{said} answered with a reset"))),
            Some(Reply::IcmpError { kind, code }) => {
                (Verdict::Reject, Some(format!("{said} answered with an ICMP error, type {kind} code {code}")))
            }
            _ => (Verdict::Drop, Some(format!("{said} rejects, but no answer came back"))),
        },
        _ => (Verdict::Drop, Some(format!("{said} dropped it"))),
    }
}

/// The last rule that gave it to a local socket.
fn proxying(own: &Evidence, facts: &Facts) -> Option<usize> {
    (0..own.hops.len()).rev().find(|at| words(own, facts, *at, &["tproxy"]))
}

fn delivered_verdict(own: &Evidence, facts: &Facts) -> (Verdict, Option<String>) {
    if proxying(own, facts).is_some() {
        (Verdict::Stolen, Some("a tproxy rule gave it to a local socket".to_owned()))
    } else {
        let note = (own.traces == 0).then(|| "not traced: judged by delivery alone".to_owned());
        (Verdict::Accept, note)
    }
}

fn undelivered_verdict(sent: &Sent, own: &Evidence, facts: &Facts) -> (Verdict, Option<String>) {
    if facts.untraces {
        return (Verdict::Inconclusive, Some("it did not arrive, and a rule switches tracing off".to_owned()));
    }
    if sent.fragment && !matches!(own.reply, Some(Reply::IcmpError { .. })) {
        return (Verdict::Held, Some("a fragment that the kernel keeps until the others come".to_owned()));
    }
    let seen = match own.reached.last().copied().or(own.hops.last().and_then(|(_, hop)| hop.hook)) {
        Some(hook) => format!("last seen at {}", hook.as_str()),
        None => "no chain saw it".to_owned(),
    };
    let why = match (own.reply, sent.errno) {
        (Some(Reply::IcmpError { kind, code }), _) => {
            format!("the node answered with an ICMP error, type {kind} code {code}")
        }
        (_, Some(errno)) => format!("sending failed with error {errno}"),
        _ => "the kernel gave no reason".to_owned(),
    };
    (Verdict::Lost, Some(format!("{seen}; {why}")))
}
