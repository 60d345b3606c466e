//! A baresip as a further end of calls with pjsua2 phones: it holds, resumes, transfers and is transferred, through our
//! proxy and through our B2BUA.

use crate::lab::{Lab, Network, lab};
use crate::phone::{Phone, Setup};
use crate::pjsua2::Foreign;
use crate::serve::{DOMAIN, Server, User};
use crate::services::{B2BUA, CALL, bob_and_carol, serve, switch_off};

#[test]
fn a_baresip_holds_resumes_and_transfers_through_the_proxy() {
    lab(|lab| holds_and_transfers(lab, CALL));
}

#[test]
fn a_baresip_holds_resumes_and_transfers_in_a_bridged_call() {
    lab(|lab| holds_and_transfers(lab, B2BUA));
}

fn holds_and_transfers(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let (mut alice, mut bob, mut carol) = three(lab, &server);
    talk(&mut alice, &mut bob);
    alice.act("hold", "");
    bob.wait_for_media(0, "remote-hold");
    bob.wait_for_request("ACK");
    alice.act("resume", "");
    bob.wait_for_media(0, "active");
    bob.wait_for_request("ACK");
    alice.act("transfer", &format!("sip:carol@{DOMAIN}"));
    carol.wait_for_call(0, "INCOMING");
    let invite = carol.wait_for_request("INVITE");
    assert!(invite.header("From").contains("sip:bob@"), "{}", invite.text());
    carol.act("answer 0 200");
    // It hangs up by itself when the NOTIFY says 200.
    alice.wait_for_the_end();
    carol.wait_for_call(0, "CONFIRMED");
    if mode == B2BUA {
        // The server has asked her for an offer, so that bob's audio comes with the ACK.
        carol.wait_for_audio_of(2);
    }
    let referred = bob.wire("received").iter().any(|one| one.asks("REFER"));
    assert_eq!(referred, mode == CALL, "{}", bob.told());
    carol.act("hangup 0");
    // Bob's phone has made a call of its own, or kept its first one.
    bob.wait_for_call(usize::from(mode == CALL), "DISCONNECTED");
    switch_off([bob, carol]);
    server.stop();
}

#[test]
fn a_baresip_is_transferred_through_the_proxy() {
    lab(|lab| is_transferred(lab, CALL));
}

#[test]
fn a_baresip_is_transferred_in_a_bridged_call() {
    lab(|lab| is_transferred(lab, B2BUA));
}

fn is_transferred(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let (mut alice, mut bob, mut carol) = three(lab, &server);
    talk(&mut alice, &mut bob);
    bob.act(&format!("transfer 0 sip:carol@{DOMAIN}"));
    // A baresip says 202; who takes a REFER today says 200 (RFC 6665 §8.3.1).
    bob.wait_for_response(if mode == CALL { 202 } else { 200 }, "REFER");
    carol.wait_for_call(0, "INCOMING");
    let invite = carol.wait_for_request("INVITE");
    assert!(invite.header("From").contains("sip:alice@"), "{}", invite.text());
    carol.act("answer 0 200");
    carol.wait_for_call(0, "CONFIRMED");
    let last = bob.wait("transfer", "final NOTIFY", |event| event["final"] == true);
    assert_eq!(last["code"], 200, "{last}\n{}", bob.told());
    bob.act("hangup-all");
    bob.wait_for_call(0, "DISCONNECTED");
    carol.act("hangup 0");
    alice.wait_for_the_end();
    switch_off([bob, carol]);
    server.stop();
}

/// Alice has a baresip, the two others pjsua2.
fn three(lab: &Lab, server: &Server) -> (Phone, Foreign, Foreign) {
    let (bob, carol) = bob_and_carol(lab, server, "udp");
    (baresip(lab, &server.user("alice")), bob, carol)
}

fn baresip(lab: &Lab, user: &User) -> Phone {
    let network = &Network::home();
    let (hertz, answers, transport, codec) = (440.0, false, "udp", "PCMU");
    Phone::register(lab, &Setup { number: 1, network, user, hertz, answers, transport, codec })
}

fn talk(alice: &mut Phone, bob: &mut Foreign) {
    alice.dial(&format!("sip:bob@{DOMAIN}"));
    bob.wait_for_call(0, "INCOMING");
    bob.act("answer 0 200");
    bob.wait_for_request("ACK");
    alice.wait_until_established();
}
