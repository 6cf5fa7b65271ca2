//! Domain names: absolute, in wire form, with the case their owner gave them.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

/// Longest name in wire form (RFC 1035, section 2.3.4).
pub const NAME_BYTES: usize = 255;
/// Most labels of a name, the root not counted: each takes at least two bytes.
pub const LABELS: usize = 127;
/// Longest key: every byte of a name may need two.
const KEY_BYTES: usize = 2 * NAME_BYTES;

/// Why a text or a sequence of bytes is not a domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A label is empty or longer than 63 bytes.
    #[error("a label is empty or longer than 63 bytes")]
    Label,
    /// The name is longer than 255 bytes.
    #[error("the name is longer than 255 bytes")]
    Length,
    /// A backslash is followed by neither a character nor three digits up to 255.
    #[error("an escape is broken")]
    Escape,
    /// The bytes end early, go on, or hold a compression pointer.
    #[error("the bytes are no uncompressed name")]
    Wire,
}

/// An absolute domain name.
///
/// Compared and hashed without regard to ASCII case (RFC 4343); shown and sent with the case it was made with.
#[derive(Clone)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self(Arc::new([0]))
    }

    /// Parses the presentation form (RFC 1035, section 5.1); the final dot may be absent.
    ///
    /// # Errors
    /// [`NameError`] with the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let (mut wire, mut start) = (vec![0_u8], 0);
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            if byte == b'.' {
                start = close_label(&mut wire, start)?;
                if bytes.peek().is_none() {
                    return Self::from_labels(wire);
                }
                wire.push(0);
                continue;
            }
            wire.push(if byte == b'\\' { unescape(&mut bytes)? } else { byte });
        }
        close_label(&mut wire, start)?;
        Self::from_labels(wire)
    }

    fn from_labels(mut wire: Vec<u8>) -> Result<Self, NameError> {
        wire.push(0);
        if wire.len() > NAME_BYTES { Err(NameError::Length) } else { Ok(Self(wire.into())) }
    }

    /// Takes exactly one uncompressed name.
    ///
    /// # Errors
    /// [`NameError`] when the bytes are anything else.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        match wire_length(wire) {
            Some(length) if length == wire.len() => Ok(Self(wire.into())),
            _ => Err(NameError::Wire),
        }
    }

    /// The wire form, uncompressed.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels, leftmost first, without the root's.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }

    /// How many labels it has, the root's not counted.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// True for the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// True when the leftmost label is `*` (RFC 4592).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(*self.0.first()?);
        if first == 0 { None } else { Some(Self(self.0[first + 1..].into())) }
    }

    /// The name with one label more on the left.
    ///
    /// # Errors
    /// [`NameError`] when the label or the whole is too long.
    pub fn child(&self, label: &[u8]) -> Result<Self, NameError> {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n)).ok_or(NameError::Label)?;
        let wire = [&[length], label, &self.0].concat();
        if wire.len() > NAME_BYTES { Err(NameError::Length) } else { Ok(Self(wire.into())) }
    }

    /// True when the name is `ancestor` or below it.
    pub fn is_under(&self, ancestor: &Self) -> bool {
        self.0.len() >= ancestor.0.len() && {
            let tail = self.0.len() - ancestor.0.len();
            self.0[tail..].eq_ignore_ascii_case(&ancestor.0) && self.starts_label_at(tail)
        }
    }

    fn starts_label_at(&self, offset: usize) -> bool {
        let mut at = 0;
        while at < offset {
            at += usize::from(self.0[at]) + 1;
        }
        at == offset
    }

    /// The name in lower case (RFC 4034, section 6.2).
    pub fn to_lowercase(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }

    /// The key that orders names canonically.
    pub fn key(&self) -> Key {
        Key(LookupKey::of(&self.0).as_bytes().into())
    }
}

/// Writes the length of the label that began at `start` and returns where the next one begins.
fn close_label(wire: &mut [u8], start: usize) -> Result<usize, NameError> {
    let length = u8::try_from(wire.len() - start - 1).ok().filter(|n| (1..=63).contains(n)).ok_or(NameError::Label)?;
    wire[start] = length;
    Ok(wire.len())
}

fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::Escape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::Escape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::Escape)
}

/// The length of the uncompressed name at the start of `bytes`; `None` when there is none.
pub fn wire_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return (at < NAME_BYTES && at < bytes.len()).then_some(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            _ => return None,
        }
        if at >= NAME_BYTES {
            return None;
        }
    }
}

/// The labels of a valid uncompressed name.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (&length, tail) = rest.split_first()?;
        if length == 0 || tail.len() < usize::from(length) {
            return None;
        }
        let (label, tail) = tail.split_at(usize::from(length));
        rest = tail;
        Some(label)
    })
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        // Length bytes are below 64, so they are no letters.
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|byte| state.write_u8(byte.to_ascii_lowercase()));
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        LookupKey::of(&self.0).as_bytes().cmp(LookupKey::of(&other.0).as_bytes())
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A name as bytes whose order is the canonical order of names (RFC 4034, section 6.1).
///
/// Labels from the right, in lower case, each ended by 0; 0 and 1 inside a label are escaped by 1. The key of an ancestor
/// is a prefix of the keys of all names below it, and of no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// A key made without allocation, with the keys of all ancestors as its prefixes.
pub struct LookupKey {
    bytes: [u8; KEY_BYTES],
    /// Where the key of the ancestor with that many labels ends.
    ends: [u16; LABELS + 1],
    labels: usize,
}

impl LookupKey {
    /// The key of a valid uncompressed name.
    pub fn of(wire: &[u8]) -> Self {
        let mut starts = [0_u8; LABELS];
        let (mut count, mut at) = (0, 0);
        while let Some(&length) = wire.get(at)
            && length != 0
            && count < LABELS
        {
            starts[count] = at as u8; // a name has at most 255 bytes
            count += 1;
            at += usize::from(length) + 1;
        }
        let mut key = Self { bytes: [0; KEY_BYTES], ends: [0; LABELS + 1], labels: count };
        let mut end = 0;
        for (index, &start) in starts[..count].iter().rev().enumerate() {
            let start = usize::from(start);
            for byte in &wire[start + 1..=start + usize::from(wire[start])] {
                if *byte <= 1 {
                    key.bytes[end] = 1;
                    end += 1;
                }
                key.bytes[end] = if *byte <= 1 { byte + 1 } else { byte.to_ascii_lowercase() };
                end += 1;
            }
            key.bytes[end] = 0;
            end += 1;
            key.ends[index + 1] = end as u16; // at most 510
        }
        key
    }

    /// The whole key.
    pub fn as_bytes(&self) -> &[u8] {
        self.ancestor(self.labels)
    }

    /// How many labels the name has.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The key of the ancestor with that many labels; 0 is the root, [`Self::labels`] the name itself.
    pub fn ancestor(&self, labels: usize) -> &[u8] {
        &self.bytes[..usize::from(self.ends[labels.min(self.labels)])]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn canonical_order_is_that_of_rfc_4034() {
        let sorted = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "Z.a.example",
            "zABC.a.EXAMPLE",
            "z.example",
            "\\001.z.example",
            "*.z.example",
            "\\200.z.example",
        ];
        for pair in sorted.windows(2) {
            assert!(name(pair[0]) < name(pair[1]), "{} before {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn names_keep_their_case_and_compare_without_it() {
        assert_eq!(name("WWW.Example"), name("www.eXAMPLE."));
        assert_eq!(name("WWW.Example").to_string(), "WWW.Example.");
        assert!(name("a.b.c").is_under(&name("B.c")) && name("a").is_under(&Name::root()));
        assert!(!name("ab.c").is_under(&name("b.c")) && !name("b.c").is_under(&name("a.b.c")));
    }

    #[test]
    fn broken_names_are_refused() {
        for bad in ["", "..", "a..b", ".a", "\\", "\\25", "\\256"] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Name::parse(&"a".repeat(64)).is_err());
        assert!(Name::parse(&vec!["a".repeat(63); 4].join(".")).is_err());
        for bad in [&b""[..], b"\x01", b"\x01a", b"\xc0\x0c", b"\0\0", b"\x01a\0b"] {
            assert!(Name::from_wire(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_wire_are_the_same_name(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8)) {
            let made = labels.iter().rev().try_fold(Name::root(), |name, label| name.child(label)).expect("short");
            let parsed = Name::parse(&made.to_string()).expect("parses");
            prop_assert_eq!(parsed.as_wire(), made.as_wire());
            prop_assert_eq!(Name::from_wire(made.as_wire()).expect("parses").key(), made.key());
        }

        #[test]
        fn keys_of_ancestors_and_only_they_are_prefixes(a in "([a-c\\x00-\\x02]{1,3}\\.){0,3}", b in "([a-c]{1,3}\\.){0,3}") {
            if let (Ok(a), Ok(b)) = (Name::parse(&a), Name::parse(&b)) {
                prop_assert_eq!(a.key().as_bytes().starts_with(b.key().as_bytes()), a.is_under(&b));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = Name::from_wire(&bytes) {
                prop_assert!(name.key().as_bytes().len() <= KEY_BYTES && name.label_count() <= LABELS);
            }
        }
    }
}
