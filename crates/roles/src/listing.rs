//! What an engine holds, page by page, for whoever watches.
//!
//! Reading changes nothing, so that it is no input: like the counters it is asked of the [`Engine`](crate::Engine)
//! between two turns. A page looks at a bounded number of places, however much there is; what comes or goes between two
//! pages may be missed.

use dialtone_dialog::Dialog;
use dialtone_wire::Message;
use dialtone_wire::headers::NameAddr;
use dialtone_wire::time::Instant;
use smol_str::SmolStr;

use crate::binding::Binding;
use crate::io::HopState;
pub use crate::keep_alive::Reach;
use crate::services::Choices;

/// Part of what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The entries; fewer than there is room for when places are empty.
    pub entries: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<C>,
}

/// A binding and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBinding {
    /// The canonical address-of-record.
    pub aor: SmolStr,
    /// One of its bindings.
    pub binding: Binding,
    /// Whether its phone answers; `None` where that is not known.
    pub reach: Option<Reach>,
}

/// What a user chose, and whose choice it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedServices {
    /// The canonical address-of-record.
    pub aor: SmolStr,
    /// What that user chose by star code or command.
    pub choices: Choices,
}

/// Whose call it is, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallState {
    /// The proxy forwards its INVITE: no final response has gone back.
    Forwarding,
    /// Our user agent has sent an INVITE.
    Calling,
    /// Our user agent rings.
    Ringing,
    /// It was answered, by our user agent or by those between whom the proxy has forwarded it.
    Talking,
    /// Our user agent ends it.
    Ending,
}

impl CallState {
    /// The word for it in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            CallState::Forwarding => "forwarding",
            CallState::Calling => "calling",
            CallState::Ringing => "ringing",
            CallState::Talking => "talking",
            CallState::Ending => "ending",
        }
    }
}

/// A call that an engine knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCall {
    /// How far it is.
    pub state: CallState,
    /// Its Call-ID; `None` for a call of our user agent whose dialog is not there yet.
    pub call_id: Option<SmolStr>,
    /// Who calls: a URI without its parameters. `None` when it is not known any more.
    pub from: Option<SmolStr>,
    /// Who is called, the same way.
    pub to: Option<SmolStr>,
    /// The display name of who calls, without quotes and escapes; control characters are replaced.
    pub from_name: Option<SmolStr>,
    /// The display name of who is called, the same way.
    pub to_name: Option<SmolStr>,
}

/// A trunk as one shard sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTrunk {
    /// Its name.
    pub name: SmolStr,
    /// Its addresses, and whether they answer.
    pub hops: Vec<(SmolStr, HopState)>,
    /// Whether we are registered there; `None` where that is not known or not wanted.
    pub registered: Option<bool>,
    /// Calls of this shard that run over it, in both directions.
    pub calls: usize,
    /// As many may.
    pub calls_max: usize,
}

/// Where a page of calls begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallCursor {
    /// At this slot of the user agent.
    Own(u32),
    /// After the bridge with this number.
    Bridged(u64),
    /// After the forwarded INVITE with this Timer C and number.
    Forwarded(Instant, u64),
    /// After the answered call with this number.
    Talking(u64),
}

impl CallCursor {
    /// Where the first page begins.
    pub const START: CallCursor = CallCursor::Own(0);
}

/// Bytes of a URI or Call-ID that are shown.
const SHOWN_BYTES: usize = 256;
/// Bytes of a display name that are kept at most.
pub(crate) const NAME_MAX: usize = 128;

impl ListedCall {
    /// A call whose INVITE is at hand.
    pub(crate) fn of_invite(state: CallState, invite: &Message) -> ListedCall {
        let (from, to) = (invite.from().ok(), invite.to().ok());
        ListedCall {
            state,
            call_id: invite.call_id().ok().and_then(shown),
            from: from.as_ref().and_then(uri),
            to: to.as_ref().and_then(uri),
            from_name: from.as_ref().and_then(name),
            to_name: to.as_ref().and_then(name),
        }
    }

    /// A call whose dialog is there.
    pub(crate) fn of_dialog(state: CallState, outgoing: bool, dialog: &Dialog) -> ListedCall {
        let (ours, theirs) = (address(dialog.local()), address(dialog.remote()));
        let ((from, from_name), (to, to_name)) = if outgoing { (ours, theirs) } else { (theirs, ours) };
        ListedCall { state, call_id: shown(&dialog.id().call_id), from, to, from_name, to_name }
    }

    /// A call of which these texts are kept.
    pub(crate) fn of_texts(
        state: CallState,
        call_id: &str,
        from: &str,
        to: &str,
        names: &[Option<SmolStr>; 2],
    ) -> ListedCall {
        let uri = |text: &str| shown(text.split([';', '?']).next()?);
        let [from_name, to_name] = names.clone();
        ListedCall { state, call_id: shown(call_id), from: uri(from), to: uri(to), from_name, to_name }
    }

    /// A call between these addresses.
    pub(crate) fn of_parties(state: CallState, call_id: &str, parties: [&str; 2]) -> ListedCall {
        let [(from, from_name), (to, to_name)] = parties.map(address);
        ListedCall { state, call_id: shown(call_id), from, to, from_name, to_name }
    }

    /// A call of which no more is known.
    pub(crate) const fn without_dialog(state: CallState) -> ListedCall {
        ListedCall { state, call_id: None, from: None, to: None, from_name: None, to_name: None }
    }
}

/// The URI without parameters and headers.
fn uri(address: &NameAddr<'_>) -> Option<SmolStr> {
    shown(address.uri_text.split([';', '?']).next()?)
}

/// The display name without quotes and escapes, cut at a character; `None` where there is none to be seen.
pub(crate) fn name(address: &NameAddr<'_>) -> Option<SmolStr> {
    let name = address.display_name()?;
    let name = name.trim();
    let cut = &name[..name.floor_char_boundary(NAME_MAX)];
    (!cut.is_empty()).then(|| printable(cut))
}

/// The URI and the name of an address, where they can be read.
fn address(text: &str) -> (Option<SmolStr>, Option<SmolStr>) {
    match NameAddr::parse(text.as_bytes()) {
        Ok(address) => (uri(&address), name(&address)),
        Err(_) => (None, None),
    }
}

/// The text with a replacement for each character that could do something to a terminal: controls, and those that
/// change the direction of what follows them.
pub(crate) fn printable(text: &str) -> SmolStr {
    let acts =
        |one: char| one.is_control() || matches!(one, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match text.contains(acts) {
        true => text.chars().map(|one| if acts(one) { char::REPLACEMENT_CHARACTER } else { one }).collect(),
        false => SmolStr::new(text),
    }
}

/// What is not too long to be shown.
fn shown(text: &str) -> Option<SmolStr> {
    (text.len() <= SHOWN_BYTES).then(|| SmolStr::new(text))
}
