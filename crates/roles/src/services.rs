//! What a user wants done with the calls that come for him: forwarding (always, when busy, without an answer, when not
//! reachable) and do-not-disturb (RFC 5359 §2.7 to §2.9).
//!
//! ```text
//!   a call --> always? ------------------------------> forwarded, cause 302
//!          --> do-not-disturb? --> as its status says: refused, or forwarded as if the user were busy or away
//!          --> his phones ring, no longer than his time without an answer
//!                 busy ---------> forward on busy, cause 486
//!                 no answer ----> forward without an answer, cause 408
//!                 not reached --> forward when not reachable, cause 404 without a phone, 503 with one
//!                 declined -----> the caller hears it
//! ```
//!
//! The settings file has the base; what the user chose by star code or `dialtone forward` goes before it. All of this
//! is pure: values go in, and what comes next comes out.

use std::time::Duration;

use dialtone_wire::Status;
use smol_str::SmolStr;

mod table;
mod target;

pub use target::{aor, is_target};

pub use crate::star_codes::{CallCode, ServiceCode, of_calls, of_services};

pub(crate) use table::ServiceTable;
pub(crate) use target::{destination, domain_of, target_uri, user_of};

/// Bytes of a number or URI that calls are forwarded to, at most.
pub const TARGET_BYTES: usize = 128;
/// The shortest and longest time without an answer that can be chosen.
pub const NO_ANSWER_AFTER: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(180);

/// When calls are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardKind {
    /// Each call, at once.
    Always,
    /// When the user's phones are busy (486), or do-not-disturb says so.
    Busy,
    /// When nobody answers in time.
    NoAnswer,
    /// When no phone is registered or none of them answers the request.
    NotReachable,
}

impl ForwardKind {
    /// All of them.
    pub const ALL: [ForwardKind; 4] =
        [ForwardKind::Always, ForwardKind::Busy, ForwardKind::NoAnswer, ForwardKind::NotReachable];

    /// The word for it in JSON and in the store.
    pub const fn word(self) -> &'static str {
        match self {
            ForwardKind::Always => "always",
            ForwardKind::Busy => "busy",
            ForwardKind::NoAnswer => "no_answer",
            ForwardKind::NotReachable => "not_reachable",
        }
    }
}

/// What holds for a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// Where each call goes.
    pub always: Option<SmolStr>,
    /// Where calls go while he is busy.
    pub busy: Option<SmolStr>,
    /// Where calls go that nobody answers.
    pub no_answer: Option<SmolStr>,
    /// After what time; `None` is [`ForwardingSettings::no_answer_after`](crate::settings::ForwardingSettings).
    pub no_answer_after: Option<Duration>,
    /// Where calls go while he can't be reached.
    pub not_reachable: Option<SmolStr>,
    /// Do-not-disturb, and the status that says so: 480, 486 or 603.
    pub do_not_disturb: Option<Status>,
}

/// What a user chose for one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice<T> {
    /// Nothing: it is as the settings file has it.
    #[default]
    AsConfigured,
    /// Off, whatever the settings file has.
    Off,
    /// On, like this.
    On(T),
}

impl<T: Clone> Choice<T> {
    fn over(&self, base: Option<&T>) -> Option<T> {
        match self {
            Choice::AsConfigured => base.cloned(),
            Choice::Off => None,
            Choice::On(value) => Some(value.clone()),
        }
    }
}

/// What a user chose, by star code or command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Where each call goes.
    pub always: Choice<SmolStr>,
    /// Where calls go while he is busy.
    pub busy: Choice<SmolStr>,
    /// Where calls go that nobody answers.
    pub no_answer: Choice<SmolStr>,
    /// After what time.
    pub no_answer_after: Option<Duration>,
    /// Where calls go while he can't be reached.
    pub not_reachable: Choice<SmolStr>,
    /// Do-not-disturb.
    pub do_not_disturb: Choice<Status>,
}

/// One change of what a user chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Forwarding of one kind.
    Forward(ForwardKind, Choice<SmolStr>),
    /// The time without an answer.
    NoAnswerAfter(Option<Duration>),
    /// Do-not-disturb.
    DoNotDisturb(Choice<Status>),
}

impl Choices {
    /// Makes a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Forward(kind, choice) => *self.forward_mut(*kind) = choice.clone(),
            Change::NoAnswerAfter(after) => self.no_answer_after = *after,
            Change::DoNotDisturb(choice) => self.do_not_disturb = choice.clone(),
        }
    }

    /// What was chosen for one kind of forwarding.
    pub const fn forward(&self, kind: ForwardKind) -> &Choice<SmolStr> {
        match kind {
            ForwardKind::Always => &self.always,
            ForwardKind::Busy => &self.busy,
            ForwardKind::NoAnswer => &self.no_answer,
            ForwardKind::NotReachable => &self.not_reachable,
        }
    }

    const fn forward_mut(&mut self, kind: ForwardKind) -> &mut Choice<SmolStr> {
        match kind {
            ForwardKind::Always => &mut self.always,
            ForwardKind::Busy => &mut self.busy,
            ForwardKind::NoAnswer => &mut self.no_answer,
            ForwardKind::NotReachable => &mut self.not_reachable,
        }
    }

    /// Whether nothing was chosen.
    pub fn is_empty(&self) -> bool {
        *self == Choices::default()
    }

    /// What holds, over what the settings file has.
    pub fn over(&self, base: &Services) -> Services {
        Services {
            always: self.always.over(base.always.as_ref()),
            busy: self.busy.over(base.busy.as_ref()),
            no_answer: self.no_answer.over(base.no_answer.as_ref()),
            no_answer_after: self.no_answer_after.or(base.no_answer_after),
            not_reachable: self.not_reachable.over(base.not_reachable.as_ref()),
            do_not_disturb: self.do_not_disturb.over(base.do_not_disturb.as_ref()),
        }
    }
}

/// Why a call is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cause {
    /// Each call of his is.
    Unconditional,
    /// He is busy.
    Busy,
    /// He did not answer in time.
    NoAnswer,
    /// He has no phone registered.
    NotRegistered,
    /// His phones can't be reached.
    NotReachable,
    /// He wants not to be disturbed, which counts as this status.
    DoNotDisturb(Status),
}

impl Cause {
    /// The `cause` parameter of the new target (RFC 4458 §2.1, table; RFC 7044 takes it up).
    pub(crate) const fn code(self) -> u16 {
        match self {
            Cause::Unconditional => 302,
            Cause::Busy => 486,
            Cause::NoAnswer => 408,
            Cause::NotRegistered => 404,
            Cause::NotReachable => 503,
            Cause::DoNotDisturb(status) => status.code(),
        }
    }

    /// The reason of a Diversion header (RFC 5806 §4.1).
    pub(crate) const fn diversion(self) -> &'static str {
        match self {
            Cause::Unconditional => "unconditional",
            Cause::Busy => "user-busy",
            Cause::NoAnswer => "no-answer",
            Cause::NotRegistered | Cause::NotReachable => "unavailable",
            Cause::DoNotDisturb(_) => "do-not-disturb",
        }
    }
}

/// What is done when a call for a user begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AtCall {
    /// His phones ring, no longer than this if there is a time.
    Ring(Option<Duration>),
    /// It goes there.
    Forward(SmolStr, Cause),
    /// It is refused.
    Refuse(Status),
}

/// How the phones of a user took a call that they did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// None of them rings any more, and one of them was busy (486).
    Busy,
    /// They rang until the time was over, or until they gave up.
    NoAnswer,
    /// There is none.
    NotRegistered,
    /// None of them could be reached.
    NotReachable,
    /// Anything else: the caller hears it.
    Other,
}

impl Unanswered {
    /// Why a call goes on after it.
    pub(crate) const fn cause(self) -> Cause {
        match self {
            Unanswered::Busy => Cause::Busy,
            Unanswered::NoAnswer | Unanswered::Other => Cause::NoAnswer,
            Unanswered::NotRegistered => Cause::NotRegistered,
            Unanswered::NotReachable => Cause::NotReachable,
        }
    }
}

impl Services {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        let Services { always, busy, no_answer, no_answer_after: _, not_reachable, do_not_disturb } = self;
        always.is_none()
            && busy.is_none()
            && no_answer.is_none()
            && not_reachable.is_none()
            && do_not_disturb.is_none()
    }

    /// What is done when a call for the user begins. Who forwards each call is not disturbed by any of them.
    pub(crate) fn at_call(&self, no_answer_after: Duration) -> AtCall {
        if let Some(to) = &self.always {
            return AtCall::Forward(to.clone(), Cause::Unconditional);
        }
        if let Some(status) = self.do_not_disturb {
            let to = match status.code() {
                486 => &self.busy,
                480 => &self.not_reachable,
                _ => &None,
            };
            return match to {
                Some(to) => AtCall::Forward(to.clone(), Cause::DoNotDisturb(status)),
                None => AtCall::Refuse(status),
            };
        }
        AtCall::Ring(self.no_answer.is_some().then(|| self.no_answer_after.unwrap_or(no_answer_after)))
    }

    /// Where a call goes that the user's phones did not answer; `None` leaves it at that.
    pub(crate) fn after(&self, outcome: Unanswered) -> Option<(SmolStr, Cause)> {
        let to = match outcome {
            Unanswered::Busy => &self.busy,
            Unanswered::NoAnswer => &self.no_answer,
            Unanswered::NotRegistered | Unanswered::NotReachable => &self.not_reachable,
            Unanswered::Other => return None,
        };
        to.clone().map(|to| (to, outcome.cause()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(20);

    fn all() -> Services {
        let to = |text: &'static str| Some(SmolStr::new_static(text));
        Services {
            always: None,
            busy: to("b"),
            no_answer: to("n"),
            no_answer_after: None,
            not_reachable: to("r"),
            do_not_disturb: None,
        }
    }

    #[test]
    fn a_call_goes_by_what_is_set_and_how_the_phones_took_it() {
        let services = all();
        assert_eq!(services.at_call(AFTER), AtCall::Ring(Some(AFTER)));
        let own = Services { no_answer_after: Some(Duration::from_secs(7)), ..all() };
        assert_eq!(own.at_call(AFTER), AtCall::Ring(Some(Duration::from_secs(7))));
        assert_eq!(Services::default().at_call(AFTER), AtCall::Ring(None));
        let after = |outcome| services.after(outcome).map(|(to, cause)| (to.to_string(), cause.code()));
        let gives = |to: &str, code| Some((to.to_owned(), code));
        assert_eq!(after(Unanswered::Busy), gives("b", 486));
        assert_eq!(after(Unanswered::NoAnswer), gives("n", 408));
        assert_eq!(after(Unanswered::NotRegistered), gives("r", 404));
        assert_eq!(after(Unanswered::NotReachable), gives("r", 503));
        assert_eq!(after(Unanswered::Other), None);
        assert_eq!(Services::default().after(Unanswered::Busy), None);
    }

    #[test]
    fn always_goes_before_do_not_disturb_which_goes_before_the_phones() {
        let dnd = |code| Some(Status::of(code));
        let services = Services { do_not_disturb: dnd(603), ..all() };
        assert_eq!(services.at_call(AFTER), AtCall::Refuse(Status::of(603)));
        let services = Services { do_not_disturb: dnd(486), ..all() };
        assert_eq!(
            services.at_call(AFTER),
            AtCall::Forward("b".into(), Cause::DoNotDisturb(Status::of(486))),
            "who is busy by choice is busy"
        );
        let services = Services { do_not_disturb: dnd(480), ..all() };
        assert_eq!(
            services.at_call(AFTER),
            AtCall::Forward("r".into(), Cause::DoNotDisturb(Status::of(480)))
        );
        let services = Services { do_not_disturb: dnd(486), busy: None, ..all() };
        assert_eq!(services.at_call(AFTER), AtCall::Refuse(Status::of(486)));
        let services = Services { do_not_disturb: dnd(486), always: Some("a".into()), ..all() };
        assert_eq!(services.at_call(AFTER), AtCall::Forward("a".into(), Cause::Unconditional));
    }

    #[test]
    fn what_the_user_chose_goes_before_the_settings_file() {
        let mut choices = Choices::default();
        assert_eq!(choices.over(&all()), all());
        choices.apply(&Change::Forward(ForwardKind::Busy, Choice::Off));
        choices.apply(&Change::Forward(ForwardKind::Always, Choice::On("a".into())));
        choices.apply(&Change::NoAnswerAfter(Some(Duration::from_secs(9))));
        choices.apply(&Change::DoNotDisturb(Choice::On(Status::of(480))));
        let holds = Services {
            always: Some("a".into()),
            busy: None,
            no_answer_after: Some(Duration::from_secs(9)),
            do_not_disturb: Some(Status::of(480)),
            ..all()
        };
        assert_eq!(choices.over(&all()), holds);
        for kind in ForwardKind::ALL {
            choices.apply(&Change::Forward(kind, Choice::AsConfigured));
        }
        choices.apply(&Change::NoAnswerAfter(None));
        choices.apply(&Change::DoNotDisturb(Choice::AsConfigured));
        assert!(choices.is_empty());
    }
}
