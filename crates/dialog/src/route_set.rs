//! Route sets: the proxies that a request must visit, and what they make of its Request-URI.

use dialtone_wire::headers::NameAddr;
use dialtone_wire::uri::{Uri, UriBuf};
use dialtone_wire::{Fault, HeaderError, HeaderName, Message};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::text::one_line;

/// The most values of a route set: as deep as the chain of Via values may be.
pub const ROUTES_MAX: usize = 70;

/// An ordered list of Route values as written, each with a legal SIP or SIPS URI (RFC 3261 §12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSet {
    values: Vec<SmolStr>,
}

impl RouteSet {
    /// Reads the values of a header of a message in their order: Record-Route, Service-Route, Path or Route.
    ///
    /// # Errors
    /// When a value is malformed, its URI is neither SIP nor SIPS, or there are more than [`ROUTES_MAX`].
    pub fn of(message: &Message, name: HeaderName) -> Result<RouteSet, HeaderError> {
        RouteSet::read(name, message.values(name))
    }

    /// Reads Route values as an operator writes them; a bare URI gets its brackets.
    ///
    /// # Errors
    /// As [`RouteSet::of`].
    pub fn preloaded<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<RouteSet, HeaderError> {
        RouteSet::read(HeaderName::Route, values.into_iter().map(str::as_bytes))
    }

    fn read<'a>(
        name: HeaderName,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<RouteSet, HeaderError> {
        let mut read = Vec::new();
        for value in values {
            if read.len() == ROUTES_MAX {
                return Err(name.fault(Fault::Expected("at most 70 routes")));
            }
            read.push(route_value(value).map_err(|fault| name.fault(fault))?);
        }
        Ok(RouteSet { values: read })
    }

    /// The same routes, last one first: what a UAC makes of Record-Route (RFC 3261 §12.1.2).
    #[must_use]
    pub fn reversed(mut self) -> RouteSet {
        self.values.reverse();
        self
    }

    /// The values as they are written into Route.
    pub fn values(&self) -> &[SmolStr] {
        &self.values
    }

    /// Whether no proxy need be visited.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// One Route value as it will be written. Record-Route demands brackets (RFC 3261 §20.30); where a peer left
/// them away they are put around the whole, since its `lr` was meant for the URI.
fn route_value(value: &[u8]) -> Result<SmolStr, Fault> {
    let text = std::str::from_utf8(value).map_err(|_| Fault::Utf8)?;
    let text = one_line(text);
    let text = if text.contains('<') { text } else { format_smolstr!("<{text}>") };
    let route = NameAddr::parse(text.as_bytes())?;
    route.uri.as_sip().ok_or(Fault::Expected("a SIP or SIPS URI"))?;
    Ok(text)
}

/// Where a request goes: its Request-URI, its Route values, and the URI that RFC 3263 is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routing {
    pub(crate) uri: UriBuf,
    pub(crate) routes: Vec<SmolStr>,
    pub(crate) next_hop: UriBuf,
}

impl Routing {
    /// Sends a request for `target` along a route set (RFC 3261 §12.2.1.1, §8.1.2).
    pub(crate) fn new(target: &UriBuf, route_set: &RouteSet) -> Routing {
        let target = as_request_uri(target);
        let first = route_set.values.first().and_then(|value| route_uri(value));
        let (uri, routes, next_hop) = match first {
            None => (target.clone(), Vec::new(), target),
            Some(first) if is_loose_router(&first) => (target, route_set.values.clone(), first),
            Some(first) => {
                // "its first URI does not contain the lr parameter": a strict router, which takes the next
                // Route value for its Request-URI. The remote target comes last so that it is not lost.
                let mut routes = route_set.values[1..].to_vec();
                routes.push(format_smolstr!("<{target}>"));
                let first = as_request_uri(&first);
                (first.clone(), routes, first)
            }
        };
        let next_hop = if is_secure(&uri) { secured(next_hop) } else { next_hop };
        Routing { uri, routes, next_hop }
    }
}

fn route_uri(value: &str) -> Option<UriBuf> {
    let route = NameAddr::parse(value.as_bytes()).ok()?;
    UriBuf::parse(route.uri_text).ok()
}

fn is_loose_router(uri: &UriBuf) -> bool {
    uri.uri().as_sip().is_some_and(|sip| sip.is_loose_router())
}

pub(crate) fn is_secure(uri: &UriBuf) -> bool {
    uri.uri().as_sip().is_some_and(|sip| sip.secure)
}

/// RFC 3261 §8.1.2: where the Request-URI is a SIPS URI, the next hop is sought "as if the input URI were a
/// SIPS URI", whatever the Route says.
fn secured(next_hop: UriBuf) -> UriBuf {
    let upgraded = match next_hop.uri() {
        Uri::Sip(mut sip) if !sip.secure => {
            sip.secure = true;
            UriBuf::parse(&sip.to_smolstr()).ok()
        }
        _ => None,
    };
    upgraded.unwrap_or(next_hop)
}

/// Takes off what may not stand in a Request-URI: the `method` parameter and the headers (RFC 3261 §19.1.1,
/// table 1).
fn as_request_uri(uri: &UriBuf) -> UriBuf {
    let stripped = match uri.uri() {
        Uri::Sip(sip) if !sip.headers.is_empty() || sip.params.has("method") => {
            let mut bare = sip;
            bare.headers = "";
            bare.params = Default::default();
            let mut text = bare.to_string();
            for parameter in sip.params.as_str().split(';').skip(1) {
                let name = parameter.split('=').next().unwrap_or(parameter);
                if !name.eq_ignore_ascii_case("method") {
                    text.push(';');
                    text.push_str(parameter);
                }
            }
            UriBuf::parse(&text).ok()
        }
        _ => None,
    };
    stripped.unwrap_or_else(|| uri.clone())
}
