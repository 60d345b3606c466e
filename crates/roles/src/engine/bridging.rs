//! Between the back-to-back user agent and the proxy: what comes over the loopback.

use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use dialtone_wire::{Message, Method, Status};

use super::{Arrived, Engine};
use crate::b2bua::Errand;
use crate::context::ServerUse;
use crate::io::Dial;
use crate::loopback::UNLIMITED;
use crate::policy::{Decision, decide};
use crate::proxy::Onward;
use crate::settings::{Destination, Listener, Mode};

impl Engine {
    /// Hands the INVITE of a call to the back-to-back user agent, which begins the second call.
    pub(super) fn bridge(&mut self, now: Instant, arrived: Arrived) {
        if let Some(record) = self.core.servers.get_mut(&arrived.server) {
            record.used_by = ServerUse::B2bua;
        }
        let (b2bua, mut cx) = self.b2bua_and_context(now);
        b2bua.start(&mut cx, arrived);
    }

    /// Hands it a request within one of its dialogs.
    pub(super) fn give_to_b2bua(&mut self, now: Instant, arrived: &Arrived) {
        if let Some(record) = self.core.servers.get_mut(&arrived.server) {
            record.used_by = ServerUse::B2bua;
        }
        let (b2bua, mut cx) = self.b2bua_and_context(now);
        b2bua.handle_request(&mut cx, arrived.server, &arrived.request, arrived.flow);
    }

    /// A message that came over the loopback.
    pub(super) fn looped(&mut self, now: Instant, looped: Transmit) {
        let Transmit { flow, bytes } = looped;
        let Ok(message) = Message::parse(bytes, &UNLIMITED) else { return };
        match message.method() {
            None => self.response(now, flow, message),
            Some(Method::Ack) => self.ack(now, flow, message),
            Some(Method::Cancel) => self.cancel(now, flow, message),
            Some(_) => self.own_request(now, flow, message),
        }
    }

    /// A request of the second leg of a bridge, for the proxy. Where its INVITE goes was decided about the INVITE of the
    /// first leg, whose caller has shown his password; what belongs to a dialog goes where its Route says.
    fn own_request(&mut self, now: Instant, flow: Flow, request: Message) {
        let begins = request.method() == Some(&Method::Invite) && matches!(request.to_tag(), Ok(None));
        let errand = match begins {
            true => {
                let errand = self.b2bua.errand(&request).cloned();
                let errand = errand.or_else(|| self.plan(now, &flow, &request));
                errand.map(|errand| self.adopt(errand, &request))
            }
            false => {
                let unix_s = self.unix_s(now);
                let decision = decide(&self.settings, &self.tokens, &request, &flow, false, None, unix_s);
                Some(Errand { decision, caller: None, trunk: None })
            }
        };
        let Some(Errand { decision, caller, trunk }) = errand else {
            return self.respond_stateless(&request, flow, Status::of(481), |_| ());
        };
        let (onward, destination) = match &decision {
            Decision::To { onward, destination, .. } | Decision::FromTrunk { onward, destination } => {
                (onward.clone(), Some(destination.clone()))
            }
            Decision::Route { onward, .. } => (onward.clone(), None),
            Decision::Refuse(status) if begins => {
                let status = *status;
                return self.respond_stateless(&request, flow, status, |_| ());
            }
            Decision::Reply { reply, .. } if begins => {
                let reply = reply.clone();
                self.count_reply(&reply);
                return self
                    .respond_stateless(&request, flow, reply.status, |writer| reply.write(writer, true));
            }
            // Robots, star codes and the server itself are called by people.
            _ if begins => return self.respond_stateless(&request, flow, Status::of(403), |_| ()),
            _ => return self.respond_stateless(&request, flow, Status::of(481), |_| ()),
        };
        if !begins && !onward.in_dialog {
            return self.respond_stateless(&request, flow, Status::of(481), |_| ());
        }
        let Some(server) = self.begin(now, flow, &request, Mode::Transaction) else { return };
        let arrived = Arrived { server, request, flow, decision, caller, trunk, hops: 0 };
        let (proxy, mut cx) = self.proxy_and_context(now);
        proxy.start(&mut cx, arrived, onward, destination);
    }

    /// Calls two and joins them.
    pub(super) fn dial(&mut self, now: Instant, dial: Dial) {
        // Their legs go to the proxy, which chooses the flow: any listener will do.
        let Some(local) = self.settings.listeners.first() else { return };
        let Listener { transport, address, .. } = *local;
        let flow = Flow { transport, local: address, remote: address, connection: None };
        let (b2bua, mut cx) = self.b2bua_and_context(now);
        b2bua.dial(&mut cx, dial, flow);
    }

    /// Decides about a call that we have begun ourselves, as about one of him by whose right it is made.
    fn plan(&mut self, now: Instant, flow: &Flow, request: &Message) -> Option<Errand> {
        let plan = self.b2bua.plan(request)?;
        let unix_s = self.unix_s(now);
        let decision = decide(&self.settings, &self.tokens, &plan.invite, flow, false, None, unix_s);
        let caller = plan.by.user.clone();
        let is_allowed = match &decision {
            // Whoever has shown no password reaches users and groups of ours, and nothing beyond.
            Decision::To { destination: Destination::User(_) | Destination::Group(_), .. } => true,
            Decision::To { .. } | Decision::Route { .. } => caller.is_some() || !self.settings.authenticate,
            _ => true,
        };
        let decision = if is_allowed { decision } else { Decision::Refuse(Status::of(403)) };
        self.b2bua.planned(request, &decision);
        Some(Errand { decision, caller, trunk: None })
    }

    /// What was decided about the INVITE of the first leg, for that of the second: it is another call.
    fn adopt(&self, mut errand: Errand, request: &Message) -> Errand {
        if let Decision::To { onward, .. }
        | Decision::Route { onward, .. }
        | Decision::FromTrunk { onward, .. } = &mut errand.decision
        {
            let token = self.tokens.make(request.call_id().unwrap_or_default(), Mode::Transaction);
            *onward = Onward {
                own_routes: 0,
                credentials: Default::default(),
                record_route: Some(token),
                trace: onward.trace.map(|_| self.trace(request)),
                mode: Mode::Transaction,
                sender: None,
                session: None,
                ..std::mem::take(onward)
            };
        }
        errand
    }
}
