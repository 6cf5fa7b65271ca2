//! The two judges of a suite and what they say of it, as values that can be compared: `netengine test`, and `judge.py`, which knows nothing of
//! the engine.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use netengine_tests::{ALICE, Host, report::nft_words};
use serde_json::Value;

const JUDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab_truth/judge.py");

/// What a packet became, as either judge tells it.
pub type Outcome = BTreeMap<&'static str, Value>;

/// A case, as either judge tells it.
#[derive(Debug, PartialEq)]
pub enum Told {
    Loads(Vec<Outcome>),
    /// nft's messages, each with its line and column in the ruleset.
    Refused(Vec<String>),
}

/// What `netengine test` says of each case, and which were not as the suite's author expects.
pub fn engine(host: &Host, suite: &str) -> (BTreeMap<String, Told>, Vec<String>) {
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
            Some(message) if message.contains("cannot load") => Told::Refused(message.lines().map(nft_said).collect()),
            Some(message) => panic!("{name}: {message}"),
            None => Told::Loads(packets.iter().map(from_engine).collect()),
        };
        told.insert(name, told_case);
    }
    (told, unmet)
}

/// What nft said in a line of a message: without the place before it, and without what the engine knows of this kernel after it.
fn nft_said(line: &str) -> String {
    let line = nft_words(line);
    line.rsplit_once(": ").map_or(line, |(_, end)| end).to_owned()
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
pub fn judge(suite: &str, quiet: u32, names: &[&str]) -> BTreeMap<String, Told> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("suite.yaml");
    std::fs::write(&file, suite).expect("writable");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child"]);
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
pub fn differences(engine: &BTreeMap<String, Told>, judge: &BTreeMap<String, Told>) -> BTreeMap<String, Vec<String>> {
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
pub fn compare(
    suite: &str,
    engine: &BTreeMap<String, Told>,
) -> (BTreeMap<String, Told>, BTreeMap<String, Vec<String>>) {
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
