// Three gateways whose Redis goes away, is slow, or is full, and one that dies while it renews a session's tokens. Runs by
// `tests/with-redis single node --test tests/browser/outage.test.mjs`. Redis is away for LYCHGATE_TEST_OUTAGE_SECONDS, and
// sessions in memory go on for half of that.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { codeIn, Judge } from "./support/judge.mjs";
import { shortLived } from "./support/provider.mjs";
import { Redis } from "./support/redis.mjs";
import { Replicas } from "./support/replicas.mjs";
import { Scene } from "./support/scene.mjs";
import { none, Session } from "./support/session.mjs";
import { Users } from "./support/users.mjs";
import { Wire } from "./support/wire.mjs";

const OUTAGE = Number(process.env.LYCHGATE_TEST_OUTAGE_SECONDS || 12) * 1000;
const GRACE = OUTAGE / 2;
/** How long a gateway that goes by its heartbeat may take to see that Redis is gone, and two cores to answer. */
const MARGIN = 1500;
const RECOVERY = 2000;
/** How long after it was last heard that all is well a session counts as surely good, at most. */
const HEARD = 1000;
const PATHS = ["/acme/session", "/acme/auth", "/acme/dashboard"];
const USERS = 12;
const ACCESS_TOKEN = 12; // seconds
/** How long a gateway that died may hold the turn to renew. */
const TURN = 5000;

const scene = new Scene();
const secret = randomBytes(32).toString("base64url");
let redis;
let provider;
let accounts;
let client;
let replicas;

before(async () => {
  redis = await scene.starts(new Redis());
  provider = await scene.provider(shortLived(ACCESS_TOKEN));
  accounts = Array.from({ length: USERS }, (_, at) => provider.addAccount(`user-${at}@acme.example`));
  client = provider.addClient("acme");
  const settings = { LYCHGATE_SESSIONS__STALE_SESSION_GRACE: `${GRACE}ms` };
  replicas = await scene.starts(Replicas.start(await folder(), redis, secret, { settings }));
});

after(() => scene.end());

test(`Redis is gone for ${OUTAGE / 1000} seconds under load`, async (context) => {
  await redis.keepEverything();
  const judge = new Judge();
  const users = new Users({ judge, provider, replicas, secrets: scene.secrets, accounts: accounts.slice(1) });
  const session = await signIn();
  const [one, two, cold] = replicas.all;
  await cold.drain();
  await cold.start(); // It knows nobody.
  const looking = new Looking(session, [one, two]);
  const asking = new Looking(session, [cold], { begun: false });
  await sleep(2000);

  const gone = performance.now();
  const ended = judge.opens("outage", gone);
  await redis.kill();
  const killed = performance.now();
  asking.begin();
  await sleep(OUTAGE);
  await asking.end();
  const back = await redis.start();
  ended();
  await Promise.all([one, two, cold].map((replica) => session.until(replica, isGood, "good again")));
  const recovered = performance.now() - back;
  await sleep(1000);
  await looking.end();
  await users.end();

  const hot = looking.looks;
  const within = (from, to) => hot.filter(({ sent, took }) => sent >= from && sent + took <= to);
  const early = within(killed, gone + GRACE - MARGIN);
  const late = within(gone + GRACE + MARGIN, killed + OUTAGE);
  const stale = await Promise.all([one, two].map((replica) => replica.metric("lychgate_session_stale_uses_total")));
  context.diagnostic(`looks at a session in memory, within its grace of ${GRACE / 1000} s: ${early.length}`);
  context.diagnostic(`looks at a session in memory, after its grace: ${late.length}`);
  context.diagnostic(`looks at a session not in memory: ${asking.looks.length}`);
  context.diagnostic(`uses of sessions that Redis could not confirm, counted at two replicas: ${stale.join(" and ")}`);
  context.diagnostic(`good again at every replica after Redis' return, ms: ${Math.round(recovered)}`);
  for (const [name, count] of [...judge.counts].sort()) {
    context.diagnostic(`${name}: ${count}`);
  }
  none(early, (look) => look.status !== 200, gone, "a session in memory goes on for its grace");
  none(within(gone + HEARD, gone + GRACE - MARGIN), ({ isMarked }) => !isMarked, gone, "and is marked");
  none(late, (look) => !isUnavailable(look), gone, "and then no longer");
  none(asking.looks, (look) => !isUnavailable(look), gone, "others are unavailable");
  none([...hot, ...asking.looks], ({ cookies }) => cookies.length > 0, gone, "no cookie changes");
  none([...hot, ...asking.looks], ({ status }) => status === 401, gone, "nobody is signed out");
  assert.ok(early.length > 3 && late.length > 3 && asking.looks.length > 3, "enough was looked at");
  assert.ok(
    stale.every((count) => count > 0),
    `stale uses are counted: ${stale}`,
  );
  assert.ok(recovered <= RECOVERY, `recovered after ${recovered} ms`);
  none(within(back + RECOVERY, Infinity), (look) => look.status !== 200, back, "afterwards all is well");
  none(
    [...within(0, gone), ...within(back + RECOVERY, Infinity)],
    ({ isMarked }) => isMarked,
    gone,
    "only then it is marked",
  );
  assert.deepEqual(judge.faults, []);
  assert.ok(judge.of("failed requests: in the window of an outage") > 0, "somebody tried to sign in meanwhile");
});

test("Redis answers a second late", async (context) => {
  const wire = await scene.starts(Wire.to(await redis.port()));
  const url = redis.url.replace(/:\d+\//, `:${wire.port}/`);
  const slow = await scene.starts(
    Replicas.start(await folder(), redis, secret, {
      settings: { LYCHGATE_SESSIONS__REDIS_URL: url, LYCHGATE_SESSIONS__REDIS_TIMEOUT: "2s" },
    }),
  );
  const [one, two] = slow.all;
  const session = await Session.signIn(scene.secrets, slow.origin, accounts[0]);
  await session.until(one, isGood, "good");
  wire.delay = 1000;
  const begun = performance.now();
  const looking = new Looking(session, [one, two]);
  await sleep(6000);
  const signingIn = await scene.client().open(`${slow.origin}/acme/login`);
  await sleep(2000);
  await looking.end();
  wire.delay = 0;
  const fast = performance.now();
  await Promise.all([one, two].map((replica) => session.until(replica, isGood, "good")));
  const recovered = performance.now() - fast;
  const { looks } = looking;
  const slowest = Math.max(...looks.map(({ took }) => took));
  const good = looks.filter(isGood).length;
  context.diagnostic(`looks: ${looks.length}, good: ${good}, 503: ${looks.length - good}`);
  context.diagnostic(`the slowest answer, ms: ${Math.round(slowest)}`);
  context.diagnostic(`good again at every replica, ms: ${Math.round(recovered)}`);
  none(looks, (look) => !isGood(look) && !isUnavailable(look), begun, "a session is good, or nothing is known of it");
  none(looks, ({ cookies }) => cookies.length > 0, begun, "no cookie changes");
  assert.ok(good > 10, `only ${good} of ${looks.length} looks were good`);
  // The dashboard asks three times: for the session, for those of its user, and for the others among these.
  assert.ok(slowest < 3000 + MARGIN, `an answer took ${slowest} ms`);
  assert.ok(signingIn.status < 400, `a sign-in begins: ${signingIn.status}`);
  assert.ok(recovered <= RECOVERY, `recovered after ${recovered} ms`);
  await slow.stop();
  await wire.stop();
});

test("Redis has no memory left", async (context) => {
  const session = await signIn();
  const leaver = await signIn(accounts[1]);
  const [one, two, cold] = replicas.all;
  await cold.drain();
  await cold.start();
  await session.until(one, isGood, "good");
  await redis.configure("maxmemory", "1");
  const browser = scene.client();
  const page = await browser.signIn(`${replicas.origin}/acme/login`, accounts[2]);
  context.diagnostic(`a sign-in: ${page.status} ${codeIn(page.text)}, Retry-After ${page.headers["retry-after"]}`);
  assert.deepEqual([page.status, codeIn(page.text)], [503, "store_unavailable"]);
  assert.ok(
    page.headers["retry-after"] && page.text.startsWith("<!doctype html>"),
    "a page that says when to try again",
  );
  assert.equal(page.headers["set-cookie"], undefined);
  for (const replica of replicas.all) {
    for (const path of PATHS) {
      const look = await session.look(replica, path);
      none([look], (look) => !isGood(look), look.sent, "a session is good");
    }
  }
  const left = await leaver.look(two, "/acme/logout", { method: "POST" });
  assert.equal(left.status, 303, "one can sign out");
  await leaver.until(cold, ({ status }) => status === 401, "signed out", 1000);
  await redis.configure("maxmemory", "0");
  // The same attempt: its cookie is still there.
  const again = await browser.open(page.url);
  assert.equal(new URL(again.url).pathname, "/acme/dashboard", `${again.status} ${codeIn(again.text)}`);
});

test("a gateway dies while it renews a session's tokens", async (context) => {
  const session = await signIn();
  const [one, two, three] = replicas.all;
  for (const replica of replicas.all) {
    await session.until(replica, isGood, "good");
  }
  const first = JSON.parse((await session.look(two, "/acme/token")).text);
  await sleep(new Date(first.expires_at ?? Date.now() + ACCESS_TOKEN * 1000) - Date.now() + 1000);
  const refreshes = () => provider.requestsTo("token").filter(({ form }) => form.get("grant_type") === "refresh_token");
  const before = refreshes().length;
  const swallowed = provider.swallowNext();
  session.look(one, "/acme/token").catch(() => {}); // It dies with whom it asks.
  await swallowed;
  const died = performance.now();
  const killing = one.kill();
  const asked = Array.from({ length: 40 }, (_, at) => session.look(at % 2 ? two : three, "/acme/token"));
  const served = await Promise.all([two, three].map((replica) => session.look(replica)));
  const tokens = await Promise.all(asked);
  await killing;
  await one.start();
  const waited = Math.max(...tokens.map(({ sent, took }) => sent + took - died));
  context.diagnostic(`requests for tokens: ${tokens.length}, the last answered after, ms: ${Math.round(waited)}`);
  context.diagnostic(`refreshes at the provider: ${refreshes().length - before}`);
  none(tokens, ({ status }) => status !== 200, died, "all get a token");
  assert.equal(new Set(tokens.map(({ text }) => JSON.parse(text).access_token)).size, 1, "all get the same one");
  assert.notEqual(JSON.parse(tokens[0].text).access_token, first.access_token);
  assert.equal(refreshes().length - before, 1);
  assert.ok(waited <= TURN, `they waited ${waited} ms`);
  none(served, ({ status, took }) => status !== 200 || took > 1000, died, "who needs no token waits for nothing");
  none(session.looks, ({ status, cookies }) => status === 401 || cookies.length > 0, died, "nobody is signed out");
});

function folder() {
  const { client_id, client_secret } = client;
  return scene.folder({
    acme: {
      issuer: provider.issuer,
      client_id,
      client_secret,
      scopes: ["openid", "profile", "email", "offline_access"],
      logout_at_provider: false,
      "tokens.endpoint": true,
    },
  });
}

/** Looks at a session several times a second, at each of some replicas, until it is told to end. */
class Looking {
  looks = [];
  #session;
  #replicas;
  #running;
  #isOver = false;

  constructor(session, replicas, { begun = true } = {}) {
    this.#session = session;
    this.#replicas = replicas;
    if (begun) {
      this.begin();
    }
  }

  begin() {
    this.#running = this.#replicas.map(async (replica) => {
      for (let round = 0; !this.#isOver; round++) {
        this.looks.push(await this.#session.look(replica, PATHS[round % PATHS.length]));
        await sleep(100);
      }
    });
  }

  async end() {
    this.#isOver = true;
    await Promise.all(this.#running);
  }
}

function signIn(account = accounts[0]) {
  return Session.signIn(scene.secrets, replicas.origin, account);
}

function isGood({ status }) {
  return status === 200;
}

function isUnavailable({ status, retryAfter }) {
  return status === 503 && retryAfter !== undefined;
}
