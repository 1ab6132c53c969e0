// What the Helm chart renders, served: its very files in the file system that a pod has, its user, its variables; people
// sign in there with a real browser.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { follow, keepPicture, submitCredentials, textOf } from "./support/browser.mjs";
import { REPOSITORY, run } from "./support/gateway.mjs";
import { testForLeaks } from "./support/leaks.mjs";
import { freePort } from "./support/proxies.mjs";
import { Scene } from "./support/scene.mjs";

const NON_ROOT = 65532;
const scene = new Scene();
let provider;
let ada;
let chromium;

before(async () => {
  provider = await scene.provider();
  ada = provider.addAccount("ada@acme.example", { name: "Ada Lovelace" });
  chromium = await scene.browser("chromium");
});

after(() => scene.end());

test("the files that the chart renders start a gateway in which a person signs in", async () => {
  const { origin, values } = await newValues();
  const pod = await scene.pod(values, objects());
  const { gateway } = pod;

  assert.match(await statusOf(gateway.pid, "Uid"), new RegExp(`^(${NON_ROOT}\\s*){4}$`), "nobody's user");
  assert.match(await statusOf(gateway.pid, "CapEff"), /^0+$/, "without capabilities");
  const admin = `http://127.0.0.1:${values.containerPorts.admin}`;
  for (const probe of ["startupz", "livez", "readyz"]) {
    await gateway.until(() => gateway.log.includes("listening for operators"), "listens for operators");
    assert.equal((await scene.client().request(`${admin}/${probe}`)).status, 200, probe);
  }

  const visitor = await chromium.newVisitor();
  const tab = await visitor.newTab();
  for (const [tenant, why] of [
    ["acme", "its secret is an item of a Secret"],
    ["globex", "its file and its secret are others'"],
  ]) {
    await tab.goto(`${origin}/${tenant}`);
    await follow(tab, "#qsLoginBtn");
    if (tab.url().startsWith(provider.issuer)) {
      await submitCredentials(tab, ada);
    }
    await tab.waitForSelector("#qsLogoutBtn");
    assert.equal(new URL(tab.url()).pathname, `/${tenant}/dashboard`, why);
    assert.match(await textOf(tab), /Ada Lovelace/);
  }
  await keepPicture(tab, "chart-dashboard");

  const metrics = await scene.client().request(`${admin}/metrics`);
  assert.match(metrics.text, /^lychgate_sign_ins_total\{.*result="ok".*tenant="acme".*\} 1$/m);
  assert.match(
    metrics.text,
    /^lychgate_tenants\{state="invalid"\} 1$/m,
    "a bad tenant is left out, and the others served",
  );

  const asked = await pod.run("Pod/rel-lychgate-test-ready");
  assert.deepEqual(asked, { code: 0, output: "ready\n" }, "what helm test runs");
  await visitor.leave();
  assert.equal(await gateway.stop(), 0);
  assert.equal((await pod.run("Pod/rel-lychgate-test-ready")).code, 1);
});

test("a tenant that an upgrade brings is served by the pod that runs, and a bad one changes nothing", async () => {
  const { origin, values } = await newValues();
  const pod = await scene.pod(values, objects());
  const { gateway } = pod;
  const early = scene.client();
  await early.signIn(`${origin}/acme/login`, ada);

  const initech = newClient("initech");
  const tenants = {
    ...values.tenants,
    initech: {
      config: { issuer: provider.issuer, client_id: initech.client_id },
      secrets: { client_secret: { existing: true } },
    },
  };
  await pod.update({ ...values, tenants }, objects({ "initech.client_secret": initech.client_secret }));
  await gateway.until(() => /"added":"[^"]*initech/.test(gateway.log), "took initech over");
  const page = await scene.client().signIn(`${origin}/initech/login`, ada);
  assert.equal(new URL(page.url).pathname, "/initech/dashboard");
  assert.equal((await early.json(`${origin}/acme/session`)).status, 200, "nobody was signed out");

  const bad = { ...tenants, acme: { ...values.tenants.acme, config: { issuer: provider.issuer, clientid: "a typo" } } };
  await pod.update({ ...values, tenants: bad }, objects({ "initech.client_secret": initech.client_secret }));
  await gateway.until(() => gateway.log.includes("clientid: unknown key"), "told of the typo");
  assert.equal((await early.json(`${origin}/acme/session`)).status, 200);
  const asked = await pod.exec("reload");
  assert.equal(asked.code, 1);
  assert.match(asked.output, /acme.*clientid: unknown key/);
  const urls = await pod.exec("urls", "initech");
  assert.ok(urls.output.includes(`${origin}/initech/callback`), urls.output);
  const again = await scene.client().signIn(`${origin}/acme/login`, ada);
  assert.equal(new URL(again.url).pathname, "/acme/dashboard", "acme goes on as it was");
  assert.equal(await gateway.stop(), 0);
});

test("two pods of the chart on one Redis know the same people", async () => {
  const password = scene.secrets.note("redis_password", randomUUID());
  const redis = await scene.starts(startRedis(password));
  const { origin, values } = await newValues();
  const shared = {
    ...values,
    replicaCount: 2,
    sessions: {
      store: "redis",
      redis: {
        url: `redis://127.0.0.1:${redis.port}`,
        username: "lychgate",
        passwordSecret: { name: "redis-login", key: "password" },
      },
    },
    keys: { existingSecret: "lychgate-keys" },
  };
  const { stdout: key } = await run(".", ["secret"]);
  scene.secrets.note("root_secret", key.trim());
  const cluster = [...objects(), secret("redis-login", { password }), secret("lychgate-keys", { "secret.key": key })];
  const first = await scene.pod(shared, cluster);
  const ports = { http: await freePort(), admin: await freePort() };
  const second = await scene.pod({ ...shared, containerPorts: ports }, cluster);

  const client = scene.client();
  await client.signIn(`${origin}/acme/login`, ada);
  const look = () =>
    client.request(`http://127.0.0.1:${ports.http}/acme/session`, { headers: { host: new URL(origin).host } });
  assert.equal((await look()).status, 200, "signed in at the first, known at the second");
  assert.equal(await first.gateway.stop(), 0);
  assert.equal((await look()).status, 200, "and after the first is gone");
  assert.equal(await second.gateway.stop(), 0);
});

testForLeaks(scene, ["client_secret", "code", "cookie", "nonce", "password", "redis_password", "root_secret", "state"]);

/** Values for a pod on this machine: nothing in them but addresses is special. */
async function newValues() {
  const containerPorts = { http: await freePort(), admin: await freePort() };
  const origin = `http://127.0.0.1:${containerPorts.http}`;
  const { client_id } = newClient("acme");
  const values = {
    containerPorts,
    service: { port: containerPorts.http },
    config: { public_url: origin, log: { level: "trace", format: "json" } },
    shutdown: { drainDelaySeconds: 0 },
    tenants: {
      acme: {
        config: { issuer: provider.issuer, client_id },
        secrets: { client_secret: { secretKeyRef: { name: "acme-oidc", key: "client-secret" } } },
      },
      broken: {
        config: { issuer: provider.issuer, client_id: "broken" },
        secrets: { client_secret: { secretKeyRef: { name: "nowhere", key: "client-secret" } } },
      },
    },
    tenantFiles: { existingConfigMaps: ["tenants-of-sales"] },
    tenantSecrets: { existingSecrets: ["tenant-secrets"] },
  };
  return { origin, values };
}

const clients = new Map();

/** A client of the provider for each tenant. */
function newClient(tenant) {
  if (!clients.has(tenant)) {
    clients.set(tenant, provider.addClient(tenant));
  }
  return clients.get(tenant);
}

/** What is in the cluster besides: one tenant's secret, all of another's, and what `secrets` adds. */
function objects(secrets = {}) {
  const globex = newClient("globex");
  const file = `issuer = "${provider.issuer}"
client_id = "${globex.client_id}"
client_secret_file = "/etc/lychgate/secrets/globex.client_secret"
`;
  return [
    secret("acme-oidc", { "client-secret": newClient("acme").client_secret }),
    secret("tenant-secrets", { "globex.client_secret": globex.client_secret, ...secrets }),
    object("ConfigMap", "tenants-of-sales", { data: { "globex.toml": file } }),
  ];
}

function secret(name, stringData) {
  return object("Secret", name, { stringData });
}

function object(kind, name, content) {
  return { apiVersion: "v1", kind, metadata: { name, namespace: "ns" }, ...content };
}

/** A line of what the kernel says of a process. */
async function statusOf(pid, name) {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)[1];
}

/** A Redis with the one user of the chart's example, and the password that is given. */
async function startRedis(password) {
  const port = await freePort();
  const example = await readFile(path.join(REPOSITORY, "deploy/examples/valkey/valkey.yaml"), "utf8");
  const users = example.match(/^ *user .*$/gm).map((line) => line.trim().replace("CHANGE-ME", password));
  const settings = [`port ${port}`, "bind 127.0.0.1", 'save ""', "maxmemory-policy noeviction", ...users].join("\n");
  const server = spawn("redis-server", ["-"], { stdio: ["pipe", "pipe", "inherit"] });
  server.stdin.end(settings);
  for await (const line of server.stdout) {
    if (String(line).includes("Ready to accept connections")) {
      break;
    }
  }
  return {
    port,
    stop: async () => {
      const ended = once(server, "exit");
      server.kill("SIGTERM");
      await ended;
    },
  };
}
