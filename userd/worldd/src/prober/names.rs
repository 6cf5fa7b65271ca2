//! Names looked up once for all checks of a request, at the world's resolvers.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::base::{Rtype, iana::OptRcode};
use netengine_proto::control::Fault;
use tokio::{sync::OnceCell, time::timeout};

use super::{
    dns::addresses_of,
    exchange::{self, Owner},
    finding::{Finding, Progress},
};

/// How long a resolver may take while there is another one to ask.
const ONE_RESOLVER: Duration = Duration::from_secs(2);

type Lookup = Arc<OnceCell<Result<Vec<IpAddr>, Finding>>>;

/// The names of one request.
#[derive(Debug)]
pub struct Names {
    resolvers: Vec<IpAddr>,
    /// Whether the world is signed: then SERVFAIL means that validation has failed.
    signed: bool,
    known: Mutex<HashMap<String, Lookup>>,
}

impl Names {
    /// Nothing is known yet.
    pub fn new(resolvers: Vec<IpAddr>, signed: bool) -> Self {
        Self { resolvers, signed, known: Mutex::default() }
    }

    /// The addresses of a name, IPv4 before IPv6, at least one. An address is its own.
    ///
    /// # Errors
    /// No resolver answers, or none knows an address.
    pub async fn addresses(&self, name: &str, progress: &Progress) -> Result<Vec<IpAddr>, Finding> {
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        let lookup = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(name.to_ascii_lowercase()).or_default().clone()
        };
        progress.enter(format!("waiting for the addresses of {name}"));
        // Another check's time may end during its lookup: then the next one begins anew.
        lookup.get_or_init(|| self.look_up(name, progress)).await.clone()
    }

    async fn look_up(&self, name: &str, progress: &Progress) -> Result<Vec<IpAddr>, Finding> {
        let owner = exchange::name(name)?;
        let (four, six) = tokio::join!(self.ask(&owner, Rtype::A, progress), self.ask(&owner, Rtype::AAAA, progress));
        let addresses = [four?, six?].concat();
        if addresses.is_empty() {
            return Err(Finding::new(Fault::WrongRecord, format!("the name {name} has no address")));
        }
        Ok(addresses)
    }

    async fn ask(&self, owner: &Owner, rtype: Rtype, progress: &Progress) -> Result<Vec<IpAddr>, Finding> {
        let mut last = Finding::ours("no resolver is known");
        for (index, resolver) in self.resolvers.iter().enumerate() {
            let asked = exchange::ask(*resolver, owner, rtype, progress);
            let answer = if index + 1 == self.resolvers.len() {
                asked.await
            } else {
                let silent = || Finding::new(Fault::ServiceStopped, format!("the resolver {resolver} does not answer"));
                timeout(ONE_RESOLVER, asked).await.unwrap_or_else(|_| Err(silent()))
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(finding) => {
                    last = finding;
                    continue;
                }
            };
            let rcode = answer.opt_rcode();
            let what = format!("{rtype} of {owner}");
            match rcode {
                OptRcode::NOERROR | OptRcode::NXDOMAIN => {
                    let unreadable = |()| Finding::wrong(format!("an answer for {what} that cannot be read"));
                    return addresses_of(&answer, rtype).map_err(unreadable);
                }
                OptRcode::SERVFAIL if self.signed => {
                    last = Finding::new(Fault::NotValidated, format!("SERVFAIL for {what} from {resolver}"));
                }
                _ => last = Finding::refused(format!("{rcode} for {what} from {resolver}")),
            }
        }
        Err(last)
    }
}
