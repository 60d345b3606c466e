//! Storms of requests that make no sense, against a server that is both ends of a call: each costs a bounded number of
//! messages and places, is refused in words, and the call goes on.

use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{ALICE, BOB, Call, code, method, response, talking, to, value};
use crate::peers::Server;

/// Requests of one storm.
const STORM: usize = 1_000;

/// Sends one request of a storm; it may lead to one message and no more.
fn one(server: &mut Server, from: &str, text: &str) -> Option<Message> {
    let mut sent = server.receive(from, text);
    assert!(sent.len() <= 1, "{sent:?}");
    sent.pop().map(|(_, message)| message)
}

/// Each request of alice's dialog is refused with this status and these words, and the bridge holds nothing of it.
fn check(extra: &str, expected: u16, why: &str) -> Call {
    let mut call = talking();
    let before = call.server.engine.tables();
    for _ in 0..STORM {
        let request = call.alice.request("REFER", extra, "");
        let refused = one(&mut call.server, ALICE, &request).expect("an answer");
        assert_eq!(code(&refused), expected);
        assert!(value(&refused, HeaderName::Warning).contains(why), "{refused:?}");
    }
    let tables = call.server.engine.tables();
    assert_eq!((tables.bridges, tables.bridge_requests), (1, before.bridge_requests), "{tables:?}");
    assert!(tables.server_transactions <= STORM + before.server_transactions, "{tables:?}");
    call
}

#[test]
fn a_thousand_refers_to_nonsense_are_refused_in_words_and_the_call_goes_on() {
    for nonsense in ["Refer-To: <sip:bob@sip.test\r\n", "Refer-To: <sip:a@b>, <sip:c@d>\r\n", ""] {
        let mut call = check(nonsense, 400, "Refer-To names nobody");
        // The transactions of a storm are over after Timer J.
        call.server.pass(33);
        assert!(call.server.engine.tables().server_transactions <= 1);
        call.end();
    }
}

#[test]
fn a_thousand_refers_that_name_the_call_itself_are_refused_in_words() {
    let mut names = talking();
    let [call_id, own, other] = names.alice.dialog();
    names.server.pass(1);
    let extra =
        format!("Refer-To: <sip:bob@sip.test?Replaces={call_id}%3Bto-tag%3D{other}%3Bfrom-tag%3D{own}>\r\n");
    // The tags of the server are chosen by its seed, and so the same in each call.
    check(&extra, 403, "already").end();
}

#[test]
fn a_storm_of_notifies_that_nobody_answers_takes_sixteen_places() {
    let mut call = talking();
    let before = call.server.engine.tables();
    let mut passed = Vec::new();
    let mut refused = 0;
    for _ in 0..STORM {
        let extra = "Event: refer\r\nSubscription-State: active;expires=60\r\n";
        let notify = call.bob.request("NOTIFY", extra, "");
        let sent = call.server.receive(BOB, &notify);
        assert!(sent.len() <= 1, "{sent:?}");
        for message in to(&sent, ALICE) {
            assert_eq!(method(message), "NOTIFY");
            passed.push(message.clone());
        }
        for answer in to(&sent, BOB) {
            assert_eq!(code(answer), 500);
            assert!(answer.has(HeaderName::RetryAfter));
            assert!(value(answer, HeaderName::Warning).contains("wait for an answer"), "{answer:?}");
            refused += 1;
        }
    }
    assert_eq!((passed.len(), refused), (16, STORM - 16));
    assert_eq!(call.server.engine.counters().overload, (STORM - 16) as u64);
    assert_eq!(call.server.engine.tables().bridge_requests, before.bridge_requests + 16);
    for notify in passed {
        call.server.receive(ALICE, &response(&notify, "200 OK", "", ALICE, "", ""));
    }
    call.end();
}

#[test]
fn a_thousand_updates_of_nobodys_dialog_are_481_and_the_call_hears_nothing() {
    let mut call = talking();
    let before = call.server.engine.tables();
    for _ in 0..STORM {
        let update = call.alice.clone().request("UPDATE", "", "").replace(";tag=f", ";tag=other");
        let update = update.replace("branch=", &format!("branch=z9hG4bK{}", call.alice.cseq));
        call.alice.cseq += 1;
        let refused = one(&mut call.server, ALICE, &update).expect("an answer");
        assert_eq!(code(&refused), 481);
    }
    let tables = call.server.engine.tables();
    assert_eq!((tables.bridges, tables.bridge_requests), (1, before.bridge_requests), "{tables:?}");
    call.end();
}
