//! Music for a foreign phone that one of ours holds (RFC 5359 §2.3).

use std::time::Duration;

use crate::lab::lab;
use crate::ours::Ours;
use crate::pjsua2::{Foreign, Settings};
use crate::scripts::{add_user, script_of};
use crate::serve::{DOMAIN, Server};

const BOB_HZ: &str = "440";
const MUSIC_HZ: &str = "620";

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_foreign_phone_hears_a_music_server_while_ours_holds_it_and_comes_back() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let user = add_user(lab, "music");
        let lines = "wait for registered\nwait for transfer-begun within 60s\nwait for answered\n\
                     wait for ended within 60s\n";
        let mut music = script_of(lab, &server, &user, &["--strangers", "accept", "--tone", MUSIC_HZ], lines);
        music.wait_for("\"registered\"", PATIENCE);
        let mut alice =
            Foreign::register(&server, "alice", &Settings { hertz: Some(1000.0), ..Settings::new(1) });
        let mut bob = Ours::register_with(&server, "bob", &["--music", "music", "--tone", BOB_HZ]);
        bob.act("call alice");
        alice.wait_for_call(0, "INCOMING");
        alice.act("answer 0 200");
        alice.wait_for_call(0, "CONFIRMED");
        alice.wait_for_request("ACK");
        bob.wait("answered");
        bob.act("hold");
        bob.wait("held");
        bob.wait("music");
        // The call that takes the place of bob's, and the end of that one.
        let begins = |wire: &crate::pjsua2::Wire| wire.asks("INVITE") && wire.text().contains("\nReplaces: ");
        alice.wait_for_call(1, "CONFIRMED");
        let bye = alice.wait_until_sent("BYE");
        assert!(bye.header("To").contains("sip:bob@"), "{}", bye.text());
        let taken = alice.wire("received").into_iter().find(begins).expect("an INVITE with Replaces");
        assert!(taken.header("From").contains("sip:music@"), "{}", taken.text());
        assert!(taken.header("Referred-By").contains("sip:bob@"), "{}", taken.text());
        // She hears it for a while.
        bob.act("wait 2s");
        bob.act("resume");
        bob.wait("resumed");
        alice.wait_for_call(2, "CONFIRMED");
        let bye = alice.wait_until_sent("BYE");
        assert!(bye.header("To").contains("sip:music@"), "{}", bye.text());
        let back = alice.wire("received").into_iter().rev().find(begins).expect("an INVITE with Replaces");
        assert!(back.header("From").contains(&format!("sip:bob@{DOMAIN}")), "{}", back.text());
        bob.act("wait 1s");
        bob.act("hangup");
        let ended = bob.wait("ended");
        assert_eq!((ended["call"].as_u64(), ended["reason"].as_str()), (Some(1), Some("local-hangup")));
        alice.wait_for_call(2, "DISCONNECTED");
        assert!(music.finish(PATIENCE).success(), "{}", music.output());
        bob.switch_off();
        let heard = alice.recording();
        let tenths = |hertz: &str| {
            let levels = heard.levels(hertz.parse().expect("a number"));
            levels.iter().filter(|level| **level > 0.02).count()
        };
        let (music, bobs) = (tenths(MUSIC_HZ), tenths(BOB_HZ));
        assert!(music >= 5 && bobs >= 2, "{music} tenths of music, {bobs} of bob");
        server.stop();
    });
}
