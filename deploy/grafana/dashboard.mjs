// The dashboard, by Grafana's own builders. `npm ci && npm run build` writes lychgate.json anew; tests compare the two, and
// evaluate every expression against a Prometheus that has scraped a lychgate.

import common from "@grafana/grafana-foundation-sdk/common";
import dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import heatmap from "@grafana/grafana-foundation-sdk/heatmap";
import prometheus from "@grafana/grafana-foundation-sdk/prometheus";
import stat from "@grafana/grafana-foundation-sdk/stat";
import statetimeline from "@grafana/grafana-foundation-sdk/statetimeline";
import table from "@grafana/grafana-foundation-sdk/table";
import timeseries from "@grafana/grafana-foundation-sdk/timeseries";

const SOURCE = { type: "prometheus", uid: "$datasource" };
/** Where a series comes from, and of which tenant it is. */
const HERE = 'namespace=~"$namespace",pod=~"$pod"';
const TENANT = `${HERE},tenant=~"$tenant"`;
const PROCESS = `job=~".*lychgate.*",${HERE}`;

const BAD = { green: null, red: 1 };
const GOOD = { red: null, green: 1 };

/** How fast a counter grows, summed up by labels. */
const rate = (series, by) => `sum by (${by}) (rate(${series}[$__rate_interval]))`;
const total = (series) => `sum(rate(${series}[$__rate_interval]))`;
const quantile = (q, histogram, by = "") =>
  `histogram_quantile(${q}, sum by (${["le", by].filter(Boolean).join(", ")}) (rate(${histogram}[$__rate_interval])))`;
const age = (series, by) => `time() - min by (${by}) (${series} != 0)`;

function overview() {
  const requests = `lychgate_http_requests_total{${TENANT},route!="upstream"}`;
  const errors = `lychgate_http_requests_total{${TENANT},route!="upstream",status=~"5.."}`;
  const durations = `lychgate_http_request_duration_seconds_bucket{${HERE},route="auth"}`;
  return [
    number("Ready replicas", "none", `sum(lychgate_ready{${HERE}})`, { steps: GOOD }),
    number("Versions", "none", `count by (version) (lychgate_build_info{${HERE}})`, {
      legend: "{{version}}",
      name: true,
    }),
    number("Requests", "reqps", total(requests)),
    number("Errors (5xx)", "percentunit", `(${total(errors)} or 0 * ${total(requests)}) / ${total(requests)}`, {
      steps: { green: null, orange: 0.001, red: 0.0144 },
    }),
    number("Sessions", "none", `sum(lychgate_sessions_active{${TENANT}})`),
    number("Tenants left out", "none", `max(lychgate_tenants{${HERE},state="invalid"})`, { steps: BAD }),
    graph("Requests by route", "reqps", [[rate(`lychgate_http_requests_total{${TENANT}}`, "route"), "{{route}}"]]),
    graph("Requests by status", "reqps", [[rate(`lychgate_http_requests_total{${TENANT}}`, "status"), "{{status}}"]]),
    graph("Time of a check", "s", [
      [quantile(0.5, durations), "half"],
      [quantile(0.99, durations), "99%"],
    ]),
  ];
}

function authorization() {
  const upstream = `lychgate_upstream_requests_total{${TENANT}}`;
  const durations = `lychgate_http_request_duration_seconds_bucket{${HERE},route="auth"}`;
  return [
    graph("Checks by outcome", "reqps", [
      [rate(`lychgate_forward_auth_decisions_total{${TENANT}}`, "outcome"), "{{outcome}}"],
    ]),
    heat("Time of checks", "s", `sum by (le) (increase(${durations}[$__rate_interval]))`),
    graph("Requests under way", "none", [[`sum(lychgate_http_requests_in_flight{${HERE}})`, "requests"]]),
    graph("Connections", "none", [
      [`sum by (listener) (lychgate_http_connections{${HERE}})`, "{{listener}}"],
      [`sum(lychgate_upstream_tunnels{${TENANT}}) or vector(0)`, "WebSockets"],
    ]),
    graph("Refused before a tenant was known", "ops", [
      [rate(`lychgate_http_connections_rejected_total{${HERE}}`, "reason"), "connection: {{reason}}"],
      [rate(`lychgate_http_rejected_requests_total{${HERE}}`, "reason"), "request: {{reason}}"],
    ]),
    graph("Applications: requests by outcome", "reqps", [
      [rate(upstream, "outcome, status"), "{{outcome}} {{status}}"],
    ]),
    graph("Applications: time until they answer", "s", [
      [quantile(0.5, `lychgate_upstream_request_duration_seconds_bucket{${HERE}}`), "half"],
      [quantile(0.99, `lychgate_upstream_request_duration_seconds_bucket{${HERE}}`), "99%"],
    ]),
    graph("Too often or too many", "ops", [
      [rate(`lychgate_rate_limited_requests_total{${TENANT}}`, "limit"), "{{limit}}"],
    ]),
  ];
}

function signIns() {
  const ended = `lychgate_sign_ins_total{${TENANT}}`;
  const good = `lychgate_sign_ins_total{${TENANT},result="ok"}`;
  return [
    graph("Sign-ins", "ops", [
      [total(`lychgate_sign_ins_started_total{${TENANT}}`), "started"],
      [total(good), "ok"],
      [`${total(ended)} - ${total(good)}`, "not ok"],
    ]),
    graph("Sign-ins by result", "ops", [[rate(ended, "result"), "{{result}}"]]),
    list(
      "Not ok, by tenant",
      "percentunit",
      `sort_desc(1 - sum by (tenant, provider) (increase(${good}[$__range])) / sum by (tenant, provider) (increase(${ended}[$__range])))`,
    ),
    graph("Time at the provider", "s", [
      [quantile(0.5, `lychgate_sign_in_duration_seconds_bucket{${HERE}}`), "half"],
      [quantile(0.9, `lychgate_sign_in_duration_seconds_bucket{${HERE}}`), "90%"],
    ]),
    graph("Sign-outs", "ops", [
      [rate(`lychgate_sign_outs_total{${TENANT}}`, "kind"), "{{kind}}"],
      [rate(`lychgate_backchannel_logout_requests_total{${TENANT}}`, "result"), "back channel: {{result}}"],
    ]),
    graph("Renewals of tokens", "ops", [[rate(`lychgate_token_refreshes_total{${TENANT}}`, "result"), "{{result}}"]]),
    graph("Tokens checked", "ops", [
      [rate(`lychgate_token_validations_total{${TENANT}}`, "kind, result"), "{{kind}}: {{result}}"],
    ]),
  ];
}

function providers() {
  const requests = `lychgate_provider_requests_total{${TENANT}}`;
  return [
    states("Providers", `min by (tenant, provider) (lychgate_provider_up{${TENANT}})`, "{{tenant}} {{provider}}"),
    graph("Requests by outcome", "reqps", [[rate(requests, "endpoint, outcome"), "{{endpoint}}: {{outcome}}"]]),
    graph("Time of requests, 99%", "s", [
      [quantile(0.99, `lychgate_provider_request_duration_seconds_bucket{${HERE}}`, "endpoint"), "{{endpoint}}"],
    ]),
    graph("Age of key sets", "s", [
      [
        age(`lychgate_provider_jwks_last_success_timestamp_seconds{${TENANT}}`, "tenant, provider"),
        "{{tenant}} {{provider}}",
      ],
    ]),
    graph("Age of discovery documents", "s", [
      [
        age(`lychgate_provider_metadata_last_success_timestamp_seconds{${TENANT}}`, "tenant, provider"),
        "{{tenant}} {{provider}}",
      ],
    ]),
    graph("Left alone after failures", "none", [
      [`max by (tenant, provider) (lychgate_provider_circuit_open{${TENANT}})`, "{{tenant}} {{provider}}"],
    ]),
  ];
}

function sessions() {
  const hits = `lychgate_cache_requests_total{${HERE},result="hit"}`;
  return [
    states(
      "Store and news",
      `min by (store) (lychgate_session_store_up{${HERE}}) or label_replace(min(lychgate_session_news_up{${HERE}}), "store", "news of others", "", "")`,
      "{{store}}",
    ),
    graph("Operations of the store", "ops", [
      [rate(`lychgate_session_operations_total{${HERE}}`, "operation"), "{{operation}}"],
    ]),
    graph("Operations that failed", "ops", [
      [rate(`lychgate_session_operations_total{${HERE},result!="ok"}`, "result"), "{{result}}"],
    ]),
    graph("Time of operations, 99%", "s", [
      [quantile(0.99, `lychgate_session_operation_duration_seconds_bucket{${HERE}}`, "operation"), "{{operation}}"],
    ]),
    graph("Begun and ended", "ops", [
      [total(`lychgate_sessions_created_total{${TENANT}}`), "begun"],
      [rate(`lychgate_sessions_ended_total{${TENANT}}`, "reason"), "{{reason}}"],
    ]),
    graph("Found in memory", "percentunit", [
      [`${rate(hits, "cache")} / ${rate(`lychgate_cache_requests_total{${HERE}}`, "cache")}`, "{{cache}}"],
    ]),
    graph("Redis: used or ended without it", "ops", [
      [total(`lychgate_session_stale_uses_total{${HERE}}`), "used from memory"],
      [total(`lychgate_session_ends_unreplicated_total{${HERE}}`), "ended, not replicated"],
    ]),
    graph("Size of cookies set, 99%", "bytes", [
      [quantile(0.99, `lychgate_set_cookie_size_bytes_bucket{${HERE}}`), "Set-Cookie"],
    ]),
  ];
}

function configuration() {
  return [
    number("Configurations", "none", `count(count_values("hash", lychgate_config_hash{${HERE}}))`, {
      steps: { green: null, red: 2 },
    }),
    number("Last reload", "none", `min(lychgate_config_last_reload_successful{${HERE}})`, { steps: GOOD }),
    number("Key files", "none", `min(lychgate_session_key_files_up{${HERE}})`, { steps: GOOD }),
    number(
      "Age of the active key",
      "s",
      `max(${age(`lychgate_session_key_active_since_timestamp_seconds{${HERE}}`, "pod")})`,
      { steps: { green: null, orange: 180 * 86400 } },
    ),
    number("Keys made at this start", "none", `max(lychgate_session_key_ephemeral{${HERE}})`, {
      steps: { green: null, orange: 1 },
    }),
    number("Certificates: next end", "s", `min(lychgate_tls_certificate_expiry_timestamp_seconds{${HERE}}) - time()`, {
      steps: { red: null, orange: 14 * 86400, green: 30 * 86400 },
    }),
    graph("Reloads", "none", [
      [
        `sum by (trigger, result) (increase(lychgate_config_reloads_total{${HERE}}[$__rate_interval]))`,
        "{{trigger}}: {{result}}",
      ],
    ]),
    graph("Since all was taken over", "s", [
      [age(`lychgate_config_last_reload_success_timestamp_seconds{${HERE}}`, "pod"), "{{pod}}"],
    ]),
    states("Tenants' files", `min by (tenant) (lychgate_tenant_config_valid{${TENANT}})`, "{{tenant}}"),
    graph("Audit log", "ops", [
      [total(`lychgate_audit_events_total{${HERE}}`), "events"],
      [rate(`lychgate_audit_events_dropped_total{${HERE}}`, "sink"), "lost: {{sink}}"],
    ]),
    graph("Tenants", "none", [[`max by (state) (lychgate_tenants{${HERE}})`, "{{state}}"]]),
    graph("Keys of the root secret", "none", [[`max by (role) (lychgate_session_keys{${HERE}})`, "{{role}}"]]),
  ];
}

function processes() {
  const per = "by (pod)";
  return [
    graph("Processor", "none", [
      [`sum ${per} (rate(process_cpu_seconds_total{${PROCESS}}[$__rate_interval]))`, "{{pod}}"],
    ]),
    graph("Resident memory", "bytes", [[`sum ${per} (process_resident_memory_bytes{${PROCESS}})`, "{{pod}}"]]),
    graph("File descriptors", "percentunit", [
      [`max ${per} (process_open_fds{${PROCESS}} / process_max_fds{${PROCESS}})`, "{{pod}}"],
    ]),
    graph("Tasks", "none", [
      [`sum ${per} (lychgate_tokio_alive_tasks{${HERE}})`, "alive {{pod}}"],
      [`sum ${per} (lychgate_tokio_global_queue_depth{${HERE}})`, "waiting {{pod}}"],
    ]),
    graph("Busy workers", "percentunit", [
      [
        `sum ${per} (rate(lychgate_tokio_worker_busy_seconds_total{${HERE}}[$__rate_interval])) / sum ${per} (lychgate_tokio_workers{${HERE}})`,
        "{{pod}}",
      ],
    ]),
    graph("Log lines", "ops", [[rate(`lychgate_log_messages_total{${HERE}}`, "level"), "{{level}}"]]),
    graph("Up since", "s", [[`time() - process_start_time_seconds{${PROCESS}}`, "{{pod}}"]]),
    graph("Told to end", "none", [[`max ${per} (lychgate_draining{${HERE}})`, "{{pod}}"]]),
  ];
}

const ROWS = {
  Overview: overview(),
  Authorization: authorization(),
  "Sign-ins": signIns(),
  Providers: providers(),
  Sessions: sessions(),
  "Configuration and keys": configuration(),
  Process: processes(),
};

function graph(title, unit, lines) {
  const panel = new timeseries.PanelBuilder()
    .title(title)
    .unit(unit)
    .min(0)
    .fillOpacity(10)
    .showPoints(common.VisibilityMode.Never)
    .span(8)
    .height(7);
  const legend = new common.VizLegendOptionsBuilder()
    .displayMode(common.LegendDisplayMode.List)
    .placement(common.LegendPlacement.Bottom)
    .showLegend(true);
  panel.legend(legend).tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi));
  lines.forEach(([expr, name], at) => panel.withTarget(target(expr, name, at)));
  return panel.datasource(SOURCE);
}

function number(title, unit, expr, { steps, legend = "", name = false } = {}) {
  const panel = new stat.PanelBuilder().title(title).unit(unit).span(4).height(4).datasource(SOURCE);
  panel.reduceOptions(new common.ReduceDataOptionsBuilder().calcs(["lastNotNull"]));
  panel.graphMode(common.BigValueGraphMode.None).withTarget(target(expr, legend, 0).instant());
  if (name) {
    panel.textMode(common.BigValueTextMode.Name);
  }
  return steps ? panel.thresholds(thresholds(steps)) : panel;
}

/** A row for each combination of labels. */
function list(title, unit, expr) {
  const panel = new table.PanelBuilder().title(title).unit(unit).span(8).height(7).datasource(SOURCE);
  panel.withTarget(target(expr, "", 0).instant().format(prometheus.PromQueryFormat.Table));
  return panel.withTransformation({ id: "organize", options: { excludeByName: { Time: true } } });
}

/** 1 or 0 over time, a line for each. */
function states(title, expr, legend) {
  const panel = new statetimeline.PanelBuilder().title(title).span(8).height(7).datasource(SOURCE);
  const told = { 0: { text: "down", color: "red" }, 1: { text: "up", color: "green" } };
  panel.mappings([{ type: dashboard.MappingType.ValueToText, options: told }]);
  return panel.withTarget(target(expr, legend, 0));
}

function heat(title, unit, expr) {
  const panel = new heatmap.PanelBuilder().title(title).span(8).height(7).datasource(SOURCE).calculate(false);
  panel.yAxis(new heatmap.YAxisConfigBuilder().unit(unit));
  return panel.withTarget(target(expr, "{{le}}", 0).format(prometheus.PromQueryFormat.Heatmap));
}

function target(expr, legend, at) {
  const query = new prometheus.DataqueryBuilder()
    .expr(expr)
    .refId(String.fromCharCode(65 + at))
    .datasource(SOURCE)
    .range();
  return legend ? query.legendFormat(legend) : query;
}

function thresholds(steps) {
  const list = Object.entries(steps).map(([color, value]) => ({ color, value }));
  return new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps(list);
}

/** Of what there is of a label; all of it, and series without it, at first. */
function variable(name, label, query) {
  const all = { selected: true, text: "All", value: "$__all" };
  return new dashboard.QueryVariableBuilder(name)
    .label(label)
    .query({ query, refId: name })
    .definition(query)
    .datasource(SOURCE)
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue(".*")
    .current(all);
}

function annotation(name, color, expr) {
  const query = new dashboard.AnnotationQueryBuilder().name(name).datasource(SOURCE).enable(true).iconColor(color);
  return query.expr(expr).titleFormat(name);
}

const board = new dashboard.DashboardBuilder("lychgate")
  .uid("lychgate")
  .description("Sign-ins, checks and sessions, by tenant; docs/alerts.md says what to do when something is wrong")
  .tags(["lychgate"])
  .editable()
  .refresh("30s")
  .time({ from: "now-1h", to: "now" })
  .timezone("browser")
  .tooltip(dashboard.DashboardCursorSync.Crosshair)
  .withVariable(new dashboard.DatasourceVariableBuilder("datasource").label("Prometheus").type("prometheus"))
  .withVariable(variable("namespace", "Namespace", "label_values(lychgate_ready, namespace)"))
  .withVariable(variable("pod", "Pod", 'label_values(lychgate_ready{namespace=~"$namespace"}, pod)'))
  .withVariable(variable("tenant", "Tenant", 'label_values(lychgate_provider_up{namespace=~"$namespace"}, tenant)'))
  .annotation(
    annotation(
      "Reload",
      "blue",
      `sum by (pod) (increase(lychgate_config_reloads_total{${HERE},result="applied"}[$__interval])) > 0`,
    ),
  )
  .annotation(
    annotation("Start", "orange", `max by (pod) (process_start_time_seconds{${PROCESS}}) * 1000`).useValueForTime(true),
  );
let id = 0;
for (const [title, panels] of Object.entries(ROWS)) {
  board.withRow(new dashboard.RowBuilder(title).id(++id));
  panels.forEach((panel) => board.withPanel(panel.id(++id)));
}
process.stdout.write(`${JSON.stringify(board.build(), null, 2)}\n`);
