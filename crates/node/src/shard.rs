//! One shard: one thread that owns one engine and its sockets, and waits for all of them at once.
//!
//! ```text
//! sockets --recvmmsg--> classify -> steer -+- mine --> guard(turn(engine)) -> outputs
//! inbox   --words---------------------------+                                  |
//!    ^                                     +- another's -> its inbox           |
//!    +-- answers, notices, media <---------- credentials, names, media --------+--> Transmits --sendmmsg--> sockets
//! ```
//!
//! The loop waits in epoll and is not a tokio runtime: everything that it waits for is a file descriptor or a
//! deadline, a batch must be read and sent as one, and nothing in it is `async`.

mod guard;
mod redact;
mod sockets;
#[cfg(test)]
mod stream_tests;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;
use dialtone_roles::io::{
    Answer, CallRecord, ChangeOutcome, Command, Dial, DialState, Event, Input, MediaCommand, MediaEvent,
    Notice, Output, Query, QueryId,
};
use dialtone_roles::listing::{CallCursor, ListedBinding, ListedCall, ListedServices, ListedTrunk, Page};
use dialtone_roles::services::{Change, Choices, Services};
use dialtone_roles::settings::Settings;
use dialtone_roles::{Engine, Freed, Guesser, HeldOff, Source, steer};
use dialtone_transport::datagram::{Datagram, classify};
use dialtone_transport::stream::StreamSettings;
use dialtone_transport::sys::{Poller, Readiness, StreamSockets};
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::stun;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use crate::counters::ShardCounters;
use crate::inbox::{Inbox, Sender};
use crate::media;
use crate::resolver::{PATIENCE, Question, Resolver};
use crate::running::Bound;
use crate::store::{JournalSender, JournalWord, OfOne, OfUser};
use crate::tap::{Tap, Tapped, Way};
use crate::users::Users;
use crate::{clock, random};
use guard::Guard;
use sockets::Sockets;
use streams::Streams;

pub(crate) use guard::DumpPlace;

/// A word to a shard from another thread.
#[derive(Debug)]
pub(crate) enum Word {
    /// A message that another shard's socket received.
    Packet { flow: Flow, bytes: Bytes },
    /// A message of shard `from` for a connection of this one.
    Transmit { transmit: Transmit, from: u16 },
    /// A connection of another shard, opened by its peer, may be used.
    FlowOpened(Flow),
    /// A connection of another shard is gone.
    FlowClosed(Flow),
    /// What this shard wanted to send on a connection of another one could not be sent.
    TransmitFailed(Flow),
    /// Word from another shard.
    Notice(Notice),
    /// Word from the media plane.
    Media(MediaEvent),
    /// The answer to a question.
    Answer(QueryId, Answer),
    /// The answers to several.
    Answers(Vec<(QueryId, Answer)>),
    /// Bindings of an earlier life.
    Restore(Vec<OfOne>),
    /// What users chose in an earlier life.
    RestoreServices(Vec<OfUser>),
    /// Change what a user of this shard chose, and tell what became of it.
    ChangeServices { aor: SmolStr, changes: Vec<Change>, to: SyncSender<ChangeOutcome> },
    /// Tell what a user of this shard chose, and what holds for him.
    Services { aor: SmolStr, to: SyncSender<(Choices, Services)> },
    /// Tell what some users after this one chose.
    ServicesPage { after: Option<SmolStr>, count: usize, to: SyncSender<Page<ListedServices, SmolStr>> },
    /// Call two and join them.
    Dial(Dial),
    /// Tell how far such a call is.
    Dialled { token: u64, to: SyncSender<Option<DialState>> },
    /// What the owner wants done.
    Command(Command),
    /// The users have changed.
    Users(Arc<Users>),
    /// The user of this address-of-record is gone.
    Forget(SmolStr),
    /// The settings have changed.
    Configure(Arc<Settings>),
    /// Tell how much is unfinished, for one who waits for the end.
    Unfinished(SyncSender<usize>),
    /// Tell the bindings of some addresses-of-record after this one.
    Bindings { after: Option<SmolStr>, aors_max: usize, to: SyncSender<Page<ListedBinding, SmolStr>> },
    /// Tell the calls in some places from this one on.
    Calls { from: CallCursor, count: usize, to: SyncSender<Page<ListedCall, CallCursor>> },
    /// Tell who is held off or blocked.
    HeldOff { most: usize, to: SyncSender<Vec<HeldOff>> },
    /// Tell the trunks.
    Trunks(SyncSender<Vec<ListedTrunk>>),
    /// Block a source; tell whether there was room.
    Block { source: Source, time: Option<Duration>, to: SyncSender<bool> },
    /// Free those who are held off or blocked; tell who that was.
    Free { freed: Freed, to: SyncSender<Vec<Guesser>> },
    /// Tell the counters.
    Report(SyncSender<ShardCounters>),
    /// Tell when the call records of before are in the store, or can't be written.
    RecordsKept(SyncSender<()>),
    /// End.
    Stop,
}

/// Words that wait for a shard at most.
pub(crate) const INBOX_LEN: usize = 16_384;
/// Words that are taken before the sockets have their turn.
const WORDS_MAX: usize = 256;
/// System calls on one socket before the others have their turn.
const ROUNDS_MAX: usize = 4;
/// How often what follows from failures is sent before it is dropped.
const FLUSHES_MAX: usize = 8;
/// Room for messages that wait to be sent; it grows with what one round produces.
const TRANSMITS: usize = 256;

/// Where events go.
pub(crate) type EventSink = Arc<dyn Fn(u16, Event) + Send + Sync>;

/// The one loop of the engine, [`dialtone_roles::turn`]; a test puts one in its place that panics.
pub(crate) type Turn = fn(&mut Engine, Instant, Input, &mut Vec<Output>) -> Option<(Instant, &'static str)>;

/// What a shard is made of, before its thread runs.
pub(crate) struct ShardParts {
    pub(crate) number: u16,
    pub(crate) settings: Arc<Settings>,
    pub(crate) sockets: Bound,
    pub(crate) poller: Poller,
    pub(crate) inbox: Inbox<Word>,
    /// All shards, this one among them.
    pub(crate) shards: Vec<Sender<Word>>,
    pub(crate) media: Sender<media::Word>,
    pub(crate) resolver: Resolver,
    /// Where bindings are kept, if they are.
    pub(crate) journal: Option<JournalSender>,
    /// Bindings of an earlier life, in pieces.
    pub(crate) restored: Vec<Vec<OfOne>>,
    /// What its users chose in an earlier life, in pieces.
    pub(crate) services: Vec<Vec<OfUser>>,
    pub(crate) users: Arc<Users>,
    pub(crate) events: EventSink,
    pub(crate) tap: Option<Tap>,
    pub(crate) dumps: DumpPlace,
    pub(crate) streams: StreamSettings,
    pub(crate) turn: Turn,
    /// Is told when the first RTP ports are there.
    pub(crate) ready: SyncSender<()>,
}

/// One shard.
pub(crate) struct Shard {
    number: u16,
    settings: Arc<Settings>,
    engine: Engine,
    engine_turn: Turn,
    sockets: Sockets,
    streams: Streams,
    poller: Poller,
    inbox: Inbox<Word>,
    shards: Vec<Sender<Word>>,
    media: Sender<media::Word>,
    resolver: Resolver,
    journal: Option<JournalSender>,
    users: Arc<Users>,
    events: EventSink,
    tap: Option<Tap>,
    guard: Guard,
    /// What the engine puts out in one turn.
    outputs: Vec<Output>,
    /// What follows from outputs: it goes in before anything from outside.
    follow_up: VecDeque<Input>,
    /// Who waits for a change of services: as many as can ask at a time, and until the store's deadline.
    changes: BTreeMap<u64, SyncSender<ChangeOutcome>>,
    changes_asked: u64,
    transmits: Vec<Transmit>,
    deadline: Option<Instant>,
    counters: ShardCounters,
    /// Who is told when the first RTP ports are there, and the addresses that have none yet.
    starting: Option<(SyncSender<()>, Vec<IpAddr>)>,
}

/// What an engine begins with.
fn restored(bindings: Vec<Vec<OfOne>>, services: Vec<Vec<OfUser>>) -> VecDeque<Input> {
    let bindings = bindings.into_iter().map(Input::Restore);
    bindings.chain(services.into_iter().map(Input::RestoreServices)).collect()
}

impl Shard {
    /// Puts a shard together.
    ///
    /// # Errors
    /// When its sockets can't be added to the poller.
    pub(crate) fn new(parts: ShardParts) -> std::io::Result<Shard> {
        let sockets = Sockets::new(parts.sockets.udp, &parts.poller)?;
        let streams = Streams::new(parts.number, parts.streams, parts.sockets.tcp, &parts.poller)?;
        Ok(Shard {
            engine: Engine::new(parts.number, random::seed(), parts.settings.clone()),
            engine_turn: parts.turn,
            guard: Guard::new(parts.number, parts.dumps),
            number: parts.number,
            settings: parts.settings,
            sockets,
            streams,
            poller: parts.poller,
            inbox: parts.inbox,
            shards: parts.shards,
            media: parts.media,
            resolver: parts.resolver,
            journal: parts.journal,
            users: parts.users,
            events: parts.events,
            tap: parts.tap,
            outputs: Vec::new(),
            // Ahead of all packets: whoever calls in the first millisecond finds the phones of before.
            follow_up: restored(parts.restored, parts.services),
            changes: BTreeMap::new(),
            changes_asked: 0,
            transmits: Vec::with_capacity(TRANSMITS),
            deadline: None,
            counters: ShardCounters::default(),
            starting: Some((parts.ready, Vec::new())),
        })
    }

    /// Runs until [`Word::Stop`].
    pub(crate) fn run(mut self) -> ShardCounters {
        // The first turn orders the RTP ports, so that they are there before the first call.
        self.feed(clock::now(), Input::Timeout);
        self.note_ports(None);
        let mut ready: Vec<(u64, Readiness)> = Vec::new();
        loop {
            for _ in 0..WORDS_MAX {
                match self.inbox.take() {
                    Some(Word::Stop) => {
                        self.stop();
                        return self.report();
                    }
                    Some(word) => self.handle_word(word),
                    None => break,
                }
            }
            let now = clock::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                self.feed(now, Input::Timeout);
            }
            self.handle_stream_timeout(now);
            self.flush();
            self.wait(&mut ready);
            for (token, readiness) in ready.drain(..) {
                self.handle_ready(token, readiness);
            }
        }
    }

    fn wait(&mut self, ready: &mut Vec<(u64, Readiness)>) {
        let timeout = if !self.inbox.may_sleep() {
            Some(Duration::ZERO)
        } else {
            let deadline = self.deadline.into_iter().chain(self.streams.deadline()).min();
            deadline.map(|deadline| deadline.since(clock::now()))
        };
        if let Err(error) = self.poller.wait(timeout, |token, readiness| ready.push((token, readiness))) {
            tracing::error!(%error, "waiting for sockets failed");
            clock::rest(Duration::from_millis(10));
        }
        self.inbox.is_awake();
    }

    fn handle_word(&mut self, word: Word) {
        let now = clock::now();
        match word {
            Word::Packet { flow, bytes } => self.feed_packet(now, flow, bytes),
            Word::Transmit { transmit, from } => self.send_for(now, transmit, from),
            Word::FlowOpened(flow) => self.streams.opened_elsewhere(flow),
            Word::FlowClosed(flow) => {
                self.streams.closed_elsewhere(&flow);
                self.feed(now, Input::FlowClosed(flow));
            }
            Word::TransmitFailed(flow) => self.feed(now, Input::TransmitFailed(flow)),
            Word::Notice(notice) => self.feed(now, Input::Notice(notice)),
            Word::Media(event) => {
                self.note_ports(Some(&event));
                self.feed(now, Input::Media(event));
            }
            Word::Answer(id, answer) => self.feed(now, Input::Answer(id, answer)),
            Word::Answers(answers) => {
                for (id, answer) in answers {
                    self.feed(now, Input::Answer(id, answer));
                }
            }
            Word::Restore(bindings) => self.feed(now, Input::Restore(bindings)),
            Word::RestoreServices(users) => self.feed(now, Input::RestoreServices(users)),
            Word::ChangeServices { aor, changes, to } => {
                self.changes_asked += 1;
                let token = self.changes_asked;
                self.changes.insert(token, to);
                self.feed(now, Input::ChangeServices { token, aor, changes });
            }
            Word::Services { aor, to } => {
                drop(to.try_send((self.engine.choices(&aor), self.engine.services(&aor))));
            }
            Word::ServicesPage { after, count, to } => {
                drop(to.try_send(self.engine.services_page(after.as_deref(), count)));
            }
            Word::Dial(dial) => self.feed(now, Input::Dial(dial)),
            Word::Dialled { token, to } => drop(to.try_send(self.engine.dialled(token))),
            Word::Command(command) => self.feed(now, Input::Command(command)),
            Word::Users(users) => self.users = users,
            Word::Forget(aor) => self.feed(now, Input::Forget(aor)),
            Word::Configure(settings) => {
                self.settings = settings.clone();
                self.feed(now, Input::Configure(settings));
            }
            Word::Unfinished(to) => drop(to.try_send(self.engine.unfinished())),
            // Whoever asked may be gone by now: it waits for a second.
            Word::Bindings { after, aors_max, to } => {
                drop(to.try_send(self.engine.bindings(now, after.as_deref(), aors_max)));
            }
            Word::Calls { from, count, to } => drop(to.try_send(self.engine.calls(from, count))),
            Word::HeldOff { most, to } => drop(to.try_send(self.engine.held_off(now, most))),
            Word::Trunks(to) => drop(to.try_send(self.engine.trunks())),
            Word::Block { source, time, to } => drop(to.try_send(self.engine.block(now, source, time))),
            Word::Free { freed, to } => drop(to.try_send(self.engine.free(now, &freed))),
            Word::Report(to) => drop(to.try_send(self.report())),
            Word::RecordsKept(to) => {
                // Whoever asked sees by the end of the channel that there is nothing to wait for.
                let _ = self.journal.as_ref().is_some_and(|journal| journal.send(JournalWord::Mark(to)));
            }
            // The loop has taken it.
            Word::Stop => {}
        }
    }

    /// Tells the one who started us that we are ready, when each address has its first ports or can have none.
    fn note_ports(&mut self, event: Option<&MediaEvent>) {
        let Some((ready, awaited)) = &mut self.starting else { return };
        match event {
            Some(MediaEvent::Leased(leases)) => {
                awaited.retain(|ip| leases.iter().all(|lease| lease.rtp.ip() != *ip));
            }
            Some(MediaEvent::Exhausted(ip)) => awaited.retain(|awaited| awaited != ip),
            _ => {}
        }
        if awaited.is_empty() {
            // Nobody waits any more when this took too long.
            let _ = ready.try_send(());
            self.starting = None;
        }
    }

    fn handle_ready(&mut self, token: u64, readiness: Readiness) {
        if StreamSockets::owns(token) {
            return self.handle_stream_ready(token, readiness);
        }
        let Ok(index) = usize::try_from(token) else { return };
        if readiness.error {
            for flow in self.sockets.take_unreachable(index) {
                self.counters.unreachable += 1;
                self.feed(clock::now(), Input::TransmitFailed(flow));
            }
        }
        for _ in 0..ROUNDS_MAX {
            let (count, is_last) = self.sockets.receive(index);
            if count > 0 {
                self.counters.receive_calls += 1;
                let now = clock::now();
                for slot in 0..count {
                    if let Some((flow, bytes)) = self.sockets.received(index, slot) {
                        self.handle_datagram(now, flow, bytes);
                    }
                }
                self.flush();
            }
            if is_last {
                return;
            }
        }
    }

    fn handle_datagram(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.counters.datagrams += 1;
        match classify(&bytes) {
            Datagram::Sip => {}
            Datagram::KeepAlive => return self.counters.keep_alives += 1,
            // RFC 5626 §8: a phone asks whether its flow is alive.
            Datagram::Stun => {
                let Some(answer) = stun::keep_alive_answer(&bytes, flow.remote) else {
                    return self.counters.not_sip += 1;
                };
                self.counters.stun_keep_alives += 1;
                return self.transmits.push(Transmit { flow, bytes: answer.into() });
            }
            _ => return self.counters.not_sip += 1,
        }
        self.handle_message(now, flow, bytes);
    }

    /// A message that one of our sockets received: for us or for another shard.
    fn handle_message(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        if let Some(tap) = &self.tap {
            tap.heard(Tapped { at: now, way: Way::In, flow, bytes: bytes.clone() });
        }
        if self.shards.len() == 1 {
            return self.feed_packet(now, flow, bytes);
        }
        let settings = &self.settings;
        let owner = self.guard.run(|| steer(settings, &bytes)).unwrap_or(self.number);
        if owner == self.number {
            self.feed_packet(now, flow, bytes);
        } else if let Some(shard) = self.shards.get(usize::from(owner)) {
            match shard.send(Word::Packet { flow, bytes }) {
                Ok(()) => self.counters.hand_offs += 1,
                // As if the network had lost it: over UDP the sender retransmits, over a stream it gives up in time.
                Err(_) => self.counters.hand_offs_refused += 1,
            }
        }
    }

    fn feed_packet(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        if self.guard.is_poison(now, &bytes) {
            self.counters.poison_kept_out += 1;
            return;
        }
        self.feed(now, Input::Packet { flow, bytes });
    }

    /// One input and all that follows from it at once.
    fn feed(&mut self, now: Instant, input: Input) {
        self.turn(now, input);
        while let Some(input) = self.follow_up.pop_front() {
            self.turn(now, input);
        }
    }

    fn turn(&mut self, now: Instant, input: Input) {
        self.guard.note(now, &input);
        self.counters.turns += 1;
        let (turn, engine, outputs) = (self.engine_turn, &mut self.engine, &mut self.outputs);
        let deadline = self.guard.run(|| turn(engine, now, input, outputs));
        match deadline {
            Some(deadline) => self.deadline = deadline.map(|(at, _)| at),
            None => return self.begin_anew(now),
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.carry_out(now, output);
        }
        self.outputs = outputs;
    }

    /// After a panic of the engine: what it held is lost, its media is given back, and a new one takes its place.
    fn begin_anew(&mut self, now: Instant) {
        self.counters.add_engine(&self.engine);
        self.counters.panics += 1;
        self.outputs.clear();
        self.follow_up.clear();
        // Who waits for a change hears that its shard does not answer.
        self.changes.clear();
        let pause = self.guard.after_panic(now);
        if self.media.send(media::Word::ShardLost { shard: self.number }).is_err() {
            self.counters.media_refused += 1;
        }
        clock::rest(pause);
        self.engine = Engine::new(self.number, random::seed(), self.settings.clone());
        self.follow_up.push_back(Input::Timeout);
        if let Some(journal) = &self.journal
            && !journal.send(JournalWord::Restore(self.number))
        {
            tracing::warn!(shard = self.number, "the store is too busy to give bindings back");
        }
    }

    fn carry_out(&mut self, now: Instant, output: Output) {
        match output {
            Output::Transmit(transmit) => self.transmits.push(transmit),
            Output::Query(id, query) => self.ask(now, id, query),
            Output::Notice { to, notice } if to == self.number => {
                self.follow_up.push_back(Input::Notice(notice))
            }
            Output::Notice { to, notice } => {
                let sent = self
                    .shards
                    .get(usize::from(to))
                    .is_some_and(|shard| shard.send(Word::Notice(notice)).is_ok());
                // The question that it carries has a deadline.
                self.counters.notices_refused += u64::from(!sent);
            }
            Output::Media(command) => {
                if let (Some((_, awaited)), MediaCommand::Lease { address, .. }) =
                    (&mut self.starting, &command)
                {
                    awaited.push(*address);
                }
                let word = media::Word::Command { shard: self.number, command };
                self.counters.media_refused += u64::from(self.media.send(word).is_err());
            }
            Output::Event(Event::CallRecorded(record)) => self.keep_record(record),
            Output::Event(Event::ServicesChanged { token, outcome }) => {
                if let Some(to) = self.changes.remove(&token) {
                    // Whoever asked may be gone by now.
                    let _ = to.try_send(outcome);
                }
            }
            Output::Event(event) => (self.events)(self.number, event),
            // Output may grow; a question that is not known would be answered by its deadline.
            _ => {}
        }
    }

    fn keep_record(&mut self, record: Box<CallRecord>) {
        if let Some(journal) = &self.journal {
            journal.record(record.clone());
        }
        (self.events)(self.number, Event::CallRecorded(record));
    }

    /// The end: what waits is sent, and of calls that go on without us it is recorded that we have ended.
    fn stop(&mut self) {
        self.flush();
        for record in self.engine.stop_records(clock::now()) {
            self.keep_record(Box::new(record));
        }
    }

    fn ask(&mut self, now: Instant, id: QueryId, query: Query) {
        let answer = match query {
            Query::Credential { domain, user } => Some(Answer::Credential(self.users.find(&domain, &user))),
            Query::Resolve { host } => {
                let asker = self.shards[usize::from(self.number)].clone();
                let question = Question { id, host, asker, deadline: now + PATIENCE };
                let asked = self.resolver.ask(question);
                (!asked).then_some(Answer::Failed)
            }
            Query::Journal { aor, bindings } => {
                let word = JournalWord::Bindings { shard: self.number, id, aor, bindings };
                let asked = self.journal.as_ref().is_some_and(|journal| journal.send(word));
                (!asked).then_some(Answer::Failed)
            }
            Query::KeepServices { aor, choices } => {
                let word = JournalWord::Services { shard: self.number, id, aor, choices };
                let asked = self.journal.as_ref().is_some_and(|journal| journal.send(word));
                (!asked).then_some(Answer::Failed)
            }
            _ => Some(Answer::Failed),
        };
        if let Some(answer) = answer {
            self.follow_up.push_back(Input::Answer(id, answer));
        }
    }

    /// Sends what waits; what could not be sent goes back in, and what follows is sent too.
    fn flush(&mut self) {
        for _ in 0..FLUSHES_MAX {
            if self.transmits.is_empty() {
                return;
            }
            let now = clock::now();
            if let Some(tap) = &self.tap {
                for Transmit { flow, bytes } in &self.transmits {
                    tap.heard(Tapped { at: now, way: Way::Out, flow: *flow, bytes: bytes.clone() });
                }
            }
            let over_streams = streams::take_stream_transmits(&mut self.transmits);
            let mut transmits = std::mem::take(&mut self.transmits);
            let failed = self.sockets.send(&transmits, &mut self.counters);
            transmits.clear();
            self.transmits = transmits;
            for flow in failed {
                self.feed(now, Input::TransmitFailed(flow));
            }
            self.send_streams(now, over_streams);
        }
        // Whatever is tried fails: timers will try again.
        self.counters.send_failures += self.transmits.len() as u64;
        self.transmits.clear();
    }

    fn report(&self) -> ShardCounters {
        let mut counters = self.counters.clone();
        counters.add_engine(&self.engine);
        counters.add_connections(self.streams.connections());
        counters
    }
}
