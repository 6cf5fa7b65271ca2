//! Netlink messages and attributes, read from a buffer that the kernel filled.

/// One netlink message (netlink(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`; for netfilter, subsystem << 8 | message.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The message was cut off or its length is a lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read a netlink message whose length is wrong")]
pub struct Malformed;

const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;

/// The messages of one datagram. After a message of a wrong length comes one error, and then nothing.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let read = || {
            let length = word(0)? as usize;
            let body = rest.get(HEADER..length)?;
            Some((length, Message { kind: field(4)?, flags: field(6)?, sequence: word(8)?, body }))
        };
        match read() {
            Some((length, message)) => {
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
                Some(Ok(message))
            }
            None => {
                rest = &[];
                Some(Err(Malformed))
            }
        }
    })
}

/// The attributes of `bytes`: number without flags, and content. Ends at the first whose length is wrong, after an error.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.len() < ATTRIBUTE {
            // Up to three bytes of padding may stand at the end.
            return None;
        }
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let number = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
        match rest.get(ATTRIBUTE..length) {
            Some(content) => {
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
                Some(Ok((number, content)))
            }
            None => {
                rest = &[];
                Some(Err(Malformed))
            }
        }
    })
}

/// A number in network order.
pub(crate) fn be16(content: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(content.get(..2)?.try_into().ok()?))
}

/// A number in network order.
pub(crate) fn be32(content: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(content.get(..4)?.try_into().ok()?))
}

/// A number in network order.
pub(crate) fn be64(content: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(content.get(..8)?.try_into().ok()?))
}

/// A text that ends with NUL, or with the attribute.
pub(crate) fn text(content: &[u8]) -> String {
    let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
    String::from_utf8_lossy(&content[..end]).into_owned()
}
