//! A user agent that thinks long before it answers, and keeps the rules: it sits on the transaction layer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_transaction::{EdgeCounts, Received, ServerId, Timers, TransactionLimits, Transactions};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{Limits, Message, Method, Status, Writer};

use crate::agent::{Agent, AgentContext};

/// What it says to a request other than INVITE, and how many milliseconds after it came: RFC 4320 §4.1 allows 100
/// once the client has waited long enough, and does not say that it is sent once.
const SCRIPT: [(u64, u16); 4] = [(3_900, 100), (4_600, 100), (5_300, 100), (6_000, 200)];

/// A user agent server without haste.
#[derive(Debug)]
pub struct Deliberate {
    transactions: Transactions,
    /// What it will say, and to which request.
    later: BTreeMap<(Instant, u64), (ServerId, Message, SocketAddr, Status)>,
    count: u64,
}

impl Default for Deliberate {
    fn default() -> Deliberate {
        let transactions = Transactions::new(Timers::default(), TransactionLimits::default(), 1);
        Deliberate { transactions, later: BTreeMap::new(), count: 0 }
    }
}

impl Deliberate {
    fn say(&mut self, now: Instant, server: ServerId, request: &Message, from: SocketAddr, status: Status) {
        let tag = (status.code() > 100).then_some("deliberate");
        let bytes = Writer::response_to(request, status, from, tag).finish();
        // A response that comes too late finds its transaction gone, as it should.
        let _ = self.transactions.respond(now, server, status, bytes);
    }

    fn flush(&mut self, cx: &mut AgentContext<'_>) {
        while self.transactions.poll_event().is_some() {}
        while let Some(transmit) = self.transactions.poll_transmit() {
            cx.send(transmit.flow.remote, transmit.bytes);
        }
        if let Some((at, _)) = self.transactions.poll_timeout() {
            cx.wake_after(at - cx.now);
        }
    }
}

impl Agent for Deliberate {
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes) {
        let Ok(request) = Message::parse(bytes.clone(), &Limits::default()) else { return };
        let Some(method) = request.method().cloned() else { return };
        let flow = Flow::udp(cx.address, from);
        if let Received::New(server) = self.transactions.receive_request(cx.now, flow, &request) {
            match method {
                Method::Invite => self.say(cx.now, server, &request, from, Status::of(486)),
                Method::Cancel | Method::Bye => self.say(cx.now, server, &request, from, Status::of(481)),
                _ => {
                    for (wait_ms, status) in SCRIPT {
                        let wait = Duration::from_millis(wait_ms);
                        self.count += 1;
                        let answer = (server, request.clone(), from, Status::of(status));
                        self.later.insert((cx.now + wait, self.count), answer);
                        cx.wake_after(wait);
                    }
                }
            }
        }
        self.flush(cx);
    }

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        self.transactions.handle_timeout(cx.now);
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= cx.now) {
            let (server, request, from, status) = entry.remove();
            self.say(cx.now, server, &request, from, status);
        }
        self.flush(cx);
    }

    fn edges(&self) -> Option<&EdgeCounts> {
        Some(self.transactions.edges())
    }
}
