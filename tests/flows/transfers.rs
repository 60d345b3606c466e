//! Transfers, and what is made of the same messages: RFC 5589 and RFC 5359 §2.3 to §2.6.
//!
//! The ladders of RFC 5589 begin alike: the transferee calls the transferor, who holds the call ([`HELD`]), and perhaps
//! speaks with the target ([`CONSULTED`]).

mod basic;
mod bridged;
mod consulted;
mod friends;
mod music;
mod old_phone;
mod otherwise;

pub(crate) use basic::{BUSY, DIALOG_REUSE, NO_ANSWER, SUCCESSFUL};
pub(crate) use bridged::JOINED;
pub(crate) use consulted::{ATTENDED, EXPOSED, PROTECTED, REFERRED_BY};
pub(crate) use friends::{FRIENDS_ATTENDED, INSTANT_MESSAGE, UNATTENDED};
pub(crate) use music::MUSIC;
pub(crate) use otherwise::{
    ADDRESS_FAILS, BY_ADDRESS, FALLBACK, NO_REFER, RECOMMENDED, REQUIRED, SEMI_ATTENDED,
};

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{CallHandle, Command, Event, Play, TransferOutcome, TransferTo};
use dialtone_sim::roles::settings::{ReferPolicy, Settings, TransferSettings};
use dialtone_sim::{Habits, HostId, World, phone_settings};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use crate::fields::Field;
use crate::raw::PASSWORD;
use crate::{Flow, Source};

const TRANSFEROR: SocketAddr = crate::address(31);
const TRANSFEREE: SocketAddr = crate::address(32);
const TARGET: SocketAddr = crate::address(33);

const TRANSFEROR_URI: &str = "sip:transferor@atlanta.example.com";
const TARGET_URI: &str = "sip:transfertarget@chicago.example.com";

/// The parties of RFC 5589.
const THREE: &[(&str, SocketAddr)] =
    &[("Transferor", TRANSFEROR), ("Transferee", TRANSFEREE), ("Transfer Target", TARGET)];

const IS_200: &str =
    "RFC 7647 §5: \"an element accepting a REFER request MUST NOT reply with a 202\", but with 200";
const A_HOP_LESS: &str =
    "a call that a REFER asked for begins with a hop less, so that a ring of transfers comes to an end";
const OWN_GRUU: &str =
    "the RFC's GRUUs are names of a domain, those of our phones are made of their addresses (RFC 5627 §4.3)";
const NO_GRUU: &str = "the RFC's Contacts are GRUUs, those of our phones addresses";

/// What RFC 5589 leaves out (bodies) or has for GRUUs, and numbers of its own that do not follow each other.
const OMITTED: &[Field] = &[Field::Body, Field::Contact, Field::RequestUri, Field::CSeq];

/// A transfer of RFC 5589. The RFC leaves out that a phone rings (180).
const RFC_5589: Flow =
    Flow { source: Source::Rfc(5589), participants: THREE, omits: OMITTED, ..Flow::RFC_3665 };

/// The transferee has called the transferor, who holds the call.
const HELD: &str = "\
Transferee -> Transferor: INVITE=F1 180 200=F2 ACK
Transferor -> Transferee: INVITE 200 ACK";

/// Then the transferor has called the target.
const CONSULTED: &str = "\
Transferee -> Transferor: INVITE=F1 180 200=F2 ACK
Transferor -> Transferee: INVITE 200 ACK
Transferor -> Transfer Target: INVITE=F3 180 200=F4 ACK";

/// The parties of RFC 5589, each at a phone of a domain of its own.
struct Three {
    world: World,
    /// How many packets are none of the ladder's.
    before: usize,
    transferor: HostId,
    transferee: HostId,
    target: HostId,
    /// The transferor's call with the transferee.
    call: Option<CallHandle>,
}

/// What the phones have in Contact.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contacts {
    Gruus,
    Addresses,
}

impl Three {
    fn new(contacts: Contacts) -> Three {
        let mut world = World::new(5589);
        let [transferor, transferee, target] = phones(
            &mut world,
            [
                ("transferor", "atlanta.example.com", TRANSFEROR),
                ("transferee", "biloxi.example.com", TRANSFEREE),
                ("transfertarget", "chicago.example.com", TARGET),
            ],
            |settings| settings.transfer.self_made_gruu = contacts == Contacts::Gruus,
        );
        Three { world, before: 0, transferor, transferee, target, call: None }
    }

    /// The transferee has called the transferor, who holds the call.
    fn held(contacts: Contacts) -> Three {
        let mut three = Three::new(contacts);
        three.call_and_hold();
        three
    }

    /// Then the transferor has called the target.
    fn consulted(contacts: Contacts) -> (Three, CallHandle) {
        let mut three = Three::held(contacts);
        let consultation = three.consult();
        (three, consultation)
    }

    fn act(&mut self, phone: HostId, command: Command) {
        act(&mut self.world, phone, command);
    }

    fn answer(&mut self, phone: HostId) {
        answer(&mut self.world, phone);
    }

    fn call_and_hold(&mut self) {
        self.act(self.transferee, call_to(TRANSFEROR_URI));
        self.answer(self.transferor);
        self.hold();
    }

    /// The transferor holds its first call.
    fn hold(&mut self) {
        let call = self.world.calls(self.transferor)[0];
        self.act(self.transferor, Command::Reoffer { call, hold: true });
        self.call = Some(call);
    }

    /// The transferor calls the target, who answers.
    fn consult(&mut self) -> CallHandle {
        self.act(self.transferor, call_to(TARGET_URI));
        self.answer(self.target);
        self.world.calls(self.transferor)[1]
    }

    /// The transferor sends the transferee to the target's address.
    fn transfer(&mut self) {
        self.transfer_to(TransferTo::Address(uri(TARGET_URI)));
    }

    /// The transferor joins the transferee with the other side of this call.
    fn join(&mut self, consultation: CallHandle) {
        self.transfer_to(TransferTo::Call(consultation));
    }

    fn transfer_to(&mut self, to: TransferTo) {
        let call = self.call.expect("a call that is held");
        self.act(self.transferor, Command::Transfer { call, to });
    }

    fn outcome(&self) -> Option<TransferOutcome> {
        self.world.events(self.transferor).find_map(|event| match event {
            Event::TransferEnded { outcome, .. } => Some(*outcome),
            _ => None,
        })
    }

    fn failed(&self, status: u16) {
        assert_eq!(self.outcome(), Some(TransferOutcome::Failed(Status::of(status))));
    }

    fn done(&self) {
        assert_eq!(self.outcome(), Some(TransferOutcome::Done));
        assert!(self.world.calls(self.transferor).is_empty());
    }

    /// The transfer is done, and the one who is called last hangs up.
    fn done_and_over(mut self, phone: HostId) -> (World, usize) {
        self.done();
        self.hang_up(phone);
        (self.world, self.before)
    }

    /// The last call of a phone is hung up.
    fn hang_up(&mut self, phone: HostId) {
        let call = *self.world.calls(phone).last().expect("a call");
        self.act(phone, Command::Hangup { call });
        assert!(self.world.calls(phone).is_empty());
    }
}

/// Phones that follow transfers and report no more than the RFCs' figures have.
fn phones(
    world: &mut World,
    parties: [(&str, &str, SocketAddr); 3],
    change: impl Fn(&mut Settings),
) -> [HostId; 3] {
    let phones = parties.map(|(name, domain, address)| {
        world.store.add_name(domain, address.ip());
        add_phone(world, name, domain, address, &change)
    });
    // Until there are ports to use.
    world.run_for(Duration::from_secs(1));
    phones
}

fn add_phone(
    world: &mut World,
    name: &str,
    domain: &str,
    address: SocketAddr,
    change: impl Fn(&mut Settings),
) -> HostId {
    let mut settings = phone_settings(&format!("sip:{name}@{domain}"), PASSWORD, address, None);
    settings.transfer = TransferSettings {
        referred: ReferPolicy::Accept,
        tells_progress: false,
        ..TransferSettings::default()
    };
    change(&mut settings);
    world.add_host(name, settings, Some(Habits::NONE))
}

fn uri(text: &str) -> UriBuf {
    UriBuf::parse(text).expect("an address")
}

fn call_to(to: &str) -> Command {
    Command::Call { token: 1, to: uri(to), play: Play::Silence }
}

/// Lets somebody do something, and two seconds pass.
fn act(world: &mut World, phone: HostId, command: Command) {
    world.command(phone, command);
    world.run_for(Duration::from_secs(2));
}

/// The last call of a phone is answered.
fn answer(world: &mut World, phone: HostId) {
    let call = *world.calls(phone).last().expect("a call");
    act(world, phone, Command::Answer { call, play: Play::Silence });
}

#[test]
fn our_phones_are_joined_through_the_back_to_back_user_agent() {
    let is_it = |flow: &&Flow| flow.section == "b2bua-attended-transfer";
    crate::compare::check(crate::FLOWS.iter().find(is_it).expect("a flow of ours"));
}

fn check(section: &str, drawn_as: &str) {
    let is_it = |flow: &&Flow| {
        flow.source == Source::Rfc(5589) && flow.section == section && flow.drawn_as == drawn_as
    };
    crate::compare::check(crate::FLOWS.iter().find(is_it).expect("a flow of this section"));
}

#[test]
fn rfc_5589_6_1_successful_transfer() {
    check("6.1", "");
}

#[test]
fn rfc_5589_6_2_transfer_with_dialog_reuse() {
    check("6.2", "");
}

#[test]
fn rfc_5589_6_3_1_target_busy() {
    check("6.3.1", "");
}

#[test]
fn rfc_5589_6_3_2_target_does_not_answer() {
    check("6.3.2", "");
}

#[test]
fn rfc_5589_7_1_exposing_transfer_target() {
    check("7.1", "");
}

#[test]
fn rfc_5589_7_2_protecting_transfer_target() {
    check("7.2", "");
}

#[test]
fn rfc_5589_7_3_attended_transfer() {
    check("7.3", "");
}

#[test]
fn rfc_5589_7_4_one_party_does_not_support_refer() {
    check("7.4", "");
}

#[test]
fn rfc_5589_7_5_contact_not_known_to_be_routable() {
    check("7.5", "Figure 9");
}

#[test]
fn rfc_5589_7_5_address_of_record_fails() {
    check("7.5", "Figure 10");
}

#[test]
fn rfc_5589_7_6_semi_attended_transfer_as_recommended() {
    check("7.6", "Figure 11");
}

#[test]
fn rfc_5589_7_6_semi_attended_transfer_as_blind_transfer() {
    check("7.6", "Figure 12");
}

#[test]
fn rfc_5589_7_7_fallback_to_basic_transfer_using_require() {
    check("7.7", "Figure 14");
}

#[test]
fn rfc_5589_7_7_fallback_to_basic_transfer() {
    check("7.7", "Figure 15");
}

#[test]
fn rfc_5589_8_transfer_with_referred_by() {
    check("8", "");
}
