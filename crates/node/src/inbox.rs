//! Bounded queues between threads: a full one is an error of the sender, and only a sleeping thread is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use dialtone_transport::sys::Waker;

/// The end of the thread that waits.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    receiver: Receiver<T>,
    sleeping: Arc<AtomicBool>,
    /// Taken while the thread was about to fall asleep.
    early: Option<T>,
}

/// The end of the others.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    queue: SyncSender<T>,
    sleeping: Arc<AtomicBool>,
    waker: Waker,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { queue: self.queue.clone(), sleeping: self.sleeping.clone(), waker: self.waker.clone() }
    }
}

/// The queue is full, or its thread is gone. Holds what was to be sent.
#[derive(Debug)]
pub(crate) struct Undelivered<T>(pub(crate) T);

/// A queue of at most `length` words for the thread that `waker` wakes.
pub(crate) fn inbox<T>(length: usize, waker: Waker) -> (Sender<T>, Inbox<T>) {
    let (queue, receiver) = sync_channel(length.max(1));
    let sleeping = Arc::new(AtomicBool::new(false));
    (Sender { queue, sleeping: sleeping.clone(), waker }, Inbox { receiver, sleeping, early: None })
}

impl<T> Sender<T> {
    /// Puts a word into the queue, and wakes the thread if it sleeps.
    pub(crate) fn send(&self, word: T) -> Result<(), Undelivered<T>> {
        self.queue.try_send(word).map_err(|error| match error {
            TrySendError::Full(word) | TrySendError::Disconnected(word) => Undelivered(word),
        })?;
        // Ordered after the send: either the thread sees the word when it looks once more, or we see it asleep.
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
        Ok(())
    }

    /// Waits until there is room. For threads that may wait.
    pub(crate) fn send_patiently(&self, word: T) -> Result<(), Undelivered<T>> {
        self.queue.send(word).map_err(|error| Undelivered(error.0))?;
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
        Ok(())
    }
}

impl<T> Inbox<T> {
    /// Takes the next word.
    pub(crate) fn take(&mut self) -> Option<T> {
        if let Some(word) = self.early.take() {
            return Some(word);
        }
        self.receiver.try_recv().ok()
    }

    /// Says that the thread is about to wait. False when a word is there after all: then it must not wait.
    pub(crate) fn may_sleep(&mut self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        self.early = self.take();
        if self.early.is_some() {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        self.early.is_none()
    }

    /// Says that the wait is over.
    pub(crate) fn is_awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialtone_transport::sys::Poller;

    #[test]
    fn words_come_in_order_and_a_full_queue_says_so() {
        let poller = Poller::new().expect("an epoll");
        let (sender, mut inbox) = inbox(2, poller.waker());
        sender.send(1).expect("there is room");
        sender.send(2).expect("there is room");
        assert_eq!(sender.send(3).expect_err("it is full").0, 3);
        assert!(!inbox.may_sleep());
        assert_eq!([inbox.take(), inbox.take(), inbox.take()], [Some(1), Some(2), None]);
        assert!(inbox.may_sleep());
    }

    #[test]
    fn a_sleeping_thread_is_woken_by_the_first_word() {
        let mut poller = Poller::new().expect("an epoll");
        let (sender, mut inbox) = inbox(10, poller.waker());
        let thread = std::thread::spawn(move || sender.send(7).expect("there is room"));
        while inbox.may_sleep() {
            poller.wait(None, |_, _| {}).expect("waiting");
            inbox.is_awake();
        }
        assert_eq!(inbox.take(), Some(7));
        thread.join().expect("the thread ends");
    }
}
