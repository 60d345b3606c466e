//! Click to dial: the server calls one, then another, and joins them (RFC 3725 §4.3, flow III).
//!
//! Flow III and not IV, which RFC 3725 §5 recommends: many phones refuse an INVITE whose description has no streams, which
//! flow IV begins with, and all of them make an offer where none came. What flow III needs besides, streams brought into
//! the order of another session, is there for transfers already.

use std::collections::BTreeMap;

use dialtone_wire::net::Flow;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Status};
use smol_str::{SmolStr, format_smolstr};

use super::join::{Goal, Task, TaskId, TaskStage};
use super::originate::{Party, Wanted};
use super::record::Sought;
use super::{B2bua, LegId};
use crate::context::Context;
use crate::engine::Caller;
use crate::io::{Dial, DialState};

/// A call between two that somebody has asked for from outside.
#[derive(Debug)]
pub(super) struct DialTask {
    token: u64,
    second: UriBuf,
    /// Whom the second one sees, and by whose right he is called.
    from: Party,
    local: Flow,
    sought: Sought,
}

/// How far such calls are. Those that are over are kept as long as there is room.
#[derive(Debug, Default)]
pub(super) struct Dials(BTreeMap<u64, DialState>);

impl Dials {
    fn set(&mut self, token: u64, state: DialState) {
        if let Some(known) = self.0.get_mut(&token) {
            *known = state;
        }
    }

    fn begin(&mut self, token: u64, limit: usize) -> bool {
        while self.0.len() >= limit.max(1) {
            let Some(over) = self.0.iter().find(|(_, state)| state.is_over()).map(|(token, _)| *token) else {
                return false;
            };
            self.0.remove(&over);
        }
        self.0.insert(token, DialState::Calling { second: false });
        true
    }
}

impl B2bua {
    /// Calls the first of two, over the listener of this flow.
    pub(crate) fn dial(&mut self, cx: &mut Context<'_>, dial: Dial, local: Flow) {
        let Dial { token, first, second, caller } = dial;
        if !self.dials.begin(token, cx.settings.limits.dials) {
            return;
        }
        let party = |aor: &SmolStr| {
            let (user, domain) = aor.strip_prefix("sip:")?.rsplit_once('@')?;
            let user = dialtone_wire::uri::unescape(user);
            let caller = Caller { user, domain: SmolStr::new(domain) };
            Some(Party { address: format_smolstr!("<{aor}>"), user: Some(caller), outside: false })
        };
        let parsed = party(&first).zip(party(&caller)).zip(UriBuf::parse(&first).ok());
        let Some(((first_party, from), to)) = parsed else {
            return self.dials.set(token, DialState::Refused { second: false, status: Status::of(404) });
        };
        cx.core.counters.dialled += 1;
        let task = self.next_task();
        // His phone shows whom he is about to talk with; it is his own call.
        let shown = Party { address: format_smolstr!("<{}>", second.as_str()), user: None, outside: false };
        let headers = vec![(HeaderName::Subject, SmolStr::new_static("Call that you asked for"))];
        let wanted = Wanted { to, from: &shown, by: &first_party, headers, local, task };
        // The task has no leg before this one.
        let Some(leg) = self.originate(cx, wanted) else {
            return self.dials.set(token, DialState::Refused { second: false, status: Status::of(503) });
        };
        let sought = Sought {
            since: cx.now,
            call_id: self.legs.get(&leg).map(|leg| leg.call_id.clone()).unwrap_or_default(),
            parties: [first_party.address, shown.address],
        };
        let goal = Goal::Dial(DialTask { token, second, from, local, sought });
        self.begin_task(task, Task::new(None, leg, TaskStage::First, goal));
    }

    /// How far a call is that was asked for; `None` when there is none, or it is long over.
    pub(crate) fn dialled(&self, token: u64) -> Option<DialState> {
        self.dials.0.get(&token).copied()
    }

    pub(super) fn dial_progress(&mut self, id: TaskId, leg: LegId, status: Status) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Goal::Dial(dial) = &task.goal else { return };
        if matches!(status.code(), 180 | 183) {
            self.dials.set(dial.token, DialState::Ringing { second: task.offerer == Some(leg) });
        }
    }

    /// The first one has answered: the second one is called.
    pub(super) fn dial_second(&mut self, cx: &mut Context<'_>, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = TaskStage::Calling;
        let Goal::Dial(dial) = &task.goal else { return };
        let (to, from, local, token) = (dial.second.clone(), dial.from.clone(), dial.local, dial.token);
        self.dials.set(token, DialState::Calling { second: true });
        let wanted = Wanted { to, from: &from, by: &from, headers: Vec::new(), local, task: id };
        match self.originate(cx, wanted) {
            Some(leg) => self.task_calls(id, leg),
            None => self.task_failed(cx, id, Status::of(503)),
        }
    }

    pub(super) fn dial_done(&mut self, dial: &DialTask) {
        self.dials.set(dial.token, DialState::Talking);
    }

    pub(super) fn dial_failed(&mut self, cx: &mut Context<'_>, task: &Task, dial: &DialTask, status: Status) {
        dial.sought.record(cx, status);
        let second = task.stage != TaskStage::First;
        self.dials.set(dial.token, DialState::Refused { second, status });
    }
}
