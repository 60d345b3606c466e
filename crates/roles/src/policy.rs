//! What is to be done with a request: a pure function of the request and the settings. The engine carries it out.

use dialtone_wire::headers::Contact;
use dialtone_wire::net::Flow;
use dialtone_wire::uri::{SipUri, Uri};
use dialtone_wire::{HeaderName, Message, Method, Status};
use smol_str::{SmolStr, format_smolstr};

mod planned;

use crate::auth::{Side, own_credentials};
use crate::dial_plan::Called;
use crate::events;
use crate::loopback;
use crate::proxy::forward::TOKEN_PARAM;
use crate::proxy::shift::{SHIFT_PARAM, Shift};
use crate::proxy::{Named, Onward, Opens};
use crate::registrar::canonical_aor;
use crate::reply::Reply;
use crate::route_token::{RouteTokens, is_right, mode_of};
use crate::settings::{Destination, Domain, Foreign, Methods, Mode, Robot, Settings, Trunk};
use crate::star_codes;

mod edge;
mod trunk;

/// Routes of ours in one request whose flow is read.
const FLOWS_MAX: usize = 4;

/// What is to be done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    /// For our user agent: a phone, or a dialog of a robot.
    Ua,
    /// Refused.
    Refuse(Status),
    /// Refused, with the option tags that we do not know (420).
    BadExtension,
    /// For the server itself: OPTIONS is answered, other methods are refused.
    ServerItself,
    /// A REGISTER for this domain.
    Register {
        /// The name of the domain.
        domain: SmolStr,
        /// The canonical address-of-record that To names.
        aor: SmolStr,
    },
    /// A SUBSCRIBE of somebody who watches a registration (RFC 3680).
    Watch {
        /// The name of the domain.
        domain: SmolStr,
        /// The canonical address-of-record.
        aor: SmolStr,
    },
    /// For a robot.
    Robot {
        /// The name of the domain that it was called in.
        domain: SmolStr,
        /// The robot, as it was when the request came: the settings may change before a password is checked.
        robot: Robot,
        /// Whether anybody may call it.
        unasked: bool,
    },
    /// Answered by us, as the dial plan says.
    Reply {
        /// The answer.
        reply: Reply,
        /// Whether it is only for those who have shown a password.
        asks: bool,
    },
    /// A star code: its caller changes what is done with his own calls.
    StarCode {
        /// The name of the domain that it was called in.
        domain: SmolStr,
        /// What was dialled.
        dialled: SmolStr,
    },
    /// For a user or a group of ours.
    To {
        /// The name of the domain that was called.
        domain: SmolStr,
        /// Who.
        destination: Destination,
        /// How it goes on.
        onward: Onward,
    },
    /// From a trunk, to one of its numbers or where a rule for it says.
    FromTrunk {
        /// The place.
        destination: Destination,
        /// How it goes on.
        onward: Onward,
    },
    /// Goes where its Route or Request-URI says.
    Route {
        /// How it goes on.
        onward: Onward,
        /// Whether its sender must be a user of ours.
        authenticate: bool,
    },
}

impl Decision {
    /// The realm whose users may send this, and how they are asked; `None` when everybody may. A caller is asked for
    /// the password of the domain that he says he is from, whichever domain of ours he calls.
    pub(crate) fn asks(&self, settings: &Settings, request: &Message) -> Option<(Side, SmolStr)> {
        if !settings.authenticate {
            return None;
        }
        let is_in = |methods: Methods| request.method().is_some_and(|method| methods.contains(method));
        let in_dialog = || is_in(settings.digest.in_dialog) && matches!(request.to_tag(), Ok(Some(_)));
        match self {
            // What we forget at once can't wait for a password: who has the user asks for it.
            Decision::To { onward, .. } if onward.mode == Mode::Stateless => None,
            Decision::Register { domain, .. } => Some((Side::Server, domain.clone())),
            Decision::Watch { domain, .. } => {
                let own = callers_domain(settings, request);
                Some((Side::Server, own.unwrap_or_else(|| domain.clone())))
            }
            Decision::Robot { .. } if is_in(settings.digest.free) => None,
            // What leads out of the domain, over a trunk say, always needs one.
            Decision::To { destination: Destination::User(_) | Destination::Group(_), .. }
                if is_in(settings.digest.free) =>
            {
                None
            }
            Decision::Robot { unasked: true, .. } => None,
            Decision::To { onward, .. } if onward.unasked => None,
            Decision::Robot { domain, .. }
            | Decision::StarCode { domain, .. }
            | Decision::To { domain, .. }
            | Decision::Reply { reply: Reply { domain, .. }, asks: true } => {
                let own = callers_domain(settings, request);
                Some((Side::Proxy, own.unwrap_or_else(|| domain.clone())))
            }
            Decision::Route { authenticate: true, .. } => {
                let first = || settings.domains.first().map(|domain| domain.name.clone());
                Some((Side::Proxy, callers_domain(settings, request).or_else(first)?))
            }
            // Within a dialog only users of ours have a password with us.
            Decision::Route { .. } if in_dialog() => Some((Side::Proxy, callers_domain(settings, request)?)),
            Decision::Ua if in_dialog() => Some((Side::Server, callers_domain(settings, request)?)),
            Decision::Route { .. }
            | Decision::Reply { .. }
            | Decision::FromTrunk { .. }
            | Decision::Ua
            | Decision::Refuse(_)
            | Decision::BadExtension
            | Decision::ServerItself => None,
        }
    }
}

impl Decision {
    /// How much is remembered of the request.
    pub(crate) fn mode(&self) -> Mode {
        match self {
            Decision::To { onward, .. }
            | Decision::Route { onward, .. }
            | Decision::FromTrunk { onward, .. } => onward.mode,
            _ => Mode::Call,
        }
    }

    /// Whether the request is forwarded, and nothing of it kept.
    pub(crate) fn is_stateless(&self) -> bool {
        self.mode() == Mode::Stateless
    }
}

/// The domain of ours that From names.
fn callers_domain(settings: &Settings, request: &Message) -> Option<SmolStr> {
    let from = request.from().ok()?;
    let uri = from.uri.as_sip()?;
    let domain = settings.domain_of(&uri.host, uri.port)?;
    domain.next_hops.is_empty().then(|| domain.name.clone())
}

/// Decides about a request that came on a flow. `is_our_dialog` says whether it belongs to a dialog of our user agent,
/// `trunk` which trunk it comes from, `unix_s` is the time, for the hours of the dial plan.
pub(crate) fn decide(
    settings: &Settings,
    tokens: &RouteTokens,
    request: &Message,
    came: &Flow,
    is_our_dialog: bool,
    trunk: Option<&Trunk>,
    unix_s: u64,
) -> Decision {
    if is_our_dialog || settings.domains.is_empty() {
        return Decision::Ua;
    }
    let own = own_routes(settings, tokens, request, came);
    let is_ack = request.method() == Some(&Method::Ack);
    let from_trunk = trunk.and_then(|trunk| trunk::decide(settings, tokens, request, &own, trunk, unix_s));
    let mut decision =
        from_trunk.unwrap_or_else(|| decide_target(settings, tokens, request, came, &own, unix_s));
    if let Decision::To { onward, .. } | Decision::Route { onward, .. } | Decision::FromTrunk { onward, .. } =
        &mut decision
    {
        onward.credentials = own_credentials(settings, request);
        if onward.record_route.is_some() && onward.sender.is_none() && needs_flow(request, came) {
            onward.sender = Some(tokens.flows.make(came, onward.mode, Opens::Dialog));
        }
    }
    let forwards =
        matches!(decision, Decision::To { .. } | Decision::Route { .. } | Decision::FromTrunk { .. });
    if forwards && request.max_forwards().ok().flatten() == Some(0) {
        // RFC 3261 §16.3 step 3; §11: an OPTIONS that ends here may be answered.
        let is_options = request.method() == Some(&Method::Options);
        return if is_options { Decision::ServerItself } else { Decision::Refuse(Status::of(483)) };
    }
    // RFC 3261 §16.3 step 5: we know no option that a proxy would have to know. An ACK can't be refused.
    if forwards && !is_ack && request.has(HeaderName::ProxyRequire) {
        return Decision::BadExtension;
    }
    decision
}

fn decide_target(
    settings: &Settings,
    tokens: &RouteTokens,
    request: &Message,
    came: &Flow,
    own: &OwnRoutes,
    unix_s: u64,
) -> Decision {
    // The other side of a call has its token too: it opens that dialog, and nothing that begins outside of one.
    let in_dialog = own.in_dialog;
    if let Some(Named { flow, mode, opens }) = &own.flow
        && (*opens == Opens::Path || in_dialog)
        && !is_gruu(settings, request)
    {
        // RFC 5626 §5.3: only we can have written that, and it leads to that phone and nowhere else.
        let onward = own.onward(tokens, request, *mode);
        let receiver = onward.record_route.as_ref().map(|_| tokens.flows.make(flow, *mode, Opens::Dialog));
        let by_path = *opens == Opens::Path;
        let onward = Onward { flow: Some(*flow), by_path, receiver, ..onward };
        return Decision::Route { onward, authenticate: false };
    }
    let onward = || own.onward(tokens, request, own.mode);
    let more_routes = request.values(HeaderName::Route).count() > own.count;
    if more_routes {
        return if in_dialog {
            Decision::Route { onward: onward(), authenticate: false }
        } else {
            relay(settings, onward)
        };
    }
    let (user, domain, uri) = match request.uri() {
        // Within a dialog it is a contact.
        Ok(Uri::Sip(uri)) if in_dialog && !settings.is_own_hop(&uri) => {
            return Decision::Route { onward: onward(), authenticate: false };
        }
        Ok(Uri::Sip(uri)) => match settings.domain_of(&uri.host, uri.port) {
            Some(domain) => (uri.called_user(), domain, Some(uri)),
            None if request.method() == Some(&Method::Register) => return Decision::Refuse(Status::of(404)),
            None => {
                let (user, host) = (uri.called_user().unwrap_or_default(), planned::host_text(&uri.host));
                let onward = |asked: Option<Mode>| own.onward(tokens, request, asked.unwrap_or(own.mode));
                return foreign(settings, tokens, request, &user, &host, unix_s, onward);
            }
        },
        // A number is dialled as a user of our first domain; a local one needs its context (RFC 3966 §5.1.5).
        Ok(Uri::Tel(tel)) if tel.is_complete() => match settings.domains.first() {
            Some(domain) => (Some(SmolStr::from_iter(tel.digits())), domain, None),
            None => return Decision::Refuse(Status::of(404)),
        },
        Ok(Uri::Tel(_)) => return Decision::Refuse(Status::of(484)),
        Ok(_) => return Decision::Refuse(Status::of(416)),
        Err(_) => return Decision::Refuse(Status::of(400)),
    };
    if domain.mode == Mode::B2bua && !in_dialog && is_within_call(request) {
        // RFC 3261 §12.2.2: all calls of this domain are ours, and it is none of them.
        return Decision::Refuse(Status::of(481));
    }
    let onward = || own.onward_to(tokens, request, domain);
    if !domain.next_hops.is_empty() {
        return edge::decide(tokens, request, came, user.is_some(), domain, uri.as_ref(), onward());
    }
    if request.method() == Some(&Method::Register) {
        return register(settings, request);
    }
    let Some(user) = user else { return Decision::ServerItself };
    if request.method() == Some(&Method::Subscribe) && !in_dialog {
        let watched = uri.as_ref().filter(|uri| !uri.params.has("gr") && events::is_served(request));
        if let Some(uri) = watched {
            return Decision::Watch { domain: domain.name.clone(), aor: canonical_aor(uri, &domain.name) };
        }
    }
    let begins_call = request.method() == Some(&Method::Invite) && !in_dialog;
    if begins_call && star_codes::is_taken(settings, domain, &user) {
        return Decision::StarCode { domain: domain.name.clone(), dialled: user };
    }
    // A dialog goes on where it has begun, whatever the plan says by now.
    if in_dialog || settings.dial_plan.is_empty() {
        return local_user(settings, tokens, user, &domain.name, uri.as_ref(), onward());
    }
    // What a rule leads elsewhere may need a tree of branches, which nobody forgets at once.
    let mode = match domain.mode {
        Mode::Stateless | Mode::Redirect => Mode::Call,
        Mode::Transaction | Mode::Call | Mode::B2bua => domain.mode,
    };
    let elsewhere = |asked: Option<Mode>| own.onward(tokens, request, asked.unwrap_or(mode));
    match planned::consult(settings, request, &user, Called::Own(domain), unix_s, elsewhere) {
        planned::Consulted::Decided(decision) => *decision,
        planned::Consulted::User { user: to, domain: of, unasked, nobody, mode } => {
            // The parameters of the Request-URI are about the user that was called.
            let uri = uri.as_ref().filter(|_| to == user && of == domain.name);
            let onward = mode.map_or_else(onward, |mode| own.onward(tokens, request, mode));
            local_user(settings, tokens, to, &of, uri, Onward { unasked, nobody, ..onward })
        }
    }
}

/// Whether a request belongs to some call, by its To tag and what it asks for.
fn is_within_call(request: &Message) -> bool {
    let of_calls = matches!(
        request.method(),
        Some(Method::Invite | Method::Bye | Method::Prack | Method::Update | Method::Info)
    );
    of_calls && matches!(request.to_tag(), Ok(Some(_)))
}

/// A REGISTER for a domain of ours.
fn register(settings: &Settings, request: &Message) -> Decision {
    let Ok(to) = request.to() else { return Decision::Refuse(Status::of(400)) };
    // RFC 3261 §10.2: "this address-of-record MUST be a SIP URI or SIPS URI".
    let Some(uri) = to.uri.as_sip() else { return Decision::Refuse(Status::of(400)) };
    // RFC 3261 §10.3 step 5: the address-of-record must be of this domain.
    match uri.user.and_then(|_| settings.domain_of(&uri.host, uri.port)) {
        Some(own) => Decision::Register { domain: own.name.clone(), aor: canonical_aor(uri, &own.name) },
        None => Decision::Refuse(Status::of(404)),
    }
}

/// For a user of a domain of ours, or for a robot.
fn local_user(
    settings: &Settings,
    tokens: &RouteTokens,
    user: SmolStr,
    name: &SmolStr,
    uri: Option<&SipUri<'_>>,
    onward: Onward,
) -> Decision {
    if let Some(robot) = settings.robots.iter().find(|robot| robot.user == user) {
        return Decision::Robot { domain: name.clone(), robot: robot.clone(), unasked: onward.unasked };
    }
    let aor = match uri {
        // RFC 5627 §6.1: it leads to one device.
        Some(uri) if uri.params.has("gr") => match tokens.gruus.read(uri).flatten() {
            Some(gruu) => gruu.key(&canonical_aor(uri, name)),
            None => return Decision::Refuse(Status::of(404)),
        },
        Some(uri) => canonical_aor(uri, name),
        None => format_smolstr!("sip:{}@{name}", dialtone_wire::uri::escape_user(&user)),
    };
    let (domain, mut onward) = (name.clone(), onward);
    let is_device = uri.is_some_and(|uri| uri.params.has("gr"));
    // What belongs to a dialog needs no password, wherever its contact leads.
    onward.unasked |= is_device && onward.in_dialog;
    if is_device {
        return Decision::To { domain, destination: Destination::User(aor), onward };
    }
    if let Some(group) = settings.group_called(&user, name) {
        if onward.mode == Mode::Stateless {
            // Several phones can't ring without a response context.
            onward.mode = Mode::Transaction;
        }
        return Decision::To { domain, destination: Destination::Group(group.name.clone()), onward };
    }
    Decision::To { domain, destination: Destination::User(aor), onward }
}

/// For a domain that is not ours.
fn foreign(
    settings: &Settings,
    tokens: &RouteTokens,
    request: &Message,
    user: &str,
    host: &str,
    unix_s: u64,
    onward: impl Fn(Option<Mode>) -> Onward,
) -> Decision {
    match planned::consult(settings, request, user, Called::Foreign(host), unix_s, &onward) {
        planned::Consulted::Decided(decision) => *decision,
        planned::Consulted::User { user, domain, unasked, nobody, mode } => {
            local_user(settings, tokens, user, &domain, None, Onward { unasked, nobody, ..onward(mode) })
        }
    }
}

/// Along a route that the request brings with it, past us to another server: as to a foreign domain, since the rules
/// speak of where a call goes and not of ways.
fn relay(settings: &Settings, onward: impl Fn() -> Onward) -> Decision {
    match settings.foreign {
        Foreign::Refuse => Decision::Refuse(Status::of(403)),
        Foreign::Authenticated => Decision::Route { onward: onward(), authenticate: true },
        Foreign::Open => Decision::Route { onward: onward(), authenticate: false },
    }
}

/// The topmost Route values that name us (RFC 3261 §16.4).
#[derive(Debug, Default)]
struct OwnRoutes {
    count: usize,
    /// One of them carried the token of this call: the request belongs to a dialog that went through us.
    token_is_right: bool,
    local: Option<std::net::SocketAddr>,
    /// The mode of the call, by its token.
    mode: Mode,
    /// The flow that the last of them names, other than that by which the request came.
    flow: Option<Named>,
    /// The request belongs to a dialog that went through us.
    in_dialog: bool,
    /// How requests of this side of the dialog differ on the other one.
    shift: Option<Shift>,
}

fn own_routes(settings: &Settings, tokens: &RouteTokens, request: &Message, came: &Flow) -> OwnRoutes {
    let mut own = OwnRoutes::default();
    let mut made = None;
    for route in request.addresses(HeaderName::Route) {
        let Ok(route) = route else { break };
        let Some(uri) = route.uri.as_sip() else { break };
        if !settings.is_own_hop(uri) {
            break;
        }
        own.count += 1;
        own.local = uri.host.ip().map(|ip| std::net::SocketAddr::new(ip, uri.port_or_default()));
        if let Some(token) = uri.params.value(TOKEN_PARAM) {
            // Made once, however many routes a request claims to have: all of ours in one call are alike.
            let mode = mode_of(token);
            let made = made.get_or_insert_with(|| tokens.make(request.call_id().unwrap_or(""), mode));
            if is_right(made, token) {
                own.token_is_right = true;
                own.mode = mode;
            }
        }
        // A call between two phones of ours passes us twice, each time with up to two values.
        let named = uri.user.filter(|_| own.count <= FLOWS_MAX).and_then(|user| tokens.flows.read(user));
        own.flow = named.filter(|named| !is_same(&named.flow, came));
        if let Some(came) = uri.params.value(SHIFT_PARAM) {
            own.shift = own.shift.or_else(|| Shift::read(came, &tokens.trunks, request));
        }
    }
    own.in_dialog = own.token_is_right && matches!(request.to_tag(), Ok(Some(_)));
    own
}

/// Whether the Request-URI is a GRUU of a user whom we have: it is its binding that leads to the phone.
fn is_gruu(settings: &Settings, request: &Message) -> bool {
    let Ok(Uri::Sip(uri)) = request.uri() else { return false };
    let own = || settings.domain_of(&uri.host, uri.port).is_some_and(|domain| domain.next_hops.is_empty());
    uri.params.has("gr") && own()
}

/// Whether requests of a dialog reach the sender of this one only on the flow by which it came: we are its first hop,
/// and it has opened a connection, is behind a NAT, or asks for it (RFC 5626 §5.3.2).
fn needs_flow(request: &Message, came: &Flow) -> bool {
    if loopback::is_loopback(came) {
        return false;
    }
    let is_direct = || request.values(HeaderName::Via).nth(1).is_none();
    if came.connection.is_some() {
        return is_direct();
    }
    let Ok(via) = request.via() else { return false };
    let has_ob = |text: &[u8]| text.windows(3).any(|part| part == b";ob");
    let is_elsewhere = via.host.ip().is_some_and(|ip| ip != came.remote.ip());
    if !is_elsewhere && !request.value(HeaderName::Contact).is_some_and(has_ob) {
        return false;
    }
    let Some(Ok(Contact::Address(contact))) = request.contacts().next() else { return false };
    let Some(uri) = contact.uri.as_sip() else { return false };
    is_direct() && (uri.params.has("ob") || (is_elsewhere && uri.host.ip() == via.host.ip()))
}

/// Whether two flows lead to the same peer.
fn is_same(one: &Flow, other: &Flow) -> bool {
    (one.transport, one.remote) == (other.transport, other.remote)
}

impl OwnRoutes {
    /// On to a domain of ours, which may want its calls without us. Of such a call nothing is seen but its beginning.
    fn onward_to(&self, tokens: &RouteTokens, request: &Message, domain: &Domain) -> Onward {
        match (domain.leaves_path, domain.mode) {
            (_, Mode::Redirect) => Onward {
                record_route: None,
                redirects: true,
                ..self.onward(tokens, request, Mode::Transaction)
            },
            // Whoever is an end of a call can't leave its path.
            (_, Mode::B2bua) => self.onward(tokens, request, Mode::B2bua),
            (false, mode) => self.onward(tokens, request, mode),
            (true, Mode::Stateless) => {
                Onward { record_route: None, ..self.onward(tokens, request, Mode::Stateless) }
            }
            (true, Mode::Transaction | Mode::Call) => {
                Onward { record_route: None, ..self.onward(tokens, request, Mode::Transaction) }
            }
        }
    }

    fn onward(&self, tokens: &RouteTokens, request: &Message, mode: Mode) -> Onward {
        let starts_dialog = matches!(
            request.method(),
            Some(Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
        ) && (request.method() == Some(&Method::Invite)
            || matches!(request.to_tag(), Ok(None)));
        let begins_call = request.method() == Some(&Method::Invite) && matches!(request.to_tag(), Ok(None));
        let mode = if mode == Mode::B2bua && !begins_call { Mode::Transaction } else { mode };
        let record_route =
            starts_dialog.then(|| request.call_id().ok()).flatten().map(|call_id| tokens.make(call_id, mode));
        let (own_routes, local, in_dialog, shift) = (self.count, self.local, self.in_dialog, self.shift);
        Onward { own_routes, local, in_dialog, record_route, mode, shift, ..Onward::default() }
    }
}
