//! Rows 1 to 16 of the threat table: the sockets of rootd under attack, with userd's uid and with others.

use std::{
    io::{IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use netengine_proto::{
    ids::Uid,
    limits,
    root::{ROOT_VERSION, RootRequest, RootResponse},
};
use netengine_tests::{
    ALICE, BOB, CAROL, DANA, Host, NOBODY, Person, ROOT, ROOTD, USERD, WORLDD,
    attack::{
        self, EXEC_SOCKET, Heard, Raw, SPAWN_SOCKET, all_descriptors, call, cpu_ticks, log_of, python, rootd_only,
        rss_kib, splice, until,
    },
    root::{self, ROOTD_SOCKET, connect_as, world_plan},
};

const USER: &str = "/run/netengine/user.sock";
const ADMIN: &str = "/run/netengine/admin.sock";
const HOLDER: &str = "/run/netengine-rootd/holder.sock";
/// Somebody without a name whom the kernel shows as the overflow uid, in the users' group.
const UNMAPPED: Person = Person { name: "nobody", uid: 65534, gid: 804, groups: &[804] };

/// rootd is the same process as before, and answers.
fn still_serves(host: &Host, broker: nix::unistd::Pid) {
    assert_eq!(host.daemon_pid("netengine-rootd"), broker, "rootd was restarted");
    let answer = Raw::greeted(host).call(&RootRequest::ListWorlds {});
    assert!(matches!(answer, RootResponse::ListWorlds(Ok(_))), "{answer:?}");
}

// Row 1.
#[test]
fn the_kernel_lets_nobody_but_the_intended_connect() {
    let host = Host::new();
    let people = [ALICE, BOB, CAROL, DANA, ROOTD, USERD, WORLDD, NOBODY];
    let may: [(&str, &[Person]); 6] = [
        (ROOTD_SOCKET, &[USERD]),
        (SPAWN_SOCKET, &[ROOTD]),
        (EXEC_SOCKET, &[ALICE, BOB, ROOTD]),
        (USER, &[ALICE, BOB, USERD]),
        (ADMIN, &[DANA, USERD]),
        (HOLDER, &[]),
    ];
    for (socket, allowed) in may {
        for person in people {
            let outcome = connect_as(&host, person, socket).map(drop).map_err(|error| error.raw_os_error());
            let expected = if allowed.contains(&person) {
                Ok(())
            } else if socket == HOLDER && person == ROOTD {
                // rootd's own uid reaches its own directory; the holder speaks datagrams in sequence only.
                Err(Some(nix::libc::EPROTOTYPE))
            } else {
                Err(Some(nix::libc::EACCES))
            };
            assert_eq!(outcome, expected, "{} at {socket}", person.name);
        }
    }
}

// Rows 1, 3: root passes the mode; the daemon's own check refuses it before reading, and says so.
#[test]
fn a_peer_of_another_uid_is_closed_unread() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let mut stream = connect_as(&host, ROOT, ROOTD_SOCKET).expect("root passes the mode");
    stream.set_read_timeout(Some(netengine_tests::DEADLINE)).expect("a socket");
    let hello = call(0, 1000, &RootRequest::Hello { version: ROOT_VERSION });
    let _ = stream.write_all(&[&(hello.len() as u32).to_be_bytes()[..], &hello].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "rootd answered root");
    until("the refusal is logged", || log_of(&host, "netengine-rootd").contains("not userd").then_some(()));
    still_serves(&host, broker);
}

// Row 1: the same with a listener that another uid's process was given, as a mistaken unit would.
#[test]
fn the_spawn_worker_listens_to_rootd_alone() {
    let host = rootd_only();
    let mut stream = connect_as(&host, ROOT, SPAWN_SOCKET).expect("root passes the mode");
    stream.set_read_timeout(Some(netengine_tests::DEADLINE)).expect("a socket");
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let _ = send_descriptors(&stream, &[1], &[theirs.as_raw_fd()]);
    drop(theirs);
    // It serves one broker at a time; when this one ends, root is next in line, and is turned away.
    host.restart("netengine-rootd", nix::sys::signal::Signal::SIGKILL);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "the spawn worker answered root");
    assert!(log_of(&host, "netengine-spawn").contains("another user was refused"));
    // What was sent along is closed unread.
    ours.set_read_timeout(Some(netengine_tests::DEADLINE)).expect("a socket");
    let mut ours = ours;
    assert_eq!(ours.read(&mut [0; 1]).expect("closed"), 0);
    still_serves(&host, host.daemon_pid("netengine-rootd"));
}

// Row 2.
#[test]
fn the_overflow_uid_is_refused_at_every_socket() {
    let host = Host::new();
    for socket in [EXEC_SOCKET, USER] {
        let mut stream = connect_as(&host, UNMAPPED, socket).expect("its group passes the mode");
        stream.set_read_timeout(Some(netengine_tests::DEADLINE)).expect("a socket");
        let _ = stream.write_all(b"GET /api/v1/version HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{socket} answered: {}", String::from_utf8_lossy(&answer));
    }
    for service in ["netengine-rootd", "netengine-userd"] {
        until("the refusal is logged", || log_of(&host, service).contains("user namespace").then_some(()));
    }
    // Seen from a namespace of users of their own, nobody gains a thing: carol stays out, alice stays alice.
    let script = "import os,socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n";
    for (person, socket) in [(CAROL, USER), (CAROL, EXEC_SOCKET), (ALICE, ROOTD_SOCKET), (ALICE, ADMIN)] {
        let inside = format!("unshare -Ur /usr/bin/python3 -I -c '{script}' {socket} 2>&1; echo $?");
        let said = host.shell(person, &inside);
        assert!(said.contains("PermissionError") && said.ends_with("1\n"), "{} at {socket}: {said}", person.name);
    }
}

// Rows 5, 9, 10, 12, 15: each of these ends the connection or is answered, and rootd goes on.
#[test]
fn hostile_frames_close_their_connection_and_nothing_else() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let hello = call(0, 1000, &RootRequest::Hello { version: ROOT_VERSION });
    let list = call(1, 1000, &RootRequest::ListWorlds {});
    let with = |tail: &[u8]| [&hello[..], tail].concat();
    let closing: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", vec![]),
        ("garbage", vec![0xff; 300]),
        ("zeroes", vec![0; 300]),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a verb before hello", list.clone()),
        ("a byte after the frame", with(&[0])),
        ("a frame in the frame", with(&hello)),
        ("half a call", list[..list.len() - 1].to_vec()),
        ("an unknown kind of message", [&[7u8], &hello[1..]].concat()),
        ("an unknown verb", [&[0, 1, 1][..], &[200, 1]].concat()),
        ("a time to live of 2^35", [&[0, 0][..], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[0, 1]].concat()),
        ("a time to live of 2^64", [&[0, 0][..], &[0xff; 9], &[1, 0, 1]].concat()),
        ("an endless number", [&[0][..], &[0x80; 40]].concat()),
        ("a time to live left out", vec![0, 0]),
    ];
    for (what, frame) in closing {
        let mut raw = Raw::silent(&host);
        assert_eq!(raw.ask(&frame), "closed", "{what}");
    }
    for ttl_ms in [0, 1, 60_000, 60_001, 4_200_000, u32::MAX - 1, u32::MAX] {
        let mut raw = Raw::greeted(&host);
        // With no time to live the call may be over before its answer: then the next one is answered.
        raw.send(&call(2, ttl_ms, &RootRequest::ListWorlds {})).expect("sent");
        let answer = raw.ask(&call(3, 1000, &RootRequest::ListWorlds {}));
        assert!(answer.contains("ListWorlds"), "{ttl_ms}: {answer}");
    }
    still_serves(&host, broker);
}

// Row 10: every verb with every one of its bytes altered, cut and prolonged.
#[test]
fn mutated_verbs_are_answered_or_closed() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let rounds = if std::env::var_os("NETENGINE_SOAK").is_some() { 255 } else { 3 };
    for body in verbs().into_iter().map(|request| call(5, 1000, &request)) {
        for place in 0..body.len() {
            for round in 0..rounds {
                let mut frame = body.clone();
                match round {
                    0 => frame[place] ^= 0x80,
                    1 => frame.truncate(place),
                    2 => frame.insert(place, 0xff),
                    other => frame[place] = frame[place].wrapping_add(other as u8),
                }
                // What it says does not matter: it says something or ends, in time, and lives.
                let mut raw = Raw::greeted(&host);
                if frame.first() == Some(&1) || raw.send(&frame).is_err() {
                    continue;
                }
                raw.0.shutdown(std::net::Shutdown::Write).expect("a socket");
                raw.ends();
            }
        }
    }
    still_serves(&host, broker);
}

/// One call of each verb.
fn verbs() -> Vec<RootRequest> {
    let (world, owner) = (root::world_id(), Uid(ALICE.uid));
    let host = root::host_name("placeholder");
    vec![
        RootRequest::Hello { version: ROOT_VERSION },
        RootRequest::ObserveNetwork { world, owner, lists: true },
        RootRequest::DeleteWorld { key: root::key(), world, owner },
        RootRequest::ListWorlds {},
        RootRequest::StartProgram {
            key: root::key(),
            world,
            owner,
            program: netengine_proto::root::Program::Prober(host.clone()),
        },
        RootRequest::StopProcess { world, owner, process: netengine_proto::ids::ProcessId::from_bytes([1; 8]) },
        RootRequest::ListProcesses { world, owner },
        RootRequest::GrantExec { world, owner, host, user: owner, trust: Default::default() },
        RootRequest::NextEvents { cursor: 0, wait_ms: 0 },
    ]
}

// Rows 10, 70: what a command trusts comes with its ticket, which waits; so it is bounded while it is decoded.
#[test]
fn trust_past_its_bounds_is_refused_and_the_largest_fits_in_memory() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    let mut raw = Raw::greeted(&host);
    raw.apply(&plan).expect("applies");
    let (world, owner, vantage) = (plan.world, plan.owner, root::host_name("n0h0"));
    let grant = RootRequest::GrantExec { world, owner, host: vantage, user: owner, trust: Default::default() };
    // The last two bytes are the two lists' lengths.
    let good = call(1, 50_000, &grant);
    let (head, lists) = good.split_at(good.len() - 2);
    assert_eq!(lists, [0, 0]);
    let number = |n: usize| postcard::to_stdvec(&n).expect("encodes");
    let certificates = |count: usize, bytes: usize| -> Vec<u8> {
        let one = [number(bytes), vec![0x30; bytes]].concat();
        [head, &number(count), &one.repeat(count), &[0]].concat()
    };
    let keys = |count: usize, digest: usize| -> Vec<u8> {
        let one = [vec![7, 13, 2], number(digest), vec![1; digest]].concat();
        [head, &[0], &number(count), &one.repeat(count)].concat()
    };
    let (most, longest) = (limits::TRUST_ANCHORS, limits::CERTIFICATE_BYTES);
    for (what, body) in [
        ("a certificate too many", certificates(most + 1, 1)),
        ("a certificate too long", certificates(1, longest + 1)),
        ("a frame full of certificates", certificates(most * 15, longest)),
        ("2^60 certificates", [head, &number(1 << 60), &[0]].concat()),
        ("a certificate of 2^60 bytes", [head, &[1], &number(1 << 60), &[0]].concat()),
        ("a key too many", keys(limits::DNS_ANCHORS + 1, 32)),
        ("a digest too long", keys(1, limits::DNS_DIGEST_BYTES + 1)),
    ] {
        assert_eq!(Raw::greeted(&host).ask(&body), "closed", "{what}");
    }
    let before = rss_kib(broker);
    for body in [certificates(most, longest), keys(limits::DNS_ANCHORS, limits::DNS_DIGEST_BYTES)] {
        let said = raw.ask(&body);
        assert!(said.contains("GrantExec(Ok"), "{said}");
    }
    // As many tickets as may wait, each as large as it may be, and more.
    for _ in 0..limits::TICKETS_PENDING + 100 {
        let said = raw.ask(&certificates(most, longest));
        assert!(said.contains("GrantExec(Ok") || said.contains("Limit(Tickets)"), "{said}");
    }
    let bound = limits::TICKETS_PENDING * most * longest * 2 / 1024;
    let grown = rss_kib(broker).saturating_sub(before) as usize;
    assert!(grown < bound, "memory grew by {grown} KiB of {bound}");
    raw.delete(world, owner);
    still_serves(&host, broker);
}

// Rows 12, 15: another version is told and may then do nothing.
#[test]
fn another_version_is_refused_and_every_verb_after_it() {
    let host = rootd_only();
    for version in [0, ROOT_VERSION + 1, u16::MAX] {
        let mut raw = Raw::silent(&host);
        let answer = raw.ask(&call(0, 1000, &RootRequest::Hello { version }));
        assert!(answer.contains("Version"), "{answer}");
        assert_eq!(raw.ask(&call(1, 1000, &RootRequest::ListWorlds {})), "closed", "after version {version}");
    }
}

// Row 12: the same id twice in flight, a cancel of what was never asked, a cancel twice.
#[test]
fn calls_with_one_id_and_cancels_of_nothing_are_harmless() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let mut raw = Raw::greeted(&host);
    let wait = call(9, 60_000, &RootRequest::NextEvents { cursor: 0, wait_ms: 300 });
    for _ in 0..8 {
        let _ = raw.send(&wait);
    }
    for id in [9u64, 9, 77, u64::MAX] {
        let _ = raw.send(&postcard::to_stdvec(&(1u32, id)).expect("encodes"));
    }
    let _ = raw.0.shutdown(std::net::Shutdown::Write);
    raw.ends();
    still_serves(&host, broker);
}

// Row 9.
#[test]
fn a_length_that_lies_costs_no_memory_and_no_time() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    still_serves(&host, broker);
    let before = rss_kib(broker);
    for length in [u32::MAX, 1 << 31, limits::ROOT_FRAME_BYTES as u32 + 1] {
        let mut raw = Raw::greeted(&host);
        raw.send_bytes(&length.to_be_bytes()).expect("sent");
        assert!(raw.ends() < Duration::from_secs(1), "{length} was believed");
    }
    // Claims 64 KiB, sends one byte or none, stalls: closed after five seconds; a first frame has two.
    let claim = [0, 1, 0, 0, 1];
    let mut stalled: Vec<_> = [(false, &claim[..]), (true, &claim[..]), (true, &claim[..4])]
        .map(|(greeted, bytes)| {
            let mut raw = if greeted { Raw::greeted(&host) } else { Raw::silent(&host) };
            raw.send_bytes(bytes).expect("sent");
            (greeted, raw, Instant::now())
        })
        .into();
    let others = Instant::now();
    still_serves(&host, broker);
    assert!(others.elapsed() < Duration::from_secs(1), "others had to wait");
    for (greeted, raw, since) in &mut stalled {
        raw.ends();
        let bound = if *greeted { limits::ROOT_FRAME_TIME } else { limits::ROOT_FIRST_FRAME };
        let took = since.elapsed();
        assert!(took > bound / 2 && took < bound + Duration::from_secs(3), "greeted {greeted}: closed after {took:?}");
    }
    let grown = rss_kib(broker).saturating_sub(before);
    assert!(grown < 4096, "memory grew by {grown} KiB");
}

// Row 7: 20,000 calls in flight on one connection.
#[test]
fn calls_in_flight_are_bounded() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let mut flood = Raw::greeted(&host);
    let mut reader = flood.0.try_clone().expect("a socket");
    let counting = std::thread::spawn(move || {
        let (mut refused, mut length) = (0u32, [0; 4]);
        while refused < 20_000 - limits::ROOT_CALLS_IN_FLIGHT as u32 && reader.read_exact(&mut length).is_ok() {
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            if reader.read_exact(&mut body).is_err() {
                break;
            }
            refused += 1;
        }
        refused
    });
    for id in 0..20_000 {
        flood.send(&call(id + 1, 60_000, &RootRequest::NextEvents { cursor: 0, wait_ms: 50_000 })).expect("taken");
    }
    let refused = counting.join().expect("counted");
    assert_eq!(refused, 20_000 - limits::ROOT_CALLS_IN_FLIGHT as u32, "more calls wait than may");
    let since = Instant::now();
    still_serves(&host, broker);
    assert!(since.elapsed() < Duration::from_millis(500), "others wait {:?}", since.elapsed());
    assert!(rss_kib(broker) < 64 << 10, "{} KiB", rss_kib(broker));
    assert_eq!(attack::status(broker, "Threads"), "1");
}

// Row 7: a call whose time is over leaves its work behind; that work is bounded too.
#[test]
fn work_left_behind_by_calls_that_ended_is_bounded() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 20, 30);
    let mut raw = Raw::greeted(&host);
    let before = rss_kib(broker);
    let size = call(0, 0, &RootRequest::ApplyNetwork { key: root::key(), plan: plan.clone() }).len();
    let count = (96 << 20) / size;
    let mut reader = raw.0.try_clone().expect("a socket");
    let draining = std::thread::spawn(move || {
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    });
    for id in 0..count as u64 {
        // The answers do not matter, the connection may be closed; the memory must stay.
        if raw.send(&call(id + 1, 1, &RootRequest::ApplyNetwork { key: root::key(), plan: plan.clone() })).is_err() {
            raw = Raw::greeted(&host);
        }
    }
    let grown = rss_kib(broker).saturating_sub(before);
    let _ = raw.0.shutdown(std::net::Shutdown::Both);
    draining.join().expect("drained");
    // As many as may be at work, each with this plan decoded; all of them together would hold 20 times as much.
    let most = netengine_proto::limits::ROOT_EFFECTS as u64 * 1536;
    assert!(grown < most, "{count} calls that are over hold {grown} KiB");
    assert_eq!(host.daemon_pid("netengine-rootd"), broker, "rootd was restarted");
}

// Row 8.
#[test]
fn idle_connections_do_not_starve_userd() {
    let host = Host::new();
    let broker = host.daemon_pid("netengine-rootd");
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(Raw::silent(&host));
    }
    let since = Instant::now();
    let listed = host.cli(ALICE, &["up", &format!("{}/minimal.yaml", netengine_tests::EXAMPLES)]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(since.elapsed() < Duration::from_secs(20));
    // Those past the bound were closed at once, the others after the time for a first frame.
    for raw in &mut idle {
        raw.ends();
    }
    assert_eq!(host.daemon_pid("netengine-rootd"), broker);
    assert!(host.cli(ALICE, &["down", "--yes"]).status.success());
}

// Row 11.
#[test]
fn a_peer_that_never_reads_is_given_up_and_others_are_served() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let mut raw = Raw::greeted(&host);
    raw.0.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket");
    // Errors are answered at once; nobody reads them, until rootd reads no more either.
    let ask = call(1, 60_000, &RootRequest::ObserveNetwork { world: root::world_id(), owner: Uid(1), lists: true });
    let before = rss_kib(broker);
    let mut sent = 0;
    while sent < 200_000 && raw.send(&ask).is_ok() {
        sent += 1;
    }
    still_serves(&host, broker);
    assert!(rss_kib(broker).saturating_sub(before) < 8 << 10, "answers pile up");
    let since = Instant::now();
    until("the connection is dropped", || {
        raw.0.write(&[0]).is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe).then_some(())
    });
    assert!(since.elapsed() < limits::ROOT_WRITE_TIME + Duration::from_secs(5));
    still_serves(&host, broker);
}

fn send_descriptors(stream: &UnixStream, bytes: &[u8], fds: &[RawFd]) -> nix::Result<usize> {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let rights = [ControlMessage::ScmRights(fds)];
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None)
}

// Row 14.
#[test]
fn descriptors_sent_along_are_not_taken() {
    let host = rootd_only();
    // The start is over once a call was answered and its connection is closed.
    let mut first = Raw::silent(&host);
    first.send(&call(0, 1000, &RootRequest::Hello { version: ROOT_VERSION })).expect("sent");
    assert!(matches!(first.hear(), Heard::Answer(_)));
    let _ = first.0.shutdown(std::net::Shutdown::Both);
    first.ends();
    let before = all_descriptors(&host);
    let file = std::fs::File::open("/dev/null").expect("opens");
    let many = [file.as_raw_fd(); 200];
    let mut open = Vec::new();
    for round in 0..20 {
        let raw = Raw::silent(&host);
        let hello = call(0, 1000, &RootRequest::Hello { version: ROOT_VERSION });
        let frame = [&(hello.len() as u32).to_be_bytes()[..], &hello].concat();
        send_descriptors(&raw.0, &frame, &many[..1 + round * 10]).expect("sent");
        let alice = connect_as(&host, ALICE, EXEC_SOCKET).expect("her group passes");
        send_descriptors(&alice, &[0, 0, 0, 4, 1, 2, 3, 4], &many).expect("sent");
        let mut raw = raw;
        assert!(matches!(raw.hear(), Heard::Answer(_)));
        let mut alice = Raw(alice);
        alice.0.set_read_timeout(Some(netengine_tests::DEADLINE)).expect("a socket");
        alice.ends();
        let now: usize = all_descriptors(&host).iter().map(|(_, count)| count).sum();
        let then: usize = before.iter().map(|(_, count)| count).sum();
        assert!(now <= then + 8, "descriptors were taken: {now} instead of {then}");
        open.push(raw);
        if open.len() == 2 {
            for mut raw in open.drain(..) {
                let _ = raw.0.shutdown(std::net::Shutdown::Both);
                raw.ends();
            }
        }
    }
    drop(open);
    // Fewer is as good: what the start or the first call still had open when it was counted.
    until("no more than before", || {
        let now = all_descriptors(&host);
        let is_more = |(of, count): &(_, usize)| before.iter().all(|(then, most)| then != of || count > most);
        (now.len() == before.len() && !now.iter().any(is_more)).then_some(())
    });
}

// Row 16.
#[test]
fn bad_requests_do_not_fill_the_log() {
    let host = rootd_only();
    let lines = || log_of(&host, "netengine-rootd").lines().count();
    let before = lines();
    let since = Instant::now();
    let rounds = if std::env::var_os("NETENGINE_SOAK").is_some() { 100_000 } else { 3_000 };
    for round in 0..rounds {
        match round % 3 {
            0 => drop(connect_as(&host, ROOT, ROOTD_SOCKET).map(|mut stream| stream.write(b"x"))),
            1 => drop(Raw::silent(&host).send(&[0xff; 64])),
            _ => drop(connect_as(&host, ALICE, EXEC_SOCKET).map(|mut stream| stream.write(&[0, 0, 0, 1, 9]))),
        }
    }
    let mut raw = Raw::greeted(&host);
    let seconds = since.elapsed().as_secs() as usize + 1;
    for id in 0..rounds as u64 {
        let ask = RootRequest::StartProgram {
            key: root::key(),
            world: root::world_id(),
            owner: Uid(1),
            program: netengine_proto::root::Program::Worldd,
        };
        raw.ask(&call(id + 1, 1000, &ask));
    }
    let lines = lines() - before;
    if lines > 50 * seconds {
        eprintln!("{}", log_of(&host, "netengine-rootd").lines().take(40).collect::<Vec<_>>().join("\n"));
    }
    assert!(lines > 0 && lines <= 50 * seconds, "{lines} lines in {seconds} s");
}

// Row 19: whatever bytes come, no control character is written to the log.
#[test]
fn the_log_holds_no_control_character_of_a_peer() {
    let host = rootd_only();
    for text in [&b"\x1b[31mred\n"[..], b"a\rb", "\u{202e}".as_bytes(), b"\x9b31m"] {
        for request in verbs() {
            let body = call(1, 1000, &request);
            if body.windows(11).any(|window| window == b"placeholder") {
                let mut raw = Raw::greeted(&host);
                assert_eq!(raw.ask(&splice(&body, "placeholder", text)), "closed");
            }
        }
    }
    drop(Raw::greeted(&host));
    let log = std::fs::read(host.path("/var/log/netengine/netengine-rootd.log")).expect("a log");
    assert!(!log.is_empty() && log.iter().all(|byte| *byte == b'\n' || (32..127).contains(byte)), "{log:?}");
}

// Row 68.
#[test]
fn running_out_of_descriptors_is_rested_out_and_recovered_from() {
    let host = rootd_only();
    let broker = host.daemon_pid("netengine-rootd");
    let bound = attack::descriptors(broker) + 3;
    // Whoever has its uid may set its limits (prlimit(2)).
    let inner = host.processes().into_iter().find(|(outer, _)| *outer == broker).expect("it runs").1;
    host.shell(ROOTD, &format!("prlimit --nofile={bound}: --pid {inner}"));
    let script = "import socket,sys,time\nall=[]\nfor _ in range(200):\n s=socket.socket(socket.AF_UNIX)\n s.setblocking(False)\n try: s.connect(sys.argv[1])\n except BlockingIOError: pass\n all.append(s)\nprint('on',flush=True)\nsys.stdin.read()";
    let mut flood = host.command(ALICE, "/usr/bin/python3");
    let flood = flood.args(["-I", "-c", script, EXEC_SOCKET]).stdin(std::process::Stdio::piped());
    let mut flood = flood.stdout(std::process::Stdio::piped()).spawn().expect("starts");
    flood.stdout.take().expect("piped").read_exact(&mut [0; 3]).expect("connected");
    until("none is left", || log_of(&host, "netengine-rootd").contains("cannot accept").then_some(()));
    let (ticks, since) = (cpu_ticks(broker), Instant::now());
    // Two seconds of it: what is measured is that time passes without work.
    let (mut waiting, _silent) = UnixStream::pair().expect("a pair");
    waiting.set_read_timeout(Some(Duration::from_secs(2))).expect("a socket");
    let _ = waiting.read(&mut [0]);
    let (ticks, took) = (cpu_ticks(broker) - ticks, since.elapsed());
    drop(flood.stdin.take());
    flood.wait().expect("ends");
    // 10 ms a tick: at most a tenth of one processor.
    assert!(u128::from(ticks) * 10 < took.as_millis() / 10, "{ticks} ticks in {took:?}");
    still_serves(&host, broker);
}

// Row 13.
#[test]
fn nothing_at_a_sockets_path_is_taken_over() {
    for plant in ["touch", "mkdir", "ln -s /etc/shadow", "mkfifo"] {
        let host = Host::bare();
        host.copy_units(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd")));
        let path = "/run/netengine/rootd.sock";
        host.shell(ROOT, &format!("mkdir -m 755 /run/netengine; {plant} {path}"));
        let before = host.shell(ROOT, &format!("stat -c '%F %a %u %i' {path}"));
        let mut run = host.command(ROOT, &format!("{}/netengine-supervise", netengine_tests::BIN));
        let units = format!("{}/units", netengine_tests::SCRATCH);
        let output = run.args(["--units", &units, "--bin-dir", netengine_tests::BIN, "run"]).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(path), "{plant}: {said}");
        assert_eq!(host.shell(ROOT, &format!("stat -c '%F %a %u %i' {path}")), before, "{plant}");
    }
    // rootd itself has no way to bind: without a socket from its manager it says so and ends.
    let host = Host::bare();
    let mut rootd = host.command(ROOT, &format!("{}/netengine-rootd", netengine_tests::BIN));
    let output = rootd.args(["--role", "spawn"]).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("did not pass the socket"), "{said}");
    assert_eq!(python(&host, ROOT, "import os;print(os.path.exists('/run/netengine'))", &[]).1, "False\n");
}
