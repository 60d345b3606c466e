//! Which registered phones are asked now and then whether they are still there.

use std::time::Duration;

use crate::binding::Binding;
use dialtone_wire::net::Transport;

/// OPTIONS to registered contacts: it keeps the binding of a NAT open, and shows who is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAliveSettings {
    /// Who is asked.
    pub contacts: KeepAliveContacts,
    /// How often, when they answer. NATs may forget a UDP binding after 30 seconds (RFC 4787 §4.3 wants more than two
    /// minutes, and many do not care).
    pub interval: Duration,
    /// How many are asked in one second at most, by each shard.
    pub per_second: u32,
}

impl Default for KeepAliveSettings {
    fn default() -> Self {
        KeepAliveSettings {
            contacts: KeepAliveContacts::Nat,
            interval: Duration::from_secs(25),
            per_second: 1_000,
        }
    }
}

/// Whose contacts are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepAliveContacts {
    /// Nobody's.
    Off,
    /// Those behind a NAT over UDP, unless they keep a flow of RFC 5626 open themselves.
    #[default]
    Nat,
    /// All that we reach ourselves: the phones of an edge are its own to look after.
    All,
}

impl KeepAliveContacts {
    /// Whether this contact is asked.
    pub(crate) fn takes(self, binding: &Binding) -> bool {
        let direct = binding.path().is_empty();
        match self {
            KeepAliveContacts::Off => false,
            KeepAliveContacts::All => direct,
            KeepAliveContacts::Nat => {
                let is_udp = binding.flow.transport == Transport::Udp;
                direct && is_udp && binding.behind_nat && binding.reg_id().is_none()
            }
        }
    }
}
