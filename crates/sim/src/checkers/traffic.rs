//! The datagrams of a run, read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::time::Instant;
use dialtone_wire::{Limits, Message, Method};
use smol_str::{SmolStr, ToSmolStr as _};

use crate::history::History;
use crate::network::{Fate, Packet};
use crate::world::HostId;

/// What a host needs to hear that its network has refused something.
const MOMENT: Duration = Duration::from_millis(1);

/// A datagram that is a whole SIP message.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its index in the capture.
    pub index: usize,
    /// When it was sent.
    pub sent: Instant,
    /// When it came, if it did.
    pub arrivals: Vec<Instant>,
    /// Whether the sender's network refused it.
    pub refused: bool,
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The host that sent it, if it is one of ours, and in which life.
    pub sender: Option<(HostId, u32)>,
    /// The host that it was sent to, if it is one of ours.
    pub receiver: Option<HostId>,
    /// The method of a request; of a response that in CSeq.
    pub method: Method,
    /// The status of a response.
    pub status: Option<u16>,
    /// The number in CSeq.
    pub cseq: u32,
    /// The branch of the topmost Via.
    pub branch: SmolStr,
    /// Whether its sender made it; else it came to the sender before, and was passed on. A back-to-back user agent makes
    /// what it sends on each of its legs, whatever became of it between them in the same process.
    pub own: bool,
    /// The Call-ID.
    pub call_id: SmolStr,
    /// The tag in From.
    pub from_tag: SmolStr,
    /// The tag in To.
    pub to_tag: SmolStr,
    /// The RTP address in its session description.
    pub media: Option<SocketAddr>,
    /// Whether somebody sent mutilated messages of the same Call-ID: who hears a call can take it over.
    pub tampered: bool,
}

/// All datagrams of a run that are SIP messages.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// In the order of sending.
    pub units: Vec<Unit>,
}

impl Traffic {
    /// Reads a history. What an agent mutilated is left out: nobody promises anything about it.
    pub fn of(history: &History) -> Traffic {
        let units = history.packets.iter().enumerate();
        let mut units: Vec<Unit> = units.filter_map(|(index, packet)| read(history, index, packet)).collect();
        let mutilated: Vec<&Packet> =
            history.packets.iter().filter(|packet| !history.is_honest(packet.from)).collect();
        if !mutilated.is_empty() {
            let mut known: BTreeMap<SmolStr, bool> = BTreeMap::new();
            for unit in &mut units {
                // Who repeats the branch of a request with another Call-ID begins its transaction in its place
                // (RFC 3261 §17.2.3).
                unit.tampered = [&unit.call_id, &unit.branch].into_iter().any(|id| {
                    let is_in = |packet: &&Packet| contains(&packet.bytes, id.as_bytes());
                    let tampered = || !id.is_empty() && mutilated.iter().any(is_in);
                    *known.entry(id.clone()).or_insert_with(tampered)
                });
            }
        }
        mark_own(&mut units);
        Traffic { units }
    }

    /// Whether the network refused a datagram of a host to an address in that time. Over UDP nothing says which one it
    /// was, and all transactions with that address end (RFC 3261 §17.1.4, §17.2.4), a moment later.
    pub(super) fn was_refused(&self, host: HostId, to: SocketAddr, from: Instant, until: Instant) -> bool {
        self.units.iter().any(|unit| {
            let is_of_host = unit.sender.is_some_and(|(sender, _)| sender == host);
            unit.refused && is_of_host && unit.to == to && unit.sent + MOMENT >= from && unit.sent <= until
        })
    }

    /// The requests of a method.
    pub fn requests<'a>(&'a self, method: &'a Method) -> impl Iterator<Item = &'a Unit> {
        self.units.iter().filter(move |unit| unit.status.is_none() && unit.method == *method)
    }
}

impl Unit {
    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        self.status.is_none()
    }

    /// Whether it is a 2xx.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether it is a final response.
    pub fn is_final(&self) -> bool {
        self.status.is_some_and(|status| status >= 200)
    }

    /// In a few words.
    pub fn brief(&self) -> String {
        let what = match self.status {
            Some(status) => format!("{status} to {}", self.method),
            None => self.method.to_string(),
        };
        format!(
            "#{} at {:?}: {what} {} -> {}, branch {}, Call-ID {}",
            self.index, self.sent, self.from, self.to, self.branch, self.call_id
        )
    }
}

fn read(history: &History, index: usize, packet: &Packet) -> Option<Unit> {
    if !history.is_honest(packet.from) || !history.is_honest(packet.to) {
        return None;
    }
    let message = Message::parse(packet.bytes.clone(), &Limits::default()).ok()?;
    let cseq = message.cseq().ok()?;
    let via = message.via().ok()?;
    let sender = history.host_at(packet.from).map(|host| (host, history.life_at(host, packet.sent)));
    Some(Unit {
        index,
        sent: packet.sent,
        arrivals: packet.arrivals.to_vec(),
        refused: packet.fate == Fate::Refused,
        from: packet.from,
        to: packet.to,
        sender,
        receiver: history.host_at(packet.to),
        method: cseq.method.clone(),
        status: message.status().map(|status| status.code()),
        cseq: cseq.number,
        branch: via.branch().unwrap_or_default().to_smolstr(),
        own: true,
        call_id: message.call_id().ok()?.to_smolstr(),
        from_tag: message.from().ok()?.tag().unwrap_or_default().to_smolstr(),
        to_tag: message.to().ok()?.tag().unwrap_or_default().to_smolstr(),
        media: media_of(message.body()),
        tampered: false,
    })
}

/// What a message keeps on its way from user agent to user agent, and who got it.
type Sameness<'a> = (HostId, &'a SmolStr, &'a SmolStr, &'a SmolStr, u32, &'a str, Option<u16>);

fn sameness(unit: &Unit, host: HostId) -> Sameness<'_> {
    let Unit { call_id, from_tag, to_tag, cseq, method, status, .. } = unit;
    (host, call_id, from_tag, to_tag, *cseq, method.as_str(), *status)
}

/// Tells what each host made itself from what it passed on: what it sent before it came.
fn mark_own(units: &mut [Unit]) {
    let mut came: BTreeMap<Sameness<'_>, Instant> = BTreeMap::new();
    // A request that comes round again goes out on another branch.
    let mut sent: BTreeMap<(Sameness<'_>, &SmolStr), Instant> = BTreeMap::new();
    for unit in units.iter() {
        if let Some((host, _)) = unit.sender {
            sent.entry((sameness(unit, host), &unit.branch)).or_insert(unit.sent);
        }
        if let (Some(host), Some(first)) = (unit.receiver, unit.arrivals.iter().min()) {
            let known = came.entry(sameness(unit, host)).or_insert(*first);
            *known = (*known).min(*first);
        }
    }
    let is_own = |unit: &Unit| {
        let key = unit.sender.map(|(host, _)| sameness(unit, host));
        let times = key.and_then(|key| came.get(&key).zip(sent.get(&(key, &unit.branch))));
        times.is_none_or(|(came, sent)| sent < came)
    };
    let own: Vec<bool> = units.iter().map(is_own).collect();
    for (unit, own) in units.iter_mut().zip(own) {
        unit.own = own;
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len().max(1)).any(|window| window == part)
}

/// The RTP address of the first stream.
fn media_of(body: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(body).ok()?;
    let value = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let ip = value("c=IN IP4 ").or_else(|| value("c=IN IP6 "))?.trim().parse().ok()?;
    let port = value("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}
