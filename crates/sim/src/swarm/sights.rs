//! What many runs must have shown: that calls were forked, went through long chains, were led elsewhere. A swarm in
//! which nothing of the kind happens proves nothing of it.

use std::collections::BTreeMap;

use dialtone_wire::{HeaderName, Limits, Message, Method};
use smol_str::{SmolStr, ToSmolStr as _};

use crate::history::History;

/// How often each was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sights([u64; NAMES.len()]);

const NAMES: [&str; 12] = [
    "an INVITE forked by one server",
    "a branch that lost to another and was told so",
    "a call to a group, answered",
    "an INVITE behind four proxies",
    "a call forwarded without state, answered",
    "a call with 181, being forwarded",
    "an INVITE with History-Info",
    "a call in two halves, answered",
    "a REFER, accepted",
    "an INVITE with Replaces",
    "a NOTIFY that tells of a transfer",
    "an INFO, answered",
];

impl Sights {
    /// Looks at a run.
    pub(super) fn of(history: &History, groups: &[&str]) -> Sights {
        let mut sights = Sights::default();
        let mut branches: BTreeMap<(std::net::SocketAddr, SmolStr, u32), Vec<SmolStr>> = BTreeMap::new();
        for packet in history.packets.iter().filter(|packet| history.is_honest(packet.from)) {
            let Ok(message) = Message::parse(packet.bytes.clone(), &Limits::default()) else { continue };
            let (Ok(cseq), Ok(via)) = (message.cseq(), message.via()) else { continue };
            let branch = via.branch().unwrap_or_default();
            match (message.method(), message.status().map(|status| status.code())) {
                (Some(Method::Invite), _) => {
                    let by_server =
                        history.host_at(packet.from).is_some_and(|host| !history.hosts[host.0].is_phone);
                    if by_server && message.to_tag() == Ok(None) {
                        let call_id = message.call_id().unwrap_or_default().to_smolstr();
                        let known = branches.entry((packet.from, call_id, cseq.number)).or_default();
                        if !known.iter().any(|known| known == branch) {
                            known.push(branch.to_smolstr());
                            sights.0[0] += u64::from(known.len() == 2);
                        }
                    }
                    sights.0[3] += u64::from(message.values(HeaderName::Via).count() >= 5);
                    sights.0[6] += u64::from(message.has(HeaderName::HistoryInfo));
                    sights.0[9] += u64::from(message.has(HeaderName::Replaces));
                }
                (Some(Method::Cancel), _) => {
                    let reason = message.value(HeaderName::Reason).unwrap_or_default();
                    sights.0[1] += u64::from(reason.windows(9).any(|part| part == b"elsewhere"));
                }
                (None, Some(200)) if cseq.method == Method::Invite => {
                    let to = message.to().ok().and_then(|to| to.uri.as_sip()?.user_unescaped());
                    sights.0[2] += u64::from(to.is_some_and(|user| groups.contains(&user.as_str())));
                    let host = history.host_at(packet.from);
                    sights.0[4] += u64::from(host.is_some_and(|host| history.hosts[host.0].is_stateless));
                    sights.0[7] += u64::from(host.is_some_and(|host| history.hosts[host.0].is_b2bua));
                }
                (None, Some(181)) => sights.0[5] += 1,
                (None, Some(200 | 202)) if cseq.method == Method::Refer => sights.0[8] += 1,
                (None, Some(200)) if cseq.method == Method::Info => sights.0[11] += 1,
                (Some(Method::Notify), _) => {
                    let body = message.body();
                    sights.0[10] += u64::from(body.starts_with(b"SIP/2.0 "));
                }
                _ => {}
            }
        }
        sights
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
