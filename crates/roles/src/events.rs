//! Subscriptions of others with us as notifier (RFC 6665 §4.2). The one event package so far is `reg` (RFC 3680): who
//! watches an address-of-record is told of each change of its bindings.
//!
//! A subscription lives on the shard of its Call-ID, where its refreshes and the answers to its NOTIFYs arrive. The
//! shard that owns the address-of-record is asked to tell of changes ([`Watched`]); it knows shards, not subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dialtone_dialog::{Dialog, DialogId, State};
use dialtone_wire::headers::{Contact, Expires};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, format_smolstr};

use crate::context::{Context, UaRequest};
use crate::engine::Arrived;
use crate::io::{Notice, Output};
use crate::steer::shard_of_aor;

pub(crate) mod reg;
mod watched;

use reg::ContactState;
pub(crate) use watched::Watched;

/// The user part of our Contact in a subscription.
const CONTACT_USER: &str = "reg";
/// Changes that wait for the answer to a NOTIFY; of more than these only the outcome is told.
const CHANGES_MAX: usize = 64;
/// When to try again after a 503, in seconds.
const RETRY_AFTER_S: u32 = 60;

/// All subscriptions of one shard.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    next: u64,
    all: BTreeMap<u64, Subscription>,
    by_dialog: BTreeMap<DialogId, u64>,
    topics: BTreeMap<SmolStr, Topic>,
    /// NOTIFYs that have no answer yet.
    requests: BTreeMap<UaRequest, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
}

/// What this shard knows of a watched address-of-record.
#[derive(Debug, Default)]
struct Topic {
    /// Its bindings; `None` until its owner has told them.
    contacts: Option<BTreeMap<SmolStr, ContactState>>,
    subscriptions: BTreeSet<u64>,
}

#[derive(Debug)]
struct Subscription {
    dialog: Dialog,
    domain: SmolStr,
    aor: SmolStr,
    /// The Event value of its NOTIFYs.
    event: SmolStr,
    /// The way to a subscriber whose Contact may lead nowhere.
    flow: Option<Flow>,
    expires_at: Instant,
    version: u32,
    /// All of the state is to be told next.
    full_due: bool,
    /// What has changed since the last NOTIFY.
    changes: BTreeMap<SmolStr, ContactState>,
    outstanding: Option<UaRequest>,
    /// Why it ends with the next NOTIFY.
    end: Option<&'static str>,
    /// It ends now, whether the state is known or not.
    overdue: bool,
    /// Its last NOTIFY is on the way.
    last_sent: bool,
}

/// Whether a SUBSCRIBE is for a package that we serve.
pub(crate) fn is_served(request: &Message) -> bool {
    let package = request.value(HeaderName::Event).and_then(|value| value.split(|byte| *byte == b';').next());
    package.is_some_and(|package| package.trim_ascii() == reg::PACKAGE.as_bytes())
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn owns(&self, request: UaRequest) -> bool {
        self.requests.contains_key(&request)
    }

    /// Whose registration the subscription watches to whose dialog a request belongs: domain and address-of-record.
    pub(crate) fn watched_by(&self, request: &Message) -> Option<(SmolStr, SmolStr)> {
        let (_, subscription) = self.find(request)?;
        Some((subscription.domain.clone(), subscription.aor.clone()))
    }

    fn find(&self, request: &Message) -> Option<(u64, &Subscription)> {
        let id = *self.by_dialog.get(&DialogId::of_request(request).ok()?)?;
        Some((id, self.all.get(&id)?))
    }

    /// A SUBSCRIBE from somebody who has shown his password, where one is asked for.
    pub(crate) fn subscribe(
        &mut self,
        cx: &mut Context<'_>,
        arrived: &Arrived,
        domain: &SmolStr,
        aor: &SmolStr,
    ) {
        let request = &arrived.request;
        let known = self.find(request).filter(|(_, known)| known.end.is_none()).map(|(id, _)| id);
        if known.is_none() && matches!(request.to_tag(), Ok(Some(_))) {
            return refuse(cx, arrived, 481);
        }
        if !may_watch(cx, arrived, domain, aor) {
            return refuse(cx, arrived, 403);
        }
        if request.has(HeaderName::Require) {
            // RFC 3261 §8.2.2.3: no extension is needed for this.
            let tag = cx.token();
            let _ = cx.respond(
                arrived.server,
                request,
                Status::of(420),
                Some(&tag),
                |writer| {
                    for value in request.values(HeaderName::Require) {
                        writer.raw(HeaderName::Unsupported, value);
                    }
                },
                None,
            );
            return;
        }
        if !is_served(request) {
            return refuse(cx, arrived, 489);
        }
        if !reg::is_accepted(request) {
            return refuse(cx, arrived, 406);
        }
        let times = cx.settings.registrar;
        let asked = request.header::<Expires>().and_then(Result::ok).map(|Expires(seconds)| seconds);
        let expires_s = asked.unwrap_or(reg::EXPIRES_S).min(times.expires_max_s);
        if expires_s > 0 && expires_s < times.expires_min_s {
            return refuse(cx, arrived, 423);
        }
        let id = match known {
            Some(id) => match self.refresh(arrived, id) {
                Ok(()) => id,
                Err(code) => return refuse(cx, arrived, code),
            },
            None => match self.add(cx, arrived, domain, aor) {
                Ok(id) => id,
                Err(code) => return refuse(cx, arrived, code),
            },
        };
        let Some(subscription) = self.all.get_mut(&id) else { return };
        self.deadlines.remove(&(subscription.expires_at, id));
        // RFC 6665 §4.4.3: a fetch ends with its one NOTIFY, which may have to wait for the owner of the bindings.
        subscription.expires_at = match expires_s {
            0 => cx.now + cx.settings.limits.query_time,
            _ => cx.now + Duration::from_secs(expires_s.into()),
        };
        subscription.end = (expires_s == 0).then_some("timeout");
        subscription.full_due = true;
        self.deadlines.insert((subscription.expires_at, id));
        let tag = subscription.dialog.id().local_tag.clone();
        let contact = cx.contact_for(&arrived.flow, CONTACT_USER);
        cx.core.counters.subscriptions += u64::from(known.is_none());
        // RFC 6665 §4.2.1.1: the response goes first.
        let headers = |writer: &mut dialtone_wire::Writer| {
            writer.text(HeaderName::Contact, &contact).number(HeaderName::Expires, expires_s);
            writer.text(HeaderName::AllowEvents, reg::PACKAGE).copy(request, HeaderName::RecordRoute);
        };
        let _ = cx.respond(arrived.server, request, Status::of(200), Some(&tag), headers, None);
        self.watch(cx, aor);
        self.pump(cx, id);
    }

    /// A new subscription, or the status that refuses it.
    fn add(
        &mut self,
        cx: &mut Context<'_>,
        arrived: &Arrived,
        domain: &SmolStr,
        aor: &SmolStr,
    ) -> Result<u64, u16> {
        let limits = &cx.settings.limits;
        if self.all.len() >= limits.subscriptions {
            cx.core.counters.overload += 1;
            return Err(503);
        }
        let of_aor = self.topics.get(aor).map_or(0, |topic| topic.subscriptions.len());
        if of_aor >= limits.subscriptions_per_aor {
            return Err(403);
        }
        let request = &arrived.request;
        let tag = cx.token();
        let dialog = Dialog::uas(request, &tag, State::Confirmed).map_err(|_| 400_u16)?;
        let event = request.value(HeaderName::Event).and_then(|value| std::str::from_utf8(value).ok());
        self.next += 1;
        let id = self.next;
        self.by_dialog.insert(dialog.id().clone(), id);
        self.topics.entry(aor.clone()).or_default().subscriptions.insert(id);
        self.all.insert(
            id,
            Subscription {
                flow: flow_of(request, arrived.flow, &dialog),
                dialog,
                domain: domain.clone(),
                aor: aor.clone(),
                event: event.map_or(SmolStr::new_static(reg::PACKAGE), SmolStr::new),
                expires_at: cx.now,
                version: 0,
                full_due: true,
                changes: BTreeMap::new(),
                outstanding: None,
                end: None,
                overdue: false,
                last_sent: false,
            },
        );
        Ok(id)
    }

    fn refresh(&mut self, arrived: &Arrived, id: u64) -> Result<(), u16> {
        let subscription = self.all.get_mut(&id).ok_or(481_u16)?;
        let request = &arrived.request;
        subscription.dialog.check_request(request).map_err(|error| error.status().code())?;
        subscription.dialog.refresh_target(request).map_err(|_| 400_u16)?;
        subscription.flow = flow_of(request, arrived.flow, &subscription.dialog);
        Ok(())
    }

    /// Asks the owner of an address-of-record to tell its bindings, now and whenever they change. Word between shards
    /// may be lost: each refresh asks again.
    fn watch(&mut self, cx: &mut Context<'_>, aor: &SmolStr) {
        let (owner, from) = (shard_of_aor(cx.settings, aor), cx.core.shard);
        if owner == from {
            let contacts = cx.core.watched.watch(cx.now, &cx.core.location, cx.core.reg_key, aor, from);
            return self.told(cx, aor, true, &contacts);
        }
        let notice = Notice::WatchRegistration { from, aor: aor.clone() };
        cx.core.outputs.push_back(Output::Notice { to: owner, notice });
    }

    fn unwatch(cx: &mut Context<'_>, aor: &SmolStr) {
        let (owner, from) = (shard_of_aor(cx.settings, aor), cx.core.shard);
        if owner == from {
            return cx.core.watched.unwatch(aor, from);
        }
        let notice = Notice::UnwatchRegistration { from, aor: aor.clone() };
        cx.core.outputs.push_back(Output::Notice { to: owner, notice });
    }

    /// The owner tells all contacts of an address-of-record, or those that have changed.
    pub(crate) fn told(&mut self, cx: &mut Context<'_>, aor: &SmolStr, full: bool, told: &[ContactState]) {
        let Some(topic) = self.topics.get_mut(aor) else { return Self::unwatch(cx, aor) };
        let by_id = |contact: &ContactState| (contact.id.clone(), contact.clone());
        let mut is_news = !full;
        if full {
            let contacts: BTreeMap<_, _> = told.iter().map(by_id).collect();
            is_news = topic.contacts.as_ref().is_some_and(|known| !reg::is_same(known, &contacts));
            topic.contacts = Some(contacts);
        } else if let Some(known) = &mut topic.contacts {
            for contact in told {
                if contact.event.is_end() {
                    known.remove(&contact.id);
                } else {
                    known.insert(contact.id.clone(), contact.clone());
                }
            }
        }
        let ids: Vec<u64> = topic.subscriptions.iter().copied().collect();
        for id in ids {
            if let Some(subscription) = self.all.get_mut(&id) {
                if full {
                    if is_news {
                        subscription.full_due = true;
                        subscription.changes.clear();
                    }
                } else {
                    subscription.changes.extend(told.iter().map(by_id));
                    if subscription.changes.len() > CHANGES_MAX {
                        subscription.changes.clear();
                        subscription.full_due = true;
                    }
                }
            }
            self.pump(cx, id);
        }
    }

    /// The user of an address-of-record is gone: there is nothing to watch any more.
    pub(crate) fn forget(&mut self, cx: &mut Context<'_>, aor: &SmolStr) {
        let ids = self.topics.get(aor).map(|topic| topic.subscriptions.iter().copied().collect::<Vec<_>>());
        for id in ids.into_iter().flatten() {
            if let Some(subscription) = self.all.get_mut(&id) {
                subscription.end = Some("noresource");
                subscription.overdue = true;
            }
            self.pump(cx, id);
        }
    }

    /// Sends the next NOTIFY, if there is something to tell and the last one was answered.
    fn pump(&mut self, cx: &mut Context<'_>, id: u64) {
        let Some(subscription) = self.all.get_mut(&id) else { return };
        let contacts = self.topics.get(&subscription.aor).and_then(|topic| topic.contacts.as_ref());
        let is_due = subscription.full_due || !subscription.changes.is_empty() || subscription.end.is_some();
        if subscription.outstanding.is_some() || !is_due || (contacts.is_none() && !subscription.overdue) {
            return;
        }
        let state = match subscription.end {
            Some(reason) => format_smolstr!("terminated;reason={reason}"),
            None => format_smolstr!("active;expires={}", reg::left_s(subscription.expires_at, cx.now)),
        };
        let mut draft = subscription
            .dialog
            .request(Method::Notify)
            .header(HeaderName::Event, &subscription.event)
            .header(HeaderName::SubscriptionState, &state)
            .header(HeaderName::UserAgent, &cx.settings.product);
        if let Some(contacts) = contacts {
            let report = reg::Report {
                now: cx.now,
                aor: &subscription.aor,
                registration: reg::id_of(cx.core.reg_key, &subscription.aor, ""),
                version: subscription.version,
                full: subscription.full_due,
                contacts,
                changes: &subscription.changes,
            };
            draft = draft.body(reg::CONTENT_TYPE, report.to_xml());
            subscription.version = subscription.version.wrapping_add(1);
        }
        subscription.full_due = false;
        subscription.changes.clear();
        subscription.last_sent = subscription.end.is_some();
        let request = cx.next_request();
        subscription.outstanding = Some(request);
        cx.core.counters.notifications += 1;
        let user = SmolStr::new_static(CONTACT_USER).into();
        let sent = match subscription.flow {
            Some(flow) => cx.send_on(request, &draft, Some(&user), flow),
            None => cx.send(request, &draft, Some(&user)),
        };
        self.requests.insert(request, id);
        if sent.is_err() {
            self.remove(cx, id);
        }
    }

    /// A response to a NOTIFY.
    pub(crate) fn handle_response(&mut self, cx: &mut Context<'_>, request: UaRequest, response: &Message) {
        let Some(status) = response.status().filter(|status| status.is_final()) else { return };
        let Some(id) = self.requests.remove(&request) else { return };
        let Some(subscription) = self.all.get_mut(&id) else { return };
        subscription.outstanding = None;
        if subscription.last_sent || ends_subscription(status) {
            return self.remove(cx, id);
        }
        if !status.is_success() {
            // It was not told: all of it is, with the next change or refresh.
            subscription.full_due = true;
            if subscription.end.is_none() {
                return;
            }
        }
        self.pump(cx, id);
    }

    /// A NOTIFY has no answer: the subscriber is gone (RFC 6665 §4.2.2).
    pub(crate) fn handle_failure(&mut self, cx: &mut Context<'_>, request: UaRequest) {
        if let Some(id) = self.requests.remove(&request) {
            self.remove(cx, id);
        }
    }

    /// Ends what was not refreshed.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some(&(at, id)) = self.deadlines.first().filter(|(at, _)| *at <= cx.now) {
            self.deadlines.remove(&(at, id));
            if let Some(subscription) = self.all.get_mut(&id) {
                subscription.end.get_or_insert("timeout");
                subscription.overdue = true;
            }
            self.pump(cx, id);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.deadlines.first().map(|(at, _)| (*at, "subscription"))
    }

    fn remove(&mut self, cx: &mut Context<'_>, id: u64) {
        let Some(subscription) = self.all.remove(&id) else { return };
        self.deadlines.remove(&(subscription.expires_at, id));
        self.by_dialog.remove(subscription.dialog.id());
        if let Some(request) = subscription.outstanding {
            self.requests.remove(&request);
        }
        let Some(topic) = self.topics.get_mut(&subscription.aor) else { return };
        topic.subscriptions.remove(&id);
        if topic.subscriptions.is_empty() {
            self.topics.remove(&subscription.aor);
            Self::unwatch(cx, &subscription.aor);
        }
    }
}

/// The final responses to a NOTIFY that end its subscription (RFC 6665 §4.2.2).
pub(crate) const fn ends_subscription(status: Status) -> bool {
    matches!(status.code(), 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
}

/// RFC 3680 §4.5: a user may watch his own registration; so may those who register for all others of the domain.
fn may_watch(cx: &Context<'_>, arrived: &Arrived, domain: &SmolStr, aor: &SmolStr) -> bool {
    let (user, of) = match &arrived.caller {
        Some(caller) => (caller.user.clone(), caller.domain.clone()),
        // Where nobody is asked for a password, From is all that is known of him.
        None => {
            let Ok(from) = arrived.request.from() else { return false };
            let Some(uri) = from.uri.as_sip() else { return false };
            let Some(own) = cx.settings.domain_of(&uri.host, uri.port) else { return false };
            let Some(user) = uri.user_unescaped() else { return false };
            (user, own.name.clone())
        }
    };
    let is_himself = || crate::engine::Caller { user: user.clone(), domain: of.clone() }.aor() == *aor;
    let is_registrant =
        || cx.settings.domains.iter().any(|own| own.name == *domain && own.registrants.contains(&user));
    of == *domain && (is_himself() || is_registrant())
}

/// The flow of a SUBSCRIBE that came straight from its sender, where only that leads back: over a connection, or from
/// behind a NAT.
fn flow_of(request: &Message, flow: Flow, dialog: &Dialog) -> Option<Flow> {
    let is_direct = request.values(HeaderName::Via).nth(1).is_none() && !request.has(HeaderName::RecordRoute);
    let is_elsewhere = || {
        let Some(Ok(Contact::Address(contact))) = request.contacts().next() else { return false };
        contact.uri.as_sip().and_then(|uri| uri.host.ip()).is_some_and(|ip| ip != flow.remote.ip())
    };
    let has_routes = !dialog.route_set().is_empty();
    (is_direct && !has_routes && (flow.connection.is_some() || is_elsewhere())).then_some(flow)
}

fn refuse(cx: &mut Context<'_>, arrived: &Arrived, code: u16) {
    let tag = cx.token();
    let min_s = cx.settings.registrar.expires_min_s;
    let headers = |writer: &mut dialtone_wire::Writer| match code {
        406 => drop(writer.text(HeaderName::Accept, reg::CONTENT_TYPE)),
        423 => drop(writer.number(HeaderName::MinExpires, min_s)),
        489 => drop(writer.text(HeaderName::AllowEvents, reg::PACKAGE)),
        503 => drop(writer.number(HeaderName::RetryAfter, RETRY_AFTER_S)),
        _ => (),
    };
    let _ = cx.respond(arrived.server, &arrived.request, Status::of(code), Some(&tag), headers, None);
}
