//! Prints how fast the engine is: distinct small rulesets with one packet each, and one ruleset with many packets.
//!
//! Usage: `cargo run -p netengine-lab --example rate -- LAB NFT [CASES] [PACKETS] [ct]`; with `ct` the rulesets look at connections.

use std::{path::PathBuf, time::Instant};

use netengine_lab::client::Rootless;
use netengine_lab_proto::{
    CaseLimits, CaseRequest, CaseResult, Content, InjectedPacket, NodeName, PacketSpec, RulesetText, Topology,
    Transport, Verdict,
};
use netengine_proto::bounded::Bounded;

fn packet(port: u16) -> InjectedPacket {
    let transport = Transport::Udp { src_port: 40_000, dst_port: port };
    let spec = PacketSpec::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), transport);
    let from = NodeName::parse("client").expect("a name");
    InjectedPacket::new(from, Content::Typed(Box::new(spec)))
}

fn run(worker: &mut Rootless, rules: String, packets: Vec<InjectedPacket>, drops: bool) -> (u64, u64) {
    let request = CaseRequest {
        topology: Topology::simple(),
        ruleset: RulesetText::new(rules).expect("fits"),
        beside: Bounded::default(),
        packets: Bounded::new(packets).expect("fits"),
        limits: CaseLimits { timeout_ms: 60_000, ..CaseLimits::default() },
    };
    match worker.run(&request).expect("the worker answers") {
        CaseResult::Judged(answer) => {
            let wanted = if drops { Verdict::Drop } else { Verdict::Accept };
            let wrong = answer.packets.iter().filter(|outcome| outcome.verdict != wanted).count();
            assert_eq!(wrong, 0, "{:?}", answer.packets.iter().find(|outcome| outcome.verdict != wanted));
            (answer.setup_micros, answer.run_micros)
        }
        other => panic!("{other:?}"),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (lab, nft) = (PathBuf::from(&arguments[1]), PathBuf::from(&arguments[2]));
    let number = |at: usize, otherwise: u32| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (cases, packets) = (number(3, 300), number(4, 10_000));
    let state = if arguments.get(5).is_some_and(|word| word == "ct") { "ct state established accept\n" } else { "" };
    let begun = Instant::now();
    let threads: Vec<_> = (0..2_usize)
        .map(|processor| {
            let (lab, nft) = (lab.clone(), nft.clone());
            std::thread::spawn(move || {
                let mut worker = Rootless::start(&lab, &nft, processor).expect("starts");
                let mut setup = Vec::new();
                for case in 0..cases {
                    let rules = format!(
                        "table inet t {{\n chain i {{\n type filter hook input priority 0; policy drop;\n {state}udp dport {} drop\n }}\n}}\n",
                        case + 1
                    );
                    setup.push(run(&mut worker, rules, vec![packet((case + 1) as u16)], true));
                }
                setup.sort();
                setup[setup.len() / 2]
            })
        })
        .collect();
    for thread in threads {
        let (setup, run) = thread.join().expect("no panic");
        println!("median of one worker: {setup} us to build and load, {run} us to judge");
    }
    let rate = f64::from(2 * cases) / begun.elapsed().as_secs_f64();
    println!("{rate:.0} distinct rulesets/s with one packet each, two workers");
    let mut worker = Rootless::start(&lab, &nft, 0).expect("starts");
    let rules = "table inet t {\n chain i {\n type filter hook input priority 0;\n udp dport 53 drop\n }\n}\n";
    let begun = Instant::now();
    let (_, micros) = run(&mut worker, rules.into(), (0..packets).map(|_| packet(53)).collect(), true);
    println!(
        "{:.0} verdicts/s of one ruleset, one worker ({:?} in all)",
        f64::from(packets) * 1e6 / micros as f64,
        begun.elapsed()
    );
}
