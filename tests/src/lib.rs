//! The harness of the root tests: throw-away hosts on the real kernel.
//!
//! A [`Host`] is a machine as far as NetEngine can tell: its own network, mounts, processes, users, `/run` and
//! `/var/lib`, with the built daemons started from `systemd/` by `netengine-supervise`. Hosts do not see each other,
//! so tests run in parallel, and [`Host::snapshot`] before and after proves what was left alone. When the `Host` is
//! dropped the kernel ends everything in it, because the first process of its pid namespace ends.
//!
//! Needs root and the binaries beside the test (`make build` with the same profile).

pub mod attack;
pub mod crash;
mod daemons;
mod enter;
mod host;
pub mod identity;
pub mod people;
pub mod report;
pub mod root;
mod snapshot;

pub use daemons::DEADLINE;
pub use enter::{inner_pid, signal};
pub use host::{BIN, EXAMPLES, Host, SCRATCH};
pub use people::{ALICE, BOB, CAROL, DANA, NOBODY, Person, ROOT, ROOTD, USERD, WORLDD};
pub use snapshot::Snapshot;
