//! A redirect server (RFC 3261 §8.3) for the users of a domain: where their phones are is told to the caller.

use dialtone_wire::{HeaderName, Status};
use smol_str::{SmolStr, format_smolstr};

use super::ResponseContext;
use super::target::Target;
use crate::binding::Binding;
use crate::context::Context;

impl ResponseContext {
    /// Answers with 302 and the contacts of a user, those with the greatest q first; nothing is forwarded. How long a
    /// contact will be registered is not told: the caller is to ask again for the next call (§21.3.3).
    pub(super) fn redirect(&mut self, cx: &mut Context<'_>, bindings: &[Binding]) {
        let mut ranked: Vec<&Binding> = bindings.iter().collect();
        ranked.sort_by_key(|binding| std::cmp::Reverse(binding.q_milli));
        let contacts = ranked.iter().take(cx.settings.limits.branches).map(|binding| contact(binding));
        let contacts: Vec<SmolStr> = contacts.collect();
        cx.core.counters.redirected += 1;
        self.answered = true;
        let tag = cx.token();
        cx.respond(
            self.server,
            &self.request,
            Status::of(302),
            Some(&tag),
            |writer| {
                for contact in &contacts {
                    writer.text(HeaderName::Contact, contact);
                }
            },
            None,
        );
    }
}

/// A binding as a Contact value; the q that it was registered with says how it ranks.
fn contact(binding: &Binding) -> SmolStr {
    let uri = Target::of_binding(binding).uri.unwrap_or_default();
    match binding.q_milli {
        1000 => format_smolstr!("<{uri}>"),
        q => format_smolstr!("<{uri}>;q=0.{q:03}"),
    }
}
