//! Seals secrets for the database: AES-256-GCM with a key in a file of the state directory that only this user reads.
//!
//! Each sealed text is bound to what it is the secret of, so one moved to another row does not open. The nonce is random, 96
//! bits, which is safe for 2^32 texts under one key (NIST SP 800-38D, section 8.3).

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use netengine_proto::{
    api::{Problem, ProblemKind},
    ids::WorldId,
    trust::Secret,
};
use tokio::sync::OnceCell;

use crate::{
    plan::secrets::{Slot, kind_word},
    problem::problem,
};

/// The key's file in the state directory.
pub const KEY_FILE: &str = "seal.key";
const KEY_BYTES: usize = 32;

/// Why a secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key's file cannot be read or made.
    #[error("cannot use the key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key's file is not what this program writes, or others may read it.
    #[error("cannot use the key {0}: it must hold 32 bytes that nobody else may read")]
    Key(PathBuf),
    /// The cipher refused.
    #[error("cannot seal a secret")]
    Seal,
    /// It was sealed with another key, for another row, or was changed.
    #[error("cannot open a sealed secret: it was sealed with another key, or was changed")]
    Open,
}

impl SealError {
    /// The problem a caller sees.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        tracing::error!(error = %crate::store::Chain(self), "secrets");
        let help = "see the log of netengine-userd; restore the key and the database from the same backup";
        problem(ProblemKind::Failed, what, self.to_string(), help)
    }
}

/// The key, read when it is first needed.
pub struct Seal {
    path: PathBuf,
    key: OnceCell<RandomizedNonceKey>,
}

impl Seal {
    /// With the key of this state directory, which is made when there is none.
    pub fn in_directory(state: &Path) -> Self {
        Self { path: state.join(KEY_FILE), key: OnceCell::new() }
    }

    /// Reads the key, or makes it.
    ///
    /// # Errors
    /// [`SealError`] when the file cannot be used; tried again by the next call.
    pub async fn ready(&self) -> Result<(), SealError> {
        self.key().await.map(drop)
    }

    async fn key(&self) -> Result<&RandomizedNonceKey, SealError> {
        self.key.get_or_try_init(|| async { read_or_make(&self.path) }).await
    }

    /// Seals the secret of a world's `slot`.
    ///
    /// # Errors
    /// [`SealError`] when there is no key.
    pub async fn seal(&self, world: WorldId, slot: &Slot, secret: &Secret) -> Result<String, SealError> {
        let key = self.key().await?;
        let mut bytes = secret.expose().as_bytes().to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(bound_to(world, slot)), &mut bytes);
        let nonce = nonce.map_err(|_| SealError::Seal)?;
        Ok(STANDARD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    /// Opens what was sealed for this very `slot`.
    ///
    /// # Errors
    /// [`SealError::Open`] when it was not.
    pub async fn open(&self, world: WorldId, slot: &Slot, sealed: &str) -> Result<Secret, SealError> {
        let key = self.key().await?;
        let bytes = STANDARD.decode(sealed).map_err(|_| SealError::Open)?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Open)?;
        let mut rest = rest.to_vec();
        let opened = key.open_in_place(nonce, Aad::from(bound_to(world, slot)), &mut rest);
        let opened = opened.map_err(|_| SealError::Open)?;
        let text = std::str::from_utf8(opened).map_err(|_| SealError::Open)?;
        Ok(Secret::new(text.to_owned()))
    }
}

/// What a sealed text is bound to. No part holds a NUL, so two slots never read alike.
fn bound_to(world: WorldId, (kind, issuer, name): &Slot) -> Vec<u8> {
    format!("{world}\0{}\0{issuer}\0{name}", kind_word(*kind)).into_bytes()
}

fn read_or_make(path: &Path) -> Result<RandomizedNonceKey, SealError> {
    let file = |source| SealError::File { path: path.to_owned(), source };
    let bytes = match File::open(path) {
        Ok(opened) => read(opened, path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(file)?;
            // What is in use is what the disk holds, also when two made it at once.
            read(File::open(path).map_err(file)?, path)?
        }
        Err(error) => return Err(file(error)),
    };
    RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::Key(path.to_owned()))
}

fn read(mut opened: File, path: &Path) -> Result<[u8; KEY_BYTES], SealError> {
    let file = |source| SealError::File { path: path.to_owned(), source };
    let metadata = opened.metadata().map_err(file)?;
    let mut bytes = [0; KEY_BYTES];
    if metadata.len() != KEY_BYTES as u64 || metadata.mode() & 0o077 != 0 {
        return Err(SealError::Key(path.to_owned()));
    }
    opened.read_exact(&mut bytes).map_err(file)?;
    Ok(bytes)
}

/// Writes a new key: all of it or nothing, and never over one that is there.
fn make(path: &Path) -> io::Result<()> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    // What a crash left under this name was never in use.
    let _ = std::fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&temporary, path);
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use netengine_proto::trust::CredentialKind;

    use super::*;

    const WORLD: WorldId = WorldId::from_bytes([1; 8]);

    fn slot(name: &str) -> Slot {
        (CredentialKind::Password, "https://auth".to_owned(), name.to_owned())
    }

    #[tokio::test]
    async fn a_sealed_secret_opens_for_its_own_row_and_key_only() {
        let (one, two) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let secret = Secret::new("hunter2".to_owned());
        let seal = Seal::in_directory(one.path());
        let sealed = seal.seal(WORLD, &slot("alice"), &secret).await.expect("sealed");
        assert!(!sealed.contains("hunter2"));
        assert_ne!(sealed, seal.seal(WORLD, &slot("alice"), &secret).await.expect("sealed"), "a nonce is used once");
        // After a restart, too.
        let again = Seal::in_directory(one.path());
        assert_eq!(again.open(WORLD, &slot("alice"), &sealed).await.expect("opened").expose(), "hunter2");
        assert!(matches!(again.open(WORLD, &slot("bob"), &sealed).await, Err(SealError::Open)));
        let other = WorldId::from_bytes([2; 8]);
        assert!(matches!(again.open(other, &slot("alice"), &sealed).await, Err(SealError::Open)));
        let stranger = Seal::in_directory(two.path());
        assert!(matches!(stranger.open(WORLD, &slot("alice"), &sealed).await, Err(SealError::Open)));
        for bad in ["", "x", "AAAA", &sealed[4..]] {
            assert!(matches!(again.open(WORLD, &slot("alice"), bad).await, Err(SealError::Open)), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn the_key_is_for_this_user_alone() {
        let directory = tempfile::tempdir().expect("made");
        let path = directory.path().join(KEY_FILE);
        Seal::in_directory(directory.path()).ready().await.expect("made");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 1, "nothing is left beside it");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(Seal::in_directory(directory.path()).ready().await, Err(SealError::Key(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        std::fs::write(&path, "short").expect("written");
        assert!(matches!(Seal::in_directory(directory.path()).ready().await, Err(SealError::Key(_))));
    }
}
