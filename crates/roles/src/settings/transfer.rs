//! Who may transfer our calls: REFER (RFC 3515) and Replaces (RFC 3891).

use std::time::Duration;

/// Rules for REFER and Replaces, for a phone. The robots of a server are never transferred. By default a REFER is refused:
/// whoever owns the phone must know what to do with a call that he has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferSettings {
    /// What happens when the other side of a call asks us to call somebody else.
    pub referred: ReferPolicy,
    /// What happens when somebody asks for that outside of any call of ours.
    pub strangers: ReferPolicy,
    /// Which calls may take the place of one of ours.
    pub replaces: ReplacesPolicy,
    /// Who may join one of our calls.
    pub joins: JoinPolicy,
    /// Whether each provisional response of such a call is reported; else only its beginning and its end.
    pub tells_progress: bool,
    /// Whether our Contact is a GRUU that we have made ourselves (RFC 5627 §4.3): only where everybody reaches us at our
    /// address. A REFER for a call of ours then comes in a dialog of its own (RFC 5589 §6.1).
    pub self_made_gruu: bool,
    /// How long we report on a call that a REFER asked for, and wait for such reports. Longer than it may ring.
    pub time: Duration,
}

/// What happens with a REFER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReferPolicy {
    /// The owner is asked ([`Event::TransferAsked`](crate::io::Event::TransferAsked)).
    Ask,
    /// The call is made.
    Accept,
    /// 403.
    Refuse,
}

/// Which INVITEs with Replaces are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplacesPolicy {
    /// Those that name the Call-ID and both tags of a call. Our tag is 64 random bits that nobody knows but the other
    /// side and the proxies between; the flows of RFC 5589 §7 show no more than that.
    Named,
    /// Of these only such as come from the other side of that call, or with a Referred-By that names it (RFC 3891 §3); and
    /// where that other side was sent in place of an earlier one, also such as that one sends (RFC 5359 §2.3). Nobody has proven a Referred-By; a proxy that asks for passwords vouches for From.
    Referred,
    /// None: 403.
    Refuse,
}

/// Which INVITEs with Join, or to the URI of a conference of ours, are taken (RFC 3911 §4). Whoever knows the Call-ID and
/// the tags of a call could listen to it: that alone lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinPolicy {
    /// Those that the owner lets in: the call rings, he is told which conversation it wants to join
    /// ([`Event::JoinAsked`](crate::io::Event::JoinAsked)), and it does so when he answers it. From is as true as the
    /// proxy on the way makes it: one that asks for passwords vouches for it.
    Ask,
    /// None: 403.
    Refuse,
}

impl Default for TransferSettings {
    fn default() -> Self {
        TransferSettings {
            referred: ReferPolicy::Refuse,
            strangers: ReferPolicy::Refuse,
            replaces: ReplacesPolicy::Named,
            joins: JoinPolicy::Ask,
            tells_progress: true,
            self_made_gruu: false,
            time: Duration::from_secs(300),
        }
    }
}
