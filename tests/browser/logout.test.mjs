// Sessions that end from elsewhere, in Chromium: signed out at the provider by another of its clients (back channel), and
// from the dashboard of another browser.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessibilityFaults, follow, keepPicture, submitCredentials, textOf } from "./support/browser.mjs";
import { testForLeaks } from "./support/leaks.mjs";
import { Scene } from "./support/scene.mjs";

const scene = new Scene();
let provider;
let gateway;
let browser;
let ada;

before(async () => {
  provider = await scene.provider({
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true },
      backchannelLogout: { enabled: true },
    },
    // Its own way refuses addresses of loopback.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  });
  ada = provider.addAccount("ada@acme.example", { name: "Ada Lovelace" });
  const clients = { acme: provider.addClient("acme"), other: provider.addClient("other") };
  const tenants = Object.entries(clients).map(([id, { client_id, client_secret }]) => [
    id,
    { issuer: provider.issuer, client_id, client_secret, display_name: "Acme" },
  ]);
  gateway = await scene.serve(await scene.folder(Object.fromEntries(tenants)));
  // Where the gateway listens is known only now.
  provider.addClient("acme", {
    client_secret: clients.acme.client_secret,
    backchannel_logout_uri: at("/acme/backchannel-logout"),
    backchannel_logout_session_required: true,
  });
  browser = await scene.browser("chromium");
});

after(() => scene.end());

test("whoever signs out at another client of the provider is signed out here, too", async () => {
  const visitor = await browser.newVisitor();
  const acme = await visitor.newTab();
  await signIn(acme, "/acme");
  const other = await visitor.newTab();
  await other.goto(at("/other/login"));
  await other.waitForSelector("#qsLogoutBtn");
  await acme.reload();
  assert.match(await textOf(acme), /Ada Lovelace/);

  await follow(other, "#qsLogoutBtn");
  await follow(other, 'button[name="logout"]');
  assert.equal(new URL(other.url()).pathname, "/other/logged-out");
  await gateway.until(() => gateway.log.includes("the provider ended sessions"), "was told by the provider");
  await acme.reload();
  assert.equal(await acme.$("#qsLogoutBtn"), null, "the dashboard is gone");
  // Although it signed in a moment ago, it is asked to sign in, and not whether it takes cookies.
  await acme.waitForSelector("#password");
  await visitor.leave();
});

test("the dashboard ends a session in another browser", async () => {
  const [here, there] = [await browser.newVisitor(), await browser.newVisitor()];
  const [mine, lost] = [await here.newTab(), await there.newTab()];
  await signIn(lost, "/acme");
  await signIn(mine, "/acme");
  assert.match(await textOf(mine, ".sessions"), /Chrome on Linux\s+This browser/);
  assert.equal((await mine.$$(".sessions li")).length, 2);
  for (const [scheme, width] of [
    ["light", 1200],
    ["dark", 1200],
    ["light", 320],
  ]) {
    await mine.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await mine.setViewport({ width, height: 900 });
    assert.deepEqual(await accessibilityFaults(mine), [], `${scheme}, ${width}`);
    const wide = await mine.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} is wider than ${width}`);
    await mine.$eval("#sessions", (heading) => heading.scrollIntoView());
    await keepPicture(mine, `sessions-${scheme}-${width}`);
  }
  await follow(mine, ".sessions li:nth-child(2) button");
  assert.equal(new URL(mine.url()).pathname, "/acme/dashboard");
  assert.equal((await mine.$$(".sessions li")).length, 1);
  await lost.goto(at("/acme/session"));
  assert.match(await textOf(lost, "body"), /not_signed_in|Please sign in/);
  await here.leave();
  await there.leave();
});

test("one disconnects after having been asked", async () => {
  const visitor = await browser.newVisitor();
  const tab = await visitor.newTab();
  await signIn(tab, "/acme");
  await follow(tab, 'a[href$="/disconnect"]');
  assert.deepEqual(await accessibilityFaults(tab), []);
  await keepPicture(tab, "disconnect");
  await follow(tab, 'form [type="submit"]');
  assert.equal(new URL(tab.url()).pathname, "/acme/logged-out");
  await visitor.leave();
});

testForLeaks(scene, ["code", "cookie", "password", "state"]);

async function signIn(tab, tenant) {
  await tab.goto(at(`${tenant}/login`));
  await submitCredentials(tab, ada);
  await tab.waitForSelector("#qsLogoutBtn");
}

function at(route) {
  return gateway.origin + route;
}
