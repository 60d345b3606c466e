//! What is compared of a message, as text in which each place has one name.

use std::collections::BTreeSet;

use dialtone_wire::auth::{Challenge, Credentials};
use dialtone_wire::headers::{Contact, NameAddr};
use dialtone_wire::uri::{Host, Uri};
use dialtone_wire::{HeaderName, Message};

use crate::credentials::challenge_of;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    /// The status of a response.
    Status,
    /// The Request-URI, without parameters.
    RequestUri,
    /// How many Via values.
    Vias,
    /// Max-Forwards.
    MaxForwards,
    /// The hosts of Record-Route, in order.
    RecordRoute,
    /// The hosts of Route, in order.
    Route,
    /// The hosts of Path, in order.
    Path,
    /// The hosts of Service-Route, in order.
    ServiceRoute,
    /// From and To, without tags.
    Parties,
    /// Whether To has a tag.
    ToTag,
    /// CSeq.
    CSeq,
    /// The URIs in Contact, without parameters.
    Contact,
    /// Whether Contact values say how long they hold.
    Expires,
    /// How many realms challenge.
    Challenges,
    /// How many realms get credentials.
    Credentials,
    /// Whether there is a session description.
    Body,
    /// `isfocus` in Contact: the focus of a conference.
    Focus,
    /// Whether it asks to join a conversation.
    Join,
    /// For how many seconds each Contact holds: its own word, or that of Expires. Not compared with RFCs.
    Lifetimes,
    /// The parameters of the MD5 challenge, or of the credentials. Not compared with RFCs.
    Digest,
    /// The Reason header. Not compared with RFCs.
    Reason,
    /// The History-Info values with their causes and indexes. Not compared with RFCs.
    History,
    /// The Diversion values with their reasons. Not compared with RFCs.
    Diversion,
    /// Refer-To. Not compared with RFCs.
    Refer,
    /// Referred-By. Not compared with RFCs.
    ReferredBy,
    /// Require. Not compared with RFCs.
    Requires,
    /// What a NOTIFY tells: its event, the state of the subscription, the first line of its body. Not compared with RFCs.
    Told,
    /// Error-Info. Not compared with RFCs.
    ErrorInfo,
    /// The direction of the session description. Not compared with RFCs.
    Direction,
}

/// Host names and addresses of the flows, each with the name of its place.
const PLACES: &[(&str, &str)] = &[
    ("client.atlanta.example.com", "Alice"),
    ("192.0.2.101", "Alice"),
    ("ss1.atlanta.example.com", "Proxy 1"),
    ("192.0.2.111", "Proxy 1"),
    ("client.biloxi.example.com", "Bob"),
    ("192.0.2.201", "Bob"),
    ("ss2.biloxi.example.com", "Proxy 2"),
    ("192.0.2.222", "Proxy 2"),
    ("client.chicago.example.com", "Bob away"),
    ("192.0.2.100", "Bob away"),
    ("ss3.chicago.example.com", "Proxy 3"),
    ("192.0.2.233", "Proxy 3"),
    ("ss1.example.com", "Proxy 2"),
    ("client2.biloxi.example.com", "B2"),
    ("192.0.2.202", "B2"),
    ("client3.biloxi.example.com", "B3"),
    ("192.0.2.204", "B3"),
    ("client4.biloxi.example.com", "B4"),
    ("192.0.2.205", "B4"),
    ("gw1.example.com", "Gateway"),
    ("ms.biloxi.example.com", "Announcement Server"),
    ("192.0.2.207", "Announcement Server"),
    ("192.0.2.203", "Gateway"),
    ("server.example.com", "Music Server"),
    ("192.0.2.208", "Music Server"),
    ("alg1.atlanta.example.com", "SIP ALG"),
    ("192.0.2.128", "SIP ALG"),
    // RFC 3327 §5.5.
    ("examplehome.com", "REGISTRAR"),
    ("registrar.examplehome.com", "REGISTRAR"),
    ("p1.examplevisited.com", "P1"),
    ("112.68.155.4", "P1"),
    ("p3.examplehome.com", "P3"),
    ("19.31.97.3", "P3"),
    // RFC 3608 §6.4, which gives no addresses.
    ("uaddr1.visited.example.org", "UA1"),
    ("192.0.2.11", "UA1"),
    ("p1.visited.example.org", "P1"),
    ("192.0.2.21", "P1"),
    ("p2.home.example.com", "P2"),
    ("192.0.2.31", "P2"),
    ("hsp.home.example.com", "HSP"),
    ("192.0.2.51", "HSP"),
    ("uaaddr2.home.example.com", "UA2"),
    ("192.0.2.12", "UA2"),
];

/// All that is compared of a message.
pub(crate) fn fields(message: &Message) -> Vec<(Field, String)> {
    let count = |name| message.values(name).count();
    let mut fields = vec![
        (Field::Vias, count(HeaderName::Via).to_string()),
        (Field::RecordRoute, hosts(message, HeaderName::RecordRoute)),
        (Field::Route, hosts(message, HeaderName::Route)),
        (Field::Path, hosts(message, HeaderName::Path)),
        (Field::ServiceRoute, hosts(message, HeaderName::ServiceRoute)),
        (Field::ToTag, tag(message.to().ok()).is_some().to_string()),
        (Field::CSeq, text(message.value(HeaderName::CSeq))),
        (Field::Contact, contacts(message)),
        (Field::Expires, contacts_expire(message)),
        (Field::Challenges, challenges(message)),
        (Field::Credentials, credentials(message)),
        (Field::Body, (!message.body().is_empty()).to_string()),
        (Field::Focus, focus(message)),
        (Field::Join, message.has(HeaderName::Join).to_string()),
    ];
    let party = |party: Option<NameAddr<'_>>| party.map(|party| place(&party.uri)).unwrap_or_default();
    fields.push((Field::Parties, format!("{} {}", party(message.from().ok()), party(message.to().ok()))));
    if message.is_request() {
        fields.push((Field::RequestUri, message.uri().map(|uri| place(&uri)).unwrap_or_default()));
        fields.push((Field::MaxForwards, text(message.value(HeaderName::MaxForwards))));
    }
    if let Some(status) = message.status() {
        fields.push((Field::Status, status.code().to_string()));
    }
    fields
}

/// What only some sources say, and what is not compared for all.
pub(crate) fn more_fields(message: &Message) -> Vec<(Field, String)> {
    vec![
        (Field::Lifetimes, lifetimes(message)),
        (Field::Digest, digest(message)),
        (Field::Reason, text(message.value(HeaderName::Reason))),
        (Field::History, texts(message, HeaderName::HistoryInfo)),
        (Field::Diversion, texts(message, HeaderName::Diversion)),
        (Field::Refer, format!("Refer-To: {}", text(message.value(HeaderName::ReferTo)))),
        (Field::ReferredBy, text(message.value(HeaderName::ReferredBy))),
        (Field::Requires, texts(message, HeaderName::Require)),
        (Field::Told, told(message)),
        (Field::ErrorInfo, texts(message, HeaderName::ErrorInfo)),
        (Field::Direction, direction(message)),
    ]
}

fn told(message: &Message) -> String {
    let event = text(message.value(HeaderName::Event));
    let state = text(message.value(HeaderName::SubscriptionState));
    let state = state.split(";expires").next().unwrap_or_default();
    let body = String::from_utf8_lossy(message.body()).into_owned();
    format!("{event}; {state}; {}", body.lines().next().unwrap_or_default())
}

fn direction(message: &Message) -> String {
    let body = String::from_utf8_lossy(message.body()).into_owned();
    let attributes = body.lines().filter_map(|line| line.strip_prefix("a="));
    let mut directions =
        attributes.filter(|word| matches!(*word, "sendrecv" | "sendonly" | "recvonly" | "inactive"));
    directions.next().unwrap_or("sendrecv").to_owned()
}

fn texts(message: &Message, name: HeaderName) -> String {
    message.values(name).map(|value| text(Some(value))).collect::<Vec<_>>().join(", ")
}

fn lifetimes(message: &Message) -> String {
    let header = text(message.value(HeaderName::Expires));
    let of =
        |contact: Contact<'_>| match contact.address().and_then(|address| address.params.value("expires")) {
            Some(seconds) => seconds.to_owned(),
            None => header.clone(),
        };
    let lifetimes: Vec<String> = message.contacts().filter_map(Result::ok).map(of).collect();
    lifetimes.join(", ")
}

fn digest(message: &Message) -> String {
    let credentials = message.value(HeaderName::Authorization).map(Credentials::parse);
    if let Some(Ok(Credentials::Digest(shown))) = credentials {
        return format!("username={} realm={} uri={}", shown.username, shown.realm, shown.uri);
    }
    let asks = message.status().is_some_and(|status| matches!(status.code(), 401 | 407));
    if !asks {
        return String::new();
    }
    let asked = challenge_of(message);
    let (qop, algorithm) = (asked.qop.unwrap_or_default().join(","), asked.algorithm.unwrap_or_default());
    format!("realm={} qop={qop} stale={} algorithm={algorithm}", asked.realm, asked.stale)
}

/// The tag of a party.
pub(crate) fn tag(party: Option<NameAddr<'_>>) -> Option<String> {
    party.and_then(|party| party.tag().map(str::to_owned))
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

/// A URI with the name of its place; sips and sip are the same here, parameters and ports do not count.
fn place(uri: &Uri<'_>) -> String {
    let host = host(uri);
    match uri.as_sip().and_then(|uri| uri.user) {
        Some(user) => format!("{user}@{host}"),
        None => host,
    }
}

fn host(uri: &Uri<'_>) -> String {
    let Uri::Sip(uri) = uri else { return "no SIP URI".to_owned() };
    let host = match uri.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.to_ascii_lowercase(),
    };
    PLACES.iter().find(|(name, _)| *name == host).map_or(host, |(_, place)| (*place).to_owned())
}

fn hosts(message: &Message, name: HeaderName) -> String {
    let hosts = message.addresses(name).map(|address| address.map(|address| host(&address.uri)));
    hosts.map(|host| host.expect("a route that can be read")).collect::<Vec<_>>().join(", ")
}

fn contacts(message: &Message) -> String {
    let contacts = message.contacts().map(|contact| match contact.expect("a contact that can be read") {
        Contact::Star => "*".to_owned(),
        Contact::Address(address) => place(&address.uri),
    });
    contacts.collect::<Vec<_>>().join(", ")
}

fn focus(message: &Message) -> String {
    let mut contacts = message.contacts().filter_map(|contact| contact.ok()?.address().copied());
    let is_focus = contacts.any(|contact| contact.params.has("isfocus"));
    if is_focus { "isfocus".to_owned() } else { String::new() }
}

fn contacts_expire(message: &Message) -> String {
    let contacts = message.contacts().filter_map(|contact| contact.ok()?.address().copied());
    let say = contacts.map(|address| address.params.find("expires").is_some().to_string());
    say.collect::<Vec<_>>().join(", ")
}

fn challenges(message: &Message) -> String {
    realms(message, &[HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate], |value| {
        match Challenge::parse(value) {
            Ok(Challenge::Digest(digest)) => Some(digest.realm.to_string()),
            _ => None,
        }
    })
}

fn credentials(message: &Message) -> String {
    realms(message, &[HeaderName::Authorization, HeaderName::ProxyAuthorization], |value| {
        match Credentials::parse(value) {
            Ok(Credentials::Digest(digest)) => Some(digest.realm.to_string()),
            // RFC 3665 forgot commas and shortened responses: the realm can be read all the same.
            _ => realm_of(value),
        }
    })
}

fn realm_of(value: &[u8]) -> Option<String> {
    let value = text(Some(value));
    let (_, rest) = value.split_once("realm=\"")?;
    Some(rest.split('"').next()?.to_owned())
}

/// How many realms; RFC 3665 names the wrong one in its registrations.
fn realms(message: &Message, names: &[HeaderName], read: impl Fn(&[u8]) -> Option<String>) -> String {
    let lines = message.header_lines().filter(|header| names.contains(&header.name));
    let realms: BTreeSet<String> = lines.filter_map(|header| read(header.value)).collect();
    realms.len().to_string()
}
