//! Every construct of the firewall lab, judged twice: by `netengine test`, and by `lab_truth/judge.py`, which knows nothing of the engine: it
//! builds the same network with iproute2, loads with `nft -f`, sends with scapy, and looks with sockets at the far ends and `nft monitor trace`.
//! Needs Debian's python3-scapy, python3-yaml and nftables.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use netengine_tests::{ALICE, Host};
use serde_json::Value;

const SUITE: &str = include_str!("../data/lab/truth.yaml");
const JUDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab_truth/judge.py");

/// What a packet became, as either judge tells it.
type Outcome = BTreeMap<&'static str, Value>;

/// A case, as either judge tells it.
#[derive(Debug, PartialEq)]
enum Told {
    Loads(Vec<Outcome>),
    /// nft's messages, each with its line and column in the ruleset.
    Refused(Vec<String>),
}

/// What `netengine test` says of each case, and which were not as the suite's author expects.
fn engine(host: &Host, suite: &str) -> (BTreeMap<String, Told>, Vec<String>) {
    let file = host.file("truth.yaml", suite);
    let output = host.cli(ALICE, &["test", &file, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let mut told = BTreeMap::new();
    let mut unmet = Vec::new();
    for case in report["tests"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name").to_owned();
        let packets = case["packets"].as_array().expect("packets");
        for packet in packets.iter().filter(|packet| packet["outcome"] != "passed") {
            unmet.push(format!("{name}: {}: {} ({})", packet["packet"], packet["differences"], packet["reason"]));
        }
        let told_case = match case["message"].as_str() {
            Some(message) if message.contains("cannot load") => Told::Refused(
                message.lines().map(|line| line.rsplit_once(": ").map_or(line, |(_, end)| end).to_owned()).collect(),
            ),
            Some(message) => panic!("{name}: {message}"),
            None => Told::Loads(packets.iter().map(from_engine).collect()),
        };
        told.insert(name, told_case);
    }
    (told, unmet)
}

fn from_engine(packet: &Value) -> Outcome {
    let rule = &packet["rule"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let chain_of = |at: &Value| format!("{} {} {}", word(&at["family"]), word(&at["table"]), word(&at["chain"]));
    let hop = |hop: &Value| {
        let kind = if hop["kind"] == "return" { "verdict".to_owned() } else { word(&hop["kind"]) };
        let verdict = match hop["verdict"].as_object().and_then(|jump| jump.iter().next()) {
            Some((way, chain)) => format!("{way} {}", word(chain)),
            None => word(&hop["verdict"]),
        };
        format!("{} {kind} {verdict}", chain_of(hop))
    };
    let delivered = match &packet["delivered"] {
        Value::Null => Value::Null,
        at => {
            ["node", "src", "dst", "sport", "dport"].map(|key| (key.to_owned(), at[key].clone())).into_iter().collect()
        }
    };
    BTreeMap::from([
        ("verdict", packet["verdict"].clone()),
        ("delivered", delivered),
        ("errno", packet["errno"].clone()),
        ("chain", if rule.is_null() { Value::Null } else { chain_of(rule).into() }),
        ("rule", rule["text"].clone()),
        ("path", packet["path"].as_array().expect("a path").iter().map(hop).collect()),
    ])
}

/// What the other judge says, of all cases or of some; it waits `quiet` milliseconds for more of each packet.
fn judge(suite: &str, quiet: u32, names: &[&str]) -> BTreeMap<String, Told> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("suite.yaml");
    std::fs::write(&file, suite).expect("writable");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"]);
    // Debian's own Python has Debian's scapy, whatever other Python is first on the path.
    command.args(["/usr/bin/python3", "-B", JUDGE]).arg(&file).arg(quiet.to_string()).args(names);
    let output = command.stdin(Stdio::null()).output().expect("unshare and python3 run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let told = |case: &Value| match case["load_error"].as_str() {
        Some(text) => Told::Refused(
            text.lines()
                .filter_map(|line| Some(line.split_once("Error: ")?.1.rsplit(": ").next()?.to_owned()))
                .collect(),
        ),
        None => Told::Loads(case["packets"].as_array().expect("packets").iter().map(from_judge).collect()),
    };
    let mut cases = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()) {
        let case: Value = serde_json::from_str(line).expect("JSON");
        assert!(case["failure"].is_null(), "{}: {}", case["name"], case["failure"].as_str().unwrap_or_default());
        cases.insert(case["name"].as_str().expect("a name").to_owned(), told(&case));
    }
    cases
}

fn from_judge(packet: &Value) -> Outcome {
    ["verdict", "delivered", "errno", "chain", "rule", "path"].map(|key| (key, packet[key].clone())).into()
}

/// The cases that the two do not agree on, each with what they say.
fn differences(engine: &BTreeMap<String, Told>, judge: &BTreeMap<String, Told>) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, theirs) in judge {
        let differ =
            |found: &mut BTreeMap<String, Vec<String>>, text| found.entry(name.clone()).or_default().push(text);
        match (engine.get(name), theirs) {
            (Some(Told::Loads(ours)), Told::Loads(theirs)) if ours.len() == theirs.len() => {
                for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                    for (key, theirs) in theirs.iter().filter(|(key, theirs)| ours[*key] != **theirs) {
                        differ(&mut found, format!("packet {number}, {key}: engine {}, judge {theirs}", ours[key]));
                    }
                }
            }
            (Some(ours), theirs) if ours == theirs => {}
            (ours, theirs) => differ(&mut found, format!("engine {ours:?}, judge {theirs:?}")),
        }
    }
    found
}

/// The two on all cases; where they differ the judge looks again, longer: on a loaded machine it may have looked away too soon.
fn compare(suite: &str, engine: &BTreeMap<String, Told>) -> (BTreeMap<String, Told>, BTreeMap<String, Vec<String>>) {
    let mut told = judge(suite, 30, &[]);
    assert!(engine.keys().eq(told.keys()), "the same cases");
    let unsure = differences(engine, &told);
    if !unsure.is_empty() {
        let names: Vec<&str> = unsure.keys().map(String::as_str).collect();
        told.extend(judge(suite, 300, &names));
    }
    let left = differences(engine, &told);
    (told, left)
}

#[test]
fn two_judges_agree_on_every_construct() {
    assert!(Path::new("/usr/lib/python3/dist-packages/scapy").exists(), "packaging/deps test installs scapy");
    let (engine, unmet) = engine(&Host::bare(), SUITE);
    assert!(unmet.is_empty(), "not as the suite says:\n{}", unmet.join("\n"));
    let (told, left) = compare(SUITE, &engine);
    for (name, case) in &told {
        if let Told::Refused(messages) = case {
            // The only reason there may be: an expression or object that this kernel was built without (ENOENT, EOPNOTSUPP).
            let lacks = |text: &String| text.contains("No such file or directory") || text.contains("not supported");
            assert!(messages.iter().all(lacks), "{name}: {messages:?}");
            println!("SKIPPED {name}: this kernel lacks it: {}", messages.join("; "));
        }
    }
    let judged = told.values().filter(|case| matches!(case, Told::Loads(_))).count();
    println!("{judged} of {} cases judged twice", told.len());
    assert!(judged > told.len() * 3 / 4, "most of it can be judged here");
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn the_other_judge_sees_what_is_wrong() {
    // One ruleset is told to the engine, another to the judge: each kind of difference shows.
    let suite = "
- name: a rule
  rules: |
    table inet t { chain i { type filter hook input priority 0; policy accept
      tcp dport 22 drop
    }
    }
  packets: [{dst_port: 22, expected_verdict: DROP}]
- name: a translation
  topology: gateway
  rules: |
    table ip n { chain p { type nat hook prerouting priority dstnat; policy accept
      tcp dport 8080 dnat to 10.0.2.2:80
    }
    }
  packets: [{dst_ip: 10.0.1.2, dst_port: 8080}]
- name: the same
  rules: |
    table ip t { chain i { type filter hook input priority 0; policy drop; }; }
  packets: [{expected_verdict: DROP}]
";
    let (engine, unmet) = engine(&Host::bare(), suite);
    assert_eq!(unmet, [""; 0]);
    let wrong = suite.replace("tcp dport 22 drop", "tcp dport 23 drop").replace("10.0.2.2:80", "10.0.2.2:81");
    let (_, left) = compare(&wrong, &engine);
    assert_eq!(left.keys().collect::<Vec<_>>(), ["a rule", "a translation"], "{left:#?}");
    for (name, key) in [("a rule", "verdict"), ("a rule", "rule"), ("a rule", "path"), ("a translation", "delivered")] {
        assert!(left[name].iter().any(|text| text.contains(&format!(", {key}: "))), "{name} {key}: {left:#?}");
    }
    let (_, none) = compare(suite, &engine);
    assert!(none.is_empty(), "{none:#?}");
}
