//! The lab: a test runs again, alone, inside network, process and mount namespaces of its own.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Set for the run inside.
const INSIDE: &str = "DIALTONE_TEST_LAB";

/// No test takes longer; whatever hangs is killed with all its children.
const SECONDS_MAX: &str = "180";

/// A private address that all programs of a test share. Phones want an interface that is not the loopback.
pub(crate) const ADDRESS: &str = "10.9.0.1";

/// An address that anybody could reach, were the namespace connected to anything.
pub(crate) const PUBLIC_ADDRESS: &str = "5.6.7.8";

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// The folder of the lab that runs in this process.
pub(crate) fn folder() -> &'static Path {
    FOLDER.get().expect("what asks runs inside of a lab")
}

/// The network of the lab and a folder for its files.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    /// A path in the folder of this test, which is removed with it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a network of its own behind us: ours there is `10.9.N.1`, and a namespace `lab-N` has `10.9.N.2`. With
    /// `routed` it reaches all other networks through us, otherwise nothing but our address in it.
    pub(crate) fn add_network(&self, number: u8, routed: bool) -> Network {
        let (name, ours) = (format!("lab-{number}"), IpAddr::from([10, 9, number, 1]));
        let theirs = IpAddr::from([10, 9, number, 2]);
        for line in [
            format!("netns add {name}"),
            format!("link add near{number} type veth peer name far{number} netns {name}"),
            format!("addr add {ours}/24 dev near{number}"),
            format!("link set near{number} up"),
            format!("-n {name} addr add {theirs}/24 dev far{number}"),
            format!("-n {name} link set lo up"),
            format!("-n {name} link set far{number} up"),
        ] {
            system(Command::new("ip").args(line.split(' ')));
        }
        if routed {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a namespace of our own can forward");
            system(Command::new("ip").args(format!("-n {name} route add default via {ours}").split(' ')));
        }
        Network { name: Some(name), ours, theirs }
    }

    /// The same network with a NAT in it: who runs there has the address `192.168.N.2`, and all that it sends comes from
    /// the NAT's `10.9.N.2` and a port of its choice. From outside only TCP reaches the inner address.
    pub(crate) fn add_nat(&self, number: u8) -> Network {
        let outside = self.add_network(number, true);
        let (inner, net) = (IpAddr::from([192, 168, number, 2]), format!("192.168.{number}.0/24"));
        let name = outside.name.clone().unwrap_or_default();
        for line in [
            format!("-n {name} addr add {inner}/32 dev far{number}"),
            format!("route add {net} via {}", outside.theirs),
        ] {
            system(Command::new("ip").args(line.split(' ')));
        }
        let rules = self.path("nat.nft");
        let chain = |table: &str, hook: &str, rule: &str| {
            format!("table ip {table} {{\n chain out {{\n  type {hook};\n  {rule}\n }}\n}}\n")
        };
        let masquerade = format!("oifname \"far{number}\" ip saddr {net} masquerade random");
        std::fs::write(&rules, chain("nat", "nat hook postrouting priority 100", &masquerade))
            .expect("a file of the lab can be written");
        system(outside.command("nft").arg("-f").arg(&rules));
        let no_way_in = format!("ip daddr {net} meta l4proto udp drop");
        self.nft(&chain("inner", "filter hook output priority 0", &no_way_in));
        Network { theirs: inner, ..outside }
    }

    /// Loads nftables rules.
    pub(crate) fn nft(&self, rules: &str) {
        let path = self.path("rules.nft");
        std::fs::write(&path, rules).expect("a file of the lab can be written");
        system(Command::new("nft").arg("-f").arg(&path));
    }
}

/// Where a program of a test runs.
#[derive(Clone)]
pub(crate) struct Network {
    /// The namespace; none is the lab itself.
    name: Option<String>,
    /// The server's address in it.
    pub(crate) ours: IpAddr,
    /// The address of who runs in it.
    pub(crate) theirs: IpAddr,
}

impl Network {
    /// The lab itself: all share one address.
    pub(crate) fn home() -> Network {
        let address = ADDRESS.parse().expect("an address");
        Network { name: None, ours: address, theirs: address }
    }

    /// Our own end of it: who runs there has the server's address.
    pub(crate) fn near(&self) -> Network {
        Network { name: None, ours: self.ours, theirs: self.ours }
    }

    /// A command that runs in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        match &self.name {
            None => Command::new(program),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, program]);
                command
            }
        }
    }
}

/// Waits until somebody listens on each of these UDP ports of the lab: a program that was started may take a moment.
pub(crate) fn wait_until_bound(ports: &[u16]) {
    for port in ports {
        wait_for_socket("/proc/net/udp", &format!(":{port:04X} "));
    }
}

/// The same for a TCP port.
pub(crate) fn wait_until_listening(port: u16) {
    // LISTEN is 0A.
    wait_for_socket("/proc/net/tcp", &format!(":{port:04X} 00000000:0000 0A"));
}

fn wait_for_socket(table: &str, socket: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let is_there = || std::fs::read_to_string(table).unwrap_or_default().contains(socket);
    while !is_there() {
        assert!(std::time::Instant::now() < end, "nobody listens: there is no `{socket}` in {table}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Runs `body` in a lab. The name of the test is that of the function around the closure.
pub(crate) fn lab<Body: FnOnce(&Lab)>(body: Body) {
    if std::env::var_os(INSIDE).is_some() {
        raise_network();
        // Names of namespaces are kept in files: in this mount namespace only.
        std::fs::create_dir_all("/run/netns").expect("root can make a folder");
        system(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run/netns"]));
        let folder = tempfile::tempdir().expect("a temporary folder");
        FOLDER.set(folder.path().to_owned()).expect("one lab in each process");
        body(&Lab { folder });
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
