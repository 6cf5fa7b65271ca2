//! What a live check says when the service is not as it must be.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use netengine_proto::control::Fault;

/// Longest detail of a result, in characters; a server's own words are in it.
const DETAIL: usize = 600;
/// How servers say that they cannot write, in lower case.
const FULL: [&str; 4] = ["insufficient storage", "no space left", "disk is full", "disk full"];

/// Why a live check did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Finding {
    /// The kind of fault, when it is known.
    pub fault: Option<Fault>,
    /// What was seen, in words for people.
    pub detail: String,
}

/// What was seen of a service that is as it must be, or why not.
pub type Seen = Result<String, Finding>;

impl Finding {
    /// A fault of the service.
    pub fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault: Some(fault), detail: detail.into() }
    }

    /// The check could not be made; that says nothing of the service.
    pub fn ours(detail: impl Into<String>) -> Self {
        Self { fault: None, detail: detail.into() }
    }

    /// The answer is not what was promised.
    pub fn wrong(detail: impl Into<String>) -> Self {
        Self::new(Fault::WrongAnswer, detail)
    }

    /// The server refuses in its own words: its disk is full, when that is what it says.
    pub fn refused(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let said = detail.to_ascii_lowercase();
        let fault = if FULL.iter().any(|words| said.contains(words)) { Fault::DiskFull } else { Fault::Refused };
        Self::new(fault, detail)
    }

    /// A socket's error while `doing`.
    ///
    /// A lack of descriptors, ports or rights here is ours; everything else means that nobody answers there.
    pub fn io(doing: &str, error: &io::Error) -> Self {
        let detail = format!("cannot {doing}: {error}");
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => {
                Self::ours(detail)
            }
            _ if matches!(error.raw_os_error(), Some(nix::libc::EMFILE | nix::libc::ENFILE)) => Self::ours(detail),
            _ => Self::new(Fault::ServiceStopped, detail),
        }
    }
}

/// What a check is waiting for: the reason when its time is over.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Mutex<(Option<Fault>, String)>>);

impl Progress {
    /// Nothing is awaited yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new((None, "waiting to begin".to_owned()))))
    }

    /// From now on waiting for a server that is stopped if it stays silent.
    pub fn enter(&self, doing: impl Into<String>) {
        self.enter_for(Some(Fault::ServiceStopped), doing);
    }

    /// From now on waiting for what is this fault if it does not come.
    pub fn enter_for(&self, fault: Option<Fault>, doing: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (fault, doing.into());
    }

    /// The time is over.
    pub fn over(&self, limit: std::time::Duration) -> Finding {
        let (fault, doing) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Finding { fault, detail: format!("no answer within {} ms while {doing}", limit.as_millis()) }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// One line of printable ASCII, bounded: what servers say goes to terminals and logs.
pub fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(DETAIL)
        .map(|c| match c {
            ' '..='~' => c,
            c if c.is_whitespace() => ' ',
            _ => '?',
        })
        .collect();
    if text.chars().nth(DETAIL).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_one_short_line_of_ascii() {
        assert_eq!(one_line("a\nb\u{1b}[31m\u{e9}"), "a b?[31m?");
        assert_eq!(one_line(&"x".repeat(DETAIL)).len(), DETAIL);
        assert_eq!(one_line(&"x".repeat(DETAIL + 1)).len(), DETAIL + 3);
    }

    #[test]
    fn a_server_that_says_its_disk_is_full_is_believed() {
        assert_eq!(Finding::refused("507 Insufficient Storage").fault, Some(Fault::DiskFull));
        assert_eq!(Finding::refused("500 Internal Server Error").fault, Some(Fault::Refused));
    }

    #[test]
    fn a_lack_of_ours_is_no_fault_of_the_service() {
        let error = |code| Finding::io("connect", &io::Error::from_raw_os_error(code)).fault;
        assert_eq!(error(nix::libc::EMFILE), None);
        assert_eq!(error(nix::libc::EACCES), None);
        assert_eq!(error(nix::libc::ECONNREFUSED), Some(Fault::ServiceStopped));
        assert_eq!(error(nix::libc::EHOSTUNREACH), Some(Fault::ServiceStopped));
    }
}
