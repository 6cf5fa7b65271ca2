//! The firewall lab as a library: single cases, whole suites, and what is seen while they run.

use std::{collections::BTreeMap, fs::File, os::fd::AsRawFd, path::PathBuf, thread};

use netengine_cli::lab::Lab;
use netengine_lab_proto::{
    CaseLimits, CaseRequest, CaseResult, Content, InjectedPacket, NodeName, PacketSpec, RulesetText, Topology,
    Transport, Verdict,
};
use netengine_proto::{
    api::{FirewallSuites, FirewallTestRequest, ProblemKind, SuiteText},
    bounded::Bounded,
};
use netengine_tests::{ALICE, Host, SCRATCH, identity::become_thread};
use serde_json::Value;

use super::{LONG, SUITE, host_with, nothing_left, test, timeless};

/// Does something as alice, with the path of the daemon's socket.
fn as_alice<T: Send>(host: &Host, work: impl FnOnce(PathBuf) -> T + Send) -> T {
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            // The way leads through /proc of the host's init, which only root may pass.
            let directory = File::open(host.path("/run/netengine")).expect("root may");
            become_thread(ALICE).expect("root may");
            work(PathBuf::from(format!("/proc/self/fd/{}/user.sock", directory.as_raw_fd())))
        });
        working.join().expect("no panic")
    })
}

fn suites(text: &str) -> FirewallTestRequest {
    let suites = vec![SuiteText { file: format!("{SCRATCH}/suite.yaml"), text: text.to_owned() }];
    FirewallTestRequest { suites: FirewallSuites { suites, files: BTreeMap::new() }, jobs: None, fail_fast: false }
}

fn case(rules: &str, port: u16) -> CaseRequest {
    let spec = PacketSpec::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), Transport::tcp(12_345, port, 2));
    let packet = InjectedPacket::new(NodeName::parse("client").expect("a name"), Content::Typed(Box::new(spec)));
    CaseRequest {
        topology: Topology::simple(),
        ruleset: RulesetText::new(rules.to_owned()).expect("fits"),
        beside: Bounded::default(),
        packets: Bounded::new(vec![packet]).expect("fits"),
        limits: CaseLimits::default(),
    }
}

#[test]
fn a_program_runs_suites_and_cases_and_sees_what_happens() {
    let host = host_with("");
    let (_, by_command, _) = test(&host, ALICE, SUITE, &["--json"]);
    let (run, events, judged, refused, ended) = as_alice(&host, |socket| {
        let mut lab = Lab::connect(&socket).expect("the daemon listens");
        let mut events = Vec::<(String, Value)>::new();
        let run = lab.run_suite(&suites(SUITE), |name, data| {
            events.push((name.to_owned(), serde_json::from_str(data).expect("JSON")));
            true
        });
        let rules = "table inet t { chain i { type filter hook input priority 0; tcp dport 23 drop; } }";
        let judged = [22, 23].map(|port| lab.run_case(&case(rules, port)));
        let refused = lab.run_suite(&suites(&SUITE.replace("dst_port: 80", "dst_prot: 80")), |_, _| true);
        // The first event of a second case comes while the first is at work; the program has seen enough.
        let two = format!("{LONG}- {{name: short, rules: '', packets: [{{dst_port: 1}}]}}\n");
        let ended = lab.run_suite(&suites(&two), |_, _| false);
        (run, events, judged, refused, ended)
    });
    let run = run.expect("judged");
    assert_eq!(serde_json::to_value(run.state).expect("a word"), "done");
    let in_daemon = timeless(&run.report.expect("a report").to_string());
    assert_eq!(in_daemon["summary"], timeless(&by_command)["summary"]);
    assert_eq!(in_daemon["tests"][0]["packets"], timeless(&by_command)["tests"][0]["packets"]);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    for event in ["hook", "match", "verdict", "case"] {
        assert!(names.contains(&event), "{event}: {events:#?}");
    }
    assert_eq!(names.iter().filter(|name| **name == "case").count(), 3, "{names:?}");
    let verdicts = judged.map(|result| match result.expect("the daemon answers") {
        CaseResult::Judged(answer) => answer.packets[0].verdict,
        other => panic!("not judged: {other:?}"),
    });
    assert_eq!(verdicts, [Verdict::Accept, Verdict::Drop]);
    let refused = refused.expect_err("a wrong suite").problem;
    assert_eq!((refused.kind, &refused.diagnostics[0]["line"]), (ProblemKind::Spec, &Value::from(12)), "{refused:?}");
    assert_eq!(serde_json::to_value(ended.expect("ended").state).expect("a word"), "cancelled");
    nothing_left(&host);
    assert_eq!(Lab::connect(std::path::Path::new("/nowhere")).err().map(|failure| failure.exit_code()), Some(4));
}
