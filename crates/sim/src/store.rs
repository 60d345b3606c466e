//! What hosts ask of the world outside: credentials and names, and how well those who know answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::StoredCredential;
use dialtone_roles::io::{Answer, Query};

use crate::network::FaultCounts;
use crate::random::Random;

/// How well queries are answered. Shares are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The shortest wait.
    pub wait_min: Duration,
    /// The longest wait of an answer that is not slow.
    pub wait_max: Duration,
    /// Answers that take 3.5 to 4.9 seconds: long enough for a 100 to anything but INVITE (RFC 4320 §4.1).
    pub slow: u32,
    /// Answers that come after every deadline, or never.
    pub late: u32,
    /// Failures.
    pub failing: u32,
}

impl Service {
    /// Everything is known at once.
    pub const GOOD: Service = Service {
        wait_min: Duration::from_micros(100),
        wait_max: Duration::from_micros(100),
        slow: 0,
        late: 0,
        failing: 0,
    };
}

/// Who knows what.
#[derive(Debug)]
pub struct Store {
    /// How well it answers.
    pub service: Service,
    credentials: BTreeMap<(String, String), Arc<StoredCredential>>,
    names: BTreeMap<String, Vec<IpAddr>>,
    random: Random,
}

impl Store {
    pub(crate) fn new(random: Random) -> Store {
        Store { service: Service::GOOD, credentials: BTreeMap::new(), names: BTreeMap::new(), random }
    }

    /// Makes a user known; the realm is the domain's name.
    pub fn add_user(&mut self, domain: &str, user: &str, password: &str) {
        let credential = StoredCredential::from_password(user, domain, domain, password);
        self.credentials.insert((domain.to_owned(), user.to_owned()), Arc::new(credential));
    }

    /// Makes a host name known.
    pub fn add_name(&mut self, name: &str, address: IpAddr) {
        self.names.entry(name.to_ascii_lowercase()).or_default().push(address);
    }

    /// The answer to a query, and after what time it comes.
    pub(crate) fn ask(&mut self, query: &Query, counts: &mut FaultCounts) -> (Duration, Answer) {
        let service = self.service;
        let wait = self.random.between(service.wait_min, service.wait_max);
        if self.random.chance(service.failing) {
            counts.failed_answers += 1;
            return (wait, Answer::Failed);
        }
        let answer = match query {
            Query::Credential { domain, user } => {
                Answer::Credential(self.credentials.get(&(domain.to_string(), user.to_string())).cloned())
            }
            Query::Resolve { host } => {
                Answer::Addresses(self.names.get(&host.to_ascii_lowercase()).cloned().unwrap_or_default())
            }
            Query::Journal { .. } | Query::KeepServices { .. } => Answer::Journalled,
            _ => Answer::Failed,
        };
        if self.random.chance(service.slow) {
            counts.slow_answers += 1;
            let slow = self.random.between(Duration::from_millis(3_500), Duration::from_millis(4_900));
            return (slow, answer);
        }
        if self.random.chance(service.late) {
            counts.late_answers += 1;
            return (self.random.between(Duration::from_secs(5), Duration::from_secs(60)), answer);
        }
        (wait, answer)
    }
}
