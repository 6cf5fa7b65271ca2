//! Listing what was issued, and certificates for the world's own services.

use std::collections::BTreeSet;

use super::{Service, unix_seconds};
use crate::{
    acme::{Certificate, Change, Own},
    ca::{CaError, CertifiedPublicKey, Level, Profile, Reason, Revocation, Secret, Serial, key},
    jose,
    name::Identifier,
    store::{Halted, Store, StoreError},
};

/// One line of the list of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What is known of it.
    pub certificate: Certificate,
    /// Whether it is valid by its dates and not revoked.
    pub is_good: bool,
}

/// A certificate of the world's own, with its key.
#[derive(Debug, Clone)]
pub struct OwnCertificate {
    /// Its number.
    pub serial: Serial,
    /// The certificate and its issuers, the root left out, DER.
    pub chain: Vec<Vec<u8>>,
    /// Its key.
    pub key: Secret,
    /// Valid from.
    pub not_before: i64,
    /// Valid until.
    pub not_after: i64,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// It could not be signed.
    #[error("cannot make a certificate for a service of the world")]
    Authority(#[from] CaError),
    /// It could not be kept.
    #[error("cannot make a certificate for a service of the world")]
    Halted(#[from] Halted),
    /// It is not there.
    #[error("cannot find the certificate {0}")]
    Absent(Serial),
}

impl<S: Store> Service<S> {
    /// The certificates behind this serial number, in the order of their numbers; at most `limit`.
    pub fn list(&self, after: Option<Serial>, limit: usize) -> Vec<Listed> {
        let now = unix_seconds();
        let machine = self.machine();
        let all = machine.state.certificates().filter(|one| after.is_none_or(|after| one.serial > after));
        let listed = |certificate: &Certificate| Listed {
            certificate: certificate.clone(),
            is_good: certificate.revoked.is_none() && (certificate.not_before..=certificate.not_after).contains(&now),
        };
        all.take(limit).map(listed).collect()
    }

    /// One certificate: what is known of it, and it as DER.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn show(&self, serial: Serial) -> Result<Option<(Certificate, Vec<u8>)>, StoreError> {
        let Some(known) = self.machine().state.certificate(serial).cloned() else { return Ok(None) };
        Ok(self.store.certificate(serial).await?.map(|der| (known, der)))
    }

    /// A certificate for a service of the world itself: the one that was made before for the same names, as long as it is good,
    /// comes of the same authority and settings and has more than a third of its life before it, or else a new one.
    ///
    /// # Errors
    /// [`OwnError`]; then there is no certificate.
    pub async fn own(&self, names: BTreeSet<Identifier>, profile: &Profile) -> Result<OwnCertificate, OwnError> {
        match self.kept_own(&names, profile).await {
            Ok(Some(own)) => return Ok(own),
            Ok(None) => {}
            // What cannot be read is made anew.
            Err(error) => tracing::warn!(service = "pki", "{error}: {:?}", std::error::Error::source(&error)),
        }
        self.issue_own(names, profile).await
    }

    async fn kept_own(
        &self,
        names: &BTreeSet<Identifier>,
        profile: &Profile,
    ) -> Result<Option<OwnCertificate>, StoreError> {
        let kept = self.store.own(&joined(names)).await?;
        let Some(kept) = kept.filter(|kept| kept.circumstances == self.circumstances(profile)) else { return Ok(None) };
        let Some((known, der)) = self.show(kept.serial).await? else { return Ok(None) };
        let (not_before, not_after) = (known.not_before, known.not_after);
        let late = not_after.saturating_sub(not_after.saturating_sub(not_before) / 3);
        if known.revoked.is_some() || !(not_before..late).contains(&unix_seconds()) {
            return Ok(None);
        }
        let (serial, chain) = (kept.serial, self.own_chain(der));
        Ok(Some(OwnCertificate { serial, chain, key: kept.key, not_before, not_after }))
    }

    /// What a certificate comes of besides its names. Compared only: another release that prints it otherwise issues anew.
    fn circumstances(&self, profile: &Profile) -> String {
        let issuer = self.authority.signer(Level::Issuing).certificate();
        let settings = format!("{:?} {profile:?}", self.authority.config());
        jose::encode(jose::sha256(&[issuer, settings.as_bytes()].concat()))
    }

    fn own_chain(&self, leaf: Vec<u8>) -> Vec<Vec<u8>> {
        let issuer = self.authority.signer(Level::Issuing).certificate();
        std::iter::once(leaf).chain(self.authority.has_intermediate().then(|| issuer.to_vec())).collect()
    }

    /// Makes a key and a certificate for a service of the world itself. It is listed like any other.
    ///
    /// # Errors
    /// [`OwnError`]; then there is no certificate.
    pub async fn issue_own(&self, names: BTreeSet<Identifier>, profile: &Profile) -> Result<OwnCertificate, OwnError> {
        let (pair, secret) = key::generate()?;
        let public = CertifiedPublicKey::of(&pair).map_err(CaError::PublicKey)?;
        let leaf = self.authority.issue(&names, &public, profile, unix_seconds())?;
        let (serial, key) = (leaf.serial, secret.clone());
        let own = Own { names: joined(&names), circumstances: self.circumstances(profile), serial, key };
        let certificate = Certificate::of(&leaf, &public, None, names, "own".to_owned());
        let issued = Change::Issued { certificate, der: leaf.der.clone() };
        self.change(|_| Ok(vec![issued, Change::Own(own)])).await?;
        let (not_before, not_after) = (leaf.not_before, leaf.not_after);
        Ok(OwnCertificate { serial, chain: self.own_chain(leaf.der), key: secret, not_before, not_after })
    }

    /// Revokes a certificate in the operator's name. A certificate that is revoked stays as it is.
    ///
    /// # Errors
    /// [`OwnError::Absent`], or [`OwnError::Halted`] when it could not be kept.
    pub async fn revoke(&self, serial: Serial, reason: Reason) -> Result<(), OwnError> {
        let revocation = Revocation { at: unix_seconds(), reason };
        self.change(|state| match state.certificate(serial) {
            None => Err(OwnError::Absent(serial)),
            Some(certificate) if certificate.revoked.is_some() => Ok(Vec::new()),
            Some(_) => Ok(vec![Change::Revoked { serial, revocation }]),
        })
        .await
    }

    /// Decides, applies, and waits until it is kept.
    async fn change(
        &self,
        decide: impl FnOnce(&crate::acme::State) -> Result<Vec<Change>, OwnError>,
    ) -> Result<(), OwnError> {
        let place = self.journal.place().await?;
        let kept = {
            let mut machine = self.machine();
            if let Some(why) = machine.halted {
                return Err(why.into());
            }
            let changes = decide(&machine.state)?;
            changes.iter().for_each(|change| machine.state.apply(change));
            self.published.note(&changes);
            place.hand_over(changes)
        };
        Ok(kept.wait().await?)
    }
}

fn joined(names: &BTreeSet<Identifier>) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
