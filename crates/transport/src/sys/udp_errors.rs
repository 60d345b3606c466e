//! What ICMP says of datagrams that were sent (RFC 3261 §18.4).
#![allow(unsafe_code)]

use std::net::SocketAddr;

use super::address;
use super::udp::UdpSocket;

/// Reports that one call takes at most.
const REPORTS_MAX: usize = 64;
/// The start of a datagram that a report quotes, of which nothing is used.
const QUOTE_LEN: usize = 64;
/// Room for one control message with the report and the address of its sender.
const CONTROL_LEN: usize = 256;

/// A destination that a datagram of ours did not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Where the datagram was to go.
    pub to: SocketAddr,
    /// The error number of the system: ECONNREFUSED, EHOSTUNREACH …
    pub code: i32,
}

impl UdpSocket {
    /// Takes the waiting reports of ICMP, at most 64 a call. "Host, network, port or protocol unreachable errors, or
    /// parameter problem errors" count (RFC 3261 §18.4); all others, such as "time exceeded", are passed over. Call it
    /// when the poller reports an error.
    pub fn take_unreachable(&self, mut each: impl FnMut(Unreachable)) {
        for _ in 0..REPORTS_MAX {
            match self.take_report() {
                Some(Some(report)) => each(report),
                Some(None) => {}
                None => return,
            }
        }
    }

    /// `None` when no report waits, `Some(None)` for one that does not count.
    fn take_report(&self) -> Option<Option<Unreachable>> {
        let mut name = address::empty();
        let mut quote = [0_u8; QUOTE_LEN];
        // Of u64, for the alignment of cmsghdr.
        let mut control = [0_u64; CONTROL_LEN / 8];
        let mut part = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: quote.len() };
        // SAFETY: msghdr is numbers and pointers, for which all bits zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = std::ptr::from_mut(&mut name).cast();
        header.msg_namelen = address::STORAGE_LEN;
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: all parts of the header point to this stack and have the lengths given.
        let length =
            unsafe { libc::recvmsg(self.raw(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        if length < 0 {
            return None;
        }
        let to = address::read(&name);
        Some(
            extended_error(&header)
                .and_then(|error| counts(&error).then_some((to?, error)))
                .map(|(to, error)| Unreachable { to, code: error.ee_errno as i32 }),
        )
    }
}

/// The report among the control messages.
fn extended_error(header: &libc::msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: the header was filled by recvmsg, and its control buffer is alive and aligned.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole control message within the buffer.
        let message = unsafe { &*control };
        let is_report = matches!(
            (message.cmsg_level, message.cmsg_type),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        // SAFETY: CMSG_LEN only computes with its argument.
        let needed = unsafe { libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) } as usize;
        if is_report && message.cmsg_len >= needed {
            // SAFETY: the data of this message is a sock_extended_err by its type, and is long enough.
            return Some(unsafe {
                libc::CMSG_DATA(control).cast::<libc::sock_extended_err>().read_unaligned()
            });
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    None
}

fn counts(error: &libc::sock_extended_err) -> bool {
    const DESTINATION_UNREACHABLE: u8 = 3;
    const PARAMETER_PROBLEM: u8 = 12;
    const DESTINATION_UNREACHABLE_V6: u8 = 1;
    const PARAMETER_PROBLEM_V6: u8 = 4;
    // "Fragmentation needed" has the same type; the system has learnt from it, and the retransmission is fragmented.
    if error.ee_errno as i32 == libc::EMSGSIZE {
        return false;
    }
    match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => matches!(error.ee_type, DESTINATION_UNREACHABLE | PARAMETER_PROBLEM),
        libc::SO_EE_ORIGIN_ICMP6 => {
            matches!(error.ee_type, DESTINATION_UNREACHABLE_V6 | PARAMETER_PROBLEM_V6)
        }
        _ => false,
    }
}
