//! What happens when the engine panics: it is a bug, the last inputs are written to a file without what is personal
//! in them, the packet that did it is kept out, and the shard begins anew after a pause that grows.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use dialtone_roles::io::Input;
use dialtone_wire::net::Transport;
use dialtone_wire::time::Instant;

use super::redact::redact;
use crate::clock;

/// Inputs that the file holds.
const LAST_INPUTS: usize = 32;
/// How long a packet is kept out: 64·T1 (RFC 3261 §17.1.1.2), the time in which it may be sent again.
const POISON_TIME: Duration = Duration::from_secs(32);
/// Packets that are kept out at a time; the oldest goes first.
const POISON_MAX: usize = 256;
/// The pause after the first panic and the longest one.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// After this time without a panic the pause is short again.
const CALM: Duration = Duration::from_secs(60);
/// Files that one shard writes at most, so that a bug does not fill the disk.
const DUMPS_MAX: u32 = 20;

/// Where the last inputs are written; nowhere without a data folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct DumpPlace(pub(crate) Option<PathBuf>);

/// One of the last inputs.
#[derive(Debug)]
struct Noted {
    at: Instant,
    kind: &'static str,
    transport: Option<Transport>,
    bytes: Option<Bytes>,
}

/// Stands between the engine and its thread.
#[derive(Debug)]
pub(super) struct Guard {
    shard: u16,
    dumps: DumpPlace,
    written: u32,
    last: VecDeque<Noted>,
    hash: RandomState,
    poison: VecDeque<(u64, Instant)>,
    pause: Duration,
    last_panic: Option<Instant>,
}

impl Guard {
    pub(super) fn new(shard: u16, dumps: DumpPlace) -> Guard {
        Guard {
            shard,
            dumps,
            written: 0,
            last: VecDeque::with_capacity(LAST_INPUTS),
            hash: RandomState::new(),
            poison: VecDeque::new(),
            pause: PAUSE_MIN,
            last_panic: None,
        }
    }

    /// Remembers an input. Packets are kept as they are, without a copy, until they are written or pushed out.
    pub(super) fn note(&mut self, at: Instant, input: &Input) {
        if self.last.len() == LAST_INPUTS {
            self.last.pop_front();
        }
        let (kind, flow, bytes) = match input {
            Input::Packet { flow, bytes } => ("packet", Some(flow), Some(bytes.clone())),
            Input::FlowClosed(flow) => ("flow closed", Some(flow), None),
            Input::TransmitFailed(flow) => ("transmit failed", Some(flow), None),
            Input::Answer(..) => ("answer", None, None),
            Input::Notice(_) => ("notice", None, None),
            Input::Media(_) => ("media", None, None),
            Input::Command(_) => ("command", None, None),
            Input::Restore(_) | Input::RestoreServices(_) => ("restore", None, None),
            Input::Dial(_) => ("dial", None, None),
            Input::ChangeServices { .. } => ("change of services", None, None),
            Input::Configure(_) => ("configure", None, None),
            Input::Timeout => ("timeout", None, None),
            _ => ("other", None, None),
        };
        self.last.push_back(Noted { at, kind, transport: flow.map(|flow| flow.transport), bytes });
    }

    /// Runs something that may panic; `None` when it did. What it worked on must not be used again.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        // The caller throws the engine away after a panic, so that nobody sees what it left half done.
        catch_unwind(AssertUnwindSafe(work)).ok()
    }

    /// Whether this packet made the engine panic a short time ago.
    pub(super) fn is_poison(&mut self, now: Instant, bytes: &Bytes) -> bool {
        if self.poison.is_empty() {
            return false;
        }
        self.poison.retain(|(_, until)| *until > now);
        let hash = self.hash.hash_one(bytes);
        self.poison.iter().any(|(poison, _)| *poison == hash)
    }

    /// Takes note of a panic at the last input. Returns how long the shard shall rest.
    pub(super) fn after_panic(&mut self, now: Instant) -> Duration {
        let input = self.last.back().map_or("none", |noted| noted.kind);
        tracing::error!(
            shard = self.shard,
            input,
            "the engine panicked: a bug, please report it; the shard begins anew"
        );
        if let Some(bytes) = self.last.back().and_then(|noted| noted.bytes.as_ref()) {
            if self.poison.len() == POISON_MAX {
                self.poison.pop_front();
            }
            self.poison.push_back((self.hash.hash_one(bytes), now + POISON_TIME));
        }
        self.write_dump();
        self.last.clear();
        let calm = self.last_panic.is_none_or(|last| now.since(last) > CALM);
        self.pause = if calm { PAUSE_MIN } else { (self.pause * 2).min(PAUSE_MAX) };
        self.last_panic = Some(now);
        self.pause
    }

    fn write_dump(&mut self) {
        let Some(folder) = &self.dumps.0 else { return };
        if self.written == DUMPS_MAX {
            return;
        }
        self.written += 1;
        let name = format!("panic-{}-shard{}-{}.txt", clock::unix_now_s(), self.shard, self.written);
        let path = folder.join(name);
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, self.dump().as_bytes()));
        match written {
            Ok(()) => tracing::error!(file = %path.display(), "the last inputs, redacted"),
            Err(error) => tracing::error!(%error, "the last inputs can't be written"),
        }
    }

    /// The last inputs as text, the newest last.
    fn dump(&self) -> String {
        let mut out = format!("dialtone {}: the last inputs before a panic\n", env!("CARGO_PKG_VERSION"));
        out.push_str("Letters and digits of values are replaced by x and 9.\n");
        for noted in &self.last {
            let transport = noted.transport.map(Transport::token).unwrap_or_default();
            let _ = writeln!(out, "\n--- {:?} {} {transport}", noted.at, noted.kind);
            if let Some(bytes) = &noted.bytes {
                out.push_str(&redact(bytes));
                out.push('\n');
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialtone_wire::net::Flow;

    fn packet(text: &'static str) -> Input {
        let address = "127.0.0.1:5060".parse().expect("an address");
        Input::Packet { flow: Flow::udp(address, address), bytes: Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn the_packet_that_panicked_is_kept_out_for_32_seconds() {
        let mut guard = Guard::new(0, DumpPlace::default());
        let (bad, good) = (Bytes::from_static(b"bad"), Bytes::from_static(b"good"));
        guard.note(Instant::START, &packet("good"));
        guard.note(Instant::START, &packet("bad"));
        assert_eq!(guard.run(|| 7), Some(7));
        guard.after_panic(Instant::START);
        assert!(guard.is_poison(Instant::from_millis(31_999), &bad));
        assert!(!guard.is_poison(Instant::from_millis(31_999), &good));
        assert!(!guard.is_poison(Instant::from_millis(32_000), &bad));
    }

    #[test]
    fn the_pause_grows_and_is_short_again_after_a_calm_minute() {
        let mut guard = Guard::new(0, DumpPlace::default());
        let mut now = Instant::START;
        let pauses: Vec<u128> = (0..8)
            .map(|_| {
                now = now + Duration::from_secs(1);
                guard.after_panic(now).as_millis()
            })
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(guard.after_panic(now + Duration::from_secs(61)).as_millis(), 50);
    }

    #[test]
    fn the_file_holds_the_last_inputs_without_what_is_personal() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut guard = Guard::new(3, DumpPlace(Some(folder.path().to_path_buf())));
        for _ in 0..40 {
            guard.note(Instant::START, &Input::Timeout);
        }
        guard.note(Instant::START, &packet("INVITE sip:secretname@x SIP/2.0\r\nCall-ID: hidden77\r\n\r\n"));
        guard.after_panic(Instant::START);
        let file =
            std::fs::read_dir(folder.path()).expect("the folder").next().expect("a file").expect("a file");
        let text = std::fs::read_to_string(file.path()).expect("its text");
        assert_eq!(text.matches("---").count(), LAST_INPUTS);
        assert!(text.contains("INVITE") && text.contains("Call-ID:"), "{text}");
        assert!(!text.contains("secretname") && !text.contains("hidden77"), "{text}");
    }
}
