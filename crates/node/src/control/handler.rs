//! One request of the control socket, one answer: JSON objects.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dialtone_roles::{Freed, Settings, Source};
use dialtone_wire::time::Instant;
use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use super::{dial, services, shards};
use crate::store::StoredCall;
use crate::subscribers::{NamedUser, Put, Subscribers, UserError, split};
use crate::{clock, utc};

/// Users in one request at most.
pub(crate) const USERS_MAX: usize = 500;
/// Users in one answer at most.
const LIST_MAX: usize = 2_000;
/// Entries of a page when nothing else is asked for.
const PAGE: usize = 100;
/// Who is held off, in the answer to `status`, at most.
const HELD_OFF_MAX: usize = 100;
/// Seconds for which somebody can be blocked: ten years.
const TIME_S_MAX: u64 = 315_360_000;
/// Entries of a page at most: what a shard looks at between two messages.
pub(super) const PAGE_MAX: usize = 500;

/// Reads the settings again; gives what an answer says of it.
pub(crate) type Reload = Box<dyn Fn() -> Value + Send + Sync>;

/// What a running server says of itself.
pub(crate) struct Facts {
    /// Where it listens, as in `--listen`.
    pub(crate) listen: Vec<String>,
    /// Where HTTP listens.
    pub(crate) http: Option<SocketAddr>,
    /// When it was started.
    pub(crate) started: Instant,
    /// The settings of the start: they say which shard owns a user.
    pub(crate) settings: Arc<Settings>,
    /// Reads the settings again, if this server can.
    pub(crate) reload: Option<Reload>,
}

/// Answers requests: of a running server, or for the store alone.
pub(crate) struct Handler {
    pub(crate) subscribers: Subscribers,
    /// `None` when no server runs.
    pub(crate) facts: Option<Facts>,
    /// How many calls were asked for.
    pub(crate) dialled: AtomicU64,
}

/// Why a request was refused: a word for programs and a sentence for people.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn bad(message: &str) -> Refused {
        Refused { code: "bad-request", message: message.to_owned() }
    }
}

impl From<UserError> for Refused {
    fn from(error: UserError) -> Refused {
        let code = match &error {
            UserError::Name(_) | UserError::Password(_) | UserError::NoDomain => "bad-request",
            UserError::Exists(_) => "exists",
            UserError::Missing(_) => "no-such-user",
            UserError::Domain(_) => "no-such-domain",
            UserError::Ending => "ending",
            UserError::Store(_) => "store",
        };
        Refused { code, message: error.to_string() }
    }
}

/// The answer that says why not.
pub(crate) fn refusal(refused: &Refused) -> Value {
    json!({"schema": 1, "ok": false, "code": refused.code, "error": refused.message})
}

impl Handler {
    /// Answers one request.
    pub(crate) fn answer(&self, request: &Value) -> Value {
        match self.try_answer(request) {
            Ok(mut answer) => {
                answer.insert("schema".to_owned(), json!(1));
                answer.insert("ok".to_owned(), json!(true));
                Value::Object(answer)
            }
            Err(refused) => refusal(&refused),
        }
    }

    fn try_answer(&self, request: &Value) -> Result<Map<String, Value>, Refused> {
        if request["schema"] != 1 {
            return Err(Refused::bad("expected {\"schema\": 1, \"op\": …}: this server speaks schema 1"));
        }
        let answer = match request["op"].as_str() {
            Some("status") => self.status()?,
            Some("registrations") => self.registrations(text(request, "after")?, limit(request)?)?,
            Some("calls") => self.calls(text(request, "after")?, limit(request)?)?,
            Some("calls.ended") => self.ended_calls(request["before"].as_i64(), limit(request)?)?,
            Some("user.put") => self.put_users(request)?,
            Some("user.remove") => {
                let name = text(request, "name")?.ok_or_else(|| Refused::bad("expected `name`"))?;
                let (name, domain) = split(name, text(request, "domain")?);
                let domain = self.subscribers.remove(&name, domain.as_ref())?;
                json!({"user": {"name": name.as_str(), "domain": domain.as_str()}})
            }
            Some("user.list") => self.list_users(text(request, "after")?)?,
            Some("services.get") => {
                let (name, domain) = self.known_user(request)?;
                services::told(&self.facts()?.settings, self.subscribers.shards(), &name, &domain)?
            }
            Some("services.set") => {
                let (name, domain) = self.known_user(request)?;
                let (settings, shards) = (&self.facts()?.settings, self.subscribers.shards());
                services::change(settings, shards, (&name, &domain), request)?;
                services::told(settings, shards, &name, &domain)?
            }
            Some("services.list") => {
                self.facts()?;
                services::page(self.subscribers.shards(), text(request, "after")?, limit(request)?)?
            }
            Some("dial") => self.dial(request)?,
            Some("dial.state") => {
                self.facts()?;
                let id =
                    request["id"].as_u64().ok_or_else(|| Refused::bad("expected `id`: that of a call"))?;
                dial::told(self.subscribers.shards(), id)?
            }
            Some("reload") => {
                let reload = self.facts.as_ref().and_then(|facts| facts.reload.as_ref());
                reload.ok_or_else(|| Refused::bad("this server has no settings to read again"))?()
            }
            Some("block") => self.block(request)?,
            Some("unblock") => self.unblock(request)?,
            _ => {
                return Err(Refused::bad(
                    "expected `op`: status, registrations, calls, calls.ended, user.put, user.remove, user.list, services.get, \
                     services.set, services.list, dial, dial.state, block, unblock or reload",
                ));
            }
        };
        match answer {
            Value::Object(map) => Ok(map),
            other => Ok(Map::from_iter([("answer".to_owned(), other)])),
        }
    }

    /// The user that a request names, with his domain.
    fn known_user(&self, request: &Value) -> Result<(String, String), Refused> {
        self.facts()?;
        let name = text(request, "name")?.ok_or_else(|| Refused::bad("expected `name`"))?;
        let first = || self.subscribers.domains().first().map(SmolStr::to_string).unwrap_or_default();
        let domain = text(request, "domain")?
            .map_or_else(first, |domain| domain.trim_end_matches('.').to_ascii_lowercase());
        let is_known =
            |user: &dialtone_dialog::digest::StoredCredential| user.user() == name && user.domain() == domain;
        if !self.subscribers.list()?.iter().any(is_known) {
            return Err(UserError::Missing(name.into()).into());
        }
        Ok((name.to_owned(), domain))
    }

    /// Calls one user of ours, then another, and joins them.
    fn dial(&self, request: &Value) -> Result<Value, Refused> {
        self.facts()?;
        let first = text(request, "first")?.ok_or_else(|| Refused::bad("expected `first`"))?;
        let second = text(request, "second")?.ok_or_else(|| Refused::bad("expected `second`"))?;
        let first = self.user_of_ours(first)?;
        let caller = text(request, "as")?.map(|caller| self.user_of_ours(caller)).transpose()?;
        let caller = caller.as_ref().unwrap_or(&first);
        let id = self.dialled.fetch_add(1, Ordering::Relaxed);
        dial::begin(self.subscribers.shards(), id, (&first.0, &first.1), second, (&caller.0, &caller.1))
    }

    /// The user with this name, or name and domain. Where nobody needs a password, each name is one of a user.
    fn user_of_ours(&self, text: &str) -> Result<(String, String), Refused> {
        let (name, domain) = split(text, None);
        let settings = &self.facts()?.settings;
        if settings.authenticate {
            return self.known_user(&json!({"name": name.as_str(), "domain": domain.as_deref()}));
        }
        let domains = self.subscribers.domains();
        let found = match &domain {
            Some(domain) => domains.iter().find(|own| own.eq_ignore_ascii_case(domain)),
            None => domains.first(),
        };
        let found = found.ok_or_else(|| UserError::Missing(text.into()))?;
        Ok((name.to_string(), found.to_string()))
    }

    fn facts(&self) -> Result<&Facts, Refused> {
        let message = "no server runs on this data folder".to_owned();
        self.facts.as_ref().ok_or(Refused { code: "not-running", message })
    }

    /// What the server holds, in all.
    pub(crate) fn status(&self) -> Result<Value, Refused> {
        let facts = self.facts()?;
        let (counters, silent) = shards::counters(self.subscribers.shards());
        let mut groups = Map::new();
        for (group, numbers) in counters.groups() {
            let numbers = numbers.iter().map(|(name, number)| ((*name).to_owned(), json!(number)));
            groups.insert(group.to_owned(), Value::Object(numbers.collect()));
        }
        let tables = groups.remove("tables").unwrap_or_default();
        let number = |name: &str| counters.number("tables", name).unwrap_or_default();
        let domains: Vec<&str> = self.subscribers.domains().iter().map(SmolStr::as_str).collect();
        let uptime_s = clock::now().since(facts.started).as_secs();
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_s": uptime_s,
            "started": utc::rfc3339(clock::unix_now_s().saturating_sub(uptime_s)),
            "domains": domains,
            "listen": facts.listen,
            "http": facts.http.map(|address| address.to_string()),
            "shards": self.subscribers.shards().len(),
            "shards_silent": silent,
            "users": self.subscribers.list()?.len(),
            "registrations": number("bindings"),
            "calls": number("calls")
                + number("bridges")
                + number("calls_forwarding")
                + number("calls_talking"),
            "trunks": shards::trunks(self.subscribers.shards()),
            "held_off": shards::held_off(self.subscribers.shards(), HELD_OFF_MAX),
            "counters": groups,
            "tables": tables,
        }))
    }

    /// Drops what an address sends.
    fn block(&self, request: &Value) -> Result<Value, Refused> {
        self.facts()?;
        let address = text(request, "address")?.and_then(|address| address.parse::<IpAddr>().ok());
        let address = address.ok_or_else(|| Refused::bad("expected `address`: an IP address"))?;
        let time = match &request["time_s"] {
            Value::Null => None,
            time => {
                let time = time.as_u64().filter(|time| (1..=TIME_S_MAX).contains(time));
                let time = time.ok_or_else(|| Refused::bad("expected `time_s`: 1 to 315360000 seconds"))?;
                Some(Duration::from_secs(time))
            }
        };
        shards::block(self.subscribers.shards(), Source::of(address), time)
    }

    /// Frees an address, a user, or everybody.
    fn unblock(&self, request: &Value) -> Result<Value, Refused> {
        self.facts()?;
        let freed = match text(request, "target")? {
            None if request["all"] == true => Freed::All,
            None => return Err(Refused::bad("expected `target`: an IP address or a user; or `all`: true")),
            Some(target) => match target.trim_end_matches("/64").parse::<IpAddr>() {
                Ok(address) => Freed::Source(Source::of(address)),
                Err(_) if target.contains('@') => Freed::User(target.into()),
                Err(_) => {
                    let domain = self.subscribers.domains().first();
                    let domain = domain.ok_or_else(|| Refused::bad("expected a user with its domain"))?;
                    Freed::User(smol_str::format_smolstr!("{target}@{domain}"))
                }
            },
        };
        shards::free(self.subscribers.shards(), &freed)
    }

    /// A page of bindings.
    pub(crate) fn registrations(&self, after: Option<&str>, limit: usize) -> Result<Value, Refused> {
        self.facts()?;
        shards::registrations(self.subscribers.shards(), after, limit)
    }

    /// A page of calls.
    pub(crate) fn calls(&self, after: Option<&str>, limit: usize) -> Result<Value, Refused> {
        self.facts()?;
        shards::calls(self.subscribers.shards(), after, limit)
    }

    /// A page of the calls that have ended, the last one first. Works without a server too.
    fn ended_calls(&self, before: Option<i64>, limit: usize) -> Result<Value, Refused> {
        if before.is_none() {
            shards::await_records(self.subscribers.shards());
        }
        let calls = self.subscribers.ended_calls(before, limit)?;
        let next = calls.last().filter(|_| calls.len() == limit).map(|call| call.id);
        let time = |unix_ms: i64| utc::rfc3339(u64::try_from(unix_ms).unwrap_or_default() / 1000);
        let entry = |call: &StoredCall| {
            let talked_ms = call.answered_unix_ms.map_or(0, |answered| call.ended_unix_ms - answered);
            json!({
                "call_id": call.call_id,
                "from": call.caller,
                "to": call.callee,
                "from_name": call.caller_name,
                "to_name": call.callee_name,
                "started": time(call.started_unix_ms),
                "answered": call.answered_unix_ms.map(time),
                "ended": time(call.ended_unix_ms),
                "talked_s": talked_ms.max(0) / 1000,
                "end": call.ended_by,
                "status": call.status,
                "reason": call.reason,
            })
        };
        let entries: Vec<Value> = calls.iter().map(entry).collect();
        Ok(json!({"calls": entries, "next": next}))
    }

    fn put_users(&self, request: &Value) -> Result<Value, Refused> {
        let put = match request["if"].as_str() {
            Some("new") => Put::New,
            Some("existing") => Put::Existing,
            Some("any") => Put::Any,
            _ => return Err(Refused::bad("expected `if`: new, existing or any")),
        };
        let users = request["users"].as_array().filter(|users| (1..=USERS_MAX).contains(&users.len()));
        let users = users.ok_or_else(|| Refused::bad("expected `users`: a list of 1 to 500"))?;
        let users = users.iter().map(|user| {
            let name = text(user, "name")?.ok_or_else(|| Refused::bad("expected `name` of each user"))?;
            let password = text(user, "password")?;
            let password = password.ok_or_else(|| Refused::bad("expected `password` of each user"))?;
            Ok(NamedUser::new(name, text(user, "domain")?, password))
        });
        let users = users.collect::<Result<Vec<NamedUser>, Refused>>()?;
        let domains = self.subscribers.put(&users, put)?;
        let users = users.iter().zip(&domains);
        let users: Vec<Value> = users
            .map(|(user, domain)| json!({"name": user.name.as_str(), "domain": domain.as_str()}))
            .collect();
        Ok(json!({"users": users}))
    }

    /// Users after `DOMAIN/NAME`.
    fn list_users(&self, after: Option<&str>) -> Result<Value, Refused> {
        let after = match after {
            None => ("", ""),
            Some(after) => {
                after.split_once('/').ok_or_else(|| Refused::bad("expected `after`: DOMAIN/NAME"))?
            }
        };
        let all = self.subscribers.list()?;
        let mut rest = all.iter().filter(|user| (user.domain(), user.user()) > after);
        let page: Vec<_> = rest.by_ref().take(LIST_MAX).collect();
        let next = rest.next().and(page.last()).map(|last| format!("{}/{}", last.domain(), last.user()));
        let users: Vec<Value> =
            page.iter().map(|user| json!({"name": user.user(), "domain": user.domain()})).collect();
        Ok(json!({"users": users, "next": next}))
    }
}

/// A text that may be left out.
fn text<'a>(object: &'a Value, name: &str) -> Result<Option<&'a str>, Refused> {
    match &object[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Refused::bad(&format!("expected a text for `{name}`"))),
    }
}

fn limit(request: &Value) -> Result<usize, Refused> {
    match &request["limit"] {
        Value::Null => Ok(PAGE),
        Value::Number(number) => page_limit(number.as_u64()),
        _ => page_limit(None),
    }
}

/// A number of entries that a page may have.
pub(crate) fn page_limit(asked: Option<u64>) -> Result<usize, Refused> {
    let asked = asked.and_then(|asked| usize::try_from(asked).ok());
    asked
        .filter(|asked| (1..=PAGE_MAX).contains(asked))
        .ok_or_else(|| Refused::bad("expected a `limit` of 1 to 500"))
}
