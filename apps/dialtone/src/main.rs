//! The `dialtone` program: reads arguments, calls the node, prints what it says.

mod call;
mod demo;
mod exit;
mod options;
mod phone;
mod serve;
mod softphone;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

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
    /// A phone that registers and answers whoever calls.
    Phone(phone::Phone),
    /// A SIP ping: status, round-trip time, and what the far end can do.
    Options(options::Options),
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
            log("info");
            serve.run()
        }
        Command::Demo(demo) => {
            log("warn");
            demo.run()
        }
        Command::Call(call) => {
            log("warn");
            call.run()
        }
        Command::Phone(phone) => {
            log("warn");
            phone.run()
        }
        Command::Options(options) => {
            log("warn");
            options.run()
        }
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("dialtone: {error}");
            exit::of(&error).into()
        }
    }
}

/// Logs go to standard error; `DIALTONE_LOG` says how much: error, warn, info, debug, trace.
fn log(default: &str) {
    let filter = EnvFilter::try_from_env("DIALTONE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
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
