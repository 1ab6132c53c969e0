// Real nginx, Caddy and HAProxy, with the example files that are shipped, between a browser and an application.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import tls from "node:tls";
import { submitCredentials, textOf } from "./support/browser.mjs";
import { Echo } from "./support/echo.mjs";
import { testForLeaks } from "./support/leaks.mjs";
import { freePort, HOST, NAMES, startProxy } from "./support/proxies.mjs";
import { Scene } from "./support/scene.mjs";

const scene = new Scene();
let provider;
let ada;
let chromium;

before(async () => {
  provider = await scene.provider();
  ada = provider.addAccount("ada@acme.example", { name: "Ada Lovelace", email_verified: true });
  chromium = await scene.browser("chromium");
});

after(() => scene.end());

for (const name of NAMES) {
  test(`${name} lets nobody pass whom lychgate does not know`, async () => {
    const { application, ask } = await behind(name);

    const page = await ask({ path: "/reports?year=2026&x=%C3%A4" });
    assert.equal(page.status, 302);
    assert.match(page.headers.get("location"), /\/\.lychgate\/login\?.*return_to=/);

    for (const [what, request] of Object.entries({
      "a script": { path: "/api", headers: { accept: "application/json", "sec-fetch-mode": "cors" } },
      "an old script": { path: "/api", headers: { "x-requested-with": "XMLHttpRequest", "sec-fetch-mode": null } },
      "a posted form": { path: "/orders", method: "POST", body: "a=b" },
      "an old WebSocket": { path: "/chat", headers: { ...WEBSOCKET, "sec-fetch-mode": null } },
      "a WebSocket": { path: "/chat", headers: { ...WEBSOCKET, "sec-fetch-mode": "websocket" } },
    })) {
      const answer = await ask(request);
      assert.equal(answer.status, 401, what);
      assert.match(answer.headers.get("content-type"), /application\/problem\+json/, what);
      assert.equal(JSON.parse(answer.body).code, "not_signed_in", what);
    }
    assert.deepEqual(application.requests, [], "the application saw something");
  });

  test(`${name} closes to the outside what it asks lychgate`, async () => {
    const { application, ask, signIn } = await behind(name);
    const cookie = await signIn();
    const spellings = ["/.lychgate/auth", "/.lychgate/auth/", "/.lychgate/auth/traefik", "/.lychgate/auth/caddy"];
    spellings.push("/.lychgate/auth/envoy/x", "/.lychgate/%61uth", "/.lychgate//auth", "/.lychgate/x/../auth");
    for (const path of spellings) {
      const original = { "x-original-url": `https://${HOST}/x`, "x-original-method": "GET" };
      const answer = await ask({ path, headers: { cookie, ...original, "x-forwarded-uri": "/x" } });
      assert.notEqual(answer.status, 200, path);
      const told = [...answer.headers.keys()].filter((header) => header.startsWith("x-auth-request"));
      assert.deepEqual(told, [], path);
    }
    assert.deepEqual(application.requests, []);
  });

  test(`no identity header that a client forges passes ${name}`, async () => {
    const { application, ask, signIn } = await behind(name);
    const cookie = await signIn();
    for (const some of batches(forgeries())) {
      const answer = await ask({ path: "/", headers: { cookie }, more: some.map((header) => [header, "mallory"]) });
      assert.equal(answer.status, 200, answer.body);
      assertOnlyAda(application.requests.at(-1));
    }

    const named = [["Connection", "X-Auth-Request-User, X-Forwarded-User, close"]];
    await ask({ path: "/", headers: { cookie, connection: null }, more: named });
    assertOnlyAda(application.requests.at(-1));

    const trailer = { path: "/", method: "POST", headers: { cookie, origin: `https://${HOST}` } };
    await ask({ ...trailer, trailers: [["X-Auth-Request-User", "mallory"]] });
    assertOnlyAda(application.requests.at(-1));
    assert.deepEqual(
      application.requests.flatMap(({ trailers }) => trailers),
      [],
    );
  });

  test(`one signs in through ${name}, is back on the very page, and signs out`, async () => {
    const { application, origin, ask } = await behind(name);
    const visitor = await chromium.newVisitor();
    const tab = await visitor.newTab();
    const wanted = `${origin}/reports/2026?year=2026&x=%C3%A4&y=a+b`;
    await tab.goto(wanted);
    await submitCredentials(tab, ada);
    assert.equal(tab.url(), wanted);
    assert.equal(await textOf(tab, "#user"), ada.username);

    const cookie = await cookieOf(tab);
    assert.equal((await ask({ path: "/", headers: { cookie } })).status, 200);
    await tab.goto(`${origin}/.lychgate/logout`);
    const seen = application.requests.length;
    const answer = await ask({ path: "/", headers: { cookie, "sec-fetch-mode": "cors" } });
    assert.equal(answer.status, 401, "the old cookie still opens the door");
    assert.equal(application.requests.length, seen);
    await visitor.leave();
  });

  test(`nobody passes ${name} while lychgate is down`, async () => {
    const { application, gateway, ask, signIn } = await behind(name);
    const cookie = await signIn();
    await gateway.stop();
    const answer = await ask({ path: "/", headers: { cookie } });
    assert.ok(answer.status >= 500, `${answer.status}`);
    assert.equal(answer.headers.get("x-application"), undefined);
    assert.deepEqual(application.requests, []);
  });
}

testForLeaks(scene, ["password", "client_secret", "cookie"]);

const WEBSOCKET = {
  connection: "Upgrade, close",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

/** A gateway, an application, and the proxy between them; how to ask it. */
async function behind(name) {
  const port = await freePort();
  const origin = `https://${HOST}:${port}`;
  const client = provider.addClient(`acme-${port}`, {
    redirect_uris: [`${origin}/.lychgate/callback`],
    post_logout_redirect_uris: [`${origin}/.lychgate/logged-out`],
  });
  const folder = await scene.folder({
    acme: {
      issuer: provider.issuer,
      client_id: client.client_id,
      client_secret: client.client_secret,
      hosts: [HOST],
      prefix: "/.lychgate",
    },
  });
  const environment = { LYCHGATE_PUBLIC_URL: `https://gateway.example.com:${port}` };
  const gateway = await scene.serve(folder, { environment });
  const application = await scene.starts(Echo.start());
  const addresses = { gateway: new URL(gateway.origin).host, application: application.address };
  await scene.starts(startProxy(name, folder, port, addresses));
  const ask = (request) => exchange(port, request);
  return { gateway, application, origin, ask, signIn: () => signIn(origin) };
}

/** Signs Ada in and returns the cookie header of her browser. */
async function signIn(origin) {
  const visitor = await chromium.newVisitor();
  const tab = await visitor.newTab();
  await tab.goto(`${origin}/.lychgate/login`);
  await submitCredentials(tab, ada);
  const cookie = await cookieOf(tab);
  await visitor.leave();
  return cookie;
}

async function cookieOf(tab) {
  const cookies = await tab.browserContext().cookies();
  const session = cookies.find((cookie) => cookie.domain === HOST && cookie.name === "__Host-lychgate-acme");
  assert.ok(session, cookies.map((cookie) => cookie.name).join());
  return `${session.name}=${session.value}`;
}

/** Every spelling of every identity header that some application takes for it. */
function forgeries() {
  const names = ["X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Request-Tenant"];
  names.push("X-Auth-Request-Name", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Access-Token");
  names.push("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username");
  const spellings = (name) => [name, name.toLowerCase(), name.toUpperCase(), name, mixed(name), mixed(name, "-._")];
  return names.flatMap((name) => [
    ...spellings(name),
    ...["_", "."].flatMap((between) => spellings(name.replaceAll("-", between))),
  ]);
}

/** Few enough for the number of headers that proxies take. */
function batches(list, size = 50) {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, at) => list.slice(at * size, (at + 1) * size));
}

function mixed(name, separators = "_-.") {
  let at = 0;
  return name.replaceAll("-", () => separators[at++ % separators.length]);
}

/** Ada, once, where anything says who it is; nowhere the forged one. */
function assertOnlyAda({ headers }) {
  const text = JSON.stringify(headers);
  assert.ok(!text.includes("mallory"), text);
  const folded = headers.filter(([name]) => /^x[-_.]auth[-_.]request[-_.]user$/i.test(name));
  assert.deepEqual(
    folded.map(([name, value]) => [name.toLowerCase(), value]),
    [["x-auth-request-user", ada.username]],
  );
}

/** One request, written by hand, as no client library lets one write it. */
async function exchange(port, { path, method = "GET", headers = {}, more = [], body = "", trailers }) {
  const plain = {
    host: `${HOST}:${port}`,
    connection: "close",
    accept: "text/html",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    ...headers,
  };
  const lines = [...Object.entries(plain).filter(([, value]) => value !== null), ...more];
  if (trailers) {
    lines.push(["transfer-encoding", "chunked"], ["trailer", trailers.map(([name]) => name).join(", ")]);
  } else if (body) {
    lines.push(["content-length", String(Buffer.byteLength(body))]);
  }
  const end = trailers ? `1\r\nx\r\n0\r\n${text(trailers)}\r\n` : body;
  const socket = tls.connect({ port, host: "127.0.0.1", servername: HOST, rejectUnauthorized: false });
  const chunks = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.on("error", () => {}); // a server that closes early is told by what it answered
  socket.setTimeout(10_000, () => socket.destroy());
  socket.write(`${method} ${path} HTTP/1.1\r\n${text(lines)}\r\n${end}`);
  await once(socket, "close");
  return answerIn(Buffer.concat(chunks).toString());
}

function text(lines) {
  return lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
}

function answerIn(raw) {
  const [head, ...rest] = raw.split("\r\n\r\n");
  const [status, ...lines] = head.split("\r\n");
  const split = (line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()];
  const headers = new Map(lines.map(split));
  const body = rest.join("\r\n\r\n");
  const chunked = headers.get("transfer-encoding") === "chunked";
  return { status: Number(status.split(" ")[1]), headers, body: chunked ? unchunked(body) : body };
}

function unchunked(body) {
  const end = body.indexOf("\r\n");
  const size = parseInt(body.slice(0, end), 16);
  return size > 0 ? body.slice(end + 2, end + 2 + size) + unchunked(body.slice(end + 4 + size)) : "";
}
