//! Bob as the RFC wrote him: his requests are the RFC's, with sip and UDP in place of sips and TLS.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_sim::{Agent, AgentContext, World};
use dialtone_wire::{HeaderName, Limits, Message, Method, Status, Writer};

use crate::credentials::{authorization, challenge_of};
use crate::reference;
use crate::{BOB, PROXY_2, Source};

/// The password of everybody.
pub(crate) const PASSWORD: &str = "secret";

/// Bob's side of the wire, driven by hand.
#[derive(Debug, Default)]
pub(crate) struct RawBob {
    /// The REGISTER that got the last challenge.
    count: u32,
    cseq: u32,
}

impl RawBob {
    /// Sends the RFC's request of this file with credentials that hold, as the next of one registration; the
    /// response, and the number of packets before.
    pub(crate) fn register(
        &mut self,
        world: &mut World,
        challenge: &Message,
        file: &str,
    ) -> (Message, usize) {
        self.count += 1;
        self.cseq += 1;
        let text = plain(Source::Rfc(3665), file);
        let uri = text.split(' ').nth(1).expect("a Request-URI").to_owned();
        let credentials =
            authorization(&challenge_of(challenge), "bob", PASSWORD, "REGISTER", &uri, self.count);
        let request = with_authorization(&text, &credentials);
        // Each flow of the RFC begins at 1; one user agent goes on counting where it uses one Call-ID (§10.2).
        let call_id = format!("Call-ID: {}-", self.cseq);
        let branch = format!(";branch=z9hG4bK{}", self.cseq);
        let request = request.replace("Call-ID: ", &call_id).replace(";branch=z9hG4bK", &branch);
        let from = world.packets().len();
        (exchange(world, &request), from)
    }

    /// Sends a REGISTER without credentials; the challenge.
    pub(crate) fn challenge(world: &mut World) -> Message {
        RawBob::without_credentials(world, 401)
    }

    /// Registers where nobody is asked for a password.
    pub(crate) fn register_unasked(world: &mut World) {
        RawBob::without_credentials(world, 200);
    }

    fn without_credentials(world: &mut World, status: u16) -> Message {
        let request =
            plain(Source::Rfc(3665), "2.1-F1-REGISTER.sip").replace("Call-ID: ", "Call-ID: before-");
        let response = exchange(world, &request);
        assert_eq!(response.status().map(Status::code), Some(status));
        response
    }
}

/// A file of the RFC over UDP.
pub(crate) fn plain(source: Source, file: &str) -> String {
    let text = String::from_utf8(reference::read(source, file)).expect("text");
    text.replace("sips:", "sip:").replace("SIP/2.0/TLS", "SIP/2.0/UDP").replace(":5061", ":5060")
}

/// Replaces the Authorization of a request, folded or not.
fn with_authorization(text: &str, credentials: &str) -> String {
    let mut out = String::new();
    let mut skips = false;
    for line in text.split_inclusive("\r\n") {
        let folded = line.starts_with(' ') || line.starts_with('\t');
        skips = line.starts_with("Authorization:") || (skips && folded);
        if !skips {
            out.push_str(line);
        }
        if line.starts_with("CSeq:") {
            out.push_str(&format!("Authorization: {credentials}\r\n"));
        }
    }
    out
}

fn exchange(world: &mut World, request: &str) -> Message {
    let before = world.packets().len();
    world.send(BOB, PROXY_2, request.to_owned().into_bytes());
    world.run_for(Duration::from_secs(1));
    let answer = world.packets()[before..].iter().find(|packet| packet.to == BOB).expect("an answer");
    Message::parse(answer.bytes.clone(), &Limits::default()).expect("an answer of ours")
}

/// A phone that answers at once, without ringing: Bob in RFC 3665 §3.3.
#[derive(Debug, Default)]
pub(crate) struct QuickBob;

impl Agent for QuickBob {
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes) {
        let Ok(request) = Message::parse(bytes.clone(), &Limits::default()) else { return };
        if request.method() != Some(&Method::Invite) {
            return;
        }
        let mut writer = Writer::response_to(&request, Status::of(200), from, Some("9103874"));
        writer.copy(&request, HeaderName::RecordRoute);
        writer.header(HeaderName::Contact, "<sip:bob@192.0.2.201>");
        let body = "v=0\r\no=bob 2890844527 2890844527 IN IP4 192.0.2.201\r\ns=-\r\nc=IN IP4 192.0.2.201\r\n\
                    t=0 0\r\nm=audio 3456 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";
        cx.send(from, writer.finish_with("application/sdp", body.as_bytes()));
    }
}

/// A phone that rings, answers after a second, and may move: Bob in RFC 3665 §3.7. It has its names from the RFC.
#[derive(Debug, Default)]
pub(crate) struct MovingBob {
    ringing: Option<(SocketAddr, Bytes)>,
}

impl MovingBob {
    /// The re-INVITE that Bob sends from his new address in the call that Alice began.
    pub(crate) fn re_invite(world: &World) -> Bytes {
        let packets = world.packets().iter().rev();
        let mut parsed =
            packets.filter_map(|packet| Message::parse(packet.bytes.clone(), &Limits::default()).ok());
        let ack = parsed.find(|message| message.method() == Some(&Method::Ack)).expect("Alice's ACK");
        let value = |name| ack.value(name).expect("it is there");
        let mut writer = Writer::request(&Method::Invite, "sip:alice@192.0.2.101");
        writer.raw(HeaderName::Via, b"SIP/2.0/UDP client.chicago.example.com:5060;branch=z9hG4bKlkld5l");
        writer.number(HeaderName::MaxForwards, 70);
        writer.raw(HeaderName::From, value(HeaderName::To)).raw(HeaderName::To, value(HeaderName::From));
        writer.raw(HeaderName::CallId, value(HeaderName::CallId)).cseq(14, &Method::Invite);
        writer.header(HeaderName::Contact, "<sip:bob@client.chicago.example.com>");
        writer.finish_with("application/sdp", MovingBob::description("192.0.2.100", 2).as_bytes())
    }

    fn description(address: &str, version: u32) -> String {
        format!(
            "v=0\r\no=bob 2890844527 {version} IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio 3456 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
    }

    fn answer(request: &Message, from: SocketAddr, status: u16) -> Bytes {
        let in_dialog = request.to_tag().ok().flatten().is_some();
        let mut writer =
            Writer::response_to(request, Status::of(status), from, (!in_dialog).then_some("314159"));
        if request.method() != Some(&Method::Invite) {
            return writer.finish();
        }
        writer.copy(request, HeaderName::RecordRoute);
        writer.header(HeaderName::Contact, "<sip:bob@client.biloxi.example.com>");
        match status {
            200 => writer.finish_with("application/sdp", MovingBob::description("192.0.2.201", 1).as_bytes()),
            _ => writer.finish(),
        }
    }

    /// The ACK for Alice's 200 to the re-INVITE.
    fn ack(answer: &Message) -> Bytes {
        let mut writer = Writer::request(&Method::Ack, "sip:alice@192.0.2.101");
        writer.raw(HeaderName::Via, b"SIP/2.0/UDP client.chicago.example.com:5060;branch=z9hG4bKlkldcc");
        writer.number(HeaderName::MaxForwards, 70);
        for name in [HeaderName::From, HeaderName::To, HeaderName::CallId] {
            writer.copy(answer, name);
        }
        writer.cseq(14, &Method::Ack);
        writer.finish()
    }
}

impl Agent for MovingBob {
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes) {
        let Ok(message) = Message::parse(bytes.clone(), &Limits::default()) else { return };
        match message.method() {
            Some(Method::Invite) => {
                cx.send(from, MovingBob::answer(&message, from, 180));
                self.ringing = Some((from, MovingBob::answer(&message, from, 200)));
                cx.wake_after(Duration::from_secs(1));
            }
            Some(Method::Bye) => cx.send(from, MovingBob::answer(&message, from, 200)),
            None if message.status().is_some_and(Status::is_success) => {
                cx.send(from, MovingBob::ack(&message));
            }
            _ => {}
        }
    }

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        if let Some((to, answer)) = self.ringing.take() {
            cx.send(to, answer);
        }
    }
}
