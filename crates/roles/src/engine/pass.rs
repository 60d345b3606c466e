//! Requests that go on without state (RFC 3261 §16.11): ACK and CANCEL like all others.

use std::net::SocketAddr;

use dialtone_wire::net::{Flow, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::{Message, Status};

use super::Engine;
use crate::binding::Binding;
use crate::context::Context;
use crate::gruu::TEMPORARY;
use crate::io::{Answer, Notice, Output};
use crate::policy::Decision;
use crate::proxy::{Passing, Target, stateless};
use crate::queries::Waiting;
use crate::registrar;
use crate::settings::Destination;
use crate::steer::shard_of_aor;

impl Engine {
    /// Forwards a request of a [stateless](Decision::is_stateless) decision. It has no transaction.
    pub(super) fn pass(&mut self, now: Instant, came: Flow, request: Message, decision: Decision) {
        let (aor, onward, target) = match decision {
            Decision::To { destination: Destination::User(aor), onward, .. } => {
                (Some(aor), onward, Target::unchanged())
            }
            Decision::To { destination: Destination::Uri(uri), onward, .. } => {
                (None, onward, Target::uri(uri.as_str()))
            }
            Decision::Route { onward, .. } => {
                let target = Target { flow: onward.flow, ..Target::unchanged() };
                (None, onward, target)
            }
            _ => return,
        };
        let passing = Passing { request, came, onward, target };
        let Some(aor) = aor else { return self.pass_on(now, &passing) };
        let owner = shard_of_aor(&self.settings, &aor);
        if owner == self.core.shard {
            let bindings = registrar::targets(&self.core.location, now, &aor);
            return self.pass_to(now, passing, &bindings);
        }
        let from = self.core.shard;
        match self.context(now).wait(Waiting::PassTo(Box::new(passing.clone()))) {
            Some(query) => {
                let notice = Notice::AskBindings { from, query, aor };
                self.core.outputs.push_back(Output::Notice { to: owner, notice });
            }
            None => {
                self.core.counters.overload += 1;
                self.refuse_passing(&passing, Status::of(500));
            }
        }
    }

    /// Forwards to the first of the bindings: one and only one target, the same for all of a transaction.
    pub(super) fn pass_to(&mut self, now: Instant, passing: Passing, bindings: &[Binding]) {
        let Some(target) = bindings.first().map(Target::of_binding) else {
            self.core.counters.not_found += 1;
            // RFC 5627 §6.1: a temporary GRUU ends with its registration.
            let is_temporary = passing.request.uri_text().contains(TEMPORARY);
            return self.refuse_passing(&passing, Status::of(if is_temporary { 404 } else { 480 }));
        };
        self.pass_on(now, &Passing { target, ..passing });
    }

    fn pass_on(&mut self, now: Instant, passing: &Passing) {
        let mut cx = Context { now, settings: &self.settings, core: &mut self.core };
        if let Err(status) = stateless::forward(&mut cx, &self.tokens.branches, passing) {
            self.refuse_passing(passing, status);
        }
    }

    /// The addresses of the next hop are known, or will not be.
    pub(super) fn pass_resolved(
        &mut self,
        now: Instant,
        passing: &Passing,
        transport: Transport,
        port: u16,
        answer: &Answer,
    ) {
        let addresses = match answer {
            Answer::Addresses(addresses) => addresses.as_slice(),
            _ => &[],
        };
        let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let mut cx = Context { now, settings: &self.settings, core: &mut self.core };
        let sent = stateless::resolved(&mut cx, &self.tokens.branches, passing, addresses, transport);
        if let Err(status) = sent {
            self.refuse_passing(passing, status);
        }
    }

    pub(super) fn refuse_passing(&mut self, passing: &Passing, status: Status) {
        self.respond_stateless(&passing.request, passing.came, status, |_| ());
    }
}
