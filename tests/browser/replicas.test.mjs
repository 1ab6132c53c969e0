// Three gateways on one Redis behind nginx, and users who sign in and out while gateways, Redis and the provider's keys
// come and go. Runs by `tests/with-redis sentinel node --test tests/browser/replicas.test.mjs`, or `cluster`; for
// LYCHGATE_TEST_SECONDS.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ARTIFACTS } from "./support/gateway.mjs";
import { Judge } from "./support/judge.mjs";
import { shortLived } from "./support/provider.mjs";
import { Redis } from "./support/redis.mjs";
import { DRAIN_DELAY, Replicas } from "./support/replicas.mjs";
import { Scene } from "./support/scene.mjs";
import { Users } from "./support/users.mjs";

const SECONDS = Number(process.env.LYCHGATE_TEST_SECONDS || 30);
const USERS = 36;
/** A gateway asks for keys that it does not know once a minute at most. */
const ROTATION = 65_000;
/** How many faults are printed. */
const SHOWN = 60;
const ACCESS_TOKEN = 12; // seconds

const scene = new Scene();
let redis;
let provider;
let accounts;
let replicas;

before(async () => {
  redis = await scene.starts(new Redis());
  provider = await scene.provider(shortLived(ACCESS_TOKEN));
  accounts = Array.from({ length: USERS }, (_, at) => provider.addAccount(`user-${at}@acme.example`));
  const { client_id, client_secret } = provider.addClient("acme");
  const folder = await scene.folder({
    acme: {
      issuer: provider.issuer,
      client_id,
      client_secret,
      scopes: ["openid", "profile", "email", "offline_access"],
      logout_at_provider: false,
      "tokens.endpoint": true,
    },
  });
  replicas = await scene.starts(Replicas.start(folder, redis, randomBytes(32).toString("base64url")));
});

after(async () => {
  await scene.end();
  if (replicas) {
    await writeFile(path.join(ARTIFACTS, "replicas.log"), replicas.logs);
  }
});

test("a rolling restart under load costs no request", async (context) => {
  const judge = await under(context, async () => {
    await sleep(2000);
    await replicas.restartAll();
    await sleep(2000);
  });
  assert.equal(judge.of("failed requests: in the window of a kill"), 0);
});

test(`${SECONDS} seconds of killing, draining, failover and new keys give no wrong answer`, async (context) => {
  const judge = await under(context, async (judge) => {
    const end = performance.now() + SECONDS * 1000;
    await sleep(2000);
    for (let round = 0; performance.now() < end; round++) {
      const disaster = DISASTERS[round % DISASTERS.length];
      await disaster(judge);
      await sleep(1000);
    }
  });
  for (const what of ["windows: kill", "windows: failover", "drains", "rotations of the provider's keys"]) {
    assert.ok(judge.of(what) > 0, `no ${what}`);
  }
});

const DISASTERS = [killsReplica, rotatesKeys, failsOver, drainsReplica];

async function killsReplica(judge) {
  const replica = anyReplica();
  const ended = judge.opens("kill");
  await replica.kill();
  ended();
  await sleep(1500);
  await replica.start();
}

async function drainsReplica(judge) {
  const replica = anyReplica();
  await replica.drain();
  await sleep(500);
  await replica.start();
  judge.count("drains");
}

async function failsOver(judge) {
  const failure = await redis.killMaster();
  const ended = judge.opens("failover", failure.at);
  await redis.untilFollowed(failure);
  ended();
  await sleep(2000);
  await redis.bringBack(failure);
}

let rotated = -Infinity;

async function rotatesKeys(judge) {
  if (performance.now() - rotated > ROTATION) {
    provider.rotateKeys();
    rotated = performance.now();
    judge.count("rotations of the provider's keys");
  }
}

/** Tells the judge when each refresh token was used since it began. */
function judgeRefreshes(judge) {
  const uses = new Map();
  for (const { at, form } of provider.requestsTo("token")) {
    const token = form.get("refresh_token");
    if (at >= judge.begun && token !== null) {
      uses.set(token, [...(uses.get(token) ?? []), at]);
    }
  }
  uses.forEach((times) => judge.refreshed(times.sort((one, other) => one - other)));
}

/** Does something while users come and go; prints what was counted, and asserts that all was well. */
async function under(context, doIt) {
  const judge = new Judge();
  const users = new Users({ judge, provider, replicas, secrets: scene.secrets, accounts });
  try {
    await doIt(judge);
  } finally {
    // Whatever came of it: they would go on for ever.
    judge.count("sessions looked at once more at the end, at each replica", await users.end());
  }
  judgeRefreshes(judge);
  const { by, retried } = await replicas.asked();
  Object.entries(by).forEach(([name, requests]) => judge.count(`requests: nginx to ${name}, from the start`, requests));
  judge.count("requests: nginx to a second replica, from the start", retried);
  for (const [name, count] of [...judge.counts].sort()) {
    context.diagnostic(`${name}: ${count}`);
  }
  context.diagnostic(`this driver was held up for at most, ms: ${judge.heldUp()}`);
  const { faults } = judge;
  assert.equal(faults.length, 0, `${faults.length} faults, among them:\n${faults.slice(0, SHOWN).join("\n")}`);
  for (const what of ["sign-ins", "sign-outs", "checks: accepted", "checks: refused"]) {
    assert.ok(judge.of(what) > USERS, `only ${judge.of(what)} ${what}`);
  }
  return judge;
}

function anyReplica() {
  return replicas.all[Math.floor(Math.random() * replicas.all.length)];
}
