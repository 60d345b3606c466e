//! A SIP ping: OPTIONS, and what comes back (RFC 3261 §11).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dialtone_roles::io::{Command, Event};
use dialtone_roles::settings::{AudioCodec, TransferSettings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Limits, Message, Status};

use super::verdict::Verdict;
use super::{Identity, SoftphoneError, TICK};
use crate::clock;
use crate::media::MediaSettings;
use crate::phone::PhoneEvent;

/// What is asked.
#[derive(Clone, Debug)]
pub struct PingConfig {
    /// Who asks.
    pub identity: Identity,
    /// Whom.
    pub to: UriBuf,
    /// How long an answer is waited for.
    pub patience: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PingReport {
    /// The judgement: [`Verdict::Ok`] for a 2xx.
    pub verdict: Verdict,
    /// The status; `None` when nobody answered.
    pub status: Option<Status>,
    /// From the question to its answer; with a password asked for, all of it.
    pub round_trip: Option<Duration>,
    /// What the far end calls itself (Server or User-Agent).
    pub product: Option<String>,
    /// The methods of Allow.
    pub allow: Vec<String>,
    /// The content types of Accept.
    pub accept: Vec<String>,
    /// The extensions of Supported.
    pub supported: Vec<String>,
}

/// Asks with OPTIONS and waits for the answer. Setting `stop` gives up.
///
/// # Errors
/// When there is no phone to ask with.
pub fn ping(config: &PingConfig, stop: &AtomicBool) -> Result<PingReport, SoftphoneError> {
    let codecs = AudioCodec::ALL.to_vec();
    let phone = config.identity.start(
        Some(&config.to),
        codecs,
        TransferSettings::default(),
        false,
        MediaSettings::default(),
    )?;
    let begun = clock::now();
    let deadline = begun + config.patience;
    let mut report = PingReport {
        verdict: Verdict::Unreachable,
        status: None,
        round_trip: None,
        product: None,
        allow: Vec::new(),
        accept: Vec::new(),
        supported: Vec::new(),
    };
    // A new phone has room for a command; if not, nobody answers.
    let _ = phone.command(Command::Options { token: 1, to: config.to.clone() });
    loop {
        let now = clock::now();
        if now >= deadline || stop.load(Ordering::Relaxed) {
            break;
        }
        if let Some(PhoneEvent::Signalling(Event::OptionsAnswered { status, response, .. })) =
            phone.next(deadline.since(now).min(TICK))
        {
            if let Some(status) = status {
                report.status = Some(status);
                report.verdict = Verdict::of_status(status, false);
                report.round_trip = Some(clock::now().since(begun));
            }
            if let Some(Ok(response)) = response.map(|bytes| Message::parse(bytes, &Limits::default())) {
                report.read(&response);
            }
            break;
        }
    }
    phone.stop();
    Ok(report)
}

impl PingReport {
    fn read(&mut self, response: &Message) {
        let list = |name| {
            response
                .values(name)
                .flat_map(|value| value.split(|byte| *byte == b','))
                .map(|item| String::from_utf8_lossy(item.trim_ascii()).into_owned())
                .filter(|item| !item.is_empty())
                .collect()
        };
        let product = response.value(HeaderName::Server).or(response.value(HeaderName::UserAgent));
        self.product = product.map(|value| String::from_utf8_lossy(value.trim_ascii()).into_owned());
        self.allow = list(HeaderName::Allow);
        self.accept = list(HeaderName::Accept);
        self.supported = list(HeaderName::Supported);
    }
}
