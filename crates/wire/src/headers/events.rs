//! Events (RFC 6665): Event and Subscription-State.

use super::{Params, TypedHeader, split_params, utf8};
use crate::error::Fault;
use crate::header_name::HeaderName;
use crate::scan;

/// Event (RFC 6665 §8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event package with its templates, as `presence.winfo`.
    pub package: &'a str,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> Event<'a> {
    /// What tells two subscriptions of one package apart within a dialog.
    pub fn id(&self) -> Option<&'a str> {
        self.params.value("id")
    }
}

impl<'a> TypedHeader<'a> for Event<'a> {
    const NAME: HeaderName = HeaderName::Event;

    fn parse(value: &'a [u8]) -> Result<Event<'a>, Fault> {
        let (package, params) = split_params(utf8(value)?)?;
        if !scan::is_token_text(package.as_bytes()) {
            return Err(Fault::Expected("an event package"));
        }
        Ok(Event { package, params })
    }
}

/// Subscription-State (RFC 6665 §8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionState<'a> {
    /// `active`, `pending`, `terminated` or another word, in any case.
    pub state: &'a str,
    /// The parameters: `reason`, `expires`, `retry-after`.
    pub params: Params<'a>,
}

impl SubscriptionState<'_> {
    /// Whether nothing more comes.
    pub const fn is_terminated(&self) -> bool {
        self.state.eq_ignore_ascii_case("terminated")
    }

    /// Seconds until it ends unless it is refreshed.
    pub fn expires_s(&self) -> Option<u32> {
        scan::decimal(self.params.value("expires")?.as_bytes())
    }
}

impl<'a> TypedHeader<'a> for SubscriptionState<'a> {
    const NAME: HeaderName = HeaderName::SubscriptionState;

    fn parse(value: &'a [u8]) -> Result<SubscriptionState<'a>, Fault> {
        let (state, params) = split_params(utf8(value)?)?;
        if !scan::is_token_text(state.as_bytes()) {
            return Err(Fault::Expected("the state of a subscription"));
        }
        Ok(SubscriptionState { state, params })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_events_and_states() {
        let event = Event::parse(b"refer;id=93809824").expect("a right value");
        assert_eq!((event.package, event.id()), ("refer", Some("93809824")));
        assert!(Event::parse(b";id=1").is_err());
        assert!(Event::parse(b"a b").is_err());
        let state = SubscriptionState::parse(b"Terminated;reason=noresource").expect("a right value");
        assert!(state.is_terminated());
        assert_eq!(state.expires_s(), None);
        let state = SubscriptionState::parse(b"active;expires=60").expect("a right value");
        assert_eq!((state.is_terminated(), state.expires_s()), (false, Some(60)));
        assert!(SubscriptionState::parse(b"").is_err());
    }
}
