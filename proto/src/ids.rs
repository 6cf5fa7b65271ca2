//! Ids are random and carry no meaning; what is shown to people are names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an id of {0} lower-case hexadecimal digits")]
pub struct IdError(usize);

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        ///
        /// Written as lower-case hexadecimal digits, two per byte. Made from the kernel's random numbers by its owner.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The id made of these bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The bytes of this id.
            pub const fn bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Parses the hexadecimal form.
            ///
            /// # Errors
            /// [`IdError`] for another length, or for a character that is not a lower-case hexadecimal digit.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let error = IdError($bytes * 2);
                let digits = text.as_bytes();
                if digits.len() != $bytes * 2 {
                    return Err(error);
                }
                let mut bytes = [0u8; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let (high, low) = (nibble(pair[0]).ok_or(error)?, nibble(pair[1]).ok_or(error)?);
                    *byte = high << 4 | low;
                }
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    Self::parse(&text).map_err(serde::de::Error::custom)
                } else {
                    <[u8; $bytes]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

hex_id!(
    /// A world. Names of kernel and disk objects come from it, never from user text.
    WorldId,
    8
);
hex_id!(
    /// A process that rootd started.
    ProcessId,
    8
);
hex_id!(
    /// One mutating call; the same key twice is one effect and the same answer.
    CallKey,
    16
);
hex_id!(
    /// A one-time right to run one command in one vantage host, bound to a uid.
    Ticket,
    16
);
hex_id!(
    /// An operation of userd (`up`, `down`).
    OperationId,
    8
);
hex_id!(
    /// A run of firewall suites.
    FirewallTestId,
    8
);
hex_id!(
    /// One installation's tag: objects that carry another are foreign.
    InstanceId,
    8
);

/// A numeric user id. The overflow id 65534 is never a principal: it is what every unmapped user looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub u32);

impl Uid {
    /// What the kernel reports for a user it cannot map (user_namespaces(7)).
    pub const OVERFLOW: Uid = Uid(65_534);
    /// The superuser.
    pub const ROOT: Uid = Uid(0);
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_text_is_exact() {
        let id = WorldId::from_bytes([0, 1, 2, 0xff, 4, 5, 6, 7]);
        assert_eq!(id.to_string(), "000102ff04050607");
        assert_eq!(WorldId::parse("000102ff04050607"), Ok(id));
        for bad in
            ["", "000102FF04050607", "000102ff0405060", "000102ff040506077", "0001-2ff04050607", "%d0102ff04050607"]
        {
            assert!(WorldId::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
