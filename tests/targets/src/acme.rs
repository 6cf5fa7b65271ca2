//! An ACME server without sockets: two accounts, the second of which has an order with its authorization.

use std::{net::IpAddr, sync::LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use netengine_pki::{
    acme::{self, Command, Context, Effect, Entropy, Id, Limits, Nonces, Policy, Problem, Rendered, State, Urls},
    ca::{Authority, Config, Publication, Request},
    clock::Now,
    jose::{Jwk, encode},
    name::Scope,
};
use netengine_spec::{model::KeyStorageMode, text::DnsName};
use serde_json::json;

/// When.
pub const NOW: Now = Now { wall: 1_800_000_000, monotonic_ms: 1_000 };

/// Who signs: an account key.
pub struct Person {
    pair: Ed25519KeyPair,
    /// The public half.
    pub key: Jwk,
}

impl Person {
    /// The person of this number; always the same one.
    pub fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key");
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())});
        Self { pair, key: serde_json::from_value(jwk).expect("a key") }
    }

    /// A JWS in the flattened form; by the key itself without `kid`.
    pub fn sign(&self, kid: Option<&str>, url: &str, nonce: &str, payload: &[u8]) -> Vec<u8> {
        let mut header = json!({"alg": "EdDSA", "url": url, "nonce": nonce});
        match kid {
            Some(kid) => header["kid"] = kid.into(),
            None => header["jwk"] = serde_json::to_value(&self.key).expect("JSON"),
        }
        let (protected, payload) = (encode(header.to_string()), encode(payload));
        let signature = encode(self.pair.sign(format!("{protected}.{payload}").as_bytes()));
        json!({"protected": protected, "payload": payload, "signature": signature}).to_string().into_bytes()
    }
}

/// What a certificate authority of a world is.
pub fn config() -> Config {
    Config {
        common_name: "Root".to_owned(),
        organization: "NetEngine".to_owned(),
        country: "XX".to_owned(),
        root_lifetime_secs: 3650 * 86_400,
        intermediate: true,
        storage: KeyStorageMode::Ephemeral,
        scope: scope(),
        publication: Publication { base: "http://ca.test".to_owned(), crl: true, ocsp: true },
    }
}

/// What may be certified.
pub fn scope() -> Scope {
    Scope {
        zones: Vec::new(),
        tlds: vec![DnsName::parse("test").expect("a name")],
        networks: vec!["10.0.0.0/8".parse().expect("a network")],
    }
}

/// A certificate request for these names, signed rightly, DER.
pub fn request_for(names: &[&str]) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = rcgen::CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serialize_request(&key).expect("signed").der().to_vec()
}

/// The authority; made once, it keeps nothing.
pub static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::open(config(), None, NOW.wall).expect("an authority").0);

/// Numbers one after the other: objects have the same names in every run.
#[derive(Default)]
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, buffer: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        buffer.fill(self.0);
    }
}

/// The server.
pub struct Server {
    /// What it knows.
    pub state: State,
    /// Those that are good now.
    pub nonces: Nonces,
    /// Where things are.
    pub urls: Urls,
    policy: Policy,
    limits: Limits,
    entropy: Counting,
    /// The account that the input has the key of.
    pub mine: (Person, Id),
    /// The account of somebody else.
    pub other: (Person, Id),
    /// The order of somebody else.
    pub foreign_order: Id,
    /// Its authorization.
    pub foreign_authorization: Id,
}

impl Server {
    /// A new one.
    pub fn new() -> Self {
        let mut server = Self {
            state: State::default(),
            nonces: Nonces::new().expect("randomness"),
            urls: Urls::new("https://ca.test", &[1; 20]),
            policy: Policy { pending_orders_per_account: 8, ..Policy::new(scope(), "ca.test") },
            limits: Limits::default(),
            entropy: Counting::default(),
            mine: (Person::new(1), Id::new([0; 16])),
            other: (Person::new(2), Id::new([0; 16])),
            foreign_order: Id::new([0; 16]),
            foreign_authorization: Id::new([0; 16]),
        };
        server.mine.1 = server.register(1);
        server.other.1 = server.register(2);
        let kid = server.urls.account(&server.other.1);
        let body = server.signed(&Person::new(2), Some(&kid), br#"{"identifiers":[{"type":"dns","value":"b.test"}]}"#);
        server.answer(&Command::NewOrder, &body).expect("an order");
        server.foreign_order = server.state.orders_of(&server.other.1).next().expect("the order").id.clone();
        server.foreign_authorization = server.state.authorizations().next().expect("its authorization").id.clone();
        server
    }

    fn register(&mut self, seed: u8) -> Id {
        let person = Person::new(seed);
        let body = self.signed(&person, None, b"{}");
        self.answer(&Command::NewAccount, &body).expect("an account");
        self.state.account_of_key(&person.key.thumbprint()).expect("the account").id.clone()
    }

    /// The URL that all requests are for here; what a path means is another parser's business.
    pub fn url(&self) -> String {
        self.urls.at("/any")
    }

    /// A request with a good nonce.
    pub fn signed(&mut self, by: &Person, kid: Option<&str>, payload: &[u8]) -> Vec<u8> {
        let nonce = self.nonces.issue();
        by.sign(kid, &self.url(), &nonce, payload)
    }

    /// As `service` does it: authenticate, decide, effects, apply, render. Challenges are met at once.
    ///
    /// # Errors
    /// The problem that a client would be told.
    pub fn answer(&mut self, command: &Command, body: &[u8]) -> Result<Rendered, Problem> {
        let url = self.url();
        let signed = acme::authenticate(&self.state, &mut self.nonces, &self.urls, &url, body)?;
        let source = IpAddr::from([10, 0, 0, 9]);
        let (state, policy, urls) = (&self.state, &self.policy, &self.urls);
        let (limits, entropy) = (&mut self.limits, &mut self.entropy);
        let mut context = Context { state, policy, urls, limits, entropy, now: NOW, source };
        let mut outcome = acme::decide(&mut context, command, &signed)?;
        let mut probes = Vec::new();
        for effect in outcome.effects {
            match effect {
                Effect::Validate(probe) => probes.push(probe),
                Effect::Issue { order, request } => outcome.changes.extend(issue(state, policy, &order, &request)?),
            }
        }
        outcome.changes.iter().for_each(|change| self.state.apply(change));
        let rendered = acme::render(&self.state, &self.urls, &outcome.reply, NOW.wall);
        for probe in probes {
            let (state, policy, urls) = (&self.state, &self.policy, &self.urls);
            let (limits, entropy) = (&mut self.limits, &mut self.entropy);
            let mut context = Context { state, policy, urls, limits, entropy, now: NOW, source };
            let changes = acme::validated(&mut context, &probe, Ok(()));
            changes.iter().for_each(|change| self.state.apply(change));
        }
        Ok(rendered)
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

fn issue(state: &State, policy: &Policy, order: &Id, request: &Request) -> Result<Vec<acme::Change>, Problem> {
    let profile = &state.order(order).expect("an order that is to be finalized").profile;
    let profile = policy.profiles.get(profile).expect("a profile that an order has");
    let leaf = AUTHORITY.issue(&request.identifiers, &request.key, profile, NOW.wall);
    acme::issued(state, order, &leaf.expect("what was decided can be issued"), &request.key)
}
