//! The first process of a test host, started by `unshare` in new mount, network and pid namespaces.
//!
//! Lays the host's own places over those of this machine, tells its pid (as this machine counts), and waits for its
//! orphans until standard input ends. With it ends everything in its pid namespace.
//!
//! Usage: `host-init BIN-DIRECTORY EXAMPLES-DIRECTORY`

use std::{
    fs,
    io::Read,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::Command,
    thread,
};

use anyhow::{Context, Result, bail};
use netengine_tests::{BIN, EXAMPLES, SCRATCH, people};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(bin), Some(examples)) = (args.next(), args.next()) else { bail!("needs two directories") };
    let pid = fs::read_link("/proc/self").context("cannot read own pid")?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    furnish(&bin, &examples)?;
    println!("ready {}", pid.display());
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    loop {
        signals.wait()?;
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
    }
}

fn furnish(bin: &str, examples: &str) -> Result<()> {
    lay("proc", "/proc", "")?;
    lay("sysfs", "/sys", "")?;
    for place in ["/run", "/var/lib", "/var/log"] {
        lay("tmpfs", place, "mode=755")?;
    }
    for (from, to) in [(bin, BIN), (examples, EXAMPLES)] {
        fs::create_dir_all(to)?;
        bind(Path::new(from), Path::new(to))?;
    }
    fs::create_dir_all(format!("{SCRATCH}/home"))?;
    for person in people::PEOPLE {
        let home = people::home(&person);
        fs::create_dir(&home)?;
        chown(&home, Some(person.uid), Some(person.gid))?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    }
    let read = |name: &str| fs::read_to_string(name).with_context(|| format!("cannot read {name}"));
    for (real, text) in
        [("/etc/passwd", people::passwd(&read("/etc/passwd")?)), ("/etc/group", people::group(&read("/etc/group")?))]
    {
        let copy = Path::new(SCRATCH).join(real.trim_start_matches("/etc/"));
        fs::write(&copy, text)?;
        bind(&copy, Path::new(real))?;
    }
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("cannot run ip")?;
    if status.success() { Ok(()) } else { bail!("cannot bring lo up: {status}") }
}

fn lay(kind: &str, place: &str, options: &str) -> Result<()> {
    mount(Some(kind), place, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .with_context(|| format!("cannot lay {kind} over {place}"))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot lay {} over {}", from.display(), to.display()))
}
