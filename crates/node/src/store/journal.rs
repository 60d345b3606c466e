//! The store thread: bindings and call records, written in batches.
//!
//! ```text
//!   shard 0 --Journal--+                +--> one transaction --> fsync --> Journalled, to each shard
//!   shard 1 --Journal--+--> a batch --->|
//!   shard N --Record---+                +--> it failed: Failed; records wait for the next one
//! ```
//!
//! A shard never waits for it: it holds the 200 of a REGISTER back until the answer is there. What comes while a
//! batch is being written is the next batch, so the busier it is, the more share the cost of one fsync.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dialtone_roles::Binding;
use dialtone_roles::io::{Answer, CallRecord, QueryId};
use dialtone_roles::services::Choices;
use dialtone_roles::settings::Settings;
use dialtone_roles::shard_of_aor;
use dialtone_wire::time::Instant;
use rusqlite::{Connection, TransactionBehavior};
use smol_str::SmolStr;

use super::bindings::{self, OfOne};
use super::services::{self, OfUser};
use super::sqlite::damaged;
use super::{StoreError, records};
use crate::clock::{self, Moment};
use crate::inbox::Sender;
use crate::shard::Word;

/// Words that wait for the thread at most.
const WAITING_MAX: usize = 65_536;
/// Words of one transaction at most.
const BATCH_MAX: usize = 4_096;
/// Call records that wait for a store that can be written again.
const UNWRITTEN_MAX: usize = 2_048;
/// How often it is looked for call records that are too old.
const DELETION_PERIOD: Duration = Duration::from_secs(600);
/// The same while there are more of them than are deleted at a time.
const DELETION_PAUSE: Duration = Duration::from_secs(1);
/// Addresses-of-record that are given to a shard at a time.
pub(crate) const PIECE: usize = 1_000;

/// A word to the store thread.
#[derive(Debug)]
pub(crate) enum JournalWord {
    /// Keep these bindings in place of those kept before.
    Bindings {
        /// Who asks.
        shard: u16,
        /// Its question.
        id: QueryId,
        /// The canonical address-of-record.
        aor: SmolStr,
        /// All that it has.
        bindings: Arc<[Binding]>,
    },
    /// Keep what a user chose in place of what was kept before.
    Services {
        /// Who asks.
        shard: u16,
        /// Its question.
        id: QueryId,
        /// The canonical address-of-record.
        aor: SmolStr,
        /// All that he chose.
        choices: Arc<Choices>,
    },
    /// Keep this record.
    Record(Box<CallRecord>),
    /// The shard has lost what it held.
    Restore(u16),
    /// Tell when all that came before is written, or can't be.
    Mark(SyncSender<()>),
}

/// A connection to the database for the store thread.
#[derive(Debug)]
pub struct JournalStore {
    connection: Connection,
    path: PathBuf,
}

/// What a node is started with where it keeps bindings and call records.
#[derive(Debug)]
pub(crate) struct JournalParts {
    pub(crate) store: JournalStore,
    /// How long the first word of a batch waits for others.
    pub(crate) batch: Duration,
    /// How long call records are kept.
    pub(crate) keep_records: Duration,
}

/// What the store thread counted.
#[derive(Debug, Default)]
pub(crate) struct JournalCounts {
    pub(crate) restored: AtomicU64,
    pub(crate) journalled: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) failed_batches: AtomicU64,
    pub(crate) call_records: AtomicU64,
    pub(crate) call_records_lost: AtomicU64,
}

impl JournalCounts {
    /// Each with its name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("restored", &self.restored),
            ("journalled", &self.journalled),
            ("batches", &self.batches),
            ("failed_batches", &self.failed_batches),
            ("call_records", &self.call_records),
            ("call_records_lost", &self.call_records_lost),
        ]
        .into_iter()
        .map(|(name, number)| (name, number.load(Ordering::Relaxed)))
    }
}

/// The end of the shards.
#[derive(Clone, Debug)]
pub(crate) struct JournalSender {
    queue: SyncSender<JournalWord>,
    counts: Arc<JournalCounts>,
}

impl JournalSender {
    /// Sends a word; false when too many wait already.
    pub(crate) fn send(&self, word: JournalWord) -> bool {
        self.queue.try_send(word).is_ok()
    }

    /// Has a record kept. A call never waits for that: where too many words wait, the record is lost and counted.
    pub(crate) fn record(&self, record: Box<CallRecord>) {
        if !self.send(JournalWord::Record(record)) {
            self.counts.call_records_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl JournalStore {
    pub(super) fn new(connection: Connection, path: PathBuf) -> JournalStore {
        JournalStore { connection, path }
    }

    /// All bindings that hold now.
    ///
    /// # Errors
    /// When the database can't be read, or can't be written.
    pub(crate) fn load(&mut self, moment: &Moment) -> Result<Vec<OfOne>, StoreError> {
        bindings::load(&mut self.connection, moment).map_err(|error| damaged(error, &self.path))
    }

    /// All that users chose.
    ///
    /// # Errors
    /// When the database can't be read.
    pub(crate) fn load_services(&mut self) -> Result<Vec<OfUser>, StoreError> {
        services::load(&self.connection).map_err(|error| damaged(error, &self.path))
    }

    /// Deletes some of the records of calls that began before this time. True when there may be more.
    ///
    /// # Errors
    /// When the database can't be written.
    pub(crate) fn delete_records(&mut self, started_before_unix_ms: u64) -> Result<bool, StoreError> {
        records::delete(&self.connection, started_before_unix_ms).map_err(|error| damaged(error, &self.path))
    }

    /// Keeps what a batch says, all of it or nothing.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn write(&mut self, moment: &Moment, words: &[JournalWord]) -> Result<(), StoreError> {
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let boot = bindings::boot_number(&transaction, moment)?;
            for word in words {
                match word {
                    JournalWord::Bindings { aor, bindings, .. } => {
                        bindings::put(&transaction, moment, boot, aor, bindings)?;
                    }
                    JournalWord::Services { aor, choices, .. } => services::put(&transaction, aor, choices)?,
                    JournalWord::Record(record) => records::put(&transaction, moment, record)?,
                    JournalWord::Restore(_) | JournalWord::Mark(_) => {}
                }
            }
            transaction.commit()
        };
        write().map_err(|error| damaged(error, &self.path))
    }
}

/// Divides what belongs to addresses-of-record among the shards that own them, into pieces of a bounded size.
pub(crate) fn divided<T>(settings: &Settings, all: Vec<(SmolStr, T)>) -> Vec<Vec<Vec<(SmolStr, T)>>> {
    let mut shards: Vec<Vec<Vec<(SmolStr, T)>>> = (0..settings.shards).map(|_| Vec::new()).collect();
    for of_one in all {
        let pieces = &mut shards[usize::from(shard_of_aor(settings, &of_one.0))];
        match pieces.last_mut().filter(|piece| piece.len() < PIECE) {
            Some(piece) => piece.push(of_one),
            None => pieces.push(vec![of_one]),
        }
    }
    shards
}

/// Starts the store thread. It ends, with all written, when the last [`JournalSender`] is gone.
///
/// # Errors
/// When the system has no thread.
pub(crate) fn start(
    parts: JournalParts,
    settings: Arc<Settings>,
    shards: Vec<Sender<Word>>,
    counts: Arc<JournalCounts>,
) -> std::io::Result<(JournalSender, JoinHandle<()>)> {
    let (queue, words) = sync_channel(WAITING_MAX);
    let sender = JournalSender { queue, counts: counts.clone() };
    let (is_failing, unwritten, deletes_at) = (false, VecDeque::new(), clock::now());
    let mut thread = JournalThread { parts, settings, shards, counts, is_failing, unwritten, deletes_at };
    let handle = Builder::new().name("store".into()).spawn(move || thread.run(&words))?;
    Ok((sender, handle))
}

struct JournalThread {
    parts: JournalParts,
    settings: Arc<Settings>,
    shards: Vec<Sender<Word>>,
    counts: Arc<JournalCounts>,
    /// The last batch could not be written: said once.
    is_failing: bool,
    /// Records of batches that could not be written.
    unwritten: VecDeque<Box<CallRecord>>,
    /// When old records are deleted next.
    deletes_at: Instant,
}

impl JournalThread {
    fn run(&mut self, words: &Receiver<JournalWord>) {
        let mut batch = Vec::new();
        loop {
            let first = match words.recv_timeout(self.deletes_at.since(clock::now())) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.delete_old_records();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            batch.extend(self.unwritten.drain(..).map(JournalWord::Record));
            batch.push(first);
            let end = clock::now() + self.parts.batch;
            while batch.len() < BATCH_MAX {
                match words.recv_timeout(end.since(clock::now())) {
                    Ok(word) => batch.push(word),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            let is_written = self.write(&batch);
            self.count_records(&batch, is_written);
            for word in batch.drain(..) {
                match word {
                    JournalWord::Restore(shard) => self.restore(shard),
                    // Whoever asked may be gone by now.
                    JournalWord::Mark(to) => drop(to.try_send(())),
                    JournalWord::Record(record) if !is_written => self.unwritten.push_back(record),
                    JournalWord::Record(_) | JournalWord::Bindings { .. } | JournalWord::Services { .. } => {}
                }
            }
            self.forget_records();
            if self.deletes_at <= clock::now() {
                self.delete_old_records();
            }
        }
        // What could not be written before gets a last chance.
        let batch: Vec<JournalWord> = self.unwritten.drain(..).map(JournalWord::Record).collect();
        if !batch.is_empty() {
            let is_written = self.write(&batch);
            self.count_records(&batch, is_written);
            let lost = if is_written { 0 } else { batch.len() as u64 };
            self.counts.call_records_lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Deletes call records whose time is over: some of them now, the rest soon, so that registrations need not wait.
    fn delete_old_records(&mut self) {
        let kept_ms = u64::try_from(self.parts.keep_records.as_millis()).unwrap_or(u64::MAX);
        let before = clock::moment().unix_ms.saturating_sub(kept_ms);
        let is_more = self.parts.store.delete_records(before).unwrap_or_else(|error| {
            tracing::warn!(%error, "old call records can't be deleted");
            false
        });
        self.deletes_at = clock::now() + if is_more { DELETION_PAUSE } else { DELETION_PERIOD };
    }

    fn count_records(&self, batch: &[JournalWord], is_written: bool) {
        let records = batch.iter().filter(|word| matches!(word, JournalWord::Record(_))).count();
        let written = if is_written { records as u64 } else { 0 };
        self.counts.call_records.fetch_add(written, Ordering::Relaxed);
    }

    /// Records wait for a store that can be written again, but not without limit.
    fn forget_records(&mut self) {
        let lost = self.unwritten.len().saturating_sub(UNWRITTEN_MAX);
        self.unwritten.drain(..lost);
        self.counts.call_records_lost.fetch_add(lost as u64, Ordering::Relaxed);
    }

    fn write(&mut self, batch: &[JournalWord]) -> bool {
        let count = |number: &AtomicU64, by: u64| number.fetch_add(by, Ordering::Relaxed);
        count(&self.counts.batches, 1);
        let written = self.parts.store.write(&clock::moment(), batch);
        match &written {
            Ok(()) if std::mem::take(&mut self.is_failing) => {
                tracing::info!("the store can be written again: registrations are accepted");
            }
            Ok(()) => {}
            Err(error) => {
                count(&self.counts.failed_batches, 1);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, "registrations are refused until the store can be written again");
                }
            }
        }
        let mut answers: Vec<Vec<(QueryId, Answer)>> = vec![Vec::new(); self.shards.len()];
        for word in batch {
            let (JournalWord::Bindings { shard, id, .. } | JournalWord::Services { shard, id, .. }) = word
            else {
                continue;
            };
            count(&self.counts.journalled, u64::from(written.is_ok()));
            if *id != QueryId::UNANSWERED
                && let Some(answers) = answers.get_mut(usize::from(*shard))
            {
                let answer = if written.is_ok() { Answer::Journalled } else { Answer::Failed };
                answers.push((*id, answer));
            }
        }
        for (shard, answers) in self.shards.iter().zip(answers) {
            if !answers.is_empty() {
                // A shard that is gone needs no answer.
                let _ = shard.send_patiently(Word::Answers(answers));
            }
        }
        written.is_ok()
    }

    fn restore(&mut self, shard: u16) {
        let all = match self.parts.store.load(&clock::moment()) {
            Ok(all) => all,
            Err(error) => return tracing::error!(%error, shard, "its bindings can't be read again"),
        };
        let mut pieces = divided(&self.settings, all);
        let Some(sender) = self.shards.get(usize::from(shard)) else { return };
        for piece in pieces.swap_remove(usize::from(shard)) {
            // A shard that is gone needs no bindings.
            let _ = sender.send_patiently(Word::Restore(piece));
        }
        let users = match self.parts.store.load_services() {
            Ok(users) => users,
            Err(error) => return tracing::error!(%error, shard, "what its users chose can't be read again"),
        };
        for piece in divided(&self.settings, users).swap_remove(usize::from(shard)) {
            let _ = sender.send_patiently(Word::RestoreServices(piece));
        }
    }
}

#[cfg(test)]
mod tests;
