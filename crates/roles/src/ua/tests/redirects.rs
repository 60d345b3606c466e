//! Calls that are sent elsewhere: recursion on 3xx (RFC 3261 §8.1.3.4).

use std::time::Duration;

use dialtone_wire::{HeaderName, Message};

use super::bench::{Bench, brief, header, sdp};
use crate::io::{Command, Event, Play};

const CONTACT: &str = "Contact: <sip:bob@192.0.2.9>";

/// Answers an INVITE and takes the ACK for it; gives back the next INVITE.
#[track_caller]
fn refused(bench: &mut Bench, invite: &Message, code: u16, more: &str) -> Option<Message> {
    bench.respond(invite, code, "r", more, "");
    assert_eq!(brief(&bench.take()), "ACK");
    (!bench.transmits.is_empty()).then(|| bench.take())
}

fn redirected_to(bench: &Bench) -> Vec<String> {
    let to = bench.events.iter().filter_map(|event| match event {
        Event::Redirected { to, .. } => Some(to.to_string()),
        _ => None,
    });
    to.collect()
}

#[test]
fn the_contacts_of_a_302_are_tried_by_their_q_and_the_call_goes_on_where_one_answers() {
    let mut bench = Bench::phone();
    let (call, first) = bench.call_bob();
    let contacts = "Contact: <sip:low@192.0.2.9>;q=0.1;expires=60, <sip:high@192.0.2.9?Subject=x>;q=0.9";
    let second = refused(&mut bench, &first, 302, contacts).expect("another INVITE");
    assert_eq!(second.uri_text(), "sip:high@192.0.2.9", "headers of a URI are no part of a Request-URI");
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId] {
        assert_eq!(header(&second, name), header(&first, name));
    }
    assert_eq!(second.cseq().unwrap().number, first.cseq().unwrap().number + 1);
    assert!(second.to_tag().unwrap().is_none() && !second.body().is_empty());
    let third = refused(&mut bench, &second, 486, "").expect("another INVITE");
    assert_eq!(third.uri_text(), "sip:low@192.0.2.9");
    assert_eq!(third.cseq().unwrap().number, second.cseq().unwrap().number + 1);
    bench.respond(&third, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    assert_eq!(redirected_to(&bench), ["sip:high@192.0.2.9", "sip:low@192.0.2.9"]);
    bench.command(Command::Hangup { call });
    let bye = bench.take();
    bench.respond(&bye, 200, "b", "", "");
    assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
    bench.assert_at_rest();
}

#[test]
fn a_place_is_tried_once_and_the_call_ends_with_what_the_last_one_said() {
    let mut bench = Bench::phone();
    let (_, first) = bench.call_bob();
    // Back to where we were, in other words for the same URI.
    assert!(refused(&mut bench, &first, 301, "Contact: <SIP:bob@192.0.2.9>").is_none());
    assert_eq!(bench.ended().as_deref(), Some("Refused(301 Moved Permanently)"));
    let (_, first) = bench.call_bob();
    let second = refused(&mut bench, &first, 300, "Contact: <sip:carol@192.0.2.9>").expect("an INVITE");
    assert!(
        refused(&mut bench, &second, 302, "Contact: <sip:bob@192.0.2.9>, <sip:carol@192.0.2.9>").is_none()
    );
    assert_eq!(bench.ended().as_deref(), Some("Refused(302 Moved Temporarily)"));
    bench.assert_at_rest();
}

#[test]
fn an_endless_chain_of_redirections_ends() {
    let mut bench = Bench::phone();
    let (_, mut invite) = bench.call_bob();
    let mut tries = 1;
    while let Some(next) = refused(&mut bench, &invite, 302, &format!("Contact: <sip:bob{tries}@192.0.2.9>"))
    {
        tries += 1;
        invite = next;
    }
    assert_eq!(tries, crate::settings::Limits::default().branches);
    assert_eq!(bench.ended().as_deref(), Some("Refused(302 Moved Temporarily)"));
    bench.assert_at_rest();
}

#[test]
fn who_declines_for_all_ends_the_search_and_who_is_silent_does_not() {
    let contacts = "Contact: <sip:one@192.0.2.9>;q=0.9, <sip:two@192.0.2.9>";
    let mut bench = Bench::phone();
    let (_, first) = bench.call_bob();
    let second = refused(&mut bench, &first, 302, contacts).expect("an INVITE");
    assert!(refused(&mut bench, &second, 603, "").is_none());
    assert_eq!(bench.ended().as_deref(), Some("Refused(603 Decline)"));
    let (_, first) = bench.call_bob();
    let second = refused(&mut bench, &first, 302, contacts).expect("an INVITE");
    assert_eq!(second.uri_text(), "sip:two@192.0.2.9", "without q it is 1");
    bench.wait(Duration::from_secs(33));
    let third = bench.transmits.pop_back().expect("an INVITE");
    let third = Message::parse(third.bytes, &dialtone_wire::Limits::default()).unwrap();
    assert_eq!(third.uri_text(), "sip:one@192.0.2.9");
    bench.transmits.clear();
    refused(&mut bench, &third, 404, "");
    assert_eq!(bench.ended().as_deref(), Some("Refused(404 Not Found)"));
    bench.assert_at_rest();
}

#[test]
fn a_305_repeats_the_request_by_way_of_the_proxy_and_a_380_is_not_followed() {
    let mut bench = Bench::phone();
    let (_, first) = bench.call_bob();
    let second = refused(&mut bench, &first, 305, "Contact: <sip:192.0.2.9:5070>").expect("an INVITE");
    assert_eq!(second.uri_text(), "sip:bob@192.0.2.9");
    assert_eq!(header(&second, HeaderName::Route), "<sip:192.0.2.9:5070;lr>");
    assert!(refused(&mut bench, &second, 305, "Contact: <sip:192.0.2.9:5070>").is_none(), "no second time");
    bench.ended();
    let (_, first) = bench.call_bob();
    assert!(refused(&mut bench, &first, 380, "Contact: <sip:carol@192.0.2.9>").is_none());
    assert_eq!(bench.ended().as_deref(), Some("Refused(380 Alternative Service)"));
    bench.assert_at_rest();
}

#[test]
fn contacts_that_can_not_be_called_are_passed_over() {
    let mut bench = Bench::phone();
    let (_, first) = bench.call_bob();
    let contacts = "Contact: <mailto:bob@192.0.2.9>;q=1, <sip:bob@[2001:db8::9]>;q=0.9, \
                    <sip:bob@192.0.2.9;transport=tcp>;q=0.8, <sip:carol@192.0.2.9>;q=0.1";
    let second = refused(&mut bench, &first, 302, contacts).expect("an INVITE");
    assert_eq!(second.uri_text(), "sip:carol@192.0.2.9", "we have no IPv6 and no TCP");
    assert!(refused(&mut bench, &second, 302, "Contact: <mailto:x@y>").is_none());
    assert_eq!(bench.ended().as_deref(), Some("Refused(302 Moved Temporarily)"));
    bench.assert_at_rest();
}

#[test]
fn giving_up_a_redirected_call_cancels_the_invite_that_waits() {
    let mut bench = Bench::phone();
    let (call, first) = bench.call_bob();
    let second = refused(&mut bench, &first, 302, "Contact: <sip:carol@192.0.2.9>").expect("an INVITE");
    bench.respond(&second, 180, "c", "", "");
    bench.command(Command::Hangup { call });
    let cancel = bench.take();
    assert_eq!((brief(&cancel).as_str(), cancel.uri_text()), ("CANCEL", "sip:carol@192.0.2.9"));
    bench.respond(&cancel, 200, "c", "", "");
    bench.respond(&second, 487, "c", "", "");
    bench.ended();
    bench.assert_at_rest();
}

#[test]
fn the_proxy_of_the_account_is_for_its_own_domain() {
    let mut settings = super::bench::settings("alice", "192.0.2.1:5060");
    if let Some(account) = &mut settings.account {
        account.proxy = Some(super::bench::uri("sip:192.0.2.9:5070"));
    }
    let mut bench = Bench::new(settings);
    let to = super::bench::uri("sip:bob@192.0.2.9");
    bench.command(Command::Call { token: 1, to, play: Play::Silence });
    let first = bench.take();
    assert_eq!(header(&first, HeaderName::Route), "<sip:192.0.2.9:5070;lr>");
    let second = refused(&mut bench, &first, 302, "Contact: <sip:carol@192.0.2.9>").expect("an INVITE");
    assert_eq!(header(&second, HeaderName::Route), "<sip:192.0.2.9:5070;lr>");
    let third = refused(&mut bench, &second, 302, "Contact: <sip:dave@192.0.2.8>").expect("an INVITE");
    assert!(!third.has(HeaderName::Route));
}

#[test]
fn the_place_that_a_call_is_sent_to_gets_no_credentials_of_the_proxy_before() {
    let mut bench = Bench::phone();
    let (_, first) = bench.call_bob();
    let challenge = "Proxy-Authenticate: Digest realm=\"other.example\", nonce=\"n\", algorithm=MD5";
    let second = refused(&mut bench, &first, 407, challenge).expect("an INVITE");
    assert!(second.has(HeaderName::ProxyAuthorization));
    let third = refused(&mut bench, &second, 302, "Contact: <sip:carol@192.0.2.8>").expect("an INVITE");
    assert!(!third.has(HeaderName::ProxyAuthorization));
}
