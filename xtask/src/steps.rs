//! `cargo xtask test`: the steps, in order, and how each is told.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::run::{cargo, root, run};
use crate::{fuzz, instructions, packages, peers, pending, soak};

/// Seeds of the simulator's swarm in `cargo xtask test`.
const SEEDS_IN_TEST: &str = "2000";

/// A step returns how many checks it has made that passed.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<u64, String>,
}

const STEPS: &[Step] = &[
    Step {
        name: "packages",
        what: "the packages of Debian and PyPI that the tests need",
        run: || packages().map(|()| 1),
    },
    Step { name: "fmt", what: "formatting", run: fmt },
    Step { name: "clippy", what: "lints, warnings denied", run: clippy },
    Step { name: "build", what: "the release binary", run: build },
    Step { name: "test", what: "the tests of all crates, tidy among them", run: workspace },
    Step {
        name: "fuzz",
        what: "fuzz targets, a fixed number of inputs each",
        run: || fuzz::all(fuzz::RUNS_IN_TEST, None),
    },
    Step {
        name: "counts",
        what: "instructions of each operation, by callgrind",
        run: || instructions::command(&[]),
    },
    Step {
        name: "sim",
        what: "the simulator's swarm",
        run: || sim(&["--seeds".to_owned(), SEEDS_IN_TEST.to_owned()]),
    },
    Step {
        name: "soak",
        what: "a week of a thousand phones on virtual time",
        run: || soak::command(&["--days".to_owned(), soak::DAYS_IN_TEST.to_owned()]),
    },
    Step { name: "memory", what: "a million messages through the stateless proxy", run: memory },
    Step { name: "interop", what: "foreign programs against the release binary", run: || interop(&[]) },
];

/// `cargo xtask test [--only STEP]`.
pub(crate) fn test(arguments: &[String]) -> Result<(), String> {
    let only = match arguments {
        [] => None,
        [flag, name] if flag == "--only" => Some(name.as_str()),
        _ => return Err("usage: cargo xtask test [--only STEP]".to_owned()),
    };
    if let Some(name) = only.filter(|name| STEPS.iter().all(|step| step.name != *name)) {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(format!("there is no step `{name}`; the steps are: {}", names.join(", ")));
    }
    let chosen = STEPS.iter().filter(|step| match only {
        Some(name) => step.name == name,
        None => !pending::STEPS.contains(&step.name),
    });
    let mut summary = Vec::new();
    let mut passed = 0;
    for step in chosen {
        println!("\n== {}: {}", step.name, step.what);
        let start = Instant::now();
        match (step.run)() {
            Ok(checks) => {
                passed += checks;
                summary.push(format!(
                    "ok    {:<9}{:>6} passed {:>8.1} s",
                    step.name,
                    checks,
                    start.elapsed().as_secs_f64()
                ));
                println!("{}", summary[summary.len() - 1]);
            }
            Err(message) => {
                summary.push(format!("FAIL  {:<9}{:>23.1} s", step.name, start.elapsed().as_secs_f64()));
                println!("\n{}\n\nstep `{}` failed: {message}", summary.join("\n"), step.name);
                println!("Run it again alone by: cargo xtask test --only {}", step.name);
                println!("{passed} passed, 1 failed");
                return Err(format!("step `{}` failed", step.name));
            }
        }
    }
    println!("\n{}", summary.join("\n"));
    if only.is_none() {
        print_pending();
    }
    println!("{passed} passed, 0 failed");
    Ok(())
}

fn print_pending() {
    for name in pending::STEPS {
        println!("NOT RUN: step `{name}` is listed as pending in xtask/src/pending.rs");
    }
    for name in pending::INTEROP_TESTS {
        println!("NOT RUN: interop tests `{name}` are listed as pending in xtask/src/pending.rs");
    }
}

fn packages() -> Result<(), String> {
    packages::ensure()?;
    peers::ensure()
}

fn fmt() -> Result<u64, String> {
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    Ok(1)
}

fn clippy() -> Result<u64, String> {
    let features = "dialtone-tests/interop";
    run(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        features,
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(1)
}

fn build() -> Result<u64, String> {
    run(&mut cargo(["build", "--release", "--package", "dialtone"]))?;
    Ok(1)
}

fn workspace() -> Result<u64, String> {
    run(&mut cargo(["test", "--workspace"]))
}

/// `cargo xtask tidy`.
pub(crate) fn tidy() -> Result<u64, String> {
    run(&mut cargo(["test", "--package", "dialtone-tests", "--test", "tidy"]))
}

/// `cargo xtask sim [--seeds N] [--seed S] …`: all arguments go to the swarm.
pub(crate) fn sim(arguments: &[String]) -> Result<u64, String> {
    let swarm = ["run", "--release", "--package", "dialtone-sim", "--bin", "swarm", "--"];
    run(cargo(swarm).args(arguments))?;
    Ok(1)
}

/// Without optimization, among the tests of its package, it sends a tenth.
fn memory() -> Result<u64, String> {
    run(&mut cargo(["test", "--release", "--package", "dialtone-roles", "--test", "stateless_memory"]))
}

/// Interop tests that do nothing but wait for a minute, as a session of 90 seconds is the shortest there is (RFC 4028 §5). They
/// run beside the others, which run one after the other.
const WAITING: [&str; 3] = [
    "bridged::a_callee_whose_phone_dies_is_missed_and_the_caller_gets_a_bye",
    "bridged::a_caller_whose_phone_dies_is_missed_and_the_callee_gets_a_bye",
    "sipp::the_robot_takes_updates_and_hangs_up_on_a_refresher_that_has_died",
];

/// `cargo xtask interop [NAME] …`: all tests, or those whose names hold one of the given.
pub(crate) fn interop(names: &[String]) -> Result<u64, String> {
    packages()?;
    build()?;
    let binary = binary()?;
    let tests = |arguments: &[&str]| {
        let target = ["test", "--package", "dialtone-tests", "--features", "interop", "--test", "interop"];
        let mut command = cargo(target);
        command.args(arguments).env("DIALTONE_BIN", &binary);
        command
    };
    if !names.is_empty() {
        return run(tests(&["--", "--test-threads=1"]).args(names));
    }
    run(&mut tests(&["--no-run"]))?;
    let mut one_by_one = tests(&["--", "--test-threads=1"]);
    // A test that is asked for by name is run though it is pending.
    for name in WAITING.iter().chain(pending::INTEROP_TESTS) {
        one_by_one.args(["--skip", name]);
    }
    let mut waiting = tests(&["--", "--exact"]);
    waiting.arg(format!("--test-threads={}", WAITING.len())).args(WAITING);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| match run(&mut waiting) {
            Ok(passed) if passed < WAITING.len() as u64 => {
                Err(format!("{passed} of the {} tests in `WAITING` were found", WAITING.len()))
            }
            told => told,
        });
        let one_by_one = run(&mut one_by_one);
        let waiting = waiting.join().unwrap_or_else(|_| Err("the waiting tests were not run".to_owned()));
        match (one_by_one, waiting) {
            (Ok(passed), Ok(more)) => Ok(passed + more),
            (Err(one), Err(other)) => Err(format!("{one}; {other}")),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    })
}

/// Where `cargo build --release` puts the programs: cargo says so itself.
pub(crate) fn release_folder() -> Result<PathBuf, String> {
    let mut command = cargo(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let output =
        Command::output(&mut command).map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let folder = text.split_once("\"target_directory\":\"").and_then(|(_, rest)| rest.split_once('"'));
    let folder = folder.map(|(folder, _)| PathBuf::from(folder)).unwrap_or_else(|| root().join("target"));
    Ok(folder.join("release"))
}

fn binary() -> Result<PathBuf, String> {
    let binary = release_folder()?.join("dialtone");
    if binary.is_file() { Ok(binary) } else { Err(format!("there is no {}", binary.display())) }
}
