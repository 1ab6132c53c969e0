// The Redis that `tests/with-redis` runs, as its operator sees it: which server is a master, what becomes of its replica
// when it dies.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

const { LYCHGATE_TEST_REDIS: SETTINGS, LYCHGATE_TEST_REDIS_ADMIN: ADMIN, LYCHGATE_TEST_REDIS_DIR: DIR } = process.env;
const LIMIT = 30_000;
const run = promisify(execFile);

export class Redis {
  /** The settings file for a gateway. */
  settings = SETTINGS;
  /** The address of the only server, as these settings have it. */
  url;
  #started = [];

  constructor() {
    if (!DIR) {
      throw new Error("there is no Redis: run this by tests/with-redis single|sentinel|cluster");
    }
    this.url = /redis_url = "(.*)"/.exec(readFileSync(SETTINGS, "utf8"))?.[1];
  }

  /** Where a server listens that is the only one. */
  async port() {
    const [port, ...others] = await ports();
    if (others.length > 0) {
      throw new Error("there are several servers: run this by tests/with-redis single");
    }
    return port;
  }

  /** The masters, each with the replica that will follow it: `{ port, replica }`. */
  async masters() {
    const masters = (await Promise.all((await ports()).map(replicaOf))).filter(Boolean);
    if (masters.length === 0) {
      throw new Error("no master has a replica");
    }
    return masters;
  }

  /** Kills a master with -9, any one; says when, and who will follow it. */
  async killMaster(master) {
    const masters = master ? [master] : await this.masters();
    const { port, replica } = masters[Math.floor(Math.random() * masters.length)];
    process.kill(await pidOf(port), "SIGKILL");
    return { at: performance.now(), port, replica };
  }

  /** Cuts masters off from their replicas, which learn nothing any more; gives a function that lets these go on. */
  async cutReplicas(masters) {
    const pids = await Promise.all(masters.map(({ replica }) => pidOf(replica)));
    pids.forEach((pid) => process.kill(pid, "SIGSTOP"));
    await Promise.all(masters.map(({ port }) => ask(port, "client", "kill", "type", "replica")));
    return () => pids.forEach((pid) => process.kill(pid, "SIGCONT"));
  }

  /** How many keys a server has whose names look so. */
  async keys(port, pattern) {
    const said = await ask(port, "--scan", "--pattern", pattern);
    return said.split("\n").filter(Boolean).length;
  }

  /** Changes a setting of the only server. */
  async configure(name, value) {
    await ask(await this.port(), "config", "set", name, value);
  }

  /** Has the only server write everything down at once from now on, so that its death costs nothing. */
  async keepEverything() {
    const port = await this.port();
    await ask(port, "config", "set", "appendfsync", "always", "appendonly", "yes");
    await until("a file of everything", async () => {
      return (await ask(port, "info", "persistence")).includes("aof_rewrite_in_progress:0");
    });
  }

  /** Kills the only server with -9. */
  async kill() {
    process.kill(await pidOf(await this.port()), "SIGKILL");
  }

  /** Starts the only server again, with all that it wrote down; says when it answered. */
  async start() {
    const port = await this.port();
    this.#spawn(port, ["--appendonly", "yes", "--appendfsync", "always"]);
    await until("an answer of Redis", async () => (await ask(port, "ping").catch(() => "")).startsWith("PONG"));
    return performance.now();
  }

  /** Waits until the replica of a master that died answers in its place. */
  async untilFollowed({ replica }) {
    await until(`a new master at ${replica}`, async () => {
      return (await ask(replica, "role").catch(() => "")).startsWith("master");
    });
    await until("a whole cluster", async () => {
      const said = await ask(replica, "cluster", "info");
      return said.startsWith("ERR") || said.includes("cluster_state:ok");
    });
  }

  /** Starts a master that died again, as a replica of the one that followed it, and waits until it has all data. */
  async bringBack({ port, replica }) {
    const cluster = (await ask(replica, "cluster", "info")).includes("cluster_state");
    const args = cluster ? [] : ["--replicaof", "127.0.0.1", String(replica)];
    this.#spawn(port, args);
    await until(`${port} as a replica`, async () => {
      const said = await ask(port, "info", "replication").catch(() => "");
      return said.includes("master_link_status:up") && (await replicaOf(replica)) !== undefined;
    });
  }

  #spawn(port, args) {
    const server = spawn("redis-server", [path.join(DIR, `redis-${port}.conf`), ...args], { stdio: "ignore" });
    this.#started.push(server);
  }

  /** Ends what was started here. */
  async stop() {
    for (const server of this.#started.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
      const ended = once(server, "exit");
      server.kill("SIGKILL");
      await ended;
    }
  }
}

/** Where servers listen that hold data. */
async function ports() {
  const names = await readdir(DIR);
  return names.flatMap((name) => /^redis-(\d+)\.conf$/.exec(name)?.[1] ?? []).map(Number);
}

async function pidOf(port) {
  return Number(await readFile(path.join(DIR, `redis-${port}.pid`), "utf8"));
}

/** A master's replica that has all data; none if this is no master, or is gone. */
async function replicaOf(port) {
  const said = await ask(port, "info", "replication").catch(() => "");
  const replica = said.includes("role:master") && /port=(\d+),state=online/.exec(said);
  return replica ? { port, replica: Number(replica[1]) } : undefined;
}

async function ask(port, ...command) {
  const { stdout } = await run("redis-cli", [...ADMIN.split(" "), "-p", String(port), ...command], { timeout: 2000 });
  return stdout;
}

async function until(what, condition) {
  for (const end = performance.now() + LIMIT; !(await condition());) {
    if (performance.now() > end) {
      throw new Error(`never came: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
