//! Dialogs (RFC 3261 §12): what two user agents share for the length of a call or a subscription.

use dialtone_wire::headers::NameAddr;
use dialtone_wire::net::Transport;
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Fault, HeaderError, HeaderName, Message, Method, Status};
use smol_str::{SmolStr, format_smolstr};
use thiserror::Error;

use crate::draft::Draft;
use crate::route_set::{RouteSet, is_secure};
use crate::text::one_line;

/// The first CSeq number that a UAS sends within a dialog (RFC 3261 §8.1.1.5 leaves the choice).
const FIRST_CSEQ: u32 = 1;
/// "MUST be less than 2**31" (RFC 3261 §8.1.1.5).
const CSEQ_MAX: u32 = (1 << 31) - 1;

/// What tells dialogs apart at one user agent (RFC 3261 §12). A tag that a peer of RFC 2543 did not send is
/// empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogId {
    /// The Call-ID.
    pub call_id: SmolStr,
    /// Our tag.
    pub local_tag: SmolStr,
    /// The peer's tag.
    pub remote_tag: SmolStr,
}

impl DialogId {
    /// The dialog that a received request (or a response of ours) names: our tag is that of To. With an empty
    /// local tag the request is outside any dialog.
    ///
    /// # Errors
    /// When From, To or Call-ID is missing, repeated or malformed.
    pub fn of_request(request: &Message) -> Result<DialogId, HeaderError> {
        let [from, to] = tags(request)?;
        Ok(DialogId { call_id: SmolStr::new(request.call_id()?), local_tag: to, remote_tag: from })
    }

    /// The dialog that a received response (or a request of ours) names: our tag is that of From.
    ///
    /// # Errors
    /// As [`DialogId::of_request`].
    pub fn of_response(response: &Message) -> Result<DialogId, HeaderError> {
        let [from, to] = tags(response)?;
        Ok(DialogId { call_id: SmolStr::new(response.call_id()?), local_tag: from, remote_tag: to })
    }
}

/// How far a dialog has come. Its end is the owner's: the dialog is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made by a provisional response.
    Early,
    /// A 2xx has been sent or received.
    Confirmed,
}

/// Why no dialog comes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialogError {
    /// A header that the dialog needs is missing or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The message makes or confirms no dialog: RFC 3261 §12.1 wants a 2xx, or a 101–199 with a To tag.
    #[error("a {0:?} makes no dialog")]
    Status(Status),
    /// A request stands where a response belongs, or the other way round.
    #[error("the dialog needs a request and its response")]
    Kind,
}

/// Why a request within a dialog is refused before it is looked at (RFC 3261 §12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OutOfOrder {
    /// Its CSeq number is lower than one that came before.
    #[error("CSeq {came} after {last}")]
    Lower {
        /// The number of the request.
        came: u32,
        /// The highest number so far.
        last: u32,
    },
    /// Its CSeq number was used already by another request: retransmissions do not come so far.
    #[error("CSeq {came} came twice")]
    Repeated {
        /// The number of both requests.
        came: u32,
    },
    /// Its CSeq can't be read.
    #[error(transparent)]
    CSeq(#[from] HeaderError),
}

impl OutOfOrder {
    /// The response that the request gets: 500, or 400 where CSeq is malformed.
    pub const fn status(&self) -> Status {
        match self {
            OutOfOrder::Lower { .. } | OutOfOrder::Repeated { .. } => Status::of(500),
            OutOfOrder::CSeq(_) => Status::of(400),
        }
    }
}

/// One dialog at one of its user agents.
#[derive(Clone, Debug)]
pub struct Dialog {
    id: DialogId,
    state: State,
    local: SmolStr,
    remote: SmolStr,
    local_seq: Option<u32>,
    remote_seq: Option<u32>,
    route_set: RouteSet,
    remote_target: UriBuf,
    secure: bool,
}

impl Dialog {
    /// Makes the dialog of the UAC from its request and a response to it (RFC 3261 §12.1.2). A response that
    /// another branch of a fork has sent makes another dialog of the same request.
    ///
    /// A 2xx without To tag comes from a peer of RFC 2543: its tag is empty. A provisional response without
    /// Contact leaves the Request-URI as remote target until the 2xx.
    ///
    /// # Errors
    /// When the response makes no dialog, or Contact (of a 2xx), Record-Route or a mandatory header can't be
    /// used.
    pub fn uac(request: &Message, response: &Message) -> Result<Dialog, DialogError> {
        let (true, Some(status)) = (request.is_request(), response.status()) else {
            return Err(DialogError::Kind);
        };
        let sent = DialogId::of_response(request)?;
        let [_, remote_tag] = tags(response)?;
        let state = match status.class() {
            2 => State::Confirmed,
            1 if status.code() > 100 && !remote_tag.is_empty() => State::Early,
            _ => return Err(DialogError::Status(status)),
        };
        let remote_target = match target(response)? {
            Some(target) => target,
            None if state == State::Early => request_uri(request)?,
            None => return Err(HeaderName::Contact.fault(Fault::Missing).into()),
        };
        // The URI is that of the request; only the tag is new. A To that had a tag already is not ours to mend.
        let to = if sent.remote_tag.is_empty() { request } else { response };
        Ok(Dialog {
            state,
            local: address(request, HeaderName::From, &sent.local_tag)?,
            remote: address(to, HeaderName::To, &remote_tag)?,
            local_seq: Some(request.cseq()?.number),
            remote_seq: None,
            route_set: RouteSet::of(response, HeaderName::RecordRoute)?.reversed(),
            remote_target,
            secure: came_secure(request),
            id: DialogId { remote_tag, ..sent },
        })
    }

    /// Makes the dialog of the UAS from a request, to which it answers with `local_tag` in To (RFC 3261
    /// §12.1.1): early with a provisional response, confirmed with a 2xx. Where To has a tag already, that is
    /// the local tag: the request goes on with a dialog from before a restart.
    ///
    /// # Errors
    /// When Contact, Record-Route or a mandatory header is missing or can't be used (400).
    pub fn uas(request: &Message, local_tag: &str, state: State) -> Result<Dialog, DialogError> {
        if !request.is_request() {
            return Err(DialogError::Kind);
        }
        let mut id = DialogId::of_request(request)?;
        if id.local_tag.is_empty() {
            id.local_tag = SmolStr::new(local_tag);
        }
        let remote_target = target(request)?.ok_or(HeaderName::Contact.fault(Fault::Missing))?;
        Ok(Dialog {
            state,
            local: address(request, HeaderName::To, &id.local_tag)?,
            remote: address(request, HeaderName::From, &id.remote_tag)?,
            local_seq: None,
            remote_seq: Some(request.cseq()?.number),
            route_set: RouteSet::of(request, HeaderName::RecordRoute)?,
            remote_target,
            secure: came_secure(request),
            id,
        })
    }

    /// Confirms an early dialog of the UAC with the 2xx that came for it: the route set is read again, since a
    /// peer of RFC 2543 has Record-Route in the 2xx only (RFC 3261 §13.2.2.4); the remote target is that of the
    /// Contact, where there is one. In a confirmed dialog a repeated 2xx changes nothing.
    ///
    /// # Errors
    /// When the response is no 2xx, or Contact or Record-Route is malformed; the dialog is then as before.
    pub fn confirm(&mut self, response: &Message) -> Result<(), DialogError> {
        let status = response.status().ok_or(DialogError::Kind)?;
        if !status.is_success() {
            return Err(DialogError::Status(status));
        }
        if self.state == State::Confirmed {
            return Ok(());
        }
        let route_set = RouteSet::of(response, HeaderName::RecordRoute)?.reversed();
        if let Some(target) = target(response)? {
            self.remote_target = target;
        }
        self.route_set = route_set;
        self.state = State::Confirmed;
        Ok(())
    }

    /// Confirms a dialog of the UAS, which has sent its 2xx.
    pub const fn accept(&mut self) {
        self.state = State::Confirmed;
    }

    /// Begins a request within the dialog, with the next CSeq number (RFC 3261 §12.2.1.1). CANCEL and ACK get
    /// the number of the last request; for the ACK of a 2xx there is [`Dialog::ack`].
    pub fn request(&mut self, method: Method) -> Draft {
        let cseq = match method {
            Method::Ack | Method::Cancel => self.local_seq.unwrap_or(FIRST_CSEQ),
            _ => self.next_cseq(),
        };
        self.draft(method, cseq)
    }

    /// Begins the ACK for a 2xx (RFC 3261 §13.2.2.4): it has the CSeq number of its INVITE. The caller copies
    /// the credentials of the INVITE into it.
    pub fn ack(&self, invite_cseq: u32) -> Draft {
        self.draft(Method::Ack, invite_cseq)
    }

    /// Takes the next CSeq number, for a request that is sent again with credentials. The numbers end at
    /// 2^31 − 1 (RFC 3261 §8.1.1.5), and the last one is then repeated.
    pub fn next_cseq(&mut self) -> u32 {
        let next = self.local_seq.map_or(FIRST_CSEQ, |last| last.saturating_add(1).min(CSEQ_MAX));
        self.local_seq = Some(next);
        next
    }

    /// The number of the last request that we have sent in it, that of its INVITE counted; 0 where there was none.
    pub fn last_cseq(&self) -> u32 {
        self.local_seq.unwrap_or(0)
    }

    /// Takes note that requests up to this number were sent in it, for a dialog that was forgotten and is made again of
    /// another response.
    pub fn go_on_after(&mut self, cseq: u32) {
        self.local_seq = self.local_seq.max(Some(cseq).filter(|cseq| *cseq > 0));
    }

    fn draft(&self, method: Method, cseq: u32) -> Draft {
        Draft::new(method, self.remote_target.clone(), &self.local, &self.remote, &self.id.call_id, cseq)
            .with_routes(&self.route_set)
    }

    /// Checks the order of a request that came within the dialog, and takes note of its CSeq number (RFC 3261
    /// §12.2.2). A gap is no error: a proxy may have challenged what was between. ACK and CANCEL have the
    /// number of another request, and pass.
    ///
    /// # Errors
    /// [`OutOfOrder`] names the response; the dialog is then as before.
    pub fn check_request(&mut self, request: &Message) -> Result<(), OutOfOrder> {
        let cseq = request.cseq()?;
        if matches!(cseq.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let came = cseq.number;
        match self.remote_seq {
            Some(last) if came < last => Err(OutOfOrder::Lower { came, last }),
            Some(last) if came == last => Err(OutOfOrder::Repeated { came }),
            Some(_) | None => {
                self.remote_seq = Some(came);
                Ok(())
            }
        }
    }

    /// Takes the Contact of a target refresh as the remote target: of a request that the UAS accepts, at the
    /// time it sends its 2xx or reliable provisional response (RFC 3261 §12.2.2, RFC 6141 §4.6), or of such a
    /// response that the UAC received (§12.2.1.2, RFC 6141 §4.7). Other messages change nothing, nor does one
    /// without Contact. Says whether the remote target is another one now.
    ///
    /// # Errors
    /// When Contact or CSeq is malformed; the remote target stays.
    pub fn refresh_target(&mut self, message: &Message) -> Result<bool, HeaderError> {
        let fits = message.status().is_none_or(|status| {
            status.is_success() || (status.is_provisional() && message.has(HeaderName::RSeq))
        });
        if !fits || !is_target_refresh(&message.cseq()?.method) {
            return Ok(false);
        }
        match target(message)? {
            Some(target) if target != self.remote_target => {
                self.remote_target = target;
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    /// The Call-ID and both tags.
    pub const fn id(&self) -> &DialogId {
        &self.id
    }

    /// Whether the dialog is early or confirmed.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Our address as it stands in From of our requests, with display name and tag.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The peer's address as it stands in To of our requests, with display name and tag.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// The CSeq number of our last request; `None` before the first.
    pub const fn local_seq(&self) -> Option<u32> {
        self.local_seq
    }

    /// The highest CSeq number of the peer; `None` before its first request.
    pub const fn remote_seq(&self) -> Option<u32> {
        self.remote_seq
    }

    /// The proxies on the way to the peer.
    pub const fn route_set(&self) -> &RouteSet {
        &self.route_set
    }

    /// The URI of the peer's Contact.
    pub const fn remote_target(&self) -> &UriBuf {
        &self.remote_target
    }

    /// Whether the dialog began with a SIPS URI over TLS: our Contact is then a SIPS URI too (RFC 3261
    /// §12.2.1.1).
    pub const fn is_secure(&self) -> bool {
        self.secure
    }
}

/// Whether a method refreshes the remote target: INVITE (RFC 3261 §12.2), UPDATE (RFC 3311 §5.1), SUBSCRIBE and
/// NOTIFY (RFC 6665 §3.1, §3.2).
const fn is_target_refresh(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update | Method::Subscribe | Method::Notify)
}

/// The tags of From and To, empty where there is none.
fn tags(message: &Message) -> Result<[SmolStr; 2], HeaderError> {
    Ok([tag(HeaderName::From, &message.from()?)?, tag(HeaderName::To, &message.to()?)?])
}

/// A tag is a token (RFC 3261 §25.1). Peers put other characters into it; refused is only what would not come
/// back the same when it is written: those that end a parameter, and a `tag` without a value.
fn tag(name: HeaderName, address: &NameAddr<'_>) -> Result<SmolStr, HeaderError> {
    let breaks = |byte: u8| byte <= b' ' || matches!(byte, b';' | b',' | b'"' | b'<' | b'>' | b'\\' | 0x7f);
    match address.tag() {
        Some(tag) if !tag.bytes().any(breaks) => Ok(SmolStr::new(tag)),
        None if !address.params.has("tag") => Ok(SmolStr::default()),
        Some(_) | None => Err(name.fault(Fault::Expected("a token as tag"))),
    }
}

/// A From or To value as we write it, with the tag that it has or now gets.
fn address(message: &Message, name: HeaderName, tag: &str) -> Result<SmolStr, HeaderError> {
    let value = message.value(name).ok_or(name.fault(Fault::Missing))?;
    let has_tag = NameAddr::parse(value).map_err(|fault| name.fault(fault))?.tag().is_some();
    let text = one_line(std::str::from_utf8(value).map_err(|_| name.fault(Fault::Utf8))?);
    Ok(if has_tag || tag.is_empty() { text } else { format_smolstr!("{text};tag={tag}") })
}

/// The URI of the first Contact: a SIP or SIPS URI (RFC 3261 §12.1.1).
fn target(message: &Message) -> Result<Option<UriBuf>, HeaderError> {
    let Some(contact) = message.contacts().next().transpose()? else { return Ok(None) };
    let fault = |fault| HeaderName::Contact.fault(fault);
    let address = contact.address().filter(|address| address.uri.as_sip().is_some());
    let address = address.ok_or(fault(Fault::Expected("a SIP or SIPS URI")))?;
    UriBuf::parse(address.uri_text).map(Some).map_err(|error| fault(Fault::Uri(error)))
}

/// The Request-URI of a request of ours, in the place of a Contact that the peer left out.
fn request_uri(request: &Message) -> Result<UriBuf, HeaderError> {
    request.uri_buf().map_err(|error| HeaderName::Contact.fault(Fault::Uri(error)))
}

/// RFC 3261 §12.1.1 and §12.1.2: over TLS, and with a SIPS URI in the Request-URI. The topmost Via names the
/// transport; a peer that lies in it only makes us stricter.
fn came_secure(request: &Message) -> bool {
    let over_tls = request.via().is_ok_and(|via| {
        via.transport.is_some_and(|transport| matches!(transport, Transport::Tls | Transport::Wss))
    });
    over_tls && request.uri_buf().is_ok_and(|uri| is_secure(&uri))
}
