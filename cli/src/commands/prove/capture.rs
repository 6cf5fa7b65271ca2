//! The packets of a proof as captures (pcapng, draft-ietf-opsawg-pcapng), one file for each pair of networks.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use netengine_proto::api::{ProblemKind, Proof, ProvenFlow};

use super::title;
use crate::failure::Failure;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
/// Interfaces of a file: where packets were sent, and where they arrived.
const SENT: u32 = 0;
const ARRIVED: u32 = 1;

/// Writes the captures of a proof into a directory, which is made when it is not there; tells how many files.
///
/// # Errors
/// Class `failed` when the directory cannot be written.
pub(super) fn write(proof: &Proof, dir: &Path) -> Result<usize, Failure> {
    let cannot = |error: io::Error| {
        let what = format!("cannot write the captures to {}", dir.display());
        Failure::new(ProblemKind::Failed, what, error, "give a directory that you may write to")
    };
    fs::create_dir_all(dir).map_err(cannot)?;
    let mut files: BTreeMap<String, Vec<&ProvenFlow>> = BTreeMap::new();
    for flow in &proof.flows {
        files.entry(file_name(flow)).or_default().push(flow);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    for (name, flows) in &files {
        fs::write(dir.join(name), capture(flows, micros)).map_err(cannot)?;
    }
    Ok(files.len())
}

/// Names come from the daemon; what is no letter, digit or hyphen would be another place.
fn file_name(flow: &ProvenFlow) -> String {
    let safe = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
    };
    format!("{}-to-{}.pcapng", safe(&flow.from), safe(&flow.to))
}

fn capture(flows: &[&ProvenFlow], micros: u64) -> Vec<u8> {
    let mut file = Vec::new();
    // Version 1.0, of a length that is not told.
    let section = [&BYTE_ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &u64::MAX.to_le_bytes()].concat();
    block(&mut file, SECTION, section);
    for name in ["sent", "arrived"] {
        let mut interface = [&ETHERNET.to_le_bytes()[..], &[0; 6]].concat();
        option(&mut interface, NAME, name);
        interface.extend([0; 4]);
        block(&mut file, INTERFACE, interface);
    }
    let mut time = micros;
    for flow in flows {
        for (interface, digits) in [(SENT, &flow.sent), (ARRIVED, &flow.arrived)] {
            let Some(frame) = digits.as_deref().and_then(bytes) else { continue };
            block(&mut file, PACKET, packet(interface, time, &frame, &comment(flow)));
            time += 1;
        }
    }
    file
}

fn comment(flow: &ProvenFlow) -> String {
    let wanted = match (flow.reaches, &flow.arrives_from) {
        (false, _) => "blocked".to_owned(),
        (true, Some(from)) => format!("arrives from {from}"),
        (true, None) => "let through".to_owned(),
    };
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "not seen".to_owned());
    let cause = if flow.cause.is_empty() { String::new() } else { format!(" ({})", flow.cause) };
    format!(
        "{}; expected: {wanted}; {}{cause}; verdict: {}; rule: {} in chain {}",
        title(flow),
        flow.outcome,
        word(&flow.verdict),
        word(&flow.rule),
        word(&flow.chain)
    )
}

fn packet(interface: u32, time: u64, frame: &[u8], comment: &str) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
    let (high, low) = ((time >> 32) as u32, time as u32);
    let mut body = [interface.to_le_bytes(), high.to_le_bytes(), low.to_le_bytes(), length, length].concat();
    padded(&mut body, frame);
    option(&mut body, COMMENT, comment);
    body.extend([0; 4]);
    body
}

fn option(body: &mut Vec<u8>, code: u16, text: &str) {
    // An option's length has 16 bits; cut between characters.
    let end = (0..=text.len().min(usize::from(u16::MAX))).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    body.extend(code.to_le_bytes());
    body.extend((end as u16).to_le_bytes());
    padded(body, &text.as_bytes()[..end]);
}

fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn block(file: &mut Vec<u8>, kind: u32, body: Vec<u8>) {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(length);
    file.extend(body);
    file.extend(length);
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{flow, proof},
        *,
    };

    #[test]
    fn blocks_are_whole_and_end_with_their_length() {
        let mut one = flow("failed", true);
        (one.sent, one.arrived) = (Some("0102030405".into()), None);
        let file = capture(&[&one], 7 << 32);
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
            let length = word(at + 4) as usize;
            assert_eq!((length % 4, word(at + length - 4) as usize), (0, length));
            kinds.push(word(at));
            at += length;
        }
        assert_eq!(kinds, [SECTION, INTERFACE, INTERFACE, PACKET]);
        let text = String::from_utf8_lossy(&file);
        assert!(text.contains("failed (it <did> not); verdict: drop; rule: counter drop in chain in_neand1"), "{text}");
    }

    #[test]
    fn names_lead_nowhere_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let odd = ProvenFlow { from: "../../x".into(), to: "/y".into(), ..flow("passed", true) };
        assert_eq!(write(&proof(vec![odd, flow("passed", true)]), &dir.path().join("new")).expect("written"), 2);
        let mut names: Vec<_> =
            fs::read_dir(dir.path().join("new")).expect("made").flatten().map(|f| f.file_name()).collect();
        names.sort();
        assert_eq!(names, ["______x-to-_y.pcapng", "core-to-home.pcapng"]);
    }
}
