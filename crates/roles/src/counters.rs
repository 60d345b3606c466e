//! What happened in one shard, as numbers.

macro_rules! numbers {
    ($(#[$meta:meta])* $type:ident of $number:ty { $($(#[doc = $doc:literal])+ $name:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $type {
            $($(#[doc = $doc])+ pub $name: $number,)*
        }

        impl $type {
            /// Every number with its name, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, $number)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// Adds the numbers of another shard.
            pub fn add(&mut self, other: &$type) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

numbers! {
    /// Counts since the start of an engine, beside those of its transactions.
    Counters of u64 {
        /// Datagrams and framed messages taken in.
        packets,
        /// Of them, requests that parsed.
        requests,
        /// Of them, responses that parsed.
        responses,
        /// Packets that are no SIP message and were dropped.
        garbage,
        /// Malformed requests that were answered with 400, 505 or 513.
        malformed,
        /// Responses that belong to no transaction, or that lack what a response must have.
        stray_responses,
        /// ACKs that belong to nothing.
        stray_acks,
        /// Requests refused because a table was full.
        overload,
        /// Calls refused because the server is about to end.
        draining,
        /// Challenges sent (401 and 407).
        challenges,
        /// Requests whose credentials were right.
        authenticated,
        /// Requests whose password was wrong.
        wrong_password,
        /// Requests of users that do not exist.
        unknown_user,
        /// Requests that repeated a nonce count.
        replays,
        /// Times that a user at a source, or a source, was held off for too many wrong passwords.
        holds,
        /// Requests refused without a look at their password because their sender is held off.
        held_off,
        /// Requests dropped because an operator has blocked their source.
        blocked,
        /// Requests for domains that are not ours.
        foreign,
        /// Requests that a rule of the dial plan refused.
        ruled_out,
        /// Requests that were answered with a redirection (3xx).
        redirected,
        /// Calls that were sent out over a trunk.
        trunk_calls,
        /// Calls over a trunk that went to another of its addresses because one failed.
        trunk_failovers,
        /// Calls refused because a trunk had as many as it may.
        trunk_full,
        /// Challenges of trunks that could not be answered: there is no password for them, or it is wrong.
        trunk_refused,
        /// Requests from trunks that led somewhere.
        trunk_incoming,
        /// Calls from trunks to numbers of nobody.
        trunk_unknown,
        /// Requests for users that do not exist or have no binding.
        not_found,
        /// REGISTER requests that were granted.
        registrations,
        /// OPTIONS sent to registered phones, to keep the way to them open and to see whether they are there.
        keep_alives,
        /// Of them, those that no answer came to.
        keep_alives_unanswered,
        /// Subscriptions that were begun.
        subscriptions,
        /// NOTIFYs sent to those who watch.
        notifications,
        /// REGISTER requests refused because their bindings could not be journalled.
        not_journalled,
        /// Changes of a user's services, by star code or command.
        services_changed,
        /// Of those that were asked for, the ones that were refused or could not be kept.
        services_refused,
        /// Calls forwarded by the services of a user, each forwarding counted.
        calls_forwarded,
        /// Forwardings stopped: a loop, one too many, or a target that the user may not call.
        forwards_stopped,
        /// Requests forwarded by the proxy, each branch counted.
        forwarded,
        /// Responses forwarded by the proxy.
        responses_forwarded,
        /// Calls begun by the user agent or by its peers.
        calls,
        /// Calls to a user agent of ours that asked to be let into one of its conversations.
        joins,
        /// Of them, those that could not be let in, or may not.
        joins_refused,
        /// Calls that went through the back-to-back user agent.
        bridged,
        /// Of them, those that were refused because there were as many as there may be.
        bridges_full,
        /// Pairs of calls that were made one by the server: transfers, and calls asked for from outside of SIP.
        bridges_joined,
        /// REFERs within a call that the server acted on.
        transfers,
        /// Of them, those whose target was reached.
        transfers_done,
        /// Of them, those whose target was not, so that the call went back.
        transfers_failed,
        /// REFERs that were refused: they name a call of somebody else, or their call was transferred too often.
        transfers_refused,
        /// Calls that were asked for from outside of SIP.
        dialled,
        /// Calls that were parked.
        calls_parked,
        /// Sides of calls, held or parked, that were joined with who plays music.
        music_played,
        /// Callers who had to wait for a member of a group.
        calls_queued,
        /// Of them, those who have waited in vain.
        calls_queued_in_vain,
        /// Calls that were taken by another one than was called.
        calls_picked_up,
        /// Calls that came in place of another one (Replaces).
        calls_replaced,
        /// INVITEs and calls that were handed to the shard of the call that they meet.
        handed_over,
        /// Packets that went on to the shard that has their call.
        followed,
        /// INVITEs and calls that could not be handed over because the table of aliases was full.
        aliases_full,
        /// Packets and requests dropped because their call moved on faster than they did.
        hops_exceeded,
        /// Calls through this server that were recorded.
        call_records,
        /// Questions asked of the world outside.
        queries,
        /// Of them, those that had no answer in time.
        queries_expired,
    }
}

numbers! {
    /// How much the tables of an engine hold. All are zero at rest but for bindings, services and guessers.
    Tables of usize {
        /// Server transactions.
        server_transactions,
        /// Client transactions.
        client_transactions,
        /// Bytes of messages that transactions keep.
        kept_bytes,
        /// Requests being forwarded.
        proxy_contexts,
        /// Calls of the user agent.
        calls,
        /// Calls that go through the back-to-back user agent.
        bridges,
        /// Requests of such calls to one of their sides that wait for an answer, or whose answer may come again.
        bridge_requests,
        /// Calls, and slots of parked ones, that another shard has.
        aliases,
        /// INVITEs that are being forwarded and have no final response yet.
        calls_forwarding,
        /// Calls between others that were answered and have not ended, in mode `call`.
        calls_talking,
        /// Bindings of the registrar.
        bindings,
        /// Of them, those that are asked by OPTIONS whether they are there.
        kept_alive,
        /// Users who have chosen services.
        services,
        /// Subscriptions of those who watch a registration.
        subscriptions,
        /// Addresses-of-record that are watched.
        watched,
        /// Requests that wait for an answer from outside.
        queries,
        /// Users and sources whose wrong passwords are remembered, for a while.
        guessers,
    }
}
