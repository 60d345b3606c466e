//! Challenges and credentials of the Digest scheme (RFC 7616 §3.3 and §3.4, RFC 3261 §25, RFC 8760): the values of
//! `WWW-Authenticate`, `Proxy-Authenticate`, `Authorization` and `Proxy-Authorization`.
//!
//! One header line carries one challenge or one set of credentials (RFC 3261 §7.3.1 forbids joining them by comma).
//! Other schemes are recognised and passed over. Nothing is computed here.

mod parameters;

use std::fmt;

use smallvec::SmallVec;
use smol_str::SmolStr;
use thiserror::Error;

use parameters::{Parameters, Quoted};

/// The algorithms of the IANA registry that SIP uses (RFC 8760 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `MD5`, also meant when none is written.
    Md5,
    /// `MD5-sess`
    Md5Sess,
    /// `SHA-256`
    Sha256,
    /// `SHA-256-sess`
    Sha256Sess,
    /// `SHA-512-256`: SHA-512/256 of FIPS 180-4.
    Sha512_256,
    /// `SHA-512-256-sess`
    Sha512_256Sess,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Algorithm; 6] = [
        Algorithm::Md5,
        Algorithm::Md5Sess,
        Algorithm::Sha256,
        Algorithm::Sha256Sess,
        Algorithm::Sha512_256,
        Algorithm::Sha512_256Sess,
    ];

    /// The token of the `algorithm` parameter.
    pub const fn token(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Md5Sess => "MD5-sess",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha256Sess => "SHA-256-sess",
            Algorithm::Sha512_256 => "SHA-512-256",
            Algorithm::Sha512_256Sess => "SHA-512-256-sess",
        }
    }

    /// Reads a token, in any case.
    pub fn from_token(token: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.token().eq_ignore_ascii_case(token))
    }
}

/// Quality of protection (RFC 7616 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qop {
    /// `auth`: method and URI are protected.
    Auth,
    /// `auth-int`: the body is protected too.
    AuthInt,
}

impl Qop {
    /// The token.
    pub const fn token(self) -> &'static str {
        match self {
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
        }
    }

    /// Reads a token, in any case.
    pub fn from_token(token: &str) -> Option<Qop> {
        [Qop::Auth, Qop::AuthInt].into_iter().find(|qop| qop.token().eq_ignore_ascii_case(token))
    }
}

/// A parameter that this module has no name for, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name, a token; its case does not count.
    pub name: SmolStr,
    /// Value without quotes and quoting slashes.
    pub value: SmolStr,
    /// Whether the value is a quoted string.
    pub quoted: bool,
}

/// Why a value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The value is not UTF-8.
    #[error("expected UTF-8")]
    NotUtf8,
    /// The value is longer than [`VALUE_BYTES_MAX`] or has more than [`PARAMETERS_MAX`] parameters.
    #[error("expected at most {VALUE_BYTES_MAX} bytes and {PARAMETERS_MAX} parameters")]
    TooLong,
    /// There is no scheme at the start.
    #[error("expected an authentication scheme")]
    Scheme,
    /// Something else stands where `name=value` should.
    #[error("expected name=value")]
    Parameter,
    /// A quoted string without its end.
    #[error("expected the end of a quoted string")]
    Unclosed,
    /// A parameter that may be given once is there twice.
    #[error("expected {0} only once")]
    Repeated(&'static str),
    /// A required parameter is missing.
    #[error("expected a parameter {0}")]
    Missing(&'static str),
    /// A parameter's value is not of its kind.
    #[error("expected another kind of value for {0}")]
    Value(&'static str),
}

/// Longest header value that is read, in bytes.
pub const VALUE_BYTES_MAX: usize = 8_192;
/// Most parameters in one header value.
pub const PARAMETERS_MAX: usize = 32;

/// The value of `WWW-Authenticate` or `Proxy-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A challenge of the Digest scheme.
    Digest(DigestChallenge),
    /// Another scheme, to be passed over.
    Other {
        /// Name of the scheme.
        scheme: SmolStr,
    },
}

impl Challenge {
    /// Reads a header value.
    ///
    /// # Errors
    /// When the value breaks the grammar, or a Digest challenge lacks realm or nonce.
    pub fn parse(value: &[u8]) -> Result<Challenge, AuthError> {
        match Parameters::scheme(value)? {
            (scheme, rest) if scheme.eq_ignore_ascii_case("Digest") => {
                DigestChallenge::from_parameters(Parameters::parse(rest)?).map(Challenge::Digest)
            }
            (scheme, _) => Ok(Challenge::Other { scheme: scheme.into() }),
        }
    }
}

/// A challenge of the Digest scheme (RFC 7616 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestChallenge {
    /// The protection domain.
    pub realm: SmolStr,
    /// URIs that the challenge also holds for, divided by blanks.
    pub domain: Option<SmolStr>,
    /// The server's nonce.
    pub nonce: SmolStr,
    /// A string to be sent back unchanged.
    pub opaque: Option<SmolStr>,
    /// Whether only the nonce was wrong; any value but `true` means no.
    pub stale: bool,
    /// The token of the algorithm as written; `None` means MD5.
    pub algorithm: Option<SmolStr>,
    /// The qualities of protection on offer, as written; `None` for servers of RFC 2069.
    pub qop: Option<SmallVec<[SmolStr; 2]>>,
    /// Whether the server wants the user name hashed.
    pub userhash: bool,
    /// Other parameters, in order.
    pub others: Vec<Parameter>,
}

impl DigestChallenge {
    fn from_parameters(mut parameters: Parameters) -> Result<DigestChallenge, AuthError> {
        let is_true = |value: Option<SmolStr>| value.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(DigestChallenge {
            realm: parameters.take("realm")?.ok_or(AuthError::Missing("realm"))?,
            domain: parameters.take("domain")?,
            nonce: parameters.take("nonce")?.ok_or(AuthError::Missing("nonce"))?,
            opaque: parameters.take("opaque")?,
            stale: is_true(parameters.take("stale")?),
            algorithm: token(parameters.take("algorithm")?, "algorithm")?,
            qop: parameters.take("qop")?.map(|list| qop_list(&list)).transpose()?,
            userhash: is_true(parameters.take("userhash")?),
            others: parameters.rest,
        })
    }

    /// The algorithm asked for; `None` when it is not known and the challenge is to be ignored (RFC 7616 §3.3).
    pub fn known_algorithm(&self) -> Option<Algorithm> {
        known_algorithm(self.algorithm.as_deref())
    }

    /// Whether this quality of protection is on offer.
    pub fn offers(&self, qop: Qop) -> bool {
        self.qop.iter().flatten().any(|token| Qop::from_token(token) == Some(qop))
    }
}

impl fmt::Display for DigestChallenge {
    /// Writes the header value. RFC 7616 §3.3 says which values are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={}, nonce={}", Quoted(&self.realm), Quoted(&self.nonce))?;
        quoted(f, "domain", self.domain.as_deref())?;
        quoted(f, "opaque", self.opaque.as_deref())?;
        if self.stale {
            f.write_str(", stale=true")?;
        }
        if let Some(algorithm) = &self.algorithm {
            write!(f, ", algorithm={algorithm}")?;
        }
        if let Some(qop) = &self.qop {
            write!(f, ", qop={}", Quoted(&qop.join(",")))?;
        }
        if self.userhash {
            f.write_str(", userhash=true")?;
        }
        others(f, &self.others)
    }
}

/// The value of `Authorization` or `Proxy-Authorization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Credentials of the Digest scheme.
    Digest(Box<DigestCredentials>),
    /// Another scheme, to be passed over.
    Other {
        /// Name of the scheme.
        scheme: SmolStr,
    },
}

impl Credentials {
    /// Reads a header value.
    ///
    /// # Errors
    /// When the value breaks the grammar, or Digest credentials lack what RFC 7616 §3.4 requires.
    pub fn parse(value: &[u8]) -> Result<Credentials, AuthError> {
        match Parameters::scheme(value)? {
            (scheme, rest) if scheme.eq_ignore_ascii_case("Digest") => {
                let credentials = DigestCredentials::from_parameters(Parameters::parse(rest)?)?;
                Ok(Credentials::Digest(Box::new(credentials)))
            }
            (scheme, _) => Ok(Credentials::Other { scheme: scheme.into() }),
        }
    }
}

/// Credentials of the Digest scheme (RFC 7616 §3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestCredentials {
    /// Name of the user, or its hash where `userhash` says so. Read from `username*` too (RFC 8187 encoding).
    pub username: SmolStr,
    /// The protection domain.
    pub realm: SmolStr,
    /// The server's nonce; empty when no challenge has been received yet (RFC 8760 §2.7).
    pub nonce: SmolStr,
    /// The Request-URI that the digest was made for.
    pub uri: SmolStr,
    /// The digest in hexadecimal, as written and not checked; may be empty (RFC 8760 §2.7).
    pub response: SmolStr,
    /// The token of the algorithm as written; `None` means MD5.
    pub algorithm: Option<SmolStr>,
    /// The client's nonce.
    pub cnonce: Option<SmolStr>,
    /// The server's opaque string.
    pub opaque: Option<SmolStr>,
    /// The quality of protection applied, as written; `None` for clients of RFC 2069.
    pub qop: Option<SmolStr>,
    /// Count of requests with this nonce.
    pub nonce_count: Option<NonceCount>,
    /// Whether the user name is hashed.
    pub userhash: bool,
    /// Other parameters, in order.
    pub others: Vec<Parameter>,
}

impl DigestCredentials {
    fn from_parameters(mut parameters: Parameters) -> Result<DigestCredentials, AuthError> {
        let username = match (parameters.take("username")?, parameters.take("username*")?) {
            (Some(username), None) => username,
            (None, Some(extended)) => decode_extended(&extended).ok_or(AuthError::Value("username*"))?,
            // RFC 7616 §3.4: sending both "MUST be treated as an error".
            (Some(_), Some(_)) => return Err(AuthError::Repeated("username")),
            (None, None) => return Err(AuthError::Missing("username")),
        };
        let nonce_count = match parameters.take("nc")? {
            Some(text) => Some(NonceCount::parse(&text).ok_or(AuthError::Value("nc"))?),
            None => None,
        };
        Ok(DigestCredentials {
            username,
            realm: parameters.take("realm")?.ok_or(AuthError::Missing("realm"))?,
            nonce: parameters.take("nonce")?.ok_or(AuthError::Missing("nonce"))?,
            uri: parameters.take("uri")?.ok_or(AuthError::Missing("uri"))?,
            response: parameters.take("response")?.ok_or(AuthError::Missing("response"))?,
            algorithm: token(parameters.take("algorithm")?, "algorithm")?,
            cnonce: parameters.take("cnonce")?,
            opaque: parameters.take("opaque")?,
            qop: token(parameters.take("qop")?, "qop")?,
            nonce_count,
            userhash: parameters.take("userhash")?.is_some_and(|value| value.eq_ignore_ascii_case("true")),
            others: parameters.rest,
        })
    }

    /// The algorithm used; `None` when it is not known.
    pub fn known_algorithm(&self) -> Option<Algorithm> {
        known_algorithm(self.algorithm.as_deref())
    }
}

impl fmt::Display for DigestCredentials {
    /// Writes the header value. RFC 7616 §3.4 says which values are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest username={}, realm={}", Quoted(&self.username), Quoted(&self.realm))?;
        quoted(f, "nonce", Some(&self.nonce))?;
        quoted(f, "uri", Some(&self.uri))?;
        quoted(f, "response", Some(&self.response))?;
        if let Some(algorithm) = &self.algorithm {
            write!(f, ", algorithm={algorithm}")?;
        }
        quoted(f, "cnonce", self.cnonce.as_deref())?;
        quoted(f, "opaque", self.opaque.as_deref())?;
        if let Some(qop) = &self.qop {
            write!(f, ", qop={qop}")?;
        }
        if let Some(count) = &self.nonce_count {
            write!(f, ", nc={}", count.as_str())?;
        }
        if self.userhash {
            f.write_str(", userhash=true")?;
        }
        others(f, &self.others)
    }
}

/// The `nc` parameter: eight hexadecimal digits, kept as written because the digest covers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonceCount {
    text: SmolStr,
    count: u32,
}

impl NonceCount {
    /// The count as the digits `nc` wants.
    pub fn new(count: u32) -> NonceCount {
        NonceCount { text: smol_str::format_smolstr!("{count:08x}"), count }
    }

    fn parse(text: &str) -> Option<NonceCount> {
        // RFC 3261 §25.1: nc-value = 8LHEX; upper case is let pass.
        let legal = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let count = legal.then(|| u32::from_str_radix(text, 16).ok()).flatten()?;
        Some(NonceCount { text: text.into(), count })
    }

    /// The count.
    pub fn get(&self) -> u32 {
        self.count
    }

    /// The digits as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn known_algorithm(token: Option<&str>) -> Option<Algorithm> {
    token.map_or(Some(Algorithm::Md5), Algorithm::from_token)
}

/// A value that must be a token even where a sender quoted it: it will be written without quotes.
fn token(value: Option<SmolStr>, name: &'static str) -> Result<Option<SmolStr>, AuthError> {
    match value {
        Some(value) if !parameters::is_token(&value) => Err(AuthError::Value(name)),
        value => Ok(value),
    }
}

fn qop_list(list: &str) -> Result<SmallVec<[SmolStr; 2]>, AuthError> {
    let tokens = list.split(',').map(str::trim).filter(|token| !token.is_empty());
    tokens
        .map(|token| parameters::is_token(token).then(|| token.into()).ok_or(AuthError::Value("qop")))
        .collect()
}

/// RFC 8187 §3.2 `ext-value`: charset, language and percent-encoded text. Only UTF-8 is taken.
fn decode_extended(value: &str) -> Option<SmolStr> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, text) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("UTF-8") {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    std::str::from_utf8(&bytes).ok().map(SmolStr::new)
}

fn quoted(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&str>) -> fmt::Result {
    match value {
        Some(value) => write!(f, ", {name}={}", Quoted(value)),
        None => Ok(()),
    }
}

fn others(f: &mut fmt::Formatter<'_>, others: &[Parameter]) -> fmt::Result {
    for Parameter { name, value, quoted } in others {
        // A value that is no token cannot stand without quotes.
        if *quoted || !parameters::is_token(value) {
            write!(f, ", {name}={}", Quoted(value))?;
        } else {
            write!(f, ", {name}={value}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
