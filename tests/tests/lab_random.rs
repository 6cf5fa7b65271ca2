//! Rulesets and packets that nobody thought of, made from seeds that are written here, judged by `netengine test` and by `lab_truth/judge.py`,
//! which knows nothing of it: of each packet the two must say the same. `NETENGINE_RANDOM=FROM..TO` judges other seeds.
//!
//! The other judge waits for silence: a refusal that comes later than that it takes for a drop, so it looks again, longer, before the two are
//! said to differ. Of what accepted a packet both name the last rule, or else the last policy; the whole path is compared beside it. Nothing
//! that is made here counts packets or time, for the other judge's nodes may say things of their own (IPv6 listeners) before the first packet.

use std::{collections::BTreeMap, ops::Range, thread};

#[path = "lab_truth/judges.rs"]
mod judges;
#[path = "lab_random/packets.rs"]
mod packets;
#[path = "lab_random/rulesets.rs"]
mod rulesets;
#[path = "lab_random/seeds.rs"]
mod seeds;

use judges::{Told, compare, engine};
use netengine_tests::{ALICE, Host, report::report};
use seeds::Seed;
use serde_json::{Value, json};

/// What is written by people, of the other test.
const TRUTH: &str = include_str!("../data/lab/truth.yaml");

/// Whether a case is of the gateway topology; else it is of the simple one.
#[derive(Clone, Copy)]
pub struct Gateway(pub bool);

fn case(seed: u64) -> Value {
    let mut numbers = Seed::new(seed);
    let gateway = Gateway(numbers.once_in(2));
    let rules = rulesets::ruleset(&mut numbers, gateway);
    let mut listed: Vec<Value> = Vec::new();
    for number in 0..2 + numbers.below(3) {
        // Now and then the same once more: what the first one left of itself (a connection) may decide on it.
        let again = listed.last().filter(|_| numbers.once_in(5)).cloned();
        listed.push(again.unwrap_or_else(|| packets::packet(&mut numbers, gateway, number)));
    }
    let topology = if gateway.0 { "gateway" } else { "simple" };
    json!({"name": format!("seed {seed}"), "topology": topology, "rules": rules, "packets": listed})
}

/// One case a line, so that a suite of one of them can have it in the same place.
fn suite(seeds: Range<u64>) -> String {
    seeds.map(|seed| format!("- {}\n", case(seed))).collect()
}

/// How many packets were told each verdict.
fn verdicts(told: &BTreeMap<String, Told>) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for packet in told.values().flat_map(|case| match case {
        Told::Loads(packets) => packets.as_slice(),
        Told::Refused(_) => &[],
    }) {
        *count.entry(packet["verdict"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    count
}

/// The report on each case by its name, without times and without what the file is called.
fn reports(host: &Host, name: &str, suite: &str, words: &[&str]) -> BTreeMap<String, Value> {
    let file = host.file(name, suite);
    let output = host.cli(ALICE, &[&["test", file.as_str(), "--json"], words].concat());
    let text = report(&output).to_string().replace(&file, "suite").replace(name, "suite");
    let report: Value = serde_json::from_str(&text).expect("names alone were replaced");
    let cases = report["tests"].as_array().expect("cases").iter();
    cases.map(|case| (case["name"].as_str().expect("a name").to_owned(), case.clone())).collect()
}

/// Suites of one case each, which stands on its line of `suite`.
fn each_alone(suite: &str) -> Vec<String> {
    let lines: Vec<&str> = suite.lines().collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].starts_with("- ")).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    starts.iter().zip(ends).map(|(start, end)| "\n".repeat(*start) + &lines[*start..end].join("\n")).collect()
}

#[test]
fn a_used_worker_judges_as_a_new_one() {
    let suite = format!("{TRUTH}{}", suite(1001..1061));
    let host = Host::bare();
    // One worker for all of them, one after the other; and one of its own for each, two at a time.
    let used = reports(&host, "all.yaml", &suite, &["--jobs", "1"]);
    let alone = each_alone(&suite);
    assert_eq!(used.len(), alone.len());
    let run = |name: &str, suites: &[String]| -> Vec<_> {
        suites.iter().flat_map(|suite| reports(&host, name, suite, &[])).collect()
    };
    let (first, second) = alone.split_at(alone.len() / 2);
    let new: Vec<(String, Value)> = thread::scope(|scope| {
        let other = scope.spawn(|| run("other.yaml", second));
        let mut new = run("one.yaml", first);
        new.extend(other.join().expect("it ends"));
        new
    });
    assert_eq!(new.len(), used.len());
    for (name, told) in &new {
        assert_eq!(used.get(name), Some(told), "{name}");
    }
}

#[test]
fn two_judges_agree_on_what_nobody_wrote() {
    let seeds = match std::env::var("NETENGINE_RANDOM") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("FROM..TO");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
        Err(_) => 1..121,
    };
    let suite = suite(seeds);
    let (engine, _) = engine(&Host::bare(), &suite);
    let (judge, left) = compare(&suite, &engine);
    let refused: BTreeMap<_, _> = judge.iter().filter(|(_, told)| matches!(told, Told::Refused(_))).collect();
    println!("{} cases, {} do not load; {:?}", judge.len(), refused.len(), verdicts(&judge));
    for (name, told) in &refused {
        println!("{name}: {told:?}");
    }
    for line in suite.lines().filter(|line| {
        let here = |name: &String| line.contains(&format!("\"{name}\""));
        left.keys().any(here) || refused.keys().any(|name| here(name))
    }) {
        println!("{line}");
    }
    assert!(left.is_empty(), "{left:#?}");
    assert!(refused.is_empty(), "rulesets are to load");
}
