//! Session timers as a proxy sees them (RFC 4028 §8): it reads what the two sides agree on, may ask for an interval, and
//! knows by it that a call is over whose sides have died.

use dialtone_wire::headers::{MinSe, SessionExpires};
use dialtone_wire::{Edits, HeaderName, Message, Method};
use smol_str::{SmolStr, format_smolstr};

use crate::settings::CallSettings;

/// Min-SE of a request that has none (RFC 4028 §5).
const MIN_SE_S: u32 = 90;

/// What is remembered of a session refresh request until its response (RFC 4028 §8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Session-Expires as it was forwarded.
    seconds: u32,
    /// The client has `Supported: timer`.
    client_knows: bool,
    /// The Session-Expires that the request gets in place of its own.
    expires: Option<SmolStr>,
    /// The Min-SE that it gets.
    min_se: Option<SmolStr>,
}

/// The interval that was asked for is too small: 422 with this Min-SE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSmall(pub(crate) u32);

/// What is done about the session interval of a request.
///
/// # Errors
/// When it is smaller than ours may be and its sender knows what to do about that.
pub(crate) fn asked(settings: &CallSettings, request: &Message) -> Result<Option<Session>, TooSmall> {
    let refreshes = matches!(request.method(), Some(Method::Invite | Method::Update));
    let asks = request.has(HeaderName::SessionExpires);
    if !refreshes || (!asks && settings.session_s.is_none()) {
        return Ok(None);
    }
    let client_knows = request.has_token(HeaderName::Supported, "timer");
    let min_se = request.header::<MinSe>().and_then(Result::ok).map(|MinSe(seconds)| seconds);
    let least = settings.session_min_s.max(MIN_SE_S);
    let came = request.header::<SessionExpires>().and_then(Result::ok).map(|came| came.seconds);
    let Some(came) = came else {
        let session = settings.session_s.filter(|_| !asks).map(|seconds| {
            let seconds = seconds.max(least).max(min_se.unwrap_or_default());
            Session { seconds, client_knows, expires: Some(format_smolstr!("{seconds}")), min_se: None }
        });
        return Ok(session);
    };
    if came < least && client_knows {
        return Err(TooSmall(least));
    }
    // A client that does not know of timers can't be told: its request is changed (and no other, §8.1, §11).
    let raised = (came < least).then(|| min_se.unwrap_or_default().max(least));
    let seconds = match raised {
        Some(raised) => raised,
        // Not under the Min-SE that came, and never more than came.
        None => settings
            .session_s
            .map_or(came, |wanted| wanted.max(least).max(min_se.unwrap_or(MIN_SE_S)).min(came)),
    };
    let expires = (seconds != came).then(|| {
        // Who refreshes is not ours to say: what stands behind the number stays.
        let value =
            request.value(HeaderName::SessionExpires).and_then(|value| std::str::from_utf8(value).ok());
        let params = value.and_then(|value| Some(value.split_once(';')?.1));
        params.map_or_else(
            || format_smolstr!("{seconds}"),
            |params| format_smolstr!("{seconds};{}", params.trim()),
        )
    });
    let min_se = raised.map(|raised| format_smolstr!("{raised}"));
    Ok(Some(Session { seconds, client_knows, expires, min_se }))
}

impl Session {
    /// Changes the request that is forwarded.
    pub(crate) fn edit<'a>(&'a self, edits: &mut Edits<'a>) {
        for (name, value) in [(HeaderName::SessionExpires, &self.expires), (HeaderName::MinSe, &self.min_se)]
        {
            if let Some(value) = value {
                edits.remove(name).append(name.as_str(), value);
            }
        }
    }

    /// The Session-Expires of a 2xx whose server knows nothing of timers: its client keeps the session alive
    /// (RFC 4028 §8.2). `None` when the response stays as it is.
    pub(crate) fn insert(&self, response: &Message) -> Option<SmolStr> {
        let is_needed = self.client_knows && !response.has(HeaderName::SessionExpires);
        is_needed.then(|| format_smolstr!("{};refresher=uac", self.seconds))
    }
}

/// The interval that a 2xx tells both sides of, in seconds.
pub(crate) fn granted(session: Option<&Session>, response: &Message) -> Option<u32> {
    match response.header::<SessionExpires>() {
        Some(granted) => granted.ok().map(|granted| granted.seconds),
        None => session.filter(|session| session.client_knows).map(|session| session.seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use dialtone_wire::Limits;

    fn request(method: &str, extra: &str) -> Message {
        let text = format!(
            "{method} sip:bob@b.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\nFrom: <sip:a@a.test>;tag=a\r\n\
             To: <sip:bob@b.test>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{extra}\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).expect("a request")
    }

    /// The two headers as they are forwarded: Session-Expires and Min-SE.
    fn check(session_s: Option<u32>, extra: &str, expected: Result<Option<(&str, &str)>, u32>) {
        let settings = CallSettings { session_s, session_min_s: 120 };
        let request = request("INVITE", extra);
        let found = asked(&settings, &request).map(|session| {
            let session = session?;
            let mut edits = Edits::new();
            session.edit(&mut edits);
            let mut out = Vec::new();
            edits.write(&request, &mut out);
            let forwarded = Message::parse(out.into(), &Limits::default()).expect("a request");
            let text = |name| {
                let mut values =
                    forwarded.values(name).map(|value| String::from_utf8_lossy(value).into_owned());
                let value = values.next().unwrap_or_default();
                assert_eq!(values.next(), None);
                value
            };
            Some((text(HeaderName::SessionExpires), text(HeaderName::MinSe)))
        });
        let found = found.map_err(|TooSmall(least)| least);
        let expected = expected.map(|pair| pair.map(|(one, two)| (one.to_owned(), two.to_owned())));
        assert_eq!(found, expected, "{session_s:?} {extra}");
    }

    #[test]
    fn the_interval_of_a_request_is_taken_cut_raised_refused_or_asked_for() {
        check(None, "", Ok(None));
        check(None, "Session-Expires: 1800\r\n", Ok(Some(("1800", ""))));
        check(None, "Session-Expires: x\r\n", Ok(None));
        check(Some(600), "", Ok(Some(("600", ""))));
        check(Some(600), "Session-Expires: x\r\n", Ok(None));
        check(Some(600), "Min-SE: 900\r\n", Ok(Some(("900", "900"))));
        check(Some(90), "", Ok(Some(("120", ""))));
        check(Some(600), "Session-Expires: 1800;refresher=uas\r\n", Ok(Some(("600;refresher=uas", ""))));
        check(Some(600), "x: 1800\r\nMin-SE: 900\r\n", Ok(Some(("900", "900"))));
        check(Some(600), "Session-Expires: 300\r\n", Ok(Some(("300", ""))));
        let knows = "Supported: 100rel, timer\r\n";
        check(None, &format!("{knows}Session-Expires: 119\r\n"), Err(120));
        check(None, "Session-Expires: 119\r\nMin-SE: 100\r\n", Ok(Some(("120", "120"))));
        check(None, "Session-Expires: 100\r\nMin-SE: 150\r\n", Ok(Some(("150", "150"))));
        let settings = CallSettings { session_s: Some(600), session_min_s: 90 };
        assert_eq!(asked(&settings, &request("OPTIONS", "Session-Expires: 10\r\n")), Ok(None));
    }

    #[test]
    fn a_client_that_knows_of_timers_is_told_of_one_by_the_first_proxy_that_does() {
        let settings = CallSettings { session_s: Some(600), session_min_s: 90 };
        let response = |extra: &str| {
            let text = format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1\r\nFrom: <sip:a@a.test>;tag=a\r\n\
                 To: <sip:bob@b.test>;tag=b\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{extra}\r\n"
            );
            Message::parse(Bytes::from(text), &Limits::default()).expect("a response")
        };
        for (supported, extra, inserted, interval) in [
            ("Supported: timer\r\n", "", Some("600;refresher=uac"), Some(600)),
            ("Supported: timer\r\n", "Session-Expires: 300;refresher=uas\r\n", None, Some(300)),
            ("", "", None, None),
            ("", "Session-Expires: 300;refresher=uas\r\n", None, Some(300)),
        ] {
            let session = asked(&settings, &request("INVITE", supported)).expect("it is taken");
            let response = response(extra);
            let insert = session.as_ref().and_then(|session| session.insert(&response));
            assert_eq!((insert.as_deref(), granted(session.as_ref(), &response)), (inserted, interval));
        }
    }
}
