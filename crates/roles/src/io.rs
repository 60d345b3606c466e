//! What goes into an engine and what comes out of it: plain values, no socket and no clock.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use dialtone_dialog::digest::{NonceUse, NonceVerdict, StoredCredential};
use dialtone_dialog::offer_answer::Negotiated;
use dialtone_wire::Status;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use crate::binding::Binding;
use crate::events::reg::ContactState;
use crate::guesses::{Guesser, Hold};
pub use crate::handover::Handover;
use crate::services::{Change, Choices, Services};
use crate::settings::Settings;
pub use crate::trunks::{HopState, TrunkNews};

mod dial;
mod play;
mod transfer;

pub use dial::{Dial, DialState};
pub use play::Play;
pub use transfer::{TransferOutcome, TransferTo};

/// Something that happened to a shard.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// A datagram, or one framed message of a stream.
    Packet {
        /// Where it came from, and to which of our addresses.
        flow: Flow,
        /// All of it.
        bytes: Bytes,
    },
    /// A connection is gone.
    FlowClosed(Flow),
    /// What was to be sent on this flow could not be sent.
    TransmitFailed(Flow),
    /// The answer to an [`Output::Query`]. An answer that comes after the question's deadline is passed over.
    Answer(QueryId, Answer),
    /// Word from another shard.
    Notice(Notice),
    /// Word from the media plane.
    Media(MediaEvent),
    /// What the owner of the engine wants done.
    Command(Command),
    /// Bindings of this shard from an earlier life, at most some thousand at a time. Addresses-of-record that have
    /// bindings already keep those: they are newer.
    Restore(Vec<(SmolStr, Vec<Binding>)>),
    /// The user of this canonical address-of-record is gone, and his bindings go with him. Shards that do not own it
    /// pass it over.
    Forget(SmolStr),
    /// What users of this shard chose in an earlier life. Who has chosen again since keeps that: it is newer.
    RestoreServices(Vec<(SmolStr, Choices)>),
    /// A change of what a user of this shard chose, from outside of SIP; answered by [`Event::ServicesChanged`].
    ChangeServices {
        /// Chosen by the asker.
        token: u64,
        /// The canonical address-of-record; the shard must own it.
        aor: SmolStr,
        /// What changes: all of it or nothing.
        changes: Vec<Change>,
    },
    /// A call between two of whom neither has asked for it by SIP. [`Engine::dialled`](crate::Engine::dialled) tells how
    /// far it is.
    Dial(Dial),
    /// New settings; they hold from now on, timers that run keep their value. The secret and the number of shards
    /// must be those of before, and the rules of digest stay what they were at the start: these need a restart.
    Configure(Arc<Settings>),
    /// Nothing but the time.
    Timeout,
}

/// Something that the owner of a shard shall do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Send a message.
    Transmit(Transmit),
    /// Find something out and give it back as [`Input::Answer`].
    Query(QueryId, Query),
    /// Carry word to another shard, as its [`Input::Notice`].
    Notice {
        /// The shard.
        to: u16,
        /// The word.
        notice: Notice,
    },
    /// Tell the media plane.
    Media(MediaCommand),
    /// Tell whoever watches.
    Event(Event),
}

/// Names one question of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

impl QueryId {
    /// Of a question whose answer nobody waits for.
    pub const UNANSWERED: QueryId = QueryId(0);
}

/// A question to the world outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// The stored credential of a user; answered by [`Answer::Credential`].
    Credential {
        /// The domain, as in [`Settings::domains`].
        domain: SmolStr,
        /// The user part, unescaped.
        user: SmolStr,
    },
    /// The addresses of a host name; answered by [`Answer::Addresses`].
    Resolve {
        /// The name.
        host: SmolStr,
    },
    /// Keep these bindings of an address-of-record, all that it has, in place of those kept before; answered by
    /// [`Answer::Journalled`] once they would survive a crash. Those of one address-of-record are kept in the order in
    /// which they are asked for. With [`QueryId::UNANSWERED`] nobody waits for the answer.
    Journal {
        /// The canonical address-of-record.
        aor: SmolStr,
        /// All bindings; none when the address-of-record has none any more.
        bindings: Arc<[Binding]>,
    },
    /// Keep what a user chose, in place of what was kept before; answered like [`Query::Journal`].
    KeepServices {
        /// The canonical address-of-record.
        aor: SmolStr,
        /// All that he chose; empty when it is nothing any more.
        choices: Arc<Choices>,
    },
}

/// What was found out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The credential; `None` when there is no such user.
    Credential(Option<Arc<StoredCredential>>),
    /// The addresses of a name; empty when it has none or could not be asked.
    Addresses(Vec<std::net::IpAddr>),
    /// The bindings, or the services, are kept.
    Journalled,
    /// The asked party failed; the request that waits is answered with 500 and Retry-After.
    Failed,
}

/// Word between shards. A question carries the asking shard and its own number for the question.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// Asks the shard that owns an address-of-record for its bindings.
    AskBindings {
        /// The asking shard.
        from: u16,
        /// Its number for the question.
        query: QueryId,
        /// The canonical address-of-record.
        aor: SmolStr,
    },
    /// Answers [`Notice::AskBindings`].
    Bindings {
        /// The question.
        query: QueryId,
        /// What is known.
        found: Found,
    },
    /// Asks the shard that owns an address-of-record to change what its user chose.
    ChangeServices {
        /// The asking shard.
        from: u16,
        /// Its number for the question.
        query: QueryId,
        /// The canonical address-of-record.
        aor: SmolStr,
        /// What changes: all of it or nothing.
        changes: Vec<Change>,
    },
    /// Answers [`Notice::ChangeServices`].
    ServicesChanged {
        /// The question.
        query: QueryId,
        /// What became of it.
        outcome: ChangeOutcome,
    },
    /// Asks the shard that issued a nonce whether this use of it is new (RFC 7616 §3.4.5 nonce count).
    AskNonce {
        /// The asking shard.
        from: u16,
        /// Its number for the question.
        query: QueryId,
        /// The nonce and its count.
        nonce: NonceUse,
    },
    /// What the shard that looks after a trunk has found out.
    Trunk {
        /// Its name.
        name: SmolStr,
        /// What there is to know.
        news: TrunkNews,
    },
    /// Asks the shard that owns an address-of-record to tell its contacts, now and whenever they change.
    WatchRegistration {
        /// The asking shard.
        from: u16,
        /// The canonical address-of-record.
        aor: SmolStr,
    },
    /// Nobody on the asking shard watches it any more.
    UnwatchRegistration {
        /// The asking shard.
        from: u16,
        /// The canonical address-of-record.
        aor: SmolStr,
    },
    /// Answers [`Notice::WatchRegistration`].
    Registration {
        /// The canonical address-of-record.
        aor: SmolStr,
        /// Whether these are all contacts, or those that have changed.
        full: bool,
        /// The contacts.
        contacts: Arc<[ContactState]>,
    },
    /// Answers [`Notice::AskNonce`].
    Nonce {
        /// The question.
        query: QueryId,
        /// What became of it.
        verdict: NonceVerdict,
    },
    /// Of calls that are to meet and live on two shards.
    Handover(Handover),
    /// Somebody failed to show a password too often and is held off, by all shards.
    HoldOff(Hold),
    /// A user has shown the right password: the port from which he did is not held off.
    Proven {
        /// From where.
        from: SocketAddr,
        /// The user part, unescaped.
        user: SmolStr,
        /// The name of the domain.
        domain: SmolStr,
    },
}

/// What the shard that owns an address-of-record knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The bindings in order of preference; empty when there are none.
    pub bindings: Vec<Binding>,
    /// What the user has asked for.
    pub services: Services,
}

/// Names one call of one engine; a stale handle is an error, never another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallHandle {
    /// Slot.
    pub slot: u32,
    /// Counts the uses of the slot.
    pub generation: u32,
}

/// What the owner of an engine may ask of its user agent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Register the account of [`Settings::account`] and keep it registered.
    Register,
    /// Take the registration away.
    Unregister,
    /// Call somebody. The call is named by `token` in [`Event::CallStarted`].
    Call {
        /// Chosen by the caller.
        token: u64,
        /// Whom.
        to: UriBuf,
        /// What the media plane plays into the call.
        play: Play,
    },
    /// Call somebody to be let into a conversation of his: an INVITE with Join (RFC 3911 §5).
    CallToJoin {
        /// Chosen by the caller.
        token: u64,
        /// Whom.
        to: UriBuf,
        /// What the media plane plays into the call.
        play: Play,
        /// The conversation.
        joins: JoinTarget,
    },
    /// Call somebody into the conversation of a call of ours (RFC 5359 §2.10): we become the focus of a conference of
    /// both. Told by [`Event::CallStarted`], and by [`Event::Joined`] for each of the two.
    CallIn {
        /// Chosen by the caller.
        token: u64,
        /// Whom.
        to: UriBuf,
        /// What the media plane plays into the call.
        play: Play,
        /// The call whose conversation it is.
        call: CallHandle,
    },
    /// Make two calls one conversation: we become its focus (RFC 4579), take both off hold and mix them. Told by
    /// [`Event::Joined`] for each call, or by [`Event::NotJoined`]. Calls leave it when they end.
    Join {
        /// One of them.
        call: CallHandle,
        /// The other.
        with: CallHandle,
    },
    /// Become the focus for a call before there is another one (RFC 5589 §9).
    Focus {
        /// The call.
        call: CallHandle,
        /// Whether it is held meanwhile.
        hold: bool,
    },
    /// Answer a call that rings. One that asks to join another ([`Event::JoinAsked`]) is let in by that: it is answered
    /// when the other side of that one has agreed, and refused if it does not.
    Answer {
        /// The call.
        call: CallHandle,
        /// What the media plane plays into the call.
        play: Play,
    },
    /// Refuse a call that rings.
    Decline {
        /// The call.
        call: CallHandle,
        /// With which status (486, 603 …).
        status: Status,
    },
    /// End a call in any state: CANCEL, BYE or 603, as its state asks for.
    Hangup {
        /// The call.
        call: CallHandle,
    },
    /// Offer the session anew (re-INVITE), held or not (RFC 3261 §14, RFC 3264 §8.4).
    Reoffer {
        /// The call.
        call: CallHandle,
        /// Put the other side on hold.
        hold: bool,
    },
    /// Ask the other side of a call to call somebody else in our place (REFER, RFC 3515). What comes of it is told by
    /// [`Event::TransferProgress`] and [`Event::TransferEnded`]. Once it is done we hang up; where it fails, a call that
    /// we hold is taken back.
    Transfer {
        /// The call that is given away.
        call: CallHandle,
        /// Where to.
        to: TransferTo,
    },
    /// Have a music server play to the other side of a call, which we hold (RFC 5359 §2.3): it is asked to call there in our
    /// place (REFER, Replaces). Answered by [`Event::MusicBegan`] or [`Event::NoMusic`]; the call itself ends when the music
    /// server has its place ([`EndReason::RemoteHangup`]), before that or after, and stays held as it is otherwise.
    Music {
        /// The call.
        call: CallHandle,
        /// The music server.
        source: UriBuf,
    },
    /// Answer [`Event::TransferAsked`].
    AnswerTransfer {
        /// Its number.
        referral: u64,
        /// Whether the new call is made.
        accept: bool,
        /// What the media plane plays into it.
        play: Play,
    },
    /// Send an INFO in a call (RFC 6086); answered by [`Event::InfoAnswered`].
    SendInfo {
        /// The call.
        call: CallHandle,
        /// The Info Package, which the other side must have named in Recv-Info; `None` for a body that is understood
        /// without one (§4.2.2).
        package: Option<SmolStr>,
        /// The media type of the body.
        content_type: SmolStr,
        /// The body.
        body: Bytes,
    },
    /// Send a digit as an INFO, for gateways that know no other form; answered by [`Event::InfoAnswered`].
    SendDigit {
        /// The call.
        call: CallHandle,
        /// `0` to `9`, `*`, `#`, `A` to `D`, or `!` for a hook flash.
        digit: char,
        /// How long the key is pressed.
        duration_ms: u32,
        /// The body.
        form: DigitForm,
    },
    /// Send what there is to hear before the call that rings is answered: 183 with our session description (RFC 3960 §3).
    /// Nothing is sent where the caller left the offer to us and knows no reliable responses.
    Progress {
        /// The call.
        call: CallHandle,
        /// What the media plane plays into the call.
        play: Play,
    },
    /// Put the other side on hold. Like all changes of the session it waits until the state of the call allows it, and
    /// a later one takes its place as long as it waits.
    Hold {
        /// The call.
        call: CallHandle,
        /// How that is written.
        form: HoldForm,
        /// With which request.
        by: ChangeBy,
    },
    /// Take the other side off hold.
    Resume {
        /// The call.
        call: CallHandle,
        /// With which request.
        by: ChangeBy,
    },
    /// Add pictures to a call, or take them away. We have none to send: those of the other side come in and are counted
    /// ([`MediaCommand::Count`]). Told by [`Event::VideoStarted`], [`Event::VideoStopped`] or [`Event::VideoRefused`].
    Video {
        /// The call.
        call: CallHandle,
        /// Whether there shall be some.
        on: bool,
        /// With which request.
        by: ChangeBy,
    },
    /// Refresh the session: tell where we are, see whether the other side still is, and start the session timer anew
    /// (RFC 4028). With [`ChangeBy::Update`] no description is sent, with [`ChangeBy::Invite`] the one in force.
    Refresh {
        /// The call.
        call: CallHandle,
        /// With which request.
        by: ChangeBy,
    },
    /// Ask what a far end can do.
    Options {
        /// Chosen by the caller; comes back in [`Event::OptionsAnswered`].
        token: u64,
        /// Whom.
        to: UriBuf,
    },
}

/// A conversation of somebody else, named as he sees it (RFC 3911 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTarget {
    /// The Call-ID.
    pub call_id: SmolStr,
    /// His tag.
    pub to_tag: SmolStr,
    /// The tag of the other end.
    pub from_tag: SmolStr,
}

/// The bodies in which a digit travels in INFO without an Info Package; nobody has standardized them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DigitForm {
    /// `application/dtmf-relay`: the digit and how long it is pressed.
    Relay,
    /// `application/dtmf`: the digit alone.
    Plain,
}

/// How hold is written into a session description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldForm {
    /// `a=sendonly`, or `a=inactive` where we are on hold ourselves (RFC 3264 §8.4).
    #[default]
    Direction,
    /// The same, and `c=0.0.0.0` for far ends that know nothing else (RFC 2543 §B.5).
    Address,
}

/// The request that changes a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeBy {
    /// A re-INVITE (RFC 3261 §14); UPDATE as long as the call is not answered.
    #[default]
    Invite,
    /// UPDATE (RFC 3311) where the other side allows it, else a re-INVITE.
    Update,
}

/// One of the two sides of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We.
    Local,
    /// The other side.
    Remote,
}

/// What happened, for those who watch: command line, log, records.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Our own registration stands, for this many seconds.
    Registered {
        /// Seconds until it ends if it is not refreshed.
        expires_s: u32,
    },
    /// The registrar's clock is another one than ours (Date, RFC 3261 §20.17): ahead by so many seconds, or behind
    /// where that is negative. Told with each registration that says so.
    ClockDiffers {
        /// Seconds.
        ahead_s: i64,
    },
    /// Our own registration failed or was refused; it is tried again unless the reason is final.
    RegistrationFailed {
        /// The status; `None` when nobody answered.
        status: Option<Status>,
        /// Whether the password is wrong, so that trying again makes no sense.
        wrong_password: bool,
    },
    /// A rule of the dial plan has answered a request: refused it or sent it elsewhere.
    RuleAnswered {
        /// The name of the rule.
        rule: SmolStr,
        /// The answer.
        status: Status,
    },
    /// Our own registration was taken away.
    Unregistered,
    /// A call that [`Command::Call`] asked for exists.
    CallStarted {
        /// The caller's token.
        token: u64,
        /// The call.
        call: CallHandle,
    },
    /// Somebody calls us.
    Incoming {
        /// The call.
        call: CallHandle,
        /// The caller's URI.
        from: UriBuf,
    },
    /// The other side rings (180) or reports progress.
    Progress {
        /// The call.
        call: CallHandle,
        /// The provisional status.
        status: Status,
        /// Whether sound of the far end is agreed on already (early media), so that no ringback is due.
        has_media: bool,
        /// What a 182 says of the queue in its reason phrase (RFC 3261 §21.1.4), as the server has written it: at most 100
        /// characters, none of them a control. Empty where it says no more than "Queued", and for any other status.
        queue: SmolStr,
    },
    /// The call is answered and its dialog confirmed.
    Answered {
        /// The call.
        call: CallHandle,
    },
    /// A call was sent elsewhere (3xx) and goes there.
    Redirected {
        /// The call.
        call: CallHandle,
        /// Where to.
        to: UriBuf,
    },
    /// A call was refused, and whoever did it says where to hear why (Error-Info, RFC 3261 §20.18). It ends, unless
    /// [`Settings::announcements`](crate::settings::Settings::announcements) has it go there.
    ErrorInfo {
        /// The call.
        call: CallHandle,
        /// The status.
        status: Status,
        /// What may be called.
        uri: UriBuf,
    },
    /// The other side of a call, or somebody outside of any, asks us to call somebody (REFER). To be answered by
    /// [`Command::AnswerTransfer`]; not told where the settings answer it.
    TransferAsked {
        /// Names it.
        referral: u64,
        /// The call in which it was asked for, or that Target-Dialog names.
        call: Option<CallHandle>,
        /// Whom.
        to: UriBuf,
        /// Whether that takes the place of a call that he has (Replaces).
        replaces: bool,
        /// Who asks, as Referred-By has it (RFC 3892); nobody has proven that.
        referred_by: Option<UriBuf>,
    },
    /// A call that the other side of a call asked for begins; it is told of like any other from now on.
    TransferBegun {
        /// The number of the [`Event::TransferAsked`], if there was one.
        referral: u64,
        /// The call in which it was asked for.
        call: Option<CallHandle>,
        /// The new call.
        new_call: CallHandle,
        /// Whom.
        to: UriBuf,
    },
    /// The other side tells how its call goes, which [`Command::Transfer`] asked for.
    TransferProgress {
        /// The call that is given away.
        call: CallHandle,
        /// The provisional status.
        status: Status,
    },
    /// What became of [`Command::Transfer`].
    TransferEnded {
        /// The call that was given away; stale where it ended before.
        call: CallHandle,
        /// What.
        outcome: TransferOutcome,
    },
    /// The other side of a call hears a music server, which [`Command::Music`] asked for.
    MusicBegan {
        /// The call whose place the music server has; stale where it ended before.
        call: CallHandle,
        /// Whoever calls this takes the place of the music server: the other side is back ([`Command::Call`]). Where the
        /// music server does not say what its call is, that is a call like any other.
        back: UriBuf,
    },
    /// What became of [`Command::Music`], if not that.
    NoMusic {
        /// The call, which stays held; stale where it ended before.
        call: CallHandle,
        /// Why there is none: never [`TransferOutcome::Done`].
        outcome: TransferOutcome,
    },
    /// Another call has taken the place of this one (Replaces, RFC 3891); this one ends.
    Replaced {
        /// The call whose place was taken.
        call: CallHandle,
        /// The new call, which is answered already.
        by: CallHandle,
    },
    /// A call that rings here asks to be let into a conversation of ours (RFC 3911): [`Command::Answer`] lets it in. Told
    /// after its [`Event::Incoming`].
    JoinAsked {
        /// The new call.
        call: CallHandle,
        /// The call that it wants to join, or one of the conference that it has called.
        joins: CallHandle,
    },
    /// A call is part of a conversation of several from now on, which our phone mixes.
    Joined {
        /// The call.
        call: CallHandle,
    },
    /// It is none: its other side has not agreed, there are as many as may be, or its state does not fit.
    NotJoined {
        /// The call.
        call: CallHandle,
    },
    /// Who asks for our password is not our own server: it has got nothing, and the request has failed. An account has its
    /// domain's realm, that of its registrar, and those of [`Account::realms`](crate::settings::Account::realms).
    PasswordKept {
        /// The realm that was named.
        realm: SmolStr,
    },
    /// A digit came in an INFO.
    DigitReceived {
        /// The call.
        call: CallHandle,
        /// As in [`Command::SendDigit`].
        digit: char,
        /// How long the key was pressed, where that is told.
        duration_ms: Option<u32>,
    },
    /// An INFO with an Info Package of [`Settings::info_packages`] came.
    InfoReceived {
        /// The call.
        call: CallHandle,
        /// The package.
        package: SmolStr,
        /// The media type of the body; empty where there is none.
        content_type: SmolStr,
        /// The body.
        body: Bytes,
    },
    /// The answer to [`Command::SendInfo`] or [`Command::SendDigit`].
    InfoAnswered {
        /// The call.
        call: CallHandle,
        /// The status; 469 also where the other side never named the package; `None` when nobody answered or nothing was
        /// sent.
        status: Option<Status>,
    },
    /// The session was changed.
    SessionChanged {
        /// The call.
        call: CallHandle,
    },
    /// One side has refreshed the session, or told where it is now: nothing else has changed.
    Refreshed {
        /// The call.
        call: CallHandle,
        /// Which one.
        by: Side,
    },
    /// Pictures have come to the call, by one side or the other.
    VideoStarted {
        /// The call.
        call: CallHandle,
    },
    /// They are gone.
    VideoStopped {
        /// The call.
        call: CallHandle,
    },
    /// The other side took our offer without the pictures in it: port 0 (RFC 3264 §6).
    VideoRefused {
        /// The call.
        call: CallHandle,
    },
    /// One side has put the other on hold.
    Held {
        /// The call.
        call: CallHandle,
        /// Which one.
        by: Side,
    },
    /// One side has taken the other off hold.
    Resumed {
        /// The call.
        call: CallHandle,
        /// Which one.
        by: Side,
    },
    /// The other side has refused a change of the session: it stays as it was.
    ChangeRefused {
        /// The call.
        call: CallHandle,
        /// Its status; `None` when the request could not be sent.
        status: Option<Status>,
    },
    /// A refresh of the session got no 2xx. The call goes on until its session timer runs out (RFC 4028 §10).
    RefreshFailed {
        /// The call.
        call: CallHandle,
        /// The status; `None` when the request could not be sent.
        status: Option<Status>,
    },
    /// The call is over; its handle is stale from now on.
    Ended {
        /// The call.
        call: CallHandle,
        /// Why.
        reason: EndReason,
    },
    /// The answer to [`Command::Options`].
    OptionsAnswered {
        /// The caller's token.
        token: u64,
        /// The status; `None` when nobody answered.
        status: Option<Status>,
        /// The whole response.
        response: Option<Bytes>,
    },
    /// The registrar changed bindings of an address-of-record.
    BindingsChanged {
        /// The canonical address-of-record.
        aor: SmolStr,
        /// How many bindings it has now.
        bindings: usize,
    },
    /// What became of [`Input::ChangeServices`].
    ServicesChanged {
        /// The asker's token.
        token: u64,
        /// What became of it.
        outcome: ChangeOutcome,
    },
    /// A registered contact that had answered our OPTIONS does not any more, or does again.
    ContactReach {
        /// The canonical address-of-record.
        aor: SmolStr,
        /// The contact.
        contact: SmolStr,
        /// Whether it answers.
        reachable: bool,
    },
    /// An address of a trunk answers its probes, or does not any more.
    TrunkAddress {
        /// The name of the trunk.
        trunk: SmolStr,
        /// The address.
        address: UriBuf,
        /// Whether it answers.
        up: bool,
    },
    /// Somebody behind a trunk called a number of nobody.
    TrunkUnknownNumber {
        /// The name of the trunk.
        trunk: SmolStr,
        /// The number.
        number: SmolStr,
    },
    /// A trunk has us registered.
    TrunkRegistered {
        /// Its name.
        trunk: SmolStr,
        /// Seconds until it ends if it is not refreshed.
        expires_s: u32,
    },
    /// A trunk has refused our registration, or nobody answered; it is tried again.
    TrunkNotRegistered {
        /// Its name.
        trunk: SmolStr,
        /// The status; `None` when nobody answered.
        status: Option<Status>,
    },
    /// A call through a server is over, or was not answered.
    CallRecorded(Box<CallRecord>),
    /// Somebody failed to show a password too often and is held off.
    HeldOff {
        /// Who.
        guesser: Guesser,
        /// For how long.
        time: std::time::Duration,
        /// How often in a row, this one counted.
        times: u32,
    },
}

/// What became of a change of a user's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeOutcome {
    /// It holds, and is kept.
    Done,
    /// As many users have chosen services as may ([`Limits::services`](crate::settings::Limits)).
    Full,
    /// It could not be kept: all is as before.
    NotKept,
}

/// A call as far as a server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// Its Call-ID. Like all texts here cut after 256 bytes.
    pub call_id: SmolStr,
    /// The URI of From.
    pub caller: SmolStr,
    /// The display name of From without quotes and escapes; control characters are replaced.
    pub caller_name: Option<SmolStr>,
    /// The URI of To: whom the caller wanted.
    pub callee: SmolStr,
    /// The display name of To, the same way.
    pub callee_name: Option<SmolStr>,
    /// When the INVITE came.
    pub started: Instant,
    /// When it was answered, if it was.
    pub answered: Option<Instant>,
    /// When it was over.
    pub ended: Instant,
    /// How it ended.
    pub end: CallEnd,
    /// The Reason header of the BYE (RFC 3326).
    pub reason: Option<SmolStr>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEnd {
    /// The caller hung up.
    Caller,
    /// The callee hung up.
    Callee,
    /// The caller gave up before it was answered (487).
    Cancelled,
    /// It was refused, or nobody answered in time (408).
    Refused(Status),
    /// Its session was not refreshed in time: a side has died (RFC 4028 §8.3).
    RanOut,
    /// The server ended; the call may go on.
    Stopped,
    /// Nobody saw its end: the call was followed for too long.
    Unknown,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// We hung up.
    LocalHangup,
    /// The other side hung up.
    RemoteHangup,
    /// The other side, or a server, refused.
    Refused(Status),
    /// Our credentials were refused.
    WrongPassword,
    /// The caller gave up while we rang.
    Cancelled,
    /// Nobody answered our request within Timer B.
    NoResponse,
    /// Nothing could be sent.
    TransportFailed,
    /// Our 200 (RFC 3261 §13.3.1.4) or our reliable provisional response (RFC 3262 §3) was never acknowledged.
    NoAck,
    /// The SDP of the other side could not be used.
    BadSession,
    /// The other side does not know the dialog any more (481, 408 in the dialog).
    DialogLost,
    /// Nobody has refreshed the session in time: the other side has died (RFC 4028 §10).
    SessionExpired,
    /// A limit of our own was reached.
    Overload,
    /// Another call has taken its place (RFC 3891).
    Replaced,
}

/// A pair of ports that the media plane holds for us: RTP on the even one, RTCP on the next (RFC 3550 §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// Names the lease within its media plane.
    pub id: u32,
    /// Rises when the media plane starts anew: leases of an older epoch are void.
    pub epoch: u32,
    /// The RTP address.
    pub rtp: SocketAddr,
}

/// What a shard tells the media plane.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MediaCommand {
    /// Lease that many more ports on this address; answered by [`MediaEvent::Leased`].
    Lease {
        /// The local address.
        address: std::net::IpAddr,
        /// How many pairs.
        count: u16,
    },
    /// Start a session on leased ports, or change the one that runs there.
    Apply {
        /// The ports.
        lease: Lease,
        /// Names the call in [`MediaEvent`]s and reports.
        call: CallHandle,
        /// What was negotiated for the audio stream.
        session: Box<Negotiated>,
        /// What is sent.
        play: Play,
    },
    /// Count what comes in for a stream that is not played; nothing is sent on its ports, no RTCP either.
    Count {
        /// The ports.
        lease: Lease,
        /// Names the call.
        call: CallHandle,
        /// What was negotiated for the stream.
        session: Box<Negotiated>,
    },
    /// Stop the session and give the ports back.
    Release {
        /// The ports.
        lease: Lease,
    },
}

/// What the media plane tells a shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MediaEvent {
    /// Ports to use.
    Leased(Vec<Lease>),
    /// There are no ports to be had on this address now.
    Exhausted(std::net::IpAddr),
    /// The media plane began anew: all leases of older epochs are void.
    Restarted {
        /// The new epoch.
        epoch: u32,
    },
}
