//! Answers of name servers: the right one, and each that a strict client does not believe.

use std::net::IpAddr;

use domain::base::{Message, MessageBuilder, Rtype, Ttl, iana::Rcode};
use netengine_proto::{
    control::{Fault, Probe, TimedProbe},
    trust::Trust,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::stage::{RESOLVER, SILENCE_MS, Stage, assert_is, authority, names_by_tcp, names_by_udp};

/// A server that makes its answers up.
const SCRIPTED: [u8; 4] = [127, 0, 0, 54];
/// A server that never answers.
const SILENT: [u8; 4] = [127, 0, 0, 55];

fn ask(server: [u8; 4], name: &str, rtype: &str, expect: &[&str], validated: bool) -> Probe {
    let expect = expect.iter().map(|data| (*data).to_owned()).collect();
    Probe::Dns { server: server.into(), name: name.to_owned(), rtype: rtype.to_owned(), expect, validated }
}

/// What the scripted server answers to a question, which says it by its first label.
fn scripted(request: &[u8], by_tcp: bool) -> Vec<u8> {
    let query = Message::from_octets(request).expect("a question");
    let question = query.sole_question().expect("one question");
    let (name, label) = (question.qname(), question.qname().first().to_string());
    let rcode = if label == "servfail" { Rcode::SERVFAIL } else { Rcode::NOERROR };
    let mut answer = MessageBuilder::new_vec().start_answer(&query, rcode).expect("room");
    answer.header_mut().set_ad(label == "validated");
    answer.header_mut().set_tc(label == "long" && !by_tcp);
    let last = if by_tcp { 2 } else { 1 };
    if question.qtype() == Rtype::A && rcode == Rcode::NOERROR {
        answer.push((name, Ttl::ZERO, domain::rdata::A::from_octets(10, 0, 0, last))).expect("room");
    }
    answer.finish()
}

async fn serve() -> ((), JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let known = authority(RESOLVER, 7, &[("www", [10, 0, 0, 1])]);
    names_by_udp(&mut tasks, RESOLVER, known.clone()).await;
    names_by_tcp(&mut tasks, RESOLVER, known).await;

    let udp = UdpSocket::bind((IpAddr::from(SCRIPTED), 53)).await.expect("port 53");
    tasks.spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, peer) = udp.recv_from(&mut buffer).await.expect("a question");
            let answer = scripted(&buffer[..length], false);
            if buffer[12..].starts_with(b"\x06forged") {
                // Another id, another question, a request: none of them is the answer.
                let mut wrong = [answer.clone(), answer.clone(), answer.clone(), b"x".to_vec()];
                wrong[0][1] ^= 1;
                wrong[1][13] ^= 1;
                wrong[2][2] &= 0x7f;
                for wrong in &wrong {
                    udp.send_to(wrong, peer).await.expect("sends");
                }
            }
            udp.send_to(&answer, peer).await.expect("sends");
        }
    });
    let tcp = TcpListener::bind((IpAddr::from(SCRIPTED), 53)).await.expect("port 53");
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.expect("accepts");
            let mut request = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
            stream.read_exact(&mut request).await.expect("a question");
            let answer = scripted(&request, true);
            let length = u16::try_from(answer.len()).expect("short").to_be_bytes();
            stream.write_all(&[&length[..], &answer].concat()).await.expect("sends");
        }
    });

    let silent = UdpSocket::bind((IpAddr::from(SILENT), 53)).await.expect("port 53");
    tasks.spawn(async move {
        loop {
            silent.readable().await.expect("a socket");
            let _ = silent.recv(&mut [0; 512]).await.expect("a question");
        }
    });
    ((), tasks)
}

#[test]
fn a_name_is_what_is_planned_or_the_fault_is_named() {
    let (mut stage, ()) = Stage::new(serve);
    let wrong = |fault| Err(Some(fault));
    let none: &[&str] = &[];
    stage.expect(
        Trust::default(),
        vec![
            (ask(RESOLVER, "www.test", "A", &["10.0.0.1"], false), Ok(()), "A of www.test is 10.0.0.1"),
            (ask(RESOLVER, "WWW.Test.", "A", none, false), Ok(()), "10.0.0.1"),
            (ask(RESOLVER, "alias.test", "A", &["127.0.0.53"], false), Ok(()), "127.0.0.53"),
            (ask(RESOLVER, "alias.test", "CNAME", &["NS.test"], false), Ok(()), "ns.test"),
            (ask(RESOLVER, "test", "NS", &["ns.test"], false), Ok(()), "ns.test"),
            (ask(RESOLVER, "www.test", "A", &["10.0.0.2"], false), wrong(Fault::WrongRecord), "10.0.0.1, not 10.0.0.2"),
            (
                ask(RESOLVER, "www.test", "A", &["10.0.0.1", "10.0.0.2"], false),
                wrong(Fault::WrongRecord),
                "not 10.0.0.1, 10.0.0.2",
            ),
            (ask(RESOLVER, "nobody.test", "A", none, false), wrong(Fault::WrongRecord), "there is no such name"),
            (ask(RESOLVER, "www.test", "AAAA", none, false), wrong(Fault::WrongRecord), "no data"),
            (ask(RESOLVER, "www.test", "A", none, true), wrong(Fault::NotValidated), "but not validated"),
            (ask(RESOLVER, "www.elsewhere", "A", none, false), wrong(Fault::Refused), "REFUSED"),
            (ask(SCRIPTED, "validated.test", "A", &["10.0.0.1"], true), Ok(()), "10.0.0.1, validated"),
            (ask(SCRIPTED, "servfail.test", "A", none, true), wrong(Fault::NotValidated), "SERVFAIL"),
            (ask(SCRIPTED, "servfail.test", "A", none, false), wrong(Fault::Refused), "SERVFAIL"),
            (ask(SCRIPTED, "long.test", "A", &["10.0.0.2"], false), Ok(()), "10.0.0.2"),
            (ask(SCRIPTED, "forged.test", "A", &["10.0.0.1"], false), Ok(()), "10.0.0.1"),
            (ask([127, 0, 0, 99], "www.test", "A", none, false), wrong(Fault::ServiceStopped), "refused"),
            (ask(RESOLVER, "www.test", "A", &["10.0.0"], false), Err(None), "cannot read the expected data"),
            (ask(RESOLVER, "a..b", "A", none, false), Err(None), "cannot ask for the name"),
        ],
    );
    let silent = ask(SILENT, "www.test", "A", none, false);
    let timed = TimedProbe { timeout_ms: SILENCE_MS, probe: silent.clone() };
    let results = stage.probe_with(Trust::default(), vec![timed]);
    assert_is(&results[0], wrong(Fault::ServiceStopped), "no answer within 300 ms while asking 127.0.0.55:53", &silent);
}

#[test]
fn a_thousand_checks_are_answered_in_order() {
    let (mut stage, ()) = Stage::new(serve);
    let cases = (0..1024).map(|n| {
        let is_there = n % 3 != 0;
        let name = if is_there { format!("h{n}.many.test") } else { format!("x{n}.many.test") };
        let wanted = if is_there { Ok(()) } else { Err(Some(Fault::WrongRecord)) };
        (ask(RESOLVER, &name, "TXT", &[], false), wanted, "many.test")
    });
    stage.expect(Trust::default(), cases.collect());
}
