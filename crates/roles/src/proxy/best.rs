//! Which of several final responses goes back (RFC 3261 §16.7 step 6).

use dialtone_wire::{Message, Status};

/// A final response other than 2xx that may go back.
#[derive(Debug)]
pub(crate) enum Best {
    /// From a target.
    Received(Box<Message>),
    /// Of our own: a branch timed out (408) or could not be sent (503).
    Own(Status),
}

impl Best {
    pub(crate) const fn own(status: Status) -> Best {
        Best::Own(status)
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Best::Received(message) => message.status().unwrap_or(Status::of(500)),
            Best::Own(status) => *status,
        }
    }

    /// 6xx first, then the lowest class; within 4xx those first that say how to mend the request. 503 is the
    /// last of 5xx. What a phone says tells more than what we say in its place; of equals the first to come stays.
    pub(crate) fn is_better_than(&self, other: &Best) -> bool {
        let order = |best: &Best| (rank(best.status()), matches!(best, Best::Own(_)));
        order(self) < order(other)
    }
}

fn rank(status: Status) -> (u16, u16) {
    let class = match status.class() {
        6 => 0,
        class => class,
    };
    let within = match status.code() {
        401 | 407 | 415 | 420 | 484 => 0,
        408 => 2,
        503 => 3,
        _ => 1,
    };
    (class, within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_as_the_rfc_says() {
        let order = [603, 302, 407, 486, 408, 500, 503];
        for pair in order.windows(2) {
            let best = |code| Best::own(Status::of(code));
            assert!(best(pair[0]).is_better_than(&best(pair[1])), "{pair:?}");
            assert!(!best(pair[1]).is_better_than(&best(pair[0])), "{pair:?}");
            assert!(!best(pair[0]).is_better_than(&best(pair[0])));
        }
    }
}
