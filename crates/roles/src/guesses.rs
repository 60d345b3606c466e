//! Who guesses passwords: failures are counted for each user at each source, and for each source. Who fails too often
//! is held off, each time for longer (RFC 3261 §26.3.2.4 asks to bound what strangers can do).
//!
//! ```text
//!              wrong                wrong: `failures` of them within `window`
//!   (unknown) -------> counting ----------------------------------------------> held off for `hold`
//!       ^                 | window over                                           |  ^ wrong: twice the time,
//!       |<----------------+                                  time over            v  | at most `hold_max`
//!       |<---------------------------------------------------------------------- watched
//!          as long again, at least a window, without a failure
//! ```
//!
//! Whoever is held off is answered 403 before his password is looked at, so that he learns nothing. Not held off are
//! the address and port from which a user has shown the right password last, and, when a source guesses through many
//! users, users that have shown the right one from there within a day: behind a NAT the real users go on.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use dialtone_wire::time::Instant;
use foldhash::fast::FixedState;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::settings::GuessSettings;

/// Sources that an operator can block at the same time.
pub(crate) const BLOCKED_MAX: usize = 10_000;
/// Users and sources with the right password that are remembered: a table of fixed size, in which a newcomer takes the
/// place of whoever is there.
const PLACES: usize = 32_768;
/// How long the right password is remembered.
const MEMORY: Duration = Duration::from_secs(24 * 3600);
/// How often other shards are told the same again.
const NEWS: Duration = Duration::from_secs(3600);
/// A source from which somebody has shown the right password may fail this many times as often.
const KNOWN_SOURCE: u32 = 4;
/// Bytes of a user's name that are told apart.
const USER_BYTES_MAX: usize = 128;

/// Where somebody sends from: an address, of IPv6 its first 64 bits, since whoever has one of them has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source of an address.
    pub fn of(ip: IpAddr) -> Source {
        Source(match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        })
    }

    /// The octets that tell it apart.
    pub(crate) fn octets(self) -> SmallVec<[u8; 16]> {
        match self.0 {
            IpAddr::V4(ip) => SmallVec::from_slice(&ip.octets()),
            IpAddr::V6(ip) => SmallVec::from_slice(&ip.octets()[..8]),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

/// Who is held off: a user at a source, or whoever sends from a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guesser {
    /// Where from.
    pub source: Source,
    /// As whom, `user@domain`; `None` stands for all users.
    pub user: Option<SmolStr>,
}

/// That somebody is held off, as shards tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who.
    pub guesser: Guesser,
    /// Until when.
    pub until: Instant,
    /// How often he was held off in a row.
    pub times: u32,
}

/// What `dialtone status` tells: somebody who is held off or blocked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOff {
    /// Who.
    pub guesser: Guesser,
    /// For how long yet; `None` until he is freed.
    pub left: Option<Duration>,
    /// Whether an operator has blocked the source.
    pub blocked: bool,
}

/// Whom an operator frees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freed {
    /// A source with all its users, blocked or held off.
    Source(Source),
    /// A user, `user@domain`, at all sources.
    User(SmolStr),
    /// Everybody.
    All,
}

/// What one shard knows.
#[derive(Debug)]
pub(crate) struct Guesses {
    entries: BTreeMap<Guesser, Entry>,
    /// When each entry is forgotten.
    ends: BTreeSet<(Instant, Guesser)>,
    /// Sources that an operator has blocked, and until when.
    blocked: BTreeMap<Source, Option<Instant>>,
    known: Known,
}

/// The failures of one guesser.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Within the window that runs; they count as long as he was never held off.
    failures: u32,
    /// How often he was held off in a row.
    times: u32,
    /// Held off until then; the past for who never was.
    until: Instant,
    /// When all of this is forgotten.
    end: Instant,
}

impl Guesses {
    pub(crate) fn new(seed: u64) -> Guesses {
        Guesses {
            entries: BTreeMap::new(),
            ends: BTreeSet::new(),
            blocked: BTreeMap::new(),
            known: Known { hasher: FixedState::with_seed(seed), places: Vec::new() },
        }
    }

    /// How many users and sources have failures that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether an operator has blocked this address.
    pub(crate) fn is_blocked(&self, now: Instant, ip: IpAddr) -> bool {
        if self.blocked.is_empty() {
            return false;
        }
        self.blocked.get(&Source::of(ip)).is_some_and(|until| until.is_none_or(|until| until > now))
    }

    /// For how long a user (`user@domain`) is yet held off at an address and port.
    pub(crate) fn held_off(
        &self,
        now: Instant,
        from: SocketAddr,
        user: &str,
        domain: &str,
    ) -> Option<Duration> {
        if self.entries.is_empty() {
            return None;
        }
        let source = Source::of(from.ip());
        let port = self.known.port(now, source, Some((user, domain)));
        if port == Some(from.port()) {
            return None;
        }
        let left = |guesser: &Guesser| {
            let entry = self.entries.get(guesser).filter(|entry| entry.until > now)?;
            Some(entry.until - now)
        };
        let of_user = left(&Guesser { source, user: Some(name(user, domain)) });
        let of_source = || if port.is_some() { None } else { left(&Guesser { source, user: None }) };
        of_user.or_else(of_source)
    }

    /// A password was wrong, or there is no such user. Gives those who are held off from now on.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        settings: &GuessSettings,
        from: SocketAddr,
        user: &str,
        domain: &str,
    ) -> SmallVec<[Hold; 2]> {
        let source = Source::of(from.ip());
        let is_known_user = self.known.port(now, source, Some((user, domain))).is_some();
        let is_known_source = self.known.port(now, source, None).is_some();
        self.known.distrust(source, user, domain, from.port());
        let patience = if is_known_source { KNOWN_SOURCE } else { 1 };
        let by_user = Guesser { source, user: Some(name(user, domain)) };
        let by_source = Guesser { source, user: None };
        [
            // Somebody else behind the same NAT may be the one who fails: a user who was right from there is never
            // held off for longer than the first time.
            self.count(now, settings, by_user, settings.failures, is_known_user),
            self.count(now, settings, by_source, settings.source_failures.saturating_mul(patience), false),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn count(
        &mut self,
        now: Instant,
        settings: &GuessSettings,
        guesser: Guesser,
        failures_max: u32,
        is_mild: bool,
    ) -> Option<Hold> {
        if failures_max == 0 {
            return None;
        }
        self.forget(now);
        let before = self.entries.get(&guesser).copied();
        let mut entry = before.unwrap_or(Entry {
            failures: 0,
            times: 0,
            until: Instant::START,
            end: now + settings.window,
        });
        if entry.until > now {
            // Only those come here who are not held off: what they fail with says nothing of the others.
            return None;
        }
        entry.failures = entry.failures.saturating_add(1);
        let is_held = entry.times > 0 || entry.failures >= failures_max;
        if is_held {
            entry.times = if is_mild { 1 } else { entry.times.saturating_add(1) };
            let factor = 1_u32.checked_shl(entry.times - 1).unwrap_or(u32::MAX);
            let hold = settings.hold.saturating_mul(factor).min(settings.hold_max);
            entry.until = now + hold;
            entry.end = entry.until + hold.max(settings.window);
        }
        self.keep(settings, guesser.clone(), entry);
        is_held.then_some(Hold { guesser, until: entry.until, times: entry.times })
    }

    /// Another shard holds somebody off.
    pub(crate) fn hold(&mut self, now: Instant, settings: &GuessSettings, hold: Hold) {
        self.forget(now);
        let Hold { guesser, until, times } = hold;
        let is_news = self.entries.get(&guesser).is_none_or(|entry| entry.until < until);
        if until > now && is_news {
            let end = until + (until - now).max(settings.window);
            self.keep(settings, guesser, Entry { failures: 0, times, until, end });
        }
    }

    fn keep(&mut self, settings: &GuessSettings, guesser: Guesser, entry: Entry) {
        self.ends.insert((entry.end, guesser.clone()));
        if let Some(before) = self.entries.insert(guesser.clone(), entry)
            && before.end != entry.end
        {
            self.ends.remove(&(before.end, guesser));
        }
        while self.entries.len() > settings.entries_max.max(1) {
            // Who is held off is kept for longer than anybody who only fails, so that a flood of those pushes out its like.
            let Some((_, guesser)) = self.ends.pop_first() else { return };
            self.entries.remove(&guesser);
        }
    }

    /// A password was right. Gives whether that is news for other shards.
    pub(crate) fn succeeded(&mut self, now: Instant, from: SocketAddr, user: &str, domain: &str) -> bool {
        let source = Source::of(from.ip());
        self.known.note(now, source, None, 0);
        self.known.note(now, source, Some((user, domain)), from.port())
    }

    /// Blocks a source until it is freed, or for a time; false when too many are blocked.
    pub(crate) fn block(&mut self, now: Instant, source: Source, time: Option<Duration>) -> bool {
        self.blocked.retain(|_, until| until.is_none_or(|until| until > now));
        if self.blocked.len() >= BLOCKED_MAX && !self.blocked.contains_key(&source) {
            return false;
        }
        self.blocked.insert(source, time.map(|time| now + time));
        true
    }

    /// Frees whom an operator names; gives those who were held off or blocked.
    pub(crate) fn free(&mut self, now: Instant, freed: &Freed) -> Vec<Guesser> {
        let is_meant = |guesser: &Guesser| match freed {
            Freed::Source(source) => guesser.source == *source,
            Freed::User(user) => guesser.user.as_ref().is_some_and(|of| *of == cut(user)),
            Freed::All => true,
        };
        let mut out: Vec<Guesser> = Vec::new();
        self.blocked.retain(|source, until| {
            let guesser = Guesser { source: *source, user: None };
            let is_meant = is_meant(&guesser);
            if is_meant && until.is_none_or(|until| until > now) {
                out.push(guesser);
            }
            !is_meant
        });
        let ends = &mut self.ends;
        self.entries.retain(|guesser, entry| {
            let is_meant = is_meant(guesser);
            if is_meant {
                ends.remove(&(entry.end, guesser.clone()));
                if entry.until > now && !out.contains(guesser) {
                    out.push(guesser.clone());
                }
            }
            !is_meant
        });
        out
    }

    /// Those who are held off or blocked now, at most `most`, in the order of their addresses.
    pub(crate) fn list(&self, now: Instant, most: usize) -> Vec<HeldOff> {
        let blocked = self.blocked.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
        let blocked = blocked.map(|(source, until)| HeldOff {
            guesser: Guesser { source: *source, user: None },
            left: until.map(|until| until - now),
            blocked: true,
        });
        let held = self.entries.iter().filter(|(_, entry)| entry.until > now);
        let held = held.map(|(guesser, entry)| HeldOff {
            guesser: guesser.clone(),
            left: Some(entry.until - now),
            blocked: false,
        });
        blocked.chain(held).take(most).collect()
    }

    /// Forgets what is over.
    pub(crate) fn forget(&mut self, now: Instant) {
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, guesser)) = self.ends.pop_first() {
                self.entries.remove(&guesser);
            }
        }
    }

    /// When the next entry is forgotten.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.ends.first().map(|(end, _)| (*end, "guesses"))
    }
}

/// `user@domain`, cut to a length that a table can hold.
fn name(user: &str, domain: &str) -> SmolStr {
    cut(&smol_str::format_smolstr!("{user}@{domain}"))
}

fn cut(name: &str) -> SmolStr {
    SmolStr::new(&name[..name.floor_char_boundary(USER_BYTES_MAX)])
}

/// Who has shown the right password from where.
struct Known {
    hasher: FixedState,
    /// Made at the first success.
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    key: u64,
    /// The port that the right password came from last; 0 once a wrong one came from there.
    port: u16,
    at: Instant,
}

impl Known {
    fn key(&self, source: Source, user: Option<(&str, &str)>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        match source.0 {
            IpAddr::V4(ip) => hasher.write_u32(ip.into()),
            IpAddr::V6(ip) => hasher.write_u128(ip.into()),
        }
        if let Some((user, domain)) = user {
            hasher.write(user.as_bytes());
            hasher.write_u8(b'@');
            hasher.write(domain.as_bytes());
        }
        // No place that is in use has the key 0.
        hasher.finish().max(1)
    }

    fn place(&self, now: Instant, key: u64) -> Option<&Place> {
        let place = self.places.get((key % PLACES as u64) as usize)?;
        (place.key == key && now.since(place.at) < MEMORY).then_some(place)
    }

    /// The port from which a user, or anybody, was right at this source; `None` for who was not within a day.
    fn port(&self, now: Instant, source: Source, user: Option<(&str, &str)>) -> Option<u16> {
        self.place(now, self.key(source, user)).map(|place| place.port)
    }

    fn note(&mut self, now: Instant, source: Source, user: Option<(&str, &str)>, port: u16) -> bool {
        if self.places.is_empty() {
            self.places = vec![Place::default(); PLACES];
        }
        let key = self.key(source, user);
        let is_old =
            self.place(now, key).is_some_and(|place| place.port == port && now.since(place.at) < NEWS);
        if !is_old {
            self.places[(key % PLACES as u64) as usize] = Place { key, port, at: now };
        }
        !is_old
    }

    fn distrust(&mut self, source: Source, user: &str, domain: &str, port: u16) {
        let key = self.key(source, Some((user, domain)));
        if let Some(place) = self.places.get_mut((key % PLACES as u64) as usize)
            && (place.key, place.port) == (key, port)
        {
            place.port = 0;
        }
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("places", &self.places.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
