//! Callers of a group who wait while all of its members are busy (RFC 3261 §21.1.4).

use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::settings::{BridgeSettings, Destination, Group, Limits, Member, Queue, Strategy};
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, OFFER, Phone, at_rest, code, method, only, response, server_with, text_of, to, value,
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
pub(crate) fn waiting(otherwise: Option<&str>) -> Server {
    let mut server = queue_server(otherwise, 10);
    let sent = call(&mut server, ALICE, "call");
    let bobs = only(&sent, BOB).clone();
    let sent = busy(&mut server, &bobs);
    assert_eq!(told(&sent, ALICE), ["Queued, position 1"]);
    assert!(to(&sent, ALICE)[0].has(HeaderName::Contact));
    server
}

/// The next INVITE for bob.
pub(crate) fn tried(server: &mut Server) -> (Message, Vec<(String, Message)>) {
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
    // Carol is the first one now, and told at once.
    assert_eq!(told(&sent, CAROL), ["Queued, position 1"]);
    let ack = alice.request("ACK", "", "");
    server.receive(ALICE, &ack);
    let sent = server.pass(5);
    let calls: Vec<_> =
        to(&sent, BOB).into_iter().filter(|message| method(message) == "INVITE").cloned().collect();
    assert_eq!(told(&busy(&mut server, &calls[0]), CAROL), [""; 0], "nothing has changed");
    assert_eq!(server.engine.counters().calls_queued, 2);
}

/// A phone that keeps the rule of RFC 3261 §12.2.2 for each dialog of a call: no request has a lower number than one before.
#[derive(Default)]
struct Numbers(std::collections::BTreeMap<String, u32>);

impl Numbers {
    /// Takes a request in the dialog with this tag of ours.
    fn take(&mut self, request: &Message) {
        let tag = value(request, HeaderName::From);
        let number = request.cseq().expect("a CSeq").number;
        let last = self.0.entry(tag).or_default();
        assert!(number > *last, "{number} after {last}: {request:?}");
        *last = number;
    }
}

#[test]
pub(crate) fn the_next_try_has_dialogs_of_its_own_towards_who_waits() {
    let mut server = queue_server(None, 10);
    let allow = "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK\r\n";
    let extra = format!("Contact: <sip:x@{ALICE}>\r\nSupported: 100rel\r\n{allow}");
    let request = Request { extra, ..invite("sip:600@sip.test") };
    let mut sent = server.receive(ALICE, &text_of(&request, OFFER));
    let mut numbers = Numbers::default();
    let mut dialogs = Vec::new();
    for tag in ["first", "second"] {
        let bobs =
            to(&sent, BOB).into_iter().find(|message| method(message) == "INVITE").expect("one").clone();
        // He is heard before he answers, and changes that.
        let reliable = format!("Require: 100rel\r\nRSeq: 5\r\n{allow}");
        sent = server.receive(BOB, &response(&bobs, "183 Session Progress", tag, BOB, &reliable, ANSWER));
        let progress = only(&sent, ALICE).clone();
        dialogs.push(value(&progress, HeaderName::To));
        let mut alice = Phone::caller(ALICE, &progress);
        // Another branch each time.
        alice.cseq = 10 * dialogs.len() as u32;
        let rack = format!("RAck: {} 1 INVITE\r\n", value(&progress, HeaderName::RSeq));
        sent = server.receive(ALICE, &alice.request("PRACK", &rack, ""));
        let prack = only(&sent, BOB).clone();
        sent = server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
        assert_eq!(code(only(&sent, ALICE)), 200);
        let mut bob = Phone::callee(BOB, &bobs, tag);
        bob.cseq = 100 * dialogs.len() as u32;
        sent = server.receive(BOB, &bob.request("UPDATE", "", &format!("{ANSWER}a=sendonly\r\n")));
        let update = only(&sent, ALICE).clone();
        numbers.take(&update);
        server.receive(ALICE, &response(&update, "200 OK", "", ALICE, "", OFFER));
        if tag == "first" {
            sent = busy(&mut server, &bobs);
            assert_eq!(told(&sent, ALICE), ["Queued, position 1"]);
            let queued = value(to(&sent, ALICE)[0], HeaderName::To);
            assert!(!dialogs.contains(&queued), "the first one is over");
            sent = server.pass(5);
            continue;
        }
        sent = server.receive(BOB, &response(&bobs, "200 OK", tag, BOB, "", ""));
        let answer = only(&sent, ALICE).clone();
        assert_eq!(value(&answer, HeaderName::To), dialogs[1]);
        assert_ne!(dialogs[0], dialogs[1]);
        let mut acknowledging = alice.clone();
        acknowledging.cseq = 1;
        assert!(server.receive(ALICE, &acknowledging.request("ACK", "", "")).is_empty());
        let bye = bob.request("BYE", "", "");
        sent = server.receive(BOB, &bye);
        let bye = only(&sent, ALICE).clone();
        numbers.take(&bye);
        server.receive(ALICE, &response(&bye, "200 OK", "", ALICE, "", ""));
    }
    at_rest(&mut server);
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

fn cancel(server: &mut Server, call_id: &'static str) -> Vec<(String, Message)> {
    let cancel = Request { method: "CANCEL", call_id, ..invite("sip:600@sip.test") };
    let cancel = Request { from: "sip:alice@sip.test", via: ALICE, ..cancel };
    server.receive(ALICE, &cancel.text().replace("1CANCEL", "1INVITE"))
}

#[test]
pub(crate) fn who_moves_up_is_told_at_once_and_many_who_leave_cause_one_round_a_second() {
    let mut server = queue_server(None, 10);
    let sent = call(&mut server, ALICE, "call");
    let bobs = only(&sent, BOB).clone();
    busy(&mut server, &bobs);
    for (place, call_id) in ["second", "third", "fourth"].into_iter().enumerate() {
        let sent = call(&mut server, ALICE, call_id);
        assert_eq!(told(&sent, ALICE), [format!("Queued, position {}", place + 2)]);
    }
    let sent = call(&mut server, CAROL, "last");
    assert_eq!(told(&sent, CAROL), ["Queued, position 5"]);
    server.pass(1);
    let sent = cancel(&mut server, "call");
    assert_eq!(told(&sent, ALICE), ["Queued, position 1", "Queued, position 2", "Queued, position 3"]);
    assert_eq!(told(&sent, CAROL), ["Queued, position 4"]);
    // The others leave at the same time, and the last one hears of all that together.
    for call_id in ["second", "third", "fourth"] {
        assert_eq!(told(&cancel(&mut server, call_id), CAROL), [""; 0]);
    }
    let sent = server.pass(1);
    assert_eq!(told(&sent, CAROL), ["Queued, position 1"]);
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
