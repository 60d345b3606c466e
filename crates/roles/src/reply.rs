//! What the dial plan answers in our own name: redirections (RFC 3261 §8.3) and refusals with their reason.

use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Status, Writer};
use smol_str::SmolStr;

/// An answer of ours to a request that goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: Status,
    /// Where the caller shall try, the best first.
    pub(crate) contacts: Vec<SmolStr>,
    /// Why, in words for the caller.
    pub(crate) reason: Option<SmolStr>,
    /// Where he is told more: an announcement (RFC 3261 §20.18).
    pub(crate) error_info: Option<UriBuf>,
    /// The rule that says so.
    pub(crate) rule: Option<SmolStr>,
    /// The domain in whose name it is given.
    pub(crate) domain: SmolStr,
}

impl Reply {
    /// Adds what the answer has beside its status. The name of the rule is for those who have shown who they are, or
    /// where nobody has to: to a stranger it tells how the server is set up.
    pub(crate) fn write(&self, writer: &mut Writer, names_rule: bool) {
        for contact in &self.contacts {
            writer.text(HeaderName::Contact, contact);
        }
        if let Some(uri) = &self.error_info {
            writer.header(HeaderName::ErrorInfo, format_args!("<{uri}>"));
        }
        let Reply { reason, domain, .. } = self;
        let rule = self.rule.as_ref().filter(|_| names_rule && self.status.class() != 3);
        // RFC 3261 §20.43: 399 is a warning in words.
        match (rule, reason) {
            (Some(rule), Some(reason)) => {
                writer.header(HeaderName::Warning, format_args!("399 {domain} \"rule {rule}: {reason}\""));
            }
            (Some(rule), None) => {
                writer.header(HeaderName::Warning, format_args!("399 {domain} \"rule {rule}\""));
            }
            (None, Some(reason)) => {
                writer.header(HeaderName::Warning, format_args!("399 {domain} \"{reason}\""));
            }
            (None, None) => {}
        }
    }
}
