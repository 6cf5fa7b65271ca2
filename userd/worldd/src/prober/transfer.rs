//! The live check of a zone transfer (RFC 5936) with TSIG (RFC 8945) on every message.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use domain::{
    base::{
        Message, MessageBuilder, ParsedName, Rtype, Serial, ToName,
        iana::{Class, OptRcode, Rcode},
    },
    rdata::{Soa, tsig::Time48},
    tsig::{Algorithm, ClientSequence, Key, KeyName},
};
use netengine_proto::{control::Fault, trust::Secret};

use super::{
    exchange::{self, Owner},
    finding::{Finding, Progress, Seen},
};

/// Where name servers listen.
const PORT: u16 = 53;

/// Transfers the zone and tells how large it is.
pub async fn check(server: IpAddr, zone: &str, key: &(String, Secret), progress: &Progress) -> Seen {
    let apex = exchange::name(zone)?;
    let key = Arc::new(read_key(key)?);
    let serial = serial_by_udp(server, &apex, progress).await?;

    let server = SocketAddr::new(server, PORT);
    progress.enter(format!("transferring the zone {apex} from {server}"));
    let id = exchange::nonce()?;
    let (request, mut signatures) = request(id, &apex, key)?;
    let mut stream = exchange::connect(server).await?;
    exchange::write(&mut stream, server, &request).await?;

    let mut transfer = Transfer::new(apex.clone());
    let mut messages = 0_u32;
    while !transfer.is_complete() {
        let mut message = exchange::read(&mut stream, server).await?;
        refusal(&message, id, &apex)?;
        let forged = |error| Finding::wrong(format!("message {} of the transfer of {apex}: {error}", messages + 1));
        signatures.answer(&mut message, now()).map_err(forged)?;
        transfer.take(&message)?;
        messages += 1;
    }
    signatures.done().map_err(|error| Finding::wrong(format!("the end of the transfer of {apex}: {error}")))?;
    let transferred = transfer.serial();
    if transferred != Some(serial) {
        let seen = transferred.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
        return Err(Finding::wrong(format!("serial {seen} in the transfer of {apex}, {serial} by UDP")));
    }
    Ok(format!("{} records of {apex} in {messages} messages, serial {serial}, every message signed", transfer.records))
}

fn now() -> Time48 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time48::from_u64(since.as_secs())
}

fn read_key((name, secret): &(String, Secret)) -> Result<Key, Finding> {
    // The secret is in none of these texts.
    let unreadable = |what: &str| Finding::ours(format!("cannot use the key {name}: {what}"));
    let owner: KeyName = name.parse().map_err(|_| unreadable("its name is none"))?;
    let secret = STANDARD.decode(secret.expose()).map_err(|_| unreadable("its secret is not base64"))?;
    Key::new(Algorithm::Sha256, &secret, owner, None, None).map_err(|_| unreadable("it makes no key"))
}

/// The serial number that the server tells anybody.
async fn serial_by_udp(server: IpAddr, apex: &Owner, progress: &Progress) -> Result<Serial, Finding> {
    let answer = exchange::ask(server, apex, Rtype::SOA, progress).await?;
    let rcode = answer.opt_rcode();
    if rcode != OptRcode::NOERROR {
        return Err(Finding::refused(format!("{rcode} for SOA of {apex}")));
    }
    if !answer.header().aa() {
        return Err(Finding::wrong(format!("the server is not authoritative for {apex}")));
    }
    let unreadable = |_| Finding::wrong(format!("an answer for SOA of {apex} that cannot be read"));
    let soas = answer.answer().map_err(unreadable)?.limit_to::<Soa<ParsedName<_>>>();
    let soas = soas.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    match soas.as_slice() {
        [soa] if soa.owner().name_eq(apex) => Ok(soa.data().serial()),
        _ => Err(Finding::new(Fault::WrongRecord, format!("{} SOA records for {apex}", soas.len()))),
    }
}

fn request(id: u16, apex: &Owner, key: Arc<Key>) -> Result<(Vec<u8>, ClientSequence<Arc<Key>>), Finding> {
    let full = |_| Finding::ours("cannot write the request");
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(id);
    let mut question = message.question();
    question.push((apex, Rtype::AXFR)).map_err(full)?;
    let mut additional = question.additional();
    let signatures = ClientSequence::request(key, &mut additional, now()).map_err(full)?;
    Ok((additional.finish(), signatures))
}

/// A server that does not know the key answers unsigned, so its words are heard before the signature is checked.
fn refusal(message: &Message<Vec<u8>>, id: u16, apex: &Owner) -> Result<(), Finding> {
    let header = message.header();
    if header.id() != id || !header.qr() {
        return Err(Finding::wrong(format!("a message that does not answer our request for {apex}")));
    }
    match header.rcode() {
        Rcode::NOERROR => Ok(()),
        rcode => Err(Finding::refused(format!("{rcode} for the transfer of {apex}"))),
    }
}

/// What has come so far: complete when the first SOA record comes again (RFC 5936, section 2.2).
struct Transfer {
    apex: Owner,
    first: Option<Soa<domain::base::Name<Bytes>>>,
    complete: bool,
    records: u64,
}

impl Transfer {
    fn new(apex: Owner) -> Self {
        Self { apex, first: None, complete: false, records: 0 }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn serial(&self) -> Option<Serial> {
        self.first.as_ref().map(Soa::serial)
    }

    fn take(&mut self, message: &Message<Vec<u8>>) -> Result<(), Finding> {
        let apex = self.apex.clone();
        let unreadable = |_| Finding::wrong(format!("a message of the transfer of {apex} that cannot be read"));
        for record in message.answer().map_err(unreadable)? {
            let record = record.map_err(unreadable)?;
            let wrong = |what: &str| Err(Finding::wrong(format!("{what} in the transfer of {apex}")));
            if self.complete {
                return wrong("records after the last SOA");
            }
            if record.class() != Class::IN || !record.owner().to_vec().ends_with(&apex) {
                return wrong("a record of another zone");
            }
            self.records += 1;
            let soa = record.to_record::<Soa<ParsedName<_>>>().map_err(unreadable)?;
            match (&self.first, soa) {
                (None, None) => return wrong("no SOA record first"),
                (None, Some(soa)) => self.first = Some(kept(soa.data())),
                (Some(_), None) => {}
                (Some(first), Some(soa)) if *first == kept(soa.data()) && soa.owner().name_eq(&apex) => {
                    // It is one record, sent twice.
                    self.records -= 1;
                    self.complete = true;
                }
                (Some(_), Some(_)) => return wrong("two different SOA records"),
            }
        }
        Ok(())
    }
}

/// A copy that outlives its message.
fn kept(soa: &Soa<ParsedName<&[u8]>>) -> Soa<domain::base::Name<Bytes>> {
    Soa::new(
        soa.mname().to_bytes(),
        soa.rname().to_bytes(),
        soa.serial(),
        soa.refresh(),
        soa.retry(),
        soa.expire(),
        soa.minimum(),
    )
}
