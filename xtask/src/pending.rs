//! What `cargo xtask test` leaves out for now. Each run prints these lists, so that nothing is skipped in silence.

/// Steps that are not run unless asked for by `--only`.
pub(crate) const STEPS: &[&str] = &[];

/// Interop tests that are not run: the beginning of a test's path, as in `phones::`.
pub(crate) const INTEROP_TESTS: &[&str] = &[];
