//! Many worlds on one host: does the last cost what the first did?

use std::os::fd::OwnedFd;

use anyhow::Result;
use netengine_tests::{EXAMPLES, Host};

use crate::{
    figures::{Figure, Report, Samples, Target},
    inside::User,
    memory::{self, Promised},
    settle::Settle,
};

/// Brings `worlds` worlds up and the last of them `rounds` times; compares with the first, which came up as often.
///
/// # Errors
/// A command fails.
pub fn measure(
    report: &mut Report,
    worlds: usize,
    rounds: usize,
    home: &OwnedFd,
    host: &Host,
    user: &mut User,
) -> Result<()> {
    let spec = format!("{EXAMPLES}/minimal.yaml");
    let name = |number: usize| format!("w{number}");
    let up = |user: &mut User, number| user.run(&["up", &spec, "--set", &format!("metadata.name={}", name(number))]);
    let again_and_again = |user: &mut User, number: usize| {
        let mut samples = Samples::default();
        for round in 0..rounds {
            if round > 0 {
                let settle = Settle::prepare(home)?;
                user.run(&["down", "--yes", &name(number)])?;
                settle.wait()?;
            }
            samples.add(up(user, number)?);
        }
        Ok::<_, anyhow::Error>(samples)
    };
    let first = again_and_again(user, 1)?;
    for number in 2..worlds {
        up(user, number)?;
    }
    let last = again_and_again(user, worlds)?;
    let mut status = Samples::default();
    let mut list = Samples::default();
    for round in 0..rounds * 4 {
        status.add(user.run(&["status", &name(round % worlds + 1)])?);
        list.add(user.run(&["list"])?);
    }
    report.heading(&format!("{worlds} worlds on the host, each examples/minimal.yaml"));
    report.add(Figure::median("crowd.up.first", &first, "ms", Target::None));
    report.add(Figure::median("crowd.up.last", &last, "ms", Target::None));
    let ratio = last.median() / first.median();
    report.add(Figure::single("crowd.up.ratio", ratio, "x", Target::AtMost(1.5)));
    report.add(Figure::median("crowd.status", &status, "ms", Target::AtMost(50.0)));
    report.add(Figure::median("crowd.list", &list, "ms", Target::None));
    memory::measure(
        report,
        host,
        &format!("{worlds}-worlds"),
        Promised { daemons: false, worldd: Some(memory::WORLDD) },
    )
}
