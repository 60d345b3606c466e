//! The users that shards know: a snapshot of the store, replaced as a whole when the store changes.

use std::collections::HashMap;
use std::sync::Arc;

use dialtone_dialog::digest::StoredCredential;
use smol_str::SmolStr;

/// All users of all domains. Shards look into it without asking the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    by_domain: HashMap<SmolStr, HashMap<SmolStr, Arc<StoredCredential>>>,
}

impl Users {
    pub(crate) fn new(credentials: impl IntoIterator<Item = StoredCredential>) -> Users {
        let mut users = Users::default();
        for credential in credentials {
            let domain = users.by_domain.entry(SmolStr::new(credential.domain())).or_default();
            domain.insert(SmolStr::new(credential.user()), Arc::new(credential));
        }
        users
    }

    /// The domain of all users, if they have only one.
    pub(crate) fn only_domain(&self) -> Option<SmolStr> {
        self.by_domain.keys().next().filter(|_| self.by_domain.len() == 1).cloned()
    }

    /// The credential of a user of a domain.
    pub(crate) fn find(&self, domain: &str, user: &str) -> Option<Arc<StoredCredential>> {
        self.by_domain.get(domain)?.get(user).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_in_its_own_domain_only() {
        let stored = StoredCredential::from_password("alice", "a.test", "a.test", "secret");
        let users = Users::new([stored]);
        assert!(users.find("a.test", "alice").is_some());
        assert!(users.find("b.test", "alice").is_none());
        assert!(users.find("a.test", "Alice").is_none(), "user parts are case-sensitive (RFC 3261 §19.1.4)");
    }
}
