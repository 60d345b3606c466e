//! What users choose for the calls that come for them: read, changed by star code or from outside, and kept.
//!
//! ```text
//!   INVITE sip:*72201@… -> shard of the call --Notice::ChangeServices--> shard that owns the caller's bindings
//!                                                                          changes, Query::KeepServices
//!   tone, BYE  <---------- answered <-------- Notice::ServicesChanged <--- Answer::Journalled
//! ```

use std::sync::Arc;

use dialtone_wire::time::Instant;
use dialtone_wire::uri::escape_user;
use dialtone_wire::{HeaderName, Status};
use smol_str::{SmolStr, format_smolstr};

use super::{Arrived, Engine};
use crate::io::{Answer, ChangeOutcome, Event, Notice, Output, Query, QueryId};
use crate::listing::{ListedServices, Page};
use crate::policy::Decision;
use crate::queries::Waiting;
use crate::services::{Change, Choices, Services, destination, domain_of, user_of};
use crate::settings::{Destination, Robot, RobotKind};
use crate::star_codes::{self, Dialled};
use crate::steer::shard_of_aor;

/// Who waits for a change.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A call to a star code, on this shard.
    Call(Box<Arrived>),
    /// Another shard.
    Shard { to: u16, query: QueryId },
    /// Somebody outside, with his token.
    Outside(u64),
}

/// A change that holds already and is being kept.
#[derive(Debug)]
pub(crate) struct Keeping {
    aor: SmolStr,
    before: Choices,
    after: Arc<Choices>,
    asker: Asker,
}

impl Engine {
    /// What holds for a user whose address-of-record this shard owns.
    pub fn services(&self, aor: &str) -> Services {
        self.core.services.effective(&self.settings.forwarding, aor)
    }

    /// What a user of this shard chose.
    pub fn choices(&self, aor: &str) -> Choices {
        self.core.services.of(aor).cloned().unwrap_or_default()
    }

    /// A page of what users chose: the first `count` after this one.
    pub fn services_page(&self, after: Option<&str>, count: usize) -> Page<ListedServices, SmolStr> {
        self.core.services.page(after, count)
    }

    /// Takes in what users chose in an earlier life.
    pub(super) fn restore_services(&mut self, users: Vec<(SmolStr, Choices)>) {
        for (aor, choices) in users {
            let is_room = self.core.services.len() < self.settings.limits.services;
            if is_room && self.core.services.of(&aor).is_none() {
                self.core.services.put(&aor, choices);
            }
        }
    }

    /// Forgets what a user chose, and leaves it at that.
    pub(super) fn forget_services(&mut self, aor: &SmolStr) {
        if self.core.services.of(aor).is_none() {
            return;
        }
        self.core.services.put(aor, Choices::default());
        if self.settings.journal {
            let query = Query::KeepServices { aor: aor.clone(), choices: Arc::default() };
            self.core.outputs.push_back(Output::Query(QueryId::UNANSWERED, query));
        }
    }

    /// A call to a star code. Its caller changes his own services and nobody else's.
    pub(super) fn star_code(&mut self, now: Instant, arrived: Arrived) {
        let Decision::StarCode { dialled, .. } = &arrived.decision else { return };
        let Some(aor) = self.caller_aor(&arrived) else {
            return self.refuse_star(now, &arrived, 403, "Only users of this server can use this code");
        };
        let read = star_codes::read(&self.settings.star_codes, dialled);
        let (changes, target) = match read {
            Some(Dialled::Changes { changes, target }) => (changes, target),
            Some(Dialled::Wrong(why)) => return self.refuse_star(now, &arrived, 484, why),
            // The settings have changed since it was decided.
            None => return self.refuse_star(now, &arrived, 404, "There is no such code"),
        };
        let unix_s = self.settings.unix_start_s + now.as_nanos() / 1_000_000_000;
        let leads = target.map(|target| destination(&self.settings, unix_s, &aor, &target)).transpose();
        let user = match leads {
            Ok(Some(Destination::User(to))) if to == aor => {
                return self.refuse_star(now, &arrived, 482, "Calls can't be forwarded to yourself");
            }
            Ok(Some(Destination::User(to))) => Some((SmolStr::new(domain_of(&to)), user_of(&to))),
            Ok(None | Some(Destination::Group(_) | Destination::Trunk { .. } | Destination::Uri(_))) => None,
            Err(status) => {
                return self.refuse_star(now, &arrived, status.code(), "You can't call that number");
            }
        };
        match user {
            None => self.change_as_caller(now, arrived, aor, changes),
            // A wrong number would swallow calls until somebody notices.
            Some((domain, user)) => {
                let (server, request) = (arrived.server, arrived.request.clone());
                let waiting = Waiting::StarTarget(Box::new(StarTarget { arrived, aor, changes }));
                if self.context(now).ask(Query::Credential { domain, user }, waiting).is_none() {
                    self.core.counters.overload += 1;
                    self.respond(now, server, &request, Status::of(500), |writer| {
                        writer.number(HeaderName::RetryAfter, 5);
                    });
                }
            }
        }
    }

    /// The store knows whether the user exists to whom calls shall be forwarded.
    pub(super) fn star_target(&mut self, now: Instant, asked: StarTarget, answer: &Answer) {
        let StarTarget { arrived, aor, changes } = asked;
        if !self.still_waits(&arrived) {
            return;
        }
        match answer {
            Answer::Credential(Some(_)) => self.change_as_caller(now, arrived, aor, changes),
            Answer::Credential(None) => self.refuse_star(now, &arrived, 404, "There is no such number"),
            _ => {
                self.core.counters.services_refused += 1;
                self.fail(now, &arrived);
            }
        }
    }

    fn change_as_caller(&mut self, now: Instant, arrived: Arrived, aor: SmolStr, changes: Vec<Change>) {
        let owner = shard_of_aor(&self.settings, &aor);
        if owner == self.core.shard {
            return self.change_services(now, aor, &changes, Asker::Call(Box::new(arrived)));
        }
        let (server, request) = (arrived.server, arrived.request.clone());
        let from = self.core.shard;
        match self.context(now).wait(Waiting::StarChange(Box::new(arrived))) {
            Some(query) => {
                let notice = Notice::ChangeServices { from, query, aor, changes };
                self.core.outputs.push_back(Output::Notice { to: owner, notice });
            }
            None => {
                self.core.counters.overload += 1;
                self.respond(now, server, &request, Status::of(500), |writer| {
                    writer.number(HeaderName::RetryAfter, 5);
                });
            }
        }
    }

    /// Changes what a user of this shard chose, and has it kept before anybody is told.
    pub(super) fn change_services(&mut self, now: Instant, aor: SmolStr, changes: &[Change], asker: Asker) {
        let limits = &self.settings.limits;
        if self.core.queries.len() >= limits.queries {
            self.core.counters.overload += 1;
            return self.services_changed(now, asker, ChangeOutcome::NotKept);
        }
        let Some(before) = self.core.services.change(&aor, changes, limits.services) else {
            return self.services_changed(now, asker, ChangeOutcome::Full);
        };
        if !self.settings.journal {
            return self.services_changed(now, asker, ChangeOutcome::Done);
        }
        let after = Arc::new(self.choices(&aor));
        let query = Query::KeepServices { aor: aor.clone(), choices: after.clone() };
        let keeping = Keeping { aor, before, after, asker };
        let asked = self.context(now).ask(query, Waiting::ServicesKept(Box::new(keeping)));
        debug_assert!(asked.is_some(), "there was room for one more question");
    }

    /// A change is kept, or could not be: then it is taken back, unless another one has come since.
    pub(super) fn services_kept(&mut self, now: Instant, keeping: Keeping, is_kept: bool) {
        let Keeping { aor, before, after, asker } = keeping;
        if is_kept {
            return self.services_changed(now, asker, ChangeOutcome::Done);
        }
        if self.choices(&aor) == *after {
            self.core.services.put(&aor, before.clone());
            // An answer that came too late may have kept what is taken back here.
            let query = Query::KeepServices { aor, choices: Arc::new(before) };
            self.core.outputs.push_back(Output::Query(QueryId::UNANSWERED, query));
        }
        self.services_changed(now, asker, ChangeOutcome::NotKept);
    }

    /// Tells who waits for a change what became of it.
    pub(super) fn services_changed(&mut self, now: Instant, asker: Asker, outcome: ChangeOutcome) {
        match asker {
            Asker::Shard { to, query } => {
                let notice = Notice::ServicesChanged { query, outcome };
                self.core.outputs.push_back(Output::Notice { to, notice });
            }
            Asker::Outside(token) => {
                self.count_change(outcome);
                let event = Event::ServicesChanged { token, outcome };
                self.core.outputs.push_back(Output::Event(event));
            }
            Asker::Call(arrived) => {
                self.count_change(outcome);
                if self.still_waits(&arrived) {
                    self.confirm_star(now, &arrived, outcome);
                }
            }
        }
    }

    fn count_change(&mut self, outcome: ChangeOutcome) {
        let counters = &mut self.core.counters;
        match outcome {
            ChangeOutcome::Done => counters.services_changed += 1,
            ChangeOutcome::Full | ChangeOutcome::NotKept => counters.services_refused += 1,
        }
    }

    /// What the caller hears: a tone when it is done.
    fn confirm_star(&mut self, now: Instant, arrived: &Arrived, outcome: ChangeOutcome) {
        let Decision::StarCode { dialled, .. } = &arrived.decision else { return };
        match outcome {
            ChangeOutcome::Done => {
                let robot = Robot { user: dialled.clone(), kind: RobotKind::Confirm };
                self.give_to_ua(now, arrived, Some(&robot));
            }
            ChangeOutcome::Full | ChangeOutcome::NotKept => self.fail(now, arrived),
        }
    }

    /// The address-of-record of the caller: whose password was shown; in a closed network without passwords, of whom
    /// From speaks.
    fn caller_aor(&self, arrived: &Arrived) -> Option<SmolStr> {
        if let Some(caller) = &arrived.caller {
            return Some(format_smolstr!("sip:{}@{}", escape_user(&caller.user), caller.domain));
        }
        if self.settings.authenticate {
            return None;
        }
        let from = arrived.request.from().ok()?;
        let uri = from.uri.as_sip()?;
        uri.user?;
        let domain = self.settings.domain_of(&uri.host, uri.port)?;
        Some(crate::registrar::canonical_aor(uri, &domain.name))
    }

    fn refuse_star(&mut self, now: Instant, arrived: &Arrived, code: u16, why: &str) {
        self.core.counters.services_refused += 1;
        let Decision::StarCode { domain, .. } = &arrived.decision else { return };
        let warning = format_smolstr!("399 {domain} \"{why}\"");
        self.respond(now, arrived.server, &arrived.request, Status::of(code), |writer| {
            writer.text(HeaderName::Warning, &warning);
        });
    }
}

/// A star code whose target is being looked up.
#[derive(Debug)]
pub(crate) struct StarTarget {
    arrived: Arrived,
    aor: SmolStr,
    changes: Vec<Change>,
}
