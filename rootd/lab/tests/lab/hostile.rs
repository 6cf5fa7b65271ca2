//! Texts and ends that mean harm.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use netengine_lab_proto::{CaseResult, Topology, Verdict};

use crate::case::{case, programs, simple, tcp, worker};

/// The worker's processes: below the one that was started.
fn family(pid: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::from([pid]);
    loop {
        let before = all.len();
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let parent = fs::read_to_string(format!("/proc/{child}/stat"))
                .ok()
                .and_then(|stat| stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok());
            if parent.is_some_and(|parent| all.contains(&parent)) {
                all.insert(child);
            }
        }
        if all.len() == before {
            return all;
        }
    }
}

#[test]
fn the_sandbox_has_no_files_and_its_limits_stand() {
    let mut worker = worker();
    simple(&mut worker, "", vec![tcp("10.0.0.1", "10.0.0.2", 80)]);
    let mut inside = family(worker.pid());
    inside.remove(&worker.pid());
    assert!(inside.len() >= 3, "worker, ruleset reader, its child: {inside:?}");
    for pid in inside {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        assert!(status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n"), "{status}");
        let root = fs::read_dir(format!("/proc/{pid}/root/")).expect("its root");
        let names: BTreeSet<_> = root.flatten().map(|entry| entry.file_name().into_string().expect("a name")).collect();
        assert_eq!(names, BTreeSet::from(["etc".to_owned(), "net".to_owned()]));
        for namespace in ["user", "net", "mnt", "pid", "ipc", "uts"] {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).expect("a namespace");
            assert_ne!(of(&pid.to_string()), of("self"), "{namespace}");
        }
    }
}

#[test]
fn hostile_texts_end_with_an_answer_and_the_next_case_is_judged() {
    let mut worker = worker();
    let deep = format!("table ip t {{ chain c {{ tcp dport {} accept", "{ ".repeat(100_000));
    let parentheses = format!("table ip t {{ chain c {{ meta mark set {}1 accept; }}; }}", "(".repeat(200_000));
    let long = "a".repeat(1 << 20);
    let hostile = [
        deep.as_str(),
        &parentheses,
        &long,
        "include \"/etc/shadow\"\n",
        "define x = $x\ntable $x {}\n",
        "table ip t { chain c { jump c; }; chain c { type filter hook input priority 0; }; }",
        "\u{0}",
        "list ruleset\nlist ruleset\n",
        "flush ruleset; flush ruleset",
        "table ip netengine_trace { }",
        "}}}}}}",
        "\"",
    ];
    for text in hostile {
        let result = worker.run(&case(Topology::simple(), text, vec![])).expect("answers");
        assert!(matches!(result, CaseResult::LoadFailed(_) | CaseResult::Judged(_)), "{result:?}");
        let outcomes = simple(
            &mut worker,
            "table ip t { chain i { type filter hook input priority 0; drop; } }",
            vec![tcp("10.0.0.1", "10.0.0.2", 80)],
        );
        assert_eq!(outcomes[0].verdict, Verdict::Drop);
    }
}

#[test]
fn nothing_of_one_case_is_left_to_the_next() {
    let mut worker = worker();
    let limited =
        "table ip t { chain i { type filter hook input priority 0; limit rate 1/hour burst 1 packets accept; drop; } }";
    for _ in 0..5 {
        let outcomes = simple(&mut worker, limited, vec![tcp("10.0.0.1", "10.0.0.2", 80); 2]);
        assert_eq!([outcomes[0].verdict, outcomes[1].verdict], [Verdict::Accept, Verdict::Drop]);
    }
}

#[test]
fn all_of_it_ends_with_its_first_process() {
    let (lab, nft) = programs();
    let mut worker = netengine_lab::client::Rootless::start(&lab, &nft, 1).expect("starts");
    simple(&mut worker, "", vec![tcp("10.0.0.1", "10.0.0.2", 80)]);
    let all = family(worker.pid());
    assert!(all.len() >= 4, "{all:?}");
    let killed =
        std::process::Command::new("kill").args(["-9", &worker.pid().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let deadline = Instant::now() + Duration::from_secs(10);
    let lives = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while all.iter().any(lives) {
        assert!(
            Instant::now() < deadline,
            "still alive: {:?}",
            all.iter().filter(|pid| lives(pid)).collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What nft, run in a namespace of its own, says of a text: nothing when it loads.
fn nft(text: &str) -> String {
    let file = std::env::temp_dir().join(format!("netengine-lab-lacks-{}", std::process::id()));
    fs::write(&file, text).expect("written");
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "nft", "-f"])
        .arg(&file)
        .output()
        .expect("unshare and nft run");
    fs::remove_file(&file).expect("there");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Kernels differ: what nft itself can load here is judged, what it cannot is told with what the kernel lacks, and nothing is made up.
#[test]
fn what_the_kernel_lacks_is_named_and_what_it_has_is_judged() {
    let chain = |family: &str, statement: &str| {
        let hook = match family {
            "netdev" => "ingress device lo",
            "arp" => "input",
            _ => "prerouting",
        };
        format!("table {family} t {{\n chain c {{\n  type filter hook {hook} priority 0;\n  {statement}\n }}\n}}\n")
    };
    let flowtable = "table inet t {\n flowtable f {\n  hook ingress priority 0; devices = { lo };\n }\n}\n";
    let mut texts = vec![("flowtable", flowtable.to_owned())];
    for family in ["ip", "ip6", "inet", "arp", "bridge", "netdev"] {
        for (name, statement) in
            [("queue", "queue num 3"), ("reject", "reject"), ("ct", "ct state new accept"), ("log", "log")]
        {
            texts.push((name, chain(family, statement)));
        }
    }
    let mut worker = worker();
    for (name, text) in texts {
        let alone = nft(&text);
        let result = worker.run(&case(Topology::simple(), &text, vec![])).expect("answers");
        let CaseResult::LoadFailed(errors) = result else {
            assert_eq!(alone, "", "{text}: loaded, and nft alone cannot: {result:?}");
            continue;
        };
        let message = &errors[0].message;
        let own = alone.lines().next().and_then(|line| line.split_once("Error: ")).expect("nft's message").1;
        assert!(message.starts_with(own.trim()), "{text}: {message}\n{alone}");
        if own.starts_with("Could not process rule") {
            assert!(message.contains(&format!("this kernel has no `{name}` in family ")), "{text}: {message}");
            assert!(errors[0].line.is_some(), "{text}: {errors:?}");
        }
        println!("{message}");
    }
    // The words of a missing module, of something else that is missing: nothing is added.
    let missing = "add table ip t\nadd chain ip t c\nadd rule ip t c log prefix \"queue\" jump nowhere\n";
    match worker.run(&case(Topology::simple(), missing, vec![])).expect("answers") {
        CaseResult::LoadFailed(errors) => assert!(!errors[0].message.contains("this kernel"), "{errors:?}"),
        other => panic!("loaded: {other:?}"),
    }
}
