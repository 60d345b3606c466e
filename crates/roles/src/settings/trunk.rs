//! Trunks: the ways to other telephone systems.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_wire::uri::{Host, UriBuf};
use smol_str::SmolStr;

use super::dial_plan::{Fit, Pattern};
use super::{Account, Destination};

/// A way to another telephone system, and from there to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Its name: what rules and logs call it.
    pub name: SmolStr,
    /// How the two systems find each other.
    pub access: TrunkAccess,
    /// Who we are when it asks for a password, where that is not said by [`TrunkAccess::Registrar`].
    pub credentials: Option<Account>,
    /// Whether it belongs to our trust domain (RFC 3325 §2.3): it is told who really calls, and believed.
    pub trust: bool,
    /// The number that callers without one of their own show.
    pub caller_id: Option<SmolStr>,
    /// The number that a user shows, by canonical address-of-record.
    pub caller_ids: BTreeMap<SmolStr, SmolStr>,
    /// What From says of calls that go out.
    pub from: TrunkFrom,
    /// Whether the Request-URI carries `user=phone` (RFC 3261 §19.1.1).
    pub user_phone: bool,
    /// Whose the numbers are that are called from there; the first that fits counts.
    pub numbers: Vec<InboundNumber>,
    /// Calls of one shard through it at the same time.
    pub calls_max: usize,
    /// How often each address is asked with OPTIONS whether it is there; `None` for never.
    pub probe: Option<Duration>,
    /// How long an address may be silent after an INVITE before the next one is tried.
    pub answer_within: Duration,
}

/// How two systems find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrunkAccess {
    /// By address: calls go to the first of these that is there, and come from any of them.
    Addresses(Vec<UriBuf>),
    /// We register with it.
    Registrar {
        /// Where the REGISTER goes and the calls after it.
        registrar: UriBuf,
        /// Whom we register.
        account: Account,
        /// Whether one registration stands for all numbers (RFC 6140).
        gin: bool,
    },
    /// It registers with us as this user of ours.
    User {
        /// The canonical address-of-record.
        aor: SmolStr,
    },
}

/// What From says of a call that goes out over a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrunkFrom {
    /// What the caller's phone wrote.
    Keep,
    /// The caller's number at the host of the trunk.
    Number,
    /// The account that we have there.
    Account,
}

/// Numbers that are called from a trunk, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundNumber {
    /// The numbers.
    pub pattern: Pattern,
    /// Where they lead.
    pub to: Destination,
}

impl InboundNumber {
    /// The only number that it speaks of, if it is but one.
    pub fn single(&self) -> Option<&str> {
        let text = self.pattern.as_str();
        let digits = text.strip_prefix('+').unwrap_or(text);
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
    }
}

impl Trunk {
    /// A trunk with the defaults of the manual.
    pub fn new(name: impl Into<SmolStr>, access: TrunkAccess) -> Trunk {
        Trunk {
            name: name.into(),
            access,
            credentials: None,
            trust: false,
            caller_id: None,
            caller_ids: BTreeMap::new(),
            from: TrunkFrom::Number,
            user_phone: true,
            numbers: Vec::new(),
            calls_max: 1_000,
            probe: None,
            answer_within: Duration::from_secs(4),
        }
    }

    /// The URIs that calls go to, in the order of preference; none where the other side registers with us.
    pub fn hops(&self) -> &[UriBuf] {
        match &self.access {
            TrunkAccess::Addresses(addresses) => addresses,
            TrunkAccess::Registrar { registrar, .. } => std::slice::from_ref(registrar),
            TrunkAccess::User { .. } => &[],
        }
    }

    /// Who we are there.
    pub fn account(&self) -> Option<&Account> {
        match &self.access {
            TrunkAccess::Registrar { account, .. } => Some(account),
            TrunkAccess::Addresses(_) | TrunkAccess::User { .. } => self.credentials.as_ref(),
        }
    }

    /// Whether the other side registers with us as the user of this canonical address-of-record.
    pub fn is_user(&self, aor: &str) -> bool {
        matches!(&self.access, TrunkAccess::User { aor: own } if own == aor)
    }

    /// Whether one of its addresses, where they are written as such, is this one.
    pub fn has_address(&self, ip: std::net::IpAddr) -> bool {
        self.hops().iter().any(|hop| match hop.uri().as_sip().map(|sip| sip.host) {
            Some(Host::Ip(own)) => own == ip,
            Some(Host::Name(_)) | None => false,
        })
    }

    /// Where a number leads that is called from there.
    pub fn destination_of(&self, number: &str) -> Option<&Destination> {
        self.numbers.iter().find(|entry| entry.pattern.fit(number) == Fit::Full).map(|entry| &entry.to)
    }
}
