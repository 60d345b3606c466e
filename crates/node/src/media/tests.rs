//! The media plane without shards: commands go in, words for the shards come out.

use std::net::{IpAddr, Ipv4Addr};

use dialtone_roles::io::{Lease, MediaCommand, MediaEvent};

use super::*;
use crate::inbox::Inbox;
use crate::shard;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Rig {
    settings: MediaSettings,
    shards: Vec<Sender<shard::Word>>,
    inboxes: Vec<Inbox<shard::Word>>,
    report: ReportSink,
    poller: Poller,
}

impl Rig {
    fn new(settings: MediaSettings, inbox_len: usize) -> Rig {
        let poller = Poller::new().expect("an epoll");
        let (shards, inboxes) = (0..2).map(|_| inbox(inbox_len, poller.waker())).unzip();
        Rig { settings, shards, inboxes, report: Box::new(|_| {}), poller }
    }

    /// Runs `body` with a plane of its own and gives back what it counted.
    fn with_plane(
        &mut self,
        body: impl FnOnce(&mut Plane<'_>, &Poller, &mut [Inbox<shard::Word>]),
    ) -> Counts {
        let mut counts = Counts::default();
        let mut plane = Plane::new(3, &self.settings, &self.shards, &self.report, &mut counts);
        body(&mut plane, &self.poller, &mut self.inboxes);
        drop(plane);
        counts
    }
}

fn leased(inbox: &mut Inbox<shard::Word>) -> Vec<Lease> {
    match inbox.take() {
        Some(shard::Word::Media(MediaEvent::Leased(leases))) => leases,
        other => panic!("leases, not {other:?}"),
    }
}

fn order(plane: &mut Plane<'_>, poller: &Poller, shard: u16, count: u16) {
    plane.handle_command(clock::now(), shard, MediaCommand::Lease { address: LOOPBACK, count }, poller);
}

#[test]
fn leases_carry_the_epoch_and_differ() {
    let mut rig = Rig::new(MediaSettings::default(), 8);
    let counts = rig.with_plane(|plane, poller, inboxes| {
        order(plane, poller, 0, 3);
        order(plane, poller, 1, 1);
        let mut leases = leased(&mut inboxes[0]);
        leases.extend(leased(&mut inboxes[1]));
        assert!(leases.iter().all(|lease| lease.epoch == 3 && lease.rtp.ip() == LOOPBACK));
        assert!(leases.iter().all(|lease| lease.rtp.port() % 2 == 0));
        let different: std::collections::BTreeSet<_> = leases.iter().map(|lease| lease.rtp).collect();
        assert_eq!(different.len(), 4);
    });
    assert_eq!(counts.leases, 4);
}

#[test]
fn at_the_limit_the_shard_is_told_and_what_is_given_back_can_be_had_again() {
    let mut rig = Rig::new(MediaSettings { leases_max: 2, ..MediaSettings::default() }, 8);
    let counts = rig.with_plane(|plane, poller, inboxes| {
        order(plane, poller, 0, 3);
        let leases = leased(&mut inboxes[0]);
        assert_eq!(leases.len(), 2);
        let told = inboxes[0].take();
        assert!(matches!(told, Some(shard::Word::Media(MediaEvent::Exhausted(LOOPBACK)))), "{told:?}");
        plane.handle_command(clock::now(), 0, MediaCommand::Release { lease: leases[0] }, poller);
        order(plane, poller, 0, 1);
        assert_eq!(leased(&mut inboxes[0]).len(), 1);
    });
    assert_eq!((counts.leases, counts.exhausted), (3, 1));
}

#[test]
fn a_lease_of_another_shard_or_epoch_is_void() {
    let mut rig = Rig::new(MediaSettings { leases_max: 1, ..MediaSettings::default() }, 8);
    let counts = rig.with_plane(|plane, poller, inboxes| {
        order(plane, poller, 0, 1);
        let lease = leased(&mut inboxes[0])[0];
        let old = Lease { epoch: 2, ..lease };
        plane.handle_command(clock::now(), 1, MediaCommand::Release { lease }, poller);
        plane.handle_command(clock::now(), 0, MediaCommand::Release { lease: old }, poller);
        // It is still taken.
        order(plane, poller, 0, 1);
        let told = inboxes[0].take();
        assert!(matches!(told, Some(shard::Word::Media(MediaEvent::Exhausted(_)))), "{told:?}");
    });
    assert_eq!(counts.stale_commands, 2);
}

#[test]
fn a_stream_that_is_not_played_is_counted_and_nothing_is_sent() {
    let mut rig = Rig::new(MediaSettings::default(), 8);
    let peer = std::net::UdpSocket::bind((LOOPBACK, 0)).expect("a port");
    let counts = rig.with_plane(|plane, poller, inboxes| {
        order(plane, poller, 0, 1);
        let lease = leased(&mut inboxes[0])[0];
        let remote = peer.local_addr().expect("its address");
        let direction = dialtone_wire::sdp::Direction::RecvOnly;
        let session = dialtone_dialog::offer_answer::Negotiated {
            kind: dialtone_dialog::offer_answer::StreamKind::Video,
            local: lease.rtp,
            remote_rtp: Some(remote),
            remote_rtcp: Some(remote),
            codecs: Vec::new(),
            telephone_event: None,
            direction,
            ptime_ms: None,
        };
        let (call, session) = (CallHandle { slot: 0, generation: 0 }, Box::new(session));
        plane.handle_command(clock::now(), 0, MediaCommand::Count { lease, call, session }, poller);
        for _ in 0..3 {
            peer.send_to(b"a picture", lease.rtp).expect("sent");
        }
        let readiness = dialtone_transport::sys::Readiness { read: true, write: false, error: false };
        plane.handle_ready(u64::from(lease.id) << 1, readiness);
        assert_eq!(plane.poll_timeout(), None, "no time at which anything is sent");
        plane.handle_command(clock::now(), 0, MediaCommand::Release { lease }, poller);
    });
    assert_eq!((counts.received, counts.unplayed, counts.sent), (3, 3, 0));
}

#[test]
fn a_shard_that_begins_anew_gives_everything_back() {
    let mut rig = Rig::new(MediaSettings { leases_max: 3, ..MediaSettings::default() }, 8);
    rig.with_plane(|plane, poller, inboxes| {
        order(plane, poller, 0, 2);
        order(plane, poller, 1, 1);
        plane.release_all(clock::now(), Some(0));
        order(plane, poller, 1, 2);
        assert_eq!(leased(&mut inboxes[1]).len(), 1);
        assert_eq!(leased(&mut inboxes[1]).len(), 2);
    });
}

#[test]
fn leases_that_nobody_can_be_told_of_are_free_again() {
    let mut rig = Rig::new(MediaSettings { leases_max: 2, ..MediaSettings::default() }, 1);
    rig.with_plane(|plane, poller, inboxes| {
        order(plane, poller, 0, 1);
        // The inbox of the shard is full: the second order gets lost.
        order(plane, poller, 0, 1);
        assert_eq!(leased(&mut inboxes[0]).len(), 1);
        assert!(inboxes[0].take().is_none());
        order(plane, poller, 0, 1);
        assert_eq!(leased(&mut inboxes[0]).len(), 1);
    });
}
