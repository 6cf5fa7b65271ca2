//! Transfers: whole and signed, or not believed.

use netengine_proto::{
    control::{Fault, Probe},
    trust::{Secret, Trust},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use super::stage::{RESOLVER, Stage, authority, names_by_tcp, names_by_udp};

/// A server whose UDP and TCP do not agree.
const TORN: [u8; 4] = [127, 0, 0, 54];
/// A server that alters what goes through by TCP.
const ALTERING: [u8; 4] = [127, 0, 0, 55];
const SECRET: &str = "dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHQ=";

fn transfer(server: [u8; 4], zone: &str, key: (&str, &str)) -> Probe {
    let key = (key.0.to_owned(), Secret::new(key.1.to_owned()));
    Probe::Transfer { server: server.into(), zone: zone.to_owned(), key }
}

async fn serve() -> ((), JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let right = authority(RESOLVER, 7, &[]);
    names_by_udp(&mut tasks, RESOLVER, right.clone()).await;
    names_by_tcp(&mut tasks, RESOLVER, right).await;
    names_by_udp(&mut tasks, TORN, authority(TORN, 8, &[])).await;
    names_by_tcp(&mut tasks, TORN, authority(TORN, 7, &[])).await;
    names_by_udp(&mut tasks, ALTERING, authority(ALTERING, 7, &[])).await;
    let listener = TcpListener::bind((std::net::IpAddr::from(ALTERING), 53)).await.expect("port 53");
    tasks.spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("accepts");
            let mut server = tokio::net::TcpStream::connect((std::net::IpAddr::from(RESOLVER), 53)).await.expect("up");
            let mut request = [0; 1024];
            let length = client.read(&mut request).await.expect("a request");
            server.write_all(&request[..length]).await.expect("sends");
            let mut first = true;
            while let Ok(length) = server.read_u16().await {
                let mut message = vec![0; usize::from(length)];
                server.read_exact(&mut message).await.expect("a message");
                if !first {
                    // One letter of a text in the second message.
                    let place = message.windows(8).position(|text| text == b"a record").expect("a text");
                    message[place] = b'A';
                }
                first = false;
                if client.write_all(&[&length.to_be_bytes()[..], &message].concat()).await.is_err() {
                    break;
                }
            }
        }
    });
    ((), tasks)
}

#[test]
fn a_zone_is_transferred_whole_and_signed_or_the_fault_is_named() {
    let (mut stage, ()) = Stage::new(serve);
    let wrong = |fault| Err(Some(fault));
    let may = ("may", SECRET);
    stage.expect(
        Trust::default(),
        vec![
            (transfer(RESOLVER, "test", may), Ok(()), "3004 records of test"),
            (transfer(RESOLVER, "test.", may), Ok(()), "serial 7, every message signed"),
            (transfer(RESOLVER, "test", ("may", "eHh4")), wrong(Fault::Refused), "NOTAUTH"),
            (transfer(RESOLVER, "test", ("nobody", SECRET)), wrong(Fault::Refused), "NOTAUTH"),
            (transfer(RESOLVER, "test", ("other", SECRET)), wrong(Fault::Refused), "REFUSED"),
            (transfer(RESOLVER, "elsewhere", may), wrong(Fault::Refused), "REFUSED for SOA"),
            (transfer(TORN, "test", may), wrong(Fault::WrongAnswer), "serial 7 in the transfer of test, 8 by UDP"),
            (transfer(ALTERING, "test", may), wrong(Fault::WrongAnswer), "message 2 of the transfer"),
            (transfer([127, 0, 0, 99], "test", may), wrong(Fault::ServiceStopped), "refused"),
            (transfer(RESOLVER, "test", ("may", "?")), Err(None), "its secret is not base64"),
        ],
    );
}
