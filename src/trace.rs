//! Traces: what a collector is sent over OTLP, and the context that goes from one service to the next as `traceparent`
//! (W3C Trace Context). The only home of `opentelemetry`; off unless the standard variables `OTEL_…` turn it on, and then
//! no more than spans that nobody enables.
//!
//! The span of a request is the one that log lines stand in, made in `web`. What is asked of others while it lasts makes
//! spans of this module's target, which no log shows. None holds a query, a path, a header or anything of a person.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of spans that only a collector is sent.
pub const TARGET: &str = "lychgate::trace";
/// The name of a request's span.
pub const REQUEST: &str = "request";
/// How long the end of the process waits for the collector.
const FAREWELL: Duration = Duration::from_secs(5);

static ON: AtomicBool = AtomicBool::new(false);
static PROPAGATES: AtomicBool = AtomicBool::new(false);

/// Why no traces are sent, though variables ask for them.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Another protocol than the one we speak.
    #[error("{variable} is {value:?}; http/protobuf is the one protocol that lychgate speaks")]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// The exporter does not take the variables.
    #[error("OTEL_EXPORTER_OTLP_…")]
    Exporter(#[from] ExporterBuildError),
}

/// Traces that are sent to a collector.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins, if the variables of the process, as `variable` reads them, ask for it. Touches no network.
    ///
    /// # Errors
    /// They ask for what we cannot do.
    pub fn start(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, TraceError> {
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().trim().to_owned());
        let is_set = |name: &str| text(name).is_some_and(|value| !value.is_empty());
        let off = text("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || text("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let asked = is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        if off || !asked {
            return Ok(None);
        }
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            match text(name) {
                Some(value) if !value.is_empty() && value != "http/protobuf" => {
                    return Err(TraceError::Protocol { variable: name, value });
                }
                Some(value) if !value.is_empty() => break,
                _ => {}
            }
        }
        let exporter = SpanExporter::builder().with_http().build()?;
        let mut resource = Resource::builder();
        if !is_set("OTEL_SERVICE_NAME")
            && !text("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="))
        {
            resource = resource.with_service_name("lychgate");
        }
        let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let propagators = text("OTEL_PROPAGATORS").filter(|names| !names.is_empty());
        let propagates = propagators.is_none_or(|names| names.split(',').any(|name| name.trim() == "tracecontext"));
        PROPAGATES.store(propagates, Ordering::Relaxed);
        ON.store(true, Ordering::Relaxed);
        Ok(Some(Self(provider)))
    }

    /// What makes spans of ours into spans of theirs.
    pub fn tracer(&self) -> SdkTracer {
        self.0.tracer("lychgate")
    }

    /// Sends what waits; blocks for some seconds at most.
    pub fn finish(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FAREWELL) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Whether traces are sent.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Puts the span of a request into the trace that the request says it belongs to, if whoever sent it is `trusted`; else
/// it begins a trace of its own, which only links to that. Before the span is entered.
pub fn follow(span: &Span, headers: &HeaderMap, trusted: bool) {
    if !is_on() || !PROPAGATES.load(Ordering::Relaxed) {
        return;
    }
    // Of no context, so that the span at hand is none.
    let told = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let remote = told.span().span_context().clone();
    if !remote.is_valid() {
        return;
    }
    if trusted {
        // It fails only where nobody listens to the span.
        let _ = span.set_parent(told);
    } else {
        span.add_link(remote);
    }
}

/// The ids of a span's trace and of the span itself, as hexadecimal digits; none where it is not sent anywhere.
pub fn ids(span: &Span) -> Option<(String, String)> {
    if !is_on() {
        return None;
    }
    let context = span.context();
    let ids = context.span().span_context().clone();
    ids.is_valid().then(|| (ids.trace_id().to_string(), ids.span_id().to_string()))
}

/// Says how a request was answered.
pub fn answered<'t>(
    span: &Span,
    method: &str,
    route: &'static str,
    status: http::StatusCode,
    tenant: impl FnOnce() -> &'t str,
) {
    if !is_on() {
        return;
    }
    // Recorded as a field, a name would count only before the span begins.
    span.context().span().update_name(format!("{method} {route}"));
    span.set_attribute("http.request.method", method.to_owned());
    span.set_attribute("http.route", route);
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    span.set_attribute("lychgate.tenant", tenant().to_owned());
    if status.is_server_error() {
        failed(span, status.as_str());
    }
}

/// Says that what a span stands for failed, by a code of ours.
pub fn failed(span: &Span, code: &str) {
    if is_on() {
        span.set_attribute("error.type", code.to_owned());
        span.set_status(Status::error(code.to_owned()));
    }
}

/// An operation of the session store.
pub fn store(store: &'static str, operation: &str) -> Span {
    let system = if store == "redis" { "redis" } else { "sqlite" };
    tracing::info_span!(
        target: TARGET,
        "store",
        otel.name = tracing::field::display(format_args!("session {operation}")),
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = operation,
    )
}

/// A request to a provider; it is not told of the trace.
pub fn provider(endpoint: &'static str, tenant: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "provider",
        otel.name = tracing::field::display(format_args!("oidc.{endpoint}")),
        otel.kind = "client",
        lychgate.tenant = tenant,
    )
}

/// A request to an application.
pub fn upstream(method: &str, tenant: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "upstream",
        otel.name = method,
        otel.kind = "client",
        http.request.method = method,
        lychgate.tenant = tenant,
        http.response.status_code = tracing::field::Empty,
    )
}

/// Tells the application that it belongs to the trace of `span`, whatever the client said.
pub fn pass_on(span: &Span, headers: &mut HeaderMap) {
    if !is_on() || !PROPAGATES.load(Ordering::Relaxed) {
        return;
    }
    let context = span.context();
    if context.span().span_context().is_valid() {
        for name in ["traceparent", "tracestate"] {
            headers.remove(name);
        }
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(variables: &[(&str, &str)]) -> Result<Option<Traces>, TraceError> {
        Traces::start(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn nothing_is_sent_unless_a_variable_says_where() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
        for off in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[endpoint, ("OTEL_SDK_DISABLED", "True")],
            &[endpoint, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(started(off).unwrap().is_none(), "{off:?}");
        }
        let error = started(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err().to_string();
        assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\"; http/protobuf"), "{error}");
        assert!(!is_on());
    }
}
