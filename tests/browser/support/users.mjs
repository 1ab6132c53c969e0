// Users who sign in, look, sign out and sign in again, through nginx and past it, and tell the judge what they get.

import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "./client.mjs";
import { codeIn, GRACE } from "./judge.mjs";

const COOKIE = "lychgate-acme";
const HOST = "127.0.0.1";
/** How long a session lasts, how long one looks after it, and the time between two looks, in milliseconds. */
const LIFE = [2000, 10_000];
const AFTERLIFE = GRACE + 1500;
const PAUSE = [60, 260];

const PATHS = ["/acme/session", "/acme/auth", "/acme/auth", "/acme/token"];
/** How many of the sessions that ended are looked at once more at the end. */
const LAST_LOOKS = 300;
const SIGN_OUT_LIMIT = 100_000; // Redis may be gone for a minute

/** A request that got no answer, or none that is one; the judge knows of it. */
class Failed extends Error {}

/** A browser whose every request at a gateway is judged. */
class Browser extends Client {
  #world;

  constructor(world) {
    super(world.secrets);
    this.#world = world;
  }

  async request(url, options = {}) {
    const { origin, pathname } = new URL(url);
    const where = this.#world.nameOf(origin);
    if (!where) {
      return super.request(url, options);
    }
    // A connection each: nobody but the server can then have broken it.
    const headers = { ...options.headers, connection: "close", host: this.#world.host };
    const request = { where, path: pathname, sent: performance.now() };
    let answer;
    try {
      answer = await super.request(url, { ...options, headers });
    } catch (error) {
      this.#world.judge.broke({ ...request, error });
      throw new Failed(error.message);
    }
    request.answered = performance.now();
    if (!this.#world.judge.answered({ ...request, ...answer })) {
      throw new Failed(`${answer.status}`);
    }
    return Object.assign(answer, { request });
  }
}

export class Users {
  #world;
  #isOver = false;
  #running;
  #living = new Set();
  #ended = [];

  /** `world`: `{ judge, provider, replicas, secrets, accounts }`. */
  constructor({ judge, provider, replicas, secrets, accounts }) {
    const names = new Map([
      [replicas.origin, "nginx"],
      [replicas.innerOrigin, "nginx"],
      ...replicas.all.map(({ origin, name }) => [origin, name]),
    ]);
    this.#world = {
      judge,
      provider,
      replicas,
      secrets,
      host: new URL(replicas.origin).host,
      nameOf: (at) => names.get(at),
    };
    this.#running = accounts.map((account) => this.#live(account));
  }

  /** Lets everybody end what they are at, then looks at every session once more at every replica. */
  async end() {
    this.#isOver = true;
    await Promise.all(this.#running);
    await sleep(GRACE + 100);
    const sessions = [...this.#living, ...this.#ended.slice(-LAST_LOOKS)];
    for (const { origin } of this.#world.replicas.open) {
      for (const session of sessions) {
        await this.#look(session, `${origin}/acme/session`).catch(ignoreFailed);
      }
    }
    return sessions.length;
  }

  async #live(account) {
    await sleep(Math.random() * 1000);
    for (let browser; !this.#isOver;) {
      browser ??= new Browser(this.#world);
      try {
        const session = await this.#signIn(browser, account);
        await this.#use(session);
        if (!this.#isOver && !session.isLost) {
          await this.#signOut(browser, session);
        }
      } catch (error) {
        ignoreFailed(error);
        browser = undefined;
        await sleep(200);
      }
    }
  }

  async #signIn(browser, account) {
    const { judge, replicas } = this.#world;
    let page = await browser.open(`${replicas.origin}/acme/login`);
    if (page.text.includes('id="password"')) {
      page = await browser.submit(page, account);
    }
    const { hops } = page;
    const made = hops.find(({ request }) => request?.path === "/acme/callback")?.request;
    const cookie = browser.cookies(HOST).get(COOKIE);
    if (!made || !cookie) {
      throw new Error(`no sign-in: ${page.status} at ${page.url.split("?")[0]}\n${page.text.slice(0, 1000)}`);
    }
    judge.count("sign-ins");
    const session = { user: account.username, cookie, made };
    this.#living.add(session);
    const { request } = hops.find(({ url }) => new URL(url).pathname === "/acme/dashboard");
    if (hops.filter((hop) => hop.request?.path === "/acme/callback").length > 1) {
      judge.refused(session, request);
      throw new Failed("the new session was not known");
    }
    judge.accepted(session, request);
    return session;
  }

  async #use(session) {
    const end = performance.now() + between(LIFE);
    while (!this.#isOver && !session.isLost && performance.now() < end) {
      const looks = Math.random() < 0.05 ? 6 : 1; // as a page's scripts do
      await Promise.all(Array.from({ length: looks }, () => this.#look(session).catch(ignoreFailed)));
      await sleep(between(PAUSE));
    }
  }

  async #signOut(browser, session) {
    const { judge, replicas } = this.#world;
    session.ending = performance.now();
    const method = Math.random() < 0.5 ? "POST" : "GET";
    for (const until = session.ending + SIGN_OUT_LIMIT; performance.now() < until;) {
      try {
        // The cookie goes along even when a first try was answered to nobody.
        const headers = { cookie: `${COOKIE}=${session.cookie}`, origin: replicas.origin };
        const { request } = await browser.request(`${replicas.origin}/acme/logout`, { method, headers });
        session.ended = request.answered;
        break;
      } catch (error) {
        ignoreFailed(error);
        await sleep(200);
      }
    }
    if (session.ended === undefined) {
      throw new Error("a sign-out was never answered");
    }
    judge.count("sign-outs");
    this.#living.delete(session);
    this.#ended.push(session);
    this.#running.push(this.#haunt(session));
  }

  /** Looks with the cookie of a session that has ended. */
  async #haunt(session) {
    while (!this.#isOver && performance.now() < session.ended + AFTERLIFE) {
      await this.#look(session).catch(ignoreFailed);
      await sleep(between(PAUSE));
    }
  }

  /** One look at whether a session is good, somewhere. */
  async #look(session, url = this.#somewhere()) {
    const { judge, provider, replicas } = this.#world;
    const headers = {
      cookie: `${COOKIE}=${session.cookie}`,
      accept: "application/json",
      "sec-fetch-mode": "cors",
      "sec-fetch-dest": "empty",
      ...(url.endsWith("/auth") && { "x-original-url": `${replicas.origin}/acme/reports`, "x-original-method": "GET" }),
    };
    const { request, ...answer } = await new Browser(this.#world).request(url, { headers });
    judge.count("checks");
    const isToken = new URL(url).pathname === "/acme/token";
    if (answer.status === 401 && isToken && codeIn(answer.text) !== "not_signed_in") {
      const renewals = provider.requestsTo("token").filter(({ account }) => account === session.user);
      judge.hasNoToken(
        session,
        renewals.map(({ at }) => at),
        request,
      );
    } else if (answer.status === 401) {
      return judge.refused(session, request);
    }
    judge.accepted(session, request);
    const who = isToken ? session.user : (answer.headers["x-auth-request-user"] ?? userIn(answer.text));
    if (who !== session.user) {
      judge.mistook(session, who, request);
    }
  }

  #somewhere() {
    const { replicas } = this.#world;
    const path = PATHS[Math.floor(Math.random() * PATHS.length)];
    const { open } = replicas;
    if (open.length === 0 || Math.random() < 0.5) {
      return `${path === "/acme/auth" ? replicas.innerOrigin : replicas.origin}${path}`;
    }
    return `${open[Math.floor(Math.random() * open.length)].origin}${path}`;
  }
}

function userIn(text) {
  return JSON.parse(text).user?.sub;
}

function ignoreFailed(error) {
  if (!(error instanceof Failed)) {
    throw error;
  }
}

function between([least, most]) {
  return least + Math.random() * (most - least);
}
