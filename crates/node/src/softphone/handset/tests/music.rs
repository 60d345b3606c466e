//! Far ends that are held and hear a music server.

use super::super::music::MUSIC_WORD_TIME;
use super::*;

impl Rig {
    /// A phone with a music server, and a call that is held, for which that was asked.
    fn with_music() -> Rig {
        let mut rig = Rig::new(None);
        rig.handset = rig.handset.with_music(Some(uri("music")));
        rig.talking(1, 7);
        rig.act("hold");
        rig.held(7, Side::Local, true);
        rig.check(&["> hold 7 Invite", "> music 7 sip:music@office.test", "held 1"]);
        rig
    }

    /// The same, and the music plays.
    fn with_music_on() -> Rig {
        let mut rig = Rig::with_music();
        rig.ended(7, EndReason::RemoteHangup);
        rig.began(7);
        rig.check(&["music 1"]);
        rig
    }

    fn began(&mut self, slot: u32) {
        self.event(Event::MusicBegan { call: handle(slot), back: back() });
    }

    fn no_music(&mut self, slot: u32) {
        let outcome = TransferOutcome::Refused(Status::of(403));
        self.event(Event::NoMusic { call: handle(slot), outcome });
    }

    fn later(&mut self, time: Duration) {
        self.now = self.now + time;
        self.handset.handle_timeout(self.now);
        self.drain();
    }

    fn line(&self, number: u64) -> &Line {
        self.handset.lines().find(|line| line.number == number).expect("a call")
    }
}

fn back() -> UriBuf {
    UriBuf::parse("sip:bob@office.test?Replaces=x").expect("a URI")
}

const CALLS_BACK: &str = "> call 1 sip:bob@office.test?Replaces=x";

#[test]
fn a_call_goes_to_the_music_server_and_comes_back_under_its_number() {
    let mut rig = Rig::with_music_on();
    assert!(rig.line(1).hears_music() && rig.line(1).held);
    rig.act("dtmf 1");
    rig.act("transfer carol");
    rig.check(&["! the far end of call 1 hears music: resume takes it back"; 2]);
    rig.act("hold");
    rig.check(&["held 1"]);
    rig.act("resume");
    rig.act("resume");
    rig.check(&[CALLS_BACK]);
    rig.started(1, 8);
    rig.answered(8);
    rig.check(&["resumed 1"]);
    assert!(!rig.line(1).hears_music() && !rig.line(1).held && rig.line(1).state == LineState::Talking);
    // It is one like any other again.
    rig.act("hold");
    rig.held(8, Side::Local, true);
    rig.check(&["> hold 8 Invite", "> music 8 sip:music@office.test", "held 1"]);
    rig.no_music(8);
    rig.act("resume");
    rig.held(8, Side::Local, false);
    rig.ended(8, EndReason::RemoteHangup);
    rig.later(END_TIME);
    rig.check(&["no-music 1", "> resume 8 Invite", "resumed 1", "ended 1"]);
    assert_eq!(rig.handset.lines().count(), 0);
    assert!(rig.handset.music_of.is_empty());
}

#[test]
fn only_a_call_that_its_owner_holds_goes_to_the_music_server() {
    let mut rig = Rig::new(None);
    rig.handset = rig.handset.with_music(Some(uri("music")));
    rig.talking(1, 7);
    rig.act("call carol");
    rig.held(7, Side::Local, true);
    rig.check(&["> hold 7 Invite", "> call 2 sip:carol@office.test", "calling 2", "held 1"]);
    // Until he says so: it is held already.
    rig.act("select 1");
    rig.act("hold");
    rig.check(&["> music 7 sip:music@office.test", "held 1"]);
    rig.act("hold");
    rig.check(&["held 1"]);
    rig.held(7, Side::Remote, true);
    rig.check(&["held-by-peer 1"]);
    // And not if he has thought better of it before it was held.
    let mut rig = Rig::new(None);
    rig.handset = rig.handset.with_music(Some(uri("music")));
    rig.talking(1, 7);
    rig.act("hold");
    rig.act("resume");
    rig.held(7, Side::Local, true);
    rig.held(7, Side::Local, false);
    rig.check(&["> hold 7 Invite", "> resume 7 Invite", "held 1", "resumed 1"]);
}

#[test]
fn a_call_stays_held_without_music_where_the_server_has_none() {
    let mut rig = Rig::with_music();
    rig.no_music(7);
    rig.check(&["no-music 1"]);
    rig.act("resume");
    rig.held(7, Side::Local, false);
    rig.check(&["> resume 7 Invite", "resumed 1"]);
}

#[test]
fn a_far_end_that_hangs_up_while_the_server_is_asked_is_over_when_that_is_known() {
    let mut rig = Rig::with_music();
    rig.ended(7, EndReason::RemoteHangup);
    rig.check(&[]);
    rig.no_music(7);
    rig.later(END_TIME);
    rig.check(&["ended 1"]);
    // Or after as long as its word may be on the way.
    let mut rig = Rig::with_music();
    rig.ended(7, EndReason::RemoteHangup);
    rig.later(MUSIC_WORD_TIME - Duration::from_millis(1));
    rig.check(&[]);
    rig.later(Duration::from_millis(1));
    rig.check(&["ended 1"]);
    assert_eq!(rig.handset.poll_timeout(), None);
    // Then nobody wants it any more, and it is not left with the music.
    rig.began(7);
    rig.check(&["> call 2 sip:bob@office.test?Replaces=x"]);
    rig.started(2, 8);
    rig.answered(8);
    rig.check(&["> hangup 8"]);
    rig.ended(8, EndReason::LocalHangup);
    rig.later(END_TIME);
    rig.check(&[]);
    assert_eq!(rig.handset.lines().count(), 0);
}

#[test]
fn a_far_end_that_is_wanted_back_before_the_music_plays_comes_back() {
    // The call is still here.
    let mut rig = Rig::with_music();
    rig.act("resume");
    rig.check(&["> resume 7 Invite"]);
    rig.held(7, Side::Local, false);
    rig.check(&["resumed 1"]);
    // The music server has it all the same.
    rig.began(7);
    rig.check(&["> hangup 7", CALLS_BACK, "music 1"]);
    rig.started(1, 8);
    rig.ended(7, EndReason::RemoteHangup);
    rig.answered(8);
    rig.check(&["resumed 1"]);
    // The call is gone, and where to is not known yet.
    let mut rig = Rig::with_music();
    rig.ended(7, EndReason::RemoteHangup);
    rig.act("resume");
    rig.check(&[]);
    rig.began(7);
    rig.check(&[CALLS_BACK, "music 1"]);
}

#[test]
fn a_far_end_that_has_hung_up_while_it_heard_music_is_told_of_in_words() {
    for (code, gone) in [(481, true), (603, true), (480, false), (403, false)] {
        let mut rig = Rig::with_music_on();
        rig.act("resume");
        rig.started(1, 8);
        rig.rings(8);
        rig.check(&[CALLS_BACK, "ringing 1"]);
        let reason = EndReason::Refused(Status::of(code));
        rig.handset.handle(rig.now, Event::Ended { call: handle(8), reason });
        let Some(News::NotBack { reason: told, is_gone, .. }) = rig.handset.poll_news() else {
            panic!("{code}")
        };
        assert_eq!((told, is_gone), (reason, gone));
        rig.later(END_TIME);
        if gone {
            rig.check(&["ended 1"]);
            continue;
        }
        // It is still there, and may be asked again.
        rig.check(&[]);
        assert!(rig.line(1).hears_music());
        rig.act("resume");
        rig.started(1, 9);
        rig.answered(9);
        rig.check(&[CALLS_BACK, "resumed 1"]);
    }
}

#[test]
fn who_is_hung_up_on_does_not_hear_music_for_ever() {
    for first in ["hangup", "resume"] {
        let mut rig = Rig::with_music_on();
        rig.act(first);
        rig.act("hangup all");
        rig.check(&[CALLS_BACK]);
        rig.started(1, 8);
        rig.answered(8);
        rig.check(&["> hangup 8"]);
        rig.ended(8, EndReason::LocalHangup);
        rig.later(END_TIME);
        rig.check(&["ended 1"]);
    }
    // The music server has it after we hung up.
    let mut rig = Rig::with_music();
    rig.act("hangup");
    rig.ended(7, EndReason::LocalHangup);
    rig.later(END_TIME);
    rig.check(&["> hangup 7", "ended 1"]);
    rig.began(7);
    rig.check(&["> call 2 sip:bob@office.test?Replaces=x"]);
    // Its call is gone, and we do not know where to: as before.
    let mut rig = Rig::with_music();
    rig.ended(7, EndReason::RemoteHangup);
    rig.act("hangup");
    rig.later(END_TIME);
    rig.check(&["ended 1"]);
    rig.no_music(7);
    rig.check(&[]);
    assert!(rig.handset.music_of.is_empty());
}

#[test]
fn a_music_server_calls_whom_strangers_ask_for_and_plays_to_them() {
    let mut rig = Rig::new(None);
    rig.handset = rig.handset.obeying_strangers(true);
    let asked = |call| {
        let (referral, to) = (3, uri("dave"));
        Event::TransferAsked { referral, call, to, replaces: true, referred_by: None }
    };
    rig.event(asked(None));
    rig.check(&["> answer transfer 3 true"]);
    // Within a call its owner is asked as ever.
    rig.talking(1, 7);
    rig.event(asked(Some(handle(7))));
    rig.check(&["transfer-asked 1"]);
}
