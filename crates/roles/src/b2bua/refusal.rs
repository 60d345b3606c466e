//! What a leg refuses by itself, each with the headers that its status asks for.

use dialtone_transaction::ServerId;
use dialtone_wire::{HeaderName, Message, Status, Writer};

use crate::context::Context;
use crate::settings::Settings;

/// A final response that refuses a request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Status,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub(super) fn of(code: u16) -> Refusal {
        Refusal { status: Status::of(code), headers: Vec::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl ToString) -> Refusal {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Says why in words (RFC 3261 §20.43, "399 Miscellaneous warning").
    pub(super) fn because(self, settings: &Settings, words: &str) -> Refusal {
        let agent = settings.product.split('/').next().unwrap_or_default();
        self.with(HeaderName::Warning, format_args!("399 {agent} \"{words}\""))
    }

    /// RFC 3261 §14.2: try again after "a random value from the range of 0 to 10 seconds".
    pub(super) fn later(cx: &mut Context<'_>) -> Refusal {
        let seconds = cx.random_u64() % 11;
        Refusal::of(500).with(HeaderName::RetryAfter, seconds)
    }

    pub(super) fn send(&self, cx: &mut Context<'_>, server: ServerId, request: &Message, tag: Option<&str>) {
        let fresh = cx.token();
        let product = cx.settings.product.clone();
        let headers = |writer: &mut Writer| {
            for (name, value) in &self.headers {
                writer.header(*name, value);
            }
            writer.header(HeaderName::Server, &product);
        };
        // A transaction that is gone needs no answer any more.
        let _ = cx.respond(server, request, self.status, Some(tag.unwrap_or(&fresh)), headers, None);
    }
}
