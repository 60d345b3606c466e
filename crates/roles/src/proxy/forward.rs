//! What a request looks like when it goes on (RFC 3261 §16.6).

use std::net::SocketAddr;

use bytes::Bytes;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Edits, HeaderName, Message};
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::context::{Context, Hop, hop_of, transport_param, via_value};

/// What forwarding changes, besides the target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Onward {
    /// Topmost Route values that named us (§16.4).
    pub(crate) own_routes: usize,
    /// The listener that the last of them named: the side on which the next hop is.
    pub(crate) local: Option<SocketAddr>,
    /// Header lines with credentials for us (§22.3).
    pub(crate) credentials: SmallVec<[usize; 1]>,
    /// The token for our Record-Route; `None` when this request gets none.
    pub(crate) record_route: Option<SmolStr>,
}

impl Onward {
    /// Where the request goes: to the first Route value left, else to its target, else to its Request-URI.
    /// `None` when that is no URI.
    pub(crate) fn next_hop(&self, request: &Message, target: Option<&str>) -> Option<UriBuf> {
        match self.next_route(request) {
            Some(route) => UriBuf::parse(route?).ok(),
            None => UriBuf::parse(target.unwrap_or(request.uri_text())).ok(),
        }
    }

    /// The text of the first Route URI that is not ours: `Some(None)` when it is malformed.
    fn next_route<'a>(&self, request: &'a Message) -> Option<Option<&'a str>> {
        let route = request.addresses(HeaderName::Route).nth(self.own_routes)?;
        Some(route.ok().map(|route| route.uri_text))
    }

    /// The next hop, if it is a strict router (RFC 2543): it wants its own URI in the request line.
    fn strict_router<'a>(&self, request: &'a Message) -> Option<&'a str> {
        let route = request.addresses(HeaderName::Route).nth(self.own_routes)?.ok()?;
        let is_loose = route.uri.as_sip().is_none_or(|uri| uri.is_loose_router());
        (!is_loose).then_some(route.uri_text)
    }
}

/// Writes the request for one target.
pub(crate) fn build(
    request: &Message,
    came: Flow,
    onward: &Onward,
    target: Option<&str>,
    flow: Flow,
    branch: &str,
) -> Bytes {
    let via = via_value(&flow, branch);
    let record_routes = onward.record_route.as_deref().map(|token| record_routes(came, flow, token));
    let hops = request.max_forwards().ok().flatten().map_or(70, |hops| hops.saturating_sub(1));
    let last_route = format!("<{}>", target.unwrap_or(request.uri_text()));
    let mut edits = Edits::new();
    edits.push_via(&via).set_source(came.remote).set_max_forwards(hops).pop_routes(onward.own_routes);
    if let Some(uri) = target {
        edits.set_request_uri(uri);
    }
    if let Some(uri) = onward.strict_router(request) {
        // §16.6 step 6: the Request-URI goes to the end of the route, the router's own URI takes its place.
        edits.pop_routes(onward.own_routes + 1).append_route(&last_route).set_request_uri(uri);
    }
    for value in record_routes.iter().flatten() {
        edits.push_record_route(value);
    }
    for line in &onward.credentials {
        edits.remove_line(*line);
    }
    if flow.transport.is_reliable() {
        edits.ensure_content_length();
    }
    let mut out = Vec::new();
    edits.write(request, &mut out);
    Bytes::from(out.into_boxed_slice())
}

/// Our Record-Route: one value, or where the request changes listeners two, the side of the next hop on top
/// (RFC 5658 §3).
fn record_routes(came: Flow, goes: Flow, token: &str) -> SmallVec<[String; 2]> {
    let value = |flow: Flow| format!("<sip:{}{};lr;dt={token}>", flow.local, transport_param(flow.transport));
    let mut values = SmallVec::new();
    values.push(value(goes));
    if (came.local, came.transport) != (goes.local, goes.transport) {
        values.push(value(came));
    }
    values
}

/// Sends the ACK for a 2xx on, without any state (RFC 3261 §16.11 has the same rules for its branch: a repeated ACK
/// may look new to the next hop, which harms nobody). Says whether it could be sent.
pub(crate) fn forward_ack(cx: &mut Context<'_>, ack: &Message, came: Flow, onward: &Onward) -> bool {
    let Some(next_hop) = onward.next_hop(ack, None) else { return false };
    // An ACK can't wait for a name to be looked up: contacts of dialogs that went through us are addresses.
    let Ok(Hop::Address(transport, remote)) = hop_of(&next_hop) else { return false };
    let Some(flow) = cx.flow_to(transport, remote, onward.local) else { return false };
    let branch = cx.branch();
    let bytes = build(ack, came, onward, None, flow, &branch);
    cx.core.counters.forwarded += 1;
    cx.transmit(Transmit { flow, bytes });
    true
}
