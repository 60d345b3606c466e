//! Where a forwarding leads: what the forwarding user could call himself, and nothing else.

use dialtone_wire::Status;
use dialtone_wire::uri::{Uri, UriBuf, escape_user, unescape};
use smol_str::{SmolStr, format_smolstr};

use super::TARGET_BYTES;
use crate::dial_plan::{Call, Called, Caller, End, decide};
use crate::settings::{Destination, Settings};

/// The canonical address-of-record of a user.
pub fn aor(user: &str, domain: &str) -> SmolStr {
    format_smolstr!("sip:{}@{domain}", escape_user(user))
}

/// Whether something could be dialled.
pub fn is_target(target: &str) -> bool {
    let is_sip = |uri: &UriBuf| matches!(uri.uri(), Uri::Sip(sip) if sip.user.is_some());
    target_uri("sip:a@a.invalid", target).is_some_and(|uri| is_sip(&uri) || matches!(uri.uri(), Uri::Tel(_)))
}

/// The domain of a canonical address-of-record.
pub(crate) fn domain_of(aor: &str) -> &str {
    aor.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// The user part of a canonical address-of-record, unescaped.
pub(crate) fn user_of(aor: &str) -> SmolStr {
    unescape(aor.strip_prefix("sip:").and_then(|rest| rest.rsplit_once('@')).map_or("", |(user, _)| user))
}

/// What a forwarding user would dial: a number or user of his own domain, `user@domain`, or a URI.
pub(crate) fn target_uri(aor: &str, target: &str) -> Option<UriBuf> {
    if target.is_empty() || target.len() > TARGET_BYTES {
        return None;
    }
    let has_scheme = ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let text = if has_scheme {
        SmolStr::new(target)
    } else if target.contains('@') {
        format_smolstr!("sip:{target}")
    } else {
        format_smolstr!("sip:{}@{}", escape_user(target), domain_of(aor))
    };
    UriBuf::parse(&text).ok()
}

/// Where a target leads by the dial plan, called by the user who forwards: nobody can lead others where he may not call
/// himself.
///
/// # Errors
/// The status that says why it leads nowhere.
pub(crate) fn destination(
    settings: &Settings,
    unix_s: u64,
    aor: &str,
    target: &str,
) -> Result<Destination, Status> {
    let uri = target_uri(aor, target).ok_or(Status::of(484))?;
    let own = || settings.domains.iter().find(|domain| domain.name == domain_of(aor));
    let (number, domain, foreign) = match uri.uri() {
        Uri::Sip(sip) => {
            let number = sip.user_unescaped().ok_or(Status::of(484))?;
            let foreign = SmolStr::from(sip.host.to_string().to_ascii_lowercase());
            (number, settings.domain_of(&sip.host, sip.port), foreign)
        }
        // RFC 3966 §5.1.5: a local number means something in its own context only.
        Uri::Tel(tel) if tel.is_complete() => (SmolStr::from_iter(tel.digits()), own(), SmolStr::default()),
        Uri::Tel(_) => return Err(Status::of(484)),
        _ => return Err(Status::of(416)),
    };
    let call = Call {
        number: &number,
        domain: domain.map_or(Called::Foreign(&foreign), Called::Own),
        caller: Caller::User { user: user_of(aor), domain: SmolStr::new(domain_of(aor)) },
        unix_s,
    };
    match decide(settings, &call, |_, _| ()).end {
        End::User { user, domain } => Ok(match settings.group_called(&user, &domain) {
            Some(group) => Destination::Group(group.name.clone()),
            None => Destination::User(super::aor(&user, &domain)),
        }),
        End::Group(group) => Ok(Destination::Group(group)),
        End::Trunk { trunk, number } => Ok(Destination::Trunk { trunk, number }),
        End::Uri(uri) => Ok(Destination::Uri(uri)),
        End::AsDialled => Ok(Destination::Uri(uri)),
        End::Refuse { status, .. } => Err(status),
        End::Redirect { .. } => Err(Status::of(480)),
        End::Ambiguous { .. } => Err(Status::of(485)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_what_its_user_would_dial() {
        let check = |target: &str, uri: Option<&str>| {
            let read = target_uri("sip:bob@x.test", target);
            assert_eq!(read.as_ref().map(UriBuf::as_str), uri, "{target}");
        };
        check("201", Some("sip:201@x.test"));
        check("carol@y.test", Some("sip:carol@y.test"));
        check("SIP:carol@y.test", Some("SIP:carol@y.test"));
        check("tel:+4930123", Some("tel:+4930123"));
        check("a b", Some("sip:a%20b@x.test"));
        check("", None);
        check(&"1".repeat(129), None);
        assert_eq!(user_of("sip:a%20b@x.test"), "a b");
    }
}
