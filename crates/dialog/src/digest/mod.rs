//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22): the arithmetic, what is stored of a password, the
//! server with its nonces, and the client. Passwords are never stored, and no `Debug` shows a secret.

mod client;
mod credential;
mod hash;
mod nonce;
mod server;

#[cfg(test)]
mod tests;

pub use client::{Attempt, ClientError, DigestClient, OutgoingRequest, Secret, Side};
pub use credential::{Ha1, HashFunction, StoredCredential, UserForm};
pub use hash::{ResponseInput, response};
pub use nonce::{NonceSettings, NonceUse, NonceVerdict, Nonces};
pub use server::{DigestServer, MalformedReason, PresentedRequest, ServerSettings, Verdict};
