//! The phone in a terminal: keys in, screens out.

use std::collections::VecDeque;
use std::io::stdout;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dialtone_node::now;
use dialtone_node::softphone::{Action, LineState, News, Registration, Softphone, SoftphoneConfig, Step};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};

use super::keys::{Keys, Situation};
use super::view::{Row, Screen, draw, registration_words};
use super::{exit_of, told};
use crate::exit::Exit;
use crate::log;
use crate::softphone::Refusal;

/// How often keys are looked for, at least.
const TICK: Duration = Duration::from_millis(40);
/// How often the screen is drawn while nothing happens: its clocks and meters.
const DRAW: Duration = Duration::from_millis(200);
/// Events of the phone that are taken before the keys have their turn.
const EVENTS_MAX: usize = 64;
/// Lines of the log of events that are kept.
const LOG_MAX: usize = 500;

/// Whether the terminal is ours, and not as its owner left it.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back as it was, if it was taken.
pub(crate) fn restore_terminal() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        // Whoever has closed the terminal does not miss it.
        let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}

/// The terminal, ours until this is dropped.
struct Taken {
    terminal: Terminal<CrosstermBackend<std::io::Stdout>>,
}

impl Taken {
    fn new() -> std::io::Result<Taken> {
        // A panic of this thread ends the program: what it says must be seen, and the terminal usable. Other threads
        // may panic and go on.
        let (own, before) = (std::thread::current().id(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() == own {
                restore_terminal();
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                eprintln!("dialtone: a bug, please report it: panic at {place}");
            }
            before(panic);
        }));
        IS_TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        taken.map(|terminal| Taken { terminal }).inspect_err(|_| restore_terminal())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Runs the phone until its owner quits.
pub(super) fn run(config: &SoftphoneConfig, stop: &AtomicBool, lines: &log::Lines) -> Result<Exit, Refusal> {
    let phone = Softphone::start(config)?;
    let mut desk = Desk { phone, keys: Keys::default(), log: VecDeque::new() };
    let taken = Taken::new().map_err(|error| Refusal::new(&error, Exit::System))?;
    let ran = desk.run(taken, stop, lines);
    // The screen is gone: what comes now are lines.
    let wrong_password = desk.phone.has_wrong_password();
    let exit = exit_of(desk.phone.close(&mut |news| crate::say(&format!("{}\n", told::text(&news)))));
    if wrong_password {
        eprintln!("dialtone: the password was refused");
    }
    for line in lines.take() {
        eprintln!("{line}");
    }
    ran.map(|()| exit).map_err(|error| Refusal::new(&error, Exit::System))
}

struct Desk {
    phone: Softphone,
    keys: Keys,
    log: VecDeque<String>,
}

impl Desk {
    fn run(&mut self, mut taken: Taken, stop: &AtomicBool, lines: &log::Lines) -> std::io::Result<()> {
        let mut drawn: Option<dialtone_node::Instant> = None;
        while !stop.load(Ordering::Relaxed) && !self.phone.has_wrong_password() {
            let mut is_new = self.take_events(lines);
            if event::poll(TICK)? {
                match event::read()? {
                    Event::Key(key) => {
                        if let Some(line) = self.keys.press(key, &self.situation())
                            && self.obey(&line)
                        {
                            return Ok(());
                        }
                    }
                    Event::Resize(..) => {}
                    _ => continue,
                }
                is_new = true;
            }
            if is_new || drawn.is_none_or(|at| now().since(at) >= DRAW) {
                self.phone.look();
                let screen = self.screen();
                taken.terminal.draw(|frame| draw(frame, &screen))?;
                drawn = Some(now());
            }
        }
        Ok(())
    }

    /// Takes what has happened. Says whether something has.
    fn take_events(&mut self, lines: &log::Lines) -> bool {
        let mut is_new = false;
        for _ in 0..EVENTS_MAX {
            if !self.phone.step(Duration::ZERO) {
                break;
            }
        }
        while let Some(news) = self.phone.poll_news() {
            is_new = true;
            // What the screen shows anyway is no event.
            if !matches!(news, News::Ready(_) | News::SessionChanged { .. }) {
                told::text(&news).lines().for_each(|line| self.note(line));
            }
        }
        for line in lines.take() {
            is_new = true;
            self.note(&line);
        }
        is_new
    }

    fn note(&mut self, line: &str) {
        if self.log.len() >= LOG_MAX {
            self.log.pop_front();
        }
        // What a far end says must not steer the terminal.
        self.log.push_back(line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect());
    }

    /// Does what a line says. Says whether that is the end.
    fn obey(&mut self, line: &str) -> bool {
        match Step::parse(line, Some(self.phone.domain())) {
            Ok(Some(Step::Act(Action::Quit))) => return true,
            Ok(Some(Step::Act(action))) => {
                if let Err(why) = self.phone.act(&action) {
                    self.note(&format!("{line}: {why}"));
                }
            }
            Ok(Some(Step::WaitFor { .. } | Step::Pause(_))) => {
                self.note(&format!("{line}: only scripts wait"));
            }
            Ok(None) => {}
            Err(error) => self.note(&error.to_string()),
        }
        false
    }

    fn situation(&self) -> Situation {
        let handset = self.phone.handset();
        let selected = handset.selected().map(|line| (line.number, line.state, line.held));
        let calls = handset.lines().filter(|line| line.state != LineState::Over).map(|line| line.number);
        let registered = !matches!(handset.registration(), Registration::Off);
        Situation {
            selected,
            calls: calls.collect(),
            transfer_asked: handset.transfer_is_asked(),
            registered,
        }
    }

    fn screen(&self) -> Screen {
        let handset = self.phone.handset();
        let selected = handset.selected().map(|line| line.number);
        let now = now();
        Screen {
            who: self.phone.aor().as_str().to_owned(),
            address: self.phone.address().to_string(),
            registration: registration_words(handset.registration()),
            calls: handset
                .lines()
                .map(|line| {
                    let (selected, joined) = (selected == Some(line.number), handset.is_joined(line.number));
                    Row::of(line, selected, joined, now)
                })
                .collect(),
            events: self.log.iter().cloned().collect(),
            prompt: self.keys.prompt.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Set for the program that is to panic.
    const PANICS: &str = "DIALTONE_TEST_PANICS";
    const NAME: &str = "phone::screen::tests::a_panic_gives_the_terminal_back_before_it_says_what_happened";

    /// This very test runs once more in a terminal of its own (`script` of bsdutils), takes it, and panics there.
    #[test]
    fn a_panic_gives_the_terminal_back_before_it_says_what_happened() {
        if std::env::var_os(PANICS).is_some() {
            let mut taken = Taken::new().expect("there is a terminal");
            taken.terminal.draw(|frame| draw(frame, &Screen::default())).expect("it can be drawn on");
            panic!("as this test wants");
        }
        let program = std::env::current_exe().expect("this program has a path");
        let line = format!("{} --exact {NAME} --nocapture; stty -a", program.display());
        let mut command = Command::new("script");
        command.args(["--quiet", "--command", &line, "/dev/null"]);
        command.env("SHELL", "/bin/sh").env("TERM", "xterm-256color").env(PANICS, "1").stdin(Stdio::null());
        let output = command.output().expect("script (bsdutils) can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{text}"));
        let (enter, leave) = (place("\x1b[?1049h"), place("\x1b[?1049l"));
        let said = place("a bug, please report it: panic at apps/dialtone/src/phone/screen.rs");
        assert!(enter < leave && leave < said, "{text}");
        let (hidden, shown) = (text.rfind("\x1b[?25l"), text.rfind("\x1b[?25h"));
        assert!(hidden < shown, "the cursor is there again\n{text}");
        // In raw mode each stands with a minus.
        for mode in ["icanon", "echo", "isig"] {
            assert!(text[said..].split_whitespace().any(|word| word == mode), "without {mode}\n{text}");
        }
    }
}
