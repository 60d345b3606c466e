//! Calls that are sent elsewhere: recursion on 3xx (RFC 3261 §8.1.3.4).

use std::time::Duration;

use dialtone_wire::{HeaderName, Message};

use super::bench::{Bench, brief, header, sdp};
use crate::io::{Command, Event, Play};
use crate::settings::Announcements;

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

const WHY: &str = "Error-Info: <http://192.0.2.9/why>, <sip:why@192.0.2.9?Subject=x>";

fn explained(bench: &Bench) -> Vec<String> {
    let told = bench.events.iter().filter_map(|event| match event {
        Event::ErrorInfo { status, uri, .. } => Some(format!("{} {uri}", status.code())),
        _ => None,
    });
    told.collect()
}

fn bench_with(announcements: Announcements) -> Bench {
    let mut settings = super::bench::settings("alice", "192.0.2.1:5060");
    settings.announcements = announcements;
    Bench::new(settings)
}

#[test]
fn where_a_refusal_is_explained_is_told_and_not_called_unasked() {
    let mut bench = Bench::phone();
    let (_, first) = bench.call_bob();
    assert!(refused(&mut bench, &first, 403, WHY).is_none());
    assert_eq!(explained(&bench), ["403 sip:why@192.0.2.9"]);
    assert_eq!(bench.ended().as_deref(), Some("Refused(403 Forbidden)"));
    // What is no refusal explains nothing, and what can't be read does no harm.
    for (code, more) in [(302, WHY), (403, "Error-Info: <sip:"), (403, "Error-Info: <tel:+1>"), (401, WHY)] {
        let mut bench = bench_with(Announcements::Any);
        let (_, first) = bench.call_bob();
        assert!(refused(&mut bench, &first, code, more).is_none(), "{code} {more}");
        assert_eq!(explained(&bench), [""; 0]);
    }
    bench.assert_at_rest();
}

#[test]
fn an_announcement_is_called_once_and_last_by_whoever_chose_so() {
    for code in [403, 603] {
        let mut bench = bench_with(Announcements::Any);
        let (_, first) = bench.call_bob();
        let second = refused(&mut bench, &first, 302, "Contact: <sip:one@192.0.2.9>").expect("an INVITE");
        let third = refused(&mut bench, &second, code, WHY).expect("the announcement");
        assert_eq!(third.uri_text(), "sip:why@192.0.2.9");
        assert_eq!(header(&third, HeaderName::CallId), header(&first, HeaderName::CallId));
        assert_eq!(third.cseq().unwrap().number, first.cseq().unwrap().number + 2);
        // It refuses too, and would have us call on and on.
        let why = "Error-Info: <sip:why2@192.0.2.9>";
        assert!(refused(&mut bench, &third, 486, why).is_none());
        assert_eq!(explained(&bench).len(), 2);
        assert_eq!(bench.ended().as_deref(), Some("Refused(486 Busy Here)"));
        bench.assert_at_rest();
    }
    // What is left after a 3xx comes first, unless it was refused for all.
    let mut bench = bench_with(Announcements::Any);
    let (_, first) = bench.call_bob();
    let contacts = "Contact: <sip:one@192.0.2.9>;q=0.9, <sip:two@192.0.2.9>;q=0";
    let second = refused(&mut bench, &first, 302, contacts).expect("an INVITE");
    let third = refused(&mut bench, &second, 403, WHY).expect("an INVITE");
    assert_eq!(third.uri_text(), "sip:two@192.0.2.9");
    let last = refused(&mut bench, &third, 404, "").expect("an INVITE");
    assert_eq!(last.uri_text(), "sip:why@192.0.2.9");
    refused(&mut bench, &last, 404, "");
    assert_eq!(bench.ended().as_deref(), Some("Refused(404 Not Found)"));
    bench.assert_at_rest();
}

#[test]
fn an_announcement_of_a_foreign_domain_is_called_only_by_who_wants_any() {
    for (announcements, uri, is_called) in [
        (Announcements::Own, "sip:why@192.0.2.9", true),
        (Announcements::Own, "sip:why@192.0.2.8", false),
        (Announcements::Any, "sip:why@192.0.2.8", true),
        // Where we have been.
        (Announcements::Any, "sip:bob@192.0.2.9", false),
    ] {
        let mut bench = bench_with(announcements);
        let (_, first) = bench.call_bob();
        let next = refused(&mut bench, &first, 480, &format!("Error-Info: <{uri}>"));
        assert_eq!(next.is_some(), is_called, "{announcements:?} {uri}");
        assert_eq!(explained(&bench), [format!("480 {uri}")]);
    }
}

#[test]
fn the_place_that_a_call_is_sent_to_gets_no_credentials_of_the_proxy_before() {
    for (code, more) in [(302, "Contact: <sip:carol@192.0.2.8>"), (403, "Error-Info: <sip:why@192.0.2.8>")] {
        let mut bench = bench_with(Announcements::Any);
        let (_, first) = bench.call_bob();
        let challenge = "Proxy-Authenticate: Digest realm=\"other.example\", nonce=\"n\", algorithm=MD5";
        let second = refused(&mut bench, &first, 407, challenge).expect("an INVITE");
        assert!(second.has(HeaderName::ProxyAuthorization));
        let third = refused(&mut bench, &second, code, more).expect("an INVITE");
        assert!(!third.has(HeaderName::ProxyAuthorization), "{code}");
    }
}
