//! What the dial plan says about a request, as a decision.

use dialtone_wire::uri::{Host, UriBuf, escape_user};
use dialtone_wire::{Message, Status};
use smol_str::{SmolStr, format_smolstr};

use super::Decision;
use crate::dial_plan::{Call, Called, Caller, End, Planned, decide};
use crate::proxy::Onward;
use crate::reply::Reply;
use crate::settings::dial_plan::Ambiguous;
use crate::settings::{Destination, Domain, Mode, Settings};

/// What is left to do once the plan was asked.
pub(super) enum Consulted {
    /// It goes to a user of ours.
    User {
        user: SmolStr,
        domain: SmolStr,
        /// The caller need not show a password.
        unasked: bool,
        /// What is answered if there is no such user.
        nobody: Option<Status>,
        /// How much is remembered, where a rule says so.
        mode: Option<Mode>,
    },
    /// It is decided.
    Decided(Box<Decision>),
}

/// Asks the plan about a request to this name in this domain, at this point of Unix time in seconds.
pub(super) fn consult(
    settings: &Settings,
    request: &Message,
    number: &str,
    domain: Called<'_>,
    unix_s: u64,
    onward: impl Fn(Option<Mode>) -> Onward,
) -> Consulted {
    let caller = caller(settings, request);
    let call = Call { number, domain, caller, unix_s };
    let planned = decide(settings, &call, |_, _| ());
    let realm = match domain {
        Called::Own(domain) => domain.name.clone(),
        Called::Foreign(_) => {
            settings.domains.first().map_or_else(SmolStr::default, |first| first.name.clone())
        }
    };
    let nobody = nobody(settings, &planned);
    let Planned { rule, end, asks, .. } = planned;
    let mode = rule.and_then(|index| settings.dial_plan.rules.get(index)?.mode).map(|mode| {
        // What we forget at once can't wait for a password, nor ring several phones.
        let is_asked = asks && settings.authenticate;
        let is_simple = !is_asked && !matches!(end, End::Group(_) | End::Trunk { .. });
        if mode == Mode::Stateless && !is_simple { Mode::Transaction } else { mode }
    });
    let destination = match end {
        End::User { user, domain } => {
            return Consulted::User { user, domain, unasked: !asks, nobody, mode };
        }
        End::AsDialled => {
            return Consulted::Decided(Box::new(Decision::Route {
                onward: onward(mode),
                authenticate: asks,
            }));
        }
        End::Group(group) => Destination::Group(group),
        End::Trunk { trunk, number } => Destination::Trunk { trunk, number },
        End::Uri(uri) => Destination::Uri(uri),
        End::Redirect { status, contacts } => {
            let said = Said { status, contacts, reason: None, error_info: None };
            return reply(settings, rule, realm, asks, said);
        }
        End::Refuse { status, reason, error_info } => {
            let said = Said { status, contacts: Vec::new(), reason, error_info };
            return reply(settings, rule, realm, asks, said);
        }
        End::Ambiguous { users } => {
            let contact =
                |(user, domain): &(SmolStr, SmolStr)| format_smolstr!("<sip:{}@{domain}>", escape_user(user));
            // RFC 3261 §21.4.23.
            let ambiguous = settings.dial_plan.ambiguous;
            let contacts = match ambiguous {
                Ambiguous::WithContacts => users.iter().map(contact).collect(),
                Ambiguous::Bare | Ambiguous::NotFound => Vec::new(),
            };
            let said = Said { status: ambiguous.status(), contacts, reason: None, error_info: None };
            return reply(settings, rule, realm, asks, said);
        }
    };
    let onward = Onward { unasked: !asks, ..onward(mode) };
    Consulted::Decided(Box::new(Decision::To { domain: realm, destination, onward }))
}

/// What a rule says to the caller.
pub(super) struct Said {
    pub(super) status: Status,
    pub(super) contacts: Vec<SmolStr>,
    pub(super) reason: Option<SmolStr>,
    pub(super) error_info: Option<UriBuf>,
}

impl Said {
    fn in_the_name_of(self, settings: &Settings, rule: Option<usize>, domain: SmolStr) -> Reply {
        let Said { status, contacts, reason, error_info } = self;
        let rule = rule.and_then(|index| settings.dial_plan.rules.get(index)).map(|rule| rule.name.clone());
        Reply { status, contacts, reason, error_info, rule, domain }
    }
}

fn reply(settings: &Settings, rule: Option<usize>, domain: SmolStr, asks: bool, said: Said) -> Consulted {
    let reply = said.in_the_name_of(settings, rule, domain);
    Consulted::Decided(Box::new(Decision::Reply { reply, asks }))
}

/// What a rule answers to somebody who is not asked for a password: a trunk.
pub(super) fn answered(settings: &Settings, rule: Option<usize>, domain: &Domain, said: Said) -> Decision {
    Decision::Reply { reply: said.in_the_name_of(settings, rule, domain.name.clone()), asks: false }
}

/// What is answered if the user is nobody: 484 where more digits would make a number (RFC 3261 §21.4.22).
fn nobody(settings: &Settings, planned: &Planned) -> Option<Status> {
    match planned.incomplete {
        Some(_) => Some(Status::of(484)),
        None => settings.dial_plan.nobody_anywhere.then(|| Status::of(604)),
    }
}

/// Who a request says that it comes from. A user of ours is asked for his password before anything is done for him.
fn caller(settings: &Settings, request: &Message) -> Caller {
    let from = request.from().ok();
    let Some(from) = from.as_ref().and_then(|from| from.uri.as_sip()) else { return Caller::Stranger };
    match (from.user_unescaped(), settings.domain_of(&from.host, from.port)) {
        (Some(user), Some(domain)) => Caller::User { user, domain: domain.name.clone() },
        _ => Caller::Stranger,
    }
}

/// A host as the rules name it.
pub(super) fn host_text(host: &Host<'_>) -> SmolStr {
    match host {
        Host::Name(name) => name.trim_end_matches('.').to_ascii_lowercase().into(),
        Host::Ip(_) => format_smolstr!("{host}"),
    }
}
