//! The event package `reg` (RFC 3680): the state of a registration as XML.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _};

use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message};
use foldhash::quality::FixedState;
use smol_str::SmolStr;

use crate::binding::Binding;
use crate::random;

/// Its name (RFC 3680 §4.1).
pub(crate) const PACKAGE: &str = "reg";
/// How long a subscription lasts for those who ask for no time, in seconds: a little longer than a usual registration
/// (RFC 3680 §4.3).
pub(super) const EXPIRES_S: u32 = 3761;
/// What its NOTIFYs carry (RFC 3680 §4.4).
pub(crate) const CONTENT_TYPE: &str = "application/reginfo+xml";

/// What happened last to a contact (RFC 3680 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContactEvent {
    /// A REGISTER bound it.
    Registered,
    /// Another one gave it more time.
    Refreshed,
    /// Another one left it less.
    Shortened,
    /// It was not refreshed.
    Expired,
    /// Its flow is gone; its phone may register again at once.
    Deactivated,
    /// Its phone removed it.
    Unregistered,
    /// Its user is gone.
    Rejected,
}

impl ContactEvent {
    const fn word(self) -> &'static str {
        match self {
            ContactEvent::Registered => "registered",
            ContactEvent::Refreshed => "refreshed",
            ContactEvent::Shortened => "shortened",
            ContactEvent::Expired => "expired",
            ContactEvent::Deactivated => "deactivated",
            ContactEvent::Unregistered => "unregistered",
            ContactEvent::Rejected => "rejected",
        }
    }

    /// Whether the contact is gone.
    pub(crate) const fn is_end(self) -> bool {
        !matches!(self, ContactEvent::Registered | ContactEvent::Refreshed | ContactEvent::Shortened)
    }
}

/// A contact of a watched registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactState {
    /// Names it for as long as it is bound, after a restart too.
    pub id: SmolStr,
    /// Its URI.
    pub uri: SmolStr,
    /// What happened to it last.
    pub event: ContactEvent,
    /// Until when it is, or would have been, bound.
    pub expires_at: Instant,
    /// Preference in thousandths.
    pub q_milli: u16,
    /// Call-ID of its last REGISTER.
    pub call_id: SmolStr,
    /// CSeq of its last REGISTER.
    pub cseq: u32,
}

impl ContactState {
    /// Whether nothing happened between the two.
    pub(super) fn is_as(&self, later: &ContactState) -> bool {
        (&self.uri, self.expires_at, self.q_milli, &self.call_id, self.cseq)
            == (&later.uri, later.expires_at, later.q_milli, &later.call_id, later.cseq)
    }
}

pub(super) fn is_same(
    one: &BTreeMap<SmolStr, ContactState>,
    other: &BTreeMap<SmolStr, ContactState>,
) -> bool {
    one.len() == other.len() && one.values().zip(other.values()).all(|(a, b)| a.id == b.id && a.is_as(b))
}

/// Whether Accept has room for a reginfo document; without one it has (RFC 3680 §4.4).
pub(super) fn is_accepted(request: &Message) -> bool {
    let takes = |value: &[u8]| {
        let mut parts = value.split(|byte| *byte == b';').map(|part| part.trim_ascii().to_ascii_lowercase());
        let range = parts.next().unwrap_or_default();
        let fits = matches!(&range[..], b"application/reginfo+xml" | b"application/*" | b"*/*");
        let refused = |part: Vec<u8>| {
            part.strip_prefix(b"q=0").is_some_and(|rest| rest.iter().all(|byte| b".0".contains(byte)))
        };
        fits && !parts.any(refused)
    };
    !request.has(HeaderName::Accept) || request.values(HeaderName::Accept).any(takes)
}

/// A word for a registration, or for one of its contacts.
pub(super) fn id_of(key: u64, aor: &str, contact: &str) -> SmolStr {
    let mut hasher = FixedState::with_seed(key).build_hasher();
    hasher.write(aor.as_bytes());
    hasher.write_u8(0);
    hasher.write(contact.as_bytes());
    random::word(hasher.finish())
}

/// A contact is its flow where it has one (RFC 5626), else its URI.
pub(super) fn id_of_binding(key: u64, aor: &str, binding: &Binding) -> SmolStr {
    match (binding.reg_id(), binding.instance()) {
        (Some(reg_id), Some(instance)) => {
            id_of(key, aor, &format!("{} {reg_id}", instance.to_ascii_lowercase()))
        }
        _ => id_of(key, aor, binding.contact.as_str()),
    }
}

/// Seconds until then, a part of one counted as one.
pub(super) fn left_s(until: Instant, now: Instant) -> u64 {
    if until <= now {
        return 0;
    }
    let left = until - now;
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// What one NOTIFY tells.
pub(super) struct Report<'a> {
    pub(super) now: Instant,
    pub(super) aor: &'a str,
    /// Names the registration.
    pub(super) registration: SmolStr,
    pub(super) version: u32,
    /// All contacts, not only those that have changed.
    pub(super) full: bool,
    pub(super) contacts: &'a BTreeMap<SmolStr, ContactState>,
    pub(super) changes: &'a BTreeMap<SmolStr, ContactState>,
}

impl Report<'_> {
    /// RFC 3680 §5.
    pub(super) fn to_xml(&self) -> String {
        let mut shown: BTreeMap<&SmolStr, &ContactState> = BTreeMap::new();
        if self.full {
            shown.extend(self.contacts);
        }
        shown.extend(self.changes);
        let state = match (self.contacts.is_empty(), self.changes.is_empty()) {
            (false, _) => "active",
            (true, false) => "terminated",
            (true, true) => "init",
        };
        let mut xml = String::with_capacity(256 + 256 * shown.len());
        xml.push_str("<?xml version=\"1.0\"?>\n<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\"");
        let extent = if self.full { "full" } else { "partial" };
        // Writing to a String can't fail.
        let _ = write!(xml, " version=\"{}\" state=\"{extent}\">\n<registration aor=\"", self.version);
        push_escaped(&mut xml, self.aor);
        let _ = writeln!(xml, "\" id=\"{}\" state=\"{state}\">", self.registration);
        for contact in shown.values() {
            self.push_contact(&mut xml, contact);
        }
        xml.push_str("</registration>\n</reginfo>\n");
        xml
    }

    fn push_contact(&self, xml: &mut String, contact: &ContactState) {
        let (id, word) = (&contact.id, contact.event.word());
        let state = if contact.event.is_end() { "terminated" } else { "active" };
        let _ = write!(xml, "<contact id=\"{id}\" state=\"{state}\" event=\"{word}\"");
        if !contact.event.is_end() {
            let _ = write!(xml, " expires=\"{}\"", left_s(contact.expires_at, self.now));
        }
        if contact.q_milli != 1000 {
            let _ = write!(xml, " q=\"0.{:03}\"", contact.q_milli);
        }
        xml.push_str(" callid=\"");
        push_escaped(xml, &contact.call_id);
        let _ = write!(xml, "\" cseq=\"{}\"><uri>", contact.cseq);
        push_escaped(xml, &contact.uri);
        xml.push_str("</uri></contact>\n");
    }
}

/// Text as XML 1.0 has it in elements and attributes (§2.2, §2.4); characters that it can't have are U+FFFD.
fn push_escaped(xml: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&apos;"),
            '\t' | '\n' | '\r' => xml.push(' '),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            other => xml.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nasty_contacts_stay_text() {
        let nasty = "sip:<&\"'>@h;x=]]>&amp;\u{1}\u{ffff}é\r\n";
        let contact = ContactState {
            id: "c".into(),
            uri: nasty.into(),
            event: ContactEvent::Registered,
            expires_at: Instant::from_millis(1500),
            q_milli: 500,
            call_id: nasty.into(),
            cseq: 7,
        };
        let contacts = BTreeMap::from([(contact.id.clone(), contact)]);
        let report = Report {
            now: Instant::from_millis(1000),
            aor: "sip:a&b@h",
            registration: "r".into(),
            version: 3,
            full: true,
            contacts: &contacts,
            changes: &BTreeMap::new(),
        };
        let text = "sip:&lt;&amp;&quot;&apos;&gt;@h;x=]]&gt;&amp;amp;\u{fffd}\u{fffd}é  ";
        let expected = format!(
            "<?xml version=\"1.0\"?>\n\
             <reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"3\" state=\"full\">\n\
             <registration aor=\"sip:a&amp;b@h\" id=\"r\" state=\"active\">\n\
             <contact id=\"c\" state=\"active\" event=\"registered\" expires=\"1\" q=\"0.500\" callid=\"{text}\" \
             cseq=\"7\"><uri>{text}</uri></contact>\n</registration>\n</reginfo>\n"
        );
        assert_eq!(report.to_xml(), expected);
    }
    #[test]
    fn every_character_there_is_stays_what_it_is_or_becomes_one_that_xml_can_hold() {
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        let uri_of = |xml: &str| {
            let document = roxmltree::Document::parse(xml).expect("a document");
            let uri = document.descendants().find(|node| node.tag_name().name() == "uri");
            let contact = uri.and_then(|uri| uri.parent()).expect("a contact");
            let uri = uri.and_then(|uri| uri.text()).expect("a URI").to_owned();
            (uri, contact.attribute("callid").unwrap_or_default().to_owned())
        };
        for some in all.chunks(50_000) {
            let text: SmolStr = some.iter().copied().collect();
            let contact = ContactState {
                id: "c".into(),
                uri: text.clone(),
                event: ContactEvent::Registered,
                expires_at: Instant::from_millis(1500),
                q_milli: 1000,
                call_id: text.clone(),
                cseq: 7,
            };
            let contacts = BTreeMap::from([(contact.id.clone(), contact)]);
            let report = Report {
                now: Instant::from_millis(1000),
                aor: "sip:a@h",
                registration: "r".into(),
                version: 0,
                full: true,
                contacts: &contacts,
                changes: &BTreeMap::new(),
            };
            let expected: String = text
                .chars()
                .map(|character| match character {
                    '\t' | '\n' | '\r' => ' ',
                    '\0'..=' ' if character != ' ' => '\u{fffd}',
                    '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
                    other => other,
                })
                .collect();
            assert_eq!(uri_of(&report.to_xml()), (expected.clone(), expected));
        }
    }
}
