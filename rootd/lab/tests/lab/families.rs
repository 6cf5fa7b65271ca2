//! Families and hooks beside ip, ip6 and inet.

use netengine_lab_proto::{CaseResult, Hook, PacketOutcome, Reply, Topology, Transport, Verdict};

use crate::case::{case, from, judged, simple, spec, tcp, udp, worker};

fn verdicts(outcomes: &[PacketOutcome]) -> Vec<Verdict> {
    outcomes.iter().map(|outcome| outcome.verdict).collect()
}

#[test]
fn ingress_drops_before_everything_else() {
    let text = "table netdev n { chain i { type filter hook ingress device \"eth0\" priority 0; tcp dport 80 drop; } }
table inet t { chain i { type filter hook input priority 0; tcp dport 81 drop; } }";
    let packets = vec![80, 81, 82]
        .into_iter()
        .flat_map(|port| [tcp("10.0.0.1", "10.0.0.2", port), tcp("fd00::1", "fd00::2", port)]);
    let outcomes = simple(&mut worker(), text, packets.collect());
    use Verdict::{Accept, Drop};
    assert_eq!(verdicts(&outcomes), [Drop, Drop, Drop, Drop, Accept, Accept], "{outcomes:#?}");
    assert_eq!(outcomes[0].path.last().and_then(|hop| hop.hook), Some(Hook::Ingress));
    assert_eq!(outcomes[2].path.last().and_then(|hop| hop.hook), Some(Hook::Input));
}

#[test]
fn a_bridge_forwards_and_drops() {
    let text = "table bridge b { chain f { type filter hook forward priority 0; tcp dport 80 drop; } }";
    let packets = [80, 81].map(|port| from("client", tcp("10.0.3.1", "10.0.3.2", port)));
    let answer = judged(&mut worker(), &case(Topology::bridge(), text, packets.into()));
    assert_eq!(verdicts(&answer.packets), [Verdict::Drop, Verdict::Accept], "{answer:#?}");
    assert_eq!(answer.packets[1].delivered.as_ref().map(|delivered| delivered.node.as_str()), Some("server"));
}

#[test]
fn arp_is_judged_by_its_bytes_and_its_answer() {
    let ask = || spec("10.0.0.1", "10.0.0.2", Transport::Arp { operation: 1 });
    let mut worker = worker();
    let drops = "table arp a { chain i { type filter hook input priority 0; arp operation request drop; } }";
    assert_eq!(verdicts(&simple(&mut worker, drops, vec![ask()])), [Verdict::Drop]);
    let counts = "table arp a { chain i { type filter hook input priority 0; arp operation request counter; } }";
    let outcomes = simple(&mut worker, counts, vec![ask()]);
    assert_eq!((outcomes[0].verdict, outcomes[0].reply), (Verdict::Accept, Some(Reply::Neighbour)), "{outcomes:#?}");
}

#[test]
fn egress_drops_what_leaves_or_the_kernel_is_said_to_lack_it() {
    let text = "table netdev n { chain e { type filter hook egress device \"eth0\" priority 0; udp dport 53 drop; } }";
    let packets = [53, 54].map(|port| from("fw", udp("10.0.0.2", "10.0.0.1", port)));
    match worker().run(&case(Topology::simple(), text, packets.into())).expect("answers") {
        CaseResult::Judged(answer) => {
            assert_eq!(verdicts(&answer.packets), [Verdict::Drop, Verdict::Accept], "{answer:#?}");
        }
        CaseResult::LoadFailed(errors) => {
            assert!(errors[0].message.contains("not supported"), "{errors:?}");
            println!("SKIPPED egress: this kernel lacks it: {}", errors[0].message);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn sets_and_meters_see_each_packet_once() {
    let text = "table inet t {
 set seen { type ipv4_addr; size 100; flags dynamic; }
 chain i { type filter hook input priority 0; policy drop;
  add @seen { ip saddr limit rate over 1/hour burst 3 packets } drop
  udp dport { 50-59, 70 } accept
 } }";
    let outcomes = simple(&mut worker(), text, (0..6).map(|n| udp("10.0.0.1", "10.0.0.2", 50 + n)).collect());
    let mut expected = vec![Verdict::Accept; 3];
    expected.extend([Verdict::Drop; 3]);
    assert_eq!(verdicts(&outcomes), expected, "{outcomes:#?}");
}

#[test]
fn notrack_and_states_are_told() {
    use netengine_lab_proto::CtState;
    let text = "table inet t {
 chain p { type filter hook prerouting priority raw; udp dport 53 notrack; }
 chain i { type filter hook input priority 0; policy drop; ct state untracked,new,established accept; } }";
    let syn = tcp("10.0.0.1", "10.0.0.2", 80);
    let mut odd = syn.clone();
    if let Transport::Tcp { flags, src_port, .. } = &mut odd.transport {
        (*flags, *src_port) = (0, 40_001);
    }
    let again = udp("10.0.0.1", "10.0.0.2", 54);
    let outcomes = simple(&mut worker(), text, vec![udp("10.0.0.1", "10.0.0.2", 53), syn, odd, again.clone()]);
    let states: Vec<_> = outcomes.iter().map(|outcome| outcome.ct_state).collect();
    let told = [Some(CtState::Untracked), Some(CtState::New), Some(CtState::Invalid), Some(CtState::New)];
    assert_eq!(states, told, "{outcomes:#?}");
    assert_eq!(verdicts(&outcomes), [Verdict::Accept, Verdict::Accept, Verdict::Drop, Verdict::Accept]);
}
