//! Scripts: one line after the other, each done as soon as the one before it is.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use super::action::{Action, ActionError, Step};
use super::handset::CannotDo;
use super::news::News;
use super::verdict::Verdict;

/// The most lines of a script that wait to be done.
const LINES_MAX: usize = 100_000;
/// Events since the last action that are remembered for waits.
const HEARD_MAX: usize = 1_000;

/// A script, as far as it was read and done.
///
/// A wait looks at what has happened since the last action before it (`select` and pauses do not count as one); each event
/// ends one wait only.
#[derive(Debug)]
pub struct Script {
    domain: SmolStr,
    steps: VecDeque<(usize, Step)>,
    lines: usize,
    is_whole: bool,
    heard: VecDeque<Heard>,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Heard {
    word: &'static str,
    is_used: bool,
    /// What a call of ours that was not answered came to.
    unanswered: Option<Verdict>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    line: usize,
    /// What is waited for; without it for the time alone.
    event: Option<&'static str>,
    within: Duration,
    until: Instant,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Do this, of that line.
    Act(usize, Action),
    /// Nothing until something happens, a line is read, or this time has come.
    Wait(Option<Instant>),
    /// All is done.
    Over,
}

/// Why a script does not go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// It says nothing that can be done.
    Bad(ActionError),
    /// What it says can't be done now.
    CannotDo(CannotDo),
    /// What it waits for did not happen in time.
    NotHeard {
        /// What it waits for.
        event: &'static str,
        /// How long it waited.
        within: Duration,
        /// What happened instead.
        instead: Vec<&'static str>,
    },
    /// What it waits for will not happen: the call was not answered.
    Unanswered {
        /// What it waits for.
        event: &'static str,
        /// What the call came to.
        verdict: Verdict,
    },
    /// The script is too long.
    TooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.what {
            What::Bad(error) => error.fmt(f),
            What::CannotDo(error) => error.fmt(f),
            What::NotHeard { event, within, instead } => {
                write!(f, "expected {event:?} within {} s", within.as_secs_f64())?;
                match instead.as_slice() {
                    [] => f.write_str(", and nothing happened"),
                    instead => write!(f, "; there was only {}", instead.join(", ")),
                }
            }
            What::Unanswered { event, verdict } => {
                write!(f, "expected {event:?}, and the call is over: {verdict}")
            }
            What::TooLong => write!(f, "a script has {LINES_MAX} lines at most"),
        }
    }
}

impl Script {
    /// An empty script of a phone of this domain.
    pub fn new(domain: &str) -> Script {
        Script {
            domain: domain.into(),
            steps: VecDeque::new(),
            lines: 0,
            is_whole: false,
            heard: VecDeque::new(),
            waiting: None,
        }
    }

    /// Reads one more line.
    ///
    /// # Errors
    /// When it is no line of a script.
    pub fn read(&mut self, text: &str) -> Result<(), Fault> {
        self.lines += 1;
        let fault = |what| Fault { line: self.lines, what };
        let step = Step::parse(text, Some(self.domain.as_str())).map_err(|error| fault(What::Bad(error)))?;
        if self.steps.len() >= LINES_MAX {
            return Err(fault(What::TooLong));
        }
        self.steps.extend(step.map(|step| (self.lines, step)));
        Ok(())
    }

    /// There are no more lines.
    pub fn end(&mut self) {
        self.is_whole = true;
    }

    /// Whether all lines that were read are done, so that the next one is wanted.
    pub fn wants_line(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none() && !self.is_whole
    }

    /// Takes note of what happened.
    pub fn hear(&mut self, news: &News) {
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        let unanswered = match news {
            News::Ended { unanswered, .. } => *unanswered,
            _ => None,
        };
        self.heard.push_back(Heard { word: news.word(), is_used: false, unanswered });
    }

    /// What comes next. Ask again after an action, after [`Script::hear`], and when the time has come.
    ///
    /// # Errors
    /// When what a line waits for did not happen.
    pub fn next(&mut self, now: Instant) -> Result<Next, Fault> {
        loop {
            if let Some(Waiting { line, event, within, until }) = self.waiting {
                let is_late = now >= until;
                let is_over = match event {
                    Some(event) if self.take(event, line)? => true,
                    Some(event) if is_late => return Err(self.not_heard(line, event, within)),
                    Some(_) => false,
                    None => is_late,
                };
                if !is_over {
                    return Ok(Next::Wait(Some(until)));
                }
                self.waiting = None;
            }
            match self.steps.pop_front() {
                Some((line, Step::Act(action))) => {
                    if !matches!(action, Action::Select(_)) {
                        self.heard.clear();
                    }
                    return Ok(Next::Act(line, action));
                }
                Some((line, Step::WaitFor { event, within })) => {
                    self.waiting = Some(Waiting { line, event: Some(event), within, until: now + within });
                }
                Some((line, Step::Pause(within))) => {
                    self.waiting = Some(Waiting { line, event: None, within, until: now + within });
                }
                None if self.is_whole => return Ok(Next::Over),
                None => return Ok(Next::Wait(None)),
            }
        }
    }

    /// Whether the event was heard; it is used up then.
    fn take(&mut self, event: &'static str, line: usize) -> Result<bool, Fault> {
        if let Some(heard) = self.heard.iter_mut().find(|heard| heard.word == event && !heard.is_used) {
            heard.is_used = true;
            return Ok(true);
        }
        // Nobody will answer any more: there is nothing to wait for.
        let of_a_start = matches!(event, "ringing" | "queued" | "early-media" | "answered");
        let over = self.heard.iter().filter(|heard| !heard.is_used).find_map(|heard| heard.unanswered);
        match over.filter(|_| of_a_start) {
            Some(verdict) => Err(Fault { line, what: What::Unanswered { event, verdict } }),
            None => Ok(false),
        }
    }

    fn not_heard(&self, line: usize, event: &'static str, within: Duration) -> Fault {
        let unused = self.heard.iter().filter(|heard| !heard.is_used);
        let instead = unused.map(|heard| heard.word).collect();
        Fault { line, what: What::NotHeard { event, within, instead } }
    }
}

#[cfg(test)]
mod tests {
    use dialtone_roles::io::{ChangeBy, EndReason};
    use dialtone_wire::Status;

    use super::*;

    const ANSWERED: News = News::Answered { number: 1 };
    const HELD: News = News::Held { number: 1 };

    fn script(text: &str) -> Script {
        let mut script = Script::new("office.test");
        text.lines().for_each(|line| script.read(line).expect(line));
        script.end();
        script
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn ended(unanswered: Option<Verdict>) -> News {
        News::Ended { number: 1, reason: EndReason::RemoteHangup, unanswered, audio: None, recording: None }
    }

    #[test]
    fn lines_are_done_one_after_the_other_and_waits_hold_them_up() {
        let mut script = script("answer\n# now it waits\nwait for answered within 5s\nhangup\n");
        assert_eq!(script.next(at(0)), Ok(Next::Act(1, Action::Answer)));
        assert_eq!(script.next(at(10)), Ok(Next::Wait(Some(at(5_010)))));
        script.hear(&ANSWERED);
        assert_eq!(script.next(at(20)), Ok(Next::Act(4, Action::Hangup)));
        assert_eq!(script.next(at(20)), Ok(Next::Over));
    }

    #[test]
    fn what_came_before_its_wait_counts_if_it_came_after_the_last_action() {
        let mut script = script("hold\nwait 1s\nwait for held\nselect 1\nresume\nwait for held within 1s\n");
        assert_eq!(script.next(at(0)), Ok(Next::Act(1, Action::Hold(ChangeBy::Invite))));
        assert_eq!(script.next(at(0)), Ok(Next::Wait(Some(at(1_000)))));
        script.hear(&HELD);
        script.hear(&ANSWERED);
        assert_eq!(script.next(at(1_000)), Ok(Next::Act(4, Action::Select(1))));
        script.hear(&HELD);
        assert_eq!(script.next(at(1_000)), Ok(Next::Act(5, Action::Resume(ChangeBy::Invite))));
        // Held before the action: it is no answer to it.
        assert_eq!(script.next(at(1_000)), Ok(Next::Wait(Some(at(2_000)))));
        let fault = script.next(at(2_000)).expect_err("nothing came");
        assert_eq!(fault.to_string(), "line 6: expected \"held\" within 1 s, and nothing happened");
    }

    #[test]
    fn an_event_ends_one_wait_only_and_their_order_is_free() {
        let mut script = script("hangup\nwait for ended\nwait for held\nwait for ended within 2s\n");
        assert_eq!(script.next(at(0)), Ok(Next::Act(1, Action::Hangup)));
        script.hear(&HELD);
        script.hear(&ended(None));
        assert_eq!(script.next(at(0)), Ok(Next::Wait(Some(at(2_000)))));
        script.hear(&ANSWERED);
        let fault = script.next(at(2_000)).expect_err("one end only");
        assert_eq!(fault.to_string(), "line 4: expected \"ended\" within 2 s; there was only answered");
    }

    #[test]
    fn a_call_that_is_refused_is_not_waited_for() {
        let mut script = script("call bob\nwait for answered\n");
        assert!(matches!(script.next(at(0)), Ok(Next::Act(1, Action::Call(_)))));
        script.hear(&ended(Some(Verdict::Busy(Status::of(486)))));
        let fault = script.next(at(1)).expect_err("it is over");
        assert_eq!(
            fault.to_string(),
            "line 2: expected \"answered\", and the call is over: busy (486 Busy Here)"
        );
    }

    #[test]
    fn a_bad_line_is_named_and_lines_may_come_one_by_one() {
        let mut script = Script::new("office.test");
        assert!(script.wants_line());
        assert_eq!(script.read("# nothing"), Ok(()));
        assert_eq!(script.next(at(0)), Ok(Next::Wait(None)));
        let fault = script.read("hodl").expect_err("no action");
        assert!(fault.to_string().starts_with("line 2: \"hodl\" is no action"), "{fault}");
        assert_eq!(script.read("wait 1s"), Ok(()));
        assert_eq!(script.next(at(0)), Ok(Next::Wait(Some(at(1_000)))));
        assert!(!script.wants_line());
        script.end();
        assert_eq!(script.next(at(1_000)), Ok(Next::Over));
    }
}
