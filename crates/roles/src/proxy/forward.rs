//! What a request looks like when it goes on (RFC 3261 §16.6).

use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;

use bytes::Bytes;
use dialtone_wire::headers::{NameAddr, TypedHeader as _, Via};
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::uri::{SipUri, UriBuf};
use dialtone_wire::{Edits, HeaderName, Message, Status};
use foldhash::quality::FixedState;
use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};

use super::shift::{SHIFT_PARAM, Shift};
use super::trunk::OverTrunk;
use crate::context::{Context, Hop, hop_of, transport_param, via_value};
use crate::proxy::{Opens, Session, Target};
use crate::random;
use crate::settings::{Domain, Mode};
use crate::text::push_address;

/// The parameter of our Record-Route that holds the route token.
pub(crate) const TOKEN_PARAM: &str = "dt";

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
    /// How requests of this dialog differ on the far side.
    pub(crate) shift: Option<Shift>,
    /// What the branch says of the request as it came, by which we know it when it comes round again.
    pub(crate) trace: Option<u64>,
    /// How much is remembered of it.
    pub(crate) mode: Mode,
    /// The server that has the domain; a Route that the request has goes first (§16.6 step 7).
    pub(crate) next_hop: Option<UriBuf>,
    /// The flow that a Route of ours named, by which the phone is reached (RFC 5626 §5.3).
    pub(crate) flow: Option<Flow>,
    /// The Path that a REGISTER gets (RFC 3327 §5.2).
    pub(crate) path: Option<Box<str>>,
    /// That Route stood in the Path of a registration: if the flow is gone, its registrar has others (RFC 5626 §5.3.1).
    pub(crate) by_path: bool,
    /// The flow by which the request came, for our Record-Route on that side, where its sender is reached by it alone.
    pub(crate) sender: Option<SmolStr>,
    /// The flow by which it goes, likewise.
    pub(crate) receiver: Option<SmolStr>,
    /// It belongs to a dialog that was set up through us.
    pub(crate) in_dialog: bool,
    /// The session interval of the request.
    pub(crate) session: Option<Session>,
    /// The caller of a user is told where his phones are, and nothing is forwarded.
    pub(crate) redirects: bool,
    /// The dial plan asks its sender for no password.
    pub(crate) unasked: bool,
    /// What is answered where the user does not exist, if it is not 404.
    pub(crate) nobody: Option<Status>,
}

/// The server that has a domain, of several one for all requests of a call; `None` when it is this one.
pub(crate) fn hop_to(domain: &Domain, request: &Message) -> Option<UriBuf> {
    // What belongs to one call or one registration goes to one server: it is that one which has the dialog, and
    // which knows the nonce that it gave. The hash is the same after a restart (RFC 3261 §16.11).
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(request.call_id().unwrap_or_default().as_bytes());
    domain.next_hops.pick(hasher.finish()).cloned()
}

impl Onward {
    /// A branch that no other request has, with the trace of this one (RFC 5393 §4.2.2).
    pub(crate) fn branch(&self, cx: &mut Context<'_>) -> SmolStr {
        let branch = cx.branch();
        match self.trace {
            Some(trace) => [branch.as_str(), ".", &random::word(trace)].concat().into(),
            None => branch,
        }
    }

    /// Where the request goes: to the first Route value left, else to its target, else to its Request-URI.
    /// `None` when that is no URI.
    pub(crate) fn next_hop(&self, request: &Message, target: &Target) -> Option<UriBuf> {
        if let Some(route) = target.routes.first() {
            return UriBuf::parse(NameAddr::parse(route.as_bytes()).ok()?.uri_text).ok();
        }
        match self.next_route(request) {
            Some(route) => UriBuf::parse(route?).ok(),
            None if target.hop.is_some() => target.hop.clone(),
            None if target.uri.is_none() && self.next_hop.is_some() => self.next_hop.clone(),
            None => UriBuf::parse(target.uri.as_deref().unwrap_or(request.uri_text())).ok(),
        }
    }

    /// The text of the first Route URI that is not ours: `Some(None)` when it is malformed.
    fn next_route<'a>(&self, request: &'a Message) -> Option<Option<&'a str>> {
        let route = request.values(HeaderName::Route).nth(self.own_routes)?;
        Some(NameAddr::parse(route).ok().map(|route| route.uri_text))
    }

    /// The next hop, if it is a strict router (RFC 2543): it wants its own URI in the request line.
    fn strict_router<'a>(&self, request: &'a Message) -> Option<&'a str> {
        let route = NameAddr::parse(request.values(HeaderName::Route).nth(self.own_routes)?).ok()?;
        let is_loose = route.uri.as_sip().is_none_or(|uri| uri.is_loose_router());
        (!is_loose).then_some(route.uri_text)
    }
}

/// Whether a request went through us before, with the same trace: it is in a loop (RFC 5393 §4.2).
pub(crate) fn is_loop(request: &Message, trace: u64) -> bool {
    let ours = |via: Via<'_>| {
        let text = via.branch().and_then(|branch| branch.rsplit_once('.'));
        text.is_some_and(|(_, text)| u64::from_str_radix(text, 16) == Ok(trace))
    };
    request.via().is_ok_and(ours)
        || request.values(HeaderName::Via).skip(1).any(|value| Via::parse(value).is_ok_and(ours))
}

/// The form that a loose router sends, of a request that came from a strict router (RFC 3261 §16.4): there our
/// Record-Route is the Request-URI, and the target the last Route value. `None` when it is no such request.
pub(crate) fn loosened(request: &Message, is_own: impl FnOnce(&SipUri<'_>) -> bool) -> Option<Vec<u8>> {
    // Most requests are told by this look at the bytes.
    let uri = request.uri_text().contains(TOKEN_PARAM).then(|| request.uri().ok()).flatten()?;
    uri.as_sip().filter(|sip| sip.params.value(TOKEN_PARAM).is_some() && is_own(sip))?;
    let text = |value| std::str::from_utf8(value).ok();
    let mut routes: SmallVec<[&str; 4]> = request.values(HeaderName::Route).filter_map(text).collect();
    let target = NameAddr::parse(routes.pop()?.as_bytes()).ok()?;
    let own = format!("<{}>", request.uri_text());
    let mut edits = Edits::new();
    edits.set_request_uri(target.uri_text).remove(HeaderName::Route).push_route(&own);
    for route in routes {
        edits.push_route(route);
    }
    let mut out = Vec::new();
    edits.write(request, &mut out);
    Some(out)
}

/// How many branches a request may have at once where it does not say so, and at most (RFC 5393 §5.3.3).
const MAX_BREADTH: u32 = 60;
const MAX_BREADTH_TEXT: SmolStr = SmolStr::new_static("60");

/// The Max-Breadth of a request. One that can't be read counts as none.
pub(crate) fn max_breadth(request: &Message) -> u32 {
    let value = request.value(HeaderName::MaxBreadth).and_then(|value| std::str::from_utf8(value).ok());
    value.and_then(|value| value.trim().parse().ok()).map_or(MAX_BREADTH, |value: u32| value.min(MAX_BREADTH))
}

/// Writes the request for one target.
pub(crate) fn build(
    request: &Message,
    came: Flow,
    onward: &Onward,
    target: &Target,
    flow: Flow,
    branch: &str,
) -> Bytes {
    let via = via_value(&flow, branch);
    let receiver = onward.receiver.as_deref().or(target.token.as_deref());
    let over = target.trunk.as_deref();
    let shift = over.map(|over| (over.shift, over.step)).or_else(|| onward.shift.map(|shift| (shift, 0)));
    let shifted = shift.map(|(shift, step)| shift.lines(request, step)).unwrap_or_default();
    let param = over.and_then(|over| over.param.as_deref());
    let record_routes = onward
        .record_route
        .as_deref()
        .map(|token| record_routes((came, onward.sender.as_deref()), (flow, receiver), token, param));
    let hops = request.max_forwards().ok().flatten().map_or(70, |hops| hops.saturating_sub(1));
    let uri = target.uri.as_deref();
    let strict_router = target.routes.is_empty().then(|| onward.strict_router(request)).flatten();
    let last_route = strict_router.map(|_| format!("<{}>", uri.unwrap_or(request.uri_text())));
    let breadth = target.breadth.unwrap_or_else(|| max_breadth(request));
    let breadth_text = if breadth == MAX_BREADTH { MAX_BREADTH_TEXT } else { format_smolstr!("{breadth}") };
    let mut edits = Edits::new();
    edits.push_via(&via).set_source(came.remote).set_max_forwards(hops).pop_routes(onward.own_routes);
    if let Some(uri) = uri {
        edits.set_request_uri(uri);
    }
    if let (Some(uri), Some(last_route)) = (strict_router, &last_route) {
        // §16.6 step 6: the Request-URI goes to the end of the route, the router's own URI takes its place.
        edits.pop_routes(onward.own_routes + 1).append_route(last_route).set_request_uri(uri);
    }
    for value in record_routes.iter().flatten() {
        edits.push_record_route(value);
    }
    if request.value(HeaderName::MaxBreadth) != Some(breadth_text.as_bytes()) {
        edits.remove(HeaderName::MaxBreadth).append("Max-Breadth", &breadth_text);
    }
    for route in &target.routes {
        edits.push_route(route);
    }
    for line in &onward.credentials {
        edits.remove_line(*line);
    }
    for name in &target.without {
        edits.remove(*name);
    }
    for (name, value) in &target.lines {
        edits.append(name, value);
    }
    if let Some(session) = &onward.session {
        session.edit(&mut edits);
    }
    shifted.edit(&mut edits);
    if let Some(path) = &onward.path {
        edits.push_path(path);
    }
    if flow.transport.is_reliable() {
        edits.ensure_content_length();
    }
    let mut out = Vec::new();
    edits.write(request, &mut out);
    Bytes::from(out.into_boxed_slice())
}

/// Our Record-Route: one value, or two where the request changes listeners (RFC 5658 §3) or one side is reached by
/// its flow alone (RFC 5626 §5.3): that of the side of the next hop on top. A request comes back with both in the order
/// of its way, so that the last of them is that of the side where it goes.
fn record_routes(
    (came, sender): (Flow, Option<&str>),
    (goes, receiver): (Flow, Option<&str>),
    token: &str,
    shift: Option<&str>,
) -> SmallVec<[String; 2]> {
    let value = |flow: Flow, user: Option<&str>| {
        let mut value = String::with_capacity(64);
        value.push_str("<sip:");
        for part in user.map(|user| [user, "@"]).iter().flatten() {
            value.push_str(part);
        }
        push_address(&mut value, flow.local);
        for part in [&transport_param(flow.transport), ";lr;", TOKEN_PARAM, "=", token] {
            value.push_str(part);
        }
        if let Some(shift) = shift {
            for part in [";", SHIFT_PARAM, "=", shift] {
                value.push_str(part);
            }
        }
        value.push('>');
        value
    };
    let is_one = (came.local, came.transport) == (goes.local, goes.transport);
    let mut values = SmallVec::new();
    values.push(value(goes, receiver));
    if !is_one || sender.is_some() || receiver.is_some() {
        values.push(value(came, sender));
    }
    values
}

/// The target with the token of its flow for our Record-Route, where only that flow leads there and no other has been
/// named.
pub(crate) fn with_token(cx: &Context<'_>, onward: &Onward, target: &Target) -> Option<Target> {
    let flow = target.flow.filter(|_| target.routes.is_empty() && target.token.is_none())?;
    if onward.record_route.is_none() || onward.receiver.is_some() {
        return None;
    }
    let token = cx.core.flows.make(&flow, onward.mode, Opens::Dialog);
    Some(Target { token: Some(token), ..target.clone() })
}

/// Where the ACK for a 2xx goes. It can't wait for a name to be looked up: contacts of dialogs that went through us
/// are addresses.
fn ack_flow(cx: &Context<'_>, ack: &Message, onward: &Onward) -> Option<Flow> {
    let next_hop = onward.next_hop(ack, &Target::unchanged())?;
    let Ok(Hop::Address(transport, remote)) = hop_of(&next_hop) else { return None };
    cx.flow_to(transport, remote, onward.local)
}

/// Sends the ACK for a 2xx on, without any state (RFC 3261 §16.11 has the same rules for its branch: a repeated ACK
/// may look new to the next hop, which harms nobody). Says whether it could be sent.
pub(crate) fn forward_ack(cx: &mut Context<'_>, ack: &Message, came: Flow, onward: &Onward) -> bool {
    let Some(flow) = onward.flow.or_else(|| ack_flow(cx, ack, onward)) else { return false };
    let branch = cx.branch();
    let mut target = Target::unchanged();
    if let (Some(shift), Ok(call_id), Ok(cseq)) = (onward.shift, ack.call_id(), ack.cseq()) {
        let step = cx.core.trunks.repeated(call_id, cseq.number).unwrap_or(0);
        target.trunk = Some(Box::new(OverTrunk::of_ack(shift, step)));
    }
    let bytes = build(ack, came, onward, &target, flow, &branch);
    cx.core.counters.forwarded += 1;
    cx.transmit(Transmit { flow, bytes });
    true
}
