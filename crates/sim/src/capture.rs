//! What passed on the wire, between whom: the steps of a ladder.

use std::net::SocketAddr;

use bytes::Bytes;
use dialtone_wire::ladder::{Arrow, ArrowKind, draw};
use dialtone_wire::time::Instant;

use crate::network::Packet;

/// The messages between some participants, in the order of sending.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Names, from left to right.
    pub participants: Vec<String>,
    /// The messages.
    pub steps: Vec<Step>,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Step {
    /// The sender, an index into the participants.
    pub from: usize,
    /// The receiver, an index into the participants.
    pub to: usize,
    /// The method, or the status with its reason.
    pub title: String,
    /// The whole message.
    pub bytes: Bytes,
    /// When it was sent.
    pub sent: Instant,
    /// When it came; `None` when it was lost.
    pub arrived: Option<Instant>,
}

impl Ladder {
    /// Picks what passed between these participants; each has a name and an address.
    pub fn of(packets: &[Packet], participants: &[(&str, SocketAddr)]) -> Ladder {
        let index = |address: SocketAddr| participants.iter().position(|(_, own)| *own == address);
        let steps = packets.iter().filter_map(|packet| {
            let (from, to) = (index(packet.from)?, index(packet.to)?);
            Some(Step {
                from,
                to,
                title: packet.title(),
                bytes: packet.bytes.clone(),
                sent: packet.sent,
                arrived: packet.arrivals.first().copied(),
            })
        });
        let participants = participants.iter().map(|(name, _)| (*name).to_owned()).collect();
        Ladder { participants, steps: steps.collect() }
    }

    /// Draws it.
    pub fn draw(&self) -> String {
        let names: Vec<&str> = self.participants.iter().map(String::as_str).collect();
        let arrows: Vec<Arrow> = self.steps.iter().map(Step::arrow).collect();
        draw(&names, &arrows)
    }
}

impl Step {
    fn arrow(&self) -> Arrow {
        let kind = if self.arrived.is_some() { ArrowKind::Message } else { ArrowKind::Lost };
        Arrow { from: self.from, to: self.to, text: self.title.clone(), kind }
    }
}
