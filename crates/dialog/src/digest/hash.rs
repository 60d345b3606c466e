//! The arithmetic of RFC 7616 §3.4.

use dialtone_wire::auth::{Algorithm, Qop};
use smallvec::SmallVec;

use super::credential::{Ha1, HashFunction};

/// A digest in binary: 16 or 32 bytes.
pub(super) type Binary = SmallVec<[u8; 32]>;

/// H of the parts, one after the other (RFC 7616 §3.3).
pub(super) fn hash(function: HashFunction, parts: &[&[u8]]) -> Binary {
    fn run<D: sha2::Digest>(parts: &[&[u8]]) -> Binary {
        let mut state = D::new();
        parts.iter().for_each(|part| state.update(part));
        SmallVec::from_slice(&state.finalize())
    }
    match function {
        HashFunction::Md5 => run::<md5::Md5>(parts),
        HashFunction::Sha256 => run::<sha2::Sha256>(parts),
        // RFC 8760 §2.2: SHA-512/256 of FIPS 180-4, not SHA-512 cut short (erratum 4897 of RFC 7616).
        HashFunction::Sha512_256 => run::<sha2::Sha512_256>(parts),
    }
}

/// Lower-case hexadecimal digits (RFC 8760 §2.2).
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Binary of hexadecimal digits in any case; `None` when a character is none or the number of digits is odd.
pub(super) fn unhex(text: &str) -> Option<Binary> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// What a response is computed from, besides HA1.
#[derive(Clone, Copy, Debug)]
pub struct ResponseInput<'a> {
    /// The algorithm, which also says whether HA1 is bound to the session.
    pub algorithm: Algorithm,
    /// Method of the request.
    pub method: &'a str,
    /// Value of the `uri` parameter.
    pub uri: &'a str,
    /// The server's nonce.
    pub nonce: &'a str,
    /// The client's nonce; empty without `qop`.
    pub cnonce: &'a str,
    /// The quality of protection: its kind, its token as written, and the `nc` digits as written.
    pub qop: Option<(Qop, &'a str, &'a str)>,
    /// Body of the request, for `auth-int`.
    pub body: &'a [u8],
}

/// The `response` parameter in binary (RFC 7616 §3.4.1–3.4.3; without qop RFC 2617 §3.2.2.1). `ha1` must be of the
/// algorithm's hash function.
pub fn response(ha1: &Ha1, input: &ResponseInput<'_>) -> SmallVec<[u8; 32]> {
    let function = HashFunction::of(input.algorithm);
    let (nonce, cnonce) = (input.nonce.as_bytes(), input.cnonce.as_bytes());
    let mut ha1 = hex(ha1.as_bytes());
    if is_session(input.algorithm) {
        ha1 = hex(&hash(function, &[ha1.as_bytes(), b":", nonce, b":", cnonce]));
    }
    let (method, uri) = (input.method.as_bytes(), input.uri.as_bytes());
    let ha2 = hex(&match input.qop {
        Some((Qop::AuthInt, ..)) => {
            let body = hex(&hash(function, &[input.body]));
            hash(function, &[method, b":", uri, b":", body.as_bytes()])
        }
        Some((Qop::Auth, ..)) | None => hash(function, &[method, b":", uri]),
    });
    let (ha1, ha2) = (ha1.as_bytes(), ha2.as_bytes());
    match input.qop {
        Some((_, qop, nc)) => {
            let (qop, nc) = (qop.as_bytes(), nc.as_bytes());
            hash(function, &[ha1, b":", nonce, b":", nc, b":", cnonce, b":", qop, b":", ha2])
        }
        None => hash(function, &[ha1, b":", nonce, b":", ha2]),
    }
}

/// Whether this is one of the `-sess` algorithms.
pub(super) fn is_session(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Md5Sess | Algorithm::Sha256Sess | Algorithm::Sha512_256Sess => true,
        Algorithm::Md5 | Algorithm::Sha256 | Algorithm::Sha512_256 => false,
    }
}
