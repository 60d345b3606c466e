//! Requests that go out over a trunk: to which address, as whom, and what happens when it asks for a password.
//!
//! ```text
//!   leg "trunk carrier +4930123"
//!     stage 1: address 1    silent for `answer_within`, 408, 503 or unreachable: the next stage
//!     stage 2: address 2    401, 407: the same once more, with credentials
//!                           rings, or refuses otherwise: no further address
//! ```

use std::time::Duration;

use dialtone_dialog::digest::{Attempt, OutgoingRequest};
use dialtone_transaction::ClientId;
use dialtone_wire::uri::{SipUri, Uri, UriBuf, escape_user};
use dialtone_wire::{Message, Method, Status};
use smallvec::SmallVec;
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use super::best::Best;
use super::shift::Shift;
use super::tree::{LegId, Stage};
use super::{ContextId, ResponseContext, Target};
use crate::binding::Binding;
use crate::context::Context;
use crate::identity::{self, Source};
use crate::io::{Event, Found, TrunkNews};
use crate::settings::{Destination, Trunk, TrunkAccess};
use crate::trunks::trunk_id;

/// The parameter of a Contact that stands for many numbers (RFC 6140 §5.1).
pub(crate) const BULK_PARAM: &str = "bnc";

/// What a branch over a trunk has beside its target.
#[derive(Clone, Debug)]
pub(crate) struct OverTrunk {
    /// The name of the trunk.
    name: SmolStr,
    /// Which of its addresses it is.
    hop: Option<usize>,
    attempt: Attempt,
    pub(super) shift: Shift,
    /// Which repetition of this request it is.
    pub(super) step: u32,
    /// What our Record-Route says of it, of a request that begins a dialog.
    pub(super) param: Option<SmolStr>,
}

impl OverTrunk {
    /// An ACK for a 2xx, which nobody is asked a password for.
    pub(super) fn of_ack(shift: Shift, step: u32) -> OverTrunk {
        OverTrunk {
            name: SmolStr::default(),
            hop: None,
            attempt: Attempt::default(),
            shift,
            step,
            param: None,
        }
    }
}

impl ResponseContext {
    /// A number that was called from a trunk belongs to nobody.
    pub(super) fn note_unknown(&self, cx: &mut Context<'_>, at: LegId) {
        let Some(trunk) = self.trunk.clone() else { return };
        let number = match &self.tree.leg(at).destination {
            Some(Destination::User(aor)) => identity::user_of(aor),
            _ => SmolStr::default(),
        };
        cx.core.counters.trunk_unknown += 1;
        cx.event(Event::TrunkUnknownNumber { trunk, number });
    }

    /// Who sent the request, as far as that is proven.
    fn source(&self) -> Source<'_> {
        match &self.caller {
            _ if self.is_trusted => Source::Trusted,
            Some(aor) => Source::User(aor),
            None => Source::Unknown,
        }
    }

    /// Tries a number over a trunk.
    pub(super) fn begin_trunk(
        &mut self,
        cx: &mut Context<'_>,
        id: ContextId,
        at: LegId,
        name: &str,
        number: &str,
    ) {
        let settings = cx.settings.clone();
        let Some(trunk) = settings.trunk(name) else { return self.note(at, Best::own(Status::of(480))) };
        self.is_shifted = true;
        if self.is_invite {
            let call_id = self.request.call_id().unwrap_or_default();
            if !cx.core.trunks.begin_call(cx.now, trunk, call_id) {
                cx.core.counters.trunk_full += 1;
                return self.note(at, Best::own(Status::of(480)));
            }
            cx.core.counters.trunk_calls += 1;
        }
        if let TrunkAccess::User { aor } = &trunk.access {
            return self.look_up(cx, id, at, aor.clone());
        }
        let order = cx.core.trunks.order(trunk);
        let hops = order.into_iter().filter_map(|hop| {
            let uri = number_at(trunk.hops().get(hop)?, number, trunk.user_phone)?;
            Some((Target::uri(&uri), Some(hop)))
        });
        let targets: Vec<_> = hops.collect();
        self.add_trunk_stages(cx, at, trunk, targets);
    }

    /// The other side of a trunk has registered with us: tries its contacts.
    pub(super) fn found_trunk(&mut self, cx: &mut Context<'_>, at: LegId, found: &Found) {
        let Some(Destination::Trunk { trunk, number }) = self.tree.leg(at).destination.clone() else {
            return;
        };
        let settings = cx.settings.clone();
        let Some(trunk) = settings.trunk(&trunk) else { return self.note(at, Best::own(Status::of(480))) };
        if found.bindings.is_empty() {
            return self.note(at, Best::own(Status::of(480)));
        }
        let targets = found.bindings.iter().map(|binding| {
            let target = Target::of_binding(binding);
            let uri = contact_for(binding, &number).or_else(|| target.uri.clone());
            (Target { uri, ..target }, None)
        });
        let targets: Vec<_> = targets.collect();
        self.add_trunk_stages(cx, at, trunk, targets);
    }

    /// One stage for each place, in their order.
    fn add_trunk_stages(
        &mut self,
        cx: &mut Context<'_>,
        at: LegId,
        trunk: &Trunk,
        targets: Vec<(Target, Option<usize>)>,
    ) {
        let lines = match identity::to_trunk(cx.settings, trunk, &self.request, self.source()) {
            Ok(lines) => lines,
            Err(status) => return self.note(at, Best::own(status)),
        };
        let id = trunk_id(&cx.core.trunks.tokens, &trunk.name);
        let shift = Shift::new(&self.request, id, trunk.account().is_some(), lines.anonymous);
        let proxy = trunk.account().and_then(|account| account.proxy.as_ref()).map(route_to);
        let stages = targets.into_iter().map(|(target, hop)| {
            let over = OverTrunk {
                name: trunk.name.clone(),
                hop,
                attempt: Attempt::default(),
                shift,
                step: 0,
                param: None,
            };
            let mut routes = target.routes.clone();
            routes.extend(proxy.clone());
            let target = Target {
                routes,
                lines: [target.lines.as_slice(), &lines.added].concat(),
                without: [target.without.as_slice(), &lines.removed].concat(),
                trunk: Some(Box::new(over)),
                ..target
            };
            Stage::from_iter([target])
        });
        let leg = self.tree.leg_mut(at);
        leg.stages = stages.collect();
        leg.answer_within = Some(trunk.answer_within);
    }

    /// A request of a dialog that goes over a trunk where we have an account: as its target, with what was agreed on
    /// when the dialog began.
    pub(super) fn over_trunk_again(&self, cx: &Context<'_>, target: &Target) -> Option<Target> {
        let shift = self.onward.shift.filter(|_| target.trunk.is_none())?;
        let tokens = &cx.core.trunks.tokens;
        let trunk = cx.settings.trunks.iter().find(|trunk| trunk_id(tokens, &trunk.name) == shift.trunk);
        let name = trunk.map(|trunk| trunk.name.clone()).unwrap_or_default();
        let over = OverTrunk { name, hop: None, attempt: Attempt::default(), shift, step: 0, param: None };
        Some(Target { trunk: Some(Box::new(over)), ..target.clone() })
    }

    /// Adds the credentials that a trunk has asked for before.
    pub(super) fn authorize(&self, cx: &mut Context<'_>, target: &mut Target) {
        let Target { uri, lines, trunk, .. } = target;
        let Some(over) = trunk else { return };
        let begins = self.onward.shift.is_none() && !over.shift.is_nothing();
        over.param = begins.then(|| over.shift.param(&cx.core.trunks.tokens, &self.request));
        let uri = uri.as_deref().unwrap_or(self.request.uri_text());
        let method = self.request.method().map_or("", Method::as_str);
        let covered = OutgoingRequest { method, uri, body: self.request.body(), call_id: "", at_home: true };
        let credentials = cx.core.trunks.credentials(&over.name, &mut over.attempt, &covered);
        lines.retain(|(name, _)| !name.ends_with("uthorization"));
        lines.extend(credentials.into_iter().map(|(name, value)| (name.as_str().to_smolstr(), value)));
    }

    /// Answers the challenge of a trunk: the request goes to the same place once more. `false` if that is not possible.
    pub(super) fn answer_challenge(
        &mut self,
        cx: &mut Context<'_>,
        id: ContextId,
        client: ClientId,
        response: &Message,
    ) -> bool {
        let Some(branch) = self.branches.iter_mut().find(|branch| branch.client == client) else {
            return false;
        };
        let (leg, is_left) = (branch.leg, branch.is_left);
        let Some(mut target) = branch.target.clone() else { return false };
        let Some(flow) = cx.core.transactions.client_flow(client) else { return false };
        let Some(over) = target.trunk.as_mut().filter(|_| !is_left && !self.is_stopped()) else {
            return false;
        };
        let settings = cx.settings.clone();
        let account = settings.trunk(&over.name).and_then(Trunk::account);
        let Some((shift, step)) = over.shift.next(&self.request, over.step) else { return false };
        let (trunks, random) = (&mut cx.core.trunks, &mut cx.core.random);
        let mut random = || random.next_u64();
        if trunks.challenged(&over.name, account, &mut over.attempt, response, &mut random).is_err() {
            cx.core.counters.trunk_refused += 1;
            return false;
        }
        (over.shift, over.step) = (shift, step);
        if self.is_invite
            && matches!(self.request.to_tag(), Ok(Some(_)))
            && let (Ok(call_id), Ok(cseq)) = (self.request.call_id(), self.request.cseq())
        {
            // A 2xx is repeated until its ACK comes, for 64·T1 (RFC 3261 §13.3.1.4); and it may ring before.
            let until = cx.now + cx.settings.timer_c + cx.settings.timers.t1() * 64;
            cx.core.trunks.remember_repeated(until, cx.now, call_id, cseq.number, step);
        }
        self.send(cx, id, leg, &target, flow);
        true
    }

    /// A branch over a trunk has failed, or its address is silent: notes it, and says whether the next address may be
    /// tried.
    pub(super) fn trunk_failed(
        &mut self,
        cx: &mut Context<'_>,
        client: ClientId,
        status: Status,
        is_silent: bool,
    ) {
        let Some(branch) = self.branches.iter().find(|branch| branch.client == client) else { return };
        let Some(over) = branch.target.as_ref().and_then(|target| target.trunk.as_ref()) else { return };
        let leg = self.tree.leg_mut(branch.leg);
        if !matches!(status.code(), 408 | 503) || leg.rang {
            leg.stages.clear();
            return;
        }
        leg.stage_until = None;
        if !leg.stages.is_empty() {
            cx.core.counters.trunk_failovers += 1;
        }
        // Without probes nobody would find out that it is there again.
        let probed = cx.settings.trunk(&over.name).filter(|trunk| trunk.probe.is_some());
        if let (true, Some(trunk), Some(hop)) = (is_silent, probed, over.hop)
            && cx.core.trunks.note(&over.name, TrunkNews::Hop { hop, up: false })
            && let Some(address) = trunk.hops().get(hop).cloned()
        {
            cx.event(Event::TrunkAddress { trunk: over.name.clone(), address, up: false });
        }
    }

    /// The request that would have begun a call was not answered: its place on a trunk is free.
    pub(super) fn free_trunk(&self, cx: &mut Context<'_>) {
        if (self.is_shifted || self.trunk.is_some())
            && matches!(self.request.to_tag(), Ok(None))
            && let Ok(call_id) = self.request.call_id()
        {
            cx.core.trunks.end_call(call_id);
        }
    }

    /// How long the targets of the stage that begins now may be silent or ring while others wait for their turn.
    pub(super) fn stage_time(&self, cx: &Context<'_>, at: LegId) -> Duration {
        self.tree.leg(at).answer_within.unwrap_or(cx.settings.proxy.stage_ring)
    }

    /// The addresses of a trunk that have not answered at all when their time is over.
    pub(super) fn silent(&self, at: LegId) -> SmallVec<[ClientId; 1]> {
        let is_silent = |branch: &&super::Branch| {
            branch.leg == at
                && branch.state == super::BranchState::Calling
                && branch.target.as_ref().is_some_and(|target| target.trunk.is_some())
        };
        self.branches.iter().filter(is_silent).map(|branch| branch.client).collect()
    }

    /// A target of a user of ours, without what nobody has proven about the caller.
    pub(super) fn unproven(&self, target: &Target) -> Option<Target> {
        let lines = identity::to_user(&self.request, self.source());
        let more = !lines.removed.is_empty() && target.trunk.is_none();
        more.then(|| Target {
            without: [target.without.as_slice(), &lines.removed].concat(),
            ..target.clone()
        })
    }
}

/// A number at the host of a trunk.
fn number_at(hop: &UriBuf, number: &str, user_phone: bool) -> Option<SmolStr> {
    let uri = hop.uri();
    let sip = uri.as_sip()?;
    let user = escape_user(number);
    let digits = number.strip_prefix('+').unwrap_or(number);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let phone = if user_phone && is_number && !sip.params.has("user") { ";user=phone" } else { "" };
    Some(format_smolstr!("{}{phone}", SipUri { user: Some(&user), headers: "", ..*sip }))
}

/// RFC 6140 §5.2: the Contact with the number in its user part and without `bnc`. `None` if it is a usual Contact.
fn contact_for(binding: &Binding, number: &str) -> Option<SmolStr> {
    let uri = binding.contact.uri();
    let sip = uri.as_sip().filter(|sip| sip.params.has(BULK_PARAM))?;
    let bare = SipUri { user: None, password: None, headers: "", ..*sip }.to_smolstr();
    let (before, _) = bare.split_once(';')?;
    let mut text = String::from(before);
    let scheme = text.find(':')? + 1;
    text.insert_str(scheme, &format!("{}@", escape_user(number)));
    for (name, value) in sip.params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(BULK_PARAM)) {
        text.push(';');
        text.push_str(name);
        if let Some(value) = value {
            text.push('=');
            text.push_str(value);
        }
    }
    Uri::parse(&text).ok().map(|_| SmolStr::from(text.as_str()))
}

fn route_to(proxy: &UriBuf) -> SmolStr {
    let is_loose = proxy.uri().as_sip().is_some_and(SipUri::is_loose_router);
    format_smolstr!("<{proxy}{}>", if is_loose { "" } else { ";lr" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialtone_wire::net::{Flow, Transport};
    use dialtone_wire::time::Instant;

    #[test]
    fn a_number_is_called_at_the_host_of_the_trunk() {
        let at = |hop: &str, number: &str, phone| {
            number_at(&UriBuf::parse(hop).expect("a URI"), number, phone).map(|uri| uri.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(at("sip:192.0.2.1", "+4930", true), some("sip:+4930@192.0.2.1;user=phone"));
        assert_eq!(at("sip:h:5070;transport=tcp", "110", false), some("sip:110@h:5070;transport=tcp"));
        assert_eq!(at("sip:h", "bob x", true), some("sip:bob%20x@h"));
    }

    #[test]
    fn a_contact_for_many_numbers_gets_the_one_that_is_called() {
        let address = "192.0.2.9:5060".parse().expect("an address");
        let binding = |contact: &str| Binding {
            contact: UriBuf::parse(contact).expect("a URI"),
            q_milli: 1000,
            expires_at: Instant::START,
            call_id: "c".into(),
            cseq: 1,
            flow: Flow { transport: Transport::Udp, local: address, remote: address, connection: None },
            behind_nat: false,
            details: None,
        };
        // RFC 6140 §5.2: "Aside from the "bnc" parameter, all URI parameters … MUST be copied".
        for (contact, called) in [
            ("sip:198.51.100.3:5060;bnc", Some("sip:+12145550102@198.51.100.3:5060")),
            ("sip:pbx.test;a=1;BNC;b", Some("sip:+12145550102@pbx.test;a=1;b")),
            ("sip:pbx@198.51.100.3", None),
        ] {
            assert_eq!(contact_for(&binding(contact), "+12145550102").as_deref(), called, "{contact}");
        }
    }
}
