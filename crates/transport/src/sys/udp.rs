//! UDP sockets, each bound to one address of ours, that pass datagrams in batches.
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::address;

/// Datagrams that one system call passes at most.
pub const BATCH_MAX: usize = 32;

/// How a socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Whether several sockets of ours share the address, among which the system spreads the senders.
    pub reuse_port: bool,
    /// Bytes that may wait to be received. The system may give less (net.core.rmem_max).
    pub receive_bytes: usize,
    /// Bytes that may wait to be sent. The system may give less (net.core.wmem_max).
    pub send_bytes: usize,
}

/// A UDP socket with one known local address, never a wildcard, so that its datagrams leave from where they were
/// asked (RFC 3261 §18.2.2, RFC 3581 §4).
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
}

impl UdpSocket {
    /// Binds a socket that does not block and reports ICMP errors.
    ///
    /// # Errors
    /// Those of the system: the address is in use, is not ours, or there are too many open files. A wildcard address
    /// is refused with `InvalidInput`.
    pub fn bind(address: SocketAddr, options: UdpOptions) -> io::Result<UdpSocket> {
        if address.ip().is_unspecified() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.set_recv_buffer_size(options.receive_bytes)?;
        socket.set_send_buffer_size(options.send_bytes)?;
        report_errors(&socket, address.is_ipv6())?;
        socket.bind(&address.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok(UdpSocket { socket, local })
    }

    /// The address, with the real port.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Receives what waits, up to the room of `batch`, in one system call. Returns how many datagrams came; zero when
    /// none waits.
    ///
    /// # Errors
    /// Those of the system. Errors that ICMP reported for earlier datagrams are none: see
    /// [`UdpSocket::take_unreachable`].
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.received.clear();
        let mut names = [address::empty(); BATCH_MAX];
        let mut parts = batch
            .room
            .chunks_exact_mut(batch.size)
            .map(|room| libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() });
        let mut parts: [libc::iovec; BATCH_MAX] = std::array::from_fn(|_| {
            parts.next().unwrap_or(libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 })
        });
        let mut headers: [libc::mmsghdr; BATCH_MAX] =
            std::array::from_fn(|slot| header(&mut names[slot], address::STORAGE_LEN, &mut parts[slot]));
        let count = loop {
            // SAFETY: the first `slots` headers point to names and parts on this stack and to disjoint ranges of
            // `batch.room`, which is borrowed mutably and outlives the call.
            let count = unsafe {
                libc::recvmmsg(
                    self.socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    batch.slots as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if let Ok(count) = usize::try_from(count) {
                break count;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(0),
                io::ErrorKind::Interrupted => {}
                // The report of an earlier datagram: taken by this call, so that the next one goes on.
                _ if is_report(&error) => {}
                _ => return Err(error),
            }
        };
        for (header, name) in headers.iter().zip(&names).take(count) {
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let length = (header.msg_len as usize).min(batch.size);
            batch.received.push((address::read(name).filter(|_| !truncated), length));
        }
        Ok(count)
    }

    /// Sends all datagrams in their order, [`BATCH_MAX`] a system call. Those that the system does not take are given
    /// to `failed` with the reason and passed over.
    pub fn send<'a>(
        &self,
        datagrams: impl IntoIterator<Item = Outgoing<'a>>,
        mut failed: impl FnMut(SocketAddr, &io::Error),
    ) -> Sent {
        let mut sent = Sent::default();
        let mut datagrams = datagrams.into_iter();
        loop {
            let mut names = [address::empty(); BATCH_MAX];
            let mut to = [None; BATCH_MAX];
            let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH_MAX];
            let mut lengths = [0; BATCH_MAX];
            let mut count = 0;
            for datagram in datagrams.by_ref().take(BATCH_MAX) {
                lengths[count] = address::write(datagram.to, &mut names[count]);
                parts[count].iov_base = datagram.bytes.as_ptr().cast_mut().cast();
                parts[count].iov_len = datagram.bytes.len();
                to[count] = Some(datagram.to);
                count += 1;
            }
            if count == 0 {
                return sent;
            }
            let mut headers: [libc::mmsghdr; BATCH_MAX] =
                std::array::from_fn(|slot| header(&mut names[slot], lengths[slot], &mut parts[slot]));
            self.send_headers(&mut headers[..count], &mut sent, |slot, error| {
                if let Some(to) = to[slot] {
                    failed(to, error);
                }
            });
        }
    }

    /// Sends one datagram. For callers that have nothing to batch.
    ///
    /// # Errors
    /// Those of the system; reports of earlier datagrams are passed over.
    pub fn send_one(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let to = to.into();
        for _ in 0..BATCH_MAX {
            match self.socket.send_to_with_flags(bytes, &to, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted || is_report(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::ConnectionRefused))
    }

    fn send_headers(
        &self,
        headers: &mut [libc::mmsghdr],
        sent: &mut Sent,
        mut failed: impl FnMut(usize, &io::Error),
    ) {
        let mut next = 0;
        let mut reports = 0;
        while next < headers.len() {
            let rest = &mut headers[next..];
            sent.system_calls += 1;
            // SAFETY: the headers point to addresses and payloads that the caller has borrowed for this call; the
            // system only reads them.
            let count = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            if let Ok(count) = usize::try_from(count) {
                sent.datagrams += count;
                next += count;
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            // The report of an earlier datagram comes as the error of the next call, which sent nothing: once more.
            if is_report(&error) && reports < BATCH_MAX {
                reports += 1;
                continue;
            }
            failed(next, &error);
            sent.failed += 1;
            next += 1;
        }
    }

    pub(super) fn raw(&self) -> libc::c_int {
        self.socket.as_raw_fd()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One datagram to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub to: SocketAddr,
    /// Its payload.
    pub bytes: &'a [u8],
}

/// What became of what was to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that the system took.
    pub datagrams: usize,
    /// Datagrams that it did not take.
    pub failed: usize,
    /// System calls that it took.
    pub system_calls: usize,
}

/// Room for the datagrams of one system call. It is made once and used for all sockets of a thread.
#[derive(Debug)]
pub struct ReceiveBatch {
    room: Vec<u8>,
    size: usize,
    slots: usize,
    received: Vec<(Option<SocketAddr>, usize)>,
}

impl ReceiveBatch {
    /// Room for `slots` datagrams (at most [`BATCH_MAX`], at least one) of `size` bytes. Longer datagrams are passed
    /// over.
    pub fn new(slots: usize, size: usize) -> ReceiveBatch {
        let slots = slots.clamp(1, BATCH_MAX);
        let size = size.max(1);
        ReceiveBatch { room: vec![0; slots * size], size, slots, received: Vec::with_capacity(slots) }
    }

    /// How many datagrams fit.
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// One datagram of the last [`UdpSocket::receive`] with its sender, counted from 0; `None` for a truncated one.
    pub fn datagram(&self, slot: usize) -> Option<(SocketAddr, &[u8])> {
        let (from, length) = *self.received.get(slot)?;
        let start = slot * self.size;
        Some((from?, &self.room[start..start + length]))
    }

    /// The datagrams of the last [`UdpSocket::receive`] with their senders, without truncated ones.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let rooms = self.room.chunks_exact(self.size);
        self.received
            .iter()
            .zip(rooms)
            .filter_map(|((from, length), room)| Some(((*from)?, &room[..*length])))
    }
}

fn header(
    name: &mut libc::sockaddr_storage,
    name_len: libc::socklen_t,
    part: &mut libc::iovec,
) -> libc::mmsghdr {
    // SAFETY: mmsghdr is numbers and pointers, for which all bits zero is a value (no padding fields to name).
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
    header.msg_hdr.msg_namelen = name_len;
    header.msg_hdr.msg_iov = part;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// Whether the error is that of an earlier datagram, found out by ICMP.
fn is_report(error: &io::Error) -> bool {
    const REPORTS: [i32; 6] = [
        libc::ECONNREFUSED,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::EPROTO,
    ];
    error.raw_os_error().is_some_and(|code| REPORTS.contains(&code))
}

fn report_errors(socket: &Socket, ipv6: bool) -> io::Result<()> {
    let (level, name) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, whose address and size are given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[path = "udp_tests.rs"]
mod tests;
