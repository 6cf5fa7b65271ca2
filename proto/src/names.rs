//! Names that users choose. ASCII only, checked by bytes, never by Unicode class.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::NAME_BYTES;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The text is longer than the bound.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// The first character is not a lower-case letter or a digit.
    #[error("must begin with a lower-case letter or a digit")]
    Start,
    /// A character is outside the grammar; control characters are shown escaped.
    #[error("holds {0:?}; only a-z, 0-9 and '-' are allowed")]
    Character(char),
}

/// Checks the label grammar `[a-z0-9][a-z0-9-]{0,62}`.
fn check_label(text: &str) -> Result<(), NameError> {
    let mut bytes = text.chars();
    match bytes.next() {
        None => return Err(NameError::Empty),
        Some('a'..='z' | '0'..='9') => {}
        Some('-') => return Err(NameError::Start),
        Some(other) => return Err(NameError::Character(other)),
    }
    if let Some(bad) = bytes.find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(NameError::Character(bad));
    }
    if text.len() > NAME_BYTES { Err(NameError::TooLong(NAME_BYTES)) } else { Ok(()) }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Grammar: `[a-z0-9][a-z0-9-]{0,62}`, ASCII, so it is a DNS label (RFC 1035) and can hold no path,
        /// option, template or control character.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// [`NameError`] with the first thing that is wrong.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check_label(text).map(|()| Self(text.to_owned()))
            }

            /// The name as text.
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
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

label!(
    /// The name of a world, unique per owner.
    WorldName
);
label!(
    /// The name of a network of a world (`platform`, `core`, ...).
    NetworkName
);
label!(
    /// The name of an Administrative Network Domain.
    AndName
);
label!(
    /// The name of a vantage host: its network's or AND's name, with `-2`, `-3`, ... for further ones.
    HostName
);
label!(
    /// The name of an organisation.
    OrgName
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn name_grammar_refuses_what_kernels_shells_and_paths_would_interpret() {
        for bad in [
            "",
            "-x",
            "..",
            "../x",
            "a/b",
            "a;b",
            "a b",
            "a\nb",
            "a\0",
            "%d",
            "a%d",
            "A",
            "é",
            "ａ",
            "ß",
            "a.b",
            "a_b",
            "\u{1b}[31m",
            "\u{202e}x",
            "x\u{7f}",
            "-",
            "--help",
        ] {
            assert!(WorldName::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(WorldName::parse(&"a".repeat(64)), Err(NameError::TooLong(63)));
        assert!(WorldName::parse(&"a".repeat(63)).is_ok());
    }

    #[test]
    fn decoding_goes_through_parse() {
        let hostile = postcard::to_stdvec("../etc").expect("encodes");
        assert!(postcard::from_bytes::<WorldName>(&hostile).is_err());
        assert!(serde_json::from_str::<HostName>("\"a\\nb\"").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn no_accepted_name_holds_a_dangerous_byte(text in "\\PC*|[a-z0-9./%\\-\\n ]{0,70}") {
            if let Ok(name) = WorldName::parse(&text) {
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
                prop_assert!(!name.as_str().starts_with('-') && name.as_str().len() <= 63);
            }
        }
    }
}
