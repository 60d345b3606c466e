//! Thousands of worlds, each from one seed: what is in them, what goes wrong in them, and whether everything held.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::catch_unwind;
use std::time::Duration;

use dialtone_roles::EdgeCounts;
use dialtone_roles::Services;
use dialtone_roles::io::{Command, Play};
use dialtone_roles::settings::{Destination, Foreign, Group, Member, Mode, NextHops, Strategy};
use dialtone_wire::Status;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use crate::agent::Agent;
use crate::checkers::{CHECKERS, Traffic};
use crate::deliberate::Deliberate;
use crate::history::History;
use crate::host::{phone_settings, server_settings};
use crate::network::{FaultCounts, Partition, Weather};
use crate::phone::Habits;
use crate::population::{DeafCaller, Mutilator, OldCaller, SlowServer};
use crate::random::Random;
use crate::store::Service;
use crate::world::{HostId, World};

mod services;
mod sights;

use sights::Sights;

/// From so many seeds on, everything that can happen must have happened.
pub const COVERING_SEEDS: u64 = 500;
/// One seed in so many is run twice, to see that it is the same run.
pub const TWICE: u64 = 20;
/// What is judged beside the checkers: of each seed, and of one in [`TWICE`].
pub const NO_PANIC: &str = "nothing panics";
/// See [`NO_PANIC`].
pub const SAME_RUN: &str = "the same seed is the same run";
/// How long a world may take to come to rest.
const REST: Duration = Duration::from_secs(7_200);
/// Groups of each domain.
const GROUPS: [&str; 2] = ["team", "everybody"];
/// Proxies in front of one server: with it a chain of four.
const EDGES_MAX: u64 = 3;
/// The users of each domain.
const USERS: &[&str] = &["alice", "bob", "carol", "dave"];
/// Their password.
const PASSWORD: &str = "correct horse battery staple";

/// Makes the world of a seed and lets it run to its end.
pub fn run(seed: u64) -> History {
    let mut plan = Plan::new(seed);
    plan.add_servers();
    plan.add_edges();
    plan.add_phones();
    plan.add_agents();
    plan.plan_calls();
    plan.plan_faults();
    plan.silence();
    plan.play()
}

/// What one seed led to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What each checker found: its name, and what was wrong.
    pub findings: Vec<(&'static str, String)>,
    /// How many things each checker judged, in the order of [`CHECKERS`].
    pub judged: Vec<u64>,
    /// How often each fault fired.
    pub faults: FaultCounts,
    /// Arrows taken.
    pub edges: Option<EdgeCounts>,
    /// Datagrams sent.
    pub packets: usize,
    /// What was seen.
    pub sights: Sights,
}

/// Runs a seed and judges it; a panic is a finding.
pub fn judge(seed: u64) -> Outcome {
    judge_run(seed, run)
}

/// Judges what `run` makes of a seed.
pub fn judge_run(seed: u64, run: fn(u64) -> History) -> Outcome {
    let Ok(history) = catch_unwind(|| run(seed)) else {
        return Outcome {
            seed,
            findings: vec![(NO_PANIC, "the run ended in a panic".to_owned())],
            judged: vec![0; CHECKERS.len()],
            faults: FaultCounts::default(),
            edges: None,
            packets: 0,
            sights: Sights::default(),
        };
    };
    let mut outcome = judge_history(seed, &history);
    if seed.is_multiple_of(TWICE) && run(seed).fingerprint() != history.fingerprint() {
        outcome.findings.push((SAME_RUN, "two runs differ".to_owned()));
    }
    outcome
}

/// Lets all checkers judge one history.
pub fn judge_history(seed: u64, history: &History) -> Outcome {
    let traffic = Traffic::of(history);
    let mut findings = Vec::new();
    let mut judged = Vec::new();
    for checker in CHECKERS {
        let verdict = checker.judge(history, &traffic);
        judged.push(verdict.judged);
        findings.extend(verdict.findings.into_iter().map(|finding| (checker.name, finding)));
    }
    let (faults, edges) = (history.faults, history.edges.clone());
    let sights = Sights::of(history, &GROUPS);
    Outcome { seed, findings, judged, faults, edges, packets: history.packets.len(), sights }
}

/// What many seeds led to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many seeds.
    pub seeds: u64,
    /// Datagrams sent in all.
    pub packets: usize,
    /// How many seeds were run twice.
    pub twice: u64,
    /// How often each fault fired.
    pub faults: FaultCounts,
    /// Arrows taken.
    pub edges: Option<EdgeCounts>,
    /// How many things each checker judged.
    pub judged: Vec<u64>,
    /// What was seen.
    pub sights: Sights,
    /// The seeds that failed, with their first finding.
    pub failed: BTreeMap<u64, (&'static str, String)>,
}

impl Report {
    /// Adds what a seed led to.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.packets += outcome.packets;
        self.twice += u64::from(outcome.seed.is_multiple_of(TWICE));
        self.faults.add(&outcome.faults);
        self.sights.add(&outcome.sights);
        match (&mut self.edges, &outcome.edges) {
            (Some(sum), Some(more)) => sum.add(more),
            (sum, Some(more)) => *sum = Some(more.clone()),
            (_, None) => {}
        }
        self.judged.resize(CHECKERS.len(), 0);
        for (sum, more) in self.judged.iter_mut().zip(&outcome.judged) {
            *sum += more;
        }
        if let Some(first) = outcome.findings.first() {
            self.failed.insert(outcome.seed, first.clone());
        }
    }

    /// What never happened and should have, and what happened and should not have: empty when all is well.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (fault, count) in self.faults.iter() {
            if count == 0 {
                gaps.push(format!("fault `{fault}` never fired"));
            }
        }
        for (sight, count) in self.sights.iter() {
            if count == 0 {
                gaps.push(format!("`{sight}` was never seen"));
            }
        }
        for (checker, judged) in CHECKERS.iter().zip(&self.judged) {
            if *judged == 0 {
                gaps.push(format!("checker `{}` judged nothing", checker.name));
            }
        }
        if self.twice == 0 {
            gaps.push("no seed was run twice".to_owned());
        }
        for (edge, count) in self.edges.iter().flat_map(EdgeCounts::iter) {
            if count == 0 {
                gaps.push(format!("arrow `{}` was never taken", edge.label()));
            }
        }
        gaps
    }

    /// The numbers as text.
    pub fn print(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{} seeds, {} run twice, {} datagrams", self.seeds, self.twice, self.packets);
        let _ = writeln!(out, "\nfaults:");
        for (name, count) in self.faults.iter() {
            let _ = writeln!(out, "{count:>10}  {name}");
        }
        let _ = writeln!(out, "\nseen:");
        for (name, count) in self.sights.iter() {
            let _ = writeln!(out, "{count:>10}  {name}");
        }
        let _ = writeln!(out, "\narrows of the four figures:");
        for (edge, count) in self.edges.iter().flat_map(EdgeCounts::iter) {
            let _ = writeln!(out, "{count:>10}  {}", edge.label());
        }
        let _ = writeln!(out, "\ncheckers, and how many things they judged:");
        for (checker, count) in CHECKERS.iter().zip(&self.judged) {
            let _ = writeln!(out, "{count:>10}  {}", checker.name);
        }
        out
    }
}

/// A world in the making.
#[derive(Debug)]
struct Plan {
    random: Random,
    world: World,
    servers: Vec<(HostId, SocketAddr, String)>,
    /// Proxies in front of each server, the outermost last.
    edges: Vec<Vec<(HostId, SocketAddr)>>,
    /// Phones with their address, domain and user.
    phones: Vec<(HostId, SocketAddr, usize, &'static str)>,
    slow: Option<SocketAddr>,
    /// Whether everybody has IPv6 addresses.
    ipv6: bool,
    ends: Instant,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Plan {
    fn new(seed: u64) -> Plan {
        let mut random = Random::new(seed, 0);
        let mut world = World::new(seed);
        let ends = Instant::START + random.between(seconds(40), seconds(160));
        let far = random.between(Duration::from_millis(1), Duration::from_millis(80));
        world.network.weather = Weather {
            delay_min: far,
            delay_max: far + random.between(Duration::ZERO, Duration::from_millis(60)),
            loss: random.below(201) as u32,
            duplication: random.below(101) as u32,
            reordering: random.below(201) as u32,
            held_back_max: random.between(Duration::ZERO, Duration::from_millis(1_500)),
            refusal: if random.chance(300) { random.below(30) as u32 } else { 0 },
        };
        let bad_store = random.chance(300);
        let share = |random: &mut Random, most| if bad_store { random.below(most) as u32 } else { 0 };
        world.store.service = Service {
            wait_min: Duration::from_micros(50),
            wait_max: Duration::from_millis(30),
            slow: share(&mut random, 200),
            late: share(&mut random, 60),
            failing: share(&mut random, 60),
        };
        world.no_ports = if random.chance(100) { 300 } else { 0 };
        let ipv6 = random.chance(150);
        Plan {
            random,
            world,
            servers: Vec::new(),
            edges: Vec::new(),
            phones: Vec::new(),
            slow: None,
            ipv6,
            ends,
        }
    }

    const fn address(&self, network: u8, host: u8) -> SocketAddr {
        let ip = if self.ipv6 {
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, network as u16, 0, 0, 0, host as u16))
        } else {
            IpAddr::V4(Ipv4Addr::new(10, network, 0, host))
        };
        SocketAddr::new(ip, 5060)
    }

    fn add_servers(&mut self) {
        let count = 1 + u8::from(self.random.chance(250));
        for number in 0..count {
            let domain = format!("{}.example", ["atlanta", "biloxi"][usize::from(number)]);
            let address = self.address(number, 1);
            let shards = 1 + u16::from(self.random.chance(500));
            let mut settings = server_settings(&domain, address, shards);
            settings.foreign = Foreign::Authenticated;
            settings.authenticate = self.random.chance(850);
            settings.proxy.recurse = self.random.chance(500);
            if self.random.chance(350) {
                settings.domains.iter_mut().for_each(|domain| domain.mode = Mode::B2bua);
            }
            settings.bridges = services::bridges(&mut self.random, &domain);
            settings.registrar.path_unasked = self.random.chance(800);
            settings.groups = self.groups(&domain);
            settings.forwarding.users = self.forwards(&domain);
            settings.forwarding.no_answer_after = seconds(2 + self.random.below(8));
            let host = self.world.add_host(&domain, settings, Some(Habits::NONE));
            self.world.store.add_name(&domain, address.ip());
            for user in USERS {
                self.world.store.add_user(&domain, user, PASSWORD);
            }
            self.servers.push((host, address, domain));
        }
    }

    /// Some users send their calls elsewhere: to one another, to a group, to nobody, in a circle.
    fn forwards(&mut self, domain: &str) -> BTreeMap<SmolStr, Services> {
        let mut forwards = BTreeMap::new();
        for user in USERS {
            let mut to = |permille| {
                let target = match self.random.below(8) {
                    0 => "nobody",
                    1 => GROUPS[0],
                    2 => "echo",
                    _ => self.random.choose(USERS).copied().unwrap_or_default(),
                };
                self.random.chance(permille).then(|| SmolStr::new_static(target))
            };
            let services = Services {
                always: to(80),
                busy: to(300),
                no_answer: to(300),
                no_answer_after: None,
                not_reachable: to(200),
                do_not_disturb: None,
            };
            let quiet = self.random.chance(60).then(|| Status::of(486));
            let services = Services { do_not_disturb: quiet, ..services };
            forwards.insert(format!("sip:{user}@{domain}").into(), services);
        }
        forwards
    }

    /// Groups of users, of one another and of strangers: some ring all at once, some one after the other.
    fn groups(&mut self, domain: &str) -> Vec<Group> {
        let mut groups = Vec::new();
        for (number, name) in GROUPS.iter().enumerate() {
            let mut members = Vec::new();
            for _ in 0..1 + self.random.below(4) {
                let destination = match self.random.below(10) {
                    0 => Destination::Group(SmolStr::new_static(GROUPS[1 - number])),
                    1 => Destination::User(format!("sip:nobody@{domain}").into()),
                    _ => {
                        let user = self.random.choose(USERS).copied().unwrap_or_default();
                        Destination::User(format!("sip:{user}@{domain}").into())
                    }
                };
                let delay =
                    if self.random.chance(300) { seconds(self.random.below(6)) } else { Duration::ZERO };
                let ring = self.random.chance(600).then(|| seconds(1 + self.random.below(10)));
                members.push(Member { destination, delay, ring });
            }
            let strategy = if self.random.chance(500) { Strategy::All } else { Strategy::InTurn };
            let otherwise = self.random.chance(200).then(|| {
                let user = self.random.choose(USERS).copied().unwrap_or_default();
                Destination::User(format!("sip:{user}@{domain}").into())
            });
            groups.push(Group {
                name: SmolStr::new_static(name),
                domain: domain.into(),
                numbers: vec![SmolStr::new_static(name)],
                members,
                strategy,
                otherwise,
            });
        }
        groups
    }

    /// Up to three proxies between the phones and each server, each of a mode of its own.
    fn add_edges(&mut self) {
        for home in 0..self.servers.len() {
            let mut chain = Vec::new();
            let count = if self.random.chance(400) { 1 + self.random.below(EDGES_MAX) as u8 } else { 0 };
            for number in 0..count {
                let (_, server, domain) = self.servers[home].clone();
                let inner = chain.last().map_or(server, |(_, address)| *address);
                let address = self.address(home as u8, 2 + number);
                let mut settings = server_settings(&domain, address, 1 + u16::from(self.random.chance(300)));
                settings.robots.clear();
                settings.bridges = services::bridges(&mut self.random, &domain);
                let modes = [Mode::Stateless, Mode::Transaction, Mode::Call, Mode::B2bua];
                let mode = self.random.choose(&modes).copied().unwrap_or_default();
                for domain in &mut settings.domains {
                    domain.mode = mode;
                    let inner = UriBuf::parse(&format!("sip:{inner}"));
                    domain.next_hops = NextHops(vec![inner.expect("the simulation writes right addresses")]);
                }
                let name = format!("{domain}-edge-{number}-{}", mode.word());
                let host = self.world.add_host(&name, settings, Some(Habits::NONE));
                chain.push((host, address));
            }
            self.edges.push(chain);
        }
    }

    fn add_phones(&mut self) {
        let count = 2 + self.random.below(6) as u8;
        for number in 0..count {
            let home = usize::try_from(self.random.below(self.servers.len() as u64)).unwrap_or(0);
            let user = USERS[usize::try_from(self.random.below(USERS.len() as u64)).unwrap_or(0)];
            let (_, server, domain) = self.servers[home].clone();
            let address = self.address(home as u8, 10 + number);
            let aor = format!("sip:{user}@{domain}");
            let first_hop = self.edges[home].last().map(|(_, address)| *address);
            // Where proxies stand in front of the server all of its phones go by them.
            let proxy = match first_hop {
                Some(edge) => Some(format!("sip:{edge};lr")),
                None => self.random.chance(600).then(|| format!("sip:{server};lr")),
            };
            let password = if self.random.chance(40) { "wrong" } else { PASSWORD };
            let mut settings = phone_settings(&aor, password, address, proxy.as_deref());
            if let Some(account) = &mut settings.account {
                account.expires_s = 60 + self.random.below(60) as u32;
            }
            services::sessions(&mut self.random, &mut settings);
            let habits = self.habits();
            let host = self.world.add_host(&format!("{user}-{number}"), settings, Some(habits));
            let at = Instant::START + self.random.between(Duration::ZERO, seconds(2));
            self.world.command_at(at, host, Command::Register);
            self.phones.push((host, address, home, user));
        }
    }

    fn add_agents(&mut self) {
        let targets: Vec<SocketAddr> = self.phones.iter().map(|(_, address, ..)| *address).collect();
        let pick = |random: &mut Random| random.choose(&targets).copied();
        if self.random.chance(250)
            && let Some(target) = pick(&mut self.random)
        {
            self.world.add_agent("old", self.address(3, 1), Box::new(OldCaller::new(target, 3)));
        }
        if self.random.chance(200)
            && let Some(target) = pick(&mut self.random)
        {
            self.world.add_agent("deaf", self.address(3, 2), Box::new(DeafCaller::new(target)));
        }
        if self.random.chance(300) {
            self.slow = Some(self.address(3, 3));
            let agent: Box<dyn Agent> = if self.random.chance(600) {
                Box::<SlowServer>::default()
            } else {
                Box::<Deliberate>::default()
            };
            self.world.add_agent("slow", self.address(3, 3), agent);
        }
        if self.random.chance(150) {
            let datagrams = 10 + self.random.below(60) as u32;
            self.world.add_agent("mutilator", self.address(3, 4), Box::new(Mutilator::new(datagrams)));
        }
    }

    fn plan_calls(&mut self) {
        for token in 0..1 + self.random.below(14) {
            let at = Instant::START + self.random.between(seconds(3), self.ends - Instant::START);
            let Some((host, ..)) = self.random.choose(&self.phones).copied() else { return };
            let to = UriBuf::parse(&self.somebody()).expect("the simulation writes right addresses");
            let command = if self.random.chance(850) {
                self.pick_up(at, token, &to);
                Command::Call { token, to, play: Play::Silence }
            } else {
                Command::Options { token, to }
            };
            self.world.command_at(at, host, command);
        }
    }

    fn somebody(&mut self) -> String {
        let (_, server, domain) = self.random.choose(&self.servers).cloned().expect("there is a server");
        match (self.random.below(23), self.slow, self.random.choose(&self.phones)) {
            (20..=22, ..) => self.service(),
            (0, ..) => format!("sip:nobody@{domain}"),
            (1, ..) => "sip:somebody@nowhere.example".to_owned(),
            (2, ..) => format!("sip:{domain}"),
            (3, ..) => format!("sip:echo@{server}"),
            (4, ..) => format!("sip:echo@{domain}"),
            (5, ..) => format!("sip:team@{domain}"),
            (6, ..) => format!("sip:everybody@{domain}"),
            (7..=10, Some(slow), _) => format!("sip:slow@{slow}"),
            (11, _, Some((_, address, _, user))) => format!("sip:{user}@{address}"),
            (_, _, Some((_, _, home, user))) => format!("sip:{user}@{}", self.servers[*home].2),
            _ => format!("sip:alice@{domain}"),
        }
    }

    fn plan_faults(&mut self) {
        let span = self.ends - Instant::START;
        for _ in 0..self.random.below(3) {
            let Some((_, one, ..)) = self.random.choose(&self.phones).copied() else { return };
            let mut inside = vec![one];
            if self.random.chance(500) {
                inside = self.servers.iter().map(|(_, address, _)| *address).collect();
            }
            let from = Instant::START + self.random.between(Duration::ZERO, span);
            let until = from + self.random.between(Duration::from_millis(100), seconds(50));
            self.world.network.partitions.push(Partition { inside, from, until });
        }
        if self.random.chance(300) {
            let (server, ..) = self.random.choose(&self.servers).cloned().expect("there is a server");
            self.restart(server, Vec::new());
        }
        if self.random.chance(200)
            && let Some((edge, _)) = self.random.choose(&self.edges.concat()).copied()
        {
            self.restart(edge, Vec::new());
        }
        if self.random.chance(200) {
            let (server, ..) = self.random.choose(&self.servers).cloned().expect("there is a server");
            let at = Instant::START + self.random.between(seconds(1), span);
            self.world.reload_at(at, server, |settings| {
                settings.registrar.expires_max_s = 90;
                settings.limits.leases_ready = 2;
                settings.foreign = Foreign::Refuse;
            });
        }
        if self.random.chance(150)
            && let Some((phone, ..)) = self.random.choose(&self.phones).copied()
        {
            self.restart(phone, vec![Command::Register]);
        }
    }

    fn restart(&mut self, host: HostId, then: Vec<Command>) {
        let at = Instant::START + self.random.between(seconds(2), self.ends - Instant::START);
        let down = self.random.between(Duration::from_millis(1), seconds(20));
        self.world.restart_at(at, host, down, then);
    }

    /// Lets everything happen; then everybody hangs up and goes, and the world comes to rest.
    fn play(mut self) -> History {
        let mut world = self.world;
        world.run_for(self.ends - Instant::START);
        let phones = self.phones.drain(..).map(|(host, ..)| host);
        let phones: Vec<HostId> = phones.collect();
        for phone in &phones {
            world.hang_up_all(*phone);
            world.command(*phone, Command::Unregister);
        }
        // What was still on its way may have begun another call; robots wait for callers that have gone.
        for wait in [100, 200] {
            world.run_for(seconds(wait));
            // Who was down has not heard that it is over.
            phones.iter().for_each(|phone| world.command(*phone, Command::Unregister));
            let servers = self.servers.iter().map(|(host, ..)| *host);
            for host in phones.iter().copied().chain(servers) {
                world.hang_up_all(host);
            }
        }
        world.run_to_rest(REST);
        world.into_history()
    }
}
