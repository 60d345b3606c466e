//! `cargo xtask soak`: days of a domain on virtual time, and the memory of the process that plays them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::run::{cargo, run};
use crate::steps::release_folder;

/// Days in `cargo xtask test`.
pub(crate) const DAYS_IN_TEST: &str = "7";
/// Days after which the memory is taken as the measure, at least: by then every phone has called and been called.
const SETTLED_MIN: usize = 2;
/// Of longer runs it is this part of the days. A phone remembers the last 256 of its dialogs that ended (`ended_dialogs`),
/// which is two weeks of its calls, and until all of them have so many the memory grows as it should.
const SETTLED_PART: usize = 4;
/// What may be added to it until the end: chance decides how much is alive at midnight, and an allocator keeps some.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// `cargo xtask soak [--days N] [--phones N] [--calls A_DAY] [--seed N]`.
pub(crate) fn command(arguments: &[String]) -> Result<u64, String> {
    run(&mut cargo(["build", "--release", "--package", "dialtone-sim", "--bin", "soak"]))?;
    let mut child = std::process::Command::new(release_folder()?.join("soak"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run the soak: {error}"))?;
    let mut resident = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| format!("reading from the soak: {error}"))?;
            match resident_bytes(child.id()).filter(|_| line.starts_with("day ")) {
                Some(bytes) => {
                    println!("{line}, {} KiB resident", bytes >> 10);
                    resident.push(bytes);
                }
                None => println!("{line}"),
            }
        }
    }
    let status = child.wait().map_err(|error| format!("waiting for the soak: {error}"))?;
    if !status.success() {
        return Err(format!("the soak failed ({status})"));
    }
    is_flat(&resident)?;
    Ok(1)
}

/// Whether the memory of the last day is that of the first ones.
fn is_flat(resident: &[u64]) -> Result<(), String> {
    let Some(last) = resident.last() else { return Err("the soak told of no day".to_owned()) };
    let days = SETTLED_MIN.max(resident.len() / SETTLED_PART);
    let settled = resident.iter().take(days).max().unwrap_or(last);
    match last.saturating_sub(*settled) {
        growth if growth > GROWTH_BYTES_MAX => {
            Err(format!("memory is not flat: {settled} bytes after {days} days, {last} at the end"))
        }
        _ => Ok(()),
    }
}

fn resident_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_is_told_from_memory_that_is_flat() {
        let mib = 1 << 20;
        assert_eq!(is_flat(&[100 * mib, 110 * mib, 105 * mib, 112 * mib]), Ok(()));
        assert!(is_flat(&[100 * mib, 110 * mib, 120 * mib, 130 * mib]).is_err());
        assert!(is_flat(&[]).is_err());
    }

    #[test]
    fn a_year_may_fill_what_has_a_limit_in_its_first_months_and_no_longer() {
        let mib = 1 << 20;
        // What was measured: 159 MiB on the first day, 177 a fortnight later, 194 from the second month to the end.
        let year: Vec<u64> =
            (1..=365).map(|day| mib * if day < 60 { 159 + day * 35 / 60 } else { 194 }).collect();
        assert_eq!(is_flat(&year), Ok(()));
        // A hundred kilobytes a day are found.
        let leak: Vec<u64> = (1..=365).map(|day| 159 * mib + day * 100_000).collect();
        assert!(is_flat(&leak).is_err());
    }
}
