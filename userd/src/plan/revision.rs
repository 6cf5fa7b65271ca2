//! A name for exactly one desired state.

use aws_lc_rs::digest::{SHA256, digest};
use netengine_proto::{control::Desired, trust::Trust};
use serde::Serialize;

/// Digits of a revision: 128 bits, so that no two states of a world share a name.
const DIGITS: usize = 32;

/// The state with its name: the first half of the SHA-256 of all of it as JSON, hexadecimal. Maps of a spec are ordered, so the
/// same state has the same name in every run of the same release.
pub(super) fn named(mut desired: Desired) -> Desired {
    desired.revision.clear();
    desired.revision = name(&desired);
    desired
}

/// The name of what follows from a state of that name and from worldd's keys.
pub(super) fn beside(revision: &str, trust: &Trust) -> String {
    name(&(revision, trust))
}

fn name(of: &impl Serialize) -> String {
    // A value made of text, numbers and lists always encodes; were it not so, every state would be told anew.
    let bytes = serde_json::to_vec(of).unwrap_or_default();
    let hex: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    hex.chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use netengine_proto::{
        bounded::Bounded,
        trust::{Credential, CredentialKind, Secret},
    };

    use super::*;

    #[test]
    fn a_revision_names_all_of_a_state_and_nothing_else() {
        let first = named(Desired { world: "w".to_owned(), ..Desired::default() });
        assert_eq!(first.revision.len(), DIGITS);
        assert_eq!(named(first.clone()).revision, first.revision, "a state does not depend on its own name");
        let secret = Secret::new("s".to_owned());
        let credential =
            Credential { kind: CredentialKind::Password, issuer: String::new(), name: "a".to_owned(), secret };
        let others = [
            Desired { world: "v".to_owned(), ..first.clone() },
            Desired { up_to: 1, ..first.clone() },
            Desired { credentials: vec![credential], ..first.clone() },
        ];
        for other in others {
            let other = named(other).revision;
            assert_ne!(other, first.revision);
            assert_ne!(beside(&other, &Trust::default()), beside(&first.revision, &Trust::default()));
        }
        let keys = Trust {
            certificates: Bounded::new(vec![Bounded::new(vec![1]).expect("short")]).expect("one"),
            ..Trust::default()
        };
        assert_ne!(beside(&first.revision, &keys), beside(&first.revision, &Trust::default()));
    }
}
