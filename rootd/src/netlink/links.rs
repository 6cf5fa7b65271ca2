//! Links read from the bytes themselves (linux/if_link.h). The kernel tells some hundred attributes of a bridge, a plan
//! speaks of eight: the library that decodes them all takes most of a look at a router of 500 domains.

use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};

use super::socket::{Netlink, NetlinkError};
use crate::plan::observed::{LinkKind, ObservedLink};

/// linux/rtnetlink.h, linux/if_link.h, linux/if.h.
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
/// `struct ifinfomsg`: family, type, index, flags, change.
const HEADER_BYTES: usize = 16;
/// The bits of an attribute's type that are none (linux/netlink.h, `NLA_TYPE_MASK`).
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Dumps the links of the namespace that `socket` lives in.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses or answers what cannot be decoded.
pub fn dump(socket: &mut Netlink) -> Result<Vec<ObservedLink>, NetlinkError> {
    // Without the counters, which are much of what the kernel tells of a link.
    let mut bytes = vec![0; HEADER_BYTES];
    for half in [8, IFLA_EXT_MASK] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes.extend(RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let request = Raw { kind: RTM_GETLINK, bytes };
    let (mut links, mut is_odd) = (Vec::new(), false);
    let request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(request));
    socket.dump(request, |answer| match read(&answer.bytes) {
        Some(link) => links.push(link),
        None => is_odd = true,
    })?;
    if is_odd { Err(NetlinkError::Decode("a link is told in too few bytes".into())) } else { Ok(links) }
}

/// A message of rtnetlink behind its header.
#[derive(Debug)]
struct Raw {
    kind: u16,
    bytes: Vec<u8>,
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { kind: header.message_type, bytes: payload.to_vec() })
    }
}

/// One link; `None` when not even the header is there.
fn read(message: &[u8]) -> Option<ObservedLink> {
    let header: &[u8; HEADER_BYTES] = message.first_chunk()?;
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let flags = word(8);
    let mut link = ObservedLink {
        index: word(4),
        name: String::new(),
        kind: if flags & IFF_LOOPBACK != 0 { LinkKind::Loopback } else { LinkKind::Other },
        mac: [0; 6],
        alias: None,
        group: 0,
        master: 0,
        peer: 0,
        up: flags & IFF_UP != 0,
    };
    for (kind, value) in attributes(&message[HEADER_BYTES..]) {
        let number = || value.first_chunk().copied().map_or(0, u32::from_ne_bytes);
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().unwrap_or(link.mac),
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINK => link.peer = number(),
            IFLA_MASTER => link.master = number(),
            IFLA_IFALIAS => link.alias = Some(text(value)),
            IFLA_GROUP => link.group = number(),
            IFLA_LINKINFO => {
                for (_, word) in attributes(value).filter(|(kind, _)| *kind == IFLA_INFO_KIND) {
                    link.kind = match text(word).as_str() {
                        "bridge" => LinkKind::Bridge,
                        "veth" => LinkKind::Veth,
                        "ipip" | "sit" | "ip6tnl" | "gre" | "ip6gre" => LinkKind::KernelTunnel,
                        _ => link.kind,
                    };
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// Attributes one after another (linux/netlink.h, `struct nlattr`); what is malformed ends them.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & NLA_TYPE_MASK, value))
    })
}

/// Up to the NUL that ends it.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::{RouteNetlinkMessage, link::LinkMessage};
    use proptest::prelude::*;

    use super::*;
    use crate::{netlink::dump, sys::netns};

    #[test]
    fn links_are_read_as_the_library_reads_them() {
        const MAKE: &str = "ip link add nebr0 address 02:00:00:00:00:07 type bridge
            ip link set nebr0 alias netengine:x group 7 up
            ip link add nep0 type veth peer name nep1
            ip link set nep0 master nebr0 up";
        let inside = || {
            netns::unshare_net().expect("root makes a namespace");
            let made = std::process::Command::new("sh").args(["-ec", MAKE]).status().expect("a shell");
            assert!(made.success());
            let mut socket = Netlink::new(netns::netlink(netns::Netlink::Route).expect("a socket"));
            let mut library = Vec::new();
            let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
            socket
                .dump(NetlinkMessage::from(question), |answer| {
                    if let RouteNetlinkMessage::NewLink(message) = answer {
                        library.push(dump::link(&message));
                    }
                })
                .expect("links");
            assert!(library.iter().any(|link| link.kind == LinkKind::Bridge && link.group == 7 && link.up));
            assert!(library.iter().any(|link| link.kind == LinkKind::Veth && link.master != 0 && link.peer != 0));
            assert_eq!(super::dump(&mut socket).expect("links"), library);
        };
        std::thread::scope(|scope| scope.spawn(inside).join().expect("no panic inside"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes: Vec<u8>) {
            prop_assert_eq!(read(&bytes).is_some(), bytes.len() >= HEADER_BYTES);
        }
    }
}
