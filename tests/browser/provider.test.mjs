// lychgate against a certified provider that others wrote.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { follow, submitCredentials, textOf } from "./support/browser.mjs";
import { testForLeaks } from "./support/leaks.mjs";
import { rsaKeyPair, shortLived } from "./support/provider.mjs";
import { Scene } from "./support/scene.mjs";

const scene = new Scene();
let provider; // whose id tokens hold the claims
let strict; // whose claims are at userinfo alone
let rotating; // whose access tokens end at once and whose refresh tokens are good for one use
let gateway;
let ada;

before(async () => {
  provider = await scene.provider({ issueRefreshToken: () => true });
  strict = await scene.provider({ conformIdTokenClaims: true });
  rotating = await scene.provider(shortLived(2));
  ada = provider.addAccount("ada@acme.example", { name: "Ada Lovelace" });
  const { folder, privateKeyFile } = await folderOfTenants();
  await writeFile(path.join(folder, "tenants", privateKeyFile.name), privateKeyFile.text);
  gateway = await scene.serve(folder);
});

after(() => scene.end());

test("one signs in and sees the dashboard", async () => {
  const client = scene.client();
  const page = await client.signIn(at("/acme/login"), ada);
  assertDashboard(page, "acme");
  assert.ok(page.hops.some((hop) => hop.status === 303 && pathOf(hop) === "/acme/callback"));
  const { body } = await client.json(at("/acme/session"));
  assert.equal(body.user.sub, ada.username);
  const [{ query }] = provider.requestsTo("authorization");
  assert.equal(query.get("code_challenge_method"), "S256");
});

test("a client secret of any characters passes by HTTP Basic", async () => {
  assertDashboard(await scene.client().signIn(at("/basic/login"), ada), "basic");
  const { form, authorization } = provider.requestsTo("token").at(-1);
  assert.match(authorization, /^Basic /);
  assert.equal(form.get("client_secret"), null);
});

test("who has signed in at the provider signs in silently", async () => {
  const client = scene.client();
  await client.signIn(at("/acme/login"), ada);
  const page = await client.open(at("/basic/login?prompt=none"));
  assertDashboard(page, "basic");
  assert.equal(provider.requestsTo("authorization").at(-1).query.get("prompt"), "none");
});

test("a silent sign-in of a stranger makes no session", async () => {
  const client = scene.client();
  const { hops } = await client.open(at("/acme/login?prompt=none"));
  const callback = hops.find((hop) => pathOf(hop) === "/acme/callback");
  assert.equal(new URL(callback.url).searchParams.get("error"), "login_required");
  assert.equal((await client.json(at("/acme/session"))).status, 401);
});

test("a pushed authorization request shows the browser nothing but its reference", async () => {
  assertDashboard(await scene.client().signIn(at("/pushed/login"), ada), "pushed");
  assert.equal(provider.requestsTo("pushed_authorization_request").length, 1);
  const { query } = provider.requestsTo("authorization").at(-1);
  assert.deepEqual([...query.keys()].sort(), ["client_id", "request_uri"]);
});

test("a private key proves who we are", async () => {
  assertDashboard(await scene.client().signIn(at("/keyed/login"), ada), "keyed");
  const { form } = provider.requestsTo("token").at(-1);
  assert.equal(form.get("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
  assert.equal(form.get("client_secret"), null);
});

for (const name of ["chromium", "firefox"]) {
  test(`a form posted from another site signs in, in ${name}`, async () => {
    const browser = await scene.browser(name);
    const visitor = await browser.newVisitor();
    const tab = await visitor.newTab();
    await tab.goto(`${gateway.namedOrigin}/posted`);
    await follow(tab, "#qsLoginBtn");
    await submitCredentials(tab, ada);
    await tab.waitForSelector("#qsLogoutBtn");
    assert.equal(new URL(tab.url()).pathname, "/posted/dashboard");
    assert.match(await textOf(tab), /Ada Lovelace/);
    assert.equal(provider.requestsTo("authorization").at(-1).query.get("response_mode"), "form_post");
    await visitor.leave();
  });
}

test("a key that the provider has only just made is fetched", async () => {
  assertDashboard(await scene.client().signIn(at("/acme/login"), ada), "acme");
  const fetchedBefore = provider.requestsTo("jwks").length;
  provider.rotateKeys();
  assertDashboard(await scene.client().signIn(at("/acme/login"), ada), "acme");
  assert.equal(provider.requestsTo("jwks").length, fetchedBefore + 1);
});

test("a sign-out ends the session at the provider, too", async () => {
  const client = scene.client();
  await client.signIn(at("/acme/login"), ada);
  const thief = client.copy();
  const question = await client.open(at("/acme/logout"));
  const { query } = provider.requestsTo("end_session").at(-1);
  assert.ok(query.get("id_token_hint"));
  assert.equal(query.get("post_logout_redirect_uri"), at("/acme/logged-out"));
  const page = await client.submit(question, { logout: "yes" });
  assert.equal(page.status, 200);
  assert.equal(pathOf(page), "/acme/logged-out");
  const next = await client.open(at("/acme/login"));
  assert.match(next.text, /id="password"/, "the provider asks for the password again");
  assert.equal((await thief.json(at("/acme/session"))).status, 401, "the old cookie opens nothing");
  assert.equal(provider.requestsTo("revocation").length, 1, "and the refresh token is revoked");
});

test("the lines of a request bear its id, as its page and its problem do", async () => {
  const id = "from-the-proxy-1";
  const headers = { "x-request-id": id };
  const page = await scene.client().request(at("/acme/callback?code=x&state=y"), { headers });
  assert.match(page.text, new RegExp(`<code>${id}</code>`));
  const problem = await scene.client().json(at("/acme/session"), { headers });
  assert.equal(problem.body.request_id, id);
  const lines = () => gateway.log.split("\n").map((line) => JSON.parse(line));
  const of = (message) => lines().filter((line) => line.message === message && line.span?.request_id === id);
  await gateway.until(() => of("answered").length === 2, "said that it answered");
  assert.deepEqual(
    of("refused").map(({ code }) => code),
    ["cookie_missing", "not_signed_in"],
  );
  const ours = lines().filter(({ target }) => /^lychgate::(web|flow)\b/.test(target));
  assert.ok(ours.length > 20);
  assert.deepEqual(
    ours.filter(({ span }) => !span?.request_id),
    [],
  );
});

test("claims come from userinfo where the tenant wants them", async () => {
  const grace = strict.addAccount("grace@globex.example", { name: "Grace Hopper" });
  const page = await scene.client().signIn(at("/told/login"), grace);
  assert.equal(page.status, 200);
  assert.match(page.text, /Grace Hopper/);
  assert.equal(strict.requestsTo("userinfo").length, 1);
});

test("access tokens are renewed by refresh tokens that rotate", async () => {
  const client = scene.client();
  await client.signIn(at("/renewed/login"), rotating.addAccount("mary@acme.example", { name: "Mary Somerville" }));
  const before = (await client.json(at("/renewed/session"))).body;
  const seen = new Set();
  const deadline = Date.now() + 30_000;
  while (seen.size < 4) {
    assert.ok(Date.now() < deadline, `${seen.size} access tokens in time`);
    const answers = await Promise.all(Array.from({ length: 5 }, () => client.json(at("/renewed/token"))));
    for (const { status, body } of answers) {
      assert.equal(status, 200, JSON.stringify(body));
      seen.add(body.access_token);
      scene.secrets.note("access_token", body.access_token);
    }
  }
  const used = rotating
    .requestsTo("token")
    .filter(({ form }) => form.get("grant_type") === "refresh_token")
    .map(({ form }) => form.get("refresh_token"));
  assert.ok(used.length >= 3);
  assert.equal(new Set(used).size, used.length, "none is used twice");
  const { body } = await client.json(at("/renewed/session"));
  assert.deepEqual([body.user.sub, body.user.name], [before.user.sub, "Mary Somerville"]);
  assert.equal(body.expires_at, before.expires_at);
});

testForLeaks(scene, [
  "access_token",
  "authorization",
  "client_assertion",
  "client_secret",
  "code",
  "code_verifier",
  "cookie",
  "id_token",
  "id_token_hint",
  "nonce",
  "password",
  "private_key",
  "refresh_token",
  "root_secret",
  "state",
]);

/** A folder with a tenant for each way to speak with the provider. */
async function folderOfTenants() {
  const { privateKey, jwk } = rsaKeyPair();
  const spoken = `a b:c/d+e%f&g=${randomUUID()}`;
  const acme = provider.addClient("acme");
  const basic = provider.addClient("basic", {
    client_secret: spoken,
    token_endpoint_auth_method: "client_secret_basic",
  });
  const pushed = provider.addClient("pushed");
  const posted = provider.addClient("posted");
  const keyed = provider.addClient("keyed", {
    client_secret: undefined,
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [jwk] },
  });
  const told = strict.addClient("told");
  const renewed = rotating.addClient("renewed");
  const folder = await scene.folder({
    acme: { ...settingsOf(acme), display_name: "Acme" },
    basic: { ...settingsOf(basic), client_auth: "client_secret_basic" },
    pushed: { ...settingsOf(pushed), pushed_authorization_requests: true },
    posted: { ...settingsOf(posted), response_mode: "form_post" },
    keyed: {
      issuer: provider.issuer,
      client_id: keyed.client_id,
      private_key_file: "keyed.pem",
      private_key_id: jwk.kid,
    },
    told: { ...settingsOf(told, strict), userinfo: true },
    renewed: {
      ...settingsOf(renewed, rotating),
      scopes: ["openid", "profile", "email", "offline_access"],
      "tokens.endpoint": true,
    },
  });
  const text = privateKey.export({ type: "pkcs8", format: "pem" });
  text.split("\n").forEach((line) => line.startsWith("-") || scene.secrets.note("private_key", line));
  return { folder, privateKeyFile: { name: "keyed.pem", text } };
}

function settingsOf({ client_id, client_secret }, { issuer } = provider) {
  return { issuer, client_id, client_secret };
}

function at(route) {
  return gateway.origin + route;
}

function pathOf({ url }) {
  return new URL(url).pathname;
}

function assertDashboard(page, tenant) {
  assert.equal(page.status, 200, page.text);
  assert.equal(pathOf(page), `/${tenant}/dashboard`);
  assert.match(page.text, /Ada Lovelace/);
}
