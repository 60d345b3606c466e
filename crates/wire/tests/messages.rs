//! Properties of messages: what is written is what was read, and nothing that comes makes a panic.

use bytes::Bytes;
use dialtone_wire::headers::{
    CSeq, Contact, ContentLength, ContentType, Expires, MaxForwards, MinExpires, NameAddr, RetryAfter,
    TypedHeader, Via,
};
use dialtone_wire::uri::{Uri, UriBuf};
use dialtone_wire::{Edits, HeaderName, Limits, Message, Method, Status, Writer, refusal};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

const LIMITS: Limits = Limits { message_bytes: 65_535, headers: 256, vias: 70, uri_bytes: 2_048 };

fn parse(bytes: impl AsRef<[u8]>) -> Message {
    let bytes = bytes.as_ref();
    Message::parse(Bytes::copy_from_slice(bytes), &LIMITS)
        .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(bytes)))
}

// ---- legal pieces ----------------------------------------------------------------------------------------

fn token() -> BoxedStrategy<String> {
    "[a-zA-Z0-9.!%*_+`'~-]{1,12}".boxed()
}

fn user() -> BoxedStrategy<String> {
    "([a-zA-Z0-9_.!~*'()&=+$,;?/-]|%[0-9A-F]{2}){1,16}".boxed()
}

fn host() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z0-9]{1,8}(-[a-z0-9]{1,4})?(\\.[a-z]{2,6}){0,3}\\.?".prop_filter("a name", |name| {
            !name.trim_end_matches('.').bytes().all(|byte| byte.is_ascii_digit())
        }),
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u16; 8]>().prop_map(|ip| format!("[{}]", std::net::Ipv6Addr::from(ip))),
        Just("[::ffff:192.0.2.1]".to_owned()),
    ]
    .boxed()
}

fn uri() -> BoxedStrategy<String> {
    let parameter =
        ("([a-zA-Z0-9_.-]|%[0-9A-F]{2}){1,8}", option::of("([a-zA-Z0-9_.:/+-]|%[0-9A-F]{2}){1,8}"));
    (
        prop_oneof![Just("sip"), Just("sips"), Just("SIP")],
        option::of((user(), option::of("[a-zA-Z0-9&=+$,]{0,6}"))),
        host(),
        option::of(1..=u16::MAX),
        vec(parameter, 0..4),
        vec(("[a-zA-Z-]{1,8}", "([a-zA-Z0-9:/?.-]|%[0-9A-F]{2}){0,8}"), 0..3),
    )
        .prop_map(|(scheme, user, host, port, params, headers)| {
            let mut text = format!("{scheme}:");
            if let Some((user, password)) = user {
                text += &user;
                if let Some(password) = password {
                    text += &format!(":{password}");
                }
                text.push('@');
            }
            text += &host;
            port.into_iter().for_each(|port| text += &format!(":{port}"));
            for (name, value) in params {
                text += &format!(";{name}");
                value.into_iter().for_each(|value| text += &format!("={value}"));
            }
            for (index, (name, value)) in headers.into_iter().enumerate() {
                text += &format!("{}{name}={value}", if index == 0 { '?' } else { '&' });
            }
            text
        })
        .boxed()
}

/// Linear white space of at least nothing, folds included.
fn space() -> BoxedStrategy<&'static str> {
    prop_oneof![4 => Just(""), 4 => Just(" "), 1 => Just("\t "), 1 => Just("\r\n "), 1 => Just(" \r\n\t  ")]
        .boxed()
}

fn quoted() -> BoxedStrategy<String> {
    vec(
        prop_oneof![
            Just("\\\"".to_owned()),
            Just("\\\\".to_owned()),
            Just("\\\0".to_owned()),
            "[a-zA-Z0-9 ,;<>@漢é]"
        ],
        0..12,
    )
    .prop_map(|pieces| format!("\"{}\"", pieces.concat()))
    .boxed()
}

fn params() -> BoxedStrategy<String> {
    let value = prop_oneof![token(), quoted(), host()];
    vec((space(), "x[a-z0-9]{1,6}", space(), option::of((space(), value))), 0..4)
        .prop_map(|params| {
            let mut text = String::new();
            for (before, name, between, value) in params {
                text += &format!("{before};{between}{name}");
                value.into_iter().for_each(|(space, value)| text += &format!("{space}={space}{value}"));
            }
            text
        })
        .boxed()
}

/// Display name, URI and tag of an address, with its text.
#[derive(Clone, Debug)]
struct Address {
    text: String,
    uri: String,
}

fn address() -> BoxedStrategy<Address> {
    let display = prop_oneof![
        Just(String::new()),
        quoted(),
        vec(token(), 1..3).prop_map(|tokens| format!("{} ", tokens.join(" "))),
    ];
    (display, space(), uri(), params())
        .prop_map(|(display, space, uri, params)| Address {
            text: format!("{display}{space}<{uri}>{params}"),
            uri,
        })
        .boxed()
}

fn via() -> BoxedStrategy<String> {
    let sent_by = (host(), option::of(1..=u16::MAX)).prop_map(|(host, port)| match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    });
    (space(), prop_oneof![Just("UDP"), Just("TLS"), Just("NEW")], sent_by, token(), params())
        .prop_map(|(space, transport, sent_by, branch, params)| {
            format!("SIP{space}/{space}2.0/{transport}{space} {sent_by};branch=z9hG4bK{branch}{params}")
        })
        .boxed()
}

/// A message and what went into it.
#[derive(Clone, Debug)]
struct Legal {
    text: Vec<u8>,
    method: String,
    uri: Option<String>,
    status: Option<u16>,
    vias: usize,
    from: Address,
    to: Address,
    contacts: Vec<Address>,
    call_id: String,
    number: u32,
    body: Vec<u8>,
    tag: String,
}

fn name(long: &'static str, compact: &'static str) -> BoxedStrategy<String> {
    (
        prop_oneof![Just(long.to_owned()), Just(compact.to_owned()), Just(long.to_uppercase())],
        prop_oneof![Just(""), Just(" "), Just("\t")],
        space(),
    )
        .prop_map(|(name, before, after)| format!("{name}{before}:{after}"))
        .boxed()
}

prop_compose! {
    fn legal()(
        method in prop_oneof![Just("INVITE".to_owned()), Just("BYE".to_owned()), Just("REGISTER".to_owned()), token()],
        uri in uri(),
        status in option::of((100u16..700, "[a-zA-Z0-9 é漢%]{0,20}")),
        vias in vec(vec(via(), 1..3), 1..4),
        (from, to, tag) in (address(), address(), token()),
        contacts in vec(vec(address(), 1..3), 0..3),
        names in (name("Via", "v"), name("From", "f"), name("To", "t"), name("Call-ID", "i"), name("Contact", "m"), name("Content-Length", "l")),
        call_id in "[a-zA-Z0-9.!%*_+`'~()<>:\\\\/\"\\[\\]?{}-]{1,20}(@[a-z0-9.]{1,12})?",
        number in 0u32..1 << 31,
        odd in vec(("X-[a-zA-Z0-9]{1,10}", space(), "[ -~漢é]{0,30}"), 0..4),
        body in vec(any::<u8>(), 0..60),
        (with_length, blank) in (any::<bool>(), 0usize..3),
        order in any::<u64>(),
        comma in (space(), space()),
    ) -> Legal {
        let join = |values: &[String]| values.join(&format!("{},{}", comma.0, comma.1));
        let mut lines: Vec<String> = Vec::new();
        lines.extend(vias.iter().map(|values| format!("{}{}", names.0, join(values))));
        lines.push(format!("{}{};tag={tag}", names.1, from.text));
        lines.push(format!("{}{}", names.2, to.text));
        lines.push(format!("{}{call_id}", names.3));
        lines.push(format!("CSeq:{} {number}{} {method}", comma.0, comma.1));
        for values in &contacts {
            let values: Vec<_> = values.iter().map(|contact| contact.text.clone()).collect();
            lines.push(format!("{}{}", names.4, join(&values)));
        }
        lines.extend(odd.iter().map(|(name, space, value)| format!("{name}:{space}{value}")));
        if with_length {
            lines.push(format!("{}{}", names.5, body.len()));
        }
        let turn = (order % lines.len() as u64) as usize;
        // A rotation keeps the order of Vias and Contacts only up to where it cuts: their numbers stay.
        lines.rotate_left(turn);
        let start = match &status {
            Some((code, reason)) => format!("SIP/2.0 {code} {reason}"),
            None => format!("{method} {uri} SIP/2.0"),
        };
        let mut text = "\r\n".repeat(blank).into_bytes();
        text.extend_from_slice(format!("{start}\r\n{}\r\n\r\n", lines.join("\r\n")).as_bytes());
        text.extend_from_slice(&body);
        let is_request = status.is_none();
        Legal {
            text,
            method,
            uri: is_request.then_some(uri),
            status: status.map(|(code, _)| code),
            vias: vias.iter().map(Vec::len).sum(),
            from,
            to,
            contacts: contacts.into_iter().flatten().collect(),
            call_id,
            number,
            body,
            tag,
        }
    }
}

// ---- what must hold --------------------------------------------------------------------------------------

fn assert_same_address(found: &NameAddr<'_>, expected: &Address) {
    assert_eq!(found.uri_text, expected.uri);
    assert!(found.uri.equivalent(&Uri::parse(&expected.uri).unwrap()));
}

/// Asks for everything that a message can be asked for.
fn ask_everything(message: &Message) {
    let _ = (
        message.check(),
        message.screen(),
        message.uri(),
        message.uri_buf(),
        message.reason(),
        message.body(),
    );
    let _ = (
        message.via(),
        message.from(),
        message.to(),
        message.cseq(),
        message.call_id(),
        message.max_forwards(),
    );
    for header in message.header_lines() {
        ask_value(header.value);
        let _ = message.value_by_text(&String::from_utf8_lossy(header.name_text));
    }
    for name in HeaderName::ALL.iter().copied().chain([HeaderName::Other]) {
        message.values(name).for_each(ask_value);
        let _ = (message.value(name), message.has(name), message.has_token(name, "token"));
        message.addresses(name).for_each(drop);
    }
    message.contacts().for_each(drop);
    let _ = (message.header::<Via<'_>>(), message.required::<ContentLength>(), format!("{message:?}"));
}

fn ask_value(value: &[u8]) {
    if let Ok(via) = Via::parse(value) {
        let source = "192.0.2.1:5060".parse().unwrap();
        let _ =
            (via.received(), via.rport(), via.branch(), via.rfc3261_branch(), via.response_address(source));
        via.params.iter().for_each(drop);
    }
    if let Ok(address) = NameAddr::parse(value) {
        let _ = (address.display_name(), address.tag());
        assert!(address.uri.equivalent(&address.uri), "{:?}", address.uri_text);
        if let Some(sip) = address.uri.as_sip() {
            let _ = (sip.user_unescaped(), sip.transport(), sip.is_loose_router(), sip.port_or_default());
            assert!(Uri::parse(&sip.to_string()).is_ok(), "{sip}");
        }
    }
    let _ = (
        Contact::parse(value).is_ok(),
        CSeq::parse(value),
        ContentType::parse(value),
        RetryAfter::parse(value),
    );
    let _ = (Expires::parse(value), MinExpires::parse(value), MaxForwards::parse(value));
    if let Ok(text) = std::str::from_utf8(value) {
        let _ = (Uri::parse(text).is_ok(), UriBuf::parse(text).is_ok(), dialtone_wire::unquote(text));
    }
}

/// Reads the bytes, and answers them if they can't be used; answers parse.
fn take(bytes: &[u8]) -> Option<Message> {
    let source = "192.0.2.1:5060".parse().unwrap();
    let (message, refusal) = match Message::parse(Bytes::copy_from_slice(bytes), &LIMITS) {
        Ok(message) => {
            ask_everything(&message);
            let screened = message.screen();
            let refused = screened
                .err()
                .and_then(|screened| refusal::refuse_screened(&message, &screened, source, "t"));
            (Some(message), refused)
        }
        Err(error) => (None, refusal::refuse(bytes, error, source, "t")),
    };
    if let Some(refusal) = refusal {
        assert!(parse(&refusal.bytes).status().is_some());
    }
    message
}

/// What a mutation does to the bytes at a place.
#[derive(Clone, Debug)]
enum Mutation {
    Set(u8),
    Insert(u8),
    Remove(usize),
    Repeat(usize),
    Cut,
}

fn mutations() -> BoxedStrategy<Vec<(prop::sample::Index, Mutation)>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n \t,;:<>\"\\@[]%=\0?/"[..])];
    let mutation = prop_oneof![
        4 => byte.clone().prop_map(Mutation::Set),
        4 => byte.prop_map(Mutation::Insert),
        2 => (1usize..20).prop_map(Mutation::Remove),
        2 => (1usize..80).prop_map(Mutation::Repeat),
        1 => Just(Mutation::Cut),
    ];
    vec((any::<prop::sample::Index>(), mutation), 1..8).boxed()
}

fn mutate(mut bytes: Vec<u8>, mutations: Vec<(prop::sample::Index, Mutation)>) -> Vec<u8> {
    for (index, mutation) in mutations {
        if bytes.is_empty() {
            break;
        }
        let at = index.index(bytes.len());
        match mutation {
            Mutation::Set(byte) => bytes[at] = byte,
            Mutation::Insert(byte) => bytes.insert(at, byte),
            Mutation::Remove(count) => drop(bytes.drain(at..(at + count).min(bytes.len()))),
            Mutation::Repeat(count) => {
                let piece = bytes[at..(at + count).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            Mutation::Cut => bytes.truncate(at),
        }
    }
    bytes
}

/// The real messages of the repository.
fn real_messages() -> Vec<Vec<u8>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/messages");
    let mut messages = Vec::new();
    for folder in ["rfc4475", "rfc5118/raw", "deck", "flows/rfc3665/fixed"] {
        let mut files: Vec<_> =
            std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let is_message = |path: &std::path::PathBuf| {
            path.extension().is_some_and(|extension| extension == "dat" || extension == "sip")
        };
        messages.extend(files.into_iter().filter(is_message).map(|path| std::fs::read(path).unwrap()));
    }
    assert!(messages.len() > 200);
    messages
}

#[derive(Clone, Debug)]
enum Edit {
    Uri(String),
    PushVia(String),
    PopVia,
    Source([u8; 4], u16),
    PopRoutes(usize),
    PushRoute(String),
    AppendRoute(String),
    RecordRoute(String),
    Hops(u32),
    Remove(prop::sample::Index),
    RemoveLine(usize),
    Append(String, String),
    Body(String, Vec<u8>),
    Length,
}

fn edit() -> BoxedStrategy<Edit> {
    // Values are anything at all: what is written never ends its line early.
    let any_text = || prop_oneof![any::<String>(), "[a-z\r\n:; ]{0,20}"];
    prop_oneof![
        prop_oneof![uri(), any_text().prop_filter("not empty", |text| !text.is_empty())].prop_map(Edit::Uri),
        prop_oneof![via(), any_text()].prop_map(Edit::PushVia),
        Just(Edit::PopVia),
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Edit::Source(ip, port)),
        (0usize..4).prop_map(Edit::PopRoutes),
        prop_oneof![uri(), any_text()].prop_map(Edit::PushRoute),
        prop_oneof![uri(), any_text()].prop_map(Edit::AppendRoute),
        prop_oneof![uri(), any_text()].prop_map(Edit::RecordRoute),
        any::<u32>().prop_map(Edit::Hops),
        any::<prop::sample::Index>().prop_map(Edit::Remove),
        (0usize..20).prop_map(Edit::RemoveLine),
        ("X[a-z]{1,8}", any_text()).prop_map(|(name, value)| Edit::Append(name, value)),
        (any_text(), vec(any::<u8>(), 0..40)).prop_map(|(kind, body)| Edit::Body(kind, body)),
        Just(Edit::Length),
    ]
    .boxed()
}

fn apply<'a>(edits: &mut Edits<'a>, edit: &'a Edit) {
    match edit {
        Edit::Uri(uri) => edits.set_request_uri(uri),
        Edit::PushVia(via) => edits.push_via(via),
        Edit::PopVia => edits.pop_via(),
        Edit::Source(ip, port) => edits.set_source((*ip, *port).into()),
        Edit::PopRoutes(count) => edits.pop_routes(*count),
        Edit::PushRoute(value) => edits.push_route(value),
        Edit::AppendRoute(value) => edits.append_route(value),
        Edit::RecordRoute(value) => edits.push_record_route(value),
        Edit::Hops(hops) => edits.set_max_forwards(*hops),
        Edit::Remove(index) => edits.remove(*index.get(HeaderName::ALL)),
        Edit::RemoveLine(index) => edits.remove_line(*index),
        Edit::Append(name, value) => edits.append(name, value),
        Edit::Body(kind, body) => edits.set_body(kind, body),
        Edit::Length => edits.ensure_content_length(),
    };
}

/// The same cases in each run; PROPTEST_CASES asks for more.
fn config() -> Config {
    Config { rng_seed: RngSeed::Fixed(3261), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_legal_message_is_read_as_it_was_meant_and_written_back_byte_for_byte(legal in legal()) {
        let message = parse(&legal.text);
        prop_assert_eq!(message.check(), Ok(()));
        prop_assert_eq!(message.method().map(Method::as_str), legal.uri.as_ref().map(|_| &*legal.method));
        prop_assert_eq!(message.status().map(Status::code), legal.status);
        prop_assert_eq!(message.uri_text(), legal.uri.as_deref().unwrap_or(""));
        prop_assert_eq!(message.values(HeaderName::Via).count(), legal.vias);
        prop_assert!(message.values(HeaderName::Via).all(|value| Via::parse(value).is_ok()));
        assert_same_address(&message.from().unwrap(), &legal.from);
        prop_assert_eq!(message.from().unwrap().tag(), Some(&*legal.tag));
        assert_same_address(&message.to().unwrap(), &legal.to);
        let mut contacts: Vec<_> = message.contacts().map(|contact| contact.unwrap()).map(|contact| {
            contact.address().unwrap().uri_text.to_owned()
        }).collect();
        let mut expected: Vec<_> = legal.contacts.iter().map(|contact| contact.uri.clone()).collect();
        contacts.sort();
        expected.sort();
        prop_assert_eq!(contacts, expected);
        prop_assert_eq!(message.call_id(), Ok(&*legal.call_id));
        prop_assert_eq!(message.cseq().unwrap().number, legal.number);
        prop_assert_eq!(message.cseq().unwrap().method, Method::parse(legal.method.as_bytes()).unwrap());
        prop_assert_eq!(message.body(), &*legal.body);
        ask_everything(&message);
        let mut out = Vec::new();
        Edits::new().write(&message, &mut out);
        let blank = legal.text.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        prop_assert_eq!(out, &legal.text[blank..]);
    }

    #[test]
    fn what_is_written_is_read_again(legal in legal(), port in any::<u16>(), to_tag in token()) {
        let request = parse(&legal.text);
        let source = std::net::SocketAddr::from(([192, 0, 2, 7], port));
        let written = if request.is_request() {
            Writer::response_to(&request, Status::of(200), source, Some(&to_tag)).finish_with("a/b", &legal.body)
        } else {
            let mut writer = Writer::request(&Method::Other("X".into()), &legal.from.uri);
            for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId] {
                writer.copy(&request, name);
            }
            writer.header(HeaderName::CSeq, format_args!("{} X", legal.number));
            writer.finish_with("a/b", &legal.body)
        };
        let message = parse(&written);
        prop_assert_eq!(message.check(), Ok(()));
        prop_assert_eq!(message.values(HeaderName::Via).count(), legal.vias);
        if request.is_request() {
            let via = message.via().unwrap();
            prop_assert_eq!(via.rfc3261_branch(), request.via().unwrap().rfc3261_branch());
            prop_assert_eq!(via.sent_by, request.via().unwrap().sent_by);
            prop_assert_eq!(message.to().unwrap().tag(), Some(&*to_tag));
        }
        prop_assert_eq!(message.from().unwrap().tag(), Some(&*legal.tag));
        assert_same_address(&message.from().unwrap(), &legal.from);
        assert_same_address(&message.to().unwrap(), &legal.to);
        prop_assert_eq!(message.call_id(), Ok(&*legal.call_id));
        prop_assert_eq!(message.cseq().unwrap().number, legal.number);
        prop_assert_eq!(message.body(), &*legal.body);
    }

    #[test]
    fn edits_always_give_a_message_with_no_line_that_was_not_asked_for(legal in legal(), list in vec(edit(), 0..8)) {
        let message = parse(&legal.text);
        let mut edits = Edits::new();
        list.iter().for_each(|edit| apply(&mut edits, edit));
        let mut out = Vec::new();
        edits.write(&message, &mut out);
        // A header removed from the middle of the message may be the Content-Length that cut it.
        let limits = Limits { vias: 200, ..LIMITS };
        let edited = Message::parse(Bytes::from(out), &limits).unwrap();
        prop_assert_eq!(edited.method(), message.method());
        prop_assert_eq!(edited.status(), message.status());
        // Each edit adds one line at most, and a body two.
        let body = list.iter().any(|edit| matches!(edit, Edit::Body(..)));
        let most = message.header_lines().len() + list.len() + usize::from(body);
        prop_assert!(edited.header_lines().len() <= most);
        let last = list.iter().rev().find_map(|edit| match edit {
            Edit::Body(_, body) => Some(body),
            _ => None,
        });
        prop_assert_eq!(edited.body(), last.map_or(&*legal.body, |body| body));
        ask_everything(&edited);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        take(&bytes);
        ask_value(&bytes);
    }

    #[test]
    fn mutated_real_messages_never_panic_and_still_write_back(
        index in any::<prop::sample::Index>(),
        mutations in mutations(),
        list in vec(edit(), 0..4),
    ) {
        thread_local!(static REAL: Vec<Vec<u8>> = real_messages());
        let bytes = REAL.with(|real| index.get(real).clone());
        if let Some(message) = take(&mutate(bytes, mutations)) {
            let mut out = Vec::new();
            Edits::new().write(&message, &mut out);
            prop_assert_eq!(&out[..], &message.bytes()[..]);
            let mut edits = Edits::new();
            list.iter().for_each(|edit| apply(&mut edits, edit));
            out.clear();
            edits.write(&message, &mut out);
            let limits = Limits { vias: 200, ..LIMITS };
            prop_assert!(Message::parse(Bytes::from(out), &limits).is_ok());
            let source = "192.0.2.1:5060".parse().unwrap();
            parse(Writer::response_to(&message, Status::of(500), source, Some("t")).finish());
        }
    }

    #[test]
    fn a_uri_equals_itself_and_comparison_goes_both_ways(one in uri(), two in uri()) {
        let (one, two) = (Uri::parse(&one).unwrap(), Uri::parse(&two).unwrap());
        prop_assert!(one.equivalent(&one));
        prop_assert_eq!(one.equivalent(&two), two.equivalent(&one));
    }

    #[test]
    fn an_escape_equals_its_character(plain in "[a-zA-Z0-9_.!~*'()-]{1,10}", mask in any::<u16>(), lower in any::<bool>()) {
        let mut escaped = String::new();
        for (index, byte) in plain.bytes().enumerate() {
            match (mask >> index & 1 == 1, lower) {
                (false, _) => escaped.push(char::from(byte)),
                (true, false) => escaped += &format!("%{byte:02X}"),
                (true, true) => escaped += &format!("%{byte:02x}"),
            }
        }
        for frame in ["sip:@a.b", "sip:x:@a.b", "sip:a.b;p=", "sip:a.b?h="] {
            let fill = |text: &str| match frame.split_once('@') {
                Some((before, after)) => format!("{before}{text}@{after}"),
                None => format!("{frame}{text}"),
            };
            let (one, two) = (fill(&plain), fill(&escaped));
            prop_assert!(Uri::parse(&one).unwrap().equivalent(&Uri::parse(&two).unwrap()), "{} {}", one, two);
        }
        prop_assert_eq!(dialtone_wire::uri::unescape(&escaped), plain);
    }
}
