//! The media thread: owns the RTP and RTCP sockets, leases them to shards, and drives the audio sessions on them.
//!
//! ```text
//! shard --Command--> inbox -> Plane -> AudioSession -> sockets
//! shard <-Leased---- inbox <- Plane <- sockets          |
//! owner <------------------ MediaReport <---------------+ when a lease is given back
//! ```

mod plane;
mod ports;
mod session;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use dialtone_media::{Direction, Report};
use dialtone_roles::io::{CallHandle, MediaCommand, MediaEvent};
use dialtone_transport::sys::Poller;

use crate::clock;
use crate::inbox::{Inbox, Sender, inbox};
use crate::shard::Word as ShardWord;
use plane::Plane;

/// What the media thread does for one node.
#[derive(Clone, Debug)]
pub struct MediaSettings {
    /// The first and the last port that RTP and RTCP may have.
    pub ports: (u16, u16),
    /// Leases of all shards at a time.
    pub leases_max: usize,
    /// Samples at 8 kHz of each call that are recorded at most; 0 records nothing.
    pub record_samples_max: usize,
    /// Whether the strongest tone of each call is looked for.
    pub measure_tone: bool,
    /// What [`Play::Prepared`](dialtone_roles::io::Play) names by number: samples at 8 kHz, then silence.
    pub prepared: Vec<Arc<[i16]>>,
}

impl Default for MediaSettings {
    fn default() -> MediaSettings {
        MediaSettings {
            // Below the ports that Linux gives to whoever asks for any (net.ipv4.ip_local_port_range).
            ports: (16_384, 32_766),
            leases_max: 4_000,
            record_samples_max: 0,
            measure_tone: true,
            prepared: Vec::new(),
        }
    }
}

/// What the audio of one call was like, told when its lease is given back.
#[derive(Clone, Debug)]
pub struct MediaReport {
    /// The shard of the call.
    pub shard: u16,
    /// The call.
    pub call: CallHandle,
    /// The figures.
    pub report: Report,
    /// What was heard, at 8 kHz, as far as [`MediaSettings::record_samples_max`] goes.
    pub recording: Vec<i16>,
}

/// What the audio of a call that goes on is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// The shard of the call.
    pub shard: u16,
    /// The call.
    pub call: CallHandle,
    /// Which ways the audio goes.
    pub direction: Direction,
    /// The level of what was sent since the last look, in dBFS.
    pub sent_dbfs: f64,
    /// The level of what was heard since the last look, in dBFS.
    pub heard_dbfs: f64,
    /// The figures since the call began.
    pub report: Report,
}

/// A word to the media thread.
#[derive(Debug)]
pub(crate) enum Word {
    /// A command of a shard.
    Command { shard: u16, command: MediaCommand },
    /// A shard began anew: all that it had is given back.
    ShardLost { shard: u16 },
    /// Tell of the calls that go on.
    Meters(SyncSender<Vec<Meter>>),
    /// End.
    Stop,
}

/// Words that wait for the media thread at most.
const INBOX_LEN: usize = 8_192;
/// Words that are taken before the sockets have their turn.
const WORDS_MAX: usize = 64;

/// What the media thread counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// RTP and RTCP datagrams received.
    pub(crate) received: u64,
    /// RTP and RTCP datagrams sent.
    pub(crate) sent: u64,
    /// Datagrams that the system did not take.
    pub(crate) send_failures: u64,
    /// Leases handed out.
    pub(crate) leases: u64,
    /// Leases that were asked for when there were none.
    pub(crate) exhausted: u64,
    /// Datagrams of streams that nobody sees or hears: pictures.
    pub(crate) unplayed: u64,
    /// Commands for leases that are void.
    pub(crate) stale_commands: u64,
    /// Times that the plane began anew after a panic.
    pub(crate) restarts: u64,
}

/// The thread before it runs.
pub(crate) struct MediaThread {
    poller: Poller,
    inbox: Inbox<Word>,
    settings: MediaSettings,
}

/// Where reports go.
pub(crate) type ReportSink = Box<dyn Fn(MediaReport) + Send>;

impl MediaThread {
    pub(crate) fn new(settings: MediaSettings) -> std::io::Result<(Sender<Word>, MediaThread)> {
        let poller = Poller::new()?;
        let (sender, inbox) = inbox(INBOX_LEN, poller.waker());
        Ok((sender, MediaThread { poller, inbox, settings }))
    }

    /// Runs until [`Word::Stop`]. After a panic the plane begins anew with a new epoch, and the shards are told.
    pub(crate) fn run(mut self, shards: &[Sender<ShardWord>], report: &ReportSink) -> Counts {
        let mut counts = Counts::default();
        for epoch in 0.. {
            if epoch > 0 {
                counts.restarts += 1;
                for shard in shards {
                    // A shard with a full inbox finds its leases void at the next use of them.
                    let _ = shard.send(ShardWord::Media(MediaEvent::Restarted { epoch }));
                }
            }
            let run = catch_unwind(AssertUnwindSafe(|| {
                let mut plane = Plane::new(epoch, &self.settings, shards, report, &mut counts);
                run_plane(&mut plane, &mut self.poller, &mut self.inbox)
            }));
            match run {
                Ok(()) => break,
                Err(_) => {
                    tracing::error!(
                        epoch,
                        "the media plane panicked: a bug, please report it; its calls are silent"
                    );
                    // The sockets of the old plane are closed and with that gone from the poller.
                    clock::rest(std::time::Duration::from_millis(100));
                }
            }
        }
        counts
    }
}

fn run_plane(plane: &mut Plane<'_>, poller: &mut Poller, inbox: &mut Inbox<Word>) {
    let mut ready = Vec::new();
    loop {
        for _ in 0..WORDS_MAX {
            match inbox.take() {
                Some(Word::Command { shard, command }) => {
                    plane.handle_command(clock::now(), shard, command, poller)
                }
                Some(Word::ShardLost { shard }) => plane.release_all(clock::now(), Some(shard)),
                // Who does not wait for it any more does not want it.
                Some(Word::Meters(to)) => drop(to.try_send(plane.meters())),
                Some(Word::Stop) => return plane.release_all(clock::now(), None),
                None => break,
            }
        }
        plane.handle_timeouts(clock::now());
        let wait = match plane.poll_timeout() {
            _ if !inbox.may_sleep() => Some(std::time::Duration::ZERO),
            Some(at) => Some(at.since(clock::now())),
            None => None,
        };
        ready.clear();
        if let Err(error) = poller.wait(wait, |token, readiness| ready.push((token, readiness))) {
            tracing::error!(%error, "waiting for sockets failed");
            clock::rest(std::time::Duration::from_millis(10));
        }
        inbox.is_awake();
        for (token, readiness) in &ready {
            plane.handle_ready(*token, *readiness);
        }
    }
}
