//! The live checks' client, and how long it lives.

use std::{net::SocketAddr, time::Duration};

use futures::future::join_all;
use netengine_proto::{
    control::{ControlReply, Probe, ProbeRequest, ProbeResult, TimedProbe},
    limits,
};
use tokio::{sync::watch, time::Instant};

use crate::ntp::client;

/// Runs all probes at the same time. The results are in the order of the probes.
pub async fn run(request: ProbeRequest) -> ControlReply {
    let probes = request.probes;
    if probes.len() > limits::PROBES {
        return ControlReply::Refused(format!("{} probes are more than {}", probes.len(), limits::PROBES));
    }
    ControlReply::Probed(join_all(probes.into_iter().map(one)).await)
}

async fn one(TimedProbe { timeout_ms, probe }: TimedProbe) -> ProbeResult {
    let began = Instant::now();
    let seen = match probe {
        Probe::Ntp { address, port } => {
            let within = Duration::from_millis(timeout_ms.into()).min(limits::PROBE_TIME);
            client::ask(SocketAddr::new(address, port), within).await
        }
        other => return unknown(&other),
    };
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match seen {
        Ok(sample) => ProbeResult {
            passed: true,
            fault: None,
            detail: format!("stratum {}, offset {} us, delay {} us", sample.stratum, sample.offset_us, sample.delay_us),
            micros,
        },
        Err(error) => ProbeResult { passed: false, fault: None, detail: chain(&error), micros },
    }
}

/// A check that this release cannot make is one that did not pass.
fn unknown(probe: &Probe) -> ProbeResult {
    let detail = format!("no such live check in this release: {probe:?}");
    ProbeResult { passed: false, fault: None, detail, micros: 0 }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Ends when the prober has no more use: its last connection has closed, or nobody came within [`limits::PROBER_IDLE`].
pub async fn until_useless(mut connections: watch::Receiver<usize>) {
    if tokio::time::timeout(limits::PROBER_IDLE, connections.wait_for(|count| *count > 0)).await.is_ok() {
        // An error means that the sender is gone, and with it every connection.
        let _ = connections.wait_for(|count| *count == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_prober_that_nobody_wants_ends() {
        let (_sender, receiver) = watch::channel(0);
        let began = Instant::now();
        until_useless(receiver).await;
        assert_eq!(began.elapsed(), limits::PROBER_IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_prober_lives_as_long_as_its_last_connection() {
        let (sender, receiver) = watch::channel(1);
        let mut life = Box::pin(until_useless(receiver));
        assert!(tokio::time::timeout(Duration::from_secs(3600), &mut life).await.is_err());
        sender.send_replace(0);
        life.await;
    }
}
