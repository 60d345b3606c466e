//! A flow, written into the user part of a URI of ours so that whoever holds that URI can reach the other end of it,
//! and nobody can make up another (RFC 5626 §5.2): in the Path of a REGISTER and in our Record-Route towards the
//! phone. It takes no memory: the flow is the token.

use std::net::{IpAddr, SocketAddr};

use dialtone_wire::net::{ConnectionId, Flow, Transport};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smol_str::SmolStr;
use subtle::ConstantTimeEq as _;

use crate::settings::{Mode, Secret};

/// Bytes of the keyed hash that a token begins with.
const HASH: usize = 8;
/// Bytes of the longest token: hash, mode and transport, two IPv6 addresses with ports, a connection and its run.
const BYTES_MAX: usize = HASH + 2 + 2 * (1 + 16 + 2) + 1 + 14;

/// A connection that there never is: that of a token from before a restart.
const GONE: ConnectionId = ConnectionId { shard: 0, slot: u32::MAX, generation: u32::MAX };

const TRANSPORTS: [Transport; 6] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Sctp, Transport::Ws, Transport::Wss];
const MODES: [Mode; 3] = [Mode::Stateless, Mode::Transaction, Mode::Call];

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opens {
    /// Whatever comes by the Path of a registration: only its registrar is told.
    Path,
    /// The dialog that its Record-Route stands in.
    Dialog,
}

const USES: [Opens; 2] = [Opens::Path, Opens::Dialog];

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) flow: Flow,
    /// The mode in which requests to it are forwarded.
    pub(crate) mode: Mode,
    pub(crate) opens: Opens,
}

/// Makes and reads tokens with one key.
#[derive(Clone)]
pub(crate) struct FlowTokens {
    keyed: Hmac<Sha256>,
    /// Tells the connections of this run of the server from those of earlier ones, which had the same names.
    run: u32,
}

impl std::fmt::Debug for FlowTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlowTokens(..)")
    }
}

impl FlowTokens {
    /// `run` differs with each start of the server.
    pub(crate) fn new(secret: &Secret, run: u32) -> FlowTokens {
        let mut keyed = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
        keyed.update(b"flow\0");
        FlowTokens { keyed, run }
    }

    /// The token of a flow, of the mode in which requests to it are forwarded, and of what it opens.
    pub(crate) fn make(&self, flow: &Flow, mode: Mode, opens: Opens) -> SmolStr {
        let mut bytes = Vec::with_capacity(BYTES_MAX);
        bytes.extend([0; HASH]);
        bytes.push(place(&MODES, mode) | place(&USES, opens) << 4);
        bytes.push(place(&TRANSPORTS, flow.transport));
        push_address(&mut bytes, flow.local);
        push_address(&mut bytes, flow.remote);
        if let Some(connection) = flow.connection {
            bytes.extend(connection.shard.to_be_bytes());
            bytes.extend(connection.slot.to_be_bytes());
            bytes.extend(connection.generation.to_be_bytes());
            bytes.extend(self.run.to_be_bytes());
        }
        let hash = self.hash(&bytes[HASH..]);
        bytes[..HASH].copy_from_slice(&hash);
        hex(&bytes)
    }

    /// What a token that we made says; `None` of any other text.
    pub(crate) fn read(&self, token: &str) -> Option<Named> {
        let bytes = unhex(token)?;
        let (hash, rest) = bytes.split_first_chunk::<HASH>()?;
        if !bool::from(self.hash(rest).ct_eq(hash)) {
            return None;
        }
        let ([mode, transport], mut rest) = rest.split_first_chunk::<2>()?;
        let opens = *USES.get(usize::from(*mode >> 4))?;
        let mode = *MODES.get(usize::from(*mode & 15))?;
        let transport = *TRANSPORTS.get(usize::from(*transport))?;
        let (local, remote) = (take_address(&mut rest)?, take_address(&mut rest)?);
        let connection = match rest.split_first_chunk::<14>() {
            Some(([.., i, j, k, l], [])) if u32::from_be_bytes([*i, *j, *k, *l]) != self.run => Some(GONE),
            Some(([s0, s1, a, b, c, d, e, f, g, h, ..], [])) => Some(ConnectionId {
                shard: u16::from_be_bytes([*s0, *s1]),
                slot: u32::from_be_bytes([*a, *b, *c, *d]),
                generation: u32::from_be_bytes([*e, *f, *g, *h]),
            }),
            _ if rest.is_empty() => None,
            _ => return None,
        };
        Some(Named { flow: Flow { transport, local, remote, connection }, mode, opens })
    }

    fn hash(&self, bytes: &[u8]) -> [u8; HASH] {
        let mut mac = self.keyed.clone();
        mac.update(bytes);
        *mac.finalize().into_bytes().first_chunk().expect("SHA-256 gives 32 bytes")
    }
}

fn place<T: PartialEq>(all: &[T], one: T) -> u8 {
    all.iter().position(|other| *other == one).and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

fn push_address(bytes: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.push(4);
            bytes.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(6);
            bytes.extend(ip.octets());
        }
    }
    bytes.extend(address.port().to_be_bytes());
}

fn take_address(bytes: &mut &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first()?;
    let (ip, rest) = match family {
        4 => rest.split_first_chunk::<4>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        6 => rest.split_first_chunk::<16>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> SmolStr {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > BYTES_MAX {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_made_and_no_other_is() {
        let tokens = FlowTokens::new(&Secret([1; 32]), 7);
        let connection = Some(ConnectionId { shard: 3, slot: 70_000, generation: 9 });
        let tcp = |connection| Flow {
            transport: Transport::Tcp,
            local: "[2001:db8::1]:5060".parse().expect("an address"),
            remote: "[2001:db8::9]:40000".parse().expect("an address"),
            connection,
        };
        let udp = Flow::udp("10.0.0.1:5060".parse().expect("an address"), "10.0.0.9:7".parse().expect("one"));
        for (flow, mode) in
            [(udp, Mode::Stateless), (tcp(connection), Mode::Call), (tcp(None), Mode::Transaction)]
        {
            let opens = if mode == Mode::Call { Opens::Dialog } else { Opens::Path };
            let token = tokens.make(&flow, mode, opens);
            assert_eq!(tokens.read(&token), Some(Named { flow, mode, opens }), "{token}");
            // After a restart another peer may have the connection of that name.
            let later = FlowTokens::new(&Secret([1; 32]), 8).read(&token).expect("it is ours");
            assert_eq!(later.flow, Flow { connection: flow.connection.map(|_| GONE), ..flow });
            assert_eq!(FlowTokens::new(&Secret([2; 32]), 7).read(&token), None);
            for index in 0..token.len() {
                let mut forged = token.to_string();
                let other = if token.as_bytes()[index] == b'0' { "1" } else { "0" };
                forged.replace_range(index..=index, other);
                assert_eq!(tokens.read(&forged), None, "{forged}");
                assert_eq!(tokens.read(&token[..index]), None);
            }
        }
        for text in ["", "0", "alice", &"0".repeat(4_000), "é0"] {
            assert_eq!(tokens.read(text), None, "{text}");
        }
    }
}
