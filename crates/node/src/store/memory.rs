//! The store that forgets: for demonstrations and tests.

use std::collections::BTreeMap;

use dialtone_dialog::digest::StoredCredential;
use smol_str::SmolStr;

use super::{Store, StoreError};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    users: BTreeMap<(SmolStr, SmolStr), StoredCredential>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
}

impl Store for MemoryStore {
    fn users(&self) -> Result<Vec<StoredCredential>, StoreError> {
        Ok(self.users.values().cloned().collect())
    }

    fn put_user(&mut self, credential: &StoredCredential) -> Result<bool, StoreError> {
        let key = (SmolStr::new(credential.domain()), SmolStr::new(credential.user()));
        Ok(self.users.insert(key, credential.clone()).is_some())
    }

    fn put_users(&mut self, credentials: &[StoredCredential]) -> Result<(), StoreError> {
        for credential in credentials {
            self.put_user(credential)?;
        }
        Ok(())
    }

    fn remove_user(&mut self, domain: &str, user: &str) -> Result<bool, StoreError> {
        Ok(self.users.remove(&(SmolStr::new(domain), SmolStr::new(user))).is_some())
    }
}
