//! Looks after the trunks of one shard: keeps our registrations, and asks addresses with OPTIONS whether they are there.
//!
//! ```text
//!   Register:  REGISTER -> 2xx -> refreshed before its end          Probe:  OPTIONS -> any answer but 408, 503: up
//!                       -> 401, 407 -> again, with credentials                      -> none, 408, 503: down, asked less
//!                       -> else -> again, after a growing pause                        and less often
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use dialtone_dialog::Draft;
use dialtone_dialog::digest::{Attempt, ClientError, OutgoingRequest};
use dialtone_wire::headers::{Expires, MinExpires, RetryAfter};
use dialtone_wire::net::{Flow, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use super::{CONTACT_PARAM, TrunkNews, TrunkTokens, contact_token};
use crate::context::{Context, Failure, Hop, UaRequest, hop_of, transport_param};
use crate::io::{Event, Notice, Output, Query};
use crate::queries::Waiting;
use crate::settings::{Account, Trunk, TrunkAccess};
use crate::steer::shard_of;
use crate::ua::registration::{refresh_after, retry_pause};

/// How long an address may take to answer a probe.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// The first probes and registrations after a start are spread over this time.
const SPREAD: Duration = Duration::from_secs(2);
/// How many probe intervals lie between two probes of an address that does not answer, at most.
const BACK_OFF_MAX: u32 = 4;
/// After a wrong password nothing changes until somebody mends it.
const WRONG_PASSWORD_PAUSE: Duration = Duration::from_secs(1800);
/// How often a registrar may name a longer Min-Expires before it counts as a failure.
const INTERVALS_MAX: u32 = 2;

/// What is done for a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Errand {
    /// Our registration.
    Register,
    /// The probe of one of its addresses.
    Probe(usize),
}

/// The errands of one shard.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    trunks: BTreeMap<SmolStr, Kept>,
    requests: BTreeMap<UaRequest, (SmolStr, Errand)>,
    due: BTreeSet<(Instant, SmolStr, Errand)>,
}

/// One trunk that this shard looks after.
#[derive(Debug)]
struct Kept {
    trunk: Trunk,
    errands: BTreeMap<Errand, Progress>,
}

/// How far an errand is.
#[derive(Debug)]
struct Progress {
    /// When something has to be done next.
    due: Instant,
    /// The request that is under way, or waits for its name to be looked up.
    sent: Option<Sent>,
    call_id: SmolStr,
    from_tag: SmolStr,
    cseq: u32,
    failures: u32,
    /// The time that the registrar asked for, where it was longer than ours.
    expires_min_s: u32,
    intervals: u32,
}

#[derive(Debug)]
struct Sent {
    /// `None` while its name is being looked up.
    request: Option<UaRequest>,
    draft: Draft,
    attempt: Attempt,
    expires_s: u32,
}

impl Keeper {
    /// Takes the trunks of new settings: those that changed begin anew.
    pub(crate) fn configure(&mut self, cx: &mut Context<'_>) {
        cx.core.trunks.configure(cx.settings);
        let settings = cx.settings.clone();
        let is_ours = |trunk: &&Trunk| shard_of(&settings, trunk.name.as_bytes()) == cx.core.shard;
        let ours: BTreeMap<SmolStr, &Trunk> =
            settings.trunks.iter().filter(is_ours).map(|trunk| (trunk.name.clone(), trunk)).collect();
        let gone: Vec<SmolStr> = self
            .trunks
            .iter()
            .filter(|(name, kept)| ours.get(*name).is_none_or(|new| **new != kept.trunk))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.forget(cx, &name);
        }
        for (name, trunk) in ours {
            if !self.trunks.contains_key(&name) {
                self.begin(cx, name, trunk);
            }
        }
        if settings.draining {
            self.say_goodbye(cx);
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, name: SmolStr, trunk: &Trunk) {
        let registers = matches!(trunk.access, TrunkAccess::Registrar { .. }).then_some(Errand::Register);
        let probes = (0..trunk.hops().len()).filter(|_| trunk.probe.is_some()).map(Errand::Probe);
        let mut errands = BTreeMap::new();
        for errand in registers.into_iter().chain(probes) {
            let due = cx.now + part_of(SPREAD, cx.random_u64());
            self.due.insert((due, name.clone(), errand));
            let (call_id, from_tag) = (cx.home_call_id(), cx.token());
            let progress = Progress {
                due,
                sent: None,
                call_id,
                from_tag,
                cseq: 0,
                failures: 0,
                expires_min_s: 0,
                intervals: 0,
            };
            errands.insert(errand, progress);
        }
        self.trunks.insert(name, Kept { trunk: trunk.clone(), errands });
    }

    /// Ends what is under way for a trunk; a registration that stands is taken away.
    fn forget(&mut self, cx: &mut Context<'_>, name: &SmolStr) {
        if let Some(kept) = self.trunks.get(name)
            && kept.errands.get(&Errand::Register).is_some_and(|progress| progress.cseq > 0)
        {
            self.send_register(cx, name, 0);
        }
        let Some(kept) = self.trunks.remove(name) else { return };
        for (errand, progress) in kept.errands {
            self.due.remove(&(progress.due, name.clone(), errand));
            if let Some(request) = progress.sent.and_then(|sent| sent.request) {
                self.requests.remove(&request);
            }
        }
    }

    /// The server is about to end: whom we are registered with need not send calls any more.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        let names: Vec<SmolStr> = self.trunks.keys().cloned().collect();
        for name in names {
            self.forget(cx, &name);
        }
    }

    /// When something is to be done next.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.first().map(|(at, ..)| (*at, "trunk"))
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some((_, name, errand)) = self.due.first().filter(|(at, ..)| *at <= cx.now).cloned() {
            let under_way = self.progress(&name, errand).is_some_and(|progress| progress.sent.is_some());
            match (errand, under_way) {
                (_, true) => self.unanswered(cx, &name, errand),
                (Errand::Register, false) => {
                    let expires_s = self.expires_wanted(&name);
                    self.send_register(cx, &name, expires_s);
                }
                (Errand::Probe(hop), false) => self.send_probe(cx, &name, hop),
            }
            if self
                .due
                .first()
                .is_some_and(|(at, first, of)| (first, *of) == (&name, errand) && *at <= cx.now)
            {
                // Nothing was found to be done: it is not asked for in a loop.
                self.set_due(&name, errand, cx.now + ANSWER_WITHIN);
            }
        }
    }

    /// Whether a request is one of these.
    pub(crate) fn owns(&self, request: UaRequest) -> bool {
        self.requests.contains_key(&request)
    }

    /// A response to one of these requests.
    pub(crate) fn handle_response(&mut self, cx: &mut Context<'_>, request: UaRequest, response: &Message) {
        let Some(status) = response.status().filter(|status| !status.is_provisional()) else { return };
        let Some((name, errand)) = self.requests.remove(&request) else { return };
        let Some(sent) = self.progress(&name, errand).and_then(|progress| progress.sent.take()) else {
            return;
        };
        match errand {
            Errand::Probe(hop) => self.probed(cx, &name, hop, !matches!(status.code(), 408 | 503)),
            Errand::Register => self.register_answered(cx, &name, sent, response, status),
        }
    }

    /// One of these requests has no answer.
    pub(crate) fn handle_failure(&mut self, cx: &mut Context<'_>, request: UaRequest, _failure: Failure) {
        if let Some((name, errand)) = self.requests.remove(&request) {
            self.unanswered(cx, &name, errand);
        }
    }

    /// The name of a host is known; `None` when it has no address.
    pub(crate) fn resolved(
        &mut self,
        cx: &mut Context<'_>,
        name: &SmolStr,
        errand: Errand,
        flow: Option<Flow>,
    ) {
        let waits = |sent: &&mut Sent| sent.request.is_none();
        let sent = self.progress(name, errand).and_then(|progress| progress.sent.as_mut()).filter(waits);
        let Some(draft) = sent.map(|sent| sent.draft.clone()) else { return };
        match flow {
            Some(flow) => {
                self.tell(cx, name, TrunkNews::Address(flow.remote.ip()));
                self.send_on(cx, name, errand, &draft, flow);
            }
            None => self.unanswered(cx, name, errand),
        }
    }

    fn progress(&mut self, name: &str, errand: Errand) -> Option<&mut Progress> {
        self.trunks.get_mut(name)?.errands.get_mut(&errand)
    }

    fn set_due(&mut self, name: &SmolStr, errand: Errand, at: Instant) {
        let Some(progress) = self.trunks.get_mut(name).and_then(|kept| kept.errands.get_mut(&errand)) else {
            return;
        };
        self.due.remove(&(progress.due, name.clone(), errand));
        progress.due = at;
        self.due.insert((at, name.clone(), errand));
    }

    /// The time to ask a registrar for.
    fn expires_wanted(&self, name: &str) -> u32 {
        let Some(kept) = self.trunks.get(name) else { return 0 };
        let least = kept.errands.get(&Errand::Register).map_or(0, |progress| progress.expires_min_s);
        kept.trunk.account().map_or(0, |account| account.expires_s).max(least)
    }

    fn send_register(&mut self, cx: &mut Context<'_>, name: &SmolStr, expires_s: u32) {
        let Some(kept) = self.trunks.get_mut(name) else { return };
        let TrunkAccess::Registrar { registrar, account, gin } = &kept.trunk.access else { return };
        let Some(progress) = kept.errands.get_mut(&Errand::Register) else { return };
        progress.cseq = progress.cseq.saturating_add(1);
        let address = format_smolstr!("<{}>", account.aor);
        let from = format_smolstr!("{address};tag={}", progress.from_tag);
        let mut draft = Draft::new(
            Method::Register,
            registrar.clone(),
            &from,
            &address,
            &progress.call_id,
            progress.cseq,
        )
        .header(HeaderName::Expires, &expires_s.to_smolstr())
        .header(HeaderName::UserAgent, &cx.settings.product);
        if *gin {
            // RFC 6140 §5.1.
            draft = draft
                .header(HeaderName::Require, "gin")
                .header(HeaderName::ProxyRequire, "gin")
                .header(HeaderName::Supported, "path, gin");
        }
        if let Some(routes) = account.proxy.as_ref().and_then(crate::ua::preloaded) {
            draft = draft.with_routes(&routes);
        }
        let sent = Sent { request: None, draft, attempt: Attempt::default(), expires_s };
        self.send(cx, name, Errand::Register, sent);
    }

    fn send_probe(&mut self, cx: &mut Context<'_>, name: &SmolStr, hop: usize) {
        let Some(kept) = self.trunks.get_mut(name) else { return };
        let Some(uri) = kept.trunk.hops().get(hop).cloned() else { return };
        let Some(progress) = kept.errands.get_mut(&Errand::Probe(hop)) else { return };
        progress.cseq = progress.cseq.saturating_add(1);
        let domain = cx.settings.domains.first().map_or("anonymous.invalid", |domain| &domain.name);
        let from = format_smolstr!("<sip:{domain}>;tag={}", progress.from_tag);
        let to = format_smolstr!("<{uri}>");
        let draft = Draft::new(Method::Options, uri, &from, &to, &progress.call_id, progress.cseq)
            .header(HeaderName::Accept, "application/sdp")
            .header(HeaderName::UserAgent, &cx.settings.product);
        let sent = Sent { request: None, draft, attempt: Attempt::default(), expires_s: 0 };
        self.send(cx, name, Errand::Probe(hop), sent);
    }

    /// Sends a request of an errand, or looks its name up first.
    fn send(&mut self, cx: &mut Context<'_>, name: &SmolStr, errand: Errand, mut sent: Sent) {
        // RFC 3261 §17.1.2.2: Timer F ends it; a probe has less time.
        let patience = match errand {
            Errand::Register => cx.settings.timers.transaction_timeout() + ANSWER_WITHIN,
            Errand::Probe(_) => ANSWER_WITHIN,
        };
        self.set_due(name, errand, cx.now + patience);
        if errand == Errand::Register {
            let covered = OutgoingRequest {
                method: sent.draft.method().as_str(),
                uri: sent.draft.uri(),
                body: &[],
                call_id: "",
                at_home: true,
            };
            for (header, value) in cx.core.trunks.credentials(name, &mut sent.attempt, &covered) {
                sent.draft = sent.draft.header(header, &value);
            }
        }
        let draft = sent.draft.clone();
        let Some(progress) = self.progress(name, errand) else { return };
        progress.sent = Some(sent);
        match hop_of(draft.next_hop()) {
            Err(_) => self.unanswered(cx, name, errand),
            Ok(Hop::Address(transport, remote)) => self.send_to(cx, name, errand, &draft, transport, remote),
            Ok(Hop::Name(transport, host, port)) => {
                let waiting = Waiting::Trunk { name: name.clone(), errand, transport, port };
                if cx.ask(Query::Resolve { host: SmolStr::new(host) }, waiting).is_none() {
                    self.unanswered(cx, name, errand);
                }
            }
        }
    }

    fn send_to(
        &mut self,
        cx: &mut Context<'_>,
        name: &SmolStr,
        errand: Errand,
        draft: &Draft,
        transport: Transport,
        remote: SocketAddr,
    ) {
        match cx.flow_to(transport, remote, None) {
            Some(flow) => {
                self.tell(cx, name, TrunkNews::Address(remote.ip()));
                self.send_on(cx, name, errand, draft, flow);
            }
            None => self.unanswered(cx, name, errand),
        }
    }

    fn send_on(&mut self, cx: &mut Context<'_>, name: &SmolStr, errand: Errand, draft: &Draft, flow: Flow) {
        let mut draft = draft.clone();
        if let (Errand::Register, Some(kept)) = (errand, self.trunks.get(name)) {
            draft = draft.header(HeaderName::Contact, &contact(&cx.core.trunks.tokens, &kept.trunk, flow));
        }
        let request = cx.next_request();
        if cx.send_on(request, &draft, None, flow).is_err() {
            return self.unanswered(cx, name, errand);
        }
        self.requests.insert(request, (name.clone(), errand));
        if let Some(sent) = self.progress(name, errand).and_then(|progress| progress.sent.as_mut()) {
            sent.request = Some(request);
        }
    }

    /// Nobody answered, or nothing could be sent.
    fn unanswered(&mut self, cx: &mut Context<'_>, name: &SmolStr, errand: Errand) {
        let sent = self.progress(name, errand).and_then(|progress| progress.sent.take());
        if let Some(request) = sent.and_then(|sent| sent.request) {
            self.requests.remove(&request);
            cx.abandon(request);
        }
        match errand {
            Errand::Probe(hop) => self.probed(cx, name, hop, false),
            Errand::Register => self.register_failed(cx, name, None, None),
        }
    }

    fn probed(&mut self, cx: &mut Context<'_>, name: &SmolStr, hop: usize, up: bool) {
        let Some(kept) = self.trunks.get_mut(name) else { return };
        let interval = kept.trunk.probe.unwrap_or(SPREAD);
        let Some(progress) = kept.errands.get_mut(&Errand::Probe(hop)) else { return };
        progress.failures = if up { 0 } else { progress.failures.saturating_add(1) };
        let rounds = 1_u32.checked_shl(progress.failures.saturating_sub(1)).unwrap_or(BACK_OFF_MAX);
        let pause = interval.saturating_mul(rounds.clamp(1, BACK_OFF_MAX));
        // A tenth more or less, so that the probes of many trunks do not go out together.
        let pause = pause.mul_f32(0.9) + part_of(pause / 5, cx.random_u64());
        self.set_due(name, Errand::Probe(hop), cx.now + pause);
        if self.tell(cx, name, TrunkNews::Hop { hop, up }) {
            let address = self.trunks.get(name).and_then(|kept| kept.trunk.hops().get(hop).cloned());
            if let Some(address) = address {
                cx.event(Event::TrunkAddress { trunk: name.clone(), address, up });
            }
        }
    }

    fn register_answered(
        &mut self,
        cx: &mut Context<'_>,
        name: &SmolStr,
        mut sent: Sent,
        response: &Message,
        status: Status,
    ) {
        let Some(kept) = self.trunks.get(name) else { return };
        let account = kept.trunk.account().cloned();
        if status.is_success() {
            return self.registered(cx, name, &sent, response);
        }
        if status.is_challenge() {
            let Context { core, .. } = cx;
            let (trunks, random) = (&mut core.trunks, &mut core.random);
            let mut random = || random.next_u64();
            return match trunks.challenged(name, account.as_ref(), &mut sent.attempt, response, &mut random) {
                Ok(()) => self.repeat_register(cx, name, sent),
                Err(error) => {
                    let wrong = matches!(error, ClientError::WrongPassword { .. });
                    self.register_failed(cx, name, Some(status), wrong.then_some(WRONG_PASSWORD_PAUSE));
                }
            };
        }
        let longer = response.header::<MinExpires>().and_then(Result::ok).map(|MinExpires(least)| least);
        if let (423, Some(least)) = (status.code(), longer.filter(|least| *least > sent.expires_s))
            && let Some(progress) = self.progress(name, Errand::Register)
            && progress.intervals < INTERVALS_MAX
        {
            // RFC 3261 §10.2.8.
            progress.intervals += 1;
            progress.expires_min_s = least;
            return self.send_register(cx, name, least);
        }
        let asked = response.header::<RetryAfter>().and_then(Result::ok);
        let asked = asked.map(|RetryAfter(seconds)| Duration::from_secs(u64::from(seconds)));
        self.register_failed(cx, name, Some(status), asked);
    }

    /// Sends a REGISTER again, with the credentials that were asked for.
    fn repeat_register(&mut self, cx: &mut Context<'_>, name: &SmolStr, mut sent: Sent) {
        let Some(progress) = self.progress(name, Errand::Register) else { return };
        progress.cseq = progress.cseq.saturating_add(1);
        sent.draft.set_cseq(progress.cseq);
        sent.draft.remove_header(HeaderName::Authorization);
        sent.draft.remove_header(HeaderName::ProxyAuthorization);
        sent.request = None;
        self.send(cx, name, Errand::Register, sent);
    }

    fn registered(&mut self, cx: &mut Context<'_>, name: &SmolStr, sent: &Sent, response: &Message) {
        let Some(progress) = self.progress(name, Errand::Register) else { return };
        (progress.failures, progress.intervals) = (0, 0);
        let expires_s = granted_s(response).unwrap_or(sent.expires_s);
        let lifetime = Duration::from_secs(u64::from(expires_s));
        self.set_due(name, Errand::Register, cx.now + refresh_after(lifetime));
        if self.tell(cx, name, TrunkNews::Registered(true)) {
            cx.event(Event::TrunkRegistered { trunk: name.clone(), expires_s });
        }
    }

    fn register_failed(
        &mut self,
        cx: &mut Context<'_>,
        name: &SmolStr,
        status: Option<Status>,
        asked: Option<Duration>,
    ) {
        let random = cx.random_u64();
        let Some(progress) = self.progress(name, Errand::Register) else { return };
        let pause =
            retry_pause(progress.failures, random).max(asked.unwrap_or_default().min(WRONG_PASSWORD_PAUSE));
        progress.failures = progress.failures.saturating_add(1);
        progress.intervals = 0;
        self.set_due(name, Errand::Register, cx.now + pause);
        self.tell(cx, name, TrunkNews::Registered(false));
        cx.event(Event::TrunkNotRegistered { trunk: name.clone(), status });
    }

    /// Notes what is known of a trunk, here and on all other shards; says whether it is news.
    fn tell(&self, cx: &mut Context<'_>, name: &SmolStr, news: TrunkNews) -> bool {
        let is_news = cx.core.trunks.note(name, news);
        if is_news {
            for to in (0..cx.settings.shards).filter(|shard| *shard != cx.core.shard) {
                let notice = Notice::Trunk { name: name.clone(), news };
                cx.core.outputs.push_back(Output::Notice { to, notice });
            }
        }
        is_news
    }
}

/// Our Contact at a registrar: whatever comes to it comes from there. With `bnc` it stands for all numbers of the
/// account (RFC 6140 §5.1).
fn contact(tokens: &TrunkTokens, trunk: &Trunk, flow: Flow) -> SmolStr {
    let token = contact_token(tokens, &trunk.name);
    let transport = transport_param(flow.transport);
    let local = flow.local;
    if matches!(trunk.access, TrunkAccess::Registrar { gin: true, .. }) {
        return format_smolstr!("<sip:{local}{transport};bnc;{CONTACT_PARAM}={token}>");
    }
    let user = trunk.account().map(account_user).unwrap_or_default();
    format_smolstr!("<sip:{user}@{local}{transport};{CONTACT_PARAM}={token}>")
}

fn account_user(account: &Account) -> SmolStr {
    let uri: &UriBuf = &account.aor;
    uri.uri().as_sip().and_then(|sip| sip.user).map_or_else(|| "trunk".into(), SmolStr::new)
}

/// For how long our binding stands (RFC 3261 §10.2.4).
fn granted_s(response: &Message) -> Option<u32> {
    let ours = response.contacts().flatten().find_map(|contact| {
        let address = *contact.address()?;
        address.uri.as_sip()?.params.value(CONTACT_PARAM)?;
        address.params.value("expires")?.parse::<u32>().ok()
    });
    ours.or_else(|| response.header::<Expires>()?.ok().map(|Expires(seconds)| seconds))
}

/// A part of a time, by 64 random bits.
fn part_of(most: Duration, random: u64) -> Duration {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % most.saturating_add(1))
}
