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
    let (mut cold, mut down) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        cold.add(user.run(&["up", &spec])?);
        if round + 1 < rounds {
            let settle = Settle::prepare(home)?;
            down.add(user.run(&["down", "--yes", "minimal"])?);
            settle.wait()?;
        }
    }
    let mut repeat = |arguments: &[&str], times: usize| {
        let mut samples = Samples::default();
        for _ in 0..times {
            samples.add(user.run(arguments)?);
        }
        Ok::<_, anyhow::Error>(samples)
    };
    let again = repeat(&["up", &spec], rounds * 2)?;
    let status = repeat(&["status"], rounds * 4)?;
    let start = repeat(&["--version"], rounds * 4)?;
    report.heading("Commands, start to exit; the world is examples/minimal.yaml");
    report.add(Figure::median("up.cold", &cold, "ms", Target::AtMost(300.0)));
    report.add(Figure::median("up.again", &again, "ms", Target::AtMost(50.0)));
    report.add(Figure::median("down", &down, "ms", Target::None));
    report.add(Figure::median("status", &status, "ms", Target::AtMost(15.0)));
    report.add(Figure::median("cli.start", &start, "ms", Target::AtMost(5.0)));
    Ok(())
}
