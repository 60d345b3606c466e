//! Forwarding where a user's phone, his services and the call belong to different shards.

use std::time::Duration;

use dialtone_sim::roles::io::{Command, EndReason, Event, Play};
use dialtone_sim::scene::{Scene, address, findings};
use dialtone_sim::{Habits, HostId, phone_settings};
use dialtone_wire::uri::UriBuf;

fn dial(scene: &mut Scene, from: HostId, token: u64, number: &str) {
    let to = UriBuf::parse(&format!("sip:{number}@example.com")).expect("an address");
    scene.world.command(from, Command::Call { token, to, play: Play::Silence });
}

/// Carol forwards her calls to bob by star code: whichever shards her code, her bindings and alice's call are on, bob's
/// phone rings; and when she takes it back, hers does.
#[test]
fn a_star_code_counts_for_calls_on_all_shards() {
    for (seed, shards) in [(1, 1), (2, 2), (3, 4), (4, 7), (5, 7)] {
        let mut scene = Scene::new(seed, shards);
        let proxy = format!("sip:{};lr", address(1));
        scene.world.store.add_user("example.com", "carol", "secret");
        let settings = phone_settings("sip:carol@example.com", "secret", address(13), Some(&proxy));
        let carol = scene.world.add_host("carol", settings, Some(Habits::NONE));
        let (alice, bob) = (scene.alice, scene.bob);
        for phone in [alice, bob, carol] {
            assert!(scene.register(phone));
        }
        for (token, code, rings) in [(1, "*72bob", bob), (2, "*73", carol)] {
            dial(&mut scene, carol, token, code);
            scene.world.run_for(Duration::from_secs(5));
            assert!(scene.ended(carol), "the server hangs up");
            let answered = scene
                .world
                .events(carol)
                .any(|event| matches!(event, Event::Ended { reason: EndReason::RemoteHangup, .. }));
            assert!(answered, "{code} was answered, seed {seed}");
            dial(&mut scene, alice, token, "carol");
            scene.world.run_for(Duration::from_secs(2));
            let ringing: Vec<_> =
                [bob, carol].into_iter().filter(|phone| !scene.world.calls(*phone).is_empty()).collect();
            assert_eq!(ringing, [rings], "after {code}, seed {seed} with {shards} shards");
            let call = scene.world.calls(alice)[0];
            scene.world.command(alice, Command::Hangup { call });
            assert!(scene.ended(alice) && scene.ended(rings));
        }
        scene.world.command(carol, Command::Unregister);
        let (history, _) = scene.finish();
        assert_eq!(findings(&history), Vec::<String>::new(), "seed {seed}");
    }
}
