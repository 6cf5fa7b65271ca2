//! `netengine up`.

use netengine_proto::api::{Accepted, OperationStatus, UpRequest};

use super::{count, duration, prove};
use crate::{args::SpecArgs, client::Client, failure::Failure, operation, spec_file, ui::Ui};

/// Loads the spec and makes the request of `up` and `plan`; warnings are shown.
///
/// # Errors
/// Class `spec` or `usage`.
pub fn request(ui: &Ui, spec: &SpecArgs, up_to: Option<u8>, timeout: Option<u32>) -> Result<UpRequest, Failure> {
    let loaded = spec_file::load(spec)?;
    let warnings = spec_file::warnings(&loaded);
    if !warnings.is_empty() {
        ui.remark(&warnings);
    }
    let timeout_ms = timeout.map(|seconds| u64::from(seconds) * 1000);
    Ok(UpRequest { spec: loaded.value, up_to, timeout_ms, no_heal: None })
}

/// Brings the world up and waits for it; with `prove` it is not said to be ready before it is proven.
///
/// # Errors
/// The operation's problem, or the daemon's; the flows that go otherwise than the spec says.
pub async fn run(ui: &Ui, client: &Client, request: &UpRequest, prove: bool) -> Result<u8, Failure> {
    let name = request.spec.pointer("/metadata/name").and_then(serde_json::Value::as_str).unwrap_or("?");
    let title = format!("start world \"{name}\"");
    let begin = client.post::<Accepted>("/worlds", request);
    let done = operation::run(ui, client, &title, begin).await?;
    if prove {
        prove::after_up(ui, client, &done.world).await?;
    }
    if ui.json {
        ui.print_json(&done)?;
        return Ok(0);
    }
    ui.print(&render(&done))?;
    Ok(0)
}

/// The last line of a successful `up`: it is done when live checks say that the world is ready.
fn render(done: &OperationStatus) -> String {
    let changes = count(usize::try_from(done.changes).unwrap_or(usize::MAX), "change");
    format!("world {} is ready: {changes}, {}\n", done.world, duration(done.millis))
}

#[cfg(test)]
mod tests {
    use netengine_proto::api::OperationState;

    use super::*;

    #[test]
    fn the_result_is_one_line() {
        let mut done = OperationStatus {
            operation: "o".into(),
            kind: "up".into(),
            world: "blue".into(),
            state: OperationState::Done,
            problem: None,
            millis: 212,
            changes: 1,
        };
        assert_eq!(render(&done), "world blue is ready: 1 change, 212 ms\n");
        (done.changes, done.millis) = (0, 12_345);
        assert_eq!(render(&done), "world blue is ready: 0 changes, 12.3 s\n");
    }
}
