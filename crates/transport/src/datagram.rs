//! What a datagram on a SIP port is, told by its first bytes.

/// The kind of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Datagram {
    /// Perhaps SIP: for the parser.
    Sip,
    /// Nothing but line ends or zero bytes: it keeps a NAT's mapping open and is not answered over UDP (the pong of
    /// RFC 5626 §3.5.1 is for connections).
    KeepAlive,
    /// STUN, by the range of its first byte (RFC 7983 §7).
    Stun,
}

/// The first byte of STUN is at most this (RFC 7983 §7).
const STUN_FIRST_MAX: u8 = 3;
/// Type, length, cookie and transaction of a STUN message (RFC 8489 §5).
const STUN_HEADER_LEN: usize = 20;

/// Tells what a datagram is.
pub fn classify(bytes: &[u8]) -> Datagram {
    // RFC 5626 §3.5.1 pings with CR LF CR LF; phones also send one CR LF, one line feed, or zero bytes.
    if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Datagram::KeepAlive;
    }
    match bytes.first() {
        Some(first) if *first <= STUN_FIRST_MAX && bytes.len() >= STUN_HEADER_LEN => Datagram::Stun,
        _ => Datagram::Sip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_zeros_keep_a_mapping_open() {
        for bytes in [&b""[..], b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"\0\0\0\0"] {
            assert_eq!(classify(bytes), Datagram::KeepAlive, "{bytes:?}");
        }
    }

    #[test]
    fn a_low_first_byte_and_a_whole_header_are_stun() {
        let mut binding = [0_u8; 20];
        binding[1] = 1;
        assert_eq!(classify(&binding), Datagram::Stun);
        assert_eq!(classify(&binding[..19]), Datagram::Sip, "too short for STUN: the parser refuses it");
        binding[0] = 4;
        assert_eq!(classify(&binding), Datagram::Sip);
    }

    #[test]
    fn all_else_is_for_the_parser() {
        for bytes in [&b"OPTIONS sip:a SIP/2.0\r\n"[..], b"\r\nSIP/2.0 200 OK\r\n", b"x", b"\x80\x00"] {
            assert_eq!(classify(bytes), Datagram::Sip, "{bytes:?}");
        }
    }
}
