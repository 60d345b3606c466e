//! A million messages through a stateless proxy: no table holds anything of them, and memory stays as it was.
//!
//! Alone in its program, since it looks at the memory of the whole process.

use std::sync::Arc;

use bytes::Bytes;
use dialtone_roles::io::{Input, Output};
use dialtone_roles::settings::{Domain, Listener, Mode, NextHops, Secret};
use dialtone_roles::{Engine, Settings, turn};
use dialtone_wire::net::{Flow, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;

/// A build without optimization takes a minute for a million.
const MESSAGES: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
/// Messages until the allocator has what it needs.
const WARM_UP: u64 = 20_000;
/// What the process may grow by afterwards: less than a byte for each message.
const GROWTH_MAX: usize = 512 * 1024;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a number");
    pages * 4096
}

#[test]
fn a_million_messages_leave_nothing_behind() {
    let domain = Domain {
        name: "sip.test".into(),
        mode: Mode::Stateless,
        next_hops: NextHops(vec![UriBuf::parse("sip:127.0.0.9").expect("a URI")]),
        ..Domain::default()
    };
    let local = "127.0.0.1:5060".parse().expect("an address");
    let settings = Settings {
        listeners: vec![Listener { transport: Transport::Udp, address: local, prefix_length: 8 }],
        domains: vec![domain],
        ..Settings::new(Secret([7; 32]))
    };
    let mut engine = Engine::new(0, [3; 32], Arc::new(settings));
    let caller = Flow::udp(local, "127.0.0.2:5070".parse().expect("an address"));
    let registrar = Flow::udp(local, "127.0.0.9:5060".parse().expect("an address"));
    let (mut sent, mut baseline) = (0, 0);
    for number in 0..MESSAGES / 2 {
        if number * 2 == WARM_UP {
            baseline = resident_bytes();
        }
        let method =
            ["INVITE", "REGISTER", "OPTIONS", "MESSAGE"][usize::try_from(number % 4).expect("small")];
        let request = format!(
            "{method} sip:bob@sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5070;rport;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@sip.test>;tag=f\r\nTo: <sip:bob@sip.test>\r\n\
             Call-ID: {number}\r\nCSeq: 1 {method}\r\nContact: <sip:alice@127.0.0.2:5070>\r\n\r\n"
        );
        let now = Instant::from_millis(number);
        let mut forwarded = None;
        let timer = turn(&mut engine, now, Input::Packet { flow: caller, bytes: request.into() }, |output| {
            if let Output::Transmit(transmit) = output {
                assert_eq!(transmit.flow.remote, registrar.remote);
                forwarded = Some(transmit.bytes);
            }
        });
        assert_eq!(timer, None, "no timer runs");
        let forwarded = forwarded.expect("it went on");
        sent += 1;
        let answer = answer(&forwarded);
        turn(&mut engine, now, Input::Packet { flow: registrar, bytes: answer }, |output| {
            if let Output::Transmit(transmit) = output {
                assert_eq!(transmit.flow.remote, caller.remote);
                sent += 1;
            }
        });
    }
    assert_eq!(sent, MESSAGES);
    assert!(engine.tables().iter().all(|(_, size)| size == 0), "{:?}", engine.tables());
    assert_eq!(engine.counters().packets, MESSAGES);
    let grown = resident_bytes().saturating_sub(baseline);
    assert!(grown <= GROWTH_MAX, "{grown} bytes more than after {WARM_UP} messages");
}

/// The request as its answer: another first line, the same Via values.
fn answer(request: &Bytes) -> Bytes {
    let text = std::str::from_utf8(request).expect("text");
    let (_, rest) = text.split_once("\r\n").expect("a first line");
    Bytes::from(format!("SIP/2.0 200 OK\r\n{rest}"))
}
