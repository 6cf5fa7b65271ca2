//! Which names may be registered.

use netengine_spec::text::DnsName;

/// Why a text is not the name of a domain; reads on from the quoted name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not letters, digits, hyphens and dots (RFC 1123, section 2.1; RFC 1035, section 2.3.4).
    #[error("{0}")]
    Grammar(String),
    /// A label that looks like an A-label and is none (RFC 5890, section 2.3.2.1; RFC 5891, section 4.2.3.1).
    #[error("has the label {0:?}, which is not a valid internationalised label in its ASCII form")]
    Label(String),
    /// Only letters, digits and hyphens are understood; other letters come as `xn--...`.
    #[error("is not ASCII; write it as {0:?}")]
    Unicode(String),
}

/// A domain's name in lower case without a final dot, from what a person wrote.
///
/// # Errors
/// [`NameError`].
pub fn parse(text: &str) -> Result<DnsName, NameError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.len() > 1024 {
        return Err(NameError::Grammar("is longer than 253 bytes".to_owned()));
    }
    if !text.is_ascii() {
        return Err(match idna::domain_to_ascii_strict(text) {
            Ok(ascii) if DnsName::parse(&ascii).is_ok() => NameError::Unicode(ascii),
            _ => NameError::Grammar("is not ASCII".to_owned()),
        });
    }
    let lower = text.to_ascii_lowercase();
    let name = DnsName::parse(&lower).map_err(|error| NameError::Grammar(error.to_string()))?;
    for label in lower.split('.') {
        // Two hyphens there are kept for what an ASCII form may yet become.
        if label.get(2..4) == Some("--") && !is_a_label(label) {
            return Err(NameError::Label(label.to_owned()));
        }
    }
    Ok(name)
}

/// True for the ASCII form of an internationalised label that decodes and encodes to itself.
fn is_a_label(label: &str) -> bool {
    let (unicode, outcome) = idna::domain_to_unicode(label);
    outcome.is_ok()
        && label.starts_with("xn--")
        && !unicode.is_ascii()
        && idna::domain_to_ascii_strict(&unicode).is_ok_and(|ascii| ascii == label)
}

/// The name as people read it; `None` when it is the ASCII form already.
pub fn unicode(name: &str) -> Option<String> {
    let (unicode, outcome) = idna::domain_to_unicode(name);
    (outcome.is_ok() && unicode != name).then_some(unicode)
}

/// True when `name` is `zone` or below it.
pub fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_letters_digits_and_hyphens() {
        for (text, name) in
            [("acme.corp", "acme.corp"), ("ACME.Corp.", "acme.corp"), ("xn--bcher-kva.corp", "xn--bcher-kva.corp")]
        {
            assert_eq!(parse(text).map(|name| name.to_string()), Ok(name.to_owned()), "{text}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "-a.corp",
            "a-.corp",
            "a_b.corp",
            "a b.corp",
            "a\0.corp",
            "*.corp",
            "a.corp..",
            "xn--a.corp",
            "ab--c.corp",
            "xn--999999999.corp",
            "a/../b.corp",
            "a%00.corp",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&format!("{}.corp", "a".repeat(64))).is_err(), "a label of 64 bytes");
        assert!(parse(&"a.".repeat(1 << 20)).is_err(), "a megabyte");
        assert_eq!(parse("bücher.corp"), Err(NameError::Unicode("xn--bcher-kva.corp".to_owned())));
        assert_eq!(unicode("xn--bcher-kva.corp").as_deref(), Some("bücher.corp"));
        assert_eq!(unicode("acme.corp"), None);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_a_name_of_dns_and_reads_back_as_itself(text in "\\PC{0,80}") {
            if let Ok(name) = parse(&text) {
                prop_assert!(name.as_str().bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')));
                prop_assert_eq!(parse(name.as_str()), Ok(name.clone()));
                prop_assert!(netengine_dns::name::Name::parse(name.as_str()).is_ok());
            }
        }
    }
}
