//! Bodies from one side to the other (RFC 5621). A session description is rewritten wherever it stands, alone or as a part
//! of several; other parts pass where the settings let them.
//!
//! A body of several parts is written anew, with a boundary of ours and without what stands around the parts. Where the
//! description is all that is left, it stands alone: a phone that knows no multipart takes it too (RFC 5621 §4.2).

use std::net::IpAddr;

use bytes::Bytes;
use dialtone_wire::headers::{ContentType, TypedHeader};
use dialtone_wire::multipart::{self, MultipartFault, Part};
use dialtone_wire::{HeaderName, Message};
use smol_str::{SmolStr, format_smolstr};

use super::description::Described;
use super::refusal::Refusal;
use crate::settings::{BridgeSettings, Settings};

/// The media type of a session description.
pub(super) const SDP: &str = "application/sdp";
/// Bodies of several parts within each other at most.
const DEPTH_MAX: usize = 4;
/// Headers of a part that pass. Content-Length would no longer be true, and Content-Location names a place.
const OF_PARTS: &[&str] = &[
    "Content-Type",
    "Content-Disposition",
    "Content-ID",
    "Content-Language",
    "Content-Description",
    "Content-Encoding",
    "Content-Transfer-Encoding",
];

/// Why a body can't pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// Content-Type of the message, or of a part, is none.
    Type,
    Multipart(MultipartFault),
    /// More than [`DEPTH_MAX`] within each other.
    Depth,
    /// Two parts describe the session.
    TwoSessions,
    /// What we have to read is encoded.
    Encoded,
    /// A description has a Content-Transfer-Encoding.
    Transfer,
    /// A signature would no longer be true.
    Signed,
    /// A part that must be handled does not pass by the settings.
    Part,
}

impl BodyFault {
    /// The answer to a request with it, with the fault in words.
    pub(super) fn refusal(self, settings: &Settings) -> Refusal {
        let (code, words) = match self {
            BodyFault::Type => {
                (400, "expected type/subtype as the Content-Type of the body and of each part".into())
            }
            BodyFault::Multipart(fault @ MultipartFault::TooMany) => (413, fault.to_string()),
            BodyFault::Multipart(fault) => (400, fault.to_string()),
            BodyFault::Depth => {
                (413, format!("expected at most {DEPTH_MAX} multipart bodies within each other"))
            }
            BodyFault::TwoSessions => (400, "expected one session description".into()),
            BodyFault::Encoded => (415, "expected a body without Content-Encoding".into()),
            BodyFault::Transfer => {
                (415, "expected a session description without Content-Transfer-Encoding".into())
            }
            BodyFault::Signed => (415, "expected a body without signature: it is changed on its way".into()),
            BodyFault::Part => (415, "a part with handling=required has a type that does not pass".into()),
        };
        let refusal = Refusal::of(code).because(settings, &words);
        match (code, self) {
            (415, BodyFault::Encoded) => refusal.with(HeaderName::AcceptEncoding, "identity"),
            (415, _) => refusal.with(HeaderName::Accept, accepted(&settings.bridges)),
            _ => refusal,
        }
    }
}

/// What we take, as Accept says it.
pub(super) fn accepted(settings: &BridgeSettings) -> String {
    let parts = settings.parts.iter().map(SmolStr::as_str);
    [SDP, "multipart/mixed", "multipart/alternative", "multipart/related"]
        .into_iter()
        .chain(parts)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A body, or a part of one: what it says of itself.
struct Entity<'a> {
    kind: ContentType<'a>,
    content: &'a [u8],
    /// None where it is a whole body.
    part: Option<Part<'a>>,
}

/// What a part is for (RFC 5621 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Session,
    EarlySession,
    Other,
}

impl<'a> Entity<'a> {
    /// The body of a message; `None` when it has none, or none that is ours to read: its type is nothing, or it is encoded.
    fn of(message: &'a Message) -> Result<Option<Entity<'a>>, BodyFault> {
        if message.body().is_empty() {
            return Ok(None);
        }
        // RFC 3261 §20.15 has it stand with each body; what nobody names passes nowhere.
        let Some(kind) = message.value(HeaderName::ContentType) else { return Ok(None) };
        let kind = ContentType::parse(kind).map_err(|_| BodyFault::Type)?;
        let entity = Entity { kind, content: message.body(), part: None };
        let encodings = message.values(HeaderName::ContentEncoding);
        let is_encoded = encodings.into_iter().any(|value| !value.eq_ignore_ascii_case(b"identity"));
        if is_encoded && (entity.is_description() || entity.is_multipart()) {
            return Err(BodyFault::Encoded);
        }
        Ok(Some(entity))
    }

    fn of_part(part: Part<'a>) -> Result<Entity<'a>, BodyFault> {
        let kind = part.kind().map_err(|_| BodyFault::Type)?;
        let entity = Entity { kind, content: part.content, part: Some(part) };
        let is = |name: &str, plain: &[&[u8]]| {
            part.value(name).is_none_or(|value| plain.iter().any(|own| value.eq_ignore_ascii_case(own)))
        };
        if entity.is_description() || entity.is_multipart() {
            if !is("Content-Encoding", &[b"identity"]) {
                return Err(BodyFault::Encoded);
            }
            if !is("Content-Transfer-Encoding", &[b"7bit", b"8bit", b"binary"]) {
                return Err(BodyFault::Transfer);
            }
        }
        Ok(entity)
    }

    fn is_description(&self) -> bool {
        self.kind.is("application", "sdp")
    }

    fn is_multipart(&self) -> bool {
        self.kind.kind.eq_ignore_ascii_case("multipart")
    }

    fn parts(&self) -> Result<Vec<Entity<'a>>, BodyFault> {
        if self.kind.is("multipart", "signed") || self.kind.is("multipart", "encrypted") {
            return Err(BodyFault::Signed);
        }
        let boundary = multipart::boundary(&self.kind).map_err(BodyFault::Multipart)?;
        let parts = multipart::parts(self.content, boundary).map_err(BodyFault::Multipart)?;
        parts.into_iter().map(Entity::of_part).collect()
    }

    fn disposition(&self) -> &'a str {
        let value = self.part.and_then(|part| part.value("Content-Disposition"));
        value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    fn is_for(&self) -> Use {
        let word = self.disposition().split(';').next().unwrap_or_default().trim();
        match word {
            _ if !self.is_description() => Use::Other,
            // RFC 3261 §20.11: of a description it is the default.
            "" => Use::Session,
            _ if word.eq_ignore_ascii_case("session") => Use::Session,
            _ if word.eq_ignore_ascii_case("early-session") => Use::EarlySession,
            _ => Use::Other,
        }
    }

    /// RFC 5621 §8.1: "The default value for the 'handling' parameter is 'required'."
    fn is_optional(&self) -> bool {
        let params = self.disposition().split(';').skip(1);
        let mut pairs = params.filter_map(|param| param.split_once('='));
        pairs.any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("handling") && value.trim().eq_ignore_ascii_case("optional")
        })
    }

    /// Whether a part that describes no session passes.
    fn passes(&self, settings: &BridgeSettings) -> bool {
        let ContentType { kind, subtype, .. } = self.kind;
        let is_named = |own: &SmolStr| {
            own.split_once('/').is_some_and(|(own_kind, own_subtype)| {
                own_kind.eq_ignore_ascii_case(kind) && own_subtype.eq_ignore_ascii_case(subtype)
            })
        };
        let is_like = |own: &SmolStr| match own.split_once('/') {
            Some(("*", "*")) => true,
            Some((own_kind, "*")) => own_kind.eq_ignore_ascii_case(kind),
            _ => false,
        };
        // These show the other side: a whole message of it, or a description that is not for a session with us.
        let shows = self.is_description() || self.kind.is("message", "sip");
        settings.parts.iter().any(|own| is_named(own) || is_like(own) && !shows)
    }
}

/// Whether the body of a request can pass.
pub(super) fn check(request: &Message, settings: &Settings) -> Result<(), Refusal> {
    let found = Entity::of(request).and_then(|entity| {
        let mut session = None;
        entity.map_or(Ok(()), |entity| look(&entity, 0, Some(&settings.bridges), &mut session))
    });
    found.map_err(|fault| fault.refusal(settings))
}

/// Looks through a body for the description of its session.
fn look<'a>(
    entity: &Entity<'a>,
    depth: usize,
    settings: Option<&BridgeSettings>,
    session: &mut Option<&'a [u8]>,
) -> Result<(), BodyFault> {
    if entity.is_for() == Use::Session {
        return match session.replace(entity.content) {
            Some(_) => Err(BodyFault::TwoSessions),
            None => Ok(()),
        };
    }
    if entity.is_multipart() {
        if depth == DEPTH_MAX {
            return Err(BodyFault::Depth);
        }
        return entity.parts()?.iter().try_for_each(|part| look(part, depth + 1, settings, session));
    }
    let stays = entity.is_for() == Use::Other
        && entity.part.is_some()
        && settings.is_some_and(|settings| !entity.passes(settings));
    if stays && !entity.is_optional() { Err(BodyFault::Part) } else { Ok(()) }
}

/// The description of the session in a message.
pub(super) fn description(message: &Message) -> Option<&[u8]> {
    let mut session = None;
    look(&Entity::of(message).ok()??, 0, None, &mut session).ok()?;
    session
}

/// Whether a body of this type describes a session.
pub(super) fn describes(kind: &str, body: &[u8]) -> bool {
    let Ok(kind) = ContentType::parse(kind.as_bytes()) else { return false };
    let mut session = None;
    let entity = Entity { kind, content: body, part: None };
    look(&entity, 0, None, &mut session).is_ok() && session.is_some()
}

/// The body that the other side gets for that of a message, with its type.
pub(super) fn passed(
    message: &Message,
    described: &mut Described,
    settings: &BridgeSettings,
    ours: IpAddr,
) -> Option<(SmolStr, Bytes)> {
    let entity = Entity::of(message).ok()??;
    // What can't be read through passes nothing: it may describe what nobody is to see.
    look(&entity, 0, None, &mut None).ok()?;
    if entity.is_for() == Use::Session {
        return Some((SmolStr::new_static(SDP), described.pass(settings, entity.content, ours)));
    }
    if !entity.is_multipart() {
        let kind = std::str::from_utf8(message.value(HeaderName::ContentType)?).ok()?;
        return Some((SmolStr::new(kind), Bytes::copy_from_slice(entity.content)));
    }
    let written = write(&entity, &mut Writing { described, settings, ours })?;
    Some(match written.alone {
        Some(description) => (SmolStr::new_static(SDP), description),
        None => (written.kind, written.content),
    })
}

/// What each part is written with.
struct Writing<'a> {
    described: &'a mut Described,
    settings: &'a BridgeSettings,
    ours: IpAddr,
}

/// A part as the other side gets it.
struct Written {
    kind: SmolStr,
    content: Bytes,
    /// The description of the session, where it holds nothing else.
    alone: Option<Bytes>,
}

/// Writes a body or a part; `None` when nothing of it passes.
fn write(entity: &Entity<'_>, with: &mut Writing<'_>) -> Option<Written> {
    let kind = SmolStr::new_static(SDP);
    match entity.is_for() {
        Use::Session => {
            let content = with.described.pass(with.settings, entity.content, with.ours);
            return Some(Written { kind, alone: Some(content.clone()), content });
        }
        Use::EarlySession => {
            // RFC 3959: a session of its own beside the other.
            let content = with.described.early().pass(with.settings, entity.content, with.ours);
            return Some(Written { kind, alone: None, content });
        }
        Use::Other => {}
    }
    let ContentType { kind, subtype, params } = entity.kind;
    if !entity.is_multipart() {
        let kind = format_smolstr!("{kind}/{subtype}{}", params.as_str());
        let content = Bytes::copy_from_slice(entity.content);
        return entity.passes(with.settings).then_some(Written { kind, content, alone: None });
    }
    let parts = entity.parts().ok()?;
    let mut passed: Vec<(Part<'_>, Written)> =
        parts.iter().filter_map(|entity| Some((entity.part?, write(entity, with)?))).collect();
    if let [(_, Written { alone: Some(_), .. })] = &passed[..] {
        return passed.pop().map(|(_, written)| written);
    }
    if passed.is_empty() {
        return None;
    }
    let boundary = multipart::free_boundary(passed.iter().map(|(_, written)| &written.content[..]));
    let mut content = Vec::new();
    for (part, written) in &passed {
        let lines = part.lines().filter_map(|(name, value)| {
            let name = *OF_PARTS.iter().find(|own| own.as_bytes().eq_ignore_ascii_case(name))?;
            let value = if name == "Content-Type" { written.kind.as_bytes() } else { value };
            Some((name.as_bytes(), value))
        });
        multipart::write_part(&mut content, &boundary, lines, &written.content);
    }
    multipart::write_end(&mut content, &boundary);
    let others = params.pieces().filter(|piece| {
        let name = piece.split('=').next().unwrap_or_default();
        !name.trim().eq_ignore_ascii_case("boundary")
    });
    let others: String = others.flat_map(|piece| [";", piece]).collect();
    let kind = format_smolstr!("multipart/{subtype};boundary={boundary}{others}");
    Some(Written { kind, content: content.into(), alone: None })
}
