//! Counters of shards and of the media plane, gathered for whoever asks.

use dialtone_roles::{Counters as EngineCounters, Engine, Tables};
use dialtone_transport::stream::{Connections, StreamCounters};

use crate::media::Counts as MediaCounts;
use crate::store::JournalCounts;

macro_rules! shard_counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// What one shard counted.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct ShardCounters {
            $($(#[doc = $doc])+ pub(crate) $name: u64,)*
            /// Of the engine, and of those before it that panicked.
            engine: EngineCounters,
            /// Of the transaction layer, in its order.
            transactions: Vec<(&'static str, u64)>,
            /// What the engine holds now.
            tables: Tables,
            /// Of the stream connections.
            streams: StreamCounters,
            /// How many connections there are now, and the bytes that they hold.
            connections: [u64; 2],
        }

        impl ShardCounters {
            fn own(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

shard_counters! {
    /// Datagrams received.
    datagrams,
    /// Of them, those that only keep a NAT's mapping open.
    keep_alives,
    /// Of them, STUN requests of phones that ask whether their flow is alive (RFC 5626); they are answered.
    stun_keep_alives,
    /// Of them, those of other protocols.
    not_sip,
    /// Messages that came over streams.
    stream_messages,
    /// System calls that received datagrams.
    receive_calls,
    /// Datagrams sent.
    sent,
    /// System calls that sent datagrams.
    send_calls,
    /// Datagrams and messages that could not be sent.
    send_failures,
    /// Destinations that ICMP called unreachable.
    unreachable,
    /// Turns of the engine.
    turns,
    /// Datagrams and messages handed to the shard that they belong to.
    hand_offs,
    /// Datagrams and messages dropped because the queue of that shard was full.
    hand_offs_refused,
    /// Notices dropped because the queue of the other shard was full.
    notices_refused,
    /// Commands that the media thread had no room for.
    media_refused,
    /// Panics of the engine: each is a bug.
    panics,
    /// Packets kept out because they made the engine panic.
    poison_kept_out,
}

impl ShardCounters {
    /// Adds what an engine counted, and takes what it holds.
    pub(crate) fn add_engine(&mut self, engine: &Engine) {
        self.engine.add(engine.counters());
        add(&mut self.transactions, engine.transaction_counters().iter());
        self.tables = engine.tables();
    }

    /// Takes what the stream connections counted and hold.
    pub(crate) fn add_connections(&mut self, connections: &Connections) {
        self.streams.add(connections.counters());
        self.connections = [connections.len() as u64, connections.held_bytes() as u64];
    }
}

/// The counters of a node by groups: `sockets`, `streams`, `engine`, `transactions`, `tables`, `store` and `media`. A
/// number under `tables` is what is held now, all others grow from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    groups: Vec<(&'static str, Vec<(&'static str, u64)>)>,
}

impl Counters {
    pub(crate) fn new<'a>(
        shards: impl IntoIterator<Item = &'a ShardCounters>,
        media: Option<&MediaCounts>,
    ) -> Counters {
        let mut counters = Counters::default();
        for shard in shards {
            counters.add("sockets", shard.own());
            counters.add("streams", shard.streams.iter());
            counters.add("engine", shard.engine.iter());
            counters.add("transactions", shard.transactions.iter().copied());
            counters.add("tables", shard.tables.iter().map(|(name, count)| (name, count as u64)));
            counters.add("tables", ["connections", "connection_bytes"].into_iter().zip(shard.connections));
        }
        if let Some(media) = media {
            counters.add(
                "media",
                [
                    ("received", media.received),
                    ("sent", media.sent),
                    ("send_failures", media.send_failures),
                    ("leases", media.leases),
                    ("exhausted", media.exhausted),
                    ("unplayed", media.unplayed),
                    ("stale_commands", media.stale_commands),
                    ("restarts", media.restarts),
                ],
            );
        }
        counters
    }

    /// With what the store thread counted, under `store`.
    pub(crate) fn with_store(mut self, counts: Option<&JournalCounts>) -> Counters {
        if let Some(counts) = counts {
            self.add("store", counts.iter());
        }
        self
    }

    fn add(&mut self, group: &'static str, numbers: impl IntoIterator<Item = (&'static str, u64)>) {
        let index = self.groups.iter().position(|(name, _)| *name == group).unwrap_or_else(|| {
            self.groups.push((group, Vec::new()));
            self.groups.len() - 1
        });
        add(&mut self.groups[index].1, numbers);
    }

    /// The groups with their numbers, in a fixed order.
    pub fn groups(&self) -> impl Iterator<Item = (&'static str, &[(&'static str, u64)])> {
        self.groups.iter().map(|(name, numbers)| (*name, numbers.as_slice()))
    }

    /// One number; `None` for a name that is not there.
    pub fn number(&self, group: &str, name: &str) -> Option<u64> {
        let (_, numbers) = self.groups.iter().find(|(found, _)| *found == group)?;
        numbers.iter().find(|(found, _)| *found == name).map(|(_, number)| *number)
    }
}

fn add(sums: &mut Vec<(&'static str, u64)>, numbers: impl IntoIterator<Item = (&'static str, u64)>) {
    for (name, number) in numbers {
        match sums.iter_mut().find(|(found, _)| *found == name) {
            Some((_, sum)) => *sum += number,
            None => sums.push((name, number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_up() {
        let one = ShardCounters { datagrams: 3, ..ShardCounters::default() };
        let two = ShardCounters { datagrams: 4, panics: 1, ..ShardCounters::default() };
        let media = MediaCounts { sent: 5, ..MediaCounts::default() };
        let counters = Counters::new([&one, &two], Some(&media));
        assert_eq!(counters.number("sockets", "datagrams"), Some(7));
        assert_eq!(counters.number("sockets", "panics"), Some(1));
        assert_eq!(counters.number("media", "sent"), Some(5));
        assert_eq!(counters.number("engine", "garbage"), Some(0));
        assert_eq!(counters.number("sockets", "nonsense"), None);
    }
}
