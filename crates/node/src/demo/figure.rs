//! The deck's reference architecture as a running network: two phones, two proxies, a registrar and a redirect server,
//! each with an engine, sockets and an address of its own, and nothing in common but the wire.
//!
//! ```text
//!             Redirect            Registrar
//!                |  francetelecom    |  orange.test: who is where
//!     Tin ------ P1 --------------- P2 ------ Rob
//!   tin@orange   |                             |  rob@orange
//!                +------- after the INVITE ----+
//! ```
//!
//! Rob's phone registers. Tin calls `rob@francetelecom.test`; the redirect server answers that Rob is
//! `rob@orange.test` now, and Tin calls him there. P2 asks the registrar where Rob's phone is. P1 stays in the path
//! of the call and P2 does not. What passes is shown as it passes, beside the step of the deck that it belongs to;
//! whether all steps were there is judged from that alone. The deck's gateway to the telephone network is not here yet.

mod network;
mod steps;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

pub use steps::{DeckStep, Shown, StepReport};

use super::capture::Capture;
use super::seat::{Failure, converse};
use super::{DemoConfig, Direction, judge};
use crate::clock;
use crate::running::StartError;
use network::Network;
use steps::Reader;

/// The names of the boxes, in the order of the columns: that in which they stand in the way of a call.
pub const NAMES: [&str; 6] = ["Tin", "P1", "Redirect", "P2", "Registrar", "Rob"];
const TIN: usize = 0;
const P1: usize = 1;
const REDIRECT: usize = 2;
const P2: usize = 3;
const REGISTRAR: usize = 4;
const ROB: usize = 5;

/// The domain of both; that of the slides with a top level that is nobody's (RFC 6761 §6.2).
const ORANGE: &str = "orange.test";
/// The domain where Rob is no more.
const FRANCE_TELECOM: &str = "francetelecom.test";
/// How often it is looked for what has passed.
const GLANCE: Duration = Duration::from_millis(20);

/// What is told while it runs. As text it is one or more whole lines.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// All boxes run at these addresses, in the order of [`NAMES`].
    Started(&'a [SocketAddr; 6]),
    /// A message has passed, or was lost.
    Passed(&'a Shown),
    /// The two talk for this time.
    Talking(Duration),
}

/// What came of it. As text it is what is to be said at the end; the ladder was told before.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureReport {
    /// Whether audio was measured both ways, and all steps were seen.
    pub ok: bool,
    /// The same in words.
    pub verdict: String,
    /// Tin to Rob, then back.
    pub directions: Vec<Direction>,
    /// The messages that passed, in the order in which they were sent.
    pub ladder: Vec<Shown>,
    /// The steps of the deck, and what is missing of each.
    pub steps: Vec<StepReport>,
}

/// Runs it to its end, which takes as long as the talk and about a second. `show` is called by another thread.
///
/// # Errors
/// When a socket can't be bound. All that goes wrong later is told by the report.
pub fn run(
    config: &DemoConfig,
    show: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<FigureReport, StartError> {
    let talk = config.talk();
    let capture = Capture::default();
    let sounds = judge::sounds(talk);
    let mut network = Network::start(&addresses(config.address), config.shards, &sounds, &capture)?;
    let places = network.addresses();
    show(Progress::Started(&places));
    let (failure, ladder) = thread::scope(|scope| {
        let (over, is_over) = sync_channel::<()>(0);
        let watcher = scope.spawn(|| {
            let is_over = is_over;
            watch(&capture, &places, talk, show, || {
                is_over.recv_timeout(GLANCE) == Err(RecvTimeoutError::Disconnected)
            })
        });
        let failure = call(&mut network, talk).err();
        drop(over);
        (failure, watcher.join())
    });
    let heard = network.stop();
    let ladder = ladder.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let directions = judge::directions([NAMES[TIN], NAMES[ROB]], &sounds, &heard);
    let steps = steps::judge(&ladder);
    let verdict = verdict(judge::verdict(failure.as_ref(), &directions), &steps);
    Ok(FigureReport { ok: verdict == ALL_WELL, verdict, directions, ladder, steps })
}

fn call(network: &mut Network, talk: Duration) -> Result<(), Failure> {
    let Network { tin, rob, .. } = network;
    rob.register()?;
    tin.call(&format!("sip:rob@{FRANCE_TELECOM}"))?;
    converse(tin, rob, talk)?;
    rob.unregister()
}

/// Shows what passes, until `is_over` says that nothing more comes; it waits a little each time.
fn watch(
    capture: &Capture,
    places: &[SocketAddr],
    talk: Duration,
    show: &mut (dyn FnMut(Progress<'_>) + Send),
    mut is_over: impl FnMut() -> bool,
) -> Vec<Shown> {
    let (mut ladder, mut reader) = (Vec::new(), Reader::new(places));
    let mut talks = false;
    loop {
        let over = is_over();
        for passed in capture.take((!over).then(clock::now), places) {
            let shown = reader.read(&passed);
            show(Progress::Passed(&shown));
            if !talks && shown.deck == Some(DeckStep::Acknowledgement) && passed.to == Ok(ROB) {
                talks = true;
                show(Progress::Talking(talk));
            }
            ladder.push(shown);
        }
        if over {
            return ladder;
        }
    }
}

/// The verdict when all is well.
const ALL_WELL: &str = "TWO-WAY AUDIO OK, AND EVERY STEP AS IN THE DECK";

fn verdict(audio: String, steps: &[StepReport]) -> String {
    let missing = |step: &StepReport| Some(format!("{}: {}", step.deck.label(), step.missing.as_ref()?));
    let missing: Vec<String> = steps.iter().filter_map(missing).collect();
    match (audio == judge::OK, missing.first()) {
        (true, None) => ALL_WELL.to_owned(),
        (true, Some(first)) => format!("{audio}, BUT NOT AS IN THE DECK: {first}"),
        (false, _) => audio,
    }
}

/// The addresses in the order of [`NAMES`]: this one and the next five; with IPv6 all share it.
fn addresses(first: IpAddr) -> [IpAddr; 6] {
    [0, 1, 2, 3, 4, 5].map(|by| super::next(first, by))
}
