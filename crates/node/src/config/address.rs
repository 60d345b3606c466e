//! Values that name a place: addresses, domains and users.

use std::net::SocketAddr;
use std::str::FromStr;

use dialtone_wire::net::Transport;
use dialtone_wire::uri::{Host, UriBuf};
use smol_str::SmolStr;
use toml::de::DeValue;

use crate::listen::ListenAddress;

use super::problem::{Remedy, What};
use super::value::{Fault, Scalar, malformed, quoted, shortened, wrong_type};

const LISTEN_EXAMPLE: &str = "\"udp:192.168.1.2:5060\" or \"tcp:[::1]:5060\"";

impl Scalar for ListenAddress {
    type Bounds = ();
    const KIND: &'static str = "udp:ADDRESS:PORT or tcp:ADDRESS:PORT";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<ListenAddress, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, LISTEN_EXAMPLE))?;
        let read = || {
            let (scheme, address) = text.split_once(':')?;
            let transport = Transport::from_token(scheme.as_bytes())
                .filter(|transport| matches!(transport, Transport::Udp | Transport::Tcp))?;
            Some(ListenAddress { transport, address: address.parse().ok()? })
        };
        read().ok_or_else(|| malformed(text, Self::KIND, LISTEN_EXAMPLE))
    }

    fn write(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A domain name in lower case, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostName(SmolStr);

impl HostName {
    const BYTES_MAX: usize = 253;
    const EXAMPLE: &'static str = "\"example.com\", \"192.0.2.1\" or \"[2001:db8::1]\"";

    /// The name; empty where the file names none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = What;

    fn from_str(text: &str) -> Result<HostName, What> {
        match Host::parse(text) {
            Ok(Host::Name(name)) if name.len() <= Self::BYTES_MAX => {
                Ok(HostName(name.trim_end_matches('.').to_ascii_lowercase().into()))
            }
            Ok(address @ Host::Ip(_)) => Ok(HostName(address.to_string().into())),
            Ok(Host::Name(_)) | Err(_) => {
                Err(What::Malformed { expected: Self::KIND, came: shortened(text) })
            }
        }
    }
}

impl Scalar for HostName {
    type Bounds = ();
    const KIND: &'static str = "a domain name or an address";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<HostName, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        text.parse().map_err(|what| (what, Remedy::Example(Self::EXAMPLE)))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        quoted("example.com")
    }
}

/// The user part of an address-of-record: the characters that RFC 3261 §25.1 lets stand there unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(pub(super) SmolStr);

impl UserName {
    const BYTES_MAX: usize = 64;
    const EXAMPLE: &'static str = "\"echo\"";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Scalar for UserName {
    type Bounds = ();
    const KIND: &'static str = "the user part of an address";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<UserName, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.bytes().all(legal) {
            return Err(malformed(text, Self::KIND, Self::EXAMPLE));
        }
        Ok(UserName(text.into()))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        quoted("info")
    }
}

/// A server that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop(UriBuf);

impl NextHop {
    const EXAMPLE: &'static str = "\"sip:10.0.0.2:5060\" or \"sip:registrar.example.com;transport=tcp\"";

    /// Its URI.
    pub fn uri(&self) -> &UriBuf {
        &self.0
    }
}

impl Scalar for NextHop {
    type Bounds = ();
    const KIND: &'static str = "the sip: URI of a server";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<NextHop, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let read = || {
            let uri = UriBuf::parse(text).ok()?;
            let sip = *uri.uri().as_sip()?;
            let carries = matches!(sip.transport(), None | Some(Transport::Udp | Transport::Tcp));
            (sip.user.is_none() && !sip.secure && carries).then(|| NextHop(uri.clone()))
        };
        read().ok_or_else(|| malformed(text, Self::KIND, Self::EXAMPLE))
    }

    fn write(&self) -> String {
        quoted(self.0.as_str())
    }
}

/// Where HTTP listens: an address of the loopback, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpListen(pub Option<SocketAddr>);

impl HttpListen {
    const EXAMPLE: &'static str = "\"127.0.0.1:9090\", \"[::1]:9090\" or \"off\"";
}

impl Scalar for HttpListen {
    type Bounds = ();
    const KIND: &'static str = "a loopback address with port, or \"off\"";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<HttpListen, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        if text == "off" {
            return Ok(HttpListen(None));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(HttpListen(Some(address))),
            Ok(_) => Err((What::NotLoopback(shortened(text)), Remedy::Example(Self::EXAMPLE))),
            Err(_) => Err(malformed(text, Self::KIND, Self::EXAMPLE)),
        }
    }

    fn write(&self) -> String {
        self.0.map_or_else(|| quoted("off"), |address| quoted(&address.to_string()))
    }
}
