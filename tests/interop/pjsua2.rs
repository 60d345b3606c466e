//! A phone of pjsua2, driven by lines and watched on the wire: pjsua2/phone.py prints each message that passed its
//! socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{ADDRESS, folder};
use crate::process::Process;
use crate::serve::{DOMAIN, Server, User, at_speed};
use crate::wav::{Recording, write_tone};

/// How long a step of a call may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of a phone's wire a failure shows.
const MESSAGES_TOLD: usize = 12;

/// A running phone, registered.
pub(crate) struct Foreign {
    process: Process,
    name: String,
    /// All that it has told.
    events: Vec<Value>,
    /// How many of them the waits for each kind have passed over.
    read: BTreeMap<&'static str, usize>,
}

/// A message as it passed a phone's socket.
#[derive(Clone)]
pub(crate) struct Wire {
    text: String,
}

/// How a phone behaves; [`Settings::new`] has pjsua2's own ways.
pub(crate) struct Settings {
    /// Tells phones of one lab apart: each number gives them ports of their own.
    pub(crate) number: u16,
    /// `udp` or `tcp`.
    pub(crate) transport: &'static str,
    /// Whether it insists on reliable provisional responses.
    pub(crate) prack: bool,
    /// Session-Expires and Min-SE in seconds, where it asks for a timer in every call.
    pub(crate) timer: Option<(u32, u32)>,
    /// How many seconds of its clock pass in one.
    pub(crate) speed: u32,
    /// The tone that it plays into its calls; it then records what it hears in them.
    pub(crate) hertz: Option<f64>,
}

impl Settings {
    pub(crate) fn new(number: u16) -> Settings {
        Settings { number, transport: "udp", prack: false, timer: None, speed: 1, hertz: None }
    }
}

impl Foreign {
    /// Starts a phone that registers nowhere: it sends all to `proxy`, and is called at [`port`].
    pub(crate) fn at(proxy: SocketAddr, name: &str, settings: &Settings) -> Foreign {
        let user = User { name: name.to_owned(), password: String::new() };
        let mut phone = Foreign::switch_on(proxy, &user, settings, false);
        phone.wait("started", "start", |_| true);
        phone
    }

    /// Starts the phone of a user of `server`, and waits until it is registered.
    pub(crate) fn register(server: &Server, user: &str, settings: &Settings) -> Foreign {
        Foreign::register_at(server.address, &server.user(user), settings)
    }

    /// The same at a proxy that is not ours, or not the server itself.
    pub(crate) fn register_at(proxy: SocketAddr, user: &User, settings: &Settings) -> Foreign {
        let mut phone = Foreign::switch_on(proxy, user, settings, true);
        phone.wait("registered", "registration", |event| event["code"] == 200);
        phone
    }

    fn switch_on(proxy: SocketAddr, user: &User, settings: &Settings, register: bool) -> Foreign {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/pjsua2/phone.py");
        let (expires, min_se) = settings.timer.unwrap_or((1800, 90));
        let (plays, records) = (folder().join(format!("{}.tone.wav", user.name)), recorded(&user.name));
        if let Some(hertz) = settings.hertz {
            write_tone(&plays, hertz, 1);
        }
        let plays = settings.hertz.map(|_| plays);
        let text = json!({
            "plays": plays, "records": records,
            "user": user.name, "password": user.password, "domain": DOMAIN, "proxy": format!("sip:{proxy}"),
            "address": ADDRESS, "port": port(settings.number), "rtp": rtp(settings.number),
            "transport": settings.transport, "trace": trace(&user.name), "register": register, "prack": settings.prack, "expires": expires, "min_se": min_se,
            // pjsua2: 1 is on request, 3 always.
            "timer": if settings.timer.is_some() { 3 } else { 1 },
        });
        let mut command =
            if settings.speed > 1 { at_speed(python(), settings.speed) } else { Command::new(python()) };
        command.arg(script).arg(text.to_string());
        let process = Process::start_with_input(&mut command);
        Foreign { process, name: user.name.clone(), events: Vec::new(), read: BTreeMap::new() }
    }

    /// Has it do something that the head of phone.py lists, and waits until it has begun.
    pub(crate) fn act(&mut self, action: &str) {
        self.process.say(action);
        let done = self.wait("done", &format!("end of `{action}`"), |event| event["action"] == action);
        assert!(done["error"].is_null(), "it can't `{action}`: {done}\n{}", self.told());
    }

    /// Has it call a user of the domain.
    pub(crate) fn call(&mut self, user: &str) {
        self.act(&format!("call sip:{user}@{DOMAIN}"));
    }

    /// Waits until a call is in this state, as pjsua2 names it: INCOMING, EARLY, CONFIRMED, DISCONNECTED.
    pub(crate) fn wait_for_call(&mut self, call: usize, state: &str) -> Value {
        let what = format!("call {call} that is {state}");
        self.wait("call", &what, |event| event["call"] == call && event["state"] == state)
    }

    /// Waits until the audio of a call is in this state: active, local-hold, remote-hold.
    pub(crate) fn wait_for_media(&mut self, call: usize, status: &str) -> Value {
        let what = format!("media of call {call} that are {status}");
        self.wait("media", &what, |event| event["call"] == call && event["status"] == status)
    }

    /// Waits until a request of this method came in, and returns it.
    pub(crate) fn wait_for_request(&mut self, method: &str) -> Wire {
        let start = format!("{method} ");
        let event = self.wait("message", &format!("{method} that comes in"), |event| {
            event["way"] == "received" && event["text"].as_str().is_some_and(|text| text.starts_with(&start))
        });
        Wire::of(&event)
    }

    /// Waits until a session description came in that has its audio at the phone of this number.
    pub(crate) fn wait_for_audio_of(&mut self, number: u16) -> Wire {
        let event = self.wait("message", &format!("audio of phone {number}"), |event| {
            let text = event["text"].as_str().unwrap_or_default();
            let port =
                text.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
            event["way"] == "received" && port.is_some_and(|port: u16| port / 100 == rtp(number) / 100)
        });
        Wire::of(&event)
    }

    /// Waits until it has sent a request of this method.
    pub(crate) fn wait_until_sent(&mut self, method: &str) -> Wire {
        let start = format!("{method} ");
        let event = self.wait("message", &format!("{method} that goes out"), |event| {
            event["way"] == "sent" && event["text"].as_str().is_some_and(|text| text.starts_with(&start))
        });
        Wire::of(&event)
    }

    /// Waits until its last INVITE has its ACK.
    pub(crate) fn wait_until_acknowledged(&mut self) {
        let number = |one: &Wire| one.header("CSeq").split(' ').next().map(str::to_owned);
        let end = Instant::now() + PATIENCE;
        loop {
            let sent = self.wire("sent");
            let last = sent.iter().rev().find(|one| one.asks("INVITE")).and_then(number);
            if last.is_some() && sent.iter().any(|one| one.asks("ACK") && number(one) == last) {
                return;
            }
            assert!(Instant::now() < end, "no ACK for the last INVITE\n{}", self.told());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a response came in to a request of this method.
    pub(crate) fn wait_for_response(&mut self, status: u16, method: &str) -> Wire {
        let (start, method_line) = (format!("SIP/2.0 {status} "), format!(" {method}\n"));
        let event = self.wait("message", &format!("{status} for {method}"), |event| {
            let text = event["text"].as_str().unwrap_or_default();
            event["way"] == "received" && text.starts_with(&start) && text.contains(&method_line)
        });
        Wire::of(&event)
    }

    /// Waits for the BYE of the other side, for longer than anything else takes.
    pub(crate) fn wait_for_bye(&mut self, patience: Duration) -> Wire {
        let is_bye = |event: &Value| event["way"] == "received" && Wire::of(event).asks("BYE");
        let event = self.wait_for("message", "BYE", patience, is_bye);
        Wire::of(&event)
    }

    /// Waits for an event of this kind that no wait for this kind has passed over yet.
    pub(crate) fn wait(&mut self, kind: &'static str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(kind, what, PATIENCE, wanted)
    }

    fn wait_for(
        &mut self,
        kind: &'static str,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + patience;
        loop {
            let read = self.read.entry(kind).or_default();
            while let Some(event) = self.events.get(*read) {
                *read += 1;
                if event["event"] == kind && wanted(event) {
                    return event.clone();
                }
            }
            if !self.take(end) {
                panic!("it saw no {what} within {patience:?}\n{}", self.told());
            }
        }
    }

    /// The messages so far that went this way, `sent` or `received`.
    pub(crate) fn wire(&mut self, way: &str) -> Vec<Wire> {
        while self.take(Instant::now()) {}
        self.events.iter().filter(|event| event["way"] == way).map(Wire::of).collect()
    }

    /// Its last messages and events, and what passed all phones of the test, for the words of a failure.
    pub(crate) fn told(&mut self) -> String {
        while self.take(Instant::now()) {}
        let from = self.events.len().saturating_sub(3 * MESSAGES_TOLD);
        let mut text = format!("--- the last of {}'s phone:\n", self.name);
        for event in &self.events[from..] {
            match (event["way"].as_str(), event["text"].as_str()) {
                (Some(way), Some(message)) => {
                    text.push_str(&format!("{way}:\n    {}\n", message.replace('\n', "\n    ")));
                }
                _ => text.push_str(&format!("{event}\n")),
            }
        }
        let errors = self.process.errors();
        text.push_str("--- its errors:\n");
        text.push_str(&errors[errors.len().saturating_sub(20)..].join("\n"));
        text + "\n--- what passed all phones:\n" + &ladder().join("\n")
    }

    /// Unregisters and ends.
    pub(crate) fn switch_off(mut self) {
        self.process.say("quit");
        self.wait("ended", "end of its own", |_| true);
        let status = self.process.finish(PATIENCE);
        assert!(status.success(), "it ended with {status}\n{}", self.told());
    }

    /// Unregisters and ends; gives what it has heard.
    pub(crate) fn recording(self) -> Recording {
        let path = recorded(&self.name);
        self.switch_off();
        Recording::read(&path)
    }

    /// Pulls its plug.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Reads one more event.
    fn take(&mut self, end: Instant) -> bool {
        while let Some(line) = self.process.next_line(end) {
            if let Ok(event) = serde_json::from_str::<Value>(&line)
                && event.is_object()
            {
                self.events.push(event);
                return true;
            }
        }
        false
    }
}

impl Wire {
    fn of(event: &Value) -> Wire {
        Wire { text: event["text"].as_str().unwrap_or_default().to_owned() }
    }

    /// The start line.
    pub(crate) fn start(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The whole message.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The value of a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let head = self.text.lines().take_while(|line| !line.is_empty());
        let found =
            head.filter_map(|line| line.split_once(':')).find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.trim())
    }

    /// Whether it is a request of this method.
    pub(crate) fn asks(&self, method: &str) -> bool {
        self.start().starts_with(&format!("{method} "))
    }

    /// The direction of its audio; without a session description nothing.
    pub(crate) fn direction(&self) -> &str {
        let known = |line: &&str| ["sendrecv", "sendonly", "recvonly", "inactive"].contains(line);
        self.body().lines().filter_map(|line| line.strip_prefix("a=")).find(known).unwrap_or_default()
    }

    /// Its body.
    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\n\n").map_or("", |(_, body)| body)
    }
}

/// The file in which a phone keeps what it hears.
fn recorded(user: &str) -> PathBuf {
    folder().join(format!("{user}.heard.wav"))
}

/// The file in which a phone writes a line for each message.
fn trace(user: &str) -> PathBuf {
    folder().join(format!("{user}.trace"))
}

/// The last messages of all phones, in the order of their times.
fn ladder() -> Vec<String> {
    let files = std::fs::read_dir(folder()).expect("the folder of the lab");
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    let traces = paths.filter(|path| path.extension().is_some_and(|end| end == "trace"));
    let mut lines: Vec<String> = traces
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines.split_off(lines.len().saturating_sub(5 * MESSAGES_TOLD))
}

/// Where the phone of this number listens.
pub(crate) const fn port(number: u16) -> u16 {
    5300 + number * 10
}

/// The first of its hundred ports for audio.
const fn rtp(number: u16) -> u16 {
    30_000 + number * 100
}

/// The Python of the virtual environment that has pjsua2 and sippy.
pub(crate) fn python() -> PathBuf {
    peers().join("bin/python")
}

/// The virtual environment: what DIALTONE_PEERS names, else the one that `cargo xtask` makes.
pub(crate) fn peers() -> PathBuf {
    let path = std::env::var_os("DIALTONE_PEERS").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("the test knows its own path");
        test.ancestors().nth(3).expect("a test is in target/debug/deps").join("peers")
    });
    assert!(
        path.join("bin/python").is_file(),
        "there is no {}: run `cargo xtask test --only packages`, or make a virtual environment of Python with what \
         tests/interop/peers.txt lists and set DIALTONE_PEERS to it",
        path.display()
    );
    path
}
