//! A phone that does not know what transfers are made of, played by hand.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_sim::{Agent, AgentContext};
use dialtone_wire::{HeaderName, Limits, Message, Method, Status, Writer};

const ALLOW: &str = "INVITE, ACK, CANCEL, OPTIONS, BYE";

/// Answers each call at once, and hangs up after a time.
#[derive(Debug)]
pub(super) struct OldPhone {
    knows_replaces: bool,
    talks: Vec<Talk>,
    requests: u32,
}

/// A call that stands.
#[derive(Debug)]
struct Talk {
    call_id: String,
    /// From and To of its own requests.
    own: String,
    other: String,
    contact: String,
    peer: SocketAddr,
}

impl OldPhone {
    /// How long a call lasts that nobody else ends.
    pub(super) const TALK: Duration = Duration::from_secs(10);

    /// It does not know REFER.
    pub(super) fn without_refer() -> OldPhone {
        OldPhone { knows_replaces: true, talks: Vec::new(), requests: 0 }
    }

    /// It does not know Replaces either.
    pub(super) fn without_replaces() -> OldPhone {
        OldPhone { knows_replaces: false, ..OldPhone::without_refer() }
    }

    /// The INVITE with which it calls somebody.
    pub(super) fn invite(address_of_record: &str, address: SocketAddr, to: &str) -> Bytes {
        let mut writer = Writer::request(&Method::Invite, to);
        writer.raw(HeaderName::Via, format!("SIP/2.0/UDP {address};branch=z9hG4bKold").as_bytes());
        writer.number(HeaderName::MaxForwards, 70);
        writer.header(HeaderName::From, format!("<sip:{address_of_record}>;tag=old"));
        writer.header(HeaderName::To, format!("<{to}>"));
        writer.header(HeaderName::CallId, "of-the-old-phone").cseq(1, &Method::Invite);
        writer.header(HeaderName::Contact, format!("<sip:{address}>"));
        writer.header(HeaderName::Allow, ALLOW).header(HeaderName::Supported, "replaces");
        writer.finish_with("application/sdp", description(address).as_bytes())
    }

    fn answer(&self, request: &Message, own: SocketAddr, from: SocketAddr, status: u16) -> Bytes {
        let has_tag = request.to_tag().ok().flatten().is_some();
        let tag = (!has_tag).then(|| format!("old{}", self.talks.len()));
        let mut writer = Writer::response_to(request, Status::of(status), from, tag.as_deref());
        writer.copy(request, HeaderName::RecordRoute);
        writer.header(HeaderName::Contact, format!("<sip:{own}>")).header(HeaderName::Allow, ALLOW);
        if self.knows_replaces {
            writer.header(HeaderName::Supported, "replaces");
        }
        if status == 420 {
            writer.header(HeaderName::Unsupported, "replaces");
        }
        match request.method() {
            Some(Method::Invite) if status == 200 => {
                writer.finish_with("application/sdp", description(own).as_bytes())
            }
            _ => writer.finish(),
        }
    }

    fn request(&mut self, own: SocketAddr, talk: &Talk, method: &Method) -> Bytes {
        self.requests += 1;
        let mut writer = Writer::request(method, &talk.contact);
        let via = format!("SIP/2.0/UDP {own};branch=z9hG4bKold{}", self.requests);
        writer.raw(HeaderName::Via, via.as_bytes()).number(HeaderName::MaxForwards, 70);
        writer.header(HeaderName::From, &talk.own).header(HeaderName::To, &talk.other);
        writer.header(HeaderName::CallId, &talk.call_id);
        writer.cseq(if *method == Method::Ack { 1 } else { 2 }, method);
        writer.finish()
    }

    fn hang_up(&mut self, cx: &mut AgentContext<'_>, talk: &Talk) {
        let bye = self.request(cx.address, talk, &Method::Bye);
        cx.send(talk.peer, bye);
    }

    fn invited(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, invite: &Message) {
        let requires = invite.has_token(HeaderName::Require, "replaces");
        if requires && !self.knows_replaces {
            return cx.send(from, self.answer(invite, cx.address, from, 420));
        }
        let answer = self.answer(invite, cx.address, from, 200);
        cx.send(from, answer.clone());
        if invite.to_tag().ok().flatten().is_some() {
            return;
        }
        let replaced = if invite.has(HeaderName::Replaces) { self.talks.pop() } else { None };
        let answer = parsed(&answer).expect("an answer");
        self.talks.push(Talk::of(&answer, invite, from, [HeaderName::To, HeaderName::From]));
        cx.wake_after(OldPhone::TALK);
        if let Some(replaced) = replaced {
            self.hang_up(cx, &replaced);
        }
    }
}

impl Talk {
    /// The call of a 2xx, which says who the parties are; the Contact is the other side's.
    fn of(answer: &Message, contact: &Message, peer: SocketAddr, [own, other]: [HeaderName; 2]) -> Talk {
        let value = |name| String::from_utf8_lossy(answer.value(name).unwrap_or_default()).into_owned();
        let contact = contact.contacts().next().and_then(Result::ok);
        let contact = contact.and_then(|contact| Some(contact.address()?.uri_text.to_owned()));
        Talk {
            call_id: value(HeaderName::CallId),
            own: value(own),
            other: value(other),
            contact: contact.expect("a Contact"),
            peer,
        }
    }
}

impl Agent for OldPhone {
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes) {
        let Some(message) = parsed(bytes) else { return };
        let call_id =
            String::from_utf8_lossy(message.value(HeaderName::CallId).unwrap_or_default()).into_owned();
        match message.method() {
            Some(Method::Invite) => self.invited(cx, from, &message),
            Some(Method::Ack) => {}
            Some(Method::Bye) => {
                self.talks.retain(|talk| talk.call_id != call_id);
                cx.send(from, self.answer(&message, cx.address, from, 200));
            }
            Some(Method::Options) => cx.send(from, self.answer(&message, cx.address, from, 200)),
            Some(_) => cx.send(from, self.answer(&message, cx.address, from, 501)),
            None => {
                let is_invite = message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
                if is_invite && message.status().is_some_and(Status::is_success) {
                    let talk = Talk::of(&message, &message, from, [HeaderName::From, HeaderName::To]);
                    let ack = self.request(cx.address, &talk, &Method::Ack);
                    cx.send(from, ack);
                    self.talks.push(talk);
                }
            }
        }
    }

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        if !self.knows_replaces
            && let Some(talk) = self.talks.pop()
        {
            self.hang_up(cx, &talk);
        }
    }
}

fn parsed(bytes: &Bytes) -> Option<Message> {
    Message::parse(bytes.clone(), &Limits::default()).ok()
}

fn description(address: SocketAddr) -> String {
    let ip = address.ip();
    format!(
        "v=0\r\no=old 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 3456 RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    )
}
