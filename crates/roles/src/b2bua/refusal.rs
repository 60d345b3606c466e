//! What a leg refuses by itself, each with the header that its status asks for.

use dialtone_transaction::ServerId;
use dialtone_wire::{HeaderName, Message, Status, Writer};

use crate::context::Context;

/// A final response that refuses a request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Status,
    header: Option<(HeaderName, String)>,
}

impl Refusal {
    pub(super) fn of(code: u16) -> Refusal {
        Refusal { status: Status::of(code), header: None }
    }

    pub(super) fn with(self, name: HeaderName, value: impl ToString) -> Refusal {
        Refusal { header: Some((name, value.to_string())), ..self }
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
            if let Some((name, value)) = &self.header {
                writer.header(*name, value);
            }
            writer.header(HeaderName::Server, &product);
        };
        // A transaction that is gone needs no answer any more.
        let _ = cx.respond(server, request, self.status, Some(tag.unwrap_or(&fresh)), headers, None);
    }
}
