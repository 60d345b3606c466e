//! Runs the swarm: `swarm --seeds N [--seed FIRST] [--verbose]`, or `swarm --seed ONE [--verbose]`.

use std::io::Write as _;
use std::process::ExitCode;

use dialtone_sim::swarm::{COVERING_SEEDS, Report, judge, run};

const USAGE: &str = "\
usage: swarm --seeds N [--seed FIRST] [--verbose]   N seeds from FIRST (0) on
       swarm --seed ONE [--verbose]                 one seed; --verbose prints what passed on the wire";

/// How many failing seeds are shown.
const FAILURES_SHOWN: usize = 10;

#[derive(Debug, Default)]
struct Arguments {
    seeds: Option<u64>,
    seed: Option<u64>,
    verbose: bool,
}

fn main() -> ExitCode {
    let Some(arguments) = read_arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match (arguments.seeds, arguments.seed) {
        (None, None) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        (None, Some(seed)) => run_one(seed, arguments.verbose),
        (Some(seeds), first) => run_many(first.unwrap_or(0), seeds, arguments.verbose),
    }
}

fn read_arguments(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => arguments.seeds = Some(words.next()?.parse().ok()?),
            "--seed" => arguments.seed = Some(words.next()?.parse().ok()?),
            "--verbose" => arguments.verbose = true,
            _ => return None,
        }
    }
    Some(arguments)
}

fn run_one(seed: u64, verbose: bool) -> ExitCode {
    if verbose {
        print_world(seed);
    }
    let outcome = judge(seed);
    for (checker, finding) in &outcome.findings {
        println!("{checker}: {finding}");
    }
    println!("seed {seed}: {} datagrams, {} findings", outcome.packets, outcome.findings.len());
    if outcome.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_world(seed: u64) {
    let history = run(seed);
    let name = |address| {
        let host = history.host_at(address).map(|host| history.hosts[host.0].name.clone());
        let agent =
            || history.agents.iter().find(|agent| agent.address == address).map(|agent| agent.name.clone());
        host.or_else(agent).unwrap_or_else(|| format!("{address}"))
    };
    let mut lines: Vec<(dialtone_wire::time::Instant, String)> = Vec::new();
    for (number, packet) in history.packets.iter().enumerate() {
        let title = packet.title();
        let arrived = match packet.arrivals.as_slice() {
            [] => format!("never ({:?})", packet.fate),
            arrivals => format!("{arrivals:?}"),
        };
        let id = String::from_utf8_lossy(&packet.bytes)
            .lines()
            .filter(|line| line.starts_with("Call-ID") || line.starts_with("CSeq"))
            .collect::<Vec<_>>()
            .join(" ");
        let line = format!(
            "#{number} {} -> {}: {title} [{id}] arrived {arrived}",
            name(packet.from),
            name(packet.to)
        );
        lines.push((packet.sent, line));
    }
    for note in &history.notes {
        lines.push((note.at, format!("{} {:?}", history.hosts[note.host.0].name, note.what)));
    }
    lines.sort_by_key(|(at, _)| *at);
    let mut out = std::io::stdout().lock();
    for (at, line) in lines {
        // A reader that has seen enough closes the pipe.
        if writeln!(out, "{at:?} {line}").is_err() {
            return;
        }
    }
}

fn run_many(first: u64, seeds: u64, verbose: bool) -> ExitCode {
    let mut report = Report::default();
    for seed in first..first.saturating_add(seeds) {
        let outcome = judge(seed);
        if verbose || !outcome.findings.is_empty() && report.failed.len() < FAILURES_SHOWN {
            println!("seed {seed}: {} datagrams, {} findings", outcome.packets, outcome.findings.len());
            for (checker, finding) in outcome.findings.iter().take(3) {
                println!("    {checker}: {finding}");
            }
            if !outcome.findings.is_empty() {
                println!("    again alone: cargo xtask sim --seed {seed} --verbose");
            }
        }
        report.add(&outcome);
    }
    println!("{}", report.print());
    let gaps = if seeds >= COVERING_SEEDS { report.gaps() } else { Vec::new() };
    for gap in &gaps {
        println!("GAP: {gap}");
    }
    for (checker, count) in counted(&report) {
        println!("FAIL: {count} seeds fail first at `{checker}`");
    }
    if report.failed.is_empty() && gaps.is_empty() {
        println!("{seeds} seeds passed, 0 failed");
        return ExitCode::SUCCESS;
    }
    println!("{} of {seeds} seeds failed, {} gaps", report.failed.len(), gaps.len());
    ExitCode::FAILURE
}

fn counted(report: &Report) -> std::collections::BTreeMap<&'static str, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for (checker, _) in report.failed.values() {
        *counts.entry(*checker).or_default() += 1;
    }
    counts
}
