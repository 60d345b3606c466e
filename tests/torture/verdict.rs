//! What a server makes of a datagram before any role sees it, from public calls of the parser only.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use dialtone_wire::{Edits, Limits, Message, refusal};

/// One message of a table, and what must become of it.
pub(crate) struct Row {
    /// The file below the folder of its table.
    pub(crate) file: &'static str,
    /// The section of the RFC, or nothing.
    pub(crate) section: &'static str,
    pub(crate) title: &'static str,
    pub(crate) verdict: Verdict,
    /// Why, in the words of the RFC's recommendation, and where we differ from it.
    pub(crate) reason: &'static str,
    /// What the values of an accepted message must be.
    pub(crate) values: fn(&Message),
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on to the roles.
    Accepted,
    /// It is answered with this status; the fault is what the parser says.
    Refused(u16, &'static str),
    /// It is dropped without an answer; the fault is what the parser says.
    Dropped(&'static str),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accepted => f.write_str("accepted"),
            Verdict::Refused(status, fault) => write!(f, "{status}: {fault}"),
            Verdict::Dropped(fault) => write!(f, "dropped: {fault}"),
        }
    }
}

/// The folder of all messages.
pub(crate) fn messages() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("messages")
}

pub(crate) fn read(folder: &str, file: &str) -> Vec<u8> {
    let path = messages().join(folder).join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Gives the message to the parser as a server does, and asserts that the verdict of the row holds.
pub(crate) fn check(folder: &str, row: &Row) {
    let bytes = read(folder, row.file);
    let came = verdict(&bytes, |message| {
        (row.values)(message);
        let mut out = Vec::new();
        Edits::new().write(message, &mut out);
        assert_eq!(out, *message.bytes(), "{}: written back unchanged", row.file);
    });
    assert_eq!(came, row.verdict.to_string(), "{folder}/{}", row.file);
}

pub(crate) fn verdict(bytes: &[u8], accepted: impl Fn(&Message)) -> String {
    let source: SocketAddr = "203.0.113.9:6060".parse().expect("an address");
    let (fault, answer) = match Message::parse(Bytes::copy_from_slice(bytes), &Limits::default()) {
        Err(error) => (error.to_string(), refusal::refuse(bytes, error, source, "door")),
        Ok(message) => match message.screen() {
            Ok(()) => {
                accepted(&message);
                return Verdict::Accepted.to_string();
            }
            Err(screened) => {
                (screened.fault.to_string(), refusal::refuse_screened(&message, &screened, source, "door"))
            }
        },
    };
    match answer {
        None => format!("dropped: {fault}"),
        Some(answer) => {
            let answer = Message::parse(answer.bytes, &Limits::default()).expect("our own answers are legal");
            format!("{}: {fault}", answer.status().expect("a response").code())
        }
    }
}
