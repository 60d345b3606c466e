//! The verdicts on the messages of the slide deck.

use dialtone_wire::sdp::{Limits, Mode, Session};
use dialtone_wire::{HeaderName, Message};

use crate::values::*;
use crate::verdict::{Row, Verdict::*};

pub(crate) const FOLDER: &str = "deck";

/// What the three INVITEs have in common, and the ports of their streams: `None` where the description is cut.
fn invite(message: &Message, contact: &str, media: Option<&[u16]>) {
    assert_eq!(to(message).display_name().as_deref(), Some("Rob"));
    assert_eq!(from(message).display_name().as_deref(), Some("Tin"));
    assert_eq!(from(message).tag(), None);
    assert_eq!(message.via().map(|via| via.branch()), Ok(None));
    assert_eq!(message.max_forwards(), Ok(None));
    assert_eq!(message.call_id(), Ok("124325617@host1.francetelecom.com"));
    assert_eq!(value(message, HeaderName::CallInfo), "<http://www.ftrd.fr/Tin.html>;purpose=info");
    assert_eq!(contacts(message)[0].uri_text, contact);
    let description = Session::parse(message.body(), Mode::Lenient, &Limits::default());
    match media {
        Some(media) => {
            let session = description.expect("a session description").session;
            assert_eq!(session.media.iter().map(|media| media.port).collect::<Vec<_>>(), media);
        }
        None => assert!(description.is_err_and(|error| error.cut)),
    }
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        file: "invite-behind-nat.sip",
        section: "",
        title: "INVITE of a phone behind NAT",
        verdict: Accepted,
        reason: "No tag, branch and Max-Forwards, as RFC 2543 had it. Content-Length says 148, so the rest of the \
                 datagram is cut off (RFC 3261 §18.3), in the midst of the video stream: who reads the description \
                 is told that it was cut.",
        values: |m| {
            assert_eq!(m.body().len(), 148);
            invite(m, "sip:Tin@10.0.0.2", None);
        },
    },
    Row {
        file: "invite-after-alg-as-printed.sip",
        section: "",
        title: "The same behind the ALG, as printed",
        verdict: Accepted,
        reason: "As above: the slide leaves length and video port as they were.",
        values: |m| {
            assert_eq!(m.body().len(), 148);
            invite(m, "sip:Tin@80.0.0.1:7000", None);
        },
    },
    Row {
        file: "invite-after-alg-right.sip",
        section: "",
        title: "The same behind the ALG, as it must be",
        verdict: Accepted,
        reason: "Length and both ports are right.",
        values: |m| {
            assert_eq!(m.body().len(), 194);
            invite(m, "sip:Tin@80.0.0.1:7000", Some(&[9400, 9402]));
        },
    },
    Row {
        file: "update-adds-video.sip",
        section: "",
        title: "UPDATE that adds video",
        verdict: Dropped("Via: missing"),
        reason: "Without Via no answer could be brought home to its sender, so 400 has no way back.",
        values: |_| (),
    },
];
