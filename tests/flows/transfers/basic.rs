//! RFC 5589 §6: the transferor sends the transferee to somebody who knows nothing of it.

use dialtone_sim::roles::io::Command;
use dialtone_wire::Status;

use super::{A_HOP_LESS, Contacts, HELD, IS_200, OWN_GRUU, RFC_5589, Three};
use crate::Flow;
use crate::fields::Field;

const SENT_AND_ANSWERED: &str = "\
Transferor -> Transferee: REFER=F3 202
Transferee -> Transferor: NOTIFY=F4 200
Transferee -> Transfer Target: INVITE=F5 180 200 ACK
Transferee -> Transferor: NOTIFY=F6 200
Transferor -> Transferee: BYE 200
Transfer Target -> Transferee: BYE 200";

pub(crate) const SUCCESSFUL: Flow = Flow {
    section: "6.1",
    title: "Successful Transfer",
    text: "The transferor holds the transferee and sends him to the target. The transferee's Contact is a GRUU and its phone \
           knows Target-Dialog, so the REFER goes in a dialog of its own and names the call; what became of it is told \
           there. The transferor hangs up.",
    begins: HELD,
    figure: SENT_AND_ANSWERED,
    differences: &[
        ("F8", Field::Parties, OWN_GRUU),
        ("F9", Field::Status, IS_200),
        ("F10", Field::Parties, OWN_GRUU),
        ("F12", Field::MaxForwards, A_HOP_LESS),
        ("F16", Field::Parties, OWN_GRUU),
    ],
    shows: &[
        ("F8", Field::Refer, "Refer-To: <sip:transfertarget@chicago.example.com>"),
        ("F8", Field::Requires, "tdialog"),
        ("F8", Field::ToTag, "false"),
        ("F10", Field::Told, "refer; active; SIP/2.0 100 Trying"),
        ("F16", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK"),
    ],
    play: || transferred(Contacts::Gruus),
    ..RFC_5589
};

pub(crate) const DIALOG_REUSE: Flow = Flow {
    section: "6.2",
    title: "Transfer with Dialog Reuse",
    text: "As §6.1, but the Contacts of these phones are no GRUUs: the REFER goes within the dialog of the call. The RFC \
           leaves out that a phone rings (180).",
    begins: HELD,
    figure: SENT_AND_ANSWERED,
    differences: &[("F9", Field::Status, IS_200), ("F12", Field::MaxForwards, A_HOP_LESS)],
    shows: &[
        ("F8", Field::Refer, "Refer-To: <sip:transfertarget@chicago.example.com>"),
        ("F10", Field::Told, "refer; active; SIP/2.0 100 Trying"),
        ("F16", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 200 OK"),
    ],
    play: || transferred(Contacts::Addresses),
    ..RFC_5589
};

pub(crate) const BUSY: Flow = Flow {
    section: "6.3.1",
    title: "Failed Transfer - Target Busy",
    text: "The target is busy. The transferor is told so and takes the call back, which it held; then it hangs up.",
    begins: HELD,
    figure: "\
Transferor -> Transferee: REFER 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE 180 486 ACK
Transferee -> Transferor: NOTIFY 200
Transferor -> Transferee: INVITE 200 ACK
Transferor -> Transferee: BYE 200",
    differences: &[("F9", Field::Status, IS_200)],
    shows: &[
        ("F5", Field::Direction, "sendonly"),
        ("F16", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 486 Busy Here"),
        ("F18", Field::Direction, "sendrecv"),
    ],
    play: || {
        let mut three = Three::held(Contacts::Gruus);
        three.transfer();
        let at_target = three.world.calls(three.target)[0];
        three.act(three.target, Command::Decline { call: at_target, status: Status::of(486) });
        three.failed(486);
        three.hang_up(three.transferor);
        (three.world, 0)
    },
    ..RFC_5589
};

pub(crate) const NO_ANSWER: Flow = Flow {
    section: "6.3.2",
    title: "Failed Transfer - Transfer Target Does Not Answer",
    text: "The target's phone rings until the transferee gets tired of waiting. The transferor is told so, takes the call \
           back and hangs up.",
    begins: HELD,
    figure: "\
Transferor -> Transferee: REFER 202
Transferee -> Transferor: NOTIFY 200
Transferee -> Transfer Target: INVITE 180
Transferee -> Transfer Target: CANCEL 200
Transferee -> Transfer Target: 487 ACK
Transferee -> Transferor: NOTIFY 200
Transferor -> Transferee: INVITE 200 ACK
Transferor -> Transferee: BYE 200",
    differences: &[("F9", Field::Status, IS_200)],
    shows: &[("F18", Field::Told, "refer; terminated;reason=noresource; SIP/2.0 487 Request Terminated")],
    play: || {
        let mut three = Three::held(Contacts::Gruus);
        three.transfer();
        let second = three.world.calls(three.transferee)[1];
        three.act(three.transferee, Command::Hangup { call: second });
        three.failed(487);
        three.hang_up(three.transferor);
        (three.world, 0)
    },
    ..RFC_5589
};

fn transferred(contacts: Contacts) -> (dialtone_sim::World, usize) {
    let mut three = Three::held(contacts);
    three.transfer();
    three.answer(three.target);
    let target = three.target;
    three.done_and_over(target)
}
