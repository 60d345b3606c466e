//! Changing users while shards run: first the store, then the snapshot of each shard.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dialtone_dialog::digest::StoredCredential;
use smol_str::SmolStr;
use thiserror::Error;

use crate::inbox::Sender;
use crate::shard::Word;
use crate::store::{Store, StoreError, StoredCall};
use crate::users::Users;

/// Bytes of a user's name at most.
const NAME_BYTES: usize = 64;
/// Bytes of a password at most.
const PASSWORD_BYTES: usize = 128;

/// Which users a change may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// None of them is there yet.
    New,
    /// All of them are there.
    Existing,
    /// Whatever is there.
    Any,
}

/// Why a change of users was refused. Nothing has changed then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UserError {
    /// The name can't stand in an address.
    #[error(
        "{0:?} is no user name: expected 1 to 64 letters, digits and - _ . ! ~ * ' ( ) + &, as in sip:NAME@DOMAIN"
    )]
    Name(SmolStr),
    /// The password can't be typed.
    #[error("the password of {0} is empty, longer than 128 bytes, or has control characters")]
    Password(SmolStr),
    /// There is one of that name.
    #[error("{0} is there already: `dialtone user passwd` gives a new password")]
    Exists(SmolStr),
    /// There is none of that name.
    #[error("there is no user {0}: `dialtone user list` shows all")]
    Missing(SmolStr),
    /// The server is not responsible for the domain.
    #[error("{0} is no domain of this server: `dialtone status` shows them")]
    Domain(SmolStr),
    /// No server runs, and the data does not say which domain is meant.
    #[error("no server runs that would know its domain: say it with --domain")]
    NoDomain,
    /// The server is about to end.
    #[error("the server is about to end")]
    Ending,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A user as somebody names it.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedUser {
    /// The user part, unescaped.
    pub name: SmolStr,
    /// The domain; `None` for the first one of the server.
    pub domain: Option<SmolStr>,
    /// The password; only its digests are kept.
    pub password: SmolStr,
}

impl NamedUser {
    /// A user whose domain may stand behind an @ of its name: `alice@second.example`.
    pub fn new(name: &str, domain: Option<&str>, password: &str) -> NamedUser {
        let (name, domain) = split(name, domain);
        NamedUser { name, domain, password: password.into() }
    }
}

/// A user's name and its domain, where the domain may stand behind an @ of the name. With two domains that differ the
/// name stays as it is, and is no legal one.
pub(crate) fn split(name: &str, domain: Option<&str>) -> (SmolStr, Option<SmolStr>) {
    let of_name = name.rsplit_once('@');
    let is_said_twice = |of_name: &str| {
        domain.is_none_or(|domain| domain.trim_end_matches('.').eq_ignore_ascii_case(of_name))
    };
    match of_name.filter(|(_, of_name)| is_said_twice(of_name)) {
        Some((name, of_name)) => (name.into(), Some(of_name.into())),
        None => (name.into(), domain.map(SmolStr::new)),
    }
}

impl std::fmt::Debug for NamedUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The users of a store, and the shards that know them.
pub(crate) struct Subscribers {
    /// Taken out when the server ends, so that the data folder is free from then on.
    store: Mutex<Option<Box<dyn Store>>>,
    /// None when no server runs.
    shards: Vec<Sender<Word>>,
    /// The domains of the server; none when no server runs.
    domains: Vec<SmolStr>,
}

impl Subscribers {
    pub(crate) fn new(
        store: Box<dyn Store>,
        shards: Vec<Sender<Word>>,
        domains: Vec<SmolStr>,
    ) -> Subscribers {
        Subscribers { store: Mutex::new(Some(store)), shards, domains }
    }

    /// The domains of the server.
    pub(crate) fn domains(&self) -> &[SmolStr] {
        &self.domains
    }

    /// The shards that know the users.
    pub(crate) fn shards(&self) -> &[Sender<Word>] {
        &self.shards
    }

    /// The calls that ended last, before this one.
    pub(crate) fn ended_calls(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<StoredCall>, UserError> {
        Ok(self.store().as_ref().ok_or(UserError::Ending)?.ended_calls(before, limit)?)
    }

    /// Gives the store back: all that comes after this is refused.
    pub(crate) fn close(&self) {
        *self.store() = None;
    }

    /// All users, in the order of domain and name.
    pub(crate) fn list(&self) -> Result<Vec<StoredCredential>, UserError> {
        Ok(self.store().as_ref().ok_or(UserError::Ending)?.users()?)
    }

    /// Writes users, all or none of them, and makes them known to all shards. Gives the domain of each.
    pub(crate) fn put(&self, users: &[NamedUser], put: Put) -> Result<Vec<SmolStr>, UserError> {
        let mut guard = self.store();
        let store = guard.as_mut().ok_or(UserError::Ending)?;
        let known = Users::new(store.users()?);
        let mut credentials = Vec::with_capacity(users.len());
        for user in users {
            let NamedUser { name, password, .. } = user;
            check(name, password)?;
            let domain = self.domain(&known, user.domain.as_ref())?;
            match (put, known.find(&domain, name).is_some()) {
                (Put::New, true) => return Err(UserError::Exists(name.clone())),
                (Put::Existing, false) => return Err(UserError::Missing(name.clone())),
                (Put::New | Put::Existing | Put::Any, _) => {}
            }
            credentials.push(StoredCredential::from_password(name, &domain, &domain, password));
        }
        store.put_users(&credentials)?;
        self.tell(store.as_ref())?;
        Ok(credentials.iter().map(|credential| SmolStr::new(credential.domain())).collect())
    }

    /// Removes a user and gives the domain that it was in. No shard lets it in from now on, and its bindings are gone.
    pub(crate) fn remove(&self, name: &SmolStr, domain: Option<&SmolStr>) -> Result<SmolStr, UserError> {
        let mut guard = self.store();
        let store = guard.as_mut().ok_or(UserError::Ending)?;
        let known = Users::new(store.users()?);
        // A user of a domain that the server has no more can be removed too.
        let domain = domain.cloned().map_or_else(|| self.domain(&known, None), Ok)?;
        if !store.remove_user(&domain, name)? {
            return Err(UserError::Missing(name.clone()));
        }
        self.tell(store.as_ref())?;
        let aor = aor(name, &domain);
        for shard in &self.shards {
            // Only its owner has it. A shard that is gone has nothing.
            let _ = shard.send_patiently(Word::Forget(aor.clone()));
        }
        Ok(domain)
    }

    fn domain(&self, known: &Users, asked: Option<&SmolStr>) -> Result<SmolStr, UserError> {
        let asked = asked.map(|domain| SmolStr::from(domain.trim_end_matches('.').to_ascii_lowercase()));
        match asked {
            Some(domain) if self.domains.is_empty() || self.domains.contains(&domain) => {
                // Where no server runs, what stands in the store is all that is known of domains.
                let legal = dialtone_wire::uri::Host::parse(&domain).is_ok();
                if legal { Ok(domain) } else { Err(UserError::Domain(domain)) }
            }
            Some(domain) => Err(UserError::Domain(domain)),
            None => self.domains.first().cloned().or_else(|| known.only_domain()).ok_or(UserError::NoDomain),
        }
    }

    fn tell(&self, store: &dyn Store) -> Result<(), UserError> {
        if self.shards.is_empty() {
            return Ok(());
        }
        let users = std::sync::Arc::new(Users::new(store.users()?));
        for shard in &self.shards {
            // A shard that is gone needs no users.
            let _ = shard.send_patiently(Word::Users(users.clone()));
        }
        Ok(())
    }

    /// What a thread that panicked has left is whole: a change is one transaction of the store.
    fn store(&self) -> MutexGuard<'_, Option<Box<dyn Store>>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The canonical address-of-record of a user.
pub(crate) fn aor(name: &str, domain: &str) -> SmolStr {
    smol_str::format_smolstr!("sip:{}@{domain}", dialtone_wire::uri::escape_user(name))
}

/// Whether somebody may be called that and have that password. A name has the characters that RFC 3261 §25.1 lets stand
/// unescaped in a user part, without those that shells and files of comma-separated values trip over.
///
/// # Errors
/// [`UserError::Name`] or [`UserError::Password`].
pub(crate) fn check(name: &SmolStr, password: &str) -> Result<(), UserError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()+&".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(legal) {
        return Err(UserError::Name(name.chars().take(NAME_BYTES).collect()));
    }
    if password.is_empty() || password.len() > PASSWORD_BYTES || password.chars().any(char::is_control) {
        return Err(UserError::Password(name.clone()));
    }
    Ok(())
}
