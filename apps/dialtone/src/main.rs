//! The `dialtone` program: reads arguments, calls the node, prints what it says.

mod call;
mod calls;
mod check;
mod demo;
mod dial;
mod exit;
mod explain;
mod forward;
mod log;
mod manage;
mod options;
mod phone;
mod serve;
mod softphone;
mod user;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dialtone_node::config::{LogFormat, LogLevel};

use exit::Exit;

/// A telephone system on IP: server, phones, and the proof that sound goes both ways.
#[derive(Debug, Parser)]
#[command(version, about, after_help = exit::TABLE, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a SIP server: a working domain from an empty folder.
    Serve(serve::Serve),
    /// Starts a server and two phones on this machine, lets them talk, and measures the audio both ways.
    Demo(demo::Demo),
    /// Calls somebody, measures the audio, and says how it went.
    Call(call::Call),
    /// Makes the running server call a user of its own, then somebody else, and join them.
    Dial(dial::Dial),
    /// A phone: with a screen and keys in a terminal, by a script, or answering by itself.
    Phone(phone::Phone),
    /// A SIP ping: status, round-trip time, and what the far end can do.
    Options(options::Options),
    /// Adds, lists and removes users; a running server knows them at once.
    User(user::User),
    /// Shows and changes where the calls of a user go: always, when busy, without an answer, when not reachable.
    Forward(forward::Forward),
    /// Tells what the running server holds: registrations, calls, counters, version, uptime.
    Status(manage::Status),
    /// Drops what an address sends to the running server.
    Block(manage::Block),
    /// Frees an address or a user that the running server has blocked, or holds off for wrong passwords.
    Unblock(manage::Unblock),
    /// Lists the calls that are going on, and those that have ended.
    Calls(calls::Calls),
    /// Makes the running server read its settings file again.
    Reload(manage::Reload),
    /// Tells all problems of a settings file, each with its line and what to do about it.
    Check(check::Check),
    /// Says where a call would go, which rule of the dial plan says so, and why the others do not.
    Explain(explain::Explain),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The message of a panic may hold what people said or who they are: the place is enough to find the bug.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
    let result = match arguments.command {
        Command::Serve(serve) => {
            // Its settings say how the log looks.
            serve.run()
        }
        Command::Demo(demo) => {
            log::begin(LogFormat::Text, LogLevel::Warn);
            demo.run()
        }
        Command::Call(call) => {
            log::begin(LogFormat::Text, LogLevel::Warn);
            call.run()
        }
        // Its log may stand on a screen.
        Command::Phone(phone) => phone.run(),
        Command::Options(options) => {
            log::begin(LogFormat::Text, LogLevel::Warn);
            options.run()
        }
        Command::Dial(dial) => dial.run(),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::User(user) => user.run(),
        Command::Forward(forward) => forward.run(),
        Command::Calls(calls) => calls.run(),
        Command::Status(status) => status.run(),
        Command::Reload(reload) => reload.run(),
        Command::Block(block) => block.run(),
        Command::Unblock(unblock) => unblock.run(),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("dialtone: {error}");
            exit::of(&error).into()
        }
    }
}

/// Writes to standard output. Whoever reads it may have gone away; that is no reason to end.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "standard output is closed");
    }
}

/// What a command ends with.
type Outcome = Result<Exit, dialtone_node::StartError>;
