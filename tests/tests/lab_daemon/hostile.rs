//! Rulesets that mean harm or ask too much, by the daemons and without them: each is judged or refused in words that say why, nothing of the host
//! changes, and another user's tests go on and say what they said before.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use netengine_tests::{ALICE, BOB, Host};
use serde_json::Value;

use super::{SUITE, host_with, nothing_left, timeless, told};

/// Bytes of a ruleset at most.
const MOST: usize = 16 << 20;
/// In each of them port 80 is to be dropped, so that what lets it pass by mistake is seen.
const PACKET: &str = "{dst_port: 80, expected_verdict: DROP}";
const CHAIN: &str = "table inet t {\n chain i {\n  type filter hook input priority 0;\n";

/// A text, the exit code, and what is said.
struct Hostile {
    name: &'static str,
    rules: String,
    code: i32,
    message: &'static str,
}

fn hostile(name: &'static str, rules: impl Into<String>, code: i32, message: &'static str) -> Hostile {
    Hostile { name, rules: rules.into(), code, message }
}

/// What a text of so many lines holds.
fn lines(count: u32, line: impl Fn(&mut String, u32)) -> String {
    let mut text = String::new();
    (0..count).for_each(|number| line(&mut text, number));
    text
}

fn all() -> Vec<Hostile> {
    let rules = lines(10_000, |text, number| writeln!(text, "  tcp dport {} drop", 1 + number).expect("a String"));
    let elements = lines(100_000, |text, number| {
        let [_, b, c, d] = (number + 1).to_be_bytes();
        write!(text, "10.{b}.{c}.{d}, ").expect("a String");
    });
    let named = format!("table inet t {{\n set s {{ type ipv4_addr; elements = {{ {elements} }}; }}\n}}\n");
    let comments = |bytes: usize| format!("# {}\n", "x".repeat(997)).repeat(bytes.div_ceil(1_000));
    let bodies = "chain c{}\n".repeat(MOST / 10 - 10);
    // Sixteen jumps deep is the most that a kernel takes (NFT_JUMP_STACK_SIZE).
    let jumps = lines(20, |text, number| {
        writeln!(text, " chain c{} {{ jump c{number}; }}", number + 1).expect("a String");
    });
    let refused = "cannot load the ruleset";
    vec![
        hostile("a file of root's", "include \"/etc/shadow\"\n", 1, "1:1: include is refused: a sandbox has no files"),
        hostile("a file of a process", "include \"/proc/1/environ\"\n", 1, "include is refused"),
        hostile("files of every name", "define x = 1\n\ninclude \"/etc/*\"\n", 1, "3:1: include is refused"),
        hostile("everything is flushed", "flush ruleset\n", 1, "expected DROP, got ACCEPT"),
        hostile("10,000 rules", format!("{CHAIN}{rules} }}\n}}\n"), 0, "1 passed"),
        hostile("100,000 elements", format!("{named}{CHAIN}  ip saddr @s drop\n }}\n}}\n"), 0, "1 passed"),
        hostile("16 MiB", comments(MOST - 1_000) + CHAIN + "drop\n}\n}\n", 0, "1 passed"),
        hostile("more than 16 MiB", comments(MOST + 1), 2, "`rules` holds more than 16777216 bytes"),
        hostile("more memory than there is", format!("table ip t {{\n{bodies}}}\n"), 1, "more memory for this text"),
        hostile("blocks in blocks", "table ip t { chain c { ".repeat(5_000), 1, refused),
        hostile(
            "deep nesting",
            format!("table ip t {{ chain c {{ meta mark set {}1 accept; }}; }}", "(".repeat(200_000)),
            1,
            "nested too deeply for nft's parser",
        ),
        hostile(
            "a crash of the parser",
            format!("table ip t {{ chain c {{ meta mark set 1{}; }}; }}", " | 1".repeat(1_000_000)),
            1,
            "this text crashes nft's parser",
        ),
        hostile("a NUL byte", "table ip t {\n\0}", 1, "2:1: a NUL byte in the ruleset"),
        hostile(
            "a loop of jumps",
            "table ip t {\n chain a { jump b; }\n chain b { jump a; }\n chain i { type filter hook input priority 0; jump a; }\n}\n",
            1,
            "Too many links",
        ),
        hostile(
            "jumps too deep",
            format!(
                "table ip t {{\n chain c0 {{ }}\n{jumps} chain i {{ type filter hook input priority 0; jump c20; }}\n}}\n"
            ),
            1,
            "Too many links",
        ),
        hostile("a loop of definitions", "define x = $x\ntable $x {}\n", 1, refused),
        hostile("never ends", "monitor\n", 1, "monitor is refused"),
        hostile("the lab's own table", "table inet netengine_trace {}\n", 1, refused),
        hostile("nothing but noise", "}}}}\"{{{;;\u{1b}[2J\u{7f}", 1, refused),
    ]
}

/// Alice has each of them judged; Bob runs the same suite all the while, and it must say the same each time.
fn judged_or_refused_beside_bob(host: &Host, words: &[&str]) {
    let bobs_file = host.file("bob.yaml", SUITE);
    let suite = host.file("suite.yaml", &format!("- {{name: x, rules_file: hostile.nft, packets: [{PACKET}]}}\n"));
    host.file("hostile.nft", "");
    let bob = || {
        let (code, out, error) = told(&host.cli(BOB, &[&["test", &bobs_file, "--json"], words].concat()));
        assert_eq!(code, Some(0), "{out}{error}");
        timeless(&out)
    };
    let before = host.foreign();
    let first: Value = bob();
    for hostile in all() {
        host.file("hostile.nft", &hostile.rules);
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let bob = scope.spawn(|| {
                let mut runs = Vec::new();
                while !ended.load(Ordering::Relaxed) || runs.is_empty() {
                    runs.push(bob());
                }
                runs
            });
            let (code, out, error) = told(&host.cli(ALICE, &[&["test", &suite], words].concat()));
            ended.store(true, Ordering::Relaxed);
            let runs = bob.join().expect("ends");
            let name = hostile.name;
            assert_eq!(code, Some(hostile.code), "{name}: {out}{error}");
            assert!(out.contains(hostile.message) || error.contains(hostile.message), "{name}: {out}{error}");
            assert!(
                !out.contains("root:") && !out.contains('\u{1b}') && !error.contains('\u{1b}'),
                "{name}: {out}{error}"
            );
            assert!(runs.iter().all(|run| *run == first), "beside {name}: {first:#}\n{runs:#?}");
            let said = out.lines().chain(error.lines()).find(|line| line.contains(hostile.message));
            println!("{name}: exit {}, {} runs of bob's as before, {:?}", hostile.code, runs.len(), said);
        });
    }
    host.file("hostile.nft", "");
    before.assert_unchanged(&host.snapshot());
}

#[test]
fn hostile_rulesets_are_judged_or_refused_by_the_daemons_while_others_tests_go_on() {
    let host = host_with("");
    let daemons = || ["netengine-rootd", "netengine-userd", "netengine-lab"].map(|name| host.daemon_pid(name));
    let before = daemons();
    judged_or_refused_beside_bob(&host, &[]);
    assert_eq!(daemons(), before);
    nothing_left(&host);
}

#[test]
fn hostile_rulesets_are_judged_or_refused_without_daemons_while_others_tests_go_on() {
    let host = Host::bare();
    judged_or_refused_beside_bob(&host, &["--rootless"]);
    nothing_left(&host);
}
