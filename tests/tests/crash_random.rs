//! Random daemons die at random moments while users work: when it is over, everything comes to rest and nothing is left.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use netengine_tests::{
    ALICE, BOB, DANA, Host, Person,
    crash::{Rest, WORLDD, cli, eventually, minimal, settled, takes_down},
};
use nix::sys::signal::{Signal, kill};

const VICTIMS: [&str; 8] = [
    "netengine-rootd",
    "ne-rootd-net",
    "ne-rootd-ns",
    "ne-rootd-spawn",
    "ne-holder",
    "ne-attendant",
    "netengine-userd",
    WORLDD,
];
const USERS: [Person; 3] = [ALICE, BOB, DANA];

/// `NETENGINE_CRASH=full` kills for longer.
fn time() -> Duration {
    let full = std::env::var("NETENGINE_CRASH").is_ok_and(|value| value == "full");
    Duration::from_secs(if full { 300 } else { 20 })
}

/// xorshift64: the order of kills is told by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

#[test]
fn random_kills_while_three_users_work_leave_nothing() {
    let host = Host::new();
    host.foreign();
    let rest = Rest::of(&host);
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let seed = since_epoch.as_nanos() as u64 | 1;
    eprintln!("seed {seed}");
    let over = AtomicBool::new(false);
    let (done, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for user in USERS {
            let (host, over, done, refused) = (&host, &over, &done, &refused);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    for args in [&["up", &minimal()][..], &["status", "minimal"], &["down", "minimal", "--yes"]] {
                        let run = cli(host, user, args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
                        match run.code {
                            Some(0) => done.fetch_add(1, Ordering::Relaxed),
                            Some(1 | 4) => refused.fetch_add(1, Ordering::Relaxed),
                            _ => panic!("{args:?}: {run:?}"),
                        };
                    }
                }
            });
        }
        let mut random = Random(seed);
        let end = Instant::now() + time();
        let mut kills = 0;
        while Instant::now() < end {
            let found = host.named(VICTIMS[random.below(VICTIMS.len())]);
            if !found.is_empty() {
                // It may have ended since.
                let _ = kill(found[random.below(found.len())], Signal::SIGKILL);
                kills += 1;
            }
            thread::park_timeout(Duration::from_millis(random.below(400) as u64));
        }
        over.store(true, Ordering::Relaxed);
        eprintln!("{kills} kills");
    });
    eprintln!("{done:?} commands done, {refused:?} failed");
    assert!(done.load(Ordering::Relaxed) > 10, "work went on meanwhile");
    for user in USERS {
        settled(&host, user).expect("comes to rest");
        eventually("down succeeds", || takes_down(&host, user).is_ok());
        assert!(settled(&host, user).expect("answers").is_empty());
    }
    rest.wait(&host, Duration::from_secs(10)).expect("nothing is left");
}
