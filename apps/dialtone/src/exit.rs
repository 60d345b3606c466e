//! Exit codes. They are part of the interface: see docs/manual/exit-codes.md.

use std::process::ExitCode;

use dialtone_node::StartError;

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
}

/// The table at the end of `--help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  all went well
  1  it ran, and what was to be shown is not so (demo: no audio one way or both)
  2  the command line asks for something that can't be
  3  an address can't be listened on: in use, not there, or public without --public
  4  the data can't be used: in use, damaged, written by a newer version, not writable
  5  the system refused something else: threads, memory, open files

Logs go to standard error; the environment variable DIALTONE_LOG sets how much: error, warn, info, debug, trace.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The code for what kept a command from starting.
pub(crate) fn of(error: &StartError) -> Exit {
    match error {
        StartError::Listen(_) | StartError::Bind { .. } => Exit::Address,
        StartError::Store(_) => Exit::Data,
        StartError::Domain(_) | StartError::OpenToPublic(_) | StartError::Shards { .. } => Exit::Usage,
        _ => Exit::System,
    }
}
