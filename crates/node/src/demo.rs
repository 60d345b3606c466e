//! The demonstration: a server and two phones on loopback sockets, a call, and audio measured at both ends.
//!
//! The phones share nothing with the server but the wire. What is told is what was captured and measured, not what
//! should have happened.

mod capture;
pub mod figure;
mod judge;
mod script;
mod seat;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub use capture::Step;
pub use judge::Direction;
pub use script::DOMAIN;
pub use seat::Failure;

use crate::running::StartError;
use capture::Capture;

/// The shortest talk that can be measured: half a second of tone and half a second of speech.
pub const SECONDS_MIN: f64 = 1.0;
/// The longest.
pub const SECONDS_MAX: f64 = 120.0;

/// The names in the ladder, in the order of its columns.
pub(crate) const PARTICIPANTS: [&str; 3] = ["alice", "server", "bob"];
pub(crate) const ALICE: usize = 0;
pub(crate) const SERVER: usize = 1;
pub(crate) const BOB: usize = 2;

/// What the demonstration is started with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DemoConfig {
    /// How long the two talk, in seconds; cut to [`SECONDS_MIN`] and [`SECONDS_MAX`].
    pub seconds: f64,
    /// The address of the server. Alice has the next IPv4 address and bob the one after it; with IPv6 all three share
    /// it.
    pub address: IpAddr,
    /// How many shards the server has.
    pub shards: u16,
}

impl Default for DemoConfig {
    fn default() -> DemoConfig {
        DemoConfig { seconds: 3.0, address: IpAddr::V4(Ipv4Addr::LOCALHOST), shards: 1 }
    }
}

impl DemoConfig {
    fn talk(&self) -> Duration {
        let seconds = if self.seconds.is_nan() { SECONDS_MIN } else { self.seconds };
        Duration::from_secs_f64(seconds.clamp(SECONDS_MIN, SECONDS_MAX))
    }

    /// The addresses in the order of the participants.
    fn addresses(&self) -> [IpAddr; 3] {
        [1, 0, 2].map(|by| next(self.address, by))
    }
}

/// The IPv4 address so many after this one; IPv6 has one for all.
fn next(address: IpAddr, by: u32) -> IpAddr {
    match address {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip).wrapping_add(by))),
        IpAddr::V6(_) => address,
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoReport {
    /// Whether audio was measured both ways.
    pub ok: bool,
    /// `TWO-WAY AUDIO OK`, or what went wrong, in words.
    pub verdict: String,
    /// The caller to the called one, then back.
    pub directions: Vec<Direction>,
    /// The messages that passed, in the order in which they were sent.
    pub ladder: Vec<Step>,
}

/// Runs the demonstration to its end, which takes as long as the talk and some tenths of a second.
///
/// # Errors
/// When a socket can't be bound. All that goes wrong later is told by the report.
pub fn run(config: &DemoConfig) -> Result<DemoReport, StartError> {
    let capture = Capture::default();
    let sounds = judge::sounds(config.talk());
    let outcome = script::run(config, &capture, &sounds)?;
    let directions = judge::directions([PARTICIPANTS[ALICE], PARTICIPANTS[BOB]], &sounds, &outcome.heard);
    let ladder = capture.ladder(&outcome.addresses);
    let verdict = judge::verdict(outcome.failure.as_ref(), &directions);
    Ok(DemoReport { ok: verdict == judge::OK, verdict, directions, ladder })
}
