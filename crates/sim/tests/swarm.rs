//! A few seeds of the swarm; `cargo xtask sim` runs thousands.

use dialtone_sim::swarm;

#[test]
fn everything_holds_in_the_first_forty_worlds() {
    for seed in 0..40 {
        let outcome = swarm::judge(seed);
        assert!(outcome.findings.is_empty(), "seed {seed}: {:#?}", outcome.findings);
        assert!(outcome.packets > 0, "seed {seed} sent nothing");
    }
}

#[test]
fn the_same_seed_is_the_same_run_and_another_seed_is_another() {
    let prints: Vec<u64> = [1, 1, 2].map(|seed| swarm::run(seed).fingerprint()).to_vec();
    assert_eq!(prints[0], prints[1]);
    assert_ne!(prints[0], prints[2]);
}
