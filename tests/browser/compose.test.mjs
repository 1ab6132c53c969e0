// deploy/compose as processes of this machine: lychgate, its sessions in Redis, an application, a provider, and a
// Prometheus that scrapes all of it while people sign in. Against that Prometheus every expression of the dashboard and of
// the alerts is evaluated. What only a container engine and Grafana could show is checked as far as files go.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { parse } from "yaml";
import { Compose } from "./support/compose.mjs";
import { Gateway, REPOSITORY, run } from "./support/gateway.mjs";
import { Prometheus } from "./support/prometheus.mjs";
import { freePort, startNginx, startProgram } from "./support/proxies.mjs";
import { Scene } from "./support/scene.mjs";

/** Of the dashboard, what has nothing to show here, and why. */
const MAY_BE_EMPTY = {
  "Certificates: next end": "lychgate ends no TLS here",
  "Operations that failed": "none does",
  Sessions: "Redis forgets sessions by itself, so that nobody counts them",
};
/** What Grafana puts in place of its variables, where all is shown. */
const ALL = { namespace: ".*", pod: ".*", tenant: ".*", __rate_interval: "1m", __interval: "15s", __range: "5m" };

const scene = new Scene();
const environment = {};
let compose;
let board;
let rules;
let gateway;
let admin;
let prometheus;

before(async () => {
  board = JSON.parse(await readFile(path.join(REPOSITORY, "deploy", "grafana", "lychgate.json"), "utf8"));
  rules = parse(await readFile(path.join(REPOSITORY, "deploy", "prometheus", "rules.yaml"), "utf8"));
  const provider = await scene.provider();
  const [main, operators, store, application, metrics] = await Promise.all(Array.from({ length: 5 }, freePort));
  admin = `http://127.0.0.1:${operators}`;
  compose = await Compose.setUp(await scene.folder(), {
    "http://localhost:5556/dex": provider.issuer,
    "http://localhost:3000": `http://localhost:${main}`,
    "0.0.0.0:3000": `127.0.0.1:${main}`,
    "0.0.0.0:3001": `127.0.0.1:${operators}`,
    "lychgate:3001": `127.0.0.1:${operators}`,
    "valkey:6379": `127.0.0.1:${store}`,
    "port 6379": `bind 127.0.0.1\nport ${store}`,
    "application:8080": `127.0.0.1:${application}`,
    "listen 8080": `listen 127.0.0.1:${application}`,
  });
  const ada = await register(provider);

  const valkey = await compose.container("valkey");
  const [, ...settings] = valkey.command;
  await scene.starts(startProgram(valkey.root, ["redis-server", ...settings], store));
  const behind = await compose.container("application");
  await scene.starts(startNginx(behind.root, "etc/nginx/conf.d/default.conf", application));
  await serve();
  const watching = await compose.container("prometheus");
  const flags = [...watching.command, `--web.listen-address=127.0.0.1:${metrics}`, "--log.level=warn"];
  await scene.starts(startProgram(watching.root, ["prometheus", ...flags], metrics));
  prometheus = new Prometheus(`http://127.0.0.1:${metrics}`);

  await sendTraffic(provider, ada);
});

after(() => scene.end());

/** The provider of the test gets the client and the people of the one in compose.yaml. */
async function register(provider) {
  const dex = parse(await compose.source("provider/dex.yaml"));
  const [client] = dex.staticClients;
  assert.equal(dex.issuer, /^issuer = "(.*)"$/m.exec(await compose.source("lychgate/tenants/acme.toml"))[1]);
  const [name, secret] = (await compose.secret("provider.env")).split("=");
  assert.equal(client.secretEnv, name);
  assert.equal(await compose.secret("acme.client_secret"), secret);
  assert.deepEqual(client.redirectURIs, ["http://localhost:3000/acme/callback"]);
  provider.addClient("acme", { client_id: client.id, client_secret: secret });
  const [person] = dex.staticPasswords;
  const hashed = spawnSync("perl", ["-e", "print crypt(q{analytical}, shift)", person.hash], { encoding: "utf8" });
  assert.equal(hashed.stdout, person.hash, "the password that compose.yaml tells");
  return provider.addAccount(person.email, { name: person.username });
}

/** What the image does by itself, with the variables that it sets. */
async function serve() {
  const { root } = await compose.container("lychgate");
  const dockerfile = await compose.source("../docker/Dockerfile");
  environment.LYCHGATE_CONFIG = path.join(root, /^ENV LYCHGATE_CONFIG=(.*)$/m.exec(dockerfile)[1]);
  const command = JSON.parse(/^CMD (.*)$/m.exec(dockerfile)[1]);
  gateway = await scene.starts(Gateway.start(root, command, environment));
}

/** Sign-ins, checks and failures, twice: a rate needs two points. */
async function sendTraffic(provider, ada) {
  const origin = gateway.namedOrigin;
  const asked = { "x-original-method": "GET", "x-original-url": `${origin}/acme/app/` };
  for (const round of [1, 2]) {
    const client = scene.client();
    const page = await client.signIn(`${origin}/acme/app/`, ada);
    assert.equal(page.text, "Hello ada@acme.example\n", "the application knows who it is");
    assert.equal((await client.request(`${origin}/acme/app/broken`)).status, 500);
    assert.equal((await client.request(`${origin}/acme/auth`, { headers: asked })).status, 200);
    assert.equal((await scene.client().json(`${origin}/acme/session`)).status, 401);
    assert.notEqual((await scene.client().request(`${origin}/acme/auth`, { headers: asked })).status, 200);
    assert.equal((await scene.client().request(`${origin}/acme/callback?code=stray&state=stray`)).status, 400);
    assert.equal(
      (await client.request(`${origin}/acme/session`, { headers: { host: "elsewhere.example" } })).status,
      421,
    );
    await client.open(`${origin}/acme/logout`);
    await changeTenant(`Acme ${round}`);
    await prometheus.until(`sum(lychgate_sign_ins_total{result="ok"}) >= ${round}`);
  }
  await prometheus.until("count_over_time(lychgate_ready[1m]) >= 4");
  await prometheus.until("lychgate:http_requests:rate5m > 0");
}

/** An operator gives the tenant another name, which is taken over by itself. */
async function changeTenant(name) {
  const file = path.join(path.dirname(environment.LYCHGATE_CONFIG), "tenants", "acme.toml");
  const text = await readFile(file, "utf8");
  await writeFile(file, text.replace(/^display_name = .*$/m, `display_name = "${name}"`));
  for (
    const end = Date.now() + 20_000;
    !(await scene.client().request(`${gateway.namedOrigin}/acme`)).text.includes(name);
  ) {
    assert.ok(Date.now() < end, "the new name was never shown");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("every address that the files hold was replaced, and nothing else", () => {
  assert.deepEqual(compose.unused, []);
});

test("the image's health check finds it ready", async () => {
  const dockerfile = await compose.source("../docker/Dockerfile");
  const [, ...args] = JSON.parse(/^HEALTHCHECK .* CMD (.*)$/m.exec(dockerfile)[1]);
  const answer = await run(REPOSITORY, args, environment);
  assert.deepEqual([answer.code, answer.stdout], [0, "ready\n"], answer.stderr);
});

test("the sessions are in the store, under our prefix", async () => {
  assert.ok(
    (await prometheus.query('lychgate_session_operations_total{store="redis",operation="create",result="ok"} >= 2'))
      .length,
  );
});

test("what is scraped passes promtool", async () => {
  const scrape = await (await fetch(`${admin}/metrics`)).text();
  const checked = spawnSync("promtool", ["check", "metrics"], { input: scrape, encoding: "utf8" });
  assert.equal(checked.status, 0, checked.error ?? checked.stderr);
});

test("every rule is evaluated without a fault, and alerts are silent", async () => {
  const told = await prometheus.rules();
  const ours = rules.groups.flatMap(({ rules }) => rules);
  assert.deepEqual(told.map(({ name }) => name).sort(), ours.map(({ alert, record }) => alert ?? record).sort());
  for (const { name, health, lastError, state } of told) {
    assert.equal(health, "ok", `${name}: ${lastError}`);
    assert.ok(state === undefined || state === "inactive", `${name} is ${state}`);
  }
  for (const { alert, record, expr } of ours) {
    const found = await prometheus.query(expr);
    assert.ok(alert || found.length > 0, `${record} gives nothing`);
  }
});

test("what the alerts ask for is there", async () => {
  const empty = { lychgate_tls_certificate_expiry_timestamp_seconds: "lychgate ends no TLS here" };
  for (const { alert, expr } of rules.groups.flatMap(({ rules }) => rules).filter(({ alert }) => alert)) {
    for (const name of namesIn(expr).filter((name) => !(name in empty))) {
      assert.ok((await prometheus.query(`count(${name})`)).length > 0, `${alert}: there is no ${name}`);
    }
  }
});

test("every panel of the dashboard has something to show", async () => {
  const here = { ...ALL, namespace: "compose", pod: "lychgate", tenant: "acme" };
  const panels = board.panels.filter(({ type }) => type !== "row");
  const titles = panels.map(({ title }) => title);
  assert.ok(panels.length >= 45, `${panels.length} panels`);
  assert.deepEqual(
    Object.keys(MAY_BE_EMPTY).filter((title) => !titles.includes(title)),
    [],
  );
  const faults = [];
  for (const { title, targets } of panels) {
    for (const { expr } of targets) {
      for (const values of [ALL, here]) {
        const series = await prometheus.queryRange(filled(expr, values));
        const points = series.flatMap(({ values }) => values).filter(([, value]) => Number.isFinite(Number(value)));
        if (points.length > 0 === title in MAY_BE_EMPTY) {
          faults.push(`${title}: ${points.length} points of ${filled(expr, values)}`);
        }
      }
    }
  }
  assert.deepEqual(faults, []);
});

test("the dashboard counts what was done", async () => {
  const counted = async (title, at = 0) => {
    const { targets } = board.panels.find((panel) => panel.targets && panel.title === title);
    const series = await prometheus.queryRange(filled(targets[at].expr, ALL));
    return series.filter(({ values }) => values.some(([, value]) => Number(value) > 0)).map(({ metric }) => metric);
  };
  assert.ok((await counted("Sign-ins", 1)).length > 0, "sign-ins");
  assert.deepEqual((await counted("Checks by outcome")).map(({ outcome }) => outcome).sort(), ["allowed", "sign_in"]);
  assert.ok((await counted("Applications: requests by outcome")).some(({ status }) => status === "5xx"));
  assert.ok((await counted("Refused before a tenant was known", 1)).some(({ reason }) => reason === "misdirected"));
  assert.ok((await counted("Begun and ended", 1)).some(({ reason }) => reason === "logout"));
});

test("the dashboard's variables and annotations find something", async () => {
  const variables = board.templating.list;
  assert.deepEqual(
    variables.map(({ name }) => name),
    ["datasource", "namespace", "pod", "tenant"],
  );
  const found = {};
  for (const { name, query } of variables.slice(1)) {
    const [, series, label] = /^label_values\((.*), (\w+)\)$/.exec(query.query);
    found[name] = await prometheus.labelValues(filled(series, ALL), label);
  }
  assert.deepEqual(found, { namespace: ["compose"], pod: ["lychgate"], tenant: ["acme"] });
  for (const { name, expr } of board.annotations.list) {
    assert.ok((await prometheus.queryRange(filled(expr, ALL))).length > 0, name);
  }
});

test("the dashboard is whole: a fixed id, seven rows, panels with a source, side by side", () => {
  assert.equal(board.uid, "lychgate");
  assert.equal(board.panels.filter(({ type }) => type === "row").length, 7);
  const ids = board.panels.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  const taken = new Set();
  for (const { title, type, datasource, gridPos } of board.panels) {
    assert.ok(type === "row" || datasource.uid === "$datasource", title);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        assert.ok(x < 24 && !taken.has(`${x},${y}`), `${title} lies on another panel`);
        taken.add(`${x},${y}`);
      }
    }
  }
});

test("Grafana is given the dashboard and the Prometheus of compose.yaml", async () => {
  const { volumes, environment } = compose.services.grafana;
  const mounted = Object.fromEntries(volumes.map((volume) => volume.split(":")).map(([from, to]) => [to, from]));
  const [{ options }] = parse(await compose.source("grafana/dashboards.yaml")).providers;
  assert.equal(mounted[`${options.path}/lychgate.json`], "../grafana/lychgate.json");
  assert.equal(mounted["/etc/grafana/provisioning/dashboards/lychgate.yaml"], "./grafana/dashboards.yaml");
  assert.equal(mounted["/etc/grafana/provisioning/datasources/lychgate.yaml"], "./grafana/datasources.yaml");
  const [{ type, url }] = parse(await compose.source("grafana/datasources.yaml")).datasources;
  assert.deepEqual([type, url], ["prometheus", "http://prometheus:9090"]);
  assert.equal(environment.GF_SECURITY_ADMIN_PASSWORD__FILE, "/run/secrets/grafana.password");
});

test("no service of compose.yaml may do more than it must", () => {
  for (const [name, service] of Object.entries(compose.services)) {
    assert.equal(service.read_only, true, name);
    assert.deepEqual(service.cap_drop, ["ALL"], name);
    assert.deepEqual(service.security_opt, ["no-new-privileges:true"], name);
    assert.match(service.user, /^[1-9]\d*:\d+$/, name);
    for (const port of service.ports ?? []) {
      assert.match(port, /^127\.0\.0\.1:/, name);
    }
    for (const [from, , mode] of (service.volumes ?? []).map((volume) => volume.split(":"))) {
      assert.ok(!from.startsWith(".") || mode === "ro", `${name}: ${from}`);
    }
    const variables = Object.keys(service.environment ?? {}).filter((variable) => !variable.endsWith("__FILE"));
    assert.ok(!variables.some((variable) => /SECRET|PASSWORD|KEY/.test(variable)), name);
  }
});

/** An expression with values in place of Grafana's variables; each must be known. */
function filled(expr, values) {
  return expr.replace(/\$(\w+)/g, (variable, name) => {
    assert.ok(name in values, `${variable} in ${expr}`);
    return values[name];
  });
}

function namesIn(expr) {
  return [...new Set(expr.match(/\b(?:lychgate[:_]|process_)[a-z0-9_:]+/g) ?? [])];
}
