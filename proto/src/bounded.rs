//! A vector that refuses to be decoded past its bound.

use std::{fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};

/// At most `MAX` values of `T`. The bound is checked while decoding, before memory for the excess exists.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Bounded<T, const MAX: usize>(Vec<T>);

/// A list was longer than its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("holds more than {0} entries")]
pub struct TooMany(pub usize);

impl<T, const MAX: usize> Bounded<T, MAX> {
    /// Takes a vector of at most `MAX` entries.
    ///
    /// # Errors
    /// [`TooMany`] when it is longer.
    pub fn new(entries: Vec<T>) -> Result<Self, TooMany> {
        if entries.len() > MAX { Err(TooMany(MAX)) } else { Ok(Self(entries)) }
    }

    /// Gives the vector back.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for Bounded<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for Bounded<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Entries<T, MAX> {
            type Value = Bounded<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} entries")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                if seq.size_hint().is_some_and(|claimed| claimed > MAX) {
                    return Err(A::Error::custom(TooMany(MAX)));
                }
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    if entries.len() == MAX {
                        return Err(A::Error::custom(TooMany(MAX)));
                    }
                    entries.push(entry);
                }
                Ok(Bounded(entries))
            }
        }
        deserializer.deserialize_seq(Entries(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_past_its_bound_is_refused_while_decoding() {
        let ok = postcard::to_stdvec(&vec![1u8, 2, 3]).expect("encodes");
        assert_eq!(postcard::from_bytes::<Bounded<u8, 3>>(&ok).expect("fits").len(), 3);
        assert!(postcard::from_bytes::<Bounded<u8, 2>>(&ok).is_err());
        // A length of 2^63 with no data behind it must not allocate.
        let lie = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
        assert!(postcard::from_bytes::<Bounded<u64, 1024>>(&lie).is_err());
        assert!(serde_json::from_str::<Bounded<u8, 2>>("[1,2,3]").is_err());
    }
}
