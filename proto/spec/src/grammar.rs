//! The grammars of texts: each function accepts a text or says what is wrong with it ("is not ...").

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

pub(crate) fn text(text: &str) -> Result<(), TextError> {
    match text.chars().find(|c| is_deceptive(*c)) {
        Some(bad) => {
            Err(TextError(format!("holds the character U+{:04X}; control characters are not allowed", u32::from(bad))))
        }
        None => bounded(text, 1024),
    }
}

pub(crate) fn dns_name(text: &str) -> Result<(), TextError> {
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

pub(crate) fn label(text: &str) -> Result<(), TextError> {
    if text.contains('.') {
        return Err(TextError::new("is not one DNS label; it holds a dot"));
    }
    dns_name(text)
}

pub(crate) fn record_name(text: &str) -> Result<(), TextError> {
    if text == "@" || text == "*" {
        return Ok(());
    }
    not_empty(text)?;
    let name = text.strip_prefix("*.").unwrap_or(text);
    only(name, "a-z, 0-9, '-', '_' and '.'", |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'))?;
    let plain: String = name.replace('_', "a");
    dns_name(&plain)
}

pub(crate) fn username(text: &str) -> Result<(), TextError> {
    not_empty(text)?;
    only(text, "a-z, 0-9, '.', '_' and '-'", |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-'))?;
    bounded(text, 64)?;
    let inner = |c: char| c.is_ascii_alphanumeric();
    if !text.starts_with(inner) || !text.ends_with(inner) || text.contains("..") {
        return Err(TextError::new("must begin and end with a letter or digit and hold no two dots in a row"));
    }
    Ok(())
}

pub(crate) fn email(text: &str) -> Result<(), TextError> {
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
    dns_name(domain).map_err(|why| TextError(format!("is not an e-mail address: its domain {why}")))
}

pub(crate) fn soa_mailbox(text: &str) -> Result<(), TextError> {
    if text.contains('@') { email(text) } else { dns_name(text) }
}

pub(crate) fn country(text: &str) -> Result<(), TextError> {
    let is_code = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
    if is_code { Ok(()) } else { Err(TextError::new("is not a country code of two capital letters (ISO 3166-1)")) }
}

pub(crate) fn key(text: &str) -> Result<(), TextError> {
    not_empty(text)?;
    only(text, "a-z, 0-9, '_' and '-'", |c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'))?;
    bounded(text, 63)?;
    if text.starts_with(['-', '_']) { Err(TextError::new("must begin with a letter or a digit")) } else { Ok(()) }
}

/// `80` or `8000-8010`, both ends included.
pub(crate) fn ports(text: &str) -> Result<(u16, u16), TextError> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| text.parse::<u16>().ok()).flatten();
        number.filter(|port| *port > 0).ok_or(TextError::new("is not a port from 1 to 65535, or two like 8000-8010"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first <= last { Ok((first, last)) } else { Err(TextError::new("has its lower port behind the higher one")) }
}

pub(crate) fn bucket(text: &str) -> Result<(), TextError> {
    if !(3..=63).contains(&text.len()) {
        return Err(TextError::new("is not a bucket name: it must have 3 to 63 characters"));
    }
    only(text, "a-z, 0-9, '-' and '.'", |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.'))?;
    dns_name(text)?;
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err(TextError::new("is not a bucket name: it looks like an address"));
    }
    Ok(())
}

pub(crate) fn image(text: &str) -> Result<(), TextError> {
    not_empty(text)?;
    only(text, "letters, digits, '.', '_', '-', '/', ':' and '@'", |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@')
    })?;
    bounded(text, 255)?;
    let path_is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if path_is_plain { Ok(()) } else { Err(TextError::new("is not an image reference like `registry/name:tag`")) }
}

pub(crate) fn scope(text: &str) -> Result<(), TextError> {
    // RFC 6749, section 3.3: printable ASCII without space, quote and backslash.
    not_empty(text)?;
    only(text, "printable ASCII without space, '\"' and '\\'", |c| matches!(c, '!' | '#'..='[' | ']'..='~'))?;
    bounded(text, 128)
}

pub(crate) fn https_url(text: &str) -> Result<(), TextError> {
    let wrong = || TextError::new("is not a URL like `https://host/path`");
    bounded(text, 1024)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(wrong)?;
    if !rest.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '@' | '#' | '?')) {
        return Err(wrong());
    }
    let authority = rest.split('/').next().unwrap_or_default();
    host_port(authority).map_err(|_| wrong())
}

fn host_port(text: &str) -> Result<(), TextError> {
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let port_is_sound = port.is_none_or(|port| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if !port_is_sound {
        return Err(TextError::new("has a port outside 1 to 65535"));
    }
    dns_name(host)
}

/// Worlds are joined within one host, so an endpoint says whose world it is and not at which address.
pub(crate) fn endpoint(text: &str) -> Result<(), TextError> {
    let wrong = || {
        TextError::new("names no world of this host; write `world:NAME`, or `world:USER/NAME` for another user's world")
    };
    let rest = text.strip_prefix("world:").ok_or_else(wrong)?;
    let (owner, world) = rest.split_once('/').map_or((None, rest), |(owner, world)| (Some(owner), world));
    netengine_proto::names::WorldName::parse(world).map_err(|_| wrong())?;
    match owner {
        Some(owner) if !is_login(owner) => Err(wrong()),
        _ => Ok(()),
    }
}

/// A user's login name as useradd(8) allows it, or a uid.
fn is_login(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let allowed = |c: char| first(c) || matches!(c, '-' | '.');
    text.len() <= 32 && text.starts_with(first) && text.chars().all(allowed)
}

pub(crate) fn host(text: &str) -> Result<(), TextError> {
    if text.parse::<std::net::IpAddr>().is_ok() { Ok(()) } else { dns_name(text) }
}

pub(crate) fn pem(text: &str) -> Result<(), TextError> {
    bounded(text, 64 * 1024)?;
    only(text, "printable ASCII and line breaks", |c| c.is_ascii_graphic() || matches!(c, ' ' | '\n' | '\r'))?;
    let wrong = || TextError::new("is not a certificate in PEM form");
    let body = text.trim().strip_prefix("-----BEGIN CERTIFICATE-----").ok_or_else(wrong)?;
    let body = body.strip_suffix("-----END CERTIFICATE-----").ok_or_else(wrong)?;
    // Base64 of one DER SEQUENCE with a length of two or more bytes, as every certificate is (X.690, 8.1.3.5): it begins with
    // the octet 0x30 and 0x81 to 0x83. Whoever uses it reads the rest.
    let letters: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let data = letters.iter().rev().skip_while(|byte| **byte == b'=').count();
    let is_base64 = letters[..data].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    let is_whole = letters.len().is_multiple_of(4) && letters.len() - data <= 2 && letters.len() >= 128;
    if is_base64 && is_whole && letters.starts_with(b"MI") { Ok(()) } else { Err(wrong()) }
}

pub(crate) fn access_key(text: &str) -> Result<(), TextError> {
    if !(3..=128).contains(&text.len()) {
        return Err(TextError::new("is not an access key: it must have 3 to 128 characters"));
    }
    only(text, "letters, digits, '-' and '_'", |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
