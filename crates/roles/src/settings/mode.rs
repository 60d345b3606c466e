//! How much the proxy remembers of what it forwards.

use dialtone_wire::uri::UriBuf;

/// How much the proxy remembers of a request that it forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing (RFC 3261 §16.11): no transaction, no timer, no answer of its own but refusals.
    Stateless,
    /// The transaction, until its last response (RFC 3261 §16.2).
    Transaction,
    /// Beside that the call, from its INVITE until its BYE, or until its session has run out (RFC 4028 §8).
    #[default]
    Call,
    /// Nothing is forwarded to the users: their callers are told where they are (RFC 3261 §8.3).
    Redirect,
    /// A call is two calls, of which we are an end each: a back-to-back user agent (RFC 3261 §6, RFC 7092). Requests that
    /// begin no call are forwarded as in [`Mode::Transaction`].
    B2bua,
}

impl Mode {
    /// The word of the settings file.
    pub const fn word(self) -> &'static str {
        match self {
            Mode::Stateless => "stateless",
            Mode::Transaction => "transaction",
            Mode::Call => "call",
            Mode::Redirect => "redirect",
            Mode::B2bua => "b2bua",
        }
    }
}

/// Where the requests for a domain go whose registrar is another server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextHops(pub Vec<UriBuf>);

impl NextHops {
    /// Whether the domain is our own to serve.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of several, by a hash of what the requests of a call or a registration have in common.
    pub(crate) fn pick(&self, hash: u64) -> Option<&UriBuf> {
        let count = u64::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        self.0.get(usize::try_from(hash % count).ok()?)
    }
}
