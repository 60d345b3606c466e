//! Calls of which the server is both ends, in mode `b2bua`: what each side sees.

use dialtone_roles::Settings;
use dialtone_roles::io::CallEnd;
use dialtone_roles::listing::CallCursor;
use dialtone_roles::settings::{Domain, Mode};
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, invite, register, settings};

pub(crate) const ALICE: &str = "127.0.0.2:5070";
pub(crate) const BOB: &str = "127.0.0.3:5080";

pub(crate) const OFFER: &str = "v=0\r\no=alice 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n\
                                m=audio 4000 RTP/AVP 0\r\n";
pub(crate) const ANSWER: &str = "v=0\r\no=bob 7 7 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\n\
                                 m=audio 6000 RTP/AVP 0\r\n";

/// A server that asks nobody for a password, at which bob is registered, once for each of these addresses.
pub(crate) fn server_with(settings: Settings, phones: &[&str]) -> Server {
    let domain = Domain { name: "sip.test".into(), mode: Mode::B2bua, ..Domain::default() };
    let mut server = Server::new(Settings { authenticate: false, domains: vec![domain], ..settings });
    for (number, phone) in phones.iter().enumerate() {
        let call_id = format!("reg{number}");
        assert_eq!(server.status(phone, &register("sip:bob@sip.test", phone, &call_id).text()), 200);
    }
    server
}

pub(crate) fn server() -> Server {
    server_with(settings(), &[BOB])
}

pub(crate) fn with_body(mut extra: String, body: &str) -> String {
    if !body.is_empty() {
        extra.push_str("Content-Type: application/sdp\r\n");
    }
    extra.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    extra
}

/// A request as its text, with a body.
pub(crate) fn text_of(request: &Request<'_>, body: &str) -> String {
    let text = request.text();
    let head = text.strip_suffix("\r\n").expect("an empty line at its end");
    format!("{head}{}", with_body(String::new(), body))
}

/// The INVITE of alice for bob.
pub(crate) fn alices_invite(extra: &str, body: &str) -> String {
    let mut request = invite("sip:bob@sip.test");
    request.extra.push_str(extra);
    text_of(&request, body)
}

pub(crate) fn value(message: &Message, name: HeaderName) -> String {
    message.value(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

pub(crate) fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// The response of a phone to a request that reached it.
pub(crate) fn response(
    request: &Message,
    status: &str,
    tag: &str,
    phone: &str,
    extra: &str,
    body: &str,
) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in
        [HeaderName::Via, HeaderName::RecordRoute, HeaderName::From, HeaderName::CallId, HeaderName::CSeq]
    {
        for value in request.values(name) {
            text.push_str(&format!("{}: {}\r\n", name.as_str(), String::from_utf8_lossy(value)));
        }
    }
    let to = value(request, HeaderName::To);
    let tag = if to.contains(";tag=") || tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    text.push_str(&format!("To: {to}{tag}\r\nContact: <sip:x@{phone}>\r\n{extra}"));
    with_body(text, body)
}

/// A dialog as a phone has it.
#[derive(Clone, Debug)]
pub(crate) struct Phone {
    pub(crate) address: &'static str,
    local: String,
    remote: String,
    call_id: String,
    target: String,
    routes: Vec<String>,
    pub(crate) cseq: u32,
}

impl Phone {
    /// Of who has called, by the response.
    pub(crate) fn caller(address: &'static str, response: &Message) -> Phone {
        let mut routes: Vec<String> = routes(response);
        routes.reverse();
        Phone {
            address,
            local: value(response, HeaderName::From),
            remote: value(response, HeaderName::To),
            call_id: value(response, HeaderName::CallId),
            target: target(response),
            routes,
            cseq: 1,
        }
    }

    /// Of who was called, by the request; he has answered with this tag.
    pub(crate) fn callee(address: &'static str, request: &Message, tag: &str) -> Phone {
        Phone {
            address,
            local: format!("{};tag={tag}", value(request, HeaderName::To)),
            remote: value(request, HeaderName::From),
            call_id: value(request, HeaderName::CallId),
            target: target(request),
            routes: routes(request),
            cseq: 100,
        }
    }

    /// Its Call-ID, our tag and that of the other side.
    pub(crate) fn dialog(&self) -> [String; 3] {
        let tag = |address: &str| address.split(";tag=").nth(1).unwrap_or_default().to_owned();
        [self.call_id.clone(), tag(&self.local), tag(&self.remote)]
    }

    pub(crate) fn request(&mut self, method: &str, extra: &str, body: &str) -> String {
        if !matches!(method, "ACK" | "CANCEL") {
            self.cseq += 1;
        }
        let Phone { address, local, remote, call_id, target, routes, cseq } = self;
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};rport;branch=z9hG4bK{address}{cseq}{method}\r\n\
             Max-Forwards: 70\r\nFrom: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:x@{address}>\r\n{extra}"
        );
        for route in routes {
            text.push_str(&format!("Route: {route}\r\n"));
        }
        with_body(text, body)
    }
}

fn routes(message: &Message) -> Vec<String> {
    message.values(HeaderName::RecordRoute).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn target(message: &Message) -> String {
    let contact = value(message, HeaderName::Contact);
    contact.trim_start_matches('<').split('>').next().expect("a URI").to_owned()
}

/// What was sent to one address.
pub(crate) fn to<'a>(sent: &'a [(String, Message)], address: &str) -> Vec<&'a Message> {
    sent.iter().filter(|(to, _)| to == address).map(|(_, message)| message).collect()
}

/// The one message that was sent to an address.
pub(crate) fn only<'a>(sent: &'a [(String, Message)], address: &str) -> &'a Message {
    let all = to(sent, address);
    assert_eq!(all.len(), 1, "to {address}: {sent:?}");
    all[0]
}

pub(crate) fn code(message: &Message) -> u16 {
    message.status().map_or(0, |status| status.code())
}

pub(crate) fn method(message: &Message) -> &str {
    message.method().map_or("", |method| method.as_str())
}

/// A call that alice and bob talk in.
pub(crate) struct Call {
    pub(crate) server: Server,
    pub(crate) alice: Phone,
    pub(crate) bob: Phone,
    pub(crate) bobs_invite: Message,
    pub(crate) alices_answer: Message,
}

pub(crate) fn talking() -> Call {
    talking_on(server(), "", "")
}

/// The same with headers in the INVITE and in its 200.
pub(crate) fn talking_on(mut server: Server, asks: &str, grants: &str) -> Call {
    let sent = server.receive(ALICE, &alices_invite(asks, OFFER));
    let bobs_invite = only(&sent, BOB).clone();
    let sent = server.receive(BOB, &response(&bobs_invite, "200 OK", "t", BOB, grants, ANSWER));
    let ack = only(&sent, BOB);
    assert_eq!(method(ack), "ACK");
    let alices_answer = only(&sent, ALICE).clone();
    let mut alice = Phone::caller(ALICE, &alices_answer);
    let bob = Phone::callee(BOB, &bobs_invite, "t");
    let ack = alice.request("ACK", "", "");
    assert!(server.receive(ALICE, &ack).is_empty());
    Call { server, alice, bob, bobs_invite, alices_answer }
}

impl Call {
    /// Hangs up on one side and answers on the other; nothing is left.
    pub(crate) fn end(mut self) {
        let bye = self.alice.request("BYE", "", "");
        let sent = self.server.receive(ALICE, &bye);
        assert_eq!(code(only(&sent, ALICE)), 200);
        let bye = only(&sent, BOB).clone();
        assert_eq!(method(&bye), "BYE");
        self.server.receive(BOB, &response(&bye, "200 OK", "", BOB, "", ""));
        at_rest(&mut self.server);
    }
}

/// Nothing is left but the binding of bob.
pub(crate) fn at_rest(server: &mut Server) {
    server.pass(120);
    let left: Vec<_> =
        server.engine.tables().iter().filter(|(name, size)| *size > 0 && *name != "bindings").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn each_side_sees_a_call_with_the_server_and_nothing_of_the_other_side() {
    let mut server = server();
    let hidden =
        "User-Agent: AlicePhone\r\nSubject: tea\r\nX-Secret: 10.0.0.1\r\nRecord-Route: <sip:10.9.9.9;lr>\r\n";
    let sent = server.receive(ALICE, &alices_invite(hidden, OFFER));
    assert_eq!(code(only(&sent, ALICE)), 100);
    let invite = only(&sent, BOB).clone();
    assert_eq!(invite.uri_text(), "sip:x@127.0.0.3:5080");
    assert_ne!(value(&invite, HeaderName::CallId), "call");
    assert!(!value(&invite, HeaderName::From).contains("tag=f"), "{invite:?}");
    assert!(value(&invite, HeaderName::From).starts_with("<sip:alice@sip.test>;tag="));
    assert_eq!(invite.max_forwards().unwrap(), Some(69), "one less than alice's (RFC 7332)");
    assert_eq!(value(&invite, HeaderName::Subject), "tea");
    assert!(value(&invite, HeaderName::UserAgent).starts_with("Dialtone/"));
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    for secret in ["AlicePhone", "X-Secret", "10.9.9.9", "127.0.0.2:5070", "o=alice"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(body(&invite).contains("c=IN IP4 127.0.0.2\r\n"), "sound goes from phone to phone: {text}");
    let ringing = response(&invite, "180 Ringing", "t", BOB, "Server: BobPhone\r\n", "");
    let sent = server.receive(BOB, &ringing);
    let ringing = only(&sent, ALICE).clone();
    assert_eq!((code(&ringing), value(&ringing, HeaderName::CallId).as_str()), (180, "call"));
    let sent = server.receive(BOB, &response(&invite, "200 OK", "t", BOB, "Server: BobPhone\r\n", ANSWER));
    let ok = only(&sent, ALICE).clone();
    assert_eq!(method(only(&sent, BOB)), "ACK", "an answer needs no more of alice");
    assert_eq!(value(&ok, HeaderName::To), value(&ringing, HeaderName::To), "one dialog");
    assert_eq!(value(&ok, HeaderName::RecordRoute), "<sip:10.9.9.9;lr>", "her own, and no other");
    let text = String::from_utf8_lossy(ok.bytes()).into_owned();
    for secret in ["BobPhone", "127.0.0.3:5080", "tag=t\r", "o=bob", &value(&invite, HeaderName::CallId)] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let mut alice = Phone::caller(ALICE, &ok);
    let ack = alice.request("ACK", "", "");
    assert!(server.receive(ALICE, &ack).is_empty());
    let bye = alice.request("BYE", "Reason: Q.850;cause=16\r\n", "");
    let sent = server.receive(ALICE, &bye);
    assert_eq!(code(only(&sent, ALICE)), 200);
    let bye = only(&sent, BOB).clone();
    assert_eq!((method(&bye), value(&bye, HeaderName::Reason).as_str()), ("BYE", "Q.850;cause=16"));
    assert!(server.receive(BOB, &response(&bye, "200 OK", "", BOB, "", "")).is_empty());
    at_rest(&mut server);
    let ends: Vec<_> = server.records.iter().map(|record| (record.call_id.as_str(), record.end)).collect();
    assert_eq!(ends, [("call", CallEnd::Caller)], "one record of one call");
}

#[test]
fn bob_hangs_up_and_alice_is_told() {
    let mut call = talking();
    let bye = call.bob.request("BYE", "", "");
    let sent = call.server.receive(BOB, &bye);
    assert_eq!(code(only(&sent, BOB)), 200);
    let bye = only(&sent, ALICE).clone();
    assert_eq!((method(&bye), value(&bye, HeaderName::CallId).as_str()), ("BYE", "call"));
    assert_eq!(bye.uri_text(), "sip:alice@127.0.0.2:5070");
    call.server.receive(ALICE, &response(&bye, "200 OK", "", ALICE, "", ""));
    at_rest(&mut call.server);
    let ends: Vec<_> = call.server.records.iter().map(|record| record.end).collect();
    assert_eq!(ends, [CallEnd::Callee]);
}

#[test]
fn a_call_is_listed_once_with_the_ids_of_its_caller() {
    let mut server = server();
    let listed = |server: &Server| {
        let (mut all, mut cursor) = (Vec::new(), Some(CallCursor::START));
        while let Some(from) = cursor {
            let page = server.engine.calls(from, 1);
            all.extend(page.entries.into_iter().map(|call| (call.state.word(), call.call_id, call.to)));
            cursor = page.next;
        }
        all
    };
    let of = |word| vec![(word, Some("call".into()), Some("sip:bob@sip.test".into()))];
    let sent = server.receive(ALICE, &alices_invite("", OFFER));
    let invite = only(&sent, BOB).clone();
    assert_eq!(listed(&server), of("forwarding"));
    assert_eq!((server.engine.tables().bridges, server.engine.unfinished()), (1, 1));
    server.receive(BOB, &response(&invite, "200 OK", "t", BOB, "", ANSWER));
    assert_eq!(listed(&server), of("talking"));
    assert_eq!((server.engine.tables().bridges, server.engine.tables().calls_talking), (1, 0));
    assert_eq!(server.engine.counters().bridged, 1);
}
