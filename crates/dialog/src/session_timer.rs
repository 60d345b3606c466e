//! Session timers (RFC 4028): the two ends of a dialog agree on an interval within which the session is refreshed, and
//! on who does that. Without a refresh the session is over, whoever has died.
//!
//! ```text
//!    2xx with Session-Expires
//!     |------------- interval / 2 -------------> refresh (the refresher)
//!     |--------- interval - min(32 s, interval / 3) ---------> BYE (either side, without a refresh)
//!     |-------------------- interval --------------------> the session is over
//! ```

use std::time::Duration;

use dialtone_wire::headers::{MinSe, Refresher, SessionExpires};
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message};

/// The shortest interval that anybody may ask for, in seconds (RFC 4028 §4, §5).
pub const MIN_SE_S: u32 = 90;

/// What a user agent wants of session timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimerPolicy {
    /// The interval that is asked for, in seconds; `None` asks for none, and takes part when the other side asks.
    pub interval_s: Option<u32>,
    /// The shortest interval that is taken, in seconds; less than [`MIN_SE_S`] counts as that.
    pub min_s: u32,
}

/// So many 422s in a row are answered with another try.
const REFUSALS_MAX: u8 = 8;

impl Default for SessionTimerPolicy {
    fn default() -> Self {
        SessionTimerPolicy { interval_s: Some(1_800), min_s: MIN_SE_S }
    }
}

impl SessionTimerPolicy {
    fn min_s(self) -> u32 {
        self.min_s.max(MIN_SE_S)
    }
}

/// What a session refresh request says: an INVITE or UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Session-Expires.
    pub session_expires: Option<SessionExpires>,
    /// Min-SE, where a 422 or a request of the other side has told of one.
    pub min_se_s: Option<u32>,
}

/// What the 2xx to a session refresh request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Session-Expires, with a refresher.
    pub session_expires: SessionExpires,
    /// Whether `Require: timer` stands beside it: the client knows of timers.
    pub require: bool,
}

/// What a server does about the timer of a session refresh request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 422 with this Min-SE, in seconds (RFC 4028 §9).
    TooSmall {
        /// The shortest interval that we take.
        min_s: u32,
    },
    /// A 2xx without a timer.
    NoTimer,
    /// A 2xx with a timer.
    Timer(Grant),
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Refresh the session.
    Refresh,
    /// End the session: nobody has refreshed it.
    End,
}

/// The session timer of one dialog, at one of its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionTimer {
    running: Option<Running>,
    /// The largest Min-SE that a 422 or a request of this dialog has named (RFC 4028 §7.4).
    learned_min_s: u32,
    /// Whether the dialog is more than an INVITE of ours that waits.
    is_established: bool,
    /// The 422s since the last 2xx.
    refusals: u8,
    /// What our last request asked for: it stands for the answer of a server that knows no timers.
    asked_s: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    interval_s: u32,
    we_refresh: bool,
    /// `None` once the refresh was said to be due.
    refresh_at: Option<Instant>,
    end_at: Instant,
}

impl SessionTimer {
    /// What our session refresh request says (RFC 4028 §7.1, §7.4). A refresh keeps the roles as they are.
    pub fn ask(&mut self, policy: SessionTimerPolicy) -> Ask {
        let min_se_s = Some(self.learned_min_s).filter(|min_s| *min_s > 0);
        let session_expires = match self.running {
            Some(running) => Some(SessionExpires {
                seconds: running.interval_s.max(self.learned_min_s),
                refresher: Some(if running.we_refresh { Refresher::Uac } else { Refresher::Uas }),
            }),
            None => policy.interval_s.map(|seconds| SessionExpires {
                seconds: seconds.max(policy.min_s()).max(self.learned_min_s),
                refresher: None,
            }),
        };
        self.asked_s = session_expires.map(|asked| asked.seconds);
        Ask { session_expires, min_se_s }
    }

    /// Takes in a 422 to our request: whether it makes sense to ask again with the interval that it wants
    /// (RFC 4028 §7.4). Each proxy on the way may want a longer one, but a far end that wants more each time is left.
    pub fn too_small(&mut self, response: &Message) -> bool {
        let wanted = response.header::<MinSe>().and_then(Result::ok).map_or(0, |MinSe(seconds)| seconds);
        let asks_more = wanted > self.learned_min_s && self.asked_s.is_some_and(|asked| wanted > asked);
        self.learned_min_s = self.learned_min_s.max(wanted);
        self.refusals = self.refusals.saturating_add(1);
        asks_more && self.refusals <= REFUSALS_MAX
    }

    /// The 2xx to our request came (RFC 4028 §7.2).
    pub fn answered(&mut self, now: Instant, response: &Message) {
        if !std::mem::replace(&mut self.is_established, true) {
            // §7.4: what the 422s to the INVITE wanted "is effectively 'cleared' once the dialog is established".
            self.learned_min_s = 0;
        }
        let granted = response.header::<SessionExpires>().and_then(Result::ok);
        self.running = match granted {
            Some(granted) => {
                // The server must say who; one that does not leaves it to us.
                let we_refresh = granted.refresher != Some(Refresher::Uas);
                Some(Running::new(now, granted.seconds, we_refresh))
            }
            // §7.2: the other side knows no timers; we may refresh all the same, and see that way that it is dead.
            None => self.asked_s.map(|seconds| Running::new(now, seconds, true)),
        };
        self.asked_s = None;
        self.refusals = 0;
    }

    /// What our answer to a session refresh request says (RFC 4028 §9, table 2).
    pub fn answer(&self, policy: SessionTimerPolicy, request: &Message) -> Answer {
        let knows_timers = request.has_token(HeaderName::Supported, "timer");
        let asked = request.header::<SessionExpires>().and_then(Result::ok);
        let their_min_s = request.header::<MinSe>().and_then(Result::ok).map_or(0, |MinSe(seconds)| seconds);
        let floor_s = their_min_s.max(policy.min_s());
        let Some(asked) = asked else {
            // They know timers and ask for none; or they do not know them, and we refresh for both of us.
            let Some(interval_s) = policy.interval_s else { return Answer::NoTimer };
            let refresher = Refresher::Uas;
            let session_expires =
                SessionExpires { seconds: interval_s.max(floor_s), refresher: Some(refresher) };
            return Answer::Timer(Grant { session_expires, require: knows_timers });
        };
        if asked.seconds < policy.min_s() && knows_timers {
            return Answer::TooSmall { min_s: policy.min_s() };
        }
        let refresher = match (knows_timers, asked.refresher) {
            (false, _) => Refresher::Uas,
            (true, Some(refresher)) => refresher,
            // Who asked has the timer at heart.
            (true, None) => Refresher::Uac,
        };
        // "MAY reduce its value", never below their Min-SE, and "MUST NOT increase".
        let wanted_s = policy.interval_s.unwrap_or(asked.seconds).max(floor_s);
        let session_expires =
            SessionExpires { seconds: asked.seconds.min(wanted_s), refresher: Some(refresher) };
        Answer::Timer(Grant { session_expires, require: knows_timers })
    }

    /// Our 2xx to a session refresh request went out. What that says of Min-SE holds for ours too (RFC 4028 §7.4).
    pub fn granted(&mut self, now: Instant, request: &Message, grant: Option<Grant>) {
        let asked = request.header::<MinSe>().and_then(Result::ok).map_or(0, |MinSe(seconds)| seconds);
        self.learned_min_s = self.learned_min_s.max(asked);
        self.is_established = true;
        self.running = grant.map(|Grant { session_expires, .. }| {
            Running::new(now, session_expires.seconds, session_expires.refresher == Some(Refresher::Uas))
        });
    }

    /// When to call [`SessionTimer::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let running = self.running?;
        Some(match running.refresh_at {
            Some(at) => (at, "session_refresh"),
            None => (running.end_at, "session_end"),
        })
    }

    /// What is due; each is said once. A refresh that gets no 2xx leads to the end of the session.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        let running = self.running.as_mut()?;
        if now >= running.end_at {
            self.running = None;
            return Some(Due::End);
        }
        running.refresh_at.take_if(|at| *at <= now).map(|_| Due::Refresh)
    }

    /// The interval, in seconds, and whether we refresh; `None` while no timer runs.
    pub fn state(&self) -> Option<(u32, bool)> {
        self.running.map(|running| (running.interval_s, running.we_refresh))
    }
}

impl Running {
    fn new(now: Instant, seconds: u32, we_refresh: bool) -> Running {
        // A server may grant less than it may; it can't make us send refreshes without end.
        let interval_s = seconds.max(MIN_SE_S);
        let interval = Duration::from_secs(interval_s.into());
        let early = (interval / 3).min(Duration::from_secs(32));
        Running {
            interval_s,
            we_refresh,
            refresh_at: we_refresh.then_some(now + interval / 2),
            end_at: now + (interval - early),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dialtone_wire::Limits;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn request(lines: &str) -> Message {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\n\
             Call-ID: x\r\nCSeq: 1 INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).expect("a message")
    }

    fn response(status: &str, lines: &str) -> Message {
        let text = format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n\
             Call-ID: x\r\nCSeq: 1 INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).expect("a message")
    }

    fn grant(seconds: u32, refresher: Refresher, require: bool) -> Answer {
        let session_expires = SessionExpires { seconds, refresher: Some(refresher) };
        Answer::Timer(Grant { session_expires, require })
    }

    #[test]
    fn the_server_chooses_the_refresher_as_table_2_says() {
        let policy = SessionTimerPolicy { interval_s: Some(1_800), min_s: 120 };
        let timer = SessionTimer::default();
        let of = |lines: &str| timer.answer(policy, &request(lines));
        let knows = "Supported: timer\r\n";
        assert_eq!(of("Session-Expires: 600\r\n"), grant(600, Refresher::Uas, false));
        assert_eq!(of(&format!("{knows}Session-Expires: 600\r\n")), grant(600, Refresher::Uac, true));
        for (word, refresher) in [("uac", Refresher::Uac), ("uas", Refresher::Uas)] {
            let lines = format!("{knows}Session-Expires: 600;refresher={word}\r\n");
            assert_eq!(of(&lines), grant(600, refresher, true));
        }
        assert_eq!(of(knows), grant(1_800, Refresher::Uas, true));
        assert_eq!(of(""), grant(1_800, Refresher::Uas, false));
        let none = SessionTimerPolicy { interval_s: None, ..policy };
        assert_eq!(timer.answer(none, &request(knows)), Answer::NoTimer);
    }

    #[test]
    fn the_server_never_raises_the_interval_and_heeds_both_minima() {
        let policy = SessionTimerPolicy { interval_s: Some(300), min_s: 120 };
        let timer = SessionTimer::default();
        let of = |lines: &str| timer.answer(policy, &request(lines));
        let knows = "Supported: timer\r\n";
        assert_eq!(of(&format!("{knows}Session-Expires: 4000\r\n")), grant(300, Refresher::Uac, true));
        let their_minimum = format!("{knows}Session-Expires: 4000\r\nMin-SE: 3600\r\n");
        assert_eq!(of(&their_minimum), grant(3_600, Refresher::Uac, true));
        assert_eq!(of(&format!("{knows}Session-Expires: 200\r\n")), grant(200, Refresher::Uac, true));
        assert_eq!(of(&format!("{knows}Session-Expires: 119\r\n")), Answer::TooSmall { min_s: 120 });
        // A client that knows no timers could make nothing of a 422: a proxy asked for it.
        assert_eq!(of("Session-Expires: 119\r\n"), grant(119, Refresher::Uas, false));
        let low = SessionTimerPolicy { interval_s: None, min_s: 1 };
        let asked = request(&format!("{knows}Session-Expires: 30\r\n"));
        assert_eq!(timer.answer(low, &asked), Answer::TooSmall { min_s: MIN_SE_S });
    }

    #[test]
    fn the_refresher_refreshes_at_half_time_and_ends_what_is_not_refreshed() {
        let mut timer = SessionTimer::default();
        let ask = timer.ask(SessionTimerPolicy::default());
        assert_eq!(ask.session_expires, Some(SessionExpires { seconds: 1_800, refresher: None }));
        timer.answered(at(0), &response("200 OK", "Session-Expires: 90;refresher=uac\r\n"));
        assert_eq!(timer.state(), Some((90, true)));
        assert_eq!(timer.poll_timeout(), Some((at(45), "session_refresh")));
        assert_eq!(timer.handle_timeout(at(44)), None);
        assert_eq!(timer.handle_timeout(at(45)), Some(Due::Refresh));
        let again = timer.ask(SessionTimerPolicy::default());
        let kept = SessionExpires { seconds: 90, refresher: Some(Refresher::Uac) };
        assert_eq!(again.session_expires, Some(kept), "the roles stay");
        timer.answered(at(46), &response("200 OK", "Session-Expires: 90;refresher=uac\r\n"));
        assert_eq!(timer.poll_timeout(), Some((at(91), "session_refresh")));
        assert_eq!(timer.handle_timeout(at(91)), Some(Due::Refresh));
        assert_eq!(timer.handle_timeout(at(92)), None, "it is said once");
        // 90 - min(32, 30) after the last 2xx.
        assert_eq!(timer.poll_timeout(), Some((at(106), "session_end")));
        assert_eq!(timer.handle_timeout(at(106)), Some(Due::End));
        assert_eq!(timer.poll_timeout(), None);
    }

    #[test]
    fn the_other_side_waits_and_ends_a_session_whose_refresher_has_died() {
        let mut timer = SessionTimer::default();
        let Answer::Timer(grant) = timer.answer(
            SessionTimerPolicy::default(),
            &request("Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n"),
        ) else {
            panic!("a timer was asked for")
        };
        let refresh = request("");
        timer.granted(at(0), &refresh, Some(grant));
        assert_eq!(timer.state(), Some((600, false)));
        assert_eq!(timer.poll_timeout(), Some((at(568), "session_end")));
        timer.granted(at(300), &refresh, Some(grant));
        assert_eq!(timer.handle_timeout(at(568)), None, "it was refreshed");
        assert_eq!(timer.handle_timeout(at(868)), Some(Due::End));
        timer.granted(at(900), &refresh, None);
        assert_eq!(timer.poll_timeout(), None, "the last 2xx had no timer");
    }

    #[test]
    fn a_422_raises_what_is_asked_for_and_only_once_for_each_value() {
        let mut timer = SessionTimer::default();
        let policy = SessionTimerPolicy { interval_s: Some(90), min_s: 90 };
        timer.ask(policy);
        let refusal = response("422 Session Interval Too Small", "Min-SE: 1800\r\n");
        assert!(timer.too_small(&refusal));
        let ask = timer.ask(policy);
        assert_eq!(ask.session_expires.map(|asked| asked.seconds), Some(1_800));
        assert_eq!(ask.min_se_s, Some(1_800));
        assert!(!timer.too_small(&refusal), "asking the same again would not end");
        assert!(!timer.too_small(&response("422 x", "")));
    }

    #[test]
    fn min_se_is_the_largest_that_a_422_or_a_request_of_the_dialog_has_named() {
        let mut timer = SessionTimer::default();
        let policy = SessionTimerPolicy { interval_s: Some(300), min_s: 90 };
        let asked = |timer: &mut SessionTimer| {
            let ask = timer.ask(policy);
            (ask.session_expires.map(|asked| asked.seconds), ask.min_se_s)
        };
        assert_eq!(asked(&mut timer), (Some(300), None));
        assert!(timer.too_small(&response("422 x", "Min-SE: 600\r\n")));
        assert_eq!(asked(&mut timer), (Some(600), Some(600)));
        timer.answered(at(0), &response("200 OK", "Session-Expires: 400;refresher=uac\r\n"));
        assert_eq!(asked(&mut timer), (Some(400), None), "another way than that of the dialog");
        // Within the dialog each 422 and each request counts, for good.
        assert!(timer.too_small(&response("422 x", "Min-SE: 500\r\n")));
        for _ in 0..2 {
            assert_eq!(asked(&mut timer), (Some(500), Some(500)));
            timer.answered(at(1), &response("200 OK", "Session-Expires: 500;refresher=uac\r\n"));
        }
        timer.granted(
            at(2),
            &request("Min-SE: 700\r\n"),
            Some(Grant {
                session_expires: SessionExpires { seconds: 500, refresher: Some(Refresher::Uas) },
                require: true,
            }),
        );
        assert_eq!(asked(&mut timer), (Some(700), Some(700)));
        timer.granted(at(3), &request("Min-SE: 200\r\n"), None);
        assert_eq!(asked(&mut timer), (Some(700), Some(700)));
    }

    #[test]
    fn a_side_that_knows_no_timers_is_refreshed_by_us() {
        let mut timer = SessionTimer::default();
        timer.ask(SessionTimerPolicy::default());
        timer.answered(at(0), &response("200 OK", ""));
        assert_eq!(timer.state(), Some((1_800, true)));
        let mut timer = SessionTimer::default();
        timer.ask(SessionTimerPolicy { interval_s: None, min_s: 90 });
        timer.answered(at(0), &response("200 OK", ""));
        assert_eq!(timer.state(), None);
        timer.answered(at(0), &response("200 OK", "Session-Expires: 1;refresher=uac\r\n"));
        assert_eq!(timer.state(), Some((90, true)), "nobody makes us refresh twice a second");
    }
}
