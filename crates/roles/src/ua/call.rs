//! One call: its states, and what they hold.

use std::time::Duration;

use bytes::Bytes;
use dialtone_dialog::Dialog;
use dialtone_transaction::ServerId;
use dialtone_wire::Message;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use super::desk::Desk;
use super::info::Packages;
use super::redirect::Redirects;
use super::session::Session;
use super::transfer::Ties;
use crate::context::{Context, UaRequest};
use crate::io::{CallHandle, EndReason, Play};
use crate::listing::{CallState, ListedCall};

/// A call and what it needs in each of its states.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) handle: CallHandle,
    /// Whether we called: then the Call-ID is ours (RFC 3261 §14.1).
    pub(super) outgoing: bool,
    /// The user part of our Contact.
    pub(super) contact_user: SmolStr,
    /// The flow on which the peer's requests come, if ours go there too whatever its Contact says; see [`own_flow`].
    ///
    /// [`own_flow`]: super::in_dialog::own_flow
    pub(super) flow: Option<Flow>,
    /// `None` while no ports are leased: before a late offer, and from the moment on at which we hang up.
    pub(super) session: Option<Session>,
    pub(super) play: Play,
    /// What ties it to other calls.
    pub(super) ties: Ties,
    /// The Info Packages that the peer takes.
    pub(super) packages: Packages,
    pub(super) stage: Stage,
}

/// The states of a call.
///
/// ```text
///     Command::Call                              INVITE
///        | INVITE                                  | 180
///        v            Hangup                       v        CANCEL/487
///   +---------+       CANCEL   +------------+  +---------+  Decline, Hangup/4xx-6xx
///   | Calling |--------------->| Cancelling |  | Ringing |--------------------> over
///   +---------+                +------------+  +---------+
///     |  |  3xx-6xx, time out     |    | 487      | Answer
///     |  +-----------> over       |    +--> over  | 200
///     |                       2xx |               v
///     | 2xx               ACK,BYE |           +----------+  BYE/200
///     | ACK                       |           | Answered |------> over
///     v              ACK          |           +----------+
///   +-----------+<----------------|-------------|     | no ACK in 64*T1
///   | Confirmed |                 |                   | BYE
///   +-----------+                 |                   |
///     |  |  BYE/200               v                   v
///     |  +----------> over     +------------------------+  answer to BYE,
///     |  Hangup, 408, 481      |         Ending         |  time out
///     +----------------------->|                        |------------------> over
///        BYE                   +------------------------+
/// ```
#[derive(Debug)]
pub(super) enum Stage {
    /// Our INVITE has no final response.
    Calling(Calling),
    /// We gave up; the INVITE has no final response yet.
    Cancelling {
        /// The INVITE.
        invite: UaRequest,
        /// Why we gave up.
        reason: EndReason,
    },
    /// We have sent 180 and no final response.
    Ringing(Box<Ringing>),
    /// We have sent a 2xx that has had no ACK. No BYE may be sent (RFC 3261 §15).
    Answered(Box<Talk>),
    /// 2xx and ACK have passed.
    Confirmed(Box<Talk>),
    /// Our BYE has no final response.
    Ending {
        /// Still needed to tell requests of the peer from those of strangers.
        dialog: Box<Dialog>,
        /// The BYE.
        bye: UaRequest,
        /// Why the call ends.
        reason: EndReason,
    },
}

/// An INVITE of ours that waits.
#[derive(Debug)]
pub(super) struct Calling {
    pub(super) invite: UaRequest,
    /// One for each branch of a fork that has sent a provisional response with a tag.
    pub(super) early: Vec<Dialog>,
    /// The tag of the branch whose answer came in a provisional response and is in use.
    pub(super) answered_by: Option<SmolStr>,
    /// Whom we call, as long as a backup proxy is left to be tried.
    pub(super) again: Option<UriBuf>,
    /// Where it goes on, once it was sent elsewhere.
    pub(super) redirects: Option<Box<Redirects>>,
}

/// An INVITE of the peer that waits.
#[derive(Debug)]
pub(super) struct Ringing {
    pub(super) server: ServerId,
    pub(super) request: Message,
    pub(super) flow: Flow,
    pub(super) dialog: Dialog,
    /// The session description of our 2xx.
    pub(super) description: Bytes,
    /// Whether that is an offer, since the INVITE had none.
    pub(super) offers: bool,
}

/// An established session.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) dialog: Dialog,
    pub(super) unacked: Option<Unacked>,
    pub(super) reoffer: Reoffer,
    /// What [`Command::Reoffer`](crate::io::Command::Reoffer) asked for and has not been sent.
    pub(super) wanted_hold: Option<bool>,
    /// The owner hung up before the ACK came.
    pub(super) hung_up: bool,
}

/// A 2xx of ours that is repeated until its ACK comes.
#[derive(Debug)]
pub(super) struct Unacked {
    pub(super) cseq: u32,
    pub(super) transmit: Transmit,
    /// Until the next repetition.
    pub(super) interval: Duration,
    /// Whether it has an offer, so that the ACK has the answer.
    pub(super) offers: bool,
}

/// A re-INVITE of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reoffer {
    /// There is none.
    None,
    /// It waits for its final response.
    Sent {
        /// The re-INVITE.
        invite: UaRequest,
        /// Whether it puts the peer on hold.
        hold: bool,
    },
    /// It met a 491, and the timer of RFC 3261 §14.1 runs.
    Glare,
}

impl Call {
    /// What others may see of it.
    pub(super) fn listed(&self) -> ListedCall {
        match &self.stage {
            Stage::Calling(calling) => match calling.early.first() {
                Some(dialog) => ListedCall::of_dialog(CallState::Calling, self.outgoing, dialog),
                None => ListedCall::without_dialog(CallState::Calling),
            },
            Stage::Cancelling { .. } => ListedCall::without_dialog(CallState::Ending),
            Stage::Ringing(ringing) => {
                ListedCall::of_dialog(CallState::Ringing, self.outgoing, &ringing.dialog)
            }
            Stage::Answered(talk) | Stage::Confirmed(talk) => {
                ListedCall::of_dialog(CallState::Talking, self.outgoing, &talk.dialog)
            }
            Stage::Ending { dialog, .. } => ListedCall::of_dialog(CallState::Ending, self.outgoing, dialog),
        }
    }
}

/// What becomes of a call after it was given something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Step {
    /// It goes on.
    Stay,
    /// It is over.
    End(EndReason),
}

impl Talk {
    pub(super) fn new(dialog: Dialog) -> Talk {
        Talk { dialog, unacked: None, reoffer: Reoffer::None, wanted_hold: None, hung_up: false }
    }
}

impl Call {
    /// The session in use, with its dialog, if there is one.
    pub(super) fn talk_mut(&mut self) -> Option<&mut Talk> {
        match &mut self.stage {
            Stage::Answered(talk) | Stage::Confirmed(talk) => Some(talk),
            Stage::Calling(_) | Stage::Cancelling { .. } | Stage::Ringing(_) | Stage::Ending { .. } => None,
        }
    }

    /// The dialog that a message of the peer with this tag belongs to.
    pub(super) fn dialog_mut(&mut self, remote_tag: &str) -> Option<&mut Dialog> {
        match &mut self.stage {
            Stage::Calling(calling) => {
                calling.early.iter_mut().find(|dialog| dialog.id().remote_tag == remote_tag)
            }
            Stage::Cancelling { .. } => None,
            Stage::Ringing(ringing) => Some(&mut ringing.dialog),
            Stage::Answered(talk) | Stage::Confirmed(talk) => Some(&mut talk.dialog),
            Stage::Ending { dialog, .. } => Some(dialog),
        }
    }

    /// Stops the media and gives the ports back, once.
    pub(super) fn release(&mut self, cx: &mut Context<'_>) {
        if let Some(session) = self.session.take() {
            session.release(cx);
        }
    }

    /// Starts the media as negotiated, or changes them.
    pub(super) fn apply(&mut self, cx: &mut Context<'_>) {
        if let Some(session) = &mut self.session {
            session.apply(cx, self.handle, &self.play);
        }
    }

    /// A 2xx that has had no ACK stays with the desk when the call ends.
    pub(super) fn leave_answer(&mut self, desk: &mut Desk, cx: &Context<'_>) {
        let handle = self.handle;
        if let Some(talk) = self.talk_mut()
            && let Some(unacked) = talk.unacked.take()
        {
            desk.leave_answer(cx, handle, talk.dialog.id(), unacked);
        }
    }

    /// Takes what the shared tables hold for this call out of them, at its end.
    pub(super) fn forget(&mut self, desk: &mut Desk, cx: &Context<'_>) {
        self.leave_answer(desk, cx);
        desk.deadlines.stop_call(self.handle);
        match &self.stage {
            Stage::Calling(calling) => {
                calling.early.iter().for_each(|dialog| desk.forget_dialog(dialog));
            }
            Stage::Cancelling { .. } => {}
            Stage::Ringing(ringing) => {
                desk.servers.remove(&ringing.server);
                desk.forget_dialog(&ringing.dialog);
            }
            Stage::Answered(talk) | Stage::Confirmed(talk) => desk.forget_dialog(&talk.dialog),
            Stage::Ending { dialog, .. } => desk.forget_dialog(dialog),
        }
    }
}
