//! docs/refusals.md: each code in the situation that its RFC names, with the headers that belong to it.

use dialtone_roles::io::{Answer, Input};
use dialtone_roles::settings::{Foreign, Settings};
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, authorized_invite, invite, register, register_bob, settings};
use crate::proxying::{fork, response};

fn code(message: &Message) -> u16 {
    message.status().unwrap().code()
}

fn header(message: &Message, name: HeaderName) -> String {
    let values: Vec<_> = message.values(name).map(String::from_utf8_lossy).collect();
    values.join(", ")
}

/// The answer to the first request of a stranger.
fn answer(text: &str) -> Message {
    let mut server = Server::new(settings());
    let mut sent = server.receive("127.0.0.9:7", text);
    assert_eq!(sent.len(), 1, "{text}\n{sent:?}");
    sent.remove(0).1
}

/// The answer that alice gets once she has shown her password.
fn answer_to_alice(settings: Settings, mut request: Request<'_>) -> Message {
    let mut server = Server::new(settings);
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    let mut sent = server.receive("127.0.0.2:5070", &request.text());
    sent.append(&mut server.pass(6));
    let last = sent.into_iter().rfind(|(to, message)| to == "127.0.0.2:5070" && !message.is_request());
    last.unwrap().1
}

#[test]
fn a_fault_of_the_syntax_is_400_and_named() {
    let text = invite("sip:bob@sip.test").text();
    for (good, bad, reason) in [
        ("<sip:alice@127.0.0.2:5070>", "<<", "Bad Request: Contact: "),
        ("Contact:", "Content-Length: -1\r\nContact:", "Bad Request: Content-Length is not one number"),
        ("Max-Forwards: 70", "Max-Forwards: many", "Bad Request: Max-Forwards: "),
        (
            "INVITE sip:bob@sip.test SIP",
            "INVITE  sip:bob@sip.test SIP",
            "Bad Request: the start line is neither ",
        ),
    ] {
        assert!(text.contains(good), "{good}");
        let refused = answer(&text.replacen(good, bad, 1));
        let said = String::from_utf8_lossy(refused.reason()).into_owned();
        assert_eq!(code(&refused), 400, "{bad}");
        assert!(said.starts_with(reason), "{bad}: {said}");
    }
}

#[test]
fn credentials_that_break_the_rules_are_400_and_named() {
    let mut server = Server::new(settings());
    let mut request = register("sip:alice@sip.test", "127.0.0.2:5070", "bad");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    let text = request.text().replace("qop=auth", "qop=other");
    let refused = server.receive("127.0.0.2:5070", &text).remove(0).1;
    let warning = "399 sip.test \"Authorization: expected a qop that was offered\"";
    assert_eq!((code(&refused), header(&refused, HeaderName::Warning).as_str()), (400, warning));
}

#[test]
fn what_is_too_long_is_413_414_or_513() {
    let uri = format!("sip:{}@sip.test", "b".repeat(2_100));
    assert_eq!(code(&answer(&invite("sip:bob@sip.test").text().replacen("sip:bob@sip.test", &uri, 1))), 414);
    let filler = format!("X-Filler: {}\r\n", "x".repeat(66_000));
    let request = Request { extra: filler, ..invite("sip:bob@sip.test") };
    assert_eq!(code(&answer(&request.text())), 513);
    let many = "X-Filler: x\r\n".repeat(300);
    let request = Request { extra: many, ..invite("sip:bob@sip.test") };
    assert_eq!(code(&answer(&request.text())), 513);
    let body = format!("v=0\r\n{}", "a=x\r\n".repeat(5_000));
    let mut server = Server::new(settings());
    let mut request = invite("sip:echo@sip.test");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    let length = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let text = request.text().replace("\r\n\r\n", &format!("\r\n{length}"));
    assert_eq!(server.status("127.0.0.2:5070", &text), 413);
}

#[test]
fn each_method_for_the_server_itself_gets_the_answer_of_its_rfc() {
    let itself = "OPTIONS, REGISTER";
    for (method, status, allow) in [
        ("OPTIONS", 200, "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER"),
        ("INVITE", 405, itself),
        ("MESSAGE", 405, itself),
        ("INFO", 405, itself),
        ("REFER", 405, itself),
        ("PRACK", 405, itself),
        ("UPDATE", 405, itself),
        ("SUBSCRIBE", 489, ""),
        ("PUBLISH", 489, ""),
        ("NOTIFY", 481, ""),
        ("BYE", 481, ""),
        ("CANCEL", 481, ""),
        ("FETCH", 501, itself),
    ] {
        let refused = answer(&Request { method, ..invite("sip:sip.test") }.text());
        assert_eq!(
            (code(&refused), header(&refused, HeaderName::Allow).as_str()),
            (status, allow),
            "{method}"
        );
    }
    // Within a dialog that is not there.
    for method in ["INVITE", "INFO", "UPDATE", "SUBSCRIBE"] {
        let text = Request { method, ..invite("sip:sip.test") }.text();
        let refused = answer(&text.replace("To: <sip:sip.test>", "To: <sip:sip.test>;tag=gone"));
        assert_eq!(code(&refused), 481, "{method}");
    }
    let mut server = Server::new(settings());
    let ack = Request { method: "ACK", ..invite("sip:sip.test") };
    assert!(server.receive("127.0.0.9:7", &ack.text()).is_empty());
}

#[test]
fn what_is_required_and_not_known_is_420_and_named() {
    for (header_line, uri, method) in [
        ("Require: foo, bar\r\n", "sip:sip.test", "OPTIONS"),
        ("Proxy-Require: foo, bar\r\n", "sip:bob@sip.test", "INVITE"),
    ] {
        let refused = answer(&Request { method, extra: header_line.into(), ..invite(uri) }.text());
        assert_eq!(code(&refused), 420, "{method}");
        let named: Vec<_> = refused.values(HeaderName::Unsupported).collect();
        assert_eq!(named, [b"foo", b"bar"], "{method}");
    }
}

#[test]
fn a_registration_without_an_extension_that_we_insist_on_is_421_and_names_it() {
    let settings = Settings {
        register_requires: vec!["path".into(), "outbound".into()],
        authenticate: false,
        ..settings()
    };
    let mut server = Server::new(settings);
    let mut ask = |call_id, extra: &str| {
        let request = register("sip:alice@sip.test", "127.0.0.2:5070", call_id);
        let text = request.text().replace("\r\n\r\n", &format!("\r\n{extra}\r\n"));
        let answer = server.receive("127.0.0.2:5070", &text).remove(0).1;
        (code(&answer), header(&answer, HeaderName::Require))
    };
    assert_eq!(ask("one", ""), (421, "path, outbound".to_owned()));
    assert_eq!(ask("two", "Supported: timer, path\r\n"), (421, "outbound".to_owned()));
    assert_eq!(ask("three", "Supported: outbound\r\nRequire: path\r\n"), (200, String::new()));
}

#[test]
fn addresses_that_lead_nowhere() {
    for (uri, status) in [("sip:bob@elsewhere.test", 403), ("mailto:bob@sip.test", 416), ("tel:5550100", 484)]
    {
        assert_eq!(code(&answer(&invite(uri).text())), status, "{uri}");
    }
    let text = invite("sip:bob@sip.test").text();
    assert_eq!(code(&answer(&text.replace("Max-Forwards: 70", "Max-Forwards: 0"))), 483);
    assert_eq!(code(&answer_to_alice(settings(), invite("sip:nobody@sip.test"))), 404);
    assert_eq!(code(&answer_to_alice(settings(), invite("sip:carol@sip.test"))), 480);
}

#[test]
fn a_name_server_that_is_silent_is_504_and_a_name_without_address_500() {
    let foreign = || Settings { foreign: Foreign::Authenticated, ..settings() };
    // Nobody answers the question for the name.
    let refused = answer_to_alice(foreign(), invite("sip:somebody@elsewhere.test"));
    assert_eq!(code(&refused), 504);
    let mut server = Server::new(foreign());
    let mut request = invite("sip:somebody@elsewhere.test");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials("alice", "alice-pw", &challenge);
    server.receive("127.0.0.2:5070", &request.text());
    let (id, _) = server.names.remove(0);
    server.input(Input::Answer(id, Answer::Addresses(Vec::new())));
    let sent = std::mem::take(&mut server.sent);
    // RFC 3261 §16.7 step 6: not 503, which would turn the caller away from us.
    assert_eq!(code(&sent.last().unwrap().1), 500);
}

#[test]
fn an_unreadable_refusal_of_the_next_hop_is_acknowledged_and_becomes_502() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let sent = authorized_invite(&mut server, "sip:bob@sip.test");
    let forwarded = &sent[1].1;
    let bad = response(forwarded, "302 Moved Temporarily", "b", "Contact: <<nonsense\r\n");
    let sent = server.receive("127.0.0.3:5080", &bad);
    let seen: Vec<String> = sent
        .iter()
        .map(|(to, message)| match message.status() {
            Some(status) => format!("{status} {to}"),
            None => format!("{} {to}", message.method().unwrap()),
        })
        .collect();
    assert_eq!(seen, ["ACK 127.0.0.3:5080", "502 127.0.0.2:5070"]);
    // A 2xx whose addresses can't be read is nobody's: its ACK would find no way.
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let sent = authorized_invite(&mut server, "sip:bob@sip.test");
    let bad = response(&sent[1].1, "200 OK", "b", "Contact: <<nonsense\r\n");
    assert!(server.receive("127.0.0.3:5080", &bad).is_empty());
    let mut statuses = server.pass(64).into_iter().filter_map(|(to, message)| {
        (to == "127.0.0.2:5070").then(|| message.status().map(|status| status.code()))?
    });
    assert_eq!(statuses.find(|code| *code >= 200), Some(408));
}

#[test]
fn codes_that_nobody_has_defined_count_as_the_first_of_their_class() {
    // RFC 3261 §8.1.3.2 and §16.7 step 6: what two phones say, and what the caller gets.
    for (one, two, best) in [
        ("499 Odd", "599 Odd", 499),
        ("599 Odd", "486 Busy Here", 486),
        ("699 Odd", "404 Not Found", 699),
        ("408 Request Timeout", "477 Odd", 477),
        ("503 Service Unavailable", "577 Odd", 577),
    ] {
        let mut server = Server::new(settings());
        let [first, second] = fork(&mut server);
        server.receive("127.0.0.3:5080", &response(&first, one, "a", ""));
        let sent = server.receive("127.0.0.4:5080", &response(&second, two, "b", ""));
        let back =
            sent.iter().rfind(|(to, _)| to == "127.0.0.2:5070").unwrap_or_else(|| panic!("{one} {two}"));
        assert_eq!(code(&back.1), best, "{one}, {two}");
    }
    // 198 rings, 299 is an answer.
    let mut server = Server::new(settings());
    let [first, second] = fork(&mut server);
    let rings = server.receive("127.0.0.4:5080", &response(&second, "198 Odd", "b", ""));
    assert_eq!(code(&rings[0].1), 198);
    let contact = "Contact: <sip:x@127.0.0.3:5080>\r\n";
    let sent = server.receive("127.0.0.3:5080", &response(&first, "299 Odd", "a", contact));
    assert!(sent.iter().any(|(to, message)| to == "127.0.0.2:5070" && code(message) == 299), "{sent:?}");
    assert!(sent.iter().any(|(to, message)| to == "127.0.0.4:5080" && message.is_request()), "{sent:?}");
    // 699 ends all.
    let mut server = Server::new(settings());
    let [first, second] = fork(&mut server);
    server.receive("127.0.0.4:5080", &response(&second, "180 Ringing", "b", ""));
    let sent = server.receive("127.0.0.3:5080", &response(&first, "699 Odd", "a", ""));
    let cancelled = |(to, message): &(String, Message)| to == "127.0.0.4:5080" && message.is_request();
    assert!(sent.iter().any(cancelled), "{sent:?}");
}
