//! Transfers: RFC 5589 §6 and §7, RFC 5359 §2.4 and §2.5.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{CallHandle, Command, Event, Play, TransferOutcome, TransferTo};
use dialtone_sim::roles::settings::{ReferPolicy, TransferSettings};
use dialtone_sim::{Habits, HostId, World, phone_settings};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use crate::fields::Field;
use crate::raw::PASSWORD;
use crate::{ALICE, BOB, Flow, Source};

const CAROL: SocketAddr = crate::address(100);
const TRANSFEROR: SocketAddr = crate::address(31);
const TRANSFEREE: SocketAddr = crate::address(32);
const TARGET: SocketAddr = crate::address(33);

/// The parties of RFC 5589.
const THREE: &[(&str, SocketAddr)] =
    &[("Transferor", TRANSFEROR), ("Transferee", TRANSFEREE), ("Transfer Target", TARGET)];

const IS_200: &str =
    "RFC 7647 §5: \"an element accepting a REFER request MUST NOT reply with a 202\", but with 200";
const A_HOP_LESS: &str =
    "a call that a REFER asked for begins with a hop less, so that a ring of transfers comes to an end";

const IN_THE_CALL: &str = "RFC 7647 §4: only to a Contact that is a GRUU a REFER goes in a dialog of its own";
const NO_GRUU: &str = "the RFC's Contacts are GRUUs, those of our phones addresses";

/// What RFC 5589 leaves out (bodies) or has for GRUUs, and numbers of its own that do not follow each other.
const OMITTED: &[Field] = &[Field::Body, Field::Contact, Field::RequestUri, Field::CSeq];

/// A transfer of RFC 5589.
const RFC_5589: Flow =
    Flow { source: Source::Rfc(5589), participants: THREE, omits: OMITTED, ..Flow::RFC_3665 };

pub(crate) const DIALOG_REUSE: Flow = Flow {
    section: "6.2",
    title: "Transfer with Dialog Reuse",
    text: "The transferor holds the transferee and sends him to the target: the REFER goes within the dialog of the call, \
           since the Contacts of these phones are no GRUUs. The transferee tells what became of it, and the transferor hangs \
           up. The RFC leaves out that a phone rings (180).",
    figure: "\
F1 INVITE: Transferee -> Transferor, printed F1
F2 180 INVITE: Transferor -> Transferee
F3 200 INVITE: Transferor -> Transferee, printed F2
F4 ACK: Transferee -> Transferor
F5 INVITE: Transferor -> Transferee
F6 200 INVITE: Transferee -> Transferor
F7 ACK: Transferor -> Transferee
F8 REFER: Transferor -> Transferee, printed F3
F9 202 REFER: Transferee -> Transferor
F10 NOTIFY: Transferee -> Transferor, printed F4
F11 200 NOTIFY: Transferor -> Transferee
F12 INVITE: Transferee -> Transfer Target, printed F5
F13 180 INVITE: Transfer Target -> Transferee
F14 200 INVITE: Transfer Target -> Transferee
F15 ACK: Transferee -> Transfer Target
F16 NOTIFY: Transferee -> Transferor, printed F6
F17 200 NOTIFY: Transferor -> Transferee
F18 BYE: Transferor -> Transferee
F19 200 BYE: Transferee -> Transferor
F20 BYE: Transfer Target -> Transferee
F21 200 BYE: Transferee -> Transfer Target",
    differences: &[("F9", Field::Status, IS_200), ("F12", Field::MaxForwards, A_HOP_LESS)],
    shows: &[
        ("F8", Field::Refer, "Refer-To: <sip:transfertarget@chicago.example.com>"),
        ("F10", Field::Told, "refer; active; SIP/2.0 100 Trying"),
        ("F16", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK"),
    ],
    play: || {
        let mut three = Three::new();
        let call = three.held();
        three.transfer(call);
        three.answer(three.target);
        three.done();
        three.hang_up(three.target);
        (three.world, 0)
    },
    ..RFC_5589
};

pub(crate) const BUSY: Flow = Flow {
    section: "6.3.1",
    title: "Failed Transfer - Target Busy",
    text: "The target is busy. The transferor is told so and takes the call back, which it held; then it hangs up.",
    figure: "\
F1 INVITE: Transferee -> Transferor
F2 180 INVITE: Transferor -> Transferee
F3 200 INVITE: Transferor -> Transferee
F4 ACK: Transferee -> Transferor
F5 INVITE: Transferor -> Transferee
F6 200 INVITE: Transferee -> Transferor
F7 ACK: Transferor -> Transferee
F8 REFER: Transferor -> Transferee
F9 202 REFER: Transferee -> Transferor
F10 NOTIFY: Transferee -> Transferor
F11 200 NOTIFY: Transferor -> Transferee
F12 INVITE: Transferee -> Transfer Target
F13 180 INVITE: Transfer Target -> Transferee
F14 486 INVITE: Transfer Target -> Transferee
F15 ACK: Transferee -> Transfer Target
F16 NOTIFY: Transferee -> Transferor
F17 200 NOTIFY: Transferor -> Transferee
F18 INVITE: Transferor -> Transferee
F19 200 INVITE: Transferee -> Transferor
F20 ACK: Transferor -> Transferee
F21 BYE: Transferor -> Transferee
F22 200 BYE: Transferee -> Transferor",
    differences: &[("F9", Field::Status, IS_200)],
    shows: &[
        ("F5", Field::Direction, "sendonly"),
        ("F16", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 486 Busy Here"),
        ("F18", Field::Direction, "sendrecv"),
    ],
    play: || {
        let mut three = Three::new();
        let call = three.held();
        three.transfer(call);
        let at_target = three.world.calls(three.target)[0];
        three.act(three.target, Command::Decline { call: at_target, status: Status::of(486) });
        assert_eq!(three.outcome(), Some(TransferOutcome::Failed(Status::of(486))));
        three.hang_up(three.transferor);
        (three.world, 0)
    },
    ..RFC_5589
};

pub(crate) const NO_ANSWER: Flow = Flow {
    section: "6.3.2",
    title: "Failed Transfer - Transfer Target Does Not Answer",
    text: "The target's phone rings until the transferee gets tired of waiting. The transferor is told so, takes the call \
           back and hangs up.",
    figure: "\
F1 INVITE: Transferee -> Transferor
F2 180 INVITE: Transferor -> Transferee
F3 200 INVITE: Transferor -> Transferee
F4 ACK: Transferee -> Transferor
F5 INVITE: Transferor -> Transferee
F6 200 INVITE: Transferee -> Transferor
F7 ACK: Transferor -> Transferee
F8 REFER: Transferor -> Transferee
F9 202 REFER: Transferee -> Transferor
F10 NOTIFY: Transferee -> Transferor
F11 200 NOTIFY: Transferor -> Transferee
F12 INVITE: Transferee -> Transfer Target
F13 180 INVITE: Transfer Target -> Transferee
F14 CANCEL: Transferee -> Transfer Target
F15 200 CANCEL: Transfer Target -> Transferee
F16 487 INVITE: Transfer Target -> Transferee
F17 ACK: Transferee -> Transfer Target
F18 NOTIFY: Transferee -> Transferor
F19 200 NOTIFY: Transferor -> Transferee
F20 INVITE: Transferor -> Transferee
F21 200 INVITE: Transferee -> Transferor
F22 ACK: Transferor -> Transferee
F23 BYE: Transferor -> Transferee
F24 200 BYE: Transferee -> Transferor",
    differences: &[("F9", Field::Status, IS_200)],
    shows: &[("F18", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 487 Request Terminated")],
    play: || {
        let mut three = Three::new();
        let call = three.held();
        three.transfer(call);
        let second = three.world.calls(three.transferee)[1];
        three.act(three.transferee, Command::Hangup { call: second });
        assert_eq!(three.outcome(), Some(TransferOutcome::Failed(Status::of(487))));
        three.hang_up(three.transferor);
        (three.world, 0)
    },
    ..RFC_5589
};

pub(crate) const EXPOSED: Flow = Flow {
    section: "7.1",
    title: "Exposing Transfer Target",
    text: "The transferor speaks with the target first, hangs up there, and then sends the transferee to the target, who \
           rings again.",
    figure: "\
F1 INVITE: Transferee -> Transferor
F2 180 INVITE: Transferor -> Transferee
F3 200 INVITE: Transferor -> Transferee
F4 ACK: Transferee -> Transferor
F5 INVITE: Transferor -> Transferee
F6 200 INVITE: Transferee -> Transferor
F7 ACK: Transferor -> Transferee
F8 INVITE: Transferor -> Transfer Target
F9 180 INVITE: Transfer Target -> Transferor
F10 200 INVITE: Transfer Target -> Transferor
F11 ACK: Transferor -> Transfer Target
F12 BYE: Transferor -> Transfer Target
F13 200 BYE: Transfer Target -> Transferor
F14 REFER: Transferor -> Transferee
F15 202 REFER: Transferee -> Transferor
F16 NOTIFY: Transferee -> Transferor
F17 200 NOTIFY: Transferor -> Transferee
F18 INVITE: Transferee -> Transfer Target
F19 180 INVITE: Transfer Target -> Transferee
F20 200 INVITE: Transfer Target -> Transferee
F21 ACK: Transferee -> Transfer Target
F22 NOTIFY: Transferee -> Transferor
F23 200 NOTIFY: Transferor -> Transferee
F24 BYE: Transferor -> Transferee
F25 200 BYE: Transferee -> Transferor
F26 BYE: Transfer Target -> Transferee
F27 200 BYE: Transferee -> Transfer Target",
    differences: &[("F15", Field::Status, IS_200)],
    play: || {
        let mut three = Three::new();
        let call = three.held();
        let consultation = three.consult();
        three.act(three.transferor, Command::Hangup { call: consultation });
        three.transfer(call);
        three.answer(three.target);
        three.done();
        three.hang_up(three.target);
        (three.world, 0)
    },
    ..RFC_5589
};

pub(crate) const PROTECTED: Flow = Flow {
    section: "7.2",
    title: "Protecting Transfer Target",
    text: "The transferor sends the target to the transferee, whose call with the transferor is replaced: so the transferee \
           does not learn how the target is called. Which of two calls is given away, and in place of which, is all that \
           differs from §7.3.",
    figure: "\
F1 INVITE: Transferee -> Transferor, printed F1
F2 180 INVITE: Transferor -> Transferee
F3 200 INVITE: Transferor -> Transferee, printed F2
F4 ACK: Transferee -> Transferor
F5 INVITE: Transferor -> Transferee
F6 200 INVITE: Transferee -> Transferor
F7 ACK: Transferor -> Transferee
F8 INVITE: Transferor -> Transfer Target, printed F3
F9 180 INVITE: Transfer Target -> Transferor
F10 200 INVITE: Transfer Target -> Transferor, printed F4
F11 ACK: Transferor -> Transfer Target
F12 INVITE: Transferor -> Transfer Target
F13 200 INVITE: Transfer Target -> Transferor
F14 ACK: Transferor -> Transfer Target
F15 REFER: Transferor -> Transfer Target, printed F5
F16 202 REFER: Transfer Target -> Transferor
F17 NOTIFY: Transfer Target -> Transferor
F18 200 NOTIFY: Transferor -> Transfer Target
F19 INVITE: Transfer Target -> Transferee, printed F6
F20 200 INVITE: Transferee -> Transfer Target
F21 ACK: Transfer Target -> Transferee
F22 BYE: Transferee -> Transferor
F23 200 BYE: Transferor -> Transferee
F24 NOTIFY: Transfer Target -> Transferor
F25 200 NOTIFY: Transferor -> Transfer Target
F26 BYE: Transferor -> Transfer Target
F27 200 BYE: Transfer Target -> Transferor
F28 BYE: Transferee -> Transfer Target
F29 200 BYE: Transfer Target -> Transferee",
    differences: &[
        ("F15", Field::ToTag, IN_THE_CALL),
        ("F15", Field::Parties, IN_THE_CALL),
        ("F16", Field::Status, IS_200),
        ("F19", Field::MaxForwards, A_HOP_LESS),
        ("F19", Field::Parties, NO_GRUU),
    ],
    play: || {
        let mut three = Three::new();
        let call = three.held();
        let consultation = three.consult();
        three.act(three.transferor, Command::Reoffer { call: consultation, hold: true });
        three.act(three.transferor, Command::Transfer { call: consultation, to: TransferTo::Call(call) });
        three.done();
        three.hang_up(three.transferee);
        (three.world, 0)
    },
    ..RFC_5589
};

pub(crate) const ATTENDED: Flow = Flow {
    section: "7.3",
    title: "Attended Transfer",
    text: "The transferor speaks with the target and joins the two: the transferee's INVITE takes the place of the call \
           between transferor and target (Replaces), whose BYE the target sends.",
    figure: "\
F1 INVITE: Transferee -> Transferor, printed F1
F2 180 INVITE: Transferor -> Transferee
F3 200 INVITE: Transferor -> Transferee, printed F2
F4 ACK: Transferee -> Transferor
F5 INVITE: Transferor -> Transferee
F6 200 INVITE: Transferee -> Transferor
F7 ACK: Transferor -> Transferee
F8 INVITE: Transferor -> Transfer Target, printed F3
F9 180 INVITE: Transfer Target -> Transferor
F10 200 INVITE: Transfer Target -> Transferor, printed F4
F11 ACK: Transferor -> Transfer Target
F12 INVITE: Transferor -> Transfer Target
F13 200 INVITE: Transfer Target -> Transferor
F14 ACK: Transferor -> Transfer Target
F15 REFER: Transferor -> Transferee, printed F5
F16 202 REFER: Transferee -> Transferor
F17 NOTIFY: Transferee -> Transferor
F18 200 NOTIFY: Transferor -> Transferee
F19 INVITE: Transferee -> Transfer Target, printed F6
F20 200 INVITE: Transfer Target -> Transferee
F21 ACK: Transferee -> Transfer Target
F22 BYE: Transfer Target -> Transferor
F23 200 BYE: Transferor -> Transfer Target
F24 NOTIFY: Transferee -> Transferor
F25 200 NOTIFY: Transferor -> Transferee
F26 BYE: Transferor -> Transferee
F27 200 BYE: Transferee -> Transferor
F28 BYE: Transfer Target -> Transferee
F29 200 BYE: Transferee -> Transfer Target",
    differences: &[
        ("F15", Field::ToTag, IN_THE_CALL),
        ("F15", Field::Parties, IN_THE_CALL),
        ("F16", Field::Status, IS_200),
        ("F19", Field::MaxForwards, A_HOP_LESS),
        ("F19", Field::Parties, NO_GRUU),
    ],
    play: || {
        let mut three = Three::new();
        let call = three.held();
        let consultation = three.consult();
        three.act(three.transferor, Command::Reoffer { call: consultation, hold: true });
        three.act(three.transferor, Command::Transfer { call, to: TransferTo::Call(consultation) });
        three.done();
        three.hang_up(three.target);
        (three.world, 0)
    },
    ..RFC_5589
};

pub(crate) const SEMI_ATTENDED: Flow = Flow {
    section: "7.6",
    title: "Semi-Attended Transfer",
    text: "The transferor gives up waiting for the target to answer, and sends the transferee there in its place (the \
           second figure of the section).",
    figure: "\
F1 INVITE: Transferee -> Transferor
F2 180 INVITE: Transferor -> Transferee
F3 200 INVITE: Transferor -> Transferee
F4 ACK: Transferee -> Transferor
F5 INVITE: Transferor -> Transferee
F6 200 INVITE: Transferee -> Transferor
F7 ACK: Transferor -> Transferee
F8 INVITE: Transferor -> Transfer Target
F9 180 INVITE: Transfer Target -> Transferor
F10 CANCEL: Transferor -> Transfer Target
F11 200 CANCEL: Transfer Target -> Transferor
F12 487 INVITE: Transfer Target -> Transferor
F13 ACK: Transferor -> Transfer Target
F14 REFER: Transferor -> Transferee
F15 202 REFER: Transferee -> Transferor
F16 NOTIFY: Transferee -> Transferor
F17 200 NOTIFY: Transferor -> Transferee
F18 INVITE: Transferee -> Transfer Target
F19 180 INVITE: Transfer Target -> Transferee
F20 200 INVITE: Transfer Target -> Transferee
F21 ACK: Transferee -> Transfer Target
F22 NOTIFY: Transferee -> Transferor
F23 200 NOTIFY: Transferor -> Transferee
F24 BYE: Transferor -> Transferee
F25 200 BYE: Transferee -> Transferor
F26 BYE: Transfer Target -> Transferee
F27 200 BYE: Transferee -> Transfer Target",
    differences: &[("F15", Field::Status, IS_200)],
    play: || {
        let mut three = Three::new();
        let call = three.held();
        three.act(three.transferor, call_to(TARGET_URI));
        let early = three.world.calls(three.transferor)[1];
        three.act(three.transferor, Command::Hangup { call: early });
        three.transfer(call);
        three.answer(three.target);
        three.done();
        three.hang_up(three.target);
        (three.world, 0)
    },
    ..RFC_5589
};

/// A transfer of RFC 5359, each message printed.
const RFC_5359: Flow = Flow {
    source: Source::Rfc(5359),
    participants: &[("Alice", ALICE), ("Bob", BOB), ("Carol", CAROL)],
    // Some of its Contacts are GRUUs, and its numbers begin anywhere.
    omits: &[Field::Contact, Field::RequestUri, Field::CSeq],
    ..Flow::RFC_3665
};

pub(crate) const UNATTENDED: Flow = Flow {
    section: "2.4",
    title: "Transfer - Unattended",
    text: "Bob has called Alice, who sends him to Carol and hangs up at once. The dialog of their call lives on until Bob \
           has told her how it went.",
    differences: &[("F6", Field::Status, IS_200), ("F11", Field::MaxForwards, A_HOP_LESS)],
    shows: &[("F15", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK")],
    play: || {
        let (mut world, [alice, bob, carol]) = friends();
        act(&mut world, bob, call_to("sip:alice@atlanta.example.com"));
        answer(&mut world, alice);
        let call = world.calls(alice)[0];
        let to = TransferTo::Address(uri("sip:carol@chicago.example.com"));
        // She hangs up before Carol's phone has rung for long.
        world.command(alice, Command::Transfer { call, to });
        let told =
            |world: &World| world.events(alice).any(|event| matches!(event, Event::TransferProgress { .. }));
        assert!(world.run_until(Duration::from_secs(5), told));
        act(&mut world, alice, Command::Hangup { call });
        answer(&mut world, carol);
        assert!(world.calls(alice).is_empty());
        (world, 0)
    },
    ..RFC_5359
};

pub(crate) const FRIENDS_ATTENDED: Flow = Flow {
    section: "2.5",
    title: "Transfer - Attended",
    text: "Alice has called Bob, who speaks with Carol and joins the two.",
    differences: &[
        ("F16", Field::Status, IS_200),
        ("F19", Field::MaxForwards, A_HOP_LESS),
        ("F19", Field::Parties, NO_GRUU),
        ("F20", Field::Parties, NO_GRUU),
        ("F21", Field::Parties, NO_GRUU),
    ],
    play: || {
        let (mut world, [alice, bob, carol]) = friends();
        act(&mut world, alice, call_to("sip:bob@biloxi.example.com"));
        answer(&mut world, bob);
        let call = world.calls(bob)[0];
        act(&mut world, bob, Command::Reoffer { call, hold: true });
        act(&mut world, bob, call_to("sip:carol@chicago.example.com"));
        answer(&mut world, carol);
        let consultation = world.calls(bob)[1];
        act(&mut world, bob, Command::Reoffer { call: consultation, hold: true });
        act(&mut world, bob, Command::Transfer { call, to: TransferTo::Call(consultation) });
        assert!(world.calls(bob).is_empty());
        (world, 0)
    },
    ..RFC_5359
};

const TARGET_URI: &str = "sip:transfertarget@chicago.example.com";

/// The parties of RFC 5589, each at a phone of a domain of its own.
struct Three {
    world: World,
    transferor: HostId,
    transferee: HostId,
    target: HostId,
}

impl Three {
    fn new() -> Three {
        let mut world = World::new(5589);
        let [transferor, transferee, target] = phones(
            &mut world,
            [
                ("transferor", "atlanta.example.com", TRANSFEROR),
                ("transferee", "biloxi.example.com", TRANSFEREE),
                ("transfertarget", "chicago.example.com", TARGET),
            ],
        );
        Three { world, transferor, transferee, target }
    }

    fn act(&mut self, phone: HostId, command: Command) {
        act(&mut self.world, phone, command);
    }

    fn answer(&mut self, phone: HostId) {
        answer(&mut self.world, phone);
    }

    /// The transferee calls the transferor, who holds the call.
    fn held(&mut self) -> CallHandle {
        self.act(self.transferee, call_to("sip:transferor@atlanta.example.com"));
        self.answer(self.transferor);
        let call = self.world.calls(self.transferor)[0];
        self.act(self.transferor, Command::Reoffer { call, hold: true });
        call
    }

    /// The transferor calls the target, who answers.
    fn consult(&mut self) -> CallHandle {
        self.act(self.transferor, call_to(TARGET_URI));
        self.answer(self.target);
        self.world.calls(self.transferor)[1]
    }

    fn transfer(&mut self, call: CallHandle) {
        let to = TransferTo::Address(uri(TARGET_URI));
        self.act(self.transferor, Command::Transfer { call, to });
    }

    fn outcome(&self) -> Option<TransferOutcome> {
        self.world.events(self.transferor).find_map(|event| match event {
            Event::TransferEnded { outcome, .. } => Some(*outcome),
            _ => None,
        })
    }

    fn done(&self) {
        assert_eq!(self.outcome(), Some(TransferOutcome::Done));
        assert!(self.world.calls(self.transferor).is_empty());
    }

    /// The last call of a phone is hung up.
    fn hang_up(&mut self, phone: HostId) {
        let call = *self.world.calls(phone).last().expect("a call");
        self.act(phone, Command::Hangup { call });
        assert!(self.world.calls(phone).is_empty());
    }
}

/// Alice, Bob and Carol.
fn friends() -> (World, [HostId; 3]) {
    let mut world = World::new(5359);
    let phones = phones(
        &mut world,
        [
            ("alice", "atlanta.example.com", ALICE),
            ("bob", "biloxi.example.com", BOB),
            ("carol", "chicago.example.com", CAROL),
        ],
    );
    (world, phones)
}

/// Phones that follow transfers and report no more than the RFCs' figures have.
fn phones(world: &mut World, parties: [(&str, &str, SocketAddr); 3]) -> [HostId; 3] {
    let phones = parties.map(|(name, domain, address)| {
        world.store.add_name(domain, address.ip());
        let mut settings = phone_settings(&format!("sip:{name}@{domain}"), PASSWORD, address, None);
        settings.transfer = TransferSettings {
            referred: ReferPolicy::Accept,
            tells_progress: false,
            ..TransferSettings::default()
        };
        world.add_host(name, settings, Some(Habits::NONE))
    });
    // Until there are ports to use.
    world.run_for(Duration::from_secs(1));
    phones
}

fn uri(text: &str) -> UriBuf {
    UriBuf::parse(text).expect("an address")
}

fn call_to(to: &str) -> Command {
    Command::Call { token: 1, to: uri(to), play: Play::Silence }
}

/// Lets somebody do something, and two seconds pass.
fn act(world: &mut World, phone: HostId, command: Command) {
    world.command(phone, command);
    world.run_for(Duration::from_secs(2));
}

/// The last call of a phone is answered.
fn answer(world: &mut World, phone: HostId) {
    let call = *world.calls(phone).last().expect("a call");
    act(world, phone, Command::Answer { call, play: Play::Silence });
}
