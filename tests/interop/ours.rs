//! `dialtone phone --script` against pjsua2 phones: either holds, updates, sends digits, transfers and is transferred,
//! through our proxy and through our B2BUA.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, dialtone, lab};
use crate::pjsua2::{Foreign, Settings, Wire};
use crate::process::Process;
use crate::serve::{DOMAIN, Server};
use crate::services::{B2BUA, CALL, SPEED, bob_and_carol, now, serve, switch_off, wait_until_over};

const PATIENCE: Duration = Duration::from_secs(15);

/// Our phone, which is given the lines of its script one by one.
pub(crate) struct Ours {
    process: Process,
    events: Vec<Value>,
    /// How many of them the waits for each kind have passed over.
    read: BTreeMap<&'static str, usize>,
}

impl Ours {
    fn register(server: &Server, name: &str) -> Ours {
        Ours::register_with(server, name, &[])
    }

    /// One with these options besides.
    pub(crate) fn register_with(server: &Server, name: &str, more: &[&str]) -> Ours {
        let (user, proxy) = (server.user(name), format!("sip:{}", server.address));
        let mut command = Command::new(dialtone());
        command.args(["phone", "--user", name, "--password", &user.password, "--domain", DOMAIN]);
        command.args(["--proxy", &proxy, "--script", "-", "--json"]).args(more);
        let process = Process::start_with_input(&mut command);
        let mut ours = Ours { process, events: Vec::new(), read: BTreeMap::new() };
        ours.wait("registered");
        ours
    }

    /// A line of the script.
    pub(crate) fn act(&mut self, line: &str) {
        self.process.say(line);
    }

    /// Waits for an event of this kind that no wait has passed over yet.
    pub(crate) fn wait(&mut self, kind: &'static str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let read = self.read.entry(kind).or_default();
            while let Some(event) = self.events.get(*read) {
                *read += 1;
                if event["event"] == kind {
                    return event.clone();
                }
            }
            match self.process.next_line(end) {
                Some(line) => self.events.extend(serde_json::from_str::<Value>(&line)),
                None => panic!("our phone says no `{kind}` within {PATIENCE:?}\n{}", self.process.output()),
            }
        }
    }

    pub(crate) fn switch_off(mut self) {
        self.act("quit");
        let status = self.process.finish(PATIENCE);
        assert!(status.success(), "our phone ended with {status}\n{}", self.process.output());
    }
}

#[test]
fn our_phone_and_a_foreign_one_hold_each_other_through_the_proxy() {
    lab(|lab| hold(lab, CALL));
}

#[test]
fn our_phone_and_a_foreign_one_hold_each_other_in_a_bridged_call() {
    lab(|lab| hold(lab, B2BUA));
}

fn hold(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
    let mut alice = Ours::register(&server, "alice");
    talk(&mut alice, &mut bob);
    alice.act("hold");
    assert_eq!(bob.wait_for_request("INVITE").direction(), "sendonly", "{}", bob.told());
    bob.wait_for_media(0, "remote-hold");
    bob.wait_for_request("ACK");
    alice.wait("held");
    alice.act("resume");
    alice.wait("resumed");
    bob.wait_for_media(0, "active");
    bob.wait_for_request("ACK");
    bob.act("hold 0");
    alice.wait("held-by-peer");
    assert_eq!(bob.wait_for_response(200, "INVITE").direction(), "recvonly", "{}", bob.told());
    bob.wait_until_sent("ACK");
    bob.act("resume 0");
    alice.wait("resumed-by-peer");
    assert_eq!(bob.wait_for_response(200, "INVITE").direction(), "sendrecv", "{}", bob.told());
    bob.wait_until_sent("ACK");
    // The same by UPDATE.
    bob.act("hold-update 0");
    alice.wait("held-by-peer");
    bob.wait("message", "200 for the UPDATE that holds", |event| {
        let text = event["text"].as_str().unwrap_or_default();
        event["way"] == "received" && text.contains(" UPDATE\n") && text.contains("a=recvonly")
    });
    bob.act("resume-update 0");
    alice.wait("resumed-by-peer");
    // pjsua2 sends more of them by itself, to settle on one codec.
    bob.wait("message", "200 for the UPDATE that resumes", |event| {
        let text = event["text"].as_str().unwrap_or_default();
        event["way"] == "received" && text.contains(" UPDATE\n") && text.contains("a=sendrecv")
    });
    alice.act("dtmf 7#");
    for digit in ["7", "#"] {
        let heard = bob.wait("dtmf", "digit", |_| true);
        assert_eq!((&heard["digit"], &heard["method"]), (&digit.into(), &"INFO".into()), "{heard}");
    }
    assert_eq!(alice.wait("info-answered")["status"], 200);
    bob.act("info 0 5");
    assert_eq!(alice.wait("dtmf")["digit"], "5");
    bob.wait_for_response(200, "INFO");
    assert_eq!(now(lab), ["alice bob talking"]);
    bob.act("hangup 0");
    assert_eq!(alice.wait("ended")["reason"], "remote-hangup");
    wait_until_over(lab, &["alice bob callee"]);
    alice.switch_off();
    bob.switch_off();
    server.stop();
}

#[test]
fn our_phone_transfers_a_foreign_one_through_the_proxy() {
    lab(|lab| transfers(lab, CALL));
}

#[test]
fn our_phone_transfers_a_foreign_one_in_a_bridged_call() {
    lab(|lab| transfers(lab, B2BUA));
}

fn transfers(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let (mut bob, mut carol) = bob_and_carol(lab, &server, "udp");
    let mut alice = Ours::register(&server, "alice");
    talk(&mut alice, &mut bob);
    alice.act("transfer carol");
    carol.wait_for_call(0, "INCOMING");
    let invite = carol.wait_for_request("INVITE");
    assert!(invite.header("From").contains("sip:bob@"), "{}", invite.text());
    assert!(invite.header("Referred-By").contains("sip:alice@"), "{}", invite.text());
    carol.act("answer 0 200");
    carol.wait_for_call(0, "CONFIRMED");
    alice.wait("transferred");
    alice.wait("ended");
    if mode == CALL {
        bob.wait_for_call(0, "DISCONNECTED");
        wait_until_over(lab, &["alice bob caller"]);
        assert_eq!(now(lab), ["bob carol talking"]);
    }
    carol.act("hangup 0");
    bob.wait_for_call(usize::from(mode == CALL), "DISCONNECTED");
    alice.switch_off();
    switch_off([bob, carol]);
    server.stop();
}

#[test]
fn our_phone_joins_two_foreign_ones_after_consultation() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "");
        let (mut bob, mut carol) = bob_and_carol(lab, &server, "udp");
        let mut alice = Ours::register(&server, "alice");
        talk(&mut alice, &mut bob);
        // The first call is put on hold by the second.
        alice.act("call carol");
        bob.wait_for_media(0, "remote-hold");
        carol.wait_for_call(0, "INCOMING");
        carol.act("answer 0 200");
        carol.wait_for_request("ACK");
        alice.wait("answered");
        alice.act("select 1");
        alice.act("transfer to 2");
        let refer = bob.wait_for_request("REFER");
        assert!(refer.header("Refer-To").contains("Replaces="), "{}", refer.text());
        let invite = carol.wait_for_request("INVITE");
        assert!(invite.header("Replaces").contains("to-tag="), "{}", invite.text());
        carol.wait_for_call(0, "DISCONNECTED");
        alice.wait("transferred");
        bob.wait_for_call(0, "DISCONNECTED");
        assert_eq!(now(lab), ["bob carol talking"]);
        bob.act("hangup 1");
        carol.wait_for_call(1, "DISCONNECTED");
        alice.switch_off();
        switch_off([bob, carol]);
        server.stop();
    });
}

#[test]
fn our_phone_is_the_focus_of_two_foreign_ones() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "");
        let (mut bob, mut carol) = bob_and_carol(lab, &server, "udp");
        let mut alice = Ours::register(&server, "alice");
        talk(&mut alice, &mut bob);
        alice.act("call carol");
        bob.wait_for_media(0, "remote-hold");
        carol.wait_for_call(0, "INCOMING");
        carol.act("answer 0 200");
        carol.wait_for_request("ACK");
        alice.wait("answered");
        alice.act("join");
        let told = carol.wait_for_request("INVITE");
        bob.wait_for_media(0, "active");
        alice.wait("joined");
        alice.wait("joined");
        let of_bob =
            bob.wire("received").into_iter().rev().find(|one| one.asks("INVITE")).expect("a re-INVITE");
        for invite in [&told, &of_bob] {
            let contact = invite.header("Contact");
            assert!(contact.contains("sip:conf-") && contact.ends_with(";isfocus"), "{}", invite.text());
            assert_eq!(invite.direction(), "sendrecv", "{}", invite.text());
        }
        assert_eq!(told.header("Contact"), of_bob.header("Contact"));
        // One of the two hangs up, and the other goes on until the focus leaves.
        bob.act("hangup 0");
        alice.wait("ended");
        assert_eq!(now(lab), ["alice carol talking"]);
        alice.act("hangup all");
        carol.wait_for_call(0, "DISCONNECTED");
        alice.wait("ended");
        alice.switch_off();
        switch_off([bob, carol]);
        server.stop();
    });
}

#[test]
fn our_phone_is_transferred_by_a_foreign_one() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "");
        let (mut bob, mut carol) = bob_and_carol(lab, &server, "udp");
        let mut alice = Ours::register(&server, "alice");
        talk(&mut alice, &mut bob);
        bob.act(&format!("transfer 0 sip:carol@{DOMAIN}"));
        alice.wait("transfer-asked");
        alice.act("accept");
        carol.wait_for_call(0, "INCOMING");
        let invite = carol.wait_for_request("INVITE");
        assert!(invite.header("Referred-By").contains("sip:bob@"), "{}", invite.text());
        carol.act("answer 0 200");
        carol.wait_for_call(0, "CONFIRMED");
        let last = bob.wait("transfer", "final NOTIFY", |event| event["final"] == true);
        assert_eq!(last["code"], 200, "{last}");
        bob.act("hangup 0");
        alice.wait("ended");
        carol.act("hangup 0");
        alice.wait("ended");
        wait_until_over(lab, &["alice carol callee", "alice bob callee"]);
        alice.switch_off();
        switch_off([bob, carol]);
        server.stop();
    });
}

#[test]
fn our_phone_refuses_a_transfer_and_the_call_goes_on() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "");
        let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
        let mut alice = Ours::register(&server, "alice");
        talk(&mut alice, &mut bob);
        bob.act(&format!("transfer 0 sip:carol@{DOMAIN}"));
        let asked = alice.wait("transfer-asked");
        assert!(asked["to"].as_str().is_some_and(|to| to.contains("sip:carol@")), "{asked}");
        alice.act("refuse");
        // RFC 7647 §3: the REFER is taken, and its NOTIFY says that nobody was called.
        let refused = bob.wait("transfer", "final NOTIFY", |event| event["final"] == true);
        assert_eq!(refused["code"], 603, "{refused}");
        assert_eq!(now(lab), ["alice bob talking"]);
        alice.act("hangup");
        bob.wait_for_call(0, "DISCONNECTED");
        wait_until_over(lab, &["alice bob caller"]);
        alice.switch_off();
        bob.switch_off();
        server.stop();
    });
}

/// RFC 3891: a foreign phone takes the place of another one in a call of ours.
#[test]
fn a_call_of_our_phone_is_replaced_by_a_foreign_one() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "");
        let (mut bob, mut carol) = bob_and_carol(lab, &server, "udp");
        let mut alice = Ours::register(&server, "alice");
        bob.call("carol");
        carol.wait_for_call(0, "INCOMING");
        carol.act("answer 0 200");
        carol.wait_for_request("ACK");
        bob.wait_for_call(0, "CONFIRMED");
        bob.act("hold 0");
        carol.wait_for_media(0, "remote-hold");
        bob.call("alice");
        alice.wait("incoming");
        alice.act("answer");
        alice.wait("answered");
        bob.wait_for_call(1, "CONFIRMED");
        bob.act("attended 0 1");
        alice.wait("replaced");
        carol.wait_for_call(1, "CONFIRMED");
        let last = bob.wait("transfer", "final NOTIFY", |event| event["final"] == true);
        assert_eq!(last["code"], 200, "{last}");
        bob.wait_for_call(1, "DISCONNECTED");
        bob.act("hangup 0");
        carol.wait_for_call(0, "DISCONNECTED");
        assert_eq!(now(lab), ["carol alice talking"]);
        carol.act("hangup 1");
        alice.switch_off();
        switch_off([bob, carol]);
        server.stop();
    });
}

#[test]
fn our_phone_and_a_foreign_one_acknowledge_each_others_provisional_responses() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "");
        let settings = Settings { prack: true, ..Settings::new(2) };
        let mut bob = Foreign::register(&server, "bob", &settings);
        let mut alice = Ours::register(&server, "alice");
        // RFC 3262: the foreign phone insists on it as the called one …
        alice.act("call bob");
        bob.wait_for_call(0, "INCOMING");
        bob.act("answer 0 180");
        let prack = bob.wait_for_request("PRACK");
        let is_ringing = |one: &Wire| one.start().starts_with("SIP/2.0 180");
        let ringing = bob.wire("sent").into_iter().find(is_ringing).expect("bob answered with 180");
        assert_eq!(prack.header("RAck"), format!("{} {}", ringing.header("RSeq"), ringing.header("CSeq")));
        alice.wait("ringing");
        bob.act("answer 0 200");
        alice.wait("answered");
        bob.wait_for_request("ACK");
        alice.act("hangup");
        bob.wait_for_call(0, "DISCONNECTED");
        // … and as the calling one.
        bob.call("alice");
        let ringing = bob.wait_for_response(180, "INVITE");
        assert!(ringing.header("Require").contains("100rel"), "{}", ringing.text());
        assert!(!ringing.header("RSeq").is_empty(), "{}", ringing.text());
        bob.wait_for_response(200, "PRACK");
        alice.wait("incoming");
        alice.act("answer");
        bob.wait_for_call(1, "CONFIRMED");
        bob.act("hangup 1");
        alice.wait("ended");
        alice.switch_off();
        bob.switch_off();
        server.stop();
    });
}

/// A minute and a half on the foreign phone's clock, which runs faster than ours.
#[test]
fn a_foreign_phone_refreshes_its_session_with_ours() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "");
        let settings = Settings { timer: Some((90, 90)), speed: SPEED, ..Settings::new(2) };
        let mut bob = Foreign::register(&server, "bob", &settings);
        let mut alice = Ours::register(&server, "alice");
        bob.call("alice");
        alice.wait("incoming");
        alice.act("answer");
        let answer = bob.wait_for_response(200, "INVITE");
        assert_eq!(answer.header("Session-Expires"), "90;refresher=uac", "{}", answer.text());
        assert!(answer.header("Require").contains("timer"), "{}", answer.text());
        let refreshed = bob.wait_for_response(200, "UPDATE");
        assert_eq!(refreshed.header("Session-Expires"), "90;refresher=uac", "{}", refreshed.text());
        assert_eq!(now(lab), ["bob alice talking"]);
        alice.act("hangup");
        bob.wait_for_call(0, "DISCONNECTED");
        alice.switch_off();
        bob.switch_off();
        server.stop();
    });
}

/// The first call of both; ours has number 1.
fn talk(alice: &mut Ours, bob: &mut Foreign) {
    alice.act("call bob");
    bob.wait_for_call(0, "INCOMING");
    bob.act("answer 0 200");
    bob.wait_for_request("ACK");
    bob.wait_for_media(0, "active");
    alice.wait("answered");
}
