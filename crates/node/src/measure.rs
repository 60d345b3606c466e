//! What passing a packet between shards costs; for the benchmarks only.

use std::time::Duration;

use bytes::Bytes;
use dialtone_transport::sys::Poller;
use dialtone_wire::net::Flow;

use crate::clock;
use crate::inbox::{Inbox, Sender, inbox};
use crate::shard::{INBOX_LEN, Word};

/// One end of a pair of threads that pass packets.
struct End {
    poller: Poller,
    inbox: Inbox<Word>,
    peer: Sender<Word>,
}

impl End {
    /// Waits as a shard does.
    fn receive(&mut self) -> Word {
        loop {
            if let Some(word) = self.inbox.take() {
                return word;
            }
            if self.inbox.may_sleep() {
                self.poller.wait(None, |_, _| {}).expect("an epoll can be waited for");
            }
            self.inbox.is_awake();
        }
    }
}

fn ends() -> (End, End) {
    let (one, two) = (Poller::new().expect("an epoll"), Poller::new().expect("an epoll"));
    let (to_one, inbox_one) = inbox(INBOX_LEN, one.waker());
    let (to_two, inbox_two) = inbox(INBOX_LEN, two.waker());
    (End { poller: one, inbox: inbox_one, peer: to_two }, End { poller: two, inbox: inbox_two, peer: to_one })
}

fn packet() -> Word {
    let address = "127.0.0.1:5060".parse().expect("an address");
    Word::Packet { flow: Flow::udp(address, address), bytes: Bytes::from_static(b"OPTIONS") }
}

/// The time in which `count` packets pass from one thread to another, as a busy shard hands them over.
///
/// # Panics
/// When the system has no thread or descriptor left.
pub fn hand_offs(count: u64) -> Duration {
    let (sender, mut receiver) = ends();
    let thread = std::thread::spawn(move || (0..count).for_each(|_| drop(receiver.receive())));
    let start = clock::now();
    for _ in 0..count {
        let mut word = packet();
        while let Err(refused) = sender.peer.send(word) {
            word = refused.0;
            std::thread::yield_now();
        }
    }
    thread.join().expect("it only receives");
    clock::now().since(start)
}

/// The time in which a packet passes `count` times from one sleeping thread to another: the cost of a hop when
/// nothing else is to be done.
///
/// # Panics
/// When the system has no thread or descriptor left.
pub fn wake_ups(count: u64) -> Duration {
    let (mut here, mut there) = ends();
    let rounds = count.div_ceil(2);
    let thread = std::thread::spawn(move || {
        for _ in 0..rounds {
            let word = there.receive();
            there.peer.send(word).expect("one packet fits");
        }
    });
    let start = clock::now();
    for _ in 0..rounds {
        here.peer.send(packet()).expect("one packet fits");
        here.receive();
    }
    let elapsed = clock::now().since(start);
    thread.join().expect("it only receives and sends");
    elapsed
}
