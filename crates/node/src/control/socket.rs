//! The Unix socket in the data folder: one JSON object a line, each answered by one.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::handler::{Handler, Refused, refusal};
use super::peers::{Door, Patient, Stream};

/// Bytes of a request at most: 500 users fit.
pub(crate) const REQUEST_BYTES: u64 = 256 * 1024;
/// Connections at a time at most.
const CONNECTIONS: usize = 16;
/// Only the owner of the data may speak here.
const MODE: u32 = 0o600;
/// Bytes of a path that a socket can have (`sun_path` without its end).
const PATH_BYTES: usize = 107;

/// The socket while it is served.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    door: Door,
}

impl Socket {
    /// Makes the socket and serves it. A socket file that is there is what a process left that was killed: the caller
    /// has the data folder for itself.
    pub(crate) fn open(path: &Path, handler: Arc<Handler>) -> io::Result<Socket> {
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::remove_file(path)?;
        }
        // Nobody else gets in before the mode is set: the folder has mode 0700.
        let listener = with_short(path, |path| UnixListener::bind(path))?;
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        let door = Door::open(
            "control",
            listener,
            CONNECTIONS,
            move |stream| serve(&handler, stream),
            |mut stream| {
                let busy = Refused { code: "busy", message: "too many ask at once: ask again".to_owned() };
                // It fits into the buffer of a fresh socket; whoever does not read it is not missed.
                let _ = stream.set_nonblocking(true).and_then(|()| write(&mut stream, &refusal(&busy)));
            },
        )?;
        Ok(Socket { path: path.to_path_buf(), door })
    }

    /// Serves no longer, and removes the file.
    pub(crate) fn close(self) {
        let path = &self.path;
        self.door.close(|| connect(path).is_ok());
        // It may be gone already.
        let _ = fs::remove_file(path);
    }
}

/// Makes a link to the socket where those look for it who know the data folder only.
pub(crate) fn link(folder: &Path, path: &Path) -> io::Result<()> {
    let usual = folder.join(super::SOCKET_NAME);
    if usual == path {
        return Ok(());
    }
    if let Ok(found) = fs::symlink_metadata(&usual) {
        if !found.file_type().is_socket() && !found.file_type().is_symlink() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::remove_file(&usual)?;
    }
    std::os::unix::fs::symlink(fs::canonicalize(path)?, &usual)
}

/// Connects to the socket at this path.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    with_short(path, |path| UnixStream::connect(path))
}

/// A path that is too long for a socket is reached through the open folder.
fn with_short<T>(path: &Path, then: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if path.as_os_str().len() > PATH_BYTES => {
            let folder = File::open(parent)?;
            then(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
        }
        _ => then(path),
    }
}

fn serve<S: Stream>(handler: &Handler, stream: S) {
    let mut reader = BufReader::new(Patient::new(stream));
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.get_mut().renew();
        let read = reader.by_ref().take(REQUEST_BYTES).read_until(b'\n', &mut line);
        if !read.is_ok_and(|count| count > 0) {
            return;
        }
        let request = if line.last() == Some(&b'\n') {
            serde_json::from_slice::<Value>(&line)
                .map_err(|_| Refused::bad("expected one JSON object a line"))
        } else {
            Err(Refused::bad("expected a line of at most 256 KiB"))
        };
        let is_good = request.is_ok();
        let answer = request.map_or_else(|refused| refusal(&refused), |request| handler.answer(&request));
        // Whoever does not speak this language is not listened to any longer.
        if write(reader.get_mut(), &answer).is_err() || !is_good {
            return;
        }
    }
}

fn write(to: &mut impl Write, answer: &Value) -> io::Result<()> {
    let mut bytes = answer.to_string().into_bytes();
    bytes.push(b'\n');
    to.write_all(&bytes)?;
    to.flush()
}
