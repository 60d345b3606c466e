//! What a server is told by its settings file and its command line: read at the start, and again at each reload.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dialtone_roles::settings::{Domain, Settings};
use dialtone_wire::uri::Host;

use crate::config::{Change, Config, Facts, HostName, LogLevel, Problem, Resolved, changes};
use crate::running::StartError;
use crate::server::{Data, ServerConfig};

/// The domain of a machine without a name.
const NAMELESS: &str = "localhost";

/// Whoever writes the log: is told each time that a reload may have changed the level.
#[derive(Clone)]
pub struct LogControl(pub Arc<dyn Fn(LogLevel) + Send + Sync>);

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControl(..)")
    }
}

/// What came of a reload. With problems nothing has changed: the settings of before go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The keys whose new values count from now on.
    pub changed: Vec<&'static str>,
    /// The keys of which the file has other values than the server was started with, and that count from the next
    /// start on.
    pub needs_restart: Vec<&'static str>,
    /// What is wrong with the file.
    pub problems: Vec<Problem>,
}

impl ServerConfig {
    /// Reads the settings file, if one is named, and puts the command line over it.
    ///
    /// # Errors
    /// All problems of both at once; a domain of the command line that is no name.
    pub fn resolve(&self) -> Result<(Config, Resolved), StartError> {
        let facts = self.facts()?;
        let read = match (&self.file, &self.text) {
            (None, Some(text)) => Config::read_and_resolve(text, "(built-in settings)", &facts),
            (file, _) => Config::load_and_resolve(file.as_deref(), &facts),
        };
        let (config, mut resolved) = read.map_err(StartError::Config)?;
        resolved.shards = self.shards.unwrap_or(resolved.shards);
        add_machine_names(&mut resolved.domains);
        Ok((config, resolved))
    }

    fn facts(&self) -> Result<Facts<'_>, StartError> {
        let mut domains: Vec<HostName> = Vec::new();
        for name in &self.domains {
            let name = name.parse().map_err(|_| StartError::Domain(name.clone()))?;
            if !domains.contains(&name) {
                domains.push(name);
            }
        }
        Ok(Facts {
            data: match &self.data {
                Data::Memory => Path::new(""),
                Data::Folder(path) => path,
            },
            listen: self.listen.clone(),
            domains,
            public: self.public,
            open: self.open,
            fallback_domain: machine_name().parse().unwrap_or_default(),
        })
    }

    /// The keys of the file that the command line overrides: a change of them in the file is none.
    fn overridden(&self) -> Vec<&'static str> {
        let lines = [
            ("server.listen", !self.listen.is_empty()),
            ("server.public", self.public),
            ("server.shards", self.shards.is_some()),
            ("digest.required", self.open),
            ("proxy.foreign", self.open),
        ];
        lines.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key).collect()
    }
}

/// What a running server needs to read its settings again.
pub(crate) struct Configured {
    told: ServerConfig,
    /// Of the start: what a later file says otherwise about keys that need a restart is not in force.
    started: Config,
    /// Whether addresses that can be reached from outside may be in use, whatever the file says by now.
    public: bool,
    current: Mutex<Current>,
}

struct Current {
    config: Config,
    resolved: Resolved,
    version: u64,
    draining: bool,
}

impl Configured {
    pub(crate) fn new(told: ServerConfig, config: Config, resolved: Resolved) -> Configured {
        let (started, public) = (config.clone(), resolved.public);
        let current = Mutex::new(Current { config, resolved, version: 0, draining: false });
        Configured { told, started, public, current }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        // What it holds is replaced as a whole: a panic leaves nothing half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in force, but for keys that need a restart.
    pub(crate) fn resolved(&self) -> Resolved {
        self.current().resolved.clone()
    }

    /// Reads the file again and hands the new settings to `configure`, with what can't change as in `running`.
    pub(crate) fn reload(&self, running: &Settings, configure: impl FnOnce(Arc<Settings>)) -> ReloadReport {
        let mut current = self.current();
        // An address that the start opened to the outside stays open: nothing may then let strangers in.
        let told = ServerConfig { public: self.public, ..self.told.clone() };
        let (config, resolved) = match told.resolve() {
            Ok(read) => read,
            Err(StartError::Config(problems)) => return ReloadReport { problems, ..ReloadReport::default() },
            Err(error) => {
                // The command line was good at the start.
                tracing::error!(%error, "the settings can't be read again");
                return ReloadReport::default();
            }
        };
        let overridden = self.told.overridden();
        let of = |old: &Config, wanted: Change| -> Vec<&'static str> {
            changes(old, &config)
                .into_iter()
                .filter(|(key, change)| *change == wanted && !overridden.contains(key))
                .map(|(key, _)| key)
                .collect()
        };
        let changed = of(&current.config, Change::Reload);
        let needs_restart = of(&self.started, Change::Restart);
        let version = current.version + 1;
        configure(Arc::new(settings(&resolved, running, version, current.draining)));
        if let Some(LogControl(tell)) = &self.told.log {
            tell(resolved.log_level);
        }
        *current = Current { config, resolved, version, draining: current.draining };
        ReloadReport { changed, needs_restart, problems: Vec::new() }
    }

    /// Hands the settings of now to `configure`, with the word that no new calls are taken.
    pub(crate) fn drain(&self, running: &Settings, configure: impl FnOnce(Arc<Settings>)) {
        let mut current = self.current();
        current.draining = true;
        current.version += 1;
        configure(Arc::new(settings(&current.resolved, running, current.version, true)));
    }
}

/// New settings for engines that run: what needs a restart is as it was.
fn settings(resolved: &Resolved, running: &Settings, version: u64, draining: bool) -> Settings {
    let mut new =
        resolved.settings(version, running.secret.clone(), running.unix_start_s, running.listeners.clone());
    // The framing of streams has it from the start.
    new.limits.message.message_bytes = running.limits.message.message_bytes;
    Settings { shards: running.shards, digest: running.digest, journal: running.journal, draining, ..new }
}

/// The first domain has the names of the machine as aliases, unless they mean another one.
fn add_machine_names(domains: &mut [Domain]) {
    let machine = machine_name();
    for alias in [NAMELESS.to_owned(), format!("{machine}.local"), machine] {
        let is_new = domains
            .iter()
            .all(|domain| domain.name != alias && !domain.aliases.iter().any(|known| *known == alias));
        if let (true, Ok(_), Some(first)) = (is_new, Host::parse(&alias), domains.first_mut()) {
            first.aliases.push(alias.into());
        }
    }
}

fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() || name == "(none)" || Host::parse(&name).is_err() {
        NAMELESS.to_owned()
    } else {
        name
    }
}

/// The problems of a settings file, one after the other.
pub(crate) fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Checks a settings file as a start would, without starting anything.
///
/// # Errors
/// All problems at once.
pub fn check(file: Option<PathBuf>, data: PathBuf) -> Result<Resolved, Vec<Problem>> {
    let told = ServerConfig { file, ..ServerConfig::new(Data::Folder(data)) };
    match told.resolve() {
        Ok((_, resolved)) => Ok(resolved),
        Err(StartError::Config(problems)) => Err(problems),
        // Only a domain of the command line could be wrong beside, and there is none.
        Err(_) => Err(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
