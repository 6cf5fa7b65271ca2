//! Commands of the CLI, from start to exit, as a user sees them.

use std::os::fd::OwnedFd;

use anyhow::Result;
use netengine_tests::EXAMPLES;

use crate::{
    figures::{Figure, Report, Samples, Target},
    inside::User,
    settle::Settle,
};

/// Measures the small commands; leaves the minimal world up.
///
/// # Errors
/// A command fails.
pub fn measure(report: &mut Report, rounds: usize, home: &OwnedFd, user: &mut User) -> Result<()> {
    let spec = format!("{EXAMPLES}/minimal.yaml");
    let network = Times::take(rounds, home, user, &["up", &spec, "--up-to", "0"])?;
    let settle = Settle::prepare(home)?;
    user.run(&DOWN)?;
    settle.wait()?;
    let whole = Times::take(rounds, home, user, &["up", &spec])?;
    let status = repeat(user, &["status"], rounds * 4)?;
    let start = repeat(user, &["--version"], rounds * 4)?;
    report.heading("Commands, start to exit; the world is examples/minimal.yaml");
    report.add(Figure::median("up.cold", &whole.cold, "ms", Target::AtMost(1000.0)));
    report.add(Figure::median("up.again", &whole.again, "ms", Target::AtMost(100.0)));
    report.add(Figure::median("down", &whole.down, "ms", Target::AtMost(300.0)));
    report.add(Figure::median("network.up.cold", &network.cold, "ms", Target::AtMost(300.0)));
    report.add(Figure::median("network.up.again", &network.again, "ms", Target::AtMost(50.0)));
    report.add(Figure::median("network.down", &network.down, "ms", Target::None));
    report.add(Figure::median("status", &status, "ms", Target::AtMost(15.0)));
    report.add(Figure::median("cli.start", &start, "ms", Target::AtMost(5.0)));
    Ok(())
}

const DOWN: [&str; 3] = ["down", "--yes", "minimal"];

/// Times of one way to bring the world up. It stays up.
#[derive(Default)]
struct Times {
    cold: Samples,
    again: Samples,
    down: Samples,
}

impl Times {
    fn take(rounds: usize, home: &OwnedFd, user: &mut User, up: &[&str]) -> Result<Self> {
        let mut times = Self::default();
        for round in 0..rounds {
            times.cold.add(user.run(up)?);
            times.again.add(user.run(up)?);
            if round + 1 < rounds {
                let settle = Settle::prepare(home)?;
                times.down.add(user.run(&DOWN)?);
                settle.wait()?;
            }
        }
        Ok(times)
    }
}

fn repeat(user: &mut User, arguments: &[&str], times: usize) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..times {
        samples.add(user.run(arguments)?);
    }
    Ok(samples)
}
