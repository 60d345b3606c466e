//! Small bodies: a fragment of a message (RFC 3420), and a digit in the two forms that gateways send in INFO.

use bytes::Bytes;
use smol_str::{SmolStr, format_smolstr};

use crate::header_name::HeaderName;
use crate::message::{Limits, Message};
use crate::method::Status;

/// The media type of a fragment of a message.
pub const SIPFRAG: &str = "message/sipfrag";
/// The media type of a digit and how long it is pressed. Nobody has registered it; Cisco's gateways set the form.
pub const DTMF_RELAY: &str = "application/dtmf-relay";
/// The media type of a digit alone, not registered either.
pub const DTMF: &str = "application/dtmf";

/// Reads the status line with which a fragment begins (RFC 3420 §2, RFC 3515 §2.4.5). `None` where it begins otherwise.
pub fn sipfrag_status(body: &[u8]) -> Option<Status> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let rest = line.strip_prefix(b"SIP/2.0 ")?;
    let (code, reason) = rest.split_at_checked(3)?;
    if !reason.is_empty() && reason[0] != b' ' {
        return None;
    }
    let code = code.iter().try_fold(0_u16, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
    })?;
    Status::new(code)
}

/// A fragment that is nothing but a status line.
pub fn sipfrag(status: Status) -> SmolStr {
    format_smolstr!("SIP/2.0 {} {}\r\n", status.code(), status.reason())
}

/// A fragment with the status line and the lines of a response that name its dialog: From, To, Call-ID, CSeq and Contact
/// (RFC 5359 §2.3, F17). `None` where it would have more bytes than this.
pub fn sipfrag_with_dialog(response: &Message, bytes_max: usize) -> Option<Vec<u8>> {
    let names = [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq, HeaderName::Contact];
    let mut fragment = sipfrag(response.status()?).as_bytes().to_vec();
    for name in names {
        let line = response.header_lines().find(|header| header.name == name)?.line;
        if fragment.len() + line.len() > bytes_max {
            return None;
        }
        fragment.extend_from_slice(line);
    }
    Some(fragment)
}

/// Reads a fragment that begins with a status line as the response that it is a piece of (RFC 3420 §2.1: all headers may be
/// missing, and the empty line at the end too).
pub fn sipfrag_response(body: &[u8], limits: &Limits) -> Option<Message> {
    sipfrag_status(body)?;
    let end: &[u8] = if body.ends_with(b"\r\n") { b"\r\n" } else { b"\r\n\r\n" };
    Message::parse(Bytes::from([body, end].concat()), limits).ok()
}

/// Whether a character is a digit of a telephone or `!`, a hook flash.
pub const fn is_telephone_digit(digit: char) -> bool {
    matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D' | '!')
}

/// Reads a body of [`DTMF_RELAY`]: lines of `Signal=5` and `Duration=160`, in any order and case, blanks around `=`.
/// `Signal` may also be an event number of RFC 4733, 10 to 16. `None` where there is no digit to be found.
pub fn dtmf_relay(body: &[u8]) -> Option<(char, Option<u32>)> {
    let text = std::str::from_utf8(body).ok()?;
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let (own, value) = line.split_once('=')?;
            own.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let digit = telephone_digit(field("signal")?)?;
    Some((digit, field("duration").and_then(|value| value.parse().ok())))
}

/// Reads a body of [`DTMF`]: the digit, with white space around it; some send `d=5`.
pub fn dtmf(body: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(body).ok()?.trim();
    telephone_digit(text.strip_prefix("d=").unwrap_or(text).trim())
}

/// Writes a body of [`DTMF_RELAY`].
pub fn write_dtmf_relay(digit: char, duration_ms: u32) -> SmolStr {
    format_smolstr!("Signal={digit}\r\nDuration={duration_ms}\r\n")
}

fn telephone_digit(text: &str) -> Option<char> {
    let mut characters = text.chars();
    let digit = match (characters.next()?, characters.next()) {
        (digit, None) => digit.to_ascii_uppercase(),
        // RFC 4733 §3.2, table 3: the numbers of the events.
        _ => match text {
            "10" => '*',
            "11" => '#',
            "12" => 'A',
            "13" => 'B',
            "14" => 'C',
            "15" => 'D',
            "16" => '!',
            _ => return None,
        },
    };
    is_telephone_digit(digit).then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_begins_with_a_status_line() {
        let of = |body: &str| sipfrag_status(body.as_bytes()).map(Status::code);
        assert_eq!(of("SIP/2.0 100 Trying"), Some(100));
        assert_eq!(of("SIP/2.0 603 Declined\r\nTo: <sip:a@b>\r\n"), Some(603));
        assert_eq!(of("SIP/2.0 200"), Some(200));
        assert_eq!(of(&sipfrag(Status::of(486))), Some(486));
        for bad in [
            "",
            "200 OK",
            "SIP/2.0 20",
            "SIP/2.0 2000",
            "SIP/2.0 99 x",
            "SIP/2.0 099 x",
            "SIP/2.0 x00 OK",
            "SIP/2.0  200",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(sipfrag_status(b"SIP/2.0 \xff\xff\xff"), None);
    }

    #[test]
    fn a_fragment_with_the_dialog_is_read_as_it_was_written() {
        let text = "SIP/2.0 200 Fine\r\nVia: SIP/2.0/UDP 192.0.2.3;branch=z9hG4bKx\r\nServer: foo/0.9.7\r\n\
                    f: <sip:music@192.0.2.3>;tag=1\r\nTo: Alice\r\n <sip:alice@192.0.2.1>;tag=2\r\nCall-ID: c@d\r\n\
                    CSeq: 7 INVITE\r\nContact: <sip:alice@192.0.2.1:5062>\r\nContent-Length: 0\r\n\r\n";
        let limits = Limits::default();
        let response = Message::parse(Bytes::from_static(text.as_bytes()), &limits).unwrap();
        let fragment = sipfrag_with_dialog(&response, 1_000).unwrap();
        assert_eq!(
            String::from_utf8(fragment.clone()).unwrap(),
            "SIP/2.0 200 OK\r\nf: <sip:music@192.0.2.3>;tag=1\r\nTo: Alice\r\n <sip:alice@192.0.2.1>;tag=2\r\n\
             Call-ID: c@d\r\nCSeq: 7 INVITE\r\nContact: <sip:alice@192.0.2.1:5062>\r\n",
            "RFC 3515 §5.3: what it says besides stays here"
        );
        assert_eq!(sipfrag_with_dialog(&response, fragment.len() - 1), None);
        let unended = fragment.strip_suffix(b"\r\n").unwrap();
        for fragment in [&fragment[..], unended, &[&fragment[..], b"\r\n"].concat()] {
            let read = sipfrag_response(fragment, &limits).unwrap();
            assert_eq!(
                (read.from_tag(), read.to_tag(), read.call_id()),
                (Ok(Some("1")), Ok(Some("2")), Ok("c@d"))
            );
        }
        let read = sipfrag_response(b"SIP/2.0 200 OK", &limits).unwrap();
        assert!(read.call_id().is_err() && read.to_tag().is_err());
        for bad in
            ["", "From: <sip:a@b>;tag=1\r\n", "SIP/2.0 200 OK\r\nno header\r\n", "SIP/2.0 200 OK\nTo: x\n"]
        {
            assert!(sipfrag_response(bad.as_bytes(), &limits).is_none(), "{bad}");
        }
    }

    #[test]
    fn digits_are_read_in_both_forms_and_nothing_else_is() {
        let relay = |body: &str| dtmf_relay(body.as_bytes());
        assert_eq!(relay("Signal=5\r\nDuration=160\r\n"), Some(('5', Some(160))));
        assert_eq!(relay("signal = *\nduration = x"), Some(('*', None)));
        assert_eq!(relay("Duration=250\r\nSignal= 11 \r\n"), Some(('#', Some(250))));
        assert_eq!(relay(&write_dtmf_relay('A', 100)), Some(('A', Some(100))));
        for bad in ["", "Signal=", "Signal=55", "Signal=x", "Duration=160", "5"] {
            assert_eq!(relay(bad), None, "{bad}");
        }
        let plain = |body: &str| dtmf(body.as_bytes());
        assert_eq!(
            [plain("5"), plain(" d=#\r\n"), plain("b"), plain("10")],
            [Some('5'), Some('#'), Some('B'), Some('*')]
        );
        for bad in ["", "55", "x", "17", "\u{661}"] {
            assert_eq!(plain(bad), None, "{bad}");
        }
        assert_eq!(dtmf(b"\xff"), None);
    }
}
