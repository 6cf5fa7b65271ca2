//! The secrets a world needs: of each account and client that its spec wants, and of its name servers.

use std::collections::BTreeSet;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use netengine_oidc::{
    from_spec::{self, Wanted},
    secret::Entropy,
};
use netengine_proto::trust::{Credential, CredentialKind, Secret};
use netengine_spec::Spec;

use super::phases;

/// The key that zone transfers are asked for with.
pub const TRANSFER_KEY: &str = "transfer";
/// The key that records are changed with (RFC 2136).
pub const UPDATE_KEY: &str = "update";
/// The key identifier that ACME accounts may be bound with (RFC 8555, section 7.3.4).
pub const EAB_KEY: &str = "world";
/// The ACME account of the live checks.
pub const PROBE_ACCOUNT: &str = "probe";
/// The client of the world's own programs, in every realm.
pub const API_CLIENT: &str = from_spec::API_CLIENT;

/// What a secret is for: kind, issuer, name. It is also the order in which secrets are listed.
pub type Slot = (CredentialKind, String, String);

/// What a secret is for.
pub fn slot_of(credential: &Credential) -> Slot {
    (credential.kind, credential.issuer.clone(), credential.name.clone())
}

/// Makes the secrets that a world up to phase `up_to` needs and does not hold. What it holds is never made again.
pub fn make_missing(spec: &Spec, up_to: u8, held: &BTreeSet<Slot>, entropy: &mut dyn Entropy) -> Vec<Credential> {
    let mut made = Vec::new();
    if up_to >= phases::ROOT {
        made.extend([TRANSFER_KEY, UPDATE_KEY].map(|name| tsig_key(name, entropy)));
    }
    if up_to >= phases::PKI {
        made.extend([eab_key(entropy), probe_account(entropy)]);
    }
    if up_to >= phases::PLATFORM_IDENTITY {
        made.extend(of_provider(&from_spec::platform(spec), entropy));
    }
    if up_to >= phases::INWORLD_IDENTITY {
        made.extend(of_provider(&from_spec::inworld(spec), entropy));
    }
    made.retain(|credential| !held.contains(&slot_of(credential)));
    made
}

/// HMAC-SHA256 with a key as long as its output (RFC 8945, section 6; RFC 2104, section 3).
fn tsig_key(name: &str, entropy: &mut dyn Entropy) -> Credential {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    let secret = Secret::new(STANDARD.encode(bytes));
    Credential { kind: CredentialKind::Tsig, issuer: String::new(), name: name.to_owned(), secret }
}

/// HMAC-SHA256, in the form that ACME clients take (RFC 8555, section 7.3.4: base64url).
fn eab_key(entropy: &mut dyn Entropy) -> Credential {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    let secret = Secret::new(URL_SAFE_NO_PAD.encode(bytes));
    Credential { kind: CredentialKind::AcmeEab, issuer: String::new(), name: EAB_KEY.to_owned(), secret }
}

/// What stands before the 32 octets of a P-256 key in PKCS #8 without the public key (RFC 5208, section 5; RFC 5915, section 3).
const P256_PKCS8: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
];

/// One account for all live checks: each with a new one would reach the limit of new accounts in an hour.
fn probe_account(entropy: &mut dyn Entropy) -> Credential {
    let mut scalar = [0; 32];
    entropy.fill(&mut scalar);
    // Below the order of the curve, which begins with 32 bits that are set (SP 800-186, section 3.2.1.3).
    scalar[0] &= 0x7f;
    let secret = Secret::new(STANDARD.encode([&P256_PKCS8[..], &scalar].concat()));
    Credential { kind: CredentialKind::AcmeAccount, issuer: String::new(), name: PROBE_ACCOUNT.to_owned(), secret }
}

fn of_provider(wanted: &Wanted, entropy: &mut dyn Entropy) -> Vec<Credential> {
    let made = wanted.credentials(entropy).into_iter();
    made.map(|made| Credential {
        kind: match made.kind {
            from_spec::Kind::Password => CredentialKind::Password,
            from_spec::Kind::ClientSecret => CredentialKind::ClientSecret,
            from_spec::Kind::RegistrationToken => CredentialKind::RegistrationToken,
        },
        secret: Secret::new(made.secret.expose().to_owned()),
        issuer: made.issuer,
        name: made.name,
    })
    .collect()
}

/// The word for a kind, as in the API and the database.
pub fn kind_word(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Password => "password",
        CredentialKind::ClientSecret => "client_secret",
        CredentialKind::RegistrationToken => "registration_token",
        CredentialKind::Tsig => "tsig",
        CredentialKind::AcmeEab => "acme_eab",
        CredentialKind::AcmeAccount => "acme_account",
    }
}

/// The kind with this word.
pub fn parse_kind(word: &str) -> Option<CredentialKind> {
    use CredentialKind::{AcmeAccount, AcmeEab, ClientSecret, Password, RegistrationToken, Tsig};
    let all = [Password, ClientSecret, RegistrationToken, Tsig, AcmeEab, AcmeAccount];
    all.into_iter().find(|kind| kind_word(*kind) == word)
}

#[cfg(test)]
mod tests {
    use netengine_oidc::secret::Kernel;
    use serde_json::json;

    use super::*;

    fn spec(users: &[&str]) -> Spec {
        let mut value = crate::orchestrator::tests::spec_json("w");
        value["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
        let users: Vec<_> = users.iter().map(|user| json!({ "username": user })).collect();
        value["identity_inworld"]["org_users"] = json!([{ "org": "acme", "users": users }]);
        serde_json::from_value(value).expect("a spec")
    }

    #[test]
    fn a_new_account_gets_a_secret_and_the_others_keep_theirs() {
        let first = make_missing(&spec(&["alice"]), 9, &BTreeSet::new(), &mut Kernel);
        let held: BTreeSet<_> = first.iter().map(slot_of).collect();
        assert_eq!(held.len(), first.len(), "a secret is for one thing");
        for name in ["alice", "admin", API_CLIENT, TRANSFER_KEY, UPDATE_KEY] {
            assert!(first.iter().any(|made| made.name == name), "{name}");
        }
        assert!(make_missing(&spec(&["alice"]), 9, &held, &mut Kernel).is_empty());
        let second = make_missing(&spec(&["alice", "bob"]), 9, &held, &mut Kernel);
        assert_eq!(second.iter().map(|made| made.name.as_str()).collect::<Vec<_>>(), ["bob"]);
    }

    #[test]
    fn only_the_phases_asked_for_have_secrets() {
        let names = |up_to| make_missing(&spec(&["alice"]), up_to, &BTreeSet::new(), &mut Kernel).len();
        assert_eq!((names(0), names(1), names(3)), (0, 2, 4));
        assert!(names(4) < names(6) && names(6) == names(9));
    }

    #[test]
    fn kinds_have_words() {
        for kind in
            [CredentialKind::Password, CredentialKind::Tsig, CredentialKind::AcmeEab, CredentialKind::AcmeAccount]
        {
            assert_eq!(parse_kind(kind_word(kind)), Some(kind));
        }
        assert_eq!(parse_kind("x"), None);
    }
}
