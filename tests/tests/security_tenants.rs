//! Rows 18 to 20, 60, 71, 81, 82: two tenants, a stranger and an administrator on one host, through the real daemons.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use netengine_tests::{
    ALICE, BOB, CAROL, DANA, EXAMPLES, Host, Person,
    attack::{rss_kib, until},
    root::connect_as,
};

const USER: &str = "/run/netengine/user.sock";
const ADMIN: &str = "/run/netengine/admin.sock";

fn spec() -> String {
    format!("{EXAMPLES}/minimal.yaml")
}

/// One request on a connection of its own: status and body.
fn ask(host: &Host, person: Person, socket: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = connect_as(host, person, socket).expect("the group passes");
    exchange(&mut stream, method, path, body)
}

fn exchange(stream: &mut UnixStream, method: &str, path: &str, body: &str) -> (u16, String) {
    stream.set_read_timeout(Some(netengine_tests::DEADLINE)).expect("a socket");
    let head = format!("{method} /api/v1{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let length = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all((head + &length).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

// Rows 60, 71: whatever bob asks about alice's world, it is not there.
#[test]
fn two_tenants_do_not_meet() {
    let host = Host::new();
    assert!(host.cli(ALICE, &["up", &spec()]).status.success());
    let operation = {
        let (_, events) = ask(&host, ALICE, USER, "GET", "/events?world=minimal", "");
        let events: serde_json::Value = serde_json::from_str(&events).expect("JSON");
        events[0]["operation"].as_str().expect("an operation").to_owned()
    };
    let routes = [
        ("GET", "/worlds/minimal", ""),
        ("GET", "/worlds/minimal/removal", ""),
        ("DELETE", "/worlds/minimal", ""),
        ("POST", "/worlds/minimal/exec", "{}"),
        ("GET", "/worlds/minimal/logs", ""),
        ("GET", "/worlds/minimal/logs?service=ntp", ""),
        ("GET", "/events?world=minimal", ""),
        ("GET", "/worlds/minimal?owner=2001", ""),
        ("DELETE", "/worlds/minimal?owner=2001", ""),
        ("POST", "/worlds/minimal/exec?owner=2001", "{}"),
        ("GET", "/operations/OPERATION", ""),
        ("DELETE", "/operations/OPERATION", ""),
    ];
    for (method, path, body) in routes {
        let of_alice = path.replace("OPERATION", &operation);
        let of_nobody = path.replace("minimal", "nothing").replace("OPERATION", "0011223344556677");
        let neutral = |text: String| {
            text.replace("nothing", "NAME")
                .replace("minimal", "NAME")
                .replace(&operation, "ID")
                .replace("0011223344556677", "ID")
        };
        let (status, said) = ask(&host, BOB, USER, method, &of_alice, body);
        let (absent, said_of_absent) = ask(&host, BOB, USER, method, &of_nobody, body);
        assert_eq!((status, neutral(said)), (absent, neutral(said_of_absent)), "{method} {path}");
        assert_eq!(status, 404, "{method} {path}");
    }
    for args in [
        &["status", "minimal"][..],
        &["exec", "minimal", "--", "id"],
        &["down", "minimal", "--yes"],
        &["logs", "minimal"],
    ] {
        let output = host.cli(BOB, args);
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {output:?}");
    }
    assert!(!String::from_utf8_lossy(&host.cli(BOB, &["list"]).stdout).contains("minimal"));
    let (_, events) = ask(&host, BOB, USER, "GET", "/events", "");
    assert_eq!(events.trim(), "[]");
    // carol is in no group: the kernel keeps her out; dana sees all, and must say whose.
    assert!(connect_as(&host, CAROL, USER).is_err() && connect_as(&host, CAROL, ADMIN).is_err());
    assert!(connect_as(&host, ALICE, ADMIN).is_err());
    let (status, said) = ask(&host, DANA, ADMIN, "GET", "/worlds/minimal?owner=2001", "");
    assert!(status == 200 && said.contains("alice"), "{status} {said}");
    assert_eq!(ask(&host, DANA, ADMIN, "GET", "/worlds/minimal", "").0, 404);
    // bob's world of the same name is his own.
    assert!(host.cli(BOB, &["up", &spec()]).status.success());
    assert!(host.cli(BOB, &["down", "minimal", "--yes"]).status.success());
    let alice = host.cli(ALICE, &["exec", "minimal", "--", "id", "-u"]);
    assert_eq!(String::from_utf8_lossy(&alice.stdout), "2001\n", "{}", String::from_utf8_lossy(&alice.stderr));
    assert!(host.cli(ALICE, &["down", "minimal", "--yes"]).status.success());
}

// Row 60: a command is the caller's, with nothing added, whatever the caller does to itself before.
#[test]
fn a_command_never_has_more_than_its_caller() {
    let host = Host::new();
    assert!(host.cli(ALICE, &["up", &spec()]).status.success());
    let show = "id -u; id -g; id -G; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\n\\t '";
    let output = host.cli(ALICE, &["exec", "minimal", "--", "sh", "-c", show]);
    let expected = "2001\n2001\n2001 804\nCapBnd:0000000000000000NoNewPrivs:1Seccomp:2";
    let seen = String::from_utf8_lossy(&output.stdout).replace("CapEff:0000000000000000", "");
    assert_eq!(seen, expected);
    // root of a user namespace of her own is alice to rootd; there is no way to be root in the world.
    let script = format!(
        "unshare -Urm {}/netengine exec minimal -- sh -c 'id -u; cat /etc/shadow; cat /proc/self/status' 2>&1 || true",
        netengine_tests::BIN
    );
    let said = host.shell(ALICE, &script);
    assert!(!said.starts_with("0\n") && !said.contains("root:") && !said.contains("CapEff:\t000001"), "{said}");
    // A set-uid program gives nothing.
    let output = host.cli(
        ALICE,
        &["exec", "minimal", "--", "sh", "-c", "su root -c id; mount -t tmpfs x /mnt; ip link add x type dummy; true"],
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("uid=0"), "{output:?}");
    assert!(host.cli(ALICE, &["down", "minimal", "--yes"]).status.success());
}

/// Texts that a kernel, a shell, a path, a terminal, a template or a log would interpret.
fn bad_texts() -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        " ",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "-x",
        "--help",
        "-",
        "a;b",
        "a|b",
        "a&b",
        "$(id)",
        "`id`",
        "a b",
        "a\tb",
        "a\nb",
        "a\rb",
        "a\0b",
        "\u{1b}[31m",
        "\u{9b}31m",
        "\u{7f}",
        "\u{202e}x",
        "\u{2066}x",
        "\u{feff}x",
        "\u{200b}x",
        "%d",
        "%s",
        "%n",
        "a%d",
        "%2e%2e",
        "a.b",
        "a_b",
        "A",
        "aB",
        "é",
        "ａ",
        "ß",
        "ı",
        "а",
        "١",
        "a*",
        "a?",
        "[a]",
        "{a}",
        "~",
        "~root",
        "a'b",
        "a\"b",
        "a=b",
        "a:b",
        "a,b",
        "a@b",
        "a#b",
        "a!b",
        "a^b",
        "<a>",
        "include \"/etc/shadow\"",
        "'; drop table worlds; --",
    ]
    .map(str::to_owned)
    .into();
    all.push("a".repeat(64));
    all.push("\u{1d586}".repeat(64));
    all.push("a".repeat(100_000));
    all
}

/// The minimal world as a request, with a name and the router's address in `core`.
fn whole_spec(name: &str, core_ip: &str) -> String {
    let off = serde_json::json!({ "enabled": false });
    serde_json::json!({ "spec": {
        "metadata": { "name": name },
        "substrate": { "gateway": { "platform_ip": "172.28.0.1", "core_ip": core_ip } },
        "dns": {}, "pki": {}, "identity_platform": {}, "world_registry": {}, "domain_registry": {},
        "identity_inworld": {}, "ands": {}, "world_services": { "mail": off, "storage": off },
        "org_apps": {}, "gateway_portal": {}, "operator": {},
    } })
    .to_string()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

// Rows 17 to 20: bad texts in every text field of the API.
#[test]
fn bad_texts_are_refused_by_every_route() {
    let host = Host::new();
    let before = host.snapshot().without(&["files", "processes"]);
    let bad = bad_texts();
    assert!(bad.len() >= 60);
    // The fields are refused for what is in them: with a good name the same requests are served.
    assert_eq!(ask(&host, ALICE, USER, "POST", "/plan", &whole_spec("good", "10.0.0.1")).0, 200);
    for text in bad.iter().filter(|text| text.len() < 10_000) {
        let name = percent(text);
        let routes: [(&str, String, String); 11] = [
            ("GET", format!("/worlds/{name}"), String::new()),
            ("GET", format!("/worlds/{name}/removal"), String::new()),
            ("DELETE", format!("/worlds/{name}?confirm={name}"), String::new()),
            ("POST", format!("/worlds/{name}/exec"), serde_json::json!({ "host": text }).to_string()),
            ("GET", format!("/worlds/{name}/logs?service={name}&lines={name}"), String::new()),
            ("GET", format!("/operations/{name}"), String::new()),
            ("GET", format!("/events?world={name}"), String::new()),
            ("GET", format!("/worlds/x?owner={name}"), String::new()),
            ("POST", "/worlds".into(), whole_spec(text, "10.0.0.1")),
            ("POST", "/worlds".into(), whole_spec("good", text)),
            ("POST", "/plan".into(), whole_spec(text, "10.0.0.1")),
        ];
        for (method, path, body) in routes {
            let (status, said) = ask(&host, ALICE, USER, method, &path, &body);
            // An empty filter means no filter.
            let is_list = text.is_empty() && method != "POST" && (path.starts_with("/events") || path == "/worlds/");
            assert!((400..500).contains(&status) || is_list, "{text:?} at {method} {path}: {status} {said}");
            assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{text:?} comes back raw: {said:?}");
        }
    }
    let long = bad.iter().find(|text| text.len() >= 10_000).expect("one");
    let (status, _) = ask(&host, ALICE, USER, "GET", &format!("/worlds/{long}"), "");
    assert!((400..500).contains(&status) || status == 0, "{status}");
    before.assert_unchanged(&host.snapshot().without(&["files", "processes"]));
}

// Row 82: bob holds all the connections he may, and dribbles; alice does not notice.
#[test]
fn slow_clients_of_one_user_do_not_starve_another() {
    let host = Host::new();
    let userd = host.daemon_pid("netengine-userd");
    let time = |rounds: u32| {
        let mut worst = Duration::ZERO;
        for _ in 0..rounds {
            let since = Instant::now();
            assert_eq!(ask(&host, ALICE, USER, "GET", "/worlds", "").0, 200);
            worst = worst.max(since.elapsed());
        }
        worst
    };
    let quiet = time(50);
    let mut slow: Vec<UnixStream> = Vec::new();
    let mut refused = 0;
    for n in 0..netengine_proto::limits::API_CONNECTIONS_PER_USER + 20 {
        let mut stream = connect_as(&host, BOB, USER).expect("his group passes");
        let text: &[u8] = match n % 4 {
            0 => b"GET /api/v1/wor",
            1 => b"POST /api/v1/worlds HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{",
            2 => b"GET /api/v1/events?follow=true HTTP/1.1\r\nhost: x\r\n\r\n",
            _ => b"",
        };
        let _ = stream.write_all(text);
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
        let mut start = [0; 12];
        if stream.read_exact(&mut start).is_ok() && start == *b"HTTP/1.1 429" {
            refused += 1;
        }
        slow.push(stream);
    }
    assert!(refused >= 20, "only {refused} were refused");
    let loaded = time(50);
    assert!(loaded < quiet * 2 + Duration::from_millis(100), "{loaded:?} instead of {quiet:?}");
    assert!(rss_kib(userd) < 256 << 10);
    // Heads that do not come end their connections: bob himself is served again.
    until("bob is served again", || (ask(&host, BOB, USER, "GET", "/worlds", "").0 == 200).then_some(()));
    drop(slow);
}

// Row 82: the same at exec.sock, which is rootd's.
#[test]
fn commands_of_one_user_do_not_starve_another() {
    let host = Host::new();
    assert!(host.cli(ALICE, &["up", &spec()]).status.success());
    let mut slow = Vec::new();
    for _ in 0..2000 {
        let mut stream = connect_as(&host, BOB, netengine_tests::attack::EXEC_SOCKET).expect("his group passes");
        let _ = stream.write_all(&[0, 16, 0, 0]);
        slow.push(stream);
    }
    let since = Instant::now();
    let output = host.cli(ALICE, &["exec", "minimal", "--", "true"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    drop(slow);
    assert!(host.cli(ALICE, &["down", "minimal", "--yes"]).status.success());
}

// Row 81: many at once at the edge of a quota, by the real daemons.
#[test]
fn a_quota_holds_under_a_race() {
    let host = Host::with_drop_ins(&[(
        "netengine-userd.service",
        "[Service]\nEnvironment=NETENGINE_QUOTA_WORLDS=3 NETENGINE_QUOTA_OPERATIONS=64\n",
    )]);
    let names: Vec<_> = (0..12).map(|n| format!("race{n}")).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| {
            let text = std::fs::read_to_string(host.path(&spec())).expect("an example");
            host.file(&format!("{name}.yaml"), &text.replace("name: minimal", &format!("name: {name}")))
        })
        .collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> =
            files.iter().map(|file| scope.spawn(|| host.cli(ALICE, &["up", file]).status.code())).collect();
        running.into_iter().map(|thread| thread.join().expect("ran")).collect()
    });
    let done = outcomes.iter().filter(|code| **code == Some(0)).count();
    let refused = outcomes.iter().filter(|code| **code == Some(3)).count();
    assert_eq!((done, done + refused), (3, names.len()), "{outcomes:?}");
    for (name, code) in names.iter().zip(&outcomes) {
        if *code == Some(0) {
            assert!(host.cli(ALICE, &["down", name, "--yes"]).status.success());
        }
    }
}
