//! Calls from phones to which only the flow leads on which their INVITE came.

use bytes::Bytes;
use dialtone_wire::net::{ConnectionId, Flow, Transport};

use super::bench::{Bench, brief, response, sdp, settings};
use super::callee::request;
use crate::io::{Command, Input, Play};
use crate::settings::{Listener, Settings};

/// What a NAT makes of 192.0.2.9:5060, which phones write into Via and Contact.
const OUTSIDE: &str = "203.0.113.5:40000";

fn flow(transport: Transport, from: &str) -> Flow {
    let stream = transport == Transport::Tcp;
    let connection = stream.then_some(ConnectionId { shard: 0, slot: 1, generation: 1 });
    let local = "192.0.2.1:5060".parse().unwrap();
    Flow { transport, local, remote: from.parse().unwrap(), connection }
}

/// A call that stands, and its tag.
fn in_call(flow: Flow, more: &str) -> (Bench, String) {
    let mut settings: Settings = settings("alice", "192.0.2.1:5060");
    settings.listeners.push(Listener { transport: Transport::Tcp, ..settings.listeners[0] });
    let mut bench = Bench::new(settings);
    give(&mut bench, flow, &request("INVITE", 1, "", more, &sdp(4000, "sendrecv")));
    let tag = bench.take().to().unwrap().tag().unwrap().to_owned();
    let call = bench.last_call();
    bench.command(Command::Answer { call, play: Play::Echo });
    assert_eq!(bench.take_all(), "200/INVITE");
    give(&mut bench, flow, &request("ACK", 1, &tag, "", ""));
    (bench, tag)
}

fn give(bench: &mut Bench, flow: Flow, text: &str) {
    let text =
        if flow.transport == Transport::Tcp { text.replace("2.0/UDP", "2.0/TCP") } else { text.into() };
    bench.input(Input::Packet { flow, bytes: Bytes::from(text) });
}

/// Puts the peer on hold and hangs up; the flows of the re-INVITE, its ACK and the BYE.
fn hold_and_hang_up(bench: &mut Bench, from: Flow) -> Vec<Flow> {
    let call = bench.last_call();
    bench.command(Command::Reoffer { call, hold: true });
    let mut flows = vec![bench.transmits[0].flow];
    let hold = bench.take();
    let contact = "Contact: <sip:bob@192.0.2.9>\r\n";
    let bytes = response(&hold, 200, "b", contact, &sdp(4000, "recvonly"));
    bench.input(Input::Packet { flow: from, bytes });
    flows.push(bench.transmits[0].flow);
    assert_eq!(brief(&bench.take()), "ACK");
    bench.command(Command::Hangup { call });
    flows.push(bench.transmits[0].flow);
    let bye = bench.take();
    assert_eq!((brief(&bye).as_str(), bye.uri_text()), ("BYE", "sip:bob@192.0.2.9"));
    bench.input(Input::Packet { flow: from, bytes: response(&bye, 200, "b", "", "") });
    flows
}

#[test]
fn requests_of_ours_go_where_the_invite_came_from_if_its_contact_leads_nowhere() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let outside = flow(transport, OUTSIDE);
        let (mut bench, _) = in_call(outside, "");
        assert_eq!(hold_and_hang_up(&mut bench, outside), [outside; 3]);
        bench.assert_at_rest();
    }
}

#[test]
fn they_follow_the_contact_and_the_route_of_who_is_not_behind_a_nat() {
    // The same address, another port: a phone that sends from one and listens at another.
    let elsewhere = flow(Transport::Udp, "192.0.2.9:40000");
    let (mut bench, _) = in_call(elsewhere, "");
    assert_eq!(hold_and_hang_up(&mut bench, elsewhere), [flow(Transport::Udp, "192.0.2.9:5060"); 3]);
    // A proxy stays in the path, or has passed the INVITE on.
    let second_via = "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKfirst\r\n";
    for (more, to) in
        [("Record-Route: <sip:192.0.2.8;lr>\r\n", "192.0.2.8:5060"), (second_via, "192.0.2.9:5060")]
    {
        let proxy = flow(Transport::Udp, OUTSIDE);
        let (mut bench, _) = in_call(proxy, more);
        assert_eq!(hold_and_hang_up(&mut bench, proxy), [flow(Transport::Udp, to); 3], "{more}");
    }
}

#[test]
fn a_phone_that_has_closed_its_connection_is_sought_at_its_contact() {
    let outside = flow(Transport::Tcp, OUTSIDE);
    let (mut bench, _) = in_call(outside, "");
    let call = bench.last_call();
    bench.command(Command::Hangup { call });
    assert_eq!(bench.transmits[0].flow, outside);
    assert_eq!(bench.take_all(), "BYE");
    bench.input(Input::TransmitFailed(outside));
    assert_eq!(bench.transmits[0].flow, flow(Transport::Udp, "192.0.2.9:5060"));
    let bye = bench.take();
    bench.respond(&bye, 200, "b", "", "");
    assert_eq!(bench.ended().as_deref(), Some("LocalHangup"));
    bench.assert_at_rest();
}

#[test]
fn a_phone_that_moves_is_followed() {
    let before = flow(Transport::Udp, OUTSIDE);
    let (mut bench, tag) = in_call(before, "");
    let after = flow(Transport::Udp, "203.0.113.5:40001");
    give(&mut bench, after, &request("INVITE", 2, &tag, "", &sdp(4000, "sendrecv")));
    assert_eq!(bench.take_all(), "200/INVITE");
    give(&mut bench, after, &request("ACK", 2, &tag, "", ""));
    assert_eq!(hold_and_hang_up(&mut bench, after), [after; 3]);
    bench.assert_at_rest();
}
