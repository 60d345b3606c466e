//! The store that is kept in one SQLite file.

use std::path::PathBuf;

use dialtone_dialog::digest::{Ha1, HashFunction, StoredCredential, UserForm};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use super::bindings;
use super::folder::Folder;
use super::journal::JournalStore;
use super::records::{self, StoredCall};
use super::{Store, StoreError, services};
use crate::clock;
use crate::subscribers::aor;

/// The tables of version 1.
pub(super) const VERSION_1: &str = "
    CREATE TABLE users (
        domain TEXT NOT NULL,
        name TEXT NOT NULL,
        realm TEXT NOT NULL,
        -- HA1 of NAME and of NAME@DOMAIN, never a password (RFC 7616 §3.4.2, RFC 8760)
        bare_sha512_256 BLOB NOT NULL,
        bare_sha256 BLOB NOT NULL,
        bare_md5 BLOB NOT NULL,
        qualified_sha512_256 BLOB NOT NULL,
        qualified_sha256 BLOB NOT NULL,
        qualified_md5 BLOB NOT NULL,
        changed_unix_s INTEGER NOT NULL,
        PRIMARY KEY (domain, name)
    ) STRICT, WITHOUT ROWID;
";

/// One step for each version of the data: step N makes version N + 1 of version N. Steps are added, never changed.
const MIGRATIONS: &[&str] =
    &[VERSION_1, bindings::SCHEMA, bindings::DETAILS, services::SCHEMA, records::NAMES];

/// The version of the data that this program writes.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Marks the file as ours ("DIAL"), for `file` and for the refusal of others.
const APPLICATION_ID: i32 = 0x4449_414c;

/// Keeps everything in `dialtone.db` of a data folder.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    folder: Folder,
}

impl SqliteStore {
    /// Opens the database of the folder, makes it where there is none, and brings older data to this version.
    ///
    /// # Errors
    /// When the data is of a newer version, is damaged or not ours, or can't be written.
    pub fn open(folder: Folder) -> Result<SqliteStore, StoreError> {
        let path = folder.database()?;
        let connection = Connection::open(&path).map_err(|error| damaged(error, &path))?;
        // Looked at before anything is written: a file of somebody else, or of a newer version, stays as it is.
        match version(&connection).map_err(|error| damaged(error, &path))? {
            None => return Err(StoreError::Damaged(path)),
            Some(found) if found > SCHEMA_VERSION => {
                return Err(StoreError::Newer { path, found, known: SCHEMA_VERSION });
            }
            Some(_) => {}
        }
        let mut store = SqliteStore { connection, path, folder };
        store.prepare().map_err(|error| damaged(error, &store.path))?;
        Ok(store)
    }

    /// The data folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What the journal writes with: a connection of its own.
    pub(crate) fn journal(&self) -> Result<JournalStore, StoreError> {
        let connection = Connection::open(&self.path).map_err(|error| damaged(error, &self.path))?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(|error| damaged(error, &self.path))?;
        Ok(JournalStore::new(connection, self.path.clone()))
    }

    fn prepare(&mut self) -> rusqlite::Result<()> {
        // WAL: readers and the writer do not wait for each other. FULL: what is committed survives a loss of power.
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.pragma_update(None, "foreign_keys", true)?;
        let transaction = self.connection.transaction()?;
        let version = version(&transaction)?.unwrap_or(0);
        for step in MIGRATIONS.iter().skip(version as usize) {
            transaction.execute_batch(step)?;
        }
        if version < SCHEMA_VERSION {
            transaction.execute_batch(
                "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT;
                 DELETE FROM schema_version;",
            )?;
            transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [SCHEMA_VERSION])?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        transaction.commit()
    }
}

/// The version of the data: 0 for an empty file, `None` for a database that is not ours.
fn version(connection: &Connection) -> rusqlite::Result<Option<u32>> {
    let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Ok((tables == 0).then_some(0));
    }
    connection.query_row("SELECT version FROM schema_version", [], |row| row.get(0)).optional()
}

impl Store for SqliteStore {
    fn users(&self) -> Result<Vec<StoredCredential>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Option<StoredCredential>>> {
            let mut statement = self.connection.prepare_cached(
                "SELECT domain, name, realm, bare_sha512_256, bare_sha256, bare_md5,
                        qualified_sha512_256, qualified_sha256, qualified_md5
                 FROM users ORDER BY domain, name",
            )?;
            statement.query_map([], credential)?.collect()
        };
        let users = read().map_err(|error| damaged(error, &self.path))?;
        users.into_iter().collect::<Option<_>>().ok_or_else(|| StoreError::Damaged(self.path.clone()))
    }

    fn put_user(&mut self, credential: &StoredCredential) -> Result<bool, StoreError> {
        put_user(&mut self.connection, credential).map_err(|error| damaged(error, &self.path))
    }

    fn put_users(&mut self, credentials: &[StoredCredential]) -> Result<(), StoreError> {
        put_users(&mut self.connection, credentials).map_err(|error| damaged(error, &self.path))
    }

    fn remove_user(&mut self, domain: &str, user: &str) -> Result<bool, StoreError> {
        remove_user(&mut self.connection, domain, user).map_err(|error| damaged(error, &self.path))
    }

    fn secret(&self) -> Result<[u8; 32], StoreError> {
        self.folder.secret()
    }

    fn ended_calls(&self, before: Option<i64>, limit: usize) -> Result<Vec<StoredCall>, StoreError> {
        records::page(&self.connection, before, limit).map_err(|error| damaged(error, &self.path))
    }

    fn journal(&self) -> Result<Option<JournalStore>, StoreError> {
        SqliteStore::journal(self).map(Some)
    }
}

/// Removes a user with his bindings: nobody shall be reached by an address that is no user's any more.
fn remove_user(connection: &mut Connection, domain: &str, user: &str) -> rusqlite::Result<bool> {
    let transaction = connection.transaction()?;
    let sql = "DELETE FROM users WHERE domain = ?1 AND name = ?2";
    let removed = transaction.execute(sql, params![domain, user])? > 0;
    transaction.execute("DELETE FROM bindings WHERE aor = ?1", [aor(user, domain).as_str()])?;
    transaction.commit()?;
    Ok(removed)
}

fn put_user(connection: &mut Connection, credential: &StoredCredential) -> rusqlite::Result<bool> {
    let transaction = connection.transaction()?;
    let replaced = put(&transaction, credential)?;
    transaction.commit()?;
    Ok(replaced)
}

fn put_users(connection: &mut Connection, credentials: &[StoredCredential]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for credential in credentials {
        put(&transaction, credential)?;
    }
    transaction.commit()
}

/// Writes a user; true when it was there before.
fn put(transaction: &rusqlite::Transaction<'_>, credential: &StoredCredential) -> rusqlite::Result<bool> {
    let key = params![credential.domain(), credential.user()];
    let replaced = transaction.execute("DELETE FROM users WHERE domain = ?1 AND name = ?2", key)? > 0;
    let ha1 = |form, function| credential.ha1(form, function).as_bytes();
    transaction.execute(
        "INSERT INTO users (domain, name, realm, bare_sha512_256, bare_sha256, bare_md5,
                            qualified_sha512_256, qualified_sha256, qualified_md5, changed_unix_s)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            credential.domain(),
            credential.user(),
            credential.realm(),
            ha1(UserForm::Bare, HashFunction::Sha512_256),
            ha1(UserForm::Bare, HashFunction::Sha256),
            ha1(UserForm::Bare, HashFunction::Md5),
            ha1(UserForm::Qualified, HashFunction::Sha512_256),
            ha1(UserForm::Qualified, HashFunction::Sha256),
            ha1(UserForm::Qualified, HashFunction::Md5),
            i64::try_from(clock::unix_now_s()).unwrap_or(i64::MAX),
        ],
    )?;
    Ok(replaced)
}

/// Reads a row; `None` inside when a digest has not the length of its function.
fn credential(row: &Row<'_>) -> rusqlite::Result<Option<StoredCredential>> {
    let text = |index| row.get::<_, String>(index);
    let blob = |index| row.get::<_, Vec<u8>>(index);
    let (domain, user, realm) = (text(0)?, text(1)?, text(2)?);
    let bytes = [blob(3)?, blob(4)?, blob(5)?, blob(6)?, blob(7)?, blob(8)?];
    // The columns are in the order of `HashFunction::BEST_FIRST`.
    let ha1 = |index: usize| Ha1::from_bytes(HashFunction::BEST_FIRST[index % 3], &bytes[index]);
    let all = (ha1(0), ha1(1), ha1(2), ha1(3), ha1(4), ha1(5));
    let (Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)) = all else { return Ok(None) };
    Ok(Some(StoredCredential::from_stored(&user, &domain, &realm, [a, b, c], [d, e, f])))
}

pub(super) fn damaged(error: rusqlite::Error, path: &std::path::Path) -> StoreError {
    // SQLITE_IOERR_SHMSIZE: there was no room for the index of the write-ahead log.
    let is_shm_size = error.sqlite_error().is_some_and(|error| error.extended_code == 4874);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(path.to_path_buf()),
        _ if is_shm_size => StoreError::Full(path.to_path_buf()),
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(path.to_path_buf()),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged(path.to_path_buf()),
        _ => StoreError::Database(error),
    }
}

#[cfg(test)]
impl SqliteStore {
    pub(super) fn connection_for_tests(&self) -> &Connection {
        &self.connection
    }
}
