//! `netengine logs`.

use std::time::Duration;

use netengine_proto::api::Logs;
use tokio::time::{MissedTickBehavior, interval};

use crate::{client::Client, escape, failure::Failure, ui::Ui};

/// How often a followed log is asked for: the API has no stream of log lines.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Which lines.
pub struct Query {
    /// The world.
    pub world: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// How many lines.
    pub lines: u32,
}

/// Shows the end of a log; with `follow` goes on for ever.
///
/// # Errors
/// The daemon's problem.
pub async fn run(ui: &Ui, client: &Client, query: &Query, follow: bool) -> Result<u8, Failure> {
    let world = client.world(query.world.as_deref()).await?;
    let path = format!("/worlds/{world}/logs");
    let lines = query.lines.to_string();
    let mut parameters = vec![("lines", lines.as_str())];
    parameters.extend(query.service.as_deref().map(|service| ("service", service)));
    let mut logs: Logs = client.get(&path, &parameters).await?;
    if !follow {
        if ui.json {
            ui.print_json(&logs)?;
        } else {
            ui.print(&render(&logs.lines))?;
        }
        return Ok(0);
    }
    show(ui, &logs.service, &logs.lines)?;
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now: Logs = client.get(&path, &parameters).await?;
        show(ui, &now.service, added(&logs.lines, &now.lines))?;
        logs = now;
    }
}

fn show(ui: &Ui, service: &str, lines: &[String]) -> Result<(), Failure> {
    if !ui.json {
        return if lines.is_empty() { Ok(()) } else { ui.print(&render(lines)) };
    }
    lines.iter().try_for_each(|line| ui.print_json_line(&serde_json::json!({ "service": service, "line": line })))
}

fn render(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{}\n", escape::line(line))).collect()
}

/// The lines of `now` that come after `before`: both are ends of one log, so the longest end of `before` that begins
/// `now` is what both have.
fn added<'a>(before: &[String], now: &'a [String]) -> &'a [String] {
    let common = (0..=before.len().min(now.len())).rev().find(|&n| before[before.len() - n..] == now[..n]);
    &now[common.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn following_shows_each_line_once() {
        for (before, now, new) in [
            ("", "ab", "ab"),
            ("ab", "ab", ""),
            ("abc", "bcd", "d"),
            ("ab", "abc", "c"),
            ("ab", "xy", "xy"),
            ("ab", "", ""),
        ] {
            assert_eq!(added(&lines(before), &lines(now)), lines(new), "{before} then {now}");
        }
    }

    #[test]
    fn log_lines_cannot_drive_the_terminal() {
        assert_eq!(render(&["a\u{1b}]0;x\u{7}".into()]), "a\\x1b]0;x\\x07\n");
    }
}
