//! Two audio sessions on virtual time, joined by a channel that loses, delays, doubles and reorders from a seed.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::rtp::RtpPacket;
use dialtone_wire::time::Instant;

use crate::meter::find_signal;
use crate::{
    Accept, AudioSession, AudioSettings, Codec, Direction, Outgoing, Source, SplitMix64, speech_like,
};

/// What the channel does to a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    delay_ms: u64,
    jitter_ms: u64,
    loss: f64,
    duplication: f64,
}

struct Flight {
    at: Instant,
    to: usize,
    is_rtcp: bool,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// Two sessions and what flies between them.
struct Pair {
    sessions: [AudioSession; 2],
    channel: Channel,
    random: SplitMix64,
    flights: Vec<Flight>,
    now: Instant,
    /// RTP packets that went into the channel, and those of them that were lost, by receiver.
    carried: [(u64, u64); 2],
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + end as u8], 4000))
}

fn settings(end: usize, source: Source) -> AudioSettings {
    let mut settings = AudioSettings::new(10 + end as u64, format!("end{end}@example.com"), Codec::Pcmu);
    settings.remote = Some(address(1 - end));
    settings.source = source;
    settings.measure_tone = true;
    settings.record_samples_max = 8000 * 120;
    settings
}

impl Pair {
    fn new(channel: Channel, sources: [Source; 2]) -> Pair {
        let [first, second] = sources;
        Pair::with_settings(channel, [settings(0, first), settings(1, second)])
    }

    fn with_settings(channel: Channel, settings: [AudioSettings; 2]) -> Pair {
        Pair {
            sessions: settings.map(|settings| AudioSession::new(Instant::START, settings)),
            channel,
            random: SplitMix64::new(42),
            flights: Vec::new(),
            now: Instant::START,
            carried: [(0, 0); 2],
        }
    }

    fn run(&mut self, time: Duration) -> &mut Pair {
        let end = self.now + time;
        loop {
            let timers = self.sessions.iter().filter_map(|session| session.poll_timeout()).map(|(at, _)| at);
            let arrivals = self.flights.iter().map(|flight| flight.at);
            let Some(next) = timers.chain(arrivals).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.deliver();
            for from in 0..2 {
                if self.sessions[from].poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    self.sessions[from].handle_timeout(self.now);
                }
                self.collect(from);
            }
        }
        self.now = end;
        self
    }

    fn deliver(&mut self) {
        while let Some(index) = self.flights.iter().position(|flight| flight.at <= self.now) {
            let flight = self.flights.remove(index);
            self.sessions[flight.to].handle_packet(self.now, flight.is_rtcp, flight.from, &flight.bytes);
            self.collect(flight.to);
        }
    }

    fn collect(&mut self, from: usize) {
        let mut bytes = Vec::new();
        while let Some(Outgoing { is_rtcp, remote }) = self.sessions[from].poll_transmit(&mut bytes) {
            let to = 1 - from;
            assert_eq!((remote.ip(), remote.port() % 2 == 1), (address(to).ip(), is_rtcp));
            let is_lost = self.random.next_unit() < self.channel.loss;
            if !is_rtcp {
                self.carried[to].0 += 1;
                self.carried[to].1 += u64::from(is_lost);
            }
            let copies = 1 + usize::from(self.random.next_unit() < self.channel.duplication);
            for _ in 0..if is_lost { 0 } else { copies } {
                let jitter = self.random.next_unit() * self.channel.jitter_ms as f64 * 1e6;
                let at = self.now
                    + Duration::from_millis(self.channel.delay_ms)
                    + Duration::from_nanos(jitter as u64);
                let mut source = address(from);
                source.set_port(remote.port());
                self.flights.push(Flight { at, to, is_rtcp, from: source, bytes: bytes.clone() });
            }
        }
    }
}

fn tone(hz: f64) -> Source {
    Source::Tone { hz, dbfs: -16.0 }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_needles_show_what_passed_since_they_were_looked_at() {
    let mut pair = Pair::new(Channel::default(), [tone(440.0), Source::Silence]);
    assert_eq!(pair.sessions[0].take_levels(), (crate::meter::SILENCE_DBFS, crate::meter::SILENCE_DBFS));
    pair.run(seconds(1));
    let (sent, heard) = pair.sessions[0].take_levels();
    assert!((sent + 16.0).abs() < 0.5 && heard < -60.0, "{sent} {heard}");
    let (sent, heard) = pair.sessions[1].take_levels();
    assert!(sent < -60.0 && (heard + 16.0).abs() < 1.5, "{sent} {heard}");
    // Nothing passed since.
    assert_eq!(pair.sessions[1].take_levels(), (crate::meter::SILENCE_DBFS, crate::meter::SILENCE_DBFS));
}

#[test]
fn a_clean_channel_carries_both_tones_at_their_level() {
    let channel = Channel { delay_ms: 30, ..Channel::default() };
    let mut pair = Pair::new(channel, [tone(440.0), tone(1000.0)]);
    pair.run(seconds(20));
    for (session, hz) in pair.sessions.iter().zip([1000.0, 440.0]) {
        let report = session.report();
        let heard = report.received.tone.unwrap();
        assert!((heard.hz - hz).abs() < 2.0 && heard.share > 0.98, "{report:?}");
        assert!((report.received.level_dbfs + 16.0).abs() < 0.5, "{report:?}");
        assert_eq!(report.received.loss.unwrap().packets, 0);
        assert_eq!((report.late, report.concealed_ms), (0, 0.0), "{report:?}");
        let round_trip = report.round_trip.unwrap().as_secs_f64() * 1000.0;
        assert!((round_trip - 60.0).abs() < 1.0, "{round_trip}");
        assert!(report.delay_ms <= 45.0, "{report:?}");
        assert_eq!((report.strangers, report.rejected, report.unknown_payload), (0, 0, 0));
    }
    let [first, second] = [pair.sessions[0].report(), pair.sessions[1].report()];
    assert_eq!(first.sent.packets, 1001);
    assert_eq!(second.received.packets, 1001 - 2, "the last two packets are still on their way");
}

#[test]
fn twenty_percent_of_loss_jitter_and_duplication_leave_the_tone_and_are_told_right() {
    let channel = Channel { delay_ms: 40, jitter_ms: 60, loss: 0.2, duplication: 0.2 };
    let mut pair = Pair::new(channel, [tone(440.0), tone(1000.0)]);
    pair.run(seconds(60));
    for (end, hz) in [(0, 1000.0), (1, 440.0)] {
        let report = pair.sessions[end].report();
        let heard = report.received.tone.unwrap();
        assert!((heard.hz - hz).abs() < 5.0 && heard.share > 0.8, "{report:?}");
        assert!((report.received.level_dbfs + 16.0).abs() < 1.5, "{report:?}");
        let (carried, lost) = pair.carried[end];
        let truth = lost as f64 / carried as f64;
        let told = report.received.loss.unwrap().fraction;
        assert!((told - truth).abs() < 0.01, "told {told}, true {truth}");
        assert!(report.duplicates > 300, "{report:?}");
        assert!(report.late < carried / 25, "nearly all that arrive are in time: {report:?}");
        let jitter = report.received.jitter_ms.unwrap();
        assert!((10.0..40.0).contains(&jitter), "{jitter}");
    }
}

#[test]
fn each_kind_of_disturbance_alone_leaves_the_speech_recognisable() {
    let cases = [
        (Channel { delay_ms: 20, ..Channel::default() }, 0.97),
        (Channel { delay_ms: 20, loss: 0.05, ..Channel::default() }, 0.9),
        (Channel { delay_ms: 20, loss: 0.2, ..Channel::default() }, 0.7),
        (Channel { delay_ms: 20, jitter_ms: 80, ..Channel::default() }, 0.8),
        (Channel { delay_ms: 20, duplication: 0.2, ..Channel::default() }, 0.97),
    ];
    let reference = speech_like(5, 8000 * 4);
    for (channel, least) in cases {
        let mut pair = Pair::new(channel, [Source::SpeechLike { seed: 5 }, Source::Silence]);
        pair.run(seconds(5));
        let found = find_signal(&reference, pair.sessions[1].recording()).unwrap();
        assert!(found.correlation > least, "{channel:?}: {found:?}");
        let other = find_signal(&speech_like(6, 8000 * 4), pair.sessions[1].recording()).unwrap();
        assert!(other.correlation < 0.55, "{channel:?}: {other:?}");
    }
}

#[test]
fn the_delay_comes_down_again_after_a_burst_of_jitter() {
    let calm = Channel { delay_ms: 20, ..Channel::default() };
    let mut pair = Pair::new(calm, [tone(440.0), Source::Silence]);
    let before = pair.run(seconds(10)).sessions[1].report().delay_ms;
    pair.channel.jitter_ms = 150;
    let during = pair.run(seconds(10)).sessions[1].report().delay_ms;
    pair.channel.jitter_ms = 0;
    let after = pair.run(seconds(15)).sessions[1].report().delay_ms;
    assert!(before < 45.0, "{before}");
    assert!(during > 100.0, "{during}");
    assert!(after < 45.0, "{after}");
    let heard = pair.sessions[1].report().received.tone.unwrap();
    assert!((heard.hz - 440.0).abs() < 5.0 && heard.share > 0.8, "{heard:?}");
}

#[test]
fn sequence_numbers_and_timestamps_wrap_without_a_gap() {
    let mut pair = Pair::new(Channel::default(), [tone(440.0), tone(440.0)]);
    pair.sessions[0].rtp_mut().set_next_sequence(65500);
    pair.run(seconds(5));
    let report = pair.sessions[1].report();
    assert_eq!((report.received.packets, report.received.loss.unwrap().packets), (251, 0));
    assert_eq!(report.concealed_ms, 0.0);
}

#[test]
fn an_echo_sends_back_what_it_hears() {
    let mut pair = Pair::new(Channel::default(), [tone(700.0), Source::Echo]);
    pair.run(seconds(5));
    let heard = pair.sessions[0].report().received.tone.unwrap();
    assert!((heard.hz - 700.0).abs() < 2.0, "{heard:?}");
}

#[test]
fn given_samples_arrive() {
    let samples = speech_like(9, 16_000);
    let source = Source::Samples { samples: samples.clone().into(), repeat: false };
    let mut pair = Pair::new(Channel::default(), [source, Source::Silence]);
    pair.run(seconds(4));
    assert!(find_signal(&samples, pair.sessions[1].recording()).unwrap().correlation > 0.97);
}

#[test]
fn hold_stops_the_sound_and_resuming_brings_it_back() {
    let mut pair = Pair::new(Channel::default(), [tone(440.0), tone(1000.0)]);
    pair.run(seconds(3));
    pair.sessions[0].set_direction(Direction::SendOnly);
    pair.sessions[1].set_direction(Direction::RecvOnly);
    let held = pair.run(seconds(3)).sessions.each_ref().map(AudioSession::report);
    assert_eq!(held[0].received.packets, 151);
    assert_eq!(held[1].received.packets, 301);
    pair.sessions[0].set_direction(Direction::Inactive);
    pair.sessions[1].set_direction(Direction::Inactive);
    let sent = pair.run(seconds(3)).sessions[0].report().sent.packets;
    assert_eq!(sent, 301);
    for session in &mut pair.sessions {
        session.set_direction(Direction::SendRecv);
    }
    let resumed = pair.run(seconds(3)).sessions.each_ref().map(AudioSession::report);
    assert_eq!(resumed[0].received.packets, 151 + 150);
    assert_eq!(resumed[1].received.packets, 301 + 150);
    assert!(resumed[1].rtcp_received > 0);
}

#[test]
fn a_change_of_codec_is_heard_without_a_gap() {
    let mut pair = Pair::new(Channel::default(), [tone(440.0), Source::Silence]);
    pair.run(seconds(2));
    pair.sessions[0].set_codec(Codec::Pcma, 8);
    pair.run(seconds(2));
    let report = pair.sessions[1].report();
    assert_eq!((report.unknown_payload, report.concealed_ms), (0, 0.0));
    assert!(report.received.tone.unwrap().share > 0.98);
}

#[test]
fn an_unknown_payload_type_is_counted_and_not_played() {
    let mut other = settings(0, tone(440.0));
    other.payload_type = 97;
    let mut pair = Pair::with_settings(Channel::default(), [other, settings(1, Source::Silence)]);
    pair.run(seconds(1));
    let report = pair.sessions[1].report();
    assert_eq!((report.unknown_payload, report.received.tone), (51, None));
    pair.sessions[1].set_receive(vec![(97, Codec::Pcmu)]);
    assert!(pair.run(seconds(1)).sessions[1].report().received.tone.is_some());
}

#[test]
fn packets_of_strangers_are_dropped_and_counted() {
    let mut pair = Pair::new(Channel::default(), [tone(440.0), Source::Silence]);
    pair.run(seconds(1));
    let stranger = SocketAddr::from(([203, 0, 113, 9], 4000));
    for _ in 0..3 {
        pair.sessions[1].handle_packet(pair.now, false, stranger, &[0x80; 172]);
    }
    assert_eq!(pair.sessions[1].report().strangers, 3);
    // From another port of the peer's host a packet is taken, unless the port must be exact.
    let mut port = address(0);
    port.set_port(4444);
    pair.sessions[1].handle_packet(pair.now, false, port, b"x");
    assert_eq!((pair.sessions[1].report().strangers, pair.sessions[1].report().rejected), (3, 1));
    let mut exact = settings(1, Source::Silence);
    exact.accept = Accept::Exact;
    let mut session = AudioSession::new(Instant::START, exact);
    session.handle_packet(Instant::START, false, port, b"x");
    assert_eq!(session.report().strangers, 1);
}

#[test]
fn the_peer_moves_and_the_stream_follows() {
    let mut session = AudioSession::new(Instant::START, settings(0, tone(440.0)));
    let mut out = Vec::new();
    session.handle_timeout(Instant::START);
    assert_eq!(session.poll_transmit(&mut out), Some(Outgoing { is_rtcp: false, remote: address(1) }));
    let before = RtpPacket::parse(&out.clone())
        .map(|packet| (packet.header.sequence_number, packet.header.timestamp, packet.header.marker))
        .unwrap();
    let moved = SocketAddr::from(([198, 51, 100, 7], 6000));
    session.set_remote(moved, None);
    session.handle_timeout(Instant::from_millis(20));
    assert_eq!(session.poll_transmit(&mut out), Some(Outgoing { is_rtcp: false, remote: moved }));
    let after = RtpPacket::parse(&out).unwrap().header;
    assert_eq!(after.sequence_number, before.0.wrapping_add(1));
    assert_eq!(after.timestamp, before.1.wrapping_add(160));
    assert_eq!((before.2, after.marker), (true, false));
}

#[test]
fn a_caller_that_comes_too_late_leaves_frames_out_instead_of_a_burst() {
    let mut session = AudioSession::new(Instant::START, settings(0, tone(440.0)));
    let mut out = Vec::new();
    session.handle_timeout(Instant::START);
    session.poll_transmit(&mut out);
    let before = RtpPacket::parse(&out.clone())
        .map(|packet| (packet.header.sequence_number, packet.header.timestamp, packet.header.marker))
        .unwrap();
    let late = Instant::from_millis(1000);
    let mut sent = 0;
    while session.poll_timeout().is_some_and(|(at, _)| at <= late) {
        session.handle_timeout(late);
        while session.poll_transmit(&mut out).is_some() {
            sent += 1;
        }
    }
    assert_eq!((sent, session.report().skipped_frames), (1, 49));
    session.handle_timeout(Instant::from_millis(1020));
    session.poll_transmit(&mut out);
    let after = RtpPacket::parse(&out).unwrap().header;
    assert_eq!(after.timestamp, before.1.wrapping_add(51 * 160));
}

#[test]
fn closing_sends_a_bye_that_the_peer_sees() {
    let mut pair = Pair::new(Channel::default(), [tone(440.0), tone(440.0)]);
    pair.run(seconds(1));
    let now = pair.now;
    pair.sessions[0].close(now);
    pair.collect(0);
    pair.run(seconds(1));
    assert!(pair.sessions[0].is_closed());
    assert_eq!(pair.sessions[0].poll_timeout(), None);
    assert!(pair.sessions[1].report().remote_left);
}

#[test]
fn a_peer_with_our_ssrc_is_heard_after_the_collision() {
    let (mut first, mut second) = (settings(0, tone(440.0)), settings(1, tone(1000.0)));
    (first.seed, second.seed) = (7, 7);
    let mut pair = Pair::with_settings(Channel { delay_ms: 5, ..Channel::default() }, [first, second]);
    pair.run(seconds(5));
    let reports = pair.sessions.each_ref().map(AudioSession::report);
    assert!(reports.iter().any(|report| report.collisions > 0));
    assert_ne!(reports[0].ssrc, reports[1].ssrc);
    for (report, hz) in reports.iter().zip([1000.0, 440.0]) {
        let heard = report.received.tone.unwrap();
        assert!((heard.hz - hz).abs() < 2.0, "{report:?}");
    }
}

#[test]
fn a_sender_whose_clock_drifts_is_followed_without_growing_delay() {
    // 200 ppm: the sender's frames last 20.004 ms, or 19.996 ms.
    for nanos in [20_004_000u64, 19_996_000] {
        let mut sender = AudioSession::new(Instant::START, settings(0, tone(440.0)));
        let mut receiver = AudioSession::new(Instant::START, settings(1, Source::Silence));
        let mut out = Vec::new();
        let (mut sent, mut played) = (0u64, 0u64);
        while played < 6000 {
            if sent * nanos <= played * 20_000_000 {
                let now = Instant::from_nanos(sent * nanos);
                sender.handle_timeout(Instant::from_millis(sent * 20));
                while let Some(outgoing) = sender.poll_transmit(&mut out) {
                    receiver.handle_packet(now, outgoing.is_rtcp, address(0), &out);
                }
                sent += 1;
            } else {
                receiver.handle_timeout(Instant::from_millis(played * 20));
                while receiver.poll_transmit(&mut out).is_some() {}
                played += 1;
            }
        }
        let report = receiver.report();
        assert!(report.delay_ms < 60.0, "{nanos}: {report:?}");
        assert!(report.concealed_ms < 200.0, "{nanos}: {report:?}");
        assert!(report.received.tone.unwrap().share > 0.95, "{nanos}: {report:?}");
    }
}

#[test]
fn a_peer_that_reflects_our_packets_is_told_apart_from_one_that_talks() {
    let mut session = AudioSession::new(Instant::START, settings(0, tone(440.0)));
    let mut out = Vec::new();
    for tick in 0..50 {
        let now = Instant::from_millis(tick * 20);
        session.handle_timeout(now);
        while let Some(outgoing) = session.poll_transmit(&mut out) {
            if !outgoing.is_rtcp {
                session.handle_packet(now, false, address(1), &out);
                break;
            }
        }
    }
    let report = session.report();
    assert_eq!((report.collisions, report.received.packets), (1, 0));
    assert!(report.loops >= 45, "{report:?}");
}

#[test]
fn a_jump_of_the_timestamps_does_not_leave_a_delay_behind() {
    let mut pair = Pair::new(Channel::default(), [tone(440.0), Source::Silence]);
    pair.run(seconds(3));
    // A second session takes the first one's place: same SSRC and sequence numbers, other timestamps.
    for jump in [4000u32, 12_000, 15_999, 0x8000_0000, 0xffff_0000] {
        pair.sessions[0].jump_timestamp(jump);
        let report = pair.run(seconds(4)).sessions[1].report();
        assert!(report.delay_ms < 60.0, "after a jump of {jump}: {report:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]
    #[test]
    fn arbitrary_headers_and_arrival_times_never_panic(
        packets in proptest::collection::vec(
            (0u8..3, proptest::prelude::any::<(u16, u32, bool)>(), 0u64..400, 0usize..700),
            1..200,
        ),
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
    ) {
        let mut quiet = settings(1, Source::Echo);
        (quiet.measure_tone, quiet.record_samples_max) = (false, 8000);
        let mut session = AudioSession::new(Instant::START, quiet);
        let mut out = Vec::new();
        let (mut now, mut sequence, mut timestamp) = (Instant::START, 0u16, 0u32);
        for (kind, (wild_sequence, wild_timestamp, is_rtcp), wait_ms, len) in packets {
            now = now + Duration::from_millis(wait_ms);
            sequence = sequence.wrapping_add(1);
            timestamp = timestamp.wrapping_add(160);
            if kind > 0 {
                timestamp = if kind == 1 { timestamp.wrapping_add(wild_timestamp) } else { wild_timestamp };
            }
            if kind == 2 && wild_sequence % 4 == 0 {
                sequence = wild_sequence;
            }
            let header = dialtone_wire::rtp::RtpHeader::new(0, sequence, timestamp, 99);
            let mut datagram = Vec::new();
            header.write(&mut datagram).unwrap();
            datagram.resize(12 + len, 0x55);
            session.handle_packet(now, false, address(0), &datagram);
            session.handle_packet(now, is_rtcp, address(0), &noise);
            while session.poll_timeout().is_some_and(|(at, _)| at <= now) {
                session.handle_timeout(now);
                while session.poll_transmit(&mut out).is_some() {}
            }
        }
        proptest::prop_assert!(session.report().received.packets <= 400);
    }
}

#[test]
fn packets_that_come_after_a_hold_are_neither_heard_nor_called_lost() {
    let mut pair = Pair::new(Channel::default(), [tone(440.0), Source::Silence]);
    pair.run(seconds(2));
    pair.sessions[1].set_direction(Direction::SendOnly);
    let heard = pair.run(Duration::from_millis(500)).sessions[1].recording().len();
    pair.run(seconds(1));
    assert_eq!(pair.sessions[1].recording().len(), heard, "nothing more is played once the gap is over");
    pair.sessions[1].set_direction(Direction::SendRecv);
    let report = pair.run(seconds(1)).sessions[1].report();
    assert_eq!((report.unwanted, report.received.loss.unwrap().packets), (75, 0));
    assert!(pair.sessions[1].recording().len() > heard + 7000);
}

/// A tone of this many samples.
fn samples(hz: f64, count: usize) -> Vec<i16> {
    let sample = |at: usize| (at as f64 / 8000.0 * hz * std::f64::consts::TAU).sin() * 5000.0;
    (0..count).map(|at| sample(at) as i16).collect()
}

#[test]
fn what_is_heard_elsewhere_is_sent_with_our_own_and_not_to_who_is_on_hold() {
    let mut pair = Pair::new(Channel::default(), [Source::Silence, Source::Silence]);
    pair.run(Duration::from_millis(500));
    let wave = samples(1000.0, 16_000);
    for frame in wave.chunks(160) {
        pair.sessions[0].mix_in(7, frame);
        pair.run(Duration::from_millis(20));
    }
    let heard = pair.sessions[1].report().received.tone.expect("a tone");
    assert!((heard.hz - 1000.0).abs() < 5.0, "{heard:?}");
    // On hold he hears no more of it, and nothing waits for him.
    pair.sessions[0].mix_in(7, &wave[..160]);
    pair.sessions[0].set_direction(Direction::SendOnly);
    pair.run(Duration::from_millis(500));
    let before = pair.sessions[1].recording().len();
    for frame in wave.chunks(160).take(50) {
        pair.sessions[0].mix_in(7, frame);
        pair.run(Duration::from_millis(20));
    }
    assert!(pair.sessions[1].recording()[before..].iter().all(|sample| sample.abs() < 100));
}

#[test]
fn what_comes_faster_than_it_is_sent_is_left_out_and_sums_do_not_overflow() {
    let mut pair = Pair::new(Channel::default(), [Source::Silence, Source::Silence]);
    pair.run(Duration::from_millis(500));
    let before = pair.sessions[1].recording().len();
    for from in [7, 8] {
        pair.sessions[0].mix_in(from, &[i16::MAX; 50_000]);
    }
    pair.run(seconds(2));
    let loud = pair.sessions[1].recording()[before..].iter().filter(|sample| **sample > 30_000).count();
    assert!((640..=960).contains(&loud), "100 ms of it: {loud}");
    // Nothing more of one who has left.
    pair.sessions[0].mix_in(7, &[i16::MAX; 800]);
    pair.sessions[0].unmix(Some(7));
    let before = pair.sessions[1].recording().len();
    pair.run(seconds(1));
    assert!(pair.sessions[1].recording()[before..].iter().all(|sample| sample.abs() < 100));
}
