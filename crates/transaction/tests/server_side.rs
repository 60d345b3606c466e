//! The layer as a server sees it: matching, retransmissions, ACK, CANCEL, merged requests.

mod common;

use common::{
    Request, at, events, layer, parse, parse_bytes, request, response, sent, sent_lines, status, tcp, udp,
};
use dialtone_transaction::{Event, Gone, Received, Responded, ServerId, Transactions};
use dialtone_wire::{HeaderName, Message};

const VIA: &str = "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776";

fn begin(layer: &mut Transactions, message: &Message) -> ServerId {
    match layer.receive_request(at(0), udp(), message) {
        Received::New(id) => id,
        other => panic!("not new: {other:?}"),
    }
}

fn receive(layer: &mut Transactions, message: &Message) -> Received {
    layer.receive_request(at(10), udp(), message)
}

/// Whether `second` is taken for a retransmission of `first`.
fn is_same(first: &Request<'_>, second: &Request<'_>) -> bool {
    let mut layer = layer();
    begin(&mut layer, &first.message());
    receive(&mut layer, &second.message()) == Received::Absorbed
}

#[test]
fn a_repeated_request_is_swallowed_before_the_answer_and_answered_with_the_same_bytes_after_it() {
    let (mut layer, message) = (layer(), request("OPTIONS", VIA).message());
    let id = begin(&mut layer, &message);
    assert_eq!(receive(&mut layer, &message), Received::Absorbed);
    assert_eq!(sent_lines(&mut layer), [""; 0]);

    let answer = response(&message, 200, "b");
    assert_eq!(layer.respond(at(20), id, status(200), answer.clone()), Ok(Responded::Sent));
    assert_eq!(receive(&mut layer, &message), Received::Absorbed);
    let sent = sent(&mut layer);
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|transmit| transmit.bytes.as_ptr() == answer.as_ptr()), "the buffer is shared");
    assert!(sent.iter().all(|transmit| transmit.flow == udp()));
    assert_eq!(layer.counters().requests_absorbed, 2);
    assert_eq!(layer.counters().responses_retransmitted, 1);
}

#[test]
fn requests_match_by_branch_sent_by_and_method() {
    let one = request("OPTIONS", VIA);
    assert!(is_same(&one, &request("OPTIONS", VIA)));
    for via in [
        "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK777",
        "SIP/2.0/UDP pc34.atlanta.com;branch=z9hG4bK776",
        "SIP/2.0/UDP pc33.atlanta.com:5070;branch=z9hG4bK776",
    ] {
        assert!(!is_same(&one, &request("OPTIONS", via)), "{via}");
    }
    assert!(!is_same(&one, &request("MESSAGE", VIA)));
    // Tokens and host names have no case, and a port that is left out is the default one.
    assert!(is_same(&one, &request("OPTIONS", "SIP/2.0/UDP PC33.Atlanta.com:5060;branch=Z9HG4BK776;rport")));
    // The branch alone decides: nothing else needs to be compared.
    assert!(is_same(&one, &Request { call_id: "other", cseq: 1, ..request("OPTIONS", VIA) }));
}

#[test]
fn ipv6_sent_by_is_compared_as_an_address() {
    let one = request("OPTIONS", "SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1");
    assert!(is_same(&one, &request("OPTIONS", "SIP/2.0/UDP [2001:DB8:0::1];branch=z9hG4bK1")));
    assert!(!is_same(&one, &request("OPTIONS", "SIP/2.0/UDP [2001:db8::2];branch=z9hG4bK1")));
}

#[test]
fn the_ack_of_a_failure_is_swallowed_and_stops_the_repetition() {
    let (mut layer, invite) = (layer(), request("INVITE", VIA).message());
    let id = begin(&mut layer, &invite);
    layer.respond(at(0), id, status(486), response(&invite, 486, "b")).unwrap();
    layer.handle_timeout(at(500));
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 486 Busy Here"; 2]);
    let ack = Request { to_tag: "b", ..request("ACK", VIA) }.message();
    assert_eq!(receive(&mut layer, &ack), Received::Absorbed);
    assert_eq!(receive(&mut layer, &ack), Received::Absorbed, "a repeated ACK is swallowed too");
    assert_eq!(layer.poll_timeout(), Some((at(5_010), "timer_i")));
    layer.handle_timeout(at(5_010));
    assert_eq!(sent_lines(&mut layer), [""; 0]);
    assert_eq!(events(&mut layer), [Event::ServerTerminated(id)]);
    assert!(layer.is_at_rest());
}

#[test]
fn a_missing_ack_is_reported_after_64_t1() {
    let (mut layer, invite) = (layer(), request("INVITE", VIA).message());
    let id = begin(&mut layer, &invite);
    layer.respond(at(0), id, status(486), response(&invite, 486, "b")).unwrap();
    assert_eq!(common::let_all_timers_fire(&mut layer), at(32_000));
    assert_eq!(sent(&mut layer).len(), 11);
    assert_eq!(events(&mut layer), [Event::NoAck(id), Event::ServerTerminated(id)]);
    assert!(layer.is_at_rest());
}

#[test]
fn the_ack_of_a_2xx_goes_up_whatever_its_branch() {
    let (mut layer, invite) = (layer(), request("INVITE", VIA).message());
    let id = begin(&mut layer, &invite);
    layer.respond(at(0), id, status(200), response(&invite, 200, "b")).unwrap();
    let own = request("ACK", "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnew").message();
    assert_eq!(receive(&mut layer, &own), Received::Ack(None));
    let same = request("ACK", VIA).message();
    assert_eq!(receive(&mut layer, &same), Received::Ack(Some(id)));
    assert_eq!(layer.servers_len(), 1, "an ACK begins no transaction");
}

#[test]
fn a_repeated_invite_after_a_2xx_is_swallowed_and_further_2xx_are_sent() {
    let (mut layer, invite) = (layer(), request("INVITE", VIA).message());
    let id = begin(&mut layer, &invite);
    let answer = response(&invite, 200, "b");
    layer.respond(at(0), id, status(200), answer.clone()).unwrap();
    assert_eq!(receive(&mut layer, &invite), Received::Absorbed);
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 200 OK"]);
    assert_eq!(layer.respond(at(500), id, status(200), answer.clone()), Ok(Responded::Sent));
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 200 OK"]);
    assert_eq!(layer.respond(at(500), id, status(486), answer.clone()), Ok(Responded::Discarded));
    layer.handle_timeout(at(32_000));
    assert_eq!(layer.respond(at(32_000), id, status(200), answer), Err(Gone));
    assert_eq!(sent_lines(&mut layer), [""; 0]);
}

#[test]
fn a_cancel_finds_its_invite_and_is_a_transaction_of_its_own() {
    let mut layer = layer();
    let invite = begin(&mut layer, &request("INVITE", VIA).message());
    let cancel = request("CANCEL", VIA).message();
    assert!(matches!(receive(&mut layer, &cancel), Received::New(_)));
    assert_eq!(layer.find_cancelled(&cancel), Some(invite));
    assert!(layer.awaits_answer(invite));
    let stranger = request("CANCEL", "SIP/2.0/UDP pc34.atlanta.com;branch=z9hG4bK776").message();
    assert_eq!(layer.find_cancelled(&stranger), None);
}

#[test]
fn a_cancel_of_something_other_than_an_invite_finds_nothing() {
    let mut layer = layer();
    begin(&mut layer, &request("OPTIONS", VIA).message());
    assert_eq!(layer.find_cancelled(&request("CANCEL", VIA).message()), None);
}

const OLD: &str = "SIP/2.0/UDP old.example.com";

#[test]
fn without_the_cookie_requests_match_by_the_headers_of_rfc_2543() {
    let one = request("INVITE", OLD);
    assert!(is_same(&one, &request("INVITE", OLD)));
    assert!(!is_same(&one, &Request { uri: "sip:carol@biloxi.com", ..one.clone() }));
    assert!(!is_same(&one, &Request { to_tag: "x", ..one.clone() }));
    assert!(!is_same(&one, &Request { from_tag: "x", ..one.clone() }));
    assert!(!is_same(&one, &Request { call_id: "x", ..one.clone() }));
    assert!(!is_same(&one, &Request { cseq: 1, ..one.clone() }));
    assert!(!is_same(&one, &Request { via: "SIP/2.0/UDP old.example.com;branch=1", ..one.clone() }));
    assert!(!is_same(&request("OPTIONS", OLD), &request("MESSAGE", OLD)));
    assert!(is_same(&request("BYE", OLD), &request("BYE", OLD)));
}

#[test]
fn without_the_cookie_an_ack_matches_by_the_tag_of_our_response() {
    for to_tag in ["", "dialog"] {
        let (mut layer, invite) = (layer(), Request { to_tag, ..request("INVITE", OLD) }.message());
        let id = begin(&mut layer, &invite);
        layer.respond(at(0), id, status(486), response(&invite, 486, "ours")).unwrap();
        let tag = if to_tag.is_empty() { "ours" } else { to_tag };
        let foreign = Request { to_tag: "theirs", ..request("ACK", OLD) }.message();
        assert_eq!(receive(&mut layer, &foreign), Received::Ack(None));
        let ours = Request { to_tag: tag, ..request("ACK", OLD) }.message();
        assert_eq!(receive(&mut layer, &ours), Received::Absorbed);
        assert_eq!(receive(&mut layer, &ours), Received::Absorbed, "a repeated ACK is swallowed too");
    }
}

#[test]
fn without_the_cookie_the_ack_of_a_2xx_goes_up() {
    let (mut layer, invite) = (layer(), request("INVITE", OLD).message());
    let id = begin(&mut layer, &invite);
    layer.respond(at(0), id, status(200), response(&invite, 200, "b")).unwrap();
    let ack = Request { to_tag: "b", ..request("ACK", OLD) }.message();
    assert_eq!(receive(&mut layer, &ack), Received::Ack(Some(id)));
}

#[test]
fn without_the_cookie_a_cancel_finds_its_invite() {
    let mut layer = layer();
    let invite = begin(&mut layer, &request("INVITE", OLD).message());
    assert_eq!(layer.find_cancelled(&request("CANCEL", OLD).message()), Some(invite));
}

#[test]
fn a_request_that_came_on_two_paths_is_merged() {
    let mut layer = layer();
    let (first, second) = (request("INVITE", VIA), request("INVITE", "SIP/2.0/UDP p2;branch=z9hG4bKother"));
    let id = begin(&mut layer, &first.message());
    assert!(!layer.is_merged(&first.message()));
    let other = begin(&mut layer, &second.message());
    assert!(layer.is_merged(&second.message()));
    let in_dialog = Request { to_tag: "b", ..request("INVITE", "SIP/2.0/UDP p3;branch=z9hG4bKthird") };
    begin(&mut layer, &in_dialog.message());
    assert!(!layer.is_merged(&in_dialog.message()), "a request within a dialog is never merged");
    let next = Request { cseq: 314160, ..request("INVITE", "SIP/2.0/UDP p4;branch=z9hG4bKfourth") };
    begin(&mut layer, &next.message());
    assert!(!layer.is_merged(&next.message()), "another CSeq is another request");
    assert!(layer.abandon_server(id) && layer.abandon_server(other));
    begin(&mut layer, &second.message());
    assert!(!layer.is_merged(&second.message()), "the first transaction has gone");
}

#[test]
fn a_silent_user_makes_the_layer_send_100_trying_to_an_invite_after_200_ms() {
    let (mut layer, invite) =
        (layer(), Request { extra: "Timestamp: 54\r\n", ..request("INVITE", VIA) }.message());
    begin(&mut layer, &invite);
    assert_eq!(layer.poll_timeout(), Some((at(200), "timer_trying")));
    layer.handle_timeout(at(199));
    assert_eq!(sent_lines(&mut layer), [""; 0]);
    layer.handle_timeout(at(200));
    let sent = sent(&mut layer);
    let trying = parse_bytes(&sent[0].bytes);
    assert_eq!((trying.status(), sent[0].flow), (Some(status(100)), udp()));
    assert_eq!(trying.to().unwrap().tag(), None, "RFC 3261 §17.2.1: no tag in a 100");
    assert_eq!(trying.via().unwrap().branch(), Some("z9hG4bK776"));
    assert_eq!(trying.value(HeaderName::Timestamp), Some(&b"54"[..]));
    assert_eq!(receive(&mut layer, &invite), Received::Absorbed);
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 100 Trying"]);
    assert_eq!(layer.counters().tryings_sent, 1);
}

#[test]
fn a_user_that_answers_in_time_makes_a_100_needless() {
    let (mut layer, invite) = (layer(), request("INVITE", VIA).message());
    let id = begin(&mut layer, &invite);
    layer.respond(at(150), id, status(180), response(&invite, 180, "b")).unwrap();
    layer.handle_timeout(at(60_000));
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 180 Ringing"]);
    assert_eq!(layer.poll_timeout(), None, "it may ring as long as the user likes");
}

#[test]
fn a_silent_user_makes_the_layer_send_100_trying_to_an_options_when_timer_e_reaches_t2() {
    let (mut layer, options) = (layer(), request("OPTIONS", VIA).message());
    let id = begin(&mut layer, &options);
    assert_eq!(
        layer.respond(at(100), id, status(100), response(&options, 100, "b")),
        Ok(Responded::Discarded)
    );
    layer.handle_timeout(at(3_499));
    assert_eq!(sent_lines(&mut layer), [""; 0]);
    layer.handle_timeout(at(3_500));
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 100 Trying"]);
}

#[test]
fn responses_that_rfc_4320_forbids_are_discarded() {
    let (mut layer, options) = (layer(), request("OPTIONS", VIA).message());
    let id = begin(&mut layer, &options);
    for code in [180, 183, 408] {
        let bytes = response(&options, code, "b");
        assert_eq!(layer.respond(at(4_000), id, status(code), bytes), Ok(Responded::Discarded), "{code}");
    }
    assert_eq!(sent_lines(&mut layer), [""; 0]);
    assert_eq!(layer.counters().responses_discarded, 3);
}

#[test]
fn a_request_left_unanswered_ends_silently_when_the_client_has_given_up() {
    let (mut layer, options) = (layer(), request("OPTIONS", VIA).message());
    let id = begin(&mut layer, &options);
    assert_eq!(common::let_all_timers_fire(&mut layer), at(32_000));
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 100 Trying"]);
    assert_eq!(events(&mut layer), [Event::Unanswered(id), Event::ServerTerminated(id)]);
    assert_eq!(layer.respond(at(32_000), id, status(200), response(&options, 200, "b")), Err(Gone));
    assert!(layer.is_at_rest());
}

#[test]
fn only_the_first_final_response_is_sent() {
    let (mut layer, options) = (layer(), request("OPTIONS", VIA).message());
    let id = begin(&mut layer, &options);
    assert_eq!(layer.respond(at(0), id, status(200), response(&options, 200, "b")), Ok(Responded::Sent));
    assert_eq!(layer.respond(at(0), id, status(500), response(&options, 500, "b")), Ok(Responded::Discarded));
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 200 OK"]);
}

#[test]
fn over_tcp_a_transaction_ends_with_its_answer() {
    let (mut layer, options) = (layer(), request("OPTIONS", VIA).message());
    let Received::New(id) = layer.receive_request(at(0), tcp(), &options) else { panic!("not new") };
    layer.respond(at(7), id, status(200), response(&options, 200, "b")).unwrap();
    assert_eq!(layer.poll_timeout(), Some((at(7), "timer_j")));
    layer.handle_timeout(at(7));
    assert!(!layer.has_server(id));
    assert_eq!(sent_lines(&mut layer), ["SIP/2.0 200 OK"]);
    assert_eq!(events(&mut layer), [Event::ServerTerminated(id)]);
    assert!(layer.is_at_rest());
}

#[test]
fn a_response_that_cannot_be_sent_is_reported_and_the_invite_transaction_stays() {
    let (mut layer, invite) = (layer(), request("INVITE", VIA).message());
    let id = begin(&mut layer, &invite);
    layer.respond(at(0), id, status(200), response(&invite, 200, "b")).unwrap();
    layer.server_transport_error(at(1), id);
    assert_eq!(events(&mut layer), [Event::ResponseNotSent(id)]);
    assert_eq!(receive(&mut layer, &invite), Received::Absorbed);

    let options = request("OPTIONS", VIA).message();
    let id = begin(&mut layer, &options);
    layer.respond(at(0), id, status(200), response(&options, 200, "b")).unwrap();
    layer.server_transport_error(at(1), id);
    assert_eq!(events(&mut layer), [Event::ResponseNotSent(id), Event::ServerTerminated(id)]);
    assert!(!layer.has_server(id));
    assert_eq!(layer.counters().transport_errors, 2);
}

#[test]
fn the_request_is_kept_in_a_buffer_of_its_own_until_the_final_response() {
    let (mut layer, invite) = (layer(), request("INVITE", VIA).message());
    let id = begin(&mut layer, &invite);
    let kept = layer.server_request(id).unwrap();
    assert_eq!(kept, invite.bytes());
    assert_ne!(kept.as_ptr(), invite.bytes().as_ptr(), "it must not pin the receive buffer");
    let with_request = layer.kept_bytes();
    layer.respond(at(0), id, status(200), response(&invite, 200, "b")).unwrap();
    assert_eq!(layer.server_request(id), None);
    assert_eq!(layer.kept_bytes(), with_request - invite.bytes().len(), "a 2xx is not kept either");
}

#[test]
fn a_request_without_the_headers_that_name_it_is_malformed() {
    let mut layer = layer();
    let text = "OPTIONS sip:a@b SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
    assert!(
        matches!(receive(&mut layer, &parse(text)), Received::Malformed(error) if error.name == HeaderName::Via)
    );
    let text = "ACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCSeq: 1 ACK\r\n\r\n";
    assert!(
        matches!(receive(&mut layer, &parse(text)), Received::Malformed(error) if error.name == HeaderName::CallId)
    );
    assert_eq!((layer.servers_len(), layer.counters().requests_malformed), (0, 2));
}

#[test]
fn an_abandoned_transaction_leaves_nothing_behind() {
    let (mut layer, invite) = (layer(), request("INVITE", VIA).message());
    let id = begin(&mut layer, &invite);
    assert!(layer.abandon_server(id));
    assert!(!layer.abandon_server(id));
    assert!(layer.is_at_rest());
    assert_ne!(begin(&mut layer, &invite), id, "the handle of the old one finds nothing");
    assert!(!layer.has_server(id));
}
