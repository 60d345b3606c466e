//! What every server looks at before any role does (RFC 3261 §8.2 and §16.3 step 1: "reasonable syntax").

use std::net::IpAddr;

use thiserror::Error;

use crate::error::{Fault, HeaderError, UriError};
use crate::header_name::HeaderName;
use crate::headers::{TypedHeader, Via};
use crate::message::Message;
use crate::method::{Method, Status};
use crate::uri::Uri;

/// Why a message goes no further. A request is answered with `status` (see
/// [`refuse_screened`](crate::refusal::refuse_screened)), an ACK and a response are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{status}: {fault}")]
pub struct Screened {
    /// 400, 416 or 501.
    pub status: Status,
    /// What is wrong.
    pub fault: ScreenFault,
}

/// What is wrong with a message that parses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScreenFault {
    /// A header is missing, repeated or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The Request-URI is malformed.
    #[error("Request-URI: {0}")]
    RequestUri(UriError),
    /// The Request-URI has a part behind `?` (RFC 3261 §19.1.1, table: not allowed there).
    #[error("Request-URI: it has headers")]
    UriHeaders,
    /// The scheme of the Request-URI is not `sip`, `sips` or `tel`.
    #[error("Request-URI: unknown scheme")]
    Scheme,
    /// CSeq names another method than the request line, which names one that we do not know.
    #[error("unknown method, and CSeq names another")]
    UnknownMethod,
    /// A response would be sent on to a broadcast, multicast or unspecified address.
    #[error("Via: the next hop is no host")]
    Broadcast,
}

impl From<ScreenFault> for Screened {
    fn from(fault: ScreenFault) -> Screened {
        let status = match fault {
            ScreenFault::Header(_)
            | ScreenFault::RequestUri(_)
            | ScreenFault::UriHeaders
            | ScreenFault::Broadcast => Status::of(400),
            ScreenFault::Scheme => Status::of(416),
            ScreenFault::UnknownMethod => Status::of(501),
        };
        Screened { status, fault }
    }
}

impl Message {
    /// Checks what every element checks before it decides anything: [`Message::check`], the Request-URI and its
    /// scheme, and that the addresses by which dialogs and proxies route (Contact, Route, Record-Route) can be
    /// read. What only one role needs (Require, Max-Forwards of 0, the type of a body, expiry times) is left to
    /// that role.
    ///
    /// # Errors
    /// [`Screened`] with the first fault and the status for it.
    pub fn screen(&self) -> Result<(), Screened> {
        self.screen_syntax().map_err(Screened::from)
    }

    fn screen_syntax(&self) -> Result<(), ScreenFault> {
        if let Some(method @ Method::Other(_)) = self.method()
            && let Ok(cseq) = self.cseq()
            && *method != cseq.method
        {
            // RFC 4475 §3.1.2.18: 400 would do, but 501 serves methods to come.
            return Err(ScreenFault::UnknownMethod);
        }
        self.check()?;
        if self.is_request() {
            self.screen_uri()?;
        } else {
            self.screen_next_via()?;
        }
        for contact in self.contacts() {
            contact?;
        }
        for name in [HeaderName::Route, HeaderName::RecordRoute] {
            for address in self.addresses(name) {
                address?;
            }
        }
        Ok(())
    }

    fn screen_uri(&self) -> Result<(), ScreenFault> {
        match self.uri().map_err(ScreenFault::RequestUri)? {
            Uri::Sip(sip) if !sip.headers.is_empty() => Err(ScreenFault::UriHeaders),
            Uri::Sip(_) | Uri::Tel(_) => Ok(()),
            Uri::Other { .. } => Err(ScreenFault::Scheme),
        }
    }

    /// RFC 4475 §3.3.10: a proxy sends a response on to the second Via, which may aim at everybody.
    fn screen_next_via(&self) -> Result<(), ScreenFault> {
        let Some(value) = self.values(HeaderName::Via).nth(1) else {
            return Ok(());
        };
        let via = Via::parse(value).map_err(|fault: Fault| HeaderName::Via.fault(fault))?;
        match via.received().or(via.host.ip()) {
            Some(ip) if !is_host(ip) => Err(ScreenFault::Broadcast),
            _ => Ok(()),
        }
    }
}

/// Whether the address can be that of one host.
fn is_host(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_broadcast() || ip.is_multicast() || ip.is_unspecified()),
        IpAddr::V6(ip) => !(ip.is_multicast() || ip.is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Limits;

    const HEADERS: &str = "Via: SIP/2.0/UDP a.b:5070;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
        To: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n";

    /// Screens a message of the start line, the headers above and `more`; 0 stands for no fault.
    fn check(start: &str, more: &str, expected: u16) {
        let text = format!("{start}\r\n{HEADERS}{more}\r\n");
        let message = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        let status = message.screen().err().map_or(0, |screened| screened.status.code());
        assert_eq!(status, expected, "{start} {more}");
    }

    #[test]
    fn screens_the_request_uri() {
        check("INVITE sip:a@b SIP/2.0", "", 0);
        check("INVITE tel:+1 SIP/2.0", "", 0);
        check("INVITE <sip:a@b> SIP/2.0", "", 400);
        check("INVITE sip:a@b?Route=x SIP/2.0", "", 400);
        check("INVITE mailto:a@b SIP/2.0", "", 416);
    }

    #[test]
    fn screens_methods_and_mandatory_headers() {
        check("OPTIONS sip:a@b SIP/2.0", "", 400);
        check("INFINITE sip:a@b SIP/2.0", "", 501);
        check("INVITE sip:a@b SIP/2.0", "CSeq: 2 INVITE\r\n", 400);
        check("INVITE sip:a@b SIP/2.0", "Max-Forwards: x\r\n", 400);
    }

    #[test]
    fn screens_the_addresses_that_route() {
        for name in ["Contact", "Route", "Record-Route", "m"] {
            check("INVITE sip:a@b SIP/2.0", &format!("{name}: <sip:a@b>, \"x\" <sip:c>\r\n"), 0);
            check("INVITE sip:a@b SIP/2.0", &format!("{name}: <sip:a@b>, sip:c?d=e\r\n"), 400);
        }
    }

    #[test]
    fn screens_where_a_response_would_go() {
        check("SIP/2.0 200 OK", "Via: SIP/2.0/UDP 192.0.2.1\r\n", 0);
        check("SIP/2.0 200 OK", "Via: SIP/2.0/UDP 255.255.255.255;received=192.0.2.1\r\n", 0);
        for address in ["255.255.255.255", "224.0.0.1", "0.0.0.0", "[ff02::1]", "[::]", "[::ffff:224.0.0.1]"]
        {
            check("SIP/2.0 200 OK", &format!("Via: SIP/2.0/UDP {address}\r\n"), 400);
        }
    }
}
