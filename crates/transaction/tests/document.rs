//! docs/state-machines.md is written from the arrows of the four figures and the tests that take them.

use std::fmt::Write as _;
use std::path::PathBuf;

use dialtone_transaction::Edge;

const HEAD: &str = "\
<!-- Written from crates/transaction by its own test. To write it anew:
     DIALTONE_BLESS=1 cargo test -p dialtone-transaction --test document -->

# The four state machines, arrow by arrow

Each arrow of the four figures of RFC 3261 §17 (those of INVITE as RFC 6026 changed them) has one test of its own, which
takes the machine there on virtual time and checks what is sent, what is told to the layer above, and which arrow was
taken. `cargo test -p dialtone-transaction NAME` runs one. The simulator counts the same arrows:
`cargo xtask sim --seeds 2000` prints how often each was taken, and fails when one never was.
";

/// The figures: the name in the label, the heading, the states, and the file that draws the figure and tests it.
const FIGURES: [Figure; 4] = [
    Figure {
        name: "INVITE client",
        source: "RFC 3261 §17.1.1, RFC 6026 §8.4, Figure 5",
        states: "Calling, Proceeding, Completed, Accepted, Terminated",
        path: "crates/transaction/src/invite_client.rs",
        text: include_str!("../src/invite_client.rs"),
    },
    Figure {
        name: "non-INVITE client",
        source: "RFC 3261 §17.1.2, Figure 6",
        states: "Trying, Proceeding, Completed, Terminated",
        path: "crates/transaction/src/non_invite_client.rs",
        text: include_str!("../src/non_invite_client.rs"),
    },
    Figure {
        name: "INVITE server",
        source: "RFC 3261 §17.2.1, RFC 6026 §8.6, Figure 7",
        states: "Proceeding, Completed, Confirmed, Accepted, Terminated",
        path: "crates/transaction/src/invite_server.rs",
        text: include_str!("../src/invite_server.rs"),
    },
    Figure {
        name: "non-INVITE server",
        source: "RFC 3261 §17.2.2, Figure 8; which responses are allowed: RFC 4320",
        states: "Trying, Proceeding, Completed, Terminated",
        path: "crates/transaction/src/non_invite_server.rs",
        text: include_str!("../src/non_invite_server.rs"),
    },
];

struct Figure {
    name: &'static str,
    source: &'static str,
    states: &'static str,
    path: &'static str,
    text: &'static str,
}

/// An arrow in words: figure, from, event, to.
fn parts(edge: Edge) -> [&'static str; 4] {
    let (figure, rest) = edge.label().split_once(": ").expect("a label names its figure");
    let (rest, to) = rest.split_once(" -> ").expect("a label names the next state");
    let (from, event) = rest.split_once(", ").expect("a label names state and event");
    [figure, from, event, to]
}

/// The test whose script takes `edge`: a line `name => FigureEdge::Arrow, {` of the figure's file.
fn test_of(edge: Edge, figure: &Figure) -> &'static str {
    // `InviteClientEdge(Start)` is written `InviteClientEdge::Start` there.
    let path = format!("{edge:?}").replace('(', "::").replace(')', "");
    let ending = format!(" => {path}, {{");
    let mut tests = figure.text.lines().filter_map(|line| line.trim().strip_suffix(ending.as_str()));
    let test = tests.next().unwrap_or_else(|| panic!("no test of {} takes {path}", figure.path));
    assert_eq!(tests.next(), None, "{path} has a second test");
    test
}

#[test]
fn the_page_of_the_state_machines_is_what_the_tests_say() {
    let mut text = HEAD.to_owned();
    let mut arrows = 0;
    for figure in &FIGURES {
        let Figure { name, source, states, path, .. } = figure;
        let edges: Vec<Edge> = Edge::all().filter(|edge| parts(*edge)[0] == *name).collect();
        arrows += edges.len();
        let _ = write!(
            text,
            "\n## {name}\n\n{source}. States: {states}. {} arrows. Drawn and tested in [{path}](../{path}).\n\n\
             | state | event | next state | test |\n|---|---|---|---|\n",
            edges.len()
        );
        for edge in edges {
            let [_, from, event, to] = parts(edge);
            let _ = writeln!(text, "| {from} | {event} | {to} | `{}` |", test_of(edge, figure));
        }
    }
    assert_eq!(arrows, Edge::COUNT, "each arrow stands in one figure");
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/state-machines.md");
    if std::env::var_os("DIALTONE_BLESS").is_some() {
        std::fs::write(&page, &text).expect("docs/state-machines.md can be written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == text,
        "docs/state-machines.md is stale: DIALTONE_BLESS=1 cargo test -p dialtone-transaction --test document"
    );
}

#[test]
fn the_four_machines_have_the_states_of_their_figures_and_not_the_same_four() {
    let states = |name: &str| -> Vec<&str> {
        let mut states: Vec<&str> = Vec::new();
        for [figure, from, _, to] in Edge::all().map(parts) {
            for state in [from, to] {
                if figure == name && state != "start" && !states.contains(&state) {
                    states.push(state);
                }
            }
        }
        states.sort_unstable();
        states
    };
    for figure in &FIGURES {
        let mut expected: Vec<&str> = figure.states.split(", ").collect();
        expected.sort_unstable();
        assert_eq!(states(figure.name), expected, "{}", figure.name);
    }
    let calling: Vec<&str> =
        FIGURES.iter().map(|figure| figure.name).filter(|name| states(name).contains(&"Calling")).collect();
    assert_eq!(calling, ["INVITE client"], "only the INVITE client has a state Calling");
}
