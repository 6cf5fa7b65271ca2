//! Why a command did not do what was asked, and the exit code that tells so.

use std::fmt::Write;

use netengine_proto::api::{Problem, ProblemKind};
use serde_json::{Value, json};

use crate::escape;

/// A failure: shown as three lines on standard error, or with `--json` as one object there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The same three texts that the API uses, and the class.
    pub problem: Box<Problem>,
    /// Errors with their places, for people, shown above the three lines; may span lines.
    pub places: String,
    /// An exit code other than the class's: `exec` has the conventions 126 and 127.
    pub exit: Option<u8>,
}

impl Failure {
    /// A failure of this class with its three texts.
    pub fn new(
        kind: ProblemKind,
        what: impl Into<String>,
        cause: impl std::fmt::Display,
        help: impl Into<String>,
    ) -> Self {
        let (what, cause, help) = (what.into(), cause.to_string(), help.into());
        Self {
            problem: Box::new(Problem { kind, what, cause, help, diagnostics: Vec::new() }),
            places: String::new(),
            exit: None,
        }
    }

    /// The same failure with another exit code.
    pub fn with_exit(mut self, code: u8) -> Self {
        self.exit = Some(code);
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.exit.unwrap_or(self.problem.kind.exit_code())
    }

    /// The lines for people, with what others wrote made safe.
    pub fn text(&self) -> String {
        let Problem { what, cause, help, .. } = &*self.problem;
        let mut text = escape::block(&self.places).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "error: {}", escape::line(what));
        let _ = writeln!(text, "  cause: {}", escape::line(cause));
        let _ = writeln!(text, "  help:  {}", escape::line(help));
        text
    }

    /// The object of `--json`: `{"error": {kind, exit_code, what, cause, help, diagnostics}}`.
    pub fn json(&self) -> Value {
        let Problem { kind, what, cause, help, diagnostics } = &*self.problem;
        json!({ "error": {
            "kind": kind.as_str(),
            "exit_code": self.exit_code(),
            "what": what,
            "cause": cause,
            "help": help,
            "diagnostics": diagnostics,
        }})
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let places = problem.diagnostics.iter().map(place).collect();
        Self { problem: Box::new(problem), places, exit: None }
    }
}

/// One line for a diagnostic of the daemon: `file:line:column: message`, as far as it has these members.
fn place(diagnostic: &Value) -> String {
    let text = |key: &str| match diagnostic.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let Some(message) = text("message") else {
        return format!("{diagnostic}\n");
    };
    let mut place: Vec<String> = ["file", "line", "column"].iter().filter_map(|key| text(key)).collect();
    if place.is_empty() {
        place.extend(text("path"));
    }
    if place.is_empty() { format!("{message}\n") } else { format!("{}: {message}\n", place.join(":")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_tell_what_cause_and_help() {
        let failure = Failure::new(ProblemKind::Quota, "cannot start world \"blue\"", "quota\u{1b}[2J", "remove one");
        assert_eq!(failure.text(), "error: cannot start world \"blue\"\n  cause: quota\\x1b[2J\n  help:  remove one\n");
        assert_eq!(failure.exit_code(), 3);
        assert_eq!(failure.json()["error"]["cause"], "quota\u{1b}[2J", "JSON is exact");
    }

    #[test]
    fn every_class_has_the_documented_exit_code() {
        for (kind, code) in [
            (ProblemKind::Failed, 1),
            (ProblemKind::NotFound, 1),
            (ProblemKind::Conflict, 1),
            (ProblemKind::Usage, 2),
            (ProblemKind::Spec, 2),
            (ProblemKind::Refused, 3),
            (ProblemKind::Quota, 3),
            (ProblemKind::Confirmation, 3),
            (ProblemKind::Engine, 4),
        ] {
            assert_eq!(Failure::new(kind, "", "", "").exit_code(), code, "{kind}");
        }
        assert_eq!(Failure::new(ProblemKind::Failed, "", "", "").with_exit(127).exit_code(), 127);
    }

    #[test]
    fn diagnostics_of_the_daemon_are_shown_with_their_place() {
        let diagnostics = vec![
            json!({"file": "a.yaml", "line": 3, "column": 5, "message": "bad"}),
            json!({"path": "dns", "message": "worse"}),
        ];
        let problem =
            Problem { kind: ProblemKind::Spec, what: "w".into(), cause: "c".into(), help: "h".into(), diagnostics };
        let text = Failure::from(problem).text();
        assert!(text.starts_with("a.yaml:3:5: bad\ndns: worse\nerror: w\n"), "{text}");
    }
}
