//! The pages of docs/guide, carried out: their fenced blocks in their order, on two hosts of a LAN.
//!
//! The word after the kind of a block says on which host. A block of a kind that is not known here, or a command, fails
//! the test, as does a command that ends otherwise than the page says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Lab, Network, dialtone, lab, system};
use crate::phone::{Phone, Setup};
use crate::process::Process;
use crate::serve::User;

/// How long a program may take to say that it is ready, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the phones talk.
const TALK: Duration = Duration::from_secs(4);
/// The tones that the phones play: each must be found in what the other one heard.
const TONES: [(&str, f64); 2] = [("server", 440.0), ("laptop", 1000.0)];

#[test]
fn the_first_hour_goes_as_its_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["laptop"]);
        reader.carry_out("first-hour.md");
        assert_eq!(reader.heard, ["server", "laptop"], "both phones of the page heard each other");
        assert!(reader.phones.is_empty() && reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn two_domains_go_as_their_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["laptop"]);
        reader.carry_out("two-domains.md");
        assert_eq!(reader.heard, ["server", "laptop"], "both phones of the page heard each other");
        assert!(reader.phones.is_empty() && reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn forward_on_busy_goes_as_its_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["alice", "bob", "carol"]);
        reader.carry_out("forward-on-busy.md");
        assert!(reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn a_redirect_server_goes_as_its_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["alice", "bob"]);
        reader.carry_out("redirect-server.md");
        assert!(reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn the_ring_group_rings_as_its_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["alice", "bob", "carol", "dave"]);
        reader.carry_out("ring-group.md");
        assert!(reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn the_stateless_edge_stands_as_its_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["edge", "alice", "bob"]);
        reader.carry_out("stateless-edge.md");
        assert!(reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn the_trunk_leads_both_ways_as_its_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["provider", "alice", "bob", "carol"]);
        reader.carry_out("trunk.md");
        assert!(reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn phones_do_what_the_scripts_of_their_page_say() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["alice", "bob", "carol"]);
        reader.carry_out("scripted-phones.md");
        assert!(reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn three_talk_as_their_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["alice", "bob", "carol"]);
        reader.carry_out("three-way-call.md");
        assert!(reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn calls_are_transferred_parked_and_picked_up_as_their_page_says() {
    lab(|lab| {
        let mut reader = Reader::new(lab, &["alice", "bob", "carol"]);
        reader.carry_out("transfer-and-park.md");
        assert!(reader.running.is_empty(), "the page ends what it starts");
    });
}

#[test]
fn blocks_are_found_with_their_kind_and_host() {
    let found = blocks("a\n```sh laptop\nb c\n\nd # exit code 3\n```\n    e\n```keys server\nCtrl-C\n```\n");
    let found: Vec<_> =
        found.iter().map(|block| (&*block.kind, &*block.host, block.lines.join("|"))).collect();
    assert_eq!(
        found,
        [("sh", "laptop", "b c|d # exit code 3".to_owned()), ("keys", "server", "Ctrl-C".to_owned())]
    );
}

/// A fenced block of the page.
struct Block {
    kind: String,
    host: String,
    lines: Vec<String>,
}

fn page(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the repository");
    std::fs::read_to_string(root.join("docs/guide").join(name)).expect("the page is there")
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut open) = (Vec::new(), None::<Block>);
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let (kind, host) = info.split_once(' ').unwrap_or((info, ""));
                open = Some(Block { kind: kind.to_owned(), host: host.to_owned(), lines: Vec::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) if !line.trim().is_empty() => block.lines.push(line.to_owned()),
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "the last block of the page has no end");
    found
}

/// Who sits before both hosts and does what the page says.
struct Reader<'a> {
    lab: &'a Lab,
    hosts: BTreeMap<&'static str, Network>,
    path: String,
    /// What was read off the screen, by the word that stands for it on the page.
    words: BTreeMap<String, String>,
    /// The line in a host's file of accounts.
    accounts: BTreeMap<String, String>,
    phones: BTreeMap<String, Phone>,
    /// What runs in the terminal of a host.
    running: BTreeMap<String, Process>,
    /// Hosts whose phone heard the other one.
    heard: Vec<String>,
}

impl<'a> Reader<'a> {
    /// The server, and terminals on the other host.
    fn new(lab: &'a Lab, terminals: &[&'static str]) -> Reader<'a> {
        // The LAN is to be the only network that the server finds.
        system(Command::new("ip").args(["link", "del", "lab0"]));
        let laptop = lab.add_network(1, false);
        let mut hosts = BTreeMap::from([("server", laptop.near())]);
        hosts.extend(terminals.iter().map(|terminal| (*terminal, laptop.clone())));
        let tools = lab.path("bin");
        std::fs::create_dir(&tools).expect("a folder of the lab");
        let program = std::fs::canonicalize(dialtone()).expect("the program is there");
        std::os::unix::fs::symlink(program, tools.join("dialtone")).expect("a link in the lab");
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
        Reader {
            lab,
            hosts,
            path,
            words: BTreeMap::new(),
            accounts: BTreeMap::new(),
            phones: BTreeMap::new(),
            running: BTreeMap::new(),
            heard: Vec::new(),
        }
    }

    fn carry_out(&mut self, name: &str) {
        for block in blocks(&page(name)) {
            for line in &block.lines {
                self.follow(&block.kind, &block.host, line);
            }
        }
    }

    fn follow(&mut self, kind: &str, host: &str, line: &str) {
        // Behind the host stands the file, where a block is one.
        let (host, file) = host.split_once(' ').unwrap_or((host, ""));
        assert!(self.hosts.contains_key(host), "no host `{host}` for `{line}`");
        // Of two words that begin alike, the longer one first.
        let line =
            self.words.iter().rev().fold(line.to_owned(), |line, (word, value)| line.replace(word, value));
        assert!(
            !line.contains("ADDRESS") && !line.contains("PASSWORD-OF"),
            "nothing was shown that tells what to write for it in `{line}`"
        );
        match kind {
            "sh" => self.shell(host, &line),
            "toml" | "text" => self.write(file, &line),
            "accounts" => drop(self.accounts.insert(host.to_owned(), line)),
            "baresip" => self.press(host, &line),
            "keys" if line == "Ctrl-C" => self.interrupt(host),
            "ends" => self.wait_for_the_end(host, &line),
            _ => panic!("this test can't do `{line}` of a block `{kind} {host}`"),
        }
    }

    /// Adds a line to a file of the folder that all are in.
    fn write(&self, file: &str, line: &str) {
        let path = self.lab.path(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("a folder of the lab can be made");
        }
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, format!("{before}{line}\n")).expect("a file of the lab can be written");
    }

    fn shell(&mut self, host: &str, line: &str) {
        match line {
            // The program under test is built, and in the path of the reader.
            "cargo build --release" | "export PATH=\"$PWD/target/release:$PATH\"" => {}
            "baresip" => self.switch_on(host),
            _ if line.starts_with("dialtone serve") && !line.contains("--print-defaults") => {
                self.serve(host, line)
            }
            _ if line.starts_with("dialtone phone") && !line.contains("--script") => {
                let mut phone = Process::start(&mut self.command(host, line));
                phone.wait_for("registered for", PATIENCE);
                assert!(
                    self.running.insert(host.to_owned(), phone).is_none(),
                    "the terminal of {host} is busy"
                );
            }
            _ if line.starts_with("dialtone ") && line.contains(" # until ") => {
                let (line, word) = line.split_once(" # until ").expect("it is there");
                let mut process = Process::start(&mut self.command(host, line));
                process.wait_for(word, PATIENCE);
                assert!(
                    self.running.insert(host.to_owned(), process).is_none(),
                    "the terminal of {host} is busy"
                );
            }
            _ if line.starts_with("dialtone ") && line.contains(" # soon: ") => {
                let (line, words) = line.split_once(" # soon: ").expect("it is there");
                self.run_until(host, line, words);
            }
            _ if line.starts_with("dialtone ") => self.run(host, line),
            _ => panic!("this test doesn't know how to run `{line}`"),
        }
    }

    fn serve(&mut self, host: &str, line: &str) {
        let mut server = Process::start(&mut self.command(host, line));
        server.wait_for("Ctrl-C ends it", PATIENCE);
        let (mut name, line_of_start) = (String::new(), line);
        for line in server.out() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["User", "name", user] => name = user.to_uppercase(),
                ["Password", secret] => {
                    drop(self.words.insert(format!("PASSWORD-OF-{name}"), secret.to_owned()))
                }
                ["listening", "on", listener] if host == "edge" => {
                    let address = listener.strip_prefix("udp:").and_then(|address| address.parse().ok());
                    let is_reachable = |address: &std::net::SocketAddr| !address.ip().is_loopback();
                    if let Some(address) = address.filter(is_reachable) {
                        self.words.insert("EDGE".to_owned(), address.to_string());
                    }
                }
                ["Server", address, ..] => {
                    let domain =
                        line_of_start.split("--domain ").nth(1).and_then(|rest| rest.split(' ').next());
                    let named = domain.map(|domain| format!("ADDRESS-OF-{}", domain.to_uppercase()));
                    for word in named.into_iter().chain(["ADDRESS".to_owned()]) {
                        self.words.insert(word, address.to_owned());
                    }
                }
                _ => {}
            }
        }
        assert!(self.running.insert(host.to_owned(), server).is_none(), "the terminal of {host} is busy");
    }

    /// Runs a command to its end. What it says of a password is remembered.
    fn run(&mut self, host: &str, line: &str) {
        let expected = line.split_once("# exit code ").map_or(0, |(_, code)| code.parse().expect("a number"));
        let output = self.command(host, line).stdin(Stdio::null()).output().expect("a shell can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "`{line}` on {host}\n{text}{errors}");
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["dialtone", "user", "add" | "passwd", name, ..] = words[..] {
            let secret = text.lines().find_map(|line| line.trim().strip_prefix("Password "));
            let secret = secret.unwrap_or_else(|| panic!("no password in\n{text}")).trim().to_owned();
            self.words.insert(format!("PASSWORD-OF-{}", name.to_uppercase()), secret);
        }
    }

    /// Runs a command again and again until it prints these words.
    fn run_until(&mut self, host: &str, line: &str, words: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = system(&mut self.command(host, line));
            if text.contains(words) {
                return;
            }
            if Instant::now() > end {
                self.running.values_mut().for_each(Process::absorb);
                let all: Vec<String> = self.running.values().map(Process::output).collect();
                panic!("`{line}` on {host} does not say `{words}`\n{text}\n{}", all.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Both terminals are in the same folder, which no command minds.
    fn command(&self, host: &str, line: &str) -> Command {
        let mut command = self.hosts[host].command("sh");
        // `exec`, so that a signal reaches the program and not the shell.
        command.args(["-c", &format!("exec {line}")]).env("PATH", &self.path).current_dir(self.lab.path(""));
        command
    }

    fn switch_on(&mut self, host: &str) {
        let account = self.accounts.get(host).unwrap_or_else(|| panic!("{host} has no account"));
        let name = account.strip_prefix("<sip:").and_then(|rest| rest.split_once('@'));
        let (name, _) = name.unwrap_or_else(|| panic!("no user in {account}"));
        let (number, hertz) = if host == TONES[0].0 { (1, TONES[0].1) } else { (2, TONES[1].1) };
        let setup = Setup {
            number,
            network: &self.hosts[host],
            user: &User { name: name.to_owned(), password: String::new() },
            hertz,
            answers: false,
            transport: "udp",
            codec: "PCMU",
        };
        let phone = Phone::register_as(self.lab, &setup, &format!("{account}\n"));
        self.phones.insert(host.to_owned(), phone);
    }

    /// A command of baresip.
    fn press(&mut self, host: &str, line: &str) {
        let mut phone = self.phones.remove(host).unwrap_or_else(|| panic!("no phone is on at {host}"));
        let (command, parameters) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "/dial" => phone.dial(parameters),
            "/accept" => phone.accept(),
            "/hangup" => {
                phone.talk(TALK);
                phone.hang_up();
                self.phones.values_mut().for_each(Phone::wait_for_the_end);
            }
            "/quit" => {
                let (_, other) = TONES.into_iter().find(|(name, _)| *name != host).expect("two hosts");
                let finding = phone.recording().find(other);
                assert!(finding.is_heard(), "{host} does not hear {other} Hz: {finding:?}");
                self.heard.push(host.to_owned());
                return;
            }
            _ => panic!("this test doesn't know what `{line}` does to baresip"),
        }
        self.phones.insert(host.to_owned(), phone);
    }

    /// What runs on a host ends by itself, with this exit code.
    fn wait_for_the_end(&mut self, host: &str, line: &str) {
        let mut process = self.running.remove(host).unwrap_or_else(|| panic!("nothing runs at {host}"));
        let status = process.finish(PATIENCE);
        let ended = status.code().map(|code| format!("exit code {code}"));
        assert_eq!(ended.as_deref(), Some(line), "{}", process.output());
    }

    fn interrupt(&mut self, host: &str) {
        let mut process = self.running.remove(host).unwrap_or_else(|| panic!("nothing runs at {host}"));
        let status = process.interrupt(PATIENCE);
        assert!(status.success(), "it ended with {status}\n{}", process.output());
    }
}
