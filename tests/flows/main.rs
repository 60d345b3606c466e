//! Call flows: each runs in the simulator, is compared with the messages that its RFC prints, and is drawn in
//! docs/flows.

mod aftermath;
mod bridged;
mod click;
mod compare;
mod conferences;
mod credentials;
mod crossings;
mod deck;
mod document;
mod fields;
mod holding;
mod people;
mod races;
mod raw;
mod reference;
mod registrations;
mod routes;
mod services;
mod sessions;
mod transfers;
mod unsuccessful;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dialtone_sim::{Ladder, World};

use fields::Field;

/// A flow of an RFC, and what ours does otherwise.
pub(crate) struct Flow {
    /// Who prints or draws it.
    pub(crate) source: Source,
    /// The section of the RFC; the name of the slide.
    pub(crate) section: &'static str,
    /// The name of its figure, where the section has several.
    pub(crate) drawn_as: &'static str,
    /// Its title there.
    pub(crate) title: &'static str,
    /// What happens, in a few sentences.
    pub(crate) text: &'static str,
    /// Names as in the RFC, with addresses, from left to right.
    pub(crate) participants: &'static [(&'static str, SocketAddr)],
    /// Where a header is meant to differ from the RFC's, and why.
    pub(crate) differences: &'static [(&'static str, Field, &'static str)],
    /// What is to be seen in a message beside its method or status and its two sides.
    pub(crate) shows: &'static [(&'static str, Field, &'static str)],
    /// What the RFC leaves out of its messages, or leaves open: not compared.
    pub(crate) omits: &'static [Field],
    /// What ours sends beside what the source has, `100 INVITE`, and why.
    pub(crate) adds: &'static [(&'static str, &'static str)],
    /// Numbers that the RFC gives to what happens within a party: no messages.
    pub(crate) steps: &'static [&'static str],
    /// The messages as the RFC's figure has them, see [`reference`]; empty where the RFC prints each of them.
    pub(crate) figure: &'static str,
    /// How the figure begins, where others begin like it.
    pub(crate) begins: &'static str,
    /// Messages that pass each other on the wire: each is sent before the other comes.
    pub(crate) crossing: &'static [(&'static str, &'static str)],
    /// Where not empty: what passes after the figure's last message.
    pub(crate) afterwards: &'static str,
    /// Plays the flow; only what passes from the given number of packets on belongs to it.
    pub(crate) play: fn() -> (World, usize),
}

/// Where a flow comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// An RFC with call flows; its messages have a folder.
    Rfc(u16),
    /// The slide deck.
    Deck,
    /// We: no RFC draws it.
    Own,
}

impl Flow {
    /// What flows have if nothing else is said: RFC 3665, each message printed.
    pub(crate) const RFC_3665: Flow = Flow {
        source: Source::Rfc(3665),
        section: "",
        drawn_as: "",
        title: "",
        text: "",
        participants: &[],
        differences: &[],
        shows: &[],
        omits: &[],
        adds: &[],
        steps: &[],
        figure: "",
        begins: "",
        crossing: &[],
        afterwards: "",
        play: || (World::new(0), 0),
    };
    /// A race: a figure, and few messages printed.
    pub(crate) const RFC_5407: Flow = Flow { source: Source::Rfc(5407), ..Flow::RFC_3665 };
    /// A figure of the deck.
    pub(crate) const DECK: Flow = Flow { source: Source::Deck, ..Flow::RFC_3665 };
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
    sessions::PROXY_FAILURE,
    sessions::GATEWAY,
    sessions::REDIRECT,
    sessions::ADDRESS_CHANGE,
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
    crossings::UPDATE,
    crossings::REFER,
    races::BYE_OVERLAPS,
    races::FORK,
    races::FORK_UNANNOUNCED,
    holding::HOLD,
    holding::CONSULTATION,
    transfers::MUSIC,
    click::CLICK,
    services::ALWAYS,
    services::BUSY,
    services::NO_ANSWER,
    services::FIND_ME,
    services::SCREENED_BY_CALLEE,
    services::SCREENED,
    routes::PATH_OF_REGISTER,
    routes::PATH_OF_INVITE,
    routes::SERVICE_ROUTE_OF_REGISTER,
    routes::SERVICE_ROUTE_OF_INVITE,
    bridged::CALL,
    bridged::CROSSING,
    transfers::JOINED,
    bridged::HELD,
    bridged::PARKED,
    bridged::PICKED_UP,
    bridged::QUEUED,
    transfers::UNATTENDED,
    transfers::FRIENDS_ATTENDED,
    transfers::INSTANT_MESSAGE,
    transfers::SUCCESSFUL,
    transfers::DIALOG_REUSE,
    transfers::BUSY,
    transfers::NO_ANSWER,
    transfers::EXPOSED,
    transfers::PROTECTED,
    transfers::ATTENDED,
    transfers::NO_REFER,
    transfers::BY_ADDRESS,
    transfers::ADDRESS_FAILS,
    transfers::RECOMMENDED,
    transfers::SEMI_ATTENDED,
    transfers::REQUIRED,
    transfers::FALLBACK,
    transfers::REFERRED_BY,
    conferences::THIRD_IS_ADDED,
    conferences::THIRD_JOINS,
    conferences::AD_HOC,
    conferences::MULTIPLE,
    deck::BASIC_CALL,
    deck::SESSION_UPDATE,
    deck::SESSION_UPDATE_ACCEPTED,
    deck::REGISTRATION,
    deck::REMOVAL,
    deck::PROXIES,
    deck::FORKING,
    deck::FORWARD,
    deck::TRANSFER,
    deck::REGISTER_AUTHENTICATION,
    deck::INVITE_AUTHENTICATION,
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

fn find(source: Source, section: &str) -> &'static Flow {
    FLOWS
        .iter()
        .find(|flow| flow.source == source && flow.section == section)
        .expect("a flow of this section")
}

fn check(section: &str) {
    compare::check(find(Source::Rfc(3665), section));
}

fn check_race(section: &str) {
    let flow = find(Source::Rfc(5407), section);
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
fn rfc_3665_3_4_successful_session_with_proxy_failure() {
    check("3.4");
}

#[test]
fn rfc_3665_3_5_session_through_a_sip_alg() {
    check("3.5");
}

#[test]
fn rfc_3665_3_6_session_via_redirect_and_proxy_servers_with_sdp_in_ack() {
    check("3.6");
}

#[test]
fn rfc_3665_3_7_session_with_re_invite_ip_address_change() {
    check("3.7");
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

fn check_service(section: &str) {
    compare::check(find(Source::Rfc(5359), section));
}

#[test]
fn rfc_5359_2_1_call_hold() {
    check_service("2.1");
}

#[test]
fn rfc_5359_2_2_consultation_hold() {
    check_service("2.2");
}

#[test]
fn rfc_5359_2_3_music_on_hold() {
    check_service("2.3");
}

#[test]
fn rfc_5359_2_7_call_forwarding_unconditional() {
    check_service("2.7");
}

#[test]
fn rfc_5359_2_8_call_forwarding_busy() {
    check_service("2.8");
}

#[test]
fn rfc_5359_2_9_call_forwarding_no_answer() {
    check_service("2.9");
}

#[test]
fn rfc_5359_2_12_find_me() {
    check_service("2.12");
}

#[test]
fn rfc_5359_2_13_incoming_call_screening() {
    check_service("2.13");
}

#[test]
fn rfc_5359_2_14_outgoing_call_screening() {
    check_service("2.14");
}

#[test]
fn rfc_3327_5_5_1_path_in_a_register_transaction() {
    compare::check(find(Source::Rfc(3327), "5.5.1"));
}

#[test]
fn rfc_3327_5_5_2_path_in_an_invite_transaction() {
    compare::check(find(Source::Rfc(3327), "5.5.2"));
}

#[test]
fn rfc_3608_6_4_1_service_route_in_a_register_transaction() {
    compare::check(find(Source::Rfc(3608), "6.4.1"));
}

#[test]
fn rfc_3608_6_4_2_service_route_in_an_invite_transaction() {
    compare::check(find(Source::Rfc(3608), "6.4.2"));
}

#[test]
fn rfc_5359_2_18_click_to_dial() {
    check_service("2.18");
}

#[test]
fn rfc_5359_2_4_transfer_unattended() {
    check_service("2.4");
}

#[test]
fn rfc_5359_2_5_transfer_attended() {
    check_service("2.5");
}

#[test]
fn rfc_5359_2_6_transfer_instant_messaging() {
    check_service("2.6");
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
fn rfc_5407_3_3_2_update_and_re_invite() {
    check_race("3.3.2");
}

#[test]
fn rfc_5407_3_3_3_refer_after_the_bye() {
    check_race("3.3.3");
}

#[test]
fn rfc_5407_appendix_b_bye_overlaps_re_invite() {
    check_race("B");
}

#[test]
fn rfc_5407_appendix_e_two_answers_of_a_fork() {
    check_race("E.5");
}

#[test]
fn rfc_5407_appendix_e_two_answers_unannounced() {
    check_race("E.6");
}

#[test]
fn who_is_held_hears_music() {
    compare::check(find(Source::Own, "b2bua-hold"));
}

#[test]
fn a_parked_call_hears_music_and_is_taken() {
    compare::check(find(Source::Own, "b2bua-park"));
}

#[test]
fn a_call_that_rings_is_taken_at_another_phone() {
    compare::check(find(Source::Own, "b2bua-pickup"));
}

#[test]
fn callers_of_a_busy_group_wait_and_know_their_places() {
    compare::check(find(Source::Own, "b2bua-queue"));
}

#[test]
fn deck_basic_call() {
    compare::check(find(Source::Deck, "basic-call"));
}

#[test]
fn deck_session_update() {
    compare::check(find(Source::Deck, "session-update"));
}

#[test]
fn deck_session_update_accepted() {
    compare::check(find(Source::Deck, "session-update-accepted"));
}

#[test]
fn deck_registration() {
    compare::check(find(Source::Deck, "registration"));
}

#[test]
fn deck_remove_registration() {
    compare::check(find(Source::Deck, "remove-registration"));
}

#[test]
fn deck_proxies() {
    compare::check(find(Source::Deck, "proxies"));
}

#[test]
fn deck_forking() {
    compare::check(find(Source::Deck, "forking"));
}

#[test]
fn deck_forward() {
    compare::check(find(Source::Deck, "forward"));
}

#[test]
fn deck_transfer() {
    compare::check(find(Source::Deck, "transfer"));
}

#[test]
fn deck_register_authentication() {
    compare::check(find(Source::Deck, "register-authentication"));
}

#[test]
fn deck_invite_authentication() {
    compare::check(find(Source::Deck, "invite-authentication"));
}

#[test]
fn the_documents_are_what_passed_on_the_wire() {
    document::check();
}
