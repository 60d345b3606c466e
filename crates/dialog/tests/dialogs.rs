//! How dialogs begin, what they send and what they take: tags, CSeq numbers and targets.

mod common;

use common::*;
use dialtone_dialog::{Dialog, DialogError, DialogId, Draft, OutOfOrder, State};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Fault, HeaderError, HeaderName, Method, Status};

const VIA: &str = "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx";

fn id(call_id: &str, local_tag: &str, remote_tag: &str) -> DialogId {
    DialogId { call_id: call_id.into(), local_tag: local_tag.into(), remote_tag: remote_tag.into() }
}

#[test]
fn the_call_of_section_24_2_has_its_ack_and_its_bye() {
    let (invite, answer) = (printed("24.2-F1-INVITE.sip"), printed("24.2-F11-200.sip"));
    let alice = Dialog::uac(&invite, &answer).unwrap();
    let via = "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds9";
    let ack = read(alice.ack(314_159).write(via, None));
    let expected = printed("24.2-F12-ACK.sip");
    assert_eq!(ack.uri_text(), expected.uri_text());
    for name in [
        HeaderName::Via,
        HeaderName::MaxForwards,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
        HeaderName::ContentLength,
    ] {
        assert_eq!(ack.value(name), expected.value(name), "{name}");
    }

    let mut bob = Dialog::uas(&printed("24.2-F5-INVITE.sip"), "a6c85cf", State::Confirmed).unwrap();
    let bye = read(bob.request(Method::Bye).write(VIA, None));
    let expected = printed("24.2-F13-BYE.sip");
    assert_eq!(bye.uri_text(), expected.uri_text());
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId] {
        assert_eq!(bye.value(name), expected.value(name), "{name}");
    }
}

#[test]
fn both_ends_know_the_dialog_by_mirrored_ids() {
    let (alice, bob) = (alice(), bob());
    assert_eq!(*alice.id(), id("c", "a", "b"));
    assert_eq!(*bob.id(), id("c", "b", "a"));
    assert_eq!(DialogId::of_response(&response(200, "b", BOB)), Ok(id("c", "a", "b")));
    assert_eq!(DialogId::of_request(&from_bob("BYE", 1, "")), Ok(id("c", "a", "b")));
    assert_eq!(DialogId::of_request(&invite("")), Ok(id("c", "", "a")));
}

#[test]
fn a_uac_begins_with_the_state_of_section_12_1_2() {
    let dialog = alice();
    assert_eq!(dialog.state(), State::Confirmed);
    assert_eq!((dialog.local_seq(), dialog.remote_seq()), (Some(7), None));
    assert_eq!(dialog.local(), "Alice <sip:alice@atlanta.com>;tag=a");
    assert_eq!(dialog.remote(), "Bob <sip:bob@biloxi.com>;tag=b");
    assert_eq!(dialog.remote_target().as_str(), "sip:bob@192.0.2.4");
    assert!(dialog.route_set().is_empty() && !dialog.is_secure());
}

#[test]
fn a_uas_begins_with_the_state_of_section_12_1_1() {
    let dialog = bob();
    assert_eq!((dialog.local_seq(), dialog.remote_seq()), (None, Some(7)));
    assert_eq!(dialog.local(), "Bob <sip:bob@biloxi.com>;tag=b");
    assert_eq!(dialog.remote(), "Alice <sip:alice@atlanta.com>;tag=a");
    assert_eq!(dialog.remote_target().as_str(), "sip:alice@pc33.atlanta.com");
}

#[test]
fn only_2xx_and_tagged_provisional_responses_make_a_dialog_of_the_uac() {
    for (code, tag, expected) in [
        (100, "b", Err(DialogError::Status(Status::of(100)))),
        (101, "b", Ok(State::Early)),
        (180, "", Err(DialogError::Status(Status::of(180)))),
        (180, "b", Ok(State::Early)),
        (199, "b", Ok(State::Early)),
        (200, "b", Ok(State::Confirmed)),
        (200, "", Ok(State::Confirmed)),
        (299, "b", Ok(State::Confirmed)),
        (302, "b", Err(DialogError::Status(Status::of(302)))),
        (487, "b", Err(DialogError::Status(Status::of(487)))),
        (603, "b", Err(DialogError::Status(Status::of(603)))),
    ] {
        let dialog = Dialog::uac(&invite(ALICE), &response(code, tag, BOB));
        assert_eq!(dialog.map(|dialog| dialog.state()), expected, "{code} with tag {tag:?}");
    }
    let swapped = Dialog::uac(&response(200, "b", BOB), &invite(ALICE));
    assert_eq!(swapped.map(|_| ()), Err(DialogError::Kind));
    let swapped = Dialog::uas(&response(200, "b", BOB), "b", State::Early);
    assert_eq!(swapped.map(|_| ()), Err(DialogError::Kind));
}

#[test]
fn a_peer_without_tags_is_taken_and_gets_none() {
    let mut uac = Dialog::uac(&invite(ALICE), &response(200, "", BOB)).unwrap();
    assert_eq!(*uac.id(), id("c", "a", ""));
    let bye = read(uac.request(Method::Bye).write(VIA, None));
    assert_eq!(bye.value(HeaderName::To), Some(&b"Bob <sip:bob@biloxi.com>"[..]));

    let old = message(&format!(
        "INVITE sip:bob@biloxi.com SIP/2.0\nVia: SIP/2.0/UDP old;branch=1\nFrom: sip:alice@atlanta.com\n\
         To: sip:bob@biloxi.com\nCall-ID: c\nCSeq: 1 INVITE\n{ALICE}"
    ));
    let mut uas = Dialog::uas(&old, "b", State::Confirmed).unwrap();
    assert_eq!(*uas.id(), id("c", "b", ""));
    let bye = read(uas.request(Method::Bye).write(VIA, None));
    assert_eq!(bye.value(HeaderName::From), Some(&b"sip:bob@biloxi.com;tag=b"[..]));
    assert_eq!(bye.value(HeaderName::To), Some(&b"sip:alice@atlanta.com"[..]));
    assert_eq!(bye.from().unwrap().tag(), Some("b"));
}

#[test]
fn a_to_tag_that_a_request_brings_outlives_our_restart() {
    let request = from_bob("INVITE", 3, BOB);
    let dialog = Dialog::uas(&request, "new", State::Confirmed).unwrap();
    assert_eq!(*dialog.id(), id("c", "a", "b"));
    assert_eq!(dialog.local(), "Alice <sip:alice@atlanta.com>;tag=a");
}

#[test]
fn folded_addresses_are_written_on_one_line() {
    let request = message(&format!(
        "INVITE sip:bob@biloxi.com SIP/2.0\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\n\
         From: \"Alice\n  A.\"\n <sip:alice@atlanta.com>\n ;tag=a\nTo: <sip:bob@biloxi.com>\nCall-ID: c\n\
         CSeq: 1 INVITE\n{ALICE}"
    ));
    let dialog = Dialog::uas(&request, "b", State::Early).unwrap();
    assert_eq!(dialog.remote(), "\"Alice A.\" <sip:alice@atlanta.com> ;tag=a");
}

#[test]
fn a_2xx_without_contact_is_an_error_and_a_180_without_it_is_not() {
    let missing = HeaderError { name: HeaderName::Contact, fault: Fault::Missing };
    let dialog = Dialog::uac(&invite(ALICE), &response(200, "b", ""));
    assert_eq!(dialog.map(|_| ()), Err(DialogError::Header(missing)));
    let dialog = Dialog::uas(&invite(""), "b", State::Early);
    assert_eq!(dialog.map(|_| ()), Err(DialogError::Header(missing)));
    let early = Dialog::uac(&invite(ALICE), &response(180, "b", "")).unwrap();
    assert_eq!(early.remote_target().as_str(), "sip:bob@biloxi.com");
}

#[test]
fn contacts_that_no_request_can_go_to_are_refused() {
    for contact in ["*", "<tel:+123>", "<mailto:bob@biloxi.com>", "<sip:bob@>", "<sip:bob@biloxi.com"] {
        let answer = response(200, "b", &format!("Contact: {contact}"));
        assert!(Dialog::uac(&invite(ALICE), &answer).is_err(), "{contact}");
        let mut early = Dialog::uac(&invite(ALICE), &response(180, "b", BOB)).unwrap();
        assert!(early.confirm(&answer).is_err(), "{contact}");
        assert_eq!(early.state(), State::Early);
        assert_eq!(early.remote_target().as_str(), "sip:bob@192.0.2.4");
        let mut dialog = alice();
        assert!(dialog.refresh_target(&from_bob("INVITE", 1, &format!("Contact: {contact}"))).is_err());
        assert_eq!(dialog.remote_target().as_str(), "sip:bob@192.0.2.4");
    }
}

#[test]
fn tags_that_would_not_come_back_the_same_are_refused() {
    for tag in ["\"x;y\"", "\"a b\"", "\"\"", ""] {
        let answer = response(200, "", BOB);
        let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
        let text = text.replace("To: Bob <sip:bob@biloxi.com>", &format!("To: <sip:b@b>;tag={tag}"));
        let dialog = Dialog::uac(&invite(ALICE), &read(text.into()));
        let error = HeaderError { name: HeaderName::To, fault: Fault::Expected("a token as tag") };
        assert_eq!(dialog.map(|_| ()), Err(DialogError::Header(error)), "{tag}");
    }
}

#[test]
fn the_responses_of_a_fork_make_dialogs_of_their_own() {
    let request = invite(ALICE);
    let contact = |host: &str| format!("Contact: <sip:bob@{host}>\nRecord-Route: <sip:{host};lr>");
    let mut first = Dialog::uac(&request, &response(180, "b1", &contact("one"))).unwrap();
    let mut second = Dialog::uac(&request, &response(183, "b2", &contact("two"))).unwrap();
    let mut third = Dialog::uac(&request, &response(200, "b3", &contact("three"))).unwrap();
    assert_eq!(
        (first.state(), second.state(), third.state()),
        (State::Early, State::Early, State::Confirmed)
    );
    // Each has its own numbers.
    assert_eq!(first.request(Method::Update).cseq(), 8);
    assert_eq!(first.request(Method::Update).cseq(), 9);
    assert_eq!(second.request(Method::Update).cseq(), 8);
    first.confirm(&response(200, "b1", &contact("one"))).unwrap();
    // The ACK of each 2xx has the number of the INVITE, whatever was sent since.
    for (dialog, host) in [(&first, "one"), (&third, "three")] {
        let ack = dialog.ack(7);
        assert_eq!((ack.cseq(), ack.uri()), (7, format!("sip:bob@{host}").as_str()));
        assert_eq!(ack.to(), format!("Bob <sip:bob@biloxi.com>;tag={}", dialog.id().remote_tag));
    }
    assert_eq!(third.request(Method::Bye).routes(), ["<sip:three;lr>"]);
    assert_eq!(second.state(), State::Early);
}

#[test]
fn a_2xx_recomputes_the_route_set_of_an_early_dialog_and_nothing_else_twice() {
    let mut dialog = Dialog::uac(&invite(ALICE), &response(180, "b", BOB)).unwrap();
    assert_eq!(dialog.request(Method::Prack).cseq(), 8);
    dialog.check_request(&from_bob("UPDATE", 40, "")).unwrap();
    let routes = record_route(&["sip:p2;lr", "sip:p1;lr"]);
    dialog.confirm(&response(200, "b", &format!("Contact: <sip:bob@new>\n{routes}"))).unwrap();
    assert_eq!(dialog.state(), State::Confirmed);
    assert_eq!(dialog.route_set().values(), ["<sip:p1;lr>", "<sip:p2;lr>"]);
    assert_eq!(dialog.remote_target().as_str(), "sip:bob@new");
    assert_eq!((dialog.local_seq(), dialog.remote_seq()), (Some(8), Some(40)));
    dialog.confirm(&response(200, "b", "Contact: <sip:bob@other>")).unwrap();
    assert_eq!(dialog.route_set().values().len(), 2);
    assert_eq!(dialog.remote_target().as_str(), "sip:bob@new");
}

#[test]
fn only_a_2xx_confirms() {
    let mut dialog = Dialog::uac(&invite(ALICE), &response(180, "b", BOB)).unwrap();
    assert_eq!(dialog.confirm(&response(183, "b", BOB)), Err(DialogError::Status(Status::of(183))));
    assert_eq!(dialog.confirm(&response(486, "b", BOB)), Err(DialogError::Status(Status::of(486))));
    assert_eq!(dialog.confirm(&invite(ALICE)), Err(DialogError::Kind));
    assert_eq!(dialog.state(), State::Early);
    let mut uas = Dialog::uas(&invite(ALICE), "b", State::Early).unwrap();
    uas.accept();
    assert_eq!(uas.state(), State::Confirmed);
}

#[test]
fn requests_within_a_dialog_change_no_route_set() {
    let routes = record_route(&["sip:p1;lr"]);
    let mut dialog = Dialog::uac(&invite(ALICE), &response(200, "b", &format!("{BOB}\n{routes}"))).unwrap();
    let again = from_bob("INVITE", 1, &format!("{BOB}\n{}", record_route(&["sip:p9;lr"])));
    dialog.check_request(&again).unwrap();
    dialog.refresh_target(&again).unwrap();
    assert_eq!(dialog.route_set().values(), ["<sip:p1;lr>"]);
}

#[test]
fn sequence_numbers_follow_section_12_2_2() {
    let lower = |came, last| Err(OutOfOrder::Lower { came, last });
    for (last, method, came, expected, after) in [
        (None, "OPTIONS", 0, Ok(()), Some(0)),
        (None, "BYE", 2_147_483_647, Ok(()), Some(2_147_483_647)),
        (Some(5), "BYE", 6, Ok(()), Some(6)),
        (Some(5), "BYE", 60, Ok(()), Some(60)),
        (Some(5), "BYE", 5, Err(OutOfOrder::Repeated { came: 5 }), Some(5)),
        (Some(5), "BYE", 4, lower(4, 5), Some(5)),
        (Some(5), "INVITE", 0, lower(0, 5), Some(5)),
        (Some(5), "ACK", 5, Ok(()), Some(5)),
        (Some(5), "ACK", 3, Ok(()), Some(5)),
        (Some(5), "CANCEL", 5, Ok(()), Some(5)),
        (None, "ACK", 3, Ok(()), None),
    ] {
        let mut dialog = alice();
        if let Some(last) = last {
            dialog.check_request(&from_bob("OPTIONS", last, "")).unwrap();
        }
        let checked = dialog.check_request(&from_bob(method, came, ""));
        assert_eq!((checked, dialog.remote_seq()), (expected, after), "{method} {came} after {last:?}");
    }
    assert_eq!(OutOfOrder::Repeated { came: 1 }.status(), Status::of(500));
    assert_eq!(OutOfOrder::Lower { came: 1, last: 2 }.status(), Status::of(500));
    let broken = message("BYE sip:a@b SIP/2.0\nCSeq: x BYE");
    assert_eq!(alice().check_request(&broken).unwrap_err().status(), Status::of(400));
}

#[test]
fn our_numbers_go_up_by_one_and_end_below_two_to_the_31() {
    let mut uas = bob();
    assert_eq!(uas.request(Method::Options).cseq(), 1);
    assert_eq!(uas.request(Method::Invite).cseq(), 2);
    assert_eq!(uas.request(Method::Cancel).cseq(), 2);
    assert_eq!(uas.ack(2).cseq(), 2);
    assert_eq!(uas.next_cseq(), 3);
    assert_eq!(uas.request(Method::Bye).cseq(), 4);

    let text = String::from_utf8(invite(ALICE).bytes().to_vec()).unwrap();
    let high = read(text.replace("CSeq: 7", "CSeq: 2147483646").into());
    let mut uac = Dialog::uac(&high, &response(200, "b", BOB)).unwrap();
    assert_eq!(uac.request(Method::Options).cseq(), 2_147_483_647);
    let last = uac.request(Method::Bye);
    assert_eq!(last.cseq(), 2_147_483_647);
    assert!(read(last.write(VIA, None)).check().is_ok());
}

#[test]
fn target_refreshes_move_the_target_and_nothing_else_does() {
    let moved = "Contact: <sip:bob@192.0.2.77>";
    for (method, refreshes) in [
        ("INVITE", true),
        ("UPDATE", true),
        ("SUBSCRIBE", true),
        ("NOTIFY", true),
        ("ACK", false),
        ("BYE", false),
        ("INFO", false),
        ("OPTIONS", false),
        ("MESSAGE", false),
        ("REFER", false),
        ("PRACK", false),
    ] {
        let mut dialog = alice();
        assert_eq!(dialog.refresh_target(&from_bob(method, 1, moved)), Ok(refreshes), "{method}");
        let target = if refreshes { "sip:bob@192.0.2.77" } else { "sip:bob@192.0.2.4" };
        assert_eq!(dialog.request(Method::Bye).uri(), target, "{method}");
        assert_eq!(dialog.refresh_target(&from_bob(method, 2, "")), Ok(false), "{method} without Contact");
    }
}

#[test]
fn a_2xx_or_a_reliable_provisional_response_moves_the_target_of_the_uac() {
    let moved = "Contact: <sip:bob@192.0.2.77>";
    for (code, more, refreshes) in
        [(200, "", true), (183, "\nRSeq: 1", true), (183, "", false), (302, "", false), (500, "", false)]
    {
        let mut dialog = alice();
        let answer = response(code, "b", &format!("{moved}{more}"));
        assert_eq!(dialog.refresh_target(&answer), Ok(refreshes), "{code}{more}");
    }
    let mut dialog = alice();
    assert_eq!(dialog.refresh_target(&response(200, "b", BOB)), Ok(false), "the same Contact is no change");
}

#[test]
fn the_secure_flag_needs_tls_and_a_sips_request_uri() {
    for (uri, transport, secure) in [
        ("sips:bob@biloxi.com", "TLS", true),
        ("sips:bob@biloxi.com", "WSS", true),
        ("sips:bob@biloxi.com", "UDP", false),
        ("sip:bob@biloxi.com", "TLS", false),
    ] {
        let request = message(&format!(
            "INVITE {uri} SIP/2.0\nVia: SIP/2.0/{transport} x;branch=z9hG4bK1\n\
             From: <sip:alice@atlanta.com>;tag=a\nTo: <{uri}>\nCall-ID: c\nCSeq: 7 INVITE\n{ALICE}"
        ));
        let uas = Dialog::uas(&request, "b", State::Early).unwrap();
        let uac = Dialog::uac(&request, &response(180, "b", BOB)).unwrap();
        assert_eq!((uas.is_secure(), uac.is_secure()), (secure, secure), "{uri} over {transport}");
    }
}

#[test]
fn a_draft_is_written_in_its_order_once_the_flow_is_known() {
    let target = UriBuf::parse("sip:bob@biloxi.com").unwrap();
    let draft = Draft::new(Method::Message, target, "<sip:a@b>;tag=1", "<sip:bob@biloxi.com>", "c", 3)
        .header(HeaderName::UserAgent, "Dialtone")
        .line("X-Thing", "one\r\nEvil: yes")
        .body("text/plain", "hi");
    let written = draft.write(VIA, Some("<sip:a@192.0.2.9>"));
    assert_eq!(
        std::str::from_utf8(&written).unwrap(),
        "MESSAGE sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:bob@biloxi.com>\r\nCall-ID: c\r\n\
         CSeq: 3 MESSAGE\r\nContact: <sip:a@192.0.2.9>\r\nUser-Agent: Dialtone\r\n\
         X-Thing: one Evil: yes\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
    );
}

#[test]
fn a_challenged_draft_is_written_again_with_credentials() {
    let target = UriBuf::parse("sip:biloxi.com").unwrap();
    let mut draft = Draft::new(Method::Register, target, "<sip:b@b>;tag=1", "<sip:b@b>", "c", 1)
        .header(HeaderName::Expires, "3600");
    for (cseq, credentials) in [(2, "Digest nonce=\"1\""), (3, "Digest nonce=\"2\"")] {
        draft.set_cseq(cseq);
        draft.set_header(HeaderName::Authorization, credentials);
        let again = read(draft.write(VIA, None));
        assert_eq!(again.cseq().unwrap().number, cseq);
        let values: Vec<&[u8]> = again.values(HeaderName::Authorization).collect();
        assert_eq!(values, [credentials.as_bytes()]);
        assert_eq!(again.value(HeaderName::Expires), Some(&b"3600"[..]));
    }
    assert_eq!(draft.value(HeaderName::Expires), Some("3600"));
}

#[test]
fn a_cancel_repeats_what_the_server_matches_and_no_more() {
    let mut dialog =
        Dialog::uac(&invite(ALICE), &response(200, "b", &format!("{BOB}\n{}", record_route(&["sip:p1;lr"]))))
            .unwrap();
    let request = dialog
        .request(Method::Invite)
        .header(HeaderName::Require, "timer")
        .max_forwards(10)
        .body("application/sdp", "v=0\r\n");
    let cancel = request.cancel();
    assert_eq!(cancel.method(), &Method::Cancel);
    assert_eq!(
        (cancel.uri(), cancel.routes(), cancel.cseq()),
        (request.uri(), request.routes(), request.cseq())
    );
    assert_eq!(
        (cancel.from(), cancel.to(), cancel.call_id()),
        (request.from(), request.to(), request.call_id())
    );
    assert_eq!((cancel.value(HeaderName::Require), cancel.body_bytes()), (None, None));
    assert_eq!(read(cancel.write(VIA, None)).max_forwards(), Ok(Some(70)));
    assert_eq!(read(request.write(VIA, None)).max_forwards(), Ok(Some(10)));
}
