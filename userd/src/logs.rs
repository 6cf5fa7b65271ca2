//! The end of a world's log. The files are written by another user, in a directory that user owns, so each is opened
//! beneath the worlds' directory without following any link, must be a plain file, and is read from its end up to a bound.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use netengine_proto::{ids::WorldId, limits};
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};

/// Bytes read of each file.
const READ: u64 = limits::LOG_BYTES / 2;
/// Bytes of a line that are shown.
const LINE: usize = 4096;

/// The last `lines` lines of a world's log that belong to `service`, oldest first.
///
/// A line belongs to a service when it holds the field `service=NAME`; without `service` all lines are returned. Bytes
/// that are not printable ASCII are escaped. A log that does not exist has no lines.
///
/// # Errors
/// When a file exists and cannot be opened safely or read.
pub fn tail(worlds: &Path, world: WorldId, service: Option<&str>, lines: usize) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in ["worldd.log.1", "worldd.log"] {
        let Some(mut file) = open_beneath(worlds, &format!("{world}/{file}"))? else { continue };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
        let mut bytes = Vec::new();
        file.take(READ).read_to_end(&mut bytes)?;
        let whole =
            if length > READ { bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1) } else { 0 };
        let kept = bytes[whole..].split(|b| *b == b'\n').filter(|line| !line.is_empty());
        found.extend(kept.filter(|line| service.is_none_or(|name| is_of(line, name))).map(shown));
    }
    let lines = lines.min(limits::LOG_LINES);
    Ok(found.split_off(found.len().saturating_sub(lines)))
}

fn open_beneath(directory: &Path, path: &str) -> io::Result<Option<File>> {
    let directory = open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    // O_NONBLOCK: a fifo planted under this name must not hold us up.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let file = match openat2(&directory, path, OpenHow::new().flags(flags).resolve(resolve)) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.is_file() { Ok(Some(file)) } else { Err(io::Error::other("is not a plain file")) }
}

/// Whether a line has the field `service=NAME`, quoted or not.
fn is_of(line: &[u8], name: &str) -> bool {
    let fields = line.split(|b| *b == b' ').filter_map(|field| field.strip_prefix(b"service="));
    fields.into_iter().any(|value| {
        value.trim_ascii_end().strip_prefix(b"\"").map_or(value, |v| v.strip_suffix(b"\"").unwrap_or(v))
            == name.as_bytes()
    })
}

fn shown(line: &[u8]) -> String {
    line[..line.len().min(LINE)].escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn world() -> (tempfile::TempDir, WorldId) {
        let (directory, id) = (tempfile::tempdir().expect("a directory"), WorldId::from_bytes([1; 8]));
        fs::create_dir(directory.path().join(id.to_string())).expect("made");
        (directory, id)
    }

    #[test]
    fn the_end_of_both_files_is_shown_by_service_and_escaped() {
        let (directory, id) = world();
        let file = |name: &str| directory.path().join(id.to_string()).join(name);
        assert!(tail(directory.path(), id, None, 10).expect("no log").is_empty());
        fs::write(file("worldd.log.1"), "old service=ntp\n").expect("written");
        fs::write(file("worldd.log"), "a service=\"ntp\" x\nb service=ntpd\n\u{1b}[31m service=ntp\n")
            .expect("written");
        let lines = tail(directory.path(), id, Some("ntp"), 10).expect("read");
        assert_eq!(lines, ["old service=ntp", "a service=\"ntp\" x", "\\x1b[31m service=ntp"]);
        assert_eq!(tail(directory.path(), id, None, 2).expect("read").len(), 2);
    }

    #[test]
    fn what_is_planted_at_a_logs_path_is_not_read() {
        let (directory, id) = world();
        let log = directory.path().join(id.to_string()).join("worldd.log");
        symlink("/etc/hostname", &log).expect("planted");
        assert!(tail(directory.path(), id, None, 10).is_err(), "a symbolic link was followed");
        fs::remove_file(&log).expect("removed");
        nix::unistd::mkfifo(&log, Mode::from_bits_truncate(0o600)).expect("planted");
        assert!(tail(directory.path(), id, None, 10).is_err(), "a fifo was read");
        fs::remove_file(&log).expect("removed");
        fs::create_dir(&log).expect("planted");
        assert!(tail(directory.path(), id, None, 10).is_err(), "a directory was read");
        fs::remove_dir_all(directory.path().join(id.to_string())).expect("removed");
        symlink("/etc", directory.path().join(id.to_string())).expect("planted");
        assert!(tail(directory.path(), id, None, 10).is_err(), "a linked directory was entered");
    }
}
