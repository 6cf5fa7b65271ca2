//! A file of captured frames with comments (pcapng, draft-ietf-opsawg-pcapng).

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_ETHERNET`, of all interfaces: not every reader takes files with several.
const ETHERNET: u16 = 1;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const APPLICATION: u16 = 4;

/// A file that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcapng {
    bytes: Vec<u8>,
    interfaces: u32,
}

impl Pcapng {
    /// A file of what `application` captured, with a comment on the whole; none when that is empty.
    pub fn new(application: &str, comment: &str) -> Self {
        // Version 1.0, of a length that is not told.
        let mut section = [&BYTE_ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &u64::MAX.to_le_bytes()].concat();
        if !comment.is_empty() {
            option(&mut section, COMMENT, comment);
        }
        option(&mut section, APPLICATION, application);
        section.extend([0; 4]);
        let mut file = Self { bytes: Vec::new(), interfaces: 0 };
        file.block(SECTION, &section);
        file
    }

    /// A further interface; gives its number.
    pub fn interface(&mut self, name: &str) -> u32 {
        let mut interface = [&ETHERNET.to_le_bytes()[..], &[0; 6]].concat();
        option(&mut interface, NAME, name);
        interface.extend([0; 4]);
        self.block(INTERFACE, &interface);
        self.interfaces += 1;
        self.interfaces - 1
    }

    /// A frame of an interface, with its time in microseconds since 1970 and a comment; none when that is empty.
    pub fn packet(&mut self, interface: u32, micros: u64, frame: &[u8], comment: &str) {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
        let (high, low) = ((micros >> 32) as u32, micros as u32);
        let mut body = [interface.to_le_bytes(), high.to_le_bytes(), low.to_le_bytes(), length, length].concat();
        padded(&mut body, frame);
        if !comment.is_empty() {
            option(&mut body, COMMENT, comment);
            body.extend([0; 4]);
        }
        self.block(PACKET, &body);
    }

    /// The file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(length);
        self.bytes.extend(body);
        self.bytes.extend(length);
    }
}

fn option(body: &mut Vec<u8>, code: u16, text: &str) {
    // A length has 16 bits; cut between characters.
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    body.extend(code.to_le_bytes());
    body.extend((end as u16).to_le_bytes());
    padded(body, &text.as_bytes()[..end]);
}

fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_and_end_with_their_length() {
        let mut file = Pcapng::new("test", "of all");
        let sent = file.interface("sent");
        file.packet(sent, 7 << 32 | 5, &[1, 2, 3, 4, 5], "\u{e4}".repeat(40_000).as_str());
        file.packet(sent, 1, &[], "");
        let file = file.into_bytes();
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let length = word(at + 4) as usize;
            assert_eq!((length % 4, word(at + length - 4) as usize), (0, length));
            kinds.push((word(at), word(at + 12), word(at + 16), word(at + 20)));
            at += length;
        }
        let packets: Vec<_> = kinds.iter().filter(|block| block.0 == PACKET).collect();
        assert_eq!(packets, [&(PACKET, 7, 5, 5), &(PACKET, 0, 1, 0)]);
        assert_eq!(kinds.iter().map(|block| block.0).collect::<Vec<_>>(), [SECTION, INTERFACE, PACKET, PACKET]);
    }
}
