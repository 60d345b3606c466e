//! `cargo xtask`: the tasks of this repository that are more than one cargo command.

#![allow(clippy::disallowed_methods, reason = "a build tool reads the clock to say how long its steps took")]

mod fuzz;
mod instructions;
mod packages;
mod peers;
mod pending;
mod run;
mod soak;
mod steps;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <task>

  test [--only STEP]              everything that CI runs, in order; stops at the first failure
  tidy                            the invariants of ARCHITECTURE.md and the states of docs/deck.md
  fuzz [--runs N] [TARGET]        the fuzz targets, each for N inputs
  instructions [--bless]          instructions of each operation against the figures that landed
  interop [NAME] ...              the tests against foreign programs, or those whose names hold NAME
  sim [--seeds N] [--seed S] ...  the simulator's swarm: N seeds, or the one seed S
  soak [--days N] ...             days of a domain of a thousand phones on virtual time, a year with --days 365
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((task, rest)) => dispatch(task, rest),
        None => Err(format!("no task given\n\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: &str, rest: &[String]) -> Result<(), String> {
    match task {
        "test" => steps::test(rest),
        "tidy" => steps::tidy().map(drop),
        "fuzz" => fuzz::command(rest),
        "instructions" => instructions::command(rest).map(drop),
        "interop" => steps::interop(rest).map(drop),
        "sim" => steps::sim(rest).map(drop),
        "soak" => soak::command(rest).map(drop),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("unknown task `{task}`\n\n{USAGE}")),
    }
}
