//! Bad input over the wire: a clear refusal, and nothing is lost.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, Request};
use crate::lab::lab;
use crate::serve::{DOMAIN, Server, User};

/// Requests of one flood, each with a Call-ID of its own.
const FLOOD: u32 = 100_000;
/// Requests on their way at a time, so that few are lost in the socket's buffer.
const WINDOW: u32 = 64;
/// What the server may take for one flood: 2.6 kB for each Call-ID.
const RESIDENT_BYTES_MAX: u64 = 256 << 20;
/// What a second flood may add when all that the first one began has ended.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// Timers H and J end what nobody follows up (64·T1 = 32 s, RFC 3261 §17.2); then some time to tidy.
const UNTIL_ALL_HAS_ENDED: Duration = Duration::from_secs(36);

#[test]
fn wrong_password_unknown_user_and_foreign_domain_are_refused() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let mut client = Client::new(server.address);
        let alice = server.user("alice");
        let wrong = User { password: "guessed".to_owned(), ..alice.clone() };
        let unknown = User { name: "mallory".to_owned(), password: "guessed".to_owned() };
        for user in [&wrong, &unknown] {
            let response = client.register(user, Some(60));
            assert!([401, 403].contains(&response.status), "{user:?}: {response:?}");
        }
        // The same answer for a known and an unknown name, or it would tell who is there.
        let statuses = [&wrong, &unknown].map(|user| client.register(user, Some(60)).status);
        assert_eq!(statuses[0], statuses[1]);
        // RFC 3261 §10.3 step 1 and 5.
        let to = "sip:alice@elsewhere.example".to_owned();
        let more = format!("Contact: <sip:alice@{}>\r\n", client.address());
        let request = Request {
            method: "REGISTER",
            uri: "sip:elsewhere.example",
            from: "alice",
            to: &to,
            more: more.clone(),
        };
        let foreign = client.ask(&request);
        assert!([403, 404].contains(&foreign.status), "{foreign:?}");
        // Someone else's address-of-record is not alice's to register.
        let to = format!("sip:bob@{DOMAIN}");
        let uri = format!("sip:{DOMAIN}");
        let response =
            client.ask_as(&alice, &Request { method: "REGISTER", uri: &uri, from: "alice", to: &to, more });
        assert_eq!(response.status, 403, "{response:?}");
        // Alice herself is not locked out by any of it.
        assert_eq!(client.register(&alice, Some(60)).status, 200);
        let counters = server.stop();
        for name in ["wrong_password", "unknown_user", "foreign", "challenges", "registrations"] {
            assert!(count(&counters, name) >= 1, "`{name}` in {counters}");
        }
    });
}

#[test]
fn it_relays_no_call_for_strangers_nor_to_foreign_domains() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let mut client = Client::new(server.address);
        let alice = server.user("alice");
        let uri = format!("sip:bob@{DOMAIN}");
        let invite = |uri| Request { method: "INVITE", uri, from: "alice", to: uri, more: String::new() };
        assert_eq!(client.ask(&invite(&uri)).status, 407);
        let foreign = "sip:somebody@203.0.113.9";
        let stranger = client.ask(&invite(foreign)).status;
        assert!([403, 404, 407].contains(&stranger), "{stranger}");
        if stranger == 407 {
            let response = client.ask_as(&alice, &invite(foreign));
            assert_eq!(response.status, 403, "{response:?}");
        }
        server.stop();
    });
}

#[test]
fn garbage_is_counted_and_does_no_harm() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let mut client = Client::new(server.address);
        let alice = server.user("alice");
        assert_eq!(client.register(&alice, Some(600)).status, 200);
        let garbage = garbage();
        for datagram in &garbage {
            client.send(datagram);
        }
        assert!(client.is_answered());
        assert_registered(&mut client, &alice);
        let counters = server.stop();
        // Noise is dropped and counted; of what is nearly a request, some is answered and counted as malformed.
        assert!(
            count(&counters, "garbage") >= 200,
            "{} datagrams of garbage, but: {counters}",
            garbage.len()
        );
        assert!(count(&counters, "malformed") >= 1, "{counters}");
    });
}

#[test]
fn a_datagram_full_of_headers_is_refused_and_the_next_one_served() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let mut client = Client::new(server.address);
        let uri = format!("sip:bob@{DOMAIN}");
        // 65,507 bytes are the most that fit into one UDP datagram over IPv4.
        let request = |more| Request { method: "INVITE", uri: &uri, from: "alice", to: &uri, more };
        let empty = client.text(&request(String::new())).len() + 4;
        let many = "X-Filler: 0123456789\r\n".repeat((65_507 - empty) / 22);
        let long = format!("X-Filler: {}\r\n", "x".repeat(65_507 - empty - 12));
        let refusals = [400, 413, 431, 513];
        // One long header is well-formed: a server that takes it goes on to the challenge.
        for (more, statuses) in [(many, &refusals[..]), (long, &[400, 407, 413, 431, 513])] {
            let text = client.text(&request(more));
            assert!((65_000..=65_507).contains(&text.len()), "{}", text.len());
            let response = client.ask_raw(text.as_bytes()).expect("a refusal in words, not silence");
            assert!(statuses.contains(&response.status), "{response:?}");
            assert!(client.is_answered());
        }
        server.stop();
    });
}

#[test]
fn a_hundred_thousand_calls_without_follow_up_leave_memory_bounded() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let mut client = Client::new(server.address);
        let alice = server.user("alice");
        assert_eq!(client.register(&alice, Some(600)).status, 200);
        // From a socket of its own, at which the server's retransmissions may pile up.
        flood(&mut Client::new(server.address));
        let after_first = server.resident_bytes();
        // Full is a choice of ours: 503, in words and not in silence (RFC 3261 §21.5.4).
        let end = Instant::now() + UNTIL_ALL_HAS_ENDED;
        while Instant::now() < end {
            assert!([200, 503].contains(&client.options()), "while what the flood began is still there");
            // Nothing is to come: this is how the test waits.
            let _ = client.receive(Duration::from_secs(1));
        }
        assert!(client.is_answered(), "when all that the flood began has ended");
        assert_registered(&mut client, &alice);
        flood(&mut Client::new(server.address));
        let after_second = server.resident_bytes();
        println!(
            "resident after {FLOOD} calls: {after_first} bytes; after as many again: {after_second} bytes"
        );
        assert!(after_first < RESIDENT_BYTES_MAX, "{after_first} bytes");
        let growth = after_second.saturating_sub(after_first);
        assert!(growth < GROWTH_BYTES_MAX, "the second flood added {growth} bytes");
        let counters = server.stop();
        // Some datagrams of a flood are lost in the socket's buffer before anybody can count them.
        assert!(count(&counters, "packets") >= u64::from(FLOOD), "{counters}");
        assert!(count(&counters, "challenges") > 0, "{counters}");
    });
}

/// INVITE, REGISTER and OPTIONS in turn, never followed by an ACK or by credentials.
fn flood(client: &mut Client) {
    let (bob, server) = (format!("sip:bob@{DOMAIN}"), format!("sip:{DOMAIN}"));
    for count in 0..FLOOD {
        let (method, uri) = match count % 4 {
            0 | 1 => ("INVITE", &bob),
            2 => ("REGISTER", &server),
            _ => ("OPTIONS", &server),
        };
        let text = client.text(&Request { method, uri, from: "flood", to: &bob, more: String::new() });
        client.send(text.as_bytes());
        if count % WINDOW == 0 {
            // The answer to the last one gives the pace; a server that sheds load says nothing, which costs a moment.
            client.await_answer(&text, Duration::from_millis(50));
        }
    }
}

/// Datagrams that are no SIP, or nearly SIP; the same ones at each run.
fn garbage() -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = [
        &b""[..],
        b"\r\n",
        b"\0\0\0\0",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"INVITE\r\n\r\n",
        b"INVITE sip:bob@sip.test SIP/2.0\r\n\r\n",
        b"INVITE sip:bob@sip.test SIP/2.0\r\nVia",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 999999999999 OK\r\nVia: SIP/2.0/UDP [::::]:99999999;branch=\r\n\r\n",
        b"INVITE sip:\xff\xfe SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.0.1;branch=z9hG4bK1\r\nContent-Length: -1\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 0.0.0.0:0\r\nCSeq: 99999999999999999999 OPTIONS\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 18446744073709551616\r\n\r\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    // A xorshift generator: noise that is the same each time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..200 {
        let length = (next() % 1400) as usize;
        datagrams.push((0..length).map(|_| (next() >> 32) as u8).collect());
    }
    // A good request with one byte spoilt at each place.
    let good = b"OPTIONS sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.0.1:9;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n\
        From: <sip:a@sip.test>;tag=1\r\nTo: <sip:sip.test>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    for place in 0..good.len() {
        let mut spoilt = good.to_vec();
        spoilt[place] = (next() >> 32) as u8;
        datagrams.push(spoilt);
    }
    datagrams
}

/// What was registered is still there: REGISTER without Contact asks for the bindings (RFC 3261 §10.2.3).
fn assert_registered(client: &mut Client, user: &User) {
    let response = client.register(user, None);
    assert_eq!(response.status, 200, "{response:?}");
    let address = client.address().to_string();
    assert!(response.headers("Contact").any(|contact| contact.contains(&address)), "{response:?}");
}

fn count(counters: &Value, name: &str) -> u64 {
    counters["engine"][name].as_u64().unwrap_or_else(|| panic!("no counter `engine.{name}` in {counters}"))
}
