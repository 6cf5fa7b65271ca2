//! Every fuzz target takes its seeds, then random edits of them for a moment: what `make test` has of fuzzing, without an engine.
//!
//! The edits are the same in every run: what is found by chance belongs to `make fuzz`, and to `REPLAY_SECONDS=N`, which begins anywhere
//! unless `REPLAY_SEED=N` says where. `REPLAY_INPUT=FILE` gives one input to each target.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use netengine_targets::targets::{ALL, Target, dhcp};

/// Edited inputs, unless REPLAY_SECONDS says how long they are made, and the time after which a slow target has had enough of them.
const INPUTS: u64 = 20_000;
const TIME: Duration = Duration::from_secs(1);
/// Where the edits of every run begin.
const SEED: u64 = 0x6e65_7465_6e67_696e;
/// Longest input.
const LONGEST: usize = 8 * 1024;
/// Bytes that parsers look for.
const WORDS: [&[u8]; 12] = [
    b"\0",
    b"\xff\xff\xff\xff",
    b"\"",
    b"{}",
    b"[[[[[[",
    b"\r\n",
    b"%%\n",
    b"..",
    b"%2f",
    b"-1",
    b"18446744073709551616",
    "\u{202e}".as_bytes(),
];

/// xorshift64* (S. Vigna): edits need no better one, and this one can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        fs::read_dir(corpus().join(name)).into_iter().flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a seed")).collect()
}

fn edit(input: &mut Vec<u8>, random: &mut Random, seeds: &[Vec<u8>]) {
    let at = random.below(input.len() + 1);
    let some = random.below(8) + 1;
    match random.below(7) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => drop(input.drain(at..(at + some).min(input.len()))),
        3 => drop(input.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
        4 => input.truncate(at),
        5 => {
            let part = input[at..(at + some * 4).min(input.len())].to_vec();
            input.splice(at..at, part);
        }
        _ => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
    input.truncate(LONGEST);
}

/// Tells the input when a target panics.
struct Shown<'a>(&'static str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: found by the input {:?}", self.0, self.1.escape_ascii().to_string());
            eprintln!("as a seed: tests/fuzz/corpus/{}", self.0);
        }
    }
}

fn give(name: &'static str, target: Target, input: &[u8]) {
    let _shown = Shown(name, input);
    target(input);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}

fn replay(name: &'static str) {
    let (_, target) = ALL.iter().find(|(known, _)| *known == name).expect("a target");
    if let Ok(file) = std::env::var("REPLAY_INPUT") {
        return give(name, *target, &fs::read(file).expect("an input"));
    }
    let mut seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds.push(Vec::new());
    seeds.iter().for_each(|seed| give(name, *target, seed));
    let (time, most, anywhere) = match number("REPLAY_SECONDS") {
        Some(seconds) => (Duration::from_secs(seconds), u64::MAX, now()),
        None => (TIME, INPUTS, SEED),
    };
    let first = number("REPLAY_SEED").unwrap_or(anywhere) | 1;
    println!("REPLAY_SEED={first}");
    let (mut random, begun, mut inputs) = (Random(first), Instant::now(), 0_u64);
    while inputs < 20 || (inputs < most && begun.elapsed() < time) {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            edit(&mut input, &mut random, &seeds);
        }
        give(name, *target, &input);
        inputs += 1;
    }
    println!("{name}: {inputs} inputs");
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replays! {
    acme_csr acme_jwk acme_jws acme_request control_frame dhcp dns_authority dns_message dns_resolver dns_text exec_frame lab_suite lab_verdict ntp
    oidc_form oidc_http oidc_jose pki_ocsp registry_http root_wire spec_json spec_yaml whois
}

#[test]
fn every_target_of_the_engine_is_replayed() {
    let known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, REPLAYED);
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/src/bin");
    let mut files: Vec<String> = fs::read_dir(programs)
        .expect("the engine's programs")
        .map(|file| file.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .filter(|name| name != "planted")
        .collect();
    files.sort();
    assert_eq!(files, known);
}

/// A fault that takes the beginning of one seed, the end of another and a byte that neither has.
#[test]
fn edits_find_a_planted_fault() {
    let seeds = [b"nearly".to_vec(), b"here".to_vec()];
    let mut random = Random(1);
    let is_found = (0..2_000_000).any(|_| {
        let mut input = seeds[random.below(2)].clone();
        for _ in 0..=random.below(4) {
            edit(&mut input, &mut random, &seeds);
        }
        input.len() > 6 && input.starts_with(b"nea") && input.ends_with(b"ere") && input.contains(&0xff)
    });
    assert!(is_found);
}

/// Seeds that are taken lead edits to what lies behind the reader.
#[test]
fn the_seeds_of_dhcp_are_answered() {
    let kinds = |seed: &str| {
        let said = dhcp::answers(&fs::read(corpus().join("dhcp").join(seed)).expect("a seed"));
        said.iter().map(|answer| answer.bytes[242]).collect::<Vec<u8>>()
    };
    let (offer, acknowledgement, refusal) = (2, 5, 6);
    assert_eq!(kinds("lease"), [offer, acknowledgement, acknowledgement]);
    assert_eq!(kinds("foreign"), [refusal]);
    assert_eq!(kinds("two-hosts"), [offer, acknowledgement, offer, refusal]);
    assert_eq!(kinds("declined"), [offer, acknowledgement, offer]);
}
