//! `netengine schema`.

use crate::{failure::Failure, ui::Ui};

/// Prints the JSON Schema of the spec; the same with and without `--json`.
///
/// # Errors
/// Only when standard output cannot be written.
pub fn run(ui: &Ui) -> Result<u8, Failure> {
    ui.print_json(&netengine_spec::schema())?;
    Ok(0)
}
