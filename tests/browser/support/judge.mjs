// Judges every answer that users of several gateways get while these, and what they stand on, fail: is it right, is it
// wrong, or has it failed in a way that was announced?

/** How long after the answer to a sign-out a session may still be taken for good, in milliseconds. */
export const GRACE = 1000;

/**
 * What may go wrong, when, and until when. Everything else must not, at no time. All times are those of the driver: a
 * request falls into a window if any of its time does.
 *
 * | window | begins | ends | what is announced |
 * | --- | --- | --- | --- |
 * | `kill` | a replica gets SIGKILL | 100 ms after its end | requests in flight may fail in any way |
 * | `failover` | a master of Redis gets SIGKILL | 3 s after its replica is master | 5xx with `Retry-After`, never 401 |
 * | `stale` | the same | the same | what ended since 1 s before it may be good where the store does not answer yet |
 * | `lost` | 1 s before that SIGKILL | the SIGKILL | a session made within may be gone: sign in again |
 * | `outage` | Redis gets SIGKILL, all of it | 2 s after it answers again | 503 with `Retry-After`, never 401; `stale`, too |
 * | `tokens` | 1 s before any SIGKILL | 100 ms after it | tokens renewed within may be gone, not their session |
 *
 * A drain (SIGTERM) and a rotation of the provider's keys have no window.
 */
export const WINDOWS = {
  killAfter: 100,
  failoverAfter: 3000,
  outageAfter: 2000,
  lostBefore: 1000,
  staleBefore: 1000,
  tokensBefore: 1000,
  tokensAfter: 100,
};

/** The statuses that are answers, by path; any other is a failure. */
const ANSWERS = {
  "/acme/login": [302],
  "/acme/callback": [303],
  "/acme/dashboard": [200, 302],
  "/acme/session": [200, 401],
  "/acme/auth": [200, 401],
  "/acme/token": [200, 401],
  "/acme/logout": [302, 303],
  "/acme/logged-out": [200],
};

/** What is told even if it never happened. */
const COUNTED = [
  "checks: accepted after the session's end, in the window of a failover or an outage",
  "failed requests: in the window of a failover",
  "failed requests: in the window of a kill",
  "failed requests: in the window of an outage",
  "failed requests: outside of windows",
  "sessions: lost in the window of a failover",
  "sessions: without tokens by the window of a kill or a failover",
  "wrong answers: a cookie deleted because of a failure",
  "wrong answers: a refresh token used twice",
  "wrong answers: accepted after its end",
  "wrong answers: no token of a good session",
  "wrong answers: of somebody else",
  "wrong answers: refused although good",
];

export class Judge {
  counts = new Map(COUNTED.map((name) => [name, 0]));
  /** What was wrong, or failed outside windows, a line each. */
  faults = [];
  begun = performance.now();
  #windows = [];
  #pulse = new Pulse();

  count(name, by = 1) {
    this.counts.set(name, (this.counts.get(name) ?? 0) + by);
  }

  of(name) {
    return this.counts.get(name) ?? 0;
  }

  /** Opens a window that begins at `from`; the function that it returns says when it ended. */
  opens(kind, from = performance.now()) {
    const window = { kind, from, to: Infinity };
    this.#windows.push(window);
    this.count(`windows: ${kind}`);
    return () => {
      window.to = performance.now() + WINDOWS[`${kind}After`];
      this.count(`windows: ${kind}, ms`, Math.round(window.to - from));
    };
  }

  /** For how long this very process got no time, in milliseconds: then neither did those that it judges. */
  heldUp(from = this.begun, to = performance.now()) {
    return this.#pulse.longest(from, to);
  }

  isWithin(kind, from, to = from) {
    return this.#windows.some((window) => window.kind === kind && from <= window.to && to >= window.from);
  }

  /** Takes note of an answer. Whether it is one: else it is a failure. */
  answered({ where, path, sent, answered, status, headers, text }) {
    this.count(`requests: ${where}`);
    if (ANSWERS[path]?.includes(status)) {
      return true;
    }
    const taken = (headers["set-cookie"] ?? []).filter((cookie) => /max-age=0/i.test(cookie));
    if (taken.length > 0) {
      this.count("wrong answers: a cookie deleted because of a failure");
      this.#fault(`a cookie deleted by ${status}: ${where} ${path}`, sent, answered);
    }
    const announced = status >= 500 && headers["retry-after"] !== undefined;
    this.#failed({ where, path, sent, answered, what: `${status} ${codeIn(text)} ${idIn(text)}`, announced });
    return false;
  }

  /** Takes note of a request that got no answer. */
  broke({ where, path, sent, error }) {
    this.count(`requests: ${where}`);
    this.#failed({ where, path, sent, answered: performance.now(), what: error.message, announced: false });
  }

  #failed({ where, path, sent, answered, what, announced }) {
    if (this.isWithin("kill", sent, answered)) {
      this.count("failed requests: in the window of a kill");
    } else if (announced && this.isWithin("failover", sent, answered)) {
      this.count("failed requests: in the window of a failover");
    } else if (announced && this.isWithin("outage", sent, answered)) {
      this.count("failed requests: in the window of an outage");
    } else {
      this.count("failed requests: outside of windows");
      this.#fault(`failed: ${where} ${path}: ${what}`, sent, answered);
    }
  }

  /** A session was taken for good. */
  accepted(session, { where, path, sent, answered }) {
    this.count("checks: accepted");
    if (session.ended !== undefined && sent > session.ended + GRACE) {
      if (this.#mayBeStale(session, sent, answered)) {
        this.count("checks: accepted after the session's end, in the window of a failover or an outage");
        return;
      }
      this.count("wrong answers: accepted after its end");
      this.#fault(`accepted ${Math.round(sent - session.ended)} ms after its end: ${where} ${path}`, sent, answered);
    }
  }

  /** A session was refused. Whether that is the session's end as far as its user is concerned. */
  refused(session, { where, path, sent, answered }) {
    this.count("checks: refused");
    if (session.ending !== undefined && answered >= session.ending) {
      return;
    }
    if (session.isLost) {
      return;
    }
    session.isLost = true;
    if (this.#mayBeLost(session)) {
      this.count("sessions: lost in the window of a failover");
      return;
    }
    this.count("wrong answers: refused although good");
    const age = Math.round(sent - session.made.answered);
    this.#fault(`refused although good, ${age} ms old: ${where} ${path}`, sent, answered);
  }

  /** A session is good, but has no token any more. `renewed` are the times at which its provider renewed them. */
  hasNoToken(session, renewed, { where, path, sent, answered }) {
    if (session.hasNoToken || session.isLost || (session.ending !== undefined && answered >= session.ending)) {
      return;
    }
    session.hasNoToken = true;
    if (renewed.some((at) => this.#mayLoseTokens(at))) {
      this.count("sessions: without tokens by the window of a kill or a failover");
      return;
    }
    this.count("wrong answers: no token of a good session");
    this.#fault(`no token of a good session: ${where} ${path}`, sent, answered);
  }

  /** Somebody else's session was shown. */
  mistook(session, who, { where, path, sent, answered }) {
    this.count("wrong answers: of somebody else");
    this.#fault(`${who} instead of ${session.user}: ${where} ${path}`, sent, answered);
  }

  /** A refresh token, which is good for one use, was used at these times. */
  refreshed(times) {
    this.count("refreshes at the provider", times.length);
    const again = times.slice(1).filter((_, at) => !this.#mayLoseTokens(times[at]));
    this.count("refreshes at the provider: again because of a kill or a failover", times.length - 1 - again.length);
    for (const at of again) {
      this.count("wrong answers: a refresh token used twice");
      this.#fault("a refresh token was used twice", times[0], at);
    }
  }

  #mayLoseTokens(at) {
    const { tokensBefore, tokensAfter } = WINDOWS;
    return this.#windows.some(({ from }) => at >= from - tokensBefore && at <= from + tokensAfter);
  }

  #mayBeStale({ ended }, sent, answered) {
    return this.#windows.some(
      ({ kind, from, to }) => kind !== "kill" && ended >= from - WINDOWS.staleBefore && sent <= to && answered >= from,
    );
  }

  #mayBeLost({ made }) {
    return this.#windows.some(
      ({ kind, from }) => kind === "failover" && made.sent <= from && made.answered >= from - WINDOWS.lostBefore,
    );
  }

  #fault(text, sent, answered) {
    const at = (time) => ((time - this.begun) / 1000).toFixed(2);
    const around = this.#windows.filter(({ from, to }) => answered >= from - 3000 && sent <= to + 3000);
    const windows = around.map(({ kind, from, to }) => `${kind} ${at(from)}–${at(to)}`).join(", ");
    const heldUp = this.heldUp(sent - 2000, answered);
    const busy = heldUp > 200 ? ` (the driver itself was held up for ${heldUp} ms)` : "";
    this.faults.push(`${at(sent)}–${at(answered)} s: ${text}${windows && ` (near: ${windows})`}${busy}`);
  }
}

/** Notes how late a timer is. */
class Pulse {
  #late = [];

  constructor(period = 20) {
    let expected = performance.now() + period;
    setInterval(() => {
      const now = performance.now();
      if (now - expected > 50) {
        this.#late.push({ at: now, by: Math.round(now - expected) });
      }
      expected = now + period;
    }, period).unref();
  }

  longest(from, to) {
    return Math.max(0, ...this.#late.filter(({ at, by }) => at >= from && at - by <= to).map(({ by }) => by));
  }
}

/** The code of a problem, on a page or in JSON. */
export function codeIn(text) {
  const [, inJson, onPage] = /"code":"(\w+)"|<code>(\w+)<\/code>/.exec(text) ?? [];
  return inJson ?? onPage ?? "without a code";
}

/** The id of a request that became a problem, by which the gateway's log says more. */
function idIn(text) {
  return /"request_id":"([^"]+)"/.exec(text)?.[1] ?? "";
}
