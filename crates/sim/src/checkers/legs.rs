//! The ends of calls on the wire: of phones, and of the two legs that a call through a back-to-back user agent has there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::Method;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use super::Verdict;
use super::answers::TIMEOUT;
use super::traffic::{Traffic, Unit};
use crate::history::History;
use crate::world::HostId;

/// One end of a dialog that was answered: its host in one life, the Call-ID, its own tag and the other's.
type End<'a> = (HostId, u32, &'a SmolStr, &'a SmolStr, &'a SmolStr);

/// How long a BYE may wait for the ACK that has to come before it.
const BYE_WITHIN: Duration = Duration::from_secs(TIMEOUT.as_secs() + 1);

/// B11: "transferred party never gets BYE". Each dialog that was confirmed ends with a BYE from one side, or with its user
/// agent.
pub(super) fn each_dialog_ends(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    for (end, leg) in legs(traffic) {
        let (host, life, ..) = end;
        let went_down = history.downs(host).count() as u32 > life;
        verdict.judge(leg.ended.is_some() || leg.tampered || went_down, || {
            format!("{}: {end:?} was left behind", history.hosts[host.0].name)
        });
    }
}

/// When one side of a bridge is over, the other one is told at once, or gets another partner. The two legs of a bridge know
/// each other by the address of the media, which passes through; so do two legs whose far ends another host has joined, and
/// it is for that one to end them.
pub(super) fn no_leg_left_behind(history: &History, traffic: &Traffic, verdict: &mut Verdict) {
    let legs = legs(traffic);
    for (end, leg) in &legs {
        let (host, life, ..) = *end;
        let Some(over) = leg.ended.filter(|_| !history.hosts[host.0].is_phone && !leg.tampered) else {
            continue;
        };
        let described =
            |media: &[Described]| media.iter().rfind(|media| media.at <= over).map(|media| media.address);
        let Some(came) = described(&leg.received) else { continue };
        let others = legs.iter().filter(|((other, its_life, ..), _)| (*other, *its_life) == (host, life));
        for (other, peer) in others.filter(|(other, _)| *other != end) {
            let is_peer = described(&peer.sent) == Some(came) && peer.began <= over;
            let is_transferred = [leg, peer].iter().any(|leg| leg.referred.is_some_and(|at| at <= over));
            let was_over = peer.ended.is_some_and(|at| at < over);
            let is_joined_elsewhere =
                far_end(&legs, *end).zip(far_end(&legs, *other)).is_some_and(|(one, other)| {
                    one == other && one != (host, life) && !history.hosts[one.0.0].is_phone
                });
            if !is_peer || is_transferred || is_joined_elsewhere || was_over || peer.tampered {
                continue;
            }
            let until = over + BYE_WITHIN;
            let acted = peer.acts.iter().any(|at| *at >= over && *at <= until);
            let is_over = peer.ended.is_some_and(|at| at <= until);
            let went_down = history.downs(host).nth(life as usize).is_some_and(|at| at <= until);
            verdict.judge(acted || is_over || went_down, || {
                format!("{}: {other:?} heard nothing of the end of {end:?}", history.hosts[host.0].name)
            });
        }
    }
}

/// The host at the other end of a dialog, and in which life.
fn far_end(
    legs: &BTreeMap<End<'_>, Leg>,
    (host, life, call_id, local, remote): End<'_>,
) -> Option<(HostId, u32)> {
    let ends = legs.keys().filter(|end| (end.2, end.3, end.4) == (call_id, remote, local));
    let mut hosts = ends.map(|end| (end.0, end.1));
    hosts.find(|far| *far != (host, life))
}

/// The address of the media in a session description.
#[derive(Debug)]
struct Described {
    at: Instant,
    address: SocketAddr,
    /// The method and the CSeq of the request that it was in.
    request: Option<(Method, u32)>,
}

/// What is known of one end of a dialog.
#[derive(Debug)]
struct Leg {
    began: Instant,
    /// When a BYE was sent or came.
    ended: Option<Instant>,
    /// The addresses of the media in what came and in what was sent, but for offers that were refused.
    received: Vec<Described>,
    sent: Vec<Described>,
    /// When it sent requests of its own that end the call or change it.
    acts: Vec<Instant>,
    /// When it took a REFER.
    referred: Option<Instant>,
    tampered: bool,
}

/// All ends of dialogs that were answered.
fn legs(traffic: &Traffic) -> BTreeMap<End<'_>, Leg> {
    let mut legs = BTreeMap::new();
    let successes = traffic.units.iter().filter(|unit| unit.is_success() && unit.method == Method::Invite);
    let answered: BTreeSet<_> = successes.map(|unit| (unit.receiver, name(unit))).collect();
    for unit in &traffic.units {
        let Some((host, life)) = unit.sender.filter(|_| unit.own) else { continue };
        let key = if unit.is_success() && unit.method == Method::Invite {
            (host, life, &unit.call_id, &unit.to_tag, &unit.from_tag)
        } else if unit.is_request()
            && unit.method == Method::Ack
            && answered.contains(&(Some(host), name(unit)))
        {
            (host, life, &unit.call_id, &unit.from_tag, &unit.to_tag)
        } else {
            continue;
        };
        let tampered = unit.tampered;
        legs.entry(key).or_insert_with(|| Leg {
            began: unit.sent,
            ended: None,
            received: Vec::new(),
            sent: Vec::new(),
            acts: Vec::new(),
            referred: None,
            tampered,
        });
    }
    let mut by_call: BTreeMap<&SmolStr, Vec<End<'_>>> = BTreeMap::new();
    for end in legs.keys() {
        by_call.entry(end.2).or_default().push(*end);
    }
    for unit in &traffic.units {
        for end in by_call.get(&unit.call_id).into_iter().flatten() {
            if let Some(leg) = legs.get_mut(end) {
                leg.learn(*end, unit);
            }
        }
    }
    legs
}

/// What an INVITE, its 2xx and the ACK of that have in common.
fn name(unit: &Unit) -> (&SmolStr, &SmolStr, &SmolStr, u32) {
    (&unit.call_id, &unit.from_tag, &unit.to_tag, unit.cseq)
}

impl Leg {
    fn learn(&mut self, (host, life, _, local, remote): End<'_>, unit: &Unit) {
        let is = |tag: &SmolStr, own: &SmolStr| tag == own || tag.is_empty();
        // Requests of ours and answers to the other's have our tag in From and in To.
        let ours = unit.sender == Some((host, life)) && {
            let (mine, its) = if unit.is_request() {
                (&unit.from_tag, &unit.to_tag)
            } else {
                (&unit.to_tag, &unit.from_tag)
            };
            mine == local && is(its, remote)
        };
        let theirs = unit.receiver == Some(host) && {
            let (its, mine) = if unit.is_request() {
                (&unit.from_tag, &unit.to_tag)
            } else {
                (&unit.to_tag, &unit.from_tag)
            };
            its == remote && is(mine, local)
        };
        // An ACK with a description joins it with another one (RFC 3725).
        let is_change = match unit.method {
            Method::Invite | Method::Update | Method::Bye => unit.is_request(),
            Method::Ack => unit.media.is_some(),
            _ => false,
        };
        let described = |at: Instant| {
            let request = unit.is_request().then(|| (unit.method.clone(), unit.cseq));
            unit.media.map(|address| Described { at, address, request })
        };
        if ours {
            self.acts.extend(is_change.then_some(unit.sent));
            // What never arrives joins nobody.
            self.sent.extend(described(unit.sent).filter(|_| !unit.arrivals.is_empty()));
            if unit.method == Method::Refer && unit.is_success() {
                self.referred.get_or_insert(unit.sent);
            }
        }
        let came = unit.arrivals.iter().min().copied().filter(|_| theirs);
        self.received.extend(came.and_then(described));
        if unit.is_final() && !unit.is_success() && (ours || came.is_some()) {
            let offers = if ours { &mut self.received } else { &mut self.sent };
            let refused = Some((unit.method.clone(), unit.cseq));
            offers.retain(|offer| offer.request != refused);
        }
        if unit.method == Method::Bye && unit.is_request() {
            let at = if ours { Some(unit.sent) } else { came };
            self.ended = [self.ended, at].into_iter().flatten().min();
        }
    }
}
