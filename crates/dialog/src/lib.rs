//! Dialogs, offer and answer, and digest authentication: what two parties agree on between transactions.

pub mod digest;
