//! A program asks a phone to call somebody (RFC 5359 §2.18).

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{Command, Event, Play};
use dialtone_sim::roles::settings::ReferPolicy;
use dialtone_sim::{Habits, Mute, World, phone_settings};

use crate::fields::Field;
use crate::people::{answer, phone};
use crate::raw::{PASSWORD, plain};
use crate::sessions::CHICAGO;
use crate::{BOB, Flow, Source};

const PC: SocketAddr = crate::address(103);
const CAROL: SocketAddr = crate::address(100);

pub(crate) const CLICK: Flow = Flow {
    source: Source::Rfc(5359),
    section: "2.18",
    title: "Click to Dial",
    text: "Bob clicks on Carol's address. The REFER of the program on his PC belongs to no call; his phone asks him, \
           and calls her. Refer-Sub: false says that nobody wants to be told how it went (RFC 4488). (The PC is \
           played by hand.)",
    participants: &[("PC", PC), ("Bob", BOB), ("Carol", CAROL)],
    differences: &[
        (
            "F2",
            Field::Status,
            "RFC 7647 §5: whoever accepts a REFER \"MUST NOT reply with a 202 response code\"",
        ),
        (
            "F3",
            Field::MaxForwards,
            "the call has one hop less than its REFER, so that phones that send each other on end",
        ),
    ],
    play: || {
        let mut world = World::new(5359);
        world.store.add_name(CHICAGO, CAROL.ip());
        world.add_agent("PC", PC, Box::new(Mute));
        let mut settings = phone_settings("sip:bob@biloxi.example.com", PASSWORD, BOB, None);
        settings.transfer.strangers = ReferPolicy::Ask;
        let bob = world.add_host("bob", settings, Some(Habits::NONE));
        let carol = phone(&mut world, "carol", CHICAGO, CAROL, None);
        world.run_for(Duration::from_secs(1));
        world.send(PC, BOB, plain(Source::Rfc(5359), "2.18-F1-REFER.sip").into_bytes());
        world.run_for(Duration::from_secs(1));
        let asked = world.events(bob).find_map(|event| match event {
            Event::TransferAsked { referral, call: None, .. } => Some(*referral),
            _ => None,
        });
        let referral = asked.expect("Bob is asked");
        world.command(bob, Command::AnswerTransfer { referral, accept: true, play: Play::Silence });
        world.run_for(Duration::from_secs(1));
        answer(&mut world, carol);
        assert!(world.events(bob).any(|event| matches!(event, Event::Answered { .. })));
        (world, 0)
    },
    ..Flow::RFC_3665
};
