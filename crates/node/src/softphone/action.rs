//! What can be done with a phone, as a line of text: the same words for scripts and for the keys of a screen.
//!
//! ```text
//! call bob                      # a line, its words parted by blanks; what follows ` # ` is for people
//! wait for answered within 5s
//! hangup
//! ```

use std::time::Duration;

use dialtone_roles::io::ChangeBy;
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;
use thiserror::Error;

use super::news::AWAITABLE;
use super::{SoftphoneError, parse_target};

/// The longest line, in bytes.
pub const LINE_LEN_MAX: usize = 4_096;
/// The keys that one line presses at most.
pub(super) const DIGITS_MAX: usize = 64;
/// How long an event is waited for where the line does not say it.
const WAIT: Duration = Duration::from_secs(30);
/// The longest wait that a line may ask for.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// One thing that a phone does when it is told to. Where no call is named it is the selected one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Register, and keep registered.
    Register,
    /// Take the registration away.
    Unregister,
    /// Call somebody; that call is selected.
    Call(UriBuf),
    /// Answer the call that rings here, and select it.
    Answer,
    /// Refuse the call that rings here.
    Decline(Status),
    /// End the call, whatever its state.
    Hangup,
    /// End all calls: so a three-way call is left.
    HangupAll,
    /// Make the call and another one a three-way call; without a number the last other call that talks.
    Join(Option<u64>),
    /// Send what there is to hear before the call that rings here is answered (183): early media.
    Progress,
    /// Put the call on hold.
    Hold(ChangeBy),
    /// Go on with a call on hold.
    Resume(ChangeBy),
    /// Add video to the call, or take it away.
    Video(bool, ChangeBy),
    /// See whether the far end is still there, and start the session timer anew: UPDATE without a description.
    Update,
    /// Have the far end call somebody else in our place: blind transfer.
    Transfer(UriBuf),
    /// Have the far end take our place in another call of ours: attended transfer.
    TransferTo(u64),
    /// Do the transfer that a far end asks for.
    Accept,
    /// Refuse the transfer that a far end asks for.
    Refuse,
    /// Press these keys of a telephone, one after the other: `0` to `9`, `*`, `#`, `A` to `D`.
    Dtmf(SmolStr),
    /// Send an INFO (RFC 6086).
    Info {
        /// The Info Package; `None` for a body that is understood without one.
        package: Option<SmolStr>,
        /// The media type of the body.
        content_type: SmolStr,
        /// The body.
        body: SmolStr,
    },
    /// Ask what somebody can do.
    Options(UriBuf),
    /// Select a call by its number.
    Select(u64),
    /// End all calls and the phone.
    Quit,
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Something to do.
    Act(Action),
    /// Nothing is done until this has happened.
    WaitFor {
        /// One of [`AWAITABLE`].
        event: &'static str,
        /// For how long it is waited.
        within: Duration,
    },
    /// Nothing is done for so long.
    Pause(Duration),
}

/// Why a line says nothing that can be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ActionError {
    /// Its first word is none of ours.
    #[error("{0:?} is no action: expected one of {actions}", actions = VERBS.join(", "))]
    Unknown(SmolStr),
    /// A word more or fewer, or another one.
    #[error("expected {expected:?}, found {found:?}")]
    Form {
        /// How the action is written.
        expected: &'static str,
        /// The line.
        found: SmolStr,
    },
    /// The status is none that refuses.
    #[error("{0:?} refuses no call: expected a status from 400 to 699")]
    Status(SmolStr),
    /// It is no time.
    #[error("{0:?} is no time: expected seconds up to a day, as in 5s or 0.5s")]
    Time(SmolStr),
    /// Nothing that can be waited for.
    #[error("{0:?} can't be waited for: expected one of {events}", events = AWAITABLE.join(", "))]
    Event(SmolStr),
    /// It is no number of a call.
    #[error("{0:?} is no call: expected its number, as in 2")]
    Number(SmolStr),
    /// A telephone has no such keys.
    #[error("{0:?} are no keys: expected 0 to 9, *, # and A to D, {DIGITS_MAX} at most")]
    Digits(SmolStr),
    /// It is no media type.
    #[error("{0:?} is no media type: expected something like application/dtmf-relay")]
    MediaType(SmolStr),
    /// It is nobody who can be called.
    #[error("{0}")]
    Target(SmolStr),
    /// The line is too long.
    #[error("a line has {LINE_LEN_MAX} bytes at most")]
    TooLong,
}

/// The first words of all lines.
const VERBS: &[&str] = &[
    "call",
    "progress",
    "answer",
    "decline",
    "hangup",
    "join",
    "hold",
    "resume",
    "video",
    "update",
    "transfer",
    "accept",
    "refuse",
    "dtmf",
    "info",
    "options",
    "register",
    "unregister",
    "select",
    "wait",
    "quit",
];

impl Step {
    /// Reads a line; `None` when it has nothing but a comment. A bare name is a user of `domain`.
    ///
    /// # Errors
    /// When it is no line of a script; they name what was expected.
    pub fn parse(line: &str, domain: Option<&str>) -> Result<Option<Step>, ActionError> {
        if line.len() > LINE_LEN_MAX {
            return Err(ActionError::TooLong);
        }
        let words: Vec<&str> = without_comment(line).split_whitespace().collect();
        let Some((verb, rest)) = words.split_first() else { return Ok(None) };
        let form = |expected| ActionError::Form { expected, found: SmolStr::new(words.join(" ")) };
        let act = |action| Ok(Some(Step::Act(action)));
        match (verb.to_ascii_lowercase().as_str(), rest) {
            ("call", [to]) => act(Action::Call(target(to, domain)?)),
            ("call", _) => Err(form("call URI")),
            ("answer", []) => act(Action::Answer),
            ("answer", _) => Err(form("answer")),
            ("decline", []) => act(Action::Decline(Status::of(486))),
            ("decline", [code]) => act(Action::Decline(refusal(code)?)),
            ("decline", _) => Err(form("decline [CODE]")),
            ("hangup", []) => act(Action::Hangup),
            ("hangup", ["all"]) => act(Action::HangupAll),
            ("hangup", _) => Err(form("hangup [all]")),
            ("join", []) => act(Action::Join(None)),
            ("join", [call]) => act(Action::Join(Some(number(call)?))),
            ("join", _) => Err(form("join [CALL]")),
            ("progress", []) => act(Action::Progress),
            ("progress", _) => Err(form("progress")),
            ("hold", []) => act(Action::Hold(ChangeBy::Invite)),
            ("hold", ["by", "update"]) => act(Action::Hold(ChangeBy::Update)),
            ("hold", _) => Err(form("hold [by update]")),
            ("resume", []) => act(Action::Resume(ChangeBy::Invite)),
            ("resume", ["by", "update"]) => act(Action::Resume(ChangeBy::Update)),
            ("resume", _) => Err(form("resume [by update]")),
            ("video", []) => act(Action::Video(true, ChangeBy::Invite)),
            ("video", ["by", "update"]) => act(Action::Video(true, ChangeBy::Update)),
            ("video", ["off"]) => act(Action::Video(false, ChangeBy::Invite)),
            ("video", ["off", "by", "update"]) => act(Action::Video(false, ChangeBy::Update)),
            ("video", _) => Err(form("video [off] [by update]")),
            ("update", []) => act(Action::Update),
            ("update", _) => Err(form("update")),
            ("transfer", ["to", call]) => act(Action::TransferTo(number(call)?)),
            ("transfer", [to]) => act(Action::Transfer(target(to, domain)?)),
            ("transfer", _) => Err(form("transfer URI, or transfer to CALL")),
            ("accept", []) => act(Action::Accept),
            ("accept", _) => Err(form("accept")),
            ("refuse", []) => act(Action::Refuse),
            ("refuse", _) => Err(form("refuse")),
            ("dtmf", [keys]) => act(Action::Dtmf(digits(keys)?)),
            ("dtmf", _) => Err(form("dtmf KEYS")),
            ("info", ["package", package, content_type, body @ ..]) => {
                act(info(Some(package), content_type, body)?)
            }
            ("info", [content_type, body @ ..]) => act(info(None, content_type, body)?),
            ("info", _) => Err(form("info [package NAME] TYPE [TEXT]")),
            ("options", [to]) => act(Action::Options(target(to, domain)?)),
            ("options", _) => Err(form("options URI")),
            ("register", []) => act(Action::Register),
            ("register", _) => Err(form("register")),
            ("unregister", []) => act(Action::Unregister),
            ("unregister", _) => Err(form("unregister")),
            ("select", [call]) => act(Action::Select(number(call)?)),
            ("select", _) => Err(form("select CALL")),
            ("quit", []) => act(Action::Quit),
            ("quit", _) => Err(form("quit")),
            ("wait", ["for", event]) => Ok(Some(wait_for(event, WAIT)?)),
            ("wait", ["for", event, "within", within]) => Ok(Some(wait_for(event, time(within)?)?)),
            ("wait", ["for", ..]) => Err(form("wait for EVENT [within TIME]")),
            ("wait", [length]) => Ok(Some(Step::Pause(time(length)?))),
            ("wait", _) => Err(form("wait TIME, or wait for EVENT [within TIME]")),
            _ => Err(ActionError::Unknown(SmolStr::new(verb))),
        }
    }
}

/// What stands before a comment: a `#` at the beginning of the line, or between blanks. Any other may be a part of a URI, or
/// a key of a telephone.
fn without_comment(line: &str) -> &str {
    let is_comment = |at: usize| {
        let (before, after) = (&line[..at], &line[at + 1..]);
        let is_parted = before.ends_with(char::is_whitespace) && after.starts_with(char::is_whitespace);
        before.trim().is_empty() || is_parted
    };
    let at = line.match_indices('#').map(|(at, _)| at).find(|at| is_comment(*at));
    at.map_or(line, |at| &line[..at])
}

fn target(text: &str, domain: Option<&str>) -> Result<UriBuf, ActionError> {
    parse_target(text, domain)
        .map_err(|error: SoftphoneError| ActionError::Target(SmolStr::new(error.to_string())))
}

fn refusal(text: &str) -> Result<Status, ActionError> {
    let status = text.parse().ok().and_then(Status::new).filter(|status| status.class() >= 4);
    status.ok_or_else(|| ActionError::Status(text.into()))
}

fn number(text: &str) -> Result<u64, ActionError> {
    text.parse().map_err(|_| ActionError::Number(text.into()))
}

fn digits(text: &str) -> Result<SmolStr, ActionError> {
    let is_key = |c: char| matches!(c, '0'..='9' | '*' | '#' | 'A'..='D');
    let keys = text.to_ascii_uppercase();
    let is_well = keys.len() <= DIGITS_MAX && keys.chars().all(is_key);
    if is_well { Ok(keys.into()) } else { Err(ActionError::Digits(text.into())) }
}

/// The words of the body are parted by one space each, and `\n` ends a line of it.
fn info(package: Option<&str>, content_type: &str, body: &[&str]) -> Result<Action, ActionError> {
    let (kind, subtype) = content_type.split_once('/').unwrap_or_default();
    if kind.is_empty() || subtype.is_empty() {
        return Err(ActionError::MediaType(content_type.into()));
    }
    let body = SmolStr::new(body.join(" ").replace("\\n", "\r\n"));
    Ok(Action::Info { package: package.map(SmolStr::new), content_type: content_type.into(), body })
}

/// Seconds, with or without their unit.
fn time(text: &str) -> Result<Duration, ActionError> {
    let seconds: Option<f64> = text.strip_suffix('s').unwrap_or(text).parse().ok();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= WAIT_MAX).ok_or_else(|| ActionError::Time(text.into()))
}

fn wait_for(event: &str, within: Duration) -> Result<Step, ActionError> {
    let found = AWAITABLE.iter().find(|known| known.eq_ignore_ascii_case(event));
    let event = found.ok_or_else(|| ActionError::Event(event.into()))?;
    Ok(Step::WaitFor { event, within })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Step>, ActionError> {
        Step::parse(line, Some("office.test"))
    }

    fn uri(text: &str) -> UriBuf {
        UriBuf::parse(text).expect("a URI")
    }

    #[test]
    fn each_action_has_its_line() {
        for (line, action) in [
            ("call bob", Action::Call(uri("sip:bob@office.test"))),
            ("CALL sip:bob@10.9.0.1:5070 # by address", Action::Call(uri("sip:bob@10.9.0.1:5070"))),
            ("answer", Action::Answer),
            ("decline", Action::Decline(Status::of(486))),
            ("decline 603", Action::Decline(Status::of(603))),
            ("\thangup  ", Action::Hangup),
            ("progress", Action::Progress),
            ("hold", Action::Hold(ChangeBy::Invite)),
            ("resume", Action::Resume(ChangeBy::Invite)),
            ("hold by update", Action::Hold(ChangeBy::Update)),
            ("resume by update", Action::Resume(ChangeBy::Update)),
            ("video", Action::Video(true, ChangeBy::Invite)),
            ("video by update", Action::Video(true, ChangeBy::Update)),
            ("video off", Action::Video(false, ChangeBy::Invite)),
            ("video off by update", Action::Video(false, ChangeBy::Update)),
            ("update", Action::Update),
            ("transfer carol", Action::Transfer(uri("sip:carol@office.test"))),
            ("transfer to 2", Action::TransferTo(2)),
            ("join", Action::Join(None)),
            ("join 2", Action::Join(Some(2))),
            ("hangup all", Action::HangupAll),
            ("accept", Action::Accept),
            ("refuse", Action::Refuse),
            ("dtmf 12*#d", Action::Dtmf("12*#D".into())),
            (
                "info application/dtmf-relay Signal=5\\nDuration=160",
                Action::Info {
                    package: None,
                    content_type: "application/dtmf-relay".into(),
                    body: "Signal=5\r\nDuration=160".into(),
                },
            ),
            (
                "info package nr text/plain a  b",
                Action::Info {
                    package: Some("nr".into()),
                    content_type: "text/plain".into(),
                    body: "a b".into(),
                },
            ),
            ("options carol", Action::Options(uri("sip:carol@office.test"))),
            ("register", Action::Register),
            ("unregister", Action::Unregister),
            ("select 2", Action::Select(2)),
            ("quit", Action::Quit),
        ] {
            assert_eq!(parse(line), Ok(Some(Step::Act(action))), "{line}");
        }
    }

    #[test]
    fn waits_are_for_events_or_for_a_time() {
        let waits = |event, millis| Step::WaitFor { event, within: Duration::from_millis(millis) };
        for (line, step) in [
            ("wait for answered", waits("answered", 30_000)),
            ("wait for Ended within 5s", waits("ended", 5_000)),
            ("wait for held within 0.5", waits("held", 500)),
            ("wait 2s", Step::Pause(Duration::from_secs(2))),
        ] {
            assert_eq!(parse(line), Ok(Some(step)), "{line}");
        }
    }

    #[test]
    fn comments_and_empty_lines_do_nothing_and_a_hash_in_or_as_a_word_is_no_comment() {
        for line in ["", "   ", "# call bob", "  # x", "#", "#x"] {
            assert_eq!(parse(line), Ok(None), "{line}");
        }
        let step = parse("call *21#");
        assert_eq!(step, Ok(Some(Step::Act(Action::Call(uri("sip:*21%23@office.test"))))));
        for (line, keys) in [("dtmf #", "#"), ("dtmf #1 # x", "#1")] {
            assert_eq!(parse(line), Ok(Some(Step::Act(Action::Dtmf(keys.into())))), "{line}");
        }
    }

    #[test]
    fn a_bad_line_says_what_was_expected() {
        for (line, words) in [
            ("hodl", "\"hodl\" is no action: expected one of call, progress, answer"),
            ("call", "expected \"call URI\", found \"call\""),
            ("call bob carol", "expected \"call URI\", found \"call bob carol\""),
            ("call sip:", "\"sip:\" is no SIP URI"),
            ("decline 200", "\"200\" refuses no call: expected a status from 400 to 699"),
            ("transfer to bob", "\"bob\" is no call: expected its number"),
            ("dtmf 12x", "\"12x\" are no keys: expected 0 to 9"),
            ("info text", "\"text\" is no media type"),
            ("select two", "\"two\" is no call: expected its number"),
            ("wait for godot", "\"godot\" can't be waited for: expected one of registered"),
            ("wait for ended soon", "expected \"wait for EVENT [within TIME]\""),
            ("wait long", "\"long\" is no time"),
            ("wait -1s", "\"-1s\" is no time"),
            ("wait 1e9s", "\"1e9s\" is no time"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.starts_with(words), "{line}: {error}");
        }
        assert_eq!(parse(&"#".repeat(LINE_LEN_MAX + 1)), Err(ActionError::TooLong));
    }

    #[test]
    fn every_verb_is_known_and_no_line_makes_the_reader_panic() {
        for verb in VERBS {
            assert!(!matches!(parse(verb), Err(ActionError::Unknown(_))), "{verb}");
            assert!(
                !matches!(parse(&format!("{verb} \u{2028}x #ä#")), Err(ActionError::Unknown(_))),
                "{verb}"
            );
        }
    }
}
