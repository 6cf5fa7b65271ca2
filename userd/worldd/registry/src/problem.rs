//! Problem documents (RFC 9457).

use serde::Serialize;
use utoipa::ToSchema;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong. The word is the last part of a document's `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The last part of the type's URN.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What it is in a few words; the same for all of its kind.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

kinds! {
    /// The request cannot be read.
    Malformed, "malformed", 400, "The request cannot be read";
    /// No bearer token, or none that holds.
    Unauthenticated, "unauthenticated", 401, "A bearer token is needed";
    /// The bearer may not do that.
    Forbidden, "forbidden", 403, "The bearer may not do that";
    /// The organisation lacks the capability.
    NotCapable, "not-capable", 403, "The organisation lacks the capability";
    /// The domain is another organisation's.
    NotHolder, "not-holder", 403, "The domain is held by another organisation";
    /// The transfer secret is not the domain's.
    WrongSecret, "wrong-secret", 403, "The transfer secret is not the domain's";
    /// There is no such object.
    NotFound, "not-found", 404, "There is no such object";
    /// The path knows other methods.
    WrongMethod, "wrong-method", 405, "The path knows other methods";
    /// The body did not come in time.
    TooSlow, "too-slow", 408, "The request did not come in time";
    /// Somebody holds the domain.
    Taken, "taken", 409, "The domain is registered";
    /// The world uses the name itself.
    Reserved, "reserved", 409, "The name is in use by the world itself";
    /// A status of the domain forbids it.
    Prohibited, "prohibited", 409, "The domain's status forbids it";
    /// A bound is reached.
    Exhausted, "exhausted", 409, "A bound is reached";
    /// The body is too long.
    TooLarge, "too-large", 413, "The body is too long";
    /// The body is of another type.
    WrongType, "wrong-type", 415, "The body must be application/json";
    /// The name cannot be registered here.
    InvalidName, "invalid-name", 422, "The name cannot be registered";
    /// A value is not acceptable.
    Invalid, "invalid", 422, "A value is not acceptable";
    /// The registry cannot keep changes now.
    Unavailable, "unavailable", 503, "The registry cannot keep changes now";
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// Which.
    pub kind: Kind,
    /// For people: this very case.
    pub detail: String,
    /// Where in the body, as a JSON pointer (RFC 6901).
    pub pointer: Option<String>,
}

/// A problem as it is sent, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Document {
    /// `urn:netengine:problem:WORD`.
    pub r#type: String,
    /// What it is.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// This very case.
    pub detail: String,
    /// What in the body is meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Pointed>,
}

/// A place in the body and what is wrong there (RFC 9457, section 3).
#[derive(Debug, Serialize, ToSchema)]
pub struct Pointed {
    /// What is wrong.
    pub detail: String,
    /// Where, as a JSON pointer.
    pub pointer: String,
}

impl Problem {
    /// A problem.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), pointer: None }
    }

    /// The same with a place in the body.
    #[must_use]
    pub fn at(self, pointer: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..self }
    }

    /// As it is sent.
    pub fn document(&self) -> Document {
        let errors = self.pointer.iter();
        Document {
            r#type: format!("urn:netengine:problem:{}", self.kind.word()),
            title: self.kind.title(),
            status: self.kind.status(),
            detail: self.detail.clone(),
            errors: errors.map(|at| Pointed { detail: self.detail.clone(), pointer: format!("#{at}") }).collect(),
        }
    }
}
