//! Where a request can be sent to, and the groups that ring together.

use std::time::Duration;

use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

/// Where a request goes: what a dial plan, a forward or a member of a group names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A user of ours by his canonical address-of-record: goes to his devices.
    User(SmolStr),
    /// A group by its name in [`Settings::groups`](super::Settings::groups).
    Group(SmolStr),
    /// A number behind a trunk.
    Trunk {
        /// The name of the trunk.
        trunk: SmolStr,
        /// The number, as the trunk shall see it.
        number: SmolStr,
    },
    /// Anywhere else.
    Uri(UriBuf),
}

impl Destination {
    /// What is equal for destinations that are the same place.
    pub fn key(&self) -> SmolStr {
        match self {
            Destination::User(aor) => aor.clone(),
            Destination::Group(name) => smol_str::format_smolstr!("group {name}"),
            Destination::Trunk { trunk, number } => smol_str::format_smolstr!("trunk {trunk} {number}"),
            Destination::Uri(uri) => SmolStr::new(uri.as_str()),
        }
    }
}

/// Some destinations that are called by one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, which no other group has.
    pub name: SmolStr,
    /// The name of the domain of ours that it is called in.
    pub domain: SmolStr,
    /// The user parts by which it is called there.
    pub numbers: Vec<SmolStr>,
    /// Who rings.
    pub members: Vec<Member>,
    /// In which order.
    pub strategy: Strategy,
    /// Where the call goes when nobody has answered.
    pub otherwise: Option<Destination>,
}

/// One of a [`Group`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub destination: Destination,
    /// How long after the group is called.
    pub delay: Duration,
    /// How long; `None` is until the caller gives up or Timer C fires.
    pub ring: Option<Duration>,
}

/// In which order the members of a group ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// All at once, each after its delay.
    #[default]
    All,
    /// One after the other.
    InTurn,
}
