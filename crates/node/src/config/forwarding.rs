//! What users have done with their calls: the values of `[forwarding]`, `[star_codes]` and `[[forward]]`.

use std::collections::BTreeMap;

use dialtone_roles::services::{ForwardKind, Services, TARGET_BYTES, aor, is_target};
use dialtone_roles::settings::{Domain, ForwardingSettings, StarAction, StarCodes};
use dialtone_wire::Status;
use smol_str::SmolStr;
use toml::de::DeValue;

use super::address::HostName;
use super::keys::{Config, ForwardEntry};
use super::problem::{Place, Remedy, What};
use super::value::{Fault, Scalar, Setting, malformed, quoted, shortened, wrong_type};

/// A user, with or without his domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAddress(SmolStr);

impl Scalar for UserAddress {
    type Bounds = ();
    const KIND: &'static str = "a user, or a user with the domain";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<UserAddress, Fault> {
        const EXAMPLE: &str = "\"bob\" or \"bob@example.com\"";
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, EXAMPLE))?;
        let (user, domain) = text.split_once('@').map_or((text, None), |(user, domain)| (user, Some(domain)));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
        let is_user = !user.is_empty() && user.len() <= 64 && user.bytes().all(legal);
        let is_domain = domain.is_none_or(|domain| domain.parse::<HostName>().is_ok());
        if !is_user || !is_domain {
            return Err(malformed(text, Self::KIND, EXAMPLE));
        }
        Ok(UserAddress(text.into()))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        quoted("bob")
    }
}

/// Where calls are forwarded to: what the user could dial himself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardTarget(SmolStr);

impl Scalar for ForwardTarget {
    type Bounds = ();
    const KIND: &'static str = "a number, a user, user@domain or a SIP URI";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<ForwardTarget, Fault> {
        const EXAMPLE: &str = "\"201\", \"carol\" or \"sip:carol@example.com\"";
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, EXAMPLE))?;
        if text.len() > TARGET_BYTES || !is_target(text) {
            return Err(malformed(text, Self::KIND, EXAMPLE));
        }
        Ok(ForwardTarget(text.into()))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }

    fn example((): &()) -> String {
        quoted("201")
    }
}

/// The status with which do-not-disturb refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoNotDisturb {
    /// 480 Temporarily Unavailable.
    Unavailable,
    /// 486 Busy Here.
    Busy,
    /// 603 Decline.
    Decline,
}

impl DoNotDisturb {
    const fn status(self) -> Status {
        match self {
            DoNotDisturb::Unavailable => Status::of(480),
            DoNotDisturb::Busy => Status::of(486),
            DoNotDisturb::Decline => Status::of(603),
        }
    }
}

/// What a user dials; empty where there is no such code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code(SmolStr);

impl Code {
    const BYTES_MAX: usize = 16;

    /// This code.
    pub(super) const fn new(code: &'static str) -> Code {
        Code(SmolStr::new_static(code))
    }
}

impl Scalar for Code {
    type Bounds = ();
    const KIND: &'static str = "a code that begins with * or #";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Code, Fault> {
        const EXAMPLE: &str = "\"*72\", or \"\" for no code";
        let text = value.as_str().ok_or_else(|| wrong_type(value, Self::KIND, EXAMPLE))?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'#');
        let is_code =
            text.starts_with(['*', '#']) && text.len() <= Self::BYTES_MAX && text.bytes().all(legal);
        if text.is_empty() || is_code {
            Ok(Code(text.into()))
        } else {
            Err(malformed(text, Self::KIND, EXAMPLE))
        }
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }
}

/// Problems that concern several keys, each with its place and key.
pub(super) type Told = Vec<(Option<Place>, &'static str, What, Remedy)>;

impl Config {
    /// The codes of `[star_codes]`. None may stand twice.
    pub(super) fn star_codes(&self, told: &mut Told) -> StarCodes {
        use ForwardKind::{Always, Busy, NoAnswer, NotReachable};
        let own = &self.star_codes;
        let all: [(&'static str, &Setting<Code>, StarAction); 12] = [
            ("star_codes.always", &own.always, StarAction::Forward(Always)),
            ("star_codes.always_off", &own.always_off, StarAction::Stop(Always)),
            ("star_codes.busy", &own.busy, StarAction::Forward(Busy)),
            ("star_codes.busy_off", &own.busy_off, StarAction::Stop(Busy)),
            ("star_codes.no_answer", &own.no_answer, StarAction::Forward(NoAnswer)),
            ("star_codes.no_answer_off", &own.no_answer_off, StarAction::Stop(NoAnswer)),
            ("star_codes.not_reachable", &own.not_reachable, StarAction::Forward(NotReachable)),
            ("star_codes.not_reachable_off", &own.not_reachable_off, StarAction::Stop(NotReachable)),
            ("star_codes.do_not_disturb", &own.do_not_disturb, StarAction::DoNotDisturb),
            ("star_codes.do_not_disturb_off", &own.do_not_disturb_off, StarAction::Disturb),
            ("star_codes.park", &own.park, StarAction::Park),
            ("star_codes.pick_up", &own.pick_up, StarAction::PickUp),
        ];
        let mut codes: Vec<(SmolStr, StarAction)> = Vec::new();
        for (key, setting, action) in all {
            let code = &setting.value.0;
            if code.is_empty() || !own.enabled.value {
                continue;
            }
            if codes.iter().any(|(other, _)| other == code) {
                told.push((setting.place, key, What::Twice(code.as_str().into()), Remedy::KeepOne));
            }
            codes.push((code.clone(), action));
        }
        StarCodes { codes, do_not_disturb: own.do_not_disturb_status.value.status() }
    }

    /// `[forwarding]` with the entries of `[[forward]]`.
    pub(super) fn forwarding(&self, domains: &[Domain], told: &mut Told) -> ForwardingSettings {
        let own = &self.forwarding;
        let mut users = BTreeMap::new();
        for entry in &self.forward {
            let user = &entry.user;
            if user.value.0.is_empty() {
                let remedy = Remedy::Add("user = \"bob\"");
                told.push((user.place, "forward", What::Missing("user"), remedy));
                continue;
            }
            let Some(aor) = address_of(&user.value.0, domains) else {
                let expected = "a user of one of the domains of this server";
                let what = What::Malformed { expected, came: shortened(&user.value.0) };
                told.push((user.place, "forward.user", what, Remedy::Example("\"bob\"")));
                continue;
            };
            if users.insert(aor, services(entry)).is_some() {
                let what = What::Twice(user.value.0.as_str().into());
                told.push((user.place, "forward.user", what, Remedy::KeepOne));
            }
        }
        ForwardingSettings {
            users,
            no_answer_after: own.no_answer_after.value,
            forwards_max: usize::try_from(own.forwards_max.value).unwrap_or(usize::MAX),
            history_info: own.history_info.value,
            diversion: own.diversion.value,
            tell_caller: own.tell_caller.value,
        }
    }
}

/// The canonical address-of-record of a user of ours.
fn address_of(user: &str, domains: &[Domain]) -> Option<SmolStr> {
    let Some((user, asked)) = user.split_once('@') else {
        return domains.first().map(|domain| aor(user, &domain.name));
    };
    let asked = asked.trim_end_matches('.');
    let names = |domain: &&Domain| {
        std::iter::once(&domain.name).chain(&domain.aliases).any(|name| name.eq_ignore_ascii_case(asked))
    };
    domains.iter().find(names).map(|domain| aor(user, &domain.name))
}

fn services(entry: &ForwardEntry) -> Services {
    let to = |target: &Setting<Option<ForwardTarget>>| target.value.as_ref().map(|target| target.0.clone());
    Services {
        always: to(&entry.always),
        busy: to(&entry.busy),
        no_answer: to(&entry.no_answer),
        no_answer_after: entry.no_answer_after.value,
        not_reachable: to(&entry.not_reachable),
        do_not_disturb: entry.do_not_disturb.value.map(DoNotDisturb::status),
    }
}
