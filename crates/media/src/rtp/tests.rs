use std::net::SocketAddr;
use std::time::Duration;

use dialtone_wire::rtcp::{Compound, RtcpPacket};
use dialtone_wire::time::Instant;

use super::*;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn session(seed: u64) -> RtpSession {
    RtpSession::new(Instant::START, RtpSessionSettings::new(seed, "alice@192.0.2.1"))
}

fn send(session: &mut RtpSession, now: Instant, timestamp: u32) -> Vec<u8> {
    let mut out = Vec::new();
    session.write_rtp(now, 0, false, timestamp, &[0xff; 160], &mut out).unwrap();
    out
}

fn rtcp(session: &mut RtpSession, now: Instant) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    session.poll_transmit(now, &mut out).then_some(out)
}

/// Runs the timer of a session until a report is due, at most a minute.
fn next_report(session: &mut RtpSession) -> (Instant, Vec<u8>) {
    for _ in 0..20 {
        let (at, _) = session.poll_timeout().unwrap();
        session.handle_timeout(at);
        if let Some(report) = rtcp(session, at) {
            return (at, report);
        }
    }
    panic!("no report after twenty reconsiderations");
}

#[test]
fn a_collision_is_answered_with_bye_and_a_new_ssrc() {
    let mut ours = session(1);
    let packet = send(&mut ours, Instant::START, 0);
    let old = ours.ssrc();
    assert_eq!(ours.handle_rtp(Instant::START, address(1), &packet), Err(Rejected::Collision));
    assert_ne!(ours.ssrc(), old);
    let bye = rtcp(&mut ours, Instant::START).unwrap();
    let Some(RtcpPacket::Bye { sources, .. }) = Compound::parse(&bye).unwrap().iter().last() else {
        panic!("no BYE")
    };
    assert_eq!(sources.iter().collect::<Vec<_>>(), [old]);
    assert_eq!(rtcp(&mut ours, Instant::START), None, "one BYE is enough");
    // The other keeps the old identifier: it is a source like any other now.
    assert_eq!(ours.handle_rtp(Instant::START, address(1), &packet).unwrap().0, Arrival::Probation);
    // Our own new packets come back from the same address: a loop, no second change.
    let looped = send(&mut ours, Instant::START, 160);
    let new = ours.ssrc();
    assert_eq!(ours.handle_rtp(Instant::START, address(1), &looped), Err(Rejected::Loop));
    assert_eq!(ours.ssrc(), new);
    assert_eq!(ours.stats().collisions, 1);
}

#[test]
fn a_collision_before_anything_was_sent_needs_no_bye() {
    let (mut ours, mut twin) = (session(1), session(1));
    let packet = send(&mut twin, Instant::START, 0);
    assert_eq!(ours.handle_rtp(Instant::START, address(1), &packet), Err(Rejected::Collision));
    assert_eq!(rtcp(&mut ours, Instant::START), None);
}

#[test]
fn reports_carry_the_round_trip_to_a_tick_of_the_clock() {
    let (mut alice, mut bob) = (session(1), session(2));
    let delay = 40;
    for packet in 0..20u32 {
        let now = Instant::from_millis(u64::from(packet) * 20);
        let datagram = send(&mut alice, now, packet * 160);
        bob.handle_rtp(Instant::from_millis(now.as_millis() + delay), address(1), &datagram).unwrap();
    }
    let (at, report) = next_report(&mut alice);
    let arrived = at + Duration::from_millis(delay);
    bob.handle_rtcp(arrived, address(1), &report).unwrap();
    let first = Compound::parse(&report).unwrap().iter().next();
    let Some(RtcpPacket::SenderReport { info, .. }) = first else { panic!("no SR: {first:?}") };
    assert_eq!((info.packet_count, info.octet_count), (20, 3200));
    let elapsed = (at.as_nanos() - Instant::from_millis(380).as_nanos()) / 125_000;
    assert_eq!(u64::from(info.rtp_timestamp), 19 * 160 + elapsed);
    let mut answered = (Instant::START, Vec::new());
    while answered.0 < arrived {
        answered = next_report(&mut bob);
    }
    assert!(matches!(
        Compound::parse(&answered.1).unwrap().iter().next(),
        Some(RtcpPacket::ReceiverReport { .. })
    ));
    alice.handle_rtcp(answered.0 + Duration::from_millis(delay), address(2), &answered.1).unwrap();
    let millis = alice.stats().round_trip.unwrap().as_secs_f64() * 1000.0;
    assert!((millis - 80.0).abs() < 0.1, "{millis}");
}

#[test]
fn a_report_tells_the_loss_of_the_interval() {
    let (mut alice, mut bob) = (session(1), session(2));
    for packet in 0..100u32 {
        let now = Instant::from_millis(u64::from(packet) * 20);
        let datagram = send(&mut alice, now, packet * 160);
        if packet % 4 != 2 {
            bob.handle_rtp(now, address(1), &datagram).unwrap();
        }
    }
    let (_, report) = next_report(&mut bob);
    alice.handle_rtcp(Instant::from_millis(9000), address(2), &report).unwrap();
    let view = alice.stats().remote_view.unwrap();
    assert_eq!((view.fraction_lost, view.cumulative_lost), (0.25, 25));
    let stats = bob.stats();
    assert_eq!((stats.expected, stats.received_unique, stats.received.packets), (100, 75, 75));
}

#[test]
fn who_never_sent_leaves_without_a_bye() {
    let mut quiet = session(1);
    quiet.leave(Instant::START);
    assert!(quiet.is_gone());
    assert_eq!((rtcp(&mut quiet, Instant::START), quiet.poll_timeout()), (None, None));
}

#[test]
fn a_small_session_is_left_at_once() {
    let (mut alice, mut bob) = (session(1), session(2));
    for packet in 0..3 {
        let datagram = send(&mut alice, Instant::START, packet * 160);
        bob.handle_rtp(Instant::START, address(1), &datagram).unwrap();
    }
    assert_eq!(bob.stats().members, 2);
    alice.leave(Instant::from_millis(100));
    let bye = rtcp(&mut alice, Instant::from_millis(100)).unwrap();
    assert!(alice.is_gone());
    bob.handle_rtcp(Instant::from_millis(100), address(1), &bye).unwrap();
    assert_eq!((bob.stats().members, bob.stats().remote_left), (1, true));
    assert_eq!(bob.stats().expected, 3, "what was received stays in the books");
}

#[test]
fn a_large_session_is_left_with_back_off() {
    let mut ours = session(1);
    send(&mut ours, Instant::START, 0);
    for seed in 2..62 {
        let mut other = session(seed);
        send(&mut other, Instant::START, 0);
        let (_, report) = next_report(&mut other);
        ours.handle_rtcp(Instant::from_millis(1), address(seed as u16), &report).unwrap();
    }
    assert_eq!(ours.stats().members, 61);
    ours.leave(Instant::from_millis(10));
    assert_eq!(rtcp(&mut ours, Instant::from_millis(10)), None);
    let (at, bye) = next_report(&mut ours);
    assert!(at >= Instant::from_millis(1000), "{at:?}");
    assert!(matches!(Compound::parse(&bye).unwrap().iter().last(), Some(RtcpPacket::Bye { .. })));
    assert!(ours.is_gone());
}

#[test]
fn silent_participants_are_forgotten_but_stay_in_the_totals() {
    let (mut alice, mut bob) = (session(1), session(2));
    for packet in 0..3 {
        let datagram = send(&mut alice, Instant::START, packet * 160);
        bob.handle_rtp(Instant::START, address(1), &datagram).unwrap();
    }
    while bob.stats().members == 2 {
        let (at, _) = next_report(&mut bob);
        assert!(at < Instant::from_millis(60_000), "five intervals of five seconds are over");
    }
    assert_eq!(bob.stats().expected, 3);
}

#[test]
fn a_flood_of_made_up_sources_stays_in_bounds() {
    let mut ours = session(1);
    let mut packet = send(&mut session(2), Instant::START, 0);
    for ssrc in 0..10_000u32 {
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let _ = ours.handle_rtp(Instant::START, address(1), &packet);
    }
    assert_eq!(ours.stats().members, 1);
    // A real source still gets in.
    let mut real = session(3);
    for timestamp in [0, 160] {
        let datagram = send(&mut real, Instant::START, timestamp);
        ours.handle_rtp(Instant::START, address(2), &datagram).unwrap();
    }
    assert_eq!(ours.stats().members, 2);
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    let mut ours = session(1);
    assert!(ours.handle_rtp(Instant::START, address(1), b"garbage").is_err());
    assert!(ours.handle_rtcp(Instant::START, address(1), b"garbage").is_err());
    assert_eq!((ours.stats().rejected, ours.stats().members), (2, 1));
}
