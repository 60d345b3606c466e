//! What passes from one side of a bridge to the other: a closed list, so that nothing else of a side is seen on the other
//! (topology hiding, RFC 7092 §3.2). Via, Record-Route, Route, Contact, Call-ID, tags, credentials, Server and User-Agent
//! are of each side alone; so are RSeq, RAck and session timers, which each side has its own of.

use dialtone_dialog::Draft;
use dialtone_wire::headers::NameAddr;
use dialtone_wire::uri::{Host, Uri};
use dialtone_wire::{HeaderName, Message, Method, Writer};
use smol_str::{SmolStr, format_smolstr};

use super::outcome;
use crate::history_info;
use crate::settings::Settings;

/// Headers of requests that pass.
const OF_REQUESTS: &[HeaderName] = &[
    HeaderName::Accept,
    HeaderName::AcceptContact,
    HeaderName::AcceptEncoding,
    HeaderName::AcceptLanguage,
    HeaderName::AlertInfo,
    HeaderName::AllowEvents,
    HeaderName::CallInfo,
    HeaderName::ContentDisposition,
    HeaderName::ContentEncoding,
    HeaderName::ContentLanguage,
    HeaderName::Date,
    HeaderName::Diversion,
    HeaderName::Event,
    HeaderName::Expires,
    HeaderName::InReplyTo,
    HeaderName::MaxBreadth,
    HeaderName::MimeVersion,
    HeaderName::Organization,
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::Priority,
    HeaderName::Privacy,
    HeaderName::Reason,
    HeaderName::ReferTo,
    HeaderName::ReferredBy,
    HeaderName::RejectContact,
    HeaderName::ReplyTo,
    HeaderName::RequestDisposition,
    HeaderName::Subject,
    HeaderName::SubscriptionState,
];

/// Headers of responses that pass.
const OF_RESPONSES: &[HeaderName] = &[
    HeaderName::Accept,
    HeaderName::AcceptEncoding,
    HeaderName::AcceptLanguage,
    HeaderName::AlertInfo,
    HeaderName::AllowEvents,
    HeaderName::CallInfo,
    HeaderName::ContentDisposition,
    HeaderName::ContentEncoding,
    HeaderName::ContentLanguage,
    HeaderName::ErrorInfo,
    HeaderName::Expires,
    HeaderName::MimeVersion,
    HeaderName::Organization,
    HeaderName::Priority,
    HeaderName::Privacy,
    HeaderName::Reason,
    HeaderName::ReplyTo,
    HeaderName::RetryAfter,
    HeaderName::Subject,
    HeaderName::Unsupported,
];

/// Headers of both that have no name of their own here: RFC 4488, 5373, 6086, 7433, 5009, 8224.
const OTHERS: &[&str] = &[
    "Refer-Sub",
    "Answer-Mode",
    "Priv-Answer-Mode",
    "Info-Package",
    "Recv-Info",
    "User-to-User",
    "P-Early-Media",
    "Identity",
];

/// Option tags of extensions that work from end to end with us between.
const OPTIONS: &[&str] = &[
    "100rel",
    "answermode",
    "early-session",
    "histinfo",
    "norefersub",
    "precondition",
    "privacy",
    "recipient-list-invite",
    "uui",
];

/// That of session timers, of which each leg has its own.
const TIMER: &str = "timer";

/// That of calls which take the place of another, which we are the end of (RFC 3891 §6.2).
const REPLACES: &str = "replaces";

/// Methods that pass within a dialog, or that we answer ourselves.
pub(super) const METHODS: &[&str] = &[
    "INVITE",
    "ACK",
    "CANCEL",
    "BYE",
    "OPTIONS",
    "PRACK",
    "UPDATE",
    "INFO",
    "MESSAGE",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
];

/// As many methods of an Allow are kept.
const ALLOW_MAX: usize = 32;

/// The methods that a peer says it takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed(Option<Vec<SmolStr>>);

impl Allowed {
    /// Takes in the Allow of a message, if it has one.
    pub(super) fn learn(&mut self, message: &Message) {
        if message.has(HeaderName::Allow) {
            let values =
                message.values(HeaderName::Allow).filter_map(|value| std::str::from_utf8(value).ok());
            self.0 = Some(values.map(|value| SmolStr::new(value.trim())).take(ALLOW_MAX).collect());
        }
    }

    /// Whether the peer has said that it takes this method; `None` when it has said nothing at all.
    pub(super) fn has(&self, method: &Method) -> Option<bool> {
        Some(self.0.as_ref()?.iter().any(|own| own == method.as_str()))
    }

    /// The Allow for the other side: what the peer takes and we pass or answer.
    pub(super) fn value(&self) -> String {
        let is_ours = |method: &&&str| {
            matches!(**method, "INVITE" | "ACK" | "CANCEL" | "BYE" | "OPTIONS" | "UPDATE" | "REFER")
                || self.0.as_ref().is_none_or(|theirs| theirs.iter().any(|own| own == **method))
        };
        let known = METHODS.iter().filter(is_ours).copied();
        let others = self.0.iter().flatten().map(SmolStr::as_str);
        let others = others.filter(|method| is_other(method));
        known.chain(others).collect::<Vec<_>>().join(", ")
    }
}

/// Whether a method is one that nobody here knows.
fn is_other(method: &str) -> bool {
    matches!(Method::parse(method.as_bytes()), Some(Method::Other(_)))
}

/// Whether an option tag that one side requires can be had through us.
pub(super) fn is_known_option(option: &[u8]) -> bool {
    [TIMER, REPLACES].iter().any(|own| option.eq_ignore_ascii_case(own.as_bytes())) || passes(option)
}

fn passes(option: &[u8]) -> bool {
    OPTIONS.iter().any(|own| option.eq_ignore_ascii_case(own.as_bytes()))
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

/// The option tags of a header that pass; `reliable` says whether `100rel` is among them.
fn options(message: &Message, name: HeaderName, reliable: bool) -> Vec<&str> {
    let of_both =
        |option: &&str| passes(option.as_bytes()) && (reliable || !option.eq_ignore_ascii_case("100rel"));
    message.values(name).filter_map(text).filter(of_both).collect()
}

/// Adds to a request what passes of the one that it continues. Who its sender says he is passes only with the INVITE that
/// begins a call, of which the proxy on the loopback judges it (RFC 3325 §5); within a dialog it goes from us to the peer.
pub(super) fn request(mut draft: Draft, from: &Message, settings: &Settings) -> Draft {
    let begins = matches!(from.to_tag(), Ok(None));
    for header in from.header_lines() {
        if !begins && matches!(header.name, HeaderName::PAssertedIdentity | HeaderName::PPreferredIdentity) {
            continue;
        }
        if let (Some(name), Some(value)) =
            (passing(OF_REQUESTS, header.name, header.name_text), text(header.value))
        {
            draft = draft.line(name, value);
        }
    }
    for value in history(from, settings) {
        draft = draft.header(HeaderName::HistoryInfo, &value);
    }
    draft
}

/// What we support ourselves, whatever the other side does: session timers, and Replaces where we end a REFER (RFC 3891
/// §6.2; by it a phone knows that it may join the other side with another one, RFC 5589 §7.7).
pub(super) fn own_supported(settings: &Settings) -> &'static str {
    if settings.bridges.transfers { "timer, replaces" } else { TIMER }
}

/// What both the sender of a message and we support, and what we do whatever it says.
pub(super) fn supported(from: &Message, reliable: bool, settings: &Settings) -> String {
    let mut supported = options(from, HeaderName::Supported, reliable);
    supported.push(own_supported(settings));
    supported.join(", ")
}

/// Adds Supported and Require of a request: the meet of what its sender, we and the other side can. Of reliable
/// provisional responses only to the INVITE that begins a call.
pub(super) fn options_of(mut draft: Draft, from: &Message, reliable: bool, settings: &Settings) -> Draft {
    draft = draft.header(HeaderName::Supported, &supported(from, reliable, settings));
    let required = options(from, HeaderName::Require, reliable);
    if !required.is_empty() {
        draft = draft.header(HeaderName::Require, &required.join(", "));
    }
    draft
}

/// Adds to a response what passes of the one that it continues; of a refusal see [`outcome`](super::outcome) too.
pub(super) fn response(writer: &mut Writer, from: &Message, settings: &Settings) {
    for header in from.header_lines() {
        if let Some(name) = passing(OF_RESPONSES, header.name, header.name_text)
            && let Some(value) = text(header.value)
        {
            writer.line(name, value);
        }
    }
    for value in history(from, settings) {
        writer.text(HeaderName::HistoryInfo, &value);
    }
    outcome::write_warnings(writer, from, settings);
    // RFC 3261 §21.4.16.
    if from.status().is_some_and(|status| status.code() == 421) {
        for value in from.values(HeaderName::Require) {
            writer.raw(HeaderName::Require, value);
        }
    }
}

/// Whether a URI names a place and not who is there: an address that is none of our domains.
pub(super) fn is_place(uri: &Uri<'_>, settings: &Settings) -> bool {
    let Uri::Sip(uri) = uri else { return false };
    matches!(uri.host, Host::Ip(_)) && settings.domain_of(&uri.host, uri.port).is_none()
}

/// The ways that a call took (RFC 7044); the phones and servers that it was sent to are hidden (§10.1.2).
fn history(from: &Message, settings: &Settings) -> impl Iterator<Item = SmolStr> {
    from.values(HeaderName::HistoryInfo).filter_map(|value| {
        let entry = NameAddr::parse(value).ok()?;
        Some(match is_place(&entry.uri, settings) {
            true => format_smolstr!("{}{}", history_info::ANONYMOUS, entry.params.as_str()),
            false => SmolStr::new(text(value)?),
        })
    })
}

/// The name of a header that passes.
fn passing<'a>(list: &[HeaderName], name: HeaderName, text: &[u8]) -> Option<&'a str> {
    if name == HeaderName::Other {
        return OTHERS.iter().copied().find(|own| text.eq_ignore_ascii_case(own.as_bytes()));
    }
    list.contains(&name).then(|| name.as_str())
}

/// Adds the credentials of a request to the one that continues it, but for these lines, which are for us.
pub(super) fn credentials(mut draft: Draft, from: &Message, own: &[usize]) -> Draft {
    let lines = from.header_lines().enumerate().filter(|(line, _)| !own.contains(line));
    for (_, header) in lines {
        if let HeaderName::Authorization | HeaderName::ProxyAuthorization = header.name
            && let Some(value) = text(header.value)
        {
            draft = draft.header(header.name, value);
        }
    }
    draft
}

/// Adds the challenges of a response.
pub(super) fn challenges(writer: &mut Writer, from: &Message) {
    for header in from.header_lines() {
        if let HeaderName::WwwAuthenticate | HeaderName::ProxyAuthenticate = header.name {
            writer.raw(header.name, header.value);
        }
    }
}

/// The address of From or To without tag and parameters.
pub(super) fn address(message: &Message, name: HeaderName) -> Option<SmolStr> {
    let value = NameAddr::parse(message.value(name)?).ok()?;
    Some(match value.display {
        Some(display) => format_smolstr!("{display} <{}>", value.uri_text),
        None => format_smolstr!("<{}>", value.uri_text),
    })
}
