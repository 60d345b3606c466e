//! A stream that is added to a call and taken away again (RFC 3264 §8.1, §8.2): video, which is received and not shown.

use std::time::Duration;

use dialtone_wire::{HeaderName, Message};

use super::bench::{Bench, header, sdp};
use super::calls::{ALICE, BOB, Pair};
use super::updates::Callee;
use crate::io::{CallHandle, ChangeBy, Command, HoldForm, Input, Play};
use crate::settings::SessionSettings;

const VIDEO: &str = "m=video 4010 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\n";

/// Two phones in a call; they take video or not.
fn talking(takes: bool) -> (Pair, [CallHandle; 2]) {
    let mut pair = Pair::of(SessionSettings { video: takes, ..SessionSettings::default() });
    let to = super::bench::uri("sip:bob@192.0.2.2");
    pair.phones[ALICE].command(Command::Call { token: 1, to, play: Play::Silence });
    pair.wait(Duration::from_millis(50));
    let calls = [ALICE, BOB].map(|side| pair.phones[side].last_call());
    pair.phones[BOB].command(Command::Answer { call: calls[BOB], play: Play::Silence });
    pair.wait(Duration::from_millis(50));
    pair.ladder();
    pair.phones.iter_mut().for_each(|phone| drop(phone.events()));
    (pair, calls)
}

/// What is told of the session, without who holds whom.
fn told(phone: &mut Bench) -> String {
    let names = phone.events().into_iter().map(|event| event.split([' ', '{']).next().unwrap().to_owned());
    names.filter(|name| name.starts_with("Video") || name.contains("Refused")).collect::<Vec<_>>().join(" ")
}

/// The last thing that the media plane was told about each lease in use.
fn streams(phone: &Bench) -> Vec<&str> {
    phone.applied.values().filter_map(|told| told.last()).map(String::as_str).collect()
}

#[test]
fn a_phone_adds_video_and_takes_it_away_by_either_request() {
    for (by, passed) in
        [(ChangeBy::Invite, ">INVITE <200/INVITE >ACK"), (ChangeBy::Update, ">UPDATE <200/UPDATE")]
    {
        let (mut pair, calls) = talking(true);
        let call = calls[ALICE];
        // Twice: the line is used again.
        for _ in 0..2 {
            pair.phones[ALICE].command(Command::Video { call, on: true, by });
            pair.wait(Duration::from_millis(50));
            assert_eq!(pair.ladder(), passed);
            for phone in &mut pair.phones {
                assert_eq!(told(phone), "VideoStarted");
                let streams = streams(phone);
                assert_eq!(streams.len(), 2, "{streams:?}");
                assert!(streams[0].ends_with("sendrecv"));
                // Both would only receive, so that nothing flows: neither has pictures.
                assert!(streams[1].ends_with("inactive"), "{streams:?}");
            }
            pair.phones[ALICE].command(Command::Video { call, on: false, by });
            pair.wait(Duration::from_millis(50));
            assert_eq!(pair.ladder(), passed);
            for phone in &mut pair.phones {
                assert_eq!(told(phone), "VideoStopped");
                assert_eq!(streams(phone).len(), 1, "its ports are given back");
            }
        }
        pair.phones[ALICE].command(Command::Hangup { call });
        pair.wait(Duration::from_secs(1));
        pair.phones.iter_mut().for_each(Bench::assert_at_rest);
    }
}

#[test]
fn who_takes_no_video_answers_port_0_and_the_sound_goes_on() {
    for by in [ChangeBy::Invite, ChangeBy::Update] {
        let (mut pair, calls) = talking(false);
        pair.phones[ALICE].command(Command::Video { call: calls[ALICE], on: true, by });
        pair.wait(Duration::from_millis(50));
        assert_eq!(told(&mut pair.phones[ALICE]), "VideoRefused");
        assert_eq!(told(&mut pair.phones[BOB]), "");
        assert!(pair.phones.iter().all(|phone| streams(phone).len() == 1));
        pair.phones[BOB].command(Command::Hangup { call: calls[BOB] });
        pair.wait(Duration::from_secs(1));
        pair.phones.iter_mut().for_each(Bench::assert_at_rest);
    }
}

#[test]
fn a_call_with_video_is_held_and_resumed_with_its_pictures() {
    let (mut pair, calls) = talking(true);
    let [call, _] = calls;
    let by = ChangeBy::Update;
    // What is asked for while another change is under way waits, and goes out in one.
    pair.phones[ALICE].command(Command::Refresh { call, by });
    pair.phones[ALICE].command(Command::Video { call, on: true, by });
    pair.phones[ALICE].command(Command::Hold { call, form: HoldForm::Direction, by });
    pair.wait(Duration::from_millis(50));
    assert_eq!(pair.ladder(), ">UPDATE <200/UPDATE >UPDATE <200/UPDATE");
    let ends = |phone: &Bench| -> Vec<String> {
        streams(phone).iter().map(|told| told.split(' ').next_back().unwrap().to_owned()).collect()
    };
    assert_eq!(ends(&pair.phones[ALICE]), ["sendonly", "inactive"]);
    assert_eq!(ends(&pair.phones[BOB]), ["recvonly", "inactive"]);
    pair.phones[ALICE].command(Command::Resume { call, by });
    pair.wait(Duration::from_millis(50));
    assert_eq!(ends(&pair.phones[ALICE]), ["sendrecv", "inactive"]);
    assert!(pair.phones.iter_mut().all(|phone| told(phone) == "VideoStarted"));
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// A phone that takes video, in a call of the peer.
fn takes_video() -> Callee {
    let mut callee = Callee::talking("");
    let mut settings = super::bench::settings("alice", "192.0.2.1:5060");
    settings.session.video = true;
    callee.bench.input(Input::Configure(std::sync::Arc::new(settings)));
    callee
}

#[test]
fn video_of_the_peer_is_received_at_ports_of_its_own_and_none_is_sent() {
    let mut callee = takes_video();
    let both = sdp(4000, "sendrecv") + VIDEO;
    let ok = callee.ask("UPDATE", "", &both);
    let text = body(&ok);
    let line = text.lines().find(|line| line.starts_with("m=video")).unwrap();
    assert!(!line.starts_with("m=video 0 ") && line.ends_with(" RTP/AVP 31"), "{text}");
    assert!(text.ends_with("a=rtpmap:31 H261/90000\r\na=recvonly\r\n"), "{text}");
    assert_eq!(streams(&callee.bench), ["192.0.2.9:4000 sendrecv", "192.0.2.9:4010 recvonly"]);
    // The same again is no other lease, and a line in another place is refused with port 0 there.
    let second = callee.ask("INVITE", "", &(both.clone() + &VIDEO.replace("4010", "4012")));
    assert!(body(&second).ends_with("a=recvonly\r\nm=video 0 RTP/AVP 31\r\n"), "{}", body(&second));
    callee.bench.receive(&super::callee::request("ACK", 3, &callee.tag, "", ""));
    assert_eq!(streams(&callee.bench), ["192.0.2.9:4000 sendrecv", "192.0.2.9:4010 recvonly"]);
    // The peer takes it away: the line keeps its place.
    let gone = both.replace("4010", "0") + &VIDEO.replace("4010", "0");
    let ok = callee.ask("UPDATE", "", &gone);
    assert!(body(&ok).ends_with("m=video 0 RTP/AVP 31\r\nm=video 0 RTP/AVP 31\r\n"), "{}", body(&ok));
    assert_eq!(streams(&callee.bench), ["192.0.2.9:4000 sendrecv"]);
    assert_eq!(told(&mut callee.bench), "VideoStarted VideoStopped");
}

#[test]
fn a_refused_offer_of_video_leaves_the_session_and_no_ports_behind() {
    let mut callee = Callee::talking("");
    let call = callee.call;
    for by in [ChangeBy::Update, ChangeBy::Invite] {
        callee.bench.command(Command::Video { call, on: true, by });
        let ours = callee.bench.take();
        assert!(body(&ours).contains("m=video"), "{}", body(&ours));
        callee.bench.respond(&ours, 488, "b", "", "");
        callee.bench.take_all();
        assert!(told(&mut callee.bench).ends_with("ChangeRefused"));
    }
    let in_use: Vec<_> = streams(&callee.bench);
    assert_eq!(in_use, ["192.0.2.9:4000 sendrecv"]);
    callee.bench.command(Command::Hangup { call });
    let bye = callee.bench.take();
    callee.bench.respond(&bye, 200, "b", "", "");
    callee.bench.assert_at_rest();
}

#[test]
fn without_ports_video_is_refused_and_not_asked_for() {
    let mut callee = takes_video();
    callee.bench.has_ports = false;
    // What the pool still has goes to other calls.
    let pool: Vec<Message> = (0..40)
        .map_while(|number| {
            let invite = super::callee::request("INVITE", 1, "", "", &sdp(4000, "sendrecv"));
            let invite = invite.replace("Call-ID: c1", &format!("Call-ID: other{number}"));
            callee.bench.receive(&invite.replace("z9hG4bKINVITE1", &format!("z9hG4bKother{number}")));
            let answer = callee.bench.take();
            (answer.status().unwrap().code() == 180).then_some(answer)
        })
        .collect();
    assert!(!pool.is_empty() && pool.len() < 40);
    callee.bench.events();
    let ok = callee.ask("UPDATE", "", &(sdp(4000, "sendrecv") + VIDEO));
    assert!(body(&ok).ends_with("m=video 0 RTP/AVP 31\r\n"), "{}", body(&ok));
    let call = callee.call;
    callee.bench.command(Command::Video { call, on: true, by: ChangeBy::Update });
    assert_eq!(callee.bench.take_all(), "");
    assert_eq!(told(&mut callee.bench), "ChangeRefused");
}

#[test]
fn options_tell_of_video_where_it_is_taken() {
    for takes in [false, true] {
        let mut settings = super::bench::settings("alice", "192.0.2.1:5060");
        settings.session.video = takes;
        let mut bench = Bench::new(settings);
        bench.receive(&super::callee::request("OPTIONS", 1, "", "Accept: application/sdp\r\n", ""));
        let ok = bench.take();
        assert_eq!(header(&ok, HeaderName::ContentType), "application/sdp");
        assert_eq!(body(&ok).contains("m=video 0 RTP/AVP 34 31 32"), takes, "{}", body(&ok));
    }
}
