//! Coverage-guided fuzzing with libFuzzer on the stable toolchain.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{cargo, root, run};

/// Inputs per target in `cargo xtask test`: a fixed amount of work rather than of time.
pub(crate) const RUNS_IN_TEST: u64 = 200_000;

/// What `cargo fuzz` passes to a nightly compiler, in the words of the stable one.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Seeds that are kept elsewhere: the messages that the tests read.
const MORE_SEEDS: &[(&str, &str)] = &[("sip", "tests/messages")];

/// `cargo xtask fuzz [--runs N] [TARGET]`.
pub(crate) fn command(arguments: &[String]) -> Result<(), String> {
    let mut runs = RUNS_IN_TEST;
    let mut only = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                runs = number.ok_or("--runs wants a number, as in --runs 1000000")?;
            }
            flag if flag.starts_with('-') => return Err(format!("unknown option `{flag}` of fuzz")),
            target => only = Some(target),
        }
    }
    all(runs, only).map(drop)
}

/// Builds all targets and runs each, or the one named; returns how many ran without a finding.
pub(crate) fn all(runs: u64, only: Option<&str>) -> Result<u64, String> {
    let targets: Vec<String> =
        targets()?.into_iter().filter(|target| only.is_none_or(|only| only == target)).collect();
    if targets.is_empty() {
        return Err(match only {
            Some(only) => format!("there is no fuzz target `{only}` in fuzz/fuzz_targets"),
            None => "there is no fuzz target in fuzz/fuzz_targets".to_owned(),
        });
    }
    let host = host()?;
    // With --target the flags reach the targets only, not the build scripts, which could not be linked with them.
    let arguments =
        ["build", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml", "--bins", "--target", &host];
    run(cargo(arguments).env("RUSTFLAGS", RUSTFLAGS).env("CARGO_TARGET_DIR", folder().join("target"))).map_err(
        |error| format!("{error}\nIf a dependency has changed: cargo update --manifest-path fuzz/Cargo.toml --package dialtone-wire"),
    )?;
    for target in &targets {
        one(target, &folder().join("target").join(&host).join("release"), runs)?;
    }
    Ok(targets.len() as u64)
}

fn one(target: &str, binaries: &Path, runs: u64) -> Result<(), String> {
    // New inputs go to a working folder; what is worth keeping is moved to the corpus by hand.
    let found = folder().join("target/found").join(target);
    let artifacts = folder().join("artifacts").join(target);
    for path in [&found, &artifacts] {
        std::fs::create_dir_all(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    }
    let mut command = Command::new(binaries.join(target));
    command.current_dir(root()).args(["-seed=1", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]);
    command.arg(format!("-runs={runs}")).arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(&found).arg(folder().join("corpus").join(target));
    for (_, seeds) in MORE_SEEDS.iter().filter(|(name, _)| *name == target) {
        command.arg(seeds);
    }
    // libFuzzer is talkative: what it says matters only when it has found something.
    let output = command.output().map_err(|error| format!("cannot run fuzz target {target}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        print!("{text}");
        return Err(format!(
            "fuzz target {target} found something ({}): the input is in {}.\n\
             Mend the code, then keep the input in fuzz/corpus/{target}.",
            output.status,
            artifacts.display()
        ));
    }
    println!("{target}: {}", text.lines().find(|line| line.starts_with("Done ")).unwrap_or("nothing found"));
    Ok(())
}

/// The targets are the files of fuzz/fuzz_targets.
fn targets() -> Result<Vec<String>, String> {
    let path = folder().join("fuzz_targets");
    let entries =
        std::fs::read_dir(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut targets: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    Ok(targets)
}

fn folder() -> PathBuf {
    root().join("fuzz")
}

/// The host triple as rustc says it.
fn host() -> Result<String, String> {
    let output =
        Command::new("rustc").arg("-vV").output().map_err(|error| format!("cannot run rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}
