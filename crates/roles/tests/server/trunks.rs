//! Calls out over trunks and in from them, registrations with them, and probes.

use std::time::Duration;

use dialtone_roles::Settings;
use dialtone_roles::settings::dial_plan::{Action, CallerPattern, DialPlan, Rule, Template};
use dialtone_roles::settings::{
    Account, Destination, Group, InboundNumber, Member, Mode, Password, Strategy, Trunk, TrunkAccess,
};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, credentials, invite, register, register_bob, settings};

const ALICE: &str = "127.0.0.2:5070";
const FIRST: &str = "127.0.1.1:5060";
const SECOND: &str = "127.0.1.2:5060";
const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";

fn uri(text: &str) -> UriBuf {
    UriBuf::parse(text).expect("a URI")
}

fn account() -> Account {
    Account {
        aor: uri("sip:4930@carrier.test"),
        display_name: None,
        auth_user: "4930".into(),
        password: Password("carrier-pw".into()),
        proxy: None,
        backup_proxy: None,
        realms: Vec::new(),
        expires_s: 600,
    }
}

/// A trunk with two addresses, where +49301 is bob's number.
fn carrier() -> Trunk {
    let addresses = vec![uri("sip:127.0.1.1"), uri("sip:127.0.1.2")];
    let bob = InboundNumber {
        pattern: "+49301".parse().expect("a pattern"),
        to: Destination::User("sip:bob@sip.test".into()),
    };
    Trunk { numbers: vec![bob], ..Trunk::new("carrier", TrunkAccess::Addresses(addresses)) }
}

fn registering() -> Trunk {
    let access = TrunkAccess::Registrar { registrar: uri("sip:127.0.1.1"), account: account(), gin: false };
    Trunk { access, ..carrier() }
}

fn rule(name: &str, callers: Vec<CallerPattern>) -> Rule {
    Rule {
        name: name.into(),
        numbers: vec!["+1*".parse().expect("a pattern")],
        domains: Vec::new(),
        callers,
        times: None,
        strip: 0,
        prepend: "".into(),
        action: Action::Trunk("carrier".into()),
        mode: None,
    }
}

/// Users who reach a number over the trunk as "out".
fn server(trunk: Trunk) -> Server {
    with_rules(trunk, Vec::new())
}

fn with_rules(trunk: Trunk, rules: Vec<Rule>) -> Server {
    Server::new(settings_with(trunk, rules))
}

fn settings_with(trunk: Trunk, rules: Vec<Rule>) -> Settings {
    let dial_plan = DialPlan { rules, ..DialPlan::default() };
    let number = Destination::Trunk { trunk: "carrier".into(), number: "+12125550100".into() };
    let member = Member { destination: number, delay: Duration::ZERO, ring: None };
    let groups = vec![Group {
        name: "out".into(),
        members: vec![member],
        strategy: Strategy::All,
        domain: "sip.test".into(),
        numbers: vec!["out".into()],
        otherwise: None,
    }];
    Settings { trunks: vec![trunk], dial_plan, groups, ..settings() }
}

/// Alice's INVITE with her password: what it brought about.
fn call(server: &mut Server, extra: &str) -> Vec<(String, Message)> {
    let mut request = invite("sip:out@sip.test");
    request.extra.push_str(extra);
    let challenge = server.receive(ALICE, &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    server.receive(ALICE, &request.text())
}

fn to<'a>(sent: &'a [(String, Message)], place: &str) -> Vec<&'a Message> {
    sent.iter().filter(|(to, _)| to == place).map(|(_, message)| message).collect()
}

/// The only request that went to this place.
fn request_to<'a>(sent: &'a [(String, Message)], place: &str) -> &'a Message {
    let requests: Vec<_> = to(sent, place).into_iter().filter(|message| message.is_request()).collect();
    assert_eq!(requests.len(), 1, "{place}: {sent:?}");
    requests[0]
}

fn codes(sent: &[(String, Message)], place: &str) -> Vec<u16> {
    to(sent, place).iter().filter_map(|message| message.status()).map(|status| status.code()).collect()
}

fn text(message: &Message, name: HeaderName) -> String {
    String::from_utf8(message.value(name).unwrap_or_default().to_vec()).expect("UTF-8")
}

/// A response to a request that went through the server.
fn answer(request: &Message, status: &str, lines: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in [HeaderName::Via, HeaderName::RecordRoute] {
        for value in request.values(name) {
            text.push_str(&format!("{name}: {}\r\n", std::str::from_utf8(value).expect("UTF-8")));
        }
    }
    let to = self::text(request, HeaderName::To);
    let tag = if to.contains("tag=") { "" } else { ";tag=t" };
    for (name, more) in [(HeaderName::From, ""), (HeaderName::CallId, ""), (HeaderName::CSeq, "")] {
        text.push_str(&format!("{name}: {}{more}\r\n", self::text(request, name)));
    }
    format!("{text}To: {to}{tag}\r\n{lines}\r\n")
}

fn cseq(message: &Message) -> u32 {
    message.cseq().expect("a CSeq").number
}

#[test]
fn a_call_goes_out_with_the_number_of_its_caller() {
    let trunk = Trunk {
        trust: true,
        caller_ids: [("sip:alice@sip.test".into(), "+49302".into())].into(),
        ..carrier()
    };
    let mut server = server(trunk);
    let sent = call(&mut server, "P-Asserted-Identity: <sip:+1@forged.test>\r\n");
    let out = request_to(&sent, FIRST);
    assert_eq!(out.uri_text(), "sip:+12125550100@127.0.1.1;user=phone");
    assert_eq!(text(out, HeaderName::PAssertedIdentity), "<sip:+49302@sip.test;user=phone>");
    assert_eq!(text(out, HeaderName::From), "<sip:+49302@sip.test;user=phone>;tag=f");
    assert_eq!(out.values(HeaderName::PAssertedIdentity).count(), 1);
    let back = server.receive(FIRST, &answer(out, "200 OK", "Contact: <sip:gw@127.0.1.1>\r\n"));
    assert_eq!(codes(&back, ALICE), [200]);
    assert_eq!(text(to(&back, ALICE)[0], HeaderName::From), "<sip:alice@sip.test>;tag=f", "as she wrote it");
}

#[test]
fn who_wants_to_stay_unknown_does() {
    let mut server = server(carrier());
    let sent = call(&mut server, "Privacy: id\r\n");
    let out = request_to(&sent, FIRST);
    assert!(!out.has(HeaderName::PAssertedIdentity));
    assert_eq!(out.from().expect("From").uri_text, "sip:anonymous@anonymous.invalid");
    let route = text(out, HeaderName::RecordRoute);
    let ok = answer(out, "200 OK", "Contact: <sip:gw@127.0.1.1>\r\n");
    server.receive(FIRST, &ok);
    let bye = Request {
        method: "BYE",
        uri: "sip:gw@127.0.1.1",
        to: "sip:+12125550100@sip.test>;tag=t;x=<",
        cseq: 3,
        extra: format!("Route: {route}\r\n"),
        ..invite("sip:x@sip.test")
    };
    let sent = server.receive(ALICE, &bye.text().replace(";x=<>", ""));
    assert_eq!(request_to(&sent, FIRST).from().expect("From").uri_text, "sip:anonymous@anonymous.invalid");
    let refused = call(&mut self::server(carrier()), "Privacy: header;critical\r\n");
    assert_eq!(codes(&refused, ALICE).last(), Some(&500));
}

#[test]
fn the_next_address_is_tried_when_one_is_silent_and_not_when_it_rings_or_refuses() {
    // Silent: after four seconds, long before Timer B.
    let mut server = self::server(carrier());
    let sent = call(&mut server, "");
    assert!(to(&sent, SECOND).is_empty());
    assert!(to(&server.pass(3), SECOND).is_empty());
    let sent = server.pass(2);
    let second = to(&sent, SECOND)[0].clone();
    assert_eq!(second.uri_text(), "sip:+12125550100@127.0.1.2;user=phone");
    let back = server.receive(SECOND, &answer(&second, "200 OK", "Contact: <sip:gw@127.0.1.2>\r\n"));
    assert_eq!(codes(&back, ALICE), [200]);
    assert_eq!(server.engine.counters().trunk_failovers, 1);

    for (status, goes_on) in [
        ("503 Service Unavailable", true),
        ("408 Request Timeout", true),
        ("486 Busy Here", false),
        ("404 Not Found", false),
        ("603 Decline", false),
    ] {
        let mut server = self::server(carrier());
        let sent = call(&mut server, "");
        let sent = server.receive(FIRST, &answer(request_to(&sent, FIRST), status, ""));
        let tried = to(&sent, SECOND).iter().any(|message| message.is_request());
        assert_eq!(tried, goes_on, "{status}");
        assert_eq!(codes(&sent, ALICE).is_empty(), goes_on, "{status}");
    }

    // Once it rings, it rings on.
    let mut server = self::server(carrier());
    let sent = call(&mut server, "");
    let first = request_to(&sent, FIRST).clone();
    server.receive(FIRST, &answer(&first, "100 Trying", ""));
    assert!(to(&server.pass(30), SECOND).is_empty(), "it answers, if not the call");
    let back = server.receive(FIRST, &answer(&first, "180 Ringing", ""));
    assert_eq!(codes(&back, ALICE), [180]);
    let sent = server.receive(FIRST, &answer(&first, "503 Service Unavailable", ""));
    assert!(to(&sent, SECOND).is_empty());
    assert_eq!(codes(&sent, ALICE), [500]);
    server.pass(400);
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0), "{:?}", server.engine.tables());
}

#[test]
fn a_trunk_that_asks_for_a_password_gets_it_and_the_dialog_goes_on_with_its_own_numbers() {
    let mut server = server(Trunk { credentials: Some(account()), ..carrier() });
    let sent = call(&mut server, "");
    let first = request_to(&sent, FIRST).clone();
    assert_eq!(cseq(&first), 8, "alice's is 2");
    let sent = server.receive(FIRST, &answer(&first, "401 Unauthorized", CHALLENGE));
    assert!(codes(&sent, ALICE).is_empty(), "alice has no password for it");
    let again =
        to(&sent, FIRST).into_iter().find(|message| cseq(message) == 9).expect("it is sent again").clone();
    let credentials = text(&again, HeaderName::Authorization);
    assert!(
        credentials.contains("username=\"4930\"")
            && credentials.contains("uri=\"sip:+12125550100@127.0.1.1;user=phone\"")
    );
    let route = text(&again, HeaderName::RecordRoute);
    let back =
        server.receive(FIRST, &answer(&again, "183 Session Progress", "RSeq: 1\r\nRequire: 100rel\r\n"));
    assert_eq!(cseq(to(&back, ALICE)[0]), 2);
    let in_dialog = |method, cseq, more: &str| {
        let request = Request {
            method,
            uri: "sip:gw@127.0.1.1",
            to: "sip:+12125550100@sip.test>;tag=t;x=<",
            cseq,
            extra: format!("Route: {route}\r\n{more}"),
            ..invite("sip:x@sip.test")
        };
        request.text().replace(";x=<>", "")
    };
    let sent = server.receive(ALICE, &in_dialog("PRACK", 3, "RAck: 1 2 INVITE\r\n"));
    let prack = request_to(&sent, FIRST);
    assert_eq!((cseq(prack), text(prack, HeaderName::RAck).as_str()), (12, "1 9 INVITE"));
    let back = server.receive(FIRST, &answer(prack, "200 OK", ""));
    assert_eq!(cseq(to(&back, ALICE)[0]), 3);
    let back = server.receive(FIRST, &answer(&again, "200 OK", "Contact: <sip:gw@127.0.1.1>\r\n"));
    assert_eq!((codes(&back, ALICE), cseq(to(&back, ALICE)[0])), (vec![200], 2));
    let sent = server.receive(ALICE, &in_dialog("ACK", 2, ""));
    assert_eq!(cseq(request_to(&sent, FIRST)), 9);

    // It asks again within the dialog: the ACK has the number of the INVITE that was taken.
    let sent = server.receive(ALICE, &in_dialog("INVITE", 4, "Contact: <sip:alice@127.0.0.2:5070>\r\n"));
    let reinvite = request_to(&sent, FIRST).clone();
    assert_eq!(cseq(&reinvite), 16);
    assert!(reinvite.has(HeaderName::Authorization), "what it has asked for it gets unasked");
    let stale = CHALLENGE.replace("n1", "n2").replace("qop", "stale=true, qop");
    let sent = server.receive(FIRST, &answer(&reinvite, "401 Unauthorized", &stale));
    let again =
        to(&sent, FIRST).into_iter().find(|message| cseq(message) == 17).expect("it is sent again").clone();
    assert!(text(&again, HeaderName::Authorization).contains("nonce=\"n2\""));
    let back = server.receive(FIRST, &answer(&again, "200 OK", "Contact: <sip:gw@127.0.1.1>\r\n"));
    assert_eq!((codes(&back, ALICE), cseq(to(&back, ALICE)[0])), (vec![200], 4));
    let sent = server.receive(ALICE, &in_dialog("ACK", 4, ""));
    assert_eq!(cseq(request_to(&sent, FIRST)), 17);

    // The other side's numbers are its own.
    let bye = format!(
        "BYE sip:alice@127.0.0.2:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.1.1;branch=z9hG4bKbye\r\nRoute: {route}\r\n\
         From: <sip:+12125550100@sip.test>;tag=t\r\nTo: <sip:alice@sip.test>;tag=f\r\nCall-ID: call\r\nCSeq: 77 BYE\r\n\r\n"
    );
    let sent = server.receive(FIRST, &bye);
    assert_eq!(cseq(request_to(&sent, ALICE)), 77);
}

#[test]
fn a_wrong_password_is_the_callers_answer_and_no_loop() {
    let mut server = server(Trunk { credentials: Some(account()), ..carrier() });
    let sent = call(&mut server, "");
    let mut request = request_to(&sent, FIRST).clone();
    let mut rounds = 0;
    let last = loop {
        let sent = server.receive(FIRST, &answer(&request, "401 Unauthorized", CHALLENGE));
        match to(&sent, FIRST)
            .into_iter()
            .find(|message| message.method().is_some_and(|method| method.as_str() == "INVITE"))
        {
            Some(again) => request = again.clone(),
            None => break codes(&sent, ALICE),
        }
        rounds += 1;
        assert!(rounds < 5);
    };
    assert_eq!((rounds, last), (1, vec![401]));
    assert_eq!(server.engine.counters().trunk_refused, 1);
}

#[test]
fn a_trunk_has_as_many_calls_as_it_may() {
    let mut server = server(Trunk { calls_max: 1, ..carrier() });
    let sent = call(&mut server, "");
    let first = request_to(&sent, FIRST).clone();
    let mut other = Request { call_id: "other", ..invite("sip:out@sip.test") };
    let challenge = server.receive(ALICE, &other.text()).remove(0).1;
    other.with_credentials("alice", "alice-pw", &challenge);
    let sent = server.receive(ALICE, &other.text());
    assert_eq!(codes(&sent, ALICE).last(), Some(&480));
    assert_eq!(server.engine.counters().trunk_full, 1);
    assert_eq!(server.engine.trunks()[0].calls, 1);
    server.receive(FIRST, &answer(&first, "486 Busy Here", ""));
    assert_eq!(server.engine.trunks()[0].calls, 0);
}

#[test]
fn the_place_of_a_call_is_free_when_it_ends_whatever_the_proxy_remembers_of_it() {
    for mode in [Mode::Call, Mode::Transaction] {
        let mut settings = settings_with(carrier(), Vec::new());
        settings.domains[0].mode = mode;
        let mut server = Server::new(settings);
        let sent = call(&mut server, "");
        let out = request_to(&sent, FIRST).clone();
        server.receive(FIRST, &answer(&out, "200 OK", "Contact: <sip:gw@127.0.1.1>\r\n"));
        assert_eq!(server.engine.trunks()[0].calls, 1, "{mode:?}");
        let reinvite = in_dialog(&out, "INVITE", 3, "Contact: <sip:alice@127.0.0.2:5070>\r\n");
        let again = request_to(&server.receive(ALICE, &reinvite), FIRST).clone();
        server.receive(FIRST, &answer(&again, "488 Not Acceptable Here", ""));
        assert_eq!(server.engine.trunks()[0].calls, 1, "{mode:?}: it goes on");
        server.receive(ALICE, &in_dialog(&out, "BYE", 4, ""));
        assert_eq!(server.engine.trunks()[0].calls, 0, "{mode:?}");
    }
}

#[test]
fn calls_in_take_the_places_of_a_trunk_too_and_free_them_however_they_end() {
    let mut server = server(Trunk { calls_max: 1, ..carrier() });
    register_bob(&mut server);
    let bob = "127.0.0.3:5080";
    let rings = |server: &mut Server, call_id| {
        let from_carrier = Request { call_id, ..incoming("sip:+49301@127.0.0.1", FIRST) };
        let sent = server.receive(FIRST, &from_carrier.text());
        (codes(&sent, FIRST).last().copied(), to(&sent, bob).first().map(|message| (*message).clone()))
    };
    let (_, first) = rings(&mut server, "one");
    let first = first.expect("the first rings");
    assert_eq!((server.engine.trunks()[0].calls, server.engine.trunks()[0].calls_max), (1, 1));
    assert_eq!(rings(&mut server, "two").0, Some(480));
    assert_eq!(server.engine.counters().trunk_full, 1);
    server.receive(bob, &answer(&first, "486 Busy Here", ""));
    assert_eq!(server.engine.trunks()[0].calls, 0, "refused");
    let (_, third) = rings(&mut server, "three");
    let third = third.expect("there is room again");
    server.receive(bob, &answer(&third, "200 OK", "Contact: <sip:bob@127.0.0.3:5080>\r\n"));
    assert_eq!(server.engine.trunks()[0].calls, 1, "talking");
    let bye = Request {
        method: "BYE",
        call_id: "three",
        cseq: 2,
        to: "sip:+49301@127.0.0.1>;tag=t;x=<",
        extra: format!("Route: {}\r\n", text(&third, HeaderName::RecordRoute)),
        ..incoming("sip:bob@127.0.0.3:5080", FIRST)
    };
    server.receive(FIRST, &bye.text().replace(";x=<>", ""));
    assert_eq!(server.engine.trunks()[0].calls, 0, "over");
}

/// A request of alice within the dialog that this INVITE began.
fn in_dialog(invite: &Message, method: &str, cseq: u32, more: &str) -> String {
    let route = text(invite, HeaderName::RecordRoute);
    let request = Request {
        method,
        uri: "sip:gw@127.0.1.1",
        to: "sip:out@sip.test>;tag=t;x=<",
        cseq,
        extra: format!("Route: {route}\r\n{more}"),
        ..self::invite("sip:x@sip.test")
    };
    request.text().replace(";x=<>", "")
}

/// An INVITE of somebody behind the trunk.
fn incoming<'a>(number: &'a str, from: &'a str) -> Request<'a> {
    Request {
        uri: number,
        to: number,
        from: "sip:+4989@carrier.test",
        via: from,
        extra: "Contact: <sip:gw@127.0.1.1>\r\nP-Asserted-Identity: <sip:+4989@carrier.test>\r\n".into(),
        ..invite("sip:x@sip.test")
    }
}

#[test]
fn a_number_that_is_called_from_a_trunk_rings_at_its_user_and_no_password_is_asked() {
    for (trust, told) in [(true, true), (false, false)] {
        let mut server = server(Trunk { trust, ..carrier() });
        register_bob(&mut server);
        let sent = server.receive(SECOND, &incoming("sip:+49301@127.0.0.1", SECOND).text());
        let rings = request_to(&sent, "127.0.0.3:5080");
        assert_eq!(rings.uri_text(), "sip:x@127.0.0.3:5080");
        assert_eq!(rings.has(HeaderName::PAssertedIdentity), told, "only who is trusted is believed");
    }
    // From elsewhere the same is a stranger's call.
    let mut server = server(carrier());
    let codes = codes(
        &server.receive("127.0.1.9:5060", &incoming("sip:+49301@127.0.0.1", "127.0.1.9:5060").text()),
        "127.0.1.9:5060",
    );
    assert_eq!(codes, [407]);
}

#[test]
fn from_a_trunk_nothing_leads_out_again_unless_a_rule_for_it_says_so() {
    let called = incoming("sip:+12125550100@127.0.0.1", FIRST).text();
    let mut closed = server(carrier());
    assert_eq!(codes(&closed.receive(FIRST, &called), FIRST), [404], "a number of nobody");
    assert_eq!(closed.engine.counters().trunk_unknown, 1);
    let mut open = with_rules(carrier(), vec![rule("transit", vec![CallerPattern::Trunk("carrier".into())])]);
    let sent = open.receive(FIRST, &called);
    assert_eq!(sent.iter().filter(|(_, message)| message.is_request()).count(), 1, "{sent:?}");
    let foreign = incoming("sip:+12125550100@elsewhere.test", FIRST).text();
    assert_eq!(
        codes(&closed.receive(FIRST, &foreign.replace("branch=z9hG4bK", "branch=z9hG4bKf")), FIRST),
        [404]
    );
}

#[test]
fn a_rule_refuses_a_call_from_a_trunk_in_words_or_sends_it_elsewhere() {
    let status = dialtone_wire::Status::of;
    let contact = Template::of_contact("sip:{number}@far.test;q=0.5").expect("a contact");
    for (action, code, header, value) in [
        (
            Action::Refuse { status: status(410), reason: Some("Out of use".into()), error_info: None },
            410,
            HeaderName::Warning,
            "399 sip.test \"Out of use\"",
        ),
        (
            Action::Redirect { status: status(302), contacts: vec![contact] },
            302,
            HeaderName::Contact,
            "sip:+12125550100@far.test;q=0.5",
        ),
    ] {
        let ruled = Rule { action, ..rule("ruled", vec![CallerPattern::Trunk("carrier".into())]) };
        let mut server = with_rules(carrier(), vec![ruled]);
        let sent = server.receive(FIRST, &incoming("sip:+12125550100@sip.test", FIRST).text());
        assert_eq!(codes(&sent, FIRST), [code]);
        assert_eq!(text(&sent[0].1, header), value);
    }
}

#[test]
fn a_telephone_system_that_is_trusted_calls_with_the_numbers_of_its_users() {
    for (trust, code) in [(true, None), (false, Some(403))] {
        let access = TrunkAccess::User { aor: "sip:carol@sip.test".into() };
        let mut server = server(Trunk { access, trust, numbers: Vec::new(), ..carrier() });
        register_bob(&mut server);
        let mut request = Request { from: "sip:+49307@sip.test", ..invite("sip:bob@sip.test") };
        request.extra.push_str("P-Asserted-Identity: <sip:+49307@sip.test>\r\n");
        let challenge = server.receive(ALICE, &request.text()).remove(0).1;
        request.with_credentials("carol", "carol-pw", &challenge);
        let sent = server.receive(ALICE, &request.text());
        assert_eq!(codes(&sent, ALICE).into_iter().find(|code| *code > 100), code);
        if trust {
            assert!(request_to(&sent, "127.0.0.3:5080").has(HeaderName::PAssertedIdentity));
        }
    }
}

#[test]
fn calls_of_a_telephone_system_that_registers_with_us_take_the_places_of_its_trunk() {
    let access = TrunkAccess::User { aor: "sip:carol@sip.test".into() };
    let mut server = server(Trunk { access, trust: true, numbers: Vec::new(), calls_max: 1, ..carrier() });
    register_bob(&mut server);
    let call = |server: &mut Server, call_id| {
        let from = "sip:+49307@sip.test";
        let mut request = Request { from, call_id, ..invite("sip:bob@sip.test") };
        request.extra.push_str("P-Asserted-Identity: <sip:+49307@sip.test>\r\n");
        let challenge = server.receive(ALICE, &request.text()).remove(0).1;
        request.with_credentials("carol", "carol-pw", &challenge);
        server.receive(ALICE, &request.text())
    };
    let sent = call(&mut server, "one");
    let first = request_to(&sent, "127.0.0.3:5080").clone();
    assert_eq!(server.engine.trunks()[0].calls, 1);
    let sent = call(&mut server, "two");
    assert_eq!((codes(&sent, ALICE).last(), server.engine.counters().trunk_full), (Some(&480), 1));
    server.receive("127.0.0.3:5080", &answer(&first, "486 Busy Here", ""));
    assert_eq!(server.engine.trunks()[0].calls, 0);
    request_to(&call(&mut server, "three"), "127.0.0.3:5080");
}

/// The first request of this method that the server sends by itself.
fn own_request(server: &mut Server, method: &str, place: &str) -> Message {
    for _ in 0..8 {
        let sent = server.pass(1);
        let found = to(&sent, place)
            .into_iter()
            .find(|message| message.method().is_some_and(|own| own.as_str() == method));
        if let Some(message) = found {
            return message.clone();
        }
    }
    panic!("no {method} to {place}");
}

#[test]
fn a_registration_is_kept_and_calls_come_in_by_its_contact() {
    let mut server = server(registering());
    server.pass(0);
    let first = own_request(&mut server, "REGISTER", FIRST);
    assert_eq!((first.uri_text(), text(&first, HeaderName::Expires).as_str()), ("sip:127.0.1.1", "600"));
    let sent = server.receive(FIRST, &answer(&first, "401 Unauthorized", CHALLENGE));
    let again = request_to(&sent, FIRST).clone();
    assert!(text(&again, HeaderName::Authorization).contains("username=\"4930\""));
    assert!(cseq(&again) > cseq(&first));
    let contact = text(&again, HeaderName::Contact);
    server.receive(FIRST, &answer(&again, "200 OK", &format!("Contact: {contact};expires=300\r\n")));
    assert_eq!(server.engine.trunks()[0].registered, Some(true));
    // It is refreshed before its end, with the nonce that is known.
    assert!(
        server
            .pass(265)
            .iter()
            .all(|(_, message)| message.method().is_none_or(|method| method.as_str() != "REGISTER"))
    );
    let refresh = own_request(&mut server, "REGISTER", FIRST);
    assert!(refresh.has(HeaderName::Authorization) && cseq(&refresh) > cseq(&again));
    assert_eq!(text(&refresh, HeaderName::CallId), text(&first, HeaderName::CallId));
    server.receive(FIRST, &answer(&refresh, "200 OK", "Expires: 300\r\n"));

    // A call to the Contact is one to the number in To, whichever address it comes from.
    register_bob(&mut server);
    let contact = contact.trim_matches(['<', '>']).to_owned();
    let elsewhere = "127.0.1.77:5060";
    let request = Request { to: "sip:+49301@carrier.test", ..incoming(&contact, elsewhere) };
    let sent = server.receive(elsewhere, &request.text());
    assert_eq!(request_to(&sent, "127.0.0.3:5080").uri_text(), "sip:x@127.0.0.3:5080");
    let forged = contact.replace("dtt=", "dtt=0");
    let request = Request {
        call_id: "forged",
        ..Request { to: "sip:+49301@carrier.test", ..incoming(&forged, elsewhere) }
    };
    assert_eq!(codes(&server.receive(elsewhere, &request.text()), elsewhere), [407]);
}

#[test]
fn a_phone_at_the_address_of_a_provider_is_a_user_and_not_the_provider() {
    let mut server = server(registering());
    register_bob(&mut server);
    own_request(&mut server, "REGISTER", FIRST);
    let sent = server.receive(FIRST, &invite("sip:out@sip.test").text());
    assert_eq!(codes(&sent, FIRST), [407]);
    let asked = sent[0].1.clone();
    let mut again = invite("sip:out@sip.test");
    again.with_credentials("alice", "alice-pw", &asked);
    let sent = server.receive(FIRST, &again.text());
    assert!(!codes(&sent, FIRST).iter().any(|code| *code >= 300), "her call goes on: {sent:?}");
    // What the provider itself sends, to the Contact or not, is from the provider as before.
    let called = Request { call_id: "in", ..incoming("sip:+49301@127.0.0.1", FIRST) };
    request_to(&server.receive(FIRST, &called.text()), "127.0.0.3:5080");
}

#[test]
fn a_refused_registration_is_tried_again_later_and_one_for_all_numbers_says_so() {
    let gin = TrunkAccess::Registrar { registrar: uri("sip:127.0.1.1"), account: account(), gin: true };
    let mut server = server(Trunk { access: gin, ..carrier() });
    server.pass(0);
    let first = own_request(&mut server, "REGISTER", FIRST);
    // RFC 6140 §5.1.
    assert_eq!(text(&first, HeaderName::Require), "gin");
    assert_eq!(text(&first, HeaderName::ProxyRequire), "gin");
    assert!(first.has_token(HeaderName::Supported, "path"));
    let contact = text(&first, HeaderName::Contact);
    assert!(contact.starts_with("<sip:127.0.0.1:5060;bnc;") && !contact.contains('@'), "{contact}");
    server.receive(FIRST, &answer(&first, "500 Server Internal Error", "Retry-After: 100\r\n"));
    assert_eq!(server.engine.trunks()[0].registered, Some(false));
    assert!(to(&server.pass(99), FIRST).is_empty());
    let again = own_request(&mut server, "REGISTER", FIRST);
    server.receive(FIRST, &answer(&again, "423 Interval Too Brief", "Min-Expires: 7200\r\n"));
    let longer = server.pass(0);
    drop(longer);
    assert_eq!(server.engine.trunks()[0].registered, Some(false));
    // The number is in the user part of what is called: it is looked for there.
    register_bob(&mut server);
    let called = contact.replace("sip:", "sip:+49301@").replace(";bnc", "");
    let called = called.trim_matches(['<', '>']);
    let sent = server.receive(SECOND, &incoming(called, SECOND).text());
    assert_eq!(request_to(&sent, "127.0.0.3:5080").uri_text(), "sip:x@127.0.0.3:5080");
}

#[test]
fn an_address_that_does_not_answer_its_probes_is_tried_last() {
    let mut server = server(Trunk { probe: Some(Duration::from_secs(30)), ..carrier() });
    server.pass(0);
    let mut probes = 0;
    // The second address answers, whatever it says; the first one is dead.
    for _ in 0..12 {
        for (place, message) in server.pass(1) {
            if place == SECOND && message.method().is_some_and(|method| method.as_str() == "OPTIONS") {
                probes += 1;
                server.receive(SECOND, &answer(&message, "405 Method Not Allowed", ""));
            }
        }
    }
    assert_eq!(probes, 1, "it is asked every 30 seconds");
    let states: Vec<String> =
        server.engine.trunks()[0].hops.iter().map(|(hop, state)| format!("{hop} {state:?}")).collect();
    assert_eq!(states, ["sip:127.0.1.1 Down", "sip:127.0.1.2 Up"]);
    let sent = call(&mut server, "");
    assert!(to(&sent, FIRST).is_empty());
    let out = request_to(&sent, SECOND).clone();
    server.receive(SECOND, &answer(&out, "486 Busy Here", ""));
    // It comes back.
    for _ in 0..90 {
        for (place, message) in server.pass(1) {
            if place == FIRST && message.is_request() {
                server.receive(FIRST, &answer(&message, "200 OK", ""));
            }
        }
    }
    assert_eq!(format!("{:?}", server.engine.trunks()[0].hops[0].1), "Up");
    // A trunk that is gone from the settings is asked no more.
    server.input(dialtone_roles::io::Input::Configure(std::sync::Arc::new(settings())));
    assert!(server.pass(300).iter().all(|(_, message)| !message.is_request()));
    assert!(server.engine.trunks().is_empty());
}

#[test]
fn a_telephone_system_registers_for_all_its_numbers() {
    let access = TrunkAccess::User { aor: "sip:carol@sip.test".into() };
    let mut server = server(Trunk { access, numbers: Vec::new(), ..carrier() });
    let mut request = register("sip:carol@sip.test", "127.0.0.9:5060", "gin");
    request.extra =
        "Contact: <sip:127.0.0.9:5060;bnc;sg=7>\r\nRequire: gin\r\nProxy-Require: gin\r\nSupported: path\r\n"
            .into();
    let challenge = server.receive("127.0.0.9:5060", &request.text()).remove(0).1;
    assert_eq!(challenge.status().expect("a status").code(), 401);
    let lines = credentials("REGISTER", request.uri, "carol", "carol-pw", &challenge);
    request.cseq += 1;
    request.extra.push_str(&lines);
    let granted = server.receive("127.0.0.9:5060", &request.text()).remove(0).1;
    assert_eq!(granted.status().expect("a status").code(), 200, "{granted:?}");
    assert!(text(&granted, HeaderName::Contact).starts_with("<sip:127.0.0.9:5060;bnc;sg=7>"));
    let sent = call(&mut server, "");
    assert_eq!(request_to(&sent, "127.0.0.9:5060").uri_text(), "sip:+12125550100@127.0.0.9:5060;sg=7");
    // RFC 6140 §5.2: never with a user part, and for nobody who is no trunk.
    for (user, contact, code) in
        [("carol", "<sip:x@127.0.0.9:5060;bnc>", 400), ("bob", "<sip:127.0.0.9:5060;bnc>", 420)]
    {
        let aor = format!("sip:{user}@sip.test");
        let mut request = register(&aor, "127.0.0.9:5060", user);
        request.extra = format!("Contact: {contact}\r\nRequire: gin\r\nProxy-Require: gin\r\n");
        let challenge = server.receive("127.0.0.9:5060", &request.text()).remove(0).1;
        request.with_credentials(user, &format!("{user}-pw"), &challenge);
        assert_eq!(server.status("127.0.0.9:5060", &request.text()), code, "{user}");
    }
}
