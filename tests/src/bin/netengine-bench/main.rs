//! Measures what PERFORMANCE.md promises, in throw-away hosts; prints a table, and JSON with `--json FILE`.
//!
//! Usage: `netengine-bench [--quick] [--strict] [--json FILE] [--only PART,PART]`, the parts being calls, large, commands, memory, together,
//! population, dns, change, acme, oidc, whois, prove, crowd, ands, lab.
//!
//! `--quick` takes fewer samples and fewer worlds (under two minutes); `--strict` exits with 1 when a promise is missed.
//! Needs root and the release binaries beside it. The time of day is never waited for: every measurement ends with an answer, an
//! exit or a message of the kernel.

mod ands;
mod calls;
mod commands;
mod cores;
mod crowd;
mod figures;
mod floor;
mod inside;
mod lab;
mod large;
mod load;
mod memory;
mod names;
mod population;
mod prove;
mod services;
mod settle;
mod together;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use figures::Report;
use inside::User;
use memory::Promised;
use netengine_rootd::sys::netns::{self, Netlink};
use netengine_tests::{ALICE, Host, ROOT, USERD, root};

struct Options {
    quick: bool,
    strict: bool,
    json: Option<PathBuf>,
    only: Option<Vec<String>>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { quick: false, strict: false, json: None, only: None };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--strict" => options.strict = true,
                "--json" => options.json = Some(value()?.into()),
                "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
                other => bail!("cannot use {other:?}; usage: [--quick] [--strict] [--json FILE] [--only PARTS]"),
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|wanted| wanted == part))
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(inside::INSIDE), _) => return inside::serve().map(|()| ExitCode::SUCCESS),
        (Some(ands::HEAR), _) => return ands::hear().map(|()| ExitCode::SUCCESS),
        (Some(ands::SEND), Some(to)) => {
            return ands::send(&to, &arguments.next().unwrap_or_default()).map(|()| ExitCode::SUCCESS);
        }
        (Some(load::LOAD), Some(told)) => return load::serve(&told).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let options = Options::parse(std::env::args().skip(1))?;
    let mut report = Report::default();
    measure(&options, &mut report)?;
    let missed = report.missed();
    match missed.as_slice() {
        [] => println!("\nevery promise that was measured holds"),
        missed => println!("\nmissed: {}", missed.join(", ")),
    }
    if let Some(path) = &options.json {
        report.write_json(path, options.quick, &figures::machine()).context("cannot write the JSON document")?;
    }
    Ok(if options.strict && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let place = tempfile::Builder::new().prefix("netengine-bench-").tempdir_in("/var/tmp")?;
    let other = if options.wants("lab") { lab::install_other(&place.path().join("other")).ok() } else { None };
    // A namespace of this process's own: nothing below can touch a link of this machine.
    netns::unshare_net().context("cannot leave this machine's network; run as root")?;
    let home = netns::of_socket(netns::netlink(Netlink::Route)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let take = |quick: usize, full: usize| if options.quick { quick } else { full };
    // On a disk, as in an installation: a test host's own /var/lib is memory. Others pass through to their own places.
    let state = tempfile::Builder::new().prefix("netengine-bench-").tempdir_in("/var/tmp")?;
    chown(state.path(), Some(USERD.uid), Some(USERD.gid))?;
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o711))?;
    println!("state on {}; journal on tmpfs, as /run is everywhere", file_system(state.path())?);

    part(options, report, &["lab"], |report| {
        let effort = lab::Effort { rounds: take(2, 5), rulesets: take(500, 3000), cases: take(10, 100) };
        lab::measure(report, effort, other.as_deref(), state.path())
    });
    part(options, report, &["calls", "large"], |report| {
        let rootd_only = rootd_only();
        let client = runtime.block_on(root::client(&rootd_only));
        if options.wants("calls") {
            runtime.block_on(calls::measure(report, take(1000, 10_000), &client))?;
        }
        if options.wants("large") {
            let host = full_host(state.path())?;
            let spec = host.file("large.yaml", &large::spec("large"));
            let mut user = User::new(&host, ALICE)?;
            large::measure(report, take(3, 11), &home, &runtime, &client, &mut user, &spec)?;
            user.run(&["up", &spec, "--up-to", "0"])?;
            let promised = Promised { daemons: true, worldd: Some(memory::WORLDD_OF_NETWORK) };
            memory::measure(report, &host, "large", promised)?;
        }
        Ok(())
    });
    let host_and_user = || {
        let host = full_host(state.path())?;
        let user = User::new(&host, ALICE)?;
        Ok::<_, anyhow::Error>((host, user))
    };
    part(options, report, &["commands", "memory"], |report| {
        let (host, mut user) = host_and_user()?;
        commands::measure(report, take(5, 25), &home, &mut user)?;
        memory::measure(report, &host, "minimal", Promised { daemons: true, worldd: Some(memory::WORLDD) })
    });
    part(options, report, &["together"], |report| {
        let (_host, mut user) = host_and_user()?;
        together::measure(report, take(1, 5), &home, &mut user)
    });
    part(options, report, &["population"], |report| {
        let (host, mut user) = host_and_user()?;
        population::measure(report, take(1, 5), &home, &host, &mut user)
    });
    part(options, report, &["dns", "change", "acme", "oidc", "whois"], |report| {
        let (host, mut user) = host_and_user()?;
        services(options, report, &host, &mut user)
    });
    part(options, report, &["prove"], |report| {
        let (host, mut user) = host_and_user()?;
        prove::measure(report, take(3, 11), &host, &mut user)
    });
    part(options, report, &["ands"], |report| {
        let effort =
            ands::Effort { rounds: take(5, 15), turns: take(5, 11), seconds: take(1, 3) as u32, datagrams: 100_000 };
        let rootd_only = rootd_only();
        let client = runtime.block_on(root::client(&rootd_only));
        ands::calls(report, effort, &runtime, &rootd_only, &client)?;
        drop((client, rootd_only));
        let (host, mut user) = host_and_user()?;
        ands::measure(report, effort, &home, &host, &mut user)
    });
    part(options, report, &["crowd"], |report| {
        let (host, mut user) = host_and_user()?;
        crowd::measure(report, take(10, 100), take(3, 9), &home, &host, &mut user)
    });
    Ok(())
}

/// Measures a part that is wanted under any of its names; one that fails is missed, and the others go on.
fn part(options: &Options, report: &mut Report, names: &[&str], measure: impl FnOnce(&mut Report) -> Result<()>) {
    if !names.iter().any(|name| options.wants(name)) {
        return;
    }
    if let Err(error) = measure(report) {
        report.fail(&names.join(","), &error);
    }
}

/// What the services of one world bear.
fn services(options: &Options, report: &mut Report, host: &Host, user: &mut User) -> Result<()> {
    let (rounds, seconds) = if options.quick { (1, 2.0) } else { (3, 10.0) };
    services::up(host, user)?;
    if options.wants("acme") {
        services::acme(report, rounds, seconds, user)?;
    }
    if options.wants("oidc") {
        services::identity(report, rounds, seconds, user)?;
    }
    if options.wants("whois") {
        services::whois(report, rounds, seconds, user)?;
    }
    memory::measure(report, host, "busy", Promised { daemons: false, worldd: Some(memory::WORLDD) })?;
    // From here on worldd has one core.
    if options.wants("dns") {
        let (rounds, seconds) = if options.quick { (3, 2) } else { (7, 5) };
        names::compare(report, rounds, seconds, host, user)?;
    }
    if options.wants("change") {
        names::change(report, if options.quick { 50 } else { 500 }, host, user)?;
    }
    Ok(())
}

/// A host without userd, which would remove worlds that it does not know.
fn rootd_only() -> Host {
    let mut host = Host::bare();
    let units = host.copy_units(&repository().join("systemd"));
    for unit in ["netengine-userd.service", "netengine-user.socket", "netengine-admin.socket"] {
        fs::remove_file(host.path(&units).join(unit)).expect("a unit of userd");
    }
    host.start_daemons(&units, &["netengine-rootd"]);
    host
}

/// A host with all daemons, quotas for a crowd, and in fresh places under `state` userd's database and what persistent worlds keep.
fn full_host(state: &Path) -> Result<Host> {
    let (database, worlds) = (state.join("state.db"), state.join("worlds"));
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", database.display()));
    }
    let _ = fs::remove_dir_all(&worlds);
    fs::create_dir(&worlds)?;
    let mut host = Host::bare();
    let kept = "/var/lib/netengine-worlds";
    host.shell(ROOT, &format!("mkdir -p {kept} && mount --bind {} {kept}", worlds.display()));
    let units = host.copy_units(&repository().join("systemd"));
    let drop_in = format!(
        "[Service]\nEnvironment=NETENGINE_DB_URL=sqlite://{}\nEnvironment=NETENGINE_QUOTA_WORLDS=4096\n\
         Environment=NETENGINE_QUOTA_NODES=16384\nEnvironment=NETENGINE_QUOTA_LINKS=65536\n\
         Environment=NETENGINE_QUOTA_OPERATIONS=16\n",
        database.display()
    );
    host.file("units/netengine-userd.service.d/bench.conf", &drop_in);
    host.start_daemons(&units, &["netengine-spawn", "netengine-rootd", "netengine-userd"]);
    Ok(host)
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The kind of file system a directory is on, by the longest mount point above it.
fn file_system(path: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let above = fields.filter(|fields| fields.len() > 2 && path.starts_with(fields[1]));
    Ok(above.max_by_key(|fields| fields[1].len()).map_or("unknown", |fields| fields[2]).to_owned())
}
