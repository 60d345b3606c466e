//! Answers of a server that has no more of something: of transactions (503), or of the connection that a phone registered
//! over (430).

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::chains::Node;
use crate::client::{Client, Request};
use crate::lab::{ADDRESS, lab};
use crate::manage::run_json;
use crate::serve::{DOMAIN, PORT, Server, tcp};

const PATIENCE: Duration = Duration::from_secs(10);

/// The least that the settings allow.
const TRANSACTIONS: usize = 100;

/// RFC 3261 §21.5.4. Bob's phone is there and says nothing, so that each call keeps its transaction.
#[test]
fn one_transaction_more_than_the_limit_is_503_with_a_time_and_what_waits_goes_on() {
    lab(|lab| {
        let settings = lab.path("dialtone.toml");
        let text = format!("[limits]\nserver_transactions = {TRANSACTIONS}\n");
        std::fs::write(&settings, text).expect("a file of the lab can be written");
        let server = Server::start_with(lab, &["--open", "--config", &settings.to_string_lossy()]);
        let mut bob = Client::new(server.address);
        let (uri, contact) = (format!("sip:bob@{DOMAIN}"), bob.address());
        let domain = format!("sip:{DOMAIN}");
        let more = format!("Contact: <sip:bob@{contact}>\r\nExpires: 300\r\n");
        let request = Request { method: "REGISTER", uri: &domain, from: "bob", to: &uri, more };
        assert_eq!(bob.ask(&request).status, 200);
        let mut alice = Client::new(server.address);
        let mut call = || {
            let more = format!("Contact: <sip:alice@{}>\r\n", alice.address());
            let text = alice.text(&Request { method: "INVITE", uri: &uri, from: "alice", to: &uri, more });
            alice.send(text.as_bytes());
            let end = Instant::now() + PATIENCE;
            let call_id =
                text.lines().find(|line| line.starts_with("Call-ID:")).expect("a Call-ID").to_owned();
            while let Some(answer) = alice.receive(end.saturating_duration_since(Instant::now())) {
                let answer = String::from_utf8_lossy(&answer).into_owned();
                if answer.contains(&call_id) {
                    return answer;
                }
            }
            panic!("no answer to\n{text}");
        };
        let mut taken = 0;
        let refused = loop {
            let answer = call();
            if answer.starts_with("SIP/2.0 503 ") {
                break answer;
            }
            assert!(answer.starts_with("SIP/2.0 100 "), "{answer}");
            taken += 1;
            assert!(taken <= TRANSACTIONS, "{taken} calls are taken");
        };
        assert!(taken + 2 >= TRANSACTIONS, "only {taken} calls are taken");
        let seconds = refused.lines().find_map(|line| line.strip_prefix("Retry-After: "));
        assert!(
            seconds.is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0)),
            "{refused}"
        );
        let status = run_json(lab, &["status"]).1;
        assert!(status["counters"]["engine"]["overload"].as_u64() >= Some(1), "{status}");
        assert_eq!(status["tables"]["proxy_contexts"], taken, "{status}");
    });
}

/// RFC 5626 §5.3.1. We are the edge, and play phone and registrar.
#[test]
fn an_edge_says_430_once_the_connection_of_a_phone_is_closed() {
    lab(|lab| {
        let registrar = Client::new(SocketAddr::new(ADDRESS.parse().expect("an address"), PORT));
        let edge = Node::start_on(
            lab,
            &[&format!("udp:{ADDRESS}:{PORT}"), &tcp()],
            PORT,
            "transaction",
            registrar.address(),
        );
        let mut phone = TcpStream::connect((ADDRESS, PORT)).expect("the edge takes connections");
        let address = phone.local_addr().expect("a connected socket");
        let text = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP {address};branch=z9hG4bK-reg\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@{DOMAIN}>;tag=b\r\nTo: <sip:bob@{DOMAIN}>\r\nCall-ID: reg@{address}\r\nCSeq: 1 REGISTER\r\n\
             Supported: path, outbound\r\nContact: <sip:bob@{address};transport=tcp;ob>;reg-id=1;\
             +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"\r\nContent-Length: 0\r\n\r\n"
        );
        phone.write_all(text.as_bytes()).expect("the edge reads");
        let forwarded = receive(&registrar, "REGISTER ");
        let path = forwarded.lines().find_map(|line| line.strip_prefix("Path: "));
        let path = path.unwrap_or_else(|| panic!("no Path in\n{forwarded}")).to_owned();
        let call = |number: u32| {
            format!(
                "INVITE sip:bob@{address};transport=tcp;ob SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {ours};branch=z9hG4bK-call{number}\r\nMax-Forwards: 70\r\nRoute: {path}\r\n\
                 From: <sip:alice@{DOMAIN}>;tag=a\r\nTo: <sip:bob@{DOMAIN}>\r\nCall-ID: call{number}@{ours}\r\n\
                 CSeq: 1 INVITE\r\nContact: <sip:alice@{ours}>\r\nContent-Length: 0\r\n\r\n",
                ours = registrar.address()
            )
        };
        // While the connection is there the call goes over it.
        registrar.send(call(1).as_bytes());
        let mut peeked = [0; 7];
        phone.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        std::io::Read::read_exact(&mut phone, &mut peeked).expect("the call comes over the connection");
        assert_eq!(&peeked, b"INVITE ");
        drop(phone);
        let end = Instant::now() + PATIENCE;
        while edge.number("tables", "connections") > 0 {
            assert!(Instant::now() < end, "the edge still has the connection");
            std::thread::sleep(Duration::from_millis(20));
        }
        let answer = registrar.ask_raw(call(2).as_bytes()).expect("a final response");
        assert_eq!(answer.status, 430, "{answer:?}");
    });
}

/// The next datagram that begins with these words.
fn receive(client: &Client, start: &str) -> String {
    let end = Instant::now() + PATIENCE;
    while let Some(datagram) = client.receive(end.saturating_duration_since(Instant::now())) {
        let text = String::from_utf8_lossy(&datagram).into_owned();
        if text.starts_with(start) {
            return text;
        }
    }
    panic!("no `{start}` came")
}
