//! A service for the supervisor's tests: tells what it was given to everybody who connects.
#![allow(unsafe_code)]

use std::{
    env, fs,
    io::Write,
    os::{
        fd::FromRawFd,
        unix::net::{UnixDatagram, UnixListener},
    },
};

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    if variable("TOY_FAILS") == "1" {
        std::process::exit(9);
    }
    let mut report = fs::read_to_string("/proc/self/status").expect("status");
    report += &fs::read_to_string("/proc/self/limits").expect("limits");
    let mut names: Vec<String> = env::vars().map(|(name, value)| format!("env {name}={value}\n")).collect();
    names.sort();
    report += &names.concat();
    let mut fds: Vec<String> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").expect("fds") {
        let path = entry.expect("entry").path();
        // The descriptor of this very listing is gone by the time it is looked at.
        if let Ok(target) = fs::read_link(&path) {
            let number = path.file_name().expect("name").display().to_string();
            if !target.starts_with("/proc") {
                fds.push(format!("fd {number}\n"));
            }
        }
    }
    fds.sort();
    report += &fds.concat();
    // SAFETY: the supervisor passes one listening socket, as descriptor 3 (sd_listen_fds(3)).
    let listener = unsafe { UnixListener::from_raw_fd(3) };
    let notify = UnixDatagram::unbound().expect("socket");
    notify.send_to(b"STATUS=toy\nREADY=1", variable("NOTIFY_SOCKET")).expect("notified");
    println!("toy is ready");
    for stream in listener.incoming() {
        let _ = stream.expect("accepted").write_all(report.as_bytes());
    }
}
