//! The session: sends one stream, judges what arrives, reports, and leaves in order.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dialtone_wire::rtcp::{
    COUNT_MAX, Compound, CompoundWriter, ReportBlock, RtcpError, RtcpPacket, SdesItem, SenderInfo,
};
use dialtone_wire::rtp::{RtpError, RtpHeader, RtpPacket};
use dialtone_wire::time::Instant;

use super::interval::{Awaited, BYE_IMMEDIATE_MEMBERS_MAX, RtcpTimer};
use super::participants::{Participant, Participants};
use super::reception::round_trip_nanos;
use super::sequence::SequenceVerdict;
use crate::random::SplitMix64;

/// The most addresses remembered as those of colliding participants (RFC 3550 §8.2).
pub const CONFLICTS_MAX: usize = 16;
/// Octets of an SDES text; longer ones are cut.
const TEXT_LEN_MAX: usize = 255;
/// The probable size of the first report: an SR with one block and a CNAME of 32 octets.
const FIRST_REPORT_LEN: usize = 96;

/// How a session begins.
#[derive(Clone, Debug)]
pub struct RtpSessionSettings {
    /// Decides SSRC, first sequence number, first timestamp and RTCP intervals. Unpredictable in production.
    pub seed: u64,
    /// The CNAME, the same for all media of one participant (§6.5.1); cut at 255 octets.
    pub cname: String,
    /// The TOOL item, if any.
    pub tool: Option<String>,
    /// Clock rate of the timestamps in hertz.
    pub clock_rate: u32,
    /// Bandwidth of the session in bits per second, from which RTCP takes 5 %.
    pub bandwidth_bps: u32,
    /// NTP timestamp (32.32 fixed point since 1900) of [`Instant::START`]. Zero gives elapsed time, which §4 allows.
    pub ntp_at_start: u64,
}

impl RtpSessionSettings {
    /// Settings for one G.711 stream: 8000 Hz, 80 kbit/s with the headers.
    pub fn new(seed: u64, cname: impl Into<String>) -> RtpSessionSettings {
        RtpSessionSettings {
            seed,
            cname: cname.into(),
            tool: None,
            clock_rate: 8000,
            bandwidth_bps: 80_000,
            ntp_at_start: 0,
        }
    }
}

/// What a valid RTP packet means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The source isn't validated: keep the packet; deliver it if the next one of the source is [`Arrival::Started`]
    /// with the sequence number after it.
    Probation,
    /// The stream starts with this packet, or starts anew.
    Started {
        /// Sequence number with cycles.
        extended: u32,
    },
    /// The next packet, or a reordered one.
    InStream {
        /// Sequence number with cycles.
        extended: u32,
    },
    /// A packet that came before.
    Duplicate,
}

/// The reason why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// Not RTP.
    #[error(transparent)]
    Rtp(#[from] RtpError),
    /// Not RTCP.
    #[error(transparent)]
    Rtcp(#[from] RtcpError),
    /// The sequence number is out of range (A.1).
    #[error("sequence number out of range")]
    Sequence,
    /// Our own SSRC from an address known for it: a loop, or the collision that was already answered (§8.2).
    #[error("own SSRC from a known conflicting address")]
    Loop,
    /// Another participant took our SSRC; we said BYE and chose another one (§8.2).
    #[error("collision with our SSRC")]
    Collision,
    /// The table of participants is full.
    #[error("too many participants")]
    TooMany,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtpTotals {
    /// RTP packets.
    pub packets: u64,
    /// Payload octets.
    pub octets: u64,
    /// When the first packet passed.
    pub first: Option<Instant>,
    /// When the last one passed.
    pub last: Option<Instant>,
}

impl RtpTotals {
    fn count(&mut self, now: Instant, octets: usize) {
        self.packets += 1;
        self.octets += octets as u64;
        self.first.get_or_insert(now);
        self.last = Some(now);
    }
}

/// What the other side says of our stream in its reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RemoteView {
    /// Share lost in its last interval, 0 to 1.
    pub fraction_lost: f64,
    /// Lost since the start, by the count of RFC 3550 A.3.
    pub cumulative_lost: i32,
    /// Interarrival jitter in milliseconds.
    pub jitter_ms: f64,
    /// Extended highest sequence number.
    pub extended_highest_sequence: u32,
}

/// A snapshot of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RtpStats {
    /// What we sent.
    pub sent: RtpTotals,
    /// What valid sources sent us, duplicates included.
    pub received: RtpTotals,
    /// Packets that sources should have sent, over all sources.
    pub expected: u64,
    /// Different packets that came, over all sources.
    pub received_unique: u64,
    /// Packets that came twice or more.
    pub duplicates: u64,
    /// Interarrival jitter of the current source in milliseconds.
    pub jitter_ms: f64,
    /// SSRC of the current source.
    pub remote_ssrc: Option<u32>,
    /// Round trip by the last report.
    pub round_trip: Option<Duration>,
    /// The other side's view of our stream.
    pub remote_view: Option<RemoteView>,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// Valid RTCP packets received.
    pub rtcp_received: u64,
    /// Packets that were refused.
    pub rejected: u64,
    /// SSRC collisions survived.
    pub collisions: u32,
    /// Packets with our own SSRC from an address that collided before: our packets reflected by the peer, mostly.
    pub loops: u64,
    /// Members of the session with ourselves.
    pub members: usize,
    /// Whether the current source said BYE.
    pub remote_left: bool,
}

/// One RTP session (RFC 3550) with one local synchronization source.
///
/// The caller sends what [`RtpSession::write_rtp`] and [`RtpSession::poll_transmit`] write, hands in what arrives, and
/// calls [`RtpSession::handle_timeout`] when [`RtpSession::poll_timeout`] says so.
#[derive(Debug)]
pub struct RtpSession {
    random: SplitMix64,
    cname: String,
    tool: Option<String>,
    clock_rate: u32,
    ntp_at_start: u64,
    ssrc: u32,
    next_sequence: u16,
    /// Media time of our last packet: timestamp and the moment it was sent.
    last_sent: Option<(u32, Instant)>,
    first_timestamp: u32,
    sent_since_ssrc: (u32, u32),
    sent_anything: bool,
    we_sent: bool,
    participants: Participants,
    conflicts: Vec<(SocketAddr, Instant)>,
    timer: RtcpTimer,
    due: Option<Instant>,
    bye_for_old_ssrc: Option<u32>,
    leaving: Leaving,
    current: Option<u32>,
    retired: (u64, u64, f64),
    stats: RtpStats,
}

/// How far the way out is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    Waiting,
    Due,
    Gone,
}

impl RtpSession {
    /// Begins a session at `now`.
    pub fn new(now: Instant, settings: RtpSessionSettings) -> RtpSession {
        let mut random = SplitMix64::new(settings.seed);
        let ssrc = random.next_u32();
        // §5.1: the first sequence number and timestamp are random. A first number in the lower half keeps the first
        // minutes free of a wrap, which helps peers that lose the first packets of an encrypted stream (RFC 3711).
        let next_sequence = (random.next_u32() >> 17) as u16;
        let first_timestamp = random.next_u32();
        let rtcp_octets_per_second = f64::from(settings.bandwidth_bps) * 0.05 / 8.0;
        let unit = random.next_unit();
        let cut = |text: String| {
            let end = (0..=TEXT_LEN_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
            text[..end.unwrap_or(0)].to_owned()
        };
        RtpSession {
            random,
            cname: cut(settings.cname),
            tool: settings.tool.map(cut),
            clock_rate: settings.clock_rate.max(1),
            ntp_at_start: settings.ntp_at_start,
            ssrc,
            next_sequence,
            last_sent: None,
            first_timestamp,
            sent_since_ssrc: (0, 0),
            sent_anything: false,
            we_sent: false,
            participants: Participants::default(),
            conflicts: Vec::new(),
            timer: RtcpTimer::new(now, rtcp_octets_per_second, FIRST_REPORT_LEN, unit),
            due: None,
            bye_for_old_ssrc: None,
            leaving: Leaving::No,
            current: None,
            retired: (0, 0, 0.0),
            stats: RtpStats::default(),
        }
    }

    /// Our SSRC; it changes after a collision.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The random timestamp with which the caller begins its stream.
    pub fn first_timestamp(&self) -> u32 {
        self.first_timestamp
    }

    /// Sets the next sequence number, for tests of the wrap and for streams that are handed over.
    pub fn set_next_sequence(&mut self, sequence_number: u16) {
        self.next_sequence = sequence_number;
    }

    /// Appends one RTP packet to `out` and counts it as sent.
    pub fn write_rtp(
        &mut self,
        now: Instant,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RtpError> {
        let mut header = RtpHeader::new(payload_type, self.next_sequence, timestamp, self.ssrc);
        header.marker = marker;
        header.write(out)?;
        out.extend_from_slice(payload);
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.last_sent = Some((timestamp, now));
        self.sent_since_ssrc.0 = self.sent_since_ssrc.0.wrapping_add(1);
        self.sent_since_ssrc.1 = self.sent_since_ssrc.1.wrapping_add(payload.len() as u32);
        self.sent_anything = true;
        self.we_sent = true;
        self.stats.sent.count(now, payload.len());
        Ok(())
    }

    /// Takes in an RTP packet that arrived from `remote`.
    pub fn handle_rtp<'a>(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        datagram: &'a [u8],
    ) -> Result<(Arrival, RtpPacket<'a>), Rejected> {
        let result = self.judge_rtp(now, remote, datagram);
        self.stats.rejected += u64::from(result.is_err());
        result
    }

    fn judge_rtp<'a>(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        datagram: &'a [u8],
    ) -> Result<(Arrival, RtpPacket<'a>), Rejected> {
        let packet = RtpPacket::parse(datagram)?;
        let ssrc = packet.header.ssrc;
        if ssrc == self.ssrc {
            return Err(self.collide(now, remote));
        }
        let clock_rate = self.clock_rate;
        let participant = self.participants.entry(now, ssrc).ok_or(Rejected::TooMany)?;
        participant.address.get_or_insert(remote);
        let before =
            (participant.reception.sequence.expected(), participant.reception.sequence.received_unique());
        let verdict = participant.reception.sequence.update(packet.header.sequence_number);
        let arrival = match verdict {
            SequenceVerdict::Invalid => return Err(Rejected::Sequence),
            SequenceVerdict::Probation => return Ok((Arrival::Probation, packet)),
            SequenceVerdict::Started { extended } => {
                participant.reception.jitter.resynchronize();
                // The statistics of the source start anew; what it had before stays in the totals.
                self.retired.0 += before.0;
                self.retired.1 += before.1;
                self.stats.received.packets += 1;
                Arrival::Started { extended }
            }
            SequenceVerdict::Valid { duplicate: true, .. } => Arrival::Duplicate,
            SequenceVerdict::Valid { extended, duplicate: false } => Arrival::InStream { extended },
        };
        participant.note_rtp(now);
        participant.reception.note_heard();
        if arrival != Arrival::Duplicate {
            let arrived = timestamp_units(now, clock_rate);
            participant.reception.jitter.update(arrived, packet.header.timestamp);
        }
        self.stats.duplicates += u64::from(arrival == Arrival::Duplicate);
        self.stats.received.count(now, packet.payload.len());
        self.current = Some(ssrc);
        for contributor in packet.header.csrc.as_slice() {
            if let Some(participant) = self.participants.entry(now, *contributor) {
                participant.is_member = true;
            }
        }
        Ok((arrival, packet))
    }

    /// RFC 3550 §8.2: our SSRC came from elsewhere.
    fn collide(&mut self, now: Instant, remote: SocketAddr) -> Rejected {
        if let Some(conflict) = self.conflicts.iter_mut().find(|conflict| conflict.0 == remote) {
            conflict.1 = now;
            self.stats.loops += 1;
            return Rejected::Loop;
        }
        if self.conflicts.len() == CONFLICTS_MAX {
            self.conflicts.remove(0);
        }
        self.conflicts.push((remote, now));
        self.stats.collisions += 1;
        if self.sent_anything {
            self.bye_for_old_ssrc = Some(self.ssrc);
        }
        // The other's address goes into the choice, so that two with the same seed part ways. The new identifier must
        // be one that nobody here uses.
        let address = match remote.ip().to_canonical() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
        };
        self.random =
            SplitMix64::new(self.random.next_u64() ^ address.rotate_left(16) ^ u64::from(remote.port()));
        let old = self.ssrc;
        while self.ssrc == old || self.participants.find(self.ssrc).is_some() {
            self.ssrc = self.random.next_u32();
        }
        // §6.4.1: the counts of an SR are reset with the SSRC.
        self.sent_since_ssrc = (0, 0);
        Rejected::Collision
    }

    /// Takes in an RTCP packet that arrived from `remote`.
    pub fn handle_rtcp(&mut self, now: Instant, remote: SocketAddr, datagram: &[u8]) -> Result<(), Rejected> {
        let result = self.judge_rtcp(now, remote, datagram);
        self.stats.rejected += u64::from(result.is_err());
        result
    }

    fn judge_rtcp(&mut self, now: Instant, remote: SocketAddr, datagram: &[u8]) -> Result<(), Rejected> {
        let compound = Compound::parse(datagram)?;
        if compound.sender() == self.ssrc {
            return Err(self.collide(now, remote));
        }
        self.stats.rtcp_received += 1;
        let has_bye = compound.iter().any(|packet| matches!(packet, RtcpPacket::Bye { .. }));
        if self.timer.awaited == Awaited::Bye {
            // §6.3.7: while our BYE waits, only BYEs count.
            if has_bye {
                self.timer.note_bye(datagram.len());
            }
            return Ok(());
        }
        self.timer.note_size(datagram.len());
        for packet in &compound {
            self.handle_rtcp_packet(now, &packet);
        }
        Ok(())
    }

    fn handle_rtcp_packet(&mut self, now: Instant, packet: &RtcpPacket<'_>) {
        match packet {
            RtcpPacket::SenderReport { ssrc, info, reports, .. } => {
                if let Some(participant) = self.participants.entry(now, *ssrc) {
                    participant.is_member = true;
                    participant.reception.note_sender_report(now, info);
                }
                reports.iter().for_each(|block| self.note_remote_view(now, &block));
            }
            RtcpPacket::ReceiverReport { ssrc, reports, .. } => {
                if let Some(participant) = self.participants.entry(now, *ssrc) {
                    participant.is_member = true;
                }
                reports.iter().for_each(|block| self.note_remote_view(now, &block));
            }
            RtcpPacket::Bye { sources, .. } => {
                for source in sources.iter() {
                    if let Some(participant) = self.participants.find_mut(source) {
                        participant.left = true;
                        participant.is_sender = false;
                    }
                }
                self.timer.members_fell(now, self.members());
            }
            // CNAMEs bind streams of one participant together, which a session of one stream has no use for.
            RtcpPacket::SourceDescription(_) | RtcpPacket::App { .. } | RtcpPacket::Unknown { .. } => {}
        }
    }

    fn note_remote_view(&mut self, now: Instant, block: &ReportBlock) {
        if block.ssrc != self.ssrc {
            return;
        }
        self.stats.remote_view = Some(RemoteView {
            fraction_lost: f64::from(block.fraction_lost) / 256.0,
            cumulative_lost: block.cumulative_lost,
            jitter_ms: f64::from(block.jitter) * 1000.0 / f64::from(self.clock_rate),
            extended_highest_sequence: block.extended_highest_sequence,
        });
        if let Some(nanos) = round_trip_nanos(self.ntp(now), block) {
            self.stats.round_trip = Some(Duration::from_nanos(nanos));
        }
    }

    /// Runs the RTCP timer. Call it when [`RtpSession::poll_timeout`] says, then [`RtpSession::poll_transmit`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|(at, _)| at > now) {
            return;
        }
        self.time_out_silent(now);
        let (members, senders) = (self.members(), self.senders());
        if !self.timer.expire(now, members, senders, self.we_sent, &mut self.random) {
            return;
        }
        match self.timer.awaited {
            Awaited::Report => self.due = Some(now),
            Awaited::Bye => self.leaving = Leaving::Due,
        }
    }

    fn time_out_silent(&mut self, now: Instant) {
        // §6.3.5: the interval for a receiver, without the random factor.
        let interval = self.timer.deterministic(self.members(), self.senders(), false);
        let retired = &mut self.retired;
        self.participants.time_out(now, interval, |gone| retire(retired, gone));
        // §8.2: conflicting addresses age out after about ten report intervals.
        self.conflicts.retain(|conflict| now.since(conflict.1) <= interval * 10);
        if self.last_sent.is_none_or(|(_, at)| now.since(at) > interval * 2) {
            self.we_sent = false;
        }
        self.timer.members_fell(now, self.members());
    }

    /// The next point at which [`RtpSession::handle_timeout`] has something to do, and which timer it is.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.leaving {
            Leaving::Due | Leaving::Gone => None,
            Leaving::Waiting => Some((self.timer.next(), "rtcp_bye")),
            Leaving::No if self.due.is_some() => None,
            Leaving::No => Some((self.timer.next(), "rtcp_report")),
        }
    }

    /// Leaves the session (§6.3.7): the BYE is due at once, or after the back-off where more than 50 take part.
    /// Who never sent anything leaves without a BYE.
    pub fn leave(&mut self, now: Instant) {
        if self.leaving != Leaving::No {
            return;
        }
        self.due = None;
        if !self.sent_anything {
            self.leaving = Leaving::Gone;
        } else if self.members() <= BYE_IMMEDIATE_MEMBERS_MAX {
            self.leaving = Leaving::Due;
            self.timer.awaited = Awaited::Bye;
        } else {
            self.leaving = Leaving::Waiting;
            let size = self.cname.len() + 32;
            self.timer.await_bye(now, size, &mut self.random);
        }
    }

    /// Whether [`RtpSession::leave`] was called and the BYE is out.
    pub fn is_gone(&self) -> bool {
        self.leaving == Leaving::Gone
    }

    /// Appends the next RTCP packet that is due to `out`; call again until it returns false.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        if let Some(old) = self.bye_for_old_ssrc.take() {
            return self.write_bye(old, out);
        }
        if self.leaving == Leaving::Due {
            self.leaving = Leaving::Gone;
            return self.write_bye(self.ssrc, out);
        }
        if self.due.take().is_none() {
            return false;
        }
        let start = out.len();
        let written = self.write_report(now, out);
        let (members, senders) = (self.members(), self.senders());
        let size = out.len() - start;
        self.timer.sent(now, size, members, senders, self.we_sent, &mut self.random);
        self.sent_anything = true;
        self.stats.rtcp_sent += u64::from(written);
        written
    }

    fn write_bye(&mut self, ssrc: u32, out: &mut Vec<u8>) -> bool {
        let cname = [SdesItem::Cname(self.cname.as_bytes())];
        let written = CompoundWriter::new(out)
            .receiver_report(ssrc, &[])
            .source_description(&[(ssrc, &cname)])
            .bye(&[ssrc], None)
            .finish()
            .is_ok();
        self.stats.rtcp_sent += u64::from(written);
        written
    }

    fn write_report(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let mut blocks = [ReportBlock::default(); COUNT_MAX];
        let mut count = 0;
        for participant in self.participants.iter_mut() {
            if count < COUNT_MAX && participant.reception.is_heard_since_report() {
                blocks[count] = participant.reception.take_report_block(now, participant.ssrc);
                count += 1;
            }
        }
        let cname = SdesItem::Cname(self.cname.as_bytes());
        let tool = self.tool.as_ref().map(|tool| SdesItem::Tool(tool.as_bytes()));
        let both = [cname, tool.unwrap_or(cname)];
        let items = if tool.is_some() { &both[..] } else { &both[..1] };
        let info = self.sender_info(now);
        let mut writer = CompoundWriter::new(out);
        match info {
            Some(info) if self.we_sent => writer.sender_report(self.ssrc, &info, &blocks[..count]),
            _ => writer.receiver_report(self.ssrc, &blocks[..count]),
        };
        writer.source_description(&[(self.ssrc, items)]).finish().is_ok()
    }

    fn sender_info(&self, now: Instant) -> Option<SenderInfo> {
        let (timestamp, at) = self.last_sent?;
        let since = now.since(at).as_nanos() * u128::from(self.clock_rate) / 1_000_000_000;
        Some(SenderInfo {
            ntp_timestamp: self.ntp(now),
            rtp_timestamp: timestamp.wrapping_add(since as u32),
            packet_count: self.sent_since_ssrc.0,
            octet_count: self.sent_since_ssrc.1,
        })
    }

    /// The NTP timestamp of `now`.
    fn ntp(&self, now: Instant) -> u64 {
        let nanos = now.as_nanos();
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        self.ntp_at_start.wrapping_add((seconds << 32) | ((rest << 32) / 1_000_000_000))
    }

    fn members(&self) -> usize {
        self.participants.members() + 1
    }

    fn senders(&self) -> usize {
        self.participants.senders() + usize::from(self.we_sent)
    }

    /// The counters as they stand.
    pub fn stats(&self) -> RtpStats {
        let mut totals = self.retired;
        let mut stats = self.stats;
        for participant in self.participants.iter() {
            totals.0 += participant.reception.sequence.expected();
            totals.1 += participant.reception.sequence.received_unique();
        }
        (stats.expected, stats.received_unique, stats.jitter_ms) = totals;
        stats.members = self.members();
        stats.remote_ssrc = self.current;
        if let Some(current) = self.current.and_then(|ssrc| self.participants.find(ssrc)) {
            stats.jitter_ms = current.reception.jitter.estimate_ms(self.clock_rate);
            stats.remote_left = current.left;
        }
        stats
    }
}

/// Adds a participant that is forgotten to the totals: expected, received, last jitter in milliseconds.
fn retire(totals: &mut (u64, u64, f64), gone: &Participant) {
    totals.0 += gone.reception.sequence.expected();
    totals.1 += gone.reception.sequence.received_unique();
}

/// A point in time in timestamp units, modulo 2³².
pub(crate) fn timestamp_units(now: Instant, clock_rate: u32) -> u32 {
    (u128::from(now.as_nanos()) * u128::from(clock_rate) / 1_000_000_000) as u32
}
