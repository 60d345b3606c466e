//! Refusals of a user agent server (RFC 3261 §8.2), each with the headers that its status asks for.

use dialtone_transaction::ServerId;
use dialtone_wire::headers::{ContentType, Token};
use dialtone_wire::sdp::SdpError;
use dialtone_wire::{HeaderName, Message, Method, Status, Writer};
use smallvec::SmallVec;

use crate::context::Context;
use crate::settings::Settings;

/// The methods that the user agent handles.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, REFER, NOTIFY, INFO";
/// The extensions that it knows: RFC 3262, RFC 4028, RFC 3891, RFC 3911, RFC 4488, RFC 4538, RFC 7614.
pub(super) const SUPPORTED: &str = "100rel, timer, replaces, join, norefersub, tdialog, nosub";
/// The bodies that it reads.
pub(super) const SDP: &str = "application/sdp";

/// A final response that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: Status,
    headers: SmallVec<[(&'static str, String); 1]>,
}

impl Refusal {
    pub(super) fn new(code: u16) -> Refusal {
        Refusal::of(Status::of(code))
    }

    pub(super) fn of(status: Status) -> Refusal {
        Refusal { status, headers: SmallVec::new() }
    }

    pub(super) fn with(self, name: HeaderName, value: impl ToString) -> Refusal {
        self.line(name.as_str(), value)
    }

    /// Adds a header by the text of its name.
    pub(super) fn line(mut self, name: &'static str, value: impl ToString) -> Refusal {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Adds a Warning (RFC 3261 §20.43).
    pub(super) fn warning(self, settings: &Settings, code: u16, text: impl std::fmt::Display) -> Refusal {
        let text = text.to_string().replace(['"', '\\'], "'");
        self.with(HeaderName::Warning, format_args!("{code} {} \"{text}\"", agent(settings)))
    }

    pub(super) const fn status(&self) -> Status {
        self.status
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
                writer.line(name, value);
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
        // RFC 3903 §6 step 2: nobody publishes to us. Allow-Events would have to name a package.
        Method::Publish => Err(Refusal::new(489)),
        Method::Invite
        | Method::Ack
        | Method::Cancel
        | Method::Bye
        | Method::Options
        | Method::Refer
        | Method::Subscribe
        | Method::Notify
        | Method::Info
        | Method::Prack
        | Method::Update => Ok(()),
        Method::Other(_) => Err(Refusal::new(501).with(HeaderName::Allow, ALLOW)),
        _ => Err(Refusal::new(405).with(HeaderName::Allow, ALLOW)),
    }
}

/// RFC 3261 §8.2.2.3: what is required and not understood is named in a 420.
pub(super) fn check_require(request: &Message) -> Result<(), Refusal> {
    let mut unsupported: Vec<&str> = Vec::new();
    for value in request.values(HeaderName::Require) {
        let token = Token::parse(value).map_err(|_| Refusal::new(400))?;
        if !SUPPORTED.split(", ").any(|known| known.eq_ignore_ascii_case(token.0)) {
            unsupported.push(token.0);
        }
    }
    if unsupported.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(420).with(HeaderName::Unsupported, unsupported.join(", ")))
}

/// Whether the body of a request is short enough to be read: 413 if not (RFC 3261 §21.4.11). It stays so, hence no
/// Retry-After.
pub(super) fn check_size(settings: &Settings, request: &Message) -> Result<(), Refusal> {
    if request.body().len() > settings.limits.body_bytes { Err(Refusal::new(413)) } else { Ok(()) }
}

/// Whether the answer to an INVITE, which has a session description, may be sent at all: 406 where Accept has no room
/// for one (RFC 3261 §8.2.3, §20.1, §21.4.7). An empty Accept takes nothing.
pub(super) fn check_accept(request: &Message) -> Result<(), Refusal> {
    if !request.has(HeaderName::Accept) {
        return Ok(());
    }
    let is_refused = |part: &[u8]| {
        let part = part.trim_ascii().to_ascii_lowercase();
        part.strip_prefix(b"q=0").is_some_and(|rest| rest.iter().all(|byte| matches!(byte, b'.' | b'0')))
    };
    let takes_sdp = request.values(HeaderName::Accept).any(|value| {
        let mut parts = value.split(|byte| *byte == b';');
        let range = parts.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        matches!(&range[..], b"application/sdp" | b"application/*" | b"*/*") && !parts.any(is_refused)
    });
    if takes_sdp { Ok(()) } else { Err(Refusal::new(406).with(HeaderName::Accept, SDP)) }
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
        // RFC 3261 §21.4.27: we have no key for it.
        Some(Ok(kind)) if kind.is("application", "pkcs7-mime") && !optional => return Err(Refusal::new(493)),
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

/// The refusal of an offer while we owe the answer to an earlier one (RFC 3311 §5.2: "a randomly chosen value between 0
/// and 10 seconds").
pub(super) fn offer_pending(random: u64) -> Refusal {
    Refusal::new(500).with(HeaderName::RetryAfter, random % 11)
}

/// The refusal of a description that can be read and has nothing that we can take.
pub(super) fn not_acceptable(settings: &Settings) -> Refusal {
    Refusal::new(488).warning(settings, 305, "Incompatible media format")
}
