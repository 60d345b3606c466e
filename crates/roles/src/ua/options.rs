//! OPTIONS, asked and answered (RFC 3261 §11).

use dialtone_transaction::ServerId;
use dialtone_wire::net::Flow;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smol_str::format_smolstr;

use super::Ua;
use super::desk::Purpose;
use super::outgoing::out_of_dialog;
use super::refusal::{ALLOW, SDP, SUPPORTED};
use super::session::capabilities_description;
use crate::context::{Context, UaRequest};
use crate::io::Event;

impl Ua {
    /// Asks a far end what it can do (RFC 3261 §11.1).
    pub(super) fn ask_options(&mut self, cx: &mut Context<'_>, token: u64, to: UriBuf) {
        let waiting = self.desk.requests.values();
        let waiting = waiting.filter(|sent| matches!(sent.purpose, Purpose::Options { .. })).count();
        let draft = out_of_dialog(cx, Method::Options, to.clone(), &format_smolstr!("<{to}>"));
        let draft = draft.header(HeaderName::Accept, SDP);
        let sent = if waiting < cx.settings.limits.calls {
            self.desk.send(cx, draft, None, Purpose::Options { token }).is_ok()
        } else {
            false
        };
        if !sent {
            cx.event(Event::OptionsAnswered { token, status: None, response: None });
        }
    }

    /// The answer to an OPTIONS of ours; `None` when nobody answered.
    pub(super) fn handle_options_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        token: u64,
        response: Option<&Message>,
    ) {
        let status = response.and_then(Message::status);
        if status.is_some_and(Status::is_provisional) {
            return;
        }
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        if let Some(response) = response.filter(|_| status.is_some_and(Status::is_challenge)) {
            let cseq = sent.draft.cseq().saturating_add(1);
            if self.desk.retry(cx, sent, response, cseq).is_ok() {
                return;
            }
        }
        let response = response.map(|response| response.bytes().clone());
        cx.event(Event::OptionsAnswered { token, status, response });
    }
}

/// Answers an OPTIONS (RFC 3261 §11.2): 200, or 486 where an INVITE would get that.
pub(super) fn answer(cx: &mut Context<'_>, server: ServerId, request: &Message, flow: Flow, busy: bool) {
    let status = Status::of(if busy { 486 } else { 200 });
    let tag = cx.token();
    let wants_sdp = request.values(HeaderName::Accept).any(|value| {
        let media = value.split(|byte| *byte == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(SDP.as_bytes())
    });
    let description = wants_sdp.then(|| {
        let session_id = cx.random_u64();
        capabilities_description(cx.settings, session_id, flow.local.ip())
    });
    let product = cx.settings.product.clone();
    let headers = |writer: &mut Writer| {
        writer.text(HeaderName::Allow, ALLOW);
        writer.text(HeaderName::Accept, SDP);
        writer.text(HeaderName::AcceptEncoding, "identity");
        writer.text(HeaderName::AcceptLanguage, "en");
        writer.text(HeaderName::Supported, SUPPORTED);
        writer.header(HeaderName::Server, product);
    };
    let body = description.as_deref().map(|description| (SDP, description));
    // A transaction that is gone needs no answer any more.
    let _ = cx.respond(server, request, status, Some(&tag), headers, body);
}
