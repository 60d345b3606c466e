//! Which shard a message belongs to: a keyed hash of its Call-ID; for REGISTER and PUBLISH, of the
//! address-of-record in To, so that the bindings of one user have one owner.

use std::hash::{BuildHasher as _, Hasher as _};

use dialtone_wire::headers::NameAddr;
use dialtone_wire::peek;
use dialtone_wire::uri::Uri;
use foldhash::quality::FixedState;

use crate::gruu::Key;
use crate::registrar::canonical_aor;
use crate::settings::{Secret, Settings};

/// The shard of a packet; 0 for what is no SIP message.
pub fn steer(settings: &Settings, bytes: &[u8]) -> u16 {
    if settings.shards <= 1 {
        return 0;
    }
    let peeked = peek::routing_key(bytes);
    if peeked.by_to
        && let Some(aor) = peeked.to.and_then(|to| aor_of(settings, to))
    {
        return shard_of_aor(settings, &aor);
    }
    peeked.call_id.map_or(0, |call_id| shard_of(settings, call_id))
}

/// The shard that owns the bindings of an address-of-record, of one of its devices, or of the device that a temporary
/// GRUU leads to.
pub fn shard_of_aor(settings: &Settings, key: &str) -> u16 {
    match Key::read(key) {
        Key::User(aor) | Key::Device { aor, .. } => shard_of(settings, aor.as_bytes()),
        Key::Series { series, .. } => shard_of_half(settings, (series >> 32) as u32),
    }
}

/// The shard of a key: a Call-ID, or a canonical address-of-record.
pub(crate) fn shard_of(settings: &Settings, key: &[u8]) -> u16 {
    shard_of_half(settings, half_hash(&settings.secret, key))
}

/// The high half of the keyed hash of a key.
pub(crate) fn half_hash(secret: &Secret, key: &[u8]) -> u32 {
    let seed = u64::from_le_bytes(secret.0[..8].try_into().expect("a secret has 32 bytes"));
    let mut hasher = FixedState::with_seed(seed).build_hasher();
    hasher.write(key);
    (hasher.finish() >> 32) as u32
}

fn shard_of_half(settings: &Settings, half: u32) -> u16 {
    // The half times the number of shards, cut to its high half: as even as the hash.
    u16::try_from((u64::from(half) * u64::from(settings.shards.max(1))) >> 32).unwrap_or(0)
}

fn aor_of(settings: &Settings, to: &[u8]) -> Option<smol_str::SmolStr> {
    let to = NameAddr::parse(to).ok()?;
    let Uri::Sip(uri) = to.uri else { return None };
    let domain = settings.domain_of(&uri.host, uri.port)?;
    Some(canonical_aor(&uri, &domain.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_devices_of_a_user_have_his_owner() {
        let settings = Settings { shards: 7, ..Settings::new(Secret([5; 32])) };
        let keys = crate::gruu::GruuKeys::new(&settings.secret);
        for user in 0..200 {
            let aor = format!("sip:user{user}@a.test");
            let owner = shard_of_aor(&settings, &aor);
            assert_eq!(shard_of_aor(&settings, &format!("{aor};gr=urn:uuid:1")), owner);
            let series = crate::gruu::Gruu::Temporary(keys.series(&aor, 0xdead_beef_0000_0000 + user));
            assert_eq!(shard_of_aor(&settings, &series.key(&aor)), owner);
        }
    }

    #[test]
    fn the_answer_to_a_register_comes_to_the_shard_that_forwarded_it() {
        let domains = vec![crate::settings::Domain { name: "a.test".into(), ..Default::default() }];
        let settings = Settings { shards: 7, domains, ..Settings::new(Secret([5; 32])) };
        for user in 0..200 {
            let of = |first: &str| {
                let text = format!(
                    "{first}\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK1\r\nFrom: <sip:u{user}@a.test>;tag=1\r\n\
                     To: <sip:u{user}@a.test>\r\nCall-ID: {user}\r\nCSeq: 1 REGISTER\r\n\r\n"
                );
                steer(&settings, text.as_bytes())
            };
            let owner = shard_of_aor(&settings, &format!("sip:u{user}@a.test"));
            assert_eq!((of("REGISTER sip:a.test SIP/2.0"), of("SIP/2.0 401 Unauthorized")), (owner, owner));
        }
    }

    #[test]
    fn call_ids_that_differ_by_one_letter_are_spread_evenly_whatever_the_secret() {
        let mut secret = [0; 32];
        for number in 0..2_000_u64 {
            secret[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
            let settings = Settings { shards: 2, ..Settings::new(Secret(secret)) };
            let first =
                (0..64).filter(|call| shard_of(&settings, format!("call-{call}").as_bytes()) == 0).count();
            assert!((8..=56).contains(&first), "secret {number}: {first} of 64");
        }
    }
}
