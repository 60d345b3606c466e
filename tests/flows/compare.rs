//! Ours against the RFC's: direction, method or status, order, headers, tags.

use std::collections::BTreeMap;

use dialtone_sim::{Ladder, Step};
use dialtone_wire::{Limits, Message};

use crate::Flow;
use crate::fields::{fields, tag};
use crate::reference::{self, Reference};

/// A flow of ours in the order of the RFC.
pub(crate) struct Compared {
    /// The messages as the RFC orders them.
    pub(crate) ladder: Ladder,
    /// Numbers of messages that ours sends in the other order.
    pub(crate) swapped: Vec<(String, String)>,
}

/// Plays a flow and compares all of it.
pub(crate) fn check(flow: &Flow) {
    let reference = reference::flow(flow.section);
    let compared = in_order(flow, &reference);
    let messages: Vec<Message> = compared.ladder.steps.iter().map(message).collect();
    let mut unused: Vec<_> = flow.differences.iter().collect();
    let mut wrong = Vec::new();
    for (ours, theirs) in messages.iter().zip(&reference) {
        for ((field, mine), (_, expected)) in fields(ours).into_iter().zip(fields(&theirs.message)) {
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
    check_tags(flow, &messages, &reference);
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
    let left: Vec<&str> = free.iter().flatten().map(|step| step.title.as_str()).collect();
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
    let ours = message(step);
    let same_start = ours.method() == theirs.message.method() && ours.status() == theirs.message.status();
    name(step.from) == theirs.from && name(step.to) == theirs.to && same_start
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

/// Sessions: where the RFC has the same tag, ours is the same; where it has another, so have we.
fn check_tags(flow: &Flow, ours: &[Message], reference: &[Reference]) {
    if flow.section.starts_with("2.") {
        // The RFC changes Bob's tag between two REGISTERs of one Call-ID, which says nothing.
        return;
    }
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    for (mine, theirs) in ours.iter().zip(reference) {
        let tags = |message: &Message| [tag(message.from().ok()), tag(message.to().ok())];
        for (mine, theirs_tag) in tags(mine).into_iter().zip(tags(&theirs.message)) {
            let (Some(mine), Some(theirs_tag)) = (mine, theirs_tag) else { continue };
            let known = pairs.entry(theirs_tag).or_insert_with(|| mine.clone());
            assert_eq!(*known, mine, "{} {}: another tag", flow.section, theirs.number);
        }
    }
    let mut tags: Vec<&String> = pairs.values().collect();
    let count = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), count, "{}: tags that the RFC keeps apart are the same", flow.section);
}
