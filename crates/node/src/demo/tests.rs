use super::*;

fn check(config: DemoConfig) {
    let report = run(&config).expect("the demonstration starts");
    assert!(report.ok, "{report}");
    let alice_to_bob = &report.directions[0];
    assert!((alice_to_bob.tone_hz - 440.0).abs() < 5.0, "{report}");
    assert!(alice_to_bob.packets_received <= alice_to_bob.packets_sent, "{report}");
    let said: Vec<&str> = report.ladder.iter().map(|step| step.message.as_str()).collect();
    let in_order = [
        "REGISTER",
        "401 Unauthorized",
        "INVITE",
        "407 Proxy Authentication Required",
        "180 Ringing",
        "200 OK",
        "ACK",
        "BYE",
        "200 OK",
    ];
    let mut rest = said.iter();
    for expected in in_order {
        assert!(rest.any(|message| *message == expected), "no {expected} in its place:\n{report}");
    }
    assert!(report.ladder.iter().all(|step| step.arrived), "{report}");
}

#[test]
fn two_phones_register_call_and_hear_each_other() {
    check(DemoConfig { seconds: 1.0, ..DemoConfig::default() });
}

#[test]
fn they_do_with_two_shards() {
    check(DemoConfig { seconds: 1.0, shards: 2, ..DemoConfig::default() });
}

#[test]
fn they_do_over_ipv6() {
    check(DemoConfig { seconds: 1.0, address: "::1".parse().expect("an address"), ..DemoConfig::default() });
}
