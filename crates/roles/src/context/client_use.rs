//! Who waits for the responses of a client transaction, and when its INVITE may be cancelled.

use bytes::Bytes;
use dialtone_wire::{HeaderName, Limits, Message, Method, Writer};
use smol_str::SmolStr;

use super::UaRequest;
use crate::proxy::ContextId;

/// Who waits for the responses of a client transaction.
#[derive(Debug)]
pub(crate) enum ClientUse {
    /// A branch of a response context.
    Proxy(ContextId),
    /// A request of the user agent.
    Ua(UaClient),
    /// A CANCEL: its own response says nothing.
    Cancel,
}

/// A request of the user agent.
#[derive(Debug)]
pub(crate) struct UaClient {
    pub(crate) request: UaRequest,
    cancel: Cancel,
}

/// RFC 3261 §9.1: CANCEL only for INVITE, only between the first provisional and the final response.
#[derive(Debug)]
enum Cancel {
    /// Not an INVITE, or it has its final response, or the CANCEL was sent.
    Impossible,
    /// No provisional response yet.
    TooEarly { invite: Bytes, asked: Option<Option<SmolStr>> },
    /// A provisional response has come.
    Possible { invite: Bytes },
}

impl UaClient {
    pub(crate) fn new(request: UaRequest, invite: Option<Bytes>) -> UaClient {
        let cancel = match invite {
            Some(invite) => Cancel::TooEarly { invite, asked: None },
            None => Cancel::Impossible,
        };
        UaClient { request, cancel }
    }

    /// The user agent wants it cancelled: the INVITE, if its CANCEL is to be sent now.
    pub(crate) fn ask_cancel(&mut self, reason: Option<&str>) -> Option<Bytes> {
        match std::mem::replace(&mut self.cancel, Cancel::Impossible) {
            Cancel::Impossible => None,
            Cancel::TooEarly { invite, .. } => {
                self.cancel = Cancel::TooEarly { invite, asked: Some(reason.map(SmolStr::new)) };
                None
            }
            Cancel::Possible { invite } => Some(invite),
        }
    }

    /// A provisional response has come: the INVITE and the reason, if its CANCEL was waiting for it.
    pub(crate) fn provisional(&mut self) -> Option<(Bytes, Option<SmolStr>)> {
        match std::mem::replace(&mut self.cancel, Cancel::Impossible) {
            Cancel::Impossible => None,
            Cancel::TooEarly { invite, asked: Some(reason) } => Some((invite, reason)),
            Cancel::TooEarly { invite, asked: None } | Cancel::Possible { invite } => {
                self.cancel = Cancel::Possible { invite };
                None
            }
        }
    }

    /// The final response has come.
    pub(crate) fn finish(&mut self) {
        self.cancel = Cancel::Impossible;
    }
}

/// The CANCEL for an INVITE as it was sent (RFC 3261 §9.1), with its branch.
pub(crate) fn cancel_of(invite: &Bytes, reason: Option<&str>) -> Option<(SmolStr, Bytes)> {
    let limits =
        Limits { message_bytes: usize::MAX, headers: usize::MAX, vias: usize::MAX, uri_bytes: usize::MAX };
    let invite = Message::parse(invite.clone(), &limits).ok()?;
    let branch = SmolStr::new(invite.via().ok()?.branch()?);
    let mut writer = Writer::request(&Method::Cancel, invite.uri_text());
    writer.raw(HeaderName::Via, invite.value(HeaderName::Via)?);
    writer.number(HeaderName::MaxForwards, 70);
    writer.copy(&invite, HeaderName::Route);
    writer.copy(&invite, HeaderName::From).copy(&invite, HeaderName::To).copy(&invite, HeaderName::CallId);
    writer.cseq(invite.cseq().ok()?.number, &Method::Cancel);
    if let Some(reason) = reason {
        writer.header(HeaderName::Reason, reason);
    }
    Some((branch, writer.finish()))
}
