//! Ten worlds that are asked for at the same moment.

use std::os::fd::OwnedFd;

use anyhow::Result;
use netengine_tests::EXAMPLES;

use crate::{
    figures::{Figure, Report, Samples, Target},
    inside::User,
    settle::Settle,
};

/// Worlds at once.
const WORLDS: usize = 10;

/// Measures `rounds` times; all worlds are gone afterwards.
///
/// # Errors
/// A command fails.
pub fn measure(report: &mut Report, rounds: usize, home: &OwnedFd, user: &mut User) -> Result<()> {
    let spec = format!("{EXAMPLES}/minimal.yaml");
    let names: Vec<String> = (0..WORLDS).map(|number| format!("at-once-{number}")).collect();
    let sets: Vec<String> = names.iter().map(|name| format!("metadata.name={name}")).collect();
    let ups: Vec<[&str; 4]> = sets.iter().map(|set| ["up", spec.as_str(), "--set", set.as_str()]).collect();
    let downs: Vec<[&str; 3]> = names.iter().map(|name| ["down", "--yes", name.as_str()]).collect();
    let (mut up, mut down) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        up.add(user.together(&ups.iter().map(|up| &up[..]).collect::<Vec<_>>())?.0);
        let settle = Settle::prepare(home)?;
        down.add(user.together(&downs.iter().map(|down| &down[..]).collect::<Vec<_>>())?.0);
        settle.wait()?;
    }
    report.heading(&format!("{WORLDS} worlds at once, each examples/minimal.yaml, {WORLDS} commands started together"));
    report.add(Figure::median("together.up", &up, "ms", Target::AtMost(4000.0)));
    report.add(Figure::median("together.down", &down, "ms", Target::None));
    Ok(())
}
