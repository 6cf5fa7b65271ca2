//! The firewall lab by the daemons: verdicts as without them, who may, what is left after any end, and what hostile peers get.

use std::process::{Output, Stdio};

#[path = "lab_daemon/hostile.rs"]
mod hostile;
#[path = "lab_daemon/library.rs"]
mod library;
#[path = "lab_daemon/rulesets.rs"]
mod rulesets;
#[path = "lab_daemon/websocket.rs"]
mod websocket;

use netengine_tests::{
    ALICE, BIN, BOB, CAROL, Host, Person, ROOT, USERD,
    attack::{log_of, until},
    report::timeless,
    signal,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

const SUITE: &str = "tests:
  - name: only SSH is let in
    rules: |
      table inet filter {
        chain input {
          type filter hook input priority 0; policy drop;
          tcp dport 22 accept
        }
      }
    packets:
      - {dst_port: 22, expected_verdict: ACCEPT}
      - {dst_port: 80, expected_verdict: DROP}
      - {dst_ip: 'fd00::2', src_ip: 'fd00::1', dst_port: 22, expected_verdict: ACCEPT}
  - name: through a gateway
    topology: gateway
    rules: |
      table ip nat {
        chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 10.0.2.2:80 }
      }
    packets:
      - {dst_ip: 10.0.1.2, dst_port: 8080, expected_verdict: ACCEPT}
  - name: does not load
    rules: 'table ip t { chain c { bogus; } }'
    expect: {load_error: syntax}
    packets: []
";

/// A case that is at work until it is ended: its second packet waits for a minute.
const LONG: &str = "- name: long
  timeout_ms: 120000
  rules: table ip t {}
  packets:
    - {dst_port: 22, expected_verdict: ACCEPT}
    - {dst_port: 22, after_ms: 60000, expected_verdict: ACCEPT}
";

fn host_with(lab: &str) -> Host {
    let mut host = Host::bare();
    let units = host.copy_units(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd")));
    if !lab.is_empty() {
        host.file("units/netengine-lab.service.d/test.conf", lab);
    }
    host.start_daemons(&units, &["netengine-spawn", "netengine-rootd", "netengine-userd", "netengine-lab"]);
    host
}

fn test(host: &Host, person: Person, suite: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let file = host.file("suite.yaml", suite);
    told(&host.cli(person, &[&["test", file.as_str()], words].concat()))
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Processes of the lab: attendants, workers, ruleset readers. Their names, sorted.
fn lab_processes(host: &Host) -> Vec<String> {
    let names = host.processes().into_iter().filter_map(|(pid, _)| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(name.trim().to_owned())
            .filter(|name| ["ne-lab-attend", "netengine-lab", "netengine-nft"].contains(&name.as_str()))
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn pids(host: &Host, name: &str) -> Vec<Pid> {
    let named =
        |pid: &Pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim() == name);
    host.processes().into_iter().map(|(pid, _)| pid).filter(named).collect()
}

fn nothing_left(host: &Host) {
    until("no process of the lab is left", || lab_processes(host).is_empty().then_some(()));
}

/// curl of a person on user.sock; gives status and body.
fn curl(host: &Host, person: Person, words: &str) -> (u16, String) {
    let script = format!("curl -s -o - -w '\\n%{{http_code}}' --unix-socket /run/netengine/user.sock {words}");
    let all = host.shell(person, &script);
    let (body, status) = all.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

const API: &str = "http://x/api/v1/firewall";

fn request(host: &Host, suite: &str) -> String {
    let body = json!({"suites": [{"file": "suite.yaml", "text": suite}]}).to_string();
    format!("-H 'content-type: application/json' --data-binary @{}", host.file("request.json", &body))
}

#[test]
fn members_are_judged_by_the_daemon_exactly_as_without_it() {
    let host = host_with("");
    let (code, by_daemon, error) = test(&host, ALICE, SUITE, &["--json"]);
    assert_eq!(code, Some(0), "{by_daemon}{error}");
    assert!(error.is_empty(), "nothing to remark: {error}");
    let (code, alone, error) = test(&host, ALICE, SUITE, &["--json", "--rootless"]);
    assert_eq!(code, Some(0), "{alone}{error}");
    assert_eq!(timeless(&by_daemon), timeless(&alone));
    let red = SUITE.replace("{dst_port: 80, expected_verdict: DROP}", "{dst_port: 80, expected_verdict: ACCEPT}");
    for words in [&["--json"][..], &["--json", "--rootless"]] {
        assert_eq!(test(&host, ALICE, &red, words).0, Some(1), "{words:?}");
    }
    nothing_left(&host);
    // The whole suite in the daemon gives the same document.
    let (status, accepted) = curl(&host, ALICE, &format!("-X POST {} {API}/tests", request(&host, SUITE)));
    assert_eq!(status, 202, "{accepted}");
    let id = serde_json::from_str::<Value>(&accepted).expect("JSON")["id"].as_str().expect("an id").to_owned();
    let (_, events) = curl(&host, ALICE, &format!("-N --max-time 60 {API}/tests/{id}/events"));
    for event in ["hook", "match", "verdict", "case", "end"] {
        assert!(events.contains(&format!("event: {event}\n")), "{event}: {events}");
    }
    let shown: Value = serde_json::from_str(&curl(&host, ALICE, &format!("{API}/tests/{id}")).1).expect("JSON");
    assert_eq!(shown["state"], "done", "{shown}");
    let mut in_daemon = timeless(&shown["report"].to_string());
    let file = timeless(&by_daemon)["tests"][0]["file"].clone();
    for case in in_daemon["tests"].as_array_mut().expect("cases") {
        if case.get("file").is_some() {
            case["file"] = file.clone();
        }
    }
    assert_eq!(in_daemon["summary"], timeless(&by_daemon)["summary"]);
    assert_eq!(curl(&host, BOB, &format!("{API}/tests/{id}")).0, 404, "another user's run looks absent");
    assert_eq!(curl(&host, BOB, &format!("-X DELETE {API}/tests/{id}")).0, 404);
    assert_eq!(curl(&host, ALICE, &format!("-X DELETE {API}/tests/{id}")).0, 200);
    assert_eq!(curl(&host, ALICE, &format!("{API}/tests/{id}")).0, 404, "forgotten");
    nothing_left(&host);
}

#[test]
fn suites_are_validated_with_their_places_and_nothing_is_read_from_the_disk() {
    let host = host_with("");
    let valid = curl(&host, ALICE, &format!("-X POST {} {API}/validate", request(&host, SUITE)));
    assert_eq!(valid, (200, "{\"cases\":3,\"packets\":4}".to_owned()));
    let wrong = SUITE.replace("dst_port: 80", "dst_prot: 80");
    let (status, told) = curl(&host, ALICE, &format!("-X POST {} {API}/validate", request(&host, &wrong)));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((status, &told["diagnostics"][0]["line"]), (422, &json!(12)), "{told}");
    // A kernel reads the rulesets: nft's message has its place in the file.
    let unloadable =
        SUITE.replace("tcp dport 22 accept", "tcp dport 22 acept").replace("load_error: syntax", "load_error: other");
    let (status, told) = curl(&host, ALICE, &format!("-X POST {} {API}/validate", request(&host, &unloadable)));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let places: Vec<_> =
        told["diagnostics"].as_array().expect("a list").iter().map(|at| (&at["line"], &at["column"])).collect();
    assert_eq!((status, &places[0]), (422, &(&json!(7), &json!(29))), "{told}");
    assert_eq!((places.len(), places[places.len() - 1].0), (2, &json!(22)), "{told}");
    assert!(
        told["diagnostics"][0]["message"].as_str().is_some_and(|message| message.contains("syntax error")),
        "{told}"
    );
    let file = "- {name: x, rules_file: /etc/passwd, packets: [{dst_port: 1}]}";
    let (status, told) = curl(&host, ALICE, &format!("-X POST {} {API}/tests", request(&host, file)));
    assert!(status == 422 && told.contains("did not come with the request"), "{told}");
    // A body that lies about its length, or is no JSON, is told and nothing else.
    let (status, told) = curl(
        &host,
        ALICE,
        &format!("-X POST -H 'content-type: application/octet-stream' --data-binary garbage {API}/cases"),
    );
    assert!(status >= 400, "{told}");
    assert_eq!(curl(&host, ALICE, &format!("-X POST --data-binary garbage {API}/cases")).0, 400);
    nothing_left(&host);
}

#[test]
fn who_is_not_in_the_group_runs_alone_and_is_told_so() {
    let host = host_with("");
    let (code, out, error) = test(&host, CAROL, SUITE, &[]);
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(error.contains("cannot use the daemon") && error.contains("Permission denied"), "{error}");
    let (code, _, error) = test(&host, CAROL, SUITE, &["--socket", "/run/netengine/user.sock"]);
    assert_eq!(code, Some(judge_refused()), "{error}");
    assert!(error.contains("join the group"), "{error}");
    let (code, _, error) = test(&host, ALICE, SUITE, &["--socket", "/nowhere"]);
    assert_eq!(code, Some(4), "{error}");
}

/// The exit code of class `refused`.
fn judge_refused() -> i32 {
    i32::from(netengine_proto::api::ProblemKind::Refused.exit_code())
}

#[test]
fn a_sandbox_is_nobodys_process_with_no_file_and_no_way_out() {
    let host = host_with("");
    let mut run = begin(&host, ALICE, LONG);
    let workers = until("the worker and its reader", || {
        let found = (pids(&host, "netengine-lab"), pids(&host, "netengine-nft"));
        (found.0.len() == 2 && found.1.len() == 2).then_some(found)
    });
    let line = |pid: Pid, name: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let found = status.lines().find_map(|line| line.strip_prefix(name)).expect(name).to_owned();
        found.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    for pid in workers.0.iter().chain(&workers.1).chain(&pids(&host, "ne-lab-attend")) {
        assert_eq!(line(*pid, "Uid:"), "807 807 807 807", "{pid}");
        assert_eq!(line(*pid, "Groups:"), "", "{pid}");
        assert_eq!(line(*pid, "NoNewPrivs:"), "1", "{pid}");
        assert_eq!(line(*pid, "Seccomp:"), "2", "{pid}");
    }
    for pid in pids(&host, "ne-lab-attend") {
        assert_eq!(line(pid, "CapEff:"), "0000000000001000", "CAP_NET_ADMIN alone");
        assert_eq!(line(pid, "CapBnd:"), "0000000000001000");
    }
    let namespace = |pid: Pid, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it runs");
    let userd = host.daemon_pid("netengine-userd");
    let worker = *workers.0.iter().max().expect("two");
    for kind in ["user", "net", "mnt", "pid", "ipc", "uts"] {
        assert_ne!(namespace(worker, kind), namespace(userd, kind), "{kind}");
        assert_ne!(namespace(workers.1[0], kind), namespace(userd, kind), "{kind}");
    }
    let mut root: Vec<_> =
        std::fs::read_dir(format!("/proc/{worker}/root")).expect("root").flatten().map(|e| e.file_name()).collect();
    root.sort();
    assert_eq!(root, ["etc", "net"]);
    signal(&run, Signal::SIGKILL);
    run.wait().expect("ended");
    nothing_left(&host);
}

/// Starts `netengine test` on a suite, and waits until a sandbox is at work.
fn begin(host: &Host, person: Person, suite: &str) -> std::process::Child {
    let file = host.file(&format!("{}.yaml", person.name), suite);
    let before = pids(host, "netengine-nft").len();
    let mut command = host.command(person, &format!("{BIN}/netengine"));
    let child = command
        .args(["test", &file, "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("the CLI starts");
    until("a sandbox is at work", || {
        let log = log_of(host, "netengine-lab");
        assert!(!log.contains("cannot start"), "{log}");
        (pids(host, "netengine-nft").len() >= before + 2).then_some(())
    });
    child
}

#[test]
fn whoever_is_killed_nothing_is_left_and_others_go_on() {
    let host = host_with("");
    // Bob's runs are short, one after the other, all the time; each must be right.
    let bobs = |host: &Host| {
        let (code, out, error) = test(host, BOB, SUITE, &["--json"]);
        assert_eq!(code, Some(0), "{out}{error}");
    };
    // The CLI, by SIGKILL and by Ctrl-C.
    for ending in [Signal::SIGKILL, Signal::SIGINT] {
        let mut run = begin(&host, ALICE, LONG);
        signal(&run, ending);
        bobs(&host);
        run.wait().expect("ended");
        nothing_left(&host);
    }
    // A worker, its attendant: the case is run again in another sandbox.
    for name in ["netengine-lab", "ne-lab-attend"] {
        let mut run = begin(&host, ALICE, LONG);
        let old = pids(&host, "ne-lab-attend");
        kill(*pids(&host, name).iter().max().expect("one"), Signal::SIGKILL).expect("killed");
        bobs(&host);
        until("another sandbox", || pids(&host, "ne-lab-attend").iter().any(|pid| !old.contains(pid)).then_some(()));
        until("the old one is gone", || {
            pids(&host, "ne-lab-attend").iter().all(|pid| !old.contains(pid)).then_some(())
        });
        signal(&run, Signal::SIGKILL);
        run.wait().expect("ended");
        nothing_left(&host);
    }
    // The lab role: all its sandboxes end, and it is started again.
    let mut run = begin(&host, ALICE, LONG);
    let old = pids(&host, "ne-lab-attend");
    host.restart("netengine-lab", Signal::SIGKILL);
    until("the old ones are gone", || pids(&host, "ne-lab-attend").iter().all(|pid| !old.contains(pid)).then_some(()));
    bobs(&host);
    signal(&run, Signal::SIGKILL);
    run.wait().expect("ended");
    nothing_left(&host);
    // userd: every sandbox ends with its connection.
    let mut run = begin(&host, ALICE, LONG);
    let old = pids(&host, "ne-lab-attend");
    host.restart("netengine-userd", Signal::SIGKILL);
    until("the old ones are gone", || pids(&host, "ne-lab-attend").iter().all(|pid| !old.contains(pid)).then_some(()));
    bobs(&host);
    signal(&run, Signal::SIGKILL);
    run.wait().expect("ended");
    nothing_left(&host);
    // rootd's broker has no part in it: a test goes on.
    let mut run = begin(&host, ALICE, LONG);
    let old = pids(&host, "ne-lab-attend");
    host.restart("netengine-rootd", Signal::SIGKILL);
    assert_eq!(pids(&host, "ne-lab-attend"), old);
    signal(&run, Signal::SIGKILL);
    run.wait().expect("ended");
    nothing_left(&host);
}

#[test]
fn a_run_in_the_daemon_is_cancelled_and_bounded() {
    let host = host_with("");
    let begin = || curl(&host, ALICE, &format!("-X POST {} {API}/tests", request(&host, LONG)));
    let mut ids = Vec::new();
    for _ in 0..netengine_proto::limits::LAB_RUNS_PER_OWNER {
        let (status, accepted) = begin();
        assert_eq!(status, 202, "{accepted}");
        ids.push(serde_json::from_str::<Value>(&accepted).expect("JSON")["id"].as_str().expect("an id").to_owned());
    }
    let (status, refused) = begin();
    assert!(status == 429 && refused.contains("at work already"), "{status} {refused}");
    let (code, out, error) = test(&host, BOB, SUITE, &["--json"]);
    assert_eq!(code, Some(0), "another user is not kept out: {out}{error}");
    for id in &ids {
        let (status, ended) = curl(&host, ALICE, &format!("-X DELETE {API}/tests/{id}"));
        assert!(status == 200 && ended.contains("\"cancelled\""), "{ended}");
    }
    nothing_left(&host);
}

#[test]
fn a_host_without_user_namespaces_judges_the_same() {
    // A process whose root directory is not that of its mount namespace can make no user namespace (kernel/user_namespace.c,
    // `create_user_ns`), whatever it may else: as where user.max_user_namespaces is 0.
    let wrapped = "[Service]
ExecStart=
ExecStart=/usr/sbin/chroot /run/netengine-test/whole /run/netengine-bin/netengine-rootd --role lab --lab /run/netengine-bin/netengine-lab --nft /run/netengine-bin/netengine-nft
AmbientCapabilities=CAP_SYS_CHROOT
CapabilityBoundingSet=CAP_SYS_CHROOT
";
    let mut host = Host::bare();
    host.shell(ROOT, "mkdir -p /run/netengine-test/whole && mount --rbind / /run/netengine-test/whole");
    let units = host.copy_units(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd")));
    host.file("units/netengine-lab.service.d/test.conf", wrapped);
    host.start_daemons(&units, &["netengine-spawn", "netengine-rootd", "netengine-userd", "netengine-lab"]);
    let mut run = begin(&host, ALICE, LONG);
    let namespace = |pid: Pid, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it runs");
    let (userd, readers) = (host.daemon_pid("netengine-userd"), pids(&host, "netengine-nft"));
    assert_eq!(namespace(readers[0], "user"), namespace(userd, "user"), "the test's host makes none");
    for kind in ["net", "mnt", "pid", "ipc", "uts"] {
        assert_ne!(namespace(readers[0], kind), namespace(userd, kind), "{kind}");
    }
    let mut stay = 0;
    for reader in readers {
        // It starts with what the worker had, and gives most of it up before it takes a request. Who reads one text is gone after it.
        stay += until("CAP_NET_ADMIN and CAP_SYS_ADMIN at most", || {
            let Ok(status) = std::fs::read_to_string(format!("/proc/{reader}/status")) else { return Some(0) };
            let caps = status.contains("CapEff:\t0000000000201000") && status.contains("CapAmb:\t0000000000000000");
            (caps && status.contains("Uid:\t807\t807\t807\t807")).then_some(1)
        });
    }
    assert!(stay > 0, "somebody waits for texts");
    signal(&run, Signal::SIGKILL);
    run.wait().expect("ended");
    // Of the second ruleset only the rule that the trace names is listed.
    let rules: String = (1..=600).map(|port| format!("    tcp dport {port} drop comment \"{port}\"\n")).collect();
    let long = format!(
        "- name: long\n  rules: |\n   table inet t {{ chain i {{ type filter hook input priority 0;\n{rules}   }} }}\n  \
         packets: [{{dst_port: 599, expected_verdict: DROP}}]\n"
    );
    for suite in [SUITE, &long] {
        let (code, by_daemon, error) = test(&host, ALICE, suite, &["--json"]);
        assert_eq!(code, Some(0), "{by_daemon}{error}");
        let (code, alone, error) = test(&host, ALICE, suite, &["--json", "--rootless"]);
        assert_eq!(code, Some(0), "{alone}{error}");
        assert_eq!(timeless(&by_daemon), timeless(&alone));
        let rule = &timeless(&alone)["tests"][0]["packets"][0]["rule"];
        assert!(
            suite == SUITE || (rule["line"] == 602 && rule["text"] == "tcp dport 599 drop comment \"599\""),
            "{rule}"
        );
    }
    nothing_left(&host);
}

/// Speaks to lab.sock as a person: sends bytes, prints the answer's bytes, each as a number.
const SPEAK: &str = "
import socket,sys
s=socket.socket(socket.AF_UNIX); s.settimeout(20)
try: s.connect('/run/netengine/lab.sock')
except OSError as e: print('no', type(e).__name__); sys.exit()
try:
    s.sendall(bytes.fromhex(sys.argv[1])); print(*s.recv(100))
    if len(sys.argv) > 2: s.sendall(bytes.fromhex(sys.argv[2])); print(*s.recv(100))
except OSError as e: print('cut', type(e).__name__)
";

#[test]
fn lab_sock_is_for_userd_alone_and_nonsense_ends_one_connection() {
    let host = host_with("");
    let script = host.file("speak.py", SPEAK);
    let speak =
        |person: Person, words: &str| host.shell(person, &format!("python3 {script} {words}")).trim().to_owned();
    for person in [ALICE, CAROL] {
        assert_eq!(speak(person, "0100d1070000"), "no PermissionError");
    }
    // Root may connect, and is not userd.
    assert!(matches!(speak(ROOT, "0100d1070000").as_str(), "" | "cut ConnectionResetError" | "cut BrokenPipeError"));
    assert_eq!(speak(USERD, "0200d1070000"), "3", "another version");
    assert_eq!(speak(USERD, "0100feff0000"), "4", "the overflow uid");
    // A sandbox that is told nonsense ends: a length past the bound, and bytes that are no case.
    for nonsense in ["ffffffff", "04000000ffffffff"] {
        let told = speak(USERD, &format!("0100d1070000 {nonsense}"));
        assert!(told == "0" || told.starts_with("0\ncut"), "{told:?}");
    }
    nothing_left(&host);
    // One owner's bound, and another's sandbox beside it.
    let many = host.file(
        "many.py",
        "import socket,sys\nheld=[]\ndef ask(owner):\n s=socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect('/run/netengine/lab.sock')\n \
         s.sendall(bytes([1,0])+owner.to_bytes(4,'little')); held.append(s); return s.recv(1)[0]\n\
         print(*[ask(2001) for _ in range(17)], ask(2002))\n",
    );
    let answers = host.shell(USERD, &format!("python3 {many}"));
    assert_eq!(answers.trim(), format!("{}1 0", "0 ".repeat(16)));
    nothing_left(&host);
}

#[test]
fn who_can_make_no_user_namespace_is_told_so_and_the_daemon_judges() {
    let host = host_with("");
    let file = host.file("suite.yaml", SUITE);
    // The setting is that of the user namespace in which it is written.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let run = |words: &[&str]| {
        let mut command = host.command(ALICE, "/usr/bin/unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).arg(format!("{BIN}/netengine"));
        told(&command.args(["test", &file]).args(words).stdin(Stdio::null()).output().expect("unshare runs"))
    };
    let (code, out, error) = run(&["--rootless"]);
    assert_eq!(code, Some(4), "{out}{error}");
    for told in ["error: cannot make a sandbox", "user.max_user_namespaces allows, or it is 0", "start the daemon"] {
        assert!(error.contains(told), "{told}: {error}");
    }
    let (code, out, error) = run(&["--json"]);
    assert_eq!((code, timeless(&out)["summary"]["passed"].as_u64()), (Some(0), Some(3)), "{out}{error}");
    nothing_left(&host);
}
