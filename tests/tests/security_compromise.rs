//! The compromise drill: an attacker holds userd's uid, its groups, its connection to rootd and its files, and tries to
//! get further. Every attempt is named; every one must fail, and the host must be as it was.

use std::{fs, os::unix::fs::MetadataExt};

use netengine_proto::{
    bounded::Bounded,
    exec::{ExecFailure, ExecReply, ExecRequest},
    ids::{ProcessId, Ticket, Uid, WorldId},
    plan::{NetworkPlan, Node},
    root::{Program, RootError, RootRequest, RootResponse},
};
use netengine_tests::{
    ALICE, BOB, Host, Person, ROOT, USERD,
    attack::{ROOTD_PROCESSES, Raw, SPAWN_SOCKET, call, named, python, rootd_only, splice, the},
    root::{self, connect_as, host_name, key, world_plan},
};

/// userd's uid in the group of users: what an attacker would be after a mistake of an administrator.
const USERD_AS_USER: Person = Person { name: "netengine", uid: 802, gid: 806, groups: &[804] };
const RUN: &str = "/run/netengine-worlds";

/// Notes each attempt and what came of it.
#[derive(Default)]
struct Drill {
    tried: Vec<&'static str>,
    succeeded: Vec<String>,
}

impl Drill {
    fn attempt(&mut self, name: &'static str, failed: bool, seen: impl std::fmt::Debug) {
        assert!(!self.tried.contains(&name), "{name} is tried twice");
        self.tried.push(name);
        if !failed {
            self.succeeded.push(format!("{name}: {seen:?}"));
        }
    }
}

fn request(ticket: Ticket) -> ExecRequest {
    let request = serde_json::json!({
        "ticket": ticket, "arguments": [b"/bin/cat", b"/etc/shadow"], "environment": [], "directory": b"/",
        "umask": 0o022, "terminal": null,
    });
    serde_json::from_value(request).expect("a request")
}

/// Sends a request on `exec.sock` and prints the first frame that comes back.
const REDEEM: &str = "
import socket,sys
s=socket.socket(socket.AF_UNIX)
try: s.connect('/run/netengine/exec.sock')
except PermissionError: print('denied'); sys.exit()
body=bytes.fromhex(sys.argv[1]); s.sendall(len(body).to_bytes(4,'big')+body)
s.settimeout(30); r=b''
while len(r)<4 or len(r)<4+int.from_bytes(r[:4],'big'):
    more=s.recv(4096)
    if not more: break
    r+=more
print(r[4:].hex())
";

/// What `exec.sock` says to a process of a person with a ticket.
fn redeem(host: &Host, person: Person, ticket: Ticket) -> Result<ExecReply, String> {
    let body = postcard::to_stdvec(&request(ticket)).expect("encodes");
    let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    let (_, said) = python(host, person, REDEEM, &[&hex]);
    let said = said.trim();
    let bytes: Option<Vec<u8>> =
        (0..said.len() / 2).map(|n| u8::from_str_radix(said.get(2 * n..2 * n + 2)?, 16).ok()).collect();
    postcard::from_bytes(&bytes.ok_or(said)?).map_err(|error| error.to_string())
}

fn grant(raw: &mut Raw, world: WorldId, owner: Uid, user: Uid) -> Result<Ticket, RootError> {
    match raw.call(&RootRequest::GrantExec { world, owner, host: host_name("n0h0"), user, trust: Default::default() }) {
        RootResponse::GrantExec(answer) => answer,
        other => panic!("another answer: {other:?}"),
    }
}

const TICKET: Result<ExecReply, String> = Ok(ExecReply::Failed(ExecFailure::Ticket));

fn tickets(drill: &mut Drill, host: &Host, raw: &mut Raw, world: WorldId, owner: Uid) {
    let ticket = grant(raw, world, owner, Uid(ALICE.uid)).expect("granted");
    let said = redeem(host, USERD, ticket);
    drill.attempt("redeem another user's ticket as userd", said.as_ref().is_err_and(|e| e.contains("denied")), said);
    let said = redeem(host, USERD_AS_USER, ticket);
    drill.attempt("redeem another user's ticket as userd in the users' group", said == TICKET, said);
    let said = redeem(host, BOB, ticket);
    drill.attempt("hand alice's ticket to bob", said == TICKET, said);
    let said = redeem(host, ROOT, ticket);
    drill.attempt("redeem as root", said == Ok(ExecReply::Failed(ExecFailure::Root)), said);
    let said = redeem(host, ALICE, ticket);
    assert_eq!(said, Ok(ExecReply::Started), "the ticket was good all the time");
    let said = redeem(host, ALICE, ticket);
    drill.attempt("use a ticket twice", said == TICKET, said);
    let said = grant(raw, world, owner, Uid(0));
    drill.attempt("a ticket for root", said == Err(RootError::Refused), said);
    let said = grant(raw, world, owner, Uid(65_534));
    drill.attempt("a ticket for the overflow uid", said == Err(RootError::Refused), said);
    let wrong: Vec<_> = (0..20u128).map(|n| redeem(host, ALICE, Ticket::from_bytes(n.to_be_bytes()))).collect();
    drill.attempt("guess tickets", wrong.iter().all(|said| *said == TICKET), &wrong[0]);
    let said = grant(raw, world, Uid(BOB.uid), Uid(BOB.uid));
    drill.attempt("a ticket for a world under another owner's name", said == Err(RootError::NotFound), said);
    let said = grant(raw, root::world_id(), owner, Uid(ALICE.uid));
    drill.attempt("a ticket for a world that is not", said == Err(RootError::NotFound), said);
    let mut near = ticket.bytes().to_owned();
    let fresh = grant(raw, world, owner, Uid(802)).expect("granted");
    near[15] ^= 1;
    let said = redeem(host, ALICE, Ticket::from_bytes(near));
    drill.attempt("a ticket next to a good one", said == TICKET, said);
    // For its own uid it gets a ticket; what runs then runs as userd's uid, and reads what that uid may read.
    let said = redeem(host, USERD, fresh);
    drill.attempt("a ticket for its own uid, redeemed as itself", said.is_err(), said);
}

fn others_objects(drill: &mut Drill, raw: &mut Raw, world: WorldId) {
    let bob = Uid(BOB.uid);
    let said = raw.call(&RootRequest::ObserveNetwork { world, owner: bob, lists: true });
    drill.attempt("observe a world under another owner", format!("{said:?}").contains("NotFound"), said);
    let said = raw.call(&RootRequest::ListProcesses { world, owner: bob });
    drill.attempt("list processes under another owner", format!("{said:?}").contains("NotFound"), said);
    let process = ProcessId::from_bytes([0; 8]);
    let said = raw.call(&RootRequest::StopProcess { world, owner: bob, process });
    drill.attempt("stop a process under another owner", format!("{said:?}").contains("NotFound"), said);
    let said = raw.start(world, bob, Program::Worldd);
    drill.attempt("start worldd under another owner", said == Err(RootError::NotFound), said);
    let said = raw.start(world, bob, Program::Gateway);
    drill.attempt("start the gateway's services under another owner", said == Err(RootError::NotFound), said);
    let said = raw.start(root::world_id(), Uid(ALICE.uid), Program::Gateway);
    drill.attempt("start the gateway's services of a world that is not", said == Err(RootError::NotFound), said);
    let said = raw.call(&RootRequest::DeleteWorld { key: key(), world, owner: bob });
    drill.attempt("delete a world under another owner", format!("{said:?}").contains("removed: []"), said);
    let said = raw.apply(&world_plan(world, bob, 1, 1));
    drill.attempt("take a world over by a plan of another owner", said == Err(RootError::NotFound), said);
    let said = raw.apply(&world_plan(root::world_id(), Uid(65_534), 1, 1));
    drill.attempt("a world of the overflow uid", said == Err(RootError::Refused), said);
    let said = raw.start(world, Uid(ALICE.uid), Program::Prober(host_name("elsewhere")));
    drill.attempt("start a prober in a host that is not", said == Err(RootError::NotFound), said);
}

/// Values that no type of ours can hold, spliced into the bytes of a good call: each ends the connection.
fn hostile_values(drill: &mut Drill, host: &Host, plan: &NetworkPlan) {
    let closes = |body: &[u8]| Raw::greeted(host).ask(body) == "closed";
    let plan_call = call(1, 50_000, &RootRequest::ApplyNetwork { key: key(), plan: plan.clone() });
    assert!(!closes(&splice(&plan_call, "nebr0", b"nebr7")), "a good name spliced in is served");
    let link = |to: &[u8]| closes(&splice(&plan_call, "nebr0", to));
    drill.attempt("a link called eth0", link(b"eth0"), ());
    drill.attempt("a link called lo", link(b"lo"), ());
    drill.attempt("a link name that is a template", link(b"nebr%d"), ());
    drill.attempt("a link name with a path", link(b"ne/../lo"), ());
    drill.attempt("a link name with a newline", link(b"ne\nx"), ());
    drill.attempt("a link name with a zero byte", link(b"ne\0x"), ());
    drill.attempt("a link name of 16 bytes", link(b"ne12345678901234"), ());
    let node = |to: &[u8]| closes(&splice(&plan_call, "n0h0", to));
    drill.attempt("a host called ..", node(b".."), ());
    drill.attempt("a host that is a path", node(b"../../etc"), ());
    drill.attempt("a host that is an option", node(b"--role"), ());
    drill.attempt("a host with a quote and a newline", node(b"\";\ninclude \"/etc/shadow\""), ());
    drill.attempt("a host name of 64 bytes", node(&[b'a'; 64]), ());
    drill.attempt("a host name that is not text", node(&[0xff, 0xfe]), ());
    let prober = RootRequest::StartProgram {
        key: key(),
        world: plan.world,
        owner: plan.owner,
        program: Program::Prober(host_name("n0h0")),
    };
    let prober = splice(&call(1, 1000, &prober), "n0h0", b"../../../bin/sh");
    drill.attempt("a prober in a path", closes(&prober), ());
    let gateway =
        RootRequest::StartProgram { key: key(), world: root::world_id(), owner: plan.owner, program: Program::Gateway };
    // The last byte says which program.
    let gateway = call(1, 1000, &gateway);
    assert!(!closes(&gateway), "a known kind of program is answered");
    let (last, head) = gateway.split_last().expect("bytes");
    drill.attempt("a fifth kind of program", closes(&[head, &[last + 2]].concat()), ());
    // The first list of a plan is its nodes: a count no frame can hold.
    let head = call(1, 1000, &RootRequest::ApplyNetwork { key: key(), plan: plan.clone() });
    let count = postcard::to_stdvec(&plan.nodes.len()).expect("encodes");
    let place = postcard::to_stdvec(&(1u32, 1u64, 1000u32)).expect("encodes").len() + 1 + 16 + 8 + 2;
    assert_eq!(head[place..place + count.len()], count, "the place of the count");
    for (name, entries) in [("a million nodes", 1_000_000usize), ("2^60 nodes", 1 << 60)] {
        let entries = postcard::to_stdvec(&entries).expect("encodes");
        drill.attempt(name, closes(&[&head[..place], &entries, &head[place + count.len()..]].concat()), ());
    }
    for (name, good, bad) in [
        ("a loopback address", [10, 0, 0, 1, 24], [127, 0, 0, 1, 8]),
        ("the metadata address", [10, 0, 0, 1, 24], [169, 254, 169, 254, 16]),
        ("a multicast address", [10, 0, 0, 1, 24], [224, 0, 0, 1, 24]),
        ("an address that owns everything", [10, 0, 0, 1, 24], [10, 0, 0, 1, 0]),
        ("a prefix of 255 bits", [10, 0, 0, 1, 24], [10, 0, 0, 1, 255]),
    ] {
        let at = plan_call.windows(5).position(|window| window == good).expect("an address");
        drill.attempt(name, closes(&[&plan_call[..at], &bad, &plan_call[at + 5..]].concat()), ());
    }
    let mac = [2, 1, 0, 0, 0, 0];
    let at = plan_call.windows(6).position(|window| window == mac).expect("a MAC address");
    let vendor = [&plan_call[..at], &[0, 0x1b, 0x21, 0, 0, 1][..], &plan_call[at + 6..]].concat();
    drill.attempt("a vendor's MAC address", closes(&vendor), ());
}

/// Plans whose types are good and whose sense is not.
fn contradictions(drill: &mut Drill, raw: &mut Raw, plan: &NetworkPlan) {
    let refused = |said: Result<(), RootError>| matches!(said, Err(RootError::InvalidPlan(_)));
    let mut plan = NetworkPlan { world: root::world_id(), ..plan.clone() };
    let nodes = plan.nodes.clone().into_inner();
    plan.nodes = Bounded::new(nodes.iter().filter(|node| node.node != Node::Gateway).cloned().collect()).expect("few");
    drill.attempt("bridges in a namespace that is not in the plan", refused(raw.apply(&plan)), ());
    plan.nodes = Bounded::new([&nodes[..], &nodes[..1]].concat()).expect("few");
    drill.attempt("the same namespace twice", refused(raw.apply(&plan)), ());
}

/// What the uid alone can do on the host; each line of the script is one attempt, which prints `got` if it succeeds.
const LOCAL: &str = r#"
import ctypes,json,os,signal,socket,sys
pids=json.loads(sys.argv[1]); world=sys.argv[2]; run='/run/netengine-worlds'
libc=ctypes.CDLL(None,use_errno=True)
got=[]
tried=[]
def attempt(name,act):
    tried.append(name)
    try: seen=act()
    except (OSError,PermissionError) as e: return
    if seen is not None and seen is not False: got.append(name+': '+repr(seen))
def connect(path,kind):
    s=socket.socket(socket.AF_UNIX,kind); s.connect(path); return True
def ptrace(pid):
    return True if libc.ptrace(16,pid,0,0)==0 else None
def vm_read(pid):
    class iov(ctypes.Structure): _fields_=[('b',ctypes.c_void_p),('n',ctypes.c_size_t)]
    b=ctypes.create_string_buffer(8); l=iov(ctypes.addressof(b),8); r=iov(0x400000,8)
    n=libc.process_vm_readv(pid,ctypes.byref(l),1,ctypes.byref(r),1,0)
    return True if n>0 else (None if ctypes.get_errno()==1 else False)
def kill(pid):
    os.kill(pid,0); return True
def pidfd_getfd(pid):
    fd=os.pidfd_open(pid); r=libc.syscall(438,fd,0,0); return True if r>=0 else None
def setns(pid,kind):
    fd=os.open('/proc/%d/ns/%s'%(pid,kind),os.O_RDONLY); return True if libc.setns(fd,0)==0 else None
def write(path):
    with open(path,'ab') as f: f.write(b'x')
    return True
def read(path):
    with open(path,'rb') as f: return f.read(16)
for name,pid in pids.items():
    attempt('signal '+name,lambda: kill(pid))
    attempt('ptrace '+name,lambda: ptrace(pid))
    attempt('read the memory of '+name,lambda: read('/proc/%d/mem'%pid))
    attempt('process_vm_readv of '+name,lambda: vm_read(pid))
    attempt('list descriptors of '+name,lambda: os.listdir('/proc/%d/fd'%pid))
    attempt('take a descriptor of '+name,lambda: pidfd_getfd(pid))
    attempt('environment of '+name,lambda: read('/proc/%d/environ'%pid))
    attempt('enter the network of '+name,lambda: setns(pid,'net'))
    attempt('enter the mounts of '+name,lambda: setns(pid,'mnt'))
    attempt('files as seen by '+name,lambda: os.listdir('/proc/%d/root'%pid))
attempt('holder.sock',lambda: connect('/run/netengine-rootd/holder.sock',socket.SOCK_SEQPACKET))
attempt('spawn.sock',lambda: connect('/run/netengine/spawn.sock',socket.SOCK_STREAM))
attempt('exec.sock',lambda: connect('/run/netengine/exec.sock',socket.SOCK_STREAM))
attempt('list the journal directory',lambda: os.listdir('/run/netengine-rootd'))
attempt('read the journal',lambda: read('/run/netengine-rootd/journal'))
attempt('write the journal',lambda: write('/run/netengine-rootd/journal'))
attempt('plant in the journal directory',lambda: write('/run/netengine-rootd/planted'))
attempt('replace the journal directory',lambda: os.rename('/run/netengine-rootd','/run/netengine-old') or True)
attempt('plant in the sockets directory',lambda: write('/run/netengine/planted'))
attempt('remove rootd.sock',lambda: os.unlink('/run/netengine/rootd.sock') or True)
attempt('replace exec.sock',lambda: os.rename('/run/netengine/user.sock','/run/netengine/exec.sock') or True)
attempt('chmod exec.sock',lambda: os.chmod('/run/netengine/exec.sock',0o777) or True)
attempt('plant a world directory',lambda: os.mkdir(run+'/0011223344556677') or True)
attempt('plant a link as a world directory',lambda: os.symlink('/etc',run+'/0011223344556677') or True)
attempt('plant in a world directory',lambda: write(run+'/'+world+'/planted'))
attempt('replace a control socket',lambda: os.unlink(run+'/'+world+'/control.sock') or True)
attempt('rename a world directory',lambda: os.rename(run+'/'+world,run+'/mine') or True)
attempt('write the log of a worldd',lambda: write(run+'/'+world+'/worldd.log'))
attempt('the persistent worlds',lambda: os.listdir('/var/lib/netengine-worlds'))
attempt('overwrite worldd',lambda: write(sys.argv[3]+'/netengine-worldd'))
attempt('overwrite rootd',lambda: write(sys.argv[3]+'/netengine-rootd'))
attempt('read /etc/shadow',lambda: read('/etc/shadow'))
attempt('write /etc/passwd',lambda: write('/etc/passwd'))
attempt('become root',lambda: os.setuid(0) or True)
attempt('become rootd',lambda: os.setuid(801) or True)
attempt('join the users\' group',lambda: os.setgroups([804]) or True)
attempt('a raw socket',lambda: socket.socket(socket.AF_PACKET,socket.SOCK_RAW) and True)
attempt('write a sysctl',lambda: write('/proc/sys/net/ipv4/ip_forward'))
print(json.dumps([tried,got]))
"#;

#[test]
fn a_controlled_userd_reaches_nothing_but_worlds() {
    let host = rootd_only();
    let foreign = host.foreign();
    let binaries = digest(&host);
    let mut drill = Drill::default();
    let mut raw = Raw::greeted(&host);
    let (world, owner) = (root::world_id(), Uid(ALICE.uid));
    let plan = world_plan(world, owner, 1, 1);
    raw.apply(&plan).expect("applies");
    raw.start(world, owner, Program::Worldd).expect("starts");
    tickets(&mut drill, &host, &mut raw, world, owner);
    others_objects(&mut drill, &mut raw, world);
    drop(raw);
    hostile_values(&mut drill, &host, &plan);
    let mut raw = Raw::greeted(&host);
    contradictions(&mut drill, &mut raw, &plan);

    let inner = |name: &str| {
        let pid = named(&host, name)[0];
        host.processes().into_iter().find(|(outer, _)| *outer == pid).expect("it runs").1
    };
    let names: Vec<_> =
        ROOTD_PROCESSES.iter().map(|(name, _)| *name).chain(["ne-attendant", "netengine-world"]).collect();
    let pids: serde_json::Map<_, _> = names.iter().map(|name| ((*name).to_owned(), inner(name).into())).collect();
    let pids = serde_json::Value::Object(pids).to_string();
    let (done, said) = python(&host, USERD, LOCAL, &[&pids, &world.to_string(), netengine_tests::BIN]);
    assert!(done, "{said}");
    let [tried, got]: [Vec<String>; 2] = serde_json::from_str(said.trim()).expect("two lists");
    let total = tried.len() + drill.tried.len();
    assert!(total >= 40, "{total} attempts");
    assert_eq!((got, drill.succeeded), (vec![], vec![]), "of {total} attempts these succeeded");

    raw.delete(world, owner);
    assert_eq!(digest(&host), binaries, "a program or an account file was changed");
    drop(raw);
    foreign.without(&["files"]).assert_unchanged(&host.snapshot().without(&["files"]));
}

fn digest(host: &Host) -> String {
    host.shell(ROOT, &format!("sha256sum {}/netengine* /etc/passwd /etc/group /etc/shadow", netengine_tests::BIN))
}

// The drill's own check: what an attempt does must be possible at all, or its failure proves nothing.
#[test]
fn the_same_attempts_succeed_for_root() {
    let host = rootd_only();
    let mut raw = Raw::greeted(&host);
    let (world, owner) = (root::world_id(), Uid(ALICE.uid));
    raw.apply(&world_plan(world, owner, 1, 1)).expect("applies");
    raw.start(world, owner, Program::Worldd).expect("starts");
    let broker = the(&host, "netengine-rootd");
    let inner = host.processes().into_iter().find(|(outer, _)| *outer == broker).expect("it runs").1;
    let pids = format!("{{\"netengine-rootd\": {inner}}}");
    // Without those that would break the host for the rest of the script.
    let harmless = LOCAL
        .lines()
        .filter(|line| {
            !["overwrite", "passwd", "become", "rename", "remove", "replace"].iter().any(|word| line.contains(word))
        })
        .collect::<Vec<_>>()
        .join("\n");
    let (done, said) = python(&host, ROOT, &harmless, &[&pids, &world.to_string(), netengine_tests::BIN]);
    assert!(done, "{said}");
    let [tried, got]: [Vec<String>; 2] = serde_json::from_str(said.trim()).expect("two lists");
    let lost: Vec<_> = tried.iter().filter(|name| !got.iter().any(|seen| seen.starts_with(*name))).collect();
    assert!(lost.len() * 3 < tried.len(), "of {} attempts these do nothing even for root: {lost:?}", tried.len());
}

// P1: a file of root's, read by every way a plan or a program could name one.
#[test]
fn no_path_leaves_the_worlds_directory() {
    let host = rootd_only();
    let secret = "/run/secret-of-root";
    host.shell(ROOT, &format!("echo canary-4711 > {secret}; chmod 600 {secret}"));
    let mut raw = Raw::greeted(&host);
    let (world, owner) = (root::world_id(), Uid(ALICE.uid));
    let plan = world_plan(world, owner, 1, 1);
    for plant in [
        format!("ln -s /etc {RUN}/{world}"),
        format!("ln -s {secret} {RUN}/{world}"),
        format!("touch {RUN}/{world}"),
        format!("mkfifo {RUN}/{world}"),
        format!("mkdir {RUN}/{world}; chmod 777 {RUN}/{world}"),
        format!("mkdir {RUN}/{world}; chown netengine-world {RUN}/{world}; ln -s {secret} {RUN}/{world}/worldd.log"),
        format!("mkdir {RUN}/{world}; chown netengine-world {RUN}/{world}; ln -s {secret} {RUN}/{world}/stderr.log"),
        format!("mkdir {RUN}/{world}; chown netengine-world {RUN}/{world}; ln {secret} {RUN}/{world}/stderr.log"),
    ] {
        host.shell(ROOT, &plant);
        let before = host
            .shell(ROOT, &format!("stat -c '%a %u %g %s %Y' {secret}; sha256sum {secret}; ls -la /etc | sha256sum"));
        raw.apply(&plan).expect("applies");
        let started = raw.start(world, owner, Program::Worldd);
        let unchanged = host
            .shell(ROOT, &format!("stat -c '%a %u %g %s %Y' {secret}; sha256sum {secret}; ls -la /etc | sha256sum"));
        assert_eq!(before, unchanged, "{plant}: {started:?}");
        // It is refused, or runs in a directory that is its own.
        if started.is_ok() {
            let owner = fs::metadata(host.path(&format!("{RUN}/{world}"))).map(|found| (found.uid(), found.is_dir()));
            assert_eq!(owner.ok(), Some((803, true)), "{plant}");
        }
        let _ = raw.call(&RootRequest::DeleteWorld { key: key(), world, owner });
        let survived = host.shell(ROOT, &format!("cat {secret}; test -d /etc && ls -la /etc | sha256sum"));
        assert!(survived.starts_with("canary-4711"), "{plant}");
        // A second name of it that was planted is removed as any file of the world's, and no other was made.
        assert_eq!(host.shell(ROOT, &format!("stat -c %h {secret}")), "1\n", "{plant}");
        host.shell(ROOT, &format!("rm -rf {RUN}/{world}"));
        let _ = raw.call(&RootRequest::DeleteWorld { key: key(), world, owner });
    }
    assert!(connect_as(&host, USERD, SPAWN_SOCKET).is_err());
}
