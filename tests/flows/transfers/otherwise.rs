//! RFC 5589 §7.4 to §7.7: where one of the parties can't do its part, or the target has not answered yet.

use std::net::SocketAddr;
use std::time::Duration;

use dialtone_sim::roles::io::{CallHandle, Command, EndReason, Event};
use dialtone_sim::roles::settings::dial_plan::{Action, Rule};
use dialtone_sim::roles::settings::{Mode, Settings};
use dialtone_sim::{HostId, World, server_settings};
use dialtone_wire::Status;
use dialtone_wire::uri::UriBuf;

use super::old_phone::OldPhone;
use super::{
    A_HOP_LESS, Contacts, HELD, IS_200, RFC_5589, TARGET, TARGET_URI, TRANSFEREE, TRANSFEROR, TRANSFEROR_URI,
    Three, add_phone, call_to,
};
use crate::Flow;
use crate::fields::Field;

pub(crate) const NO_REFER: Flow = Flow {
    section: "7.4",
    title: "Recovery When One Party Does Not Support REFER",
    text: "The transferee's phone does not know REFER and says 501. It knows Replaces, so the transferor's phone sends the \
           target to it instead, as in §7.2. (The transferee is played by hand. The RFC draws its BYE after the last NOTIFY.)",
    begins: "\
Transferee -> Transferor: INVITE 180 200 ACK
Transferor -> Transferee: INVITE 200 ACK
Transferor -> Transfer Target: INVITE 180 200 ACK
Transferor -> Transfer Target: INVITE 200 ACK",
    figure: "\
Transferor -> Transferee: REFER 501
Transferor -> Transfer Target: REFER 202
Transfer Target -> Transferor: NOTIFY 200
Transfer Target -> Transferee: INVITE 200 ACK
Transferee -> Transferor: BYE 200
Transfer Target -> Transferor: NOTIFY 200
Transferor -> Transfer Target: BYE 200
Transfer Target -> Transferee: BYE 200",
    differences: &[("F18", Field::Status, IS_200)],
    play: || {
        let mut three = Three::new(Contacts::Gruus);
        three.world.add_agent("transferee", TRANSFEREE, Box::new(OldPhone::without_refer()));
        let invite = OldPhone::invite("transferee@biloxi.example.com", TRANSFEREE, TRANSFEROR_URI);
        three.world.send(TRANSFEREE, TRANSFEROR, invite);
        three.world.run_for(Duration::from_secs(2));
        three.answer(three.transferor);
        three.hold();
        let consultation = three.consult();
        three.act(three.transferor, Command::Reoffer { call: consultation, hold: true });
        three.join(consultation);
        let target = three.target;
        three.done_and_over(target)
    },
    ..RFC_5589
};

const PROXY: SocketAddr = crate::address(34);
const FOUR: &[(&str, SocketAddr)] = &[
    ("Transferor", TRANSFEROR),
    ("Transferee", TRANSFEREE),
    ("Screening Proxy", PROXY),
    ("Transfer Target", TARGET),
];
const ROUTE: &str = "the transferor's phone is set up with the proxy as a route";

const CONSULTED_BY_PROXY: &str = "\
Transferee -> Transferor: INVITE 180 200 ACK
Transferor -> Transferee: INVITE 200 ACK
Transferor -> Screening Proxy: INVITE=F1 100
Screening Proxy -> Transfer Target: INVITE 180
Transferor -> Screening Proxy: 180
Screening Proxy -> Transfer Target: 200
Transferor -> Screening Proxy: 200=F2
Transferor -> Transfer Target: ACK
Transferor -> Transfer Target: INVITE 200 ACK";

pub(crate) const BY_ADDRESS: Flow = Flow {
    section: "7.5",
    drawn_as: "Figure 9",
    title: "Attended Transfer with a Contact URI Not Known to Be Globally Routable",
    text: "The target's Contact is no GRUU: whether it leads anywhere from outside of the call is not known. So the \
           transferee is sent to the target's address-of-record, with `Require: replaces`: another phone of the target \
           that knows nothing of the call would refuse. The proxy stays out of what follows an INVITE. (The RFC draws \
           some requests of the consultation through it, and some past it.)",
    participants: FOUR,
    begins: CONSULTED_BY_PROXY,
    figure: "\
Transferor -> Transferee: REFER=F3 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Screening Proxy: INVITE=F4 100
Screening Proxy -> Transfer Target: INVITE 200
Transferee -> Screening Proxy: 200
Transferee -> Transfer Target: ACK
Transfer Target -> Transferor: BYE 200
Transferee -> Transferor: NOTIFY=F5 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200",
    differences: &[
        ("F8", Field::Route, ROUTE),
        ("F20", Field::Status, IS_200),
        ("F23", Field::MaxForwards, A_HOP_LESS),
    ],
    shows: &[("F23", Field::Requires, "replaces")],
    play: || {
        let (mut three, consultation) = screened(|_| {});
        three.join(consultation);
        let target = three.target;
        three.done_and_over(target)
    },
    ..RFC_5589
};

pub(crate) const ADDRESS_FAILS: Flow = Flow {
    section: "7.5",
    drawn_as: "Figure 10",
    title: "Attended Transfer with Non-Routable Contact URI and AOR Failure",
    text: "As Figure 9, but the proxy does not let the transferee call the target (403). The transferor's phone tries once \
           more, with the target's Contact, and that works. The two REFERs of one dialog are told apart by the `id` of \
           their NOTIFYs. (The RFC draws the second INVITE through the proxy; a Contact that is an address leads past it.)",
    participants: FOUR,
    begins: CONSULTED_BY_PROXY,
    figure: "\
Transferor -> Transferee: REFER=F3 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Screening Proxy: INVITE 403 ACK
Transferee -> Transferor: NOTIFY=F4 200
Transferor -> Transferee: REFER=F5 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE=F6 200 ACK
Transfer Target -> Transferor: BYE 200
Transferee -> Transferor: NOTIFY=F7 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200",
    differences: &[
        ("F8", Field::Route, ROUTE),
        ("F20", Field::Status, IS_200),
        ("F29", Field::Status, IS_200),
        ("F32", Field::MaxForwards, A_HOP_LESS),
        (
            "F32",
            Field::Parties,
            "a REFER that names the Contact does not say what address the target has beside it",
        ),
    ],
    shows: &[("F32", Field::Requires, "")],
    play: || {
        let (mut three, consultation) = screened(|settings| {
            settings.dial_plan.rules.push(Rule {
                name: "screening".into(),
                numbers: vec!["transfertarget".parse().expect("a pattern")],
                domains: Vec::new(),
                callers: Vec::new(),
                times: None,
                strip: 0,
                prepend: "".into(),
                action: Action::Refuse { status: Status::of(403), reason: None, error_info: None },
                mode: None,
            });
        });
        three.join(consultation);
        let target = three.target;
        three.done_and_over(target)
    },
    ..RFC_5589
};

/// The transferor has spoken with the target, who is behind a proxy; then the proxy gets other settings.
fn screened(later: fn(&mut Settings)) -> (Three, CallHandle) {
    let mut world = World::new(5589);
    let mut settings = server_settings("chicago.example.com", PROXY, 1);
    settings.authenticate = false;
    settings.domains[0].leaves_path = true;
    settings.domains[0].mode = Mode::Transaction;
    let proxy = world.add_host("Screening Proxy", settings, None);
    world.store.add_user("chicago.example.com", "transfertarget", crate::raw::PASSWORD);
    for (name, address) in [
        ("atlanta.example.com", TRANSFEROR),
        ("biloxi.example.com", TRANSFEREE),
        ("chicago.example.com", PROXY),
    ] {
        world.store.add_name(name, address.ip());
    }
    let phone = |world: &mut World, name, domain, address, proxy: Option<&str>| -> HostId {
        let proxy = proxy.map(|proxy| UriBuf::parse(proxy).expect("an address"));
        add_phone(world, name, domain, address, |settings| {
            settings.account.as_mut().expect("a phone").proxy = proxy.clone();
        })
    };
    let own = Some("sip:192.0.2.34;lr");
    let transferor = phone(&mut world, "transferor", "atlanta.example.com", TRANSFEROR, own);
    let transferee = phone(&mut world, "transferee", "biloxi.example.com", TRANSFEREE, None);
    let target = phone(&mut world, "transfertarget", "chicago.example.com", TARGET, None);
    world.run_for(Duration::from_secs(1));
    crate::people::register(&mut world, target);
    let mut three = Three { world, before: 0, transferor, transferee, target, call: None };
    three.before = three.world.packets().len();
    three.call_and_hold();
    let consultation = three.consult();
    three.act(three.transferor, Command::Reoffer { call: consultation, hold: true });
    three.world.reload_at(three.world.now(), proxy, later);
    (three, consultation)
}

pub(crate) const RECOMMENDED: Flow = Flow {
    section: "7.6",
    drawn_as: "Figure 11",
    title: "Semi-Attended Transfer as Recommended",
    text: "The transferor does not want to wait until the target answers: its phone waits, and as soon as the target answers \
           it joins the two. Until then the target hears what the phone plays.",
    begins: HELD,
    figure: "\
Transferor -> Transfer Target: INVITE 180
Transferor -> Transfer Target: 200 ACK
Transferor -> Transferee: REFER 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE 200 ACK
Transfer Target -> Transferor: BYE 200
Transferee -> Transferor: NOTIFY 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200",
    differences: &[("F13", Field::Status, IS_200)],
    shows: &[("F16", Field::Requires, "replaces")],
    play: || {
        let mut three = Three::held(Contacts::Gruus);
        three.act(three.transferor, call_to(TARGET_URI));
        let early = three.world.calls(three.transferor)[1];
        three.join(early);
        assert_eq!(three.outcome(), None);
        three.answer(three.target);
        let target = three.target;
        three.done_and_over(target)
    },
    ..RFC_5589
};

pub(crate) const SEMI_ATTENDED: Flow = Flow {
    section: "7.6",
    drawn_as: "Figure 12",
    title: "Semi-Attended Transfer as Blind Transfer",
    text: "The transferor gives up waiting for the target to answer, and sends the transferee there in its place. The RFC \
           does not recommend that: between CANCEL and REFER the target may have picked up. (It recommends Figure 13 even \
           less, which keeps a call that was answered in spite of its CANCEL: our phone hangs up there.)",
    begins: HELD,
    figure: "\
Transferor -> Transfer Target: INVITE 180
Transferor -> Transfer Target: CANCEL 200
Transferor -> Transfer Target: 487 ACK
Transferor -> Transferee: REFER 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE 180 200 ACK
Transferee -> Transferor: NOTIFY 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200",
    differences: &[("F15", Field::Status, IS_200)],
    play: || {
        let mut three = Three::held(Contacts::Gruus);
        three.act(three.transferor, call_to(TARGET_URI));
        let early = three.world.calls(three.transferor)[1];
        three.act(three.transferor, Command::Hangup { call: early });
        three.transfer();
        three.answer(three.target);
        let target = three.target;
        three.done_and_over(target)
    },
    ..RFC_5589
};

pub(crate) const REQUIRED: Flow = Flow {
    section: "7.7",
    drawn_as: "Figure 14",
    title: "Attended Transfer Fallback to Basic Transfer Using Require: replaces",
    text: "The transferor knows from the start that it is going to join the two, and calls the target with `Require: replaces` \
           (as a header of the URI that it calls). The target does not know that (420), and the transferor sends the \
           transferee there instead. (The target is played by hand. The RFC asks the transferee by OPTIONS what it knows; here \
           its INVITE has said so.)",
    begins: HELD,
    figure: "\
Transferor -> Transfer Target: INVITE 420 ACK
Transferor -> Transferee: REFER 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE 200 ACK
Transferee -> Transferor: NOTIFY 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200",
    differences: &[("F12", Field::Status, IS_200)],
    shows: &[("F8", Field::Requires, "replaces"), ("F15", Field::Requires, "")],
    play: || {
        let mut three = Three::held(Contacts::Gruus);
        three.world.add_agent("target", TARGET, Box::new(OldPhone::without_replaces()));
        three.act(three.transferor, call_to(&format!("{TARGET_URI}?Require=replaces")));
        let refused = |event: &Event| matches!(event, Event::Ended { reason: EndReason::Refused(status), .. } if status.code() == 420);
        assert!(three.world.events(three.transferor).any(refused));
        three.transfer();
        three.done();
        // The target hangs up.
        three.world.run_for(OldPhone::TALK);
        assert!(three.world.calls(three.transferee).is_empty());
        (three.world, 0)
    },
    ..RFC_5589
};

pub(crate) const FALLBACK: Flow = Flow {
    section: "7.7",
    drawn_as: "Figure 15",
    title: "Attended Transfer Fallback to Basic Transfer",
    text: "The target has not said that it knows Replaces, and is asked by OPTIONS when the transferor wants to join the two: \
           it knows neither that nor REFER. So the transferor's phone hangs up there and sends the transferee to the \
           target's address. (The target is played by hand. The RFC asks the transferee too; here its INVITE has said that \
           it knows both.)",
    begins: HELD,
    figure: "\
Transferor -> Transfer Target: INVITE 200 ACK
Transferor -> Transfer Target: OPTIONS 200
Transferor -> Transfer Target: BYE 200
Transferor -> Transferee: REFER 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE 200 ACK
Transferee -> Transferor: NOTIFY 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200",
    differences: &[("F16", Field::Status, IS_200)],
    shows: &[("F15", Field::Refer, "Refer-To: <sip:transfertarget@chicago.example.com>")],
    play: || {
        let mut three = Three::held(Contacts::Gruus);
        three.world.add_agent("target", TARGET, Box::new(OldPhone::without_replaces()));
        three.act(three.transferor, call_to(TARGET_URI));
        let consultation = three.world.calls(three.transferor)[1];
        three.join(consultation);
        three.done();
        // The target hangs up.
        three.world.run_for(OldPhone::TALK);
        assert!(three.world.calls(three.transferee).is_empty());
        (three.world, 0)
    },
    ..RFC_5589
};
