//! Nonces: authenticated values that say who issued them and when, and a bounded memory of the counts seen.
//!
//! ```text
//!   2 bytes   4 bytes   6 bytes            8 bytes      16 bytes
//!  +-------+---------+------------------+------------+--------------------------+
//!  | shard |  epoch  | issued, in ms    |  random    |  HMAC-SHA-256, cut short |   48 characters of base64url
//!  +-------+---------+------------------+------------+--------------------------+
//! ```
//!
//! Nothing is remembered when a nonce is issued, so that challenges cost no memory. The first accepted use starts the
//! memory of its counts. When the memory is full the oldest nonce is dropped, and all that were issued up to then
//! become stale, because it is no longer known which of their counts were used.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_wire::time::Instant;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smol_str::SmolStr;
use subtle::ConstantTimeEq as _;

const PAYLOAD_BYTES: usize = 20;
const MAC_BYTES: usize = 16;
const NONCE_BYTES: usize = PAYLOAD_BYTES + MAC_BYTES;
/// How far behind the highest count a new count may be.
const WINDOW: u32 = 128;

/// How nonces are made and remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceSettings {
    /// The shard that issues, and that remembers the counts.
    pub shard: u16,
    /// The run of the program: nonces of another run are stale, since its time line and memory are gone.
    pub epoch: u32,
    /// How long a nonce may be used.
    pub life: Duration,
    /// Most nonces whose counts are remembered.
    pub remembered_max: usize,
}

impl Default for NonceSettings {
    fn default() -> NonceSettings {
        NonceSettings { shard: 0, epoch: 0, life: Duration::from_secs(600), remembered_max: 100_000 }
    }
}

/// One use of a nonce, small enough to be sent to the shard that issued it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NonceUse {
    issued_ms: u64,
    random: u64,
    /// The count; `None` from clients of RFC 2069, which may use a nonce once.
    count: Option<u32>,
}

/// What the issuing shard says about a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceVerdict {
    /// The count has not been used before.
    Fresh,
    /// The nonce has expired or its counts are no longer known.
    Stale,
    /// The count has been used before, or is too far behind to know.
    Replay,
}

/// What the text of a nonce says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Ours: made with our key in this run.
    Issued { shard: u16, nonce: NonceUse },
    /// Of another run, another key or another server.
    Foreign,
}

/// The nonces of one shard.
pub struct Nonces {
    settings: NonceSettings,
    key: Hmac<Sha256>,
    /// By time of issue, then random part, so that the first is the oldest.
    remembered: BTreeMap<(u64, u64), Window>,
    /// The latest nonce dropped for want of room: it and all older ones that are not remembered are stale.
    dropped: Option<(u64, u64)>,
}

/// The counts seen of one nonce.
struct Window {
    highest: u32,
    /// Bit n: count `highest - n` was used.
    seen: u128,
}

impl Nonces {
    /// Starts with nothing remembered. All shards of a server share the key, which is 32 random bytes.
    pub fn new(settings: NonceSettings, key: &[u8; 32]) -> Nonces {
        let key = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Nonces { settings, key, remembered: BTreeMap::new(), dropped: None }
    }

    /// Makes a nonce for a realm and a source. `random` must not repeat within a millisecond.
    pub fn issue(&self, now: Instant, realm: &str, source: &[u8], random: u64) -> SmolStr {
        let mut bytes = [0; NONCE_BYTES];
        bytes[..2].copy_from_slice(&self.settings.shard.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.settings.epoch.to_be_bytes());
        // 48 bits of milliseconds last for 8,900 years.
        bytes[6..12].copy_from_slice(&now.as_millis().to_be_bytes()[2..]);
        bytes[12..PAYLOAD_BYTES].copy_from_slice(&random.to_be_bytes());
        let mac = self.mac(&bytes[..PAYLOAD_BYTES], realm, source);
        bytes[PAYLOAD_BYTES..].copy_from_slice(&mac);
        encode(&bytes)
    }

    /// Reads the text of a nonce that was sent back for a realm, by a source.
    pub(super) fn read(&self, text: &str, realm: &str, source: &[u8]) -> Reading {
        let Some(bytes) = decode(text) else {
            return Reading::Foreign;
        };
        let mac = self.mac(&bytes[..PAYLOAD_BYTES], realm, source);
        if !bool::from(mac.ct_eq(&bytes[PAYLOAD_BYTES..])) {
            return Reading::Foreign;
        }
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        if number(2..6) != u64::from(self.settings.epoch) {
            return Reading::Foreign;
        }
        let shard = u16::from_be_bytes([bytes[0], bytes[1]]);
        let nonce = NonceUse { issued_ms: number(6..12), random: number(12..PAYLOAD_BYTES), count: None };
        Reading::Issued { shard, nonce }
    }

    /// Whether a nonce is not too old, by its own word.
    pub(super) fn is_live(&self, now: Instant, nonce: NonceUse) -> bool {
        nonce.issued_ms <= now.as_millis() && now < Instant::from_millis(nonce.issued_ms) + self.settings.life
    }

    /// Judges a use of a nonce that this shard issued, and remembers it. To be asked only after the digest was
    /// found right, so that strangers cannot fill the memory.
    pub fn judge_use(&mut self, now: Instant, nonce: NonceUse) -> NonceVerdict {
        self.forget_expired(now);
        let id = (nonce.issued_ms, nonce.random);
        if !self.is_live(now, nonce) {
            return NonceVerdict::Stale;
        }
        if let Some(window) = self.remembered.get_mut(&id) {
            return window.judge(nonce.count);
        }
        if self.dropped.is_some_and(|dropped| id <= dropped) {
            return NonceVerdict::Stale;
        }
        self.remembered.insert(id, Window::first(nonce.count));
        while self.remembered.len() > self.settings.remembered_max.max(1) {
            self.dropped = self.remembered.pop_first().map(|(oldest, _)| oldest).max(self.dropped);
        }
        NonceVerdict::Fresh
    }

    /// Number of nonces whose counts are remembered.
    pub fn remembered(&self) -> usize {
        self.remembered.len()
    }

    /// The shard that these nonces name.
    pub fn shard(&self) -> u16 {
        self.settings.shard
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some(oldest) = self.remembered.first_entry() {
            if Instant::from_millis(oldest.key().0) + self.settings.life > now {
                return;
            }
            oldest.remove();
        }
    }

    fn mac(&self, payload: &[u8], realm: &str, source: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = self.key.clone();
        mac.update(payload);
        mac.update(realm.as_bytes());
        if !source.is_empty() {
            // No realm has a NUL in it.
            mac.update(&[0]);
            mac.update(source);
        }
        let mut cut = [0; MAC_BYTES];
        cut.copy_from_slice(&mac.finalize().into_bytes()[..MAC_BYTES]);
        cut
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nonces").field("remembered", &self.remembered.len()).finish_non_exhaustive()
    }
}

impl NonceUse {
    pub(super) fn with_count(self, count: Option<u32>) -> NonceUse {
        NonceUse { count, ..self }
    }
}

impl Window {
    fn first(count: Option<u32>) -> Window {
        match count {
            Some(count) => Window { highest: count, seen: 1 },
            // Used without a count: no further use is told apart from a replay.
            None => Window { highest: u32::MAX, seen: u128::MAX },
        }
    }

    fn judge(&mut self, count: Option<u32>) -> NonceVerdict {
        let Some(count) = count else {
            return NonceVerdict::Stale;
        };
        if count > self.highest {
            let shift = count - self.highest;
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = count;
            return NonceVerdict::Fresh;
        }
        let behind = self.highest - count;
        if behind >= WINDOW || self.seen >> behind & 1 == 1 {
            return NonceVerdict::Replay;
        }
        self.seen |= 1 << behind;
        NonceVerdict::Fresh
    }
}

/// The alphabet of RFC 4648 §5, which needs no escapes in a quoted string.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8; NONCE_BYTES]) -> SmolStr {
    let mut text = String::with_capacity(NONCE_BYTES / 3 * 4);
    for chunk in bytes.chunks_exact(3) {
        let group = u32::from(chunk[0]) << 16 | u32::from(chunk[1]) << 8 | u32::from(chunk[2]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(group >> shift & 63) as usize]));
        }
    }
    text.into()
}

fn decode(text: &str) -> Option<[u8; NONCE_BYTES]> {
    if text.len() != NONCE_BYTES / 3 * 4 {
        return None;
    }
    let mut bytes = [0; NONCE_BYTES];
    for (four, three) in text.as_bytes().chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut group = 0u32;
        for byte in four {
            let value = ALPHABET.iter().position(|known| known == byte)?;
            group = group << 6 | u32::try_from(value).ok()?;
        }
        three.copy_from_slice(&group.to_be_bytes()[1..]);
    }
    Some(bytes)
}
