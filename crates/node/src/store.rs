//! What outlives a process: a trait, and two engines behind it.

mod bindings;
mod folder;
mod journal;
mod memory;
mod records;
mod services;
mod sqlite;

use std::path::PathBuf;

use dialtone_dialog::digest::StoredCredential;
use thiserror::Error;

pub(crate) use bindings::OfOne;
pub use folder::{DATABASE_NAME, Folder};
pub use journal::JournalStore;
pub(crate) use journal::{JournalCounts, JournalParts, JournalSender, JournalWord, divided, start};
pub use memory::MemoryStore;
pub use records::StoredCall;
pub(crate) use services::OfUser;
pub use sqlite::{SCHEMA_VERSION, SqliteStore};

/// Why the store could not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the folder.
    #[error("{} is used by another dialtone: stop it, or choose another folder with --data", .0.display())]
    Locked(PathBuf),
    /// The data was written by a newer version.
    #[error("{} was written by a newer dialtone (data version {found}, this one knows {known}): run that one, or choose another folder with --data", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The file is no database of ours, or is damaged.
    #[error("{} is no data file of dialtone or is damaged: bring it back from a copy, or choose another folder with --data", .0.display())]
    Damaged(PathBuf),
    /// A file or folder can't be made, read or written.
    #[error("{} can't be used: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("{} can't be written: no room is left on its disk. Nothing is lost: make room and try again", .0.display())]
    Full(PathBuf),
    /// The folder, or the file, may not be written.
    #[error("{} can't be written: it is read-only. Make it writable, or choose another folder with --data", .0.display())]
    ReadOnly(PathBuf),
    /// The database refused.
    #[error("the database refused: {0}")]
    Database(#[from] rusqlite::Error),
}

/// Keeps what must outlive a process. Calls may block: shards never make them, they have snapshots.
pub trait Store: Send {
    /// All users of all domains, in the order of domain and name.
    ///
    /// # Errors
    /// When the engine fails.
    fn users(&self) -> Result<Vec<StoredCredential>, StoreError>;

    /// Adds a user, or replaces the one of the same name and domain. True when it was there before.
    ///
    /// # Errors
    /// When the engine fails; nothing changes then.
    fn put_user(&mut self, credential: &StoredCredential) -> Result<bool, StoreError>;

    /// Adds or replaces users, all of them or none.
    ///
    /// # Errors
    /// When the engine fails; nothing changes then.
    fn put_users(&mut self, credentials: &[StoredCredential]) -> Result<(), StoreError>;

    /// Removes a user. False when there was none.
    ///
    /// # Errors
    /// When the engine fails; nothing changes then.
    fn remove_user(&mut self, domain: &str, user: &str) -> Result<bool, StoreError>;

    /// 32 bytes that nobody else knows, the same each time for what outlives the process.
    ///
    /// # Errors
    /// When they can't be kept.
    fn secret(&self) -> Result<[u8; 32], StoreError> {
        Ok(crate::random::seed())
    }

    /// Calls that have ended, the last one first: the first `limit` before this [`id`](StoredCall::id).
    ///
    /// # Errors
    /// When the engine fails.
    fn ended_calls(&self, _before: Option<i64>, _limit: usize) -> Result<Vec<StoredCall>, StoreError> {
        Ok(Vec::new())
    }

    /// What bindings and call records are journalled with; `None` where nothing outlives the process.
    ///
    /// # Errors
    /// When the engine fails.
    #[doc(hidden)]
    fn journal(&self) -> Result<Option<JournalStore>, StoreError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
