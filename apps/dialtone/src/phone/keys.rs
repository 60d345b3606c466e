//! What the keys mean: each is a line of a script, typed for its owner.

use dialtone_node::softphone::LineState;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The longest text that is typed.
const TEXT_MAX: usize = 512;

/// What the keys depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Situation {
    /// The selected call: its state, and whether we hold it.
    pub(super) selected: Option<(u64, LineState, bool)>,
    /// The numbers of all calls, in their order.
    pub(super) calls: Vec<u64>,
    /// Whether a far end asks for a transfer.
    pub(super) transfer_asked: bool,
    /// Whether the registration stands or is asked for.
    pub(super) registered: bool,
}

/// A line that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    /// What stands before the text: the beginning of the line.
    pub(super) verb: &'static str,
    /// What was typed.
    pub(super) text: String,
}

/// The keys in the order of the help line: the key, and what it does. Those that fit 80 columns come first.
pub(super) const HELP: &[(&str, &str)] = &[
    ("c", "call"),
    ("a", "answer"),
    ("d", "decline"),
    ("e", "end"),
    ("h", "hold"),
    ("t", "transfer"),
    ("0-9", "dtmf"),
    ("q", "quit"),
    (":", "more"),
    ("↑↓", "select"),
    ("o", "options"),
    ("r", "register"),
    ("j", "join"),
];

/// The keyboard: it knows what is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) prompt: Option<Prompt>,
}

impl Keys {
    /// What a key means: a line to be done, or nothing yet.
    pub(super) fn press(&mut self, key: KeyEvent, situation: &Situation) -> Option<String> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'd')).then(|| "quit".to_owned());
        }
        match &mut self.prompt {
            Some(_) => self.type_in(key.code),
            None => self.command(key.code, situation),
        }
    }

    fn type_in(&mut self, key: KeyCode) -> Option<String> {
        let prompt = self.prompt.as_mut()?;
        match key {
            KeyCode::Enter => {
                let Prompt { verb, text } = self.prompt.take()?;
                return (!text.trim().is_empty()).then(|| format!("{verb}{}", text.trim()));
            }
            KeyCode::Esc => self.prompt = None,
            KeyCode::Backspace if prompt.text.is_empty() => self.prompt = None,
            KeyCode::Backspace => {
                prompt.text.pop();
            }
            KeyCode::Char(character) if prompt.text.len() < TEXT_MAX => prompt.text.push(character),
            _ => {}
        }
        None
    }

    fn command(&mut self, key: KeyCode, situation: &Situation) -> Option<String> {
        let rings = matches!(situation.selected, Some((_, LineState::RingsHere, _)));
        let asks_for_transfer = situation.transfer_asked && !rings;
        let line = match key {
            KeyCode::Char('c') => return self.ask("call "),
            KeyCode::Char('o') => return self.ask("options "),
            KeyCode::Char(':') => return self.ask(""),
            KeyCode::Char('t') => return self.ask("transfer "),
            // What is asked here: whether to take a call, or whether to do a transfer.
            KeyCode::Char('a') | KeyCode::Enter if asks_for_transfer => "accept".to_owned(),
            KeyCode::Char('d') if asks_for_transfer => "refuse".to_owned(),
            KeyCode::Char('a') | KeyCode::Enter => "answer".to_owned(),
            KeyCode::Char('d') => "decline".to_owned(),
            KeyCode::Char(digit @ ('0'..='9' | '*' | '#')) => format!("dtmf {digit}"),
            KeyCode::Char('e') => "hangup".to_owned(),
            KeyCode::Char('j') => "join".to_owned(),
            KeyCode::Char('h') => match situation.selected {
                Some((_, _, true)) => "resume".to_owned(),
                _ => "hold".to_owned(),
            },
            KeyCode::Char('r') if situation.registered => "unregister".to_owned(),
            KeyCode::Char('r') => "register".to_owned(),
            KeyCode::Char('q') => "quit".to_owned(),
            KeyCode::Up => format!("select {}", neighbour(situation, true)?),
            KeyCode::Down | KeyCode::Tab => format!("select {}", neighbour(situation, false)?),
            _ => return None,
        };
        Some(line)
    }

    fn ask(&mut self, verb: &'static str) -> Option<String> {
        self.prompt = Some(Prompt { verb, text: String::new() });
        None
    }
}

/// The call before or after the selected one, round about.
fn neighbour(situation: &Situation, before: bool) -> Option<u64> {
    let calls = &situation.calls;
    let selected = situation.selected.map(|(number, ..)| number);
    let at = selected.and_then(|selected| calls.iter().position(|call| *call == selected)).unwrap_or(0);
    let step = if before { calls.len().saturating_sub(1) } else { 1 };
    calls.get((at + step).checked_rem(calls.len())?).copied()
}

#[cfg(test)]
mod tests {
    use dialtone_node::softphone::Step;

    use super::*;

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    /// Presses what the text says, Enter for its line ends.
    fn press(keys: &mut Keys, text: &str, situation: &Situation) -> Vec<String> {
        let code = |c| if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
        text.chars().filter_map(|c| keys.press(key(code(c)), situation)).collect()
    }

    fn talking(held: bool) -> Situation {
        let selected = Some((2, LineState::Talking, held));
        Situation { selected, calls: vec![1, 2, 5], transfer_asked: false, registered: true }
    }

    #[test]
    fn each_key_is_a_line_of_a_script() {
        let situation = talking(false);
        for (typed, lines) in [
            ("a", &["answer"][..]),
            ("\n", &["answer"]),
            ("d", &["decline"]),
            ("e", &["hangup"]),
            ("h", &["hold"]),
            ("r", &["unregister"]),
            ("q", &["quit"]),
            ("tcarol\n", &["transfer carol"]),
            ("tto 1\n", &["transfer to 1"]),
            ("j", &["join"]),
            ("1*#", &["dtmf 1", "dtmf *", "dtmf #"]),
            ("cbob\n", &["call bob"]),
            ("osip:10.9.0.1\n", &["options sip:10.9.0.1"]),
            (":decline 603\n", &["decline 603"]),
            ("cahd\n", &["call ahd"]),
            ("z%\u{7}", &[]),
        ] {
            let mut keys = Keys::default();
            let pressed = press(&mut keys, typed, &situation);
            assert_eq!(
                (pressed.as_slice(), keys.prompt),
                (lines.map_to_strings().as_slice(), None),
                "{typed}"
            );
            for line in lines {
                assert!(Step::parse(line, Some("office.test")).is_ok(), "{line}");
            }
        }
    }

    trait MapToStrings {
        fn map_to_strings(&self) -> Vec<String>;
    }

    impl MapToStrings for &[&str] {
        fn map_to_strings(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn the_keys_of_an_answer_answer_a_transfer_that_is_asked_for() {
        let situation = Situation { transfer_asked: true, ..talking(false) };
        assert_eq!(press(&mut Keys::default(), "ad\n", &situation), ["accept", "refuse", "accept"]);
    }

    #[test]
    fn hold_and_registering_turn_round() {
        let mut keys = Keys::default();
        assert_eq!(press(&mut keys, "h", &talking(true)), ["resume"]);
        assert_eq!(press(&mut keys, "rh", &Situation::default()), ["register", "hold"]);
    }

    #[test]
    fn arrows_go_round_the_calls() {
        let mut keys = Keys::default();
        let situation = talking(false);
        assert_eq!(keys.press(key(KeyCode::Up), &situation).as_deref(), Some("select 1"));
        assert_eq!(keys.press(key(KeyCode::Down), &situation).as_deref(), Some("select 5"));
        let last = Situation { selected: Some((5, LineState::Talking, false)), ..situation };
        assert_eq!(keys.press(key(KeyCode::Tab), &last).as_deref(), Some("select 1"));
        assert_eq!(keys.press(key(KeyCode::Down), &Situation::default()), None);
    }

    #[test]
    fn what_is_typed_can_be_corrected_or_given_up_and_ctrl_c_quits_from_everywhere() {
        let situation = Situation::default();
        let mut keys = Keys::default();
        press(&mut keys, "cboc", &situation);
        assert_eq!(keys.press(key(KeyCode::Backspace), &situation), None);
        assert_eq!(press(&mut keys, "b\n", &situation), ["call bob"]);
        press(&mut keys, "cx", &situation);
        keys.press(key(KeyCode::Esc), &situation);
        assert_eq!(keys.prompt, None);
        press(&mut keys, "c", &situation);
        keys.press(key(KeyCode::Backspace), &situation);
        assert_eq!(keys.prompt, None, "nothing is left to be taken away");
        assert_eq!(press(&mut keys, "c \n", &situation), [""; 0], "nobody is called");
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(keys.press(ctrl_c, &situation).as_deref(), Some("quit"));
        press(&mut keys, "cbob", &situation);
        assert_eq!(keys.press(ctrl_c, &situation).as_deref(), Some("quit"));
        press(&mut keys, &"x".repeat(2 * TEXT_MAX), &situation);
        assert_eq!(keys.prompt.map(|prompt| prompt.text.len()), Some(TEXT_MAX));
    }
}
