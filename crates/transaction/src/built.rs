//! The two messages that the transaction layer builds by itself.

use bytes::Bytes;
use dialtone_wire::net::Flow;
use dialtone_wire::{HeaderName, Limits, Message, Method, Status, Writer};

/// Builds the ACK for a final response other than 2xx (RFC 3261 §17.1.1.3) from the INVITE as it was sent and the
/// response: one Via, the topmost of the INVITE; To from the response; Route as in the INVITE.
///
/// `None` when the INVITE is no message, or the response has no To: then there is nothing that an ACK could say.
pub(crate) fn ack(invite: &Bytes, response: &Message) -> Option<Bytes> {
    let invite = parse(invite)?;
    let cseq = invite.cseq().ok()?;
    let mut ack = Writer::request(&Method::Ack, invite.uri_text());
    ack.raw(HeaderName::Via, invite.value(HeaderName::Via)?);
    ack.copy(&invite, HeaderName::Route);
    ack.number(HeaderName::MaxForwards, 70);
    ack.copy(&invite, HeaderName::From);
    ack.raw(HeaderName::To, response.value(HeaderName::To)?);
    ack.copy(&invite, HeaderName::CallId);
    ack.cseq(cseq.number, &Method::Ack);
    // RFC 3261 §22.1: an ACK can't be challenged, so it repeats the credentials of its INVITE.
    ack.copy(&invite, HeaderName::Authorization);
    ack.copy(&invite, HeaderName::ProxyAuthorization);
    Some(ack.finish())
}

/// Builds the 100 (Trying) for a request that came over `flow` (RFC 3261 §17.2.1, §8.2.6): no tag is put into To.
/// `None` when the request is no message.
pub(crate) fn trying(request: &Bytes, flow: &Flow) -> Option<Bytes> {
    let request = parse(request)?;
    Some(Writer::response_to(&request, Status::of(100), flow.remote, None).finish())
}

/// Whether a response that was kept has this To tag.
pub(crate) fn to_tag_is(response: &Bytes, tag: &str) -> bool {
    parse(response).is_some_and(|response| response.to_tag().is_ok_and(|own| own.unwrap_or("") == tag))
}

/// The To tag of a response that was kept.
pub(crate) fn to_tag(response: &Bytes) -> Option<String> {
    parse(response)?.to_tag().ok()?.map(str::to_owned)
}

/// What we sent or took in before has passed the limits already.
fn parse(bytes: &Bytes) -> Option<Message> {
    let limits =
        Limits { message_bytes: usize::MAX, headers: usize::MAX, vias: usize::MAX, uri_bytes: usize::MAX };
    Message::parse(bytes.clone(), &limits).ok()
}
