use super::*;

fn figure(config: DemoConfig) -> (FigureReport, String) {
    let mut told = String::new();
    let report = run(&config, &mut |progress| told.push_str(&progress.to_string())).expect("all boxes start");
    (report, told)
}

fn short() -> DemoConfig {
    DemoConfig { seconds: 1.0, ..DemoConfig::default() }
}

/// Who sends what to whom in each step; what others do at the same time may come in between.
const FIGURE: [(DeckStep, &[&str]); 9] = [
    (
        DeckStep::Registration,
        &[
            "Rob -> Registrar: REGISTER",
            "Registrar -> Rob: 401 Unauthorized",
            "Rob -> Registrar: REGISTER",
            "Registrar -> Rob: 200 OK",
        ],
    ),
    (
        DeckStep::Redirection,
        &[
            "Tin -> P1: INVITE",
            "P1 -> Redirect: INVITE",
            "Redirect -> P1: 302 Moved Temporarily",
            "P1 -> Tin: 302 Moved Temporarily",
            "Tin -> P1: ACK",
        ],
    ),
    (
        DeckStep::Location,
        &["P2 -> Registrar: INVITE", "Registrar -> P2: 302 Moved Temporarily", "P2 -> Registrar: ACK"],
    ),
    (DeckStep::Invite, &["Tin -> P1: INVITE", "P1 -> P2: INVITE", "P2 -> Rob: INVITE"]),
    (DeckStep::Ringing, &["Rob -> P2: 180 Ringing", "P2 -> P1: 180 Ringing", "P1 -> Tin: 180 Ringing"]),
    (DeckStep::Answer, &["Rob -> P2: 200 OK", "P2 -> P1: 200 OK", "P1 -> Tin: 200 OK"]),
    (DeckStep::Acknowledgement, &["Tin -> P1: ACK", "P1 -> Rob: ACK"]),
    (DeckStep::Hangup, &["Rob -> P1: BYE", "P1 -> Tin: BYE", "Tin -> P1: 200 OK", "P1 -> Rob: 200 OK"]),
    (DeckStep::Removal, &["Rob -> Registrar: REGISTER", "Registrar -> Rob: 200 OK"]),
];

fn check(config: DemoConfig) {
    let (report, told) = figure(config);
    assert!(report.ok, "{told}{report}");
    assert_eq!(report.verdict, ALL_WELL);
    for (deck, expected) in FIGURE {
        let passed = report.ladder.iter().filter(|shown| shown.deck == Some(deck));
        let passed: Vec<String> = passed
            .map(|Shown { step, .. }| format!("{} -> {}: {}", step.from, step.to, step.message))
            .collect();
        let mut rest = passed.iter();
        for message in expected {
            assert!(
                rest.any(|passed| passed == message),
                "{deck:?}: no {message} in its place in {passed:?}"
            );
        }
    }
    for Shown { step, .. } in &report.ladder {
        assert!(
            told.contains(&format!("  {:<4}{}", step.number, step.message)),
            "{step:?} is not in\n{told}"
        );
    }
}

#[test]
fn the_boxes_play_the_figures_of_the_deck_and_both_hear_each_other() {
    check(short());
}

#[test]
fn they_do_over_ipv6_with_two_shards_each() {
    check(DemoConfig { address: "::1".parse().expect("an address"), shards: 2, ..short() });
}

#[test]
fn what_is_not_as_in_the_deck_is_named() {
    let (report, _) = figure(short());
    let place = |ladder: &[Shown], from: &str, to: &str, message: &str| {
        let is_it = |shown: &Shown| {
            let step = &shown.step;
            shown.deck.is_some_and(|deck| deck as u8 >= DeckStep::Invite as u8)
                && (step.from.as_str(), step.to.as_str()) == (from, to)
                && step.message.starts_with(message)
        };
        ladder.iter().position(is_it).unwrap_or_else(|| panic!("no {message} from {from} to {to}"))
    };
    let changed = |from: &str, to: &str, message: &str, change: &dyn Fn(&mut Shown)| {
        let mut ladder = report.ladder.clone();
        let place = place(&ladder, from, to, message);
        change(&mut ladder[place]);
        let number = format!("{} ", ladder[place].step.number);
        let missing: Vec<String> =
            steps::judge(&ladder).into_iter().filter_map(|step| step.missing).collect();
        missing.join("; ").replace(&number, "")
    };
    for (from, to, message, change, expected) in [
        (
            "P1",
            "Tin",
            "BYE",
            &(|shown: &mut Shown| shown.step.from = "P2".into()) as &dyn Fn(&mut Shown),
            "BYE passed P2",
        ),
        ("P2", "Rob", "INVITE", &|shown| shown.step.arrived = false, "INVITE from P2 to Rob never arrived"),
        (
            "P2",
            "Rob",
            "INVITE",
            &|shown| shown.record_route.insert(0, "P2".into()),
            "INVITE from P2 to Rob has Record-Route P2 P1 in place of P1",
        ),
        (
            "P2",
            "P1",
            "180",
            &|shown| shown.via = vec!["P2".into(), "P1".into(), "Tin".into()],
            "180 from P2 to P1 has Via P2 P1 Tin in place of P1 Tin",
        ),
        (
            "Rob",
            "P1",
            "BYE",
            &|shown| shown.route.clear(),
            "BYE from Rob to P1 has Route none in place of P1",
        ),
        ("P1", "Rob", "ACK", &|shown| shown.deck = None, "no ACK from P1 to Rob"),
    ] {
        assert_eq!(changed(from, to, message, change), expected);
    }
    let steps = steps::judge(&report.ladder[..4]);
    assert_eq!(steps.iter().filter(|step| step.missing.is_none()).count(), 1, "{steps:?}");
    assert_eq!(
        verdict(judge::OK.to_owned(), &steps),
        "TWO-WAY AUDIO OK, BUT NOT AS IN THE DECK: Redirect server: no INVITE from Tin to P1"
    );
    assert_eq!(verdict("NO AUDIO: words".to_owned(), &steps), "NO AUDIO: words");
}

#[test]
fn an_address_that_is_not_there_is_told_before_anything_is_shown() {
    let config = DemoConfig { address: "10.254.253.1".parse().expect("an address"), ..short() };
    let error =
        run(&config, &mut |_| panic!("nothing runs")).expect_err("nobody has this address").to_string();
    assert!(error.contains("10.254.253.") && error.contains("this machine has no such address"), "{error}");
}
