//! Log lines: text for people, JSON for machines, to the standard error output; counted by level.

use std::io::IsTerminal as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings};
use crate::metrics::{IntCounter, Metrics};

/// What others log that no level turns on: `h2` shows header fields, and with them cookies; `rusqlite_migration` tells
/// at `info` what `session` tells in its own words.
const QUIET: [&str; 2] = ["h2=info", "rusqlite_migration=warn"];

/// Starts logging; once in a process.
pub(super) fn start(settings: &LogSettings, metrics: &Metrics) {
    let json = match settings.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = QUIET
        .iter()
        .fold(filter, |filter, directive| filter.add_directive(directive.parse().expect("a target and a level")));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!json && std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter).with(Counter::new(metrics));
    let started = match json {
        true => registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init(),
        false => registry.with(lines.compact()).try_init(),
    };
    if let Err(error) = started {
        tracing::warn!(%error, "logging was started before");
    }
}

/// Counts lines by level.
struct Counter {
    levels: [IntCounter; 5],
}

const LEVELS: [(Level, &str); 5] = [
    (Level::ERROR, "error"),
    (Level::WARN, "warn"),
    (Level::INFO, "info"),
    (Level::DEBUG, "debug"),
    (Level::TRACE, "trace"),
];

impl Counter {
    fn new(metrics: &Metrics) -> Self {
        Self { levels: LEVELS.map(|(_, name)| metrics.log_messages_total.with_label_values(&[name])) }
    }
}

impl<S: Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = event.metadata().level();
        if let Some(index) = LEVELS.iter().position(|(known, _)| known == level) {
            self.levels[index].inc();
        }
    }
}
