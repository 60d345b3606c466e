//! Video that is added to a call and taken away (RFC 3311, RFC 3264 §8.1) by and to a SIPp: our phone takes it or answers with
//! port 0, alone and through our B2BUA.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, lab, wait_until_bound};
use crate::process::Process;
use crate::reliable::{CALLEE, CALLER, MESSAGES, at, bridge, phone, sipp, where_it_listens};
use crate::scripts::{finish, words};
use crate::serve::PORT;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn our_phone_takes_video_that_a_foreign_one_adds_or_answers_with_port_0() {
    lab(|lab| {
        for takes in [false, true] {
            video_comes(lab, takes, |phone, call| call(phone));
        }
    });
}

#[test]
fn video_that_a_foreign_phone_adds_is_taken_or_refused_through_our_b2bua() {
    lab(|lab| {
        for takes in [false, true] {
            video_comes(lab, takes, |phone, call| {
                let mut server = bridge(lab, phone);
                call(server.address);
                server.stop();
            });
        }
    });
}

/// SIPp calls bob's phone and adds video; `between` is told where that is, and chooses whom SIPp talks to.
fn video_comes(lab: &Lab, takes: bool, between: impl FnOnce(SocketAddr, &mut dyn FnMut(SocketAddr))) {
    let more: &[&str] = if takes { &["--video"] } else { &[] };
    let lines = "wait for incoming\nanswer\nwait for answered\nwait for ended\n";
    let mut bob = phone(lab, "bob", at(PORT), more, lines);
    between(where_it_listens(&mut bob), &mut |to| {
        let mut caller = Process::start(&mut sipp(lab, to, "video_call", CALLER, true));
        let status = caller.finish(PATIENCE);
        assert!(status.success(), "SIPp ended with {status}\n{}", caller.output());
    });
    let events = finish(bob, 0);
    let video: &[&str] = if takes { &["video", "video-ended"] } else { &[] };
    let expected = [&["incoming", "answered"], video, &["ended"]].concat();
    assert_eq!(told(&events), expected, "{events:?}");
    // What SIPp got: the lines of video that it did not write itself.
    let path = lab.path(MESSAGES);
    let text = std::fs::read_to_string(&path).expect("SIPp has written it");
    std::fs::remove_file(path).expect("it is there");
    let received = text.split("UDP message ").filter(|message| message.starts_with("received"));
    let ports: Vec<bool> = received
        .filter_map(|message| Some(message.split_once("m=video ")?.1.split(' ').next()? != "0"))
        .collect();
    assert_eq!(ports, [takes, takes, false], "{text}");
}

#[test]
fn our_phone_adds_video_to_a_call_of_a_foreign_one_that_refuses_it_and_then_takes_it() {
    lab(|lab| video_goes(lab, at(CALLEE), true));
}

#[test]
fn video_that_our_phone_adds_through_our_b2bua_is_refused_and_then_taken() {
    lab(|lab| {
        let mut server = bridge(lab, at(CALLEE));
        video_goes(lab, server.address, false);
        server.stop();
    });
}

/// Alice's phone calls the SIPp by `proxy`, offers it video twice and takes it away.
fn video_goes(lab: &Lab, proxy: SocketAddr, is_direct: bool) {
    let mut callee = Process::start(&mut sipp(lab, at(PORT), "video_answer", CALLEE, is_direct));
    wait_until_bound(&[CALLEE]);
    let lines = "call bob\nwait for answered\nvideo by update\nwait for video-refused\nvideo\nwait for video\n\
                 video off by update\nwait for video-ended\nhangup\nwait for ended\n";
    let mut alice = phone(lab, "alice", proxy, &[], lines);
    let status = callee.finish(PATIENCE);
    alice.absorb();
    assert!(status.success(), "SIPp ended with {status}\n{}\n{}", callee.output(), alice.output());
    let events = finish(alice, 0);
    let expected = ["calling", "answered", "video-refused", "video", "video-ended", "ended"];
    assert_eq!(told(&events), expected, "{events:?}");
}

/// The events of calls but those that tell of the session as a whole.
fn told(events: &[Value]) -> Vec<&str> {
    words(events).into_iter().filter(|word| !word.starts_with("refreshed")).collect()
}
