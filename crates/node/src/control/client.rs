//! Asking a running server; for users, the store itself when no server runs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

use super::handler::{Handler, PAGE_MAX, USERS_MAX};
use super::{SOCKET_NAME, socket};
use crate::store::{Folder, SqliteStore, StoreError};
use crate::subscribers::{NamedUser, Put, Subscribers};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer at most.
const ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// No server has the folder.
    #[error("no dialtone serves {}: start one with `dialtone serve --data`, or name its folder with --data", .0.display())]
    NotRunning(PathBuf),
    /// The folder is not there.
    #[error("{} is not there: name the data folder with --data", .0.display())]
    NoFolder(PathBuf),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server could not be asked.
    #[error("the server could not be asked: {0}")]
    Io(#[from] io::Error),
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// The word for programs: see docs/manual/control.md.
        code: String,
        /// The sentence for people.
        message: String,
    },
    /// What came is no answer of this version.
    #[error("the server gave no answer that this version knows")]
    Strange,
}

/// Whoever answers for a data folder.
pub struct Control {
    way: Way,
}

enum Way {
    Socket(BufReader<std::os::unix::net::UnixStream>),
    Store(Box<Handler>),
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

impl Control {
    /// Connects to the server that has the folder.
    ///
    /// # Errors
    /// [`AskError::NotRunning`] when there is none.
    pub fn connect(data: &Path) -> Result<Control, AskError> {
        let stream = socket::connect(&data.join(SOCKET_NAME)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                AskError::NotRunning(data.to_path_buf())
            }
            _ => AskError::Io(error),
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Control { way: Way::Socket(BufReader::new(stream)) })
    }

    /// The same, or, where no server runs, the store itself, for as long as this lives. The folder is made only if `make`
    /// says so.
    ///
    /// # Errors
    /// When the folder is not there, or the store can't be used.
    pub fn connect_or_open(data: &Path, make: bool) -> Result<Control, AskError> {
        match Control::connect(data) {
            Err(AskError::NotRunning(_)) => {}
            other => return other,
        }
        if !make && !data.is_dir() {
            return Err(AskError::NoFolder(data.to_path_buf()));
        }
        let store = Box::new(SqliteStore::open(Folder::take(data)?)?);
        let handler = Handler {
            subscribers: Subscribers::new(store, Vec::new(), Vec::new()),
            facts: None,
            dialled: Default::default(),
        };
        Ok(Control { way: Way::Store(Box::new(handler)) })
    }

    /// Whether a server answers.
    pub const fn is_running(&self) -> bool {
        matches!(self.way, Way::Socket(_))
    }

    /// What the server says of itself: docs/manual/status.md.
    ///
    /// # Errors
    /// When it gives no answer.
    pub fn status(&mut self) -> Result<Value, AskError> {
        self.ask(&json!({"schema": 1, "op": "status"}))
    }

    /// Writes users, those that are known at once. Gives name and domain of each. More than 500 go in several steps, each
    /// of which is done as a whole or not at all.
    ///
    /// # Errors
    /// When one of them is refused; those of the steps before stay.
    pub fn put_users(&mut self, users: &[NamedUser], put: Put) -> Result<Vec<(String, String)>, AskError> {
        let condition = match put {
            Put::New => "new",
            Put::Existing => "existing",
            Put::Any => "any",
        };
        let mut done = Vec::with_capacity(users.len());
        for step in users.chunks(USERS_MAX) {
            let step: Vec<Value> = step
                .iter()
                .map(|user| {
                    json!({
                        "name": user.name.as_str(),
                        "domain": user.domain.as_deref(),
                        "password": user.password.as_str(),
                    })
                })
                .collect();
            let answer = self.ask(&json!({"schema": 1, "op": "user.put", "if": condition, "users": step}))?;
            done.extend(names(&answer["users"])?);
        }
        Ok(done)
    }

    /// Removes a user; gives its domain.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove_user(&mut self, name: &str, domain: Option<&str>) -> Result<String, AskError> {
        let answer = self.ask(&json!({"schema": 1, "op": "user.remove", "name": name, "domain": domain}))?;
        answer["user"]["domain"].as_str().map(str::to_owned).ok_or(AskError::Strange)
    }

    /// Name and domain of all users.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn users(&mut self) -> Result<Vec<(String, String)>, AskError> {
        let mut all = Vec::new();
        let mut after = Value::Null;
        loop {
            let answer = self.ask(&json!({"schema": 1, "op": "user.list", "after": after}))?;
            all.extend(names(&answer["users"])?);
            after = answer["next"].clone();
            if after.is_null() {
                return Ok(all);
            }
        }
    }

    /// What holds for the calls of a user, and what was chosen for him: docs/manual/forwarding.md.
    ///
    /// # Errors
    /// When there is no such user, or no answer.
    pub fn services(&mut self, name: &str, domain: Option<&str>) -> Result<Value, AskError> {
        self.ask(&json!({"schema": 1, "op": "services.get", "name": name, "domain": domain}))
    }

    /// Changes that; gives what holds now.
    ///
    /// # Errors
    /// When it is refused: then nothing has changed.
    pub fn change_services(
        &mut self,
        name: &str,
        domain: Option<&str>,
        changes: &Value,
    ) -> Result<Value, AskError> {
        let request = json!({
            "schema": 1,
            "op": "services.set",
            "name": name,
            "domain": domain,
            "changes": changes,
        });
        self.ask(&request)
    }

    /// All users who chose something, and what.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn services_of_all(&mut self) -> Result<Vec<Value>, AskError> {
        let (mut all, mut after) = (Vec::new(), Value::Null);
        loop {
            let answer = self.ask(&json!({"schema": 1, "op": "services.list", "after": after}))?;
            all.extend(answer["users"].as_array().ok_or(AskError::Strange)?.iter().cloned());
            after = answer["next"].clone();
            if after.is_null() {
                return Ok(all);
            }
        }
    }

    /// All calls that are going on.
    ///
    /// # Errors
    /// When the server gives no answer.
    pub fn calls(&mut self) -> Result<Vec<Value>, AskError> {
        let mut all = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut answer =
                self.ask(&json!({"schema": 1, "op": "calls", "after": after, "limit": PAGE_MAX}))?;
            all.extend(entries(&mut answer)?);
            after = answer["next"].take();
            if after.is_null() {
                return Ok(all);
            }
        }
    }

    /// The calls that ended last, the last one first: docs/manual/calls.md.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ended_calls(&mut self, count: usize) -> Result<Vec<Value>, AskError> {
        let mut all: Vec<Value> = Vec::new();
        let mut before = Value::Null;
        while all.len() < count {
            let limit = (count - all.len()).min(PAGE_MAX);
            let request = json!({"schema": 1, "op": "calls.ended", "before": before, "limit": limit});
            let mut answer = self.ask(&request)?;
            all.extend(entries(&mut answer)?);
            before = answer["next"].take();
            if before.is_null() {
                break;
            }
        }
        Ok(all)
    }

    /// Makes the server call a user of its own, then somebody else, and join them; gives the number of the call.
    /// `caller` is another user, in whose name the second one is called.
    ///
    /// # Errors
    /// When it refuses.
    pub fn dial(&mut self, first: &str, second: &str, caller: Option<&str>) -> Result<u64, AskError> {
        let request = json!({"schema": 1, "op": "dial", "first": first, "second": second, "as": caller});
        self.ask(&request)?["id"].as_u64().ok_or(AskError::Strange)
    }

    /// How far such a call is: docs/manual/dial.md.
    ///
    /// # Errors
    /// When it is not known any more.
    pub fn dialled(&mut self, id: u64) -> Result<Value, AskError> {
        self.ask(&json!({"schema": 1, "op": "dial.state", "id": id}))
    }

    /// Makes the server read its settings again; gives its report.
    ///
    /// # Errors
    /// When it refuses.
    pub fn reload(&mut self) -> Result<Value, AskError> {
        self.ask(&json!({"schema": 1, "op": "reload"}))
    }

    /// Drops what an IP address sends from now on, for some seconds or until it is freed.
    ///
    /// # Errors
    /// When it is no address, or the server gives no answer.
    pub fn block(&mut self, address: &str, time_s: Option<u64>) -> Result<Value, AskError> {
        self.ask(&json!({"schema": 1, "op": "block", "address": address, "time_s": time_s}))
    }

    /// Frees an IP address or a user, or without either everybody who is held off or blocked.
    ///
    /// # Errors
    /// When the server gives no answer.
    pub fn unblock(&mut self, target: Option<&str>) -> Result<Value, AskError> {
        self.ask(&json!({"schema": 1, "op": "unblock", "target": target, "all": target.is_none()}))
    }

    fn ask(&mut self, request: &Value) -> Result<Value, AskError> {
        let answer = match &mut self.way {
            Way::Store(handler) => handler.answer(request),
            Way::Socket(stream) => {
                let mut line = request.to_string().into_bytes();
                line.push(b'\n');
                stream.get_mut().write_all(&line)?;
                line.clear();
                stream.by_ref().take(ANSWER_BYTES).read_until(b'\n', &mut line)?;
                serde_json::from_slice(&line).map_err(|_| AskError::Strange)?
            }
        };
        match (answer["schema"].as_u64(), answer["ok"].as_bool()) {
            (Some(1), Some(true)) => Ok(answer),
            (Some(1), Some(false)) => {
                let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
                Err(AskError::Refused { code: text("code"), message: text("error") })
            }
            _ => Err(AskError::Strange),
        }
    }
}

fn entries(answer: &mut Value) -> Result<Vec<Value>, AskError> {
    match answer["calls"].take() {
        Value::Array(calls) => Ok(calls),
        _ => Err(AskError::Strange),
    }
}

fn names(users: &Value) -> Result<Vec<(String, String)>, AskError> {
    let users = users.as_array().ok_or(AskError::Strange)?;
    let text = |user: &Value, name: &str| user[name].as_str().map(str::to_owned).ok_or(AskError::Strange);
    users.iter().map(|user| Ok((text(user, "name")?, text(user, "domain")?))).collect()
}
