//! One side of a bridge holds the other (RFC 3264 §8.4), and where the settings name who plays music the held one hears it,
//! by the technique of RFC 7088: his session is with who plays, until the holder offers anything else.
//!
//! ```text
//!   holder H                     server                      held one D          who plays M
//!     |--- INVITE, a=sendonly ----->|------ INVITE, a=sendonly ----->|                  |
//!     |<-- 200, a=inactive ---------|<----- 200, a=recvonly ---------|                  |
//!     |                             |------ INVITE, no description, by the right of H ->|
//!     |                             |<----------------- 200, offer ---------------------|
//!     |                             |------ INVITE, a=sendonly ----->|                  |
//!     |                             |<----- 200, a=recvonly ---------|                  |
//!     |                             |------------------ ACK, answer ------------------->|
//! ```
//!
//! H and D are each other's peers as before: what they send passes between them, and whatever ends or moves the bridge does
//! so as if nobody played. M is no peer of anybody. It plays to one leg, which alone knows it, and is hung up with the next
//! session that D has. Should it end first, D is offered again what H has described last. One that holds again before it
//! resumes has the same M asked for another offer.

use bytes::Bytes;
use dialtone_wire::time::Instant;
use dialtone_wire::{Message, Status};

use super::align::{kind, pieces};
use super::join::{Goal, Task, TaskStage};
use super::{B2bua, LegId, Stage, bodies};
use crate::context::Context;

/// RFC 3264 §8.4: the address by which phones held once.
const NOWHERE: &[u8] = b"IN IP4 0.0.0.0";

/// What a leg has to do with holding.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Its peer has said last that it receives nothing, and plays nothing of its own: it holds the other side.
    holds: bool,
    /// Who plays music to it while the other side holds it.
    pub(super) music: Option<LegId>,
    /// The leg that it plays music to.
    pub(super) plays_to: Option<LegId>,
    /// What was described to it and by it before the music.
    pub(super) before: Option<Box<[Bytes; 2]>>,
    /// Nobody could be had who plays: not tried again before.
    pub(super) silent_until: Option<Instant>,
}

impl B2bua {
    /// A change that one side has offered is accepted by the other one, and about to be answered.
    pub(super) fn change_agreed(
        &mut self,
        cx: &Context<'_>,
        [offerer, answerer]: [LegId; 2],
        offer: &Message,
        answer: &Message,
    ) {
        if cx.settings.bridges.music.is_none() {
            return;
        }
        let (Some(offer), Some(answer)) = (bodies::description(offer), bodies::description(answer)) else {
            return;
        };
        let is_talking = |id| self.legs.get(&id).is_some_and(|leg| leg.stage == Stage::Talking);
        if !is_talking(offerer) || !is_talking(answerer) {
            return;
        }
        let is_heard = receives(answer);
        if let Some(leg) = self.legs.get_mut(&answerer)
            && (is_heard || sends(offer) && receives(offer))
        {
            // RFC 3264 §6.1: what holds may be answered as inactive by one who holds nobody, too.
            leg.hold.holds = !is_heard;
        }
        let is_free = self.legs.get(&answerer).is_some_and(|leg| !leg.hold.holds);
        let Some(leg) = self.legs.get_mut(&offerer) else { return };
        let Some(strand) = leg.strands.first_mut() else { return };
        leg.hold.holds = !receives(offer) && !plays_itself(offer, &strand.described.received);
        // RFC 3264 §6.1: what is offered as sendonly is answered as recvonly or inactive.
        strand.described.hushes = leg.hold.holds && is_free;
    }

    /// One side has answered an offer that was in a 2xx of the other one, in its ACK.
    pub(super) fn late_offer_answered(&mut self, cx: &mut Context<'_>, id: LegId, answer: &[u8]) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        // It may hold on; that it begins to by this is no matter.
        leg.hold.holds &= !receives(answer);
        if let Some(peer) = leg.peer {
            self.follow_change(cx, [id, peer]);
        }
    }

    /// The sides of a bridge have another session: whoever is held in it hears music, and nobody else.
    pub(super) fn follow_change(&mut self, cx: &mut Context<'_>, sides: [LegId; 2]) {
        let [one, other] = sides;
        for (held, holder) in [(one, other), (other, one)] {
            let is_held = self.holds(cx, holder) && !self.legs.get(&held).is_some_and(|leg| leg.hold.holds);
            if let Some(leg) = self.legs.get_mut(&held) {
                leg.hold.before = None;
            }
            if is_held {
                self.play_to_held(cx, held, holder);
            } else {
                self.end_music(cx, held);
            }
        }
    }

    /// Whether a leg holds its peer, and is not itself who plays.
    fn holds(&self, cx: &Context<'_>, id: LegId) -> bool {
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.hold.holds && leg.stage == Stage::Talking) else {
            return false;
        };
        let music = cx.settings.bridges.music.as_ref();
        music.is_some_and(|music| music.as_str() != leg.party.uri())
    }

    fn play_to_held(&mut self, cx: &mut Context<'_>, held: LegId, holder: LegId) {
        let Some(leg) = self.legs.get(&held) else { return };
        if leg.task.is_some() || leg.stage != Stage::Talking || leg.parked.is_some() {
            return;
        }
        if let Some(music) = leg.hold.music {
            // It goes on, with another session.
            let task = self.next_task();
            self.begin_task(task, Task::new(Some(music), held, TaskStage::Asking, Goal::Music));
            return self.ask_for_offer(cx, task);
        }
        if leg.hold.silent_until.is_some_and(|until| cx.now < until) {
            return;
        }
        let holder = self.legs.get(&holder).filter(|holder| holder.party.user.is_some());
        let by = holder.map_or(&leg.party, |holder| &holder.party).clone();
        self.call_music(cx, held, &by);
    }

    /// The one who is held has taken the offer of who plays.
    pub(super) fn plays_to_held(&mut self, held: LegId, music: LegId) {
        for (id, plays_to, plays) in [(held, None, Some(music)), (music, Some(held), None)] {
            if let Some(leg) = self.legs.get_mut(&id) {
                (leg.hold.plays_to, leg.hold.music) = (plays_to, plays);
            }
        }
    }

    /// Nobody plays to a leg any more. Its session is another one, or about to be.
    pub(super) fn end_music(&mut self, cx: &mut Context<'_>, id: LegId) {
        self.drop_music_task(cx, id);
        let Some(music) = self.legs.get_mut(&id).and_then(|leg| leg.hold.music.take()) else { return };
        if let Some(leg) = self.legs.get_mut(&music) {
            leg.hold.plays_to = None;
        }
        self.hang_up(cx, music, Status::of(487), None);
    }

    /// A leg gets another peer.
    pub(super) fn forget_hold(&mut self, cx: &mut Context<'_>, id: LegId) {
        self.end_music(cx, id);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.hold.holds = false;
        }
    }

    /// Nobody plays to a leg any more, which is held as before.
    pub(super) fn end_music_and_hold(&mut self, cx: &mut Context<'_>, id: LegId) {
        self.end_music(cx, id);
        self.hold_as_before(cx, id);
    }

    /// Offers a leg once more what it was offered before the music.
    pub(super) fn hold_as_before(&mut self, cx: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (Some(before), Some(strand)) = (leg.hold.before.take(), leg.strands.first_mut()) else { return };
        let [sent, received] = *before;
        // Should it answer as before the other side is told nothing.
        strand.described.received = received;
        strand.described.postpone(sent);
        self.refresh(cx, id);
    }

    /// Whether something is being done with a leg that can't be left at once, as bringing music can.
    pub(super) fn is_engaged(&self, id: LegId) -> bool {
        let Some(task) = self.legs.get(&id).and_then(|leg| leg.task) else { return false };
        !self.is_for_music(task)
    }
}

/// The streams of a description that count for holding: sound, where it is not refused.
fn sound(description: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let (head, mut streams) = pieces(description);
    let is_live = |stream: &[u8]| stream.split(|byte| *byte == b' ').nth(1).is_some_and(|port| port != b"0");
    streams.retain(|stream| kind(stream) == b"audio" && is_live(stream));
    (head, streams)
}

/// A line that a stream has, or else the whole description.
fn line_of<'a, T>(head: &'a [u8], stream: &'a [u8], read: impl Fn(&'a [u8]) -> Option<T>) -> Option<T> {
    let find =
        |piece: &'a [u8]| piece.split(|byte| *byte == b'\n').find_map(|line| read(line.trim_ascii_end()));
    find(stream).or_else(|| find(head))
}

/// Whether a stream sends, and whether it receives.
fn direction(head: &[u8], stream: &[u8]) -> (bool, bool) {
    let read = |line: &[u8]| match line {
        b"a=sendrecv" => Some((true, true)),
        b"a=sendonly" => Some((true, false)),
        b"a=recvonly" => Some((false, true)),
        b"a=inactive" => Some((false, false)),
        _ => None,
    };
    let (sends, receives) = line_of(head, stream, read).unwrap_or((true, true));
    // RFC 3264 §8.4: the old way to hold, to be understood still.
    (sends, receives && connection(head, stream) != Some(NOWHERE))
}

/// The address of a stream.
fn connection<'a>(head: &'a [u8], stream: &'a [u8]) -> Option<&'a [u8]> {
    line_of(head, stream, |line| line.strip_prefix(b"c="))
}

/// Whether any sound is received. Where there is none, nobody is held.
fn receives(description: &[u8]) -> bool {
    let (head, streams) = sound(description);
    streams.is_empty() || streams.into_iter().any(|stream| direction(head, stream).1)
}

/// Whether any sound is sent.
fn sends(description: &[u8]) -> bool {
    let (head, streams) = sound(description);
    streams.into_iter().any(|stream| direction(head, stream).0)
}

/// Whether a phone that holds has brought who plays music itself (RFC 7088 §2): it sends, from another place than before.
fn plays_itself(offer: &[u8], before: &[u8]) -> bool {
    let place = |description| {
        let (head, streams) = sound(description);
        streams.first().and_then(|stream| connection(head, stream)).map(<[u8]>::to_vec)
    };
    let (now, before) = (place(offer), place(before));
    let is_place = |place: &Option<Vec<u8>>| place.as_ref().is_some_and(|place| place != NOWHERE);
    sends(offer) && now != before && is_place(&now) && is_place(&before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

    #[track_caller]
    fn check(rest: &str, expected: (bool, bool)) {
        let text = format!("{HEAD}{rest}");
        assert_eq!((sends(text.as_bytes()), receives(text.as_bytes())), expected, "{rest}");
    }

    #[test]
    fn a_description_says_whether_sound_is_sent_and_received() {
        check("m=audio 4000 RTP/AVP 0\r\n", (true, true));
        check("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n", (true, false));
        check("m=audio 4000 RTP/AVP 0\r\na=inactive\r\nm=video 4002 RTP/AVP 31\r\n", (false, false));
        check("a=recvonly\r\nm=audio 4000 RTP/AVP 0\r\n", (false, true));
        check("a=inactive\r\nm=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n", (true, true));
        check("m=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\n", (true, false));
        check("m=audio 0 RTP/AVP 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\n", (true, true));
        check("m=audio 0 RTP/AVP 0\r\n", (false, true));
        for broken in ["", "m=", "m=audio", "m=audio 4000", "nonsense\r\nm=\r\n\r\n", "c="] {
            receives(broken.as_bytes());
            plays_itself(broken.as_bytes(), broken.as_bytes());
        }
    }

    #[test]
    fn a_phone_that_sends_from_elsewhere_while_it_holds_plays_itself() {
        let own = format!("{HEAD}m=audio 4000 RTP/AVP 0\r\n");
        let held = |address: &str, direction: &str| {
            format!("v=0\r\ns=-\r\nc=IN IP4 {address}\r\nm=audio 7000 RTP/AVP 0\r\na={direction}\r\n")
        };
        for (address, direction, expected) in [
            ("192.0.2.1", "sendonly", false),
            ("192.0.2.9", "sendonly", true),
            ("192.0.2.9", "inactive", false),
            ("0.0.0.0", "sendonly", false),
        ] {
            let offer = held(address, direction);
            assert_eq!(plays_itself(offer.as_bytes(), own.as_bytes()), expected, "{offer}");
        }
        let held = held("0.0.0.0", "sendonly");
        assert!(!plays_itself(own.as_bytes(), held.as_bytes()));
    }
}
