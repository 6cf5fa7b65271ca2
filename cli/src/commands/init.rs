//! `netengine init`: a commented spec to start from.

use std::{fs::OpenOptions, io::Write, path::Path};

use netengine_proto::api::ProblemKind;
use serde_json::json;

use crate::{escape, failure::Failure, ui::Ui};

/// The spec that is written.
pub const STARTER: &str = include_str!("starter.yaml");

/// Writes the starter spec to a file that does not exist yet.
///
/// # Errors
/// Class `usage` when the file exists, class `failed` when it cannot be written.
pub fn run(ui: &Ui, file: &Path) -> Result<u8, Failure> {
    let what = format!("cannot write {}", file.display());
    let mut out = OpenOptions::new().write(true).create_new(true).open(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(ProblemKind::Usage, &what, "it exists; it is not overwritten", "give another name")
        }
        _ => Failure::new(ProblemKind::Failed, &what, error, "give a path in a directory you may write to"),
    })?;
    out.write_all(STARTER.as_bytes()).and_then(|()| out.sync_all()).map_err(|error| {
        Failure::new(ProblemKind::Failed, &what, error, "make room on the disk, remove the file and try again")
    })?;
    let shown = file.display().to_string();
    if ui.json {
        ui.print_json(&json!({ "file": shown }))?;
    } else {
        let shown = escape::line(&shown);
        ui.print(&format!("wrote {shown}; bring it up with `netengine up {shown}`\n"))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use netengine_spec::{Source, Sources};

    use super::*;

    #[test]
    fn the_starter_is_a_valid_spec_without_warnings() {
        let base = Source { name: "starter.yaml".into(), text: STARTER.into() };
        let loaded = netengine_spec::load(&Sources { base, overlay: None, sets: Vec::new() }, &|_| None);
        let loaded =
            loaded.unwrap_or_else(|found| panic!("{}", found.iter().map(|d| format!("{d}\n")).collect::<String>()));
        assert_eq!(loaded.warnings, Vec::new());
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("makes a directory");
        let file = dir.path().join("w.yaml");
        std::fs::write(&file, "mine").expect("writes");
        let ui = Ui { json: true, quiet: true, color: false, live: false };
        assert_eq!(run(&ui, &file).expect_err("refused").exit_code(), 2);
        assert_eq!(std::fs::read_to_string(&file).expect("reads"), "mine");
    }
}
