//! The live check of a web server: its name, its certificate, its status.

use super::{
    finding::{Finding, Progress, Seen},
    http::{Http, Shared},
};

/// Fetches `https://NAME/PATH` and wants `status`.
pub async fn check(shared: Shared, name: &str, path: &str, status: u16, progress: &Progress) -> Seen {
    let url = format!("https://{name}{path}");
    let answer = Http::new(shared, progress.clone()).get(&url, "*/*").await?;
    let (seen, bytes) = (answer.status(), answer.body().len());
    if seen.as_u16() == status {
        Ok(format!("{url} answered {seen}, {bytes} bytes"))
    } else {
        Err(Finding::wrong(format!("{url} answered {seen}, not {status}")))
    }
}
