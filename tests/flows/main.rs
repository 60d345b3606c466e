//! Call flows: each runs in the simulator, is compared with the messages that its RFC prints, and is drawn in
//! docs/flows.

mod aftermath;
mod compare;
mod credentials;
mod document;
mod fields;
mod races;
mod raw;
mod reference;
mod registrations;
mod sessions;
mod unsuccessful;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dialtone_sim::{Ladder, World};

use fields::Field;

/// A flow of an RFC, and what ours does otherwise.
pub(crate) struct Flow {
    /// The RFC: the folder of its messages.
    pub(crate) rfc: Rfc,
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
    /// The messages as the RFC's figure has them, see [`reference`]; empty where the RFC prints each of them.
    pub(crate) figure: &'static str,
    /// Messages that pass each other on the wire: each is sent before the other comes.
    pub(crate) crossing: &'static [(&'static str, &'static str)],
    /// Where not empty: what passes after the figure's last message.
    pub(crate) afterwards: &'static str,
    /// Plays the flow; only what passes from the given number of packets on belongs to it.
    pub(crate) play: fn() -> (World, usize),
}

/// An RFC with call flows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rfc(pub(crate) u16);

impl Flow {
    /// What flows have if nothing else is said: RFC 3665, each message printed.
    pub(crate) const RFC_3665: Flow = Flow {
        rfc: Rfc(3665),
        section: "",
        title: "",
        text: "",
        participants: &[],
        differences: &[],
        figure: "",
        crossing: &[],
        afterwards: "",
        play: || (World::new(0), 0),
    };
    /// A race: a figure, and few messages printed.
    pub(crate) const RFC_5407: Flow = Flow { rfc: Rfc(5407), ..Flow::RFC_3665 };
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
    unsuccessful::NO_ANSWER,
    unsuccessful::BUSY,
    unsuccessful::NO_RESPONSE,
    unsuccessful::UNAVAILABLE,
    races::INVITE_AGAIN,
    races::CANCEL,
    races::EARLY_BYE,
    races::RE_INVITE,
    races::RE_INVITE_AND_OFFER,
    races::BYE,
    races::TWO_BYES,
    races::BYE_AND_RE_INVITE,
    races::RE_INVITE_AND_BYE,
    races::ACK_AND_BYE,
    races::TWO_RE_INVITES,
];

pub(crate) const ALICE: SocketAddr = address(101);
pub(crate) const PROXY_1: SocketAddr = address(111);
pub(crate) const BOB: SocketAddr = address(201);
pub(crate) const PROXY_2: SocketAddr = address(222);

pub(crate) const fn address(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)), 5060)
}

impl Flow {
    /// What passed on the wire.
    pub(crate) fn ladder(&self) -> Ladder {
        let (world, from) = (self.play)();
        Ladder::of(&world.packets()[from..], self.participants)
    }
}

fn find(rfc: Rfc, section: &str) -> &'static Flow {
    FLOWS.iter().find(|flow| flow.rfc == rfc && flow.section == section).expect("a flow of this section")
}

fn check(section: &str) {
    compare::check(find(Rfc(3665), section));
}

fn check_race(section: &str) {
    let flow = find(Rfc(5407), section);
    compare::check(flow);
    races::check_rest(flow);
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
fn rfc_3665_3_8_unsuccessful_no_answer() {
    check("3.8");
}

#[test]
fn rfc_3665_3_9_unsuccessful_busy() {
    check("3.9");
}

#[test]
fn rfc_3665_3_10_unsuccessful_no_response_from_user_agent() {
    check("3.10");
}

#[test]
fn rfc_3665_3_11_unsuccessful_temporarily_unavailable() {
    check("3.11");
}

#[test]
fn rfc_5407_3_1_1_callee_receives_initial_invite_again() {
    check_race("3.1.1");
}

#[test]
fn rfc_5407_3_1_2_callee_receives_cancel() {
    check_race("3.1.2");
}

#[test]
fn rfc_5407_3_1_3_callee_receives_bye_of_the_early_state() {
    check_race("3.1.3");
}

#[test]
fn rfc_5407_3_1_4_callee_receives_re_invite() {
    check_race("3.1.4");
}

#[test]
fn rfc_5407_3_1_5_callee_receives_re_invite_with_an_offer_open() {
    check_race("3.1.5");
}

#[test]
fn rfc_5407_3_1_6_callee_receives_bye_without_ack() {
    check_race("3.1.6");
}

#[test]
fn rfc_5407_3_2_1_two_byes() {
    check_race("3.2.1");
}

#[test]
fn rfc_5407_3_2_2_re_invite_after_the_bye() {
    check_race("3.2.2");
}

#[test]
fn rfc_5407_3_2_3_answer_to_re_invite_after_the_bye() {
    check_race("3.2.3");
}

#[test]
fn rfc_5407_3_2_4_ack_and_bye() {
    check_race("3.2.4");
}

#[test]
fn rfc_5407_3_3_1_two_re_invites() {
    check_race("3.3.1");
}

#[test]
fn the_documents_are_what_passed_on_the_wire() {
    document::check();
}
