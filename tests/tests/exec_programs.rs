//! The programs that rootd starts for a world, and what it removes of them: a stand-in for worldd tells what it was given, and
//! leaves behind what a hostile one would.

use std::{fs, os::unix::fs::MetadataExt};

use netengine_proto::{
    bounded::Bounded,
    ended::Ended,
    ids::{ProcessId, Uid, WorldId},
    plan::{NetworkPlan, Node},
    root::{
        HeldProcess, ObjectKind, ObjectName, ProcessKind, Program, RootError, RootEvent, RootRequest, RootResponse,
    },
};
use netengine_tests::{
    ALICE, BOB, Host, ROOT, WORLDD,
    attack::{Raw, named, rootd_with, status, until},
    root::{self, host_name, key, world_plan},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const RUN: &str = "/run/netengine-worlds";
const STATE: &str = "/var/lib/netengine-worlds";
const OWNER: Uid = Uid(ALICE.uid);

/// Notes what it was given in the run directory, in one step, and waits; what it does is what worldd needs to be able to.
const STAND_IN: &str = r#"#!/usr/bin/python3 -I
import fcntl,json,mmap,os,socket,sqlite3,sys,threading
args=sys.argv[1:]; role=args[args.index('--role')+1]
facts={'arguments':args,'directory':os.getcwd(),'environment':dict(os.environ),'failed':[]}
def attempt(name,act):
    try: act()
    except Exception as error: facts['failed'].append('%s: %r'%(name,error))
def listen(port):
    for family,address in ((socket.AF_INET,'0.0.0.0'),(socket.AF_INET6,'::')):
        for kind in (socket.SOCK_STREAM,socket.SOCK_DGRAM):
            s=socket.socket(family,kind)
            if family==socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_V6ONLY,1)
            s.bind((address,port)); kept.append(s)
def thread():
    t=threading.Thread(target=lambda: None); t.start(); t.join()
def store(directory):
    place=os.path.join(directory,role+'.db')
    d=sqlite3.connect(place); d.execute('pragma journal_mode=wal'); d.execute('pragma mmap_size=1048576')
    d.execute('create table if not exists t(x)'); d.execute('insert into t values(1)'); d.commit()
    facts['rows']=d.execute('select count(*) from t').fetchone()[0]; d.close()
    with open(place+'.plain','w+b') as f:
        fcntl.flock(f,fcntl.LOCK_EX); fcntl.lockf(f,fcntl.LOCK_EX); os.ftruncate(f.fileno(),4096)
        os.pwrite(f.fileno(),b'x',9); os.pread(f.fileno(),1,9); os.fdatasync(f.fileno())
        mmap.mmap(f.fileno(),4096).close()
kept=[]
for port in (53,443,853): attempt('port %d'%port,lambda: listen(port))
attempt('a thread',thread)
attempt('files in the run directory',lambda: store('.'))
if '--data' in args: attempt('files in the data directory',lambda: store(args[args.index('--data')+1]))
with open('facts.new','w') as f: json.dump(facts,f)
os.rename('facts.new',role+'.facts')
threading.Event().wait()
"#;

/// A host whose worlds run the stand-in, and a connection to its rootd.
fn host() -> (Host, Raw) {
    let place = format!("{}/stand-in", netengine_tests::SCRATCH);
    let command = "/usr/lib/netengine/netengine-rootd --role spawn --worldd";
    let drop_in = format!("[Service]\nExecStart=\nExecStart={command} {place}\n");
    let host = rootd_with(&[("netengine-spawn.service", &drop_in)]);
    host.file("stand-in", STAND_IN);
    host.shell(ROOT, &format!("chmod 755 {place}"));
    let raw = Raw::greeted(&host);
    (host, raw)
}

fn booted(raw: &mut Raw) -> NetworkPlan {
    let plan = world_plan(root::world_id(), OWNER, 1, 1);
    raw.apply(&plan).expect("applies");
    plan
}

/// What a program of a world was given; waits until it has told.
fn facts(host: &Host, world: WorldId, role: &str) -> serde_json::Value {
    let path = host.path(&format!("{RUN}/{world}/{role}.facts"));
    let text = until("the program runs", || fs::read_to_string(&path).ok());
    fs::remove_file(path).expect("removed");
    serde_json::from_str(&text).expect("facts")
}

fn processes(raw: &mut Raw, world: WorldId) -> Vec<HeldProcess> {
    match raw.call(&RootRequest::ListProcesses { world, owner: OWNER }) {
        RootResponse::ListProcesses(Ok(all)) => all,
        other => panic!("{other:?}"),
    }
}

fn stop(raw: &mut Raw, world: WorldId, process: ProcessId) {
    let said = raw.call(&RootRequest::StopProcess { world, owner: OWNER, process });
    assert!(matches!(said, RootResponse::StopProcess(Ok(()))), "{said:?}");
}

fn delete(raw: &mut Raw, world: WorldId) -> Vec<ObjectName> {
    match raw.call(&RootRequest::DeleteWorld { key: key(), world, owner: OWNER }) {
        RootResponse::DeleteWorld(Ok(deleted)) => deleted.removed,
        other => panic!("{other:?}"),
    }
}

/// The process of the stand-in with a role, as this machine counts.
fn running(host: &Host, role: &str) -> Vec<Pid> {
    let is = |pid: &Pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&format!("stand-in\0--role\0{role}\0"))
    };
    host.processes().into_iter().map(|(pid, _)| pid).filter(is).collect()
}

// Row 66, and the gateway's program end to end: start, list, adoption, end, stop.
#[test]
fn the_gateways_program_runs_once_in_the_router_without_capability() {
    let (host, mut raw) = host();
    let plan = booted(&mut raw);
    let world = plan.world;
    for (world, owner) in [(world, Uid(BOB.uid)), (root::world_id(), OWNER)] {
        assert_eq!(raw.start(world, owner, Program::Gateway), Err(RootError::NotFound));
    }
    let id = raw.start(world, OWNER, Program::Gateway).expect("starts");
    let told = facts(&host, world, "gateway");
    assert_eq!(
        told["arguments"],
        serde_json::json!(["--role", "gateway", "--world", world.to_string(), "--peer-uid", "802"])
    );
    assert_eq!(told["directory"], format!("{RUN}/{world}"));
    assert_eq!(told["failed"], serde_json::json!([]), "ports below 1024, threads and files are its own");
    assert!(!host.path(&format!("{STATE}/{world}")).exists(), "it keeps nothing");
    let [pid] = running(&host, "gateway")[..] else { panic!("one process") };
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        assert_eq!(status(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(status(pid, "Uid").split_whitespace().collect::<Vec<_>>(), ["803"; 4]);
    assert_eq!((status(pid, "Seccomp"), status(pid, "NoNewPrivs")), ("2".into(), "1".into()));
    let links = fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("it runs");
    assert!(links.contains("nebr0:") && !links.contains("nesv0:"), "the router's namespace: {links}");

    // A second one is the first, for another call and for another rootd.
    assert_eq!(raw.start(world, OWNER, Program::Gateway), Ok(id));
    host.restart("netengine-rootd", Signal::SIGKILL);
    let mut raw = Raw::greeted(&host);
    assert_eq!(raw.start(world, OWNER, Program::Gateway), Ok(id));
    assert_eq!(running(&host, "gateway"), [pid]);
    let held = HeldProcess { id, kind: ProcessKind::Gateway, node: Node::Gateway, ended: None };
    assert_eq!(processes(&mut raw, world), [held]);

    // Its end is told, and the next one is another.
    kill(pid, Signal::SIGKILL).expect("it runs");
    let ended = Ended::Signaled(Signal::SIGKILL as i32);
    let event = RootEvent::ProcessEnded { world, process: id, kind: ProcessKind::Gateway, ended };
    let told = raw.call(&RootRequest::NextEvents { cursor: 0, wait_ms: 30_000 });
    assert!(matches!(&told, RootResponse::NextEvents(Ok(told)) if told.events == [event]), "{told:?}");
    let next = raw.start(world, OWNER, Program::Gateway).expect("starts");
    assert_ne!(next, id);
    facts(&host, world, "gateway");
    stop(&mut raw, world, next);
    assert_eq!(running(&host, "gateway"), []);
    raw.start(world, OWNER, Program::Gateway).expect("starts");
    let removed = delete(&mut raw, world);
    let of_kind = |kind| removed.iter().filter(|o| o.kind == kind).map(|o| o.name.as_str()).collect::<Vec<_>>();
    assert_eq!(of_kind(ObjectKind::Process), ["gateway"]);
    assert_eq!(running(&host, "gateway"), []);
    // A world without a router has no place for it.
    let mut routerless = world_plan(root::world_id(), OWNER, 1, 1);
    let nodes = routerless.nodes.into_inner().into_iter().filter(|node| node.node == Node::Services);
    routerless.nodes = Bounded::new(nodes.collect()).expect("few");
    routerless.nodes = Bounded::new(
        routerless
            .nodes
            .iter()
            .cloned()
            .map(|mut node| {
                (node.routes, node.source_routes) = Default::default();
                node
            })
            .collect(),
    )
    .expect("few");
    (routerless.bridges, routerless.cables) = Default::default();
    raw.apply(&routerless).expect("applies");
    assert_eq!(raw.start(routerless.world, OWNER, Program::Gateway), Err(RootError::NotFound));
    delete(&mut raw, routerless.world);
}

#[test]
fn worldd_alone_has_a_directory_that_outlives_it_until_its_world_goes() {
    let (host, mut raw) = host();
    let world = booted(&mut raw).world;
    let data = format!("{STATE}/{world}");
    assert!(!host.path(&data).exists());
    for rows in 1..=2 {
        let id = raw.start(world, OWNER, Program::Worldd).expect("starts");
        let told = facts(&host, world, "worldd");
        let arguments = ["--role", "worldd", "--data", &data, "--world", &world.to_string(), "--peer-uid", "802"];
        assert_eq!(told["arguments"], serde_json::json!(arguments));
        assert_eq!(told["failed"], serde_json::json!([]));
        assert_eq!(told["rows"], rows, "what was kept is there");
        let found = fs::metadata(host.path(&data)).expect("a directory");
        assert_eq!((found.mode() & 0o7777, found.uid(), found.is_dir()), (0o700, WORLDD.uid, true));
        stop(&mut raw, world, id);
    }
    raw.start(world, OWNER, Program::Prober(host_name("n0h0"))).expect("starts");
    assert!(!facts(&host, world, "prober")["arguments"].to_string().contains("--data"));
    let removed = delete(&mut raw, world);
    assert_eq!(removed.iter().filter(|o| o.kind == ObjectKind::Directory).count(), 1);
    for place in [RUN, STATE] {
        assert!(!host.path(&format!("{place}/{world}")).exists(), "{place}");
    }
}

// Row 22: what a worldd under foreign control may leave at the places of the next program, its own and other worlds'.
#[test]
fn what_a_hostile_worldd_plants_misleads_no_start() {
    let (host, mut raw) = host();
    let secret = "/run/secret-of-root";
    host.shell(ROOT, &format!("mkdir {secret}; echo canary-4711 > {secret}/file; chown -R netengine-world {secret}"));
    let seen = || host.shell(ROOT, &format!("cd {secret}; ls -lan --time-style=full-iso . file; cat file"));
    let before = seen();
    for (plant, program, starts) in [
        (format!("ln -s {secret} {STATE}/W"), Program::Worldd, false),
        (format!("touch {STATE}/W"), Program::Worldd, false),
        (format!("mkfifo {STATE}/W"), Program::Worldd, false),
        (format!("mkdir -m 700 {STATE}/W; ln -s {secret}/file {STATE}/W/worldd.log"), Program::Worldd, true),
        (format!("ln -s {secret} {RUN}/W"), Program::Gateway, false),
        (format!("mkdir {RUN}/W; ln -s {secret}/file {RUN}/W/stderr.log"), Program::Gateway, true),
        (format!("mkdir {RUN}/W; ln {secret}/file {RUN}/W/stderr.log"), Program::Gateway, true),
        (format!("mkdir {RUN}/W; mkfifo {RUN}/W/stderr.log"), Program::Gateway, true),
        (format!("mkdir -p {RUN}/W/stderr.log/a"), Program::Gateway, false),
        (format!("mkdir {RUN}/W; ln -s {secret}/file {RUN}/W/gateway.sock"), Program::Gateway, true),
        (format!("mkdir {RUN}/W; mkfifo {RUN}/W/gateway.sock"), Program::Gateway, true),
    ] {
        let world = booted(&mut raw).world;
        host.shell(WORLDD, &plant.replace('W', &world.to_string()));
        let started = raw.start(world, OWNER, program);
        assert_eq!(started.is_ok(), starts, "{plant}: {started:?}");
        assert_eq!(seen(), before, "{plant}");
        assert!(delete(&mut raw, world).iter().any(|o| o.kind == ObjectKind::Directory), "{plant}");
        assert_eq!(seen(), before, "{plant}");
        let left = host.shell(ROOT, &format!("ls -A {RUN} {STATE} | grep {world} || true"));
        assert_eq!(left, "", "{plant}");
    }
}

/// A tree that no simple removal survives, in the current directory.
const TREE: &str = r#"
import os,sys
for i in range(100000): open('f%d'%i,'w').close()
for name in ('1','2','3'): os.mkdir(name)
os.symlink('/etc','etc'); os.symlink('..','1/up'); os.mkfifo('2/pipe')
os.mkdir('shut'); open('shut/file','w').close(); os.mkdir('shut/inner'); os.chmod('shut/inner',0); os.chmod('shut',0)
for i in range(3000):
    os.mkdir('d'); os.chdir('d')
"#;

// Rows 22, 70: however a world left its directories, they go, nothing else does, and nobody waits for it.
#[test]
fn any_tree_is_removed_and_others_are_served_meanwhile() {
    let (host, mut raw) = host();
    let (hostile, other) = (booted(&mut raw).world, booted(&mut raw).world);
    raw.start(hostile, OWNER, Program::Worldd).expect("starts");
    facts(&host, hostile, "worldd");
    for place in [RUN, STATE] {
        let script = format!("cd {place}/{hostile} && exec python3 -I -c \"$TREE\"");
        let mut command = host.command(WORLDD, "/bin/sh");
        let made = command.env("TREE", TREE).args(["-c", &script]).output().expect("runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let etc = host.shell(ROOT, "ls -la /etc | sha256sum");
    let mut second = Raw::greeted(&host);
    let deleting = std::thread::spawn(move || delete(&mut second, hostile));
    // It is stopped half-way; then another world's program starts all the same.
    let eraser = until("the removal has begun", || named(&host, "ne-eraser").pop());
    kill(eraser, Signal::SIGSTOP).expect("it runs");
    let id = raw.start(other, OWNER, Program::Gateway).expect("starts");
    stop(&mut raw, other, id);
    assert!(!deleting.is_finished());
    assert_eq!(status(eraser, "CapEff"), "0000000000000000");
    assert_eq!(status(eraser, "Uid").split_whitespace().collect::<Vec<_>>(), ["803"; 4]);
    kill(eraser, Signal::SIGCONT).expect("it runs");
    let removed = deleting.join().expect("deleted");
    assert!(removed.iter().any(|o| o.kind == ObjectKind::Directory));
    for place in [RUN, STATE] {
        assert!(fs::symlink_metadata(host.path(&format!("{place}/{hostile}"))).is_err(), "{place}");
    }
    assert_eq!(host.shell(ROOT, "ls -la /etc | sha256sum"), etc);
    delete(&mut raw, other);
}

/// The system calls that worldd cannot do without: sockets, threads, SQLite's files.
const NEEDED: &str = "socket bind listen accept4 connect clone clone3 futex openat flock fcntl ftruncate fdatasync fsync \
                      pread64 pwrite64 mmap mremap rename renameat unlink unlinkat mkdir lseek newfstatat epoll_wait prctl \
                      landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp setrlimit prlimit64";

// The fences of systemd, which the supervisor of the tests does not lay, leave worldd what it needs.
#[test]
fn the_unit_that_starts_worldd_denies_nothing_that_it_needs() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/netengine-spawn.service");
    let unit = fs::read_to_string(unit).expect("a unit");
    let value = |key: &str| {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect::<Vec<_>>();
        lines.join(" ")
    };
    let denied = value("SystemCallFilter");
    let sets: Vec<_> = denied.strip_prefix('~').expect("a list of denials").split_whitespace().collect();
    let output = std::process::Command::new("systemd-analyze").arg("syscall-filter").args(&sets).output();
    let text = String::from_utf8(output.expect("systemd-analyze runs").stdout).expect("text");
    let calls: Vec<_> = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '@'])).collect();
    assert!(calls.contains(&"kexec_load") || calls.contains(&"reboot"), "the sets were not expanded: {text}");
    let lost: Vec<_> = NEEDED.split_whitespace().filter(|call| calls.contains(call)).collect();
    assert_eq!(lost, Vec::<&str>::new());
    let families = value("RestrictAddressFamilies");
    assert!(["AF_INET", "AF_INET6", "AF_UNIX"].iter().all(|family| families.split(' ').any(|has| has == *family)));
    let writable = value("ReadWritePaths");
    assert!([RUN, STATE].iter().all(|place| writable.split(' ').any(|has| has == *place)), "{writable}");
    assert_eq!(value("TasksMax"), "infinity");
    assert!(value("LimitNOFILE").parse::<u32>().expect("a number") >= 65_536);
    assert_eq!((value("MemoryDenyWriteExecute"), value("LimitFSIZE")), (String::new(), String::new()));
}
