use std::sync::Arc;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
        RsaKeyPair,
    },
};

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn data(rtype: Rtype, text: &str) -> Rdata {
    Rdata::parse(rtype, text).expect("data")
}

fn set(rtype: Rtype, all: &[&str]) -> RrSet {
    RrSet { rtype, ttl: 3600, data: all.iter().map(|text| data(rtype, text)).collect() }
}

/// Owner, set, DNSKEY, DS, RRSIG and a moment at which it is valid.
const EXAMPLES: [(&str, Rtype, &str, &str, &str, &str, u32); 2] = [
    // RFC 6605, section 6.1.
    (
        "www.example.net",
        Rtype::A,
        "192.0.2.1",
        "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
        "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
        "A 13 3 3600 20100909100439 20100812100439 55648 example.net. \
         qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
        1_283_000_000,
    ),
    // RFC 8080, section 6.1.
    (
        "example.com",
        Rtype::MX,
        "10 mail.example.com.",
        "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
        "3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
        "MX 15 2 3600 1440021600 1438207200 3613 example.com. \
         oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
        1_439_000_000,
    ),
];

#[test]
fn the_examples_of_the_rfcs_are_proven_and_nothing_else() {
    for (owner, rtype, text, key, ds, rrsig, now) in EXAMPLES {
        let zone = name(owner.trim_start_matches("www."));
        let (key, ds) = (PublicKey::read(&data(Rtype::DNSKEY, key)).expect("a key"), data(Rtype::DS, ds));
        let mut effort = Effort::new(100);
        assert_eq!(key.is_digested_by(&zone, &ds, &mut effort), Ok(true));
        assert_eq!(key.is_digested_by(&name("example.org"), &ds, &mut effort), Ok(false));
        let (of, signatures) = (set(rtype, &[text]), set(Rtype::RRSIG, &[rrsig]));
        let keys = [key];
        let mut check = |of: &RrSet, zone: &Name, keys: &[PublicKey], now| {
            check_set((&name(owner), of), Some(&signatures), zone, keys, now, &mut effort)
        };
        assert!(matches!(check(&of, &zone, &keys, now), Ok(Proven { encloser: None, .. })), "{owner}");
        let other = match rtype {
            Rtype::A => set(rtype, &["192.0.2.2"]),
            _ => set(rtype, &["20 mail.example.com."]),
        };
        assert_eq!(check(&other, &zone, &keys, now), Err(Flaw::Wrong));
        assert_eq!(check(&of, &name("com"), &keys, now), Err(Flaw::Missing));
        assert_eq!(check(&of, &zone, &[], now), Err(Flaw::NoKey));
        assert_eq!(check(&of, &zone, &keys, now + 10_000_000), Err(Flaw::Expired));
        assert_eq!(check(&of, &zone, &keys, now - 10_000_000), Err(Flaw::Early));
    }
}

/// A set of two records, signed by a key of any algorithm.
fn signed(algorithm: u8, public: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) -> Result<Proven, Flaw> {
    let dnskey = Rdata::from_wire([&[1, 1, 3, algorithm], public].concat());
    let key = PublicKey::read(&dnskey).expect("a key");
    let (zone, owner) = (name("Example"), name("WWW.example"));
    let of = set(Rtype::MX, &["10 Mail.Example", "5 mail.example"]);
    let mut rrsig = Rtype::MX.to_int().to_be_bytes().to_vec();
    rrsig.extend_from_slice(&[algorithm, 2]);
    for number in [3600_u32, 2000, 1000] {
        rrsig.extend_from_slice(&number.to_be_bytes());
    }
    rrsig.extend_from_slice(&key.tag.to_be_bytes());
    rrsig.extend_from_slice(zone.as_wire());
    let signature = sign(&signed_bytes(&rrsig, &owner, &of, 3600).expect("bytes"));
    rrsig.extend_from_slice(&signature);
    let signatures = RrSet { rtype: Rtype::RRSIG, ttl: 3600, data: Arc::new([Rdata::from_wire(rrsig)]) };
    check_set((&owner, &of), Some(&signatures), &zone, &[key], 1500, &mut Effort::new(10))
}

#[test]
fn every_algorithm_that_is_known_proves_and_a_changed_signature_does_not() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let (modulus, exponent) = (rsa.public_key().modulus(), rsa.public_key().exponent());
    let (n, e) = (modulus.big_endian_without_leading_zero(), exponent.big_endian_without_leading_zero());
    let public = [&[u8::try_from(e.len()).expect("short")], e, n].concat();
    let long_form = [&[0, 0, u8::try_from(e.len()).expect("short")], e, n].concat();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
    let ed = Ed25519KeyPair::generate().expect("a key");
    let by_rsa = |padding, bytes: &[u8]| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(padding, &random, bytes, &mut signature).expect("signed");
        signature
    };
    type Signer<'s> = Box<dyn Fn(&[u8]) -> Vec<u8> + 's>;
    let all: [(u8, Vec<u8>, Signer<'_>); 5] = [
        (8, public.clone(), Box::new(|bytes| by_rsa(&RSA_PKCS1_SHA256, bytes))),
        (8, long_form, Box::new(|bytes| by_rsa(&RSA_PKCS1_SHA256, bytes))),
        (10, public, Box::new(|bytes| by_rsa(&RSA_PKCS1_SHA512, bytes))),
        (
            14,
            p384.public_key().as_ref()[1..].to_vec(),
            Box::new(|bytes| p384.sign(&random, bytes).expect("signed").as_ref().to_vec()),
        ),
        (15, ed.public_key().as_ref().to_vec(), Box::new(|bytes| ed.sign(bytes).as_ref().to_vec())),
    ];
    for (algorithm, public, sign) in all {
        // 500 seconds are left of the signature's time.
        assert_eq!(signed(algorithm, &public, &sign), Ok(Proven { ttl: 500, encloser: None }), "{algorithm}");
        let changed = |bytes: &[u8]| {
            let mut signature = sign(bytes);
            signature[7] ^= 1;
            signature
        };
        assert_eq!(signed(algorithm, &public, changed), Err(Flaw::Wrong), "{algorithm}");
    }
}

#[test]
fn keys_that_must_not_sign_zones_are_no_keys() {
    for (text, is_key) in [
        ("256 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=", true),
        ("0 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=", false),
        ("385 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=", false),
        ("256 2 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=", false),
        ("256 3 5 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=", false),
    ] {
        assert_eq!(PublicKey::read(&data(Rtype::DNSKEY, text)).is_some(), is_key, "{text}");
    }
}

#[test]
fn the_work_for_one_question_is_bounded() {
    let (owner, rtype, text, key, _, rrsig, now) = EXAMPLES[0];
    let key = PublicKey::read(&data(Rtype::DNSKEY, key)).expect("a key");
    // Many keys of one tag, many signatures, none of which fits.
    let keys = vec![key; 50];
    let forged: Vec<Rdata> = (0..200_u8)
        .map(|n| {
            let mut wire = data(Rtype::RRSIG, rrsig).as_wire().to_vec();
            *wire.last_mut().expect("bytes") ^= 1 + n % 100;
            wire[40] ^= n / 100;
            Rdata::from_wire(wire)
        })
        .collect();
    let signatures = RrSet { rtype: Rtype::RRSIG, ttl: 1, data: forged.into() };
    let (owner, zone, of) = (name(owner), name("example.net"), set(rtype, &[text]));
    let mut effort = Effort::new(1000);
    let wrong = check_set((&owner, &of), Some(&signatures), &zone, &keys, now, &mut effort);
    assert_eq!(wrong, Err(Flaw::Wrong));
    assert_eq!(1000 - effort.0, (SIGNATURES * TWINS) as u32);
    let mut little = Effort::new(5);
    assert_eq!(check_set((&owner, &of), Some(&signatures), &zone, &keys, now, &mut little), Err(Flaw::Effort));
    assert!(little.is_spent());
}
