//! What a refusal of one side is for the other: the status that it gets, what it is told of why, and whether the call is
//! over.
//!
//! | from one side | to the other | because |
//! |---|---|---|
//! | 401, 407, 494 | 403 | they ask for what is between that side and us; but see [`Leg::challenged`](super::Leg) |
//! | 422 | asked again with its Min-SE, at last 500 | each side has an interval of its own (RFC 4028 §7.4) |
//! | 503 | 500 | we are not the one that can't be asked any more (RFC 3261 §16.7 step 6) |
//! | 408 to another method than INVITE | 504 | RFC 4320 §4.1 forbids the 408 |
//! | 3xx within a dialog, or to no place that may be seen | 500, 480 | who goes there leaves us out |
//! | all others | the same | |

use dialtone_dialog::ends_call;
use dialtone_wire::headers::NameAddr;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};

use super::pass;
use crate::settings::Settings;

/// The status for a refused INVITE that was to begin a call.
pub(super) fn of_call(status: Status, response: Option<&Message>, settings: &Settings) -> Status {
    let leads_nowhere = || response.is_none_or(|response| places(response, settings).next().is_none());
    match status.code() {
        300..400 if leads_nowhere() => Status::of(480),
        300..400 => status,
        _ => of_any(status),
    }
}

/// The status for a request within a dialog.
pub(super) fn of_request(method: &Method, status: Status) -> Status {
    match status.code() {
        300..400 => Status::of(500),
        408 if *method != Method::Invite => Status::of(504),
        _ => of_any(status),
    }
}

fn of_any(status: Status) -> Status {
    match status.code() {
        401 | 407 | 494 => Status::of(403),
        422 | 503 => Status::of(500),
        _ => status,
    }
}

/// Whether a refused request says that the side that refused it has no such call any more (RFC 3261 §12.2.1.2). What
/// SUBSCRIBE and NOTIFY are refused with ends a subscription (RFC 6665 §4.1.2.2), and a refused PRACK says that one
/// response is not waited for (RFC 3262 §3): its INVITE will have an answer of its own. REFER and the others belong to no
/// call, so that a 404 of theirs is about something else.
pub(super) fn is_end(method: &Method, status: Status) -> bool {
    match method {
        Method::Subscribe | Method::Notify | Method::Prack => false,
        Method::Invite | Method::Update | Method::Info => ends_call(status),
        _ => matches!(status.code(), 408 | 481),
    }
}

/// The contacts of a redirection that name no place of the side that it came from: a domain, not an address.
fn places<'a>(response: &'a Message, settings: &'a Settings) -> impl Iterator<Item = NameAddr<'a>> {
    let contacts = response.values(HeaderName::Contact).filter_map(|value| NameAddr::parse(value).ok());
    contacts.filter(|contact| !pass::is_place(&contact.uri, settings))
}

/// Writes where a redirection leads (RFC 3261 §8.1.3.4, §21.3).
pub(super) fn write_places(writer: &mut Writer, response: &Message, settings: &Settings) {
    for place in places(response, settings) {
        match place.params.value("q") {
            Some(q) => writer.header(HeaderName::Contact, format_args!("<{}>;q={q}", place.uri_text)),
            None => writer.header(HeaderName::Contact, format_args!("<{}>", place.uri_text)),
        };
    }
}

/// Writes the warnings of the other side as ours (RFC 3261 §20.43): the host that warns is not named. What the code says
/// is said in the RFC's words; words of its own pass where they name no place either.
pub(super) fn write_warnings(writer: &mut Writer, response: &Message, settings: &Settings) {
    let agent = settings.product.split('/').next().unwrap_or_default();
    for value in response.values(HeaderName::Warning) {
        let Some((code, words)) = warning(value) else { continue };
        let known = known_words(code);
        let words = known.or(Some(words).filter(|words| !names_a_place(words)));
        if let Some(words) = words {
            writer.header(HeaderName::Warning, format_args!("{code} {agent} \"{words}\""));
        }
    }
}

/// The code of a warning, and its words between the quotes.
fn warning(value: &[u8]) -> Option<(u16, &str)> {
    let text = std::str::from_utf8(value).ok()?;
    let (code, rest) = text.split_once(' ')?;
    let (_, words) = rest.trim_start().split_once(' ')?;
    let words = words.trim().strip_prefix('"')?.strip_suffix('"')?;
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    // An escape at the end would escape our quote.
    let is_closed = words.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0;
    (is_code && is_closed).then(|| Some((code.parse().ok()?, words))).flatten()
}

/// RFC 3261 §20.43.
const fn known_words(code: u16) -> Option<&'static str> {
    Some(match code {
        300 => "Incompatible network protocol",
        301 => "Incompatible network address formats",
        302 => "Incompatible transport protocol",
        303 => "Incompatible bandwidth units",
        304 => "Media type not available",
        305 => "Incompatible media format",
        306 => "Attribute not understood",
        307 => "Session description parameter not understood",
        330 => "Multicast not available",
        331 => "Unicast not available",
        370 => "Insufficient bandwidth",
        _ => return None,
    })
}

/// Whether words name a host, an address or a user at one.
fn names_a_place(words: &str) -> bool {
    let is_host = |piece: &str| {
        let piece = piece.trim_matches(|c: char| !c.is_alphanumeric());
        // "1.5" is a number.
        piece.contains('.') && piece.parse::<f64>().is_err()
    };
    words.contains(['@', '['])
        || words.contains("::")
        || words.split([' ', ':', '/', '<', '>', ',']).any(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_name_a_place_are_found() {
        for words in [
            "refused by 10.0.0.7",
            "gw1.inside.example:5060 is down",
            "see sip:bob@inside",
            "at [2001:db8::1]",
            "at 2001:db8::1,",
            "ask http://inside.example/why",
            "sip:inside.example",
        ] {
            assert!(names_a_place(words), "{words}");
        }
        for words in
            ["No codec in common.", "Try again in 1.5 minutes", "tea", "", "busy: in a meeting", "..."]
        {
            assert!(!names_a_place(words), "{words}");
        }
    }

    #[test]
    fn a_warning_has_a_code_an_agent_and_words_or_is_none() {
        assert_eq!(warning(b"399 host \"tea is ready\""), Some((399, "tea is ready")));
        assert_eq!(warning(b"399 host  \"a \\\"b\\\" c\""), Some((399, "a \\\"b\\\" c")));
        for broken in
            ["", "399", "399 host", "399 host tea", "3 h \"t\"", "399 h \"t\\\"", "+99 h \"t\"", "399 h \""]
        {
            assert_eq!(warning(broken.as_bytes()), None, "{broken}");
        }
    }
}
