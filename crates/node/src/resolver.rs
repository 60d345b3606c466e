//! Host names to addresses, asked of the system in threads of its own, since the system's call blocks.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialtone_roles::io::{Answer, QueryId};
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use crate::clock;
use crate::inbox::Sender;
use crate::shard::Word;

/// Names that wait to be asked for at most.
const WAITING_MAX: usize = 1024;
/// Names that are asked for at the same time.
const THREADS: usize = 4;
/// Addresses of one name that are given back.
const ADDRESSES_MAX: usize = 16;

/// One question.
pub(crate) struct Question {
    pub(crate) id: QueryId,
    pub(crate) host: SmolStr,
    /// Who asks.
    pub(crate) asker: Sender<Word>,
    /// When nobody wants to know any more.
    pub(crate) deadline: Instant,
}

/// Asks the system for addresses. Its threads end when it is dropped and their present question is answered; nobody
/// waits for them, since the system may take its time.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    queue: SyncSender<Question>,
}

impl Resolver {
    /// Starts the threads.
    pub(crate) fn start() -> std::io::Result<Resolver> {
        let (queue, questions) = sync_channel(WAITING_MAX);
        let questions = Arc::new(Mutex::new(questions));
        for number in 0..THREADS {
            let questions = questions.clone();
            std::thread::Builder::new().name(format!("resolver-{number}")).spawn(move || run(&questions))?;
        }
        Ok(Resolver { queue })
    }

    /// Asks; false when too many questions wait.
    pub(crate) fn ask(&self, question: Question) -> bool {
        self.queue.try_send(question).is_ok()
    }
}

fn run(questions: &Mutex<Receiver<Question>>) {
    loop {
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(question) = next else { return };
        if clock::now() >= question.deadline {
            continue;
        }
        let answer = Answer::Addresses(addresses(&question.host));
        // A full queue or a shard that is gone: the question has a deadline of its own.
        let _ = question.asker.send(Word::Answer(question.id, answer));
    }
}

fn addresses(host: &str) -> Vec<IpAddr> {
    let Ok(found) = (host, 0).to_socket_addrs() else { return Vec::new() };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// How long a question may wait for its turn, beside the time that the engine gives it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
