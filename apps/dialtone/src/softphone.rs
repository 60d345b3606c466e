//! What `dialtone call`, `phone` and `options` have in common: who the phone is, what it plays, how it is stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use dialtone_node::softphone::{Identity, SoftphoneError, Sound, Verdict, parse_proxy, sound};
use dialtone_node::{AudioCodec, MediaReport, Password, Signals, StartError};
use serde_json::{Value, json};

use crate::Outcome;
use crate::exit::{self, Exit};

/// Who the phone is.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// The password. Others on this machine can see it in the list of programs: rather use --password-file.
    #[arg(long, value_name = "PW", requires = "user", conflicts_with = "password_file")]
    password: Option<String>,
    /// A file with the password in its first line; - reads standard input.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// The domain of the user; by default that of whom it calls, or the host of --proxy.
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Option<String>,
    /// The server that all requests go to first.
    #[arg(long, value_name = "SIP-URI|ADDRESS:PORT")]
    proxy: Option<String>,
    /// The server that takes the place of --proxy when that does not answer.
    #[arg(long, value_name = "SIP-URI|ADDRESS:PORT", requires = "proxy")]
    backup_proxy: Option<String>,
    /// A realm that gets an answer whoever names it, besides those of its domain and its registrar; may be given several
    /// times.
    #[arg(long = "realm", value_name = "NAME", requires = "user")]
    realms: Vec<String>,
}

/// Why somebody who asked for the password got nothing. What he says must not steer the terminal.
pub(crate) fn password_kept(realm: &str) -> String {
    let realm: String = realm.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!(
        "realm {realm} asks for a password and gets none: it is not ours (--realm answers it all the same)"
    )
}

/// Codecs in the order of a command line.
#[derive(Clone, Debug)]
pub(crate) struct Codecs(pub(crate) Vec<AudioCodec>);

impl std::str::FromStr for Codecs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Codecs, &'static str> {
        let mut codecs = Vec::new();
        for name in text.split(',') {
            let codec =
                AudioCodec::from_name(name.trim()).ok_or("expected PCMU, PCMA, or both with a comma")?;
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        Ok(Codecs(codecs))
    }
}

/// A time in seconds, as in `2.5`.
pub(crate) fn seconds(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "expected seconds from 0 to 86400, as in 2.5";
    let value: f64 = text.parse().map_err(|_| WRONG)?;
    if (0.0..=86_400.0).contains(&value) { Ok(Duration::from_secs_f64(value)) } else { Err(WRONG) }
}

/// The frequency of a tone that G.711 can carry, in hertz.
pub(crate) fn hertz(text: &str) -> Result<f64, &'static str> {
    const WRONG: &str = "expected a frequency from 50 to 3800 Hz";
    let value: f64 = text.parse().map_err(|_| WRONG)?;
    if (50.0..=3800.0).contains(&value) { Ok(value) } else { Err(WRONG) }
}

/// Why a command could not begin: the words are for people, the code for programs.
pub(crate) struct Refusal(String, Exit);

impl Refusal {
    pub(crate) fn new(error: &dyn std::fmt::Display, exit: Exit) -> Refusal {
        Refusal(error.to_string(), exit)
    }

    /// Says it on standard error.
    pub(crate) fn outcome(self) -> Outcome {
        eprintln!("dialtone: {}", self.0);
        Ok(self.1)
    }
}

impl From<SoftphoneError> for Refusal {
    fn from(error: SoftphoneError) -> Refusal {
        let exit = match &error {
            SoftphoneError::Start(start) => exit::of(start),
            SoftphoneError::NoAddress(_) | SoftphoneError::NoWay { .. } => Exit::Unreachable,
            _ => Exit::Usage,
        };
        Refusal::new(&error, exit)
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Refusal {
        Refusal::new(&error, exit::of(&error))
    }
}

impl Who {
    pub(crate) fn identity(&self, user: Option<&str>) -> Result<Identity, Refusal> {
        Ok(Identity {
            user: user.map(Into::into),
            password: self.password()?.map(|password| Password(password.as_str().into())),
            domain: self.domain.as_deref().map(Into::into),
            proxy: self.proxy.as_deref().map(parse_proxy).transpose()?,
            backup_proxy: self.backup_proxy.as_deref().map(parse_proxy).transpose()?,
            realms: self.realms.iter().map(Into::into).collect(),
        })
    }

    /// Whether the password comes from standard input.
    pub(crate) fn reads_stdin(&self) -> bool {
        self.password_file.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }

    fn password(&self) -> Result<Option<String>, Refusal> {
        let Some(path) = &self.password_file else { return Ok(self.password.clone()) };
        let text = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(path)
        };
        let text =
            text.map_err(|error| Refusal::new(&format_args!("{}: {error}", path.display()), Exit::Data))?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }
}

/// What is played: a file, a tone, or silence.
pub(crate) fn sound_of(play: Option<&Path>, tone: Option<f64>) -> Result<Sound, Refusal> {
    Ok(match (play, tone) {
        (Some(path), _) => {
            let samples = sound::load(path).map_err(|error| Refusal::new(&error, Exit::Data))?;
            Sound::Samples(samples.into())
        }
        (None, Some(hz)) => Sound::Tone(hz as f32),
        (None, None) => Sound::Silence,
    })
}

/// SIGTERM, Ctrl-C and SIGHUP (the terminal is closed) set the flag; the second one ends the program at once.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>, StartError> {
    // Before any thread starts, so that none of them takes the signals.
    let signals = Signals::block()?;
    let flag = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&flag);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        loop {
            // A phone has no settings file that SIGHUP could have it read again.
            signals.wait();
            if theirs.swap(true, Ordering::Relaxed) {
                crate::phone::restore_terminal();
                std::process::exit(Exit::Failed as i32);
            }
        }
    })?;
    Ok(flag)
}

/// The exit code of a verdict.
pub(crate) fn exit_of(verdict: &Verdict) -> Exit {
    match verdict {
        Verdict::Ok => Exit::Success,
        Verdict::Busy(_) => Exit::Busy,
        Verdict::NoAnswer => Exit::NoAnswer,
        Verdict::Declined(_) => Exit::Declined,
        Verdict::WrongPassword => Exit::WrongPassword,
        Verdict::NobodyThere(_) => Exit::NobodyThere,
        Verdict::Unreachable => Exit::Unreachable,
        Verdict::Refused(_) => Exit::Refused,
        Verdict::BrokenOff(_) => Exit::BrokenOff,
        Verdict::NoAudio | Verdict::Silence => Exit::NoAudio,
        Verdict::OnlyThere | Verdict::OnlyHere => Exit::OneWayAudio,
        Verdict::ToneNotHeard { .. } => Exit::ToneNotHeard,
        _ => Exit::Failed,
    }
}

pub(crate) fn round(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

/// The figures of one call's audio.
pub(crate) fn audio_json(audio: &MediaReport) -> Value {
    let report = &audio.report;
    let (sent, received) = (&report.sent, &report.received);
    json!({
        "codec": report.codec.encoding_name(),
        "sent": {
            "packets": sent.packets,
            "level_dbfs": round(sent.level_dbfs, 2),
            "lost": sent.loss.map(|loss| loss.packets.max(0)),
            "jitter_ms": sent.jitter_ms.map(|jitter| round(jitter, 3)),
        },
        "received": {
            "packets": received.packets,
            "level_dbfs": round(received.level_dbfs, 2),
            "lost": received.loss.map(|loss| loss.packets.max(0)),
            "jitter_ms": received.jitter_ms.map(|jitter| round(jitter, 3)),
            "tone_hz": received.tone.map(|tone| round(tone.hz, 2)),
            "tone_share": received.tone.map(|tone| round(tone.share, 4)),
        },
        "round_trip_ms": report.round_trip.map(|time| round(time.as_secs_f64() * 1000.0, 3)),
    })
}

/// The same for people, in two lines.
pub(crate) fn audio_text(audio: &MediaReport) -> String {
    let report = &audio.report;
    let (sent, received) = (&report.sent, &report.received);
    let lost_there = match sent.loss {
        Some(loss) => format!("the far end misses {}", loss.packets.max(0)),
        None => "the far end reports nothing".to_owned(),
    };
    let tone = match received.tone {
        Some(tone) => format!("strongest tone {:.1} Hz ({:.0} % of it)", tone.hz, tone.share * 100.0),
        None => "no tone".to_owned(),
    };
    format!(
        "  sent   {} packets of {}, {:.1} dBFS; {lost_there}\n  heard  {} packets, {} lost, jitter {:.1} ms, \
         {:.1} dBFS, {tone}\n",
        sent.packets,
        report.codec.encoding_name(),
        sent.level_dbfs,
        received.packets,
        received.loss.map_or(0, |loss| loss.packets.max(0)),
        received.jitter_ms.unwrap_or(0.0),
        received.level_dbfs,
    )
}
