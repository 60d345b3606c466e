//! The ways of calls of which the server is both ends: passwords, rules, groups, trunks in and out, phones behind a NAT and
//! on TCP. All of them are the proxy's; here is seen that they are the same.

use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::settings::dial_plan::{Action, DialPlan, Rule, Template};
use dialtone_roles::settings::{
    Account, Destination, Domain, Group, InboundNumber, Listener, Member, Mode, Password, Strategy, Trunk,
    TrunkAccess,
};
use dialtone_wire::net::{ConnectionId, Flow, Transport};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response,
    server_with, text_of, to, value,
};
use crate::peers::{Request, SERVER, Server, invite, register, register_bob, settings};

const CARRIER: &str = "127.0.1.1:5060";

fn b2bua_domain() -> Domain {
    Domain { name: "sip.test".into(), mode: Mode::B2bua, ..Domain::default() }
}

fn uri(text: &str) -> UriBuf {
    UriBuf::parse(text).expect("a URI")
}

fn carrier() -> Trunk {
    let bob = InboundNumber {
        pattern: "+49301".parse().expect("a pattern"),
        to: Destination::User("sip:bob@sip.test".into()),
    };
    let account = Account {
        aor: uri("sip:4930@carrier.test"),
        display_name: None,
        auth_user: "4930".into(),
        password: Password("carrier-pw".into()),
        proxy: None,
        backup_proxy: None,
        realms: Vec::new(),
        expires_s: 600,
    };
    let access = TrunkAccess::Addresses(vec![uri("sip:127.0.1.1")]);
    Trunk { numbers: vec![bob], credentials: Some(account), calls_max: 1, ..Trunk::new("carrier", access) }
}

fn rule(mode: Option<Mode>, action: Action) -> Rule {
    Rule {
        name: "a rule".into(),
        numbers: vec!["+1*".parse().expect("a pattern")],
        domains: Vec::new(),
        callers: Vec::new(),
        times: None,
        strip: 0,
        prepend: "".into(),
        action,
        mode,
    }
}

/// Alice's INVITE with her password: what it brought about.
fn authorized(server: &mut Server, called: &'static str) -> Vec<(String, Message)> {
    let mut request = invite(called);
    let challenge = server.receive(ALICE, &text_of(&request, OFFER)).remove(0).1;
    assert_eq!(code(&challenge), 407);
    request.with_credentials("alice", "alice-pw", &challenge);
    server.receive(ALICE, &text_of(&request, OFFER))
}

/// Bob, or a gateway, answers the call that reached him; alice acknowledges and hangs up.
fn talk_and_end(server: &mut Server, phone: &'static str, at_phone: &Message, cseq: u32) {
    let sent = server.receive(phone, &response(at_phone, "200 OK", "t", phone, "", ANSWER));
    assert_eq!(method(only(&sent, phone)), "ACK");
    let mut alice = Phone::caller(ALICE, only(&sent, ALICE));
    alice.cseq = cseq;
    let ack = alice.request("ACK", "", "");
    assert!(server.receive(ALICE, &ack).is_empty());
    let bye = alice.request("BYE", "", "");
    let sent = server.receive(ALICE, &bye);
    assert_eq!(code(only(&sent, ALICE)), 200);
    let bye = only(&sent, phone).clone();
    assert_eq!(method(&bye), "BYE");
    server.receive(phone, &response(&bye, "200 OK", "", phone, "", ""));
}

#[test]
fn a_caller_shows_her_password_once_and_it_goes_no_further() {
    let mut server = Server::new(Settings { domains: vec![b2bua_domain()], ..settings() });
    register_bob(&mut server);
    let sent = authorized(&mut server, "sip:bob@sip.test");
    let at_bob = only(&sent, BOB).clone();
    assert!(!at_bob.has(HeaderName::ProxyAuthorization));
    talk_and_end(&mut server, BOB, &at_bob, 2);
    at_rest(&mut server);
    // Another user's call is none of hers.
    let mut forged = Request { from: "sip:carol@sip.test", call_id: "forged", ..invite("sip:bob@sip.test") };
    let challenge = server.receive(ALICE, &forged.text()).remove(0).1;
    forged.with_credentials("alice", "alice-pw", &challenge);
    assert_eq!(server.status(ALICE, &forged.text()), 403);
}

#[test]
fn a_rule_makes_a_call_two_calls_and_the_others_stay_one() {
    let to_bob = Action::User { user: Template::of_user("bob").expect("a user"), domain: None };
    for (mode, call_ids_differ) in [(Some(Mode::B2bua), true), (None, false)] {
        let mut settings = settings();
        settings.dial_plan = DialPlan { rules: vec![rule(mode, to_bob.clone())], ..DialPlan::default() };
        let mut server = Server::new(settings);
        register_bob(&mut server);
        let sent = authorized(&mut server, "sip:+12125550100@sip.test");
        let at_bob = only(&sent, BOB).clone();
        assert_eq!(value(&at_bob, HeaderName::CallId) != "call", call_ids_differ);
        assert_eq!(server.engine.tables().bridges, usize::from(call_ids_differ));
    }
}

#[test]
fn a_group_rings_as_ever_and_the_member_who_answers_has_the_call() {
    let member = |user: &str| Member {
        destination: Destination::User(format!("sip:{user}@sip.test").into()),
        delay: Duration::ZERO,
        ring: None,
    };
    let group = Group {
        name: "sales".into(),
        members: vec![member("bob"), member("carol")],
        strategy: Strategy::All,
        domain: "sip.test".into(),
        numbers: vec!["sales".into()],
        otherwise: None,
    };
    let mut server = server_with(Settings { groups: vec![group], ..settings() }, &[BOB]);
    const CAROL: &str = "127.0.0.4:5090";
    assert_eq!(server.status(CAROL, &register("sip:carol@sip.test", CAROL, "reg-carol").text()), 200);
    let sent = server.receive(ALICE, &text_of(&invite("sip:sales@sip.test"), OFFER));
    let (at_bob, at_carol) = (only(&sent, BOB).clone(), only(&sent, CAROL).clone());
    assert_eq!(value(&at_bob, HeaderName::CallId), value(&at_carol, HeaderName::CallId));
    server.receive(BOB, &response(&at_bob, "180 Ringing", "b", BOB, "", ""));
    let sent = server.receive(CAROL, &response(&at_carol, "200 OK", "c", CAROL, "", ANSWER));
    assert_eq!((code(only(&sent, ALICE)), method(only(&sent, BOB))), (200, "CANCEL"));
}

#[test]
fn a_trunk_that_asks_for_a_password_gets_it_and_its_place_is_free_after_the_call() {
    let out = Action::Trunk("carrier".into());
    let mut settings = Settings { trunks: vec![carrier()], domains: vec![b2bua_domain()], ..settings() };
    settings.dial_plan = DialPlan { rules: vec![rule(None, out)], ..DialPlan::default() };
    let mut server = Server::new(settings);
    let sent = authorized(&mut server, "sip:+12125550100@sip.test");
    let first = only(&sent, CARRIER).clone();
    let challenge =
        "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";
    let sent = server.receive(CARRIER, &response(&first, "401 Unauthorized", "x", CARRIER, challenge, ""));
    let again = to(&sent, CARRIER).into_iter().find(|message| method(message) == "INVITE").cloned();
    let again = again.expect("it is sent again");
    assert!(again.has(HeaderName::Authorization));
    assert!(to(&sent, ALICE).is_empty());
    assert_eq!(server.engine.trunks()[0].calls, 1);
    talk_and_end(&mut server, CARRIER, &again, 2);
    assert_eq!(server.engine.trunks()[0].calls, 0);
    server.pass(120);
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0), "{:?}", server.engine.tables());
}

#[test]
fn a_call_from_a_trunk_is_two_calls_where_its_domain_says_so_and_takes_one_place() {
    let mut server = server_with(Settings { trunks: vec![carrier()], ..settings() }, &[BOB]);
    let incoming = Request {
        from: "sip:+4940@carrier.test",
        via: CARRIER,
        call_id: "in",
        extra: format!("Contact: <sip:gw@{CARRIER}>\r\n"),
        ..invite("sip:+49301@127.0.0.1")
    };
    let sent = server.receive(CARRIER, &text_of(&incoming, OFFER));
    let at_bob = only(&sent, BOB).clone();
    assert_ne!(value(&at_bob, HeaderName::CallId), "in");
    assert_eq!(server.engine.trunks()[0].calls, 1);
    let sent = server.receive(BOB, &response(&at_bob, "486 Busy Here", "t", BOB, "", ""));
    assert_eq!(code(only(&sent, CARRIER)), 486);
    assert_eq!(server.engine.trunks()[0].calls, 0);
}

/// A TCP connection of this number from a phone.
fn tcp(slot: u32, remote: &str) -> Flow {
    let connection = Some(ConnectionId { shard: 0, slot, generation: 1 });
    let (local, remote) = (SERVER.parse().unwrap(), remote.parse().unwrap());
    Flow { transport: Transport::Tcp, local, remote, connection }
}

#[test]
fn phones_on_tcp_are_reached_over_the_connections_that_they_opened() {
    let listener = Listener { transport: Transport::Tcp, address: SERVER.parse().unwrap(), prefix_length: 8 };
    let mut settings = settings();
    settings.listeners.push(listener);
    let mut server = server_with(settings, &[]);
    let (hers, his) = (tcp(1, ALICE), tcp(2, BOB));
    // What the phones say of themselves leads nowhere.
    let tcp_of = |text: &str| {
        text.replace("SIP/2.0/UDP 127.0.0", "SIP/2.0/TCP 10.0.0")
            .replace("x@127.0.0", "x@10.0.0")
            .replace("alice@127.0.0", "alice@10.0.0")
    };
    let registered = server.receive_on(his, &tcp_of(&register("sip:bob@sip.test", BOB, "reg").text()));
    assert_eq!(code(only(&registered, BOB)), 200);
    let sent = server.receive_on(hers, &tcp_of(&alices_invite("", OFFER)));
    let at_bob = only(&sent, BOB).clone();
    assert!(value(&at_bob, HeaderName::Contact).contains(";transport=tcp"), "{at_bob:?}");
    let ok = response(&at_bob, "200 OK", "t", "10.0.0.3:5080", "", ANSWER);
    let sent = server.receive_on(his, &ok);
    assert_eq!(method(only(&sent, BOB)), "ACK");
    let mut alice = Phone::caller(ALICE, only(&sent, ALICE));
    let ack = tcp_of(&alice.request("ACK", "", ""));
    server.receive_on(hers, &ack);
    let mut bob = Phone::callee(BOB, &at_bob, "t");
    let reinvite = tcp_of(&bob.request("INVITE", "", &format!("{ANSWER}a=sendonly\r\n")));
    let sent = server.receive_on(his, &reinvite);
    let at_alice = only(&sent, ALICE).clone();
    assert!(body(&at_alice).contains("a=sendonly"));
    let sent = server.receive_on(hers, &response(&at_alice, "200 OK", "", "10.0.0.2:5070", "", OFFER));
    assert_eq!((method(only(&sent, ALICE)), code(only(&sent, BOB))), ("ACK", 200));
    let ack = tcp_of(&bob.request("ACK", "", ""));
    server.receive_on(his, &ack);
    let bye = tcp_of(&bob.request("BYE", "", ""));
    let sent = server.receive_on(his, &bye);
    let bye = only(&sent, ALICE).clone();
    assert_eq!(method(&bye), "BYE");
    server.receive_on(hers, &response(&bye, "200 OK", "", "10.0.0.2:5070", "", ""));
    at_rest(&mut server);
}

#[test]
fn what_a_user_asserts_of_himself_is_believed_as_little_as_by_the_proxy() {
    let seen = |mode: Mode| {
        let domain = Domain { name: "sip.test".into(), mode, ..Domain::default() };
        let mut server = Server::new(Settings { authenticate: false, domains: vec![domain], ..settings() });
        server.status(BOB, &register("sip:bob@sip.test", BOB, "reg").text());
        let asserted = "P-Asserted-Identity: <sip:queen@sip.test>\r\nPrivacy: none\r\n";
        let sent = server.receive(ALICE, &alices_invite(asserted, OFFER));
        let at_bob = only(&sent, BOB);
        (value(at_bob, HeaderName::PAssertedIdentity), value(at_bob, HeaderName::Privacy))
    };
    assert_eq!(seen(Mode::B2bua), seen(Mode::Call));
}

#[test]
fn a_callee_who_redirects_is_followed_and_a_redirection_that_leads_elsewhere_reaches_alice() {
    let mut server = server_with(settings(), &[BOB]);
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let at_bob = only(&sent, BOB).clone();
    let moved = response(&at_bob, "302 Moved", "t", BOB, "", "")
        .replace("<sip:x@127.0.0.3:5080>", "<sip:bob@elsewhere.test>");
    let sent = server.receive(BOB, &moved);
    let moved = only(&sent, ALICE);
    assert_eq!((code(moved), value(moved, HeaderName::Contact).as_str()), (302, "<sip:bob@elsewhere.test>"));
    at_rest(&mut server);
}

#[test]
fn an_offer_in_a_reliable_response_is_answered_in_the_prack() {
    let mut server = server_with(settings(), &[BOB]);
    let sent = server.receive(ALICE, &alices_invite("Require: 100rel\r\n", ""));
    let at_bob = only(&sent, BOB).clone();
    assert_eq!(value(&at_bob, HeaderName::Require), "100rel");
    let sent = server.receive(
        BOB,
        &response(&at_bob, "183 Session Progress", "t", BOB, "Require: 100rel\r\nRSeq: 5\r\n", OFFER),
    );
    let progress = only(&sent, ALICE).clone();
    let mut alice = Phone::caller(ALICE, &progress);
    let rack = format!("RAck: {} 1 INVITE\r\n", value(&progress, HeaderName::RSeq));
    let prack = alice.request("PRACK", &rack, ANSWER);
    let sent = server.receive(ALICE, &prack);
    let prack = only(&sent, BOB).clone();
    assert!(body(&prack).contains("m=audio 6000"));
    let sent = server.receive(BOB, &response(&prack, "200 OK", "", BOB, "", ""));
    assert_eq!(code(only(&sent, ALICE)), 200);
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ""));
    assert_eq!(method(only(&sent, BOB)), "ACK", "nothing is left to be answered");
    let ok = only(&sent, ALICE).clone();
    let ack = alice.request("ACK", "", "").replace("CSeq: 2 ACK", "CSeq: 1 ACK");
    server.receive(ALICE, &ack);
    let bob = Phone::callee(BOB, &at_bob, "t");
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
}

#[test]
fn in_front_of_the_server_that_has_the_domain_its_challenge_and_the_credentials_for_it_pass() {
    const REGISTRAR: &str = "127.0.0.7:5060";
    let next_hops = dialtone_roles::settings::NextHops(vec![uri("sip:127.0.0.7")]);
    let mut server =
        Server::new(Settings { domains: vec![Domain { next_hops, ..b2bua_domain() }], ..settings() });
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let first = only(&sent, REGISTRAR).clone();
    assert_ne!(value(&first, HeaderName::CallId), "call");
    assert_eq!(first.uri_text(), "sip:bob@sip.test");
    let challenge =
        "Proxy-Authenticate: Digest realm=\"sip.test\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";
    let refused = response(&first, "407 Proxy Authentication Required", "x", REGISTRAR, challenge, "");
    let sent = server.receive(REGISTRAR, &refused);
    let challenged = only(&sent, ALICE).clone();
    assert_eq!(code(&challenged), 407);
    let mut request = invite("sip:bob@sip.test");
    request.with_credentials("alice", "alice-pw", &challenged);
    let sent = server.receive(ALICE, &text_of(&request, OFFER));
    let again = only(&sent, REGISTRAR).clone();
    assert!(value(&again, HeaderName::ProxyAuthorization).contains("uri=\"sip:bob@sip.test\""), "{again:?}");
    talk_and_end(&mut server, REGISTRAR, &again, 2);
    server.pass(120);
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0), "{:?}", server.engine.tables());
}
