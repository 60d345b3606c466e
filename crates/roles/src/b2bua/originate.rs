//! Calls that the server begins itself: for somebody who transfers, who is to be called back, or who asked on the command
//! line. They have no caller's leg; a [`Task`](super::join::Task) waits for what becomes of them.
//!
//! The INVITE has no description, since nobody whose sound could be offered has been asked yet (RFC 3725 §4).

use dialtone_dialog::Draft;
use dialtone_wire::net::Flow;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message, Method};
use smol_str::{SmolStr, format_smolstr};

use super::description::Described;
use super::join::TaskId;
use super::{B2bua, Leg, LegId, pass};
use crate::context::Context;
use crate::engine::Caller;
use crate::loopback::{self, UNLIMITED};
use crate::policy::Decision;
use crate::settings::Destination;

/// Who is on a leg.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Party {
    /// The address, with the name where there is one: `"Bob" <sip:bob@example.com>`.
    pub(crate) address: SmolStr,
    /// The user of ours that it is: who has shown a password, or was called by his address.
    pub(crate) user: Option<Caller>,
    /// It is reached over a trunk or in another domain.
    pub(crate) outside: bool,
}

impl Party {
    /// Who has sent an INVITE.
    pub(super) fn caller(invite: &Message, user: Option<&Caller>, from_trunk: bool) -> Party {
        let address = pass::address(invite, HeaderName::From).unwrap_or_default();
        Party { address, user: user.cloned(), outside: from_trunk }
    }

    /// Who was called by it.
    pub(super) fn called(invite: &Message, decision: &Decision) -> Party {
        let address = pass::address(invite, HeaderName::To).unwrap_or_default();
        match decision {
            Decision::To { destination, .. } | Decision::FromTrunk { destination, .. } => match destination {
                Destination::User(aor) => Party { address, user: user_of(aor), outside: false },
                Destination::Group(_) => Party { address, user: None, outside: false },
                Destination::Trunk { .. } | Destination::Uri(_) => {
                    Party { address, user: None, outside: true }
                }
            },
            _ => Party { address, user: None, outside: true },
        }
    }

    /// Whether both are one: the same user of ours, or strangers with the same address.
    pub(super) fn is(&self, other: &Party) -> bool {
        match (&self.user, &other.user) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.uri() == other.uri(),
            // A user who was called by his address, and calls without a password where none is asked for.
            (Some(user), None) | (None, Some(user)) => {
                let stranger = if self.user.is_none() { self } else { other };
                stranger.uri() == user.aor()
            }
        }
    }

    /// Whether he may take calls that ring, or wait, in a domain: its own users may, and where nobody is asked for a password
    /// nobody can be told from them. Calls of one domain are not to be had from another (what is called reaches both).
    pub(super) fn is_of(&self, domain: &str) -> bool {
        self.user.as_ref().is_none_or(|user| user.domain == domain)
    }

    /// The URI of the address.
    pub(super) fn uri(&self) -> &str {
        let text = self.address.as_str();
        match (text.rfind('<'), text.rfind('>')) {
            (Some(start), Some(end)) if start < end => &text[start + 1..end],
            _ => text,
        }
    }
}

/// The user with a canonical address-of-record.
fn user_of(aor: &str) -> Option<Caller> {
    let uri = UriBuf::parse(aor).ok()?;
    let uri = uri.uri();
    let uri = uri.as_sip()?;
    let (_, host) = aor.rsplit_once('@')?;
    Some(Caller { user: uri.user_unescaped()?, domain: SmolStr::new(host) })
}

/// Whom a URI names, whatever it says of the way to him (RFC 3261 §19.1.1, table 1: no such parameter stands in To).
pub(super) fn address_of(uri: &UriBuf) -> SmolStr {
    let (parsed, text) = (uri.uri(), uri.as_str());
    let bare = parsed.as_sip().and_then(|sip| text.strip_suffix(sip.params.as_str()));
    format_smolstr!("<{}>", bare.unwrap_or(text))
}

/// A call that is to be made.
pub(super) struct Wanted<'a> {
    pub(super) to: UriBuf,
    /// Whom the called one sees.
    pub(super) from: &'a Party,
    /// Whose call it is: by his right it is made, and the dial plan is asked for him.
    pub(super) by: &'a Party,
    /// More of its header.
    pub(super) headers: Vec<(HeaderName, SmolStr)>,
    /// Names our address.
    pub(super) local: Flow,
    pub(super) task: TaskId,
}

/// What is still to be decided about the call of a leg that we have begun.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The INVITE as the one would send it by whose right it is made.
    pub(crate) invite: Message,
    pub(crate) by: Party,
}

impl B2bua {
    /// Calls somebody; `None` when there is no room.
    pub(super) fn originate(&mut self, cx: &mut Context<'_>, wanted: Wanted<'_>) -> Option<LegId> {
        if self.legs.len() + 1 > cx.settings.limits.bridges.saturating_mul(2) {
            cx.core.counters.bridges_full += 1;
            return None;
        }
        let (call_id, tag) = (cx.home_call_id(), cx.token());
        let Wanted { to, from, by, headers, local, task } = wanted;
        let address = address_of(&to);
        let write = |from: &Party| {
            let from = format_smolstr!("{};tag={tag}", from.address);
            let mut draft = Draft::new(Method::Invite, to.clone(), &from, &address, &call_id, 1);
            for (name, value) in &headers {
                draft = draft.header(*name, value);
            }
            draft
                .header(HeaderName::Supported, pass::own_supported(cx.settings))
                .header(HeaderName::Allow, &pass::METHODS.join(", "))
        };
        let asking = write(by).write("SIP/2.0/UDP plan.invalid", Some("<sip:plan.invalid>"));
        let invite = Message::parse(asking, &UNLIMITED).ok()?;
        let draft = write(from);
        let flow = loopback::over(&local);
        let user = user_of(from.uri()).map_or_else(|| SmolStr::new_static("caller"), |user| user.user);
        let described = Described::new(cx.random_u64());
        let id = self.insert(|id| Leg {
            described,
            outgoing: true,
            flow: Some(flow),
            party: Party { address: address.clone(), user: None, outside: false },
            plan: Some(Box::new(Plan { invite, by: by.clone() })),
            task: Some(task),
            ..Leg::new(id, user, flow, call_id.clone(), tag.clone())
        });
        self.desk.dialogs.insert((call_id, tag), id);
        self.invite(cx, id, draft);
        let is_sent = self.legs.get(&id).is_some_and(|leg| leg.invite.is_some());
        is_sent.then_some(id)
    }

    /// What is to be decided about the INVITE of a leg that we have begun.
    pub(crate) fn plan(&self, invite: &Message) -> Option<&Plan> {
        self.leg_of_ours(invite)?.plan.as_deref()
    }

    /// Who the other end of such a leg is, now that this is decided.
    pub(crate) fn planned(&mut self, invite: &Message, decision: &Decision) {
        let Some(id) = self.leg_of_ours(invite).map(|leg| leg.id) else { return };
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.party = Party::called(invite, decision);
        }
    }

    fn leg_of_ours(&self, invite: &Message) -> Option<&Leg> {
        let id = dialtone_dialog::DialogId::of_response(invite).ok()?;
        let leg = self.desk.dialogs.get(&(id.call_id, id.local_tag))?;
        self.legs.get(leg).map(|leg| &**leg)
    }
}
