//! Who is it? Digest authentication of requests (RFC 3261 §22, RFC 7616, RFC 8760).
//!
//! ```text
//!   no credentials for our realm      401 or 407, without any state (RFC 3261 §26.3.2.4)
//!   credentials of who is held off    403 with Retry-After, likewise; see guesses.rs
//!   credentials -> stored credential? -> right? -> nonce count new? (asked of the issuing shard) -> go on
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dialtone_dialog::digest::{
    DigestServer, MalformedReason, NonceSettings, NonceUse, NonceVerdict, PresentedRequest, ServerSettings,
    StoredCredential, Verdict,
};
use dialtone_wire::auth::{Algorithm, Credentials, DigestChallenge, DigestCredentials, Qop};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Status, Writer};
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::context::Context;
use crate::engine::Arrived;
use crate::guesses::{Freed, Guesser, Guesses, HeldOff, Hold, Source};
use crate::io::{Event, Notice, Output, Query};
use crate::old_phones::OldPhones;
use crate::queries::Waiting;
use crate::settings::{Domain, Integrity, Settings};

/// Whether we ask as a registrar or user agent (401) or as a proxy (407).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// 401, WWW-Authenticate and Authorization (RFC 3261 §22.2).
    Server,
    /// 407, Proxy-Authenticate and Proxy-Authorization (RFC 3261 §22.3).
    Proxy,
}

impl Side {
    pub(crate) const fn status(self) -> Status {
        match self {
            Side::Server => Status::of(401),
            Side::Proxy => Status::of(407),
        }
    }

    pub(crate) const fn challenge(self) -> HeaderName {
        match self {
            Side::Server => HeaderName::WwwAuthenticate,
            Side::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    const fn credentials(self) -> HeaderName {
        match self {
            Side::Server => HeaderName::Authorization,
            Side::Proxy => HeaderName::ProxyAuthorization,
        }
    }
}

/// A request with credentials for our realm.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) arrived: Arrived,
    pub(crate) side: Side,
    pub(crate) domain: SmolStr,
    pub(crate) credentials: DigestCredentials,
}

/// What became of a check.
#[derive(Debug)]
pub(crate) enum Checked {
    /// The user is known; the request goes on.
    User(SmolStr, Box<Presented>),
    /// The request was answered, or waits for an answer from outside.
    Settled,
}

/// The authentication of one shard.
#[derive(Debug)]
pub(crate) struct Authenticator {
    digest: DigestServer,
    old_phones: OldPhones,
    guesses: Guesses,
    /// Whether a nonce is good only for the source that it was given to.
    bind_nonce: bool,
}

impl Authenticator {
    pub(crate) fn new(shard: u16, epoch: u32, seed: u64, settings: &Settings) -> Authenticator {
        let nonces = NonceSettings {
            shard,
            epoch,
            life: settings.digest.nonce_life,
            remembered_max: settings.digest.nonces_max,
        };
        let mut server = ServerSettings { nonces, ..ServerSettings::default() };
        match settings.digest.integrity {
            Integrity::Off => server.qops = [Qop::Auth].into_iter().collect(),
            Integrity::Offered => {}
            Integrity::Required => {
                server.qops = [Qop::AuthInt].into_iter().collect();
                server.without_qop = false;
            }
        }
        let digest = DigestServer::new(server, &settings.secret.0);
        Authenticator {
            digest,
            old_phones: OldPhones::new(seed),
            guesses: Guesses::new(seed),
            bind_nonce: settings.digest.bind_nonce,
        }
    }

    /// The challenges for a request, the preferred first.
    pub(crate) fn challenges(
        &mut self,
        cx: &mut Context<'_>,
        request: &Message,
        source: SocketAddr,
        realm: &str,
        stale: bool,
    ) -> SmallVec<[DigestChallenge; 3]> {
        cx.core.counters.challenges += 1;
        let random = cx.random_u64();
        let bound = self.bound(source.ip());
        let mut challenges = self.digest.challenges(cx.now, realm, &bound, stale, random);
        if self.old_phones.wants_md5(cx.now, request, source) {
            challenges.retain(|challenge| challenge.known_algorithm() == Some(Algorithm::Md5));
        }
        challenges
    }

    /// Whether credentials use a nonce that some shard of ours gave, and that is not too old. If not, no store and no
    /// shard need be asked: they can't be right (RFC 7616 §3.3, "stale").
    pub(crate) fn has_live_nonce(
        &self,
        now: Instant,
        source: SocketAddr,
        credentials: &DigestCredentials,
    ) -> bool {
        self.digest.is_nonce_live(now, &self.bound(source.ip()), credentials)
    }

    /// What the nonces of a source are bound to.
    fn bound(&self, ip: IpAddr) -> SmallVec<[u8; 16]> {
        if self.bind_nonce { Source::of(ip).octets() } else { SmallVec::new() }
    }

    /// For how long the user of credentials is yet held off at this address.
    pub(crate) fn held_off(
        &self,
        now: Instant,
        source: SocketAddr,
        credentials: &DigestCredentials,
        domain: &str,
    ) -> Option<Duration> {
        self.guesses.held_off(now, source, DigestServer::user_of(credentials, domain), domain)
    }

    /// Whether an operator has blocked this address.
    pub(crate) fn is_blocked(&self, now: Instant, ip: IpAddr) -> bool {
        self.guesses.is_blocked(now, ip)
    }

    /// Blocks a source; false when too many are blocked.
    pub(crate) fn block(&mut self, now: Instant, source: Source, time: Option<Duration>) -> bool {
        self.guesses.block(now, source, time)
    }

    /// Frees whom an operator names.
    pub(crate) fn free(&mut self, now: Instant, freed: &Freed) -> Vec<Guesser> {
        self.guesses.free(now, freed)
    }

    /// Those who are held off or blocked now.
    pub(crate) fn list_held_off(&self, now: Instant, most: usize) -> Vec<HeldOff> {
        self.guesses.list(now, most)
    }

    /// How many users and sources have failures that are remembered.
    pub(crate) fn guessers(&self) -> usize {
        self.guesses.len()
    }

    /// Another shard holds somebody off.
    pub(crate) fn hold(&mut self, cx: &Context<'_>, hold: Hold) {
        self.guesses.hold(cx.now, &cx.settings.guesses, hold);
    }

    /// A user has shown the right password to another shard.
    pub(crate) fn proven(&mut self, now: Instant, from: SocketAddr, user: &str, domain: &str) {
        self.guesses.succeeded(now, from, user, domain);
    }

    /// Forgets what is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.guesses.forget(now);
    }

    /// When something is over next.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.guesses.poll_timeout()
    }

    /// The password was wrong, or there is no such user: to others it looks the same, and it counts the same.
    fn failed(&mut self, cx: &mut Context<'_>, presented: &Presented) {
        let user = DigestServer::user_of(&presented.credentials, &presented.domain);
        let from = presented.arrived.flow.remote;
        let held = self.guesses.failed(cx.now, &cx.settings.guesses, from, user, &presented.domain);
        for hold in held {
            cx.core.counters.holds += 1;
            tell_others(cx, || Notice::HoldOff(hold.clone()));
            let time = hold.until - cx.now;
            cx.event(Event::HeldOff { guesser: hold.guesser, time, times: hold.times });
        }
    }

    fn succeeded(&mut self, cx: &mut Context<'_>, presented: &Presented, user: &SmolStr) {
        let (from, domain) = (presented.arrived.flow.remote, &presented.domain);
        if self.guesses.succeeded(cx.now, from, user, domain) {
            tell_others(cx, || Notice::Proven { from, user: user.clone(), domain: domain.clone() });
        }
    }

    /// Challenges, and forgets the transaction: whoever sent this has proven nothing, not even that he is where his
    /// packet says, so that he gets one answer and no retransmission (RFC 3261 §26.3.2.4).
    fn challenge(&mut self, cx: &mut Context<'_>, presented: &Presented, stale: bool) {
        let Arrived { server, request, flow, .. } = &presented.arrived;
        let side = presented.side;
        let challenges = self.challenges(cx, request, flow.remote, &presented.domain, stale);
        let extra = |writer: &mut Writer| {
            for challenge in &challenges {
                writer.header(side.challenge(), challenge);
            }
        };
        cx.respond_and_forget(*server, request, side.status(), extra);
    }

    /// Asks for the credential of the user that is named; the check goes on in [`Authenticator::credential_is`].
    pub(crate) fn begin(&self, cx: &mut Context<'_>, presented: Presented) {
        let user = DigestServer::user_of(&presented.credentials, &presented.domain);
        let query = Query::Credential { domain: presented.domain.clone(), user: SmolStr::new(user) };
        let (server, request) = (presented.arrived.server, presented.arrived.request.clone());
        if cx.ask(query, Waiting::Credential(Box::new(presented))).is_none() {
            cx.core.counters.overload += 1;
            let retry = |writer: &mut Writer| {
                writer.number(HeaderName::RetryAfter, 5);
            };
            let tag = cx.token();
            cx.respond(server, &request, Status::of(500), Some(&tag), retry, None);
        }
    }

    /// Judges the digest.
    pub(crate) fn credential_is(
        &mut self,
        cx: &mut Context<'_>,
        presented: Box<Presented>,
        stored: Option<&Arc<StoredCredential>>,
    ) -> Checked {
        let request = &presented.arrived.request;
        let shown = PresentedRequest {
            method: request.method().map_or("", |method| method.as_str()),
            body: request.body(),
            source: &self.bound(presented.arrived.flow.remote.ip()),
        };
        let stored = stored.map(|stored| &**stored);
        let realm = presented.domain.clone();
        self.old_phones.answered(presented.arrived.flow.remote);
        let verdict = self.digest.verify(cx.now, &shown, &realm, &presented.credentials, stored);
        self.settle(cx, presented, verdict)
    }

    /// The issuing shard has said whether the nonce count is new.
    pub(crate) fn nonce_is(
        &mut self,
        cx: &mut Context<'_>,
        presented: Box<Presented>,
        user: &str,
        verdict: NonceVerdict,
    ) -> Checked {
        self.settle(cx, presented, Verdict::of_use(verdict, user))
    }

    /// Judges a nonce of ours for another shard.
    pub(crate) fn judge_use(&mut self, cx: &Context<'_>, nonce: NonceUse) -> NonceVerdict {
        self.digest.judge_use(cx.now, nonce)
    }

    fn settle(&mut self, cx: &mut Context<'_>, presented: Box<Presented>, verdict: Verdict) -> Checked {
        match verdict {
            Verdict::Accept { user } => {
                cx.core.counters.authenticated += 1;
                self.succeeded(cx, &presented, &user);
                return Checked::User(user, presented);
            }
            Verdict::AskShard { shard, nonce } => {
                let user = DigestServer::user_of(&presented.credentials, &presented.domain);
                let user = SmolStr::new(user);
                let from = cx.core.shard;
                if let Some(query) = cx.wait(Waiting::NonceUse(presented, user)) {
                    let notice = Notice::AskNonce { from, query, nonce };
                    cx.core.outputs.push_back(Output::Notice { to: shard, notice });
                }
            }
            Verdict::Stale => self.challenge(cx, &presented, true),
            // The digest was right, so a new nonce is all that is missing: no person is to be asked.
            Verdict::Replay => {
                cx.core.counters.replays += 1;
                self.challenge(cx, &presented, true);
            }
            Verdict::WrongPassword => {
                cx.core.counters.wrong_password += 1;
                self.failed(cx, &presented);
                self.challenge(cx, &presented, false);
            }
            Verdict::UnknownUser => {
                cx.core.counters.unknown_user += 1;
                self.failed(cx, &presented);
                self.challenge(cx, &presented, false);
            }
            Verdict::NotForUs => self.challenge(cx, &presented, false),
            Verdict::Malformed(reason) => {
                let Presented { arrived, side, domain, .. } = &*presented;
                cx.respond_and_forget(arrived.server, &arrived.request, Status::of(400), |writer| {
                    let (header, fault) = (side.credentials(), fault_of(reason));
                    writer.header(HeaderName::Warning, format_args!("399 {domain} \"{header}: {fault}\""));
                });
            }
        }
        Checked::Settled
    }
}

/// What is wrong with credentials, in words.
const fn fault_of(reason: MalformedReason) -> &'static str {
    match reason {
        MalformedReason::Response => {
            "expected a response of as many hexadecimal digits as its algorithm makes"
        }
        MalformedReason::Qop => "expected a qop that was offered",
        MalformedReason::NoCnonce => "expected a cnonce beside the qop",
        MalformedReason::NonceCount => "expected an nc above zero beside the qop",
        _ => "malformed",
    }
}

/// Sends word to all other shards.
fn tell_others(cx: &mut Context<'_>, notice: impl Fn() -> Notice) {
    let own = cx.core.shard;
    for to in (0..cx.settings.shards).filter(|to| *to != own) {
        cx.core.outputs.push_back(Output::Notice { to, notice: notice() });
    }
}

/// The header lines with proxy credentials for realms of ours: they are for us and go no further (RFC 3261 §22.3, RFC
/// 3665 §3.3), whether we ask for them or not. Whom we forward to could guess passwords by them.
pub(crate) fn own_credentials(settings: &Settings, request: &Message) -> SmallVec<[usize; 1]> {
    let is_own = |value: &[u8]| match Credentials::parse(value) {
        // Those for a domain that another server has are for that server.
        Ok(Credentials::Digest(digest)) => {
            let is_it = |domain: &Domain| domain.next_hops.is_empty() && domain.name == digest.realm;
            settings.domains.iter().any(is_it)
        }
        _ => false,
    };
    let lines = request.header_lines().enumerate();
    let own =
        lines.filter(|(_, header)| header.name == HeaderName::ProxyAuthorization && is_own(header.value));
    own.map(|(line, _)| line).collect()
}

/// The credentials of a request for a realm of ours. Lines for other realms, of other schemes and malformed ones are
/// passed over.
pub(crate) fn credentials_for(request: &Message, side: Side, realm: &str) -> Option<DigestCredentials> {
    let name = side.credentials();
    let mut lines = request.header_lines().filter(|header| header.name == name);
    lines.find_map(|header| match Credentials::parse(header.value) {
        Ok(Credentials::Digest(credentials)) if credentials.realm == realm => Some(*credentials),
        _ => None,
    })
}
