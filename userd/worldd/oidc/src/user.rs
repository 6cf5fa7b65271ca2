//! Accounts and their passwords (argon2id, RFC 9106).

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::secret::{Entropy, Secret, same};

/// Longest password, in bytes: hashing longer ones would be work for the asking.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// An account of a realm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The subject of its tokens: a UUID, never used again.
    pub id: String,
    /// What it logs in with; lower case.
    pub username: String,
    /// Its address.
    pub email: Option<String>,
    /// Its given name.
    pub given_name: Option<String>,
    /// Its family name.
    pub family_name: Option<String>,
    /// Its password; absent: nobody can log in with one.
    pub password: Option<PasswordHash>,
    /// Its realm roles.
    pub roles: BTreeSet<String>,
    /// Whether it may log in and its tokens hold.
    pub enabled: bool,
    /// Unix time of its making, seconds.
    pub created_at: u64,
}

impl User {
    /// An account without password and roles.
    pub fn new(id: String, username: &str, now: u64) -> Self {
        Self {
            id,
            username: username.to_lowercase(),
            email: None,
            given_name: None,
            family_name: None,
            password: None,
            roles: BTreeSet::new(),
            enabled: true,
            created_at: now,
        }
    }

    /// Given and family name, or the account name.
    pub fn display_name(&self) -> String {
        let names: Vec<&str> =
            [&self.given_name, &self.family_name].into_iter().flatten().map(String::as_str).collect();
        if names.is_empty() { self.username.clone() } else { names.join(" ") }
    }
}

/// How much work a hash takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
}

/// For passwords that people choose: 12 MiB, three passes (some 20 ms); small enough that a login does not
/// double the memory of a world's process.
pub const CHOSEN: Cost = Cost { memory_kib: 12 * 1024, passes: 3 };
/// For passwords we generated: 128 random bits need no slow hash, and a world of a thousand accounts starts at once.
/// The first login replaces the hash by one of [`CHOSEN`] cost.
pub const GENERATED: Cost = Cost { memory_kib: 8, passes: 1 };

/// An argon2id hash with its salt and cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    cost: Cost,
    salt: String,
    hash: String,
}

impl PasswordHash {
    /// Hashes `password`. With [`CHOSEN`] this takes some 20 ms and 12 MiB: not on a thread that must answer.
    pub fn new(password: &Secret, cost: Cost, entropy: &mut dyn Entropy) -> Self {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        Self { cost, salt: URL_SAFE_NO_PAD.encode(salt), hash: hash(password, &salt, cost) }
    }

    fn matches(&self, password: &Secret) -> bool {
        URL_SAFE_NO_PAD.decode(&self.salt).is_ok_and(|salt| {
            let found = hash(password, &salt, self.cost);
            !found.is_empty() && same(&found, &self.hash)
        })
    }
}

/// Costly hashes are made one at a time: the memory of one is all that they take.
static TURN: Mutex<()> = Mutex::new(());
/// Reserved for a costly hash, of which it touches [`CHOSEN`]: glibc gives a block beyond 32 MiB a mapping of its own, always, and
/// gives that back when the block is freed. Smaller ones move to its heaps after the first time (mallopt(3),
/// `M_MMAP_THRESHOLD`), where they stay with one thread and then another.
const OWN_MAPPING_BYTES: usize = 33 << 20;

/// Argon2id in base64url; empty when the parameters are none (only damaged state can cause that).
fn hash(password: &Secret, salt: &[u8], cost: Cost) -> String {
    let mut out = [0; 32];
    let done = Params::new(cost.memory_kib, cost.passes, 1, Some(out.len())).ok().and_then(|params| {
        let blocks = params.block_count();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let password = password.expose().as_bytes();
        if cost == GENERATED {
            return argon.hash_password_into(password, salt, &mut out).ok();
        }
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory: Vec<Block> = Vec::with_capacity(blocks.max(OWN_MAPPING_BYTES / size_of::<Block>()));
        memory.resize(blocks, Block::new());
        argon.hash_password_into_with_memory(password, salt, &mut out, &mut memory).ok()
    });
    if done.is_some() { URL_SAFE_NO_PAD.encode(out) } else { String::new() }
}

/// What checking a password tells.
#[must_use]
pub enum Checked {
    /// It is not the password, or there is no such account.
    Wrong,
    /// It is.
    Right,
    /// It is; store this hash in place of the cheap one.
    Upgrade(PasswordHash),
}

/// Checks a password against the hash of an account, if there is one.
///
/// Does one hash of [`CHOSEN`] cost in every case, so its time does not tell whether the account exists or has ever
/// been used.
pub fn check_password(stored: Option<&PasswordHash>, password: &Secret, entropy: &mut dyn Entropy) -> Checked {
    match stored {
        Some(stored) if stored.cost == CHOSEN => {
            if stored.matches(password) {
                Checked::Right
            } else {
                Checked::Wrong
            }
        }
        Some(stored) => {
            let is_right = stored.matches(password);
            let fresh = PasswordHash::new(password, CHOSEN, entropy);
            if is_right { Checked::Upgrade(fresh) } else { Checked::Wrong }
        }
        None => {
            std::hint::black_box(PasswordHash::new(password, CHOSEN, entropy));
            Checked::Wrong
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::secret::Kernel;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_cheap_hash_is_replaced_at_the_first_login() {
        let stored = PasswordHash::new(&secret("right"), GENERATED, &mut Kernel);
        assert!(matches!(check_password(Some(&stored), &secret("wrong"), &mut Kernel), Checked::Wrong));
        let Checked::Upgrade(fresh) = check_password(Some(&stored), &secret("right"), &mut Kernel) else {
            panic!("no upgrade");
        };
        assert_eq!(fresh.cost, CHOSEN);
        assert!(matches!(check_password(Some(&fresh), &secret("right"), &mut Kernel), Checked::Right));
        assert!(matches!(check_password(Some(&fresh), &secret("wrong"), &mut Kernel), Checked::Wrong));
        assert!(matches!(check_password(None, &secret("right"), &mut Kernel), Checked::Wrong));
    }

    #[test]
    fn the_time_of_a_check_does_not_tell_whether_there_is_an_account() {
        let cheap = PasswordHash::new(&secret("right"), GENERATED, &mut Kernel);
        let full = PasswordHash::new(&secret("right"), CHOSEN, &mut Kernel);
        let cases = [
            (None, "wrong"),
            (Some(&cheap), "wrong"),
            (Some(&cheap), "right"),
            (Some(&full), "wrong"),
            (Some(&full), "right"),
        ];
        // The shortest of several runs, all cases in turn: what else the machine does can only add, and hits all alike.
        let mut shortest = [Duration::MAX; 5];
        let ratio = |shortest: &[Duration; 5]| {
            let (least, most) = (shortest.iter().min(), shortest.iter().max());
            most.map_or(0.0, Duration::as_secs_f64) / least.map_or(1.0, Duration::as_secs_f64)
        };
        for round in 0..60 {
            for ((stored, given), shortest) in cases.iter().zip(&mut shortest) {
                let start = Instant::now();
                let checked = check_password(*stored, &secret(given), &mut Kernel);
                *shortest = start.elapsed().min(*shortest);
                assert_eq!(matches!(checked, Checked::Wrong), *given != "right" || stored.is_none());
            }
            if round >= 4 && ratio(&shortest) < 1.5 {
                return;
            }
        }
        panic!("the times differ: {shortest:?}");
    }
}
