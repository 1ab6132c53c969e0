//! Log lines: text for people, JSON for machines, to the standard error output; counted by level.

use std::io::IsTerminal as _;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, dynamic_filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings};
use crate::metrics::{IntCounter, Metrics};
use crate::trace::{self, Traces};

/// What others log that no level turns on: `h2` shows header fields, and with them cookies; `rusqlite_migration` tells
/// at `info` what `session` tells in its own words.
const QUIET: [&str; 2] = ["h2=info", "rusqlite_migration=warn"];

/// Starts logging, and sending traces where variables ask for that; once in a process.
pub(super) fn start(settings: &LogSettings, metrics: &Metrics) -> Option<Traces> {
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
    // What only a collector is sent is in no log line.
    let filter = filter.add_directive(format!("{}=off", trace::TARGET).parse().expect("a target and a level"));
    let traces = Traces::start(|name| std::env::var_os(name));
    let sent = traces.as_ref().ok().and_then(Option::as_ref).map(|traces| {
        let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer()).with_location(false);
        let layer = layer.with_threads(false).with_tracked_inactivity(false).with_level(false);
        layer.with_filter(dynamic_filter_fn(is_sent)).boxed()
    });
    let lines = match json {
        true => lines.json().flatten_event(true).with_span_list(false).boxed(),
        false => lines.compact().boxed(),
    };
    let logged = lines.and_then(Counter::new(metrics)).with_filter(filter).boxed();
    // A layer that is `None` would want every span, and so have each made that nobody else wants.
    let layers: Vec<_> = sent.into_iter().chain([logged]).collect();
    if let Err(error) = tracing_subscriber::registry().with(layers).try_init() {
        tracing::warn!(%error, "logging was started before");
    }
    match traces {
        Ok(traces) => traces,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "no traces are sent");
            None
        }
    }
}

/// Whether a span is one for the collector: a request, and what is asked of others in it. What happens without a request
/// makes no traces, events none at all.
fn is_sent<S>(metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let request = metadata.name() == trace::REQUEST && metadata.target() == "lychgate::web";
    metadata.is_span() && (request || (metadata.target() == trace::TARGET && context.lookup_current().is_some()))
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
