//! A baresip phone: it plays a sound file and records what it hears.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{Lab, Network};
use crate::process::Process;
use crate::serve::{DOMAIN, PORT, User};
use crate::wav::{Recording, write_tone};

/// How long a step of a call may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Calls that a phone takes at the same time.
const CALLS: u16 = 4;

/// A running phone, registered at the server.
pub(crate) struct Phone {
    process: Process,
    control: TcpStream,
    buffer: Vec<u8>,
    sounds: PathBuf,
}

/// What tells phones of one lab apart: each number gives them ports of their own.
pub(crate) struct Setup<'a> {
    pub(crate) number: u16,
    pub(crate) network: &'a Network,
    pub(crate) user: &'a User,
    /// The tone that it plays.
    pub(crate) hertz: f64,
    /// Whether it picks up by itself.
    pub(crate) answers: bool,
    /// `udp` or `tcp`.
    pub(crate) transport: &'a str,
    /// As baresip names it, as in `PCMU`.
    pub(crate) codec: &'a str,
}

impl Phone {
    /// Starts the phone and waits until it says that it is registered.
    pub(crate) fn register(lab: &Lab, setup: &Setup<'_>) -> Phone {
        Phone::register_as(lab, setup, &account(setup))
    }

    /// The same with this file of accounts.
    pub(crate) fn register_as(lab: &Lab, setup: &Setup<'_>, account: &str) -> Phone {
        let (process, sounds) = Phone::switch_on(lab, setup, account, CALLS);
        Phone::registered(process, sounds, setup)
    }

    fn registered(mut process: Process, sounds: PathBuf, setup: &Setup<'_>) -> Phone {
        process.wait_for("200 OK", PATIENCE);
        let control = TcpStream::connect((setup.network.theirs, control_port(setup.number)))
            .expect("baresip's ctrl_tcp listens");
        control.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
        let mut phone = Phone { process, control, buffer: Vec::new(), sounds };
        // An event is told only to a connection that baresip has accepted: its answer shows that it has.
        phone.command("reginfo", "");
        phone.next_message(PATIENCE, |message| message["response"] == true).expect("baresip answers");
        phone
    }

    /// The same for a phone that takes one call at a time, and says 486 to the next.
    pub(crate) fn register_for_one_call(lab: &Lab, setup: &Setup<'_>) -> Phone {
        let (process, sounds) = Phone::switch_on(lab, setup, &account(setup), 1);
        Phone::registered(process, sounds, setup)
    }

    /// Starts a phone that is to be refused; returns the line in which it says so.
    pub(crate) fn refused(lab: &Lab, setup: &Setup<'_>) -> String {
        let (mut process, _) = Phone::switch_on(lab, setup, &account(setup), CALLS);
        process.wait_for("reg: sip:", PATIENCE)
    }

    fn switch_on(lab: &Lab, setup: &Setup<'_>, account: &str, calls: u16) -> (Process, PathBuf) {
        let folder = lab.path(&setup.user.name);
        let sounds = folder.join("sounds");
        std::fs::create_dir_all(&sounds).expect("a folder of the lab");
        let tone = folder.join("tone.wav");
        write_tone(&tone, setup.hertz, 20);
        let config = config(setup, calls, &tone.display(), &sounds.display());
        for (file, text) in [("config", config.as_str()), ("accounts", account), ("contacts", "")] {
            std::fs::write(folder.join(file), text).expect("a file of the lab can be written");
        }
        // stdbuf: its lines are to arrive as they are written, though nobody looks at a terminal.
        let process =
            Process::start(setup.network.command("stdbuf").args(["-oL", "baresip", "-f"]).arg(&folder));
        (process, sounds)
    }

    /// Calls, and waits until the call stands.
    pub(crate) fn call(&mut self, uri: &str) {
        self.command("dial", uri);
        self.wait_for_event("CALL_ESTABLISHED", PATIENCE);
    }

    /// Calls, and waits for nothing.
    pub(crate) fn dial(&mut self, uri: &str) {
        self.command("dial", uri);
    }

    /// Gives it a command as its menu knows it: hold, resume, transfer.
    pub(crate) fn act(&mut self, command: &str, parameters: &str) {
        self.command(command, parameters);
        let answer = self.next_message(PATIENCE, |message| message["response"] == true);
        assert!(answer.is_some_and(|answer| answer["ok"] == true), "{command}\n{}", self.process.output());
    }

    /// Waits until it rings.
    pub(crate) fn wait_until_it_rings(&mut self) {
        self.wait_for_event("CALL_INCOMING", PATIENCE);
    }

    /// Waits until it rings, and picks up.
    pub(crate) fn accept(&mut self) {
        self.wait_for_event("CALL_INCOMING", PATIENCE);
        self.command("accept", "");
        self.wait_until_established();
    }

    /// Waits until a call that came in stands.
    pub(crate) fn wait_until_established(&mut self) {
        self.wait_for_event("CALL_ESTABLISHED", PATIENCE);
    }

    /// Calls, and waits until that has failed; returns the reason that baresip gives.
    pub(crate) fn call_in_vain(&mut self, uri: &str) -> String {
        self.command("dial", uri);
        let event = self.wait_for_event("CALL_CLOSED", PATIENCE);
        event["param"].as_str().unwrap_or_default().to_owned()
    }

    /// Lets the call stand for a while, which must not end meanwhile.
    pub(crate) fn talk(&mut self, time: Duration) {
        let event = self.next_event("CALL_CLOSED", time);
        assert!(event.is_none(), "the call ended early: {event:?}\n{}", self.process.output());
    }

    /// Sends the other side to somebody else.
    pub(crate) fn transfer(&mut self, uri: &str) {
        self.command("transfer", uri);
    }

    /// Hangs up.
    pub(crate) fn hang_up(&mut self) {
        self.command("hangup", "");
        self.wait_for_event("CALL_CLOSED", PATIENCE);
    }

    /// Waits until the other side has hung up.
    pub(crate) fn wait_for_the_end(&mut self) {
        self.wait_for_event("CALL_CLOSED", PATIENCE);
    }

    /// Switches the phone off; returns what it has heard.
    pub(crate) fn recording(mut self) -> Recording {
        self.process.terminate(PATIENCE);
        let files = std::fs::read_dir(&self.sounds).expect("a folder of the lab");
        let paths = files.filter_map(|entry| Some(entry.ok()?.path()));
        let heard: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().ends_with("dec.wav")).collect();
        assert_eq!(heard.len(), 1, "one call gives one recording: {heard:?}\n{}", self.process.output());
        Recording::read(&heard[0])
    }

    /// baresip's ctrl_tcp speaks JSON in netstrings.
    fn command(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters, "token": "t" }).to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes()).expect("baresip listens");
    }

    fn wait_for_event(&mut self, kind: &str, patience: Duration) -> Value {
        let event = self.next_event(kind, patience);
        event.unwrap_or_else(|| {
            self.process.absorb();
            panic!("the phone says no {kind} within {patience:?}\n{}", self.process.output())
        })
    }

    fn next_event(&mut self, kind: &str, patience: Duration) -> Option<Value> {
        self.next_message(patience, |message| message["type"] == kind)
    }

    fn next_message(&mut self, patience: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            while let Some(message) = self.take_message() {
                if wanted(&message) {
                    return Some(message);
                }
            }
            let mut bytes = [0; 4096];
            // An error is a timeout here: look at the clock again.
            let length = self.control.read(&mut bytes).unwrap_or(0);
            self.buffer.extend_from_slice(&bytes[..length]);
        }
        None
    }

    fn take_message(&mut self) -> Option<Value> {
        let colon = self.buffer.iter().position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&self.buffer[..colon]).ok()?.parse().expect("a netstring");
        let end = colon + 1 + length;
        if self.buffer.len() <= end {
            return None;
        }
        let message = serde_json::from_slice(&self.buffer[colon + 1..end]).expect("baresip speaks JSON");
        self.buffer.drain(..=end);
        Some(message)
    }
}

/// The line that a person writes for an account.
fn account(setup: &Setup<'_>) -> String {
    let User { name, password } = setup.user;
    format!(
        "<sip:{name}@{DOMAIN}>;auth_user={name};auth_pass={password};outbound=\"sip:{}:{PORT};transport={}\";\
         regint=600;audio_codecs={};answermode={}\n",
        setup.network.ours,
        setup.transport,
        setup.codec,
        if setup.answers { "auto" } else { "manual" },
    )
}

/// Where the phone of this number listens.
pub(crate) const fn sip_port(number: u16) -> u16 {
    5100 + number * 10
}

fn control_port(number: u16) -> u16 {
    5200 + number
}

fn config(
    setup: &Setup<'_>,
    calls: u16,
    tone: &dyn std::fmt::Display,
    sounds: &dyn std::fmt::Display,
) -> String {
    let (number, address) = (setup.number, setup.network.theirs);
    // Without stdio.so, which wants a terminal. aubridge plays to nowhere; sndfile records what was decoded.
    let mut config = format!(
        "sip_listen {address}:{}\ncall_max_calls {calls}\naudio_player aubridge,out\naudio_source aufile,{tone}\n\
         audio_alert aufile,{tone}.none\naudio_txmode poll\nausrc_srate 48000\nauplay_srate 48000\n\
         ausrc_channels 1\nauplay_channels 1\nmodule_path /usr/lib/baresip/modules\nsnd_path {sounds}\n\
         ctrl_tcp_listen {address}:{}\nrtp_ports {}-{}\n",
        sip_port(number),
        control_port(number),
        20_000 + number * 100,
        20_090 + number * 100,
    );
    for module in ["g711", "aufile", "aubridge", "sndfile"] {
        writeln!(config, "module {module}.so").expect("a string takes it");
    }
    for module in ["uuid", "account"] {
        writeln!(config, "module_tmp {module}.so").expect("a string takes it");
    }
    for module in ["menu", "ctrl_tcp"] {
        writeln!(config, "module_app {module}.so").expect("a string takes it");
    }
    config
}
