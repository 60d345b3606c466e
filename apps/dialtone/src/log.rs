//! The log: lines on standard error (docs/manual/logs.md).

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};

use dialtone_node::LogControl;
use dialtone_node::config::{LogFormat, LogLevel};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The variable of the environment that sets how much is written, whatever the settings say.
const VARIABLE: &str = "DIALTONE_LOG";

/// Begins the log. A reload may change its level, unless the environment sets it.
pub(crate) fn begin(format: LogFormat, level: LogLevel) -> LogControl {
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(filter_of(level));
    let registry = tracing_subscriber::registry().with(filter);
    // Times are UTC in the form of RFC 3339: the default of both formats.
    match format {
        LogFormat::Json => {
            let lines =
                fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(lines.with_writer(std::io::stderr)).init();
        }
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            registry.with(fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).init();
        }
    }
    LogControl(Arc::new(move |level| {
        if let Err(error) = handle.reload(filter_of(level)) {
            tracing::error!(%error, "the level of the log could not be changed");
        }
    }))
}

/// The last lines of a log that is shown on a screen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<VecDeque<String>>>);

/// Lines that wait to be shown at most; older ones are gone then.
const LINES_MAX: usize = 100;

impl Lines {
    /// Takes the lines that came since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.lock().map(|mut lines| lines.drain(..).collect()).unwrap_or_default()
    }
}

impl Write for Lines {
    /// A whole line at a time: so the subscriber writes.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Ok(mut lines) = self.0.lock() {
            lines.push_back(String::from_utf8_lossy(bytes).trim_end().to_owned());
            let surplus = lines.len().saturating_sub(LINES_MAX);
            lines.drain(..surplus);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Begins a log whose lines are taken by a screen.
pub(crate) fn begin_into(lines: Lines, level: LogLevel) {
    let to = fmt::layer().with_ansi(false).without_time().with_writer(move || lines.clone());
    tracing_subscriber::registry().with(filter_of(level)).with(to).init();
}

fn filter_of(level: LogLevel) -> EnvFilter {
    EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(level.as_str()))
}
