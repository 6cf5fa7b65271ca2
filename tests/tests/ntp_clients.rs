//! The time service of a world, asked by chrony, ntpdate and a bare socket from inside the world.

mod judge;

use judge::{GATEWAY, inside, minimal, run, spec, until, up, worldds};
use netengine_tests::{ALICE, Host, ROOT};
use serde_json::Value;

/// chronyd as an ordinary user: it only asks and prints, after four samples two seconds apart, or after `options`. Its own
/// places are not writable for alice.
fn chrony(server: &str, options: &str) -> String {
    format!(
        "cd $HOME; /usr/sbin/chronyd -Q -t 30 -U -f /dev/null 'server {server} iburst {options}' 'pidfile '$HOME/chrony.pid 'cmdport 0' 2>&1"
    )
}

#[test]
fn chrony_and_ntpdate_accept_the_time_in_every_network() {
    let host = Host::new();
    let services = "  networks:\n    platform: {subnet: 172.28.0.0/16, subnet6: 'fd00:28::/64'}\n    core: {subnet: 10.0.0.0/24, subnet6: 'fd00:10::/64'}\n";
    up(&host, &spec(&host, "clock", &format!("{services}{GATEWAY}")));
    let status = run(&host, ALICE, &["status", "clock", "--json"]).ok().json();
    let told: Vec<String> = status["services"]
        .as_array()
        .expect("services")
        .iter()
        .filter(|s| s["name"] == "ntp")
        .map(|s| s["address"].as_str().expect("text").to_owned())
        .collect();
    assert!(told.iter().any(|a| a.contains('.')) && told.iter().any(|a| a.contains(':')), "both families: {told:?}");
    for from in ["clock/core", "clock/platform"] {
        let servers = told.iter().map(String::as_str).chain(["10.0.0.2", "172.28.0.11", "fd00:10::a00:2"]);
        for (number, server) in servers.enumerate() {
            // As it does by itself once; of the others one sample, which tells whether it accepts them.
            let options = if number == 0 { "" } else { "maxsamples 1" };
            let seen = inside(&host, ALICE, from, &chrony(server, options)).ok().out;
            assert!(seen.contains("System clock wrong by"), "{from} asks {server}: {seen}");
            let wrong: f64 = seen
                .split("wrong by ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next())
                .and_then(|n| n.parse().ok())
                .expect("a number");
            assert!(wrong.abs() < 0.5, "{seen}");
        }
        for server in ["10.0.0.254", "172.28.255.254", "fd00:10::a00:fe"] {
            let seen = inside(&host, ALICE, from, &format!("/usr/sbin/ntpdate -q {server} 2>&1")).ok().out;
            assert!(seen.contains("s10 ") || seen.contains("stratum 10"), "the stratum it announces: {seen}");
        }
    }
    // The machine itself is not asked: nothing of the world is reachable from it.
    let outside = judge::sh(&host, ALICE, &judge::ask_time("10.0.0.254"));
    assert_ne!(outside.code, 0, "{outside:?}");
}

#[test]
fn too_many_questions_get_a_kiss_and_then_nothing_and_others_are_served() {
    let host = Host::new();
    up(&host, &minimal());
    let script = "import socket, struct\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5)\n\
        good = kiss = 0\n\
        for n in range(400):\n\
        \x20   ask = bytes([0x23]) + bytes(39) + struct.pack('>Q', 0x1234567800000000 + n)\n\
        \x20   s.sendto(ask, ('10.0.0.254', 123))\n\
        s.settimeout(1)\n\
        try:\n\
        \x20   while True:\n\
        \x20       d = s.recv(999)\n\
        \x20       assert len(d) == 48 and d[0] & 7 == 4 and d[0] >> 3 & 7 == 4, d\n\
        \x20       assert d[24:32] >= struct.pack('>Q', 0x1234567800000000), 'the origin is what we sent'\n\
        \x20       if d[1] == 0: assert d[12:16] == b'RATE', d; kiss += 1\n\
        \x20       else: assert d[1] == 10, d; good += 1\n\
        except TimeoutError: pass\n\
        print(good, kiss)";
    let ran = run(&host, ALICE, &["exec", "minimal", "--", "python3", "-c", script]).ok().out;
    let numbers: Vec<u32> = ran.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    assert!(numbers[0] >= 1 && numbers[0] < 100, "some are answered, not all: {ran}");
    assert!(numbers[1] >= 1, "kiss-o'-death was sent: {ran}");
    assert!(numbers[0] + numbers[1] < 400, "not every flood packet is answered: {ran}");
    inside(&host, ALICE, "minimal/platform", "/usr/sbin/ntpdate -q 10.0.0.254").ok();
    // Rubbish is not answered and harms nothing: short, wrong mode, long.
    let rubbish = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3)\n\
        for d in (b'', b'x', bytes(47), bytes([0x24]) + bytes(47), bytes([0x1e]) + bytes(47), b'\\xff' * 1400):\n\
        \x20   s.sendto(d, ('10.0.0.3', 123))\n\
        try: print(s.recv(9))\nexcept TimeoutError: print('silence')";
    assert_eq!(run(&host, ALICE, &["exec", "minimal/platform", "--", "python3", "-c", rubbish]).ok().out, "silence\n");
    inside(&host, ALICE, "minimal/platform", "/usr/sbin/ntpdate -q 10.0.0.3").ok();
}

#[test]
fn a_killed_worldd_comes_back_by_itself_and_it_is_told() {
    let host = Host::new();
    up(&host, &minimal());
    let before = worldds(&host);
    host.shell(ROOT, &format!("kill -9 {}", before[0]));
    until("a new worldd runs", || worldds(&host), |now| now.len() == 1 && *now != before);
    until("it serves", || inside(&host, ALICE, "minimal", &judge::ask_time("10.0.0.254")).code, |code| *code == 0);
    let state = || run(&host, ALICE, &["status", "minimal", "--json"]).ok().json()["state"].clone();
    until("the world is ready", state, |state| state == "ready");
    let events = run(&host, ALICE, &["events", "minimal", "--json"]).ok().json();
    let kinds: Vec<&str> =
        events.as_array().expect("events").iter().filter_map(|event| event["kind"].as_str()).collect();
    assert!(kinds.contains(&"process.ended"), "{kinds:?}");
    let ended: Vec<&Value> =
        events.as_array().expect("events").iter().filter(|event| event["kind"] == "process.ended").collect();
    assert!(ended.iter().any(|event| event["message"].as_str().is_some_and(|m| m.contains("worldd"))), "{ended:?}");
}
