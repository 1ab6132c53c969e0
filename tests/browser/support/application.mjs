// A small application behind the gateway: one page with a script of its own, an API, a chat, a stream of events, files of
// any length.

import { once } from "node:events";
import http from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { WebSocketServer } from "ws";

const PART = Buffer.alloc(256 * 1024, "lychgate ");

export class Application {
  #server;
  #chat = new WebSocketServer({ noServer: true });
  #listeners = new Set();
  #notes = [];

  /** Starts one on a free port, for requests below `base`. */
  static async start(base) {
    const application = new Application();
    application.#server = http.createServer((request, response) => {
      application.#answer(base, request, response).catch(() => response.destroy());
    });
    application.#server.on("upgrade", (request, socket, head) => {
      application.#chat.handleUpgrade(request, socket, head, (client) => {
        const name = request.headers["x-auth-request-email"];
        client.on("message", (text) => client.send(`${name}: ${text}`));
      });
    });
    application.#server.listen(0, "127.0.0.1");
    await once(application.#server, "listening");
    return application;
  }

  get origin() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** How many chats are open. */
  get chats() {
    return this.#chat.clients.size;
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #answer(base, request, response) {
    const url = new URL(request.url, this.origin);
    const json = (value) => response.setHeader("content-type", "application/json").end(JSON.stringify(value));
    switch (`${request.method} ${url.pathname.slice(base.length)}`) {
      case "GET /":
        return response.setHeader("content-type", "text/html; charset=utf-8").end(PAGE);
      case "GET /api/me":
        return json({ email: request.headers["x-auth-request-email"], cookie: request.headers.cookie });
      case "POST /api/notes":
        this.#notes.push(await textOf(request));
        this.#listeners.forEach((listener) => listener.write(`data: ${this.#notes.length} notes\n\n`));
        return json({ notes: this.#notes.length });
      case "GET /api/events":
        response.setHeader("content-type", "text/event-stream").flushHeaders();
        this.#listeners.add(response);
        return response.on("close", () => this.#listeners.delete(response));
      case "PUT /files":
        return json({ bytes: await lengthOf(request) });
      case "GET /files":
        return pipeline(Readable.from(parts(Number(url.searchParams.get("bytes")))), response);
      default:
        return response.writeHead(404).end();
    }
  }
}

/** A body of this length, made as it is read. */
export function* parts(bytes) {
  for (let left = bytes; left > 0; left -= PART.length) {
    yield left < PART.length ? PART.subarray(0, left) : PART;
  }
}

/** How long a body is, read to its end and thrown away. */
export async function lengthOf(stream) {
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
  }
  return bytes;
}

async function textOf(stream) {
  const chunks = await Array.fromAsync(stream);
  return Buffer.concat(chunks).toString();
}

const PAGE = `<!doctype html>
<html lang="en">
  <title>Notes</title>
  <h1>Notes</h1>
  <p id="me"></p>
  <p id="events"></p>
  <p id="chat"></p>
  <p id="notes"></p>
  <form id="form"><input id="note" aria-label="Note"><button>Save</button></form>
  <script>
    const show = (id, text) => (document.getElementById(id).textContent = text);
    fetch("api/me").then((answer) => answer.json()).then(({ email }) => show("me", email));
    new EventSource("api/events").onmessage = ({ data }) => show("events", data);
    const chat = new WebSocket(new URL("api/chat", location.href.replace("http", "ws")));
    chat.onopen = () => chat.send("hello");
    chat.onmessage = ({ data }) => show("chat", data);
    chat.onclose = () => show("chat", "closed");
    document.getElementById("form").onsubmit = async (event) => {
      event.preventDefault();
      const answer = await fetch("api/notes", { method: "POST", body: document.getElementById("note").value });
      show("notes", answer.ok ? "saved" : String(answer.status));
    };
  </script>
</html>`;
