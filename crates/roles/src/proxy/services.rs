//! What the services of a user make of a leg: forwarding, do-not-disturb, and what the caller and the next ones are
//! told of it.
//!
//! Legs that forwarding adds stand beside the leg that forwards: a group waits for both. Each destination is tried once
//! in a response context, and the number of forwardings is limited, so that no chain and no loop goes on for ever.

use dialtone_transaction::ClientId;
use dialtone_wire::uri::{Uri, UriBuf};
use dialtone_wire::{Edits, HeaderName, Message, Status};
use smol_str::{SmolStr, format_smolstr};

use super::best::Best;
use super::tree::{Cause, LegId, LegState, Outcome};
use super::{BranchState, ResponseContext, Target};
use crate::context::Context;
use crate::history_info::{self, EntryId, History, Mechanism};
use crate::services::{self, AtCall, Services, Unanswered};
use crate::settings::{Destination, Settings};

/// The history of a request, and where its legs and branches stand in it.
#[derive(Debug)]
pub(super) struct LegHistory {
    history: History,
    /// Of the request as it came.
    root: EntryId,
    legs: Vec<(LegId, EntryId)>,
    branches: Vec<(ClientId, EntryId)>,
}

/// Where a call goes that a leg did not take.
enum Next {
    /// Where the user of the leg could call himself.
    Dialled(SmolStr, services::Cause),
    /// Where the settings say for a group.
    Otherwise(Destination, services::Cause),
}

impl ResponseContext {
    /// Begins with a call for a user as his services say; `true` when his phones don't ring.
    pub(super) fn serve(&mut self, cx: &mut Context<'_>, at: LegId, services: Services) -> bool {
        // A call that stands goes on where it is, also where a phone gave its address-of-record as its contact.
        if !self.is_invite || !matches!(self.request.to_tag(), Ok(None)) {
            return false;
        }
        let asked = cx.settings.forwarding.history_info && history_info::is_asked_for(&self.request);
        if asked {
            self.keep_history(cx);
        }
        if services.is_empty() {
            return false;
        }
        self.keep_history(cx);
        let first = services.at_call(cx.settings.forwarding.no_answer_after);
        let leg = self.tree.leg_mut(at);
        leg.services = services;
        match first {
            AtCall::Ring(Some(time)) if leg.cause != Cause::Member => {
                let until = cx.now + time;
                leg.ring_until = leg.ring_until.into_iter().chain([until]).min();
                false
            }
            AtCall::Ring(_) => false,
            AtCall::Refuse(status) => {
                leg.services = Services::default();
                self.note(at, Best::own(status));
                true
            }
            AtCall::Forward(to, cause) => {
                leg.services = Services::default();
                match self.forward(cx, at, &to, cause) {
                    Ok(()) => self.tree.leg_mut(at).state = LegState::Done,
                    Err(status) => self.note(at, Best::own(status)),
                }
                true
            }
        }
    }

    /// Whether the call goes on if a leg has this outcome.
    pub(super) fn goes_on_after(&self, cx: &Context<'_>, at: LegId, outcome: Outcome) -> bool {
        self.next_after(cx, at, outcome).is_some()
    }

    /// Where the call goes if a leg has this outcome. What a member of a group wants for calls that he does
    /// not take is for calls to himself: his voice mail must not answer for the group.
    fn next_after(&self, cx: &Context<'_>, at: LegId, outcome: Outcome) -> Option<Next> {
        let leg = self.tree.leg(at);
        let unanswered = match outcome {
            Outcome::Busy => Unanswered::Busy,
            Outcome::NoAnswer => Unanswered::NoAnswer,
            Outcome::NotReachable if leg.has_bindings => Unanswered::NotReachable,
            Outcome::NotReachable => Unanswered::NotRegistered,
            Outcome::Declined | Outcome::Redirected | Outcome::Refused(_) => Unanswered::Other,
        };
        match (&leg.destination, leg.cause) {
            _ if !self.is_invite => None,
            (Some(Destination::Group(name)), _) => {
                let otherwise = cx.settings.group(name)?.otherwise.clone()?;
                Some(Next::Otherwise(otherwise, unanswered.cause()))
            }
            (_, Cause::Member) => None,
            (_, Cause::Request | Cause::Redirect | Cause::Forward(..)) => {
                leg.services.after(unanswered).map(|(to, cause)| Next::Dialled(to, cause))
            }
        }
    }

    /// Whether a 6xx to a leg is for this leg only, since its user has said where the call goes then.
    pub(super) fn survives(&self, cx: &Context<'_>, at: LegId) -> bool {
        let leg = self.tree.leg(at);
        leg.parent.is_none() && self.goes_on_after(cx, at, leg.outcome())
    }

    /// A leg has come to its end without an answer: adds the leg that its services name; `false` when they name none, or
    /// none that may be tried.
    pub(super) fn forward_after(&mut self, cx: &mut Context<'_>, at: LegId) -> bool {
        match self.next_after(cx, at, self.tree.leg(at).outcome()) {
            None => false,
            Some(Next::Dialled(to, cause)) => self.forward(cx, at, &to, cause).is_ok(),
            Some(Next::Otherwise(to, cause)) => {
                let parent = self.tree.leg(at).parent;
                let cause = Cause::Forward(at, cause);
                self.tree.add(to, parent, cause, cx.now, &cx.settings.limits).is_some()
            }
        }
    }

    /// Adds the leg that a user's forwarding names.
    ///
    /// # Errors
    /// The status that the caller gets when nothing better comes: he may not call there (403, 404 …), it is a loop
    /// (482), or the call was forwarded too often (480).
    fn forward(
        &mut self,
        cx: &mut Context<'_>,
        from: LegId,
        to: &str,
        cause: services::Cause,
    ) -> Result<(), Status> {
        let added = self.add_forward(cx, from, to, cause);
        if let Err(status) = added {
            cx.core.counters.forwards_stopped += 1;
            self.stopped = Some((status, why_stopped(status)));
        }
        let added = added?;
        cx.core.counters.calls_forwarded += 1;
        if let Some(uri) = self.aor_of(from).and_then(|aor| services::target_uri(&aor, to)) {
            let uri = with_cause(&uri, cause);
            self.enter_leg(cx, added, from, uri);
        }
        self.tell_caller(cx);
        Ok(())
    }

    fn add_forward(
        &mut self,
        cx: &Context<'_>,
        from: LegId,
        to: &str,
        cause: services::Cause,
    ) -> Result<LegId, Status> {
        let before = history_info::forwards_before(&self.request);
        if before.saturating_add(self.forwards_of(from)) >= cx.settings.forwarding.forwards_max {
            return Err(Status::of(480));
        }
        let aor = self.aor_of(from).ok_or(Status::of(480))?;
        let unix_s = cx.settings.unix_start_s + cx.now.as_nanos() / 1_000_000_000;
        let destination = services::destination(cx.settings, unix_s, &aor, to)?;
        let parent = self.tree.leg(from).parent;
        let cause = Cause::Forward(from, cause);
        self.tree.add(destination, parent, cause, cx.now, &cx.settings.limits).ok_or(Status::of(482))
    }

    /// The address-of-record of the user of a leg.
    fn aor_of(&self, at: LegId) -> Option<SmolStr> {
        match &self.tree.leg(at).destination {
            Some(Destination::User(aor)) => Some(aor.clone()),
            _ => None,
        }
    }

    /// The forwardings that led to a leg, the last one first: who forwarded, and why.
    fn diverters(&self, mut at: LegId) -> Vec<(LegId, services::Cause)> {
        let mut diverters = Vec::new();
        loop {
            let leg = self.tree.leg(at);
            match (leg.cause, leg.parent) {
                (Cause::Forward(from, cause), _) => {
                    diverters.push((from, cause));
                    at = from;
                }
                (Cause::Member | Cause::Redirect, Some(parent)) => at = parent,
                (Cause::Member | Cause::Redirect | Cause::Request, _) => return diverters,
            }
        }
    }

    fn forwards_of(&self, at: LegId) -> usize {
        self.diverters(at).len()
    }

    /// 181, once for each forwarding.
    fn tell_caller(&mut self, cx: &mut Context<'_>) {
        if !cx.settings.forwarding.tell_caller || self.is_stopped() {
            return;
        }
        self.trying(cx);
        let tag = self.forward_tag.get_or_insert_with(|| cx.core.random.token()).clone();
        let values = self.values_back(cx.settings, None);
        cx.respond(
            self.server,
            &self.request,
            Status::of(181),
            Some(&tag),
            |writer| {
                for value in values.iter().flatten() {
                    writer.text(HeaderName::HistoryInfo, value);
                }
            },
            None,
        );
    }

    /// Begins to keep the history, if it is to be kept.
    fn keep_history(&mut self, cx: &Context<'_>) {
        if self.history.is_some() || !cx.settings.forwarding.history_info {
            return;
        }
        let (history, root) = History::of(&self.request);
        let first = self.tree.ids().next();
        let legs = first.map(|first| (first, root)).into_iter().collect();
        let mut kept = Box::new(LegHistory { history, root, legs, branches: Vec::new() });
        // Others ring already where a member of a group has services.
        let sent: Vec<(ClientId, LegId, SmolStr)> = self
            .branches
            .iter()
            .filter_map(|branch| Some((branch.client, branch.leg, request_uri(&branch.sent)?)))
            .collect();
        for (client, leg, uri) in sent {
            let entry = self.entry_of(cx.settings, &mut kept, leg);
            let entry = kept.history.add(entry, uri, Mechanism::SameUser);
            kept.branches.push((client, entry));
        }
        self.history = Some(kept);
    }

    /// The entry of a leg; it is made if there is none.
    fn entry_of(&self, settings: &Settings, kept: &mut LegHistory, at: LegId) -> EntryId {
        if let Some((_, entry)) = kept.legs.iter().find(|(leg, _)| *leg == at) {
            return *entry;
        }
        let leg = self.tree.leg(at);
        let above = match leg.cause {
            Cause::Forward(from, _) => Some(from),
            Cause::Member | Cause::Redirect | Cause::Request => leg.parent,
        };
        // The first leg has its entry from the start, and all others are below it.
        let parent = above.map_or(kept.root, |above| self.entry_of(settings, kept, above));
        let uri = leg.destination.as_ref().map_or_else(SmolStr::default, |to| uri_of(settings, to));
        // §10.4: how a contact of a 3xx was found is known to who sent it.
        let mechanism = (leg.cause != Cause::Redirect).then_some(Mechanism::Mapped);
        let entry = kept.history.add(parent, uri, mechanism);
        kept.legs.push((at, entry));
        entry
    }

    fn enter_leg(&mut self, cx: &Context<'_>, added: LegId, from: LegId, uri: SmolStr) {
        let Some(mut kept) = self.history.take() else { return };
        let parent = self.entry_of(cx.settings, &mut kept, from);
        let entry = kept.history.add(parent, uri, Mechanism::Mapped);
        kept.legs.push((added, entry));
        self.history = Some(kept);
    }

    /// What a branch of a leg carries of its history: the target with these header lines, and the entry to be given to
    /// [`ResponseContext::sent_with_history`].
    pub(super) fn with_history(
        &mut self,
        cx: &Context<'_>,
        at: LegId,
        target: &Target,
    ) -> Option<(Target, Option<EntryId>)> {
        let diverters = if cx.settings.forwarding.diversion { self.diverters(at) } else { Vec::new() };
        if self.history.is_none() && diverters.is_empty() {
            return None;
        }
        let mut target = target.clone();
        if !diverters.is_empty() {
            self.add_diversions(&mut target, &diverters);
        }
        let entry = self.history.take().map(|mut kept| {
            let entry = self.entry_of(cx.settings, &mut kept, at);
            let own = target.uri.clone().unwrap_or_else(|| SmolStr::new(self.request.uri_text()));
            let destination = self.tree.leg(at).destination.as_ref();
            let entry = match destination {
                // The entry of the leg names the place already.
                Some(Destination::Uri(_)) if !matches!(self.tree.leg(at).cause, Cause::Request) => entry,
                Some(Destination::Uri(_)) => kept.history.add(entry, own, Mechanism::Mapped),
                Some(_) => kept.history.add(entry, own, Mechanism::SameUser),
                None => kept.history.add(entry, own, Mechanism::Unchanged),
            };
            let leaves = !matches!(destination, Some(Destination::User(_) | Destination::Group(_)));
            let is_own = |uri: &Uri<'_>| is_own(cx.settings, uri);
            target.without.push(HeaderName::HistoryInfo);
            for value in kept.history.values(entry, leaves, is_own) {
                target.lines.push((SmolStr::new_static(HeaderName::HistoryInfo.as_str()), value));
            }
            if leaves && kept.history.is_private() {
                hide_privacy(&self.request, &mut target);
            }
            self.history = Some(kept);
            entry
        });
        Some((target, entry))
    }

    /// RFC 5806 §4.2: the last diversion stands first.
    fn add_diversions(&self, target: &mut Target, diverters: &[(LegId, services::Cause)]) {
        let name = SmolStr::new_static(HeaderName::Diversion.as_str());
        target.without.push(HeaderName::Diversion);
        for (from, cause) in diverters {
            if let Some(aor) = self.aor_of(*from) {
                let value = format_smolstr!("<{aor}>;reason={};counter=1", cause.diversion());
                target.lines.push((name.clone(), value));
            }
        }
        for value in self.request.values(HeaderName::Diversion) {
            if let Ok(value) = std::str::from_utf8(value) {
                target.lines.push((name.clone(), SmolStr::new(value)));
            }
        }
    }

    /// A branch was sent with this entry.
    pub(super) fn sent_with_history(&mut self, client: ClientId, entry: EntryId) {
        if let Some(kept) = &mut self.history {
            kept.branches.push((client, entry));
        }
    }

    /// The time of the branches of a leg is over: §10.2 "as if the request received a SIP error response code of 408".
    pub(super) fn note_history_of_leg(&mut self, top: LegId) {
        let Some(kept) = &mut self.history else { return };
        for branch in &self.branches {
            if branch.state != BranchState::Done
                && self.tree.is_within(branch.leg, top)
                && let Some((_, entry)) = kept.branches.iter().find(|(client, _)| *client == branch.client)
            {
                kept.history.answered(*entry, Status::of(408));
            }
        }
    }

    /// A branch was answered with more than 100, or timed out.
    pub(super) fn note_history(&mut self, client: ClientId, status: Status) {
        // What our own CANCEL brought about says nothing of the user.
        let is_left = |branch: &super::Branch| branch.client == client && branch.is_left;
        if let Some(kept) = &mut self.history
            && status.code() > 100
            && !self.branches.iter().any(is_left)
            && let Some((_, entry)) = kept.branches.iter().find(|(branch, _)| *branch == client)
        {
            kept.history.answered(*entry, status);
        }
    }

    /// The history that goes back to the caller; `None` when none does.
    pub(super) fn values_back(
        &self,
        settings: &Settings,
        response: Option<&Message>,
    ) -> Option<Vec<SmolStr>> {
        let kept = self.history.as_ref()?;
        // Who is no user of ours is somewhere else.
        let is_ours = self.request.from().is_ok_and(|from| is_own(settings, &from.uri));
        kept.history.values_back(response, !is_ours, |uri| is_own(settings, uri))
    }

    /// The history that a response of a branch goes back with, in place of its own; `None` leaves it as it is.
    pub(super) fn history_back(&self, settings: &Settings, response: &Message) -> Option<Vec<SmolStr>> {
        self.history.as_ref()?;
        Some(self.values_back(settings, Some(response)).unwrap_or_default())
    }
}

/// Puts the history of a response in place of its own.
pub(super) fn replace_history<'a>(edits: &mut Edits<'a>, values: &'a [SmolStr]) {
    edits.remove(HeaderName::HistoryInfo);
    for value in values {
        edits.append(HeaderName::HistoryInfo.as_str(), value);
    }
}

/// Words for the caller when a forwarding was stopped.
const fn why_stopped(status: Status) -> &'static str {
    match status.code() {
        482 => "The callee forwards to somebody who was tried before",
        480 => "The call was forwarded too often",
        _ => "The callee forwards to where he may not call",
    }
}

/// The `cause` of RFC 4458 §2.1 on a target.
fn with_cause(uri: &UriBuf, cause: services::Cause) -> SmolStr {
    match uri.uri() {
        Uri::Sip(sip) if sip.headers.is_empty() && !sip.params.has("cause") => {
            format_smolstr!("{uri};cause={}", cause.code())
        }
        _ => SmolStr::new(uri.as_str()),
    }
}

/// A destination as a URI.
fn uri_of(settings: &Settings, destination: &Destination) -> SmolStr {
    let domain = || settings.domains.first().map_or("", |domain| domain.name.as_str());
    match destination {
        Destination::User(aor) => aor.clone(),
        Destination::Uri(uri) => SmolStr::new(uri.as_str()),
        Destination::Group(name) => services::aor(name, domain()),
        Destination::Trunk { number, .. } => services::aor(number, domain()),
    }
}

fn is_own(settings: &Settings, uri: &Uri<'_>) -> bool {
    uri.as_sip().is_some_and(|uri| settings.domain_of(&uri.host, uri.port).is_some())
}

/// The Request-URI of a request as it was sent.
fn request_uri(sent: &[u8]) -> Option<SmolStr> {
    let line = sent.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1).map(SmolStr::new)
}

/// §10.1.2: "the Privacy Service MUST remove the priv-value of 'history'".
fn hide_privacy(request: &Message, target: &mut Target) {
    let Some(value) = request.value(HeaderName::Privacy).and_then(|value| std::str::from_utf8(value).ok())
    else {
        return;
    };
    let rest: Vec<&str> =
        value.split(';').map(str::trim).filter(|part| !part.eq_ignore_ascii_case("history")).collect();
    if target.without.contains(&HeaderName::Privacy) {
        return;
    }
    target.without.push(HeaderName::Privacy);
    if !rest.is_empty() {
        let name = SmolStr::new_static(HeaderName::Privacy.as_str());
        target.lines.push((name, SmolStr::new(rest.join(";"))));
    }
}
