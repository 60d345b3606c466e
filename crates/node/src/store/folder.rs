//! The data folder: nobody else may read it, and one process has it at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;
use crate::random;

/// The name of the database in the folder.
pub const DATABASE_NAME: &str = "dialtone.db";
/// The name of the file whose lock says that the folder is in use.
const LOCK_NAME: &str = "lock";
/// The name of the file with the server's secret, and of one that is being written.
const SECRET_NAME: &str = "secret";
const NEW_SECRET_NAME: &str = "secret.new";
const SECRET_BYTES: usize = 32;
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// A data folder that this process has for itself until this is dropped. The system frees the lock when the process
/// ends in any way.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the folder, and makes it where there is none (mode 0700).
    ///
    /// # Errors
    /// When another process has it, or it can't be made or written.
    pub fn take(path: &Path) -> Result<Folder, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path)
            .map_err(|source| fault(path, source))?;
        let mode = path.metadata().map_err(|source| fault(path, source))?.mode();
        if mode & OTHERS != 0 {
            tracing::warn!(
                mode = format_args!("{:o}", mode & 0o777),
                "others may look into the data folder: chmod 700 it"
            );
        }
        let lock_path = path.join(LOCK_NAME);
        let lock = open_private(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_path_buf())),
            Err(TryLockError::Error(source)) => Err(fault(&lock_path, source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret of this server, made when there is none yet. What it has signed, the Path of a registration and the
    /// Record-Route of a call, is good after a restart too.
    pub(crate) fn secret(&self) -> Result<[u8; SECRET_BYTES], StoreError> {
        let path = self.path.join(SECRET_NAME);
        match std::fs::read(&path) {
            Ok(bytes) => {
                if let Ok(secret) = bytes.try_into() {
                    return Ok(secret);
                }
                tracing::warn!("the file with the server's secret was damaged: there is a new one");
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(fault(&path, source)),
        }
        let secret = random::seed();
        // Under another name until all of it is on the disk: there is never half of one.
        let new = self.path.join(NEW_SECRET_NAME);
        let mut file = open_private(&new)?;
        file.set_len(0)
            .and_then(|()| file.write_all(&secret))
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|source| fault(&path, source))?;
        Ok(secret)
    }

    /// The path of the database, which exists from now on and is readable for the owner only. What SQLite writes beside
    /// it has the same mode.
    pub(crate) fn database(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join(DATABASE_NAME);
        open_private(&path)?;
        Ok(path)
    }
}

fn open_private(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    options.open(path).map_err(|source| fault(path, source))
}

fn fault(path: &Path, source: std::io::Error) -> StoreError {
    match source.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full(path.to_path_buf()),
        std::io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(path.to_path_buf()),
        _ => StoreError::File { path: path.to_path_buf(), source },
    }
}
