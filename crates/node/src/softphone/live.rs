//! A [`Handset`] on a running [`Phone`]: what it commands is carried out, what happens it is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dialtone_media::Ringback;
use dialtone_roles::io::Command;
use dialtone_roles::settings::{AudioCodec, JoinPolicy, ReferPolicy, TransferSettings};
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use super::action::Action;
use super::handset::{CannotDo, Handset, Registration, Reply};
use super::news::News;
use super::sound::NewSound;
use super::{END_TIME, Identity, RECORD_SAMPLES_MAX, SoftphoneError, Sound, TICK};
use crate::clock;
use crate::media::MediaSettings;
use crate::phone::{Phone, PhoneEvent};

/// What a phone is started with.
#[derive(Clone, Debug)]
pub struct SoftphoneConfig {
    /// Who it is.
    pub identity: Identity,
    /// Whether it registers by itself when it starts.
    pub registers: bool,
    /// What it does with calls by itself; without it they ring until its owner does something.
    pub reply: Option<Reply>,
    /// What it does when the far end of a call asks it to call somebody else (REFER).
    pub transfers: ReferPolicy,
    /// What it does when anybody else asks for that: a music server accepts.
    pub strangers: ReferPolicy,
    /// The music server that the far end of a call hears whom its owner holds (RFC 5359 §2.3).
    pub music: Option<UriBuf>,
    /// Whether its Contact is a GRUU of its own making (RFC 5627 §4.3): everybody reaches it at its address.
    pub own_gruu: bool,
    /// What it plays into them.
    pub sound: Sound,
    /// The codecs that it offers and takes, the preferred one first.
    pub codecs: Vec<AudioCodec>,
    /// Whether it takes the video that it is offered: received and counted, nothing is sent.
    pub video: bool,
    /// The folder that each call is recorded in.
    pub record: Option<PathBuf>,
    /// The ringback that is heard while a far end rings.
    pub ringback: Option<Ringback>,
}

/// Why a phone ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhoneEnd {
    /// Its owner wanted it, and all was taken down in good order.
    Stopped,
    /// Its owner wanted it, and the server did not confirm the end of the registration.
    StillRegistered,
    /// The password is wrong.
    WrongPassword,
}

/// A running phone that does what it is told.
#[derive(Debug)]
pub struct Softphone {
    phone: Phone,
    handset: Handset,
    record: Option<PathBuf>,
    domain: SmolStr,
    aor: UriBuf,
}

/// Registers and answers by itself until `stop` is set; then hangs up and takes the registration away.
///
/// # Errors
/// When there is no phone.
pub fn answer(
    config: &SoftphoneConfig,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(News),
) -> Result<PhoneEnd, SoftphoneError> {
    let mut phone = Softphone::start(config)?;
    tell(News::Ready(phone.address()));
    while !stop.load(Ordering::Relaxed) && !phone.has_wrong_password() {
        phone.step(TICK);
        while let Some(news) = phone.poll_news() {
            tell(news);
        }
    }
    Ok(phone.close(tell))
}

impl Softphone {
    /// Starts a phone; it registers where it shall.
    ///
    /// # Errors
    /// When there is no phone.
    pub fn start(config: &SoftphoneConfig) -> Result<Softphone, SoftphoneError> {
        let media = MediaSettings {
            record_samples_max: if config.record.is_some() { RECORD_SAMPLES_MAX } else { 0 },
            prepared: config.sound.prepared(),
            ..MediaSettings::default()
        };
        let (aor, domain) = (config.identity.account(None)?.aor, config.identity.own_domain()?);
        // Who answers by himself lets nobody listen to his calls.
        let joins = if config.reply.is_some() { JoinPolicy::Refuse } else { JoinPolicy::Ask };
        let transfer = TransferSettings {
            referred: config.transfers,
            // Who does it unasked says to the engine what is heard in such calls.
            strangers: match config.strangers {
                ReferPolicy::Accept => ReferPolicy::Ask,
                policy => policy,
            },
            joins,
            self_made_gruu: config.own_gruu,
            ..TransferSettings::default()
        };
        let phone = config.identity.start(None, config.codecs.clone(), transfer, config.video, media)?;
        let handset = Handset::new(config.sound.play(), config.reply, config.ringback)
            .with_music(config.music.clone())
            .obeying_strangers(config.strangers == ReferPolicy::Accept);
        let mut phone = Softphone { phone, handset, record: config.record.clone(), domain, aor };
        if config.registers {
            // Registering is always possible.
            let _ = phone.act(&Action::Register);
        }
        Ok(phone)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.phone.address()
    }

    /// Who it is.
    pub fn aor(&self) -> &UriBuf {
        &self.aor
    }

    /// The domain of its address: bare names are its users.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Its calls.
    pub fn handset(&self) -> &Handset {
        &self.handset
    }

    /// Whether the server has refused its password: it does not try again.
    pub fn has_wrong_password(&self) -> bool {
        self.handset.registration() == Registration::WrongPassword
    }

    /// Does it, or says why that can't be done now.
    ///
    /// # Errors
    /// As for [`Handset::act`].
    pub fn act(&mut self, action: &Action) -> Result<(), CannotDo> {
        let done = self.handset.act(clock::now(), action);
        self.carry_out();
        done
    }

    /// Takes the next thing that happens within this time, and does what is due. Ask [`Softphone::poll_news`] after it.
    /// Says whether something happened.
    pub fn step(&mut self, patience: Duration) -> bool {
        let now = clock::now();
        let due = self.handset.poll_timeout().map_or(patience, |at| at.since(now));
        let next = self.phone.next(patience.min(due));
        let is_something = next.is_some();
        match next {
            Some(PhoneEvent::Signalling(event)) => self.handset.handle(clock::now(), event),
            Some(PhoneEvent::Audio(report)) => self.handset.take_audio(clock::now(), report),
            None => {}
        }
        self.handset.handle_timeout(clock::now());
        self.carry_out();
        is_something
    }

    /// Looks at the meters of all calls.
    pub fn look(&mut self) {
        if let Some(meters) = self.phone.meters() {
            self.handset.take_meters(meters);
        }
    }

    /// What happened next; `None` when all was told. Recordings are written here.
    pub fn poll_news(&mut self) -> Option<News> {
        let mut news = self.handset.poll_news()?;
        if let News::Ended { audio: Some(audio), recording, .. } = &mut news {
            let samples = std::mem::take(&mut audio.recording);
            let folder = self.record.as_ref();
            *recording = folder.map(|folder| NewSound::create_in(folder).and_then(|new| new.save(&samples)));
        }
        Some(news)
    }

    fn carry_out(&mut self) {
        while let Some(command) = self.handset.poll_command() {
            self.command(command);
        }
    }

    fn command(&self, command: Command) {
        if self.phone.command(command).is_err() {
            tracing::warn!("the phone has too much to do: a command was lost");
        }
    }

    /// Hangs up all calls, then takes the registration away, for some seconds at most.
    pub fn close(mut self, tell: &mut dyn FnMut(News)) -> PhoneEnd {
        let wrong_password = self.has_wrong_password();
        let was_registered = self.is_registered();
        // Ending is always possible.
        let _ = self.act(&Action::Quit);
        let deadline = clock::now() + END_TIME;
        loop {
            while let Some(news) = self.poll_news() {
                tell(news);
            }
            let is_over = self.handset.lines().next().is_none() && !self.is_registered();
            if is_over || clock::now() >= deadline {
                break;
            }
            self.step(TICK.min(deadline.since(clock::now())));
        }
        let still_registered = was_registered && self.is_registered();
        self.phone.stop();
        match (wrong_password, still_registered) {
            (true, _) => PhoneEnd::WrongPassword,
            (false, true) => PhoneEnd::StillRegistered,
            (false, false) => PhoneEnd::Stopped,
        }
    }

    fn is_registered(&self) -> bool {
        matches!(self.handset.registration(), Registration::On(_))
    }
}
