//! Requests that may proceed: each goes to its role.

use dialtone_transaction::ServerId;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::SipUri;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smol_str::SmolStr;

use super::{Arrived, Caller, Engine};
use crate::binding::Binding;
use crate::context::ServerUse;
use crate::date;
use crate::events::reg::ContactEvent;
use crate::io::{Event, Notice, Output, Query, QueryId};
use crate::policy::Decision;
use crate::proxy::Onward;
use crate::proxy::session::{self, TooSmall};
use crate::proxy::trunk::BULK_PARAM;
use crate::queries::Waiting;
use crate::registrar::{self, EXTENSIONS, Grant, Granted, Registered, Registration};
use crate::settings::{Listener, Mode, Robot, Settings};

impl Engine {
    /// Hands a request to its role. If it asked for a password, the password was right.
    pub(super) fn act(&mut self, now: Instant, arrived: Arrived) {
        let Some(arrived) = self.hand_over(now, arrived) else { return };
        if arrived.request.method() == Some(&Method::Bye) {
            self.core.record_bye(now, &arrived.request);
        }
        match &arrived.decision {
            Decision::Ua if self.b2bua.owns_dialog(&arrived.request) => self.give_to_b2bua(now, &arrived),
            Decision::Ua => self.give_to_ua(now, &arrived, None),
            Decision::Register { domain, aor } => {
                let (domain, aor) = (domain.clone(), aor.clone());
                self.register(now, arrived, &domain, aor);
            }
            Decision::Watch { domain, aor } if self.caller_is_honest(&arrived) => {
                let (domain, aor) = (domain.clone(), aor.clone());
                let (subscriptions, mut cx) = self.subscriptions_and_context(now);
                subscriptions.subscribe(&mut cx, &arrived, &domain, &aor);
            }
            _ if !self.caller_is_honest(&arrived) => {
                self.respond(now, arrived.server, &arrived.request, Status::of(403), |_| ());
            }
            Decision::Robot { robot, .. } => self.give_to_ua(now, &arrived, Some(robot)),
            Decision::StarCode { .. } => self.star_code(now, arrived),
            Decision::To { .. } | Decision::Route { .. } | Decision::FromTrunk { .. }
                if !self.trunk_has_room(now, &arrived) =>
            {
                self.core.counters.trunk_full += 1;
                self.respond(now, arrived.server, &arrived.request, Status::of(480), |_| ());
            }
            Decision::To { onward, .. } | Decision::Route { onward, .. } if onward.mode == Mode::B2bua => {
                self.bridge(now, arrived);
            }
            Decision::To { destination, onward, .. } => {
                let destination = destination.clone();
                let Some(onward) = self.watch_session(now, &arrived, onward) else { return };
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.start(&mut cx, arrived, onward, Some(destination));
            }
            Decision::Reply { reply, .. } => {
                let reply = reply.clone();
                self.count_reply(&reply);
                self.respond(now, arrived.server, &arrived.request, reply.status, |writer| {
                    reply.write(writer, true);
                });
            }
            Decision::FromTrunk { destination, onward } => {
                let (destination, onward) = (destination.clone(), onward.clone());
                self.core.counters.trunk_incoming += 1;
                if onward.mode == Mode::B2bua {
                    return self.bridge(now, arrived);
                }
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.start(&mut cx, arrived, onward, Some(destination));
            }
            Decision::Route { onward, .. } => {
                let Some(onward) = self.watch_session(now, &arrived, onward) else { return };
                let (proxy, mut cx) = self.proxy_and_context(now);
                proxy.start(&mut cx, arrived, onward, None);
            }
            Decision::Watch { .. }
            | Decision::Refuse(_)
            | Decision::BadExtension
            | Decision::ServerItself => {
                unreachable!("answered without a transaction, before the request arrived here")
            }
        }
    }

    /// Counts a call that comes in over a trunk, known by its address or by the user that it has shown the password of;
    /// false if there are as many as there may be. (It counts with another trunk as soon as it goes out over that one.)
    fn trunk_has_room(&mut self, now: Instant, arrived: &Arrived) -> bool {
        if self.settings.trunks.is_empty() || arrived.request.method() != Some(&Method::Invite) {
            return true;
        }
        let of_caller = || {
            let aor = arrived.caller.as_ref()?.aor();
            self.settings.trunks.iter().find(|trunk| trunk.is_user(&aor))
        };
        let trunk = arrived.trunk.as_ref().and_then(|name| self.settings.trunk(name)).or_else(of_caller);
        let (Some(trunk), Ok(call_id)) = (trunk, arrived.request.call_id()) else { return true };
        self.core.trunks.begin_call(now, trunk, call_id)
    }

    /// How a request goes on whose session is watched; `None` when it was refused for its session interval
    /// (RFC 4028 §8.1).
    fn watch_session(&mut self, now: Instant, arrived: &Arrived, onward: &Onward) -> Option<Onward> {
        let onward = onward.clone();
        if onward.mode != Mode::Call {
            return Some(onward);
        }
        match session::asked(&self.settings.calls, &arrived.request) {
            Ok(session) => Some(Onward { session, ..onward }),
            Err(TooSmall(least)) => {
                self.respond(now, arrived.server, &arrived.request, Status::of(422), |writer| {
                    writer.number(HeaderName::MinSe, least);
                });
                None
            }
        }
    }

    /// Answers with a tag of our own.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        server: ServerId,
        request: &Message,
        status: Status,
        extra: impl FnOnce(&mut Writer),
    ) {
        let tag = self.core.random.token();
        self.context(now).respond(server, request, status, Some(&tag), extra, None);
    }

    pub(super) fn give_to_ua(&mut self, now: Instant, arrived: &Arrived, robot: Option<&Robot>) {
        if let Some(record) = self.core.servers.get_mut(&arrived.server) {
            record.used_by = ServerUse::Ua;
        }
        let (ua, mut cx) = self.ua_and_context(now);
        ua.handle_request(&mut cx, arrived.server, &arrived.request, arrived.flow, robot);
    }

    /// Whoever has shown the password of one user may not call as another user of our domains. To a user of ours he
    /// may call as somebody of a foreign domain, where he has another account (RFC 3665 §3.3); in our name, out to a
    /// foreign domain, he may not.
    fn caller_is_honest(&self, arrived: &Arrived) -> bool {
        let Some(Caller { user, domain }) = &arrived.caller else { return true };
        // A telephone system that is trusted speaks for all of its users.
        let trunk = arrived.trunk.as_ref().and_then(|name| self.settings.trunk(name));
        if trunk.is_some_and(|trunk| trunk.trust) {
            return true;
        }
        let from = arrived.request.from().ok();
        let Some(from) = from.as_ref().and_then(|from| from.uri.as_sip()) else { return false };
        match self.settings.domain_of(&from.host, from.port) {
            Some(own) => own.name == *domain && from.user_unescaped().as_ref() == Some(user),
            None => matches!(arrived.decision, Decision::To { .. } | Decision::Robot { .. }),
        }
    }

    /// RFC 3261 §10.3.
    fn register(&mut self, now: Instant, arrived: Arrived, name: &SmolStr, aor: SmolStr) {
        let Arrived { server, request, flow, caller, .. } = &arrived;
        let (server, flow) = (*server, *flow);
        let is_trunk = self.settings.trunks.iter().any(|trunk| trunk.is_user(&aor));
        let is_known = |option: &[u8]| {
            EXTENSIONS.iter().any(|own| option.eq_ignore_ascii_case(own.as_bytes()))
                || (is_trunk && option.eq_ignore_ascii_case(b"gin"))
        };
        if request.values(HeaderName::Require).any(|option| !is_known(option)) {
            return self.respond(now, server, request, Status::of(420), |writer| {
                for value in request.values(HeaderName::Require).filter(|option| !is_known(option)) {
                    writer.raw(HeaderName::Unsupported, value);
                }
            });
        }
        // RFC 3261 §21.4.15.
        let lacks = |option: &&SmolStr| {
            let named = [HeaderName::Supported, HeaderName::Require];
            !named.into_iter().any(|name| request.has_token(name, option))
        };
        let lacking: Vec<&str> =
            self.settings.register_requires.iter().filter(lacks).map(SmolStr::as_str).collect();
        if !lacking.is_empty() && request.has(HeaderName::Contact) {
            let lacking = lacking.join(", ");
            return self.respond(now, server, request, Status::of(421), |writer| {
                writer.text(HeaderName::Require, &lacking);
            });
        }
        // Step 4.
        if !may_register(&self.settings, request, name, caller.as_ref()) {
            return self.respond(now, server, request, Status::of(403), |writer| {
                writer.header(
                    HeaderName::Warning,
                    format_args!("399 {name} \"only its user registers this address\""),
                );
            });
        }
        if is_trunk && has_bulk_contact_with_user(request) {
            return self.respond(now, server, request, Status::of(400), |writer| {
                writer.header(
                    HeaderName::Warning,
                    format_args!("399 {name} \"a bnc Contact has no user part\""),
                );
            });
        }
        let settings = self.settings.clone();
        let random =
            if request.has_token(HeaderName::Supported, "gruu") { self.core.random.next_u64() } else { 0 };
        let registration = Registration {
            now,
            settings: &settings.registrar,
            bindings_max: settings.limits.bindings,
            request,
            flow,
            aor: &aor,
            gruus: &self.tokens.gruus,
            random,
        };
        match registrar::register(&mut self.core.location, &registration) {
            Registered::Granted { granted, change: Some(change) } if settings.journal => {
                self.journal(now, Grant { arrived, aor, granted, change });
            }
            Registered::Granted { granted, change } => {
                self.grant(now, &arrived, &granted);
                if change.is_some() {
                    self.bindings_changed(now, aor, granted.contacts.len(), ContactEvent::Unregistered);
                }
            }
            Registered::TooBrief { min_s } => {
                self.respond(now, server, request, Status::of(423), |writer| {
                    writer.header(HeaderName::MinExpires, min_s);
                });
            }
            Registered::Unsupported { option } => {
                self.respond(now, server, request, Status::of(420), |writer| {
                    writer.text(HeaderName::Unsupported, option);
                });
            }
            Registered::Refused { status, why } => {
                self.respond(now, server, request, status, |writer| {
                    writer.header(HeaderName::Warning, format_args!("399 {name} \"{why}\""));
                    if status.code() == 503 {
                        writer.number(HeaderName::RetryAfter, 60);
                    }
                });
            }
        }
    }

    fn grant(&mut self, now: Instant, arrived: &Arrived, granted: &Granted) {
        self.core.counters.registrations += 1;
        let date = date::format(self.unix_s(now));
        let settings = self.settings.clone();
        let request = &arrived.request;
        let service_route = match &arrived.decision {
            Decision::Register { domain, .. } if !granted.contacts.is_empty() => {
                settings.domains.iter().find(|own| own.name == *domain).map(|domain| &domain.service_route)
            }
            _ => None,
        };
        let is_direct = request.values(HeaderName::Via).nth(1).is_none();
        self.respond(now, arrived.server, request, Status::of(200), |writer| {
            for contact in &granted.contacts {
                writer.text(HeaderName::Contact, contact);
            }
            // RFC 3327 §5.3.
            for value in request.values(HeaderName::Path) {
                writer.raw(HeaderName::Path, value);
            }
            // RFC 3608 §6.3.
            for value in service_route.into_iter().flatten() {
                writer.text(HeaderName::ServiceRoute, value);
            }
            // RFC 5626 §6.
            if granted.outbound {
                writer.text(HeaderName::Require, "outbound");
                if settings.registrar.flow_timer_s > 0 && is_direct {
                    writer.line("Flow-Timer", settings.registrar.flow_timer_s);
                }
            }
            if request.has(HeaderName::Supported) {
                // RFC 5627 §5.2 wants no "gruu" here.
                writer.text(HeaderName::Supported, "path, outbound");
            }
            writer.raw(HeaderName::Date, &date);
        });
    }

    /// The bindings of an address-of-record have changed: says so, and tells those who watch. What is gone before its time
    /// is gone for this reason.
    pub(super) fn bindings_changed(
        &mut self,
        now: Instant,
        aor: SmolStr,
        bindings: usize,
        gone: ContactEvent,
    ) {
        let core = &mut self.core;
        if !core.watched.is_empty()
            && let Some(news) = core.watched.changed(now, &core.location, core.reg_key, &aor, gone)
        {
            for to in news.shards {
                let (contacts, aor) = (news.contacts.clone(), aor.clone());
                if to == self.core.shard {
                    let (subscriptions, mut cx) = self.subscriptions_and_context(now);
                    subscriptions.told(&mut cx, &aor, false, &contacts);
                } else {
                    let notice = Notice::Registration { aor, full: false, contacts };
                    self.core.outputs.push_back(Output::Notice { to, notice });
                }
            }
        }
        self.core.outputs.push_back(Output::Event(Event::BindingsChanged { aor, bindings }));
    }

    /// Has the bindings journalled; the 200 waits for that. They count from now on: a call may reach the phone a
    /// moment earlier than the 200 does.
    fn journal(&mut self, now: Instant, grant: Grant) {
        if self.core.queries.len() >= self.settings.limits.queries {
            self.core.counters.overload += 1;
            return self.journalled(now, grant, false);
        }
        let query = Query::Journal { aor: grant.aor.clone(), bindings: grant.change.after.clone() };
        let asked = self.context(now).ask(query, Waiting::Journal(Box::new(grant)));
        debug_assert!(asked.is_some(), "there was room for one more question");
    }

    /// The change of a REGISTER is journalled, or could not be: then it is taken back.
    pub(super) fn journalled(&mut self, now: Instant, grant: Grant, is_kept: bool) {
        let Grant { arrived, aor, granted, change } = grant;
        if is_kept {
            if self.still_waits(&arrived) {
                self.grant(now, &arrived, &granted);
            }
            return self.bindings_changed(now, aor, granted.contacts.len(), ContactEvent::Unregistered);
        }
        self.core.counters.not_journalled += 1;
        if let Some(bindings) = registrar::take_back(&mut self.core.location, now, &aor, &change) {
            // An answer that came too late, or a later request, may have journalled what is taken back here.
            self.journal_unanswered(&aor, bindings);
        }
        self.fail(now, &arrived);
    }

    /// Has all bindings of an address-of-record journalled, and leaves it at that: at worst bindings come back after
    /// a restart that were gone, until their time is over.
    pub(super) fn journal_unanswered(&mut self, aor: &SmolStr, bindings: Vec<Binding>) {
        let query = Query::Journal { aor: aor.clone(), bindings: bindings.into() };
        self.core.outputs.push_back(Output::Query(QueryId::UNANSWERED, query));
    }

    /// Some bindings of an address-of-record have ended before their time: has the others journalled, and says so.
    pub(super) fn bindings_lost(&mut self, now: Instant, aor: SmolStr, gone: ContactEvent) {
        let left: Vec<Binding> = self.core.location.of(now, &aor).cloned().collect();
        let count = left.len();
        if self.settings.journal {
            self.journal_unanswered(&aor, left);
        }
        self.bindings_changed(now, aor, count, gone);
    }

    /// Removes all bindings of an address-of-record, and what its user chose: whoever gets the name next begins with
    /// nothing.
    pub(super) fn forget(&mut self, now: Instant, aor: &SmolStr) {
        self.forget_services(aor);
        let (subscriptions, mut cx) = self.subscriptions_and_context(now);
        subscriptions.forget(&mut cx, aor);
        if self.core.location.of(now, aor).next().is_none() {
            return;
        }
        self.core.location.replace(aor, Vec::new());
        self.bindings_lost(now, aor.clone(), ContactEvent::Rejected);
    }

    /// Takes in bindings of an earlier life.
    pub(super) fn restore(&mut self, now: Instant, bindings: Vec<(SmolStr, Vec<Binding>)>) {
        for (aor, mut bindings) in bindings {
            bindings.retain(|binding| binding.expires_at > now);
            let is_room = self.core.location.len() + bindings.len() <= self.settings.limits.bindings;
            if !bindings.is_empty() && is_room && self.core.location.of(now, &aor).next().is_none() {
                for binding in &mut bindings {
                    binding.flow = self.restored_flow(binding.flow);
                }
                self.core.location.replace(&aor, bindings);
            }
        }
    }

    /// The flow of an earlier life: its connection is gone, and we may listen on other addresses now.
    fn restored_flow(&self, flow: Flow) -> Flow {
        let is_ours =
            |listener: &Listener| listener.transport == flow.transport && listener.address == flow.local;
        let local = if self.settings.listeners.iter().any(is_ours) {
            flow.local
        } else {
            let listener = self.settings.listener_for(flow.transport, flow.remote.ip(), None);
            listener.map_or(flow.local, |listener| listener.address)
        };
        Flow { local, connection: None, ..flow }
    }
}

/// Whether whoever sends a REGISTER may change the bindings of the address in To, which is of this domain (RFC 3261
/// §10.3 step 4): its user, or one who registers for all others (§10.2, third-party registration). From says who is
/// responsible, and the password must be his; a registrant may also say that it is the user.
fn may_register(settings: &Settings, request: &Message, domain: &str, caller: Option<&Caller>) -> bool {
    let (Ok(to), Ok(from)) = (request.to(), request.from()) else { return false };
    let user_of = |uri: &SipUri<'_>| {
        let own = settings.domain_of(&uri.host, uri.port)?;
        (own.name == domain).then(|| uri.user_unescaped()).flatten()
    };
    let Some(user) = to.uri.as_sip().and_then(user_of) else { return false };
    let responsible = match from.uri_text == to.uri_text {
        true => Some(user.clone()),
        false => from.uri.as_sip().and_then(user_of),
    };
    // Where nobody is asked for a password, From is all that is known of him; phones without any write what they like.
    let Some(responsible) = responsible else { return caller.is_none() };
    let is_registrant = |user: &SmolStr| {
        settings.domains.iter().any(|own| own.name == domain && own.registrants.contains(user))
    };
    match caller {
        Some(caller) if caller.domain != domain => false,
        Some(caller) if is_registrant(&caller.user) => responsible == caller.user || responsible == user,
        Some(caller) => caller.user == user && responsible == user,
        None => responsible == user || is_registrant(&responsible),
    }
}

/// RFC 6140 §5.2: such a REGISTER must not be granted.
fn has_bulk_contact_with_user(request: &Message) -> bool {
    let contacts = request.contacts().flatten();
    let mut uris =
        contacts.filter_map(|contact| contact.address().and_then(|address| address.uri.as_sip().copied()));
    uris.any(|uri| uri.user.is_some() && uri.params.has(BULK_PARAM))
}
