//! What all calls share: the requests of ours that wait for their responses, which call a message belongs to,
//! the timers, and the credentials.

use std::collections::BTreeMap;

use dialtone_dialog::digest::{Attempt, ClientError, DigestClient, OutgoingRequest, Secret, Side};
use dialtone_dialog::{Dialog, DialogId, Draft, RouteSet};
use dialtone_transaction::ServerId;
use dialtone_wire::auth::Challenge;
use dialtone_wire::headers::NameAddr;
use dialtone_wire::net::{Flow, Transmit};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Limits, Message, Status};
use smol_str::{SmolStr, StrExt as _, ToSmolStr};

use super::deadlines::Wake;
use super::leftover::Leftover;
use super::transfer::Transfers;
use crate::contact_user::ContactUser;
use crate::context::{Context, Failure, SendError, UaRequest};
use crate::deadlines::Deadlines;
use crate::io::{CallHandle, EndReason, Event};
use crate::settings::Settings;

/// What all calls share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) requests: BTreeMap<UaRequest, Sent>,
    pub(super) dialogs: BTreeMap<DialogId, CallHandle>,
    /// INVITEs that have no final response of ours.
    pub(super) servers: BTreeMap<ServerId, CallHandle>,
    pub(super) deadlines: Deadlines<Wake>,
    /// Answers whose call is over, by number.
    pub(super) leftovers: BTreeMap<u64, Leftover>,
    pub(super) next_leftover: u64,
    pub(super) transfers: Transfers,
    digest: DigestClient,
    /// The servers that the registrar wants new calls to pass (RFC 3608).
    pub(super) service_route: RouteSet,
}

/// A request of ours, kept so that it can be sent again with credentials.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) draft: Draft,
    pub(super) purpose: Purpose,
    contact_user: Option<ContactUser>,
    /// Where it goes, whatever its URI says.
    pub(super) flow: Option<Flow>,
    attempt: Attempt,
    credentials: Vec<(HeaderName, SmolStr)>,
    /// Of an INVITE: the last number that was used in early dialogs of it that are forgotten.
    pub(super) early_cseq: u32,
}

/// What a request was sent for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Our registration.
    Register,
    /// [`Command::Options`](crate::io::Command::Options).
    Options {
        /// The owner's name for it.
        token: u64,
    },
    /// The INVITE that begins a call. It outlives the call, to ACK each 2xx that still comes.
    Invite {
        /// The call.
        call: CallHandle,
        /// The ACK of each dialog by its remote tag; `None` where it could not be sent.
        acks: Vec<(SmolStr, Option<Transmit>)>,
    },
    /// An INVITE within a dialog.
    Reinvite {
        /// The call.
        call: CallHandle,
        /// As it was when the INVITE was sent: the call may be over when the 2xx comes.
        dialog: Box<Dialog>,
        /// Set once a 2xx has come.
        ack: Option<Option<Transmit>>,
    },
    /// An OPTIONS within a call: whether the other side knows Replaces.
    Capabilities {
        /// The call.
        call: CallHandle,
    },
    /// A REFER; named by its number.
    Refer {
        /// The transfer.
        transfer: u64,
    },
    /// A NOTIFY that tells how a call goes that a REFER asked for; named by its number.
    Notify {
        /// The transfer.
        referral: u64,
    },
    /// An INFO.
    Info {
        /// The call.
        call: CallHandle,
    },
    /// A PRACK or an UPDATE.
    InDialog {
        /// The call.
        call: CallHandle,
        /// The peer's tag in the dialog.
        tag: SmolStr,
    },
    /// A BYE; `None` for that of a dialog that became no call.
    Bye {
        /// The call.
        call: Option<CallHandle>,
    },
}

/// Why a challenged request was not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRetried {
    /// The credentials were refused.
    WrongPassword,
    /// There are none that fit.
    NoCredentials,
    /// It could not be sent.
    NotSent(SendError),
}

impl NotRetried {
    /// What becomes of the call whose request got this `status`.
    pub(super) const fn end_reason(self, status: Status) -> EndReason {
        match self {
            NotRetried::WrongPassword => EndReason::WrongPassword,
            NotRetried::NoCredentials => EndReason::Refused(status),
            NotRetried::NotSent(error) => end_reason(error),
        }
    }
}

/// What becomes of a call whose request could not be sent.
pub(super) const fn end_reason(error: SendError) -> EndReason {
    match error {
        SendError::Overload => EndReason::Overload,
        SendError::Scheme | SendError::NoListener => EndReason::TransportFailed,
    }
}

impl Sent {
    /// The request as a message, for what has to be read from it.
    pub(super) fn message(&self) -> Option<Message> {
        // The Via says no more than whether the request went over TLS: its true one is the transport's.
        let secure = self.draft.uri().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
        let via = if secure { "SIP/2.0/TLS dialog.invalid" } else { "SIP/2.0/UDP dialog.invalid" };
        Message::parse(self.draft.write(via, None), &Limits::default()).ok()
    }

    /// Adds the credentials of the INVITE to its ACK (RFC 3261 §13.2.2.4, §22.1).
    pub(super) fn add_credentials(&self, ack: Draft) -> Draft {
        self.credentials.iter().fold(ack, |ack, (name, value)| ack.header(*name, value))
    }
}

impl Desk {
    pub(super) fn new() -> Desk {
        Desk {
            requests: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            servers: BTreeMap::new(),
            deadlines: Deadlines::default(),
            leftovers: BTreeMap::new(),
            next_leftover: 0,
            transfers: Transfers::default(),
            digest: DigestClient::abroad(false),
            service_route: RouteSet::default(),
        }
    }

    /// A call goes on at another place, which gets no credentials of the way before.
    pub(super) fn leave_proxies(&mut self, call_id: &str) {
        self.digest.leave_proxies(call_id);
    }

    /// Whether no table holds anything.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.requests.is_empty()
            && self.dialogs.is_empty()
            && self.servers.is_empty()
            && self.leftovers.is_empty()
            && self.transfers.is_at_rest()
            && self.deadlines.next().is_none()
    }

    pub(super) fn add_dialog(&mut self, dialog: &Dialog, call: CallHandle) {
        self.dialogs.insert(dialog.id().clone(), call);
    }

    pub(super) fn forget_dialog(&mut self, dialog: &Dialog) {
        self.dialogs.remove(dialog.id());
    }

    /// Sends a request with the credentials that are known to be asked for.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        draft: Draft,
        contact_user: Option<ContactUser>,
        purpose: Purpose,
    ) -> Result<UaRequest, SendError> {
        self.send_over(cx, draft, contact_user, purpose, None)
    }

    /// The same over a flow, if one is given.
    pub(super) fn send_over(
        &mut self,
        cx: &mut Context<'_>,
        draft: Draft,
        contact_user: Option<ContactUser>,
        purpose: Purpose,
        flow: Option<Flow>,
    ) -> Result<UaRequest, SendError> {
        let (attempt, credentials) = (Attempt::default(), Vec::new());
        self.send_again(cx, Sent { draft, purpose, contact_user, flow, attempt, credentials, early_cseq: 0 })
    }

    /// A request could not be sent over the flow that it was meant for: a phone that closed its connection may still
    /// be where its Contact says. Says whether it is under way again.
    pub(super) fn leave_flow(&mut self, cx: &mut Context<'_>, request: UaRequest, failure: Failure) -> bool {
        let Some(sent) = self.requests.get_mut(&request) else { return false };
        if failure != Failure::Transport || sent.flow.take().is_none() {
            return false;
        }
        let draft = sent.add_credentials(sent.draft.clone());
        cx.send(request, &draft, sent.contact_user.as_ref()).is_ok()
    }

    fn send_again(&mut self, cx: &mut Context<'_>, mut sent: Sent) -> Result<UaRequest, SendError> {
        let body = sent.draft.body_bytes().map_or(&[][..], |(_, body)| body);
        let at_home = sent.flow.is_none() && self.is_home(cx.settings, sent.draft.next_hop());
        let covered = OutgoingRequest {
            method: sent.draft.method().as_str(),
            uri: sent.draft.uri(),
            body,
            call_id: sent.draft.call_id(),
            at_home,
        };
        let credentials = self.digest.authorize(&mut sent.attempt, &covered);
        sent.credentials = credentials
            .into_iter()
            .map(|(side, credentials)| match side {
                Side::UserAgent => (HeaderName::Authorization, credentials.to_smolstr()),
                Side::Proxy => (HeaderName::ProxyAuthorization, credentials.to_smolstr()),
            })
            .collect();
        let request = cx.next_request();
        let draft = sent.add_credentials(sent.draft.clone());
        match sent.flow {
            Some(flow) => cx.send_on(request, &draft, sent.contact_user.as_ref(), flow)?,
            None => cx.send(request, &draft, sent.contact_user.as_ref())?,
        }
        self.requests.insert(request, sent);
        Ok(request)
    }

    /// Sends a request anew with this CSeq number, after its draft was changed.
    pub(super) fn resend(
        &mut self,
        cx: &mut Context<'_>,
        mut sent: Sent,
        cseq: u32,
    ) -> Result<UaRequest, SendError> {
        sent.draft.set_cseq(cseq);
        self.send_again(cx, sent)
    }

    /// Answers a 401 or 407: takes the request out of the table and sends it again with this CSeq number and with
    /// credentials (RFC 3261 §22).
    pub(super) fn retry(
        &mut self,
        cx: &mut Context<'_>,
        mut sent: Sent,
        response: &Message,
        cseq: u32,
    ) -> Result<UaRequest, NotRetried> {
        let challenges = challenges_of(response);
        let account = cx.settings.account.clone();
        // RFC 3261 §22.3: whose realm we are "configured with", by our own domain or by what our registrar asks for.
        if let Some(account) = &account {
            let domain = host_of(&account.aor);
            domain.iter().chain(&account.realms).for_each(|realm| self.digest.know_realm(realm));
        }
        if matches!(sent.purpose, Purpose::Register) {
            let realms = challenges.iter().filter_map(|(_, challenge)| match challenge {
                Challenge::Digest(challenge) => Some(&challenge.realm),
                Challenge::Other { .. } => None,
            });
            realms.for_each(|realm| self.digest.know_realm(realm));
        }
        let is_ours: Vec<&SmolStr> = challenges
            .iter()
            .filter_map(|(_, challenge)| match challenge {
                Challenge::Digest(challenge) => Some(&challenge.realm),
                Challenge::Other { .. } => None,
            })
            .filter(|realm| self.may_answer(cx.settings, &sent, realm))
            .collect();
        let mut secret_of = |realm: &str| {
            let account = account.as_ref().filter(|_| is_ours.iter().any(|ours| *ours == realm))?;
            Some(Secret::Password {
                username: account.auth_user.clone(),
                password: account.password.0.clone(),
            })
        };
        let mut random = || cx.random_u64();
        let outcome =
            self.digest.handle_challenges(&mut sent.attempt, &challenges, &mut secret_of, &mut random);
        match outcome {
            Ok(()) => {
                sent.draft.set_cseq(cseq);
                self.send_again(cx, sent).map_err(NotRetried::NotSent)
            }
            Err(ClientError::WrongPassword { .. }) => Err(NotRetried::WrongPassword),
            Err(ClientError::NoCredentials { realm }) => {
                if account.is_some() {
                    cx.event(Event::PasswordKept { realm });
                }
                Err(NotRetried::NoCredentials)
            }
            Err(ClientError::NotSupported | ClientError::TooManyRealms) => Err(NotRetried::NoCredentials),
        }
    }

    /// Whether our password is for who asks. RFC 3261 §22.3 has a user agent answer for the realms it has credentials for:
    /// those of the account's settings whoever names them, and its domain's and its registrar's where it is our own server
    /// that was asked. A stranger could try passwords on what he gets (RFC 7616 §5.11), and knows our domain from our From.
    fn may_answer(&self, settings: &Settings, sent: &Sent, realm: &str) -> bool {
        let Some(account) = &settings.account else { return false };
        let is_configured = account.realms.iter().any(|known| known.eq_ignore_ascii_case(realm));
        let draft = &sent.draft;
        // Within a call its proxy may go by another name than in the settings.
        let is_home = || {
            (sent.flow.is_none() && self.is_home(settings, draft.next_hop()))
                || self.digest.was_asked(draft.call_id(), realm)
        };
        is_configured || (self.digest.knows_realm(realm) && is_home())
    }

    /// Whether that is our own server: an outbound proxy of the account, one that its registrar put before us (RFC 3608),
    /// or without a proxy the one of its domain.
    fn is_home(&self, settings: &Settings, next_hop: &UriBuf) -> bool {
        let Some(account) = &settings.account else { return false };
        let Some(host) = host_of(next_hop) else { return false };
        let proxies = account.proxy.iter().chain(&account.backup_proxy);
        let server = account.proxy.is_none().then_some(&account.aor);
        proxies.chain(server).any(|known| host_of(known).as_ref() == Some(&host))
            || self.service_route.values().iter().any(|route| {
                let route = NameAddr::parse(route.as_bytes()).ok();
                let known = route.and_then(|route| UriBuf::parse(route.uri_text).ok());
                known.as_ref().and_then(host_of).as_ref() == Some(&host)
            })
    }

    /// Gives up a request whatever its transaction does: no response to it comes up any more.
    pub(super) fn abandon(&mut self, cx: &mut Context<'_>, request: UaRequest) {
        self.deadlines.stop(Wake::InviteOver(request));
        self.requests.remove(&request);
        cx.abandon(request);
    }

    /// Lets an INVITE live until no 2xx to it can come any more, and no longer.
    pub(super) fn limit_invite(&mut self, cx: &Context<'_>, request: UaRequest) {
        if self.requests.contains_key(&request) && !self.deadlines.runs(Wake::InviteOver(request)) {
            let over = cx.now + cx.settings.timers.transaction_timeout();
            self.deadlines.start(Wake::InviteOver(request), over);
        }
    }
}

fn challenges_of(response: &Message) -> Vec<(Side, Challenge)> {
    let sides =
        [(Side::UserAgent, HeaderName::WwwAuthenticate), (Side::Proxy, HeaderName::ProxyAuthenticate)];
    sides
        .into_iter()
        .flat_map(|(side, name)| response.values(name).map(move |value| (side, value)))
        .filter_map(|(side, value)| Some((side, Challenge::parse(value).ok()?)))
        .collect()
}

/// The host of a URI, for comparison.
fn host_of(uri: &UriBuf) -> Option<SmolStr> {
    Some(uri.uri().as_sip()?.host.to_smolstr().to_lowercase_smolstr())
}

/// The user part of the Contact of a phone.
pub(super) fn own_user(settings: &Settings) -> SmolStr {
    let account = settings.account.as_ref();
    let user = account.and_then(|account| account.aor.uri().as_sip().and_then(|sip| sip.user_unescaped()));
    user.unwrap_or_else(|| SmolStr::new_static("anonymous"))
}
