// A toy application behind a proxy: tells whoever asks what reached it, and remembers it for the test.

import { once } from "node:events";
import http from "node:http";

export class Echo {
  /** What reached it: `{ method, url, headers: [[name, value], …], trailers }`, the latest last. */
  requests = [];
  #server;

  static async start() {
    const echo = new Echo();
    echo.#server = http.createServer((request, response) => echo.#answer(request, response));
    echo.#server.listen(0, "127.0.0.1");
    await once(echo.#server, "listening");
    return echo;
  }

  get address() {
    return `127.0.0.1:${this.#server.address().port}`;
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #answer(request, response) {
    for await (const _ of request);
    const { method, url, rawHeaders, rawTrailers } = request;
    const seen = { method, url, headers: pairs(rawHeaders), trailers: pairs(rawTrailers) };
    this.requests.push(seen);
    const user = seen.headers.find(([name]) => name.toLowerCase() === "x-auth-request-user")?.[1] ?? "";
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.setHeader("x-application", "toy");
    response.end(`<!doctype html><title>Toy</title><h1>the application</h1><p id="user">${escape(user)}</p>`);
  }
}

function pairs(flat) {
  return flat.flatMap((text, at) => (at % 2 === 0 ? [[text, flat[at + 1]]] : []));
}

function escape(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
