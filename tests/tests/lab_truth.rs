//! Every construct of the firewall lab, judged twice: by `netengine test`, and by `lab_truth/judge.py`, which knows nothing of the engine: it
//! builds the same network with iproute2, loads with `nft -f`, sends with scapy, and looks with tcpdump at the far ends and `nft monitor trace`.
//! Needs Debian's python3-scapy, python3-yaml, tcpdump and nftables.

use std::path::Path;

#[path = "lab_truth/judges.rs"]
mod judges;

use judges::{Told, compare, engine};
use netengine_tests::Host;

const SUITE: &str = include_str!("../data/lab/truth.yaml");

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
- name: a flow
  topology: gateway
  rules: |
    table inet t { chain f { type filter hook forward priority 0; policy drop
      ct state established accept
      tcp dport 80 accept
    }
    }
  packets:
    - {flow: handshake, dst_port: 80}
    - {flow: handshake, from: server, payload: welcome}
- name: the same
  rules: |
    table ip t { chain i { type filter hook input priority 0; policy drop; }; }
  packets: [{expected_verdict: DROP}]
";
    let (engine, unmet) = engine(&Host::bare(), suite);
    assert_eq!(unmet, [""; 0]);
    let wrong = suite
        .replace("tcp dport 22 drop", "tcp dport 23 drop")
        .replace("10.0.2.2:80", "10.0.2.2:81")
        .replace("established accept", "established ct direction original accept");
    let (_, left) = compare(&wrong, &engine);
    assert_eq!(left.keys().collect::<Vec<_>>(), ["a flow", "a rule", "a translation"], "{left:#?}");
    for (name, key) in [("a rule", "verdict"), ("a rule", "rule"), ("a rule", "path"), ("a translation", "delivered")] {
        assert!(left[name].iter().any(|text| text.contains(&format!(", {key}: "))), "{name} {key}: {left:#?}");
    }
    let (_, none) = compare(suite, &engine);
    assert!(none.is_empty(), "{none:#?}");
}
