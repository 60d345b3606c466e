//! Passwords that are wrong, again and again; and which requests need one.

use std::collections::VecDeque;
use std::sync::Arc;

use dialtone_roles::io::{Answer, Input, Notice, Output, Query};
use dialtone_roles::settings::{DigestSettings, Integrity, Settings};
use dialtone_roles::{Engine, Freed, Hold, Source, StoredCredential};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message, Method};

use crate::peers::{Request, Server, credentials, invite, register, register_bob, settings};

/// Tries to register with a password from an address; gives the last answer.
fn try_register(server: &mut Server, from: &str, user: &str, password: &str, call_id: &str) -> Message {
    let uri = format!("sip:{user}@sip.test");
    let mut request = Request { from: &uri, to: &uri, ..register(&uri, from, call_id) };
    let challenge = server.receive(from, &request.text()).remove(0).1;
    assert_eq!(challenge.status().unwrap().code(), 401);
    request.with_credentials(user, password, &challenge);
    server.receive(from, &request.text()).remove(0).1
}

fn code(message: &Message) -> u16 {
    message.status().unwrap().code()
}

#[test]
fn a_guesser_is_slowed_while_the_real_user_behind_the_same_nat_is_not() {
    let mut server = Server::new(settings());
    assert_eq!(code(&try_register(&mut server, "192.0.2.1:5060", "alice", "alice-pw", "real")), 200);
    let guesses: Vec<u16> = (0..8)
        .map(|number| {
            let call_id = format!("guess{number}");
            code(&try_register(&mut server, "192.0.2.1:666", "alice", "guess", &call_id))
        })
        .collect();
    assert_eq!(guesses, [401, 401, 401, 401, 401, 403, 403, 403]);
    // Even the right password tells the guesser nothing now.
    let refused = try_register(&mut server, "192.0.2.1:666", "alice", "alice-pw", "right");
    assert_eq!((code(&refused), refused.value(HeaderName::RetryAfter)), (403, Some(&b"30"[..])));
    assert_eq!(code(&try_register(&mut server, "192.0.2.1:5060", "alice", "alice-pw", "again")), 200);
    assert_eq!(code(&try_register(&mut server, "192.0.2.1:777", "bob", "bob-pw", "bob")), 200);
    assert_eq!(code(&try_register(&mut server, "192.0.2.9:666", "alice", "alice-pw", "elsewhere")), 200);
    let counters = server.engine.counters();
    assert_eq!((counters.wrong_password, counters.holds, counters.held_off), (5, 1, 4));
    server.pass(31);
    assert_eq!(code(&try_register(&mut server, "192.0.2.1:666", "alice", "alice-pw", "later")), 200);
    server.pass(3600);
    assert_eq!(server.engine.tables().guessers, 0);
}

#[test]
fn calls_count_like_registrations_and_copies_of_a_call_that_was_let_in_are_not_refused() {
    let mut server = Server::new(settings());
    register_bob(&mut server);
    // The store takes its time with the right password while others fail from the same address.
    let mut call = invite("sip:bob@sip.test");
    let challenge = server.receive("127.0.0.2:5070", &call.text()).remove(0).1;
    call.with_credentials("alice", "alice-pw", &challenge);
    server.holds_answers = true;
    assert!(server.receive("127.0.0.2:5070", &call.text()).is_empty());
    server.holds_answers = false;
    for number in 0..5 {
        let call_id = format!("guess{number}");
        let mut guess = Request { call_id: &call_id, ..invite("sip:bob@sip.test") };
        let challenge = server.receive("127.0.0.2:5070", &guess.text()).remove(0).1;
        guess.with_credentials("alice", "guess", &challenge);
        assert_eq!(server.status("127.0.0.2:5070", &guess.text()), 407);
    }
    assert_eq!(server.engine.counters().holds, 1);
    assert!(server.receive("127.0.0.2:5070", &call.text()).iter().all(|(_, message)| {
        message.is_request() || message.status().is_some_and(|status| status.code() != 403)
    }));
    assert_eq!(server.engine.counters().held_off, 0);
}

#[test]
fn users_that_do_not_exist_are_counted_as_those_that_do() {
    let mut server = Server::new(settings());
    let statuses: Vec<u16> = (0..6)
        .map(|number| code(&try_register(&mut server, "192.0.2.1:1", "nobody", "x", &format!("c{number}"))))
        .collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 403]);
}

#[test]
fn what_one_shard_knows_the_others_are_told() {
    let mut server = Server::new(Settings { shards: 3, ..settings() });
    let mut notices = Vec::new();
    let mut tell = |server: &mut Server, request: &str| {
        let flow =
            dialtone_wire::net::Flow::udp("127.0.0.1:5060".parse().unwrap(), "192.0.2.1:1".parse().unwrap());
        let input = Input::Packet { flow, bytes: request.to_owned().into() };
        let mut answers = Vec::new();
        let mut queries = Vec::new();
        dialtone_roles::turn(&mut server.engine, server.now, input, |output| match output {
            Output::Transmit(transmit) => {
                answers.push(Message::parse(transmit.bytes, &dialtone_wire::Limits::default()).unwrap());
            }
            Output::Query(id, dialtone_roles::io::Query::Credential { domain, .. }) => {
                queries.push((id, domain))
            }
            _ => {}
        });
        for (id, domain) in queries {
            let stored =
                dialtone_roles::StoredCredential::from_password("alice", &domain, &domain, "alice-pw");
            let answer = Input::Answer(id, dialtone_roles::io::Answer::Credential(Some(Arc::new(stored))));
            dialtone_roles::turn(&mut server.engine, server.now, answer, |output| {
                if let Output::Notice { to, notice } = output {
                    notices.push((to, notice));
                }
            });
        }
        answers
    };
    for (number, password) in ["alice-pw", "1", "2", "3", "4", "5"].iter().enumerate() {
        let call_id = format!("c{number}");
        let mut request = register("sip:alice@sip.test", "192.0.2.1:1", &call_id);
        let challenge = tell(&mut server, &request.text()).remove(0);
        request.with_credentials("alice", password, &challenge);
        tell(&mut server, &request.text());
    }
    let to: Vec<u16> = notices.iter().map(|(to, _)| *to).collect();
    assert_eq!(to, [1, 2, 1, 2], "{notices:?}");
    assert!(matches!(&notices[0].1, Notice::Proven { user, .. } if user == "alice"));
    let Notice::HoldOff(Hold { guesser, .. }) = &notices[3].1 else { panic!("{notices:?}") };
    assert_eq!(guesser.user.as_deref(), Some("alice@sip.test"));
    let mut other = Server::new(settings());
    other.now = server.now;
    other.input(Input::Notice(notices[3].1.clone()));
    assert_eq!(code(&try_register(&mut other, "192.0.2.1:1", "alice", "alice-pw", "x")), 403);
    other.input(Input::Notice(notices[0].1.clone()));
    assert_eq!(code(&try_register(&mut other, "192.0.2.1:1", "alice", "alice-pw", "y")), 200);
}

#[test]
fn a_blocked_source_gets_no_answer_until_it_is_freed() {
    let mut server = Server::new(settings());
    let source = Source::of("192.0.2.1".parse().unwrap());
    assert!(server.engine.block(server.now, source, None));
    for method in ["OPTIONS", "INVITE", "REGISTER", "ACK", "CANCEL"] {
        let request = Request { method, ..invite("sip:sip.test") };
        assert!(server.receive("192.0.2.1:7", &request.text()).is_empty(), "{method}");
    }
    assert_eq!(server.engine.counters().blocked, 5);
    assert_eq!(server.engine.held_off(server.now, 10).len(), 1);
    assert_eq!(server.engine.free(server.now, &Freed::Source(source)).len(), 1);
    let options = Request { method: "OPTIONS", ..invite("sip:sip.test") };
    assert_eq!(server.status("192.0.2.1:7", &options.text()), 200);
}

/// Every method that goes to a user, but ACK and CANCEL.
const METHODS: [&str; 12] = [
    "INVITE",
    "BYE",
    "OPTIONS",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "MESSAGE",
    "FETCH",
];

#[test]
fn every_method_but_ack_and_cancel_is_challenged_and_then_forwarded() {
    for method in METHODS {
        let mut server = Server::new(settings());
        register_bob(&mut server);
        let mut request = Request { method, ..invite("sip:bob@sip.test") };
        let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
        assert_eq!(code(&challenge), 407, "{method}");
        request.with_credentials("alice", "alice-pw", &challenge);
        let sent = server.receive("127.0.0.2:5070", &request.text());
        let forwarded = sent.iter().find(|(_, message)| message.is_request());
        let (to, forwarded) = forwarded.unwrap_or_else(|| panic!("{method}: {sent:?}"));
        assert_eq!((to.as_str(), forwarded.method().unwrap().as_str()), ("127.0.0.3:5080", method));
        assert!(!forwarded.has(HeaderName::ProxyAuthorization), "{method}");
    }
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let ack = Request { method: "ACK", ..invite("sip:bob@sip.test") };
    assert!(server.receive("127.0.0.2:5070", &ack.text()).is_empty());
    let cancel = Request { method: "CANCEL", ..invite("sip:bob@sip.test") };
    assert_eq!(server.status("127.0.0.2:5070", &cancel.text()), 481);
    assert_eq!(server.engine.counters().challenges, 1, "that of bob's REGISTER");
}

#[test]
fn methods_can_be_freed_from_the_password_but_not_towards_foreign_domains() {
    let digest = DigestSettings {
        free: [Method::Options, Method::Message].into_iter().collect(),
        ..settings().digest
    };
    let foreign = dialtone_roles::settings::Foreign::Authenticated;
    let mut server = Server::new(Settings { digest, foreign, ..settings() });
    register_bob(&mut server);
    for (method, uri, passes) in [
        ("OPTIONS", "sip:bob@sip.test", true),
        ("MESSAGE", "sip:bob@sip.test", true),
        ("INFO", "sip:bob@sip.test", false),
        ("MESSAGE", "sip:somebody@192.0.2.77", false),
    ] {
        let request = Request { method, uri, call_id: uri, ..invite("sip:bob@sip.test") };
        let sent = server.receive("127.0.0.2:5070", &request.text());
        assert_eq!(sent.iter().any(|(_, message)| message.is_request()), passes, "{method} {uri} {sent:?}");
        if !passes {
            assert_eq!(code(&sent[0].1), 407, "{method} {uri}");
        }
    }
}

#[test]
fn a_bye_can_be_asked_for_a_password_too() {
    let digest = DigestSettings { in_dialog: [Method::Bye].into_iter().collect(), ..settings().digest };
    let mut server = Server::new(Settings { digest, ..settings() });
    register_bob(&mut server);
    let sent = crate::peers::authorized_invite(&mut server, "sip:bob@sip.test");
    let route = String::from_utf8(sent[1].1.value(HeaderName::RecordRoute).unwrap().to_vec()).unwrap();
    let in_dialog = |method, from| Request {
        method,
        from,
        uri: "sip:x@127.0.0.3:5080",
        to: "sip:bob@sip.test>;tag=t;x=<",
        cseq: 7,
        extra: format!("Route: {route}\r\n"),
        ..invite("sip:bob@sip.test")
    };
    let text = |request: &Request<'_>| request.text().replace(";x=<>", "");
    let mut bye = in_dialog("BYE", "sip:alice@sip.test");
    let challenge = server.receive("127.0.0.2:5070", &text(&bye)).remove(0).1;
    assert_eq!(code(&challenge), 407);
    bye.with_credentials("alice", "alice-pw", &challenge);
    let sent = server.receive("127.0.0.2:5070", &text(&bye));
    assert!(sent.iter().any(|(to, message)| to == "127.0.0.3:5080" && message.is_request()), "{sent:?}");
    // What is not named, and who has no password with us, is not asked.
    for request in [in_dialog("INFO", "sip:alice@sip.test"), in_dialog("BYE", "sip:x@elsewhere.test")] {
        let sent = server.receive("127.0.0.2:5070", &text(&request));
        assert!(sent.iter().any(|(_, message)| message.is_request()), "{} {sent:?}", request.method);
    }
}

#[test]
fn with_auth_int_a_changed_body_is_refused_and_without_it_passes() {
    for (integrity, qops, changed) in [
        (Integrity::Off, "\"auth\"", 200),
        (Integrity::Offered, "\"auth,auth-int\"", 200),
        (Integrity::Required, "\"auth-int\"", 401),
    ] {
        let digest = DigestSettings { integrity, ..settings().digest };
        let mut server = Server::new(Settings { digest, ..settings() });
        let mut request = register("sip:alice@sip.test", "127.0.0.2:5070", "body");
        let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
        let offered =
            String::from_utf8_lossy(challenge.value(HeaderName::WwwAuthenticate).unwrap()).into_owned();
        assert!(offered.contains(&format!("qop={qops}")), "{offered}");
        // The digest is made for an empty body; on its way the request gets another one.
        request.with_credentials("alice", "alice-pw", &challenge);
        let text = request.text();
        let altered = text.replace("\r\n\r\n", "\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(server.status("127.0.0.2:5070", &altered), changed, "{integrity:?}");
        if integrity == Integrity::Required {
            let mut whole = register("sip:alice@sip.test", "127.0.0.2:5070", "whole");
            let challenge = server.receive("127.0.0.2:5070", &whole.text()).remove(0).1;
            whole.with_credentials("alice", "alice-pw", &challenge);
            assert_eq!(server.status("127.0.0.2:5070", &whole.text()), 200);
        }
    }
}

#[test]
fn a_nonce_is_good_for_its_source_alone_where_that_is_asked_for() {
    for (bind_nonce, expected) in [(true, 401), (false, 200)] {
        let digest = DigestSettings { bind_nonce, ..settings().digest };
        let mut server = Server::new(Settings { digest, ..settings() });
        let mut request = register("sip:alice@sip.test", "127.0.0.2:5070", "moves");
        let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
        request.with_credentials("alice", "alice-pw", &challenge);
        let answer = server.receive("127.0.0.7:5070", &request.text()).remove(0).1;
        assert_eq!(code(&answer), expected);
        if bind_nonce {
            let stale = answer.value(HeaderName::WwwAuthenticate).unwrap();
            assert!(String::from_utf8_lossy(stale).contains("stale=true"), "no person is asked");
            let mut again = register("sip:alice@sip.test", "127.0.0.2:5070", "moves");
            again.cseq = 3;
            again.extra.push_str(&credentials("REGISTER", "sip:sip.test", "alice", "alice-pw", &answer));
            assert_eq!(
                server.status("127.0.0.7:5071", &again.text()),
                200,
                "another port is no other source"
            );
            assert_eq!(server.engine.counters().wrong_password, 0);
        }
    }
}

#[test]
fn a_replay_is_refused_and_counts_as_no_guess() {
    let mut server = Server::new(settings());
    let mut request = register("sip:alice@sip.test", "127.0.0.2:5070", "once");
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    let line = credentials("REGISTER", "sip:sip.test", "alice", "alice-pw", &challenge);
    request.extra.push_str(&line);
    request.cseq = 2;
    assert_eq!(server.status("127.0.0.2:5070", &request.text()), 200);
    for number in 0..10 {
        let call_id = format!("copy{number}");
        let copy = Request {
            call_id: &call_id,
            extra: request.extra.clone(),
            ..register("sip:alice@sip.test", "127.0.0.9:1", "")
        };
        assert_eq!(server.status("127.0.0.9:1", &copy.text()), 401);
    }
    let counters = server.engine.counters();
    assert_eq!((counters.replays, counters.holds), (10, 0));
}

/// Gives an input to one of several shards, and carries what they say to each other and ask of the store until nothing
/// moves any more. Gives back what was sent.
pub(crate) fn shards_take(shards: &mut [Engine], now: Instant, shard: usize, input: Input) -> Vec<Message> {
    let mut sent = Vec::new();
    let mut inputs = VecDeque::from([(shard, input)]);
    while let Some((shard, input)) = inputs.pop_front() {
        dialtone_roles::turn(&mut shards[shard], now, input, |output| match output {
            Output::Transmit(transmit) => {
                sent.push(Message::parse(transmit.bytes, &dialtone_wire::Limits::default()).unwrap());
            }
            Output::Query(id, Query::Credential { domain, .. }) => {
                let stored = StoredCredential::from_password("alice", &domain, &domain, "alice-pw");
                inputs.push_back((shard, Input::Answer(id, Answer::Credential(Some(Arc::new(stored))))));
            }
            Output::Notice { to, notice } => inputs.push_back((to.into(), Input::Notice(notice))),
            _ => {}
        });
    }
    sent
}

/// OPTIONS to somebody who has no phone.
fn options(call_id: &str) -> Request<'_> {
    Request { method: "OPTIONS", call_id, ..invite("sip:carol@sip.test") }
}

#[test]
fn a_replay_is_refused_on_whichever_shard_it_lands() {
    let now = Instant::from_millis(1000);
    let flow = Flow::udp("127.0.0.1:5060".parse().unwrap(), "127.0.0.2:5070".parse().unwrap());
    for issued_by in 0..3 {
        for used_at in 0..3 {
            let settings = Arc::new(Settings { shards: 3, ..settings() });
            let mut shards: Vec<Engine> = (0..3_u8)
                .map(|number| Engine::new(number.into(), [number + 1; 32], settings.clone()))
                .collect();
            let packet = |request: &Request<'_>| Input::Packet { flow, bytes: request.text().into() };
            let challenge = shards_take(&mut shards, now, issued_by, packet(&options("first"))).remove(0);
            let line = credentials("OPTIONS", "sip:carol@sip.test", "alice", "alice-pw", &challenge);
            let used = Request { extra: line.clone(), cseq: 2, ..options("used") };
            let answer = shards_take(&mut shards, now, used_at, packet(&used)).remove(0);
            assert_eq!(code(&answer), 480, "she is let in, and carol has no phone");
            for replayed_at in 0..3 {
                let call_id = format!("copy-{replayed_at}");
                let copy = Request { extra: line.clone(), cseq: 3, ..options(&call_id) };
                let answer = shards_take(&mut shards, now, replayed_at, packet(&copy)).remove(0);
                assert_eq!(code(&answer), 407, "{issued_by} {used_at} {replayed_at}");
                let stale = answer.value(HeaderName::ProxyAuthenticate).unwrap();
                assert!(String::from_utf8_lossy(stale).contains("stale=true"));
            }
            let replays: u64 = shards.iter().map(|shard| shard.counters().replays).sum();
            assert_eq!(replays, 3);
        }
    }
}
