//! What all legs share: their requests under way, their dialogs by name, their timers.

use std::collections::BTreeMap;

use bytes::Bytes;
use dialtone_dialog::{Dialog, Draft};
use dialtone_transaction::ServerId;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::{HeaderName, Limits, Message};
use smol_str::SmolStr;

use super::bodies;
use super::deadlines::Wake;
use super::join::TaskId;
use super::{Leg, LegId};
use crate::contact_user::ContactUser;
use crate::context::{Context, Failure, UaRequest};
use crate::deadlines::Deadlines;
use crate::loopback::{self, UNLIMITED};

/// What the answer to a request of ours is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// An INVITE. The ACKs of its 2xx by their To tag: `None` where it waits for the answer of the other side, or for an
    /// address.
    Invite { acks: Vec<(SmolStr, Option<Transmit>)>, why: Why },
    /// A request of the other leg that waits for this answer. If it has a description, the tag of the peer's dialog and
    /// what was described there before.
    Carried { from: LegId, server: ServerId, request: Box<Message>, before: Option<(SmolStr, Bytes)> },
    /// An UPDATE that refreshes the session.
    Refresh,
    /// BYE.
    Bye,
    /// Nobody waits for the answer.
    Alone,
}

/// What an INVITE of ours is for.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// It begins the leg.
    Begin,
    /// It carries the INVITE of the other leg. The description before it, for when it is refused, or cancelled too late.
    Carry { before: Bytes },
    /// It refreshes the session, offers once more what was agreed on, or holds. What was described to the peer before it.
    Refresh { before: Bytes },
    /// It tells a change that a refresh of the other leg has brought about. What was described to the peer before it.
    Tell { before: Bytes },
    /// It joins this leg with another one. What was described to the peer before it.
    Join { before: Bytes, task: TaskId },
}

/// A request of ours until nothing can come for it any more.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) leg: LegId,
    pub(super) draft: Draft,
    pub(super) purpose: Purpose,
    flow: Option<Flow>,
    user: SmolStr,
    /// Of an INVITE: the last number that was used in early dialogs of it that are forgotten.
    pub(super) early_cseq: u32,
}

/// What all legs share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) requests: BTreeMap<UaRequest, Sent>,
    /// By Call-ID and our tag.
    pub(super) dialogs: BTreeMap<(SmolStr, SmolStr), LegId>,
    /// INVITEs of peers that have no final response.
    pub(super) servers: BTreeMap<ServerId, LegId>,
    pub(super) deadlines: Deadlines<Wake>,
}

impl Sent {
    /// The INVITE that begins a leg, before it is sent.
    pub(super) fn unsent(leg: &Leg, draft: Draft) -> Sent {
        let purpose = Purpose::Invite { acks: Vec::new(), why: Why::Begin };
        Sent { leg: leg.id, draft, purpose, flow: leg.flow, user: leg.user.clone(), early_cseq: 0 }
    }

    /// The request as a message, for what has to be read from it.
    pub(super) fn message(&self) -> Option<Message> {
        // Its true Via is the transport's, and says no more than whether it went over TLS.
        Message::parse(self.draft.write("SIP/2.0/UDP dialog.invalid", None), &UNLIMITED).ok()
    }

    /// Our address on its way, where that is known.
    pub(super) fn local_ip(&self) -> Option<std::net::IpAddr> {
        self.flow.map(|flow| flow.local.ip())
    }

    /// Whether it has a description of its session.
    pub(super) fn offers(&self) -> bool {
        self.draft.body_bytes().is_some_and(|(kind, body)| bodies::describes(kind, body))
    }
}

impl Desk {
    /// Sends a request of a leg; `None` when it could not be sent.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        leg: &Leg,
        draft: Draft,
        purpose: Purpose,
    ) -> Option<UaRequest> {
        let sent =
            Sent { leg: leg.id, draft, purpose, flow: leg.flow, user: leg.user.clone(), early_cseq: 0 };
        self.send_again(cx, sent)
    }

    /// Sends a request that was sent before, changed. It gets a new name.
    pub(super) fn send_again(&mut self, cx: &mut Context<'_>, sent: Sent) -> Option<UaRequest> {
        self.send_as_new(cx, sent).ok()
    }

    /// The same; gives it back when it could not be sent.
    pub(super) fn try_again(&mut self, cx: &mut Context<'_>, sent: Sent) -> Option<Sent> {
        self.send_as_new(cx, sent).err().map(|sent| *sent)
    }

    fn send_as_new(&mut self, cx: &mut Context<'_>, sent: Sent) -> Result<UaRequest, Box<Sent>> {
        let request = cx.next_request();
        let draft = sent.draft.clone().header(HeaderName::UserAgent, &cx.settings.product);
        // Contact stands in all that may refresh the target; elsewhere it does no harm.
        let user = ContactUser::from(sent.user.clone());
        let result = match sent.flow {
            Some(flow) => cx.send_on(request, &draft, Some(&user), flow),
            None => cx.send(request, &draft, Some(&user)),
        };
        if result.is_err() {
            return Err(Box::new(sent));
        }
        self.requests.insert(request, sent);
        Ok(request)
    }

    /// Sends a request whose leg may be gone, the way of one that was sent before.
    pub(super) fn send_beside(
        &mut self,
        cx: &mut Context<'_>,
        beside: UaRequest,
        draft: Draft,
        purpose: Purpose,
    ) {
        let Some(Sent { leg, flow, user, .. }) = self.requests.get(&beside) else { return };
        let sent = Sent { leg: *leg, draft, purpose, flow: *flow, user: user.clone(), early_cseq: 0 };
        self.send_again(cx, sent);
    }

    /// A request could not be sent over the flow that it was meant for: a phone that closed its connection may still be
    /// where its Contact says. Says whether it is under way again.
    pub(super) fn leave_flow(&mut self, cx: &mut Context<'_>, request: UaRequest, failure: Failure) -> bool {
        let Some(sent) = self.requests.get_mut(&request) else { return false };
        if failure != Failure::Transport || sent.flow.is_none_or(|flow| loopback::is_loopback(&flow)) {
            return false;
        }
        sent.flow = None;
        let draft = sent.draft.clone().header(HeaderName::UserAgent, &cx.settings.product);
        cx.send(request, &draft, Some(&sent.user.clone().into())).is_ok()
    }

    /// Sends the ACK for a 2xx to an INVITE of ours, and keeps it for a repeated one.
    pub(super) fn acknowledge(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        dialog: &Dialog,
        tag: &str,
        body: Option<(&str, Bytes)>,
    ) {
        let Some(sent) = self.requests.get_mut(&request) else { return };
        let mut draft = dialog.ack(sent.draft.cseq());
        if let Some((kind, body)) = body {
            draft = draft.body(kind, body);
        }
        let transmit = match sent.flow {
            Some(flow) => Some(cx.send_ack_on(&draft, flow)),
            // Without an address the peer repeats its 2xx, and gives up in the end.
            None => cx.send_ack(request, tag, &draft).ok().flatten(),
        };
        let Purpose::Invite { acks, .. } = &mut sent.purpose else { return };
        match acks.iter_mut().find(|(of, _)| of == tag) {
            Some((_, kept)) => *kept = transmit,
            None => acks.push((SmolStr::new(tag), transmit)),
        }
    }

    /// Lets an INVITE live until no 2xx to it can come any more, and no longer.
    pub(super) fn limit_invite(&mut self, cx: &Context<'_>, request: UaRequest) {
        if self.requests.contains_key(&request) && !self.deadlines.runs(Wake::InviteOver(request)) {
            let over = cx.now + cx.settings.timers.transaction_timeout();
            self.deadlines.start(Wake::InviteOver(request), over);
        }
    }

    /// Gives up a request whatever its transaction does.
    pub(super) fn abandon(&mut self, cx: &mut Context<'_>, request: UaRequest) {
        self.deadlines.stop(Wake::InviteOver(request));
        self.requests.remove(&request);
        cx.abandon(request);
    }

    pub(super) fn add_dialog(&mut self, dialog: &Dialog, leg: LegId) {
        let id = dialog.id();
        self.dialogs.insert((id.call_id.clone(), id.local_tag.clone()), leg);
    }

    pub(super) fn forget_dialog(&mut self, dialog: &Dialog) {
        let id = dialog.id();
        self.dialogs.remove(&(id.call_id.clone(), id.local_tag.clone()));
    }

    /// Takes what a leg has in the tables out of them. Its INVITEs stay for repeated 2xx.
    pub(super) fn forget(&mut self, leg: &Leg) {
        self.deadlines.stop_leg(leg.id);
        self.dialogs.remove(&(leg.call_id.clone(), leg.tag.clone()));
        for strand in &leg.strands {
            self.forget_dialog(&strand.dialog);
        }
        if let Some(asked) = &leg.asked {
            self.servers.remove(&asked.server);
        }
    }
}

/// A copy of its own, which does not pin the buffer that a message came in.
pub(super) fn copy(message: &Message) -> Message {
    let kept = Bytes::copy_from_slice(message.bytes());
    Message::parse(kept, &Limits { message_bytes: usize::MAX, ..UNLIMITED })
        .unwrap_or_else(|_| message.clone())
}
