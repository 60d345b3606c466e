//! A foreign phone that is held by another one hears who plays music, until it is resumed: one of ours, with a file.
//! A foreign phone is parked by one of ours, hears who plays music, and is taken again: both ways of sound are measured.
//! Parked calls, calls that ring and callers who wait are found by foreign phones whatever their shards.

use std::time::{Duration, Instant};

use crate::lab::{Lab, lab};
use crate::manage::run_json;
use crate::pjsua2::{Foreign, Settings};
use crate::scripts::{add_user, answering, finish, last_of, script, script_of};
use crate::serve::{DOMAIN, Server};
use crate::services::{B2BUA, now, serve, settings, switch_off, talk, three};
use crate::wav::write_tone;

/// What the phones play.
const ALICE_HZ: f64 = 1000.0;
const BOB_HZ: f64 = 440.0;
const MUSIC_HZ: f64 = 620.0;

/// How long somebody is heard.
const HEARING: Duration = Duration::from_millis(1_500);

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

#[test]
fn a_foreign_phone_that_another_one_holds_hears_the_file_that_one_of_ours_plays() {
    lab(|lab| {
        let mut server = serve(lab, B2BUA, &format!("[b2bua]\nmusic = \"sip:music@{DOMAIN}\"\n"));
        let file = lab.path("music.wav");
        write_tone(&file, MUSIC_HZ, 20);
        let user = add_user(lab, "music");
        let mut music = answering(&server, &user, &["--play", &file.display().to_string()]);
        let playing = |number, hertz| Settings { hertz: Some(hertz), ..Settings::new(number) };
        let mut bob = Foreign::register(&server, "bob", &playing(2, BOB_HZ));
        let mut alice = Foreign::register(&server, "alice", &playing(1, ALICE_HZ));
        talk(&mut alice, &mut bob);
        std::thread::sleep(HEARING);
        bob.act("hold 0");
        assert_eq!(alice.wait_for_request("INVITE").direction(), "sendonly", "{}", alice.told());
        assert_eq!(bob.wait_for_response(200, "INVITE").direction(), "inactive", "{}", bob.told());
        // Who plays, and no part of it is his.
        let offer = alice.wait_for_request("INVITE");
        assert_eq!(offer.direction(), "sendonly", "{}", offer.text());
        music.wait_for("\"answered\"", PATIENCE);
        alice.wait_for_media(0, "remote-hold");
        std::thread::sleep(HEARING);
        bob.act("resume 0");
        assert_eq!(alice.wait_for_request("INVITE").direction(), "sendrecv", "{}", alice.told());
        assert_eq!(bob.wait_for_response(200, "INVITE").direction(), "sendrecv", "{}", bob.told());
        music.wait_for("\"ended\"", PATIENCE);
        std::thread::sleep(HEARING);
        bob.act("hangup 0");
        alice.wait_for_call(0, "DISCONNECTED");
        wait_until_nobody_talks(lab);
        let heard = alice.recording();
        let times = |hertz: f64| -> Vec<usize> {
            let levels = heard.levels(hertz);
            levels.iter().enumerate().filter(|(_, level)| **level > 0.02).map(|(frame, _)| frame).collect()
        };
        let (played, bobs) = (times(MUSIC_HZ), times(BOB_HZ));
        let is_heard = played.len() >= 8 && bobs.len() >= 10;
        assert!(is_heard, "{} tenths of music, {} of bob", played.len(), bobs.len());
        let is_during = |frame: &&usize| (played[0]..=played[played.len() - 1]).contains(*frame);
        assert!(bobs.iter().filter(is_during).count() <= 2, "one after the other: {played:?} {bobs:?}");
        assert!(
            bobs[0] < played[0] && bobs[bobs.len() - 1] > played[played.len() - 1],
            "{played:?} {bobs:?}"
        );
        bob.switch_off();
        server.stop();
    });
}

/// How often it is tried until what meets was of different shards: each time it is so three of four times.
const TRIES: usize = 10;

/// A server with four shards.
fn four_shards(lab: &Lab, more: &str) -> Server {
    Server::start_with(lab, &["--config", &settings(lab, B2BUA, more), "--shards", "4"])
}

/// How many calls and INVITEs went from one shard to another.
fn handed_over(lab: &Lab) -> u64 {
    let status = run_json(lab, &["status"]).1;
    let counted = status["counters"]["engine"]["handed_over"].as_u64();
    counted.unwrap_or_else(|| panic!("no `handed_over` in {status}"))
}

/// Waits until no call is left on any shard.
fn wait_until_nobody_talks(lab: &Lab) {
    let end = Instant::now() + PATIENCE;
    while !now(lab).is_empty() {
        assert!(Instant::now() < end, "{:?}", now(lab));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn calls_are_parked_and_fetched_by_foreign_phones_whatever_their_shards() {
    lab(|lab| {
        let mut server = four_shards(lab, "");
        let (mut alice, mut bob, mut carol) = three(lab, &server, "udp");
        // Bob's transfers to the slot, and carol's calls of it, meet the slot's shard.
        for slot in 0..TRIES {
            alice.call("bob");
            bob.wait_for_call(slot, "INCOMING");
            bob.act(&format!("answer {slot} 200"));
            bob.wait_for_request("ACK");
            alice.wait_for_call(slot, "CONFIRMED");
            alice.wait_until_sent("ACK");
            bob.act(&format!("transfer {slot} sip:*5{slot}@{DOMAIN}"));
            let last = bob.wait("transfer", "final NOTIFY", |event| event["final"] == true);
            assert_eq!(last["code"], 200, "{last}");
            assert_eq!(alice.wait_for_request("INVITE").direction(), "inactive", "{}", alice.told());
            alice.wait_for_request("ACK");
            bob.act(&format!("hangup {slot}"));
            bob.wait_for_call(slot, "DISCONNECTED");
            carol.call(&format!("*5{slot}"));
            carol.wait_for_call(slot, "CONFIRMED");
            alice.wait_for_audio_of(3);
            carol.wait_for_audio_of(1);
            carol.act(&format!("hangup {slot}"));
            alice.wait_for_call(slot, "DISCONNECTED");
            wait_until_nobody_talks(lab);
            if slot > 0 && handed_over(lab) > 1 {
                break;
            }
            assert!(slot + 1 < TRIES, "all had the same shard each time");
        }
        switch_off([alice, bob, carol]);
        server.stop();
    });
}

#[test]
fn calls_that_ring_are_picked_up_by_foreign_phones_whatever_their_shards() {
    lab(|lab| {
        let mut server = four_shards(lab, "");
        let (mut alice, mut bob, mut carol) = three(lab, &server, "udp");
        for call in 0..TRIES {
            alice.call("bob");
            bob.wait_for_call(call, "INCOMING");
            bob.act(&format!("answer {call} 180"));
            alice.wait_for_response(180, "INVITE");
            carol.call("*8bob");
            carol.wait_for_call(call, "CONFIRMED");
            alice.wait_for_call(call, "CONFIRMED");
            let cancel = bob.wait_for_request("CANCEL");
            assert!(cancel.header("Reason").contains("cause=200"), "{}", cancel.text());
            bob.wait_for_call(call, "DISCONNECTED");
            alice.wait_for_audio_of(3);
            carol.wait_for_audio_of(1);
            alice.act(&format!("hangup {call}"));
            carol.wait_for_call(call, "DISCONNECTED");
            wait_until_nobody_talks(lab);
            if handed_over(lab) > 0 {
                break;
            }
            assert!(call + 1 < TRIES, "both had the same shard each time");
        }
        switch_off([alice, bob, carol]);
        server.stop();
    });
}

/// One queue for all: who comes second is told so, whichever shard the first is of.
#[test]
fn foreign_phones_wait_in_one_queue_whatever_their_shards() {
    lab(|lab| {
        let group = "[[group]]\nname = \"sales\"\nmembers = [\"bob\"]\nqueue = \"1m\"\n";
        let mut server = four_shards(lab, group);
        let (mut alice, mut bob, mut carol) = three(lab, &server, "udp");
        alice.call("sales");
        bob.wait_for_call(0, "INCOMING");
        bob.act("answer 0 486");
        let queued = alice.wait_for_response(182, "INVITE");
        assert_eq!(queued.start(), "SIP/2.0 182 Queued, position 1");
        for call in 0..TRIES {
            carol.call("sales");
            let queued = carol.wait_for_response(182, "INVITE");
            assert_eq!(queued.start(), "SIP/2.0 182 Queued, position 2");
            if handed_over(lab) > 0 {
                break;
            }
            assert!(call + 1 < TRIES, "all had the same shard each time");
            carol.act(&format!("hangup {call}"));
            carol.wait_for_call(call, "DISCONNECTED");
        }
        // He is asked again after a while, and has time now: the first in the queue gets him.
        bob.wait_for_call(1, "INCOMING");
        bob.act("answer 1 200");
        alice.wait_for_call(0, "CONFIRMED");
        bob.wait_for_audio_of(1);
        carol.act("hangup-all");
        alice.act("hangup 0");
        bob.wait_for_call(1, "DISCONNECTED");
        switch_off([alice, bob, carol]);
        server.stop();
    });
}
