//! The journal: intent before effect, on the file system that dies together with the kernel state (/run).
//!
//! Layout: one line of text with version and instance, then records. A record is its length and its CRC-32, four bytes
//! little-endian each, and one postcard value. A torn tail is ignored: its effect never began, because a record is
//! synced before. A record that does not check out in the middle is skipped and counted.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use netengine_proto::{
    ended::Ended,
    ids::{CallKey, InstanceId, ProcessId, Uid, WorldId},
    plan::{NetworkPlan, Node},
    root::{Applied, Change, ProcessKind},
};
use serde::{Deserialize, Serialize};

use super::live::Live;

const VERSION: &str = "netengine-rootd journal 3";
/// A journal longer than this is rewritten with what still matters.
const COMPACT_BYTES: u64 = 8 << 20;
const RECORD_BYTES: usize = 4 << 20;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The world shall equal this plan.
    Plan {
        /// The call that said so.
        key: CallKey,
        /// The plan, which names world and owner.
        plan: NetworkPlan,
    },
    /// Namespaces are about to be made.
    Namespaces {
        /// The world.
        world: WorldId,
        /// Which.
        nodes: Vec<Node>,
    },
    /// These changes are about to be made.
    Changes {
        /// The world.
        world: WorldId,
        /// Which.
        changes: Vec<Change>,
    },
    /// The kernel was seen to equal the plan.
    Applied {
        /// The world.
        world: WorldId,
        /// The call that asked, and its answer.
        key: CallKey,
        /// The answer.
        applied: Applied,
    },
    /// A start is about to try to complete the world; three tries without success and it is left alone, degraded.
    Trying {
        /// The world.
        world: WorldId,
    },
    /// The world shall be gone.
    Deleting {
        /// The world.
        world: WorldId,
        /// Its owner.
        owner: Uid,
    },
    /// The world is gone.
    Deleted {
        /// The world.
        world: WorldId,
    },
    /// A process is about to be started.
    Starting {
        /// Its world.
        world: WorldId,
        /// Its id.
        process: ProcessId,
        /// What it is.
        kind: ProcessKind,
        /// Where.
        node: Node,
        /// For whom.
        user: Uid,
        /// The call that asked, for programs.
        key: Option<CallKey>,
    },
    /// It ended.
    Ended {
        /// Its world.
        world: WorldId,
        /// Its id.
        process: ProcessId,
        /// How.
        ended: Ended,
    },
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    instance: InstanceId,
    bytes: u64,
    compact_at: u64,
    live: Live,
}

/// What was read at start.
#[derive(Debug)]
pub struct Opened {
    /// The journal, ready to append.
    pub journal: Journal,
    /// All records that check out, oldest first.
    pub records: Vec<Record>,
    /// Records that did not.
    pub damaged: usize,
}

impl Journal {
    /// Opens the journal in rootd's run directory, or begins one.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn open(run_directory: &Path, fresh: InstanceId) -> io::Result<Opened> {
        let path = run_directory.join("journal");
        let bytes = match open(&path, false) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                bytes
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let (instance, records, damaged) = match parse(&bytes) {
            Some((instance, records, damaged)) => (instance, records, damaged),
            // No readable head: either new, or not a journal of this version. Nothing is thrown away.
            None if bytes.is_empty() => (fresh, Vec::new(), 0),
            None => {
                std::fs::rename(&path, run_directory.join("journal.unreadable"))?;
                (fresh, Vec::new(), 1)
            }
        };
        let mut live = Live::default();
        records.iter().for_each(|record| live.fold(record));
        let journal = Self::write_new(path, instance, live)?;
        Ok(Opened { journal, records, damaged })
    }

    /// The tag of this installation's objects, as long as this journal lives.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Appends records and waits until they are stored. A long journal is rewritten with what still matters; so is one
    /// on a full disk, where a deletion must still be recorded.
    ///
    /// # Errors
    /// When they cannot be stored; then nothing may be done about them. What was half written is cut off.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            frame(record, &mut bytes)?;
        }
        match self.store(&bytes) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOSPC) => {
                self.compact()?;
                self.store(&bytes)?;
            }
            stored => stored?,
        }
        records.iter().for_each(|record| self.live.fold(record));
        if self.bytes > self.compact_at
            && let Err(error) = self.compact()
        {
            tracing::warn!(%error, "cannot rewrite the journal");
            self.compact_at *= 2;
        }
        Ok(())
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stored = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = stored {
            let _ = self.file.set_len(self.bytes);
            let _ = io::Seek::seek(&mut self.file, io::SeekFrom::End(0));
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Rewrites the journal with what still matters: temporary file, sync, rename, sync of the directory. When that
    /// fails the former one stays in force.
    fn compact(&mut self) -> io::Result<()> {
        *self = Self::write_new(self.path.clone(), self.instance, self.live.clone())?;
        Ok(())
    }

    fn write_new(path: PathBuf, instance: InstanceId, live: Live) -> io::Result<Self> {
        let temporary = path.with_extension("new");
        let mut bytes = format!("{VERSION} {instance}\n").into_bytes();
        for record in live.records() {
            frame(&record, &mut bytes)?;
        }
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = open(&temporary, true)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        let bytes = bytes.len() as u64;
        Ok(Self { path, file, instance, bytes, compact_at: COMPACT_BYTES.max(bytes * 2), live })
    }
}

/// Never through a link, and only a plain file of one name: the directory is ours alone, but a mistake of an administrator
/// must become neither a write elsewhere nor a start that waits for a pipe's other end.
fn open(path: &Path, create: bool) -> io::Result<File> {
    let mut options = File::options();
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC | nix::libc::O_NONBLOCK;
    options.read(true).mode(0o600).custom_flags(flags);
    if create {
        options.write(true).create_new(true);
    }
    let file = options.open(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file of one name"))
    }
}

fn frame(record: &Record, bytes: &mut Vec<u8>) -> io::Result<()> {
    let body = postcard::to_stdvec(record).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    Ok(())
}

fn parse(bytes: &[u8]) -> Option<(InstanceId, Vec<Record>, usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let instance = InstanceId::parse(head.strip_prefix(VERSION)?.trim_start()).ok()?;
    let mut rest = &bytes[end + 1..];
    let (mut records, mut damaged) = (Vec::new(), 0);
    while let Some((head, body)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length > RECORD_BYTES || length > body.len() {
            // A torn tail, or a length that is damaged itself: nothing after it can be found.
            damaged += usize::from(length <= RECORD_BYTES && body.len() > RECORD_BYTES);
            break;
        }
        let (body, after) = body.split_at(length);
        match postcard::from_bytes(body) {
            Ok(record) if crc32fast::hash(body) == crc => records.push(record),
            _ => damaged += 1,
        }
        rest = after;
    }
    Some((instance, records, damaged))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(n: u8) -> Record {
        Record::Deleted { world: WorldId::from_bytes([n; 8]) }
    }

    fn fresh() -> InstanceId {
        InstanceId::from_bytes([7; 8])
    }

    #[test]
    fn what_was_appended_is_read_back_and_the_instance_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::open(directory.path(), fresh()).expect("opens").journal;
        journal.append(&[record(1), record(2)]).expect("appends");
        let opened = Journal::open(directory.path(), InstanceId::from_bytes([8; 8])).expect("opens again");
        assert_eq!(opened.records, [record(1), record(2)]);
        assert_eq!(opened.journal.instance(), fresh());
    }

    #[test]
    fn a_link_planted_at_its_place_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let victim = directory.path().join("victim");
        std::fs::write(&victim, "precious").expect("writes");
        std::os::unix::fs::symlink(&victim, directory.path().join("journal")).expect("links");
        assert!(Journal::open(directory.path(), fresh()).is_err());
        assert_eq!(std::fs::read_to_string(&victim).expect("reads"), "precious");
    }

    #[test]
    fn a_pipe_or_a_second_name_at_its_place_is_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert!(Journal::open(directory.path(), fresh()).is_err());
        std::fs::remove_file(&path).expect("removed");
        let victim = directory.path().join("victim");
        std::fs::write(&victim, "precious").expect("writes");
        std::fs::hard_link(&victim, &path).expect("links");
        assert!(Journal::open(directory.path(), fresh()).is_err());
        assert_eq!(std::fs::read_to_string(&victim).expect("reads"), "precious");
    }

    #[test]
    fn it_stays_short_however_busy_its_worlds_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::open(directory.path(), fresh()).expect("opens").journal;
        let busy = vec![record(1); 200_000];
        for _ in 0..8 {
            journal.append(&busy).expect("appends");
        }
        let bytes = std::fs::metadata(directory.path().join("journal")).expect("a file").len();
        assert!(bytes < COMPACT_BYTES + 200_000 * 32, "{bytes} bytes");
        // Read back, it is what still matters: nothing.
        Journal::open(directory.path(), fresh()).expect("opens");
        let bytes = std::fs::metadata(directory.path().join("journal")).expect("a file").len();
        assert!(bytes < 64, "{bytes} bytes");
    }

    proptest! {
        #[test]
        fn any_cut_and_any_flipped_byte_loses_at_most_what_it_hit(cut in 0usize..200, flip in 0usize..200) {
            let mut bytes = format!("{VERSION} {}\n", fresh()).into_bytes();
            let head = bytes.len();
            for n in 0..8 {
                frame(&record(n), &mut bytes).expect("frames");
            }
            let torn = &bytes[..head + cut.min(bytes.len() - head)];
            let (_, records, damaged) = parse(torn).expect("a head");
            prop_assert_eq!(damaged, 0);
            prop_assert!(records.iter().enumerate().all(|(n, r)| *r == record(n as u8)));
            let place = head + flip % (bytes.len() - head);
            bytes[place] ^= 0x20;
            let (_, records, _) = parse(&bytes).expect("a head");
            prop_assert!(records.iter().all(|r| (0..8).any(|n| *r == record(n))), "a damaged record was believed");
        }
    }
}
