//! Parties that are no engine of ours: they send what a test or a whim wants to be sent.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_transaction::EdgeCounts;
use dialtone_wire::time::Instant;

use crate::network::Packet;
use crate::random::Random;

/// What an agent may do while it is called.
#[derive(Debug)]
pub struct AgentContext<'a> {
    /// The time.
    pub now: Instant,
    /// Its own address.
    pub address: SocketAddr,
    /// Its chance.
    pub random: &'a mut Random,
    /// Everything that was sent so far: an eavesdropper may use it.
    pub overheard: &'a [Packet],
    pub(crate) garbage: u64,
    pub(crate) sends: Vec<(SocketAddr, Bytes)>,
    pub(crate) wakes: Vec<Instant>,
}

impl AgentContext<'_> {
    /// Sends a datagram.
    pub fn send(&mut self, to: SocketAddr, bytes: impl Into<Bytes>) {
        self.sends.push((to, bytes.into()));
    }

    /// Sends a datagram that is meant to be bad.
    pub fn send_garbage(&mut self, to: SocketAddr, bytes: impl Into<Bytes>) {
        self.garbage += 1;
        self.send(to, bytes);
    }

    /// Asks for a call of [`Agent::wake`] after that time.
    pub fn wake_after(&mut self, wait: Duration) {
        self.wakes.push(self.now + wait);
    }
}

/// A party that is no engine of ours.
pub trait Agent: Debug {
    /// The simulation begins.
    fn start(&mut self, _cx: &mut AgentContext<'_>) {}

    /// A datagram came.
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes);

    /// Whether it sends what it should, or garbage.
    fn is_honest(&self) -> bool {
        true
    }

    /// The arrows that its own state machines took, if it has any.
    fn edges(&self) -> Option<&EdgeCounts> {
        None
    }

    /// The time that was asked for has come.
    fn wake(&mut self, _cx: &mut AgentContext<'_>) {}
}

/// Takes everything and does nothing: its messages are sent by the test, and read from the capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mute;

impl Agent for Mute {
    fn packet(&mut self, _cx: &mut AgentContext<'_>, _from: SocketAddr, _bytes: &Bytes) {}
}
