// Several gateways on one Redis behind nginx, and what an operator does to them.

import { readFile, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { Gateway } from "./gateway.mjs";
import { startBalancer } from "./proxies.mjs";

const READY_LIMIT = 20_000;
/** Longer than nginx' `fail_timeout`. */
export const DRAIN_DELAY = 2;

/** What all keys in Redis begin with. */
export const PREFIX = `test-driver-${process.pid}:`;

/** One gateway, which comes back at the same address. */
class Replica {
  /** Whether somebody who asks it directly, without nginx, may still do so. */
  isOpen = false;
  #gateway;
  #logs = [];
  #start;

  constructor(name, port, start) {
    this.name = name;
    this.port = port;
    this.#start = start;
  }

  get address() {
    return `127.0.0.1:${this.port}`;
  }

  get origin() {
    return `http://${this.address}`;
  }

  /** What it logged in all its lives, a line each, each with its name. */
  get logs() {
    const lines = [...this.#logs, this.#gateway?.log ?? ""].join("\n").split("\n");
    return lines.map((line) => `${this.name}: ${line}`).join("\n");
  }

  /** Starts it and waits until it says that it is ready. */
  async start() {
    this.#gateway = await this.#start(this.port);
    for (const end = performance.now() + READY_LIMIT; !(await this.#isReady());) {
      if (performance.now() > end) {
        throw new Error(`${this.name} was never ready; it printed:\n${this.#gateway.output.slice(-8000)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.isOpen = true;
  }

  /** SIGTERM, and its end. */
  async drain() {
    this.isOpen = false;
    const code = await this.#gateway.stop();
    this.#keepLog();
    if (code !== 0) {
      throw new Error(`${this.name} ended with ${code}`);
    }
  }

  /** SIGKILL, and its end. */
  async kill() {
    this.isOpen = false;
    await this.#gateway.kill();
    this.#keepLog();
  }

  /** The value of a series in a scrape; 0 if it is not there. */
  async metric(series) {
    const text = await (await fetch(`${this.origin}/metrics`)).text();
    const line = text.split("\n").find((line) => line.startsWith(`${series} `));
    return Number(line?.slice(series.length) ?? 0);
  }

  async #isReady() {
    const answer = await fetch(`${this.origin}/readyz`).catch(() => undefined);
    return answer?.status === 200;
  }

  #keepLog() {
    this.#logs.push(this.#gateway.log);
    this.#gateway = undefined;
  }

  /** Ends it, if it runs. */
  async stop() {
    if (this.#gateway) {
      await this.drain();
    }
  }
}

/** Three gateways and nginx. */
export class Replicas {
  /** Where browsers come. */
  origin;
  /** Where proxies ask. */
  innerOrigin;
  all;
  #folder;
  #balancer;

  /** Starts `count` with the tenants in `folder`; they keep their sessions in `redis`. `settings` are further variables. */
  static async start(folder, redis, secret, { count = 3, settings = {} } = {}) {
    const replicas = new Replicas();
    const [port, innerPort, ...ports] = await lastingPorts(2 + count);
    replicas.#folder = folder;
    replicas.origin = `http://127.0.0.1:${port}`;
    replicas.innerOrigin = `http://127.0.0.1:${innerPort}`;
    await writeFile(path.join(folder, "secret.key"), secret);
    const environment = {
      LYCHGATE_PUBLIC_URL: replicas.origin,
      LYCHGATE_TENANTS: path.join(folder, "tenants"),
      LYCHGATE_SECRET_FILE: path.join(folder, "secret.key"),
      LYCHGATE_REPLICAS: String(count),
      LYCHGATE_SESSIONS__REDIS_PREFIX: PREFIX,
      LYCHGATE_SERVER__DRAIN_DELAY: `${DRAIN_DELAY}s`,
      LYCHGATE_LOG__LEVEL: "info",
      // All people come from one address, and try again at once while Redis is away.
      LYCHGATE_LIMITS__SIGN_INS_PER_ADDRESS: "0",
      LYCHGATE_LIMITS__SIGN_INS: "0",
      LYCHGATE_LIMITS__FAILED_CALLBACKS_PER_ADDRESS: "0",
      LYCHGATE_LIMITS__FAILED_CALLBACKS: "0",
      ...settings,
    };
    replicas.all = ports.map((port, at) => {
      const args = ["serve", "--config", redis.settings, "--listen", `127.0.0.1:${port}`, "--data", `data-${at}`];
      return new Replica(`replica ${at + 1}`, port, () => Gateway.start(folder, args, environment));
    });
    try {
      await Promise.all(replicas.all.map((replica) => replica.start()));
      const addresses = replicas.all.map(({ address }) => address);
      replicas.#balancer = await startBalancer(folder, port, innerPort, addresses);
    } catch (error) {
      await replicas.stop();
      throw error;
    }
    return replicas;
  }

  /** One that may be asked directly. */
  get open() {
    return this.all.filter(({ isOpen }) => isOpen);
  }

  get logs() {
    return this.all.map(({ logs }) => logs).join("\n");
  }

  /** One after the other: SIGTERM, wait for its end, start, wait until it is ready. */
  async restartAll() {
    for (const replica of this.all) {
      await replica.drain();
      await replica.start();
    }
  }

  /** What nginx asked of whom: by replica, and how many requests a second one had to answer. */
  async asked() {
    const lines = (await readFile(path.join(this.#folder, "access.log"), "utf8")).trim().split("\n");
    const by = Object.fromEntries(this.all.map(({ name }) => [name, 0]));
    const retried = lines.filter((line) => line.includes(", ")).length;
    for (const { name, address } of this.all) {
      by[name] = lines.filter((line) => line.includes(address)).length;
    }
    return { by, retried };
  }

  async stop() {
    await this.#balancer?.stop();
    await Promise.all(this.all.map((replica) => replica.stop()));
  }
}

/** Free ports that the system gives to no client, so that whoever stops listening can begin again. */
async function lastingPorts(count) {
  const ports = [];
  for (let port = 23_000 + Math.floor(Math.random() * 9_000); ports.length < count; port++) {
    const server = net.createServer();
    const listens = await new Promise((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (listens) {
      await new Promise((resolve) => server.close(resolve));
      ports.push(port);
    }
  }
  return ports;
}
