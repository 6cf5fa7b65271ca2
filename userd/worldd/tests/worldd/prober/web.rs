//! Web servers: the certificate, the name, the status.

use netengine_proto::{
    control::{Fault, Probe, TimedProbe},
    trust::Trust,
};
use tokio::task::JoinSet;

use super::stage::{Ca, RESOLVER, SILENCE_MS, Script, Stage, assert_is, authority, names_by_udp, raw, says, web};

const HOSTS: [(&str, [u8; 4]); 6] = [
    ("right", [127, 0, 1, 1]),
    ("expired", [127, 0, 1, 2]),
    ("foreign", [127, 0, 1, 3]),
    ("misnamed", [127, 0, 1, 4]),
    ("silent", [127, 0, 1, 5]),
    ("plain", [127, 0, 1, 6]),
];

fn fetch(name: &str, path: &str, status: u16) -> Probe {
    Probe::Https { name: name.to_owned(), path: path.to_owned(), status }
}

async fn serve() -> (Trust, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let hosts: Vec<_> = HOSTS.into_iter().chain([("closed", [127, 0, 1, 7])]).collect();
    names_by_udp(&mut tasks, RESOLVER, authority(RESOLVER, 1, &hosts)).await;
    let (ours, foreign) = (Ca::new("ours"), Ca::new("foreign"));
    let script = Script::from([("/", says(200, "text/plain", "hello")), ("/gone", says(404, "text/plain", "no"))]);
    web(&mut tasks, HOSTS[0].1, ours.acceptor("right.test", false), script.clone()).await;
    web(&mut tasks, HOSTS[1].1, ours.acceptor("expired.test", true), script.clone()).await;
    web(&mut tasks, HOSTS[2].1, foreign.acceptor("foreign.test", false), script.clone()).await;
    web(&mut tasks, HOSTS[3].1, ours.acceptor("right.test", false), script).await;
    raw(&mut tasks, (HOSTS[4].1, 443), None).await;
    raw(&mut tasks, (HOSTS[5].1, 443), Some(b"HTTP/1.1 200 OK\r\n\r\n")).await;
    (ours.trust(), tasks)
}

#[test]
fn a_page_comes_with_its_certificate_or_the_fault_is_named() {
    let (mut stage, trust) = Stage::new(serve);
    let wrong = |fault| Err(Some(fault));
    let cases = || {
        vec![
            (fetch("right.test", "/", 200), Ok(()), "answered 200 OK, 5 bytes"),
            (fetch("right.test", "/gone", 404), Ok(()), "404"),
            (fetch("right.test", "/gone", 200), wrong(Fault::WrongAnswer), "404 Not Found, not 200"),
            (fetch("expired.test", "/", 200), wrong(Fault::CertificateExpired), "expired"),
            (fetch("foreign.test", "/", 200), wrong(Fault::CertificateUntrusted), "UnknownIssuer"),
            (fetch("misnamed.test", "/", 200), wrong(Fault::CertificateUntrusted), "not valid for name"),
            (fetch("plain.test", "/", 200), wrong(Fault::WrongAnswer), "TLS with plain.test"),
            (fetch("closed.test", "/", 200), wrong(Fault::ServiceStopped), "cannot connect to 127.0.1.7:443"),
            (fetch("nobody.test", "/", 200), wrong(Fault::WrongRecord), "nobody.test has no address"),
        ]
    };
    stage.expect(trust.clone(), cases());
    // A second request of the same prober begins anew and sees the same.
    stage.expect(trust.clone(), cases());
    stage.expect(
        Trust::default(),
        vec![(fetch("right.test", "/", 200), wrong(Fault::CertificateUntrusted), "UnknownIssuer")],
    );
    let silent = fetch("silent.test", "/", 200);
    let results = stage.probe_with(trust, vec![TimedProbe { timeout_ms: SILENCE_MS, probe: silent.clone() }]);
    assert_is(&results[0], wrong(Fault::ServiceStopped), "while shaking hands by TLS with silent.test", &silent);
}
