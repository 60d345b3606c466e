//! One call of a phone, as its owner sees it.

use std::collections::VecDeque;

use dialtone_media::Ringback;
use dialtone_roles::io::{CallHandle, Command, EndReason, Event};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

use super::ear::Ear;
use super::handset::Music;
use crate::media::{MediaReport, Meter};

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineState {
    /// We call, and nothing came back yet.
    Calling,
    /// It rings at the far end: ringback is heard here.
    Ringing,
    /// We wait in a queue of the far end (182): [`Line::queue`] says where.
    Queued,
    /// The far end is heard before it answers.
    EarlyMedia,
    /// It rings here.
    RingsHere,
    /// We have answered, and the caller does not know it yet.
    Answering,
    /// Both talk.
    Talking,
    /// It is over, or about to be.
    Over,
}

/// One call.
#[derive(Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Whom we called, or who calls.
    pub peer: UriBuf,
    /// Whether we called.
    pub outgoing: bool,
    /// Where it stands.
    pub state: LineState,
    /// Since when.
    pub since: Instant,
    /// Whether we hold it.
    pub held: bool,
    /// Whether the far end holds it.
    pub held_by_peer: bool,
    /// What was said last of its place in a queue, in the words of the far end; empty where nothing was.
    pub queue: SmolStr,
    /// Whether it is part of a three-way call, or about to be.
    pub joined: bool,
    /// What its audio is like, once there is some.
    pub meter: Option<Meter>,
    pub(super) handle: Option<CallHandle>,
    /// The call that its caller asks to join.
    pub(super) asks_in: Option<u64>,
    /// What was asked for, and not granted yet: held or not.
    pub(super) asked_hold: Option<bool>,
    /// Whether the far end was asked to call somebody else.
    pub(super) transfers: bool,
    /// Whether it hears a music server, or is about to.
    pub(super) music: Music,
    /// It is called only to be hung up on: it would hear music for ever.
    pub(super) releases: bool,
    /// Nobody knows of it, and nothing is told.
    pub(super) is_untold: bool,
    /// What goes out as INFO, one after the other; the first one is on its way.
    pub(super) infos: VecDeque<Info>,
    /// When it is answered by itself.
    pub(super) answer_at: Option<Instant>,
    /// Whether its end is wanted before it has a handle.
    pub(super) hangs_up: bool,
    pub(super) rang: bool,
    /// Whether it was answered: then figures of its audio come.
    pub(super) accepted: bool,
    pub(super) ended: Option<(EndReason, Instant)>,
    pub(super) audio: Option<Box<MediaReport>>,
    pub(super) ear: Ear,
}

/// One INFO.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) command: Command,
    /// Whether it is the last one of its line, whose answer is told.
    pub(super) is_last: bool,
}

impl Line {
    pub(super) fn new(now: Instant, number: u64, peer: UriBuf, ringback: Option<Ringback>) -> Line {
        Line {
            number,
            peer,
            outgoing: true,
            state: LineState::Calling,
            since: now,
            held: false,
            held_by_peer: false,
            queue: SmolStr::default(),
            joined: false,
            asks_in: None,
            meter: None,
            handle: None,
            asked_hold: None,
            transfers: false,
            music: Music::None,
            releases: false,
            is_untold: false,
            infos: VecDeque::new(),
            answer_at: None,
            hangs_up: false,
            rang: false,
            accepted: false,
            ended: None,
            audio: None,
            ear: Ear::new(ringback, false),
        }
    }

    pub(super) fn incoming(now: Instant, number: u64, from: UriBuf, handle: CallHandle) -> Line {
        let line = Line::new(now, number, from, None);
        Line { outgoing: false, state: LineState::RingsHere, handle: Some(handle), ..line }
    }

    /// Whether ringback of our own making is heard: never beside the sound of the far end.
    pub fn ringback_is_heard(&self) -> bool {
        self.ear.is_ringing()
    }

    pub(super) fn enter(&mut self, now: Instant, state: LineState) {
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
    }

    pub(super) fn listen(&mut self, now: Instant, event: &Event) {
        self.ear.handle(now, event);
    }
}
