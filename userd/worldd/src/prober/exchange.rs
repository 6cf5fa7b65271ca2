//! Asking a name server: UDP, then TCP when the answer is cut off (RFC 1035, section 4.2; RFC 7766).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use domain::base::{Message, MessageBuilder, Name, Rtype, ToName, iana::Class};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

use super::finding::{Finding, Progress};

/// Where name servers listen.
const PORT: u16 = 53;
/// The first wait for an answer before the request is sent again; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// The largest UDP answer we take: no fragments (RFC 9715).
const UDP_BYTES: u16 = 1232;

/// A name in wire form.
pub type Owner = Name<Vec<u8>>;

/// Reads an absolute name, with or without the final dot.
///
/// # Errors
/// A finding without a fault: the request is at fault, not the server.
pub fn name(text: &str) -> Result<Owner, Finding> {
    text.parse().map_err(|error| Finding::ours(format!("cannot ask for the name {text}: {error}")))
}

/// Asks one question and returns the answer to it, however long the server takes.
///
/// Datagrams that do not answer our question are passed over. RD and AD are set: an authoritative server ignores
/// them, a resolver recurses and tells whether it has validated (RFC 6840, section 5.7).
///
/// # Errors
/// Nobody answers, or the answer cannot be read or does not belong to the question.
pub async fn ask(
    server: IpAddr,
    owner: &Owner,
    rtype: Rtype,
    progress: &Progress,
) -> Result<Message<Vec<u8>>, Finding> {
    let server = SocketAddr::new(server, PORT);
    let id = nonce()?;
    let request = request(id, owner, rtype)?;
    progress.enter(format!("asking {server} by UDP for {rtype} of {owner}"));
    let answer = by_udp(server, &request, id, owner, rtype).await?;
    if !answer.header().tc() {
        return Ok(answer);
    }
    progress.enter(format!("asking {server} by TCP for {rtype} of {owner}"));
    let mut stream = connect(server).await?;
    write(&mut stream, server, &request).await?;
    let answer = read(&mut stream, server).await?;
    if answers(&answer, id, owner, rtype) {
        Ok(answer)
    } else {
        Err(Finding::wrong(format!("{server} answered another question by TCP")))
    }
}

/// An unforeseeable message id.
pub fn nonce() -> Result<u16, Finding> {
    let random = getrandom::u32().map_err(|error| Finding::ours(format!("cannot make a nonce: {error}")))?;
    Ok((random >> 16) as u16)
}

fn request(id: u16, owner: &Owner, rtype: Rtype) -> Result<Vec<u8>, Finding> {
    let full = |_| Finding::ours("cannot write the question");
    let mut message = MessageBuilder::new_vec();
    let header = message.header_mut();
    header.set_id(id);
    header.set_rd(true);
    header.set_ad(true);
    let mut question = message.question();
    question.push((owner, rtype)).map_err(full)?;
    let mut additional = question.additional();
    let edns = |opt: &mut domain::base::message_builder::OptBuilder<'_, _>| {
        opt.set_udp_payload_size(UDP_BYTES);
        Ok(())
    };
    additional.opt(edns).map_err(full)?;
    Ok(additional.finish())
}

async fn by_udp(
    server: SocketAddr,
    request: &[u8],
    id: u16,
    owner: &Owner,
    rtype: Rtype,
) -> Result<Message<Vec<u8>>, Finding> {
    let failed = |error: std::io::Error| Finding::io(&format!("ask {server} by UDP"), &error);
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut wait = FIRST_WAIT;
    loop {
        socket.send(request).await.map_err(failed)?;
        let again = Instant::now() + wait;
        while let Ok(received) = timeout_at(again, socket.recv(&mut buffer)).await {
            let length = received.map_err(failed)?;
            if let Ok(message) = Message::from_octets(buffer[..length].to_vec())
                && answers(&message, id, owner, rtype)
            {
                return Ok(message);
            }
        }
        wait *= 2;
    }
}

/// Whether a message is a response to this very question.
fn answers(message: &Message<Vec<u8>>, id: u16, owner: &Owner, rtype: Rtype) -> bool {
    let header = message.header();
    header.id() == id
        && header.qr()
        && message.sole_question().is_ok_and(|question| {
            question.qname().name_eq(owner) && question.qtype() == rtype && question.qclass() == Class::IN
        })
}

/// Opens a TCP connection.
///
/// # Errors
/// Nobody answers.
pub async fn connect(server: SocketAddr) -> Result<TcpStream, Finding> {
    let stream = TcpStream::connect(server)
        .await
        .map_err(|error| Finding::io(&format!("connect to {server} by TCP"), &error))?;
    // Without it small requests are only slower.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Sends one message with its length.
///
/// # Errors
/// The connection has ended.
pub async fn write(stream: &mut TcpStream, server: SocketAddr, message: &[u8]) -> Result<(), Finding> {
    let length = u16::try_from(message.len()).map_err(|_| Finding::ours("cannot send so long a message"))?;
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await.map_err(|error| Finding::io(&format!("ask {server} by TCP"), &error))
}

/// Reads one message with its length.
///
/// # Errors
/// The connection has ended before, or what came is no message.
pub async fn read(stream: &mut TcpStream, server: SocketAddr) -> Result<Message<Vec<u8>>, Finding> {
    let ended = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Finding::wrong(format!("{server} closed the connection without an answer"))
        }
        _ => Finding::io(&format!("hear {server} by TCP"), &error),
    };
    let length = stream.read_u16().await.map_err(ended)?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.map_err(ended)?;
    Message::from_octets(message)
        .map_err(|_| Finding::wrong(format!("{server} sent {length} bytes that are no message")))
}
