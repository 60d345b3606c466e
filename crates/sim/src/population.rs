//! Agents that a telephone system meets: old ones, deaf ones, slow ones, and those that mean harm.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Limits, Message, Method, Status, Writer};

use crate::agent::{Agent, AgentContext};

/// The messages that a mutilator looks back on.
const MEMORY: usize = 60;

/// A session description with one G.711 stream at an address.
fn description(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let ip = address.ip();
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    )
}

fn read(bytes: &Bytes) -> Option<Message> {
    Message::parse(bytes.clone(), &Limits::default()).ok()
}

/// The answer to a request, with our Contact and, if wanted, a session description.
fn answer(address: SocketAddr, request: &Message, source: SocketAddr, status: u16, describe: bool) -> Bytes {
    let tag = if status == 100 { None } else { Some("slow") };
    let mut writer = Writer::response_to(request, Status::of(status), source, tag);
    writer.copy(request, HeaderName::RecordRoute);
    writer.header(HeaderName::Contact, format_args!("<sip:agent@{address}>"));
    if describe {
        writer.finish_with("application/sdp", description(address).as_bytes())
    } else {
        writer.finish()
    }
}

/// One call that an agent makes.
#[derive(Clone, Debug)]
struct OwnCall {
    number: u64,
    branch: String,
    cseq: u32,
    to: String,
    remote: String,
    answered: bool,
    over: bool,
}

impl OwnCall {
    fn request(&self, cx: &AgentContext<'_>, method: &Method, uri: &str, branch: &str, cseq: u32) -> Writer {
        let mut writer = Writer::request(method, uri);
        let branch = if branch.is_empty() { String::new() } else { format!(";branch={branch}") };
        writer
            .header(HeaderName::Via, format_args!("SIP/2.0/UDP {}{branch}", cx.address))
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, format_args!("<sip:agent@{}>;tag=own{}", cx.address, self.number))
            .header(HeaderName::To, &self.to)
            .header(HeaderName::CallId, format_args!("{}@{}", self.number, cx.address.ip()))
            .header(HeaderName::CSeq, format_args!("{cseq} {method}"))
            .header(HeaderName::Contact, format_args!("<sip:agent@{}>", cx.address));
        writer
    }

    fn invite(&self, cx: &AgentContext<'_>, uri: &str) -> Bytes {
        let mut fresh = self.clone();
        fresh.to = format!("<{uri}>");
        let writer = fresh.request(cx, &Method::Invite, uri, &self.branch, self.cseq);
        writer.finish_with("application/sdp", description(cx.address).as_bytes())
    }
}

/// A caller from before RFC 3261: its ACK to a 2xx has the branch of its INVITE, or there is no branch at all. It
/// calls directly, waits for the answer, talks a little and hangs up.
#[derive(Debug)]
pub struct OldCaller {
    target: SocketAddr,
    calls: u64,
    call: Option<OwnCall>,
    repeated: u32,
}

impl OldCaller {
    /// A caller that calls what is at `target` that many times.
    pub const fn new(target: SocketAddr, calls: u64) -> OldCaller {
        OldCaller { target, calls, call: None, repeated: 0 }
    }

    fn uri(&self) -> String {
        format!("sip:old@{}", self.target)
    }

    fn begin(&mut self, cx: &mut AgentContext<'_>) {
        if self.calls == 0 {
            return;
        }
        self.calls -= 1;
        let number = cx.random.next_u64();
        let branch = if cx.random.chance(300) { String::new() } else { format!("z9hG4bK{number:x}") };
        let call = OwnCall {
            number,
            branch,
            cseq: 1,
            to: String::new(),
            remote: self.uri(),
            answered: false,
            over: false,
        };
        cx.send(self.target, call.invite(cx, &self.uri()));
        self.call = Some(call);
        self.repeated = 0;
        cx.wake_after(Duration::from_millis(500));
    }

    fn answered(&mut self, cx: &mut AgentContext<'_>, response: &Message, status: u16) {
        let (uri, target) = (self.uri(), self.target);
        let Some(call) = self.call.as_mut().filter(|call| call.cseq == 1) else { return };
        if response.value(HeaderName::CallId)
            != Some(format!("{}@{}", call.number, cx.address.ip()).as_bytes())
        {
            return;
        }
        if let Some(to) = response.value(HeaderName::To) {
            call.to = String::from_utf8_lossy(to).into_owned();
        }
        if status < 200 {
            return;
        }
        if status < 300
            && let Some(Ok(contact)) = response.addresses(HeaderName::Contact).next()
        {
            call.remote = contact.uri_text.to_owned();
        }
        let ack_uri = if status < 300 { &call.remote } else { &uri };
        cx.send(target, call.request(cx, &Method::Ack, ack_uri, &call.branch, 1).finish());
        if !call.answered {
            call.answered = true;
            call.over = status >= 300;
            let wait = cx.random.between(Duration::from_secs(1), Duration::from_secs(4));
            cx.wake_after(wait);
        }
    }
}

impl Agent for OldCaller {
    fn start(&mut self, cx: &mut AgentContext<'_>) {
        let wait = cx.random.between(Duration::from_secs(2), Duration::from_secs(20));
        cx.wake_after(wait);
    }

    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes) {
        let Some(message) = read(bytes) else { return };
        let is_invite = message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        match (message.status(), message.method()) {
            (Some(status), _) if is_invite => self.answered(cx, &message, status.code()),
            (None, Some(Method::Bye)) => {
                if let Some(call) = &mut self.call {
                    call.over = true;
                }
                cx.send(from, answer(cx.address, &message, from, 200, false));
            }
            _ => {}
        }
    }

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        let target = self.target;
        let Some(call) = &mut self.call else { return self.begin(cx) };
        if !call.answered && self.repeated < 6 {
            // RFC 3261 §17.1.1.2, Timer A: 500 ms, doubled each time.
            self.repeated += 1;
            cx.send(target, call.invite(cx, &format!("sip:old@{target}")));
            cx.wake_after(Duration::from_millis(500) * (1 << self.repeated));
        } else if call.answered && !call.over {
            call.over = true;
            let branch = format!("z9hG4bKbye{:x}", call.number);
            let bye = call.request(cx, &Method::Bye, &call.remote, &branch, 2).finish();
            cx.send(target, bye);
            cx.wake_after(Duration::from_secs(5));
        } else {
            self.call = None;
            cx.wake_after(Duration::from_secs(40));
        }
    }
}

/// A caller that hears nothing: it repeats its INVITE beside every answer, never sends an ACK and answers nothing.
#[derive(Debug)]
pub struct DeafCaller {
    target: SocketAddr,
    call: Option<OwnCall>,
    sent: u32,
}

impl DeafCaller {
    /// A caller that calls what is at `target` once.
    pub const fn new(target: SocketAddr) -> DeafCaller {
        DeafCaller { target, call: None, sent: 0 }
    }
}

impl Agent for DeafCaller {
    fn start(&mut self, cx: &mut AgentContext<'_>) {
        let wait = cx.random.between(Duration::from_secs(2), Duration::from_secs(40));
        cx.wake_after(wait);
    }

    fn packet(&mut self, _cx: &mut AgentContext<'_>, _from: SocketAddr, _bytes: &Bytes) {}

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        let uri = format!("sip:deaf@{}", self.target);
        let number = cx.random.next_u64();
        let call = self.call.get_or_insert_with(|| OwnCall {
            number,
            branch: format!("z9hG4bK{number:x}"),
            cseq: 1,
            to: String::new(),
            remote: uri.clone(),
            answered: false,
            over: false,
        });
        let invite = call.invite(cx, &uri);
        cx.send(self.target, invite);
        self.sent += 1;
        if self.sent < 12 {
            cx.wake_after(Duration::from_millis(1_900));
        }
    }
}

/// A server that is slow, says everything twice, or nothing at all.
#[derive(Debug, Default)]
pub struct SlowServer {
    /// What is to be sent, when and to whom.
    later: BTreeMap<(Instant, u64), (SocketAddr, Bytes)>,
    count: u64,
    /// INVITEs that were not answered finally: by branch, with their source.
    open: BTreeMap<String, (Message, SocketAddr)>,
    seen: BTreeMap<(String, String), ()>,
}

impl SlowServer {
    fn say_after(&mut self, cx: &mut AgentContext<'_>, wait_ms: u64, to: SocketAddr, bytes: Bytes) {
        self.count += 1;
        let wait = Duration::from_millis(wait_ms);
        self.later.insert((cx.now + wait, self.count), (to, bytes));
        cx.wake_after(wait);
    }

    fn invited(&mut self, cx: &mut AgentContext<'_>, request: Message, from: SocketAddr, branch: String) {
        let say = |status, describe| answer(cx.address, &request, from, status, describe);
        let script: Vec<(u64, Bytes)> = match cx.random.below(6) {
            // The 2xx comes again and again, whether acknowledged or not.
            0 => vec![
                (100, say(180, false)),
                (300, say(180, false)),
                (900, say(200, true)),
                (1_600, say(200, true)),
            ],
            1 => vec![(50, say(200, true)), (800, say(200, true)), (2_300, say(200, true))],
            // So does the refusal.
            2 => vec![(50, say(180, false)), (600, say(486, false)), (1_100, say(486, false))],
            3 => vec![(20, say(480, false)), (520, say(480, false))],
            // Rings for ever.
            4 => vec![(10, say(100, false)), (20, say(180, false)), (40, say(183, false))],
            // Says nothing.
            _ => Vec::new(),
        };
        let open = script.iter().all(|(_, bytes)| bytes.starts_with(b"SIP/2.0 1"));
        for (wait, bytes) in script {
            self.say_after(cx, wait, from, bytes);
        }
        if open {
            self.open.insert(branch, (request, from));
        }
    }

    fn asked(&mut self, cx: &mut AgentContext<'_>, request: &Message, from: SocketAddr) {
        let say = |status| answer(cx.address, request, from, status, false);
        let is_bye = request.method() == Some(&Method::Bye);
        let script: Vec<(u64, Bytes)> = match cx.random.below(5) {
            0 => vec![(700, say(100)), (900, say(100)), (4_000, say(200))],
            // For ever in progress.
            1 => vec![(10, say(100))],
            2 if !is_bye => Vec::new(),
            _ => vec![(10, say(200))],
        };
        for (wait, bytes) in script {
            self.say_after(cx, wait, from, bytes);
        }
    }
}

impl Agent for SlowServer {
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes) {
        let Some(request) = read(bytes) else { return };
        let Some(method) = request.method().cloned() else { return };
        let branch = request.via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default();
        // Repetitions change nothing: what was planned is said.
        if self.seen.insert((branch.clone(), method.to_string()), ()).is_some() {
            return;
        }
        match method {
            Method::Ack => {}
            Method::Invite => self.invited(cx, request, from, branch),
            Method::Cancel => {
                self.say_after(cx, 5, from, answer(cx.address, &request, from, 200, false));
                if let Some((invite, source)) = self.open.remove(&branch) {
                    self.say_after(cx, 10, source, answer(cx.address, &invite, source, 487, false));
                }
            }
            _ => self.asked(cx, &request, from),
        }
    }

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= cx.now) {
            let (to, bytes) = entry.remove();
            cx.send(to, bytes);
        }
    }
}

/// Listens to everybody and sends on what it heard, mutilated, or plain noise.
#[derive(Debug)]
pub struct Mutilator {
    left: u32,
}

impl Mutilator {
    /// One that sends that many datagrams.
    pub const fn new(datagrams: u32) -> Mutilator {
        Mutilator { left: datagrams }
    }

    fn mutilated(cx: &mut AgentContext<'_>) -> Option<(SocketAddr, Bytes)> {
        let start = cx.overheard.len().saturating_sub(MEMORY);
        let packet = cx.random.choose(&cx.overheard[start..])?;
        let mut bytes = packet.bytes.to_vec();
        for _ in 0..=cx.random.below(4) {
            let at = usize::try_from(cx.random.below(bytes.len() as u64 + 1)).unwrap_or(0);
            let byte = cx.random.next_u64() as u8;
            match cx.random.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => bytes.clear(),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
        while bytes.is_empty() || cx.random.chance(300) && bytes.len() < 200 {
            bytes.push(cx.random.next_u64() as u8);
        }
        Some((packet.to, Bytes::from(bytes)))
    }
}

impl Agent for Mutilator {
    fn start(&mut self, cx: &mut AgentContext<'_>) {
        cx.wake_after(Duration::from_secs(1));
    }

    fn packet(&mut self, _cx: &mut AgentContext<'_>, _from: SocketAddr, _bytes: &Bytes) {}

    fn is_honest(&self) -> bool {
        false
    }

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        if let Some((to, bytes)) = Mutilator::mutilated(cx) {
            cx.send_garbage(to, bytes);
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            let wait = cx.random.between(Duration::from_millis(50), Duration::from_secs(2));
            cx.wake_after(wait);
        }
    }
}
