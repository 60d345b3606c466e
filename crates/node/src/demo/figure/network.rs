//! The boxes of the figure.

use std::net::{IpAddr, SocketAddr};

use dialtone_roles::settings::Password;
use dialtone_wire::net::Transport;

use super::{FRANCE_TELECOM, NAMES, ORANGE, P1, P2, REDIRECT, REGISTRAR, ROB, TIN};
use crate::demo::capture::Capture;
use crate::demo::judge::{Heard, Sound};
use crate::demo::seat::{Seat, account};
use crate::listen::ListenAddress;
use crate::random;
use crate::running::StartError;
use crate::server::{Data, Server, ServerConfig};

/// All that runs.
pub(super) struct Network {
    servers: Servers,
    pub(super) tin: Seat,
    pub(super) rob: Seat,
}

impl Network {
    /// Starts the servers, each with the settings that a file would have, and then the phones. When one of them can't
    /// start, none is left running.
    pub(super) fn start(
        ips: &[IpAddr; 6],
        shards: u16,
        sounds: &[Sound; 2],
        capture: &Capture,
    ) -> Result<Network, StartError> {
        let mut servers = Servers(Vec::new());
        match phones(&mut servers, ips, shards, sounds, capture) {
            Ok((tin, rob)) => Ok(Network { servers, tin, rob }),
            Err(error) => {
                servers.stop();
                Err(error)
            }
        }
    }

    /// Where they are, in the order of the columns.
    pub(super) fn addresses(&self) -> [SocketAddr; 6] {
        let mut places = [self.tin.address(); 6];
        places[ROB] = self.rob.address();
        for (place, server) in &self.servers.0 {
            places[*place] = address_of(server);
        }
        places
    }

    /// Ends all of it, and gives what was heard.
    pub(super) fn stop(self) -> [Option<Heard>; 2] {
        let heard = [self.tin.stop(), self.rob.stop()];
        self.servers.stop();
        heard
    }
}

fn phones(
    servers: &mut Servers,
    ips: &[IpAddr; 6],
    shards: u16,
    sounds: &[Sound; 2],
    capture: &Capture,
) -> Result<(Seat, Seat), StartError> {
    let mut start = |place: usize, settings: String| -> Result<SocketAddr, StartError> {
        let listen = ListenAddress { transport: Transport::Udp, address: SocketAddr::new(ips[place], 0) };
        let server = Server::start(ServerConfig {
            listen: vec![listen],
            shards: Some(shards),
            text: Some(settings),
            tap: Some(capture.tap(place)),
            ..ServerConfig::new(Data::Memory)
        })?;
        let address = address_of(&server);
        servers.0.push((place, server));
        Ok(address)
    };
    let redirect = start(REDIRECT, redirect_server())?;
    let registrar = start(REGISTRAR, registrar_settings())?;
    let second = start(P2, second_proxy(registrar))?;
    let first = start(P1, first_proxy(redirect, second))?;
    let password = random::password();
    if let Some((_, registrar)) = servers.0.iter_mut().find(|(place, _)| *place == REGISTRAR) {
        registrar.put_user("rob", &password).expect("a store in memory takes a plain name");
    }
    let phone = |place: usize, user: &str, password, server, sound| {
        let account = account(user, ORANGE, Password(password), server);
        Seat::start(NAMES[place], ips[place], account, sound, capture.tap(place))
    };
    // Nobody asks Tin for a password: his proxy has no users.
    let tin = phone(TIN, "tin", "".into(), first, &sounds[0])?;
    match phone(ROB, "rob", password, registrar, &sounds[1]) {
        Ok(rob) => Ok((tin, rob)),
        Err(error) => {
            tin.stop();
            Err(error)
        }
    }
}

/// Knows where Rob is now.
fn redirect_server() -> String {
    format!(
        r#"
[[domain]]
name = "{FRANCE_TELECOM}"
mode = "redirect"
[[rule]]
name = "Rob has moved"
number = "rob"
from = "anyone"
to = "redirect"
contacts = ["sip:rob@{ORANGE}"]
"#
    )
}

/// Takes registrations, with a password, and tells whoever calls where the phones are.
fn registrar_settings() -> String {
    format!(
        r#"
[digest]
free_methods = ["INVITE"]
[[domain]]
name = "{ORANGE}"
mode = "redirect"
"#
    )
}

/// Follows what the registrar answers, and stays out of the calls.
fn second_proxy(registrar: SocketAddr) -> String {
    format!(
        r#"
[proxy]
foreign = "open"
[[domain]]
name = "{ORANGE}"
next_hop = ["sip:{registrar}"]
record_route = false
"#
    )
}

/// Tin's proxy: sends what is for either domain there, and leaves it to him to follow a redirection.
fn first_proxy(redirect: SocketAddr, second: SocketAddr) -> String {
    format!(
        r#"
[proxy]
recurse = false
[[domain]]
name = "{FRANCE_TELECOM}"
next_hop = ["sip:{redirect}"]
[[domain]]
name = "{ORANGE}"
next_hop = ["sip:{second}"]
"#
    )
}

fn address_of(server: &Server) -> SocketAddr {
    server.listeners()[0].address
}

/// Servers that run, with their columns.
struct Servers(Vec<(usize, Server)>);

impl Servers {
    fn stop(self) {
        for (_, server) in self.0 {
            server.stop();
        }
    }
}
