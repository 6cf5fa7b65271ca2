//! WHOIS (RFC 3912): a connection for each query.

use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Rate, repeat};

/// Queries until the time is over.
pub async fn run(server: &str, domains: u64, suffix: &str, clients: usize, seconds: f64) -> Result<Rate> {
    repeat((0..clients as u64).collect(), seconds, |client, until| async move {
        let (mut count, mut text) = (0, String::new());
        while Instant::now() < until {
            let name = format!("d{}.{suffix}", (client + count * 7) % domains);
            let mut stream = TcpStream::connect((server, 43)).await?;
            stream.write_all(format!("{name}\r\n").as_bytes()).await?;
            text.clear();
            stream.read_to_string(&mut text).await?;
            ensure!(text.starts_with(&format!("Domain Name: {name}\r\n")), "{name}: {text}");
            count += 1;
        }
        Ok(count)
    })
    .await
}
