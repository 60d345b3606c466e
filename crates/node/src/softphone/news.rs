//! What a phone tells its owner: the events of scripts and of screens.

use std::net::SocketAddr;
use std::path::PathBuf;

use dialtone_roles::io::{EndReason, TransferOutcome};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use super::sound::SoundError;
use super::verdict::{Verdict, end_word, end_words};
use crate::media::MediaReport;

/// What scripts can wait for. The words are those of [`News::word`], and part of the interface.
pub const AWAITABLE: &[&str] = &[
    "registered",
    "registration-failed",
    "unregistered",
    "incoming",
    "ringing",
    "queued",
    "early-media",
    "redirected",
    "answered",
    "held",
    "resumed",
    "held-by-peer",
    "resumed-by-peer",
    "session-changed",
    "video",
    "video-ended",
    "video-refused",
    "refreshed",
    "refreshed-by-peer",
    "change-refused",
    "refresh-failed",
    "transfer-asked",
    "transfer-begun",
    "transfer-progress",
    "transferred",
    "transfer-failed",
    "music",
    "no-music",
    "not-back",
    "replaced",
    "join-asked",
    "joined",
    "not-joined",
    "dtmf",
    "info",
    "info-answered",
    "password-kept",
    "options",
    "ended",
];

/// What happened. Calls are numbered from 1.
#[derive(Debug)]
#[non_exhaustive]
pub enum News {
    /// It runs, and listens here.
    Ready(SocketAddr),
    /// Its registration stands for so many seconds.
    Registered(u32),
    /// The server's clock is ahead of ours by so many seconds, or behind where that is negative.
    ClockDiffers(i64),
    /// Its registration was refused, or nobody answered; unless the password is wrong it is tried again.
    RegistrationFailed {
        /// The status; `None` when nobody answered.
        status: Option<Status>,
        /// Whether the password is wrong.
        wrong_password: bool,
    },
    /// Its registration was taken away.
    Unregistered,
    /// It calls.
    Calling {
        /// The call.
        number: u64,
        /// Whom.
        to: UriBuf,
    },
    /// Somebody calls.
    Incoming {
        /// The call.
        number: u64,
        /// Who.
        from: UriBuf,
    },
    /// It rings at the far end, or the call makes progress without sound.
    Ringing {
        /// The call.
        number: u64,
        /// 180, or another provisional status.
        status: Status,
    },
    /// The call waits in a queue (182), or its place there has changed.
    Queued {
        /// The call.
        number: u64,
        /// What is said of that, in the words of the far end: "Queued, position 2"; empty where nothing is.
        words: SmolStr,
    },
    /// The far end is heard before it answers.
    EarlyMedia {
        /// The call.
        number: u64,
    },
    /// The call was sent elsewhere and goes there.
    Redirected {
        /// The call.
        number: u64,
        /// Where to.
        to: UriBuf,
    },
    /// The call was refused, and this may be called to hear why (Error-Info).
    ErrorInfo {
        /// The call.
        number: u64,
        /// The status.
        status: Status,
        /// What may be called.
        uri: UriBuf,
    },
    /// The two talk.
    Answered {
        /// The call.
        number: u64,
    },
    /// We hold the call.
    Held {
        /// The call.
        number: u64,
    },
    /// We hold it no more.
    Resumed {
        /// The call.
        number: u64,
    },
    /// The far end holds the call.
    HeldByPeer {
        /// The call.
        number: u64,
    },
    /// The far end holds it no more.
    ResumedByPeer {
        /// The call.
        number: u64,
    },
    /// The session was changed; who is held by that is told next.
    SessionChanged {
        /// The call.
        number: u64,
    },
    /// There is video in the call.
    Video {
        /// The call.
        number: u64,
    },
    /// There is none any more.
    VideoEnded {
        /// The call.
        number: u64,
    },
    /// The far end goes on without the video that we have asked for.
    VideoRefused {
        /// The call.
        number: u64,
    },
    /// The far end is still there: it took an `update`, or the session timer was started anew.
    Refreshed {
        /// The call.
        number: u64,
    },
    /// The far end says that it is still there.
    RefreshedByPeer {
        /// The call.
        number: u64,
    },
    /// The far end has refused a change of the session: it stays as it was.
    ChangeRefused {
        /// The call.
        number: u64,
        /// The status; `None` when nothing could be sent.
        status: Option<Status>,
    },
    /// The far end did not take an `update`.
    RefreshFailed {
        /// The call.
        number: u64,
        /// The status; `None` when nothing could be sent.
        status: Option<Status>,
    },
    /// A far end asks us to call somebody: `accept` or `refuse` answers it.
    TransferAsked {
        /// The call in which it is asked for, if it is in one.
        number: Option<u64>,
        /// Whom.
        to: UriBuf,
        /// Whether that takes the place of a call that he has.
        replaces: bool,
        /// Who asks, as he says himself.
        referred_by: Option<UriBuf>,
    },
    /// The call that a far end asked for begins.
    TransferBegun {
        /// The call in which it was asked for, if it was in one.
        number: Option<u64>,
        /// The new call.
        new: u64,
        /// Whom.
        to: UriBuf,
    },
    /// The far end tells how its call goes, which we asked for.
    TransferProgress {
        /// The call that is given away.
        number: u64,
        /// The provisional status.
        status: Status,
    },
    /// The far end talks to whom we sent it to.
    Transferred {
        /// The call that was given away.
        number: u64,
    },
    /// The far end does not.
    TransferFailed {
        /// The call that was to be given away.
        number: u64,
        /// Why.
        outcome: TransferOutcome,
    },
    /// The far end, which we hold, hears the music server.
    Music {
        /// The call.
        number: u64,
    },
    /// It does not, and is held without music.
    NoMusic {
        /// The call.
        number: u64,
        /// Why.
        outcome: TransferOutcome,
    },
    /// The far end could not be taken back from the music server.
    NotBack {
        /// The call.
        number: u64,
        /// Why.
        reason: EndReason,
        /// Whether it has hung up while it heard music; else it is still there.
        is_gone: bool,
    },
    /// Another call has taken the place of this one, which ends.
    Replaced {
        /// The call.
        number: u64,
        /// The new one.
        by: u64,
    },
    /// The caller who rings here asks to be let into a call of ours: `answer` does that.
    JoinAsked {
        /// His call.
        number: u64,
        /// The call that he wants to join.
        joins: u64,
    },
    /// The call is part of a three-way call.
    Joined {
        /// The call.
        number: u64,
    },
    /// It is not.
    NotJoined {
        /// The call.
        number: u64,
    },
    /// A key was pressed at the far end.
    Dtmf {
        /// The call.
        number: u64,
        /// `0` to `9`, `*`, `#`, `A` to `D`, or `!` for a hook flash.
        digit: char,
        /// For how long, where that is told.
        duration_ms: Option<u32>,
    },
    /// An INFO with an Info Package came.
    Info {
        /// The call.
        number: u64,
        /// The package.
        package: SmolStr,
        /// The media type of the body.
        content_type: SmolStr,
        /// The body; bytes that are no UTF-8 are replaced.
        body: String,
    },
    /// The keys or the INFO of one line were sent, and answered.
    InfoAnswered {
        /// The call.
        number: u64,
        /// The last answer, or the first one that was no success; `None` when nobody answered.
        status: Option<Status>,
    },
    /// Somebody who is not our own server asked for our password, and got nothing.
    PasswordKept {
        /// The realm that he named.
        realm: SmolStr,
    },
    /// The answer to OPTIONS.
    Options {
        /// Who was asked.
        to: UriBuf,
        /// The status; `None` when nobody answered.
        status: Option<Status>,
    },
    /// A call is over.
    Ended {
        /// The call.
        number: u64,
        /// Why.
        reason: EndReason,
        /// What a call of ours that was not answered came to.
        unanswered: Option<Verdict>,
        /// Its audio.
        audio: Option<Box<MediaReport>>,
        /// Where it was recorded, if it was to be.
        recording: Option<Result<PathBuf, SoundError>>,
    },
}

impl News {
    /// One word for programs, and for what scripts wait for.
    pub fn word(&self) -> &'static str {
        match self {
            News::Ready(_) => "ready",
            News::Registered(_) => "registered",
            News::ClockDiffers(_) => "clock_differs",
            News::RegistrationFailed { .. } => "registration-failed",
            News::Unregistered => "unregistered",
            News::Calling { .. } => "calling",
            News::Incoming { .. } => "incoming",
            News::Ringing { .. } => "ringing",
            News::Queued { .. } => "queued",
            News::EarlyMedia { .. } => "early-media",
            News::Redirected { .. } => "redirected",
            News::ErrorInfo { .. } => "error-info",
            News::Answered { .. } => "answered",
            News::Held { .. } => "held",
            News::Resumed { .. } => "resumed",
            News::HeldByPeer { .. } => "held-by-peer",
            News::ResumedByPeer { .. } => "resumed-by-peer",
            News::SessionChanged { .. } => "session-changed",
            News::Video { .. } => "video",
            News::VideoEnded { .. } => "video-ended",
            News::VideoRefused { .. } => "video-refused",
            News::Refreshed { .. } => "refreshed",
            News::RefreshedByPeer { .. } => "refreshed-by-peer",
            News::ChangeRefused { .. } => "change-refused",
            News::RefreshFailed { .. } => "refresh-failed",
            News::TransferAsked { .. } => "transfer-asked",
            News::TransferBegun { .. } => "transfer-begun",
            News::TransferProgress { .. } => "transfer-progress",
            News::Transferred { .. } => "transferred",
            News::TransferFailed { .. } => "transfer-failed",
            News::Music { .. } => "music",
            News::NoMusic { .. } => "no-music",
            News::NotBack { .. } => "not-back",
            News::Replaced { .. } => "replaced",
            News::JoinAsked { .. } => "join-asked",
            News::Joined { .. } => "joined",
            News::NotJoined { .. } => "not-joined",
            News::Dtmf { .. } => "dtmf",
            News::Info { .. } => "info",
            News::InfoAnswered { .. } => "info-answered",
            News::PasswordKept { .. } => "password-kept",
            News::Options { .. } => "options",
            News::Ended { .. } => "ended",
        }
    }

    /// The number of the call that it is about.
    pub fn call(&self) -> Option<u64> {
        match self {
            News::Calling { number, .. }
            | News::Incoming { number, .. }
            | News::Ringing { number, .. }
            | News::Queued { number, .. }
            | News::EarlyMedia { number }
            | News::Redirected { number, .. }
            | News::ErrorInfo { number, .. }
            | News::Answered { number }
            | News::Held { number }
            | News::Resumed { number }
            | News::HeldByPeer { number }
            | News::ResumedByPeer { number }
            | News::SessionChanged { number }
            | News::Refreshed { number }
            | News::Video { number }
            | News::VideoEnded { number }
            | News::VideoRefused { number }
            | News::RefreshedByPeer { number }
            | News::ChangeRefused { number, .. }
            | News::RefreshFailed { number, .. }
            | News::TransferProgress { number, .. }
            | News::Transferred { number }
            | News::TransferFailed { number, .. }
            | News::Music { number }
            | News::NoMusic { number, .. }
            | News::NotBack { number, .. }
            | News::Replaced { number, .. }
            | News::JoinAsked { number, .. }
            | News::Joined { number }
            | News::NotJoined { number }
            | News::Dtmf { number, .. }
            | News::Info { number, .. }
            | News::InfoAnswered { number, .. }
            | News::Ended { number, .. } => Some(*number),
            News::TransferAsked { number, .. } | News::TransferBegun { number, .. } => *number,
            News::Ready(_)
            | News::Registered(_)
            | News::ClockDiffers(_)
            | News::RegistrationFailed { .. }
            | News::Unregistered
            | News::PasswordKept { .. }
            | News::Options { .. } => None,
        }
    }
}

/// Why a call ended, as one word and in words.
pub fn ended_words(reason: EndReason) -> (&'static str, &'static str) {
    (end_word(reason), end_words(reason))
}
