//! The frames of a case as a capture that says of each packet what was expected of it and what became of it (pcapng,
//! draft-ietf-opsawg-pcapng).

use netengine_lab_proto::{CapturedFrame, FrameRole};

use crate::{
    judge::{Judged, JudgedPacket},
    verdict::word,
};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_ETHERNET`, of all interfaces: not every reader takes files with several.
const ETHERNET: u16 = 1;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const APPLICATION: u16 = 4;

/// The capture of a case that was run with `CaseLimits::capture`. `begun`: when, in microseconds since 1970.
pub fn capture(judged: &Judged<'_>, begun: u64) -> Vec<u8> {
    let mut file = Vec::new();
    // Version 1.0, of a length that is not told.
    let mut section = [&BYTE_ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &u64::MAX.to_le_bytes()].concat();
    option(&mut section, COMMENT, &headline(judged));
    option(&mut section, APPLICATION, "netengine test");
    section.extend([0; 4]);
    block(&mut file, SECTION, &section);
    let mut interfaces: Vec<(&str, Option<&str>)> = Vec::new();
    for frame in &judged.frames {
        let place = (frame.node.as_str(), frame.interface.as_ref().map(|name| name.as_str()));
        let known = interfaces.iter().position(|other| *other == place);
        let number = known.unwrap_or_else(|| {
            let (node, name) = place;
            let mut interface = [&ETHERNET.to_le_bytes()[..], &[0; 6]].concat();
            option(&mut interface, NAME, &format!("{node} {}", name.unwrap_or("stack")));
            interface.extend([0; 4]);
            block(&mut file, INTERFACE, &interface);
            interfaces.push(place);
            interfaces.len() - 1
        });
        packet(&mut file, number as u32, begun.saturating_add(frame.micros), frame, &comment(judged, frame));
    }
    file
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

fn packet(file: &mut Vec<u8>, interface: u32, time: u64, frame: &CapturedFrame, comment: &str) {
    let bytes = [header(frame), &frame.bytes].concat();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let (high, low) = ((time >> 32) as u32, time as u32);
    let mut body = [interface.to_le_bytes(), high.to_le_bytes(), low.to_le_bytes(), length, length].concat();
    padded(&mut body, &bytes);
    if !comment.is_empty() {
        option(&mut body, COMMENT, comment);
        body.extend([0; 4]);
    }
    block(file, PACKET, &body);
}

/// The Ethernet header that a packet of a node's own stack does not have: no addresses, and its EtherType.
fn header(frame: &CapturedFrame) -> &'static [u8] {
    match (&frame.interface, frame.bytes.first().map(|byte| byte >> 4)) {
        (Some(_), _) => &[],
        (None, Some(6)) => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd],
        (None, _) => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00],
    }
}

fn option(body: &mut Vec<u8>, code: u16, text: &str) {
    // A length has 16 bits; cut between characters.
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    body.extend(code.to_le_bytes());
    body.extend((end as u16).to_le_bytes());
    padded(body, &text.as_bytes()[..end]);
}

fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(length);
    file.extend(body);
    file.extend(length);
}

#[cfg(test)]
mod tests {
    use netengine_lab_proto::{Bytes, CaseAnswer, CaseResult, NodeName, PacketOutcome, Verdict};
    use netengine_proto::bounded::Bounded;

    use super::*;
    use crate::{judge, load};

    #[test]
    fn blocks_are_whole_and_packets_say_what_became_of_them() {
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
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let length = word(at + 4) as usize;
            assert_eq!((length % 4, word(at + length - 4) as usize), (0, length));
            kinds.push(word(at));
            if word(at) == PACKET {
                assert_eq!(word(at + 20), 55, "an Ethernet header was added");
                assert_eq!((word(at + 12), word(at + 16)), (1 << 8, 5));
            }
            at += length;
        }
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, PACKET]);
        let text = String::from_utf8_lossy(&file);
        assert!(text.contains("n: failed") && text.contains("[S]: ACCEPT, expected DROP: failed"), "{text}");
    }
}
