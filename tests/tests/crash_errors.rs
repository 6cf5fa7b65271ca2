//! The kernel refuses one call of one process during `up`: the user is told what failed, what was made is undone, and the
//! next `up` works.

use std::time::Duration;

use netengine_tests::{
    ALICE, Host,
    crash::{Fault, Injection, Rest, cli, minimal, recovers},
};

/// Of which process, which calls, which error; children are followed.
const REFUSALS: [(&str, &str, &str, bool); 12] = [
    ("netengine-rootd", "fdatasync", "ENOSPC", false),
    ("netengine-rootd", "write", "ENOSPC", false),
    ("netengine-rootd", "sendmsg,recvmsg", "ENOBUFS", false),
    ("ne-rootd-net", "sendto,sendmsg", "ENOBUFS", false),
    ("ne-rootd-net", "recvfrom,recvmsg", "ENOMEM", false),
    ("ne-rootd-ns", "unshare", "ENOMEM", false),
    ("ne-rootd-ns", "unshare,socket", "ENOSPC", false),
    ("ne-rootd-ns", "openat", "EMFILE", false),
    ("ne-rootd-ns", "write", "EIO", false),
    ("ne-rootd-spawn", "clone,clone3,fork,vfork", "EAGAIN", false),
    ("ne-rootd-spawn", "mount,mkdir,mkdirat", "ENOSPC", true),
    ("ne-rootd-spawn", "setns,unshare,execve", "ENOMEM", true),
];

/// A call that every role's filter allows takes the place of the refused one: strace's own choice, number -1, is the end
/// of a process behind a filter (`rootd/src/sandbox/seccomp.rs`).
fn refused(error: &str) -> String {
    format!("error={error}:syscall=gettid")
}

/// Every N, or few.
fn next(when: u32) -> u32 {
    let all = std::env::var("NETENGINE_CRASH").is_ok_and(|value| value == "full");
    if all { when + 1 } else { when * 3 }
}

#[test]
fn a_refused_call_is_told_and_undone() {
    let host = Host::with_drop_ins(
        &["netengine-spawn.service", "netengine-rootd.service"].map(|unit| (unit, "[Service]\nRestartSec=1ms\n")),
    );
    host.foreign();
    let rest = Rest::of(&host);
    let mut violations = Vec::new();
    for (comm, calls, error, follow) in REFUSALS {
        let (mut when, mut hits) = (1, 0);
        loop {
            let what = refused(error);
            let fault = Fault { calls, what: &what, when, onward: false, follow };
            let pids = host.named(comm);
            assert!(!pids.is_empty(), "no process {comm}");
            let injection = Injection::attach(&pids, fault);
            let run = cli(&host, ALICE, &["up", &minimal()]);
            let hit = injection.detach();
            let place = format!("{comm}, {calls}, {error}, N={when}");
            let outcome = run.and_then(|run| match run.code {
                Some(0) => Ok(()),
                Some(1 | 4) if run.stderr.contains("cause:") && run.stderr.contains("help:") => {
                    eprintln!("{place}: {}", run.stderr.lines().rev().nth(1).unwrap_or_default().trim());
                    Ok(())
                }
                _ => Err(format!("{run:?}")),
            });
            if let Err(error) = outcome.and_then(|()| recovers(&host, ALICE, &rest)) {
                eprintln!("{place}: {error}");
                violations.push(format!("{place}: {error}"));
                let _ = rest.wait(&host, Duration::from_secs(1));
            }
            if hit.is_empty() {
                break;
            }
            hits += 1;
            when = next(when);
        }
        if hits == 0 {
            violations.push(format!("{comm} makes none of {calls}"));
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Once is not enough for some: userd asks again. Here every call is refused until `up` has given up.
#[test]
fn calls_that_are_always_refused_fail_the_up_and_leave_nothing() {
    let host = Host::with_drop_ins(
        &["netengine-spawn.service", "netengine-rootd.service"].map(|unit| (unit, "[Service]\nRestartSec=1ms\n")),
    );
    host.foreign();
    let rest = Rest::of(&host);
    for (comm, calls, error, told) in [
        ("netengine-rootd", "fdatasync", "ENOSPC", "No space left on device"),
        ("ne-rootd-ns", "unshare", "ENOMEM", "Cannot allocate memory"),
        ("ne-rootd-ns", "socket", "EMFILE", "Too many open files"),
        ("ne-rootd-spawn", "clone,clone3,fork,vfork", "EAGAIN", "Resource temporarily unavailable"),
    ] {
        let what = refused(error);
        let fault = Fault { calls, what: &what, when: 1, onward: true, follow: false };
        let injection = Injection::attach(&host.named(comm), fault);
        let run = cli(&host, ALICE, &["up", &minimal()]).expect("ends");
        assert!(!injection.detach().is_empty(), "{comm} makes {calls}");
        assert_eq!(run.code, Some(1), "{comm}, {calls}: {run:?}");
        assert!(run.stderr.contains(told) && run.stderr.contains("help:"), "{comm}, {calls}: {run:?}");
        recovers(&host, ALICE, &rest).unwrap_or_else(|error| panic!("{comm}, {calls}: {error}"));
    }
}
