//! The stateless proxy (RFC 3261 §16.11): the same message gives the same message, and nothing is kept.

use dialtone_roles::io::{Answer, Input};
use dialtone_roles::settings::{Domain, Mode, NextHops};
use dialtone_roles::{Engine, Settings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, SERVER, Server, invite, register, settings};

const ALICE: &str = "127.0.0.2:5070";
const REGISTRAR: &str = "127.0.0.9:5060";

/// An edge in front of these servers.
fn edge(next_hops: &[&str]) -> Server {
    let next_hops = next_hops.iter().map(|hop| UriBuf::parse(hop).expect("a URI")).collect();
    let domain = Domain {
        name: "sip.test".into(),
        mode: Mode::Stateless,
        next_hops: NextHops(next_hops),
        ..Domain::default()
    };
    Server::new(Settings { domains: vec![domain], ..settings() })
}

fn near_registrar() -> Server {
    edge(&["sip:127.0.0.9"])
}

/// What one packet becomes; it must be one.
fn passed(server: &mut Server, from: &str, text: &str) -> (String, Message) {
    let mut sent = server.receive(from, text);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0), "{:?}", server.engine.tables());
    assert_eq!(server.next, None, "no timer runs");
    sent.remove(0)
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8(value.expect("the header").to_vec()).expect("text")
}

fn text_of_all(message: &Message, name: HeaderName) -> String {
    message.values(name).map(|value| text(Some(value))).collect::<Vec<_>>().join(", ")
}

fn branch(message: &Message) -> String {
    message.via().expect("a Via").branch().expect("a branch").to_owned()
}

/// The answer of a server to what it got.
fn response(request: &Message, status: &str, extra: &str) -> String {
    let mut lines = format!("SIP/2.0 {status}\r\n");
    for name in
        [HeaderName::Via, HeaderName::RecordRoute, HeaderName::From, HeaderName::CallId, HeaderName::CSeq]
    {
        for value in request.values(name) {
            lines.push_str(&format!("{}: {}\r\n", name.as_str(), text(Some(value))));
        }
    }
    format!("{lines}To: {};tag=t\r\n{extra}\r\n", text(request.value(HeaderName::To)))
}

#[test]
fn a_copy_is_the_same_message_and_cancel_and_ack_have_the_branch_of_their_invite() {
    let mut server = near_registrar();
    let text = invite("sip:bob@sip.test").text();
    let (to, first) = passed(&mut server, ALICE, &text);
    assert_eq!((to.as_str(), first.uri_text()), (REGISTRAR, "sip:bob@sip.test"));
    assert_eq!(first.max_forwards(), Ok(Some(69)));
    assert!(branch(&first).starts_with("z9hG4bK"));
    // Ten seconds, a reload and a restart later.
    server.pass(10);
    server.input(Input::Configure(std::sync::Arc::new(edge_settings())));
    assert_eq!(passed(&mut server, ALICE, &text).1.bytes(), first.bytes());
    *server.engine = Engine::new(0, [9; 32], std::sync::Arc::new(edge_settings()));
    assert_eq!(passed(&mut server, ALICE, &text).1.bytes(), first.bytes());
    // RFC 3261 §9.1, §17.1.1.3: they have the Via of their INVITE.
    for (method, to_tag) in [("CANCEL", ""), ("ACK", ";tag=refused")] {
        let other = text.replace(" INVITE\r\n", &format!(" {method}\r\n"));
        let other = other.replacen("INVITE sip", &format!("{method} sip"), 1);
        let other = other.replace("To: <sip:bob@sip.test>", &format!("To: <sip:bob@sip.test>{to_tag}"));
        let (to, other) = passed(&mut server, ALICE, &other);
        assert_eq!((to.as_str(), branch(&other)), (REGISTRAR, branch(&first)), "{method}");
        assert_eq!(other.method().map(dialtone_wire::Method::as_str), Some(method));
    }
    // Another transaction has another one.
    let next = Request { cseq: 2, ..invite("sip:bob@sip.test") };
    assert_ne!(branch(&passed(&mut server, ALICE, &next.text()).1), branch(&first));
    assert!(server.pass(300).is_empty(), "nothing is sent of our own");
}

fn edge_settings() -> Settings {
    let next_hops = NextHops(vec![UriBuf::parse("sip:127.0.0.9").expect("a URI")]);
    let domain = Domain { name: "sip.test".into(), mode: Mode::Stateless, next_hops, ..Domain::default() };
    Settings { domains: vec![domain], ..settings() }
}

#[test]
fn transactions_of_rfc_2543_are_told_apart_by_what_their_messages_share() {
    let mut server = near_registrar();
    let old = |method: &str, cseq: u32, to_tag: &str| {
        format!(
            "{method} sip:bob@sip.test SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE}\r\nFrom: <sip:alice@sip.test>;tag=f\r\n\
             To: <sip:bob@sip.test>{to_tag}\r\nCall-ID: old\r\nCSeq: {cseq} {method}\r\n\r\n"
        )
    };
    let first = branch(&passed(&mut server, ALICE, &old("INVITE", 1, "")).1);
    for same in [old("INVITE", 1, ""), old("CANCEL", 1, ""), old("ACK", 1, ";tag=refused")] {
        assert_eq!(branch(&passed(&mut server, ALICE, &same).1), first, "{same}");
    }
    assert_ne!(branch(&passed(&mut server, ALICE, &old("INVITE", 2, "")).1), first);
}

#[test]
fn a_response_goes_back_where_its_request_came_from_and_no_made_up_one_goes_anywhere() {
    let mut server = near_registrar();
    // Behind a NAT: sent-by is not where the packet came from.
    let request = Request { via: "192.168.1.5:5060", ..invite("sip:bob@sip.test") };
    let (_, forwarded) = passed(&mut server, ALICE, &request.text());
    for status in ["100 Trying", "180 Ringing", "486 Busy Here"] {
        let answer = response(&forwarded, status, "X-Odd: kept\r\n");
        let (to, back) = passed(&mut server, REGISTRAR, &answer);
        assert_eq!(to, ALICE);
        assert_eq!(back.values(HeaderName::Via).count(), 1);
        assert_eq!(branch(&back), "z9hG4bKcall1INVITE");
        assert_eq!(text(back.value_by_text("X-Odd")), "kept");
    }
    let answer = response(&forwarded, "200 OK", "");
    let own = branch(&forwarded);
    let last = if own.ends_with('0') { "1" } else { "0" };
    let forgeries = [
        // To somebody else.
        answer.replace("rport=5070", "rport=5071"),
        answer.replace("received=127.0.0.2", "received=127.0.0.7"),
        answer.replace("received=127.0.0.2", "received=192.168.1.5"),
        // Under a branch that we did not make.
        answer.replace(&own, "z9hG4bKs"),
        answer.replace(&own, &format!("{}{last}", &own[..own.len() - 1])),
        answer.replace(&own, &own[..20]),
        answer.replace(&own, &format!("{}é", &own[..own.len() - 2])),
        answer.replace(&own, "z9hG4bKabcdef"),
    ];
    let strays = server.engine.counters().stray_responses;
    for (index, forgery) in forgeries.iter().enumerate() {
        assert_ne!(forgery, &answer, "{index}");
        assert!(server.receive(REGISTRAR, forgery).is_empty(), "{forgery}");
    }
    assert_eq!(server.engine.counters().stray_responses, strays + forgeries.len() as u64);
}

#[test]
fn both_sides_of_a_stateless_dialog_come_through_without_a_password_and_strangers_do_not() {
    let mut server = near_registrar();
    let (_, forwarded) = passed(&mut server, ALICE, &invite("sip:bob@sip.test").text());
    let mut routes: Vec<String> =
        forwarded.values(HeaderName::RecordRoute).map(|value| text(Some(value))).collect();
    let to_alice = routes.join(", ");
    routes.reverse();
    let route = routes.join(", ");
    let within = |method: &'static str, cseq, uri: &'static str, extra: String| {
        let request = Request { method, uri, cseq, extra, ..invite("sip:bob@sip.test") };
        request.text().replace("To: <sip:bob@sip.test>", "To: <sip:bob@sip.test>;tag=t")
    };
    for (method, cseq) in [("ACK", 1), ("INVITE", 2), ("BYE", 3)] {
        let extra = format!("Route: {route}\r\n");
        let (to, message) =
            passed(&mut server, ALICE, &within(method, cseq, "sip:bob@127.0.0.3:5080", extra));
        assert_eq!((to.as_str(), message.has(HeaderName::Route)), ("127.0.0.3:5080", false), "{method}");
        // From the other side it reaches alice, whatever her contact says: by the flow of her INVITE.
        let extra = format!("Route: {to_alice}\r\n");
        let text = within(method, cseq, "sip:alice@192.168.1.5", extra).replace("127.0.0.2:5070", REGISTRAR);
        let (to, _) = passed(&mut server, REGISTRAR, &text);
        assert_eq!(to, ALICE, "{method}");
    }
    // The same route in another call, and one that was made up.
    let other = within("BYE", 4, "sip:bob@127.0.0.3:5080", format!("Route: {route}\r\n"));
    assert_eq!(server.status(ALICE, &other.replace("Call-ID: call", "Call-ID: other")), 403);
    let route = format!("<sip:{SERVER};lr;dt=s0123456789abcdef>");
    let made_up = within("BYE", 5, "sip:bob@127.0.0.3:5080", format!("Route: {route}\r\n"));
    assert_eq!(server.status(ALICE, &made_up), 403);
}

#[test]
fn the_path_of_a_registration_leads_to_its_phone_and_can_not_be_made_up() {
    let mut server = near_registrar();
    // The contact lies behind a NAT.
    let request = register("sip:bob@sip.test", "192.168.1.5:5060", "reg");
    let (to, forwarded) = passed(&mut server, "127.0.0.3:40000", &request.text());
    assert_eq!(to, REGISTRAR);
    let path = text(forwarded.value(HeaderName::Path));
    let extra = format!("Route: {path}\r\n");
    let call = Request { uri: "sip:x@192.168.1.5:5060", via: REGISTRAR, extra, ..invite("sip:bob@sip.test") };
    let (to, ringing) = passed(&mut server, REGISTRAR, &call.text());
    assert_eq!((to.as_str(), ringing.uri_text()), ("127.0.0.3:40000", "sip:x@192.168.1.5:5060"));
    let mut routes: Vec<String> =
        ringing.values(HeaderName::RecordRoute).map(|value| text(Some(value))).collect();
    routes.reverse();
    let route = routes.join(", ");
    // Within the dialog too, without the Path.
    let bye = Request { method: "BYE", extra: format!("Route: {route}\r\n"), ..call };
    let bye = bye.text().replace("To: <sip:bob@sip.test>", "To: <sip:bob@sip.test>;tag=t");
    assert_eq!(passed(&mut server, REGISTRAR, &bye).0, "127.0.0.3:40000");
    // The phone itself opens nothing with it, and nobody does with another one.
    let elsewhere = |path: &str| Request {
        uri: "sip:x@203.0.113.1",
        extra: format!("Route: {path}\r\n"),
        ..invite("sip:x@203.0.113.1")
    };
    assert_eq!(
        server.status("127.0.0.3:40000", &elsewhere(&path).text().replace(ALICE, "127.0.0.3:40000")),
        403
    );
    let changed = path.replacen("<sip:", "<sip:0", 1);
    assert_eq!(server.status(ALICE, &elsewhere(&changed).text()), 403);
}

#[test]
fn a_path_leads_past_who_forwarded_the_registration_and_left_himself_out() {
    // From the phone through 127.0.0.7, which is in the Path, and through 127.0.0.6, which is not.
    let vias =
        "Via: SIP/2.0/UDP 127.0.0.6;branch=z9hG4bKp2\r\nVia: SIP/2.0/UDP 127.0.0.7;branch=z9hG4bKp1\r\n";
    for (path, sender, expected) in [
        ("Path: <sip:127.0.0.7;lr>\r\n", "127.0.0.6:5060", "127.0.0.7:5060"),
        ("Path: <sip:x@127.0.0.7:5070;lr>, <sip:127.0.0.8;lr>\r\n", "127.0.0.6:5060", "127.0.0.7:5070"),
        // The sender himself, whatever address he has here.
        ("Path: <sip:127.0.0.6;lr>\r\n", "203.0.113.6:7000", "203.0.113.6:7000"),
        // Nobody knows where that is, nor is it asked here.
        ("Path: <sip:edge.test;lr>\r\n", "127.0.0.6:5060", "127.0.0.6:5060"),
        ("Path: <sip:127.0.0.7;transport=tcp;lr>\r\n", "127.0.0.6:5060", "127.0.0.6:5060"),
        ("", "127.0.0.6:5060", "127.0.0.6:5060"),
    ] {
        let mut server = near_registrar();
        let text = register("sip:bob@sip.test", "127.0.0.3:5080", "reg").text();
        let text = text.replacen("Via: ", &format!("{path}{vias}Via: "), 1);
        let (_, forwarded) = passed(&mut server, sender, &text);
        let path = text_of_all(&forwarded, HeaderName::Path);
        let extra = format!("Route: {path}\r\n");
        let call =
            Request { uri: "sip:x@127.0.0.3:5080", via: REGISTRAR, extra, ..invite("sip:bob@sip.test") };
        assert_eq!(passed(&mut server, REGISTRAR, &call.text()).0, expected, "{path}");
    }
}

#[test]
fn a_registration_gets_no_path_where_the_settings_say_so() {
    let mut settings = edge_settings();
    settings.domains[0].skips_path = true;
    let mut server = Server::new(settings);
    let request = register("sip:bob@sip.test", "127.0.0.3:5080", "reg");
    let (to, forwarded) = passed(&mut server, "127.0.0.3:5080", &request.text());
    assert_eq!((to.as_str(), forwarded.value(HeaderName::Path)), (REGISTRAR, None));
}

#[test]
fn what_a_proxy_has_to_refuse_is_refused_without_state() {
    let mut server = near_registrar();
    let text = invite("sip:bob@sip.test").text();
    assert_eq!(server.status(ALICE, &text.replace("Max-Forwards: 70", "Max-Forwards: 0")), 483);
    let extra = "Contact: <sip:alice@127.0.0.2:5070>\r\nProxy-Require: foo\r\n".to_owned();
    assert_eq!(server.status(ALICE, &Request { extra, ..invite("sip:bob@sip.test") }.text()), 420);
    assert_eq!(server.status(ALICE, &invite("sip:bob@other.test").text()), 403);
    // An OPTIONS for the edge itself is not for the servers behind it.
    let options = Request { method: "OPTIONS", extra: String::new(), ..invite("sip:127.0.0.1") };
    assert_eq!(server.status(ALICE, &options.text()), 200);
    // RFC 3261 §16.3 step 4 is left to Max-Forwards: a request that comes round goes on until that is used up.
    let (_, first) = passed(&mut server, ALICE, &text);
    let (_, second) = passed(&mut server, REGISTRAR, std::str::from_utf8(first.bytes()).expect("text"));
    assert_eq!(second.max_forwards(), Ok(Some(68)));
    assert_ne!(branch(&second), branch(&first));
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0));
}

#[test]
fn the_requests_of_one_call_go_to_one_of_several_servers() {
    let hops = ["sip:127.0.0.9", "sip:127.0.0.10", "sip:127.0.0.11"];
    let mut server = edge(&hops);
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..40 {
        let call_id = format!("call-{number}");
        let one = Request { call_id: &call_id, ..invite("sip:bob@sip.test") };
        let again = Request { call_id: &call_id, cseq: 2, ..invite("sip:bob@sip.test") };
        let to = passed(&mut server, ALICE, &one.text()).0;
        assert_eq!(passed(&mut server, ALICE, &again.text()).0, to);
        seen.insert(to);
    }
    assert_eq!(seen.len(), hops.len(), "{seen:?}");
}

#[test]
fn a_next_hop_with_a_name_is_looked_up_and_always_the_same_address_is_taken() {
    let mut server = edge(&["sip:registrar.test:5070"]);
    let mut places = std::collections::BTreeSet::new();
    for (turn, order) in [[9, 10, 11], [11, 9, 10], [10, 11, 9]].into_iter().enumerate() {
        assert!(server.receive(ALICE, &invite("sip:bob@sip.test").text()).is_empty());
        let (id, host) = server.names.pop().expect("a question");
        assert_eq!((host.as_str(), server.engine.tables().queries), ("registrar.test", 1));
        let addresses = order.map(|last| std::net::IpAddr::from([127, 0, 0, last])).to_vec();
        server.sent.clear();
        server.input(Input::Answer(id, Answer::Addresses(addresses)));
        places.insert(server.sent[0].0.clone());
        assert_eq!((server.sent.len(), server.engine.tables().queries), (1, 0), "turn {turn}");
    }
    assert_eq!(places.len(), 1, "{places:?}");
    // Without an answer it is refused, after a while, and nothing is left.
    assert!(server.receive(ALICE, &invite("sip:bob@sip.test").text()).is_empty());
    let sent = server.pass(6);
    assert_eq!(sent[0].1.status().map(|status| status.code()), Some(500));
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0));
}

#[test]
fn of_several_phones_of_a_user_the_first_is_taken_without_state() {
    let domain = Domain { name: "sip.test".into(), mode: Mode::Stateless, ..Domain::default() };
    let mut server = Server::new(Settings { domains: vec![domain], ..settings() });
    for (address, call_id, q) in [("127.0.0.3:5080", "one", "0.5"), ("127.0.0.4:5080", "two", "0.9")] {
        let mut request = register("sip:bob@sip.test", address, call_id);
        request.extra = format!("Contact: <sip:x@{address}>;q={q}\r\n");
        // Its own users it asks for a password when they register.
        let challenge = server.receive(address, &request.text()).remove(0).1;
        request.with_credentials("bob", "bob-pw", &challenge);
        assert_eq!(server.status(address, &request.text()), 200);
    }
    server.pass(60);
    let sent = server.receive(ALICE, &invite("sip:bob@sip.test").text());
    let [(to, message)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((to.as_str(), message.uri_text()), ("127.0.0.4:5080", "sip:x@127.0.0.4:5080"));
    let tables = server.engine.tables();
    assert_eq!((tables.server_transactions, tables.client_transactions, tables.proxy_contexts), (0, 0, 0));
    assert_eq!(server.status(ALICE, &invite("sip:carol@sip.test").text()), 480);
}

#[test]
fn a_rule_says_how_much_is_remembered_of_its_calls() {
    use dialtone_roles::settings::dial_plan::{Action, CallerPattern, Rule, Template};
    let rule = |name: &str, number: &str, mode, callers| Rule {
        name: name.into(),
        numbers: vec![number.parse().expect("a pattern")],
        domains: Vec::new(),
        callers,
        times: None,
        strip: 0,
        prepend: "".into(),
        action: Action::Uri(Template::of_uri("sip:{number}@127.0.0.9").expect("a URI")),
        mode: Some(mode),
    };
    let mut settings = settings();
    settings.dial_plan.rules = vec![
        rule("forgotten", "1x", Mode::Stateless, vec![CallerPattern::Anyone]),
        rule("not recorded", "2x", Mode::Transaction, vec![CallerPattern::Anyone]),
        rule("asked", "3x", Mode::Stateless, vec![CallerPattern::Users]),
    ];
    let mut server = Server::new(settings);
    let from = "sip:someone@other.test";
    let text = Request { from, ..invite("sip:17@sip.test") }.text();
    let (to, first) = passed(&mut server, ALICE, &text);
    assert_eq!((to.as_str(), first.uri_text()), (REGISTRAR, "sip:17@127.0.0.9"));
    assert_eq!(passed(&mut server, ALICE, &text).1.bytes(), first.bytes());
    let (_, cancel) =
        passed(&mut server, ALICE, &text.replace("INVITE", "CANCEL").replace("callCANCEL", "call1INVITE"));
    assert_eq!(cancel.uri_text(), first.uri_text());
    // Refused and yet not recorded.
    let sent = server.receive(ALICE, &Request { call_id: "two", from, ..invite("sip:27@sip.test") }.text());
    let forwarded = &sent.iter().find(|(to, _)| to == REGISTRAR).expect("it goes on").1;
    assert_eq!(server.engine.tables().proxy_contexts, 1);
    server.receive(REGISTRAR, &response(forwarded, "486 Busy Here", ""));
    assert_eq!(server.engine.counters().call_records, 0);
    // Whoever is asked for a password is waited for.
    let sent = server.receive(ALICE, &Request { call_id: "three", ..invite("sip:37@sip.test") }.text());
    assert_eq!(sent[0].1.status().map(|status| status.code()), Some(407));
}
