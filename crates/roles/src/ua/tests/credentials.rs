//! Which requests carry credentials that were asked for before (RFC 3261 §22.2, §22.3).

use dialtone_wire::HeaderName::{self, Authorization, ProxyAuthorization};
use dialtone_wire::Message;
use smol_str::SmolStr;

use super::bench::{Bench, header, sdp, settings, uri};
use crate::io::{ChangeBy, Command, Event, HoldForm, Play};

const CONTACT: &str = "Contact: <sip:bob@192.0.2.9>";

/// A phone of example.com, whose requests all pass the proxy at 192.0.2.9.
fn phone() -> Bench {
    let mut settings = settings("alice", "192.0.2.1:5060");
    let account = settings.account.as_mut().unwrap();
    account.aor = uri("sip:alice@Example.com");
    account.proxy = Some(uri("sip:192.0.2.9"));
    account.realms = Vec::new();
    Bench::new(settings)
}

/// One without a proxy: each call goes to its own host. These realms are named in its settings.
fn direct_phone(realms: &[&str]) -> Bench {
    let mut settings = settings("alice", "192.0.2.1:5060");
    settings.account.as_mut().unwrap().realms = realms.iter().map(SmolStr::new).collect();
    Bench::new(settings)
}

/// The realms that were told of as not answered since the last time.
fn kept(bench: &mut Bench) -> Vec<SmolStr> {
    let told = bench.events.drain(..).filter_map(|event| match event {
        Event::PasswordKept { realm } => Some(realm),
        _ => None,
    });
    told.collect()
}

/// What was sent after a challenge is the ACK of the refusal alone, and the owner is told why.
fn gets_nothing(bench: &mut Bench, request: &Message, status: u16, side: &str, realm: &str) {
    bench.respond(request, status, "p", &challenge(side, realm, "bait"), "");
    let is_invite = request.method() == Some(&dialtone_wire::Method::Invite);
    assert_eq!(bench.take_all(), if is_invite { "ACK" } else { "" }, "{status} {realm}");
    assert_eq!(kept(bench), [realm], "{status}");
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

/// RFC 3261 §22.3: a user agent answers for the realms that it has credentials for. What we have is our own server's.
#[test]
fn a_stranger_gets_no_digest_of_our_password_and_the_owner_is_told() {
    for (status, side) in [(401, "WWW"), (407, "Proxy")] {
        let mut bench = phone();
        let first = invite(&mut bench, "sip:bob@elsewhere.test");
        gets_nothing(&mut bench, &first, status, side, "elsewhere.test");
        // Without a proxy each call goes to its own host, which knows our domain from our From.
        for realm in ["203.0.113.1", "192.0.2.9"] {
            let mut bench = direct_phone(&[]);
            let first = invite(&mut bench, "sip:bob@203.0.113.1");
            gets_nothing(&mut bench, &first, status, side, realm);
            bench.command(Command::Options { token: 1, to: uri("sip:203.0.113.1") });
            let options = bench.take();
            gets_nothing(&mut bench, &options, status, side, realm);
        }
        // Within a call.
        for realm in ["elsewhere.test", "example.com"] {
            let mut bench = phone();
            let first = invite(&mut bench, "sip:bob@elsewhere.test");
            bench.respond(&first, 200, "b", "Contact: <sip:bob@203.0.113.9>", &sdp(4000, "sendrecv"));
            bench.take_all();
            let call = bench.last_call();
            bench.command(Command::Hold { call, form: HoldForm::Direction, by: ChangeBy::Invite });
            let hold = bench.take();
            gets_nothing(&mut bench, &hold, status, side, realm);
            bench.command(Command::Hangup { call });
            let bye = bench.take();
            gets_nothing(&mut bench, &bye, status, side, realm);
            bench.assert_at_rest();
        }
    }
}

#[test]
fn a_realm_of_the_settings_is_answered_whoever_names_it() {
    for realm in ["203.0.113.1", "OFFICE"] {
        let mut bench = direct_phone(&["office", "203.0.113.1"]);
        let [second, _] = challenged_call(&mut bench, "sip:bob@203.0.113.1", realm);
        assert_eq!(counts(&second, ProxyAuthorization, realm), ["1"]);
        assert_eq!(kept(&mut bench), [""; 0]);
    }
}

#[test]
fn what_another_server_asked_for_stays_within_its_call() {
    let mut bench = direct_phone(&["carrier.test"]);
    let [second, bye] = challenged_call(&mut bench, "sip:bob@203.0.113.1", "carrier.test");
    assert_eq!(counts(&second, ProxyAuthorization, "carrier.test"), ["1"]);
    assert_eq!(counts(&bye, ProxyAuthorization, "carrier.test"), ["2"], "RFC 3261 §22.3: the same Call-ID");
    for to in ["sip:bob@203.0.113.1", "sip:carol@192.0.2.9"] {
        let next = invite(&mut bench, to);
        assert_eq!(header(&next, ProxyAuthorization), "", "{to}");
        bench.respond(&next, 486, "b", "", "");
        bench.take();
    }
    // It is asked again, and asks for no person.
    let [third, _] = challenged_call(&mut bench, "sip:bob@203.0.113.1", "carrier.test");
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
    // Without a proxy each call goes to its own host. The settings have the realm be answered.
    for is_answered in [false, true] {
        let mut bench = direct_phone(if is_answered { &["192.0.2.9"] } else { &[] });
        challenged_call(&mut bench, "sip:bob@192.0.2.9", "192.0.2.9");
        let at_home = invite(&mut bench, "sip:carol@192.0.2.9");
        assert_eq!(counts(&at_home, ProxyAuthorization, "192.0.2.9").len(), 1);
        let abroad = invite(&mut bench, "sip:carol@203.0.113.1");
        assert_eq!(header(&abroad, ProxyAuthorization), "");
        // What he has asked for takes nobody else's place.
        bench.respond(&abroad, 407, "p", &challenge("Proxy", "192.0.2.9", "bait"), "");
        let ack = bench.take();
        assert_eq!(ack.method().unwrap().as_str(), "ACK");
        assert_eq!(!bench.transmits.is_empty(), is_answered);
        if is_answered {
            assert!(header(&bench.take(), ProxyAuthorization).contains("bait"));
        }
        let next = invite(&mut bench, "sip:dave@192.0.2.9");
        assert!(header(&next, ProxyAuthorization).contains("nonce=\"n1\""));
        assert!(!header(&next, ProxyAuthorization).contains("bait"));
    }
}
