//! The texts that commands of a world see, from typed values. Pure.

use std::fmt::Write;

use netengine_proto::{plan::Resolver, trust::Trust};

use super::message::WorldFiles;

/// resolv.conf(5) and a PEM bundle (RFC 7468) of the world's certificate authorities.
pub fn render(resolver: &Resolver, trust: &Trust) -> WorldFiles {
    let mut resolv_conf = String::from("# The recursive resolver of this world's network.\n");
    for server in resolver.name_servers.iter() {
        let _ = writeln!(resolv_conf, "nameserver {server}");
    }
    let mut trust_store = String::new();
    if trust.certificates.is_empty() {
        trust_store.push_str("# This world has no certificate authority.\n");
    }
    for certificate in trust.certificates.iter() {
        trust_store.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = base64(certificate);
        for line in encoded.as_bytes().chunks(64) {
            trust_store.extend(line.iter().map(|byte| char::from(*byte)));
            trust_store.push('\n');
        }
        trust_store.push_str("-----END CERTIFICATE-----\n");
    }
    WorldFiles { resolv_conf, trust_store }
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use netengine_proto::bounded::Bounded;

    use super::*;

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn files_are_made_of_typed_values_only() {
        let resolver = Resolver {
            name_servers: Bounded::new(vec!["10.0.0.1".parse().expect("v4"), "fd00::1".parse().expect("v6")])
                .expect("few"),
        };
        let files = render(&resolver, &Trust::default());
        assert!(files.resolv_conf.ends_with("nameserver 10.0.0.1\nnameserver fd00::1\n"));
        assert!(files.trust_store.starts_with('#'));
    }
}
