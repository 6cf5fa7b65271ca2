//! The texts that commands of a world see, from typed values. Pure.

use std::fmt::Write;

use netengine_proto::{
    plan::Resolver,
    trust::{DelegationSigner, Trust},
};

use super::{
    message::{Authority, DnsRoot, WorldFiles},
    subject,
};

/// resolv.conf(5), the world's certificate authorities, and the keys of its DNS root.
pub fn render(resolver: &Resolver, trust: &Trust) -> WorldFiles {
    let mut resolv_conf = String::from("# The recursive resolver of this world's network.\n");
    for server in resolver.name_servers.iter() {
        let _ = writeln!(resolv_conf, "nameserver {server}");
    }
    let authority = |der: &[u8]| Authority { subject_hash: subject::hash(der), pem: pem(der) };
    let authorities = trust.certificates.iter().map(|der| authority(der)).collect();
    let dns_root = (!trust.dns_root.is_empty()).then(|| dns_root(&trust.dns_root));
    WorldFiles { resolv_conf, authorities, dns_root }
}

/// RFC 7468, section 5.
fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let encoded = base64(der);
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

fn dns_root(keys: &[DelegationSigner]) -> DnsRoot {
    let mut statement = String::from("trust-anchors {\n");
    let mut records = String::new();
    for key in keys {
        let _ = writeln!(records, ". IN DS {key}");
        let DelegationSigner { key_tag, algorithm, digest_type, digest } = key;
        let digest: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let _ = writeln!(statement, "    . static-ds {key_tag} {algorithm} {digest_type} \"{digest}\";");
    }
    statement.push_str("};\n");
    DnsRoot { statement, records }
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

    fn resolver() -> Resolver {
        let servers = vec!["10.0.0.1".parse().expect("v4"), "fd00::1".parse().expect("v6")];
        Resolver { name_servers: Bounded::new(servers).expect("few") }
    }

    #[test]
    fn files_are_made_of_typed_values_only() {
        let files = render(&resolver(), &Trust::default());
        assert!(files.resolv_conf.ends_with("nameserver 10.0.0.1\nnameserver fd00::1\n"));
        assert_eq!((files.authorities, files.dns_root), (vec![], None));
    }

    #[test]
    fn the_keys_of_the_dns_root_are_told_in_both_forms() {
        let digest = Bounded::new(vec![0x0a, 0xff]).expect("short");
        let key = DelegationSigner { key_tag: 7, algorithm: 13, digest_type: 2, digest };
        let trust = Trust { dns_root: Bounded::new(vec![key]).expect("few"), ..Trust::default() };
        let root = render(&resolver(), &trust).dns_root.expect("keys");
        assert_eq!(root.statement, "trust-anchors {\n    . static-ds 7 13 2 \"0AFF\";\n};\n");
        assert_eq!(root.records, ". IN DS 7 13 2 0AFF\n");
    }

    #[test]
    fn what_is_no_certificate_has_no_name_to_be_found_by() {
        let junk = Bounded::new(b"junk".to_vec()).expect("short");
        let trust = Trust { certificates: Bounded::new(vec![junk]).expect("few"), ..Trust::default() };
        let authority = &render(&resolver(), &trust).authorities[0];
        assert_eq!(authority.subject_hash, None);
        assert_eq!(authority.pem, "-----BEGIN CERTIFICATE-----\nanVuaw==\n-----END CERTIFICATE-----\n");
    }
}
