//! Requests to a trunk that may ask for a password: CSeq numbers that differ on both sides of the proxy.
//!
//! A request that is sent again with credentials needs a higher CSeq (RFC 3261 §22.1), of which the caller knows nothing:
//! from then on his requests of this dialog, and the RAck of his PRACKs, must have other numbers on the far side. We keep
//! nothing of that. Towards a trunk where we have an account, each number is multiplied, which leaves room for the
//! repetitions of each request, and what our Record-Route says tells us so again with each request of the dialog:
//!
//! ```text
//!   caller               proxy                trunk
//!     | INVITE 7           | INVITE 28          |  28 = 4·7
//!     |------------------->|------------------->|
//!     |                    |<---------- 407 ----|
//!     |                    | INVITE 29          |  29 = 4·7 + 1: the first repetition
//!     |                    |------------------->|  Record-Route: …;dq=7.1…
//!     |<--------- 200 (7) -|<--------- 200 (29)-|
//!     | ACK 7              | ACK 29             |
//!     |------------------->|------------------->|
//!     | BYE 8              | BYE 32             |  32 = 4·8
//! ```
//!
//! The same parameter says that the caller wants to stay unknown to the far side, so that his later requests hide him
//! too. It is signed with the Call-ID and the caller's tag: it holds for his direction only, and nobody can make one.
//! The other direction has the numbers of the callee, which nobody changes. A back-to-back user agent needs none of this.

use dialtone_wire::{Edits, HeaderName, Message, Method};
use smol_str::{SmolStr, format_smolstr};

use crate::identity::{ANONYMOUS, from_with};
use crate::route_token::is_right;
use crate::trunks::TrunkTokens;

/// The parameter of our Record-Route.
pub(crate) const SHIFT_PARAM: &str = "dq";
/// How many numbers there are for each number of the caller: a request, and its repetitions.
const NUMBERS: u32 = 4;
/// RFC 3261 §8.1.1.5: "less than 2**31".
const CSEQ_MAX: u32 = (1 << 31) - 1;

/// How the requests of one side of a dialog differ on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// Tells which trunk it is.
    pub(crate) trunk: u32,
    /// Whether numbers are multiplied.
    multiplied: bool,
    /// The CSeq number of the INVITE that began the dialog, as the caller wrote it.
    invite: u32,
    /// Which repetition of that INVITE was sent.
    step: u32,
    /// The caller is not named to the far side.
    anonymous: bool,
}

impl Shift {
    /// For a request that begins a dialog. Its numbers are multiplied if the trunk may ask for a password, and if they
    /// leave room for that.
    pub(crate) fn new(request: &Message, trunk: u32, asks: bool, anonymous: bool) -> Shift {
        let invite = request.cseq().map_or(0, |cseq| cseq.number);
        let multiplied = asks && invite <= (CSEQ_MAX - NUMBERS) / NUMBERS;
        Shift { trunk, multiplied, invite, step: 0, anonymous }
    }

    /// The same for the next repetition of a request, with the repetition; `None` when there were too many.
    pub(crate) fn next(self, request: &Message, step: u32) -> Option<(Shift, u32)> {
        let is_first = request.cseq().is_ok_and(|cseq| cseq.number == self.invite);
        let step = if is_first { self.step } else { step } + 1;
        if !self.multiplied || step >= NUMBERS {
            return None;
        }
        Some((if is_first { Shift { step, ..self } } else { self }, step))
    }

    /// Whether later requests of the dialog are as their sender wrote them.
    pub(crate) fn is_nothing(self) -> bool {
        !self.multiplied && !self.anonymous
    }

    /// The number on the far side for a number of the caller, in this repetition.
    fn number(self, number: u32, step: u32) -> u32 {
        let step = if number == self.invite { self.step } else { step };
        let shifted = number.checked_mul(NUMBERS).and_then(|number| number.checked_add(step));
        shifted.filter(|shifted| self.multiplied && *shifted <= CSEQ_MAX).unwrap_or(number)
    }

    /// The value of the parameter, for the Record-Route of the request that begins the dialog.
    pub(crate) fn param(self, tokens: &TrunkTokens, request: &Message) -> SmolStr {
        let Shift { trunk, multiplied, invite, step, anonymous } = self;
        let text = format_smolstr!("{invite}.{step}.{}{}.{trunk}", u8::from(multiplied), u8::from(anonymous));
        let token = token(tokens, request, &text).unwrap_or_default();
        format_smolstr!("{text}.{token}")
    }

    /// Reads the parameter of a Route; `None` in the other direction, in other dialogs, and for what we did not make.
    pub(crate) fn read(text: &str, tokens: &TrunkTokens, request: &Message) -> Option<Shift> {
        let (text, came) = text.rsplit_once('.')?;
        is_right(&token(tokens, request, text)?, came).then_some(())?;
        let mut parts = text.split('.');
        let (invite, step) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let flags = parts.next()?.as_bytes();
        let (multiplied, anonymous) = (flags.first()? == &b'1', flags.get(1)? == &b'1');
        Some(Shift { trunk: parts.next()?.parse().ok()?, multiplied, invite, step, anonymous })
    }

    /// The lines of a request, in this repetition, that differ on the far side.
    pub(crate) fn lines(self, request: &Message, step: u32) -> Shifted {
        let mut shifted = Shifted::default();
        if self.multiplied
            && let Ok(cseq) = request.cseq()
        {
            let method = request.method().map_or("", Method::as_str);
            shifted.cseq = Some(format_smolstr!("{} {method}", self.number(cseq.number, step)));
        }
        if self.multiplied && request.has(HeaderName::RAck) {
            shifted.rack = rack(request, self);
        }
        if self.anonymous {
            shifted.from = from_with(request, ANONYMOUS);
        }
        shifted
    }
}

/// Lines of a request as the far side sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shifted {
    cseq: Option<SmolStr>,
    rack: Option<SmolStr>,
    from: Option<SmolStr>,
}

impl Shifted {
    /// Writes them into a request that goes to the far side.
    pub(crate) fn edit<'a>(&'a self, edits: &mut Edits<'a>) {
        let lines =
            [(HeaderName::CSeq, &self.cseq), (HeaderName::RAck, &self.rack), (HeaderName::From, &self.from)];
        for (name, value) in lines {
            if let Some(value) = value {
                edits.remove(name).append(name.as_str(), value);
            }
        }
    }
}

/// Puts CSeq and From of the caller's request back into a response to what became of it.
pub(crate) fn restore<'a>(edits: &mut Edits<'a>, request: &'a Message) {
    for name in [HeaderName::From, HeaderName::CSeq] {
        let value = request.value(name).and_then(|value| std::str::from_utf8(value).ok());
        if let Some(value) = value {
            edits.remove(name).append(name.as_str(), value);
        }
    }
}

/// RFC 3262 §7.2: RAck names the CSeq of the INVITE, as its sender numbered it.
fn rack(request: &Message, shift: Shift) -> Option<SmolStr> {
    let text = std::str::from_utf8(request.value(HeaderName::RAck)?).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (rseq, cseq, method) = (words.next()?, words.next()?, words.next()?);
    let number = shift.number(cseq.parse().ok()?, 0);
    Some(format_smolstr!("{rseq} {number} {method}"))
}

/// Signs the text for the Call-ID and the sender of a request.
fn token(tokens: &TrunkTokens, request: &Message, text: &str) -> Option<SmolStr> {
    let (call_id, tag) = (request.call_id().ok()?, request.from_tag().ok()??);
    // No Call-ID and no tag holds a line end.
    Some(tokens.make(&format_smolstr!("{text}\n{tag}\n{call_id}")))
}

#[cfg(test)]
mod tests {
    use dialtone_wire::Limits;

    use super::*;
    use crate::settings::Secret;

    fn request(method: &str, cseq: u32, tag: &str, lines: &str) -> Message {
        let text = format!(
            "{method} sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag={tag}\r\nTo: <sip:b@h>;tag=b\r\n\
             Call-ID: c\r\nCSeq: {cseq} {method}\r\n{lines}\r\n"
        );
        Message::parse(text.into_bytes().into(), &Limits::default()).expect("a request")
    }

    fn sent(shift: Shift, request: &Message, step: u32) -> Message {
        let shifted = shift.lines(request, step);
        let mut edits = Edits::new();
        shifted.edit(&mut edits);
        let mut out = Vec::new();
        edits.write(request, &mut out);
        Message::parse(out.into(), &Limits::default()).expect("a request")
    }

    fn number(shift: Shift, request: &Message, step: u32) -> u32 {
        sent(shift, request, step).cseq().expect("a CSeq").number
    }

    #[test]
    fn the_numbers_of_a_dialog_rise_on_the_far_side_whatever_was_repeated() {
        let invite = request("INVITE", 7, "a", "");
        let first = Shift::new(&invite, 5, true, false);
        assert_eq!(number(first, &invite, 0), 28);
        let (once, step) = first.next(&invite, 0).expect("there is room");
        let (twice, _) = once.next(&invite, step).expect("there is room");
        assert_eq!((number(once, &invite, 0), number(twice, &invite, 0)), (29, 30));
        assert_eq!(number(twice, &request("ACK", 7, "a", ""), 0), 30, "the ACK of that INVITE");
        let prack = sent(twice, &request("PRACK", 8, "a", "RAck: 5 7 INVITE\r\n"), 0);
        let numbers = (prack.cseq().expect("a CSeq").number, prack.value(HeaderName::RAck));
        assert_eq!(numbers, (32, Some(&b"5 30 INVITE"[..])));
        let bye = request("BYE", 9, "a", "");
        assert_eq!(number(twice, &bye, 0), 36);
        assert_eq!(twice.next(&bye, 0), Some((twice, 1)), "a repetition of its own");
        assert_eq!(number(twice, &bye, 1), 37);
        let (again, step) = twice.next(&invite, 2).expect("there is room");
        assert_eq!(again.next(&invite, step), None, "no endless challenges");
    }

    #[test]
    fn numbers_without_room_stay_as_they_are() {
        let invite = request("INVITE", CSEQ_MAX, "a", "");
        let shift = Shift::new(&invite, 5, true, false);
        assert_eq!((number(shift, &invite, 0), shift.next(&invite, 0)), (CSEQ_MAX, None));
        assert!(
            shift.is_nothing() && Shift::new(&request("INVITE", 1, "a", ""), 5, false, false).is_nothing()
        );
        let young = Shift::new(&request("INVITE", 1, "a", ""), 5, true, false);
        assert_eq!(number(young, &request("BYE", CSEQ_MAX, "a", ""), 0), CSEQ_MAX);
    }

    #[test]
    fn a_route_tells_of_the_callers_direction_only_and_can_not_be_made() {
        let (tokens, others) = (TrunkTokens::new(&Secret([1; 32])), TrunkTokens::new(&Secret([2; 32])));
        let invite = request("INVITE", 7, "a", "");
        let (shift, _) = Shift::new(&invite, 5, true, true).next(&invite, 0).expect("there is room");
        let param = shift.param(&tokens, &invite);
        let read = |tokens, text: &str, request: &Message| Shift::read(text, tokens, request);
        assert_eq!(read(&tokens, &param, &request("BYE", 8, "a", "")), Some(shift));
        assert_eq!(
            read(&tokens, &param, &request("BYE", 8, "b", "")),
            None,
            "the callee's numbers are his own"
        );
        assert_eq!(read(&others, &param, &request("BYE", 8, "a", "")), None);
        let forged = param.replacen('7', "8", 1);
        assert_eq!(read(&tokens, &forged, &request("BYE", 8, "a", "")), None);
        for text in ["", ".", "7.1.11.5", "7.1", "x.y.z.w.v"] {
            assert_eq!(read(&tokens, text, &invite), None, "{text}");
        }
    }

    #[test]
    fn who_wants_to_stay_unknown_is_not_named_later_either() {
        let shift = Shift::new(&request("INVITE", 7, "a", ""), 5, false, true);
        let bye = sent(shift, &request("BYE", 8, "a", ""), 0);
        let from = bye.from().expect("a From");
        assert_eq!((from.uri_text, from.tag()), ("sip:anonymous@anonymous.invalid", Some("a")));
        assert_eq!(bye.cseq().expect("a CSeq").number, 8);
        // The answer goes back with what the caller wrote.
        let bye = request("BYE", 8, "a", "");
        let answer = "SIP/2.0 200 OK\r\nFrom: \"Anonymous\" <sip:n@n>;tag=a\r\nCSeq: 32 BYE\r\n\r\n";
        let answer = Message::parse(answer.into(), &Limits::default()).expect("a response");
        let (mut edits, mut out) = (Edits::new(), Vec::new());
        restore(&mut edits, &bye);
        edits.write(&answer, &mut out);
        assert_eq!(out, b"SIP/2.0 200 OK\r\nFrom: <sip:a@h>;tag=a\r\nCSeq: 8 BYE\r\n\r\n");
    }
}
