//! The log: `worldd.log` in the world's directory, bounded by [`limits::LOG_BYTES`] together with `worldd.log.1`.

mod line;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    sync::Mutex,
};

use netengine_proto::limits;
use nix::libc;
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt};

pub use line::Line;

/// The file's name in the world's directory.
pub const FILE: &str = "worldd.log";
/// The name of the file before it.
pub const OLD_FILE: &str = "worldd.log.1";

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// As open(2).
    #[error("cannot open {FILE}")]
    Open(#[source] io::Error),
    /// A link, another user's file, or no file at all.
    #[error("cannot open {FILE}: it is not a plain file of our own")]
    Foreign,
}

/// An appending writer that starts a new file before the old one grows past its bound.
///
/// Each event is one write(2) at the end of the file, so a prober may append to the same file as worldd.
#[derive(Debug)]
pub struct BoundedFile {
    file: File,
    written: u64,
    /// Bytes after which the file is rotated; `None` never rotates.
    bound: Option<u64>,
}

impl BoundedFile {
    /// Opens or makes the log, mode 0640, following no link. `rotates` is false in probers: one process rotates.
    ///
    /// # Errors
    /// [`LogError`]; a file with a second name or another owner is refused.
    pub fn open(rotates: bool) -> Result<Self, LogError> {
        let (file, written) = open()?;
        Ok(Self { file, written, bound: rotates.then_some(limits::LOG_BYTES / 2) })
    }

    fn rotate(&mut self) -> io::Result<()> {
        match std::fs::rename(FILE, OLD_FILE) {
            // Renamed the last time, when no new file could be made; or deleted by an administrator.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        (self.file, self.written) = open().map_err(io::Error::other)?;
        Ok(())
    }
}

fn open() -> Result<(File, u64), LogError> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(FILE);
    let file = file.map_err(LogError::Open)?;
    let found = file.metadata().map_err(LogError::Open)?;
    if !found.is_file() || found.nlink() != 1 || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(LogError::Foreign);
    }
    Ok((file, found.len()))
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(bound) = self.bound
            && self.written > 0
            && self.written + bytes.len() as u64 > bound
        {
            self.rotate()?;
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends all events of level INFO and above to `file`, and panics too. `service` names events that name none themselves.
///
/// A log that cannot be written (disk full) loses lines and disturbs nothing.
pub fn init(file: BoundedFile, service: &'static str) {
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .event_format(Line::new(service))
        .with_writer(Mutex::new(file));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(layer);
    // Fails only when a subscriber is set already, which then gets the events.
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("(no text)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("panic at {place}: {what}");
    }));
}
