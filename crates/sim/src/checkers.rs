//! What must hold in every run, whatever the network does. Each checker reads the history of one run.

mod answers;
mod calls;
mod dialogs;
mod leases;
mod legs;
mod overlaps;
mod rest;
mod timers;
mod traffic;

use crate::history::History;

pub use traffic::{Traffic, Unit};

/// What a checker found in one run.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How many things it judged.
    pub judged: u64,
    /// What was wrong.
    pub findings: Vec<String>,
}

impl Verdict {
    /// Judges one thing: `wrong` says what is wrong with it if `right` does not hold.
    pub(crate) fn judge(&mut self, right: bool, wrong: impl FnOnce() -> String) {
        self.judged += 1;
        if !right {
            self.findings.push(wrong());
        }
    }
}

/// Something that must always hold.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    /// What must hold, in words.
    pub name: &'static str,
    judge: fn(&History, &Traffic, &mut Verdict),
}

impl Checker {
    /// Judges a run.
    pub fn judge(&self, history: &History, traffic: &Traffic) -> Verdict {
        let mut verdict = Verdict::default();
        (self.judge)(history, traffic, &mut verdict);
        verdict
    }
}

/// All checkers.
pub const CHECKERS: &[Checker] = &[
    Checker { name: "each INVITE gets exactly one final answer", judge: answers::one_final_answer },
    Checker { name: "no answer to an ACK", judge: answers::no_answer_to_an_ack },
    Checker { name: "a 2xx is repeated until its ACK", judge: answers::success_is_repeated },
    Checker { name: "no BYE before the ACK by the callee", judge: dialogs::no_bye_before_ack },
    Checker { name: "one BYE by each side", judge: dialogs::one_bye },
    Checker { name: "CSeq numbers of a dialog rise", judge: dialogs::cseq_rises },
    Checker { name: "each request gets one final answer", judge: overlaps::one_answer },
    Checker { name: "one INVITE at a time in a dialog", judge: overlaps::one_invite_at_a_time },
    Checker {
        name: "CANCEL after a provisional and before the final response",
        judge: overlaps::cancel_in_time,
    },
    Checker { name: "each dialog ends with a BYE", judge: legs::each_dialog_ends },
    Checker { name: "no leg of a bridge is left behind", judge: legs::no_leg_left_behind },
    Checker { name: "each call ends, once", judge: calls::each_call_ends_once },
    Checker { name: "each call command starts a call, once", judge: calls::each_command_starts_once },
    Checker { name: "hanging up ends a call in time", judge: calls::hang_up_ends_in_time },
    Checker { name: "no request is repeated beyond its timers", judge: timers::requests_stop },
    Checker { name: "no response is repeated beyond its timers", judge: timers::responses_stop },
    Checker { name: "an engine sleeps until its deadline", judge: timers::engines_sleep },
    Checker { name: "leased ports are given back, once", judge: leases::balance },
    Checker { name: "ports that were offered are given back", judge: leases::offered_ports_come_back },
    Checker { name: "everything comes to rest", judge: rest::at_rest },
    Checker { name: "tables are empty at rest", judge: rest::tables_are_empty },
];
