//! Measurements: each target of this package is one `cargo bench -p dialtone-benches --bench NAME -- --quick`.
