//! What many runs must have shown: that calls were forked, went through long chains, were led elsewhere. A swarm in
//! which nothing of the kind happens proves nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use dialtone_roles::io::Event;
use dialtone_wire::{HeaderName, Limits, Message, Method};
use smol_str::{SmolStr, ToSmolStr as _};

use crate::history::{History, HostFacts, What};
use crate::network::Packet;

/// How often each was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sights([u64; NAMES.len()]);

const NAMES: [&str; 31] = [
    "an INVITE forked by one server",
    "a branch that lost to another and was told so",
    "a call to a group, answered",
    "an INVITE behind four proxies",
    "a call forwarded without state, answered",
    "a call with 181, being forwarded",
    "an INVITE with History-Info",
    "a call in two halves, answered",
    "a REFER, accepted",
    "a REFER to an address",
    "a REFER to a call",
    "an INVITE with Replaces",
    "a call that took the place of another",
    "a NOTIFY that tells of a transfer",
    "an INFO, answered",
    "an INFO through two halves",
    "an UPDATE before the answer",
    "an UPDATE in a call",
    "an UPDATE through two halves",
    "a PRACK, answered",
    "a PRACK through two halves",
    "a session refreshed in two halves",
    "a call of two halves that nobody refreshed",
    "a transfer by the server, done",
    "a transfer by the server, failed",
    "a call parked",
    "music for one who is held or parked",
    "a call fetched from its slot",
    "a call picked up",
    "a call with 182, in a queue",
    "glare at a call of two halves: 491",
];

/// What has to be known of the packets before one.
#[derive(Debug, Default)]
struct Known {
    branches: BTreeMap<(std::net::SocketAddr, SmolStr, u32), Vec<SmolStr>>,
    /// Calls that were answered.
    answered: BTreeSet<SmolStr>,
}

impl Sights {
    /// Looks at a run.
    pub(super) fn of(history: &History, groups: &[&str]) -> Sights {
        let mut sights = Sights::default();
        let mut known = Known::default();
        for packet in history.packets.iter().filter(|packet| history.is_honest(packet.from)) {
            let Ok(message) = Message::parse(packet.bytes.clone(), &Limits::default()) else { continue };
            match message.status() {
                None => sights.see_request(history, packet, &message, &mut known),
                Some(status) => {
                    let host = history.host_at(packet.from).map(|host| &history.hosts[host.0]);
                    sights.see_response(host, status.code(), &message, groups, &mut known);
                }
            }
        }
        for note in &history.notes {
            let is_replaced = matches!(note.what, What::Event(Event::Replaced { .. }));
            sights.see_if("a call that took the place of another", is_replaced);
        }
        for host in &history.hosts {
            sights.add_to("a transfer by the server, done", host.counters.transfers_done);
            sights.add_to("a transfer by the server, failed", host.counters.transfers_failed);
            sights.add_to("a call parked", host.counters.calls_parked);
            sights.add_to("music for one who is held or parked", host.counters.music_played);
            sights.add_to("a call picked up", host.counters.calls_picked_up);
        }
        sights
    }

    fn see_request(&mut self, history: &History, packet: &Packet, message: &Message, known: &mut Known) {
        let call_id = message.call_id().unwrap_or_default();
        let host = history.host_at(packet.from).map(|host| &history.hosts[host.0]);
        let is_bridge = host.is_some_and(|host| host.is_b2bua);
        match message.method() {
            Some(Method::Invite) => {
                let is_server = host.is_some_and(|host| !host.is_phone);
                if is_server && message.to_tag() == Ok(None) && is_fork(packet, message, known) {
                    self.see("an INVITE forked by one server");
                }
                self.see_if("an INVITE behind four proxies", message.values(HeaderName::Via).count() >= 5);
                self.see_if("an INVITE with History-Info", message.has(HeaderName::HistoryInfo));
                self.see_if("an INVITE with Replaces", message.has(HeaderName::Replaces));
            }
            Some(Method::Cancel) => {
                let is_told = has(message, HeaderName::Reason, b"elsewhere");
                self.see_if("a branch that lost to another and was told so", is_told);
            }
            Some(Method::Bye) => {
                let is_bridged = is_bridge && has(message, HeaderName::Reason, b"Session not refreshed");
                self.see_if("a call of two halves that nobody refreshed", is_bridged);
            }
            Some(Method::Refer) => {
                let is_attended = has(message, HeaderName::ReferTo, b"Replaces=");
                self.see(if is_attended { "a REFER to a call" } else { "a REFER to an address" });
            }
            Some(Method::Update) => {
                let is_early = !known.answered.contains(call_id);
                self.see(if is_early { "an UPDATE before the answer" } else { "an UPDATE in a call" });
                self.see_if("an UPDATE through two halves", is_bridge && !message.body().is_empty());
            }
            Some(Method::Notify) => {
                self.see_if("a NOTIFY that tells of a transfer", message.body().starts_with(b"SIP/2.0 "));
            }
            _ => {}
        }
    }

    fn see_response(
        &mut self,
        host: Option<&HostFacts>,
        status: u16,
        message: &Message,
        groups: &[&str],
        known: &mut Known,
    ) {
        let Ok(cseq) = message.cseq() else { return };
        let is_bridge = host.is_some_and(|host| host.is_b2bua);
        match (status, &cseq.method) {
            (200, Method::Invite) => {
                known.answered.insert(message.call_id().unwrap_or_default().to_smolstr());
                let to =
                    message.to().ok().and_then(|to| to.uri.as_sip()?.user_unescaped()).unwrap_or_default();
                self.see_if("a call to a group, answered", groups.contains(&to.as_str()));
                let is_stateless = host.is_some_and(|host| host.is_stateless);
                self.see_if("a call forwarded without state, answered", is_stateless);
                self.see_if("a call in two halves, answered", is_bridge);
                self.see_if("a call fetched from its slot", is_bridge && to.starts_with("*5"));
            }
            (181, _) => self.see("a call with 181, being forwarded"),
            (182, _) => self.see("a call with 182, in a queue"),
            (491, _) => self.see_if("glare at a call of two halves: 491", is_bridge),
            (200 | 202, Method::Refer) => self.see("a REFER, accepted"),
            (200, Method::Info) => {
                self.see("an INFO, answered");
                self.see_if("an INFO through two halves", is_bridge);
            }
            (200, Method::Prack) => {
                self.see("a PRACK, answered");
                self.see_if("a PRACK through two halves", is_bridge);
            }
            (200, Method::Update) => {
                let is_timed = message.body().is_empty() && message.has(HeaderName::SessionExpires);
                self.see_if("a session refreshed in two halves", is_bridge && is_timed);
            }
            _ => {}
        }
    }

    fn see_if(&mut self, name: &str, seen: bool) {
        self.add_to(name, u64::from(seen));
    }

    fn see(&mut self, name: &str) {
        self.add_to(name, 1);
    }

    fn add_to(&mut self, name: &str, count: u64) {
        if count > 0 {
            let place = NAMES.iter().position(|known| *known == name).expect("each sight has its name");
            self.0[place] += count;
        }
    }

    /// Adds those of another run.
    pub(super) fn add(&mut self, other: &Sights) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// Each with its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.0)
    }
}

/// Whether an INVITE is the second branch of one.
fn is_fork(packet: &Packet, message: &Message, known: &mut Known) -> bool {
    let (Ok(cseq), Ok(via)) = (message.cseq(), message.via()) else { return false };
    let call_id = message.call_id().unwrap_or_default().to_smolstr();
    let branch = via.branch().unwrap_or_default();
    let branches = known.branches.entry((packet.from, call_id, cseq.number)).or_default();
    if branches.iter().any(|known| known == branch) {
        return false;
    }
    branches.push(branch.to_smolstr());
    branches.len() == 2
}

fn has(message: &Message, header: HeaderName, part: &[u8]) -> bool {
    message.value(header).unwrap_or_default().windows(part.len()).any(|window| window == part)
}
