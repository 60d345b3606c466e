//! `dialtone phone`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dialtone_node::softphone::{AnswerConfig, AnswerEnd, AnswerEvent, Reply, Sound, answer};
use serde_json::{Value, json};

use crate::Outcome;
use crate::exit::Exit;
use crate::say;
use crate::softphone::{self, Codecs, Refusal, Who};

/// The arguments of `dialtone phone`.
///
/// It registers and answers whoever calls, until Ctrl-C or SIGTERM: then it hangs up and takes its registration away.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Phone {
    /// Who it is.
    #[arg(long, value_name = "NAME")]
    user: String,
    #[command(flatten)]
    who: Who,
    /// Lets calls ring for so many seconds before it answers.
    #[arg(long, value_name = "S", default_value = "0", value_parser = softphone::seconds)]
    answer_after: Duration,
    /// Answers nobody: it is busy (486).
    #[arg(long, conflicts_with_all = ["answer_after", "decline"])]
    busy: bool,
    /// Answers nobody: it declines (603).
    #[arg(long, conflicts_with = "answer_after")]
    decline: bool,
    /// Answers nobody: it refuses with this status, 400 to 699 (600: busy everywhere, 606: not acceptable …).
    #[arg(long, value_name = "CODE", conflicts_with_all = ["answer_after", "busy", "decline"], value_parser = refusal)]
    refuse: Option<Reply>,
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
    /// Prints JSON objects, one a line, instead of text.
    #[arg(long)]
    json: bool,
}

impl Phone {
    pub(crate) fn run(self) -> Outcome {
        self.answer().unwrap_or_else(Refusal::outcome)
    }

    fn answer(self) -> Result<Outcome, Refusal> {
        let stop = softphone::stop_flag()?;
        let sound = match self.echo {
            true => Sound::Echo,
            false => softphone::sound_of(self.play.as_deref(), self.tone)?,
        };
        let reply = match (self.refuse, self.busy, self.decline) {
            (Some(reply), ..) => reply,
            (_, true, _) => Reply::Busy,
            (.., true) => Reply::Decline,
            _ => Reply::Answer(self.answer_after),
        };
        let identity = self.who.identity(Some(&self.user))?;
        let config = AnswerConfig { identity, reply, sound, codecs: self.codec.0, record: self.record };
        let mut tell = |event: AnswerEvent| {
            let line = if self.json { event_json(&event).to_string() } else { event_text(&event) };
            say(&format!("{line}\n"));
        };
        let end = answer(&config, &stop, &mut tell)?;
        Ok(Ok(match end {
            AnswerEnd::Stopped => Exit::Success,
            AnswerEnd::StillRegistered => Exit::Failed,
            AnswerEnd::WrongPassword => Exit::WrongPassword,
        }))
    }
}

/// A status that refuses a call.
fn refusal(text: &str) -> Result<Reply, String> {
    text.parse().ok().and_then(Reply::refusal).ok_or_else(|| "expected a status from 400 to 699".to_owned())
}

fn event_json(event: &AnswerEvent) -> Value {
    match event {
        AnswerEvent::Ready(address) => json!({"schema": 1, "event": "ready", "address": address.to_string()}),
        AnswerEvent::Registered(seconds) => {
            json!({"schema": 1, "event": "registered", "expires_s": seconds})
        }
        AnswerEvent::ClockDiffers(seconds) => {
            json!({"schema": 1, "event": "clock_differs", "server_ahead_s": seconds})
        }
        AnswerEvent::RegistrationFailed { status, wrong_password } => json!({
            "schema": 1,
            "event": "registration-failed",
            "status": status.map(|status| status.code()),
            "wrong_password": wrong_password,
        }),
        AnswerEvent::Incoming { number, from } => {
            json!({"schema": 1, "event": "incoming", "call": number, "from": from.as_str()})
        }
        AnswerEvent::Answered { number } => json!({"schema": 1, "event": "answered", "call": number}),
        AnswerEvent::Ended { number, reason, audio, recording, .. } => json!({
            "schema": 1,
            "event": "ended",
            "call": number,
            "reason": reason,
            "audio": audio.as_deref().map(softphone::audio_json),
            "recording": recording.as_ref().and_then(|path| path.as_ref().ok()),
            "recording_error":
                recording.as_ref().and_then(|path| path.as_ref().err()).map(ToString::to_string),
        }),
        AnswerEvent::Unregistered => json!({"schema": 1, "event": "unregistered"}),
        _ => json!({"schema": 1, "event": "other"}),
    }
}

fn event_text(event: &AnswerEvent) -> String {
    match event {
        AnswerEvent::Ready(address) => format!("dialtone phone at {address}; Ctrl-C ends it"),
        AnswerEvent::Registered(seconds) => format!("registered for {seconds} s"),
        AnswerEvent::ClockDiffers(seconds) => {
            let way = if *seconds > 0 { "ahead of" } else { "behind" };
            format!("the server's clock is {} s {way} the clock here", seconds.unsigned_abs())
        }
        AnswerEvent::RegistrationFailed { wrong_password: true, .. } => {
            "not registered: the password was refused".to_owned()
        }
        AnswerEvent::RegistrationFailed { status: Some(status), .. } => {
            format!("not registered: the server says {} {}; trying again", status.code(), status.reason())
        }
        AnswerEvent::RegistrationFailed { status: None, .. } => {
            "not registered: nobody answers; trying again".to_owned()
        }
        AnswerEvent::Incoming { number, from } => format!("call {number}: {from} calls"),
        AnswerEvent::Answered { number } => format!("call {number}: talking"),
        AnswerEvent::Ended { number, words, audio, recording, .. } => {
            let mut out = format!("call {number}: over, {words}");
            if let Some(audio) = audio {
                out.push('\n');
                out.push_str(softphone::audio_text(audio).trim_end());
            }
            match recording {
                Some(Ok(path)) => out.push_str(&format!("\n  recorded in {}", path.display())),
                Some(Err(error)) => out.push_str(&format!("\n  not recorded: {error}")),
                None => {}
            }
            out
        }
        AnswerEvent::Unregistered => "not registered any more".to_owned(),
        _ => String::new(),
    }
}
