//! The lab: a test runs again, alone, inside network, process and mount namespaces of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set for the run inside.
const INSIDE: &str = "DIALTONE_TEST_LAB";

/// No test takes longer; whatever hangs is killed with all its children.
const SECONDS_MAX: &str = "180";

/// A private address that all programs of a test share. Phones want an interface that is not the loopback.
pub(crate) const ADDRESS: &str = "10.9.0.1";

/// An address that anybody could reach, were the namespace connected to anything.
pub(crate) const PUBLIC_ADDRESS: &str = "5.6.7.8";

/// The network of the lab and a folder for its files.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    /// A path in the folder of this test, which is removed with it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Loads nftables rules.
    pub(crate) fn nft(&self, rules: &str) {
        let path = self.path("rules.nft");
        std::fs::write(&path, rules).expect("a file of the lab can be written");
        system(Command::new("nft").arg("-f").arg(&path));
    }
}

/// Runs `body` in a lab. The name of the test is that of the function around the closure.
pub(crate) fn lab<Body: FnOnce(&Lab)>(body: Body) {
    if std::env::var_os(INSIDE).is_some() {
        raise_network();
        body(&Lab { folder: tempfile::tempdir().expect("a temporary folder") });
        return;
    }
    let name = std::any::type_name::<Body>();
    let name = name.trim_end_matches("::{{closure}}");
    let (_, name) = name.split_once("::").expect("a path that starts with the crate");
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", SECONDS_MAX, "unshare", "--net", "--pid", "--fork", "--kill-child=KILL"]);
    command.arg("--mount-proc");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(std::env::current_exe().expect("the test knows its own path"));
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    let output = command.output().expect("timeout (coreutils) can be run");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "{name} failed in its namespace ({}); it needs root or user namespaces.\n{text}",
        output.status
    );
    assert!(text.contains("1 passed"), "no test is called {name}: call lab() straight from a test\n{text}");
}

/// Runs a program of the system to its end and returns what it printed; fails the test with all of it otherwise.
pub(crate) fn system(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed ({})\n{text}", output.status);
    text
}

/// The program under test: what DIALTONE_BIN names, else the release build beside the build of this test.
pub(crate) fn dialtone() -> PathBuf {
    let path = std::env::var_os("DIALTONE_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("the test knows its own path");
        let target = test.ancestors().nth(3).expect("a test is in target/debug/deps");
        target.join("release/dialtone")
    });
    assert!(
        path.is_file(),
        "there is no {}: run `cargo build --release`, or set DIALTONE_BIN to the program to be tested",
        path.display()
    );
    path
}

fn raise_network() {
    let lines = [
        "link set lo up".to_owned(),
        "link add lab0 type veth peer name lab1".to_owned(),
        format!("addr add {ADDRESS}/24 dev lab0"),
        format!("addr add {PUBLIC_ADDRESS}/24 dev lab0"),
        "link set lab0 up".to_owned(),
        "link set lab1 up".to_owned(),
    ];
    for line in lines {
        system(Command::new("ip").args(line.split(' ')));
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}
