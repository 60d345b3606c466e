use super::*;

const DOMAIN: &str = "sip.test";

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A wrong password each second from `from` on; gives the seconds for which somebody is held off after each.
fn fail(guesses: &mut Guesses, from: u64, count: u64, source: &str, user: &str) -> Vec<u64> {
    let settings = GuessSettings::default();
    let fails = (from..from + count).map(|second| {
        let holds = guesses.failed(at(second), &settings, address(source), user, DOMAIN);
        holds.iter().map(|hold| (hold.until - at(second)).as_secs()).max().unwrap_or(0)
    });
    fails.collect()
}

fn left(guesses: &Guesses, second: u64, source: &str, user: &str) -> u64 {
    guesses.held_off(at(second), address(source), user, DOMAIN).map_or(0, |left| left.as_secs())
}

#[test]
fn five_wrong_passwords_in_a_minute_hold_off_for_thirty_seconds_and_each_further_one_for_twice_the_time() {
    let mut guesses = Guesses::new(1);
    assert_eq!(fail(&mut guesses, 0, 5, "192.0.2.1:1", "alice"), [0, 0, 0, 0, 30]);
    assert_eq!(left(&guesses, 4, "192.0.2.1:1", "alice"), 30);
    assert_eq!(left(&guesses, 33, "192.0.2.1:9", "alice"), 1, "another port is no other guesser");
    assert_eq!(left(&guesses, 34, "192.0.2.1:1", "alice"), 0);
    assert_eq!(fail(&mut guesses, 35, 1, "192.0.2.1:1", "alice"), [60]);
    assert_eq!(fail(&mut guesses, 100, 1, "192.0.2.1:1", "alice"), [120]);
    let mut now = 300;
    let holds: Vec<u64> = (0..6)
        .map(|_| {
            let held = fail(&mut guesses, now, 1, "192.0.2.1:1", "alice")[0];
            now += held;
            held
        })
        .collect();
    assert_eq!(holds, [240, 480, 960, 1920, 3600, 3600]);
}

#[test]
fn who_fails_seldom_or_stops_is_forgotten() {
    let mut guesses = Guesses::new(1);
    for minute in 0..20 {
        assert_eq!(fail(&mut guesses, minute * 60, 4, "192.0.2.1:1", "alice"), [0; 4], "minute {minute}");
    }
    let mut guesses = Guesses::new(1);
    fail(&mut guesses, 0, 5, "192.0.2.1:1", "alice");
    // Held off until 34, watched for a window after that; the failures of the source are forgotten before.
    assert_eq!(guesses.poll_timeout().map(|(at, _)| at.as_millis()), Some(60_000));
    guesses.forget(at(93));
    assert_eq!(guesses.len(), 1);
    guesses.forget(at(94));
    assert_eq!(guesses.len(), 0);
    assert_eq!(fail(&mut guesses, 94, 1, "192.0.2.1:1", "alice"), [0]);
}

#[test]
fn another_user_and_another_source_go_on() {
    let mut guesses = Guesses::new(1);
    fail(&mut guesses, 0, 5, "192.0.2.1:1", "alice");
    assert_eq!(left(&guesses, 5, "192.0.2.1:1", "bob"), 0);
    assert_eq!(left(&guesses, 5, "192.0.2.2:1", "alice"), 0);
    let other_domain = guesses.held_off(at(5), address("192.0.2.1:1"), "alice", "other.test");
    assert_eq!(other_domain, None);
}

#[test]
fn all_addresses_of_a_network_of_ipv6_are_one_source() {
    let mut guesses = Guesses::new(1);
    for last in 1..=5 {
        fail(&mut guesses, last, 1, &format!("[2001:db8::{last}]:1"), "alice");
    }
    assert!(left(&guesses, 6, "[2001:db8::ffff]:1", "alice") > 0);
    assert_eq!(left(&guesses, 6, "[2001:db8:0:1::1]:1", "alice"), 0);
    assert_eq!(Source::of("2001:db8::7".parse().unwrap()).to_string(), "2001:db8::/64");
    assert_eq!(Source::of("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1");
}

#[test]
fn a_guesser_who_changes_users_is_held_off_as_a_source() {
    let mut guesses = Guesses::new(1);
    let mut held = Vec::new();
    for number in 0..20 {
        held.extend(fail(&mut guesses, number, 1, "192.0.2.1:1", &format!("user{number}")));
    }
    assert_eq!(held[18..], [0, 30]);
    assert!(left(&guesses, 20, "192.0.2.1:1", "somebody-else") > 0);
    assert_eq!(left(&guesses, 20, "192.0.2.2:1", "user1"), 0);
}

#[test]
fn the_real_users_behind_the_same_nat_go_on() {
    let mut guesses = Guesses::new(1);
    assert!(guesses.succeeded(at(0), address("192.0.2.1:5060"), "alice", DOMAIN));
    assert!(
        !guesses.succeeded(at(1), address("192.0.2.1:5060"), "alice", DOMAIN),
        "no news for other shards"
    );
    // Somebody behind the same address guesses for alice herself.
    assert_eq!(fail(&mut guesses, 10, 5, "192.0.2.1:666", "alice"), [0, 0, 0, 0, 30]);
    assert!(left(&guesses, 15, "192.0.2.1:666", "alice") > 0);
    assert_eq!(left(&guesses, 15, "192.0.2.1:5060", "alice"), 0, "her phone");
    // And goes on: her next phone waits no longer than the first time.
    assert_eq!(fail(&mut guesses, 50, 1, "192.0.2.1:666", "alice"), [30]);
    assert_eq!(fail(&mut guesses, 90, 1, "192.0.2.1:666", "alice"), [30]);
    // And through all users: four times as many at a source that is known, and who is known is not meant.
    let held: Vec<u64> = (0..80)
        .flat_map(|number| fail(&mut guesses, 200 + number / 4, 1, "192.0.2.1:666", &format!("user{number}")))
        .collect();
    assert_eq!(held.iter().position(|held| *held > 0), Some(79));
    assert!(left(&guesses, 221, "192.0.2.1:700", "bob") > 0);
    assert_eq!(left(&guesses, 221, "192.0.2.1:700", "alice"), 0);
}

#[test]
fn a_known_phone_that_begins_to_guess_is_a_guesser() {
    let mut guesses = Guesses::new(1);
    guesses.succeeded(at(0), address("192.0.2.1:5060"), "alice", DOMAIN);
    fail(&mut guesses, 1, 5, "192.0.2.1:5060", "alice");
    assert!(left(&guesses, 6, "192.0.2.1:5060", "alice") > 0);
}

#[test]
fn what_was_right_is_forgotten_after_a_day() {
    let mut guesses = Guesses::new(1);
    guesses.succeeded(at(0), address("192.0.2.1:5060"), "alice", DOMAIN);
    let day = 24 * 3600;
    fail(&mut guesses, day, 5, "192.0.2.1:666", "alice");
    assert!(left(&guesses, day + 5, "192.0.2.1:5060", "alice") > 0);
}

#[test]
fn whom_another_shard_holds_off_is_held_off_here_and_longer_the_next_time() {
    let (mut one, mut other) = (Guesses::new(1), Guesses::new(2));
    let settings = GuessSettings::default();
    for second in 0..5 {
        for hold in one.failed(at(second), &settings, address("192.0.2.1:1"), "alice", DOMAIN) {
            other.hold(at(second), &settings, hold);
        }
    }
    assert_eq!(left(&other, 5, "192.0.2.1:1", "alice"), 29);
    assert_eq!(fail(&mut other, 40, 1, "192.0.2.1:1", "alice"), [60]);
    let late = Hold {
        guesser: Guesser { source: Source::of("192.0.2.1".parse().unwrap()), user: None },
        until: at(39),
        times: 1,
    };
    other.hold(at(40), &settings, late);
    assert_eq!(left(&other, 41, "192.0.2.1:1", "bob"), 0, "over before it was told");
}

#[test]
fn the_table_is_bounded_and_who_is_held_off_stays_in_it() {
    let settings = GuessSettings { entries_max: 100, source_failures: 0, ..GuessSettings::default() };
    let mut guesses = Guesses::new(1);
    for second in 0..5 {
        guesses.failed(at(second), &settings, address("192.0.2.1:1"), "alice", DOMAIN);
    }
    for number in 0..10_000_u32 {
        let source = SocketAddr::new(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), 1);
        guesses.failed(at(5), &settings, source, &"x".repeat(1000), DOMAIN);
        assert!(guesses.len() <= 100 && guesses.ends.len() == guesses.len());
    }
    assert!(left(&guesses, 5, "192.0.2.1:1", "alice") > 0);
}

#[test]
fn nobody_is_held_off_where_the_limits_are_zero() {
    let settings = GuessSettings { failures: 0, source_failures: 0, ..GuessSettings::default() };
    let mut guesses = Guesses::new(1);
    for _ in 0..1000 {
        assert!(guesses.failed(at(0), &settings, address("192.0.2.1:1"), "alice", DOMAIN).is_empty());
    }
    assert_eq!(guesses.len(), 0);
}

#[test]
fn an_operator_sees_blocks_and_frees() {
    let mut guesses = Guesses::new(1);
    let source = |text: &str| Source::of(text.parse().unwrap());
    fail(&mut guesses, 0, 5, "192.0.2.1:1", "alice");
    fail(&mut guesses, 0, 5, "192.0.2.2:1", "alice");
    fail(&mut guesses, 0, 5, "192.0.2.2:1", "bob");
    assert!(guesses.block(at(5), source("192.0.2.3"), Some(Duration::from_secs(60))));
    assert!(guesses.block(at(5), source("192.0.2.4"), None));
    let list = |guesses: &Guesses, second| -> Vec<String> {
        let list = guesses.list(at(second), 100);
        list.iter()
            .map(|HeldOff { guesser, left, blocked }| {
                let user = guesser.user.as_deref().unwrap_or("*");
                format!("{user} {} {:?} {blocked}", guesser.source, left.map(|left| left.as_secs()))
            })
            .collect()
    };
    assert_eq!(
        list(&guesses, 5),
        [
            "* 192.0.2.3 Some(60) true",
            "* 192.0.2.4 None true",
            "alice@sip.test 192.0.2.1 Some(29) false",
            "alice@sip.test 192.0.2.2 Some(29) false",
            "bob@sip.test 192.0.2.2 Some(29) false",
        ]
    );
    assert_eq!(guesses.list(at(5), 2).len(), 2);
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    assert!(guesses.is_blocked(at(6), ip("192.0.2.3")) && guesses.is_blocked(at(9999), ip("192.0.2.4")));
    assert!(!guesses.is_blocked(at(65), ip("192.0.2.3")) && !guesses.is_blocked(at(6), ip("192.0.2.1")));
    assert_eq!(guesses.free(at(6), &Freed::User("alice@sip.test".into())).len(), 2);
    assert_eq!(left(&guesses, 6, "192.0.2.1:1", "alice"), 0);
    assert!(left(&guesses, 6, "192.0.2.2:1", "bob") > 0);
    assert_eq!(guesses.free(at(6), &Freed::Source(source("192.0.2.4"))).len(), 1);
    assert_eq!(guesses.free(at(6), &Freed::All).len(), 2);
    assert!(list(&guesses, 6).is_empty());
    assert!(guesses.ends.len() == guesses.len());
    // Freed is forgotten: the next failure is a first one.
    assert_eq!(fail(&mut guesses, 7, 1, "192.0.2.1:1", "alice"), [0]);
}

#[test]
fn blocked_sources_are_bounded() {
    let mut guesses = Guesses::new(1);
    let source = |number: u32| Source::of(IpAddr::from(number.to_be_bytes()));
    for number in 0..u32::try_from(BLOCKED_MAX).unwrap() {
        assert!(guesses.block(at(0), source(number), Some(Duration::from_secs(1))));
    }
    assert!(!guesses.block(at(0), source(u32::MAX), None));
    assert!(guesses.block(at(0), source(1), None), "known already");
    assert!(guesses.block(at(2), source(u32::MAX), None), "the others are over");
}
