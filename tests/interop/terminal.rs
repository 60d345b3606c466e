//! A program in a terminal of its own (a pseudo-terminal made by util-linux' `script`): keys go in, and the screen that its
//! bytes draw is looked at.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Its size.
const ROWS: usize = 24;
const COLUMNS: usize = 100;

/// A program in a terminal; killed when dropped.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    bytes: Receiver<Vec<u8>>,
    screen: Screen,
}

impl Terminal {
    /// Runs a line of the shell in it. After the line has ended it prints how the terminal was left, and its exit code as
    /// `ended with N`.
    pub(crate) fn start(line: &str) -> Terminal {
        let whole =
            format!("stty rows {ROWS} cols {COLUMNS}; {line}; code=$?; stty -a; echo \"ended with $code\"");
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--command", &whole, "/dev/null"]);
        command.env("SHELL", "/bin/sh").env("TERM", "xterm-256color");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("script (bsdutils) can be run");
        let (keys, mut out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, keys, bytes, screen: Screen::default() }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("the terminal is there");
    }

    /// Waits until the screen shows this.
    pub(crate) fn wait_for(&mut self, text: &str, patience: Duration) {
        self.wait_until(text, patience, |screen| screen.text().contains(text));
    }

    /// Waits until the screen is as it should be.
    pub(crate) fn wait_until(&mut self, what: &str, patience: Duration, is_so: impl Fn(&Screen) -> bool) {
        let end = Instant::now() + patience;
        while !is_so(&self.screen) {
            match self.bytes.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.screen.take(&bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("the screen does not show `{what}` within {patience:?}:\n{}", self.screen.text())
                }
            }
        }
    }

    /// What the screen shows.
    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Waits until the program has ended with this code, and checks that it gave the terminal back as it was.
    pub(crate) fn wait_for_the_end(&mut self, code: i32, patience: Duration) {
        self.wait_for(&format!("ended with {code}"), patience);
        let screen = &self.screen;
        assert!(!screen.is_alternate && screen.has_cursor, "the screen was not given back");
        // In raw mode both stand with a minus.
        let text = screen.text();
        for mode in ["icanon", "echo", "isig"] {
            assert!(
                text.split_whitespace().any(|word| word == mode),
                "the terminal is left without {mode}:\n{text}"
            );
        }
        let status: ExitStatus = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already; both then fail, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cells of a terminal, as far as our programs draw them.
#[derive(Debug)]
pub(crate) struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    pub(crate) is_alternate: bool,
    /// What comes back after the alternate screen.
    kept: (usize, usize, Vec<Vec<char>>),
    pub(crate) has_cursor: bool,
    /// Bytes of a sequence or character that is not whole yet.
    pending: Vec<u8>,
}

impl Default for Screen {
    fn default() -> Screen {
        let cells = vec![vec![' '; COLUMNS]; ROWS];
        let kept = (0, 0, cells.clone());
        Screen { cells, row: 0, column: 0, is_alternate: false, kept, has_cursor: true, pending: Vec::new() }
    }
}

impl Screen {
    /// Its lines, without the blanks at their ends.
    pub(crate) fn text(&self) -> String {
        let line = |row: &Vec<char>| row.iter().collect::<String>().trim_end().to_owned();
        self.cells.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The first line that holds this.
    pub(crate) fn line(&self, text: &str) -> Option<String> {
        self.text().lines().find(|line| line.contains(text)).map(str::to_owned)
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest = pending.as_slice();
        while let Some(length) = self.take_one(rest) {
            rest = &rest[length..];
        }
        self.pending = rest.to_vec();
    }

    /// Takes one character or sequence and says how long it was; `None` when it is not whole.
    fn take_one(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes {
            [] | [0x1b] => None,
            [0x1b, b'[', rest @ ..] => {
                let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte))?;
                self.sequence(&String::from_utf8_lossy(&rest[..end]), rest[end]);
                Some(end + 3)
            }
            [0x1b, b'(' | b')', rest @ ..] => rest.first().map(|_| 3),
            [0x1b, ..] => Some(2),
            [b'\r', ..] => {
                self.column = 0;
                Some(1)
            }
            [b'\n', ..] => {
                self.new_line();
                Some(1)
            }
            [0..=0x1f, ..] => Some(1),
            [first, ..] => {
                let length = match first {
                    0..=0x7f => 1,
                    0xc0..=0xdf => 2,
                    0xe0..=0xef => 3,
                    _ => 4,
                };
                let text = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
                text.chars().take(1).for_each(|character| self.put(character));
                Some(length)
            }
        }
    }

    fn put(&mut self, character: char) {
        if self.column >= COLUMNS {
            self.column = 0;
            self.new_line();
        }
        self.cells[self.row][self.column] = character;
        self.column += 1;
    }

    fn new_line(&mut self) {
        if self.row + 1 < ROWS {
            self.row += 1;
        } else {
            self.cells.remove(0);
            self.cells.push(vec![' '; COLUMNS]);
        }
    }

    /// ECMA-48 §8.3, and the private modes of xterm that crossterm uses.
    fn sequence(&mut self, parameters: &str, end: u8) {
        let number = |index: usize| {
            let text = parameters.split(';').nth(index).unwrap_or_default();
            text.parse::<usize>().unwrap_or(1).max(1)
        };
        match (end, parameters) {
            (b'H' | b'f', _) => {
                (self.row, self.column) = ((number(0) - 1).min(ROWS - 1), (number(1) - 1).min(COLUMNS));
            }
            (b'A', _) => self.row = self.row.saturating_sub(number(0)),
            (b'B', _) => self.row = (self.row + number(0)).min(ROWS - 1),
            (b'C', _) => self.column = (self.column + number(0)).min(COLUMNS - 1),
            (b'D', _) => self.column = self.column.saturating_sub(number(0)),
            (b'J', _) => self.cells = vec![vec![' '; COLUMNS]; ROWS],
            (b'K', _) => self.cells[self.row][self.column.min(COLUMNS - 1)..].fill(' '),
            (b'h' | b'l', "?1049") => {
                self.is_alternate = end == b'h';
                if self.is_alternate {
                    self.kept = (self.row, self.column, self.cells.clone());
                    self.cells = vec![vec![' '; COLUMNS]; ROWS];
                } else {
                    (self.row, self.column, self.cells) = self.kept.clone();
                }
            }
            (b'h' | b'l', "?25") => self.has_cursor = end == b'h',
            // Colours and the like.
            _ => {}
        }
    }
}
