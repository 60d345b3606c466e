//! Calls that come in over a trunk: nobody there has a password, and where they may go is said by the trunk's numbers
//! and by rules for it alone.

use dialtone_wire::uri::{Uri, escape_user};
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, format_smolstr};

use super::planned::Said;
use super::{Decision, OwnRoutes, planned};
use crate::dial_plan::{self, Call, Called, Caller, End};
use crate::identity::number_of;
use crate::route_token::RouteTokens;
use crate::settings::{Destination, Mode, Settings, Trunk};
use crate::trunks::CONTACT_PARAM;

/// Decides about a request from a trunk that begins something; `None` for requests within dialogs, for those that name
/// nobody, and for REGISTER.
pub(super) fn decide(
    settings: &Settings,
    tokens: &RouteTokens,
    request: &Message,
    own: &OwnRoutes,
    trunk: &Trunk,
    unix_s: u64,
) -> Option<Decision> {
    let begins = !matches!(request.method(), Some(Method::Register | Method::Ack))
        && matches!(request.to_tag(), Ok(None));
    if !begins || request.values(HeaderName::Route).count() > own.count {
        return None;
    }
    let called = called_numbers(request, trunk);
    let first = called.first()?;
    let onward = |mode: Mode| own.onward(tokens, request, mode);
    let mapped = called.iter().find_map(|number| Some((trunk.destination_of(number)?, number)));
    if let Some((destination, number)) = mapped {
        let destination = match destination {
            Destination::Trunk { trunk, .. } => {
                Destination::Trunk { trunk: trunk.clone(), number: number.clone() }
            }
            other => other.clone(),
        };
        let mode = mode_for(settings, None, &destination);
        return Some(Decision::FromTrunk { destination, onward: onward(mode) });
    }
    let domain = settings.domains.first()?;
    let caller = Caller::Trunk(trunk.name.clone());
    let call = Call { number: first, domain: Called::Own(domain), caller, unix_s };
    let said = dial_plan::decide(settings, &call, |_, _| ());
    let is_ruled = said.rule.is_some();
    let destination = match said.end {
        End::User { user, domain } => {
            Destination::User(format_smolstr!("sip:{}@{domain}", escape_user(&user)))
        }
        // Without a rule for this trunk nothing leads out again: calls to foreign numbers cost money.
        End::Group(name) if is_ruled => Destination::Group(name),
        End::Trunk { trunk, number } if is_ruled => Destination::Trunk { trunk, number },
        End::Uri(uri) if is_ruled => Destination::Uri(uri),
        End::Redirect { status, contacts } => {
            let words = Said { status, contacts, reason: None, error_info: None };
            return Some(planned::answered(settings, said.rule, domain, words));
        }
        End::Refuse { status, reason, error_info } => {
            let words = Said { status, contacts: Vec::new(), reason, error_info };
            return Some(planned::answered(settings, said.rule, domain, words));
        }
        _ => return Some(Decision::Refuse(Status::of(403))),
    };
    let ruled = said.rule.and_then(|index| settings.dial_plan.rules.get(index)?.mode);
    let mode = mode_for(settings, ruled, &destination);
    Some(Decision::FromTrunk { destination, onward: onward(mode) })
}

/// A call from a trunk is followed, or goes through our back-to-back user agent where its rule or the domain of whom it
/// leads to says so.
fn mode_for(settings: &Settings, ruled: Option<Mode>, destination: &Destination) -> Mode {
    let domain = match destination {
        Destination::User(aor) => aor.rsplit_once('@').map(|(_, domain)| domain),
        Destination::Group(name) => settings.group(name).map(|group| group.domain.as_str()),
        Destination::Trunk { .. } | Destination::Uri(_) => None,
    };
    let of_domain =
        || settings.domains.iter().find(|own| Some(own.name.as_str()) == domain).map(|own| own.mode);
    match ruled.or_else(of_domain) {
        Some(Mode::B2bua) => Mode::B2bua,
        _ => Mode::Call,
    }
}

/// What was called, the most telling first: the number in the Request-URI, unless that is our own Contact, then the one
/// in To.
fn called_numbers(request: &Message, trunk: &Trunk) -> Vec<SmolStr> {
    let uri = request.uri().ok();
    let account = trunk.account().and_then(|account| account.aor.uri().as_sip()?.user_unescaped());
    let is_contact = |uri: &Uri<'_>| {
        let sip = uri.as_sip();
        sip.is_some_and(|sip| sip.params.has(CONTACT_PARAM) && sip.user_unescaped() == account)
    };
    let to = request.to().ok().and_then(|to| number_of(&to.uri));
    let called = uri.as_ref().and_then(number_of);
    match uri {
        Some(uri) if is_contact(&uri) => to.into_iter().chain(called).collect(),
        Some(_) => called.into_iter().chain(to).collect(),
        None => Vec::new(),
    }
}
