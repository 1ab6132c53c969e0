// The whole story on the built binary, as its operator and its users live it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { testForLeaks } from "./support/leaks.mjs";
import { Scene, writeTenant } from "./support/scene.mjs";

const DEMO_LIMIT = 2000;
const scene = new Scene();
let provider;
let ada;

before(async () => {
  provider = await scene.provider();
  ada = provider.addAccount("ada@acme.example", { name: "Ada Lovelace" });
});

after(() => scene.end());

test("a second tenant arrives with a restart, and the first one's users stay signed in", async () => {
  const folder = await scene.folder({ acme: newTenant("acme") });
  const first = await scene.serve(folder);
  const early = scene.client();
  await assertSignsIn(early, first, "acme");
  assert.equal(await first.stop(), 0);

  await writeTenant(folder, "globex", newTenant("globex"));
  const second = await scene.serve(folder);
  await assertSignsIn(scene.client(), second, "globex");
  assert.equal(await sessionStatus(early, second, "acme"), 200, "still signed in");
  assert.equal(await sessionStatus(early, second, "globex"), 401, "and only there");

  await assertSignsIn(scene.client(), second, "acme");
  const metrics = await scene.client().request(`${second.origin}/metrics`);
  assert.equal(metrics.status, 200);
  for (const tenant of ["acme", "globex"]) {
    assert.equal(sumOf(metrics.text, "lychgate_sign_ins_started_total", tenant), 1);
    assert.equal(sumOf(metrics.text, "lychgate_sign_ins_total", tenant), 1);
    assert.equal(sumOf(metrics.text, "lychgate_sessions_created_total", tenant), 1);
    assert.equal(sumOf(metrics.text, "lychgate_provider_up", tenant), 1);
  }
  assert.equal(await second.stop(), 0);
});

test("after a sign-out the old cookie opens nothing, not even after a restart", async () => {
  const folder = await scene.folder({ acme: newTenant("acme") });
  const gateway = await scene.serve(folder);
  const client = scene.client();
  await assertSignsIn(client, gateway, "acme");
  const thief = client.copy();
  assert.equal(await sessionStatus(thief, gateway, "acme"), 200);
  await client.open(`${gateway.origin}/acme/logout`);
  assert.equal(await sessionStatus(thief, gateway, "acme"), 401);
  await gateway.stop();
  const restarted = await scene.serve(folder);
  assert.equal(await sessionStatus(thief, restarted, "acme"), 401);
  await restarted.stop();
});

test("a process killed in the middle of 100 sign-ins loses no session that it had answered for", async () => {
  const folder = await scene.folder({ acme: newTenant("acme") });
  const gateway = await scene.serve(folder);
  const answered = [];
  let killed;
  const signInOnce = async () => {
    const client = scene.client();
    const page = await client.signIn(`${gateway.origin}/acme/login`, ada).catch(() => undefined);
    // Only the browser that was told of its session counts, whatever became of the page after.
    if (client.cookies("127.0.0.1").has("lychgate-acme")) {
      answered.push(client);
    }
    if (answered.length >= 50) {
      killed ??= gateway.kill();
    }
    return page;
  };
  const pages = await inParallel(100, 10, signInOnce);
  await killed;
  assert.ok(pages.includes(undefined), "some sign-ins were cut off");
  assert.ok(answered.length >= 50, `${answered.length} were answered`);

  const restarted = await scene.serve(folder);
  const statuses = await Promise.all(answered.map((client) => sessionStatus(client, restarted, "acme")));
  assert.deepEqual(
    statuses.filter((status) => status !== 200),
    [],
  );
  await restarted.stop();
});

test("the demo shows its first page within two seconds", async (context) => {
  const times = [await timeToFirstPage()];
  if (times[0] >= DEMO_LIMIT) {
    times.push(await timeToFirstPage()); // the machine may have been busy; the program may not
  }
  context.diagnostic(`first page after ${times.map(Math.round).join(" ms, then ")} ms`);
  assert.ok(Math.min(...times) < DEMO_LIMIT);
});

test("check --online tells good credentials from bad ones", async () => {
  const acme = newTenant("acme");
  const folder = await scene.folder({ acme });
  const good = await scene.run(folder, ["check", "--online"]);
  assert.equal(good.code, 0, good.stdout + good.stderr);
  await writeTenant(folder, "globex", { ...newTenant("globex"), client_secret: "another secret" });
  const bad = await scene.run(folder, ["check", "--online"]);
  assert.equal(bad.code, 1, bad.stdout + bad.stderr);
  assert.match(bad.stdout, /acme: \S+ answers as it should/);
  assert.match(bad.stderr, /globex: \S+ client_refused/);
});

test("healthcheck and users list speak of a gateway that runs", async () => {
  const folder = await scene.folder({ acme: newTenant("acme") });
  const gateway = await scene.serve(folder);
  const listen = { LYCHGATE_LISTEN: new URL(gateway.origin).host };
  assert.equal((await scene.run(folder, ["healthcheck"], listen)).code, 0);
  await assertSignsIn(scene.client(), gateway, "acme");
  await assertSignsIn(scene.client(), gateway, "acme");
  const users = await scene.run(folder, ["users", "list", "acme", "--json"]);
  assert.equal(users.code, 0, users.stderr);
  const [user, ...others] = users.stdout.trim().split("\n").map(JSON.parse);
  assert.deepEqual(others, []);
  assert.deepEqual([user.email, user.name, user.sign_ins], [ada.username, "Ada Lovelace", 2]);
  assert.match((await scene.run(folder, ["users", "list"])).stdout, /acme +Ada Lovelace +ada@acme\.example/);
  await gateway.stop();
  assert.equal((await scene.run(folder, ["healthcheck"], listen)).code, 1);
});

test("a bad tenant is left out where the settings say so, and counted", async () => {
  const folder = await scene.folder({ acme: newTenant("acme"), globex: { client_id: "globex" } });
  const gateway = await scene.serve(folder, { environment: { LYCHGATE_ON_INVALID_TENANT: "skip" } });
  await assertSignsIn(scene.client(), gateway, "acme");
  const metrics = await scene.client().request(`${gateway.origin}/metrics`);
  assert.match(metrics.text, /^lychgate_tenants\{state="active"\} 1$/m);
  assert.match(metrics.text, /^lychgate_tenants\{state="invalid"\} 1$/m);
  assert.match(metrics.text, /^lychgate_build_info\{.*\} 1$/m);
  assert.match(metrics.text, /^lychgate_tokio_workers [1-9]/m);
  assert.match(metrics.text, /^process_start_time_seconds /m);
  assert.match(gateway.log, /not taken over.*"tenant":"globex"/);
  await gateway.stop();
});

testForLeaks(scene, ["client_secret", "code", "code_verifier", "cookie", "id_token", "nonce", "password", "state"]);

/** A tenant's settings; it is a client of the provider from now on. */
function newTenant(id) {
  const { client_id, client_secret } = provider.addClient(id);
  return { issuer: provider.issuer, client_id, client_secret };
}

async function assertSignsIn(client, gateway, tenant) {
  const page = await client.signIn(`${gateway.origin}/${tenant}/login`, ada);
  assert.equal(page.status, 200, page.text);
  assert.equal(new URL(page.url).pathname, `/${tenant}/dashboard`);
  assert.match(page.text, /Ada Lovelace/);
}

async function sessionStatus(client, gateway, tenant) {
  return (await client.json(`${gateway.origin}/${tenant}/session`)).status;
}

async function timeToFirstPage() {
  const begun = performance.now();
  const { gateway, people } = await scene.demo();
  const page = await scene.client().open(people[0].url);
  const time = performance.now() - begun;
  assert.equal(page.status, 200);
  await gateway.stop();
  return time;
}

/** The sum of a metric's series for a tenant. */
function sumOf(metrics, name, tenant) {
  return metrics
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) && line.includes(`tenant="${tenant}"`))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/** Does `work` `count` times, `width` at once. */
async function inParallel(count, width, work) {
  const results = [];
  let left = count;
  const worker = async () => {
    while (left-- > 0) {
      results.push(await work());
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
