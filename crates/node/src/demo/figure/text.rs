//! The figure as text: the ladder line by line, and the report.

use std::fmt;

use super::{DeckStep, FigureReport, NAMES, Progress, Shown};
use crate::demo::text::write_direction;

/// Characters from one line of the ladder to the next. The longest names fit, since none stands beside another.
const GAP: usize = 8;
/// The line of the first box.
const FIRST: usize = 4;
/// Characters of a number and a message.
const MESSAGE_WIDTH: usize = 26;
/// Characters of a step of the deck.
const STEP_WIDTH: usize = 20;

/// What each box is.
const BOXES: [&str; 6] = [
    "user agent of tin@orange.test; its requests go to P1",
    "proxy; stays in the path of calls (Record-Route)",
    "redirect server of francetelecom.test: Rob is rob@orange.test now",
    "proxy; leaves the path after the INVITE (record_route = false)",
    "registrar of orange.test, and its location server",
    "user agent of rob@orange.test",
];

impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Started(places) => {
                for ((name, place), what) in NAMES.iter().zip(*places).zip(BOXES) {
                    writeln!(f, "  {name:<10} {:<21} {what}", place.to_string())?;
                }
                let note = "The deck's gateway to the telephone network is not here yet.";
                writeln!(f, "\n  {note}\n\nWhat passes on the wire, beside the step of the deck:\n")?;
                writeln!(f, "{}", heading())
            }
            Progress::Passed(shown) => writeln!(f, "{}", line(shown)),
            Progress::Talking(time) => {
                writeln!(f, "{}  (they talk for {} s, straight)", bars(), time.as_secs_f64())
            }
        }
    }
}

impl fmt::Display for FigureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nThe steps of the deck, by what has passed:\n")?;
        for step in &self.steps {
            let (deck, mark) = (step.deck, if step.missing.is_none() { "ok" } else { "--" });
            writeln!(f, "  {mark} {:<STEP_WIDTH$} {}", deck.label(), deck.meaning())?;
            if let Some(missing) = &step.missing {
                writeln!(f, "     {:<STEP_WIDTH$} {missing}", "")?;
            }
        }
        writeln!(f)?;
        for direction in &self.directions {
            write_direction(f, direction)?;
        }
        writeln!(f, "\n{}", self.verdict)
    }
}

/// The names over the lines.
fn heading() -> String {
    let mut line = String::new();
    for (index, name) in NAMES.iter().enumerate() {
        let start = (FIRST + index * GAP).saturating_sub(name.len() / 2);
        line = format!("{line:<start$}{name}");
    }
    line
}

fn bars() -> String {
    let mut line = vec![' '; FIRST + (NAMES.len() - 1) * GAP + 1];
    for index in 0..NAMES.len() {
        line[FIRST + index * GAP] = '|';
    }
    line.into_iter().collect()
}

fn line(shown: &Shown) -> String {
    let step = &shown.step;
    let column = |name: &str| NAMES.iter().position(|known| *known == name).map(|index| FIRST + index * GAP);
    let mut ladder: Vec<char> = bars().chars().collect();
    let (from, to) = (column(&step.from), column(&step.to));
    if let (Some(from), Some(to)) = (from, to)
        && from != to
    {
        let (left, right) = (from.min(to), from.max(to));
        ladder[left + 1..right].fill('-');
        let head = match (step.arrived, from < to) {
            (false, _) => 'x',
            (true, true) => '>',
            (true, false) => '<',
        };
        ladder[if from < to { right - 1 } else { left + 1 }] = head;
    }
    let ladder: String = ladder.into_iter().collect();
    let message = format!("{:<4}{}", step.number, step.message);
    let deck = shown.deck.map_or("", DeckStep::label);
    let line = format!("{ladder}  {message:<MESSAGE_WIDTH$} {deck:<STEP_WIDTH$} {}", remark(shown));
    line.trim_end().to_owned()
}

/// What the headers show of the path.
fn remark(shown: &Shown) -> String {
    let mut parts = Vec::new();
    if let (None, to) = (NAMES.iter().position(|name| *name == shown.step.to), &shown.step.to) {
        parts.push(format!("to {to}"));
    }
    if !matches!(shown.deck, Some(DeckStep::Registration | DeckStep::Removal)) {
        for (header, names) in
            [("Via", &shown.via), ("Record-Route", &shown.record_route), ("Route", &shown.route)]
        {
            if !names.is_empty() {
                parts.push(format!("{header} {}", names.join(" ")));
            }
        }
    }
    parts.extend(shown.contact.as_ref().map(|uri| format!("Contact {uri}")));
    parts.join(", ")
}
