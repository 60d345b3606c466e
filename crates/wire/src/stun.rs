//! The part of STUN that keeps flows alive (RFC 5626 §8, RFC 8489): a Binding request is answered with the address that
//! it came from, so that a phone sees that its flow, and the NAT's mapping for it, are still what they were.

use std::net::{IpAddr, SocketAddr};

/// Type, length, cookie and transaction of a message (RFC 8489 §5).
const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
/// Attributes below must be understood (RFC 8489 §14).
const OPTIONAL_FROM: u16 = 0x8000;

/// The answer to a Binding request from this address; `None` for what is none, and for one that asks for more than a
/// keep-alive does.
pub fn keep_alive_answer(request: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let (header, attributes) = request.split_first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE || length != attributes.len() {
        return None;
    }
    if !are_optional(attributes) {
        return None;
    }
    let ip: Vec<u8> = match source.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    // RFC 8489 §14.2: family, port and address, the latter two mixed with cookie and transaction.
    let value_length = u8::try_from(4 + ip.len()).ok()?;
    let mut answer = Vec::with_capacity(HEADER + 4 + usize::from(value_length));
    answer.extend(BINDING_SUCCESS);
    answer.extend([0, 4 + value_length]);
    answer.extend(&header[4..]);
    answer.extend(XOR_MAPPED_ADDRESS);
    answer.extend([0, value_length, 0, if ip.len() == 4 { 1 } else { 2 }]);
    let mask = &header[4..];
    answer.extend(source.port().to_be_bytes().iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    answer.extend(ip.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    Some(answer)
}

/// Whether all attributes are whole, and may be passed over by who does not know them.
fn are_optional(mut attributes: &[u8]) -> bool {
    while let Some(([a, b, c, d], rest)) = attributes.split_first_chunk::<4>() {
        let padded = usize::from(u16::from_be_bytes([*c, *d])).next_multiple_of(4);
        let Some(rest) = rest.get(padded..) else { return false };
        if u16::from_be_bytes([*a, *b]) < OPTIONAL_FROM {
            return false;
        }
        attributes = rest;
    }
    attributes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transaction of RFC 5769.
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, attributes.len() as u8];
        bytes.extend(MAGIC_COOKIE);
        bytes.extend(TRANSACTION);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn a_binding_request_is_told_where_it_came_from() {
        // RFC 5769 §2.2 and §2.3: the same addresses and transaction give these attributes.
        for (source, attribute) in [
            ("192.0.2.1:32853", &b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"[..]),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9",
            ),
        ] {
            let answer = keep_alive_answer(&request(&[]), source.parse().unwrap()).unwrap();
            assert_eq!(answer[..4], [1, 1, 0, attribute.len() as u8]);
            assert_eq!(answer[4..8], MAGIC_COOKIE);
            assert_eq!(answer[8..20], TRANSACTION);
            assert_eq!(&answer[20..], attribute);
        }
    }

    #[test]
    fn what_asks_for_more_or_is_no_request_is_not_answered() {
        let source = "192.0.2.1:1".parse().unwrap();
        let software = request(b"\x80\x22\x00\x03abc\x00");
        assert!(keep_alive_answer(&software, source).is_some(), "an optional attribute, with its padding");
        let mut others = vec![
            request(b"\x00\x06\x00\x04user"),
            request(b"\x80\x22\x00\x09abc\x00"),
            request(b"\x80\x22"),
            request(&[])[..19].to_vec(),
        ];
        for (at, byte) in [(0, 1), (1, 2), (3, 4), (4, 0x20)] {
            let mut changed = request(&[]);
            changed[at] = byte;
            others.push(changed);
        }
        for other in others {
            assert_eq!(keep_alive_answer(&other, source), None, "{other:?}");
        }
    }
}
