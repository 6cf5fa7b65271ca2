//! The packets of a proof as captures, one file for each pair of networks.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use netengine_proto::api::{ProblemKind, Proof, ProvenFlow};
use netengine_suite::pcapng::Pcapng;

use super::title;
use crate::failure::Failure;

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
    let mut file = Pcapng::new("netengine prove", "");
    let (sent, arrived) = (file.interface("sent"), file.interface("arrived"));
    let mut time = micros;
    for flow in flows {
        for (interface, digits) in [(sent, &flow.sent), (arrived, &flow.arrived)] {
            let Some(frame) = digits.as_deref().and_then(bytes) else { continue };
            file.packet(interface, time, &frame, &comment(flow));
            time += 1;
        }
    }
    file.into_bytes()
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
    fn a_flow_is_sent_and_arrives_with_what_is_to_be_said_of_it() {
        let mut one = flow("failed", true);
        (one.sent, one.arrived) = (Some("0102030405".into()), Some("06".into()));
        let file = capture(&[&one], 7 << 32);
        let mut wanted = Pcapng::new("netengine prove", "");
        let (sent, arrived) = (wanted.interface("sent"), wanted.interface("arrived"));
        wanted.packet(sent, 7 << 32, &[1, 2, 3, 4, 5], &comment(&one));
        wanted.packet(arrived, (7 << 32) + 1, &[6], &comment(&one));
        assert_eq!(file, wanted.into_bytes());
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
