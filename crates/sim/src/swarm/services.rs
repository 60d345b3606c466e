//! What the telephones of the swarm do beside calling: they park and fetch, take calls that ring elsewhere, wait in
//! queues, transfer, and fall silent in the middle of a call.

use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::io::{Command, Play};
use dialtone_roles::settings::{BridgeSettings, Destination, Queue};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use super::{GROUPS, Plan, USERS, seconds};
use crate::phone::Habits;
use crate::random::Random;

/// Where calls are parked and fetched: few, so that they are found taken, and found empty.
const SLOTS: [&str; 2] = ["*51", "*52"];
/// The shortest session intervals (RFC 4028 §5), so that runs of minutes see them refreshed and run out.
const SESSION_S: (u64, u64) = (90, 120);
/// How long the world goes on when a phone has fallen silent: until nobody refreshes the last of its sessions.
const UNTIL_MISSED: Duration = Duration::from_secs(150);
/// Where the tokens of calls begin that take others.
const PICKING: u64 = 100;
/// Longer than any run.
const FOR_GOOD: Duration = Duration::from_secs(3_600);

/// What a server does about the calls of which it is both ends.
pub(super) fn bridges(random: &mut Random, domain: &str) -> BridgeSettings {
    let default = BridgeSettings::default();
    let mut bridges = BridgeSettings {
        // Without any interval a call whose phones have both died is never missed.
        session_s: interval(random).or(default.session_s),
        transfers: random.chance(800),
        park_time: seconds(5 + random.below(40)),
        ..default
    };
    for group in GROUPS {
        if random.chance(500) {
            let otherwise = random.chance(300).then(|| {
                let user = random.choose(USERS).copied().unwrap_or_default();
                Destination::User(format!("sip:{user}@{domain}").into())
            });
            let queue = Queue { time: seconds(3 + random.below(30)), otherwise };
            bridges.queues.insert(SmolStr::new_static(group), queue);
        }
    }
    if random.chance(700) {
        // Who plays music to those who are held or parked may be busy, hold and hang up, and be the one who has called.
        let players: Vec<&str> = USERS.iter().chain(&GROUPS).chain(&["nobody"]).copied().collect();
        let player = random.choose(&players).copied().unwrap_or_default();
        bridges.music = UriBuf::parse(&format!("sip:{player}@{domain}")).ok();
    }
    bridges
}

/// What a phone asks of its sessions.
pub(super) fn sessions(random: &mut Random, settings: &mut Settings) {
    settings.session.timer_s = interval(random);
    settings.session.reliable_ringing = random.chance(400);
}

fn interval(random: &mut Random) -> Option<u32> {
    let (shortest, longest) = SESSION_S;
    let seconds = shortest + random.below(longest - shortest);
    random.chance(600).then(|| u32::try_from(seconds).unwrap_or(u32::MAX))
}

impl Plan {
    pub(super) fn habits(&mut self) -> Habits {
        let users = USERS.iter().chain(&GROUPS).chain(&["nobody", "echo"]);
        let of_all = |names: Vec<&&'static str>| -> Vec<UriBuf> {
            let domains = self.servers.iter().map(|(.., domain)| domain);
            let all = domains.flat_map(|domain| names.iter().map(move |name| format!("sip:{name}@{domain}")));
            all.filter_map(|uri| UriBuf::parse(&uri).ok()).collect()
        };
        let slots = of_all(SLOTS.iter().collect());
        let mut transfer_to = of_all(users.collect());
        // As often as all users together.
        transfer_to.extend(slots.iter().chain(&slots).cloned());
        let random = &mut self.random;
        Habits {
            answer_after: Some((Duration::ZERO, seconds(random.below(8)))),
            decline: 150,
            ignore: 60,
            talk: random.chance(700).then(|| (Duration::ZERO, seconds(1 + random.below(30)))),
            patience: random.chance(300).then(|| (Duration::ZERO, seconds(1 + random.below(20)))),
            hold: 300,
            transfer: 200,
            transfer_to,
            join: 300,
            digits: 200,
            early: 250,
            updates: 400,
            refresh: 150,
            fetch: 500,
            slots,
        }
    }

    /// A number that does something.
    pub(super) fn service(&mut self) -> String {
        let (.., domain) = self.random.choose(&self.servers).cloned().expect("there is a server");
        let user = self.random.choose(USERS).copied().unwrap_or_default();
        match self.random.choose(&SLOTS).copied().filter(|_| self.random.chance(500)) {
            Some(slot) => format!("sip:{slot}@{domain}"),
            None => format!("sip:*8{user}@{domain}"),
        }
    }

    /// Somebody takes a call that has just begun to ring at a user, perhaps.
    pub(super) fn pick_up(&mut self, at: Instant, token: u64, to: &UriBuf) {
        let uri = to.uri();
        let called = uri.as_sip().and_then(|sip| Some((sip.user_unescaped()?, sip.host.to_string())));
        let (Some((user, domain)), true) = (called, self.random.chance(150)) else { return };
        let Some((host, ..)) = self.random.choose(&self.phones).copied() else { return };
        let Ok(to) = UriBuf::parse(&format!("sip:*8{user}@{domain}")) else { return };
        let at = at + self.random.between(seconds(1), seconds(4));
        let token = token + PICKING;
        self.world.command_at(at, host, Command::Call { token, to, play: Play::Silence });
    }

    /// One phone is gone from one moment to the next, and nobody is told: whoever talked with it has to find out by
    /// himself.
    pub(super) fn silence(&mut self) {
        if !self.random.chance(80) {
            return;
        }
        let Some((phone, ..)) = self.random.choose(&self.phones).copied() else { return };
        let at = Instant::START + self.random.between(seconds(5), self.ends - Instant::START);
        self.world.restart_at(at, phone, FOR_GOOD, Vec::new());
        self.ends = self.ends.max(at + UNTIL_MISSED);
    }
}
