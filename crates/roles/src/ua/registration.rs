//! Our own registration (RFC 3261 §10.2): one Call-ID, rising CSeq, refreshed before it ends, tried again with growing
//! pauses after a failure.

use std::time::Duration;

use dialtone_dialog::{Draft, RouteSet};
use dialtone_wire::headers::{Expires, MinExpires, NameAddr, RetryAfter};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::{SipUri, Uri, UriBuf};
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use super::Ua;
use super::deadlines::Wake;
use super::desk::{NotRetried, Purpose, Sent, own_user};
use super::outgoing::{preloaded, quoted};
use crate::context::{Context, Failure, UaRequest};
use crate::io::Event;
use crate::settings::{Account, Settings};

/// RFC 5626 §4.5: base time when all flows have failed, and the longest pause.
const RETRY_BASE: Duration = Duration::from_secs(30);
const RETRY_MAX: Duration = Duration::from_secs(1800);
/// How often a registrar may name a longer Min-Expires before it counts as a failure.
const INTERVALS_MAX: u32 = 2;
/// The clock of the registrar may differ from ours by that much without a word, in seconds.
const CLOCK_SLACK_S: u64 = 5;

/// Where our registration stands.
///
/// ```text
///            Register               2xx
///   +------+ REGISTER +------------+   +------------+
///   | Idle |--------->|  Sent      |-->| Registered |
///   +------+          +------------+   +------------+
///      ^               |  ^    ^  refresh |     |
///      |         4xx.. |  |    +----------+     | Unregister
///      |               v  | pause over          | Expires: 0
///      |           +---------+                  v
///      |           | Waiting |             (Sent, to remove)
///      |           +---------+                  |
///      +----------------------------------------+
///        wrong password, removed
/// ```
#[derive(Debug, Default)]
pub(super) struct Registration {
    state: State,
    /// Whether the owner wants to be registered.
    wanted: bool,
    identity: Option<Identity>,
    cseq: u32,
    /// When the binding ends at the registrar.
    bound_until: Option<Instant>,
    /// The time that the registrar asked for, where it was longer than ours.
    expires_min_s: u32,
    intervals: u32,
    failures: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Sent {
        request: UaRequest,
        expires_s: u32,
    },
    Registered,
    Waiting,
}

/// RFC 3261 §10.2: "A UA SHOULD use the same Call-ID for all registrations during a single boot cycle."
#[derive(Clone, Debug)]
struct Identity {
    call_id: SmolStr,
    from_tag: SmolStr,
}

impl Ua {
    /// The owner wants to be registered.
    pub(super) fn register(&mut self, cx: &mut Context<'_>) {
        self.registration.wanted = true;
        if !matches!(self.registration.state, State::Sent { .. }) {
            self.registration.failures = 0;
            self.send_register(cx);
        }
    }

    /// The owner does not want to be registered any more.
    pub(super) fn unregister(&mut self, cx: &mut Context<'_>) {
        self.registration.wanted = false;
        match self.registration.state {
            // RFC 3261 §10.2: "UAs MUST NOT send a new registration … until they have received a final response from
            // the registrar for the previous one or the previous REGISTER request has timed out."
            State::Sent { .. } => {}
            State::Idle => cx.event(Event::Unregistered),
            State::Registered | State::Waiting => {
                if self.registration.bound_until.is_some() {
                    self.send_register(cx);
                } else {
                    self.rest(cx);
                }
            }
        }
    }

    /// It is time to refresh, or to try again.
    pub(super) fn registration_due(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.registration.state, State::Sent { .. }) {
            self.send_register(cx);
        }
    }

    /// Sends the REGISTER that is wanted now: to bind, to refresh, or to remove (RFC 3261 §10.2).
    fn send_register(&mut self, cx: &mut Context<'_>) {
        self.desk.deadlines.stop(Wake::Registration);
        let Some(account) = cx.settings.account.clone() else {
            // There is nobody to register, now or later.
            self.registration.wanted = false;
            return self.registration_failed(cx, None, None);
        };
        let Some(registrar) = registrar_of(&account) else {
            return self.registration_failed(cx, None, None);
        };
        if self.registration.identity.is_none() {
            self.registration.identity = Some(Identity { call_id: cx.token(), from_tag: cx.token() });
        }
        let Some(identity) = self.registration.identity.clone() else { return };
        self.registration.cseq = self.registration.cseq.saturating_add(1);
        let wanted_s = account.expires_s.max(self.registration.expires_min_s);
        let expires_s = if self.registration.wanted { wanted_s } else { 0 };
        let display = account.display_name.as_deref().map(quoted).unwrap_or_default();
        let address = format_smolstr!("{display}<{}>", account.aor);
        let from = format_smolstr!("{address};tag={}", identity.from_tag);
        let mut draft = Draft::new(
            Method::Register,
            registrar,
            &from,
            &address,
            &identity.call_id,
            self.registration.cseq,
        )
        .header(HeaderName::Expires, &expires_s.to_smolstr())
        // RFC 3327 §5.1: we need not know what a Path is for, but registrars ask.
        .header(HeaderName::Supported, "path")
        .header(HeaderName::UserAgent, &cx.settings.product);
        // One after the other, as long as neither takes it.
        let proxy = match account.backup_proxy.as_ref().filter(|_| self.registration.failures % 2 == 1) {
            Some(backup) => Some(backup),
            None => account.proxy.as_ref(),
        };
        if let Some(routes) = proxy.and_then(preloaded) {
            draft = draft.with_routes(&routes);
        }
        match self.desk.send(cx, draft, Some(own_user(cx.settings).into()), Purpose::Register) {
            Ok(request) => self.registration.state = State::Sent { request, expires_s },
            Err(_) => self.registration_failed(cx, None, None),
        }
    }

    /// A response to our REGISTER.
    pub(super) fn handle_register_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        response: &Message,
        status: Status,
    ) {
        let State::Sent { request: sent, expires_s } = self.registration.state else { return };
        if sent != request || status.is_provisional() {
            return;
        }
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        if status.is_success() {
            return self.registered(cx, response, expires_s);
        }
        if status.is_challenge() {
            return self.answer_challenge(cx, sent, response, status, expires_s);
        }
        if status.code() == 423
            && expires_s > 0
            && let Some(Ok(MinExpires(least_s))) = response.header::<MinExpires>()
            && least_s > expires_s
            && self.registration.intervals < INTERVALS_MAX
        {
            // RFC 3261 §10.2.8.
            self.registration.intervals += 1;
            self.registration.expires_min_s = least_s;
            self.registration.state = State::Idle;
            return self.send_register(cx);
        }
        let retry_after = response.header::<RetryAfter>().and_then(Result::ok);
        self.registration_failed(cx, Some(status), retry_after.map(|RetryAfter(seconds)| seconds));
    }

    /// Nobody answered our REGISTER.
    pub(super) fn handle_register_failure(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        _failure: Failure,
    ) {
        self.desk.requests.remove(&request);
        if matches!(self.registration.state, State::Sent { request: sent, .. } if sent == request) {
            self.registration_failed(cx, None, None);
        }
    }

    fn answer_challenge(
        &mut self,
        cx: &mut Context<'_>,
        sent: Sent,
        response: &Message,
        status: Status,
        expires_s: u32,
    ) {
        self.registration.cseq = self.registration.cseq.saturating_add(1);
        match self.desk.retry(cx, sent, response, self.registration.cseq) {
            Ok(request) => self.registration.state = State::Sent { request, expires_s },
            Err(NotRetried::WrongPassword) => {
                // Trying again would only lock the account.
                self.registration.wanted = false;
                self.registration.bound_until = None;
                self.registration.state = State::Idle;
                cx.event(Event::RegistrationFailed { status: Some(status), wrong_password: true });
            }
            Err(NotRetried::NoCredentials | NotRetried::NotSent(_)) => {
                self.registration_failed(cx, Some(status), None);
            }
        }
    }

    fn registered(&mut self, cx: &mut Context<'_>, response: &Message, asked_s: u32) {
        let registration = &mut self.registration;
        (registration.failures, registration.intervals) = (0, 0);
        // RFC 3608 §6.1: that of the last registration holds. One that can't be read is none.
        let service_route = RouteSet::of(response, HeaderName::ServiceRoute).unwrap_or_default();
        self.desk.service_route = if asked_s == 0 { RouteSet::default() } else { service_route };
        if asked_s == 0 {
            registration.bound_until = None;
            self.rest(cx);
            if self.registration.wanted {
                self.send_register(cx);
            }
            return;
        }
        let expires_s = granted_s(response, cx.settings).unwrap_or(asked_s);
        let lifetime = Duration::from_secs(u64::from(expires_s));
        registration.bound_until = Some(cx.now + lifetime);
        registration.state = State::Registered;
        cx.event(Event::Registered { expires_s });
        if let Some(ahead_s) = clock_difference(cx, response) {
            cx.event(Event::ClockDiffers { ahead_s });
        }
        if !registration.wanted {
            return self.send_register(cx);
        }
        self.desk.deadlines.start(Wake::Registration, cx.now + refresh_after(lifetime));
    }

    /// Nothing is bound and nothing is under way.
    fn rest(&mut self, cx: &mut Context<'_>) {
        self.desk.deadlines.stop(Wake::Registration);
        self.registration.state = State::Idle;
        cx.event(Event::Unregistered);
    }

    fn registration_failed(
        &mut self,
        cx: &mut Context<'_>,
        status: Option<Status>,
        retry_after_s: Option<u32>,
    ) {
        cx.event(Event::RegistrationFailed { status, wrong_password: false });
        if !self.registration.wanted {
            // What could not be removed ends by itself.
            self.registration.bound_until = None;
            self.registration.state = State::Idle;
            return;
        }
        let registration = &mut self.registration;
        registration.state = State::Waiting;
        let pause = retry_pause(registration.failures, cx.random_u64());
        registration.failures = registration.failures.saturating_add(1);
        registration.intervals = 0;
        if registration.bound_until.is_some_and(|until| until <= cx.now) {
            registration.bound_until = None;
            self.desk.service_route = RouteSet::default();
        }
        let asked = Duration::from_secs(u64::from(retry_after_s.unwrap_or(0))).min(RETRY_MAX);
        self.desk.deadlines.start(Wake::Registration, cx.now + pause.max(asked));
    }
}

/// The Request-URI: the domain of the address-of-record, without user (RFC 3261 §10.2).
fn registrar_of(account: &Account) -> Option<UriBuf> {
    let Uri::Sip(aor) = account.aor.uri() else { return None };
    let domain = SipUri { user: None, password: None, headers: "", ..aor };
    UriBuf::parse(&domain.to_smolstr()).ok()
}

/// The way of a new call (RFC 3608 §6.1): by the account's proxy, if it has one, to the servers that its registrar wants
/// its requests to pass.
pub(super) fn by_service_route(settings: &Settings, service_route: &RouteSet, draft: Draft) -> Draft {
    let proxy = settings.account.as_ref().and_then(|account| preloaded(account.proxy.as_ref()?));
    let first = proxy.iter().flat_map(RouteSet::values);
    let (first, rest) = (first.map(SmolStr::as_str), service_route.values().iter().map(SmolStr::as_str));
    match RouteSet::preloaded(first.filter(|_| !starts_at(&proxy, service_route)).chain(rest)) {
        Ok(routes) if !service_route.is_empty() => draft.with_routes(&routes),
        _ => draft,
    }
}

/// Whether both begin with the same hop.
fn starts_at(proxy: &Option<RouteSet>, service_route: &RouteSet) -> bool {
    let hop = |routes: &RouteSet| {
        let first = NameAddr::parse(routes.values().first()?.as_bytes()).ok()?;
        let sip = first.uri.as_sip()?;
        Some((sip.host.to_string().to_ascii_lowercase(), sip.port_or_default()))
    };
    proxy.as_ref().is_some_and(|proxy| hop(proxy) == hop(service_route))
}

/// By how much the registrar's clock is ahead of ours, where that is more than the way of a message explains.
fn clock_difference(cx: &Context<'_>, response: &Message) -> Option<i64> {
    let theirs = crate::date::parse(response.value(HeaderName::Date)?)?;
    let ours = cx.settings.unix_start_s + cx.now.as_nanos() / 1_000_000_000;
    let ahead_s = theirs.saturating_sub(i64::try_from(ours).ok()?);
    (ahead_s.unsigned_abs() > CLOCK_SLACK_S).then_some(ahead_s)
}

/// For how long our binding stands (RFC 3261 §10.2.4): the `expires` of our Contact among those listed, else the
/// Expires header.
fn granted_s(response: &Message, settings: &Settings) -> Option<u32> {
    let user = own_user(settings);
    let mut granted = None;
    for contact in response.contacts().flatten() {
        let Some(address) = contact.address() else { continue };
        let is_ours = address.uri.as_sip().is_some_and(|sip| {
            sip.user_unescaped().as_ref() == Some(&user)
                && sip.host.ip().is_some_and(|ip| settings.is_own_address(ip, Some(sip.port_or_default())))
        });
        let expires = address.params.value("expires").and_then(|value| value.parse::<u32>().ok());
        if let Some(expires) = expires.filter(|_| is_ours) {
            granted = Some(granted.map_or(expires, |before: u32| before.min(expires)));
        }
    }
    granted.or_else(|| response.header::<Expires>()?.ok().map(|Expires(seconds)| seconds))
}

/// When a binding is refreshed: after nine tenths of its life, at least 5 seconds before its end, so that one lost
/// REGISTER and its answer do no harm; short lives are halved.
pub(crate) fn refresh_after(lifetime: Duration) -> Duration {
    let early = lifetime.saturating_sub(Duration::from_secs(5));
    (lifetime.mul_f32(0.9)).min(early).max(lifetime / 2).max(Duration::from_secs(1))
}

/// RFC 5626 §4.5: "a wait time of W = min( max-time, (base-time * (2 ^ consecutive-failures)))", and the pause is
/// "a uniform random time between 50 and 100% of the upper-bound wait time W".
pub(crate) fn retry_pause(failures: u32, random: u64) -> Duration {
    let most = RETRY_BASE.saturating_mul(1 << failures.min(10)).min(RETRY_MAX);
    let half_ms = u64::try_from(most.as_millis() / 2).unwrap_or(u64::MAX);
    Duration::from_millis(half_ms + random % (half_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refreshes_before_the_end_and_not_in_a_loop() {
        for (lifetime_s, expected_ms) in
            [(3600, 3_240_000), (60, 54_000), (30, 25_000), (8, 4_000), (1, 1_000), (0, 1_000)]
        {
            let after = refresh_after(Duration::from_secs(lifetime_s));
            assert!(after.as_millis().abs_diff(expected_ms) <= 1, "{lifetime_s} s: {after:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_half_an_hour() {
        for (failures, most_s) in [(0, 30), (1, 60), (5, 960), (6, 1800), (u32::MAX, 1800)] {
            for random in [0, 1, 12_345, u64::MAX] {
                let pause = retry_pause(failures, random);
                assert!(pause >= Duration::from_secs(most_s) / 2 && pause <= Duration::from_secs(most_s));
            }
        }
    }
}
