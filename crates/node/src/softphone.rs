//! The phone of the command line: it calls somebody and judges the call ([`call`]), asks whether somebody is there
//! ([`ping`]), answers whoever calls ([`answer`]), or does what its owner says ([`Softphone`]): a [`Script`] and the keys
//! of a screen say the same [`Action`]s.
//!
//! What is told of a call was measured; nothing is told because it should be so.

mod action;
mod call;
mod ear;
mod handset;
mod line;
mod live;
mod news;
mod ping;
mod script;
pub mod sound;
mod verdict;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::io::Play;
use dialtone_roles::settings::{Account, AudioCodec, Password, TransferSettings};
use dialtone_wire::uri::{Uri, UriBuf, escape_user};
use smol_str::{SmolStr, format_smolstr};
use thiserror::Error;

use crate::media::MediaSettings;
use crate::phone::{Phone, PhoneConfig};
use crate::running::StartError;

pub use action::{Action, ActionError, LINE_LEN_MAX, Step};
pub use call::{CallConfig, CallReport, Progress, call};
pub use dialtone_media::Ringback;
pub use dialtone_roles::settings::ReferPolicy;
pub use handset::{CannotDo, Handset, Registration, Reply};
pub use line::{Line, LineState};
pub use live::{PhoneEnd, Softphone, SoftphoneConfig, answer};
pub use news::{AWAITABLE, News, ended_words};
pub use ping::{PingConfig, PingReport, ping};
pub use script::{Fault, Next, Script, What};
pub use verdict::Verdict;

/// The registration time that a phone asks for, in seconds.
const EXPIRES_S: u32 = 600;
/// How often the owner's wish to stop is looked for.
const TICK: Duration = Duration::from_millis(100);
/// How long the end of a call, and the figures of its audio, are waited for.
const END_TIME: Duration = Duration::from_secs(3);
/// Samples of a call that are recorded at most: one hour at 8 kHz.
pub const RECORD_SAMPLES_MAX: usize = 28_800_000;
/// Who calls when no user is named (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "sip:anonymous@anonymous.invalid";

/// Who a phone is, and how it reaches others.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The user name; none calls anonymously and knows no password.
    pub user: Option<SmolStr>,
    /// Its password.
    pub password: Option<Password>,
    /// The domain of its address; by default that of whom it calls, or its proxy's.
    pub domain: Option<SmolStr>,
    /// Where all requests go first.
    pub proxy: Option<UriBuf>,
    /// What takes its place when it does not answer.
    pub backup_proxy: Option<UriBuf>,
    /// Realms of its own servers, besides its domain and those that its registrar names.
    pub realms: Vec<SmolStr>,
}

/// What a phone plays into its calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Sound {
    /// Silence.
    Silence,
    /// A tone of this many hertz.
    Tone(f32),
    /// Samples at 8 kHz, then silence.
    Samples(Arc<[i16]>),
    /// What it hears.
    Echo,
}

impl Sound {
    fn play(&self) -> Play {
        match self {
            Sound::Silence => Play::Silence,
            Sound::Tone(hz) => Play::Tone { hz: *hz },
            Sound::Samples(_) => Play::Prepared(0),
            Sound::Echo => Play::Echo,
        }
    }

    fn prepared(&self) -> Vec<Arc<[i16]>> {
        match self {
            Sound::Samples(samples) => vec![Arc::clone(samples)],
            Sound::Silence | Sound::Tone(_) | Sound::Echo => Vec::new(),
        }
    }
}

/// Why there is no phone.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SoftphoneError {
    /// A text is no URI.
    #[error("{text:?} is no SIP URI ({error}): expected something like sip:bob@example.com")]
    Uri {
        /// The text.
        text: SmolStr,
        /// What is wrong.
        error: dialtone_wire::UriError,
    },
    /// A user name without a domain.
    #[error("the domain of user {0:?} is not known: say it with --domain, or name the server with --proxy")]
    NoDomain(SmolStr),
    /// The first hop is no SIP URI.
    #[error("{0} can't be called: it is no SIP URI. Name a server with --proxy")]
    NoHop(UriBuf),
    /// A host name has no address.
    #[error("the host {0} has no address: is the name right, and does this machine have a name server?")]
    NoAddress(SmolStr),
    /// This machine has no way to an address.
    #[error("this machine has no way to {address}: {source}")]
    NoWay {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The phone can't start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Reads whom to call: a URI, or a bare name, which means that user of `domain`.
///
/// # Errors
/// When it is none.
pub fn parse_target(text: &str, domain: Option<&str>) -> Result<UriBuf, SoftphoneError> {
    let has_scheme = ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let whole = match domain {
        _ if has_scheme => SmolStr::new(text),
        Some(domain) if !text.contains('@') => format_smolstr!("sip:{}@{domain}", escape_user(text)),
        _ => format_smolstr!("sip:{text}"),
    };
    parse(&whole)
}

/// Reads a proxy: a SIP URI, `HOST:PORT` or `HOST`.
///
/// # Errors
/// When it is none of them.
pub fn parse_proxy(text: &str) -> Result<UriBuf, SoftphoneError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(UriBuf::for_address(None, address));
    }
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return parse(&format_smolstr!("sip:[{ip}]"));
    }
    parse_target(text, None)
}

fn parse(text: &str) -> Result<UriBuf, SoftphoneError> {
    UriBuf::parse(text).map_err(|error| SoftphoneError::Uri { text: text.into(), error })
}

impl Identity {
    /// The domain of the address of a phone that calls nobody yet: bare names are its users.
    ///
    /// # Errors
    /// When it is not known.
    pub fn own_domain(&self) -> Result<SmolStr, SoftphoneError> {
        let aor = self.account(None)?.aor;
        Ok(aor.uri().as_sip().map(|uri| format_smolstr!("{}", uri.host)).unwrap_or_default())
    }

    fn account(&self, peer: Option<&UriBuf>) -> Result<Account, SoftphoneError> {
        let user = self.user.clone();
        let aor = match &user {
            None => parse(ANONYMOUS)?,
            Some(user) => {
                let hosts = [peer, self.proxy.as_ref()].into_iter().flatten();
                let host =
                    hosts.filter_map(|uri| Some(format_smolstr!("{}", uri.uri().as_sip()?.host))).next();
                let domain = self.domain.clone().or(host);
                let domain = domain.ok_or_else(|| SoftphoneError::NoDomain(user.clone()))?;
                parse(&format_smolstr!("sip:{}@{domain}", escape_user(user)))?
            }
        };
        Ok(Account {
            aor,
            display_name: None,
            auth_user: user.unwrap_or_else(|| SmolStr::new_static("anonymous")),
            password: self.password.clone().unwrap_or(Password(SmolStr::default())),
            proxy: self.proxy.clone(),
            backup_proxy: self.backup_proxy.clone(),
            realms: self.realms.clone(),
            expires_s: EXPIRES_S,
        })
    }

    /// Starts a phone with the address that faces its first hop.
    fn start(
        &self,
        peer: Option<&UriBuf>,
        codecs: Vec<AudioCodec>,
        transfer: TransferSettings,
        video: bool,
        media: MediaSettings,
    ) -> Result<Phone, SoftphoneError> {
        let account = self.account(peer)?;
        let hop = self.proxy.as_ref().or(peer).unwrap_or(&account.aor);
        let ip = own_ip_towards(hop)?;
        Ok(Phone::start(PhoneConfig { account, ip, port: 0, codecs, video, transfer, media, tap: None })?)
    }
}

/// The address of this machine that packets to `hop` leave from, as the system's routes have it.
fn own_ip_towards(hop: &UriBuf) -> Result<IpAddr, SoftphoneError> {
    let Uri::Sip(uri) = hop.uri() else { return Err(SoftphoneError::NoHop(hop.clone())) };
    let remote = match uri.host.ip() {
        Some(ip) => SocketAddr::new(ip, uri.port_or_default()),
        None => {
            let name = format_smolstr!("{}", uri.host);
            let found = (name.as_str(), uri.port_or_default()).to_socket_addrs().into_iter().flatten();
            found.min_by_key(SocketAddr::is_ipv6).ok_or(SoftphoneError::NoAddress(name))?
        }
    };
    let any: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let own = UdpSocket::bind((any, 0)).and_then(|socket| {
        // Nothing is sent: a connected datagram socket knows its route.
        socket.connect(remote)?;
        socket.local_addr()
    });
    own.map(|own| own.ip()).map_err(|source| SoftphoneError::NoWay { address: remote, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_user_of_the_domain_and_a_uri_stays_what_it_is() {
        for (text, domain, expected) in [
            ("bob", Some("sip.test"), "sip:bob@sip.test"),
            ("bob@other.test", Some("sip.test"), "sip:bob@other.test"),
            ("sip:10.9.0.1:5070", Some("sip.test"), "sip:10.9.0.1:5070"),
            ("10.9.0.1", None, "sip:10.9.0.1"),
            ("SIP:bob@sip.test", None, "SIP:bob@sip.test"),
        ] {
            assert_eq!(parse_target(text, domain).expect("a URI").as_str(), expected);
        }
        assert!(parse_target("sip:", None).is_err());
    }

    #[test]
    fn a_proxy_is_an_address_a_name_or_a_uri() {
        for (text, expected) in [
            ("10.9.0.1:5070", "sip:10.9.0.1:5070"),
            ("[::1]:5070", "sip:[::1]:5070"),
            ("::1", "sip:[::1]"),
            ("proxy.test", "sip:proxy.test"),
            ("sip:10.9.0.1;transport=tcp", "sip:10.9.0.1;transport=tcp"),
        ] {
            assert_eq!(parse_proxy(text).expect("a URI").as_str(), expected);
        }
    }

    #[test]
    fn the_domain_is_the_one_named_else_that_of_the_callee_else_that_of_the_proxy() {
        let mut identity = Identity { user: Some("alice".into()), ..Identity::default() };
        let aor = |identity: &Identity, peer: Option<&UriBuf>| {
            identity.account(peer).map(|account| account.aor.as_str().to_owned()).ok()
        };
        let peer = parse_target("sip:bob@callee.test", None).expect("a URI");
        assert_eq!(aor(&identity, None), None);
        identity.proxy = parse_proxy("10.9.0.1:5070").ok();
        assert_eq!(aor(&identity, None).as_deref(), Some("sip:alice@10.9.0.1"));
        assert_eq!(aor(&identity, Some(&peer)).as_deref(), Some("sip:alice@callee.test"));
        identity.domain = Some("own.test".into());
        assert_eq!(aor(&identity, Some(&peer)).as_deref(), Some("sip:alice@own.test"));
        assert_eq!(aor(&Identity::default(), Some(&peer)).as_deref(), Some(ANONYMOUS));
    }
}
