//! The member and sender tables (RFC 3550 §6.2.1, §6.3.3 to §6.3.5), bounded.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::time::Instant;

use super::reception::Reception;

/// The most participants that are kept; those beyond are ignored, so that made-up SSRCs cost nothing.
pub const PARTICIPANTS_MAX: usize = 256;
/// M of §6.3.5: report intervals of silence after which a participant is forgotten.
const TIMEOUT_MULTIPLIER: u32 = 5;

/// One other participant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Participant {
    pub(super) ssrc: u32,
    pub(super) reception: Reception,
    /// Where its RTP came from first.
    pub(super) address: Option<SocketAddr>,
    /// Validated by RTP in sequence or by a valid RTCP packet.
    pub(super) is_member: bool,
    pub(super) is_sender: bool,
    /// Said BYE; kept for a while so that stragglers don't make it a member again (§6.2.1).
    pub(super) left: bool,
    last_heard: Instant,
    last_rtp: Instant,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub(super) struct Participants {
    list: Vec<Participant>,
}

impl Participants {
    /// The entry of `ssrc`, made when there is room.
    pub(super) fn entry(&mut self, now: Instant, ssrc: u32) -> Option<&mut Participant> {
        let index = match self.list.iter().position(|participant| participant.ssrc == ssrc) {
            Some(index) => index,
            None => {
                if self.list.len() == PARTICIPANTS_MAX {
                    // Those that never proved themselves give way.
                    let victim = self.list.iter().position(|participant| !participant.is_member)?;
                    self.list.swap_remove(victim);
                }
                self.list.push(Participant {
                    ssrc,
                    reception: Reception::default(),
                    address: None,
                    is_member: false,
                    is_sender: false,
                    left: false,
                    last_heard: now,
                    last_rtp: now,
                });
                self.list.len() - 1
            }
        };
        let participant = &mut self.list[index];
        participant.last_heard = now;
        Some(participant)
    }

    pub(super) fn find(&self, ssrc: u32) -> Option<&Participant> {
        self.list.iter().find(|participant| participant.ssrc == ssrc)
    }

    pub(super) fn find_mut(&mut self, ssrc: u32) -> Option<&mut Participant> {
        self.list.iter_mut().find(|participant| participant.ssrc == ssrc)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Participant> {
        self.list.iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.list.iter()
    }

    /// Members of the session beside us.
    pub(super) fn members(&self) -> usize {
        self.list.iter().filter(|participant| participant.is_member && !participant.left).count()
    }

    /// Senders beside us.
    pub(super) fn senders(&self) -> usize {
        self.list.iter().filter(|participant| participant.is_sender && !participant.left).count()
    }

    /// Times out the silent (§6.3.5): members after five deterministic intervals, senders after two intervals.
    /// Each that goes is handed to `forgotten`.
    pub(super) fn time_out(
        &mut self,
        now: Instant,
        interval: Duration,
        mut forgotten: impl FnMut(&Participant),
    ) {
        for participant in &mut self.list {
            if now.since(participant.last_rtp) > interval * 2 {
                participant.is_sender = false;
            }
        }
        self.list.retain(|participant| {
            let silence = now.since(participant.last_heard);
            let keep = silence <= interval.saturating_mul(TIMEOUT_MULTIPLIER);
            if !keep {
                forgotten(participant);
            }
            keep
        });
    }
}

impl Participant {
    /// Notes a valid RTP packet.
    pub(super) fn note_rtp(&mut self, now: Instant) {
        self.last_rtp = now;
        if !self.left {
            self.is_member = true;
            self.is_sender = true;
        }
    }
}
