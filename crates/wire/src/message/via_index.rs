//! Where the parts of the topmost Via are: whoever handles a message asks for it several times, and it is read once.

use std::net::IpAddr;

use super::Span;
use crate::headers::{Params, Via};
use crate::net::Transport;
use crate::uri::Host;

/// The topmost Via of a message without its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaIndex {
    transport: Option<Transport>,
    /// The host, where it is an address.
    ip: Option<IpAddr>,
    /// The host, where it is a name.
    name: Span,
    port: Option<u16>,
    params: Span,
    sent_by: Span,
}

impl ViaIndex {
    /// Notes where the parts of `via` stand in `bytes`, out of which it was read.
    pub(super) fn of(bytes: &[u8], via: &Via<'_>) -> ViaIndex {
        let (ip, name) = match via.host {
            Host::Ip(ip) => (Some(ip), ""),
            Host::Name(name) => (None, name),
        };
        ViaIndex {
            transport: via.transport,
            ip,
            name: Span::in_bytes(bytes, name),
            port: via.port,
            params: Span::in_bytes(bytes, via.params.as_str()),
            sent_by: Span::in_bytes(bytes, via.sent_by),
        }
    }

    /// The Via, out of the same bytes.
    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> Option<Via<'a>> {
        let text = |span: Span| std::str::from_utf8(span.of(bytes)).ok();
        let host = match self.ip {
            Some(ip) => Host::Ip(ip),
            None => Host::Name(text(self.name)?),
        };
        Some(Via {
            transport: self.transport,
            host,
            port: self.port,
            params: Params::of_header(text(self.params)?),
            sent_by: text(self.sent_by)?,
        })
    }
}
