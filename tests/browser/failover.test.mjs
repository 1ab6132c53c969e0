// What becomes of ends that a master of Redis took with it: it answered them, died, and no replica had them. Runs by
// `tests/with-redis sentinel node --test tests/browser/failover.test.mjs`, or `cluster`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { GRACE } from "./support/judge.mjs";
import { Redis } from "./support/redis.mjs";
import { PREFIX, Replicas } from "./support/replicas.mjs";
import { Scene } from "./support/scene.mjs";
import { none, Session } from "./support/session.mjs";

const USERS = 24;
/** Longer than a gateway takes to see that Redis' servers have changed, and to end again what ended lately. */
const AGAIN = 4000;

const scene = new Scene();
let redis;
let provider;
let replicas;

before(async () => {
  redis = await scene.starts(new Redis());
  provider = await scene.provider();
  const { client_id, client_secret } = provider.addClient("acme");
  const folder = await scene.folder({
    acme: { issuer: provider.issuer, client_id, client_secret, logout_at_provider: false },
  });
  replicas = await scene.starts(Replicas.start(folder, redis, randomBytes(32).toString("base64url")));
});

after(() => scene.end());

test("what ended stays ended, even where the master that knew it died and its replica did not", async (context) => {
  const sessions = [];
  for (let at = 0; at < USERS; at++) {
    const account = provider.addAccount(`user-${at}@acme.example`);
    sessions.push(await Session.signIn(scene.secrets, replicas.origin, account));
  }
  const [leaving, staying] = [sessions.slice(0, USERS / 2), sessions.slice(USERS / 2)];
  await each(sessions, (session, replica) => session.until(replica, ({ status }) => status === 200, "good"));
  const masters = await redis.masters();
  const held = await Promise.all(masters.map(({ port }) => keptAt(port)));
  const letGoOn = await redis.cutReplicas(masters);

  let slowest = 0;
  for (const [at, session] of leaving.entries()) {
    const { status, took, text } = await session.look(replicas.all[at % 3], "/acme/logout", { method: "POST" });
    assert.equal(status, 303, text);
    slowest = Math.max(slowest, took);
  }
  const ended = performance.now();
  const atRisk = await Promise.all(
    replicas.all.map((replica) => replica.metric("lychgate_session_ends_unreplicated_total")),
  );
  // The master that has ended most of them takes that with it.
  const left = await Promise.all(masters.map(({ port }) => keptAt(port)));
  const [doomed] = masters.map((_, at) => at).sort((one, other) => held[other] - left[other] - (held[one] - left[one]));
  const failure = await redis.killMaster(masters[doomed]);
  letGoOn();
  const forgotten = (await keptAt(failure.replica)) - left[doomed];
  await sleep(ended + GRACE - performance.now());

  // From now on, for as long as the failover takes and longer.
  let followed = false;
  const following = redis
    .untilFollowed(failure)
    .then(() => sleep(AGAIN))
    .then(() => (followed = true));
  const looks = [];
  while (!followed) {
    await each(leaving, async (session, replica) => looks.push(await session.look(replica)));
    await sleep(100);
  }
  await following;
  // Nobody remembers anything but Redis.
  for (const replica of replicas.all) {
    await replica.kill();
    await replica.start();
  }
  const after = [];
  await each(leaving, async (session, replica) => after.push(await session.look(replica)));
  const stayed = [];
  await each(staying, async (session, replica) => stayed.push(await session.look(replica)));

  const count = (of, status) => of.filter((look) => look.status === status).length;
  context.diagnostic(`sessions: ${USERS}, ended: ${leaving.length}, the slowest end, ms: ${Math.round(slowest)}`);
  context.diagnostic(`ends that no replica had, as gateways counted: ${atRisk.join(" + ")}`);
  context.diagnostic(`ends that the new master did not know: ${forgotten}`);
  context.diagnostic(
    `looks at what ended, meanwhile: ${looks.length}, 401: ${count(looks, 401)}, 503: ${count(looks, 503)}`,
  );
  context.diagnostic(
    `looks at what ended, by gateways that were started anew: ${after.length}, 401: ${count(after, 401)}`,
  );
  context.diagnostic(`looks at what goes on, by these: ${stayed.length}, 200: ${count(stayed, 200)}`);
  none(
    looks,
    ({ status, retryAfter }) => status !== 401 && !(status === 503 && retryAfter),
    ended,
    "what ended is not good",
  );
  none(after, ({ status }) => status !== 401, ended, "what ended is not good afterwards");
  none(stayed, ({ status }) => status !== 200, ended, "what goes on is good");
  assert.ok(forgotten > 0, "the new master knew all: nothing was shown");
  assert.equal(
    atRisk.reduce((sum, one) => sum + one),
    leaving.length,
  );
});

/** How many sessions a server of Redis has. */
function keptAt(port) {
  return redis.keys(port, `${PREFIX}session:*`);
}

/** With every session at every gateway. */
async function each(sessions, look) {
  for (const replica of replicas.all) {
    await Promise.all(sessions.map((session) => look(session, replica)));
  }
}
