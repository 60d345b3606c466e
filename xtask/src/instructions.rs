//! `cargo xtask instructions [--bless]`: user-space instructions of one operation, counted by callgrind. The same
//! toolchain and the fixed seeds of the benches give the same count whatever else the machine does.

use std::fmt::Write as _;
use std::process::Command;

use crate::run::{cargo, root, run};

/// The figures that landed last: a name and a count a line.
const FILE: &str = "benches/instructions.txt";
/// Growth beyond this many thousandths fails.
const GROWTH_MILLI: u64 = 30;
/// The two numbers of runs whose difference is divided.
const RUNS: (u64, u64) = (200, 1200);

/// Counts all operations and compares them with the figures that landed; `--bless` writes new ones instead.
pub(crate) fn command(arguments: &[String]) -> Result<u64, String> {
    let bless = match arguments {
        [] => false,
        [flag] if flag == "--bless" => true,
        _ => return Err("usage: cargo xtask instructions [--bless]".to_owned()),
    };
    let package = ["build", "--release", "--package", "dialtone-benches", "--bin", "operations"];
    run(&mut cargo(package))?;
    let binary = crate::steps::release_folder()?.join("operations");
    let names = output(Command::new(&binary).arg("list"))?;
    let counts: Vec<(String, u64)> = names
        .lines()
        .map(|name| {
            let (few, many) = (count(&binary, name, RUNS.0)?, count(&binary, name, RUNS.1)?);
            Ok((name.to_owned(), many.saturating_sub(few) / (RUNS.1 - RUNS.0)))
        })
        .collect::<Result<_, String>>()?;
    let file = root().join(FILE);
    if bless {
        let text = counts.iter().fold(String::new(), |mut text, (name, count)| {
            let _ = writeln!(text, "{name} {count}");
            text
        });
        print!("{text}");
        std::fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        return Ok(counts.len() as u64);
    }
    let landed =
        std::fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    compare(&landed, &counts)
}

fn compare(landed: &str, counts: &[(String, u64)]) -> Result<u64, String> {
    let mut grown = Vec::new();
    for (name, count) in counts {
        let before = landed.lines().find_map(|line| {
            let (own, count) = line.split_once(' ')?;
            (own == name).then(|| count.parse::<u64>().ok())?
        });
        let Some(before) = before else {
            return Err(format!(
                "{FILE} has no figure for {name}: add it by `cargo xtask instructions --bless`"
            ));
        };
        println!("{name:<16} {count:>9} instructions, landed {before:>9}");
        if *count > before + before * GROWTH_MILLI / 1000 {
            grown.push(format!("{name}: {before} -> {count}"));
        }
    }
    if grown.is_empty() {
        return Ok(counts.len() as u64);
    }
    Err(format!(
        "instructions grew by more than {} %:\n  {}\nMend it, or say why in a commit of its own that runs \
         `cargo xtask instructions --bless`",
        GROWTH_MILLI / 10,
        grown.join("\n  ")
    ))
}

/// Instructions of the whole program for a number of runs.
fn count(binary: &std::path::Path, name: &str, runs: u64) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(binary);
    command.arg(name).arg(runs.to_string()).env_clear();
    let told = command.output().map_err(|error| format!("cannot run valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&told.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| format!("valgrind did not say how many instructions {name} takes:\n{text}"))
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    String::from_utf8(output.stdout).map_err(|_| "not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn growth_beyond_three_percent_fails_and_less_does_not() {
        let counts = |count| vec![("parse".to_owned(), count)];
        assert_eq!(compare("parse 1000\n", &counts(1030)), Ok(1));
        assert!(compare("parse 1000\n", &counts(1031)).is_err());
        assert!(compare("parse 1000\n", &counts(900)).is_ok());
        assert!(compare("other 1000\n", &counts(900)).is_err());
    }
}
