//! Runs the soak: `soak [--days N] [--phones N] [--calls N] [--seed N]`. A line for each day.

use std::io::Write as _;
use std::process::ExitCode;

use dialtone_sim::soak::Soak;

const USAGE: &str = "usage: soak [--days N] [--phones N] [--calls A_DAY] [--seed N]";

fn main() -> ExitCode {
    let Some(soak) = read_arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = soak.run(|day, what| {
        // A line at a time: whoever watches our memory reads it then.
        let mut out = std::io::stdout().lock();
        let line = format!(
            "day {day}: {} datagrams, {} calls, {} answered, {} ended, {} bindings",
            what.datagrams, what.begun, what.answered, what.ended, what.bindings
        );
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    });
    match outcome {
        Ok(()) => {
            println!("{} days passed; every table is empty", soak.days);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            println!("FAIL: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn read_arguments(mut words: impl Iterator<Item = String>) -> Option<Soak> {
    let mut soak = Soak { seed: 1, phones: 1_000, calls_a_day: 10, days: 7 };
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--days" => soak.days = value.parse().ok()?,
            "--phones" => soak.phones = value.parse().ok()?,
            "--calls" => soak.calls_a_day = value.parse().ok()?,
            "--seed" => soak.seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(soak)
}
