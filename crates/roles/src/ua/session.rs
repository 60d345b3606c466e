//! The media session of one call: its leased ports and what was offered and answered about them.

use std::net::IpAddr;

use bytes::Bytes;
use dialtone_dialog::offer_answer::{
    Capabilities, Codec, LocalOrigin, LocalStream, Negotiated, OfferAnswer, OfferAnswerError,
    OfferAnswerState, StreamKind, held,
};
use dialtone_wire::sdp::{self, Direction, Mode, SdpError};

use super::refusal::{Refusal, bad_description, not_acceptable};
use crate::context::Context;
use crate::io::{CallHandle, HoldForm, Lease, MediaCommand, Play};
use crate::settings::Settings;

/// The formats of pictures that we take, as RFC 3551 §6 numbers them: H.263, H.261 and MPEG-1 or 2, which need no agreement
/// on parameters.
const VIDEO_FORMATS: [u8; 3] = [34, 31, 32];

/// The sound of a call on leased ports, and its pictures where there are some.
#[derive(Debug)]
pub(super) struct Session {
    lease: Lease,
    /// Where pictures come in. They are counted and not shown, and we send none.
    video: Option<Lease>,
    /// What the media plane was told last about them.
    counted: Option<Negotiated>,
    /// Whether another branch of the fork than the one that is heard is spoken to: its pictures have no ports.
    is_apart: bool,
    offer_answer: OfferAnswer,
    /// As it was before the answer of one branch of a fork was taken.
    before_answer: Option<Box<OfferAnswer>>,
    /// Whether our last offer puts the peer on hold, and how.
    hold: Hold,
    /// What of that the peer has agreed to.
    hold_agreed: Hold,
    /// Whether the peer has put us on hold.
    is_held: bool,
    /// What the media plane was told last.
    applied: Option<(Negotiated, Play)>,
}

/// Whether we hold the peer, and how that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hold {
    /// We do not.
    #[default]
    No,
    /// In this form.
    Yes(HoldForm),
}

/// What an offer of ours changes; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Whether we hold the peer.
    pub(super) hold: Option<Hold>,
    /// Whether there are pictures.
    pub(super) video: Option<bool>,
}

impl Change {
    /// Both at once; what the later one says counts.
    pub(super) fn and(self, later: Change) -> Change {
        Change { hold: later.hold.or(self.hold), video: later.video.or(self.video) }
    }
}

/// Why a description can't be used, or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There are no ports for what it shall have.
    NoPorts,
    /// It breaks the grammar.
    Syntax(SdpError),
    /// It has nothing that we can take, or does not fit what went before.
    Content(OfferAnswerError),
}

impl Unusable {
    /// The response to the INVITE that carried it.
    pub(super) fn refusal(self, settings: &Settings) -> Refusal {
        match self {
            Unusable::NoPorts => Refusal::new(480),
            Unusable::Syntax(error) => bad_description(settings, error),
            Unusable::Content(OfferAnswerError::Glare) => Refusal::new(491),
            Unusable::Content(_) => not_acceptable(settings),
        }
    }
}

impl Session {
    /// Takes ports on a local address; `None` when none are ready.
    pub(super) fn lease(cx: &mut Context<'_>, address: IpAddr) -> Option<Session> {
        let lease = cx.lease(address)?;
        // RFC 3264 §5: session id and version are numbers that fit a signed 64-bit integer.
        let origin =
            LocalOrigin { session_id: cx.random_u64() >> 2, first_version: 1, address: lease.rtp.ip() };
        let offer_answer = OfferAnswer::new(origin, capabilities(cx.settings));
        Some(Session {
            lease,
            video: None,
            counted: None,
            is_apart: false,
            offer_answer,
            before_answer: None,
            hold: Hold::No,
            hold_agreed: Hold::No,
            is_held: false,
            applied: None,
        })
    }

    /// Our offer: the first, or one that changes the session, as by putting the peer on hold (RFC 3264 §8.4), adding
    /// pictures or taking them away (§8.1, §8.2).
    pub(super) fn offer(&mut self, cx: &mut Context<'_>, change: Change) -> Result<Bytes, Unusable> {
        let shows = change.video.unwrap_or(self.has_video());
        if shows && !self.lease_video(cx) {
            return Err(Unusable::NoPorts);
        }
        self.hold = change.hold.unwrap_or(self.hold);
        self.offer_answer.set_zero_address(self.hold == Hold::Yes(HoldForm::Address));
        // The other lines of the session stay disabled; ours are where they were.
        let video = self.video_stream().filter(|_| shows);
        let mut streams = vec![None; self.offer_answer.streams().len()];
        for stream in [Some(self.stream()), video].into_iter().flatten() {
            // One that is new gets the line behind all others.
            let place = self.offer_answer.place_of(stream.kind);
            let is_taken = streams.get(place).is_some_and(Option::is_some);
            let place = if is_taken { streams.len() } else { place };
            streams.resize(streams.len().max(place + 1), None);
            streams[place] = Some(stream);
        }
        let offer = self.offer_answer.make_offer(&streams).map_err(Unusable::Content)?;
        Ok(offer.to_bytes().into())
    }

    /// An offer that asks for the session as it is, with all that we can.
    pub(super) fn offer_again(&mut self, cx: &mut Context<'_>) -> Result<Bytes, Unusable> {
        self.offer(cx, Change::default())
    }

    /// An offer that changes nothing, not even the version of our description (RFC 4028 §7.4).
    pub(super) fn offer_unchanged(&mut self) -> Result<Bytes, Unusable> {
        let offer = self.offer_answer.repeat_offer().map_err(Unusable::Content)?;
        Ok(offer.to_bytes().into())
    }

    /// Takes the answer to our offer.
    pub(super) fn take_answer(&mut self, answer: &[u8]) -> Result<(), Unusable> {
        let answer = parse(answer).inspect_err(|_| self.withdraw())?;
        let asked_sound = self.stream().direction.sends();
        self.offer_answer.handle_answer(&answer).map_err(Unusable::Content)?;
        self.hold_agreed = self.hold;
        // Who was offered nothing can't say that it wants nothing.
        if asked_sound {
            self.is_held = self.offer_answer.is_held();
        }
        Ok(())
    }

    /// Takes the answer of one branch of a fork; [`Session::rewind`] undoes it for the sake of another one.
    pub(super) fn take_early_answer(&mut self, answer: &[u8]) -> Result<(), Unusable> {
        let before = self.offer_answer.clone();
        self.take_answer(answer).inspect_err(|_| self.offer_answer = before.clone())?;
        self.before_answer = Some(Box::new(before));
        Ok(())
    }

    /// Answers the offer of one branch of a fork, in a reliable response to an INVITE without offer.
    pub(super) fn answer_early(&mut self, cx: &mut Context<'_>, offer: &[u8]) -> Result<Bytes, Unusable> {
        let before = self.offer_answer.clone();
        let answer = self.answer(cx, offer)?;
        self.before_answer = Some(Box::new(before));
        Ok(answer)
    }

    /// Lets another branch of the fork than the one that is heard go through offer and answer by itself, from where the
    /// INVITE began it or from where it is (RFC 6337 §2.2: "each has a separate offer/answer negotiation").
    pub(super) fn apart<T>(
        &mut self,
        branch: &mut Option<Box<OfferAnswer>>,
        act: impl FnOnce(&mut Session) -> Result<T, Unusable>,
    ) -> Result<T, Unusable> {
        let own = branch.take().or_else(|| self.before_answer.clone());
        let own = own.map_or_else(|| self.offer_answer.clone(), |own| *own);
        let (hold, hold_agreed, is_held) = (self.hold, self.hold_agreed, self.is_held);
        let heard = std::mem::replace(&mut self.offer_answer, own);
        self.is_apart = true;
        let done = act(self);
        self.is_apart = false;
        *branch = Some(Box::new(std::mem::replace(&mut self.offer_answer, heard)));
        (self.hold, self.hold_agreed, self.is_held) = (hold, hold_agreed, is_held);
        done
    }

    /// The branch that was apart becomes the call.
    pub(super) fn choose(&mut self, branch: OfferAnswer) {
        self.before_answer = None;
        (self.hold, self.hold_agreed) = (Hold::No, Hold::No);
        self.offer_answer = branch;
        self.is_held = self.offer_answer.is_held();
    }

    /// What was agreed to, of what may change.
    pub(super) fn agreed(&self) -> Change {
        Change { hold: Some(self.hold_agreed), video: Some(self.has_video()) }
    }

    /// Whether we hold the peer, and whether it holds us.
    pub(super) fn held(&self) -> [bool; 2] {
        [self.hold_agreed != Hold::No, self.is_held]
    }

    /// Forgets the answer of the branch that did not become the call.
    pub(super) fn rewind(&mut self) {
        if let Some(before) = self.before_answer.take() {
            // The INVITE has held nobody.
            (self.hold, self.hold_agreed) = (Hold::No, Hold::No);
            self.offer_answer = *before;
        }
    }

    /// Answers an offer of the peer. The session changes only on success. Pictures are taken where the settings say so,
    /// and where they are there already; else their line gets port 0.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, offer: &[u8]) -> Result<Bytes, Unusable> {
        let offer = parse(offer)?;
        self.offer_answer.handle_offer(offer).map_err(Unusable::Content)?;
        // What the peer allows of it is in its offer.
        let stream = self.stream_while(false);
        let audio = self.line_for(StreamKind::Audio);
        let video = self.line_for(StreamKind::Video).filter(|_| !self.is_apart);
        let video = video.filter(|_| cx.settings.session.video || self.has_video());
        let video = video.filter(|_| self.lease_video(cx));
        let pictures = self.video_stream();
        let answer = self.offer_answer.make_answer(|line| match line {
            line if Some(line) == audio => Some(stream),
            line if Some(line) == video => pictures,
            _ => None,
        });
        let answer = answer.map_err(Unusable::Content)?;
        self.is_held = self.offer_answer.is_held();
        Ok(answer.to_bytes().into())
    }

    /// Whether the peer offers the very session that is in force: it only refreshes it (RFC 3264 §8, RFC 4028 §7.4).
    pub(super) fn is_in_force(&self, offer: &[u8]) -> bool {
        parse(offer).is_ok_and(|offer| self.offer_answer.remote() == Some(&offer))
    }

    /// Our offer was refused: the session stays as it was (RFC 3261 §14.1).
    pub(super) fn withdraw(&mut self) {
        if self.awaits_answer() {
            let closed = self.offer_answer.reject();
            debug_assert!(closed.is_ok(), "an open offer can be closed");
        }
        self.hold = self.hold_agreed;
        self.offer_answer.set_zero_address(self.hold == Hold::Yes(HoldForm::Address));
    }

    /// Whether the INVITE of a call of ours had an offer.
    pub(super) fn has_offered(&self) -> bool {
        let began = self.before_answer.as_deref().unwrap_or(&self.offer_answer);
        began.state() == OfferAnswerState::LocalOffer
    }

    /// Whether the peer has agreed to be on hold.
    pub(super) fn holds(&self) -> bool {
        self.hold_agreed != Hold::No
    }

    /// Whether an offer of ours is open.
    pub(super) fn awaits_answer(&self) -> bool {
        self.offer_answer.state() == OfferAnswerState::LocalOffer
    }

    /// The line of the open offer of theirs that a stream of this kind goes on in, or else the first one that it can
    /// begin in.
    fn line_for(&self, kind: StreamKind) -> Option<usize> {
        let wanted = self.offer_answer.lines_wanted();
        let mut wanted = wanted.iter().filter(|(_, of)| *of == kind).map(|(line, _)| *line);
        let is_in_use = |line: &usize| self.offer_answer.streams().get(*line).is_some_and(Option::is_some);
        let first = wanted.clone().next();
        wanted.find(is_in_use).or(first)
    }

    /// Whether sound of the peer is agreed on.
    pub(super) fn hears(&self) -> bool {
        self.offer_answer.stream(StreamKind::Audio).is_some_and(|stream| stream.direction.receives())
    }

    /// Whether pictures are agreed on.
    pub(super) fn has_video(&self) -> bool {
        self.offer_answer.stream(StreamKind::Video).is_some()
    }

    /// Sees to it that there are ports for pictures. Says whether there are.
    fn lease_video(&mut self, cx: &mut Context<'_>) -> bool {
        self.video = self.video.or_else(|| cx.lease(self.lease.rtp.ip()));
        self.video.is_some()
    }

    /// Our end of the pictures: we take them and have none to send.
    fn video_stream(&self) -> Option<LocalStream> {
        let direction = match self.hold {
            Hold::No => Direction::RecvOnly,
            Hold::Yes(_) => held(Direction::RecvOnly),
        };
        Some(LocalStream { kind: StreamKind::Video, address: self.video?.rtp, direction })
    }

    /// Tells the media plane what is in force, if it does not know.
    pub(super) fn apply(&mut self, cx: &mut Context<'_>, call: CallHandle, play: &Play) {
        self.apply_video(cx, call);
        let agreed = self.offer_answer.stream(StreamKind::Audio).cloned();
        let session = match (agreed, &self.applied) {
            (Some(agreed), _) => agreed,
            // The stream was disabled (RFC 3264 §8.2): nothing flows until it is offered again.
            (None, Some((applied, _))) => {
                Negotiated { direction: Direction::new(false, false), ..applied.clone() }
            }
            (None, None) => return,
        };
        if self.applied.as_ref().is_some_and(|(applied, played)| *applied == session && played == play) {
            return;
        }
        self.applied = Some((session.clone(), play.clone()));
        cx.media(MediaCommand::Apply {
            lease: self.lease,
            call,
            session: Box::new(session),
            play: play.clone(),
        });
    }

    fn apply_video(&mut self, cx: &mut Context<'_>, call: CallHandle) {
        let Some(lease) = self.video else { return };
        match self.offer_answer.stream(StreamKind::Video) {
            Some(agreed) if self.counted.as_ref() == Some(agreed) => {}
            Some(agreed) => {
                self.counted = Some(agreed.clone());
                cx.media(MediaCommand::Count { lease, call, session: Box::new(agreed.clone()) });
            }
            // An offer of ours may still name the ports.
            None if self.awaits_answer() => {}
            None => {
                (self.video, self.counted) = (None, None);
                cx.media(MediaCommand::Release { lease });
            }
        }
    }

    /// Gives the ports back.
    pub(super) fn release(self, cx: &mut Context<'_>) {
        cx.media(MediaCommand::Release { lease: self.lease });
        if let Some(lease) = self.video {
            cx.media(MediaCommand::Release { lease });
        }
    }

    fn stream(&self) -> LocalStream {
        self.stream_while(self.is_held)
    }

    fn stream_while(&self, is_held: bool) -> LocalStream {
        let direction = match (self.hold, is_held) {
            (Hold::No, _) => Direction::SendRecv,
            (Hold::Yes(_), false) => held(Direction::SendRecv),
            // RFC 3264 §8.4: "If the stream … was previously a recvonly media stream, it is placed on hold by marking it
            // as inactive."
            (Hold::Yes(_), true) => held(Direction::RecvOnly),
        };
        LocalStream { kind: StreamKind::Audio, address: self.lease.rtp, direction }
    }
}

/// What we can do, as the answer to OPTIONS (RFC 3264 §9: as an offer, but with port 0).
pub(super) fn capabilities_description(settings: &Settings, session_id: u64, address: IpAddr) -> Bytes {
    let origin = LocalOrigin { session_id: session_id >> 2, first_version: 1, address };
    let mut offer_answer = OfferAnswer::new(origin, capabilities(settings));
    let address = (address, 0).into();
    let audio = LocalStream { kind: StreamKind::Audio, address, direction: Direction::SendRecv };
    let video = LocalStream { kind: StreamKind::Video, address, direction: Direction::RecvOnly };
    let streams = [Some(audio), Some(video)];
    let offer = offer_answer
        .make_offer(&streams[..1 + usize::from(settings.session.video)])
        .expect("a new session has no open offer");
    offer.to_bytes().into()
}

/// The codecs that were chosen, as RFC 3551 §6 numbers them.
fn capabilities(settings: &Settings) -> Capabilities {
    let codecs = settings.codecs.iter().filter_map(|codec| Codec::of_static(codec.payload_type())).collect();
    let video = VIDEO_FORMATS.into_iter().filter_map(Codec::of_static).collect();
    Capabilities { codecs, video, telephone_event: None, ptime_ms: Some(20) }
}

fn parse(description: &[u8]) -> Result<sdp::Session, Unusable> {
    sdp::Session::parse(description, Mode::Lenient, &sdp::Limits::default())
        .map(|parsed| parsed.session)
        .map_err(Unusable::Syntax)
}
