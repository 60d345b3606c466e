//! Socket addresses in the form of the system.
#![allow(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an address of any family.
pub(crate) fn empty() -> libc::sockaddr_storage {
    // SAFETY: sockaddr_storage is plain numbers, for which all bits zero is a value (family AF_UNSPEC).
    unsafe { std::mem::zeroed() }
}

/// Length of [`libc::sockaddr_storage`] in the type that calls want.
pub(crate) const STORAGE_LEN: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

/// Reads what the system wrote; `None` for another family than IPv4 and IPv6.
pub(crate) fn read(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is larger than sockaddr_in and aligned for it, and the family says that it
            // holds one.
            let address = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: sockaddr_storage is larger than sockaddr_in6 and aligned for it, and the family says that it
            // holds one.
            let address = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            // The flow label is left out: it may differ between packets of one flow.
            Some(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes an address and returns its length.
pub(crate) fn write(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: sockaddr_in is plain numbers, for which all bits zero is a value.
            let mut out: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            out.sin_family = libc::AF_INET as libc::sa_family_t;
            out.sin_port = address.port().to_be();
            out.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            // SAFETY: the storage is larger than sockaddr_in, aligned for it, and ours to write.
            unsafe { std::ptr::from_mut(storage).cast::<libc::sockaddr_in>().write(out) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: sockaddr_in6 is plain numbers, for which all bits zero is a value.
            let mut out: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            out.sin6_port = address.port().to_be();
            out.sin6_addr.s6_addr = address.ip().octets();
            out.sin6_scope_id = address.scope_id();
            // SAFETY: the storage is larger than sockaddr_in6, aligned for it, and ours to write.
            unsafe { std::ptr::from_mut(storage).cast::<libc::sockaddr_in6>().write(out) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["127.0.0.1:5060", "255.1.2.3:0", "[::1]:65535", "[2001:db8::17]:5061"] {
            let address: SocketAddr = text.parse().expect("an address");
            let mut storage = empty();
            let length = write(address, &mut storage);
            assert!(length < STORAGE_LEN);
            assert_eq!(read(&storage), Some(address));
        }
    }

    #[test]
    fn the_scope_of_a_link_local_address_stays() {
        let address = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().expect("an address"), 5060, 0, 3));
        let mut storage = empty();
        write(address, &mut storage);
        assert_eq!(read(&storage), Some(address));
    }

    #[test]
    fn an_unknown_family_is_no_address() {
        assert_eq!(read(&empty()), None);
    }
}
