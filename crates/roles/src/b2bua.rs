//! The back-to-back user agent (RFC 3261 §6, RFC 7092): a call is two calls, of which we are an end each.
//!
//! ```text
//!            leg A: we are the UAS                    leg B: we are the UAC
//!   caller <--- dialog, Call-ID a ---> [ bridge ] <--- dialog, Call-ID b ---> (loopback) proxy <---> callee
//! ```
//!
//! A [`Leg`] is one dialog of ours with one peer. It knows its peer leg and nothing else of it: a bridge is two legs that
//! name each other. What comes on one is answered there, or carried to the other as a request of that leg's own dialog
//! with its own CSeq, tags, Contact, session timer and description; see [`pass`] for what is carried of it. The table of
//! legs is here; what all legs share lies on one [`Desk`].
//!
//! The second leg is a caller of our own proxy: what it sends goes over the [`loopback`](crate::loopback), so that groups,
//! forwards, trunks, forks and Timer C are the proxy's alone. Its Call-ID is minted so that its shard is ours.
//!
//! | file | what |
//! |---|---|
//! | [`setup`] | the INVITE that begins a call, what is refused at once, CANCEL |
//! | [`progress`] | responses of the callee to it: early dialogs, reliable provisional responses, the first 2xx and all others |
//! | [`acknowledge`] | 2xx of ours until their ACK, ACKs of ours, late offers |
//! | [`in_dialog`] | requests within a dialog: which are answered and which carried |
//! | [`reinvite`] | re-INVITE and UPDATE, glare, and our own refreshes (RFC 4028) |
//! | [`record`] | what the records say of calls that were brought together |
//! | [`outcome`] | what a refusal of one side is for the other |
//! | [`bodies`] | session descriptions wherever they stand, and what else a body holds |
//! | [`end`] | BYE, and what an end on one side means for the other |
//! | [`hold`] | one side that holds the other, and music for that one |
//! | [`music`] | who is called to play it, and what is played to those whose calls are parked |
//! | [`transfer`] | the place where REFER is looked at before it is carried |
//! | [`elsewhere`] | calls that meet one of another shard |
//! | [`replace`] | an INVITE that comes in place of a leg (RFC 3891) |

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use dialtone_dialog::reliable::{ReliableReceiver, ReliableSender};
use dialtone_dialog::session_timer::SessionTimer;
use dialtone_dialog::{Dialog, DialogId};
use dialtone_transaction::ServerId;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use dialtone_wire::{Message, Status};
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::context::{Context, Failure, UaRequest};
use crate::engine::Caller;
use crate::listing::{CallState, ListedCall, Page};
use crate::policy::Decision;
use crate::ua::ServerEvent;

mod acknowledge;
mod align;
mod bodies;
mod deadlines;
mod description;
mod desk;
mod dial;
mod elsewhere;
mod end;
mod hold;
mod in_dialog;
mod join;
mod music;
mod originate;
mod outcome;
mod park;
mod pass;
mod progress;
mod queue;
mod record;
mod refusal;
mod reinvite;
mod replace;
mod setup;
mod transfer;

use deadlines::Wake;
use description::Described;
use desk::{Desk, Purpose};
use dial::Dials;
use hold::Hold;
use join::{Task, TaskId};
use originate::Plan;
use park::{Lot, Parked};
use pass::Allowed;
use queue::Queues;

pub(crate) use elsewhere::{MovedBridge, ReferAside, Replaced, meeting};
pub(crate) use originate::Party;

/// Early dialogs of one INVITE at most: as many as a proxy may fork.
const STRANDS_MAX: usize = 64;

/// Names one leg. The names are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LegId(u64);

/// What was decided about the call of the first leg: where that of the second goes, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) decision: Decision,
    pub(crate) caller: Option<Caller>,
    pub(crate) trunk: Option<SmolStr>,
}

/// All calls of which we are both ends.
#[derive(Debug, Default)]
pub(crate) struct B2bua {
    legs: BTreeMap<LegId, Box<Leg>>,
    next: u64,
    desk: Desk,
    tasks: BTreeMap<TaskId, Task>,
    dials: Dials,
    lot: Lot,
    queues: Queues,
    /// Calls that have ended here and slots that are free, with the shard that is their home.
    released: Vec<(u16, SmolStr)>,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The INVITE that begins it has no final response.
    Setup,
    /// It was answered.
    Talking,
    /// It is over for its peer, and some message is still waited for.
    Over,
}

/// One call of ours with one peer.
#[derive(Debug)]
struct Leg {
    id: LegId,
    /// The other side of the bridge.
    peer: Option<LegId>,
    /// We have sent the INVITE that began it.
    outgoing: bool,
    stage: Stage,
    /// The user part of our Contact.
    user: SmolStr,
    /// Names our address: that of our Contact and of the descriptions that we send.
    local: Flow,
    /// The way of our requests, where it is not that of the dialog.
    flow: Option<Flow>,
    call_id: SmolStr,
    /// Our tag in responses that make no dialog, and in the first dialog.
    tag: SmolStr,
    /// Its dialogs: early ones, or the one that was confirmed.
    strands: SmallVec<[Strand; 1]>,
    /// An INVITE of the peer that has no final response.
    asked: Option<Asked>,
    /// An INVITE of ours that has none.
    invite: Option<UaRequest>,
    /// A 2xx of ours that waits for its ACK.
    unacked: Option<Unacked>,
    /// A 2xx to an INVITE of ours that waits for its ACK, since that has the answer of the other side.
    owes_ack: Option<OwesAck>,
    /// BYE is owed, with this Reason, once our 2xx has its ACK (RFC 3261 §15).
    owes_bye: Option<Option<SmolStr>>,
    /// A BYE of ours that has no answer.
    bye: Option<UaRequest>,
    /// Requests of it that wait for the other side.
    carried: usize,
    /// One of them is an UPDATE with an offer.
    updates: bool,
    /// An UPDATE with an offer of the other side is under way to its peer.
    updated: bool,
    allowed: Allowed,
    timer: SessionTimer,
    /// What the INVITE that began it offered, for the dialogs that come of it.
    described: Described,
    errand: Option<Box<Errand>>,
    /// Challenges of the other side pass, since the credentials for them do.
    challenged: bool,
    /// What is to be decided about it, where we have begun it ourselves.
    plan: Option<Box<Plan>>,
    /// Who is at its other end.
    party: Party,
    /// Who has sent him there in his own place, which he may take back (RFC 5359 §2.3).
    sent_by: Option<Box<Party>>,
    /// What is being done with it.
    task: Option<TaskId>,
    /// It waits in a slot for whoever takes it.
    parked: Option<Box<Parked>>,
    /// Whether it holds the other side, and who plays music to it where the other side holds it.
    hold: Hold,
    /// How often this call was transferred.
    depth: u16,
    /// The shard where its packets come in, if that is another one.
    home: Option<u16>,
    /// How often it has moved from shard to shard.
    moves: u8,
    /// Another shard waits for it to be quiet, to have it.
    wanted: Option<Box<elsewhere::Wanted>>,
    /// How the list of calls shows it.
    listed: Option<Box<ListedCall>>,
}

/// One dialog of a leg.
#[derive(Debug)]
struct Strand {
    dialog: Dialog,
    /// The tag that names the other side's dialog of the same fork: that of its callee, or ours.
    twin: SmolStr,
    described: Described,
    receiver: ReliableReceiver,
    /// Our own reliable provisional responses, once there is one.
    sender: Option<Reliable>,
    /// Offer and answer are over before the 2xx.
    agreed: bool,
}

/// The reliable provisional responses that we send for those of the other side, one at a time.
#[derive(Debug)]
struct Reliable {
    sender: ReliableSender,
    /// The RSeq and CSeq of the other side for the one that waits for its PRACK.
    waiting: Option<(u32, u32)>,
    /// Those that came meanwhile.
    queue: VecDeque<Message>,
}

/// An INVITE of a peer.
#[derive(Debug)]
struct Asked {
    server: ServerId,
    request: Message,
    flow: Flow,
}

/// A 2xx of ours without ACK (RFC 3261 §13.3.1.4).
#[derive(Debug)]
struct Unacked {
    cseq: u32,
    transmit: Transmit,
    interval: std::time::Duration,
    /// It has an offer, and the ACK its answer.
    offers: bool,
}

/// A 2xx to an INVITE of ours without ACK.
#[derive(Debug)]
struct OwesAck {
    request: UaRequest,
    tag: SmolStr,
}

impl B2bua {
    /// How many bridges there are, those counted that wait for a last message on one side.
    pub(crate) fn bridges(&self) -> usize {
        self.legs.len().div_ceil(2)
    }

    /// How many requests of ours wait for an answer, or for one that may come again.
    pub(crate) fn requests(&self) -> usize {
        self.desk.requests.len()
    }

    /// Whether a request of ours is one of a leg.
    pub(crate) fn owns(&self, request: UaRequest) -> bool {
        self.desk.requests.contains_key(&request)
    }

    /// Whether a request from the network belongs to a dialog of a leg.
    pub(crate) fn owns_dialog(&self, request: &Message) -> bool {
        !self.desk.dialogs.is_empty() && self.leg_towards(request).is_some()
    }

    /// Where the INVITE of the second leg of a bridge goes.
    pub(crate) fn errand(&self, invite: &Message) -> Option<&Errand> {
        let id = DialogId::of_response(invite).ok()?;
        let leg = self.desk.dialogs.get(&(id.call_id, id.local_tag))?;
        self.legs.get(leg)?.errand.as_deref()
    }

    /// The tag with which a leg answers an INVITE that has no final response.
    pub(crate) fn tag_towards(&self, invite: ServerId) -> Option<SmolStr> {
        let leg = self.legs.get(self.desk.servers.get(&invite)?)?;
        Some(leg.tag.clone())
    }

    fn leg_towards(&self, request: &Message) -> Option<LegId> {
        let id = DialogId::of_request(request).ok()?;
        self.desk.dialogs.get(&(id.call_id, id.local_tag)).copied()
    }

    /// The first `count` bridges after this one, as the caller's side names them.
    pub(crate) fn page(&self, after: u64, count: usize) -> Page<ListedCall, u64> {
        let mut rest = self.legs.range((Bound::Excluded(LegId(after)), Bound::Unbounded));
        let seen: Vec<_> = rest.by_ref().take(count.max(1)).collect();
        let entries = seen.iter().filter_map(|(_, leg)| {
            let state = match leg.stage {
                Stage::Setup => CallState::Forwarding,
                Stage::Talking => CallState::Talking,
                Stage::Over => CallState::Ending,
            };
            leg.listed.as_ref().map(|listed| ListedCall { state, ..(**listed).clone() })
        });
        Page { entries: entries.collect(), next: rest.next().and(seen.last()).map(|(id, _)| id.0) }
    }

    /// A response to a request of ours.
    pub(crate) fn handle_response(&mut self, cx: &mut Context<'_>, request: UaRequest, response: &Message) {
        let (Some(sent), Some(status)) = (self.desk.requests.get(&request), response.status()) else {
            return;
        };
        match &sent.purpose {
            Purpose::Invite { .. } => self.invite_answered(cx, request, response, status),
            _ if status.is_provisional() => {}
            Purpose::Carried { .. } => self.carried_answered(cx, request, Some(response), status),
            Purpose::Refresh => self.refresh_answered(cx, request, Some(response), status),
            Purpose::Bye => self.bye_answered(request),
            Purpose::Alone => {
                self.desk.requests.remove(&request);
            }
        }
    }

    /// No response will come to a request of ours.
    pub(crate) fn handle_failure(&mut self, cx: &mut Context<'_>, request: UaRequest, failure: Failure) {
        if self.desk.leave_flow(cx, request, failure) {
            return;
        }
        let Some(sent) = self.desk.requests.get(&request) else { return };
        let status = match failure {
            Failure::TimedOut => Status::of(408),
            Failure::BadResponse => Status::of(502),
            Failure::Transport | Failure::Unresolvable | Failure::Overload => Status::of(500),
        };
        match &sent.purpose {
            Purpose::Invite { .. } => self.invite_refused(cx, request, None, status),
            Purpose::Carried { .. } => self.carried_answered(cx, request, None, status),
            Purpose::Refresh => self.refresh_answered(cx, request, None, status),
            Purpose::Bye => self.bye_answered(request),
            Purpose::Alone => {
                self.desk.requests.remove(&request);
            }
        }
    }

    /// What became of a server transaction.
    pub(crate) fn handle_server_event(&mut self, cx: &mut Context<'_>, server: ServerId, event: ServerEvent) {
        let Some(&id) = self.desk.servers.get(&server) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(asked) = leg.asked.as_ref().filter(|asked| asked.server == server) else { return };
        match event {
            // The peer could not be told that something goes on: over UDP the next response may reach it.
            ServerEvent::TransportFailed if !asked.flow.is_reliable() => {}
            ServerEvent::TransportFailed | ServerEvent::Terminated if leg.stage == Stage::Setup => {
                self.give_up(cx, id, Status::of(500), None);
            }
            ServerEvent::TransportFailed | ServerEvent::NoAck | ServerEvent::Terminated => {}
        }
    }

    /// Lets each timer fire that is due.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some(wake) = self.desk.deadlines.take_due(cx.now) {
            match wake {
                Wake::InviteOver(request) => self.desk.abandon(cx, request),
                Wake::RepeatAnswer(id) => self.repeat_answer(cx, id),
                Wake::NoAck(id) => self.no_ack(cx, id),
                Wake::Unanswered(id) | Wake::CancelOver(id) => self.unanswered(cx, id),
                Wake::Reliable(id) => self.repeat_reliable(cx, id),
                Wake::Session(id) => self.session_due(cx, id),
                Wake::Refresh(id) => self.refresh(cx, id),
                Wake::Release(id) => self.release(cx, id),
                Wake::Queued(id) => self.queue_due(cx, id),
                // The end of the turn looks after them.
                Wake::MovedUp => {}
                Wake::Parked(id) => self.park_over(cx, id),
                Wake::Task(id) => self.task_due(cx, id),
                Wake::Renew(id) => self.renew(cx, id),
                Wake::GiveAway(id) => self.give_away_again(cx, id),
            }
        }
    }

    /// When a timer fires next.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.desk.deadlines.next()
    }

    fn insert(&mut self, make: impl FnOnce(LegId) -> Leg) -> LegId {
        self.next += 1;
        let id = LegId(self.next);
        self.legs.insert(id, Box::new(make(id)));
        id
    }

    /// The leg and its peer, if both are there.
    fn pair(&mut self, id: LegId) -> Option<(LegId, LegId)> {
        let peer = self.legs.get(&id)?.peer?;
        self.legs.contains_key(&peer).then_some((id, peer))
    }

    /// Takes a leg out of all tables once nothing of it is waited for.
    fn sweep(&mut self, id: LegId) {
        let is_finished = self.legs.get(&id).is_some_and(|leg| {
            leg.stage == Stage::Over
                && leg.unacked.is_none()
                && leg.invite.is_none()
                && leg.owes_bye.is_none()
                && leg.bye.is_none()
        });
        if is_finished {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(&id) else { return };
        self.desk.forget(&leg);
        if let Some(parked) = &leg.parked {
            self.free_slot(parked);
        }
        if let Some(home) = leg.home {
            self.released.push((home, leg.call_id.clone()));
        }
        self.queues.leave(id);
        if let Some(held) = leg.hold.plays_to.and_then(|held| self.legs.get_mut(&held)) {
            held.hold.music = None;
        }
        if let Some(peer) = leg.peer.and_then(|peer| self.legs.get_mut(&peer)) {
            peer.peer = None;
        }
    }
}

impl Leg {
    /// The dialog with this tag of the peer: its place among the strands.
    fn strand_of(&self, id: &DialogId) -> Option<usize> {
        self.strands.iter().position(|strand| strand.dialog.id() == id)
    }

    /// The dialog that goes with one of the other leg: the only one once it was answered.
    fn twin_of(&mut self, tag: &str) -> Option<&mut Strand> {
        match self.stage {
            Stage::Setup => self.strands.iter_mut().find(|strand| strand.twin == tag),
            Stage::Talking | Stage::Over => self.strands.first_mut(),
        }
    }

    /// What is written of us into a Contact.
    fn contact(&self, cx: &Context<'_>) -> String {
        cx.contact_for(&self.local, &self.user)
    }
}
