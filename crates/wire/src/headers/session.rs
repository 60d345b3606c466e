//! What keeps a session: reliable provisional responses (RFC 3262) and session timers (RFC 4028).

use super::{Params, TypedHeader, split_params, utf8};
use crate::error::Fault;
use crate::header_name::HeaderName;
use crate::method::Method;
use crate::scan::{self, trim};

/// RSeq (RFC 3262 §7.1): the place of a reliable provisional response among those of its INVITE. From 1 to 2^32 - 1;
/// the first one is below 2^31 (§3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RSeq(pub u32);

impl TypedHeader<'_> for RSeq {
    const NAME: HeaderName = HeaderName::RSeq;

    fn parse(value: &[u8]) -> Result<RSeq, Fault> {
        let number = scan::decimal(trim(value)).filter(|number| *number > 0);
        number.map(RSeq).ok_or(Fault::Expected("a number from 1 to 2^32 - 1"))
    }
}

/// RAck (RFC 3262 §7.2): which reliable provisional response a PRACK is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RAck {
    /// The RSeq of the response.
    pub rseq: u32,
    /// The CSeq number of the response.
    pub cseq: u32,
    /// The method of the response's CSeq.
    pub method: Method,
}

impl TypedHeader<'_> for RAck {
    const NAME: HeaderName = HeaderName::RAck;

    fn parse(value: &[u8]) -> Result<RAck, Fault> {
        const EXPECTED: Fault = Fault::Expected("two numbers and a method");
        let mut words = utf8(value)?.split_ascii_whitespace();
        let mut word = || words.next().ok_or(EXPECTED);
        let rseq = scan::decimal(word()?.as_bytes()).filter(|number| *number > 0).ok_or(EXPECTED)?;
        let cseq = scan::decimal(word()?.as_bytes()).filter(|number| *number < 1 << 31).ok_or(EXPECTED)?;
        let method = Method::parse(word()?.as_bytes()).ok_or(EXPECTED)?;
        if words.next().is_some() {
            return Err(EXPECTED);
        }
        Ok(RAck { rseq, cseq, method })
    }
}

/// Who sends the refreshes of a session, seen from the transaction that says so (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The client of the transaction.
    Uac,
    /// Its server.
    Uas,
}

impl Refresher {
    /// As it stands in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        }
    }
}

/// Session-Expires (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// Seconds until the session is over unless it is refreshed.
    pub seconds: u32,
    /// Who refreshes; `None` when it is left open. A value that is not known counts as left open.
    pub refresher: Option<Refresher>,
}

impl TypedHeader<'_> for SessionExpires {
    const NAME: HeaderName = HeaderName::SessionExpires;

    fn parse(value: &[u8]) -> Result<SessionExpires, Fault> {
        let (seconds, params) = seconds_and_params(value)?;
        let refresher = match params.value("refresher") {
            Some(text) if text.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(text) if text.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        };
        Ok(SessionExpires { seconds, refresher })
    }
}

/// Min-SE (RFC 4028 §5), in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinSe(pub u32);

impl TypedHeader<'_> for MinSe {
    const NAME: HeaderName = HeaderName::MinSe;

    fn parse(value: &[u8]) -> Result<MinSe, Fault> {
        seconds_and_params(value).map(|(seconds, _)| MinSe(seconds))
    }
}

fn seconds_and_params(value: &[u8]) -> Result<(u32, Params<'_>), Fault> {
    let (number, params) = split_params(utf8(value)?)?;
    let seconds = scan::decimal(number.as_bytes()).ok_or(Fault::Expected("a number of seconds"))?;
    Ok((seconds, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rseq_and_rack() {
        assert_eq!(RSeq::parse(b" 988789 "), Ok(RSeq(988_789)));
        assert_eq!(RSeq::parse(b"4294967295"), Ok(RSeq(u32::MAX)));
        for bad in [&b"0"[..], b"4294967296", b"-1", b"1 2", b""] {
            assert!(RSeq::parse(bad).is_err(), "{bad:?}");
        }
        let rack = RAck { rseq: 776_656, cseq: 1, method: Method::Invite };
        assert_eq!(RAck::parse(b"776656 \t1   INVITE"), Ok(rack));
        for bad in [&b"1 1"[..], b"0 1 INVITE", b"1 2147483648 INVITE", b"1 1 INVITE x", b"1 1 @", b"a b c"] {
            assert!(RAck::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_session_timers() {
        let read = SessionExpires::parse(b"4000;refresher=UAC ; x=y");
        assert_eq!(read, Ok(SessionExpires { seconds: 4000, refresher: Some(Refresher::Uac) }));
        let open = SessionExpires { seconds: 90, refresher: None };
        assert_eq!(SessionExpires::parse(b"90"), Ok(open));
        assert_eq!(SessionExpires::parse(b"90;refresher=me"), Ok(open));
        assert_eq!(MinSe::parse(b"3600;lr"), Ok(MinSe(3600)));
        for bad in [&b""[..], b"x", b"-90", b"90 s", b"99999999999"] {
            assert!(SessionExpires::parse(bad).is_err() && MinSe::parse(bad).is_err(), "{bad:?}");
        }
    }
}
