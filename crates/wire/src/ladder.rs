//! Ladder diagrams: who sent what to whom, drawn as text.
//!
//! ```text
//!   alice             proxy              bob
//!     |--- F1 INVITE -->|                 |
//!     |                 |--- F2 INVITE -->|
//!     |                 |<-- F3 200 OK ---|
//!     |<-- F4 200 OK ---|                 |
//!     |======= RTP, 150 of 150 ==========>|
//! ```

use std::fmt::Write as _;

/// The widest drawing, in characters.
pub const LADDER_WIDTH_MAX: usize = 100;
/// Characters between two participants at least.
const GAP_MIN: usize = 16;
/// What an arrow needs beside its text: two dashes, a blank, and the head, at both ends.
const AROUND_TEXT: usize = 8;

/// One arrow of a ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The sender, an index into the participants.
    pub from: usize,
    /// The receiver, an index into the participants.
    pub to: usize,
    /// What was sent: a method, or a status with its reason.
    pub text: String,
    /// How it is drawn.
    pub kind: ArrowKind,
}

/// What an arrow stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrowKind {
    /// A message, numbered `F1`, `F2` … in the order of the arrows.
    Message,
    /// A message that never arrived: numbered too, and drawn without its head.
    Lost,
    /// A stream of media, drawn double and not numbered.
    Stream,
    /// A stream of which nothing arrived.
    LostStream,
}

impl Arrow {
    /// A message that arrived.
    pub fn message(from: usize, to: usize, text: impl Into<String>) -> Arrow {
        Arrow { from, to, text: text.into(), kind: ArrowKind::Message }
    }
}

/// Draws a ladder: a line of names, then one line for each arrow. Lines end with a line feed and have no blanks at
/// their end; none is longer than [`LADDER_WIDTH_MAX`] as long as there are at most six participants. Texts that are
/// too long end in `~`. An arrow that names no participant, or twice the same, becomes a note between the lines.
pub fn draw(participants: &[&str], arrows: &[Arrow]) -> String {
    let columns = columns(participants, arrows);
    let mut out = String::new();
    push_line(&mut out, &names(participants, &columns));
    let mut number = 0;
    for arrow in arrows {
        let text = match arrow.kind {
            ArrowKind::Stream | ArrowKind::LostStream => arrow.text.clone(),
            ArrowKind::Message | ArrowKind::Lost => {
                number += 1;
                format!("F{number} {}", arrow.text)
            }
        };
        push_line(&mut out, &arrow_line(&columns, arrow, &text));
    }
    out
}

/// The column of each participant's line.
fn columns(participants: &[&str], arrows: &[Arrow]) -> Vec<usize> {
    let first = participants.first().map_or(0, |name| name.chars().count() / 2 + 2);
    let last = participants.last().map_or(0, |name| name.chars().count().div_ceil(2) + 1);
    let gaps = participants.len().saturating_sub(1).max(1);
    let room = LADDER_WIDTH_MAX.saturating_sub(first + last) / gaps;
    let wanted = |arrow: &Arrow| {
        let number = 4; // "F12 "
        (arrow.text.chars().count() + number + AROUND_TEXT) / arrow.from.abs_diff(arrow.to).max(1)
    };
    let names = participants.iter().map(|name| name.chars().count() + 2);
    let gap = arrows.iter().map(wanted).chain(names).max().unwrap_or(0).max(GAP_MIN).min(room.max(GAP_MIN));
    (0..participants.len()).map(|index| first + index * gap).collect()
}

/// The names, each centred over its line.
fn names(participants: &[&str], columns: &[usize]) -> Vec<char> {
    let mut line = Vec::new();
    for (name, column) in participants.iter().zip(columns) {
        let name: Vec<char> = name.chars().collect();
        let start = (column.saturating_sub(name.len() / 2)).max(line.len() + usize::from(!line.is_empty()));
        line.resize(start, ' ');
        line.extend(name);
    }
    line
}

fn arrow_line(columns: &[usize], arrow: &Arrow, text: &str) -> Vec<char> {
    let mut line = vec![' '; columns.last().map_or(0, |last| last + 1)];
    for column in columns {
        line[*column] = '|';
    }
    let (Some(from), Some(to)) = (columns.get(arrow.from), columns.get(arrow.to)) else {
        return note(&line, text);
    };
    let (left, right) = (*from.min(to), *from.max(to));
    if left == right {
        return note(&line, text);
    }
    let head = if from < to { '>' } else { '<' };
    let (body, head) = match arrow.kind {
        ArrowKind::Message => ('-', head),
        ArrowKind::Lost => ('-', 'x'),
        ArrowKind::Stream => ('=', head),
        ArrowKind::LostStream => ('=', 'x'),
    };
    line[left + 1..right].fill(body);
    line[if from < to { right - 1 } else { left + 1 }] = head;
    let room = (right - left - 1).saturating_sub(AROUND_TEXT - 2);
    let text = cut(text, room);
    let start = left + 1 + (right - left - 1 - text.len()) / 2;
    line[start - 1] = ' ';
    line[start..start + text.len()].copy_from_slice(&text);
    line[start + text.len()] = ' ';
    line
}

fn note(line: &[char], text: &str) -> Vec<char> {
    line.iter().copied().chain("  ".chars()).chain(text.chars()).collect()
}

fn cut(text: &str, room: usize) -> Vec<char> {
    let mut text: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() > room {
        text.truncate(room.saturating_sub(1));
        text.push('~');
    }
    text
}

fn push_line(out: &mut String, line: &[char]) {
    let line: String = line.iter().collect();
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(participants: &[&str], arrows: &[Arrow], expected: &[&str]) {
        let drawn = draw(participants, arrows);
        assert_eq!(drawn.lines().collect::<Vec<_>>(), expected, "\n{drawn}");
    }

    #[test]
    fn messages_are_numbered_and_streams_cross_the_lines_between() {
        let stream = Arrow { kind: ArrowKind::Stream, ..Arrow::message(0, 2, "RTP, 150 of 150") };
        let arrows = [
            Arrow::message(0, 1, "INVITE"),
            Arrow::message(1, 2, "INVITE"),
            Arrow::message(2, 1, "200 OK"),
            Arrow::message(1, 0, "200 OK"),
            stream,
        ];
        check(
            &["alice", "proxy", "bob"],
            &arrows,
            &[
                "  alice             proxy              bob",
                "    |--- F1 INVITE -->|                 |",
                "    |                 |--- F2 INVITE -->|",
                "    |                 |<-- F3 200 OK ---|",
                "    |<-- F4 200 OK ---|                 |",
                "    |========= RTP, 150 of 150 ========>|",
            ],
        );
    }

    #[test]
    fn a_lost_message_has_no_head() {
        let lost = Arrow { kind: ArrowKind::Lost, ..Arrow::message(1, 0, "200 OK") };
        check(&["a", "b"], &[lost], &["  a                 b", "  |x-- F1 200 OK ---|"]);
    }

    #[test]
    fn no_line_is_wider_than_a_hundred() {
        let long = "x".repeat(300);
        for count in 2..=6 {
            let names: Vec<String> = (0..count).map(|number| format!("name{number}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let arrows: Vec<Arrow> = (1..count).map(|to| Arrow::message(to - 1, to, long.clone())).collect();
            for line in draw(&names, &arrows).lines() {
                assert!(line.chars().count() <= LADDER_WIDTH_MAX, "{line}");
                assert!(!line.ends_with(' '), "{line:?}");
            }
        }
    }

    #[test]
    fn an_arrow_to_nobody_is_a_note() {
        check(
            &["a", "b"],
            &[Arrow::message(0, 7, "INVITE")],
            &["  a               b", "  |               |  F1 INVITE"],
        );
        assert_eq!(draw(&[], &[]), "\n");
    }
}
