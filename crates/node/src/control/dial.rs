//! Calls between two that are asked for on the control socket: click to dial.

use std::sync::mpsc::sync_channel;

use dialtone_roles::io::{Dial, DialState};
use dialtone_roles::services::{TARGET_BYTES, aor};
use dialtone_wire::uri::{UriBuf, escape_user};
use serde_json::{Value, json};

use super::handler::Refused;
use super::shards::ask;
use crate::inbox::Sender;
use crate::shard::Word;

/// Asks for a call. The shard follows from its number, so that they share the work.
pub(crate) fn begin(
    shards: &[Sender<Word>],
    token: u64,
    (first, first_domain): (&str, &str),
    second: &str,
    (caller, caller_domain): (&str, &str),
) -> Result<Value, Refused> {
    let second = target(second, caller_domain)?;
    let dial = Dial { token, first: aor(first, first_domain), second, caller: aor(caller, caller_domain) };
    let described = json!({"id": token, "first": dial.first.as_str(), "second": dial.second.as_str()});
    let busy = || Refused { code: "busy", message: "a shard is too busy to tell: ask again".to_owned() };
    shard_of(shards, token)?.send(Word::Dial(dial)).map_err(|_| busy())?;
    match state(shards, token)? {
        Some(_) => Ok(described),
        None => {
            let message = "as many calls are asked for as may: raise limits.dials".to_owned();
            Err(Refused { code: "full", message })
        }
    }
}

/// How far a call is that was asked for.
pub(crate) fn told(shards: &[Sender<Word>], token: u64) -> Result<Value, Refused> {
    let Some(state) = state(shards, token)? else {
        return Err(Refused {
            code: "no-such-call",
            message: "no such call was asked for lately".to_owned(),
        });
    };
    let who = |second: bool| if second { "second" } else { "first" };
    Ok(match state {
        DialState::Calling { second } => json!({"state": "calling", "who": who(second)}),
        DialState::Ringing { second } => json!({"state": "ringing", "who": who(second)}),
        DialState::Talking => json!({"state": "talking"}),
        DialState::Refused { second, status } => {
            let (status, reason) = (status.code(), status.reason());
            json!({"state": "refused", "who": who(second), "status": status, "reason": reason})
        }
        _ => json!({"state": "unknown"}),
    })
}

fn state(shards: &[Sender<Word>], token: u64) -> Result<Option<DialState>, Refused> {
    let (to, from) = sync_channel(1);
    ask(shard_of(shards, token)?, Word::Dialled { token, to }, &from)
}

fn shard_of(shards: &[Sender<Word>], token: u64) -> Result<&Sender<Word>, Refused> {
    let place = token.checked_rem(shards.len() as u64).and_then(|place| shards.get(place as usize));
    let message = "no server runs on this data folder".to_owned();
    place.ok_or(Refused { code: "not-running", message })
}

/// Whom somebody of this domain means: a SIP URI, an address, or what he would dial.
fn target(text: &str, domain: &str) -> Result<UriBuf, Refused> {
    let bad = || Refused::bad("expected `second`: a number, a user or a SIP URI");
    if text.is_empty() || text.len() > TARGET_BYTES {
        return Err(bad());
    }
    let uri = match text {
        _ if text.starts_with("sip:") || text.starts_with("sips:") => text.to_owned(),
        // Another scheme.
        _ if text.contains(':') => return Err(bad()),
        _ if text.contains('@') => format!("sip:{text}"),
        _ => format!("sip:{}@{domain}", escape_user(text)),
    };
    let parsed = UriBuf::parse(&uri).map_err(|_| bad())?;
    // RFC 3261 §19.1.1: headers in a URI would be headers of the INVITE.
    if parsed.uri().as_sip().is_none_or(|uri| !uri.headers.is_empty()) {
        return Err(bad());
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dialled_is_a_number_a_user_or_a_uri() {
        let check = |text: &str, expected: &str| {
            let read = target(text, "sip.test");
            assert_eq!(
                read.as_ref().map(UriBuf::as_str).ok(),
                Some(expected).filter(|text| !text.is_empty()),
                "{text}"
            );
        };
        check("201", "sip:201@sip.test");
        check("*8201", "sip:*8201@sip.test");
        check("bob@other.test", "sip:bob@other.test");
        check("sip:bob@other.test:5070", "sip:bob@other.test:5070");
        check("a b", "sip:a%20b@sip.test");
        for bad in ["", "mailto:bob@sip.test", "sip:bob@sip.test?Subject=x", "sip:", &"1".repeat(500)] {
            check(bad, "");
        }
    }
}
