//! Running commands: output passes through line by line, test results are counted on the way.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The root of the repository: the folder above this package.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    here.parent()
        .map(PathBuf::from)
        .filter(|root| !root.as_os_str().is_empty())
        .unwrap_or_else(|| PathBuf::from("."))
}

/// The cargo that runs us, to be run from the root of the repository, without a terminal to ask at.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command to its end; returns how many tests it said have passed.
pub(crate) fn run(command: &mut Command) -> Result<u64, String> {
    let line = describe(command);
    println!("$ {line}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cannot run `{line}`: {error}"))?;
    let mut passed = 0;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut text = Vec::new();
        while reader
            .read_until(b'\n', &mut text)
            .map_err(|error| format!("reading from `{line}`: {error}"))?
            > 0
        {
            passed += tests_passed(&String::from_utf8_lossy(&text));
            // A closed pipe behind us must not end the run half way.
            let _ = std::io::stdout().write_all(&text);
            text.clear();
        }
    }
    let status = child.wait().map_err(|error| format!("waiting for `{line}`: {error}"))?;
    if status.success() { Ok(passed) } else { Err(format!("`{line}` failed ({status})")) }
}

/// The count in a line of the test harness, as in `test result: ok. 12 passed; 0 failed; …`.
fn tests_passed(line: &str) -> u64 {
    let count = line.strip_prefix("test result: ok. ").and_then(|rest| rest.split_once(" passed;"));
    count.and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_passed_tests_of_a_result_line() {
        assert_eq!(tests_passed("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured\n"), 12);
        assert_eq!(tests_passed("test result: FAILED. 11 passed; 1 failed; 0 ignored\n"), 0);
        assert_eq!(tests_passed("test parses ... ok\n"), 0);
    }

    #[test]
    fn a_command_that_fails_is_an_error_that_names_it() {
        assert_eq!(run(&mut Command::new("true")), Ok(0));
        let error = run(Command::new("false").arg("x")).unwrap_err();
        assert!(error.starts_with("`false x` failed"), "{error}");
    }
}
