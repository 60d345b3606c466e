//! What identifies a transaction (RFC 3261 §17.1.3 and §17.2.3), as bytes to be hashed and compared.
//!
//! Tokens are compared without regard to case (RFC 3261 §7.3.1), so a key has them in lower case. Its parts are
//! separated by a byte that none of them can have.

use std::net::IpAddr;

use dialtone_wire::uri::Host;
use dialtone_wire::{HeaderError, HeaderName, Message, Method};

const END: u8 = 0;

/// Writes the key of a client transaction: branch and method.
pub(crate) fn client(key: &mut Vec<u8>, branch: &str, method: &str) {
    key.clear();
    text(key, method);
    lower(key, branch);
}

/// Writes the key of the server transaction that a request belongs to or would create, as if its method were
/// `method`: an ACK and a CANCEL look for an INVITE.
pub(crate) fn server(key: &mut Vec<u8>, request: &Message, method: &Method) -> Result<Matching, HeaderError> {
    let via = request.via()?;
    key.clear();
    text(key, method.as_str());
    if let Some(branch) = via.rfc3261_branch() {
        lower(key, branch);
        host(key, &via.host);
        key.extend_from_slice(&via.port_or_default().to_be_bytes());
        return Ok(Matching::ByBranch);
    }
    old(key, request, method, request.to_tag()?.unwrap_or(""))?;
    Ok(Matching::ByHeaders)
}

/// Writes the key by RFC 2543 for a request without the magic cookie, with `to_tag` in place of its own To tag.
pub(crate) fn server_by_headers(
    key: &mut Vec<u8>,
    request: &Message,
    method: &Method,
    to_tag: &str,
) -> Result<(), HeaderError> {
    key.clear();
    text(key, method.as_str());
    old(key, request, method, to_tag)
}

/// How the key was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    /// By branch, sent-by and method.
    ByBranch,
    /// By the headers that RFC 2543 had: the branch has no magic cookie.
    ByHeaders,
}

/// Request-URI, To tag, From tag, Call-ID, CSeq and topmost Via; compared as text, since a retransmission is the
/// same bytes.
fn old(key: &mut Vec<u8>, request: &Message, method: &Method, to_tag: &str) -> Result<(), HeaderError> {
    text(key, request.uri_text());
    text(key, to_tag);
    text(key, request.from_tag()?.unwrap_or(""));
    text(key, request.call_id()?);
    key.extend_from_slice(&request.cseq()?.number.to_be_bytes());
    text(key, method.as_str());
    key.extend_from_slice(request.value(HeaderName::Via).unwrap_or_default());
    Ok(())
}

/// Writes what a merged request has in common with the one that came first (RFC 3261 §8.2.2.2).
pub(crate) fn merged(key: &mut Vec<u8>, request: &Message) -> Result<(), HeaderError> {
    let cseq = request.cseq()?;
    key.clear();
    text(key, request.from_tag()?.unwrap_or(""));
    text(key, request.call_id()?);
    key.extend_from_slice(&cseq.number.to_be_bytes());
    text(key, cseq.method.as_str());
    Ok(())
}

fn text(key: &mut Vec<u8>, part: &str) {
    key.extend_from_slice(part.as_bytes());
    key.push(END);
}

fn lower(key: &mut Vec<u8>, part: &str) {
    let start = key.len();
    key.extend_from_slice(part.as_bytes());
    key[start..].make_ascii_lowercase();
    key.push(END);
}

fn host(key: &mut Vec<u8>, host: &Host<'_>) {
    match host {
        Host::Name(name) => lower(key, name),
        Host::Ip(IpAddr::V4(address)) => key.extend_from_slice(&address.octets()),
        Host::Ip(IpAddr::V6(address)) => key.extend_from_slice(&address.octets()),
    }
}
