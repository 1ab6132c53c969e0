// A browser without pages: HTTP requests as a browser navigates, a cookie jar, and forms.

import http from "node:http";

const MOST_REDIRECTS = 15;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

export class Client {
  /** Cookies by host: ports share them, as in browsers. */
  #jar = new Map();
  #secrets;

  constructor(secrets) {
    this.#secrets = secrets;
  }

  /** One request, redirects not followed. */
  async request(url, { method = "GET", form, headers = {} } = {}) {
    const { hostname } = new URL(url);
    const body = form && new URLSearchParams(form).toString();
    const answer = await send(url, method, body, {
      accept: "text/html,application/xhtml+xml",
      "sec-fetch-mode": "navigate",
      "sec-fetch-dest": "document",
      "sec-fetch-site": "same-origin",
      ...(body !== undefined && { "content-type": "application/x-www-form-urlencoded" }),
      ...(this.#cookieHeader(hostname) && { cookie: this.#cookieHeader(hostname) }),
      ...headers,
    });
    this.#keep(hostname, answer.headers["set-cookie"] ?? []);
    this.#noteSecretsOf(answer);
    return answer;
  }

  /** A request as a script makes it: problems come as JSON. */
  async json(url, options = {}) {
    const headers = { accept: "application/json", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty" };
    const answer = await this.request(url, { ...options, headers: { ...headers, ...options.headers } });
    return { ...answer, body: JSON.parse(answer.text) };
  }

  /** Navigates: follows redirects to the last page. `hops` are all answers on the way, the last one included. */
  async open(url, options = {}) {
    const hops = [];
    let answer = await this.request(url, options);
    hops.push(answer);
    while (REDIRECTS.has(answer.status)) {
      if (hops.length > MOST_REDIRECTS) {
        throw new Error(`redirected without end at ${withoutQuery(answer.url)}`);
      }
      answer = await this.request(answer.location);
      hops.push(answer);
    }
    return { ...answer, hops };
  }

  /** Fills in the first form of a page and submits it. */
  async submit(page, fields = {}) {
    const { action, method, inputs } = formOf(page);
    return this.open(action, { method, form: { ...inputs, ...fields } });
  }

  /** Opens a page that leads to the provider's sign-in page, and signs in there. */
  async signIn(url, { username, password }) {
    const page = await this.open(url);
    if (!page.text.includes('id="password"')) {
      throw new Error(`no sign-in page: ${page.status} at ${withoutQuery(page.url)}\n${page.text.slice(0, 2000)}`);
    }
    return this.submit(page, { username, password });
  }

  /** The cookies that a host would get now, by name. */
  cookies(hostname) {
    return new Map(this.#jar.get(hostname) ?? []);
  }

  /** Another client with the same cookies, as a thief or a restarted browser has them. */
  copy() {
    const copy = new Client(this.#secrets);
    copy.#jar = new Map([...this.#jar].map(([host, cookies]) => [host, new Map(cookies)]));
    return copy;
  }

  #cookieHeader(hostname) {
    return [...this.cookies(hostname)].map(([name, value]) => `${name}=${value}`).join("; ");
  }

  #keep(hostname, setCookies) {
    const cookies = this.#jar.get(hostname) ?? new Map();
    this.#jar.set(hostname, cookies);
    for (const header of setCookies) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(header);
      if (isGone(header)) {
        cookies.delete(name);
      } else {
        cookies.set(name, value);
        this.#secrets.noteCookie(value);
      }
    }
  }

  #noteSecretsOf({ url, location }) {
    for (const address of [url, location]) {
      if (address) {
        this.#secrets.noteParameters(new URL(address).searchParams);
      }
    }
  }
}

function send(url, method, body, headers) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, headers }, (response) => {
      const chunks = [];
      response.on("error", reject);
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        const { location } = response.headers;
        resolve({
          url,
          status: response.statusCode,
          headers: response.headers,
          location: location && new URL(location, url).href,
          text: Buffer.concat(chunks).toString(),
        });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

function isGone(setCookie) {
  const maxAge = /;\s*max-age=(-?\d+)/i.exec(setCookie);
  const expires = /;\s*expires=([^;]+)/i.exec(setCookie);
  return maxAge ? Number(maxAge[1]) <= 0 : expires !== null && Date.parse(expires[1]) <= Date.now();
}

/** The first form of a page; enough of HTML for pages that we know. */
function formOf({ url, text }) {
  const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/i.exec(text);
  if (!form) {
    throw new Error(`no form at ${withoutQuery(url)}\n${text.slice(0, 2000)}`);
  }
  const inputs = {};
  for (const [, attributes] of form[2].matchAll(/<input\b([^>]*)>/gi)) {
    const name = attribute(attributes, "name");
    if (name) {
      inputs[name] = attribute(attributes, "value") ?? "";
    }
  }
  return {
    action: new URL(attribute(form[1], "action") ?? url, url).href,
    method: (attribute(form[1], "method") ?? "get").toUpperCase(),
    inputs,
  };
}

function attribute(attributes, name) {
  const value = new RegExp(`\\b${name}=["']([^"']*)["']`, "i").exec(attributes)?.[1];
  return value?.replaceAll("&amp;", "&").replaceAll("&quot;", '"').replaceAll("&#x3D;", "=");
}

function withoutQuery(url) {
  return url.split("?")[0];
}
