//! DHCP messages (RFC 2131, section 2; options RFC 2132).
//!
//! Our own reader: a server needs nine options of a client, and a reader of all options is all of their mistakes. An
//! option that comes twice is refused, not joined (RFC 3396): none that is read here is ever that long.

use std::net::Ipv4Addr;

use crate::Mac;

/// Length of the fixed fields with the magic cookie.
const HEADER: usize = 240;
/// Options 53, RFC 1497's cookie.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Shortest message that old clients accept (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// What every client takes without saying so: 576 bytes (RFC 2131, section 2) less IPv4 and UDP headers.
const SURE: usize = 548;
/// What fits one Ethernet frame.
const LONGEST: usize = 1472;

/// Option codes (RFC 2132; 119: RFC 3397).
#[allow(missing_docs, reason = "the names are the RFC's")]
pub mod code {
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const NAME_SERVERS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const BROADCAST: u8 = 28;
    pub const NTP_SERVERS: u8 = 42;
    pub const REQUESTED: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAXIMUM_SIZE: u8 = 57;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const CLIENT: u8 = 61;
    pub const DOMAIN_SEARCH: u8 = 119;
}

/// Message types (RFC 2132, section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
}

impl Kind {
    fn of_client(number: u8) -> Option<Self> {
        [Self::Discover, Self::Request, Self::Decline, Self::Release, Self::Inform]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// Why bytes are no message of a client on this link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Shorter than the fixed fields.
    #[error("cannot read a message that is shorter than its fixed fields")]
    Short,
    /// Not from a client, not Ethernet, or without the cookie.
    #[error("cannot read what is no request of an Ethernet client")]
    Foreign,
    /// Through a relay: there is none in a link of ours.
    #[error("cannot serve a relay")]
    Relayed,
    /// An option that ends too late, comes twice or has a wrong length.
    #[error("cannot read option {0}")]
    Option(u8),
    /// Without a type of message that clients send.
    #[error("cannot tell the type of the message")]
    Kind,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The type.
    pub kind: Kind,
    /// The transaction.
    pub xid: [u8; 4],
    /// The flags, as they came; the highest bit asks for broadcast.
    pub flags: [u8; 2],
    /// The address that the client has and can be reached at; 0.0.0.0: none.
    pub ciaddr: Ipv4Addr,
    /// The client's Ethernet address.
    pub mac: Mac,
    /// Option 61 as it came.
    pub client: Option<Vec<u8>>,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 55: the options that the client would like.
    pub wanted: Vec<u8>,
    /// Longest message that the client takes, bytes of UDP payload.
    pub room: usize,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).ok_or(Fault::Short)
}

impl Request {
    /// Reads what came to port 67.
    ///
    /// # Errors
    /// [`Fault`]; such a message gets no answer.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let [op, htype, hlen, _hops] = array(bytes, 0)?;
        let cookie: [u8; 4] = array(bytes, HEADER - 4)?;
        let mac: Mac = array(bytes, 28)?;
        if (op, htype, hlen) != (1, 1, 6) || cookie != COOKIE || mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(Fault::Foreign);
        }
        if array::<4>(bytes, 24)? != [0; 4] {
            return Err(Fault::Relayed);
        }
        let mut options = Options::default();
        options.read(&bytes[HEADER..])?;
        let overload = options.one(code::OVERLOAD)?.map_or(0, |[places]| places);
        // Option 52: the fields `file` (128 bytes at 108) and `sname` (64 bytes at 44) hold options too.
        for (bit, field) in [(1, &bytes[108..236]), (2, &bytes[44..108])] {
            if overload & bit != 0 {
                options.read(field)?;
            }
        }
        let kind = options.one(code::MESSAGE_TYPE)?.and_then(|[number]| Kind::of_client(number)).ok_or(Fault::Kind)?;
        let room = options.one(code::MAXIMUM_SIZE)?.map_or(SURE, |size| usize::from(u16::from_be_bytes(size)));
        Ok(Self {
            kind,
            xid: array(bytes, 4)?,
            flags: array(bytes, 10)?,
            ciaddr: array::<4>(bytes, 12)?.into(),
            mac,
            client: options.get(code::CLIENT).map(<[u8]>::to_vec),
            requested: options.one(code::REQUESTED)?.map(Ipv4Addr::from_octets),
            server: options.one(code::SERVER)?.map(Ipv4Addr::from_octets),
            wanted: options.get(code::PARAMETERS).unwrap_or_default().to_vec(),
            // The option counts the headers too; what is below the minimum is not believed.
            room: room.saturating_sub(28).clamp(SURE, LONGEST),
        })
    }
}

/// The options of a message that a server looks at.
#[derive(Default)]
struct Options<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Options<'a> {
    const READ: [u8; 7] = [
        code::REQUESTED,
        code::OVERLOAD,
        code::MESSAGE_TYPE,
        code::SERVER,
        code::PARAMETERS,
        code::MAXIMUM_SIZE,
        code::CLIENT,
    ];

    fn read(&mut self, mut bytes: &'a [u8]) -> Result<(), Fault> {
        loop {
            match *bytes {
                [] | [255, ..] => return Ok(()),
                [0, ..] => bytes = &bytes[1..],
                [code] => return Err(Fault::Option(code)),
                [code, length, ref rest @ ..] => {
                    let (value, after) = rest.split_at_checked(length.into()).ok_or(Fault::Option(code))?;
                    if Self::READ.contains(&code) {
                        if self.get(code).is_some() {
                            return Err(Fault::Option(code));
                        }
                        self.0.push((code, value));
                    }
                    bytes = after;
                }
            }
        }
    }

    fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.0.iter().find(|(one, _)| *one == code).map(|(_, value)| *value)
    }

    fn one<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, Fault> {
        self.get(code).map(|value| value.try_into().map_err(|_| Fault::Option(code))).transpose()
    }
}

/// A message of the server while it is written.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    room: usize,
}

impl Writer {
    /// An answer to `request` that gives `yiaddr`; the client's identifier is told back (RFC 6842).
    pub fn answer(request: &Request, kind: Kind, server: Ipv4Addr, yiaddr: Ipv4Addr) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[..3].copy_from_slice(&[2, 1, 6]);
        bytes[4..8].copy_from_slice(&request.xid);
        bytes[10..12].copy_from_slice(&request.flags);
        if kind == Kind::Ack {
            bytes[12..16].copy_from_slice(&request.ciaddr.octets());
        }
        bytes[16..20].copy_from_slice(&yiaddr.octets());
        bytes[28..34].copy_from_slice(&request.mac);
        bytes[HEADER - 4..].copy_from_slice(&COOKIE);
        let mut writer = Self { bytes, room: request.room };
        writer.option(code::MESSAGE_TYPE, &[kind as u8]);
        writer.option(code::SERVER, &server.octets());
        if let Some(client) = &request.client {
            writer.option(code::CLIENT, client);
        }
        writer
    }

    /// Adds an option if it fits what the client takes; whether it did. An empty one says nothing and is left out.
    pub fn option(&mut self, code: u8, value: &[u8]) -> bool {
        // One byte stays for the end.
        let fits = self.bytes.len() + 2 + value.len() < self.room;
        let Some(length) = u8::try_from(value.len()).ok().filter(|length| fits && *length > 0) else { return false };
        self.bytes.extend([code, length]);
        self.bytes.extend(value);
        true
    }

    /// The message, long enough for every client.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(255);
        let length = self.bytes.len().max(SHORTEST);
        self.bytes.resize(length, 0);
        self.bytes
    }
}

/// A domain in wire form (RFC 1035, section 3.1) without compression; `None` when it is none.
pub fn domain(name: &str) -> Option<Vec<u8>> {
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        wire.push(length);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    (wire.len() <= 255).then_some(wire)
}
