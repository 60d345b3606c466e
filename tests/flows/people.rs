//! What people do with their phones: register, call, answer, hang up.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{Command, Event, Play};
use dialtone_sim::{Habits, HostId, World, phone_settings};
use dialtone_wire::uri::UriBuf;

use crate::raw::PASSWORD;

/// A phone of ours that does nothing by itself.
pub(crate) fn phone(
    world: &mut World,
    user: &str,
    domain: &str,
    address: SocketAddr,
    proxy: Option<&str>,
) -> HostId {
    let settings = phone_settings(&format!("sip:{user}@{domain}"), PASSWORD, address, proxy);
    world.add_host(user, settings, Some(Habits::NONE))
}

/// A phone that takes one call at a time, registered.
pub(crate) fn simple_phone(world: &mut World, user: &str, domain: &str, address: SocketAddr) -> HostId {
    let mut settings = phone_settings(&format!("sip:{user}@{domain}"), PASSWORD, address, None);
    settings.limits.calls = 1;
    let phone = world.add_host(user, settings, Some(Habits::NONE));
    register(world, phone);
    phone
}

/// Registers; two seconds pass.
pub(crate) fn register(world: &mut World, phone: HostId) {
    world.command(phone, Command::Register);
    world.run_for(Duration::from_secs(2));
    assert!(world.events(phone).any(|event| matches!(event, Event::Registered { .. })));
}

/// Calls after a second.
pub(crate) fn call(world: &mut World, phone: HostId, to: &str) {
    world.run_for(Duration::from_secs(1));
    let to = UriBuf::parse(to).expect("an address");
    world.command(phone, Command::Call { token: 1, to, play: Play::Silence });
}

/// Calls after a second, and two seconds pass; the number of packets before.
pub(crate) fn begin(world: &mut World, phone: HostId, to: &str) -> usize {
    world.run_for(Duration::from_secs(1));
    let from = world.packets().len();
    call(world, phone, to);
    world.run_for(Duration::from_secs(2));
    from
}

/// Answers the call that rings; two seconds pass.
pub(crate) fn answer(world: &mut World, phone: HostId) {
    let call = world.calls(phone)[0];
    world.command(phone, Command::Answer { call, play: Play::Silence });
    world.run_for(Duration::from_secs(2));
    assert!(world.events(phone).any(|event| matches!(event, Event::Answered { .. })));
}

/// Ends the call; two seconds pass.
pub(crate) fn hang_up(world: &mut World, phone: HostId) {
    let call = world.calls(phone)[0];
    world.command(phone, Command::Hangup { call });
    world.run_for(Duration::from_secs(2));
    assert!(world.calls(phone).is_empty());
}
