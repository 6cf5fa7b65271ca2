//! The network of a world of 10 networks and 100 vantage hosts: rootd's calls and the whole program against the floor.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netengine_proto::{
    ids::Uid,
    plan::NetworkPlan,
    root::{ObjectKind, RootClient},
};
use netengine_tests::{
    ALICE,
    root::{key, patient, world_id, world_plan},
};
use tokio::runtime::Runtime;

use crate::{
    figures::{Figure, Report, Samples, Target},
    floor::Recipe,
    inside::User,
    settle::Settle,
};

/// Networks of the large world.
pub const NETWORKS: u16 = 10;
/// Vantage hosts in each.
pub const HOSTS: u16 = 10;

/// Its spec: the same shape as [`world_plan`] makes, IPv4 and IPv6.
pub fn spec(name: &str) -> String {
    let network = |n: u16| {
        // The default listen addresses of a spec lie in the default subnets of `core` and `platform`.
        let (name, subnet) = match n {
            0 => ("core".to_owned(), "10.0.0.0/24".to_owned()),
            1 => ("platform".to_owned(), "172.28.0.0/16".to_owned()),
            _ => (format!("net{n}"), format!("10.{n}.0.0/24")),
        };
        let subnet6 = format!("\"fd00:{n:x}::/64\"");
        format!("    {name}: {{type: bridge, subnet: {subnet}, subnet6: {subnet6}, vantage_hosts: {HOSTS}}}\n")
    };
    let networks: String = (0..NETWORKS).map(network).collect();
    format!(
        "metadata: {{name: {name}}}\nsubstrate:\n  gateway: {{platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}\n  networks:\n\
         {networks}dns: {{}}\npki: {{}}\nidentity_platform: {{}}\nworld_registry: {{}}\ndomain_registry: {{}}\n\
         identity_inworld: {{}}\nands: {{}}\nworld_services:\n  mail: {{enabled: false}}\n  storage: {{enabled: false}}\n\
         org_apps: {{}}\ngateway_portal: {{}}\noperator: {{}}\n"
    )
}

/// Times of one way to make and remove the world.
#[derive(Default)]
struct Way {
    up: Samples,
    answered: Samples,
    down: Samples,
}

impl Way {
    /// `up`, then `down` until it answers, then until the kernel has removed every namespace.
    fn run<W>(
        &mut self,
        home: &OwnedFd,
        up: impl FnOnce() -> Result<(W, Duration)>,
        down: impl FnOnce(W) -> Result<Duration>,
    ) -> Result<()> {
        let (world, taken) = up()?;
        self.up.add(taken);
        let settle = Settle::prepare(home)?;
        let answered = down(world)?;
        let start = Instant::now();
        settle.wait()?;
        self.answered.add(answered);
        self.down.add(answered + start.elapsed());
        Ok(())
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let done = work()?;
    Ok((done, start.elapsed()))
}

/// Proves that the loop makes as many links and addresses as rootd says it did; tells how many.
fn same_objects(home: &OwnedFd, runtime: &Runtime, client: &RootClient, plan: &NetworkPlan) -> Result<String> {
    let settle = Settle::prepare(home)?;
    let (links, addresses) = Recipe::of(plan).make(home)?.count()?;
    settle.wait()?;
    runtime.block_on(client.apply_network(patient(), key(), plan.clone()))??;
    let observed = runtime.block_on(client.observe_network(patient(), plan.world, plan.owner, true))??;
    ensure!(observed.drift.is_empty(), "rootd's world does not equal its plan: {:?}", observed.drift);
    let count = |kinds: &[_]| observed.objects.iter().filter(|object| kinds.contains(&object.kind)).count();
    ensure!(
        (links, addresses) == (count(&[ObjectKind::Link, ObjectKind::Bridge]), count(&[ObjectKind::Address])),
        "the loop makes something else"
    );
    let settle = Settle::prepare(home)?;
    runtime.block_on(client.delete_world(patient(), key(), plan.world, plan.owner))??;
    settle.wait()?;
    let (namespaces, tables) = (plan.nodes.len(), plan.nodes.iter().filter(|node| node.policy.is_some()).count());
    Ok(format!("{namespaces} namespaces, {links} links, {addresses} addresses, {tables} policy table"))
}

/// Measures `rounds` times, in turn, so that what else the machine does hits all alike.
///
/// # Errors
/// Something does not work.
pub fn measure(
    report: &mut Report,
    rounds: usize,
    home: &OwnedFd,
    runtime: &Runtime,
    client: &RootClient,
    user: &mut User,
    spec: &str,
) -> Result<()> {
    let plan = world_plan(world_id(), Uid(ALICE.uid), NETWORKS, HOSTS);
    let recipe = Recipe::of(&plan);
    let objects = same_objects(home, runtime, client, &plan)?;
    let (mut floor, mut rootd, mut whole) = (Way::default(), Way::default(), Way::default());
    for _ in 0..rounds {
        let release = |world| {
            let start = Instant::now();
            drop(world);
            Ok(start.elapsed())
        };
        floor.run(home, || timed(|| recipe.make(home)), release)?;
        let plan = world_plan(world_id(), Uid(ALICE.uid), NETWORKS, HOSTS);
        rootd.run(
            home,
            || {
                let asked = plan.clone();
                timed(|| Ok(runtime.block_on(client.apply_network(patient(), key(), asked))??))
            },
            |_| {
                let delete = client.delete_world(patient(), key(), plan.world, plan.owner);
                timed(|| Ok(runtime.block_on(delete)??)).map(|(_, taken)| taken)
            },
        )?;
        whole.run(
            home,
            || user.run(&["up", spec, "--up-to", "0"]).context("the large world").map(|taken| (&mut *user, taken)),
            |user| user.run(&["down", "--yes", "large"]),
        )?;
    }
    report.heading(&format!("World of {NETWORKS} networks and {} vantage hosts: {objects}", NETWORKS * HOSTS));
    let times = [("floor", &floor), ("rootd", &rootd), ("cli", &whole)];
    for (name, way) in times {
        report.add(Figure::median(format!("large.up.{name}"), &way.up, "ms", Target::None));
    }
    for (name, way) in times {
        report.add(Figure::median(format!("large.down.{name}"), &way.down, "ms", Target::None));
        report.add(Figure::median(format!("large.down.{name}.answered"), &way.answered, "ms", Target::None));
    }
    for (name, way) in &times[1..] {
        let ratio = |ours: &Samples, floor: &Samples| ours.median() / floor.median();
        report.add(Figure::single(
            format!("large.up.{name}.ratio"),
            ratio(&way.up, &floor.up),
            "x",
            Target::AtMost(2.0),
        ));
        let down = ratio(&way.down, &floor.down);
        report.add(Figure::single(format!("large.down.{name}.ratio"), down, "x", Target::AtMost(2.0)));
    }
    Ok(())
}
