//! rootd's socket: how long a call takes, how many fit into a second. The call is `list_worlds` with one world.

use std::time::Instant;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use netengine_proto::{ids::Uid, root::RootClient};
use netengine_tests::{
    ALICE,
    root::{key, patient, world_id, world_plan},
};

use crate::figures::{Figure, Report, Samples, Target};

/// Calls at once in the second measurement; rootd takes `limits::ROOT_CALLS_IN_FLIGHT`.
const AT_ONCE: usize = 16;

/// Measures on one connection.
///
/// # Errors
/// rootd does not answer.
pub async fn measure(report: &mut Report, calls: usize, client: &RootClient) -> Result<()> {
    let plan = world_plan(world_id(), Uid(ALICE.uid), 1, 1);
    client.apply_network(patient(), key(), plan.clone()).await??;
    let call = || async { Ok::<_, anyhow::Error>(client.list_worlds(patient()).await??.len()) };
    for _ in 0..calls / 10 {
        call().await?;
    }
    let mut one = Samples::default();
    for _ in 0..calls {
        let start = Instant::now();
        call().await?;
        one.add_number(start.elapsed().as_secs_f64() * 1e6);
    }
    let mut rate = Samples::default();
    for _ in 0..5 {
        let start = Instant::now();
        stream::iter(0..calls).map(|_| call()).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
        rate.add_number(calls as f64 / start.elapsed().as_secs_f64());
    }
    client.delete_world(patient(), key(), plan.world, plan.owner).await??;
    report.heading("rootd's socket, one connection");
    report.add(Figure::median("call.p50", &one, "us", Target::AtMost(150.0)));
    report.add(Figure::single("call.p99", one.quantile(0.99), "us", Target::None));
    report.add(Figure::single("call.rate.sequential", 1e6 / one.median(), "per s", Target::None));
    report.add(Figure::median("call.rate", &rate, "per s", Target::AtLeast(5000.0)));
    Ok(())
}
