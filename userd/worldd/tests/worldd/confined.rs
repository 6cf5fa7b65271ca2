//! Each permission of the system call filter run as allowed and altered, and Landlock's bounds, each in a process of
//! its own: the test runs itself again with the case in its environment.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    panic::catch_unwind,
    process::{Command, exit},
};

use netengine_worldd::{
    landlock,
    seccomp::{self, Argument, RULES, RULES_OF_ARCHITECTURE, Rule},
};
use nix::libc::{self, c_long};

const CASE: &str = "NETENGINE_TEST_CASE";
/// A junk argument: a bad descriptor, a bad address, an impossible size.
const JUNK: c_long = -1;

/// Runs the test `name` again as a child for `case`; the signal it died of, or its exit status.
fn child(name: &str, case: &str) -> Result<i32, i32> {
    let executable = std::env::current_exe().expect("our own file");
    let mut command = Command::new(executable);
    let output = command.args(["--exact", name, "--nocapture"]).env_clear().env(CASE, case).output().expect("runs");
    match output.status.signal() {
        Some(signal) => Err(signal),
        None => Ok(output.status.code().expect("a status")),
    }
}

fn call(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the calls of these tests have arguments the kernel refuses (bad descriptors and addresses), or that
    // touch no memory of this process; the process ends right after.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

/// Arguments that satisfy the rule's conditions, junk elsewhere; with `altered`, that condition is broken.
fn arguments(rule: &Rule, altered: Option<usize>) -> [c_long; 6] {
    let mut all = [JUNK; 6];
    for (position, argument) in rule.when.iter().enumerate() {
        let broken = altered == Some(position);
        match *argument {
            Argument::Is(index, value) => all[index as usize] = c_long::from(if broken { value ^ 0x40 } else { value }),
            Argument::Masked(index, mask, value) => {
                all[index as usize] = c_long::from(if broken { value ^ (mask & -mask) } else { value });
            }
        }
    }
    all
}

/// Calls that end or derail the process by design; the end of every child shows exit_group.
const NOT_RETURNING: [c_long; 3] = [libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn];

fn all_rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().chain(RULES_OF_ARCHITECTURE)
}

#[test]
fn every_permission_has_a_reason_and_works() {
    if std::env::var(CASE).is_ok() {
        seccomp::restrict().expect("the filter");
        for rule in all_rules().filter(|rule| !NOT_RETURNING.contains(&rule.call)) {
            call(rule.call, arguments(rule, None));
        }
        exit(0);
    }
    assert!(all_rules().all(|rule| rule.reason.len() > 5));
    assert_eq!(child("confined::every_permission_has_a_reason_and_works", "all"), Ok(0));
}

#[test]
fn every_permission_altered_ends_the_process() {
    if let Ok(case) = std::env::var(CASE) {
        let (rule, condition) = case.split_once('.').expect("two numbers");
        let rule = &RULES[rule.parse::<usize>().expect("a number")];
        seccomp::restrict().expect("the filter");
        call(rule.call, arguments(rule, Some(condition.parse().expect("a number"))));
        exit(0);
    }
    let mut tried = 0;
    for (index, rule) in RULES.iter().enumerate() {
        for condition in 0..rule.when.len() {
            let ended = child("confined::every_permission_altered_ends_the_process", &format!("{index}.{condition}"));
            assert_eq!(ended, Err(libc::SIGSYS), "{} {:?}", rule.call, rule.when);
            tried += 1;
        }
    }
    assert!(tried > 8, "only {tried} conditions");
}

#[test]
fn what_is_not_on_the_list_ends_the_process() {
    const FORBIDDEN: [c_long; 21] = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_clone,
        libc::SYS_ptrace,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_kill,
        libc::SYS_setuid,
        libc::SYS_setgroups,
        libc::SYS_prctl,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_keyctl,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
        libc::SYS_process_vm_readv,
        libc::SYS_pidfd_getfd,
        libc::SYS_memfd_create,
        libc::SYS_reboot,
    ];
    if let Ok(case) = std::env::var(CASE) {
        seccomp::restrict().expect("the filter");
        call(case.parse().expect("a number"), [JUNK; 6]);
        exit(0);
    }
    for number in FORBIDDEN {
        let ended = child("confined::what_is_not_on_the_list_ends_the_process", &number.to_string());
        assert_eq!(ended, Err(libc::SIGSYS), "system call {number}");
    }
}

#[test]
fn a_panic_in_a_task_is_survived_under_the_filter() {
    if std::env::var(CASE).is_ok() {
        seccomp::restrict().expect("the filter");
        assert!(catch_unwind(|| panic!("as asked")).is_err());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let survived = tokio::task::LocalSet::new().block_on(&runtime, async {
            let fault = tokio::task::spawn_local(async { panic!("as asked") }).await;
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await;
            fault.is_err_and(|error| error.is_panic()) && socket.is_ok()
        });
        exit(if survived { 0 } else { 3 });
    }
    assert_eq!(child("confined::a_panic_in_a_task_is_survived_under_the_filter", "panic"), Ok(0));
}

#[test]
fn landlock_leaves_one_directory() {
    if let Ok(case) = std::env::var(CASE) {
        std::env::set_current_dir(case).expect("the directory");
        let level = landlock::restrict_to(None).expect("landlock");
        let inside = fs::write("a", "a").is_ok() && fs::rename("a", "b").is_ok() && fs::remove_file("b").is_ok();
        let outside = fs::read("/etc/passwd").is_ok()
            || fs::read_dir("/").is_ok()
            || fs::write("../x", "x").is_ok()
            || fs::create_dir("d").is_ok()
            || std::os::unix::fs::symlink("/", "s").is_ok();
        exit(match (level.contains("not enforced"), inside, outside) {
            (false, true, false) => 0,
            _ => 3,
        });
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("text");
    assert_eq!(child("confined::landlock_leaves_one_directory", path), Ok(0));
}
