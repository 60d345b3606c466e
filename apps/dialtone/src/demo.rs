//! `dialtone demo`.

use std::net::IpAddr;

use clap::Args;
use dialtone_node::demo::figure::{self, FigureReport, Progress, Shown};
use dialtone_node::demo::{self, DemoConfig, DemoReport, run};
use serde::Serialize;

use crate::Outcome;
use crate::exit::Exit;
use crate::say;

/// The arguments of `dialtone demo`.
///
/// No phone and no file is needed. The server and both phones have sockets of their own and share nothing but the wire.
/// Exit code 0 means that audio was measured both ways.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How long the two talk, in seconds (1 to 120).
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The server's address; alice and bob have the next two. With --figure that of Tin; the others have the next
    /// five.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// How many shards the server has.
    #[arg(long, default_value_t = 1, hide = true)]
    shards: u16,
    /// Runs the deck's reference architecture instead: two phones, two proxies, a registrar and a redirect server, each on
    /// its own. The ladder is printed as the messages pass, beside the step of the deck. Exit code 0 means that every
    /// step was seen too.
    #[arg(long)]
    figure: bool,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    ok: bool,
    verdict: &'a str,
    directions: Vec<Direction<'a>>,
    ladder: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Direction<'a> {
    from: &'a str,
    to: &'a str,
    packets_sent: u64,
    packets_received: u64,
    lost: u64,
    loss_percent: f64,
    jitter_ms: f64,
    level_dbfs: f64,
    tone_hz: f64,
    speech_correlation: f64,
    snr_db: f64,
    heard: bool,
}

#[derive(Serialize)]
struct Step<'a> {
    number: &'a str,
    time_ms: f64,
    from: &'a str,
    to: &'a str,
    message: &'a str,
    arrived: bool,
}

#[derive(Serialize)]
struct FigureJson<'a> {
    schema: u32,
    ok: bool,
    verdict: &'a str,
    directions: Vec<Direction<'a>>,
    steps: Vec<DeckStep<'a>>,
    ladder: Vec<FigureStep<'a>>,
}

#[derive(Serialize)]
struct DeckStep<'a> {
    step: &'a str,
    seen: bool,
    missing: Option<&'a str>,
}

#[derive(Serialize)]
struct FigureStep<'a> {
    #[serde(flatten)]
    step: Step<'a>,
    deck: Option<&'a str>,
    via: &'a [String],
    record_route: &'a [String],
    route: &'a [String],
    contact: Option<&'a str>,
}

impl Demo {
    pub(crate) fn run(&self) -> Outcome {
        let config = DemoConfig { seconds: self.seconds, address: self.address, shards: self.shards };
        if self.figure {
            return self.figure(&config);
        }
        if !self.json {
            say("A server and two phones on loopback sockets; alice calls bob.\n\n");
        }
        let report = run(&config)?;
        if self.json {
            say(&format!("{}\n", json(&report)));
        } else {
            say(&report.to_string());
        }
        Ok(if report.ok { Exit::Success } else { Exit::Failed })
    }

    fn figure(&self, config: &DemoConfig) -> Outcome {
        if !self.json {
            say("The deck's reference architecture on loopback sockets; Tin calls Rob, who has moved.\n\n");
        }
        let is_quiet = self.json;
        let report = figure::run(config, &mut |progress: Progress<'_>| {
            if !is_quiet {
                say(&progress.to_string());
            }
        })?;
        say(&if is_quiet { format!("{}\n", figure_json(&report)) } else { report.to_string() });
        Ok(if report.ok { Exit::Success } else { Exit::Failed })
    }
}

fn json(report: &DemoReport) -> String {
    let report = Report {
        schema: 1,
        ok: report.ok,
        verdict: &report.verdict,
        directions: report.directions.iter().map(direction).collect(),
        ladder: report.ladder.iter().map(step).collect(),
    };
    serde_json::to_string(&report).expect("plain numbers and texts are JSON")
}

fn figure_json(report: &FigureReport) -> String {
    let steps = report.steps.iter().map(|step| DeckStep {
        step: step.deck.label(),
        seen: step.missing.is_none(),
        missing: step.missing.as_deref(),
    });
    let report = FigureJson {
        schema: 1,
        ok: report.ok,
        verdict: &report.verdict,
        directions: report.directions.iter().map(direction).collect(),
        steps: steps.collect(),
        ladder: report.ladder.iter().map(shown).collect(),
    };
    serde_json::to_string(&report).expect("plain numbers and texts are JSON")
}

fn shown(shown: &Shown) -> FigureStep<'_> {
    FigureStep {
        step: step(&shown.step),
        deck: shown.deck.map(figure::DeckStep::label),
        via: &shown.via,
        record_route: &shown.record_route,
        route: &shown.route,
        contact: shown.contact.as_deref(),
    }
}

fn direction(direction: &demo::Direction) -> Direction<'_> {
    Direction {
        from: direction.from,
        to: direction.to,
        packets_sent: direction.packets_sent,
        packets_received: direction.packets_received,
        lost: direction.lost,
        loss_percent: round(direction.loss_percent, 2),
        jitter_ms: round(direction.jitter_ms, 3),
        level_dbfs: round(direction.level_dbfs, 2),
        tone_hz: round(direction.tone_hz, 2),
        speech_correlation: round(direction.speech_correlation, 4),
        snr_db: round(direction.snr_db, 1),
        heard: direction.heard,
    }
}

fn step(step: &demo::Step) -> Step<'_> {
    Step {
        number: &step.number,
        time_ms: round(step.time_ms, 3),
        from: &step.from,
        to: &step.to,
        message: &step.message,
        arrived: step.arrived,
    }
}

fn round(value: f64, places: i32) -> f64 {
    (value * 10_f64.powi(places)).round() / 10_f64.powi(places)
}
