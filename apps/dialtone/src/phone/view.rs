//! The screen as a function of what there is to show.

use std::time::Duration;

use dialtone_node::Instant;
use dialtone_node::softphone::{Line, LineState, Registration};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, Paragraph};

use super::keys::{HELP, Prompt};

/// Cells of a meter.
const METER_CELLS: usize = 20;
/// What an empty and a full meter show, in dBFS.
const METER_DBFS: (f64, f64) = (-60.0, 0.0);

/// What marks the calls that are one conversation.
const JOINED: &str = "in a three-way call";

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Screen {
    /// Who we are.
    pub(super) who: String,
    /// Where we listen.
    pub(super) address: String,
    /// How the registration stands.
    pub(super) registration: String,
    /// The calls.
    pub(super) calls: Vec<Row>,
    /// What happened, the last line last.
    pub(super) events: Vec<String>,
    /// What is being typed.
    pub(super) prompt: Option<Prompt>,
}

/// One call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) number: u64,
    pub(super) selected: bool,
    pub(super) peer: String,
    pub(super) outgoing: bool,
    /// In words.
    pub(super) state: String,
    /// For how long.
    pub(super) time: Duration,
    /// Once there is audio.
    pub(super) audio: Option<Audio>,
}

/// The audio of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Audio {
    pub(super) codec: &'static str,
    pub(super) heard: Way,
    pub(super) sent: Way,
}

/// One direction of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Way {
    pub(super) dbfs: f64,
    /// Packets that did not arrive, here or at the far end, and their share; `None` where nobody has said it.
    pub(super) lost: Option<(i64, f64)>,
    pub(super) jitter_ms: Option<f64>,
}

impl Row {
    /// What is shown of a call.
    pub(super) fn of(line: &Line, selected: bool, joined: bool, now: Instant) -> Row {
        let audio = line.meter.as_ref().map(|meter| {
            let way = |report: &dialtone_node::DirectionReport, dbfs| Way {
                dbfs,
                lost: report.loss.map(|loss| (loss.packets.max(0), loss.fraction)),
                jitter_ms: report.jitter_ms,
            };
            Audio {
                codec: meter.report.codec.encoding_name(),
                heard: way(&meter.report.received, meter.heard_dbfs),
                sent: way(&meter.report.sent, meter.sent_dbfs),
            }
        });
        Row {
            number: line.number,
            selected,
            peer: line.peer.as_str().to_owned(),
            outgoing: line.outgoing,
            state: if joined { format!("{}, {JOINED}", state_words(line)) } else { state_words(line) },
            time: now.since(line.since),
            audio,
        }
    }
}

/// Where a call stands, in words.
fn state_words(line: &Line) -> String {
    let words = match (line.state, line.held, line.held_by_peer) {
        (LineState::Calling, ..) => "calling",
        (LineState::Ringing, ..) if line.ringback_is_heard() => "rings there, ringback here",
        (LineState::Ringing, ..) => "on its way",
        (LineState::Queued, ..) if !line.queue.is_empty() => {
            return format!("waits in a queue: {}", line.queue);
        }
        (LineState::Queued, ..) => "waits in a queue",
        (LineState::EarlyMedia, ..) => "the far end is heard before it answers",
        (LineState::RingsHere, ..) => "rings here",
        (LineState::Answering, ..) => "answering",
        (LineState::Talking, ..) if line.hears_music() => "on hold, with music",
        (LineState::Talking, false, false) => "talking",
        (LineState::Talking, true, false) => "on hold",
        (LineState::Talking, false, true) => "the far end holds it",
        (LineState::Talking, true, true) => "on hold at both ends",
        (LineState::Over, ..) => "over",
    };
    words.to_owned()
}

/// How the registration stands, in words.
pub(super) fn registration_words(registration: Registration) -> String {
    match registration {
        Registration::Off => "not registered".to_owned(),
        Registration::Asked => "registering …".to_owned(),
        Registration::On(seconds) => format!("registered for {seconds} s"),
        Registration::Failed(Some(status)) => {
            format!("not registered: the server says {} {}", status.code(), status.reason())
        }
        Registration::Failed(None) => "not registered: nobody answers".to_owned(),
        Registration::WrongPassword => "not registered: the password was refused".to_owned(),
    }
}

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let calls_height = calls_height(screen, frame.area().height);
    let parts = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(calls_height),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [title, registration, calls, events, bottom] = Layout::vertical(parts).areas(frame.area());
    let title_text = format!("dialtone phone  {}  at {}", screen.who, screen.address);
    frame.render_widget(Paragraph::new(title_text).style(Style::new().add_modifier(Modifier::BOLD)), title);
    frame.render_widget(Paragraph::new(screen.registration.as_str()), registration);
    draw_calls(frame, calls, &screen.calls);
    draw_events(frame, events, &screen.events);
    match &screen.prompt {
        Some(prompt) => draw_prompt(frame, bottom, prompt),
        None => frame.render_widget(Paragraph::new(help()), bottom),
    }
}

/// Three lines a call, and a frame; the events keep some lines whatever happens.
fn calls_height(screen: &Screen, height: u16) -> u16 {
    let wanted: usize = screen.calls.iter().map(|row| if row.audio.is_some() { 3 } else { 1 }).sum();
    let wanted = u16::try_from(wanted.max(1) + 2).unwrap_or(u16::MAX);
    wanted.min(height.saturating_sub(8).max(3))
}

fn draw_calls(frame: &mut Frame<'_>, area: Rect, calls: &[Row]) {
    let block = Block::bordered().title(" Calls ");
    let room = usize::from(block.inner(area).height);
    let mut lines = Vec::new();
    let mut selected_end = 0;
    for row in calls {
        lines.extend(call_lines(row));
        if row.selected {
            selected_end = lines.len();
        }
    }
    if lines.is_empty() {
        lines.push(Text::raw("none: c calls somebody"));
    }
    // The selected call stays in sight.
    let from = selected_end.saturating_sub(room);
    let lines: Vec<Text<'_>> = lines.into_iter().skip(from).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn call_lines(row: &Row) -> Vec<Text<'_>> {
    let (mark, style) = match row.selected {
        true => ('>', Style::new().add_modifier(Modifier::BOLD)),
        false => (' ', Style::new()),
    };
    let way = if row.outgoing { "to" } else { "from" };
    let codec = row.audio.as_ref().map_or("", |audio| audio.codec);
    let head = format!("{mark}{} {way} {}  {} {}  {codec}", row.number, row.peer, row.state, clock(row.time));
    let mut lines = vec![Text::styled(head.trim_end().to_owned(), style)];
    if let Some(audio) = &row.audio {
        lines.push(way_line("in ", &audio.heard));
        lines.push(way_line("out", &audio.sent));
    }
    lines
}

fn way_line(name: &str, way: &Way) -> Text<'static> {
    let full = meter_cells(way.dbfs);
    let lost = match way.lost {
        Some((packets, share)) => format!("lost {packets} ({:.1} %)", share * 100.0),
        None => "lost –".to_owned(),
    };
    let jitter = way.jitter_ms.map_or("jitter –".to_owned(), |jitter| format!("jitter {jitter:.1} ms"));
    Text::from(vec![
        Span::raw(format!("   {name} ")),
        Span::styled("█".repeat(full), Style::new().fg(Color::Green)),
        Span::raw("░".repeat(METER_CELLS - full)),
        Span::raw(format!(" {:>6.1} dBFS  {lost}  {jitter}", way.dbfs)),
    ])
}

/// How many cells of a meter are full.
fn meter_cells(dbfs: f64) -> usize {
    let (empty, full) = METER_DBFS;
    let share = ((dbfs - empty) / (full - empty)).clamp(0.0, 1.0);
    (share * METER_CELLS as f64).round() as usize
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, events: &[String]) {
    let block = Block::bordered().title(" Events ");
    let room = usize::from(block.inner(area).height);
    let last = events.iter().skip(events.len().saturating_sub(room));
    let lines: Vec<Text<'_>> = last.map(|line| Text::raw(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_prompt(frame: &mut Frame<'_>, area: Rect, prompt: &Prompt) {
    // The end of what is typed stays in sight.
    let line = format!("> {}{}", prompt.verb, prompt.text);
    let hidden = line.chars().count().saturating_sub(usize::from(area.width.saturating_sub(1)));
    let shown: String = line.chars().skip(hidden).collect();
    let column = u16::try_from(shown.chars().count()).unwrap_or(u16::MAX);
    frame.render_widget(Paragraph::new(shown), area);
    frame.set_cursor_position((area.x.saturating_add(column), area.y));
}

fn help() -> Text<'static> {
    let key = Style::new().add_modifier(Modifier::BOLD);
    let spans =
        HELP.iter().flat_map(|(name, does)| [Span::styled(*name, key), Span::raw(format!(" {does}  "))]);
    Text::from(spans.collect::<Vec<_>>())
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    /// Holds the screen, without the blanks at the ends of its lines, against what is expected.
    fn check(width: u16, height: u16, screen: &Screen, expected: &str) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal of cells");
        terminal.draw(|frame| draw(frame, screen)).expect("cells can be drawn");
        let buffer = terminal.backend().buffer();
        let row = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        let shown: Vec<String> = (0..height).map(|y| row(y).trim_end().to_owned()).collect();
        let expected: Vec<&str> = expected.trim_matches('\n').lines().collect();
        assert_eq!(shown, expected, "\n{}\n", shown.join("\n"));
    }

    fn screen() -> Screen {
        Screen {
            who: "sip:alice@office.test".to_owned(),
            address: "10.9.0.1:5062".to_owned(),
            registration: registration_words(Registration::On(600)),
            ..Screen::default()
        }
    }

    fn talking() -> Row {
        Row {
            number: 1,
            selected: true,
            peer: "sip:bob@office.test".to_owned(),
            outgoing: true,
            state: "talking".to_owned(),
            time: Duration::from_secs(75),
            audio: Some(Audio {
                codec: "PCMU",
                heard: Way { dbfs: -18.0, lost: Some((3, 0.012)), jitter_ms: Some(0.44) },
                sent: Way { dbfs: -96.0, lost: None, jitter_ms: None },
            }),
        }
    }

    #[test]
    fn a_phone_at_rest_says_who_it_is_and_which_keys_there_are() {
        check(
            80,
            12,
            &screen(),
            "
dialtone phone  sip:alice@office.test  at 10.9.0.1:5062
registered for 600 s
┌ Calls ───────────────────────────────────────────────────────────────────────┐
│none: c calls somebody                                                        │
└──────────────────────────────────────────────────────────────────────────────┘
┌ Events ──────────────────────────────────────────────────────────────────────┐
│                                                                              │
│                                                                              │
│                                                                              │
│                                                                              │
└──────────────────────────────────────────────────────────────────────────────┘
c call  a answer  d decline  e end  h hold  t transfer  0-9 dtmf  q quit  : more
",
        );
    }

    #[test]
    fn a_talk_has_its_time_codec_levels_loss_and_jitter_while_another_call_waits() {
        let waiting = Row {
            number: 2,
            peer: "sip:carol@office.test".to_owned(),
            state: "rings here".to_owned(),
            time: Duration::from_secs(3),
            ..Row::default()
        };
        let events = vec!["call 1: talking".to_owned(), "call 2: sip:carol@office.test calls".to_owned()];
        let screen = Screen { calls: vec![talking(), waiting], events, ..screen() };
        check(
            90,
            14,
            &screen,
            "
dialtone phone  sip:alice@office.test  at 10.9.0.1:5062
registered for 600 s
┌ Calls ─────────────────────────────────────────────────────────────────────────────────┐
│>1 to sip:bob@office.test  talking 1:15  PCMU                                           │
│   in  ██████████████░░░░░░  -18.0 dBFS  lost 3 (1.2 %)  jitter 0.4 ms                  │
│   out ░░░░░░░░░░░░░░░░░░░░  -96.0 dBFS  lost –  jitter –                               │
│ 2 from sip:carol@office.test  rings here 0:03                                          │
└────────────────────────────────────────────────────────────────────────────────────────┘
┌ Events ────────────────────────────────────────────────────────────────────────────────┐
│call 1: talking                                                                         │
│call 2: sip:carol@office.test calls                                                     │
│                                                                                        │
└────────────────────────────────────────────────────────────────────────────────────────┘
c call  a answer  d decline  e end  h hold  t transfer  0-9 dtmf  q quit  : more  ↑↓ selec
",
        );
    }

    #[test]
    fn what_is_typed_stands_in_place_of_the_help_and_small_screens_show_the_selected_call() {
        let calls: Vec<Row> = (1..=6)
            .map(|number| Row { number, selected: number == 5, ..talking() })
            .map(|row| Row { audio: None, ..row })
            .collect();
        let prompt = Some(Prompt { verb: "call ", text: "sip:bob@office.test".to_owned() });
        let events = (1..=9).map(|number| format!("event {number}")).collect();
        check(
            40,
            12,
            &Screen { calls, prompt, events, ..screen() },
            "
dialtone phone  sip:alice@office.test  a
registered for 600 s
┌ Calls ───────────────────────────────┐
│ 4 to sip:bob@office.test  talking 1:1│
│>5 to sip:bob@office.test  talking 1:1│
└──────────────────────────────────────┘
┌ Events ──────────────────────────────┐
│event 7                               │
│event 8                               │
│event 9                               │
└──────────────────────────────────────┘
> call sip:bob@office.test
",
        );
    }

    #[test]
    fn any_size_can_be_drawn() {
        let prompt = Some(Prompt { verb: "call ", text: "x".repeat(300) });
        let screen = Screen { calls: vec![talking(), talking()], prompt, ..screen() };
        for (width, height) in [(1, 1), (1, 30), (200, 1), (3, 3), (10, 5), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal of cells");
            terminal.draw(|frame| draw(frame, &screen)).expect("cells can be drawn");
        }
    }

    #[test]
    fn meters_go_from_silence_to_full_scale() {
        let cells: Vec<usize> = [-96.0, -60.0, -30.0, 0.0, 6.0].map(meter_cells).to_vec();
        assert_eq!(cells, [0, 0, 10, 20, 20]);
        assert_eq!(
            [0, 59, 60, 3_599, 3_600, 7_325].map(|s| clock(Duration::from_secs(s))),
            ["0:00", "0:59", "1:00", "59:59", "1:00:00", "2:02:05"].map(str::to_owned)
        );
    }
}
