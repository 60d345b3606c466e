//! What one shard knows of the trunks: which of their addresses answer, which calls run over them, and what they ask
//! passwords for. [`keeper`] finds that out; one shard does it for each trunk and tells the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use dialtone_dialog::digest::{
    Attempt, ClientError, DigestClient, OutgoingRequest, Secret as DigestSecret, Side,
};
use dialtone_wire::auth::Challenge;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Message};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::listing::ListedTrunk;
use crate::route_token::is_right;
use crate::settings::{Account, Secret, Settings, Trunk, TrunkAccess};

pub(crate) mod keeper;

/// The parameter of the Contact that we register: what comes to it comes from the registrar.
pub(crate) const CONTACT_PARAM: &str = "dtt";
/// Addresses that the names of one trunk stand for at most.
const ADDRESSES_MAX: usize = 32;
/// How long a call over a trunk counts at most.
const CALL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Repeated requests within dialogs whose ACK is awaited at most.
const REPEATED_MAX: usize = 10_000;

/// Whether an address answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HopState {
    /// It was not asked, or has not answered yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl HopState {
    /// The word for it in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            HopState::Unknown => "unknown",
            HopState::Up => "up",
            HopState::Down => "down",
        }
    }
}

/// Word of the shard that looks after a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkNews {
    /// An address answers, or does not any more.
    Hop {
        /// Its place in the list.
        hop: usize,
        /// Whether it answers.
        up: bool,
    },
    /// A name of the trunk stands for this address.
    Address(IpAddr),
    /// Whether our registration stands.
    Registered(bool),
}

/// Makes the words by which we know again what we wrote into Contacts and Record-Routes.
#[derive(Clone)]
pub(crate) struct TrunkTokens(Hmac<Sha256>);

impl TrunkTokens {
    pub(crate) fn new(secret: &Secret) -> TrunkTokens {
        let mut keyed = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
        keyed.update(b"trunk\0");
        TrunkTokens(keyed)
    }

    /// The word for a text.
    pub(crate) fn make(&self, text: &str) -> SmolStr {
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        let hash = mac.finalize().into_bytes();
        let digits = hash[..8].iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
    }
}

impl std::fmt::Debug for TrunkTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrunkTokens(..)")
    }
}

/// The trunks of one shard.
#[derive(Debug)]
pub(crate) struct Trunks {
    pub(crate) tokens: TrunkTokens,
    states: BTreeMap<SmolStr, State>,
    /// The trunk of each call that runs over one, and since when, by Call-ID.
    calls: BTreeMap<SmolStr, (SmolStr, Instant)>,
    /// The repetition that was sent of a request within a dialog, by Call-ID and the caller's CSeq number.
    repeated: BTreeMap<(SmolStr, u32), (u32, Instant)>,
}

#[derive(Debug)]
struct State {
    digest: DigestClient,
    hops: Vec<HopState>,
    addresses: BTreeSet<IpAddr>,
    registered: Option<bool>,
    calls: usize,
}

impl Trunks {
    pub(crate) fn new(secret: &Secret) -> Trunks {
        let tokens = TrunkTokens::new(secret);
        Trunks { tokens, states: BTreeMap::new(), calls: BTreeMap::new(), repeated: BTreeMap::new() }
    }

    /// Takes the trunks of new settings. What is known of those that stay is kept.
    pub(crate) fn configure(&mut self, settings: &Settings) {
        self.states.retain(|name, _| settings.trunk(name).is_some());
        for trunk in &settings.trunks {
            let state = self.states.entry(trunk.name.clone()).or_insert_with(|| State {
                digest: DigestClient::new(false),
                hops: Vec::new(),
                addresses: BTreeSet::new(),
                registered: None,
                calls: 0,
            });
            state.hops.resize(trunk.hops().len(), HopState::Unknown);
        }
    }

    /// Takes word of a trunk; says whether it is news.
    pub(crate) fn note(&mut self, trunk: &str, news: TrunkNews) -> bool {
        let Some(state) = self.states.get_mut(trunk) else { return false };
        match news {
            TrunkNews::Hop { hop, up } => {
                let now = if up { HopState::Up } else { HopState::Down };
                state.hops.get_mut(hop).is_some_and(|state| std::mem::replace(state, now) != now)
            }
            TrunkNews::Address(ip) => state.addresses.len() < ADDRESSES_MAX && state.addresses.insert(ip),
            TrunkNews::Registered(now) => state.registered.replace(now) != Some(now),
        }
    }

    /// The addresses of a trunk in the order in which they are tried: those that don't answer come last, since a probe
    /// may be wrong.
    pub(crate) fn order(&self, trunk: &Trunk) -> Vec<usize> {
        let is_down = |hop: &usize| {
            let state = self.states.get(&trunk.name).and_then(|state| state.hops.get(*hop));
            state == Some(&HopState::Down)
        };
        let (down, mut order): (Vec<usize>, Vec<usize>) = (0..trunk.hops().len()).partition(is_down);
        order.extend(down);
        order
    }

    /// The trunk that a request comes from: by its address, or by the Contact that we registered. Where we register, a
    /// phone may share the address: who names a domain of ours in From is a user, and is asked for his password.
    pub(crate) fn source<'s>(
        &self,
        settings: &'s Settings,
        request: &Message,
        flow: Flow,
    ) -> Option<&'s Trunk> {
        let ip = flow.remote.ip();
        let shown =
            request.uri().ok().and_then(|uri| Some(uri.as_sip()?.params.value(CONTACT_PARAM)?.to_smolstr()));
        let is_user = || {
            let from = request.from().ok().and_then(|from| {
                let uri = from.uri.as_sip()?;
                settings.domain_of(&uri.host, uri.port)
            });
            from.is_some()
        };
        settings.trunks.iter().find(|trunk| {
            let registers = matches!(trunk.access, TrunkAccess::Registrar { .. });
            let knows_contact = || {
                let knows = |shown: &SmolStr| is_right(&contact_token(&self.tokens, &trunk.name), shown);
                registers && shown.as_ref().is_some_and(knows)
            };
            let is_learned =
                || self.states.get(&trunk.name).is_some_and(|state| state.addresses.contains(&ip));
            knows_contact() || ((trunk.has_address(ip) || is_learned()) && !(registers && is_user()))
        })
    }

    /// Counts a call over a trunk; false if there are as many as there may be.
    pub(crate) fn begin_call(&mut self, now: Instant, trunk: &Trunk, call_id: &str) -> bool {
        let key = call_key(call_id);
        if self.calls.get(&key).is_some_and(|(name, _)| *name == trunk.name) {
            return true;
        }
        let is_old = |(_, since): &(SmolStr, Instant)| now.since(*since) >= CALL_MAX;
        let full = |trunks: &Trunks| {
            trunks.states.get(&trunk.name).is_none_or(|state| state.calls >= trunk.calls_max)
        };
        if full(self) {
            let old: Vec<SmolStr> =
                self.calls.iter().filter(|(_, call)| is_old(call)).map(|(key, _)| key.clone()).collect();
            old.iter().for_each(|key| self.end_call(key));
            if full(self) {
                return false;
            }
        }
        self.end_call(&key);
        if let Some(state) = self.states.get_mut(&trunk.name) {
            state.calls += 1;
            self.calls.insert(key, (trunk.name.clone(), now));
        }
        true
    }

    /// Takes a call out that goes on at another shard: its trunk, and since when it counts.
    pub(crate) fn take_call(&mut self, call_id: &str) -> Option<(SmolStr, Instant)> {
        let call = self.calls.get(&call_key(call_id)).cloned()?;
        self.end_call(call_id);
        Some(call)
    }

    /// Takes a call in that has begun at another shard: it counts, however many there are.
    pub(crate) fn put_call(&mut self, call_id: &str, call: (SmolStr, Instant)) {
        if let Some(state) = self.states.get_mut(&call.0) {
            state.calls += 1;
            self.calls.insert(call_key(call_id), call);
        }
    }

    /// A call is over, whichever way it went.
    pub(crate) fn end_call(&mut self, call_id: &str) {
        if self.calls.is_empty() {
            return;
        }
        if let Some((trunk, _)) = self.calls.remove(&call_key(call_id))
            && let Some(state) = self.states.get_mut(&trunk)
        {
            state.calls = state.calls.saturating_sub(1);
        }
    }

    /// Takes the challenges of a response from a trunk.
    ///
    /// # Errors
    /// When they can't be answered.
    pub(crate) fn challenged(
        &mut self,
        trunk: &str,
        account: Option<&Account>,
        attempt: &mut Attempt,
        response: &Message,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<(), ClientError> {
        let nobody = || ClientError::NoCredentials { realm: SmolStr::default() };
        let state = self.states.get_mut(trunk).ok_or_else(nobody)?;
        let account = account.ok_or_else(nobody)?;
        let mut secret_of = |_: &str| {
            Some(DigestSecret::Password {
                username: account.auth_user.clone(),
                password: account.password.0.clone(),
            })
        };
        state.digest.handle_challenges(attempt, &challenges_of(response), &mut secret_of, random)
    }

    /// The credentials for a request to a trunk, as header lines: those that it has asked for.
    pub(crate) fn credentials(
        &mut self,
        trunk: &str,
        attempt: &mut Attempt,
        request: &OutgoingRequest<'_>,
    ) -> Vec<(HeaderName, SmolStr)> {
        let Some(state) = self.states.get_mut(trunk) else { return Vec::new() };
        let lines = state.digest.authorize(attempt, request).into_iter();
        lines
            .map(|(side, credentials)| match side {
                Side::UserAgent => (HeaderName::Authorization, credentials.to_smolstr()),
                Side::Proxy => (HeaderName::ProxyAuthorization, credentials.to_smolstr()),
            })
            .collect()
    }

    /// A request within a dialog was repeated: its ACK will need the number of that repetition.
    pub(crate) fn remember_repeated(
        &mut self,
        until: Instant,
        now: Instant,
        call_id: &str,
        number: u32,
        step: u32,
    ) {
        if self.repeated.len() >= REPEATED_MAX {
            self.repeated.retain(|_, (_, until)| *until > now);
        }
        if self.repeated.len() < REPEATED_MAX {
            self.repeated.insert((call_key(call_id), number), (step, until));
        }
    }

    /// The repetition of a request within a dialog that was taken.
    pub(crate) fn repeated(&self, call_id: &str, number: u32) -> Option<u32> {
        if self.repeated.is_empty() {
            return None;
        }
        self.repeated.get(&(call_key(call_id), number)).map(|(step, _)| *step)
    }

    /// All trunks, for whoever watches.
    pub(crate) fn list(&self, settings: &Settings) -> Vec<ListedTrunk> {
        let listed = |trunk: &Trunk| {
            let state = self.states.get(&trunk.name)?;
            let hops = trunk.hops().iter().map(|hop| SmolStr::new(hop.as_str()));
            Some(ListedTrunk {
                name: trunk.name.clone(),
                hops: hops.zip(state.hops.iter().copied()).collect(),
                registered: state.registered,
                calls: state.calls,
                calls_max: trunk.calls_max,
            })
        };
        settings.trunks.iter().filter_map(listed).collect()
    }

    /// Calls that run over trunks.
    #[cfg(test)]
    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }
}

/// What the Contact of our registration says, which nobody but the registrar is told.
pub(crate) fn contact_token(tokens: &TrunkTokens, trunk: &str) -> SmolStr {
    // No Call-ID begins with a line end.
    tokens.make(&format_smolstr!("\n{trunk}"))
}

/// Tells a trunk in the parameter of a Record-Route, without its name.
pub(crate) fn trunk_id(tokens: &TrunkTokens, trunk: &str) -> u32 {
    u32::from_str_radix(&contact_token(tokens, trunk)[..7], 16).unwrap_or(0)
}

/// As call records cut it.
fn call_key(call_id: &str) -> SmolStr {
    SmolStr::new(&call_id[..call_id.floor_char_boundary(256)])
}

fn challenges_of(response: &Message) -> Vec<(Side, Challenge)> {
    let sides =
        [(Side::UserAgent, HeaderName::WwwAuthenticate), (Side::Proxy, HeaderName::ProxyAuthenticate)];
    let values =
        sides.into_iter().flat_map(|(side, name)| response.values(name).map(move |value| (side, value)));
    values.filter_map(|(side, value)| Some((side, Challenge::parse(value).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialtone_wire::uri::UriBuf;

    fn trunk(name: &str, calls_max: usize) -> Trunk {
        let hops = ["sip:192.0.2.1", "sip:192.0.2.2", "sip:192.0.2.3"];
        let hops = hops.map(|hop| UriBuf::parse(hop).expect("a URI")).to_vec();
        Trunk { calls_max, ..Trunk::new(name, TrunkAccess::Addresses(hops)) }
    }

    fn trunks(of: &[Trunk]) -> Trunks {
        let mut trunks = Trunks::new(&Secret([1; 32]));
        trunks.configure(&Settings { trunks: of.to_vec(), ..Settings::new(Secret([1; 32])) });
        trunks
    }

    #[test]
    fn addresses_that_do_not_answer_come_last_and_are_not_forgotten() {
        let one = trunk("one", 1);
        let mut trunks = trunks(std::slice::from_ref(&one));
        assert_eq!(trunks.order(&one), [0, 1, 2]);
        assert!(trunks.note("one", TrunkNews::Hop { hop: 0, up: false }));
        assert!(!trunks.note("one", TrunkNews::Hop { hop: 0, up: false }), "no news");
        assert_eq!(trunks.order(&one), [1, 2, 0]);
        trunks.note("one", TrunkNews::Hop { hop: 1, up: false });
        trunks.note("one", TrunkNews::Hop { hop: 2, up: false });
        assert_eq!(trunks.order(&one), [0, 1, 2], "a probe may be wrong");
        trunks.note("one", TrunkNews::Hop { hop: 2, up: true });
        assert_eq!(trunks.order(&one), [2, 0, 1]);
        assert!(
            !trunks.note("one", TrunkNews::Hop { hop: 3, up: true })
                && !trunks.note("x", TrunkNews::Registered(true))
        );
    }

    #[test]
    fn a_trunk_carries_as_many_calls_as_it_may() {
        let (one, two) = (trunk("one", 2), trunk("two", 1));
        let mut trunks = trunks(&[one.clone(), two.clone()]);
        let at = Instant::from_millis;
        assert!(trunks.begin_call(at(0), &one, "a") && trunks.begin_call(at(0), &one, "b"));
        assert!(trunks.begin_call(at(1), &one, "a"), "the same call again");
        assert!(!trunks.begin_call(at(1), &one, "c"));
        assert!(trunks.begin_call(at(1), &two, "a"), "it moved to another trunk");
        assert!(trunks.begin_call(at(1), &one, "c"));
        trunks.end_call("a");
        trunks.end_call("a");
        assert!(trunks.begin_call(at(1), &two, "d"));
        assert!(!trunks.begin_call(at(86_399_999), &one, "e"));
        assert!(
            trunks.begin_call(at(86_400_001), &one, "e"),
            "whose end nobody saw is forgotten after a day"
        );
        assert_eq!(trunks.calls(), 1);
    }
}
