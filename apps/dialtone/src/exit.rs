//! Exit codes. They are part of the interface: see docs/manual/exit-codes.md.

use std::process::ExitCode;

use dialtone_node::StartError;
use dialtone_node::config::What;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Success = 0,
    /// It ran, and what was to be shown is not so.
    Failed = 1,
    /// The command line asks for something that can't be. The parser of arguments uses the same number.
    Usage = 2,
    /// An address can't be listened on.
    Address = 3,
    /// The data can't be used.
    Data = 4,
    /// The system refused something else.
    System = 5,
    /// The far end is busy.
    Busy = 10,
    /// It rang, and nobody answered.
    NoAnswer = 11,
    /// The far end does not want the call.
    Declined = 12,
    /// The password was refused.
    WrongPassword = 13,
    /// The user is unknown or has no phone switched on.
    NobodyThere = 14,
    /// Nothing came back.
    Unreachable = 15,
    /// Refused for another reason.
    Refused = 16,
    /// No audio was received, or only silence.
    NoAudio = 17,
    /// Audio went one way only.
    OneWayAudio = 18,
    /// The expected tone was not heard.
    ToneNotHeard = 19,
    /// The call broke off.
    BrokenOff = 20,
}

/// The table at the end of `--help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  all went well
  1  it ran, and what was to be shown is not so (demo: no audio one way or both, or a step of the
     figure was not seen; check: the settings have problems;
     explain: the call is refused;
     user: it is there already, or not there; status, reload: no server runs, or the new settings are bad)
  2  the command line or the settings file asks for something that can't be
  3  an address can't be listened on: in use, not there, or public without --public
  4  the data can't be used: in use, damaged, written by a newer version, not writable
  5  the system refused something else: threads, memory, open files
 10  busy                          14  nobody there: user unknown, or no phone switched on
 11  it rang, and nobody answered  15  nothing came back from the address
 12  declined                      16  refused for another reason
 13  wrong password                17  no audio was received
 18  audio in one direction only   19  the expected tone was not heard
 20  the call broke off

Logs go to standard error; the environment variable DIALTONE_LOG sets how much: error, warn, info, debug, trace.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The code for what kept a command from starting.
pub(crate) fn of(error: &StartError) -> Exit {
    match error {
        StartError::Listen(_) | StartError::Bind { .. } | StartError::Http { .. } => Exit::Address,
        StartError::Store(_) => Exit::Data,
        StartError::Config(problems)
            if problems.iter().all(|problem| matches!(problem.what, What::Public(_))) =>
        {
            Exit::Address
        }
        StartError::Config(_) | StartError::Domain(_) | StartError::Shards { .. } => Exit::Usage,
        _ => Exit::System,
    }
}
