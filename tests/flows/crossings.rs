//! RFC 5407 §3.3.2 and §3.3.3: requests of a call other than INVITE, ACK and BYE that cross.

use dialtone_sim::roles::io::{ChangeBy, Command, Event, HoldForm, TransferOutcome, TransferTo};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use crate::Flow;
use crate::fields::Field;
use crate::races::{BOTH, HANGS_UP, HAS_CONTACT, MISPRINT, Race};

pub(crate) const UPDATE: Flow = Flow {
    section: "3.3.2",
    title: "UPDATE and re-INVITE Crossover",
    text: "Both change the session at once, Alice by UPDATE and Bob by re-INVITE, and both say 491. Bob, who did not \
           make the Call-ID, asks again first; Alice waits longer, and both get what they asked for.",
    participants: BOTH,
    differences: &[
        ("F5", Field::RequestUri, MISPRINT),
        ("F5", Field::Contact, UPDATE_HAS_CONTACT),
        ("F5", Field::Expires, UPDATE_HAS_CONTACT),
        ("F5", Field::Body, HAS_OFFER),
        ("F6", Field::Contact, HAS_CONTACT),
        ("F6", Field::Expires, HAS_CONTACT),
        ("F13", Field::RequestUri, MISPRINT),
        ("F13", Field::Contact, UPDATE_HAS_CONTACT),
        ("F13", Field::Expires, UPDATE_HAS_CONTACT),
        ("F13", Field::Body, HAS_OFFER),
    ],
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob\n\
             F5 UPDATE: Alice -> Bob\n\
             F6 INVITE: Bob -> Alice\n\
             F7 491 UPDATE: Bob -> Alice\n\
             F8 491 INVITE: Alice -> Bob\n\
             F9 ACK: Bob -> Alice\n\
             F10 INVITE: Bob -> Alice\n\
             F11 200 INVITE: Alice -> Bob\n\
             F12 ACK: Bob -> Alice\n\
             F13 UPDATE: Alice -> Bob\n\
             F14 200 UPDATE: Bob -> Alice",
    crossing: &[("F5", "F6"), ("F7", "F8")],
    afterwards: HANGS_UP,
    play: || {
        let mut race = Race::established();
        for (host, by) in [(race.alice, ChangeBy::Update), (race.bob, ChangeBy::Invite)] {
            let call = race.call_of(host);
            race.command(host, Command::Hold { call, form: HoldForm::Direction, by });
        }
        race.after(10_000);
        for host in [race.alice, race.bob] {
            let changed = |event: &Event| matches!(event, Event::SessionChanged { .. });
            assert!(race.world.events(host).any(changed), "both get what they asked for");
        }
        race.hang_up(race.alice);
        race.rest()
    },
    ..Flow::RFC_5407
};

const UPDATE_HAS_CONTACT: &str = "RFC 3311 §7: Contact is mandatory in an UPDATE; the RFC shortened it";
const HAS_OFFER: &str = "the RFC prints none, and says that \"the UPDATE contains an SDP offer\"";

pub(crate) const REFER: Flow = Flow {
    section: "3.3.3",
    title: "Receiving REFER (Established State) While in the Mortal State",
    text: "Alice hangs up while Bob sends her elsewhere. Her call is over, so the REFER gets 481 and she calls nobody. \
           Bob's transfer fails with it, and with his call nothing else of the dialog is left: no subscription has \
           begun.",
    participants: BOTH,
    shows: &[("F5", Field::CSeq, "2 BYE"), ("F6", Field::ToTag, "true"), ("F8", Field::ToTag, "true")],
    figure: "F1 INVITE: Alice -> Bob\n\
             F2 180 INVITE: Bob -> Alice\n\
             F3 200 INVITE: Bob -> Alice\n\
             F4 ACK: Alice -> Bob\n\
             F5 BYE: Alice -> Bob\n\
             F6 REFER: Bob -> Alice\n\
             F7 200 BYE: Bob -> Alice\n\
             F8 481 REFER: Alice -> Bob",
    crossing: &[("F5", "F6"), ("F7", "F8")],
    play: || {
        let mut race = Race::established();
        race.hang_up(race.alice);
        let (bob, call) = (race.bob, race.call_of(race.bob));
        let to = TransferTo::Address(UriBuf::parse("sip:carol@chicago.example.com").expect("an address"));
        race.command(bob, Command::Transfer { call, to });
        race.after(2_000);
        let asked = race.world.events(race.alice).any(|event| matches!(event, Event::TransferAsked { .. }));
        assert!(!asked, "nobody asks Alice any more");
        let outcome = race.world.events(bob).find_map(|event| match event {
            Event::TransferEnded { outcome, .. } => Some(*outcome),
            _ => None,
        });
        assert_eq!(outcome, Some(TransferOutcome::Refused(Status::of(481))));
        race.rest()
    },
    ..Flow::RFC_5407
};
