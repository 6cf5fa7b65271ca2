//! Texts of the spec: each a newtype with its own grammar, checked by bytes or characters, never by Unicode class.
//!
//! Every type has a `format` of its own in the JSON Schema; [`crate::formats`] leads from there back to the parser, so
//! what an editor, the structural check and serde accept is the same.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::grammar;
pub use crate::grammar::TextError;

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $format:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The `format` of this type in the JSON Schema.
            pub const FORMAT: &'static str = $format;

            /// Parses the text.
            ///
            /// # Errors
            /// [`TextError`] with the first thing that is wrong.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                $check(text).map(|()| Self(text.to_owned()))
            }

            /// A text of ours that is known to fit.
            #[allow(dead_code, reason = "not every text type has a default in the model")]
            pub(crate) fn ours(text: &'static str) -> Self {
                Self::parse(text).expect("a default of the model fits its own grammar; a test builds every default")
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

text_type!(
    /// A free text for people, at most 1024 bytes, without control or direction-changing characters.
    Text,
    "text",
    grammar::text
);
text_type!(
    /// A domain name without the final dot: lower-case letters, digits and hyphens (RFC 1035, section 2.3.1; RFC 1123).
    DnsName,
    "dns-name",
    grammar::dns_name
);
text_type!(
    /// One DNS label, at most 63 bytes.
    DnsLabel,
    "dns-label",
    grammar::label
);
text_type!(
    /// The owner of a DNS record inside its zone: `@`, `*`, or a name that may hold underscores.
    RecordName,
    "record-name",
    grammar::record_name
);
text_type!(
    /// An account name: `a-z`, `0-9`, `.`, `_`, `-`, at most 64 bytes; it becomes the local part of an address.
    Username,
    "username",
    grammar::username
);
text_type!(
    /// An e-mail address with an unquoted local part (RFC 5321, section 4.1.2, `Dot-string`).
    Email,
    "email",
    grammar::email
);
text_type!(
    /// The responsible mailbox of a zone: as a domain name (RFC 1035, section 3.3.13) or as an e-mail address.
    SoaMailbox,
    "soa-mailbox",
    grammar::soa_mailbox
);
text_type!(
    /// A country code of two capital letters (ISO 3166-1 alpha-2).
    Country,
    "country",
    grammar::country
);
text_type!(
    /// A key of a map or a realm: `a-z`, `0-9`, `_`, `-`, at most 63 bytes.
    Key,
    "key",
    grammar::key
);
text_type!(
    /// A bucket name: 3 to 63 characters, DNS-compatible, not an address (Amazon S3 naming rules).
    BucketName,
    "bucket",
    grammar::bucket
);
text_type!(
    /// A container image reference, `[registry[:port]/]name[:tag][@digest]`.
    Image,
    "image",
    grammar::image
);
text_type!(
    /// An OAuth scope (RFC 6749, section 3.3).
    Scope,
    "scope",
    grammar::scope
);
text_type!(
    /// An absolute `https` (or `http`) URL without user, query and fragment.
    Url,
    "url",
    grammar::https_url
);
text_type!(
    /// A world of this host: `world:NAME` of the same user, `world:USER/NAME` of another, by login name or uid.
    Endpoint,
    "endpoint",
    grammar::endpoint
);

impl Endpoint {
    /// Whose world it is; `None` is the user of the spec itself.
    pub fn owner(&self) -> Option<&str> {
        self.place().0
    }

    /// The world's name.
    pub fn world(&self) -> &str {
        self.place().1
    }

    fn place(&self) -> (Option<&str>, &str) {
        let rest = self.0.strip_prefix("world:").unwrap_or(&self.0);
        rest.split_once('/').map_or((None, rest), |(owner, world)| (Some(owner), world))
    }
}

text_type!(
    /// A host: a domain name or an address.
    Host,
    "host",
    grammar::host
);
text_type!(
    /// A certificate in PEM form (RFC 7468), at most 64 KiB.
    Pem,
    "pem",
    grammar::pem
);
text_type!(
    /// An S3 access key id, or the word `generated`.
    AccessKeyId,
    "access-key",
    grammar::access_key
);

/// Destination ports, `first` to `last`, both included: a number, or `first-last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    /// The lowest, at least 1.
    pub first: u16,
    /// The highest, not below `first`.
    pub last: u16,
}

impl Ports {
    /// Reads a number or `first-last`.
    ///
    /// # Errors
    /// [`TextError`] when it is neither, or when the range is empty.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let (first, last) = grammar::ports(text)?;
        Ok(Self { first, last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Ports {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Ports".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": "ports" })
    }
}
