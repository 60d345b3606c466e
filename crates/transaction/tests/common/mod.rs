//! Messages and flows for the tests of the layer.
#![allow(dead_code, unreachable_pub)]

use std::fmt::Write as _;

use bytes::Bytes;
use dialtone_transaction::{Timers, TransactionLimits, Transactions};
use dialtone_wire::net::{Flow, Transmit, Transport};
use dialtone_wire::time::Instant;
use dialtone_wire::{Limits, Message, Status};

pub fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub fn status(code: u16) -> Status {
    Status::of(code)
}

pub fn layer() -> Transactions {
    with_limits(TransactionLimits::default())
}

pub fn with_limits(limits: TransactionLimits) -> Transactions {
    Transactions::new(Timers::default(), limits, 7)
}

pub fn udp() -> Flow {
    Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap())
}

pub fn tcp() -> Flow {
    Flow { transport: Transport::Tcp, ..udp() }
}

pub fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

pub fn parse_bytes(bytes: &Bytes) -> Message {
    Message::parse(bytes.clone(), &Limits::default()).unwrap()
}

/// What can differ between the requests of a test.
#[derive(Clone)]
pub struct Request<'a> {
    pub method: &'a str,
    pub uri: &'a str,
    pub via: &'a str,
    pub from_tag: &'a str,
    pub to_tag: &'a str,
    pub call_id: &'a str,
    pub cseq: u32,
    pub extra: &'a str,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Request {
            method: "OPTIONS",
            uri: "sip:bob@biloxi.com",
            via: "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776",
            from_tag: "1928",
            to_tag: "",
            call_id: "a84b4c76e66710",
            cseq: 314159,
            extra: "",
        }
    }
}

impl Request<'_> {
    pub fn text(&self) -> String {
        let Request { method, uri, via, from_tag, to_tag, call_id, cseq, extra } = self;
        let mut text = format!("{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n");
        let _ =
            write!(text, "From: Alice <sip:alice@atlanta.com>;tag={from_tag}\r\nTo: <sip:bob@biloxi.com>");
        if !to_tag.is_empty() {
            let _ = write!(text, ";tag={to_tag}");
        }
        let _ = write!(
            text,
            "\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{extra}Content-Length: 0\r\n\r\n"
        );
        text
    }

    pub fn message(&self) -> Message {
        parse(&self.text())
    }

    pub fn bytes(&self) -> Bytes {
        Bytes::from(self.text())
    }
}

pub fn request<'a>(method: &'a str, via: &'a str) -> Request<'a> {
    Request { method, via, ..Request::default() }
}

/// The response to `request` with `to_tag`.
pub fn response(request: &Message, code: u16, to_tag: &str) -> Bytes {
    let source = "192.0.2.2:5060".parse().unwrap();
    dialtone_wire::Writer::response_to(request, status(code), source, Some(to_tag)).finish()
}

/// Everything that waits to be sent.
pub fn sent(layer: &mut Transactions) -> Vec<Transmit> {
    std::iter::from_fn(|| layer.poll_transmit()).collect()
}

/// The first lines of everything that waits to be sent.
pub fn sent_lines(layer: &mut Transactions) -> Vec<String> {
    sent(layer).iter().map(|transmit| first_line(&transmit.bytes)).collect()
}

pub fn first_line(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}

/// Everything there is to know.
pub fn events(layer: &mut Transactions) -> Vec<dialtone_transaction::Event> {
    std::iter::from_fn(|| layer.poll_event()).collect()
}

/// Lets time pass from timer to timer until none is left, and says when the last one fired.
pub fn let_all_timers_fire(layer: &mut Transactions) -> Instant {
    let mut now = Instant::START;
    for _ in 0..10_000 {
        let Some((next, _)) = layer.poll_timeout() else { return now };
        now = now.max(next);
        layer.handle_timeout(now);
    }
    panic!("the timers never end");
}
