//! From the bytes of a connection to messages.

use std::collections::VecDeque;

use bytes::Bytes;
use dialtone_wire::ParseError;
use dialtone_wire::framing::{Frame, StreamLimits};
use dialtone_wire::net::ConnectionId;
use dialtone_wire::refusal::refuse;
use dialtone_wire::time::Instant;

use super::connection::{Connection, State};
use super::{CloseReason, Connections, Event};

/// The answer to a ping (RFC 5626 §4.4.1).
const PONG: &[u8] = b"\r\n";

impl Connections {
    /// Takes bytes that came; each whole message becomes an [`Event::Message`]. Give it no more than some 64 KiB at a
    /// time, and the connections in turn, so that none keeps the others waiting.
    pub fn handle_bytes(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.slots.get_mut(id) else { return };
        self.counters.bytes_received += bytes.len() as u64;
        if connection.state != State::Established {
            return;
        }
        let held = connection.received.capacity();
        let mut joined = std::mem::take(&mut connection.received);
        let all = if joined.is_empty() {
            bytes
        } else {
            let whole = connection.framer.expected().unwrap_or(0);
            joined.reserve(bytes.len().max(whole.saturating_sub(joined.len())));
            joined.extend_from_slice(bytes);
            &joined
        };
        let mut cut = Cut::default();
        let outcome = cut.all(connection, all, &self.settings.message, &mut self.events);
        let error_at = cut.consumed;
        let refusal = outcome.err().map(|error| {
            let tag = format!("{:016x}", self.random.next());
            refuse(&all[error_at..], error, connection.flow.remote, &tag)
        });
        if refusal.is_none() && cut.consumed < all.len() {
            // The room of what became messages is given back.
            connection.received =
                if cut.consumed > 0 || joined.is_empty() { all[cut.consumed..].to_vec() } else { joined };
        }
        self.held_bytes = self.held_bytes - held + connection.received.capacity();
        self.after_bytes(now, id, cut);
        match refusal {
            Some(refusal) => {
                self.end_malformed(now, id, refusal.map(|refusal| refusal.bytes), cut.messages > 0);
            }
            None => self.shed(now),
        }
    }

    /// Moves the deadlines, and answers pings.
    fn after_bytes(&mut self, now: Instant, id: ConnectionId, cut: Cut) {
        let Some(connection) = self.slots.get_mut(id) else { return };
        self.counters.messages_received += cut.messages;
        let deadlines = &mut connection.deadlines;
        if connection.received.is_empty() {
            deadlines.message = None;
        } else if cut.consumed > 0 || deadlines.message.is_none() {
            // The time of a message counts from its own first byte.
            deadlines.message = Some(now + self.settings.message_time);
        }
        if cut.consumed > 0 {
            deadlines.idle = Some(now + self.settings.idle_time);
        }
        if cut.messages > 0 && !connection.brought_message {
            connection.brought_message = true;
            deadlines.first_message = None;
            match connection.accepted {
                Some(accepted) => {
                    self.newcomers.remove(&(accepted, id.slot));
                    self.events.push_back(Event::Proven(connection.flow));
                }
                None => self.back_off.works((connection.flow.transport, connection.flow.remote)),
            }
        }
        self.schedule(id);
        // However many pings came at once, one answer shows that the flow works.
        if cut.pings > 0 {
            self.counters.pongs += 1;
            // A peer that does not read its pongs is ended by that, and no longer ours to care about.
            let _ = self.enqueue(now, id, Bytes::from_static(PONG));
        }
    }

    /// Sends the last words, if there are any, and ends the connection. Where whole messages came just before what is
    /// malformed, their answers are waited for as long as a peer is waited for that has heard the last words.
    fn end_malformed(&mut self, now: Instant, id: ConnectionId, answer: Option<Bytes>, answers_due: bool) {
        if answer.is_none() && !answers_due {
            return self.close(now, id, CloseReason::Malformed);
        }
        if let Some(answer) = answer {
            self.counters.framing_answered += 1;
            if self.enqueue(now, id, answer).is_err() {
                return;
            }
        }
        let linger = now + self.settings.linger_time;
        let Some(connection) = self.slots.get_mut(id) else { return };
        connection.state = State::Ending;
        connection.ending = Some(CloseReason::Malformed);
        connection.answers_due = answers_due;
        connection.deadlines.linger = Some(linger);
        self.schedule(id);
    }
}

/// What came of one segment.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    /// Bytes that became messages or keep-alives.
    consumed: usize,
    messages: u64,
    pings: u64,
}

impl Cut {
    fn all(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        limits: &StreamLimits,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ParseError> {
        loop {
            let rest = &bytes[self.consumed..];
            let frame = connection.framer.next(rest, limits)?;
            match frame {
                Frame::NeedMore => return Ok(()),
                Frame::LineEnd => {}
                Frame::Ping => self.pings += 1,
                Frame::Message(length) => {
                    self.messages += 1;
                    let bytes = Bytes::copy_from_slice(&rest[..length]);
                    events.push_back(Event::Message { flow: connection.flow, bytes });
                }
            }
            self.consumed += frame.length();
        }
    }
}
