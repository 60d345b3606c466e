//! INFO within a call: Info Packages (RFC 6086), and digits in the two bodies that were in use before them.

use bytes::Bytes;
use dialtone_wire::bodies::{self, DTMF, DTMF_RELAY};
use dialtone_wire::headers::ContentType;
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, format_smolstr};

use super::Ua;
use super::call::Step;
use super::desk::Purpose;
use super::refusal::{Refusal, check_size};
use super::transfer::Incoming;
use crate::context::{Context, UaRequest};
use crate::io::{CallHandle, DigitForm, EndReason, Event};
use crate::proxy::FEATURE_TAGS;
use crate::settings::Settings;

/// The packages that one takes (RFC 6086 §5.2.3).
pub(super) const RECV_INFO: &str = "Recv-Info";
/// The package of an INFO (RFC 6086 §7.2).
const INFO_PACKAGE: &str = "Info-Package";
/// Packages of a peer that are remembered.
const PACKAGES_MAX: usize = 32;
/// Bytes of feature tags of a peer that are remembered.
const FEATURES_MAX: usize = 256;
/// The digit's bodies, for Accept.
const DIGITS: &str = "application/dtmf-relay, application/dtmf";

/// What the other side has said of itself: the Info Packages that it takes, none as long as it has not named any, and
/// what a transfer depends on.
#[derive(Debug, Default)]
pub(super) struct Packages {
    names: Vec<SmolStr>,
    pub(super) knows_target_dialog: bool,
    /// RFC 3891 §6.2.
    pub(super) knows_replaces: bool,
    /// The feature tags of its Contact as parameters, `;audio;video` (RFC 3840 §9).
    pub(super) features: SmolStr,
}

impl Packages {
    /// Takes them from an INVITE that we accept, or from the 2xx to one of ours (RFC 6086 §5.2.2): "the set is valid
    /// until the UA sends a new Recv-Info header field".
    pub(super) fn learn(&mut self, message: &Message) {
        if message.has(HeaderName::Supported) {
            // RFC 4538 §3.1.
            self.knows_target_dialog = message.has_token(HeaderName::Supported, "tdialog");
            self.knows_replaces = message.has_token(HeaderName::Supported, "replaces");
        }
        if let Some(features) = features_of(message) {
            self.features = features;
        }
        if message.value_by_text(RECV_INFO).is_none() {
            return;
        }
        let lines =
            message.header_lines().filter(|line| line.name_text.eq_ignore_ascii_case(RECV_INFO.as_bytes()));
        let names = lines.flat_map(|line| line.value.split(|byte| *byte == b',')).filter_map(package_name);
        self.names = names.take(PACKAGES_MAX).collect();
    }

    fn has(&self, package: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(package))
    }
}

/// The feature tags of a Contact as parameters, with their values as they came; `None` where there is no Contact.
fn features_of(message: &Message) -> Option<SmolStr> {
    let contact = message.contacts().next()?.ok()?;
    let mut features = String::new();
    for piece in contact.address()?.params.pieces().filter(|piece| is_feature(piece)) {
        if features.len() + piece.len() >= FEATURES_MAX {
            break;
        }
        features.push(';');
        features.push_str(piece);
    }
    Some(SmolStr::new(features))
}

/// RFC 3840 §9: a base tag, or one of another tree, which has a plus sign; `+sip.instance` names the device (RFC 5626).
fn is_feature(piece: &str) -> bool {
    let name = piece.split('=').next().unwrap_or_default().trim();
    let is_other = name.starts_with('+') && !name.eq_ignore_ascii_case("+sip.instance");
    is_other || FEATURE_TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(name))
}

/// The name of a package without its parameters; `None` where there is none.
fn package_name(value: &[u8]) -> Option<SmolStr> {
    let name = value.split(|byte| *byte == b';').next()?.trim_ascii();
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).map(SmolStr::new)
}

/// The value of Recv-Info: empty where we take no package, which says that we know of packages.
pub(super) fn packages(settings: &Settings) -> String {
    settings.info_packages.join(", ")
}

impl Ua {
    /// An INFO in a call.
    pub(super) fn handle_info(&mut self, cx: &mut Context<'_>, incoming: Incoming<'_>, call: CallHandle) {
        let request = incoming.request;
        if let Err(refusal) = check_size(cx.settings, request) {
            return incoming.refuse(cx, &refusal);
        }
        let event = match request.value_by_text(INFO_PACKAGE) {
            Some(package) => of_package(cx.settings, request, package, call).map(Some),
            // RFC 6086 §4.2.2 as RFC 2976 §2.2 had it: "an INFO request … with no body" gets 200.
            None if request.body().is_empty() => Ok(None),
            None => of_digit(request, call).map(Some),
        };
        match event {
            Ok(event) => {
                incoming.accept(cx, |_| {});
                event.into_iter().for_each(|event| cx.event(event));
            }
            Err(refusal) => incoming.refuse(cx, &refusal),
        }
    }

    /// Sends an INFO of a package that the other side takes, or without package.
    pub(super) fn send_info(
        &mut self,
        cx: &mut Context<'_>,
        handle: CallHandle,
        package: Option<SmolStr>,
        content_type: &str,
        body: Bytes,
    ) {
        if let Err(status) = self.try_info(cx, handle, package, content_type, body) {
            cx.event(Event::InfoAnswered { call: handle, status });
        }
    }

    fn try_info(
        &mut self,
        cx: &mut Context<'_>,
        handle: CallHandle,
        package: Option<SmolStr>,
        content_type: &str,
        body: Bytes,
    ) -> Result<(), Option<Status>> {
        let waiting = self.desk.requests.values();
        let waiting = waiting.filter(|sent| matches!(sent.purpose, Purpose::Info { .. })).count();
        let call = self.calls.get_mut(handle).ok_or(None)?;
        // RFC 6086 §4.2.1.
        if package.as_ref().is_some_and(|package| !call.packages.has(package)) {
            return Err(Some(Status::of(469)));
        }
        let flow = call.flow;
        let talk = call.talk_mut().filter(|talk| !talk.hung_up).ok_or(None)?;
        if waiting >= cx.settings.limits.calls {
            return Err(None);
        }
        let mut draft = talk.dialog.request(Method::Info).header(HeaderName::UserAgent, &cx.settings.product);
        if let Some(package) = &package {
            draft = draft.line(INFO_PACKAGE, package).header(HeaderName::ContentDisposition, "Info-Package");
        }
        let purpose = Purpose::Info { call: handle };
        let draft = draft.body(content_type, body);
        self.desk.send_over(cx, draft, None, purpose, flow).map(|_| ()).map_err(|_| None)
    }

    /// Sends a digit.
    pub(super) fn send_digit(
        &mut self,
        cx: &mut Context<'_>,
        call: CallHandle,
        digit: char,
        duration_ms: u32,
        form: DigitForm,
    ) {
        let digit = digit.to_ascii_uppercase();
        if !bodies::is_telephone_digit(digit) {
            return cx.event(Event::InfoAnswered { call, status: None });
        }
        let (content_type, body) = match form {
            DigitForm::Relay => (DTMF_RELAY, bodies::write_dtmf_relay(digit, duration_ms)),
            DigitForm::Plain => (DTMF, format_smolstr!("{digit}")),
        };
        self.send_info(cx, call, None, content_type, Bytes::copy_from_slice(body.as_bytes()));
    }

    /// The answer to an INFO of ours; `None` when nobody answered.
    pub(super) fn handle_info_response(
        &mut self,
        cx: &mut Context<'_>,
        request: UaRequest,
        handle: CallHandle,
        response: Option<&Message>,
    ) {
        let status = response.and_then(Message::status);
        if status.is_some_and(Status::is_provisional) {
            return;
        }
        let Some(sent) = self.desk.requests.remove(&request) else { return };
        if let Some(response) = response.filter(|_| status.is_some_and(Status::is_challenge))
            && let Some(talk) = self.calls.get_mut(handle).and_then(super::call::Call::talk_mut)
        {
            let cseq = talk.dialog.next_cseq();
            if self.desk.retry(cx, sent, response, cseq).is_ok() {
                return;
            }
        }
        cx.event(Event::InfoAnswered { call: handle, status });
        if status.is_some_and(|status| status.code() == 481) {
            // RFC 5057 §5.1: the peer does not know the dialog any more. All else concerns the INFO alone.
            self.with_call(cx, handle, |call, desk, cx| match call.talk_mut() {
                Some(_) => call.say_bye_now(desk, cx, EndReason::DialogLost),
                None => Step::Stay,
            });
        }
    }
}

/// RFC 6086 §4.2.2: 469 with our packages where it is not one of them.
fn of_package(
    settings: &Settings,
    request: &Message,
    package: &[u8],
    call: CallHandle,
) -> Result<Event, Refusal> {
    let package = package_name(package).ok_or(Refusal::new(400))?;
    let own = settings.info_packages.iter().find(|own| own.eq_ignore_ascii_case(&package));
    let Some(own) = own else {
        return Err(Refusal::new(469).line(RECV_INFO, packages(settings)));
    };
    let content_type =
        request.value(HeaderName::ContentType).and_then(|value| std::str::from_utf8(value).ok());
    Ok(Event::InfoReceived {
        call,
        package: own.clone(),
        content_type: content_type.map(SmolStr::new).unwrap_or_default(),
        body: Bytes::copy_from_slice(request.body()),
    })
}

/// A digit, or 415 with what is understood; 400 where the body has none.
fn of_digit(request: &Message, call: CallHandle) -> Result<Event, Refusal> {
    let other = || Refusal::new(415).with(HeaderName::Accept, DIGITS);
    let Some(Ok(kind)) = request.header::<ContentType<'_>>() else { return Err(other()) };
    let read = if kind.is("application", "dtmf-relay") {
        bodies::dtmf_relay(request.body())
    } else if kind.is("application", "dtmf") {
        bodies::dtmf(request.body()).map(|digit| (digit, None))
    } else {
        return Err(other());
    };
    let (digit, duration_ms) = read.ok_or(Refusal::new(400))?;
    Ok(Event::DigitReceived { call, digit, duration_ms })
}
