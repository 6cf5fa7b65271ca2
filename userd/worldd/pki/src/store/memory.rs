//! A store that ends with the process: for tests.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Store, StoreError};
use crate::{
    acme::{Change, Own},
    ca::{Material, Serial},
};

/// Keeps all changes in a list.
#[derive(Default)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
    refuses: AtomicBool,
}

#[derive(Default)]
struct Kept {
    changes: Vec<Change>,
    certificates: HashMap<Serial, Vec<u8>>,
    own: HashMap<String, Own>,
    material: Option<Material>,
}

impl MemoryStore {
    /// From now on commits fail, or do not any more: what a full disk does.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn load(&self) -> Result<Vec<Change>, StoreError> {
        Ok(self.kept().changes.clone())
    }

    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(StoreError::Content("told to refuse".to_owned()));
        }
        let mut kept = self.kept();
        for change in changes {
            let mut change = change.clone();
            if let Change::Issued { certificate, der } = &mut change {
                kept.certificates.insert(certificate.serial, std::mem::take(der));
            }
            if let Change::Own(own) = &change {
                kept.own.insert(own.names.clone(), own.clone());
            }
            kept.changes.push(change);
        }
        Ok(())
    }

    async fn certificate(&self, serial: Serial) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.kept().certificates.get(&serial).cloned())
    }

    async fn own(&self, names: &str) -> Result<Option<Own>, StoreError> {
        Ok(self.kept().own.get(names).cloned())
    }

    async fn material(&self) -> Result<Option<Material>, StoreError> {
        Ok(self.kept().material.clone())
    }

    async fn keep_material(&self, material: &Material) -> Result<(), StoreError> {
        self.kept().material = Some(material.clone());
        Ok(())
    }
}
