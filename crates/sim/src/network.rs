//! The network between addresses: datagrams are delayed, lost, doubled, overtaken, cut off or refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_wire::time::Instant;
use smallvec::SmallVec;

use crate::random::Random;

/// How good the network is. Shares are in thousandths of all datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// The shortest way.
    pub delay_min: Duration,
    /// The longest way of a datagram that is not overtaken.
    pub delay_max: Duration,
    /// Lost.
    pub loss: u32,
    /// Arriving twice.
    pub duplication: u32,
    /// Held back, so that later ones overtake it.
    pub reordering: u32,
    /// For how long at most.
    pub held_back_max: Duration,
    /// Refused by the sender's own network: its engine is told.
    pub refusal: u32,
}

impl Weather {
    /// Each datagram arrives once, in order, after 5 ms.
    pub const CALM: Weather = Weather {
        delay_min: Duration::from_millis(5),
        delay_max: Duration::from_millis(5),
        loss: 0,
        duplication: 0,
        reordering: 0,
        held_back_max: Duration::ZERO,
        refusal: 0,
    };
}

/// What happens to one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at these times; more than one when it is doubled.
    Arrives(SmallVec<[Instant; 1]>),
    /// It is lost on the way.
    Lost(Loss),
    /// The sender's network refuses it.
    Refused,
}

/// Why a datagram was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// By chance.
    Chance,
    /// By plan.
    Planned,
    /// Sender and receiver are cut off from each other.
    Partition,
    /// Nobody has the address.
    Nobody,
}

/// A fault that a test plans for one datagram, by its number in the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Lose it.
    Lose,
    /// Let it arrive twice, the second time after this delay.
    Double(Duration),
    /// Refuse to send it.
    Refuse,
}

/// Some addresses that nobody else reaches for a time.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Those inside.
    pub inside: Vec<SocketAddr>,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
}

/// One datagram, as the capture has it.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When it was sent.
    pub sent: Instant,
    /// The sender.
    pub from: SocketAddr,
    /// Where it was sent to.
    pub to: SocketAddr,
    /// The whole datagram.
    pub bytes: Bytes,
    /// What the network did with it.
    pub fate: Fate,
    /// When the receiver got it; empty for what was lost or came while the receiver was down.
    pub arrivals: SmallVec<[Instant; 1]>,
}

impl Packet {
    /// The first line as text, for ladders: method of a request, status and reason of a response.
    pub fn title(&self) -> String {
        let line = self.bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        match line.strip_prefix("SIP/2.0 ") {
            Some(status) => status.to_owned(),
            None => line.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// How often each fault fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Datagrams lost by chance or plan.
    pub lost: u64,
    /// Datagrams that arrived twice.
    pub doubled: u64,
    /// Datagrams that were held back.
    pub reordered: u64,
    /// Datagrams lost between the sides of a partition.
    pub partitioned: u64,
    /// Datagrams refused by the sender's network.
    pub refused: u64,
    /// Engines thrown away and made anew.
    pub restarts: u64,
    /// New settings given to running engines.
    pub reloads: u64,
    /// Datagrams for a host that was down.
    pub came_while_down: u64,
    /// Queries answered late, but in time.
    pub slow_answers: u64,
    /// Queries answered after their deadline.
    pub late_answers: u64,
    /// Queries whose answer was a failure.
    pub failed_answers: u64,
    /// Orders for ports that the media plane could not fill.
    pub no_ports: u64,
    /// Datagrams that are no SIP, or mutilated SIP.
    pub garbage: u64,
}

impl FaultCounts {
    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("reordered", self.reordered),
            ("partitioned", self.partitioned),
            ("refused by the sender's network", self.refused),
            ("restarts", self.restarts),
            ("reloads", self.reloads),
            ("came while the host was down", self.came_while_down),
            ("slow answers to queries", self.slow_answers),
            ("answers to queries after their deadline", self.late_answers),
            ("failed queries", self.failed_answers),
            ("no ports to be had", self.no_ports),
            ("garbage", self.garbage),
        ]
        .into_iter()
    }

    /// Adds those of another run.
    pub const fn add(&mut self, other: &FaultCounts) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.partitioned += other.partitioned;
        self.refused += other.refused;
        self.restarts += other.restarts;
        self.reloads += other.reloads;
        self.came_while_down += other.came_while_down;
        self.slow_answers += other.slow_answers;
        self.late_answers += other.late_answers;
        self.failed_answers += other.failed_answers;
        self.no_ports += other.no_ports;
        self.garbage += other.garbage;
    }
}

/// Decides the fate of each datagram.
#[derive(Debug)]
pub struct Network {
    /// The weather now.
    pub weather: Weather,
    /// Faults for single datagrams, by number.
    pub plan: BTreeMap<usize, Planned>,
    /// Datagrams that are always lost, by what is in them.
    pub swallows: Option<fn(&[u8]) -> bool>,
    /// Who is cut off.
    pub partitions: Vec<Partition>,
    random: Random,
    /// When the last datagram in order arrives, for each direction between two addresses.
    in_order: BTreeMap<(SocketAddr, SocketAddr), Instant>,
}

impl Network {
    pub(crate) fn new(random: Random) -> Network {
        Network {
            weather: Weather::CALM,
            plan: BTreeMap::new(),
            swallows: None,
            partitions: Vec::new(),
            random,
            in_order: BTreeMap::new(),
        }
    }

    /// The fate of datagram `number`.
    pub(crate) fn fate(
        &mut self,
        now: Instant,
        number: usize,
        (from, to): (SocketAddr, SocketAddr),
        bytes: &[u8],
        counts: &mut FaultCounts,
    ) -> Fate {
        let weather = self.weather;
        let planned = self.plan.get(&number).copied();
        if planned == Some(Planned::Refuse) || self.random.chance(weather.refusal) {
            counts.refused += 1;
            return Fate::Refused;
        }
        let cut = |part: &Partition| {
            part.from <= now && now < part.until && part.inside.contains(&from) != part.inside.contains(&to)
        };
        if self.partitions.iter().any(cut) {
            counts.partitioned += 1;
            return Fate::Lost(Loss::Partition);
        }
        if planned == Some(Planned::Lose) || self.swallows.is_some_and(|swallows| swallows(bytes)) {
            counts.lost += 1;
            return Fate::Lost(Loss::Planned);
        }
        if self.random.chance(weather.loss) {
            counts.lost += 1;
            return Fate::Lost(Loss::Chance);
        }
        let way = self.random.between(weather.delay_min, weather.delay_max);
        let first = if self.random.chance(weather.reordering) {
            counts.reordered += 1;
            now + way + self.random.between(Duration::ZERO, weather.held_back_max)
        } else {
            let last = self.in_order.entry((from, to)).or_default();
            // Two datagrams on one way never arrive in the same instant.
            *last = (now + way).max(*last + Duration::from_nanos(1));
            *last
        };
        let mut arrivals = SmallVec::new();
        arrivals.push(first);
        match planned {
            Some(Planned::Double(after)) => arrivals.push(first + after),
            _ if self.random.chance(weather.duplication) => {
                let after = self.random.between(Duration::ZERO, weather.delay_max + weather.held_back_max);
                arrivals.push(first + after);
            }
            _ => {}
        }
        counts.doubled += u64::from(arrivals.len() > 1);
        Fate::Arrives(arrivals)
    }
}
