//! RFC 5407: messages that pass each other on the wire, or are lost, while a dialog changes its state. Whatever the
//! race, no call stays behind at either side.

use std::time::Duration;

use bytes::Bytes;
use dialtone_sim::roles::io::{CallHandle, Command, Event, Play};
use dialtone_sim::{Agent, AgentContext, HostId, Mute, Planned, World, scene};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Limits, Message, Method, Status, Writer};

use crate::fields::{Field, tag};
use crate::people::phone;
use crate::sessions::{ATLANTA, BILOXI};
use crate::{ALICE, BOB, Flow};

pub(crate) const BOTH: &[(&str, std::net::SocketAddr)] = &[("Alice", ALICE), ("Bob", BOB)];
pub(crate) const MISPRINT: &str = "the RFC has a misprint, `sip:sip:bob@…`";
pub(crate) const HAS_CONTACT: &str =
    "RFC 3261 §12.2.1.1, §12.2.2: a re-INVITE and its 2xx name the place anew; the RFC shortened them";
const COUNTS: &str =
    "RFC 3261 §14.1: each of our re-INVITEs has an offer; the RFC's refreshes the session timer only";
const OWN_CSEQ: &str = "the RFC's ACK does not have the number of its INVITE";
pub(crate) const HANGS_UP: &str = "Afterwards Alice hangs up: BYE and its 200.";

pub(crate) const INVITE_AGAIN: Flow = Flow {
    section: "3.1.1",
    title: "Callee Receives Initial INVITE Retransmission While in the Moratorium State",
    text: "The 180 is lost, so that Alice sends her INVITE again just when Bob answers. Bob's transaction is still \
           there (RFC 6026) and knows the copy: it makes no second call, and the 200 that is on its way answers it.",
    participants: BOTH,
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice, lost\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 INVITE: Alice -> Bob, as F1\n\
             F5 ACK: Alice -> Bob",
    crossing: &[("F3", "F4")],
    afterwards: HANGS_UP,
    play: || {
        let mut race = Race::new();
        race.call();
        race.lose_next();
        race.after(498);
        race.answer();
        race.after(1_000);
        race.hang_up(race.alice);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const CANCEL: Flow = Flow {
    section: "3.1.2",
    title: "Callee Receives CANCEL (Early State) While in the Moratorium State",
    text: "Bob answers while Alice gives up. The CANCEL gets its 200 and changes nothing any more; Alice acknowledges \
           the answer that she does not want, and ends the call with BYE (RFC 3261 §15).",
    participants: BOTH,
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 CANCEL: Alice -> Bob\n\
             F4 200 INVITE: Bob -> Alice\n\
             F5 200 CANCEL: Bob -> Alice\n\
             F6 ACK: Alice -> Bob\n\
             F7 BYE: Alice -> Bob\n\
             F8 200 BYE: Bob -> Alice",
    crossing: &[("F3", "F4"), ("F5", "F6")],
    play: || {
        let mut race = Race::new();
        race.call();
        race.after(1_000);
        race.hang_up(race.alice);
        race.after(2);
        race.answer();
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const EARLY_BYE: Flow = Flow {
    section: "3.1.3",
    title: "Callee Receives BYE (Early State) While in the Moratorium State",
    text: "Alice ends the early dialog with BYE while Bob answers. The RFC does not recommend that BYE (a fork needs \
           CANCEL), and our phone sends CANCEL in its place, so that Alice is played by hand here. Bob is ours: his \
           call ends with the BYE, he stops repeating the 200, and the ACK that comes later starts nothing.",
    participants: BOTH,
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 BYE: Alice -> Bob\n\
             F5 ACK: Alice -> Bob\n\
             F6 200 BYE: Bob -> Alice",
    crossing: &[("F3", "F4"), ("F5", "F6")],
    play: || {
        let mut race = Race::by_hand();
        race.send_as_alice("INVITE", 1);
        race.after(1_000);
        race.answer();
        race.after(2);
        race.send_as_alice("BYE", 2);
        race.after(4);
        race.send_as_alice("ACK", 1);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const RE_INVITE: Flow = Flow {
    section: "3.1.4",
    title: "Callee Receives re-INVITE (Established State) While in the Moratorium State (Case 1)",
    text: "The ACK is lost, and Alice changes the session before Bob's 200 comes a second time. Bob takes the \
           re-INVITE: there is no open offer that it could collide with.",
    participants: BOTH,
    differences: &[
        ("F6", Field::RequestUri, MISPRINT),
        ("F6", Field::Contact, HAS_CONTACT),
        ("F6", Field::Expires, HAS_CONTACT),
        ("F8", Field::Contact, HAS_CONTACT),
        ("F8", Field::Expires, HAS_CONTACT),
        ("F9", Field::RequestUri, MISPRINT),
    ],
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob, lost\n\
             F5 200 INVITE: Bob -> Alice, as F3\n\
             F6 INVITE: Alice -> Bob\n\
             F7 ACK: Alice -> Bob, as F4\n\
             F8 200 INVITE: Bob -> Alice\n\
             F9 ACK: Alice -> Bob",
    crossing: &[("F5", "F6"), ("F7", "F8")],
    afterwards: HANGS_UP,
    play: || {
        let mut race = Race::new();
        race.call();
        race.after(1_000);
        race.answer();
        race.lose_next();
        race.after(498);
        race.hold(race.alice);
        race.after(1_000);
        race.hang_up(race.alice);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const RE_INVITE_AND_OFFER: Flow = Flow {
    section: "3.1.5",
    title: "Callee Receives re-INVITE (Established State) While in the Moratorium State (Case 2)",
    text: "As before, but Alice's INVITE had no offer (she had no ports ready), so that Bob's 200 has one. The ACK \
           with the answer is lost; the offer in the re-INVITE collides with Bob's, and he says 491.",
    participants: BOTH,
    differences: &[
        ("F6", Field::RequestUri, MISPRINT),
        ("F6", Field::Contact, HAS_CONTACT),
        ("F6", Field::Expires, HAS_CONTACT),
    ],
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob, lost\n\
             F5 200 INVITE: Bob -> Alice, as F3\n\
             F6 INVITE: Alice -> Bob\n\
             F7 ACK: Alice -> Bob, as F4\n\
             F8 491 INVITE: Bob -> Alice\n\
             F9 ACK: Alice -> Bob",
    crossing: &[("F5", "F6"), ("F7", "F8")],
    afterwards: "Afterwards Alice asks again (she owns the Call-ID, so after 2.1 to 4 seconds) and gets 200, and \
                 hangs up.",
    play: || {
        let mut race = Race::without_ports();
        race.call();
        race.after(1_000);
        race.answer();
        race.lose_next();
        race.after(498);
        race.hold(race.alice);
        race.after(5_000);
        let changed = |event: &Event| matches!(event, Event::SessionChanged { .. });
        assert!(race.world.events(race.alice).any(changed), "the second re-INVITE is accepted");
        race.hang_up(race.alice);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const BYE: Flow = Flow {
    section: "3.1.6",
    title: "Callee Receives BYE (Established State) While in the Moratorium State",
    text: "The ACK is lost, and Alice hangs up before Bob's 200 comes a second time. That 200 gets its ACK once more \
           and makes no new call.",
    participants: BOTH,
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob, lost\n\
             F5 200 INVITE: Bob -> Alice, as F3\n\
             F6 BYE: Alice -> Bob\n\
             F7 ACK: Alice -> Bob, as F4\n\
             F8 200 BYE: Bob -> Alice",
    crossing: &[("F5", "F6"), ("F7", "F8")],
    play: || {
        let mut race = Race::new();
        race.call();
        race.after(1_000);
        race.answer();
        race.lose_next();
        race.after(498);
        race.hang_up(race.alice);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const TWO_BYES: Flow = Flow {
    section: "3.2.1",
    title: "UA Receives BYE (Established State) While in the Mortal State",
    text: "Both hang up at once; both BYEs get 200.",
    participants: BOTH,
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob\n\
             F5 BYE: Alice -> Bob\n\
             F6 BYE: Bob -> Alice\n\
             F7 200 BYE: Bob -> Alice\n\
             F8 200 BYE: Alice -> Bob",
    crossing: &[("F5", "F6"), ("F7", "F8")],
    play: || {
        let mut race = Race::established();
        race.hang_up(race.alice);
        race.hang_up(race.bob);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const BYE_AND_RE_INVITE: Flow = Flow {
    section: "3.2.2",
    title: "UA Receives re-INVITE (Established State) While in the Mortal State",
    text: "Alice hangs up while Bob changes the session. For Alice the dialog is over: the re-INVITE gets 481. Bob's \
           transaction acknowledges that, though his call has ended with the BYE.",
    participants: BOTH,
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob\n\
             F5 BYE: Alice -> Bob\n\
             F6 INVITE: Bob -> Alice\n\
             F7 200 BYE: Bob -> Alice\n\
             F8 481 INVITE: Alice -> Bob\n\
             F9 ACK: Bob -> Alice",
    crossing: &[("F5", "F6"), ("F7", "F8")],
    play: || {
        let mut race = Race::established();
        race.hang_up(race.alice);
        race.hold(race.bob);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const RE_INVITE_AND_BYE: Flow = Flow {
    section: "3.2.3",
    title: "UA Receives 200 OK for re-INVITE (Established State) While in the Mortal State",
    text: "Bob changes the session and hangs up before the answer is there. The 200 that comes after his BYE gets its \
           ACK all the same, so that Alice stops repeating it.",
    participants: BOTH,
    differences: &[
        ("F5", Field::Contact, HAS_CONTACT),
        ("F5", Field::Expires, HAS_CONTACT),
        ("F5", Field::Body, COUNTS),
        ("F7", Field::Contact, HAS_CONTACT),
        ("F7", Field::Expires, HAS_CONTACT),
        ("F7", Field::Body, COUNTS),
        ("F9", Field::CSeq, OWN_CSEQ),
    ],
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob\n\
             F5 INVITE: Bob -> Alice\n\
             F6 BYE: Bob -> Alice\n\
             F7 200 INVITE: Alice -> Bob\n\
             F8 200 BYE: Alice -> Bob\n\
             F9 ACK: Bob -> Alice",
    crossing: &[("F6", "F7"), ("F8", "F9")],
    play: || {
        let mut race = Race::established();
        race.hold(race.bob);
        race.after(7);
        race.hang_up(race.bob);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const ACK_AND_BYE: Flow = Flow {
    section: "3.2.4",
    title: "Callee Receives ACK (Moratorium State) While in the Mortal State",
    text: "Bob hangs up before the ACK of his 200 is there. RFC 3261 §15 forbids him the BYE until then, and the RFC \
           recommends that a phone waits with it: ours does, so that F4 and F5 do not pass each other and there is no \
           race. (That an ACK after a BYE starts nothing is a test of its own: `an_ack_after_the_bye_starts_nothing`.)",
    participants: BOTH,
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob\n\
             F5 BYE: Bob -> Alice\n\
             F6 200 BYE: Alice -> Bob",
    play: || {
        let mut race = Race::new();
        race.call();
        race.after(1_000);
        race.answer();
        race.after(2);
        race.hang_up(race.bob);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const TWO_RE_INVITES: Flow = Flow {
    section: "3.3.1",
    title: "Re-INVITE Crossover",
    text: "Both change the session at once, and both say 491. Bob, who did not make the Call-ID, asks again first; \
           Alice waits longer, and both get what they asked for.",
    participants: BOTH,
    differences: &[
        ("F5", Field::RequestUri, MISPRINT),
        ("F5", Field::Contact, HAS_CONTACT),
        ("F5", Field::Expires, HAS_CONTACT),
        ("F6", Field::Contact, HAS_CONTACT),
        ("F6", Field::Expires, HAS_CONTACT),
        ("F6", Field::Body, COUNTS),
        ("F11", Field::Contact, HAS_CONTACT),
        ("F11", Field::Expires, HAS_CONTACT),
        ("F14", Field::RequestUri, MISPRINT),
        ("F14", Field::Contact, HAS_CONTACT),
        ("F14", Field::Expires, HAS_CONTACT),
    ],
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob\n\
             F5 INVITE: Alice -> Bob\n\
             F6 INVITE: Bob -> Alice\n\
             F7 491 INVITE: Bob -> Alice\n\
             F8 491 INVITE: Alice -> Bob\n\
             F9 ACK: Alice -> Bob\n\
             F10 ACK: Bob -> Alice\n\
             F11 INVITE: Bob -> Alice\n\
             F12 200 INVITE: Alice -> Bob\n\
             F13 ACK: Bob -> Alice\n\
             F14 INVITE: Alice -> Bob\n\
             F15 200 INVITE: Bob -> Alice\n\
             F16 ACK: Alice -> Bob",
    crossing: &[("F5", "F6"), ("F7", "F8"), ("F9", "F10")],
    afterwards: HANGS_UP,
    play: || {
        let mut race = Race::established();
        race.hold(race.alice);
        race.hold(race.bob);
        race.after(10_000);
        race.hang_up(race.alice);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const BYE_OVERLAPS: Flow = Flow {
    section: "B",
    title: "BYE Request Overlapping with re-INVITE",
    text: "Alice's re-INVITE is lost, and she hangs up. Her transaction repeats the INVITE though the call is over; \
           Bob, for whom it is over too, answers 481, and the transaction acknowledges that.",
    participants: BOTH,
    figure: "F1 INVITE: Alice -> Bob, lost\n\
             F2 BYE: Alice -> Bob\n\
             F3 200 BYE: Bob -> Alice\n\
             F4 INVITE: Alice -> Bob, as F1\n\
             F5 481 INVITE: Bob -> Alice\n\
             F6 ACK: Alice -> Bob",
    play: || {
        let mut race = Race::established();
        race.from = race.world.packets().len();
        race.lose_next();
        race.hold(race.alice);
        race.hang_up(race.alice);
        race.rest()
    },
    ..Flow::RFC_5407
};

pub(crate) const FORK: Flow = Flow {
    section: "E.5",
    title: "Receiving 1xx and 2xx Responses with Different To Tags (Figure 5)",
    text: "The INVITE was forked somewhere, and two phones ring: two early dialogs. The first 200 makes the call; that \
           of the other phone, which comes later, gets its ACK and a BYE of its own. (What is behind the fork is \
           played by hand; dialog A is Bob's, B is Carol's.)",
    participants: &[("UAC", ALICE), ("Fork", BOB)],
    shows: &[
        ("F3", Field::Contact, "bob@Bob"),
        ("F4", Field::Contact, "carol@Bob"),
        ("F6", Field::RequestUri, "bob@Bob"),
        ("F8", Field::RequestUri, "carol@Bob"),
        ("F9", Field::RequestUri, "carol@Bob"),
    ],
    figure: "F1 INVITE: UAC -> Fork\n\
             F2 100 INVITE: Fork -> UAC\n\
             F3 180 INVITE: Fork -> UAC\n\
             F4 180 INVITE: Fork -> UAC\n\
             F5 200 INVITE: Fork -> UAC\n\
             F6 ACK: UAC -> Fork\n\
             F7 200 INVITE: Fork -> UAC\n\
             F8 ACK: UAC -> Fork\n\
             F9 BYE: UAC -> Fork\n\
             F10 200 BYE: Fork -> UAC",
    afterwards: HANGS_UP,
    play: || forked(&[100, 180, 180]),
    ..Flow::RFC_5407
};

pub(crate) const FORK_UNANNOUNCED: Flow = Flow {
    section: "E.6",
    title: "Receiving 2xx Responses with Different To Tags (Figure 6)",
    text: "As before, but nobody has said that it rings.",
    participants: &[("UAC", ALICE), ("Fork", BOB)],
    shows: &[
        ("F4", Field::RequestUri, "bob@Bob"),
        ("F6", Field::RequestUri, "carol@Bob"),
        ("F7", Field::RequestUri, "carol@Bob"),
    ],
    figure: "F1 INVITE: UAC -> Fork\n\
             F2 100 INVITE: Fork -> UAC\n\
             F3 200 INVITE: Fork -> UAC\n\
             F4 ACK: UAC -> Fork\n\
             F5 200 INVITE: Fork -> UAC\n\
             F6 ACK: UAC -> Fork\n\
             F7 BYE: UAC -> Fork\n\
             F8 200 BYE: Fork -> UAC",
    afterwards: HANGS_UP,
    play: || forked(&[100]),
    ..Flow::RFC_5407
};

/// Alice's call is forked: the phones say this, and both answer.
fn forked(before: &'static [u16]) -> (World, usize) {
    let mut world = World::new(5407);
    world.store.add_name(BILOXI, BOB.ip());
    let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
    world.add_agent("Fork", BOB, Box::new(Fork { before, later: None }));
    world.run_for(Duration::from_secs(1));
    let mut race = Race { world, alice, bob: alice, from: 0 };
    race.call();
    race.after(2_000);
    assert!(race.world.events(alice).any(|event| matches!(event, Event::Answered { .. })));
    race.hang_up(alice);
    race.rest()
}

/// Two phones behind a proxy, as the caller sees them: the second answers half a second after the first.
#[derive(Debug)]
struct Fork {
    before: &'static [u16],
    later: Option<(std::net::SocketAddr, Bytes)>,
}

impl Fork {
    fn say(invite: &Message, to: std::net::SocketAddr, status: u16, who: &str) -> Bytes {
        let tag = (status > 100).then_some(who);
        let mut writer = Writer::response_to(invite, Status::of(status), to, tag);
        writer.header(HeaderName::Contact, format_args!("<sip:{who}@192.0.2.201>"));
        match status {
            200 => writer.finish_with("application/sdp", OFFER.replace("alice", who).as_bytes()),
            _ => writer.finish(),
        }
    }
}

impl Agent for Fork {
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: std::net::SocketAddr, bytes: &Bytes) {
        let Ok(request) = Message::parse(bytes.clone(), &Limits::default()) else { return };
        match request.method() {
            Some(Method::Invite) => {
                for (status, who) in self.before.iter().zip(["", "bob", "carol"]) {
                    cx.send(from, Fork::say(&request, from, *status, who));
                }
                cx.send(from, Fork::say(&request, from, 200, "bob"));
                self.later = Some((from, Fork::say(&request, from, 200, "carol")));
                cx.wake_after(Duration::from_millis(500));
            }
            Some(Method::Bye) => {
                cx.send(from, Writer::response_to(&request, Status::of(200), from, None).finish())
            }
            _ => {}
        }
    }

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        if let Some((to, answer)) = self.later.take() {
            cx.send(to, answer);
        }
    }
}

/// Alice and Bob, each with a phone and no proxy between them.
pub(crate) struct Race {
    pub(crate) world: World,
    /// Our phone; a party by hand has none, and the handle is Bob's.
    pub(crate) alice: HostId,
    pub(crate) bob: HostId,
    /// Alice's first message, once it is sent.
    from: usize,
}

impl Race {
    pub(crate) fn new() -> Race {
        let mut world = World::new(5407);
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        Race::with(world, Some(alice))
    }

    /// Alice has no ports ready when she calls, and gets some afterwards.
    pub(crate) fn without_ports() -> Race {
        let mut world = World::new(5407);
        world.no_ports = 1_000;
        let alice = phone(&mut world, "alice", ATLANTA, ALICE, None);
        world.run_for(Duration::from_secs(1));
        world.no_ports = 0;
        Race::with(world, Some(alice))
    }

    /// Alice is nobody of ours.
    pub(crate) fn by_hand() -> Race {
        let mut world = World::new(5407);
        world.add_agent("Alice", ALICE, Box::new(Mute));
        Race::with(world, None)
    }

    fn with(mut world: World, alice: Option<HostId>) -> Race {
        world.store.add_name(BILOXI, BOB.ip());
        let bob = phone(&mut world, "bob", BILOXI, BOB, None);
        world.run_for(Duration::from_secs(1));
        Race { world, alice: alice.unwrap_or(bob), bob, from: 0 }
    }

    /// A call that stands.
    pub(crate) fn established() -> Race {
        let mut race = Race::new();
        race.call();
        race.after(1_000);
        race.answer();
        race.after(1_000);
        race
    }

    /// Alice calls; until her INVITE is on the wire.
    pub(crate) fn call(&mut self) {
        let to = UriBuf::parse("sip:bob@biloxi.example.com").expect("an address");
        self.command(self.alice, Command::Call { token: 1, to, play: Play::Silence });
    }

    pub(crate) fn answer(&mut self) {
        let call = self.call_of(self.bob);
        self.command(self.bob, Command::Answer { call, play: Play::Silence });
    }

    pub(crate) fn hold(&mut self, host: HostId) {
        let call = self.call_of(host);
        self.command(host, Command::Reoffer { call, hold: true });
    }

    pub(crate) fn hang_up(&mut self, host: HostId) {
        let call = self.call_of(host);
        self.world.command(host, Command::Hangup { call });
        self.after(0);
    }

    /// Gives a command; until what it sends is on the wire.
    pub(crate) fn command(&mut self, host: HostId, command: Command) {
        let before = self.world.packets().len();
        self.world.command(host, command);
        let sent = self.world.run_until(Duration::from_secs(1), |world| world.packets().len() > before);
        assert!(sent, "the command sends something");
    }

    pub(crate) fn call_of(&self, host: HostId) -> CallHandle {
        self.world.calls(host)[0]
    }

    /// The next message is lost.
    pub(crate) fn lose_next(&mut self) {
        self.world.network.plan.insert(self.world.packets().len(), Planned::Lose);
    }

    pub(crate) fn after(&mut self, milliseconds: u64) {
        self.world.run_for(Duration::from_millis(milliseconds));
    }

    /// Sends a request of the dialog that Alice began.
    pub(crate) fn send_as_alice(&mut self, method: &str, cseq: u32) {
        let text = self.request_of_alice(method, cseq);
        self.world.send(ALICE, BOB, text.into_bytes());
    }

    /// A request of the dialog that Alice began, with Bob's tag as soon as it is known.
    pub(crate) fn request_of_alice(&self, method: &str, cseq: u32) -> String {
        let tag_of = |bytes: &Bytes| tag(Message::parse(bytes.clone(), &Limits::default()).ok()?.to().ok());
        let known = self.world.packets().iter().find_map(|packet| tag_of(&packet.bytes));
        let to_tag = known.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let uri = if to_tag.is_empty() { "sip:bob@biloxi.example.com" } else { "sip:bob@192.0.2.201:5060" };
        let body = if method == "INVITE" { OFFER } else { "" };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.101:5060;branch=z9hG4bK{method}{cseq}\r\n\
             Max-Forwards: 70\r\n\
             From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n\
             To: Bob <sip:bob@biloxi.example.com>{to_tag}\r\n\
             Call-ID: 3848276298220188511@atlanta.example.com\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:alice@192.0.2.101>\r\n\
             {kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Everything comes to rest, by itself.
    pub(crate) fn rest(mut self) -> (World, usize) {
        // A wake-up for a session timer (RFC 4028) stays in the queue when its call is over.
        assert!(self.world.run_to_rest(Duration::from_secs(2_000)), "everything comes to rest");
        for host in [self.alice, self.bob] {
            assert!(self.world.calls(host).is_empty(), "no call is stuck");
        }
        (self.world, self.from)
    }
}

const OFFER: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.101\r\ns=-\r\nc=IN IP4 192.0.2.101\r\nt=0 0\r\n\
                     m=audio 49172 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

/// Nothing that must always hold is broken, and every table is empty at the end.
pub(crate) fn check_rest(flow: &Flow) {
    let (world, _) = (flow.play)();
    let findings = scene::findings(&world.into_history());
    assert!(findings.is_empty(), "{}: {findings:#?}", flow.section);
}
