//! One call: its states, and what they hold.

use std::time::Duration;

use bytes::Bytes;
use dialtone_dialog::Dialog;
use dialtone_dialog::offer_answer::OfferAnswer;
use dialtone_dialog::reliable::{ReliableReceiver, ReliableSender};
use dialtone_dialog::session_timer::SessionTimer;
use dialtone_transaction::ServerId;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Message, Status};
use smol_str::SmolStr;

use super::desk::Desk;
use super::info::Packages;
use super::redirect::Redirects;
use super::reoffer::Changes;
use super::session::Session;
use super::transfer::Ties;
use crate::contact_user::ContactUser;
use crate::context::{Context, UaRequest};
use crate::io::{CallHandle, EndReason, Play};
use crate::listing::{CallState, ListedCall};

/// A call and what it needs in each of its states.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) handle: CallHandle,
    /// Whether we called: then the Call-ID is ours (RFC 3261 §14.1).
    pub(super) outgoing: bool,
    /// Who we are in our Contact.
    pub(super) contact_user: ContactUser,
    /// Who we were there before, until the other side has agreed to the change that tells it that we are a focus now.
    pub(super) before_focus: Option<ContactUser>,
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
    /// Changes of the session that we ask for.
    pub(super) changes: Changes,
    /// RFC 4028.
    pub(super) timer: SessionTimer,
    /// Whether the other side takes UPDATE, as its last Allow says (RFC 3311 §4).
    pub(super) takes_update: bool,
    /// Whether the owner was told that we hold the other side, and that it holds us.
    pub(super) told_held: [bool; 2],
    /// Whether the owner was told that there are pictures.
    pub(super) told_video: bool,
    pub(super) stage: Stage,
}

impl Call {
    /// A call that has no session yet.
    pub(super) fn new(handle: CallHandle, outgoing: bool, contact_user: ContactUser, stage: Stage) -> Call {
        Call {
            handle,
            outgoing,
            contact_user,
            before_focus: None,
            flow: None,
            session: None,
            play: Play::Silence,
            changes: Changes::default(),
            timer: SessionTimer::default(),
            takes_update: false,
            told_held: [false; 2],
            told_video: false,
            ties: Ties::default(),
            packages: Packages::default(),
            stage,
        }
    }
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
    pub(super) early: Vec<Early>,
    /// The tag of the branch whose answer came in a provisional response and is in use.
    pub(super) answered_by: Option<SmolStr>,
    /// Whom we call, as long as a backup proxy is left to be tried.
    pub(super) again: Option<UriBuf>,
    /// Where it goes on, once it was sent elsewhere.
    pub(super) redirects: Option<Box<Redirects>>,
}

/// An early dialog of an INVITE of ours.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) dialog: Dialog,
    /// Which of its reliable responses have come.
    pub(super) received: ReliableReceiver,
    /// Whether the offer of the INVITE has its answer in it, in a reliable response or in our PRACK: offers may follow
    /// (RFC 6337 §3.1).
    pub(super) is_settled: bool,
    /// Its offer and answer, if another dialog is the one that is heard.
    pub(super) apart: Option<Box<OfferAnswer>>,
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
    /// What it says while it waits: 180, or 183 where there is something to hear.
    pub(super) status: Status,
    /// The reliable responses, to a caller who takes them.
    pub(super) reliable: Option<ReliableSender>,
    /// Where those go.
    pub(super) reliable_flow: Option<Flow>,
    pub(super) exchange: Exchange,
    /// Whether a 183 waits for the PRACK of the response before it.
    pub(super) owes_progress: bool,
    /// What [`Command::Answer`](crate::io::Command::Answer) asked for: the 2xx waits for a PRACK, or for the answer to
    /// our UPDATE.
    pub(super) answer: Option<Play>,
}

/// How far offer and answer of an INVITE of the peer have come before its 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// Nothing of ours has gone out reliably.
    Open,
    /// Our description went out in a reliable response, which waits for its PRACK.
    Sent,
    /// It was acknowledged, and answered if it was an offer.
    Done,
}

/// An established session.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) dialog: Dialog,
    pub(super) unacked: Option<Unacked>,
    /// A reliable provisional response that our 2xx has overtaken: its PRACK may still come.
    pub(super) reliable: Option<ReliableSender>,
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

impl Call {
    /// What others may see of it.
    pub(super) fn listed(&self) -> ListedCall {
        match &self.stage {
            Stage::Calling(calling) => match calling.early.first() {
                Some(early) => ListedCall::of_dialog(CallState::Calling, self.outgoing, &early.dialog),
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

impl Calling {
    /// The early dialog with this tag.
    pub(super) fn early_mut(&mut self, remote_tag: &str) -> Option<&mut Early> {
        self.early.iter_mut().find(|early| early.dialog.id().remote_tag == remote_tag)
    }
}

impl Talk {
    pub(super) fn new(dialog: Dialog) -> Talk {
        Talk { dialog, unacked: None, reliable: None, hung_up: false }
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
            Stage::Calling(calling) => calling.early_mut(remote_tag).map(|early| &mut early.dialog),
            Stage::Cancelling { .. } => None,
            Stage::Ringing(ringing) => Some(&mut ringing.dialog),
            Stage::Answered(talk) | Stage::Confirmed(talk) => Some(&mut talk.dialog),
            Stage::Ending { dialog, .. } => Some(dialog),
        }
    }

    /// The dialog in which the session may be changed: that in use, once its first offer has its answer (RFC 6337 §2.2).
    pub(super) fn session_dialog_mut(&mut self) -> Option<&mut Dialog> {
        match &mut self.stage {
            Stage::Calling(calling) => {
                let tag = calling.answered_by.clone()?;
                calling.early_mut(&tag).filter(|early| early.is_settled).map(|early| &mut early.dialog)
            }
            Stage::Ringing(ringing) => (ringing.exchange == Exchange::Done).then_some(&mut ringing.dialog),
            Stage::Answered(talk) | Stage::Confirmed(talk) => Some(&mut talk.dialog),
            Stage::Cancelling { .. } | Stage::Ending { .. } => None,
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
                calling.early.iter().for_each(|early| desk.forget_dialog(&early.dialog));
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
