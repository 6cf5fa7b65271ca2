//! A flow of numbered datagrams, to see whether a network forwards all the time.
//!
//! `udp-flow answer ADDRESS:PORT` sends everything back and says "listening" first.
//! `udp-flow ask ADDRESS:PORT` sends the next number when the last one came back, five hundred a second at most, until
//! standard input ends; says "flowing" after the first answer, and at the end how many it sent and how many were lost.
//! One is lost when it is not back within two seconds.

use std::{io::Write, net::UdpSocket, os::fd::AsFd, time::Duration};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const LOST_AFTER: Duration = Duration::from_secs(2);
const PACE_MS: u8 = 2;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("answer"), Some(address)) => answer(&address),
        (Some("ask"), Some(address)) => ask(&address),
        _ => bail!("needs `answer` or `ask` and ADDRESS:PORT"),
    }
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

fn answer(address: &str) -> Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot bind {address}"))?;
    say("listening")?;
    let mut bytes = [0; 8];
    loop {
        let (length, from) = socket.recv_from(&mut bytes)?;
        socket.send_to(&bytes[..length], from)?;
    }
}

fn ask(address: &str) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    let (mut sent, mut lost) = (0u64, 0u64);
    let stdin = std::io::stdin();
    loop {
        sent += 1;
        // An unreachable network is a loss as well.
        let arrived = socket.send(&sent.to_be_bytes()).is_ok() && came_back(&socket, sent);
        lost += u64::from(!arrived);
        if sent == 1 {
            say("flowing")?;
        }
        let mut input = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut input, PollTimeout::from(PACE_MS))? > 0 {
            return say(&format!("sent {sent} lost {lost}"));
        }
    }
}

fn came_back(socket: &UdpSocket, number: u64) -> bool {
    let mut bytes = [0; 8];
    loop {
        match socket.recv(&mut bytes) {
            Ok(8) if u64::from_be_bytes(bytes) == number => return true,
            // One that was counted as lost and came late.
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}
