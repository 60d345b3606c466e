//! Answers from outside and word from other shards: what waited goes on.

use std::net::SocketAddr;

use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Status};

use super::services::Asker;
use super::{Arrived, Caller, Engine};
use crate::auth::{Checked, Presented};
use crate::context::{Context, Failure};
use crate::io::{Answer, ChangeOutcome, Notice, Output};
use crate::queries::Waiting;

impl Engine {
    /// Carries on with what waited. A request that was answered meanwhile (it was cancelled) is left alone.
    pub(super) fn answered(&mut self, now: Instant, waiting: Waiting, answer: Answer) {
        match waiting {
            Waiting::Credential(presented) => match answer {
                Answer::Credential(stored) if self.still_waits(&presented.arrived) => {
                    let mut cx = Context { now, settings: &self.settings, core: &mut self.core };
                    let checked = self.authenticator.credential_is(&mut cx, presented, stored.as_ref());
                    self.checked(now, checked);
                }
                Answer::Credential(_) => {}
                // With state, unlike a challenge: a copy of the request might find the store well again.
                _ => self.fail(now, &presented.arrived),
            },
            Waiting::NonceUse(presented, _) => self.fail(now, &presented.arrived),
            Waiting::PickUp(asked) => self.pick_up_at(now, *asked),
            Waiting::Refer(aside) => {
                let (b2bua, mut cx) = self.b2bua_and_context(now);
                b2bua.refer_goes_on(&mut cx, &aside, Status::of(500));
            }
            Waiting::Leg { context, leg } => {
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.found(&mut cx, context, leg, None);
            }
            Waiting::StarTarget(asked) => self.star_target(now, *asked, &answer),
            Waiting::StarChange(arrived) => {
                self.services_changed(now, Asker::Call(arrived), ChangeOutcome::NotKept);
            }
            Waiting::ServicesKept(keeping) => {
                self.services_kept(now, *keeping, matches!(answer, Answer::Journalled));
            }
            Waiting::Journal(grant) => {
                self.journalled(now, *grant, matches!(answer, Answer::Journalled));
            }
            Waiting::Exists { context, leg } => {
                let exists = !matches!(answer, Answer::Credential(None));
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.exists(&mut cx, context, leg, exists);
            }
            Waiting::UaSend { request, draft, contact_user, transport, port } => {
                let mut cx = Context { now, settings: &self.settings, core: &mut self.core };
                let failure = match first_address(&cx, &answer, transport, port) {
                    None => Some(Failure::Unresolvable),
                    Some(flow) => {
                        let sent = cx.send_on(request, &draft, contact_user.as_ref(), flow);
                        sent.err().map(|_| Failure::Overload)
                    }
                };
                if let Some(failure) = failure {
                    self.core.failed.push_back((request, failure));
                }
            }
            Waiting::Pass { passing, transport, port } => {
                self.pass_resolved(now, &passing, transport, port, &answer);
            }
            Waiting::PassTo(passing) => self.refuse_passing(&passing, Status::of(500)),
            Waiting::UaAck { invite, tag, draft, transport, port } => {
                let mut cx = self.context(now);
                let flow = first_address(&cx, &answer, transport, port);
                let sent = flow.map(|flow| cx.send_ack_on(&draft, flow));
                if self.b2bua.owns(invite) {
                    return self.b2bua.ack_resolved(invite, &tag, sent);
                }
                let (ua, mut cx) = self.ua_and_context(now);
                ua.ack_resolved(&mut cx, invite, &tag, sent);
            }
            Waiting::Trunk { name, errand, transport, port } => {
                let (keeper, mut cx) = self.keeper_and_context(now);
                let flow = first_address(&cx, &answer, transport, port);
                keeper.resolved(&mut cx, &name, errand, flow);
            }
            Waiting::Branch { context, leg, target, transport, port } => {
                let (proxy, mut cx) = self.proxy_and_context(now);
                let flow = first_address(&cx, &answer, transport, port);
                let address = flow.map(|flow| (transport, flow.remote));
                // RFC 3261 §21.5.5: DNS did not answer in time. A name without an address is as good as a 503 (§16.9).
                let failed = if matches!(answer, Answer::Addresses(_)) { 503 } else { 504 };
                proxy.resolved(&mut cx, context, leg, &target, address.ok_or(Status::of(failed)));
            }
        }
    }

    pub(super) fn notice(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::AskBindings { from, query, aor } => {
                let found = self.core.find(&self.settings, now, &aor);
                let notice = Notice::Bindings { query, found };
                self.core.outputs.push_back(Output::Notice { to: from, notice });
            }
            Notice::Bindings { query, found } => match self.core.queries.take(query) {
                Some(Waiting::Leg { context, leg }) => {
                    let (proxy, mut cx) = self.proxy_and_context(now);
                    proxy.found(&mut cx, context, leg, Some(found));
                }
                Some(Waiting::PassTo(passing)) => self.pass_to(now, *passing, &found.bindings),
                _ => {}
            },
            Notice::Handover(handover) => self.handed(now, handover),
            Notice::HoldOff(hold) => {
                let cx = Context { now, settings: &self.settings, core: &mut self.core };
                self.authenticator.hold(&cx, hold);
            }
            Notice::Proven { from, user, domain } => {
                self.authenticator.proven(now, from, &user, &domain);
            }
            Notice::ChangeServices { from, query, aor, changes } => {
                self.change_services(now, aor, &changes, Asker::Shard { to: from, query });
            }
            Notice::ServicesChanged { query, outcome } => {
                if let Some(Waiting::StarChange(arrived)) = self.core.queries.take(query) {
                    self.services_changed(now, Asker::Call(arrived), outcome);
                }
            }
            Notice::Trunk { name, news } => {
                self.core.trunks.note(&name, news);
            }
            Notice::WatchRegistration { from, aor } => {
                let core = &mut self.core;
                let contacts = core.watched.watch(now, &core.location, core.reg_key, &aor, from);
                let notice = Notice::Registration { aor, full: true, contacts };
                core.outputs.push_back(Output::Notice { to: from, notice });
            }
            Notice::UnwatchRegistration { from, aor } => self.core.watched.unwatch(&aor, from),
            Notice::Registration { aor, full, contacts } => {
                let (subscriptions, mut cx) = self.subscriptions_and_context(now);
                subscriptions.told(&mut cx, &aor, full, &contacts);
            }
            Notice::AskNonce { from, query, nonce } => {
                let cx = Context { now, settings: &self.settings, core: &mut self.core };
                let verdict = self.authenticator.judge_use(&cx, nonce);
                self.core
                    .outputs
                    .push_back(Output::Notice { to: from, notice: Notice::Nonce { query, verdict } });
            }
            Notice::Nonce { query, verdict } => {
                if let Some(Waiting::NonceUse(presented, user)) = self.core.queries.take(query)
                    && self.still_waits(&presented.arrived)
                {
                    let mut cx = Context { now, settings: &self.settings, core: &mut self.core };
                    let checked = self.authenticator.nonce_is(&mut cx, presented, &user, verdict);
                    self.checked(now, checked);
                }
            }
        }
    }

    fn checked(&mut self, now: Instant, checked: Checked) {
        if let Checked::User(user, presented) = checked {
            let Presented { arrived, domain, .. } = *presented;
            let caller = Caller { user, domain };
            let trunk = self.settings.trunks.iter().find(|trunk| trunk.is_user(&caller.aor()));
            let trunk = trunk.map(|trunk| trunk.name.clone()).or_else(|| arrived.trunk.clone());
            self.act(now, Arrived { caller: Some(caller), trunk, ..arrived });
        }
    }

    pub(super) fn still_waits(&self, arrived: &Arrived) -> bool {
        self.core.transactions.awaits_answer(arrived.server)
    }

    /// What was asked has no answer.
    pub(super) fn fail(&mut self, now: Instant, arrived: &Arrived) {
        self.respond(now, arrived.server, &arrived.request, Status::of(500), |writer| {
            writer.number(HeaderName::RetryAfter, 5);
        });
    }
}

/// The flow to the first address that one of our listeners reaches.
fn first_address(
    cx: &Context<'_>,
    answer: &Answer,
    transport: dialtone_wire::net::Transport,
    port: u16,
) -> Option<Flow> {
    let Answer::Addresses(addresses) = answer else { return None };
    addresses.iter().find_map(|ip| cx.flow_to(transport, SocketAddr::new(*ip, port), None))
}
