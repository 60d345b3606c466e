//! What is kept of a user's password: HA1, never the password.

use std::fmt;

use dialtone_wire::auth::Algorithm;
use smol_str::SmolStr;

use super::hash::{Binary, hash};

/// The hash functions under the algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashFunction {
    /// MD5 (RFC 1321).
    Md5,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-512/256 (FIPS 180-4).
    Sha512_256,
}

impl HashFunction {
    /// All of them, in the order in which a server prefers them (RFC 8760 §2.3), the best first.
    pub const BEST_FIRST: [HashFunction; 3] =
        [HashFunction::Sha512_256, HashFunction::Sha256, HashFunction::Md5];

    /// The function under an algorithm, with or without `-sess`.
    pub const fn of(algorithm: Algorithm) -> HashFunction {
        match algorithm {
            Algorithm::Md5 | Algorithm::Md5Sess => HashFunction::Md5,
            Algorithm::Sha256 | Algorithm::Sha256Sess => HashFunction::Sha256,
            Algorithm::Sha512_256 | Algorithm::Sha512_256Sess => HashFunction::Sha512_256,
        }
    }

    /// The algorithm without `-sess`.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            HashFunction::Md5 => Algorithm::Md5,
            HashFunction::Sha256 => Algorithm::Sha256,
            HashFunction::Sha512_256 => Algorithm::Sha512_256,
        }
    }

    /// Length of a digest in bytes.
    pub const fn digest_bytes(self) -> usize {
        match self {
            HashFunction::Md5 => 16,
            HashFunction::Sha256 | HashFunction::Sha512_256 => 32,
        }
    }

    const fn index(self) -> usize {
        match self {
            HashFunction::Sha512_256 => 0,
            HashFunction::Sha256 => 1,
            HashFunction::Md5 => 2,
        }
    }
}

/// H(username ":" realm ":" password) (RFC 7616 §3.4.2). As good as the password inside its realm: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1(Binary);

impl Ha1 {
    /// Computes it. The text is taken as it is (RFC 7616 §4 asks callers for Unicode NFC).
    pub fn new(function: HashFunction, username: &str, realm: &str, password: &str) -> Ha1 {
        let parts = [username, ":", realm, ":", password].map(str::as_bytes);
        Ha1(hash(function, &parts))
    }

    /// Takes a stored digest; `None` when its length is not that of the function.
    pub fn from_bytes(function: HashFunction, bytes: &[u8]) -> Option<Ha1> {
        (bytes.len() == function.digest_bytes()).then(|| Ha1(Binary::from_slice(bytes)))
    }

    /// The digest in binary.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(hidden)")
    }
}

/// The two ways in which phones write the user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserForm {
    /// `user`
    Bare,
    /// `user@domain`
    Qualified,
}

/// All that is stored for one user of one realm: HA1 for both forms of the name with each hash function.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredCredential {
    user: SmolStr,
    domain: SmolStr,
    realm: SmolStr,
    bare: [Ha1; 3],
    qualified: [Ha1; 3],
}

impl StoredCredential {
    /// Computes what is stored from a password, which is not kept.
    pub fn from_password(user: &str, domain: &str, realm: &str, password: &str) -> StoredCredential {
        let all =
            |name: &str| HashFunction::BEST_FIRST.map(|function| Ha1::new(function, name, realm, password));
        StoredCredential {
            user: user.into(),
            domain: domain.into(),
            realm: realm.into(),
            bare: all(user),
            qualified: all(&format!("{user}@{domain}")),
        }
    }

    /// Puts together what a store has kept; both arrays in the order of [`HashFunction::BEST_FIRST`].
    pub fn from_stored(
        user: &str,
        domain: &str,
        realm: &str,
        bare: [Ha1; 3],
        qualified: [Ha1; 3],
    ) -> StoredCredential {
        StoredCredential { user: user.into(), domain: domain.into(), realm: realm.into(), bare, qualified }
    }

    /// The user, without domain.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user's domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The realm that the digests hold for.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The stored digest.
    pub fn ha1(&self, form: UserForm, function: HashFunction) -> &Ha1 {
        match form {
            UserForm::Bare => &self.bare[function.index()],
            UserForm::Qualified => &self.qualified[function.index()],
        }
    }

    /// Which form of this user's name `username` is, if any.
    pub fn form_of(&self, username: &str) -> Option<UserForm> {
        if username == self.user {
            return Some(UserForm::Bare);
        }
        let (user, domain) = username.rsplit_once('@')?;
        (user == self.user && domain == self.domain).then_some(UserForm::Qualified)
    }
}

impl fmt::Debug for StoredCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredCredential(hidden)")
    }
}
