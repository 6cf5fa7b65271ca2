//! From a record's change to the first answer with it: nsupdate changes, a plain query looks.

use std::{
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// A lost answer is a failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// Milliseconds, one for each change.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Changes {
    /// From the acknowledgement, read from nsupdate, to the answer with the new record.
    pub seen: Vec<f64>,
    /// From the order to nsupdate to the answer: with its signature, the server's work and the sync to the disk.
    pub whole: Vec<f64>,
}

/// Adds `changes` new names, one after the other.
pub fn run(server: &str, zone: &str, key: &str, changes: u32) -> Result<Changes> {
    let mut updates = Updates::start(server, zone, key)?;
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut done = Changes::default();
    for number in 0..changes {
        let name = format!("changed{number}.{zone}");
        ensure!(!is_there(&socket, &name)?, "{name} is there before it was added");
        let start = Instant::now();
        updates.add(&name)?;
        let acknowledged = Instant::now();
        while !is_there(&socket, &name)? {
            ensure!(acknowledged.elapsed() < PATIENCE, "{name} is not there");
        }
        done.seen.push(acknowledged.elapsed().as_secs_f64() * 1e3);
        done.whole.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(done)
}

/// nsupdate at work: it says how each update ended.
struct Updates {
    child: Child,
    orders: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Updates {
    fn start(server: &str, zone: &str, key: &str) -> Result<Self> {
        // It would keep what it says until its end.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "nsupdate", "-y", key]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start nsupdate")?;
        let mut orders = child.stdin.take().context("piped")?;
        let lines = BufReader::new(child.stdout.take().context("piped")?);
        write!(orders, "server {server}\nzone {zone}\n")?;
        Ok(Self { child, orders, lines })
    }

    /// Adds a name; returns when the server has acknowledged it.
    fn add(&mut self, name: &str) -> Result<()> {
        write!(self.orders, "update add {name} 60 A 10.0.0.99\nsend\nanswer\n")?;
        let mut line = String::new();
        while !line.contains("status: ") {
            line.clear();
            ensure!(self.lines.read_line(&mut line)? > 0, "nsupdate has ended");
        }
        ensure!(line.contains("status: NOERROR"), "{name}: {line}");
        Ok(())
    }
}

impl Drop for Updates {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the server has an address for the name now (RFC 1035, section 4).
fn is_there(socket: &UdpSocket, name: &str) -> Result<bool> {
    let mut query = vec![0x4e, 0x45, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send(&query)?;
    let mut answer = [0; 1232];
    let length = socket.recv(&mut answer)?;
    ensure!(length >= 12 && answer[..2] == query[..2], "an answer to something else");
    // ANCOUNT; and RCODE, which must be NOERROR or NXDOMAIN.
    let (rcode, count) = (answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]]));
    ensure!(rcode == 0 || rcode == 3, "{name}: rcode {rcode}");
    Ok(count > 0)
}
