//! Music for a far end that we hold (RFC 5359 §2.3). The call goes to the music server, and comes back under its number.
//!
//! ```text
//!          hold            held            MusicBegan           resume
//!    None -----> Wanted ---------> Asked ------------> Plays ------------> Returning
//!     ^            | resume          | NoMusic           ^                    |  |
//!     +------------+-----------------+                   +--- not answered ---+  | Answered
//!     +--------------------------------------------------------------------------+
//! ```
//!
//! When the music server is asked, the far end may end its call with us before or after we are told that it hears music, or
//! because it has hung up: a call that ends then is over only when the music server has said that it has not got it.

use std::time::Duration;

use dialtone_roles::io::{CallHandle, Command, EndReason, Event, TransferOutcome};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;

use super::super::line::{Line, LineState};
use super::super::news::News;
use super::Handset;

/// How long a call that has ended waits for word of the music server: as long as its NOTIFY is repeated (RFC 3261
/// §17.1.2.2, Timer F), and a second.
pub(super) const MUSIC_WORD_TIME: Duration = Duration::from_secs(33);

/// How a far end and the music server stand.
#[derive(Debug, Default)]
pub(in crate::softphone) enum Music {
    /// It hears none.
    #[default]
    None,
    /// The music server is asked as soon as the far end is held.
    Wanted,
    /// It was asked.
    Asked {
        /// The owner wants the far end back.
        returns: bool,
        /// The call has ended meanwhile.
        ended: Option<(EndReason, Instant)>,
    },
    /// It plays.
    Plays(Parked),
    /// We call the far end in its place.
    Returning(Parked),
}

/// A far end at a music server.
#[derive(Clone, Debug)]
pub(in crate::softphone) struct Parked {
    /// Calling this takes it back.
    back: UriBuf,
    /// The call whose place the music server has, where it has not ended yet.
    old: Option<CallHandle>,
}

impl Handset {
    /// Lets whoever is held hear this music server.
    #[must_use]
    pub fn with_music(mut self, source: Option<UriBuf>) -> Handset {
        self.music = source;
        self
    }

    /// The owner holds the selected call. Calls that are held because another one begins hear nothing: they may be given to
    /// the other one, for which they must be here.
    pub(super) fn want_music(&mut self) {
        let Some(line) = self.selected.and_then(|number| self.lines.get_mut(&number)) else { return };
        if self.music.is_none() || line.joined || !matches!(line.music, Music::None) {
            return;
        }
        line.music = Music::Wanted;
        let (number, is_held) = (line.number, line.held && line.asked_hold.is_none());
        if is_held {
            self.ask_music(number);
        }
    }

    /// The far end is held.
    pub(super) fn ask_music(&mut self, number: u64) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        let (Music::Wanted, Some(call), Some(source)) = (&line.music, line.handle, &self.music) else {
            return;
        };
        line.music = Music::Asked { returns: false, ended: None };
        self.music_of.insert(call, number);
        self.commands.push_back(Command::Music { call, source: source.clone() });
    }

    /// The owner wants a far end back. Says whether that is all that is to be done.
    pub(super) fn take_back(&mut self, number: u64) -> bool {
        let Some(line) = self.lines.get_mut(&number) else { return false };
        match &mut line.music {
            Music::None => false,
            Music::Wanted => {
                line.music = Music::None;
                false
            }
            // The call is still here, or it comes back as soon as we know from where.
            Music::Asked { returns, ended } => {
                *returns = true;
                ended.is_some()
            }
            Music::Plays(_) => {
                self.call_back(number);
                true
            }
            Music::Returning(_) => true,
        }
    }

    fn call_back(&mut self, number: u64) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        let Music::Plays(parked) = &line.music else { return };
        let parked = parked.clone();
        // It would have ended by itself; if its BYE was lost, it never does.
        self.commands.extend(parked.old.map(|call| Command::Hangup { call }));
        let (to, play) = (parked.back.clone(), self.play.clone());
        self.commands.push_back(Command::Call { token: number, to, play });
        line.music = Music::Returning(Parked { old: None, ..parked });
    }

    /// The owner hangs up on a far end that hears music, or has ended its call and may hear it. It would hear it for ever: it
    /// is taken back, and hung up on.
    pub(super) fn hang_up_music(&mut self, number: u64) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        match &line.music {
            Music::None | Music::Wanted => {}
            Music::Asked { ended, .. } => line.ended = *ended,
            Music::Plays(_) | Music::Returning(_) => line.releases = true,
        }
        self.call_back(number);
    }

    /// The music server plays.
    pub(super) fn music_began(&mut self, now: Instant, call: CallHandle, back: UriBuf) {
        let known = self.music_of.remove(&call);
        let line = known.and_then(|number| self.lines.get_mut(&number));
        let Some(line) = line.filter(|line| line.state != LineState::Over) else {
            // Nobody waits for it any more.
            return self.release(now, back);
        };
        let Music::Asked { returns, ended } = line.music else { return };
        let old = line.handle.take().filter(|_| ended.is_none());
        line.music = Music::Plays(Parked { back, old });
        (line.held, line.asked_hold, line.joined) = (true, None, false);
        line.audio = None;
        line.infos.clear();
        let number = line.number;
        self.by_handle.remove(&call);
        self.news.push_back(News::Music { number });
        if returns {
            self.call_back(number);
        }
    }

    /// The music server does not play: the call is held as it was, unless it is over.
    pub(super) fn no_music(&mut self, now: Instant, call: CallHandle, outcome: TransferOutcome) {
        let known = self.music_of.remove(&call);
        let line = known.and_then(|number| self.lines.get_mut(&number));
        let Some(line) = line.filter(|line| line.state != LineState::Over) else { return };
        let Music::Asked { ended, .. } = std::mem::take(&mut line.music) else { return };
        let number = line.number;
        if ended.is_some() {
            return self.end_line(now, number, ended);
        }
        self.news.push_back(News::NoMusic { number, outcome });
    }

    /// Takes in what happened to a call that goes to the music server, or comes back. Says whether that is all.
    pub(super) fn is_about_music(&mut self, now: Instant, number: u64, event: &Event) -> bool {
        match event {
            Event::Answered { .. } => self.is_back(now, number),
            Event::Ended { reason, .. } => self.music_outlives(now, number, *reason),
            _ => false,
        }
    }

    /// A call is over. Says whether its line goes on.
    fn music_outlives(&mut self, now: Instant, number: u64, reason: EndReason) -> bool {
        let Some(line) = self.lines.get_mut(&number).filter(|line| line.state != LineState::Over) else {
            return false;
        };
        match std::mem::take(&mut line.music) {
            Music::None | Music::Wanted | Music::Plays(_) => false,
            Music::Asked { returns, .. } => {
                line.music = Music::Asked { returns, ended: Some((reason, now)) };
                true
            }
            Music::Returning(parked) => {
                line.ear.stop(now);
                let is_gone = is_gone(reason);
                self.news.push_back(News::NotBack { number, reason, is_gone });
                if is_gone {
                    self.end_line(now, number, Some((EndReason::RemoteHangup, now)));
                    return true;
                }
                // It is still there, and can be tried again.
                line.music = Music::Plays(parked);
                line.enter(now, LineState::Talking);
                let call = line.handle.take();
                call.map(|call| self.by_handle.remove(&call));
                true
            }
        }
    }

    /// A call of ours was answered. Says whether it is one that is back.
    fn is_back(&mut self, now: Instant, number: u64) -> bool {
        let Some(line) = self.lines.get_mut(&number) else { return false };
        let Music::Returning(_) = line.music else { return false };
        line.music = Music::None;
        (line.held, line.accepted) = (false, true);
        line.ear.stop(now);
        if line.releases {
            self.commands.extend(line.handle.map(|call| Command::Hangup { call }));
            return true;
        }
        line.enter(now, LineState::Talking);
        self.news.push_back(News::Resumed { number });
        true
    }

    /// Calls that have ended while the music server was asked, and of which it says nothing.
    pub(super) fn end_unheard(&mut self, now: Instant) {
        let due = self.lines.values().filter(|line| line.word_is_due().is_some_and(|at| at <= now));
        let due: Vec<u64> = due.map(|line| line.number).collect();
        for number in due {
            let Some(line) = self.lines.get_mut(&number) else { continue };
            if let Music::Asked { ended, .. } = std::mem::take(&mut line.music) {
                self.end_line(now, number, ended);
            }
        }
    }

    fn end_line(&mut self, now: Instant, number: u64, ended: Option<(EndReason, Instant)>) {
        if let Some(line) = self.lines.get_mut(&number) {
            line.ended = ended;
        }
        self.close_line(now, number);
        self.tell_ended(now);
    }

    /// Somebody hears music whose call nobody has any more: he is taken back and hung up on, without a word.
    fn release(&mut self, now: Instant, back: UriBuf) {
        let number = self.next_number();
        let line = Line::new(now, number, back.clone(), None);
        let music = Music::Plays(Parked { back, old: None });
        let state = LineState::Over;
        self.lines.insert(number, Line { music, state, releases: true, is_untold: true, ..line });
        self.call_back(number);
    }
}

impl Line {
    /// Whether the far end hears a music server.
    pub fn hears_music(&self) -> bool {
        matches!(self.music, Music::Plays(_) | Music::Returning(_))
    }

    /// When it is over, unless the music server says that it has it.
    pub(super) fn word_is_due(&self) -> Option<Instant> {
        match self.music {
            Music::Asked { ended: Some((_, at)), .. } => Some(at + MUSIC_WORD_TIME),
            _ => None,
        }
    }
}

/// Whether a refusal of the call that takes somebody back says that he is no longer there. RFC 3891 §3: the call with the
/// music server is not known to his phone any more (481), or over (603).
const fn is_gone(reason: EndReason) -> bool {
    matches!(reason, EndReason::Refused(status) if matches!(status.code(), 404 | 410 | 481 | 603 | 604))
}
