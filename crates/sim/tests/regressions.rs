//! What the swarm found, as scenes of their own.

use std::time::Duration;

use dialtone_sim::roles::io::{Command, Play};
use dialtone_sim::roles::settings::Foreign;
use dialtone_sim::scene::{Scene, address, findings};
use dialtone_sim::{Habits, phone_settings};
use dialtone_wire::uri::UriBuf;

/// Two phones of bob ring; one dies, the other answers, and its 200 is repeated. The branch to the dead phone never
/// gets its final response: the server must give it up 64·T1 after its CANCEL.
#[test]
fn a_branch_that_rings_at_a_dead_phone_leaves_nothing_at_the_server() {
    let mut scene = Scene::new(1, 1);
    let proxy = format!("sip:{};lr", address(1));
    let settings = phone_settings("sip:bob@example.com", "secret", address(13), Some(&proxy));
    let second = scene.world.add_host("bob's second", settings, Some(Habits::NONE));
    for phone in [scene.alice, scene.bob, second] {
        assert!(scene.register(phone));
    }
    let (_, call) = scene.ring();
    scene.world.run_for(Duration::from_secs(1));
    assert_eq!(scene.world.calls(second).len(), 1);
    scene.world.restart_at(scene.world.now(), second, Duration::from_secs(1), Vec::new());
    scene.world.network.swallows = Some(|bytes| bytes.starts_with(b"ACK "));
    scene.world.command(scene.bob, Command::Answer { call, play: Play::Silence });
    scene.world.run_for(Duration::from_secs(10));
    let (history, _) = scene.finish();
    assert_eq!(findings(&history), Vec::<String>::new());
}

/// A call is on its way to a foreign domain when a reload closes that way: copies of its INVITE are still those of the
/// call, not new requests that are refused.
#[test]
fn a_reload_answers_no_copy_of_a_request_that_is_being_forwarded() {
    let mut scene = Scene::new(1, 1);
    let (alice, server) = (scene.alice, scene.server);
    scene.world.reload_at(scene.world.now(), server, |settings| {
        settings.authenticate = false;
        settings.foreign = Foreign::Open;
    });
    assert!(scene.register(alice));
    // Nobody has the address, and the caller hears nothing: it repeats its INVITE.
    scene.world.network.swallows = Some(|bytes| bytes.starts_with(b"SIP/2.0 100"));
    let to = UriBuf::parse("sip:nobody@192.0.2.99").unwrap();
    scene.world.command(alice, Command::Call { token: 1, to, play: Play::Silence });
    let reload = scene.world.now() + Duration::from_millis(700);
    scene.world.reload_at(reload, server, |settings| settings.foreign = Foreign::Refuse);
    scene.ended(alice);
    let (history, _) = scene.finish();
    assert_eq!(findings(&history), Vec::<String>::new());
    let refused = history.packets.iter().filter(|packet| packet.title().starts_with("403")).count();
    assert_eq!(refused, 0);
}
