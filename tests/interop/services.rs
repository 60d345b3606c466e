//! The services of a call between pjsua2 phones through our proxy: hold, transfer, PRACK, UPDATE, INFO, session timers;
//! looked at on the wire of the phones and in our list and records of calls.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, lab};
use crate::manage::run_json;
use crate::pjsua2::{Foreign, Settings, Wire};
use crate::serve::{DOMAIN, Server, User, tcp};

/// Our server as proxy, and as both ends of each call.
pub(crate) const CALL: &str = "call";
pub(crate) const B2BUA: &str = "b2bua";

/// How long a list of calls may take to say what the phones have done.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_foreign_phone_holds_and_resumes_by_re_invite_and_by_update() {
    lab(|lab| hold(lab, CALL));
}

fn hold(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let (mut alice, mut bob) = pair(&server);
    talk(&mut alice, &mut bob);
    let call_ids = [&mut alice, &mut bob]
        .map(|phone| phone.wire("sent").last().map(|one| one.header("Call-ID").to_owned()));
    assert_eq!(call_ids[0] == call_ids[1], mode == CALL, "{call_ids:?}");
    alice.act("hold 0");
    assert_eq!(bob.wait_for_request("INVITE").direction(), "sendonly", "{}", bob.told());
    bob.wait_for_media(0, "remote-hold");
    alice.wait_for_media(0, "local-hold");
    bob.wait_for_request("ACK");
    alice.wait_until_sent("ACK");
    alice.act("resume 0");
    assert_eq!(bob.wait_for_request("INVITE").direction(), "sendrecv", "{}", bob.told());
    bob.wait_for_media(0, "active");
    alice.wait_for_media(0, "active");
    bob.wait_for_request("ACK");
    // Until the ACK has gone out, an offer from the other side is refused with 491 where we are between.
    alice.wait_until_sent("ACK");
    // RFC 3311: in a confirmed dialog too, where nobody need be asked.
    bob.act("hold-update 0");
    assert_eq!(alice.wait_for_request("UPDATE").direction(), "sendonly", "{}", alice.told());
    assert_eq!(bob.wait_for_response(200, "UPDATE").direction(), "recvonly", "{}", bob.told());
    alice.wait_for_media(0, "remote-hold");
    bob.act("resume-update 0");
    assert_eq!(alice.wait_for_request("UPDATE").direction(), "sendrecv", "{}", alice.told());
    alice.wait_for_media(0, "active");
    assert_eq!(now(lab), ["alice bob talking"]);
    alice.act("hangup 0");
    bob.wait_for_call(0, "DISCONNECTED");
    wait_until_over(lab, &["alice bob caller"]);
    switch_off([alice, bob]);
    server.stop();
}

#[test]
fn a_call_is_transferred_blind_and_both_calls_are_recorded() {
    lab(|lab| blind(lab, CALL, "udp"));
}

#[test]
fn a_call_of_phones_on_tcp_is_transferred_blind() {
    lab(|lab| blind(lab, CALL, "tcp"));
}

fn blind(lab: &Lab, mode: &str, transport: &'static str) {
    blind_at(lab, mode, "", transport);
}

fn blind_at(lab: &Lab, mode: &str, more: &str, transport: &'static str) {
    let mut server = serve(lab, mode, more);
    let (mut alice, mut bob, mut carol) = three(lab, &server, transport);
    talk(&mut alice, &mut bob);
    alice.act(&format!("transfer 0 sip:carol@{DOMAIN}"));
    // RFC 3515: REFER within the dialog, accepted, and its outcome told by NOTIFY.
    let refer = bob.wait_for_request("REFER");
    assert!(refer.header("Refer-To").contains(&format!("sip:carol@{DOMAIN}")), "{}", refer.text());
    alice.wait_for_response(202, "REFER");
    carol.wait_for_call(0, "INCOMING");
    let invite = carol.wait_for_request("INVITE");
    assert!(invite.header("From").contains("sip:bob@"), "{}", invite.text());
    assert!(invite.header("Referred-By").contains("sip:alice@"), "{}", invite.text());
    carol.act("answer 0 200");
    carol.wait_for_call(0, "CONFIRMED");
    bob.wait_for_call(1, "CONFIRMED");
    let last = alice.wait("transfer", "final NOTIFY", |event| event["final"] == true);
    assert_eq!(last["code"], 200, "{last}");
    let notify = alice.wait_for_request("NOTIFY");
    assert!(notify.header("Event").starts_with("refer"), "{}", notify.text());
    assert!(notify.header("Subscription-State").starts_with("active"), "{}", notify.text());
    alice.act("hangup 0");
    bob.wait_for_call(0, "DISCONNECTED");
    wait_until_over(lab, &["alice bob caller"]);
    assert_eq!(now(lab), ["bob carol talking"]);
    carol.act("hangup 0");
    bob.wait_for_call(1, "DISCONNECTED");
    wait_until_over(lab, &["bob carol callee", "alice bob caller"]);
    switch_off([alice, bob, carol]);
    server.stop();
}

#[test]
fn a_transfer_to_one_who_is_busy_fails_and_the_first_call_goes_on() {
    lab(|lab| transfer_in_vain(lab, CALL));
}

fn transfer_in_vain(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let (mut alice, mut bob, mut carol) = three(lab, &server, "udp");
    talk(&mut alice, &mut bob);
    alice.act("hold 0");
    bob.wait_for_media(0, "remote-hold");
    bob.wait_for_request("ACK");
    for (target, code) in [("carol", 486), ("nobody", 404)] {
        alice.act(&format!("transfer 0 sip:{target}@{DOMAIN}"));
        if target == "carol" {
            carol.wait_for_call(0, "INCOMING");
            carol.act("answer 0 486");
        }
        let last = alice.wait("transfer", "final NOTIFY", |event| event["final"] == true);
        assert_eq!(last["code"], code, "{last}");
    }
    assert_eq!(now(lab), ["alice bob talking"]);
    alice.act("resume 0");
    bob.wait_for_media(0, "active");
    bob.wait_for_request("ACK");
    bob.act("hangup 0");
    alice.wait_for_call(0, "DISCONNECTED");
    // Bob's phone has called in vain, or the server has for him.
    wait_until_over(lab, &["alice bob callee", "bob nobody refused", "bob carol refused"]);
    switch_off([alice, bob, carol]);
    server.stop();
}

#[test]
fn a_call_is_transferred_after_consultation_by_replaces() {
    lab(|lab| attended(lab, CALL));
}

fn attended(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    attended_at(lab, &server, server.address);
    server.stop();
}

/// The same of phones that reach the server by this address.
pub(crate) fn attended_at(lab: &Lab, server: &Server, proxy: SocketAddr) {
    let (mut alice, mut bob, mut carol) = three_at(lab, server, proxy, "udp");
    talk(&mut alice, &mut bob);
    alice.act("hold 0");
    bob.wait_for_media(0, "remote-hold");
    bob.wait_for_request("ACK");
    alice.call("carol");
    carol.wait_for_call(0, "INCOMING");
    carol.act("answer 0 200");
    carol.wait_for_call(0, "CONFIRMED");
    carol.wait_for_request("ACK");
    alice.wait_for_call(1, "CONFIRMED");
    assert_eq!(now(lab), ["alice bob talking", "alice carol talking"]);
    alice.act("attended 0 1");
    let refer = bob.wait_for_request("REFER");
    assert!(refer.header("Refer-To").contains("Replaces="), "{}", refer.text());
    // RFC 3891: bob's INVITE names the call that it takes the place of, and carol's phone ends that.
    let invite = carol.wait_for_request("INVITE");
    assert!(invite.header("From").contains("sip:bob@"), "{}", invite.text());
    assert!(invite.header("Replaces").contains("to-tag="), "{}", invite.text());
    carol.wait_for_call(0, "DISCONNECTED");
    alice.wait_for_call(1, "DISCONNECTED");
    bob.wait_for_call(1, "CONFIRMED");
    let last = alice.wait("transfer", "final NOTIFY", |event| event["final"] == true);
    assert_eq!(last["code"], 200, "{last}");
    alice.act("hangup 0");
    bob.wait_for_call(0, "DISCONNECTED");
    wait_until_over(lab, &["alice bob caller", "alice carol callee"]);
    assert_eq!(now(lab), ["bob carol talking"]);
    bob.act("hangup 1");
    carol.wait_for_call(1, "DISCONNECTED");
    wait_until_over(lab, &["bob carol caller", "alice bob caller", "alice carol callee"]);
    switch_off([alice, bob, carol]);
}

#[test]
fn provisional_responses_are_acknowledged_by_prack_and_the_early_session_is_updated() {
    lab(|lab| prack(lab, CALL));
}

fn prack(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let bob = Settings { prack: true, ..Settings::new(2) };
    let mut bob = Foreign::register(&server, "bob", &bob);
    let alice = Settings { prack: true, ..Settings::new(1) };
    let mut alice = Foreign::register(&server, "alice", &alice);
    alice.call("bob");
    bob.wait_for_call(0, "INCOMING");
    bob.act("answer 0 183");
    let received = alice.wait_for_response(183, "INVITE");
    assert!(received.header("Require").contains("100rel"), "{}", received.text());
    // RFC 3262 §7.2: the number of the response, and the CSeq that it belongs to, each as the phone itself gave it.
    let prack = bob.wait_for_request("PRACK");
    alice.wait_for_response(200, "PRACK");
    let is_progress = |one: &Wire| one.start().starts_with("SIP/2.0 183");
    let progress = bob.wire("sent").into_iter().find(is_progress).expect("bob answered with 183");
    let acknowledged = format!("{} {}", progress.header("RSeq"), progress.header("CSeq"));
    assert_eq!(prack.header("RAck"), acknowledged, "{}", prack.text());
    alice.wait_for_media(0, "active");
    assert_eq!(now(lab), ["alice bob forwarding"]);
    // RFC 3311 §5.1: a new offer before the answer of the INVITE.
    alice.act("update 0");
    assert_eq!(bob.wait_for_request("UPDATE").direction(), "sendrecv", "{}", bob.told());
    assert_eq!(alice.wait_for_response(200, "UPDATE").direction(), "sendrecv", "{}", alice.told());
    assert_eq!(now(lab), ["alice bob forwarding"]);
    bob.act("answer 0 200");
    alice.wait_for_call(0, "CONFIRMED");
    bob.wait_for_call(0, "CONFIRMED");
    assert_eq!(now(lab), ["alice bob talking"]);
    alice.act("hangup 0");
    bob.wait_for_call(0, "DISCONNECTED");
    wait_until_over(lab, &["alice bob caller"]);
    switch_off([alice, bob]);
    server.stop();
}

#[test]
fn digits_go_by_info_both_ways() {
    lab(|lab| info(lab, CALL));
}

fn info(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode, "");
    let (mut alice, mut bob) = pair(&server);
    talk(&mut alice, &mut bob);
    for (digit, to_bob) in [("7", true), ("#", true), ("1", false), ("*", false)] {
        let (sender, receiver) = if to_bob { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
        sender.act(&format!("info 0 {digit}"));
        let heard = receiver.wait("dtmf", "digit", |_| true);
        assert_eq!((&heard["digit"], &heard["method"]), (&digit.into(), &"INFO".into()), "{heard}");
        let info = receiver.wait_for_request("INFO");
        assert_eq!(info.header("Content-Type"), "application/dtmf-relay", "{}", info.text());
        assert!(info.body().contains(&format!("Signal={digit}")), "{}", info.text());
        sender.wait_for_response(200, "INFO");
    }
    alice.act("hangup 0");
    bob.wait_for_call(0, "DISCONNECTED");
    switch_off([alice, bob]);
    server.stop();
}

/// RFC 4028: a clock that runs faster lets minutes pass in seconds; the server's own runs as ever.
pub(crate) const SPEED: u32 = 20;

#[test]
fn a_session_interval_that_is_too_short_is_refused_with_ours_and_asked_for_again() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "[calls]\nsession_expires_min = \"2m\"\n");
        let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
        let alice = Settings { timer: Some((90, 90)), ..Settings::new(1) };
        let mut alice = Foreign::register(&server, "alice", &alice);
        alice.call("bob");
        let refused = alice.wait_for_response(422, "INVITE");
        assert_eq!(refused.header("Min-SE"), "120", "{}", refused.text());
        bob.wait_for_call(0, "INCOMING");
        let invite = bob.wait_for_request("INVITE");
        assert!(invite.header("Session-Expires").starts_with("120"), "{}", invite.text());
        assert_eq!(invite.header("Min-SE"), "120", "{}", invite.text());
        bob.act("answer 0 200");
        let answer = alice.wait_for_response(200, "INVITE");
        assert!(answer.header("Session-Expires").starts_with("120;refresher="), "{}", answer.text());
        alice.wait_for_call(0, "CONFIRMED");
        alice.act("hangup 0");
        bob.wait_for_call(0, "DISCONNECTED");
        switch_off([alice, bob]);
        server.stop();
    });
}

#[test]
fn a_session_is_refreshed_through_the_proxy_and_ended_by_bye_when_its_refresher_has_died() {
    lab(|lab| {
        let mut server = serve(lab, CALL, "");
        let fast = |number| Settings { timer: Some((90, 90)), speed: SPEED, ..Settings::new(number) };
        let mut bob = Foreign::register(&server, "bob", &fast(2));
        let mut alice = Foreign::register(&server, "alice", &fast(1));
        talk(&mut alice, &mut bob);
        // Half of the interval: UPDATE, since both phones know it.
        let refresh = bob.wait_for_request("UPDATE");
        assert!(refresh.header("Session-Expires").starts_with("90;refresher=uac"), "{}", refresh.text());
        alice.wait_for_response(200, "UPDATE");
        assert_eq!(now(lab), ["alice bob talking"]);
        alice.kill();
        bob.wait_for_call(0, "DISCONNECTED");
        let byes: Vec<String> =
            bob.wire("sent").iter().filter(|one| one.asks("BYE")).map(|one| one.text().to_owned()).collect();
        assert!(!byes.is_empty(), "{}", bob.told());
        wait_until_over(lab, &["alice bob callee"]);
        bob.switch_off();
        server.stop();
    });
}

#[test]
fn phones_of_a_bridged_call_hold_and_resume_by_re_invite_and_by_update() {
    lab(|lab| hold(lab, B2BUA));
}

#[test]
fn provisional_responses_of_a_bridged_call_are_reliable_on_each_side() {
    lab(|lab| prack(lab, B2BUA));
}

#[test]
fn digits_pass_a_bridged_call_by_info_both_ways() {
    lab(|lab| info(lab, B2BUA));
}

#[test]
fn a_transfer_of_a_bridged_call_that_fails_leaves_it_as_it_was() {
    lab(|lab| transfer_in_vain(lab, B2BUA));
}

/// RFC 5589 with the server in the place of the transferee: bob's phone hears of no REFER.
#[test]
fn the_server_transfers_a_bridged_call_blind() {
    lab(|lab| {
        let mut server = serve(lab, B2BUA, "");
        let (mut alice, mut bob, mut carol) = three(lab, &server, "udp");
        talk(&mut alice, &mut bob);
        alice.act(&format!("transfer 0 sip:carol@{DOMAIN}"));
        alice.wait_for_response(200, "REFER");
        let invite = carol.wait_for_request("INVITE");
        assert!(invite.header("From").contains("sip:bob@"), "{}", invite.text());
        assert!(invite.header("Referred-By").contains("sip:alice@"), "{}", invite.text());
        carol.wait_for_call(0, "INCOMING");
        carol.act("answer 0 180");
        let ringing = |event: &Value| event["code"] == 180 && event["final"] == false;
        alice.wait("transfer", "NOTIFY that carol rings", ringing);
        carol.act("answer 0 200");
        let last = alice.wait("transfer", "final NOTIFY", |event| event["final"] == true);
        assert_eq!(last["code"], 200, "{last}");
        joined(&mut bob, &mut carol);
        alice.act("hangup 0");
        alice.wait_for_call(0, "DISCONNECTED");
        assert_eq!(run_json(lab, &["calls"]).1["now"].as_array().map(Vec::len), Some(1));
        carol.act("hangup 0");
        bob.wait_for_call(0, "DISCONNECTED");
        wait_until_over(lab, &["bob carol callee", "alice bob caller"]);
        switch_off([alice, bob, carol]);
        server.stop();
    });
}

/// RFC 3891: alice's two calls become one, and her phone is out of both.
#[test]
fn the_server_transfers_a_bridged_call_after_consultation() {
    lab(|lab| {
        assert_eq!(consulted_transfer(lab, "1"), 0);
    });
}

/// The same on four shards, until the two calls were of two of them: three of four times they are.
#[test]
fn bridged_calls_of_two_shards_are_joined_after_consultation() {
    lab(|lab| {
        let joined = || {
            let handed_over = consulted_transfer(lab, "4");
            // Passwords are shown by the first start on an empty folder alone.
            std::fs::remove_dir_all(lab.path("data")).expect("the folder of the server that has ended");
            handed_over > 0
        };
        assert!((0..10).any(|_| joined()), "ten times both calls had the same shard");
    });
}

/// Alice joins bob and carol; gives how many calls went from one shard to another for it.
fn consulted_transfer(lab: &Lab, shards: &str) -> u64 {
    let config = settings(lab, B2BUA, "");
    let listen = tcp();
    let arguments = ["--listen", &listen, "--config", &config, "--shards", shards];
    let mut server = Server::start_with(lab, &arguments);
    consulted_transfer_at(lab, &server, server.address);
    let counters = server.stop();
    counters["engine"]["handed_over"].as_u64().unwrap_or_else(|| panic!("no `handed_over` in {counters}"))
}

/// The same of phones that reach the server by this address.
pub(crate) fn consulted_transfer_at(lab: &Lab, server: &Server, proxy: SocketAddr) {
    let (mut alice, mut bob, mut carol) = three_at(lab, server, proxy, "udp");
    talk(&mut alice, &mut bob);
    alice.act("hold 0");
    bob.wait_for_media(0, "remote-hold");
    bob.wait_for_request("ACK");
    alice.wait_until_sent("ACK");
    alice.call("carol");
    carol.wait_for_call(0, "INCOMING");
    carol.act("answer 0 200");
    carol.wait_for_request("ACK");
    alice.wait_for_call(1, "CONFIRMED");
    alice.wait_for_response(200, "INVITE");
    alice.wait_until_sent("ACK");
    alice.act("attended 0 1");
    let refer = alice.wait_until_sent("REFER");
    assert!(refer.header("Refer-To").contains("Replaces="), "{}", refer.text());
    alice.wait_for_response(200, "REFER");
    let last = alice.wait("transfer", "final NOTIFY", |event| event["final"] == true);
    assert_eq!(last["code"], 200, "{last}");
    joined(&mut bob, &mut carol);
    alice.act("hangup-all");
    alice.wait_for_call(0, "DISCONNECTED");
    assert_eq!(run_json(lab, &["calls"]).1["now"].as_array().map(Vec::len), Some(1));
    bob.act("hangup 0");
    carol.wait_for_call(0, "DISCONNECTED");
    switch_off([alice, bob, carol]);
}

/// Bob's phone was told by re-INVITE where carol's is, and by no REFER; both talk.
fn joined(bob: &mut Foreign, carol: &mut Foreign) {
    for (phone, other) in [(bob, 3), (carol, 2)] {
        phone.wait_for_audio_of(other);
        assert!(!phone.wire("received").iter().any(|one| one.asks("REFER")), "{}", phone.told());
    }
}

#[test]
fn a_refer_passes_a_bridged_call_where_the_server_is_not_to_act_on_it() {
    lab(|lab| blind_at(lab, B2BUA, "[b2bua]\ntransfers = false\n", "udp"));
}

/// Each side has a session of its own: alice's phone refreshes her side alone.
#[test]
fn the_sides_of_a_bridged_call_have_session_timers_of_their_own() {
    lab(|lab| {
        let mut server = serve(lab, B2BUA, "");
        let mut bob = Foreign::register(&server, "bob", &Settings::new(2));
        let alice = Settings { timer: Some((90, 90)), speed: SPEED, ..Settings::new(1) };
        let mut alice = Foreign::register(&server, "alice", &alice);
        talk(&mut alice, &mut bob);
        let refreshed = alice.wait_for_response(200, "UPDATE");
        assert!(refreshed.header("Session-Expires").starts_with("90;refresher=uac"), "{}", refreshed.text());
        let passed = bob.wire("received").into_iter().filter(|one| one.asks("UPDATE")).count();
        assert_eq!(passed, 0, "{}", bob.told());
        assert_eq!(now(lab), ["alice bob talking"]);
        bob.act("hangup 0");
        alice.wait_for_call(0, "DISCONNECTED");
        wait_until_over(lab, &["alice bob callee"]);
        switch_off([alice, bob]);
        server.stop();
    });
}

/// A server whose domain has this mode, with more settings.
pub(crate) fn serve(lab: &Lab, mode: &str, more: &str) -> Server {
    Server::start_with(lab, &["--listen", &tcp(), "--config", &settings(lab, mode, more)])
}

pub(crate) fn settings(lab: &Lab, mode: &str, more: &str) -> String {
    let path = lab.path("dialtone.toml");
    let text = format!("{more}[[domain]]\nname = \"{DOMAIN}\"\nmode = \"{mode}\"\n");
    std::fs::write(&path, text).expect("a file of the lab can be written");
    path.display().to_string()
}

/// Bob, and alice who is going to call.
pub(crate) fn pair(server: &Server) -> (Foreign, Foreign) {
    let bob = Foreign::register(server, "bob", &Settings::new(2));
    (Foreign::register(server, "alice", &Settings::new(1)), bob)
}

/// The same and carol.
pub(crate) fn three(lab: &Lab, server: &Server, transport: &'static str) -> (Foreign, Foreign, Foreign) {
    three_at(lab, server, server.address, transport)
}

/// The same at a proxy that stands before the server.
fn three_at(
    lab: &Lab,
    server: &Server,
    proxy: SocketAddr,
    transport: &'static str,
) -> (Foreign, Foreign, Foreign) {
    let carol = add_carol(lab);
    let phone = |user: &User, number| {
        let settings = Settings { transport, ..Settings::new(number) };
        Foreign::register_at(proxy, user, &settings)
    };
    let carol = phone(&carol, 3);
    let bob = phone(&server.user("bob"), 2);
    (phone(&server.user("alice"), 1), bob, carol)
}

/// Phones 2 and 3.
pub(crate) fn bob_and_carol(lab: &Lab, server: &Server, transport: &'static str) -> (Foreign, Foreign) {
    let settings = |number| Settings { transport, ..Settings::new(number) };
    let carol = Foreign::register_at(server.address, &add_carol(lab), &settings(3));
    (Foreign::register(server, "bob", &settings(2)), carol)
}

fn add_carol(lab: &Lab) -> User {
    assert_eq!(run_json(lab, &["user", "add", "carol", "--password", "secret"]).0, 0);
    User { name: "carol".to_owned(), password: "secret".to_owned() }
}

/// The first call of both, until the ACK has come.
pub(crate) fn talk(caller: &mut Foreign, callee: &mut Foreign) {
    caller.call("bob");
    callee.wait_for_call(0, "INCOMING");
    callee.act("answer 0 200");
    callee.wait_for_call(0, "CONFIRMED");
    callee.wait_for_request("ACK");
    callee.wait_for_media(0, "active");
    caller.wait_for_call(0, "CONFIRMED");
    caller.wait_for_media(0, "active");
    caller.wait_for_response(200, "INVITE");
    caller.wait_until_sent("ACK");
}

/// The calls that our server lists: caller, callee and state.
pub(crate) fn now(lab: &Lab) -> Vec<String> {
    let (_, calls) = run_json(lab, &["calls"]);
    let mut list = told(&calls["now"], "state");
    list.sort();
    list
}

/// Waits until these are the calls that have ended, the last one first, with how they did.
pub(crate) fn wait_until_over(lab: &Lab, expected: &[&str]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let (_, calls) = run_json(lab, &["calls"]);
        let ended = told(&calls["ended"], "end");
        if ended == expected {
            return;
        }
        assert!(Instant::now() < end, "expected {expected:?} in {calls}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn told(calls: &Value, last: &str) -> Vec<String> {
    let user = |uri: &Value| {
        let text = uri.as_str().unwrap_or_default();
        text.trim_start_matches("sip:").split('@').next().unwrap_or_default().to_owned()
    };
    let list = calls.as_array().expect("a list of calls");
    let line = |call: &Value| {
        format!("{} {} {}", user(&call["from"]), user(&call["to"]), call[last].as_str().unwrap_or_default())
    };
    list.iter().map(line).collect()
}

pub(crate) fn switch_off<const COUNT: usize>(phones: [Foreign; COUNT]) {
    phones.into_iter().for_each(Foreign::switch_off);
}
