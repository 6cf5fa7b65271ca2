//! The firewall lab: rulesets and packets judged per second, beside a bare loop, `nft` itself, and the tool people used before.
//!
//! All of it runs as root in the bench's own network namespace, without a daemon; the worker makes namespaces of its own.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use netengine_lab::client::Rootless;
use netengine_lab_proto::{
    CaseLimits, CaseRequest, CaseResult, Content, InjectedPacket, NodeName, PacketSpec, RulesetText, Topology,
    Transport, Verdict,
};
use netengine_proto::bounded::Bounded;
use serde_json::Value;

use crate::figures::{Figure, Report, Samples, Target};

/// Packets of one case.
const CASE: usize = 10_000;
/// Rules of the large ruleset.
const RULES: usize = 10_000;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds of each comparison.
    pub rounds: usize,
    /// Rulesets of one round.
    pub rulesets: usize,
    /// Cases of [`CASE`] packets.
    pub cases: usize,
}

/// Measures the lab.
///
/// # Errors
/// A program fails, or tells a verdict that is not right.
pub fn measure(report: &mut Report, effort: Effort, other: Option<&Path>, state: &Path) -> Result<()> {
    report.heading("The firewall lab; rulesets are small and all different, one packet each");
    let programs = Programs::find()?;
    let suite = state.join("rulesets.yaml");
    fs::write(&suite, rulesets(effort.rulesets))?;
    let one = state.join("one.yaml");
    fs::write(&one, rulesets(1))?;
    let (mut rate, mut floor, mut first) = (Samples::default(), Samples::default(), Samples::default());
    // Before the kernel has thousands of namespaces to take down, which others' wait for (net/core/net_namespace.c, `cleanup_net`).
    for _ in 0..3 * effort.rounds {
        first.add_number(programs.test(&one, 1)? * 1e3);
    }
    for _ in 0..effort.rounds {
        rate.add_number(effort.rulesets as f64 / programs.test(&suite, effort.rulesets)?);
        floor.add_number(effort.rulesets as f64 / programs.floor(effort.rulesets)?);
    }
    report.add(Figure::median("lab.rulesets.rate", &rate, "/s", Target::AtLeast(600.0)));
    report.add(Figure::median("lab.rulesets.floor", &floor, "/s", Target::None));
    let ratio = floor.median() / rate.median();
    report.add(Figure::single("lab.rulesets.ratio", ratio, "x", Target::AtMost(2.0)));
    report.add(Figure::median("lab.first", &first, "ms", Target::AtMost(30.0)));
    match other.context("it is not installed").and_then(|tool| programs.other(tool, state)) {
        Ok(per_second) => {
            report.add(Figure::single("lab.other.rate", per_second, "/s", Target::None));
            let ratio = rate.median() / per_second;
            report.add(Figure::single("lab.other.ratio", ratio, "x", Target::AtLeast(500.0)));
        }
        Err(error) => println!("network-sandbox-engine is not compared: {error:#}"),
    }
    if let Err(error) = large(report, &programs, effort.rounds, state) {
        report.fail("lab.large", &error);
    }
    packets(report, &programs, effort.cases)
}

/// Installs network-sandbox-engine 2.1.2 below `place`; to be called while this process still has the machine's network.
///
/// # Errors
/// No Python, or no way to the package.
pub fn install_other(place: &Path) -> Result<PathBuf> {
    let made = Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(place).status()?;
    let wanted = "network-sandbox-engine[cli]==2.1.2";
    let install = ["install", "--quiet", "--disable-pip-version-check", "--retries", "1", wanted];
    ensure!(
        made.success() && Command::new(place.join("bin/pip")).args(install).status()?.success(),
        "cannot install it"
    );
    Ok(place.join("bin/nse-runner"))
}

/// One ruleset, many packets, on one worker.
fn packets(report: &mut Report, programs: &Programs, cases: usize) -> Result<()> {
    let mut worker = Rootless::start(&programs.lab, &programs.nft, 0)?;
    let request = |count: usize| {
        let rules = "table inet t {\n chain i {\n type filter hook input priority 0;\n udp dport 53 drop\n }\n}\n";
        Ok::<_, anyhow::Error>(CaseRequest {
            topology: Topology::simple(),
            ruleset: RulesetText::new(rules.to_owned())?,
            beside: Bounded::default(),
            packets: Bounded::new((0..count).map(|number| packet(if number % 2 == 0 { 53 } else { 54 })).collect())?,
            limits: CaseLimits { timeout_ms: 60_000, ..CaseLimits::default() },
        })
    };
    judge(&mut worker, &request(1)?)?;
    let rest = memory(worker.pid())?;
    let whole = request(CASE)?;
    let (mut rate, mut lost) = (Samples::default(), 0);
    for _ in 0..cases {
        let begun = Instant::now();
        lost += judge(&mut worker, &whole)?;
        rate.add_number(CASE as f64 / begun.elapsed().as_secs_f64());
    }
    report.add(Figure::median("lab.packets.rate", &rate, "/s", Target::AtLeast(10_000.0)));
    report.add(Figure::single("lab.packets.sent", (cases * CASE) as f64, "", Target::None));
    report.add(Figure::single("lab.packets.lost", lost as f64, "", Target::AtMost(0.0)));
    report.add(Figure::single("lab.worker.rest", rest.now, "MiB", Target::AtMost(20.0)));
    report.add(Figure::single("lab.worker.most", memory(worker.pid())?.most, "MiB", Target::AtMost(128.0)));
    Ok(())
}

/// Runs a case of which every second packet is dropped; the trace messages that were lost.
fn judge(worker: &mut Rootless, request: &CaseRequest) -> Result<u64> {
    let CaseResult::Judged(answer) = worker.run(request)? else { anyhow::bail!("a case was not judged") };
    for (number, outcome) in answer.packets.iter().enumerate() {
        let wanted = if number % 2 == 0 { Verdict::Drop } else { Verdict::Accept };
        ensure!(outcome.verdict == wanted, "packet {number}: {outcome:?}");
    }
    Ok(answer.lost_messages)
}

/// A ruleset of many rules, beside `nft -f`.
fn large(report: &mut Report, programs: &Programs, rounds: usize, state: &Path) -> Result<()> {
    let mut rules = String::from("table inet t {\n chain i {\n type filter hook input priority 0;\n");
    for number in 0..RULES {
        let [_, b, c, d] = (number as u32).to_be_bytes();
        writeln!(rules, " ip saddr 172.{}.{c}.{d} tcp dport {} drop", 16 + b, 1 + number % 60_000)?;
    }
    rules += " }\n}\n";
    let file = state.join("large.nft");
    fs::write(&file, &rules)?;
    let indented: String = rules.lines().map(|line| format!("      {line}\n")).collect();
    // Of the first packet the policy decides; of the second the last rule, which the answer must tell.
    let [_, b, c, d] = (RULES as u32 - 1).to_be_bytes();
    let last = format!(
        "    packets:\n      - {{protocol: tcp, src_ip: 172.{}.{c}.{d}, dst_ip: 10.0.0.2, dst_port: {RULES}, expected_verdict: DROP}}\n",
        16 + b
    );
    let suites = [("policy.yaml", packet_of_suite(53, "ACCEPT")), ("last.yaml", last)].map(|(name, packets)| {
        let suite = state.join(name);
        fs::write(&suite, format!("tests:\n  - name: large\n    rules: |\n{indented}{packets}")).map(|()| suite)
    });
    let [policy, last] = suites;
    let (policy, last) = (policy?, last?);
    let (mut ours, mut deciding, mut nft) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..2 * rounds {
        ours.add_number(programs.test(&policy, 1)? * 1e3);
        deciding.add_number(programs.test(&last, 1)? * 1e3);
        let begun = Instant::now();
        let loaded = Command::new("unshare").args(["--net", "nft", "-f"]).arg(&file).status()?;
        ensure!(loaded.success(), "nft refuses the large ruleset");
        nft.add(begun.elapsed());
    }
    report.add(Figure::median("lab.large", &ours, "ms", Target::None));
    report.add(Figure::median("lab.large.last", &deciding, "ms", Target::None));
    report.add(Figure::median("lab.large.nft", &nft, "ms", Target::None));
    for (name, ours) in [("lab.large.ratio", &ours), ("lab.large.last.ratio", &deciding)] {
        report.add(Figure::single(name, ours.median() / nft.median(), "x", Target::AtMost(1.3)));
    }
    Ok(())
}

/// A suite of different rulesets in the layout of the other tool.
fn rulesets(count: usize) -> String {
    let mut text = String::from("tests:\n");
    for number in 0..count {
        let port = number + 1;
        let _ = write!(
            text,
            "  - name: drops {port}\n    rules: |\n      table inet t {{\n        chain i {{\n          type filter hook input priority 0; \
             policy accept;\n          udp dport {port} drop\n        }}\n      }}\n{}",
            packet_of_suite(port, "DROP")
        );
    }
    text
}

fn packet_of_suite(port: usize, verdict: &str) -> String {
    format!(
        "    packets:\n      - {{protocol: udp, src_ip: 10.0.0.1, dst_ip: 10.0.0.2, src_port: 40000, dst_port: {port}, expected_verdict: {verdict}}}\n"
    )
}

fn packet(port: u16) -> InjectedPacket {
    let transport = Transport::Udp { src_port: 40_000, dst_port: port };
    let spec = PacketSpec::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), transport);
    let from = NodeName::parse("client").expect("a name");
    InjectedPacket::new(from, Content::Typed(Box::new(spec)))
}

/// What is run.
struct Programs {
    netengine: PathBuf,
    floor: PathBuf,
    lab: PathBuf,
    nft: PathBuf,
}

impl Programs {
    fn find() -> Result<Self> {
        let this = std::env::current_exe()?;
        let beside = |name: &str| this.with_file_name(name);
        let (netengine, floor) = (beside("netengine"), beside("lab-floor"));
        Ok(Self { netengine, floor, lab: beside("netengine-lab"), nft: beside("netengine-nft") })
    }

    /// Seconds of `netengine test`, start to exit, whose cases all pass.
    fn test(&self, suite: &Path, cases: usize) -> Result<f64> {
        let begun = Instant::now();
        let ran = Command::new(&self.netengine).args(["test", "--format", "json"]).arg(suite).output()?;
        let taken = begun.elapsed().as_secs_f64();
        let said: Value = serde_json::from_slice(&ran.stdout)
            .with_context(|| format!("netengine test: {}", String::from_utf8_lossy(&ran.stderr)))?;
        ensure!(said["summary"]["passed"] == cases && ran.status.success(), "not all passed: {}", said["summary"]);
        Ok(taken)
    }

    /// Seconds of the bare loop, one on each processor, with as many rulesets in all.
    fn floor(&self, rulesets: usize) -> Result<f64> {
        let processors = std::thread::available_parallelism()?.get();
        let each = rulesets.div_ceil(processors).to_string();
        let loops = (0..processors).map(|processor| {
            let mut command = Command::new(&self.floor);
            command.args([each.as_str(), &processor.to_string()]).stdout(Stdio::piped()).spawn()
        });
        let loops: Vec<_> = loops.collect::<Result<_, _>>()?;
        let mut longest: f64 = 0.0;
        for child in loops {
            let ran = child.wait_with_output()?;
            ensure!(ran.status.success(), "the bare loop failed");
            longest = longest.max(String::from_utf8(ran.stdout)?.trim().parse()?);
        }
        Ok(longest)
    }

    /// Tests per second of network-sandbox-engine, with the same kind of suite.
    fn other(&self, tool: &Path, state: &Path) -> Result<f64> {
        const TESTS: usize = 5;
        let suite = state.join("other.yaml");
        fs::write(&suite, rulesets(TESTS))?;
        let begun = Instant::now();
        let ran = Command::new(tool).arg("--file").arg(&suite).current_dir(state).output()?;
        let taken = begun.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        ensure!(said.contains(&format!("{TESTS} passed, 0 failed")), "it judged nothing: {said}");
        Ok(TESTS as f64 / taken)
    }
}

/// MiB of a worker: its process, and what it started.
struct Memory {
    now: f64,
    most: f64,
}

/// RSS of a process and all below it, now and at most.
fn memory(pid: u32) -> Result<Memory> {
    let mut sum = Memory { now: 0.0, most: 0.0 };
    let mut todo = vec![pid];
    while let Some(pid) = todo.pop() {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        sum.now += field("VmRSS:");
        sum.most += field("VmHWM:");
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        todo.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(sum)
}
