//! Clients of a world's services, run in a vantage host by `netengine exec`: this program again, with [`LOAD`]. One thread.

mod acme;
mod change;
mod grants;
mod logins;
mod web;
mod whois;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use netengine_tests::BIN;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::change::Changes;
use crate::inside::User;

/// The argument that makes this program a client; its JSON follows.
pub const LOAD: &str = "--load";

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Load {
    /// Certificates by http-01 for names below `domain`, all of which lead to this host.
    Acme { directory: String, domain: String, clients: usize, seconds: f64 },
    /// One certificate, and its replacement as the authority's renewal information says (RFC 9773); for a test.
    Renew { directory: String, name: String },
    /// Client-credentials grants (RFC 6749, section 4.4).
    Grants { issuer: String, client: String, secret: String, clients: usize, seconds: f64 },
    /// Logins with a password, each without any cookie.
    Logins { issuer: String, admin: (String, String), user: (String, String), clients: usize, seconds: f64 },
    /// WHOIS queries (RFC 3912) for `d0.SUFFIX`, `d1.SUFFIX` and so on; a connection each.
    Whois { server: String, domains: u64, suffix: String, clients: usize, seconds: f64 },
    /// Changes by nsupdate, each looked for at the server at once.
    Change { server: String, zone: String, key: String, changes: u32 },
}

/// How often something was done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Rate {
    count: u64,
    seconds: f64,
}

impl Rate {
    /// Per second.
    pub fn per_second(self) -> f64 {
        self.count as f64 / self.seconds
    }
}

impl Load {
    /// Has a user run it in a vantage host (`WORLD/HOST`).
    ///
    /// # Errors
    /// It fails there.
    pub fn run<T: DeserializeOwned>(&self, user: &mut User, host: &str) -> Result<T> {
        let (program, told) = (format!("{BIN}/netengine-bench"), serde_json::to_string(self)?);
        let said = user.ask(&["exec", host, "--", &program, LOAD, &told])?;
        serde_json::from_str(&said).with_context(|| format!("the load says {said:?}"))
    }
}

/// The client's own side.
///
/// # Errors
/// A service does not answer as it must: nothing is measured that was not right.
pub fn serve(told: &str) -> Result<()> {
    let load: Load = serde_json::from_str(told)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        Ok::<_, anyhow::Error>(match load {
            Load::Acme { directory, domain, clients, seconds } => {
                serde_json::to_value(acme::run(&directory, &domain, clients, seconds).await?)
            }
            Load::Renew { directory, name } => serde_json::to_value(acme::renew(&directory, &name).await?),
            Load::Grants { issuer, client, secret, clients, seconds } => {
                serde_json::to_value(grants::run(&issuer, &client, &secret, clients, seconds).await?)
            }
            Load::Logins { issuer, admin, user, clients, seconds } => {
                serde_json::to_value(logins::run(&issuer, &admin, &user, clients, seconds).await?)
            }
            Load::Whois { server, domains, suffix, clients, seconds } => {
                serde_json::to_value(whois::run(&server, domains, &suffix, clients, seconds).await?)
            }
            Load::Change { server, zone, key, changes } => {
                serde_json::to_value(change::run(&server, &zone, &key, changes)?)
            }
        }?)
    })?;
    println!("{done}");
    Ok(())
}

/// Lets every client do its work again and again until the time is over.
async fn repeat<C, W>(clients: Vec<C>, seconds: f64, mut work: impl FnMut(C, Instant) -> W) -> Result<Rate>
where
    W: Future<Output = Result<u64>>,
{
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(seconds);
    let counts = try_join_all(clients.into_iter().map(|client| work(client, until))).await?;
    Ok(Rate { count: counts.iter().sum(), seconds: begun.elapsed().as_secs_f64() })
}
