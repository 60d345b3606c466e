//! The server's side: challenges, and what to think of the credentials that come back.

use dialtone_wire::auth::{DigestChallenge, DigestCredentials, NonceCount, Qop};
use dialtone_wire::time::Instant;
use smallvec::SmallVec;
use smol_str::SmolStr;
use subtle::ConstantTimeEq as _;

use super::credential::{HashFunction, StoredCredential, UserForm};
use super::hash::{self, ResponseInput};
use super::nonce::{NonceSettings, NonceUse, NonceVerdict, Nonces, Reading};

/// What a server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Hash functions on offer, the preferred first (RFC 8760 §2.3).
    pub functions: SmallVec<[HashFunction; 3]>,
    /// Qualities of protection on offer; at least one (RFC 8760 §2.6: a UAS "MUST always send a qop").
    pub qops: SmallVec<[Qop; 2]>,
    /// A constant to be sent back by clients, if any.
    pub opaque: Option<SmolStr>,
    /// Whether clients of RFC 2069, which send no qop, are let in (RFC 3261 §22.4).
    pub without_qop: bool,
    /// How nonces are made.
    pub nonces: NonceSettings,
}

impl Default for ServerSettings {
    /// SHA-512-256, SHA-256, MD5; `auth` and `auth-int`; no opaque; old clients let in.
    fn default() -> ServerSettings {
        ServerSettings {
            functions: HashFunction::BEST_FIRST.into(),
            qops: [Qop::Auth, Qop::AuthInt].into(),
            opaque: None,
            without_qop: true,
            nonces: NonceSettings::default(),
        }
    }
}

/// The parts of a request that a digest covers.
#[derive(Clone, Copy, Debug)]
pub struct PresentedRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The body, empty if there is none (RFC 8760 §2.6 item 7).
    pub body: &'a [u8],
    /// What its nonce must have been issued for beside the realm: an address, say; empty for nothing.
    pub source: &'a [u8],
}

/// What the server thinks of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user knows the password, and the nonce and its count are good.
    Accept {
        /// The user, without domain.
        user: SmolStr,
    },
    /// The user knows the password, but the nonce is of no use any more: challenge with `stale=true`.
    Stale,
    /// The digest does not fit the password.
    WrongPassword,
    /// There is no such user. To the other side it must look like [`Verdict::WrongPassword`].
    UnknownUser,
    /// The digest is right but its nonce count was used before: somebody repeats a recorded request.
    Replay,
    /// The digest is right, and the shard that issued the nonce must be asked about its count
    /// ([`Nonces::judge_use`] there, [`Verdict::of_use`] here).
    AskShard {
        /// The issuing shard.
        shard: u16,
        /// What to ask it about.
        nonce: NonceUse,
    },
    /// The credentials are for another realm or use an algorithm that is not on offer: ignore them, as if absent.
    NotForUs,
    /// The credentials break the rules.
    Malformed(MalformedReason),
}

impl Verdict {
    /// The verdict once the issuing shard has answered.
    pub fn of_use(use_verdict: NonceVerdict, user: &str) -> Verdict {
        match use_verdict {
            NonceVerdict::Fresh => Verdict::Accept { user: user.into() },
            NonceVerdict::Stale => Verdict::Stale,
            NonceVerdict::Replay => Verdict::Replay,
        }
    }
}

/// In what way credentials break the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MalformedReason {
    /// The response is not as many hexadecimal digits as the algorithm makes.
    Response,
    /// The quality of protection is not on offer.
    Qop,
    /// `qop` without `cnonce`.
    NoCnonce,
    /// `qop` without `nc`, or a count of zero.
    NonceCount,
}

/// The server of one shard.
#[derive(Debug)]
pub struct DigestServer {
    settings: ServerSettings,
    nonces: Nonces,
    /// Hashed for users that do not exist, so that they take as long as those that do.
    nobody: StoredCredential,
}

impl DigestServer {
    /// Starts a server. All shards share the key, which is 32 random bytes made for this run of the program.
    pub fn new(settings: ServerSettings, key: &[u8; 32]) -> DigestServer {
        let nonces = Nonces::new(settings.nonces, key);
        DigestServer { settings, nonces, nobody: StoredCredential::from_password("", "", "", "") }
    }

    /// The challenges of one response, the preferred first, each for a header line of its own. The nonce is good for
    /// requests with the same `source` ([`PresentedRequest::source`]) only.
    pub fn challenges(
        &self,
        now: Instant,
        realm: &str,
        source: &[u8],
        stale: bool,
        random: u64,
    ) -> SmallVec<[DigestChallenge; 3]> {
        let nonce = self.nonces.issue(now, realm, source, random);
        let challenge = |function: &HashFunction| DigestChallenge {
            realm: realm.into(),
            domain: None,
            nonce: nonce.clone(),
            opaque: self.settings.opaque.clone(),
            stale,
            algorithm: Some(function.algorithm().token().into()),
            qop: Some(self.settings.qops.iter().map(|qop| qop.token().into()).collect()),
            userhash: false,
            others: Vec::new(),
        };
        self.settings.functions.iter().map(challenge).collect()
    }

    /// The user whose stored credential [`DigestServer::verify`] needs: the name without `@domain`.
    pub fn user_of<'a>(credentials: &'a DigestCredentials, domain: &str) -> &'a str {
        match credentials.username.rsplit_once('@') {
            Some((user, of)) if of.eq_ignore_ascii_case(domain) => user,
            _ => &credentials.username,
        }
    }

    /// Whether the nonce of credentials is one of this run, from any shard, and not too old. Needs no digest and no
    /// memory, so that made-up credentials can be told apart at once.
    pub fn is_nonce_live(&self, now: Instant, source: &[u8], credentials: &DigestCredentials) -> bool {
        match self.nonces.read(&credentials.nonce, &credentials.realm, source) {
            Reading::Foreign => false,
            Reading::Issued { nonce, .. } => self.nonces.is_live(now, nonce),
        }
    }

    /// Judges credentials for a realm. `stored` is what the store has for [`DigestServer::user_of`]; `None` when it
    /// has nothing.
    pub fn verify(
        &mut self,
        now: Instant,
        request: &PresentedRequest<'_>,
        realm: &str,
        credentials: &DigestCredentials,
        stored: Option<&StoredCredential>,
    ) -> Verdict {
        // RFC 7616 §3.3: what is not understood is ignored. The -sess algorithms are never on offer.
        let algorithm = credentials.known_algorithm().filter(|algorithm| {
            !hash::is_session(*algorithm) && self.settings.functions.contains(&HashFunction::of(*algorithm))
        });
        let (Some(algorithm), true) = (algorithm, credentials.realm == realm) else {
            return Verdict::NotForUs;
        };
        let function = HashFunction::of(algorithm);
        let is_whole = |response: &hash::Binary| response.len() == function.digest_bytes();
        let Some(presented) = hash::unhex(&credentials.response).filter(is_whole) else {
            return Verdict::Malformed(MalformedReason::Response);
        };
        let protection = match self.protection(credentials) {
            Ok(protection) => protection,
            Err(reason) => return Verdict::Malformed(reason),
        };
        let form = stored.and_then(|stored| stored.form_of(&credentials.username));
        let ha1 = stored
            .filter(|stored| form.is_some() && stored.realm() == realm)
            .unwrap_or(&self.nobody)
            .ha1(form.unwrap_or(UserForm::Bare), function);
        let expected = hash::response(
            ha1,
            &ResponseInput {
                algorithm,
                method: request.method,
                uri: &credentials.uri,
                nonce: &credentials.nonce,
                cnonce: credentials.cnonce.as_deref().unwrap_or(""),
                qop: protection.as_ref().map(|(qop, token, count)| (*qop, *token, count.as_str())),
                body: request.body,
            },
        );
        let is_right = bool::from(expected.as_slice().ct_eq(presented.as_slice()));
        let Some(stored) = stored.filter(|stored| form.is_some() && stored.realm() == realm) else {
            return Verdict::UnknownUser;
        };
        if !is_right {
            return Verdict::WrongPassword;
        }
        self.judge_nonce(
            now,
            (realm, request.source),
            credentials,
            protection.map(|(.., count)| count.get()),
            stored.user(),
        )
    }

    /// Judges a use of one of this shard's nonces that another shard asks about.
    pub fn judge_use(&mut self, now: Instant, nonce: NonceUse) -> NonceVerdict {
        self.nonces.judge_use(now, nonce)
    }

    /// Checks `qop`, `cnonce` and `nc` against each other and against what is on offer.
    fn protection<'a>(
        &self,
        credentials: &'a DigestCredentials,
    ) -> Result<Option<(Qop, &'a str, &'a NonceCount)>, MalformedReason> {
        let Some(token) = credentials.qop.as_deref() else {
            return if self.settings.without_qop { Ok(None) } else { Err(MalformedReason::Qop) };
        };
        let qop = Qop::from_token(token).filter(|qop| self.settings.qops.contains(qop));
        let qop = qop.ok_or(MalformedReason::Qop)?;
        if credentials.cnonce.is_none() {
            return Err(MalformedReason::NoCnonce);
        }
        let count = credentials.nonce_count.as_ref().filter(|count| count.get() > 0);
        Ok(Some((qop, token, count.ok_or(MalformedReason::NonceCount)?)))
    }

    fn judge_nonce(
        &mut self,
        now: Instant,
        (realm, source): (&str, &[u8]),
        credentials: &DigestCredentials,
        count: Option<u32>,
        user: &str,
    ) -> Verdict {
        match self.nonces.read(&credentials.nonce, realm, source) {
            // RFC 7616 §3.3: stale says that the nonce was wrong and the password right.
            Reading::Foreign => Verdict::Stale,
            Reading::Issued { shard, nonce } => {
                let nonce = nonce.with_count(count);
                if shard == self.nonces.shard() {
                    Verdict::of_use(self.nonces.judge_use(now, nonce), user)
                } else {
                    Verdict::AskShard { shard, nonce }
                }
            }
        }
    }
}
