//! Answers that keep no state: refusals, first challenges, and OPTIONS to the server itself
//! (RFC 3261 §8.2.7, §26.3.2.4). A stranger costs us one answer and no memory.

use std::hash::{BuildHasher as _, Hasher as _};

use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use foldhash::fast::FixedState;
use smol_str::SmolStr;

use super::Engine;
use crate::auth::Side;
use crate::context::Context;

/// Methods that can be sent to the server itself, as to no user: what a 405 or 501 of it lists.
const ALLOW_ITSELF: &str = "OPTIONS, REGISTER";

/// Methods that the server as a whole takes, its robots included.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER";

/// What the answer to OPTIONS says of the server as a whole, beside [`ALLOW`] (RFC 3261 §11.2).
const CAPABILITIES: &str = concat!(
    "Accept: application/sdp\r\n",
    "Accept-Encoding: identity\r\n",
    "Accept-Language: en\r\n",
    "Supported: \r\n",
);

impl Engine {
    pub(super) fn stateless_tag(&self, request: &Message) -> SmolStr {
        self.core.stateless_tag(request)
    }

    /// All that decides where a request goes, and which request it is, in one number (RFC 5393 §4.2.1). A second pass
    /// with the same number is a loop; with another Request-URI it is a spiral, which is no fault.
    pub(super) fn trace(&self, request: &Message) -> u64 {
        let mut hasher = FixedState::with_seed(self.core.tag_seed).build_hasher();
        let mut part = |bytes: &[u8]| {
            hasher.write(bytes);
            hasher.write_u8(0);
        };
        part(request.uri_text().as_bytes());
        part(request.call_id().unwrap_or("").as_bytes());
        part(request.value(HeaderName::From).unwrap_or(b""));
        part(request.value(HeaderName::CSeq).unwrap_or(b""));
        request.values(HeaderName::Route).for_each(part);
        hasher.finish()
    }

    /// Answers without a transaction. An ACK is never answered.
    pub(super) fn respond_stateless(
        &mut self,
        request: &Message,
        flow: Flow,
        status: Status,
        extra: impl FnOnce(&mut Writer),
    ) {
        if request.method() == Some(&Method::Ack) {
            return;
        }
        let Ok(via) = request.via() else { return };
        let tag = self.stateless_tag(request);
        let mut writer = Writer::response_to(request, status, flow.remote, Some(&tag));
        extra(&mut writer);
        let flow = response_flow(flow, via.response_address(flow.remote));
        self.core.transmit(Transmit { flow, bytes: writer.finish() });
    }

    /// 401 or 407.
    pub(super) fn challenge_stateless(
        &mut self,
        now: Instant,
        request: &Message,
        flow: Flow,
        side: Side,
        realm: &str,
        stale: bool,
    ) {
        let Ok(via) = request.via() else { return };
        let tag = self.stateless_tag(request);
        let mut cx = Context { now, settings: &self.settings, core: &mut self.core };
        let challenges = self.authenticator.challenges(&mut cx, request, flow.remote, realm, stale);
        let mut writer = Writer::response_to(request, side.status(), flow.remote, Some(&tag));
        for challenge in &challenges {
            writer.header(side.challenge(), challenge);
        }
        let flow = response_flow(flow, via.response_address(flow.remote));
        self.core.transmit(Transmit { flow, bytes: writer.finish() });
    }

    /// A request for the server itself: OPTIONS says what we can do (RFC 3261 §11.2).
    pub(super) fn answer_for_server(&mut self, request: &Message, flow: Flow) {
        match request.method() {
            // RFC 3261 §8.2.2.3.
            Some(Method::Options) if request.has(HeaderName::Require) => {
                self.refuse_extensions(request, flow, HeaderName::Require);
            }
            Some(Method::Options) => self.respond_stateless(request, flow, Status::of(200), |writer| {
                writer.text(HeaderName::Allow, ALLOW).lines(CAPABILITIES);
            }),
            Some(Method::Other(_)) => {
                self.respond_stateless(request, flow, Status::of(501), |writer| {
                    writer.text(HeaderName::Allow, ALLOW_ITSELF);
                });
            }
            // RFC 3261 §12.2.2, §15.1.2, RFC 6665 §4.1.3: what belongs into a dialog, and there is none.
            Some(Method::Bye | Method::Notify) => {
                self.respond_stateless(request, flow, Status::of(481), |_| ())
            }
            _ if matches!(request.to_tag(), Ok(Some(_))) => {
                self.respond_stateless(request, flow, Status::of(481), |_| ());
            }
            // RFC 6665 §4.2.1.1: no event package of the server itself, and `reg` is for a user.
            Some(Method::Subscribe) => self.respond_stateless(request, flow, Status::of(489), |writer| {
                writer.text(HeaderName::AllowEvents, crate::events::reg::PACKAGE);
            }),
            // RFC 3903 §6 step 2: nothing can be published.
            Some(Method::Publish) => self.respond_stateless(request, flow, Status::of(489), |_| ()),
            _ => self.respond_stateless(request, flow, Status::of(405), |writer| {
                writer.text(HeaderName::Allow, ALLOW_ITSELF);
            }),
        }
    }

    /// 420 with all that a Require or Proxy-Require asked for.
    pub(super) fn refuse_extensions(&mut self, request: &Message, flow: Flow, asked: HeaderName) {
        self.respond_stateless(request, flow, Status::of(420), |writer| {
            for value in request.values(asked) {
                writer.raw(HeaderName::Unsupported, value);
            }
        });
    }
}

/// Where responses go: over a connection back the way the request came, over UDP to the address of the Via.
pub(super) fn response_flow(flow: Flow, address: std::net::SocketAddr) -> Flow {
    if flow.transport.is_reliable() { flow } else { Flow { remote: address, ..flow } }
}
