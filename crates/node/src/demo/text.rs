//! The report as text for people.

use std::fmt;

use dialtone_wire::ladder::{Arrow, ArrowKind, draw};

use super::{DemoReport, Direction, PARTICIPANTS, Step};

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "What passed on the wire:\n")?;
        writeln!(f, "{}", draw(&PARTICIPANTS, &arrows(&self.ladder, &self.directions)))?;
        for direction in &self.directions {
            write_direction(f, direction)?;
        }
        writeln!(f, "\n{}", self.verdict)
    }
}

/// What was heard in one direction.
pub(super) fn write_direction(f: &mut fmt::Formatter<'_>, direction: &Direction) -> fmt::Result {
    writeln!(
        f,
        "{:>5} -> {:<5}  {} packets sent, {} received, {} lost ({:.1} %), jitter {:.1} ms",
        direction.from,
        direction.to,
        direction.packets_sent,
        direction.packets_received,
        direction.lost,
        direction.loss_percent,
        direction.jitter_ms,
    )?;
    writeln!(
        f,
        "                level {:.1} dBFS, tone {:.1} Hz (sent {:.0} Hz), speech-like signal found by {:.0} %, {:.0} dB above noise",
        direction.level_dbfs,
        direction.tone_hz,
        direction.tone_sent_hz,
        direction.speech_correlation * 100.0,
        direction.snr_db,
    )
}

/// The messages, and the streams before the first BYE.
fn arrows(ladder: &[Step], directions: &[Direction]) -> Vec<Arrow> {
    let column = |name: &str| PARTICIPANTS.iter().position(|participant| *participant == name);
    // An address that is none of the participants' is no column: the arrow becomes a note.
    let column = |name: &str| column(name).unwrap_or(PARTICIPANTS.len());
    let mut arrows: Vec<Arrow> = ladder
        .iter()
        .map(|step| Arrow {
            from: column(&step.from),
            to: column(&step.to),
            text: step.message.clone(),
            kind: if step.arrived { ArrowKind::Message } else { ArrowKind::Lost },
        })
        .collect();
    let end = arrows.iter().position(|arrow| arrow.text == "BYE").unwrap_or(arrows.len());
    let streams = directions.iter().filter(|direction| direction.packets_sent > 0).map(|direction| Arrow {
        from: column(direction.from),
        to: column(direction.to),
        text: format!("RTP, {} of {} packets", direction.packets_received, direction.packets_sent),
        kind: if direction.packets_received > 0 { ArrowKind::Stream } else { ArrowKind::LostStream },
    });
    arrows.splice(end..end, streams.collect::<Vec<_>>());
    arrows
}
