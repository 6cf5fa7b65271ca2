//! What is shown while an operation is at work: one line per phase, live on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use netengine_proto::api::Event;

use crate::{escape, table::Tint, ui::Ui};

/// Shows an operation's events on standard error.
pub struct Progress<'a> {
    ui: &'a Ui,
    bar: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    /// Begins to show, for example `up blue`.
    pub fn new(ui: &'a Ui, title: &str) -> Self {
        let bar = ui.live.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.set_message(escape::line(title).into_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { ui, bar }
    }

    /// Shows one event.
    pub fn event(&mut self, event: &Event) {
        match &self.bar {
            Some(bar) if is_start(event) => bar.set_message(line(event, false)),
            Some(bar) => bar.println(line(event, true)),
            None => self.ui.remark(&line(event, false)),
        }
    }

    /// Shows on a terminal how many of a known number of things, `checks` for example, are done.
    pub fn count(&mut self, title: &str, done: u64, all: u64, things: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(counted(title, done, all, things));
        }
    }

    /// Shows a remark of the CLI itself.
    pub fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.ui.remark(text),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn counted(title: &str, done: u64, all: u64, things: &str) -> String {
    format!("{}: {done} of {all} {things}", escape::line(title))
}

/// Whether the event tells that something begins; on a terminal the spinner's text tells that.
fn is_start(event: &Event) -> bool {
    event.kind.ends_with(".running") || event.kind.ends_with(".started")
}

/// The event's message in the colour of its state.
fn line(event: &Event, color: bool) -> String {
    tint(event).paint(&escape::line(&event.message), color)
}

/// The colour of what an event tells: its kind ends in a state, as in `phase.done`.
pub fn tint(event: &Event) -> Tint {
    match event.kind.rsplit('.').next().map(Tint::of_state) {
        None | Some(Tint::Dim) => Tint::Plain,
        Some(tint) => tint,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An event as the daemon would send it.
    pub(crate) fn event(kind: &str, phase: Option<u8>, message: &str) -> Event {
        Event {
            event: "e1".into(),
            seq: 7,
            time: "2026-01-02T03:04:05.678Z".into(),
            world: "blue".into(),
            operation: Some("o1".into()),
            parent: None,
            kind: kind.into(),
            phase,
            message: message.into(),
            data: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_phase_is_one_safe_line() {
        let done = event("phase.done", Some(0), "phase 0 done\u{1b}[2J");
        assert_eq!(line(&done, false), "phase 0 done\\x1b[2J");
        assert_eq!(line(&done, true), "\x1b[32mphase 0 done\\x1b[2J\x1b[0m");
        assert_eq!(line(&event("operation.planned", None, "3 steps"), true), "3 steps");
    }
}
