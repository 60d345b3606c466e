//! A program that runs beside the test, its output read line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A running program; killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Line>,
    seen: Vec<String>,
    errors: Vec<String>,
}

enum Line {
    Out(String),
    Error(String),
}

impl Process {
    /// Starts it with both outputs piped to us.
    pub(crate) fn start(command: &mut Command) -> Process {
        Process::spawn(command.stdin(Stdio::null()))
    }

    /// The same for a program that is told what to do by [`Process::say`].
    pub(crate) fn start_with_input(command: &mut Command) -> Process {
        Process::spawn(command.stdin(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Process {
        let name = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let (sender, lines) = channel();
        let (out, error) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let sender_of_errors = sender.clone();
        std::thread::spawn(move || forward(out, |line| sender.send(Line::Out(line)).is_ok()));
        std::thread::spawn(move || forward(error, |line| sender_of_errors.send(Line::Error(line)).is_ok()));
        let input = child.stdin.take();
        Process { name, child, input, lines, seen: Vec::new(), errors: Vec::new() }
    }

    /// Writes a line to its input.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it was started with an input");
        // One write: it may act on what it has.
        if let Err(error) = input.write_all(format!("{line}\n").as_bytes()) {
            self.absorb();
            panic!("{} takes no `{line}`: {error}\n{}", self.name, self.output());
        }
    }

    /// There is nothing more to say: its input ends.
    pub(crate) fn say_no_more(&mut self) {
        self.input = None;
    }

    /// The next line of either output, if one comes before `end`.
    pub(crate) fn next_line(&mut self, end: Instant) -> Option<String> {
        self.next(end)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("VmRSS in /proc/PID/status") * 1024
    }

    /// Waits for a line of either output that holds `text`, and returns it.
    pub(crate) fn wait_for(&mut self, text: &str, patience: Duration) -> String {
        let end = Instant::now() + patience;
        while let Some(line) = self.next(end) {
            if line.contains(text) {
                return line;
            }
        }
        panic!("{} did not print `{text}` within {patience:?}\n{}", self.name, self.output())
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub(crate) fn terminate(&mut self, patience: Duration) -> ExitStatus {
        self.signal("TERM", patience)
    }

    /// Does what Ctrl-C does, and waits until it has ended.
    pub(crate) fn interrupt(&mut self, patience: Duration) -> ExitStatus {
        self.signal("INT", patience)
    }

    fn signal(&mut self, name: &str, patience: Duration) -> ExitStatus {
        let kill = format!("kill -{name} {}", self.child.id());
        crate::lab::system(Command::new("sh").args(["-c", &kill]));
        self.finish(patience)
    }

    /// Waits until it has ended by itself.
    pub(crate) fn finish(&mut self, patience: Duration) -> ExitStatus {
        let end = Instant::now() + patience;
        while self.next(end).is_some() {}
        match self.child.try_wait().expect("a child can be waited for") {
            Some(status) => status,
            // Both outputs are closed, so that it is about to end; or time is up.
            None if Instant::now() < end => self.child.wait().expect("a child can be waited for"),
            None => panic!("{} has not ended within {patience:?}\n{}", self.name, self.output()),
        }
    }

    /// The lines of its standard output that have been read.
    pub(crate) fn out(&self) -> &[String] {
        &self.seen
    }

    /// The lines of its standard error that have been read.
    pub(crate) fn errors(&self) -> &[String] {
        &self.errors
    }

    /// All that it has printed, for the message of a failure.
    pub(crate) fn output(&self) -> String {
        format!("--- its output:\n{}\n--- its errors:\n{}", self.seen.join("\n"), self.errors.join("\n"))
    }

    /// Reads what has been printed so far, for the message of a failure.
    pub(crate) fn absorb(&mut self) {
        let end = Instant::now();
        while self.next(end).is_some() {}
    }

    fn next(&mut self, end: Instant) -> Option<String> {
        match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Line::Out(line)) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Ok(Line::Error(line)) => {
                self.errors.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; both then fail, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(stream: impl Read, mut send: impl FnMut(String) -> bool) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if !send(String::from_utf8_lossy(&line).trim_end().to_owned()) {
            return;
        }
        line.clear();
    }
}
