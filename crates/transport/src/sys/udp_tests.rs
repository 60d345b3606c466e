use super::*;
use crate::sys::{Poller, Readiness, Unreachable};

const OPTIONS: UdpOptions = UdpOptions { reuse_port: false, receive_bytes: 1 << 20, send_bytes: 1 << 20 };

fn bind(ip: &str) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(ip.parse().expect("an address"), 0), OPTIONS)
        .expect("a port of the loopback")
}

fn outgoing<'a>(to: &UdpSocket, bytes: &'a [u8]) -> Outgoing<'a> {
    Outgoing { to: to.local(), bytes }
}

/// Waits until something is to be read, and reads it.
fn read(socket: &UdpSocket, batch: &mut ReceiveBatch) -> usize {
    let mut poller = Poller::new().expect("an epoll");
    poller.add(socket, 0).expect("a socket can be added");
    poller.wait(Some(std::time::Duration::from_secs(10)), |_, _| {}).expect("waiting");
    socket.receive(batch).expect("receiving")
}

#[test]
fn a_batch_larger_than_one_system_call_arrives_whole_and_in_order() {
    for ip in ["127.0.0.1", "::1"] {
        let (sender, receiver) = (bind(ip), bind(ip));
        let payloads: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; usize::from(number)]).collect();
        let sent = sender.send(payloads.iter().map(|bytes| outgoing(&receiver, bytes)), |to, error| {
            panic!("{to}: {error}");
        });
        assert_eq!(sent, Sent { datagrams: 100, failed: 0, system_calls: 4 });
        let mut batch = ReceiveBatch::new(BATCH_MAX, 2048);
        let mut got = Vec::new();
        while got.len() < 100 {
            assert!(read(&receiver, &mut batch) > 0);
            got.extend(batch.iter().map(|(from, bytes)| {
                assert_eq!(from, sender.local());
                bytes.to_vec()
            }));
        }
        assert_eq!(got, payloads);
        assert_eq!(receiver.receive(&mut batch).expect("receiving"), 0);
        assert_eq!(batch.iter().count(), 0);
    }
}

#[test]
fn a_datagram_longer_than_the_room_is_passed_over() {
    let (sender, receiver) = (bind("127.0.0.1"), bind("127.0.0.1"));
    sender.send([outgoing(&receiver, &[1; 101]), outgoing(&receiver, &[2; 100])], |_, _| {});
    let mut batch = ReceiveBatch::new(4, 100);
    assert_eq!(read(&receiver, &mut batch), 2);
    let got: Vec<&[u8]> = batch.iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(got, [&[2; 100][..]]);
}

#[test]
fn a_port_that_nobody_listens_on_is_reported_with_its_address() {
    for ip in ["127.0.0.1", "::1"] {
        let sender = bind(ip);
        let gone = {
            let socket = bind(ip);
            socket.local()
        };
        sender.send([Outgoing { to: gone, bytes: b"anybody there?" }], |_, _| {});
        let mut poller = Poller::new().expect("an epoll");
        poller.add(&sender, 7).expect("a socket can be added");
        let mut seen = None;
        poller
            .wait(Some(std::time::Duration::from_secs(10)), |token, readiness| {
                seen = Some((token, readiness))
            })
            .expect("waiting");
        assert!(matches!(seen, Some((7, Readiness { error: true, .. }))), "{seen:?}");
        let mut reports = Vec::new();
        sender.take_unreachable(|report| reports.push(report));
        assert_eq!(reports, [Unreachable { to: gone, code: libc::ECONNREFUSED }]);
    }
}

#[test]
fn a_datagram_to_somebody_else_is_sent_though_an_earlier_one_was_refused() {
    let (sender, receiver) = (bind("127.0.0.1"), bind("127.0.0.1"));
    let gone = bind("127.0.0.1").local();
    sender.send([Outgoing { to: gone, bytes: b"1" }], |_, _| {});
    let sent = sender.send([outgoing(&receiver, b"2")], |to, error| panic!("{to}: {error}"));
    assert_eq!(sent.datagrams, 1);
    assert_eq!(read(&receiver, &mut ReceiveBatch::new(1, 10)), 1);
}

#[test]
fn a_datagram_that_is_too_long_fails_and_the_others_go_on() {
    let (sender, receiver) = (bind("127.0.0.1"), bind("127.0.0.1"));
    let long = vec![0; 70_000];
    let mut failed = Vec::new();
    let all = [outgoing(&receiver, b"1"), outgoing(&receiver, &long), outgoing(&receiver, b"3")];
    let sent = sender.send(all, |to, error| failed.push((to, error.raw_os_error())));
    assert_eq!((sent.datagrams, sent.failed), (2, 1));
    assert_eq!(failed, [(receiver.local(), Some(libc::EMSGSIZE))]);
}

#[test]
fn a_port_in_use_and_a_wildcard_are_refused() {
    let socket = bind("127.0.0.1");
    let error = UdpSocket::bind(socket.local(), OPTIONS).expect_err("it is in use");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let wildcard = "0.0.0.0:0".parse().expect("an address");
    assert_eq!(
        UdpSocket::bind(wildcard, OPTIONS).expect_err("no wildcard").kind(),
        io::ErrorKind::InvalidInput
    );
}

#[test]
fn two_sockets_share_a_port_when_both_ask_for_it() {
    let options = UdpOptions { reuse_port: true, ..OPTIONS };
    let first = UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), options).expect("a port");
    let second = UdpSocket::bind(first.local(), options).expect("the same port");
    assert_eq!(first.local(), second.local());
}
