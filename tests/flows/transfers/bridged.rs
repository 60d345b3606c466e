//! Our phones behind the back-to-back user agent, which acts on their REFER: a figure of our own.

use dialtone_sim::roles::io::{Command, Event, TransferOutcome, TransferTo};
use dialtone_sim::roles::settings::{Mode, ReferPolicy};
use dialtone_sim::{Habits, World, phone_settings, server_settings};

use super::{act, answer, call_to};
use crate::fields::Field;
use crate::people::register;
use crate::raw::PASSWORD;
use crate::sessions::BILOXI;
use crate::{ALICE, BOB, Flow, PROXY_2, Source, address};

const CAROL: std::net::SocketAddr = address(100);

pub(crate) const JOINED: Flow = Flow {
    source: Source::Own,
    section: "b2bua-attended-transfer",
    title: "An attended transfer of our phones through the back-to-back user agent",
    text: "Alice has called Bob, who holds her, speaks with Carol and joins the two. Bob's phone knows nothing of the server: \
           it sends a REFER with Replaces. The server takes it, since both dialogs that it names are its own: Carol's phone is \
           asked for an offer, Alice's gets that, and neither of them sees a REFER. Bob is told how it went, and hangs up. \
           That Replaces is known his phone has read in the server's answers (RFC 3891 §6.2).",
    participants: &[("Alice", ALICE), ("Bob", BOB), ("B2BUA", PROXY_2), ("Carol", CAROL)],
    shows: &[
        ("F10", Field::Direction, "sendonly"),
        ("F28", Field::Told, "refer;id=2; active; SIP/2.0 100 Trying"),
        ("F30", Field::Body, "false"),
        ("F32", Field::Direction, "sendrecv"),
        ("F38", Field::Told, "refer;id=2; terminated;reason=noresource; SIP/2.0 200 OK"),
    ],
    figure: "\
Alice -> B2BUA: INVITE 100
B2BUA -> Bob: INVITE 180
Alice -> B2BUA: 180
B2BUA -> Bob: 200 ACK
Alice -> B2BUA: 200 ACK
Bob -> B2BUA: INVITE 100
B2BUA -> Alice: INVITE 200 ACK
Bob -> B2BUA: 200 ACK
Bob -> B2BUA: INVITE 100
B2BUA -> Carol: INVITE 180
Bob -> B2BUA: 180
B2BUA -> Carol: 200 ACK
Bob -> B2BUA: 200 ACK
Bob -> B2BUA: REFER 200
B2BUA -> Bob: NOTIFY 200
B2BUA -> Carol: INVITE 200
B2BUA -> Alice: INVITE 200 ACK
B2BUA -> Carol: ACK
B2BUA -> Bob: BYE 200
B2BUA -> Bob: NOTIFY 200
Bob -> B2BUA: BYE 200
Carol -> B2BUA: BYE 200
B2BUA -> Alice: BYE 200",
    play: || {
        let mut world = World::new(7092);
        let mut settings = server_settings(BILOXI, PROXY_2, 1);
        settings.authenticate = false;
        settings.domains[0].mode = Mode::B2bua;
        world.add_host("B2BUA", settings, None);
        world.store.add_name(BILOXI, PROXY_2.ip());
        let phones = [("alice", ALICE), ("bob", BOB), ("carol", CAROL)].map(|(name, address)| {
            world.store.add_user(BILOXI, name, PASSWORD);
            let proxy = Some("sip:192.0.2.222;lr");
            let mut settings = phone_settings(&format!("sip:{name}@{BILOXI}"), PASSWORD, address, proxy);
            settings.transfer.referred = ReferPolicy::Refuse;
            let phone = world.add_host(name, settings, Some(Habits::NONE));
            register(&mut world, phone);
            phone
        });
        let [alice, bob, carol] = phones;
        let before = world.packets().len();
        act(&mut world, alice, call_to("sip:bob@biloxi.example.com"));
        answer(&mut world, bob);
        let call = world.calls(bob)[0];
        act(&mut world, bob, Command::Reoffer { call, hold: true });
        act(&mut world, bob, call_to("sip:carol@biloxi.example.com"));
        answer(&mut world, carol);
        let consultation = world.calls(bob)[1];
        act(&mut world, bob, Command::Transfer { call, to: TransferTo::Call(consultation) });
        let is_done =
            |event: &Event| matches!(event, Event::TransferEnded { outcome: TransferOutcome::Done, .. });
        assert!(world.events(bob).any(is_done));
        assert_eq!(phones.map(|phone| world.calls(phone).len()), [1, 0, 1]);
        let last = world.calls(carol)[0];
        act(&mut world, carol, Command::Hangup { call: last });
        assert!(world.calls(alice).is_empty());
        (world, before)
    },
    ..Flow::RFC_3665
};
