//! `--pcap`: the frames of each case, as a file.

use std::{
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use netengine_proto::api::ProblemKind;
use netengine_suite::{pcap::capture, report::Run};

use crate::failure::Failure;

/// Letters of a case's name in the name of its file.
const NAME: usize = 60;

/// Writes a capture for each case that was judged into a directory, which is made when it is not there. `begun`: when the run began.
///
/// # Errors
/// Class `failed` when the directory cannot be written.
pub fn write(run: &Run<'_>, dir: &Path, begun: SystemTime) -> Result<(), Failure> {
    let cannot = |error: io::Error| {
        let what = format!("cannot write the captures to {}", dir.display());
        Failure::new(ProblemKind::Failed, what, error, "give a directory that you may write to")
    };
    fs::create_dir_all(dir).map_err(cannot)?;
    let micros = begun.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let micros = u64::try_from(micros).unwrap_or(0);
    for (number, judged) in (1..).zip(run.cases()) {
        fs::write(dir.join(file_name(number, &judged.case.name)), capture(judged, micros)).map_err(cannot)?;
    }
    Ok(())
}

/// The number of the case keeps names apart; what is no letter, digit or hyphen would be another place.
fn file_name(number: usize, name: &str) -> String {
    let safe = name.chars().take(NAME).map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    format!("{number:04}-{}.pcapng", safe.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_lead_nowhere_else() {
        assert_eq!(file_name(7, "../a b/\u{e4}"), "0007-___a_b__.pcapng");
        assert!(file_name(1, &"x".repeat(500)).len() < 100);
    }
}
