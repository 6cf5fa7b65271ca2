//! The name under which OpenSSL looks a certificate authority up in a directory (x509(1), `-subject_hash`). Pure.
//!
//! It is the start of the SHA-1 of the subject in a canonical form (crypto/x509/x_name.c, `x509_name_canon`): each
//! relative name as a set of its own, without a sequence around all; texts as UTF-8, in lower case as far as ASCII goes,
//! white space at the ends removed and else one space. It is a name, so what SHA-1 is worth today does not matter.

use der::{AnyRef, Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use sha1::{Digest, Sha1};

/// The hash of a DER certificate's subject; `None` for bytes that are no certificate.
pub fn hash(certificate: &[u8]) -> Option<u32> {
    let mut canonical = Vec::new();
    let mut names = SliceReader::new(subject(certificate)?).ok()?;
    while !names.is_finished() {
        canonical.extend(relative_name(AnyRef::decode(&mut names).ok()?)?);
    }
    let digest = Sha1::digest(&canonical);
    Some(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

/// The content of the subject's sequence (RFC 5280, section 4.1).
fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let certificate = content(AnyRef::from_der(certificate).ok()?, Tag::Sequence)?;
    let signed = AnyRef::decode(&mut SliceReader::new(certificate).ok()?).ok()?;
    let mut fields = SliceReader::new(content(signed, Tag::Sequence)?).ok()?;
    let first = AnyRef::decode(&mut fields).ok()?;
    // Before the subject: version (may be absent), serial number, signature, issuer, validity.
    let is_version = first.tag() == Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    for _ in 0..if is_version { 4 } else { 3 } {
        AnyRef::decode(&mut fields).ok()?;
    }
    content(AnyRef::decode(&mut fields).ok()?, Tag::Sequence)
}

fn content(value: AnyRef<'_>, tag: Tag) -> Option<&[u8]> {
    (value.tag() == tag).then(|| value.value())
}

/// A set of types with values, in the order of DER (X.690, section 11.6).
fn relative_name(set: AnyRef<'_>) -> Option<Vec<u8>> {
    let mut entries = SliceReader::new(content(set, Tag::Set)?).ok()?;
    let mut canonical = Vec::new();
    while !entries.is_finished() {
        let entry = AnyRef::decode(&mut entries).ok()?;
        let mut parts = SliceReader::new(content(entry, Tag::Sequence)?).ok()?;
        let kind = AnyRef::decode(&mut parts).ok()?.to_der().ok()?;
        let value = AnyRef::decode(&mut parts).ok()?;
        let value = match text(value) {
            Some(text) => wrap(Tag::Utf8String, folded(&text).as_bytes())?,
            None => value.to_der().ok()?,
        };
        canonical.push(wrap(Tag::Sequence, &[kind, value].concat())?);
    }
    canonical.sort();
    wrap(Tag::Set, &canonical.concat())
}

fn wrap(tag: Tag, content: &[u8]) -> Option<Vec<u8>> {
    AnyRef::new(tag, content).ok()?.to_der().ok()
}

/// The text of a value, if it is of a kind that is compared as text.
fn text(value: AnyRef<'_>) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String => String::from_utf8(bytes.to_vec()).ok(),
        // OpenSSL takes T.61 for Latin-1, as nearly everybody does.
        Tag::PrintableString | Tag::Ia5String | Tag::VisibleString | Tag::TeletexString => {
            Some(bytes.iter().copied().map(char::from).collect())
        }
        Tag::BmpString => {
            let units = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
            units.map(char::from_u32).collect()
        }
        _ => None,
    }
}

fn folded(text: &str) -> String {
    // isspace(3) in the C locale, which has one more than is_ascii_whitespace.
    let words = text.split(|c: char| c.is_ascii_whitespace() || c == '\u{b}').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A certificate with this subject, as far as [`subject`] reads it.
    fn certificate(version: bool, subject: &[u8]) -> Vec<u8> {
        let empty = wrap(Tag::Sequence, &[]).expect("encodes");
        let mut fields = if version { vec![0xa0, 3, 2, 1, 2] } else { Vec::new() };
        fields.extend([2, 1, 7]);
        fields.extend([&empty[..], &empty, &empty].concat());
        fields.extend(wrap(Tag::Sequence, subject).expect("encodes"));
        wrap(Tag::Sequence, &wrap(Tag::Sequence, &fields).expect("encodes")).expect("encodes")
    }

    fn common_name(tag: Tag, text: &[u8]) -> Vec<u8> {
        let parts = [&[6, 3, 0x55, 4, 3][..], &wrap(tag, text).expect("encodes")].concat();
        wrap(Tag::Set, &wrap(Tag::Sequence, &parts).expect("encodes")).expect("encodes")
    }

    #[test]
    fn names_that_compare_equal_hash_equal() {
        let hash_of = |tag, text: &[u8]| hash(&certificate(true, &common_name(tag, text))).expect("a certificate");
        let plain = hash_of(Tag::Utf8String, b"world root");
        // What `openssl x509 -subject_hash` says of a certificate with this subject.
        assert_eq!(format!("{plain:08x}"), "bce025b4");
        assert_eq!(hash_of(Tag::PrintableString, b"  World \t\x0b ROOT "), plain);
        assert_eq!(hash_of(Tag::BmpString, b"\0W\0o\0r\0l\0d\0 \0R\0o\0o\0t"), plain);
        assert_eq!(hash(&certificate(false, &common_name(Tag::Utf8String, b"world root"))), Some(plain));
        assert_ne!(hash_of(Tag::Utf8String, b"worldroot"), plain);
    }

    proptest! {
        #[test]
        fn hostile_certificates_are_told_or_hashed(bytes in prop::collection::vec(any::<u8>(), 0..64), place in 0usize..64) {
            let mut altered = certificate(true, &common_name(Tag::Utf8String, b"world root"));
            let place = place % altered.len();
            altered.splice(place..place, bytes.iter().copied());
            let _ = (hash(&bytes), hash(&altered));
        }
    }
}
