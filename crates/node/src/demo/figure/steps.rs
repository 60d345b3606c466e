//! The steps of the deck, and what of them has passed.

use std::net::SocketAddr;

use dialtone_wire::headers::{Contact, TypedHeader as _, Via};
use dialtone_wire::time::Instant;
use dialtone_wire::uri::SipUri;
use dialtone_wire::{HeaderName, Message, Method};

use super::{FRANCE_TELECOM, NAMES, P1, P2, REDIRECT, REGISTRAR, ROB, TIN};
use crate::demo::capture::{Passed, Step};

/// A step of the deck that the figure shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeckStep {
    /// "REGISTER Authentication".
    Registration,
    /// "Redirect Server", of the types of devices.
    Redirection,
    /// "Registrar", of the types of devices: it stores where users are.
    Location,
    /// The first figure of "Proxy dialog stateful".
    Invite,
    /// The second.
    Ringing,
    /// The third.
    Answer,
    /// The fourth.
    Acknowledgement,
    /// The fifth.
    Hangup,
    /// "Remove registration".
    Removal,
}

impl DeckStep {
    /// All, in the order in which they come.
    pub const ALL: [DeckStep; 9] = [
        DeckStep::Registration,
        DeckStep::Redirection,
        DeckStep::Location,
        DeckStep::Invite,
        DeckStep::Ringing,
        DeckStep::Answer,
        DeckStep::Acknowledgement,
        DeckStep::Hangup,
        DeckStep::Removal,
    ];

    /// The name that stands beside the messages.
    pub fn label(self) -> &'static str {
        match self {
            DeckStep::Registration => "Registration",
            DeckStep::Redirection => "Redirect server",
            DeckStep::Location => "Registrar",
            DeckStep::Invite => "Dialog stateful 1/5",
            DeckStep::Ringing => "Dialog stateful 2/5",
            DeckStep::Answer => "Dialog stateful 3/5",
            DeckStep::Acknowledgement => "Dialog stateful 4/5",
            DeckStep::Hangup => "Dialog stateful 5/5",
            DeckStep::Removal => "Remove registration",
        }
    }

    /// The slide, and what is to be seen there.
    pub fn meaning(self) -> &'static str {
        match self {
            DeckStep::Registration => {
                "\"REGISTER Authentication\": Rob's phone shows his password to the registrar"
            }
            DeckStep::Redirection => "\"SIP devices types\": a 302 sends Tin to another destination",
            DeckStep::Location => "\"SIP devices types\": it knows where Rob is, and tells P2",
            DeckStep::Invite => {
                "\"Messages traversal\" [Via]: each proxy adds its Via, and P1 its Record-Route"
            }
            DeckStep::Ringing => "\"Messages traversal\" [Via]: the response loses them one by one",
            DeckStep::Answer => "the same, and Record-Route tells Tin of P1",
            DeckStep::Acknowledgement => {
                "\"Messages traversal\" [Record-Route]: by Route through P1, past P2"
            }
            DeckStep::Hangup => "the same from the other side",
            DeckStep::Removal => "\"Remove registration\": Rob's phone is switched off",
        }
    }
}

/// A message that passed, with what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Who sent what to whom, and when.
    pub step: Step,
    /// The step of the deck that it belongs to.
    pub deck: Option<DeckStep>,
    /// Whose Via values it has, from the topmost on; who is none of the boxes stands there as in the message.
    pub via: Vec<String>,
    /// Whose Record-Route values it has, likewise. A box that writes two, one for each of its sides (RFC 5658), stands
    /// there once.
    pub record_route: Vec<String>,
    /// Whose Route values it has, likewise.
    pub route: Vec<String>,
    /// The URI of the Contact of a redirection.
    pub contact: Option<String>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// Which.
    pub deck: DeckStep,
    /// What of it did not pass, or passed otherwise; `None` when all was as in the deck.
    pub missing: Option<String>,
}

/// Reads what passed.
pub(super) struct Reader<'a> {
    places: &'a [SocketAddr],
    count: usize,
    start: Option<Instant>,
    /// CSeq numbers of INVITEs to the redirect server.
    redirected: Vec<u32>,
}

impl Reader<'_> {
    /// The boxes are at these addresses.
    pub(super) fn new(places: &[SocketAddr]) -> Reader<'_> {
        Reader { places, count: 0, start: None, redirected: Vec::new() }
    }

    /// Reads the next message.
    pub(super) fn read(&mut self, passed: &Passed) -> Shown {
        self.count += 1;
        let start = *self.start.get_or_insert(passed.at);
        let step = passed.step(start, self.count, &NAMES);
        let Some(message) = passed.message() else {
            let (via, record_route, route) = (Vec::new(), Vec::new(), Vec::new());
            return Shown { step, deck: None, via, record_route, route, contact: None };
        };
        Shown {
            step,
            deck: self.deck(passed, &message),
            via: self.vias(&message),
            record_route: self.hops(&message, HeaderName::RecordRoute),
            route: self.hops(&message, HeaderName::Route),
            contact: redirection(&message),
        }
    }

    fn deck(&mut self, passed: &Passed, message: &Message) -> Option<DeckStep> {
        let cseq = message.cseq().ok()?;
        let status = message.status().map(|status| status.code());
        match &cseq.method {
            Method::Register if ends_registration(message) => Some(DeckStep::Removal),
            Method::Register => Some(DeckStep::Registration),
            Method::Bye => Some(DeckStep::Hangup),
            Method::Invite | Method::Ack => {
                if message.is_request()
                    && message.uri_text().ends_with(FRANCE_TELECOM)
                    && !self.redirected.contains(&cseq.number)
                {
                    self.redirected.push(cseq.number);
                }
                Some(match (status, &cseq.method) {
                    _ if self.redirected.contains(&cseq.number) => DeckStep::Redirection,
                    _ if passed.from == REGISTRAR || passed.to == Ok(REGISTRAR) => DeckStep::Location,
                    (Some(100), _) | (None, Method::Invite) => DeckStep::Invite,
                    (None, _) => DeckStep::Acknowledgement,
                    (Some(101..=199), _) => DeckStep::Ringing,
                    (Some(200..=299), _) => DeckStep::Answer,
                    (Some(_), _) => return None,
                })
            }
            _ => None,
        }
    }

    fn vias(&self, message: &Message) -> Vec<String> {
        let name = |value: &[u8]| match Via::parse(value) {
            Ok(via) => match via.host.ip() {
                Some(ip) => self.name(SocketAddr::new(ip, via.port_or_default())),
                None => via.sent_by.to_owned(),
            },
            Err(_) => String::from_utf8_lossy(value).into_owned(),
        };
        message.values(HeaderName::Via).map(name).collect()
    }

    fn hops(&self, message: &Message, header: HeaderName) -> Vec<String> {
        let place = |uri: &SipUri<'_>| Some(SocketAddr::new(uri.host.ip()?, uri.port_or_default()));
        let hops = message.addresses(header).map(|hop| match hop {
            Ok(hop) => match hop.uri.as_sip().and_then(place) {
                Some(address) => self.name(address),
                None => hop.uri_text.to_owned(),
            },
            Err(_) => "?".to_owned(),
        });
        let mut hops: Vec<String> = hops.collect();
        hops.dedup();
        hops
    }

    fn name(&self, address: SocketAddr) -> String {
        let place = self.places.iter().position(|place| *place == address);
        place.map_or_else(|| address.to_string(), |place| NAMES[place].to_owned())
    }
}

/// Whether a REGISTER, or the answer to it, leaves no binding.
fn ends_registration(message: &Message) -> bool {
    let is_zero = |contact: Contact<'_>| match contact {
        Contact::Address(contact) => contact.params.value("expires") == Some("0"),
        Contact::Star => true,
    };
    if message.is_request() {
        let all = message.value(HeaderName::Expires) == Some(b"0");
        return all || message.contacts().flatten().any(is_zero);
    }
    let is_success = message.status().is_some_and(|status| status.class() == 2);
    is_success && message.contacts().next().is_none()
}

fn redirection(message: &Message) -> Option<String> {
    message.status().filter(|status| status.class() == 3)?;
    match message.contacts().next()?.ok()? {
        Contact::Address(contact) => Some(contact.uri_text.to_owned()),
        Contact::Star => None,
    }
}

/// A message that must pass in a step.
struct Wanted {
    from: usize,
    to: usize,
    /// What it begins with: a method or a status.
    message: &'static str,
    /// Its Via values from the topmost on; none says nothing about them.
    via: &'static [usize],
    record_route: &'static [usize],
    route: &'static [usize],
}

const fn wanted(from: usize, to: usize, message: &'static str) -> Wanted {
    Wanted { from, to, message, via: &[], record_route: &[], route: &[] }
}

impl Wanted {
    const fn via(self, via: &'static [usize]) -> Wanted {
        Wanted { via, ..self }
    }

    const fn recorded(self) -> Wanted {
        Wanted { record_route: &[P1], ..self }
    }

    const fn routed(self) -> Wanted {
        Wanted { route: &[P1], ..self }
    }
}

const fn table(step: DeckStep) -> &'static [Wanted] {
    match step {
        DeckStep::Registration => {
            &const {
                [
                    wanted(ROB, REGISTRAR, "REGISTER"),
                    wanted(REGISTRAR, ROB, "401"),
                    wanted(REGISTRAR, ROB, "200"),
                ]
            }
        }
        DeckStep::Redirection => {
            &const {
                [
                    wanted(TIN, P1, "INVITE").via(&[TIN]).routed(),
                    wanted(P1, REDIRECT, "INVITE").via(&[P1, TIN]).recorded(),
                    wanted(REDIRECT, P1, "302").via(&[P1, TIN]),
                    wanted(P1, REDIRECT, "ACK").via(&[P1]),
                    wanted(P1, TIN, "302").via(&[TIN]),
                    wanted(TIN, P1, "ACK").via(&[TIN]).routed(),
                ]
            }
        }
        DeckStep::Location => {
            &const {
                [
                    wanted(P2, REGISTRAR, "INVITE").via(&[P2, P1, TIN]).recorded(),
                    wanted(REGISTRAR, P2, "302").via(&[P2, P1, TIN]),
                    wanted(P2, REGISTRAR, "ACK").via(&[P2]),
                ]
            }
        }
        DeckStep::Invite => {
            &const {
                [
                    wanted(TIN, P1, "INVITE").via(&[TIN]).routed(),
                    wanted(P1, P2, "INVITE").via(&[P1, TIN]).recorded(),
                    wanted(P2, ROB, "INVITE").via(&[P2, P1, TIN]).recorded(),
                ]
            }
        }
        DeckStep::Ringing => {
            &const {
                [
                    wanted(ROB, P2, "180").via(&[P2, P1, TIN]).recorded(),
                    wanted(P2, P1, "180").via(&[P1, TIN]).recorded(),
                    wanted(P1, TIN, "180").via(&[TIN]).recorded(),
                ]
            }
        }
        DeckStep::Answer => {
            &const {
                [
                    wanted(ROB, P2, "200").via(&[P2, P1, TIN]).recorded(),
                    wanted(P2, P1, "200").via(&[P1, TIN]).recorded(),
                    wanted(P1, TIN, "200").via(&[TIN]).recorded(),
                ]
            }
        }
        DeckStep::Acknowledgement => {
            &const { [wanted(TIN, P1, "ACK").via(&[TIN]).routed(), wanted(P1, ROB, "ACK").via(&[P1, TIN])] }
        }
        DeckStep::Hangup => {
            &const {
                [
                    wanted(ROB, P1, "BYE").via(&[ROB]).routed(),
                    wanted(P1, TIN, "BYE").via(&[P1, ROB]),
                    wanted(TIN, P1, "200").via(&[P1, ROB]),
                    wanted(P1, ROB, "200").via(&[ROB]),
                ]
            }
        }
        DeckStep::Removal => &const { [wanted(ROB, REGISTRAR, "REGISTER"), wanted(REGISTRAR, ROB, "200")] },
    }
}

/// Holds what passed against the deck.
pub(super) fn judge(ladder: &[Shown]) -> Vec<StepReport> {
    let report = |deck: &DeckStep| StepReport { deck: *deck, missing: missing(ladder, *deck) };
    DeckStep::ALL.iter().map(report).collect()
}

fn missing(ladder: &[Shown], deck: DeckStep) -> Option<String> {
    let of_step = || ladder.iter().filter(|shown| shown.deck == Some(deck));
    if matches!(deck, DeckStep::Acknowledgement | DeckStep::Hangup)
        && let Some(shown) =
            of_step().find(|shown| [&shown.step.from, &shown.step.to].contains(&&NAMES[P2].to_owned()))
    {
        return Some(format!("{} {} passed P2", shown.step.number, shown.step.message));
    }
    table(deck).iter().find_map(|wanted| wanted.missing(of_step()))
}

impl Wanted {
    fn missing<'a>(&self, ladder: impl Iterator<Item = &'a Shown>) -> Option<String> {
        let (from, to) = (NAMES[self.from], NAMES[self.to]);
        let mut near = None;
        for shown in ladder {
            let Step { from: sender, to: receiver, message, arrived, .. } = &shown.step;
            if sender != from || receiver != to || !message.starts_with(self.message) {
                continue;
            }
            // One that is right is enough: nothing is missing then.
            let problem = if *arrived { self.differs(shown)? } else { "never arrived".to_owned() };
            near = Some(format!("{} {} from {from} to {to} {problem}", shown.step.number, self.message));
        }
        Some(near.unwrap_or_else(|| format!("no {} from {from} to {to}", self.message)))
    }

    fn differs(&self, shown: &Shown) -> Option<String> {
        let names = |places: &[usize]| places.iter().map(|place| NAMES[*place]).collect::<Vec<_>>();
        let pairs = [
            ("Via", &shown.via, self.via),
            ("Record-Route", &shown.record_route, self.record_route),
            ("Route", &shown.route, self.route),
        ];
        pairs.into_iter().find_map(|(header, found, wanted)| {
            // Registrations have no path that the deck speaks of.
            let is_asked = !self.via.is_empty();
            let wanted = names(wanted);
            (is_asked && *found != wanted).then(|| {
                let words =
                    |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(" ") };
                let found: Vec<&str> = found.iter().map(String::as_str).collect();
                format!("has {header} {} in place of {}", words(&found), words(&wanted))
            })
        })
    }
}
