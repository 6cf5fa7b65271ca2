//! DNS over TLS and over HTTPS as kdig, curl and openssl see it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    GATEWAY, example,
    harness::{attempt, run, tls::NAME},
    start,
};

fn kdig(authority: &str, arguments: &[&str]) -> String {
    let authority = format!("+tls-ca={authority}");
    let host = format!("+tls-hostname={NAME}");
    run("kdig", &[&["@172.28.0.1", "+retry=0", "+time=3", authority.as_str(), host.as_str()], arguments].concat())
}

#[test]
fn kdig_resolves_over_tls_and_checks_the_certificate() {
    let service = start(&example("single-org.yaml"));
    let said = kdig(&service.tls.authority(), &["+tls", "ca.platform.internal", "A"]);
    assert!(said.contains("10.0.0.6") && said.contains("(TLS1.3)"), "{said}");
    let both = kdig(&service.tls.authority(), &["+tls", "+keepopen", "ca.platform.internal", "A", "nothing.corp", "A"]);
    assert!(both.contains("10.0.0.6") && both.contains("NXDOMAIN"), "{both}");
    let wrong = attempt("kdig", &["@172.28.0.1", "+retry=0", "+time=3", "+tls-ca", "+tls", "ca.platform.internal"], "");
    let said = String::from_utf8_lossy(&wrong.stdout).into_owned() + &String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && !said.contains("10.0.0.6"), "{said}");
}

#[test]
fn kdig_resolves_over_https_by_get_and_by_post() {
    let service = start(&example("single-org.yaml"));
    for arguments in [&["+https"][..], &["+https", "+https-get"], &["+https=/dns-query"]] {
        let said = kdig(&service.tls.authority(), &[arguments, &["ca.platform.internal", "A"]].concat());
        assert!(said.contains("10.0.0.6") && said.contains("(HTTP/2"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_new_certificate_is_presented_to_new_connections_and_open_ones_go_on() {
    let service = start(&example("single-org.yaml"));
    let arguments = ["s_client", "-quiet", "-no_ign_eof", "-connect", "172.28.0.1:853", "-servername", NAME];
    let mut open = std::process::Command::new("openssl")
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl runs");
    let (mut input, mut output) = (open.stdin.take().expect("piped"), open.stdout.take().expect("piped"));
    let mut ask = |id: u8| {
        input.write_all(&framed(id)).expect("written");
        input.flush().expect("flushed");
        let mut length = [0; 2];
        output.read_exact(&mut length).expect("a length");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        output.read_exact(&mut answer).expect("an answer");
        assert!(answer.ends_with(&[10, 0, 0, 6]), "{answer:?}");
    };
    ask(1);
    let old = service.tls.authority();
    service.tls.renew();
    let new = service.tls.authority();
    ask(2);
    assert!(kdig(&new, &["+tls", "ca.platform.internal", "A"]).contains("10.0.0.6"));
    let stale = format!("+tls-ca={old}");
    let host = format!("+tls-hostname={NAME}");
    let refused =
        attempt("kdig", &["@172.28.0.1", "+retry=0", "+time=3", &stale, &host, "+tls", "ca.platform.internal"], "");
    assert!(!refused.status.success(), "the old authority signed nothing that is presented now");
    ask(3);
    drop(input);
    open.wait().expect("openssl ends");
}

/// A question for the address of `ca.platform.internal`.
fn question(id: u8) -> Vec<u8> {
    [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x02ca\x08platform\x08internal\0\0\x01\0\x01"].concat()
}

fn framed(id: u8) -> Vec<u8> {
    let message = question(id);
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

fn curl(authority: &str, arguments: &[&str]) -> String {
    let resolve = format!("{NAME}:443:{GATEWAY}");
    let common = ["-sS", "--max-time", "5", "--cacert", authority, "--resolve", &resolve, "-D", "-", "-o", "/dev/null"];
    run("curl", &[&common, arguments].concat())
}

#[test]
fn http_1_and_2_answer_alike_and_every_mistake_gets_its_status() {
    let service = start(&example("single-org.yaml"));
    let authority = service.tls.authority();
    let body = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(body.path(), question(0)).expect("written");
    let post = format!("@{}", body.path().display());
    let large = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(large.path(), vec![0; 70_000]).expect("written");
    let too_large = format!("@{}", large.path().display());
    let url = format!("https://{NAME}/dns-query");
    let get = format!("{url}?dns=AAABAAABAAAAAAAAAmNhCHBsYXRmb3JtCGludGVybmFsAAABAAE");
    let (broken, elsewhere) = (format!("{url}?dns=%%%"), format!("https://{NAME}/"));
    let kind = "Content-Type: application/dns-message";
    for version in ["--http1.1", "--http2"] {
        for (arguments, status) in [
            (&[get.as_str()][..], "200"),
            (&["--data-binary", &post, "-H", kind, &url], "200"),
            (&[broken.as_str()], "400"),
            (&[url.as_str()], "400"),
            (&[elsewhere.as_str()], "404"),
            (&["-X", "PUT", &url], "405"),
            (&["--data-binary", &post, "-H", "Content-Type: text/plain", &url], "415"),
            (&["--data-binary", &too_large, "-H", kind, "-H", "Expect:", &url], "413"),
        ] {
            let said = curl(&authority, &[&[version], arguments].concat());
            let first = said.lines().next().unwrap_or_default();
            assert!(first.contains(status), "{version} {arguments:?}: {said}");
            if status == "200" {
                let lower = said.to_lowercase();
                assert!(lower.contains("content-type: application/dns-message"), "{said}");
                let age = lower.split_once("cache-control: max-age=").map(|(_, rest)| rest.lines().next());
                let age: u32 = age.flatten().and_then(|age| age.trim().parse().ok()).expect("an age");
                assert!((3500..=3600).contains(&age), "{said}");
            }
        }
    }
}

#[test]
fn half_open_and_idle_connections_end_and_hold_nobody_up() {
    let service = start(&example("single-org.yaml"));
    for port in [853, 443] {
        let mut open: Vec<TcpStream> =
            (0..500).map(|_| TcpStream::connect((GATEWAY, port)).expect("connects")).collect();
        // The beginning of a handshake, and what is none.
        open[0].write_all(&[22, 3, 1, 2, 0, 1]).expect("written");
        open[1].write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
        let way = if port == 853 { "+tls" } else { "+https" };
        assert!(kdig(&service.tls.authority(), &[way, "ca.platform.internal", "A"]).contains("10.0.0.6"));
        // Nobody is left waiting for a handshake that does not come: the deadline is three seconds.
        let deadline = Instant::now() + Duration::from_secs(20);
        for mut stream in open {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).expect("set");
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest);
            let is_over =
                ended.as_ref().map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |_| true);
            assert!(is_over, "port {port}: {ended:?}");
        }
    }
}

#[test]
fn a_connection_that_only_dribbles_is_ended() {
    let _service = start(&example("single-org.yaml"));
    // Requests that never become whole, one byte after the other, keep no connection open.
    for arguments in [&["-alpn", "http/1.1"][..], &["-alpn", "h2"]] {
        let common = ["s_client", "-quiet", "-no_ign_eof", "-connect", "172.28.0.1:443", "-servername", NAME];
        let mut child = std::process::Command::new("openssl")
            .args(common.iter().chain(arguments))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("openssl runs");
        let mut input = child.stdin.take().expect("piped");
        let begun = Instant::now();
        let is_over = loop {
            if child.try_wait().expect("waited for").is_some() {
                break true;
            }
            if begun.elapsed() > Duration::from_secs(40) {
                break false;
            }
            // The peer may be gone already.
            let _ = input.write_all(b"P").and_then(|()| input.flush());
            std::thread::sleep(Duration::from_millis(100));
        };
        if !is_over {
            child.kill().expect("killed");
        }
        assert!(is_over, "{arguments:?}");
    }
}
