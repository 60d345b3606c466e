//! Runs one operation a given number of times, so that its instructions can be counted: the difference between two
//! numbers of runs is what the operations cost, whatever the start of the program costs.
//!
//! `operations NAME COUNT`, or `operations list`. `cargo xtask instructions` counts under callgrind.

use std::hint::black_box;
use std::process::ExitCode;

use bytes::Bytes;
use dialtone_benches::{ALICE, BOB, Server, call, register, request};
use dialtone_wire::{Edits, Limits, Message, Status, Writer};

type Operation = fn(u32);

/// Each operation: its name, and what runs it.
const OPERATIONS: [(&str, Operation); 8] = [
    ("parse_invite", parse_invite),
    ("screen_invite", screen_invite),
    ("write_200", write_200),
    ("forward_invite", forward_invite),
    ("turn_options", turn_options),
    ("turn_register", turn_register),
    ("turn_invite", turn_invite),
    ("turn_call", turn_call),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    if name == "list" {
        OPERATIONS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let count = arguments.next().and_then(|count| count.parse().ok());
    match (OPERATIONS.iter().find(|(own, _)| *own == name), count) {
        (Some((_, operation)), Some(count)) => {
            operation(count);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: operations NAME COUNT | operations list");
            ExitCode::from(2)
        }
    }
}

fn invite() -> Bytes {
    Bytes::from(request("INVITE", "sip:bob@sip.test", ALICE, 1, 1, ""))
}

fn parsed() -> Message {
    Message::parse(invite(), &Limits::default()).expect("a legal message")
}

fn parse_invite(count: u32) {
    let bytes = invite();
    for _ in 0..count {
        black_box(Message::parse(black_box(&bytes).clone(), &Limits::default()).expect("a legal message"));
    }
}

fn screen_invite(count: u32) {
    let message = parsed();
    for _ in 0..count {
        black_box(&message).screen().expect("a legal message");
    }
}

fn write_200(count: u32) {
    let message = parsed();
    let source = ALICE.parse().expect("an address");
    for _ in 0..count {
        black_box(Writer::response_to(black_box(&message), Status::of(200), source, Some("tag")).finish());
    }
}

fn forward_invite(count: u32) {
    let message = parsed();
    let source = ALICE.parse().expect("an address");
    let mut out = Vec::new();
    for _ in 0..count {
        out.clear();
        Edits::new()
            .set_request_uri("sip:bob@127.0.0.3:5080")
            .push_via("SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bK0123456789abcdef")
            .set_source(source)
            .set_max_forwards(69)
            .push_record_route("<sip:127.0.0.1:5060;lr>")
            .write(black_box(&message), &mut out);
        black_box(&out);
    }
}

fn turn_options(count: u32) {
    let mut server = Server::new();
    for n in 0..count {
        server.receive(ALICE, request("OPTIONS", "sip:sip.test", ALICE, n.into(), 1, ""));
    }
}

fn turn_register(count: u32) {
    let mut server = Server::new();
    for n in 0..count {
        server.receive(BOB, register(n.into()));
    }
}

/// Each INVITE begins a call that nobody answers: 100 back, and on to bob.
fn turn_invite(count: u32) {
    let mut server = Server::new();
    server.receive(BOB, register(u64::MAX));
    for n in 0..count {
        server.receive(ALICE, request("INVITE", "sip:bob@sip.test", ALICE, n.into(), 1, ""));
    }
}

fn turn_call(count: u32) {
    let mut server = Server::new();
    server.receive(BOB, register(u64::MAX));
    for _ in 0..count {
        call(&mut server);
    }
}
