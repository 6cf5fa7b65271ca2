//! WHOIS and RDAP by scripted servers.

use netengine_proto::{
    control::{Fault, Probe, TimedProbe},
    trust::Trust,
};
use tokio::task::JoinSet;

use super::stage::{Ca, RESOLVER, SILENCE_MS, Script, Stage, assert_is, authority, names_by_udp, raw, says, web};

const WHOIS: [u8; 4] = [127, 0, 2, 1];
const RDAP: [u8; 4] = [127, 0, 2, 2];

fn whois(port: u16, query: &str, expect: &str) -> Probe {
    Probe::Whois { address: WHOIS.into(), port, query: query.to_owned(), expect: expect.to_owned() }
}

fn rdap(path: &str, class: &str) -> Probe {
    Probe::Rdap { url: format!("https://rdap.test{path}"), class: class.to_owned() }
}

async fn serve() -> (Trust, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    names_by_udp(&mut tasks, RESOLVER, authority(RESOLVER, 1, &[("rdap", RDAP)])).await;
    raw(&mut tasks, (WHOIS, 43), Some(b"% caf\xc3\xa9\r\nDomain Name: www.test\r\n")).await;
    raw(&mut tasks, (WHOIS, 44), Some(b"\r\n")).await;
    raw(&mut tasks, (WHOIS, 45), None).await;
    let ca = Ca::new("ours");
    let media = "application/rdap+json";
    let domain = r#"{"rdapConformance":["rdap_level_0"],"objectClassName":"domain","ldhName":"www.test"}"#;
    let script = Script::from([
        ("/domain/www.test", says(200, "application/rdap+json; charset=utf-8", domain)),
        ("/help", says(200, media, r#"{"rdapConformance":["rdap_level_0"],"notices":[]}"#)),
        ("/json", says(200, "application/json", domain)),
        ("/loose", says(200, media, r#"{"objectClassName":"domain"}"#)),
        ("/broken", says(200, media, "{")),
        ("/absent", says(404, media, r#"{"errorCode":404,"title":"no such domain"}"#)),
        ("/full", says(507, media, r#"{"title":"Insufficient Storage"}"#)),
    ]);
    web(&mut tasks, RDAP, ca.acceptor("rdap.test", false), script).await;
    (ca.trust(), tasks)
}

#[test]
fn registries_answer_or_the_fault_is_named() {
    let (mut stage, trust) = Stage::new(serve);
    let wrong = |fault| Err(Some(fault));
    stage.expect(
        trust.clone(),
        vec![
            (whois(43, "www.test", "Domain Name: www.test"), Ok(()), "Domain Name: www.test, 2 lines"),
            (whois(43, "www.test", "other.test"), wrong(Fault::WrongAnswer), "it begins \"% caf"),
            (whois(44, "www.test", "x"), wrong(Fault::WrongAnswer), "without an answer"),
            (whois(46, "www.test", "x"), wrong(Fault::ServiceStopped), "refused"),
            (whois(43, "a\r\nb", "x"), Err(None), "more than one line"),
            (rdap("/domain/www.test", "domain"), Ok(()), "an object of the class domain www.test"),
            (rdap("/help", ""), Ok(()), "an object of no class"),
            (rdap("/help", "domain"), wrong(Fault::WrongAnswer), "has no class, not the class domain"),
            (rdap("/domain/www.test", "entity"), wrong(Fault::WrongAnswer), "the class domain, not the class entity"),
            (rdap("/json", "domain"), wrong(Fault::WrongAnswer), "answered as \"application/json\""),
            (rdap("/loose", "domain"), wrong(Fault::WrongAnswer), "rdapConformance"),
            (rdap("/broken", "domain"), wrong(Fault::WrongAnswer), "not JSON"),
            (rdap("/absent", "domain"), wrong(Fault::Refused), "404 Not Found: no such domain"),
            (rdap("/full", "domain"), wrong(Fault::DiskFull), "507"),
        ],
    );
    let silent = whois(45, "www.test", "x");
    let results = stage.probe_with(trust, vec![TimedProbe { timeout_ms: SILENCE_MS, probe: silent.clone() }]);
    assert_is(&results[0], wrong(Fault::ServiceStopped), "waiting for the end of the answer to www.test", &silent);
}
