//! BYEs that came before the 2xx of their call.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use dialtone_wire::time::Instant;
use foldhash::fast::FixedState;
use smol_str::SmolStr;

/// BYEs without a call that are kept at most.
const EARLY_MAX: usize = 10_000;
/// How long such a BYE is kept: 64·T1, as long as a 2xx is repeated (RFC 3261 §13.3.1.4).
const EARLY_AGE: Duration = Duration::from_secs(32);

/// How and when a call ended whose 2xx has not come by yet.
#[derive(Debug)]
pub(super) struct EarlyBye {
    pub(super) at: Instant,
    /// Who hung up: his tag.
    pub(super) from: SmolStr,
    pub(super) reason: Option<SmolStr>,
}

#[derive(Debug)]
pub(super) struct EarlyByes {
    byes: HashMap<SmolStr, EarlyBye, FixedState>,
    /// Their keys, oldest first; one that was taken may still stand here.
    order: VecDeque<(Instant, SmolStr)>,
}

impl EarlyByes {
    pub(super) fn new(seed: u64) -> EarlyByes {
        EarlyByes { byes: HashMap::with_hasher(FixedState::with_seed(seed)), order: VecDeque::new() }
    }

    pub(super) fn keep(&mut self, key: SmolStr, bye: EarlyBye) {
        let now = bye.at;
        while let Some((at, key)) = self.order.front() {
            if self.order.len() < EARLY_MAX && now.since(*at) < EARLY_AGE {
                break;
            }
            if self.byes.get(key).is_some_and(|kept| kept.at == *at) {
                self.byes.remove(key);
            }
            self.order.pop_front();
        }
        self.order.push_back((now, key.clone()));
        self.byes.insert(key, bye);
    }

    /// The end of a call that begins now.
    pub(super) fn take(&mut self, now: Instant, key: &SmolStr) -> Option<EarlyBye> {
        self.byes.remove(key).filter(|bye| now.since(bye.at) < EARLY_AGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byes_are_kept_for_a_while_and_not_without_end() {
        let mut early = EarlyByes::new(1);
        let keep = |early: &mut EarlyByes, at: u64, key: String| {
            let bye = EarlyBye { at: Instant::from_millis(at), from: "a".into(), reason: None };
            early.keep(key.into(), bye);
        };
        for number in 0..2 * EARLY_MAX {
            keep(&mut early, 10_000, format!("c{number}"));
        }
        assert_eq!((early.byes.len(), early.order.len()), (EARLY_MAX, EARLY_MAX));
        keep(&mut early, 42_000, "last".to_owned());
        assert_eq!((early.byes.len(), early.order.len()), (1, 1));
    }
}
