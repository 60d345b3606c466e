//! The stateless proxy (RFC 3261 §16.11): each message goes on by itself, and nothing stays.
//!
//! ```text
//!   request  --> decide --> one target --> our Via: z9hG4bK + hash of what a copy, the CANCEL and the ACK share
//!   response --> is our Via ours? (keyed hash of the branch and of where it goes back to) --> next Via
//! ```
//!
//! It never answers but to refuse, sends no 100, no CANCEL and no copy of its own.

use std::fmt::Write as _;
use std::net::SocketAddr;

use dialtone_wire::headers::{TypedHeader as _, Via};
use dialtone_wire::net::{ConnectionId, Flow, Transmit, Transport};
use dialtone_wire::{Edits, HeaderName, Message, Status};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smol_str::SmolStr;
use subtle::ConstantTimeEq as _;

use super::Target;
use super::flow_token::hex;
use super::forward::{self, Onward};
use crate::context::{Context, Hop, hop_of};
use crate::io::Query;
use crate::queries::Waiting;
use crate::settings::Secret;

/// How our branches begin. `s` is no hexadecimal digit: no branch of a transaction begins so.
const BEGINNING: &str = "z9hG4bKs";
/// Digits of each of the two hashes of a branch.
const HASH_DIGITS: usize = 16;

/// A request that goes on without state.
#[derive(Clone, Debug)]
pub(crate) struct Passing {
    pub(crate) request: Message,
    pub(crate) came: Flow,
    pub(crate) onward: Onward,
    /// The one place that it goes to.
    pub(crate) target: Target,
}

/// Makes and checks branches with one key.
#[derive(Clone)]
pub(crate) struct Branches {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Branches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Branches(..)")
    }
}

impl Branches {
    pub(crate) fn new(secret: &Secret) -> Branches {
        let mut keyed = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
        keyed.update(b"branch\0");
        Branches { keyed }
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; HASH_DIGITS / 2] {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(part);
            mac.update(&[0]);
        }
        *mac.finalize().into_bytes().first_chunk().expect("SHA-256 gives 32 bytes")
    }

    /// The branch of a request that came on a flow: the same for its copies, its CANCEL and the ACK of its refusal.
    /// `None` when it has no Via that can be read.
    fn make(&self, request: &Message, came: &Flow, listener: usize) -> Option<SmolStr> {
        let via = request.via().ok()?;
        let id = match via.rfc3261_branch() {
            Some(branch) => self.hash(&[b"id", branch.as_bytes(), via.sent_by.as_bytes()]),
            // RFC 2543: what tells its transactions apart. The RFC names the tag of To as well; the ACK of a refusal
            // has one where its INVITE has none, and they must not differ.
            None => self.hash(&[
                b"old",
                request.value(HeaderName::Via)?,
                request.from_tag().ok().flatten().unwrap_or_default().as_bytes(),
                request.call_id().ok()?.as_bytes(),
                request.cseq().ok()?.number.to_string().as_bytes(),
                request.uri_text().as_bytes(),
            ]),
        };
        let back = Back { listener, connection: came.connection, address: via.response_address(came.remote) };
        Some(self.write(&hex(&id), &back))
    }

    fn write(&self, id: &str, back: &Back) -> SmolStr {
        let suffix = back.suffix();
        let hash =
            self.hash(&[b"back", id.as_bytes(), suffix.as_bytes(), back.address.to_string().as_bytes()]);
        [BEGINNING, id, &hex(&hash), &suffix].concat().into()
    }

    /// Whether a response came by a request that we forwarded, and where it goes on to: the next Via must be the one
    /// under which we made this branch, so that nobody can aim answers at others through us.
    fn check(&self, response: &Message) -> Option<Back> {
        let mut vias = response.values(HeaderName::Via).map(Via::parse);
        let branch = vias.next()?.ok()?.branch()?;
        let (hashes, suffix) = branch.strip_prefix(BEGINNING)?.split_at_checked(2 * HASH_DIGITS)?;
        let (listener, connection) = Back::read_suffix(suffix)?;
        let next = vias.next()?.ok()?;
        // RFC 3261 §18.2.2, RFC 3581 §4: we wrote these two before we forwarded the request.
        let ip = next.received().or_else(|| next.host.ip())?;
        let port = next.rport().flatten().unwrap_or_else(|| next.port_or_default());
        let back = Back { listener, connection, address: SocketAddr::new(ip, port) };
        let made = self.write(hashes.get(..HASH_DIGITS)?, &back);
        bool::from(made.as_bytes().ct_eq(branch.as_bytes())).then_some(back)
    }
}

/// Where the responses to a request go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Back {
    /// Which of our listeners the request came to.
    listener: usize,
    /// The connection that it came on.
    connection: Option<ConnectionId>,
    address: SocketAddr,
}

impl Back {
    fn suffix(&self) -> String {
        let mut suffix = format!("-{:x}", self.listener);
        if let Some(ConnectionId { shard, slot, generation }) = self.connection {
            let _ = write!(suffix, "-{shard:x}-{slot:x}-{generation:x}");
        }
        suffix
    }

    fn read_suffix(suffix: &str) -> Option<(usize, Option<ConnectionId>)> {
        let mut parts = suffix.strip_prefix('-')?.splitn(5, '-');
        let listener = usize::from_str_radix(parts.next()?, 16).ok()?;
        let Some(shard) = parts.next() else { return Some((listener, None)) };
        let connection = ConnectionId {
            shard: u16::from_str_radix(shard, 16).ok()?,
            slot: u32::from_str_radix(parts.next()?, 16).ok()?,
            generation: u32::from_str_radix(parts.next()?, 16).ok()?,
        };
        parts.next().is_none().then_some((listener, Some(connection)))
    }
}

/// Sends a request on. A name is looked up first; the request waits for that, and nothing else of it is kept.
///
/// # Errors
/// The status to refuse it with.
pub(crate) fn forward(cx: &mut Context<'_>, branches: &Branches, passing: &Passing) -> Result<(), Status> {
    let Passing { request, onward, target, .. } = passing;
    if let Some(flow) = target.flow {
        return send(cx, branches, passing, flow);
    }
    let next_hop = onward.next_hop(request, target).ok_or(Status::of(416))?;
    match hop_of(&next_hop).map_err(|_| Status::of(416))? {
        Hop::Address(transport, remote) => {
            // §16.9 as the stateful proxy does it: a 503 is about us, and the way is what is missing.
            let flow = cx.flow_to(transport, remote, onward.local).ok_or(Status::of(500))?;
            send(cx, branches, passing, flow)
        }
        Hop::Name(transport, host, port) => {
            let query = Query::Resolve { host: SmolStr::new(host) };
            let waiting = Waiting::Pass { passing: Box::new(passing.clone()), transport, port };
            if cx.ask(query, waiting).is_some() {
                return Ok(());
            }
            cx.core.counters.overload += 1;
            Err(Status::of(500))
        }
    }
}

/// The host name of the next hop has these addresses: the request goes to one of them, the same for all that belongs
/// to its transaction.
///
/// # Errors
/// As [`forward`].
pub(crate) fn resolved(
    cx: &mut Context<'_>,
    branches: &Branches,
    passing: &Passing,
    mut addresses: Vec<SocketAddr>,
    transport: Transport,
) -> Result<(), Status> {
    addresses.sort_unstable();
    let mut flows: Vec<Flow> = addresses
        .into_iter()
        .filter_map(|remote| cx.flow_to(transport, remote, passing.onward.local))
        .collect();
    if flows.is_empty() {
        return Err(Status::of(500));
    }
    let hash = branches.hash(&[b"pick", passing.request.call_id().unwrap_or_default().as_bytes()]);
    let count = u64::try_from(flows.len()).unwrap_or(u64::MAX);
    let place = usize::try_from(u64::from_be_bytes(hash) % count).unwrap_or(0);
    send(cx, branches, passing, flows.swap_remove(place))
}

fn send(cx: &mut Context<'_>, branches: &Branches, passing: &Passing, flow: Flow) -> Result<(), Status> {
    let Passing { request, came, onward, target } = passing;
    let with_token = forward::with_token(cx, onward, target);
    let target = with_token.as_ref().unwrap_or(target);
    let is_listener = |listener: &crate::settings::Listener| {
        (listener.transport, listener.address) == (came.transport, came.local)
    };
    let listener = cx.settings.listeners.iter().position(is_listener).unwrap_or(0);
    let branch = branches.make(request, came, listener).ok_or(Status::of(400))?;
    let bytes = forward::build(request, *came, onward, target, flow, &branch);
    cx.core.counters.forwarded += 1;
    cx.transmit(Transmit { flow, bytes });
    Ok(())
}

/// Sends a response on, if it is the answer to a request that we forwarded without state.
pub(crate) fn forward_response(cx: &mut Context<'_>, branches: &Branches, response: &Message) -> bool {
    let Some(back) = branches.check(response) else { return false };
    // §16.11: the Via tells the rest; the listener is one that we have, unless there are fewer by now.
    let listener = cx.settings.listeners.get(back.listener).or_else(|| cx.settings.listeners.first());
    let Some(listener) = listener else { return false };
    let flow = Flow {
        transport: listener.transport,
        local: listener.address,
        remote: back.address,
        connection: back.connection,
    };
    let mut edits = Edits::new();
    edits.pop_via();
    if flow.transport.is_reliable() {
        edits.ensure_content_length();
    }
    let mut out = Vec::new();
    edits.write(response, &mut out);
    cx.core.counters.responses_forwarded += 1;
    cx.transmit(Transmit { flow, bytes: out.into_boxed_slice().into() });
    true
}
