//! Interop: foreign programs against the release binary, as black boxes. Nothing here knows an API of ours.
//!
//! `cargo xtask test --only interop` runs them, one after the other. Each test runs in a network namespace of its own
//! (lab.rs), so fixed ports are no trouble. A program that is missing is a failure.

#![allow(
    clippy::disallowed_methods,
    reason = "real programs run in real time: their deadlines are read off a clock"
)]

mod bad_input;
mod bad_streams;
mod baresip;
mod between;
mod bridged;
mod chains;
mod client;
mod crash;
mod demo;
mod exhausted;
mod figure;
mod forwarding;
mod glare;
mod groups;
mod guessing;
mod guide;
mod kamailio;
mod lab;
mod life;
mod manage;
mod music;
mod nonsense;
mod ours;
mod parking;
mod phone;
mod phones;
mod pjsua2;
mod plan;
mod process;
mod refusals;
mod registering;
mod reliable;
mod scripts;
mod serve;
mod services;
mod serving;
mod sipp;
mod sipsak;
mod softphone;
mod terminal;
mod torment;
mod transfers;
mod trunks;
mod video;
mod wav;
