//! Callers of a group who wait while all of its members are busy (RFC 3261 §21.1.4).

use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::settings::{BridgeSettings, Destination, Group, Limits, Member, Queue, Strategy};
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, OFFER, Phone, at_rest, code, method, only, response, server_with, text_of, to,
};
use crate::b2bua_transfer::{CAROL, CAROLS, with_carol};
use crate::peers::{Request, Server, invite, settings};

fn queue_server(otherwise: Option<&str>, queued: usize) -> Server {
    let user = |aor: &str| Destination::User(aor.into());
    let group = Group {
        name: "sales".into(),
        domain: "sip.test".into(),
        numbers: vec!["600".into()],
        members: vec![Member { destination: user("sip:bob@sip.test"), delay: Duration::ZERO, ring: None }],
        strategy: Strategy::All,
        otherwise: None,
    };
    let queue = Queue { time: Duration::from_secs(60), otherwise: otherwise.map(user) };
    let bridges = BridgeSettings { queues: [("sales".into(), queue)].into(), ..BridgeSettings::default() };
    let limits = Limits { queued, ..Limits::default() };
    let mut server = server_with(Settings { groups: vec![group], bridges, limits, ..settings() }, &[BOB]);
    with_carol(&mut server);
    server
}

fn call(server: &mut Server, from: &'static str, call_id: &'static str) -> Vec<(String, Message)> {
    let offer = if from == ALICE { OFFER } else { CAROLS };
    let extra = format!("Contact: <sip:x@{from}>\r\n");
    let caller = if from == ALICE { "sip:alice@sip.test" } else { "sip:carol@sip.test" };
    let request = Request { from: caller, via: from, call_id, extra, ..invite("sip:600@sip.test") };
    server.receive(from, &text_of(&request, offer))
}

fn busy(server: &mut Server, bobs: &Message) -> Vec<(String, Message)> {
    server.receive(BOB, &response(bobs, "486 Busy Here", "busy", BOB, "", ""))
}

/// What a caller was told of his position.
fn told(sent: &[(String, Message)], phone: &str) -> Vec<String> {
    let queued = to(sent, phone).into_iter().filter(|message| code(message) == 182);
    queued.map(|message| String::from_utf8_lossy(message.reason()).into_owned()).collect()
}

/// Alice waits as the first one.
fn waiting(otherwise: Option<&str>) -> Server {
    let mut server = queue_server(otherwise, 10);
    let sent = call(&mut server, ALICE, "call");
    let bobs = only(&sent, BOB).clone();
    let sent = busy(&mut server, &bobs);
    assert_eq!(told(&sent, ALICE), ["Queued, position 1"]);
    assert!(to(&sent, ALICE)[0].has(HeaderName::Contact));
    server
}

/// The next INVITE for bob.
fn tried(server: &mut Server) -> (Message, Vec<(String, Message)>) {
    let sent = server.pass(5);
    let bobs =
        to(&sent, BOB).into_iter().find(|message| method(message) == "INVITE").expect("an INVITE").clone();
    (bobs, sent)
}

#[test]
pub(crate) fn who_waits_is_told_his_position_and_rings_when_a_member_is_free() {
    let mut server = waiting(None);
    let sent = call(&mut server, CAROL, "second");
    assert!(to(&sent, BOB).is_empty(), "nobody overtakes alice");
    assert_eq!(told(&sent, CAROL), ["Queued, position 2"]);
    // Bob is busy still, and then not.
    let (bobs, _) = tried(&mut server);
    assert_eq!(told(&busy(&mut server, &bobs), ALICE), [""; 0], "nothing has changed");
    let (bobs, _) = tried(&mut server);
    let sent = server.receive(BOB, &response(&bobs, "180 Ringing", "free", BOB, "", ""));
    assert_eq!(code(only(&sent, ALICE)), 180);
    let sent = server.receive(BOB, &response(&bobs, "200 OK", "free", BOB, "", ANSWER));
    let answer = only(&sent, ALICE).clone();
    assert_eq!(code(&answer), 200);
    let mut alice = Phone::caller(ALICE, &answer);
    let ack = alice.request("ACK", "", "");
    server.receive(ALICE, &ack);
    // Carol is the first one now.
    let sent = server.pass(5);
    let calls: Vec<_> =
        to(&sent, BOB).into_iter().filter(|message| method(message) == "INVITE").cloned().collect();
    let sent = busy(&mut server, &calls[0]);
    assert_eq!(told(&sent, CAROL), ["Queued, position 1"]);
    assert_eq!(server.engine.counters().calls_queued, 2);
}

#[test]
pub(crate) fn who_waits_too_long_goes_where_the_settings_say() {
    let mut server = waiting(Some("sip:carol@sip.test"));
    let mut to_carol = None;
    for _ in 0..13 {
        for (phone, message) in server.pass(5) {
            if phone == BOB && method(&message) == "INVITE" {
                busy(&mut server, &message);
            } else if phone == CAROL && method(&message) == "INVITE" {
                to_carol.get_or_insert(message);
            }
        }
    }
    let carols = to_carol.expect("she is called at the end");
    let sent = server.receive(CAROL, &response(&carols, "603 Decline", "c", CAROL, "", ""));
    assert_eq!(code(only(&sent, ALICE)), 603);
    at_rest(&mut server);
}

#[test]
pub(crate) fn without_another_place_it_ends_with_480_and_nothing_is_left() {
    let mut server = waiting(None);
    let mut refused = Vec::new();
    for _ in 0..13 {
        for (phone, message) in server.pass(5) {
            if phone == BOB && method(&message) == "INVITE" {
                let sent = busy(&mut server, &message);
                refused.extend(to(&sent, ALICE).into_iter().map(code));
            } else if phone == ALICE {
                refused.push(code(&message));
            }
        }
    }
    assert!(refused.contains(&480), "{refused:?}");
    assert_eq!(server.engine.counters().calls_queued_in_vain, 1);
    at_rest(&mut server);
}

#[test]
pub(crate) fn who_gives_up_leaves_the_queue() {
    let mut server = waiting(None);
    let cancel = Request { method: "CANCEL", ..invite("sip:600@sip.test") };
    let text = cancel.text().replace("1CANCEL", "1INVITE");
    let sent = server.receive(ALICE, &text);
    let codes: Vec<_> = to(&sent, ALICE).into_iter().map(code).collect();
    assert_eq!((codes, to(&sent, BOB).len()), (vec![200, 487], 0));
    let sent = server.pass(10);
    assert!(to(&sent, BOB).is_empty(), "{sent:?}");
    at_rest(&mut server);
}

#[test]
pub(crate) fn as_many_wait_as_may() {
    let mut server = queue_server(None, 0);
    let sent = call(&mut server, ALICE, "call");
    let bobs = only(&sent, BOB).clone();
    let sent = busy(&mut server, &bobs);
    assert_eq!(code(only(&sent, ALICE)), 486);
    at_rest(&mut server);
}
