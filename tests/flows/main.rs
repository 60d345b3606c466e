//! Call flows: each runs in the simulator, is compared with the messages that its RFC prints, and is drawn in
//! docs/flows.

mod compare;
mod credentials;
mod document;
mod fields;
mod raw;
mod reference;
mod registrations;
mod sessions;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dialtone_sim::{Ladder, World};

use fields::Field;

/// A flow of an RFC, and what ours does otherwise.
pub(crate) struct Flow {
    /// The section of the RFC.
    pub(crate) section: &'static str,
    /// Its title there.
    pub(crate) title: &'static str,
    /// What happens, in a few sentences.
    pub(crate) text: &'static str,
    /// Names as in the RFC, with addresses, from left to right.
    pub(crate) participants: &'static [(&'static str, SocketAddr)],
    /// Where a header is meant to differ from the RFC's, and why.
    pub(crate) differences: &'static [(&'static str, Field, &'static str)],
    /// Plays the flow; only what passes from the given number of packets on belongs to it.
    pub(crate) play: fn() -> (World, usize),
}

/// The flows that are played.
const FLOWS: &[Flow] = &[
    registrations::NEW,
    registrations::UPDATE,
    registrations::QUERY,
    registrations::CANCELLATION,
    registrations::UNSUCCESSFUL,
    sessions::DIRECT,
    sessions::TWO_PROXIES,
    sessions::TWO_CHALLENGES,
];

pub(crate) const ALICE: SocketAddr = address(101);
pub(crate) const PROXY_1: SocketAddr = address(111);
pub(crate) const BOB: SocketAddr = address(201);
pub(crate) const PROXY_2: SocketAddr = address(222);

const fn address(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)), 5060)
}

impl Flow {
    /// What passed on the wire.
    pub(crate) fn ladder(&self) -> Ladder {
        let (world, from) = (self.play)();
        Ladder::of(&world.packets()[from..], self.participants)
    }
}

fn check(section: &str) {
    let flow = FLOWS.iter().find(|flow| flow.section == section).expect("a flow of this section");
    compare::check(flow);
}

#[test]
fn rfc_3665_2_1_successful_new_registration() {
    check("2.1");
}

#[test]
fn rfc_3665_2_2_update_of_contact_list() {
    check("2.2");
}

#[test]
fn rfc_3665_2_3_request_for_current_contact_list() {
    check("2.3");
}

#[test]
fn rfc_3665_2_4_cancellation_of_registration() {
    check("2.4");
}

#[test]
fn rfc_3665_2_5_unsuccessful_registration() {
    check("2.5");
}

#[test]
fn rfc_3665_3_1_successful_session_establishment() {
    check("3.1");
}

#[test]
fn rfc_3665_3_2_session_establishment_through_two_proxies() {
    check("3.2");
}

#[test]
fn rfc_3665_3_3_session_with_multiple_proxy_authentication() {
    check("3.3");
}

#[test]
fn the_documents_are_what_passed_on_the_wire() {
    document::check();
}
