//! `dialtone call`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dialtone_node::softphone::{
    CallConfig, CallReport, Progress, Ringback, Sound, call, parse_target, sound,
};
use serde_json::json;

use crate::Outcome;
use crate::exit::Exit;
use crate::say;
use crate::softphone::{self, Codecs, Refusal, Who};

/// How long a call lasts when neither --duration nor --play says it.
const DURATION: Duration = Duration::from_secs(5);
/// The call goes on after the file is over, so that all of it has arrived.
const AFTER_SOUND: Duration = Duration::from_millis(500);

/// The arguments of `dialtone call`.
///
/// Exit code 0 means that the call was answered and ended well, and that sound arrived; any other says why not.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Call {
    /// Whom: a SIP URI, or the name of a user of --domain.
    #[arg(value_name = "URI")]
    to: String,
    /// Who calls; without it the call is anonymous.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    who: Who,
    /// Plays this WAV file into the call.
    #[arg(long, value_name = "F.wav", conflicts_with = "tone")]
    play: Option<PathBuf>,
    /// Plays a tone of this frequency into the call; without it and --play the call is silent.
    #[arg(long, value_name = "HZ", value_parser = softphone::hertz)]
    tone: Option<f64>,
    /// Records what is heard into this WAV file, one hour at most: ringback and early media too.
    #[arg(long, value_name = "F.wav")]
    record: Option<PathBuf>,
    /// The codecs to offer, the preferred one first.
    #[arg(long, value_name = "LIST", default_value = "PCMU,PCMA")]
    codec: Codecs,
    /// How long the two talk, in seconds; by default as long as the file of --play, or 5. The far end may end it before.
    #[arg(long, value_name = "S", value_parser = softphone::seconds)]
    duration: Option<Duration>,
    /// How long it may ring, in seconds.
    #[arg(long, value_name = "S", default_value = "30", value_parser = softphone::seconds)]
    ring: Duration,
    /// The ringback that is heard while it rings and no sound comes: that of Europe (425 Hz), of the United States or of
    /// the United Kingdom, or none.
    #[arg(long, value_name = "eu|us|uk|none", default_value = "eu", value_parser = ringback)]
    ringback: Tone,
    /// Fails unless this tone is what is heard.
    #[arg(long, value_name = "HZ", value_parser = softphone::hertz, conflicts_with = "no_media")]
    expect_tone: Option<f64>,
    /// Does not ask for sound: an answer is enough.
    #[arg(long)]
    no_media: bool,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Call {
    pub(crate) fn run(self) -> Outcome {
        self.place().unwrap_or_else(Refusal::outcome)
    }

    fn place(self) -> Result<Outcome, Refusal> {
        let stop = softphone::stop_flag()?;
        let sound = softphone::sound_of(self.play.as_deref(), self.tone)?;
        let config = CallConfig {
            identity: self.who.identity(self.user.as_deref())?,
            to: parse_target(&self.to, self.who.domain.as_deref())?,
            codecs: self.codec.0.clone(),
            ring: self.ring,
            duration: self.duration.unwrap_or_else(|| default_duration(&sound)),
            sound,
            record: self.record.is_some(),
            ringback: self.ringback.0,
            needs_audio: !self.no_media,
            expect_tone_hz: self.expect_tone,
        };
        let failed = |error: sound::SoundError| Refusal::new(&error, Exit::Data);
        let record = self.record.as_deref().map(sound::NewSound::create).transpose().map_err(failed)?;
        let shows_progress = std::io::stdout().is_terminal() && !self.json;
        let mut tell = |progress| {
            if shows_progress {
                say(&format!("\r\x1b[K{}", progress_text(progress, config.duration)));
            }
        };
        let report = call(&config, &stop, &mut tell)?;
        if shows_progress {
            say("\r\x1b[K");
        }
        if let Some(record) = record {
            record.save(&report.heard()).map_err(failed)?;
        }
        let exit = softphone::exit_of(&report.verdict);
        say(&if self.json {
            format!("{}\n", self.report_json(&config, &report, exit))
        } else {
            report_text(&config, &report)
        });
        Ok(Ok(exit))
    }

    fn report_json(&self, config: &CallConfig, report: &CallReport, exit: Exit) -> serde_json::Value {
        let seconds = |time: Duration| softphone::round(time.as_secs_f64(), 3);
        json!({
            "schema": 1,
            "ok": exit == Exit::Success,
            "exit_code": exit as u8,
            "reason": report.verdict.word(),
            "verdict": report.verdict.to_string(),
            "to": config.to.as_str(),
            "status": report.status.map(|status| status.code()),
            "rang": report.rang,
            "ringback_s": seconds(report.ringback_time),
            "redirected": report.redirected.iter().map(|uri| uri.as_str()).collect::<Vec<_>>(),
            "password_kept": report.password_kept.iter().map(|realm| realm.as_str()).collect::<Vec<_>>(),
            "error_info": report.error_info.as_ref().map(|uri| uri.as_str()),
            "answered_after_s": report.answered_after.map(seconds),
            "talk_s": report.talk.map(seconds),
            "ended": report.ended_words().map(|(word, _)| word),
            "audio": report.audio.as_ref().map(softphone::audio_json),
        })
    }
}

/// The ringback that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tone(Option<Ringback>);

fn ringback(text: &str) -> Result<Tone, String> {
    Ok(Tone(match text {
        "eu" => Some(Ringback::Europe),
        "us" => Some(Ringback::NorthAmerica),
        "uk" => Some(Ringback::Britain),
        "none" => None,
        _ => return Err("expected eu, us, uk or none".to_owned()),
    }))
}

fn default_duration(sound: &Sound) -> Duration {
    match sound {
        Sound::Samples(samples) => {
            let millis = samples.len().saturating_mul(1000) / 8000;
            Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)).saturating_add(AFTER_SOUND)
        }
        _ => DURATION,
    }
}

fn progress_text(progress: Progress, duration: Duration) -> String {
    match progress {
        Progress::Calling(time) => format!("calling … {} s", time.as_secs()),
        Progress::Ringing(time) => format!("it rings … {} s", time.as_secs()),
        Progress::Talking(time) => format!("talking … {} of {} s", time.as_secs(), duration.as_secs()),
        _ => String::new(),
    }
}

fn report_text(config: &CallConfig, report: &CallReport) -> String {
    let mut out = format!("{}: {}\n", config.to, report.verdict);
    for uri in &report.redirected {
        out.push_str(&format!("  was sent elsewhere: {uri}\n"));
    }
    for realm in &report.password_kept {
        out.push_str(&format!("  {}\n", softphone::password_kept(realm)));
    }
    if let Some(uri) = &report.error_info {
        out.push_str(&format!("  more about it: {uri}\n"));
    }
    if let (Some(after), Some(talk)) = (report.answered_after, report.talk) {
        let ended = report.ended_words().map_or("its end was not confirmed", |(_, words)| words);
        out.push_str(&format!(
            "  answered after {:.1} s; talked for {:.1} s; {ended}\n",
            after.as_secs_f64(),
            talk.as_secs_f64()
        ));
    }
    if let Some(audio) = &report.audio {
        out.push_str(&softphone::audio_text(audio));
    }
    if let (Some(expected), Exit::Success) = (config.expect_tone_hz, softphone::exit_of(&report.verdict)) {
        out.push_str(&format!("  the tone of {expected:.0} Hz was heard\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use dialtone_node::AudioCodec;

    use super::*;

    #[test]
    fn codecs_are_read_in_their_order_and_times_and_tones_have_limits() {
        let codecs = |text: &str| text.parse::<Codecs>().map(|codecs| codecs.0);
        assert_eq!(codecs("pcma,PCMU,PCMA"), Ok(vec![AudioCodec::Pcma, AudioCodec::Pcmu]));
        assert!(codecs("opus").is_err() && codecs("").is_err());
        assert_eq!(softphone::seconds("2.5"), Ok(Duration::from_millis(2500)));
        assert!(softphone::seconds("-1").is_err() && softphone::seconds("nan").is_err());
        assert!(softphone::hertz("440").is_ok() && softphone::hertz("4000").is_err());
    }

    #[test]
    fn a_call_lasts_as_long_as_its_file() {
        assert_eq!(default_duration(&Sound::Silence), DURATION);
        let second = Sound::Samples(vec![0; 8000].into());
        assert_eq!(default_duration(&second), Duration::from_millis(1500));
    }
}
