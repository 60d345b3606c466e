//! What happened to the connections, as numbers.

use super::CloseReason;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counts of what happened since the table was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct StreamCounters {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl StreamCounters {
            /// Every count with its name, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// Adds the counts of another shard.
            pub fn add(&mut self, other: &StreamCounters) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Connections that others opened.
    accepted,
    /// Connections refused because the table was full.
    refused_full,
    /// Connections refused because their source had too many.
    refused_source,
    /// Connections that we began to open.
    opened,
    /// Connections that we opened and that were then open.
    connected,
    /// Messages that found an open connection to their destination.
    reused,
    /// Messages not sent because their destination failed a short while ago.
    backed_off,
    /// Messages given to connections that were gone.
    sent_to_gone,
    /// Responses for which a connection was opened, because that of their request was gone.
    responses_reopened,
    /// Whole messages that came.
    messages_received,
    /// Messages taken for sending.
    messages_queued,
    /// Messages lost when their connection ended.
    messages_unsent,
    /// Bytes that came.
    bytes_received,
    /// Bytes that were written.
    bytes_written,
    /// Keep-alives answered.
    pongs,
    /// Messages that could not be framed and were answered with 400 or 513.
    framing_answered,
    /// Connections ended by their peer.
    closed_peer,
    /// Connections that could not be opened.
    closed_connect_failed,
    /// Connections that were not open in time.
    closed_connect_timed_out,
    /// Accepted connections that brought no message in time.
    closed_silent,
    /// Connections ended in the middle of a message that took too long.
    closed_slow_message,
    /// Connections ended because they were idle.
    closed_idle,
    /// Connections ended because their peer did not read.
    closed_not_reading,
    /// Connections ended because what came can't be cut into messages.
    closed_malformed,
    /// Connections ended because too many bytes were held.
    closed_out_of_memory,
    /// Connections that brought no message yet and gave way to others.
    closed_made_room,
    /// Connections ended by their owner.
    closed_stopped,
}

impl StreamCounters {
    pub(super) fn count_close(&mut self, reason: CloseReason) {
        let count = match reason {
            CloseReason::Peer => &mut self.closed_peer,
            CloseReason::ConnectFailed => &mut self.closed_connect_failed,
            CloseReason::ConnectTimedOut => &mut self.closed_connect_timed_out,
            CloseReason::Silent => &mut self.closed_silent,
            CloseReason::SlowMessage => &mut self.closed_slow_message,
            CloseReason::Idle => &mut self.closed_idle,
            CloseReason::NotReading => &mut self.closed_not_reading,
            CloseReason::Malformed => &mut self.closed_malformed,
            CloseReason::OutOfMemory => &mut self.closed_out_of_memory,
            CloseReason::MadeRoom => &mut self.closed_made_room,
            CloseReason::Stopped => &mut self.closed_stopped,
        };
        *count += 1;
    }
}
