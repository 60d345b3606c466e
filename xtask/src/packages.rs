//! The programs from outside that the tests need, by Debian package.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian package, and a program of it by which we see that it is there.
const NEEDED: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("sip-tester", "sipp"),
    ("sipsak", "sipsak"),
    ("baresip", "baresip"),
    ("faketime", "faketime"),
    ("kamailio", "kamailio"),
    ("python3", "python3"),
    ("nftables", "nft"),
    ("iproute2", "ip"),
    ("util-linux", "unshare"),
    ("bsdutils", "script"),
    ("valgrind", "valgrind"),
    ("systemd", "systemd-analyze"),
];

/// Installs what is missing when run as root; otherwise says what is missing and how to get it.
pub(crate) fn ensure() -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root() {
        return Err(format!(
            "the tests need Debian packages that are not installed: {list}\n\
             Install them by: sudo apt-get install -y --no-install-recommends {list}"
        ));
    }
    println!("installing {list}");
    if !install_all(&missing) {
        return Err(format!("apt-get could not install: {list}"));
    }
    let still = self::missing();
    if still.is_empty() {
        Ok(())
    } else {
        Err(format!("installed, but their programs are not found: {}", still.join(" ")))
    }
}

/// Installs one package where we are root; says whether that went well.
pub(crate) fn install_one(package: &str) -> bool {
    is_root() && install_all(&[package])
}

/// The package lists of a fresh machine may be empty or old: updates them only when the first attempt fails.
fn install_all(packages: &[&str]) -> bool {
    apt_get(&install(packages)) || (apt_get(&["update"]) && apt_get(&install(packages)))
}

fn missing() -> Vec<&'static str> {
    NEEDED.iter().filter(|(_, program)| !is_on_path(program)).map(|(package, _)| *package).collect()
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A user's PATH lacks the folders of nft and ip, which are there all the same.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

fn install<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    ["install", "-y", "--no-install-recommends"].into_iter().chain(packages.iter().copied()).collect()
}

fn apt_get(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}
