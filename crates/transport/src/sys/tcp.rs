//! TCP sockets that do not block.

use std::fs::File;
use std::io::{self, IoSlice, Read as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// After this time without a byte the system asks the other side whether it is still there.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(120);
/// How long it waits for the answer, and how often it asks before it gives the connection up.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TRIES: u32 = 4;

/// How a listening socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Whether several sockets of ours share the address, among which the system spreads the connections.
    pub reuse_port: bool,
    /// Connections that may wait to be accepted. The system may allow fewer (net.core.somaxconn).
    pub backlog: u16,
}

impl Default for TcpOptions {
    fn default() -> TcpOptions {
        TcpOptions { reuse_port: false, backlog: 1024 }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket,
    local: SocketAddr,
    /// A descriptor that is given up when there are no others, to take in a connection and end it: otherwise it would
    /// wait for ever, and each wait of the poller would end at once.
    spare: Option<File>,
}

/// What became of the next connection that waited.
#[derive(Debug)]
pub enum Accepted {
    /// It is open.
    Stream(TcpStream, SocketAddr),
    /// It was gone already, or the process has too many open files and it was ended.
    Lost,
    /// None waits.
    None,
}

/// A connection.
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket,
}

impl TcpListener {
    /// Listens on an address. `SO_REUSEADDR` is set, so that a restart does not wait for old connections to be
    /// forgotten.
    ///
    /// # Errors
    /// Those of the system: the address is in use, is not ours, or there are too many open files. A wildcard address is
    /// refused with `InvalidInput`.
    pub fn bind(address: SocketAddr, options: TcpOptions) -> io::Result<TcpListener> {
        if address.ip().is_unspecified() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(options.backlog.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok(TcpListener { socket, local, spare: spare() })
    }

    /// The address, with the real port.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// Those of the system that the next call would meet again.
    pub fn accept(&mut self) -> io::Result<Accepted> {
        let error = match self.socket.accept() {
            Ok((socket, from)) => {
                let stream = from.as_socket().and_then(|from| Some((TcpStream::new(socket).ok()?, from)));
                return Ok(stream.map_or(Accepted::Lost, |(stream, from)| Accepted::Stream(stream, from)));
            }
            Err(error) => error,
        };
        match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::WouldBlock => Ok(Accepted::None),
            _ if error.kind() == io::ErrorKind::Interrupted => Ok(Accepted::Lost),
            Some(libc::EMFILE | libc::ENFILE) if self.spare.is_some() => {
                self.spare = None;
                drop(self.socket.accept());
                self.spare = spare();
                Ok(Accepted::Lost)
            }
            // accept(2): errors of the new connection, "treat them like EAGAIN by retrying".
            Some(
                libc::ECONNABORTED
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::EPERM,
            ) => Ok(Accepted::Lost),
            _ => Err(error),
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

impl TcpStream {
    fn new(socket: Socket) -> io::Result<TcpStream> {
        socket.set_nonblocking(true)?;
        // Messages are written whole: waiting for more would only delay them.
        socket.set_tcp_nodelay(true)?;
        let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER).with_interval(KEEP_ALIVE_INTERVAL);
        socket.set_tcp_keepalive(&keep_alive.with_retries(KEEP_ALIVE_TRIES))?;
        Ok(TcpStream { socket })
    }

    /// Begins to connect from one of our addresses (a free port of it). The poller tells room to send when it is
    /// decided; then ask [`TcpStream::connected`].
    ///
    /// # Errors
    /// Those that the system knows at once.
    pub fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        let stream = TcpStream::new(socket)?;
        stream.socket.bind(&SocketAddr::new(from, 0).into())?;
        match stream.socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(stream),
        }
    }

    /// Whether a connection that was begun is open now.
    ///
    /// # Errors
    /// Why it is not.
    pub fn connected(&self) -> io::Result<()> {
        match self.socket.take_error()? {
            Some(error) => Err(error),
            None => self.socket.peer_addr().map(drop),
        }
    }

    /// Reads what came. `None` when nothing waits; zero when the other side has ended.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn read(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        would_block(|| (&self.socket).read(room))
    }

    /// Writes as much of the pieces as there is room for, in one system call. `None` when there is no room.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        would_block(|| self.socket.send_vectored_with_flags(pieces, libc::MSG_NOSIGNAL))
    }

    /// Ends the sending direction: the other side reads what was written, and then the end.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn finish(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Repeats an interrupted call; `None` when it would block.
fn would_block(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
