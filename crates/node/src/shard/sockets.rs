//! The sockets of one shard, found by their local address.

use bytes::Bytes;
use dialtone_transport::sys::{BATCH_MAX, Outgoing, Poller, ReceiveBatch, UdpSocket};
use dialtone_wire::net::{Flow, Transmit, Transport};

use crate::counters::ShardCounters;

/// The longest datagram of UDP over IPv4 and IPv6 without jumbograms.
const DATAGRAM_LEN_MAX: usize = 65_535;

/// The sockets of one shard and the room to receive.
#[derive(Debug)]
pub(super) struct Sockets {
    udp: Vec<UdpSocket>,
    batch: ReceiveBatch,
}

impl Sockets {
    pub(super) fn new(udp: Vec<UdpSocket>, poller: &Poller) -> std::io::Result<Sockets> {
        for (index, socket) in udp.iter().enumerate() {
            poller.add(socket, index as u64)?;
        }
        Ok(Sockets { udp, batch: ReceiveBatch::new(BATCH_MAX, DATAGRAM_LEN_MAX) })
    }

    /// Receives one batch from a socket: how many datagrams came, and whether no more wait.
    pub(super) fn receive(&mut self, index: usize) -> (usize, bool) {
        let Some(socket) = self.udp.get(index) else { return (0, true) };
        match socket.receive(&mut self.batch) {
            Ok(count) => (count, count < self.batch.slots()),
            Err(error) => {
                tracing::warn!(%error, "receiving failed");
                (0, true)
            }
        }
    }

    /// A datagram of the last batch, as a copy of its exact size: what is kept of it must not keep the batch.
    pub(super) fn received(&self, index: usize, slot: usize) -> Option<(Flow, Bytes)> {
        let (from, bytes) = self.batch.datagram(slot)?;
        Some((Flow::udp(self.udp.get(index)?.local(), from), Bytes::copy_from_slice(bytes)))
    }

    /// The flows that ICMP calls unreachable.
    pub(super) fn take_unreachable(&self, index: usize) -> Vec<Flow> {
        let mut flows = Vec::new();
        if let Some(socket) = self.udp.get(index) {
            socket.take_unreachable(|report| {
                let flow = Flow::udp(socket.local(), report.to);
                if !flows.contains(&flow) {
                    flows.push(flow);
                }
            });
        }
        flows
    }

    /// Sends everything, each socket its part in order. Returns the flows that could not be served.
    pub(super) fn send(&self, transmits: &[Transmit], counters: &mut ShardCounters) -> Vec<Flow> {
        let mut failed = Vec::new();
        let mut served = 0;
        for socket in &self.udp {
            let local = socket.local();
            let mine = |transmit: &&Transmit| {
                transmit.flow.local == local && transmit.flow.transport == Transport::Udp
            };
            let mut of_this_socket = 0;
            let outgoing = transmits.iter().filter(mine).map(|transmit| {
                of_this_socket += 1;
                Outgoing { to: transmit.flow.remote, bytes: &transmit.bytes }
            });
            let sent = socket.send(outgoing, |to, error| {
                // A full buffer is a loss like any other on the way: timers repair it.
                let is_loss = matches!(error.raw_os_error(), Some(code) if is_no_room(code))
                    || error.kind() == std::io::ErrorKind::WouldBlock;
                if !is_loss {
                    failed.push(Flow::udp(local, to));
                }
                tracing::debug!(%error, "a datagram could not be sent");
            });
            counters.sent += sent.datagrams as u64;
            counters.send_failures += sent.failed as u64;
            counters.send_calls += sent.system_calls as u64;
            served += of_this_socket;
        }
        if served < transmits.len() {
            // No socket has that address: the engine and the node disagree on what is there.
            let known = |flow: &Flow| {
                flow.transport == Transport::Udp && self.udp.iter().any(|socket| socket.local() == flow.local)
            };
            failed.extend(transmits.iter().map(|transmit| transmit.flow).filter(|flow| !known(flow)));
            counters.send_failures += (transmits.len() - served) as u64;
        }
        failed
    }
}

/// ENOBUFS: the queue of the network card is full.
fn is_no_room(code: i32) -> bool {
    const ENOBUFS: i32 = 105;
    code == ENOBUFS
}
