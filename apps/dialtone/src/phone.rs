//! `dialtone phone`.

mod keys;
mod screen;
mod script;
mod told;
mod view;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dialtone_node::config::{LogFormat, LogLevel};
use dialtone_node::softphone::{
    News, PhoneEnd, ReferPolicy, Reply, Ringback, SoftphoneConfig, Sound, answer, parse_target,
};

use crate::Outcome;
use crate::exit::Exit;
use crate::softphone::{self, Codecs, Refusal, Who};
use crate::{log, say};

pub(crate) use screen::restore_terminal;

/// What to do where there are neither keys nor a script.
const NO_KEYS: &str = "standard input is no terminal, so that there are no keys: run it in a terminal, give it a script \
                       (--script FILE; --script - reads standard input), or let it answer by itself (--answer)";

/// The arguments of `dialtone phone`.
///
/// In a terminal it has a screen and keys; with --script it does what the lines of a file say; with --answer, --busy,
/// --decline or --refuse it answers whoever calls by itself. Ctrl-C or SIGTERM end it: it hangs up and takes its
/// registration away.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Phone {
    /// Who it is.
    #[arg(long, value_name = "NAME")]
    user: String,
    #[command(flatten)]
    who: Who,
    /// Does what the lines of this file say, one after the other; - reads standard input.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Does not register when it starts.
    #[arg(long)]
    no_register: bool,
    /// Answers calls by itself, at once.
    #[arg(long, conflicts_with_all = ["answer_after", "busy", "decline", "refuse"])]
    answer: bool,
    /// Answers calls by itself, after they rang for so many seconds.
    #[arg(long, value_name = "S", value_parser = softphone::seconds)]
    answer_after: Option<Duration>,
    /// Answers nobody: it is busy (486).
    #[arg(long, conflicts_with_all = ["answer_after", "decline"])]
    busy: bool,
    /// Answers nobody: it declines (603).
    #[arg(long, conflicts_with = "answer_after")]
    decline: bool,
    /// Answers nobody: it refuses with this status, 400 to 699 (600: busy everywhere, 606: not acceptable …).
    #[arg(long, value_name = "CODE", conflicts_with_all = ["answer_after", "busy", "decline"], value_parser = refusal)]
    refuse: Option<Reply>,
    /// What it does when the far end asks it to call somebody else (REFER): ask its owner, accept or refuse. By default a
    /// phone that answers by itself refuses, and any other asks.
    #[arg(long, value_name = "ask|accept|refuse", value_parser = transfers)]
    transfers: Option<ReferPolicy>,
    /// What it does when anybody else asks for that. By default it refuses. One that accepts is a music server: it calls
    /// whomever anybody names who reaches it.
    #[arg(long, value_name = "ask|accept|refuse", default_value = "refuse", value_parser = transfers)]
    strangers: ReferPolicy,
    /// Whom the far end hears that is put on hold: a music server, which takes the call, and gives it back for resume
    /// (RFC 5359 section 2.3). A SIP URI, or a user of --domain.
    #[arg(long, value_name = "URI")]
    music: Option<String>,
    /// Everybody reaches this phone at its address, and its Contact says so (GRUU): then it is transferred, and called in
    /// place of another call, from outside of the call too.
    #[arg(long)]
    own_gruu: bool,
    /// Sends back what it hears.
    #[arg(long, conflicts_with_all = ["play", "tone"])]
    echo: bool,
    /// Plays this WAV file into each call.
    #[arg(long, value_name = "F.wav", conflicts_with = "tone")]
    play: Option<PathBuf>,
    /// Plays a tone of this frequency into each call; without a sound it is silent.
    #[arg(long, value_name = "HZ", value_parser = softphone::hertz)]
    tone: Option<f64>,
    /// Records each call into a file call-N.wav of this folder, one hour at most.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// The codecs to take, the preferred one first.
    #[arg(long, value_name = "LIST", default_value = "PCMU,PCMA")]
    codec: Codecs,
    /// Takes the video that it is offered; it comes in and is counted, and none is sent.
    #[arg(long)]
    video: bool,
    /// Prints JSON objects, one a line, instead of text.
    #[arg(long)]
    json: bool,
}

impl Phone {
    pub(crate) fn run(self) -> Outcome {
        let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !self.json;
        let has_screen = has_terminal && self.script.is_none() && self.reply().is_none();
        // Lines on standard error would tear a screen on the same terminal.
        let lines = (has_screen && std::io::stderr().is_terminal()).then(log::Lines::default);
        match &lines {
            Some(lines) => log::begin_into(lines.clone(), LogLevel::Warn),
            None => drop(log::begin(LogFormat::Text, LogLevel::Warn)),
        }
        self.work(has_screen, lines.unwrap_or_default()).unwrap_or_else(Refusal::outcome)
    }

    fn work(self, has_screen: bool, lines: log::Lines) -> Result<Outcome, Refusal> {
        let reply = self.reply();
        if !has_screen && self.script.is_none() && reply.is_none() {
            return Err(Refusal::new(&NO_KEYS, Exit::Usage));
        }
        if self.script.as_ref().is_some_and(|path| path.as_os_str() == "-") && self.who.reads_stdin() {
            let words =
                "standard input can't hold both the password and the script: put one of them into a file";
            return Err(Refusal::new(&words, Exit::Usage));
        }
        let stop = softphone::stop_flag()?;
        let sound = match self.echo {
            true => Sound::Echo,
            false => softphone::sound_of(self.play.as_deref(), self.tone)?,
        };
        let domain = self.who.domain.as_deref();
        let config = SoftphoneConfig {
            identity: self.who.identity(Some(&self.user))?,
            registers: !self.no_register,
            reply,
            transfers: self.transfers.unwrap_or(match reply {
                Some(_) => ReferPolicy::Refuse,
                None => ReferPolicy::Ask,
            }),
            strangers: self.strangers,
            music: self.music.as_deref().map(|music| parse_target(music, domain)).transpose()?,
            own_gruu: self.own_gruu,
            sound,
            codecs: self.codec.0.clone(),
            video: self.video,
            record: self.record.clone(),
            ringback: Some(Ringback::Europe),
        };
        let mut tell = |news: News| {
            let line = if self.json { told::json(&news).to_string() } else { told::text(&news) };
            say(&format!("{line}\n"));
        };
        let exit = match &self.script {
            Some(path) => script::run(&config, path, &stop, &mut tell)?,
            None if reply.is_some() => exit_of(answer(&config, &stop, &mut tell)?),
            None => screen::run(&config, &stop, &lines)?,
        };
        Ok(Ok(exit))
    }

    /// What it does with calls by itself.
    fn reply(&self) -> Option<Reply> {
        match (self.refuse, self.busy, self.decline) {
            (Some(reply), ..) => Some(reply),
            (_, true, _) => Some(Reply::Busy),
            (.., true) => Some(Reply::Decline),
            _ if self.answer => Some(Reply::Answer(Duration::ZERO)),
            _ => self.answer_after.map(Reply::Answer),
        }
    }
}

fn exit_of(end: PhoneEnd) -> Exit {
    match end {
        PhoneEnd::Stopped => Exit::Success,
        PhoneEnd::StillRegistered => Exit::Failed,
        PhoneEnd::WrongPassword => Exit::WrongPassword,
    }
}

fn transfers(text: &str) -> Result<ReferPolicy, &'static str> {
    match text {
        "ask" => Ok(ReferPolicy::Ask),
        "accept" => Ok(ReferPolicy::Accept),
        "refuse" => Ok(ReferPolicy::Refuse),
        _ => Err("expected ask, accept or refuse"),
    }
}

/// A status that refuses a call.
fn refusal(text: &str) -> Result<Reply, String> {
    text.parse().ok().and_then(Reply::refusal).ok_or_else(|| "expected a status from 400 to 699".to_owned())
}
