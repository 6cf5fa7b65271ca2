//! The proof of who reaches whom: the sandbox example, and 50 ANDs.

use anyhow::{Context, Result, ensure};
use netengine_tests::{EXAMPLES, Host};

use crate::{
    figures::{Figure, Report, Samples, Target},
    inside::User,
};

/// Administrative Network Domains of the large world, of the built-in profiles in turn.
const ANDS: usize = 50;

/// A world of [`ANDS`] ANDs, IPv4 and IPv6.
fn spec(name: &str) -> String {
    let profiles = ["business", "residential", "datacenter", "airgapped"];
    let pools =
        (20..).zip(profiles).map(|(net, profile)| format!("    - {{cidr: 10.{net}.0.0/16, label: {profile}-pool}}\n"));
    let ands =
        (0..ANDS).map(|n| format!("    - {{name: and{n}, org: acme, profile: {}}}\n", profiles[n % profiles.len()]));
    let (pools, ands): (String, String) = (pools.collect(), ands.collect());
    format!(
        "metadata: {{name: {name}}}\nsubstrate:\n  gateway: {{platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}\n  networks:\n    \
         core: {{subnet: 10.0.0.0/24, subnet6: \"fd00::/64\"}}\n    platform: {{subnet: 172.28.0.0/16}}\ndns: {{}}\npki: {{}}\n\
         identity_platform: {{}}\nworld_registry:\n  organizations:\n    - {{name: acme}}\ndomain_registry:\n  \
         address_space:\n{pools}identity_inworld: {{}}\nands:\n  instances:\n{ands}world_services:\n  mail: {{enabled: false}}\n  \
         storage: {{enabled: false}}\norg_apps: {{}}\ngateway_portal: {{}}\noperator: {{}}\n"
    )
}

/// Flows of a proof, all of which passed.
fn proven(user: &mut User, world: &str) -> Result<usize> {
    let proof: serde_json::Value = serde_json::from_str(&user.ask(&["prove", world, "--json"])?)?;
    ensure!(proof["passed"] == true, "{world} is not proven");
    Ok(proof["flows"].as_array().context("flows")?.len())
}

/// Measures from start to exit of `netengine prove`.
///
/// # Errors
/// A world does not come up, or is not proven.
pub fn measure(report: &mut Report, rounds: usize, host: &Host, user: &mut User) -> Result<()> {
    report.heading("Proof of who reaches whom, start to exit");
    let large = host.file("ands.yaml", &spec("ands"));
    let sandbox = format!("{EXAMPLES}/dev-sandbox.yaml");
    for (name, file, most) in [("dev-sandbox", &sandbox, 1000.0), ("ands", &large, 10_000.0)] {
        user.run(&["up", file])?;
        let mut samples = Samples::default();
        let flows = proven(user, name)?;
        for _ in 0..rounds {
            samples.add(user.run(&["prove", name])?);
        }
        report.add(Figure::single(format!("prove.{name}.flows"), flows as f64, "", Target::None));
        report.add(Figure::median(format!("prove.{name}"), &samples, "ms", Target::AtMost(most)));
        user.run(&["down", "--yes", name])?;
    }
    Ok(())
}
