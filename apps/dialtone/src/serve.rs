//! `dialtone serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dialtone_node::listen::ListenAddress;
use dialtone_node::{Counters, Data, ECHO_USER, Listener, Notify, Server, ServerConfig, Signal, Signals};
use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::exit::Exit;
use crate::say;

/// How often a server that drains looks whether it may end.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// The arguments of `dialtone serve`.
///
/// On an empty folder it makes the users alice and bob, and shows their passwords once. It listens on the loopback and on
/// private addresses only, unless told otherwise.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The folder that all data is kept in.
    #[arg(long, value_name = "DIR", default_value = "dialtone-data")]
    data: PathBuf,
    /// A domain that this server is responsible for; by default the name of this machine.
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,
    /// Where to listen, as udp:ADDRESS:PORT or tcp:ADDRESS:PORT; port 0 takes any free one. By default port 5060 of UDP
    /// and TCP on the loopback and on all private addresses.
    #[arg(long, value_name = "SCHEME:ADDRESS:PORT")]
    listen: Vec<ListenAddress>,
    /// Allows addresses that others can reach.
    #[arg(long)]
    public: bool,
    /// Asks nobody for a password and forwards to any domain. For closed networks and tests.
    #[arg(long)]
    open: bool,
    /// How many threads share the work, 1 to 64 [default: 1].
    #[arg(long, value_name = "N")]
    shards: Option<u16>,
    /// The settings file. Options of the command line win over it. SIGHUP reads it again.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints all settings with their defaults and meanings, as a file to begin with, and ends.
    #[arg(long)]
    print_defaults: bool,
    /// Prints JSON objects, one a line, instead of text.
    #[arg(long)]
    json: bool,
}

impl Serve {
    pub(crate) fn run(self) -> Outcome {
        if self.print_defaults {
            say(&dialtone_node::config::defaults());
            return Ok(Exit::Success);
        }
        // Before any thread starts, so that none of them takes the signals.
        let signals = Signals::block()?;
        let mut config = ServerConfig {
            domains: self.domain,
            listen: self.listen,
            public: self.public,
            open: self.open,
            shards: self.shards,
            file: self.config,
            ..ServerConfig::new(Data::Folder(self.data.clone()))
        };
        let (_, resolved) = config.resolve()?;
        config.log = Some(crate::log::begin(resolved.log_format, resolved.log_level));
        let notify = Notify::from_environment()?;
        let server = Server::start(config)?;
        if self.json {
            say(&format!("{}\n", ready_json(&server)));
        } else {
            say(&ready_text(&server, &self.data.display().to_string(), self.open));
        }
        notify.ready("taking calls");
        live(&server, &signals, &notify);
        notify.stopping();
        drain(&server, &signals, &notify);
        let counters = server.stop();
        if self.json {
            let stopped = json!({"schema": 1, "event": "stopped", "counters": counters_json(&counters)});
            say(&format!("{stopped}\n"));
        } else {
            say(&counters_text(&counters));
        }
        Ok(Exit::Success)
    }
}

/// Until the first SIGTERM or SIGINT.
fn live(server: &Server, signals: &Signals, notify: &Notify) {
    loop {
        let signal = match notify.alive_every() {
            Some(period) => signals.wait_for(period),
            None => Some(signals.wait()),
        };
        match signal {
            Some(Signal::Stop) => return,
            Some(Signal::Reload) => {
                notify.reloading();
                // The report is logged by the server.
                let report = server.reload();
                let bad = !report.problems.is_empty();
                notify.ready(if bad {
                    "taking calls; the settings file has problems"
                } else {
                    "taking calls"
                });
            }
            // A shard that hangs does not answer; then the manager shall not hear that all is well.
            None if server.unfinished().is_some() => notify.alive(),
            _ => tracing::error!("a shard does not answer"),
        }
    }
}

/// Until nothing is unfinished, `server.drain` is over, or the next SIGTERM or SIGINT.
fn drain(server: &Server, signals: &Signals, notify: &Notify) {
    let time = server.drain();
    let end = dialtone_node::now() + time;
    loop {
        match server.unfinished() {
            Some(0) => return,
            // A shard that hangs is not waited for longer than any.
            unfinished if dialtone_node::now() >= end => {
                return tracing::warn!(unfinished, "the time to drain is over");
            }
            _ => {}
        }
        if signals.wait_for(DRAIN_LOOK.min(time)) == Some(Signal::Stop) {
            return tracing::warn!("asked a second time to stop: unfinished calls are dropped");
        }
        notify.alive();
    }
}

fn listen_text(listener: &Listener) -> String {
    format!("{}:{}", listener.transport.token().to_ascii_lowercase(), listener.address)
}

fn ready_json(server: &Server) -> Value {
    let listen: Vec<String> = server.listeners().iter().map(listen_text).collect();
    let users: Vec<Value> = server
        .user_names()
        .iter()
        .map(|name| {
            let new = server.new_users().iter().find(|user| user.name == *name);
            match new {
                Some(user) => json!({"name": name.as_str(), "password": user.password.as_str()}),
                None => json!({"name": name.as_str()}),
            }
        })
        .collect();
    json!({"schema": 1, "event": "ready", "domain": server.domain(), "listen": listen, "users": users})
}

fn ready_text(server: &Server, data: &str, open: bool) -> String {
    let mut out = format!("dialtone is ready: domain {}\n\n", server.domain());
    for listener in server.listeners() {
        out.push_str(&format!("  listening on {}\n", listen_text(listener)));
    }
    out.push('\n');
    if open {
        out.push_str(
            "  OPEN: nobody is asked for a password, and anybody may call any domain through it.\n\n",
        );
    }
    if server.user_names().is_empty() {
        out.push_str("  No users of this domain are kept here.\n");
    } else if server.new_users().is_empty() {
        let count = server.user_names().len();
        out.push_str(&format!("  {count} users. Their passwords were shown when they were made.\n"));
        out.push_str(&format!("  To begin anew with new users and passwords, stop this and remove {data}\n"));
    } else {
        out.push_str(
            "  Type this into any SIP phone. The passwords are shown this once and kept nowhere.\n\n",
        );
        let server_lines = server_lines(server);
        let has_tcp = server.listeners().iter().any(|listener| listener.transport.token() == "TCP");
        let transport = if has_tcp { "UDP or TCP" } else { "UDP" };
        for user in server.new_users() {
            out.push_str(&format!("    User name   {}\n", user.name));
            out.push_str(&format!("    Password    {}\n", user.password));
            out.push_str(&format!("    Domain      {}   (also called realm)\n", server.domain()));
            for (number, line) in server_lines.iter().enumerate() {
                let title = if number == 0 { "Server" } else { "or" };
                out.push_str(&format!("    {title:<9}   {line}\n"));
            }
            out.push_str(&format!("    Transport   {transport}\n\n"));
        }
    }
    out.push_str(&format!("  Then call alice, bob, or {ECHO_USER}: it sends back what it hears.\n"));
    out.push_str("  Ctrl-C ends it.\n");
    out
}

/// The address that other machines can reach, rather IPv4 than IPv6, and that for phones on this machine.
fn server_lines(server: &Server) -> Vec<String> {
    let listeners = server.listeners();
    let (here, there): (Vec<&Listener>, Vec<&Listener>) =
        listeners.iter().partition(|listener| listener.address.ip().is_loopback());
    let there = there.iter().min_by_key(|listener| listener.address.is_ipv6());
    let mut lines: Vec<String> = there.map(|listener| listener.address.to_string()).into_iter().collect();
    if let Some(here) = here.first() {
        lines.push(format!("{}   for a phone on this machine", here.address));
    }
    lines
}

fn counters_json(counters: &Counters) -> Value {
    let group = |numbers: &[(&'static str, u64)]| {
        Value::Object(numbers.iter().map(|(name, number)| ((*name).to_owned(), json!(number))).collect())
    };
    Value::Object(
        counters.groups().map(|(name, numbers)| (name.to_owned(), group(numbers))).collect::<Map<_, _>>(),
    )
}

/// All numbers that are not zero.
fn counters_text(counters: &Counters) -> String {
    let mut out = String::from("\ndialtone has stopped. What it counted:\n");
    for (group, numbers) in counters.groups() {
        for (name, number) in numbers.iter().filter(|(_, number)| *number > 0) {
            out.push_str(&format!("  {group}.{name} {number}\n"));
        }
    }
    out
}
