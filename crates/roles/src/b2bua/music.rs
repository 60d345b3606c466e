//! Who is called to play music: for those whose calls are parked, and for those who are held (see [`super::hold`]). It is a
//! call to who plays, joined with theirs (RFC 7088; RFC 5359 §2.3 has the phone that holds do it).
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

use std::time::Duration;

use dialtone_wire::Status;

use super::join::{Goal, Task, TaskId, TaskStage};
use super::originate::{Party, Wanted};
use super::{B2bua, LegId};
use crate::context::Context;

/// How long nobody is called who plays after one could not be had: a holder may hold and resume as fast as he likes.
const TRY_AGAIN: Duration = Duration::from_secs(10);

impl B2bua {
    /// Calls whoever plays music to one whose call was parked.
    pub(super) fn play_music(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.task.is_none()) else { return };
        let Some(parked) = &leg.parked else { return };
        let parker = parked.parker.clone();
        self.call_music(cx, id, &parker);
    }

    /// Calls whoever plays music, by somebody's right, to join him with one who waits.
    pub(super) fn call_music(&mut self, cx: &mut Context<'_>, id: LegId, by: &Party) {
        let Some(to) = cx.settings.bridges.music.clone() else { return };
        let Some(leg) = self.legs.get(&id) else { return };
        let (from, local) = (leg.party.clone(), leg.local);
        let task = self.next_task();
        self.begin_task(task, Task::new(None, id, TaskStage::Calling, Goal::Music));
        let wanted = Wanted { to, from: &from, by, headers: Vec::new(), local, task };
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

    /// Nobody plays anything to one who waits, since that came to nothing.
    pub(super) fn music_ended(&mut self, cx: &Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(parked) = &mut leg.parked {
            parked.music = None;
        }
        leg.hold.before = None;
        leg.hold.silent_until = Some(cx.now + TRY_AGAIN);
        if let Some(music) = leg.hold.music.take().and_then(|music| self.legs.get_mut(&music)) {
            music.hold.plays_to = None;
        }
    }

    /// Whether a task only brings music.
    pub(super) fn is_for_music(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| matches!(task.goal, Goal::Music))
    }

    /// Somebody is about to take a call that waits: music that has not begun is not waited for.
    pub(super) fn drop_music_task(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(task) = self.legs.get(&id).and_then(|leg| leg.task) else { return };
        if self.is_for_music(task) {
            self.task_failed(cx, task, Status::of(487));
        }
    }

    /// Who plays music is about to end: the one who heard it goes on waiting, and is held.
    pub(super) fn leave_to_silence(&mut self, cx: &mut Context<'_>, id: LegId) {
        if let Some(held) = self.legs.get_mut(&id).and_then(|leg| leg.hold.plays_to.take()) {
            if let Some(leg) = self.legs.get_mut(&held) {
                leg.hold.music = None;
            }
            return self.hold_as_before(cx, held);
        }
        let Some(peer) = self.legs.get(&id).and_then(|leg| leg.peer) else { return };
        let parked = self.legs.get_mut(&peer).and_then(|leg| leg.parked.as_mut());
        if let Some(parked) = parked.filter(|parked| parked.music == Some(id)) {
            parked.music = None;
            self.unpeer(id);
            self.hold(cx, peer);
        }
    }

    /// One who is held and hears music is parked: the same music plays on. Says whether it is so.
    pub(super) fn music_plays_on(&mut self, id: LegId) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        leg.hold.before = None;
        let Some(music) = leg.hold.music.take() else { return false };
        if let Some(parked) = &mut leg.parked {
            parked.music = Some(music);
        }
        if let Some(music) = self.legs.get_mut(&music) {
            music.hold.plays_to = None;
        }
        self.peer(id, music);
        true
    }

    /// Whether a leg is that of a parked call, or of who plays music there: neither of them is transferred.
    pub(super) fn is_of_parked(&self, id: LegId) -> bool {
        let is_parked = |id: LegId| self.legs.get(&id).is_some_and(|leg| leg.parked.is_some());
        is_parked(id) || self.legs.get(&id).and_then(|leg| leg.peer).is_some_and(is_parked)
    }
}
