//! Star codes: what a user dials to change his own services, `*72201` say, or to park and fetch calls, `*51`.

use std::time::Duration;

use smol_str::SmolStr;

use crate::services::{Change, Choice, ForwardKind, NO_ANSWER_AFTER, TARGET_BYTES};
use crate::settings::{Domain, Mode, Settings, StarAction, StarCodes};

/// Digits of a slot at most.
const SLOT_DIGITS: usize = 4;

/// A code for calls: it counts in calls of which the server is both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallCode<'a> {
    /// A slot: who transfers a call there parks it, who calls it takes it.
    Slot(&'a str),
    /// The call that rings at an extension is taken.
    PickUp(&'a str),
}

/// A code by which a user changes what is done with his calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceCode<'a> {
    /// It does this.
    Changes {
        /// What.
        action: StarAction,
        /// The number that stands behind it, for what forwards calls.
        number: &'a str,
    },
    /// It is used wrongly, with words for the user.
    Wrong(&'static str),
}

/// What was dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialled {
    /// A code that is right as far as can be seen; calls would be forwarded to this target.
    Changes { changes: Vec<Change>, target: Option<SmolStr> },
    /// A code that is used wrongly, with words for the user.
    Wrong(&'static str),
}

/// Reads what was dialled; `None` when it is no star code. The longest code that it begins with counts. Behind a code
/// that forwards stands the number, and behind that of "no answer" may stand `*` and a number of seconds.
pub(crate) fn read(codes: &StarCodes, dialled: &str) -> Option<Dialled> {
    // Told of nearly every call by its first letter.
    if !dialled.starts_with(['*', '#']) {
        return None;
    }
    let (action, rest) = longest(codes, dialled)?;
    // What concerns calls is no change of services.
    (!matches!(action, StarAction::Park | StarAction::PickUp)).then(|| read_action(codes, action, rest))
}

/// Reads a number that is a code for calls.
pub fn of_calls<'a>(codes: &StarCodes, dialled: &'a str) -> Option<CallCode<'a>> {
    if !dialled.starts_with(['*', '#']) {
        return None;
    }
    let (action, rest) = longest(codes, dialled)?;
    match action {
        StarAction::Park => {
            let is_slot =
                (1..=SLOT_DIGITS).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit());
            is_slot.then_some(CallCode::Slot(rest))
        }
        StarAction::PickUp => is_number(rest).then_some(CallCode::PickUp(rest)),
        StarAction::Forward(_) | StarAction::Stop(_) | StarAction::DoNotDisturb | StarAction::Disturb => None,
    }
}

/// What a star code changes that is dialled in a domain: the same that the server does for it.
pub fn of_services<'a>(settings: &Settings, domain: &Domain, dialled: &'a str) -> Option<ServiceCode<'a>> {
    if !is_taken(settings, domain, dialled) {
        return None;
    }
    Some(match read(&settings.star_codes, dialled)? {
        Dialled::Wrong(why) => ServiceCode::Wrong(why),
        Dialled::Changes { .. } => {
            let (action, rest) = longest(&settings.star_codes, dialled)?;
            ServiceCode::Changes { action, number: rest.split('*').next().unwrap_or_default() }
        }
    })
}

/// Whether a number is a code by which a user changes his services, in this domain.
pub(crate) fn is_taken(settings: &Settings, domain: &Domain, dialled: &str) -> bool {
    domain.next_hops.is_empty()
        && !matches!(domain.mode, Mode::Stateless | Mode::Redirect)
        && read(&settings.star_codes, dialled).is_some()
}

/// The longest code that a number begins with, and what stands behind it.
fn longest<'a>(codes: &StarCodes, dialled: &'a str) -> Option<(StarAction, &'a str)> {
    let fits = |(code, _): &&(SmolStr, StarAction)| dialled.starts_with(code.as_str());
    let (code, action) = codes.codes.iter().filter(fits).max_by_key(|(code, _)| code.len())?;
    Some((*action, &dialled[code.len()..]))
}

fn read_action(codes: &StarCodes, action: StarAction, rest: &str) -> Dialled {
    let one = |change| match rest {
        "" => Dialled::Changes { changes: vec![change], target: None },
        _ => Dialled::Wrong("Nothing is dialled behind this code"),
    };
    match action {
        StarAction::Forward(kind) => forward(kind, rest),
        StarAction::Stop(kind) => one(Change::Forward(kind, Choice::Off)),
        StarAction::DoNotDisturb => one(Change::DoNotDisturb(Choice::On(codes.do_not_disturb))),
        StarAction::Disturb => one(Change::DoNotDisturb(Choice::Off)),
        StarAction::Park | StarAction::PickUp => Dialled::Wrong("This code changes nothing"),
    }
}

fn forward(kind: ForwardKind, rest: &str) -> Dialled {
    let (number, seconds) = match rest.split_once('*') {
        Some((number, seconds)) if kind == ForwardKind::NoAnswer => (number, Some(seconds)),
        _ => (rest, None),
    };
    if number.is_empty() {
        return Dialled::Wrong("Dial the number to forward to behind the code");
    }
    if !is_number(number) {
        return Dialled::Wrong("That is no number to forward to");
    }
    let number = SmolStr::new(number);
    let mut changes = vec![Change::Forward(kind, Choice::On(number.clone()))];
    if let Some(seconds) = seconds {
        let after = seconds.parse().ok().map(Duration::from_secs);
        match after.filter(|after| NO_ANSWER_AFTER.contains(after)) {
            Some(after) => changes.push(Change::NoAnswerAfter(Some(after))),
            None => return Dialled::Wrong("The time without an answer is 1 to 180 seconds"),
        }
    }
    Dialled::Changes { changes, target: Some(number) }
}

/// Whether something can be dialled: the user part of an address, not another code.
pub(crate) fn is_number(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~'()&=+$,".contains(&byte);
    !text.is_empty() && text.len() <= TARGET_BYTES && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialtone_wire::Status;

    fn check(dialled: &str, expected: &str) {
        let read = match read(&StarCodes::default(), dialled) {
            None => "-".to_owned(),
            Some(Dialled::Wrong(why)) => why.to_owned(),
            Some(Dialled::Changes { changes, target }) => format!("{changes:?} {target:?}"),
        };
        assert_eq!(read, expected, "{dialled}");
    }

    #[test]
    fn codes_are_read_with_the_number_behind_them() {
        check("201", "-");
        check("", "-");
        check("*1", "-");
        check("*72201", r#"[Forward(Always, On("201"))] Some("201")"#);
        check("*72+4930123", r#"[Forward(Always, On("+4930123"))] Some("+4930123")"#);
        check("*90bob", r#"[Forward(Busy, On("bob"))] Some("bob")"#);
        check("*92201*30", r#"[Forward(NoAnswer, On("201")), NoAnswerAfter(Some(30s))] Some("201")"#);
        check("*94201", r#"[Forward(NotReachable, On("201"))] Some("201")"#);
        check("*73", "[Forward(Always, Off)] None");
        check("*79", "[DoNotDisturb(Off)] None");
        let on = format!("[DoNotDisturb(On({:?}))] None", Status::of(486));
        check("*78", &on);
    }

    #[test]
    fn codes_that_are_used_wrongly_get_words() {
        check("*72", "Dial the number to forward to behind the code");
        check("*92*30", "Dial the number to forward to behind the code");
        check("*72*73", "That is no number to forward to");
        check("*72a b", "That is no number to forward to");
        check(&format!("*72{}", "1".repeat(129)), "That is no number to forward to");
        check("*731", "Nothing is dialled behind this code");
        for seconds in ["", "0", "181", "x", "99999999999999999999"] {
            check(&format!("*92201*{seconds}"), "The time without an answer is 1 to 180 seconds");
        }
    }

    #[test]
    fn the_longest_code_counts() {
        let codes = StarCodes {
            codes: vec![
                ("*7".into(), StarAction::Forward(ForwardKind::Always)),
                ("*78".into(), StarAction::DoNotDisturb),
            ],
            ..StarCodes::default()
        };
        assert!(matches!(read(&codes, "*78"), Some(Dialled::Changes { target: None, .. })));
        assert!(matches!(read(&codes, "*71"), Some(Dialled::Changes { target: Some(_), .. })));
    }
}
