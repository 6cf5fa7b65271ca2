//! Texts of the spec: each a newtype with its own grammar, checked by bytes or characters, never by Unicode class.
//!
//! Every type has a `format` of its own in the JSON Schema; [`crate::formats`] leads from there back to the parser, so
//! what an editor, the structural check and serde accept is the same.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is outside a grammar; reads on from the quoted value ("is not ...").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(pub(crate) String);

impl TextError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// True for characters that a terminal, a log or a reader would take for something else: control characters and the
/// Unicode marks that reorder or split text (UAX 9, and the line and paragraph separators).
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn bounded(text: &str, max: usize) -> Result<(), TextError> {
    if text.len() > max { Err(TextError(format!("is longer than {max} bytes"))) } else { Ok(()) }
}

fn not_empty(text: &str) -> Result<(), TextError> {
    if text.is_empty() { Err(TextError::new("is empty")) } else { Ok(()) }
}

fn only(text: &str, allowed: &str, is_allowed: impl Fn(char) -> bool) -> Result<(), TextError> {
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(bad) => Err(TextError(format!("holds {bad:?}; only {allowed} are allowed"))),
        None => Ok(()),
    }
}

pub(crate) fn check_text(text: &str) -> Result<(), TextError> {
    match text.chars().find(|c| is_deceptive(*c)) {
        Some(bad) => {
            Err(TextError(format!("holds the character U+{:04X}; control characters are not allowed", u32::from(bad))))
        }
        None => bounded(text, 1024),
    }
}

pub(crate) fn check_dns_name(text: &str) -> Result<(), TextError> {
    not_empty(text)?;
    only(text, "a-z, 0-9, '-' and '.'", |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.'))?;
    bounded(text, 253)?;
    for label in text.split('.') {
        if label.is_empty() {
            return Err(TextError::new("has an empty label; write it without a dot at the start or end"));
        }
        if label.len() > 63 {
            return Err(TextError::new("has a label longer than 63 bytes"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(TextError::new("has a label that begins or ends with '-'"));
        }
    }
    Ok(())
}

pub(crate) fn check_label(text: &str) -> Result<(), TextError> {
    if text.contains('.') {
        return Err(TextError::new("is not one DNS label; it holds a dot"));
    }
    check_dns_name(text)
}

pub(crate) fn check_record_name(text: &str) -> Result<(), TextError> {
    if text == "@" || text == "*" {
        return Ok(());
    }
    not_empty(text)?;
    let name = text.strip_prefix("*.").unwrap_or(text);
    only(name, "a-z, 0-9, '-', '_' and '.'", |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'))?;
    let plain: String = name.replace('_', "a");
    check_dns_name(&plain)
}

pub(crate) fn check_username(text: &str) -> Result<(), TextError> {
    not_empty(text)?;
    only(text, "a-z, 0-9, '.', '_' and '-'", |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-'))?;
    bounded(text, 64)?;
    let inner = |c: char| c.is_ascii_alphanumeric();
    if !text.starts_with(inner) || !text.ends_with(inner) || text.contains("..") {
        return Err(TextError::new("must begin and end with a letter or digit and hold no two dots in a row"));
    }
    Ok(())
}

pub(crate) fn check_email(text: &str) -> Result<(), TextError> {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return Err(TextError::new("is not an e-mail address (name@domain)"));
    };
    let local_is_plain = !local.is_empty()
        && local.len() <= 64
        && local.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'))
        && local.split('.').all(|part| !part.is_empty());
    if !local_is_plain {
        return Err(TextError::new(
            "is not an e-mail address: the part before '@' may hold letters, digits, '.', '_', '-' and '+'",
        ));
    }
    check_dns_name(domain).map_err(|why| TextError(format!("is not an e-mail address: its domain {why}")))
}

pub(crate) fn check_soa_mailbox(text: &str) -> Result<(), TextError> {
    if text.contains('@') { check_email(text) } else { check_dns_name(text) }
}

pub(crate) fn check_country(text: &str) -> Result<(), TextError> {
    let is_code = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
    if is_code { Ok(()) } else { Err(TextError::new("is not a country code of two capital letters (ISO 3166-1)")) }
}

pub(crate) fn check_key(text: &str) -> Result<(), TextError> {
    not_empty(text)?;
    only(text, "a-z, 0-9, '_' and '-'", |c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'))?;
    bounded(text, 63)?;
    if text.starts_with(['-', '_']) { Err(TextError::new("must begin with a letter or a digit")) } else { Ok(()) }
}

pub(crate) fn check_bucket(text: &str) -> Result<(), TextError> {
    if !(3..=63).contains(&text.len()) {
        return Err(TextError::new("is not a bucket name: it must have 3 to 63 characters"));
    }
    only(text, "a-z, 0-9, '-' and '.'", |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.'))?;
    check_dns_name(text)?;
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err(TextError::new("is not a bucket name: it looks like an address"));
    }
    Ok(())
}

pub(crate) fn check_image(text: &str) -> Result<(), TextError> {
    not_empty(text)?;
    only(text, "letters, digits, '.', '_', '-', '/', ':' and '@'", |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@')
    })?;
    bounded(text, 255)?;
    let path_is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if path_is_plain { Ok(()) } else { Err(TextError::new("is not an image reference like `registry/name:tag`")) }
}

pub(crate) fn check_scope(text: &str) -> Result<(), TextError> {
    // RFC 6749, section 3.3: printable ASCII without space, quote and backslash.
    not_empty(text)?;
    only(text, "printable ASCII without space, '\"' and '\\'", |c| matches!(c, '!' | '#'..='[' | ']'..='~'))?;
    bounded(text, 128)
}

pub(crate) fn check_https_url(text: &str) -> Result<(), TextError> {
    let wrong = || TextError::new("is not a URL like `https://host/path`");
    bounded(text, 1024)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(wrong)?;
    if !rest.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '@' | '#' | '?')) {
        return Err(wrong());
    }
    let authority = rest.split('/').next().unwrap_or_default();
    check_host_port(authority).map_err(|_| wrong())
}

fn check_host_port(text: &str) -> Result<(), TextError> {
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let port_is_sound = port.is_none_or(|port| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if !port_is_sound {
        return Err(TextError::new("has a port outside 1 to 65535"));
    }
    check_dns_name(host)
}

pub(crate) fn check_endpoint(text: &str) -> Result<(), TextError> {
    if text.contains("://") { check_https_url(text) } else { check_host_port(text) }
}

pub(crate) fn check_host(text: &str) -> Result<(), TextError> {
    if text.parse::<std::net::IpAddr>().is_ok() { Ok(()) } else { check_dns_name(text) }
}

pub(crate) fn check_pem(text: &str) -> Result<(), TextError> {
    bounded(text, 64 * 1024)?;
    only(text, "printable ASCII and line breaks", |c| c.is_ascii_graphic() || matches!(c, ' ' | '\n' | '\r'))?;
    let body = text.trim();
    let is_certificate = body.starts_with("-----BEGIN CERTIFICATE-----") && body.ends_with("-----END CERTIFICATE-----");
    if is_certificate { Ok(()) } else { Err(TextError::new("is not a certificate in PEM form")) }
}

pub(crate) fn check_access_key(text: &str) -> Result<(), TextError> {
    if !(3..=128).contains(&text.len()) {
        return Err(TextError::new("is not an access key: it must have 3 to 128 characters"));
    }
    only(text, "letters, digits, '-' and '_'", |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

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
    check_text
);
text_type!(
    /// A domain name without the final dot: lower-case letters, digits and hyphens (RFC 1035, section 2.3.1; RFC 1123).
    DnsName,
    "dns-name",
    check_dns_name
);
text_type!(
    /// One DNS label, at most 63 bytes.
    DnsLabel,
    "dns-label",
    check_label
);
text_type!(
    /// The owner of a DNS record inside its zone: `@`, `*`, or a name that may hold underscores.
    RecordName,
    "record-name",
    check_record_name
);
text_type!(
    /// An account name: `a-z`, `0-9`, `.`, `_`, `-`, at most 64 bytes; it becomes the local part of an address.
    Username,
    "username",
    check_username
);
text_type!(
    /// An e-mail address with an unquoted local part (RFC 5321, section 4.1.2, `Dot-string`).
    Email,
    "email",
    check_email
);
text_type!(
    /// The responsible mailbox of a zone: as a domain name (RFC 1035, section 3.3.13) or as an e-mail address.
    SoaMailbox,
    "soa-mailbox",
    check_soa_mailbox
);
text_type!(
    /// A country code of two capital letters (ISO 3166-1 alpha-2).
    Country,
    "country",
    check_country
);
text_type!(
    /// A key of a map or a realm: `a-z`, `0-9`, `_`, `-`, at most 63 bytes.
    Key,
    "key",
    check_key
);
text_type!(
    /// A bucket name: 3 to 63 characters, DNS-compatible, not an address (Amazon S3 naming rules).
    BucketName,
    "bucket",
    check_bucket
);
text_type!(
    /// A container image reference, `[registry[:port]/]name[:tag][@digest]`.
    Image,
    "image",
    check_image
);
text_type!(
    /// An OAuth scope (RFC 6749, section 3.3).
    Scope,
    "scope",
    check_scope
);
text_type!(
    /// An absolute `https` (or `http`) URL without user, query and fragment.
    Url,
    "url",
    check_https_url
);
text_type!(
    /// Where a peer is reached: `host`, `host:port` or a URL.
    Endpoint,
    "endpoint",
    check_endpoint
);
text_type!(
    /// A host: a domain name or an address.
    Host,
    "host",
    check_host
);
text_type!(
    /// A certificate in PEM form (RFC 7468), at most 64 KiB.
    Pem,
    "pem",
    check_pem
);
text_type!(
    /// An S3 access key id, or the word `generated`.
    AccessKeyId,
    "access-key",
    check_access_key
);
