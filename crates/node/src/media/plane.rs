//! All leases and sessions of one media thread.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

use dialtone_media::AudioSession;
use dialtone_roles::io::{CallHandle, Lease, MediaCommand, MediaEvent, Play};
use dialtone_transport::sys::{BATCH_MAX, Poller, Readiness, ReceiveBatch, UdpSocket};
use dialtone_wire::time::Instant;

use super::ports::Ports;
use super::{Counts, MediaReport, MediaSettings, Meter, ReportSink, session};
use crate::inbox::Sender;
use crate::shard::Word as ShardWord;
use crate::{clock, random};

/// The longest datagram that is media.
const DATAGRAM_LEN_MAX: usize = 2_048;
/// System calls on one socket before the others have their turn.
const ROUNDS_MAX: usize = 4;
/// Steps of one session at a time; it is behind when it needs more.
const STEPS_MAX: usize = 16;

/// The sessions, their sockets and their times.
pub(super) struct Plane<'a> {
    epoch: u32,
    settings: &'a MediaSettings,
    shards: &'a [Sender<ShardWord>],
    report: &'a ReportSink,
    counts: &'a mut Counts,
    ports: Ports,
    leased: BTreeMap<u32, Leased>,
    last_id: u32,
    /// When each session wants its next step; entries that are out of date are passed over.
    deadlines: BinaryHeap<Reverse<(Instant, u32)>>,
    batch: ReceiveBatch,
    packet: Vec<u8>,
    /// What one call of a conference has just heard.
    heard: Vec<i16>,
}

struct Leased {
    shard: u16,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    session: Option<Running>,
    /// How many datagrams have come for a stream that is not played.
    unplayed: Option<u64>,
}

struct Running {
    call: CallHandle,
    play: Play,
    audio: AudioSession,
    /// The entry in `deadlines` that counts.
    deadline: Option<Instant>,
}

impl<'a> Plane<'a> {
    pub(super) fn new(
        epoch: u32,
        settings: &'a MediaSettings,
        shards: &'a [Sender<ShardWord>],
        report: &'a ReportSink,
        counts: &'a mut Counts,
    ) -> Plane<'a> {
        Plane {
            epoch,
            settings,
            shards,
            report,
            counts,
            ports: Ports::new(settings.ports, random::number()),
            leased: BTreeMap::new(),
            last_id: 0,
            deadlines: BinaryHeap::new(),
            batch: ReceiveBatch::new(BATCH_MAX, DATAGRAM_LEN_MAX),
            packet: Vec::with_capacity(DATAGRAM_LEN_MAX),
            heard: Vec::new(),
        }
    }

    pub(super) fn handle_command(
        &mut self,
        now: Instant,
        shard: u16,
        command: MediaCommand,
        poller: &Poller,
    ) {
        match command {
            MediaCommand::Lease { address, count } => self.lease(shard, address, count, poller),
            MediaCommand::Apply { lease, call, session, play } => {
                let settings = self.settings;
                let Some(leased) = self.leased_mut(shard, &lease) else { return };
                let fits = match &mut leased.session {
                    Some(running) => {
                        running.call = call;
                        if session::own(&running.play) != session::own(&play) {
                            running.audio.set_source(&session::source(&play, settings));
                        }
                        if session::conference(&running.play) != session::conference(&play) {
                            running.audio.unmix(None);
                        }
                        running.play = play;
                        session::change(&mut running.audio, &session)
                    }
                    None => match session::begin(now, &session, &play, settings) {
                        Some(audio) => {
                            leased.session = Some(Running { call, play, audio, deadline: None });
                            true
                        }
                        None => false,
                    },
                };
                if !fits {
                    tracing::warn!(
                        "a session was negotiated with a codec that the media plane does not have"
                    );
                }
                self.step(now, lease.id);
            }
            MediaCommand::Count { lease, .. } => {
                if let Some(leased) = self.leased_mut(shard, &lease) {
                    leased.unplayed.get_or_insert(0);
                }
            }
            MediaCommand::Release { lease } => {
                if self.leased_mut(shard, &lease).is_some() {
                    self.release(now, lease.id);
                }
            }
            // MediaCommand may grow; a command that is not known changes nothing.
            _ => self.counts.stale_commands += 1,
        }
    }

    fn lease(&mut self, shard: u16, address: IpAddr, count: u16, poller: &Poller) {
        let mut leases = Vec::new();
        let mut exhausted = false;
        for _ in 0..count {
            match self.lease_one(shard, address, poller) {
                Some(lease) => leases.push(lease),
                None => exhausted = true,
            }
            if exhausted {
                break;
            }
        }
        self.counts.leases += leases.len() as u64;
        let ids: Vec<u32> = leases.iter().map(|lease| lease.id).collect();
        if !leases.is_empty() && !self.tell(shard, MediaEvent::Leased(leases)) {
            // Nobody knows of them: the ports are free again.
            ids.iter().for_each(|id| drop(self.leased.remove(id)));
        }
        if exhausted {
            self.counts.exhausted += 1;
            self.tell(shard, MediaEvent::Exhausted(address));
        }
    }

    fn lease_one(&mut self, shard: u16, address: IpAddr, poller: &Poller) -> Option<Lease> {
        if self.leased.len() >= self.settings.leases_max {
            tracing::warn!(leases = self.leased.len(), "all RTP leases are taken");
            return None;
        }
        let bound = self.ports.bind(address).and_then(|(rtp, rtcp)| {
            let id = self.last_id.wrapping_add(1);
            poller.add(&rtp, token(id, false))?;
            poller.add(&rtcp, token(id, true))?;
            Ok((id, rtp, rtcp))
        });
        match bound {
            Ok((id, rtp, rtcp)) => {
                self.last_id = id;
                let lease = Lease { id, epoch: self.epoch, rtp: rtp.local() };
                self.leased.insert(id, Leased { shard, rtp, rtcp, session: None, unplayed: None });
                Some(lease)
            }
            Err(error) => {
                tracing::warn!(%error, "no RTP port can be bound");
                None
            }
        }
    }

    fn tell(&self, shard: u16, event: MediaEvent) -> bool {
        let shard = self.shards.get(usize::from(shard));
        shard.is_some_and(|shard| shard.send(ShardWord::Media(event)).is_ok())
    }

    /// What a shard leased; a lease that is not (or not any more) its own is void.
    fn leased_mut(&mut self, shard: u16, lease: &Lease) -> Option<&mut Leased> {
        let found = self.leased.get_mut(&lease.id).filter(|leased| {
            lease.epoch == self.epoch && leased.shard == shard && leased.rtp.local() == lease.rtp
        });
        if found.is_none() {
            self.counts.stale_commands += 1;
        }
        found
    }

    fn release(&mut self, now: Instant, id: u32) {
        if let Some(leased) = self.leased.get_mut(&id)
            && let Some(running) = &mut leased.session
        {
            // RFC 3550 §6.3.7: with so few members the BYE goes at once.
            running.audio.close(now);
            self.step(now, id);
        }
        let Some(leased) = self.leased.remove(&id) else { return };
        if let Some(datagrams) = leased.unplayed {
            tracing::debug!(datagrams, "a stream ended that was received and not played");
        }
        let Leased { shard, session: Some(mut running), .. } = leased else { return };
        for other in self.leased.values_mut().filter_map(|leased| leased.session.as_mut()) {
            other.audio.unmix(Some(id));
        }
        let recording = running.audio.take_recording();
        (self.report)(MediaReport { shard, call: running.call, report: running.audio.report(), recording });
    }

    /// What the calls that go on are like; their levels begin anew.
    pub(super) fn meters(&mut self) -> Vec<Meter> {
        let sessions =
            self.leased.values_mut().filter_map(|leased| Some((leased.shard, leased.session.as_mut()?)));
        let meter = |(shard, running): (u16, &mut Running)| {
            let (sent_dbfs, heard_dbfs) = running.audio.take_levels();
            let (direction, report) = (running.audio.direction(), running.audio.report());
            Meter { shard, call: running.call, direction, sent_dbfs, heard_dbfs, report }
        };
        sessions.map(meter).collect()
    }

    /// Gives back all leases, or all of one shard.
    pub(super) fn release_all(&mut self, now: Instant, of: Option<u16>) {
        let of_it = |leased: &Leased| of.is_none_or(|shard| leased.shard == shard);
        let ids: Vec<u32> =
            self.leased.iter().filter(|(_, leased)| of_it(leased)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.release(now, id));
    }

    /// When the next session wants a step.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn handle_timeouts(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.deadlines.peek().copied() {
            if at > now {
                return;
            }
            self.deadlines.pop();
            let running = self.leased.get_mut(&id).and_then(|leased| leased.session.as_mut());
            if let Some(running) = running.filter(|running| running.deadline == Some(at)) {
                running.deadline = None;
                self.step(now, id);
            }
        }
    }

    /// Lets a session do what is due, sends what it has to send, and notes its next time.
    fn step(&mut self, now: Instant, id: u32) {
        let Some(leased) = self.leased.get_mut(&id) else { return };
        let shard = leased.shard;
        let Some(running) = &mut leased.session else { return };
        let conference = session::conference(&running.play);
        self.heard.clear();
        for _ in 0..STEPS_MAX {
            while let Some(outgoing) = running.audio.poll_transmit(&mut self.packet) {
                let socket = if outgoing.is_rtcp { &leased.rtcp } else { &leased.rtp };
                match socket.send_one(outgoing.remote, &self.packet) {
                    Ok(()) => self.counts.sent += 1,
                    Err(_) => self.counts.send_failures += 1,
                }
            }
            match running.audio.poll_timeout() {
                Some((at, _)) if at <= now => {
                    running.audio.handle_timeout(now);
                    if conference.is_some()
                        && let Some(frame) = running.audio.take_played()
                    {
                        self.heard.extend_from_slice(frame);
                    }
                }
                _ => break,
            }
        }
        let next = running.audio.poll_timeout().map(|(at, _)| at);
        if let Some(at) = next.filter(|at| running.deadline != Some(*at)) {
            self.deadlines.push(Reverse((at, id)));
        }
        running.deadline = next;
        if let Some(conference) = conference.filter(|_| !self.heard.is_empty()) {
            self.pass_on(shard, id, conference);
        }
    }

    /// What was heard in one call of a conference is sent into the others.
    fn pass_on(&mut self, shard: u16, from: u32, conference: u64) {
        let others = self.leased.iter_mut().filter(|(id, leased)| **id != from && leased.shard == shard);
        for running in others.filter_map(|(_, leased)| leased.session.as_mut()) {
            if session::conference(&running.play) == Some(conference) {
                running.audio.mix_in(from, &self.heard);
            }
        }
    }

    /// Receives from a socket.
    pub(super) fn handle_ready(&mut self, token: u64, readiness: Readiness) {
        let (id, is_rtcp) = ((token >> 1) as u32, token & 1 == 1);
        for _ in 0..ROUNDS_MAX {
            let Some(leased) = self.leased.get_mut(&id) else { return };
            let socket = if is_rtcp { &leased.rtcp } else { &leased.rtp };
            if readiness.error {
                // A peer that is gone is the business of the signalling.
                socket.take_unreachable(|_| {});
            }
            let count = match socket.receive(&mut self.batch) {
                Ok(count) => count,
                Err(error) => {
                    tracing::debug!(%error, "receiving media failed");
                    0
                }
            };
            // One time for the batch would look like no jitter; it was read within microseconds all the same.
            let now = clock::now();
            self.counts.received += count as u64;
            if let Some(unplayed) = &mut leased.unplayed {
                *unplayed += count as u64;
                self.counts.unplayed += count as u64;
            }
            if let Some(running) = &mut leased.session {
                for (from, bytes) in self.batch.iter() {
                    running.audio.handle_packet(now, is_rtcp, from, bytes);
                }
                self.step(now, id);
            }
            if count < self.batch.slots() {
                return;
            }
        }
    }
}

fn token(id: u32, is_rtcp: bool) -> u64 {
    u64::from(id) << 1 | u64::from(is_rtcp)
}
