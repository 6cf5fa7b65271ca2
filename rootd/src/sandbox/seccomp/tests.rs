//! Each rule of each filter run as it allows and altered, in a process of its own: the test runs itself again with the
//! case in its environment.
#![allow(unsafe_code)]

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, exit},
};

use super::*;

const CASE: &str = "NETENGINE_TEST_CASE";
const LISTING: [Role; 8] =
    [Role::Broker, Role::Net, Role::Ns, Role::Holder, Role::Watch, Role::Probe, Role::LabAttendant, Role::Uplink];
/// Calls that end or derail the process by design; the end of every child shows exit_group.
const NOT_RETURNING: [libc::c_long; 3] = [libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn];

/// Runs the test `name` again as a child for `case`; the signal it died of, or its exit status.
fn child(name: &str, case: &str) -> Result<i32, i32> {
    let mut command = Command::new(std::env::current_exe().expect("our own file"));
    let name = format!("sandbox::seccomp::tests::{name}");
    let output = command.args(["--exact", &name, "--nocapture"]).env_clear().env(CASE, case).output().expect("runs");
    match output.status.signal() {
        Some(signal) => Err(signal),
        None => Ok(output.status.code().expect("a status")),
    }
}

/// Calls with arguments that satisfy the rule, or break its condition; junk elsewhere.
fn call((number, when): Rule, altered: bool) -> io::Result<()> {
    let mut all = [u64::MAX; 6];
    match when {
        Always => {}
        Equals(place, value) => all[usize::from(place)] = if altered { value ^ 0x40 } else { value },
        Without(place, bits) => all[usize::from(place)] = if altered { bits } else { 0 },
        With(place, bits) => all[usize::from(place)] = if altered { 0 } else { bits },
        // The last one: another protocol is another kind of socket.
        Exactly(values) => {
            all[..3].copy_from_slice(&values);
            all[2] ^= u64::from(altered) * 0x40;
        }
    }
    let [a, b, c, d, e, f] = all;
    // SAFETY: the kernel refuses the junk (bad descriptors, addresses and sizes), so no memory of this process is
    // touched; the process ends right after.
    if unsafe { libc::syscall(number, a, b, c, d, e, f) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn role(case: &str) -> Role {
    *LISTING.iter().find(|role| format!("{role:?}") == case).expect("a role")
}

#[test]
fn every_rule_of_rootd_allows_what_it_says() {
    if let Ok(case) = std::env::var(CASE) {
        install(role(&case)).expect("the filter");
        for rule in role_rules(role(&case)).into_iter().filter(|(call, _)| !NOT_RETURNING.contains(call)) {
            let _ = call(rule, false);
        }
        exit(0);
    }
    for role in LISTING {
        assert_eq!(child("every_rule_of_rootd_allows_what_it_says", &format!("{role:?}")), Ok(0), "{role:?}");
    }
}

#[test]
fn every_rule_of_rootd_altered_ends_the_process() {
    if let Ok(case) = std::env::var(CASE) {
        let (name, place) = case.split_once('.').expect("a role and a number");
        install(role(name)).expect("the filter");
        let _ = call(role_rules(role(name))[place.parse::<usize>().expect("a number")], true);
        exit(0);
    }
    let mut tried = 0;
    for role in LISTING {
        for (place, (number, when)) in role_rules(role).into_iter().enumerate() {
            if !matches!(when, Always) {
                let ended = child("every_rule_of_rootd_altered_ends_the_process", &format!("{role:?}.{place}"));
                assert_eq!(ended, Err(libc::SIGSYS), "{role:?}: call {number} with {when:?} altered");
                tried += 1;
            }
        }
    }
    assert!(tried >= 12, "only {tried} rules have a condition");
}

#[test]
fn what_no_rule_of_rootd_names_ends_the_process() {
    let calls = [libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_mount, libc::SYS_setresuid];
    let more =
        [libc::SYS_clone3, libc::SYS_bpf, libc::SYS_io_uring_setup, libc::SYS_pidfd_getfd, libc::SYS_memfd_create];
    if let Ok(case) = std::env::var(CASE) {
        let (name, number) = case.split_once('.').expect("a role and a number");
        install(role(name)).expect("the filter");
        let _ = call((number.parse().expect("a number"), Always), false);
        exit(0);
    }
    for role in LISTING {
        for number in calls.into_iter().chain(more) {
            let ended = child("what_no_rule_of_rootd_names_ends_the_process", &format!("{role:?}.{number}"));
            assert_eq!(ended, Err(libc::SIGSYS), "{role:?}: call {number}");
        }
    }
}

#[test]
fn what_commands_may_not_is_refused_with_eperm() {
    if std::env::var(CASE).is_ok() {
        install(Role::Spawn).expect("the filter");
        let refused = |error: io::Error| error.raw_os_error() == Some(libc::EPERM);
        let all = role_rules(Role::Spawn).into_iter().all(|rule| call(rule, false).is_err_and(refused));
        exit(i32::from(!all));
    }
    assert_eq!(child("what_commands_may_not_is_refused_with_eperm", "all"), Ok(0));
}

#[test]
fn every_filter_compiles_and_fits_the_kernel() {
    for role in LISTING.into_iter().chain([Role::Spawn]) {
        let program = compile(role).expect("compiles");
        assert!(program.len() <= 4096, "{role:?} has {} instructions", program.len());
    }
}

#[test]
fn no_worker_but_spawn_may_exec_mount_or_change_user() {
    for role in LISTING {
        let allowed: Vec<_> = role_rules(role).into_iter().map(|(call, _)| call).collect();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_mount,
            libc::SYS_setresuid,
            libc::SYS_ptrace,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_bpf,
        ] {
            assert!(!allowed.contains(&call), "{role:?} may call {call}");
        }
    }
}
