//! The little DER (X.690) that no library here writes: access descriptions, RSA keys, OCSP.

/// Tags of universal types.
pub mod tag {
    #![allow(missing_docs, reason = "the names are those of X.680")]
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OID: u8 = 0x06;
    pub const ENUMERATED: u8 = 0x0a;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
}

/// One element: tag, length, the parts one after another.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    match length {
        0..0x80 => out.push(length as u8),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A SEQUENCE.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

/// A positive INTEGER from its big-endian bytes.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().take_while(|&&b| b == 0).count().min(bytes.len().saturating_sub(1))..];
    match bytes.first() {
        Some(0x80..) | None => element(tag::INTEGER, &[&[0], bytes]),
        _ => element(tag::INTEGER, &[bytes]),
    }
}

/// A BIT STRING of whole bytes.
pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(tag::BIT_STRING, &[&[0], bytes])
}

/// An OID from its content bytes.
pub fn oid(content: &[u8]) -> Vec<u8> {
    element(tag::OID, &[content])
}

/// A GeneralizedTime, to the second and in UTC (RFC 5280, section 4.1.2.5.2).
pub fn generalized_time(at: crate::clock::UnixSeconds) -> Vec<u8> {
    let at = crate::clock::date_time(at);
    let (date, time) = (at.date(), at.time());
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    element(tag::GENERALIZED_TIME, &[text.as_bytes()])
}

/// An RSAPublicKey (RFC 8017, appendix A.1.1): what a SubjectPublicKeyInfo of RSA holds.
pub fn rsa_public_key(n: &[u8], e: &[u8]) -> Vec<u8> {
    sequence(&[&integer(n), &integer(e)])
}

/// The element at the beginning: its tag, its content, and what follows; `None` when it is not complete or not DER.
pub fn read(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = input.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0usize, |length, &byte| length << 8 | usize::from(byte));
            // The shortest form is the only one.
            let shortest = length >= 0x80 && bytes.first() != Some(&0);
            (shortest.then_some(length)?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// As [`read`], when the element has this tag.
pub fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    read(input).and_then(|(found, content, rest)| (found == tag).then_some((content, rest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_times_are_written_the_one_way() {
        assert_eq!(integer(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0]), [2, 1, 0]);
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(&generalized_time(1_000_000_000)[2..], b"20010909014640Z");
        assert_eq!(element(4, &[&[7; 300]])[..4], [4, 0x82, 1, 44]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(tag in 0u8..31, content in proptest::collection::vec(any::<u8>(), 0..400), after in any::<[u8; 3]>()) {
            let mut written = element(tag, &[&content]);
            written.extend_from_slice(&after);
            prop_assert_eq!(read(&written), Some((tag, &content[..], &after[..])));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }
    }
}
