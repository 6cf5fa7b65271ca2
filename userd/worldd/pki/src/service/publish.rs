//! What anybody may fetch over plain HTTP: issuers' certificates, revocation lists.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{Service, unix_seconds};
use crate::{
    acme::Change,
    ca::{
        CaError, Level, Serial,
        ocsp::{self, Status},
    },
    clock::UnixSeconds,
    store::Store,
};

/// A list is made anew when it is this old, and at once when something was revoked.
const LIST_AGE_SECS: i64 = 24 * 3600;

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its media type.
    pub content_type: &'static str,
    /// It.
    pub bytes: Vec<u8>,
}

/// The lists that were made last.
#[derive(Default)]
pub(super) struct Cache {
    revocations: AtomicU64,
    lists: Mutex<[Option<List>; 2]>,
}

struct List {
    der: Vec<u8>,
    number: u64,
    made: UnixSeconds,
    revocations: u64,
}

impl Cache {
    /// Takes notice of revocations.
    pub(super) fn note(&self, changes: &[Change]) {
        let revoked = changes.iter().filter(|change| matches!(change, Change::Revoked { .. })).count();
        self.revocations.fetch_add(revoked as u64, Ordering::SeqCst);
    }
}

impl<S: Store> Service<S> {
    /// What is published under this name: `root.der`, `root.pem`, `issuing.der`, and with revocation lists enabled
    /// `root.crl` and `issuing.crl`.
    ///
    /// # Errors
    /// [`CaError`] when a list cannot be signed.
    pub fn published(&self, name: &str) -> Result<Option<Published>, CaError> {
        let authority = self.authority();
        let certificate = |level| Published {
            content_type: "application/pkix-cert",
            bytes: authority.signer(level).certificate().to_vec(),
        };
        Ok(match name {
            "root.der" => Some(certificate(Level::Root)),
            "issuing.der" => Some(certificate(Level::Issuing)),
            "root.pem" => {
                let bytes = authority.root_pem().into_bytes();
                Some(Published { content_type: "application/x-pem-file", bytes })
            }
            "root.crl" if authority.config().publication.crl => Some(self.revocation_list(Level::Root)?),
            "issuing.crl" if authority.config().publication.crl => Some(self.revocation_list(Level::Issuing)?),
            _ => None,
        })
    }

    /// The answer to an OCSP request; `None` when OCSP is not enabled. Always of the type
    /// `application/ocsp-response`.
    pub fn ocsp(&self, request: &[u8]) -> Option<Vec<u8>> {
        let authority = self.authority();
        let status = |level, serial: Serial| {
            // The root itself has signed one certificate: the intermediate's.
            if level == Level::Root {
                let is_intermediate = authority.signer(Level::Issuing).serial() == Some(serial);
                return if is_intermediate { Status::Good } else { Status::Unknown };
            }
            match self.machine().state.certificate(serial) {
                None => Status::Unknown,
                Some(certificate) => certificate.revoked.map_or(Status::Good, Status::Revoked),
            }
        };
        authority.config().publication.ocsp.then(|| ocsp::answer(authority, request, status, unix_seconds()))
    }

    fn revocation_list(&self, level: Level) -> Result<Published, CaError> {
        let now = unix_seconds();
        let revocations = self.published.revocations.load(Ordering::SeqCst);
        let mut lists = self.published.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let have = &mut lists[usize::from(level == Level::Issuing)];
        let is_good = have.as_ref().is_some_and(|list| {
            list.revocations == revocations && (list.made..list.made.saturating_add(LIST_AGE_SECS)).contains(&now)
        });
        if !is_good {
            // Services' certificates are never the root's business when there is an intermediate.
            let is_issuer = level == Level::Issuing || !self.authority.has_intermediate();
            let revoked: Vec<_> = match is_issuer {
                true => self.machine().state.revoked(now).collect(),
                false => Vec::new(),
            };
            // Higher than before in this process, and after a restart higher because time has passed.
            let number = (now.max(0) as u64).max(have.as_ref().map_or(0, |list| list.number + 1));
            let der = self.authority.revocation_list(level, revoked, number, now)?;
            *have = Some(List { der, number, made: now, revocations });
        }
        let bytes = have.as_ref().map(|list| list.der.clone()).unwrap_or_default();
        Ok(Published { content_type: "application/pkix-crl", bytes })
    }
}
