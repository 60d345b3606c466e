//! RFC 5589 §7.1 to §7.3 and §8: the transferor speaks with the target first.

use dialtone_sim::World;
use dialtone_sim::roles::io::{Command, TransferTo};

use super::{A_HOP_LESS, CONSULTED, Contacts, IS_200, OWN_GRUU, RFC_5589, Three};
use crate::Flow;
use crate::fields::Field;

pub(crate) const EXPOSED: Flow = Flow {
    section: "7.1",
    title: "Exposing Transfer Target",
    text: "The transferor speaks with the target first, hangs up there, and then sends the transferee to the target, who \
           rings again.",
    begins: CONSULTED,
    figure: "\
Transferor -> Transfer Target: BYE 200
Transferor -> Transferee: REFER 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE 180 200 ACK
Transferee -> Transferor: NOTIFY 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200",
    differences: &[("F15", Field::Status, IS_200)],
    play: || {
        let (mut three, consultation) = Three::consulted(Contacts::Gruus);
        three.act(three.transferor, Command::Hangup { call: consultation });
        three.transfer();
        three.answer(three.target);
        let target = three.target;
        three.done_and_over(target)
    },
    ..RFC_5589
};

pub(crate) const PROTECTED: Flow = Flow {
    section: "7.2",
    title: "Protecting Transfer Target",
    text: "The transferor sends the target to the transferee, whose call with the transferor is replaced: so the transferee \
           does not learn how the target is called. Which of two calls is given away, and in place of which, is all that \
           differs from §7.3.",
    begins: CONSULTED,
    figure: "\
Transferor -> Transfer Target: INVITE 200 ACK
Transferor -> Transfer Target: REFER=F5 202
Transfer Target -> Transferor: NOTIFY 200
Transfer Target -> Transferee: INVITE=F6 200 ACK
Transferee -> Transferor: BYE 200
Transfer Target -> Transferor: NOTIFY 200
Transferor -> Transfer Target: BYE 200
Transferee -> Transfer Target: BYE 200",
    differences: ATTENDED_DIFFERS,
    play: || {
        let (mut three, consultation) = Three::consulted(Contacts::Gruus);
        three.act(three.transferor, Command::Reoffer { call: consultation, hold: true });
        let to = TransferTo::Call(three.call.expect("it is held"));
        three.act(three.transferor, Command::Transfer { call: consultation, to });
        let transferee = three.transferee;
        three.done_and_over(transferee)
    },
    ..RFC_5589
};

const JOINED: &str = "\
Transferor -> Transfer Target: INVITE 200 ACK
Transferor -> Transferee: REFER=F5 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE=F6 200 ACK
Transfer Target -> Transferor: BYE 200
Transferee -> Transferor: NOTIFY 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200";

const ATTENDED_DIFFERS: &[(&str, Field, &str)] = &[
    ("F15", Field::Parties, OWN_GRUU),
    ("F16", Field::Status, IS_200),
    ("F19", Field::MaxForwards, A_HOP_LESS),
    ("F19", Field::Parties, OWN_GRUU),
];

pub(crate) const ATTENDED: Flow = Flow {
    section: "7.3",
    title: "Attended Transfer",
    text: "The transferor speaks with the target and joins the two: the transferee's INVITE takes the place of the call \
           between transferor and target (Replaces), whose BYE the target sends.",
    begins: CONSULTED,
    figure: JOINED,
    differences: ATTENDED_DIFFERS,
    shows: &[("F15", Field::Requires, "tdialog"), ("F19", Field::Requires, "replaces")],
    play: joined,
    ..RFC_5589
};

pub(crate) const REFERRED_BY: Flow = Flow {
    section: "8",
    title: "Transfer with Referred-By",
    text: "The attended transfer of §7.3; Referred-By says who has asked for it, and the transferee hands it on as it came. \
           The RFC's has a token too, a body that the transferor has signed (S/MIME), for a target that wants proof: ours \
           sends none, and a target that asks for one (429) is told of to the transferor like any other failure.",
    begins: CONSULTED,
    figure: JOINED,
    differences: ATTENDED_DIFFERS,
    shows: &[
        ("F15", Field::ReferredBy, "<sip:transferor@atlanta.example.com>"),
        ("F19", Field::ReferredBy, "<sip:transferor@atlanta.example.com>"),
    ],
    play: joined,
    ..RFC_5589
};

fn joined() -> (World, usize) {
    let (mut three, consultation) = Three::consulted(Contacts::Gruus);
    three.act(three.transferor, Command::Reoffer { call: consultation, hold: true });
    three.join(consultation);
    let target = three.target;
    three.done_and_over(target)
}
