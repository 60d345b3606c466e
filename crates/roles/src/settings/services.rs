//! How calls are forwarded, and with which star codes users change that.

use std::collections::BTreeMap;
use std::time::Duration;

use smol_str::SmolStr;

use crate::services::{ForwardKind, Services};

/// How calls are forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardingSettings {
    /// What holds for users who chose nothing else, by canonical address-of-record (`sip:bob@example.com`).
    pub users: BTreeMap<SmolStr, Services>,
    /// How long phones ring before a call counts as not answered, for users who chose no time.
    pub no_answer_after: Duration,
    /// How often a call may be forwarded, here and before it came here.
    pub forwards_max: usize,
    /// Whether forwarded requests carry History-Info (RFC 7044).
    pub history_info: bool,
    /// Whether forwarded requests carry Diversion (RFC 5806).
    pub diversion: bool,
    /// Whether the caller is told of each forwarding with 181.
    pub tell_caller: bool,
}

impl Default for ForwardingSettings {
    fn default() -> Self {
        ForwardingSettings {
            users: BTreeMap::new(),
            no_answer_after: Duration::from_secs(20),
            forwards_max: 5,
            history_info: true,
            diversion: true,
            tell_caller: true,
        }
    }
}

/// What a star code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StarAction {
    /// Forwards to the number behind the code.
    Forward(ForwardKind),
    /// Does so no longer.
    Stop(ForwardKind),
    /// Switches do-not-disturb on.
    DoNotDisturb,
    /// And off.
    Disturb,
    /// Names a slot for parked calls by the digits behind it: a call is transferred there, and fetched by calling it.
    Park,
    /// Takes the call that rings at the extension behind it.
    PickUp,
}

/// Star codes: what a user dials to change his own services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StarCodes {
    /// Each begins with `*` or `#`; none stands twice. Empty where there are none.
    pub codes: Vec<(SmolStr, StarAction)>,
    /// The status of do-not-disturb that is set by star code.
    pub do_not_disturb: dialtone_wire::Status,
}

impl Default for StarCodes {
    /// The codes that North American switches have, and for "not reachable" the free ones next to them.
    fn default() -> Self {
        use ForwardKind::{Always, Busy, NoAnswer, NotReachable};
        let codes = [
            ("*72", StarAction::Forward(Always)),
            ("*73", StarAction::Stop(Always)),
            ("*90", StarAction::Forward(Busy)),
            ("*91", StarAction::Stop(Busy)),
            ("*92", StarAction::Forward(NoAnswer)),
            ("*93", StarAction::Stop(NoAnswer)),
            ("*94", StarAction::Forward(NotReachable)),
            ("*95", StarAction::Stop(NotReachable)),
            ("*78", StarAction::DoNotDisturb),
            ("*79", StarAction::Disturb),
            ("*5", StarAction::Park),
            ("*8", StarAction::PickUp),
        ];
        StarCodes {
            codes: codes.map(|(code, action)| (SmolStr::new_static(code), action)).to_vec(),
            do_not_disturb: dialtone_wire::Status::of(486),
        }
    }
}
