//! dns-01 (RFC 8555, section 8.4) and looking names up.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use domain::{
    base::{
        Message, MessageBuilder, Name, Rtype,
        iana::{Class, Rcode},
        rdata::ParseRecordData,
    },
    rdata::{A, Aaaa, Txt},
};
use netengine_spec::text::DnsName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{Names, Network};
use crate::{
    acme::{Kind, Probe, Problem, Verdict},
    jose,
};

/// How long one try may take, and how many there are.
const TRY: Duration = Duration::from_secs(3);
const TRIES: usize = 2;

/// The most records of one answer that are looked at.
const RECORDS: usize = 64;

/// An answer of the resolver.
pub(super) type Answer = Message<Vec<u8>>;

pub(super) async fn check(network: &Network, probe: &Probe) -> Verdict {
    let name = format!("_acme-challenge.{}", probe.identifier);
    let wanted = jose::encode(jose::sha256(probe.key_authorization.as_bytes()));
    let answer = ask(network.names.as_ref(), &name, Rtype::TXT).await?;
    let texts = records::<Txt<_>>(&answer);
    let is_there = texts.iter().any(|text| {
        let bytes: Vec<u8> = text.iter().flatten().copied().collect();
        bytes == wanted.as_bytes()
    });
    match (is_there, texts.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(Problem::new(Kind::Dns, format!("there is no TXT record at {name}"))),
        (false, false) => {
            Err(Problem::new(Kind::IncorrectResponse, format!("no TXT record at {name} is the right one")))
        }
    }
}

/// The addresses of a name, IPv4 first.
pub(super) async fn addresses(names: &dyn Names, name: &DnsName) -> Result<Vec<IpAddr>, Problem> {
    let (v4, v6) = tokio::join!(ask(names, name.as_str(), Rtype::A), ask(names, name.as_str(), Rtype::AAAA));
    let v4_found = v4.as_ref().map(records::<A>).unwrap_or_default();
    let v6_found = v6.as_ref().map(records::<Aaaa>).unwrap_or_default();
    let found: Vec<_> = v4_found
        .into_iter()
        .map(|a| IpAddr::V4(a.addr()))
        .chain(v6_found.into_iter().map(|aaaa| IpAddr::V6(aaaa.addr())))
        .collect();
    match found.is_empty() {
        false => Ok(found),
        true => {
            v4?;
            v6?;
            Err(Problem::new(Kind::Dns, format!("{name} has no address")))
        }
    }
}

/// The records of one type in the answer section: the resolver has followed aliases already.
pub(super) fn records<'a, D: ParseRecordData<'a, Vec<u8>>>(answer: &'a Answer) -> Vec<D> {
    let Ok(section) = answer.answer() else { return Vec::new() };
    section.limit_to_in::<D>().flatten().take(RECORDS).map(|record| record.into_data()).collect()
}

/// Asks the resolver; NXDOMAIN is an answer without records.
///
/// # Errors
/// `dns` when there is no answer, or one that is a failure.
pub(super) async fn ask(names: &dyn Names, name: &str, rtype: Rtype) -> Result<Answer, Problem> {
    let problem = |why: &str| Problem::new(Kind::Dns, format!("cannot look up {rtype} of {name}: {why}"));
    let mut id = [0; 2];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| Problem::internal())?;
    let query = query(u16::from_be_bytes(id), name, rtype).ok_or_else(|| problem("it is no name"))?;
    let mut failure = "the resolver does not answer";
    for _ in 0..TRIES {
        let answer = match timeout(TRY, names.answer(query.as_slice().to_vec())).await {
            Ok(Ok(answer)) => Message::from_octets(answer).ok().filter(|answer| answer.is_answer(&query)),
            Ok(Err(_)) => {
                failure = "the resolver cannot be reached";
                continue;
            }
            Err(_) => continue,
        };
        let Some(answer) = answer else { continue };
        match answer.header().rcode() {
            Rcode::NOERROR | Rcode::NXDOMAIN => return Ok(answer),
            _ => failure = "the resolver reports a failure",
        }
    }
    Err(problem(failure))
}

fn query(id: u16, name: &str, rtype: Rtype) -> Option<Message<Vec<u8>>> {
    let name: Name<Vec<u8>> = name.parse().ok()?;
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((&name, rtype, Class::IN)).ok()?;
    let mut additional = question.additional();
    additional
        .opt(|opt| {
            opt.set_udp_payload_size(1232);
            Ok(())
        })
        .ok()?;
    Some(additional.into_message())
}

impl Names for SocketAddr {
    fn answer(&self, query: Vec<u8>) -> Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send + '_>> {
        Box::pin(async move {
            let query = Message::from_octets(query).map_err(io::Error::other)?;
            exchange(*self, &query).await.map(Message::into_octets)
        })
    }
}

async fn exchange(resolver: SocketAddr, query: &Message<Vec<u8>>) -> io::Result<Answer> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => ([0u8; 4], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    // A socket of its own for each query: the port is as hard to guess as the kernel makes it.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(query.as_slice()).await?;
    let mut buffer = vec![0; 2048];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_octets(buffer[..length].to_vec()) else { continue };
        if !answer.is_answer(query) {
            continue;
        }
        return match answer.header().tc() {
            false => Ok(answer),
            true => exchange_tcp(resolver, query).await,
        };
    }
}

async fn exchange_tcp(resolver: SocketAddr, query: &Message<Vec<u8>>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(query.as_slice().len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    match Message::from_octets(buffer) {
        Ok(answer) if answer.is_answer(query) => Ok(answer),
        _ => Err(io::Error::other("not the answer to the query")),
    }
}
