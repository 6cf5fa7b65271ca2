//! What a world's services bear: clients in a vantage host of a running world ask for certificates, tokens, logins and WHOIS.

use std::fmt::Write;

use anyhow::{Context, Result};
use netengine_tests::Host;
use serde_json::Value;

use crate::{
    figures::{Figure, Report, Samples, Target},
    inside::User,
    load::{Load, Rate},
    names::{self, NAMES, ZONE},
};

/// The world.
pub const WORLD: &str = "bench";
/// Where its clients are.
pub const CLIENTS: &str = "bench/core";
/// Where its top-level domain is served.
pub const NAME_SERVER: &str = "10.0.0.5";
/// All names below it lead to the clients' host.
const HERE: &str = "here.corp";
/// Registered domains besides.
const DOMAINS: u64 = 500;
const AUTHORITY: &str = "https://ca.platform.internal/acme/acme/directory";
const ISSUER: &str = "https://auth.platform.internal/realms/platform";
const WHOIS: &str = "10.0.0.9";

fn spec() -> String {
    let mut text = format!(
        "metadata: {{name: {WORLD}, lifecycle: persistent}}\nsubstrate:\n  networks:\n    platform: {{subnet: 172.28.0.0/16}}\n    \
         core: {{subnet: 10.0.0.0/24, vantage_hosts: 2}}\n  gateway: {{platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}\n\
         dns:\n  tlds:\n    - {{name: internal, listen_ip: 10.0.0.4}}\n    - {{name: corp, listen_ip: {NAME_SERVER}}}\n\
         pki: {{}}\nidentity_platform: {{}}\nidentity_inworld: {{}}\nands: {{}}\norg_apps: {{}}\ngateway_portal: {{}}\n\
         operator: {{}}\nworld_services: {{mail: {{enabled: false}}, storage: {{enabled: false}}}}\n\
         world_registry: {{organizations: [{{name: acme, capabilities: [register_domains]}}]}}\ndomain_registry:\n  \
         tld_delegations:\n    - {{tld: corp, governed_by: platform}}\n  initial_domains:\n    - domain: {HERE}\n      \
         org: acme\n      records:\n        - {{name: \"*\", type: CNAME, value: core.platform.internal.}}\n"
    );
    // Writing to a string cannot fail.
    for number in 0..DOMAINS {
        let _ = writeln!(text, "    - {{domain: d{number}.corp, org: acme}}");
    }
    let _ = writeln!(text, "    - domain: {ZONE}\n      org: acme\n      records:");
    for number in 0..NAMES {
        let _ = writeln!(text, "        - {{name: h{number}, type: A, value: {}}}", names::address(number));
    }
    text
}

/// Brings the world up.
///
/// # Errors
/// It does not come up.
pub fn up(host: &Host, user: &mut User) -> Result<()> {
    let spec = host.file("bench.yaml", &spec());
    user.run(&["up", &spec]).map(drop)
}

/// The one secret of this kind and name.
///
/// # Errors
/// There is none, or more than one.
pub fn secret(user: &mut User, kind: &str, name: &str, issuer: &str) -> Result<String> {
    let said = user.ask(&["credentials", WORLD, "--kind", kind, "--name", name, "--json"])?;
    let all: Vec<Value> = serde_json::from_str(&said)?;
    let fitting: Vec<&Value> = all.iter().filter(|one| one["issuer"] == issuer).collect();
    let [one] = fitting.as_slice() else { anyhow::bail!("{} secrets {kind} {name} of {issuer:?}", fitting.len()) };
    Ok(one["secret"].as_str().context("text")?.to_owned())
}

fn rates(user: &mut User, rounds: usize, load: &Load) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..rounds {
        samples.add_number(load.run::<Rate>(user, CLIENTS)?.per_second());
    }
    Ok(samples)
}

/// Certificates.
///
/// # Errors
/// One is not issued.
pub fn acme(report: &mut Report, rounds: usize, seconds: f64, user: &mut User) -> Result<()> {
    let clients = 8;
    // Every round has names of its own: what was proven once is proven.
    let mut rate = Samples::default();
    for round in 0..rounds {
        let domain = format!("r{round}.{HERE}");
        let load = Load::Acme { directory: AUTHORITY.into(), domain, clients, seconds };
        rate.add_number(load.run::<Rate>(user, CLIENTS)?.per_second());
    }
    report.heading("Certificates: 8 clients, http-01, P-256, order to certificate");
    report.add(Figure::median("acme.rate", &rate, "per s", Target::AtLeast(200.0)));
    Ok(())
}

/// Tokens and logins.
///
/// # Errors
/// One is refused.
pub fn identity(report: &mut Report, rounds: usize, seconds: f64, user: &mut User) -> Result<()> {
    let (issuer, client) = (ISSUER.to_owned(), "netengine-api".to_owned());
    let secret = secret(user, "client_secret", &client, ISSUER)?;
    let password = self::secret(user, "password", "admin", ISSUER)?;
    let admin = (client.clone(), secret.clone());
    let grants = rates(user, rounds, &Load::Grants { issuer: issuer.clone(), client, secret, clients: 8, seconds })?;
    let person = ("admin".to_owned(), password);
    let login = Load::Logins { issuer, admin, user: person, clients: 4, seconds };
    let logins = rates(user, 1, &login)?;
    report.heading("Identity: client-credentials grants, 8 clients; password logins, 4 browsers; kept TLS connections");
    report.add(Figure::median("oidc.grants", &grants, "per s", Target::AtLeast(1000.0)));
    report.add(Figure::median("oidc.logins", &logins, "per s", Target::None));
    Ok(())
}

/// WHOIS.
///
/// # Errors
/// An answer is wrong.
pub fn whois(report: &mut Report, rounds: usize, seconds: f64, user: &mut User) -> Result<()> {
    let (server, suffix) = (WHOIS.to_owned(), "corp".to_owned());
    let rate = rates(user, rounds, &Load::Whois { server, domains: DOMAINS, suffix, clients: 16, seconds })?;
    report.heading("WHOIS: 16 clients, a connection for each query");
    report.add(Figure::median("whois.rate", &rate, "per s", Target::AtLeast(5000.0)));
    Ok(())
}
