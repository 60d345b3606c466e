//! The log: lines on standard error (docs/manual/logs.md).

use std::io::IsTerminal;
use std::sync::Arc;

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

fn filter_of(level: LogLevel) -> EnvFilter {
    EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(level.as_str()))
}
