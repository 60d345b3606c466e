//! The session timer of a call (RFC 4028): who refreshes, and what happens when nobody does.

use dialtone_dialog::Draft;
use dialtone_dialog::session_timer::{Answer, Due, Grant};
use dialtone_wire::headers::{Refresher, SessionExpires};
use dialtone_wire::{HeaderName, Message, Writer};

use super::call::{Call, Step};
use super::deadlines::Wake;
use super::desk::Desk;
use super::refusal::Refusal;
use super::reoffer::{Wanted, What};
use crate::context::Context;
use crate::io::{ChangeBy, EndReason};
use crate::settings::Settings;

impl Call {
    /// Writes what we want of the timer into an INVITE or UPDATE (RFC 4028 §7.1, §7.4), in the place of what stood there.
    pub(super) fn ask_timer(&mut self, settings: &Settings, draft: &mut Draft) {
        let ask = self.timer.ask(settings.session.timer());
        draft.remove_header(HeaderName::SessionExpires);
        draft.remove_header(HeaderName::MinSe);
        if let Some(session_expires) = ask.session_expires {
            draft.set_header(HeaderName::SessionExpires, &written(session_expires));
        }
        // §7.1: "Min-SE … MAY be included"; a proxy that would go below ours learns of it.
        let min_s = ask.min_se_s.into_iter().chain([settings.session.timer_min_s]).max().unwrap_or_default();
        if ask.min_se_s.is_some() || min_s > dialtone_dialog::session_timer::MIN_SE_S {
            draft.set_header(HeaderName::MinSe, &min_s.to_string());
        }
    }

    /// What the 2xx to a session refresh request says of the timer, or its 422 (RFC 4028 §9).
    pub(super) fn grant(&self, settings: &Settings, request: &Message) -> Result<Option<Grant>, Refusal> {
        match self.timer.answer(settings.session.timer(), request) {
            Answer::TooSmall { min_s } => Err(Refusal::new(422).with(HeaderName::MinSe, min_s)),
            Answer::NoTimer => Ok(None),
            Answer::Timer(grant) => Ok(Some(grant)),
        }
    }

    /// Our 2xx to a session refresh request went out.
    pub(super) fn granted(
        &mut self,
        desk: &mut Desk,
        cx: &Context<'_>,
        request: &Message,
        grant: Option<Grant>,
    ) {
        self.timer.granted(cx.now, request, grant);
        self.restart_timer(desk);
    }

    /// Follows a change of the timer.
    pub(super) fn restart_timer(&self, desk: &mut Desk) {
        match self.timer.poll_timeout() {
            Some((at, _)) => desk.deadlines.start(Wake::Session(self.handle), at),
            None => desk.deadlines.stop(Wake::Session(self.handle)),
        }
    }

    /// The session has to be refreshed by us, or is over (RFC 4028 §10).
    pub(super) fn timer_due(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Step {
        let due = self.timer.handle_timeout(cx.now);
        self.restart_timer(desk);
        match due {
            // What waits to be sent, or is under way, refreshes the session too.
            Some(Due::Refresh) if self.changes.wanted.is_some() || self.changes.asked().is_some() => {
                Step::Stay
            }
            Some(Due::Refresh) => {
                // §7.4: "It is RECOMMENDED that the UPDATE … not contain an offer".
                self.changes.wanted = Some(Wanted { what: What::Refresh, by: ChangeBy::Update });
                self.try_change(desk, cx)
            }
            Some(Due::End) => self.terminate(desk, cx, EndReason::SessionExpired),
            None => Step::Stay,
        }
    }
}

/// Writes what was granted.
pub(super) fn write_grant(writer: &mut Writer, grant: Option<Grant>) {
    if let Some(grant) = grant {
        if grant.require {
            writer.header(HeaderName::Require, "timer");
        }
        writer.header(HeaderName::SessionExpires, written(grant.session_expires));
    }
}

fn written(session_expires: SessionExpires) -> String {
    let refresher = match session_expires.refresher {
        Some(Refresher::Uac) => ";refresher=uac",
        Some(Refresher::Uas) => ";refresher=uas",
        None => "",
    };
    format!("{}{refresher}", session_expires.seconds)
}
