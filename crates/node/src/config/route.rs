//! URIs that stand by themselves: in a Route, and of who plays music.

use dialtone_wire::uri::UriBuf;
use smol_str::{SmolStr, format_smolstr};
use toml::de::DeValue;

use super::value::{Fault, Scalar, malformed, quoted, wrong_type};

/// A server that requests pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUri(UriBuf);

impl RouteUri {
    const EXAMPLE: &'static str = "\"sip:edge.example.com;lr\"";

    /// It as a Route value: always that of a loose router.
    pub fn value(&self) -> SmolStr {
        let is_loose = self.0.uri().as_sip().is_some_and(|uri| uri.is_loose_router());
        format_smolstr!("<{}{}>", self.0.as_str(), if is_loose { "" } else { ";lr" })
    }
}

impl Scalar for RouteUri {
    type Bounds = ();
    const KIND: &'static str = "the sip: URI of a server on the way";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<RouteUri, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let uri = UriBuf::parse(text).ok().filter(|uri| uri.uri().as_sip().is_some() && !text.contains('?'));
        uri.map(RouteUri).ok_or_else(|| malformed(text, Self::KIND, Self::EXAMPLE))
    }

    fn write(&self) -> String {
        quoted(self.0.as_str())
    }
}

/// Who plays music to those who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MusicUri(UriBuf);

impl MusicUri {
    const EXAMPLE: &'static str = "\"sip:music@example.com\"";

    /// It as a URI.
    pub fn uri(&self) -> &UriBuf {
        &self.0
    }
}

impl Scalar for MusicUri {
    type Bounds = ();
    const KIND: &'static str = "the sip: URI of who plays music";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<MusicUri, Fault> {
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, Self::EXAMPLE))?;
        let uri = UriBuf::parse(text).ok().filter(|uri| uri.uri().as_sip().is_some() && !text.contains('?'));
        uri.map(MusicUri).ok_or_else(|| malformed(text, Self::KIND, Self::EXAMPLE))
    }

    fn write(&self) -> String {
        quoted(self.0.as_str())
    }
}
