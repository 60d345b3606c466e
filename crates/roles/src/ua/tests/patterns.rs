//! The patterns of RFC 6337 §2.2, table 1, between two phones: in each place where an offer and its answer may stand the
//! two agree, whichever packet is lost or comes twice; and the illegal ones with their refusals, against a scripted peer.

use std::time::Duration;

use dialtone_wire::HeaderName;

use super::bench::{Bench, brief, header, sdp};
use super::callee::request;
use super::calls::{ALICE, BOB, Fault, Pair};
use super::updates::Callee;
use crate::io::{ChangeBy, Command, HoldForm, Play};
use crate::settings::SessionSettings;

/// What an owner does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Call,
    /// Alice calls before she has ports, and leaves the offer to Bob.
    CallWithoutOffer,
    /// Bob has something to say before he answers.
    Progress,
    Answer,
    Hold(usize, ChangeBy),
    Resume(usize, ChangeBy),
    Refresh(usize, ChangeBy),
    /// A stream is added that the other side takes, or taken away.
    Video(usize, bool, ChangeBy),
}
use ChangeBy::{Invite, Update};
use Step::{Answer, Call, CallWithoutOffer, Hold, Progress, Refresh, Resume, Video};

struct Pattern {
    name: &'static str,
    reliable: bool,
    steps: &'static [Step],
    /// The messages when nothing is lost.
    ladder: &'static str,
    /// The direction of Alice's stream at the end, and of Bob's.
    media: [&'static str; 2],
}

const BOTH: [&str; 2] = ["sendrecv", "sendrecv"];
const OF_ALICE: [&str; 2] = ["sendonly", "recvonly"];
const OF_BOB: [&str; 2] = ["recvonly", "sendonly"];

const PATTERNS: [Pattern; 15] = [
    Pattern {
        name: "1: offer in INVITE, answer in 2xx",
        reliable: false,
        steps: &[Call, Answer],
        ladder: ">INVITE <180/INVITE <200/INVITE >ACK",
        media: BOTH,
    },
    Pattern {
        name: "1 with a preview in an unreliable 183",
        reliable: false,
        steps: &[Call, Progress, Answer],
        ladder: ">INVITE <180/INVITE <183/INVITE <200/INVITE >ACK",
        media: BOTH,
    },
    Pattern {
        name: "2: offer in 2xx, answer in ACK",
        reliable: false,
        steps: &[CallWithoutOffer, Answer],
        ladder: ">INVITE <180/INVITE <200/INVITE >ACK",
        media: BOTH,
    },
    Pattern {
        name: "2, and what follows",
        reliable: false,
        steps: &[CallWithoutOffer, Answer, Hold(BOB, Update), Refresh(ALICE, Update), Resume(BOB, Invite)],
        ladder: ">INVITE <180/INVITE <200/INVITE >ACK <UPDATE >200/UPDATE >UPDATE <200/UPDATE <INVITE >200/INVITE <ACK",
        media: BOTH,
    },
    Pattern {
        name: "4: offer in a reliable 180, answer in PRACK",
        reliable: true,
        steps: &[CallWithoutOffer, Answer],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK <200/INVITE >ACK",
        media: BOTH,
    },
    Pattern {
        name: "4, and UPDATE of the caller without and with an offer in the early dialog",
        reliable: true,
        steps: &[CallWithoutOffer, Refresh(ALICE, Update), Hold(ALICE, Update), Progress, Answer],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK >UPDATE <200/UPDATE >UPDATE <200/UPDATE <183/INVITE >PRACK \
                 <200/PRACK <200/INVITE >ACK",
        media: OF_ALICE,
    },
    Pattern {
        name: "4, and UPDATE of the callee without and with an offer in the early dialog",
        reliable: true,
        steps: &[CallWithoutOffer, Refresh(BOB, Update), Hold(BOB, Update), Answer, Resume(BOB, Update)],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK <UPDATE >200/UPDATE <UPDATE >200/UPDATE <200/INVITE >ACK \
                 <UPDATE >200/UPDATE",
        media: BOTH,
    },
    Pattern {
        name: "6 and 1: a stream is added before the answer, and taken away after it",
        reliable: true,
        steps: &[Call, Progress, Video(ALICE, true, Update), Answer, Video(BOB, false, Invite)],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK <183/INVITE >PRACK <200/PRACK >UPDATE <200/UPDATE \
                 <200/INVITE >ACK <INVITE >200/INVITE <ACK",
        media: BOTH,
    },
    Pattern {
        name: "3: offer in INVITE, answer in a reliable 183",
        reliable: true,
        steps: &[Call, Progress, Answer],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK <183/INVITE >PRACK <200/PRACK <200/INVITE >ACK",
        media: BOTH,
    },
    Pattern {
        name: "5: offer in PRACK, answer in its 200",
        reliable: true,
        steps: &[Call, Hold(ALICE, Invite), Progress, Answer],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK <183/INVITE >PRACK <200/PRACK <200/INVITE >ACK",
        media: OF_ALICE,
    },
    Pattern {
        name: "6: UPDATE of the caller in the early dialog",
        reliable: true,
        steps: &[Call, Progress, Hold(ALICE, Update), Answer],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK <183/INVITE >PRACK <200/PRACK >UPDATE <200/UPDATE \
                 <200/INVITE >ACK",
        media: OF_ALICE,
    },
    Pattern {
        name: "6: UPDATE of the callee in the early dialog",
        reliable: true,
        steps: &[Call, Progress, Hold(BOB, Update), Answer],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK <183/INVITE >PRACK <200/PRACK <UPDATE >200/UPDATE \
                 <200/INVITE >ACK",
        media: OF_BOB,
    },
    Pattern {
        name: "6: UPDATE of both in the call",
        reliable: false,
        steps: &[Call, Answer, Hold(ALICE, Update), Hold(BOB, Update), Resume(ALICE, Update)],
        ladder: ">INVITE <180/INVITE <200/INVITE >ACK >UPDATE <200/UPDATE <UPDATE >200/UPDATE >UPDATE <200/UPDATE",
        media: OF_BOB,
    },
    Pattern {
        name: "1: re-INVITE of both",
        reliable: true,
        steps: &[Call, Answer, Hold(BOB, Invite), Resume(BOB, Invite), Hold(ALICE, Invite)],
        ladder: ">INVITE <180/INVITE >PRACK <200/PRACK <200/INVITE >ACK <INVITE >200/INVITE <ACK \
                 <INVITE >200/INVITE <ACK >INVITE <200/INVITE >ACK",
        media: OF_ALICE,
    },
    Pattern {
        name: "no offer in an UPDATE, the same one in a re-INVITE",
        reliable: false,
        steps: &[Call, Answer, Refresh(ALICE, Update), Refresh(BOB, Invite), Refresh(ALICE, Invite)],
        ladder: ">INVITE <180/INVITE <200/INVITE >ACK >UPDATE <200/UPDATE <INVITE >200/INVITE <ACK \
                 >INVITE <200/INVITE >ACK",
        media: BOTH,
    },
];

/// Long enough for a request whose first copies were lost: T1 doubles from half a second.
const PATIENCE: Duration = Duration::from_secs(6);

/// Plays a pattern; this happens to the message with this number. Returns what passed.
fn play(pattern: &Pattern, fault: Option<(usize, Fault)>) -> String {
    let session =
        SessionSettings { reliable_ringing: pattern.reliable, video: true, ..SessionSettings::default() };
    let mut pair = Pair::of(session);
    if matches!(pattern.steps[0], CallWithoutOffer) {
        let settings = super::bench::settings("alice", "192.0.2.1:5060");
        pair.phones[ALICE] = Bench::with_ports(crate::settings::Settings { session, ..settings }, false);
        // Ports come when the call has asked for some.
        pair.phones[ALICE].has_ports = true;
    }
    pair.fault = fault;
    let mut calls = [None; 2];
    let form = HoldForm::Direction;
    for step in pattern.steps {
        let of = |side: usize| calls[side].expect("a call");
        let (side, command) = match *step {
            Call | CallWithoutOffer => (
                ALICE,
                Command::Call { token: 1, to: super::bench::uri("sip:bob@192.0.2.2"), play: Play::Silence },
            ),
            Progress => (BOB, Command::Progress { call: of(BOB), play: Play::Silence }),
            Answer => (BOB, Command::Answer { call: of(BOB), play: Play::Silence }),
            Hold(side, by) => (side, Command::Hold { call: of(side), form, by }),
            Resume(side, by) => (side, Command::Resume { call: of(side), by }),
            Refresh(side, by) => (side, Command::Refresh { call: of(side), by }),
            Video(side, on, by) => (side, Command::Video { call: of(side), on, by }),
        };
        pair.phones[side].command(command);
        pair.wait(PATIENCE);
        if matches!(step, Call | CallWithoutOffer) {
            calls = [ALICE, BOB].map(|side| Some(pair.phones[side].last_call()));
        }
    }
    let case = format!("{}, {fault:?}", pattern.name);
    for (side, direction) in pattern.media.into_iter().enumerate() {
        let told = pair.phones[side].media_of_call();
        assert!(told.last().is_some_and(|told| told.ends_with(direction)), "{case}: {side} has {told:?}");
        let events = pair.phones[side].events().join(" ");
        assert!(events.contains("Answered") && !events.contains("Refused"), "{case}: {events}");
        assert!(!events.contains("Ended") && !events.contains("Failed"), "{case}: {events}");
    }
    assert_eq!(pair.fault, None, "{case}: there was such a message");
    let passed = pair.ladder();
    pair.phones[ALICE].command(Command::Hangup { call: calls[ALICE].expect("a call") });
    pair.wait(PATIENCE);
    pair.phones.iter_mut().for_each(Bench::assert_at_rest);
    passed
}

#[test]
fn in_each_legal_place_offer_and_answer_are_exchanged_whichever_packet_is_lost() {
    for pattern in &PATTERNS {
        let passed = play(pattern, None);
        assert_eq!(passed, pattern.ladder, "{}", pattern.name);
        for lost in 0..passed.split(' ').count() {
            play(pattern, Some((lost, Fault::Lose)));
        }
    }
}

#[test]
fn in_each_legal_place_offer_and_answer_are_exchanged_whichever_packet_comes_twice() {
    for pattern in &PATTERNS {
        for number in 0..pattern.ladder.split(' ').count() {
            for after in [0, 700, 3_000] {
                play(pattern, Some((number, Fault::Double(Duration::from_millis(after)))));
            }
        }
    }
}

/// RFC 6337 §2.3, table 2: how an offer is refused in each of the places.
#[test]
fn in_each_legal_place_an_offer_that_fits_nothing_is_refused_as_table_2_says() {
    let unfit =
        || sdp(4002, "sendrecv").replace("RTP/AVP 0\r\na=rtpmap:0 PCMU", "RTP/AVP 3\r\na=rtpmap:3 GSM");
    // 1 and 3: 488 for the INVITE, which makes no call.
    let mut bench = Bench::phone();
    bench.receive(&request("INVITE", 1, "", "", &unfit()));
    assert_eq!(bench.take_all(), "488/INVITE");
    // 1 in a call: the session stays.
    let mut callee = Callee::talking("");
    let before = callee.bench.media_of_call();
    for method in ["INVITE", "UPDATE"] {
        assert_eq!(brief(&callee.ask(method, "", &unfit())), format!("488/{method}"));
        assert_eq!(callee.bench.media_of_call(), before);
    }
    // 2 and 4: who gets the offer in a response has to take that, and gives the call up.
    for (status, more, ladder) in [(200, "", "ACK BYE"), (183, "Require: 100rel\nRSeq: 7\n", "PRACK CANCEL")]
    {
        let settings = super::bench::settings("alice", "192.0.2.1:5060");
        let mut bench = Bench::with_ports(settings, false);
        bench.has_ports = true;
        let (_, invite) = bench.call_bob();
        assert!(invite.body().is_empty());
        let more = format!("Contact: <sip:bob@192.0.2.9>\n{more}");
        bench.respond(&invite, status, "b", &more, &unfit());
        assert_eq!(bench.take_all(), ladder);
    }
    // 5: a 488 for the PRACK leaves the response unacknowledged, and one without an offer acknowledges it.
    let (mut callee, ring) = Callee::ringing("Require: 100rel\r\n", &sdp(4000, "sendrecv"));
    callee.prack(&ring, "");
    callee.bench.command(Command::Progress { call: callee.call, play: Play::Silence });
    let progress = callee.bench.take();
    assert_eq!(brief(&callee.prack(&progress, &unfit())), "488/PRACK");
    assert_eq!(brief(&callee.prack(&progress, "")), "200/PRACK");
}

/// RFC 3261 §13.3.1.4: the 2xx with the offer is repeated until the ACK has brought the answer, in a re-INVITE too.
#[test]
fn a_2xx_with_an_offer_is_the_same_whenever_it_is_repeated() {
    let mut callee = Callee::talking("");
    let first = callee.ask("INVITE", "", "");
    callee.bench.wait(Duration::from_millis(1_600));
    for _ in 0..2 {
        assert_eq!(callee.bench.take().bytes(), first.bytes());
    }
    assert_eq!(callee.bench.take_all(), "");
    let answer = sdp(4006, "sendrecv");
    callee.bench.receive(&request("ACK", 2, &callee.tag, "", &answer));
    callee.bench.receive(&request("ACK", 2, &callee.tag, "", &answer));
    callee.bench.wait(Duration::from_secs(30));
    assert_eq!(callee.bench.take_all(), "");
    assert_eq!(callee.bench.media_of_call().last().unwrap(), "192.0.2.9:4006 sendrecv");
}

/// What an offer gets that comes where it may not.
#[test]
fn in_each_illegal_place_an_offer_gets_its_refusal() {
    struct Case {
        name: &'static str,
        /// Headers and body of the INVITE.
        invite: (&'static str, bool),
        /// What we do before: the phone has rung.
        before: fn(&mut Callee),
        method: &'static str,
        status: u16,
    }
    const RELIABLE: &str = "Require: 100rel\r\n";
    let nothing: fn(&mut Callee) = |_| {};
    let progress: fn(&mut Callee) = |callee| {
        callee.bench.command(Command::Progress { call: callee.call, play: Play::Silence });
        callee.bench.take_all();
    };
    let answer: fn(&mut Callee) = |callee| {
        callee.bench.command(Command::Answer { call: callee.call, play: Play::Silence });
        callee.bench.take_all();
    };
    let hang_up: fn(&mut Callee) = |callee| {
        callee.bench.command(Command::Answer { call: callee.call, play: Play::Silence });
        callee.bench.take_all();
        callee.ack(1);
        callee.bench.command(Command::Hangup { call: callee.call });
        callee.bench.take_all();
    };
    let cases = [
        Case {
            name: "UPDATE before any answer",
            invite: ("", true),
            before: nothing,
            method: "UPDATE",
            status: 500,
        },
        Case {
            name: "UPDATE after a preview",
            invite: ("", true),
            before: progress,
            method: "UPDATE",
            status: 500,
        },
        Case {
            name: "UPDATE while our offer waits for its PRACK",
            invite: (RELIABLE, false),
            before: nothing,
            method: "UPDATE",
            status: 491,
        },
        Case {
            name: "UPDATE before the offer that we owe",
            invite: ("", false),
            before: nothing,
            method: "UPDATE",
            status: 491,
        },
        Case {
            name: "UPDATE while our offer waits for its ACK",
            invite: ("", false),
            before: answer,
            method: "UPDATE",
            status: 491,
        },
        Case {
            name: "UPDATE after our BYE",
            invite: ("", true),
            before: hang_up,
            method: "UPDATE",
            status: 481,
        },
        Case {
            name: "re-INVITE before the final response",
            invite: ("", true),
            before: nothing,
            method: "INVITE",
            status: 500,
        },
        Case {
            name: "re-INVITE while our offer waits for its ACK",
            invite: ("", false),
            before: answer,
            method: "INVITE",
            status: 491,
        },
        Case { name: "PRACK for nothing", invite: ("", true), before: nothing, method: "PRACK", status: 481 },
    ];
    for Case { name, invite: (more, offers), before, method, status } in cases {
        let body = if offers { sdp(4000, "sendrecv") } else { String::new() };
        let (mut callee, _) = Callee::ringing(more, &body);
        before(&mut callee);
        let refusal = callee.ask(method, "", &sdp(4002, "sendrecv"));
        assert_eq!(refusal.status().unwrap().code(), status, "{name}");
        let retry_after = header(&refusal, HeaderName::RetryAfter);
        assert_eq!(retry_after.is_empty(), status != 500, "{name}: {retry_after}");
    }
}
