//! Problem documents (RFC 7807) with ACME's types (RFC 8555, section 6.7).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{jose::Algorithm, name::Identifier};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $status:literal;)*) => {
        /// What went wrong, in the words of the standard.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Kind { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Kind {
            /// The last part of the URN.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it where nothing else is said.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

kinds! {
    /// No account has this key.
    AccountDoesNotExist, "accountDoesNotExist", 400;
    /// The certificate that is to be replaced was replaced already (RFC 9773, section 7.4).
    AlreadyReplaced, "alreadyReplaced", 409;
    /// The certificate is revoked already.
    AlreadyRevoked, "alreadyRevoked", 400;
    /// The certificate request is not acceptable.
    BadCsr, "badCSR", 400;
    /// The nonce is unknown or was used.
    BadNonce, "badNonce", 400;
    /// The key is not acceptable.
    BadPublicKey, "badPublicKey", 400;
    /// No such reason.
    BadRevocationReason, "badRevocationReason", 400;
    /// The algorithm is not acceptable.
    BadSignatureAlgorithm, "badSignatureAlgorithm", 400;
    /// CAA records forbid it.
    Caa, "caa", 403;
    /// Several, told in the subproblems.
    Compound, "compound", 400;
    /// The server could not connect to the client.
    Connection, "connection", 400;
    /// A name could not be looked up.
    Dns, "dns", 400;
    /// An external account is needed.
    ExternalAccountRequired, "externalAccountRequired", 403;
    /// The answer to the challenge is wrong.
    IncorrectResponse, "incorrectResponse", 403;
    /// A contact is not acceptable.
    InvalidContact, "invalidContact", 400;
    /// No such profile (draft-ietf-acme-profiles).
    InvalidProfile, "invalidProfile", 400;
    /// The request makes no sense.
    Malformed, "malformed", 400;
    /// The order is not ready to be finalized.
    OrderNotReady, "orderNotReady", 403;
    /// Too often.
    RateLimited, "rateLimited", 429;
    /// This name is not certified here.
    RejectedIdentifier, "rejectedIdentifier", 400;
    /// It is the server's fault.
    ServerInternal, "serverInternal", 500;
    /// The TLS of the client is not as it should be.
    Tls, "tls", 400;
    /// The client may not do that.
    Unauthorized, "unauthorized", 403;
    /// A contact of a kind that is not supported.
    UnsupportedContact, "unsupportedContact", 400;
    /// An identifier of a type that is not supported.
    UnsupportedIdentifier, "unsupportedIdentifier", 400;
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {detail}", kind.name())]
pub struct Problem {
    /// Which.
    pub kind: Kind,
    /// For people.
    pub detail: String,
    /// The HTTP status, where it is not the kind's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What it is about, in a subproblem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Identifier>,
    /// One for each identifier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subproblems: Vec<Problem>,
    /// Seconds after which a further try makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_secs: Option<u32>,
    /// The account that has the key already (RFC 8555, section 7.3.5).
    #[serde(skip)]
    pub account: Option<super::Id>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            status: None,
            identifier: None,
            subproblems: Vec::new(),
            retry_after_secs: None,
            account: None,
        }
    }

    /// A request that makes no sense.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, detail)
    }

    /// Something the client may not do.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unauthorized, detail)
    }

    /// What is absent, and what belongs to another account: they answer alike.
    pub fn absent(what: &str) -> Self {
        Self::malformed(format!("there is no such {what}")).with_status(404)
    }

    /// Our own fault; the log has the rest.
    pub fn internal() -> Self {
        Self::new(Kind::ServerInternal, "the server could not do this; nothing was changed")
    }

    /// With another HTTP status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// About one identifier.
    pub fn about(mut self, identifier: Identifier) -> Self {
        self.identifier = Some(identifier);
        self
    }

    /// Several problems as one: the only one itself, else one with subproblems (RFC 8555, section 6.7.1).
    pub fn join(mut all: Vec<Problem>) -> Option<Self> {
        let first = all.first()?.clone();
        if all.len() == 1 {
            return all.pop();
        }
        let kind = if all.iter().all(|one| one.kind == first.kind) { first.kind } else { Kind::Compound };
        let mut joined = Self::new(kind, "some of the identifiers are refused; see the subproblems");
        joined.subproblems = all;
        Some(joined)
    }

    /// The HTTP status.
    pub fn http_status(&self) -> u16 {
        self.status.unwrap_or(self.kind.status())
    }

    /// The document.
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "type": format!("urn:ietf:params:acme:error:{}", self.kind.name()),
            "detail": self.detail,
            "status": self.http_status(),
        });
        if let Some(identifier) = &self.identifier {
            out["identifier"] = json!(identifier);
        }
        if !self.subproblems.is_empty() {
            out["subproblems"] = self.subproblems.iter().map(Problem::to_json).collect();
        }
        if self.kind == Kind::BadSignatureAlgorithm {
            out["algorithms"] = json!(Algorithm::NAMES);
        }
        out
    }
}
