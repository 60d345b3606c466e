//! Music for those whose calls are parked: a call to who plays it, joined with theirs (RFC 7088; RFC 5359 §2.3 has the phone
//! that holds do it).
//!
//! ```text
//!   parked (held)                 server                   who plays
//!     |                             |------ INVITE, no description ----->|   by the right of him who has parked
//!     |                             |<------------ 200, offer -----------|
//!     |<--- INVITE, a=sendonly -----|                                    |
//!     |------ 200, a=recvonly ----->|                                    |
//!     |<----------- ACK ------------|-------- ACK, a=recvonly ---------->|   until somebody takes the call
//! ```
//!
//! He is held until then, and where nobody can be had who plays something; who plays and hangs up leaves him held.

use super::join::{Goal, Task, TaskStage};
use super::originate::Wanted;
use super::{B2bua, LegId};
use crate::context::Context;
use dialtone_wire::Status;

impl B2bua {
    /// Calls whoever plays music to one whose call was parked.
    pub(super) fn play_music(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(to) = cx.settings.bridges.music.clone() else { return };
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.task.is_none()) else { return };
        let Some(parked) = &leg.parked else { return };
        let (parker, from, local) = (parked.parker.clone(), leg.party.clone(), leg.local);
        let task = self.next_task();
        self.begin_task(task, Task::new(None, id, TaskStage::Calling, Goal::Music));
        let wanted = Wanted { to, from: &from, by: &parker, headers: Vec::new(), local, task };
        match self.originate(cx, wanted) {
            Some(music) => {
                self.task_calls(task, music);
                if let Some(parked) = self.legs.get_mut(&id).and_then(|leg| leg.parked.as_mut()) {
                    parked.music = Some(music);
                }
            }
            None => self.task_failed(cx, task, Status::of(500)),
        }
    }

    /// Nobody plays anything to one who is parked.
    pub(super) fn music_ended(&mut self, id: LegId) {
        if let Some(parked) = self.legs.get_mut(&id).and_then(|leg| leg.parked.as_mut()) {
            parked.music = None;
        }
    }

    /// Somebody is about to take a parked call: music that has not begun is not waited for.
    pub(super) fn drop_music_task(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(task) = self.legs.get(&id).and_then(|leg| leg.task) else { return };
        if self.tasks.get(&task).is_some_and(|task| matches!(task.goal, Goal::Music)) {
            self.task_failed(cx, task, Status::of(487));
        }
    }

    /// Who plays music is about to end: the one who heard it goes on waiting, and is held.
    pub(super) fn leave_to_silence(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(peer) = self.legs.get(&id).and_then(|leg| leg.peer) else { return };
        let parked = self.legs.get(&peer).and_then(|leg| leg.parked.as_ref());
        if parked.is_some_and(|parked| parked.music == Some(id)) {
            self.unpeer(id);
            self.music_ended(peer);
            self.hold(cx, peer);
        }
    }

    /// Whether a leg is that of a parked call, or of who plays music there: neither of them is transferred.
    pub(super) fn is_of_parked(&self, id: LegId) -> bool {
        let is_parked = |id: LegId| self.legs.get(&id).is_some_and(|leg| leg.parked.is_some());
        is_parked(id) || self.legs.get(&id).and_then(|leg| leg.peer).is_some_and(is_parked)
    }
}
