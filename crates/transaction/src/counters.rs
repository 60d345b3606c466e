//! What happened in the layer, as numbers.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counts of what happened since the layer was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl Counters {
            /// Every count with its name, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// Adds the counts of another layer.
            pub fn add(&mut self, other: &Counters) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Client transactions begun.
    clients_created,
    /// Server transactions begun.
    servers_created,
    /// Requests sent again (Timers A and E).
    requests_retransmitted,
    /// Responses sent again (Timer G, and for repeated requests).
    responses_retransmitted,
    /// ACKs sent for final responses other than 2xx, repetitions included.
    acks_sent,
    /// 100 (Trying) responses made by the layer because the transaction user was silent.
    tryings_sent,
    /// Repeated requests that did not go up.
    requests_absorbed,
    /// ACKs that did not go up.
    acks_absorbed,
    /// Repeated responses that did not go up.
    responses_absorbed,
    /// Responses that belong to no client transaction.
    responses_stray,
    /// Client transactions that ended by Timer B or F.
    clients_timed_out,
    /// INVITE server transactions that ended by Timer H.
    acks_missing,
    /// Server transactions dropped because the transaction user never answered.
    requests_unanswered,
    /// Transport errors that a transaction had.
    transport_errors,
    /// Responses of the transaction user that may not be sent, or not any more.
    responses_discarded,
    /// Requests received or to be sent that were refused because a limit was reached.
    refused_by_limit,
    /// Responses that were sent and not kept because the byte limit was reached.
    responses_not_kept,
    /// ACKs that were sent and not kept because the byte limit was reached.
    acks_not_kept,
    /// Requests without the headers that a transaction is known by.
    requests_malformed,
}
