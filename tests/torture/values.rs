//! Short words for what the tables assert about an accepted message.

use dialtone_wire::headers::NameAddr;
use dialtone_wire::sdp::{self, Session};
use dialtone_wire::uri::{SipUri, Uri};
use dialtone_wire::{HeaderName, Message};

pub(crate) fn request_uri(message: &Message) -> SipUri<'_> {
    *message.uri().expect("a Request-URI").as_sip().expect("a SIP URI")
}

pub(crate) fn from(message: &Message) -> NameAddr<'_> {
    message.from().expect("a From")
}

pub(crate) fn to(message: &Message) -> NameAddr<'_> {
    message.to().expect("a To")
}

pub(crate) fn sip<'a>(address: &NameAddr<'a>) -> SipUri<'a> {
    *address.uri.as_sip().expect("a SIP URI")
}

pub(crate) fn user(address: &NameAddr<'_>) -> String {
    sip(address).user_unescaped().expect("a user part").to_string()
}

pub(crate) fn contacts(message: &Message) -> Vec<NameAddr<'_>> {
    message.addresses(HeaderName::Contact).map(|contact| contact.expect("a legal Contact")).collect()
}

pub(crate) fn other_scheme(uri: Uri<'_>) -> &str {
    match uri {
        Uri::Other { scheme, .. } => scheme,
        _ => panic!("a scheme that is not known was expected"),
    }
}

pub(crate) fn value(message: &Message, name: HeaderName) -> &str {
    std::str::from_utf8(message.value(name).expect("the header stands")).expect("UTF-8")
}

pub(crate) fn values(message: &Message, name: HeaderName) -> Vec<&str> {
    message.values(name).map(|value| std::str::from_utf8(value).expect("UTF-8")).collect()
}

/// The hosts of all Via values in order.
pub(crate) fn via_hosts(message: &Message) -> Vec<String> {
    use dialtone_wire::headers::{TypedHeader, Via};
    let host = |value: &[u8]| Via::parse(value).expect("a legal Via").host.to_string();
    message.values(HeaderName::Via).map(host).collect()
}

/// The session description in the body, read leniently.
pub(crate) fn session(message: &Message) -> Session {
    sdp::Session::parse(message.body(), sdp::Mode::Lenient, &sdp::Limits::default())
        .expect("a session description")
        .session
}
