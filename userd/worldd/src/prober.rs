//! The live checks' client, and how long it lives.
//!
//! Each check is a file of its own. What they share is made once for a request: names ([`names`]), trust ([`tls`]).

mod acme;
mod dns;
mod exchange;
mod finding;
mod http;
mod https;
mod names;
mod ntp;
mod rdap;
mod responder;
mod tls;
mod token;
mod transfer;
mod whois;

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::join_all};
use netengine_proto::{
    control::{ControlReply, Probe, ProbeRequest, ProbeResult, TimedProbe},
    limits,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use finding::{Finding, Progress, Seen, one_line};
use http::Shared;
use names::Names;
use tls::Tls;

/// Checks that run at the same time; further ones wait for a place, and their time begins when they have it.
const AT_ONCE: usize = 32;
/// How much earlier than ours the deadline of the time check is.
const NTP_FIRST: Duration = Duration::from_millis(5);

/// Runs all probes at the same time. The results are in the order of the probes.
pub async fn run(request: ProbeRequest) -> ControlReply {
    let probes = request.probes;
    if probes.len() > limits::PROBES {
        return ControlReply::Refused(format!("{} probes are more than {}", probes.len(), limits::PROBES));
    }
    let tls = match Tls::new(&request.trust) {
        Ok(tls) => tls,
        Err(finding) => return ControlReply::Refused(one_line(&finding.detail)),
    };
    let signed = !request.trust.dns_root.is_empty();
    let shared = Shared { names: Arc::new(Names::new(request.resolvers, signed)), tls };
    let places = Semaphore::new(AT_ONCE);
    let in_its_place = async |probe| {
        let _place = places.acquire().await;
        one(probe, &shared).await
    };
    ControlReply::Probed(join_all(probes.into_iter().map(in_its_place)).await)
}

/// One probe within its time. Whatever a server sends, it is the result of this probe and of no other.
async fn one(TimedProbe { timeout_ms, probe }: TimedProbe, shared: &Shared) -> ProbeResult {
    let began = Instant::now();
    let within = Duration::from_millis(timeout_ms.into()).min(limits::PROBE_TIME);
    let progress = Progress::new();
    let checked = AssertUnwindSafe(check(&probe, within, shared, &progress)).catch_unwind();
    let seen = match timeout(within, checked).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(_)) => Err(Finding::ours("this check has failed by a fault of its own; the log has it")),
        Err(_) => Err(progress.over(within)),
    };
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match seen {
        Ok(detail) => ProbeResult { passed: true, fault: None, detail: one_line(&detail), micros },
        Err(Finding { fault, detail }) => ProbeResult { passed: false, fault, detail: one_line(&detail), micros },
    }
}

async fn check(probe: &Probe, within: Duration, shared: &Shared, progress: &Progress) -> Seen {
    match probe {
        Probe::Ntp { address, port } => {
            // It resends and ends by its own deadline, which tells more than ours.
            let within = within.saturating_sub(NTP_FIRST);
            ntp::check(SocketAddr::new(*address, *port), within).await
        }
        Probe::Dns { server, name, rtype, expect, validated } => {
            let wanted = dns::Wanted { server: *server, name, rtype, expect, validated: *validated };
            dns::check(wanted, progress).await
        }
        Probe::Transfer { server, zone, key } => transfer::check(*server, zone, key, progress).await,
        Probe::Https { name, path, status } => https::check(shared.clone(), name, path, *status, progress).await,
        Probe::Acme { directory, name, account } => {
            acme::check(shared.clone(), directory, name, account.as_ref(), progress).await
        }
        Probe::Token { issuer, client_id, secret } => {
            token::check(shared.clone(), issuer, (client_id, secret), progress).await
        }
        Probe::Whois { address, port, query, expect } => {
            whois::check(SocketAddr::new(*address, *port), query, expect, progress).await
        }
        Probe::Rdap { url, class } => rdap::check(shared.clone(), url, class, progress).await,
    }
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
