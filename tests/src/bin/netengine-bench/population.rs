//! A world with many people: 100 organisations, 1,000 users, 2,000 domains.

use std::{fmt::Write, os::fd::OwnedFd};

use anyhow::Result;
use netengine_tests::Host;

use crate::{
    figures::{Figure, Report, Samples, Target},
    inside::User,
    memory::{self, Promised},
    settle::Settle,
};

const ORGANISATIONS: usize = 100;
const USERS_EACH: usize = 10;
const DOMAINS_EACH: usize = 20;
const NAME: &str = "population";

fn spec() -> String {
    let mut text = format!(
        "metadata: {{name: {NAME}}}\nsubstrate: {{gateway: {{platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}}}\ndns:\n  tlds:\n    \
         - {{name: internal, listen_ip: 10.0.0.4}}\n    - {{name: corp, listen_ip: 10.0.0.5}}\npki: {{}}\n\
         identity_platform: {{}}\nands: {{}}\nworld_services: {{mail: {{enabled: false}}, storage: {{enabled: false}}}}\n\
         org_apps: {{}}\ngateway_portal: {{}}\noperator: {{}}\nworld_registry:\n  organizations:\n"
    );
    // Writing to a string cannot fail.
    for org in 0..ORGANISATIONS {
        let _ = writeln!(text, "    - {{name: org{org}, capabilities: [register_domains]}}");
    }
    text += "domain_registry:\n  tld_delegations:\n    - {tld: corp, governed_by: platform}\n  initial_domains:\n";
    for (org, n) in (0..ORGANISATIONS).flat_map(|org| (0..DOMAINS_EACH).map(move |n| (org, n))) {
        let _ = writeln!(text, "    - {{domain: d{n}-org{org}.corp, org: org{org}}}");
    }
    text += "identity_inworld:\n  org_users:\n";
    for org in 0..ORGANISATIONS {
        let _ = writeln!(text, "    - org: org{org}\n      users:");
        for n in 0..USERS_EACH {
            let _ = writeln!(text, "        - {{username: user{n}, email: user{n}@d0-org{org}.corp}}");
        }
    }
    text
}

/// Measures `rounds` times; the world stays up.
///
/// # Errors
/// A command fails.
pub fn measure(report: &mut Report, rounds: usize, home: &OwnedFd, host: &Host, user: &mut User) -> Result<()> {
    let spec = host.file("population.yaml", &spec());
    let (mut cold, mut again, mut down) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..rounds {
        if round > 0 {
            let settle = Settle::prepare(home)?;
            down.add(user.run(&["down", "--yes", NAME])?);
            settle.wait()?;
        }
        cold.add(user.run(&["up", &spec])?);
        again.add(user.run(&["up", &spec])?);
    }
    report.heading(&format!(
        "World of {ORGANISATIONS} organisations, {} users, {} domains",
        ORGANISATIONS * USERS_EACH,
        ORGANISATIONS * DOMAINS_EACH
    ));
    report.add(Figure::median("population.up.cold", &cold, "ms", Target::AtMost(5000.0)));
    report.add(Figure::median("population.up.again", &again, "ms", Target::AtMost(500.0)));
    if rounds > 1 {
        report.add(Figure::median("population.down", &down, "ms", Target::None));
    }
    memory::measure(report, host, NAME, Promised { daemons: false, worldd: None })
}
