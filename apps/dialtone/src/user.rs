//! `dialtone user`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dialtone_node::control::{AskError, Control, NamedUser, Put, read_users};
use serde_json::{Value, json};

use crate::Outcome;
use crate::exit::Exit;
use crate::manage::{Target, failed};
use crate::say;

/// Bytes of a file of users at most.
const IMPORT_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a file with a password at most.
const PASSWORD_BYTES: u64 = 4096;

/// The arguments of `dialtone user`.
///
/// A running server is asked and knows the change at once; without one, the data folder itself is changed.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct User {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Adds a user. Without a password, one is made and shown this once.
    Add(Named),
    /// Gives a user a new password. Without one, it is made and shown this once.
    Passwd(Named),
    /// Adds or changes many users: NAME,PASSWORD,DOMAIN a line, the last two optional. Passwords that are made are shown
    /// this once.
    Import {
        /// The file; - reads standard input.
        file: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Lists all users.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Removes a user: nobody registers or calls with that name from now on, and its phones are forgotten.
    Remove {
        /// The user's name, or NAME@DOMAIN.
        name: String,
        /// The domain; by default the first one of the server.
        #[arg(long, value_name = "NAME")]
        domain: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

/// A user and its password.
#[derive(Debug, Args)]
struct Named {
    /// The user's name: what stands before the @ of the address. NAME@DOMAIN names a user of that domain.
    name: String,
    /// The password; others may see it in the list of processes.
    #[arg(long, value_name = "PW", conflicts_with = "password_file")]
    password: Option<String>,
    /// A file whose first line is the password; - reads standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The domain; by default the first one of the server.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl User {
    pub(crate) fn run(&self) -> Outcome {
        let (result, as_json) = match &self.action {
            Action::Add(named) => (named.put(Put::New), named.target.json),
            Action::Passwd(named) => (named.put(Put::Existing), named.target.json),
            Action::Import { file, target } => (import(file, target), target.json),
            Action::List { target } => (list(target), target.json),
            Action::Remove { name, domain, target } => (remove(name, domain.as_deref(), target), target.json),
        };
        Ok(match result {
            Ok(exit) => exit,
            Err(Fault::Ask(error)) => failed(&error, as_json),
            Err(Fault::File(path, error)) => {
                eprintln!("dialtone: {} can't be read: {error}", path.display());
                Exit::Usage
            }
        })
    }
}

enum Fault {
    Ask(AskError),
    File(PathBuf, io::Error),
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Fault {
        Fault::Ask(error)
    }
}

impl Named {
    fn put(&self, put: Put) -> Result<Exit, Fault> {
        let given = match (&self.password, &self.password_file) {
            (Some(password), _) => Some(password.clone()),
            (None, Some(file)) => {
                let text = read(file, PASSWORD_BYTES)?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
            (None, None) => None,
        };
        let made = given.is_none();
        let password = given.map_or_else(dialtone_node::password, Into::into);
        let user = NamedUser::new(&self.name, self.domain.as_deref(), &password);
        let name = user.name.clone();
        let mut control = Control::connect_or_open(&self.target.data, put == Put::New)?;
        let done = control.put_users(&[user], put)?;
        let domain = done.first().map(|(_, domain)| domain.as_str()).unwrap_or_default();
        if self.target.json {
            let shown = made.then_some(password.as_str());
            say(&format!(
                "{}\n",
                json!({"schema": 1, "ok": true, "users": [user_json(&name, domain, shown)]})
            ));
        } else {
            let done = if put == Put::New { "is a user" } else { "has a new password" };
            say(&format!("{name}@{domain} {done}\n"));
            if made {
                say(&format!("\n  Password    {password}\n\nIt is shown this once and kept nowhere.\n"));
            }
        }
        Ok(Exit::Success)
    }
}

fn user_json(name: &str, domain: &str, password: Option<&str>) -> Value {
    match password {
        Some(password) => json!({"name": name, "domain": domain, "password": password}),
        None => json!({"name": name, "domain": domain}),
    }
}

fn import(file: &Path, target: &Target) -> Result<Exit, Fault> {
    let text = read(file, IMPORT_BYTES)?;
    let users = match read_users(&text) {
        Ok(users) => users,
        Err(errors) => {
            for error in errors {
                eprintln!("dialtone: {}: {error}", file.display());
            }
            return Ok(Exit::Usage);
        }
    };
    let mut control = Control::connect_or_open(&target.data, true)?;
    let named: Vec<NamedUser> = users.iter().map(|user| user.user.clone()).collect();
    let done = control.put_users(&named, Put::Any)?;
    let shown = users.iter().zip(&done).map(|(user, (name, domain))| {
        (name.as_str(), domain.as_str(), user.made.then_some(user.user.password.as_str()))
    });
    if target.json {
        let users: Vec<Value> =
            shown.map(|(name, domain, password)| user_json(name, domain, password)).collect();
        say(&format!("{}\n", json!({"schema": 1, "ok": true, "users": users})));
    } else {
        for (name, domain, password) in shown {
            if let Some(password) = password {
                say(&format!("{name}@{domain} {password}\n"));
            }
        }
        say(&format!("{} users\n", done.len()));
    }
    Ok(Exit::Success)
}

fn list(target: &Target) -> Result<Exit, Fault> {
    let users = Control::connect_or_open(&target.data, false)?.users()?;
    if target.json {
        let users: Vec<Value> = users.iter().map(|(name, domain)| user_json(name, domain, None)).collect();
        say(&format!("{}\n", json!({"schema": 1, "ok": true, "users": users})));
    } else {
        let lines: Vec<String> = users.iter().map(|(name, domain)| format!("{name}@{domain}\n")).collect();
        say(&lines.concat());
    }
    Ok(Exit::Success)
}

fn remove(name: &str, domain: Option<&str>, target: &Target) -> Result<Exit, Fault> {
    let NamedUser { name, domain, .. } = NamedUser::new(name, domain, "");
    let (name, domain) = (name.as_str(), domain.as_deref());
    let domain = Control::connect_or_open(&target.data, false)?.remove_user(name, domain)?;
    if target.json {
        say(&format!("{}\n", json!({"schema": 1, "ok": true, "users": [user_json(name, &domain, None)]})));
    } else {
        say(&format!("{name}@{domain} is no user any more\n"));
    }
    Ok(Exit::Success)
}

/// A file, or standard input for `-`, up to a limit.
fn read(path: &Path, limit: u64) -> Result<String, Fault> {
    let mut text = String::new();
    let result = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    match result {
        Ok(count) if count as u64 == limit => {
            Err(Fault::File(path.to_path_buf(), io::ErrorKind::FileTooLarge.into()))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(Fault::File(path.to_path_buf(), error)),
    }
}
