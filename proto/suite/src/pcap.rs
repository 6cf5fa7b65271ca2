//! The frames of a case as a capture that says of each packet what was expected of it and what became of it.

use netengine_lab_proto::{CapturedFrame, FrameRole};

use crate::{
    judge::{Judged, JudgedPacket},
    pcapng::Pcapng,
    verdict::word,
};

/// The capture of a case that was run with `CaseLimits::capture`. `begun`: when, in microseconds since 1970.
pub fn capture(judged: &Judged<'_>, begun: u64) -> Vec<u8> {
    let mut file = Pcapng::new("netengine test", &headline(judged));
    let mut interfaces: Vec<((&str, Option<&str>), u32)> = Vec::new();
    for frame in &judged.frames {
        let (node, name) = (frame.node.as_str(), frame.interface.as_ref().map(|name| name.as_str()));
        let known = interfaces.iter().find(|(other, _)| *other == (node, name)).map(|(_, number)| *number);
        let number = known.unwrap_or_else(|| {
            let number = file.interface(&format!("{node} {}", name.unwrap_or("stack")));
            interfaces.push(((node, name), number));
            number
        });
        let bytes = [header(frame), &frame.bytes].concat();
        file.packet(number, begun.saturating_add(frame.micros), &bytes, &comment(judged, frame));
    }
    file.into_bytes()
}

fn headline(judged: &Judged<'_>) -> String {
    let mut text = format!("{}: {}", judged.case.name, judged.outcome.as_str());
    if judged.frames_missed > 0 {
        text += &format!("; {} further frames are not here", judged.frames_missed);
    }
    judged.message.iter().for_each(|message| text += &format!("; {message}"));
    text
}

/// What is to be said of a frame; empty for one that is of no listed packet.
fn comment(judged: &Judged<'_>, frame: &CapturedFrame) -> String {
    let Some(of) = frame.packet.and_then(|number| judged.packets.get(number as usize)) else { return String::new() };
    let number = of.expected.number;
    match frame.role {
        FrameRole::Sent => verdict(judged, of),
        FrameRole::Arrived => format!("packet {number} as it arrived at {}", frame.node),
        FrameRole::Answer => format!("an answer to packet {number}"),
        FrameRole::Other => String::new(),
    }
}

fn verdict(judged: &Judged<'_>, of: &JudgedPacket<'_>) -> String {
    let (wanted, got) = (word(of.expected.verdict.verdict()), word(of.seen.verdict));
    let mut text = format!(
        "packet {} {}: {got}, expected {wanted}: {}",
        of.expected.number,
        of.expected.title,
        of.outcome.as_str()
    );
    match (&of.rule, &of.seen.deciding) {
        (Some(rule), _) => {
            text += &format!("; decided by `{}`", rule.text);
            if let Some((line, column)) = of.place {
                text += &format!(" at {}:{line}:{column}", judged.case.rules.file);
            }
        }
        (None, Some(policy)) => text += &format!("; decided by the policy of chain {}", policy.chain),
        (None, None) => {}
    }
    of.seen.reason.iter().for_each(|reason| text += &format!("; {reason}"));
    of.differences.iter().for_each(|difference| text += &format!("; {difference}"));
    text
}

/// The Ethernet header that a packet of a node's own stack does not have: no addresses, and its EtherType.
fn header(frame: &CapturedFrame) -> &'static [u8] {
    match (&frame.interface, frame.bytes.first().map(|byte| byte >> 4)) {
        (Some(_), _) => &[],
        (None, Some(6)) => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd],
        (None, _) => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00],
    }
}

#[cfg(test)]
mod tests {
    use netengine_lab_proto::{Bytes, CaseAnswer, CaseResult, NodeName, PacketOutcome, Verdict};
    use netengine_proto::bounded::Bounded;

    use super::*;
    use crate::{judge, load};

    #[test]
    fn packets_say_what_became_of_them_and_those_of_a_stack_get_a_header() {
        let suite =
            load("s.yaml", "- {name: n, rules: x, packets: [{expected_verdict: DROP}]}", &mut |_| Err(String::new()));
        let suite = suite.expect("sound");
        let frame = |role, first: u8, packet| CapturedFrame {
            packet,
            role,
            node: NodeName::parse("fw").expect("a name"),
            interface: None,
            micros: 5,
            bytes: Bytes::new(vec![first; 41]).expect("fits"),
        };
        let frames = vec![frame(FrameRole::Sent, 0x45, Some(0)), frame(FrameRole::Other, 0x60, None)];
        let answer = CaseAnswer {
            packets: Bounded::new(vec![PacketOutcome::new(Verdict::Accept, None)]).expect("one"),
            frames: Bounded::new(frames).expect("few"),
            ..CaseAnswer::default()
        };
        let judged = judge(&suite.cases[0], CaseResult::Judged(Box::new(answer)));
        let file = capture(&judged, 1 << 40);
        let mut wanted = Pcapng::new("netengine test", &headline(&judged));
        let stack = wanted.interface("fw stack");
        let mut bytes = [vec![0; 12], vec![0x08, 0], vec![0x45; 41]].concat();
        wanted.packet(stack, (1 << 40) + 5, &bytes, &verdict(&judged, &judged.packets[0]));
        bytes.splice(12.., [vec![0x86, 0xdd], vec![0x60; 41]].concat());
        wanted.packet(stack, (1 << 40) + 5, &bytes, "");
        assert_eq!(file, wanted.into_bytes());
        let text = String::from_utf8_lossy(&file);
        assert!(text.contains("n: failed") && text.contains("[S]: ACCEPT, expected DROP: failed"), "{text}");
    }
}
