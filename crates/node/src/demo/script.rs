//! The course of the demonstration: register, call, talk, hang up, unregister.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_roles::settings::Password;
use dialtone_wire::net::Transport;

use super::capture::Capture;
use super::judge::{Heard, Sound};
use super::seat::{Failure, Seat, account, converse};
use super::{ALICE, BOB, DemoConfig, PARTICIPANTS, SERVER};
use crate::listen::ListenAddress;
use crate::running::StartError;
use crate::server::{Data, Server, ServerConfig};

/// The domain of the demonstration; `.test` is nobody's (RFC 6761 §6.2).
pub const DOMAIN: &str = "demo.test";

/// What the script leaves behind.
pub(super) struct Outcome {
    /// Where the participants were.
    pub(super) addresses: [SocketAddr; 3],
    pub(super) failure: Option<Failure>,
    /// What alice and bob told of their audio.
    pub(super) heard: [Option<Heard>; 2],
}

/// Starts all three, lets them talk, and stops them.
pub(super) fn run(
    config: &DemoConfig,
    capture: &Capture,
    sounds: &[Sound; 2],
) -> Result<Outcome, StartError> {
    let ips = config.addresses();
    let listen = ListenAddress { transport: Transport::Udp, address: SocketAddr::new(ips[SERVER], 0) };
    let server = Server::start(ServerConfig {
        domains: vec![DOMAIN.to_owned()],
        listen: vec![listen],
        shards: Some(config.shards),
        tap: Some(capture.tap(SERVER)),
        ..ServerConfig::new(Data::Memory)
    })?;
    let address = server.listeners()[0].address;
    let seat = |participant: usize, sound: &Sound| {
        let name = PARTICIPANTS[participant];
        let user = server.new_users().iter().find(|user| user.name == name);
        let password = Password(user.map(|user| user.password.clone()).unwrap_or_default());
        let account = account(name, DOMAIN, password, address);
        Seat::start(name, ips[participant], account, sound, capture.tap(participant))
    };
    let seats = seat(ALICE, &sounds[0]).and_then(|alice| Ok((alice, seat(BOB, &sounds[1])?)));
    let (mut alice, mut bob) = match seats {
        Ok(seats) => seats,
        Err(error) => {
            server.stop();
            return Err(error);
        }
    };
    let addresses = [alice.address(), address, bob.address()];
    let failure = call(&mut alice, &mut bob, config.talk()).err();
    let heard = [alice.stop(), bob.stop()];
    server.stop();
    Ok(Outcome { addresses, failure, heard })
}

fn call(alice: &mut Seat, bob: &mut Seat, talk: Duration) -> Result<(), Failure> {
    alice.register()?;
    bob.register()?;
    alice.call(&format!("sip:bob@{DOMAIN}"))?;
    converse(alice, bob, talk)?;
    alice.unregister()?;
    bob.unregister()
}
