//! A long life: a domain of phones that register and call day after day, on virtual time. At the end of each day all
//! tables hold what is alive, to the entry; at the end of all, nothing.
//!
//! ```text
//!   each day   0:00 .................... 23:00 ......... 24:00
//!              calls, phones that vanish       silence     the tables are counted
//!   at last    every phone is switched off; two hours later nothing is left
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use dialtone_roles::Tables;
use dialtone_roles::io::{Command, Event, Play};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Limits, Message, Method};

use crate::history::What;
use crate::host::{phone_settings, server_settings};
use crate::network::Weather;
use crate::phone::Habits;
use crate::random::Random;
use crate::world::{HostId, World};

/// The domain of all phones.
const DOMAIN: &str = "sip.test";
const PASSWORD: &str = "correct horse battery staple";
const HOUR: Duration = Duration::from_secs(3_600);
/// Hours of a day in which calls begin; the last one is silent, so that all calls are over at its end.
const BUSY_HOURS: u32 = 23;
/// Registrations last from this …
const EXPIRES_MIN_S: u64 = 60;
/// … to this.
const EXPIRES_MAX_S: u64 = 3_600;
/// Phones that vanish without a word each day, in thousandths.
const VANISHING: u64 = 20;
/// How long they stay away.
const AWAY: Duration = Duration::from_secs(6 * 3_600);
/// Timer J: how long the server keeps the transaction of an answered REGISTER (RFC 3261 §17.2.2).
const TIMER_J: Duration = Duration::from_secs(32);
/// How far the counting of transactions looks back, and so much is never forgotten.
const LOOK_BACK: Duration = Duration::from_secs(3 * 32);

/// What a soak is like.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Chooses everything.
    pub seed: u64,
    /// Phones.
    pub phones: usize,
    /// Calls that each of them makes a day.
    pub calls_a_day: usize,
    /// How many days.
    pub days: u32,
}

/// What happened on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Datagrams sent.
    pub datagrams: usize,
    /// Calls that were begun.
    pub begun: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that ended at their caller.
    pub ended: u64,
    /// Bindings at its end.
    pub bindings: usize,
}

impl Soak {
    /// Runs it; `tell` hears of each day.
    ///
    /// # Errors
    /// The first thing that is not as it should be, in words.
    pub fn run(self, mut tell: impl FnMut(u32, &Day)) -> Result<(), String> {
        let mut life = Life::new(self);
        for day in 1..=self.days {
            let happened = life.day()?;
            tell(day, &happened);
        }
        life.end()
    }
}

struct Life {
    soak: Soak,
    world: World,
    server: HostId,
    phones: Vec<HostId>,
    random: Random,
    tokens: u64,
    /// Calls that callers have begun and that have not ended.
    open: BTreeMap<(HostId, u64), ()>,
}

impl Life {
    fn new(soak: Soak) -> Life {
        let mut world = World::new(soak.seed);
        world.network.weather = Weather {
            delay_min: Duration::from_millis(1),
            delay_max: Duration::from_millis(40),
            loss: 5,
            duplication: 5,
            reordering: 5,
            held_back_max: Duration::from_millis(300),
            refusal: 0,
        };
        let address = address(0);
        let server = world.add_host("server", server_settings(DOMAIN, address, 1), None);
        let mut random = Random::new(soak.seed, 99);
        let mut phones = Vec::new();
        for number in 1..=soak.phones {
            let user = user(number);
            world.store.add_user(DOMAIN, &user, PASSWORD);
            let proxy = format!("sip:{address};lr");
            let mut settings = phone_settings(
                &format!("sip:{user}@{DOMAIN}"),
                PASSWORD,
                self::address(number),
                Some(&proxy),
            );
            if let Some(account) = &mut settings.account {
                let expires_s = EXPIRES_MIN_S + random.below(EXPIRES_MAX_S - EXPIRES_MIN_S + 1);
                account.expires_s = u32::try_from(expires_s).unwrap_or(600);
            }
            let phone = world.add_host(&user, settings, Some(habits()));
            world.command_at(Instant::START + random.between(Duration::ZERO, HOUR), phone, Command::Register);
            phones.push(phone);
        }
        Life { soak, world, server, phones, random, tokens: 0, open: BTreeMap::new() }
    }

    /// One day, from midnight to midnight.
    fn day(&mut self) -> Result<Day, String> {
        let mut day = Day { datagrams: self.world.sent(), ..Day::default() };
        self.plan_calls()?;
        self.plan_absences();
        for _ in 0..24 {
            self.world.run_for(HOUR);
            self.count_calls(&mut day)?;
            self.world.forget(LOOK_BACK);
        }
        day.datagrams = self.world.sent() - day.datagrams;
        day.bindings = self.world.tables(self.server).bindings;
        if day.begun == 0 || day.answered == 0 {
            return Err(format!("nobody talks: {day:?}"));
        }
        if let Some(((phone, call), ())) = self.open.first_key_value() {
            return Err(format!("{} calls never ended, the first {call:x} of {phone:?}", self.open.len()));
        }
        self.check_tables()?;
        Ok(day)
    }

    fn plan_calls(&mut self) -> Result<(), String> {
        let midnight = self.world.now();
        for place in 0..self.phones.len() {
            for _ in 0..self.soak.calls_a_day {
                let at = midnight + self.random.between(Duration::ZERO, HOUR * BUSY_HOURS);
                let other = 1 + usize::try_from(self.random.below(self.soak.phones as u64)).unwrap_or(0);
                let to = format!("sip:{}@{DOMAIN}", user(other));
                let to = UriBuf::parse(&to).map_err(|error| format!("{to}: {error}"))?;
                self.tokens += 1;
                let call = Command::Call { token: self.tokens, to, play: Play::Silence };
                self.world.command_at(at, self.phones[place], call);
            }
        }
        Ok(())
    }

    /// Some phones lose their power, and come back some hours later.
    fn plan_absences(&mut self) {
        let midnight = self.world.now();
        for phone in self.phones.clone() {
            if self.random.below(1_000) < VANISHING {
                let at = midnight + self.random.between(Duration::ZERO, HOUR * 16);
                self.world.restart_at(at, phone, AWAY, vec![Command::Register]);
            }
        }
    }

    fn count_calls(&mut self, day: &mut Day) -> Result<(), String> {
        for note in self.world.notes() {
            let number = |call: &dialtone_roles::io::CallHandle| {
                u64::from(call.slot) << 32 | u64::from(call.generation)
            };
            match &note.what {
                What::Event(Event::CallStarted { call, .. }) => {
                    day.begun += 1;
                    self.open.insert((note.host, number(call)), ());
                }
                What::Event(Event::Answered { call }) => {
                    day.answered += u64::from(self.open.contains_key(&(note.host, number(call))));
                }
                What::Event(Event::Ended { call, .. }) => {
                    day.ended += u64::from(self.open.remove(&(note.host, number(call))).is_some());
                }
                // Its calls went with its power; the other side finds out by itself.
                What::WentDown => self.open.retain(|(host, _), ()| *host != note.host),
                What::Spins => return Err(format!("{:?} asks to be woken again and again", note.host)),
                _ => {}
            }
        }
        Ok(())
    }

    /// At midnight only registrations go on: all else is at rest.
    fn check_tables(&self) -> Result<(), String> {
        let tables = self.world.tables(self.server);
        let answered = self.answered_lately();
        let expected = Tables::default();
        let checks = [
            ("bindings", tables.bindings, self.phones.len()),
            ("requests being forwarded", tables.proxy_contexts, 0),
            ("calls of its own", tables.calls, 0),
            ("client transactions", tables.client_transactions, expected.client_transactions),
            ("questions", tables.queries, 0),
            ("server transactions", tables.server_transactions, answered),
        ];
        for (what, held, alive) in checks {
            if held != alive {
                return Err(format!("the server holds {held} {what}, and {alive} are alive"));
            }
        }
        for phone in &self.phones {
            let tables = self.world.tables(*phone);
            if tables.calls != 0 || tables.server_transactions != 0 {
                return Err(format!("{phone:?} holds {tables:?} while nobody calls"));
            }
        }
        Ok(())
    }

    /// REGISTER transactions that the server has answered less than Timer J ago: these it still has to hold. A
    /// challenge and a refused nonce keep nothing.
    fn answered_lately(&self) -> usize {
        let mut first: BTreeMap<Vec<u8>, Instant> = BTreeMap::new();
        let server = address(0);
        for packet in self.world.packets().iter().filter(|packet| packet.from == server) {
            let Some(branch) = granted_branch(&packet.bytes) else { continue };
            first.entry(branch).or_insert(packet.sent);
        }
        first.values().filter(|sent| **sent + TIMER_J > self.world.now()).count()
    }

    /// Switches all phones off and waits until nothing can be left.
    fn end(mut self) -> Result<(), String> {
        let now = self.world.now();
        for phone in self.phones.clone() {
            // Half of them say so, the others just lose their power.
            if self.random.chance(500) {
                self.world.command_at(now, phone, Command::Unregister);
            }
            self.world.restart_at(now + Duration::from_secs(60), phone, HOUR * 1_000, Vec::new());
        }
        self.world.run_for(HOUR * 3);
        let history = self.world.into_history();
        let server = history.hosts.get(self.server.0).ok_or("there is no server")?;
        if server.tables != Tables::default() {
            return Err(format!("all phones are gone, and the server holds {:?}", server.tables));
        }
        if server.deadlines != 0 {
            return Err("all phones are gone, and the server waits for something".to_owned());
        }
        Ok(())
    }
}

/// The branch of a REGISTER that this message grants.
fn granted_branch(bytes: &Bytes) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"SIP/2.0 200 ") {
        return None;
    }
    let message = Message::parse(bytes.clone(), &Limits::default()).ok()?;
    (message.cseq().ok()?.method == Method::Register)
        .then(|| message.value(HeaderName::Via))?
        .map(<[u8]>::to_vec)
}

/// A person who mostly answers, now and then declines or is out, and talks for up to five minutes.
fn habits() -> Habits {
    let seconds = Duration::from_secs;
    Habits {
        answer_after: Some((seconds(1), seconds(20))),
        decline: 50,
        ignore: 100,
        talk: Some((seconds(5), seconds(300))),
        patience: Some((seconds(15), seconds(600))),
        hold: 20,
        ..Habits::NONE
    }
}

fn user(number: usize) -> String {
    format!("u{number:04}")
}

fn address(number: usize) -> SocketAddr {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + number)), 5060)
}
