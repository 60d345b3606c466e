//! A foreign phone is parked by one of ours, hears who plays music, and is taken again: both ways of sound are measured.

use std::time::Duration;

use crate::lab::lab;
use crate::pjsua2::{Foreign, Settings};
use crate::scripts::{add_user, finish, last_of, script, script_of};
use crate::serve::DOMAIN;
use crate::services::{B2BUA, serve};

/// What the phones play.
const ALICE_HZ: f64 = 1000.0;
const BOB_HZ: f64 = 440.0;
const MUSIC_HZ: f64 = 620.0;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_foreign_phone_that_is_parked_hears_music_and_then_who_takes_the_call() {
    lab(|lab| {
        let mut server = serve(lab, B2BUA, &format!("[b2bua]\nmusic = \"sip:music@{DOMAIN}\"\n"));
        let music =
            "wait for registered\nwait for incoming\nanswer\nwait for answered\nwait for ended within 60s\n";
        let user = add_user(lab, "music");
        let mut music = script_of(lab, &server, &user, &["--tone", &MUSIC_HZ.to_string()], music);
        music.wait_for("\"registered\"", PATIENCE);
        let bob = format!(
            "wait for registered\nwait for incoming\nanswer\nwait for answered\nwait 2s\ntransfer sip:*51@{DOMAIN}\n\
             wait for transferred\nwait for ended\nwait 4s\ncall sip:*51@{DOMAIN}\nwait for answered\nwait 4s\n\
             hangup\nwait for ended\n"
        );
        let mut bob = script(lab, &server, "bob", &["--tone", &BOB_HZ.to_string()], &bob);
        bob.wait_for("\"registered\"", PATIENCE);
        let alice = Settings { hertz: Some(ALICE_HZ), ..Settings::new(1) };
        let mut alice = Foreign::register(&server, "alice", &alice);
        alice.call("bob");
        alice.wait_for_call(0, "CONFIRMED");
        alice.wait_for_media(0, "remote-hold");
        alice.wait_for_call(0, "DISCONNECTED");
        let bob = finish(bob, 0);
        finish(music, 0);
        // He, the music, and he again.
        let heard = alice.recording();
        let times = |hertz: f64| -> Vec<usize> {
            let levels = heard.levels(hertz);
            levels.iter().enumerate().filter(|(_, level)| **level > 0.02).map(|(frame, _)| frame).collect()
        };
        let (music, bobs) = (times(MUSIC_HZ), times(BOB_HZ));
        let is_heard = music.len() >= 20 && bobs.len() >= 40;
        assert!(is_heard, "{} tenths of music, {} of bob", music.len(), bobs.len());
        let is_during = |frame: &&usize| (music[0]..=music[music.len() - 1]).contains(*frame);
        assert!(bobs.iter().filter(is_during).count() <= 2, "one after the other: {music:?} {bobs:?}");
        assert!(bobs[0] < music[0] && bobs[bobs.len() - 1] > music[music.len() - 1], "{music:?} {bobs:?}");
        // And she by him, when he has the call again.
        let audio = &last_of(&bob, "ended")["audio"]["received"];
        let tone = audio["tone_hz"].as_f64().unwrap_or_default();
        assert!((tone - ALICE_HZ).abs() < 5.0, "{audio}");
        server.stop();
    });
}
