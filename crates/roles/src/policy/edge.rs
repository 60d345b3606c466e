//! A domain whose users another server has: we are the first hop of its phones, and hand all requests on.

use std::net::SocketAddr;

use dialtone_wire::net::{Flow, Transport};
use dialtone_wire::uri::SipUri;
use dialtone_wire::{HeaderName, Message, Method, Status};

use super::Decision;
use crate::context::transport_param;
use crate::proxy::{Onward, Opens, hop_to};
use crate::route_token::RouteTokens;
use crate::settings::Domain;
use crate::text::push_address;

/// Decides about a request for such a domain.
pub(super) fn decide(
    tokens: &RouteTokens,
    request: &Message,
    came: &Flow,
    has_user: bool,
    domain: &Domain,
    uri: Option<&SipUri<'_>>,
    onward: Onward,
) -> Decision {
    let is_register = request.method() == Some(&Method::Register);
    // An address is ours alone, whoever has the users of the domain that goes by it.
    if !has_user && !is_register && uri.is_some_and(|uri| uri.host.ip().is_some()) {
        return Decision::ServerItself;
    }
    let Some(next_hop) = hop_to(domain, request) else {
        return Decision::Refuse(Status::of(480));
    };
    let is_first_hop = request.values(HeaderName::Via).nth(1).is_none();
    let sender = onward.record_route.as_ref().filter(|_| is_first_hop);
    let sender = sender.map(|_| tokens.flows.make(came, onward.mode, Opens::Dialog));
    // RFC 5626 §5.1: only the first hop says that it keeps flows.
    let keeps_flow = is_first_hop && request.has_token(HeaderName::Supported, "outbound");
    let path = (is_register && !domain.skips_path)
        .then(|| path(tokens, &way_back(request, came), &onward, keeps_flow));
    let onward = Onward { next_hop: Some(next_hop), sender, path, ..onward };
    Decision::Route { onward, authenticate: false }
}

/// Where requests for a phone go on from us: back to who sent us its REGISTER, unless that is a proxy that has left
/// itself out of the Path (P2 of RFC 3327 §5.5); then to the topmost one in it, if it is there by its address.
fn way_back(request: &Message, came: &Flow) -> Flow {
    let before = || {
        let path = request.addresses(HeaderName::Path).next()?.ok()?;
        let uri = path.uri.as_sip()?;
        let via = request.via().ok()?;
        let remote = SocketAddr::new(uri.host.ip()?, uri.port_or_default());
        let is_sender = remote.ip() == came.remote.ip() || via.host.ip() == Some(remote.ip());
        let is_alike = !uri.secure && uri.transport().unwrap_or(Transport::Udp) == came.transport;
        (!is_sender && is_alike).then_some(Flow { remote, connection: None, ..*came })
    };
    before().unwrap_or(*came)
}

/// Our Path (RFC 3327 §5.2): by it requests for the phone come back to us, and go to it on this flow.
fn path(tokens: &RouteTokens, way: &Flow, onward: &Onward, keeps_flow: bool) -> Box<str> {
    let mut path = String::from("<sip:");
    path.push_str(&tokens.flows.make(way, onward.mode, Opens::Path));
    path.push('@');
    push_address(&mut path, way.local);
    path.push_str(&transport_param(way.transport));
    path.push_str(if keeps_flow { ";lr;ob>" } else { ";lr>" });
    path.into()
}
