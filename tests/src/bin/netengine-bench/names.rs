//! DNS: worldd's name server beside Debian's knot, with the same zone, asked by dnsperf; and how soon a change is seen.
//!
//! knot runs in a vantage host, in the same kind of namespace behind the same bridge as worldd, with one thread. Each server has one core for
//! itself and dnsperf the other. They take turns, so that what else the machine does hits both.

use std::{
    fmt::Write,
    net::Ipv4Addr,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netengine_tests::{ALICE, BIN, Host};
use nix::unistd::Pid;

use crate::{
    cores,
    figures::{Figure, Report, Samples, Target},
    inside::User,
    load::{Changes, Load},
    services::{CLIENTS, NAME_SERVER, WORLD, secret},
};

/// The zone that is asked for.
pub const ZONE: &str = "big.corp";
/// Names in it.
pub const NAMES: u32 = 10_000;
/// Names in it when changes are measured.
const MANY: u32 = 100_000;
/// Where knot runs.
const OTHER: &str = "bench/core-2";
/// Names of one update.
const BATCH: usize = 1000;
/// knot is not given up before this.
const PATIENCE: Duration = Duration::from_secs(20);

/// The address of a name.
pub fn address(number: u32) -> Ipv4Addr {
    let [_, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(10, b, c, d)
}

/// As many questions as names, in no order: one in ten for a name that does not exist.
fn questions() -> String {
    let mut text = String::new();
    for number in 0..NAMES {
        // A full cycle: 7,919 is prime and no divisor of 10,000.
        let name = number * 7919 % NAMES;
        let letter = if number % 10 == 9 { 'x' } else { 'h' };
        let _ = writeln!(text, "{letter}{name}.{ZONE} A");
    }
    text
}

/// One run of dnsperf.
struct Ran {
    per_second: f64,
    /// Microseconds of a core for each answer.
    cost: f64,
}

/// A name server at work.
struct Server {
    address: String,
    pid: Pid,
    rate: Samples,
    cost: Samples,
}

impl Server {
    fn new(address: String, pid: Pid) -> Result<Self> {
        cores::pin(pid, cores::SERVER)?;
        Ok(Self { address, pid, rate: Samples::default(), cost: Samples::default() })
    }

    fn measure(&mut self, user: &mut User, file: &str, seconds: u32) -> Result<()> {
        let ran = self.ask(user, file, seconds)?;
        self.rate.add_number(ran.per_second);
        self.cost.add_number(ran.cost);
        Ok(())
    }

    fn ask(&self, user: &mut User, file: &str, seconds: u32) -> Result<Ran> {
        let (core, seconds) = (cores::CLIENTS.to_string(), seconds.to_string());
        let before = cores::worked(self.pid)?;
        let said = user.ask(&[
            "exec",
            CLIENTS,
            "--",
            "taskset",
            "-c",
            &core,
            "dnsperf",
            "-s",
            &self.address,
            "-d",
            file,
            "-l",
            &seconds,
            "-c",
            "8",
            "-T",
            "1",
            "-q",
            "200",
        ])?;
        let worked = cores::worked(self.pid)? - before;
        let field = |name: &str| {
            let rest = said.lines().find_map(|line| line.trim().strip_prefix(name));
            rest.with_context(|| format!("dnsperf says no {name}: {said}")).map(str::trim)
        };
        let first = |text: &str| text.split([' ', '(']).next().and_then(|number| number.parse::<f64>().ok());
        let completed = first(field("Queries completed:")?).context("a number")?;
        let lost = first(field("Queries lost:")?).context("a number")?;
        ensure!(lost * 1000.0 < completed, "{lost} of {completed} questions were lost");
        let codes = field("Response codes:")?;
        ensure!(codes.contains("NOERROR") && codes.contains("NXDOMAIN") && !codes.contains("FAIL"), "{codes}");
        let per_second = first(field("Queries per second:")?).context("a number")?;
        Ok(Ran { per_second, cost: worked * 1e6 / completed })
    }
}

/// knot with the zone of worldd, in [`OTHER`], until it is dropped.
struct Knot(Child);

impl Knot {
    fn start(host: &Host, user: &mut User) -> Result<(Self, Server)> {
        let key = format!("hmac-sha256:transfer:{}", secret(user, "tsig", "transfer", "")?);
        let ip = "ip -4 -oneline address show neth0 | sed 's/.*inet //; s,/.*,,'";
        let address = user.ask(&["exec", OTHER, "--", "sh", "-c", ip])?.trim().to_owned();
        // A transfer ends with the SOA that it began with; a zone file has it once.
        let script = format!(
            "set -e; cd $(mktemp -d); dig @{NAME_SERVER} -y '{key}' {ZONE} AXFR +noall +answer | sed '$d' >zone
             cat >conf <<EOF
server:
    rundir: \"$PWD\"
    listen: {address}@53
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: \"$PWD\"
log:
  - target: stderr
    any: warning
zone:
  - domain: {ZONE}
    file: \"$PWD/zone\"
EOF
             exec taskset -c {} knotd -c conf",
            cores::SERVER
        );
        let mut command = host.command(ALICE, &format!("{BIN}/netengine"));
        let child = command.args(["exec", OTHER, "--", "sh", "-c", &script]).stdin(Stdio::null()).spawn()?;
        let mut knot = Self(child);
        let wait = format!("dig +short +tries=1 +time=1 @{address} h{}.{ZONE} || true", NAMES - 1);
        let begun = Instant::now();
        while user.ask(&["exec", CLIENTS, "--", "sh", "-c", &wait])?.trim() != self::address(NAMES - 1).to_string() {
            ensure!(knot.0.try_wait()?.is_none(), "knot has ended");
            ensure!(begun.elapsed() < PATIENCE, "knot does not answer");
        }
        let pid = cores::find(host, "knotd", "conf")?;
        Ok((knot, Server::new(address, pid)?))
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        // Ending the CLI ends the command in the world.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers per second, ours against knot's.
///
/// # Errors
/// A server answers wrongly or not at all.
pub fn compare(report: &mut Report, rounds: usize, seconds: u32, host: &Host, user: &mut User) -> Result<()> {
    let file = host.file("questions", &questions());
    let mut ours = Server::new(NAME_SERVER.to_owned(), cores::find(host, "netengine-world", "worldd")?)?;
    let (knot, mut theirs) = Knot::start(host, user)?;
    for server in [&ours, &theirs] {
        server.ask(user, &file, 1)?;
    }
    for _ in 0..rounds {
        theirs.measure(user, &file, seconds)?;
        ours.measure(user, &file, seconds)?;
    }
    drop(knot);
    report.heading(&format!("DNS: a zone of {NAMES} names, one core for the server, one for dnsperf"));
    for (name, server) in [("worldd", &ours), ("knot", &theirs)] {
        report.add(Figure::median(format!("dns.{name}"), &server.rate, "per s", Target::None));
        report.add(Figure::median(format!("dns.{name}.core"), &server.cost, "us", Target::None));
    }
    let ratio = ours.rate.median() / theirs.rate.median();
    report.add(Figure::single("dns.ratio", ratio, "x", Target::AtLeast(0.7)));
    let cost = theirs.cost.median() / ours.cost.median();
    report.add(Figure::single("dns.core.ratio", cost, "x", Target::None));
    Ok(())
}

/// From a change to the answer with it, in the zone grown to [`MANY`] names by updates.
///
/// # Errors
/// A change is refused or not seen.
pub fn change(report: &mut Report, changes: u32, host: &Host, user: &mut User) -> Result<()> {
    let key = format!("hmac-sha256:update:{}", secret(user, "tsig", "update", "")?);
    let mut growth = format!("server {NAME_SERVER}\nzone {ZONE}\n");
    for (count, number) in (NAMES..MANY).enumerate() {
        let _ = writeln!(growth, "update add h{number}.{ZONE} 300 A {}", address(number));
        if (count + 1) % BATCH == 0 {
            growth += "send\n";
        }
    }
    let file = host.file("growth", &growth);
    user.run(&["exec", CLIENTS, "--", "nsupdate", "-v", "-y", &key, &file])?;
    let last = ["exec", CLIENTS, "--", "dig", "+short", &format!("@{NAME_SERVER}"), &format!("h{}.{ZONE}", MANY - 1)];
    ensure!(user.ask(&last)?.trim() == address(MANY - 1).to_string(), "the zone has not grown");
    let load = Load::Change { server: NAME_SERVER.to_owned(), zone: ZONE.to_owned(), key, changes };
    let done: Changes = load.run(user, &format!("{WORLD}/core"))?;
    let samples = |values: &[f64]| {
        let mut samples = Samples::default();
        values.iter().for_each(|value| samples.add_number(*value));
        samples
    };
    report.heading(&format!("DNS: one record changed by nsupdate in a zone of {MANY} names"));
    report.add(Figure::median("dns.change", &samples(&done.seen), "ms", Target::AtMost(5.0)));
    report.add(Figure::median("dns.change.whole", &samples(&done.whole), "ms", Target::None));
    Ok(())
}
