//! What a caller hears before somebody answers: ringback that we make ourselves, or the early media of the far end, never
//! both.

use std::time::Duration;

use dialtone_media::Ringback;
use dialtone_roles::io::Event;
use dialtone_wire::Status;
use dialtone_wire::time::Instant;

use super::RECORD_SAMPLES_MAX;

/// The ringback of one call.
#[derive(Debug)]
pub(super) struct Ear {
    ringback: Option<Ringback>,
    /// Whether its samples are kept.
    is_kept: bool,
    since: Option<Instant>,
    time: Duration,
    samples: Vec<i16>,
}

impl Ear {
    pub(super) fn new(ringback: Option<Ringback>, is_kept: bool) -> Ear {
        Ear { ringback, is_kept, since: None, time: Duration::ZERO, samples: Vec::new() }
    }

    /// RFC 3960 §3.2: ringing is never made without a 180, and not where the far end is heard. That is told here
    /// by the description, not by packets: who sends one in a 18x makes the ringing himself.
    pub(super) fn handle(&mut self, now: Instant, event: &Event) {
        match event {
            Event::Progress { has_media: false, status, .. } if *status == Status::of(180) => {
                self.since = self.since.or(self.ringback.map(|_| now));
            }
            // Whoever waits in a queue is not rung for any more.
            Event::Progress { has_media: false, status, .. } if status.code() == 182 => self.stop(now),
            Event::Progress { has_media: true, .. }
            | Event::Answered { .. }
            | Event::Redirected { .. }
            | Event::Ended { .. } => self.stop(now),
            _ => {}
        }
    }

    /// Whether there is ringback now.
    pub(super) fn is_ringing(&self) -> bool {
        self.since.is_some()
    }

    /// The call is answered or over, or early media have begun.
    pub(super) fn stop(&mut self, now: Instant) {
        let Some((ringback, since)) = self.ringback.zip(self.since.take()) else { return };
        let time = now.since(since);
        self.time += time;
        if self.is_kept {
            let count = usize::try_from(time.as_millis()).unwrap_or(usize::MAX).saturating_mul(8);
            let room = RECORD_SAMPLES_MAX.saturating_sub(self.samples.len());
            self.samples.append(&mut ringback.samples(count.min(room)));
        }
    }

    /// How long there was ringback, and what was heard of it.
    pub(super) fn heard(self) -> (Duration, Vec<i16>) {
        (self.time, self.samples)
    }
}

#[cfg(test)]
mod tests {
    use dialtone_roles::io::{CallHandle, EndReason};
    use dialtone_wire::uri::UriBuf;

    use super::*;

    const CALL: CallHandle = CallHandle { slot: 0, generation: 0 };

    fn progress(code: u16, has_media: bool) -> Event {
        Event::Progress { call: CALL, status: Status::of(code), has_media, queue: "".into() }
    }

    /// How many milliseconds of ringback are heard when these events come, each at its millisecond.
    fn rings(events: &[(u64, Event)]) -> u128 {
        let mut ear = Ear::new(Some(Ringback::Europe), true);
        for (at, event) in events {
            ear.handle(Instant::from_millis(*at), event);
        }
        let (time, samples) = ear.heard();
        assert_eq!(samples.len() as u128, time.as_millis() * 8);
        time.as_millis()
    }

    #[test]
    fn ringback_lasts_from_the_180_to_the_answer_or_the_end() {
        let call = CALL;
        let answered = || Event::Answered { call };
        assert_eq!(rings(&[(100, progress(180, false)), (3100, answered())]), 3000);
        assert_eq!(
            rings(&[(100, progress(180, false)), (900, progress(180, false)), (3100, answered())]),
            3000
        );
        let ended = Event::Ended { call, reason: EndReason::Refused(Status::of(486)) };
        assert_eq!(rings(&[(100, progress(180, false)), (700, ended)]), 600);
        assert_eq!(rings(&[(100, progress(183, false)), (700, answered())]), 0, "nobody said that it rings");
    }

    #[test]
    fn early_media_end_it_and_keep_it_from_beginning() {
        let answered = || Event::Answered { call: CALL };
        let late = [(0, progress(180, false)), (1000, progress(183, true)), (4000, answered())];
        assert_eq!(rings(&late), 1000);
        let again = [(0, progress(183, true)), (1000, progress(180, true)), (4000, answered())];
        assert_eq!(rings(&again), 0);
    }

    #[test]
    fn another_place_begins_anew_and_who_wants_none_hears_none() {
        let call = CALL;
        let to = UriBuf::parse("sip:c@c.test").expect("a URI");
        let events = [
            (0, progress(180, false)),
            (500, Event::Redirected { call, to }),
            (900, progress(180, false)),
            (1200, Event::Answered { call }),
        ];
        assert_eq!(rings(&events), 800);
        let mut ear = Ear::new(None, true);
        events.iter().for_each(|(at, event)| ear.handle(Instant::from_millis(*at), event));
        assert_eq!(ear.heard(), (Duration::ZERO, Vec::new()));
    }
}
