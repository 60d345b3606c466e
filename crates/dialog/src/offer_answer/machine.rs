//! The state machine of one session.

use dialtone_wire::sdp::{Media, RtpMap, Session, Time};
use thiserror::Error;

use super::capabilities::{Capabilities, Codec, LocalStream, StreamKind};
use super::describe::{Line, LocalOrigin, describe};
use super::negotiate::{AnswerFault, Negotiated, kind_of, negotiate, remote_direction};

/// Who waits for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferAnswerState {
    /// No offer is open.
    Stable,
    /// We sent an offer and wait for the answer.
    LocalOffer,
    /// We received an offer and owe the answer.
    RemoteOffer,
}

/// Why a step of offer and answer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OfferAnswerError {
    /// An offer came while ours is open: answer 491 (RFC 3261 §14.2).
    #[error("an offer of ours is open")]
    Glare,
    /// An offer came, or was to be made, while theirs is open: answer 500 with Retry-After (RFC 3261 §14.2).
    #[error("an offer of theirs is open")]
    OfferPending,
    /// There is no open offer that this would answer or reject. A description in a later response to an answered
    /// offer is to be ignored (RFC 3261 §13.2.1).
    #[error("no such offer is open")]
    NoOffer,
    /// The offer has fewer `m=` lines than the session has (RFC 3264 §8): answer 488.
    #[error("m= lines were removed")]
    LinesRemoved,
    /// No stream of the offer can be accepted: answer 488 (RFC 3261 §13.3.1.3).
    #[error("no stream can be accepted")]
    NotAcceptable,
    /// The answer has another number of `m=` lines than our offer (RFC 3264 §6).
    #[error("the answer does not have one m= line for each of the offer")]
    LineCount,
    /// A line of the answer, counted from 0, does not fit our offer.
    #[error("m= line {line} of the answer does not fit the offer: {fault:?}")]
    BadAnswer {
        /// The line.
        line: usize,
        /// What is wrong with it.
        fault: AnswerFault,
    },
}

/// Offer and answer of one session, from our side.
#[derive(Clone, Debug)]
pub struct OfferAnswer {
    origin: LocalOrigin,
    capabilities: Capabilities,
    state: OfferAnswerState,
    /// The last description of ours that went out, with its lines; also one that was refused, because its version
    /// is used up.
    sent: Option<(Session, Vec<Line>)>,
    /// The open offer of theirs.
    offered: Option<Session>,
    agreed: Agreed,
    /// For each line, the payload types that we have ever said we receive. RFC 3264 §8.3.2: "the mapping from a
    /// particular dynamic payload type number to a particular codec … MUST NOT change".
    payload_types: Vec<Vec<RtpMap>>,
    /// Whether our descriptions have an address of zeros.
    zero_address: bool,
}

/// The session in force.
#[derive(Clone, Debug, Default)]
struct Agreed {
    local: Option<Session>,
    lines: Vec<Line>,
    remote: Option<Session>,
    streams: Vec<Option<Negotiated>>,
}

impl OfferAnswer {
    /// Starts with no session.
    pub fn new(origin: LocalOrigin, capabilities: Capabilities) -> OfferAnswer {
        OfferAnswer {
            origin,
            capabilities,
            state: OfferAnswerState::Stable,
            sent: None,
            offered: None,
            agreed: Agreed::default(),
            payload_types: Vec::new(),
            zero_address: false,
        }
    }

    /// Says whether our descriptions from now on have an address of zeros in the place of our own: the hold of
    /// RFC 2543 §B.5, for far ends that know no other (RFC 3264 §8.4 advises against it where they do).
    pub const fn set_zero_address(&mut self, zero_address: bool) {
        self.zero_address = zero_address;
    }

    /// Whether the other side has put the sound that is agreed on on hold: it receives nothing (RFC 3264 §8.4), in the
    /// old form too. `false` while there is none.
    pub fn is_held(&self) -> bool {
        let Some(remote) = &self.agreed.remote else { return false };
        let streams = self.agreed.streams.iter().zip(&remote.media);
        let is_audio = |stream: &&Negotiated| stream.kind == StreamKind::Audio;
        let in_use = streams.filter_map(|(stream, media)| stream.as_ref().filter(is_audio).map(|_| media));
        let mut in_use = in_use.peekable();
        in_use.peek().is_some() && in_use.all(|media| !remote_direction(remote, media).receives())
    }

    /// Who waits for whom.
    pub fn state(&self) -> OfferAnswerState {
        self.state
    }

    /// What is in force: for each `m=` line the stream agreed on, `None` for lines that are disabled.
    pub fn streams(&self) -> &[Option<Negotiated>] {
        &self.agreed.streams
    }

    /// The first stream of a kind that is in force.
    pub fn stream(&self, kind: StreamKind) -> Option<&Negotiated> {
        self.agreed.streams.iter().flatten().find(|stream| stream.kind == kind)
    }

    /// At which line an offer of ours has a stream of this kind: where one is in use, else in the place of one that was or
    /// that was refused (RFC 3264 §8.1 lets it be used again), else behind all others.
    pub fn place_of(&self, kind: StreamKind) -> usize {
        let streams = &self.agreed.streams;
        let in_use =
            streams.iter().position(|stream| stream.as_ref().is_some_and(|stream| stream.kind == kind));
        let lines = self.agreed_lines();
        let is_of_kind =
            |(media, stream): (&Media, &Option<_>)| stream.is_none() && media.kind == kind.media();
        let was = || lines.iter().zip(streams).position(is_of_kind);
        in_use.or_else(was).unwrap_or(lines.len())
    }

    /// Our description of the session in force.
    pub fn local(&self) -> Option<&Session> {
        self.agreed.local.as_ref()
    }

    /// Their description of the session in force.
    pub fn remote(&self) -> Option<&Session> {
        self.agreed.remote.as_ref()
    }

    /// Makes an offer. `streams` gives our end of each `m=` line in order, `None` for a line to be disabled; lines that
    /// the session has and `streams` leaves out are disabled, never removed (RFC 3264 §8).
    ///
    /// # Errors
    /// When an offer of either side is open.
    pub fn make_offer(&mut self, streams: &[Option<LocalStream>]) -> Result<Session, OfferAnswerError> {
        match self.state {
            OfferAnswerState::Stable => {}
            OfferAnswerState::LocalOffer => return Err(OfferAnswerError::Glare),
            OfferAnswerState::RemoteOffer => return Err(OfferAnswerError::OfferPending),
        }
        let count = streams.len().max(self.agreed_lines().len());
        let lines: Vec<Line> = (0..count)
            .map(|index| match streams.get(index).copied().flatten() {
                Some(stream) => self.stream_line(index, stream),
                None => self.agreed_lines().get(index).map_or_else(disabled_audio, Line::disabled),
            })
            .collect();
        self.state = OfferAnswerState::LocalOffer;
        Ok(self.send(lines, None))
    }

    /// Offers the session as it is, for a request that only refreshes it (RFC 4028 §7.4): the description of ours that
    /// is in force, whose version stays unless another one has gone out since. Without a session it is an offer without
    /// streams.
    ///
    /// # Errors
    /// When an offer of either side is open.
    pub fn repeat_offer(&mut self) -> Result<Session, OfferAnswerError> {
        match self.state {
            OfferAnswerState::Stable => {}
            OfferAnswerState::LocalOffer => return Err(OfferAnswerError::Glare),
            OfferAnswerState::RemoteOffer => return Err(OfferAnswerError::OfferPending),
        }
        self.state = OfferAnswerState::LocalOffer;
        let times = self.agreed.local.as_ref().map(|local| local.times.clone());
        Ok(self.send(self.agreed.lines.clone(), times.as_deref()))
    }

    /// Takes the answer to our offer. The session in force changes only on success; after an error the offer is closed
    /// all the same, since no second answer can come.
    ///
    /// # Errors
    /// When no offer of ours is open, or the answer does not fit it.
    pub fn handle_answer(&mut self, answer: &Session) -> Result<&[Option<Negotiated>], OfferAnswerError> {
        let (OfferAnswerState::LocalOffer, Some((offer, lines))) = (self.state, &self.sent) else {
            return Err(OfferAnswerError::NoOffer);
        };
        self.state = OfferAnswerState::Stable;
        if answer.media.len() != lines.len() {
            return Err(OfferAnswerError::LineCount);
        }
        let answered = lines.iter().zip(&answer.media).enumerate().map(|(index, (line, media))| {
            answered_line(answer, line, media)
                .map_err(|fault| OfferAnswerError::BadAnswer { line: index, fault })
        });
        let streams = answered.collect::<Result<Vec<_>, _>>()?;
        // What they have refused is not offered again by a mere refresh.
        let ends = offer.media.iter().zip(&streams);
        let in_force = lines.iter().zip(ends).map(|(line, (media, stream))| match stream {
            Some(_) => line.clone(),
            None => Line::disabled(media),
        });
        let (local, lines) = (Some(offer.clone()), in_force.collect());
        self.agreed = Agreed { local, lines, remote: Some(answer.clone()), streams };
        Ok(&self.agreed.streams)
    }

    /// Takes an offer of theirs; [`OfferAnswer::make_answer`] or [`OfferAnswer::reject`] must follow.
    ///
    /// # Errors
    /// When an offer of either side is open, or `m=` lines were removed. Nothing changes then.
    pub fn handle_offer(&mut self, offer: Session) -> Result<(), OfferAnswerError> {
        match self.state {
            OfferAnswerState::Stable => {}
            OfferAnswerState::LocalOffer => return Err(OfferAnswerError::Glare),
            OfferAnswerState::RemoteOffer => return Err(OfferAnswerError::OfferPending),
        }
        if offer.media.len() < self.agreed_lines().len() {
            return Err(OfferAnswerError::LinesRemoved);
        }
        self.offered = Some(offer);
        self.state = OfferAnswerState::RemoteOffer;
        Ok(())
    }

    /// The `m=` lines of their open offer that need an address of ours, counted from 0, and what flows in them. Lines
    /// not listed will be rejected.
    pub fn lines_wanted(&self) -> Vec<(usize, StreamKind)> {
        let offered = self.offered.iter().flat_map(|offer| offer.media.iter().enumerate());
        let has_codec = |media: &Media, kind: &StreamKind| {
            let codecs = match kind {
                StreamKind::Audio => &self.capabilities.codecs,
                StreamKind::Video => &self.capabilities.video,
            };
            let maps = media.payload_types().filter_map(|payload_type| media.rtpmap(payload_type));
            maps.into_iter().any(|map| codecs.iter().any(|codec| Codec::is_same(&codec.map, &map)))
        };
        offered
            .filter_map(|(index, media)| Some((index, kind_of(media).filter(|kind| has_codec(media, kind))?)))
            .collect()
    }

    /// Makes the answer to their offer. `stream_of` gives our end of a line of [`OfferAnswer::lines_wanted`], or `None`
    /// to reject it. All other lines are rejected in their places (RFC 3264 §6).
    ///
    /// # Errors
    /// When no offer of theirs is open. When no stream of an offer that has any can be accepted: the offer is then
    /// closed and the session stays as it was.
    pub fn make_answer(
        &mut self,
        mut stream_of: impl FnMut(usize) -> Option<LocalStream>,
    ) -> Result<Session, OfferAnswerError> {
        let wanted = self.lines_wanted();
        let (OfferAnswerState::RemoteOffer, Some(offer)) = (self.state, self.offered.take()) else {
            return Err(OfferAnswerError::NoOffer);
        };
        self.state = OfferAnswerState::Stable;
        let mut lines = Vec::with_capacity(offer.media.len());
        let mut streams = Vec::with_capacity(offer.media.len());
        for (index, media) in offer.media.iter().enumerate() {
            let local = if wanted.iter().any(|(line, _)| *line == index) { stream_of(index) } else { None };
            let negotiated = local.and_then(|local| self.accept_line(index, &offer, media, &local));
            lines.push(match &negotiated {
                Some(negotiated) => self.answer_line(negotiated),
                None => Line::disabled(media),
            });
            streams.push(negotiated);
        }
        let wants_streams = offer.media.iter().any(|media| media.port != 0);
        if wants_streams && streams.iter().all(Option::is_none) {
            return Err(OfferAnswerError::NotAcceptable);
        }
        let answer = self.send(lines.clone(), Some(&offer.times));
        self.agreed = Agreed { local: Some(answer.clone()), lines, remote: Some(offer), streams };
        Ok(answer)
    }

    /// Closes the open offer without an answer: ours was refused or its transaction failed, or we refuse theirs. The
    /// session stays as it was (RFC 3261 §14.1).
    ///
    /// # Errors
    /// When no offer is open.
    pub fn reject(&mut self) -> Result<(), OfferAnswerError> {
        match self.state {
            OfferAnswerState::Stable => Err(OfferAnswerError::NoOffer),
            OfferAnswerState::LocalOffer | OfferAnswerState::RemoteOffer => {
                self.offered = None;
                self.state = OfferAnswerState::Stable;
                Ok(())
            }
        }
    }

    fn agreed_lines(&self) -> &[Media] {
        self.agreed.local.as_ref().map_or(&[], |session| &session.media)
    }

    /// Makes the description with its version, which grows by one whenever the description differs from the last one
    /// that went out (RFC 3264 §8).
    fn send(&mut self, lines: Vec<Line>, times: Option<&[Time]>) -> Session {
        let described = |version| describe(&self.origin, version, &lines, times, self.zero_address);
        let session = match &self.sent {
            None => described(self.origin.first_version),
            Some((sent, _)) => {
                let version = sent.origin.version_number().unwrap_or(self.origin.first_version);
                let same = described(version);
                if same == *sent { same } else { described(version.saturating_add(1)) }
            }
        };
        self.sent = Some((session.clone(), lines));
        session
    }

    fn stream_line(&mut self, index: usize, stream: LocalStream) -> Line {
        let codecs: Vec<Codec> = self.capabilities.formats(stream.kind).cloned().collect();
        let codecs = codecs.into_iter();
        let table = self.table(index);
        let formats = codecs.filter_map(|codec| {
            let used = table.iter().find(|used| Codec::is_same(used, &codec.map));
            let preferred = used.map_or(codec.map.payload_type, |used| used.payload_type);
            assign(table, codec, preferred)
        });
        let formats = formats.collect();
        Line::Stream { stream, formats, ptime_ms: self.capabilities.ptime_ms(stream.kind) }
    }

    /// Negotiates a line of their offer; `None` rejects it.
    fn accept_line(
        &mut self,
        index: usize,
        offer: &Session,
        media: &Media,
        local: &LocalStream,
    ) -> Option<Negotiated> {
        let capabilities = self.capabilities.clone();
        let table = self.table(index);
        let mut is_known = |theirs: &RtpMap| {
            let mut known = capabilities.formats(local.kind);
            let ours = known.find(|codec| Codec::is_same(&codec.map, theirs))?.clone();
            // RFC 3264 §6.1: "that same payload type number SHOULD be used for that codec in the answer".
            assign(table, ours, theirs.payload_type)
        };
        negotiate(offer, media, local, &mut is_known).ok()
    }

    /// Our line of an answer: the common formats in the order of the offer, under the types that we receive.
    fn answer_line(&self, negotiated: &Negotiated) -> Line {
        let ours = |receive_payload_type: u8, encoding: &str, clock_hz: u32, channels: u8| {
            let mut known = self.capabilities.formats(negotiated.kind);
            let is_it = |codec: &&Codec| {
                codec.map.encoding.as_str() == encoding
                    && codec.map.clock_hz == clock_hz
                    && codec.map.channels.unwrap_or(1) == channels
            };
            let mut codec = known.find(is_it)?.clone();
            codec.map.payload_type = receive_payload_type;
            Some(codec)
        };
        let common = negotiated.codecs.iter().chain(&negotiated.telephone_event);
        let formats = common.filter_map(|codec| {
            ours(codec.receive_payload_type, codec.encoding.as_str(), codec.clock_hz, codec.channels)
        });
        let kind = negotiated.kind;
        Line::Stream {
            stream: LocalStream { kind, address: negotiated.local, direction: negotiated.direction },
            formats: formats.collect(),
            ptime_ms: self.capabilities.ptime_ms(kind),
        }
    }

    fn table(&mut self, index: usize) -> &mut Vec<RtpMap> {
        if self.payload_types.len() <= index {
            self.payload_types.resize(index + 1, Vec::new());
        }
        &mut self.payload_types[index]
    }
}

/// A line that was never anything.
fn disabled_audio() -> Line {
    let word = dialtone_wire::sdp::Word::literal;
    Line::Disabled {
        kind: dialtone_wire::sdp::MediaKind::Audio,
        protocol: word("RTP/AVP"),
        format: word("0"),
    }
}

/// Gives a format the payload type that we like, unless that already means another format on this line.
fn assign(table: &mut Vec<RtpMap>, codec: Codec, preferred: u8) -> Option<Codec> {
    let is_free =
        |table: &[RtpMap], payload_type| !table.iter().any(|used| used.payload_type == payload_type);
    let means_it = |used: &&RtpMap| Codec::is_same(used, &codec.map);
    let payload_type = match table.iter().find(|used| used.payload_type == preferred) {
        None => preferred,
        Some(used) if Codec::is_same(used, &codec.map) => preferred,
        Some(_) => match table.iter().find(means_it) {
            Some(used) => used.payload_type,
            // RFC 3551 §6: 96 to 127 are the dynamic payload types.
            None => (96..=127).find(|payload_type| is_free(table, *payload_type))?,
        },
    };
    let map = RtpMap { payload_type, ..codec.map };
    if is_free(table, payload_type) {
        table.push(map.clone());
    }
    Some(Codec { map, fmtp: codec.fmtp })
}

/// Holds a line of the answer against ours of the offer; `Ok(None)` when it is disabled.
fn answered_line(answer: &Session, line: &Line, media: &Media) -> Result<Option<Negotiated>, AnswerFault> {
    let (stream, formats) = match line {
        Line::Disabled { .. } if media.port == 0 => return Ok(None),
        Line::Disabled { .. } => return Err(AnswerFault::NotOffered),
        Line::Stream { stream, formats, .. } => (stream, formats),
    };
    if media.port == 0 {
        return Ok(None);
    }
    if kind_of(media) != Some(stream.kind) {
        return Err(AnswerFault::NotOffered);
    }
    let mut is_known = |theirs: &RtpMap| {
        let same = formats.iter().filter(|codec| Codec::is_same(&codec.map, theirs));
        same.into_iter().next().cloned()
    };
    // A direction that the offer does not allow is cut down to what it allows: many phones answer `sendonly` without
    // any direction.
    negotiate(answer, media, stream, &mut is_known).map(Some)
}
