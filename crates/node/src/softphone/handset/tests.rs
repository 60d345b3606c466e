//! Actions and events go in, lines of text come out: `> command`, `event`.

mod music;

use super::super::action::Step;
use super::*;

/// A phone whose engine is this test.
struct Rig {
    handset: Handset,
    now: Instant,
    out: Vec<String>,
}

fn handle(slot: u32) -> CallHandle {
    CallHandle { slot, generation: 0 }
}

fn uri(user: &str) -> UriBuf {
    UriBuf::parse(&format!("sip:{user}@office.test")).expect("a URI")
}

fn command_words(command: &Command) -> String {
    match command {
        Command::Call { token, to, .. } => format!("> call {token} {to}"),
        Command::Answer { call, .. } => format!("> answer {}", call.slot),
        Command::Decline { call, status } => format!("> decline {} {}", call.slot, status.code()),
        Command::Hangup { call } => format!("> hangup {}", call.slot),
        Command::Hold { call, by, .. } => format!("> hold {} {by:?}", call.slot),
        Command::Video { call, on, by } => format!("> video {} {on} {by:?}", call.slot),
        Command::Resume { call, by } => format!("> resume {} {by:?}", call.slot),
        Command::Refresh { call, by } => format!("> refresh {} {by:?}", call.slot),
        Command::Progress { call, .. } => format!("> progress {}", call.slot),
        Command::SendDigit { call, digit, .. } => format!("> digit {} {digit}", call.slot),
        Command::Transfer { call, to } => match to {
            TransferTo::Call(other) => format!("> transfer {} to {}", call.slot, other.slot),
            to => format!("> transfer {} {to:?}", call.slot),
        },
        Command::Join { call, with } => format!("> join {} with {}", call.slot, with.slot),
        Command::AnswerTransfer { referral, accept, .. } => format!("> answer transfer {referral} {accept}"),
        Command::Music { call, source } => format!("> music {} {source}", call.slot),
        other => format!("> {other:?}"),
    }
}

impl Rig {
    fn new(reply: Option<Reply>) -> Rig {
        let handset = Handset::new(Play::Silence, reply, Some(Ringback::Europe));
        Rig { handset, now: Instant::from_millis(0), out: Vec::new() }
    }

    fn drain(&mut self) {
        while let Some(command) = self.handset.poll_command() {
            self.out.push(command_words(&command));
        }
        while let Some(news) = self.handset.poll_news() {
            let call = news.call().map(|call| format!(" {call}")).unwrap_or_default();
            self.out.push(format!("{}{call}", news.word()));
        }
    }

    fn act(&mut self, line: &str) {
        let step = Step::parse(line, Some("office.test")).expect(line);
        let Some(Step::Act(action)) = step else { panic!("{line} is no action") };
        if let Err(why) = self.handset.act(self.now, &action) {
            self.out.push(format!("! {why}"));
        }
        self.drain();
    }

    fn event(&mut self, event: Event) {
        self.handset.handle(self.now, event);
        self.drain();
    }

    fn started(&mut self, token: u64, slot: u32) {
        self.event(Event::CallStarted { token, call: handle(slot) });
    }

    fn rings(&mut self, slot: u32) {
        self.event(Event::Progress {
            call: handle(slot),
            status: Status::of(180),
            has_media: false,
            queue: "".into(),
        });
    }

    fn incoming(&mut self, slot: u32) {
        self.event(Event::Incoming { call: handle(slot), from: uri("carol") });
    }

    fn answered(&mut self, slot: u32) {
        self.event(Event::Answered { call: handle(slot) });
    }

    fn ended(&mut self, slot: u32, reason: EndReason) {
        self.event(Event::Ended { call: handle(slot), reason });
    }

    /// One side has put the other on hold, or taken it off.
    fn held(&mut self, slot: u32, by: Side, is: bool) {
        let call = handle(slot);
        self.event(if is { Event::Held { call, by } } else { Event::Resumed { call, by } });
    }

    /// What came out since the last time.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.out), expected);
    }

    fn selected(&self) -> Option<u64> {
        self.handset.selected().map(|line| line.number)
    }

    /// A call of ours that talks.
    fn talking(&mut self, number: u64, slot: u32) {
        self.act("call bob");
        self.started(number, slot);
        self.answered(slot);
        self.out.clear();
    }
}

#[test]
fn a_call_goes_from_calling_over_ringing_to_talking_and_ends() {
    let mut rig = Rig::new(None);
    rig.act("call bob");
    rig.check(&["> call 1 sip:bob@office.test", "calling 1"]);
    rig.started(1, 7);
    rig.rings(7);
    rig.rings(7);
    rig.check(&["ringing 1"]);
    assert!(rig.handset.selected().is_some_and(Line::ringback_is_heard));
    rig.answered(7);
    rig.check(&["answered 1"]);
    assert!(!rig.handset.selected().is_some_and(Line::ringback_is_heard));
    rig.act("hangup");
    rig.check(&["> hangup 7"]);
    rig.ended(7, EndReason::LocalHangup);
    rig.check(&[]);
    // The figures of its audio may still come, for a while.
    rig.now = rig.now + END_TIME;
    rig.handset.handle_timeout(rig.now);
    rig.drain();
    rig.check(&["ended 1"]);
    assert_eq!((rig.selected(), rig.handset.poll_timeout()), (None, None));
}

#[test]
fn early_media_end_the_ringback_and_a_180_after_them_does_not_begin_it_again() {
    let mut rig = Rig::new(None);
    rig.act("call bob");
    rig.started(1, 7);
    rig.rings(7);
    rig.event(Event::Progress {
        call: handle(7),
        status: Status::of(183),
        has_media: true,
        queue: "".into(),
    });
    rig.event(Event::Progress {
        call: handle(7),
        status: Status::of(180),
        has_media: true,
        queue: "".into(),
    });
    rig.check(&["> call 1 sip:bob@office.test", "calling 1", "ringing 1", "early-media 1"]);
    assert!(!rig.handset.selected().is_some_and(Line::ringback_is_heard));
}

#[test]
fn who_waits_in_a_queue_is_told_each_new_place_and_no_ringback_is_heard_there() {
    let mut rig = Rig::new(None);
    rig.act("call 600");
    rig.started(1, 7);
    rig.rings(7);
    let queued = |rig: &mut Rig, words: &str| {
        let (status, queue) = (Status::of(182), words.into());
        rig.event(Event::Progress { call: handle(7), status, has_media: false, queue });
        assert!(!rig.handset.selected().is_some_and(Line::ringback_is_heard));
        rig.handset.selected().map(|line| (line.state, line.queue.to_string()))
    };
    for words in ["Queued, position 2", "Queued, position 2", "Queued, position 1"] {
        assert_eq!(queued(&mut rig, words), Some((LineState::Queued, words.to_owned())));
    }
    // It rings again.
    rig.rings(7);
    rig.check(&[
        "> call 1 sip:600@office.test",
        "calling 1",
        "ringing 1",
        "queued 1",
        "queued 1",
        "ringing 1",
    ]);
    assert!(rig.handset.selected().is_some_and(Line::ringback_is_heard));
}

#[test]
fn who_hangs_up_before_the_call_has_begun_ends_it_when_it_does() {
    let mut rig = Rig::new(None);
    rig.act("call bob");
    rig.act("hangup");
    rig.act("hangup");
    rig.check(&["> call 1 sip:bob@office.test", "calling 1", "! there is no call"]);
    rig.started(1, 7);
    rig.check(&["> hangup 7"]);
    rig.answered(7);
    rig.check(&[]);
}

#[test]
fn a_second_call_waits_and_its_answer_puts_the_first_on_hold() {
    let mut rig = Rig::new(None);
    rig.talking(1, 7);
    rig.incoming(8);
    rig.check(&["incoming 2"]);
    assert_eq!(rig.selected(), Some(1), "the talk goes on");
    rig.act("answer");
    rig.check(&["> hold 7 Invite", "> answer 8"]);
    rig.held(7, Side::Local, true);
    rig.answered(8);
    rig.check(&["held 1", "answered 2"]);
    rig.act("answer");
    rig.check(&["! no call rings here"]);
    // Back to the first: the second is held.
    rig.act("select 1");
    rig.act("resume");
    rig.check(&["> resume 7 Invite", "> hold 8 Invite"]);
    rig.held(7, Side::Local, false);
    rig.held(8, Side::Local, true);
    rig.check(&["resumed 1", "held 2"]);
    rig.ended(7, EndReason::RemoteHangup);
    assert_eq!(rig.selected(), Some(2), "what is left is selected");
    rig.act("select 1");
    rig.act("select 9");
    rig.check(&["! there is no call 1", "! there is no call 9"]);
}

#[test]
fn holds_of_both_ends_are_told_apart_and_asked_for_once() {
    let mut rig = Rig::new(None);
    rig.talking(1, 7);
    rig.held(7, Side::Remote, true);
    rig.act("hold by update");
    rig.act("hold");
    rig.held(7, Side::Local, true);
    rig.check(&["held-by-peer 1", "> hold 7 Update", "held 1"]);
    assert!(rig.handset.selected().is_some_and(|line| line.held && line.held_by_peer));
    rig.held(7, Side::Remote, false);
    // It is held already: who waits for that may go on.
    rig.act("hold");
    rig.check(&["resumed-by-peer 1", "held 1"]);
    rig.act("resume by update");
    rig.event(Event::ChangeRefused { call: handle(7), status: Some(Status::of(488)) });
    rig.check(&["> resume 7 Update", "change-refused 1"]);
    rig.act("resume");
    rig.held(7, Side::Local, false);
    rig.check(&["> resume 7 Invite", "resumed 1"]);
    rig.event(Event::SessionChanged { call: handle(7) });
    rig.act("update");
    rig.event(Event::RefreshFailed { call: handle(7), status: None });
    rig.check(&["session-changed 1", "> refresh 7 Update", "refresh-failed 1"]);
    for by in [Side::Local, Side::Remote] {
        rig.event(Event::Refreshed { call: handle(7), by });
    }
    rig.check(&["refreshed 1", "refreshed-by-peer 1"]);
    rig.act("video by update");
    rig.event(Event::VideoRefused { call: handle(7) });
    rig.act("video");
    rig.event(Event::VideoStarted { call: handle(7) });
    rig.act("video off");
    rig.event(Event::VideoStopped { call: handle(7) });
    rig.check(&[
        "> video 7 true Update",
        "video-refused 1",
        "> video 7 true Invite",
        "video 1",
        "> video 7 false Invite",
        "video-ended 1",
    ]);
}

#[test]
fn what_there_is_to_hear_before_the_answer_is_sent_while_it_rings_here() {
    let mut rig = Rig::new(None);
    rig.act("progress");
    rig.incoming(7);
    rig.act("progress");
    rig.act("answer");
    rig.check(&["! no call rings here", "incoming 1", "> progress 7", "> answer 7"]);
}

#[test]
fn a_caller_who_gives_up_while_it_rings_is_told_and_can_not_be_answered() {
    let mut rig = Rig::new(None);
    rig.incoming(7);
    assert_eq!(rig.selected(), Some(1));
    rig.act("hold");
    rig.ended(7, EndReason::Cancelled);
    rig.act("answer");
    rig.act("decline 603");
    let nothing = "! no call rings here";
    rig.check(&["incoming 1", "! call 1 is not answered", "ended 1", nothing, nothing]);
}

#[test]
fn a_call_is_declined_with_the_status_that_was_asked_for() {
    let mut rig = Rig::new(None);
    rig.incoming(7);
    rig.act("decline 600");
    rig.ended(7, EndReason::Refused(Status::of(600)));
    rig.check(&["incoming 1", "> decline 7 600", "ended 1"]);
}

#[test]
fn by_itself_it_answers_after_its_time_or_refuses_at_once() {
    let mut rig = Rig::new(Some(Reply::Answer(Duration::from_secs(2))));
    rig.incoming(7);
    assert_eq!(rig.handset.poll_timeout(), Some(Instant::from_millis(2_000)));
    rig.now = Instant::from_millis(2_000);
    rig.handset.handle_timeout(rig.now);
    rig.drain();
    rig.check(&["incoming 1", "> answer 7"]);
    let mut busy = Rig::new(Some(Reply::Busy));
    busy.incoming(7);
    busy.check(&["> decline 7 486", "incoming 1"]);
}

#[test]
fn keys_go_out_one_after_the_other_and_end_with_the_first_that_is_refused() {
    let mut rig = Rig::new(None);
    rig.act("dtmf 1");
    rig.check(&["! there is no call"]);
    rig.talking(1, 7);
    rig.act("dtmf 12");
    rig.act("dtmf 3");
    rig.check(&["> digit 7 1"]);
    let answer = |code| Event::InfoAnswered { call: handle(7), status: Some(Status::of(code)) };
    rig.event(answer(200));
    rig.check(&["> digit 7 2"]);
    rig.event(answer(200));
    rig.check(&["> digit 7 3", "info-answered 1"]);
    rig.act("dtmf 456");
    rig.event(answer(200));
    rig.event(answer(415));
    rig.check(&["> digit 7 4", "info-answered 1", "info-answered 1"]);
    rig.act(&format!("dtmf {}", "1".repeat(64)));
    rig.act(&format!("dtmf {}", "1".repeat(64)));
    rig.act("dtmf 1");
    rig.check(&["> digit 7 1", "! there are too many calls or questions at a time"]);
}

#[test]
fn a_transfer_takes_two_calls_and_is_told_of_when_both_are_gone() {
    let mut rig = Rig::new(None);
    rig.talking(1, 7);
    rig.act("transfer to 1");
    rig.act("transfer to 2");
    rig.check(&["! there is no other call 1", "! there is no other call 2"]);
    rig.talking(2, 8);
    rig.act("select 1");
    rig.act("transfer to 2");
    rig.check(&["> transfer 7 to 8"]);
    rig.ended(7, EndReason::RemoteHangup);
    rig.now = rig.now + END_TIME;
    rig.handset.handle_timeout(rig.now);
    rig.drain();
    rig.event(Event::TransferEnded { call: handle(7), outcome: TransferOutcome::Done });
    rig.check(&["ended 1", "transferred 1"]);
    rig.event(Event::TransferEnded { call: handle(7), outcome: TransferOutcome::Done });
    rig.check(&[]);
}

#[test]
fn a_transfer_that_is_asked_for_waits_for_its_owner_and_many_of_them_have_a_limit() {
    let mut rig = Rig::new(None);
    rig.talking(1, 7);
    rig.act("accept");
    rig.check(&["! nobody asks for a transfer"]);
    let asked = |referral| {
        let (call, to) = (Some(handle(7)), uri("dave"));
        Event::TransferAsked { referral, call, to, replaces: false, referred_by: None }
    };
    rig.event(asked(3));
    rig.act("accept");
    rig.event(Event::TransferBegun {
        referral: 3,
        call: Some(handle(7)),
        new_call: handle(8),
        to: uri("dave"),
    });
    rig.check(&["transfer-asked 1", "> answer transfer 3 true", "transfer-begun 1"]);
    assert_eq!(rig.selected(), Some(2));
    for referral in 10..=10 + REFERRALS_MAX as u64 {
        rig.event(asked(referral));
    }
    let refused = rig.out.iter().filter(|line| *line == "> answer transfer 10 false").count();
    assert_eq!((refused, rig.handset.referrals.len()), (1, REFERRALS_MAX));
}

#[test]
fn a_call_that_takes_the_place_of_another_is_the_selected_one() {
    let mut rig = Rig::new(None);
    rig.talking(1, 7);
    rig.incoming(8);
    rig.event(Event::Replaced { call: handle(7), by: handle(8) });
    rig.answered(8);
    rig.check(&["incoming 2", "replaced 1", "answered 2"]);
    assert_eq!(rig.selected(), Some(2));
}

#[test]
fn more_calls_than_there_may_be_find_it_busy() {
    let mut rig = Rig::new(None);
    for slot in 0..=CALLS_MAX as u32 {
        rig.incoming(slot);
    }
    assert_eq!(rig.out.iter().filter(|line| line.starts_with("> decline")).count(), 1);
    rig.act("call bob");
    assert_eq!(rig.out.last().map(String::as_str), Some("! there are too many calls or questions at a time"));
    assert_eq!(rig.handset.lines().count(), CALLS_MAX);
}

#[test]
fn who_asks_for_the_password_and_gets_nothing_is_told() {
    let mut rig = Rig::new(None);
    rig.event(Event::PasswordKept { realm: "elsewhere.test".into() });
    rig.check(&["password-kept"]);
}

#[test]
fn where_a_refusal_is_explained_is_told() {
    let mut rig = Rig::new(None);
    rig.act("call bob");
    rig.started(1, 7);
    rig.out.clear();
    rig.event(Event::ErrorInfo { call: handle(7), status: Status::of(403), uri: uri("why") });
    rig.check(&["error-info 1"]);
}

#[test]
fn quitting_ends_all_calls_and_the_registration() {
    let mut rig = Rig::new(None);
    rig.act("register");
    rig.event(Event::Registered { expires_s: 600 });
    rig.talking(1, 7);
    rig.incoming(8);
    rig.out.clear();
    rig.act("quit");
    rig.check(&["> hangup 7", "> hangup 8", "> Unregister"]);
}

#[test]
fn two_calls_are_joined_and_neither_is_held_by_the_other() {
    let mut rig = Rig::new(None);
    rig.act("join");
    rig.check(&["! there is no call"]);
    rig.talking(1, 7);
    rig.act("join");
    rig.act("join 5");
    rig.check(&["! there is no other call that talks, to join it to call 1", "! there is no other call 5"]);
    rig.talking(2, 8);
    rig.held(7, Side::Local, true);
    rig.out.clear();
    rig.act("join");
    rig.check(&["> join 8 with 7"]);
    rig.held(7, Side::Local, false);
    rig.event(Event::Joined { call: handle(7) });
    rig.event(Event::Joined { call: handle(8) });
    rig.check(&["resumed 1", "joined 1", "joined 2"]);
    let joined = |rig: &Rig| [1, 2, 3].map(|number| rig.handset.is_joined(number));
    assert_eq!(joined(&rig), [true, true, false]);
    // Whoever goes on with one of them goes on with both.
    rig.act("select 1");
    rig.act("resume");
    rig.check(&["resumed 1"]);
    // Another call holds both.
    rig.act("call carol");
    rig.check(&["> hold 7 Invite", "> hold 8 Invite", "> call 3 sip:carol@office.test", "calling 3"]);
    assert_eq!(joined(&rig), [true, true, false]);
    rig.act("hangup all");
    rig.check(&["> hangup 7", "> hangup 8"]);
    // One that is left is no conversation of several.
    rig.event(Event::Ended { call: handle(8), reason: EndReason::RemoteHangup });
    assert_eq!(joined(&rig), [false; 3]);
}

#[test]
fn a_far_end_that_does_not_agree_stays_apart() {
    let mut rig = Rig::new(None);
    rig.talking(1, 7);
    rig.talking(2, 8);
    rig.act("join 1");
    rig.event(Event::NotJoined { call: handle(7) });
    rig.check(&["> join 8 with 7", "not-joined 1"]);
    rig.act("resume");
    rig.check(&["> hold 7 Invite", "resumed 2"]);
}

#[test]
fn one_who_asks_to_join_is_let_in_by_the_answer_which_holds_nobody() {
    let mut rig = Rig::new(None);
    rig.talking(1, 7);
    rig.incoming(9);
    rig.event(Event::JoinAsked { call: handle(9), joins: handle(7) });
    rig.check(&["incoming 2", "join-asked 2"]);
    rig.act("answer");
    rig.check(&["> answer 9"]);
    rig.answered(9);
    rig.event(Event::Joined { call: handle(7) });
    rig.event(Event::Joined { call: handle(9) });
    rig.check(&["answered 2", "joined 1", "joined 2"]);
}
