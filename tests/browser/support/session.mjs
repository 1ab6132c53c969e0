// One session whose every look at a gateway is written down, past nginx.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "./client.mjs";

const COOKIE = "lychgate-acme";
const HOST = "127.0.0.1";
/** What a person opens, and no script. */
const PAGES = ["/acme/dashboard", "/acme/logout"];

export class Session {
  /** What each look saw, the latest last. */
  looks = [];
  #secrets;
  #origin;
  #cookie;

  /** Signs `account` in, through nginx. */
  static async signIn(secrets, origin, account) {
    const session = new Session();
    session.#secrets = secrets;
    session.#origin = origin;
    const client = new Client(secrets);
    const page = await client.signIn(`${origin}/acme/login`, account);
    session.#cookie = client.cookies(HOST).get(COOKIE);
    if (page.status !== 200 || !session.#cookie) {
      throw new Error(`no sign-in: ${page.status}\n${page.text.slice(0, 1000)}`);
    }
    return session;
  }

  /** One request at a gateway. */
  async look(replica, path = "/acme/session", { method = "GET" } = {}) {
    const accept = PAGES.includes(path) ? "text/html" : "application/json";
    const sent = performance.now();
    const headers = {
      cookie: `${COOKIE}=${this.#cookie}`,
      connection: "close",
      host: new URL(this.#origin).host,
      origin: this.#origin,
      accept,
      ...(accept === "application/json" && { "sec-fetch-mode": "cors", "sec-fetch-dest": "empty" }),
      ...(path.endsWith("/auth") && { "x-original-url": `${this.#origin}/acme/reports`, "x-original-method": "GET" }),
    };
    const answer = await new Client(this.#secrets).request(`${replica.origin}${path}`, { method, headers });
    const look = {
      ...answer,
      at: replica.name,
      path,
      sent,
      took: performance.now() - sent,
      retryAfter: answer.headers["retry-after"],
      cookies: answer.headers["set-cookie"] ?? [],
      isMarked: answer.headers["x-auth-request-session-stale"] === "true",
    };
    this.looks.push(look);
    return look;
  }

  /** Looks again and again, until `condition` holds of a look. */
  async until(replica, condition, what, limit = 20_000) {
    for (const end = performance.now() + limit; ;) {
      const look = await this.look(replica);
      if (condition(look)) {
        return look;
      }
      if (performance.now() > end) {
        throw new Error(`never ${what} at ${replica.name}: ${look.status} ${look.text.slice(0, 500)}`);
      }
      await sleep(50);
    }
  }
}

/** What stands in a look's answer, for people. */
function say({ at, path, status, sent, took, text }, since) {
  const code = /"code":"(\w+)"|<code>(\w+)<\/code>/.exec(text);
  return `${at} ${path} after ${Math.round(sent - since)} ms, in ${Math.round(took)} ms: ${status} ${code?.[1] ?? code?.[2] ?? ""}`;
}

/** Of these looks, none is so. */
export function none(looks, isSo, since, what) {
  const those = looks.filter(isSo);
  const shown = those.slice(0, 8).map((look) => say(look, since));
  assert.equal(those.length, 0, `${what}; but ${those.length} looks: ${shown.join("; ")}`);
}
