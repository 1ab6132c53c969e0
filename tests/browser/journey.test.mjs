// The quickstart's journey and what people meet on the way, in real browsers, on `lychgate demo`.

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { accessibilityFaults, follow, keepPicture, submitCredentials, textOf } from "./support/browser.mjs";
import { testForLeaks } from "./support/leaks.mjs";
import { Scene } from "./support/scene.mjs";

const NARROW = { width: 320, height: 640 };
const scene = new Scene();
let origin;
let namedOrigin;
let ada;
let ben;
let hedy;
let chromium;

before(async () => {
  const demo = await scene.demo();
  origin = demo.origin;
  namedOrigin = demo.gateway.namedOrigin;
  ada = personNamed(demo, "ada@");
  ben = personNamed(demo, "ben@");
  hedy = personNamed(demo, "hedy@");
  chromium = await scene.browser("chromium");
});

after(() => scene.end());

for (const name of ["chromium", "firefox"]) {
  test(`the quickstart's journey, in ${name}`, async () => {
    const browser = name === "chromium" ? chromium : await scene.browser(name);
    const visitor = await browser.newVisitor();
    const tab = await visitor.newTab();
    await tab.goto(`${origin}/acme`);
    await keepPicture(tab, `${name}-1-index`);
    await follow(tab, "#qsLoginBtn");
    await keepPicture(tab, `${name}-2-provider`);
    await submitCredentials(tab, ada);
    await tab.waitForSelector("#qsLogoutBtn");
    assert.equal(pathOf(tab), "/acme/dashboard");
    assert.match(await textOf(tab), /Ada Lovelace/);
    assert.equal(
      await tab.$eval(".avatar", (avatar) => avatar.innerText.trim()),
      "AL",
      "initials, for want of a picture",
    );
    await keepPicture(tab, `${name}-3-dashboard`);
    await follow(tab, "#qsLogoutBtn");
    assert.equal(pathOf(tab), "/acme/logged-out");
    await keepPicture(tab, `${name}-4-logged-out`);

    await tab.goto(`${origin}/acme/dashboard`);
    await tab.waitForSelector("#password");
    assert.notEqual(new URL(tab.url()).origin, origin, "the provider has forgotten the session and asks again");
    await visitor.leave();
  });
}

test("a picture is shown where the provider names one", async () => {
  const tab = await signedIn(hedy, "globex");
  assert.match(await tab.$eval(".avatar img", (image) => image.src), /^https:\/\//);
});

test("five tabs sign in at once", async () => {
  const visitor = await chromium.newVisitor();
  const tabs = [];
  for (let i = 0; i < 5; i++) {
    const tab = await visitor.newTab();
    await tab.goto(`${origin}/acme/login`);
    await tab.waitForSelector("#password");
    tabs.push(tab);
  }
  for (const tab of tabs) {
    await tab.bringToFront();
    await submitCredentials(tab, ada);
    await tab.waitForSelector("#qsLogoutBtn");
    assert.equal(pathOf(tab), "/acme/dashboard");
  }
  await visitor.leave();
});

test("somebody new signs up", async () => {
  const visitor = await chromium.newVisitor();
  const tab = await visitor.newTab();
  await tab.goto(`${origin}/acme`);
  await follow(tab, "#qsSignupBtn");
  assert.match(await textOf(tab, "body"), /sign up/i);
  const password = "a brand new password";
  scene.secrets.note("password", password);
  await submitCredentials(tab, { username: "nina@acme.example", password });
  await tab.waitForSelector("#qsLogoutBtn");
  assert.match(await textOf(tab), /nina@acme\.example/);
  await visitor.leave();
});

test("the back button after a sign-in leads to no error", async () => {
  const tab = await signedIn(ada, "acme");
  await tab.goBack();
  if (pathOf(tab) !== "/acme/dashboard") {
    // Chromium goes back to the provider's page; what it would send once more is an attempt that is used up.
    await tab.goto(`${origin}/acme/callback?code=old&state=6b000000-aaaaaaaaaaaaaaaaaaaaaa`);
  }
  assert.equal(pathOf(tab), "/acme/dashboard");
  assert.match(await textOf(tab), /Ada Lovelace/);
});

test("who says no at the provider reads why and what to do", async () => {
  const visitor = await chromium.newVisitor();
  const tab = await visitor.newTab();
  await tab.goto(`${origin}/acme/login`);
  await tab.waitForSelector("#password");
  await submitCredentials(tab, ben);
  assert.match(await textOf(tab), /user_blocked/);
  await keepPicture(tab, "user-blocked");
  await visitor.leave();
});

test("a template of one's own replaces ours", async () => {
  const folder = await scene.folder();
  await mkdir(path.join(folder, "mine", "acme"), { recursive: true });
  const template = `{{#> layout title="Hello"}}<h1>Our very own page</h1><a id="qsLoginBtn" href="{{base}}/login">Go</a>{{/layout}}\n`;
  await writeFile(path.join(folder, "mine", "acme", "index.hbs"), template);
  const demo = await scene.demo({ args: ["--templates", path.join(folder, "mine")] });
  const visitor = await chromium.newVisitor();
  const tab = await visitor.newTab();
  await tab.goto(`${demo.origin}/acme`);
  assert.match(await textOf(tab), /Our very own page/);
  await keepPicture(tab, "template-override");
  await tab.goto(`${demo.origin}/globex`);
  assert.doesNotMatch(await textOf(tab), /Our very own page/);
  await visitor.leave();
});

test("pages speak the visitor's language", async () => {
  const visitor = await chromium.newVisitor();
  for (const language of ["de", "fr", "es", "ja"]) {
    const tab = await visitor.newTab();
    await tab.setExtraHTTPHeaders({ "accept-language": language });
    await tab.goto(`${origin}/acme`);
    assert.equal(await tab.$eval("html", (html) => html.lang), language);
    await keepPicture(tab, `index-${language}`);
  }
  await visitor.leave();
});

test("every page is accessible and fits, in light and dark, wide and narrow", async (context) => {
  const stranger = await (await chromium.newVisitor()).newTab();
  const member = await signedIn(ada, "acme");
  const pages = {
    landing: [stranger, "/"],
    index: [stranger, "/acme"],
    "logged-out": [stranger, "/acme/logged-out"],
    error: [stranger, "/acme/callback?code=x&state=6b000000-aaaaaaaaaaaaaaaaaaaaaa"],
    "not-found": [stranger, "/nobody", "error"],
    dashboard: [member, "/acme/dashboard"],
    "confirm-logout": [member, "/acme/logout", "confirm-logout", foreignLink],
  };
  for (const [name, [tab, route, kind = name, open = goto]] of Object.entries(pages)) {
    await context.test(name, async () => {
      await open(tab, route);
      assert.equal(await tab.$eval("body", (body) => body.className.replace("_", "-")), `page-${kind}`);
      for (const scheme of ["light", "dark"]) {
        await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        assert.deepEqual(await accessibilityFaults(tab), [], `${name}, ${scheme}`);
        await keepPicture(tab, `${name}-${scheme}`);
        await tab.setViewport(NARROW);
        const [wide, seen] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(wide <= seen, `${name} is ${wide} wide on ${seen}`);
        await keepPicture(tab, `${name}-${scheme}-narrow`);
        await tab.setViewport({ width: 1200, height: 800 });
      }
      const colors = await colorsOf(tab);
      assert.notEqual(colors.light, colors.dark, "dark is another colour");
    });
  }
});

testForLeaks(scene, ["password", "code", "state", "cookie", "nonce"]);

function personNamed({ people }, start) {
  return people.find(({ username }) => username.startsWith(start));
}

/** A tab in which somebody has signed in. */
async function signedIn(person, tenant) {
  const visitor = await chromium.newVisitor();
  const tab = await visitor.newTab();
  await tab.goto(`${origin}/${tenant}/login`);
  await submitCredentials(tab, person);
  await tab.waitForSelector("#qsLogoutBtn");
  return tab;
}

function goto(tab, route) {
  return tab.goto(origin + route);
}

/** Opens a page by a link on another site: this gateway under its other name. */
async function foreignLink(tab, route) {
  await tab.goto(`${namedOrigin}/acme`);
  const arrived = tab.waitForNavigation({ waitUntil: "load" });
  await tab.evaluate((href) => {
    const link = document.createElement("a");
    document.body.append(Object.assign(link, { href }));
    link.click();
  }, origin + route);
  await arrived;
}

async function colorsOf(tab) {
  const colors = {};
  for (const scheme of ["light", "dark"]) {
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    colors[scheme] = await tab.$eval("body", (body) => getComputedStyle(body).backgroundColor);
  }
  return colors;
}

function pathOf(tab) {
  return new URL(tab.url()).pathname;
}
