//! The live check of a WHOIS server (RFC 3912).

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::finding::{Finding, Progress, Seen};

/// Largest answer that is read, bytes.
const ANSWER_BYTES: u64 = 1 << 20;

/// Asks one line, reads until the server closes, and wants `expect` in the answer.
pub async fn check(server: SocketAddr, query: &str, expect: &str, progress: &Progress) -> Seen {
    if query.contains(['\r', '\n']) {
        return Err(Finding::ours("cannot ask more than one line"));
    }
    progress.enter(format!("connecting to {server}"));
    let failed = |error: std::io::Error| Finding::io(&format!("ask {server}"), &error);
    let mut stream = TcpStream::connect(server).await.map_err(failed)?;
    progress.enter(format!("waiting for the end of the answer to {query} from {server}"));
    stream.write_all(format!("{query}\r\n").as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES + 1).read_to_end(&mut answer).await;
    if answer.len() as u64 > ANSWER_BYTES {
        return Err(Finding::wrong(format!("{server} answered {query} with more than {ANSWER_BYTES} bytes")));
    }
    read.map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().find(|line| line.contains(expect));
    match line {
        _ if answer.trim().is_empty() => Err(Finding::wrong(format!("{server} closed without an answer to {query}"))),
        Some(line) => Ok(format!("{query}: {}, {} lines", line.trim(), answer.lines().count())),
        None => {
            let first = answer.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            Err(Finding::wrong(format!("the answer to {query} does not contain {expect:?}; it begins {first:?}")))
        }
    }
}
