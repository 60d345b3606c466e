//! The layer as a client sees it: retransmission, matching of responses, the ACK, time-outs.

mod common;

use bytes::Bytes;
use common::{Request, at, events, layer, parse, parse_bytes, request, response, sent, sent_lines, tcp, udp};
use dialtone_transaction::{ClientId, Edge, Event, InviteClientEdge, Matched, SendError, Transactions};
use dialtone_wire::net::{ConnectionId, Flow};
use dialtone_wire::{Message, Method};

const BRANCH: &str = "z9hG4bK776";
const VIA: &str = "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776";

fn send(layer: &mut Transactions, flow: Flow, text: &Request<'_>) -> ClientId {
    let method = Method::parse(text.method.as_bytes()).unwrap();
    let bytes = text.bytes();
    let branch = parse_bytes(&bytes).via().unwrap().branch().unwrap().to_owned();
    layer.send_request(at(0), flow, &method, &branch, bytes).unwrap()
}

fn answer(request: &Request<'_>, code: u16, to_tag: &str) -> Message {
    parse_bytes(&response(&request.message(), code, to_tag))
}

#[test]
fn a_request_is_sent_again_with_the_same_bytes_until_it_times_out() {
    let mut layer = layer();
    let bytes = request("INVITE", VIA).bytes();
    let id = layer.send_request(at(0), udp(), &Method::Invite, BRANCH, bytes.clone()).unwrap();
    assert_eq!(layer.poll_timeout(), Some((at(500), "timer_a")));
    assert_eq!(common::let_all_timers_fire(&mut layer), at(32_000));
    let sent = sent(&mut layer);
    assert_eq!(sent.len(), 7);
    assert!(sent.iter().all(|transmit| transmit.bytes.as_ptr() == bytes.as_ptr() && transmit.flow == udp()));
    assert_eq!(events(&mut layer), [Event::TimedOut(id), Event::ClientTerminated(id)]);
    assert_eq!((layer.counters().requests_retransmitted, layer.counters().clients_timed_out), (6, 1));
    assert_eq!(layer.edges().of(Edge::from(InviteClientEdge::CallingTimerA)), 6);
    assert!(layer.is_at_rest());
}

#[test]
fn over_tcp_a_request_is_sent_once() {
    let mut layer = layer();
    let id = send(&mut layer, tcp(), &request("OPTIONS", VIA));
    assert_eq!(common::let_all_timers_fire(&mut layer), at(32_000));
    assert_eq!(sent(&mut layer).len(), 1);
    assert_eq!(events(&mut layer), [Event::TimedOut(id), Event::ClientTerminated(id)]);
}

#[test]
fn responses_match_by_branch_and_method() {
    let mut layer = layer();
    let (invite, cancel) = (request("INVITE", VIA), request("CANCEL", VIA));
    let invite_id = send(&mut layer, udp(), &invite);
    let cancel_id = send(&mut layer, udp(), &cancel);
    let matched = |layer: &mut Transactions, message: &Message| layer.receive_response(at(10), message);
    assert_eq!(matched(&mut layer, &answer(&cancel, 200, "b")), Some(Matched::PassUp(cancel_id)));
    assert_eq!(matched(&mut layer, &answer(&cancel, 200, "b")), Some(Matched::Absorbed(cancel_id)));
    assert_eq!(matched(&mut layer, &answer(&invite, 487, "b")), Some(Matched::PassUp(invite_id)));
    let stray = request("INVITE", "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK777");
    assert_eq!(matched(&mut layer, &answer(&stray, 200, "b")), None);
    assert_eq!(matched(&mut layer, &answer(&request("BYE", VIA), 200, "b")), None);
    let lower = request("INVITE", "SIP/2.0/UDP pc33.atlanta.com;branch=Z9hg4bK776");
    assert_eq!(matched(&mut layer, &answer(&lower, 487, "b")), Some(Matched::Absorbed(invite_id)));
    assert_eq!((layer.counters().responses_stray, layer.counters().responses_absorbed), (2, 2));
}

#[test]
fn the_ack_of_a_failure_is_that_of_the_rfc() {
    let mut layer = layer();
    let invite = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff, SIP/2.0/UDP behind;branch=z9hG4bKx\r\n\
        To: Bob <sip:bob@biloxi.com>\r\n\
        From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
        Max-Forwards: 12\r\n\
        Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n\
        Route: <sip:p3.example.com;lr>\r\n\
        Proxy-Authorization: Digest username=\"alice\"\r\n\
        Contact: <sip:alice@pc33.atlanta.com>\r\n\
        Call-ID: 987asjd97y7atg\r\n\
        CSeq: 986759 INVITE\r\n\
        Content-Type: text/plain\r\n\
        Content-Length: 2\r\n\r\nhi";
    let bytes = Bytes::from(invite);
    let id = layer.send_request(at(0), udp(), &Method::Invite, "z9hG4bKkjshdyff", bytes).unwrap();
    sent(&mut layer);
    let busy = "SIP/2.0 486 Busy Here\r\n\
        Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff;received=192.0.2.1, SIP/2.0/UDP behind;branch=z9hG4bKx\r\n\
        To: Bob <sip:bob@biloxi.com>;tag=99sa0xk\r\n\
        From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
        Call-ID: 987asjd97y7atg\r\n\
        CSeq: 986759 INVITE\r\n\r\n";
    assert_eq!(layer.receive_response(at(30), &parse(busy)), Some(Matched::PassUp(id)));
    let acks = sent(&mut layer);
    assert_eq!((acks.len(), acks[0].flow), (1, udp()));
    assert_eq!(
        std::str::from_utf8(&acks[0].bytes).unwrap(),
        "ACK sip:bob@biloxi.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff\r\n\
         Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n\
         Route: <sip:p3.example.com;lr>\r\n\
         Max-Forwards: 70\r\n\
         From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
         To: Bob <sip:bob@biloxi.com>;tag=99sa0xk\r\n\
         Call-ID: 987asjd97y7atg\r\n\
         CSeq: 986759 ACK\r\n\
         Proxy-Authorization: Digest username=\"alice\"\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(layer.receive_response(at(60), &parse(busy)), Some(Matched::Absorbed(id)));
    let again = sent(&mut layer);
    assert_eq!(again[0].bytes.as_ptr(), acks[0].bytes.as_ptr(), "a repeated ACK is the same buffer");
    assert_eq!(layer.counters().acks_sent, 2);
}

#[test]
fn each_2xx_goes_up_and_none_is_acknowledged_here() {
    let mut layer = layer();
    let invite = request("INVITE", VIA);
    let id = send(&mut layer, udp(), &invite);
    sent(&mut layer);
    for tag in ["first", "first", "fork"] {
        assert_eq!(layer.receive_response(at(10), &answer(&invite, 200, tag)), Some(Matched::PassUp(id)));
    }
    assert_eq!(sent_lines(&mut layer), [""; 0]);
    assert_eq!(layer.poll_timeout(), Some((at(32_010), "timer_m")));
    layer.handle_timeout(at(32_010));
    assert_eq!(layer.receive_response(at(32_020), &answer(&invite, 200, "late")), None);
    assert_eq!(events(&mut layer), [Event::ClientTerminated(id)]);
    assert!(layer.is_at_rest());
}

#[test]
fn the_request_is_freed_at_its_final_response() {
    let mut layer = layer();
    let (invite, options) = (request("INVITE", VIA), request("OPTIONS", VIA));
    for (request, provisional) in [(&invite, 180), (&options, 100)] {
        let before = layer.kept_bytes();
        send(&mut layer, udp(), request);
        let with_request = layer.kept_bytes();
        layer.receive_response(at(5), &answer(request, provisional, "b"));
        assert_eq!(layer.kept_bytes(), with_request);
        layer.receive_response(at(10), &answer(request, 200, "b"));
        assert_eq!(layer.kept_bytes(), with_request - request.text().len());
        assert!(layer.kept_bytes() > before, "the key stays");
    }
}

#[test]
fn a_branch_in_use_is_refused_until_its_transaction_has_gone() {
    let mut layer = layer();
    let options = request("OPTIONS", VIA);
    let id = send(&mut layer, udp(), &options);
    let again = layer.send_request(at(1), udp(), &Method::Options, BRANCH, options.bytes());
    assert_eq!(again, Err(SendError::BranchInUse));
    assert!(layer.abandon_client(id));
    assert!(layer.send_request(at(1), udp(), &Method::Options, BRANCH, options.bytes()).is_ok());
    assert!(!layer.has_client(id));
}

#[test]
fn an_ack_has_no_client_transaction() {
    let mut layer = layer();
    let ack = request("ACK", VIA).bytes();
    assert_eq!(layer.send_request(at(0), udp(), &Method::Ack, BRANCH, ack), Err(SendError::Ack));
    assert!(layer.is_at_rest());
}

#[test]
fn a_request_that_cannot_be_sent_is_reported_at_once() {
    let mut layer = layer();
    let id = send(&mut layer, udp(), &request("OPTIONS", VIA));
    sent(&mut layer);
    layer.client_transport_error(at(3), id);
    layer.client_transport_error(at(3), id);
    assert_eq!(events(&mut layer), [Event::RequestNotSent(id), Event::ClientTerminated(id)]);
    assert!(layer.is_at_rest());
}

#[test]
fn a_failed_flow_concerns_exactly_the_transactions_on_it() {
    let mut layer = layer();
    let connection = |slot| Some(ConnectionId { shard: 0, slot, generation: 0 });
    let (mine, other) =
        (Flow { connection: connection(1), ..tcp() }, Flow { connection: connection(2), ..tcp() });
    let vias = ["a", "b", "c", "d"].map(|branch| format!("SIP/2.0/TCP pc33;branch=z9hG4bK{branch}"));
    let flows = [mine, other, tcp(), udp()];
    let ids: Vec<ClientId> =
        vias.iter().zip(flows).map(|(via, flow)| send(&mut layer, flow, &request("OPTIONS", via))).collect();
    layer.flow_failed(at(1), &mine);
    let failed: Vec<bool> = ids.iter().map(|id| !layer.has_client(*id)).collect();
    assert_eq!(
        failed,
        [true, false, true, false],
        "the connection itself, and what asked for any connection"
    );
}

#[test]
fn timers_due_at_the_same_time_fire_in_the_order_they_were_started() {
    let mut layer = layer();
    let vias: Vec<String> = (0..20).map(|n| format!("SIP/2.0/UDP pc33;branch=z9hG4bK{}", 1000 - n)).collect();
    for via in &vias {
        send(&mut layer, udp(), &request("OPTIONS", via));
    }
    let first: Vec<Bytes> = sent(&mut layer).into_iter().map(|transmit| transmit.bytes).collect();
    layer.handle_timeout(at(500));
    let second: Vec<Bytes> = sent(&mut layer).into_iter().map(|transmit| transmit.bytes).collect();
    assert_eq!(first, second);
}

#[test]
fn a_late_wake_up_sends_one_retransmission_and_not_all_that_were_missed() {
    let mut layer = layer();
    send(&mut layer, udp(), &request("OPTIONS", VIA));
    sent(&mut layer);
    layer.handle_timeout(at(20_000));
    assert_eq!(sent(&mut layer).len(), 1);
    assert_eq!(layer.poll_timeout(), Some((at(21_000), "timer_e")));
}

#[test]
fn the_next_deadline_is_never_a_stale_one() {
    let mut layer = layer();
    let invite = request("INVITE", VIA);
    send(&mut layer, udp(), &invite);
    assert_eq!(layer.poll_timeout(), Some((at(500), "timer_a")));
    layer.receive_response(at(100), &answer(&invite, 180, "b"));
    assert_eq!(layer.poll_timeout(), None, "Timers A and B stop when it rings");
    layer.receive_response(at(200), &answer(&invite, 486, "b"));
    assert_eq!(layer.poll_timeout(), Some((at(32_200), "timer_d")));
}
