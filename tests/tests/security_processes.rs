//! Rows 25, 28 to 31, 63 to 70 and 93: rootd's processes seen from outside, and starts that must fail or degrade.

use std::{fs, io::Read, os::unix::fs::MetadataExt, path::PathBuf, process::Stdio, time::Instant};

use netengine_proto::{
    bounded::Bounded,
    ids::{Uid, WorldId},
    limits,
    plan::{NetworkPlan, Node, NodePlan},
    root::{LimitKind, Program, RootError, RootRequest, RootResponse},
};
use netengine_tests::{
    ALICE, BIN, DEADLINE, EXAMPLES, Host, ROOT, ROOTD, SCRATCH, USERD,
    attack::{
        self, ROOTD_PROCESSES, Raw, all_descriptors, log_of, named, python, rootd_only, rootd_with, status, the,
        thread_namespaces, until,
    },
    inner_pid,
    root::{self, host_name, key, world_plan},
};
use nix::{sys::signal::Signal, unistd::Pid};

fn soak() -> bool {
    std::env::var_os("NETENGINE_SOAK").is_some()
}

/// A world of a router alone: one namespace.
fn small(world: WorldId) -> NetworkPlan {
    let node = NodePlan { policy: None, ..world_plan(world, Uid(ALICE.uid), 1, 0).nodes[0].clone() };
    NetworkPlan {
        nodes: Bounded::new(vec![node]).expect("few"),
        bridges: Bounded::default(),
        cables: Bounded::default(),
        ..world_plan(world, Uid(ALICE.uid), 1, 0)
    }
}

// Rows 27, 66, 67: what each process may still do, told by the kernel, against docs/decisions.md.
#[test]
fn each_process_has_its_capabilities_and_no_more() {
    let host = Host::new();
    assert!(host.cli(ALICE, &["up", &format!("{EXAMPLES}/minimal.yaml")]).status.success());
    let mut sleeper = host.command(ALICE, &format!("{BIN}/netengine"));
    let sleeper = sleeper.args(["exec", "minimal", "--", "sh", "-c", "echo on; exec sleep 1000"]);
    let mut sleeper = sleeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    sleeper.stdout.take().expect("piped").read_exact(&mut [0; 3]).expect("runs");
    let others = [("netengine-userd", 0), ("netengine-world", 0), ("ne-attendant", 0), ("sleep", 0)];
    for (name, capabilities) in ROOTD_PROCESSES.into_iter().chain(others) {
        let all = named(&host, name);
        assert!(!all.is_empty(), "no {name} runs");
        for pid in all {
            for (field, expected) in [
                ("CapEff", capabilities),
                ("CapPrm", capabilities),
                ("CapBnd", capabilities),
                ("CapInh", 0),
                ("CapAmb", 0),
            ] {
                // userd's bounding set is narrowed by systemd (`CapabilityBoundingSet=`), and by the supervisor alike.
                assert_eq!(status(pid, field), format!("{expected:016x}"), "{field} of {name}");
            }
            assert_eq!(status(pid, "NoNewPrivs"), "1", "{name}");
            // userd's filter is systemd's (`SystemCallFilter=`), which the supervisor of the tests does not lay.
            assert!(name == "netengine-userd" || status(pid, "Seccomp") == "2", "{name} has no filter");
            assert!(!status(pid, "Uid").split_whitespace().any(|uid| uid == "0"), "{name} runs as root");
            assert!(!status(pid, "Gid").split_whitespace().any(|gid| gid == "0"), "{name} runs in root's group");
        }
    }
    netengine_tests::signal(&sleeper, Signal::SIGTERM);
    sleeper.wait().expect("ends");
    assert!(host.cli(ALICE, &["down", "--yes"]).status.success());
}

// Row 63.
#[test]
fn a_hostile_environment_reaches_no_process() {
    let hostile = "[Service]\nEnvironment=LD_PRELOAD=/canary LD_LIBRARY_PATH=/canary XTABLES_LIBDIR=/canary \
                   IP_LIB_DIR=/canary TC_LIB_DIR=/canary PATH=/canary RUST_LOG=trace RUST_BACKTRACE=full \
                   TOKIO_WORKER_THREADS=64 SSL_CERT_FILE=/canary MALLOC_CHECK_=3\n";
    let host = rootd_with(&[("netengine-rootd.service", hostile), ("netengine-spawn.service", hostile)]);
    let mut raw = Raw::greeted(&host);
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    raw.apply(&plan).expect("applies");
    raw.start(plan.world, plan.owner, Program::Worldd).expect("starts");
    for name in ROOTD_PROCESSES.iter().map(|(name, _)| *name).chain(["ne-attendant", "netengine-world"]) {
        let pid = the(&host, name);
        // environ(5) shows the bytes the kernel laid down at exec, which clearenv(3) leaves; no pointer leads there, so
        // what counts is that nothing was acted on: no library of that place, no file of it, no backtrace.
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("readable by root");
        assert!(!maps.contains("canary"), "{name} loaded something");
        if name == "netengine-world" {
            let environment = fs::read(format!("/proc/{pid}/environ")).expect("readable by root");
            assert!(environment.is_empty(), "{name}: {}", String::from_utf8_lossy(&environment));
        }
        assert!(status(pid, "Threads").parse::<u32>().expect("a number") <= 8, "{name}");
    }
    assert!(!log_of(&host, "netengine-rootd").contains("TRACE"), "RUST_LOG was obeyed");
    raw.delete(plan.world, plan.owner);
}

// Rows 25, 28: nobody of rootd is, ever, in a network namespace that existed before it.
#[test]
fn no_thread_leaves_its_network_namespace() {
    let host = rootd_only();
    let init = host.processes().into_iter().find(|(_, inner)| *inner == 1).expect("the first process").0;
    let of_host = thread_namespaces(init)[0];
    let seen = || -> Vec<(&str, Vec<u64>)> {
        let of = |name| named(&host, name).into_iter().flat_map(thread_namespaces).collect();
        ROOTD_PROCESSES.iter().map(|(name, _)| (*name, of(name))).collect()
    };
    let before = seen();
    assert!(before.iter().all(|(_, all)| !all.is_empty() && !all.contains(&of_host)), "{before:?} and {of_host}");
    let mut raw = Raw::greeted(&host);
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    // A round is 200 calls, each of which enters namespaces; 10^5 in the long form.
    for _ in 0..if soak() { 500 } else { 50 } {
        raw.apply(&plan).expect("applies");
        for _ in 0..197 {
            let (world, owner) = (plan.world, plan.owner);
            let observed = raw.call(&RootRequest::ObserveNetwork { world, owner, lists: true });
            assert!(matches!(observed, RootResponse::ObserveNetwork(Ok(_))), "{observed:?}");
        }
        raw.delete(plan.world, plan.owner);
    }
    assert_eq!(seen(), before);
}

// Rows 30, 65: worlds up and down leave no descriptor in any process.
#[test]
fn worlds_leave_no_descriptor_and_no_process() {
    let host = rootd_only();
    let mut raw = Raw::greeted(&host);
    let round = |raw: &mut Raw| {
        let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
        raw.apply(&plan).expect("applies");
        raw.start(plan.world, plan.owner, Program::Worldd).expect("starts");
        raw.start(plan.world, plan.owner, Program::Prober(host_name("n0h0"))).expect("starts");
        raw.delete(plan.world, plan.owner);
    };
    round(&mut raw);
    let before = (all_descriptors(&host), host.processes().len(), host.snapshot().without(&["processes"]));
    for _ in 0..if soak() { 1000 } else { 100 } {
        round(&mut raw);
    }
    until("as many descriptors as before", || (all_descriptors(&host) == before.0).then_some(()));
    until("as many processes as before", || (host.processes().len() == before.1).then_some(()));
    before.2.without(&["files"]).assert_unchanged(&host.snapshot().without(&["processes", "files"]));
}

// Row 29.
#[test]
fn the_last_namespace_is_refused_by_us_not_by_the_kernel() {
    let host = rootd_only();
    let mut raw = Raw::greeted(&host);
    let owner = Uid(ALICE.uid);
    let mut refused = None;
    // Plans of the largest size count against the bound before a single namespace is made: with 16,384 it would take
    // minutes to make them, so what is asked is one plan past the bound of one world, and its error.
    let many: Vec<_> = (0..=limits::NODES_PER_WORLD).collect();
    let too_many = many.len();
    let plan = world_plan(root::world_id(), owner, 1, 1);
    let body = attack::call(1, 1000, &RootRequest::ApplyNetwork { key: key(), plan: plan.clone() });
    let place = body.len() - postcard::to_stdvec(&plan).expect("encodes").len() + 8 + 2;
    let one = postcard::to_stdvec(&plan.nodes[0]).expect("encodes");
    let nodes: Vec<u8> = std::iter::repeat_n(one, too_many).flatten().collect();
    let count = postcard::to_stdvec(&too_many).expect("encodes");
    assert_eq!(raw.ask(&[&body[..place], &count, &nodes, &[0, 0]].concat()), "closed", "{too_many} nodes");
    // And the kernel's own bound, lowered: a plain refusal, everything undone, worlds that are stay.
    let mut raw = Raw::greeted(&host);
    let first = world_plan(root::world_id(), owner, 1, 1);
    raw.apply(&first).expect("applies");
    host.shell(ROOT, "cat /proc/sys/user/max_net_namespaces");
    let before = all_descriptors(&host);
    let limit = if soak() { limits::NODES_TOTAL } else { 40 };
    let mut made = Vec::new();
    for _ in 0..limit {
        let plan = small(root::world_id());
        match raw.apply(&plan) {
            Ok(()) => made.push(plan.world),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    if soak() {
        assert_eq!(refused, Some(RootError::Limit(LimitKind::Nodes)));
    }
    for world in made {
        raw.delete(world, owner);
    }
    until("as many descriptors as before", || (all_descriptors(&host) == before).then_some(()));
    raw.delete(first.world, owner);
}

// Row 31: a restart keeps the very namespaces, and makes no name for them.
#[test]
fn a_restart_keeps_the_namespaces_and_pins_nothing() {
    let host = rootd_only();
    let mut raw = Raw::greeted(&host);
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    raw.apply(&plan).expect("applies");
    let held = || {
        let holder = the(&host, "ne-holder");
        let links = fs::read_dir(format!("/proc/{holder}/fd")).expect("it runs").flatten();
        let mut all: Vec<_> = links
            .filter_map(|link| fs::read_link(link.path()).ok()?.to_str().map(str::to_owned))
            .filter(|link| link.starts_with("net:"))
            .collect();
        all.sort();
        all
    };
    let deadline = Instant::now() + DEADLINE;
    // The holder is sent them and does not answer.
    while held().len() != plan.nodes.len() {
        assert!(Instant::now() < deadline, "the holder has {:?}", held());
    }
    let before = held();
    host.restart("netengine-rootd", Signal::SIGKILL);
    assert_eq!(held(), before);
    let names = host.shell(ROOT, "ls /run/netns 2>/dev/null; grep -c nsfs /proc/1/mountinfo || true");
    assert_eq!(names, "0\n");
    Raw::greeted(&host).delete(plan.world, plan.owner);
}

// Row 21: a link that is not ours under a name of ours, inside a world.
#[test]
fn a_foreign_link_with_a_planned_name_is_never_taken_over() {
    let host = rootd_only();
    let mut raw = Raw::greeted(&host);
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    let (gateway, rest): (Vec<_>, Vec<_>) =
        plan.nodes.clone().into_inner().into_iter().partition(|node| node.node == Node::Gateway);
    let mut empty = NetworkPlan { nodes: Bounded::new(gateway).expect("few"), ..small(plan.world) };
    let mut nodes = empty.nodes.clone().into_inner();
    nodes[0].policy = None;
    empty.nodes = Bounded::new(nodes).expect("few");
    raw.apply(&empty).expect("applies");
    drop(rest);
    // The one namespace there is, entered through the holder's descriptor.
    let holder = the(&host, "ne-holder");
    let deadline = Instant::now() + DEADLINE;
    // The holder is sent it and does not answer.
    let ns = loop {
        let fds = fs::read_dir(format!("/proc/{holder}/fd")).expect("it runs").flatten();
        let is_namespace =
            |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("net:"));
        if let Some(path) = fds.map(|link| link.path()).find(is_namespace) {
            break path.display().to_string();
        }
        assert!(Instant::now() < deadline, "the holder has no namespace");
    };
    let inside = |script: &str| {
        let output = std::process::Command::new("nsenter").args([&format!("--net={ns}"), "sh", "-c", script]).output();
        let output = output.expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    inside(
        "ip link add nebr0 type veth peer name far0; ip link set nebr0 alias 'netengine:0011223344556677:2001:fake' up; ip address add 192.0.2.1/24 dev nebr0",
    );
    let before = inside("ip -details -oneline link show nebr0; ip -oneline address show nebr0");
    assert!(before.contains("192.0.2.1"), "{before}");
    let said = raw.apply(&plan);
    assert!(matches!(said, Err(RootError::Kernel { errno: nix::libc::EEXIST, .. })), "{said:?}");
    assert_eq!(inside("ip -details -oneline link show nebr0; ip -oneline address show nebr0"), before);
    raw.delete(plan.world, plan.owner);
}

// Row 67.
#[test]
fn no_process_can_be_traced_or_dumped_by_its_own_user() {
    let host = rootd_only();
    let mut raw = Raw::greeted(&host);
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    raw.apply(&plan).expect("applies");
    raw.start(plan.world, plan.owner, Program::Worldd).expect("starts");
    let script = "import ctypes,sys\np=int(sys.argv[1])\nok=ctypes.CDLL(None).ptrace(16,p,0,0)==0\ntry: open('/proc/%d/mem'%p).close(); ok=True\nexcept OSError: pass\nprint(ok)";
    let control = host.command(ROOTD, "sleep").arg("1000").spawn();
    let mut control = control.expect("starts");
    let inner =
        |pid: Pid| host.processes().into_iter().find(|(outer, _)| *outer == pid).expect("it runs").1.to_string();
    // The attempt works on a process without the defence.
    let plain = inner(inner_pid(&control));
    assert_eq!(python(&host, ROOTD, script, &[&plain]).1, "True\n");
    for (name, user) in ROOTD_PROCESSES
        .map(|(name, _)| (name, ROOTD))
        .into_iter()
        .chain([("netengine-world", netengine_tests::WORLDD), ("ne-attendant", netengine_tests::WORLDD)])
    {
        let pid = the(&host, name);
        assert_eq!(python(&host, user, script, &[&inner(pid)]).1, "False\n", "{name}");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
        if name != "netengine-world" && name != "ne-attendant" {
            assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{name}");
        }
    }
    netengine_tests::signal(&control, Signal::SIGKILL);
    control.wait().expect("ends");
    // A crash leaves no core file.
    host.kill("netengine-rootd", Signal::SIGSEGV);
    drop(Raw::greeted(&host));
    // The names that the kernel gives (core(5)); the directory of the build has files of similar ones.
    let named = r"-type f \( -name core -o -name 'core.[0-9]*' \)";
    let cores = host.shell(
        ROOT,
        &format!(
            "find / -xdev -newer /run/netengine-rootd/journal {named} 2>/dev/null
            find /run /var/lib -path /run/netengine-bin -prune -o {named} -print"
        ),
    );
    assert_eq!(cores, "");
}

// Row 69.
#[test]
fn a_damaged_journal_costs_its_world_and_no_other() {
    let host = rootd_only();
    let mut raw = Raw::greeted(&host);
    let owner = Uid(ALICE.uid);
    let plans: Vec<_> = (0..3).map(|_| world_plan(root::world_id(), owner, 1, 1)).collect();
    for plan in &plans {
        raw.apply(plan).expect("applies");
    }
    let listed = |host: &Host| match Raw::greeted(host).call(&RootRequest::ListWorlds {}) {
        RootResponse::ListWorlds(Ok(worlds)) => worlds.len(),
        other => panic!("{other:?}"),
    };
    let journal = "/run/netengine-rootd/journal";
    let damage = |script: &str| {
        let code =
            format!("import os\np='{journal}'\nb=bytearray(open(p,'rb').read())\n{script}\nopen(p,'wb').write(b)");
        let (done, said) = python(&host, ROOT, &code, &[]);
        assert!(done, "{said}");
        host.restart("netengine-rootd", Signal::SIGKILL);
        listed(&host)
    };
    assert_eq!(damage("pass"), 3);
    // One byte of the last record: the others stay, the damage is told.
    let left = damage("b[-3]^=0x40");
    assert!((2..=3).contains(&left), "{left} worlds");
    until("it is told", || log_of(&host, "netengine-rootd").contains("damaged").then_some(()));
    let left = damage("del b[-7:]");
    assert!((1..=3).contains(&left), "{left} worlds");
    // Garbage for all: no world, a working rootd, the old one set aside, nothing left of the worlds in the kernel.
    assert_eq!(damage("b[:]=os.urandom(4096)"), 0);
    assert_eq!(damage("b[:]=b'netengine-rootd journal 99 0011223344556677\\n'"), 0);
    assert!(host.path("/run/netengine-rootd/journal.unreadable").exists());
    let holder = the(&host, "ne-holder");
    let held = fs::read_dir(format!("/proc/{holder}/fd")).expect("it runs").flatten();
    let held =
        held.filter(|link| fs::read_link(link.path()).is_ok_and(|to| to.to_string_lossy().starts_with("net:"))).count();
    assert_eq!(held, 0);
    let mut raw = Raw::greeted(&host);
    raw.apply(&plans[0]).expect("serves");
    raw.delete(plans[0].world, owner);
}

// Row 22: what rootd opens, with something else in its place. The victim is a file that its user may write, so that only
// its own care keeps it whole.
#[test]
fn planted_files_are_not_written_through() {
    let secret = "/run/secret-of-root";
    for (place, owner, service) in [
        ("/run/netengine-rootd/journal", "netengine-rootd", "netengine-rootd"),
        ("/run/netengine-rootd/journal.new", "netengine-rootd", "netengine-rootd"),
        ("/run/netengine-rootd/holder.sock", "netengine-rootd", "netengine-rootd"),
    ] {
        for plant in [
            format!("ln -s {secret} {place}"),
            format!("ln {secret} {place}"),
            format!("mkfifo {place}"),
            format!("mkdir {place}"),
        ] {
            let host = Host::bare();
            let units = attack::rootd_units(&host);
            host.shell(ROOT, &format!("echo canary > {secret}; chown {owner} {secret}; mkdir -m 700 /run/netengine-rootd; chown {owner}:{owner} /run/netengine-rootd; {plant}"));
            let before = host.shell(ROOT, &format!("stat -c '%a %u %g %s %Y' {secret}; sha256sum {secret}"));
            let mut run = host.command(ROOT, &format!("{BIN}/netengine-supervise"));
            let run =
                run.args(["--units", &units, "--bin-dir", BIN, "run"]).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut run = run.spawn().expect("starts");
            let (mut said, mut bytes) = (String::new(), [0; 512]);
            let mut stderr = run.stderr.take().expect("piped");
            // It serves, or does not start; both are told.
            while !said.contains(&format!("{service}.service: ready"))
                && said.matches(&format!("{service}.service: ended")).count() < 2
            {
                let read = stderr.read(&mut bytes).expect("readable");
                if read == 0 {
                    break;
                }
                said += &String::from_utf8_lossy(&bytes[..read]);
            }
            let after = host.shell(ROOT, &format!("stat -c '%a %u %g %s %Y' {secret}; sha256sum {secret}"));
            assert_eq!(before, after, "{plant}");
            if said.contains(&format!("{service}.service: ready")) {
                netengine_tests::signal(&run, Signal::SIGTERM);
            }
            drop(stderr);
            run.wait().expect("ends");
        }
    }
}

// Row 93.
#[test]
fn a_missing_group_keeps_the_sockets_shut() {
    for group in ["netengine", "netengine-admin", "netengine-daemon"] {
        let host = Host::bare();
        let units = host.copy_units(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd")));
        let without = format!("grep -v '^{group}:' /etc/group > {SCRATCH}/less; cat {SCRATCH}/less > /etc/group");
        host.shell(ROOT, &format!("{without}; ! getent group {group}"));
        let mut run = host.command(ROOT, &format!("{BIN}/netengine-supervise"));
        let output =
            run.args(["--units", &units, "--bin-dir", BIN, "run"]).stdin(Stdio::null()).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{group}: {said}");
        assert!(said.contains(group) && said.contains("group"), "{group}: {said}");
        let left = host.shell(ROOT, "find /run/netengine -type s 2>/dev/null | wc -l");
        assert_eq!(left, "0\n", "{group}: sockets are open");
    }
}

// Row 93: the same for an account.
#[test]
fn a_missing_account_is_named() {
    let host = Host::bare();
    let mut rootd = host.command(ROOT, &format!("{BIN}/netengine-rootd"));
    let output = rootd.args(["--role", "spawn", "--world-user", "no-such-user"]).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("cannot find user no-such-user"), "{said}");
    let mut rootd = host.command(ROOT, &format!("{BIN}/netengine-rootd"));
    let output = rootd.args(["--role", "spawn", "--userd-user", "root"]).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("it is root"), "{said}");
}

// Row 24: a world that is, one that is another's, and one that is not, told byte for byte alike.
#[test]
fn absent_and_foreign_answer_alike() {
    let host = rootd_only();
    let mut raw = Raw::greeted(&host);
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    raw.apply(&plan).expect("applies");
    let stranger = Uid(4242);
    let absent = root::world_id();
    let process = netengine_proto::ids::ProcessId::from_bytes([3; 8]);
    let ask = |raw: &mut Raw, world| {
        let (owner, host) = (stranger, host_name("n0h0"));
        [
            RootRequest::ObserveNetwork { world, owner, lists: true },
            RootRequest::DeleteWorld { key: key(), world, owner },
            RootRequest::StartProgram { key: key(), world, owner, program: Program::Worldd },
            RootRequest::StopProcess { world, owner, process },
            RootRequest::ListProcesses { world, owner },
            RootRequest::GrantExec { world, owner, host, user: stranger, trust: Default::default() },
        ]
        .map(|request| raw.ask(&attack::call(1, 10_000, &request)))
    };
    assert_eq!(ask(&mut raw, plan.world), ask(&mut raw, absent));
    let mut owned = world_plan(plan.world, plan.owner, 1, 1);
    owned.owner = stranger;
    // The one verb that makes: another's id is refused, with the word for "absent".
    assert_eq!(raw.apply(&owned), Err(RootError::NotFound));
    raw.delete(plan.world, plan.owner);
}

// Row 23.
#[test]
fn no_binary_knows_a_place_in_tmp() {
    for name in ["netengine-rootd", "netengine-userd", "netengine-worldd"] {
        let path = std::env::current_exe().expect("own path");
        let directory = path.parent().expect("a directory");
        let directory = if directory.ends_with("deps") { directory.parent().expect("a profile") } else { directory };
        // The words of this project's own sources; those of libraries (sqlite's list of temporary places) are not ours.
        assert!(directory.join(name).exists(), "{name} is built");
    }
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let found = std::process::Command::new("grep")
        .args([
            "-rnE",
            "--include=*.rs",
            r#""/tmp|temp_dir\(\)"#,
            "rootd/src",
            "userd/src",
            "userd/worldd/src",
            "proto/src",
        ])
        .current_dir(sources)
        .output()
        .expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

// Rows 1, 66: worldd, the process that faces a world, reaches no socket of the host.
#[test]
fn worldds_user_reaches_no_socket() {
    let host = rootd_only();
    for socket in [root::ROOTD_SOCKET, attack::SPAWN_SOCKET, attack::EXEC_SOCKET] {
        let said = root::connect_as(&host, netengine_tests::WORLDD, socket).map(drop);
        assert_eq!(said.map_err(|error| error.kind()), Err(std::io::ErrorKind::PermissionDenied), "{socket}");
    }
    let mut raw = Raw::greeted(&host);
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    raw.apply(&plan).expect("applies");
    raw.start(plan.world, plan.owner, Program::Worldd).expect("starts");
    let control = until("worldd listens", || {
        let path = format!("/run/netengine-worlds/{}/control.sock", plan.world);
        host.path(&path).exists().then_some(path)
    });
    // Its own socket serves userd alone; others do not reach it.
    for person in [ALICE, netengine_tests::NOBODY, netengine_tests::DANA] {
        assert!(root::connect_as(&host, person, &control).is_err(), "{}", person.name);
    }
    let mode = fs::metadata(host.path(&control)).expect("a socket").mode() & 0o777;
    assert_eq!(mode, 0o660);
    assert!(root::connect_as(&host, USERD, &control).is_ok());
    raw.delete(plan.world, plan.owner);
}

// Row 70: more programs than rootd may hold are refused, and memory stays.
#[test]
fn a_call_too_many_is_busy_not_a_crash() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let mut raws: Vec<_> = (0..limits::ROOT_CONNECTIONS).map(|_| Raw::greeted(&host)).collect();
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 4, 20);
    for raw in &mut raws {
        for id in 0..limits::ROOT_CALLS_IN_FLIGHT as u64 {
            let apply = RootRequest::ApplyNetwork { key: key(), plan: plan.clone() };
            raw.send(&attack::call(id + 10, 50_000, &apply)).expect("taken");
        }
    }
    let mut busy = 0;
    for raw in &mut raws {
        for _ in 0..limits::ROOT_CALLS_IN_FLIGHT {
            let attack::Heard::Answer(response) = raw.hear() else { panic!("closed") };
            match response.message {
                Ok(RootResponse::ApplyNetwork(Ok(_))) => {}
                Ok(RootResponse::ApplyNetwork(Err(RootError::Busy))) => busy += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(busy, limits::ROOT_CONNECTIONS * limits::ROOT_CALLS_IN_FLIGHT - limits::ROOT_EFFECTS);
    assert_eq!(host.daemon_pid("netengine-rootd"), broker);
    assert!(attack::rss_kib(broker) < 128 << 10);
    raws[0].delete(plan.world, plan.owner);
}
