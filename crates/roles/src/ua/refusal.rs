//! Refusals of a user agent server (RFC 3261 §8.2), each with the headers that its status asks for.

use dialtone_transaction::ServerId;
use dialtone_wire::headers::{ContentType, Token};
use dialtone_wire::sdp::SdpError;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smallvec::SmallVec;

use crate::context::Context;
use crate::settings::Settings;

/// The methods that the user agent handles.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS";
/// The bodies that it reads.
pub(super) const SDP: &str = "application/sdp";

/// A final response that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: Status,
    headers: SmallVec<[(HeaderName, String); 1]>,
}

impl Refusal {
    pub(super) fn new(code: u16) -> Refusal {
        Refusal::of(Status::of(code))
    }

    pub(super) fn of(status: Status) -> Refusal {
        Refusal { status, headers: SmallVec::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl ToString) -> Refusal {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Adds a Warning (RFC 3261 §20.43).
    pub(super) fn warning(self, settings: &Settings, code: u16, text: impl std::fmt::Display) -> Refusal {
        let text = text.to_string().replace(['"', '\\'], "'");
        self.with(HeaderName::Warning, format_args!("{code} {} \"{text}\"", agent(settings)))
    }

    /// Sends it.
    pub(super) fn send(
        &self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        to_tag: Option<&str>,
    ) {
        let fresh = cx.token();
        let product = cx.settings.product.clone();
        let headers = |writer: &mut Writer| {
            for (name, value) in &self.headers {
                writer.header(*name, value);
            }
            writer.header(HeaderName::Server, &product);
        };
        // A transaction that is gone needs no answer any more.
        let _ = cx.respond(server, request, self.status, Some(to_tag.unwrap_or(&fresh)), headers, None);
    }
}

/// Our name in Warning headers: the product without its version, since a pseudonym is a token.
fn agent(settings: &Settings) -> &str {
    settings.product.split('/').next().unwrap_or_default()
}

/// Whether we handle the method at all (RFC 3261 §8.2.1): 405 with Allow for those that others define, 501 for
/// those that nobody does.
pub(super) fn check_method(method: &Method) -> Result<(), Refusal> {
    match method {
        Method::Invite | Method::Ack | Method::Cancel | Method::Bye | Method::Options => Ok(()),
        Method::Other(_) => Err(Refusal::new(501).with(HeaderName::Allow, ALLOW)),
        _ => Err(Refusal::new(405).with(HeaderName::Allow, ALLOW)),
    }
}

/// RFC 3261 §8.2.2.3: what is required and not understood is named in a 420. The user agent supports no extension.
pub(super) fn check_require(request: &Message) -> Result<(), Refusal> {
    let mut unsupported: Vec<&str> = Vec::new();
    for value in request.values(HeaderName::Require) {
        let token = Token::parse(value).map_err(|_| Refusal::new(400))?;
        unsupported.push(token.0);
    }
    if unsupported.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(420).with(HeaderName::Unsupported, unsupported.join(", ")))
}

/// The session description in a request, if it has one (RFC 3261 §8.2.3).
pub(super) fn description_of(message: &Message) -> Result<Option<&[u8]>, Refusal> {
    if message.body().is_empty() {
        return Ok(None);
    }
    let optional = message
        .value(HeaderName::ContentDisposition)
        .is_some_and(|value| value.to_ascii_lowercase().windows(17).any(|part| part == b"handling=optional"));
    let encoded =
        message.values(HeaderName::ContentEncoding).any(|value| !value.eq_ignore_ascii_case(b"identity"));
    let is_sdp = match message.header::<ContentType<'_>>() {
        Some(Ok(kind)) => kind.is("application", "sdp"),
        Some(Err(_)) => return Err(Refusal::new(400)),
        // RFC 3261 §20.15: "The Content-Type header field MUST be present if the body is not empty."
        None => false,
    };
    match (is_sdp && !encoded, optional) {
        (true, _) => Ok(Some(message.body())),
        (false, true) => Ok(None),
        (false, false) if encoded => Err(Refusal::new(415).with(HeaderName::AcceptEncoding, "identity")),
        (false, false) => Err(Refusal::new(415).with(HeaderName::Accept, SDP)),
    }
}

/// The refusal of a description that can't be read: 400, and the Warning names the line.
pub(super) fn bad_description(settings: &Settings, error: SdpError) -> Refusal {
    Refusal::new(400).warning(settings, 399, format_args!("SDP {error}"))
}

/// The refusal of a description that can be read and has nothing that we can take.
pub(super) fn not_acceptable(settings: &Settings) -> Refusal {
    Refusal::new(488).warning(settings, 305, "Incompatible media format")
}
