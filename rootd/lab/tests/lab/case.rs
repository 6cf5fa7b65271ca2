//! Cases made short: packets, rulesets, and a worker to run them.

use std::path::PathBuf;

use netengine_lab::client::Rootless;
use netengine_lab_proto::{
    CaseAnswer, CaseLimits, CaseRequest, CaseResult, Content, InjectedPacket, NodeName, PacketOutcome, PacketSpec,
    RulesetText, Topology, Transport,
};
use netengine_proto::bounded::Bounded;

pub const SYN: u8 = 2;

/// The worker's program, and the ruleset reader beside it.
pub fn programs() -> (PathBuf, PathBuf) {
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_netengine-lab"));
    let nft = lab.with_file_name("netengine-nft");
    assert!(nft.exists(), "build netengine-nft first: {}", nft.display());
    (lab, nft)
}

pub fn worker() -> Rootless {
    let (lab, nft) = programs();
    Rootless::start(&lab, &nft, 0).expect("the worker starts")
}

pub fn spec(src: &str, dst: &str, transport: Transport) -> PacketSpec {
    PacketSpec::new(src.parse().expect("address"), dst.parse().expect("address"), transport)
}

pub fn tcp(src: &str, dst: &str, port: u16) -> PacketSpec {
    spec(src, dst, Transport::tcp(40_000, port, SYN))
}

pub fn udp(src: &str, dst: &str, port: u16) -> PacketSpec {
    spec(src, dst, Transport::Udp { src_port: 40_000, dst_port: port })
}

pub fn from(node: &str, spec: PacketSpec) -> InjectedPacket {
    InjectedPacket::new(NodeName::parse(node).expect("name"), Content::Typed(Box::new(spec)))
}

pub fn case(topology: Topology, ruleset: &str, packets: Vec<InjectedPacket>) -> CaseRequest {
    CaseRequest {
        topology,
        ruleset: RulesetText::new(ruleset.to_owned()).expect("fits"),
        beside: Bounded::default(),
        packets: Bounded::new(packets).expect("fits"),
        limits: CaseLimits::default(),
    }
}

/// Runs a case that must be judged.
pub fn judged(worker: &mut Rootless, request: &CaseRequest) -> CaseAnswer {
    match worker.run(request).expect("the worker answers") {
        CaseResult::Judged(answer) => *answer,
        other => panic!("not judged: {other:?}"),
    }
}

/// The outcomes of packets from the client of the simple topology.
pub fn simple(worker: &mut Rootless, ruleset: &str, packets: Vec<PacketSpec>) -> Vec<PacketOutcome> {
    let packets = packets.into_iter().map(|spec| from("client", spec)).collect();
    judged(worker, &case(Topology::simple(), ruleset, packets)).packets.into_inner()
}
