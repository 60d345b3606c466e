//! Music for somebody whom we hold (RFC 5359 §2.3): a music server is asked to call him in our place, and what it tells of
//! its call is where he is taken back from.
//!
//! ```text
//!   we, who hold                music server               the one who is held
//!       |  REFER (Replaces: us)      |                             |
//!       |--------------------------->|  INVITE (Replaces: us)      |
//!       |                            |---------------------------->|
//!       |  BYE                       |                             |
//!       |<---------------------------------------------------------|
//!       |  NOTIFY 200 and its dialog |                             |
//!       |<---------------------------|                             |
//!       |  INVITE (Replaces: music server)                         |
//!       |--------------------------------------------------------->|
//! ```
//!
//! The last INVITE is the owner's business: [`Event::MusicBegan`] has the link that he calls.

use dialtone_wire::bodies::sipfrag_response;
use dialtone_wire::headers::NameAddr;
use dialtone_wire::uri::{Uri, UriBuf, escape_header};
use dialtone_wire::{Limits, Method};
use smol_str::{SmolStr, format_smolstr};

use super::Begun;
use super::asked::{Through, Try, plain, way_of};
use crate::context::Context;
use crate::io::{CallHandle, Event, TransferOutcome};
use crate::ua::Ua;
use crate::ua::call::Stage;
use crate::ua::desk::own_user;
use crate::ua::outgoing::out_of_dialog;
use crate::ua::session::Session;

impl Ua {
    /// The owner wants a music server to play to the other side of a call, which is held.
    pub(in crate::ua) fn play_music(&mut self, cx: &mut Context<'_>, call: CallHandle, source: UriBuf) {
        let transfers = &self.desk.transfers;
        let is_free = !transfers.is_asked_for(call) && !transfers.is_full(cx.settings);
        let may_ask = is_free && is_plain(&source) && self.is_at_rest_held(call);
        // F8: whoever does not know Replaces says so, and does not ring beside the call that he has.
        let places = may_ask.then(|| self.places_of(cx, call, true)).flatten().unwrap_or_default();
        let through = |place| Try { through: Through::Source(source.clone()), place };
        if !self.send_refer(cx, call, None, places.into_iter().map(through).collect()) {
            cx.event(Event::NoMusic { call, outcome: TransferOutcome::NotPossible });
        }
    }

    /// Whether the other side has agreed to be held, and nothing else is asked of it.
    fn is_at_rest_held(&self, call: CallHandle) -> bool {
        self.calls.get(call).is_some_and(|call| {
            matches!(call.stage, Stage::Confirmed(_))
                && call.session.as_ref().is_some_and(Session::holds)
                && call.changes.wanted.is_none()
                && call.changes.asked().is_none()
        })
    }
}

/// Begins a REFER to a music server, in a dialog of its own.
pub(super) fn begin_at(cx: &mut Context<'_>, source: &UriBuf) -> Option<Begun> {
    let draft = out_of_dialog(cx, Method::Refer, source.clone(), &format_smolstr!("<{source}>"));
    Some((way_of(&draft)?, draft, None, own_user(cx.settings).into()))
}

/// The dialog that a fragment tells of, as Replaces names it to the one who was called. It was cut from his answer, so that
/// the tag of To is his.
pub(super) fn replaces_in(fragment: &[u8], limits: &Limits) -> Option<SmolStr> {
    let answer = sipfrag_response(fragment, limits)?;
    let (call_id, from, to) = (answer.call_id().ok()?, answer.from_tag().ok()??, answer.to_tag().ok()??);
    Some(format_smolstr!("{call_id};to-tag={to};from-tag={from}"))
}

/// What became of the REFER. The way back leads to the place that the music server was sent to, which is known to lead
/// there, and not to the Contact that it tells of. A server that tells of no dialog leaves a new call as the only way.
pub(super) fn told_of_music(
    call: CallHandle,
    place: &str,
    replaces: Option<&str>,
    outcome: TransferOutcome,
) -> Event {
    let to = NameAddr::parse(place.as_bytes()).ok().and_then(|place| plain(&place.uri));
    let back = to.and_then(|to| {
        let link = replaces
            .map(|replaces| format_smolstr!("{to}?Replaces={}&Require=replaces", escape_header(replaces)));
        UriBuf::parse(&link.unwrap_or(to)).ok()
    });
    match back.filter(|_| outcome == TransferOutcome::Done) {
        Some(back) => Event::MusicBegan { call, back },
        None => Event::NoMusic { call, outcome },
    }
}

/// A SIP URI that can be asked as it is.
fn is_plain(source: &UriBuf) -> bool {
    matches!(source.uri(), Uri::Sip(sip) if sip.headers.is_empty())
}
