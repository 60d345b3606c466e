//! The programs from outside that come from PyPI, in a virtual environment of their own: target/peers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::packages;
use crate::run::root;
use crate::steps::release_folder;

/// What is installed, with versions, as pip reads it.
const LIST: &str = "tests/interop/peers.txt";

/// The copy of the list that says what the environment has.
const STAMP: &str = "installed.txt";

/// Makes the environment, unless it has just what the list says.
pub(crate) fn ensure() -> Result<(), String> {
    let list = std::fs::read_to_string(root().join(LIST)).map_err(|error| format!("{LIST}: {error}"))?;
    let folder = folder()?;
    let stamp = folder.join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == list) {
        return Ok(());
    }
    println!("installing the Python packages of {LIST} into {}", folder.display());
    // Debian has venv apart from Python, without a program by which it could be seen.
    let made = make(&folder) || (packages::install_one("python3-venv") && make(&folder));
    if !made {
        return Err(format!(
            "`python3 -m venv --clear {}` fails; the tests need the Debian package python3-venv\n\
             Install it by: sudo apt-get install -y --no-install-recommends python3-venv",
            folder.display()
        ));
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", LIST];
    if !succeeds(Command::new(folder.join("bin/python")).args(pip)) {
        return Err(format!(
            "pip could not install what {LIST} lists; for a registry other than PyPI set PIP_INDEX_URL"
        ));
    }
    std::fs::write(&stamp, list).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn folder() -> Result<PathBuf, String> {
    let release = release_folder()?;
    Ok(release.parent().unwrap_or(&release).join("peers"))
}

fn make(folder: &Path) -> bool {
    succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))
}

fn succeeds(command: &mut Command) -> bool {
    command.current_dir(root()).stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}
