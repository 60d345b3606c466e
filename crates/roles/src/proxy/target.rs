//! One place that a request is forwarded to.

use dialtone_wire::HeaderName;
use dialtone_wire::net::Flow;
use dialtone_wire::uri::UriBuf;
use smol_str::{SmolStr, format_smolstr};

use super::trunk::OverTrunk;
use crate::binding::Binding;

/// One place that a request is forwarded to, and what its copy of the request has that others don't have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// The new Request-URI; `None` leaves it as it is.
    pub(crate) uri: Option<SmolStr>,
    /// The flow to use, where no URI leads there.
    pub(crate) flow: Option<Flow>,
    /// The server that has the domain of the new Request-URI; a Route goes first.
    pub(crate) hop: Option<UriBuf>,
    /// Route values, `<sip:…;lr>`, that stand before those of the request; the first one is the next hop.
    pub(crate) routes: Vec<SmolStr>,
    /// The flow as the user part of our Record-Route, where only it leads there.
    pub(crate) token: Option<SmolStr>,
    /// Other ways to the same device: the next one is tried when this one fails (RFC 5626 §7).
    pub(crate) spares: Vec<Target>,
    /// Header lines that are added: name and value.
    pub(crate) lines: Vec<(SmolStr, SmolStr)>,
    /// Headers of the request that are taken away.
    pub(crate) without: Vec<HeaderName>,
    /// Its part of Max-Breadth (RFC 5393 §5.3.3); `None` leaves what the request has, if that is not too much.
    pub(crate) breadth: Option<u32>,
    /// What a target over a trunk has beside all this.
    pub(crate) trunk: Option<Box<OverTrunk>>,
}

impl Target {
    /// Where the request itself says.
    pub(crate) fn unchanged() -> Target {
        Target::default()
    }

    /// This Request-URI.
    pub(crate) fn uri(uri: &str) -> Target {
        Target { uri: Some(request_uri(uri)), ..Target::unchanged() }
    }

    /// Where a binding leads: to its contact, or along the flow of its REGISTER where the contact leads nowhere.
    pub(crate) fn of_binding(binding: &Binding) -> Target {
        let uri = binding.contact.uri();
        let dead_name = uri.as_sip().is_some_and(|sip| {
            matches!(sip.host, dialtone_wire::uri::Host::Name(name) if name.to_ascii_lowercase().ends_with(".invalid"))
        });
        let by_flow = binding.behind_nat || dead_name || binding.flow.connection.is_some();
        let routes = binding.path().to_vec();
        Target {
            // RFC 3327 §5.4: its path leads there; the REGISTER came over the last hop of it.
            flow: (by_flow && routes.is_empty()).then_some(binding.flow),
            routes,
            ..Target::uri(binding.contact.as_str())
        }
    }
}

/// A contact as a Request-URI: without the parts that may not stand there (RFC 3261 §19.1.1, table).
fn request_uri(text: &str) -> SmolStr {
    match text.split_once('?') {
        Some((before, _)) => format_smolstr!("{before}"),
        None => SmolStr::new(text),
    }
}
