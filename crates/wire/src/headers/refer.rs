//! Transfer: Refer-To (RFC 3515), Referred-By (RFC 3892), Replaces (RFC 3891), Refer-Sub (RFC 4488),
//! Target-Dialog (RFC 4538).

use std::borrow::Cow;

use super::{NameAddr, Params, TypedHeader, split_params, utf8};
use crate::error::Fault;
use crate::header_name::HeaderName;
use crate::scan::trim;
use crate::uri::unescape;

/// Refer-To (RFC 3515 §2.1): whom to call. There is one of it.
#[derive(Clone, Copy, Debug)]
pub struct ReferTo<'a>(pub NameAddr<'a>);

impl<'a> TypedHeader<'a> for ReferTo<'a> {
    const NAME: HeaderName = HeaderName::ReferTo;

    fn parse(value: &'a [u8]) -> Result<ReferTo<'a>, Fault> {
        NameAddr::parse(value).map(ReferTo)
    }
}

/// Referred-By (RFC 3892 §2): who asked for the call.
#[derive(Clone, Copy, Debug)]
pub struct ReferredBy<'a>(pub NameAddr<'a>);

impl<'a> TypedHeader<'a> for ReferredBy<'a> {
    const NAME: HeaderName = HeaderName::ReferredBy;

    fn parse(value: &'a [u8]) -> Result<ReferredBy<'a>, Fault> {
        NameAddr::parse(value).map(ReferredBy)
    }
}

/// Replaces (RFC 3891 §6.1): the dialog whose place a call takes, named as its other end sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    /// Its Call-ID.
    pub call_id: Cow<'a, str>,
    /// The tag of the end that gets this request.
    pub to_tag: Cow<'a, str>,
    /// The tag of the other end; "0" also stands for none (RFC 2543 peers).
    pub from_tag: Cow<'a, str>,
    /// Only while that dialog is not confirmed.
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    /// Reads the value as it stands in a URI (RFC 3261 §19.1.1 `headers`): with escapes.
    ///
    /// # Errors
    /// [`Fault`] says what was expected.
    pub fn from_uri_header(escaped: &str) -> Result<Replaces<'static>, Fault> {
        let text = unescape(escaped);
        let read = Replaces::parse(text.as_bytes())?;
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Ok(Replaces {
            call_id: own(read.call_id),
            to_tag: own(read.to_tag),
            from_tag: own(read.from_tag),
            early_only: read.early_only,
        })
    }
}

impl<'a> TypedHeader<'a> for Replaces<'a> {
    const NAME: HeaderName = HeaderName::Replaces;

    fn parse(value: &'a [u8]) -> Result<Replaces<'a>, Fault> {
        let (call_id, params) = split_params(utf8(value)?)?;
        if call_id.is_empty() || call_id.contains(|byte: char| byte.is_ascii_whitespace()) {
            return Err(Fault::Expected("a Call-ID"));
        }
        let tag = |name| {
            // RFC 3891 §6.1: exactly one of each.
            let mut found = params.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            match (found.next(), found.next()) {
                (Some((_, Some(value))), None) => Ok(Cow::Borrowed(value)),
                _ => Err(Fault::Expected("one to-tag and one from-tag")),
            }
        };
        Ok(Replaces {
            call_id: Cow::Borrowed(call_id),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

/// Refer-Sub (RFC 4488 §4): whether a REFER begins a subscription. Absent means that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferSub(pub bool);

impl ReferSub {
    /// The name of the header.
    pub const NAME: &'static str = "Refer-Sub";

    /// Reads the value.
    ///
    /// # Errors
    /// When it is neither `true` nor `false`.
    pub fn parse(value: &[u8]) -> Result<ReferSub, Fault> {
        let (text, _): (&str, Params<'_>) = split_params(utf8(trim(value))?)?;
        match text {
            text if text.eq_ignore_ascii_case("true") => Ok(ReferSub(true)),
            text if text.eq_ignore_ascii_case("false") => Ok(ReferSub(false)),
            _ => Err(Fault::Expected("true or false")),
        }
    }
}

/// Target-Dialog (RFC 4538 §7): a dialog of the one who gets the request, named as he sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetDialog<'a> {
    /// Its Call-ID.
    pub call_id: &'a str,
    /// The tag of the one who gets the request.
    pub local_tag: &'a str,
    /// The tag of the other end.
    pub remote_tag: &'a str,
}

impl<'a> TargetDialog<'a> {
    /// The name of the header.
    pub const NAME: &'static str = "Target-Dialog";

    /// Reads the value.
    ///
    /// # Errors
    /// When the Call-ID or one of the tags is missing.
    pub fn parse(value: &'a [u8]) -> Result<TargetDialog<'a>, Fault> {
        let (call_id, params) = split_params(utf8(trim(value))?)?;
        match (params.value("local-tag"), params.value("remote-tag")) {
            (Some(local_tag), Some(remote_tag)) if !call_id.is_empty() => {
                Ok(TargetDialog { call_id, local_tag, remote_tag })
            }
            _ => Err(Fault::Expected("a Call-ID, local-tag and remote-tag")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_replaces_in_a_header_and_in_a_uri() {
        let read = Replaces::parse(b"98732@sip.example.com ;from-tag=r33th4x0r;to-tag=ff87ff;early-only");
        let read = read.expect("a right value");
        assert_eq!(
            (&*read.call_id, &*read.to_tag, &*read.from_tag),
            ("98732@sip.example.com", "ff87ff", "r33th4x0r")
        );
        assert!(read.early_only);
        // RFC 5589 §7.2: as in a Refer-To.
        let read = Replaces::from_uri_header("090459243588173445%3Bto-tag%3D7553452%3Bfrom-tag%3D31431");
        assert_eq!(read.map(|read| (read.to_tag, read.early_only)), Ok(("7553452".into(), false)));
        for bad in [
            "",
            "a b;to-tag=1;from-tag=2",
            "a;to-tag=1",
            "a;from-tag=1",
            "a;to-tag;from-tag=2",
            "a;to-tag=1;to-tag=2;from-tag=3",
            ";to-tag=1;from-tag=2",
        ] {
            assert!(Replaces::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_target_dialog() {
        // RFC 5589 §6.1, F3.
        let read = TargetDialog::parse(b"090459243588173445;local-tag=7553452 ;remote-tag=31kdl4i3k");
        let expected =
            TargetDialog { call_id: "090459243588173445", local_tag: "7553452", remote_tag: "31kdl4i3k" };
        assert_eq!(read, Ok(expected));
        for bad in
            ["", ";local-tag=1;remote-tag=2", "a;local-tag=1", "a;remote-tag=1", "a;local-tag;remote-tag=1"]
        {
            assert!(TargetDialog::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_refer_sub_and_refer_to() {
        assert_eq!(ReferSub::parse(b" FALSE ;x=1"), Ok(ReferSub(false)));
        assert_eq!(ReferSub::parse(b"true"), Ok(ReferSub(true)));
        assert!(ReferSub::parse(b"maybe").is_err());
        let value = b"<sip:dave@denver.example.org?Replaces=12345%40192.168.118.3%3Bto-tag%3D1>";
        assert!(ReferTo::parse(value).is_ok());
        assert!(ReferTo::parse(b"<sip:a@b").is_err());
    }
}
