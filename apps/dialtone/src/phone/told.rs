//! What a phone tells, as lines for people and as JSON objects for programs (docs/manual/phone.md).

use dialtone_node::softphone::{News, ended_words};
use dialtone_node::{EndReason, Status, TransferOutcome};
use serde_json::{Value, json};

use crate::softphone::{self, audio_json, audio_text};

/// One object with `schema`, `event`, and the fields of the event.
pub(super) fn json(news: &News) -> Value {
    let mut object = match news {
        News::Ready(address) => json!({"address": address.to_string()}),
        News::Registered(seconds) => json!({"expires_s": seconds}),
        News::ClockDiffers(seconds) => json!({"server_ahead_s": seconds}),
        News::RegistrationFailed { status, wrong_password } => json!({
            "status": status.map(|status| status.code()),
            "wrong_password": wrong_password,
        }),
        News::Calling { to, .. } | News::Redirected { to, .. } => json!({"to": to.as_str()}),
        News::ErrorInfo { status, uri, .. } => json!({"status": status.code(), "uri": uri.as_str()}),
        News::Incoming { from, .. } => json!({"from": from.as_str()}),
        News::Ringing { status, .. } => json!({"status": status.code()}),
        News::Queued { words, .. } => json!({"status": 182, "queue": words.as_str()}),
        News::TransferAsked { to, replaces, referred_by, .. } => json!({
            "to": to.as_str(),
            "replaces": replaces,
            "referred_by": referred_by.as_ref().map(|uri| uri.as_str()),
        }),
        News::TransferBegun { new, to, .. } => json!({"new_call": new, "to": to.as_str()}),
        News::TransferProgress { status, .. } => json!({"status": status.code()}),
        News::TransferFailed { outcome, .. } | News::NoMusic { outcome, .. } => {
            let (reason, status) = failed_transfer(*outcome);
            json!({"reason": reason, "status": status.map(|status| status.code())})
        }
        News::NotBack { reason, is_gone, .. } => json!({
            "reason": ended_words(*reason).0,
            "status": status_of(*reason).map(|status| status.code()),
            "gone": is_gone,
        }),
        News::Replaced { by, .. } => json!({"new_call": by}),
        News::JoinAsked { joins, .. } => json!({"joins": joins}),
        News::Dtmf { digit, duration_ms, .. } => {
            json!({"digit": digit.to_string(), "duration_ms": duration_ms})
        }
        News::Info { package, content_type, body, .. } => {
            json!({"package": package.as_str(), "content_type": content_type.as_str(), "body": body})
        }
        News::InfoAnswered { status, .. }
        | News::ChangeRefused { status, .. }
        | News::RefreshFailed { status, .. } => json!({"status": status.map(|status| status.code())}),
        News::PasswordKept { realm } => json!({"realm": realm.as_str()}),
        News::Options { to, status } => {
            json!({"to": to.as_str(), "status": status.map(|status| status.code())})
        }
        News::Ended { reason, audio, recording, .. } => json!({
            "reason": ended_words(*reason).0,
            "audio": audio.as_deref().map(audio_json),
            "recording": recording.as_ref().and_then(|path| path.as_ref().ok()),
            "recording_error": recording.as_ref().and_then(|path| path.as_ref().err()).map(ToString::to_string),
        }),
        // News may grow; what has no more to say has its word.
        _ => json!({}),
    };
    object["schema"] = json!(1);
    object["event"] = json!(news.word());
    if let Some(call) = news.call() {
        object["call"] = json!(call);
    }
    object
}

/// A line, or some where a call has ended.
pub(super) fn text(news: &News) -> String {
    let words = words(news);
    match news.call() {
        Some(call) => format!("call {call}: {words}"),
        None => words,
    }
}

fn words(news: &News) -> String {
    match news {
        News::Ready(address) => format!("dialtone phone at {address}; Ctrl-C ends it"),
        News::Registered(seconds) => format!("registered for {seconds} s"),
        News::ClockDiffers(seconds) => {
            let way = if *seconds > 0 { "ahead of" } else { "behind" };
            format!("the server's clock is {} s {way} the clock here", seconds.unsigned_abs())
        }
        News::RegistrationFailed { wrong_password: true, .. } => {
            "not registered: the password was refused".to_owned()
        }
        News::RegistrationFailed { status: Some(status), .. } => {
            format!("not registered: the server says {} {}; trying again", status.code(), status.reason())
        }
        News::RegistrationFailed { status: None, .. } => {
            "not registered: nobody answers; trying again".to_owned()
        }
        News::Unregistered => "not registered any more".to_owned(),
        News::Calling { to, .. } => format!("calling {to}"),
        News::Incoming { from, .. } => format!("{from} calls"),
        News::Ringing { status, .. } if status.code() == 180 => "it rings".to_owned(),
        News::Ringing { status, .. } => format!("on its way: {} {}", status.code(), status.reason()),
        News::Queued { words, .. } if words.is_empty() => "waits in a queue".to_owned(),
        News::Queued { words, .. } => format!("waits in a queue: {words}"),
        News::EarlyMedia { .. } => "the far end is heard before it answers".to_owned(),
        News::Redirected { to, .. } => format!("sent elsewhere: {to}"),
        News::ErrorInfo { status, uri, .. } => {
            format!("refused with {}; who wants to hear why calls {uri}", status.code())
        }
        News::Answered { .. } => "talking".to_owned(),
        News::Held { .. } => "on hold".to_owned(),
        News::Resumed { .. } => "not on hold any more".to_owned(),
        News::HeldByPeer { .. } => "the far end holds it".to_owned(),
        News::ResumedByPeer { .. } => "the far end does not hold it any more".to_owned(),
        News::SessionChanged { .. } => "its session was changed".to_owned(),
        News::Video { .. } => "has video, which is received and not shown".to_owned(),
        News::VideoEnded { .. } => "has no video any more".to_owned(),
        News::VideoRefused { .. } => "goes on without video: the far end takes none".to_owned(),
        News::Refreshed { .. } => "the far end is still there".to_owned(),
        News::RefreshedByPeer { .. } => "the far end says that it is still there".to_owned(),
        News::ChangeRefused { status, .. } => format!("stays as it is: {}", refused(*status)),
        News::RefreshFailed { status, .. } => format!("not refreshed: {}", refused(*status)),
        News::TransferAsked { to, replaces, referred_by, .. } => {
            let who = referred_by.as_ref().map_or("the far end", |uri| uri.as_str());
            let what = if *replaces { "take a place in a call of" } else { "call" };
            format!("{who} asks to {what} {to}: accept or refuse?")
        }
        News::TransferBegun { new, to, .. } => format!("goes on as call {new}, to {to}"),
        News::TransferProgress { status, .. } => {
            format!("its transfer goes on: {} {}", status.code(), status.reason())
        }
        News::Transferred { .. } => "transferred".to_owned(),
        News::TransferFailed { outcome, .. } => format!("not transferred: {}", failed_words(*outcome)),
        News::Music { .. } => "hears music".to_owned(),
        News::NoMusic { outcome, .. } => format!("is held without music: {}", failed_words(*outcome)),
        News::NotBack { is_gone: true, reason, .. } => {
            format!("the far end has hung up while it heard music{}", in_brackets(status_of(*reason)))
        }
        News::NotBack { reason, .. } => {
            let (words, status) = (ended_words(*reason).1, in_brackets(status_of(*reason)));
            format!("not taken back, and still hears music: {words}{status}")
        }
        News::Replaced { by, .. } => format!("goes on as call {by}"),
        News::JoinAsked { joins, .. } => format!("asks to join call {joins}"),
        News::Joined { .. } => "is part of a three-way call".to_owned(),
        News::NotJoined { .. } => "is part of no three-way call".to_owned(),
        News::Dtmf { digit, .. } => format!("the far end pressed {digit}"),
        News::Info { package, content_type, body, .. } => {
            format!("INFO of package {package}, {content_type}: {body}")
        }
        News::InfoAnswered { status: Some(status), .. } if status.is_success() => "sent and taken".to_owned(),
        News::InfoAnswered { status: Some(status), .. } => {
            format!("sent, and not taken: {} {}", status.code(), status.reason())
        }
        News::PasswordKept { realm } => softphone::password_kept(realm),
        News::InfoAnswered { status: None, .. } => "not sent, or nobody answered".to_owned(),
        News::Options { to, status: Some(status) } => {
            format!("{to} answers OPTIONS with {} {}", status.code(), status.reason())
        }
        News::Options { to, status: None } => format!("{to} does not answer OPTIONS"),
        News::Ended { reason, audio, recording, .. } => {
            let mut out = format!("over, {}", ended_words(*reason).1);
            if let Some(audio) = audio {
                out.push('\n');
                out.push_str(audio_text(audio).trim_end());
            }
            match recording {
                Some(Ok(path)) => out.push_str(&format!("\n  recorded in {}", path.display())),
                Some(Err(error)) => out.push_str(&format!("\n  not recorded: {error}")),
                None => {}
            }
            out
        }
        // News may grow.
        news => news.word().to_owned(),
    }
}

/// Why a request of ours in a call came to nothing.
fn refused(status: Option<Status>) -> String {
    match status {
        Some(status) => format!("the far end says {} {}", status.code(), status.reason()),
        None => "nothing could be sent".to_owned(),
    }
}

/// Why a transfer has failed, in words.
fn failed_words(outcome: TransferOutcome) -> String {
    let (reason, status) = failed_transfer(outcome);
    format!("{}{}", reason.replace('-', " "), in_brackets(status))
}

fn in_brackets(status: Option<Status>) -> String {
    status.map(|status| format!(" ({} {})", status.code(), status.reason())).unwrap_or_default()
}

fn status_of(reason: EndReason) -> Option<Status> {
    match reason {
        EndReason::Refused(status) => Some(status),
        _ => None,
    }
}

/// Why a transfer has failed, as a word, and the status that says so.
fn failed_transfer(outcome: TransferOutcome) -> (&'static str, Option<Status>) {
    match outcome {
        TransferOutcome::Failed(status) => ("call-failed", Some(status)),
        TransferOutcome::Refused(status) => ("refused", Some(status)),
        TransferOutcome::NotPossible => ("not-possible", None),
        _ => ("unknown", None),
    }
}
