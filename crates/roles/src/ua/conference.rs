//! Three-way calls: our phone is the focus that mixes two calls of its own (RFC 4579 §5.1, RFC 5359 §2.10), and lets
//! a third in who asks for it by Join (RFC 3911 §4, RFC 5359 §2.11).
//!
//! ```text
//!      alice                       bob, the focus                 carol
//!        |<======= they talk ==========>|  INVITE (Join: alice-bob)   |
//!        |                              |<----------------------------|
//!        |                              |  180 Contact: conf;isfocus  |
//!        |                              |---------------------------->|
//!        |                    bob answers                             |
//!        |  INVITE Contact: conf;isfocus|                             |
//!        |<-----------------------------|                             |
//!        |                       200    |                             |
//!        |----------------------------->|  200 Contact: conf;isfocus  |
//!        |                              |---------------------------->|
//! ```
//!
//! A conference has a URI of ours: its user part is a random word, which stands in the Contact of each of its calls. Who
//! asks to be let in rings here, and the owner of the phone is told of it: nobody joins a call of ours unasked. His
//! INVITE gets its 2xx only when the others have agreed to the change, so that a join that fails leaves them as they were.

use std::collections::BTreeMap;

use dialtone_dialog::DialogId;
use dialtone_wire::headers::{Join, TypedHeader as _};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message, Status};
use smol_str::{SmolStr, format_smolstr};

use super::Ua;
use super::call::{Call, Stage, Step};
use super::desk::Desk;
use super::refusal::Refusal;
use super::session::Session;
use crate::contact_user::ContactUser;
use crate::context::Context;
use crate::io::{CallHandle, ChangeBy, EndReason, Event, HoldForm, Play};
use crate::settings::JoinPolicy;

/// All conferences of a phone, by the user parts of their URIs.
#[derive(Debug, Default)]
pub(super) struct Conferences {
    by_name: BTreeMap<SmolStr, Conference>,
    /// Names them for the media plane.
    last_number: u64,
}

/// One conference. It is there as long as one of its calls.
#[derive(Debug)]
struct Conference {
    number: u64,
    parties: Vec<Party>,
    /// Whether a far end did not agree to it.
    was_refused: bool,
}

/// A call of a conference.
#[derive(Debug)]
struct Party {
    call: CallHandle,
    standing: Standing,
}

/// How far a call has come into its conference.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    /// Somebody asks to join it, and is not let in yet: nothing has changed for it.
    Named,
    /// It rings here: its caller asks to be let in.
    AsksIn,
    /// He is let in as soon as the others have agreed; this is played to him.
    Admitted(Play),
    /// It waits until it is answered, or until the other side has agreed.
    Coming,
    /// It is in.
    In,
}

/// What an INVITE wants to be added to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The conversation of this call.
    Call(CallHandle),
    /// A conference of ours.
    Conference(SmolStr),
}

impl Conferences {
    /// Whether there is none.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn is_full(&self, name: &str, most: usize) -> bool {
        self.by_name.get(name).is_some_and(|conference| conference.parties.len() >= most)
    }

    /// The calls of a conference.
    fn calls(&self, name: &str) -> impl Iterator<Item = CallHandle> {
        self.by_name.get(name).into_iter().flat_map(|found| found.parties.iter().map(|party| party.call))
    }

    /// Adds a call to a conference, or changes how far it has come.
    fn place(&mut self, name: &SmolStr, call: CallHandle, standing: Standing) {
        let Conferences { by_name, last_number } = self;
        let conference = by_name.entry(name.clone()).or_insert_with(|| {
            *last_number += 1;
            Conference { number: *last_number, parties: Vec::new(), was_refused: false }
        });
        match conference.parties.iter_mut().find(|party| party.call == call) {
            Some(party) => party.standing = standing,
            None => conference.parties.push(Party { call, standing }),
        }
    }

    /// The conference in which somebody asks to join this call.
    fn naming(&self, call: CallHandle) -> Option<&SmolStr> {
        let is_it = |party: &Party| party.call == call && party.standing == Standing::Named;
        let found = self.by_name.iter().find(|(_, conference)| conference.parties.iter().any(is_it));
        found.map(|(name, _)| name)
    }
}

impl Ua {
    /// The owner wants two of his calls to be one conversation.
    pub(super) fn join(&mut self, cx: &mut Context<'_>, call: CallHandle, with: CallHandle) {
        let refused = |cx: &mut Context<'_>| cx.event(Event::NotJoined { call });
        if call == with || !self.may_come_in(call) || !self.may_come_in(with) {
            return refused(cx);
        }
        let (one, other) = (self.conference_of(call), self.conference_of(with));
        let name = match (one, other) {
            (Some(one), Some(other)) if one != other => return refused(cx),
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => new_name(cx),
        };
        let new = [call, with]
            .iter()
            .filter(|call| !self.conferences.calls(&name).any(|own| own == **call))
            .count();
        if self.conferences.calls(&name).count() + new > cx.settings.limits.conference_calls {
            return refused(cx);
        }
        for handle in [with, call] {
            self.bring_in(cx, &name, handle, false);
        }
    }

    /// The owner wants to be the focus for a call, which he may hold meanwhile.
    pub(super) fn focus(&mut self, cx: &mut Context<'_>, call: CallHandle, hold: bool) {
        if !self.may_come_in(call) {
            return cx.event(Event::NotJoined { call });
        }
        let name = self.conference_of(call).unwrap_or_else(|| new_name(cx));
        self.bring_in(cx, &name, call, hold);
    }

    /// The owner calls somebody into the conversation of a call.
    pub(super) fn call_in(
        &mut self,
        cx: &mut Context<'_>,
        token: u64,
        to: UriBuf,
        play: Play,
        call: CallHandle,
    ) {
        let name = self.conference_of(call);
        let is_full = name
            .as_ref()
            .is_some_and(|name| self.conferences.is_full(name, cx.settings.limits.conference_calls));
        if is_full || !self.may_come_in(call) {
            let (new, _) = self.add_outgoing(cx, play);
            cx.event(Event::CallStarted { token, call: new });
            cx.event(Event::NotJoined { call: new });
            return self.end(cx, new, EndReason::Overload);
        }
        let name = match name {
            Some(name) => name,
            None => {
                let name = new_name(cx);
                self.bring_in(cx, &name, call, false);
                name
            }
        };
        let (new, full) = self.add_outgoing(cx, play);
        cx.event(Event::CallStarted { token, call: new });
        if full {
            return self.end(cx, new, EndReason::Overload);
        }
        self.conferences.place(&name, new, Standing::Coming);
        self.with_call(cx, new, |call, desk, cx| {
            call.contact_user = ContactUser::focus(name);
            call.begin(desk, cx, to)
        });
    }

    /// The owner answers a call that rings.
    pub(super) fn answer_call(&mut self, cx: &mut Context<'_>, call: CallHandle, play: Play) {
        let asks = self.conference_of(call).filter(|name| {
            let conference = self.conferences.by_name.get(name);
            let is_it = |party: &Party| party.call == call && party.standing == Standing::AsksIn;
            conference.is_some_and(|conference| conference.parties.iter().any(is_it))
        });
        let Some(name) = asks else {
            return self.with_call(cx, call, |call, desk, cx| call.answer(desk, cx, play));
        };
        self.conferences.place(&name, call, Standing::Admitted(play));
        let named: Vec<CallHandle> = self
            .conferences
            .calls(&name)
            .filter(|other| self.conferences.naming(*other) == Some(&name))
            .collect();
        for other in named {
            self.bring_in(cx, &name, other, false);
        }
        self.settle_conference(cx, &name);
    }

    /// Makes a call one of a conference: the other side is told of the focus, unless it knows, and taken off hold, or put
    /// on hold.
    fn bring_in(&mut self, cx: &mut Context<'_>, name: &SmolStr, handle: CallHandle, hold: bool) {
        let Some(call) = self.calls.get_mut(handle) else { return };
        let is_in = call.contact_user.conference() == Some(name);
        if !is_in {
            self.conferences.place(name, handle, Standing::Coming);
        }
        let name = name.clone();
        self.with_call(cx, handle, |call, desk, cx| call.be_told_of_focus(desk, cx, name, hold));
    }

    fn conference_of(&self, call: CallHandle) -> Option<SmolStr> {
        let call = self.calls.get(call)?;
        call.contact_user.conference().or_else(|| self.conferences.naming(call.handle)).cloned()
    }

    fn may_come_in(&self, call: CallHandle) -> bool {
        self.calls.get(call).is_some_and(|call| match &call.stage {
            Stage::Answered(talk) | Stage::Confirmed(talk) => !talk.hung_up && !call.ties.is_robots(),
            Stage::Calling(_) | Stage::Ringing(_) => !call.ties.is_robots(),
            Stage::Cancelling { .. } | Stage::Ending { .. } => false,
        })
    }

    /// What an INVITE wants to be added to, if it asks for that: by Join, or since it goes to the URI of a conference.
    pub(super) fn joined_by(
        &self,
        cx: &mut Context<'_>,
        request: &Message,
    ) -> Result<Option<Joined>, Refusal> {
        let checked = self.find_joined(cx, request);
        match &checked {
            Ok(None) => {}
            Ok(Some(_)) => cx.core.counters.joins += 1,
            Err(_) => {
                cx.core.counters.joins += 1;
                cx.core.counters.joins_refused += 1;
            }
        }
        checked
    }

    fn find_joined(&self, cx: &Context<'_>, request: &Message) -> Result<Option<Joined>, Refusal> {
        let to = request.uri().ok().and_then(|uri| uri.as_sip().and_then(|sip| sip.user_unescaped()));
        let by_uri =
            to.filter(|user| self.conferences.by_name.contains_key(user.as_str())).map(Joined::Conference);
        let mut values = request.values(HeaderName::Join);
        let fault = |text| Err(Refusal::new(400).warning(cx.settings, 399, text));
        let joined = match (values.next(), values.next()) {
            (None, _) => by_uri,
            (Some(_), Some(_)) => return fault("There is more than one Join"),
            // §4: "another header field with contradictory semantics".
            (Some(_), None) if request.has(HeaderName::Replaces) => {
                return fault("Replaces and Join contradict each other");
            }
            (Some(value), None) => {
                let Ok(join) = Join::parse(value) else { return fault("Join can't be read") };
                match (self.joined_call(&join), by_uri) {
                    (Ok(call), _) => Some(Joined::Call(call)),
                    // "If no match is found, but the Request-URI in the INVITE corresponds to a conference URI, the UAS MUST
                    // ignore the Join header".
                    (Err(481), by_uri @ Some(_)) => by_uri,
                    (Err(code), _) => return Err(Refusal::new(code)),
                }
            }
        };
        let Some(joined) = joined else { return Ok(None) };
        let (is_robots, is_full) = match &joined {
            Joined::Call(handle) => {
                let call = self.calls.get(*handle);
                let most = cx.settings.limits.conference_calls;
                let is_full =
                    self.conference_of(*handle).is_some_and(|name| self.conferences.is_full(&name, most));
                (call.is_none_or(|call| call.ties.is_robots()), is_full || most < 2)
            }
            Joined::Conference(name) => {
                (false, self.conferences.is_full(name, cx.settings.limits.conference_calls))
            }
        };
        if is_robots || cx.settings.transfer.joins == JoinPolicy::Refuse {
            return Err(Refusal::new(403).warning(cx.settings, 399, "This call may not be joined by you"));
        }
        if is_full {
            // "If the UAS is incapable of satisfying the Join request, it MUST return a 488".
            return Err(Refusal::new(488).warning(cx.settings, 399, "The conference is full"));
        }
        Ok(Some(joined))
    }

    /// The call that a Join names, or the status that refuses it. Its tags are those of a request that comes in the
    /// dialog.
    fn joined_call(&self, join: &Join<'_>) -> Result<CallHandle, u16> {
        let id = |remote_tag: &str| DialogId {
            call_id: SmolStr::new(join.call_id),
            local_tag: SmolStr::new(join.to_tag),
            remote_tag: SmolStr::new(remote_tag),
        };
        // §7.1: "0" also stands for no tag. Ours is never missing.
        let without = (join.from_tag == "0").then(|| id(""));
        let ids: Vec<DialogId> = std::iter::once(id(join.from_tag)).chain(without).collect();
        let mut found = ids.iter().filter_map(|id| self.desk.dialogs.get(id));
        // "If the Join header field matches more than one dialog, the UA MUST act as if no match is found."
        let (Some(&handle), None) = (found.next(), found.next()) else {
            // "matches a dialog which has already terminated, the UA SHOULD decline the request with a 603".
            let is_over = ids.iter().any(|id| self.desk.transfers.has_ended(id));
            return Err(if is_over { 603 } else { 481 });
        };
        let Some(call) = self.calls.get(handle) else { return Err(481) };
        match &call.stage {
            Stage::Confirmed(talk) | Stage::Answered(talk) if talk.hung_up => Err(603),
            // "unlike the Replaces header, the Join header has no limitation on its use with early dialogs".
            Stage::Confirmed(_) | Stage::Answered(_) | Stage::Calling(_) | Stage::Ringing(_) => Ok(handle),
            Stage::Cancelling { .. } | Stage::Ending { .. } => Err(603),
        }
    }

    /// The name of the conference that a new call is about to ask into.
    pub(super) fn conference_for(&mut self, cx: &mut Context<'_>, joined: &Joined) -> SmolStr {
        match joined {
            Joined::Conference(name) => name.clone(),
            Joined::Call(call) => match self.conference_of(*call) {
                Some(name) => name,
                None => {
                    let name = new_name(cx);
                    self.conferences.place(&name, *call, Standing::Named);
                    name
                }
            },
        }
    }

    /// A call is there that asks to be let in.
    pub(super) fn asks_in(&mut self, cx: &mut Context<'_>, joined: &Joined, name: &SmolStr, new: CallHandle) {
        let joins = match joined {
            Joined::Call(call) => Some(*call),
            Joined::Conference(name) => self.conferences.calls(name).next(),
        };
        self.conferences.place(name, new, Standing::AsksIn);
        cx.event(Event::JoinAsked { call: new, joins: joins.unwrap_or(new) });
    }

    /// A call takes the place of one of a conference (Replaces).
    pub(super) fn inherits(&mut self, old: CallHandle, new: CallHandle) {
        if let Some(name) = self.calls.get(old).and_then(|call| call.contact_user.conference().cloned()) {
            self.conferences.place(&name, new, Standing::Coming);
        }
    }

    /// A call is over.
    pub(super) fn leave_conference(&mut self, cx: &mut Context<'_>, call: &Call) {
        let name = call.contact_user.conference().or_else(|| self.conferences.naming(call.handle)).cloned();
        let Some(name) = name else { return };
        if let Some(conference) = self.conferences.by_name.get_mut(&name) {
            conference.parties.retain(|party| party.call != call.handle);
        }
        self.settle_conference(cx, &name);
    }

    /// Does what follows from what has happened to the calls of a conference.
    pub(super) fn settle_conference(&mut self, cx: &mut Context<'_>, name: &SmolStr) {
        // Each round changes how far one call has come, and none goes back.
        while let Some(next) = self.next_of(name) {
            match next {
                Next::Enters(handle, number) => {
                    self.conferences.place(name, handle, Standing::In);
                    if let Some(call) = self.calls.get_mut(handle) {
                        call.play = mixed(number, &call.play);
                        call.apply(cx);
                    }
                    cx.event(Event::Joined { call: handle });
                }
                Next::Leaves(handle, was_refused) => {
                    if let Some(conference) = self.conferences.by_name.get_mut(name) {
                        conference.parties.retain(|party| party.call != handle);
                        conference.was_refused |= was_refused;
                    }
                    if was_refused {
                        cx.event(Event::NotJoined { call: handle });
                    }
                }
                Next::IsAnswered(handle, play, number) => {
                    self.conferences.place(name, handle, Standing::Coming);
                    let play = mixed(number, &play);
                    self.with_call(cx, handle, |call, desk, cx| call.answer(desk, cx, play));
                }
                Next::IsRefused(handle, code) => {
                    cx.core.counters.joins_refused += 1;
                    self.with_call(cx, handle, |call, _, cx| {
                        let status = Status::of(code);
                        call.refuse(cx, status, EndReason::Refused(status))
                    });
                }
            }
        }
        if self.conferences.by_name.get(name).is_some_and(|conference| conference.parties.is_empty()) {
            self.conferences.by_name.remove(name);
        }
    }

    fn next_of(&self, name: &SmolStr) -> Option<Next> {
        let conference = self.conferences.by_name.get(name)?;
        let number = conference.number;
        let others = |call: CallHandle| conference.parties.iter().filter(move |party| party.call != call);
        for party in &conference.parties {
            let Some(call) = self.calls.get(party.call) else { return Some(Next::Leaves(party.call, false)) };
            let is_call = matches!(call.stage, Stage::Answered(_) | Stage::Confirmed(_));
            let has_left = matches!(call.stage, Stage::Cancelling { .. } | Stage::Ending { .. });
            let is_waited_for = |other: &Party| {
                let other = self.calls.get(other.call);
                other.is_some_and(|other| {
                    other.before_focus.is_some()
                        && matches!(other.stage, Stage::Answered(_) | Stage::Confirmed(_))
                })
            };
            let is_there = |other: &Party| {
                matches!(
                    other.standing,
                    Standing::Named | Standing::Coming | Standing::In | Standing::Admitted(_)
                )
            };
            match &party.standing {
                _ if has_left => return Some(Next::Leaves(party.call, false)),
                Standing::Coming | Standing::In if call.contact_user.conference() != Some(name) => {
                    return Some(Next::Leaves(party.call, true));
                }
                Standing::Coming if is_call && call.before_focus.is_none() => {
                    return Some(Next::Enters(party.call, number));
                }
                // Nobody asks to join it any more.
                Standing::Named if !others(party.call).any(|other| other.standing == Standing::AsksIn) => {
                    return Some(Next::Leaves(party.call, false));
                }
                Standing::AsksIn | Standing::Admitted(_) if !others(party.call).any(is_there) => {
                    // §4: "If the UA cannot accept the new INVITE … MUST return an appropriate error response".
                    let code = if conference.was_refused { 488 } else { 481 };
                    let is_ringing = matches!(call.stage, Stage::Ringing(_));
                    return is_ringing.then_some(Next::IsRefused(party.call, code));
                }
                Standing::Admitted(play) if !others(party.call).any(is_waited_for) => {
                    return Some(Next::IsAnswered(party.call, play.clone(), number));
                }
                Standing::Named
                | Standing::AsksIn
                | Standing::Admitted(_)
                | Standing::Coming
                | Standing::In => {}
            }
        }
        None
    }
}

/// What follows in a conference.
enum Next {
    /// A call is in from now on.
    Enters(CallHandle, u64),
    /// One is in no more; whether its far end did not agree to it.
    Leaves(CallHandle, bool),
    /// The one who asked is let in.
    IsAnswered(CallHandle, Play, u64),
    /// He can't be.
    IsRefused(CallHandle, u16),
}

impl Call {
    /// The other side is to know that we are a focus, and to be held or not.
    fn be_told_of_focus(&mut self, desk: &mut Desk, cx: &mut Context<'_>, name: SmolStr, hold: bool) -> Step {
        let is_new = self.contact_user.conference() != Some(&name);
        if is_new {
            let before = std::mem::replace(&mut self.contact_user, ContactUser::focus(name));
            // Our 2xx will tell the one who rings here.
            self.before_focus = Some(before).filter(|_| !matches!(self.stage, Stage::Ringing(_)));
        }
        let is_right =
            self.changes.holds().unwrap_or(self.session.as_ref().is_some_and(Session::holds)) == hold;
        if matches!(self.stage, Stage::Ringing(_)) || (!is_new && is_right) {
            return Step::Stay;
        }
        self.want_hold(desk, cx, hold.then_some(HoldForm::Direction), ChangeBy::Invite)
    }

    /// The other side has agreed to a change of ours. Was it that of the focus?
    pub(super) fn focus_accepted(&mut self) {
        if self.changes.wanted.is_none() {
            self.before_focus = None;
        }
    }

    /// The other side has not agreed to a change of ours, or was not told of it.
    pub(super) fn focus_refused(&mut self) {
        if self.changes.wanted.is_none()
            && let Some(before) = self.before_focus.take()
        {
            self.contact_user = before;
        }
    }
}

/// What is sent into a call of a conference: what was, and what the others say.
fn mixed(conference: u64, play: &Play) -> Play {
    match play {
        Play::Conference { own, .. } => Play::Conference { number: conference, own: own.clone() },
        play => Play::Conference { number: conference, own: Box::new(play.clone()) },
    }
}

/// The user part of the URI of a new conference: 64 random bits, since whoever calls it asks to be let in.
fn new_name(cx: &mut Context<'_>) -> SmolStr {
    format_smolstr!("conf-{:016x}", cx.random_u64())
}
