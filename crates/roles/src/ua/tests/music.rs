//! Music by somebody else for him whom we hold (RFC 5359 §2.3): bob holds alice, carol has the music.

use std::time::Duration;

use dialtone_wire::{HeaderName, Status};

use super::bench::{Bench, brief, header, sdp, settings, uri};
use super::net::{A, B, C, Net, address_of};
use crate::io::{CallHandle, Command, EndReason, Event, Play, TransferOutcome, TransferTo};
use crate::settings::{ReferPolicy, ReplacesPolicy, Settings};

const MUSIC: &str = "sip:music@192.0.2.3";
const BEGINS: &str = "BC:REFER CB:200/REFER CB:NOTIFY CA:INVITE AC:200/INVITE AB:BYE BC:200/NOTIFY BA:200/BYE CA:ACK \
                      CB:NOTIFY BC:200/NOTIFY";

/// Phones of which all do what strangers ask for, and of which none lets a call be taken but by him who was part of it.
fn net() -> Net {
    Net::with(|settings| {
        settings.transfer.strangers = ReferPolicy::Accept;
        settings.transfer.replaces = ReplacesPolicy::Referred;
    })
}

/// Alice has called bob, who holds her; bob's call and hers.
fn held(net: &mut Net) -> (CallHandle, CallHandle) {
    let (of_alice, of_bob) = net.call(A, B);
    net.hold(B, of_bob);
    (of_bob, of_alice)
}

fn play(net: &mut Net, call: CallHandle) {
    net.command(B, Command::Music { call, source: uri(MUSIC) });
}

/// What the phone that holds was told of the music, and of which call: the way back, or why there is none.
fn told(phone: &Bench) -> Vec<(CallHandle, Result<String, TransferOutcome>)> {
    let told = phone.events.iter().filter_map(|event| match event {
        Event::MusicBegan { call, back } => Some((*call, Ok(back.to_string()))),
        Event::NoMusic { call, outcome } => Some((*call, Err(*outcome))),
        _ => None,
    });
    told.collect()
}

fn back(net: &Net) -> String {
    match &told(&net.phones[B])[..] {
        [(_, Ok(back))] => back.clone(),
        other => panic!("{other:?}"),
    }
}

fn take_back(net: &mut Net) {
    let to = uri(&back(net));
    net.command(B, Command::Call { token: 9, to, play: Play::Silence });
}

fn failed(net: &Net) -> TransferOutcome {
    match &told(&net.phones[B])[..] {
        [(_, Err(outcome))] => *outcome,
        other => panic!("{other:?}"),
    }
}

fn ended(net: &Net, phone: usize, of: CallHandle) -> Option<EndReason> {
    net.phones[phone].events.iter().find_map(|event| match event {
        Event::Ended { call, reason } if *call == of => Some(*reason),
        _ => None,
    })
}

/// The call is held as before, and goes on by an ordinary re-INVITE.
fn resumes(net: &mut Net, call: CallHandle) {
    net.ladder();
    assert!(net.calls(B).contains(&call));
    net.command(B, Command::Reoffer { call, hold: false });
    assert_eq!(net.ladder(), "BA:INVITE AB:200/INVITE BA:ACK");
    assert!(net.phones[B].media_of_call().last().unwrap().ends_with("sendrecv"));
    net.assert_at_rest();
}

#[test]
fn a_music_server_takes_the_place_of_who_holds_and_gives_it_back() {
    let mut net = net();
    let (of_bob, of_alice) = held(&mut net);
    play(&mut net, of_bob);
    assert_eq!(net.ladder(), BEGINS);
    let refer = net.last("REFER");
    assert_eq!(refer.uri_text(), MUSIC);
    let refer_to = header(refer, HeaderName::ReferTo);
    let (called, headers) = refer_to.split_once("?Replaces=").unwrap();
    assert_eq!(called, "<sip:alice@192.0.2.1:5060");
    assert!(headers.contains("%3Bto-tag%3D") && headers.ends_with("&Require=replaces>"), "{headers}");
    assert_eq!(header(refer, HeaderName::ReferredBy), format!("<{}>", address_of(B)));
    // Who was part of the call that was taken is told which one has its place.
    let (invite, notify) = (net.last("INVITE"), net.last("NOTIFY"));
    let fragment = std::str::from_utf8(notify.body()).unwrap();
    let [from, call_id] = [HeaderName::From, HeaderName::CallId].map(|name| header(invite, name));
    assert!(fragment.starts_with("SIP/2.0 200 OK\r\n"), "{fragment}");
    assert!(fragment.contains(&format!("From: {from}\r\n")), "{fragment}");
    assert!(fragment.contains(&format!("Call-ID: {call_id}\r\n")), "{fragment}");
    assert!(!fragment.contains("Via") && !fragment.contains("Server"), "{fragment}");
    assert_eq!(ended(&net, B, of_bob), Some(EndReason::RemoteHangup), "{:?}", net.phones[B].events);
    assert_eq!(ended(&net, A, of_alice), Some(EndReason::Replaced));
    assert_eq!(net.calls(B), []);
    assert_eq!(net.outcomes(B), [], "nobody was transferred");
    let link = back(&net);
    assert!(link.starts_with("sip:alice@192.0.2.1:5060?Replaces=") && link.ends_with("&Require=replaces"));

    take_back(&mut net);
    assert_eq!(net.ladder(), "BA:INVITE AB:200/INVITE AC:BYE BA:ACK CA:200/BYE");
    assert_eq!([A, B, C].map(|phone| net.calls(phone).len()), [1, 1, 0]);
    // And once more: the call that was taken back is one like any other.
    let again = net.calls(B)[0];
    net.hold(B, again);
    net.phones[B].events.retain(|event| !matches!(event, Event::MusicBegan { .. }));
    play(&mut net, again);
    assert_eq!(net.ladder(), BEGINS);
    take_back(&mut net);
    assert_eq!([A, B, C].map(|phone| net.calls(phone).len()), [1, 1, 0]);
    net.assert_at_rest();
}

#[test]
fn nobody_else_takes_back_who_hears_music() {
    // Alice's phone lets her call with the music server be taken by these two, and by him who gave it away.
    let mut net = net();
    let (of_bob, _) = held(&mut net);
    play(&mut net, of_bob);
    net.ladder();
    let link = back(&net);
    let named = link.split_once("?Replaces=").unwrap().1.strip_suffix("&Require=replaces").unwrap();
    let replaces = dialtone_wire::uri::unescape(named);
    let invite = |from: &str, more: &str| {
        let body = sdp(4000, "sendrecv");
        format!(
            "INVITE sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{from}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{from}@192.0.2.9>;tag=m\r\nTo: <sip:alice@192.0.2.1>\r\n\
             Call-ID: {from}\r\nCSeq: 1 INVITE\r\nContact: <sip:{from}@192.0.2.9>\r\n{more}Replaces: {replaces}\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let alice = &mut net.phones[A];
    alice.receive(&invite("mallory", ""));
    assert_eq!(alice.take_all(), "403/INVITE");
    alice.receive(&invite("trudy", "Referred-By: <sip:mallory@192.0.2.9>\r\n"));
    assert_eq!(alice.take_all(), "403/INVITE");
    // Bob may also send somebody.
    alice.receive(&invite("dave", "Referred-By: <sip:bob@192.0.2.2>\r\n"));
    assert_eq!(alice.take_all(), "200/INVITE BYE");
}

#[test]
fn who_was_part_of_no_call_that_is_taken_is_told_the_status_alone() {
    // RFC 3515 §5.3.3.
    let mut net = net();
    let (of_alice, _) = net.call(A, B);
    net.transfer(A, of_alice, C);
    let of_carol = net.phones[C].last_call();
    net.command(C, Command::Answer { call: of_carol, play: Play::Silence });
    assert_eq!(net.last("NOTIFY").body(), b"SIP/2.0 200 OK\r\n");
    net.assert_at_rest();
}

#[test]
fn a_call_stays_held_where_the_music_server_refuses() {
    let mut net = Net::new();
    let (of_bob, _) = held(&mut net);
    play(&mut net, of_bob);
    assert_eq!(net.ladder(), "BC:REFER CB:403/REFER");
    assert_eq!(failed(&net), TransferOutcome::Refused(Status::of(403)));
    resumes(&mut net, of_bob);
}

#[test]
fn a_call_stays_held_where_the_music_server_is_silent() {
    let mut net = net();
    let (of_bob, _) = held(&mut net);
    net.command(B, Command::Music { call: of_bob, source: uri("sip:music@192.0.2.77") });
    net.wait(Duration::from_secs(31));
    assert_eq!(told(&net.phones[B]), []);
    net.wait(Duration::from_secs(2));
    assert_eq!(failed(&net), TransferOutcome::Refused(Status::of(408)));
    resumes(&mut net, of_bob);
}

#[test]
fn a_call_stays_held_where_the_music_server_says_yes_and_nothing_more() {
    // RFC 6665 §4.1.2.4, Timer N; and RFC 4488, which begins no subscription.
    for more in ["", "Refer-Sub: false"] {
        let mut bench = Bench::new(proxied());
        let (call, _) = bench_held(&mut bench, "");
        bench.command(Command::Music { call, source: uri("sip:music@192.0.2.9") });
        let refer = bench.take();
        bench.respond(&refer, 200, "m", &format!("Contact: <sip:music@192.0.2.9>\n{more}"), "");
        bench.wait(Duration::from_secs(if more.is_empty() { 33 } else { 0 }));
        assert_eq!(told(&bench), [(call, Err(TransferOutcome::Unknown))], "{more}");
        assert_eq!(bench.take_all(), "");
        hang_up(bench, call);
    }
}

#[test]
fn a_call_stays_held_where_the_other_side_wants_no_music() {
    // §2.3: "Should Alice not wish to receive music on hold, her UA could refuse F12 and she will remain on hold".
    let mut net = Net::with(|settings| {
        settings.transfer.strangers = ReferPolicy::Accept;
        settings.transfer.replaces = ReplacesPolicy::Refuse;
    });
    let (of_bob, of_alice) = held(&mut net);
    play(&mut net, of_bob);
    assert_eq!(failed(&net), TransferOutcome::Failed(Status::of(403)));
    assert_eq!(net.calls(A), [of_alice]);
    resumes(&mut net, of_bob);
}

#[test]
fn only_a_call_that_is_held_and_not_being_given_away_gets_music() {
    let mut net = net();
    let (_, of_bob) = net.call(A, B);
    let refused = |net: &mut Net, source: &str, why: &str| {
        let call = net.calls(B)[0];
        net.command(B, Command::Music { call, source: uri(source) });
        assert_eq!(failed(net), TransferOutcome::NotPossible, "{why}");
        net.phones[B].events.retain(|event| !matches!(event, Event::NoMusic { .. }));
        assert!(!net.ladder().contains("BC:REFER"), "{why}");
    };
    refused(&mut net, MUSIC, "it talks");
    net.hold(B, of_bob);
    refused(&mut net, "tel:+15551234", "no SIP URI");
    refused(&mut net, "sip:music@192.0.2.3?Replaces=x", "a link is no server");
    net.command(B, Command::Transfer { call: of_bob, to: TransferTo::Address(uri("sip:dave@192.0.2.77")) });
    refused(&mut net, MUSIC, "it is being given away");
    net.wait(Duration::from_secs(40));
    net.assert_at_rest();
}

#[test]
fn who_hangs_up_while_he_hears_music_is_found_gone_when_he_is_taken_back() {
    let mut net = net();
    let (of_bob, _) = held(&mut net);
    play(&mut net, of_bob);
    let with_music = net.calls(A)[0];
    net.command(A, Command::Hangup { call: with_music });
    net.ladder();
    take_back(&mut net);
    assert_eq!(net.ladder(), "BA:INVITE AB:603/INVITE BA:ACK", "RFC 3891 §3");
    let taken = net.phones[B].last_call();
    assert_eq!(ended(&net, B, taken), Some(EndReason::Refused(Status::of(603))));
    net.assert_at_rest();
}

#[test]
fn the_news_may_come_before_the_end_of_the_call() {
    let mut net = net();
    let (of_bob, _) = held(&mut net);
    net.lost = Some("AB:BYE");
    play(&mut net, of_bob);
    back(&net);
    assert_eq!(net.calls(B), [of_bob]);
    net.wait(Duration::from_secs(1));
    assert_eq!(net.calls(B), []);
    take_back(&mut net);
    assert_eq!([A, B, C].map(|phone| net.calls(phone).len()), [1, 1, 0]);
    net.assert_at_rest();
}

/// A phone that holds alice, who is the test. With her Contact.
fn bench_held(bench: &mut Bench, more: &str) -> (CallHandle, String) {
    let to = uri("sip:alice@example.com");
    bench.command(Command::Call { token: 1, to, play: Play::Silence });
    let (call, invite) = (bench.last_call(), bench.take());
    let contact = "Contact: <sip:a1@192.0.2.9>\nSupported: replaces";
    bench.respond(&invite, 200, "alice", &format!("{contact}\n{more}"), &sdp(4000, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    bench.command(Command::Reoffer { call, hold: true });
    let invite = bench.take();
    bench.respond(&invite, 200, "alice", contact, &sdp(4000, "recvonly"));
    assert_eq!(bench.take_all(), "ACK");
    (call, header(&invite, HeaderName::CallId))
}

fn hang_up(mut bench: Bench, call: CallHandle) {
    bench.command(Command::Hangup { call });
    bench.wait(Duration::from_secs(400));
    bench.transmits.clear();
    bench.assert_at_rest();
}

/// News of a music server whose tag is `m`.
fn tell(bench: &mut Bench, refer: &dialtone_wire::Message, fragment: &str) {
    let text = format!(
        "NOTIFY sip:bob@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{}\r\n\
         Max-Forwards: 70\r\nFrom: {};tag=m\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 NOTIFY\r\n\
         Contact: <sip:music@192.0.2.9>\r\nEvent: refer\r\nSubscription-State: terminated;reason=noresource\r\n\
         Content-Type: message/sipfrag\r\nContent-Length: {}\r\n\r\n{fragment}",
        refer.call_id().unwrap(),
        header(refer, HeaderName::To),
        header(refer, HeaderName::From),
        refer.call_id().unwrap(),
        fragment.len(),
    );
    bench.receive(&text);
}

fn proxied() -> Settings {
    let mut settings = settings("bob", "192.0.2.1:5060");
    settings.account.as_mut().unwrap().proxy = Some(uri("sip:192.0.2.9;lr"));
    settings
}

#[test]
fn the_way_back_leads_where_the_music_server_was_sent() {
    // RFC 5589 §7.5: the address-of-record first, then the Contact; and not where a fragment says.
    let dialog = "From: <sip:music@192.0.2.9>;tag=f\r\nTo: <sip:x@y>;tag=t\r\nCall-ID: c@d\r\nCSeq: 1 INVITE\r\n\
                  Contact: <sip:mallory@192.0.2.66>";
    let link = "?Replaces=c%40d%3Bto-tag%3Dt%3Bfrom-tag%3Df&Require=replaces";
    let cases = [
        (None, format!("SIP/2.0 200 OK\r\n{dialog}"), format!("sip:alice@example.com{link}")),
        (
            Some("SIP/2.0 481 x"),
            format!("SIP/2.0 200 OK\r\n{dialog}\r\n\r\n"),
            format!("sip:a1@192.0.2.9{link}"),
        ),
        // Those who tell no more than the status: he is called anew.
        (None, "SIP/2.0 200 OK".to_owned(), "sip:alice@example.com".to_owned()),
        (None, "SIP/2.0 200 OK\r\n\r\nxx".to_owned(), "sip:alice@example.com".to_owned()),
    ];
    for (first, fragment, expected) in cases {
        let mut bench = Bench::new(proxied());
        let (call, _) = bench_held(&mut bench, "");
        bench.command(Command::Music { call, source: uri("sip:music@example.com") });
        let mut refer = bench.take();
        assert_eq!(refer.uri_text(), "sip:music@example.com");
        assert!(header(&refer, HeaderName::ReferTo).starts_with("<sip:alice@example.com?Replaces="));
        if let Some(first) = first {
            bench.respond(&refer, 202, "m", "Contact: <sip:music@192.0.2.9>", "");
            tell(&mut bench, &refer, first);
            assert_eq!(brief(&bench.take()), "200/NOTIFY");
            refer = bench.take();
            assert_eq!(refer.uri_text(), "sip:music@example.com");
            assert!(header(&refer, HeaderName::ReferTo).starts_with("<sip:a1@192.0.2.9?Replaces="));
        }
        // The NOTIFY may be faster than the response.
        tell(&mut bench, &refer, &fragment);
        assert_eq!(bench.take_all(), "200/NOTIFY");
        assert_eq!(told(&bench), [(call, Ok(expected))]);
        bench.respond(&refer, 202, "m", "Contact: <sip:music@192.0.2.9>", "");
        hang_up(bench, call);
    }
}

#[test]
fn a_music_server_that_asks_who_we_are_is_told() {
    let mut bench = Bench::new(proxied());
    let (call, _) = bench_held(&mut bench, "");
    bench.command(Command::Music { call, source: uri("sip:music@example.com") });
    let refer = bench.take();
    let challenge = "Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"1\", algorithm=MD5";
    bench.respond(&refer, 407, "p", challenge, "");
    let again = bench.take();
    assert_eq!((brief(&again), again.cseq().unwrap().number), ("REFER".to_owned(), 2));
    assert!(again.has(HeaderName::ProxyAuthorization));
    bench.respond(&again, 202, "m", "Contact: <sip:music@192.0.2.9>", "");
    tell(&mut bench, &again, "SIP/2.0 200 OK");
    assert!(bench.events.iter().any(|event| matches!(event, Event::MusicBegan { .. })));
    assert_eq!(bench.take_all(), "200/NOTIFY");
    hang_up(bench, call);
}

#[test]
fn a_music_server_plays_what_its_owner_says() {
    let mut net = Net::with(|settings| settings.transfer.strangers = ReferPolicy::Ask);
    let (of_bob, _) = held(&mut net);
    play(&mut net, of_bob);
    let asked = net.phones[C].events.iter().find_map(|event| match event {
        Event::TransferAsked { referral, call: None, replaces: true, .. } => Some(*referral),
        _ => None,
    });
    let (referral, accept) = (asked.expect("the owner is asked"), true);
    net.command(C, Command::AnswerTransfer { referral, accept, play: Play::Tone { hz: 620.0 } });
    back(&net);
    let call = net.calls(C)[0];
    assert_eq!(net.phones[C].plays.get(&call), Some(&Play::Tone { hz: 620.0 }));
    net.assert_at_rest();
}
