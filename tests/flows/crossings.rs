//! RFC 5407 §3.3.2 and §3.3.3: requests of a call other than INVITE, ACK and BYE that cross.

use dialtone_sim::roles::io::{Command, Event, TransferOutcome, TransferTo};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use crate::Flow;
use crate::fields::Field;
use crate::races::{BOTH, Race};

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
