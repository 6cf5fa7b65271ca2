//! Bad specs through the CLI, and bad requests straight to the API: refused with place and cause, nothing made.

mod judge;

use std::time::{Duration, Instant};

use judge::{GATEWAY, minimal, run, sh, up};
use netengine_tests::{ALICE, Host, SCRATCH};
use serde_json::{Value, json};

/// A spec with lines in place of the minimal ones: `name`, what stands under substrate, and the sections behind.
fn text(name: &str, substrate: &str, more: &str) -> String {
    let mut text = format!("metadata:\n  name: {name}\nsubstrate:\n{substrate}\n");
    for section in [
        "dns",
        "pki",
        "identity_platform",
        "world_registry",
        "domain_registry",
        "identity_inworld",
        "ands",
        "world_services",
        "org_apps",
        "gateway_portal",
        "operator",
    ] {
        if !more.contains(&format!("{section}:")) {
            text += &format!("{section}: {{}}\n");
        }
    }
    text + more
}

#[test]
fn each_mistake_is_exit_2_with_its_place_and_nothing_is_made() {
    let host = Host::new();
    let networks = |core: &str| {
        format!("{GATEWAY}\n  networks:\n    platform: {{subnet: 172.28.0.0/16}}\n    core: {{subnet: {core}}}")
    };
    let name = |name: &str| text(name, GATEWAY, "");
    let bomb = {
        let mut lines = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            lines += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
        }
        lines
    };
    // (file, text, line of the mistake, word of the message)
    let cases: Vec<(&str, String, u32, &str)> = vec![
        ("unknown-key", text("w", &format!("{GATEWAY}\n  gatway: {{}}"), ""), 5, "gateway"),
        ("duplicate-key", text("w", &format!("{GATEWAY}\n{GATEWAY}"), ""), 5, "gateway"),
        ("wrong-type", text("w", GATEWAY, "dns: [1]\n"), 15, "map"),
        ("bad-cidr", text("w", &networks("10.0.0.0/33"), ""), 7, "10.0.0.0/33"),
        ("host-bits", text("w", &networks("10.0.0.7/24"), ""), 7, "10.0.0."),
        (
            "overlap",
            text("w", &format!("{}\n    more: {{subnet: 10.0.0.128/25}}", networks("10.0.0.0/24")), ""),
            8,
            "overlap",
        ),
        ("outside", text("w", GATEWAY, "dns: {root: {listen_ip: 192.0.2.2}}\n"), 15, "192.0.2.2"),
        ("twice", text("w", GATEWAY, "dns: {root: {listen_ip: 10.0.0.6}}\n"), 15, "10.0.0.6"),
        ("gateway-used", text("w", GATEWAY, "dns: {root: {listen_ip: 10.0.0.1}}\n"), 15, "10.0.0.1"),
        (
            "dangling",
            text(
                "w",
                GATEWAY,
                "ands: {instances: [{name: a, org: ghost, profile: business, dns_suffix: a.internal}]}\ndomain_registry: {address_space: [{cidr: 10.20.0.0/16, label: business-pool}]}\n",
            ),
            14,
            "ghost",
        ),
        ("dots", name("../x"), 2, "name"),
        ("shell", name("a;b"), 2, "name"),
        ("newline", name("\"a\\nb\""), 2, "name"),
        ("long", name(&"a".repeat(64)), 2, "63"),
        ("percent", name("\"%d\""), 2, "name"),
        ("escape", name("\"\\e[31m\""), 2, "name"),
        ("not-yaml", "metadata: {name: w\n".to_owned(), 1, ""),
        ("tabs", "metadata:\n\tname: w\n".to_owned(), 2, ""),
        ("bomb", bomb, 0, ""),
        ("deep", "[".repeat(50_000), 1, ""),
        ("empty", String::new(), 0, ""),
        ("two-documents", format!("{}---\na: 1\n", name("w")), 0, ""),
        (
            "version",
            name("w").replace("name: w", "{name: w, schema_version: v9}").replace("metadata:\n  {", "metadata: {"),
            1,
            "netengine.spec.v1",
        ),
    ];
    for (file, text, ..) in &cases {
        host.file(&format!("{file}.yaml"), text);
    }
    let before = host.snapshot();
    for (file, _, line, word) in &cases {
        let path = format!("{SCRATCH}/{file}.yaml");
        for command in ["up", "plan", "validate"] {
            let begun = Instant::now();
            let ran = run(&host, ALICE, &[command, &path]).exits(2);
            assert!(begun.elapsed() < Duration::from_secs(2), "{file} took {:?}", begun.elapsed());
            ran.three_lines();
            assert!(!ran.err.contains('\x1b'), "{ran:?}");
            assert!(ran.err.len() < 6000, "{file}: not a flood of {} bytes", ran.err.len());
            let place = if *line > 0 { format!("{path}:{line}:") } else { path.clone() };
            assert!(ran.err.contains(&place), "{file}: {place} in {}", ran.err);
            assert!(ran.err.contains(word), "{file}: {word} in {}", ran.err);
        }
        let report = run(&host, ALICE, &["validate", &path, "--json"]).exits(2).json();
        let errors: Vec<&Value> = report["diagnostics"]
            .as_array()
            .expect("diagnostics")
            .iter()
            .filter(|d| d["severity"] == "error")
            .collect();
        assert_eq!(errors.len(), 1, "{file}: one mistake, one message: {errors:#?}");
    }
    before.assert_unchanged(&host.snapshot());
    assert_eq!(run(&host, ALICE, &["list", "--json"]).ok().json(), json!([]));
}

#[test]
fn what_is_no_spec_file_is_refused_at_once() {
    let host = Host::new();
    let big = host.file("big.yaml", &format!("{}\n", "# padding padding padding padding\n".repeat(10 << 20 >> 5)));
    let fifo = format!("{SCRATCH}/fifo.yaml");
    host.shell(netengine_tests::ROOT, &format!("mkfifo {fifo}; printf 'a: \\377\\376\\n' > {SCRATCH}/latin.yaml; touch {SCRATCH}/secret.yaml; chmod 600 {SCRATCH}/secret.yaml; ln -s loop.yaml {SCRATCH}/loop.yaml"));
    let before = host.snapshot();
    let (latin, secret, looped) =
        (format!("{SCRATCH}/latin.yaml"), format!("{SCRATCH}/secret.yaml"), format!("{SCRATCH}/loop.yaml"));
    for path in [
        &big,
        SCRATCH,
        &fifo,
        "/dev/zero",
        "/no/such/file.yaml",
        &latin,
        &secret,
        &looped,
        "",
        "/run/netengine/user.sock",
    ] {
        for command in ["up", "validate"] {
            let begun = Instant::now();
            let ran = run(&host, ALICE, &[command, path]).exits(2);
            let [what, ..] = ran.three_lines();
            assert!(begun.elapsed() < Duration::from_secs(2) && what.contains(path), "{path}: {ran:?}");
        }
    }
    before.assert_unchanged(&host.snapshot());
}

/// Asks the API as alice with curl: status and answer.
fn curl(host: &Host, arguments: &str) -> (u32, Value) {
    let ran = sh(
        host,
        ALICE,
        &format!("curl -s -m 20 -w '\\n%{{http_code}}' --unix-socket /run/netengine/user.sock {arguments}"),
    );
    let (body, status) = ran.out.rsplit_once('\n').unwrap_or_else(|| panic!("{ran:?}"));
    let status = status.parse().unwrap_or_else(|_| panic!("{ran:?}"));
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {ran:?}")))
}

#[test]
fn the_api_answers_every_bad_request_with_a_problem_and_lives() {
    let host = Host::new();
    let pid = host.daemon_pid("netengine-userd");
    let base = "http://localhost/api/v1";
    host.file("huge", &"x".repeat(3 << 20));
    host.file("deep", &format!("{{\"spec\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000)));
    let post = "-X POST -H 'content-type: application/json'";
    let problems = [
        (format!("{base}/nope"), 404),
        (format!("{base}/../../etc/passwd --path-as-is"), 404),
        (format!("-X PATCH {base}/worlds"), 404),
        ("http://localhost/".to_owned(), 404),
        (format!("{post} -d '{{' {base}/worlds"), 400),
        (format!("{post} -d '[]' {base}/worlds"), 400),
        (format!("{post} -d '{{\"spec\": 7}}' {base}/worlds"), 422),
        (format!("{post} -d '{{\"spec\": {{}}, \"bogus\": 1}}' {base}/plan"), 0),
        (format!("{post} -d '{{\"spec\": {{}}, \"up_to\": 99}}' {base}/worlds"), 0),
        (format!("{post} -d '{{\"spec\": {{\"metadata\": {{\"name\": \"../x\"}}}}}}' {base}/plan"), 422),
        (format!("-X POST -d 'spec=1' {base}/worlds"), 400),
        (format!("-X POST -H 'content-type: text/xml' -d '<a/>' {base}/plan"), 400),
        (format!("{post} --data-binary @{SCRATCH}/huge {base}/plan"), 0),
        (format!("{post} --data-binary @{SCRATCH}/deep {base}/plan"), 400),
        (format!("{base}/worlds/..%2f..%2fetc"), 404),
        (format!("{base}/worlds/a%00b"), 404),
        (format!("{base}/worlds?owner=0"), 0),
        (format!("'{base}/events?after=never'"), 400),
        (format!("{base}/operations/xyz"), 404),
        (format!("-X DELETE {base}/operations/00000000000000000000000000000000"), 404),
        (format!("'{base}/worlds/w/logs?lines=-1'"), 0),
    ];
    for (request, wanted) in &problems {
        let (status, body) = curl(&host, request);
        assert!((400..500).contains(&status), "{request}: {status} {body}");
        assert!(*wanted == 0 || status == *wanted, "{request}: {status} {body}");
        for key in ["kind", "what", "cause", "help"] {
            assert!(body[key].as_str().is_some_and(|text| !text.is_empty()), "{request}: {key} in {body}");
        }
    }
    // Not HTTP at all.
    for bytes in ["GET", "\\0\\0\\0\\0", "GET / HTTP/9.9\\r\\n\\r\\n", "\\026\\003\\001"] {
        sh(&host, ALICE, &format!("printf '{bytes}' | timeout 10 python3 -c \"import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('/run/netengine/user.sock'); s.sendall(sys.stdin.buffer.read()); s.shutdown(1); s.recv(999)\"")).ok();
    }
    assert_eq!(host.daemon_pid("netengine-userd"), pid, "the daemon lives");
    assert_eq!(curl(&host, &format!("{base}/version")).0, 200);
    let (_, openapi) = curl(&host, &format!("{base}/openapi.json"));
    assert!(openapi["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    up(&host, &minimal());
}
