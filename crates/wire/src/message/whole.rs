//! Datagrams that are longer than their Content-Length says, read to their end.

use bytes::Bytes;

use super::{Limits, Message};
use crate::edits::Edits;
use crate::header_name::HeaderName;

/// The datagram with a Content-Length that covers all of it; `None` when there is nothing behind the body, or no
/// message. RFC 3261 §18.3 has what lies behind the body discarded: this is for senders that count wrong, where
/// somebody has chosen to hear them all the same.
pub fn with_whole_body(datagram: &Bytes, limits: &Limits) -> Option<Bytes> {
    let message = Message::parse(datagram.clone(), limits).ok()?;
    let rest = datagram.get(message.bytes().len()..).filter(|rest| !rest.is_empty())?;
    let length = (message.body().len() + rest.len()).to_string();
    let mut out = Vec::with_capacity(datagram.len() + 8);
    Edits::new()
        .remove(HeaderName::ContentLength)
        .append("Content-Length", &length)
        .write(&message, &mut out);
    out.extend_from_slice(rest);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\n";

    #[test]
    fn a_length_that_is_too_short_is_set_right_and_others_stay() {
        let read = |text: &str| with_whole_body(&Bytes::from(format!("{HEAD}{text}")), &Limits::default());
        let mended = read("Content-Length: 2\r\nl: 2\r\nX: y\r\n\r\nabcdef").expect("there is more");
        let mended = Message::parse(mended, &Limits::default()).expect("a message");
        assert_eq!(mended.body(), b"abcdef");
        assert_eq!(mended.values(HeaderName::ContentLength).collect::<Vec<_>>(), [b"6"]);
        assert_eq!(mended.value_by_text("X"), Some(&b"y"[..]));
        for whole in ["Content-Length: 3\r\n\r\nabc", "\r\nabc", "Content-Length: 9\r\n\r\nabc", "broken"] {
            assert_eq!(read(whole), None, "{whole}");
        }
    }
}
