//! A short soak; `cargo xtask soak` runs longer ones.

use dialtone_sim::soak::Soak;

#[test]
fn two_days_of_twenty_phones_leave_nothing_behind() {
    let mut days = Vec::new();
    let soak = Soak { seed: 5, phones: 20, calls_a_day: 10, days: 2 };
    soak.run(|_, day| days.push(*day)).expect("every table holds what is alive");
    assert_eq!(days.len(), 2);
    for day in &days {
        assert_eq!(day.bindings, 20);
        assert!(day.begun > 150 && day.answered > 100, "{day:?}");
    }
}
