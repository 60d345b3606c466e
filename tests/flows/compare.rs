//! Ours against the RFC's: direction, method or status, order, headers, tags.

use std::collections::{BTreeMap, BTreeSet};

use dialtone_sim::{Ladder, Step};
use dialtone_wire::{Limits, Message, Method};

use crate::fields::{Field, fields, more_fields, tag};
use crate::reference::{self, Reference};
use crate::{Flow, Source};

/// A flow of ours in the order of the RFC.
pub(crate) struct Compared {
    /// The messages as the RFC orders them.
    pub(crate) ladder: Ladder,
    /// Numbers of messages that ours sends in the other order.
    pub(crate) swapped: Vec<(String, String)>,
}

/// Plays a flow and compares all of it.
pub(crate) fn check(flow: &Flow) {
    let reference = reference::flow(flow);
    let compared = in_order(flow, &reference);
    let messages: Vec<Message> = compared.ladder.steps.iter().map(message).collect();
    let mut unused: Vec<_> = flow.differences.iter().collect();
    let mut wrong = Vec::new();
    for (ours, theirs) in messages.iter().zip(&reference) {
        let Some(printed) = &theirs.message else {
            // Of what is only drawn the status alone can differ.
            let differs = reference::kind(ours) != theirs.kind;
            unused.retain(|(number, field, _)| {
                !(differs && *number == theirs.number && *field == Field::Status)
            });
            continue;
        };
        for ((field, mine), (_, expected)) in fields(ours).into_iter().zip(fields(printed)) {
            if flow.omits.contains(&field) {
                continue;
            }
            let meant =
                unused.iter().position(|(number, meant, _)| *number == theirs.number && *meant == field);
            let number = &theirs.number;
            match (mine == expected, meant) {
                (true, None) => {}
                (false, Some(at)) => drop(unused.remove(at)),
                (true, Some(_)) => wrong.push(format!("{number}: {field:?} does not differ: `{mine}`")),
                (false, None) => {
                    wrong.push(format!("{number}: {field:?} is `{mine}`, the RFC has `{expected}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}\n{}", flow.section, wrong.join("\n"), compared.ladder.draw());
    assert!(unused.is_empty(), "{}: these differences name nothing: {unused:?}", flow.section);
    check_shown(flow, &messages, &reference);
    check_repetitions(flow, &messages, &reference);
    check_crossing(flow, &compared.ladder.steps, &reference);
    check_tags(flow, &messages, &reference);
}

/// What the source says of single messages.
fn check_shown(flow: &Flow, messages: &[Message], reference: &[Reference]) {
    for (number, field, expected) in flow.shows {
        let at = reference.iter().position(|theirs| theirs.number == *number);
        let ours = &messages[at.expect("the number of a message")];
        let shown = fields(ours).into_iter().chain(more_fields(ours)).find(|(name, _)| name == field);
        let shown = shown.map(|(_, value)| value).unwrap_or_default();
        assert_eq!(shown, *expected, "{}: {number} {field:?}", flow.section);
    }
}

/// What repeats a message is the same message; an ACK may have a branch of its own (RFC 5407 §3.1.4).
fn check_repetitions(flow: &Flow, messages: &[Message], reference: &[Reference]) {
    for (at, theirs) in reference.iter().enumerate() {
        let Some(first) = &theirs.repeats else { continue };
        let first = reference.iter().position(|earlier| earlier.number == *first).expect("what is repeated");
        let (ours, first) = (&messages[at], &messages[first]);
        let same = match ours.method() {
            Some(Method::Ack) => ours.cseq().ok() == first.cseq().ok() && ours.body() == first.body(),
            _ => ours.bytes() == first.bytes(),
        };
        assert!(same, "{} {} repeats another message than the RFC's", flow.section, theirs.number);
    }
}

/// Messages that pass each other on the wire.
fn check_crossing(flow: &Flow, steps: &[Step], reference: &[Reference]) {
    let step = |number: &str| {
        let at = reference.iter().position(|theirs| theirs.number == number);
        &steps[at.expect("the number of a message")]
    };
    for (one, other) in flow.crossing {
        let (one, other) = (step(one), step(other));
        let before = |one: &Step, other: &Step| other.arrived.is_none_or(|arrived| one.sent < arrived);
        let faces = one.from == other.to && one.to == other.from;
        assert!(
            faces && before(one, other) && before(other, one),
            "{}: {} and {} do not cross",
            flow.section,
            one.title,
            other.title
        );
    }
}

/// Puts our messages into the order of the RFC. Panics unless they are the same, and unless each comes after what
/// caused it.
pub(crate) fn in_order(flow: &Flow, reference: &[Reference]) -> Compared {
    let ladder = flow.ladder();
    let mut free: Vec<Option<&Step>> = ladder.steps.iter().map(Some).collect();
    let mut order = Vec::new();
    for theirs in reference {
        let fits = |step: &Option<&Step>| step.is_some_and(|step| is_same(flow, step, theirs));
        let Some(at) = free.iter().position(fits) else {
            panic!("{} {:?} is not in\n{}", flow.section, theirs.number, ladder.draw());
        };
        free[at] = None;
        order.push(at);
    }
    let last = order.iter().copied().max().unwrap_or(0);
    let left = free.iter().enumerate().filter(|(at, _)| flow.afterwards.is_empty() || *at < last);
    let is_added = |step: &Step| flow.adds.iter().any(|(kind, _)| *kind == reference::kind(&message(step)));
    let left = left.filter(|(_, step)| !step.is_some_and(is_added));
    let left: Vec<&str> = left.filter_map(|(_, step)| Some(step.as_ref()?.title.as_str())).collect();
    assert!(left.is_empty(), "{}: the RFC does not have {left:?}\n{}", flow.section, ladder.draw());
    let causes = causes(&ladder.steps);
    let mut swapped = Vec::new();
    for (earlier, one) in order.iter().enumerate() {
        for (later, other) in order.iter().enumerate().skip(earlier + 1) {
            let numbers = (reference[earlier].number.clone(), reference[later].number.clone());
            assert!(!causes[*other][*one], "{}: {numbers:?} are the other way round", flow.section);
            if other < one {
                swapped.push(numbers);
            }
        }
    }
    let steps = order.into_iter().map(|at| ladder.steps[at].clone()).collect();
    Compared { ladder: Ladder { participants: ladder.participants, steps }, swapped }
}

fn is_same(flow: &Flow, step: &Step, theirs: &Reference) -> bool {
    let name = |index: usize| flow.participants[index].0;
    let same_fate = step.arrived.is_none() == theirs.lost;
    let same_sides = name(step.from) == theirs.from && name(step.to) == theirs.to;
    let ours = reference::kind(&message(step));
    let meant =
        |(number, field, _): &(&str, Field, &str)| *number == theirs.number && *field == Field::Status;
    let same_kind = match flow.differences.iter().any(meant) {
        true => {
            ours.split_once(' ').map(|(_, method)| method)
                == theirs.kind.split_once(' ').map(|(_, method)| method)
        }
        false => ours == theirs.kind,
    };
    // Those for the INVITE that begins a call and for one within it are told apart by the tag that they repeat.
    let tagged = |message: &Message| tag(message.to().ok()).is_some();
    let is_added = flow.adds.iter().any(|(kind, _)| *kind == theirs.kind);
    let printed = theirs.message.as_ref().filter(|_| is_added);
    let same_place = printed.is_none_or(|printed| tagged(printed) == tagged(&message(step)));
    same_sides && same_fate && same_kind && same_place
}

fn message(step: &Step) -> Message {
    Message::parse(step.bytes.clone(), &Limits::default()).expect("a message of ours")
}

/// Which message comes before which by cause: its receiver sends the other after it came, or its sender sends the
/// other later to the same receiver. (Who gets one of two messages can't tell which was sent first; a proxy's 100 and
/// the forwarded request stand in either order in the RFC: F5 and F6 of §3.2, F5 and F6 of §3.3.)
fn causes(steps: &[Step]) -> Vec<Vec<bool>> {
    let direct = |one: &Step, other: &Step| {
        let answered = one.to == other.from && one.arrived.is_some_and(|arrived| arrived <= other.sent);
        answered || (one.from == other.from && one.to == other.to && one.sent < other.sent)
    };
    let mut causes: Vec<Vec<bool>> =
        steps.iter().map(|one| steps.iter().map(|other| direct(one, other)).collect()).collect();
    for middle in 0..steps.len() {
        for one in 0..steps.len() {
            for other in 0..steps.len() {
                causes[one][other] |= causes[one][middle] && causes[middle][other];
            }
        }
    }
    causes
}

/// Sessions: where the RFC has the same tag, ours is the same; where it has another, so have we. In a race between
/// two parties there are two tags in all.
fn check_tags(flow: &Flow, ours: &[Message], reference: &[Reference]) {
    if flow.section.starts_with("2.") {
        // The RFC changes Bob's tag between two REGISTERs of one Call-ID, which says nothing.
        return;
    }
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    let tags = |message: &Message| [tag(message.from().ok()), tag(message.to().ok())];
    for (mine, theirs) in ours.iter().zip(reference) {
        let Some(printed) = &theirs.message else { continue };
        // What belongs to another dialog than in the RFC has other tags.
        if flow
            .differences
            .iter()
            .any(|(number, field, _)| *number == theirs.number && *field == Field::ToTag)
        {
            continue;
        }
        for (mine, theirs_tag) in tags(mine).into_iter().zip(tags(printed)) {
            let (Some(mine), Some(theirs_tag)) = (mine, theirs_tag) else { continue };
            // RFC 3665 §3.4 has one tag in two calls, which says nothing.
            let call = printed.call_id().unwrap_or_default();
            let known = pairs.entry(format!("{call} {theirs_tag}")).or_insert_with(|| mine.clone());
            assert_eq!(*known, mine, "{} {}: another tag", flow.section, theirs.number);
        }
    }
    let mut kept: Vec<&String> = pairs.values().collect();
    let count = kept.len();
    kept.sort();
    kept.dedup();
    assert_eq!(kept.len(), count, "{}: tags that the RFC keeps apart are the same", flow.section);
    if flow.source == Source::Rfc(5407) && !flow.section.starts_with('E') {
        let all: BTreeSet<String> = ours.iter().flat_map(tags).flatten().collect();
        assert_eq!(all.len(), 2, "{}: the tags of Alice and Bob", flow.section);
    }
}
