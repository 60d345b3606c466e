//! What a REGISTER asks for: its Contact values, the time that each asks for, its Path (RFC 3261 §10.3 steps 6 and 7,
//! RFC 3327 §5.3, RFC 5626 §6).

use std::num::NonZeroU32;

use dialtone_wire::headers::{Contact, Expires, NameAddr, Params};
use dialtone_wire::uri::Uri;
use dialtone_wire::{HeaderName, Message};
use smol_str::{SmolStr, SmolStrBuilder};

use super::{Registered, Registration, refused};
use crate::binding::{Binding, Details, instance_in, is_same_instance};
use crate::settings::RegistrarSettings;

/// What a REGISTER asks for.
pub(super) enum Changes<'a> {
    RemoveAll,
    Each(Vec<Asked<'a>>),
}

/// One Contact value.
pub(super) struct Asked<'a> {
    pub(super) contact: NameAddr<'a>,
    pub(super) expires_s: u32,
    pub(super) q_milli: u16,
    /// `+sip.instance`.
    pub(super) instance: Option<&'a str>,
    /// `reg-id`, where it counts.
    pub(super) reg_id: Option<NonZeroU32>,
}

/// Step 6 and the first part of step 7: reads the Contact values and the time that each asks for.
pub(super) fn read_changes<'a>(
    request: &'a Message,
    settings: &RegistrarSettings,
) -> Result<Changes<'a>, Registered> {
    check_path(request, settings)?;
    // RFC 3261 §20.19: a malformed Expires is as good as one of 3600.
    let header_s =
        request.header::<Expires>().map(|expires| expires.map_or(3600, |Expires(seconds)| seconds));
    let mut changes: Vec<Asked<'a>> = Vec::new();
    let mut star = false;
    for contact in request.contacts() {
        match contact {
            Err(_) => return Err(refused(400, "a Contact value is malformed")),
            Ok(Contact::Star) => star = true,
            Ok(Contact::Address(contact)) => {
                let expires_s = expires_of(&contact).or(header_s).unwrap_or(settings.expires_default_s);
                if expires_s > 0 && expires_s < settings.expires_min_s {
                    return Err(Registered::TooBrief { min_s: settings.expires_min_s });
                }
                // Each may replace a binding by another; comparing more of them would only cost time.
                if changes.len() >= settings.bindings_per_aor.saturating_mul(2) {
                    return Err(refused(403, "too many contacts in one request"));
                }
                let expires_s = expires_s.min(settings.expires_max_s);
                let q_milli = q_of(&contact);
                let instance = instance_in(contact.params);
                let reg_id = match instance {
                    Some(_) => reg_id_of(&contact, request)?,
                    // RFC 5626 §6: "a reg-id but no instance-id … it simply ignores the reg-id parameter".
                    None => None,
                };
                changes.push(Asked { contact, expires_s, q_milli, instance, reg_id });
            }
        }
    }
    if star && (!changes.is_empty() || header_s != Some(0) || request.values(HeaderName::Contact).count() > 1)
    {
        return Err(refused(400, "Contact: * stands alone and with Expires: 0"));
    }
    // RFC 5626 §6: one instance over one flow.
    if changes.iter().any(|change| change.reg_id.is_some())
        && changes.iter().filter(|change| change.expires_s > 0).count() > 1
    {
        return Err(refused(400, "a contact with reg-id is registered alone"));
    }
    Ok(if star { Changes::RemoveAll } else { Changes::Each(changes) })
}

/// RFC 3327 §5.3: a Path that the phone does not know of was put in by somebody whom it did not ask.
fn check_path(request: &Message, settings: &RegistrarSettings) -> Result<(), Registered> {
    if !request.has(HeaderName::Path) {
        return Ok(());
    }
    if !settings.path_unasked && !request.has_token(HeaderName::Supported, "path") {
        return Err(Registered::Unsupported { option: "path" });
    }
    if request.addresses(HeaderName::Path).all(|value| value.is_ok_and(|path| path.uri.as_sip().is_some())) {
        Ok(())
    } else {
        Err(refused(400, "a Path value is malformed"))
    }
}

/// The number of the flow, if RFC 5626 §6 lets it count: the first hop must know how to keep a flow.
fn reg_id_of(contact: &NameAddr<'_>, request: &Message) -> Result<Option<NonZeroU32>, Registered> {
    let Some(text) = contact.params.find("reg-id") else { return Ok(None) };
    let Some(reg_id) = text.and_then(|text| text.parse().ok()) else {
        return Err(refused(400, "reg-id is no number above zero"));
    };
    // We are the first hop, or the one that is has said that it keeps flows.
    let keeps_flow = request.values(HeaderName::Via).nth(1).is_none()
        || request.addresses(HeaderName::Path).last().is_some_and(|path| {
            path.is_ok_and(|path| path.uri.as_sip().is_some_and(|uri| uri.params.has("ob")))
        });
    match keeps_flow {
        true => Ok(Some(reg_id)),
        false if request.has_token(HeaderName::Supported, "outbound") => {
            Err(refused(439, "the first hop keeps no flows"))
        }
        false => Ok(None),
    }
}

/// RFC 3261 §20.10: a malformed `expires` parameter is as good as 3600.
fn expires_of(contact: &NameAddr<'_>) -> Option<u32> {
    contact.params.value("expires").map(|text| text.parse().unwrap_or(3600))
}

/// `q` in thousandths; absent or malformed is 1 (the caller did not say that it is worse than others).
fn q_of(contact: &NameAddr<'_>) -> u16 {
    let q = contact.params.value("q").and_then(|text| text.parse::<f32>().ok());
    q.filter(|q| (0.0..=1.0).contains(q)).map_or(1000, |q| (q * 1000.0).round() as u16)
}

impl Asked<'_> {
    /// Whether the binding is the one that this changes: the same flow of the same instance (RFC 5626 §6), else one
    /// with an equivalent contact.
    pub(super) fn is_about(&self, binding: &Binding) -> bool {
        if self.reg_id.is_some() && binding.reg_id().is_some() {
            let same_instance =
                |instance| binding.instance().is_some_and(|theirs| is_same_instance(theirs, instance));
            return self.reg_id == binding.reg_id() && self.instance.is_some_and(same_instance);
        }
        // The same text is the same URI: nearly every refresh.
        binding.contact.as_str() == self.contact.uri_text
            || binding.contact.uri().equivalent(&self.contact.uri)
    }

    /// RFC 5627 §5.1: whether a device registers its own address-of-record, or a GRUU of it, as the place where it is.
    pub(super) fn leads_back(&self, registration: &Registration<'_>) -> bool {
        if self.instance.is_none() || self.expires_s == 0 {
            return false;
        }
        let Uri::Sip(uri) = self.contact.uri else { return true };
        let is_aor = || match Uri::parse(registration.aor) {
            Ok(aor) => self.contact.uri.equivalent(&aor),
            Err(_) => false,
        };
        (uri.params.has("gr") && registration.gruus.is_ours(&uri, registration.aor)) || is_aor()
    }

    /// What is kept beside the contact itself.
    pub(super) fn details(&self, request: &Message, gruu: u64) -> Option<Details> {
        let params = kept_params(self.contact.params);
        let text = |value: &[u8]| std::str::from_utf8(value).ok().map(SmolStr::new);
        let path: Box<[SmolStr]> = if request.has(HeaderName::Path) {
            request.values(HeaderName::Path).filter_map(text).collect()
        } else {
            Box::default()
        };
        let details = Details { params, path, reg_id: self.reg_id, gruu };
        (details != Details::default()).then_some(details)
    }
}

/// The parameters of a contact without those that have a place of their own, and those that only a registrar sets
/// (RFC 5627 §5.1).
fn kept_params(params: Params<'_>) -> SmolStr {
    const OWN: [&str; 4] = ["expires", "q", "pub-gruu", "temp-gruu"];
    let mut kept = SmolStrBuilder::new();
    for piece in params.pieces().map(str::trim_ascii) {
        let name = piece.split('=').next().unwrap_or_default().trim_ascii_end();
        if !OWN.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            kept.push(';');
            kept.push_str(piece);
        }
    }
    kept.finish()
}
