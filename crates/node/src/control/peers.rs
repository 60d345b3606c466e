//! Accepting connections on a thread of its own: few at a time, each with a deadline.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dialtone_wire::time::Instant;

use crate::clock;

/// How long one request may take, its answer included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The shortest time that a socket can be told to wait.
const SHORTEST: Duration = Duration::from_millis(1);
/// How long to rest when the system gives no connection.
const REST: Duration = Duration::from_millis(50);

/// A stream whose calls can be told when to give up.
pub(crate) trait Stream: Read + Write + Send + 'static {
    /// For the next call.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))?;
        self.set_write_timeout(Some(patience))
    }
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))?;
        self.set_write_timeout(Some(patience))
    }
}

/// Something that gives connections.
pub(crate) trait Listener: Send + 'static {
    /// What it gives.
    type Stream: Stream;
    /// Waits for the next one.
    fn next(&self) -> io::Result<Self::Stream>;
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    fn next(&self) -> io::Result<UnixStream> {
        self.accept().map(|(stream, _)| stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    fn next(&self) -> io::Result<TcpStream> {
        self.accept().map(|(stream, _)| stream)
    }
}

/// A stream with a point in time from which on all calls fail, however often a little came before.
pub(crate) struct Patient<S> {
    stream: S,
    until: Instant,
}

impl<S: Stream> Patient<S> {
    /// Gives up [`PATIENCE`] from now on.
    pub(crate) fn new(stream: S) -> Patient<S> {
        Patient { stream, until: clock::now() + PATIENCE }
    }

    /// Begins the time of one request anew.
    pub(crate) fn renew(&mut self) {
        self.until = clock::now() + PATIENCE;
    }

    fn prepare(&self) -> io::Result<()> {
        let left = self.until.since(clock::now());
        if left < SHORTEST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_patience(left)
    }
}

impl<S: Stream> Read for Patient<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.prepare()?;
        self.stream.read(buffer)
    }
}

impl<S: Stream> Write for Patient<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.prepare()?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A thread that accepts connections.
#[derive(Debug)]
pub(crate) struct Door {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Door {
    /// Serves each connection on a thread of its own, `most` at a time; the others are sent away by `refuse`, which must
    /// not wait.
    pub(crate) fn open<L: Listener>(
        name: &'static str,
        listener: L,
        most: usize,
        serve: impl Fn(L::Stream) + Send + Sync + 'static,
        refuse: impl Fn(L::Stream) + Send + 'static,
    ) -> io::Result<Door> {
        let ending = Arc::new(AtomicBool::new(false));
        let (is_ending, serve) = (ending.clone(), Arc::new(serve));
        let thread = Builder::new().name(name.into()).spawn(move || {
            let open = Arc::new(AtomicUsize::new(0));
            loop {
                let accepted = listener.next();
                if is_ending.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = accepted else {
                    clock::rest(REST);
                    continue;
                };
                if open.load(Ordering::Acquire) >= most {
                    refuse(stream);
                    continue;
                }
                let place = Place::take(&open);
                let serve = serve.clone();
                let spawned = Builder::new().name(name.into()).spawn(move || {
                    let _place = place;
                    serve(stream);
                });
                if let Err(error) = spawned {
                    tracing::warn!(%error, name, "the system has no thread for a connection");
                }
            }
        })?;
        Ok(Door { ending, thread })
    }

    /// Ends the thread. `wake` makes a connection, so that the thread looks up.
    pub(crate) fn close(self, wake: impl FnOnce() -> bool) {
        self.ending.store(true, Ordering::Release);
        if wake() {
            // It does nothing that could fail.
            let _ = self.thread.join();
        }
    }
}

/// One of the connections that may be open at a time, until dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Place {
        open.fetch_add(1, Ordering::AcqRel);
        Place(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
