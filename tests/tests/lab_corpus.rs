//! Rulesets that people run: each loads in the engine as `nft -f` loads it, or fails with nft's own message at the same line and column, and
//! what `nft list ruleset` prints afterwards is equal. Those that programs generate were made by tests/scripts/lab-corpus.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use netengine_lab::{
    client::Rootless,
    isolate::Boundary,
    nft::{Answer, Mode, Nft},
    text::prepare,
    tracer::TRACER,
};
use netengine_lab_proto::{CaseLimits, CaseRequest, CaseResult, RulesetText, Topology};
use netengine_proto::bounded::Bounded;
use netengine_tests::report::nft_words;
use nix::sched::{CloneFlags, unshare};

/// Where the built programs are.
fn bin() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_host-init")).parent().expect("a directory")
}

/// nft(8) of the host in a network namespace of its own that has the gateway's links, and what it lists afterwards, with handles.
fn nft(text: &str) -> (Output, String) {
    let links = "ip link add eth0 type veth peer name far0 && ip link add eth1 type veth peer name far1";
    let script = format!("{links} && nft -f -; status=$?; nft -a list ruleset >&3; exit $status");
    let listing = tempfile::NamedTempFile::new().expect("a file");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &format!("{{ {script}; }} 3>{}", listing.path().display())]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare, ip and nft run");
    let mut input = child.stdin.take().expect("piped");
    let text = text.to_owned();
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads everything");
    (output, fs::read_to_string(listing.path()).expect("a listing"))
}

/// What nft says is wrong: message, line and column.
fn complaints(text: &str) -> BTreeSet<(String, u32, u32)> {
    let complaint = |line: &str| {
        let (place, message) = line.split_once(": Error: ")?;
        let mut parts = place.rsplit(':');
        let column = parts.next()?.split('-').next()?.parse().ok()?;
        Some((message.trim().to_owned(), parts.next()?.parse().ok()?, column))
    };
    text.lines().filter_map(complaint).collect()
}

/// The engine's reader of rulesets, as the worker runs it, in a network namespace of this thread.
fn reader(text: &str) -> Answer {
    let program = bin().join("netengine-nft");
    let text = text.to_owned();
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may");
        let links = "link add eth0 type veth peer name far0\nlink add eth1 type veth peer name far1\n";
        let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip runs");
        ip.stdin.take().expect("piped").write_all(links.as_bytes()).expect("it reads");
        assert!(ip.wait().expect("it ends").success());
        let namespace = File::open("/proc/thread-self/ns/net").expect("a namespace");
        let mut nft = Nft::start(&program, Boundary::User).expect("it starts");
        nft.limit().expect("it limits itself");
        let prepared = prepare(&text, TRACER).expect("nothing to refuse");
        match nft.run(Mode::Load, namespace.as_fd(), &prepared.text).expect("it answers") {
            Answer::Done(_) => nft.run(Mode::List, namespace.as_fd(), "").expect("it answers"),
            refused => refused,
        }
    };
    thread::spawn(run).join().expect("no panic")
}

fn corpus() -> Vec<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/lab/corpus");
    let mut files = Vec::new();
    for directory in [made.as_path(), Path::new("/usr/share/doc/nftables/examples")] {
        let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        files.extend(
            entries
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|end| end == "nft")),
        );
    }
    files.push("/etc/nftables.conf".into());
    files.sort();
    files
}

#[test]
fn rulesets_that_people_run_load_as_nft_loads_them_or_fail_as_it_fails() {
    let bin = bin();
    let mut worker = Rootless::start(&bin.join("netengine-lab"), &bin.join("netengine-nft"), 0).expect("starts");
    let (mut loaded, mut refused, mut includes) = (Vec::new(), Vec::new(), Vec::new());
    for file in corpus() {
        let text = fs::read_to_string(&file).expect("readable");
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let request = CaseRequest {
            topology: Topology::gateway(),
            ruleset: RulesetText::new(text.clone()).expect("fits"),
            beside: Bounded::default(),
            packets: Bounded::default(),
            limits: CaseLimits::default(),
        };
        let ours = worker.run(&request).expect("the worker answers");
        if let Some(line) = text.lines().position(|line| line.starts_with("include")) {
            let CaseResult::LoadFailed(errors) = ours else { panic!("{name}: {ours:?}") };
            assert_eq!(
                (errors[0].line, errors[0].message.contains("include is refused")),
                (Some(line as u32 + 1), true),
                "{name}"
            );
            includes.push(name);
            continue;
        }
        let (output, listing) = nft(&text);
        let messages = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            assert!(matches!(ours, CaseResult::Judged(_)), "{name}: {ours:?}");
            assert!(
                !listing.trim().is_empty() || text.lines().all(|line| line.starts_with('#') || line.trim().is_empty()),
                "{name}"
            );
            assert_eq!(reader(&text), Answer::Done(listing), "{name}");
            loaded.push(name);
        } else {
            let CaseResult::LoadFailed(errors) = ours else { panic!("{name}: nft refuses it: {messages}\n{ours:?}") };
            let ours: BTreeSet<_> = errors
                .iter()
                .map(|e| (nft_words(&e.message).to_owned(), e.line.unwrap_or(0), e.column.unwrap_or(0)))
                .collect();
            let theirs = complaints(&messages);
            assert!(!theirs.is_empty(), "{name}: {messages}");
            assert_eq!(ours, theirs, "{name}: {messages}");
            refused
                .push(format!("{name} ({})", theirs.first().map(|complaint| complaint.0.as_str()).unwrap_or_default()));
        }
    }
    println!(
        "loaded and listed as nft does: {loaded:?}\nrefused as nft does: {refused:?}\ninclude refused: {includes:?}"
    );
    for program in
        ["firewalld.nft", "ferm.nft", "iptables-nft.nft", "nftables.conf", "inet-filter.nft", "workstation.nft"]
    {
        assert!(loaded.iter().any(|name| name == program), "{program}");
    }
    // What iptables-nft keeps as extensions of xtables nft prints, but does not read: "xt match".
    for program in ["ufw.nft", "shorewall.nft", "iptables-nft-compat.nft"] {
        assert!(refused.iter().any(|name| name.starts_with(program)), "{program}");
    }
}
