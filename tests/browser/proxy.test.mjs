// Applications behind the gateway: a single-page application that has no token and needs none, and files larger than
// memory should be.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import http from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { after, before, test } from "node:test";
import { Application, lengthOf, parts } from "./support/application.mjs";
import { submitCredentials } from "./support/browser.mjs";
import { testForLeaks } from "./support/leaks.mjs";
import { Scene } from "./support/scene.mjs";

const GIB = 1024 ** 3;
const MOST_GROWTH = 20 * 1024 ** 2;
const scene = new Scene();
let application;
let provider;
let ada;
let folder;

before(async () => {
  application = await Application.start("/acme/app");
  provider = await scene.provider();
  ada = provider.addAccount("ada@acme.example", { name: "Ada Lovelace" });
  const { client_id, client_secret } = provider.addClient("acme");
  const upstreams = [{ path: "/app", url: application.origin }];
  folder = await scene.folder({ acme: { issuer: provider.issuer, client_id, client_secret, upstreams } });
});

after(async () => {
  await scene.end();
  await application.stop();
});

test("a single-page application works by the session alone, and ends with it", async () => {
  const gateway = await scene.serve(folder);
  const browser = await scene.browser("chromium");
  const visitor = await browser.newVisitor();
  const tab = await visitor.newTab();
  await tab.goto(`${gateway.origin}/acme/app/?from=a%20link`);
  await submitCredentials(tab, ada);
  assert.equal(tab.url(), `${gateway.origin}/acme/app/?from=a%20link`, "back at the very page");

  const shows = (id, text) =>
    tab.waitForFunction((id, text) => document.getElementById(id).textContent === text, {}, id, text);
  await shows("me", "ada@acme.example");
  await shows("chat", "ada@acme.example: hello");
  await tab.type("#note", "remember the milk");
  await tab.click("button");
  await shows("notes", "saved");
  await shows("events", "1 notes");
  const cookie = await tab.evaluate(async () => (await (await fetch("api/me")).json()).cookie ?? "");
  assert.doesNotMatch(cookie, /lychgate/, "the application never sees our cookies");

  const stranger = await visitor.newTab();
  await stranger.goto(`${gateway.namedOrigin}/livez`);
  const target = `${gateway.origin}/acme/app/api/notes`;
  const foreign = await stranger.evaluate(async (target) => {
    await fetch(target, { method: "POST", mode: "no-cors", credentials: "include", body: "forged" }).catch(() => {});
    const socket = new WebSocket(target.replace("http", "ws"));
    return new Promise((resolve) => {
      socket.onopen = () => resolve("opened");
      socket.onerror = () => resolve("refused");
    });
  }, target);
  assert.equal(foreign, "refused", "another site's page opens no WebSocket");

  const out = await visitor.newTab();
  await out.goto(`${gateway.origin}/acme/logout`);
  await tab.bringToFront();
  await shows("chat", "closed");
  const status = await tab.evaluate(async () => (await fetch("api/me")).status);
  assert.equal(status, 401, "a script is told, not redirected");
  await tab.type("#note", "too late");
  await tab.click("button");
  await shows("notes", "401");
  assert.equal(application.chats, 0);
  await visitor.leave();
  await gateway.stop();
});

test("a file of 1 GiB goes up and comes down in flat memory", async (context) => {
  const gateway = await scene.serve(folder, { environment: { LYCHGATE_LOG__LEVEL: "info" } });
  const client = scene.client();
  await client.signIn(`${gateway.origin}/acme/app/`, ada);
  const cookie = [...client.cookies("127.0.0.1")].map(([name, value]) => `${name}=${value}`).join("; ");
  const headers = { cookie, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors" };
  await upload(`${gateway.origin}/acme/app/files`, headers, 1024 ** 2); // what is made once, is made now
  await download(`${gateway.origin}/acme/app/files?bytes=${1024 ** 2}`, headers);
  for (const [way, transfer] of [
    ["up", () => upload(`${gateway.origin}/acme/app/files`, headers, GIB)],
    ["down", () => download(`${gateway.origin}/acme/app/files?bytes=${GIB}`, headers)],
  ]) {
    const before = await residentBytes(gateway.pid);
    let most = before;
    const watch = setInterval(async () => (most = Math.max(most, await residentBytes(gateway.pid))), 50);
    assert.equal(await transfer(), GIB);
    clearInterval(watch);
    context.diagnostic(`1 GiB ${way}: ${((most - before) / 1024 ** 2).toFixed(1)} MiB more`);
    assert.ok(most - before < MOST_GROWTH, `${way}: from ${before} to ${most} bytes`);
  }
  await gateway.stop();
});

testForLeaks(scene, ["client_secret", "code", "code_verifier", "cookie", "id_token", "nonce", "password", "state"]);

async function upload(url, headers, bytes) {
  const { request, response } = send(url, "PUT", headers);
  await pipeline(Readable.from(parts(bytes)), request);
  const answer = await response;
  const chunks = await Array.fromAsync(answer);
  return JSON.parse(Buffer.concat(chunks).toString()).bytes;
}

async function download(url, headers) {
  const { request, response } = send(url, "GET", headers);
  request.end();
  return lengthOf(await response);
}

function send(url, method, headers) {
  const request = http.request(url, { method, headers });
  const response = new Promise((resolve, reject) => request.on("response", resolve).on("error", reject));
  response.catch(() => {});
  return { request, response };
}

async function residentBytes(pid) {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) * 1024;
}
