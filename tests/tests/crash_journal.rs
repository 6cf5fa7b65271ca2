//! rootd is killed behind each record of its journal: stored, and nothing done about it yet. No kind of record is left out.

use std::{collections::BTreeSet, fs, time::Duration};

use netengine_tests::{
    ALICE, Host,
    crash::{Fault, Injection, Rest, cli, finish_cli, minimal, recovers, settled, start_cli},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Time enough to read the journal before the next rootd rewrites it.
const SLOW: &str = "[Service]\nRestartSec=700ms\n";
/// The kinds of records in the order of `rootd/src/broker/journal.rs`; the first byte of a record is its kind.
const KINDS: [&str; 9] =
    ["Plan", "Namespaces", "Changes", "Applied", "Trying", "Deleting", "Deleted", "Starting", "Ended"];

struct Killed {
    host: Host,
    rest: Rest,
    seen: BTreeSet<&'static str>,
}

impl Killed {
    fn new() -> Self {
        let host = Host::with_drop_ins(&[("netengine-rootd.service", SLOW)]);
        host.foreign();
        let rest = Rest::of(&host);
        Self { host, rest, seen: BTreeSet::new() }
    }

    fn starts(&self) -> usize {
        let lines = self.host.supervisor_lines();
        lines.iter().filter(|line| line.starts_with("netengine-rootd.service: started")).count()
    }

    fn rootd(&self) -> Pid {
        *self.host.named("netengine-rootd").first().expect("rootd runs")
    }

    /// Takes the last record of the journal that a killed rootd left.
    fn see(&mut self, starts: usize) {
        let journal = fs::read(self.host.path("/run/netengine-rootd/journal")).expect("a journal");
        assert_eq!(self.starts(), starts, "rootd was started anew before its journal was read");
        self.seen.extend(last_kind(&journal));
    }

    /// Kills rootd when it stores its k-th record during an operation, for every k.
    fn sweep(&mut self, args: &[&str], up_before: bool) {
        for when in 1.. {
            if up_before {
                let up = cli(&self.host, ALICE, &["up", &minimal()]).expect("ends");
                assert_eq!(up.code, Some(0), "{up:?}");
            }
            let fault = Fault { calls: "fdatasync", what: "signal=SIGKILL", when, onward: false, follow: false };
            let injection = Injection::attach(&[self.rootd()], fault);
            let starts = self.starts();
            let running = start_cli(&self.host, ALICE, args);
            let hit = injection.wait_hit(Duration::from_secs(2));
            if hit {
                self.see(starts);
            }
            drop(injection);
            finish_cli(running).expect("the CLI ends");
            recovers(&self.host, ALICE, &self.rest)
                .unwrap_or_else(|error| panic!("record {when} of {args:?}: {error}"));
            if !hit {
                assert!(when > 2, "{args:?} stores records");
                return;
            }
        }
    }

    /// Kills the next rootd when it stores its first record, while a world exists.
    fn restart(&mut self) {
        let up = cli(&self.host, ALICE, &["up", &minimal()]).expect("ends");
        assert_eq!(up.code, Some(0), "{up:?}");
        let supervisor = *self.host.named("netengine-super").first().expect("the supervisor runs");
        let fault = Fault { calls: "fdatasync", what: "signal=SIGKILL", when: 1, onward: false, follow: true };
        kill(self.rootd(), Signal::SIGKILL).expect("signalled");
        let injection = Injection::attach(&[supervisor], fault);
        let starts = self.starts() + 1;
        assert!(injection.wait_hit(Duration::from_secs(10)), "a starting rootd stores a record");
        self.see(starts);
        drop(injection);
        let worlds = settled(&self.host, ALICE).expect("comes to rest");
        assert!(worlds.contains_key("minimal"), "a running world lives on");
        recovers(&self.host, ALICE, &self.rest).expect("recovers");
    }
}

/// Version line, then records of length, checksum (four bytes each) and body.
fn last_kind(journal: &[u8]) -> Option<&'static str> {
    let head = journal.iter().position(|byte| *byte == b'\n').expect("a version line");
    let mut rest = &journal[head + 1..];
    let mut last = None;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (body, after) = after.split_at_checked(length).expect("a whole record: it was written at once");
        last = Some(KINDS[usize::from(body[0])]);
        rest = after;
    }
    last
}

#[test]
fn rootd_killed_behind_every_kind_of_record() {
    let mut killed = Killed::new();
    killed.sweep(&["up", &minimal()], false);
    killed.sweep(&["down", "minimal", "--yes"], true);
    killed.restart();
    assert_eq!(killed.seen, KINDS.into(), "each kind of record was the last one once");
}
