//! The events of a run as WebSocket messages, read by other people's client (Debian's python3-websockets), and what peers get that break the rules.

use netengine_tests::{ALICE, BOB, Host, Person};
use serde_json::{Value, json};

use super::{API, LONG, SUITE, curl, host_with, nothing_left, pids, request, timeless};

/// Follows a run to its end: prints each message on a line, then how the connection closed. The second argument: at this many messages the run
/// is ended over another connection.
const FOLLOW: &str = "
import asyncio, sys, websockets
async def main():
    path = '/api/v1/firewall/tests/%s/events' % sys.argv[1]
    async with websockets.unix_connect('/run/netengine/user.sock', 'ws://x' + path, max_size=None) as socket:
        if len(sys.argv) > 2:
            reader, writer = await asyncio.open_unix_connection('/run/netengine/user.sock')
            await (await socket.ping())
            writer.write(('DELETE /api/v1/firewall/tests/%s HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' % sys.argv[1]).encode())
        try:
            while True: print(await socket.recv())
        except websockets.ConnectionClosed: print(socket.close_code)
asyncio.run(main())
";

/// Opens a WebSocket by hand, sends the bytes of the second argument and prints what comes back, in hexadecimal.
const RAW: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect('/run/netengine/user.sock')
s.sendall(('GET /api/v1/firewall/tests/%s/events HTTP/1.1\\r\\nhost: x\\r\\n%s\\r\\n\\r\\n' % (sys.argv[1], sys.argv[2])).encode())
head = b''
while b'\\r\\n\\r\\n' not in head:
    got = s.recv(1)
    if not got: break
    head += got
print(head.split(b' ')[1].decode())
if b' 101 ' in head:
    s.sendall(bytes.fromhex(sys.argv[3]))
    rest = b''
    while True:
        got = s.recv(100)
        if not got: break
        rest += got
    print(rest.hex())
";

/// Opens WebSockets until one is refused though there are as many as the third argument says, or there are more: prints how many were opened, and
/// what the last was told. One that is refused before may be so since connections of before are still being counted.
const MANY: &str = "
import socket, sys, time
held, most, until = [], int(sys.argv[3]), time.monotonic() + 20
while len(held) <= most:
    s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect('/run/netengine/user.sock')
    request = 'GET /api/v1/firewall/tests/%s/events HTTP/1.1\\r\\nhost: x\\r\\n%s\\r\\n\\r\\n' % (sys.argv[1], sys.argv[2])
    try: s.sendall(request.encode())
    except BrokenPipeError: pass # Who is past the number is answered before anything is read.
    status = s.recv(100).split(b' ')[1].decode()
    if status == '101': held.append(s)
    elif len(held) == most or time.monotonic() > until: break
print(len(held), status)
";

const HEADERS: &str = "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==";

fn begin(host: &Host, suite: &str) -> String {
    let (status, accepted) = curl(host, ALICE, &format!("-X POST {} {API}/tests", request(host, suite)));
    assert_eq!(status, 202, "{accepted}");
    serde_json::from_str::<Value>(&accepted).expect("JSON")["id"].as_str().expect("an id").to_owned()
}

/// Runs a script with Debian's Python, which has the client.
fn python(host: &Host, person: Person, script: &str, words: &[&str]) -> Vec<String> {
    let script = host.file("client.py", script);
    let output = host.command(person, "/usr/bin/python3").arg(&script).args(words).output().expect("python3 starts");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// Name and content of each server-sent event.
fn server_sent(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut name = "";
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("event", told)) => name = told,
            Some(("data", data)) => found.push(timeless(&format!("{{\"event\": {name:?}, \"data\": {data}}}"))),
            _ => {}
        }
    }
    found
}

#[test]
fn other_peoples_client_reads_the_same_events_as_are_server_sent() {
    let host = host_with("");
    let id = begin(&host, SUITE);
    let mut lines = python(&host, ALICE, FOLLOW, &[&id]);
    assert_eq!(lines.pop().as_deref(), Some("1000"), "{lines:#?}");
    let messages: Vec<Value> = lines.iter().map(|line| timeless(line)).collect();
    assert_eq!(
        messages.last().map(|last| (&last["event"], &last["data"]["state"])),
        Some((&json!("end"), &json!("done")))
    );
    for event in ["hook", "match", "verdict", "case"] {
        assert!(messages.iter().any(|message| message["event"] == event), "{event}: {messages:#?}");
    }
    let (_, sent) = curl(&host, ALICE, &format!("-N --max-time 60 {API}/tests/{id}/events"));
    assert_eq!(messages, server_sent(&sent), "both ways tell the same");
    let refused = python(&host, BOB, FOLLOW, &[&id]);
    assert!(refused.iter().any(|line| line.contains("HTTP 404")), "another user's run looks absent: {refused:#?}");
    nothing_left(&host);
}

#[test]
fn a_run_at_work_is_followed_until_it_is_ended() {
    let host = host_with("");
    let id = begin(&host, LONG);
    let mut lines = python(&host, ALICE, FOLLOW, &[&id, "end"]);
    assert_eq!(lines.pop().as_deref(), Some("1000"), "{lines:#?}");
    let last = timeless(lines.last().expect("a message"));
    assert_eq!((&last["event"], &last["data"]["state"]), (&json!("end"), &json!("cancelled")));
    nothing_left(&host);
}

#[test]
fn who_breaks_the_rules_is_told_how_and_cut_off_and_the_run_goes_on() {
    let host = host_with("");
    let id = begin(&host, LONG);
    for (without, status) in [("connection", "400"), ("sec-websocket-version", "400"), ("sec-websocket-key", "400")] {
        let headers: Vec<_> = HEADERS.split("\r\n").filter(|line| !line.starts_with(without)).collect();
        assert_eq!(python(&host, ALICE, RAW, &[&id, &headers.join("\r\n"), ""]), [status], "without {without}");
    }
    // A text, a frame without a mask, a ping longer than any, reserved bits, an unknown kind; then farewells.
    let closed = |reason: u16| format!("8802{reason:04x}");
    for (name, frame, told) in [
        ("data", "818000000000", closed(1003)),
        ("a frame without a mask", "8900", closed(1002)),
        ("a long ping", "89fe00ff00000000", closed(1002)),
        ("reserved bits", "d98000000000", closed(1002)),
        ("an unknown kind", "8b8000000000", closed(1002)),
        // A good-bye comes back as it was said, with its reason or without (RFC 6455, section 5.5.1).
        ("a farewell", "888000000000", "8800".to_owned()),
        ("a farewell with a reason", "88820000000003e8", closed(1000)),
    ] {
        let answer = python(&host, ALICE, RAW, &[&id, HEADERS, frame]);
        assert_eq!(answer, ["101".to_owned(), told], "{name}");
    }
    let most = netengine_proto::limits::API_CONNECTIONS_PER_USER;
    let opened = python(&host, ALICE, MANY, &[&id, HEADERS, &most.to_string()]);
    assert_eq!(opened, [format!("{most} 429")], "an upgrade stays counted");
    assert!(!pids(&host, "netengine-lab").is_empty(), "the run goes on");
}
