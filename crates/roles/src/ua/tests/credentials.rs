//! Which requests carry credentials that were asked for before (RFC 3261 §22.2, §22.3).

use dialtone_wire::HeaderName::{self, Authorization, ProxyAuthorization};
use dialtone_wire::Message;

use super::bench::{Bench, header, sdp, settings, uri};
use crate::io::{Command, Play};

const CONTACT: &str = "Contact: <sip:bob@192.0.2.9>";

/// A phone of example.com, whose requests all pass the proxy at 192.0.2.9.
fn phone() -> Bench {
    let mut settings = settings("alice", "192.0.2.1:5060");
    let account = settings.account.as_mut().unwrap();
    account.aor = uri("sip:alice@Example.com");
    account.proxy = Some(uri("sip:192.0.2.9"));
    Bench::new(settings)
}

fn challenge(header: &str, realm: &str, nonce: &str) -> String {
    format!("{header}-Authenticate: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"")
}

fn invite(bench: &mut Bench, to: &str) -> Message {
    bench.command(Command::Call { token: 1, to: uri(to), play: Play::Silence });
    bench.take()
}

/// Calls, is challenged by a proxy of this realm, and talks; returns the INVITE with credentials and the BYE.
fn challenged_call(bench: &mut Bench, to: &str, realm: &str) -> [Message; 2] {
    let first = invite(bench, to);
    bench.respond(&first, 407, "p", &challenge("Proxy", realm, "n1"), "");
    assert_eq!(bench.take().method().unwrap().as_str(), "ACK");
    let second = bench.take();
    bench.respond(&second, 200, "b", CONTACT, &sdp(4000, "sendrecv"));
    bench.take();
    bench.command(Command::Hangup { call: bench.last_call() });
    let bye = bench.take();
    bench.respond(&bye, 200, "b", "", "");
    [second, bye]
}

/// The nonce counts of the credentials for this realm.
fn counts(message: &Message, name: HeaderName, realm: &str) -> Vec<String> {
    let values = header(message, name);
    let of_realm = values.split("Digest ").filter(|value| value.contains(&format!("realm=\"{realm}\"")));
    let count = |value: &str| value.split("nc=").nth(1).unwrap()[..8].trim_start_matches('0').to_owned();
    of_realm.map(count).collect()
}

#[test]
fn what_our_own_proxy_asked_for_goes_with_each_call_that_it_carries() {
    let mut bench = phone();
    let [second, bye] = challenged_call(&mut bench, "sip:bob@elsewhere.test", "example.com");
    assert_eq!(counts(&second, ProxyAuthorization, "example.com"), ["1"]);
    assert_eq!(counts(&bye, ProxyAuthorization, "example.com"), ["2"]);
    let next = invite(&mut bench, "sip:carol@example.com");
    assert_eq!(counts(&next, ProxyAuthorization, "example.com"), ["3"]);
}

#[test]
fn what_a_foreign_proxy_asked_for_stays_within_its_call() {
    let mut bench = phone();
    let [second, bye] = challenged_call(&mut bench, "sip:bob@carrier.test", "carrier.test");
    assert_eq!(counts(&second, ProxyAuthorization, "carrier.test"), ["1"]);
    assert_eq!(counts(&bye, ProxyAuthorization, "carrier.test"), ["2"], "RFC 3261 §22.3: the same Call-ID");
    for to in ["sip:bob@carrier.test", "sip:carol@example.com"] {
        let next = invite(&mut bench, to);
        assert_eq!(header(&next, ProxyAuthorization), "", "{to}");
        bench.respond(&next, 486, "b", "", "");
        bench.take();
    }
    // It is asked again, and asks for no person.
    let [third, _] = challenged_call(&mut bench, "sip:bob@carrier.test", "carrier.test");
    assert_eq!(counts(&third, ProxyAuthorization, "carrier.test"), ["1"]);
}

#[test]
fn a_realm_that_the_registrar_names_is_our_own() {
    let mut bench = phone();
    bench.command(Command::Register);
    let register = bench.take();
    bench.respond(&register, 401, "r", &challenge("WWW", "office", "n0"), "");
    let register = bench.take();
    assert_eq!(counts(&register, Authorization, "office"), ["1"]);
    bench.respond(&register, 200, "r", "Contact: <sip:alice@192.0.2.1:5060>;expires=600", "");
    challenged_call(&mut bench, "sip:bob@example.com", "office");
    let next = invite(&mut bench, "sip:carol@carrier.test");
    assert_eq!(counts(&next, ProxyAuthorization, "office").len(), 1);
    assert_eq!(header(&next, Authorization), "", "the registrar's are for the registrar");
}

#[test]
fn a_stranger_who_names_our_realm_gets_nothing_unasked() {
    // Without a proxy each call goes to its own host.
    let mut bench = Bench::phone();
    challenged_call(&mut bench, "sip:bob@192.0.2.9", "192.0.2.9");
    let at_home = invite(&mut bench, "sip:carol@192.0.2.9");
    assert_eq!(counts(&at_home, ProxyAuthorization, "192.0.2.9").len(), 1);
    let abroad = invite(&mut bench, "sip:carol@203.0.113.1");
    assert_eq!(header(&abroad, ProxyAuthorization), "");
    // What he has asked for takes nobody else's place.
    bench.respond(&abroad, 407, "p", &challenge("Proxy", "192.0.2.9", "bait"), "");
    let ack = bench.take();
    assert_eq!(ack.method().unwrap().as_str(), "ACK");
    let asked = bench.take();
    assert!(header(&asked, ProxyAuthorization).contains("bait"));
    let next = invite(&mut bench, "sip:dave@192.0.2.9");
    assert!(header(&next, ProxyAuthorization).contains("nonce=\"n1\""));
    assert!(!header(&next, ProxyAuthorization).contains("bait"));
}
