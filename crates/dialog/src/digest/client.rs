//! The client's side: which challenge to answer, with what, and when to give up.

use std::collections::VecDeque;
use std::fmt;

use dialtone_wire::auth::{Algorithm, Challenge, DigestChallenge, DigestCredentials, NonceCount, Qop};
use dialtone_wire::uri::Uri;
use smallvec::SmallVec;
use smol_str::{SmolStr, StrExt as _, format_smolstr};
use thiserror::Error;

use super::credential::{Ha1, HashFunction};
use super::hash::{self, ResponseInput};

/// Most challenges that a client keeps; the one used longest ago is dropped.
const SESSIONS_MAX: usize = 64;
/// Most realms that one request answers.
const REALMS_MAX: usize = 16;
/// Most realms that a client knows to be those of its own server.
const OWN_REALMS_MAX: usize = 8;
/// Most challenges of one response that are looked at.
const CHALLENGES_MAX: usize = 32;

/// Who asks, and so which header answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// 401 with `WWW-Authenticate`, answered by `Authorization`.
    UserAgent,
    /// 407 with `Proxy-Authenticate`, answered by `Proxy-Authorization`.
    Proxy,
}

/// A user's secret for one realm. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Name and password.
    Password {
        /// User name as the server knows it.
        username: SmolStr,
        /// The password.
        password: SmolStr,
    },
    /// Name and HA1; answers challenges of this hash function only.
    Ha1 {
        /// User name that HA1 was made with.
        username: SmolStr,
        /// Function that HA1 was made with.
        function: HashFunction,
        /// The digest.
        ha1: Ha1,
    },
}

impl Secret {
    fn username(&self) -> &SmolStr {
        match self {
            Secret::Password { username, .. } | Secret::Ha1 { username, .. } => username,
        }
    }

    fn ha1(&self, function: HashFunction, realm: &str) -> Option<Ha1> {
        match self {
            Secret::Password { username, password } => Some(Ha1::new(function, username, realm, password)),
            Secret::Ha1 { function: of, ha1, .. } => (*of == function).then(|| ha1.clone()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The parts of a request that credentials cover.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The Request-URI.
    pub uri: &'a str,
    /// The body, empty if there is none.
    pub body: &'a [u8],
    /// The Call-ID.
    pub call_id: &'a str,
    /// Whether the account's own server is the next hop: its outbound proxy, or its registrar where it has none.
    pub at_home: bool,
}

/// Why a challenged request cannot be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Credentials were sent and refused.
    #[error("wrong user name or password for realm {realm:?}")]
    WrongPassword {
        /// The realm.
        realm: SmolStr,
    },
    /// There is no secret for any of the realms asked for.
    #[error("no credentials for realm {realm:?}")]
    NoCredentials {
        /// The first realm.
        realm: SmolStr,
    },
    /// More realms asked for credentials, one after the other, than any honest chain of proxies has.
    #[error("expected at most {REALMS_MAX} realms to ask for credentials")]
    TooManyRealms,
    /// No challenge is of a kind that can be answered.
    #[error("expected a Digest challenge with a known algorithm and quality of protection")]
    NotSupported,
}

/// What has been tried for one request; a new one for each request, kept through its repetitions. Each realm is
/// answered at most twice (three times with credentials sent unasked), so that there is no loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    tried: SmallVec<[(Side, SmolStr, Tried); 2]>,
    /// The host of the Request-URI.
    host: SmolStr,
    call_id: SmolStr,
    at_home: bool,
}

/// How far a realm's authentication has come for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// Credentials with a nonce from before went out unasked.
    Unasked,
    /// A challenge was answered.
    Answered,
    /// A challenge with `stale=true` was answered after that.
    AnsweredStale,
}

/// A challenge that is being answered, and the state that RFC 3261 §22 and RFC 7616 §3.4 make a client keep.
struct Session {
    side: Side,
    /// The host that asked with 401: where its credentials go unasked. Whoever else got them could try passwords on
    /// them at leisure (RFC 7616 §5.11). Empty until the first request with them.
    host: SmolStr,
    /// The call that was challenged.
    call_id: SmolStr,
    /// Whether our own server was the next hop of the request that was challenged.
    at_home: bool,
    /// Whether it is our own server that asked: RFC 3261 §22.3 has the credentials of any other proxy die with the
    /// call.
    is_own: bool,
    /// The number of the last request that had it.
    used: u64,
    challenge: DigestChallenge,
    algorithm: Algorithm,
    qop: Option<Qop>,
    username: SmolStr,
    ha1: Ha1,
    /// One for the life of the nonce, so that the `-sess` algorithms need no further state.
    cnonce: SmolStr,
    count: u32,
}

/// The digest client of one account; credentials that were asked for once are added to the requests that they are
/// for.
pub struct DigestClient {
    /// In the order in which they were answered.
    sessions: Vec<Session>,
    integrity: bool,
    /// The realms of our own server; `None` where all requests go to that one.
    own_realms: Option<VecDeque<SmolStr>>,
    requests: u64,
}

impl DigestClient {
    /// A client whose requests all go to one server, which has whatever realms it says. It knows no challenge yet.
    /// With `integrity` it picks `auth-int` over `auth` where both are on offer.
    pub fn new(integrity: bool) -> DigestClient {
        DigestClient { sessions: Vec::new(), integrity, own_realms: None, requests: 0 }
    }

    /// A client whose requests go anywhere. RFC 3261 §22.3: what a proxy asked for is kept for the call in which it
    /// did, and for others only where [`DigestClient::know_realm`] told that its realm is that of the own server.
    pub fn abroad(integrity: bool) -> DigestClient {
        DigestClient { own_realms: Some(VecDeque::new()), ..DigestClient::new(integrity) }
    }

    /// Takes note of a realm of the own server.
    pub fn know_realm(&mut self, realm: &str) {
        let Some(realms) = &mut self.own_realms else { return };
        if realms.iter().any(|known| known.eq_ignore_ascii_case(realm)) {
            return;
        }
        if realms.len() == OWN_REALMS_MAX {
            realms.pop_front();
        }
        realms.push_back(SmolStr::new(realm));
    }

    /// Whether a realm is known to be one of the own server.
    pub fn knows_realm(&self, realm: &str) -> bool {
        self.own_realms.as_ref().is_none_or(|known| known.iter().any(|own| own.eq_ignore_ascii_case(realm)))
    }

    /// Whether our own server has asked in this call, for this realm, and was answered.
    pub fn was_asked(&self, call_id: &str, realm: &str) -> bool {
        let mut own = self.sessions.iter().filter(|session| session.is_own && session.call_id == call_id);
        own.any(|session| session.challenge.realm == *realm)
    }

    /// A call goes on at another place: proxies that were asked about it before are not on the way there, and who is there
    /// gets nothing that was meant for them (RFC 3261 §22.3).
    pub fn leave_proxies(&mut self, call_id: &str) {
        let is_of_call = |session: &Session| session.side == Side::Proxy && session.call_id == call_id;
        self.sessions.retain(|session| session.is_own || !is_of_call(session));
        // What our own server knows us by goes on with what passes it, and with nothing else of the call.
        self.sessions
            .iter_mut()
            .filter(|session| is_of_call(session))
            .for_each(|session| session.call_id = "".into());
    }

    /// Whether it is our own server that asks.
    fn is_own(&self, attempt: &Attempt, realm: &str) -> bool {
        self.own_realms.is_none() || (attempt.at_home && self.knows_realm(realm))
    }

    /// Takes the challenges of a 401 or 407, in the order of their header lines. On success the request is to be sent
    /// again with a higher CSeq (RFC 3261 §22.1) and the credentials of [`DigestClient::authorize`].
    ///
    /// For each realm the topmost challenge that can be answered is taken (RFC 8760 §2.4). `secret_of` finds the
    /// secret for a realm; `random` gives the client's nonces.
    ///
    /// # Errors
    /// When no realm can be answered, or one that was answered asks again without `stale=true`.
    pub fn handle_challenges(
        &mut self,
        attempt: &mut Attempt,
        challenges: &[(Side, Challenge)],
        secret_of: &mut dyn FnMut(&str) -> Option<Secret>,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<(), ClientError> {
        let mut answered: SmallVec<[(Side, SmolStr); 2]> = SmallVec::new();
        let mut without_secret = None;
        for (side, challenge) in challenges.iter().take(CHALLENGES_MAX) {
            let Challenge::Digest(challenge) = challenge else { continue };
            let key = (*side, challenge.realm.clone());
            if answered.contains(&key) {
                continue;
            }
            let Some((algorithm, qop)) = self.supported(challenge) else { continue };
            let Some(secret) = secret_of(&challenge.realm) else {
                without_secret.get_or_insert_with(|| challenge.realm.clone());
                continue;
            };
            let Some(ha1) = secret.ha1(HashFunction::of(algorithm), &challenge.realm) else { continue };
            let is_own = self.is_own(attempt, &challenge.realm);
            if let Err(error) = attempt.note_challenge(&key, challenge.stale) {
                self.sessions.retain(|session| !session.is_for(&key, is_own, &attempt.call_id));
                return Err(error);
            }
            self.remember(Session {
                side: *side,
                host: attempt.host.clone(),
                call_id: attempt.call_id.clone(),
                at_home: attempt.at_home,
                is_own,
                used: self.requests,
                challenge: challenge.clone(),
                algorithm,
                qop,
                username: secret.username().clone(),
                ha1,
                cnonce: format_smolstr!("{:016x}", random()),
                count: 0,
            });
            answered.push(key);
        }
        match (answered.is_empty(), without_secret) {
            (false, _) => Ok(()),
            (true, Some(realm)) => Err(ClientError::NoCredentials { realm }),
            (true, None) => Err(ClientError::NotSupported),
        }
    }

    /// The credentials to put into a request, one header line each: those asked for, and those of challenges that
    /// were answered earlier (RFC 3261 §22.2, §22.3), each with its next nonce count. What a 401 asked for goes to the
    /// same host only; what a 407 asked for into the same call, and where our own server asked, to that with any call.
    /// Not for ACK, which repeats the credentials of its INVITE, nor for CANCEL (RFC 3261 §22.1).
    pub fn authorize(
        &mut self,
        attempt: &mut Attempt,
        request: &OutgoingRequest<'_>,
    ) -> Vec<(Side, DigestCredentials)> {
        // A nonce whose counts are used up is of no use; the server will give a new one.
        self.sessions.retain(|session| session.count < u32::MAX);
        let host = host_of(request.uri);
        attempt.host = host.clone();
        attempt.call_id = SmolStr::new(request.call_id);
        attempt.at_home = request.at_home;
        self.requests += 1;
        let number = self.requests;
        self.sessions
            .iter_mut()
            .filter(|session| session.fits(request, &host))
            .map(|session| {
                if session.host.is_empty() {
                    session.host = host.clone();
                }
                session.used = number;
                attempt.note_sent(session.side, &session.challenge.realm);
                (session.side, session.credentials(request))
            })
            .collect()
    }

    /// What can be answered of a challenge: its algorithm, and the quality of protection to use.
    fn supported(&self, challenge: &DigestChallenge) -> Option<(Algorithm, Option<Qop>)> {
        let algorithm = challenge.known_algorithm()?;
        if challenge.qop.is_none() {
            // RFC 3261 §22.4 item 8: what depends on the cnonce needs qop.
            return (!hash::is_session(algorithm)).then_some((algorithm, None));
        }
        let order = if self.integrity { [Qop::AuthInt, Qop::Auth] } else { [Qop::Auth, Qop::AuthInt] };
        let qop = order.into_iter().find(|qop| challenge.offers(*qop))?;
        Some((algorithm, Some(qop)))
    }

    fn remember(&mut self, new: Session) {
        let key = (new.side, new.challenge.realm.clone());
        self.sessions.retain(|session| !session.is_for(&key, new.is_own, &new.call_id));
        if self.sessions.len() == SESSIONS_MAX {
            let oldest = (0..self.sessions.len()).min_by_key(|place| self.sessions[*place].used);
            oldest.map(|place| self.sessions.remove(place));
        }
        self.sessions.push(new);
    }
}

/// The host of a Request-URI, for comparison; all of what is no SIP URI.
fn host_of(uri: &str) -> SmolStr {
    match Uri::parse(uri) {
        Ok(Uri::Sip(sip)) => format_smolstr!("{}", sip.host).to_lowercase_smolstr(),
        _ => SmolStr::new(uri),
    }
}

impl fmt::Debug for DigestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestClient").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

impl Attempt {
    fn note_challenge(&mut self, (side, realm): &(Side, SmolStr), stale: bool) -> Result<(), ClientError> {
        let Some((.., tried)) = self.tried.iter_mut().find(|(of, at, _)| of == side && at == realm) else {
            if self.tried.len() == REALMS_MAX {
                return Err(ClientError::TooManyRealms);
            }
            self.tried.push((*side, realm.clone(), Tried::Answered));
            return Ok(());
        };
        *tried = match (*tried, stale) {
            // The server may have forgotten a nonce from before without saying so: the password is not proven wrong.
            (Tried::Unasked, _) => Tried::Answered,
            (Tried::Answered, true) => Tried::AnsweredStale,
            // RFC 3261 §22.1: the same credentials must not be tried again.
            (Tried::Answered, false) | (Tried::AnsweredStale, _) => {
                return Err(ClientError::WrongPassword { realm: realm.clone() });
            }
        };
        Ok(())
    }

    fn note_sent(&mut self, side: Side, realm: &SmolStr) {
        let is_known = self.tried.iter().any(|(of, at, _)| *of == side && at == realm);
        if !is_known && self.tried.len() < REALMS_MAX {
            self.tried.push((side, realm.clone(), Tried::Unasked));
        }
    }
}

impl Session {
    /// Whether a challenge of this realm, to a request of this call, takes its place.
    fn is_for(&self, (side, realm): &(Side, SmolStr), is_own: bool, call_id: &str) -> bool {
        let is_same_place = match self.side {
            Side::UserAgent => true,
            Side::Proxy => self.is_own == is_own && (is_own || self.call_id == call_id),
        };
        self.side == *side && self.challenge.realm == *realm && is_same_place
    }

    /// Whether a request to this host gets its credentials unasked.
    fn fits(&self, request: &OutgoingRequest<'_>, host: &str) -> bool {
        match self.side {
            // The name of our own server in the Contact of somebody else leads to him.
            Side::UserAgent => {
                (self.host.is_empty() || self.host == host) && (request.at_home || !self.at_home)
            }
            Side::Proxy => self.call_id == request.call_id || (self.is_own && request.at_home),
        }
    }

    fn credentials(&mut self, request: &OutgoingRequest<'_>) -> DigestCredentials {
        self.count += 1;
        let count = NonceCount::new(self.count);
        let input = ResponseInput {
            algorithm: self.algorithm,
            method: request.method,
            uri: request.uri,
            nonce: &self.challenge.nonce,
            cnonce: &self.cnonce,
            qop: self.qop.map(|qop| (qop, qop.token(), count.as_str())),
            body: request.body,
        };
        let response = hash::hex(&hash::response(&self.ha1, &input));
        DigestCredentials {
            username: self.username.clone(),
            realm: self.challenge.realm.clone(),
            nonce: self.challenge.nonce.clone(),
            uri: request.uri.into(),
            response: response.into(),
            // RFC 7616 §3.4: algorithm and opaque must be those of the challenge.
            algorithm: self.challenge.algorithm.clone(),
            // RFC 3261 §22.4 item 8: no cnonce without qop.
            cnonce: self.qop.map(|_| self.cnonce.clone()),
            opaque: self.challenge.opaque.clone(),
            qop: self.qop.map(|qop| qop.token().into()),
            nonce_count: self.qop.map(|_| count),
            userhash: false,
            others: Vec::new(),
        }
    }
}
