//! The simulated world: one queue of events over all engines, agents and the network. One seed decides everything.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialtone_roles::io::{Answer, CallHandle, Command, Event, Input, MediaEvent, Notice, Output, QueryId};
use dialtone_roles::settings::{Mode, Settings};
use dialtone_roles::{Counters, EdgeCounts, Tables, steer, turn};
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::time::Instant;
use smallvec::SmallVec;

use crate::agent::{Agent, AgentContext};
use crate::history::{AgentFacts, History, HostFacts, Note, What};
use crate::host::Host;
use crate::media_plane::MediaPlane;
use crate::network::{Fate, FaultCounts, Loss, Network, Packet};
use crate::phone::{Habits, Person};
use crate::random::Random;
use crate::store::Store;

/// Names one host of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

/// Names one agent of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub usize);

/// Engines are woken at most this often without the time going on.
const SPINS_MAX: u32 = 50;

/// Who has an address.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Host(HostId),
    Agent(AgentId),
}

/// What waits in the queue.
#[derive(Debug)]
enum Happening {
    Arrival { number: usize },
    Input { host: HostId, life: u32, shard: u16, input: Box<Input> },
    Wake { host: HostId, life: u32, shard: u16 },
    Command { host: HostId, life: Option<u32>, shard: u16, command: Box<Command> },
    AgentWake(AgentId),
    Restart { host: HostId, down: Duration, then: Vec<Command> },
    Up { host: HostId, then: Vec<Command> },
    Reload { host: HostId, change: fn(&mut Settings) },
}

#[derive(Debug)]
struct Scheduled {
    at: Instant,
    /// Shuffles what happens in the same instant.
    lot: u32,
    number: u64,
    happening: Happening,
}

impl Scheduled {
    const fn key(&self) -> (Instant, u32, u64) {
        (self.at, self.lot, self.number)
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Debug)]
struct AgentPlace {
    name: String,
    address: SocketAddr,
    agent: Box<dyn Agent>,
    random: Random,
}

impl AgentPlace {
    fn facts(&self) -> AgentFacts {
        AgentFacts { name: self.name.clone(), address: self.address, honest: self.agent.is_honest() }
    }
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    /// The network; its weather and plan may be changed at any time.
    pub network: Network,
    /// Credentials and names.
    pub store: Store,
    /// Orders for ports that fail, in thousandths.
    pub no_ports: u32,
    seed: u64,
    now: Instant,
    random: Random,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    hosts: Vec<Host>,
    agents: Vec<AgentPlace>,
    owners: BTreeMap<SocketAddr, Owner>,
    media: MediaPlane,
    packets: Vec<Packet>,
    /// How many packets before those were forgotten.
    forgotten: usize,
    notes: Vec<Note>,
    counts: FaultCounts,
    /// Arrows taken by engines that were thrown away.
    past_edges: Option<EdgeCounts>,
    outputs: Vec<Output>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> World {
        World {
            network: Network::new(Random::new(seed, 1)),
            store: Store::new(Random::new(seed, 2)),
            no_ports: 0,
            seed,
            now: Instant::START,
            random: Random::new(seed, 3),
            queue: BinaryHeap::new(),
            scheduled: 0,
            hosts: Vec::new(),
            agents: Vec::new(),
            owners: BTreeMap::new(),
            media: MediaPlane::default(),
            packets: Vec::new(),
            forgotten: 0,
            notes: Vec::new(),
            counts: FaultCounts::default(),
            past_edges: None,
            outputs: Vec::new(),
        }
    }

    /// Adds a host with as many engines as its settings say, reachable at all its listeners.
    pub fn add_host(&mut self, name: &str, settings: Settings, habits: Option<Habits>) -> HostId {
        let id = HostId(self.hosts.len());
        for listener in &settings.listeners {
            self.owners.insert(listener.address, Owner::Host(id));
        }
        let part = 100 + 2 * id.0 as u64;
        let person = habits.map(|habits| Person::new(habits, Random::new(self.seed, part)));
        let host = Host::new(name, Arc::new(settings), person, Random::new(self.seed, part + 1));
        self.hosts.push(host);
        self.start_shards(id);
        id
    }

    /// Adds a party that is no engine of ours.
    pub fn add_agent(&mut self, name: &str, address: SocketAddr, agent: Box<dyn Agent>) -> AgentId {
        let id = AgentId(self.agents.len());
        self.owners.insert(address, Owner::Agent(id));
        let random = Random::new(self.seed, 1_000_000 + id.0 as u64);
        self.agents.push(AgentPlace { name: name.to_owned(), address, agent, random });
        self.with_agent(id, |agent, cx| agent.start(cx));
        id
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Forgets what has happened but for datagrams that are still on their way and those sent less than `keep` ago:
    /// for runs that are longer than memory. The checkers need all of it.
    pub fn forget(&mut self, keep: Duration) {
        let on_their_way = self.queue.iter().filter_map(|Reverse(next)| match next.happening {
            Happening::Arrival { number } => Some(number),
            _ => None,
        });
        let first = on_their_way.min().unwrap_or(usize::MAX);
        let young = self.packets.partition_point(|packet| packet.sent + keep < self.now);
        let count = young.min(first.saturating_sub(self.forgotten));
        self.packets.drain(..count);
        self.forgotten += count;
        self.notes.clear();
        self.media.facts.clear();
    }

    /// How many datagrams were sent since the beginning.
    pub fn sent(&self) -> usize {
        self.forgotten + self.packets.len()
    }

    /// All that was sent and is not forgotten.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// All that happened at the hosts and is not forgotten.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// How often each fault fired.
    pub const fn faults(&self) -> &FaultCounts {
        &self.counts
    }

    /// What the tables of a host hold, all shards together.
    pub fn tables(&self, host: HostId) -> Tables {
        let mut sum = Tables::default();
        for shard in &self.hosts[host.0].shards {
            sum.add(&shard.engine.tables());
        }
        sum
    }

    /// What the engines of a host have counted since they were made last, all shards together.
    pub fn counters(&self, host: HostId) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.hosts[host.0].shards {
            sum.add(shard.engine.counters());
        }
        sum
    }

    /// The events of a host, oldest first.
    pub fn events(&self, host: HostId) -> impl Iterator<Item = &Event> {
        self.notes.iter().filter(move |note| note.host == host).filter_map(|note| match &note.what {
            What::Event(event) => Some(event),
            _ => None,
        })
    }

    /// Gives a command to a host now.
    pub fn command(&mut self, host: HostId, command: Command) {
        self.command_at(self.now, host, command);
    }

    /// Gives a command to a host at that time.
    pub fn command_at(&mut self, at: Instant, host: HostId, command: Command) {
        self.schedule(at, Happening::Command { host, life: None, shard: 0, command: Box::new(command) });
    }

    /// Throws away the engines of a host at that time; after `down` they are made anew, and `then` are their first
    /// commands.
    pub fn restart_at(&mut self, at: Instant, host: HostId, down: Duration, then: Vec<Command>) {
        self.schedule(at, Happening::Restart { host, down, then });
    }

    /// Hangs up all calls of a host now, those of robots too.
    pub fn hang_up_all(&mut self, host: HostId) {
        let place = &self.hosts[host.0];
        let (life, calls) = (place.life, place.person.as_ref().map(|person| person.calls.clone()));
        for (shard, call) in calls.unwrap_or_default() {
            let command = Box::new(Command::Hangup { call });
            self.schedule(self.now, Happening::Command { host, life: Some(life), shard, command });
        }
    }

    /// The calls of a host that exist now.
    pub fn calls(&self, host: HostId) -> Vec<CallHandle> {
        let person = self.hosts[host.0].person.as_ref();
        person.map(|person| person.calls.iter().map(|(_, call)| *call).collect()).unwrap_or_default()
    }

    /// Gives a host changed settings at that time; the secret, the listeners and the number of shards must stay.
    pub fn reload_at(&mut self, at: Instant, host: HostId, change: fn(&mut Settings)) {
        self.schedule(at, Happening::Reload { host, change });
    }

    /// Sends a datagram from an address that an agent has.
    pub fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: impl Into<Bytes>) {
        self.put_on_wire(from, to, bytes.into());
    }

    /// Lets time go on by that much.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step_until(end) {}
        self.now = end;
    }

    /// Lets time go on until something holds, or that much time is over; whether it holds.
    pub fn run_until(&mut self, span: Duration, mut holds: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + span;
        loop {
            if holds(self) {
                return true;
            }
            if !self.step_until(end) {
                self.now = end;
                return holds(self);
            }
        }
    }

    /// Lets time go on until nothing is left to happen, at most that long; whether it came to rest.
    pub fn run_to_rest(&mut self, span: Duration) -> bool {
        let end = self.now + span;
        while self.step_until(end) {}
        self.queue.is_empty()
    }

    /// What happened, for the checkers.
    pub fn into_history(self) -> History {
        let at_rest = self.queue.is_empty();
        let mut edges = self.past_edges.clone();
        for shard in self.hosts.iter().flat_map(|host| &host.shards) {
            add_edges(&mut edges, shard.engine.edges());
        }
        for own in self.agents.iter().filter_map(|place| place.agent.edges()) {
            add_edges(&mut edges, own);
        }
        let hosts = self.hosts.iter().enumerate().map(|(index, host)| HostFacts {
            name: host.name.clone(),
            addresses: host.settings.listeners.iter().map(|listener| listener.address).collect(),
            is_phone: host.settings.account.is_some(),
            is_stateless: is_in_mode(&host.settings, Mode::Stateless),
            is_b2bua: is_in_mode(&host.settings, Mode::B2bua),
            tables: self.tables(HostId(index)),
            counters: self.counters(HostId(index)),
            deadlines: host.shards.iter().filter_map(|shard| shard.deadline).count(),
        });
        let hosts = hosts.collect();
        History {
            hosts,
            agents: self.agents.iter().map(AgentPlace::facts).collect(),
            packets: self.packets,
            notes: self.notes,
            leases: self.media.facts,
            faults: self.counts,
            edges,
            ended: self.now,
            at_rest,
        }
    }

    /// Does the next thing if it comes before `end`.
    fn step_until(&mut self, end: Instant) -> bool {
        if self.queue.peek().is_none_or(|Reverse(next)| next.at > end) {
            return false;
        }
        let Some(Reverse(next)) = self.queue.pop() else { return false };
        self.now = next.at;
        match next.happening {
            Happening::Arrival { number } => self.arrive(number),
            Happening::Input { host, life, shard, input } => {
                if self.lives(host, life) {
                    self.turn(host, shard, *input);
                }
            }
            Happening::Wake { host, life, shard } => {
                if self.lives(host, life) {
                    self.wake(host, shard);
                }
            }
            Happening::Command { host, life, shard, command } => {
                let now_life = self.hosts[host.0].life;
                if self.lives(host, life.unwrap_or(now_life)) {
                    self.note(host, shard, What::Command((*command).clone()));
                    self.turn(host, shard, Input::Command(*command));
                }
            }
            Happening::AgentWake(id) => self.with_agent(id, |agent, cx| agent.wake(cx)),
            Happening::Restart { host, down, then } => self.restart(host, down, then),
            Happening::Up { host, then } => self.come_up(host, then),
            Happening::Reload { host, change } => self.reload(host, change),
        }
        true
    }

    fn lives(&self, host: HostId, life: u32) -> bool {
        let host = &self.hosts[host.0];
        host.up && host.life == life
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.scheduled += 1;
        let lot = (self.random.next_u64() >> 32) as u32;
        let scheduled = Scheduled { at: at.max(self.now), lot, number: self.scheduled, happening };
        self.queue.push(Reverse(scheduled));
    }

    fn note(&mut self, host: HostId, shard: u16, what: What) {
        let life = self.hosts[host.0].life;
        self.notes.push(Note { at: self.now, host, life, shard, what });
    }

    fn start_shards(&mut self, host: HostId) {
        for shard in 0..self.hosts[host.0].settings.shards {
            self.turn(host, shard, Input::Timeout);
        }
    }

    fn restart(&mut self, host: HostId, down: Duration, then: Vec<Command>) {
        self.counts.restarts += 1;
        self.note(host, 0, What::WentDown);
        let place = &mut self.hosts[host.0];
        for shard in &place.shards {
            add_edges(&mut self.past_edges, shard.engine.edges());
        }
        place.up = false;
        place.shards.clear();
        if let Some(person) = &mut place.person {
            person.calls.clear();
        }
        self.schedule(self.now + down, Happening::Up { host, then });
    }

    fn reload(&mut self, host: HostId, change: fn(&mut Settings)) {
        self.counts.reloads += 1;
        let place = &mut self.hosts[host.0];
        let mut settings = Settings::clone(&place.settings);
        settings.version += 1;
        change(&mut settings);
        place.settings = Arc::new(settings);
        for shard in 0..place.shards.len() {
            let settings = Arc::clone(&self.hosts[host.0].settings);
            self.turn(host, u16::try_from(shard).unwrap_or(0), Input::Configure(settings));
        }
    }

    fn come_up(&mut self, host: HostId, then: Vec<Command>) {
        let place = &mut self.hosts[host.0];
        if place.up {
            return;
        }
        place.up = true;
        place.life += 1;
        place.make_shards();
        self.start_shards(host);
        for command in then {
            self.command(host, command);
        }
    }

    fn arrive(&mut self, number: usize) {
        let place = number - self.forgotten;
        let packet = &self.packets[place];
        let (from, to, bytes) = (packet.from, packet.to, packet.bytes.clone());
        match self.owners.get(&to) {
            Some(&Owner::Host(host)) if self.hosts[host.0].up => {
                self.packets[place].arrivals.push(self.now);
                let shard = steer(&self.hosts[host.0].settings, &bytes);
                self.turn(host, shard, Input::Packet { flow: Flow::udp(to, from), bytes });
            }
            Some(Owner::Host(_)) => self.counts.came_while_down += 1,
            Some(&Owner::Agent(agent)) => {
                self.packets[place].arrivals.push(self.now);
                self.with_agent(agent, |agent, cx| agent.packet(cx, from, &bytes));
            }
            None => {}
        }
    }

    fn with_agent(&mut self, id: AgentId, act: impl FnOnce(&mut dyn Agent, &mut AgentContext<'_>)) {
        let place = &mut self.agents[id.0];
        let mut cx = AgentContext {
            now: self.now,
            address: place.address,
            random: &mut place.random,
            overheard: &self.packets,
            garbage: 0,
            sends: Vec::new(),
            wakes: Vec::new(),
        };
        act(&mut *place.agent, &mut cx);
        let AgentContext { sends, wakes, garbage, .. } = cx;
        let address = place.address;
        self.counts.garbage += garbage;
        for at in wakes {
            self.schedule(at, Happening::AgentWake(id));
        }
        for (to, bytes) in sends {
            self.put_on_wire(address, to, bytes);
        }
    }

    /// Gives an engine one input and carries out what it wants done.
    fn turn(&mut self, host: HostId, shard: u16, input: Input) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let place = &mut self.hosts[host.0];
        let Some(place) = place.shards.get_mut(usize::from(shard)) else { return };
        let deadline = turn(&mut place.engine, self.now, input, |output| outputs.push(output));
        place.deadline = deadline.map(|(at, _)| at);
        self.set_wake(host, shard);
        for output in outputs.drain(..) {
            self.carry_out(host, shard, output);
        }
        self.outputs = outputs;
    }

    fn set_wake(&mut self, host: HostId, shard: u16) {
        let place = &mut self.hosts[host.0];
        let life = place.life;
        let shard_place = &mut place.shards[usize::from(shard)];
        let Some(deadline) = shard_place.deadline else { return };
        let at = deadline.max(self.now);
        if shard_place.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            shard_place.wakes_at = Some(at);
            self.schedule(at, Happening::Wake { host, life, shard });
        }
    }

    fn wake(&mut self, host: HostId, shard: u16) {
        let now = self.now;
        let place = &mut self.hosts[host.0].shards[usize::from(shard)];
        if place.wakes_at.is_some_and(|wakes_at| wakes_at <= now) {
            place.wakes_at = None;
        }
        match place.deadline {
            Some(deadline) if deadline <= now => {
                self.turn(host, shard, Input::Timeout);
                let place = &mut self.hosts[host.0].shards[usize::from(shard)];
                let spins = place.deadline.is_some_and(|deadline| deadline <= now);
                place.spins = if spins { place.spins + 1 } else { 0 };
                if place.spins == SPINS_MAX {
                    self.note(host, shard, What::Spins);
                    // Go on without it, so that the run ends.
                    self.hosts[host.0].shards[usize::from(shard)].deadline = None;
                }
            }
            Some(_) => self.set_wake(host, shard),
            None => {}
        }
    }

    fn carry_out(&mut self, host: HostId, shard: u16, output: Output) {
        let life = self.hosts[host.0].life;
        let input_for = |shard, input| Happening::Input { host, life, shard, input: Box::new(input) };
        match output {
            Output::Transmit(transmit) => self.transmit(host, shard, transmit),
            Output::Query(id, query) => {
                let (wait, answer) = self.store.ask(&query, &mut self.counts);
                self.answer_after(wait, host, life, shard, id, answer);
            }
            Output::Notice { to, notice } => self.carry_word(host, shard, to, notice),
            Output::Media(command) => {
                let exhausted = self.no_ports > 0 && self.random.chance(self.no_ports);
                let asks = matches!(command, dialtone_roles::io::MediaCommand::Lease { .. });
                self.counts.no_ports += u64::from(exhausted && asks);
                if let Some(event) = self.media.handle(self.now, host, life, command, exhausted) {
                    let wait = Duration::from_micros(self.random.below(2_000));
                    let refuses = matches!(event, MediaEvent::Exhausted(_));
                    debug_assert!(refuses == (exhausted && asks), "ports are refused where that was drawn");
                    self.schedule(self.now + wait, input_for(shard, Input::Media(event)));
                }
            }
            Output::Event(event) => {
                let acts = match &mut self.hosts[host.0].person {
                    Some(person) => person.handle(shard, &event),
                    None => Vec::new(),
                };
                self.note(host, shard, What::Event(event));
                for (wait, command) in acts {
                    let command = Box::new(command);
                    self.schedule(
                        self.now + wait,
                        Happening::Command { host, life: Some(life), shard, command },
                    );
                }
            }
            _ => {}
        }
    }

    fn answer_after(
        &mut self,
        wait: Duration,
        host: HostId,
        life: u32,
        shard: u16,
        id: QueryId,
        answer: Answer,
    ) {
        let input = Box::new(Input::Answer(id, answer));
        self.schedule(self.now + wait, Happening::Input { host, life, shard, input });
    }

    fn carry_word(&mut self, host: HostId, from: u16, to: u16, notice: Notice) {
        let life = self.hosts[host.0].life;
        let wait = Duration::from_nanos(1_000 + self.random.below(50_000));
        let last = self.hosts[host.0].words.entry((from, to)).or_default();
        *last = (self.now + wait).max(*last + Duration::from_nanos(1));
        let at = *last;
        let input = Box::new(Input::Notice(notice));
        self.schedule(at, Happening::Input { host, life, shard: to, input });
    }

    fn transmit(&mut self, host: HostId, shard: u16, transmit: Transmit) {
        let Transmit { flow, bytes } = transmit;
        if self.put_on_wire(flow.local, flow.remote, bytes) {
            return;
        }
        let life = self.hosts[host.0].life;
        let wait = Duration::from_micros(self.random.below(500));
        let input = Box::new(Input::TransmitFailed(flow));
        self.schedule(self.now + wait, Happening::Input { host, life, shard, input });
    }

    /// Whether the sender's network took it.
    fn put_on_wire(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) -> bool {
        let number = self.sent();
        let mut fate = self.network.fate(self.now, number, (from, to), &bytes, &mut self.counts);
        if matches!(fate, Fate::Arrives(_)) && !self.owners.contains_key(&to) {
            fate = Fate::Lost(Loss::Nobody);
        }
        if let Fate::Arrives(arrivals) = &fate {
            for at in arrivals.clone() {
                self.schedule(at, Happening::Arrival { number });
            }
        }
        let taken = fate != Fate::Refused;
        self.packets.push(Packet { sent: self.now, from, to, bytes, fate, arrivals: SmallVec::new() });
        taken
    }
}

/// Whether all domains of a host are in this mode.
fn is_in_mode(settings: &Settings, mode: Mode) -> bool {
    let domains = &settings.domains;
    !domains.is_empty() && domains.iter().all(|domain| domain.mode == mode)
}

fn add_edges(sum: &mut Option<EdgeCounts>, more: &EdgeCounts) {
    match sum {
        Some(sum) => sum.add(more),
        None => *sum = Some(more.clone()),
    }
}
