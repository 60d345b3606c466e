//! Text that each message needs, written without the cost of formatting.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// Appends an address and its port as `Display` has them.
pub(crate) fn push_address(text: &mut String, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => {
            for (index, octet) in address.ip().octets().into_iter().enumerate() {
                if index > 0 {
                    text.push('.');
                }
                push_number(text, octet.into());
            }
            text.push(':');
            push_number(text, address.port().into());
        }
        SocketAddr::V6(address) => {
            let _ = write!(text, "{address}");
        }
    }
}

/// Appends a number in decimal digits.
pub(crate) fn push_number(text: &mut String, number: u64) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_if_formatted() {
        for address in ["0.0.0.0:0", "192.0.2.10:5060", "255.255.255.255:65535", "[2001:db8::9]:5061"] {
            let mut text = String::new();
            push_address(&mut text, address.parse().expect("an address"));
            assert_eq!(text, address);
        }
    }
}
